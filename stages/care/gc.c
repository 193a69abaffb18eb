/* Making small: older checkpoints of what is finished go, the store and ingest's environment are copied without their
 * free pages, and what killed runs left behind is removed. Each step is one transaction or one rename, so a kill
 * leaves a store that is whole, larger or smaller. */
#include "stages/care/care.h"

#include "schemas/control.h"
#include "store/care.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH_STREAMS = 1000 };

struct cleaning {
    const struct care_options *options;
    struct care_cleaned *done;
    struct store *store;
    uint64_t *finished; /* (count) streams that hold more than they need */
    size_t count, room;
};

static void say(const struct cleaning *c, const char *thing, const char *text)
{
    if (c->options->say)
        c->options->say(c->options->user, CARE_NOTE, thing, text);
}

/* ---- Finished streams ---- */

/* Whether the newest checkpoint is whole and the last of its stream, and older ones lie behind it. */
static bool is_spare(struct cleaning *c, uint64_t stream, size_t *older)
{
    struct store_checkpoint *values = NULL;
    uint64_t numbers[STORE_KEEP];
    size_t count;
    bool finished = false;

    if (store_checkpoints(c->store, stream, numbers, &count, NULL) || count < 2 ||
        store_checkpoint_read(c->store, stream, numbers[0], true, &values, NULL))
        return false;
    Riverrun__Checkpoint *meta =
        riverrun__checkpoint__unpack(NULL, values->meta.bytes, values->meta.data);
    if (meta) {
        finished = meta->finished;
        riverrun__checkpoint__free_unpacked(meta, NULL);
    }
    store_checkpoint_free(&values);
    *older = count - 1;
    return finished;
}

static bool list_finished(void *user, const char *name, uint64_t stream)
{
    struct cleaning *c = user;
    size_t older;

    (void)name;
    if (!is_spare(c, stream, &older))
        return true;
    if (c->count == c->room) {
        c->room = c->room ? 2 * c->room : 64;
        c->finished = realloc(c->finished, c->room * sizeof *c->finished);
    }
    require(c->finished);
    c->finished[c->count++] = stream;
    c->done->checkpoints += older;
    return true;
}

static enum err_code drop_older(struct cleaning *c, size_t first, struct err *err)
{
    struct store_batch *batch = NULL;
    enum err_code code = store_batch_open(&batch, err);
    void *user;

    for (size_t i = first; !code && i < c->count && i < first + BATCH_STREAMS; i++)
        code = batch_keep_newest(batch, c->finished[i], err);
    if (code) {
        store_batch_close(&batch);
        return code;
    }
    store_submit(c->store, &batch, NULL);
    require(store_collect(c->store, true, &user, err));
    return err->code;
}

static enum err_code clean_streams(struct cleaning *c, struct err *err)
{
    enum err_code code = store_each(c->store, list_finished, c, err);

    for (size_t i = 0; !code && i < c->count; i += BATCH_STREAMS)
        code = drop_older(c, i, err);
    return code;
}

/* ---- What killed runs left in the output folder ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), tail = strlen(end);
    return bytes > tail && !strcmp(name + bytes - tail, end);
}

/* What is made in the output folder without being named by somebody. Parts of other files may be anybody's. */
static bool is_ours(const char *name, size_t bytes)
{
    static const char *const made[] = {"report.html", "embeddings.npy", "embeddings.npy.tsv"};

    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (strlen(made[i]) == bytes && !memcmp(made[i], name, bytes))
            return true;
    return false;
}

/* NAME.PID.part (schemas/outfile.h) of ours and of a process that is no more. */
static bool is_abandoned(const char *name)
{
    const char *end = name + strlen(name) - strlen(".part"), *at = end;

    if (!ends_with(name, ".part"))
        return false;
    while (at > name && isdigit((unsigned char)at[-1]))
        at--;
    if (at == end || at == name || at[-1] != '.' || end - at > 9 ||
        !is_ours(name, (size_t)(at - 1 - name)))
        return false;
    return kill((pid_t)atol(at), 0) != 0 && errno == ESRCH;
}

/* A file that is being replaced is locked by who does it (emit/sinks/claim.c). */
static bool is_free(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a pipe */
    bool unlocked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;

    if (fd >= 0)
        close(fd);
    return unlocked;
}

static void clean_folder(struct cleaning *c, const char *path, bool sidecars)
{
    DIR *directory = opendir(path);

    if (!directory)
        return;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        const char *name = entry->d_name;
        int folder = dirfd(directory);
        struct stat status;
        bool left = sidecars ? (ends_with(name, ".sidecar.new") || ends_with(name, ".owner.new")) &&
                                   is_free(folder, name)
                             : is_abandoned(name);
        if (left && fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode) && unlinkat(folder, name, 0) == 0) {
            c->done->removed++;
            say(c, name, "removed, a killed run left it");
        }
    }
    closedir(directory);
}

static void clean_outputs(struct cleaning *c)
{
    char *hidden;

    if (!c->options->output)
        return;
    require(asprintf(&hidden, "%s/.riverrun", c->options->output) >= 0);
    clean_folder(c, hidden, true);
    clean_folder(c, c->options->output, false);
    free(hidden);
}

/* ---- All ---- */

static bool is_there(const char *folder)
{
    struct stat status;
    char *path;
    bool there;

    require(asprintf(&path, "%s/data.mdb", folder) >= 0);
    there = stat(path, &status) == 0 && status.st_size > 0;
    free(path);
    return there;
}

static enum err_code clean_feed(struct cleaning *c, struct err *err)
{
    struct journal *journal = NULL;
    uint64_t before = 0, after = 0;
    enum err_code code = ERR_OK;
    char *feed;

    require(asprintf(&feed, "%s/ingest", c->options->store) >= 0);
    if (is_there(feed))
        code = journal_open(&journal, feed, err);
    if (!code && journal)
        code = journal_compact(journal, &before, &after, err);
    journal_close(&journal);
    c->done->before += before;
    c->done->after += after;
    free(feed);
    return code;
}

/* What repairs kept is the user's; here is only told how much it is. */
static void count_kept(struct cleaning *c)
{
    DIR *directory = opendir(c->options->store);
    struct stat status;

    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        if (!strncmp(entry->d_name, "data.mdb.damaged-", 17) &&
            fstatat(dirfd(directory), entry->d_name, &status, 0) == 0)
            c->done->damaged_bytes += (uint64_t)status.st_size;
    if (directory)
        closedir(directory);
}

enum err_code care_gc(const struct care_options *options, struct care_cleaned *done,
                      struct err *err)
{
    const struct store_options write = {.write = true};
    struct cleaning c = {.options = options, .done = done};
    enum err_code code;

    *done = (struct care_cleaned){0};
    if (!is_there(options->store)) /* to open it would make one */
        return err_set(err, ERR_ABSENT, 0, "there is no store in '%s'", options->store);
    code = store_open(&c.store, options->store, &write, err);
    if (!code)
        code = clean_streams(&c, err);
    if (!code)
        code = store_compact(c.store, &done->before, &done->after, err);
    store_close(&c.store);
    if (!code)
        code = clean_feed(&c, err);
    if (!code)
        clean_outputs(&c);
    if (!code)
        count_kept(&c);
    free(c.finished);
    return code;
}
