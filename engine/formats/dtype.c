/* engine/formats/dtype.c: the number formats of model files. */
#include "engine/formats/formats.h"

#include <string.h>

static void decode_f32(float *out, const uint8_t *data, size_t count)
{
    memcpy(out, data, count * sizeof *out);
}

/* A half shifted into a float's place is 2^112 too small, subnormals included, so that one exact
 * multiplication puts it right; infinity and NaN get their exponent back afterwards. No branch: the
 * loop becomes vector code. */
static void decode_f16(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        uint32_t bits;
        float value;

        memcpy(&half, data + 2 * i, sizeof half);
        bits = (uint32_t)(half & 0x7FFF) << 13;
        memcpy(&value, &bits, sizeof value);
        value *= 0x1p112f;
        memcpy(&bits, &value, sizeof bits);
        bits |= (half & 0x7C00) == 0x7C00 ? 0x7F800000u : 0;
        bits |= (uint32_t)(half & 0x8000) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
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

const struct dtype_info dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4, decode_f32},    [DTYPE_F16] = {"F16", 1, 2, decode_f16},
    [DTYPE_BF16] = {"BF16", 1, 2, decode_bf16}, [DTYPE_Q4_0] = {"Q4_0", 32, 18, NULL},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, NULL},      [DTYPE_Q5_0] = {"Q5_0", 32, 22, NULL},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24, NULL},      [DTYPE_Q8_0] = {"Q8_0", 32, 34, NULL},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144, NULL},    [DTYPE_Q5_K] = {"Q5_K", 256, 176, NULL},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210, NULL},
};

bool dtype_bytes(enum dtype dtype, uint64_t values, uint64_t *bytes)
{
    const struct dtype_info *info = &dtypes[dtype];

    return values % info->items == 0 &&
           !__builtin_mul_overflow(values / info->items, (uint64_t)info->bytes, bytes);
}

static uint64_t row_values(const struct tensor *tensor)
{
    return tensor->rank == 1 ? tensor->values : tensor->values / tensor->shape[0];
}

const uint8_t *tensor_at(const struct tensor *tensor, uint64_t row, uint64_t column)
{
    uint64_t index =
        tensor->transposed ? column * tensor->shape[0] + row : row * row_values(tensor) + column;

    require(dtypes[tensor->dtype].items == 1 && index < tensor->values);
    return tensor->data + index * dtypes[tensor->dtype].bytes;
}

void tensor_rows(const struct tensor *tensor, uint64_t first, uint64_t count, float *out)
{
    const struct dtype_info *info = &dtypes[tensor->dtype];
    uint64_t values = row_values(tensor);

    require(info->decode && values % info->items == 0 &&
            (first + count) * values <= tensor->values);
    if (!tensor->transposed) {
        info->decode(out, tensor->data + first * values / info->items * info->bytes,
                     count * values);
        return;
    }
    for (uint64_t row = first; row < first + count; row++)
        for (uint64_t column = 0; column < values; column++)
            info->decode(out++, tensor_at(tensor, row, column), 1);
}
