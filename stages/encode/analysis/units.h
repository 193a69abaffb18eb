/* stages/encode/analysis/units.h: tokens with their surprisal become units: lines, paragraphs, sections or entries,
 * and the document.
 *
 * A line ends with its newline. A paragraph ends with the newline of the first blank line (spaces,
 * tabs, carriage returns) after a line with text; further blank lines lead the next paragraph. An entry
 * ends where ingest said so, and its message broke off (MSG_BREAK). A section ends before the next heading. A unit
 * ends before a place of the source too (MSG_PLACE): each lies in one. Else it ends with the token that holds its
 * boundary's last byte, so units tile the document and begin and end at token edges. Nothing here looks ahead: the
 * same tokens give the same units however they come.
 *
 * Headings: where the source says which they are, those alone; else what looks like one (headings.h). A unit is known
 * as a heading when it ends; a section in plain text ends when the paragraph behind it turns out to be one.
 *
 * Memory  fixed; the whole of it goes into a checkpoint as bytes. */
#ifndef STAGES_ENCODE_ANALYSIS_UNITS_H
#define STAGES_ENCODE_ANALYSIS_UNITS_H

#include "schemas/config.h"
#include "schemas/record.h"
#include "stages/encode/analysis/headings.h"

enum { UNITS_HELD_BYTES = RECORD_TEXT_MAX + 96, UNITS_BYTES_MAX = 1536 };

struct units_span {
    uint64_t begin, tokens, text_bytes;
    double nats;
    uint32_t held;
    uint8_t text[UNITS_HELD_BYTES];
};

struct units {
    enum unit kind;
    uint64_t offset; /* of the source, behind the last token */
    bool line_has_text, unit_has_text;
    bool markdown;     /* `#` makes headings here */
    bool marked;       /* the source says what is a heading */
    bool fenced;       /* the unit began between two fences of Markdown, ``` or ~~~ */
    bool blank_before; /* of a line: the one before it is blank, or there is none */
    uint8_t fence;     /* ` or ~: between two such lines now; 0: not */
    uint8_t fence_at;  /* blanks, and what makes a list item, before the one that opened it */
    uint8_t indent;    /* as many of the line so far */
    bool item;         /* and it is a list item's first */
    uint8_t tick;      /* ` or ~ where the line begins with one */
    uint8_t ticks;     /* how many; 3: enough, or something else came */
    uint8_t heading;   /* of the open unit, as struct msg_place has it */
    uint8_t place_bytes;
    uint8_t place[PLACE_TEXT_MAX];
    struct heading_path path; /* of the headings before the open unit */
    struct units_span unit, document;
    uint64_t ended_text_bytes;            /* of the unit that ended last; not saved */
    uint8_t ended_text[UNITS_HELD_BYTES]; /* lent with its record; not saved */
    struct units_span block; /* of a section: the paragraph at its end, which may be a heading */
};

void units_begin(struct units *u, enum unit kind, uint64_t offset);

/* One token: its loss, its text, the source bytes it stands for. True when a unit ended with it:
 * *record is then filled but for seq; its text is lent until the next call. */
bool units_token(struct units *u, double nats, struct view text, uint32_t source_bytes,
                 struct record *record);
/* A break stands behind the token: the entry ends here, if entries are the units. As units_token. */
bool units_break(struct units *u, struct record *record);
/* A place of the source begins with the next token: the open unit ends before it, as units_token; then units_place
 * says which. */
bool units_cut(struct units *u, struct record *record);
void units_place(struct units *u, const struct msg_place *place);
/* The end of the source: the unit that was open, if there is one. */
bool units_end(struct units *u, struct record *record);
/* The document's own record. */
void units_document(struct units *u, struct record *record);

/* The whole state as bytes and back. Fails: ERR_DAMAGED. */
void units_save(const struct units *u, struct buffer *out);
MUST_CHECK enum err_code units_load(struct units *u, struct view bytes, struct err *err);

#endif
