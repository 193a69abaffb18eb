/* mix.c: layer norm and token shift, row by row, and their way back. */
#include "engine/train/work.h"

void NET(norm_rows)(real *xhat, real *rstd, const real *x, size_t rows, size_t channels)
{
    const real share = R(1) / (real)channels;

    for (size_t row = 0; row < rows; row++, x += channels, xhat += channels) {
        vec s = all(0), q = all(0), mean, scale;
        for (size_t i = 0; i < channels; i += LANES)
            s += load(x + i);
        mean = all(sum(s) * share);
        for (size_t i = 0; i < channels; i += LANES) {
            vec d = load(x + i) - mean;
            q += d * d;
        }
        scale = R(1) / square_root(all(sum(q) * share + LN_EPS));
        rstd[row] = scale[0];
        for (size_t i = 0; i < channels; i += LANES)
            store(xhat + i, (load(x + i) - mean) * scale);
    }
}

/* One row: dx = (or +=) gradient of x from dh; weight and bias take their part. */
INLINE void norm_back(real *dx, const real *dh, const real *xhat, real rstd, const real *weight,
                      real *dweight, real *dbias, size_t channels, bool add)
{
    const real share = R(1) / (real)channels;
    vec s = all(0), q = all(0), mean, along;

    for (size_t i = 0; i < channels; i += LANES) {
        vec g = load(dh + i), x = load(xhat + i), d = g * load(weight + i);
        s += d;
        q += d * x;
        store(dweight + i, load(dweight + i) + g * x);
        store(dbias + i, load(dbias + i) + g);
    }
    mean = all(sum(s) * share);
    along = all(sum(q) * share);
    for (size_t i = 0; i < channels; i += LANES) {
        vec d = load(dh + i) * load(weight + i) - mean - load(xhat + i) * along;
        store(dx + i, (add ? load(dx + i) : all(0)) + d * rstd);
    }
}

void NET(norm_rows_back)(real *dx, const real *dh, const real *xhat, const real *rstd,
                         const real *weight, real *dweight, real *dbias, size_t rows,
                         size_t channels, bool add)
{
    for (size_t row = 0; row < rows; row++)
        norm_back(dx + row * channels, dh + row * channels, xhat + row * channels, rstd[row],
                  weight, dweight, dbias, channels, add);
}

INLINE void scaled(real *h, const real *xhat, const real *weight, const real *bias, size_t channels)
{
    for (size_t i = 0; i < channels; i += LANES)
        store(h + i, load(xhat + i) * load(weight + i) + load(bias + i));
}

void NET(shift_rows)(struct net_work *work, real *const *out, const real *const *mix, size_t mixes,
                     const real *xhat, const real *weight, const real *bias, size_t carried,
                     bool keep)
{
    const size_t channels = work->shape.channels, state = net_state(&work->shape);

    for (size_t stream = 0; stream < work->streams; stream++) {
        const real *before = work->window->before + stream * state + carried;
        size_t row = stream * work->tokens, end = row + work->tokens;
        for (; row < end; row++) {
            real *h = work->line[row & 1];
            if (begins(work, row))
                before = work->zeros;
            scaled(h, xhat + row * channels, weight, bias, channels);
            for (size_t i = 0; i < channels; i += LANES) {
                vec now = load(h + i), d = load(before + i) - now;
                for (size_t m = 0; m < mixes; m++)
                    store(out[m] + row * channels + i, now + d * load(mix[m] + i));
            }
            before = h;
        }
        if (keep)
            memcpy(work->window->after + stream * state + carried, before,
                   channels * sizeof *before);
    }
}

/* One row: dh, what goes to the row before, and the gradients of the mixes. */
INLINE void shift_back(const struct shift_back *back, size_t at, const real *h, const real *before,
                       real *dh, real *back_one, size_t channels)
{
    for (size_t i = 0; i < channels; i += LANES) {
        vec d = load(before + i) - load(h + i), own = load(back_one + i), past = all(0);
        for (size_t m = 0; m < back->mixes; m++) {
            vec g = load(back->dout[m] + at + i), share = g * load(back->mix[m] + i);
            own += g - share;
            past += share;
            store(back->dmix[m] + i, load(back->dmix[m] + i) + g * d);
        }
        store(dh + i, own);
        store(back_one + i, past);
    }
}

void NET(shift_rows_back)(struct net_work *work, const struct shift_back *back)
{
    const size_t channels = work->shape.channels, state = net_state(&work->shape);
    const size_t row_bytes = channels * sizeof(real);
    real *h = work->line[0], *before = work->line[1], *back_one = work->line[2];

    for (size_t stream = 0; stream < work->streams; stream++) {
        size_t first = stream * work->tokens, row = first + work->tokens;
        memset(back_one, 0, row_bytes);
        scaled(h, back->xhat + (row - 1) * channels, back->weight, back->bias, channels);
        while (row-- > first) {
            size_t at = row * channels;
            real *dh = back->dout[0] + at; /* its own reader, element by element */
            if (row == first)
                memcpy(before, work->window->before + stream * state + back->carried, row_bytes);
            else
                scaled(before, back->xhat + at - channels, back->weight, back->bias, channels);
            shift_back(back, at, h, begins(work, row) ? work->zeros : before, dh, back_one,
                       channels);
            if (begins(work, row))
                memset(back_one, 0, row_bytes);
            norm_back(back->dx + at, dh, back->xhat + at, back->rstd[row], back->weight,
                      back->dweight, back->dbias, channels, true);
            real *swap = h;
            h = before;
            before = swap;
        }
    }
}
