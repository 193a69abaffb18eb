/* stages/ingest/source.h: a thing to read from: a file (by offset) or a pipe (once).
 *
 * Same source = same size, the first 64 KiB, and the 64 KiB before the cursor. Of a pipe neither
 * size nor place is known beforehand: its cursor carries the hash of all that was read, and a resume
 * reads from the beginning again, unseen, until the hash has been compared.
 *
 * A cursor:  0 u8 version = 1 | 1 u8 kind | 2 u64 offset | 10 u64 hash.  18 bytes. */
#ifndef STAGES_INGEST_SOURCE_H
#define STAGES_INGEST_SOURCE_H

#include "schemas/bytes.h"
#include <xxhash.h>

enum { SOURCE_WINDOW_BYTES = 64 * 1024, SOURCE_CURSOR_BYTES = 18, SOURCE_HEAD_BYTES = 16 };

struct source {
    const char *file; /* borrowed; "-" is standard input */
    int fd;           /* -1: closed */
    bool pipe;        /* read once, no size, no way back */
    bool head_known;
    uint64_t size;    /* of a file, when it was opened */
    uint64_t offset;  /* of the next byte */
    uint64_t skip_to; /* of a pipe: bytes before this are compared, not delivered */
    uint64_t skip_hash;
    bool ends; /* of a pipe: is to end at skip_to, which is compared too */
    uint8_t head[SOURCE_HEAD_BYTES];
    XXH3_state_t *hash; /* of a pipe: all bytes before offset */
};

/* Open at cursor (empty: the beginning). Of a file all is checked here; of a pipe while skipping.
 * Fails  ERR_SOURCE: cannot be opened or read; ERR_CHANGED: not what was read; ERR_INPUT: the cursor
 *        is not ours; ERR_MEMORY. s is closed then. */
MUST_CHECK enum err_code source_open(struct source *s, const char *file, struct view cursor,
                                     struct err *err);
void source_close(struct source *s);

/* Read at most room bytes to data; *got = 0 with *end at the end, *got = 0 without when nothing is
 * there yet (pipes), or when what came was skipped.
 * Fails  ERR_SOURCE, ERR_CHANGED. */
MUST_CHECK enum err_code source_read(struct source *s, uint8_t *data, size_t room, size_t *got,
                                     bool *end, struct err *err);

/* True once what lies before the cursor has been compared, and the end where one is to be there. */
static inline bool source_ready(const struct source *s)
{
    return s->offset >= s->skip_to && !s->ends;
}

/* How to continue at s->offset. Fails: ERR_SOURCE. */
MUST_CHECK enum err_code source_cursor(struct source *s, uint8_t cursor[SOURCE_CURSOR_BYTES],
                                       struct err *err);

#endif
