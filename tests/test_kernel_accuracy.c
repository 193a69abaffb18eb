/* What the kernels compute is the formula, against double precision by the host's library. */
#include "tests/kernel_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct kernels kernels;

static int setup(void **state)
{
    (void)state;
    return kernels_init(&kernels, "ref", NULL, NULL);
}

/* Distance in units of the last place of the float nearest to want; 0 where both overflow. */
static double ulps(float got, double want)
{
    float nearest = (float)want;
    int exponent;

    if (isinf(nearest) || isinf(got))
        return got == nearest ? 0.0 : fabs(want) > 3.4028233e38 ? 1.0 : INFINITY;
    frexp(nearest, &exponent);
    if (nearest == 0.0f || exponent < -125)
        exponent = -125; /* subnormal numbers are evenly spaced */
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1.0 + exp(x)) : 1.0 / (1.0 + exp(-x));
}

/* Bit patterns stepped by a prime, all exponents and both signs among them. */
static void check_map(map_fn *map, double (*exact)(double))
{
    enum { PIECE = 1024 };
    const uint32_t step = 4099;
    float x[PIECE], y[PIECE];
    uint32_t bits = 0;
    double worst = 0;

    for (uint32_t done = 0; done < UINT32_MAX / step; done += PIECE) {
        for (size_t i = 0; i < PIECE; i++, bits += step)
            memcpy(&x[i], &bits, sizeof bits);
        map(y, x, PIECE);
        for (size_t i = 0; i < PIECE; i++) {
            double off;
            if (isnan(x[i])) {
                assert_true(isnan(y[i]));
                continue;
            }
            off = ulps(y[i], exact(x[i]));
            if (!(off <= 2.0))
                fail_msg("f(%a) is %a, exactly %.9g: %g ulp", (double)x[i], (double)y[i],
                         exact(x[i]), off);
            worst = off > worst ? off : worst;
        }
    }
    print_message("worst error %.3f ulp\n", worst);
}

static void exp_is_within_two_ulp(void **state)
{
    (void)state;
    check_map(kernels.exp, exp);
}

static void sigmoid_is_within_two_ulp(void **state)
{
    (void)state;
    check_map(kernels.sigmoid, sigmoid);
}

static void tanh_is_within_two_ulp(void **state)
{
    (void)state;
    check_map(kernels.tanh, tanh);
}

static void extremes_have_their_limits(void **state)
{
    const float in[] = {INFINITY, -INFINITY, 0.0f, -0.0f, 89.5f, -104.5f, NAN};
    float out[7];

    (void)state;
    kernels.exp(out, in, 7);
    assert_true(out[0] == INFINITY && out[1] == 0 && out[2] == 1 && out[3] == 1);
    assert_true(out[4] == INFINITY && out[5] == 0 && isnan(out[6]));
    kernels.sigmoid(out, in, 7);
    assert_true(out[0] == 1 && out[1] == 0 && out[2] == 0.5f && isnan(out[6]));
    kernels.tanh(out, in, 7);
    assert_true(out[0] == 1 && out[1] == -1 && out[2] == 0 && signbit(out[3]) && isnan(out[6]));
    kernels.relu2(out, in, 7);
    assert_true(out[0] == INFINITY && out[1] == 0 && !signbit(out[3]) && isnan(out[6]));
}

static void near(double got, double want, double scale)
{
    if (!(fabs(got - want) <= 4e-6 * (fabs(want) + scale)))
        fail_msg("%.9g, not %.9g", got, want);
}

static void layernorm_is_its_formula(void **state)
{
    enum { N = 100 };
    struct arena a;

    (void)state;
    arena_open(&a, 1000);
    arena_reset(&a, 3);
    float *x = arena_take(&a, N, -3, 9), *delta = arena_take(&a, N, -1, 1), y[N];
    float *weight = arena_take(&a, N, 0, 2), *bias = arena_take(&a, N, -1, 1);
    double sum[N], mean = 0, variance = 0;
    for (size_t i = 0; i < N; i++)
        mean += (sum[i] = (double)x[i] + delta[i]) / N;
    for (size_t i = 0; i < N; i++)
        variance += (sum[i] - mean) * (sum[i] - mean) / N;
    kernels.layernorm(y, x, delta, weight, bias, 1e-2f, 1, N);
    for (size_t i = 0; i < N; i++)
        near(y[i], (sum[i] - mean) / sqrt(variance + 1e-2f) * weight[i] + bias[i], 1);
    arena_close(&a);
}

static void shifts_mix_with_the_row_before(void **state)
{
    const float x[] = {1, 2, 3, 4}, before[] = {10, 20}, mix[] = {0.25f, 1.0f};
    const float *mixes[] = {mix};
    float out[4], *outs[] = {out};

    (void)state;
    kernels.shift4(outs, x, before, mixes, 1, 2, 2);
    assert_true(out[0] == 7.75f && out[1] == 2 && out[2] == 1.5f && out[3] == 4);
    kernels.shift7(outs, x, before, mixes, 1, 2, 2);
    assert_true(out[0] == 3.25f && out[1] == 20 && out[2] == 2.5f && out[3] == 2);
    for (size_t i = 0; i < 4; i++)
        out[i] = 0.25f; /* what the data adds to the mix */
    kernels.shift6(outs, x, before, mixes, 1, 2, 2);
    assert_true(out[0] == 5.5f && out[1] == 24.5f && out[2] == 2 && out[3] == 1.5f);
}

/* One head of n: key preparation, recurrence and output, each against the specification. */
static void rwkv7_is_its_formula(void **state)
{
    enum { N = 24 };
    struct arena a;
    float S[N * N], k0[N], z[N];
    double norm = 0, bonus = 0, mean = 0, variance = 0, y64[N];

    (void)state;
    arena_open(&a, 5000);
    arena_reset(&a, 4);
    float *r = arena_take(&a, N, -1, 1), *w = arena_take(&a, N, -5, 5);
    float *w0 = arena_take(&a, N, -1, 1), *k = arena_take(&a, N, -1, 1);
    float *v = arena_take(&a, N, -1, 1), *v_first = arena_take(&a, N, -1, 1);
    float *rate = arena_take(&a, N, -2, 2), *a0 = arena_take(&a, N, -1, 1);
    float *k_k = arena_take(&a, N, 0, 1), *k_a = arena_take(&a, N, 0, 1);
    float *r_k = arena_take(&a, N, -1, 1), *g = arena_take(&a, N, -1, 1);
    float *weight = arena_take(&a, N, 0, 2), *bias = arena_take(&a, N, -1, 1);
    float *old = arena_take(&a, N * N, -1, 1), minus_kk[N], y[N];

    memcpy(z, w, sizeof z);
    kernels.decay7(w, w0, 1, N);
    for (size_t i = 0; i < N; i++)
        near(w[i], exp(-0.606531 * sigmoid((double)w0[i] + z[i])), 0);
    memcpy(z, v, sizeof z);
    kernels.value7(v, v_first, a0, k_a, 1, N);
    for (size_t i = 0; i < N; i++)
        near(v[i], z[i] + ((double)v_first[i] - z[i]) * sigmoid((double)a0[i] + k_a[i]), 1);

    memcpy(k0, k, sizeof k0);
    memcpy(z, rate, sizeof z);
    kernels.key7(&(struct key7){k, rate, minus_kk, a0, k_k, k_a}, 1, 1, N);
    for (size_t i = 0; i < N; i++)
        norm += pow((double)k0[i] * k_k[i], 2);
    for (size_t i = 0; i < N; i++) {
        double in_context = sigmoid((double)a0[i] + z[i]), kk = k0[i] * k_k[i] / sqrt(norm);
        near(minus_kk[i], -kk, 0.1);
        near(rate[i], kk * in_context, 0.1);
        near(k[i], k0[i] * (1 + (in_context - 1) * k_a[i]), 0.1);
    }

    memcpy(S, old, sizeof S);
    kernels.wkv7(&(struct wkv7){S, y, r, w, k, v, minus_kk, rate, N}, 1, N);
    for (size_t i = 0; i < N; i++) {
        double Sa = 0;
        y64[i] = 0;
        for (size_t j = 0; j < N; j++)
            Sa += (double)old[i * N + j] * minus_kk[j];
        for (size_t j = 0; j < N; j++) {
            double s = (double)old[i * N + j] * w[j] + Sa * rate[j] + (double)v[i] * k[j];
            near(S[i * N + j], s, 1);
            y64[i] += s * r[j];
        }
        near(y[i], y64[i], 4);
        mean += y64[i] / N;
        bonus += (double)r[i] * k[i] * r_k[i];
    }
    for (size_t i = 0; i < N; i++)
        variance += (y64[i] - mean) * (y64[i] - mean) / N;
    kernels.output7(&(struct output7){y, r, k, v, g, r_k, weight, bias, 64e-5f}, 1, 1, N);
    for (size_t i = 0; i < N; i++) {
        double normal = (y64[i] - mean) / sqrt(variance + 64e-5) * weight[i] + bias[i];
        near(y[i], (normal + v[i] * bonus) * g[i], 4);
    }
    arena_close(&a);
}

/* One head of n over two tokens, as the specification writes it: the bonus inside the sum over the state. */
static void rwkv6_is_its_formula(void **state)
{
    enum { N = 24, T = 2 };
    struct arena a;
    float z[T * N];
    double S64[N][N], y64[N];

    (void)state;
    arena_open(&a, 5000);
    arena_reset(&a, 8);
    float *r = arena_take(&a, T * N, -1, 1), *w = arena_take(&a, T * N, -5, 1);
    float *k = arena_take(&a, T * N, -1, 1), *v = arena_take(&a, T * N, -1, 1);
    float *w0 = arena_take(&a, N, -1, 1), *u = arena_take(&a, N, -1, 1);
    float *g = arena_take(&a, N, -3, 3), *weight = arena_take(&a, N, 0, 2);
    float *bias = arena_take(&a, N, -1, 1), *S = arena_take(&a, N * N, -1, 1), y[T * N];

    memcpy(z, w, sizeof z);
    kernels.decay6(w, w0, T, N);
    for (size_t i = 0; i < T * N; i++)
        near(w[i], exp(-exp((double)w0[i % N] + z[i])), 0);

    for (size_t i = 0; i < N * N; i++)
        S64[i / N][i % N] = S[i];
    kernels.wkv6(&(struct wkv6){S, y, r, w, k, v, u, N, N}, T, N);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < N; j++) {
            y64[j] = 0;
            for (size_t i = 0; i < N; i++) {
                double kv = (double)k[t * N + i] * v[t * N + j];
                y64[j] += r[t * N + i] * (S64[i][j] + u[i] * kv);
                S64[i][j] = w[t * N + i] * S64[i][j] + kv;
            }
            near(y[t * N + j], y64[j], 2);
        }
    for (size_t i = 0; i < N * N; i++)
        near(S[i], S64[i / N][i % N], 1);

    double mean = 0, variance = 0;
    for (size_t i = 0; i < N; i++)
        mean += y64[i] / N;
    for (size_t i = 0; i < N; i++)
        variance += (y64[i] - mean) * (y64[i] - mean) / N;
    kernels.output5(&(struct output5){y + N, g, weight, bias, 64e-5f}, 1, 1, N);
    for (size_t i = 0; i < N; i++) {
        double normal = (y64[i] - mean) / sqrt(variance + 64e-5) * weight[i] + bias[i];
        near(y[N + i], normal * g[i] * sigmoid(g[i]), 4);
    }
    arena_close(&a);
}

/* Without the running maximum: numerator and denominator as sums of plain exponentials. */
static void rwkv4_is_its_formula(void **state)
{
    enum { T = 12 };
    struct arena a;
    float aa = 0, bb = 0, pp = -1e38f, w = -0.3f, u = 0.4f, y[T];
    double top = 0, bottom = 0;

    (void)state;
    arena_open(&a, 500);
    arena_reset(&a, 6);
    float *r = arena_take(&a, T, -2, 2), *k = arena_take(&a, T, -3, 3);
    float *v = arena_take(&a, T, -2, 2);
    kernels.wkv4(&(struct wkv4){y, &aa, &bb, &pp, r, k, v, &w, &u, 1}, T, 1);
    for (size_t t = 0; t < T; t++) {
        double now = exp((double)u + k[t]);
        near(y[t], sigmoid(r[t]) * (top + now * v[t]) / (bottom + now), 0.1);
        top = top * exp(w) + exp(k[t]) * v[t];
        bottom = bottom * exp(w) + exp(k[t]);
    }
    near(aa * exp(pp), top, 1);
    near(bb * exp(pp), bottom, 0);
    arena_close(&a);
}

static void loss_is_log_sum_exp_over_tiles(void **state)
{
    enum { V = 2 * LOSS_TILE + 77 };
    struct arena a;
    struct loss loss = loss_none();
    double sum = 0;

    (void)state;
    arena_open(&a, V + 100);
    arena_reset(&a, 7);
    float *x = arena_take(&a, V, -30, 30);
    for (size_t i = 0; i < V; i++)
        sum += exp(x[i]);
    for (size_t at = 0; at < V; at += LOSS_TILE)
        kernels.loss_tile(&loss, x + at, 1, V, V - at < LOSS_TILE ? V - at : LOSS_TILE);
    near(loss_nats(&loss, x[5]), log(sum) - x[5], 0);

    x[3] = NAN;
    kernels.loss_tile(&loss, x, 1, V, LOSS_TILE);
    assert_true(isnan(loss_nats(&loss, x[5])));
    arena_close(&a);
}

static void logarithm_is_within_two_ulp_of_double(void **state)
{
    double worst = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct loss loss = {0.0, 1.0 + pow(1.0001, i)};
        double want = log(loss.sum), got = loss_nats(&loss, 0.0f);
        double off = fabs(got - want) / (nextafter(want, INFINITY) - want);
        worst = off > worst ? off : worst;
    }
    print_message("worst error %.1f ulp\n", worst);
    assert_true(worst <= 2.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_two_ulp),
        cmocka_unit_test(sigmoid_is_within_two_ulp),
        cmocka_unit_test(tanh_is_within_two_ulp),
        cmocka_unit_test(extremes_have_their_limits),
        cmocka_unit_test(layernorm_is_its_formula),
        cmocka_unit_test(shifts_mix_with_the_row_before),
        cmocka_unit_test(rwkv7_is_its_formula),
        cmocka_unit_test(rwkv6_is_its_formula),
        cmocka_unit_test(rwkv4_is_its_formula),
        cmocka_unit_test(loss_is_log_sum_exp_over_tiles),
        cmocka_unit_test(logarithm_is_within_two_ulp_of_double),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
