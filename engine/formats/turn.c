/* engine/formats/turn.c: tensors of the right name, from how the file keeps them to the canonical form.
 *
 *     att.w1 w2 a1 .. g2, time_maa_w1, time_decay_w1 _w2   turned where the file keeps them as x @ w1
 *     att.time_maa_w2 [5, R, C] or [5, C, R]  turned likewise, then five matrices _w2_w _k _v _r _g
 *     att.x_rwkvag [6, .., C]                 six vectors x_r x_w x_k x_v x_a x_g
 *     att.time_maa_wkvrg [5, .., C]           five vectors time_maa_w _k _v _r _g
 *     att.time_decay of version 6             [C]: rwkv.cpp keeps [H, S, 1]
 *     att.r_k                                 [H, S] where the file says S and has it flat: GGUF
 *     att.output, ffn.value                   scaled back where the file scaled them: GGUF, version 6
 *
 * Nothing is copied: turning exchanges strides, a part points into its whole. */
#include "engine/formats/formats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool name_ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), wanted = strlen(end);

    return bytes >= wanted && !strcmp(name + bytes - wanted, end);
}

bool name_is_low_rank(const char *name)
{
    static const char *const ends[] = {".att.w1",
                                       ".att.w2",
                                       ".att.a1",
                                       ".att.a2",
                                       ".att.v1",
                                       ".att.v2",
                                       ".att.g1",
                                       ".att.g2",
                                       ".att.time_maa_w1",
                                       ".att.time_maa_w2",
                                       ".att.time_decay_w1",
                                       ".att.time_decay_w2"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (name_ends_with(name, ends[i]))
            return true;
    return false;
}

static enum err_code transpose(const struct container *c, struct tensor *tensor, struct err *err)
{
    if (tensor->rank < 2) /* model.c says what its shape should be */
        return ERR_OK;
    if (dtypes[tensor->dtype].items > 1)
        return container_fail(c, err, "tensor '%s' is %s, whose blocks cannot be turned",
                              tensor->name, dtypes[tensor->dtype].name);
    tensor_transpose(tensor);
    return ERR_OK;
}

/* A tensor that holds several: how its name ends, and what its parts are called. */
static const struct {
    const char *end, *stem, *letters;
} wholes[] = {
    {".att.x_rwkvag", ".att.x_", "rwkvag"},
    {".att.time_maa_wkvrg", ".att.time_maa_", "wkvrg"},
    {".att.time_maa_w2", ".att.time_maa_w2_", "wkvrg"},
};

/* Tensor index becomes the first of its parts, the others are appended. */
static enum err_code split(struct container *c, size_t index, size_t kind, struct err *err)
{
    const char *letters = wholes[kind].letters;
    struct tensor whole = c->tensors[index], part;
    int before = (int)(strlen(whole.name) - strlen(wholes[kind].end));
    uint64_t count = strlen(letters);
    char layer[TENSOR_NAME_MAX + 1], name[2 * TENSOR_NAME_MAX];

    if (whole.rank < 2 || whole.shape[0] != count)
        return container_fail(c, err, "tensor '%s' does not hold %llu parts", whole.name,
                              (unsigned long long)count);
    snprintf(layer, sizeof layer, "%.*s", before, whole.name);
    for (uint64_t i = 0; i < count; i++) {
        struct tensor *place = NULL;
        enum err_code code;
        snprintf(name, sizeof name, "%s%s%c", layer, wholes[kind].stem, letters[i]);
        if (!tensor_part(&whole, i, &part))
            return container_fail(c, err, "part %llu of '%s': %s has blocks across parts",
                                  (unsigned long long)i, name, dtypes[whole.dtype].name);
        if (i == 0)
            code = container_set_name(c, index, name, err);
        else
            code = container_add(c, name, strlen(name), part.dtype, part.rank, part.shape, &place,
                                 err);
        if (code)
            return code;
        place = place ? place : &c->tensors[index];
        part.name = place->name;
        *place = part;
    }
    return ERR_OK;
}

/* Give a tensor without gaps the shape [rows, columns], or [columns] where rows is 0. One that has no
 * such shape keeps its own, for model.c to refuse: no row ever begins inside a block. */
static void reshape(struct tensor *tensor, uint64_t rows, uint64_t columns)
{
    if (!tensor_is_plain(tensor) || columns % dtypes[tensor->dtype].items)
        return;
    tensor->rank = rows ? 2 : 1;
    tensor->shape[0] = rows ? rows : columns;
    tensor->shape[1] = rows ? columns : 0;
    tensor->stride[0] = rows ? columns : 1;
    tensor->stride[1] = rows ? 1 : 0;
}

/* Layer i's was divided by 2 to the i / every. */
static enum err_code scale_back(const struct container *c, struct tensor *tensor, struct err *err)
{
    enum { SHIFT_MAX = 100 };
    uint64_t layer = strtoull(tensor->name + strlen("blocks."), NULL, 10);
    uint64_t shift = layer / c->rescale_every;

    if (shift > SHIFT_MAX)
        return container_fail(c, err, "tensor '%s' would be scaled by 2^%llu", tensor->name,
                              (unsigned long long)shift);
    tensor->scale = ldexpf(1, (int)shift);
    return ERR_OK;
}

enum err_code container_turn(struct container *c, bool outputs_first, struct err *err)
{
    bool version6 = container_scan(c, "blocks.0.att.time_maa_x") != NULL;
    size_t count = c->count;
    uint64_t size = c->stated_head_size;
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < count && !code; i++) {
        struct tensor *tensor = &c->tensors[i];
        const char *name = c->names[i];
        if (!outputs_first && name_is_low_rank(name))
            code = transpose(c, tensor, err);
        else if (version6 && name_ends_with(name, ".att.time_decay"))
            reshape(tensor, 0, tensor->values);
        else if (size && name_ends_with(name, ".att.r_k") && tensor->values % size == 0)
            reshape(tensor, tensor->values / size, size);
        else if (version6 && c->rescale_every &&
                 (name_ends_with(name, ".att.output.weight") ||
                  name_ends_with(name, ".ffn.value.weight")))
            code = scale_back(c, tensor, err);
        for (size_t kind = 0; kind < sizeof wholes / sizeof *wholes && !code; kind++)
            if (name_ends_with(c->names[i], wholes[kind].end)) {
                code = split(c, i, kind, err);
                break;
            }
    }
    return code;
}
