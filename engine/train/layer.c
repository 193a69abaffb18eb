/* layer.c: one layer of RWKV-7 over a window, forward and back. */
#include "engine/train/work.h"

#define W(which) weights_of(work, layer, which)
#define D(which) slope_of(work, layer, which)

/* ---- Forward. ---- */

static size_t carried_at(const struct net_work *work, uint32_t layer, bool attention)
{
    return layer * net_layer_state(&work->shape) + (attention ? work->shape.channels : 0);
}

static void mixed_inputs(struct net_work *work, uint32_t layer, bool keep)
{
    const real *mix[MIXES];

    for (int i = 0; i < MIXES; i++)
        mix[i] = weights_of(work, layer, X_R + i);
    NET(shift_rows)
    (work, work->mix, mix, MIXES, work->layers[layer].xhat1, weights_of(work, layer, LN1),
     weights_of(work, layer, LN1_BIAS), carried_at(work, layer, true), keep);
}

static void channel_input(struct net_work *work, uint32_t layer, bool keep)
{
    const real *mix = weights_of(work, layer, FFN_X_K);

    NET(shift_rows)
    (work, work->mix, &mix, 1, work->layers[layer].xhat2, weights_of(work, layer, LN2),
     weights_of(work, layer, LN2_BIAS), carried_at(work, layer, false), keep);
}

/* One head along one stream, as scan.c takes it. keys are k, minus_kk and kk_a. */
static struct scan scan_of(const struct net_work *work, uint32_t layer, size_t stream, size_t head,
                           real *const *keys)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels, n = work->shape.head_size;
    const size_t at = stream * work->tokens * channels + head * n, heads = channels / n;
    const size_t kept = work->tokens / NET_SCAN_TOKENS * n * n;

    return (struct scan){
        .r = rows->r + at,
        .w = rows->w + at,
        .k = keys[0] + at,
        .v = rows->v + at,
        .a = keys[1] + at,
        .b = keys[2] + at,
        .y = rows->y + at,
        .sa = rows->sa + at,
        .states = rows->states ? rows->states + (stream * heads + head) * kept : NULL,
        .input = work->window->input + stream * work->tokens,
        .origin =
            work->shape.time_state ? weights_of(work, layer, TIME_STATE) + head * n * n : NULL,
        .stride = channels,
        .tokens = work->tokens,
        .n = n,
        .chunk = work->chunk};
}

static void scan_all(struct net_work *work, uint32_t layer)
{
    const size_t channels = work->shape.channels, n = work->shape.head_size;

    for (size_t stream = 0; stream < work->streams; stream++) {
        size_t at = stream * net_state(&work->shape) + carried_at(work, layer, true) + channels;
        real *S = work->window->after + at;
        memcpy(S, work->window->before + at, channels * n * sizeof *S);
        for (size_t head = 0; head < channels / n; head++) {
            struct scan scan = scan_of(work, layer, stream, head, work->mix);
            scan.S = S + head * n * n;
            NET(scan_forward)(&scan);
        }
    }
}

static void map_tanh(real *x, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        store(x + i, hyperbolic_tangent(load(x + i)));
}

static void map_logistic(real *x, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        store(x + i, logistic(load(x + i)));
}

static void attention(struct net_work *work, uint32_t layer)
{
    const struct net_shape *shape = &work->shape;
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = shape->channels;
    real *const *mix = work->mix;

    NET(norm_rows)(rows->xhat1, rows->rstd1, work->x, work->rows, channels);
    mixed_inputs(work, layer, true);
    product(work, rows->r, mix[0], W(RECEPTANCE), channels, channels, false);
    product(work, rows->k0, mix[2], W(KEY), channels, channels, false);
    product(work, rows->v0, mix[3], W(VALUE), channels, channels, false);
    product(work, rows->tw, mix[1], W(W1), shape->rank_w, channels, false);
    map_tanh(rows->tw, work->rows * shape->rank_w);
    product(work, rows->sigma, rows->tw, W(W2), channels, shape->rank_w, false);
    product(work, rows->la, mix[4], W(A1), shape->rank_a, channels, false);
    product(work, rows->a, rows->la, W(A2), channels, shape->rank_a, false);
    product(work, rows->sg, mix[5], W(G1), shape->rank_g, channels, false);
    map_logistic(rows->sg, work->rows * shape->rank_g);
    product(work, rows->g, rows->sg, W(G2), channels, shape->rank_g, false);
    if (layer) {
        product(work, rows->lv, mix[3], W(V1), shape->rank_v, channels, false);
        product(work, rows->s, rows->lv, W(V2), channels, shape->rank_v, false);
    }
    NET(gates_forward)(work, layer);
    NET(keys_forward)(work, layer, mix[0], mix[1], mix[2]);
    scan_all(work, layer);
    NET(output_forward)(work, layer, mix[0]);
    product(work, work->x, rows->out, W(OUTPUT), channels, channels, true);
}

static void squared(real *to, const real *u, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        store(to + i, load(u + i) * load(u + i));
}

static void channel_mix(struct net_work *work, uint32_t layer)
{
    const struct net_shape *shape = &work->shape;
    const struct layer_rows *rows = &work->layers[layer];
    const size_t count = work->rows * shape->ffn;

    NET(norm_rows)(rows->xhat2, rows->rstd2, work->x, work->rows, shape->channels);
    channel_input(work, layer, true);
    product(work, rows->u, work->mix[0], W(FFN_KEY), shape->ffn, shape->channels, false);
    for (size_t i = 0; i < count; i += LANES)
        store(rows->u + i, higher(load(rows->u + i), all(0)));
    squared(work->wide[0], rows->u, count);
    product(work, work->x, work->wide[0], W(FFN_VALUE), shape->channels, shape->ffn, true);
}

/* ---- Back. ---- */

static void channel_mix_back(struct net_work *work, uint32_t layer)
{
    const size_t channels = work->shape.channels, ffn = work->shape.ffn;
    const struct layer_rows *rows = &work->layers[layer];
    const size_t count = work->rows * ffn;
    const real *mix = W(FFN_X_K);
    real *dmix = D(FFN_X_K), *du = work->wide[0], *input = work->mix[0];

    squared(work->wide[1], rows->u, count);
    weights_back(work, D(FFN_VALUE), work->x, work->wide[1], channels, ffn);
    input_back(work, du, work->x, W(FFN_VALUE), channels, ffn, false);
    for (size_t i = 0; i < count; i += LANES)
        store(du + i, load(du + i) * load(rows->u + i) * R(2));
    channel_input(work, layer, false);
    weights_back(work, D(FFN_KEY), du, input, ffn, channels);
    input_back(work, input, du, W(FFN_KEY), ffn, channels, false);
    NET(shift_rows_back)
    (work, &(struct shift_back){.dout = work->mix,
                                .mix = &mix,
                                .dmix = &dmix,
                                .mixes = 1,
                                .carried = carried_at(work, layer, false),
                                .xhat = rows->xhat2,
                                .rstd = rows->rstd2,
                                .weight = W(LN2),
                                .bias = W(LN2_BIAS),
                                .dweight = D(LN2),
                                .dbias = D(LN2_BIAS),
                                .dx = work->x});
}

/* A low-rank pair from dy, the gradient of its second product, to the gradients of both matrices and,
 * left in wide[1], of its first product. mixed is what the first multiplied, low what the second did. */
static void low_rank_back(struct net_work *work, uint32_t layer, enum layer_tensor first,
                          size_t rank, const real *dy, const real *low, const real *mixed)
{
    const size_t channels = work->shape.channels, count = work->rows * rank;
    const enum layer_tensor second = first + 1;
    real *dlow = work->wide[1];

    weights_back(work, D(second), dy, low, channels, rank);
    input_back(work, dlow, dy, W(second), channels, rank, false);
    for (size_t i = 0; first == W1 && i < count; i += LANES)
        store(dlow + i, load(dlow + i) * (R(1) - load(low + i) * load(low + i)));
    for (size_t i = 0; first == G1 && i < count; i += LANES)
        store(dlow + i, load(dlow + i) * load(low + i) * (R(1) - load(low + i)));
    weights_back(work, D(first), dlow, mixed, rank, channels);
}

static void scan_all_back(struct net_work *work, uint32_t layer, const real *dy)
{
    const size_t channels = work->shape.channels, n = work->shape.head_size;
    const size_t area = work->rows * channels;

    for (int i = 3; i < MIXES; i++)
        memset(work->t[i], 0, area * sizeof(real));
    for (size_t stream = 0; stream < work->streams; stream++)
        for (size_t head = 0; head < channels / n; head++) {
            struct scan scan = scan_of(work, layer, stream, head, work->mix);
            size_t at = stream * work->tokens * channels + head * n;
            scan.dy = dy + at;
            if (scan.origin)
                scan.dorigin = D(TIME_STATE) + head * n * n;
            scan.dr = work->t[0] + at;
            scan.dk = work->t[1] + at;
            scan.dv = work->t[2] + at;
            scan.dw = work->t[3] + at;
            scan.da = work->t[4] + at;
            scan.db = work->t[5] + at;
            NET(scan_back)(&scan);
        }
}

/* From the gradients in t (and of the gate, dg) to those of the six mixed inputs, in mix. */
static void inputs_back(struct net_work *work, uint32_t layer, const real *dg)
{
    const struct net_shape *shape = &work->shape;
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = shape->channels;
    real *const *mix = work->mix, *const *t = work->t, *dlow = work->wide[1];

    weights_back(work, D(RECEPTANCE), t[0], mix[0], channels, channels);
    input_back(work, mix[0], t[0], W(RECEPTANCE), channels, channels, false);
    low_rank_back(work, layer, W1, shape->rank_w, t[3], rows->tw, mix[1]);
    input_back(work, mix[1], dlow, W(W1), shape->rank_w, channels, false);
    weights_back(work, D(KEY), t[1], mix[2], channels, channels);
    input_back(work, mix[2], t[1], W(KEY), channels, channels, false);
    weights_back(work, D(VALUE), t[2], mix[3], channels, channels);
    if (layer)
        low_rank_back(work, layer, V1, shape->rank_v, t[5], rows->lv, mix[3]);
    input_back(work, mix[3], t[2], W(VALUE), channels, channels, false);
    if (layer)
        input_back(work, mix[3], dlow, W(V1), shape->rank_v, channels, true);
    low_rank_back(work, layer, A1, shape->rank_a, t[4], rows->la, mix[4]);
    input_back(work, mix[4], dlow, W(A1), shape->rank_a, channels, false);
    low_rank_back(work, layer, G1, shape->rank_g, dg, rows->sg, mix[5]);
    input_back(work, mix[5], dlow, W(G1), shape->rank_g, channels, false);
}

static void attention_back(struct net_work *work, uint32_t layer)
{
    const struct layer_rows *rows = &work->layers[layer];
    const size_t channels = work->shape.channels;
    real *const *t = work->t, *dout = work->mix[3], *dg = work->wide[0];
    const real *mix[MIXES];
    real *dmix[MIXES];

    weights_back(work, D(OUTPUT), work->x, rows->out, channels, channels);
    input_back(work, dout, work->x, W(OUTPUT), channels, channels, false);
    NET(keys_forward)(work, layer, work->mix[0], work->mix[1], work->mix[2]);
    NET(output_back)(work, layer, work->mix[0], dout, dg, t[0], t[1], t[2]);
    scan_all_back(work, layer, dout);
    NET(keys_back)(work, layer, t[1], t[2], t[3], t[4], t[5]);
    mixed_inputs(work, layer, false);
    inputs_back(work, layer, dg);
    for (int i = 0; i < MIXES; i++) {
        mix[i] = W(X_R + i);
        dmix[i] = D(X_R + i);
    }
    NET(shift_rows_back)
    (work, &(struct shift_back){.dout = work->mix,
                                .mix = mix,
                                .dmix = dmix,
                                .mixes = MIXES,
                                .carried = carried_at(work, layer, true),
                                .xhat = rows->xhat1,
                                .rstd = rows->rstd1,
                                .weight = W(LN1),
                                .bias = W(LN1_BIAS),
                                .dweight = D(LN1),
                                .dbias = D(LN1_BIAS),
                                .dx = work->x});
}

void NET(layer_forward)(struct net_work *work, uint32_t layer)
{
    attention(work, layer);
    channel_mix(work, layer);
}

void NET(layer_back)(struct net_work *work, uint32_t layer)
{
    channel_mix_back(work, layer);
    attention_back(work, layer);
}
