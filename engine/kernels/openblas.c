/* openblas.c: cblas_sgemm, an arithmetic under its own name.
 *
 * Its sums are in an order of its own, which depends on the processor it believes to run on. Reading
 * through it is allowed only where a row's bits are the same whatever the number of rows and whatever
 * the row's place, which is tried out when a product is opened. One row alone is a path of its own in
 * it (sgemv), so one row is multiplied as two. */
#include "engine/kernels/inside.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_ROWS = 300 };

struct openblas {
    size_t outputs, inputs;
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

static void multiply(const struct openblas *p, const float *x, size_t rows, size_t x_stride,
                     float *y, size_t y_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)p->outputs,
                (blasint)p->inputs, 1.0f, x, (blasint)x_stride, p->weights, (blasint)p->inputs,
                0.0f, y, (blasint)y_stride);
}

/* The second row is the first again. A copy, since BLAS refuses the stride of 0 that would read one row
 * twice, and since the caller has room for one row of y only. */
static void multiply_one(const struct openblas *p, const float *x, float *y)
{
    float *pair = malloc((2 * p->inputs + 2 * p->outputs) * sizeof *pair);

    require(pair);
    memcpy(pair, x, p->inputs * sizeof *pair);
    memcpy(pair + p->inputs, x, p->inputs * sizeof *pair);
    multiply(p, pair, 2, p->inputs, pair + 2 * p->inputs, p->outputs);
    memcpy(y, pair + 2 * p->inputs, p->outputs * sizeof *y);
    free(pair);
}

void openblas_run(const struct openblas *p, const float *x, size_t rows, size_t x_stride, float *y,
                  size_t y_stride)
{
    if (rows == 1)
        multiply_one(p, x, y);
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

static enum err_code check(const struct openblas *p, struct err *err)
{
    size_t x_count = CHECK_ROWS * p->inputs, y_count = CHECK_ROWS * p->outputs;
    float *x = malloc((x_count + 2 * y_count) * sizeof *x);
    bool stable;

    if (!x)
        return err_set(err, ERR_MEMORY, 0, "the check of a product");
    check_floats(x, x_count, 1);
    multiply(p, x, CHECK_ROWS, p->inputs, x + x_count, p->outputs);
    stable = rows_are_stable(p, x, x + x_count, x + x_count + y_count);
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
    openblas_set_num_threads(1);
    p->outputs = weights->outputs;
    p->inputs = weights->inputs;
    weights->rows(weights->from, 0, p->outputs, p->weights);
    code = check(p, err);
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
