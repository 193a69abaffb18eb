/* stages/ingest/packed.h: what a compressed file holds, by offset, forwards.
 *
 * Memory  256 KiB and unpack.h's. Going back begins the file again. */
#ifndef STAGES_INGEST_PACKED_H
#define STAGES_INGEST_PACKED_H

#include "schemas/bytes.h"

enum { PACKED_READ_MAX = 192 * 1024 };

struct packed;

/* Does the file begin as gzip, bzip2, xz or zstd do? */
bool packed_is(int fd);
/* fd stays the caller's and is read by its position. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code packed_open(struct packed **out, int fd, struct err *err);
void packed_close(struct packed **packed);
/* Read up to count (PACKED_READ_MAX) bytes at offset; *got is less only at the end.
 * Fails  ERR_SOURCE: damaged, by its checksum too, or cut short. */
MUST_CHECK enum err_code packed_read(struct packed *p, uint8_t *data, size_t count, uint64_t offset,
                                     size_t *got, struct err *err);

#endif
