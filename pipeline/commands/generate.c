/* riverrun generate: text that goes on from a text. */
#include "pipeline/commands/commands.h"
#include "pipeline/run.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_TOKENS = 2048, READ_BYTES = 1 << 16, TOKENS_DEFAULT = 256, END_OF_TEXT = 0 };

/* What was asked for. */
struct wishes {
    const char *model, *vocab, *prompt, *prompt_file, *stop;
    struct engine_settings engine;
    double temperature, top_p, presence, frequency, decay;
    uint64_t top_k, seed, tokens;
    bool past_end, quiet;
};

/* Text that is held back: half characters, and what may be the begin of the stop text. */
struct held {
    uint8_t *bytes;
    size_t count, room;
    const char *stop; /* NULL: none */
    bool stopped;     /* it was met: nothing follows */
};

struct generation {
    const struct wishes *wishes;
    struct engine *engine;
    struct engine_state *state;
    struct tokenizer *tokenizer;
    struct tokenizer_reader *reader;
    struct sampler *sampler;
    float *logits;
    uint32_t batch[BATCH_TOKENS];
    size_t batch_count;
    struct held held;
    uint64_t read, written; /* tokens */
    double begun, prompted, ended;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- Tokens in ---- */

static enum err_code run(struct generation *g, const uint32_t *tokens, size_t count, float *logits,
                         struct err *err)
{
    struct engine_job job = {.state = g->state, .tokens = tokens, .count = count, .logits = logits};

    return engine_run(g->engine, &job, err);
}

static enum err_code flush_batch(struct generation *g, struct err *err)
{
    size_t count = g->batch_count;

    g->read += count;
    g->batch_count = 0;
    return run(g, g->batch, count, NULL, err);
}

static enum err_code add_token(struct generation *g, uint32_t id, struct err *err)
{
    g->batch[g->batch_count++] = id;
    return g->batch_count == BATCH_TOKENS ? flush_batch(g, err) : ERR_OK;
}

/* As many bytes of text as can be told; sets *used. */
static enum err_code add_text(struct generation *g, const uint8_t *data, size_t bytes, bool end,
                              size_t *used, struct err *err)
{
    struct tokenizer_piece piece;
    size_t length;

    *used = 0;
    while (*used < bytes && !interrupted) {
        length = tokenizer_next(g->reader, data + *used, bytes - *used, end, &piece);
        if (length == 0)
            break;
        *used += length;
        for (size_t i = 0; i < piece.count; i++)
            if (add_token(g, piece.tokens[i].id, err))
                return err->code;
    }
    return ERR_OK;
}

static enum err_code add_stream(struct generation *g, FILE *file, const char *path, struct err *err)
{
    size_t room = READ_BYTES + tokenizer_hold_max(g->tokenizer), held = 0, used = 0;
    uint8_t *buffer = malloc(room);
    enum err_code code = ERR_OK;
    bool end = false;

    if (!buffer)
        return err_set(err, ERR_MEMORY, 0, "prompt");
    while (!end && !code && !interrupted) {
        held += fread(buffer + held, 1, room - held, file);
        end = feof(file) || ferror(file);
        if (ferror(file) && !interrupted)
            code = err_set(err, ERR_SOURCE, errno, "prompt '%s'", path);
        else
            code = add_text(g, buffer, held, end, &used, err);
        if (!code) {
            held -= used;
            memmove(buffer, buffer + used, held);
        }
    }
    free(buffer);
    return code;
}

static enum err_code add_file(struct generation *g, const char *path, struct err *err)
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rb");
    enum err_code code;

    if (!file)
        return err_set(err, ERR_SOURCE, errno, "prompt '%s'", path);
    code = add_stream(g, file, path, err);
    if (!standard)
        (void)fclose(file);
    return code;
}

/* Every text begins behind an end of text, as in training and as `read` does. */
static enum err_code read_prompt(struct generation *g, struct err *err)
{
    const struct wishes *w = g->wishes;
    enum err_code code = add_token(g, END_OF_TEXT, err);
    size_t used;

    if (!code && w->prompt)
        code = add_text(g, (const uint8_t *)w->prompt, strlen(w->prompt), true, &used, err);
    if (!code && w->prompt_file)
        code = add_file(g, w->prompt_file, err);
    return code ? code : flush_batch(g, err);
}

/* ---- Text out ---- */

/* Bytes at the end that are the begin of a character whose rest is to come. */
static size_t half_character(const struct held *h)
{
    for (size_t n = 1; n <= 3 && n <= h->count; n++) {
        uint8_t byte = h->bytes[h->count - n];
        size_t whole = byte >= 0xF5   ? 1
                       : byte >= 0xF0 ? 4
                       : byte >= 0xE0 ? 3
                       : byte >= 0xC2 ? 2
                                      : 1;
        if ((byte & 0xC0) != 0x80)
            return whole > n ? n : 0;
    }
    return 0;
}

/* Bytes at the end that the stop text begins with. */
static size_t half_stop(const struct held *h)
{
    size_t most = h->stop ? strlen(h->stop) : 1;

    for (size_t n = most - 1; n > 0; n--)
        if (n <= h->count && !memcmp(h->bytes + h->count - n, h->stop, n))
            return n;
    return 0;
}

static enum err_code write_out(const uint8_t *bytes, size_t count, struct err *err)
{
    while (count > 0) {
        ssize_t done = write(STDOUT_FILENO, bytes, count);
        if (done < 0 && errno == EINTR && interrupted)
            return ERR_OK; /* nobody reads: the rest is not worth waiting for */
        if (done < 0 && errno != EINTR)
            return err_set(err, err_full_or(errno, ERR_SINK), errno, "standard output");
        bytes += done > 0 ? done : 0;
        count -= done > 0 ? (size_t)done : 0;
    }
    return ERR_OK;
}

/* Write what is decided: with end all that is left. */
static enum err_code let_go(struct held *h, bool end, struct err *err)
{
    size_t character = half_character(h), stop = half_stop(h), keep, count;
    const uint8_t *found = h->stop ? memmem(h->bytes, h->count, h->stop, strlen(h->stop)) : NULL;
    enum err_code code;

    keep = end ? 0 : character > stop ? character : stop;
    count = found ? (size_t)(found - h->bytes) : h->count - keep;
    code = count ? write_out(h->bytes, count, err) : ERR_OK;
    h->stopped = found != NULL;
    h->count -= count;
    memmove(h->bytes, h->bytes + count, h->count);
    return code;
}

static enum err_code hold(struct held *h, const uint8_t *text, size_t bytes, struct err *err)
{
    if (bytes > h->room - h->count) {
        size_t room = 2 * (h->count + bytes);
        uint8_t *more = realloc(h->bytes, room);
        if (!more)
            return err_set(err, ERR_MEMORY, 0, "text");
        h->bytes = more;
        h->room = room;
    }
    if (bytes)
        memcpy(h->bytes + h->count, text, bytes);
    h->count += bytes;
    return ERR_OK;
}

/* ---- The loop ---- */

static enum err_code step(struct generation *g, const uint32_t *last, uint32_t *token,
                          struct err *err)
{
    uint32_t vocab = engine_info(g->engine)->vocab;
    enum err_code code = run(g, last, last ? 1 : 0, g->logits, err);

    /* Rows that pad the model's vocabulary stand for nothing. */
    for (uint32_t i = tokenizer_vocab(g->tokenizer); i < vocab && !code; i++)
        g->logits[i] = -INFINITY;
    return code ? code : sampler_next(g->sampler, g->logits, token, err);
}

static enum err_code write_on(struct generation *g, struct err *err)
{
    const struct wishes *w = g->wishes;
    struct held *h = &g->held;
    uint32_t token = 0;
    enum err_code code = ERR_OK;

    while (!code && !interrupted && !h->stopped && (w->tokens == 0 || g->written < w->tokens)) {
        const uint8_t *text;
        size_t bytes;
        code = step(g, g->written ? &token : NULL, &token, err);
        if (code || (token == END_OF_TEXT && !w->past_end))
            break;
        g->written++;
        text = tokenizer_text(g->tokenizer, token, &bytes);
        code = hold(h, text, bytes, err);
        if (!code)
            code = let_go(h, false, err);
    }
    if (!code && !h->stopped)
        code = let_go(h, true, err);
    return code;
}

static void print_statistics(const struct generation *g)
{
    double prompt = g->prompted - g->begun, text = g->ended - g->prompted;

    fprintf(stderr,
            "%sriverrun: read %llu tokens in %.2f s, wrote %llu in %.2f s, %.1f tokens/s%s\n",
            isatty(STDOUT_FILENO) ? "\n" : "", (unsigned long long)g->read, prompt,
            (unsigned long long)g->written, text, text > 0 ? (double)g->written / text : 0,
            interrupted ? ", interrupted" : "");
}

/* ---- Set-up ---- */

static enum err_code open_all(struct generation *g, struct err *err)
{
    const struct wishes *w = g->wishes;
    const struct engine_options engine = engine_settings_end(&w->engine);
    const struct sampler_options sampler = {
        .temperature = w->temperature,
        .top_p = w->top_p,
        /* The fewest that have 0 are one; the sampler's 0 is all. */
        .top_k = w->top_p > 0 ? (uint32_t)w->top_k : 1,
        .presence = w->presence,
        .frequency = w->frequency,
        .decay = w->decay,
        .seed = w->seed};
    const struct engine_info *info;
    enum err_code code = engine_open(&g->engine, w->model, &engine, err);

    if (code)
        return code;
    info = engine_info(g->engine);
    g->logits = calloc(info->vocab, sizeof *g->logits);
    if (!g->logits)
        return err_set(err, ERR_MEMORY, 0, "logits of %u tokens", info->vocab);
    code = open_tokenizer_of(&g->tokenizer, w->vocab, w->model, info, err);
    if (!code)
        code = tokenizer_reader_open(&g->reader, g->tokenizer, err);
    if (!code)
        code = engine_state_open(g->engine, &g->state, err);
    return code ? code : sampler_open(&g->sampler, info->vocab, &sampler, err);
}

static void close_all(struct generation *g)
{
    if (g->state)
        engine_state_close(&g->state);
    engine_close(&g->engine);
    tokenizer_reader_close(&g->reader);
    tokenizer_close(&g->tokenizer);
    sampler_close(&g->sampler);
    free(g->logits);
    free(g->held.bytes);
}

static enum err_code generate(const struct wishes *wishes, struct err *err)
{
    struct generation g = {.wishes = wishes, .held = {.stop = wishes->stop}};
    enum err_code code = open_all(&g, err);

    if (!code) {
        catch_signals(on_signal, (int)SA_RESETHAND); /* a second one ends the program */
        g.begun = now();
        code = read_prompt(&g, err);
        g.prompted = now();
        if (!code)
            code = write_on(&g, err);
        g.ended = now();
    }
    if (!code && !wishes->quiet)
        print_statistics(&g);
    close_all(&g);
    return code || !interrupted ? code : ERR_STOPPED;
}

static void print_help(const struct option *options)
{
    puts("usage: riverrun generate [--model FILE] [--prompt TEXT | --prompt-file FILE] [options]\n"
         "\n"
         "Writes text on standard output that goes on from the prompt, or, without one, a text of\n"
         "its own; the prompt itself is not repeated. It ends after --tokens tokens, at the end of "
         "a\n"
         "text, or with Ctrl-C (status 3). The same command gives the same text on every machine:\n"
         "chance comes from --seed alone.\n"
         "\n"
         "Tokens that were written lose presence + frequency x count; all counts are multiplied "
         "with\n"
         "decay at every token. Then top-p and top-k leave the most likely, then temperature "
         "applies.\n");
    options_print(options);
}

enum err_code command_generate(char **arguments, size_t count, struct err *err)
{
    struct wishes w = {.temperature = 1, .top_p = 0.85, .tokens = TOKENS_DEFAULT, .decay = 0.996};
    const struct option own[] = {
        {"model", 'm', OPTION_PATH, &w.model, 0, 0, "FILE",
         "the RWKV model (default: riverrun-small, which comes with the program)"},
        {"vocab", 0, OPTION_PATH, &w.vocab, 0, 0, "FILE",
         "its vocabulary (default: the model file's own, or bytes)"},
        {"prompt", 'p', OPTION_TEXT, &w.prompt, 0, 0, "TEXT", "what to go on from"},
        {"prompt-file", 0, OPTION_PATH, &w.prompt_file, 0, 0, "FILE",
         "the same from a file of any length; - is standard input"},
        {"tokens", 'n', OPTION_COUNT, &w.tokens, 0, UINT64_MAX / 2, "N",
         "at most so many (default: 256); 0: no limit"},
        {"temperature", 0, OPTION_REAL, &w.temperature, 0, 1000, "T",
         "above 1 bolder, below 1 tamer; 0: always the most likely (default: 1)"},
        {"top-p", 0, OPTION_REAL, &w.top_p, 0, 1, "P",
         "the fewest tokens that together have this probability (default: 0.85); 1: all"},
        {"top-k", 0, OPTION_COUNT, &w.top_k, 0, UINT32_MAX, "K",
         "so many tokens at most (default: 0, all)"},
        {"presence", 0, OPTION_REAL, &w.presence, 0, 1000, "X",
         "penalty of what was written before (default: 0)"},
        {"frequency", 0, OPTION_REAL, &w.frequency, 0, 1000, "X",
         "penalty for each time it was (default: 0)"},
        {"decay", 0, OPTION_REAL, &w.decay, 0, 1, "X",
         "what is left of the counts a token later (default: 0.996)"},
        {"seed", 0, OPTION_COUNT, &w.seed, 0, UINT64_MAX / 2, "N", "of chance (default: 0)"},
        {"stop", 0, OPTION_TEXT, &w.stop, 0, 0, "TEXT", "end in front of this text"},
        {"past-end", 0, OPTION_FLAG, &w.past_end, 0, 0, NULL,
         "do not end at the end of a text (token 0)"},
        {"quiet", 'q', OPTION_FLAG, &w.quiet, 0, 0, NULL, "no statistics"},
    };
    enum { OWN = sizeof own / sizeof *own };
    struct option options[OWN + ENGINE_SETTINGS_OPTIONS + 1];
    bool help;
    enum err_code code;

    memcpy(options, own, sizeof own);
    engine_settings_options(&w.engine, options + OWN);
    code = options_parse(options, arguments, &count, &help, err);
    if (code)
        return code;
    if (help) {
        print_help(options);
        return ERR_OK;
    }
    if (count)
        return err_set(err, ERR_USAGE, 0,
                       "generate does not take '%s': riverrun generate --prompt TEXT",
                       arguments[0]);
    if (w.prompt && w.prompt_file)
        return err_set(err, ERR_USAGE, 0, "--prompt and --prompt-file: one of them");
    if (w.stop && !*w.stop)
        return err_set(err, ERR_USAGE, 0, "--stop needs a text");
    code = find_model(&w.model, err);
    return code ? code : generate(&w, err);
}
