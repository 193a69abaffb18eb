/* store/care.h: looking after a store: is it whole, mend it, make it small. The other half of the
 * contract beside store.h.
 *
 * Threads  one thread calls. Memory: store/README.md. */
#ifndef STORE_CARE_H
#define STORE_CARE_H

#include "store/store.h"

/* One line for people, without its end. */
typedef void store_say_fn(void *user, const char *line);

/* ---- Verify ---- */

struct store_checked {
    uint64_t values, bytes; /* whose checksums were compared */
};

/* Compare every value with its checksum, the pages of each large one, and each checkpoint's parts with
 * its meta value; say what is wrong, one line a value. The tree was checked by the open. In short
 * transactions, so that a living owner is not held up; what it drops meanwhile is not missed.
 * Fails  ERR_DAMAGED: something was said; ERR_SYSTEM */
MUST_CHECK enum err_code store_verify(struct store *store, store_say_fn *say, void *user,
                                      struct store_checked *checked, struct err *err);
/* The same of a journal's environment; ERR_ABSENT where there is none. */
MUST_CHECK enum err_code journal_verify(const char *path, store_say_fn *say, void *user,
                                        struct store_checked *checked, struct err *err);

/* ---- Repair ---- */

/* What became of a stream whose newest checkpoint was lost. Views may be empty: the meta value could not
 * be read; nothing was kept. */
struct store_loss {
    const char *name;
    uint64_t stream, lost, kept; /* numbers; lost 0: not known, kept 0: none */
    struct view lost_meta, kept_meta;
};
typedef void store_loss_fn(void *user, const struct store_loss *loss);

/* What outputs know of a store that wrote them. */
struct store_seen {
    uint8_t id[STORE_ID_BYTES];
    uint64_t epoch; /* the greatest owner epoch */
};

struct store_repair_options {
    bool journal; /* an environment of ingest's: mended only where nothing of it is lost */
    bool dry_run; /* say what would be done */
    /* What outputs know: the owner epoch ends above theirs, and one below theirs is wrong: the store is an
     * older copy; where there is only one, its id is the store's, should the head record be lost; names,
     * for streams whose name is lost. */
    const struct store_seen *seen; /* (seen_count) */
    size_t seen_count;
    const char *const *names; /* (name_count) */
    size_t name_count;
    store_say_fn *say;
    store_loss_fn *lose;
    void *user;
};

struct store_repaired {
    bool needed;           /* something was wrong */
    bool exact;            /* nothing was lost */
    uint64_t values, lost; /* values of the new file; things said to be lost */
    char kept_as[64];      /* the damaged file's name now; "" where it was not there */
};

/* Make a new file of all that is good in the store's file, and put it in its place; the damaged one is
 * kept beside it. A kill at any instant leaves the old file or the new one.
 * Fails  ERR_BUSY: owned; ERR_ABSENT: no store; ERR_VERSION; ERR_DAMAGED: nothing can be made of it;
 *        ERR_FULL, ERR_SYSTEM, ERR_MEMORY: nothing was changed */
MUST_CHECK enum err_code store_repair(const char *path, const struct store_repair_options *options,
                                      struct store_repaired *done, struct err *err);

/* ---- Make small ---- */

/* Drop all but the newest checkpoint of stream. */
MUST_CHECK enum err_code batch_keep_newest(struct store_batch *batch, uint64_t stream,
                                           struct err *err);
/* Copy the store, which is open for write, to a new file without its free pages, and put it in the old
 * one's place; what unfinished copies and repairs left goes. Nothing may be in flight.
 * Fails  ERR_FULL, ERR_SYSTEM, ERR_DAMAGED: the store is as before */
MUST_CHECK enum err_code store_compact(struct store *store, uint64_t *before_bytes,
                                       uint64_t *after_bytes, struct err *err);
MUST_CHECK enum err_code journal_compact(struct journal *journal, uint64_t *before_bytes,
                                         uint64_t *after_bytes, struct err *err);

#endif
