/* arm.c: which levels there are on aarch64, and which of them run on this processor. */
#include "engine/kernels/inside.h"

#include <sys/auxv.h>

static bool always(void)
{
    return true;
}

/* SDOT came with later processors. */
static bool has_dotprod(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

static void fill_neon(struct kernels *kernels)
{
    kernels_neon(kernels);
    kernels_bf16_neon(kernels);
    kernels_int8_neon(kernels);
}

static void fill_dotprod(struct kernels *kernels)
{
    fill_neon(kernels);
    kernels_int8_dotprod(kernels);
    kernels->isa = "dotprod";
}

const struct level kernels_levels[] = {{"dotprod", has_dotprod, fill_dotprod},
                                       {"neon", always, fill_neon},
                                       {"ref", always, kernels_ref}};
