/* bench_tokenizer: text to ids on one core, checked against the same text in cuts, then timed.
 *
 *     bench_tokenizer VOCABULARY|bytes TEXT...
 *
 * One CSV line a text, of up to its first 8 MB: tokenizer, text, bytes, tokens, then MB/s from the medians
 * of wall time and of the thread's processor time (which a busy machine disturbs less), and from its 10 % and
 * 90 %. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT_BYTES = 8 << 20, TIMES = 15, CUT = 4096 };

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* All tokens of data, whose bytes arrive cut at a time; returns how many, and a sum over their ids that
 * knows their order. */
static uint64_t encode(struct tokenizer_reader *reader, const uint8_t *data, size_t bytes,
                       size_t cut, uint64_t *sum)
{
    struct tokenizer_piece piece;
    size_t at = 0, there = cut < bytes ? cut : bytes;
    uint64_t count = 0;

    *sum = 0;
    while (at < bytes) {
        size_t length = tokenizer_next(reader, data + at, there - at, there == bytes, &piece);
        if (length == 0) {
            there = bytes - there < cut ? bytes : there + cut;
            continue;
        }
        for (size_t i = 0; i < piece.count; i++)
            *sum = 31 * *sum + piece.tokens[i].id;
        count += piece.count;
        at += length;
    }
    return count;
}

static enum err_code bench(const struct tokenizer *t, const char *path, const uint8_t *data,
                           size_t bytes, struct err *err)
{
    struct tokenizer_reader *reader = NULL;
    double wall[TIMES], cpu[TIMES];
    uint64_t sum, again, count;
    const char *name = strrchr(path, '/');
    enum err_code code = tokenizer_reader_open(&reader, t, err);

    if (code)
        return code;
    count = encode(reader, data, bytes, bytes, &sum);
    if (encode(reader, data, bytes, CUT, &again) != count || again != sum)
        code = err_set(err, ERR_INPUT, 0, "%s: cuts change the ids", path);
    for (int i = 0; i < TIMES; i++) {
        double wall_begin = seconds(CLOCK_MONOTONIC), begin = seconds(CLOCK_THREAD_CPUTIME_ID);
        encode(reader, data, bytes, bytes, &again);
        cpu[i] = seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
        wall[i] = seconds(CLOCK_MONOTONIC) - wall_begin;
    }
    qsort(wall, TIMES, sizeof *wall, compare_doubles);
    qsort(cpu, TIMES, sizeof *cpu, compare_doubles);
    printf("%s,%s,%zu,%llu,%.1f,%.1f,%.1f,%.1f\n", tokenizer_name(t), name ? name + 1 : path, bytes,
           (unsigned long long)count, (double)bytes / 1e6 / wall[TIMES / 2],
           (double)bytes / 1e6 / cpu[TIMES / 2], (double)bytes / 1e6 / cpu[TIMES / 10],
           (double)bytes / 1e6 / cpu[TIMES * 9 / 10]);
    fflush(stdout);
    tokenizer_reader_close(&reader);
    return code;
}

int main(int argc, char **argv)
{
    struct tokenizer *t = NULL;
    struct err err = {.text = ""};
    uint8_t *data = malloc(TEXT_BYTES);
    enum err_code code = ERR_OK;

    if (argc < 3 || !data) {
        fputs("usage: bench_tokenizer VOCABULARY|bytes TEXT...\n", stderr);
        return 2;
    }
    code = strcmp(argv[1], "bytes") ? tokenizer_open(&t, argv[1], NULL, &err)
                                    : tokenizer_open_bytes(&t, &err);
    puts("tokenizer,text,bytes,tokens,MB/s wall,MB/s cpu,cpu 10 %,cpu 90 %");
    for (int i = 2; !code && i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t bytes = file ? fread(data, 1, TEXT_BYTES, file) : 0;
        if (file)
            fclose(file);
        code = bytes ? bench(t, argv[i], data, bytes, &err)
                     : err_set(&err, ERR_SOURCE, 0, "%s: nothing to read", argv[i]);
    }
    if (code)
        fprintf(stderr, "bench_tokenizer: %s\n", err.text);
    tokenizer_close(&t);
    free(data);
    return err_status(code);
}
