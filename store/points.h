/* store/points.h: savepoints inside a transaction. A name leads to a slot, the slot holds one checkpoint. */
#ifndef STORE_POINTS_H
#define STORE_POINTS_H

#include "store/checkpoint.h"

/* Where a savepoint lies: 0, MDB_NOTFOUND, ENV_REFUSED, other. */
MUST_CHECK int point_find(struct env_txn *txn, uint64_t stream, const char *name,
                          struct where *where, struct err *err);
/* The first savepoint of stream at or behind *at, which becomes its key; name has room for STORE_POINT_MAX
 * characters. 0, MDB_NOTFOUND, other. */
MUST_CHECK int point_next(struct env_txn *txn, uint64_t stream, struct key *at, char *name);

#endif
