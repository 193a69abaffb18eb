/* Products: the key's bits by every way, whatever the number of rows and whoever the neighbours are. */
#include "tests/kernel_cases.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 300, ROOM = 3000000 };

struct shape {
    size_t outputs, inputs;
};

/* Odd ones, the small models', blocks of the key cut short and just full. */
static const struct shape shapes[] = {{1, 1},     {8, 32},    {32, 8},    {112, 32},  {32, 112},
                                      {256, 64},  {64, 256},  {100, 300}, {192, 192}, {48, 520},
                                      {33, 1024}, {40, 1056}, {17, 2100}, {1024, 128}};

static struct product *open_product(const struct shape *shape, const float *w, const char *isa,
                                    const char *blas)
{
    struct weights_plain plain = {w, shape->inputs};
    struct weights weights = {shape->outputs, shape->inputs, weights_plain_rows, &plain};
    struct kernels kernels;
    struct product *product = NULL;
    struct err err = {0};

    assert_int_equal(kernels_init(&kernels, isa, blas, &err), ERR_OK);
    if (product_open(&product, &weights, &kernels, &err))
        fail_msg("%s", err.text);
    return product;
}

static void same(const float *got, const float *want, size_t count, const struct shape *shape,
                 size_t rows, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s, %zu x %zu, %zu rows: output %zu is %a, not %a", what, shape->outputs,
                     shape->inputs, rows, i, (double)got[i], (double)want[i]);
}

/* Rows from a place in the middle, among others, with gaps of NaN behind them. */
static void check_rows(const struct product *product, const struct shape *shape, const float *x,
                       const float *want, size_t rows, struct arena *arena, const char *what)
{
    size_t N = shape->outputs, K = shape->inputs, first = (rows * 7) % (ROWS - rows + 1);
    size_t before = arena->used;
    float *in = arena_rows(arena, rows, 0, K + 3, 0, 1),
          *out = arena_rows(arena, rows, 0, N + 5, 0, 1);
    float *dense = arena_rows(arena, rows, 0, N, 0, 1);

    for (size_t row = 0; row < rows; row++)
        memcpy(in + row * (K + 3), x + (first + row) * K, K * sizeof *in);
    product_run(product, in, rows, K + 3, out, N + 5);
    for (size_t row = 0; row < rows; row++) {
        same(out + row * (N + 5), want + (first + row) * N, N, shape, rows, what);
        for (size_t gap = N; gap < N + 5; gap++)
            assert_true(isnan(out[row * (N + 5) + gap]));
    }
    assert_true(isnan(out[-1]));
    product_run(product, x + first * K, rows, K, dense, N);
    same(dense, want + first * N, rows * N, shape, rows, what);
    assert_true(isnan(dense[-1]) && isnan(dense[rows * N]));
    arena_reset(arena, 0);
    arena->used = before;
}

static void check_way(const char *isa, const char *blas)
{
    static const size_t counts[] = {1,  2,  3,  5,  6,  7,  8,   9,   11,
                                    13, 17, 24, 31, 33, 64, 100, 257, 300};
    struct kernels kernels;
    struct arena arena;
    struct err err;

    if (kernels_init(&kernels, isa, blas, &err) == ERR_MISMATCH) {
        print_message("%s\n", err.text);
        return;
    }
    arena_open(&arena, ROOM);
    arena_reset(&arena, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t N = shapes[i].outputs, K = shapes[i].inputs;
        float *x = malloc(ROWS * (K + N) * sizeof *x), *want = x + ROWS * K;
        float *w = malloc(N * K * sizeof *w);
        struct product *key, *product;

        assert_true(x && w);
        for (size_t at = 0; at < N * K; at++)
            w[at] = (float)((at * 7919 + 3) % 10007) / 5003.5f - 1.0f;
        for (size_t at = 0; at < ROWS * K; at++)
            x[at] = (float)((at * 6007 + 1) % 10009) / 5004.5f - 1.0f;
        key = open_product(&shapes[i], w, "ref", "ref");
        product_run(key, x, ROWS, K, want, N);
        product = open_product(&shapes[i], w, isa, blas);
        if (product_fell_back(product))
            print_message("%zu x %zu: %s differs here, %s multiplies\n", N, K, blas,
                          product_blas(product));
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            check_rows(product, &shapes[i], x, want, counts[c], &arena, product_blas(product));
        product_close(&key);
        product_close(&product);
        free(x);
        free(w);
    }
    arena_close(&arena);
}

static void own_product_is_the_key_with_avx512(void **state)
{
    (void)state;
    check_way("avx512", "own");
}

static void own_product_is_the_key_with_avx2(void **state)
{
    (void)state;
    check_way("avx2", "own");
}

static void onednn_or_what_replaces_it_is_the_key(void **state)
{
    (void)state;
    check_way("auto", "onednn");
}

static void auto_is_the_key(void **state)
{
    (void)state;
    check_way("auto", "auto");
}

static void a_row_of_nan_does_not_leak_into_others(void **state)
{
    static const char *const ways[] = {"ref", "own", "onednn"};
    const struct shape shape = {48, 70};
    float w[48 * 70], x[9 * 70], clean[9 * 48], y[9 * 48];

    (void)state;
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)(i % 13) - 6.0f;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(i % 11) - 5.0f;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        struct product *product = open_product(&shape, w, NULL, ways[way]);
        product_run(product, x, 9, 70, clean, 48);
        x[4 * 70] = NAN;
        product_run(product, x, 9, 70, y, 48);
        x[4 * 70] = 5.0f;
        assert_memory_equal(y, clean, 4 * 48 * sizeof *y);
        assert_memory_equal(y + 5 * 48, clean + 5 * 48, 4 * 48 * sizeof *y);
        for (size_t i = 0; i < 48; i++)
            assert_true(isnan(y[4 * 48 + i]));
        product_close(&product);
    }
}

struct user {
    const struct product *product;
    const float *x;
    const float *want;
    bool same;
};

static void *use_product(void *argument)
{
    struct user *user = argument;
    float *y = malloc(ROWS * 384 * sizeof *y);

    float_control_set();
    user->same = y != NULL;
    for (size_t rows = 1; user->same && rows < ROWS; rows += 23) {
        product_run(user->product, user->x, rows, 400, y, 384);
        user->same = memcmp(y, user->want, rows * 384 * sizeof *y) == 0 && float_control_is_set();
    }
    free(y);
    return NULL;
}

static void two_threads_share_a_product(void **state)
{
    static const char *const ways[] = {"own", "onednn", "auto"};
    const struct shape shape = {384, 400};
    float *w = malloc((384 * 400 + ROWS * (400 + 384)) * sizeof *w);
    float *x = w + 384 * 400, *want = x + ROWS * 400;

    (void)state;
    assert_non_null(w);
    for (size_t i = 0; i < 384 * 400 + ROWS * 400; i++)
        w[i] = (float)((i * 7919 + 3) % 10007) / 5003.5f - 1.0f;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        struct product *product = open_product(&shape, w, NULL, ways[way]);
        struct user users[2] = {{product, x, want, false}, {product, x, want, false}};
        pthread_t threads[2];

        product_run(product, x, ROWS, 400, want, 384);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, use_product, &users[i]), 0);
        for (size_t i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_true(users[0].same && users[1].same);
        product_close(&product);
    }
    free(w);
}

/* OpenBLAS may be refused on this processor; then the text must name the way out. Where it is accepted
 * its rows are stable and near the key. */
static void openblas_is_row_stable_or_refused(void **state)
{
    const struct shape shape = {96, 160};
    float w[96 * 160], x[20 * 160], want[20 * 96], all[20 * 96], some[20 * 96];
    struct weights_plain plain = {w, 160};
    struct weights weights = {96, 160, weights_plain_rows, &plain};
    struct kernels kernels;
    struct product *product = NULL, *key;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)((i * 7919 + 3) % 10007) / 5003.5f - 1.0f;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)((i * 6007 + 1) % 10009) / 5004.5f - 1.0f;
    assert_int_equal(kernels_init(&kernels, NULL, "openblas", &err), ERR_OK);
    print_message("%s\n", kernels.arithmetic);
    assert_memory_equal(kernels.arithmetic, "f32-openblas-", 13);
    if (product_open(&product, &weights, &kernels, &err)) {
        assert_int_equal(err.code, ERR_MISMATCH);
        assert_non_null(strstr(err.text, "--blas own"));
        assert_null(product);
        return;
    }
    key = open_product(&shape, w, "ref", "ref");
    product_run(key, x, 20, 160, want, 96);
    product_run(product, x, 20, 160, all, 96);
    for (size_t i = 0; i < 20 * 96; i++)
        assert_true(fabsf(all[i] - want[i]) <= 1e-4f);
    for (size_t row = 0; row < 20; row++) {
        product_run(product, x + row * 160, 1, 160, some, 96);
        assert_memory_equal(some, all + row * 96, 96 * sizeof *some);
    }
    product_close(&product);
    product_close(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_product_is_the_key_with_avx512),
        cmocka_unit_test(own_product_is_the_key_with_avx2),
        cmocka_unit_test(onednn_or_what_replaces_it_is_the_key),
        cmocka_unit_test(auto_is_the_key),
        cmocka_unit_test(a_row_of_nan_does_not_leak_into_others),
        cmocka_unit_test(two_threads_share_a_product),
        cmocka_unit_test(openblas_is_row_stable_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
