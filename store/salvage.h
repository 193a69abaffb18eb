/* store/salvage.h: what a damaged file still holds, and which of it a new file gets.
 *
 * Use     salvage_gather reads the whole file; salvage_choose decides; then chosen[] holds the values of
 *         the new file in the order of their keys.
 * Memory  a copy is about 100 bytes; values stay in the file until they are copied. */
#ifndef STORE_SALVAGE_H
#define STORE_SALVAGE_H

#include "store/care.h"
#include "store/scan.h"
#include "store/seal.h"
#include "store/survey.h"

/* One version of one key's value. */
struct copy {
    uint64_t at, bytes, checksum; /* in the file; bytes with the checksum */
    uint8_t *made;                /* the value itself, where it is a new one; else NULL */
    uint8_t origin;               /* enum origin of the leaf */
    uint16_t key_bytes;
    uint8_t key[];
};

struct copies {
    struct copy **at;
    size_t count, room;
};

/* Values of the head record. */
struct head_seen {
    bool any;
    uint32_t format; /* the newest */
    uint8_t id[STORE_ID_BYTES];
    uint64_t owner_epoch, next_stream, sequence; /* each the greatest of all copies */
};

struct salvage {
    struct survey survey;
    struct scan scan;
    struct copies good;   /* by key, then origin; versions differ in content */
    struct copies bad;    /* of live leaves: the checksum does not fit */
    struct copies chosen; /* by key; lent by good, or made */
    struct copies owned;  /* made ones */
    uint64_t *seen;       /* open addressing */
    size_t seen_room, seen_count;
    uint64_t reached;   /* distinct keys that the store holds, as far as can be seen */
    uint64_t torn_runs; /* large values, good by themselves, whose first page is damaged */
    struct head_seen head;
    bool all_lost; /* the tree is not to be trusted: what any page holds may be the newest */
    bool exact;    /* chosen is what the store held, all of it */
    uint64_t lost; /* things said to be lost */
    bool short_memory;
};

/* Fails: ERR_MEMORY, ERR_SYSTEM. */
MUST_CHECK enum err_code salvage_gather(struct salvage *salvage, int fd, const char *path,
                                        struct err *err);
/* Fails: ERR_DAMAGED: nothing can be made of it, in words; ERR_MEMORY. */
MUST_CHECK enum err_code salvage_choose(struct salvage *salvage,
                                        const struct store_repair_options *options,
                                        const char *path, struct err *err);
/* The owner epoch that outputs of store id have seen; 0 where there are none. */
uint64_t salvage_seen(const struct store_repair_options *options, const uint8_t *id);
void salvage_release(struct salvage *salvage);

/* The versions of a key in list, which is sorted; *count may be 0. */
struct copy **copies_find(const struct copies *list, struct view key, size_t *count);
/* The first whose key is not less. */
size_t copies_from(const struct copies *list, struct view key);
void copies_add(struct salvage *salvage, struct copies *list, struct copy *copy);
int copies_order(const void *a, const void *b);
/* A new copy, owned by the salvage; NULL where memory is short. */
struct copy *copy_make(struct salvage *salvage, struct view key, struct view payload);
static inline struct view copy_key(const struct copy *copy)
{
    return (struct view){copy->key, copy->key_bytes};
}
/* The payload into memory of the caller's, at most room bytes; how many there are. */
size_t copy_read(const struct salvage *salvage, const struct copy *copy, uint8_t *into,
                 size_t room);
/* Whether a version of a free page may stand for what was lost. */
bool copy_usable(const struct salvage *salvage, const struct copy *copy);

#endif
