/* engine/train/pool.h: a function called for many parts by several threads, part p always by thread
 * p modulo threads, so that what a thread keeps for itself fits. */
#ifndef ENGINE_TRAIN_POOL_H
#define ENGINE_TRAIN_POOL_H

#include "schemas/err.h"
#include <stddef.h>

struct pool;

typedef void pool_fn(void *self, size_t part);

/* threads - 1 are started; the caller of pool_run is the other. Fails: ERR_SYSTEM, ERR_MEMORY. */
MUST_CHECK enum err_code pool_open(struct pool **out, unsigned threads, struct err *err);
void pool_close(struct pool **pool);

/* Call run for parts 0 .. parts - 1; back when all are done. */
void pool_run(struct pool *pool, pool_fn *run, void *self, size_t parts);

#endif
