/* loss.c: the part of the loss that is done in double, one tile a row at a time, at every level alike.
 *
 * exp and log are our own here too: Taylor's series for exp on |r| <= ln 2 / 2 (the first term left
 * out is below 2^-57), the series of 2 artanh(s) for log with |s| <= 0.1716 (below 2^-58). frexp and
 * ldexp are exact by their definition, so they may be the host's. */
#include "engine/kernels/inside.h"

#include <math.h>

#define LN2_HI 0x1.62e42fefa39efp-1
#define LN2_LO 0x1.abc9e3b39803fp-56

static double exponential(double x)
{
    double n, r, q = 1.0 / 6227020800.0;
    static const double inverse_factorials[] = {1.0 / 479001600.0,
                                                1.0 / 39916800.0,
                                                1.0 / 3628800.0,
                                                1.0 / 362880.0,
                                                1.0 / 40320.0,
                                                1.0 / 5040.0,
                                                1.0 / 720.0,
                                                1.0 / 120.0,
                                                1.0 / 24.0,
                                                1.0 / 6.0,
                                                0.5,
                                                1.0,
                                                1.0};

    if (isnan(x))
        return x;
    if (x < -746.0)
        return 0.0;
    if (x > 710.0)
        return INFINITY;
    n = fma(x, 0x1.71547652b82fep+0, 0x1.8p+52) - 0x1.8p+52;
    r = fma(n, -LN2_LO, fma(n, -LN2_HI, x));
    for (size_t i = 0; i < sizeof inverse_factorials / sizeof *inverse_factorials; i++)
        q = fma(q, r, inverse_factorials[i]);
    return ldexp(q, (int)n);
}

static double logarithm(double x)
{
    int exponent;
    double m, s, z, q = 1.0 / 23.0;

    if (!(x > 0.0) || isinf(x))
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : NAN;
    m = frexp(x, &exponent);
    if (m < 0x1.6a09e667f3bcdp-1) { /* the root of 1/2 */
        m *= 2.0;
        exponent--;
    }
    s = (m - 1.0) / (m + 1.0);
    z = s * s;
    for (int odd = 21; odd >= 3; odd -= 2)
        q = fma(q, z, 1.0 / odd);
    q = fma((s + s) * z, q, s + s);
    return fma(exponent, LN2_HI, fma(exponent, LN2_LO, q));
}

void loss_merge(struct loss *loss, float max, float sum)
{
    if (max > loss->max) {
        loss->sum = fma(loss->sum, exponential(loss->max - max), sum);
        loss->max = max;
    } else {
        loss->sum = fma(sum, exponential(max - loss->max), loss->sum);
    }
}

double loss_nats(const struct loss *loss, float logit)
{
    return logarithm(loss->sum) + loss->max - logit;
}
