/* tests/test_engine_bits.c: the promise of engine.h, bit for bit.
 *
 * What comes out for a stream is compared with the plainest way there is: the answer key's kernels, one
 * worker, blocks of one row, one token a job. */
#include "engine/cascade.h"
#include "tests/dear.h"
#include "tests/engine_help.h"

enum { TOKENS = 150, VOCAB_MOST = 2500, STATE_MOST = 1 << 17, OTHERS_MOST = 40, POISON = 255 };

static const char *const models[] = {
    NANO_DIR "/nano.safetensors",       NANO_DIR "/nano4.safetensors",
    NANO_DIR "/nano_tiles.safetensors", NANO_DIR "/nano51.safetensors",
    NANO_DIR "/nano51g.safetensors",    NANO_DIR "/nano52.safetensors",
    NANO_DIR "/nano6.safetensors",      NANO_DIR "/nano6_tiles.safetensors",
    NANO_DIR "/nano_wide.safetensors"};
enum { MODELS = sizeof models / sizeof *models };

struct outcome {
    float loss[TOKENS], logits[VOCAB_MOST];
    uint8_t state[STATE_MOST];
    size_t state_bytes, vocab;
};

/* The tokens of stream number `stream`; only those of odd numbers may hold the poison. */
static void make_tokens(uint32_t *tokens, uint64_t stream, uint32_t vocab)
{
    uint64_t seed = 100 + stream;

    for (size_t i = 0; i < TOKENS; i++) {
        tokens[i] = next_random(&seed) % vocab;
        tokens[i] -= tokens[i] == POISON;
    }
    if (stream % 2)
        tokens[stream % 7] = POISON;
}

/* A copy of a model in which one token's embedding is so large that its norm is NaN; a NaN itself would
 * be refused. Returns its path, malloc'ed. */
static char *poisoned(const char *path)
{
    char *copy = strdup("/tmp/riverrun-poison-XXXXXX");
    struct container *c = NULL;
    struct err err;
    size_t bytes;
    uint8_t *data = file_read(path, &bytes);
    const struct tensor *emb;

    assert_int_equal(container_open(&c, path, &err), ERR_OK);
    emb = container_find(c, "emb.weight");
    size_t row = emb->bytes / emb->shape[0];
    memset(data + (emb->data - c->map) + POISON * row, 0x7F, row);
    container_close(&c);
    close(mkstemp(copy));
    file_write(copy, data, bytes);
    free(data);
    return copy;
}

static char *paths[MODELS];
static const char *weights = "f32"; /* of every engine that is opened */

/* state: the type's name, as the test's initial state. */
static int set_weights(void **state)
{
    weights = *state;
    return 0;
}

/* Where runs are dear, narrow weights are had by one model of three. */
static int next_model(int model)
{
    int step = strcmp(weights, "f32") == 0 || dear() == 1 ? 1 : 3;

    return model + step;
}

static int reset_weights(void **unused)
{
    (void)unused;
    weights = "f32";
    return 0;
}

static int make_models(void **unused)
{
    (void)unused;
    for (int i = 0; i < MODELS; i++)
        paths[i] = poisoned(models[i]);
    return 0;
}

static int drop_models(void **unused)
{
    (void)unused;
    for (int i = 0; i < MODELS; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    return 0;
}

static struct engine *try_open(const char *path, const char *blas, const char *isa,
                               unsigned threads, uint32_t block)
{
    struct engine *engine = NULL;
    struct err err = {0};
    enum err_code code = engine_open(&engine, path,
                                     &(struct engine_options){.blas = blas,
                                                              .isa = isa,
                                                              .weights = weights,
                                                              .threads = threads,
                                                              .block_tokens = block},
                                     &err);

    if (code && code != ERR_MISMATCH)
        fail_msg("%s", err.text);
    return engine;
}

/* ---- Feeding a stream ---- */

enum cut { ONE_BY_ONE, WHOLE, RANDOM };

struct feed {
    struct engine_job jobs[TOKENS + 1];
    size_t count;
};

/* Cut tokens from..to of a stream into jobs, all with losses but the stream's first token. */
static void plan(struct feed *feed, struct engine_state *state, const uint32_t *tokens, size_t from,
                 size_t to, enum cut cut, uint64_t *seed, struct outcome *out)
{
    feed->count = 0;
    for (size_t at = from; at < to;) {
        size_t left = to - at, count = cut == WHOLE    ? left
                                       : cut == RANDOM ? next_random(seed) % 30
                                                       : 1;
        count = at == 0 ? 1 : count > left ? left : count;
        feed->jobs[feed->count++] = (struct engine_job){
            .state = state,
            .tokens = tokens + at,
            .count = count,
            .loss = at == 0 ? NULL : out->loss + at,
            .logits = at + count == to ? out->logits : NULL,
        };
        at += count;
        if (feed->count == TOKENS)
            cut = WHOLE;
    }
}

static void submit_all(struct engine *engine, struct feed *feed)
{
    for (size_t i = 0; i < feed->count; i++)
        must_submit(engine, &feed->jobs[i]);
}

static void collect_all(struct engine *engine)
{
    while (engine_collect(engine, true))
        continue;
}

static void finish(struct engine *engine, struct engine_state *state, struct outcome *out)
{
    out->state_bytes = engine_info(engine)->state_bytes;
    out->vocab = engine_info(engine)->vocab;
    assert_true(out->state_bytes <= STATE_MOST && out->vocab <= VOCAB_MOST);
    engine_state_save(state, out->state);
}

static struct outcome *alone(struct engine *engine, enum cut cut, uint64_t seed)
{
    struct outcome *out = calloc(1, sizeof *out);
    struct engine_state *state = state_of(engine);
    uint32_t tokens[TOKENS];
    struct feed feed;

    assert_non_null(out);
    make_tokens(tokens, 0, engine_info(engine)->vocab);
    plan(&feed, state, tokens, 0, TOKENS, cut, &seed, out);
    submit_all(engine, &feed);
    collect_all(engine);
    finish(engine, state, out);
    engine_state_close(&state);
    return out;
}

static void assert_same(const struct outcome *a, const struct outcome *b, const char *what)
{
    assert_int_equal(a->state_bytes, b->state_bytes);
    for (size_t i = 0; i < TOKENS; i++)
        if (memcmp(&a->loss[i], &b->loss[i], sizeof(float)))
            fail_msg("%s: loss %zu is %.9g, not %.9g", what, i, (double)b->loss[i],
                     (double)a->loss[i]);
    if (memcmp(a->logits, b->logits, a->vocab * sizeof(float)))
        fail_msg("%s: the logits differ", what);
    if (memcmp(a->state, b->state, a->state_bytes))
        fail_msg("%s: the states differ", what);
}

static struct outcome *answer(const char *path)
{
    struct engine *engine = try_open(path, "ref", "ref", 1, 1);
    struct outcome *out = alone(engine, ONE_BY_ONE, 0);

    assert_memory_equal(engine_info(engine)->arithmetic, weights, strlen(weights));
    for (size_t i = 1; i < TOKENS; i++)
        assert_true(isfinite(out->loss[i]) && out->loss[i] > 0);
    engine_close(&engine);
    return out;
}

/* ---- What must not matter ---- */

static void cuts_threads_and_blocks_do_not_matter(void **unused)
{
    static const uint32_t blocks[] = {1, 3, 16, 77, 256};

    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        for (unsigned threads = 1; threads <= 3; threads++)
            for (size_t b = 0; b < 5; b++) {
                struct engine *engine = try_open(paths[model], NULL, NULL, threads, blocks[b]);
                for (uint64_t round = 0; round < 4; round++) {
                    enum cut cut = round == 0 ? WHOLE : round == 1 ? ONE_BY_ONE : RANDOM;
                    struct outcome *got = alone(engine, cut, 10 * round + threads);
                    char what[120];
                    snprintf(what, sizeof what, "model %d, %u threads, blocks of %u, cut %d", model,
                             threads, blocks[b], cut);
                    assert_same(want, got, what);
                    free(got);
                }
                engine_close(&engine);
            }
        free(want);
    }
}

static void every_product_and_level_gives_its_arithmetic(void **unused)
{
    static const char *const blas[] = {"ref", "own", "onednn", "openblas"};
    static const char *const isa[] = {"ref", "avx2", "avx512", "avx512f", "dotprod", "neon"};
    enum { LEVELS = sizeof isa / sizeof *isa, WAYS = 4 * LEVELS };
    int same = 0;

    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *key = answer(paths[model]);
        for (int i = 0; i < WAYS; i++) {
            const char *way = blas[i / LEVELS], *level = isa[i % LEVELS];
            struct engine *engine = try_open(paths[model], way, level, 2, 64);
            struct outcome *want = NULL, *got;
            char what[120];
            if (!engine)
                continue;
            if (strstr(engine_info(engine)->arithmetic, "openblas"))
                want = alone(engine, ONE_BY_ONE, 0);
            got = alone(engine, RANDOM, (uint64_t)i);
            snprintf(what, sizeof what, "model %d, %s at %s", model, way, level);
            assert_same(want ? want : key, got, what);
            same++;
            free(want);
            free(got);
            engine_close(&engine);
        }
        free(key);
    }
    assert_true(same >= 2 * MODELS / next_model(0));
    printf("%d combinations of %d could be had\n", same, WAYS * MODELS);
}

/* Layers go from worker to worker while a stream is read. */
static void who_has_which_layers_does_not_matter(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        for (unsigned threads = 2; threads <= 3; threads++) {
            struct engine *engine = try_open(paths[model], NULL, NULL, threads, 8);
            struct outcome *got = calloc(1, sizeof *got);
            struct engine_state *state = state_of(engine);
            uint32_t tokens[TOKENS];
            uint64_t seed = threads;
            struct feed feed;
            make_tokens(tokens, 0, engine_info(engine)->vocab);
            plan(&feed, state, tokens, 0, TOKENS, RANDOM, &seed, got);
            for (size_t i = 0; i < feed.count; i++) {
                must_submit(engine, &feed.jobs[i]);
                if (next_random(&seed) % 2)
                    engine_share(engine, (uint32_t)(next_random(&seed) % 100));
            }
            collect_all(engine);
            finish(engine, state, got);
            assert_same(want, got, "with layers that change hands");
            engine_state_close(&state);
            engine_close(&engine);
            free(got);
        }
        free(want);
    }
}

/* A job by itself, so that the other workers help with it; sometimes another comes before it is done. */
static void helpers_do_not_matter(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        for (unsigned threads = 2; threads <= 4; threads += 2) {
            struct engine *engine = try_open(paths[model], NULL, NULL, threads, 8);
            struct outcome *got = calloc(1, sizeof *got);
            struct engine_state *state = state_of(engine);
            uint32_t tokens[TOKENS];
            uint64_t seed = threads;
            struct feed feed;
            assert_non_null(got);
            engine_always_help(engine);
            make_tokens(tokens, 0, engine_info(engine)->vocab);
            plan(&feed, state, tokens, 0, TOKENS, RANDOM, &seed, got);
            for (size_t i = 0; i < feed.count; i++) {
                must_submit(engine, &feed.jobs[i]);
                if (next_random(&seed) % 4)
                    collect_all(engine);
            }
            collect_all(engine);
            finish(engine, state, got);
            assert_same(want, got, "with help");
            engine_state_close(&state);
            engine_close(&engine);
            free(got);
        }
        free(want);
    }
}

/* Our stream beside others, whose jobs come before, between and after ours. */
static void crowd(struct engine *engine, size_t others, uint64_t seed, const struct outcome *want)
{
    struct engine_state *states[OTHERS_MOST + 1];
    static struct feed feeds[OTHERS_MOST + 1];
    static uint32_t tokens[OTHERS_MOST + 1][TOKENS];
    struct outcome *outs = calloc(others + 1, sizeof *outs);
    size_t next[OTHERS_MOST + 1] = {0}, open = 0;
    bool any_nan = false;

    assert_non_null(outs);
    for (size_t i = 0; i <= others; i++) {
        states[i] = state_of(engine);
        make_tokens(tokens[i], i, engine_info(engine)->vocab);
        plan(&feeds[i], states[i], tokens[i], 0, TOKENS, RANDOM, &seed, &outs[i]);
        open += feeds[i].count;
    }
    engine_hold(engine, true);
    while (open > 0) {
        size_t i = next_random(&seed) % (others + 1);
        if (next[i] == feeds[i].count)
            continue;
        must_submit(engine, &feeds[i].jobs[next[i]++]);
        if (--open % 50 == 0)
            engine_hold(engine, false);
    }
    collect_all(engine);
    for (size_t i = 0; i <= others; i++) {
        finish(engine, states[i], &outs[i]);
        any_nan = any_nan || isnan(outs[i].loss[TOKENS - 1]);
        engine_state_close(&states[i]);
    }
    assert_true(any_nan == (others > 0));
    assert_same(want, &outs[0], "in a crowd");
    free(outs);
}

static void other_streams_do_not_matter_even_with_nan(void **unused)
{
    static const size_t others[] = {0, 1, 2, 7, 16, OTHERS_MOST};

    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct engine *engine = try_open(paths[model], NULL, NULL, threads, 40);
            for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                crowd(engine, others[i], 1000 * threads + i, want);
            engine_close(&engine);
        }
        free(want);
    }
}

/* Another stream takes the first `before` rows of the block that ours ends in. */
static void the_row_does_not_matter(void **unused)
{
    enum { BLOCK = 70 };

    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        struct engine *engine = try_open(paths[model], NULL, NULL, 1, BLOCK);
        for (size_t before = 0; before < BLOCK; before++) {
            struct engine_state *state = state_of(engine), *other = state_of(engine);
            struct outcome *got = calloc(1, sizeof *got);
            uint32_t tokens[TOKENS], noise[TOKENS];
            struct feed feed;
            struct engine_job job = {.state = other, .tokens = noise, .count = before};
            uint64_t seed = before;

            assert_non_null(got);
            make_tokens(tokens, 0, engine_info(engine)->vocab);
            make_tokens(noise, 1 + before % 2, engine_info(engine)->vocab);
            plan(&feed, state, tokens, 0, TOKENS, WHOLE, &seed, got);
            engine_hold(engine, true);
            must_submit(engine, &job);
            submit_all(engine, &feed);
            engine_hold(engine, false);
            collect_all(engine);
            finish(engine, state, got);
            assert_same(want, got, "at another row");
            engine_state_close(&state);
            engine_state_close(&other);
            free(got);
        }
        engine_close(&engine);
        free(want);
    }
}

static void saving_and_loading_does_not_matter(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct outcome *want = answer(paths[model]);
        struct engine *engines[2] = {try_open(paths[model], NULL, NULL, 2, 32),
                                     try_open(paths[model], "own", NULL, 1, 9)};
        for (uint64_t round = 0; round < 20; round++) {
            struct outcome *got = calloc(1, sizeof *got);
            uint32_t tokens[TOKENS];
            uint64_t seed = round;
            size_t at = 0;
            bool begun = false;
            struct err err;

            assert_non_null(got);
            make_tokens(tokens, 0, engine_info(engines[0])->vocab);
            while (at < TOKENS) {
                struct engine *engine = engines[next_random(&seed) % 2];
                struct engine_state *state = state_of(engine);
                size_t to = at + 1 + next_random(&seed) % 40;
                struct feed feed;
                to = to > TOKENS ? TOKENS : to;
                if (begun)
                    assert_int_equal(engine_state_load(state, got->state, &err), ERR_OK);
                plan(&feed, state, tokens, at, to, RANDOM, &seed, got);
                submit_all(engine, &feed);
                collect_all(engine);
                finish(engine, state, got);
                engine_state_close(&state);
                at = to;
                begun = true;
            }
            assert_same(want, got, "saved and loaded");
            free(got);
        }
        engine_close(&engines[0]);
        engine_close(&engines[1]);
        free(want);
    }
}

/* A snapshot among jobs of its own stream, all queued at once, is the state at that very token. */
static void snapshots_are_the_state_behind_their_token(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model))
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct engine *engine = try_open(paths[model], NULL, NULL, threads, 64);
            size_t bytes = engine_info(engine)->state_bytes;
            struct engine_state *state = state_of(engine), *plain = state_of(engine);
            uint8_t *taken = calloc(12, bytes), *want = malloc(bytes);
            struct engine_job jobs[12];
            uint32_t tokens[TOKENS];

            assert_true(taken && want);
            make_tokens(tokens, 0, engine_info(engine)->vocab);
            engine_hold(engine, true);
            for (size_t i = 0; i < 12; i++) {
                jobs[i] = (struct engine_job){.state = state,
                                              .tokens = tokens + 10 * i,
                                              .count = i % 3 == 2 ? 0 : 10,
                                              .snapshot = i % 2 ? taken + i * bytes : NULL};
                must_submit(engine, &jobs[i]);
            }
            engine_hold(engine, false);
            for (size_t i = 0; i < 12; i++)
                assert_ptr_equal(engine_collect(engine, true), &jobs[i]);
            for (size_t i = 0; i < 12; i++) {
                must_run(engine, &(struct engine_job){.state = plain,
                                                      .tokens = jobs[i].tokens,
                                                      .count = jobs[i].count});
                engine_state_save(plain, want);
                if (jobs[i].snapshot)
                    assert_memory_equal(want, jobs[i].snapshot, bytes);
            }
            engine_state_close(&state);
            engine_state_close(&plain);
            free(taken);
            free(want);
            engine_close(&engine);
        }
}

/* What a job asks of each token is the ln_out that a state saved behind that token ends with, however tokens were cut
 * into jobs and blocks. */
static void hidden_states_are_those_that_a_state_ends_with(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model))
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct engine *engine = try_open(paths[model], NULL, NULL, threads, 16);
            const struct engine_info *info = engine_info(engine);
            size_t row = info->channels * sizeof(float), tail = info->state_bytes - row;
            struct engine_state *state = state_of(engine), *plain = state_of(engine);
            float *hidden = malloc(TOKENS * row);
            uint8_t *bytes = malloc(info->state_bytes);
            uint32_t tokens[TOKENS];
            size_t first = TOKENS / 3;

            assert_true(hidden && bytes);
            make_tokens(tokens, 0, info->vocab);
            must_run(engine,
                     &(struct engine_job){
                         .state = state, .tokens = tokens, .count = first, .hidden = hidden});
            must_run(engine, &(struct engine_job){.state = state,
                                                  .tokens = tokens + first,
                                                  .count = TOKENS - first,
                                                  .hidden = hidden + first * info->channels});
            for (size_t i = 0; i < TOKENS; i++) {
                must_run(engine,
                         &(struct engine_job){.state = plain, .tokens = tokens + i, .count = 1});
                engine_state_save(plain, bytes);
                assert_memory_equal(hidden + i * info->channels, bytes + tail, row);
            }
            engine_state_close(&state);
            engine_state_close(&plain);
            free(hidden);
            free(bytes);
            engine_close(&engine);
        }
}

/* The products of one block of rows in all, which belong to `streams` streams. */
static uint64_t products_of(struct engine *engine, size_t streams, size_t rows)
{
    struct engine_state *states[OTHERS_MOST];
    struct engine_job jobs[OTHERS_MOST];
    float losses[TOKENS];
    uint32_t tokens[TOKENS];
    uint64_t before;

    make_tokens(tokens, 0, engine_info(engine)->vocab);
    for (size_t i = 0; i < streams; i++) {
        states[i] = state_of(engine);
        must_run(engine, &(struct engine_job){.state = states[i], .tokens = tokens, .count = 1});
    }
    before = engine_products(engine);
    engine_hold(engine, true);
    for (size_t i = 0; i < streams; i++) {
        jobs[i] = (struct engine_job){.state = states[i],
                                      .tokens = tokens + i,
                                      .count = rows / streams,
                                      .loss = losses + i * (rows / streams)};
        must_submit(engine, &jobs[i]);
    }
    engine_hold(engine, false);
    collect_all(engine);
    for (size_t i = 0; i < streams; i++)
        engine_state_close(&states[i]);
    return engine_products(engine) - before;
}

static void products_do_not_grow_with_streams(void **unused)
{
    (void)unused;
    for (int model = 0; model < MODELS; model = next_model(model)) {
        struct engine *engine = try_open(paths[model], NULL, NULL, 2, 64);
        uint64_t one = products_of(engine, 1, 40);

        assert_true(one > 0);
        assert_int_equal(products_of(engine, 2, 40), one);
        assert_int_equal(products_of(engine, 40, 40), one);
        engine_close(&engine);
    }
}

/* 64 at least, and no more than the engine was opened with. */
static void blocks_are_as_long_as_is_asked(void **unused)
{
    (void)unused;
    struct engine *engine = try_open(paths[0], NULL, NULL, 2, 128);
    uint64_t one = products_of(engine, 1, 40);

    assert_true(one > 0);
    assert_int_equal(products_of(engine, 1, 129), 2 * one);
    engine_set_block(engine, 100);
    assert_int_equal(products_of(engine, 1, 100), one);
    assert_int_equal(products_of(engine, 1, 101), 2 * one);
    engine_set_block(engine, 0);
    assert_int_equal(products_of(engine, 1, 64), one);
    assert_int_equal(products_of(engine, 1, 101), 2 * one);
    engine_set_block(engine, UINT64_MAX);
    assert_int_equal(products_of(engine, 1, 128), one);
    assert_int_equal(products_of(engine, 1, 129), 2 * one);
    engine_close(&engine);
}

/* Of a model whose matrices are all large enough for int8. */
static void narrow_weights_are_other_numbers_and_near(void **unused)
{
    struct outcome *f32 = answer(paths[MODELS - 1]);

    (void)unused;
    for (int i = 0; i < 2; i++) {
        weights = i ? "int8" : "bf16";
        struct outcome *narrow = answer(paths[MODELS - 1]);
        double most = 0, sum = 0;
        for (size_t t = 1; t < TOKENS; t++) {
            most = fmax(most, fabs((double)narrow->loss[t] - (double)f32->loss[t]));
            sum += (double)narrow->loss[t] - (double)f32->loss[t];
        }
        printf("%s: losses differ by at most %.4f, on average by %.5f nats\n", weights, most,
               sum / (TOKENS - 1));
        assert_true(most > 0 && most < 0.25 && fabs(sum / (TOKENS - 1)) < 0.02);
        free(narrow);
    }
    weights = "f32";
    free(f32);
}

static char bf16[] = "bf16", int8[] = "int8";
#define NARROW_AS(test, type)                                   \
    {                                                           \
#test "_" #type, test, set_weights, reset_weights, type \
    }
#define NARROW(test) NARROW_AS(test, bf16), NARROW_AS(test, int8)

/* test_engine_bits [PATTERN]: those whose names match. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        NARROW(cuts_threads_and_blocks_do_not_matter),
        NARROW(every_product_and_level_gives_its_arithmetic),
        NARROW(other_streams_do_not_matter_even_with_nan),
        NARROW(the_row_does_not_matter),
        NARROW(saving_and_loading_does_not_matter),
        NARROW(helpers_do_not_matter),
        cmocka_unit_test(narrow_weights_are_other_numbers_and_near),
        cmocka_unit_test(cuts_threads_and_blocks_do_not_matter),
        cmocka_unit_test(every_product_and_level_gives_its_arithmetic),
        cmocka_unit_test(who_has_which_layers_does_not_matter),
        cmocka_unit_test(helpers_do_not_matter),
        cmocka_unit_test(other_streams_do_not_matter_even_with_nan),
        cmocka_unit_test(the_row_does_not_matter),
        cmocka_unit_test(saving_and_loading_does_not_matter),
        cmocka_unit_test(snapshots_are_the_state_behind_their_token),
        cmocka_unit_test(hidden_states_are_those_that_a_state_ends_with),
        cmocka_unit_test(products_do_not_grow_with_streams),
        cmocka_unit_test(blocks_are_as_long_as_is_asked),
    };

    if (count > 1)
        cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, make_models, drop_models);
}
