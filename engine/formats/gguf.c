/* engine/formats/gguf.c: GGUF files, versions 2 and 3, of architectures rwkv6 and rwkv7.
 *
 *     "GGUF" | u32 version | u64 tensors | u64 pairs
 *     pairs    string key | u32 type | value
 *     tensors  string name | u32 axes 1..4 | u64 ne[axes], fastest first | u32 type | u64 offset
 *     data     from the next multiple of general.alignment (32); offsets are multiples of it too
 *
 * Which tensor is which is for names.c to say. What the keys state is checked against the tensors here,
 * except for layers, channels and tokens, which every container's model is checked for (model.c). */
#include "engine/formats/gguf_pairs.h"

#include <math.h>
#include <stdlib.h>

enum { NAME_BYTES_MAX = 64, ALIGNMENT_DEFAULT = 32, ALIGNMENT_MAX = 1 << 20 };

static const struct {
    uint32_t number;
    enum dtype dtype;
} dtype_numbers[] = {
    {0, DTYPE_F32},   {1, DTYPE_F16},   {2, DTYPE_Q4_0}, {3, DTYPE_Q4_1},
    {6, DTYPE_Q5_0},  {7, DTYPE_Q5_1},  {8, DTYPE_Q8_0}, {12, DTYPE_Q4_K},
    {13, DTYPE_Q5_K}, {14, DTYPE_Q6_K}, {28, DTYPE_F64}, {30, DTYPE_BF16},
};

/* Sizes that a key states and the first axis of a tensor of each layer then has, so many times. */
static const struct {
    unsigned version;
    const char *key, *tensor;
    unsigned times;
} sizes[] = {
    {6, "ARCH.feed_forward_length", "channel_mix_key.weight", 1},
    {6, "ARCH.time_mix_extra_dim", "time_mix_w1.weight", 5},
    {6, "ARCH.time_decay_extra_dim", "time_mix_decay_w1.weight", 1},
    {7, "ARCH.feed_forward_length", "channel_mix_key.weight", 1},
    {7, "ARCH.attention.decay_lora_rank", "time_mix_w1.weight", 1},
    {7, "ARCH.attention.iclr_lora_rank", "time_mix_a1.weight", 1},
    {7, "ARCH.attention.value_residual_mix_lora_rank", "time_mix_v1.weight", 1},
    {7, "ARCH.attention.gate_lora_rank", "time_mix_g1.weight", 1},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

struct gguf {
    struct container *c;
    struct reader r;
    struct gguf_pairs pairs;
    uint64_t tensor_count, alignment;
    unsigned version;      /* of RWKV: 6 or 7 */
    uint64_t sizes[SIZES]; /* 0: not stated, or of the other version */
};

/* ---- What the pairs say ---- */

static enum err_code check_architecture(struct gguf *g, struct err *err)
{
    struct view name = gguf_pairs_text(&g->pairs, "general.architecture");

    if (gguf_is_text(name, "rwkv6"))
        g->version = 6;
    else if (gguf_is_text(name, "rwkv7"))
        g->version = 7;
    g->pairs.architecture = g->version == 6 ? "rwkv6" : "rwkv7";
    if (g->version)
        return ERR_OK;
    if (gguf_is_text(name, "rwkv6qwen2") || gguf_is_text(name, "arwkv7"))
        return container_fail(g->c, err,
                              "architecture '%.*s' is a transformer with RWKV in place of its "
                              "attention, not supported: rwkv6 and rwkv7 are read",
                              gguf_shown(name), (const char *)name.data);
    return container_fail(g->c, err,
                          "architecture '%.*s' is not supported: rwkv6 and rwkv7 are read",
                          gguf_shown(name), (const char *)name.data);
}

/* What would change the arithmetic has only one value here. */
static enum err_code check_fixed(struct gguf *g, struct err *err)
{
    const struct gguf_pair *epsilon =
        gguf_pairs_find(&g->pairs, "ARCH.attention.layer_norm_epsilon");
    uint64_t shifts = 2, files = 1;
    enum err_code code = gguf_pairs_number(&g->pairs, "ARCH.token_shift_count", &shifts, err);
    float value;

    if (!code)
        code = gguf_pairs_number(&g->pairs, "split.count", &files, err);
    if (code)
        return code;
    if (files > 1)
        return container_fail(g->c, err, "it is one of %llu files of a model: join them first",
                              (unsigned long long)files);
    if (shifts != 2)
        return container_fail(g->c, err, "it has %llu token shifts a layer, RWKV has two",
                              (unsigned long long)shifts);
    if (!epsilon)
        return ERR_OK;
    if (epsilon->type != GGUF_F32)
        return container_fail(g->c, err, "its epsilon of layer norms is no f32");
    memcpy(&value, epsilon->value.data, sizeof value);
    if (!(fabsf(value - 1e-5f) < 1e-8f))
        return container_fail(g->c, err, "its layer norms have an epsilon of %g, RWKV has 1e-05",
                              (double)value);
    return ERR_OK;
}

static enum err_code read_numbers(struct gguf *g, struct err *err)
{
    struct container *c = g->c;
    const struct {
        const char *key;
        uint64_t *out;
    } numbers[] = {{"general.alignment", &g->alignment},
                   {"ARCH.block_count", &c->stated_layers},
                   {"ARCH.embedding_length", &c->stated_channels},
                   {"ARCH.wkv.head_size", &c->stated_head_size},
                   {"ARCH.rescale_every_n_layers", &c->rescale_every}};
    enum err_code code = ERR_OK;

    g->alignment = ALIGNMENT_DEFAULT;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !code; i++)
        code = gguf_pairs_number(&g->pairs, numbers[i].key, numbers[i].out, err);
    for (size_t i = 0; i < SIZES && !code; i++)
        if (sizes[i].version == g->version)
            code = gguf_pairs_number(&g->pairs, sizes[i].key, &g->sizes[i], err);
    return code;
}

static enum err_code check_numbers(struct gguf *g, struct err *err)
{
    struct container *c = g->c;
    uint64_t alignment = g->alignment;

    if (!c->stated_layers || !c->stated_channels || !c->stated_head_size)
        return container_fail(c, err,
                              "it does not say block_count, embedding_length or wkv.head_size");
    if (c->stated_channels % c->stated_head_size)
        return container_fail(c, err, "heads of %llu do not divide its %llu channels",
                              (unsigned long long)c->stated_head_size,
                              (unsigned long long)c->stated_channels);
    c->halved_every = c->rescale_every;
    if (c->rescale_every && g->version != 6)
        return container_fail(c, err, "it says it is rescaled, which only version 6 can be");
    if (alignment == 0 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return container_fail(c, err, "an alignment of %llu, which is no power of two up to %d",
                              (unsigned long long)alignment, ALIGNMENT_MAX);
    return ERR_OK;
}

/* ---- The vocabulary ---- */

static enum err_code read_vocabulary(struct gguf *g, struct err *err)
{
    struct container_vocabulary *v = &g->c->vocabulary;
    const struct gguf_pair *texts = gguf_pairs_find(&g->pairs, "tokenizer.ggml.tokens");
    const struct gguf_pair *types = gguf_pairs_find(&g->pairs, "tokenizer.ggml.token_type");
    uint64_t type_count = 0;

    if (!gguf_is_text(gguf_pairs_text(&g->pairs, "tokenizer.ggml.model"), "rwkv"))
        return ERR_OK;
    if (!texts)
        return ERR_OK;
    if (!gguf_array_of(texts, GGUF_STRING, &v->count, &v->texts) || v->count == 0)
        return container_fail(g->c, err, "key 'tokenizer.ggml.tokens' is no list of texts");
    if (types && !gguf_array_of(types, GGUF_I32, &type_count, &v->types) &&
        !gguf_array_of(types, GGUF_U32, &type_count, &v->types))
        return container_fail(g->c, err, "key 'tokenizer.ggml.token_type' is no list of i32");
    if (types && type_count != v->count)
        return container_fail(g->c, err, "it has %llu tokens, but types of %llu",
                              (unsigned long long)v->count, (unsigned long long)type_count);
    g->c->stated_vocab = v->count;
    return ERR_OK;
}

/* ---- Tensors ---- */

static bool dtype_of(uint32_t number, enum dtype *out)
{
    for (size_t i = 0; i < sizeof dtype_numbers / sizeof *dtype_numbers; i++) {
        if (dtype_numbers[i].number == number) {
            *out = dtype_numbers[i].dtype;
            return true;
        }
    }
    return false;
}

/* A tensor's header. */
struct info {
    struct view name;
    enum dtype dtype;
    unsigned rank;
    uint64_t shape[TENSOR_RANK_MAX];
    uint64_t offset; /* from the start of the data */
};

static enum err_code truncated(const struct gguf *g, size_t index, struct err *err)
{
    return container_fail(g->c, err,
                          "truncated or damaged: %zu bytes, which end in the header of tensor %zu",
                          g->c->bytes, index);
}

static enum err_code read_info(struct gguf *g, size_t index, struct info *t, struct err *err)
{
    uint32_t number;

    t->name = gguf_read_text(&g->r);
    t->rank = read_u32(&g->r);
    if (g->r.short_read)
        return truncated(g, index, err);
    if (t->name.bytes > NAME_BYTES_MAX)
        return container_fail(g->c, err, "tensor %zu says its name is %zu bytes long", index,
                              t->name.bytes);
    if (t->rank < 1 || t->rank > TENSOR_RANK_MAX)
        return container_fail(g->c, err, "tensor '%.*s' says it has %u axes", gguf_shown(t->name),
                              (const char *)t->name.data, t->rank);
    for (unsigned i = t->rank; i-- > 0;)
        t->shape[i] = read_u64(&g->r);
    number = read_u32(&g->r);
    t->offset = read_u64(&g->r);
    if (g->r.short_read)
        return truncated(g, index, err);
    if (!dtype_of(number, &t->dtype))
        return container_fail(g->c, err,
                              "tensor '%.*s' is of ggml type %u; F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
                              "Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are read",
                              gguf_shown(t->name), (const char *)t->name.data, number);
    return ERR_OK;
}

/* Layer 0 of version 7 holds copies of a0 a1 a2 as v0 v1 v2, which nobody reads. */
static bool is_unused(const struct gguf *g, struct view name)
{
    return g->version == 7 && (gguf_is_text(name, "blk.0.time_mix_v0.weight") ||
                               gguf_is_text(name, "blk.0.time_mix_v1.weight") ||
                               gguf_is_text(name, "blk.0.time_mix_v2.weight"));
}

/* What the keys say of a tensor. */
static enum err_code check_size(const struct gguf *g, const struct tensor *tensor, struct err *err)
{
    const char *rest = strncmp(tensor->name, "blk.", 4) ? "" : tensor->name + 4;

    rest += strspn(rest, "0123456789");
    for (size_t i = 0; i < SIZES; i++)
        if (g->sizes[i] && *rest == '.' && !strcmp(rest + 1, sizes[i].tensor) &&
            (tensor->shape[0] % sizes[i].times || tensor->shape[0] / sizes[i].times != g->sizes[i]))
            return container_fail(g->c, err, "it says %s is %llu, but '%s' has %llu rows",
                                  sizes[i].key + strlen("ARCH."), (unsigned long long)g->sizes[i],
                                  tensor->name, (unsigned long long)tensor->shape[0]);
    return ERR_OK;
}

static enum err_code add_tensor(struct gguf *g, const struct info *t, uint64_t start,
                                struct err *err)
{
    struct container *c = g->c;
    struct tensor *tensor = NULL;
    enum err_code code = container_add(c, (const char *)t->name.data, t->name.bytes, t->dtype,
                                       t->rank, t->shape, &tensor, err);

    if (code)
        return code;
    if (t->offset % g->alignment)
        return container_fail(c, err, "tensor '%s' lies at %llu, which is no multiple of %llu",
                              tensor->name, (unsigned long long)t->offset,
                              (unsigned long long)g->alignment);
    if (start > c->bytes || t->offset > c->bytes - start ||
        tensor->bytes > c->bytes - start - t->offset)
        return container_fail(c, err,
                              "truncated: tensor '%s' takes %llu bytes at %llu of the data, the "
                              "file has %zu",
                              tensor->name, (unsigned long long)tensor->bytes,
                              (unsigned long long)t->offset, c->bytes);
    tensor->data = c->map + start + t->offset;
    return check_size(g, tensor, err);
}

static enum err_code read_tensors(struct gguf *g, struct err *err)
{
    struct reader infos = g->r;
    struct info t = {0};
    enum err_code code = ERR_OK;
    uint64_t start;

    /* Twice: where the data starts is known behind the last one. */
    for (size_t i = 0; i < g->tensor_count && !code; i++)
        code = read_info(g, i, &t, err);
    start = (uint64_t)(g->r.at - g->c->map) + g->alignment - 1;
    start -= start % g->alignment;
    g->r = infos;
    for (size_t i = 0; i < g->tensor_count && !code; i++) {
        code = read_info(g, i, &t, err);
        if (!code && !is_unused(g, t.name))
            code = add_tensor(g, &t, start, err);
    }
    return code;
}

/* There may be gaps: an alignment's, and where a tensor lies that nobody reads. */
static enum err_code check_overlap(const struct container *c, struct err *err)
{
    const struct tensor **order = NULL;
    enum err_code code = container_by_place(c, 0, &order, err);

    for (size_t i = 1; i < c->count && !code; i++)
        if (order[i]->data < order[i - 1]->data + order[i - 1]->bytes)
            code = container_fail(c, err, "tensor '%s' overlaps '%s'", order[i]->name,
                                  order[i - 1]->name);
    free(order);
    return code;
}

/* Names of both versions look alike: that it is the version it says, and in heads as large as it says. */
static enum err_code check_version(struct gguf *g, struct err *err)
{
    const char *name =
        g->version == 6 ? "blk.0.time_mix_first.weight" : "blk.0.time_mix_r_k.weight";
    const struct tensor *tensor = container_scan(g->c, name);
    uint64_t size = g->c->stated_head_size;

    if (!tensor)
        return container_fail(g->c, err, "it says it is rwkv%u, but has no tensor '%s'", g->version,
                              name);
    if (tensor->values != g->c->stated_channels ||
        (tensor->rank > 1 && tensor->shape[tensor->rank - 1] != size))
        return container_fail(
            g->c, err, "it says it has %llu channels in heads of %llu, but '%s' is not so",
            (unsigned long long)g->c->stated_channels, (unsigned long long)size, name);
    return ERR_OK;
}

/* ---- The file ---- */

static enum err_code read_header(struct gguf *g, uint64_t *pairs, struct err *err)
{
    uint32_t version;

    read_u32(&g->r);
    version = read_u32(&g->r);
    g->tensor_count = read_u64(&g->r);
    *pairs = read_u64(&g->r);
    if (g->r.short_read)
        return container_fail(g->c, err, "truncated: %zu bytes, the header of a GGUF file has 24",
                              g->c->bytes);
    if (version && !(version & 0xFFFF))
        return container_fail(g->c, err,
                              "a big-endian GGUF file, not supported: convert it to little-endian");
    if (version == 1)
        return container_fail(g->c, err, "GGUF version 1, not supported: convert the model anew");
    if (version != 2 && version != 3)
        return container_fail(g->c, err, "GGUF version %u, 2 and 3 are known", version);
    if (g->tensor_count > TENSORS_MAX)
        return container_fail(g->c, err, "it says it has %llu tensors, %d are possible",
                              (unsigned long long)g->tensor_count, TENSORS_MAX);
    return ERR_OK;
}

typedef enum err_code step_fn(struct gguf *g, struct err *err);

enum err_code gguf_read(struct container *c, struct err *err)
{
    static step_fn *const steps[] = {check_architecture, check_fixed,  read_numbers, check_numbers,
                                     read_vocabulary,    read_tensors, check_version};
    struct gguf g = {.c = c, .r = reader_of(c->map, c->bytes), .pairs = {.c = c}};
    uint64_t pairs = 0;
    enum err_code code = read_header(&g, &pairs, err);

    if (!code)
        code = gguf_pairs_read(&g.pairs, &g.r, pairs, err);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !code; i++)
        code = steps[i](&g, err);
    if (!code)
        code = check_overlap(c, err);
    gguf_pairs_release(&g.pairs);
    return code;
}
