/* attention.c: what stands between the products and the recurrence of RWKV-7, head by head. */
#include "engine/train/work.h"

void NET(gates_forward)(struct net_work *work, uint32_t layer)
{
    struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels;
    const real *w0 = weights_of(work, layer, W0), *a0 = weights_of(work, layer, A0);
    const real *v0 = layer ? weights_of(work, layer, V0) : NULL, *v_first = work->layers[0].v;

    for (size_t row = 0; row < work->rows; row++)
        for (size_t c = 0; c < channels; c += LANES) {
            size_t at = row * channels + c;
            vec sigma = logistic(load(w0 + c) + load(rows->sigma + at));
            store(rows->sigma + at, sigma);
            store(rows->w + at, exponential(-DECAY * sigma));
            store(rows->a + at, logistic(load(a0 + c) + load(rows->a + at)));
            if (layer) {
                vec s = logistic(load(v0 + c) + load(rows->s + at)), v = load(rows->v0 + at);
                store(rows->s + at, s);
                store(rows->v + at, v + (load(v_first + at) - v) * s);
            }
        }
}

/* 1 / the norm of k0 k_k, at most 1 / KAPPA_LEAST. */
INLINE real kappa_scale(const real *k0, const real *k_k, size_t n, bool *least)
{
    vec p = all(0), norm;

    for (size_t i = 0; i < n; i += LANES) {
        vec x = load(k0 + i) * load(k_k + i);
        p += x * x;
    }
    norm = square_root(all(sum(p)));
    *least = !(norm[0] > KAPPA_LEAST);
    return R(1) / (*least ? KAPPA_LEAST : norm[0]);
}

void NET(keys_forward)(struct net_work *work, uint32_t layer, real *k, real *minus_kk, real *kk_a)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, n = work->shape.head_size;
    const real *k_k = weights_of(work, layer, K_K), *k_a = weights_of(work, layer, K_A);

    for (size_t row = 0; row < work->rows; row++)
        for (size_t head = 0; head < channels; head += n) {
            size_t at = row * channels + head;
            bool least;
            real scale = kappa_scale(rows->k0 + at, k_k + head, n, &least);
            for (size_t i = 0; i < n; i += LANES) {
                vec k0 = load(rows->k0 + at + i), a = load(rows->a + at + i);
                vec kk = k0 * load(k_k + head + i) * scale;
                store(minus_kk + at + i, -kk);
                store(kk_a + at + i, kk * a);
                store(k + at + i, k0 * (R(1) + (a - R(1)) * load(k_a + head + i)));
            }
        }
}

/* Of one head: mean, 1 / deviation and the bonus sum_j r_j k_j r_k_j. */
struct head_sums {
    real mean, rstd, bonus;
};
INLINE struct head_sums head_sums(const real *y, const real *r, const real *k, const real *r_k,
                                  size_t n)
{
    vec s = all(0), q = all(0), p = all(0);
    struct head_sums sums;

    for (size_t i = 0; i < n; i += LANES) {
        s += load(y + i);
        p += load(r + i) * load(k + i) * load(r_k + i);
    }
    sums.mean = sum(s) / (real)n;
    for (size_t i = 0; i < n; i += LANES) {
        vec d = load(y + i) - sums.mean;
        q += d * d;
    }
    sums.rstd = (R(1) / square_root(all(sum(q) / (real)n + GN_EPS)))[0];
    sums.bonus = sum(p);
    return sums;
}

void NET(output_forward)(struct net_work *work, uint32_t layer, const real *k)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, n = work->shape.head_size;
    const real *r_k = weights_of(work, layer, R_K), *weight = weights_of(work, layer, LN_X);
    const real *bias = weights_of(work, layer, LN_X_BIAS);

    for (size_t row = 0; row < work->rows; row++)
        for (size_t head = 0; head < channels; head += n) {
            size_t at = row * channels + head;
            struct head_sums sums = head_sums(rows->y + at, rows->r + at, k + at, r_k + head, n);
            for (size_t i = 0; i < n; i += LANES) {
                vec x = (load(rows->y + at + i) - sums.mean) * sums.rstd;
                x = x * load(weight + head + i) + load(bias + head + i);
                x += sums.bonus * load(rows->v + at + i);
                store(rows->out + at + i, x * load(rows->g + at + i));
            }
        }
}

/* One head of one row. */
struct output_back {
    const real *y, *r, *k, *v, *g, *r_k, *weight, *bias;
    real *dout, *dg, *dr, *dk, *dv, *dr_k, *dweight, *dbias;
};

INLINE void output_back(const struct output_back *o, size_t n)
{
    struct head_sums sums = head_sums(o->y, o->r, o->k, o->r_k, n);
    vec bonus = all(0), mean = all(0), along = all(0), d_bonus, d_mean, d_along;

    for (size_t i = 0; i < n; i += LANES) {
        vec x = (load(o->y + i) - sums.mean) * sums.rstd, v = load(o->v + i);
        vec normed = x * load(o->weight + i) + load(o->bias + i), dout = load(o->dout + i);
        vec dz = dout * load(o->g + i), dx = dz * load(o->weight + i);
        store(o->dg + i, dout * (normed + sums.bonus * v));
        store(o->dv + i, dz * sums.bonus);
        store(o->dweight + i, load(o->dweight + i) + dz * x);
        store(o->dbias + i, load(o->dbias + i) + dz);
        bonus += dz * v;
        mean += dx;
        along += dx * x;
    }
    d_bonus = all(sum(bonus));
    d_mean = all(sum(mean) / (real)n);
    d_along = all(sum(along) / (real)n);
    for (size_t i = 0; i < n; i += LANES) {
        vec x = (load(o->y + i) - sums.mean) * sums.rstd;
        vec dx = load(o->dout + i) * load(o->g + i) * load(o->weight + i);
        vec r = load(o->r + i), k = load(o->k + i), r_k = load(o->r_k + i);
        store(o->dout + i, (dx - d_mean - x * d_along) * sums.rstd);
        store(o->dr + i, d_bonus * k * r_k);
        store(o->dk + i, d_bonus * r * r_k);
        store(o->dr_k + i, load(o->dr_k + i) + d_bonus * r * k);
    }
}

void NET(output_back)(struct net_work *work, uint32_t layer, const real *k, real *dout, real *dg,
                      real *dr, real *dk, real *dv)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, n = work->shape.head_size;
    const real *r_k = weights_of(work, layer, R_K), *weight = weights_of(work, layer, LN_X);
    const real *bias = weights_of(work, layer, LN_X_BIAS);
    real *dr_k = slope_of(work, layer, R_K), *dweight = slope_of(work, layer, LN_X);
    real *dbias = slope_of(work, layer, LN_X_BIAS);

    for (size_t row = 0; row < work->rows; row++)
        for (size_t head = 0; head < channels; head += n) {
            size_t at = row * channels + head;
            struct output_back one = {rows->y + at, rows->r + at, k + at,         rows->v + at,
                                      rows->g + at, r_k + head,   weight + head,  bias + head,
                                      dout + at,    dg + at,      dr + at,        dk + at,
                                      dv + at,      dr_k + head,  dweight + head, dbias + head};
            output_back(&one, n);
        }
}

/* One head of one row: from k, kk and a back to k0 and the low-rank product of a. */
struct key_back {
    const real *k0, *a, *k_k, *k_a;
    real *dk, *da, *dk_k, *dk_a, *da0;
    const real *db;
};

INLINE void key_back(const struct key_back *b, size_t n)
{
    bool least;
    real scale = kappa_scale(b->k0, b->k_k, n, &least);
    vec p = all(0), along;

    for (size_t i = 0; i < n; i += LANES) {
        vec kk = load(b->k0 + i) * load(b->k_k + i) * scale;
        p += (load(b->db + i) * load(b->a + i) - load(b->da + i)) * kk;
    }
    along = all(least ? 0 : sum(p));
    for (size_t i = 0; i < n; i += LANES) {
        vec k0 = load(b->k0 + i), a = load(b->a + i), k_k = load(b->k_k + i);
        vec k_a = load(b->k_a + i), dk = load(b->dk + i), db = load(b->db + i);
        vec kk = k0 * k_k * scale, dkk = db * a - load(b->da + i);
        vec dx = (dkk - kk * along) * scale;
        vec da = (dk * k0 * k_a + db * kk) * a * (R(1) - a);
        store(b->dk_a + i, load(b->dk_a + i) + dk * k0 * (a - R(1)));
        store(b->dk_k + i, load(b->dk_k + i) + dx * k0);
        store(b->da0 + i, load(b->da0 + i) + da);
        store(b->dk + i, dk * (R(1) + (a - R(1)) * k_a) + dx * k_k);
        store(b->da + i, da);
    }
}

/* Decay and value residual of one row. */
static void gates_back(struct net_work *work, uint32_t layer, size_t row, real *dv, real *dw,
                       real *db)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, first = row * channels;
    const real *v_first = work->layers[0].v + first;
    real *dw0 = slope_of(work, layer, W0), *dv_first = work->dv_first + first;
    real *dv0 = layer ? slope_of(work, layer, V0) : NULL;

    for (size_t c = 0; c < channels; c += LANES) {
        vec sigma = load(rows->sigma + first + c), w = load(rows->w + first + c);
        vec z = load(dw + c) * w * -DECAY * sigma * (R(1) - sigma), d = load(dv + c);
        store(dw + c, z);
        store(dw0 + c, load(dw0 + c) + z);
        if (layer) {
            vec s = load(rows->s + first + c), v = load(rows->v0 + first + c);
            vec ds = d * (load(v_first + c) - v) * s * (R(1) - s);
            store(db + c, ds);
            store(dv0 + c, load(dv0 + c) + ds);
            store(dv_first + c, load(dv_first + c) + d * s);
            store(dv + c, d * (R(1) - s));
        } else {
            store(dv + c, d + load(dv_first + c));
        }
    }
}

void NET(keys_back)(struct net_work *work, uint32_t layer, real *dk, real *dv, real *dw, real *da,
                    real *db)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, n = work->shape.head_size;

    for (size_t row = 0; row < work->rows; row++) {
        size_t first = row * channels;
        for (size_t head = 0; head < channels; head += n) {
            size_t at = first + head;
            key_back(&(struct key_back){.k0 = rows->k0 + at,
                                        .a = rows->a + at,
                                        .k_k = weights_of(work, layer, K_K) + head,
                                        .k_a = weights_of(work, layer, K_A) + head,
                                        .dk = dk + at,
                                        .da = da + at,
                                        .dk_k = slope_of(work, layer, K_K) + head,
                                        .dk_a = slope_of(work, layer, K_A) + head,
                                        .da0 = slope_of(work, layer, A0) + head,
                                        .db = db + at},
                     n);
        }
        gates_back(work, layer, row, dv + first, dw + first, db + first);
    }
}
