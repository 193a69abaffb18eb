/* Golden hashes: they freeze the arithmetic f32-1. A hash that changes means that checkpoints of earlier
 * builds would go on with other numbers: it is never edited, a new arithmetic gets a new name. */
#include "tests/kernel_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 400000 };

static const struct {
    const char *name;
    uint64_t hash;
} golden[] = {{"layernorm", 0x6B8C6503FAF579EB}, {"groupnorm", 0x7F0DD2A1F8219105},
              {"shift4", 0xD27E710BAA850505},    {"shift7", 0x5785F88B601D275D},
              {"maps", 0x5D78D444ADEDFB41},      {"combines", 0x2161D893D4EC8790},
              {"decay7", 0xD8083FDF2A4507B0},    {"value7", 0xC0A66E226D3D6B6A},
              {"key7", 0xE227DCE2F0F4A052},      {"wkv7", 0x7991847C9AB1FB23},
              {"output7", 0x13B7C889E65C3480},   {"wkv4", 0xC070EAE83EDC01CE},
              {"loss", 0xEE3AB20ABBA6B647},      {"product", 0x0610749CF108CD73},
              {"shift6", 0x535E2791F247DB31},    {"decay6", 0x62626341FC0E1A21},
              {"wkv6", 0x1E9DDF67AD9B0B5B},      {"output5", 0x360B0196EA9A52EE}};

/* FNV-1a over the bits, low byte first on every machine. */
static uint64_t hash_floats(uint64_t hash, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ (bits >> shift & 0xFF)) * 0x100000001B3u;
    }
    return hash;
}

static uint64_t hash_case(const struct kernel_case *test, const struct kernels *kernels,
                          struct arena *arena)
{
    static const size_t lengths[] = {5, 8, 32, 64, 100};
    static const size_t product_lengths[] = {512, 600, 1024, 1040, 2300};
    const bool product = strcmp(test->name, "product") == 0;
    uint64_t hash = 0xCBF29CE484222325u;

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        arena_reset(arena, 1 + i);
        test->run(kernels, arena, 3, lengths[i]);
        hash = hash_floats(hash, arena->data, arena->used);
        if (product) {
            arena_reset(arena, 1 + i);
            test->run(kernels, arena, 2, product_lengths[i]);
            hash = hash_floats(hash, arena->data, arena->used);
        }
    }
    return hash;
}

static void check_level(const char *isa)
{
    struct kernels kernels;
    struct arena arena;
    size_t wrong = 0;

    assert_int_equal(kernels_init(&kernels, isa, "own", NULL), ERR_OK);
    arena_open(&arena, ROOM);
    for (const struct kernel_case *test = kernel_cases; test->name; test++) {
        uint64_t hash = hash_case(test, &kernels, &arena), want = 0;
        for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
            if (strcmp(golden[i].name, test->name) == 0)
                want = golden[i].hash;
        if (hash != want) {
            print_message("%s at %s: {\"%s\", 0x%016llX}\n", test->name, kernels.isa, test->name,
                          (unsigned long long)hash);
            wrong++;
        }
    }
    arena_close(&arena);
    assert_int_equal(wrong, 0);
}

static void ref_is_f32_1(void **state)
{
    (void)state;
    check_level("ref");
}

static void the_best_level_is_f32_1(void **state)
{
    (void)state;
    check_level("auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_f32_1),
        cmocka_unit_test(the_best_level_is_f32_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
