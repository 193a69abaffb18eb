/* stages/ingest/rotated.h: where a rotated file went, and what came between it and the one at its path.
 *
 * Rotation leaves files beside the path: its name with something added (app.log.1, app.log-20261121,
 * app.log.2.gz), or a date before the ending (app-20261121.log). Any such name may be a copy or a
 * successor of what was read, and is known by what it holds. Only a name that rotation is known to make
 * (a number, a date, old, bak) is ever read as a segment of its own. */
#ifndef STAGES_INGEST_ROTATED_H
#define STAGES_INGEST_ROTATED_H

#include "stages/ingest/segment.h"

/* Is name one that rotation makes of base? */
bool is_rotated_name(const char *base, const char *name);
/* What name would be rotated from: the shortest base with is_rotated_name(base, name) of which there
 * is(base) true. False: none. */
bool rotated_base(const char *name, bool (*is)(void *self, const char *base), void *self);

enum rotated_found { ROTATED_NOWHERE, ROTATED_AT_PATH, ROTATED_BESIDE };

/* Find the file that holds what was read, at folder/name or beside it: by what it is and holds, then by
 * what it holds. beside: not at the path itself.
 * Fails  ERR_SOURCE with a cause: a file that may be it cannot be opened; ERR_MEMORY. */
MUST_CHECK enum err_code rotated_find(struct segment_file *out, enum rotated_found *where,
                                      const char *folder, const char *name,
                                      const struct segment_place *place, bool beside,
                                      struct err *err);
/* True for a file that was read already, or is read as another's. sure: its name says that it was not, so it would have
 * to be that very file; else holding the same will do. */
typedef bool rotated_known_fn(void *self, const char *path, struct segment_file *file, bool sure);

/* Open the oldest file beside folder/name that is newer than now, not empty, and not known: a file that
 * was rotated away unseen. now is no longer at the path, and was read to its end, end. Names tell
 * what is newer where they are of one kind, times where they are not: compressors and copies change times.
 * out->fd is -1 where there is none.
 * Fails  ERR_SOURCE with a cause: it cannot be opened; ERR_MEMORY. */
MUST_CHECK enum err_code rotated_next(struct segment_file *out, const char *folder,
                                      const char *name, const struct file_facts *now,
                                      const struct segment_place *end, rotated_known_fn *known,
                                      void *self, struct err *err);

#endif
