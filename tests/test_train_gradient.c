/* The gradient of every tensor against central differences, in float64. */
#define NET_DOUBLE
#include "engine/kernels/gemm.h"
#include "engine/train/net.h"
#include "tests/engine_help.h"

enum { STREAMS = 2, TOKENS = 32, ROWS = STREAMS * TOKENS, ROOM = 64 };

static struct net_shape shape = {.layers = 3,
                                 .channels = 48,
                                 .head_size = 16,
                                 .ffn = 80,
                                 .vocab = 32,
                                 .rank_w = 16,
                                 .rank_a = 16,
                                 .rank_v = 16,
                                 .rank_g = 32};

static uint64_t seed = 7;

/* In (-1, 1). */
static double uniform(void)
{
    return (double)next_random(&seed) / 2147483648.0 - 1;
}

static double *doubles(size_t count)
{
    double *x = aligned_alloc(ROOM, (count * sizeof *x + ROOM - 1) / ROOM * ROOM);

    assert_non_null(x);
    return x;
}

static void multiply(const struct gemm *gemm, const double *a, const double *b, double *c,
                     void *desk)
{
    (void)desk;
    gemm_f64(gemm, a, b, c);
}

struct fixture {
    struct layout layout;
    struct net_work *work;
    double *parameters, *gradient, *direction, *before, *after;
    uint32_t input[ROWS], target[ROWS];
    struct window window;
};

/* Large enough everywhere that no gradient is small by accident: a gate at rest, a state that is zero. */
static void fill_parameters(struct fixture *f)
{
    struct net_tensor tensor;

    for (size_t i = 0; net_tensor(&shape, &f->layout, i, &tensor); i++) {
        size_t count = (size_t)tensor.rows * tensor.columns;
        bool norm = strstr(tensor.name, "ln") && !strstr(tensor.name, "bias");
        double size = tensor.matrix ? 1.5 / sqrt(tensor.columns) : 0.5;
        for (size_t k = 0; k < count; k++)
            f->parameters[tensor.first + k] = norm + size * uniform();
    }
}

static int setup_zeros(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    size_t states = STREAMS * net_state(&shape);
    struct err err;

    assert_non_null(f);
    assert_int_equal(net_shape_check(&shape, &err), ERR_OK);
    net_layout(&shape, &f->layout);
    f->work = net_ops_f64.open(&shape, STREAMS, TOKENS, true, multiply, NULL);
    assert_non_null(f->work);
    f->parameters = doubles(f->layout.count);
    f->gradient = doubles(f->layout.count);
    f->direction = doubles(f->layout.count);
    f->before = doubles(states);
    f->after = doubles(states);
    fill_parameters(f);
    for (size_t i = 0; i < states; i++)
        f->before[i] = 0.5 * uniform();
    for (size_t i = 0; i < ROWS; i++) {
        f->input[i] = 1 + next_random(&seed) % (shape.vocab - 1);
        f->target[i] = next_random(&seed) % shape.vocab;
    }
    /* Documents that begin at a window's first row, inside and at a kept state; a target left out. */
    f->input[TOKENS] = f->input[7] = f->input[TOKENS + 16] = 0;
    f->target[9] = NET_NO_TARGET;
    f->window = (struct window){.input = f->input,
                                .target = f->target,
                                .before = f->before,
                                .after = f->after,
                                .weight = 1.0 / (ROWS - 1)};
    *state = f;
    return 0;
}

/* Documents begin with a state that is trained. */
static int setup(void **state)
{
    shape.time_state = true;
    return setup_zeros(state);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    shape.time_state = false;
    net_ops_f64.close(&f->work);
    free(f->parameters);
    free(f->gradient);
    free(f->direction);
    free(f->before);
    free(f->after);
    free(f);
    return 0;
}

static double loss_of(struct fixture *f)
{
    struct net_loss loss = net_ops_f64.step(f->work, f->parameters, NULL, &f->window);

    assert_int_equal(loss.tokens, ROWS - 1);
    return loss.nats * f->window.weight;
}

/* d loss / d h at parameters + h direction, by differences of fourth order. */
static double slope_along(struct fixture *f, const struct net_tensor *tensor)
{
    static const double place[] = {-2, -1, 1, 2}, share[] = {1, -8, 8, -1};
    const double step = 1e-4;
    size_t count = (size_t)tensor->rows * tensor->columns;
    double *own = f->parameters + tensor->first, *kept = doubles(count), slope = 0;

    memcpy(kept, own, count * sizeof *kept);
    for (int i = 0; i < 4; i++) {
        for (size_t k = 0; k < count; k++)
            own[k] = kept[k] + place[i] * step * f->direction[k];
        slope += share[i] * loss_of(f) / (12 * step);
    }
    memcpy(own, kept, count * sizeof *kept);
    free(kept);
    return slope;
}

static void each_tensor_has_the_slope_of_its_differences(void **state)
{
    struct fixture *f = *state;
    struct net_tensor tensor;
    double nats;

    memset(f->gradient, 0, f->layout.count * sizeof *f->gradient);
    nats = net_ops_f64.step(f->work, f->parameters, f->gradient, &f->window).nats;
    assert_true(fabs(nats * f->window.weight - loss_of(f)) < 1e-12);
    for (size_t i = 0; net_tensor(&shape, &f->layout, i, &tensor); i++)
        for (int round = 0; round < 2; round++) {
            size_t count = (size_t)tensor.rows * tensor.columns;
            size_t one = next_random(&seed) % count;
            double want, got = 0, size = 0;
            for (size_t k = 0; k < count; k++) {
                f->direction[k] = round ? uniform() : (k == one);
                got += f->direction[k] * f->gradient[tensor.first + k];
                size += fabs(f->direction[k] * f->gradient[tensor.first + k]);
            }
            want = slope_along(f, &tensor);
            if (!(fabs(got - want) <= 1e-9 + 1e-6 * size))
                fail_msg("%s: gradient %.12g, differences %.12g", tensor.name, got, want);
            if (round && !(size > 1e-6))
                fail_msg("%s: no gradient at all", tensor.name);
        }
}

static void gradients_of_two_windows_add_up(void **state)
{
    struct fixture *f = *state;
    size_t bytes = f->layout.count * sizeof *f->gradient;
    double *once = f->direction;

    memset(once, 0, bytes);
    memset(f->gradient, 0, bytes);
    net_ops_f64.step(f->work, f->parameters, once, &f->window);
    net_ops_f64.step(f->work, f->parameters, f->gradient, &f->window);
    net_ops_f64.step(f->work, f->parameters, f->gradient, &f->window);
    for (size_t i = 0; i < f->layout.count; i++)
        assert_true(fabs(f->gradient[i] - 2 * once[i]) <= 1e-12 * (1 + fabs(once[i])));
}

/* What is left out is left at zero, and the rest is as it was. */
static void frozen_matrices_have_no_gradient(void **state)
{
    struct fixture *f = *state;
    struct window frozen = f->window;
    struct net_tensor tensor;
    size_t bytes = f->layout.count * sizeof *f->gradient;

    frozen.frozen = true;
    memset(f->gradient, 0, bytes);
    memset(f->direction, 0, bytes);
    net_ops_f64.step(f->work, f->parameters, f->gradient, &f->window);
    net_ops_f64.step(f->work, f->parameters, f->direction, &frozen);
    for (size_t i = 0; net_tensor(&shape, &f->layout, i, &tensor); i++) {
        bool left_out =
            tensor.matrix && tensor.which != TIME_STATE && strcmp(tensor.name, "emb.weight") != 0;
        for (size_t k = 0; k < (size_t)tensor.rows * tensor.columns; k++)
            assert_true(f->direction[tensor.first + k] ==
                        (left_out ? 0 : f->gradient[tensor.first + k]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_tensor_has_the_slope_of_its_differences, setup_zeros,
                                        teardown),
        cmocka_unit_test_setup_teardown(frozen_matrices_have_no_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(each_tensor_has_the_slope_of_its_differences, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(gradients_of_two_windows_add_up, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
