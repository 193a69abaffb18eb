/* stages/emit/report/lines.h: the records of one output file, one after the other.
 *
 * Use      lines_open, lines_next until there is none, lines_close.
 * Torn     A run that was killed may leave a last line without its end, or one that is no JSON: it is passed over, and
 *          lines_torn tells. Anything else that is no record is damage.
 * Beside   A file that a run writes to is read up to where it ended at the open.
 * Memory   a chunk and the longest line, at most LINES_LINE_MAX. */
#ifndef STAGES_EMIT_REPORT_LINES_H
#define STAGES_EMIT_REPORT_LINES_H

#include "schemas/bytes.h"

struct json_t;

enum { LINES_LINE_MAX = 1 << 20, LINE_PLACES_MAX = 384 };

enum line_kind {
    LINE_END,        /* there are no more */
    LINE_UNIT,       /* a line, paragraph, entry or section */
    LINE_DOCUMENT,   /* the last of a stream that was read to its end */
    LINE_LINEAGE,    /* model, settings or arithmetic were changed here */
    LINE_ALERT,      /* the unit before it is novel */
    LINE_SUMMARY,    /* what was read, in its own sentences, or what happened in these lines */
    LINE_BOUNDARIES, /* where something new begins, in units before it */
    LINE_OTHER       /* a kind that this program does not know */
};

/* What `--analyze novelty` says of a unit, and again of the alert behind it. */
struct line_novelty {
    bool there;
    double bits;
    uint64_t one_in, template_id, template_count; /* count: 0 of an alert */
    struct view template_text, reason;            /* reason: of an alert */
};

/* A place of a record of boundaries. */
struct line_place {
    uint64_t begin;
    double bits; /* how strong it is */
};

struct line {
    enum line_kind kind;
    const char *unit;    /* "line", "paragraph", "entry", "section" of a unit, else NULL */
    int heading;         /* of a unit: its level, 0 of a title; -1: it is none */
    struct view section; /* of a unit that is a heading: its path */
    uint64_t seq, begin, end, tokens;
    double bits;      /* what begin to end cost */
    struct view text; /* UTF-8; of a lineage record what changed */
    struct line_novelty novelty;
    struct view embedding;           /* of a unit: as it stands there; no data: it has none */
    const struct line_place *places; /* (place_count) */
    size_t place_count;
    const struct json_t *record; /* of a summary: all of it, jansson's */
};

struct lines;

/* bytes: read no further than that; UINT64_MAX: to where the file ends now.
 * Fails  ERR_SINK: cannot be read; ERR_MEMORY. */
MUST_CHECK enum err_code lines_open(struct lines **out, const char *path, uint64_t bytes,
                                    struct err *err);
/* Lend the next record until the next call.
 * Fails  ERR_SINK, naming file and line: this is no record, or not the one that is due. */
MUST_CHECK enum err_code lines_next(struct lines *lines, struct line *line, struct err *err);
/* At the end: was the last line torn, and how many bytes stand in front of it? */
bool lines_torn(const struct lines *lines);
uint64_t lines_whole(const struct lines *lines);
/* Takes NULL. */
void lines_close(struct lines **lines);

#endif
