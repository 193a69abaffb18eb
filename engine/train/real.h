/* engine/train/real.h: vectors of 64 bytes of `real` as the compilers know them, and functions over them.
 *
 * No intrinsics: the same lines become AVX-512, AVX2, SSE or NEON by the flags of the file that
 * includes this, or doubles for the gradient check. Buffers begin on 64 bytes and sizes are multiples
 * of NET_MULTIPLE (shape.h), so every load is aligned and no loop has a tail.
 *
 * Error  exp and sigmoid within 4 ulp, tanh within 1e-7 of the truth; for double they are libm's. */
#ifndef ENGINE_TRAIN_REAL_H
#define ENGINE_TRAIN_REAL_H

#include "engine/train/net.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* No vector is ever passed: everything here is inlined. gcc would warn of it where the header stands alone. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

typedef real vec __attribute__((vector_size(64), may_alias));
enum { LANES = 64 / sizeof(real) };

/* The level's name ends each symbol that leaves its file. */
#define NET_JOIN2(a, b) a##_##b
#define NET_JOIN(a, b)  NET_JOIN2(a, b)
#define NET(name)       NET_JOIN(name, NET_LEVEL)
#define NET_TEXT2(a)    #a
#define NET_TEXT(a)     NET_TEXT2(a)

#define R(x) ((real)(x))

INLINE vec load(const real *from)
{
    return *(const vec *)from;
}

INLINE void store(real *to, vec x)
{
    *(vec *)to = x;
}

INLINE vec all(real x)
{
    return (vec){0} + x;
}

INLINE vec higher(vec a, vec b)
{
    vec c;
    for (int i = 0; i < LANES; i++)
        c[i] = a[i] > b[i] ? a[i] : b[i];
    return c;
}

INLINE vec lower(vec a, vec b)
{
    vec c;
    for (int i = 0; i < LANES; i++)
        c[i] = a[i] < b[i] ? a[i] : b[i];
    return c;
}

#ifdef NET_DOUBLE

INLINE real sum(vec x)
{
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

/* sums[i] = sum(x[i]), i < NET_MULTIPLE. */
INLINE void sums_of(const vec *x, real *sums)
{
    for (int i = 0; i < NET_MULTIPLE; i++)
        sums[i] = sum(x[i]);
}

INLINE vec exponential(vec x)
{
    vec y;
    for (int i = 0; i < LANES; i++)
        y[i] = exp(x[i]);
    return y;
}

INLINE vec square_root(vec x)
{
    vec y;
    for (int i = 0; i < LANES; i++)
        y[i] = sqrt(x[i]);
    return y;
}

INLINE vec hyperbolic_tangent(vec x)
{
    vec y;
    for (int i = 0; i < LANES; i++)
        y[i] = tanh(x[i]);
    return y;
}

#else

#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

INLINE real sum(vec x)
{
    x += SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    x += SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    x += SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return x[0] + x[1];
}

/* Two vectors' neighbouring lanes added: a's sums and b's in turn. Likewise twos and fours and eights. */
INLINE vec fold1(vec a, vec b)
{
    return SHUFFLE(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           SHUFFLE(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

INLINE vec fold2(vec a, vec b)
{
    return SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

INLINE vec fold4(vec a, vec b)
{
    return SHUFFLE(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           SHUFFLE(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
}

INLINE vec fold8(vec a, vec b)
{
    return SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

/* sums[i] = sum(x[i]), i < NET_MULTIPLE, in another order of adding. */
INLINE void sums_of(const vec *x, real *sums)
{
    vec a = fold4(fold2(fold1(x[0], x[1]), fold1(x[2], x[3])),
                  fold2(fold1(x[4], x[5]), fold1(x[6], x[7])));
    vec b = fold4(fold2(fold1(x[8], x[9]), fold1(x[10], x[11])),
                  fold2(fold1(x[12], x[13]), fold1(x[14], x[15])));

    store(sums, fold8(a, b));
}

typedef int32_t ints __attribute__((vector_size(64)));

/* 2^n e^r with |r| <= ln 2 / 2; a Taylor polynomial of degree 7 is below half an ulp there. */
INLINE vec exponential(vec x)
{
    const vec magic = all(0x1.8p+23f);
    vec n, r, p;

    x = lower(higher(x, all(-87.0f)), all(88.0f));
    n = (x * 0x1.715476p+0f + magic) - magic;
    r = x - n * 0x1.62e43p-1f;
    r = r + n * 0x1.05c61p-29f;
    p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (vec)((__builtin_convertvector(n, ints) + 127) << 23);
}

INLINE vec square_root(vec x)
{
    vec y;
    for (int i = 0; i < LANES; i++)
        y[i] = sqrtf(x[i]);
    return y;
}

INLINE vec hyperbolic_tangent(vec x)
{
    return 1.0f - 2.0f / (1.0f + exponential(2.0f * x));
}

#endif

INLINE vec logistic(vec x)
{
    return R(1) / (R(1) + exponential(-x));
}

#endif
