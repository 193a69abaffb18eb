/* stages/ingest/segment.h: a file that is known again, whatever it is called now.
 *
 * A followed stream is a row of segments: the file at its path, and before it those that were rotated
 * away. A segment is known by the file that it was in (device, inode, birth) and by what it holds: the
 * hash of its head, and of the 64 KiB before a place in it. A copy or a compressed successor is another
 * file that holds the same.
 *
 *     file     0 u64 device | 8 u64 inode, 0: none yet | 16 u64 birth, s | 24 u32 birth, ns
 *              28 u32 bytes of head, at most 64 KiB | 32 u64 hash of head                     40 bytes
 *     cursor   0 u8 version = 1 | 1 u8 kind = 2 | 2 u8 flags: 1 a line is not over
 *              3 u64 segment | 11 u64 offset | 19 file | 59 u64 hash of the 64 KiB before     67 bytes
 *     row      0 u8 version = 1 | 1 u8 flags: 1 there is one before, 2 a newline is added to that
 *              2 u64 segment | 10 file | 50 file of the one before | 90 u64 its end | 98 u64 hash of
 *              the 64 KiB before that                                                        106 bytes
 *
 * A row is what the journal holds: where a segment began, and where the one before ended. */
#ifndef STAGES_INGEST_SEGMENT_H
#define STAGES_INGEST_SEGMENT_H

#include "schemas/bytes.h"

enum {
    SEGMENT_WINDOW_BYTES = 64 * 1024,
    SEGMENT_CURSOR_BYTES = 67,
    SEGMENT_ROW_BYTES = 106,
    SEGMENT_CURSOR_KIND = 2 /* 0 and 1 are source.h's */
};

struct file_id {
    uint64_t device, inode, birth_s;
    uint32_t birth_ns;
};

struct segment_name {
    struct file_id id; /* inode 0: no file yet */
    uint32_t head_bytes;
    uint64_t head_hash;
};

struct segment_place {
    uint64_t number, offset;
    struct segment_name name;
    uint64_t tail;  /* hash of the 64 KiB before offset */
    bool open_line; /* the last byte before offset is no newline */
};

struct segment_row {
    uint64_t number;
    struct segment_name name;
    bool has_before, newline;
    struct segment_name before;
    uint64_t before_end, before_tail;
};

static inline bool same_file(const struct file_id *a, const struct file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->birth_s == b->birth_s &&
           a->birth_ns == b->birth_ns;
}

void segment_cursor_encode(const struct segment_place *place, uint8_t cursor[SEGMENT_CURSOR_BYTES]);
/* Fails: ERR_INPUT: not a cursor of ours. */
MUST_CHECK enum err_code segment_cursor_decode(struct segment_place *out, struct view cursor,
                                               struct err *err);
void segment_row_encode(const struct segment_row *row, uint8_t bytes[SEGMENT_ROW_BYTES]);
/* Fails: ERR_DAMAGED. */
MUST_CHECK enum err_code segment_row_decode(struct segment_row *out, struct view bytes,
                                            struct err *err);

/* ---- Files ---- */

struct file_facts {
    struct file_id id;
    uint64_t bytes;
    uint64_t mtime_s;
    uint32_t mtime_ns;
    bool regular, linked; /* linked: it has a name somewhere */
};

/* Of an open file, or of what stands at path (links followed). False: errno says why. */
bool facts_of_descriptor(int fd, struct file_facts *out);
bool facts_of_path(const char *path, struct file_facts *out);

struct packed;

/* An open file, read by offset in what it holds: its bytes, or what was compressed to them. */
struct segment_file {
    int fd; /* -1: not open */
    struct file_id id;
    struct packed *packed; /* NULL: plain */
};

/* Open the regular file at path; packed where it begins as gzip, bzip2, xz and zstd do and is not the
 * file of a stream itself (plain). False: errno says why (EISDIR: no regular file). */
bool segment_file_open(struct segment_file *out, const char *path, bool plain);
void segment_file_close(struct segment_file *file);
/* Has nobody it open to write to it? False too where the system does not say: of files of others. */
bool segment_file_is_left(const struct segment_file *file);
/* Read up to count bytes at offset; *got is less only at the end of what there is now.
 * Fails  ERR_SOURCE: it cannot be read, or not be decompressed; ERR_MEMORY. */
MUST_CHECK enum err_code segment_file_read(struct segment_file *file, uint8_t *data, size_t count,
                                           uint64_t offset, size_t *got, struct err *err);
/* Does the file hold what was read: the head, and at offset bytes the 64 KiB before it? What cannot be
 * read does not. */
bool segment_file_holds(struct segment_file *file, const struct segment_name *name, uint64_t offset,
                        uint64_t tail);
/* Is what it holds exactly so long? */
bool segment_file_ends(struct segment_file *file, uint64_t bytes);

uint64_t segment_hash(const uint8_t *data, size_t bytes);

#endif
