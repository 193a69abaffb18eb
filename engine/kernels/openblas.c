/* openblas.c: cblas_sgemm, an arithmetic under its own name.
 *
 * Its sums are in an order of its own, which depends on the processor it believes to run on, and on
 * more: one row alone is a path of its own (sgemv), and so are small products (on SkylakeX below
 * a million multiply-adds). So each product has a least number of rows, found when it is opened by
 * trying: fewer rows are padded up to it. Where no padding gives a row the same bits among all
 * numbers of neighbours and at every place, the product is refused. */
#include "engine/kernels/inside.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_ROWS = 300 };

void omp_set_num_threads(int count); /* libgomp; <omp.h> comes with one compiler only */

/* Tried in this order. */
static const size_t least_rows[] = {2, 8, 32, 64, 128, 256};

struct openblas {
    size_t outputs, inputs;
    size_t least;    /* rows that are multiplied at least */
    float weights[]; /* [outputs][inputs] */
};

void openblas_arithmetic(char *name, size_t name_bytes)
{
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
    int length = 0;

    if (strncmp(config, "OpenBLAS ", 9) == 0) {
        config += 9;
        length = (int)strcspn(config, " ");
    }
    snprintf(name, name_bytes, "f32-openblas-%.*s-%s", length, config, openblas_get_corename());
}

/* The OpenMP build asks the calling thread for its number of threads at each call, whatever
 * openblas_set_num_threads was told before. */
static void multiply(const struct openblas *p, const float *x, size_t rows, size_t x_stride,
                     float *y, size_t y_stride)
{
    omp_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)p->outputs,
                (blasint)p->inputs, 1.0f, x, (blasint)x_stride, p->weights, (blasint)p->inputs,
                0.0f, y, (blasint)y_stride);
}

/* A copy of the rows, the first of them again as padding. That the copy's memory is asked for at each
 * call is the price of a path that reading takes only where asked for by name. */
static void multiply_padded(const struct openblas *p, const float *x, size_t rows, size_t x_stride,
                            float *y, size_t y_stride)
{
    const size_t K = p->inputs, N = p->outputs;
    float *in = malloc(p->least * (K + N) * sizeof *in), *out = in + p->least * K;

    require(in);
    for (size_t row = 0; row < p->least; row++)
        memcpy(in + row * K, x + (row < rows ? row : 0) * x_stride, K * sizeof *in);
    multiply(p, in, p->least, K, out, N);
    for (size_t row = 0; row < rows; row++)
        memcpy(y + row * y_stride, out + row * N, N * sizeof *y);
    free(in);
}

void openblas_run(const struct openblas *p, const float *x, size_t rows, size_t x_stride, float *y,
                  size_t y_stride)
{
    if (rows < p->least)
        multiply_padded(p, x, rows, x_stride, y, y_stride);
    else
        multiply(p, x, rows, x_stride, y, y_stride);
}

/* Is each row of x (CHECK_ROWS rows) the same bits when multiplied among fewer, and elsewhere? want
 * holds the product of all rows at once. */
static bool rows_are_stable(const struct openblas *p, const float *x, const float *want, float *y)
{
    static const size_t counts[] = {1,  2,  3,  4,   5,   6,   7,   8,   9,   11,
                                    12, 13, 15, 16,  17,  23,  24,  25,  31,  32,
                                    33, 47, 64, 100, 128, 192, 255, 256, 257, 299};
    const size_t row_bytes = p->outputs * sizeof *y;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t rows = counts[i], first = (i * 37) % (CHECK_ROWS - rows + 1);
        openblas_run(p, x + first * p->inputs, rows, p->inputs, y, p->outputs);
        if (memcmp(y, want + first * p->outputs, rows * row_bytes) != 0)
            return false;
    }
    return true;
}

/* Find the least number of rows that makes rows stable; 0 where none does. */
static enum err_code find_least(struct openblas *p, struct err *err)
{
    size_t x_count = CHECK_ROWS * p->inputs, y_count = CHECK_ROWS * p->outputs;
    float *x = malloc((x_count + 2 * y_count) * sizeof *x);
    bool stable = false;

    if (!x)
        return err_set(err, ERR_MEMORY, 0, "the check of a product");
    check_floats(x, x_count, 1);
    multiply(p, x, CHECK_ROWS, p->inputs, x + x_count, p->outputs);
    for (size_t i = 0; !stable && i < sizeof least_rows / sizeof *least_rows; i++) {
        p->least = least_rows[i];
        stable = rows_are_stable(p, x, x + x_count, x + x_count + y_count);
    }
    free(x);
    if (!stable)
        return err_set(err, ERR_MISMATCH, 0,
                       "OpenBLAS (%s) adds up a row of a %zu x %zu product differently among other "
                       "rows, so reading could not be resumed to the same bytes; use --blas own",
                       openblas_get_corename(), p->outputs, p->inputs);
    return ERR_OK;
}

enum err_code openblas_open(struct openblas **out, const struct weights *weights, struct err *err)
{
    size_t count = weights->outputs * weights->inputs;
    struct openblas *p = malloc(sizeof *p + count * sizeof *p->weights);
    enum err_code code;

    if (!p)
        return err_set(err, ERR_MEMORY, 0, "%zu floats of a matrix", count);
    p->outputs = weights->outputs;
    p->inputs = weights->inputs;
    weights->rows(weights->from, 0, p->outputs, p->weights);
    code = find_least(p, err);
    if (code)
        openblas_close(&p);
    else
        *out = p;
    return code;
}

void openblas_close(struct openblas **product)
{
    free(*product);
    *product = NULL;
}
