/* stages/encode/analysis/words.h: the words of a text, and how often each came.
 *
 * A word is a run of letters, marks and digits, joined by an apostrophe inside; a character of Chinese or Japanese
 * is one by itself. Words are the same that agree in their first six characters without regard to case: summary,
 * summaries. So no language's endings or stop words are known here; that a word says little is what the model's
 * loss is for.
 *
 * Counts are kept for at most WORDS_KEPT words. When these are used up the rarest go, at least a quarter, whole
 * counts at a time (lossy counting, Manku and Motwani, VLDB 2002): what is frequent in a text stays, a count may be
 * low by what was forgotten before the word stayed. Beside the count stands how evenly a word is spread: words of
 * grammar come evenly, what a part of a text is about comes in clusters (Ortuno et al., Europhysics Letters 57,
 * 2002).
 *
 * Memory  of a table 72 KiB, fixed */
#ifndef STAGES_ENCODE_ANALYSIS_WORDS_H
#define STAGES_ENCODE_ANALYSIS_WORDS_H

#include "schemas/bytes.h"

enum {
    WORD_LETTERS = 6,
    WORDS_MAX = 256, /* of a sentence; what is behind them is not counted */
    WORDS_KEPT = 2048,
    WORDS_SLOTS = 2 * WORDS_KEPT,
    WORDS_BYTES_MAX = 2 + WORDS_KEPT * 32
};

struct word {
    uint32_t key;
    uint16_t at, bytes; /* in the text */
    double nats;        /* of its bytes; 0 where no losses were given */
};

struct words {
    size_t count;
    struct word list[WORDS_MAX]; /* (count) in the order of the text */
};

/* nats  (text.bytes) loss of each byte, or NULL
 * text  at most 64 KiB of it, any bytes */
void words_cut(struct view text, const float *nats, struct words *out);

struct word_count {
    uint32_t key, count;
    uint64_t last;  /* place of the last one, counted from 1 */
    double nats;    /* sum */
    double squares; /* sum of the squares of gaps between two, and before the first */
};

struct word_counts {
    uint32_t used;
    struct word_count list[WORDS_KEPT]; /* (used), the oldest first */
    uint16_t slots[WORDS_SLOTS];        /* 0: free; else the place in list, and 1 */
};

/* NULL where there is none, or none any more. */
const struct word_count *word_counts_get(const struct word_counts *w, uint32_t key);
/* place  in the text, from 1, never less than of those before */
void word_counts_add(struct word_counts *w, uint32_t key, double nats, uint64_t place);
/* Standard deviation of the gaps over their mean, in a text of so many places: 1 where they come by chance alone. */
double word_count_clusters(const struct word_count *one, uint64_t places);
void word_counts_save(const struct word_counts *w, struct buffer *out);
/* Into an empty one. False: no bytes of word_counts_save's. */
bool word_counts_load(struct word_counts *w, struct reader *r);

#endif
