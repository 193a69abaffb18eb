/* stages/emit/vectors.h: the embeddings in a folder of records, as an array that other programs read.
 *
 * The vectors travel in the records, so they are exactly once as records are; the array is made of them, and can be
 * made again at any time: the same records give the same bytes. Row by row float32 of length 1, in numpy's format,
 * and beside it a table that says which unit each row is of. All rows together are whitened (whitening.h), so a row
 * depends on what else is in the folder; raw rows are for those who compare folders. */
#ifndef STAGES_EMIT_VECTORS_H
#define STAGES_EMIT_VECTORS_H

#include "schemas/bytes.h"
#include "schemas/err.h"

enum { VECTORS_DIMENSIONS_MAX = 8192 };

/* A record's text as numbers; returns how many, 0 where the text is no base64 or has too many for room. */
size_t vectors_decode(struct view text, int8_t *out, size_t room);
/* The same with length 1 (all zero: 0). */
size_t vectors_direction(struct view text, double *out, size_t room);

struct vectors_options {
    const char *folder; /* with the records */
    const char *array;  /* path of the .npy */
    const char *index;  /* path of the table, its fields apart by tabs */
    bool raw;           /* not whitened */
};

struct vectors_made {
    uint64_t rows, dimensions;
    uint64_t without; /* units that have none */
};

/* Fails  ERR_ABSENT: no records, or no vectors in them; ERR_SINK: a record is damaged, or two have vectors of
 *        different models; a file cannot be written, or is none of these; ERR_FULL, ERR_MEMORY. */
MUST_CHECK enum err_code vectors_export(const struct vectors_options *options,
                                        struct vectors_made *made, struct err *err);

#endif
