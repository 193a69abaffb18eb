/* stages/ingest/readers/pdf.h: the text layer of a PDF, page by page, as `pdftotext` of poppler-utils tells it.
 *
 * Threads  it forks: of a reader's process alone
 * Memory   64 KiB here; pdftotext has the limits of the process that it is started by */
#ifndef STAGES_INGEST_READERS_PDF_H
#define STAGES_INGEST_READERS_PDF_H

#include "stages/ingest/readers/out.h"
#include "stages/ingest/readers/pull.h"

/* Fails  ERR_SOURCE: damaged, locked, without text, or pdftotext is not there; as out_text. */
MUST_CHECK enum err_code pdf_read(int file, struct out *out, struct err *err);
/* The same of a PDF that is held in memory. */
MUST_CHECK enum err_code pdf_read_held(struct view pdf, struct out *out, struct err *err);
/* Text with a form feed behind each page: each page that has text is a place, "page 12"; blanks at its beginning are
 * left out. *pages: how many have text. Fails  text's words; as out_text. */
MUST_CHECK enum err_code pdf_pages(const struct pull *text, struct out *out, uint64_t *pages,
                                   struct err *err);

#endif
