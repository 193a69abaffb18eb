/* stages/stage.h: the contract between a stage and whoever runs it.
 *
 * A stage turns messages into messages. It never blocks, owns no ZeroMQ socket and looks at no
 * clock: the runner hands it messages (accept), things that happened (event), and then lets it work.
 * So a test drives a stage with an array, and it runs unchanged in a thread or a process.
 *
 *     accept(message)  take it in; no output yet
 *     event            the same for what is no message
 *     work             the only call that sends; does about a budget of work, says how it went
 *
 * Threads  one thread runs a stage; report may be called from it at any time.
 * Memory   a stage's queues are bounded by what it granted upstream. */
#ifndef STAGES_STAGE_H
#define STAGES_STAGE_H

#include "schemas/config.h"
#include "schemas/control.h"

enum stage_port { PORT_UP, PORT_DOWN, PORT_COUNT }; /* towards the source, towards the sink */

enum stage_event_kind {
    EVENT_TIME,       /* nothing but the time */
    EVENT_PEER,       /* the neighbour at port is there, with a new session: all before is gone */
    EVENT_PEER_GONE,  /* it went, or the link lost something: wait for EVENT_PEER */
    EVENT_DESCRIPTOR, /* one of the stage's descriptors is ready */
    EVENT_STOP,       /* finish what is pending and be done, within STAGE_STOP_MS */
    EVENT_REQUEST     /* from the control socket; answered through out->reply, in any order */
};

enum { STAGE_STOP_MS = 1500, STAGE_DESCRIPTORS_MAX = 8 };

struct stage_event {
    enum stage_event_kind kind;
    enum stage_port port;
    uint64_t now_ms;                  /* monotonic */
    uint64_t clock_ms;                /* of the day, for status alone */
    const Riverrun__Request *request; /* borrowed for the call */
    uint64_t question;                /* what the answer to request has to name */
};

enum stage_progress {
    STAGE_IDLE,    /* nothing to do until something happens */
    STAGE_RAN,     /* did something, may have more */
    STAGE_NO_ROOM, /* has output that a link does not take now */
    STAGE_DONE     /* over; *err of work says how */
};

enum stage_level { STAGE_NOTE, STAGE_WARNING, STAGE_ERROR };

/* Where a stage sends. All of it belongs to the runner. */
struct stage_out {
    void *self;
    /* Send *msg; on success it is NULL. False: no room now (data only; control always goes) or
     * nobody is there; *msg is still the caller's. */
    bool (*send)(void *self, enum stage_port port, struct msg **msg);
    /* True when data of this size would go now. */
    bool (*room)(void *self, enum stage_port port);
    /* Answer an EVENT_REQUEST, once; *reply is only borrowed. */
    void (*reply)(void *self, uint64_t question, const Riverrun__Reply *reply);
};

struct stage_env {
    const struct config *config;
    /* Microseconds, for measuring what a thing costs: nothing that is decided may depend on it. */
    uint64_t (*measure_us)(void);
    void *report_self;
    /* One line for people: about stream (or NULL). Only the pipeline prints. */
    void (*report)(void *self, enum stage_level level, const char *stream, const char *text);
};

struct stage_ops {
    const char *name;
    bool has_up, has_down;
    bool ends_all; /* with STAGE_DONE it has said goodbye, and its neighbours go */
    /* Before anything else. Borrows env until close. */
    enum err_code (*open)(void **self, const struct stage_env *env, struct err *err);
    /* One message, in the order of its port. On success *msg is ours and NULL; on failure (bytes
     * that break the schema) still the caller's, and the link is reset. */
    enum err_code (*accept)(void *self, enum stage_port port, struct msg **msg, struct err *err);
    void (*event)(void *self, const struct stage_event *event);
    /* Do at most about budget_us of work. With STAGE_DONE *err holds the outcome. */
    enum stage_progress (*work)(void *self, uint64_t budget_us, const struct stage_out *out,
                                struct err *err);
    /* Descriptors to poll for reading now; returns how many, at most STAGE_DESCRIPTORS_MAX. */
    size_t (*descriptors)(void *self, int *fds);
    /* When to wake the stage at the latest, on event.now_ms's clock; UINT64_MAX: no need. */
    uint64_t (*deadline)(void *self);
    /* Takes NULL and half-opened stages; leaves NULL. */
    void (*close)(void **self);
};

/* The four, in the order of the flow; NULL at the end. */
extern const struct stage_ops *const stages[];
const struct stage_ops *stage_find(const char *name);

/* Control messages wait here between accept, which may not send, and work. */
struct stage_outbox {
    struct msg **items;
    size_t count, room;
};

/* Queue a control message; one that cannot be had (memory) is a bug, for the stage asked for it. */
void outbox_put(struct stage_outbox *box, const Riverrun__Control *control);
/* The same of a message's body: which one it is, and it. */
void outbox_tell(struct stage_outbox *box, Riverrun__Control__IsCase is, void *body);
/* Send all that waits; what finds nobody there is dropped, for EVENT_PEER begins anew. True when
 * something was there. */
bool outbox_flush(struct stage_outbox *box, const struct stage_out *out, enum stage_port port);
/* Drop what waits, and the room with it. */
void outbox_clear(struct stage_outbox *box);

/* Report a line through env, formatted. */
void stage_report(const struct stage_env *env, enum stage_level level, const char *stream,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
