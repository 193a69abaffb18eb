/* engine/describe.c: what can be told of a model without computing anything with it. */
#include "engine/engine.h"
#include "engine/model.h"

#include <string.h>

_Static_assert((int)DTYPE_COUNT <= (int)ENGINE_DTYPES_MAX, "room for every type");

/* The type of the largest matrix: small ones may be kept in another. */
static const char *matrix_dtype(const struct model *model)
{
    const struct tensor *largest = model->head;

    for (int i = 0; i < MATRICES_MAX; i++) {
        const struct tensor *tensor = model->layers[0].matrices[i].tensor;
        if (tensor && (largest == model->head || tensor->values > largest->values))
            largest = tensor;
    }
    return dtypes[largest->dtype].name;
}

void model_describe(const struct model *model, struct engine_info *info)
{
    *info = (struct engine_info){
        .version_major = model->version->major,
        .version_minor = model->version->minor,
        .container = model->container->kind,
        .dtype = matrix_dtype(model),
        .layers = model->layer_count,
        .channels = model->channels,
        .heads = model->heads,
        .head_size = model->head_size,
        .ffn_channels = model->ffn_channels,
        .vocab = model->vocab,
        .parameters = model->parameters,
        .flops_per_token = model->layers_flops,
        .flops_head = model->head_flops,
        .state_bytes = (model->layer_count * model->layer_floats + model->channels) * sizeof(float),
        .layer_state_bytes = model->layer_floats * sizeof(float),
    };
}

static void count_dtypes(const struct container *c, struct engine_description *d)
{
    uint64_t counts[DTYPE_COUNT][2] = {{0}};

    for (size_t i = 0; i < c->count; i++) {
        counts[c->tensors[i].dtype][0]++;
        counts[c->tensors[i].dtype][1] += c->tensors[i].values;
    }
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (counts[i][0])
            d->dtypes[d->dtype_count++] =
                (struct engine_dtype){.name = dtypes[i].name,
                                      .tensors = counts[i][0],
                                      .values = counts[i][1],
                                      .bytes = counts[i][1] / dtypes[i].items * dtypes[i].bytes};
}

/* Spec section 8. The Pile's models have their 50,277 tokens padded to one of the others. */
static const char *fitting_tokenizer(const struct model *model)
{
    if (model->container->vocabulary.count || model->container->vocabulary_text)
        return "in the file";
    switch (model->vocab) {
    case 65536:
        return "World";
    case 50277:
    case 50304:
    case 50432:
        return "NeoX";
    case 256:
        return "bytes";
    default:
        return NULL;
    }
}

enum err_code engine_describe(const char *path, struct engine_description *out, struct err *err)
{
    struct engine_description d = {.dtype_count = 0};
    struct model *model = NULL;
    enum err_code code = model_open(&model, path, NULL, err);

    if (code)
        return code;
    model_describe(model, &d.info);
    for (size_t i = 0; i < model->container->map_count; i++)
        d.file_bytes += model->container->maps[i].bytes;
    d.tensors = model->container->count;
    d.gn_eps = model->gn_eps;
    d.trained_state = container_find(model->container, "blocks.0.att.time_state") != NULL;
    d.tokenizer = fitting_tokenizer(model);
    d.weights = model->container->weights ? model->container->weights : "f32";
    count_dtypes(model->container, &d);
    code = model_fingerprint(model, 1, d.info.fingerprint, err);
    model_close(&model);
    if (!code)
        *out = d;
    return code;
}
