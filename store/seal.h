/* store/seal.h: what binds the values of a checkpoint to each other and to their stream.
 *
 *   meta value   u32 parts, bit 31 set | u64 XXH3-64 of the stream's name | u64 checksum[parts] | meta
 *   of format 1  u32 parts | meta
 *
 * A value's own checksum says that it belongs to its key. It does not say when it was written: a
 * transaction that was cut short may have left parts of a checkpoint that was then made again, under the
 * same number, at another place of the text (or for another stream, whose number was not yet durable).
 * The living tree never mixes them; who gathers values from a damaged file must be able to tell. */
#ifndef STORE_SEAL_H
#define STORE_SEAL_H

#include "schemas/bytes.h"

struct seal {
    bool sealed;
    size_t parts;
    uint64_t name;
    const uint8_t *checksums; /* (parts) little-endian u64 */
    struct view meta;         /* the caller's; all of it lent by the value */
};

enum { SEAL_BYTES_MAX = 4 + 8 + 8 * 1024 };

/* False where the payload of a meta value is none. */
bool seal_read(struct view payload, struct seal *seal);
/* The bytes that stand before the caller's meta; returns how many. */
size_t seal_write(uint8_t out[SEAL_BYTES_MAX], struct view name, const uint64_t *checksums,
                  size_t parts);
uint64_t seal_checksum(const struct seal *seal, size_t part);
uint64_t seal_name(struct view name);

#endif
