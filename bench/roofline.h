/* bench/roofline.h: what this machine can do at most, measured: multiply-adds that wait for nothing, products
 * of the engine's own (a limit is at least the best that was seen), and reading memory. */
#ifndef BENCH_ROOFLINE_H
#define BENCH_ROOFLINE_H

#include "engine/kernels/kernels.h"

struct roofline {
    unsigned threads;
    double flops[3];   /* a second, by enum kernels_weights: all threads together */
    double read_bytes; /* a second */
};

/* Some seconds. Each thread is pinned to a core of its own, where there are as many.
 * bytes   that are read, by all threads together: what fits a cache is read faster, so compare a model with as much as
 *         it has. At least 8 MiB a thread.
 * Memory  bytes. Fails: ERR_MEMORY, ERR_SYSTEM, those of kernels_init. */
MUST_CHECK enum err_code roofline_measure(struct roofline *out, unsigned threads, size_t bytes,
                                          struct err *err);

#endif
