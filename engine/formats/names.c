/* engine/formats/names.c: what a file calls its tensors, in BlinkDL's names.
 *
 * The programs that write RWKV files agree on the numbers and on little else. Each way of writing
 * them is one `struct spelling` here: lists of how names begin and end there and here, and whether
 * the low-rank pairs stand as [C, R] and [R, C] (x @ w1, BlinkDL's own way) or as [out, in] like all
 * other matrices. What is done to the tensors then follows from the canonical name: turn.c.
 *
 * Names that no rule speaks of stay as they are, so that model.c can refuse them by the name that the
 * file has; two names that become one are found when the table is sorted. */
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
    const struct change *ends;   /* of what is then left */
    bool outputs_first;          /* low-rank matrices are [out, in] */
};

#define END        \
    {              \
        NULL, NULL \
    }

static const struct change nothing[] = {END};

/* rwkv.cpp keeps what versions 4 and 5 make of decay and bonus. */
static const struct change done4[] = {{"att.time_decay", "att.time_decay_done"}, END};
static const struct change done5[] = {
    {"att.time_decay", "att.time_decay_done"}, {"att.time_first", "att.time_faaaa"}, END};

/* web-rwkv has version 6 speak as version 5 did. */
static const struct change web5_starts[] = {{"att.time_first", "att.time_faaaa"}, END};
static const struct change web6_starts[] = {{"att.time_first", "att.time_faaaa"},
                                            {"att.time_mix_", "att.time_maa_"},
                                            {"ffn.time_mix_", "ffn.time_maa_"},
                                            END};

static const struct change hf_tops[] = {
    {"rwkv.embeddings.", "emb."}, {"rwkv.ln_out.", "ln_out."}, END};
static const struct change hf_starts[] = {
    {"pre_ln.", "ln0."}, {"attention.", "att."}, {"feed_forward.", "ffn."}, END};
static const struct change hf_ends[] = {{"time_mix_key", "time_mix_k"},
                                        {"time_mix_value", "time_mix_v"},
                                        {"time_mix_receptance", "time_mix_r"},
                                        {"time_mix_gate", "time_mix_g"},
                                        END};

static const struct change fla_tops[] = {
    {"model.embeddings.", "emb."}, {"model.norm.", "ln_out."}, {"lm_head.", "head."}, END};
static const struct change fla_starts[] = {{"pre_norm.", "ln0."},
                                           {"attn_norm.", "ln1."},
                                           {"ffn_norm.", "ln2."},
                                           {"attn.r_proj.", "att.receptance."},
                                           {"attn.k_proj.", "att.key."},
                                           {"attn.v_proj.", "att.value."},
                                           {"attn.o_proj.", "att.output."},
                                           {"attn.g_norm.", "att.ln_x."},
                                           {"attn.x_x", "att.x_rwkvag"},
                                           {"attn.", "att."},
                                           END};
static const struct change fla_ends[] = {
    {"_lora.lora.0.weight", "1"}, {"_lora.lora.2.weight", "2"}, {"_lora.lora.2.bias", "0"}, END};

static const struct change gguf_tops[] = {{"token_embd.", "emb."},
                                          {"token_embd_norm.", "blocks.0.ln0."},
                                          {"output_norm.", "ln_out."},
                                          {"output.", "head."},
                                          END};
#define GGUF_COMMON                                                                  \
    {"attn_norm.", "ln1."}, {"attn_norm_2.", "ln2."}, {"time_mix_ln.", "att.ln_x."}, \
        {"time_mix_receptance.", "att.receptance."}, {"time_mix_key.", "att.key."},  \
        {"time_mix_value.", "att.value."}, {"time_mix_output.", "att.output."},      \
        {"time_mix_gate.", "att.gate."}, {"channel_mix_key.", "ffn.key."},           \
        {"channel_mix_value.", "ffn.value."},                                        \
    {                                                                                \
        "channel_mix_receptance.", "ffn.receptance."                                 \
    }
static const struct change gguf6_starts[] = {GGUF_COMMON,
                                             {"time_mix_lerp_fused", "att.time_maa_wkvrg"},
                                             {"time_mix_lerp_", "att.time_maa_"},
                                             {"time_mix_w", "att.time_maa_w"},
                                             {"time_mix_first", "att.time_faaaa"},
                                             {"time_mix_decay", "att.time_decay"},
                                             {"channel_mix_lerp_", "ffn.time_maa_"},
                                             END};
static const struct change gguf7_starts[] = {GGUF_COMMON,
                                             {"time_mix_lerp_fused", "att.x_rwkvag"},
                                             {"time_mix_", "att."},
                                             {"channel_mix_lerp_k", "ffn.x_k"},
                                             END};
/* Of names whose start took the point with it, "weight" is left, which this does not touch. */
static const struct change gguf_ends[] = {{".weight", ""}, END};

static const struct spelling blinkdl = {BLINKDL, "blocks.", nothing, nothing, nothing, false};
static const struct spelling cpp4 = {"rwkv.cpp's", "blocks.", nothing, done4, nothing, true};
static const struct spelling cpp5 = {"rwkv.cpp's", "blocks.", nothing, done5, nothing, true};
static const struct spelling cpp67 = {"rwkv.cpp's", "blocks.", nothing, nothing, nothing, true};
static const struct spelling web5 = {"web-rwkv's", "blocks.", nothing, web5_starts, nothing, true};
static const struct spelling web6 = {"web-rwkv's", "blocks.", nothing, web6_starts, nothing, true};
static const struct spelling web7 = {"web-rwkv's", "blocks.", nothing, nothing, nothing, true};
static const struct spelling hf = {
    "the transformers library's", "rwkv.blocks.", hf_tops, hf_starts, hf_ends, false};
static const struct spelling fla = {"the fla library's", "model.layers.", fla_tops,
                                    fla_starts,          fla_ends,        true};
static const struct spelling gguf6 = {"GGUF's", "blk.", gguf_tops, gguf6_starts, gguf_ends, true};
static const struct spelling gguf7 = {"GGUF's", "blk.", gguf_tops, gguf7_starts, gguf_ends, true};

static bool starts_with(const char *name, const char *start)
{
    return !strncmp(name, start, strlen(start));
}

static const struct change *fitting(const struct change *list, const char *name,
                                    bool (*fits)(const char *name, const char *part))
{
    while (list->from && !fits(name, list->from))
        list++;
    return list;
}

/* What spelling's `name` is called here.
 * out  (NAME_ROOM) */
static void translate(const struct spelling *spelling, const char *name, char *out)
{
    const char *number = name + strlen(spelling->layer), *rest;
    const struct change *start, *end;
    size_t digits = 0;
    int left;

    if (starts_with(name, spelling->layer))
        digits = strspn(number, "0123456789");
    if (digits == 0 || number[digits] != '.') {
        start = fitting(spelling->tops, name, starts_with);
        snprintf(out, NAME_ROOM, "%s%s", start->from ? start->to : "",
                 name + (start->from ? strlen(start->from) : 0));
        return;
    }
    rest = number + digits + 1;
    start = fitting(spelling->starts, rest, starts_with);
    rest += start->from ? strlen(start->from) : 0;
    end = fitting(spelling->ends, rest, name_ends_with);
    left = (int)(strlen(rest) - (end->from ? strlen(end->from) : 0));
    snprintf(out, NAME_ROOM, "blocks.%.*s.%s%.*s%s", (int)digits, number,
             start->from ? start->to : "", left, rest, end->from ? end->to : "");
}

/* ---- Which spelling is it? ---- */

static bool has(const struct container *c, const char *name)
{
    return container_scan(c, name) != NULL;
}

static bool any_starts_with(const struct container *c, const char *start)
{
    for (size_t i = 0; i < c->count; i++)
        if (starts_with(c->tensors[i].name, start))
            return true;
    return false;
}

/* BlinkDL keeps the first of a low-rank pair as [C, R], web-rwkv as [R, C]. The first pair of which
 * that can be told decides; where C and R are the same in all of them it is BlinkDL's. */
static bool keeps_outputs_first(const struct container *c)
{
    static const char *const firsts[] = {".att.w1", ".att.a1", ".att.v1", ".att.g1"};
    const struct tensor *emb = container_scan(c, "emb.weight");

    for (size_t i = 0; i < c->count && emb && emb->rank == 2; i++) {
        const struct tensor *t = &c->tensors[i];
        for (size_t k = 0; k < sizeof firsts / sizeof *firsts; k++)
            if (name_ends_with(t->name, firsts[k]) && t->rank == 2 && t->shape[0] != t->shape[1])
                return t->shape[1] == emb->shape[1];
    }
    return false;
}

/* Version 5 under BlinkDL's names. web-rwkv calls time_faaaa time_first, and widens one number a
 * head to all channels of it, which BlinkDL never did to a time_first. Of a version 5.1 nothing tells
 * whether its time_first is one; but what our converter wrote, whose epsilon tells, is BlinkDL's. */
static enum err_code find_spelling_5(const struct container *c, const struct spelling **out,
                                     struct err *err)
{
    const struct tensor *first = container_scan(c, "blocks.0.att.time_first");
    bool gate = has(c, "blocks.0.att.gate.weight");
    bool wide = first && first->rank >= 2 && first->shape[first->rank - 1] > 1;

    *out = &blinkdl;
    if (!first || strcmp(c->kind, "safetensors"))
        return ERR_OK;
    if (!gate && (wide || (name_ends_with(c->path, ".st") && c->stated_gn_eps == 0)))
        return container_fail(c, err,
                              "RWKV-5.1 as web-rwkv writes it, which does not say what "
                              "'blocks.0.att.time_first' is: convert the original file");
    if (wide)
        *out = &web5;
    return ERR_OK;
}

static enum err_code find_spelling(const struct container *c, const struct spelling **out,
                                   struct err *err)
{
    bool seven = has(c, "blocks.0.att.r_k");

    if (!strcmp(c->kind, "GGUF"))
        *out = any_starts_with(c, "blk.0.time_mix_first") ? &gguf6 : &gguf7;
    else if (c->converted && !has(c, "blocks.0.att.ln_x.weight"))
        *out = &cpp4;
    else if (c->converted)
        *out = seven || has(c, "blocks.0.att.time_maa_x") ? &cpp67 : &cpp5;
    else if (any_starts_with(c, fla.layer))
        *out = &fla;
    else if (any_starts_with(c, hf.layer))
        *out = &hf;
    else if (seven)
        *out = keeps_outputs_first(c) ? &web7 : &blinkdl;
    else if (has(c, "blocks.0.att.time_mix_x"))
        *out = &web6;
    else if (has(c, "blocks.0.att.ln_x.weight"))
        return find_spelling_5(c, out, err);
    return ERR_OK;
}

/* ---- Renaming ---- */

struct tensor *container_scan(const struct container *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->tensors[i].name, name))
            return &c->tensors[i];
    return NULL;
}

enum err_code container_set_name(struct container *c, size_t index, const char *name,
                                 struct err *err)
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

enum err_code container_rename(struct container *c, struct err *err)
{
    const struct spelling *spelling = &blinkdl;
    char name[NAME_ROOM];
    enum err_code code = find_spelling(c, &spelling, err);

    for (size_t i = 0; i < c->count && !code; i++) {
        translate(spelling, c->names[i], name);
        code = container_set_name(c, i, name, err);
    }
    c->spelling = spelling->whose;
    if (!code && spelling == &fla)
        code = config_check(c, err);
    return code ? code : container_turn(c, spelling->outputs_first, err);
}
