/* engine/formats/safetensors.c: u64 N | N bytes of JSON | data.
 *
 *     {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the end of the JSON. Tensors must tile the data: no holes, no overlap, nothing
 * behind the last, as the format's own rules say. Of "__metadata__" only gn_eps, halved_every_n_layers
 * and the notes of decays are read, which our converter writes there. */
#include "engine/formats/formats.h"
#include "schemas/bytes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The format allows 100 MB; a parsed header takes some twenty times its bytes, and that of a model of a
 * thousand layers is below 4 MB. */
enum { LENGTH_BYTES = 8, HEADER_MAX = 16 << 20, NOTES_MAX = 1 << 12 };

static bool dtype_of(const char *name, enum dtype *out)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (dtypes[i].items == 1 && !strcmp(dtypes[i].name, name)) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

static bool natural(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool shape_of(const json_t *array, unsigned *rank, uint64_t *shape)
{
    if (!json_is_array(array) || json_array_size(array) < 1 ||
        json_array_size(array) > TENSOR_RANK_MAX)
        return false;
    *rank = (unsigned)json_array_size(array);
    for (unsigned i = 0; i < *rank; i++)
        if (!natural(json_array_get(array, i), &shape[i]))
            return false;
    return true;
}

static enum err_code read_tensor(struct container *c, const char *name, const json_t *entry,
                                 const struct view *data, struct err *err)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t shape[TENSOR_RANK_MAX] = {0}, begin, end;
    struct tensor *tensor = NULL;
    enum dtype dtype;
    unsigned rank;
    enum err_code code;

    if (!json_is_object(entry) || !type ||
        !shape_of(json_object_get(entry, "shape"), &rank, shape) || json_array_size(offsets) != 2 ||
        !natural(json_array_get(offsets, 0), &begin) || !natural(json_array_get(offsets, 1), &end))
        return container_fail(c, err, "the header's entry for tensor %zu ('%.60s') is malformed",
                              c->count, name);
    if (!dtype_of(type, &dtype))
        return container_fail(
            c, err, "tensor '%.60s' is of type %.16s; F32, F16, BF16, F64 are read", name, type);
    code = container_add(c, name, strlen(name), dtype, rank, shape, &tensor, err);
    if (code)
        return code;
    if (end > data->bytes)
        return container_fail(c, err, "truncated: tensor '%s' ends at %llu of %zu bytes of data",
                              tensor->name, (unsigned long long)end, data->bytes);
    if (begin > end || end - begin != tensor->bytes)
        return container_fail(c, err, "tensor '%s': its offsets do not agree with its shape",
                              tensor->name);
    tensor->data = data->data + begin;
    return ERR_OK;
}

static enum err_code read_metadata(struct container *c, const json_t *metadata, struct err *err)
{
    const char *eps = json_string_value(json_object_get(metadata, "gn_eps"));
    const char *halved = json_string_value(json_object_get(metadata, "halved_every_n_layers"));
    const char *vocabulary = json_string_value(json_object_get(metadata, "riverrun.vocabulary"));
    const char *weights = json_string_value(json_object_get(metadata, "riverrun.weights"));
    char *end;

    /* A type that a later program knows is no damage: f32 is always right. */
    if (weights && (!strcmp(weights, "bf16") || !strcmp(weights, "int8")))
        c->weights = strcmp(weights, "bf16") ? "int8" : "bf16";
    if (vocabulary && !c->vocabulary_text) { /* of shards the first that has one */
        c->vocabulary_text = strdup(vocabulary);
        if (!c->vocabulary_text)
            return err_set(err, ERR_MEMORY, 0, "model '%s'", c->path);
    }
    if (eps) {
        double value = strtod(eps, &end);
        if (end == eps || *end || !(value > 0 && value <= 1))
            return container_fail(c, err, "its metadata say gn_eps '%.20s', which is no epsilon",
                                  eps);
        c->stated_gn_eps = (float)value;
    }
    if (halved) {
        long value = strtol(halved, &end, 10);
        if (end == halved || *end || value < 1)
            return container_fail(
                c, err, "its metadata say halved_every_n_layers '%.20s', which is no count",
                halved);
        c->halved_every = (uint64_t)value;
    }
    return ERR_OK;
}

/* Of the tensors from the first on, those of this file. */
static enum err_code check_tiling(const struct container *c, size_t first, const struct view *data,
                                  struct err *err)
{
    const struct tensor **order = NULL;
    const uint8_t *expected = data->data;
    enum err_code code = container_by_place(c, first, &order, err);

    for (size_t i = 0; i < c->count - first && !code; i++) {
        if (order[i]->data != expected)
            code = container_fail(c, err, "tensor '%s' %s", order[i]->name,
                                  order[i]->data < expected ? "overlaps another"
                                                            : "has a hole in front of it");
        expected = order[i]->data + order[i]->bytes;
    }
    if (!code && expected != data->data + data->bytes)
        code = container_fail(c, err, "%zu bytes behind the last tensor",
                              (size_t)(data->data + data->bytes - expected));
    free(order);
    return code;
}

/* ---- Numbers that our converter notes as hexadecimal digits: "blocks.N.att.time_decay_done". ---- */

static bool hexadecimal(const char *text, uint8_t *out, uint64_t values)
{
    if (strlen(text) != 8 * values || strspn(text, "0123456789abcdef") != 8 * values)
        return false;
    for (uint64_t i = 0; i < values; i++) {
        char digits[9] = "";
        memcpy(digits, text + 8 * i, 8);
        store_u32(out + 4 * i, (uint32_t)strtoul(digits, NULL, 16));
    }
    return true;
}

/* A tensor like the raw one. What the digits take is bounded by the header that has them. */
static enum err_code read_note(struct container *c, const char *name, size_t bytes,
                               const char *text, struct err *err)
{
    struct tensor raw = {.name = NULL}, *tensor;
    uint8_t **notes = realloc(c->notes, (c->note_count + 1) * sizeof *notes);
    enum err_code code;

    for (size_t i = 0; i < c->count; i++)
        if (strlen(c->tensors[i].name) == bytes && !memcmp(c->tensors[i].name, name, bytes))
            raw = c->tensors[i];
    if (notes)
        c->notes = notes;
    if (c->note_count == NOTES_MAX)
        return container_fail(c, err, "its metadata note more than %d decays", NOTES_MAX);
    if (!text || !raw.name || raw.values != strlen(text) / 8)
        return container_fail(c, err, "its metadata '%.60s' do not belong to a tensor", name);
    if (notes)
        notes[c->note_count] = malloc(4 * raw.values);
    if (!notes || !notes[c->note_count++])
        return err_set(err, ERR_MEMORY, 0, "model '%s': its metadata", c->path);
    if (!hexadecimal(text, notes[c->note_count - 1], raw.values))
        return container_fail(c, err, "its metadata '%.60s' are not %llu numbers", name,
                              (unsigned long long)raw.values);
    code = container_add(c, name, strlen(name), DTYPE_F32, raw.rank, raw.shape, &tensor, err);
    if (!code)
        tensor->data = notes[c->note_count - 1];
    return code;
}

static enum err_code read_notes(struct container *c, json_t *metadata, struct err *err)
{
    static const char done[] = ".att.time_decay_done";
    enum err_code code = ERR_OK;
    const char *name;
    json_t *text;

    json_object_foreach(metadata, name, text)
    {
        size_t bytes = strlen(name), end = strlen(done);
        if (!code && bytes > end && !strcmp(name + bytes - end, done))
            code = read_note(c, name, bytes - strlen("_done"), json_string_value(text), err);
    }
    return code;
}

enum err_code safetensors_read(struct container *c, struct err *err)
{
    uint64_t length = load_u64(c->map);
    json_error_t fault;
    json_t *header, *entry;
    const char *name;
    struct view data;
    size_t first = c->count;
    enum err_code code = ERR_OK;

    if (length > HEADER_MAX || length > c->bytes - LENGTH_BYTES)
        return container_fail(c, err,
                              "truncated or damaged: its header should be %llu bytes of %zu",
                              (unsigned long long)length, c->bytes);
    header = json_loadb((const char *)c->map + LENGTH_BYTES, (size_t)length, JSON_REJECT_DUPLICATES,
                        &fault);
    if (!header)
        return container_fail(c, err, "its header is not valid JSON: %s at byte %d", fault.text,
                              fault.position);
    data.data = c->map + LENGTH_BYTES + length;
    data.bytes = c->bytes - LENGTH_BYTES - (size_t)length;
    if (!json_is_object(header))
        code = container_fail(c, err, "its header is not a JSON object");
    json_object_foreach(header, name, entry)
    {
        if (!code)
            code = strcmp(name, "__metadata__") ? read_tensor(c, name, entry, &data, err)
                                                : read_metadata(c, entry, err);
    }
    if (!code)
        code = check_tiling(c, first, &data, err);
    if (!code)
        code = read_notes(c, json_object_get(header, "__metadata__"), err);
    json_decref(header);
    return code;
}
