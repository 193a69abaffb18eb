/* engine/batch.c: the steps that all versions share. */
#include "engine/model.h"

#include <string.h>

static const float norm_eps = 1e-5F;

void batch_norm_shift(const struct model *model, const struct norm *norm, struct batch *batch,
                      struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                      size_t mix_count, uint32_t layer, size_t offset)
{
    size_t channels = model->channels;

    model->kernels.layernorm(scratch->norm, batch->x, batch->has_delta ? batch->delta : NULL,
                             norm->weight, norm->bias, norm_eps, batch->rows, channels);
    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        float *carried = segment_layer(model, segment, layer) + offset;
        const float *rows = scratch->norm + segment->first * channels;
        float *out[SHIFT_MIXES_MAX];
        if (segment->count == 0)
            continue;
        for (size_t k = 0; k < mix_count; k++)
            out[k] = scratch->mix[k] + segment->first * channels;
        shift(out, rows, carried, mixes, mix_count, segment->count, channels);
        memcpy(carried, rows + (segment->count - 1) * channels, channels * sizeof *carried);
    }
}

void batch_product(const struct matrix *matrix, struct batch *batch, const float *x, float *y)
{
    product_run(matrix->product, x, batch->rows, product_inputs(matrix->product), y,
                product_outputs(matrix->product));
    batch->products++;
}
