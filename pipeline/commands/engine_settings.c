#include "pipeline/commands/commands.h"

#include <string.h>

void engine_settings_options(struct engine_settings *s, struct option *options)
{
    const struct option all[ENGINE_SETTINGS_OPTIONS + 1] = {
        {"blas", 0, OPTION_TEXT, &s->blas, 0, 0, "NAME",
         "matrix products by auto, own, onednn, openblas or ref (default: auto)"},
        {"isa", 0, OPTION_TEXT, &s->isa, 0, 0, "LEVEL",
         "highest instruction set: auto, avx512, avx2 or ref (default: auto)"},
        {"threads", 0, OPTION_COUNT, &s->threads, 0, ENGINE_THREADS_MAX, "N",
         "workers of the engine (default: one a core)"},
        {"block", 0, OPTION_COUNT, &s->block, 0, ENGINE_BLOCK_MAX, "TOKENS",
         "rows of one batch; changes speed alone (default: 0, the engine's choice)"},
        {"gn-eps", 0, OPTION_REAL, &s->gn_eps, 0, 1, "EPS",
         "epsilon of the group norm (default: 0, what the file or its version says)"},
        {.name = NULL},
    };

    memcpy(options, all, sizeof all);
}

struct engine_options engine_settings_end(const struct engine_settings *s)
{
    return (struct engine_options){.blas = s->blas,
                                   .isa = s->isa,
                                   .threads = (unsigned)s->threads,
                                   .block_tokens = (uint32_t)s->block,
                                   .gn_eps = (float)s->gn_eps};
}
