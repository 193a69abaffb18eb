/* store/survey.h: what a damaged environment's file still says about its pages: which the trees reach,
 * which the free list calls free, and which ranges of keys cannot be reached any more.
 *
 * Where the walk (walk.h) ends at the first flaw, this goes on around it. It follows nothing that it has
 * not checked, visits a page once, and reads branch and leaf pages and the free list alone. */
#ifndef STORE_SURVEY_H
#define STORE_SURVEY_H

#include "store/keys.h"
#include "store/page.h"

enum origin {
    ORIGIN_LIVE,   /* a leaf that the tree reaches, whole */
    ORIGIN_TORN,   /* a page that the tree reaches, damaged: some of it may be good */
    ORIGIN_ORPHAN, /* a leaf, not reached, and not free either: what the tree has lost */
    ORIGIN_STALE,  /* free, a part of a large value, or nobody knows */
    ORIGIN_TREE    /* a branch, or a page of the free list: it holds no values */
};

struct hole { /* keys from low up to, not including, high may have been lost */
    struct key low, high;
    bool endless;
};

struct survey {
    int fd;
    uint64_t file_bytes, pages;
    size_t page_bytes;
    struct meta meta;     /* the newest that can be read */
    bool any;             /* there is one */
    bool newest;          /* and no newer one can have been */
    bool free_known;      /* the free list is whole */
    uint64_t transaction; /* that a new file must have, see fresh.h */
    uint8_t *origin;      /* (pages) enum origin */
    struct hole *holes;
    size_t hole_count;
    char what[160]; /* the first flaw; "" where there is none */
    uint8_t *levels;
    bool short_memory;
};

/* Fails: ERR_MEMORY, ERR_SYSTEM. */
MUST_CHECK enum err_code survey_open(struct survey *survey, int fd, const char *path,
                                     struct err *err);
void survey_close(struct survey *survey);
/* Whether what lies under key may have been lost. */
bool survey_in_hole(const struct survey *survey, struct view key);

#endif
