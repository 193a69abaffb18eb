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

enum vector {
    X_R,
    X_W,
    X_K,
    X_V,
    X_A,
    X_G,
    W0,
    A0,
    V0,
    K_K,
    K_A,
    R_K,
    LN_X,
    LN_X_BIAS,
    FFN_X_K,
    STATE
};
enum matrix_index { W1, W2, A1, A2, V1, V2, G1, G2, R, K, V, O, FFN_K, FFN_V };

/* Vectors and matrices in the order of the two enums above. */
static const struct tensor_plan plans[] = {
    {.name = "att.x_r", .columns = 'C'},
    {.name = "att.x_w", .columns = 'C'},
    {.name = "att.x_k", .columns = 'C'},
    {.name = "att.x_v", .columns = 'C'},
    {.name = "att.x_a", .columns = 'C'},
    {.name = "att.x_g", .columns = 'C'},
    {.name = "att.w0", .columns = 'C'},
    {.name = "att.a0", .columns = 'C'},
    {.name = "att.v0", .columns = 'C', .not_first = true},
    {.name = "att.k_k", .columns = 'C'},
    {.name = "att.k_a", .columns = 'C'},
    {.name = "att.r_k", .columns = 'H'},
    {.name = "att.ln_x.weight", .columns = 'C'},
    {.name = "att.ln_x.bias", .columns = 'C'},
    {.name = "ffn.x_k", .columns = 'C'},
    {.name = "att.time_state", .columns = 'S', .with = "att.time_state"},
    {.name = "att.w1", .rows = 'R', .columns = 'C'},
    {.name = "att.w2", .rows = 'C', .columns = 'r'},
    {.name = "att.a1", .rows = 'R', .columns = 'C'},
    {.name = "att.a2", .rows = 'C', .columns = 'r'},
    {.name = "att.v1", .rows = 'R', .columns = 'C', .not_first = true},
    {.name = "att.v2", .rows = 'C', .columns = 'r', .not_first = true},
    {.name = "att.g1", .rows = 'R', .columns = 'C'},
    {.name = "att.g2", .rows = 'C', .columns = 'r'},
    {.name = "att.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.key.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.value.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.output.weight", .rows = 'C', .columns = 'C'},
    {.name = "ffn.key.weight", .rows = 'F', .columns = 'C'},
    {.name = "ffn.value.weight", .rows = 'C', .columns = 'F'},
    {.name = NULL},
};

static enum err_code sizes(struct model *model, struct err *err)
{
    static const char *const tell[] = {"att.r_k", NULL};

    return heads_sizes(model, tell, err);
}

/* A trained state is kept as ours is, [value][key]. */
static void layer_origin(const struct model *model, uint32_t layer, float *state)
{
    heads_origin(model, model->layers[layer].vectors[STATE], false, state);
}

static void scan_head(const struct heads *of, const struct segment *segment, size_t head)
{
    const struct wkv7 *rows = of->rows;
    size_t channels = of->model->channels, n = of->model->head_size;
    size_t at = segment->first * channels + head * n;
    struct wkv7 one = {.S = heads_state(of, segment, head),
                       .y = rows->y + at,
                       .r = rows->r + at,
                       .w = rows->w + at,
                       .k = rows->k + at,
                       .v = rows->v + at,
                       .a = rows->a + at,
                       .b = rows->b + at,
                       .stride = channels};

    of->model->kernels.wkv7(&one, segment->count, n);
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
    batch_low_rank(&layer->matrices[W1], kernels->tanh, batch, scratch, mix[1], w);
    kernels->decay7(w, vectors[W0], rows, channels);
    batch_product(&layer->matrices[K], batch, mix[2], k);
    batch_product(&layer->matrices[V], batch, mix[3], v);
    if (index > 0) {
        batch_low_rank(&layer->matrices[V1], NULL, batch, scratch, mix[3], mix[3]);
        kernels->value7(v, batch->v_first, mix[3], vectors[V0], rows, channels);
    }
    batch_low_rank(&layer->matrices[A1], NULL, batch, scratch, mix[4], mix[4]);
    batch_low_rank(&layer->matrices[G1], kernels->sigmoid, batch, scratch, mix[5], mix[5]);
    kernels->key7(&(struct key7){.k = k,
                                 .kk_a = mix[4],
                                 .minus_kk = mix[3],
                                 .a0 = vectors[A0],
                                 .k_k = vectors[K_K],
                                 .k_a = vectors[K_A]},
                  rows, model->heads, model->head_size);
    heads_scan(&(struct heads){
        model, index, batch, scan_head,
        &(struct wkv7){.y = y, .r = r, .w = w, .k = k, .v = v, .a = mix[3], .b = mix[4]}});
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
    .layer_floats = heads_layer_floats,
    .layer_origin = layer_origin,
    .forward = forward,
};
