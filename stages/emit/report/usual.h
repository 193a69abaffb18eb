/* stages/emit/report/usual.h: what is usual in a document, and how far a unit stands from it.
 *
 * Bits per byte of short units scatter more than those of long ones, and lie higher: a heading of ten bytes costs what
 * its first word costs. So a unit is compared twice: with the units of its own length (to a factor of two; of
 * neighbouring lengths too where these are few), and with the text as a whole, every byte counted once. How far it
 * stands off is told in median absolute deviations (MAD), and the lesser of the two figures is its score: a long line
 * is not surprising because the other long lines happen to be all alike, nor a short one because short ones cost more.
 * And since a word or two are little to judge by, the score is shrunk by bytes / (bytes + 16).
 *
 * Medians and MADs, not means and deviations, since what stands out must not move the measure that it is told by.
 *
 * Memory  counts in bins of 1/512 octave, from 1/64 to 64 bits per byte: fixed, whatever the number of units. */
#ifndef STAGES_EMIT_REPORT_USUAL_H
#define STAGES_EMIT_REPORT_USUAL_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    USUAL_LENGTHS = 20,    /* classes: 1 byte, 2 to 3, 4 to 7, ..., 512 KiB and more */
    USUAL_UNITS_LEAST = 8, /* with fewer nothing is called usual */
    USUAL_NEAR_LEAST = 24  /* a class with fewer takes in its neighbours */
};

/* A unit stands out from here on, in MADs; of a normal distribution one unit of 1,300 would. */
#define USUAL_STANDS_OUT 5.0

struct usual_length {
    uint64_t units;     /* of this class alone */
    double median, mad; /* bits per byte, neighbours taken in where there are few */
};

struct usual {
    bool known;
    uint64_t units;
    double median, mad; /* bits per byte, each byte counted once */
    double quartile[2]; /* half of all bytes lie between */
    struct usual_length of[USUAL_LENGTHS];
};

struct spread;

/* NULL when memory is refused. */
struct spread *spread_open(void);
void spread_close(struct spread **spread);
void spread_clear(struct spread *spread);
/* bytes > 0. */
void spread_add(struct spread *spread, uint64_t bytes, double bits);
void spread_usual(const struct spread *spread, struct usual *usual);

/* The class of a length. */
size_t usual_length_of(uint64_t bytes);
/* How many MADs above (below: negative) the usual; 0 where nothing is known to be usual, or the two comparisons
 * disagree. It rises with bits among units of one class. */
double usual_score(const struct usual *usual, uint64_t bytes, double bits);
/* The highest score of all units, and how many stand out. */
double usual_top(const struct spread *spread, const struct usual *usual, uint64_t *standing_out);

#endif
