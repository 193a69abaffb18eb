/* bench_engine: how fast a model is read, as a share of what the machine can do.
 *
 *     bench_engine MODEL [THREADS [f32|bf16|int8|CASE]...]      default: one a core; all types, all cases
 *
 * One CSV row a case, medians of 5 runs: tokens a second, GFLOP/s of the layers' matrices alone, and their share of the
 * limit measured just before (roofline.h), which is multiply-adds, or for cases bound by memory reading it. Cases:
 *
 *     sequence  one stream, T tokens a job, without and with the loss; the next jobs wait     share of flops
 *     alone     one stream, T tokens a job, the next is submitted when it is done             share of flops
 *     single    one stream, one token at a time                                               share of memory reading
 *     streams   S streams, T new tokens each, in one go                                       share of flops
 *     busy      as sequence, with a thread that spins pinned to the last core                 share of flops
 *
 * share_with_head counts the head's product too where it was made. memory_mib is the process's anonymous memory, states
 * of as many streams as the case has. Losses are of the model as it is: with random
 * weights they mean nothing, and cost the same. */
#include "bench/bench.h"
#include "bench/roofline.h"
#include "engine/engine.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 5, STREAMS_MOST = 512, TOKENS_MOST = 8192, TOKENS_LEAST = 2048 };
static const double run_s = 0.8; /* of one run, about */
static const double width_of[] = {4, 2, 1};

struct bench {
    struct engine *engine;
    const char *weights;
    enum kernels_weights type;
    struct roofline limit;
    struct engine_state *states[STREAMS_MOST]; /* (state_count) */
    size_t state_count;
    struct engine_job jobs[TOKENS_MOST];
    uint32_t tokens[TOKENS_MOST];
    float *losses; /* (TOKENS_MOST) */
    char **asked;  /* types and cases, ended by NULL */
};

static const char *const types[] = {"f32", "bf16", "int8", NULL};
static const char *const cases[] = {"sequence", "alone", "single", "busy", "streams", NULL};

static bool is_among(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name))
        names++;
    return *names;
}

/* Whether name, one of names, is asked for, or none of them is. */
static bool is_asked(const struct bench *b, const char *name, const char *const *names)
{
    bool any = false;

    for (char **asked = b->asked; *asked; asked++) {
        if (!strcmp(*asked, name))
            return true;
        any = any || is_among(*asked, names);
    }
    return !any;
}

static double memory_mib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;

    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "RssAnon:", 8))
            kib = strtod(line + 8, NULL);
    if (file)
        fclose(file);
    return kib / 1024;
}

/* Seconds a token: jobs of `each` tokens, round the streams, `rounds` times; 0: too few to tell. The clock begins when
 * the first round has come out, with whatever was in one block with it: an endless text fills the pipe of workers
 * once. */
static double go(struct bench *b, size_t streams, size_t each, size_t rounds, bool loss)
{
    const size_t jobs = streams * rounds;
    double begin = now_s();
    size_t in = 0, out = 0, before = 0;
    struct err err;

    while (out < jobs) {
        for (; in < jobs && in - out < TOKENS_MOST / 2; in++) {
            struct engine_job *job = &b->jobs[in % (TOKENS_MOST / 2)];
            *job = (struct engine_job){.state = b->states[in % streams],
                                       .tokens = b->tokens,
                                       .count = each,
                                       .loss = loss ? b->losses : NULL};
            must(engine_submit(b->engine, job, &err), &err);
        }
        require(engine_collect(b->engine, true));
        if (++out < streams || before)
            continue;
        while (out < jobs && engine_collect(b->engine, false))
            out++;
        before = out;
        begin = now_s();
    }
    return before == jobs ? 0 : (now_s() - begin) / (double)((jobs - before) * each);
}

/* The same, one job at a time: nothing is in flight while the caller waits. */
static double go_alone(struct bench *b, size_t each, size_t rounds)
{
    double begin = now_s();
    struct err err;

    for (size_t i = 0; i < rounds; i++)
        must(
            engine_run(b->engine,
                       &(struct engine_job){.state = b->states[0],
                                            .tokens = b->tokens + (each == 1 ? i % TOKENS_MOST : 0),
                                            .count = each},
                       &err),
            &err);
    return (now_s() - begin) / (double)(rounds * each);
}

static double run(struct bench *b, bool alone, size_t streams, size_t each, size_t rounds,
                  bool loss)
{
    return alone ? go_alone(b, each, rounds) : go(b, streams, each, rounds, loss);
}

static void measure(struct bench *b, const char *name, size_t streams, size_t each, bool loss)
{
    const struct engine_info *info = engine_info(b->engine);
    bool single = !strcmp(name, "single"), alone = single || !strcmp(name, "alone");
    double tokens = (double)(streams * each), s, times[RUNS];
    size_t rounds = 3;

    while ((s = run(b, alone, streams, each, rounds, loss)) * tokens * (double)rounds < run_s / 4)
        rounds *= 2;
    rounds = (size_t)(run_s / (s * tokens)) + 3;
    if (!alone && tokens * (double)rounds < TOKENS_LEAST)
        rounds = TOKENS_LEAST / (streams * each);
    for (int i = 0; i < RUNS; i++)
        times[i] = run(b, alone, streams, each, rounds, loss);
    qsort(times, RUNS, sizeof *times, by_value);
    double per_s = 1 / times[RUNS / 2], flops = per_s * (double)info->flops_per_token;
    double with_head = flops + (loss ? per_s * (double)info->flops_head : 0);
    double limit = single ? b->limit.read_bytes * 2 / width_of[b->type] : b->limit.flops[b->type];
    printf("%s,%zu,%zu,%d,%u,%s,%.1f,%.1f,%.1f,%.1f,%.3f,%.3f,%.0f\n", name, streams, each, loss,
           info->threads, b->weights, per_s, 1 / times[RUNS - 1], 1 / times[0], flops / 1e9,
           flops / limit, with_head / limit, memory_mib());
    fflush(stdout);
}

static void open_states(struct bench *b, size_t count)
{
    struct err err;

    for (; b->state_count < count; b->state_count++) {
        struct engine_state **state = &b->states[b->state_count];
        must(engine_state_open(b->engine, state, &err), &err);
        must(engine_run(b->engine,
                        &(struct engine_job){.state = *state, .tokens = b->tokens, .count = 1},
                        &err),
             &err);
    }
}

static atomic_bool spinning;

static void *spin(void *cores)
{
    cpu_set_t last;

    CPU_ZERO(&last);
    CPU_SET((int)*(unsigned *)cores - 1, &last);
    require(!pthread_setaffinity_np(pthread_self(), sizeof last, &last));
    while (atomic_load_explicit(&spinning, memory_order_relaxed))
        continue;
    return NULL;
}

/* A neighbour takes one of the cores that the workers have. */
static void measure_busy(struct bench *b, unsigned threads)
{
    pthread_t neighbour;

    atomic_store(&spinning, true);
    require(!pthread_create(&neighbour, NULL, spin, &threads));
    go(b, 1, 4096, 3, false); /* layers move after some 2,000 tokens */
    measure(b, "busy", 1, 4096, false);
    atomic_store(&spinning, false);
    pthread_join(neighbour, NULL);
}

/* Reading: as much as the layers' weights are in this type. */
static void measure_limits(struct bench *b, unsigned threads)
{
    const double weights = (double)engine_info(b->engine)->flops_per_token / 2;
    const double *flops = b->limit.flops;
    struct err err;

    must(roofline_measure(&b->limit, threads, (size_t)(weights * width_of[b->type]), &err), &err);
    printf(
        "# limits, %u threads: f32 %.1f, bf16 %.1f, int8 %.1f GFLOP/s, read %.1f GB/s of %.0f MB\n",
        threads, flops[0] / 1e9, flops[1] / 1e9, flops[2] / 1e9, b->limit.read_bytes / 1e9,
        weights * width_of[b->type] / 1e6);
}

static void bench_weights(struct bench *b, const char *model, unsigned threads)
{
    const struct engine_options options = {.threads = threads, .weights = b->weights};
    static const size_t lengths[] = {16, 64, 256, 1024}, many[] = {1, 2, 8, 64, 512};
    struct err err;

    must(engine_open(&b->engine, model, &options, &err), &err);
    measure_limits(b, threads);
    for (size_t i = 0; i < TOKENS_MOST; i++)
        b->tokens[i] = (uint32_t)(i * 7919 % engine_info(b->engine)->vocab);
    b->state_count = 0;
    open_states(b, 1);
    if (is_asked(b, "sequence", cases)) {
        for (size_t i = 0; i < 4; i++)
            for (int loss = 0; loss < 2; loss++)
                measure(b, "sequence", 1, lengths[i], loss);
        measure(b, "sequence", 1, 4096, false);
    }
    if (is_asked(b, "alone", cases))
        measure(b, "alone", 1, 256, false);
    if (is_asked(b, "single", cases))
        measure(b, "single", 1, 1, false);
    if (threads > 1 && is_asked(b, "busy", cases))
        measure_busy(b, threads);
    if (is_asked(b, "streams", cases)) {
        for (size_t i = 0; i < 5; i++) {
            open_states(b, many[i]);
            measure(b, "streams", many[i], 1, false);
        }
        measure(b, "streams", 512, 8, false);
    }
    for (size_t i = 0; i < b->state_count; i++)
        engine_state_close(&b->states[i]);
    engine_close(&b->engine);
}

int main(int count, char **arguments)
{
    static struct bench b;
    cpu_set_t cores;
    bool known = true;
    unsigned threads = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 0;

    b.asked = arguments + (count > 3 ? 3 : count);
    for (char **asked = b.asked; *asked; asked++)
        known = known && (is_among(*asked, types) || is_among(*asked, cases));
    if (count < 2 || !known) {
        fprintf(stderr, "bench_engine MODEL [THREADS [f32|bf16|int8|CASE]...]\n");
        return err_status(ERR_USAGE);
    }
    if (!threads)
        threads = sched_getaffinity(0, sizeof cores, &cores) ? 1 : (unsigned)CPU_COUNT(&cores);
    b.losses = calloc(TOKENS_MOST, sizeof *b.losses);
    require(b.losses);
    printf("case,streams,tokens,loss,threads,weights,tokens_per_s,slowest,fastest,gflops,share,"
           "share_with_head,memory_mib\n");
    for (enum kernels_weights type = WEIGHTS_F32; type <= WEIGHTS_INT8; type++) {
        b.type = type;
        b.weights = types[type];
        if (is_asked(&b, types[type], types))
            bench_weights(&b, arguments[1], threads);
    }
    free(b.losses);
    return 0;
}
