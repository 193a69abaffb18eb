/* stages/emit/syncer.h: the threads that make emit's files durable, so that the stage never waits.
 *
 * A task belongs to a lane, and those of a lane are done and come back in the order of their submission. Lanes are
 * threads: a journalling file system commits what several of them sync at a time together.
 *
 * Threads  one stage thread submits and collects. */
#ifndef STAGES_EMIT_SYNCER_H
#define STAGES_EMIT_SYNCER_H

#include "stages/emit/sinks/sink.h"

enum { SYNC_LANES = 4 };

struct syncer;

struct sync_task {
    /* What to do, in a thread of the syncer's; returns 0 or an errno. halt becomes readable when the syncer is to be
     * closed: whoever waits for anything but a disk waits for that too, and gives up with ECANCELED. */
    int (*work)(struct sync_task *task, int halt);
    void *user;      /* the caller's, untouched */
    uint64_t stream; /* decides the lane, unless one_lane */
    bool one_lane;
    /* Sync the folders that the file and its sidecar stand in too; once for all tasks that are done together. */
    const char *folder;
    char *name; /* NULL: no need; freed by the syncer */
    int fd;     /* stays open until it is done */
    char *text; /* of a sidecar; freed by the syncer */
    struct buffer lines;
    struct sink_token token;
    bool mark;  /* the caller's: it is a sidecar's */
    bool asked; /* by encode: the answer names exactly this token */
    bool whole; /* read all of the file and compare with the token before it counts */
    int cause;  /* outcome: 0, or an errno */
    bool torn;  /* outcome: whole was asked, and the file is not what was written */
    struct sync_task *next;
};

MUST_CHECK enum err_code syncer_open(struct syncer **out, struct err *err);
/* Finishes what was submitted, except for what waits for something else than a disk. */
void syncer_close(struct syncer **syncer);
/* Takes *task, what it owns too. */
void syncer_submit(struct syncer *syncer, const struct sync_task *task);
/* One finished task; false when there is none. */
bool syncer_collect(struct syncer *syncer, struct sync_task *task);
/* Readable (poll) while there is one. */
int syncer_descriptor(const struct syncer *syncer);

#endif
