/* bench_read: the bare engine over a text: what `riverrun read` could reach if ingest, tokenize, emit and
 * checkpoints cost nothing.
 *
 *     bench_read MODEL IDS THREADS [f32|bf16|int8]      IDS: one id a line, as `riverrun tokenize` prints them
 *
 * Prints tokens, seconds from opening the model to the last loss, seconds of these until it is open, nats a token;
 * reading IDS is not counted. */
#include "bench/bench.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { JOB_TOKENS = 512, JOBS = 64 };

static uint32_t *read_ids(const char *path, size_t *count)
{
    FILE *file = fopen(path, "r");
    size_t room = 1 << 20;
    uint32_t *ids = malloc(room * sizeof *ids), id;

    require(file && ids);
    for (*count = 0; fscanf(file, "%u", &id) == 1; ids[(*count)++] = id)
        if (*count + 1 == room)
            require((ids = realloc(ids, (room *= 2) * sizeof *ids)));
    fclose(file);
    return ids;
}

/* The sum of the losses, so that two runs can be seen to have computed the same. */
static double read_all(struct engine *engine, const uint32_t *ids, size_t count)
{
    static struct engine_job jobs[JOBS];
    float *losses = malloc(count * sizeof *losses);
    struct engine_state *state;
    double sum = 0;
    struct err err;

    require(losses);
    must(engine_state_open(engine, &state, &err), &err);
    for (size_t at = 0, n = 0; at < count; n++) {
        struct engine_job *job = &jobs[n % JOBS];
        size_t part = count - at < JOB_TOKENS ? count - at : JOB_TOKENS;
        part = at ? part : 1; /* the first token is read from nothing */
        if (n >= JOBS)
            require(engine_collect(engine, true) == job);
        *job = (struct engine_job){
            .state = state, .tokens = ids + at, .count = part, .loss = at ? losses + at : NULL};
        must(engine_submit(engine, job, &err), &err);
        at += part;
    }
    while (engine_collect(engine, true))
        continue;
    for (size_t i = 1; i < count; i++)
        sum += (double)losses[i];
    engine_state_close(&state);
    free(losses);
    return sum;
}

int main(int count, char **arguments)
{
    struct engine_options options = {0};
    struct engine *engine;
    size_t ids_count;
    struct err err;

    if (count < 4) {
        fprintf(stderr, "bench_read MODEL IDS THREADS [f32|bf16|int8]\n");
        return err_status(ERR_USAGE);
    }
    options.threads = (unsigned)strtoul(arguments[3], NULL, 10);
    options.weights = count > 4 ? arguments[4] : NULL;
    uint32_t *ids = read_ids(arguments[2], &ids_count);
    double begin = now_s(), opened, nats;
    must(engine_open(&engine, arguments[1], &options, &err), &err);
    opened = now_s();
    nats = read_all(engine, ids, ids_count);
    printf("%zu %.4f %.4f %.6f\n", ids_count, now_s() - begin, opened - begin,
           nats / (double)ids_count);
    engine_close(&engine);
    free(ids);
    return 0;
}
