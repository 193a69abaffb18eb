/* stages/ingest/readers/html.h: the text of HTML and XHTML.
 *
 * Memory  libxml2's parser without a tree: it grows with the depth of elements and the longest tag alone. */
#ifndef STAGES_INGEST_READERS_HTML_H
#define STAGES_INGEST_READERS_HTML_H

#include "stages/ingest/readers/pull.h"
#include "stages/ingest/readers/shape.h"

/* text is UTF-8, whatever a <meta> in it says. with_title: <title> is a paragraph too.
 * Fails  ERR_SOURCE: text's words; ERR_MEMORY; as out_text. Anything is HTML. */
MUST_CHECK enum err_code html_read(const struct pull *text, bool with_title, struct shape *shape,
                                   struct err *err);

#endif
