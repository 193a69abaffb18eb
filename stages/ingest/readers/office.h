/* stages/ingest/readers/office.h: the text of DOCX (Word) and ODT (LibreOffice), paragraph by paragraph.
 *
 * Memory  the zip's, and libxml2's reader, which holds an element and its parents; no tree. */
#ifndef STAGES_INGEST_READERS_OFFICE_H
#define STAGES_INGEST_READERS_OFFICE_H

#include "stages/ingest/readers/out.h"
#include "stages/ingest/readers/zipped.h"

/* What a zip is, by the files in it: "DOCX", "ODT", or "XLSX" or "PPTX", which are refused; NULL: none of them. */
const char *office_kind(const struct zipped *zip);
/* Fails  ERR_SOURCE: damaged, or refused; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code office_read(struct zipped *zip, struct out *out, struct err *err);

#endif
