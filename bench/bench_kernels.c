/* bench_kernels: products and scans, checked against the key, then timed.
 *
 *     bench_kernels [isa [milliseconds a row]]
 *
 * One CSV line for each shape and way: what is timed, N x K x rows (scan: heads x size x tokens), who
 * computes it, median and 10 % and 90 % nanoseconds, GFLOP/s, and the share of one core's peak for numbers of that
 * type, which is measured first by multiply-adds that wait for nothing. */
#include "engine/kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMES_MAX = 2001, ROWS_MAX = 256, CHECKED_ROWS = 3 };

static double peak_gflops;          /* of what is timed */
static double peaks[3] = {1, 1, 1}; /* by enum kernels_weights */
static uint8_t room[1 << 22];
static double budget_ns = 60e6;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void work_fn(void *argument);

/* Repeat until the budget is used and print the line. */
static void time_work(work_fn *work, void *argument, double flops, const char *label)
{
    static double times[TIMES_MAX];
    double begin = now_ns(), median;
    size_t count = 0;

    work(argument);
    while (count < TIMES_MAX && (count < 5 || now_ns() - begin < budget_ns)) {
        double start = now_ns();
        work(argument);
        times[count++] = now_ns() - start;
    }
    qsort(times, count, sizeof *times, compare_doubles);
    median = times[count / 2];
    printf("%s,%.0f,%.0f,%.0f,%.1f,%.2f\n", label, median, times[count / 10], times[count * 9 / 10],
           flops / median, flops / median / peak_gflops);
    fflush(stdout);
}

/* A round is PEAK_FLOPS times wide. */
static double measure_peak(peak_fn *peak, double wide)
{
    double best = 1e30;
    volatile float sink = 0;

    if (!peak)
        return 1.0;
    for (int i = 0; i < 200; i++) {
        double start = now_ns();
        sink = sink + peak(100000, 0.5f);
        if (now_ns() - start < best)
            best = now_ns() - start;
    }
    return wide * PEAK_FLOPS * 100000.0 / best;
}

static float *numbers(size_t count)
{
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);

    if (!x)
        exit(1);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)((i * 7919 + 3) % 10007) / 5003.5f - 1.0f;
    return x;
}

struct product_work {
    const struct product *product;
    const float *x;
    float *y;
    size_t rows;
};

static void run_product(void *argument)
{
    const struct product_work *w = argument;
    product_run(w->product, w->x, w->rows, product_inputs(w->product), w->y,
                product_outputs(w->product), room);
}

static struct product *open_product(const float *w, size_t N, size_t K, const char *isa,
                                    const char *blas, const char *narrow)
{
    struct weights_plain plain = {w, K};
    struct weights weights = {N, K, weights_plain_rows, &plain};
    struct kernels kernels;
    struct product *product = NULL;
    struct err err;

    if (kernels_init(&kernels, isa, blas, &err) || kernels_set_weights(&kernels, narrow, &err) ||
        product_open(&product, &weights, &kernels, &err))
        fprintf(stderr, "%s: %s\n", blas, err.text);
    return product;
}

static void bench_product(size_t N, size_t K, const char *isa, const char *blas, const char *narrow)
{
    static const size_t counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
    float *w = numbers(N * K), *x = numbers(ROWS_MAX * K), *y = numbers(ROWS_MAX * N);
    float *want = numbers(CHECKED_ROWS * N);
    struct product *product = open_product(w, N, K, isa, blas, narrow);
    struct product *key = open_product(w, N, K, "ref", "ref", narrow);

    if (product && key) {
        peak_gflops = peaks[product_weights(product)];
        product_run(product, x, CHECKED_ROWS, K, y, N, room);
        product_run(key, x, CHECKED_ROWS, K, want, N, room);
        if (strcmp(blas, "openblas") != 0 && memcmp(y, want, CHECKED_ROWS * N * sizeof *y) != 0) {
            fprintf(stderr, "%s %zux%zu is not the key\n", blas, N, K);
            exit(1);
        }
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            struct product_work work = {product, x, y, counts[i]};
            char label[100];
            snprintf(label, sizeof label, "product,%zux%zux%zu,%s-%s-%s", N, K, counts[i],
                     product_blas(product), narrow, isa);
            time_work(run_product, &work, 2.0 * (double)(N * K * counts[i]), label);
        }
    }
    product_close(&product);
    product_close(&key);
    free(w);
    free(x);
    free(y);
    free(want);
}

struct scan_work {
    const struct kernels *kernels;
    float *S, *y;
    const float *x, *w, *small;
    size_t tokens, heads, n;
};

static void run_wkv7(void *argument)
{
    const struct scan_work *s = argument;

    for (size_t head = 0; head < s->heads; head++) {
        size_t at = head * s->n;
        const float *x = s->x + at, *small = s->small + at;
        struct wkv7 scan = {s->S + at * s->n, s->y + at, x, s->w + at, x, x, small, small,
                            s->heads * s->n};
        s->kernels->wkv7(&scan, s->tokens, s->n);
    }
}

static void run_wkv6(void *argument)
{
    const struct scan_work *s = argument;
    size_t stride = s->heads * s->n;

    for (size_t head = 0; head < s->heads; head++) {
        size_t at = head * s->n;
        const float *x = s->x + at;
        struct wkv6 scan = {s->S + at * s->n, s->y + at, x,     s->w + at, x, x,
                            s->small + at,    stride,    stride};
        s->kernels->wkv6(&scan, s->tokens, s->n);
    }
}

/* Small inputs and a decay of 0.75 keep S bounded however often it is run. */
static void bench_scan(const struct kernels *kernels, work_fn *run, const char *name, double flops,
                       size_t heads, size_t n, size_t tokens)
{
    size_t stride = heads * n, count = tokens * stride;
    float *x = numbers(count), *w = numbers(count), *y = numbers(count), *small = numbers(count);
    float *S = numbers(heads * n * n), *key_S = numbers(heads * n * n), *key_y = numbers(count);
    struct kernels ref;
    char label[100];
    struct scan_work work = {kernels, S, y, x, w, small, tokens, heads, n};
    struct scan_work key = {&ref, key_S, key_y, x, w, small, tokens, heads, n};

    for (size_t i = 0; i < count; i++) {
        w[i] = 0.75f;
        small[i] *= 0.01f;
    }
    if (kernels_init(&ref, "ref", NULL, NULL))
        exit(1);
    run(&work);
    run(&key);
    if (memcmp(y, key_y, count * sizeof *y) != 0 ||
        memcmp(S, key_S, heads * n * n * sizeof *S) != 0) {
        fprintf(stderr, "the scan %s is not the key's\n", name);
        exit(1);
    }
    snprintf(label, sizeof label, "%s,%zux%zux%zu,%s", name, heads, n, tokens, kernels->isa);
    time_work(run, &work, flops * (double)(count * n), label);
    free(x);
    free(w);
    free(y);
    free(small);
    free(S);
    free(key_S);
    free(key_y);
}

struct map_work {
    const struct kernels *kernels;
    float *x, *y;
    const float *v;
    size_t rows, channels;
    int which;
};

static void run_rows(void *argument)
{
    const struct map_work *w = argument;
    float *outs[SHIFT_MIXES_MAX];
    const float *mixes[SHIFT_MIXES_MAX];
    struct loss loss[ROWS_MAX];

    switch (w->which) {
    case 0:
        w->kernels->layernorm(w->y, w->x, NULL, w->v, w->v, 1e-5f, w->rows, w->channels);
        break;
    case 1:
        for (size_t i = 0; i < SHIFT_MIXES_MAX; i++) {
            outs[i] = w->y;
            mixes[i] = w->v;
        }
        w->kernels->shift7(outs, w->x, w->v, mixes, SHIFT_MIXES_MAX, w->rows, w->channels);
        break;
    case 2:
        w->kernels->sigmoid(w->y, w->x, w->rows * w->channels);
        break;
    case 3:
        w->kernels->tanh(w->y, w->x, w->rows * w->channels);
        break;
    default:
        for (size_t i = 0; i < w->rows; i++)
            loss[i] = loss_none();
        w->kernels->loss_tile(loss, w->x, w->rows, w->channels, w->channels);
    }
}

/* One flop an element stands in for GFLOP/s: read it as elements a nanosecond. */
static void bench_rows(const struct kernels *kernels)
{
    static const char *const names[] = {"layernorm", "shift7x6", "sigmoid", "tanh", "loss_tile"};
    struct map_work work = {
        kernels, numbers(64 * 1024), numbers(64 * 1024), numbers(1024), 64, 1024, 0};

    for (; work.which < 5; work.which++) {
        char label[100];
        snprintf(label, sizeof label, "%s,64x1024,%s", names[work.which], kernels->isa);
        time_work(run_rows, &work, 64 * 1024, label);
    }
}

int main(int count, char **arguments)
{
    static const size_t shapes[][2] = {{64, 64},    {256, 64},    {64, 256},   {128, 128},
                                       {256, 256},  {384, 384},   {512, 512},  {768, 768},
                                       {64, 768},   {768, 64},    {3072, 768}, {768, 3072},
                                       {1024, 768}, {2048, 2048}, {1024, 4096}};
    static const size_t scans[][2] = {{12, 64}, {12, 32}, {12, 16}, {12, 8}};
    static const char *const ways[][2] = {
        {"own", "f32"}, {"own", "bf16"}, {"own", "int8"}, {"onednn", "f32"}, {"openblas", "f32"}};
    const char *isa = count > 1 ? arguments[1] : "auto";
    struct kernels kernels;
    struct err err;

    if (count > 2)
        budget_ns = atof(arguments[2]) * 1e6;
    float_control_set();
    if (kernels_init(&kernels, isa, "own", &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    peak_gflops = peaks[WEIGHTS_F32] = measure_peak(kernels.peak, 1);
    peaks[WEIGHTS_BF16] = measure_peak(kernels.bf16.peak, 2);
    peaks[WEIGHTS_INT8] = measure_peak(kernels.int8.peak, 4);
    printf("subject,shape,kernel,median_ns,p10_ns,p90_ns,gflops,share_of_peak\n");
    printf("peak,1 core f32,%s,,,,%.1f,1.00\n", kernels.isa, peaks[WEIGHTS_F32]);
    printf("peak,1 core bf16,%s,,,,%.1f,1.00\n", kernels.isa, peaks[WEIGHTS_BF16]);
    printf("peak,1 core int8,%s,,,,%.1f,1.00\n", kernels.isa, peaks[WEIGHTS_INT8]);
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++) {
        bench_scan(&kernels, run_wkv7, "wkv7", 9, scans[i][0], scans[i][1], 64);
        bench_scan(&kernels, run_wkv6, "wkv6", 7, scans[i][0], scans[i][1], 64);
    }
    bench_rows(&kernels);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
            bench_product(shapes[i][0], shapes[i][1], isa, ways[way][0], ways[way][1]);
    return 0;
}
