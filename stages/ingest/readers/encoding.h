/* stages/ingest/readers/encoding.h: bytes in some encoding, as UTF-8.
 *
 * What is UTF-8 passes as it is, damaged bytes too: they are repaired behind ingest, as a plain file's. Of
 * other encodings what is no character becomes U+FFFD, and is counted.
 *
 * Memory  LOOK_BYTES while the beginning is looked at, then 128 KiB. */
#ifndef STAGES_INGEST_READERS_ENCODING_H
#define STAGES_INGEST_READERS_ENCODING_H

#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/pull.h"

enum { ENCODING_NAME_MAX = 64 };

struct encoding;

/* asked: what the user says it is, or NULL. Decides before anything is read of *text, which is lent until
 * encoding_close.
 * Fails  ERR_SOURCE: in's words, or no encoding is found; ERR_USAGE: asked is none; ERR_MEMORY. */
MUST_CHECK enum err_code encoding_open(struct encoding **out, const struct pull *in,
                                       const char *asked, struct pull *text, struct err *err);
/* said: what a mail's header says it is in. It is believed where the text is not UTF-8 that holds, and where it makes
 * sense; as encoding_open where not. */
MUST_CHECK enum err_code encoding_open_said(struct encoding **out, const struct pull *in,
                                            const char *said, struct pull *text, struct err *err);
/* Does iconv know it? Fails  ERR_USAGE: no. */
MUST_CHECK enum err_code encoding_check(const char *asked, struct err *err);
const char *encoding_name(const struct encoding *e);
/* How it begins, before it is turned into UTF-8; only before *text is read. */
struct view encoding_beginning(const struct encoding *e);
/* U+FFFD written so far. */
uint64_t encoding_replaced(const struct encoding *e);
void encoding_close(struct encoding **e);

#endif
