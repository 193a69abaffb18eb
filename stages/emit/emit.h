/* stages/emit/emit.h: what the rooms of emit share. Private to stages/emit.
 *
 *     emit.c    the stage: messages and events to the sink that they are for
 *     drain.c   lines to files, files to the syncer, and what comes back
 *     lose.c    what goes wrong: cut, opened again, given up
 *
 *     lines --drain--> file --sync--> syncer --collect--> durable
 *
 * A sink stands in a list only while there is something to do for it, so ten thousand that rest cost nothing:
 *
 *     ready     has lines or a sync that was asked for, in the order of their coming
 *     due       has written what no task covers, by the time when it must be synced
 *     open      has a descriptor, the one used longest ago first; at most OPEN_MAX, and a quarter of what may be open,
 *               or less where others take the rest
 *     waiting   tries again later, since the disk was full, or all descriptors were in use
 *     gone      was dropped while a task of it was under way
 *
 * One task of a sink is under way at a time, and while there is one, or something that none covers, its
 * descriptor stays: an error of the disk is told to the descriptor that was open when the bytes were written. */
#ifndef STAGES_EMIT_EMIT_H
#define STAGES_EMIT_EMIT_H

#include "schemas/table.h"
#include "stages/emit/sinks/sink.h"
#include "stages/emit/syncer.h"
#include "stages/stage.h"

#include <sys/queue.h>

enum { OPEN_MAX = 256 };

TAILQ_HEAD(sinks, sink);

/* A place in one of emit's lists. */
struct entry {
    TAILQ_ENTRY(sink) link;
    bool in;
};

struct sink {
    uint64_t stream, owner, generation;
    struct sink_file file;
    struct sink_token durable; /* the newest that is */
    struct buffer lines;       /* taken and not written; encode bounds them by its record window */
    uint64_t next;             /* record that is due */
    bool last;                 /* the document record is in lines */
    bool asked, whole;         /* encode wants to know of the place asked_at bytes on in lines */
    size_t asked_at;
    bool unsynced; /* something is written that no task covers */
    uint64_t unsynced_bytes, sync_at_ms;
    bool busy; /* a task is under way */
    bool gone; /* dropped while busy */
    bool lost; /* encode is to open it again */
    uint64_t lost_at_ms, fault_n;
    unsigned faults; /* at record fault_n */
    struct entry ready, due, open, waiting;
};

struct emit {
    const struct stage_env *env;
    const struct sink_ops *ops;
    struct syncer *syncer;
    struct claim *claim;
    struct table sinks;
    struct sinks ready, due, open, waiting, gone;
    size_t open_count, open_most, in_flight;
    uint64_t unsynced_bytes, interval_ms;
    struct stage_outbox outbox;
    uint64_t now_ms;
    bool stop, bye;
    bool let_claim_go; /* when nothing is under way any more */
    bool full_told;
    struct err over; /* nothing can be written any more */
};

/* list is a member's name, which has no parentheses. NOLINTBEGIN(bugprone-macro-parentheses) */
#define ENTER(e, s, list)                                  \
    do {                                                   \
        if (!(s)->list.in)                                 \
            TAILQ_INSERT_TAIL(&(e)->list, (s), list.link); \
        (s)->list.in = true;                               \
    } while (0)
#define LEAVE(e, s, list)                             \
    do {                                              \
        if ((s)->list.in)                             \
            TAILQ_REMOVE(&(e)->list, (s), list.link); \
        (s)->list.in = false;                         \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

/* drain.c */

/* Get a descriptor. False: refused, or, where why has no code, there is none before a task is done. */
bool sink_attach(struct emit *e, struct sink *s, struct err *why);
void sink_detach(struct emit *e, struct sink *s);
/* Is there room for one descriptor more? One that rests may have to go. */
bool sink_make_room(struct emit *e);
/* Where why says that the process has none left, let a quarter of ours go, for good. False: it says something else, or
 * none can go before a task is done. */
bool sink_do_with_fewer(struct emit *e, const struct err *why);
/* Nothing of s waits any more: lines, syncs. */
void sink_forget(struct emit *e, struct sink *s);
void sink_drop(struct emit *e, struct sink *s);
/* Do for s what can be done now. False: not without a descriptor, and there is none. */
bool sink_drain(struct emit *e, struct sink *s);
/* Sync those whose time has come, or all. */
void sinks_sync(struct emit *e, bool all);
/* Take back what the syncer has done; true when there was something. */
bool sinks_collect(struct emit *e);

/* lose.c */
void sink_tell_refused(struct emit *e, uint64_t stream, uint64_t owner, const struct err *why,
                       bool all);
/* Tell encode why, and drop s. */
void sink_refuse(struct emit *e, struct sink *s, const struct err *why);
/* What a call of s gave: refuse it, or cut it and have it opened again. */
void sink_fail(struct emit *e, struct sink *s, struct err *why);
void sink_wait_for_room(struct emit *e, struct sink *s, const struct err *why);
/* Have those opened again whose time has come. */
bool sinks_wake(struct emit *e);

#endif
