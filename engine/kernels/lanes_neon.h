/* engine/kernels/lanes_neon.h: lanes.h's section for aarch64: 16 floats in four registers of four.
 *
 * NEON's own minimum and maximum give NaN where either argument is one; the key wants the second, so here they are a
 * comparison and a choice. Masked loads and stores there are none: a row's end goes through 16 floats on the stack. */
#ifndef ENGINE_KERNELS_LANES_NEON_H
#define ENGINE_KERNELS_LANES_NEON_H

#include "engine/kernels/unroll.h"

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 24 of the 32 registers hold a tile's sums, 4 its weights, 1 a number of x. */
#if defined(__ARM_FEATURE_DOTPROD)
#define LEVEL dotprod
#else
#define LEVEL neon
#endif
#define TILE_ROWS    6
#define TILE_PANELS  1
#define SCAN_ROWS    4
#define SCAN_VECTORS 2
#define PEAK_CHAINS  6

struct lanes {
    float32x4_t a, b, c, d; /* lanes 0-3, 4-7, 8-11, 12-15 */
};

/* f of each register. */
#define LANES_1(f, x) ((struct lanes){f((x).a), f((x).b), f((x).c), f((x).d)})
#define LANES_2(f, x, y) \
    ((struct lanes){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})
#define LANES_3(f, x, y, z)                                                                 \
    ((struct lanes){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b), f((x).c, (y).c, (z).c), \
                    f((x).d, (y).d, (z).d)})

INLINE struct lanes lanes_set(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (struct lanes){v, v, v, v};
}

INLINE struct lanes lanes_load(const float *from)
{
    return (struct lanes){vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8),
                          vld1q_f32(from + 12)};
}

INLINE void lanes_store(float *to, struct lanes x)
{
    vst1q_f32(to, x.a);
    vst1q_f32(to + 4, x.b);
    vst1q_f32(to + 8, x.c);
    vst1q_f32(to + 12, x.d);
}

INLINE struct lanes lanes_load_part(const float *from, size_t count)
{
    float part[16] = {0};
    memcpy(part, from, count * sizeof *part);
    return lanes_load(part);
}

INLINE void lanes_store_part(float *to, struct lanes x, size_t count)
{
    float part[16];
    lanes_store(part, x);
    memcpy(to, part, count * sizeof *part);
}

/* x in the lanes first .. first + 3 that are below count. */
INLINE float32x4_t keep4(float32x4_t x, size_t count, uint32_t first, float32x4_t fill)
{
    static const uint32_t index[4] = {0, 1, 2, 3};
    uint32x4_t lane = vaddq_u32(vld1q_u32(index), vdupq_n_u32(first));
    return vbslq_f32(vcltq_u32(lane, vdupq_n_u32((uint32_t)count)), x, fill);
}

INLINE struct lanes lanes_keep(struct lanes x, size_t count, struct lanes fill)
{
    return (struct lanes){keep4(x.a, count, 0, fill.a), keep4(x.b, count, 4, fill.b),
                          keep4(x.c, count, 8, fill.c), keep4(x.d, count, 12, fill.d)};
}

INLINE struct lanes lanes_add(struct lanes a, struct lanes b)
{
    return LANES_2(vaddq_f32, a, b);
}

INLINE struct lanes lanes_sub(struct lanes a, struct lanes b)
{
    return LANES_2(vsubq_f32, a, b);
}

INLINE struct lanes lanes_mul(struct lanes a, struct lanes b)
{
    return LANES_2(vmulq_f32, a, b);
}

INLINE struct lanes lanes_div(struct lanes a, struct lanes b)
{
    return LANES_2(vdivq_f32, a, b);
}

INLINE struct lanes lanes_fma(struct lanes a, struct lanes b, struct lanes c)
{
    return LANES_3(vfmaq_f32, c, a, b);
}

INLINE float32x4_t lower4(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

INLINE float32x4_t higher4(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

INLINE struct lanes lanes_lower(struct lanes a, struct lanes b)
{
    return LANES_2(lower4, a, b);
}

INLINE struct lanes lanes_higher(struct lanes a, struct lanes b)
{
    return LANES_2(higher4, a, b);
}

INLINE struct lanes lanes_if_less(struct lanes a, struct lanes b, struct lanes yes, struct lanes no)
{
    return (struct lanes){
        vbslq_f32(vcltq_f32(a.a, b.a), yes.a, no.a), vbslq_f32(vcltq_f32(a.b, b.b), yes.b, no.b),
        vbslq_f32(vcltq_f32(a.c, b.c), yes.c, no.c), vbslq_f32(vcltq_f32(a.d, b.d), yes.d, no.d)};
}

INLINE struct lanes lanes_abs(struct lanes x)
{
    return LANES_1(vabsq_f32, x);
}

INLINE struct lanes lanes_negate(struct lanes x)
{
    return LANES_1(vnegq_f32, x);
}

INLINE float32x4_t sign4(float32x4_t size, float32x4_t sign)
{
    return vbslq_f32(vdupq_n_u32(0x80000000), sign, size);
}

INLINE struct lanes lanes_sign_of(struct lanes size, struct lanes sign)
{
    return LANES_2(sign4, size, sign);
}

INLINE float32x4_t scale4(float32x4_t p, float32x4_t n_magic, uint32_t magic)
{
    uint32x4_t n = vsubq_u32(vreinterpretq_u32_f32(n_magic), vdupq_n_u32(magic - 256));
    uint32x4_t half = vshrq_n_u32(n, 1), rest = vsubq_u32(n, half), one = vdupq_n_u32(1);
    float32x4_t a = vreinterpretq_f32_u32(vshlq_n_u32(vsubq_u32(half, one), 23));
    float32x4_t b = vreinterpretq_f32_u32(vshlq_n_u32(vsubq_u32(rest, one), 23));
    return vmulq_f32(vmulq_f32(p, a), b);
}

INLINE struct lanes lanes_scale(struct lanes p, struct lanes n_magic, uint32_t magic)
{
    return (struct lanes){scale4(p.a, n_magic.a, magic), scale4(p.b, n_magic.b, magic),
                          scale4(p.c, n_magic.c, magic), scale4(p.d, n_magic.d, magic)};
}

/* The first two tree steps of one vector: lane i has i, i + 4, i + 8, i + 12. */
INLINE float32x4_t fold84(struct lanes x)
{
    return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
}

/* The third of two such fours: 0 + 2 and 1 + 3 of x, then of y. */
INLINE float32x4_t fold2(float32x4_t x, float32x4_t y)
{
    float64x2_t p = vreinterpretq_f64_f32(x), q = vreinterpretq_f64_f32(y);
    return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(p, q)),
                     vreinterpretq_f32_f64(vzip2q_f64(p, q)));
}

INLINE void lanes_sums(const struct lanes x[SCAN_ROWS], float *sums)
{
    float32x4_t ab = fold2(fold84(x[0]), fold84(x[1])), cd = fold2(fold84(x[2]), fold84(x[3]));
    vst1q_f32(sums, vpaddq_f32(ab, cd));
}

INLINE float lanes_sum(struct lanes x)
{
    float32x4_t four = fold84(x);
    return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

INLINE float lanes_max(struct lanes x)
{
    float32x4_t four = higher4(higher4(x.d, x.b), higher4(x.c, x.a));
    float32x2_t high = vget_high_f32(four), low = vget_low_f32(four);
    float32x2_t two = vbsl_f32(vcgt_f32(high, low), high, low);
    float one = vget_lane_f32(two, 1), zero = vget_lane_f32(two, 0);
    return one > zero ? one : zero;
}

struct words {
    int32x4_t a, b, c, d;
};

#define WORDS_2(f, x, y) \
    ((struct words){f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)})

INLINE struct words words_load(const void *from)
{
    const int32_t *at = from;
    return (struct words){vld1q_s32(at), vld1q_s32(at + 4), vld1q_s32(at + 8), vld1q_s32(at + 12)};
}

INLINE struct words words_set(uint32_t x)
{
    int32x4_t v = vdupq_n_s32((int32_t)x);
    return (struct words){v, v, v, v};
}

INLINE struct words words_add(struct words a, struct words b)
{
    return WORDS_2(vaddq_s32, a, b);
}

INLINE struct words words_and(struct words a, struct words b)
{
    return WORDS_2(vandq_s32, a, b);
}

INLINE struct words words_shift_left(struct words x, int bits)
{
    int32x4_t by = vdupq_n_s32(bits);
    return (struct words){vshlq_s32(x.a, by), vshlq_s32(x.b, by), vshlq_s32(x.c, by),
                          vshlq_s32(x.d, by)};
}

INLINE struct lanes words_bits(struct words x)
{
    return LANES_1(vreinterpretq_f32_s32, x);
}

INLINE struct lanes words_to_lanes(struct words x)
{
    return LANES_1(vcvtq_f32_s32, x);
}

/* Products of two bytes fit 16 bits; of four words' worth the pairs are added as they widen, then pairs of pairs. */
INLINE int32x4_t dot4(int32x4_t a, int32x4_t b)
{
    int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(y)), high = vmull_high_s8(x, y);
    return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}

INLINE struct words words_dot(struct words a, struct words b)
{
    return WORDS_2(dot4, a, b);
}

#if defined(__ARM_FEATURE_DOTPROD)
INLINE int32x4_t dot_add4(int32x4_t sum, int32x4_t a, int32x4_t b)
{
    return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}

/* sum + words_dot(a, b) in one instruction. */
INLINE struct words words_dot_add(struct words sum, struct words a, struct words b)
{
    return (struct words){dot_add4(sum.a, a.a, b.a), dot_add4(sum.b, a.b, b.b),
                          dot_add4(sum.c, a.c, b.c), dot_add4(sum.d, a.d, b.d)};
}
#endif

/* Flushing on this architecture takes as zero what is too small before it is rounded, where bf16-1 looks after. The
 * two differ for sums that are rounded up to the least normal number, and a sticky flag tells whether any sum was
 * flushed at all; the memory clobbers keep loads and stores, and so the sums between them, on their side. */
#define FLUSHES_BEFORE_ROUNDING 1
enum { UNDERFLOW_SEEN = 8 };

INLINE void flushed_clear(void)
{
    uint64_t status;

    __asm__ volatile("mrs %0, fpsr" : "=r"(status) : : "memory");
    status &= ~(uint64_t)UNDERFLOW_SEEN;
    __asm__ volatile("msr fpsr, %0" : : "r"(status) : "memory");
}

INLINE bool flushed_any(void)
{
    uint64_t status;

    __asm__ volatile("mrs %0, fpsr" : "=r"(status) : : "memory");
    return status & UNDERFLOW_SEEN;
}

#endif
