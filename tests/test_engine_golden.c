/* Golden hashes of whole models: the losses of 600 tokens and the state behind them, bit for bit. They are
 * the same in every build (release, sanitizers, gcc, clang), at every level, with any number of workers;
 * so two builds that pass write the same bytes. Never edited: see test_kernel_golden.c. */
#include "tests/engine_help.h"

enum { TOKENS = 600 };

static const struct {
    const char *file, *isa;
    unsigned threads;
    uint64_t hash;
    const char *weights;
} golden[] = {
    {"nano.safetensors", "auto", 1, 0x0F28D308F14796C3, "f32"},
    {"nano.safetensors", "auto", 2, 0x0F28D308F14796C3, "f32"},
    {"nano.safetensors", "ref", 1, 0x0F28D308F14796C3, "f32"},
    {"nano4.safetensors", "auto", 1, 0xF0C17616447C78CE, "f32"},
    {"nano4.safetensors", "ref", 2, 0xF0C17616447C78CE, "f32"},
    {"nano_tiles.safetensors", "auto", 1, 0x1E0030750D75AA1C, "f32"},
    {"nano_tiles.safetensors", "auto", 2, 0x1E0030750D75AA1C, "f32"},
    {"nano51.safetensors", "auto", 2, 0x606B0EC4A52532BF, "f32"},
    {"nano51.safetensors", "ref", 1, 0x606B0EC4A52532BF, "f32"},
    {"nano51g.safetensors", "auto", 1, 0xFD32FE189FF9F272, "f32"},
    {"nano51g.safetensors", "ref", 2, 0xFD32FE189FF9F272, "f32"},
    {"nano52.safetensors", "auto", 2, 0x3AC8BB0978B33622, "f32"},
    {"nano52.safetensors", "ref", 1, 0x3AC8BB0978B33622, "f32"},
    {"nano6.safetensors", "auto", 1, 0x85201A53BD68E6F5, "f32"},
    {"nano6.safetensors", "ref", 2, 0x85201A53BD68E6F5, "f32"},
    {"nano6_tiles.safetensors", "auto", 2, 0x496AE52BF058BDD5, "f32"},
    {"nano6_tiles.safetensors", "ref", 1, 0x496AE52BF058BDD5, "f32"},
    {"nano_state.safetensors", "auto", 1, 0xA23691499A5238A1, "f32"},
    {"nano_state.safetensors", "ref", 2, 0xA23691499A5238A1, "f32"},
    {"nano_wide.safetensors", "auto", 2, 0xE199EAEBEC3084A9, "f32"},
    {"nano_wide.safetensors", "auto", 2, 0xD1918D40124805C0, "bf16"},
    {"nano_wide.safetensors", "ref", 1, 0xD1918D40124805C0, "bf16"},
    {"nano_wide.safetensors", "auto", 2, 0x54AE4400DCD8A0EC, "int8"},
    {"nano_wide.safetensors", "ref", 1, 0x54AE4400DCD8A0EC, "int8"},
    {"nano4.safetensors", "auto", 1, 0x7C2AEE77A5321531, "bf16"},
};

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001B3u;
    return hash;
}

static uint64_t hash_model(const char *file, const char *isa, unsigned threads, const char *weights)
{
    struct engine_options options = {.isa = isa, .threads = threads, .weights = weights};
    char path[400];
    static uint32_t tokens[TOKENS];
    static float loss[TOKENS];
    struct engine *engine;
    uint64_t hash;

    snprintf(path, sizeof path, "%s/%s", NANO_DIR, file);
    engine = engine_of(path, &options);
    struct engine_state *state = state_of(engine);
    size_t state_bytes = engine_info(engine)->state_bytes;
    uint8_t *bytes = malloc(state_bytes);
    assert_non_null(bytes);
    for (uint32_t i = 0, x = 12345; i < TOKENS; i++) {
        x = x * 1664525u + 1013904223u;
        tokens[i] = (x >> 8) % engine_info(engine)->vocab;
    }
    struct engine_job first = {.state = state, .tokens = tokens, .count = 1};
    struct engine_job rest = {
        .state = state, .tokens = tokens + 1, .count = TOKENS - 1, .loss = loss, .snapshot = bytes};
    must_run(engine, &first);
    must_run(engine, &rest);
    hash = hash_bytes(0xCBF29CE484222325u, loss, (TOKENS - 1) * sizeof *loss);
    hash = hash_bytes(hash, bytes, state_bytes);
    free(bytes);
    engine_state_close(&state);
    engine_close(&engine);
    return hash;
}

static void models_give_the_bits_of_yesterday(void **unused)
{
    bool same = true;

    (void)unused;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        uint64_t hash =
            hash_model(golden[i].file, golden[i].isa, golden[i].threads, golden[i].weights);
        same = same && hash == golden[i].hash;
        if (hash != golden[i].hash)
            print_message("%s, isa %s, %u workers, %s: 0x%016llX\n", golden[i].file, golden[i].isa,
                          golden[i].threads, golden[i].weights, (unsigned long long)hash);
    }
    assert_true(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_give_the_bits_of_yesterday)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
