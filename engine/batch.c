/* engine/batch.c: the steps that all versions share. */
#include "engine/model.h"

#include <string.h>

void batch_norm(const struct model *model, const struct norm *norm, struct batch *batch,
                struct scratch *scratch)
{
    model->kernels.layernorm(scratch->norm, batch->x, batch->has_delta ? batch->delta : NULL,
                             norm->weight, norm->bias, norm->eps, batch->rows, model->channels);
}

/* The rows of a segment into scratch->mix. */
static void shift_segment(const struct model *model, const struct segment *segment,
                          struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                          size_t mix_count, const float *before)
{
    size_t at = segment->first * model->channels;
    float *out[SHIFT_MIXES_MAX];

    for (size_t k = 0; k < mix_count; k++)
        out[k] = scratch->mix[k] + at;
    shift(out, scratch->norm + at, before, mixes, mix_count, segment->count, model->channels);
}

void batch_shift(const struct model *model, const struct batch *batch, struct scratch *scratch,
                 shift_fn *shift, const float *const *mixes, size_t mix_count, uint32_t layer,
                 size_t offset, float *before)
{
    size_t channels = model->channels, bytes = channels * sizeof(float);

    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        float *carried = segment_layer(model, segment, layer) + offset;
        if (segment->count == 0)
            continue;
        shift_segment(model, segment, scratch, shift, mixes, mix_count, carried);
        if (before)
            memcpy(before + segment->first * channels, carried, bytes);
        memcpy(carried, scratch->norm + (segment->first + segment->count - 1) * channels, bytes);
    }
}

void batch_shift_again(const struct model *model, const struct batch *batch,
                       struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                       size_t mix_count, const float *before)
{
    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        if (segment->count)
            shift_segment(model, segment, scratch, shift, mixes, mix_count,
                          before + segment->first * model->channels);
    }
}

void batch_norm_shift(const struct model *model, const struct norm *norm, struct batch *batch,
                      struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                      size_t mix_count, uint32_t layer, size_t offset)
{
    batch_norm(model, norm, batch, scratch);
    batch_shift(model, batch, scratch, shift, mixes, mix_count, layer, offset, NULL);
}

struct multiply {
    const struct product *product;
    const float *x;
    size_t rows, x_stride;
    float *y;
    const void *room;
};

static void multiply_part(void *self, size_t part)
{
    const struct multiply *m = self;

    product_part(m->product, part, m->x, m->rows, m->x_stride, m->y, product_outputs(m->product),
                 m->room);
}

void batch_multiply(const struct product *product, struct batch *batch, const float *x, size_t rows,
                    size_t x_stride, float *y)
{
    batch->products++;
    if (!crew_is_open(batch->crew)) {
        product_run(product, x, rows, x_stride, y, product_outputs(product), batch->room);
        return;
    }
    product_begin(product, x, rows, x_stride, batch->room);
    crew_run(batch->crew, multiply_part,
             &(struct multiply){product, x, rows, x_stride, y, batch->room},
             product_parts(product));
}

void batch_product_part(const struct matrix *matrix, struct batch *batch, const float *x,
                        size_t x_stride, float *y)
{
    batch_multiply(matrix->product, batch, x, batch->rows, x_stride, y);
}

void batch_product(const struct matrix *matrix, struct batch *batch, const float *x, float *y)
{
    batch_product_part(matrix, batch, x, product_inputs(matrix->product), y);
}

void batch_low_rank(const struct matrix *first, map_fn *f, struct batch *batch,
                    struct scratch *scratch, const float *x, float *y)
{
    batch_product(first, batch, x, scratch->wide);
    if (f)
        f(scratch->wide, scratch->wide, batch->rows * product_outputs(first->product));
    batch_product(first + 1, batch, scratch->wide, y);
}

void batch_channel_mix(const struct model *model, uint32_t layer, struct batch *batch,
                       struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                       const struct matrix *matrices)
{
    enum { KEY, VALUE, RECEPTANCE };
    const struct kernels *kernels = &model->kernels;
    float **mix = scratch->mix;

    batch_norm_shift(model, &model->layers[layer].ln2, batch, scratch, shift, mixes, 2, layer, 0);
    batch_product(&matrices[KEY], batch, mix[0], scratch->wide);
    kernels->relu2(scratch->wide, scratch->wide, batch->rows * (size_t)model->ffn_channels);
    batch_product(&matrices[VALUE], batch, scratch->wide, batch->delta);
    batch_product(&matrices[RECEPTANCE], batch, mix[1], mix[2]);
    kernels->gate_sigmoid(batch->delta, mix[2], batch->rows * (size_t)model->channels);
    batch->has_delta = true;
}
