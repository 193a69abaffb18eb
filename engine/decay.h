/* engine/decay.h: from what versions 4 and 5 make of a decay back to what it was made of. */
#ifndef ENGINE_DECAY_H
#define ENGINE_DECAY_H

#include "engine/kernels/kernels.h"
#include <stdbool.h>

/* Replace each of count values, which are -exp(raw) for version 4 and exp(-exp(raw)) for version 5, by a raw
 * one of which kernels->exp makes the same value again. Where no float32 does, the nearest is taken and
 * counted in *near. False where a value is none that a decay can have: not in (-inf, 0], not in [0, 1].
 * Error   what is made of a counted one is within 1.2e-7 of the value, for version 4 relative to its size
 *         (tests/test_engine_convert.c) */
MUST_CHECK bool decay_invert(const struct kernels *kernels, unsigned version, float *values,
                             size_t count, uint64_t *near);

#endif
