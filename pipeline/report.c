#include "pipeline/report.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { TERMINAL_MS = 250, PLAIN_MS = 5000 };

struct report {
    pthread_mutex_t lock;
    bool quiet, terminal;
    bool drawn; /* a progress line stands on the terminal */
    /* where this run began, for its speed */
    bool began;
    uint64_t begin_ms, begin_bytes, begin_tokens;
};

struct report *report_open(bool quiet)
{
    struct report *r = calloc(1, sizeof *r);

    require(r);
    pthread_mutex_init(&r->lock, NULL);
    r->quiet = quiet;
    r->terminal = isatty(STDERR_FILENO);
    return r;
}

void report_close(struct report **report)
{
    struct report *r = *report;

    if (!r)
        return;
    if (r->drawn)
        fputc('\n', stderr);
    pthread_mutex_destroy(&r->lock);
    free(r);
    *report = NULL;
}

void report_line(void *self, enum stage_level level, const char *stream, const char *text)
{
    struct report *r = self;
    const char *kind = level == STAGE_WARNING ? "warning: " : level == STAGE_ERROR ? "error: " : "";

    if (r->quiet && level == STAGE_NOTE)
        return;
    pthread_mutex_lock(&r->lock);
    if (r->drawn)
        fputs("\r\033[K", stderr);
    r->drawn = false;
    if (stream)
        fprintf(stderr, "riverrun: %s: %s%s\n", stream, kind, text);
    else
        fprintf(stderr, "riverrun: %s%s\n", kind, text);
    pthread_mutex_unlock(&r->lock);
}

unsigned report_interval_ms(const struct report *report)
{
    return report->quiet ? 0 : report->terminal ? TERMINAL_MS : PLAIN_MS;
}

void report_bytes(char *text, size_t room, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;

    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, room, unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
}

void report_time(char *text, size_t room, double seconds)
{
    unsigned long whole = seconds < 0 ? 0 : (unsigned long)seconds;

    if (whole < 100)
        snprintf(text, room, "%lu s", whole);
    else if (whole < 6000)
        snprintf(text, room, "%lu min %02lu s", whole / 60, whole % 60);
    else
        snprintf(text, room, "%lu h %02lu min", whole / 3600, whole / 60 % 60);
}

struct sums {
    uint64_t bytes, total, tokens, newest_ms;
    size_t streams, over, not_begun;
    bool sized;
};

static struct sums add_up(const Riverrun__Reply *reply)
{
    struct sums sums = {.sized = !reply->not_begun, .not_begun = reply->not_begun};

    for (size_t i = 0; i < reply->n_streams; i++) {
        const Riverrun__StreamStatus *s = reply->streams[i];
        sums.bytes += s->bytes;
        sums.total += s->bytes_total;
        sums.tokens += s->computed;
        sums.sized = sums.sized && s->size_known;
        sums.streams++;
        sums.over += !strcmp(s->state, "finished") || !strcmp(s->state, "failed");
        if (s->checkpointed && s->checkpoint_ms > sums.newest_ms)
            sums.newest_ms = s->checkpoint_ms;
    }
    return sums;
}

/* Per cent, MB/s, tokens/s, time left, last checkpoint. The first answer has no speed yet. */
static void make_line(const struct report *r, const struct sums *sums, uint64_t now_ms,
                      uint64_t clock_ms, char *line, size_t room)
{
    char many[64] = "", done[32], speed[160] = "", saved[32] = "none yet";
    double seconds = (double)(now_ms - r->begin_ms) / 1000;
    double bytes = (double)(sums->bytes - r->begin_bytes);

    if (sums->not_begun)
        snprintf(many, sizeof many, " in %zu of %zu streams", sums->streams,
                 sums->streams + sums->not_begun);
    else if (sums->streams > 1)
        snprintf(many, sizeof many, " of %zu streams", sums->streams);
    report_bytes(done, sizeof done, (double)sums->bytes);
    if (seconds > 0) {
        char left[32] = "?";
        if (sums->sized && bytes > 0)
            report_time(left, sizeof left, (double)(sums->total - sums->bytes) * seconds / bytes);
        snprintf(speed, sizeof speed, ", %.3f MB/s, %.0f tokens/s, %s left", bytes / seconds / 1e6,
                 (double)(sums->tokens - r->begin_tokens) / seconds, left);
    }
    if (sums->newest_ms)
        report_time(saved, sizeof saved, (double)(clock_ms - sums->newest_ms) / 1000);
    if (sums->sized && sums->total)
        snprintf(line, room, "%.1f %%%s, %s%s, checkpoint %s%s",
                 100.0 * (double)sums->bytes / (double)sums->total, many, done, speed, saved,
                 sums->newest_ms ? " ago" : "");
    else
        snprintf(line, room, "%s%s%s, checkpoint %s%s", done, many, speed, saved,
                 sums->newest_ms ? " ago" : "");
}

static size_t terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

void report_progress(struct report *r, const Riverrun__Reply *reply, uint64_t now_ms,
                     uint64_t clock_ms)
{
    struct sums sums = add_up(reply);
    char line[400];
    size_t length, columns;

    if (r->quiet || !sums.streams)
        return;
    if (!r->began) {
        r->began = true;
        r->begin_ms = now_ms;
        r->begin_bytes = sums.bytes;
        r->begin_tokens = sums.tokens;
    }
    make_line(r, &sums, now_ms, clock_ms, line, sizeof line);
    length = strlen(line);
    if (reply->waiting && reply->waiting[0])
        snprintf(line + length, sizeof line - length, "; waiting: %s", reply->waiting);
    pthread_mutex_lock(&r->lock);
    if (r->terminal) {
        columns = terminal_columns();
        fprintf(stderr, "\r\033[K%.*s", (int)columns, line);
    } else {
        fprintf(stderr, "riverrun: %s\n", line);
    }
    fflush(stderr);
    r->drawn = r->terminal;
    pthread_mutex_unlock(&r->lock);
}
