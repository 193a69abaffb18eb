/* engine/formats/write.h: a safetensors file from tensors that are asked for row by row.
 *
 * Promise  The file appears whole or not at all (schemas/outfile.h); the same plan gives the same bytes.
 *          Wide types stand first, so that every tensor is aligned to its type. Memory is a buffer of rows
 *          and the header, whatever the size of the tensors. */
#ifndef ENGINE_FORMATS_WRITE_H
#define ENGINE_FORMATS_WRITE_H

#include "engine/formats/formats.h"

/* count rows from the first, as tensor_rows has them: a row is everything but the first axis, and a tensor of
 * rank 1 is one row. */
typedef void write_rows_fn(const void *self, uint64_t first, uint64_t count, float *out);

struct write_tensor {
    const char *name; /* no two alike */
    enum dtype dtype; /* DTYPE_F32, DTYPE_F16, DTYPE_BF16 */
    unsigned rank;
    uint64_t shape[TENSOR_RANK_MAX];
    write_rows_fn *rows;
    const void *self;
};

/* Goes into "__metadata__"; UTF-8. */
struct write_text {
    const char *key, *value;
};

struct write_plan {
    const struct write_tensor *tensors;
    size_t count;
    const struct write_text *texts;
    size_t text_count;
};

struct write_report {
    uint64_t bytes;      /* of the file */
    uint64_t vanished;   /* values other than 0 that the type rounds to 0 */
    uint64_t not_finite; /* NaN and infinities, kept as such */
};

/* Values are rounded to the nearest, ties to even. One that is finite and has no finite neighbour in its type
 * is refused, after all were looked at: the text names the first tensor and counts the values.
 * Fails  ERR_SINK, ERR_FULL; ERR_LIMIT: values beyond a type; ERR_INPUT: a text is not UTF-8; ERR_MEMORY.
 *        What stood under path is as it was. */
MUST_CHECK enum err_code safetensors_write(const char *path, const struct write_plan *plan,
                                           struct write_report *report, struct err *err);

#endif
