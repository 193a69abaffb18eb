/* Repair: what is good in a damaged file goes into a new one. The old file is read only, and kept. There
 * is one way for all damage, of a value, a page of a tree, the free list or a meta page, since a file
 * that is known to be damaged somewhere is not worth another write. */
#include "store/care.h"

#include "store/fresh.h"
#include "store/head.h"
#include "store/place.h"
#include "store/salvage.h"
#include "store/walk.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct repair {
    struct place place;
    struct salvage salvage;
    struct fresh fresh;
    int fd;
};

/* The file; an empty one stands for none where the outputs know the store's id. */
static enum err_code open_file(struct repair *r, const struct store_repair_options *options,
                               struct err *err)
{
    r->fd = openat(r->place.folder_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
    if (r->fd >= 0)
        return ERR_OK;
    if (errno != ENOENT)
        return err_set(err, ERR_SYSTEM, errno, "open '%s/data.mdb'", r->place.path);
    if (options->seen_count != 1)
        return err_set(err, ERR_ABSENT, 0, "there is no store in '%s'", r->place.path);
    r->fd = memfd_create("none", MFD_CLOEXEC);
    return r->fd >= 0 ? ERR_OK : err_set(err, ERR_SYSTEM, errno, "repair '%s'", r->place.path);
}

/* Whether anything is wrong with the file at all. */
static enum err_code look(struct repair *r, const struct store_repair_options *options,
                          bool *needed, struct err *err)
{
    bool born;
    enum err_code code = walk_check(r->place.folder_fd, "data.mdb", r->place.path, &born, err);

    struct err version = *err;
    *needed = code == ERR_DAMAGED || code == ERR_VERSION;
    if (code && !*needed)
        return code;
    bool other_version = code == ERR_VERSION;
    if (!code && !born && options->seen_count != 1)
        return err_set(err, ERR_ABSENT, 0, "there is no store in '%s'", r->place.path);
    code = salvage_gather(&r->salvage, r->fd, r->place.path, err);
    if (!code && other_version && !r->salvage.survey.any) {
        *err = version;
        return ERR_VERSION;
    }
    const struct head_seen *head = &r->salvage.head;
    if (!code && head->format > ENV_FORMAT)
        return err_set(
            err, ERR_VERSION, 0,
            "the store '%s' has format %u, made by a newer version; this one knows up to "
            "%d",
            r->place.path, (unsigned)head->format, ENV_FORMAT);
    *needed = *needed || !born || r->salvage.bad.count || r->salvage.torn_runs ||
              (head->any && head->owner_epoch < salvage_seen(options, head->id));
    return code;
}

static enum err_code write_values(struct repair *r, struct err *err)
{
    const struct copies *chosen = &r->salvage.chosen;
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < chosen->count && !code; i++) {
        const struct copy *copy = chosen->at[i];
        size_t payload = copy->bytes - CHECKSUM_BYTES;
        uint8_t *value;
        code = fresh_put(&r->fresh, copy->key, copy->key_bytes, copy->bytes, &value, err);
        if (code)
            return code;
        if (copy->made)
            memcpy(value, copy->made, copy->bytes);
        else
            scan_read(r->fd, copy->at, value, copy->bytes);
        if (load_u64(value + payload) != copy->checksum ||
            key_checksum(copy_key(copy), value, payload) != copy->checksum)
            code = err_set(err, ERR_SYSTEM, EIO, "read a value of '%s' again", r->place.path);
    }
    return code;
}

static enum err_code write_file(struct repair *r, struct store_repaired *done, struct err *err)
{
    const struct salvage *s = &r->salvage;
    uint64_t bytes = 0;
    enum err_code code;

    for (size_t i = 0; i < s->chosen.count; i++)
        bytes += s->chosen.at[i]->bytes + 8192;
    code = fresh_open(&r->fresh, &r->place, bytes, err);
    if (!code)
        code = write_values(r, err);
    if (!code)
        code = fresh_finish(&r->fresh, s->survey.transaction, err);
    if (!code && !s->survey.newest) /* its count of transactions is not to be trusted */
        (void)unlinkat(r->place.folder_fd, "lock.mdb", 0);
    return code ? code : fresh_replace(&r->fresh, done->kept_as, err);
}

static enum err_code repair(struct repair *r, const struct store_repair_options *options,
                            struct store_repaired *done, struct err *err)
{
    enum err_code code = open_file(r, options, err);

    if (!code)
        code = look(r, options, &done->needed, err);
    if (!code && !done->needed && !options->dry_run)
        fresh_clear(&r->place);
    if (code || !done->needed)
        return code;
    code = salvage_choose(&r->salvage, options, r->place.path, err);
    done->exact = r->salvage.exact;
    done->values = r->salvage.chosen.count;
    done->lost = r->salvage.lost;
    if (code || options->dry_run)
        return code;
    return write_file(r, done, err);
}

enum err_code store_repair(const char *path, const struct store_repair_options *options,
                           struct store_repaired *done, struct err *err)
{
    struct repair r = {.place = place_none(), .salvage = {.scan.fd = -1}, .fd = -1};
    struct stat folder;
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    *done = (struct store_repaired){0};
    r.fresh.folder_fd = -1;
    if (stat(path, &folder) && errno == ENOENT && options->seen_count == 1)
        return err_set(
            err, ERR_ABSENT, 0,
            "there is no store '%s': if it is another folder name it with --store; if it "
            "is lost make an empty folder there and ask again",
            path);
    if (stat(path, &folder))
        return err_set(err, errno == ENOENT ? ERR_ABSENT : ERR_SYSTEM, errno, "open the store '%s'",
                       path);
    code = place_open(&r.place, path, true, err);
    if (!code)
        code = repair(&r, options, done, err);
    salvage_release(&r.salvage);
    fresh_close(&r.fresh);
    if (r.fd >= 0)
        close(r.fd);
    place_close(&r.place);
    return code;
}
