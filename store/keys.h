/* store/keys.h: the keys of an environment, and the checksum that binds a value to its key.
 *
 * A key is a kind byte and fixed-width big-endian numbers (so that LMDB's byte order is the numbers'
 * order); a text comes last or ends with a zero byte. README.md draws them all. */
#ifndef STORE_KEYS_H
#define STORE_KEYS_H

#include "schemas/bytes.h"

enum {
    KEY_BYTES_MAX = 511, /* LMDB's */
    CHECKSUM_BYTES = 8
};

enum key_kind {
    KEY_HEAD = 1,       /* alone: format version, id, owner epoch, next stream, sequence */
    KEY_CATALOGUE = 2,  /* name -> stream */
    KEY_NAME = 3,       /* stream -> name */
    KEY_NOTE = 4,       /* stream -> note */
    KEY_CHECKPOINT = 5, /* stream, slot u32, number, part u32 -> value; slot 0: the checkpoints */
    KEY_SAVEPOINT = 6,  /* stream, name -> slot u32 > 0 */
    KEY_TOPIC = 7,      /* a journal's: topic -> number of its next entry */
    KEY_ENTRY = 8,      /* a journal's: topic, 0, number -> entry */
    KEY_QUEUE = 9,      /* a spool's: name -> number, begin, last chunk, end, cost */
    KEY_CHUNK = 10,     /* a spool's: queue, offset -> bytes from there on */
    KEY_FEED = 11,      /* a spool's: name -> the feed's cursor */
    KEY_SPOOL = 12      /* alone: next queue, cost of all */
};

struct key {
    size_t bytes;
    uint8_t data[KEY_BYTES_MAX];
};

struct key key_of(enum key_kind kind);
void key_u32(struct key *key, uint32_t value);
void key_u64(struct key *key, uint64_t value);
/* The caller has checked the length: past KEY_BYTES_MAX it is a bug. */
void key_text(struct key *key, const char *text);

struct key key_catalogue(const char *name);
struct key key_stream(enum key_kind kind, uint64_t stream);
/* Part 0 is the meta value, part i + 1 is parts[i]. Slot 0 holds the checkpoints, each other a savepoint. */
struct key key_slot(uint64_t stream, uint32_t slot, uint64_t number, uint32_t part);
struct key key_checkpoint(uint64_t stream, uint64_t number, uint32_t part); /* of slot 0 */
/* Number of a checkpoint's key; false where data is another kind of key, stream or slot. */
bool key_is_slot(struct view data, uint64_t stream, uint32_t slot, uint64_t *number);
bool key_is_checkpoint(struct view data, uint64_t stream, uint64_t *number);
/* Slot of a key that is a checkpoint's of stream, whichever its slot. */
bool key_slot_of(struct view data, uint64_t stream, uint32_t *slot);
struct key key_savepoint(uint64_t stream, const char *name);
struct key key_entry(const char *topic, uint64_t number);
struct key key_chunk(uint64_t queue, uint64_t offset);
/* Offset of a chunk's key; false where data is another kind of key or queue. */
bool key_is_chunk(struct view data, uint64_t queue, uint64_t *offset);

bool key_starts(struct view data, const struct key *prefix);
uint64_t key_number(const uint8_t *at); /* 8 big-endian bytes */

/* Say in words what a key holds: "stream 3, checkpoint 7, part 2". */
void key_words(struct view data, char *text, size_t text_bytes);

/* XXH3-64 of the payload, seeded with XXH3-64 of the key: a value under a wrong key fails. */
uint64_t key_checksum(struct view key, const void *payload, size_t bytes);

#endif
