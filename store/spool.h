/* store/spool.h: ingest's environment from inside: the handle, and what a batch does to queues. */
#ifndef STORE_SPOOL_H
#define STORE_SPOOL_H

#include "store/batch.h"
#include "store/writer.h"

/* Deleting writes a path of pages and a list of what it freed before it frees them. */
enum { SPOOL_RESERVE_BYTES = 1 << 20 };

struct journal {
    uint8_t id[ENV_ID_BYTES]; /* as it was opened: the writer's thread replaces env->head */
    struct env *env;
    struct writer *writer;
    uint64_t used, in_flight; /* cost: as committed, of batches submitted and not collected */
};

/* The thread and the sums of a journal whose environment is open. */
MUST_CHECK enum err_code spool_start(struct journal *journal, struct err *err);

/* One operation of a batch in a transaction: 0, ENV_REFUSED, other. */
MUST_CHECK int spool_apply(const struct batch_op *op, struct env_txn *txn, struct err *err);

/* An entry of a topic, in journal.c. */
MUST_CHECK int journal_put(struct env_txn *txn, const char *topic, struct view entry,
                           struct err *err);
/* Drop the entries of a topic below number, in journal.c. */
MUST_CHECK int journal_cut(struct env_txn *txn, const char *topic, uint64_t number,
                           struct err *err);

#endif
