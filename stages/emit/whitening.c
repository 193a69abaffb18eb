#include "stages/emit/whitening.h"

#include <math.h>
#include <string.h>

/* Below this a mean variance is rounding alone, for vectors of length 1. */
static const double least_variance = 1e-12;

size_t whitening_doubles(size_t channels)
{
    return channels + channels * (channels + 1) / 2;
}

void whitening_begin(struct whitening *w, size_t channels, double *room)
{
    *w = (struct whitening){.channels = channels, .mean = room, .upper = room + channels};
    memset(room, 0, whitening_doubles(channels) * sizeof *room);
}

/* to[i] += factor from[i]: each element by itself, so its sum has one order however many are done at once. */
static void add_scaled(double *restrict to, const double *restrict from, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

void whitening_add(struct whitening *w, const double *vector)
{
    double *row = w->upper;

    add_scaled(w->mean, vector, 1, w->channels);
    for (size_t k = 0; k < w->channels; row += w->channels - k, k++)
        add_scaled(row, vector + k, vector[k], w->channels - k);
    w->count++;
}

/* Sums of products become the covariance; returns the mean variance. */
static double centre(struct whitening *w)
{
    double *row = w->upper, variance = 0, n = (double)w->count;

    for (size_t i = 0; i < w->channels; i++)
        w->mean[i] /= n;
    for (size_t k = 0; k < w->channels; row += w->channels - k, k++) {
        for (size_t i = 0; i < w->channels - k; i++)
            row[i] = row[i] / n - w->mean[k] * w->mean[k + i];
        variance += row[0];
    }
    return variance / (double)w->channels;
}

void whitening_settle(struct whitening *w)
{
    double *row = w->upper, ridge;

    ridge = w->count ? WHITENING_SHRINK * centre(w) : 0;
    w->flat = !(ridge > WHITENING_SHRINK * least_variance);
    for (size_t k = 0; k < w->channels && !w->flat; k++) {
        size_t n = w->channels - k;
        double *below = row + n;
        /* What is left of a diagonal is at least the ridge, but for rounding. */
        double root = sqrt(row[0] + ridge > ridge ? row[0] + ridge : ridge);
        row[0] = root;
        for (size_t i = 1; i < n; i++)
            row[i] /= root;
        for (size_t i = 1; i < n; below += n - i, i++)
            add_scaled(below, row + i, -row[i], n - i);
        row += n;
    }
}

void whitening_apply(const struct whitening *w, double *vector)
{
    const double *row = w->upper;

    if (w->flat)
        return;
    add_scaled(vector, w->mean, -1, w->channels);
    for (size_t k = 0; k < w->channels; row += w->channels - k, k++) {
        vector[k] /= row[0];
        add_scaled(vector + k + 1, row + 1, -vector[k], w->channels - k - 1);
    }
}
