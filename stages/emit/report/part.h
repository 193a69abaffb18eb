/* stages/emit/report/part.h: the parts of a document's section, each a file with a table of calls.
 *
 * A file of records is read twice. The first reading (report.c) adds up what is usual; the second hands each record to
 * each part. Then all parts settle, where they may put marks on the picture, and are written one after the other. To
 * add a part for a new kind of record: a file, its line in `parts` (report.c), and its kind in lines.h.
 *
 * Memory  a part's own is fixed, whatever the number of records; one section at a time has any. */
#ifndef STAGES_EMIT_REPORT_PART_H
#define STAGES_EMIT_REPORT_PART_H

#include "stages/emit/report/lines.h"
#include "stages/emit/report/usual.h"
#include <stdio.h>

enum { PASSAGES_MAX = 5 };

/* What the first reading knows of a file. */
struct document {
    char *name;       /* of the stream */
    char *title;      /* that the document gives itself; NULL: none */
    const char *unit; /* "paragraph", "line", "entry", "section"; NULL: no unit yet */
    uint64_t units, tokens, bytes;
    uint64_t begin, end; /* of the source */
    double bits;
    bool finished; /* has its document record */
    bool torn;
    uint64_t alerts; /* records of novelty */
    uint64_t others; /* records of kinds that are not shown */
    uint64_t whole;  /* bytes of its file's whole lines */
    struct usual usual;
    double top; /* the highest score */
    uint64_t standing_out;
    double apart;                    /* its score among the documents of the job */
    uint64_t passages[PASSAGES_MAX]; /* (passage_count) where its key passages begin */
    size_t passage_count;
    size_t section; /* its number in the page, from 1; 0: it has none */
};

enum { MARKS_MAX = 24 };

/* A place in the picture that a part writes about: at "d<section>m<id>", its text at "d<section>p<id>". */
struct mark {
    char id[4];          /* what stands in it: "1", "a" */
    bool low;            /* hangs below instead of above */
    uint64_t at;         /* ordinal of the unit, from 0 */
    uint64_t begin, end; /* of the source */
    double bits_per_byte;
    double score;
};

/* Where a chapter begins. */
enum { TICKS_MAX = 500 };
struct tick {
    uint64_t at, begin; /* ordinal of its first unit, offset in the source */
};

struct section {
    const struct document *document;
    struct mark marks[MARKS_MAX];
    size_t mark_count;
    struct tick ticks[TICKS_MAX];
    size_t tick_count;
};

struct part {
    const char *name;
    size_t bytes; /* of its own memory, zero at the begin */
    void (*begin)(void *self, const struct section *section);
    /* ordinal: of units, from 0; of others that of the next unit. */
    void (*take)(void *self, const struct line *line, uint64_t ordinal);
    /* All records were taken: put marks; may be NULL. */
    void (*settle)(void *self, struct section *section);
    void (*write)(void *self, const struct section *section, FILE *out);
};

extern const struct part part_course, part_map, part_passages, part_summary, part_novelty,
    part_chapters, part_changes;

/* "line 12" or "byte 1,234": where a unit is, in the words of its kind. */
void part_place(FILE *out, const struct document *document, uint64_t ordinal, uint64_t begin);
/* Is there a picture, with marks to lead to? One unit has no course. */
bool part_has_course(const struct document *document);
bool part_by_line(const struct document *document); /* else by byte */

#endif
