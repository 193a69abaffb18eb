/* engine/model.c: from a container to a model whose tensors are all known, checked and named. */
#include "engine/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS_MAX = 1 << 12, SIZE_MAX_MODEL = 1 << 24, NAME_BYTES = 64, HALVINGS_MAX = 60 };

/* ---- Which version is it? Spec section 8: the first match wins. ---- */

static const struct {
    const char *tensor; /* of block 0, is there; NULL: always */
    bool absent;        /* is not there */
    const struct version *version;
} marks[] = {
    {"blocks.0.att.r_k", false, &version_7},
    {"blocks.0.att.time_maa_x", false, &version_6},
    {"blocks.0.att.ln_x.weight", true, &version_4},
    {"blocks.0.att.gate.weight", false, &version_5_2},
    {NULL, true, &version_5_1},
};

#define CONVERTED "a file converted by the ChatRWKV package: use the original"

/* Later designs hold every tensor of their ancestor, would load, and talk nonsense. */
static const struct {
    const char *part, *what;
} refused[] = {
    {".qkv.", "RWKV-7b (an attention beside the recurrence) is not supported"},
    {".ffn.s_emb", "RWKV-7a (DeepEmbed) is not supported"},
    {".ffn.s0", "RWKV-7a (DeepEmbed) is not supported"},
    {".ffn.s1", "RWKV-7a (DeepEmbed) is not supported"},
    {".ffn.s2", "RWKV-7a (DeepEmbed) is not supported"},
    {".ffn.enn.", "RWKV-8 drafts are not supported"},
    {"rosa.", "RWKV-8 drafts (ROSA) are not supported"},
    {".att.q_proj.", "hybrids of RWKV and attention are not supported"},
    {".self_attn.", "hybrids of RWKV and attention, or transformers, are not supported"},
    {".weight_mx", CONVERTED},
    {".weight_rx", CONVERTED},
    {".weight_my", CONVERTED},
    {".weight_ry", CONVERTED},
};

static enum err_code refuse_descendants(const struct container *c, struct err *err)
{
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
        for (size_t i = 0; i < c->count; i++)
            if (strstr(c->tensors[i].name, refused[k].part))
                return container_fail(c, err, "tensor '%s': %s", c->tensors[i].name,
                                      refused[k].what);
    return ERR_OK;
}

static enum err_code find_version(struct model *m, struct err *err)
{
    const struct container *c = m->container;
    enum err_code code = refuse_descendants(c, err);

    if (code)
        return code;
    if (!container_find(c, "blocks.0.ln1.weight"))
        return container_fail(c, err,
                              "no RWKV model: it has '%s', but no tensor 'blocks.0.ln1.weight'",
                              c->tensors[0].name);
    for (size_t i = 0; !m->version; i++)
        if (!marks[i].tensor || !container_find(c, marks[i].tensor) == marks[i].absent)
            m->version = marks[i].version;
    m->gn_eps = m->version->gn_eps;
    if (c->converted && m->version->gn_eps_converted != 0)
        m->gn_eps = m->version->gn_eps_converted;
    return ERR_OK;
}

/* ---- Looking up ---- */

/* Keep a checked tensor's values as float32. */
static enum err_code keep_vector(struct model *m, const struct tensor *tensor, const float **out,
                                 struct err *err)
{
    float *values;

    require(m->vector_count < m->vector_room);
    values = malloc(tensor->values * sizeof *values);
    if (!values)
        return err_set(err, ERR_MEMORY, 0, "model '%s': tensor '%s'", m->container->path,
                       tensor->name);
    m->vectors[m->vector_count++] = values;
    tensor_rows(tensor, 0, tensor->rank == 1 ? 1 : tensor->shape[0], values);
    for (uint64_t i = 0; i < tensor->values; i++)
        if (!isfinite(values[i]))
            return container_fail(m->container, err, "tensor '%s' is not finite at %llu",
                                  tensor->name, (unsigned long long)i);
    m->parameters += tensor->values;
    *out = values;
    return ERR_OK;
}

static bool is_per_head(const struct model *m, const char *name)
{
    const struct tensor *tensor = container_find(m->container, name);

    return tensor && tensor->values == m->heads;
}

/* letter: see struct tensor_plan. */
static enum err_code get_vector(struct model *m, const char *name, char letter, const float **out,
                                struct err *err)
{
    const struct tensor *tensor = NULL;
    uint64_t channels = m->channels, heads[3] = {m->heads, m->head_size, m->head_size};
    unsigned rank = letter == 'S' ? 3 : letter == 'h' && is_per_head(m, name) ? 1 : 2;
    enum err_code code = letter == 'C'
                             ? container_get(m->container, name, 1, &channels, &tensor, err)
                             : container_get(m->container, name, rank, heads, &tensor, err);

    return code ? code : keep_vector(m, tensor, out, err);
}

/* The vector kept last is a number for each head: spread them over the heads' channels. */
static enum err_code spread_over_heads(struct model *m, const float **out, struct err *err)
{
    float **last = &m->vectors[m->vector_count - 1], *values;

    values = malloc(m->channels * sizeof *values);
    if (!values)
        return err_set(err, ERR_MEMORY, 0, "model '%s': numbers of heads", m->container->path);
    for (uint32_t i = 0; i < m->channels; i++)
        values[i] = (*last)[i / m->head_size];
    free(*last);
    *last = values;
    *out = values;
    return ERR_OK;
}

/* By the exponential of f32-1, which every level has alike. name: of the raw tensor. */
static enum err_code make_done(const struct model *m, const char *name, float *values,
                               enum tensor_made made, struct err *err)
{
    m->kernels.exp(values, values, m->channels);
    for (uint32_t i = 0; i < m->channels && made != MADE_EXP; i++)
        values[i] = -values[i];
    if (made == MADE_EXP_MINUS_EXP)
        m->kernels.exp(values, values, m->channels);
    for (uint32_t i = 0; i < m->channels; i++)
        if (!isfinite(values[i]))
            return container_fail(m->container, err,
                                  "tensor '%s': its exponential is not finite at %u", name, i);
    return ERR_OK;
}

/* What our converter writes may have both forms of a decay, where the raw one is not exactly what was made of it. */
static enum err_code accept_raw_too(struct model *m, uint32_t index, const struct tensor_plan *plan,
                                    struct err *err)
{
    char done[NAME_BYTES], name[NAME_BYTES];
    const struct tensor *tensor;

    snprintf(done, sizeof done, "blocks.%u.%s", index, plan->name);
    snprintf(name, sizeof name, "blocks.%u.%s", index, plan->raw);
    if (plan->made == MADE_EXP || !container_find(m->container, name))
        return ERR_OK;
    tensor = container_find(m->container, done);
    return container_get(m->container, name, tensor->rank, tensor->shape, &tensor, err);
}

static enum err_code get_planned_vector(struct model *m, uint32_t index,
                                        const struct tensor_plan *plan, const float **out,
                                        struct err *err)
{
    char name[NAME_BYTES];
    bool raw;
    enum err_code code;

    snprintf(name, sizeof name, "blocks.%u.%s", index, plan->name);
    raw = plan->raw && !container_find(m->container, name);
    if (raw)
        snprintf(name, sizeof name, "blocks.%u.%s", index, plan->raw);
    code = get_vector(m, name, plan->columns, out, err);
    if (!code && plan->columns == 'h' && is_per_head(m, name))
        code = spread_over_heads(m, out, err);
    if (!code && raw)
        code = make_done(m, name, m->vectors[m->vector_count - 1], plan->made, err);
    return code || raw || !plan->raw ? code : accept_raw_too(m, index, plan, err);
}

/* What stands before a norm has been through so many layers. Where activations are halved after every n
 * layers, the norm of x / 2^k with an epsilon is that of x with 4^k of it, to the last bit. */
static float norm_eps(const struct model *m, uint32_t layers)
{
    uint64_t n = m->container->halved_every;

    return ldexpf(1e-5F, n ? 2 * (int)(layers / n) : 0);
}

static enum err_code get_norm(struct model *m, const char *stem, uint32_t layers, struct norm *norm,
                              struct err *err)
{
    char name[NAME_BYTES + 8];
    enum err_code code;

    norm->eps = norm_eps(m, layers);
    snprintf(name, sizeof name, "%s.weight", stem);
    code = get_vector(m, name, 'C', &norm->weight, err);
    if (code)
        return code;
    snprintf(name, sizeof name, "%s.bias", stem);
    return get_vector(m, name, 'C', &norm->bias, err);
}

static enum err_code get_matrix(struct model *m, const char *name, const struct tensor_plan *plan,
                                uint64_t *rank, const struct tensor **out, struct err *err)
{
    const char letters[2] = {plan->rows, plan->columns};
    uint64_t shape[2];
    enum err_code code;

    for (int i = 0; i < 2; i++)
        shape[i] = letters[i] == 'C'   ? m->channels
                   : letters[i] == 'F' ? m->ffn_channels
                   : letters[i] == 'r' ? *rank
                   : letters[i] == 'f' ? *rank / 5
                                       : 0;
    if (plan->columns == 'f' && *rank % 5)
        return container_fail(m->container, err,
                              "tensor '%s': what goes into it is %llu numbers, not five groups",
                              name, (unsigned long long)*rank);
    code = container_get(m->container, name, 2, shape, out, err);
    if (code)
        return code;
    if (plan->rows == 'R')
        *rank = (*out)->shape[0];
    if (*rank > SIZE_MAX_MODEL)
        return container_fail(m->container, err, "tensor '%s' is too large", name);
    m->rank_max = *rank > m->rank_max ? (uint32_t)*rank : m->rank_max;
    m->parameters += (*out)->values;
    return ERR_OK;
}

static bool is_skipped(const struct model *m, uint32_t index, const struct tensor_plan *plan)
{
    char name[NAME_BYTES];

    if (!plan->with)
        return index == 0 && plan->not_first;
    snprintf(name, sizeof name, "blocks.0.%s", plan->with);
    return !container_find(m->container, name);
}

static enum err_code get_layer(struct model *m, uint32_t index, struct err *err)
{
    struct layer *layer = &m->layers[index];
    const float **vector = layer->vectors;
    struct matrix *matrix = layer->matrices;
    char name[NAME_BYTES];
    uint64_t rank = 0;
    enum err_code code;

    snprintf(name, sizeof name, "blocks.%u.ln1", index);
    code = get_norm(m, name, index, &layer->ln1, err);
    snprintf(name, sizeof name, "blocks.%u.ln2", index);
    if (!code)
        code = get_norm(m, name, index, &layer->ln2, err);
    for (const struct tensor_plan *plan = m->version->plans; plan->name && !code; plan++) {
        bool skip = is_skipped(m, index, plan);
        snprintf(name, sizeof name, "blocks.%u.%s", index, plan->name);
        if (plan->rows && !skip)
            code = get_matrix(m, name, plan, &rank, &matrix->tensor, err);
        else if (!skip)
            code = get_planned_vector(m, index, plan, vector, err);
        if (plan->rows)
            matrix++;
        else
            vector++;
    }
    return code;
}

/* ---- Sizes, whole model ---- */

static enum err_code find_sizes(struct model *m, struct err *err)
{
    struct container *c = m->container;
    uint64_t any[2] = {0, 0}, layers = 0, head[2];
    const struct tensor *ffn = NULL;
    char name[NAME_BYTES];
    enum err_code code = container_get(c, "emb.weight", 2, any, &m->emb, err);

    if (code)
        return code;
    head[0] = m->emb->shape[0];
    head[1] = any[1] = m->emb->shape[1];
    do
        snprintf(name, sizeof name, "blocks.%llu.ln1.weight", (unsigned long long)++layers);
    while (container_find(c, name));
    code = container_get(c, "head.weight", 2, head, &m->head, err);
    if (!code)
        code = container_get(c, "blocks.0.ffn.key.weight", 2, any, &ffn, err);
    if (code)
        return code;
    if (head[0] > SIZE_MAX_MODEL || head[1] > SIZE_MAX_MODEL || ffn->shape[0] > SIZE_MAX_MODEL ||
        layers > LAYERS_MAX)
        return container_fail(c, err, "its sizes are beyond what is read here");
    if (c->halved_every && layers / c->halved_every > HALVINGS_MAX)
        return container_fail(c, err,
                              "it says activations are halved after every %llu of %llu layers",
                              (unsigned long long)c->halved_every, (unsigned long long)layers);
    if (c->stated_layers &&
        (c->stated_layers != layers || (c->stated_vocab && c->stated_vocab != head[0]) ||
         c->stated_channels != head[1]))
        return container_fail(
            c, err,
            "the header says %llu layers, %llu channels, %llu tokens; the tensors "
            "say %llu, %llu, %llu",
            (unsigned long long)c->stated_layers, (unsigned long long)c->stated_channels,
            (unsigned long long)c->stated_vocab, (unsigned long long)layers,
            (unsigned long long)head[1], (unsigned long long)head[0]);
    m->vocab = (uint32_t)head[0];
    m->channels = (uint32_t)head[1];
    m->ffn_channels = (uint32_t)ffn->shape[0];
    m->layer_count = (uint32_t)layers;
    return m->version->sizes(m, err);
}

/* Block 0 of version 7 has no use for v0, v1, v2; some files hold them. */
static enum err_code refuse_unused(const struct model *m, struct err *err)
{
    static const char *const allowed[] = {"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"};
    const struct container *c = m->container;

    for (size_t i = 0; i < c->count; i++) {
        bool known = c->tensors[i].used;
        for (size_t k = 0; k < 3 && m->version->major == 7; k++)
            known = known || !strcmp(c->tensors[i].name, allowed[k]);
        if (!known)
            return container_fail(c, err, "tensor '%s' does not belong to %s", c->tensors[i].name,
                                  m->version->name);
    }
    return ERR_OK;
}

static enum err_code find_tensors(struct model *m, struct err *err)
{
    enum err_code code = find_sizes(m, err);

    if (code)
        return code;
    m->layers = calloc(m->layer_count, sizeof *m->layers);
    m->vector_room = (size_t)m->layer_count * (VECTORS_MAX + 4) + 4;
    m->vectors = calloc(m->vector_room, sizeof *m->vectors);
    if (!m->layers || !m->vectors)
        return err_set(err, ERR_MEMORY, 0, "model '%s': %u layers", m->container->path,
                       m->layer_count);
    code = get_norm(m, "blocks.0.ln0", 0, &m->ln0, err);
    if (!code)
        code = get_norm(m, "ln_out", m->layer_count, &m->ln_out, err);
    for (uint32_t i = 0; i < m->layer_count && !code; i++)
        code = get_layer(m, i, err);
    return code ? code : refuse_unused(m, err);
}

static void count_work(struct model *m)
{
    m->layer_floats = m->version->layer_floats(m);
    for (uint32_t layer = 0; layer < m->layer_count; layer++)
        for (int i = 0; i < MATRICES_MAX; i++) {
            const struct tensor *tensor = m->layers[layer].matrices[i].tensor;
            m->layers_flops += tensor ? 2 * tensor->values : 0;
        }
    m->head_flops = 2 * m->head->values;
    m->parameters += m->emb->values + m->head->values;
}

enum err_code model_open(struct model **out, const char *path, const char *initial_state,
                         struct err *err)
{
    struct model *m = calloc(1, sizeof *m);
    enum err_code code;

    if (!m)
        return err_set(err, ERR_MEMORY, 0, "model '%s'", path);
    code = kernels_init(&m->kernels, "ref", "ref", err);
    if (!code)
        code = container_open(&m->container, path, err);
    if (!code && initial_state)
        code = container_take_state(m->container, initial_state, err);
    if (!code)
        code = find_version(m, err);
    if (!code && m->container->stated_gn_eps > 0 && m->gn_eps > 0)
        m->gn_eps = m->container->stated_gn_eps;
    if (!code)
        code = find_tensors(m, err);
    if (code)
        goto done;
    count_work(m);
    *out = m;
    m = NULL;
done:
    model_close(&m);
    return code;
}

void model_close(struct model **model)
{
    struct model *m = *model;

    *model = NULL;
    if (!m)
        return;
    for (uint32_t i = 0; i < m->layer_count && m->layers; i++)
        for (int k = 0; k < MATRICES_MAX; k++)
            product_close(&m->layers[i].matrices[k].product);
    for (size_t i = 0; i < m->head_tile_count; i++)
        product_close(&m->head_tiles[i]);
    for (size_t i = 0; i < m->vector_count; i++)
        free(m->vectors[i]);
    free(m->head_tiles);
    free(m->vectors);
    free(m->layers);
    container_close(&m->container);
    free(m);
}
