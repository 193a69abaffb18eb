/* Every level gives the bits of ref, writes where it should and nowhere else. */
#include "tests/kernel_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 200000 };

static const char *const levels[] = {"avx2", "avx512", "neon"};

/* False where this processor lacks the level; any other refusal is a fault. */
static bool level_init(struct kernels *kernels, const char *level)
{
    struct err err;
    enum err_code code = kernels_init(kernels, level, "own", &err);

    if (code == ERR_MISMATCH)
        print_message("no %s here: %s\n", level, err.text);
    else
        assert_int_equal(code, ERR_OK);
    return code == ERR_OK;
}

static void compare_case(const struct kernel_case *test, const struct kernels *ref,
                         const struct kernels *level, struct arena arenas[2], size_t rows, size_t n)
{
    uint64_t seed = n * 1000 + rows;

    arena_reset(&arenas[0], seed);
    arena_reset(&arenas[1], seed);
    test->run(ref, &arenas[0], rows, n);
    test->run(level, &arenas[1], rows, n);
    for (size_t i = 0; i < ROOM; i++)
        if (memcmp(&arenas[0].data[i], &arenas[1].data[i], sizeof(float)) != 0)
            fail_msg("%s, %s, rows %zu, n %zu: float %zu of the arena is %.9g, not %.9g",
                     test->name, level->isa, rows, n, i, (double)arenas[1].data[i],
                     (double)arenas[0].data[i]);
}

static void compare_level(const struct kernels *ref, const struct kernels *level,
                          struct arena arenas[2])
{
    static const size_t lengths[] = {80, 96, 100, 112, 128, 192};

    for (const struct kernel_case *test = kernel_cases; test->name; test++) {
        for (size_t n = 1; n <= 67; n++)
            compare_case(test, ref, level, arenas, 1 + n % 4, n);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            compare_case(test, ref, level, arenas, 3, lengths[i]);
        compare_case(test, ref, level, arenas, 17, 64);
        compare_case(test, ref, level, arenas, 40, 8);
    }
}

static void every_level_gives_the_bits_of_ref(void **state)
{
    struct kernels ref, level;
    struct arena arenas[2];

    (void)state;
    assert_int_equal(kernels_init(&ref, "ref", NULL, NULL), ERR_OK);
    arena_open(&arenas[0], ROOM);
    arena_open(&arenas[1], ROOM);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (level_init(&level, levels[i]))
            compare_level(&ref, &level, arenas);
    arena_close(&arenas[0]);
    arena_close(&arenas[1]);
}

/* All kinds of floats: normal, subnormal, infinite, NaN, both signs. */
static void fill_with_every_kind(float *x, size_t count)
{
    static const uint32_t special[] = {0,          0x80000000, 1,          0x80000001, 0x007FFFFF,
                                       0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
                                       0x7FC00000, 0xFFC00000, 0x42B17218, 0xC2CFF1B5, 0xC2AEAC50};
    size_t specials = sizeof special / sizeof *special;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits = i < specials ? special[i] : (uint32_t)i * 2654435761u;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void maps_agree_on_every_kind_of_float(void **state)
{
    enum { COUNT = 1 << 18 };
    struct kernels ref, level;
    float *x = malloc(3 * COUNT * sizeof *x), *want = x + COUNT, *got = x + 2 * COUNT;

    (void)state;
    assert_non_null(x);
    assert_int_equal(kernels_init(&ref, "ref", NULL, NULL), ERR_OK);
    fill_with_every_kind(x, COUNT);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (!level_init(&level, levels[i]))
            continue;
        map_fn *const pairs[][2] = {{ref.exp, level.exp},
                                    {ref.sigmoid, level.sigmoid},
                                    {ref.tanh, level.tanh},
                                    {ref.relu2, level.relu2},
                                    {ref.silu, level.silu}};
        for (size_t f = 0; f < sizeof pairs / sizeof *pairs; f++) {
            pairs[f][0](want, x, COUNT);
            pairs[f][1](got, x, COUNT);
            for (size_t at = 0; at < COUNT; at++)
                if (memcmp(&want[at], &got[at], sizeof *x) != 0 &&
                    !(isnan(want[at]) && isnan(got[at])))
                    fail_msg("map %zu, %s, of %a: %a, not %a", f, level.isa, (double)x[at],
                             (double)got[at], (double)want[at]);
        }
    }
    free(x);
}

/* NaN where the other one is NaN, whatever its payload; else the same bits. */
static void same_or_nan(const float *want, const float *got, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&want[i], &got[i], sizeof *want) != 0 && !(isnan(want[i]) && isnan(got[i])))
            fail_msg("%s: number %zu is %a, not %a", what, i, (double)got[i], (double)want[i]);
}

enum { CHANNELS = 37, STEPS = 6, LOGITS = 45 };

struct spoilt {
    float aa[CHANNELS], bb[CHANNELS], pp[CHANNELS], y[STEPS * CHANNELS], tile[2 * LOGITS];
    struct loss loss[2];
};

/* Version 4's scan, whose maximum of a NaN and a number is the number in one order and the NaN in the other, and the
 * loss, whose maximum passes NaN over: every third number of what goes in is NaN. */
static void spoil(const struct kernels *kernels, struct spoilt *to)
{
    float in[STEPS * CHANNELS], w[CHANNELS], u[CHANNELS];

    for (size_t i = 0; i < STEPS * CHANNELS; i++)
        in[i] = i % 3 == 0 ? NAN : (float)(i % 11) - 5.0f;
    for (size_t i = 0; i < CHANNELS; i++) {
        to->aa[i] = to->bb[i] = 1.0f;
        to->pp[i] = i % 3 == 1 ? NAN : 0.5f;
        w[i] = -0.25f;
        u[i] = 0.25f;
    }
    for (size_t i = 0; i < 2 * LOGITS; i++)
        to->tile[i] = (i * 7) % 3 == 0 ? NAN : (float)(i % 13);
    kernels->wkv4(&(struct wkv4){to->y, to->aa, to->bb, to->pp, in, in, in, w, u, CHANNELS}, STEPS,
                  CHANNELS);
    to->loss[0] = to->loss[1] = loss_none();
    kernels->loss_tile(to->loss, to->tile, 2, LOGITS, LOGITS);
}

static void a_nan_goes_where_ref_lets_it(void **state)
{
    struct kernels ref, level;
    struct spoilt want, got;

    (void)state;
    assert_int_equal(kernels_init(&ref, "ref", "own", NULL), ERR_OK);
    spoil(&ref, &want);
    assert_true(isfinite(want.loss[0].max)); /* the sum tells of the NaN */
    assert_true(isnan(want.loss[0].sum));
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (!level_init(&level, levels[i]))
            continue;
        spoil(&level, &got);
        same_or_nan(want.aa, got.aa, CHANNELS, "aa");
        same_or_nan(want.bb, got.bb, CHANNELS, "bb");
        same_or_nan(want.pp, got.pp, CHANNELS, "pp");
        same_or_nan(want.y, got.y, STEPS * CHANNELS, "y");
        for (size_t row = 0; row < 2; row++) {
            assert_true(got.loss[row].max == want.loss[row].max);
            assert_true(isnan(got.loss[row].sum) && isnan(want.loss[row].sum));
        }
    }
}

enum { T = 9, N = 64, STRIDE = 70 };

typedef void scan_fn(const struct kernels *kernels, float *S, float *y, const float *in,
                     const float *u, size_t tokens);

static void scan7(const struct kernels *kernels, float *S, float *y, const float *in,
                  const float *u, size_t tokens)
{
    (void)u;
    kernels->wkv7(&(struct wkv7){S, y, in, in, in, in, in, in, STRIDE}, tokens, N);
}

static void scan6(const struct kernels *kernels, float *S, float *y, const float *in,
                  const float *u, size_t tokens)
{
    kernels->wkv6(&(struct wkv6){S, y, in, in, in, in, u, STRIDE, STRIDE}, tokens, N);
}

static void compare_cuts(const struct kernels *kernels, scan_fn *scan, struct arena arenas[2])
{
    for (size_t first = 0; first <= T; first++) {
        for (size_t i = 0; i < 2; i++) {
            arena_reset(&arenas[i], 5);
            float *S = arena_take(&arenas[i], N * N, -1, 1), *u = arena_take(&arenas[i], N, -1, 1);
            float *y = arena_rows(&arenas[i], T, N, STRIDE, 0, 1);
            float *in = arena_rows(&arenas[i], T, N, STRIDE, 0.1f, 1);
            size_t split = i == 0 ? 0 : first;
            scan(kernels, S, y, in, u, split);
            scan(kernels, S, y + split * STRIDE, in + split * STRIDE, u, T - split);
        }
        assert_memory_equal(arenas[0].data, arenas[1].data, 20000 * sizeof(float));
    }
}

static void a_run_cut_anywhere_gives_the_same_scan(void **state)
{
    struct kernels kernels;
    struct arena arenas[2];

    (void)state;
    assert_int_equal(kernels_init(&kernels, "auto", "own", NULL), ERR_OK);
    arena_open(&arenas[0], 20000);
    arena_open(&arenas[1], 20000);
    compare_cuts(&kernels, scan7, arenas);
    compare_cuts(&kernels, scan6, arenas);
    arena_close(&arenas[0]);
    arena_close(&arenas[1]);
}

static void names_that_do_not_exist_are_refused(void **state)
{
    struct kernels kernels = {.isa = "untouched"};
    struct err err;

    (void)state;
    assert_int_equal(kernels_init(&kernels, "sse9", NULL, &err), ERR_USAGE);
    assert_int_equal(kernels_init(&kernels, NULL, "mkl", &err), ERR_USAGE);
#if defined(__x86_64__)
    assert_int_equal(kernels_init(&kernels, "neon", NULL, &err), ERR_MISMATCH);
#else
    assert_int_equal(kernels_init(&kernels, "avx2", NULL, &err), ERR_MISMATCH);
#endif
    assert_string_equal(kernels.isa, "untouched");
}

static void flushing_left_on_is_seen(void **state)
{
    (void)state;
    float_control_set();
    assert_true(float_control_is_set());
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
    assert_false(float_control_is_set());
#endif
    float_control_flush();
    assert_false(float_control_is_set());
    float_control_set();
    assert_true(float_control_is_set());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_gives_the_bits_of_ref),
        cmocka_unit_test(maps_agree_on_every_kind_of_float),
        cmocka_unit_test(a_nan_goes_where_ref_lets_it),
        cmocka_unit_test(a_run_cut_anywhere_gives_the_same_scan),
        cmocka_unit_test(names_that_do_not_exist_are_refused),
        cmocka_unit_test(flushing_left_on_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
