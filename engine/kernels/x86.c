/* x86.c: which levels there are on this architecture, and which of them run on this processor. */
#include "engine/kernels/inside.h"

#include <string.h>

static bool always(void)
{
    return true;
}

/* The builtin asks the processor, and the operating system whether it keeps the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* Best first. */
static const struct {
    const char *name;
    bool (*runs_here)(void);
    void (*fill)(struct kernels *kernels);
} levels[] = {{"avx512", has_avx512, kernels_avx512},
              {"avx2", has_avx2, kernels_avx2},
              {"ref", always, kernels_ref}};

enum err_code kernels_level(struct kernels *kernels, const char *isa, struct err *err)
{
    bool any = strcmp(isa, "auto") == 0;

    __builtin_cpu_init();
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (!any && strcmp(isa, levels[i].name) != 0)
            continue;
        if (levels[i].runs_here()) {
            levels[i].fill(kernels);
            return ERR_OK;
        }
        if (!any)
            return err_set(err, ERR_MISMATCH, 0,
                           "this processor has no %s; --isa auto takes the best it has", isa);
    }
    return err_set(err, ERR_USAGE, 0, "no isa '%s': auto, avx512, avx2, ref", isa);
}
