/* engine/heads.c: what versions 5 to 7 share: a matrix of state for each head. */
#include "engine/model.h"

#include <stdio.h>
#include <string.h>

/* Axes of length 1 do not count. Two axes are heads and their size; one is a number for each head, or a
 * single head whose axis was dropped; 0: neither can be. */
static uint64_t size_told(const struct tensor *tensor, uint64_t channels)
{
    uint64_t axes[2] = {1, 1};
    unsigned count = 0;

    for (unsigned i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 1)
            continue;
        if (count == 2)
            return 0;
        axes[count++] = tensor->shape[i];
    }
    if (count == 2)
        return axes[1];
    return axes[0] == channels ? channels : channels % axes[0] ? 0 : channels / axes[0];
}

enum err_code heads_sizes(struct model *model, const char *const *tell, struct err *err)
{
    const struct container *c = model->container;
    const struct tensor *tensor = NULL;
    uint64_t size = c->stated_head_size;
    char name[64] = "";

    for (; !size && !tensor && *tell; tell++) {
        snprintf(name, sizeof name, "blocks.0.%s", *tell);
        tensor = container_find(c, name);
    }
    if (!size && !tensor)
        return container_fail(c, err, "tensor '%s' is missing", name);
    if (!size)
        size = size_told(tensor, model->channels);
    if (!size || size > KERNELS_HEAD_MAX || model->channels % size)
        return container_fail(c, err,
                              "%s%s%s gives heads of %llu, which do not divide %u channels or are "
                              "over %d",
                              tensor ? "tensor '" : "the header", name, tensor ? "'" : "",
                              (unsigned long long)size, model->channels, KERNELS_HEAD_MAX);
    model->head_size = (uint32_t)size;
    model->heads = model->channels / model->head_size;
    return ERR_OK;
}

size_t heads_layer_floats(const struct model *model)
{
    return 2 * (size_t)model->channels + (size_t)model->channels * model->head_size;
}

void heads_origin(const struct model *model, const float *time_state, bool transposed, float *state)
{
    const size_t n = model->head_size;
    float *S = state + 2 * (size_t)model->channels;

    memset(state, 0, heads_layer_floats(model) * sizeof *state);
    if (!time_state)
        return;
    for (size_t head = 0; head < model->heads; head++, S += n * n, time_state += n * n)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                S[i * n + j] = transposed ? time_state[j * n + i] : time_state[i * n + j];
}

/* ---- Scans ---- */

float *heads_state(const struct heads *of, const struct segment *segment, size_t head)
{
    const size_t n = of->model->head_size;

    return segment_layer(of->model, segment, of->layer) + 2 * (size_t)of->model->channels +
           head * n * n;
}

static void scan_part(void *self, size_t head)
{
    const struct heads *of = self;

    for (size_t i = 0; i < of->batch->segment_count; i++)
        if (of->batch->segments[i].count)
            of->scan(of, &of->batch->segments[i], head);
}

void heads_scan(const struct heads *heads)
{
    struct heads of = *heads;

    crew_run(of.batch->crew, scan_part, &of, of.model->heads);
}

static void scan6_head(const struct heads *of, const struct segment *segment, size_t head)
{
    const struct wkv6 *rows = of->rows;
    const size_t channels = of->model->channels, n = of->model->head_size;
    const size_t at = segment->first * channels + head * n;
    struct wkv6 one = {.S = heads_state(of, segment, head),
                       .y = rows->y + at,
                       .r = rows->r + at,
                       .w = rows->w + segment->first * rows->w_stride + head * n,
                       .k = rows->k + at,
                       .v = rows->v + at,
                       .u = rows->u + head * n,
                       .stride = channels,
                       .w_stride = rows->w_stride};

    of->model->kernels.wkv6(&one, segment->count, n);
}

void heads_scan6(const struct model *model, uint32_t layer, const struct batch *batch,
                 const struct wkv6 *rows)
{
    heads_scan(&(struct heads){model, layer, batch, scan6_head, rows});
}
