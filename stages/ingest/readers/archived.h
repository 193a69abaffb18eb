/* stages/ingest/readers/archived.h: the files inside an archive (tar, zip, 7z, RAR, cpio), in its order: those that are
 * text, or HTML, in whatever encoding; each is a place of the source by its name.
 *
 * Memory  libarchive's, and that of the text at hand (encoding.h) */
#ifndef STAGES_INGEST_READERS_ARCHIVED_H
#define STAGES_INGEST_READERS_ARCHIVED_H

#include "stages/ingest/readers/pull.h"
#include "stages/ingest/readers/readers.h"

/* in: the archive's bytes where it was packed itself, or NULL: reading->file from its beginning. note: what it is, as
 * "gzip, tar".
 * Fails  ERR_SOURCE: damaged, locked, or nothing in it is text; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code archived_read(const struct reading *reading, const struct pull *in,
                                       const char *note, struct out *out, struct err *err);

#endif
