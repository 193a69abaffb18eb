/* tests/test_engine_versions.c: what files of one version may differ in, and what is said of them.
 *
 * Numbers per head or per channel, kept raw or done; trained initial states; weights that are not finite; sizes
 * and costs of the published models, from files of zeros that take no room. */
#include "engine/kernels/kernels.h"
#include "engine/model.h"
#include "tests/file_parts.h"

enum { TOKENS = 40 };

static char path[] = "/tmp/riverrun-versions-XXXXXX";

static int make_path(void **unused)
{
    (void)unused;
    close(mkstemp(path));
    return 0;
}

static int drop_path(void **unused)
{
    (void)unused;
    unlink(path);
    return 0;
}

static const char *nano(const char *name)
{
    static char full[400];

    snprintf(full, sizeof full, "%s/%s.safetensors", NANO_DIR, name);
    return full;
}

/* A model of make_nano's at path. */
static void make(const char *options)
{
    char command[500];

    snprintf(command, sizeof command, "%s/make_nano %s -o %s", NANO_DIR, options, path);
    assert_int_equal(system(command), 0);
}

static struct engine *open_one(const char *from, unsigned threads)
{
    return engine_of(from, &(struct engine_options){.threads = threads, .block_tokens = 16});
}

static const uint32_t *some_tokens(void)
{
    static uint32_t tokens[TOKENS];

    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (7 * i * i + 13 * i + 5) % 250;
    return tokens;
}

/* The loss of each token but the first, and the state behind the last; malloc'ed. */
struct run {
    float *loss;
    uint8_t *state;
    size_t state_bytes;
};

static struct run run_from(struct engine *engine, struct engine_state *state)
{
    struct run out = {calloc(TOKENS, sizeof(float)), malloc(engine_info(engine)->state_bytes),
                      engine_info(engine)->state_bytes};

    assert_true(out.loss && out.state);
    must_run(engine, &(struct engine_job){.state = state, .tokens = some_tokens(), .count = 1});
    must_run(engine, &(struct engine_job){.state = state,
                                          .tokens = some_tokens() + 1,
                                          .count = TOKENS - 1,
                                          .loss = out.loss + 1});
    engine_state_save(state, out.state);
    return out;
}

static struct run run_file(const char *from)
{
    struct engine *engine = open_one(from, 1);
    struct engine_state *state = state_of(engine);
    struct run out = run_from(engine, state);

    engine_state_close(&state);
    engine_close(&engine);
    return out;
}

static void run_release(struct run *run)
{
    free(run->loss);
    free(run->state);
}

static void assert_same_run(const struct run *a, const struct run *b)
{
    assert_int_equal(a->state_bytes, b->state_bytes);
    assert_memory_equal(a->loss, b->loss, TOKENS * sizeof(float));
    assert_memory_equal(a->state, b->state, a->state_bytes);
}

/* In one line that holds both parts. */
static void assert_open_says(const char *part, const char *other, const char *what)
{
    struct engine *engine = NULL;
    struct err err = {0};

    if (engine_open(&engine, path, &(struct engine_options){.threads = 2}, &err) != ERR_MODEL)
        fail_msg("%s: it says: %s", what, err.text);
    assert_null(engine);
    if (!strstr(err.text, part) || !strstr(err.text, other) || strchr(err.text, '\n'))
        fail_msg("%s: it says: %s", what, err.text);
}

static void assert_open_refused(const char *part, const char *what)
{
    assert_open_says(part, path, what);
}

/* ---- The forms of version 5. ---- */

/* Exchange float tensor `name` of block 0 and 1 for one called `other` of the values' shape [heads, size]:
 * each number for `size` channels, and its exponential where exp is given. */
static void widen(struct file *f, const char *name, const char *other, size_t heads, size_t size,
                  map_fn *exp)
{
    for (int block = 0; block < 2; block++) {
        char from[64], to[64];
        float values[64], wide[64];

        snprintf(from, sizeof from, "blocks.%d.att.%s", block, name);
        snprintf(to, sizeof to, "blocks.%d.att.%s", block, other);
        memcpy(values, data_of(f, from), heads * sizeof *values);
        if (exp)
            exp(values, values, heads);
        for (size_t i = 0; i < heads * size; i++)
            wide[i] = values[i / size];
        remove_tensor(f, from);
        append_data(f, to, "F32",
                    size > 1 ? json_pack("[I,I]", (json_int_t)heads, (json_int_t)size)
                             : json_pack("[I]", (json_int_t)heads),
                    wide, heads * size * sizeof *wide);
    }
}

static void a_number_of_a_head_counts_for_its_channels(void **unused)
{
    static const struct {
        const char *name;
        size_t heads, size;
    } files[] = {{"nano51", 2, 16}, {"nano51g", 4, 8}};

    struct kernels kernels;

    (void)unused;
    assert_int_equal(kernels_init(&kernels, "ref", "ref", NULL), ERR_OK);
    for (size_t i = 0; i < 4 * sizeof files / sizeof *files; i++) {
        const char *from = nano(files[i / 4].name);
        size_t heads = files[i / 4].heads, size = files[i / 4].size;
        struct file f = take_apart(from);
        struct run want = run_file(from), got;
        /* A wide time_first is another program's word for time_faaaa, and is taken for that. */
        if (i % 4 > 0)
            widen(&f, "time_first", "time_faaaa", heads, i % 4 == 1 ? 1 : size, kernels.exp);
        if (i % 4 < 3)
            widen(&f, "time_decay", "time_decay", heads, size, NULL);
        put_together(&f, path);
        got = run_file(path);
        assert_same_run(&want, &got);
        run_release(&want);
        run_release(&got);
    }
}

static void a_bonus_done_is_the_exponential_of_a_raw_one(void **unused)
{
    struct file f = take_apart(nano("nano51g"));
    struct run want = run_file(nano("nano51g")), got;
    struct kernels kernels;

    (void)unused;
    assert_int_equal(kernels_init(&kernels, "ref", "ref", NULL), ERR_OK);
    widen(&f, "time_first", "time_faaaa", 4, 1, kernels.exp);
    put_together(&f, path);
    got = run_file(path);
    assert_same_run(&want, &got);
    run_release(&want);
    run_release(&got);
}

static void a_gate_and_its_mix_come_together(void **unused)
{
    struct file f = take_apart(nano("nano51g"));

    (void)unused;
    remove_tensor(&f, "blocks.0.att.time_mix_g");
    put_together(&f, path);
    assert_open_refused("'blocks.0.att.time_mix_g' is missing", "a gate without a mix");
    f = take_apart(nano("nano51g"));
    remove_tensor(&f, "blocks.1.att.gate.weight");
    put_together(&f, path);
    assert_open_refused("'blocks.1.att.gate.weight' is missing", "a gate in one layer");
    f = take_apart(nano("nano51g"));
    remove_tensor(&f, "blocks.0.att.gate.weight");
    put_together(&f, path);
    assert_open_refused("does not belong to RWKV-5.1", "a mix without a gate");
}

static void a_bonus_beyond_all_numbers_is_named(void **unused)
{
    struct file f = take_apart(nano("nano51"));
    const float much = 89.5F;

    (void)unused;
    memcpy(data_of(&f, "blocks.1.att.time_first") + 4, &much, sizeof much);
    put_together(&f, path);
    assert_open_refused("'blocks.1.att.time_first': its exponential is not finite", "exp(89.5)");
}

static void the_low_rank_of_the_mixes_has_five_groups(void **unused)
{
    static const float numbers[32 * 45];
    static const struct {
        int columns;
        const char *says;
    } shapes[] = {{39, "five groups"}, {45, "is 32 x 8, not 32 x 9"}};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct file f = take_apart(nano("nano6"));
        remove_tensor(&f, "blocks.1.att.time_maa_w1");
        append_data(&f, "blocks.1.att.time_maa_w1", "F32",
                    json_pack("[i,i]", 32, shapes[i].columns), numbers,
                    32 * (size_t)shapes[i].columns * sizeof *numbers);
        put_together(&f, path);
        assert_open_refused(shapes[i].says, "the first of the pair");
    }
}

/* ---- Heads. ---- */

static void one_head_of_all_channels_is_read_with_or_without_its_axis(void **unused)
{
    static const char *const versions[] = {"5.1", "5.2", "6", "7"};
    static const char *const tells[] = {"time_first", "time_faaaa", "time_faaaa", "r_k"};

    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        char options[100];
        struct engine *engine;
        struct run want, got;
        struct file f;

        snprintf(options, sizeof options, "--version %s --head 32", versions[i]);
        make(options);
        engine = open_one(path, 1);
        assert_int_equal(engine_info(engine)->heads, 1);
        assert_int_equal(engine_info(engine)->head_size, 32);
        engine_close(&engine);
        want = run_file(path);
        f = take_apart(path);
        for (int block = 0; block < 2 && i > 0; block++) {
            char name[64];
            snprintf(name, sizeof name, "blocks.%d.att.%s", block, tells[i]);
            json_object_set_new(entry(&f, name), "shape", json_pack("[i]", 32));
        }
        put_together(&f, path);
        got = run_file(path);
        assert_same_run(&want, &got);
        run_release(&want);
        run_release(&got);
    }
}

static void heads_that_do_not_divide_the_channels_are_refused(void **unused)
{
    struct file f = take_apart(nano("nano51"));
    static const float three[3];

    (void)unused;
    remove_tensor(&f, "blocks.0.att.time_first");
    append_data(&f, "blocks.0.att.time_first", "F32", json_pack("[i]", 3), three, sizeof three);
    put_together(&f, path);
    assert_open_refused("blocks.0.att.time_first", "three heads in 32 channels");
    make("--version 6 --channels 320 --head 320 --layers 1 --ffn 32");
    assert_open_refused("heads of 320", "a head beyond the limit");
}

/* ---- Trained states. ---- */

/* The state that file f's time_state stands for, as engine_state_load takes it. transposed: see rwkv.md. */
static uint8_t *origin_of(const struct file *f, size_t layers, size_t channels, size_t size,
                          bool transposed)
{
    size_t layer_floats = 2 * channels + channels * size;
    float *state = calloc(layers * layer_floats + channels, sizeof *state);

    assert_non_null(state);
    for (size_t layer = 0; layer < layers; layer++) {
        float *S = state + layer * layer_floats + 2 * channels;
        char name[64];
        snprintf(name, sizeof name, "blocks.%zu.att.time_state", layer);
        const uint8_t *stored = data_of(f, name);
        for (size_t i = 0; i < channels * size; i++) {
            size_t head = i / (size * size), row = i / size % size, column = i % size;
            size_t at = transposed ? (head * size + column) * size + row : i;
            memcpy(&S[i], stored + at * sizeof *S, sizeof *S);
        }
    }
    return (uint8_t *)state;
}

static void a_trained_state_is_where_streams_begin(void **unused)
{
    static const char *const names[] = {"nano52", "nano_state"};

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct engine *with = open_one(nano(names[i]), 2), *without;
        struct engine_state *state = state_of(with), *other;
        const struct engine_info *info = engine_info(with);
        struct file f = take_apart(nano(names[i]));
        uint8_t *origin = origin_of(&f, info->layers, info->channels, info->head_size, i == 0);
        uint8_t *saved = malloc(info->state_bytes);
        struct run want, got;
        struct err err;

        assert_non_null(saved);
        engine_state_save(state, saved);
        assert_memory_equal(saved, origin, info->state_bytes);
        want = run_from(with, state);

        remove_tensor(&f, "blocks.0.att.time_state");
        remove_tensor(&f, "blocks.1.att.time_state");
        put_together(&f, path);
        without = open_one(path, 2);
        assert_memory_not_equal(info->fingerprint, engine_info(without)->fingerprint,
                                ENGINE_FINGERPRINT_BYTES);
        other = state_of(without);
        assert_int_equal(engine_state_load(other, origin, &err), ERR_OK);
        got = run_from(without, other);
        assert_same_run(&want, &got);
        run_release(&got);
        got = run_file(path);
        assert_memory_not_equal(want.loss, got.loss, TOKENS * sizeof(float));

        run_release(&want);
        run_release(&got);
        free(origin);
        free(saved);
        engine_state_close(&state);
        engine_state_close(&other);
        engine_close(&with);
        engine_close(&without);
    }
}

/* Save after some tokens, load into a new engine's state: the trained state is not added again. */
static void a_trained_state_survives_a_restart(void **unused)
{
    static const char *const names[] = {"nano52", "nano6_tiles", "nano_state"};

    (void)unused;
    for (size_t i = 0; i < 3; i++)
        for (size_t cut = 0; cut <= TOKENS; cut += 13) {
            struct run want = run_file(nano(names[i]));
            uint8_t *saved = malloc(want.state_bytes);
            struct err err;

            assert_non_null(saved);
            for (int part = 0; part < 2; part++) {
                struct engine *engine = open_one(nano(names[i]), 1);
                struct engine_state *state = state_of(engine);
                if (part > 0)
                    assert_int_equal(engine_state_load(state, saved, &err), ERR_OK);
                must_run(engine, &(struct engine_job){.state = state,
                                                      .tokens = some_tokens() + (part ? cut : 0),
                                                      .count = part ? TOKENS - cut : cut});
                engine_state_save(state, saved);
                engine_state_close(&state);
                engine_close(&engine);
            }
            assert_memory_equal(want.state, saved, want.state_bytes);
            free(saved);
            run_release(&want);
        }
}

static void a_trained_state_is_in_all_layers_and_in_a_version_that_has_heads(void **unused)
{
    struct file f = take_apart(nano("nano52"));

    (void)unused;
    remove_tensor(&f, "blocks.1.att.time_state");
    put_together(&f, path);
    assert_open_refused("'blocks.1.att.time_state' is missing", "one of two");
    f = take_apart(nano("nano52"));
    remove_tensor(&f, "blocks.0.att.time_state");
    put_together(&f, path);
    assert_open_refused("'blocks.1.att.time_state' does not belong", "the other of two");
    f = take_apart(nano("nano4"));
    append_tensor(&f, "blocks.0.att.time_state");
    put_together(&f, path);
    assert_open_refused("'blocks.0.att.time_state' does not belong to RWKV-4", "version 4");
    f = take_apart(nano("nano_state"));
    json_object_set_new(entry(&f, "blocks.0.att.time_state"), "shape",
                        json_pack("[i,i,i]", 4, 8, 16));
    put_together(&f, path);
    assert_open_refused("blocks.0.att.time_state", "another shape");
}

/* ---- Weights that are no numbers: vectors, matrices, embedding and head. ---- */

static void every_tensor_that_is_not_finite_is_named(void **unused)
{
    static const char *const names[] = {"nano",       "nano4", "nano51g",     "nano52",
                                        "nano_state", "nano6", "nano6_tiles", "nano_tiles"};
    static const uint8_t wrong[][4] = {{0, 0, 0xC0, 0x7F}, {0, 0, 0x80, 0xFF}, {1, 0, 0x80, 0x7F}};
    size_t checked = 0;

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct file list = take_apart(nano(names[i]));
        const char *name;
        json_t *e;
        json_object_foreach(list.header, name, e)
        {
            struct file f = take_apart(nano(names[i]));
            const json_t *offsets = json_object_get(e, "data_offsets");
            size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
            size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
            const bool half = strcmp(json_string_value(json_object_get(e, "dtype")), "F32") != 0;
            size_t size = half ? 2 : 4, values = (end - begin) / size;
            size_t at = checked % 3 == 0 ? 0 : checked % 3 == 1 ? values - 1 : values / 2;

            memcpy(f.data + begin + at * size, wrong[half ? checked % 2 : checked % 3] + 4 - size,
                   size);
            put_together(&f, path);
            assert_open_says("not finite", name, name);
            checked++;
        }
        json_decref(list.header);
        free(list.bytes);
    }
    printf("%zu tensors\n", checked);
    assert_true(checked > 600);
}

/* ---- Epsilon. ---- */

static void another_epsilon_is_another_model(void **unused)
{
    struct engine_options options = {.threads = 1, .gn_eps = 64e-5F};
    struct engine *plain = open_one(nano("nano51"), 1), *same, *other, *none = NULL;
    struct err err = {0};

    (void)unused;
    same = engine_of(nano("nano51"), &options);
    options.gn_eps = 1e-5F;
    other = engine_of(nano("nano51"), &options);
    assert_memory_equal(engine_info(plain)->fingerprint, engine_info(same)->fingerprint,
                        ENGINE_FINGERPRINT_BYTES);
    assert_memory_not_equal(engine_info(plain)->fingerprint, engine_info(other)->fingerprint,
                            ENGINE_FINGERPRINT_BYTES);
    assert_int_equal(engine_open(&none, nano("nano4"), &options, &err), ERR_USAGE);
    options.gn_eps = -1;
    assert_int_equal(engine_open(&none, nano("nano51"), &options, &err), ERR_USAGE);
    options.gn_eps = NAN;
    assert_int_equal(engine_open(&none, nano("nano51"), &options, &err), ERR_USAGE);
    assert_null(none);
    engine_close(&plain);
    engine_close(&same);
    engine_close(&other);
}

/* ---- The published sizes: spec section 7. ---- */

struct size {
    const char *version;
    unsigned layers, channels;
    const char *ranks;
    double parameters; /* millions */
    unsigned long state_floats;
    double layers_gflops, head_gflops;
};

static const struct size sizes[] = {
    {"4", 12, 768, "1", 169.3, 46080, 0.18, 0.077},
    {"4", 24, 1024, "1", 430.4, 122880, 0.65, 0.103},
    {"4", 24, 2048, "1", 1515.1, 245760, 2.62, 0.206},
    {"4", 32, 2560, "1", 2984.6, 409600, 5.45, 0.257},
    {"4", 32, 4096, "1", 7392.6, 655360, 13.96, 0.412},
    {"4", 40, 5120, "1", 14148.6, 1024000, 27.26, 0.515},
    {"5.2", 12, 768, "1", 192.8, 608256, 0.18, 0.101},
    {"5.2", 24, 1024, "1", 461.7, 1622016, 0.65, 0.134},
    {"5.2", 24, 2048, "1", 1577.8, 3244032, 2.62, 0.268},
    {"5.2", 32, 2560, "1", 3063.0, 5406720, 5.45, 0.336},
    {"5.2", 32, 4096, "1", 7518.0, 8650752, 13.96, 0.537},
    {"6", 24, 2048, "32,64", 1599.9, 3244032, 2.66, 0.268},
    {"6", 32, 2560, "32,64", 3099.9, 5406720, 5.53, 0.336},
    {"6", 32, 4096, "64,128", 7635.7, 8650752, 14.19, 0.537},
    {"7", 12, 768, "64,64,32,128", 191.1, 608256, 0.18, 0.101},
    {"7", 24, 1024, "64,64,32,128", 450.8, 1622016, 0.63, 0.134},
    {"7", 24, 2048, "96,96,64,256", 1527.7, 3244032, 2.52, 0.268},
    {"7", 32, 2560, "96,96,64,320", 2948.1, 5406720, 5.22, 0.336},
    {"7", 32, 4096, "128,128,96,480", 7199.9, 8650752, 13.32, 0.537},
};

static void near(double got, double want, double half_a_digit, const struct size *s)
{
    if (!(fabs(got - want) <= half_a_digit * 1.0001))
        fail_msg("RWKV-%s, %u x %u: %.6f, not %.6f", s->version, s->layers, s->channels, got, want);
}

static void published_sizes_and_costs_are_those_of_the_specification(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct size *s = &sizes[i];
        const bool wide_ffn = *s->version == '4' || *s->version == '7';
        struct model *model = NULL;
        struct err err;
        char options[200];
        double unused_parameters = 0;

        snprintf(options, sizeof options,
                 "--zeros --version %s --layers %u --channels %u --head 64 --dtype BF16 "
                 "--vocab %u --ffn %u --rank %s",
                 s->version, s->layers, s->channels, *s->version == '4' ? 50277 : 65536,
                 wide_ffn ? 4 * s->channels : s->channels * 7 / 2 / 32 * 32, s->ranks);
        make(options);
        if (model_open(&model, path, NULL, &err))
            fail_msg("%s", err.text);
        /* The table counts v0, v1 and v2 of block 0, which are not in the file. */
        if (*s->version == '7')
            unused_parameters =
                s->channels * (1.0 + 2 * model->layers[1].matrices[4].tensor->shape[0]);
        near(((double)model->parameters + unused_parameters) / 1e6, s->parameters, 0.05, s);
        assert_int_equal(model->layer_count * model->layer_floats, s->state_floats);
        near((double)model->layers_flops / 1e9, s->layers_gflops, 0.005, s);
        near((double)model->head_flops / 1e9, s->head_gflops, 0.0005, s);
        model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_of_a_head_counts_for_its_channels),
        cmocka_unit_test(a_bonus_done_is_the_exponential_of_a_raw_one),
        cmocka_unit_test(a_gate_and_its_mix_come_together),
        cmocka_unit_test(a_bonus_beyond_all_numbers_is_named),
        cmocka_unit_test(the_low_rank_of_the_mixes_has_five_groups),
        cmocka_unit_test(one_head_of_all_channels_is_read_with_or_without_its_axis),
        cmocka_unit_test(heads_that_do_not_divide_the_channels_are_refused),
        cmocka_unit_test(a_trained_state_is_where_streams_begin),
        cmocka_unit_test(a_trained_state_survives_a_restart),
        cmocka_unit_test(a_trained_state_is_in_all_layers_and_in_a_version_that_has_heads),
        cmocka_unit_test(every_tensor_that_is_not_finite_is_named),
        cmocka_unit_test(another_epsilon_is_another_model),
        cmocka_unit_test(published_sizes_and_costs_are_those_of_the_specification),
    };

    return cmocka_run_group_tests(tests, make_path, drop_path);
}
