/* engine/formats/dtype.c: the number formats of model files. */
#include "engine/formats/formats.h"
#include "engine/formats/quant.h"

#include <string.h>

static void decode_f32(float *out, const uint8_t *data, size_t count)
{
    memcpy(out, data, count * sizeof *out);
}

static void decode_bf16(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t high;
        uint32_t bits;

        memcpy(&high, data + 2 * i, sizeof high);
        bits = (uint32_t)high << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

static void decode_f64(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value;

        memcpy(&value, data + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

const struct dtype_info dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4, decode_f32},        [DTYPE_F16] = {"F16", 1, 2, decode_f16},
    [DTYPE_BF16] = {"BF16", 1, 2, decode_bf16},     [DTYPE_Q4_0] = {"Q4_0", 32, 18, decode_q4_0},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, decode_q4_1},   [DTYPE_Q5_0] = {"Q5_0", 32, 22, decode_q5_0},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24, decode_q5_1},   [DTYPE_Q8_0] = {"Q8_0", 32, 34, decode_q8_0},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144, decode_q4_k}, [DTYPE_Q5_K] = {"Q5_K", 256, 176, decode_q5_k},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210, decode_q6_k}, [DTYPE_F64] = {"F64", 1, 8, decode_f64},
};

bool dtype_bytes(enum dtype dtype, uint64_t values, uint64_t *bytes)
{
    const struct dtype_info *info = &dtypes[dtype];

    return values % info->items == 0 &&
           !__builtin_mul_overflow(values / info->items, (uint64_t)info->bytes, bytes);
}

/* ---- Tensors of any strides ---- */

static uint64_t row_values(const struct tensor *tensor)
{
    return tensor->rank == 1 ? tensor->values : tensor->values / tensor->shape[0];
}

bool tensor_is_plain(const struct tensor *tensor)
{
    uint64_t expected = 1;

    for (unsigned i = tensor->rank; i-- > 0;) {
        if (tensor->shape[i] > 1 && tensor->stride[i] != expected)
            return false;
        expected *= tensor->shape[i];
    }
    return true;
}

void tensor_transpose(struct tensor *tensor)
{
    unsigned last = tensor->rank - 1;
    uint64_t shape = tensor->shape[last], stride = tensor->stride[last];

    require(tensor->rank >= 2 && dtypes[tensor->dtype].items == 1);
    tensor->shape[last] = tensor->shape[last - 1];
    tensor->stride[last] = tensor->stride[last - 1];
    tensor->shape[last - 1] = shape;
    tensor->stride[last - 1] = stride;
}

bool tensor_part(const struct tensor *whole, uint64_t index, struct tensor *part)
{
    const struct dtype_info *info = &dtypes[whole->dtype];
    uint64_t values = whole->values / whole->shape[0], extent = 1;
    struct tensor p = *whole;

    require(whole->rank >= 2 && index < whole->shape[0]);
    if (values % info->items)
        return false;
    p.rank--;
    p.values = values;
    for (unsigned i = 0; i < p.rank; i++) {
        p.shape[i] = whole->shape[i + 1];
        p.stride[i] = whole->stride[i + 1];
        extent += (p.shape[i] - 1) * p.stride[i];
    }
    p.data += index * whole->stride[0] / info->items * info->bytes;
    p.bytes = extent / info->items * info->bytes;
    *part = p;
    return true;
}

/* Copy values of `bytes` each that lie `stride` bytes apart; written out so that each loop has a size
 * the compiler knows. */
static void gather(uint8_t *to, const uint8_t *from, uint64_t count, uint64_t stride, size_t bytes)
{
    for (uint64_t i = 0; bytes == 2 && i < count; i++)
        memcpy(to + 2 * i, from + i * stride, 2);
    for (uint64_t i = 0; bytes == 4 && i < count; i++)
        memcpy(to + 4 * i, from + i * stride, 4);
    for (uint64_t i = 0; bytes == 8 && i < count; i++)
        memcpy(to + 8 * i, from + i * stride, 8);
}

/* Axes from `axis` on, at `from`, in canonical order to *to, which moves on. */
static void gather_axes(const struct tensor *t, unsigned axis, const uint8_t *from, uint8_t **to)
{
    size_t bytes = dtypes[t->dtype].bytes;

    if (axis + 1 == t->rank) {
        gather(*to, from, t->shape[axis], t->stride[axis] * bytes, bytes);
        *to += t->shape[axis] * bytes;
        return;
    }
    for (uint64_t i = 0; i < t->shape[axis]; i++)
        gather_axes(t, axis + 1, from + i * t->stride[axis] * bytes, to);
}

void tensor_raw_row(const struct tensor *tensor, uint64_t row, uint8_t *raw)
{
    const struct dtype_info *info = &dtypes[tensor->dtype];
    unsigned first = tensor->rank == 1 ? 0 : 1;
    uint64_t values = row_values(tensor);

    require(row < (tensor->rank == 1 ? 1 : tensor->shape[0]));
    if (tensor_is_plain(tensor)) {
        uint64_t bytes = values / info->items * info->bytes;
        memcpy(raw, tensor->data + row * bytes, bytes);
        return;
    }
    require(info->items == 1);
    gather_axes(tensor, first, tensor->data + (first ? row * tensor->stride[0] * info->bytes : 0),
                &raw);
}

/* The same as float32, where the last axis is all there is to a row: a run at a time, no allocation. */
static void strided_row(const struct tensor *t, unsigned axis, const uint8_t *from, float **out)
{
    enum { RUN = 256 };
    const struct dtype_info *info = &dtypes[t->dtype];
    uint64_t stride = t->stride[axis] * info->bytes;
    uint8_t raw[RUN * 8];

    if (axis + 1 < t->rank) {
        for (uint64_t i = 0; i < t->shape[axis]; i++)
            strided_row(t, axis + 1, from + i * stride, out);
        return;
    }
    for (uint64_t i = 0; i < t->shape[axis]; i += RUN) {
        uint64_t count = t->shape[axis] - i < RUN ? t->shape[axis] - i : RUN;
        gather(raw, from + i * stride, count, stride, info->bytes);
        info->decode(*out, raw, count);
        *out += count;
    }
}

void tensor_rows(const struct tensor *tensor, uint64_t first, uint64_t count, float *out)
{
    const struct dtype_info *info = &dtypes[tensor->dtype];
    uint64_t values = row_values(tensor);
    unsigned axis = tensor->rank == 1 ? 0 : 1;
    float *at = out;

    require(values % info->items == 0 && (first + count) * values <= tensor->values);
    if (tensor_is_plain(tensor)) {
        info->decode(out, tensor->data + first * values / info->items * info->bytes,
                     count * values);
    } else {
        uint64_t stride = axis ? tensor->stride[0] * info->bytes : 0;
        require(info->items == 1);
        for (uint64_t row = first; row < first + count; row++)
            strided_row(tensor, axis, tensor->data + row * stride, &at);
    }
    for (uint64_t i = 0; tensor->scale != 1 && i < count * values; i++)
        out[i] *= tensor->scale;
}
