/* stages/encode/latency.h: how long something takes, as shares of all the times that it did. Private to stages/encode.
 *
 * Counts in buckets of which each is an eighth of an octave, so what is read off is at most 9 % too much. */
#ifndef STAGES_ENCODE_LATENCY_H
#define STAGES_ENCODE_LATENCY_H

#include <stdint.h>

enum { LATENCY_BUCKETS = 384 };

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t total, most; /* most: microseconds */
};

void latency_add(struct latency *l, uint64_t us);
/* Microseconds that the share (0..1) of all took at most; 0 when there was none. */
uint64_t latency_at(const struct latency *l, double share);

#endif
