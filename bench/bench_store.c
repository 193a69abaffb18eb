/* bench_store: how long a checkpoint takes to be durable, and to be read back.
 *
 *     bench_store [FOLDER [COMMITS]]      the folder must not be there; it is left for inspection
 *
 * One CSV row a state size: 24 parts each, as a model of 24 layers makes them. A commit is submit to
 * collect with nothing else in flight, so it holds both syncs of the disk under FOLDER. */
#include "bench/bench.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PARTS = 24, COMMITS = 200, COMMITS_MAX = 100000 };

static double commit_ms(struct store *store, uint64_t stream, uint64_t number,
                        const struct view parts[PARTS])
{
    struct store_batch *batch = NULL;
    struct err err = {0};
    struct view meta = {(const uint8_t *)"meta", 4};
    double begin = 1e3 * now_s();

    must(store_batch_open(&batch, &err), &err);
    must(batch_stream(batch, stream,
                      stream == 1   ? "40 kB"
                      : stream == 2 ? "200 kB"
                                    : "6 MB",
                      &err),
         &err);
    must(batch_checkpoint(batch, stream, number, meta, parts, PARTS, &err), &err);
    store_submit(store, &batch, NULL);
    if (!store_collect(store, true, NULL, &err))
        exit(1);
    must(err.code, &err);
    return 1e3 * now_s() - begin;
}

static double read_ms(struct store *store, uint64_t stream, uint64_t number)
{
    struct store_checkpoint *found = NULL;
    struct err err = {0};
    double begin = 1e3 * now_s();

    must(store_checkpoint_read(store, stream, number, true, &found, &err), &err);
    store_checkpoint_free(&found);
    return 1e3 * now_s() - begin;
}

static void measure(struct store *store, size_t bytes, size_t commits)
{
    struct view parts[PARTS];
    double *commit = calloc(commits, sizeof *commit), *read = calloc(commits, sizeof *read);
    uint8_t *state = malloc(bytes);
    uint64_t stream = store_reserve(store);

    if (!commit || !read || !state)
        exit(err_status(ERR_MEMORY));
    for (size_t i = 0; i < bytes; i++)
        state[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct view){state + i * (bytes / PARTS), bytes / PARTS};
    for (size_t i = 0; i < commits; i++) {
        commit[i] = commit_ms(store, stream, i, parts);
        read[i] = read_ms(store, stream, i);
    }
    qsort(commit, commits, sizeof *commit, by_value);
    qsort(read, commits, sizeof *read, by_value);
    printf("%zu,%d,%zu,%.2f,%.2f,%.3f,%.3f\n", bytes, PARTS, commits, commit[commits / 2],
           commit[commits * 99 / 100], read[commits / 2], read[commits * 99 / 100]);
    fflush(stdout);
    free(state);
    free(read);
    free(commit);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {40000, 200000, 6000000};
    struct store_options options = {.write = true};
    struct store *store = NULL;
    struct err err = {0};
    long commits = argc > 2 ? strtol(argv[2], NULL, 10) : COMMITS;

    if (commits < 1 || commits > COMMITS_MAX) {
        fprintf(stderr, "bench_store: between 1 and %d commits\n", COMMITS_MAX);
        return err_status(ERR_USAGE);
    }
    must(store_open(&store, argc > 1 ? argv[1] : "bench_store.folder", &options, &err), &err);
    printf("state_bytes,parts,commits,commit_p50_ms,commit_p99_ms,read_p50_ms,read_p99_ms\n");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        measure(store, sizes[i], (size_t)commits);
    store_close(&store);
    return 0;
}
