/* engine/formats/pickle.h: what a PyTorch pickle says about tensors, and nothing else that it says.
 *
 * A pickle is a program. This machine runs the instructions that files of weights consist of and knows the
 * handful of symbols that build tensors; any other symbol means that the file wants to run code, and is
 * refused by its name. Nothing is ever called.
 *
 * Memory  at most PICKLE_MEMORY_LEAST + PICKLE_MEMORY_FACTOR times the pickle's bytes, half as much again
 *         while a table moves. Strings are lent from the pickle, never copied.
 * Time    linear in the pickle's bytes: no instruction looks into what it is given, so neither nesting
 *         nor cycles nor a value that stands in itself a thousand times cost anything. */
#ifndef ENGINE_FORMATS_PICKLE_H
#define ENGINE_FORMATS_PICKLE_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"

enum {
    PICKLE_BYTES_MAX = 8 << 20, /* a thousand layers take 4 MB */
    PICKLE_MEMORY_FACTOR = 32,
    PICKLE_MEMORY_LEAST = 64 << 10
};

/* A tensor of the top dictionary: a window on a storage, which is another member of the file. Nothing in it has been
 * compared with the storage's bytes: that takes the file. */
struct pickle_tensor {
    struct view name;        /* lent from the pickle, any bytes */
    struct view storage;     /* the storage's key, likewise */
    uint64_t storage_values; /* that the pickle says it has */
    enum dtype dtype;
    uint64_t first; /* value of the storage */
    unsigned rank;  /* 1..TENSOR_RANK_MAX; a single number has shape [1] */
    uint64_t shape[TENSOR_RANK_MAX], stride[TENSOR_RANK_MAX]; /* any size, in values */
};

/* Run the pickle and list the tensors of its top dictionary, or of the one in it called `state_dict`. Numbers,
 * strings and other values there are no weights and are left out.
 * out     (count) malloc'ed, the caller's to free; NULL where there are none. Untouched on failure.
 * c       for the path in messages
 * Fails   ERR_MODEL: no pickle of weights: the text says what and where; ERR_MEMORY. */
MUST_CHECK enum err_code pickle_read(struct pickle_tensor **out, size_t *count, struct view pickle,
                                     const struct container *c, struct err *err);

#endif
