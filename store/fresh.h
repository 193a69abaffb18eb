/* store/fresh.h: a new file for an environment, made beside the old one and put in its place.
 *
 * A new file goes on counting transactions where the old one was, and both its meta pages show the same
 * tree: who looks at the store while it is replaced may keep the number of the old file's last
 * transaction in lock.mdb, and LMDB takes from it which of the two meta pages to believe. */
#ifndef STORE_FRESH_H
#define STORE_FRESH_H

#include "store/place.h"
#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

struct fresh {
    const struct place *place;
    char *path; /* STORE/data.new, a folder */
    int folder_fd;
    MDB_env *mdb;
    MDB_txn *txn;
    MDB_dbi dbi;
    size_t pending; /* bytes put and not committed */
};

/* bytes: about what will be put. Fails: ERR_FULL, ERR_SYSTEM, ERR_MEMORY. */
MUST_CHECK enum err_code fresh_open(struct fresh *fresh, const struct place *place, size_t bytes,
                                    struct err *err);
/* The next key, greater than those before; *value is to be filled before the next call. */
MUST_CHECK enum err_code fresh_put(struct fresh *fresh, const void *key, size_t key_bytes,
                                   size_t value_bytes, uint8_t **value, struct err *err);
/* Make it durable, and walk it. Fails: as above; ERR_DAMAGED: what was put does not make a store. */
MUST_CHECK enum err_code fresh_finish(struct fresh *fresh, uint64_t transaction, struct err *err);
/* Put it in the place of data.mdb, which is kept as data.mdb.damaged-N; kept_as is "" where none was. */
MUST_CHECK enum err_code fresh_replace(struct fresh *fresh, char kept_as[64], struct err *err);
/* Removes what was not put in place. Takes half-opened ones. */
void fresh_close(struct fresh *fresh);
/* What a killed run left of one. */
void fresh_clear(const struct place *place);

/* Let file fd, of an environment that nobody has open, go on behind transaction. Fails: an errno. */
int fresh_continue(int fd, uint64_t transaction);

#endif
