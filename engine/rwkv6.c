/* engine/rwkv6.c: RWKV-6, spec section 4.
 *
 * The mixes depend on the data: a first shift by time_maa_x goes through a low rank of five groups, which
 * are what is added to the mixes of w, k, v, r, g. So LN1 is shifted twice, by the same vectors before.
 *
 * Buffers:
 *
 *     mix[0] first shift, then m_w -> x_w -> decay w      mix[3] m_r -> x_r -> k
 *     mix[1] m_k -> x_k -> v                              mix[4] m_g -> x_g
 *     mix[2] m_v -> x_v -> gate                           mix[5] before -> r;  norm LN1 -> y
 *
 * State of a layer: ffn_x [C] | att_x [C] | S [heads][key][value]. */
#include "engine/model.h"

enum { GROUPS = 5 };
enum vector {
    MAA_X,
    MAA_W,
    MAA_K,
    MAA_V,
    MAA_R,
    MAA_G,
    DECAY,
    BONUS,
    LN_X,
    LN_X_BIAS,
    FFN_MAA_K,
    FFN_MAA_R,
    STATE
};
enum matrix_index {
    MAA_1,
    MAA_2, /* five of them, in the order of the vectors */
    DECAY_1 = MAA_2 + GROUPS,
    DECAY_2,
    R,
    K,
    V,
    G,
    O,
    FFN_K,
    FFN_V,
    FFN_R
};

/* Vectors and matrices in the order of the two enums above. */
static const struct tensor_plan plans[] = {
    {.name = "att.time_maa_x", .columns = 'C'},
    {.name = "att.time_maa_w", .columns = 'C'},
    {.name = "att.time_maa_k", .columns = 'C'},
    {.name = "att.time_maa_v", .columns = 'C'},
    {.name = "att.time_maa_r", .columns = 'C'},
    {.name = "att.time_maa_g", .columns = 'C'},
    {.name = "att.time_decay", .columns = 'C'},
    {.name = "att.time_faaaa", .columns = 'H'},
    {.name = "att.ln_x.weight", .columns = 'C'},
    {.name = "att.ln_x.bias", .columns = 'C'},
    {.name = "ffn.time_maa_k", .columns = 'C'},
    {.name = "ffn.time_maa_r", .columns = 'C'},
    {.name = "att.time_state", .columns = 'S', .with = "att.time_state"},
    {.name = "att.time_maa_w1", .rows = 'R', .columns = 'C'},
    {.name = "att.time_maa_w2_w", .rows = 'C', .columns = 'f'},
    {.name = "att.time_maa_w2_k", .rows = 'C', .columns = 'f'},
    {.name = "att.time_maa_w2_v", .rows = 'C', .columns = 'f'},
    {.name = "att.time_maa_w2_r", .rows = 'C', .columns = 'f'},
    {.name = "att.time_maa_w2_g", .rows = 'C', .columns = 'f'},
    {.name = "att.time_decay_w1", .rows = 'R', .columns = 'C'},
    {.name = "att.time_decay_w2", .rows = 'C', .columns = 'r'},
    {.name = "att.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.key.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.value.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.gate.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.output.weight", .rows = 'C', .columns = 'C'},
    {.name = "ffn.key.weight", .rows = 'F', .columns = 'C'},
    {.name = "ffn.value.weight", .rows = 'C', .columns = 'F'},
    {.name = "ffn.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = NULL},
};

static enum err_code sizes(struct model *model, struct err *err)
{
    static const char *const tell[] = {"att.time_faaaa", NULL};

    return heads_sizes(model, tell, err);
}

/* A trained state is kept [value][key]. */
static void layer_origin(const struct model *model, uint32_t layer, float *state)
{
    heads_origin(model, model->layers[layer].vectors[STATE], true, state);
}

/* mix[0..4] = x_w, x_k, x_v, x_r, x_g of the rows. */
static void mix_by_data(const struct model *model, uint32_t index, struct batch *batch,
                        struct scratch *scratch)
{
    const struct kernels *kernels = &model->kernels;
    const struct layer *layer = &model->layers[index];
    const size_t rank = product_inputs(layer->matrices[MAA_2].product);
    float *before = scratch->mix[5];

    batch_norm(model, &layer->ln1, batch, scratch);
    batch_shift(model, batch, scratch, kernels->shift7, layer->vectors + MAA_X, 1, index,
                model->channels, before);
    batch_product(&layer->matrices[MAA_1], batch, scratch->mix[0], scratch->wide);
    kernels->tanh(scratch->wide, scratch->wide, batch->rows * GROUPS * rank);
    for (size_t i = 0; i < GROUPS; i++)
        batch_product_part(&layer->matrices[MAA_2 + i], batch, scratch->wide + i * rank,
                           GROUPS * rank, scratch->mix[i]);
    batch_shift_again(model, batch, scratch, kernels->shift6, layer->vectors + MAA_W, GROUPS,
                      before);
}

static void time_mix(const struct model *model, uint32_t index, struct batch *batch,
                     struct scratch *scratch)
{
    const struct kernels *kernels = &model->kernels;
    const struct layer *layer = &model->layers[index];
    const float *const *vectors = layer->vectors;
    const size_t rows = batch->rows, channels = model->channels;
    float **mix = scratch->mix, *y = scratch->norm;
    float *r = mix[5], *w = mix[0], *k = mix[3], *v = mix[1], *g = mix[2];

    mix_by_data(model, index, batch, scratch);
    batch_low_rank(&layer->matrices[DECAY_1], kernels->tanh, batch, scratch, mix[0], w);
    kernels->decay6(w, vectors[DECAY], rows, channels);
    batch_product(&layer->matrices[R], batch, mix[3], r);
    batch_product(&layer->matrices[K], batch, mix[1], k);
    batch_product(&layer->matrices[V], batch, mix[2], v);
    batch_product(&layer->matrices[G], batch, mix[4], g);
    heads_scan6(
        model, index, batch,
        &(struct wkv6){
            .y = y, .r = r, .w = w, .k = k, .v = v, .u = vectors[BONUS], .w_stride = channels});
    kernels->output5(&(struct output5){.y = y,
                                       .g = g,
                                       .weight = vectors[LN_X],
                                       .bias = vectors[LN_X_BIAS],
                                       .eps = model->gn_eps},
                     rows, model->heads, model->head_size);
    batch_product(&layer->matrices[O], batch, y, batch->delta);
    batch->has_delta = true;
}

static void forward(const struct model *model, uint32_t layer, struct batch *batch,
                    struct scratch *scratch)
{
    time_mix(model, layer, batch, scratch);
    batch_channel_mix(model, layer, batch, scratch, model->kernels.shift7,
                      model->layers[layer].vectors + FFN_MAA_K,
                      model->layers[layer].matrices + FFN_K);
}

const struct version version_6 = {
    .major = 6,
    .minor = 0,
    .name = "RWKV-6",
    .plans = plans,
    .gn_eps = 64e-5F,
    .sizes = sizes,
    .layer_floats = heads_layer_floats,
    .layer_origin = layer_origin,
    .forward = forward,
};
