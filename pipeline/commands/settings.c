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
                           .blas = "auto",
                           .isa = "auto"};
}

/* An option, and the stages that have it: i ingest, t tokenize, e encode, m emit, r read alone,
 * s a single stage alone. */
struct row {
    const char *stages;
    struct option option;
};

void settings_options(struct settings *s, const char *stage, struct option *options)
{
    const struct row rows[] = {
        {"et", {"model", 'm', OPTION_TEXT, &s->model, 0, 0, "FILE", "the RWKV model"}},
        {"em",
         {"output", 'o', OPTION_TEXT, &s->output, 0, 0, "DIR", "records go here (default: out)"}},
        {"e",
         {"store", 0, OPTION_TEXT, &s->store, 0, 0, "DIR",
          "checkpoints go here (default: state in the output folder)"}},
        {"i",
         {"name", 0, OPTION_TEXT, &s->name, 0, 0, "NAME", "name of the stream of a single input"}},
        {"t",
         {"vocab", 0, OPTION_TEXT, &s->vocab, 0, 0, "FILE",
          "vocabulary of the model: World's text or NeoX's JSON (default: its own, or bytes)"}},
        {"t",
         {"special-tokens", 0, OPTION_FLAG, &s->special_tokens, 0, 0, NULL,
          "NeoX: `<|endoftext|>` in a text is that token (default: ordinary text)"}},
        {"e",
         {"unit", 0, OPTION_CHOICE, &s->unit, 0, 0, "paragraph|line",
          "what a record stands for (default: paragraph)"}},
        {"e",
         {"normalize", 0, OPTION_CHOICE, &s->normalize, 0, 0, "none|nfc",
          "Unicode normalisation before the model (default: none)"}},
        {"e",
         {"checkpoint-every", 0, OPTION_COUNT, &s->checkpoint_every, 0, UINT64_MAX / 2, "TOKENS",
          "a checkpoint at least every so many tokens (default: by time alone)"}},
        {"e",
         {"checkpoint-seconds", 0, OPTION_SECONDS, &s->checkpoint_ms, 50, A_DAY_MS, "S",
          "a checkpoint at least every so many seconds (default: 30)"}},
        {"e",
         {"restart", 0, OPTION_FLAG, &s->restart, 0, 0, NULL,
          "begin again what was begun, and write its output anew"}},
        {"e",
         {"accept-model", 0, OPTION_FLAG, &s->accept_model, 0, 0, NULL,
          "go on with another model; a lineage record says so"}},
        {"e",
         {"accept-arithmetic", 0, OPTION_FLAG, &s->accept_arithmetic, 0, 0, NULL,
          "go on in another arithmetic; a lineage record says so"}},
        {"e",
         {"blas", 0, OPTION_TEXT, &s->blas, 0, 0, "NAME",
          "matrix products by auto, own, onednn, openblas or ref (default: auto)"}},
        {"e",
         {"isa", 0, OPTION_TEXT, &s->isa, 0, 0, "LEVEL",
          "highest instruction set: auto, avx512, avx2 or ref (default: auto)"}},
        {"e",
         {"threads", 0, OPTION_COUNT, &s->threads, 0, ENGINE_THREADS_MAX, "N",
          "workers of the engine (default: one a core)"}},
        {"e",
         {"block", 0, OPTION_COUNT, &s->block, 0, ENGINE_BLOCK_MAX, "TOKENS",
          "rows of one batch; changes speed alone (default: 0, the engine's choice)"}},
        {"i",
         {"read-bytes", 0, OPTION_COUNT, &s->read_bytes, 1, MSG_SOURCE_MAX, "BYTES",
          "of one read; changes nothing that comes out (default: 65536)"}},
        {"s",
         {"listen", 0, OPTION_TEXT, &s->listen, 0, 0, "ipc://PATH", "where downstream connects"}},
        {"s",
         {"connect", 0, OPTION_TEXT, &s->connect, 0, 0, "ipc://PATH", "where upstream listens"}},
        {"r",
         {"json", 0, OPTION_FLAG, &s->json, 0, 0, NULL,
          "at the end, how the streams stand, as JSON on standard output"}},
        {"item", {"quiet", 'q', OPTION_FLAG, &s->quiet, 0, 0, NULL, "warnings and errors alone"}},
    };
    const char letter = stage ? (strcmp(stage, "emit") ? stage[0] : 'm') : 0;
    size_t count = 0;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool here = stage ? strchr(rows[i].stages, letter) || !strcmp(rows[i].stages, "s")
                          : strcmp(rows[i].stages, "s") != 0;
        if (here)
            options[count++] = rows[i].option;
    }
    options[count] = (struct option){.name = NULL};
    require(count < SETTINGS_OPTIONS_MAX);
}

enum err_code settings_end(struct settings *s, struct err *err)
{
    if (!s->store) {
        if (asprintf(&s->made_store, "%s/state", s->output) < 0)
            return err_set(err, ERR_MEMORY, 0, "settings");
        s->store = s->made_store;
    }
    s->config = (struct config){.name = s->name,
                                .read_bytes = (uint32_t)s->read_bytes,
                                .vocab = s->vocab,
                                .special_tokens = s->special_tokens,
                                .model = s->model,
                                .store = s->store,
                                .blas = s->blas,
                                .isa = s->isa,
                                .threads = (unsigned)s->threads,
                                .block_tokens = (uint32_t)s->block,
                                .unit = (enum unit)s->unit,
                                .normalize = (enum normalize)s->normalize,
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
    s->made_store = NULL;
}
