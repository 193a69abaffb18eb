/* engine/rwkv4.c: RWKV-4, spec section 2.
 *
 * Buffers: mix[0] x_k -> v, mix[1] x_v, mix[2] x_r -> k, mix[3] r; norm LN1 -> y.
 * State of a layer: ffn_x [C] | att_x [C] | aa [C] | bb [C] | pp [C]. */
#include "engine/model.h"

enum vector { MIX_K, MIX_V, MIX_R, FIRST, DECAY, FFN_MIX_K, FFN_MIX_R };
enum matrix_index { K, V, R, O, FFN_K, FFN_V, FFN_R };

/* Vectors and matrices in the order of the two enums above. */
static const struct tensor_plan plans[] = {
    {.name = "att.time_mix_k", .columns = 'C'},
    {.name = "att.time_mix_v", .columns = 'C'},
    {.name = "att.time_mix_r", .columns = 'C'},
    {.name = "att.time_first", .columns = 'C'},
    {.name = "att.time_decay_done",
     .columns = 'C',
     .raw = "att.time_decay",
     .made = MADE_MINUS_EXP},
    {.name = "ffn.time_mix_k", .columns = 'C'},
    {.name = "ffn.time_mix_r", .columns = 'C'},
    {.name = "att.key.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.value.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = "att.output.weight", .rows = 'C', .columns = 'C'},
    {.name = "ffn.key.weight", .rows = 'F', .columns = 'C'},
    {.name = "ffn.value.weight", .rows = 'C', .columns = 'F'},
    {.name = "ffn.receptance.weight", .rows = 'C', .columns = 'C'},
    {.name = NULL},
};

/* The logarithm of nothing. Not -infinity: infinity less infinity is NaN. */
static const float pp_origin = -1e38F;

static enum err_code sizes(struct model *model, struct err *err)
{
    (void)err;
    model->heads = 0;
    model->head_size = 0;
    return ERR_OK;
}

static size_t layer_floats(const struct model *model)
{
    return 5 * (size_t)model->channels;
}

static void layer_origin(const struct model *model, uint32_t layer, float *state)
{
    (void)layer;
    for (size_t i = 0; i < layer_floats(model); i++)
        state[i] = i < 4 * (size_t)model->channels ? 0 : pp_origin;
}

static void scan(const struct model *model, uint32_t index, const struct batch *batch,
                 const struct wkv4 *rows)
{
    size_t channels = model->channels;

    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        float *state = segment_layer(model, segment, index) + 2 * channels;
        size_t at = segment->first * channels;
        struct wkv4 one = {.y = rows->y + at,
                           .aa = state,
                           .bb = state + channels,
                           .pp = state + 2 * channels,
                           .r = rows->r + at,
                           .k = rows->k + at,
                           .v = rows->v + at,
                           .w = model->layers[index].vectors[DECAY],
                           .u = model->layers[index].vectors[FIRST],
                           .stride = channels};
        if (segment->count)
            model->kernels.wkv4(&one, segment->count, channels);
    }
}

static void time_mix(const struct model *model, uint32_t index, struct batch *batch,
                     struct scratch *scratch)
{
    const struct layer *layer = &model->layers[index];
    float **mix = scratch->mix;

    batch_norm_shift(model, &layer->ln1, batch, scratch, model->kernels.shift4,
                     layer->vectors + MIX_K, 3, index, model->channels);
    batch_product(&layer->matrices[R], batch, mix[2], mix[3]);
    batch_product(&layer->matrices[K], batch, mix[0], mix[2]);
    batch_product(&layer->matrices[V], batch, mix[1], mix[0]);
    scan(model, index, batch,
         &(struct wkv4){.y = scratch->norm, .r = mix[3], .k = mix[2], .v = mix[0]});
    batch_product(&layer->matrices[O], batch, scratch->norm, batch->delta);
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

const struct version version_4 = {
    .major = 4,
    .minor = 0,
    .name = "RWKV-4",
    .plans = plans,
    .gn_eps = 0,
    .sizes = sizes,
    .layer_floats = layer_floats,
    .layer_origin = layer_origin,
    .forward = forward,
};
