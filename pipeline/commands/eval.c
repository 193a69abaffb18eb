/* riverrun eval: how well a model reads files, and whether an endless state does it good. */
#include "pipeline/commands/commands.h"
#include "pipeline/eval/plot.h"
#include "pipeline/eval/score.h"
#include "pipeline/run.h"
#include "schemas/outfile.h"
#include "stages/emit/report/svg.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESET_TOKENS = 4096, WORDS_MAX = 200, OPTIONS_MAX = 16 };

struct evaluation {
    const char *model, *vocab, *lambada, *plot;
    struct engine_settings engine;
    uint64_t reset_tokens;
    bool json;
    char **files;
    size_t count;
    struct curve *curves;     /* (count) */
    struct passages passages; /* where lambada is given */
};

static void make_options(struct evaluation *e, struct option *options)
{
    const struct option rows[] = {
        {"model", 'm', OPTION_PATH, &e->model, 0, 0, "FILE",
         "the RWKV model (default: riverrun-small, which comes with the program)"},
        {"vocab", 0, OPTION_PATH, &e->vocab, 0, 0, "FILE",
         "vocabulary of the model (default: its file's own, else bytes)"},
        {"reset", 0, OPTION_COUNT, &e->reset_tokens, 1, (uint64_t)1 << 40, "N",
         "the pass beside begins afresh every N tokens (default: 4096)"},
        {"lambada", 0, OPTION_PATH, &e->lambada, 0, 0, "FILE.jsonl",
         "also: can the last word of each passage be told"},
        {"plot", 0, OPTION_PATH, &e->plot, 0, 0, "OUT.svg", "the curves by position as a picture"},
        {"json", 0, OPTION_FLAG, &e->json, 0, 0, NULL, "the result as JSON, at the end"},
    };

    *e = (struct evaluation){.reset_tokens = RESET_TOKENS};
    memcpy(options, rows, sizeof rows);
    engine_settings_options(&e->engine, options + sizeof rows / sizeof *rows);
}

static void print_help(const struct option *options)
{
    puts("usage: riverrun eval FILE... [--model FILE] [--vocab FILE] [options]\n"
         "\n"
         "Reads each file (- is standard input) through the model as one document and\n"
         "prints bits per byte (log2 loss over the bytes of the original file) and\n"
         "perplexity per token: with the state carried from the first token to the last,\n"
         "with a fresh state every --reset tokens, and both by position in the document.\n"
         "Then the verdict: whether the model profits from an endless state or drifts\n"
         "beyond the length that it was trained on.\n"
         "\n"
         "A fresh state first reads token 0, \"end of text\", which is not scored. A model\n"
         "of bytes has no such token: the first byte of a file is read and costs nothing,\n"
         "and a state after a reset is first given the byte before it.\n"
         "");
    options_print(options);
    puts("\n"
         "--json prints {model, fingerprint, arithmetic, tokenizer, reset_tokens, files,\n"
         "lambada}, the same bytes for any number of threads. files holds for each {file,\n"
         "bytes, tokens, scored, nats, bits_per_byte, perplexity, reset, repaired,\n"
         "positions, verdict}: the plain figures are those of the carried state, reset\n"
         "{nats, bits_per_byte, perplexity} those of the other pass; repaired counts\n"
         "ill-formed places that the tokenizer read as U+FFFD; positions is a list of\n"
         "{begin, end, percent} with the same figures for those tokens, percent being by\n"
         "how much carried is worse; verdict is {kind, from, until, percent, text}, kind\n"
         "one of nothing, profits, even, drifts, unsteady. lambada is null or {file,\n"
         "passages, hits, accuracy, target_tokens, nats, perplexity}: a hit has every\n"
         "token of the last word most probable, perplexity is exp of the mean loss of a\n"
         "passage's last word. What cannot be had, as of an empty file, is null.");
}

/* ---- Before anything is read ---- */

static bool is_standard(const char *path)
{
    return !strcmp(path, "-");
}

/* An hour of reading is not to end at a wrong name. Nothing is opened, since a pipe opens only once. */
static enum err_code check_file(const char *path, struct err *err)
{
    struct stat st;

    if (is_standard(path))
        return ERR_OK;
    if (stat(path, &st) || access(path, R_OK))
        return err_set(err, ERR_SOURCE, errno, "open '%s'", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_SOURCE, 0, "'%s' is a folder: eval reads files", path);
    return ERR_OK;
}

/* The plot is none of what is read, nor another file of somebody's. */
static enum err_code check_plot(const struct evaluation *e, struct err *err)
{
    const char *const inputs[] = {e->model, e->vocab, e->lambada, e->engine.initial_state};
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < sizeof inputs / sizeof *inputs; i++)
        code = outfile_not_input(e->plot, inputs[i], err);
    for (size_t i = 0; !code && i < e->count; i++)
        code = outfile_not_input(e->plot, e->files[i], err);
    return code ? code : svg_may_replace(e->plot, err);
}

static enum err_code check_files(const struct evaluation *e, struct err *err)
{
    size_t standard = e->lambada && is_standard(e->lambada);

    for (size_t i = 0; i < e->count; i++) {
        standard += is_standard(e->files[i]);
        if (check_file(e->files[i], err))
            return err->code;
    }
    if (standard > 1)
        return err_set(err, ERR_USAGE, 0, "standard input (-) can be read only once");
    return e->lambada ? check_file(e->lambada, err) : ERR_OK;
}

/* ---- For people ---- */

static void print_bin(const struct curve *curve, size_t i)
{
    const struct curve_part *bin = &curve->bins[i];
    char begin[32], end[32];

    curve_position(curve_bin_begin(i), begin, sizeof begin);
    curve_position(curve_bin_end(i), end, sizeof end);
    printf("  %6s - %-6s %12llu %10.4f %10.4f %+9.2f %%\n", begin, end,
           (unsigned long long)bin->tokens, curve_bits_per_byte(bin->carried, bin->bytes),
           curve_bits_per_byte(bin->reset, bin->bytes), curve_percent(bin));
}

static void print_document(const char *path, const struct curve *curve, const char *words)
{
    const struct curve_part *w = &curve->whole;
    char reset[32];

    printf("%s: %llu bytes, %llu tokens, %llu of them scored\n", path, (unsigned long long)w->bytes,
           (unsigned long long)w->tokens, (unsigned long long)w->scored);
    if (w->scored == 0) {
        puts("  nothing to score\n");
        return;
    }
    if (curve->repaired)
        printf("  %llu ill-formed places were read as U+FFFD, which this tokenizer does\n",
               (unsigned long long)curve->repaired);
    curve_position(curve->reset_tokens, reset, sizeof reset);
    printf("  state carried: %.6f bits per byte, perplexity %.4f a token, %.3f nats\n",
           curve_bits_per_byte(w->carried, w->bytes), curve_perplexity(w->carried, w->scored),
           w->carried);
    printf("  reset every %s: %.6f bits per byte, perplexity %.4f a token, %.3f nats\n", reset,
           curve_bits_per_byte(w->reset, w->bytes), curve_perplexity(w->reset, w->scored),
           w->reset);
    printf("\n  %-15s %12s %10s %10s %11s\n", "position", "tokens", "carried", "reset",
           "carried is");
    for (size_t i = 0; i < curve->bin_count; i++)
        print_bin(curve, i);
    printf("\n  %s\n\n", words);
    answer_flush();
}

static void print_passages(const char *path, const struct passages *p)
{
    if (p->count == 0) {
        printf("%s: no passages\n", path);
        return;
    }
    printf("%s: %llu passages, accuracy %.2f %% (%llu), perplexity %.4f, %llu target tokens\n",
           path, (unsigned long long)p->count,
           p->count ? 100.0 * (double)p->hits / (double)p->count : 0.0, (unsigned long long)p->hits,
           curve_perplexity(p->nats, p->count), (unsigned long long)p->target_tokens);
}

/* ---- For programs ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *count_of(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void set_part(json_t *o, const struct curve_part *part)
{
    json_t *reset = json_object();
    const uint64_t bytes = part->scored ? part->bytes : 0; /* what was only read costs nothing */

    json_object_set_new(o, "bytes", count_of(part->bytes));
    json_object_set_new(o, "tokens", count_of(part->tokens));
    json_object_set_new(o, "scored", count_of(part->scored));
    json_object_set_new(o, "nats", number(part->carried));
    json_object_set_new(o, "bits_per_byte", number(curve_bits_per_byte(part->carried, bytes)));
    json_object_set_new(o, "perplexity", number(curve_perplexity(part->carried, part->scored)));
    json_object_set_new(reset, "nats", number(part->reset));
    json_object_set_new(reset, "bits_per_byte", number(curve_bits_per_byte(part->reset, bytes)));
    json_object_set_new(reset, "perplexity", number(curve_perplexity(part->reset, part->scored)));
    json_object_set_new(o, "reset", reset);
}

static json_t *verdict_json(const struct curve *curve)
{
    struct curve_verdict v = curve_judge(curve);
    json_t *o = json_object();
    char words[WORDS_MAX];

    curve_words(curve, &v, words, sizeof words);
    json_object_set_new(o, "kind", json_string(verdict_name(v.kind)));
    json_object_set_new(o, "from", count_of(v.from));
    json_object_set_new(o, "until", count_of(v.until));
    json_object_set_new(o, "percent", number(v.percent));
    json_object_set_new(o, "text", json_string(words));
    return o;
}

static json_t *document_json(const char *path, const struct curve *curve)
{
    json_t *o = json_object(), *positions = json_array();

    json_object_set_new(o, "file", answer_text(path));
    set_part(o, &curve->whole);
    for (size_t i = 0; i < curve->bin_count; i++) {
        json_t *bin = json_object();
        json_object_set_new(bin, "begin", count_of(curve_bin_begin(i)));
        json_object_set_new(bin, "end", count_of(curve_bin_end(i)));
        set_part(bin, &curve->bins[i]);
        json_object_set_new(bin, "percent", number(curve_percent(&curve->bins[i])));
        json_array_append_new(positions, bin);
    }
    json_object_set_new(o, "repaired", count_of(curve->repaired));
    json_object_set_new(o, "positions", positions);
    json_object_set_new(o, "verdict", verdict_json(curve));
    return o;
}

static json_t *passages_json(const char *path, const struct passages *p)
{
    json_t *o = json_object();

    json_object_set_new(o, "file", answer_text(path));
    json_object_set_new(o, "passages", count_of(p->count));
    json_object_set_new(o, "hits", count_of(p->hits));
    json_object_set_new(o, "accuracy", number((double)p->hits / (double)p->count));
    json_object_set_new(o, "target_tokens", count_of(p->target_tokens));
    json_object_set_new(o, "nats", number(p->nats));
    json_object_set_new(o, "perplexity", number(curve_perplexity(p->nats, p->count)));
    return o;
}

static void print_json(const struct evaluation *e, const struct engine_info *info,
                       const char *tokenizer)
{
    json_t *o = json_object(), *files = json_array();
    char print[2 * ENGINE_FINGERPRINT_BYTES + 1];

    for (size_t i = 0; i < ENGINE_FINGERPRINT_BYTES; i++)
        snprintf(print + 2 * i, 3, "%02x", info->fingerprint[i]);
    for (size_t i = 0; i < e->count; i++)
        json_array_append_new(files, document_json(e->files[i], &e->curves[i]));
    json_object_set_new(o, "model", answer_text(e->model));
    json_object_set_new(o, "fingerprint", json_string(print));
    json_object_set_new(o, "arithmetic", json_string(info->arithmetic));
    json_object_set_new(o, "tokenizer", json_string(tokenizer));
    json_object_set_new(o, "reset_tokens", count_of(e->reset_tokens));
    json_object_set_new(o, "files", files);
    json_object_set_new(o, "lambada",
                        e->lambada ? passages_json(e->lambada, &e->passages) : json_null());
    answer_json(o, 17);
}

static void draw(const struct evaluation *e, FILE *out)
{
    struct plot_panel *panels = calloc(e->count, sizeof *panels);
    char(*words)[WORDS_MAX] = calloc(e->count, sizeof *words);

    require(panels && words);
    for (size_t i = 0; i < e->count; i++) {
        const struct curve *curve = &e->curves[i];
        const char *slash = strrchr(e->files[i], '/');
        struct curve_verdict v = curve_judge(curve);
        curve_words(curve, &v, words[i], sizeof words[i]);
        panels[i] = (struct plot_panel){slash ? slash + 1 : e->files[i], words[i], curve};
    }
    plot_write(out, panels, e->count);
    free(panels);
    free(words);
}

static enum err_code write_plot(const struct evaluation *e, struct outfile **plot, struct err *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    enum err_code code;

    if (memory)
        draw(e, memory);
    if (!memory || fclose(memory))
        code = err_set(err, ERR_MEMORY, 0, "plot '%s'", e->plot);
    else
        code = outfile_write(*plot, text, bytes, err);
    if (!code)
        code = outfile_commit(plot, err);
    free(text);
    return code;
}

/* ---- The whole ---- */

static enum err_code score_files(struct evaluation *e, struct scorer *scorer, struct err *err)
{
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < e->count; i++) {
        struct curve *curve = &e->curves[i];
        char words[WORDS_MAX];
        int descriptor =
            is_standard(e->files[i]) ? STDIN_FILENO : open(e->files[i], O_RDONLY | O_CLOEXEC);
        if (descriptor < 0)
            return err_set(err, ERR_SOURCE, errno, "open '%s'", e->files[i]);
        if (descriptor != STDIN_FILENO)
            warn_of_other_than_text(e->files[i]);
        code = score_document(scorer, descriptor, e->files[i], e->reset_tokens, curve, err);
        if (descriptor != STDIN_FILENO)
            close(descriptor);
        if (!code && !e->json) {
            struct curve_verdict v = curve_judge(curve);
            curve_words(curve, &v, words, sizeof words);
            print_document(e->files[i], curve, words);
        }
    }
    return code;
}

static enum err_code score_lambada(struct evaluation *e, struct scorer *scorer, struct err *err)
{
    bool standard = is_standard(e->lambada);
    FILE *file = standard ? stdin : fopen(e->lambada, "rbe");
    enum err_code code;

    if (!file)
        return err_set(err, ERR_SOURCE, errno, "open '%s'", e->lambada);
    code = score_passages(scorer, file, e->lambada, &e->passages, err);
    if (!standard)
        fclose(file);
    if (!code && !e->json)
        print_passages(e->lambada, &e->passages);
    return code;
}

static enum err_code evaluate(struct evaluation *e, struct err *err)
{
    struct engine_options options = engine_settings_end(&e->engine);
    struct engine *engine = NULL;
    struct tokenizer *tokenizer = NULL;
    struct scorer *scorer = NULL;
    struct outfile *plot = NULL;
    enum err_code code = check_files(e, err);

    if (!code && e->plot)
        code = check_plot(e, err);
    if (!code && e->plot)
        code = outfile_open(&plot, e->plot, err);
    if (!code)
        code = engine_open(&engine, e->model, &options, err);
    if (!code)
        code = open_tokenizer_of(&tokenizer, e->vocab, e->model, engine_info(engine), err);
    if (!code)
        code = scorer_open(&scorer, engine, tokenizer, err);
    if (!code)
        code = score_files(e, scorer, err);
    if (!code && e->lambada)
        code = score_lambada(e, scorer, err);
    if (!code && e->json)
        print_json(e, engine_info(engine), tokenizer_name(tokenizer));
    if (!code && e->plot)
        code = write_plot(e, &plot, err);
    outfile_close(&plot);
    scorer_close(&scorer);
    tokenizer_close(&tokenizer);
    engine_close(&engine);
    return code;
}

/* An evaluation keeps nothing, so there is nothing to bring to an end. */
static void on_signal(int number)
{
    static const char words[] = "riverrun: stopped: an evaluation keeps nothing, run it again\n";
    ssize_t ignored = write(STDERR_FILENO, words, sizeof words - 1);

    (void)ignored;
    (void)number;
    _exit(err_status(ERR_STOPPED));
}

enum err_code command_eval(char **arguments, size_t count, struct err *err)
{
    struct option options[OPTIONS_MAX];
    struct evaluation e;
    bool help;
    enum err_code code;

    make_options(&e, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (code)
        return code;
    if (help) {
        print_help(options);
        return ERR_OK;
    }
    e.files = arguments;
    e.count = count;
    if (count == 0 && !e.lambada)
        return err_set(err, ERR_USAGE, 0, "eval needs something to read: riverrun eval FILE...");
    if (e.plot && count == 0)
        return err_set(err, ERR_USAGE, 0, "--plot draws files, and there is none");
    code = find_model(&e.model, err);
    if (code)
        return code;
    catch_signals(on_signal, 0);
    e.curves = calloc(count + 1, sizeof *e.curves);
    require(e.curves);
    code = evaluate(&e, err);
    free(e.curves);
    return code;
}
