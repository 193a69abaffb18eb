#include "engine/kernels/gemm.h"

#include <cblas.h>

void omp_set_num_threads(int count); /* libgomp; <omp.h> comes with one compiler only */

static CBLAS_TRANSPOSE op(bool transpose)
{
    return transpose ? CblasTrans : CblasNoTrans;
}

/* OpenBLAS built with OpenMP asks the calling thread for its number of threads at each call. */
void gemm_f32(const struct gemm *g, const float *a, const float *b, float *c)
{
    omp_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, op(g->transpose_a), op(g->transpose_b), (blasint)g->m, (blasint)g->n,
                (blasint)g->k, 1.0F, a, (blasint)(g->transpose_a ? g->m : g->k), b,
                (blasint)(g->transpose_b ? g->k : g->n), g->add ? 1.0F : 0.0F, c, (blasint)g->n);
}

void gemm_f64(const struct gemm *g, const double *a, const double *b, double *c)
{
    omp_set_num_threads(1);
    cblas_dgemm(CblasRowMajor, op(g->transpose_a), op(g->transpose_b), (blasint)g->m, (blasint)g->n,
                (blasint)g->k, 1.0, a, (blasint)(g->transpose_a ? g->m : g->k), b,
                (blasint)(g->transpose_b ? g->k : g->n), g->add ? 1.0 : 0.0, c, (blasint)g->n);
}
