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

/* On amd64 by oneDNN, which goes by what the processor can do: OpenBLAS goes by its name, and one that came later
 * (Emerald Rapids after OpenBLAS 0.3.21) is Prescott to it, at a fifth of the speed. Elsewhere by OpenBLAS. */
void gemm_f32(const struct gemm *gemm, const float *a, const float *b, float *c);
void gemm_f64(const struct gemm *gemm, const double *a, const double *b, double *c);

/* The same with A and B rounded to bf16 and sums in float32, by oneDNN. A desk belongs to one thread at a time.
 * Memory  both factors in bf16, of the largest product so far, and what oneDNN keeps for each shape
 * Fails   ERR_MISMATCH: not on this processor; ERR_MEMORY. gemm_bf16 itself stops the program where
 *         memory is refused, or after 256 shapes. */
struct gemm_desk;
MUST_CHECK enum err_code gemm_desk_open(struct gemm_desk **out, struct err *err);
void gemm_desk_close(struct gemm_desk **desk);
void gemm_bf16(struct gemm_desk *desk, const struct gemm *gemm, const float *a, const float *b,
               float *c);

#endif
