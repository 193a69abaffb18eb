/* int8.c: products of int8 weights, built once for each level, and once for processors that multiply bytes.
 *
 * A word of weights is four inputs of one output. Integers add up to the same in any order, so there are no
 * blocks. SDOT takes signed bytes. VPDPBUSD takes unsigned ones on one side: activations are offset by 128 for
 * it, and the sums of the weights take that back. A packed row's scale stands behind all rows. */
#include "engine/kernels/inside.h"
#include "engine/kernels/lanes.h"

#define JOIN(a, b)   a##b
#define EXPORT(a, b) JOIN(a, b)

#if defined(__AVX512VNNI__)
#define NAME EXPORT(kernels_int8_, native)
enum { OFFSET = 128 };

INLINE struct words dot_add(struct words sum, struct words x, struct words w)
{
    return words_of(_mm512_dpbusd_epi32(words_v(sum), words_v(x), words_v(w)));
}
#elif defined(__ARM_FEATURE_DOTPROD)
#define NAME EXPORT(kernels_int8_, LEVEL)
enum { OFFSET = 0 };

INLINE struct words dot_add(struct words sum, struct words x, struct words w)
{
    return words_dot_add(sum, x, w);
}
#else
#define NAME EXPORT(kernels_int8_, LEVEL)
enum { OFFSET = 0 };

INLINE struct words dot_add(struct words sum, struct words x, struct words w)
{
    return words_add(sum, words_dot(x, w));
}
#endif
#if TILE_ROWS == 8
#define ROWS 8
#else
#define ROWS 4
#endif

static void pack(void *room, const float *x, size_t rows, size_t x_stride, size_t inputs)
{
    const size_t words = (inputs + 3) / 4;
    float *scales = (float *)room + rows * words;

    for (size_t row = 0; row < rows; row++) {
        uint8_t *to = (uint8_t *)room + row * words * 4;
        const float *from = x + row * x_stride;
        scales[row] = int8_scale(from, inputs);
        int8_row(to, from, inputs, scales[row], OFFSET);
        memset(to + inputs, OFFSET, words * 4 - inputs);
    }
}

/* rows x panels sums over all inputs; ahead as in wide.c. x: words of the rows; scales: theirs. */
INLINE void tile(const struct panels *w, size_t panel, const uint32_t *x, const float *scales,
                 size_t words, float *y, size_t y_stride, size_t rows, size_t panels,
                 const char *ahead)
{
    const uint32_t *at = (const uint32_t *)w->data + panel * words * 16;
    const size_t next = words * 16;
    struct words sums[ROWS][4];

    UNROLL_ALL
    for (size_t j = 0; j < panels; j++) {
        struct words begin = OFFSET ? words_load(w->sums + (panel + j) * 16) : words_set(0);
        UNROLL_ALL
        for (size_t i = 0; i < rows; i++)
            sums[i][j] = begin;
    }
    UNROLL_4
    for (size_t k = 0; k < words; k++, at += 16, ahead += 16) {
        struct words weight[4];
        __builtin_prefetch(ahead, 0, 2);
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++)
            weight[j] = words_load(at + j * next);
        UNROLL_ALL
        for (size_t i = 0; i < rows; i++) {
            struct words one = words_set(x[i * words + k]);
            UNROLL_ALL
            for (size_t j = 0; j < panels; j++)
                sums[i][j] = dot_add(sums[i][j], one, weight[j]);
        }
    }
    UNROLL_ALL
    for (size_t j = 0; j < panels; j++) {
        size_t column = (panel + j) * 16;
        struct lanes scale = lanes_load(w->scales + column);
        UNROLL_ALL
        for (size_t i = 0; i < rows; i++) {
            struct lanes both = lanes_mul(scale, lanes_set(scales[i]));
            store(y + i * y_stride + column, lanes_mul(words_to_lanes(sums[i][j]), both),
                  w->outputs - column);
        }
    }
}

/* All rows by a group of panels. */
INLINE void group(const struct panels *w, size_t panel, const uint32_t *x, size_t rows, float *y,
                  size_t y_stride, size_t panels)
{
    const size_t words = (w->inputs + 3) / 4;
    const float *scales = (const float *)x + rows * words;

    for (size_t row = 0; row < rows; row += ROWS) {
        const uint32_t *from = x + row * words;
        const char *ahead = tile_ahead(w, words, panel, panels, 0, words, words, row / ROWS);
        float *to = y + row * y_stride;
#define TILE(n)                                                                    \
    case n:                                                                        \
        tile(w, panel, from, scales + row, words, to, y_stride, n, panels, ahead); \
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

static void multiply(const struct panels *w, const void *room, size_t rows, float *y,
                     size_t y_stride)
{
    const size_t all = (w->outputs + 15) / 16;
    size_t panel = 0;

    for (; rows == 1 && panel + 4 <= all; panel += 4)
        group(w, panel, room, 1, y, y_stride, 4);
#define GROUP(n) group(w, panel, room, rows, y, y_stride, n)
    EACH_GROUP(panel, all, GROUP);
#undef GROUP
}

/* A chain multiplies what the next one has, which no compiler knows beforehand; one multiplied by itself would be
 * copied first, which takes a quarter. */
static float peak(size_t rounds, float x)
{
    struct words sums[PEAK_CHAINS], all = words_set(0), factor;

    factor = words_set((uint32_t)(8 * x) * 0x01010101u);
    for (size_t part = 0; part < 24; part += PEAK_CHAINS) {
        UNROLL_ALL
        for (size_t i = 0; i < PEAK_CHAINS; i++)
            sums[i] = words_set((uint32_t)(part + i));
        for (size_t round = 0; round < rounds; round++) {
            UNROLL_ALL
            for (size_t i = 0; i < PEAK_CHAINS; i++)
                sums[i] = dot_add(sums[i], sums[(i + 1) % PEAK_CHAINS], factor);
        }
        UNROLL_ALL
        for (size_t i = 0; i < PEAK_CHAINS; i++)
            all = words_add(all, sums[i]);
    }
    return lanes_sum(words_to_lanes(all));
}

void NAME(struct kernels *kernels)
{
    kernels->int8 = (struct narrow){pack, multiply, peak};
}
