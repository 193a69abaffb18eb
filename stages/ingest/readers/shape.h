/* stages/ingest/readers/shape.h: running text from marked-up text: blanks fold into one, blocks become
 * paragraphs.
 *
 * A paragraph is followed by a blank line, but for the last, which ends with its newline. */
#ifndef STAGES_INGEST_READERS_SHAPE_H
#define STAGES_INGEST_READERS_SHAPE_H

#include "stages/ingest/readers/out.h"

enum { SHAPE_LINE = 1, SHAPE_PARAGRAPH = 2, SHAPE_HOLD_BYTES = 64 };

struct shape {
    struct out *out;
    bool begun;   /* something was written */
    bool in_line; /* and stands in this line */
    bool lined;   /* it is empty because shape_line began it */
    bool heading; /* what comes is one's text, until shape_heading_end */
    int gap;      /* newlines before what comes next */
    char blank;   /* before what comes next in the line: ' ', '\t' or 0 */
    size_t
        held; /* bytes of hold: blanks that do not fold, before what comes next in an empty line */
    uint8_t hold[SHAPE_HOLD_BYTES];
    int verbatim; /* depth of elements whose blanks stay */
    int below;    /* headings around what comes: its own count from there */
    bool marked;  /* what comes next begins with a place */
    size_t place_bytes;
    uint8_t place[PLACE_BYTES_MAX];
    struct err err; /* the first fault of out; nothing is written behind it */
};

/* Text, in pieces of any size; what is ASCII white space folds. A line of other blanks alone is none. */
void shape_text(struct shape *s, const void *text, size_t bytes);
/* What comes next stands in a line, or a paragraph, of its own. */
void shape_break(struct shape *s, int newlines);
/* What comes next stands in a line of its own; where this one is empty already, in a paragraph, but a heading is one.
 */
void shape_line(struct shape *s);
/* A cell of a table ends: a tab before the next. */
void shape_cell(struct shape *s);
/* What comes next is a paragraph of its own that begins there (schemas/msg.h). heading: as in struct msg_place. name:
 * "" where only the heading is known. Without text behind it nothing is said. */
void shape_place(struct shape *s, uint8_t heading, const char *name);
/* The heading is over: where no text of it came, what comes next is none. */
void shape_heading_end(struct shape *s);
/* The last line's newline. Fails: as out_text did. */
MUST_CHECK enum err_code shape_end(struct shape *s, struct err *err);

#endif
