/* stages/ingest/readers/zipped.h: the files inside a zip, by name, in any order.
 *
 * Memory  the list of names, ZIP_FILES_MAX at most, and libarchive's. Going back opens the zip again. */
#ifndef STAGES_INGEST_READERS_ZIPPED_H
#define STAGES_INGEST_READERS_ZIPPED_H

#include "stages/ingest/readers/pull.h"

enum { ZIP_FILES_MAX = 65536 };

struct zipped;

/* file stays the caller's. Fails  ERR_SOURCE: damaged; ERR_LIMIT: too many files; ERR_MEMORY. */
MUST_CHECK enum err_code zipped_open(struct zipped **out, int file, struct err *err);
/* The same of a zip that is held in memory; zip is lent until zipped_close. */
MUST_CHECK enum err_code zipped_open_held(struct zipped **out, struct view zip, struct err *err);
/* Is there a file of this name? */
bool zipped_has(const struct zipped *z, const char *name);
/* Its content, *in lent until the next zipped_find. Fails  ERR_ABSENT: there is none; ERR_SOURCE: damaged or
 * locked. */
MUST_CHECK enum err_code zipped_find(struct zipped *z, const char *name, struct pull *in,
                                     struct err *err);
void zipped_close(struct zipped **z);

#endif
