/* store/checkpoint.h: the values of one checkpoint in a transaction, whichever slot they lie in. */
#ifndef STORE_CHECKPOINT_H
#define STORE_CHECKPOINT_H

#include "store/env.h"
#include "store/store.h"

/* Slot 0 holds the checkpoints, each other slot the only one of a savepoint. */
struct where {
    uint64_t stream, number;
    uint32_t slot;
};

/* Copy it out: 0, MDB_NOTFOUND, ENV_REFUSED, other. */
MUST_CHECK int checkpoint_get(struct env_txn *txn, const struct where *where, bool with_parts,
                              struct store_checkpoint **out, struct err *err);
/* Write it where nothing is; the first piece is the caller's meta, the others are the parts. */
MUST_CHECK int checkpoint_put(struct env_txn *txn, const struct where *where,
                              const struct view *pieces, size_t piece_count, struct err *err);

#endif
