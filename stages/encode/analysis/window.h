/* stages/encode/analysis/window.h: what happened in a log, period by period.
 *
 * A period ends with its line number `lines`, or before the first line whose own time lies `minutes` behind that of
 * the period's first one (or as far before it: the log began anew), if it has PERIOD_LEAST lines; times of another
 * form than that one's are not compared, but where fewer than PERIOD_LEAST lines have its form, the first of as many on
 * end that have another takes its place. There is no clock: while a log is silent nothing ends.
 *
 * What it says is taken from what novelty says of each line, which goes before: lines of each template, which
 * templates are new, the most novel lines.
 *
 * Memory  60 KiB; saved at most WINDOW_BYTES_MAX */
#ifndef STAGES_ENCODE_ANALYSIS_WINDOW_H
#define STAGES_ENCODE_ANALYSIS_WINDOW_H

#include "schemas/record.h"
#include "stages/encode/analysis/logtime.h"

enum {
    PERIOD_LEAST = 16,
    PERIOD_TEMPLATES = 128, /* the one with fewest lines gives its place */
    PERIOD_NOVEL = 5,
    PERIOD_SHOWN = 8, /* templates in a record */
    WINDOW_BYTES_MAX = 5 * 8 + 3 + 2 * (1 + 8) + 3 * (1 + LOGTIME_TEXT_MAX) + 1 +
                       PERIOD_TEMPLATES * (3 * 8 + 1 + RECORD_TEXT_MAX) + 1 +
                       PERIOD_NOVEL * (3 * 8 + 1 + RECORD_TEXT_MAX)
};

struct period_text {
    uint8_t bytes;
    uint8_t data[RECORD_TEXT_MAX];
};

struct period_template {
    uint64_t id, lines,
        others; /* others: so many of its lines may be of those whose place it took */
    struct period_text text;
};

struct period_line {
    uint64_t begin, end;
    double novelty;
    struct period_text text;
};

struct period_time {
    uint8_t form;
    int64_t seconds;
    struct period_text text;
};

struct period {
    uint64_t lines, begin, end;
    uint64_t fresh, first_fresh; /* templates that are new; the number of the first of them */
    bool timed;                  /* from and to are there */
    struct period_time from;
    struct period_text to;
    uint8_t ours;             /* lines with a time of from's form, counted up to PERIOD_LEAST */
    uint8_t others;           /* the last with a time, other's form all; below PERIOD_LEAST */
    struct period_time other; /* of the first of these */
    struct period_template templates[PERIOD_TEMPLATES]; /* (template_count) */
    size_t template_count;
    struct period_line novel[PERIOD_NOVEL]; /* (novel_count) the most novel first */
    size_t novel_count;
};

struct window {
    uint64_t lines, minutes; /* 0: without end by these */
    struct period now, told; /* told: the last record's */
    struct record_item templates[PERIOD_SHOWN], fresh[PERIOD_SHOWN], novel[PERIOD_NOVEL];
};

/* The next line. record: of the line, with what novelty says. True: a period ended and *own tells of it; lent until
 * the next call. */
bool window_line(struct window *w, struct view text, const struct record *record,
                 struct record *own);
/* The source ended: the period that has not. False: it has no line. */
bool window_end(struct window *w, struct record *own);

void window_save(const struct window *w, struct buffer *out);
bool window_load(struct window *w, struct reader *r);

#endif
