/* pipeline/commands/commands.h: the command line. A command is a function in one table (main.c). */
#ifndef PIPELINE_COMMANDS_COMMANDS_H
#define PIPELINE_COMMANDS_COMMANDS_H

#include "engine/engine.h"
#include "pipeline/options.h"
#include "schemas/config.h"

/* arguments: those behind the command's name. Fails with what the program exits with. */
typedef enum err_code command_fn(char **arguments, size_t count, struct err *err);

command_fn command_read, command_follow, command_status, command_pause, command_resume,
    command_stage, command_train, command_adapt, command_steps, command_model, command_eval,
    command_generate, command_tokenize, command_vocab, command_repair, command_verify, command_gc,
    command_history, command_savepoint, command_branch, command_export, command_import,
    command_report, command_show, command_reader, command_embeddings;

#define DEFAULT_MODEL "riverrun-small"

/* *model as it is given; where that is NULL, or the word DEFAULT_MODEL and no file, the model that comes with the
 * program: share/riverrun/riverrun-small.safetensors beside the program (built) or beside its folder (installed).
 * Memory  the path is the process's
 * Fails   ERR_USAGE: it is wanted and not there */
MUST_CHECK enum err_code find_model(const char **model, struct err *err);

/* How a command that works with an engine of its own opens it. */
struct engine_settings {
    const char *blas, *isa, *weights, *initial_state;
    uint64_t threads, block;
    double gn_eps;
};

enum { ENGINE_SETTINGS_OPTIONS = 7 };

/* Append the options that set s, with an end behind them; options has room for one more than
 * ENGINE_SETTINGS_OPTIONS. */
void engine_settings_options(struct engine_settings *s, struct option *options);
struct engine_options engine_settings_end(const struct engine_settings *s);
/* The tokenizer of a model: of the file vocab; else, with NULL, of the model's own file; else bytes, which only a
 * model of 256 tokens reads.
 * Fails  as tokenizer_open; ERR_MISMATCH: it does not fit or is not the one that the model carries, or the model
 *        needs one that is not here */
MUST_CHECK enum err_code open_tokenizer_of(struct tokenizer **out, const char *vocab,
                                           const char *model, const struct engine_info *info,
                                           struct err *err);

/* A line on stderr where the file is not what `read` takes for plain text: for commands that know nothing else. */
void warn_of_other_than_text(const char *path);

/* Settings of a run with their defaults, and the options that set them. */
struct settings {
    struct config config;
    const char *model, *initial_state, *output, *store, *name, *vocab, *blas, *isa, *weights;
    const char *key, *multiline_start, *analyze, *encoding, *field;
    int unit, read_unit, normalize, sync, sink; /* unit, read_unit (of `read`) -1: not said */
    uint64_t threads, block, checkpoint_every, checkpoint_ms, read_bytes;
    double alerts_per_1000;
    uint64_t summary_lines, summary_minutes;
    uint64_t max_latency_ms, multiline_ms, spool_bytes, state_bytes;
    bool follow, restart, special_tokens, accept_model, accept_arithmetic, quiet, json, no_report,
        plain;
    const char *listen, *connect;
    char *made_store, *made_feed; /* OUTPUT/state, STORE/ingest */
};

enum { SETTINGS_OPTIONS_MAX = 40 };

void settings_begin(struct settings *s);
/* The options of who: a stage by its name, or "read" or "follow"; options has room for
 * SETTINGS_OPTIONS_MAX. */
void settings_options(struct settings *s, const char *who, struct option *options);
/* Fill s->config. Fails: ERR_USAGE, ERR_MEMORY. */
MUST_CHECK enum err_code settings_end(struct settings *s, struct err *err);
void settings_release(struct settings *s);

#endif
