/* engine/rwkv5.c: RWKV-5, spec section 3, in every combination of its tensors.
 *
 * Files differ in three things, each by itself: is there a gate (then this is called 5.2, else 5.1); has
 * the decay a number for each head or for each channel; is the bonus kept raw (time_first) or done
 * (time_faaaa). The table takes care of the latter two.
 *
 * Buffers: mix[0] x_k -> v, mix[1] x_v -> gate, mix[2] x_r -> k, mix[3] x_g, mix[4] r; norm LN1 -> y.
 * State of a layer: ffn_x [C] | att_x [C] | S [heads][key][value]. */
#include "engine/model.h"

enum vector {
    MIX_K,
    MIX_V,
    MIX_R,
    MIX_G,
    DECAY,
    BONUS,
    LN_X,
    LN_X_BIAS,
    FFN_MIX_K,
    FFN_MIX_R,
    STATE
};
enum matrix_index { R, K, V, G, O, FFN_K, FFN_V, FFN_R };

/* Vectors and matrices in the order of the two enums above. */
static const struct tensor_plan plans[] = {
    {.name = "att.time_mix_k", .columns = 'C'},
    {.name = "att.time_mix_v", .columns = 'C'},
    {.name = "att.time_mix_r", .columns = 'C'},
    {.name = "att.time_mix_g", .columns = 'C', .with = "att.gate.weight"},
    {.name = "att.time_decay_done",
     .columns = 'h',
     .raw = "att.time_decay",
     .made = MADE_EXP_MINUS_EXP},
    {.name = "att.time_faaaa", .columns = 'h', .raw = "att.time_first", .made = MADE_EXP},
    {.name = "att.ln_x.weight", .columns = 'C'},
    {.name = "att.ln_x.bias", .columns = 'C'},
    {.name = "ffn.time_mix_k", .columns = 'C'},
    {.name = "ffn.time_mix_r", .columns = 'C'},
    {.name = "att.time_state", .columns = 'S', .with = "att.time_state"},
    {.name = "att.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.key.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.value.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.gate.weight", .rows = 'C', .columns = 'C', .with = "att.gate.weight"},
    {.name = "att.output.weight", .rows = 'C', .columns = 'C'},
    {.name = "ffn.key.weight", .rows = 'F', .columns = 'C'},
    {.name = "ffn.value.weight", .rows = 'C', .columns = 'F'},
    {.name = "ffn.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = NULL},
};

static enum err_code sizes(struct model *model, struct err *err)
{
    static const char *const tell[] = {"att.time_faaaa", "att.time_first", NULL};

    return heads_sizes(model, tell, err);
}

/* A trained state is kept [value][key]. */
static void layer_origin(const struct model *model, uint32_t layer, float *state)
{
    heads_origin(model, model->layers[layer].vectors[STATE], true, state);
}

static void time_mix(const struct model *model, uint32_t index, struct batch *batch,
                     struct scratch *scratch)
{
    const struct layer *layer = &model->layers[index];
    const float *const *vectors = layer->vectors;
    const bool gate = layer->matrices[G].tensor != NULL;
    float **mix = scratch->mix, *y = scratch->norm;
    float *r = mix[4], *k = mix[2], *v = mix[0], *g = mix[1];

    batch_norm_shift(model, &layer->ln1, batch, scratch, model->kernels.shift4, vectors + MIX_K,
                     gate ? 4 : 3, index, model->channels);
    batch_product(&layer->matrices[R], batch, mix[2], r);
    batch_product(&layer->matrices[K], batch, mix[0], k);
    batch_product(&layer->matrices[V], batch, mix[1], v);
    if (gate)
        batch_product(&layer->matrices[G], batch, mix[3], g);
    heads_scan6(
        model, index, batch,
        &(struct wkv6){.y = y, .r = r, .w = vectors[DECAY], .k = k, .v = v, .u = vectors[BONUS]});
    model->kernels.output5(&(struct output5){.y = y,
                                             .g = gate ? g : NULL,
                                             .weight = vectors[LN_X],
                                             .bias = vectors[LN_X_BIAS],
                                             .eps = model->gn_eps},
                           batch->rows, model->heads, model->head_size);
    batch_product(&layer->matrices[O], batch, y, batch->delta);
    batch->has_delta = true;
}

static void forward(const struct model *model, uint32_t layer, struct batch *batch,
                    struct scratch *scratch)
{
    time_mix(model, layer, batch, scratch);
    batch_channel_mix(model, layer, batch, scratch, model->kernels.shift4,
                      model->layers[layer].vectors + FFN_MIX_K,
                      model->layers[layer].matrices + FFN_K);
}

#define RWKV_5(of_minor, of_name)                                                             \
    {                                                                                         \
        .major = 5, .minor = (of_minor), .name = (of_name), .plans = plans, .gn_eps = 64e-5F, \
        .gn_eps_converted = 1e-5F, .sizes = sizes, .layer_floats = heads_layer_floats,        \
        .layer_origin = layer_origin, .forward = forward                                      \
    }

const struct version version_5_1 = RWKV_5(1, "RWKV-5.1");
const struct version version_5_2 = RWKV_5(2, "RWKV-5.2");
