#include "stages/emit/sinks/claim.h"

#include "schemas/step.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct claim {
    int fd; /* holds the lock */
    char *path;
    char store[STORE_HEX_BYTES];
    uint64_t epoch;
};

static enum err_code sink_error(const char *verb, const char *path, int cause, struct err *err)
{
    enum err_code other = err_no_descriptor(cause) ? ERR_SYSTEM : ERR_SINK;

    return err_set(err, err_full_or(cause, other), cause, "%s '%s'", verb, path);
}

/* ---- Paths ---- */

static char *path_of(const char *format, const char *folder, const char *name)
    __attribute__((format(printf, 1, 0)));
static char *path_of(const char *format, const char *folder, const char *name)
{
    char *path;

    require(asprintf(&path, format, folder, name) >= 0);
    return path;
}

char *sink_path(const char *folder, const char *name)
{
    return path_of("%s/%s.jsonl", folder, name);
}

char *sidecar_path(const char *folder, const char *name)
{
    return path_of("%s/.riverrun/%s.sidecar", folder, name);
}

enum err_code make_folders(const char *path, struct err *err)
{
    char *folder = strdup(path);
    enum err_code code = ERR_OK;

    require(folder);
    for (char *at = folder + 1; !code && (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(folder, 0777) && errno != EEXIST)
            code = sink_error("make folder", folder, errno, err);
        *at = '/';
    }
    free(folder);
    return code;
}

int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), cause = 0;

    if (fd < 0 || fsync(fd))
        cause = errno;
    if (fd >= 0)
        close(fd);
    return cause;
}

/* ---- A file replaced ---- */

/* Write path.new, sync it, put it in path's place. Its descriptor, locked, is *fd; on failure -1. */
static int replace(const char *path, const char *text, int *fd)
{
    char *fresh = path_of("%s%s", path, ".new");
    size_t bytes = strlen(text);
    ssize_t put;
    int cause = 0;

    *fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) || (put = write(*fd, text, bytes)) < 0 ||
        fsync(*fd))
        cause = errno;
    else if (put != (ssize_t)bytes)
        cause = ENOSPC;
    STEP(emit_sidecar_written);
    if (!cause && rename(fresh, path))
        cause = errno;
    STEP(emit_sidecar_renamed);
    if (cause && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    free(fresh);
    return cause;
}

/* ---- The claim ---- */

static void hex(struct view bytes, char out[STORE_HEX_BYTES])
{
    for (size_t i = 0; i < 16; i++)
        sprintf(out + 2 * i, "%02x", i < bytes.bytes ? bytes.data[i] : 0);
}

bool claim_holds(const struct claim *claim)
{
    struct stat held, named;

    return !fstat(claim->fd, &held) && !stat(claim->path, &named) && held.st_ino == named.st_ino &&
           held.st_dev == named.st_dev;
}

bool claim_is_of(const struct claim *claim, struct view store_id)
{
    char id[STORE_HEX_BYTES];

    hex(store_id, id);
    return !strcmp(id, claim->store);
}

void claim_drop(struct claim **claim)
{
    struct claim *c = *claim;

    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    free(c->path);
    free(c);
    *claim = NULL;
}

/* Open and lock the file at c->path; one that was replaced between the two is opened again. */
static enum err_code lock(struct claim *c, const char *folder, struct err *err)
{
    for (unsigned i = 0; i < 100; i++) {
        c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (c->fd < 0)
            return sink_error("write", c->path, errno, err);
        if (flock(c->fd, LOCK_EX | LOCK_NB))
            break;
        if (claim_holds(c))
            return ERR_OK;
        close(c->fd);
    }
    return err_set(err, ERR_BUSY, 0,
                   "output folder '%s' is in use by another process of this job: stop that one, or "
                   "choose another -o",
                   folder);
}

/* The epoch that the file says; an empty one was just made. */
static enum err_code read_epoch(struct claim *c, struct err *err)
{
    char text[100] = "";
    ssize_t got = pread(c->fd, text, sizeof text - 1, 0);

    if (got == 0 || (got > 0 && sscanf(text, "riverrun-owner 1 epoch %" SCNu64, &c->epoch) == 1))
        return ERR_OK;
    return err_set(err, ERR_SINK, got < 0 ? errno : 0,
                   "'%s' is damaged: remove it if no other process writes to this folder", c->path);
}

static enum err_code raise_epoch(struct claim *c, uint64_t epoch, struct err *err)
{
    char text[100];
    int fd, cause;

    snprintf(text, sizeof text, "riverrun-owner 1\nepoch %" PRIu64 "\n", epoch);
    cause = replace(c->path, text, &fd);
    if (cause)
        return sink_error("write", c->path, cause, err);
    close(c->fd); /* and its lock: the new file's is held already */
    c->fd = fd;
    c->epoch = epoch;
    return ERR_OK;
}

/* The names of the claim, of its folder and of the folder that it stands in. */
static enum err_code sync_names(const char *folder, struct err *err)
{
    char *paths[] = {path_of("%s/%s", folder, ".riverrun"), strdup(folder),
                     path_of("%s/%s", folder, "..")};
    int cause = 0;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        cause = cause ? cause : sync_folder(paths[i]);
        free(paths[i]);
    }
    return cause ? sink_error("sync folder", folder, cause, err) : ERR_OK;
}

static enum err_code claim_open(struct claim **out, const struct sink_owner *owner, struct err *err)
{
    struct claim *c = calloc(1, sizeof *c);
    enum err_code code;

    require(c);
    c->fd = -1;
    hex(owner->store_id, c->store);
    require(asprintf(&c->path, "%s/.riverrun/%s.owner", owner->folder, c->store) >= 0);
    code = make_folders(c->path, err);
    if (!code)
        code = lock(c, owner->folder, err);
    if (!code)
        code = read_epoch(c, err);
    if (code)
        claim_drop(&c);
    *out = c;
    return code;
}

enum err_code claim_take(struct claim **claim, const struct sink_owner *owner, struct err *err)
{
    struct claim *c = *claim;
    bool fresh = !c;
    enum err_code code = ERR_OK;

    if (fresh)
        code = claim_open(&c, owner, err);
    if (!code && c->epoch > owner->epoch)
        code = err_set(
            err, ERR_BUSY, 0,
            "output folder '%s' belongs to a newer run than this store knows of; if the store "
            "is a copy that was put back, `riverrun repair -o DIR` lets it go on",
            owner->folder);
    if (!code && !fresh && !claim_holds(c))
        code = err_set(err, ERR_BUSY, 0, "'%s' was removed while this run wrote: run it again",
                       c->path);
    fresh = fresh || (!code && c->epoch < owner->epoch);
    if (!code && c->epoch < owner->epoch)
        code = raise_epoch(c, owner->epoch, err);
    if (!code && fresh)
        code = sync_names(owner->folder, err);
    if (code && !*claim)
        claim_drop(&c);
    *claim = c;
    return code;
}

/* ---- Sidecars ---- */

enum err_code sidecar_read(const char *folder, const char *name, struct sidecar *side,
                           struct err *err)
{
    char *path = sidecar_path(folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in its place is damage */
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    enum err_code code = ERR_OK;

    *side = (struct sidecar){.there = false};
    if (!file && errno != ENOENT)
        code = sink_error("read", path, errno, err);
    if (file) {
        side->there =
            fscanf(file, "riverrun-sidecar 1 store %32s epoch %" SCNu64 " generation %" SCNu64,
                   side->store, &side->epoch, &side->generation) == 3;
        fclose(file);
        if (!side->there)
            code =
                err_set(err, ERR_SINK, 0,
                        "'%s' is damaged: move it and the output away, or choose another -o", path);
    }
    free(path);
    return code;
}

bool sidecar_is_of(const struct sidecar *side, const struct claim *claim)
{
    return side->there && !strcmp(side->store, claim->store);
}

char *sidecar_text(const struct claim *claim, uint64_t generation)
{
    char *text;

    require(asprintf(&text,
                     "riverrun-sidecar 1\nstore %s\nepoch %" PRIu64 "\ngeneration %" PRIu64 "\n",
                     claim->store, claim->epoch, generation) >= 0);
    return text;
}

int sidecar_write(const char *folder, const char *name, const char *text)
{
    char *path = sidecar_path(folder, name);
    struct err why;
    int fd = -1, cause;

    cause = make_folders(path, &why) ? why.cause : replace(path, text, &fd);
    if (!cause)
        close(fd);
    free(path);
    return cause;
}
