#include "engine/kernels/gemm.h"
#include "engine/kernels/inside.h"

#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>

void omp_set_num_threads(int count); /* libgomp; <omp.h> comes with one compiler only */

static CBLAS_TRANSPOSE op(bool transpose)
{
    return transpose ? CblasTrans : CblasNoTrans;
}

/* Both libraries ask the calling thread for its number of threads at each call. */
#if defined(__x86_64__)
void gemm_f32(const struct gemm *g, const float *a, const float *b, float *c)
{
    dnnl_status_t status;
    sigset_t before;

    omp_set_num_threads(1);
    signals_hold(&before);
    status = dnnl_sgemm(
        g->transpose_a ? 'T' : 'N', g->transpose_b ? 'T' : 'N', (dnnl_dim_t)g->m, (dnnl_dim_t)g->n,
        (dnnl_dim_t)g->k, 1.0F, a, (dnnl_dim_t)(g->transpose_a ? g->m : g->k), b,
        (dnnl_dim_t)(g->transpose_b ? g->k : g->n), g->add ? 1.0F : 0.0F, c, (dnnl_dim_t)g->n);
    signals_go(&before);
    require(status == dnnl_success);
}
#else
void gemm_f32(const struct gemm *g, const float *a, const float *b, float *c)
{
    omp_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, op(g->transpose_a), op(g->transpose_b), (blasint)g->m, (blasint)g->n,
                (blasint)g->k, 1.0F, a, (blasint)(g->transpose_a ? g->m : g->k), b,
                (blasint)(g->transpose_b ? g->k : g->n), g->add ? 1.0F : 0.0F, c, (blasint)g->n);
}
#endif

void gemm_f64(const struct gemm *g, const double *a, const double *b, double *c)
{
    omp_set_num_threads(1);
    cblas_dgemm(CblasRowMajor, op(g->transpose_a), op(g->transpose_b), (blasint)g->m, (blasint)g->n,
                (blasint)g->k, 1.0, a, (blasint)(g->transpose_a ? g->m : g->k), b,
                (blasint)(g->transpose_b ? g->k : g->n), g->add ? 1.0 : 0.0, c, (blasint)g->n);
}
