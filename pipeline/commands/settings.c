#include "pipeline/commands/commands.h"

#include "engine/engine.h"
#include "schemas/msg.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_BYTES = 1 << 20,
    RECORD_WINDOW_BYTES = 4 << 20,
    CHECKPOINT_MS = 30000,
    A_DAY_MS = 24 * 3600 * 1000
};

void settings_begin(struct settings *s)
{
    *s = (struct settings){.output = "out",
                           .checkpoint_ms = CHECKPOINT_MS,
                           .read_bytes = MSG_SOURCE_MAX,
                           .unit = -1,
                           .read_unit = -1,
                           .alerts_per_1000 = 1,
                           .summary_lines = 10000,
                           .summary_minutes = 60,
                           .max_latency_ms = 2000,
                           .multiline_ms = 1000,
                           .spool_bytes = 256 << 20,
                           .state_bytes = 256 << 20,
                           .blas = "auto",
                           .weights = "auto",
                           .isa = "auto"};
}

/* An option, and who has it: the stages i ingest, t tokenize, e encode, m emit by themselves, and the runs of
 * all four, r read and f follow. */
struct row {
    const char *who;
    struct option option;
};

void settings_options(struct settings *s, const char *who, struct option *options)
{
    const struct row rows[] = {
        {"te", {"model", 'm', OPTION_PATH, &s->model, 0, 0, "FILE", "the RWKV model"}},
        {"rf",
         {"model", 'm', OPTION_PATH, &s->model, 0, 0, "FILE",
          "the RWKV model (default: riverrun-small, which comes with the program)"}},
        {"erf",
         {"initial-state", 0, OPTION_PATH, &s->initial_state, 0, 0, "FILE",
          "new streams begin with it: as of `adapt --state` (default: the model's own, or zeros)"}},
        {"emrf",
         {"output", 'o', OPTION_PATH, &s->output, 0, 0, "DIR", "records go here (default: out)"}},
        {"ierf",
         {"store", 0, OPTION_PATH, &s->store, 0, 0, "DIR",
          "checkpoints go here (default: state in the output folder)"}},
        {"irf",
         {"name", 0, OPTION_TEXT, &s->name, 0, 0, "NAME", "name of the stream of a single input"}},
        {"trf",
         {"vocab", 0, OPTION_PATH, &s->vocab, 0, 0, "FILE",
          "vocabulary of the model: World's text or NeoX's JSON (default: its own, or bytes)"}},
        {"trf",
         {"special-tokens", 0, OPTION_FLAG, &s->special_tokens, 0, 0, NULL,
          "NeoX: `<|endoftext|>` in a text is that token (default: ordinary text)"}},
        {"e",
         {"unit", 0, OPTION_CHOICE, &s->unit, 0, 0, "paragraph|line|entry|section",
          "what a record stands for (default: paragraph, with --follow line)"}},
        {"r",
         {"unit", 0, OPTION_CHOICE, &s->read_unit, 0, 0, "paragraph|line|section",
          "what a record stands for (default: paragraph)"}},
        {"f",
         {"unit", 0, OPTION_CHOICE, &s->unit, 0, 0, "paragraph|line",
          "what a record stands for (default: line)"}},
        {"erf",
         {"analyze", 0, OPTION_TEXT, &s->analyze, 0, 0, "LIST",
          "parts of the analysis, by commas, or none: surprise, novelty, embeddings, summary, "
          "boundaries (default: all but novelty; of lines and entries surprise, novelty and "
          "summary, "
          "of sections surprise, embeddings and summary)"}},
        {"erf",
         {"alerts-per-1000", 0, OPTION_REAL, &s->alerts_per_1000, 0, 1000, "X",
          "false alarms to expect in 1,000 lines where nothing happens (default: 1; 0: none)"}},
        {"erf",
         {"summary-lines", 0, OPTION_COUNT, &s->summary_lines, 0, UINT32_MAX, "N",
          "a summary of a log covers at most so many lines (default: 10000; 0: any number)"}},
        {"erf",
         {"summary-minutes", 0, OPTION_COUNT, &s->summary_minutes, 0, 60 * 24 * 366, "N",
          "and so many minutes of the log's own time, if 16 lines say it (default: 60; 0: any)"}},
        {"ie",
         {"follow", 0, OPTION_FLAG, &s->follow, 0, 0, NULL, "as `riverrun follow`: sources grow"}},
        {"if",
         {"key", 0, OPTION_TEXT, &s->key, 0, 0, "PATTERN",
          "one stream for each text of the pattern's first group (PCRE2)"}},
        {"if",
         {"multiline-start", 0, OPTION_TEXT, &s->multiline_start, 0, 0, "PATTERN",
          "lines belong to the entry before them unless they match (PCRE2)"}},
        {"if",
         {"multiline-seconds", 0, OPTION_SECONDS, &s->multiline_ms, 50, A_DAY_MS, "S",
          "an entry is over when nothing came for so long (default: 1)"}},
        {"if",
         {"spool-bytes", 0, OPTION_BYTES, &s->spool_bytes, 1 << 20, (uint64_t)1 << 44, "BYTES",
          "of what cannot be read again, kept until it is in a checkpoint (default: 256M)"}},
        {"emf",
         {"max-latency", 0, OPTION_SECONDS, &s->max_latency_ms, 50, A_DAY_MS, "S",
          "from a line being written to its record being durable (default: 2)"}},
        {"mrf",
         {"sync", 0, OPTION_CHOICE, &s->sync, 0, 0, "interval|batch|record",
          "when records are made durable: by time, as soon as can be, each by itself"}},
        {"mrf",
         {"sink", 0, OPTION_CHOICE, &s->sink, 0, 0, "jsonl|stdout",
          "where records go: files, or standard output (default: jsonl)"}},
        {"erf",
         {"state-memory", 0, OPTION_BYTES, &s->state_bytes, 1 << 20, (uint64_t)1 << 44, "BYTES",
          "of engine states in memory; others rest in the store (default: 256M)"}},
        {"erf",
         {"normalize", 0, OPTION_CHOICE, &s->normalize, 0, 0, "none|nfc",
          "Unicode normalisation before the model (default: none)"}},
        {"erf",
         {"checkpoint-every", 0, OPTION_COUNT, &s->checkpoint_every, 0, UINT64_MAX / 2, "TOKENS",
          "a checkpoint at least every so many tokens (default: by time alone)"}},
        {"erf",
         {"checkpoint-seconds", 0, OPTION_SECONDS, &s->checkpoint_ms, 50, A_DAY_MS, "S",
          "a checkpoint at least every so many seconds (default: 30)"}},
        {"erf",
         {"restart", 0, OPTION_FLAG, &s->restart, 0, 0, NULL,
          "begin again what was begun, and write its output anew"}},
        {"erf",
         {"accept-model", 0, OPTION_FLAG, &s->accept_model, 0, 0, NULL,
          "go on with another model; a lineage record says so"}},
        {"erf",
         {"accept-arithmetic", 0, OPTION_FLAG, &s->accept_arithmetic, 0, 0, NULL,
          "go on in another arithmetic; a lineage record says so"}},
        {"erf",
         {"blas", 0, OPTION_TEXT, &s->blas, 0, 0, "NAME",
          "matrix products by auto, own, onednn, openblas or ref (default: auto)"}},
        {"erf",
         {"isa", 0, OPTION_TEXT, &s->isa, 0, 0, "LEVEL",
          "highest instruction set: auto, avx512, avx512f (without VNNI and BF16), avx2, dotprod, "
          "neon "
          "(without SDOT) or ref (default: auto)"}},
        {"erf",
         {"weights", 0, OPTION_TEXT, &s->weights, 0, 0, "TYPE",
          "multiply as f32, bf16 or int8, whatever the file has (default: auto, which is what "
          "the file names, else f32)"}},
        {"erf",
         {"threads", 0, OPTION_COUNT, &s->threads, 0, ENGINE_THREADS_MAX, "N",
          "workers of the engine (default: one a core)"}},
        {"erf",
         {"block", 0, OPTION_COUNT, &s->block, 0, ENGINE_BLOCK_MAX, "TOKENS",
          "rows of one batch; changes speed alone (default: 0, the engine's choice)"}},
        {"irf",
         {"read-bytes", 0, OPTION_COUNT, &s->read_bytes, 1, MSG_SOURCE_MAX, "BYTES",
          "of one read; changes nothing that comes out (default: 65536)"}},
        {"ir",
         {"encoding", 0, OPTION_TEXT, &s->encoding, 0, 0, "NAME",
          "of all the texts, as iconv names it (default: each is looked at)"}},
        {"ir",
         {"field", 0, OPTION_TEXT, &s->field, 0, 0, "NAME",
          "of JSON Lines: read the text of this field, NAME or NAME.NAME (default: all of them)"}},
        {"ir",
         {"plain", 0, OPTION_FLAG, &s->plain, 0, 0, NULL,
          "read the bytes of all files as they are, packed and marked up ones too"}},
        {"item",
         {"listen", 0, OPTION_TEXT, &s->listen, 0, 0, "ipc://PATH", "where downstream connects"}},
        {"item",
         {"connect", 0, OPTION_TEXT, &s->connect, 0, 0, "ipc://PATH", "where upstream listens"}},
        {"r",
         {"no-report", 0, OPTION_FLAG, &s->no_report, 0, 0, NULL,
          "do not write report.html at the end"}},
        {"rf",
         {"json", 0, OPTION_FLAG, &s->json, 0, 0, NULL,
          "at the end, how the streams stand, as JSON on standard output"}},
        {"itemrf", {"quiet", 'q', OPTION_FLAG, &s->quiet, 0, 0, NULL, "warnings and errors alone"}},
    };
    const char letter = strcmp(who, "emit") ? who[0] : 'm';
    size_t count = 0;

    s->follow = letter == 'f';
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strchr(rows[i].who, letter))
            options[count++] = rows[i].option;
    options[count] = (struct option){.name = NULL};
    require(count < SETTINGS_OPTIONS_MAX);
}

/* Line by line where nothing else is said and sources grow; by entries where lines are joined. */
static enum unit unit_of(const struct settings *s)
{
    if (s->multiline_start)
        return UNIT_ENTRY;
    if (s->read_unit >= 0) /* entries are of what is followed, so its choices are others */
        return s->read_unit == 2 ? UNIT_SECTION : (enum unit)s->read_unit;
    return s->unit >= 0 ? (enum unit)s->unit : s->follow ? UNIT_LINE : UNIT_PARAGRAPH;
}

/* The part that the first length bytes of text name; ANALYZE_COUNT where none is. */
static enum analyze part_of(const char *text, size_t length)
{
    enum analyze part = 0;

    while (part < ANALYZE_COUNT &&
           (strlen(analyze_name(part)) != length || strncmp(analyze_name(part), text, length)))
        part++;
    return part;
}

/* Of lines a vector would be longer than most of their records. */
static uint32_t default_parts(enum unit unit)
{
    switch (unit) {
    case UNIT_PARAGRAPH:
        return 1U << ANALYZE_SURPRISE | 1U << ANALYZE_EMBEDDINGS | 1U << ANALYZE_SUMMARY |
               1U << ANALYZE_BOUNDARIES;
    case UNIT_SECTION:
        return 1U << ANALYZE_SURPRISE | 1U << ANALYZE_EMBEDDINGS | 1U << ANALYZE_SUMMARY;
    default:
        return 1U << ANALYZE_SURPRISE | 1U << ANALYZE_NOVELTY | 1U << ANALYZE_SUMMARY;
    }
}

static enum err_code parse_parts(const char *list, uint32_t *out, struct err *err)
{
    char known[ANALYZE_TEXT_MAX];
    uint32_t parts = 0;
    const char *at = list;
    size_t length = 0;

    if (strcmp(list, "none") == 0) {
        *out = 0;
        return ERR_OK;
    }
    do {
        enum analyze part;
        at += length + (length > 0);
        length = strcspn(at, ",");
        part = part_of(at, length);
        if (part == ANALYZE_COUNT)
            return err_set(err, ERR_USAGE, 0, "--analyze '%s': want none, or parts of %s", list,
                           analyze_text((1U << ANALYZE_COUNT) - 1, known));
        parts |= 1U << part;
    } while (at[length]);
    *out = parts;
    return ERR_OK;
}

enum err_code settings_end(struct settings *s, struct err *err)
{
    uint32_t parts = default_parts(unit_of(s));

    if (s->plain && (s->encoding || s->field))
        return err_set(err, ERR_USAGE, 0,
                       "--plain reads all bytes as they are: leave it out, or leave out --%s",
                       s->encoding ? "encoding" : "field");
    if (s->analyze && parse_parts(s->analyze, &parts, err))
        return err->code;
    if ((unit_of(s) == UNIT_PARAGRAPH || unit_of(s) == UNIT_SECTION) &&
        parts >> ANALYZE_NOVELTY & 1)
        return err_set(err, ERR_USAGE, 0,
                       "--analyze novelty is of lines: give --unit line, or leave novelty out");
    if (unit_is_of_lines(unit_of(s)) && parts >> ANALYZE_SUMMARY & 1 &&
        !(parts >> ANALYZE_NOVELTY & 1))
        return err_set(
            err, ERR_USAGE, 0,
            "--analyze summary of lines counts what novelty finds: add novelty, or leave "
            "summary out");
    if (!s->store) {
        if (asprintf(&s->made_store, "%s/state", s->output) < 0)
            return err_set(err, ERR_MEMORY, 0, "settings");
        s->store = s->made_store;
    }
    if (s->follow && asprintf(&s->made_feed, "%s/ingest", s->store) < 0)
        return err_set(err, ERR_MEMORY, 0, "settings");
    bool periods = parts >> ANALYZE_SUMMARY & 1 && unit_is_of_lines(unit_of(s));
    s->config = (struct config){
        .follow = s->follow,
        .max_latency_ms = s->max_latency_ms,
        .feed = s->made_feed,
        .spool_bytes = s->spool_bytes,
        .multiline_start = s->multiline_start,
        .multiline_ms = s->multiline_ms,
        .key = s->key,
        .state_bytes = s->state_bytes,
        .sync = (enum sync)s->sync,
        .sink = (enum sink_kind)s->sink,
        .name = s->name,
        .read_bytes = (uint32_t)s->read_bytes,
        .reader = s->plain ? NULL : "/proc/self/exe",
        .encoding = s->encoding,
        .field = s->field,
        .vocab = s->vocab,
        .special_tokens = s->special_tokens,
        .model = s->model,
        .initial_state = s->initial_state,
        .store = s->store,
        .blas = s->blas,
        .isa = s->isa,
        .weights = s->weights,
        .threads = (unsigned)s->threads,
        .block_tokens = (uint32_t)s->block,
        .unit = unit_of(s),
        .normalize = (enum normalize)s->normalize,
        .analyze = parts,
        .alerts_per_million =
            parts >> ANALYZE_NOVELTY & 1 ? (uint64_t)(s->alerts_per_1000 * 1000 + 0.5) : 0,
        .summary_lines = periods ? s->summary_lines : 0,
        .summary_minutes = periods ? s->summary_minutes : 0,
        .checkpoint_tokens = s->checkpoint_every,
        .checkpoint_ms = s->checkpoint_ms,
        .restart = s->restart,
        .accept_model = s->accept_model,
        .accept_arithmetic = s->accept_arithmetic,
        .window_bytes = WINDOW_BYTES,
        .record_window_bytes = RECORD_WINDOW_BYTES,
        .output = s->output};
    return ERR_OK;
}

void settings_release(struct settings *s)
{
    free(s->made_store);
    free(s->made_feed);
    s->made_store = s->made_feed = NULL;
}
