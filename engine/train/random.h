/* engine/train/random.h: numbers that look random and are the same everywhere: splitmix64. */
#ifndef ENGINE_TRAIN_RANDOM_H
#define ENGINE_TRAIN_RANDOM_H

#include <stdint.h>

static inline uint64_t random_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint64_t random_next(uint64_t *seed)
{
    return random_mix(*seed += 0x9E3779B97F4A7C15u);
}

/* In [0, 1). */
static inline double random_unit(uint64_t *seed)
{
    return (double)(random_next(seed) >> 11) * 0x1p-53;
}

/* In [0, below); the bias is below 2^-32 for what is counted here. */
static inline uint64_t random_below(uint64_t *seed, uint64_t below)
{
    return (uint64_t)(((unsigned __int128)random_next(seed) * below) >> 64);
}

#endif
