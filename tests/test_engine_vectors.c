/* tests/test_engine_vectors.c: the engine against numbers of others.
 *
 * The tiny models' published logits, and the float64 reference's logits, losses and states for the tiny
 * and for random models; see README.md beside the vectors for where they come from. */
#include "tests/engine_help.h"

#include <jansson.h>

enum { TEXT_TOKENS = 300, RANDOM_TOKENS = 100 };

static json_t *models, *randoms;

/* Logits published with a tiny model; the prompt is the same for all. Figures for FP16 hold another
 * program's rounding of activations, those for quantised files do so too much to be compared. */
static const struct {
    const char *name, *prompt_file;
    double tolerance;
} published[] = {
    {"tiny-rwkv-4v0-660K-FP32.bin", "expected-logits-4v0-660K.bin", 2e-5},
    {"tiny-rwkv-4v0-660K-FP16.bin", "expected-logits-4v0-660K.bin", 0.005},
    {"tiny-rwkv-5v1-730K-FP32.bin", "expected-logits-5v1-730K.bin", 2e-5},
    {"tiny-rwkv-5v1-730K-FP16.bin", "expected-logits-5v1-730K.bin", 0.01},
    {"tiny-rwkv-5v2-730K-FP32.bin", "expected-logits-5v2-730K.bin", 2e-5},
    {"tiny-rwkv-5v2-730K-FP16.bin", "expected-logits-5v2-730K.bin", 0.01},
    {"tiny-rwkv-7v0-834K-FP32.bin", "expected-logits-7v0-834K.bin", 2e-5},
    {"tiny-rwkv-7v0-834K-FP16.bin", "expected-logits-7v0-834K.bin", 2e-5},
};

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

/* A name in models.json is that of a file, and what was different about the run in brackets. */
static struct engine *open_tiny(const char *name)
{
    struct engine_options options = {.threads = 1, .block_tokens = 128};
    char path[1024];

    snprintf(path, sizeof path, "%s/models/%.*s", SHARED_DIR, (int)strcspn(name, " "), name);
    if (strstr(name, "(gn_eps 64e-5)"))
        options.gn_eps = 64e-5F;
    return engine_of(path, &options);
}

static void text_tokens(uint32_t *tokens, const char *name)
{
    const bool with_nul = strstr(name, "(NUL after every byte)") != NULL;
    char path[1024];
    size_t bytes;
    uint8_t *text;

    snprintf(path, sizeof path, "%s/vectors/text300.txt", SHARED_DIR);
    text = file_read(path, &bytes);
    assert_int_equal(bytes, TEXT_TOKENS);
    for (size_t i = 0; i < TEXT_TOKENS; i++)
        tokens[i] = !with_nul ? text[i] : i % 2 ? 0 : text[i / 2];
    free(text);
}

static double number_of(const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);

    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* What the engine says of the model is what the reference found. */
static void check_info(const struct engine_info *info, const json_t *entry)
{
    char version[8];

    snprintf(version, sizeof version, info->version_minor ? "%u.%u" : "%u", info->version_major,
             info->version_minor);
    assert_string_equal(version, json_string_value(json_object_get(entry, "version")));
    assert_int_equal(info->layers, number_of(entry, "layers"));
    assert_int_equal(info->channels, number_of(entry, "embd"));
    assert_int_equal(info->ffn_channels, number_of(entry, "ffn"));
    assert_int_equal(info->vocab, number_of(entry, "vocab"));
    assert_int_equal(info->layers * info->layer_state_bytes / sizeof(float),
                     number_of(entry, "state_floats"));
    if (info->version_major > 4) {
        assert_int_equal(info->heads, number_of(entry, "heads"));
        assert_int_equal(info->head_size, number_of(entry, "head_size"));
    } else {
        assert_int_equal(info->heads + info->head_size, 0);
    }
}

/* Logits of version 6 reach 15 in these models, those of the others 5. */
static double tolerance_of(const struct engine *engine)
{
    return engine_info(engine)->version_major == 6 ? 5e-5 : 2e-5;
}

/* The logits after each count of tokens that the vectors have. */
static void check_points(struct engine *engine, const json_t *entry, const uint32_t *tokens,
                         const char *name)
{
    const char *count_text;
    const json_t *point;
    float logits[1024];

    assert_true(json_object_size(json_object_get(entry, "points")) >= 1);
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
        assert_close(logits, want, count, tolerance_of(engine), 0, name);
        engine_state_close(&state);
        free(want);
    }
}

static void tiny_models_give_the_reference_logits(void **unused)
{
    const char *name;
    json_t *entry;

    (void)unused;
    assert_true(json_object_size(models) >= 26);
    json_object_foreach(models, name, entry)
    {
        struct engine *engine = open_tiny(name);
        uint32_t tokens[TEXT_TOKENS];

        text_tokens(tokens, name);
        check_info(engine_info(engine), entry);
        check_points(engine, entry, tokens, name);
        engine_close(&engine);
    }
}

static void tiny_models_give_the_published_logits(void **unused)
{
    static const uint32_t prompt[] = {34, 105, 110};
    float logits[256];

    (void)unused;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct engine *engine = open_tiny(published[i].name);
        struct engine_state *state = state_of(engine);
        size_t count;
        float *want = floats_of("models", published[i].prompt_file, &count);

        assert_int_equal(count, 256);
        must_run(engine, &(struct engine_job){
                             .state = state, .tokens = prompt, .count = 3, .logits = logits});
        assert_close(logits, want, count, published[i].tolerance, 0, published[i].name);
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

static void check_loss(struct engine *engine, const json_t *entry, const uint32_t *tokens,
                       size_t count, const char *name)
{
    double want = number_of(entry, "nll_nats"), got = total_loss(engine, tokens, count);

    assert_true(want > 100);
    if (!(fabs(got - want) <= 1e-6 * want))
        fail_msg("%s: %.9g nats, not %.9g", name, got, want);
}

static void tiny_models_give_the_reference_loss(void **unused)
{
    const char *name;
    json_t *entry;

    (void)unused;
    json_object_foreach(models, name, entry)
    {
        struct engine *engine = open_tiny(name);
        uint32_t tokens[TEXT_TOKENS];

        text_tokens(tokens, name);
        check_loss(engine, entry, tokens, TEXT_TOKENS, name);
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

static void check_state(struct engine *engine, const float *want, const uint32_t *tokens,
                        const char *name)
{
    const struct engine_info *info = engine_info(engine);
    const size_t C = info->channels, layer = info->layer_state_bytes / sizeof(float);
    const size_t parts4[] = {C, C, C, C, C, 0}, parts_of_heads[] = {C, C, layer - 2 * C, 0};
    struct engine_state *state = state_of(engine);
    uint8_t *bytes = malloc(info->state_bytes);

    assert_non_null(bytes);
    must_run(engine, &(struct engine_job){.state = state, .tokens = tokens, .count = TEXT_TOKENS});
    engine_state_save(state, bytes);
    for (size_t k = 0; k < info->layers; k++)
        check_parts((float *)(void *)bytes + k * layer, want + k * layer,
                    info->version_major == 4 ? parts4 : parts_of_heads, name);
    free(bytes);
    engine_state_close(&state);
}

static void tiny_models_reach_the_reference_state(void **unused)
{
    const char *name;
    json_t *entry;
    size_t checked = 0;

    (void)unused;
    json_object_foreach(models, name, entry)
    {
        const json_t *file = json_object_get(entry, "state_file");
        struct engine *engine;
        uint32_t tokens[TEXT_TOKENS];
        size_t count;
        float *want;

        if (!file)
            continue;
        engine = open_tiny(name);
        text_tokens(tokens, name);
        want = floats_of("vectors", json_string_value(file), &count);
        assert_int_equal(count, number_of(entry, "state_floats"));
        check_state(engine, want, tokens, name);
        checked++;
        free(want);
        engine_close(&engine);
    }
    assert_int_equal(checked, 5);
}

/* The random model called name, from its file or made by the reference's own writer at path. */
static struct engine *open_random(const char *name, const json_t *entry, const char *path)
{
    struct engine_options options = {.threads = 2, .block_tokens = 32};
    char command[2048];

    if (json_is_true(json_object_get(entry, "kept")))
        snprintf(command, sizeof command, "cp %s/models/%s %s", SHARED_DIR, name, path);
    else
        snprintf(command, sizeof command,
                 "/usr/bin/python3 -B %s/reference/make_random_model.py %s -o %s 2>/dev/null",
                 SHARED_DIR, json_string_value(json_object_get(entry, "arguments")), path);
    if (system(command) != 0)
        return NULL;
    return engine_of(path, &options);
}

static void random_models_give_the_reference_logits(void **unused)
{
    uint32_t tokens[RANDOM_TOKENS];
    const char *name;
    json_t *entry;
    size_t checked = 0;

    (void)unused;
    for (uint32_t i = 0; i < RANDOM_TOKENS; i++)
        tokens[i] = (7 * i * i + 13 * i + 5) % 256;
    json_object_foreach(randoms, name, entry)
    {
        char path[] = "/tmp/riverrun-random-XXXXXX";
        struct engine *engine;
        int descriptor;

        descriptor = mkstemp(path);
        assert_true(descriptor >= 0);
        close(descriptor);
        engine = open_random(name, entry, path);
        unlink(path);
        if (!engine) {
            printf("skipped: the reference's writer needs python3 with numpy\n");
            skip();
        }
        check_info(engine_info(engine), entry);
        check_points(engine, entry, tokens, name);
        check_loss(engine, entry, tokens, RANDOM_TOKENS, name);
        engine_close(&engine);
        checked++;
    }
    assert_int_equal(checked, 27);
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
