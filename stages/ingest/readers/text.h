/* stages/ingest/readers/text.h: text and HTML, out of their encoding, whatever they came in.
 *
 * Memory  encoding.h's and, of HTML, html.h's */
#ifndef STAGES_INGEST_READERS_TEXT_H
#define STAGES_INGEST_READERS_TEXT_H

#include "stages/ingest/readers/pull.h"
#include "stages/ingest/readers/readers.h"

/* packing: "gzip, " and the like, for the note.
 * Fails  ERR_SOURCE: in's words, or it is no text; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code text_file(const struct reading *reading, const char *packing,
                                   const struct pull *in, struct out *out, struct err *err);
/* A file inside another, no container itself, where the other has its note: what is told of it is its place, a
 * document of its own. Nothing of it went out where it is no text.
 * Fails  as text_file. */
MUST_CHECK enum err_code text_member(const struct pull *in, const char *name, const char *encoding,
                                     struct out *out, struct err *err);

#endif
