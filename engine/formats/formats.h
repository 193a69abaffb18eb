/* engine/formats/formats.h: model files, whatever their container, as one table of tensors.
 *
 * A container is a read-only map of the file and a table that points into it. Nothing is converted
 * at open: tensors are read row by row as float32 when they are asked for. After container_open the
 * names are canonical, that is BlinkDL's, whatever the file called them.
 *
 * Low-rank  The small matrices of version 7 (att.w1, w2, ...) and all others are [out, in] in
 *           the canonical form. A file that keeps one the other way round has `transposed` set: shape
 *           is the canonical one, and the data is the transpose of it.
 * Decay     Version 4 files of rwkv.cpp hold -exp(time_decay). Such a tensor is called
 *           att.time_decay_done here, so that neither reader nor fingerprint takes one for the other.
 * Hostile   Every count, offset and size is checked against the file before it is used. */
#ifndef ENGINE_FORMATS_FORMATS_H
#define ENGINE_FORMATS_FORMATS_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How numbers are kept: items and bytes of a block. Quantised types are known by size and name, and
 * refused until the table in dtype.c has a decoder for them. Append. */
enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_COUNT
};

/* count values from data, which need not be aligned. count is a multiple of the block's items. */
typedef void dtype_decode_fn(float *out, const uint8_t *data, size_t count);

struct dtype_info {
    const char *name;
    uint32_t items, bytes;   /* of one block */
    dtype_decode_fn *decode; /* NULL: recognised, not supported yet */
};

extern const struct dtype_info dtypes[DTYPE_COUNT];

enum { TENSOR_RANK_MAX = 4, TENSOR_NAME_MAX = 120, TENSORS_MAX = 1 << 16 };

struct tensor {
    const char *name;
    enum dtype dtype;
    bool transposed; /* rank 2: data is [shape[1]][shape[0]] */
    unsigned rank;
    uint64_t shape[TENSOR_RANK_MAX]; /* slowest axis first, each >= 1 */
    uint64_t values;                 /* their product */
    const uint8_t *data;             /* into the map, not aligned */
    uint64_t bytes;
    bool used; /* container_get has lent it: what is left over is unknown */
};

struct container {
    const char *kind; /* "rwkv.cpp", "safetensors" */
    bool converted;   /* as rwkv.cpp's converter leaves tensors, see names.c */
    char *path;
    const uint8_t *map;
    size_t bytes;
    struct tensor *tensors; /* sorted by name, no name twice */
    size_t count, room;
    char **names; /* owned, one for each tensor */
    /* rwkv.cpp's header says these; 0 where the container does not. */
    uint64_t stated_vocab, stated_channels, stated_layers;
};

/* Map the file, read its table, check it. The file must not shrink while it is open.
 * Fails  ERR_SOURCE: cannot be opened or read; ERR_MODEL: no model, damaged, not supported: the text
 *        names the file and what is wrong; ERR_MEMORY. */
MUST_CHECK enum err_code container_open(struct container **out, const char *path, struct err *err);
void container_close(struct container **container);

/* Lent until container_close; NULL where there is none of that name. */
struct tensor *container_find(const struct container *container, const char *name);
/* The same where it must be there, with this shape and a type that can be read. Axes of length 1 do not
 * count, on either side; a 0 in shape stands for any length. The tensor gets the rank asked for and is
 * marked as used.
 * Fails  ERR_MODEL: missing, another shape, a type that is not supported: the text names it */
MUST_CHECK enum err_code container_get(struct container *container, const char *name, unsigned rank,
                                       const uint64_t *shape, const struct tensor **out,
                                       struct err *err);

/* count rows from the first as float32, in canonical order, where a row is everything but the first
 * axis (a tensor of rank 1 is one row). */
void tensor_rows(const struct tensor *tensor, uint64_t first, uint64_t count, float *out);
/* Where a value of one row is: (row, column) in canonical order; F32, F16, BF16 only. */
const uint8_t *tensor_at(const struct tensor *tensor, uint64_t row, uint64_t column);

/* ---- For the readers in this folder. ---- */

/* ERR_MODEL with "model 'PATH': " in front; a long path is shortened from the left. */
enum err_code container_fail(const struct container *c, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Append a tensor called name (bytes long, checked here). Sets values, leaves data and bytes.
 * Fails: ERR_MODEL: name, shape or count; ERR_MEMORY. */
MUST_CHECK enum err_code container_add(struct container *c, const char *name, size_t name_bytes,
                                       enum dtype dtype, unsigned rank, const uint64_t *shape,
                                       struct tensor **out, struct err *err);
/* The bytes that values of dtype take. False where they are not whole blocks or overflow. */
bool dtype_bytes(enum dtype dtype, uint64_t values, uint64_t *bytes);

/* Give all tensors their canonical names and orientation, given how the container keeps them. */
MUST_CHECK enum err_code container_rename(struct container *c, struct err *err);

/* Fill c's table from its map. */
MUST_CHECK enum err_code rwkvcpp_read(struct container *c, struct err *err);
MUST_CHECK enum err_code safetensors_read(struct container *c, struct err *err);

#endif
