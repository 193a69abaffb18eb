/* engine/kernels/gemm.h: matrix products for training: two matrices that both change.
 *
 *     C (m, n) = op(A) op(B), or C += it        op(A) is (m, k), op(B) is (k, n)
 *
 * Row-major, rows without gaps; op transposes where its flag is set.
 *
 * Promise  The same bits for the same call on the same machine, whatever thread calls. Nothing about
 *          the order of sums, so reading does not use this.
 * Threads  Each call runs in the calling thread alone. */
#ifndef ENGINE_KERNELS_GEMM_H
#define ENGINE_KERNELS_GEMM_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>

struct gemm {
    bool transpose_a, transpose_b, add;
    size_t m, n, k;
};

/* By OpenBLAS. */
void gemm_f32(const struct gemm *gemm, const float *a, const float *b, float *c);
void gemm_f64(const struct gemm *gemm, const double *a, const double *b, double *c);

#endif
