/* net.c: a window: its memory, embedding, loss, and the order of the layers. */
#include "engine/train/net.h"
#include "engine/train/work.h"

#include <stdlib.h>

/* ---- Memory: counted first, then cut from one allocation. ---- */

static real *cut(uint8_t *memory, size_t *at, size_t count)
{
    real *place = memory ? (real *)(void *)(memory + *at) : NULL;

    *at += (count * sizeof(real) + 63) / 64 * 64;
    return place;
}

static void cut_layer(struct net_work *work, struct layer_rows *rows, bool first, bool keep,
                      uint8_t *memory, size_t *at)
{
    const struct net_shape *shape = &work->shape;
    const size_t channels = shape->channels, area = work->rows * channels;
    real **const whole[] = {&rows->xhat1, &rows->xhat2, &rows->r,  &rows->k0, &rows->v0,
                            &rows->w,     &rows->sigma, &rows->a,  &rows->s,  &rows->g,
                            &rows->y,     &rows->sa,    &rows->out};

    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        *whole[i] = cut(memory, at, area);
    rows->v = first ? rows->v0 : cut(memory, at, area);
    rows->rstd1 = cut(memory, at, work->rows);
    rows->rstd2 = cut(memory, at, work->rows);
    rows->u = cut(memory, at, work->rows * shape->ffn);
    rows->tw = cut(memory, at, work->rows * shape->rank_w);
    rows->la = cut(memory, at, work->rows * shape->rank_a);
    rows->lv = cut(memory, at, work->rows * shape->rank_v);
    rows->sg = cut(memory, at, work->rows * shape->rank_g);
    rows->states = keep ? cut(memory, at, area / NET_SCAN_TOKENS * shape->head_size) : NULL;
}

static size_t largest(const struct net_shape *shape)
{
    const uint32_t sizes[] = {shape->channels, shape->ffn,    shape->rank_w,
                              shape->rank_a,   shape->rank_v, shape->rank_g};
    size_t most = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        most = sizes[i] > most ? sizes[i] : most;
    return most;
}

/* Bytes that the whole takes; with memory the places are given out. */
static size_t cut_all(struct net_work *work, bool with_gradient, uint8_t *memory)
{
    const struct net_shape *shape = &work->shape;
    const size_t area = work->rows * shape->channels, n = shape->head_size;
    const size_t loss_rows = work->rows < NET_LOSS_ROWS ? work->rows : NET_LOSS_ROWS;
    size_t at = 0;

    for (uint32_t i = 0; i < shape->layers; i++)
        if (with_gradient || i < 2)
            cut_layer(work, &work->layers[i], i == 0, with_gradient, memory, &at);
        else
            work->layers[i] = work->layers[1];
    work->x = cut(memory, &at, area);
    work->xhat0 = cut(memory, &at, area);
    work->xhat_out = cut(memory, &at, area);
    work->rstd0 = cut(memory, &at, work->rows);
    work->rstd_out = cut(memory, &at, work->rows);
    for (int i = 0; i < MIXES; i++)
        work->mix[i] = cut(memory, &at, area);
    for (int i = 0; i < MIXES; i++)
        work->t[i] = with_gradient ? cut(memory, &at, area) : NULL;
    for (int i = 0; i < 2; i++)
        work->wide[i] = cut(memory, &at, work->rows * largest(shape));
    work->dv_first = with_gradient ? cut(memory, &at, area) : NULL;
    work->logits = cut(memory, &at, loss_rows * shape->vocab);
    work->chunk = cut(memory, &at, scan_chunk(n));
    for (int i = 0; i < 3; i++)
        work->line[i] = cut(memory, &at, shape->channels);
    work->zeros = cut(memory, &at, shape->channels);
    return at;
}

static void work_close(struct net_work **work)
{
    if (*work) {
        free((*work)->memory);
        free((*work)->layers);
        free(*work);
    }
    *work = NULL;
}

static struct net_work *work_open(const struct net_shape *shape, size_t streams, size_t tokens,
                                  bool with_gradient, multiply_fn *multiply, void *desk)
{
    struct net_work *work = calloc(1, sizeof *work);
    size_t bytes;

    require(tokens % NET_SCAN_TOKENS == 0 && streams && tokens);
    if (!work)
        return NULL;
    work->shape = *shape;
    work->streams = streams;
    work->tokens = tokens;
    work->rows = streams * tokens;
    work->multiply = multiply;
    work->desk = desk;
    net_layout(shape, &work->layout);
    work->layers = calloc(shape->layers, sizeof *work->layers);
    bytes = work->layers ? cut_all(work, with_gradient, NULL) : 0;
    if (work->layers)
        work->memory = aligned_alloc(64, bytes);
    if (!work->layers || !work->memory) {
        work_close(&work);
        return NULL;
    }
    cut_all(work, with_gradient, work->memory);
    memset(work->zeros, 0, shape->channels * sizeof *work->zeros);
    return work;
}

/* ---- Embedding. ---- */

static void embed(struct net_work *work)
{
    const size_t channels = work->shape.channels;
    const real *emb = work->parameters + work->layout.global[EMB];
    const real *weight = work->parameters + work->layout.global[LN0];
    const real *bias = work->parameters + work->layout.global[LN0_BIAS];

    for (size_t row = 0; row < work->rows; row++)
        memcpy(work->x + row * channels, emb + work->window->input[row] * channels,
               channels * sizeof *emb);
    NET(norm_rows)(work->xhat0, work->rstd0, work->x, work->rows, channels);
    for (size_t row = 0; row < work->rows; row++)
        for (size_t i = 0, at = row * channels; i < channels; i += LANES)
            store(work->x + at + i, load(work->xhat0 + at + i) * load(weight + i) + load(bias + i));
}

/* ---- Loss. ---- */

/* Nats of target; logits become the gradient of weight x nats. */
static double row_loss(real *logits, size_t vocab, uint32_t target, real weight)
{
    vec most = load(logits), total = all(0);
    real top, scale, own = logits[target];

    for (size_t i = LANES; i < vocab; i += LANES)
        most = higher(most, load(logits + i));
    top = most[0];
    for (int i = 1; i < LANES; i++)
        top = most[i] > top ? most[i] : top;
    for (size_t i = 0; i < vocab; i += LANES) {
        vec e = exponential(load(logits + i) - top);
        store(logits + i, e);
        total += e;
    }
    scale = weight / sum(total);
    for (size_t i = 0; i < vocab; i += LANES)
        store(logits + i, load(logits + i) * scale);
    logits[target] -= weight;
    return log((double)sum(total)) + (double)(top - own);
}

/* Rows first .. first + count - 1: loss, and with a gradient what flows back into h. */
static void loss_rows(struct net_work *work, size_t first, size_t count, const real *h, real *dh,
                      struct net_loss *loss)
{
    const size_t channels = work->shape.channels, vocab = work->shape.vocab;
    const real *head = work->parameters + work->layout.global[HEAD];
    const real *at = h + first * channels;
    struct gemm gemm = {.transpose_b = true, .m = count, .n = vocab, .k = channels};

    work->multiply(&gemm, at, head, work->logits, work->desk);
    for (size_t row = 0; row < count; row++) {
        uint32_t target = work->window->target[first + row];
        real *logits = work->logits + row * vocab;
        if (target == NET_NO_TARGET) {
            memset(logits, 0, vocab * sizeof *logits);
            continue;
        }
        loss->nats += row_loss(logits, vocab, target, work->window->weight);
        loss->tokens++;
    }
    if (!work->gradient)
        return;
    gemm = (struct gemm){.m = count, .n = channels, .k = vocab};
    work->multiply(&gemm, work->logits, head, dh + first * channels, work->desk);
    gemm = (struct gemm){.transpose_a = true, .add = true, .m = vocab, .n = channels, .k = count};
    if (!work->window->frozen)
        work->multiply(&gemm, work->logits, at, work->gradient + work->layout.global[HEAD],
                       work->desk);
}

/* With a gradient x becomes that of the last layer's output. */
static struct net_loss head_loss(struct net_work *work)
{
    const size_t channels = work->shape.channels;
    const real *weight = work->parameters + work->layout.global[LN_OUT];
    const real *bias = work->parameters + work->layout.global[LN_OUT_BIAS];
    real *h = work->mix[0], *dh = work->mix[1];
    struct net_loss loss = {0};

    NET(norm_rows)(work->xhat_out, work->rstd_out, work->x, work->rows, channels);
    for (size_t row = 0; row < work->rows; row++)
        for (size_t i = 0, at = row * channels; i < channels; i += LANES)
            store(h + at + i, load(work->xhat_out + at + i) * load(weight + i) + load(bias + i));
    for (size_t first = 0; first < work->rows; first += NET_LOSS_ROWS) {
        size_t left = work->rows - first;
        loss_rows(work, first, left < NET_LOSS_ROWS ? left : NET_LOSS_ROWS, h, dh, &loss);
    }
    if (work->gradient)
        NET(norm_rows_back)
    (work->x, dh, work->xhat_out, work->rstd_out, weight,
     work->gradient + work->layout.global[LN_OUT],
     work->gradient + work->layout.global[LN_OUT_BIAS], work->rows, channels, false);
    return loss;
}

static void embed_back(struct net_work *work)
{
    const size_t channels = work->shape.channels;
    real *demb = work->gradient + work->layout.global[EMB];

    NET(norm_rows_back)
    (work->x, work->x, work->xhat0, work->rstd0, work->parameters + work->layout.global[LN0],
     work->gradient + work->layout.global[LN0], work->gradient + work->layout.global[LN0_BIAS],
     work->rows, channels, false);
    for (size_t row = 0; row < work->rows; row++) {
        real *to = demb + work->window->input[row] * channels;
        for (size_t i = 0; i < channels; i += LANES)
            store(to + i, load(to + i) + load(work->x + row * channels + i));
    }
}

static struct net_loss work_step(struct net_work *work, const real *parameters, real *gradient,
                                 const struct window *window)
{
    struct net_loss loss;

    work->parameters = parameters;
    work->gradient = gradient;
    work->window = window;
    embed(work);
    for (uint32_t layer = 0; layer < work->shape.layers; layer++)
        NET(layer_forward)(work, layer);
    loss = head_loss(work);
    if (gradient) {
        memset(work->dv_first, 0, work->rows * work->shape.channels * sizeof(real));
        for (uint32_t layer = work->shape.layers; layer-- > 0;)
            NET(layer_back)(work, layer);
        embed_back(work);
    }
    return loss;
}

/* ---- Parameters. ---- */

/* Sixteen partial sums over blocks of a fixed length, in double. */
static double squares(const real *values, size_t count)
{
    double total = 0;

    for (size_t at = 0; at < count; at += 4096) {
        size_t end = count - at < 4096 ? count : at + 4096;
        vec p = all(0);
        for (size_t i = at; i < end; i += LANES)
            p += load(values + i) * load(values + i);
        total += (double)sum(p);
    }
    return total;
}

static void add(real *to, const real *from, size_t count)
{
    for (size_t i = 0; i < count; i += LANES)
        store(to + i, load(to + i) + load(from + i));
}

static void adam_run(const struct adam *adam, real *p, const real *g, real *mean, real *square,
                     size_t first, size_t count, bool decay, bool fast)
{
    const real b1 = R(adam->beta1), b2 = R(adam->beta2), scale = R(adam->scale);
    const double rate = adam->rate * (fast ? 2 : 1);
    const real step = R(rate / adam->correct1), root = R(1 / sqrt(adam->correct2));
    const real keep = R(1 - (decay ? rate * adam->decay : 0)), epsilon = R(adam->epsilon);

    for (size_t i = first; i < first + count; i += LANES) {
        vec x = load(g + i) * scale;
        vec m = load(mean + i) * b1 + x * (1 - b1), s = load(square + i) * b2 + x * x * (1 - b2);
        store(mean + i, m);
        store(square + i, s);
        store(p + i, load(p + i) * keep - m * step / (square_root(s) * root + epsilon));
    }
}

static void adam_range(const struct adam *adam, real *parameters, const real *gradient, real *mean,
                       real *square, size_t first, size_t count)
{
    const size_t end = first + count;

    for (size_t i = 0; i < adam->range_count; i++) {
        const struct net_range *range = &adam->ranges[i];
        size_t from = range->first > first ? range->first : first;
        size_t to = range->first + range->count < end ? range->first + range->count : end;
        if (from < to)
            adam_run(adam, parameters, gradient, mean, square, from, to - from, range->decay,
                     range->fast);
    }
}

const struct net_ops NET(net_ops) = {.level = NET_TEXT(NET_LEVEL),
                                     .open = work_open,
                                     .close = work_close,
                                     .step = work_step,
                                     .adam = adam_range,
                                     .squares = squares,
                                     .add = add};
