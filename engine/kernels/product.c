/* product.c: one matrix, packed for the product that was chosen.
 *
 * Four ways, three of them with the same bits: "ref" keeps the rows and calls the key, "own" packs
 * panels for wide.c and narrow.c, "onednn" lets the library pack and is taken only where it was seen to equal the key
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
    enum kernels_weights weights;
    struct narrow narrow;
    void *data;    /* ref: [outputs][inputs] f32; own: panels */
    float *scales; /* int8, as struct panels has them */
    int32_t *sums;
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

static enum err_code allocate(void **out, size_t bytes, struct err *err)
{
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
    enum err_code code = allocate(&p->data, w->outputs * w->inputs * sizeof(float), err);

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

/* The same of narrow weights: 16 words lie together. */
static void pack_bf16(uint16_t *panel, const float *rows, size_t count, size_t inputs)
{
    for (size_t k = 0; k < (inputs + 1) / 2 * 2; k++)
        for (size_t row = 0; row < 16; row++)
            panel[(k / 2 * 16 + row) * 2 + k % 2] =
                row < count && k < inputs ? (uint16_t)bf16_of(rows[row * inputs + k]) : 0;
}

/* line: room for a row. */
static void pack_int8(struct product *p, size_t first, uint8_t *line, const float *rows,
                      size_t count)
{
    const size_t words = (p->inputs + 3) / 4;
    uint8_t *panel = (uint8_t *)p->data + first * words * 4;

    for (size_t row = 0; row < count; row++) {
        const float *from = rows + row * p->inputs;
        const float scale = int8_scale(from, p->inputs);
        int8_row(line, from, p->inputs, scale, 0);
        p->scales[first + row] = scale;
        for (size_t k = 0; k < p->inputs; k++) {
            panel[(k / 4 * 16 + row) * 4 + k % 4] = line[k];
            p->sums[first + row] -= 128 * (int8_t)line[k];
        }
    }
}

static size_t panel_bytes(const struct product *p)
{
    size_t bytes[] = {[WEIGHTS_F32] = p->inputs * 4,
                      [WEIGHTS_BF16] = (p->inputs + 1) / 2 * 4,
                      [WEIGHTS_INT8] = (p->inputs + 3) / 4 * 4};
    return 16 * bytes[p->weights];
}

static enum err_code allocate_own(struct product *p, struct err *err)
{
    const size_t panels = (p->outputs + 15) / 16;
    enum err_code code = allocate(&p->data, panels * panel_bytes(p), err);

    if (code || p->weights != WEIGHTS_INT8)
        return code;
    memset(p->data, 0, panels * panel_bytes(p));
    p->scales = calloc(panels * 16, sizeof *p->scales);
    p->sums = calloc(panels * 16, sizeof *p->sums);
    return p->scales && p->sums ? ERR_OK : err_set(err, ERR_MEMORY, 0, "the scales of a matrix");
}

static enum err_code open_own(struct product *p, const struct weights *w, struct err *err)
{
    float *piece = malloc(17 * w->inputs * sizeof *piece);
    enum err_code code;

    if (!piece)
        return err_set(err, ERR_MEMORY, 0, "16 rows of a matrix");
    code = allocate_own(p, err);
    for (size_t row = 0, some; row < w->outputs && !code; row += some) {
        void *panel = (uint8_t *)p->data + row / 16 * panel_bytes(p);
        some = w->outputs - row < 16 ? w->outputs - row : 16;
        w->rows(w->from, row, some, piece);
        if (p->weights == WEIGHTS_F32)
            pack(panel, piece, some, w->inputs);
        else if (p->weights == WEIGHTS_BF16)
            pack_bf16(panel, piece, some, w->inputs);
        else
            pack_int8(p, row, (uint8_t *)(piece + 16 * w->inputs), piece, some);
    }
    free(piece);
    return code;
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

/* Matrices of low rank gain nothing by int8, and would lose; beyond 65,536 inputs sums might not fit. */
static enum kernels_weights weights_of(enum kernels_weights asked, const struct weights *w)
{
    enum { LEAST = 128, MOST = 65536 };

    if (asked != WEIGHTS_INT8)
        return asked;
    return w->outputs >= LEAST && w->inputs >= LEAST && w->inputs <= MOST ? asked : WEIGHTS_F32;
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
    p->weights = weights_of(kernels->weights, weights);
    p->narrow = p->weights == WEIGHTS_BF16 ? kernels->bf16 : kernels->int8;
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
    free(p->scales);
    free(p->sums);
    free(p);
    *product = NULL;
}

static void run_ref(const struct product *p, const float *x, size_t rows, size_t x_stride, float *y,
                    size_t y_stride)
{
    typedef float key_fn(const float *x, const float *w, size_t inputs);
    static key_fn *const keys[] = {[WEIGHTS_F32] = product_key,
                                   [WEIGHTS_BF16] = product_key_bf16,
                                   [WEIGHTS_INT8] = product_key_int8};
    const float *data = p->data;

    for (size_t row = 0; row < rows; row++)
        for (size_t n = 0; n < p->outputs; n++)
            y[row * y_stride + n] =
                keys[p->weights](x + row * x_stride, data + n * p->inputs, p->inputs);
}

/* Outputs first .. end; first at the beginning of a panel. */
static void run_own(const struct product *p, size_t first, size_t end, const float *x, size_t rows,
                    size_t x_stride, float *y, size_t y_stride, const void *room)
{
    const struct panels panels = {(const uint8_t *)p->data + first / 16 * panel_bytes(p),
                                  end - first, p->inputs, p->scales ? p->scales + first : NULL,
                                  p->sums ? p->sums + first : NULL};

    if (p->weights == WEIGHTS_F32)
        p->multiply(&panels, x, rows, x_stride, y + first, y_stride);
    else
        p->narrow.panels(&panels, room, rows, y + first, y_stride);
}

static bool is_own(const struct product *p)
{
    return p->blas == BLAS_OWN && !p->onednn && !p->openblas;
}

/* Parts of so many panels that one row still keeps enough chains going, and that the time to hand one out is
 * nothing beside the time that its weights take. */
enum { PART_OUTPUTS = 12 * 16, PART_BYTES = 64 << 10 };

size_t product_parts(const struct product *p)
{
    const size_t parts = (p->outputs + PART_OUTPUTS - 1) / PART_OUTPUTS;

    return is_own(p) && panel_bytes(p) * PART_OUTPUTS / 16 >= PART_BYTES ? parts : 1;
}

void product_begin(const struct product *p, const float *x, size_t rows, size_t x_stride,
                   void *room)
{
    require(rows <= PRODUCT_ROWS_MAX && x_stride >= p->inputs);
    if (!is_own(p) || p->weights == WEIGHTS_F32)
        return;
    require(room);
    p->narrow.pack(room, x, rows, x_stride, p->inputs);
}

static void run(const struct product *p, size_t first, size_t end, const float *x, size_t rows,
                size_t x_stride, float *y, size_t y_stride, const void *room)
{
    const bool flush =
        p->weights == WEIGHTS_BF16 && p->blas == BLAS_OWN; /* the key rounds by itself */

    if (rows == 0)
        return;
    if (flush)
        float_control_flush();
    if (p->onednn)
        onednn_run(p->onednn, x, rows, x_stride, y, y_stride);
    else if (p->openblas)
        openblas_run(p->openblas, x, rows, x_stride, y, y_stride);
    else if (p->blas == BLAS_OWN)
        run_own(p, first, end, x, rows, x_stride, y, y_stride, room);
    else
        run_ref(p, x, rows, x_stride, y, y_stride);
    if (flush)
        float_control_set();
}

void product_part(const struct product *p, size_t part, const float *x, size_t rows,
                  size_t x_stride, float *y, size_t y_stride, const void *room)
{
    const bool whole = product_parts(p) == 1;
    const size_t first = whole ? 0 : part * PART_OUTPUTS;
    const size_t left = p->outputs - first;

    require(y_stride >= p->outputs);
    run(p, first, whole || left < PART_OUTPUTS ? p->outputs : first + PART_OUTPUTS, x, rows,
        x_stride, y, y_stride, room);
}

void product_run(const struct product *p, const float *x, size_t rows, size_t x_stride, float *y,
                 size_t y_stride, void *room)
{
    require(y_stride >= p->outputs);
    if (rows == 0)
        return;
    product_begin(p, x, rows, x_stride, room);
    run(p, 0, p->outputs, x, rows, x_stride, y, y_stride, room);
}

enum kernels_weights product_weights(const struct product *product)
{
    return product->weights;
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
