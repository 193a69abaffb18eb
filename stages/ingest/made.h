/* stages/ingest/made.h: a file that is no plain text, as the text that a reader makes of it.
 *
 * Offsets count that text. It is made again on resume, from its beginning, and what lies before the cursor is
 * compared and not delivered; so a cursor leads back to any place, and a kill at any instant loses nothing. A
 * cursor at the end needs no reader: the file alone is compared.
 *
 * A cursor:  0 u8 version = 2 | 1 u8 kind = 2 | 2 u64 offset | 10 u64 hash of the text before
 *            18 u64 bytes of the file | 26 u64 hash of its first and last 64 KiB | 34 u8 1 at the text's end
 *            35 u32 hash of --encoding, 39 u32 of --field, 0 where there is none; not in version 1
 *            43 bytes. */
#ifndef STAGES_INGEST_MADE_H
#define STAGES_INGEST_MADE_H

#include "stages/ingest/input.h"

struct made;

/* Is file to be read by a reader, as its content says? False for what cannot be looked at: opening it will say
 * why. */
bool made_wants(const struct config *config, const char *file);
/* Is it a cursor of one that was? */
bool made_is_cursor(struct view cursor);
/* file was begun as plain text. Fails  ERR_MISMATCH: now --encoding or --field ask for a reader. */
MUST_CHECK enum err_code made_check_plain(const struct config *config, const char *file,
                                          struct err *err);

/* file and name (of the stream) are lent until made_close. The calls are those of an input_kind.
 * Fails  ERR_SOURCE, ERR_CHANGED: the file is another; ERR_MISMATCH: readers are forbidden now,
 *        or asked for another --encoding or --field; ERR_INPUT: no cursor of
 *        ours; ERR_SYSTEM; ERR_MEMORY. */
MUST_CHECK enum err_code made_open(struct made **out, const struct stage_env *env, const char *file,
                                   const char *name, struct view cursor, struct err *err);
bool made_ready(const struct made *m);
MUST_CHECK enum err_code made_opened(struct made *m, Riverrun__Fingerprints *prints,
                                     struct piece *at, struct err *err);
MUST_CHECK enum err_code made_read(struct made *m, struct piece *piece, struct err *err);
int made_descriptor(const struct made *m);
void made_close(struct made **m);

#endif
