/* wide.c: every kernel once over 16 lanes, built once for each level.
 *
 * Each function is ref.c's, step for step: the same operations on the same elements in the same order,
 * so the bits are the same by construction; the tests compare them all the same. What is different
 * is only how many elements one instruction serves. A row's end is read with the missing lanes as +0,
 * which is how ref.c defines it, and is never read or written beyond. */
#include "engine/kernels/inside.h"
#include "engine/kernels/lanes.h"

#include <math.h>

typedef struct lanes lanes_fn(struct lanes x);

/* Lanes beyond left become +0, whatever was computed in them. */
INLINE struct lanes cut(struct lanes x, size_t left)
{
    return left >= 16 ? x : lanes_keep(x, left, lanes_set(0.0f));
}

INLINE struct lanes exponential(struct lanes x)
{
    struct lanes magic = lanes_set(EXP_MAGIC), one = lanes_set(1.0f), n_magic, n, r, q;

    x = lanes_higher(lanes_set(EXP_LOW), lanes_lower(lanes_set(EXP_HIGH), x));
    n_magic = lanes_fma(x, lanes_set(EXP_LOG2_E), magic);
    n = lanes_sub(n_magic, magic);
    r = lanes_fma(n, lanes_set(-EXP_LN2_HI), x);
    r = lanes_fma(n, lanes_set(-EXP_LN2_LO), r);
    q = lanes_fma(lanes_set(EXP_C4), r, lanes_set(EXP_C3));
    q = lanes_fma(q, r, lanes_set(EXP_C2));
    q = lanes_fma(q, r, lanes_set(EXP_C1));
    q = lanes_fma(q, r, lanes_set(EXP_C0));
    q = lanes_fma(q, r, one);
    q = lanes_fma(q, r, one);
    return lanes_scale(q, n_magic, 0x4B400000); /* the bits of EXP_MAGIC */
}

INLINE struct lanes logistic(struct lanes x)
{
    struct lanes zero = lanes_set(0.0f), one = lanes_set(1.0f);
    struct lanes e = exponential(lanes_negate(lanes_abs(x))), whole = lanes_add(one, e);
    struct lanes lost = lanes_sub(e, lanes_sub(whole, one));
    struct lanes q = lanes_div(lanes_if_less(x, zero, e, one), whole);
    struct lanes slope = lanes_if_less(x, zero, lanes_sub(q, one), lanes_negate(q));

    return lanes_fma(lanes_mul(q, lost), slope, q);
}

INLINE struct lanes hyperbolic_tangent(struct lanes x)
{
    struct lanes size = lanes_abs(x), z = lanes_mul(x, x), one = lanes_set(1.0f), q, small, large;

    q = lanes_fma(lanes_set(TANH_C4), z, lanes_set(TANH_C3));
    q = lanes_fma(q, z, lanes_set(TANH_C2));
    q = lanes_fma(q, z, lanes_set(TANH_C1));
    q = lanes_fma(q, z, lanes_set(TANH_C0));
    small = lanes_fma(lanes_mul(size, z), q, size);
    large = lanes_add(exponential(lanes_add(size, size)), one);
    large = lanes_sub(one, lanes_div(lanes_set(2.0f), large));
    return lanes_sign_of(lanes_if_less(size, lanes_set(TANH_SMALL), small, large), x);
}

INLINE struct lanes relu2(struct lanes x)
{
    struct lanes positive = lanes_higher(lanes_set(0.0f), x);
    return lanes_mul(positive, positive);
}

INLINE struct lanes silu(struct lanes x)
{
    return lanes_mul(x, logistic(x));
}

/* ---- Norms. ---- */

INLINE float sum(const float *x, size_t count)
{
    struct lanes p = lanes_set(0.0f);

    for (size_t i = 0; i < count; i += 16)
        p = lanes_add(p, load(x + i, count - i));
    return lanes_sum(p);
}

INLINE float sum_of_squares(const float *x, float mean, size_t count)
{
    struct lanes p = lanes_set(0.0f);

    for (size_t i = 0; i < count; i += 16) {
        struct lanes d = cut(lanes_sub(load(x + i, count - i), lanes_set(mean)), count - i);
        p = lanes_fma(d, d, p);
    }
    return lanes_sum(p);
}

INLINE void normalise(float *y, const float *x, const float *weight, const float *bias, float eps,
                      size_t count)
{
    float mean = sum(x, count) / (float)count;
    float variance = sum_of_squares(x, mean, count) / (float)count;
    struct lanes factor = lanes_set(1.0f / sqrtf(variance + eps));

    for (size_t i = 0; i < count; i += 16) {
        size_t left = count - i;
        struct lanes d = lanes_mul(lanes_sub(load(x + i, left), lanes_set(mean)), factor);
        store(y + i, lanes_fma(d, load(weight + i, left), load(bias + i, left)), left);
    }
}

static void add(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i += 16)
        store(y + i, lanes_add(load(y + i, count - i), load(x + i, count - i)), count - i);
}

static void multiply(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i += 16)
        store(y + i, lanes_mul(load(y + i, count - i), load(x + i, count - i)), count - i);
}

static void gate_sigmoid(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i += 16) {
        struct lanes gate = logistic(load(x + i, count - i));
        store(y + i, lanes_mul(load(y + i, count - i), gate), count - i);
    }
}

static void layernorm(float *y, float *x, const float *delta, const float *weight,
                      const float *bias, float eps, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++) {
        if (delta)
            add(x + row * channels, delta + row * channels, channels);
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

/* ---- Token shift: a row and its predecessor are read once for all mixes. ---- */

static void shift4(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, before = x, x += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes now = load(x + i, left), p = load(before + i, left);
            for (size_t m = 0; m < mixes; m++) {
                struct lanes share = load(mix[m] + i, left);
                struct lanes past = lanes_mul(p, lanes_sub(lanes_set(1.0f), share));
                store(out[m] + row * channels + i, lanes_fma(now, share, past), left);
            }
        }
}

static void shift7(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, before = x, x += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes now = load(x + i, left), d = lanes_sub(load(before + i, left), now);
            for (size_t m = 0; m < mixes; m++)
                store(out[m] + row * channels + i, lanes_fma(d, load(mix[m] + i, left), now), left);
        }
}

static void shift6(float *const *out, const float *x, const float *before, const float *const *mix,
                   size_t mixes, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, before = x, x += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes now = load(x + i, left), d = lanes_sub(load(before + i, left), now);
            for (size_t m = 0; m < mixes; m++) {
                float *at = out[m] + row * channels + i;
                struct lanes share = lanes_add(load(mix[m] + i, left), load(at, left));
                store(at, lanes_fma(d, share, now), left);
            }
        }
}

/* ---- Element by element. ---- */

INLINE void map(lanes_fn *f, float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i += 16)
        store(y + i, f(load(x + i, count - i)), count - i);
}

static void map_exp(float *y, const float *x, size_t count)
{
    map(exponential, y, x, count);
}

static void map_sigmoid(float *y, const float *x, size_t count)
{
    map(logistic, y, x, count);
}

static void map_tanh(float *y, const float *x, size_t count)
{
    map(hyperbolic_tangent, y, x, count);
}

static void map_relu2(float *y, const float *x, size_t count)
{
    map(relu2, y, x, count);
}

static void map_silu(float *y, const float *x, size_t count)
{
    map(silu, y, x, count);
}

/* ---- RWKV-7. ---- */

static void decay7(float *z, const float *w0, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, z += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes s = logistic(lanes_add(load(w0 + i, left), load(z + i, left)));
            store(z + i, exponential(lanes_mul(lanes_set(DECAY_SCALE), s)), left);
        }
}

static void value7(float *v, const float *v_first, const float *z, const float *v0, size_t rows,
                   size_t channels)
{
    for (size_t row = 0; row < rows; row++, v += channels, v_first += channels, z += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes own = load(v + i, left), d = lanes_sub(load(v_first + i, left), own);
            struct lanes s = logistic(lanes_add(load(v0 + i, left), load(z + i, left)));
            store(v + i, lanes_fma(d, s, own), left);
        }
}

/* The largest of KAPPA_MIN and the norm of k k_k; k k_k is left in scaled. */
INLINE float key7_norm(float *scaled, const float *k, const float *k_k, size_t n)
{
    struct lanes p = lanes_set(0.0f);
    float norm;

    for (size_t i = 0; i < n; i += 16) {
        struct lanes x = lanes_mul(load(k + i, n - i), load(k_k + i, n - i));
        store(scaled + i, x, n - i);
        p = lanes_fma(x, x, p);
    }
    norm = sqrtf(lanes_sum(p));
    return KAPPA_MIN > norm ? KAPPA_MIN : norm;
}

INLINE void key7_head(const struct key7 *key, size_t at, size_t channel, size_t n)
{
    float *k = key->k + at, *kk_a = key->kk_a + at, *minus_kk = key->minus_kk + at;
    const float *a0 = key->a0 + channel, *k_a = key->k_a + channel;
    struct lanes norm = lanes_set(key7_norm(minus_kk, k, key->k_k + channel, n));
    struct lanes one = lanes_set(1.0f);

    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i;
        struct lanes a = logistic(lanes_add(load(a0 + i, left), load(kk_a + i, left)));
        struct lanes kk = lanes_div(load(minus_kk + i, left), norm);
        struct lanes rate = lanes_fma(lanes_sub(a, one), load(k_a + i, left), one);
        store(minus_kk + i, lanes_negate(kk), left);
        store(kk_a + i, lanes_mul(kk, a), left);
        store(k + i, lanes_mul(load(k + i, left), rate), left);
    }
}

static void key7(const struct key7 *key, size_t rows, size_t heads, size_t head_size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < heads; head++)
            key7_head(key, (row * heads + head) * head_size, head * head_size, head_size);
}

/* One token's vectors of one head. */
struct token7 {
    const float *r, *w, *k, *v, *a, *b;
    float *y;
};

/* Sa of SCAN_ROWS rows of S. Their partial sums stay in registers and are summed together, so that the
 * rows share a tree's cost. Here and below only for n that 16 divides. */
INLINE void wkv7_dots(float *Sa, const float *S, const float *a, size_t n)
{
    struct lanes p[SCAN_ROWS];

    UNROLL_ALL
    for (size_t row = 0; row < SCAN_ROWS; row++)
        p[row] = lanes_set(0.0f);
    for (size_t j = 0; j < n; j += 16) {
        struct lanes factor = lanes_load(a + j);
        UNROLL_ALL
        for (size_t row = 0; row < SCAN_ROWS; row++)
            p[row] = lanes_fma(lanes_load(S + row * n + j), factor, p[row]);
    }
    lanes_sums(p, Sa);
}

/* SCAN_ROWS rows of S from row i on: the new S, and y. */
INLINE void wkv7_update(float *S, const struct token7 *t, const float *Sa, size_t i, size_t n)
{
    struct lanes p[SCAN_ROWS];

    UNROLL_ALL
    for (size_t row = 0; row < SCAN_ROWS; row++)
        p[row] = lanes_set(0.0f);
    for (size_t j = 0; j < n; j += 16) {
        struct lanes w = lanes_load(t->w + j), b = lanes_load(t->b + j);
        struct lanes k = lanes_load(t->k + j), r = lanes_load(t->r + j);
        UNROLL_ALL
        for (size_t row = 0; row < SCAN_ROWS; row++) {
            struct lanes s = lanes_mul(lanes_load(S + row * n + j), w);
            s = lanes_fma(lanes_set(Sa[row]), b, s);
            s = lanes_fma(lanes_set(t->v[i + row]), k, s);
            lanes_store(S + row * n + j, s);
            p[row] = lanes_fma(s, r, p[row]);
        }
    }
    lanes_sums(p, t->y + i);
}

/* One row of S, any n. */
INLINE void wkv7_row(float *S, const struct token7 *t, size_t i, size_t n)
{
    struct lanes p = lanes_set(0.0f), Sa, v = lanes_set(t->v[i]);

    for (size_t j = 0; j < n; j += 16)
        p = lanes_fma(load(S + j, n - j), load(t->a + j, n - j), p);
    Sa = lanes_set(lanes_sum(p));
    p = lanes_set(0.0f);
    for (size_t j = 0; j < n; j += 16) {
        size_t left = n - j;
        struct lanes s = lanes_mul(load(S + j, left), load(t->w + j, left));
        s = lanes_fma(Sa, load(t->b + j, left), s);
        s = lanes_fma(v, load(t->k + j, left), s);
        store(S + j, s, left);
        p = lanes_fma(cut(s, left), load(t->r + j, left), p);
    }
    t->y[i] = lanes_sum(p);
}

/* All Sa first, then all updates: the trees' latency hides behind other rows. S stays in the
 * first-level cache between the two. */
INLINE void wkv7_tokens(const struct wkv7 *scan, size_t tokens, size_t n)
{
    float Sa[KERNELS_HEAD_MAX];
    const size_t wide = n % 16 == 0 ? n / SCAN_ROWS * SCAN_ROWS : 0;

    for (size_t step = 0; step < tokens; step++) {
        size_t at = step * scan->stride;
        struct token7 t = {scan->r + at, scan->w + at, scan->k + at, scan->v + at,
                           scan->a + at, scan->b + at, scan->y + at};

        for (size_t i = 0; i < wide; i += SCAN_ROWS)
            wkv7_dots(Sa + i, scan->S + i * n, t.a, n);
        for (size_t i = 0; i < wide; i += SCAN_ROWS)
            wkv7_update(scan->S + i * n, &t, Sa + i, i, n);
        for (size_t i = wide; i < n; i++)
            wkv7_row(scan->S + i * n, &t, i, n);
    }
}

static void wkv7(const struct wkv7 *scan, size_t tokens, size_t n)
{
    require(n <= KERNELS_HEAD_MAX);
    if (n == 64) /* the head size of every published model: the compiler gets it as a constant */
        wkv7_tokens(scan, tokens, 64);
    else
        wkv7_tokens(scan, tokens, n);
}

INLINE void output7_head(const struct output7 *out, size_t at, size_t channel, size_t n)
{
    float *y = out->y + at;
    const float *r = out->r + at, *k = out->k + at, *v = out->v + at, *r_k = out->r_k + channel;
    struct lanes p = lanes_set(0.0f), bonus;

    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i;
        p = lanes_fma(lanes_mul(load(r + i, left), load(k + i, left)), load(r_k + i, left), p);
    }
    bonus = lanes_set(lanes_sum(p));
    normalise(y, y, out->weight + channel, out->bias + channel, out->eps, n);
    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i;
        struct lanes x = lanes_fma(load(v + i, left), bonus, load(y + i, left));
        if (out->g)
            x = lanes_mul(x, load(out->g + at + i, left));
        store(y + i, x, left);
    }
}

static void output7(const struct output7 *out, size_t rows, size_t heads, size_t head_size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < heads; head++)
            output7_head(out, (row * heads + head) * head_size, head * head_size, head_size);
}

/* ---- RWKV-5 and 6: a row of S is one key channel, so lanes are value channels and sums run down the
 * columns, a chain each. ---- */

static void decay6(float *z, const float *w0, size_t rows, size_t channels)
{
    for (size_t row = 0; row < rows; row++, z += channels)
        for (size_t i = 0; i < channels; i += 16) {
            size_t left = channels - i;
            struct lanes e = exponential(lanes_add(load(w0 + i, left), load(z + i, left)));
            store(z + i, exponential(lanes_negate(e)), left);
        }
}

/* One token's vectors of one head. */
struct token6 {
    const float *r, *w, *k, *v;
    float *y;
};

INLINE struct lanes wkv6_bonus(const struct token6 *t, const float *u, size_t n)
{
    struct lanes p = lanes_set(0.0f);

    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i;
        struct lanes ru = lanes_mul(load(t->r + i, left), load(u + i, left));
        p = lanes_fma(ru, load(t->k + i, left), p);
    }
    return lanes_set(lanes_sum(p));
}

/* Columns j .. j + 16 vectors of S, all rows: the new S, and y. vectors is a constant where this is
 * inlined; left counts the columns that there are, from j. */
INLINE void wkv6_columns(float *S, const struct token6 *t, struct lanes bonus, size_t j, size_t n,
                         size_t vectors)
{
    struct lanes sums[SCAN_VECTORS], v[SCAN_VECTORS];

    UNROLL_ALL
    for (size_t q = 0; q < vectors; q++) {
        sums[q] = lanes_set(0.0f);
        v[q] = load(t->v + j + 16 * q, n - j - 16 * q);
    }
    for (size_t i = 0; i < n; i++) {
        struct lanes r = lanes_set(t->r[i]), w = lanes_set(t->w[i]), k = lanes_set(t->k[i]);
        UNROLL_ALL
        for (size_t q = 0; q < vectors; q++) {
            size_t at = j + 16 * q, left = n - at;
            struct lanes s = load(S + i * n + at, left);
            sums[q] = lanes_fma(r, s, sums[q]);
            store(S + i * n + at, lanes_fma(w, s, lanes_mul(k, v[q])), left);
        }
    }
    UNROLL_ALL
    for (size_t q = 0; q < vectors; q++)
        store(t->y + j + 16 * q, lanes_fma(v[q], bonus, sums[q]), n - j - 16 * q);
}

INLINE void wkv6_tokens(const struct wkv6 *scan, size_t tokens, size_t n)
{
    for (size_t step = 0; step < tokens; step++) {
        size_t at = step * scan->stride, j = 0;
        struct token6 t = {scan->r + at, scan->w + step * scan->w_stride, scan->k + at,
                           scan->v + at, scan->y + at};
        struct lanes bonus = wkv6_bonus(&t, scan->u, n);

        for (; n - j >= 16 * SCAN_VECTORS; j += 16 * SCAN_VECTORS)
            wkv6_columns(scan->S, &t, bonus, j, n, SCAN_VECTORS);
        for (; j < n; j += 16)
            wkv6_columns(scan->S, &t, bonus, j, n, 1);
    }
}

static void wkv6(const struct wkv6 *scan, size_t tokens, size_t n)
{
    require(n <= KERNELS_HEAD_MAX);
    if (n == 64)
        wkv6_tokens(scan, tokens, 64);
    else
        wkv6_tokens(scan, tokens, n);
}

static void output5(const struct output5 *out, size_t rows, size_t heads, size_t head_size)
{
    size_t count = rows * heads * head_size;

    groupnorm(out->y, out->weight, out->bias, out->eps, rows, heads, head_size);
    for (size_t i = 0; out->g && i < count; i += 16) {
        struct lanes gate = silu(load(out->g + i, count - i));
        store(out->y + i, lanes_mul(load(out->y + i, count - i), gate), count - i);
    }
}

/* ---- RWKV-4: 16 channels go through all tokens with their state in registers. ---- */

INLINE struct lanes mix2(struct lanes e1, struct lanes x, struct lanes e2, struct lanes y)
{
    return lanes_fma(e1, x, lanes_mul(e2, y));
}

static void wkv4(const struct wkv4 *scan, size_t tokens, size_t channels)
{
    for (size_t i = 0; i < channels; i += 16) {
        size_t left = channels - i;
        struct lanes aa = load(scan->aa + i, left), bb = load(scan->bb + i, left);
        struct lanes pp = load(scan->pp + i, left);
        struct lanes w = load(scan->w + i, left), u = load(scan->u + i, left);

        for (size_t t = 0; t < tokens; t++) {
            size_t at = t * scan->stride + i;
            struct lanes k = load(scan->k + at, left), v = load(scan->v + at, left);
            struct lanes c = lanes_add(u, k), q = lanes_higher(pp, c);
            struct lanes e1 = exponential(lanes_sub(pp, q)), e2 = exponential(lanes_sub(c, q));
            struct lanes y = lanes_div(mix2(e1, aa, e2, v), lanes_fma(e1, bb, e2));

            store(scan->y + at, lanes_mul(y, logistic(load(scan->r + at, left))), left);
            c = lanes_add(pp, w);
            q = lanes_higher(c, k);
            e1 = exponential(lanes_sub(c, q));
            e2 = exponential(lanes_sub(k, q));
            aa = mix2(e1, aa, e2, v);
            bb = lanes_fma(e1, bb, e2);
            pp = q;
        }
        store(scan->aa + i, aa, left);
        store(scan->bb + i, bb, left);
        store(scan->pp + i, pp, left);
    }
}

/* ---- Loss. ---- */

static void loss_tile(struct loss *loss, const float *logits, size_t rows, size_t stride,
                      size_t columns)
{
    const struct lanes lowest = lanes_set(-INFINITY);

    for (size_t row = 0; row < rows; row++) {
        const float *x = logits + row * stride;
        struct lanes p = lowest;
        float max;

        for (size_t i = 0; i < columns; i += 16) {
            struct lanes next = load(x + i, columns - i);
            if (columns - i < 16)
                next = lanes_keep(next, columns - i, lowest);
            p = lanes_higher(next, p);
        }
        max = lanes_max(p);
        p = lanes_set(0.0f);
        for (size_t i = 0; i < columns; i += 16) {
            struct lanes e = exponential(lanes_sub(load(x + i, columns - i), lanes_set(max)));
            p = lanes_add(p, cut(e, columns - i));
        }
        loss_merge(&loss[row], max, lanes_sum(p));
    }
}

/* ---- The product. ---- */

/* One register tile: rows x panels accumulators over inputs begin .. end, one chain of the key. The
 * first chain of an output is stored, later ones are added to what is there. Meanwhile weights from ahead on, 16
 * bytes an input, are fetched into the second cache. rows and panels are constants where this is inlined. */
INLINE void tile(const struct panels *w, size_t panel, size_t begin, size_t end, const float *x,
                 size_t x_stride, float *y, size_t y_stride, size_t rows, size_t panels,
                 const char *ahead)
{
    const float *at = (const float *)w->data + (panel * w->inputs + begin) * 16;
    const size_t next = w->inputs * 16;
    struct lanes sums[TILE_ROWS][8];

    UNROLL_ALL
    for (size_t i = 0; i < rows; i++) {
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++) {
            sums[i][j] = lanes_set(0.0f);
            __builtin_prefetch(y + i * y_stride + (panel + j) * 16, 1);
        }
    }
    UNROLL_4
    for (size_t k = begin; k < end; k++, at += 16, ahead += 16) {
        struct lanes weight[8];
        __builtin_prefetch(ahead, 0, 2);
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++)
            weight[j] = lanes_load(at + j * next);
        UNROLL_ALL
        for (size_t i = 0; i < rows; i++) {
            struct lanes one = lanes_set(x[i * x_stride + k]);
            UNROLL_ALL
            for (size_t j = 0; j < panels; j++)
                sums[i][j] = lanes_fma(one, weight[j], sums[i][j]);
        }
    }
    UNROLL_ALL
    for (size_t i = 0; i < rows; i++) {
        UNROLL_ALL
        for (size_t j = 0; j < panels; j++) {
            size_t column = (panel + j) * 16, left = w->outputs - column;
            float *to = y + i * y_stride + column;
            if (begin > 0)
                sums[i][j] = lanes_add(load(to, left), sums[i][j]);
            store(to, sums[i][j], left);
        }
    }
}

/* rows < TILE_ROWS as well, each its own code. */
INLINE void tile_rows(const struct panels *w, size_t panel, size_t begin, size_t end,
                      const float *x, size_t x_stride, float *y, size_t y_stride, size_t rows,
                      size_t panels, const char *ahead)
{
#define TILE(n)                                                                 \
    case n:                                                                     \
        tile(w, panel, begin, end, x, x_stride, y, y_stride, n, panels, ahead); \
        break;
    switch (rows) {
        TILE(1)
        TILE(2)
        TILE(3)
        TILE(4)
        TILE(5)
        TILE(6)
#if TILE_ROWS == 8
        TILE(7)
        TILE(8)
#endif
    }
#undef TILE
}

/* All rows by one group of panels, block by block of the inputs from first to last. */
INLINE void group(const struct panels *w, size_t panel, size_t first, size_t last, const float *x,
                  size_t rows, size_t x_stride, float *y, size_t y_stride, size_t panels)
{
    const size_t block = product_block(w->inputs);

    for (size_t begin = first; begin < last; begin += block) {
        size_t end = last - begin < block ? last : begin + block;
        for (size_t row = 0; row < rows; row += TILE_ROWS) {
            size_t some = rows - row < TILE_ROWS ? rows - row : TILE_ROWS;
            tile_rows(w, panel, begin, end, x + row * x_stride, x_stride, y + row * y_stride,
                      y_stride, some, panels,
                      tile_ahead(w, w->inputs, panel, panels, begin, end, last, row / TILE_ROWS));
        }
    }
}

/* One row: enough panels at once that the chains hide the latency of fma. */
static size_t single_row(const struct panels *w, const float *x, float *y)
{
    const size_t block = product_block(w->inputs), all = (w->outputs + 15) / 16;
    size_t panel = 0;

    for (; panel + 4 <= all; panel += 4)
        for (size_t begin = 0; begin < w->inputs; begin += block) {
            size_t end = w->inputs - begin < block ? w->inputs : begin + block;
            tile(w, panel, begin, end, x, 0, y, 0, 1, 4, (const char *)x);
        }
    return panel;
}

static void panels_product(const struct panels *w, const float *x, size_t rows, size_t x_stride,
                           float *y, size_t y_stride)
{
    const size_t all = (w->outputs + 15) / 16, done = rows == 1 ? single_row(w, x, y) : 0;
    const size_t span = w->inputs <= 1024 ? w->inputs : product_block(w->inputs);

    /* Of more inputs the rows' share of one block stays in the cache while all panels pass. */
    for (size_t first = 0; first < w->inputs; first += span) {
        size_t last = w->inputs - first < span ? w->inputs : first + span, panel = done;
#define GROUP(n) group(w, panel, first, last, x, rows, x_stride, y, y_stride, n)
        EACH_GROUP(panel, all, GROUP);
#undef GROUP
    }
}

/* 24 chains of 16 lanes, as many at a time as fit the registers. */
static float peak(size_t rounds, float x)
{
    struct lanes sums[24], factor = lanes_set(x);

    UNROLL_ALL
    for (size_t i = 0; i < 24; i++)
        sums[i] = lanes_set((float)i);
    for (size_t part = 0; part < 24; part += PEAK_CHAINS)
        for (size_t round = 0; round < rounds; round++) {
            UNROLL_ALL
            for (size_t i = 0; i < PEAK_CHAINS; i++)
                sums[part + i] = lanes_fma(sums[part + i], factor, factor);
        }
    for (size_t i = 1; i < 24; i++)
        sums[0] = lanes_add(sums[0], sums[i]);
    return lanes_sum(sums[0]);
}

#define JOIN(a, b)   a##b
#define EXPORT(a, b) JOIN(a, b)
#define TEXT(a)      #a
#define NAME(a)      TEXT(a)

void EXPORT(kernels_, LEVEL)(struct kernels *kernels)
{
    kernels->isa = NAME(LEVEL);
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
    kernels->panels = panels_product;
    kernels->peak = peak;
}
