/* engine/kernels/lanes.h: one vector of exactly 16 floats, whatever the processor's width.
 *
 * The width is part of the arithmetic: 16 lanes are the 16 partial sums of ref.c. AVX-512 holds them in
 * one register, AVX2 in two, NEON (lanes_neon.h) in four. To add a level, write its section: struct lanes
 * and the functions below, each with the rounding its comment names, and nothing in wide.c changes.
 * Include this only in files built for one level.
 *
 *     LEVEL                    name of the level, ends the names of exported symbols
 *     TILE_ROWS, TILE_PANELS   the product's register tile: ROWS x PANELS accumulators
 *     SCAN_ROWS                rows of the state that version 7's scan sums at a time
 *     SCAN_VECTORS             columns of the state, in vectors, that version 6's scan sums at a time
 *     PEAK_CHAINS              chains of fma that fit the registers, a divisor of 24
 *
 * words are 16 numbers of 32 bits, for products of narrow weights (bf16.c, int8.c). */
#ifndef ENGINE_KERNELS_LANES_H
#define ENGINE_KERNELS_LANES_H

#include "engine/kernels/inside.h"
#include "engine/kernels/unroll.h"

#include <stddef.h>
#include <stdint.h>

#if defined(__aarch64__)
#include "engine/kernels/lanes_neon.h"
#else
#include <immintrin.h>

#if defined(__AVX512F__)

#define LEVEL        avx512
#define TILE_ROWS    8
#define TILE_PANELS  3
#define SCAN_ROWS    16
#define SCAN_VECTORS 4
#define PEAK_CHAINS  24

struct lanes {
    __m512 v;
};

INLINE struct lanes lanes_of(__m512 v)
{
    return (struct lanes){v};
}

INLINE struct lanes lanes_set(float x)
{
    return lanes_of(_mm512_set1_ps(x));
}

INLINE struct lanes lanes_load(const float *from)
{
    return lanes_of(_mm512_loadu_ps(from));
}

INLINE void lanes_store(float *to, struct lanes x)
{
    _mm512_storeu_ps(to, x.v);
}

/* The first count < 16 floats; the rest are +0 and not touched. */
INLINE struct lanes lanes_load_part(const float *from, size_t count)
{
    return lanes_of(_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from));
}

INLINE void lanes_store_part(float *to, struct lanes x, size_t count)
{
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), x.v);
}

/* The first count < 16 lanes of x, fill in the others. */
INLINE struct lanes lanes_keep(struct lanes x, size_t count, struct lanes fill)
{
    return lanes_of(_mm512_mask_mov_ps(fill.v, (__mmask16)((1u << count) - 1), x.v));
}

INLINE struct lanes lanes_add(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_add_ps(a.v, b.v));
}

INLINE struct lanes lanes_sub(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_sub_ps(a.v, b.v));
}

INLINE struct lanes lanes_mul(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_mul_ps(a.v, b.v));
}

INLINE struct lanes lanes_div(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_div_ps(a.v, b.v));
}

/* a b + c, rounded once. */
INLINE struct lanes lanes_fma(struct lanes a, struct lanes b, struct lanes c)
{
    return lanes_of(_mm512_fmadd_ps(a.v, b.v, c.v));
}

/* a < b ? a : b, and a > b ? a : b, with a NaN too. */
INLINE struct lanes lanes_lower(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_min_ps(a.v, b.v));
}

INLINE struct lanes lanes_higher(struct lanes a, struct lanes b)
{
    return lanes_of(_mm512_max_ps(a.v, b.v));
}

/* a < b ? yes : no. */
INLINE struct lanes lanes_if_less(struct lanes a, struct lanes b, struct lanes yes, struct lanes no)
{
    __mmask16 less = _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ);
    return lanes_of(_mm512_mask_mov_ps(no.v, less, yes.v));
}

INLINE struct lanes lanes_abs(struct lanes x)
{
    return lanes_of(_mm512_andnot_ps(_mm512_set1_ps(-0.0f), x.v));
}

INLINE struct lanes lanes_negate(struct lanes x)
{
    return lanes_of(_mm512_xor_ps(_mm512_set1_ps(-0.0f), x.v));
}

/* size, which is not negative, with the sign of sign. */
INLINE struct lanes lanes_sign_of(struct lanes size, struct lanes sign)
{
    return lanes_of(_mm512_or_ps(size.v, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign.v)));
}

/* ref.c's scale: p 2^n by two exact factors, one rounding at most; magic are the bits of EXP_MAGIC. */
INLINE struct lanes lanes_scale(struct lanes p, struct lanes n_magic, uint32_t magic)
{
    __m512i n =
        _mm512_sub_epi32(_mm512_castps_si512(n_magic.v), _mm512_set1_epi32((int)(magic - 256)));
    __m512i half = _mm512_srli_epi32(n, 1), rest = _mm512_sub_epi32(n, half);
    __m512i one = _mm512_set1_epi32(1);
    __m512 a = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(half, one), 23));
    __m512 b = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(rest, one), 23));
    return lanes_of(_mm512_mul_ps(_mm512_mul_ps(p.v, a), b));
}

/* Lanes 0-7 and 8-15. */
INLINE __m256 lanes_low(struct lanes x)
{
    return _mm512_castps512_ps256(x.v);
}

INLINE __m256 lanes_high(struct lanes x)
{
    return _mm512_extractf32x8_ps(x.v, 1);
}

/* The first tree step of two vectors at once: lanes 0-7 of a, then of b, each plus its upper half. */
INLINE struct lanes fold8(struct lanes a, struct lanes b)
{
    __m512 low = _mm512_shuffle_f32x4(a.v, b.v, 0x44), high = _mm512_shuffle_f32x4(a.v, b.v, 0xEE);
    return lanes_of(_mm512_add_ps(low, high));
}

/* The second step of two such pairs: four lanes of each of four vectors, order a0 a1 b0 b1. */
INLINE struct lanes fold4(struct lanes a, struct lanes b)
{
    __m512 low = _mm512_shuffle_f32x4(a.v, b.v, 0x88), high = _mm512_shuffle_f32x4(a.v, b.v, 0xDD);
    return lanes_of(_mm512_add_ps(low, high));
}

/* The last two steps of four such fours: in each 128 bits the sums of a, b, c, d's four lanes. */
INLINE struct lanes fold21(struct lanes a, struct lanes b, struct lanes c, struct lanes d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x44), _mm512_shuffle_ps(a.v, b.v, 0xEE));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_ps(c.v, d.v, 0x44), _mm512_shuffle_ps(c.v, d.v, 0xEE));
    return lanes_of(
        _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xDD)));
}

/* The tree sums of SCAN_ROWS vectors, in order. Each fold serves several vectors; vector 4 q + p must
 * end in 128-bit lane q, place p, so it enters fours by its q. */
INLINE void lanes_sums(const struct lanes x[SCAN_ROWS], float *sums)
{
    struct lanes a = fold4(fold8(x[0], x[4]), fold8(x[8], x[12]));
    struct lanes b = fold4(fold8(x[1], x[5]), fold8(x[9], x[13]));
    struct lanes c = fold4(fold8(x[2], x[6]), fold8(x[10], x[14]));
    struct lanes d = fold4(fold8(x[3], x[7]), fold8(x[11], x[15]));
    lanes_store(sums, fold21(a, b, c, d));
}

/* 16 words of 32 bits. Not as __m512i, which is 8 of 64: gcc 12 keeps sums in memory whose instructions take another
 * type than they are kept as, and the product stored all of them every fourth step. */
struct words {
    int32_t v __attribute__((vector_size(64)));
};

INLINE struct words words_of(__m512i v)
{
    struct words words;
    words.v = (__typeof__(words.v))v;
    return words;
}

INLINE __m512i words_v(struct words x)
{
    return (__m512i)x.v;
}

INLINE struct words words_load(const void *from)
{
    return words_of(_mm512_loadu_si512(from));
}

INLINE struct words words_set(uint32_t x)
{
    return words_of(_mm512_set1_epi32((int)x));
}

INLINE struct words words_add(struct words a, struct words b)
{
    return words_of(_mm512_add_epi32(words_v(a), words_v(b)));
}

INLINE struct words words_shift_left(struct words x, int bits)
{
    return words_of(_mm512_slli_epi32(words_v(x), (unsigned)bits));
}

INLINE struct words words_and(struct words a, struct words b)
{
    return words_of(_mm512_and_si512(words_v(a), words_v(b)));
}

/* The bits as they are, and the integers as floats. */
INLINE struct lanes words_bits(struct words x)
{
    return lanes_of(_mm512_castsi512_ps(words_v(x)));
}

INLINE struct lanes words_to_lanes(struct words x)
{
    return lanes_of(_mm512_cvtepi32_ps(words_v(x)));
}

/* The four signed bytes of each word multiplied pair by pair and added up. */
INLINE struct words words_dot(struct words a, struct words b)
{
    __m512i a_odd = _mm512_srai_epi16(words_v(a), 8), b_odd = _mm512_srai_epi16(words_v(b), 8);
    __m512i a_even = _mm512_srai_epi16(_mm512_slli_epi16(words_v(a), 8), 8);
    __m512i b_even = _mm512_srai_epi16(_mm512_slli_epi16(words_v(b), 8), 8);
    return words_of(
        _mm512_add_epi32(_mm512_madd_epi16(a_even, b_even), _mm512_madd_epi16(a_odd, b_odd)));
}

#elif defined(__AVX2__) && defined(__FMA__)

#define LEVEL        avx2
#define TILE_ROWS    6
#define TILE_PANELS  1
#define SCAN_ROWS    4
#define SCAN_VECTORS 2
#define PEAK_CHAINS  6

struct lanes {
    __m256 a, b; /* lanes 0-7, 8-15 */
};

INLINE struct lanes lanes_of(__m256 a, __m256 b)
{
    return (struct lanes){a, b};
}

INLINE struct lanes lanes_set(float x)
{
    __m256 v = _mm256_set1_ps(x);
    return lanes_of(v, v);
}

INLINE struct lanes lanes_load(const float *from)
{
    return lanes_of(_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8));
}

INLINE void lanes_store(float *to, struct lanes x)
{
    _mm256_storeu_ps(to, x.a);
    _mm256_storeu_ps(to + 8, x.b);
}

/* All ones in the lanes first .. first + 7 that are below count. */
INLINE __m256i lanes_below(size_t count, int first)
{
    __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count - first), index);
}

INLINE struct lanes lanes_load_part(const float *from, size_t count)
{
    return lanes_of(_mm256_maskload_ps(from, lanes_below(count, 0)),
                    _mm256_maskload_ps(from + 8, lanes_below(count, 8)));
}

INLINE void lanes_store_part(float *to, struct lanes x, size_t count)
{
    _mm256_maskstore_ps(to, lanes_below(count, 0), x.a);
    _mm256_maskstore_ps(to + 8, lanes_below(count, 8), x.b);
}

INLINE struct lanes lanes_keep(struct lanes x, size_t count, struct lanes fill)
{
    return lanes_of(_mm256_blendv_ps(fill.a, x.a, _mm256_castsi256_ps(lanes_below(count, 0))),
                    _mm256_blendv_ps(fill.b, x.b, _mm256_castsi256_ps(lanes_below(count, 8))));
}

INLINE struct lanes lanes_add(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b));
}

INLINE struct lanes lanes_sub(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b));
}

INLINE struct lanes lanes_mul(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b));
}

INLINE struct lanes lanes_div(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b));
}

INLINE struct lanes lanes_fma(struct lanes a, struct lanes b, struct lanes c)
{
    return lanes_of(_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b));
}

INLINE struct lanes lanes_lower(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b));
}

INLINE struct lanes lanes_higher(struct lanes a, struct lanes b)
{
    return lanes_of(_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b));
}

INLINE struct lanes lanes_if_less(struct lanes a, struct lanes b, struct lanes yes, struct lanes no)
{
    return lanes_of(_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                    _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ)));
}

INLINE struct lanes lanes_abs(struct lanes x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return lanes_of(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}

INLINE struct lanes lanes_negate(struct lanes x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return lanes_of(_mm256_xor_ps(sign, x.a), _mm256_xor_ps(sign, x.b));
}

INLINE struct lanes lanes_sign_of(struct lanes size, struct lanes sign)
{
    __m256 bit = _mm256_set1_ps(-0.0f);
    return lanes_of(_mm256_or_ps(size.a, _mm256_and_ps(bit, sign.a)),
                    _mm256_or_ps(size.b, _mm256_and_ps(bit, sign.b)));
}

INLINE __m256 scale8(__m256 p, __m256 n_magic, uint32_t magic)
{
    __m256i n =
        _mm256_sub_epi32(_mm256_castps_si256(n_magic), _mm256_set1_epi32((int)(magic - 256)));
    __m256i half = _mm256_srli_epi32(n, 1), rest = _mm256_sub_epi32(n, half);
    __m256i one = _mm256_set1_epi32(1);
    __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_sub_epi32(half, one), 23));
    __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_sub_epi32(rest, one), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, a), b);
}

INLINE struct lanes lanes_scale(struct lanes p, struct lanes n_magic, uint32_t magic)
{
    return lanes_of(scale8(p.a, n_magic.a, magic), scale8(p.b, n_magic.b, magic));
}

INLINE __m256 lanes_low(struct lanes x)
{
    return x.a;
}

INLINE __m256 lanes_high(struct lanes x)
{
    return x.b;
}

/* The first two tree steps of one vector. */
INLINE __m128 fold84(struct lanes x)
{
    __m256 v = _mm256_add_ps(x.a, x.b);
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

INLINE void lanes_sums(const struct lanes x[SCAN_ROWS], float *sums)
{
    __m128 a = fold84(x[0]), b = fold84(x[1]), c = fold84(x[2]), d = fold84(x[3]);
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_storeu_ps(sums, _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xDD)));
}

struct words {
    __m256i a, b;
};

INLINE struct words words_of(__m256i a, __m256i b)
{
    return (struct words){a, b};
}

INLINE struct words words_load(const void *from)
{
    const __m256i *at = from;
    return words_of(_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1));
}

INLINE struct words words_set(uint32_t x)
{
    __m256i v = _mm256_set1_epi32((int)x);
    return words_of(v, v);
}

INLINE struct words words_add(struct words a, struct words b)
{
    return words_of(_mm256_add_epi32(a.a, b.a), _mm256_add_epi32(a.b, b.b));
}

INLINE struct words words_shift_left(struct words x, int bits)
{
    return words_of(_mm256_slli_epi32(x.a, bits), _mm256_slli_epi32(x.b, bits));
}

INLINE struct words words_and(struct words a, struct words b)
{
    return words_of(_mm256_and_si256(a.a, b.a), _mm256_and_si256(a.b, b.b));
}

INLINE struct lanes words_bits(struct words x)
{
    return lanes_of(_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b));
}

INLINE struct lanes words_to_lanes(struct words x)
{
    return lanes_of(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}

INLINE __m256i dot8(__m256i a, __m256i b)
{
    __m256i a_odd = _mm256_srai_epi16(a, 8), b_odd = _mm256_srai_epi16(b, 8);
    __m256i a_even = _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8);
    __m256i b_even = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
    return _mm256_add_epi32(_mm256_madd_epi16(a_even, b_even), _mm256_madd_epi16(a_odd, b_odd));
}

INLINE struct words words_dot(struct words a, struct words b)
{
    return words_of(dot8(a.a, b.a), dot8(a.b, b.b));
}

#else
#error "no lanes for this level"
#endif

/* ---- On x86 both levels end alike. ---- */

/* The tree 8-4-2-1 over the lanes. */
INLINE float lanes_sum(struct lanes x)
{
    __m256 eight = _mm256_add_ps(lanes_low(x), lanes_high(x));
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

/* The same tree of lanes_higher, the upper half as its first argument. */
INLINE float lanes_max(struct lanes x)
{
    __m256 eight = _mm256_max_ps(lanes_high(x), lanes_low(x));
    __m128 v = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
    v = _mm_max_ps(_mm_movehl_ps(v, v), v);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(v), v));
}

#endif

/* ---- On every level. ---- */

/* All panels from panel on, CALL(n) with as many at once as have a tile of their own. Four are two twos, not three
 * and one. */
#if TILE_PANELS == 3
#define EACH_GROUP(panel, all, CALL)                                   \
    for (; (all) - (panel) >= 5 || (all) - (panel) == 3; (panel) += 3) \
        CALL(3);                                                       \
    for (; (all) - (panel) >= 2; (panel) += 2)                         \
        CALL(2);                                                       \
    for (; (panel) < (all); (panel)++)                                 \
    CALL(1)
#else
#define EACH_GROUP(panel, all, CALL)   \
    for (; (panel) < (all); (panel)++) \
    CALL(1)
#endif

/* A step of a panel, an input or a word of narrow ones, is 64 bytes. While a tile multiplies, it asks for 16 bytes a
 * step of what its group multiplies next, so that the weights come from memory while others are in use: where tile
 * number i of a group begins with it. A group's tiles go through steps begin .. end, then to those behind up to last,
 * then the next group begins. All is asked for by four tiles a panel; the others ask for what they have. */
INLINE const char *tile_ahead(const struct panels *w, size_t steps, size_t panel, size_t panels,
                              size_t begin, size_t end, size_t last, size_t i)
{
    const size_t first = end < last ? panel : panel + panels, at = end < last ? end : begin;
    const bool there = i / 4 < panels && (first + panels) * 16 <= w->outputs;
    const size_t step = there ? (first + i / 4) * steps + at : panel * steps + begin;

    return (const char *)w->data + step * 64 + (there ? i % 4 * (end - begin) * 16 : 0);
}

/* A row's end: left numbers or more are there. */
INLINE struct lanes load(const float *from, size_t left)
{
    return left >= 16 ? lanes_load(from) : lanes_load_part(from, left);
}

INLINE void store(float *to, struct lanes x, size_t left)
{
    if (left >= 16)
        lanes_store(to, x);
    else
        lanes_store_part(to, x, left);
}

#endif
