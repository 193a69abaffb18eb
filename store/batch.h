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

enum batch_op_kind {
    OP_STREAM,
    OP_NOTE,
    OP_CHECKPOINT,
    OP_SAVEPOINT,
    OP_UNSAVE,
    OP_KEEP,
    OP_FORGET,
    /* of ingest's environment, see spool.c; their first piece is a name */
    OP_APPEND,
    OP_FEED,
    OP_TRIM,
    OP_ENTRY,
    OP_CUT
};

struct batch_op {
    enum batch_op_kind kind;
    uint64_t stream, number; /* OP_APPEND: number is the offset; OP_TRIM: below */
    struct view
        *pieces; /* one block of memory with the bytes behind; a checkpoint's first is meta */
    size_t piece_count;
    struct batch_op *next;
};

struct store_batch {
    struct batch_op *first, **end;
    size_t bytes;        /* about what it will take in pages */
    uint64_t spool_cost; /* at most what it adds to the spool */
    bool frees_alone;    /* it has operations, and all of them make room */
    void *user;          /* set by submit */
    struct err outcome;
    struct store_batch *next; /* in the queues of writer.c */
};

/* Add an operation, its pieces copied. Fails: ERR_LIMIT, ERR_MEMORY. */
MUST_CHECK enum err_code batch_add(struct store_batch *batch, const struct batch_op *what,
                                   struct err *err);

/* points.c: what the two operations on savepoints do to the transaction. */
MUST_CHECK int savepoint_put(const struct batch_op *op, struct env_txn *txn, struct err *err);
MUST_CHECK int savepoint_drop(const struct batch_op *op, struct env_txn *txn, struct err *err);

/* Put all operations of the batch into the transaction: an env_fill_fn of one batch. */
MUST_CHECK int batch_apply(const struct store_batch *batch, struct env_txn *txn, struct err *err);

#endif
