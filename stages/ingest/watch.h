/* stages/ingest/watch.h: what happens in folders, by inotify.
 *
 * A folder is watched as a whole, so that thousands of files in it cost one watch. A file that has no
 * name in a watched folder any more, and may still be written, is watched by itself.
 *
 * Limits  what another host does to a network file system is not seen; nor is a write through a hard
 *         link in another folder. */
#ifndef STAGES_INGEST_WATCH_H
#define STAGES_INGEST_WATCH_H

#include "schemas/err.h"
#include <stdbool.h>

struct watch;

enum {
    WATCH_CHANGED = 1,  /* written to, or other permissions */
    WATCH_CAME = 2,     /* a name came to be */
    WATCH_WENT = 4,     /* a name is there no more */
    WATCH_FOLDER = 8,   /* what came or went is a folder, or the watched folder itself went */
    WATCH_OVERFLOW = 16 /* events were lost: look at everything */
};

struct watch_event {
    unsigned what;
    const char *folder, *name; /* of a folder's; lent until the next call */
    void *owner;               /* of a file's that is watched by itself, else NULL */
};

/* Fails: ERR_SYSTEM, ERR_LIMIT. */
MUST_CHECK enum err_code watch_open(struct watch **out, struct err *err);
void watch_close(struct watch **watch);
/* Watch the folder at path, once.
 * Fails  ERR_ABSENT: there is no such folder now, or it may not be read; ERR_LIMIT: the system watches no
 *        more, the text names the remedy. */
MUST_CHECK enum err_code watch_folder(struct watch *w, const char *path, struct err *err);
/* Watch the file behind fd, for owner; the number to end it with, or -1 where it cannot be. */
int watch_file(struct watch *w, int fd, void *owner);
void watch_file_end(struct watch *w, int number);
/* The next thing that happened. False: nothing more has. */
bool watch_next(struct watch *w, struct watch_event *event);
int watch_descriptor(const struct watch *w);

#endif
