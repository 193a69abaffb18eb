/* engine/convert.c: any model that opens, as safetensors with BlinkDL's names, shapes and orientation.
 *
 * What the loaders made canonical is turned back here, row by row, while it is written:
 *
 *     low-rank matrices             turned to [C, R] and [R, C]
 *     att.time_maa_w2_w _k _v _r _g one att.time_maa_w2 [5, R, C]
 *     vectors of token shift, and version 7's w0 a0 v0 k_k k_a      [1, 1, C]
 *     att.time_decay_done           att.time_decay, raw; see decay.h. Where that is not exact the metadata
 *                                   have the numbers too, which our loader takes instead
 *
 * Matrices get the type asked for. Vectors are float32, unless they are of the type asked for already:
 * they are a thousandth of a file, and a decay of 0.999 is 1 in bf16. */
#include "engine/decay.h"
#include "engine/engine.h"
#include "engine/formats/write.h"
#include "engine/model.h"
#include "engine/tokenizer/vocabulary.h"
#include "schemas/outfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PARTS = 5, OWN_TEXTS = 6 };

/* One tensor of the new file. */
struct item {
    const struct tensor *parts[PARTS]; /* [0] alone where it is one */
    char name[TENSOR_NAME_MAX + 1];
    float *values; /* of a decay: all of it; NULL else */
    float *row;    /* the conversion's: room for a row of any matrix */
};

struct conversion {
    const struct model *model;
    enum dtype dtype;
    struct item *items;
    struct write_tensor *tensors;
    size_t count;
    float *row;
    const char *weights;      /* what the result says that it may be multiplied as; NULL: nothing */
    struct write_text *texts; /* notes; those of the whole model follow when it is written */
    size_t text_count;        /* of the notes */
    struct engine_conversion report;
};

/* ---- Names ---- */

static bool is_one_of(const char *name, const char *const *ends)
{
    while (*ends && !name_ends_with(name, *ends))
        ends++;
    return *ends != NULL;
}

/* Which BlinkDL keeps as [1, 1, C]. */
static bool is_broadcast(const char *name, const struct model *model)
{
    static const char *const parts[] = {".time_mix_", ".time_maa_", ".att.x_", ".ffn.x_"};
    static const char *const ends[] = {".att.w0",  ".att.a0",  ".att.v0",
                                       ".att.k_k", ".att.k_a", NULL};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]))
            return true;
    return is_one_of(name, ends) ||
           (model->version->major == 6 && name_ends_with(name, ".time_decay"));
}

static const char decay_done[] = ".att.time_decay_done", maa_w2[] = ".att.time_maa_w2_w";
static const char *const maa_w2_others[] = {".att.time_maa_w2_k", ".att.time_maa_w2_v",
                                            ".att.time_maa_w2_r", ".att.time_maa_w2_g", NULL};

/* ---- Rows ---- */

static void item_rows(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct item *item = self;

    tensor_rows(item->parts[0], first, count, out);
}

static void decay_rows(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct item *item = self;
    const struct tensor *tensor = item->parts[0];
    uint64_t row = tensor->rank == 1 ? tensor->values : tensor->values / tensor->shape[0];

    memcpy(out, item->values + first * row, count * row * sizeof *out);
}

/* count columns from the first of a [rows, columns] tensor, as rows of the turned one. By rows of the tensor,
 * since those can be decoded one by one and columns of quantised blocks cannot. */
static void turn(const struct tensor *tensor, uint64_t first, uint64_t count, float *row,
                 float *out)
{
    uint64_t rows = tensor->shape[0];

    for (uint64_t i = 0; i < rows; i++) {
        tensor_rows(tensor, i, 1, row);
        for (uint64_t k = 0; k < count; k++)
            out[k * rows + i] = row[first + k];
    }
}

static void turned_rows(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct item *item = self;

    turn(item->parts[0], first, count, item->row, out);
}

/* A row is all of one of the five matrices. */
static void parts_rows(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct item *item = self;

    for (uint64_t i = first; i < first + count; i++) {
        turn(item->parts[i], 0, item->parts[i]->shape[1], item->row, out);
        out += item->parts[i]->values;
    }
}

/* ---- One tensor after the other ---- */

static bool is_matrix(const struct tensor *tensor)
{
    return tensor->rank == 2 &&
           (name_ends_with(tensor->name, ".weight") || name_is_low_rank(tensor->name) ||
            name_ends_with(tensor->name, maa_w2));
}

/* As it is, under the first name_bytes of its name. */
static struct write_tensor *append(struct conversion *c, const struct tensor *tensor,
                                   size_t name_bytes, write_rows_fn *rows)
{
    struct item *item = &c->items[c->count];
    struct write_tensor *out = &c->tensors[c->count++];
    bool typed = is_matrix(tensor) || tensor->dtype == c->dtype;

    require(name_bytes < sizeof item->name);
    item->parts[0] = tensor;
    item->row = c->row;
    memcpy(item->name, tensor->name, name_bytes);
    *out = (struct write_tensor){.name = item->name,
                                 .dtype = typed ? c->dtype : DTYPE_F32,
                                 .rank = tensor->rank,
                                 .rows = rows,
                                 .self = item};
    memcpy(out->shape, tensor->shape, sizeof out->shape);
    return out;
}

static void append_plain(struct conversion *c, const struct tensor *tensor)
{
    struct write_tensor *out = append(c, tensor, strlen(tensor->name), item_rows);

    if (out->rank == 1 && is_broadcast(tensor->name, c->model)) {
        out->rank = 3;
        out->shape[2] = out->shape[0];
        out->shape[0] = out->shape[1] = 1;
    }
}

static void append_turned(struct conversion *c, const struct tensor *tensor)
{
    struct write_tensor *out = append(c, tensor, strlen(tensor->name), turned_rows);

    out->shape[0] = tensor->shape[1];
    out->shape[1] = tensor->shape[0];
}

static void append_parts(struct conversion *c, const struct tensor *tensor)
{
    static const char letters[PARTS + 1] = "wkvrg";
    size_t stem = strlen(tensor->name) - 1;
    struct write_tensor *out = append(c, tensor, stem - 1, parts_rows);
    struct item *item = &c->items[c->count - 1];
    char name[TENSOR_NAME_MAX + 1];

    snprintf(name, sizeof name, "%s", tensor->name);
    for (int i = 0; i < PARTS; i++) {
        name[stem] = letters[i];
        item->parts[i] = container_find(c->model->container, name);
        require(item->parts[i] && item->parts[i]->values == tensor->values);
    }
    out->rank = 3;
    out->shape[0] = PARTS;
    out->shape[1] = tensor->shape[1];
    out->shape[2] = tensor->shape[0];
}

/* The numbers themselves as hexadecimal digits, for the metadata, which other programs pass over. */
static enum err_code add_note(struct conversion *c, const struct tensor *tensor, struct err *err)
{
    uint64_t rows = tensor->rank == 1 ? 1 : tensor->shape[0];
    float *values = malloc(tensor->values * sizeof *values);
    char *text = malloc(8 * tensor->values + 1);
    uint32_t bits;

    if (!values || !text) {
        free(values);
        free(text);
        return err_set(err, ERR_MEMORY, 0, "tensor '%s'", tensor->name);
    }
    tensor_rows(tensor, 0, rows, values);
    for (uint64_t i = 0; i < tensor->values; i++) {
        memcpy(&bits, values + i, sizeof bits);
        sprintf(text + 8 * i, "%08x", bits);
    }
    free(values);
    c->texts[c->text_count++] = (struct write_text){tensor->name, text};
    return ERR_OK;
}

/* Raw, for everyone; where the loader would not make the very same numbers of it, with a note of them. */
static enum err_code append_decay(struct conversion *c, const struct tensor *tensor,
                                  struct err *err)
{
    size_t bytes = strlen(tensor->name) - strlen("_done");
    struct write_tensor *out = append(c, tensor, bytes, decay_rows);
    struct item *item = &c->items[c->count - 1];
    uint64_t near;

    out->dtype = DTYPE_F32;
    item->values = malloc(tensor->values * sizeof *item->values);
    if (!item->values)
        return err_set(err, ERR_MEMORY, 0, "tensor '%s'", tensor->name);
    tensor_rows(tensor, 0, tensor->rank == 1 ? 1 : tensor->shape[0], item->values);
    if (!decay_invert(&c->model->kernels, c->model->version->major, item->values, tensor->values,
                      &near))
        return container_fail(c->model->container, err, "tensor '%s' holds what no decay can be",
                              tensor->name);
    c->report.decays += tensor->values;
    c->report.decays_near += near;
    return near ? add_note(c, tensor, err) : ERR_OK;
}

/* Is the raw form of a decay there too? */
static bool has_raw_too(const struct container *container, const struct tensor *tensor)
{
    char name[TENSOR_NAME_MAX + 1];

    snprintf(name, sizeof name, "%.*s", (int)(strlen(tensor->name) - strlen("_done")),
             tensor->name);
    return container_find(container, name) != NULL;
}

static enum err_code append_all(struct conversion *c, struct err *err)
{
    const struct container *container = c->model->container;
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < container->count && !code; i++) {
        const struct tensor *tensor = &container->tensors[i];
        if (!tensor->used || is_one_of(tensor->name, maa_w2_others))
            continue;
        if (name_ends_with(tensor->name, maa_w2))
            append_parts(c, tensor);
        else if (name_ends_with(tensor->name, decay_done))
            code = (has_raw_too(container, tensor) ? add_note : append_decay)(c, tensor, err);
        else if (name_is_low_rank(tensor->name))
            append_turned(c, tensor);
        else
            append_plain(c, tensor);
    }
    return code;
}

static enum err_code make_room(struct conversion *c, struct err *err)
{
    const struct container *container = c->model->container;
    uint64_t longest = 1;

    for (size_t i = 0; i < container->count; i++)
        if (container->tensors[i].rank == 2 && container->tensors[i].shape[1] > longest)
            longest = container->tensors[i].shape[1];
    c->items = calloc(container->count, sizeof *c->items);
    c->tensors = calloc(container->count, sizeof *c->tensors);
    c->texts = calloc(container->count + OWN_TEXTS, sizeof *c->texts);
    c->row = malloc(longest * sizeof *c->row);
    return c->items && c->tensors && c->texts && c->row
               ? ERR_OK
               : err_set(err, ERR_MEMORY, 0, "convert %zu tensors", container->count);
}

static void release(struct conversion *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->items[i].values);
    for (size_t i = 0; i < c->text_count; i++)
        free((char *)(uintptr_t)c->texts[i].value);
    free(c->texts);
    free(c->items);
    free(c->tensors);
    free(c->row);
}

/* ---- The whole ---- */

/* The vocabulary that travels in the source, as the text of a World file. */
static enum err_code add_vocabulary(struct conversion *c, struct err *err)
{
    struct tokenizer *tokenizer = NULL;
    char *text = NULL;
    enum err_code code = tokenizer_of_container(&tokenizer, c->model->container, err);

    c->report.vocabulary_left = code == ERR_INPUT;
    if (code == ERR_ABSENT || code == ERR_INPUT)
        return ERR_OK;
    if (!code)
        code = world_text(tokenizer, &text, err);
    tokenizer_close(&tokenizer);
    if (!code)
        c->texts[c->text_count++] = (struct write_text){"riverrun.vocabulary", text};
    return code;
}

static enum err_code write_model(struct conversion *c, const char *output, struct err *err)
{
    char eps[32], halved[32], from[64];
    struct engine_info info;
    struct write_text *texts = c->texts;
    struct write_plan plan = {c->tensors, c->count, texts, c->text_count};
    struct write_report report;
    enum err_code code;

    model_describe(c->model, &info);
    snprintf(eps, sizeof eps, "%.9g", (double)c->model->gn_eps);
    snprintf(halved, sizeof halved, "%llu", (unsigned long long)c->model->container->halved_every);
    texts[plan.text_count++] = (struct write_text){"format", "pt"};
    texts[plan.text_count++] = (struct write_text){"source", from};
    if (c->model->gn_eps > 0)
        texts[plan.text_count++] = (struct write_text){"gn_eps", eps};
    if (c->model->container->halved_every)
        texts[plan.text_count++] = (struct write_text){"halved_every_n_layers", halved};
    if (c->weights && strcmp(c->weights, "f32") != 0)
        texts[plan.text_count++] = (struct write_text){"riverrun.weights", c->weights};
    snprintf(from, sizeof from, "%s %s", info.container, info.dtype);
    code = safetensors_write(output, &plan, &report, err);
    if (code)
        return code;
    c->report.tensors = c->count;
    c->report.bytes = report.bytes;
    c->report.vanished = report.vanished;
    c->report.not_finite = report.not_finite;
    return ERR_OK;
}

enum err_code engine_convert(const char *path, const char *output, const char *dtype,
                             const char *weights, struct engine_conversion *out, struct err *err)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    struct conversion c = {.dtype = DTYPE_COUNT};
    struct model *model = NULL;
    enum err_code code = model_not_output(path, output, err);

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(dtype, dtypes[types[i]].name))
            c.dtype = types[i];
    if (!code && c.dtype == DTYPE_COUNT)
        code = err_set(err, ERR_USAGE, 0, "type '%s': want f32, f16 or bf16", dtype);
    if (!code)
        code = model_open(&model, path, NULL, err);
    c.model = model;
    c.weights = weights;
    if (!code && !weights)
        c.weights = model->container->weights;
    if (!code)
        code = make_room(&c, err);
    if (!code)
        code = append_all(&c, err);
    if (!code)
        code = add_vocabulary(&c, err);
    if (!code)
        code = write_model(&c, output, err);
    if (!code)
        *out = c.report;
    release(&c);
    model_close(&model);
    return code;
}
