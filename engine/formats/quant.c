/* engine/formats/quant.c: halves, and the block formats built on them.
 *
 * A block is one or two halves (the step d, and a minimum m), small integers q packed into bytes, and
 * for the K types a second level of six or eight bit scales. Arithmetic is float32, a rounding at each
 * step, in the order written in the formula beside each decoder:
 *
 *     Q4_0  d (q - 8)     Q5_0  d (q - 16)     Q8_0  d q     Q6_K  (d s) (q - 32)
 *     Q4_1  d q + m       Q5_1  d q + m        Q4_K and Q5_K  (d s) q - (dmin m)
 *
 * Each decoder first unpacks the integers of a group into bytes, then turns those into floats: two plain
 * loops of known length, which compilers make vector code of. */
#include "engine/formats/quant.h"
#include "schemas/bytes.h"

enum { GROUP = 32, SUPER = 256 };

/* A half shifted into a float's place is 2^112 too small, subnormals included, so that one exact
 * multiplication puts it right; infinity and NaN get their exponent back afterwards. */
static inline float float_of_half(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13;
    float value;

    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= (half & 0x7C00) == 0x7C00 ? 0x7F800000u : 0;
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void decode_f16(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;

        memcpy(&half, data + 2 * i, sizeof half);
        out[i] = float_of_half(half);
    }
}

static inline float half_at(const uint8_t *at)
{
    return float_of_half(load_u16(at));
}

/* The low halves of count bytes, then the high ones. */
static inline void split_nibbles(uint8_t *restrict items, const uint8_t *restrict bytes,
                                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        items[i] = bytes[i] & 15;
        items[count + i] = bytes[i] >> 4;
    }
}

/* Bit i of the four bytes is bit 4 of item i. Eight at a time: a copy of the byte in each of eight, one
 * bit of it kept in each, and that one moved to where it belongs by a carry or its absence. */
static inline void add_fifth_bits(uint8_t *items, const uint8_t *bytes)
{
    for (size_t i = 0; i < GROUP / 8; i++) {
        uint64_t bits = bytes[i] * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        uint64_t fifth = (bits + UINT64_C(0x7F7F7F7F7F7F7F7F)) >> 3 & UINT64_C(0x1010101010101010);

        store_u64(items + 8 * i, load_u64(items + 8 * i) | fifth);
    }
}

/* out = d (q - bias). */
static inline void scale(float *restrict out, const uint8_t *restrict items, size_t count, float d,
                         int bias)
{
    for (size_t i = 0; i < count; i++)
        out[i] = d * (float)(items[i] - bias);
}

/* out = d q + m. */
static inline void scale_and_shift(float *restrict out, const uint8_t *restrict items, float d,
                                   float m)
{
    for (size_t i = 0; i < GROUP; i++)
        out[i] = d * (float)items[i] + m;
}

void decode_q4_0(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += GROUP, data += 18) {
        uint8_t items[GROUP];

        split_nibbles(items, data + 2, GROUP / 2);
        scale(out + i, items, GROUP, half_at(data), 8);
    }
}

void decode_q4_1(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += GROUP, data += 20) {
        uint8_t items[GROUP];

        split_nibbles(items, data + 4, GROUP / 2);
        scale_and_shift(out + i, items, half_at(data), half_at(data + 2));
    }
}

void decode_q5_0(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += GROUP, data += 22) {
        uint8_t items[GROUP];

        split_nibbles(items, data + 6, GROUP / 2);
        add_fifth_bits(items, data + 2);
        scale(out + i, items, GROUP, half_at(data), 16);
    }
}

void decode_q5_1(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += GROUP, data += 24) {
        uint8_t items[GROUP];

        split_nibbles(items, data + 8, GROUP / 2);
        add_fifth_bits(items, data + 4);
        scale_and_shift(out + i, items, half_at(data), half_at(data + 2));
    }
}

void decode_q8_0(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += GROUP, data += 34) {
        float d = half_at(data);

        for (size_t k = 0; k < GROUP; k++)
            out[i + k] = d * (float)(int8_t)data[2 + k];
    }
}

/* ---- K types: 256 items with scales of their own for each 32 or 16. ---- */

/* The six bits of a group's scale and of its minimum. */
static inline void six_bits(const uint8_t *b, unsigned group, uint8_t *s, uint8_t *m)
{
    if (group < 4) {
        *s = b[group] & 63;
        *m = b[group + 4] & 63;
    } else {
        *s = (uint8_t)((b[group + 4] & 15) | b[group - 4] >> 6 << 4);
        *m = (uint8_t)(b[group + 4] >> 4 | b[group] >> 6 << 4);
    }
}

/* Eight groups of 32 items, whose scales follow d and dmin. */
static inline void scale_groups(float *out, const uint8_t *items, const uint8_t *block)
{
    float d = half_at(block), dmin = half_at(block + 2);

    for (unsigned group = 0; group < SUPER / GROUP; group++) {
        uint8_t s, m;

        six_bits(block + 4, group, &s, &m);
        scale_and_shift(out + group * GROUP, items + group * GROUP, d * (float)s,
                        -(dmin * (float)m));
    }
}

void decode_q4_k(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += SUPER, data += 144) {
        uint8_t items[SUPER];

        for (size_t run = 0; run < 4; run++)
            split_nibbles(items + 2 * run * GROUP, data + 16 + run * GROUP, GROUP);
        scale_groups(out + i, items, data);
    }
}

void decode_q5_k(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += SUPER, data += 176) {
        const uint8_t *high = data + 16;
        uint8_t items[SUPER];

        for (size_t run = 0; run < 4; run++)
            split_nibbles(items + 2 * run * GROUP, data + 48 + run * GROUP, GROUP);
        for (unsigned group = 0; group < SUPER / GROUP; group++)
            for (size_t k = 0; k < GROUP; k++)
                items[group * GROUP + k] |= (uint8_t)((high[k] >> group & 1) << 4);
        scale_groups(out + i, items, data);
    }
}

/* Half of a block: 128 items of 64 bytes of low and 32 bytes of high bits. */
static inline void join_six(uint8_t *restrict items, const uint8_t *restrict low,
                            const uint8_t *restrict high)
{
    for (size_t i = 0; i < 32; i++) {
        items[i] = (uint8_t)((low[i] & 15) | (high[i] & 3) << 4);
        items[32 + i] = (uint8_t)((low[32 + i] & 15) | (high[i] >> 2 & 3) << 4);
        items[64 + i] = (uint8_t)(low[i] >> 4 | (high[i] >> 4 & 3) << 4);
        items[96 + i] = (uint8_t)(low[32 + i] >> 4 | high[i] >> 6 << 4);
    }
}

void decode_q6_k(float *out, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += SUPER, data += 210) {
        float d = half_at(data + 208);
        uint8_t items[SUPER];

        join_six(items, data, data + 128);
        join_six(items + 128, data + 64, data + 160);
        for (size_t group = 0; group < SUPER / 16; group++)
            scale(out + i + group * 16, items + group * 16, 16,
                  d * (float)(int8_t)data[192 + group], 32);
    }
}
