/* schemas/export.h: one checkpoint of one stream as a self-contained file, for another store.
 *
 *     0 u8 magic[8] = 89 'R' 'V' 'R' 'U' 'N' 0d 0a    8 u32 version = 1
 *    12 u32 pieces, 1..EXPORT_PIECES_MAX             16 u32 name bytes, 1..400    20 u32 point bytes, 0..64
 *    24 name, point                                     u64 XXH3-64 of all before, seed 0
 *       for each piece: u64 bytes | the bytes | u64 XXH3-64 of the bytes, seed: the piece's index + 1
 *       u64 XXH3-64 of all before, seed 0
 *
 * All numbers are little-endian. The first piece is the checkpoint's metadata (protobuf riverrun.Checkpoint), the
 * others are the parts of its state. Magic, version and the checksum at the end stand where they stand in every
 * version, so that a damaged file is told from one that a newer program made. */
#ifndef SCHEMAS_EXPORT_H
#define SCHEMAS_EXPORT_H

#include "schemas/bytes.h"

enum {
    EXPORT_VERSION = 1,
    EXPORT_PIECES_MAX = 1025,
    EXPORT_NAME_MAX = 400,
    EXPORT_POINT_MAX = 64,
    EXPORT_HEAD_BYTES = 24
};

#define EXPORT_MAGIC "\x89RVRUN\r\n" /* without the NUL */

/* An exported checkpoint. Where it was read the views are lent by the file's bytes. */
struct exported {
    struct view name, point; /* the stream's; of the savepoint, or empty */
    const struct view *pieces;
    size_t piece_count;
};

/* Write it through write, which is called with consecutive bytes. Fails: as write; ERR_LIMIT. */
typedef enum err_code export_write_fn(void *user, const void *data, size_t bytes, struct err *err);
MUST_CHECK enum err_code export_write(const struct exported *e, export_write_fn *write, void *user,
                                      struct err *err);

/* Take a file apart; pieces has room for EXPORT_PIECES_MAX, and *e points to it. Nothing is trusted: a length is
 * held against what is left, a checksum against what it covers.
 * Fails  ERR_INPUT: no export; ERR_VERSION: whole, and of a newer version; ERR_DAMAGED, naming the place */
MUST_CHECK enum err_code export_read(struct view file, struct view *pieces, struct exported *e,
                                     struct err *err);

#endif
