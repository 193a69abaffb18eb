/* tests/test_engine_convert.c: decays from what was made of them back to raw. The rest of the converter is
 * tested over whole files by test_e2e_model_commands. */
#include "engine/decay.h"
#include "tests/engine_help.h"

enum { COUNT = 10000 };

static struct kernels kernels;

static float uniform(uint64_t *seed, float low, float high)
{
    return low + (high - low) * (float)(next_random(seed) >> 8 & 0xFFFFFF) / 16777216.0F;
}

/* As the loader does. */
static void make(unsigned version, float *values, size_t count)
{
    kernels.exp(values, values, count);
    for (size_t i = 0; i < count; i++)
        values[i] = -values[i];
    if (version == 5)
        kernels.exp(values, values, count);
}

static const struct {
    unsigned version;
    float low, high;
} ranges[] = {{4, -9, 3}, {4, -1, 1}, {5, -9, 2}, {5, -6, -1}};
enum { RANGES = sizeof ranges / sizeof *ranges };

static void what_our_exponential_made_is_made_again_bit_for_bit(void **unused)
{
    (void)unused;
    for (int r = 0; r < RANGES; r++) {
        float raw[COUNT], made[COUNT], again[COUNT];
        uint64_t seed = 1, near = 1;

        for (size_t i = 0; i < COUNT; i++)
            raw[i] = uniform(&seed, ranges[r].low, ranges[r].high);
        memcpy(made, raw, sizeof made);
        make(ranges[r].version, made, COUNT);
        memcpy(again, made, sizeof again);
        assert_true(decay_invert(&kernels, ranges[r].version, again, COUNT, &near));
        assert_int_equal(near, 0);
        for (size_t i = 0; i < COUNT; i++)
            assert_true(fabsf(again[i] - raw[i]) < 3e-4F); /* of many that give one, the middle */
        make(ranges[r].version, again, COUNT);
        assert_memory_equal(again, made, sizeof made);
    }
}

/* Correctly rounded, as hardly any program does it: sometimes between two that ours can make. */
static void what_another_exponential_made_is_met_or_nearly(void **unused)
{
    (void)unused;
    for (int r = 0; r < RANGES; r++) {
        float made[COUNT], again[COUNT];
        uint64_t seed = 2, near = 0, off = 0;

        for (size_t i = 0; i < COUNT; i++) {
            double raw = uniform(&seed, ranges[r].low, ranges[r].high);
            made[i] = again[i] = (float)(ranges[r].version == 4 ? -exp(raw) : exp(-exp(raw)));
        }
        assert_true(decay_invert(&kernels, ranges[r].version, again, COUNT, &near));
        make(ranges[r].version, again, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            float least = ranges[r].version == 4 ? fabsf(made[i]) : 1;
            assert_true(fabsf(again[i] - made[i]) <= 1.2e-7F * least);
            off += again[i] != made[i];
        }
        assert_int_equal(off, near);
        assert_true(near < COUNT / 10);
    }
}

static void the_ends_have_a_raw_form_too(void **unused)
{
    static const float ends4[] = {0, -0.0F, -1e-30F, -1e30F}, ends5[] = {0, 1, 1e-38F};
    float again[4];
    uint64_t near;

    (void)unused;
    memcpy(again, ends4, sizeof ends4);
    assert_true(decay_invert(&kernels, 4, again, 4, &near));
    for (int i = 0; i < 4; i++)
        assert_true(isfinite(again[i]));
    make(4, again, 4);
    assert_true(again[0] == 0 && again[1] == 0);
    assert_true(fabsf(again[2] + 1e-30F) < 1e-35F && fabsf(again[3] + 1e30F) < 1e25F);
    memcpy(again, ends5, sizeof ends5);
    assert_true(decay_invert(&kernels, 5, again, 3, &near));
    make(5, again, 3);
    assert_true(again[0] == 0 && again[1] == 1 && again[2] < 2e-38F);
}

static void what_no_decay_can_be_is_refused(void **unused)
{
    static const float wrong4[] = {1e-30F, 1, INFINITY, -INFINITY, NAN};
    static const float wrong5[] = {-1e-30F, 1.0000001F, INFINITY, -INFINITY, NAN};
    uint64_t near;

    (void)unused;
    for (int i = 0; i < 5; i++) {
        float four = wrong4[i], five = wrong5[i];
        assert_false(decay_invert(&kernels, 4, &four, 1, &near));
        assert_false(decay_invert(&kernels, 5, &five, 1, &near));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_our_exponential_made_is_made_again_bit_for_bit),
        cmocka_unit_test(what_another_exponential_made_is_met_or_nearly),
        cmocka_unit_test(the_ends_have_a_raw_form_too),
        cmocka_unit_test(what_no_decay_can_be_is_refused),
    };
    struct err err;

    if (kernels_init(&kernels, "ref", "ref", &err))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
