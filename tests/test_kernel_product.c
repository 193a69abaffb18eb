/* Products: the key's bits by every way, whatever the number of rows and whoever the neighbours are. */
#include "engine/kernels/inside.h"
#include "tests/dear.h"
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
static const struct shape shapes[] = {{1, 1},     {8, 32},     {32, 8},     {112, 32},
                                      {32, 112},  {256, 64},   {64, 256},   {100, 300},
                                      {192, 192}, {48, 520},   {33, 1024},  {40, 1056},
                                      {17, 2100}, {1024, 128}, {131, 1031}, {200, 1100}};

/* For products of narrow weights, of any shape here. */
static uint8_t room[ROWS * 9000];

/* "native": pairs of bf16 by the instruction for them, also where that is the slower way. */
static enum err_code init(struct kernels *kernels, const char *isa, const char *blas,
                          struct err *err)
{
    bool native = isa && strcmp(isa, "native") == 0;
    enum err_code code = kernels_init(kernels, native ? "avx512" : isa, blas, err);

#if defined(__x86_64__)
    if (!code && native && !__builtin_cpu_supports("avx512bf16"))
        return err_set(err, ERR_MISMATCH, 0, "this processor has no bf16");
    if (!code && native)
        kernels_bf16_native(kernels);
#endif
    return code;
}

static struct product *open_narrow(const struct shape *shape, const float *w, const char *isa,
                                   const char *blas, const char *narrow)
{
    struct weights_plain plain = {w, shape->inputs};
    struct weights weights = {shape->outputs, shape->inputs, weights_plain_rows, &plain};
    struct kernels kernels;
    struct product *product = NULL;
    struct err err = {0};

    assert_true(product_room(ROWS, shape->inputs) <= sizeof room);
    assert_int_equal(init(&kernels, isa, blas, &err), ERR_OK);
    assert_int_equal(kernels_set_weights(&kernels, narrow, &err), ERR_OK);
    if (product_open(&product, &weights, &kernels, &err))
        fail_msg("%s", err.text);
    return product;
}

static struct product *open_product(const struct shape *shape, const float *w, const char *isa,
                                    const char *blas)
{
    return open_narrow(shape, w, isa, blas, "f32");
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
    product_run(product, in, rows, K + 3, out, N + 5, room);
    for (size_t row = 0; row < rows; row++) {
        same(out + row * (N + 5), want + (first + row) * N, N, shape, rows, what);
        for (size_t gap = N; gap < N + 5; gap++)
            assert_true(isnan(out[row * (N + 5) + gap]));
    }
    assert_true(isnan(out[-1]));
    product_run(product, x + first * K, rows, K, dense, N, room);
    assert_true(float_control_is_set());
    same(dense, want + first * N, rows * N, shape, rows, what);
    assert_true(isnan(dense[-1]) && isnan(dense[rows * N]));
    for (size_t i = 0; i < rows * N; i++)
        dense[i] = NAN;
    product_begin(product, x + first * K, rows, K, room);
    for (size_t part = product_parts(product); part-- > 0;)
        product_part(product, part, x + first * K, rows, K, dense, N, room);
    same(dense, want + first * N, rows * N, shape, rows, "in parts");
    assert_true(isnan(dense[-1]) && isnan(dense[rows * N]));
    arena_reset(arena, 0);
    arena->used = before;
}

enum { SHAPES = sizeof shapes / sizeof *shapes };

/* What the key makes of a shape's rows, computed once a type for all ways that are compared with it. */
static const float *key_of(size_t shape, const float *w, const float *x, const char *narrow)
{
    static float *keys[3][SHAPES];
    float **key = &keys[strcmp(narrow, "f32") == 0    ? 0
                        : strcmp(narrow, "bf16") == 0 ? 1
                                                      : 2][shape];
    size_t N = shapes[shape].outputs, K = shapes[shape].inputs;
    struct product *product;

    if (*key)
        return *key;
    *key = malloc(ROWS * N * sizeof **key);
    assert_non_null(*key);
    product = open_narrow(&shapes[shape], w, "ref", "ref", narrow);
    product_run(product, x, ROWS, K, *key, N, room);
    product_close(&product);
    return *key;
}

static void check_way(const char *isa, const char *blas, const char *narrow)
{
    static const size_t counts[] = {1,  2,  3,  5,  6,  7,  8,   9,   11,
                                    13, 17, 24, 31, 33, 64, 100, 257, 300};
    struct kernels kernels;
    struct arena arena;
    struct err err;

    if (init(&kernels, isa, blas, &err) == ERR_MISMATCH) {
        print_message("%s\n", err.text);
        return;
    }
    arena_open(&arena, ROOM);
    arena_reset(&arena, 0);
    for (size_t i = 0; i < SHAPES; i++) {
        size_t N = shapes[i].outputs, K = shapes[i].inputs;
        float *x = malloc(ROWS * K * sizeof *x), *w = malloc(N * K * sizeof *w);
        const float *want;
        struct product *product;

        assert_true(x && w);
        for (size_t at = 0; at < N * K; at++)
            w[at] = (float)((at * 7919 + 3) % 10007) / 5003.5f - 1.0f;
        for (size_t at = 0; at < ROWS * K; at++)
            x[at] = (float)((at * 6007 + 1) % 10009) / 5004.5f - 1.0f;
        /* Subnormal numbers, sums that nearly are, ties in rounding, a row of zeros. */
        for (size_t at = 0; at < ROWS * K && strcmp(narrow, "f32") != 0; at += 7)
            x[at] = at % 3 ? (float)at * 1e-42f : at % 2 ? -1.00390625f : 1e-38f;
        memset(x + 5 * K, 0, K * sizeof *x);
        want = key_of(i, w, x, narrow);
        product = open_narrow(&shapes[i], w, isa, blas, narrow);
        if (product_fell_back(product))
            print_message("%zu x %zu: %s differs here, %s multiplies\n", N, K, blas,
                          product_blas(product));
        for (size_t c = i % dear(); c < sizeof counts / sizeof *counts; c += dear())
            check_rows(product, &shapes[i], x, want, counts[c], &arena, product_blas(product));
        product_close(&product);
        free(x);
        free(w);
    }
    arena_close(&arena);
}

static void own_product_is_the_key_with_avx512(void **state)
{
    (void)state;
    check_way("avx512", "own", "f32");
}

static void own_product_is_the_key_with_avx2(void **state)
{
    (void)state;
    check_way("avx2", "own", "f32");
}

static void own_product_is_the_key_with_neon(void **state)
{
    (void)state;
    check_way("neon", "own", "f32");
}

static void onednn_or_what_replaces_it_is_the_key(void **state)
{
    (void)state;
    check_way("auto", "onednn", "f32");
}

static void auto_is_the_key(void **state)
{
    (void)state;
    check_way("auto", "auto", "f32");
}

static void narrow_products_are_the_key_at_every_level(void **state)
{
    static const char *const levels[] = {"native", "avx512", "avx512f", "avx2", "dotprod", "neon"};

    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        check_way(levels[i], "own", "bf16");
        check_way(levels[i], "own", "int8");
    }
}

/* Sums at the least normal number, found by hand: (x0 w0), then pairs of which only the first is taken here. A
 * subnormal sum is zero, with its sign; one that rounds up to the least normal number, as numbers of 24 bits round,
 * is that number; the tie does; what is nearer to the number below does not, though a subnormal number could not
 * hold the difference. */
static void bf16_sums_at_the_edge_are_as_defined(void **state)
{
    static const char *const levels[] = {"ref",  "native",  "avx512", "avx512f",
                                         "avx2", "dotprod", "neon"};
    static const struct {
        float x0, w0, x1, w1, want; /* x0 w0 joins the chain first */
    } cases[] = {{0x1p-63f, 0x1p-63f, 0, 0, 0x1p-126f},
                 {0x1p-63f, 0x1p-64f, 0, 0, 0.0f},
                 {-0x1p-63f, 0x1p-64f, -0.0f, 0, -0.0f},
                 {0x1p-63f, 0x1p-63f, -0x1p-80f, 0x1p-80f, 0x1p-126f},
                 {-0x1p-63f, 0x1p-63f, 0x1p-80f, 0x1p-80f, -0x1p-126f},
                 {0x1p-63f, 0x1p-63f, -0x1p-76f, 0x1p-75f, 0x1p-126f},
                 {0x1p-63f, 0x1p-63f, -0x1.02p-76f, 0x1p-75f, 0.0f},
                 {0x1p-63f, 0x1p-63f, -0x1p-75f, 0x1p-75f, 0.0f},
                 {-0x1p-63f, 0x1p-63f, 0x1p-75f, 0x1p-75f, -0.0f},
                 {0x1p-63f, 0x1p-63f, -0x1p-70f, 0x1p-60f, 0.0f},
                 {0x1p-63f, 0x1p-63f, 0x1p-80f, 0x1p-80f, 0x1p-126f}};
    const struct shape shape = {40, 2};
    float w[80], x[10], y[5 * 40];
    struct kernels kernels;
    struct err err;

    (void)state;
    for (size_t level = 0; level < sizeof levels / sizeof *levels; level++) {
        if (init(&kernels, levels[level], "own", &err) == ERR_MISMATCH)
            continue;
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            for (size_t i = 0; i < 80; i += 2) {
                w[i + 1] = cases[c].w0; /* of a pair the second is first */
                w[i] = cases[c].w1;
            }
            for (size_t i = 0; i < 10; i += 2) {
                x[i + 1] = cases[c].x0;
                x[i] = cases[c].x1;
            }
            struct product *product = open_narrow(&shape, w, levels[level], "own", "bf16");
            product_run(product, x, 5, 2, y, 40, room);
            for (size_t i = 0; i < 5 * 40; i++)
                if (memcmp(&y[i], &cases[c].want, sizeof *y) != 0)
                    fail_msg("case %zu at %s: %a, not %a", c, levels[level], (double)y[i],
                             (double)cases[c].want);
            product_close(&product);
        }
    }
}

/* Frozen as test_kernel_golden freezes the rest: never edited, a new arithmetic gets a new name. */
static void bf16_1_and_int8_1_are_what_they_were(void **state)
{
    static const struct {
        const char *narrow;
        uint64_t hash;
    } golden[] = {{"bf16", 0xE7AB68246C78122A}, {"int8", 0xE3CAA080BEE577CE}};
    const struct shape shape = {130, 1500};
    float *w = malloc((130 + 3) * 1500 * sizeof *w), *x = w + 130 * 1500, y[3 * 130];

    (void)state;
    assert_non_null(w);
    for (size_t i = 0; i < (130 + 3) * 1500; i++)
        w[i] = (float)((i * 7919 + 3) % 10007) / 5003.5f - 1.0f;
    for (size_t i = 0; i < 2; i++) {
        struct product *product = open_narrow(&shape, w, "auto", "own", golden[i].narrow);
        uint64_t hash = 0xCBF29CE484222325u;
        product_run(product, x, 3, 1500, y, 130, room);
        for (size_t at = 0; at < 3 * 130; at++) {
            uint32_t bits;
            memcpy(&bits, &y[at], sizeof bits);
            for (int shift = 0; shift < 32; shift += 8)
                hash = (hash ^ (bits >> shift & 0xFF)) * 0x100000001B3u;
        }
        if (hash != golden[i].hash)
            fail_msg("%s: 0x%016llX", golden[i].narrow, (unsigned long long)hash);
        product_close(&product);
    }
    free(w);
}

/* Small beside what the numbers are: half a unit of 8 bits for bf16, of 1/127 of a row's largest for int8. */
static void narrow_products_are_near(void **state)
{
    const struct shape shape = {160, 700};
    float *w = malloc((160 + 2) * 700 * sizeof *w), *x = w + 160 * 700, want[2 * 160], got[2 * 160];
    struct product *f32, *narrow;

    (void)state;
    assert_non_null(w);
    for (size_t i = 0; i < (160 + 2) * 700; i++)
        w[i] = (float)((i * 7919 + 3) % 10007) / 5003.5f - 1.0f;
    f32 = open_product(&shape, w, NULL, "own");
    product_run(f32, x, 2, 700, want, 160, NULL);
    product_close(&f32);
    for (int i = 0; i < 2; i++) {
        narrow = open_narrow(&shape, w, NULL, "own", i ? "int8" : "bf16");
        assert_int_equal(product_weights(narrow), i ? WEIGHTS_INT8 : WEIGHTS_BF16);
        product_run(narrow, x, 2, 700, got, 160, room);
        /* 700 products of at most 1, their errors independent: about the root of 700 of one. */
        for (size_t at = 0; at < 2 * 160; at++)
            assert_true(fabsf(got[at] - want[at]) < 5 * sqrtf(700) * (i ? 1.0f / 254 : 1.0f / 256));
        product_close(&narrow);
    }
    free(w);
}

static void narrow_weights_are_refused_to_libraries(void **state)
{
    struct kernels kernels;
    struct err err;

    (void)state;
    assert_int_equal(kernels_init(&kernels, NULL, "onednn", &err), ERR_OK);
    assert_int_equal(kernels_set_weights(&kernels, "bf16", &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "--weights f32"));
    assert_int_equal(kernels_set_weights(&kernels, "f32", &err), ERR_OK);
    assert_int_equal(kernels_set_weights(&kernels, "int4", &err), ERR_USAGE);
    assert_int_equal(kernels_init(&kernels, NULL, NULL, &err), ERR_OK);
    assert_int_equal(kernels_set_weights(&kernels, "int8", &err), ERR_OK);
    assert_string_equal(kernels.arithmetic, "int8-1");
}

static void a_row_of_nan_does_not_leak_into_others(void **state)
{
    static const struct {
        const char *isa, *blas, *narrow;
    } ways[] = {{NULL, "ref", "f32"},   {NULL, "own", "f32"},  {NULL, "onednn", "f32"},
                {"ref", "ref", "bf16"}, {NULL, "own", "bf16"}, {"avx2", "own", "bf16"},
                {"ref", "ref", "int8"}, {NULL, "own", "int8"}, {"avx2", "own", "int8"},
                {"neon", "own", "int8"}};
    const struct shape shape = {144, 200};
    static float w[144 * 200], x[9 * 200], clean[9 * 144], y[9 * 144];

    (void)state;
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)(i % 13) - 6.0f;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(i % 11) - 5.0f;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        struct kernels kernels;
        if (init(&kernels, ways[way].isa, ways[way].blas, NULL) == ERR_MISMATCH)
            continue;
        struct product *product =
            open_narrow(&shape, w, ways[way].isa, ways[way].blas, ways[way].narrow);
        product_run(product, x, 9, 200, clean, 144, room);
        x[4 * 200] = NAN;
        product_run(product, x, 9, 200, y, 144, room);
        x[4 * 200] = 5.0f;
        assert_memory_equal(y, clean, 4 * 144 * sizeof *y);
        assert_memory_equal(y + 5 * 144, clean + 5 * 144, 4 * 144 * sizeof *y);
        for (size_t i = 0; i < 144; i++)
            assert_true(isnan(y[4 * 144 + i]));
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
        product_run(user->product, user->x, rows, 400, y, 384, NULL);
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

        product_run(product, x, ROWS, 400, want, 384, NULL);
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
    product_run(key, x, 20, 160, want, 96, NULL);
    product_run(product, x, 20, 160, all, 96, NULL);
    for (size_t i = 0; i < 20 * 96; i++)
        assert_true(fabsf(all[i] - want[i]) <= 1e-4f);
    for (size_t row = 0; row < 20; row++) {
        product_run(product, x + row * 160, 1, 160, some, 96, NULL);
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
        cmocka_unit_test(own_product_is_the_key_with_neon),
        cmocka_unit_test(onednn_or_what_replaces_it_is_the_key),
        cmocka_unit_test(auto_is_the_key),
        cmocka_unit_test(narrow_products_are_the_key_at_every_level),
        cmocka_unit_test(bf16_sums_at_the_edge_are_as_defined),
        cmocka_unit_test(bf16_1_and_int8_1_are_what_they_were),
        cmocka_unit_test(narrow_products_are_near),
        cmocka_unit_test(narrow_weights_are_refused_to_libraries),
        cmocka_unit_test(a_row_of_nan_does_not_leak_into_others),
        cmocka_unit_test(two_threads_share_a_product),
        cmocka_unit_test(openblas_is_row_stable_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
