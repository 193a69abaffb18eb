/* weights.c: the model of a training as a safetensors file in BlinkDL's names, and back. */
#include "engine/formats/write.h"
#include "engine/tokenizer/vocabulary.h"
#include "engine/train/inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Writing. ---- */

/* A tensor as write.h asks for it. */
struct source {
    struct net_tensor tensor;
    const float *data;
    uint32_t head_size;
};

static void rows_plain(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *s = self;
    size_t width = s->tensor.columns;

    memcpy(out, s->data + first * width, count * width * sizeof *out);
}

/* r_k is [heads][head size] in files. */
static void rows_heads(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *s = self;

    memcpy(out, s->data + first * s->head_size, count * s->head_size * sizeof *out);
}

/* [inputs][outputs] in files. */
static void rows_turned(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *s = self;

    for (uint64_t row = first; row < first + count; row++)
        for (size_t i = 0; i < s->tensor.rows; i++)
            *out++ = s->data[i * s->tensor.columns + row];
}

/* [heads][head size][head size], as the state itself: a row for each value channel. */
static void rows_states(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *s = self;
    size_t square = (size_t)s->head_size * s->head_size;

    memcpy(out, s->data + first * square, count * square * sizeof *out);
}

static bool has_three_axes(const struct net_tensor *t)
{
    return t->is_layer && !t->matrix && t->which >= X_R && t->which <= K_A;
}

static void plan_tensor(struct write_tensor *plan, const struct source *s)
{
    const struct net_tensor *t = &s->tensor;

    /* Vectors are a hundredth of the file, and decays live in their last digits. */
    *plan = (struct write_tensor){.name = t->name,
                                  .dtype = t->matrix ? DTYPE_BF16 : DTYPE_F32,
                                  .rows = rows_plain,
                                  .self = s};
    if (t->is_layer && t->which == TIME_STATE) {
        plan->dtype = DTYPE_F32;
        plan->rank = 3;
        plan->shape[0] = t->rows / s->head_size;
        plan->shape[1] = plan->shape[2] = s->head_size;
        plan->rows = rows_states;
    } else if (t->is_layer && t->which == R_K) {
        plan->rank = 2;
        plan->shape[0] = t->columns / s->head_size;
        plan->shape[1] = s->head_size;
        plan->rows = rows_heads;
    } else if (has_three_axes(t) || (t->is_layer && t->which == FFN_X_K)) {
        plan->rank = 3;
        plan->shape[0] = plan->shape[1] = 1;
        plan->shape[2] = t->columns;
    } else if (!t->matrix) {
        plan->rank = 1;
        plan->shape[0] = t->columns;
    } else {
        plan->rank = 2;
        plan->shape[0] = t->low_rank ? t->columns : t->rows;
        plan->shape[1] = t->low_rank ? t->rows : t->columns;
        plan->rows = t->low_rank ? rows_turned : rows_plain;
    }
}

enum err_code weights_write(const struct train *t, const float *parameters, struct err *err)
{
    const size_t most = GLOBAL_TENSORS + (size_t)t->options.shape.layers * LAYER_TENSORS;
    struct write_tensor *tensors = calloc(most, sizeof *tensors);
    struct source *sources = calloc(most, sizeof *sources);
    struct write_text texts[2];
    struct write_plan plan = {.tensors = tensors, .texts = texts};
    struct write_report report;
    struct net_tensor tensor;
    char *vocabulary = NULL;
    enum err_code code = ERR_OK;

    if (!tensors || !sources) {
        free(tensors);
        free(sources);
        return err_set(err, ERR_MEMORY, 0, "the model");
    }
    if (!strcmp(tokenizer_name(t->tokenizer), "world") && !t->options.state_only)
        code = world_text(t->tokenizer, &vocabulary, err);
    for (size_t i = 0; !code && net_tensor(&t->options.shape, &t->layout, i, &tensor); i++) {
        struct source *s = &sources[plan.count];
        if (tensor.first < t->first)
            continue;
        *s = (struct source){tensor, parameters + tensor.first, t->options.shape.head_size};
        plan_tensor(&tensors[plan.count++], s);
    }
    if (vocabulary)
        texts[plan.text_count++] = (struct write_text){"riverrun.vocabulary", vocabulary};
    if (t->weights)
        texts[plan.text_count++] = (struct write_text){"riverrun.weights", t->weights};
    if (!code)
        code = safetensors_write(t->output, &plan, &report, err);
    free(vocabulary);
    free(tensors);
    free(sources);
    return code;
}

/* ---- Reading. ---- */

static uint32_t axis(const struct container *c, const char *name, unsigned from_end)
{
    const struct tensor *t = container_find(c, name);

    return t && t->rank > from_end && t->shape[t->rank - 1 - from_end] <= UINT32_MAX
               ? (uint32_t)t->shape[t->rank - 1 - from_end]
               : 0;
}

enum err_code weights_shape(const char *path, struct net_shape *shape, struct err *err)
{
    struct container *c = NULL;
    char name[64];
    enum err_code code = container_open(&c, path, err);

    if (code)
        return code;
    if (!container_find(c, "blocks.0.att.r_k")) {
        code = container_fail(c, err, "only RWKV-7 is trained");
    } else {
        *shape = (struct net_shape){.channels = axis(c, "emb.weight", 0),
                                    .vocab = axis(c, "emb.weight", 1),
                                    .head_size = axis(c, "blocks.0.att.r_k", 0),
                                    .ffn = axis(c, "blocks.0.ffn.key.weight", 1),
                                    .rank_w = axis(c, "blocks.0.att.w1", 1),
                                    .rank_a = axis(c, "blocks.0.att.a1", 1),
                                    .rank_v = axis(c, "blocks.1.att.v1", 1),
                                    .rank_g = axis(c, "blocks.0.att.g1", 1)};
        shape->time_state = container_find(c, "blocks.0.att.time_state") != NULL;
        if (!shape->rank_v) /* a single layer has none */
            shape->rank_v = NET_MULTIPLE;
        do
            snprintf(name, sizeof name, "blocks.%u.ln1.weight", shape->layers);
        while (container_find(c, name) && ++shape->layers <= NET_LAYERS_MAX);
    }
    container_close(&c);
    return code;
}

/* A descendant of RWKV-7 has all its tensors and more; to train it without them would be to break it. */
static enum err_code check_known(const struct container *c, struct err *err)
{
    for (size_t i = 0; i < c->count; i++)
        if (!c->tensors[i].used && strncmp(c->tensors[i].name, "blocks.0.att.v", 14) != 0)
            return container_fail(c, err, "tensor '%.60s' is not one that can be trained",
                                  c->tensors[i].name);
    return ERR_OK;
}

enum err_code weights_read(const char *path, const struct net_shape *shape,
                           const struct layout *layout, float *parameters, struct err *err)
{
    struct container *c = NULL;
    struct net_tensor tensor;
    enum err_code code = container_open(&c, path, err);

    for (size_t i = 0; !code && net_tensor(shape, layout, i, &tensor); i++) {
        const uint32_t heads = shape->channels / shape->head_size, n = shape->head_size;
        uint64_t axes[3] = {tensor.rows, tensor.columns};
        const struct tensor *t;
        if (tensor.is_layer && tensor.which == TIME_STATE &&
            !container_find(c, "blocks.0.att.time_state")) {
            memset(parameters + tensor.first, 0,
                   (size_t)tensor.rows * tensor.columns * sizeof *parameters);
            continue;
        }
        if (tensor.is_layer && tensor.which == TIME_STATE) {
            code = container_get(c, tensor.name, 3, (uint64_t[]){heads, n, n}, &t, err);
        } else if (tensor.is_layer && tensor.which == R_K) {
            code = container_get(c, tensor.name, 2, (uint64_t[]){heads, n}, &t, err);
        } else {
            code = tensor.matrix ? container_get(c, tensor.name, 2, axes, &t, err)
                                 : container_get(c, tensor.name, 1, axes + 1, &t, err);
        }
        if (code)
            break;
        tensor_rows(t, 0, t->rank > 1 ? t->shape[0] : 1, parameters + tensor.first);
        for (size_t at = 0; !code && at < (size_t)tensor.rows * tensor.columns; at++)
            if (!isfinite(parameters[tensor.first + at]))
                code = container_fail(c, err, "tensor '%.60s' has weights that are not finite",
                                      tensor.name);
    }
    if (!code)
        code = check_known(c, err);
    container_close(&c);
    return code;
}
