/* engine/pack.c: a model's matrices in the form that products want, built by several threads: the pieces
 * are the layers and the tiles of the head. */
#include "engine/model.h"

#include "engine/pieces.h"
#include <stdlib.h>

struct source {
    const struct tensor *tensor;
    uint64_t first;
};

static void source_rows(const void *from, size_t first, size_t count, float *out)
{
    const struct source *source = from;

    tensor_rows(source->tensor, source->first + first, count, out);
}

static enum err_code pack(struct product **out, const struct tensor *tensor, uint64_t first,
                          uint64_t count, const struct kernels *kernels, struct err *err)
{
    struct source source = {tensor, first};
    struct weights weights = {count, tensor->shape[1], source_rows, &source};

    return product_open(out, &weights, kernels, err);
}

static enum err_code pack_layer(struct model *model, size_t index, struct err *err)
{
    struct layer *layer = &model->layers[index];
    enum err_code code = ERR_OK;

    for (int i = 0; i < MATRICES_MAX && !code; i++) {
        struct matrix *matrix = &layer->matrices[i];
        if (matrix->tensor)
            code = pack(&matrix->product, matrix->tensor, 0, matrix->tensor->shape[0],
                        &model->kernels, err);
    }
    return code;
}

static enum err_code pack_tile(struct model *model, size_t index, struct err *err)
{
    uint64_t first = (uint64_t)index * LOSS_TILE, left = model->vocab - first;

    return pack(&model->head_tiles[index], model->head, first, left < LOSS_TILE ? left : LOSS_TILE,
                &model->kernels, err);
}

static enum err_code pack_piece(void *context, size_t piece, struct err *err)
{
    struct model *model = context;
    size_t layers = model->layer_count;

    return piece < layers ? pack_layer(model, piece, err) : pack_tile(model, piece - layers, err);
}

enum err_code model_pack(struct model *model, unsigned threads, struct err *err)
{
    model->head_tile_count = ((size_t)model->vocab + LOSS_TILE - 1) / LOSS_TILE;
    model->head_tiles = calloc(model->head_tile_count, sizeof(struct product *));
    if (!model->head_tiles) {
        model->head_tile_count = 0;
        return err_set(err, ERR_MEMORY, 0, "model '%s': the head", model->container->path);
    }
    return pieces_run(pack_piece, model, model->layer_count + model->head_tile_count, threads, err);
}
