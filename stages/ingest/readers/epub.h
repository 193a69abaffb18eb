/* stages/ingest/readers/epub.h: a book as EPUB 2 or 3: its title, then the files of its spine, in order, each
 * as HTML.
 *
 * Memory  the zip's, and the package document, EPUB_PACKAGE_MAX at most; no chapter is held. */
#ifndef STAGES_INGEST_READERS_EPUB_H
#define STAGES_INGEST_READERS_EPUB_H

#include "stages/ingest/readers/out.h"
#include "stages/ingest/readers/zipped.h"

enum { EPUB_PACKAGE_MAX = 8 << 20, EPUB_FILES_MAX = 65536 };

#define EPUB_CONTAINER "META-INF/container.xml"

/* Fails  ERR_SOURCE: damaged, locked, or without text; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code epub_read(struct zipped *zip, struct out *out, struct err *err);

#endif
