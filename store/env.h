/* store/env.h: one LMDB environment: opened, grown, committed to, and mended after a fault.
 *
 * Use      env_open; env_read_begin .. env_read_end around reads; env_write with a function that fills
 *          the transaction (it may be called several times, each time on a fresh one).
 * Threads  any; writes wait for each other.
 * Memory   what env_get lends lies in the map and ends with the transaction. */
#ifndef STORE_ENV_H
#define STORE_ENV_H

#include "store/head.h"
#include "store/keys.h"
#include "store/place.h"
#include <lmdb.h>
#include <pthread.h>

/* What a fill function and the helpers below return beside 0, errnos (> 0) and MDB_ codes (< -30000):
 * *err says what is wrong. */
enum { ENV_REFUSED = -1 };

struct env {
    struct place place;
    enum env_kind kind;
    bool write;
    pthread_rwlock_t lock; /* read-held by each transaction; write-held to change map or handle */
    MDB_env *mdb;          /* NULL after a fault that closed it: opened again before the next use */
    MDB_dbi dbi;
    size_t page_bytes, map_bytes;
    bool suspect; /* a write or sync failed: copy before the next commit */
    bool unsure;  /* the last env_write failed, and what it wrote may be in the tree */
    uint64_t unsure_sequence;
    struct head head; /* as last committed or read by this handle */
    pthread_mutex_t
        writing; /* held by env_write: the caller's thread and the writer's may both come */
    size_t reserve_bytes; /* see env_options */
    size_t allocated;     /* bytes of the file that the disk has promised, 0 not asked yet */
    uint64_t spool_max;   /* of a spool's cost; set before the first commit that appends */
};

struct env_txn {
    struct env *env;
    MDB_txn *mdb;
    struct head head;
};

struct env_options {
    enum env_kind kind;
    bool write;
    size_t map_bytes; /* first size, 0 is the default */
    /* Bytes of the file kept allocated and unused, so that deleting works when the disk is full: it
     * writes new pages before it frees old ones. 0: none. */
    size_t reserve_bytes;
};

/* As store_open says. For write the owner epoch is raised durably. */
MUST_CHECK enum err_code env_open(struct env **out, const char *path,
                                  const struct env_options *options, struct err *err);
void env_close(struct env **env);

MUST_CHECK enum err_code env_read_begin(struct env *env, struct env_txn *txn, struct err *err);
void env_read_end(struct env_txn *txn);

/* Commit what fill puts into a transaction, durably, or change nothing.
 * about   an estimate of the bytes put, to grow the map in time
 * reserve true: may take what is kept back for deleting
 * Fails   as fill refused; ERR_FULL; ERR_BUSY: a newer owner; ERR_DAMAGED; ERR_SYSTEM; ERR_MEMORY */
typedef int env_fill_fn(void *user, struct env_txn *txn, struct err *err);
MUST_CHECK enum err_code env_write(struct env *env, size_t about, bool reserve, env_fill_fn *fill,
                                   void *user, struct err *err);

/* Where env->unsure: *there says whether it is in the tree. It is durable then, and else it never will be there.
 * Fails: as env_write; it is not known still. */
MUST_CHECK enum err_code env_settle(struct env *env, bool *there, struct err *err);

/* Copy all but free pages to a new file, walk it, put it in the old one's place; *before and *after: bytes
 * of the file. Nothing else may be under way. Fails: as env_write; the environment is as before. */
MUST_CHECK enum err_code env_compact(struct env *env, uint64_t *before, uint64_t *after,
                                     struct err *err);

/* Lend a value's payload, its checksum verified: 0, MDB_NOTFOUND, ENV_REFUSED, other. */
MUST_CHECK int env_get(struct env_txn *txn, const struct key *key, struct view *payload,
                       struct err *err);
/* As env_get, and the pages of a large value as well: what LMDB will believe of them. */
MUST_CHECK int env_check(struct env_txn *txn, const struct key *key, struct view *payload,
                         struct err *err);
/* Store the pieces, joined, as one value. */
MUST_CHECK int env_put(struct env_txn *txn, const struct key *key, const struct view *pieces,
                       size_t piece_count, struct err *err);
MUST_CHECK int env_delete(struct env_txn *txn, const struct key *key, struct err *err);
/* Delete from first up to, not including, last. */
MUST_CHECK int env_delete_range(struct env_txn *txn, const struct key *first,
                                const struct key *last, struct err *err);
/* The first key >= *from (or with before, the last key < *from), into *found: 0, MDB_NOTFOUND, other.
 * Values are not looked at. */
MUST_CHECK int env_seek(struct env_txn *txn, const struct key *from, bool before,
                        struct key *found);

/* The head record of txn: 0, MDB_NOTFOUND where there is none yet, ENV_REFUSED. The version stands
 * first in it and will in every later format. */
MUST_CHECK int env_head_get(struct env_txn *txn, struct err *err);
MUST_CHECK int env_head_put(struct env_txn *txn, struct err *err);

/* A code and a line from what LMDB returned; passes ENV_REFUSED's on. */
enum err_code env_fail(const struct env *env, int rc, const char *doing, struct err *err);

#endif
