/* engine/kernels/inside.h: what the files of this folder share and nobody else sees. */
#ifndef ENGINE_KERNELS_INSIDE_H
#define ENGINE_KERNELS_INSIDE_H

#include "engine/kernels/kernels.h"

#include <math.h>
#include <signal.h>
#include <string.h>

/* What oneDNN 2.6's kernels keep lies below the stack pointer, where a signal handler's frame is put: a handler
 * that runs in the middle of sgemm ends in a crash or a broken heap. So signals wait while it computes. */
static inline void signals_hold(sigset_t *before)
{
    sigset_t all;

    sigfillset(&all);
    require(pthread_sigmask(SIG_SETMASK, &all, before) == 0);
}

static inline void signals_go(const sigset_t *before)
{
    require(pthread_sigmask(SIG_SETMASK, before, NULL) == 0);
}

/* ---- Constants of f32-1: changing one makes another arithmetic. ---- */

#define EXP_HIGH   89.0f     /* exp of it is infinite */
#define EXP_LOW    (-104.0f) /* exp of it is 0 */
#define EXP_LOG2_E 0x1.715476p+0f
#define EXP_MAGIC  0x1.8p+23f /* adding it rounds to an integer, found in the lowest bits */
#define EXP_LN2_HI 0x1.62e43p-1f
#define EXP_LN2_LO (-0x1.05c61p-29f)
/* exp(r) = 1 + r (1 + r (c0 + r (c1 + ...))), |r| <= ln 2 / 2: minimax to 3.1e-9. */
#define EXP_C0 0x1.fffffcp-2f
#define EXP_C1 0x1.555492p-3f
#define EXP_C2 0x1.5558f2p-5f
#define EXP_C3 0x1.123a2p-7f
#define EXP_C4 0x1.6a23cep-10f

/* tanh(x) = x + x z (c0 + z (c1 + ...)), z = x x, |x| < TANH_SMALL: minimax to 4.4e-9. */
#define TANH_SMALL 0.625f
#define TANH_C0    (-0.333332807f)
#define TANH_C1    0.133314416f
#define TANH_C2    (-0.0537397154f)
#define TANH_C3    0.0206390861f
#define TANH_C4    (-0.00570498686f)

#define DECAY_SCALE (-0.606531f)
#define KAPPA_MIN   1e-12f

/* ---- Sums of products. ---- */

/* How many terms one chain has at most when inputs are summed. */
static inline size_t product_block(size_t inputs)
{
    return inputs <= 1024 ? 512 : 1024;
}

/* The key: one output of a product. */
float product_key(const float *x, const float *w, size_t inputs);

/* The key of bf16-1, both factors rounded by bf16_of (no flushing is needed), and of int8-1, the row w with its
 * scale. */
float product_key_bf16(const float *x, const float *w, size_t inputs);
float product_key_int8(const float *x, const float *w, size_t inputs);

/* Weights for our own kernel: output n stands in panel n / 16, and a panel is [inputs][16], so that
 * one load gives what 16 outputs multiply one x with. The last panel is padded with zeros. Narrow weights:
 * [words][16][inputs of a word], a word's being 2 or 4. Of int8: each output's scale, and the sum of its weights
 * times -128, which is where a chain of unsigned activations begins. */
struct panels {
    const void *data;
    size_t outputs, inputs;
    const float *scales;
    const int32_t *sums;
};

/* ---- Narrow numbers. ---- */

/* To nearest, ties to even; subnormal numbers are zero. */
static inline uint32_t bf16_of(float x)
{
    uint32_t bits, rounded;

    memcpy(&bits, &x, sizeof bits);
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    rounded = (bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded;
    return (bits & 0x7F800000) ? rounded : bits >> 16 & 0x8000;
}

static inline float bf16_float(uint32_t bf16)
{
    uint32_t bits = bf16 << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A sum of bf16-1: one that is subnormal is zero. */
static inline float bf16_sum(float sum)
{
    return fabsf(sum) < 0x1p-126f ? copysignf(0.0f, sum) : sum;
}

/* fma(a, b, sum) of bf16 numbers. What counts is the sum rounded as if it could be as small as it likes: below the
 * least normal number it is zero. fmaf rounds in coarser steps down there and may land on that number from a sum that
 * is zero by this rule; the exact sum decides, of which a double has enough to compare it with the tie. */
static inline float bf16_fma(float a, float b, float sum)
{
    float got = fmaf(a, b, sum);

    if (fabsf(got) == 0x1p-126f && fabs((double)a * b + sum) < 0x1p-126 - 0x1p-151)
        return copysignf(0.0f, got);
    return bf16_sum(got);
}

/* The unit of a row: the largest size / 127; 1 for zeros; NaN where the row is not finite. */
static inline float int8_scale(const float *x, size_t count)
{
    uint32_t top = 0;
    float largest;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFF;
        top = bits > top ? bits : top;
    }
    if (top >= 0x7F800000)
        return __builtin_nanf("");
    memcpy(&largest, &top, sizeof largest);
    largest /= 127.0f;
    return largest > 0 ? largest : 1.0f;
}

/* x / scale to nearest, ties to even, + offset; a row without a scale is 0. */
static inline void int8_row(uint8_t *to, const float *x, size_t count, float scale, int offset)
{
    if (!(scale > 0)) {
        memset(to, offset, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float q = __builtin_rintf(x[i] / scale);
        q = q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q;
        to[i] = (uint8_t)((int)q + offset);
    }
}

/* ---- Levels. ---- */

struct level {
    const char *name;
    bool (*runs_here)(void);
    void (*fill)(struct kernels *kernels);
};
/* Those of this architecture, best first; the last one, "ref", runs on every processor and ends the list. */
extern const struct level kernels_levels[];

void kernels_ref(struct kernels *kernels);
void kernels_avx2(struct kernels *kernels);
void kernels_avx512(struct kernels *kernels);
void kernels_neon(struct kernels *kernels);
/* Their narrow products; native, dotprod: by instructions for them. */
void kernels_bf16_avx2(struct kernels *kernels);
void kernels_bf16_avx512(struct kernels *kernels);
void kernels_bf16_native(struct kernels *kernels);
void kernels_bf16_neon(struct kernels *kernels);
void kernels_int8_avx2(struct kernels *kernels);
void kernels_int8_avx512(struct kernels *kernels);
void kernels_int8_native(struct kernels *kernels);
void kernels_int8_neon(struct kernels *kernels);
void kernels_int8_dotprod(struct kernels *kernels);

/* Take a tile's maximum and sum in. */
void loss_merge(struct loss *loss, float max, float sum);

/* ---- Libraries. ---- */

/* One product as a library packs it. Both pack outputs x inputs from rows and check themselves
 * against what they promise; *out stays NULL, with ERR_OK, where the check fails for onednn.
 * Fails  ERR_MEMORY; openblas also ERR_MISMATCH. */
struct onednn;
MUST_CHECK enum err_code onednn_open(struct onednn **out, const struct weights *weights,
                                     struct err *err);
void onednn_close(struct onednn **product);
void onednn_run(const struct onednn *product, const float *x, size_t rows, size_t x_stride,
                float *y, size_t y_stride);

struct openblas;
MUST_CHECK enum err_code openblas_open(struct openblas **out, const struct weights *weights,
                                       struct err *err);
void openblas_close(struct openblas **product);
void openblas_run(const struct openblas *product, const float *x, size_t rows, size_t x_stride,
                  float *y, size_t y_stride);
/* "f32-openblas-0.3.21-SkylakeX" */
void openblas_arithmetic(char *name, size_t name_bytes);

/* Pseudo-random floats in (-1, 1), for checks: the same on every machine. */
void check_floats(float *out, size_t count, uint64_t seed);

#endif
