/* pipeline/commands/points.h: a point of a stream, shown. */
#ifndef PIPELINE_COMMANDS_POINTS_H
#define PIPELINE_COMMANDS_POINTS_H

#include "stages/encode/points.h"
#include <jansson.h>

/* What history, savepoint, branch, export and import say of a point. */
struct shown {
    char name[STORE_POINT_MAX + 1]; /* of a savepoint; "": a checkpoint */
    uint64_t number;
    uint64_t records, tokens, offset, written_ms, generation, state_bytes;
    bool finished, unbound;
    bool absent; /* wrong: there is no such point */
    char *lineage,
        *from; /* malloc'ed: accepted changes to be recorded next, where it was branched; or NULL */
    char *wrong; /* malloc'ed: why it cannot be read, or NULL; then only name and number hold */
};

/* Read a point with all of it. What is wrong with it is told in it. */
void shown_read(struct store *store, const struct point *point, struct shown *out);
void shown_release(struct shown *s);
json_t *shown_json(const struct shown *s);
/* One line of a table; the first one is its head. */
void shown_head(void);
void shown_line(const struct shown *s);
/* After a command: `what` in words, then the point in a line, or with json an object with both. */
void shown_print(const struct shown *s, const char *what, bool json);

#endif
