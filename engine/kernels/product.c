/* product.c: one matrix, packed for the product that was chosen.
 *
 * Four ways, three of them with the same bits: "ref" keeps the rows and calls the key, "own" packs
 * panels for wide.c, "onednn" lets the library pack and is taken only where it was seen to equal the key
 * for this shape. "openblas" is an arithmetic of its own, under its own name. */
#include "engine/kernels/inside.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, HUGE_BYTES = 2 << 20, SIZE_LIMIT = 1 << 24 };

struct product {
    size_t outputs, inputs;
    enum kernels_blas blas;
    bool fell_back;
    panels_fn *multiply;
    float *data; /* ref: [outputs][inputs]; own: panels */
    struct onednn *onednn;
    struct openblas *openblas;
};

void weights_plain_rows(const void *from, size_t first, size_t count, float *out)
{
    const struct weights_plain *plain = from;
    memcpy(out, plain->data + first * plain->inputs, count * plain->inputs * sizeof *out);
}

void check_floats(float *out, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u; /* splitmix64 */
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        out[i] = (float)((int64_t)(z >> 40) - (1 << 23)) / (float)(1 << 23);
    }
}

static enum err_code allocate(float **out, size_t count, struct err *err)
{
    size_t bytes = count * sizeof **out;
    size_t align = bytes < HUGE_BYTES ? ALIGN : HUGE_BYTES;

    *out = aligned_alloc(align, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (!*out)
        return err_set(err, ERR_MEMORY, 0, "%zu bytes for a matrix", bytes);
    /* Half a million faults for a matrix of 2 GB, or a thousand. Advice: it may be refused. */
    if (align == HUGE_BYTES)
        (void)madvise(*out, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
    return ERR_OK;
}

static enum err_code open_ref(struct product *p, const struct weights *w, struct err *err)
{
    enum err_code code = allocate(&p->data, w->outputs * w->inputs, err);

    if (!code)
        w->rows(w->from, 0, w->outputs, p->data);
    return code;
}

/* Spread the rows of a panel, fewer than 16 in the last one, over its columns: 16 values of a panel lie
 * together, so each cache line is written once. */
static void pack(float *panel, const float *rows, size_t count, size_t inputs)
{
    for (size_t k = 0; k < inputs && count == 16; k++)
        for (size_t row = 0; row < 16; row++)
            panel[k * 16 + row] = rows[row * inputs + k];
    for (size_t k = 0; k < inputs && count < 16; k++)
        for (size_t row = 0; row < 16; row++)
            panel[k * 16 + row] = row < count ? rows[row * inputs + k] : 0.0f;
}

static enum err_code open_own(struct product *p, const struct weights *w, struct err *err)
{
    float *piece = NULL;
    enum err_code code = allocate(&p->data, (w->outputs + 15) / 16 * 16 * w->inputs, err);

    if (!code)
        code = allocate(&piece, 16 * w->inputs, err);
    if (code)
        return code;
    for (size_t row = 0, some; row < w->outputs; row += some) {
        some = w->outputs - row < 16 ? w->outputs - row : 16;
        w->rows(w->from, row, some, piece);
        pack(p->data + row * w->inputs, piece, some, w->inputs);
    }
    free(piece);
    return ERR_OK;
}

static enum err_code open_kind(struct product *p, const struct weights *w, struct err *err)
{
    enum err_code code = ERR_OK;

    if (p->blas == BLAS_OPENBLAS)
        return openblas_open(&p->openblas, w, err);
    if (p->blas == BLAS_ONEDNN) {
        code = onednn_open(&p->onednn, w, err);
        if (code || p->onednn)
            return code;
        p->fell_back = true;
        p->blas = p->multiply ? BLAS_OWN : BLAS_REF;
    }
    return p->blas == BLAS_OWN ? open_own(p, w, err) : open_ref(p, w, err);
}

enum err_code product_open(struct product **out, const struct weights *weights,
                           const struct kernels *kernels, struct err *err)
{
    enum err_code code;
    struct product *p;

    require(weights->outputs > 0 && weights->outputs <= SIZE_LIMIT);
    require(weights->inputs > 0 && weights->inputs <= SIZE_LIMIT);
    p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, 0, "a product");
    p->outputs = weights->outputs;
    p->inputs = weights->inputs;
    p->multiply = kernels->panels;
    p->blas = kernels->which;
    code = open_kind(p, weights, err);
    if (code)
        product_close(&p);
    else
        *out = p;
    return code;
}

void product_close(struct product **product)
{
    struct product *p = *product;

    if (!p)
        return;
    onednn_close(&p->onednn);
    openblas_close(&p->openblas);
    free(p->data);
    free(p);
    *product = NULL;
}

static void run_ref(const struct product *p, const float *x, size_t rows, size_t x_stride, float *y,
                    size_t y_stride)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t n = 0; n < p->outputs; n++)
            y[row * y_stride + n] =
                product_key(x + row * x_stride, p->data + n * p->inputs, p->inputs);
}

void product_run(const struct product *p, const float *x, size_t rows, size_t x_stride, float *y,
                 size_t y_stride)
{
    const struct panels panels = {p->data, p->outputs, p->inputs};

    require(rows <= PRODUCT_ROWS_MAX && x_stride >= p->inputs && y_stride >= p->outputs);
    if (rows == 0)
        return;
    if (p->onednn)
        onednn_run(p->onednn, x, rows, x_stride, y, y_stride);
    else if (p->openblas)
        openblas_run(p->openblas, x, rows, x_stride, y, y_stride);
    else if (p->blas == BLAS_OWN)
        p->multiply(&panels, x, rows, x_stride, y, y_stride);
    else
        run_ref(p, x, rows, x_stride, y, y_stride);
}

size_t product_outputs(const struct product *product)
{
    return product->outputs;
}

size_t product_inputs(const struct product *product)
{
    return product->inputs;
}

const char *product_blas(const struct product *p)
{
    return p->onednn ? "onednn" : p->openblas ? "openblas" : p->blas == BLAS_OWN ? "own" : "ref";
}

bool product_fell_back(const struct product *product)
{
    return product->fell_back;
}
