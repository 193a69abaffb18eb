/* plain.c: the levels of an architecture without lanes of its own: the key alone. */
#include "engine/kernels/inside.h"

#include <string.h>

enum err_code kernels_level(struct kernels *kernels, const char *isa, struct err *err)
{
    if (strcmp(isa, "auto") == 0 || strcmp(isa, "ref") == 0) {
        kernels_ref(kernels);
        return ERR_OK;
    }
    if (strcmp(isa, "avx2") == 0 || strcmp(isa, "avx512") == 0)
        return err_set(err, ERR_MISMATCH, 0, "this architecture has no %s; use --isa auto", isa);
    return err_set(err, ERR_USAGE, 0, "no isa '%s': auto, avx512, avx2, ref", isa);
}
