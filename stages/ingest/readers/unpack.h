/* stages/ingest/readers/unpack.h: the bytes of a file, unpacked where they are packed.
 *
 * Memory  64 KiB and what libarchive's decoder of the format takes. */
#ifndef STAGES_INGEST_READERS_UNPACK_H
#define STAGES_INGEST_READERS_UNPACK_H

#include "stages/ingest/readers/pull.h"

struct unpack;

/* packing: as look_packing says; NULL: none. fd, read by its position, stays the caller's. *in is lent until
 * unpack_close.
 * Fails  ERR_SOURCE, ERR_MEMORY. */
MUST_CHECK enum err_code unpack_open(struct unpack **out, int fd, const char *packing,
                                     struct pull *in, struct err *err);
void unpack_close(struct unpack **unpack);

#endif
