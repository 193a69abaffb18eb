/* bf16.c: products of bf16 weights, built once for each level, and once for processors that multiply pairs.
 *
 * A word of weights is two inputs of one output, so one load gives a pair of 16 outputs. A pair adds
 * fma(odd) and then fma(even); that is what VDPBF16PS does, with subnormal numbers taken as zero, and two
 * fused multiply-adds do the same bits with the control set so, but for what settle() puts right on
 * aarch64. Rows come as the level wants them: as bf16, or for two multiply-adds the rounded numbers as
 * floats. */
#include "engine/kernels/inside.h"
#include "engine/kernels/lanes.h"

#define JOIN(a, b)   a##b
#define EXPORT(a, b) JOIN(a, b)

#if defined(__AVX512BF16__)
#define NATIVE 1
#define NAME   EXPORT(kernels_bf16_, native)
#else
#define NATIVE 0
#define NAME   EXPORT(kernels_bf16_, LEVEL)
#endif
#if TILE_ROWS == 8
#define ROWS 8
#else
#define ROWS 4 /* two registers a sum */
#endif

#if NATIVE
typedef uint16_t row_number; /* of a packed row */

INLINE row_number row_number_of(uint32_t bf16)
{
    return (row_number)bf16;
}
#else
typedef float row_number;

INLINE row_number row_number_of(uint32_t bf16)
{
    return bf16_float(bf16);
}
#endif

struct weight {
#if NATIVE
    struct words pair;
#else
    struct lanes odd, even;
#endif
};

INLINE struct weight weight_load(const uint32_t *from)
{
    struct words pair = words_load(from);
#if NATIVE
    return (struct weight){pair};
#else
    return (struct weight){words_bits(words_and(pair, words_set(0xFFFF0000))),
                           words_bits(words_shift_left(pair, 16))};
#endif
}

/* sums[j] + x's pair times the weights' of each panel. */
INLINE void add_pair(struct lanes *sums, const row_number *x, const struct weight *weight,
                     size_t panels)
{
#if NATIVE
    uint32_t pair;
    memcpy(&pair, x, sizeof pair);
    __m512bh one = (__m512bh)words_set(pair).v;
    UNROLL_ALL
    for (size_t j = 0; j < panels; j++)
        sums[j] = lanes_of(_mm512_dpbf16_ps(sums[j].v, one, (__m512bh)weight[j].pair.v));
#else
    struct lanes odd = lanes_set(x[1]), even = lanes_set(x[0]);
    UNROLL_ALL
    for (size_t j = 0; j < panels; j++)
        sums[j] = lanes_fma(odd, weight[j].odd, sums[j]);
    UNROLL_ALL
    for (size_t j = 0; j < panels; j++)
        sums[j] = lanes_fma(even, weight[j].even, sums[j]);
#endif
}

static void pack(void *room, const float *x, size_t rows, size_t x_stride, size_t inputs)
{
    const size_t padded = (inputs + 1) / 2 * 2;

    for (size_t row = 0; row < rows; row++) {
        row_number *to = (row_number *)room + row * padded;
        const float *from = x + row * x_stride;
        for (size_t k = 0; k < inputs; k++)
            to[k] = row_number_of(bf16_of(from[k]));
        if (padded > inputs)
            to[inputs] = 0;
    }
}

/* As wide.c's tile, over pairs begin .. end; ahead as there. */
INLINE void tile(const struct panels *w, size_t panel, size_t begin, size_t end,
                 const row_number *x, size_t pairs, float *y, size_t y_stride, size_t rows,
                 size_t panels, const char *ahead)
{
    const uint32_t *at = (const uint32_t *)w->data + (panel * pairs + begin) * 16;
    const size_t next = pairs * 16;
    struct lanes sums[ROWS][4];

    UNROLL_ALL
    for (size_t i = 0; i < rows; i++) {
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++)
            sums[i][j] = lanes_set(0.0f);
    }
    UNROLL_4
    for (size_t k = begin; k < end; k++, at += 16, ahead += 16) {
        struct weight weight[4];
        __builtin_prefetch(ahead, 0, 2);
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++)
            weight[j] = weight_load(at + j * next);
        UNROLL_ALL
        for (size_t i = 0; i < rows; i++)
            add_pair(sums[i], x + (i * pairs + k) * 2, weight, panels);
    }
    UNROLL_ALL
    for (size_t i = 0; i < rows; i++) {
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++) {
            size_t column = (panel + j) * 16, left = w->outputs - column;
            float *to = y + i * y_stride + column;
            if (begin > 0)
                sums[i][j] = lanes_add(load(to, left), sums[i][j]);
            store(to, sums[i][j], left);
        }
    }
}

/* All rows by a group of panels, block by block of the inputs. */
INLINE void group(const struct panels *w, size_t panel, const row_number *x, size_t rows, float *y,
                  size_t y_stride, size_t panels)
{
    const size_t block = product_block(w->inputs) / 2, pairs = (w->inputs + 1) / 2;

    for (size_t begin = 0; begin < pairs; begin += block) {
        size_t end = pairs - begin < block ? pairs : begin + block;
        for (size_t row = 0; row < rows; row += ROWS) {
            const row_number *from = x + row * pairs * 2;
            const char *ahead = tile_ahead(w, pairs, panel, panels, begin, end, pairs, row / ROWS);
            float *to = y + row * y_stride;
#define TILE(n)                                                                  \
    case n:                                                                      \
        tile(w, panel, begin, end, from, pairs, to, y_stride, n, panels, ahead); \
        break;
            switch (rows - row < ROWS ? rows - row : ROWS) {
                TILE(1)
                TILE(2)
                TILE(3)
                TILE(4)
#if ROWS == 8
                TILE(5)
                TILE(6)
                TILE(7)
                TILE(8)
#endif
            }
#undef TILE
        }
    }
}

#if defined(FLUSHES_BEFORE_ROUNDING)
/* One output as the key has it, for sums the processor has flushed too early. */
static float careful_output(const struct panels *w, size_t output, const row_number *x)
{
    const size_t pairs = (w->inputs + 1) / 2, block = product_block(w->inputs) / 2;
    const uint32_t *at = (const uint32_t *)w->data + output / 16 * pairs * 16 + output % 16;
    float total = 0.0f;

    for (size_t begin = 0; begin < pairs; begin += block) {
        float chain = 0.0f;
        for (size_t k = begin; k < pairs && k < begin + block; k++) {
            chain = bf16_fma(x[2 * k + 1], bf16_float(at[k * 16] >> 16), chain);
            chain = bf16_fma(x[2 * k], bf16_float(at[k * 16]), chain);
        }
        total = begin == 0 ? chain : bf16_sum(total + chain);
    }
    return total;
}

/* Panels anew where any of their sums was flushed. That is rare: x and weights would both have to be tiny. */
static void settle(const struct panels *w, size_t panel, const row_number *x, size_t rows, float *y,
                   size_t y_stride, size_t panels)
{
    const size_t inputs = (w->inputs + 1) / 2 * 2, end = (panel + panels) * 16;

    if (!flushed_any())
        return;
    float_control_set();
    for (size_t row = 0; row < rows; row++)
        for (size_t n = panel * 16; n < end && n < w->outputs; n++)
            y[row * y_stride + n] = careful_output(w, n, x + row * inputs);
    float_control_flush();
}
#else
INLINE void flushed_clear(void)
{
}

INLINE void settle(const struct panels *w, size_t panel, const row_number *x, size_t rows, float *y,
                   size_t y_stride, size_t panels)
{
    (void)w, (void)panel, (void)x, (void)rows, (void)y, (void)y_stride, (void)panels;
}
#endif

INLINE void settled_group(const struct panels *w, size_t panel, const void *room, size_t rows,
                          float *y, size_t y_stride, size_t panels)
{
    flushed_clear();
    group(w, panel, room, rows, y, y_stride, panels);
    settle(w, panel, room, rows, y, y_stride, panels);
}

static void multiply(const struct panels *w, const void *room, size_t rows, float *y,
                     size_t y_stride)
{
    const size_t all = (w->outputs + 15) / 16;
    size_t panel = 0;

    for (; rows == 1 && panel + 4 <= all; panel += 4)
        settled_group(w, panel, room, 1, y, y_stride, 4);
#define GROUP(n) settled_group(w, panel, room, rows, y, y_stride, n)
    EACH_GROUP(panel, all, GROUP);
#undef GROUP
}

static float peak(size_t rounds, float x)
{
    struct lanes sums[24];
    uint32_t pairs[16];
    row_number row[2];
    struct weight weight;

    for (size_t i = 0; i < 16; i++)
        pairs[i] = bf16_of(x) | (uint32_t)bf16_of(x) << 16;
    weight = weight_load(pairs);
    row[0] = row[1] = row_number_of(bf16_of(x));
    UNROLL_ALL
    for (size_t i = 0; i < 24; i++)
        sums[i] = lanes_set((float)i);
    for (size_t part = 0; part < 24; part += PEAK_CHAINS)
        for (size_t round = 0; round < rounds; round++) {
            UNROLL_ALL
            for (size_t i = 0; i < PEAK_CHAINS; i++)
                add_pair(&sums[part + i], row, &weight, 1);
        }
    for (size_t i = 1; i < 24; i++)
        sums[0] = lanes_add(sums[0], sums[i]);
    return lanes_sum(sums[0]);
}

void NAME(struct kernels *kernels)
{
    kernels->bf16 = (struct narrow){pack, multiply, peak};
}
