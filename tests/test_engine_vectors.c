/* tests/test_engine_vectors.c: the engine against numbers of others.
 *
 * The tiny models' published logits, and the float64 reference's logits, losses and states for the tiny
 * and for random models; see README.md beside the vectors for where they come from. */
#include "tests/engine_help.h"

#include <jansson.h>

enum { TEXT_TOKENS = 300, RANDOM_TOKENS = 100 };

static json_t *models, *randoms;

struct case_ {
    const char *name; /* "tiny-rwkv-7v0-834K-FP32.bin" */
    const char *prompt_file;
    double prompt_tolerance;
};

/* Published figures for FP16 hold another program's rounding of activations; there are none for the
 * quantised files. */
static const struct case_ cases[] = {
    {"tiny-rwkv-7v0-834K-FP32.bin", "expected-logits-7v0-834K.bin", 2e-5},
    {"tiny-rwkv-7v0-834K-FP16.bin", "expected-logits-7v0-834K.bin", 2e-5},
    {"tiny-rwkv-4v0-660K-FP32.bin", "expected-logits-4v0-660K.bin", 2e-5},
    {"tiny-rwkv-4v0-660K-FP16.bin", "expected-logits-4v0-660K.bin", 0.005},
    {"tiny-rwkv-7v0-834K-Q5_0.bin", NULL, 0},
    {"tiny-rwkv-7v0-834K-Q5_1.bin", NULL, 0},
    {"tiny-rwkv-4v0-660K-Q5_0.bin", NULL, 0},
    {"tiny-rwkv-4v0-660K-Q5_1.bin", NULL, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

static void assert_close(const float *got, const float *want, size_t count, double atol,
                         double rtol, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= atol + rtol * fabs((double)want[i])))
            fail_msg("%s: at %zu %.9g, not %.9g", what, i, (double)got[i], (double)want[i]);
}

static float *floats_of(const char *folder, const char *file, size_t *count)
{
    char path[1024];
    size_t bytes;
    uint8_t *data;

    snprintf(path, sizeof path, "%s/%s/%s", SHARED_DIR, folder, file);
    data = file_read(path, &bytes);
    *count = bytes / sizeof(float);
    return (float *)(void *)data;
}

static struct engine *open_tiny(const struct case_ *c)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/models/%s", SHARED_DIR, c->name);
    return engine_of(path, &(struct engine_options){.threads = 1, .block_tokens = 128});
}

static void text_tokens(uint32_t *tokens)
{
    char path[1024];
    size_t bytes;
    uint8_t *text;

    snprintf(path, sizeof path, "%s/vectors/text300.txt", SHARED_DIR);
    text = file_read(path, &bytes);
    assert_int_equal(bytes, TEXT_TOKENS);
    for (size_t i = 0; i < TEXT_TOKENS; i++)
        tokens[i] = text[i];
    free(text);
}

/* The logits after each count of tokens that the vectors have. */
static void check_points(struct engine *engine, const json_t *entry, const uint32_t *tokens,
                         const char *name)
{
    const char *count_text;
    const json_t *point;
    float logits[1024];

    assert_true(json_object_size(json_object_get(entry, "points")) >= 3);
    json_object_foreach(json_object_get((json_t *)(uintptr_t)entry, "points"), count_text, point)
    {
        struct engine_state *state = state_of(engine);
        struct engine_job job = {.state = state,
                                 .tokens = tokens,
                                 .count = strtoul(count_text, NULL, 10),
                                 .logits = logits};
        size_t count;
        float *want =
            floats_of("vectors", json_string_value(json_object_get(point, "file")), &count);

        must_run(engine, &job);
        assert_int_equal(count, engine_info(engine)->vocab);
        assert_close(logits, want, count, 2e-5, 0, name);
        engine_state_close(&state);
        free(want);
    }
}

static void tiny_models_give_the_reference_logits(void **unused)
{
    uint32_t tokens[TEXT_TOKENS];

    (void)unused;
    text_tokens(tokens);
    for (size_t i = 0; i < CASES; i++) {
        struct engine *engine = open_tiny(&cases[i]);
        check_points(engine, json_object_get(models, cases[i].name), tokens, cases[i].name);
        engine_close(&engine);
    }
}

static void tiny_models_give_the_published_logits(void **unused)
{
    static const uint32_t prompt[] = {34, 105, 110};
    float logits[256];

    (void)unused;
    for (size_t i = 0; i < CASES; i++) {
        struct engine *engine;
        struct engine_state *state;
        float *want;
        size_t count;

        if (!cases[i].prompt_file)
            continue;
        engine = open_tiny(&cases[i]);
        state = state_of(engine);
        want = floats_of("models", cases[i].prompt_file, &count);
        assert_int_equal(count, 256);
        must_run(engine, &(struct engine_job){
                             .state = state, .tokens = prompt, .count = 3, .logits = logits});
        assert_close(logits, want, count, cases[i].prompt_tolerance, 0, cases[i].name);
        engine_state_close(&state);
        engine_close(&engine);
        free(want);
    }
}

static double total_loss(struct engine *engine, const uint32_t *tokens, size_t count)
{
    struct engine_state *state = state_of(engine);
    float *loss = calloc(count, sizeof *loss);
    double sum = 0;

    assert_non_null(loss);
    must_run(engine, &(struct engine_job){.state = state, .tokens = tokens, .count = 1});
    must_run(engine, &(struct engine_job){
                         .state = state, .tokens = tokens + 1, .count = count - 1, .loss = loss});
    for (size_t i = 0; i + 1 < count; i++)
        sum += (double)loss[i];
    engine_state_close(&state);
    free(loss);
    return sum;
}

static void tiny_models_give_the_reference_loss(void **unused)
{
    uint32_t tokens[TEXT_TOKENS];

    (void)unused;
    text_tokens(tokens);
    for (size_t i = 0; i < CASES; i++) {
        struct engine *engine = open_tiny(&cases[i]);
        double want =
            json_real_value(json_object_get(json_object_get(models, cases[i].name), "nll_nats"));
        double got = total_loss(engine, tokens, TEXT_TOKENS);

        assert_true(want > 100);
        if (!(fabs(got - want) <= 1e-6 * want))
            fail_msg("%s: %.9g nats, not %.9g", cases[i].name, got, want);
        engine_close(&engine);
    }
}

/* Each part of a state within 1e-4 of its largest entry. */
static void check_parts(const float *got, const float *want, const size_t *parts, const char *name)
{
    for (; *parts; got += *parts, want += *parts, parts++) {
        double largest = 0;
        for (size_t i = 0; i < *parts; i++)
            largest = fmax(largest, fabs((double)want[i]));
        assert_close(got, want, *parts, 1e-4 * largest, 0, name);
    }
}

static void tiny_models_reach_the_reference_state(void **unused)
{
    uint32_t tokens[TEXT_TOKENS];

    (void)unused;
    text_tokens(tokens);
    for (size_t i = 0; i < CASES; i++) {
        const json_t *file = json_object_get(json_object_get(models, cases[i].name), "state_file");
        struct engine *engine = open_tiny(&cases[i]);
        const struct engine_info *info = engine_info(engine);
        size_t C = info->channels, count, layer = info->layer_state_bytes / sizeof(float);
        size_t parts4[] = {C, C, C, C, C, 0}, parts7[] = {C, C, layer - 2 * C, 0};
        struct engine_state *state = state_of(engine);
        uint8_t *bytes = malloc(info->state_bytes);
        float *want;

        if (file) {
            must_run(engine,
                     &(struct engine_job){.state = state, .tokens = tokens, .count = TEXT_TOKENS});
            assert_non_null(bytes);
            engine_state_save(state, bytes);
            want = floats_of("vectors", json_string_value(file), &count);
            assert_int_equal(count * sizeof(float), info->layers * info->layer_state_bytes);
            for (size_t k = 0; k < info->layers; k++)
                check_parts((float *)(void *)bytes + k * layer, want + k * layer,
                            info->version_major == 4 ? parts4 : parts7, cases[i].name);
            free(want);
        }
        free(bytes);
        engine_state_close(&state);
        engine_close(&engine);
    }
}

/* Random models of both containers, made by the reference's own writer. */
static void random_models_give_the_reference_logits(void **unused)
{
    static const char *const names[] = {
        "fixtures/v7-f32-safetensors.safetensors", "fixtures/v7-f16-rwkvcpp.bin",
        "fixtures/v4-f16-rwkvcpp.bin", "fixtures/v7-f16-safetensors-webrwkv.safetensors",
        "fixtures/v7-q8_0-rwkvcpp.bin"};
    uint32_t tokens[RANDOM_TOKENS];

    (void)unused;
    for (uint32_t i = 0; i < RANDOM_TOKENS; i++)
        tokens[i] = (7 * i * i + 13 * i + 5) % 256;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *entry = json_object_get(randoms, names[i]);
        char path[] = "/tmp/riverrun-random-XXXXXX", command[2048];
        struct engine *engine;
        double want, got;
        int descriptor;

        assert_non_null(entry);
        descriptor = mkstemp(path);
        assert_true(descriptor >= 0);
        close(descriptor);
        snprintf(command, sizeof command,
                 "/usr/bin/python3 -B %s/reference/make_random_model.py %s -o %s 2>/dev/null",
                 SHARED_DIR, json_string_value(json_object_get(entry, "arguments")), path);
        if (system(command) != 0) {
            unlink(path);
            printf("skipped: the reference's writer needs python3 with numpy\n");
            skip();
        }
        engine = engine_of(path, &(struct engine_options){.threads = 2, .block_tokens = 32});
        check_points(engine, entry, tokens, names[i]);
        want = json_real_value(json_object_get(entry, "nll_nats"));
        got = total_loss(engine, tokens, RANDOM_TOKENS);
        if (!(fabs(got - want) <= 1e-6 * want))
            fail_msg("%s: %.9g nats, not %.9g", names[i], got, want);
        engine_close(&engine);
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_models_give_the_reference_logits),
        cmocka_unit_test(tiny_models_give_the_published_logits),
        cmocka_unit_test(tiny_models_give_the_reference_loss),
        cmocka_unit_test(tiny_models_reach_the_reference_state),
        cmocka_unit_test(random_models_give_the_reference_logits),
    };
    json_t *tiny = json_load_file(SHARED_DIR "/vectors/models.json", 0, NULL);
    json_t *random = json_load_file(SHARED_DIR "/vectors/random.json", 0, NULL);
    int failed;

    if (!tiny || !random) {
        printf("skipped: no vectors in " SHARED_DIR "\n");
        json_decref(tiny);
        json_decref(random);
        return 77;
    }
    models = json_object_get(tiny, "models");
    randoms = json_object_get(random, "models");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(tiny);
    json_decref(random);
    return failed;
}
