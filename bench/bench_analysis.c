/* bench_analysis: what the analysis of log lines costs, without a model.
 *
 *     bench_analysis LOG [ROUNDS, default 5]
 *
 * A CSV row for each set of parts: nanoseconds of processor time a line and a byte (the best round), and those of the
 * records as text beside it; bytes of memory and of saved state at the end, and microseconds to save it. Tokens are
 * single bytes with a made-up loss, which is as many as there can be. "none" is the cutting into units alone. */
#include "bench/bench.h"
#include "stages/encode/analysis/analysis.h"

enum { LOG_MOST = 1 << 28 };

struct cost {
    double analysis_s, text_s, save_s;
    uint64_t lines, alerts;
    size_t memory, saved;
};

/* Processor time: other programs do not count. */
static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct buffer read_file(const char *path)
{
    struct buffer text = buffer_of(LOG_MOST);
    FILE *file = fopen(path, "rb");
    uint8_t chunk[65536];
    size_t bytes;

    if (!file) {
        perror(path);
        exit(2);
    }
    while ((bytes = fread(chunk, 1, sizeof chunk, file)) > 0)
        buffer_put(&text, chunk, bytes);
    fclose(file);
    require(!text.refused);
    return text;
}

/* Records as text, as the stage makes them. */
static void write_records(const struct analysis_records *made, struct cost *cost)
{
    double begin = cpu_s();
    struct err err;

    for (size_t i = 0; i < made->count; i++) {
        struct buffer line = buffer_of(RECORD_LINE_MAX);
        must(record_line("bench", &made->records[i], &line, &err), &err);
        buffer_release(&line);
        cost->alerts += made->records[i].kind == RECORD_ALERT;
    }
    cost->lines++;
    cost->text_s += cpu_s() - begin;
}

static struct cost measure(const struct buffer *text, uint32_t parts)
{
    const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = parts, .alerts_per_million = 1000};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX);
    struct cost cost = {.lines = 0};
    double begin = cpu_s();

    analysis_begin(&a, &options, 0);
    for (size_t at = 0; at < text->bytes; at++) {
        struct view byte = {text->data + at, 1};
        analysis_token(&a, 0.1 * (double)(text->data[at] % 16), byte, 1, false, &made);
        if (made.count)
            write_records(&made, &cost);
    }
    cost.analysis_s = cpu_s() - begin - cost.text_s;
    begin = cpu_s();
    analysis_save(&a, &saved);
    cost.save_s = cpu_s() - begin;
    cost.memory = analysis_memory(&a);
    cost.saved = saved.bytes;
    buffer_release(&saved);
    analysis_release(&a);
    return cost;
}

int main(int count, char **words)
{
    int rounds = count > 2 ? atoi(words[2]) : 5;
    struct buffer text;

    if (count < 2) {
        fprintf(stderr, "usage: bench_analysis LOG [ROUNDS]\n");
        return 2;
    }
    text = read_file(words[1]);
    printf("parts,lines,alerts,ns_a_line,ns_a_byte,record_ns_a_line,memory_bytes,saved_bytes,save_"
           "us\n");
    for (uint32_t parts = 0; parts < 1U << ANALYZE_COUNT; parts++) {
        char name[ANALYZE_TEXT_MAX];
        struct cost best = measure(&text, parts);
        for (int i = 1; i < rounds; i++) {
            struct cost next = measure(&text, parts);
            best = next.analysis_s + next.text_s < best.analysis_s + best.text_s ? next : best;
        }
        printf("\"%s\",%llu,%llu,%.0f,%.1f,%.0f,%zu,%zu,%.1f\n", analyze_text(parts, name),
               (unsigned long long)best.lines, (unsigned long long)best.alerts,
               1e9 * best.analysis_s / (double)best.lines,
               1e9 * best.analysis_s / (double)text.bytes, 1e9 * best.text_s / (double)best.lines,
               best.memory, best.saved, 1e6 * best.save_s);
    }
    buffer_release(&text);
    return 0;
}
