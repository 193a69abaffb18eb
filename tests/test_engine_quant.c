/* tests/test_engine_quant.c: the number formats of model files, bit for bit against ggml's own decoder. */
#include "engine/formats/formats.h"
#include "tests/engine_help.h"

enum { VALUES = 2048 };

/* The vectors' names of types. */
static const struct {
    enum dtype dtype;
    const char *name;
} types[] = {{DTYPE_F16, "f16"},   {DTYPE_BF16, "bf16"}, {DTYPE_Q4_0, "q4_0"}, {DTYPE_Q4_1, "q4_1"},
             {DTYPE_Q5_0, "q5_0"}, {DTYPE_Q5_1, "q5_1"}, {DTYPE_Q8_0, "q8_0"}, {DTYPE_Q4_K, "q4_K"},
             {DTYPE_Q5_K, "q5_K"}, {DTYPE_Q6_K, "q6_K"}};
enum { TYPES = sizeof types / sizeof *types };

static uint8_t *vector_of(const char *type, const char *kind, size_t want)
{
    char path[1024];
    uint8_t *data;
    size_t bytes;

    snprintf(path, sizeof path, SHARED_DIR "/vectors/quant/quant_%s.%s", type, kind);
    data = file_read(path, &bytes);
    assert_int_equal(bytes, want);
    return data;
}

static uint8_t *blocks_of(size_t type, uint64_t *bytes)
{
    assert_true(dtype_bytes(types[type].dtype, VALUES, bytes));
    return vector_of(types[type].name, "blocks", *bytes);
}

static void every_type_decodes_to_the_bits_of_ggml(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < TYPES; i++) {
        uint8_t *want = vector_of(types[i].name, "f32", VALUES * sizeof(float));
        float *got = malloc(VALUES * sizeof *got);
        uint64_t bytes;
        uint8_t *blocks = blocks_of(i, &bytes);

        assert_non_null(got);
        dtypes[types[i].dtype].decode(got, blocks, VALUES);
        for (size_t k = 0; k < VALUES; k++)
            if (memcmp(got + k, want + k * sizeof(float), sizeof(float)))
                fail_msg("%s: value %zu is %.9g", types[i].name, k, (double)got[k]);
        free(want);
        free(got);
        free(blocks);
    }
}

/* Blocks stand alone, anywhere: at odd addresses, one by one and many at once. */
static void a_block_decodes_alike_wherever_it_lies(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < TYPES; i++) {
        const struct dtype_info *info = &dtypes[types[i].dtype];
        float all[VALUES], one[256];
        uint64_t bytes;
        uint8_t *blocks = blocks_of(i, &bytes);

        info->decode(all, blocks, VALUES);
        for (size_t k = 0; k < VALUES / info->items; k++) {
            /* Just as long as it may read: a sanitizer sees a byte too many. */
            uint8_t *odd = malloc(info->bytes + 1);
            assert_non_null(odd);
            memcpy(odd + 1, blocks + k * info->bytes, info->bytes);
            info->decode(one, odd + 1, info->items);
            assert_memory_equal(one, all + k * info->items, info->items * sizeof *one);
            free(odd);
        }
        free(blocks);
    }
}

static double half_by_definition(unsigned half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);

    return half >> 15 ? -value : value;
}

static void all_halves_are_what_their_definition_says(void **unused)
{
    (void)unused;
    for (unsigned half = 0; half < 1 << 16; half++) {
        uint8_t bytes[2] = {(uint8_t)half, (uint8_t)(half >> 8)};
        double want = half_by_definition(half);
        float got;

        dtypes[DTYPE_F16].decode(&got, bytes, 1);
        if (isnan(want) ? !isnan(got) : (double)got != want || !signbit(got) != !signbit(want))
            fail_msg("%04x is %.9g, not %.9g", half, (double)got, want);
    }
}

/* Every value of every byte of a block, at each place: what is not one of its finite values is infinite or
 * NaN because a scale was. */
static void any_bytes_are_a_block(void **unused)
{
    uint64_t seed = 1;

    (void)unused;
    for (size_t i = 0; i < TYPES; i++) {
        const struct dtype_info *info = &dtypes[types[i].dtype];
        bool finite = false;

        for (int round = 0; round < 2000; round++) {
            uint8_t *block = malloc(info->bytes);
            float out[256];
            assert_non_null(block);
            for (uint32_t k = 0; k < info->bytes; k++)
                block[k] = (uint8_t)next_random(&seed);
            info->decode(out, block, info->items);
            for (uint32_t k = 0; k < info->items; k++)
                finite = finite || (isfinite(out[k]) && out[k] != 0);
            free(block);
        }
        assert_true(finite);
    }
}

int main(void)
{
    const struct CMUnitTest with_vectors[] = {
        cmocka_unit_test(every_type_decodes_to_the_bits_of_ggml),
        cmocka_unit_test(a_block_decodes_alike_wherever_it_lies),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_halves_are_what_their_definition_says),
        cmocka_unit_test(any_bytes_are_a_block),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (access(SHARED_DIR "/vectors/quant/quant_q8_0.f32", R_OK)) {
        printf("skipped: no vectors in " SHARED_DIR "\n");
        return failed ? failed : 77;
    }
    return failed + cmocka_run_group_tests(with_vectors, NULL, NULL);
}
