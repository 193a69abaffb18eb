/* stages/ingest/readers/fields.h: one field of each line of JSON Lines, as text.
 *
 * Memory  the longest line, at most FIELDS_LINE_MAX, and what jansson makes of it */
#ifndef STAGES_INGEST_READERS_FIELDS_H
#define STAGES_INGEST_READERS_FIELDS_H

#include "stages/ingest/readers/out.h"
#include "stages/ingest/readers/pull.h"

enum { FIELDS_LINE_MAX = 16 << 20 };

/* Does a text begin as JSON Lines do, or after lines that are none, as one that was cut? */
bool fields_are_in(struct view beginning);
/* field: its name, or the way to it, "message.body". Each line with it is a document of its own, of the place
 * "line 12", ended by a newline. Lines without it, where it is no text, and those that are no JSON are passed over
 * and counted.
 * Fails  ERR_SOURCE: text's words, a line is too long, none has the field or is JSON; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code fields_read(const struct pull *text, const char *field, struct out *out,
                                     struct err *err);

#endif
