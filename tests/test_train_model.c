/* A training as a whole: it learns, goes on to the same bits, and its model is what the engine reads. */
#include "engine/formats/formats.h"
#include "engine/train/inside.h"
#include "tests/engine_help.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>

static char folder[64], text_path[96], held_out_path[96];

static const struct net_shape tiny = {.layers = 2,
                                      .channels = 32,
                                      .head_size = 16,
                                      .ffn = 64,
                                      .rank_w = 16,
                                      .rank_a = 16,
                                      .rank_v = 16,
                                      .rank_g = 16};

/* Sentences of few words, so that there is something to learn; documents end with NUL. */
static void write_text(const char *path, uint64_t seed, size_t documents)
{
    static const char *const words[] = {"the ", "river ", "runs ", "past ",    "Eve ",
                                        "and ", "Adam",   ".\n",   "bend of ", "bay "};
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    for (size_t i = 0; i < documents; i++) {
        for (size_t k = next_random(&seed) % 400; k > 0; k--)
            fputs(words[next_random(&seed) % (sizeof words / sizeof *words)], file);
        fputc(0, file);
    }
    fclose(file);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/riverrun-train-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(text_path, sizeof text_path, "%s/text", folder);
    snprintf(held_out_path, sizeof held_out_path, "%s/held-out", folder);
    write_text(text_path, 1, 60);
    write_text(held_out_path, 2, 5);
    return 0;
}

static int remove_folder(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Options for a training under a name of its own. */
static struct train_options options_of(const char *name, const struct corpus_file *file)
{
    static char output[4][96];
    static int used;
    struct train_options o;

    used = (used + 1) % 4;
    snprintf(output[used], sizeof output[used], "%s/%s.safetensors", folder, name);
    train_defaults(&o);
    o.output = output[used];
    o.files = file;
    o.file_count = 1;
    o.held_out = held_out_path;
    o.shape = tiny;
    o.streams = 4;
    o.tokens = 32;
    o.parts = 2;
    o.steps = 40;
    o.warm_up = 4;
    o.rate = 4e-3;
    o.span_bytes = 600;
    return o;
}

static struct train *training_of(const struct train_options *o)
{
    struct train *train = NULL;
    struct err err = {0};

    if (train_open(&train, o, &err))
        fail_msg("%s", err.text);
    return train;
}

static void must_step(struct train *train, uint64_t steps)
{
    struct err err = {0};

    while (steps--)
        if (train_step(train, &err))
            fail_msg("%s", err.text);
}

static void must_save(struct train *train)
{
    struct err err = {0};

    if (train_save(train, &err))
        fail_msg("%s", err.text);
}

static void assert_same_files(const char *a, const char *b, const char *ending)
{
    char paths[2][128];
    size_t bytes[2];
    uint8_t *data[2];

    snprintf(paths[0], sizeof paths[0], "%s%s", a, ending);
    snprintf(paths[1], sizeof paths[1], "%s%s", b, ending);
    for (int i = 0; i < 2; i++)
        data[i] = file_read(paths[i], &bytes[i]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(data[0], data[1], bytes[0]);
    free(data[0]);
    free(data[1]);
}

static void a_training_learns(void **state)
{
    const struct corpus_file file = {text_path, 1};
    struct train_options o = options_of("learns", &file);
    struct train *train;
    double before, after;

    (void)state;
    o.steps = 150;
    train = training_of(&o);
    before = train_evaluate(train, NULL);
    assert_true(fabs(before - 8) < 0.5); /* bytes, and nothing is known */
    must_step(train, o.steps);
    after = train_evaluate(train, NULL);
    if (!(after < 3))
        fail_msg("%g bits a byte after %g", after, before);
    train_close(&train);
}

/* Documents of random letters, each said eight times. */
static void write_repeated(const char *path, uint64_t seed, size_t documents)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    for (size_t i = 0; i < documents; i++) {
        char letters[41] = "";
        for (size_t k = 20 + next_random(&seed) % 20; k > 0; k--)
            letters[k - 1] = (char)('a' + next_random(&seed) % 26);
        for (int again = 0; again < 8; again++)
            fputs(letters, file);
        fputc(0, file);
    }
    fclose(file);
}

/* Who does not look back pays log2 26 = 4.70 bits a letter, however long the training: 4.72 after 400
 * of these steps with the first weights of RWKV-7's authors, 2.9 after 250 with ours. */
static void a_training_learns_to_recall_what_was_just_said(void **state)
{
    char path[2][96];
    struct corpus_file file = {path[0], 1};
    struct train_options o;
    struct train *train;
    double after;

    (void)state;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/repeated-%d", folder, i);
        write_repeated(path[i], (uint64_t)i + 1, i ? 20 : 500);
    }
    o = options_of("recalls", &file);
    o.held_out = path[1];
    o.shape.channels = 64;
    o.shape.head_size = 32;
    o.shape.ffn = 128;
    o.streams = 8;
    o.tokens = 64;
    o.steps = 250;
    o.rate = 3e-3;
    train = training_of(&o);
    must_step(train, o.steps);
    after = train_evaluate(train, NULL);
    if (!(after < 4))
        fail_msg("%g bits a letter", after);
    train_close(&train);
}

static void a_stopped_training_goes_on_to_the_same_bits(void **state)
{
    const struct corpus_file file = {text_path, 0.7};
    struct train_options whole = options_of("whole", &file), cut = options_of("cut", &file);
    struct train *train = training_of(&whole);

    (void)state;
    must_step(train, 40);
    must_save(train);
    train_close(&train);
    cut.threads = 1; /* the number of threads does not matter */
    for (int i = 0; i < 4; i++) {
        train = training_of(&cut);
        assert_int_equal(train_status(train)->step, 10 * i);
        assert_true(train_status(train)->resumed == (i > 0));
        must_step(train, 10);
        must_save(train);
        must_step(train, (uint64_t)(i % 2)); /* lost */
        train_close(&train);
    }
    assert_same_files(whole.output, cut.output, "");
    assert_same_files(whole.output, cut.output, ".training");
}

static void evaluating_changes_nothing(void **state)
{
    const struct corpus_file file = {text_path, 1};
    struct train_options quiet = options_of("quiet", &file), asked = options_of("asked", &file);
    struct train *train = training_of(&quiet);
    double once;

    (void)state;
    must_step(train, 8);
    must_save(train);
    train_close(&train);
    train = training_of(&asked);
    must_step(train, 3);
    once = train_evaluate(train, NULL);
    assert_true(once == train_evaluate(train, NULL));
    must_step(train, 5);
    must_save(train);
    train_close(&train);
    assert_same_files(quiet.output, asked.output, "");
}

static void a_training_with_other_settings_is_refused_by_name(void **state)
{
    const struct corpus_file file = {text_path, 1};
    struct train_options o = options_of("settings", &file);
    struct train *train = training_of(&o);
    struct err err = {0};

    (void)state;
    must_save(train);
    train_close(&train);
    o.warm_up = 5;
    assert_int_equal(train_open(&train, &o, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "warm-up 4"));
}

static void a_damaged_training_is_refused(void **state)
{
    const struct corpus_file file = {text_path, 1};
    struct train_options o = options_of("damaged", &file);
    struct train *train = training_of(&o);
    struct err err = {0};
    char path[128];
    uint8_t *data;
    size_t bytes;

    (void)state;
    must_save(train);
    train_close(&train);
    snprintf(path, sizeof path, "%s.training", o.output);
    data = file_read(path, &bytes);
    for (size_t at = 0; at < bytes; at += bytes / 23) {
        data[at] ^= 4;
        file_write(path, data, bytes);
        assert_int_equal(train_open(&train, &o, &err), ERR_DAMAGED);
        data[at] ^= 4;
    }
    for (size_t left = 0; left < bytes; left += bytes / 7) {
        file_write(path, data, left);
        assert_int_equal(train_open(&train, &o, &err), ERR_DAMAGED);
    }
    free(data);
}

/* Nats of text behind token 0, by the engine. */
static double engine_nats(const char *path, const char *initial_state, const uint32_t *tokens,
                          size_t count)
{
    const struct engine_options one = {.threads = 1, .initial_state = initial_state};
    struct engine *engine = engine_of(path, &one);
    struct engine_state *state = state_of(engine);
    float *loss = calloc(count, sizeof *loss);
    double nats = 0;

    assert_non_null(loss);
    must_run(engine, &(struct engine_job){.state = state, .tokens = tokens, .count = 1});
    must_run(engine, &(struct engine_job){
                         .state = state, .tokens = tokens + 1, .count = count - 1, .loss = loss});
    for (size_t i = 0; i + 1 < count; i++)
        nats += (double)loss[i];
    free(loss);
    engine_state_close(&state);
    engine_close(&engine);
    return nats;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    signals = signals + 1;
}

/* Products are what they are though a signal comes every 100 us: oneDNN's kernels do not stand a handler. */
static void products_are_not_disturbed_by_signals(void **state)
{
    enum { SIDE = 512, COUNT = SIDE * SIDE, KINDS = 8 };
    const struct sigaction action = {.sa_handler = on_signal};
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    float *a = malloc((2 + KINDS) * (size_t)COUNT * sizeof *a), *c = a + COUNT,
          *want = a + 2 * COUNT;
    struct gemm g = {.m = SIDE, .n = SIDE, .k = SIDE};

    (void)state;
    assert_non_null(a);
    for (size_t i = 0; i < COUNT; i++)
        a[i] = (float)(i % 97) * 0.01F - 0.5F;
    signals = 0;
    for (int i = 0; i < 400 || signals < 100; i++) {
        const int kind = i % KINDS;
        float *to = i < KINDS ? want + kind * COUNT : c;
        g.transpose_a = kind & 1;
        g.transpose_b = kind & 2;
        g.add = kind & 4;
        memset(to, 0, COUNT * sizeof *to);
        gemm_f32(&g, a, a, to);
        assert_memory_equal(to, want + kind * COUNT, COUNT * sizeof *to);
        if (i == KINDS) {
            assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
            assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
        }
    }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    free(a);
}

static void multiply(const struct gemm *gemm, const float *a, const float *b, float *c, void *desk)
{
    (void)desk;
    gemm_f32(gemm, a, b, c);
}

/* The same, window by window with carried state, by what training computes with. */
static double window_nats(const char *path, const uint32_t *tokens, size_t windows)
{
    enum { TOKENS = 32 };
    struct net_shape shape;
    struct layout layout;
    struct net_work *work;
    struct err err = {0};
    uint32_t target[TOKENS];
    float *parameters, *states[2];
    size_t bytes;
    double nats = 0;

    assert_int_equal(weights_shape(path, &shape, &err), ERR_OK);
    net_layout(&shape, &layout);
    bytes = (net_state(&shape) * sizeof(float) + 63) / 64 * 64;
    parameters = aligned_alloc(64, layout.count * sizeof *parameters);
    states[0] = aligned_alloc(64, bytes);
    states[1] = aligned_alloc(64, bytes);
    assert_non_null(parameters);
    assert_int_equal(weights_read(path, &shape, &layout, parameters, &err), ERR_OK);
    work = net_ops_plain.open(&shape, 1, TOKENS, false, multiply, NULL);
    assert_non_null(work);
    for (size_t i = 0; i < windows; i++) {
        const struct window window = {tokens + i * TOKENS, target, states[i & 1],
                                      states[~i & 1],      1,      false};
        memcpy(target, tokens + i * TOKENS + 1, sizeof target);
        nats += net_ops_plain.step(work, parameters, NULL, &window).nats;
    }
    net_ops_plain.close(&work);
    free(parameters);
    free(states[0]);
    free(states[1]);
    return nats;
}

static void the_engine_reads_the_model_with_the_loss_of_training(void **state)
{
    enum { WINDOWS = 8, COUNT = 32 * WINDOWS + 1 };
    const struct corpus_file file = {text_path, 1};
    struct train_options o = options_of("engine", &file);
    struct train *train = training_of(&o);
    uint32_t tokens[COUNT] = {0};
    size_t bytes;
    uint8_t *text = file_read(held_out_path, &bytes);
    double read, trained;

    (void)state;
    must_step(train, 30);
    must_save(train);
    train_close(&train);
    for (size_t i = 1; i < COUNT; i++)
        tokens[i] = text[i - 1] ? text[i - 1] : ' ';
    read = engine_nats(o.output, NULL, tokens, COUNT);
    trained = window_nats(o.output, tokens, WINDOWS);
    if (!(fabs(read - trained) <= 1e-5 * read))
        fail_msg("the engine reads %.9g nats, training %.9g", read, trained);
    free(text);
}

static void a_model_is_where_another_training_begins(void **state)
{
    const struct corpus_file file = {text_path, 1};
    struct train_options o = options_of("first", &file), next = options_of("second", &file);
    struct train *train = training_of(&o);
    double before;

    (void)state;
    must_step(train, 40);
    must_save(train);
    before = train_evaluate(train, NULL);
    train_close(&train);
    next.model = o.output;
    next.shape = (struct net_shape){0}; /* the model says */
    train = training_of(&next);
    assert_true(fabs(train_evaluate(train, NULL) - before) < 0.02); /* bf16 lies between */
    train_close(&train);
}

/* ---- An initial state. ---- */

static const char greeting[] = "the river runs past Eve and Adam the river runs past Eve.\n";

/* A model that was trained a little, and a state that was trained to begin with the greeting. */
static void make_state(struct train_options *o, struct train_options *tuned, double *before,
                       double *after)
{
    static char greetings[96];
    static struct corpus_file texts[2];
    static int made; /* each is begun anew */
    char names[2][32];
    struct train *train;
    FILE *file;

    snprintf(names[0], sizeof names[0], "begun-%d", ++made);
    snprintf(names[1], sizeof names[1], "state-%d", made);
    snprintf(greetings, sizeof greetings, "%s/greetings", folder);
    file = fopen(greetings, "wb");
    assert_non_null(file);
    fputs(greeting, file);
    fclose(file);
    texts[0] = (struct corpus_file){text_path, 1};
    texts[1] = (struct corpus_file){greetings, 1};
    *o = options_of(names[0], &texts[0]);
    o->steps = 150;
    train = training_of(o);
    must_step(train, o->steps);
    must_save(train);
    train_close(&train);
    *tuned = options_of(names[1], &texts[1]);
    tuned->model = o->output;
    tuned->held_out = greetings;
    tuned->state_only = true;
    tuned->tokens = 64;
    tuned->rate = 0.1;
    tuned->steps = 100;
    tuned->decay = 0;
    train = training_of(tuned);
    *before = train_evaluate(train, NULL);
    must_step(train, tuned->steps);
    *after = train_evaluate(train, NULL);
    must_save(train);
    train_close(&train);
}

static void a_state_is_trained_alone_and_read_by_the_engine(void **state)
{
    enum { COUNT = sizeof greeting };
    const double nats = log(2) * (COUNT - 1);
    struct train_options o, tuned;
    uint32_t tokens[COUNT] = {0};
    double before, after, read;

    (void)state;
    make_state(&o, &tuned, &before, &after);
    if (!(after < 0.92 * before))
        fail_msg("%g bits a byte with the state, %g without", after, before);
    for (size_t i = 1; i < COUNT; i++)
        tokens[i] = (uint8_t)greeting[i - 1];
    read = engine_nats(o.output, NULL, tokens, COUNT);
    if (!(fabs(read - before * nats) <= 1e-5 * read))
        fail_msg("without: the engine reads %.9g nats, training %.9g", read, before * nats);
    read = engine_nats(o.output, tuned.output, tokens, COUNT);
    if (!(fabs(read - after * nats) <= 1e-5 * read))
        fail_msg("with: the engine reads %.9g nats, training %.9g", read, after * nats);
}

static void a_state_file_holds_time_state_and_nothing_else(void **state)
{
    struct train_options o, tuned;
    struct container *file = NULL;
    struct err err = {0};
    double before, after;

    (void)state;
    make_state(&o, &tuned, &before, &after);
    assert_int_equal(container_open(&file, tuned.output, &err), ERR_OK);
    assert_int_equal(file->count, tiny.layers);
    for (size_t i = 0; i < file->count; i++) {
        const uint64_t shape[] = {tiny.channels / tiny.head_size, tiny.head_size, tiny.head_size};
        char name[64];
        snprintf(name, sizeof name, "blocks.%zu.att.time_state", i);
        assert_string_equal(file->tensors[i].name, name);
        assert_int_equal(file->tensors[i].dtype, DTYPE_F32);
        assert_int_equal(file->tensors[i].rank, 3);
        assert_memory_equal(file->tensors[i].shape, shape, sizeof shape);
    }
    container_close(&file);
}

static void assert_no_state(const char *model, const char *path, const char *says)
{
    const struct engine_options options = {.initial_state = path};
    struct engine *engine = NULL;
    struct err err = {0};

    assert_int_equal(engine_open(&engine, model, &options, &err), ERR_MODEL);
    if (!strstr(err.text, path) || !strstr(err.text, says))
        fail_msg("%s", err.text);
}

static void what_is_no_state_of_the_model_is_refused_by_name(void **state)
{
    const struct corpus_file file = {text_path, 1};
    uint8_t alone[ENGINE_FINGERPRINT_BYTES], with[ENGINE_FINGERPRINT_BYTES];
    struct train_options o, tuned, deep = options_of("deep", &file);
    struct train *train;
    struct err err = {0};
    double before, after;

    (void)state;
    make_state(&o, &tuned, &before, &after);
    assert_no_state(o.output, o.output, "it is no initial state");
    assert_int_equal(engine_fingerprint(o.output, alone, &err), ERR_OK);
    assert_int_equal(engine_fingerprint_with(o.output, tuned.output, with, &err), ERR_OK);
    assert_memory_not_equal(alone, with, sizeof with);
    deep.shape.layers = 3;
    train = training_of(&deep);
    must_save(train);
    train_close(&train);
    assert_no_state(deep.output, tuned.output, "an initial state of 2 layers");
    tuned.state_only = false; /* its training goes on with the state, or not at all */
    assert_int_equal(train_open(&train, &tuned, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "--state"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_training_learns),
        cmocka_unit_test(a_training_learns_to_recall_what_was_just_said),
        cmocka_unit_test(a_stopped_training_goes_on_to_the_same_bits),
        cmocka_unit_test(evaluating_changes_nothing),
        cmocka_unit_test(a_training_with_other_settings_is_refused_by_name),
        cmocka_unit_test(a_damaged_training_is_refused),
        cmocka_unit_test(products_are_not_disturbed_by_signals),
        cmocka_unit_test(the_engine_reads_the_model_with_the_loss_of_training),
        cmocka_unit_test(a_model_is_where_another_training_begins),
        cmocka_unit_test(a_state_is_trained_alone_and_read_by_the_engine),
        cmocka_unit_test(a_state_file_holds_time_state_and_nothing_else),
        cmocka_unit_test(what_is_no_state_of_the_model_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
