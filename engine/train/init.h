/* engine/train/init.h: the parameters a training begins with. */
#ifndef ENGINE_TRAIN_INIT_H
#define ENGINE_TRAIN_INIT_H

#include "engine/train/shape.h"

/* The same seed gives the same numbers on every machine with the same libm. False: no memory. */
MUST_CHECK bool net_init(const struct net_shape *shape, const struct layout *layout, uint64_t seed,
                         float *parameters);

#endif
