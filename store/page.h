/* store/page.h: how LMDB lays out its file (data format 1, lmdb 0.9), for those who read it without LMDB.
 *
 *   page      0 u64 own number | 8 u16 pad | 10 u16 flags | 12 u16 lower | 14 u16 upper
 *             16 u16 offset[(lower - 16) / 2] .. lower | free | upper .. nodes .. end
 *   overflow  0 u64 own number | 10 u16 flags | 12 u32 pages of the run | 16 value
 *   node      0 u16 lo | 2 u16 hi | 4 u16 flags | 6 u16 key bytes | 8 key | value
 *             leaf: lo, hi are the value's bytes; with BIG the value is the u64 number of a run
 *             branch: lo, hi, flags are the child's number
 *   meta      16 u32 magic | 20 u32 version | 24 u64 address | 32 u64 map | 40 free list | 88 keys
 *             136 u64 last page | 144 u64 transaction
 *   tree      0 u32 pad (of the free list: page bytes) | 4 u16 flags | 6 u16 depth | 8 u64 branches
 *             16 u64 leaves | 24 u64 overflow pages | 32 u64 entries | 40 u64 root
 *
 * Nothing here follows a pointer or allocates; what is wrong comes back in words, NULL is well. */
#ifndef STORE_PAGE_H
#define STORE_PAGE_H

#include "schemas/bytes.h"

enum {
    PAGE_HEADER = 16,
    PAGE_BRANCH = 1,
    PAGE_LEAF = 2,
    PAGE_OVERFLOW = 4,
    PAGE_META = 8,
    PAGE_BYTES_MAX = 65536,
    NODE_HEADER = 8,
    NODE_BIG = 1,
    META_BYTES = 152,
    META_TREES_AT = 40,       /* from here to the end the meta pages of one content are alike, */
    META_TRANSACTION_AT = 144 /* but for this */
};
#define LMDB_MAGIC   0xBEEFC0DEu
#define LMDB_VERSION 1u
#define NO_ROOT      UINT64_MAX

struct tree {
    uint64_t branches, leaves, overflows, entries, root;
    uint16_t flags, depth;
    bool is_free_list;
};

struct meta {
    size_t page_bytes;
    struct tree free_list, keys;
    uint64_t last_page, transaction;
};

struct node {
    struct view key, value; /* value of a leaf that is not big */
    uint64_t child, run;    /* of a branch; of a big value */
    uint64_t value_bytes;
    size_t at, taken; /* where in the page, and how much of it */
    bool big;
};

/* The first META_BYTES of page index, 0 or 1. *version: of LMDB's format, 0 where it is no meta page. */
const char *page_meta(const uint8_t *at, unsigned index, struct meta *meta, uint32_t *version);

/* The node whose offset stands in place index of the page, which need not be whole otherwise: index is
 * only bounded by the page. key and value are lent by the page. */
const char *page_node(const uint8_t *page, size_t page_bytes, unsigned index, bool leaf,
                      struct node *node);

/* Pages of the run that holds a big value. */
uint64_t page_run(uint64_t value_bytes, size_t page_bytes);

#endif
