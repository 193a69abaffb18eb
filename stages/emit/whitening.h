/* stages/emit/whitening.h: vectors of a model made comparable.
 *
 * The hidden states of a language model lie in a narrow cone: a few directions, the same for whatever is read, hold
 * nearly all of a vector's length, and a cosine tells of these alone (Mu and Viswanath, ICLR 2018; Su et al., arXiv
 * 2103.15316). Whitening takes from each vector the mean of all and divides by what is usual in each direction:
 *
 *     y = R^-T (x - mean),   R^T R = covariance + shrink m I,   m the mean variance of a channel
 *
 * R is the upper triangle of Cholesky; any other root turns all y alike and changes no cosine. The shrinkage keeps
 * directions that hardly occur from counting, also where there are fewer vectors than channels. Doubles, added up in
 * one order: the same vectors give the same bits.
 *
 * Memory  the caller's, whitening_doubles
 * Time    channels^2 / 2 a vector, added or whitened; channels^3 / 6 to settle */
#ifndef STAGES_EMIT_WHITENING_H
#define STAGES_EMIT_WHITENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static const double WHITENING_SHRINK = 0.3; /* chosen on two books: bench/NOTES.md */

struct whitening {
    size_t channels;
    uint64_t count;
    bool flat;     /* all vectors were the same: there is nothing usual to divide by */
    double *mean;  /* (channels) */
    double *upper; /* row k has its channels - k elements from the diagonal on */
};

size_t whitening_doubles(size_t channels);
/* room  (whitening_doubles), the caller's, for as long as the whitening is used */
void whitening_begin(struct whitening *w, size_t channels, double *room);
/* vector  (channels) */
void whitening_add(struct whitening *w, const double *vector);
/* All were added. */
void whitening_settle(struct whitening *w);
/* vector  (channels) becomes its whitened self; where all were the same it stays as it is */
void whitening_apply(const struct whitening *w, double *vector);

#endif
