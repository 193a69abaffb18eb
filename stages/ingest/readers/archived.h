/* stages/ingest/readers/archived.h: the files inside an archive (tar, zip, 7z, RAR, cpio), in its order: text and
 * HTML in whatever encoding, mail, EPUB, DOCX, ODT, PDF; each is a place of the source by its name. One level: what is
 * packed or an archive itself is passed over.
 *
 * Memory  libarchive's, and that of the file at hand: its reader's, and of EPUB, DOCX, ODT and PDF the file itself,
 *         ARCHIVED_HELD_MAX at most */
#ifndef STAGES_INGEST_READERS_ARCHIVED_H
#define STAGES_INGEST_READERS_ARCHIVED_H

#include "stages/ingest/readers/pull.h"
#include "stages/ingest/readers/readers.h"

enum { ARCHIVED_HELD_MAX = 128 << 20 };

/* in: the archive's bytes where it was packed itself, or NULL: reading->file from its beginning. packing: "gzip, "
 * and the like, for the note. kind: as look_archive says, or "zip".
 * Fails  ERR_SOURCE: damaged, locked, or nothing in it can be read; ERR_MEMORY; as out_text. */
MUST_CHECK enum err_code archived_read(const struct reading *reading, const struct pull *in,
                                       const char *packing, const char *kind, struct out *out,
                                       struct err *err);

#endif
