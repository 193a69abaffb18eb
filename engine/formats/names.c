/* engine/formats/names.c: from what a file calls and how it turns its tensors to the canonical form.
 *
 *     tensor of version 7         here           BlinkDL     rwkv.cpp                    web-rwkv
 *     att.x_r .. att.x_g          [C] each       the same    one [6, C], x_rwkvag        the same
 *     att.w1 a1 v1 g1             [R, C]         [C, R]      [R, C]                      [R, C]
 *     att.w2 a2 v2 g2             [C, R]         [R, C]      [C, R]                      [C, R]
 *
 *     of version 4
 *     att.time_decay              raw            raw         -exp(raw), which becomes
 *                                                            att.time_decay_done
 *
 * Other spellings of safetensors are recognised and refused by name. */
#include "engine/formats/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), wanted = strlen(end);

    return bytes >= wanted && !strcmp(name + bytes - wanted, end);
}

static bool low_rank(const struct tensor *tensor)
{
    static const char *const ends[] = {".att.w1", ".att.w2", ".att.a1", ".att.a2",
                                       ".att.v1", ".att.v2", ".att.g1", ".att.g2"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(tensor->name, ends[i]))
            return tensor->rank == 2;
    return false;
}

/* The table is not sorted yet. */
static const struct tensor *scan(const struct container *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->tensors[i].name, name))
            return &c->tensors[i];
    return NULL;
}

/* BlinkDL keeps w1 as [C, R], web-rwkv as [R, C]. */
static bool keeps_outputs_first(const struct container *c)
{
    const struct tensor *w1 = scan(c, "blocks.0.att.w1"), *emb = scan(c, "emb.weight");

    return w1 && emb && w1->rank == 2 && emb->rank == 2 && w1->shape[1] == emb->shape[1] &&
           w1->shape[0] != emb->shape[1];
}

static void transpose(struct container *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (low_rank(&c->tensors[i]))
            tensor_transpose(&c->tensors[i]);
    }
}

/* Make tensor i the first sixth of what it was, and append the others. */
static enum err_code split_mixes(struct container *c, size_t index, struct err *err)
{
    static const char letters[] = "rwkvag";
    struct tensor whole = c->tensors[index];
    int stem = (int)(strlen(whole.name) - strlen("rwkvag"));
    uint64_t columns = whole.values / 6;
    char name[TENSOR_NAME_MAX + 2];

    if (whole.shape[0] != 6 || dtypes[whole.dtype].items > 1)
        return container_fail(c, err, "tensor '%s' is not six vectors", whole.name);
    for (unsigned i = 0; i < 6; i++) {
        struct tensor *part = &c->tensors[index];
        snprintf(name, sizeof name, "%.*s%c", stem, whole.name, letters[i]);
        if (i > 0) {
            enum err_code code =
                container_add(c, name, strlen(name), whole.dtype, 1, &columns, &part, err);
            if (code)
                return code;
        }
        part->rank = 1;
        part->shape[0] = part->values = columns;
        part->stride[0] = 1;
        part->bytes = whole.bytes / 6;
        part->data = whole.data + i * part->bytes;
    }
    /* Cut "rwkvag" to "r" last: until now it was the stem of the others. */
    c->names[index][stem + 1] = 0;
    return ERR_OK;
}

static enum err_code rename_converted(struct container *c, struct err *err)
{
    bool version4 = !scan(c, "blocks.0.att.ln_x.weight");
    size_t count = c->count;

    for (size_t i = 0; i < count; i++) {
        char name[TENSOR_NAME_MAX + 8];
        char *longer;
        if (ends_with(c->tensors[i].name, ".att.x_rwkvag")) {
            enum err_code code = split_mixes(c, i, err);
            if (code)
                return code;
        }
        if (!version4 || !ends_with(c->tensors[i].name, ".att.time_decay"))
            continue;
        snprintf(name, sizeof name, "%s_done", c->tensors[i].name);
        longer = strdup(name);
        if (!longer)
            return err_set(err, ERR_MEMORY, 0, "model '%s': a tensor's name", c->path);
        free(c->names[i]);
        c->names[i] = longer;
        c->tensors[i].name = longer;
    }
    return ERR_OK;
}

enum err_code container_rename(struct container *c, struct err *err)
{
    static const struct {
        const char *start, *spelling;
    } others[] = {{"model.layers.", "the fla library's"},
                  {"rwkv.blocks.", "the transformers library's"}};

    if (c->converted)
        return rename_converted(c, err);
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            if (!strncmp(c->tensors[i].name, others[k].start, strlen(others[k].start)))
                return container_fail(c, err, "tensors have %s names ('%s'): not supported yet",
                                      others[k].spelling, c->tensors[i].name);
    if (!keeps_outputs_first(c))
        transpose(c);
    return ERR_OK;
}
