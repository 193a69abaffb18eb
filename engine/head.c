/* engine/head.c: ln_out, and the head for those rows only that somebody asked for.
 *
 * A token is scored from the ln_out of the token before it, which may be a row of this block or be
 * carried in the stream's state. The wanted rows are gathered, so that one product serves losses and
 * logits of all streams; the vocabulary is walked in tiles, and no more than a tile of logits exists. */
#include "engine/cascade.h"

#include <stdlib.h>
#include <string.h>

/* What is wanted of a gathered row: a token's loss, or all logits. */
struct want {
    uint32_t token;
    float *loss;
    float *logits;
    float logit; /* of token, from its tile */
};

struct head {
    const struct model *model;
    size_t room, count;
    float *rows, *tile; /* (room, channels), (room, LOSS_TILE) */
    struct want *wants;
    struct loss *losses;
};

enum err_code head_open(struct head **out, const struct model *model, uint32_t block_tokens,
                        struct err *err)
{
    struct head *h = calloc(1, sizeof *h);

    if (!h)
        return err_set(err, ERR_MEMORY, 0, "the head's buffers");
    h->model = model;
    h->room = block_tokens;
    h->rows = malloc(h->room * model->channels * sizeof *h->rows);
    h->tile = malloc(h->room * LOSS_TILE * sizeof *h->tile);
    h->wants = malloc(h->room * sizeof *h->wants);
    h->losses = malloc(h->room * sizeof *h->losses);
    if (!h->rows || !h->tile || !h->wants || !h->losses) {
        head_close(&h);
        return err_set(err, ERR_MEMORY, 0, "the head's buffers for %u rows", block_tokens);
    }
    *out = h;
    return ERR_OK;
}

void head_close(struct head **head)
{
    struct head *h = *head;

    *head = NULL;
    if (!h)
        return;
    free(h->losses);
    free(h->wants);
    free(h->tile);
    free(h->rows);
    free(h);
}

/* Take from a tile what the wants need of it. */
static void pick(struct head *h, size_t first, size_t columns)
{
    for (size_t i = 0; i < h->count; i++) {
        struct want *want = &h->wants[i];
        const float *row = h->tile + i * columns;
        if (want->logits)
            memcpy(want->logits + first, row, columns * sizeof *row);
        else if (want->token >= first && want->token < first + columns)
            want->logit = row[want->token - first];
    }
}

static void flush(struct head *h, struct batch *batch)
{
    const struct model *m = h->model;

    for (size_t i = 0; i < h->count; i++)
        h->losses[i] = loss_none();
    for (size_t tile = 0; tile < m->head_tile_count && h->count; tile++) {
        const struct product *product = m->head_tiles[tile];
        size_t columns = product_outputs(product);
        batch_multiply(product, batch, h->rows, h->count, m->channels, h->tile);
        m->kernels.loss_tile(h->losses, h->tile, h->count, columns, columns);
        pick(h, tile * LOSS_TILE, columns);
    }
    for (size_t i = 0; i < h->count; i++)
        if (h->wants[i].loss)
            *h->wants[i].loss = (float)loss_nats(&h->losses[i], h->wants[i].logit);
    h->count = 0;
}

static void want_row(struct head *h, struct batch *batch, const float *row, struct want want)
{
    size_t channels = h->model->channels;

    if (h->count == h->room)
        flush(h, batch);
    memcpy(h->rows + h->count * channels, row, channels * sizeof *row);
    h->wants[h->count++] = want;
}

static void run_segment(struct head *h, struct batch *batch, const struct segment *segment,
                        const struct part *part, const float *rows)
{
    const struct model *m = h->model;
    const struct engine_job *job = part->job;
    size_t channels = m->channels, layers_floats = m->layer_count * m->layer_floats;
    float *carried = segment->state + layers_floats;

    for (size_t i = 0; i < segment->count && job->loss; i++)
        want_row(h, batch, i ? rows + (i - 1) * channels : carried,
                 (struct want){.token = job->tokens[part->offset + i],
                               .loss = &job->loss[part->offset + i]});
    if (job->hidden)
        memcpy(job->hidden + part->offset * channels, rows,
               segment->count * channels * sizeof *rows);
    if (segment->count)
        memcpy(carried, rows + (segment->count - 1) * channels, channels * sizeof *carried);
    if (part->last && job->logits)
        want_row(h, batch, carried, (struct want){.logits = job->logits});
    if (part->last && job->snapshot)
        memcpy(job->snapshot + layers_floats * sizeof *carried, carried,
               channels * sizeof *carried);
}

void head_run(struct head *head, struct batch *batch, const struct part *parts,
              struct scratch *scratch)
{
    const struct model *m = head->model;

    m->kernels.layernorm(scratch->norm, batch->x, batch->has_delta ? batch->delta : NULL,
                         m->ln_out.weight, m->ln_out.bias, m->ln_out.eps, batch->rows, m->channels);
    for (size_t i = 0; i < batch->segment_count; i++)
        run_segment(head, batch, &batch->segments[i], &parts[i],
                    scratch->norm + batch->segments[i].first * m->channels);
    flush(head, batch);
}
