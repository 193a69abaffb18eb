/* stages/encode/analysis/cohesion.h: where the words of a text change, after Utiyama and Isahara (ACL 2001).
 *
 * A text is cut so that it is cheapest to write down: each part has words of its own, and costs what its words cost
 * whoever has learnt how often each comes in that part alone,
 *
 *     cost(part) = n ln(n + K) - sum over words w of n_w ln(n_w + 1)
 *
 * (n the sum of n_w, K the kinds of words in the window), and each part costs 0.8 ln(n of the window) besides. The
 * cheapest cut of all is found by dynamic programming.
 * Two changes: a word counts by how few units it stands in, ln(N / units) / ln N of N, so that words of grammar need no
 * list of their language; and the price of a part was chosen on texts (bench/NOTES.md).
 *
 * Only a window of units is held. When it is full its units are cut, cuts in the first half stand, and the window
 * goes on behind the last of these: each is decided with at least half a window behind it.
 *
 * Memory  57 KiB a window; 0.4 MiB while it is cut
 * Time    N^2 / 2 times the words of a unit: a full window some 20 ms, once in half a window */
#ifndef STAGES_ENCODE_ANALYSIS_COHESION_H
#define STAGES_ENCODE_ANALYSIS_COHESION_H

#include "stages/encode/analysis/words.h"

enum {
    COHESION_UNITS = 384,
    COHESION_WORDS = 24576, /* of all units of a window */
    COHESION_BYTES_MAX = 2 + COHESION_UNITS * 10 + COHESION_WORDS * 2
};

struct cohesion_unit {
    uint64_t begin; /* in the source */
    uint32_t first; /* of its words */
};

struct cohesion {
    uint32_t units, words;
    struct cohesion_unit unit[COHESION_UNITS]; /* (units) */
    uint16_t word[COHESION_WORDS];             /* (words) the low bits of their keys */
};

/* A new part begins at the unit: what it would cost more in bits not to cut there. */
struct cohesion_cut {
    uint32_t unit;
    double bits;
};

/* There must be room. */
void cohesion_add(struct cohesion *c, uint64_t begin, const struct words *words);
/* Is there room for any other unit? */
bool cohesion_full(const struct cohesion *c);
/* The cuts of all units in the window (COHESION_UNITS of room), in order; returns their number. */
size_t cohesion_cuts(const struct cohesion *c, struct cohesion_cut *cuts);
/* Forget the units before. */
void cohesion_drop(struct cohesion *c, uint32_t units);

void cohesion_save(const struct cohesion *c, struct buffer *out);
/* Into an empty one. False: no bytes of cohesion_save's. */
bool cohesion_load(struct cohesion *c, struct reader *r);

#endif
