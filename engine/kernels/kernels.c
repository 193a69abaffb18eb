/* kernels.c: the choice of level and product, made once. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/inside.h"

#include <stdio.h>
#include <string.h>

static const char *const blas_names[] = {
    [BLAS_AUTO] = "auto",     [BLAS_REF] = "ref",           [BLAS_OWN] = "own",
    [BLAS_ONEDNN] = "onednn", [BLAS_OPENBLAS] = "openblas",
};

static enum err_code blas_find(enum kernels_blas *which, const char *name, struct err *err)
{
    for (size_t i = 0; i < sizeof blas_names / sizeof *blas_names; i++)
        if (strcmp(name, blas_names[i]) == 0) {
            *which = (enum kernels_blas)i;
            return ERR_OK;
        }
    return err_set(err, ERR_USAGE, 0, "no blas '%s': auto, own, onednn, openblas, ref", name);
}

/* auto is our own product: it has the key's bits on every processor without a check, and it was nowhere
 * found slower than oneDNN beyond the noise (README.md). At level ref both are the key itself. */
static enum kernels_blas blas_settle(enum kernels_blas which, bool is_ref)
{
    if (which == BLAS_AUTO || which == BLAS_OWN)
        return is_ref ? BLAS_REF : BLAS_OWN;
    return which;
}

/* Names of every architecture: one that is only another's is no mistake in writing. */
static bool level_exists(const char *isa)
{
    static const char *const names[] = {"avx512", "avx512f", "avx2", "dotprod", "neon", "ref"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(isa, names[i]) == 0)
            return true;
    return false;
}

/* Fill in the level called isa, or for "auto" the best one that runs here. */
static enum err_code level_fill(struct kernels *kernels, const char *isa, struct err *err)
{
    const bool any = strcmp(isa, "auto") == 0;
    const struct level *level = kernels_levels;

    if (!any && !level_exists(isa))
        return err_set(err, ERR_USAGE, 0,
                       "no isa '%s': auto, avx512, avx512f, avx2, dotprod, neon, ref", isa);
    while (strcmp(level->name, "ref") != 0 &&
           (!level->runs_here() || (!any && strcmp(isa, level->name) != 0)))
        level++;
    if (!any && strcmp(isa, level->name) != 0)
        return err_set(err, ERR_MISMATCH, 0,
                       "this processor has no %s; --isa auto takes the best it has", isa);
    level->fill(kernels);
    return ERR_OK;
}

enum err_code kernels_init(struct kernels *kernels, const char *isa, const char *blas,
                           struct err *err)
{
    struct kernels k = {0};
    enum err_code code;

    code = blas_find(&k.which, blas ? blas : "auto", err);
    if (code)
        return code;
    code = level_fill(&k, isa ? isa : "auto", err);
    if (code)
        return code;
    k.which = blas_settle(k.which, k.panels == NULL);
    k.blas = blas_names[k.which];
    if (k.which == BLAS_OPENBLAS)
        openblas_arithmetic(k.arithmetic, sizeof k.arithmetic);
    else
        snprintf(k.arithmetic, sizeof k.arithmetic, "f32-1");
    *kernels = k;
    return ERR_OK;
}

bool kernels_are_own(const struct kernels *kernels)
{
    return kernels->which == BLAS_OWN || kernels->which == BLAS_REF;
}

enum err_code kernels_set_weights(struct kernels *kernels, const char *weights, struct err *err)
{
    static const char *const names[] = {
        [WEIGHTS_F32] = "f32", [WEIGHTS_BF16] = "bf16", [WEIGHTS_INT8] = "int8"};
    enum kernels_weights which = WEIGHTS_F32;

    while (strcmp(weights, names[which]) != 0)
        if (++which > WEIGHTS_INT8)
            return err_set(err, ERR_USAGE, 0, "no weights '%s': auto, f32, bf16, int8", weights);
    if (which == WEIGHTS_F32)
        return ERR_OK;
    if (!kernels_are_own(kernels))
        return err_set(err, ERR_MISMATCH, 0,
                       "%s weights are multiplied by our own product: --blas own, or --weights f32",
                       weights);
    kernels->weights = which;
    snprintf(kernels->arithmetic, sizeof kernels->arithmetic, "%s-1", weights);
    return ERR_OK;
}
