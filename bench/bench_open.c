/* bench_open: from a model file to its first token, and what of it other processes share.
 *
 *     bench_open MODEL [TIMES [THREADS]]
 *
 * One CSV row an opening: milliseconds until the engine is open and until the logits after one token
 * are there, seconds of processor time up to then, and where the memory is: pages of the file itself,
 * which every process that opens it shares, and pages of this process alone. The first row may wait for
 * the disk; the others find the file in the page cache. */
#include "bench/bench.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double processor_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* A line of /proc/self/status, in MiB. */
static double status_mib(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;

    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)))
            kib = strtod(line + strlen(key) + 1, NULL);
    if (file)
        fclose(file);
    return kib / 1024;
}

static void open_once(const char *path, unsigned threads)
{
    const struct engine_options options = {.threads = threads};
    double begin = 1e3 * now_s(), cpu = processor_s(), open_ms, token_ms;
    struct engine_state *state = NULL;
    struct engine *engine = NULL;
    uint32_t token = 1;
    struct err err;
    float *logits;

    must(engine_open(&engine, path, &options, &err), &err);
    open_ms = 1e3 * now_s() - begin;
    must(engine_state_open(engine, &state, &err), &err);
    logits = calloc(engine_info(engine)->vocab, sizeof *logits);
    if (!logits)
        must(err_set(&err, ERR_MEMORY, 0, "logits"), &err);
    must(engine_run(
             engine,
             &(struct engine_job){.state = state, .tokens = &token, .count = 1, .logits = logits},
             &err),
         &err);
    token_ms = 1e3 * now_s() - begin;
    printf("%u,%.1f,%.1f,%.3f,%.1f,%.1f\n", engine_info(engine)->threads, open_ms, token_ms,
           processor_s() - cpu, status_mib("RssFile"), status_mib("RssAnon"));
    free(logits);
    engine_state_close(&state);
    engine_close(&engine);
}

int main(int count, char **arguments)
{
    int times = count > 2 ? atoi(arguments[2]) : 5;
    unsigned threads = count > 3 ? (unsigned)atoi(arguments[3]) : 0;

    if (count < 2 || count > 4 || times < 1) {
        fprintf(stderr, "usage: bench_open MODEL [TIMES [THREADS]]\n");
        return 2;
    }
    puts("threads,open_ms,first_token_ms,processor_s,rss_file_mib,rss_anon_mib");
    for (int i = 0; i < times; i++)
        open_once(arguments[1], threads);
    return 0;
}
