/* schemas/record.h: what users read: one JSON object a line, described by record.schema.json.
 *
 * A record holds no clock, no speed and no host; reals are written with 17 significant digits, which
 * is one fixed text for one double and reads back to it. Parts of the analysis add fields by name. */
#ifndef SCHEMAS_RECORD_H
#define SCHEMAS_RECORD_H

#include "schemas/bytes.h"

enum record_kind {
    RECORD_LINE,
    RECORD_PARAGRAPH,
    RECORD_DOCUMENT,
    RECORD_LINEAGE,
    RECORD_ENTRY,
    RECORD_ALERT,
    RECORD_SUMMARY,
    RECORD_SECTION,
    RECORD_BOUNDARIES
};

/* Raised whenever the same input would give other lines: it belongs to a stream's fingerprint. */
enum {
    RECORD_FORMAT = 7,
    RECORD_LINE_MAX = 64 * 1024,
    RECORD_TEXT_MAX = 160,
    RECORD_FIELDS_MAX = 20,
    RECORD_ITEM_FIELDS_MAX = 4
};

enum record_field_kind { FIELD_NULL, FIELD_COUNT, FIELD_REAL, FIELD_TEXT, FIELD_LIST };

/* What a part of the analysis says of a unit. */
struct record_field {
    const char *name;
    enum record_field_kind kind;
    uint64_t count;
    double real;
    struct view text;                /* any bytes, as the record's */
    const struct record_item *items; /* (item_count) of a list */
    size_t item_count;
};

/* An object in a list; its fields are no lists. */
struct record_item {
    struct record_field fields[RECORD_ITEM_FIELDS_MAX]; /* (field_count) */
    size_t field_count;
};

struct record {
    enum record_kind kind;
    uint64_t seq;
    uint64_t begin, end; /* bytes of the source */
    uint64_t tokens;
    double nats;
    struct view text;           /* an excerpt, any bytes; what is no UTF-8 becomes U+FFFD */
    const char *const *changed; /* (changed_count) of a lineage record: "model: old -> new" */
    size_t changed_count;
    struct record_field fields[RECORD_FIELDS_MAX]; /* (field_count), in the order of the line */
    size_t field_count;
};

/* Add a field; name and text are lent until the line is written. A real must be finite. */
void record_add_null(struct record *record, const char *name);
void record_add_count(struct record *record, const char *name, uint64_t count);
void record_add_real(struct record *record, const char *name, double real);
void record_add_text(struct record *record, const char *name, struct view text);
/* items are lent as texts are. */
void record_add_list(struct record *record, const char *name, const struct record_item *items,
                     size_t count);
void record_item_count(struct record_item *item, const char *name, uint64_t count);
void record_item_real(struct record_item *item, const char *name, double real);
void record_item_text(struct record_item *item, const char *name, struct view text);

/* Append the line of record with its newline to out.
 * Fails  ERR_MODEL: nats are not finite; ERR_LIMIT, ERR_MEMORY. */
MUST_CHECK enum err_code record_line(const char *stream, const struct record *record,
                                     struct buffer *out, struct err *err);

/* The part of text (bytes long, and complete where whole) that makes an excerpt: without white space
 * at its ends, at most RECORD_TEXT_MAX bytes, cut between graphemes. */
struct view record_excerpt(struct view text, bool whole);

#endif
