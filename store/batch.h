/* store/batch.h: a batch of writes, filled on one thread and applied on the writer's. */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include "store/env.h"
#include "store/store.h"

enum {
    NOTE_BYTES_MAX = 16 << 20,
    PART_BYTES_MAX = 1 << 30,
};
#define BATCH_BYTES_MAX ((size_t)2 << 30)

enum batch_op_kind { OP_STREAM, OP_NOTE, OP_CHECKPOINT, OP_FORGET };

struct batch_op {
    enum batch_op_kind kind;
    uint64_t stream, number;
    struct view
        *pieces; /* one block of memory with the bytes behind; a checkpoint's first is meta */
    size_t piece_count;
    struct batch_op *next;
};

struct store_batch {
    struct batch_op *first, **end;
    size_t bytes; /* about what it will take in pages */
    void *user;   /* set by submit */
    struct err outcome;
    struct store_batch *next; /* in the queues of writer.c */
};

/* Put all operations of the batch into the transaction: an env_fill_fn of one batch. */
MUST_CHECK int batch_apply(const struct store_batch *batch, struct env_txn *txn, struct err *err);

#endif
