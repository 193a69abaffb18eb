/* riverrun train: make a model from text. */
#include "pipeline/commands/train.h"
#include "pipeline/commands/commands.h"
#include "pipeline/report.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct settings_train {
    struct train_options train;
    uint64_t layers, channels, head_size, ffn, rank_w, rank_a, rank_v, rank_g;
    uint64_t streams, window, parts, threads, steps, warm_up, held_out_kib, span_kib, seed;
    uint64_t save_ms, evaluate_every;
    const char *rate, *rate_last, *decay;
    int isa, products;
    bool quiet;
};

enum { OPTIONS_MAX = 32 };
static const char *const isas[] = {"auto", "avx512", "avx2", "plain"};

static void settings_defaults(struct settings_train *s)
{
    const struct train_options *t = &s->train;

    train_defaults(&s->train);
    s->layers = t->shape.layers;
    s->channels = t->shape.channels;
    s->head_size = t->shape.head_size;
    s->rank_w = t->shape.rank_w;
    s->rank_a = t->shape.rank_a;
    s->rank_v = t->shape.rank_v;
    s->rank_g = t->shape.rank_g;
    s->streams = t->streams;
    s->window = t->tokens;
    s->parts = t->parts;
    s->steps = t->steps;
    s->warm_up = t->warm_up;
    s->held_out_kib = t->held_out_bytes >> 10;
    s->span_kib = t->span_bytes >> 10;
    s->seed = t->seed;
    s->save_ms = 600 * 1000;
    s->evaluate_every = 500;
}

static void settings_table(struct settings_train *s, struct option *options)
{
    const struct option table[] = {
        {"output", 'o', OPTION_TEXT, &s->train.output, 0, 0, "MODEL", "the model to make"},
        {"model", 0, OPTION_TEXT, &s->train.model, 0, 0, "FILE", "begin with this RWKV-7 model"},
        {"vocab", 0, OPTION_TEXT, &s->train.vocabulary, 0, 0, "FILE",
         "a vocabulary, as of `vocab learn` (the model's own, or bytes)"},
        {"held-out", 0, OPTION_TEXT, &s->train.held_out, 0, 0, "FILE",
         "text to measure bits per byte on"},
        {"held-out-kib", 0, OPTION_COUNT, &s->held_out_kib, 0, 1 << 30, "N",
         "of each of its documents; 0: all (default 64)"},
        {"layers", 0, OPTION_COUNT, &s->layers, 1, NET_LAYERS_MAX, "N", "layers (default 8)"},
        {"channels", 0, OPTION_COUNT, &s->channels, 16, NET_CHANNELS_MAX, "N",
         "width (default 256)"},
        {"head-size", 0, OPTION_COUNT, &s->head_size, 16, NET_HEAD_MAX, "N", "default 32"},
        {"ffn", 0, OPTION_COUNT, &s->ffn, 0, NET_FFN_MAX, "N",
         "width of the channel mix (default: 4 x channels)"},
        {"rank-w", 0, OPTION_COUNT, &s->rank_w, 16, NET_RANK_MAX, "N", "of the decay (32)"},
        {"rank-a", 0, OPTION_COUNT, &s->rank_a, 16, NET_RANK_MAX, "N", "of the rate (32)"},
        {"rank-v", 0, OPTION_COUNT, &s->rank_v, 16, NET_RANK_MAX, "N", "of the values (16)"},
        {"rank-g", 0, OPTION_COUNT, &s->rank_g, 16, NET_RANK_MAX, "N", "of the gate (64)"},
        {"streams", 0, OPTION_COUNT, &s->streams, 1, TRAIN_STREAMS_MAX, "N",
         "documents read side by side (16)"},
        {"window", 0, OPTION_COUNT, &s->window, 16, TRAIN_TOKENS_MAX, "N",
         "tokens that a gradient spans (256)"},
        {"parts", 0, OPTION_COUNT, &s->parts, 1, TRAIN_PARTS_MAX, "N",
         "gradients that are added up, threads at most (2)"},
        {"threads", 0, OPTION_COUNT, &s->threads, 0, TRAIN_PARTS_MAX, "N",
         "0: one a core (default)"},
        {"steps", 0, OPTION_COUNT, &s->steps, 1, 1ull << 40, "N", "of streams x window tokens"},
        {"warm-up", 0, OPTION_COUNT, &s->warm_up, 0, 1ull << 40, "N", "steps (100)"},
        {"rate", 0, OPTION_TEXT, &s->rate, 0, 0, "X", "learning rate (1e-3)"},
        {"rate-last", 0, OPTION_TEXT, &s->rate_last, 0, 0, "X", "at the end (3e-5)"},
        {"decay", 0, OPTION_TEXT, &s->decay, 0, 0, "X", "of weights (0.1)"},
        {"span-kib", 0, OPTION_COUNT, &s->span_kib, 0, 1 << 22, "N",
         "longer documents are read in pieces; 0: never (256)"},
        {"seed", 0, OPTION_COUNT, &s->seed, 0, UINT32_MAX, "N", "default 1"},
        {"save-every", 0, OPTION_SECONDS, &s->save_ms, 0, 1ull << 40, "SECONDS",
         "save training and model (600)"},
        {"evaluate-every", 0, OPTION_COUNT, &s->evaluate_every, 1, 1ull << 40, "N", "steps (500)"},
        {"isa", 0, OPTION_CHOICE, &s->isa, 0, 0, "auto|avx512|avx2|plain", "instructions to use"},
        {"products", 0, OPTION_CHOICE, &s->products, 0, 0, "f32|bf16",
         "what is multiplied; bf16 is faster where there is AMX (f32)"},
        {"quiet", 'q', OPTION_FLAG, &s->quiet, 0, 0, NULL, "no progress"},
        {.name = NULL},
    };

    memcpy(options, table, sizeof table);
}

static enum err_code number_of(const char *name, const char *text, double *out, struct err *err)
{
    char *end;
    double value;

    if (!text)
        return ERR_OK;
    value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0)
        return err_set(err, ERR_USAGE, 0, "--%s '%s': want a number", name, text);
    *out = value;
    return ERR_OK;
}

static enum err_code settings_finish(struct settings_train *s, struct err *err)
{
    struct train_options *t = &s->train;
    enum err_code code = number_of("rate", s->rate, &t->rate, err);

    if (!code)
        code = number_of("rate-last", s->rate_last, &t->rate_last, err);
    if (!code)
        code = number_of("decay", s->decay, &t->decay, err);
    t->shape = (struct net_shape){.layers = (uint32_t)s->layers,
                                  .channels = (uint32_t)s->channels,
                                  .head_size = (uint32_t)s->head_size,
                                  .ffn = (uint32_t)(s->ffn ? s->ffn : 4 * s->channels),
                                  .rank_w = (uint32_t)s->rank_w,
                                  .rank_a = (uint32_t)s->rank_a,
                                  .rank_v = (uint32_t)s->rank_v,
                                  .rank_g = (uint32_t)s->rank_g};
    t->streams = (uint32_t)s->streams;
    t->tokens = (uint32_t)s->window;
    t->parts = (uint32_t)s->parts;
    t->threads = (unsigned)s->threads;
    t->steps = s->steps;
    t->warm_up = s->warm_up;
    t->held_out_bytes = s->held_out_kib << 10;
    t->span_bytes = s->span_kib << 10;
    t->seed = s->seed;
    t->isa = isas[s->isa];
    t->products = (enum train_products)s->products;
    return code;
}

struct corpus_file train_file(char *argument)
{
    char *colon = strrchr(argument, ':'), *end;
    double weight;

    if (!colon || !colon[1] || access(argument, F_OK) == 0)
        return (struct corpus_file){argument, 1};
    weight = strtod(colon + 1, &end);
    if (*end)
        return (struct corpus_file){argument, 1};
    *colon = 0;
    return (struct corpus_file){argument, weight};
}

/* ---- The loop. ---- */

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct session {
    const struct settings_train *settings;
    struct train *train;
    double begun, said, saved, peak;
    uint64_t first_step, first_tokens;
};

static void say(struct session *s, bool end)
{
    const struct train_status *t = train_status(s->train);
    double now = seconds(), speed, left;
    char time_left[32], held_out[32] = "";

    if (s->settings->quiet || t->step == s->first_step || (!end && now - s->said < 10))
        return;
    s->said = now;
    speed = (double)(t->tokens - s->first_tokens) / (now - s->begun);
    left = (double)(t->steps - t->step) * (now - s->begun) / (double)(t->step - s->first_step);
    report_time(time_left, sizeof time_left, left);
    if (t->held_out > 0)
        snprintf(held_out, sizeof held_out, ", held out %.4f bits/byte", t->held_out);
    printf("step %llu of %llu, epoch %llu: loss %.4f%s; rate %.2e, gradient %.2f; %.0f tokens/s, "
           "%.0f %% of the sgemm peak; %s left\n",
           (unsigned long long)t->step, (unsigned long long)t->steps, (unsigned long long)t->epoch,
           t->loss, held_out, t->rate, t->norm, speed,
           s->peak > 0 ? 100 * 6e-9 * (double)t->parameters * speed / s->peak : 0, time_left);
    fflush(stdout);
}

static enum err_code save(struct session *s, struct err *err)
{
    s->saved = seconds();
    return train_save(s->train, err);
}

static enum err_code run(struct session *s, struct err *err)
{
    const struct train_status *t = train_status(s->train);
    const struct settings_train *settings = s->settings;
    enum err_code code = ERR_OK;

    while (!code && t->step < t->steps && !stop_asked) {
        code = train_step(s->train, err);
        if (!code && settings->train.held_out &&
            (t->step % settings->evaluate_every == 0 || t->step == t->steps)) {
            train_evaluate(s->train);
            s->said = 0;
        }
        if (!code && (seconds() - s->saved) * 1000 >= (double)settings->save_ms)
            code = save(s, err);
        say(s, false);
    }
    if (!code)
        code = save(s, err);
    say(s, true);
    if (!code && t->step < t->steps)
        code =
            err_set(err, ERR_STOPPED, 0, "stopped at step %llu of %llu; the same command goes on",
                    (unsigned long long)t->step, (unsigned long long)t->steps);
    return code;
}

static unsigned thread_count(const struct settings_train *s)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = s->threads ? s->threads : cores > 0 ? (uint64_t)cores : 1;

    return (unsigned)(threads < s->parts ? threads : s->parts);
}

static enum err_code session_run(struct settings_train *settings, struct err *err)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct session s = {.settings = settings};
    enum err_code code;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    code = train_open(&s.train, &settings->train, err);
    if (code)
        return code;
    const struct train_status *t = train_status(s.train);
    if (!settings->quiet) {
        s.peak = train_peak(thread_count(settings));
        printf("%llu parameters, %.1f MB of text, %u threads (%s), sgemm peak %.0f GFLOP/s%s\n",
               (unsigned long long)t->parameters, (double)t->corpus_bytes / 1e6,
               thread_count(settings), t->level, s.peak,
               t->resumed ? "; goes on where it was saved" : "");
        fflush(stdout);
    }
    s.begun = s.saved = seconds();
    s.first_step = t->step;
    s.first_tokens = t->tokens;
    code = run(&s, err);
    train_close(&s.train);
    return code;
}

static void print_help(const struct option *options)
{
    puts(
        "usage: riverrun train TEXT[:WEIGHT]... -o MODEL.safetensors [options]\n"
        "\n"
        "Makes an RWKV-7 model from text: documents are separated by NUL bytes or by files. A file "
        "with a\n"
        "weight of 0.3 is read in three epochs of ten. Stopped or killed, the same command goes on "
        "from\n"
        "where it was saved (MODEL.safetensors.training) and ends with the same bytes.\n");
    options_print(options);
}

enum err_code command_train(char **arguments, size_t count, struct err *err)
{
    struct option options[OPTIONS_MAX];
    struct settings_train s = {.isa = 0};
    struct corpus_file *files;
    bool help;
    enum err_code code;

    settings_defaults(&s);
    settings_table(&s, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (code)
        return code;
    if (help) {
        print_help(options);
        return ERR_OK;
    }
    if (!count || !s.train.output)
        return err_set(err, ERR_USAGE, 0,
                       "train needs %s: riverrun train TEXT... -o MODEL.safetensors",
                       count ? "a place for the model" : "text");
    files = calloc(count, sizeof *files);
    if (!files)
        return err_set(err, ERR_MEMORY, 0, "%zu files", count);
    code = settings_finish(&s, err);
    for (size_t i = 0; i < count; i++)
        files[i] = train_file(arguments[i]);
    s.train.files = files;
    s.train.file_count = count;
    if (!code)
        code = session_run(&s, err);
    free(files);
    return code;
}
