#include "pipeline/commands/commands.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The path of the running program; "" where the system does not say. */
static const char *program_path(void)
{
    static char path[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof path - 1);

    path[bytes > 0 ? bytes : 0] = '\0';
    return path;
}

enum err_code find_model(const char **model, struct err *err)
{
    static const char *const places[] = {"share", "../share"};
    static char path[PATH_MAX + 64];
    const char *program = program_path(), *slash = strrchr(program, '/');
    int folder = slash ? (int)(slash - program) : 0;

    if (*model && (strcmp(*model, DEFAULT_MODEL) != 0 || access(*model, F_OK) == 0))
        return ERR_OK;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%.*s/%s/riverrun/" DEFAULT_MODEL ".safetensors", folder,
                 program, places[i]);
        if (access(path, R_OK) == 0) {
            *model = path;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_USAGE, 0,
                   "the model that comes with the program is not at '%s': give one with --model "
                   "FILE",
                   path);
}

void engine_settings_options(struct engine_settings *s, struct option *options)
{
    const struct option all[ENGINE_SETTINGS_OPTIONS + 1] = {
        {"blas", 0, OPTION_TEXT, &s->blas, 0, 0, "NAME",
         "matrix products by auto, own, onednn, openblas or ref (default: auto)"},
        {"isa", 0, OPTION_TEXT, &s->isa, 0, 0, "LEVEL",
         "highest instruction set: auto, avx512, avx512f (without VNNI and BF16), avx2, dotprod, "
         "neon "
         "(without SDOT) or ref (default: auto)"},
        {"weights", 0, OPTION_TEXT, &s->weights, 0, 0, "TYPE",
         "multiply as f32, bf16 or int8, whatever the file has (default: auto, which is what "
         "the file names, else f32)"},
        {"threads", 0, OPTION_COUNT, &s->threads, 0, ENGINE_THREADS_MAX, "N",
         "workers of the engine (default: one a core)"},
        {"block", 0, OPTION_COUNT, &s->block, 0, ENGINE_BLOCK_MAX, "TOKENS",
         "rows of one batch; changes speed alone (default: 0, the engine's choice)"},
        {"gn-eps", 0, OPTION_REAL, &s->gn_eps, 0, 1, "EPS",
         "epsilon of the group norm (default: 0, what the file or its version says)"},
        {"initial-state", 0, OPTION_PATH, &s->initial_state, 0, 0, "FILE",
         "begin with this state, as of `adapt --state` (default: the model's own, or zeros)"},
        {.name = NULL},
    };

    memcpy(options, all, sizeof all);
}

static enum err_code open_own(struct tokenizer **out, const char *model,
                              const struct engine_info *info, struct err *err)
{
    struct err absent;
    enum err_code code = tokenizer_open_model(out, model, &absent);

    if (code == ERR_ABSENT && info->vocab == 256)
        return tokenizer_open_bytes(out, err);
    if (code == ERR_ABSENT)
        return err_set(err, ERR_MISMATCH, 0,
                       "model '%s' has %u tokens and carries no vocabulary: give it with --vocab "
                       "FILE",
                       model, info->vocab);
    if (code && err)
        *err = absent;
    return code;
}

enum err_code open_tokenizer_of(struct tokenizer **out, const char *vocab, const char *model,
                                const struct engine_info *info, struct err *err)
{
    struct tokenizer *t = NULL;
    enum err_code code =
        vocab ? tokenizer_open(&t, vocab, NULL, err) : open_own(&t, model, info, err);

    if (!code && vocab)
        code = tokenizer_check_model(t, vocab, model, err);
    if (!code && tokenizer_vocab(t) > info->vocab)
        code =
            err_set(err, ERR_MISMATCH, 0,
                    "the vocabulary '%s' has tokens up to %u, model '%s' has %u tokens: %s",
                    vocab ? vocab : tokenizer_name(t), tokenizer_vocab(t) - 1, model, info->vocab,
                    info->vocab == 256 ? "leave out --vocab, this model reads bytes"
                                       : "give the model's own with --vocab FILE");
    if (!code) {
        *out = t;
        t = NULL;
    }
    tokenizer_close(&t);
    return code;
}

struct engine_options engine_settings_end(const struct engine_settings *s)
{
    return (struct engine_options){.blas = s->blas,
                                   .isa = s->isa,
                                   .weights = s->weights,
                                   .threads = (unsigned)s->threads,
                                   .block_tokens = (uint32_t)s->block,
                                   .gn_eps = (float)s->gn_eps,
                                   .initial_state = s->initial_state};
}
