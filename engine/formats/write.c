#include "engine/formats/write.h"
#include "schemas/bytes.h"
#include "schemas/outfile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_VALUES = 1 << 18, ALIGN = 8, LENGTH_BYTES = 8 };

/* ---- Rounding: to the nearest, ties to even, on the bits, so that no control register matters. ---- */

static const uint32_t sign_bit = 0x80000000u, infinite = 0x7F800000u;

static uint16_t to_bf16(uint32_t bits)
{
    if ((bits & ~sign_bit) > infinite)
        return (uint16_t)(bits >> 16 | 0x40); /* what makes it NaN may be in the half that goes */
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static uint16_t to_f16(uint32_t bits)
{
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t size = bits & ~sign_bit, exponent = size >> 23;
    uint32_t mantissa = (size & 0x7FFFFF) | 0x800000, shift = 126 - exponent, rest, half;

    if (size > infinite)
        return (uint16_t)(sign | 0x7E00 | (size >> 13 & 0x3FF));
    if (size >= 0x477FF000) /* 65520: half way from the largest to what would follow it */
        return (uint16_t)(sign | 0x7C00);
    if (size >= 0x38800000) /* 2^-14: normal */
        return (uint16_t)(sign | ((size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13));
    if (exponent < 102) /* below half of the smallest */
        return sign;
    rest = mantissa & ((1u << shift) - 1);
    half = 1u << (shift - 1);
    mantissa >>= shift;
    return (uint16_t)(sign | (mantissa + (rest > half || (rest == half && mantissa & 1))));
}

struct tally {
    uint64_t overflowed, vanished, not_finite;
};

/* Encode count values where they are, at the beginning of the same memory. */
static void encode(float *values, size_t count, enum dtype dtype, struct tally *tally)
{
    uint8_t *out = (uint8_t *)values;
    uint16_t mask = dtype == DTYPE_F16 ? 0x7C00 : 0x7F80;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        uint16_t small;
        bool finite;
        memcpy(&bits, values + i, sizeof bits);
        finite = (bits & ~sign_bit) < infinite;
        tally->not_finite += !finite;
        if (dtype == DTYPE_F32)
            continue;
        small = dtype == DTYPE_F16 ? to_f16(bits) : to_bf16(bits);
        tally->overflowed += finite && (small & mask) == mask;
        tally->vanished += (bits & ~sign_bit) && !(small & 0x7FFF);
        store_u16(out + 2 * i, small);
    }
}

/* ---- The header ---- */

static size_t width(const struct write_tensor *tensor)
{
    require(tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_F16 ||
            tensor->dtype == DTYPE_BF16);
    return dtypes[tensor->dtype].bytes;
}

static uint64_t values_of(const struct write_tensor *tensor)
{
    uint64_t values = 1;

    for (unsigned i = 0; i < tensor->rank; i++)
        values *= tensor->shape[i];
    return values;
}

static json_t *entry(const struct write_tensor *tensor, uint64_t begin, uint64_t end)
{
    json_t *shape = json_array();

    for (unsigned i = 0; i < tensor->rank; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])))
            break; /* the length shows it */
    if (json_array_size(shape) != tensor->rank) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[tensor->dtype].name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static enum err_code add_texts(json_t *header, const struct write_plan *plan, struct err *err)
{
    json_t *texts = json_object();
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < plan->text_count && !code; i++) {
        json_t *value = json_string(plan->texts[i].value);
        if (!value)
            code = err_set(err, ERR_INPUT, 0, "metadata '%s' is not UTF-8", plan->texts[i].key);
        else if (json_object_set_new(texts, plan->texts[i].key, value))
            code = err_set(err, ERR_MEMORY, 0, "the header of a model");
    }
    if (!code && plan->text_count && json_object_set(header, "__metadata__", texts))
        code = err_set(err, ERR_MEMORY, 0, "the header of a model");
    json_decref(texts);
    return code;
}

/* The JSON text, malloc'ed; *data_bytes is what follows it. */
static enum err_code make_header(const struct write_plan *plan, char **text, uint64_t *data_bytes,
                                 struct err *err)
{
    json_t *header = json_object();
    enum err_code code = add_texts(header, plan, err);

    *data_bytes = 0;
    for (size_t bytes = 4; bytes >= 2 && !code; bytes /= 2)
        for (size_t i = 0; i < plan->count && !code; i++) {
            const struct write_tensor *tensor = &plan->tensors[i];
            uint64_t end = *data_bytes + values_of(tensor) * bytes;
            if (width(tensor) != bytes)
                continue;
            require(!json_object_get(header, tensor->name));
            if (json_object_set_new(header, tensor->name, entry(tensor, *data_bytes, end)))
                code = err_set(err, ERR_MEMORY, 0, "the header of a model");
            *data_bytes = end;
        }
    if (!code) {
        *text = json_dumps(header, JSON_COMPACT);
        if (!*text)
            code = err_set(err, ERR_MEMORY, 0, "the header of a model");
    }
    json_decref(header);
    return code;
}

static enum err_code write_header(struct outfile *file, const char *text,
                                  struct write_report *report, struct err *err)
{
    static const char blanks[ALIGN + 1] = "        ";
    size_t bytes = strlen(text), padding = (ALIGN - bytes % ALIGN) % ALIGN;
    uint8_t length[LENGTH_BYTES];
    enum err_code code;

    store_u64(length, bytes + padding);
    report->bytes += LENGTH_BYTES + bytes + padding;
    code = outfile_write(file, length, sizeof length, err);
    if (!code)
        code = outfile_write(file, text, bytes, err);
    return code ? code : outfile_write(file, blanks, padding, err);
}

/* ---- The data ---- */

static enum err_code write_tensor(struct outfile *file, const struct write_tensor *tensor,
                                  float *buffer, struct tally *tally, struct err *err)
{
    uint64_t rows = tensor->rank == 1 ? 1 : tensor->shape[0], row = values_of(tensor) / rows;
    uint64_t step = row < CHUNK_VALUES ? CHUNK_VALUES / row : 1;
    enum err_code code = ERR_OK;

    for (uint64_t first = 0; first < rows && !code; first += step) {
        uint64_t count = rows - first < step ? rows - first : step;
        tensor->rows(tensor->self, first, count, buffer);
        encode(buffer, count * row, tensor->dtype, tally);
        code = outfile_write(file, buffer, count * row * width(tensor), err);
    }
    return code;
}

static enum err_code write_data(struct outfile *file, const struct write_plan *plan,
                                struct write_report *report, struct err *err)
{
    const struct write_tensor *first = NULL;
    struct tally tally = {0};
    uint64_t values = CHUNK_VALUES;
    enum err_code code = ERR_OK;
    float *buffer;

    for (size_t i = 0; i < plan->count; i++) {
        const struct write_tensor *t = &plan->tensors[i];
        uint64_t row = values_of(t) / (t->rank == 1 ? 1 : t->shape[0]);
        values = row > values ? row : values;
    }
    buffer = malloc(values * sizeof *buffer);
    if (!buffer)
        return err_set(err, ERR_MEMORY, 0, "%llu values of a model", (unsigned long long)values);
    for (size_t bytes = 4; bytes >= 2 && !code; bytes /= 2)
        for (size_t i = 0; i < plan->count && !code; i++) {
            if (width(&plan->tensors[i]) != bytes)
                continue;
            code = write_tensor(file, &plan->tensors[i], buffer, &tally, err);
            if (tally.overflowed && !first)
                first = &plan->tensors[i];
        }
    free(buffer);
    if (!code && first)
        code =
            err_set(err, ERR_LIMIT, 0,
                    "%llu values are too large for %s, the first in tensor '%s': use bf16",
                    (unsigned long long)tally.overflowed, dtypes[first->dtype].name, first->name);
    report->vanished = tally.vanished;
    report->not_finite = tally.not_finite;
    return code;
}

enum err_code safetensors_write(const char *path, const struct write_plan *plan,
                                struct write_report *report, struct err *err)
{
    struct write_report done = {0};
    struct outfile *file = NULL;
    char *text = NULL;
    enum err_code code = make_header(plan, &text, &done.bytes, err);

    if (!code)
        code = outfile_open(&file, path, err);
    if (!code)
        code = write_header(file, text, &done, err);
    if (!code)
        code = write_data(file, plan, &done, err);
    if (!code)
        code = outfile_commit(&file, err);
    if (!code)
        *report = done;
    outfile_close(&file);
    free(text);
    return code;
}
