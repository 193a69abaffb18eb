/* riverrun train: make a model from text. riverrun adapt: the same from a model that is there, with defaults that
 * suit less text and a model that can read already. */
#include "pipeline/commands/train.h"
#include "pipeline/commands/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings_train {
    struct training training;
    uint64_t layers, channels, head_size, ffn, rank_w, rank_a, rank_v, rank_g; /* 0: not given */
    uint64_t streams, window, parts, threads, steps, warm_up, held_out_kib, span_kib, seed;
    double passes; /* below 0: not given */
    int isa, products;
    bool state;
};

enum { OPTIONS_MAX = 40 };
static const char *const isas[] = {"auto", "avx512", "avx2", "plain"};

/* ---- Defaults. ---- */

/* engine/train/README.md has what was measured. Steps are small and many, since the text is short; the limit keeps a
 * model of some ten million parameters within minutes. */
static void adapt_defaults(struct training *training)
{
    struct train_options *t = &training->train;

    t->steps = 0;
    t->passes = 10;
    t->tokens_most = 1 << 19;
    t->warm_up = 10;
    t->rate = 1e-3;
    t->rate_last = 1e-5;
    t->keep = 0.3;
    t->streams = 8;
    t->tokens = 128;
    t->span_bytes = 32 << 10;
    training->compare = true;
}

/* A gradient comes only from windows in which a document begins: pieces of about a window. */
static void state_defaults(struct train_options *t)
{
    t->rate = 3e-2;
    t->rate_last = 3e-4;
    t->decay = 0;
    t->keep = 0;
    t->streams = 4;
    t->tokens = 512;
    t->span_bytes = 1 << 10;
}

static void settings_defaults(struct settings_train *s, bool adapt)
{
    struct training *training = &s->training;
    const struct train_options *t = &training->train;

    train_defaults(&training->train);
    training->save_ms = 600 * 1000;
    training->evaluate_every = 500;
    if (adapt)
        adapt_defaults(training);
    if (s->state)
        state_defaults(&training->train);
    s->passes = -1;
    s->streams = t->streams;
    s->window = t->tokens;
    s->parts = t->parts;
    s->warm_up = t->warm_up;
    s->held_out_kib = t->held_out_bytes >> 10;
    s->span_kib = t->span_bytes >> 10;
    s->seed = t->seed;
}

/* ---- Options. ---- */

/* An option, and who has it: t train, a adapt. */
struct row {
    const char *who;
    struct option option;
};

static void settings_table(struct settings_train *s, bool adapt, struct option *options)
{
    struct training *training = &s->training;
    struct train_options *t = &training->train;
    const struct row rows[] = {
        {"ta", {"output", 'o', OPTION_PATH, &t->output, 0, 0, "MODEL", "the model to make"}},
        {"t", {"model", 0, OPTION_PATH, &t->model, 0, 0, "FILE", "begin with this RWKV-7 model"}},
        {"ta",
         {"vocab", 0, OPTION_PATH, &t->vocabulary, 0, 0, "FILE",
          "a vocabulary, as of `vocab learn` (the model's own, or bytes)"}},
        {"a",
         {"state", 0, OPTION_FLAG, &s->state, 0, 0, NULL,
          "train the initial state alone: MODEL becomes a file of time_state"}},
        {"ta",
         {"held-out", 0, OPTION_PATH, &t->held_out, 0, 0, "FILE",
          "text to measure bits per byte on"}},
        {"ta",
         {"held-out-kib", 0, OPTION_COUNT, &s->held_out_kib, 0, 1 << 30, "N",
          "of each of its documents; 0: all (default 64)"}},
        {"t", {"layers", 0, OPTION_COUNT, &s->layers, 1, NET_LAYERS_MAX, "N", "layers (8)"}},
        {"t",
         {"channels", 0, OPTION_COUNT, &s->channels, 16, NET_CHANNELS_MAX, "N", "width (256)"}},
        {"t", {"head-size", 0, OPTION_COUNT, &s->head_size, 16, NET_HEAD_MAX, "N", "default 32"}},
        {"t",
         {"ffn", 0, OPTION_COUNT, &s->ffn, 0, NET_FFN_MAX, "N",
          "width of the channel mix (default: 4 x channels)"}},
        {"t", {"rank-w", 0, OPTION_COUNT, &s->rank_w, 16, NET_RANK_MAX, "N", "of the decay (32)"}},
        {"t", {"rank-a", 0, OPTION_COUNT, &s->rank_a, 16, NET_RANK_MAX, "N", "of the rate (32)"}},
        {"t", {"rank-v", 0, OPTION_COUNT, &s->rank_v, 16, NET_RANK_MAX, "N", "of the values (16)"}},
        {"t", {"rank-g", 0, OPTION_COUNT, &s->rank_g, 16, NET_RANK_MAX, "N", "of the gate (64)"}},
        {"ta",
         {"streams", 0, OPTION_COUNT, &s->streams, 1, TRAIN_STREAMS_MAX, "N",
          adapt ? "pieces of text read side by side (8; with --state 4)"
                : "documents read side by side (16)"}},
        {"ta",
         {"window", 0, OPTION_COUNT, &s->window, 16, TRAIN_TOKENS_MAX, "N",
          adapt ? "tokens that a gradient spans (128; with --state 512)"
                : "tokens that a gradient spans (256)"}},
        {"ta",
         {"parts", 0, OPTION_COUNT, &s->parts, 1, TRAIN_PARTS_MAX, "N",
          "gradients that are added up, threads at most (2)"}},
        {"ta",
         {"threads", 0, OPTION_COUNT, &s->threads, 0, TRAIN_PARTS_MAX, "N",
          "0: one a core (default)"}},
        {"ta",
         {"steps", 0, OPTION_COUNT, &s->steps, 1, 1ull << 40, "N",
          adapt ? "of streams x window tokens (as --passes says)"
                : "of streams x window tokens (10000)"}},
        {"ta",
         {"passes", 0, OPTION_REAL, &s->passes, 0, 1000000, "X",
          adapt ? "how often the text is read (10, but no more than 524288 tokens)"
                : "how often the text is read, instead of --steps"}},
        {"ta",
         {"warm-up", 0, OPTION_COUNT, &s->warm_up, 0, 1ull << 40, "N",
          adapt ? "steps (10)" : "steps (100)"}},
        {"ta",
         {"rate", 0, OPTION_REAL, &t->rate, 0, 1, "X",
          adapt ? "learning rate (1e-3; with --state 3e-2)" : "learning rate (1e-3)"}},
        {"ta",
         {"rate-last", 0, OPTION_REAL, &t->rate_last, 0, 1, "X",
          adapt ? "at the end (1e-5; with --state 3e-4)" : "at the end (3e-5)"}},
        {"ta", {"decay", 0, OPTION_REAL, &t->decay, 0, 1000, "X", "of weights, no states (0.1)"}},
        {"a",
         {"keep", 0, OPTION_REAL, &t->keep, 0, 1, "X",
          "share of MODEL's own weights in what is made (0.3; with --state 0)"}},
        {"ta",
         {"span-kib", 0, OPTION_COUNT, &s->span_kib, 0, 1 << 22, "N",
          adapt ? "longer documents are read in pieces; 0: never (32; with --state 1)"
                : "longer documents are read in pieces; 0: never (256)"}},
        {"ta", {"seed", 0, OPTION_COUNT, &s->seed, 0, UINT32_MAX, "N", "default 1"}},
        {"ta",
         {"save-every", 0, OPTION_SECONDS, &training->save_ms, 0, 1ull << 40, "SECONDS",
          "save training and model (600)"}},
        {"ta",
         {"evaluate-every", 0, OPTION_COUNT, &training->evaluate_every, 1, 1ull << 40, "N",
          "steps (500)"}},
        {"ta",
         {"until", 0, OPTION_COUNT, &training->until, 0, 1ull << 40, "N",
          "end at this step; the command without goes on (0: at the last)"}},
        {"ta",
         {"curve", 0, OPTION_PATH, &training->curve, 0, 0, "FILE",
          "the loss as a picture (MODEL.svg)"}},
        {"ta",
         {"isa", 0, OPTION_CHOICE, &s->isa, 0, 0, "auto|avx512|avx2|plain", "instructions to use"}},
        {"ta",
         {"products", 0, OPTION_CHOICE, &s->products, 0, 0, "f32|bf16",
          "what is multiplied; bf16 is faster where there is AMX (f32)"}},
        {"ta", {"quiet", 'q', OPTION_FLAG, &training->quiet, 0, 0, NULL, "no progress"}},
    };
    size_t count = 0;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strchr(rows[i].who, adapt ? 'a' : 't'))
            options[count++] = rows[i].option;
    options[count] = (struct option){.name = NULL};
    require(count < OPTIONS_MAX);
}

static void settings_finish(struct settings_train *s)
{
    struct train_options *t = &s->training.train;
    const struct net_shape d = t->shape;
    const uint64_t channels = s->channels ? s->channels : d.channels;

    t->shape =
        (struct net_shape){.layers = (uint32_t)(s->layers ? s->layers : d.layers),
                           .channels = (uint32_t)channels,
                           .head_size = (uint32_t)(s->head_size ? s->head_size : d.head_size),
                           .ffn = (uint32_t)(s->ffn ? s->ffn : 4 * channels),
                           .rank_w = (uint32_t)(s->rank_w ? s->rank_w : d.rank_w),
                           .rank_a = (uint32_t)(s->rank_a ? s->rank_a : d.rank_a),
                           .rank_v = (uint32_t)(s->rank_v ? s->rank_v : d.rank_v),
                           .rank_g = (uint32_t)(s->rank_g ? s->rank_g : d.rank_g)};
    if (s->passes > 0) {
        t->steps = 0;
        t->passes = s->passes;
        t->tokens_most = 0;
    }
    if (s->steps)
        t->steps = s->steps;
    t->state_only = s->state;
    t->streams = (uint32_t)s->streams;
    t->tokens = (uint32_t)s->window;
    t->parts = (uint32_t)s->parts;
    t->threads = (unsigned)s->threads;
    t->warm_up = s->warm_up;
    t->held_out_bytes = s->held_out_kib << 10;
    t->span_bytes = s->span_kib << 10;
    t->seed = s->seed;
    t->isa = isas[s->isa];
    t->products = (enum train_products)s->products;
}

static struct corpus_file file_of(const char *argument)
{
    const char *colon = strrchr(argument, ':');
    char *end;
    double weight;

    if (!colon || !colon[1] || access(argument, F_OK) == 0)
        return (struct corpus_file){strdup(argument), 1};
    weight = strtod(colon + 1, &end);
    if (*end)
        return (struct corpus_file){strdup(argument), 1};
    return (struct corpus_file){strndup(argument, (size_t)(colon - argument)), weight};
}

enum err_code train_files(struct corpus_file **out, char *const *arguments, size_t count,
                          struct err *err)
{
    struct corpus_file *files = calloc(count, sizeof *files);
    bool whole = files != NULL;

    for (size_t i = 0; whole && i < count; i++) {
        files[i] = file_of(arguments[i]);
        whole = files[i].path != NULL;
        if (whole)
            warn_of_other_than_text(files[i].path);
    }
    *out = files;
    if (whole)
        return ERR_OK;
    train_files_release(files, count);
    return err_set(err, ERR_MEMORY, 0, "%zu files", count);
}

/* Texts are mapped. A page that is no longer in its file cannot be gone around: what was saved stays as it is. */
static void on_lost_page(int number)
{
    static const char words[] =
        "riverrun: a file that is read was cut short, or cannot be read to its end: let it be, "
        "or use a copy, and run the same command again\n";
    ssize_t ignored = write(STDERR_FILENO, words, sizeof words - 1);

    (void)ignored;
    (void)number;
    _exit(err_status(ERR_CHANGED));
}

void train_watch_files(void)
{
    const struct sigaction action = {.sa_handler = on_lost_page};

    sigaction(SIGBUS, &action, NULL);
}

void train_files_release(struct corpus_file *files, size_t count)
{
    for (size_t i = 0; files && i < count; i++)
        free((char *)files[i].path);
    free(files);
}

/* ---- The commands. ---- */

#define DOCUMENTS                                                                                 \
    "Documents are separated by NUL bytes or by files. A file with a weight of 0.3 is read in\n"  \
    "three epochs of ten. Stopped or killed, the same command goes on from where it was saved\n"  \
    "(MODEL.safetensors.training) and ends with the same bytes; the loss so far is drawn in\n"    \
    "MODEL.svg. At the end int8 is tried on the held-out text, or on the first: where it costs\n" \
    "less than half a per cent more than f32, --weights auto is int8 for the model.\n"

static void print_help(const struct option *options, bool adapt)
{
    if (adapt)
        puts(
            "usage: riverrun adapt MODEL TEXT[:WEIGHT]... -o ADAPTED.safetensors [options]\n"
            "\n"
            "Goes on training an RWKV-7 model, all its weights, on text of your own: logs of your\n"
            "machines, your language. What is made lies between the trained weights and those of\n"
            "MODEL (--keep), so that a short text is not learned by heart. With --held-out it\n"
            "says what that has gained. With --state the weights stay, and what is made is the\n"
            "state that documents begin with: a small file for `read --initial-state`, and for\n"
            "other RWKV-7 programs (time_state).\n" DOCUMENTS);
    else
        puts("usage: riverrun train TEXT[:WEIGHT]... -o MODEL.safetensors [options]\n"
             "\n"
             "Makes an RWKV-7 model from text.\n" DOCUMENTS);
    options_print(options);
}

static enum err_code train_on(struct settings_train *s, char **paths, size_t count, struct err *err)
{
    struct corpus_file *files;
    enum err_code code = train_files(&files, paths, count, err);

    if (code)
        return code;
    train_watch_files();
    settings_finish(s);
    s->training.train.files = files;
    s->training.train.file_count = count;
    code = training_run(&s->training, err);
    train_files_release(files, count);
    return code;
}

static enum err_code check_settings(const struct settings_train *s, struct err *err)
{
    if (s->training.train.model && (s->layers || s->channels || s->head_size || s->ffn ||
                                    s->rank_w || s->rank_a || s->rank_v || s->rank_g))
        return err_set(err, ERR_USAGE, 0,
                       "the shape is that of --model '%s': leave out what is given of another",
                       s->training.train.model);
    if (s->passes == 0)
        return err_set(err, ERR_USAGE, 0, "--passes wants a number above 0");
    if (s->passes > 0 && s->steps)
        return err_set(err, ERR_USAGE, 0,
                       "--steps and --passes both say how long it takes: leave out one");
    return ERR_OK;
}

/* What both have to do with a command line. *done: there is nothing left to be done. */
static enum err_code parse(struct settings_train *s, bool adapt, char **arguments, size_t *count,
                           bool *done, struct err *err)
{
    struct option options[OPTIONS_MAX];
    enum err_code code;

    for (size_t i = 0; i < *count; i++) /* other defaults, which come before the options */
        s->state = s->state || (adapt && !strcmp(arguments[i], "--state"));
    settings_defaults(s, adapt);
    settings_table(s, adapt, options);
    code = options_parse(options, arguments, count, done, err);
    if (!code && *done)
        print_help(options, adapt);
    return code || *done ? code : check_settings(s, err);
}

enum err_code command_train(char **arguments, size_t count, struct err *err)
{
    struct settings_train s = {.isa = 0};
    bool done;
    enum err_code code = parse(&s, false, arguments, &count, &done, err);

    if (code || done)
        return code;
    if (!count || !s.training.train.output)
        return err_set(err, ERR_USAGE, 0,
                       "train needs %s: riverrun train TEXT... -o MODEL.safetensors",
                       count ? "a place for the model" : "text");
    return train_on(&s, arguments, count, err);
}

enum err_code command_adapt(char **arguments, size_t count, struct err *err)
{
    struct settings_train s = {.isa = 0};
    bool done;
    enum err_code code = parse(&s, true, arguments, &count, &done, err);

    if (code || done)
        return code;
    if (count < 2 || !s.training.train.output)
        return err_set(err, ERR_USAGE, 0,
                       "adapt needs %s: riverrun adapt MODEL TEXT... -o ADAPTED.safetensors",
                       !count      ? "a model"
                       : count < 2 ? "text"
                                   : "a place for the adapted model");
    s.training.train.model = arguments[0];
    code = find_model(&s.training.train.model, err);
    if (code)
        return code;
    return train_on(&s, arguments + 1, count - 1, err);
}
