/* engine/pack.c: a model's matrices in the form that products want, built by several threads.
 *
 * The pieces are the layers, the tiles of the head, and tiles of the embedding, which is not packed but
 * looked through. Values are checked where they pass by anyway: rows just decoded, still in the cache. */
#include "engine/model.h"

#include "engine/pieces.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const struct tensor *tensor;
    uint64_t first;
    bool *finite; /* false from the first row on that is not */
};

/* All exponents below the highest one. Integers, since the compiler may reorder those: vector code. */
static bool are_finite(const float *x, size_t count)
{
    uint32_t any = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        any |= (bits & 0x7F800000) == 0x7F800000;
    }
    return !any;
}

static void source_rows(const void *from, size_t first, size_t count, float *out)
{
    const struct source *source = from;

    tensor_rows(source->tensor, source->first + first, count, out);
    if (!are_finite(out, count * source->tensor->shape[1]))
        *source->finite = false;
}

/* Which row it is has no need to be known before there is one. */
static enum err_code not_finite(const struct model *model, const struct tensor *tensor,
                                uint64_t first, struct err *err)
{
    uint64_t columns = tensor->shape[1], row = first, column = 0;
    float *values = malloc(columns * sizeof *values);

    for (; values && row < tensor->shape[0]; row++) {
        tensor_rows(tensor, row, 1, values);
        for (column = 0; column < columns && isfinite(values[column]);)
            column++;
        if (column < columns)
            break;
    }
    free(values);
    return container_fail(model->container, err,
                          "tensor '%s' is not finite at row %llu, column %llu", tensor->name,
                          (unsigned long long)row, (unsigned long long)column);
}

static enum err_code pack(const struct model *model, struct product **out,
                          const struct tensor *tensor, uint64_t first, uint64_t count,
                          struct err *err)
{
    bool finite = true;
    struct source source = {tensor, first, &finite};
    struct weights weights = {count, tensor->shape[1], source_rows, &source};
    enum err_code code = product_open(out, &weights, &model->kernels, err);

    return !code && !finite ? not_finite(model, tensor, first, err) : code;
}

static enum err_code pack_layer(struct model *model, size_t index, struct err *err)
{
    struct layer *layer = &model->layers[index];
    enum err_code code = ERR_OK;

    for (int i = 0; i < MATRICES_MAX && !code; i++) {
        struct matrix *matrix = &layer->matrices[i];
        if (matrix->tensor)
            code = pack(model, &matrix->product, matrix->tensor, 0, matrix->tensor->shape[0], err);
    }
    return code;
}

static enum err_code pack_tile(struct model *model, size_t index, struct err *err)
{
    uint64_t first = (uint64_t)index * LOSS_TILE, left = model->vocab - first;

    return pack(model, &model->head_tiles[index], model->head, first,
                left < LOSS_TILE ? left : LOSS_TILE, err);
}

/* As many rows of the embedding as the head has in a tile. */
static enum err_code check_tile(const struct model *model, size_t index, struct err *err)
{
    const struct tensor *emb = model->emb;
    uint64_t begin = (uint64_t)index * LOSS_TILE, end = begin + LOSS_TILE;
    float *row = malloc(model->channels * sizeof *row);
    bool finite = true;

    if (!row)
        return err_set(err, ERR_MEMORY, 0, "model '%s': the embedding", model->container->path);
    for (uint64_t i = begin; i < end && i < model->vocab && finite; i++)
        source_rows(&(struct source){emb, 0, &finite}, i, 1, row);
    free(row);
    return finite ? ERR_OK : not_finite(model, emb, begin, err);
}

static enum err_code pack_piece(void *context, size_t piece, struct err *err)
{
    struct model *model = context;
    size_t layers = model->layer_count, tiles = model->head_tile_count;

    if (piece < layers)
        return pack_layer(model, piece, err);
    return piece < layers + tiles ? pack_tile(model, piece - layers, err)
                                  : check_tile(model, piece - layers - tiles, err);
}

enum err_code model_pack(struct model *model, unsigned threads, struct err *err)
{
    model->head_tile_count = ((size_t)model->vocab + LOSS_TILE - 1) / LOSS_TILE;
    model->head_tiles = calloc(model->head_tile_count, sizeof(struct product *));
    if (!model->head_tiles) {
        model->head_tile_count = 0;
        return err_set(err, ERR_MEMORY, 0, "model '%s': the head", model->container->path);
    }
    return pieces_run(pack_piece, model, model->layer_count + 2 * model->head_tile_count, threads,
                      err);
}
