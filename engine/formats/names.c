/* engine/formats/names.c: from what a file calls and how it turns its tensors to the canonical form.
 *
 * The programs that write RWKV files agree on the numbers and on little else. Each way of writing
 * them is one `struct spelling` here: what names become BlinkDL's, and whether the low-rank pairs
 * stand as [C, R] and [R, C] (x @ w1, BlinkDL's own way) or as [out, in] like all other matrices.
 * After the names, what is done to a tensor follows from its name alone:
 *
 *     v7  att.x_rwkvag [6, .., C]      six vectors att.x_r x_w x_k x_v x_a x_g; also called x_x
 *     v7  att.w1 w2 a1 .. g2           turned where the spelling keeps them as x @ w1
 *     v6  att.time_maa_wkvrg [5, .., C]  five vectors att.time_maa_w _k _v _r _g
 *     v6  att.time_maa_w1, time_decay_w1, time_decay_w2     turned likewise
 *     v6  att.time_maa_w2 [5, .., ..]  turned likewise, then five matrices _w2_w _w2_k .. [C, R]
 *     v6  att.time_decay               flattened: rwkv.cpp keeps [H, S, 1]
 *
 * Nothing is copied: turning exchanges strides, a part points into its whole. Names that no rule
 * speaks of stay as they are, so that model.c can refuse them by the name that the file has. */
#include "engine/formats/formats.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = TENSOR_NAME_MAX + 40 };

/* ---- Spellings ---- */

/* A list ends with {NULL, NULL}; the first that fits is taken. */
struct change {
    const char *from, *to;
};

struct spelling {
    const char *whose;
    const char *layer;           /* stands before the number of a layer */
    const struct change *tops;   /* how names outside of layers begin */
    const struct change *starts; /* behind the layer's number and its point */
    const struct change *ends;
    bool outputs_first; /* low-rank matrices are [out, in] */
};

static const struct change nothing[] = {{NULL, NULL}};

/* rwkv.cpp keeps what versions 4 and 5 make of decay and bonus. */
static const struct change done4[] = {{"att.time_decay", "att.time_decay_done"}, {NULL, NULL}};
static const struct change done5[] = {
    {"att.time_decay", "att.time_decay_done"}, {"att.time_first", "att.time_faaaa"}, {NULL, NULL}};

static const struct spelling blinkdl = {"BlinkDL's", "blocks.", nothing, nothing, nothing, false};
static const struct spelling cpp4 = {"rwkv.cpp's", "blocks.", nothing, done4, nothing, true};
static const struct spelling cpp5 = {"rwkv.cpp's", "blocks.", nothing, done5, nothing, true};
static const struct spelling cpp67 = {"rwkv.cpp's", "blocks.", nothing, nothing, nothing, true};
/* BlinkDL's names, the pairs as [out, in]: web-rwkv's version 7. */
static const struct spelling turned = {"web-rwkv's", "blocks.", nothing, nothing, nothing, true};

static bool starts_with(const char *name, const char *start)
{
    return !strncmp(name, start, strlen(start));
}

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), wanted = strlen(end);

    return bytes >= wanted && !strcmp(name + bytes - wanted, end);
}

static const struct change *fitting(const struct change *list, const char *name,
                                    bool (*fits)(const char *name, const char *part))
{
    while (list->from && !fits(name, list->from))
        list++;
    return list;
}

/* What spelling's `name` is called here. */
static void translate(const struct spelling *spelling, const char *name, char *out)
{
    const char *number = name + strlen(spelling->layer), *rest;
    const struct change *start, *end;
    size_t digits, middle;

    if (!starts_with(name, spelling->layer) || !isdigit((unsigned char)*number)) {
        start = fitting(spelling->tops, name, starts_with);
        snprintf(out, NAME_ROOM, "%s%s", start->from ? start->to : "",
                 name + (start->from ? strlen(start->from) : 0));
        return;
    }
    digits = strspn(number, "0123456789");
    rest = number + digits + (number[digits] == '.');
    start = fitting(spelling->starts, rest, starts_with);
    rest += start->from ? strlen(start->from) : 0;
    end = fitting(spelling->ends, rest, ends_with);
    middle = strlen(rest) - (end->from ? strlen(end->from) : 0);
    snprintf(out, NAME_ROOM, "blocks.%.*s%s%s%.*s%s", (int)digits, number,
             number[digits] == '.' ? "." : "", start->from ? start->to : "", (int)middle, rest,
             end->from ? end->to : "");
}

/* ---- Which spelling is it? The table is not sorted yet. ---- */

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

static enum err_code find_spelling(const struct container *c, const struct spelling **out,
                                   struct err *err)
{
    static const struct change others[] = {{"model.layers.", "the fla library's"},
                                           {"rwkv.blocks.", "the transformers library's"},
                                           {NULL, NULL}};

    for (size_t i = 0; i < c->count; i++) {
        const struct change *other = fitting(others, c->tensors[i].name, starts_with);
        if (other->from)
            return container_fail(c, err, "tensors have %s names ('%s'): not supported yet",
                                  other->to, c->tensors[i].name);
    }
    if (!c->converted)
        *out = keeps_outputs_first(c) ? &turned : &blinkdl;
    else if (!scan(c, "blocks.0.att.ln_x.weight"))
        *out = &cpp4;
    else if (scan(c, "blocks.0.att.time_maa_x") || scan(c, "blocks.0.att.r_k"))
        *out = &cpp67;
    else
        *out = &cpp5;
    return ERR_OK;
}

/* ---- Turning and splitting ---- */

static enum err_code set_name(struct container *c, size_t index, const char *name, struct err *err)
{
    char *copy;

    if (!strcmp(c->names[index], name))
        return ERR_OK;
    copy = strdup(name);
    if (!copy)
        return err_set(err, ERR_MEMORY, 0, "model '%s': a tensor's name", c->path);
    free(c->names[index]);
    c->names[index] = copy;
    c->tensors[index].name = copy;
    return ERR_OK;
}

static bool low_rank(const char *name)
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
        if (ends_with(name, ends[i]))
            return true;
    return false;
}

static enum err_code turn(struct container *c, struct tensor *tensor, struct err *err)
{
    if (tensor->rank < 2) /* model.c says what its shape should be */
        return ERR_OK;
    if (dtypes[tensor->dtype].items > 1)
        return container_fail(c, err, "tensor '%s' is %s, which cannot be turned", tensor->name,
                              dtypes[tensor->dtype].name);
    tensor_transpose(tensor);
    return ERR_OK;
}

/* A tensor that holds several: what it is called, and what its parts are. */
static const struct {
    const char *end, *stem, *letters;
} wholes[] = {
    {".att.x_rwkvag", ".att.x_", "rwkvag"},
    {".att.x_x", ".att.x_", "rwkvag"},
    {".att.time_maa_wkvrg", ".att.time_maa_", "wkvrg"},
    {".att.time_maa_w2", ".att.time_maa_w2_", "wkvrg"},
};

/* Tensor index becomes the first of its parts, the others are appended. */
static enum err_code split(struct container *c, size_t index, size_t kind, struct err *err)
{
    const char *letters = wholes[kind].letters;
    struct tensor whole = c->tensors[index];
    int before = (int)(strlen(whole.name) - strlen(wholes[kind].end));
    uint64_t count = strlen(letters);
    char layer[NAME_ROOM], name[NAME_ROOM + NAME_ROOM];
    struct tensor part;
    enum err_code code = ERR_OK;

    snprintf(layer, sizeof layer, "%.*s", before, whole.name);
    if (whole.rank < 2 || whole.shape[0] != count)
        return container_fail(c, err, "tensor '%s' does not hold %llu parts", whole.name,
                              (unsigned long long)count);
    for (uint64_t i = 0; i < count && !code; i++) {
        struct tensor *place = &c->tensors[index];
        if (!tensor_part(&whole, i, &part))
            return container_fail(c, err, "tensor '%s': blocks of %s straddle its parts",
                                  c->names[index], dtypes[whole.dtype].name);
        snprintf(name, sizeof name, "%s%s%c", layer, wholes[kind].stem, letters[i]);
        if (i > 0)
            code = container_add(c, name, strlen(name), part.dtype, part.rank, part.shape, &place,
                                 err);
        if (code)
            return code;
        part.name = place->name;
        *place = part;
        if (i == 0)
            code = set_name(c, index, name, err);
    }
    return code;
}

static void flatten(struct tensor *tensor)
{
    if (!tensor_is_plain(tensor))
        return;
    tensor->rank = 1;
    tensor->shape[0] = tensor->values;
    tensor->stride[0] = 1;
}

enum err_code container_rename(struct container *c, struct err *err)
{
    const struct spelling *spelling = &blinkdl;
    size_t count = c->count;
    bool version6;
    char name[NAME_ROOM];
    enum err_code code = find_spelling(c, &spelling, err);

    for (size_t i = 0; i < count && !code; i++) {
        translate(spelling, c->names[i], name);
        code = set_name(c, i, name, err);
    }
    version6 = !code && scan(c, "blocks.0.att.time_maa_x");
    for (size_t i = 0; i < count && !code; i++) {
        if (!spelling->outputs_first && low_rank(c->names[i]))
            code = turn(c, &c->tensors[i], err);
        if (version6 && ends_with(c->names[i], ".att.time_decay"))
            flatten(&c->tensors[i]);
        for (size_t kind = 0; kind < sizeof wholes / sizeof *wholes && !code; kind++)
            if (ends_with(c->names[i], wholes[kind].end))
                code = split(c, i, kind, err);
    }
    return code;
}
