#include "stages/ingest/watch.h"

#include "schemas/table.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    FOLDER_EVENTS = IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR,
    BUFFER_BYTES = 64 * 1024
};

/* What is watched under one number of inotify's. */
struct watched {
    char *folder; /* NULL: a file */
    void *owner;
};

struct watch {
    int fd;
    struct table items; /* struct watched, by number + 1 */
    size_t at, bytes;   /* of the buffer */
    char *gone;         /* a folder that an event was given of, and is watched no more */
    _Alignas(struct inotify_event) char buffer[BUFFER_BYTES];
};

static uint64_t key_of(int number)
{
    return (uint64_t)number + 1;
}

enum err_code watch_open(struct watch **out, struct err *err)
{
    struct watch *w = calloc(1, sizeof *w);

    if (!w)
        return err_set(err, ERR_MEMORY, 0, "watch of files");
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        int cause = errno;
        free(w);
        return err_set(err, cause == EMFILE ? ERR_LIMIT : ERR_SYSTEM, cause,
                       "watch files (inotify; fs.inotify.max_user_instances may be too low)");
    }
    *out = w;
    return ERR_OK;
}

static void drop(struct watch *w, int number)
{
    struct watched *item = table_get(&w->items, key_of(number));

    if (!item)
        return;
    table_remove(&w->items, key_of(number));
    if (item->folder) {
        free(w->gone);
        w->gone = item->folder; /* an event may still lend it */
    }
    free(item);
}

void watch_close(struct watch **watch)
{
    struct watch *w = *watch;
    struct watched *item;
    size_t at = 0;

    if (!w)
        return;
    while ((item = table_next(&w->items, &at))) {
        free(item->folder);
        free(item);
    }
    table_release(&w->items);
    free(w->gone);
    close(w->fd);
    free(w);
    *watch = NULL;
}

static enum err_code add(struct watch *w, int number, const char *folder, void *owner,
                         struct err *err)
{
    struct watched *item = table_get(&w->items, key_of(number));

    if (item && folder && item->folder && !strcmp(item->folder, folder))
        return ERR_OK;
    drop(w, number); /* the same folder by another name: the newer one counts */
    item = calloc(1, sizeof *item);
    if (!item || (folder && !(item->folder = strdup(folder))) ||
        table_set(&w->items, key_of(number), item, NULL)) {
        if (item)
            free(item->folder);
        free(item);
        return err_set(err, ERR_MEMORY, 0, "watch of '%s'", folder ? folder : "a file");
    }
    item->owner = owner;
    return ERR_OK;
}

enum err_code watch_folder(struct watch *w, const char *path, struct err *err)
{
    int number = inotify_add_watch(w->fd, path, FOLDER_EVENTS);

    if (number < 0 && errno == ENOSPC)
        return err_set(err, ERR_LIMIT, 0,
                       "watch folder '%s': the system's limit is reached; raise it with sysctl "
                       "fs.inotify.max_user_watches",
                       path);
    if (number < 0 && errno == EACCES)
        return err_set(
            err, ERR_SOURCE, 0,
            "folder '%s' cannot be listed, so what comes there would go unnoticed: allow "
            "reading it",
            path);
    if (number < 0)
        return err_set(err, ERR_ABSENT, errno, "watch folder '%s'", path);
    return add(w, number, path, NULL, err);
}

int watch_file(struct watch *w, int fd, void *owner)
{
    char path[40];
    int number;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    number = inotify_add_watch(w->fd, path, IN_MODIFY | IN_CLOSE_WRITE);
    if (number >= 0 && add(w, number, NULL, owner, NULL)) {
        inotify_rm_watch(w->fd, number);
        return -1;
    }
    return number;
}

void watch_file_end(struct watch *w, int number)
{
    struct watched *item = number < 0 ? NULL : table_get(&w->items, key_of(number));

    if (!item || item->folder)
        return;
    inotify_rm_watch(w->fd, number);
    drop(w, number);
}

static unsigned meaning(uint32_t mask)
{
    unsigned what = 0;

    if (mask & (IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE))
        what |= WATCH_CHANGED;
    if (mask & (IN_CREATE | IN_MOVED_TO))
        what |= WATCH_CAME;
    if (mask & (IN_DELETE | IN_MOVED_FROM))
        what |= WATCH_WENT;
    if (mask & (IN_DELETE_SELF | IN_MOVE_SELF))
        what |= WATCH_WENT | WATCH_FOLDER;
    if (mask & IN_ISDIR)
        what |= WATCH_FOLDER;
    return what;
}

/* What one event of inotify's means; false: nothing to anybody. */
static bool translate(struct watch *w, const struct inotify_event *e, struct watch_event *out)
{
    struct watched *item = table_get(&w->items, key_of(e->wd));

    *out =
        (struct watch_event){.what = e->mask & IN_Q_OVERFLOW ? WATCH_OVERFLOW : meaning(e->mask)};
    if (out->what & WATCH_OVERFLOW)
        return true;
    if (!item)
        return false;
    out->folder = item->folder;
    out->owner = item->owner;
    out->name = e->len ? e->name : "";
    /* A folder that moved is another path's now; the kernel ends the watch of one that was deleted. */
    if (e->mask & IN_MOVE_SELF)
        inotify_rm_watch(w->fd, e->wd);
    if (e->mask & (IN_IGNORED | IN_MOVE_SELF | IN_DELETE_SELF))
        drop(w, e->wd);
    return out->what != 0;
}

bool watch_next(struct watch *w, struct watch_event *event)
{
    for (;;) {
        const struct inotify_event *e = (const void *)(w->buffer + w->at);
        if (w->at == w->bytes) {
            ssize_t got = read(w->fd, w->buffer, sizeof w->buffer);
            w->at = w->bytes = 0;
            if (got <= 0)
                return false;
            w->bytes = (size_t)got;
            continue;
        }
        w->at += sizeof *e + e->len;
        if (translate(w, e, event))
            return true;
    }
}

int watch_descriptor(const struct watch *w)
{
    return w->fd;
}
