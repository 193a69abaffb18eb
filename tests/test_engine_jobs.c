/* tests/test_engine_jobs.c: the contract of engine.h around jobs, states and what is told of a model. */
#include "engine/cascade.h"
#include "tests/engine_help.h"

#include <poll.h>

static const char *const nano7 = NANO_DIR "/nano.safetensors";
static const char *const nano4 = NANO_DIR "/nano4.safetensors";
static const uint32_t tokens[] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100};

static bool readable(const struct engine *engine)
{
    struct pollfd fd = {.fd = engine_descriptor(engine), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void submit_refuses_a_token_out_of_range(void **unused)
{
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 1});
    struct engine_state *state = state_of(engine);
    size_t bytes = engine_info(engine)->state_bytes;
    uint8_t *before = malloc(bytes), *after = malloc(bytes);
    uint32_t wrong[] = {1, 2, 256};
    struct err err = {0};

    (void)unused;
    assert_true(before && after);
    engine_state_save(state, before);
    assert_int_equal(
        engine_submit(engine, &(struct engine_job){.state = state, .tokens = wrong, .count = 3},
                      &err),
        ERR_INPUT);
    assert_non_null(strstr(err.text, "256"));
    assert_null(engine_collect(engine, true));
    engine_state_save(state, after);
    assert_memory_equal(before, after, bytes);
    free(before);
    free(after);
    engine_state_close(&state);
    engine_close(&engine);
}

static void nothing_is_predicted_before_the_first_token(void **unused)
{
    struct engine *engine = engine_of(nano4, &(struct engine_options){.threads = 2});
    struct engine_state *state = state_of(engine), *other = state_of(engine);
    uint8_t *bytes = malloc(engine_info(engine)->state_bytes);
    float loss[4], logits[256];
    struct engine_job scored = {.state = state, .tokens = tokens, .count = 4, .loss = loss};
    struct engine_job asked = {.state = state, .logits = logits};
    struct err err = {0};

    (void)unused;
    assert_non_null(bytes);
    assert_int_equal(engine_submit(engine, &scored, &err), ERR_INPUT);
    assert_int_equal(engine_submit(engine, &asked, &err), ERR_INPUT);
    engine_state_save(state, bytes);
    assert_int_equal(engine_state_load(state, bytes, &err), ERR_OK);
    assert_int_equal(engine_submit(engine, &scored, &err), ERR_INPUT);
    must_run(engine, &(struct engine_job){.state = state, .tokens = tokens, .count = 1});
    must_run(engine, &asked);
    must_run(engine, &scored);
    engine_state_save(state, bytes);
    assert_int_equal(engine_state_load(other, bytes, &err), ERR_OK);
    scored.state = other;
    must_run(engine, &scored);
    free(bytes);
    engine_state_close(&state);
    engine_state_close(&other);
    engine_close(&engine);
}

static void a_fresh_state_is_at_the_origin(void **unused)
{
    static const char *const models[] = {NANO_DIR "/nano.safetensors",
                                         NANO_DIR "/nano4.safetensors"};

    (void)unused;
    for (int i = 0; i < 2; i++) {
        struct engine *engine = engine_of(models[i], &(struct engine_options){.threads = 1});
        struct engine_state *state = state_of(engine);
        const struct engine_info *info = engine_info(engine);
        size_t layer = info->layer_state_bytes / sizeof(float);
        float *values = malloc(info->state_bytes);

        assert_non_null(values);
        engine_state_save(state, (uint8_t *)values);
        for (size_t k = 0; k < info->state_bytes / sizeof(float); k++) {
            /* The last of version 4's five vectors, but not ln_out behind the layers. */
            bool pp = i == 1 && k < info->layers * layer && k % layer >= 4 * info->channels;
            assert_true(values[k] == (pp ? -1e38F : 0));
        }
        free(values);
        engine_state_close(&state);
        engine_close(&engine);
    }
}

/* Figures of the float64 reference for make_nano's models, tokens 1 to 200. */
static void every_number_format_gives_the_reference_loss(void **unused)
{
    enum { COUNT = 200 };
    static const struct {
        const char *version, *dtype;
        double nats;
    } cases[] = {{"7", "F32", 1451.506613050},  {"7", "F16", 1451.474280216},
                 {"7", "BF16", 1451.504631516}, {"4", "F32", 1468.609943646},
                 {"4", "F16", 1468.626441148},  {"4", "BF16", 1468.809642345}};
    char path[] = "/tmp/riverrun-nano-XXXXXX", command[1024];
    uint32_t ids[COUNT];

    (void)unused;
    close(mkstemp(path));
    for (uint32_t i = 0; i < COUNT; i++)
        ids[i] = i + 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct engine *engine;
        struct engine_state *state;
        float loss[COUNT - 1];
        double sum = 0;

        snprintf(command, sizeof command, NANO_DIR "/make_nano --version %s --dtype %s -o %s",
                 cases[i].version, cases[i].dtype, path);
        assert_int_equal(system(command), 0);
        engine = engine_of(path, &(struct engine_options){.threads = 2});
        assert_string_equal(engine_info(engine)->dtype, cases[i].dtype);
        state = state_of(engine);
        must_run(engine, &(struct engine_job){.state = state, .tokens = ids, .count = 1});
        must_run(engine, &(struct engine_job){
                             .state = state, .tokens = ids + 1, .count = COUNT - 1, .loss = loss});
        for (size_t k = 0; k < COUNT - 1; k++)
            sum += (double)loss[k];
        if (!(fabs(sum - cases[i].nats) <= 1e-6 * cases[i].nats))
            fail_msg("%s %s: %.10g nats", cases[i].version, cases[i].dtype, sum);
        engine_state_close(&state);
        engine_close(&engine);
    }
    unlink(path);
}

/* The loss is what the logits say: log sum exp less the token's logit. */
static void losses_and_logits_agree(void **unused)
{
    static const char *const models[] = {NANO_DIR "/nano.safetensors",
                                         NANO_DIR "/nano4.safetensors",
                                         NANO_DIR "/nano_tiles.safetensors"};

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        struct engine *engine = engine_of(models[i], &(struct engine_options){.threads = 1});
        struct engine_state *state = state_of(engine);
        uint32_t vocab = engine_info(engine)->vocab, next = vocab - 3;
        float *logits = malloc(vocab * sizeof *logits), loss = 0;
        double sum = 0;

        assert_non_null(logits);
        must_run(engine, &(struct engine_job){
                             .state = state, .tokens = tokens, .count = 12, .logits = logits});
        must_run(engine,
                 &(struct engine_job){.state = state, .tokens = &next, .count = 1, .loss = &loss});
        for (uint32_t k = 0; k < vocab; k++)
            sum += exp((double)logits[k]);
        sum = log(sum) - (double)logits[next];
        if (!(fabs(sum - (double)loss) <= 1e-6 * sum))
            fail_msg("%.9g, not %.9g", (double)loss, sum);
        free(logits);
        engine_state_close(&state);
        engine_close(&engine);
    }
}

static void jobs_come_back_in_order_and_the_descriptor_tells(void **unused)
{
    enum { JOBS = 100 };
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 2});
    struct engine_state *state = state_of(engine);
    static struct engine_job jobs[JOBS];
    size_t room = engine_room(engine), back = 0;

    (void)unused;
    assert_false(readable(engine));
    engine_hold(engine, true);
    for (size_t i = 0; i < JOBS; i++) {
        jobs[i] = (struct engine_job){.state = state, .tokens = tokens, .count = i % 12};
        must_submit(engine, &jobs[i]);
    }
    assert_int_equal(engine_room(engine), room - JOBS);
    assert_null(engine_collect(engine, false));
    assert_false(readable(engine));
    engine_hold(engine, false);
    while (back < JOBS) {
        struct pollfd fd = {.fd = engine_descriptor(engine), .events = POLLIN};
        struct engine_job *job;
        assert_int_equal(poll(&fd, 1, 60000), 1);
        while ((job = engine_collect(engine, false)))
            assert_ptr_equal(job, &jobs[back++]);
    }
    assert_false(readable(engine));
    assert_null(engine_collect(engine, true));
    assert_int_equal(engine_room(engine), room);
    engine_state_close(&state);
    engine_close(&engine);
}

static void submit_refuses_when_there_is_no_room(void **unused)
{
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 1});
    struct engine_state *state = state_of(engine);
    size_t room = engine_room(engine);
    struct engine_job *jobs = calloc(room, sizeof *jobs);
    struct engine_job more = {.state = state, .tokens = tokens, .count = 1};
    struct err err;

    (void)unused;
    assert_non_null(jobs);
    engine_hold(engine, true);
    for (size_t i = 0; i < room; i++) {
        jobs[i] = more;
        must_submit(engine, &jobs[i]);
    }
    assert_int_equal(engine_submit(engine, &more, &err), ERR_LIMIT);
    engine_hold(engine, false);
    assert_ptr_equal(engine_collect(engine, true), &jobs[0]);
    assert_int_equal(engine_submit(engine, &more, &err), ERR_OK);
    while (engine_collect(engine, true))
        continue;
    engine_state_close(&state);
    engine_close(&engine);
    free(jobs);
}

static void load_refuses_what_is_not_finite(void **unused)
{
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 1});
    struct engine_state *state = state_of(engine);
    size_t bytes = engine_info(engine)->state_bytes;
    uint8_t *good = malloc(bytes), *bad = malloc(bytes), *after = malloc(bytes);
    static const float values[] = {NAN, INFINITY, -INFINITY};
    struct err err;

    (void)unused;
    assert_true(good && bad && after);
    must_run(engine,
             &(struct engine_job){.state = state, .tokens = tokens, .count = 12, .snapshot = good});
    for (size_t at = 0; at < bytes; at += 4 * 37) {
        memcpy(bad, good, bytes);
        memcpy(bad + at, &values[at % 3], sizeof(float));
        assert_int_equal(engine_state_load(state, bad, &err), ERR_DAMAGED);
    }
    engine_state_save(state, after);
    assert_memory_equal(good, after, bytes);
    free(good);
    free(bad);
    free(after);
    engine_state_close(&state);
    engine_close(&engine);
}

static void info_tells_the_model(void **unused)
{
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 64});
    const struct engine_info *info = engine_info(engine);
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES], other[ENGINE_FINGERPRINT_BYTES];
    char name[64];
    struct err err = {0};

    (void)unused;
    assert_int_equal(info->version_major, 7);
    assert_string_equal(info->container, "safetensors");
    assert_string_equal(info->dtype, "F32");
    assert_int_equal(info->layers, 2);
    assert_int_equal(info->channels, 32);
    assert_int_equal(info->heads, 2);
    assert_int_equal(info->head_size, 16);
    assert_int_equal(info->ffn_channels, 128);
    assert_int_equal(info->vocab, 256);
    assert_int_equal(info->threads, 3); /* two layers and the head */
    assert_int_equal(info->layer_state_bytes, 4 * (2 * 32 + 32 * 16));
    assert_int_equal(info->state_bytes, 2 * info->layer_state_bytes + 4 * 32);
    assert_int_equal(info->flops_head, 2 * 256 * 32);
    /* Four square matrices, the channel mix, four pairs of rank 8, less the value pair of block 0. */
    assert_int_equal(info->flops_per_token,
                     2 * (2 * (4 * 32 * 32 + 8 * 32 * 32 + 4 * 2 * 8 * 32) - 2 * 8 * 32));
    assert_int_equal(engine_fingerprint(nano7, fingerprint, &err), ERR_OK);
    assert_memory_equal(info->fingerprint, fingerprint, sizeof fingerprint);
    assert_int_equal(engine_fingerprint(nano4, other, &err), ERR_OK);
    assert_memory_not_equal(other, fingerprint, sizeof fingerprint);
    assert_int_equal(engine_arithmetic(nano7, NULL, name, sizeof name, &err), ERR_OK);
    assert_string_equal(name, info->arithmetic);
    assert_string_equal(name, "f32-1");
    assert_int_equal(engine_arithmetic(nano7, NULL, name, 3, &err), ERR_LIMIT);
    assert_int_equal(
        engine_arithmetic(nano7, &(struct engine_options){.blas = "none"}, name, sizeof name, &err),
        ERR_USAGE);
    assert_int_equal(engine_arithmetic("/nowhere", NULL, name, sizeof name, &err), ERR_SOURCE);
    engine_close(&engine);
}

static void assert_arithmetic(const char *path, const char *weights, const char *blas,
                              const char *want)
{
    const struct engine_options options = {.weights = weights, .blas = blas, .threads = 1};
    struct engine *engine = engine_of(path, &options);
    char name[96];
    struct err err;

    assert_int_equal(engine_arithmetic(path, &options, name, sizeof name, &err), ERR_OK);
    assert_string_equal(engine_info(engine)->arithmetic, name);
    assert_true(strncmp(name, want, strlen(want)) == 0);
    engine_close(&engine);
}

/* "auto" is what the file says that it may be multiplied as; what is asked for goes before, and what a library cannot
 * multiply stays f32. */
static void auto_weights_are_what_the_file_names(void **unused)
{
    char path[] = "/tmp/riverrun-auto-XXXXXX", again[] = "/tmp/riverrun-auto-XXXXXX";
    struct engine_conversion done;
    struct err err;

    (void)unused;
    close(mkstemp(path));
    close(mkstemp(again));
    assert_int_equal(engine_convert(nano7, path, "f32", "int8", &done, &err), ERR_OK);
    assert_arithmetic(nano7, "auto", NULL, "f32-1");
    assert_arithmetic(path, NULL, NULL, "int8-1");
    assert_arithmetic(path, "auto", "ref", "int8-1");
    assert_arithmetic(path, "bf16", NULL, "bf16-1");
    assert_arithmetic(path, "f32", NULL, "f32-1");
    assert_arithmetic(path, "auto", "onednn", "f32-1");
    assert_int_equal(engine_convert(path, again, "bf16", NULL, &done, &err), ERR_OK);
    assert_arithmetic(again, NULL, NULL, "int8-1"); /* goes along */
    assert_int_equal(engine_convert(again, path, "f32", "f32", &done, &err), ERR_OK);
    assert_arithmetic(path, NULL, NULL, "f32-1");
    unlink(path);
    unlink(again);
}

static void options_out_of_range_are_refused(void **unused)
{
    static const struct engine_options wrong[] = {{.threads = ENGINE_THREADS_MAX + 1},
                                                  {.block_tokens = ENGINE_BLOCK_MAX + 1},
                                                  {.blas = "fast"},
                                                  {.isa = "fast"}};

    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct engine *engine = NULL;
        struct err err;
        assert_int_equal(engine_open(&engine, nano7, &wrong[i], &err), ERR_USAGE);
        assert_null(engine);
    }
}

static void closing_drops_jobs_that_wait(void **unused)
{
    struct engine *engine = engine_of(nano7, &(struct engine_options){.threads = 2});
    struct engine_state *state = state_of(engine);
    struct engine_job job = {.state = state, .tokens = tokens, .count = 12};

    (void)unused;
    engine_hold(engine, true);
    must_submit(engine, &job);
    engine_close(&engine);
    assert_null(engine);
    engine_state_close(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_refuses_a_token_out_of_range),
        cmocka_unit_test(nothing_is_predicted_before_the_first_token),
        cmocka_unit_test(a_fresh_state_is_at_the_origin),
        cmocka_unit_test(every_number_format_gives_the_reference_loss),
        cmocka_unit_test(losses_and_logits_agree),
        cmocka_unit_test(jobs_come_back_in_order_and_the_descriptor_tells),
        cmocka_unit_test(submit_refuses_when_there_is_no_room),
        cmocka_unit_test(load_refuses_what_is_not_finite),
        cmocka_unit_test(info_tells_the_model),
        cmocka_unit_test(auto_weights_are_what_the_file_names),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(closing_drops_jobs_that_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
