/* engine/rwkv7.c: RWKV-7, spec section 5.
 *
 * Buffers: eight of (rows, channels) are enough, since each mixed input dies with its product:
 *
 *     mix[0] x_r -> decay w       mix[3] x_v -> value low-rank -> -kk
 *     mix[1] x_w -> k             mix[4] x_a -> kk a
 *     mix[2] x_k -> v             mix[5] x_g -> gate g
 *     mix[6] r                    norm   LN1 -> y
 *
 * State of a layer: ffn_x [C] | att_x [C] | S [heads][value][key]. */
#include "engine/model.h"

enum vector { X_R, X_W, X_K, X_V, X_A, X_G, W0, A0, V0, K_K, K_A, R_K, LN_X, LN_X_BIAS, FFN_X_K };
enum matrix_index { W1, W2, A1, A2, V1, V2, G1, G2, R, K, V, O, FFN_K, FFN_V };

/* Vectors and matrices in the order of the two enums above. */
static const struct tensor_plan plans[] = {
    {"att.x_r", 0, 'C', false},
    {"att.x_w", 0, 'C', false},
    {"att.x_k", 0, 'C', false},
    {"att.x_v", 0, 'C', false},
    {"att.x_a", 0, 'C', false},
    {"att.x_g", 0, 'C', false},
    {"att.w0", 0, 'C', false},
    {"att.a0", 0, 'C', false},
    {"att.v0", 0, 'C', true},
    {"att.k_k", 0, 'C', false},
    {"att.k_a", 0, 'C', false},
    {"att.r_k", 0, 'H', false},
    {"att.ln_x.weight", 0, 'C', false},
    {"att.ln_x.bias", 0, 'C', false},
    {"ffn.x_k", 0, 'C', false},
    {"att.w1", 'R', 'C', false},
    {"att.w2", 'C', 'r', false},
    {"att.a1", 'R', 'C', false},
    {"att.a2", 'C', 'r', false},
    {"att.v1", 'R', 'C', true},
    {"att.v2", 'C', 'r', true},
    {"att.g1", 'R', 'C', false},
    {"att.g2", 'C', 'r', false},
    {"att.receptance.weight", 'C', 'C', false},
    {"att.key.weight", 'C', 'C', false},
    {"att.value.weight", 'C', 'C', false},
    {"att.output.weight", 'C', 'C', false},
    {"ffn.key.weight", 'F', 'C', false},
    {"ffn.value.weight", 'C', 'F', false},
    {NULL, 0, 0, false},
};

/* The head size is the last axis of r_k: squeezing drops a first axis of length 1, never the last. */
static enum err_code sizes(struct model *model, struct err *err)
{
    const struct tensor *r_k = container_find(model->container, "blocks.0.att.r_k");
    uint64_t size = r_k->shape[r_k->rank - 1];

    if (size > KERNELS_HEAD_MAX || model->channels % size)
        return container_fail(model->container, err,
                              "tensor 'blocks.0.att.r_k' gives heads of %llu, which do not divide "
                              "%u channels or are over %d",
                              (unsigned long long)size, model->channels, KERNELS_HEAD_MAX);
    model->head_size = (uint32_t)size;
    model->heads = model->channels / model->head_size;
    return ERR_OK;
}

static size_t layer_floats(const struct model *model)
{
    return 2 * (size_t)model->channels + (size_t)model->channels * model->head_size;
}

static void layer_origin(const struct model *model, float *state)
{
    for (size_t i = 0; i < layer_floats(model); i++)
        state[i] = 0;
}

/* y = second (f (first x)), through the low rank. */
static void low_rank(const struct layer *layer, enum matrix_index first, map_fn *f,
                     struct batch *batch, struct scratch *scratch, const float *x, float *y)
{
    const struct matrix *matrix = &layer->matrices[first];

    batch_product(matrix, batch, x, scratch->wide);
    if (f)
        f(scratch->wide, scratch->wide, batch->rows * product_outputs(matrix->product));
    batch_product(matrix + 1, batch, scratch->wide, y);
}

static void scan(const struct model *model, uint32_t layer, const struct batch *batch,
                 const struct wkv7 *rows)
{
    size_t channels = model->channels, n = model->head_size;

    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        float *S = segment_layer(model, segment, layer) + 2 * channels;
        for (size_t head = 0; head < model->heads && segment->count; head++) {
            size_t at = segment->first * channels + head * n;
            struct wkv7 one = {.S = S + head * n * n,
                               .y = rows->y + at,
                               .r = rows->r + at,
                               .w = rows->w + at,
                               .k = rows->k + at,
                               .v = rows->v + at,
                               .a = rows->a + at,
                               .b = rows->b + at,
                               .stride = channels};
            model->kernels.wkv7(&one, segment->count, n);
        }
    }
}

static void time_mix(const struct model *model, uint32_t index, struct batch *batch,
                     struct scratch *scratch)
{
    const struct kernels *kernels = &model->kernels;
    const struct layer *layer = &model->layers[index];
    const float *const *vectors = layer->vectors;
    size_t rows = batch->rows, channels = model->channels;
    float **mix = scratch->mix;
    float *r = mix[6], *w = mix[0], *k = mix[1], *y = scratch->norm;
    float *v = index == 0 ? batch->v_first : mix[2];

    batch_norm_shift(model, &layer->ln1, batch, scratch, kernels->shift7, vectors + X_R, 6, index,
                     channels);
    batch_product(&layer->matrices[R], batch, mix[0], r);
    low_rank(layer, W1, kernels->tanh, batch, scratch, mix[1], w);
    kernels->decay7(w, vectors[W0], rows, channels);
    batch_product(&layer->matrices[K], batch, mix[2], k);
    batch_product(&layer->matrices[V], batch, mix[3], v);
    if (index > 0) {
        batch_product(&layer->matrices[V1], batch, mix[3], scratch->wide);
        batch_product(&layer->matrices[V2], batch, scratch->wide, mix[3]);
        kernels->value7(v, batch->v_first, mix[3], vectors[V0], rows, channels);
    }
    low_rank(layer, A1, NULL, batch, scratch, mix[4], mix[4]);
    low_rank(layer, G1, kernels->sigmoid, batch, scratch, mix[5], mix[5]);
    kernels->key7(&(struct key7){.k = k,
                                 .kk_a = mix[4],
                                 .minus_kk = mix[3],
                                 .a0 = vectors[A0],
                                 .k_k = vectors[K_K],
                                 .k_a = vectors[K_A]},
                  rows, model->heads, model->head_size);
    scan(model, index, batch,
         &(struct wkv7){.y = y, .r = r, .w = w, .k = k, .v = v, .a = mix[3], .b = mix[4]});
    kernels->output7(&(struct output7){.y = y,
                                       .r = r,
                                       .k = k,
                                       .v = v,
                                       .g = mix[5],
                                       .r_k = vectors[R_K],
                                       .weight = vectors[LN_X],
                                       .bias = vectors[LN_X_BIAS],
                                       .eps = model->gn_eps},
                     rows, model->heads, model->head_size);
    batch_product(&layer->matrices[O], batch, y, batch->delta);
    batch->has_delta = true;
}

static void channel_mix(const struct model *model, uint32_t index, struct batch *batch,
                        struct scratch *scratch)
{
    const struct layer *layer = &model->layers[index];

    batch_norm_shift(model, &layer->ln2, batch, scratch, model->kernels.shift7,
                     layer->vectors + FFN_X_K, 1, index, 0);
    batch_product(&layer->matrices[FFN_K], batch, scratch->mix[0], scratch->wide);
    model->kernels.relu2(scratch->wide, scratch->wide, batch->rows * (size_t)model->ffn_channels);
    batch_product(&layer->matrices[FFN_V], batch, scratch->wide, batch->delta);
    batch->has_delta = true;
}

static void forward(const struct model *model, uint32_t layer, struct batch *batch,
                    struct scratch *scratch)
{
    time_mix(model, layer, batch, scratch);
    channel_mix(model, layer, batch, scratch);
}

const struct version version_7 = {
    .major = 7,
    .minor = 0,
    .name = "RWKV-7",
    .plans = plans,
    .gn_eps = 64e-5F,
    .sizes = sizes,
    .layer_floats = layer_floats,
    .layer_origin = layer_origin,
    .forward = forward,
};
