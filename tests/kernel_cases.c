#include "tests/kernel_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 19, HEADS = 3 }; /* an odd guard, so that buffers lie on no boundary */

void arena_open(struct arena *arena, size_t room)
{
    *arena = (struct arena){malloc(room * sizeof(float)), 0, room, 0};
    require(arena->data);
}

void arena_close(struct arena *arena)
{
    free(arena->data);
    arena->data = NULL;
}

void arena_reset(struct arena *arena, uint64_t seed)
{
    const uint32_t guard = 0x7FC0DEAD; /* a NaN */

    for (size_t i = 0; i < arena->room; i++)
        memcpy(&arena->data[i], &guard, sizeof guard);
    arena->used = 0;
    arena->seed = seed;
}

static float uniform(uint64_t *seed, float low, float high)
{
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return low + (high - low) * ((float)(z >> 40) / 16777216.0f);
}

float *arena_rows(struct arena *arena, size_t rows, size_t columns, size_t stride, float low,
                  float high)
{
    float *at = arena->data + arena->used + GUARD;

    require(arena->used + 2 * GUARD + rows * stride <= arena->room);
    arena->used += GUARD + rows * stride;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < columns; i++)
            at[row * stride + i] = uniform(&arena->seed, low, high);
    return at;
}

float *arena_take(struct arena *arena, size_t count, float low, float high)
{
    return arena_rows(arena, 1, count, count, low, high);
}

/* ---- The cases. ---- */

static void case_layernorm(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    float *y = arena_take(a, rows * n, 0, 1), *x = arena_take(a, rows * n, -3, 2);
    float *delta = arena_take(a, rows * n, -1, 1), *weight = arena_take(a, n, 0, 2);
    float *bias = arena_take(a, n, -1, 1);

    kernels->layernorm(y, x, NULL, weight, bias, 1e-5f, rows, n);
    kernels->layernorm(delta, x, delta, weight, bias, 1e-5f, rows, n); /* y may be delta */
}

static void case_groupnorm(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    float *y = arena_take(a, rows * HEADS * n, -3, 2), *weight = arena_take(a, HEADS * n, 0, 2);
    float *bias = arena_take(a, HEADS * n, -1, 1);

    kernels->groupnorm(y, weight, bias, 64e-5f, rows, HEADS, n);
}

static void run_shift(shift_fn *shift, struct arena *a, size_t rows, size_t n)
{
    float *out[SHIFT_MIXES_MAX];
    const float *mix[SHIFT_MIXES_MAX];
    float *x = arena_take(a, rows * n, -2, 2), *before = arena_take(a, n, -2, 2);

    for (size_t i = 0; i < SHIFT_MIXES_MAX; i++) {
        out[i] = arena_take(a, rows * n, 0, 1);
        mix[i] = arena_take(a, n, 0, 1);
    }
    shift(out, x, before, mix, 1 + n % SHIFT_MIXES_MAX, rows, n);
}

static void case_shift4(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    run_shift(kernels->shift4, a, rows, n);
}

static void case_shift7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    run_shift(kernels->shift7, a, rows, n);
}

/* The mixes that come with the data are what stands in out. */
static void case_shift6(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    run_shift(kernels->shift6, a, rows, n);
}

static void case_maps(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    map_fn *const maps[] = {kernels->exp, kernels->sigmoid, kernels->tanh, kernels->relu2,
                            kernels->silu};

    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        float *y = arena_take(a, rows * n, 0, 1), *x = arena_take(a, rows * n, -20, 20);
        float *small = arena_take(a, n, -1, 1);
        maps[i](y, x, rows * n);
        maps[i](small, small, n); /* y may be x */
    }
}

static void case_combines(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    combine_fn *const combines[] = {kernels->add, kernels->multiply, kernels->gate_sigmoid};

    for (size_t i = 0; i < sizeof combines / sizeof *combines; i++) {
        float *y = arena_take(a, rows * n, -2, 2), *x = arena_take(a, rows * n, -8, 8);
        combines[i](y, x, rows * n);
    }
}

static void case_decay7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    float *z = arena_take(a, rows * n, -6, 6), *w0 = arena_take(a, n, -6, 6);

    kernels->decay7(z, w0, rows, n);
}

static void case_decay6(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    float *z = arena_take(a, rows * n, -4, 4), *w0 = arena_take(a, n, -8, 3);

    kernels->decay6(z, w0, rows, n);
}

static void case_value7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    float *v = arena_take(a, rows * n, -2, 2), *v_first = arena_take(a, rows * n, -2, 2);
    float *z = arena_take(a, rows * n, -4, 4), *v0 = arena_take(a, n, -2, 2);

    kernels->value7(v, v_first, z, v0, rows, n);
}

static void case_key7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t all = HEADS * n;
    struct key7 key = {.k = arena_take(a, rows * all, -2, 2),
                       .kk_a = arena_take(a, rows * all, -4, 4),
                       .minus_kk = arena_take(a, rows * all, 0, 1),
                       .a0 = arena_take(a, all, -2, 2),
                       .k_k = arena_take(a, all, 0, 1.5f),
                       .k_a = arena_take(a, all, 0, 1)};

    memset(key.k, 0, n * sizeof *key.k); /* one head without a direction: its norm is 0 */
    kernels->key7(&key, rows, HEADS, n);
}

static void case_wkv7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t stride = HEADS * n + 5;
    struct wkv7 scan = {.S = arena_take(a, n * n, -1, 1),
                        .y = arena_rows(a, rows, n, stride, 0, 1),
                        .r = arena_rows(a, rows, n, stride, -2, 2),
                        .w = arena_rows(a, rows, n, stride, 0.545f, 1),
                        .k = arena_rows(a, rows, n, stride, -2, 2),
                        .v = arena_rows(a, rows, n, stride, -2, 2),
                        .a = arena_rows(a, rows, n, stride, -0.2f, 0.2f),
                        .b = arena_rows(a, rows, n, stride, -0.2f, 0.2f),
                        .stride = stride};

    kernels->wkv7(&scan, rows, n);
}

static void case_output7(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t all = HEADS * n;
    struct output7 out = {.y = arena_take(a, rows * all, -3, 2),
                          .r = arena_take(a, rows * all, -2, 2),
                          .k = arena_take(a, rows * all, -2, 2),
                          .v = arena_take(a, rows * all, -2, 2),
                          .g = arena_take(a, rows * all, -1, 2),
                          .r_k = arena_take(a, all, -1, 1),
                          .weight = arena_take(a, all, 0, 2),
                          .bias = arena_take(a, all, -1, 1),
                          .eps = 64e-5f};

    kernels->output7(&out, rows, HEADS, n);
    out.g = NULL;
    kernels->output7(&out, rows, HEADS, n);
}

/* A decay for each token, then one for all; both may be next to nothing. */
static void case_wkv6(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t stride = HEADS * n + 5;
    struct wkv6 scan = {.S = arena_take(a, n * n, -1, 1),
                        .y = arena_rows(a, rows, n, stride, 0, 1),
                        .r = arena_rows(a, rows, n, stride, -2, 2),
                        .w = arena_rows(a, rows, n, stride + 2, 0, 1),
                        .k = arena_rows(a, rows, n, stride, -2, 2),
                        .v = arena_rows(a, rows, n, stride, -2, 2),
                        .u = arena_take(a, n, -1, 1),
                        .stride = stride,
                        .w_stride = stride + 2};

    kernels->wkv6(&scan, rows, n);
    scan.y = arena_rows(a, rows, n, stride, 0, 1);
    scan.w = arena_take(a, n, 1e-42f, 1);
    scan.w_stride = 0;
    kernels->wkv6(&scan, rows, n);
}

static void case_output5(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t all = HEADS * n;
    struct output5 out = {.y = arena_take(a, rows * all, -3, 2),
                          .g = arena_take(a, rows * all, -6, 6),
                          .weight = arena_take(a, all, 0, 2),
                          .bias = arena_take(a, all, -1, 1),
                          .eps = 64e-5f};

    kernels->output5(&out, rows, HEADS, n);
    out.g = NULL;
    kernels->output5(&out, rows, HEADS, n);
}

static void case_wkv4(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t stride = n + 7;
    struct wkv4 scan = {.y = arena_rows(a, rows, n, stride, 0, 1),
                        .aa = arena_take(a, n, -1, 1),
                        .bb = arena_take(a, n, 0.1f, 2),
                        .pp = arena_take(a, n, -3, 3),
                        .r = arena_rows(a, rows, n, stride, -4, 4),
                        .k = arena_rows(a, rows, n, stride, -6, 6),
                        .v = arena_rows(a, rows, n, stride, -2, 2),
                        .w = arena_take(a, n, -3, -0.001f),
                        .u = arena_take(a, n, -2, 2),
                        .stride = stride};

    scan.aa[0] = scan.bb[0] = 0; /* one channel is fresh */
    scan.pp[0] = -1e38f;
    kernels->wkv4(&scan, rows, n);
}

static void case_loss(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t stride = n + 3;
    float *first = arena_rows(a, rows, n, stride, -12, 9);
    float *second = arena_rows(a, rows, n, stride, -12, 9);
    float *out = arena_take(a, rows * 4, 0, 1);

    for (size_t row = 0; row < rows; row++) {
        struct loss loss = loss_none();
        double nats;
        kernels->loss_tile(&loss, first + row * stride, 1, stride, n);
        kernels->loss_tile(&loss, second + row * stride, 1, stride, n);
        nats = loss_nats(&loss, first[row * stride]);
        memcpy(out + row * 4, &loss.sum, sizeof loss.sum);
        memcpy(out + row * 4 + 2, &nats, sizeof nats);
    }
}

/* A product with n inputs, from the key itself at ref and by panels otherwise. */
static void case_product(const struct kernels *kernels, struct arena *a, size_t rows, size_t n)
{
    size_t outputs = 1 + n % 53;
    float *x = arena_rows(a, rows, n, n + 1, -1, 1), *w = arena_take(a, outputs * n, -1, 1);
    float *y = arena_rows(a, rows, outputs, outputs + 2, 0, 1);
    struct weights_plain plain = {w, n};
    struct weights weights = {outputs, n, weights_plain_rows, &plain};
    struct product *product = NULL;
    struct err err;

    require(!product_open(&product, &weights, kernels, &err));
    product_run(product, x, rows, n + 1, y, outputs + 2, NULL);
    product_close(&product);
}

const struct kernel_case kernel_cases[] = {{"layernorm", case_layernorm},
                                           {"groupnorm", case_groupnorm},
                                           {"shift4", case_shift4},
                                           {"shift7", case_shift7},
                                           {"maps", case_maps},
                                           {"combines", case_combines},
                                           {"decay7", case_decay7},
                                           {"value7", case_value7},
                                           {"key7", case_key7},
                                           {"wkv7", case_wkv7},
                                           {"output7", case_output7},
                                           {"wkv4", case_wkv4},
                                           {"loss", case_loss},
                                           {"product", case_product},
                                           {"shift6", case_shift6},
                                           {"decay6", case_decay6},
                                           {"wkv6", case_wkv6},
                                           {"output5", case_output5},
                                           {NULL, NULL}};
