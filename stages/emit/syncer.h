/* stages/emit/syncer.h: the thread that makes emit's files durable, so that the stage never waits.
 *
 * Threads  one stage thread submits and collects; the work is done by the writer's own. */
#ifndef STAGES_EMIT_SYNCER_H
#define STAGES_EMIT_SYNCER_H

#include "stages/emit/sinks/jsonl.h"

struct syncer;

struct sync_task {
    uint64_t stream, open; /* the caller's, untouched */
    int fd;                /* duplicated by submit */
    struct jsonl_token token;
    bool asked; /* by encode: the answer names exactly this token */
    bool whole; /* read all of the file and compare with the token before it counts */
    int cause;  /* outcome: 0, or the errno of fsync */
    bool torn;  /* outcome: whole was asked, and the file is not what was written */
    struct sync_task *next;
};

MUST_CHECK enum err_code syncer_open(struct syncer **out, struct err *err);
/* Finishes what was submitted. */
void syncer_close(struct syncer **syncer);
/* Fails: ERR_SYSTEM, ERR_MEMORY. */
MUST_CHECK enum err_code syncer_submit(struct syncer *syncer, const struct sync_task *task,
                                       struct err *err);
/* One finished task, in the order of submission; false when there is none. */
bool syncer_collect(struct syncer *syncer, struct sync_task *task);
/* Readable (poll) while there is one. */
int syncer_descriptor(const struct syncer *syncer);

#endif
