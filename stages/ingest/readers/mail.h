/* stages/ingest/readers/mail.h: mail, message by message: an mbox, or one message by itself (.eml). Each is a place of
 * the source, "message 7 at byte 40960", a document of its own, and a section headed by its subject.
 *
 * Memory  mbox.h's twice, GMime's of one message, encoding.h's, html.h's */
#ifndef STAGES_INGEST_READERS_MAIL_H
#define STAGES_INGEST_READERS_MAIL_H

#include "stages/ingest/readers/pull.h"
#include "stages/ingest/readers/readers.h"

/* packing: "gzip, " and the like, for the note. in's bytes are such as look_is_mail knows.
 * Fails  ERR_SOURCE: in's words, no message of it can be read, or GMime is not there; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code mail_file(const struct reading *reading, const char *packing,
                                   const struct pull *in, struct out *out, struct err *err);

#endif
