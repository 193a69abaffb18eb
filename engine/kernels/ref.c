/* ref.c: the key. What this file computes is the arithmetic f32-1.
 *
 * Every other level gives the same bits, and golden hashes (tests/test_kernel_golden.c) freeze them.
 * So a line here is changed only together with the name of the arithmetic. It is plain ISO C built
 * with -ffp-contract=off: a + b * c is two roundings, fmaf(b, c, a) is one, and each formula says by
 * that which of the two it means.
 *
 * Sums   A reduction over i < n keeps 16 partial sums, each born +0: element i goes to partial i mod
 *        16 in ascending i; where 16 does not divide n, the missing elements count as +0 (this turns
 *        a partial of -0 into +0 and does nothing else). Then partial i takes i + 8, then i + 4,
 *        i + 2, i + 1. Products are not summed so but in chains: see product_key. RWKV-5 and 6 read
 *        their state by such a product, y = r S, since its rows are what a vector holds.
 * Order  min and max name their arguments: a NaN in the first gives the second.
 * exp    splits x = n ln 2 + r and scales by two powers of two, so that subnormal results come out of
 *        one rounding; sigmoid looks at exp(-|x|) so that its far tail keeps its digits. */
#include "engine/kernels/inside.h"

#include <math.h>
#include <string.h>

static float lower(float a, float b)
{
    return a < b ? a : b;
}

static float higher(float a, float b)
{
    return a > b ? a : b;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* p 2^n, n in -150..128 hidden in the lowest bits of n + EXP_MAGIC; two factors, since 2^n alone may
 * be out of range. A NaN's bits make some n, and the product is NaN all the same. */
static float scale(float p, float n_magic)
{
    uint32_t n = bits_of(n_magic) - bits_of(EXP_MAGIC) + 256;
    uint32_t half = n >> 1, rest = n - half;

    return p * float_of((half - 1) << 23) * float_of((rest - 1) << 23);
}

static float exponential(float x)
{
    float n_magic, n, r, q;

    x = higher(EXP_LOW, lower(EXP_HIGH, x));
    n_magic = fmaf(x, EXP_LOG2_E, EXP_MAGIC);
    n = n_magic - EXP_MAGIC;
    r = fmaf(n, -EXP_LN2_HI, x);
    r = fmaf(n, -EXP_LN2_LO, r);
    q = fmaf(EXP_C4, r, EXP_C3);
    q = fmaf(q, r, EXP_C2);
    q = fmaf(q, r, EXP_C1);
    q = fmaf(q, r, EXP_C0);
    q = fmaf(q, r, 1.0f);
    q = fmaf(q, r, 1.0f);
    return scale(q, n_magic);
}

/* e / (1 + e) or 1 / (1 + e), then what 1 + e lost when it was rounded is put back to first order. */
static float logistic(float x)
{
    float e = exponential(-fabsf(x)), whole = 1.0f + e, lost = e - (whole - 1.0f);
    float q = (x < 0.0f ? e : 1.0f) / whole;

    return fmaf(q * lost, x < 0.0f ? q - 1.0f : -q, q);
}

static float hyperbolic_tangent(float x)
{
    float size = fabsf(x), z = x * x, q;

    if (size < TANH_SMALL) {
        q = fmaf(TANH_C4, z, TANH_C3);
        q = fmaf(q, z, TANH_C2);
        q = fmaf(q, z, TANH_C1);
        q = fmaf(q, z, TANH_C0);
        q = fmaf(size * z, q, size);
    } else {
        q = 1.0f - 2.0f / (exponential(size + size) + 1.0f);
    }
    return copysignf(q, x);
}

/* ---- Reductions. ---- */

static void partials_pad(float p[16], size_t count)
{
    for (size_t i = count; i % 16; i++)
        p[i % 16] += 0.0f;
}

static float partials_sum(float p[16], size_t count)
{
    partials_pad(p, count);
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            p[i] += p[i + half];
    return p[0];
}

static float partials_max(float p[16])
{
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            p[i] = higher(p[i + half], p[i]);
    return p[0];
}

static float sum(const float *x, size_t count)
{
    float p[16] = {0};

    for (size_t i = 0; i < count; i++)
        p[i % 16] += x[i];
    return partials_sum(p, count);
}

static float sum_of_squares(const float *x, float mean, size_t count)
{
    float p[16] = {0};

    for (size_t i = 0; i < count; i++) {
        float d = x[i] - mean;
        p[i % 16] = fmaf(d, d, p[i % 16]);
    }
    return partials_sum(p, count);
}

static float dot(const float *x, const float *y, size_t count)
{
    float p[16] = {0};

    for (size_t i = 0; i < count; i++)
        p[i % 16] = fmaf(x[i], y[i], p[i % 16]);
    return partials_sum(p, count);
}

/* ---- Norms. ---- */

static void normalise(float *y, const float *x, const float *weight, const float *bias, float eps,
                      size_t count)
{
    float mean = sum(x, count) / (float)count;
    float variance = sum_of_squares(x, mean, count) / (float)count;
    float factor = 1.0f / sqrtf(variance + eps);

    for (size_t i = 0; i < count; i++)
        y[i] = fmaf((x[i] - mean) * factor, weight[i], bias[i]);
}

static void layernorm(float *y, float *x, const float *delta, const float *weight,
                      const float *bias, float eps, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++) {
        if (delta)
            for (size_t i = 0; i < channels; i++)
                x[row * channels + i] += delta[row * channels + i];
        normalise(y + row * channels, x + row * channels, weight, bias, eps, channels);
    }
}

static void groupnorm(float *y, const float *weight, const float *bias, float eps, size_t rows,
                      size_t heads, size_t head_size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < heads; head++) {
            float *group = y + (row * heads + head) * head_size;
            normalise(group, group, weight + head * head_size, bias + head * head_size, eps,
                      head_size);
        }
}

/* ---- Token shift. ---- */

static void shift4(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t m = 0; m < mixes; m++)
        for (size_t row = 0; row < rows; row++)
            for (size_t i = 0; i < channels; i++) {
                float p = row ? x[(row - 1) * channels + i] : before[i];
                out[m][row * channels + i] =
                    fmaf(x[row * channels + i], mix[m][i], p * (1.0f - mix[m][i]));
            }
}

static void shift7(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t m = 0; m < mixes; m++)
        for (size_t row = 0; row < rows; row++)
            for (size_t i = 0; i < channels; i++) {
                float now = x[row * channels + i];
                float p = row ? x[(row - 1) * channels + i] : before[i];
                out[m][row * channels + i] = fmaf(p - now, mix[m][i], now);
            }
}

static void shift6(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t m = 0; m < mixes; m++)
        for (size_t row = 0; row < rows; row++)
            for (size_t i = 0; i < channels; i++) {
                float now = x[row * channels + i], *at = &out[m][row * channels + i];
                float p = row ? x[(row - 1) * channels + i] : before[i];
                *at = fmaf(p - now, mix[m][i] + *at, now);
            }
}

/* ---- Element by element. ---- */

static void map_exp(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = exponential(x[i]);
}

static void map_sigmoid(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = logistic(x[i]);
}

static void map_tanh(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = hyperbolic_tangent(x[i]);
}

static void map_relu2(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float positive = higher(0.0f, x[i]);
        y[i] = positive * positive;
    }
}

static void map_silu(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] * logistic(x[i]);
}

static void add(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] + x[i];
}

static void multiply(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] * x[i];
}

static void gate_sigmoid(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] * logistic(x[i]);
}

/* ---- RWKV-7. ---- */

static void decay7(float *z, const float *w0, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < channels; i++) {
            float *at = z + row * channels + i;
            *at = exponential(DECAY_SCALE * logistic(w0[i] + *at));
        }
}

static void value7(float *v, const float *v_first, const float *z, const float *v0, size_t rows,
                   size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < channels; i++) {
            size_t at = row * channels + i;
            v[at] = fmaf(v_first[at] - v[at], logistic(v0[i] + z[at]), v[at]);
        }
}

/* One head of one row; at is its place in the rows, channel among the parameters. */
static void key7_head(const struct key7 *key, size_t at, size_t channel, size_t n)
{
    float *k = key->k + at, *kk_a = key->kk_a + at, *minus_kk = key->minus_kk + at;
    const float *a0 = key->a0 + channel, *k_k = key->k_k + channel, *k_a = key->k_a + channel;
    float norm;

    for (size_t i = 0; i < n; i++)
        minus_kk[i] = k[i] * k_k[i];
    norm = higher(KAPPA_MIN, sqrtf(dot(minus_kk, minus_kk, n)));
    for (size_t i = 0; i < n; i++) {
        float a = logistic(a0[i] + kk_a[i]);
        float kk = minus_kk[i] / norm;
        minus_kk[i] = -kk;
        kk_a[i] = kk * a;
        k[i] = k[i] * fmaf(a - 1.0f, k_a[i], 1.0f);
    }
}

static void key7(const struct key7 *key, size_t rows, size_t heads, size_t head_size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < heads; head++)
            key7_head(key, (row * heads + head) * head_size, head * head_size, head_size);
}

static void wkv7(const struct wkv7 *scan, size_t tokens, size_t n)
{
    for (size_t t = 0; t < tokens; t++) {
        const size_t at = t * scan->stride;
        const float *r = scan->r + at, *w = scan->w + at, *k = scan->k + at;
        const float *v = scan->v + at, *a = scan->a + at, *b = scan->b + at;

        for (size_t i = 0; i < n; i++) {
            float *S = scan->S + i * n;
            float Sa = dot(S, a, n);

            for (size_t j = 0; j < n; j++)
                S[j] = fmaf(v[i], k[j], fmaf(Sa, b[j], S[j] * w[j]));
            scan->y[at + i] = dot(S, r, n);
        }
    }
}

static void output7_head(const struct output7 *out, size_t at, size_t channel, size_t n)
{
    float *y = out->y + at;
    const float *r = out->r + at, *k = out->k + at, *v = out->v + at, *r_k = out->r_k + channel;
    float p[16] = {0}, bonus;

    for (size_t i = 0; i < n; i++)
        p[i % 16] = fmaf(r[i] * k[i], r_k[i], p[i % 16]);
    bonus = partials_sum(p, n);
    normalise(y, y, out->weight + channel, out->bias + channel, out->eps, n);
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(v[i], bonus, y[i]);
    if (out->g)
        multiply(y, out->g + at, n);
}

static void output7(const struct output7 *out, size_t rows, size_t heads, size_t head_size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < heads; head++)
            output7_head(out, (row * heads + head) * head_size, head * head_size, head_size);
}

/* ---- RWKV-5 and 6. ---- */

static void decay6(float *z, const float *w0, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < channels; i++) {
            float *at = z + row * channels + i;
            *at = exponential(-exponential(w0[i] + *at));
        }
}

/* What the present token adds to the output for each unit of v. */
static float wkv6_bonus(const float *r, const float *u, const float *k, size_t n)
{
    float p[16] = {0};

    for (size_t i = 0; i < n; i++)
        p[i % 16] = fmaf(r[i] * u[i], k[i], p[i % 16]);
    return partials_sum(p, n);
}

/* y is a chain of fma in ascending i, the bonus comes last. k v is rounded by itself: a decay that
 * leaves next to nothing of S then makes no subnormal number on the way. */
static void wkv6(const struct wkv6 *scan, size_t tokens, size_t n)
{
    for (size_t t = 0; t < tokens; t++) {
        const size_t at = t * scan->stride;
        const float *r = scan->r + at, *k = scan->k + at, *v = scan->v + at;
        const float *w = scan->w + t * scan->w_stride;
        float *y = scan->y + at, bonus = wkv6_bonus(r, scan->u, k, n);

        for (size_t j = 0; j < n; j++) {
            float chain = 0.0f;
            for (size_t i = 0; i < n; i++) {
                float *S = &scan->S[i * n + j];
                chain = fmaf(r[i], *S, chain);
                *S = fmaf(w[i], *S, k[i] * v[j]);
            }
            y[j] = fmaf(v[j], bonus, chain);
        }
    }
}

static void output5(const struct output5 *out, size_t rows, size_t heads, size_t head_size)
{
    size_t channels = heads * head_size;

    groupnorm(out->y, out->weight, out->bias, out->eps, rows, heads, head_size);
    for (size_t i = 0; out->g && i < rows * channels; i++)
        out->y[i] = out->y[i] * (out->g[i] * logistic(out->g[i]));
}

/* ---- RWKV-4. ---- */

static float wkv4_token(float *aa, float *bb, float *pp, float k, float v, float w, float u)
{
    float c = u + k, q = higher(*pp, c);
    float e1 = exponential(*pp - q), e2 = exponential(c - q);
    float y = fmaf(e1, *aa, e2 * v) / fmaf(e1, *bb, e2);

    c = *pp + w;
    q = higher(c, k);
    e1 = exponential(c - q);
    e2 = exponential(k - q);
    *aa = fmaf(e1, *aa, e2 * v);
    *bb = fmaf(e1, *bb, e2);
    *pp = q;
    return y;
}

static void wkv4(const struct wkv4 *scan, size_t tokens, size_t channels)
{
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < channels; i++) {
            size_t at = t * scan->stride + i;
            float wkv = wkv4_token(&scan->aa[i], &scan->bb[i], &scan->pp[i], scan->k[at],
                                   scan->v[at], scan->w[i], scan->u[i]);
            scan->y[at] = wkv * logistic(scan->r[at]);
        }
}

/* ---- Loss. ---- */

static void loss_tile(struct loss *loss, const float *logits, size_t rows, size_t stride,
                      size_t columns)
{
    for (size_t row = 0; row < rows; row++) {
        const float *x = logits + row * stride;
        float p[16], max;

        for (size_t i = 0; i < 16; i++)
            p[i] = -INFINITY;
        for (size_t i = 0; i < columns; i++)
            p[i % 16] = higher(x[i], p[i % 16]);
        max = partials_max(p);
        memset(p, 0, sizeof p);
        for (size_t i = 0; i < columns; i++)
            p[i % 16] += exponential(x[i] - max);
        loss_merge(&loss[row], max, partials_sum(p, columns));
    }
}

/* ---- Products. ---- */

float product_key(const float *x, const float *w, size_t inputs)
{
    size_t block = product_block(inputs);
    float total = 0.0f;

    for (size_t begin = 0; begin < inputs; begin += block) {
        float chain = 0.0f;
        for (size_t k = begin; k < inputs && k < begin + block; k++)
            chain = fmaf(x[k], w[k], chain);
        total = begin == 0 ? chain : total + chain;
    }
    return total;
}

/* Pairs of inputs, of each the second one first; a missing one is zero. Subnormal numbers are zero, which is what
 * processors do that have this as an instruction. */
float product_key_bf16(const float *x, const float *w, size_t inputs)
{
    size_t block = product_block(inputs);
    float total = 0.0f;

    for (size_t begin = 0; begin < inputs; begin += block) {
        float chain = 0.0f;
        for (size_t k = begin; k < inputs && k < begin + block; k += 2) {
            for (size_t i = 2; i-- > 0;) {
                float a = k + i < inputs ? bf16_float(bf16_of(x[k + i])) : 0.0f;
                float b = k + i < inputs ? bf16_float(bf16_of(w[k + i])) : 0.0f;
                chain = bf16_fma(a, b, chain);
            }
        }
        total = begin == 0 ? chain : bf16_sum(total + chain);
    }
    return total;
}

float product_key_int8(const float *x, const float *w, size_t inputs)
{
    float x_scale = int8_scale(x, inputs), w_scale = int8_scale(w, inputs);
    int32_t sum = 0;

    for (size_t k = 0; k < inputs; k++) {
        uint8_t a, b;
        int8_row(&a, x + k, 1, x_scale, 128);
        int8_row(&b, w + k, 1, w_scale, 128);
        sum += ((int32_t)a - 128) * ((int32_t)b - 128);
    }
    return (float)sum * (w_scale * x_scale);
}

void kernels_ref(struct kernels *kernels)
{
    kernels->isa = "ref";
    kernels->layernorm = layernorm;
    kernels->groupnorm = groupnorm;
    kernels->shift4 = shift4;
    kernels->shift6 = shift6;
    kernels->shift7 = shift7;
    kernels->exp = map_exp;
    kernels->sigmoid = map_sigmoid;
    kernels->tanh = map_tanh;
    kernels->relu2 = map_relu2;
    kernels->silu = map_silu;
    kernels->add = add;
    kernels->multiply = multiply;
    kernels->gate_sigmoid = gate_sigmoid;
    kernels->decay6 = decay6;
    kernels->decay7 = decay7;
    kernels->value7 = value7;
    kernels->key7 = key7;
    kernels->wkv7 = wkv7;
    kernels->output7 = output7;
    kernels->wkv6 = wkv6;
    kernels->output5 = output5;
    kernels->wkv4 = wkv4;
    kernels->loss_tile = loss_tile;
    kernels->panels = NULL;
    kernels->peak = NULL;
}
