#include "stages/encode/latency.h"

#include <math.h>

void latency_add(struct latency *l, uint64_t us)
{
    int bucket = us < 2 ? 0 : (int)(8 * log2((double)us));

    l->counts[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
    l->total++;
    l->most = us > l->most ? us : l->most;
}

uint64_t latency_at(const struct latency *l, double share)
{
    uint64_t seen = 0;

    for (int i = 0; i < LATENCY_BUCKETS && l->total; i++) {
        uint64_t end = (uint64_t)ceil(exp2((i + 1) / 8.0));
        seen += l->counts[i];
        if ((double)seen >= share * (double)l->total)
            return end < l->most ? end : l->most;
    }
    return l->most;
}
