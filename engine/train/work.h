/* engine/train/work.h: what forward and backward share: the memory of a window, and their parts.
 *
 * Of a layer's forward pass these rows stay for the backward one (C channels, F of the channel mix);
 * what is cheap to compute again from them (mixed inputs, keys as the recurrence used them) does not:
 *
 *     xhat1 xhat2   C  normalised rows, before weight and bias; rstd 1 / deviation of each row
 *     r k0 v0 v     C  the products of receptance, key, value; v after the value residual
 *     w sigma       C  decay, and the sigmoid it came from
 *     a s g         C  in-context rate, share of v_first, gate
 *     y sa          C  the recurrence's output, and (S a) of each token
 *     out           C  what the output matrix multiplies
 *     u             F  relu of the channel mix
 *     tw la lv sg      the low ranks between their two matrices
 *     states        C head_size for each NET_SCAN_TOKENS tokens */
#ifndef ENGINE_TRAIN_WORK_H
#define ENGINE_TRAIN_WORK_H

#include "engine/train/real.h"

struct layer_rows {
    real *xhat1, *xhat2, *rstd1, *rstd2;
    real *r, *k0, *v0, *v, *w, *sigma, *a, *s, *g, *y, *sa, *out, *u;
    real *tw, *la, *lv, *sg;
    real *states; /* (streams, heads, tokens / NET_SCAN_TOKENS, head_size, head_size) */
};

enum { MIXES = 6 };

struct net_work {
    struct net_shape shape;
    struct layout layout;
    size_t streams, tokens, rows;
    multiply_fn *multiply;
    void *desk;
    uint8_t *memory;
    struct layer_rows *layers; /* without a gradient all but the first share theirs */
    real *x;                   /* (rows, C) the residual stream, then its gradient */
    real *xhat0, *rstd0, *xhat_out, *rstd_out;
    real *mix[MIXES]; /* (rows, C) */
    real *t[MIXES];   /* (rows, C) more of them, for the backward pass */
    real *wide[2];    /* (rows, the largest of C, F and the ranks) */
    real *dv_first;   /* (rows, C) */
    real *logits;     /* (NET_LOSS_ROWS or all rows, V) */
    real *chunk;      /* scan's */
    real *line[3];    /* (C) */
    real *zeros;      /* (C) */
    const real *parameters;
    real *gradient;
    const struct window *window;
};

#define LN_EPS      R(1e-5)
#define GN_EPS      R(64e-5)
#define DECAY       R(0.606531)
#define KAPPA_LEAST R(1e-12)

INLINE const real *weights_of(const struct net_work *work, uint32_t layer, enum layer_tensor which)
{
    return work->parameters + work->layout.layer[layer][which];
}

INLINE real *slope_of(const struct net_work *work, uint32_t layer, enum layer_tensor which)
{
    return work->gradient + work->layout.layer[layer][which];
}

/* y (rows, n) = x (rows, k) W^T, or y += it. */
static inline void product(const struct net_work *work, real *y, const real *x, const real *W,
                           size_t n, size_t k, bool add)
{
    const struct gemm gemm = {.transpose_b = true, .add = add, .m = work->rows, .n = n, .k = k};

    work->multiply(&gemm, x, W, y, work->desk);
}

/* dW (n, k) += dy^T x, dy (rows, n), x (rows, k). */
static inline void weights_back(const struct net_work *work, real *dW, const real *dy,
                                const real *x, size_t n, size_t k)
{
    const struct gemm gemm = {.transpose_a = true, .add = true, .m = n, .n = k, .k = work->rows};

    if (!work->window->frozen)
        work->multiply(&gemm, dy, x, dW, work->desk);
}

/* dx (rows, k) = dy W, or += it. */
static inline void input_back(const struct net_work *work, real *dx, const real *dy, const real *W,
                              size_t n, size_t k, bool add)
{
    const struct gemm gemm = {.add = add, .m = work->rows, .n = k, .k = n};

    work->multiply(&gemm, dy, W, dx, work->desk);
}

/* Does row t of a stream begin a document? */
INLINE bool begins(const struct net_work *work, size_t row)
{
    return work->window->input[row] == 0;
}

/* ---- scan.c: the recurrence of one head along one stream. ---- */

/* Rows of a state that the way back takes at a time: more would need more registers than there are. */
enum { SCAN_ROWS = NET_MULTIPLE / 2 };
static inline size_t scan_chunk(size_t n)
{
    return (NET_SCAN_TOKENS + 2) * SCAN_ROWS * n + n * n;
}

struct scan {
    const real *r, *w, *k, *v, *a, *b; /* rows of head_size, stride apart */
    real *y, *sa;                      /* forward: out */
    real *S;                           /* forward: state, in place */
    real *states;                      /* kept ones; NULL: none are */
    const uint32_t *input;             /* (tokens) 0 begins a document */
    const real *origin;                /* the state there; NULL: zeros */
    size_t stride, tokens, n;
    /* Backward: dy in, gradients out; dr, dk, dv are added to. */
    const real *dy;
    real *dr, *dw, *dk, *dv, *da, *db;
    real *dorigin; /* added to */
    real *chunk;   /* (scan_chunk(n)) */
};
void NET(scan_forward)(const struct scan *scan);
void NET(scan_back)(const struct scan *scan);

/* ---- mix.c: row by row. ---- */

/* xhat = normalised x, rstd = 1 / deviation. */
void NET(norm_rows)(real *xhat, real *rstd, const real *x, size_t rows, size_t channels);
/* out[i] = h + (h before - h) mix[i] over all streams, with h = xhat weight + bias. carried is the
 * place in a stream's state of the h before the window; with keep the last h is put there after it. */
void NET(shift_rows)(struct net_work *work, real *const *out, const real *const *mix, size_t mixes,
                     const real *xhat, const real *weight, const real *bias, size_t carried,
                     bool keep);
/* From the gradients of out to that of x before the norm (added to dx), of mix, weight and bias. */
struct shift_back {
    real *const *dout;
    const real *const *mix;
    real *const *dmix;
    size_t mixes, carried;
    const real *xhat, *rstd, *weight, *bias;
    real *dweight, *dbias, *dx;
};
void NET(shift_rows_back)(struct net_work *work, const struct shift_back *back);
/* dx = (or +=) gradient of x from dh, the gradient of xhat weight + bias. */
void NET(norm_rows_back)(real *dx, const real *dh, const real *xhat, const real *rstd,
                         const real *weight, real *dweight, real *dbias, size_t rows,
                         size_t channels, bool add);

/* ---- attention.c: what stands between the products and the recurrence. ---- */

/* Low-rank products in sigma, a and s become decay, rate and share; v takes its share of v_first. */
void NET(gates_forward)(struct net_work *work, uint32_t layer);
/* The keys as the recurrence takes them. */
void NET(keys_forward)(struct net_work *work, uint32_t layer, real *k, real *minus_kk, real *kk_a);
/* Group norm, bonus and gate. */
void NET(output_forward)(struct net_work *work, uint32_t layer, const real *k);
/* dout becomes dy; dg, dr, dk, dv are set. */
void NET(output_back)(struct net_work *work, uint32_t layer, const real *k, real *dout, real *dg,
                      real *dr, real *dk, real *dv);
/* In place: dk becomes that of k0, dv that of v0, dw, da, db (of decay, minus_kk, kk_a) those of the
 * low-rank products of w, a and v. */
void NET(keys_back)(struct net_work *work, uint32_t layer, real *dk, real *dv, real *dw, real *da,
                    real *db);

/* ---- layer.c: x is taken through a layer; back, its gradient is. ---- */

void NET(layer_forward)(struct net_work *work, uint32_t layer);
void NET(layer_back)(struct net_work *work, uint32_t layer);

#endif
