/* engine/pack.c: a model's matrices in the form that products want, built by several threads.
 *
 * The pieces are the layers and the tiles of the head. Each thread takes the next piece there is; the
 * first failure stops all and is what the caller hears. */
#include "engine/model.h"

#include <pthread.h>
#include <stdatomic.h>
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

struct packing {
    struct model *model;
    atomic_size_t next;
    size_t pieces;
    pthread_mutex_t lock; /* of the two below */
    enum err_code code;
    struct err err;
};

static void *pack_pieces(void *context)
{
    struct packing *p = context;
    size_t piece;

    float_control_set();
    while ((piece = atomic_fetch_add(&p->next, 1)) < p->pieces) {
        size_t layers = p->model->layer_count;
        struct err err;
        enum err_code code = piece < layers ? pack_layer(p->model, piece, &err)
                                            : pack_tile(p->model, piece - layers, &err);
        if (!code)
            continue;
        pthread_mutex_lock(&p->lock);
        p->code = code;
        p->err = err;
        pthread_mutex_unlock(&p->lock);
        atomic_store(&p->next, p->pieces);
    }
    return NULL;
}

enum err_code model_pack(struct model *model, unsigned threads, struct err *err)
{
    struct packing p = {.model = model, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[ENGINE_THREADS_MAX];
    unsigned started = 0;

    model->head_tile_count = ((size_t)model->vocab + LOSS_TILE - 1) / LOSS_TILE;
    model->head_tiles = calloc(model->head_tile_count, sizeof(struct product *));
    if (!model->head_tiles) {
        model->head_tile_count = 0;
        return err_set(err, ERR_MEMORY, 0, "model '%s': the head", model->container->path);
    }
    p.pieces = model->layer_count + model->head_tile_count;
    while (started + 1 < threads && started + 1 < ENGINE_THREADS_MAX &&
           !pthread_create(&helpers[started], NULL, pack_pieces, &p))
        started++;
    pack_pieces(&p);
    while (started > 0)
        pthread_join(helpers[--started], NULL);
    if (p.code)
        return err_set(err, p.code, 0, "%s", p.err.text);
    return ERR_OK;
}
