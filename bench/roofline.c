/* roofline.c: all threads do the same at the same time; a round counts from the first begin to the last end. */
#include "bench/roofline.h"
#include "bench/bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 48, PEAK_ROUNDS = 400000, ROWS = 256, N = 1024, K = 1024, THREADS_MAX = 64 };
enum { STREAMS = 8, AHEAD = 32 }; /* of reading: places at once, lines asked for ahead at each */
static const size_t read_least = 8 << 20, huge = 2 << 20;

enum what { PEAK, PRODUCT, READ };

struct worker {
    const struct kernels *kernels;
    struct product *product;
    pthread_barrier_t *barrier;
    enum what what;
    enum kernels_weights type;
    uint8_t *memory; /* (bytes), huge pages; the product's x, y and room lie in it */
    size_t bytes;
    double times[ROUNDS][2];
    volatile float sink;
    pthread_t thread;
};

/* At several places at once and with lines asked for ahead: what the core's own prefetching leaves is not the limit. */
static void read_all(struct worker *w)
{
    typedef uint64_t line __attribute__((vector_size(64)));
    const line *from = (const line *)(const void *)w->memory;
    const size_t each = w->bytes / sizeof *from / STREAMS;
    line sums[4] = {{0}};

    for (size_t i = 0; i < each; i++)
        for (size_t j = 0; j < STREAMS; j++) {
            __builtin_prefetch(&from[j * each + i + AHEAD], 0, 2);
            sums[j % 4] ^= from[j * each + i];
        }
    sums[0] ^= sums[1] ^ sums[2] ^ sums[3];
    w->sink = (float)(sums[0][0] ^ sums[0][7]);
}

static peak_fn *peak_of(const struct kernels *k, enum kernels_weights type)
{
    return type == WEIGHTS_F32 ? k->peak : type == WEIGHTS_BF16 ? k->bf16.peak : k->int8.peak;
}

static void once(struct worker *w)
{
    float *x = (float *)(void *)w->memory, *y = x + (size_t)ROWS * K;

    if (w->what == READ)
        read_all(w);
    else if (w->what == PEAK)
        w->sink = peak_of(w->kernels, w->type)(PEAK_ROUNDS, 0.5f);
    else
        product_run(w->product, x, ROWS, K, y, N, y + (size_t)ROWS * N);
}

static void *run(void *context)
{
    struct worker *w = context;

    float_control_set();
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(w->barrier);
        w->times[i][0] = now_s();
        once(w);
        w->times[i][1] = now_s();
    }
    return NULL;
}

static void pin(pthread_t thread, unsigned index)
{
    cpu_set_t cores, one;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof cores, &cores))
        return;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &cores) && index-- == 0)
            CPU_SET(core, &one);
    if (CPU_COUNT(&one))
        (void)pthread_setaffinity_np(thread, sizeof one, &one);
}

/* The shortest round in seconds; 0 where threads cannot be had. */
static double fastest(struct worker *workers, unsigned threads, enum what what,
                      enum kernels_weights type)
{
    pthread_barrier_t barrier;
    double best = 0;
    unsigned started = 0;

    pthread_barrier_init(&barrier, NULL, threads);
    for (; started < threads; started++) {
        workers[started].barrier = &barrier;
        workers[started].what = what;
        workers[started].type = type;
        if (pthread_create(&workers[started].thread, NULL, run, &workers[started]))
            exit(1); /* the others wait for it for ever */
        pin(workers[started].thread, started);
    }
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (int round = 1; round < ROUNDS; round++) {
        double begin = workers[0].times[round][0], end = 0;
        for (unsigned i = 0; i < threads; i++) {
            begin = workers[i].times[round][0] < begin ? workers[i].times[round][0] : begin;
            end = workers[i].times[round][1] > end ? workers[i].times[round][1] : end;
        }
        best = round == 1 || end - begin < best ? end - begin : best;
    }
    pthread_barrier_destroy(&barrier);
    return best;
}

static void measure_type(struct roofline *out, struct worker *workers, enum kernels_weights type)
{
    const double wide[] = {1, 2, 4};
    double peak =
        wide[type] * PEAK_FLOPS * PEAK_ROUNDS / fastest(workers, out->threads, PEAK, type);
    double product = 2.0 * ROWS * N * K / fastest(workers, out->threads, PRODUCT, type);

    out->flops[type] = out->threads * (peak > product ? peak : product);
}

static enum err_code open_product(struct product **out, struct kernels *kernels,
                                  enum kernels_weights type, const float *w, struct err *err)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    const struct weights_plain plain = {w, K};
    const struct weights weights = {N, K, weights_plain_rows, &plain};
    enum err_code code = kernels_set_weights(kernels, names[type], err);

    return code ? code : product_open(out, &weights, kernels, err);
}

enum err_code roofline_measure(struct roofline *out, unsigned threads, size_t bytes,
                               struct err *err)
{
    static struct worker workers[THREADS_MAX];
    struct kernels kernels;
    enum err_code code = kernels_init(&kernels, "auto", "own", err);

    require(threads > 0 && threads <= THREADS_MAX);
    *out = (struct roofline){.threads = threads};
    for (unsigned i = 0; i < threads && !code; i++) {
        size_t each = bytes / threads > read_least ? bytes / threads : read_least;
        each = (each + huge - 1) / huge * huge;
        workers[i] = (struct worker){
            .kernels = &kernels, .memory = aligned_alloc(huge, each), .bytes = each};
        if (!workers[i].memory)
            return err_set(err, ERR_MEMORY, 0, "%zu MiB to be read", each >> 20);
        (void)madvise(workers[i].memory, each, MADV_HUGEPAGE);
        for (size_t at = 0; at < each / sizeof(float); at++)
            ((float *)(void *)workers[i].memory)[at] = (float)(at % 1009) / 512 - 1;
    }
    for (enum kernels_weights type = WEIGHTS_F32; type <= WEIGHTS_INT8 && !code; type++) {
        struct product *product = NULL;
        code = open_product(&product, &kernels, type, (float *)(void *)workers[0].memory, err);
        for (unsigned i = 0; i < threads; i++)
            workers[i].product = product;
        if (!code)
            measure_type(out, workers, type);
        product_close(&product);
    }
    if (!code)
        out->read_bytes =
            (double)workers[0].bytes * threads / fastest(workers, threads, READ, WEIGHTS_F32);
    for (unsigned i = 0; i < threads; i++)
        free(workers[i].memory);
    return code;
}
