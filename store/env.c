/* The life of one environment.
 *
 * A commit is LMDB's: pages are written to unused places, fdatasync, then one of two meta pages is
 * written through a synchronous descriptor. What this file adds:
 *
 *   owner     each open for write raises the owner epoch in the head record; each commit compares. A
 *             process that was stopped, superseded and woken finds a higher one and writes nothing.
 *   growth    the map doubles before it is full, and again if LMDB says that it is full. Changing it
 *             needs that no transaction lives here, hence the read-write lock.
 *   faults    after a failed commit nobody knows by the return code what is in the file: the
 *             environment is opened again and the sequence number in the head tells. After a failed
 *             write or sync other than "no space" the page cache may hold what the disk does not, so
 *             everything is copied to a new file, synced and renamed before the next commit. */
#include "store/env.h"

#include "schemas/step.h"
#include "store/fresh.h"
#include "store/walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ATTEMPTS_MAX = 64, /* of one write: each but the last few doubled the map */
    FAULTS_MAX = 2
};
#define MAP_DEFAULT_BYTES ((size_t)1 << 30)
#define MAP_SLACK_BYTES   ((size_t)256 << 10)
#define MAP_MAX_BYTES     ((size_t)1 << 46)

/* ---- Words ---- */

static bool is_full(int rc)
{
    return rc > 0 && place_code(rc) == ERR_FULL;
}

enum err_code env_fail(const struct env *env, int rc, const char *doing, struct err *err)
{
    const char *path = env->place.path;
    enum err_code code = ERR_SYSTEM;

    if (rc == ENV_REFUSED)
        return err->code;
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID ||
        rc == MDB_CURSOR_FULL || rc == MDB_BAD_TXN || rc == MDB_INCOMPATIBLE ||
        rc == EFAULT) /* a copy of pages that no file has */
        return err_set(err, ERR_DAMAGED, rc, "%s in '%s': %s: " STORE_REMEDY, doing, path,
                       rc == EFAULT ? "a page leads nowhere" : mdb_strerror(rc));
    if (rc == MDB_VERSION_MISMATCH)
        return err_set(err, ERR_VERSION, rc, "%s in '%s': made by another version of LMDB", doing,
                       path);
    if (rc == MDB_TXN_FULL)
        code = ERR_LIMIT;
    else if (rc == MDB_READERS_FULL)
        code = ERR_BUSY;
    else if (rc == MDB_MAP_FULL)
        code = ERR_FULL;
    else if (rc > 0)
        code = place_code(rc);
    if (rc > 0)
        return err_set(err, code, rc, "%s in '%s'", doing, path);
    return err_set(err, code, rc, "%s in '%s': %s", doing, path, mdb_strerror(rc));
}

/* ---- The head record of a new environment ---- */

static enum err_code head_make(struct env_txn *txn, struct err *err)
{
    txn->head = (struct head){.format = ENV_FORMAT, .kind = txn->env->kind, .next_stream = 1};
    if (getrandom(txn->head.id, ENV_ID_BYTES, 0) != ENV_ID_BYTES)
        return err_set(err, ERR_SYSTEM, errno, "make an id for '%s'", txn->env->place.path);
    return ERR_OK;
}

/* ---- The handle and its map. The caller holds env->lock for writing. ---- */

static struct stat file_status(const struct env *env)
{
    struct stat status;

    if (fstatat(env->place.folder_fd, "data.mdb", &status, 0) != 0)
        status = (struct stat){0};
    return status;
}

static int handle_open(struct env *env)
{
    unsigned flags = MDB_NOTLS | (env->write ? 0 : MDB_RDONLY);
    struct stat file = file_status(env);
    size_t used = (size_t)file.st_size;
    MDB_txn *txn = NULL;
    MDB_stat stat;
    int rc = mdb_env_create(&env->mdb);

    if (rc)
        return rc;
    if (env->map_bytes < used + used / 4)
        env->map_bytes = (used + used / 4 + 4095) / 4096 * 4096;
    rc = mdb_env_set_mapsize(env->mdb, env->map_bytes);
    if (!rc)
        rc = mdb_env_open(env->mdb, env->place.path, flags, 0666);
    if (!rc)
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    if (!rc)
        rc = mdb_dbi_open(txn, NULL, 0, &env->dbi);
    if (!rc)
        rc = mdb_txn_commit(txn);
    else if (txn)
        mdb_txn_abort(txn);
    if (!rc)
        rc = mdb_env_stat(env->mdb, &stat);
    if (!rc)
        env->page_bytes = stat.ms_psize;
    /* A file without holes has what it is long. */
    env->allocated = (uint64_t)file.st_blocks * 512 >= used ? used : 0;
    if (rc) {
        mdb_env_close(env->mdb);
        env->mdb = NULL;
    }
    return rc;
}

static int handle_reopen(struct env *env)
{
    if (env->mdb)
        mdb_env_close(env->mdb);
    env->mdb = NULL;
    return handle_open(env);
}

/* A failed resize leaves LMDB without a map, so the handle is opened again at the old size. */
static int map_grow(struct env *env, size_t bytes)
{
    size_t before = env->map_bytes;
    int rc;

    bytes = (bytes + 4095) / 4096 * 4096;
    if (bytes > MAP_MAX_BYTES)
        return MDB_MAP_FULL;
    rc = mdb_env_set_mapsize(env->mdb, bytes);
    if (rc == 0) {
        env->map_bytes = bytes;
        return 0;
    }
    env->map_bytes = before;
    (void)handle_reopen(env); /* a failure here is met again, and told, at the next use */
    return rc;
}

/* Another process grew the map: take its size. */
static int map_follow(struct env *env)
{
    MDB_envinfo info;
    int rc = mdb_env_set_mapsize(env->mdb, 0);

    if (rc)
        return handle_reopen(env);
    mdb_env_info(env->mdb, &info);
    env->map_bytes = info.me_mapsize;
    return 0;
}

/* ---- After a fault ---- */

/* A compact copy has no free pages, and counts transactions anew: it is made to go on (fresh.h). */
static int copy_to(struct env *env, int fd, bool compact)
{
    MDB_envinfo info;
    int rc = mdb_env_copyfd2(env->mdb, fd, compact ? MDB_CP_COMPACT : 0);

    if (!rc && fsync(fd) != 0)
        rc = errno;
    if (rc || !compact)
        return rc;
    mdb_env_info(env->mdb, &info);
    return fresh_continue(fd, info.me_last_txnid);
}

/* Copy all to a new file, sync it, put it in the place of the old one. */
static int renew_file(struct env *env, bool compact, struct err *err)
{
    int folder = env->place.folder_fd;
    int fd = openat(folder, "data.copy", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc;

    if (fd < 0)
        return errno;
    rc = copy_to(env, fd, compact);
    close(fd);
    if (!rc && compact) {
        bool born;
        if (walk_check(folder, "data.copy", env->place.path, &born, err))
            rc = ENV_REFUSED;
        STEP(gc_copied);
    }
    if (!rc && (renameat(folder, "data.copy", folder, "data.mdb") != 0 || fsync(folder) != 0))
        rc = errno;
    if (rc)
        (void)unlinkat(folder, "data.copy", 0);
    else
        env->suspect = false;
    if (!rc && compact)
        STEP(gc_renamed);
    env->allocated = 0;
    /* The handle still maps the old file if the rename happened. */
    int reopened = handle_reopen(env);
    return rc ? rc : reopened;
}

/* Bytes in pages of the file that no tree has: the entries of the free list begin with their count. */
static size_t free_bytes(struct env *env)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    size_t pages = 0;

    if (mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn))
        return 0;
    if (mdb_cursor_open(txn, 0, &cursor) == 0)
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
            pages += load_u64(value.mv_data);
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return pages * env->page_bytes;
}

/* Before about bytes are added: is there room for them, and for the reserve behind them? What was freed
 * within the file counts where the disk gives no more. A file system that cannot promise room promises
 * nothing, and the reserve is then what chance leaves. */
static int keep_reserve(struct env *env, size_t about)
{
    MDB_envinfo info;
    int fd;

    if (!env->reserve_bytes)
        return 0;
    mdb_env_info(env->mdb, &info);
    size_t used = (info.me_last_pgno + 1) * env->page_bytes;
    size_t wanted = used + about + env->reserve_bytes;
    if (wanted <= env->allocated)
        return 0;
    if (mdb_env_get_fd(env->mdb, &fd))
        return EINVAL;
    if (fallocate(fd, 0, 0, (off_t)(wanted + env->reserve_bytes)) == 0)
        wanted += env->reserve_bytes;
    else if (fallocate(fd, 0, 0, (off_t)wanted) != 0) {
        int cause = errno;
        if (!is_full(cause))
            return 0;
        size_t left = used < env->allocated ? env->allocated - used : 0;
        return left + free_bytes(env) >= 2 * about + env->reserve_bytes ? 0 : cause;
    }
    env->allocated = wanted;
    return 0;
}

/* Make the environment fit for a transaction of about that many bytes. */
static enum err_code make_ready(struct env *env, size_t about, bool reserve, struct err *err)
{
    MDB_envinfo info;
    int rc = 0;

    pthread_rwlock_wrlock(&env->lock);
    if (!env->mdb)
        rc = handle_open(env);
    if (!rc && env->suspect)
        rc = renew_file(env, false, err);
    if (!rc && !reserve)
        rc = keep_reserve(env, about);
    if (!rc) {
        mdb_env_info(env->mdb, &info);
        size_t used = (info.me_last_pgno + 1) * env->page_bytes;
        size_t wanted = used + about + about / 4 + MAP_SLACK_BYTES;
        if (wanted > env->map_bytes) {
            int dead;
            /* One who looked and was killed would keep pages from being used again. */
            (void)mdb_reader_check(env->mdb, &dead);
            rc = map_grow(env, wanted > 2 * env->map_bytes ? wanted : 2 * env->map_bytes);
        }
    }
    pthread_rwlock_unlock(&env->lock);
    return rc ? env_fail(env, rc, "prepare a commit", err) : ERR_OK;
}

enum err_code env_compact(struct env *env, uint64_t *before, uint64_t *after, struct err *err)
{
    int rc = 0;

    require(env->write);
    fresh_clear(&env->place);
    pthread_rwlock_wrlock(&env->lock);
    if (!env->mdb)
        rc = handle_open(env);
    *before = (uint64_t)file_status(env).st_size;
    if (!rc)
        rc = renew_file(env, true, err);
    *after = (uint64_t)file_status(env).st_size;
    pthread_rwlock_unlock(&env->lock);
    return rc ? env_fail(env, rc, "make a compact copy", err) : ERR_OK;
}

/* Whether data.mdb is another file than the one that is mapped, or none: an owner put a copy in its place, or somebody
 * took it away. What is written to it then goes where nobody finds it. */
static bool file_moved(const struct env *env)
{
    struct stat ours, named;
    int fd;

    if (mdb_env_get_fd(env->mdb, &fd) || fstat(fd, &ours) != 0)
        return false;
    if (fstatat(env->place.folder_fd, "data.mdb", &named, 0) != 0)
        return errno == ENOENT;
    return named.st_ino != ours.st_ino || named.st_dev != ours.st_dev;
}

/* ---- Reading ---- */

static int read_once(struct env *env, struct env_txn *txn)
{
    /* An owner that copied to a new file leaves those who look with the old one. */
    int rc = env->mdb && (env->write || !file_moved(env)) ? 0 : MDB_PANIC;

    *txn = (struct env_txn){.env = env};
    if (!rc)
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn->mdb);
    return rc;
}

enum err_code env_read_begin(struct env *env, struct env_txn *txn, struct err *err)
{
    int rc = 0;

    for (int attempt = 0; attempt < 8; attempt++) {
        pthread_rwlock_rdlock(&env->lock);
        rc = read_once(env, txn);
        if (!rc)
            return ERR_OK;
        pthread_rwlock_unlock(&env->lock);
        if (rc != MDB_MAP_RESIZED && rc != MDB_PANIC)
            break;
        pthread_rwlock_wrlock(&env->lock);
        rc = rc == MDB_PANIC ? handle_reopen(env) : map_follow(env);
        pthread_rwlock_unlock(&env->lock);
        if (rc)
            break;
    }
    return env_fail(env, rc, "begin to read", err);
}

void env_read_end(struct env_txn *txn)
{
    if (!txn->mdb)
        return;
    mdb_txn_abort(txn->mdb);
    txn->mdb = NULL;
    pthread_rwlock_unlock(&txn->env->lock);
}

/* ---- Writing ---- */

struct writing {
    env_fill_fn *fill;
    void *user;
    bool raise;      /* this transaction takes ownership */
    bool reserve;    /* it may take what is kept back */
    bool committing; /* what failed is the commit: its outcome is not known yet */
    uint64_t found;  /* sequence of the head before it */
    struct head head;
};

static int fill_head(struct env_txn *txn, struct writing *w, struct err *err)
{
    struct env *env = txn->env;
    int rc = env_head_get(txn, err);

    if (rc == MDB_NOTFOUND && w->raise)
        rc = head_make(txn, err) ? ENV_REFUSED : 0;
    else if (rc == MDB_NOTFOUND)
        rc = MDB_CORRUPTED;
    if (rc)
        return rc;
    if (w->raise) {
        txn->head.owner_epoch++;
        txn->head.format = ENV_FORMAT; /* what is written from now on is of this one */
    }
    if (!w->raise && txn->head.owner_epoch != env->head.owner_epoch) {
        err_set(err, ERR_BUSY, 0,
                "the store '%s' belongs to a newer run (owner epoch %llu, ours is %llu): nothing "
                "was written",
                env->place.path, (unsigned long long)txn->head.owner_epoch,
                (unsigned long long)env->head.owner_epoch);
        return ENV_REFUSED;
    }
    if (file_moved(env)) {
        err_set(err, ERR_SYSTEM, 0,
                "the store '%s' was removed or replaced while it was in use: nothing more is "
                "written; put it back, or begin again with --restart",
                env->place.path);
        return ENV_REFUSED;
    }
    w->found = txn->head.sequence++;
    return 0;
}

static int write_once(struct env *env, struct writing *w, struct err *err)
{
    struct env_txn txn = {.env = env};
    int rc;

    w->committing = false;
    rc = mdb_txn_begin(env->mdb, NULL, 0, &txn.mdb);
    if (rc)
        return rc;
    rc = fill_head(&txn, w, err);
    if (!rc && w->fill)
        rc = w->fill(w->user, &txn, err);
    if (!rc)
        rc = env_head_put(&txn, err);
    if (rc) {
        mdb_txn_abort(txn.mdb);
        return rc;
    }
    w->head = txn.head;
    w->committing = true;
    STEP(store_commit_begin);
    rc = mdb_txn_commit(txn.mdb);
    if (!rc)
        STEP(store_commit_end);
    return rc;
}

/* Whether the transaction whose commit failed is in the file after all. */
static int look_again(struct env *env, const struct writing *w, bool *there, struct err *err)
{
    struct env_txn txn = {.env = env};
    int rc = handle_reopen(env);

    *there = false;
    if (!rc)
        rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn.mdb);
    if (rc)
        return rc;
    rc = env_head_get(&txn, err);
    if (rc == 0)
        *there = txn.head.sequence == w->head.sequence &&
                 txn.head.owner_epoch == w->head.owner_epoch &&
                 memcmp(txn.head.id, w->head.id, ENV_ID_BYTES) == 0;
    mdb_txn_abort(txn.mdb);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* LMDB says EIO where a write was cut short, which is how a disk (or a file size limit) often tells
 * that it is full. So ask for room: that many bytes behind the end of the data, in a scratch file. */
static int ask_for_room(const struct env *env, size_t bytes)
{
    int folder = env->place.folder_fd, failed;
    int fd = openat(folder, "data.copy", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0)
        return errno;
    failed = posix_fallocate(fd, file_status(env).st_size, (off_t)(bytes + MAP_SLACK_BYTES));
    close(fd);
    (void)unlinkat(folder, "data.copy", 0);
    return failed;
}

/* A commit failed with rc. ERR_OK: it is there and durable; ERR_STOPPED: write it again.
 *
 * No space is no reason to distrust the disk, and a copy would find no space either: what the failed
 * transaction wrote lies in pages that no tree has, and is written anew before a tree gets them. */
static enum err_code after_fault(struct env *env, const struct writing *w, int rc, size_t about,
                                 struct err *err)
{
    struct err fault, later;
    enum err_code code;
    bool there;

    pthread_rwlock_wrlock(&env->lock);
    int looked = look_again(env, w, &there, &later);
    pthread_rwlock_unlock(&env->lock);
    if (rc == EIO && !looked && !there) {
        int asked = ask_for_room(env, about);
        rc = is_full(asked) ? asked : rc;
    }
    code = env_fail(env, rc, "commit", err);
    fault = *err;
    if (is_full(rc) && !looked && !there)
        return code;
    env->suspect = true;
    if (looked || make_ready(env, 0, true, &later)) {
        env->unsure = looked || there;
        env->unsure_sequence = w->head.sequence;
        *err = fault;
        return code;
    }
    return there ? ERR_OK : ERR_STOPPED;
}

static enum err_code write_all(struct env *env, size_t about, struct writing *w, struct err *err)
{
    int rc = 0, faults = 0;
    size_t room = about; /* wanted in the map */

    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        enum err_code code = make_ready(env, room, w->reserve, err);
        if (code)
            return code;
        pthread_rwlock_rdlock(&env->lock);
        rc = write_once(env, w, err);
        pthread_rwlock_unlock(&env->lock);
        if (rc == 0) {
            env->head = w->head;
            return ERR_OK;
        }
        if (rc == MDB_MAP_FULL)
            room = env->map_bytes;
        else if (rc == MDB_MAP_RESIZED || (rc == MDB_PANIC && !w->committing)) {
            pthread_rwlock_wrlock(&env->lock);
            rc = rc == MDB_PANIC ? handle_reopen(env) : map_follow(env);
            pthread_rwlock_unlock(&env->lock);
        } else if (w->committing) {
            code = after_fault(env, w, rc, about, err);
            if (code == ERR_OK)
                env->head = w->head;
            if (code != ERR_STOPPED || ++faults == FAULTS_MAX)
                return code == ERR_STOPPED ? err->code : code;
        } else
            break;
    }
    return env_fail(env, rc, "write", err);
}

enum err_code env_write(struct env *env, size_t about, bool reserve, env_fill_fn *fill, void *user,
                        struct err *err)
{
    struct writing w = {.fill = fill, .user = user, .reserve = reserve};
    struct err mine;
    enum err_code code;

    require(env->write);
    pthread_mutex_lock(&env->writing);
    env->unsure = false;
    code = write_all(env, about, &w, err ? err : &mine);
    pthread_mutex_unlock(&env->writing);
    return code;
}

enum err_code env_settle(struct env *env, bool *there, struct err *err)
{
    struct writing w = {.reserve = true}; /* nothing but a new head, behind whatever is there */
    uint64_t sequence = env->unsure_sequence;
    enum err_code code;

    pthread_mutex_lock(&env->writing);
    code = write_all(env, 0, &w, err);
    env->unsure = code != ERR_OK;
    pthread_mutex_unlock(&env->writing);
    *there = !code && w.found == sequence;
    return code;
}

/* ---- Open and close ---- */

static enum err_code take_ownership(struct env *env, struct err *err)
{
    struct writing w = {.raise = true, .reserve = true};
    enum err_code code = write_all(env, 0, &w, err);

    if (!code && fsync(env->place.folder_fd) != 0 && errno != EINVAL)
        code = err_set(err, ERR_SYSTEM, errno, "sync the folder '%s'", env->place.path);
    if (!code)
        STEP_AT(store_epoch_raised, 0, env->head.owner_epoch);
    return code;
}

static enum err_code read_head(struct env *env, struct err *err)
{
    struct env_txn txn;
    enum err_code code = env_read_begin(env, &txn, err);
    int rc;

    if (code)
        return code;
    rc = env_head_get(&txn, err);
    if (rc == 0)
        env->head = txn.head;
    env_read_end(&txn);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_ABSENT, 0, "the store '%s' is empty", env->place.path);
    return rc ? env_fail(env, rc, "read the head record", err) : ERR_OK;
}

static enum err_code open_files(struct env *env, struct err *err)
{
    bool born;
    int dead, rc;
    enum err_code code = walk_check(env->place.folder_fd, "data.mdb", env->place.path, &born, err);

    if (code)
        return code;
    if (!env->write && !born)
        return err_set(err, ERR_ABSENT, 0, "there is no store in '%s'", env->place.path);
    if (env->write && !born)
        (void)unlinkat(env->place.folder_fd, "data.mdb", 0);
    if (env->write)
        (void)unlinkat(env->place.folder_fd, "data.copy", 0);
    rc = handle_open(env);
    if (rc)
        return env_fail(env, rc, "open the environment", err);
    if (!env->write)
        return read_head(env, err);
    rc = mdb_reader_check(env->mdb, &dead);
    if (rc)
        return env_fail(env, rc, "clear stale readers", err);
    return take_ownership(env, err);
}

enum err_code env_open(struct env **out, const char *path, const struct env_options *options,
                       struct err *err)
{
    enum err_code code;
    struct err mine;
    struct env *env = calloc(1, sizeof *env);

    err = err ? err : &mine;
    if (!env)
        return err_set(err, ERR_MEMORY, 0, "open the store '%s'", path);
    env->kind = options->kind;
    env->write = options->write;
    env->map_bytes = options->map_bytes ? options->map_bytes : MAP_DEFAULT_BYTES;
    env->map_bytes = (env->map_bytes + 4095) / 4096 * 4096;
    env->place = place_none();
    env->reserve_bytes = options->reserve_bytes;
    env->spool_max = UINT64_MAX;
    pthread_rwlock_init(&env->lock, NULL);
    pthread_mutex_init(&env->writing, NULL);
    code = place_open(&env->place, path, options->write, err);
    if (!code)
        code = open_files(env, err);
    if (code && !env->write && err->cause == EACCES)
        code = err_set(err, ERR_SYSTEM, EACCES,
                       "look into the store '%s': be its user, or get permission to read it (the "
                       "folder, data.mdb) and to write lock.mdb in it",
                       path);
    if (code)
        env_close(&env);
    else
        *out = env;
    return code;
}

void env_close(struct env **env)
{
    if (!*env)
        return;
    if ((*env)->mdb)
        mdb_env_close((*env)->mdb);
    place_close(&(*env)->place);
    pthread_rwlock_destroy(&(*env)->lock);
    pthread_mutex_destroy(&(*env)->writing);
    free(*env);
    *env = NULL;
}
