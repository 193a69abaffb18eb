#include "store/fresh.h"

#include "schemas/step.h"
#include "store/page.h"
#include "store/walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMMIT_BYTES = 64 << 20, KEPT_MAX = 1000 };
static const char folder_name[] = "data.new";

static enum err_code fail(const struct fresh *f, int rc, const char *doing, struct err *err)
{
    if (rc > 0)
        return err_set(err, place_code(rc), rc, "%s for '%s'", doing, f->place->path);
    return err_set(err, rc == MDB_MAP_FULL ? ERR_FULL : ERR_SYSTEM, rc, "%s for '%s': %s", doing,
                   f->place->path, mdb_strerror(rc));
}

void fresh_clear(const struct place *place)
{
    int folder = openat(place->folder_fd, folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0)
        return;
    (void)unlinkat(folder, "data.mdb", 0);
    (void)unlinkat(folder, "lock.mdb", 0);
    close(folder);
    (void)unlinkat(place->folder_fd, folder_name, AT_REMOVEDIR);
}

static int open_env(struct fresh *f, size_t bytes)
{
    const unsigned flags = MDB_NOLOCK | MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS;
    size_t map = (2 * bytes + COMMIT_BYTES) / 4096 * 4096;
    int rc = mdb_env_create(&f->mdb);

    if (!rc)
        rc = mdb_env_set_mapsize(f->mdb, map);
    if (!rc)
        rc = mdb_env_open(f->mdb, f->path, flags, 0666);
    if (!rc)
        rc = mdb_txn_begin(f->mdb, NULL, 0, &f->txn);
    if (!rc)
        rc = mdb_dbi_open(f->txn, NULL, 0, &f->dbi);
    return rc;
}

enum err_code fresh_open(struct fresh *f, const struct place *place, size_t bytes, struct err *err)
{
    int rc = 0;

    *f = (struct fresh){.place = place, .folder_fd = -1};
    fresh_clear(place);
    if (asprintf(&f->path, "%s/%s", place->path, folder_name) < 0) {
        f->path = NULL;
        return err_set(err, ERR_MEMORY, 0, "a new file for '%s'", place->path);
    }
    if (mkdirat(place->folder_fd, folder_name, 0777) != 0 && errno != EEXIST)
        rc = errno;
    if (!rc)
        f->folder_fd = openat(place->folder_fd, folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!rc && f->folder_fd < 0)
        rc = errno;
    if (!rc)
        rc = open_env(f, bytes);
    if (!rc)
        return ERR_OK;
    enum err_code code = fail(f, rc, "make a new file", err);
    fresh_close(f);
    return code;
}

static int commit(struct fresh *f, bool last)
{
    int rc = mdb_txn_commit(f->txn);

    f->txn = NULL;
    f->pending = 0;
    if (!rc && !last)
        rc = mdb_txn_begin(f->mdb, NULL, 0, &f->txn);
    return rc;
}

enum err_code fresh_put(struct fresh *f, const void *key, size_t key_bytes, size_t value_bytes,
                        uint8_t **value, struct err *err)
{
    MDB_val name = {key_bytes, (void *)key}, room = {value_bytes, NULL};
    int rc = f->pending > COMMIT_BYTES ? commit(f, false) : 0;

    if (!rc)
        rc = mdb_put(f->txn, f->dbi, &name, &room, MDB_RESERVE | MDB_APPEND);
    if (rc)
        return fail(f, rc, "write a new file", err);
    f->pending += key_bytes + value_bytes;
    *value = room.mv_data;
    return ERR_OK;
}

int fresh_continue(int fd, uint64_t transaction)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t pages[2][META_BYTES];
    struct meta metas[2];
    uint32_t version;

    transaction += transaction == 0;
    for (unsigned i = 0; i < 2; i++) {
        if (pread(fd, pages[i], META_BYTES, (off_t)(i * page_bytes)) != META_BYTES ||
            page_meta(pages[i], i, &metas[i], &version))
            return EIO;
        page_bytes = metas[0].page_bytes;
    }
    const uint8_t *newest = pages[metas[1].transaction > metas[0].transaction];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t at[META_BYTES];
        memcpy(at, pages[i], PAGE_HEADER);
        memcpy(at + PAGE_HEADER, newest + PAGE_HEADER, META_BYTES - PAGE_HEADER);
        store_u64(at + META_TRANSACTION_AT, transaction - ((transaction & 1) != i));
        if (pwrite(fd, at, META_BYTES, (off_t)(i * page_bytes)) != META_BYTES)
            return errno ? errno : EIO;
    }
    return fsync(fd) != 0 ? errno : 0;
}

enum err_code fresh_finish(struct fresh *f, uint64_t transaction, struct err *err)
{
    int rc = commit(f, true), fd = -1;
    bool born = true;

    if (!rc)
        rc = mdb_env_sync(f->mdb, 1);
    mdb_env_close(f->mdb);
    f->mdb = NULL;
    if (!rc) {
        fd = openat(f->folder_fd, "data.mdb", O_RDWR | O_CLOEXEC);
        rc = fd < 0 ? errno : fresh_continue(fd, transaction);
    }
    if (fd >= 0)
        close(fd);
    if (!rc && fsync(f->folder_fd) != 0 && errno != EINVAL)
        rc = errno;
    if (rc)
        return fail(f, rc, "finish a new file", err);
    STEP(repair_written);
    return walk_check(f->folder_fd, "data.mdb", f->path, &born, err);
}

/* The damaged file gets a second name; one that a killed repair gave it is found again. */
static int keep_old(const struct fresh *f, char kept_as[64])
{
    int folder = f->place->folder_fd;
    struct stat old, there;

    kept_as[0] = '\0';
    if (fstatat(folder, "data.mdb", &old, 0) != 0)
        return errno == ENOENT ? 0 : errno;
    for (int n = 1; n < KEPT_MAX; n++) {
        snprintf(kept_as, 64, "data.mdb.damaged-%d", n);
        if (linkat(folder, "data.mdb", folder, kept_as, 0) == 0)
            return fsync(folder) != 0 && errno != EINVAL ? errno : 0;
        if (errno != EEXIST)
            return errno;
        if (fstatat(folder, kept_as, &there, 0) == 0 && there.st_ino == old.st_ino &&
            there.st_dev == old.st_dev)
            return 0;
    }
    return EEXIST;
}

enum err_code fresh_replace(struct fresh *f, char kept_as[64], struct err *err)
{
    int folder = f->place->folder_fd, rc = keep_old(f, kept_as);

    if (rc)
        return fail(f, rc, "keep the damaged file", err);
    STEP(repair_kept);
    if (renameat(f->folder_fd, "data.mdb", folder, "data.mdb") != 0)
        return fail(f, errno, "put a new file in place", err);
    STEP(repair_renamed);
    if (fsync(folder) != 0 && errno != EINVAL)
        return fail(f, errno, "sync the folder", err);
    return ERR_OK;
}

void fresh_close(struct fresh *f)
{
    if (f->txn)
        mdb_txn_abort(f->txn);
    if (f->mdb)
        mdb_env_close(f->mdb);
    if (f->folder_fd >= 0)
        close(f->folder_fd);
    if (f->place)
        fresh_clear(f->place);
    free(f->path);
    *f = (struct fresh){.folder_fd = -1};
}
