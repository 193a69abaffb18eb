/* Emit: records in, lines out, and word of what is durable.
 *
 * A stream is opened with the tokens of its kept checkpoints, answered with the place from which records are
 * wanted, and then told records in sequence. Whenever something was made durable, the token of exactly that place
 * goes back: because encode asked (`sync n`, in band), because half a window waits, or because it is time
 * (config.sync: after an interval, as soon as the syncs before are done, or after each record).
 *
 *     lines --drain--> file --sync_sink--> syncer --collect--> durable
 *
 * A sink stands in a list only while there is something to do for it, so ten thousand that rest cost nothing:
 *
 *     ready   has lines or a sync that was asked for, in the order of their coming
 *     due     has written what no task covers, by the time when it must be synced
 *     open    has a descriptor, the one used longest ago first; at most OPEN_MAX
 *     lost    waits to try again since the disk was full
 *
 * One task of a sink is under way at a time, and while there is one, or something that none covers, its
 * descriptor stays: an error of the disk is told to the descriptor that was open when the bytes were written. */
#include "schemas/step.h"
#include "schemas/table.h"
#include "stages/emit/sinks/claim.h"
#include "stages/emit/syncer.h"
#include "stages/stage.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

enum {
    INTERVAL_MOST_MS = 1000, /* of read */
    AGAIN_MS = 5000,
    OPEN_MAX = 256,
    SINKS_A_CALL = 256,
    FAULTS_MAX = 3 /* at one place, then the stream is given up */
};

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
    size_t open_count, in_flight;
    uint64_t unsynced_bytes, interval_ms;
    struct stage_outbox outbox;
    uint64_t now_ms;
    bool stop, bye;
    bool let_claim_go; /* when nothing is under way any more */
    bool full_told;
    struct err over; /* nothing can be written any more */
};

static void emit_close(void **self);

static enum err_code emit_open(void **self, const struct stage_env *env, struct err *err)
{
    struct emit *e = calloc(1, sizeof *e);
    const struct config *c = env->config;
    enum err_code code;

    if (!e)
        return err_set(err, ERR_MEMORY, 0, "emit");
    e->env = env;
    e->ops = c->sink == SINK_STDOUT ? &stdout_ops : &jsonl_ops;
    e->interval_ms = c->max_latency_ms / 2;
    if (!c->follow && e->interval_ms > INTERVAL_MOST_MS)
        e->interval_ms = INTERVAL_MOST_MS;
    TAILQ_INIT(&e->ready);
    TAILQ_INIT(&e->due);
    TAILQ_INIT(&e->open);
    TAILQ_INIT(&e->waiting);
    TAILQ_INIT(&e->gone);
    code = syncer_open(&e->syncer, err);
    if (code)
        emit_close((void **)&e);
    *self = e;
    return code;
}

/* ---- Lists ---- */

#define ENTER(e, s, list)                                \
    do {                                                 \
        if (!(s)->list.in)                               \
            TAILQ_INSERT_TAIL(&(e)->list, s, list.link); \
        (s)->list.in = true;                             \
    } while (0)
#define LEAVE(e, s, list)                           \
    do {                                            \
        if ((s)->list.in)                           \
            TAILQ_REMOVE(&(e)->list, s, list.link); \
        (s)->list.in = false;                       \
    } while (0)

/* By the time when it must be synced: mostly that is at the end. */
static void enter_due(struct emit *e, struct sink *s)
{
    struct sink *before = TAILQ_LAST(&e->due, sinks);

    while (before && before->sync_at_ms > s->sync_at_ms)
        before = TAILQ_PREV(before, sinks, due.link);
    if (before)
        TAILQ_INSERT_AFTER(&e->due, before, s, due.link);
    else
        TAILQ_INSERT_HEAD(&e->due, s, due.link);
    s->due.in = true;
}

static void detach(struct emit *e, struct sink *s)
{
    if (!s->open.in)
        return;
    LEAVE(e, s, open);
    e->open_count--;
    e->ops->detach(&s->file);
}

/* Nothing of s waits any more. */
static void forget(struct emit *e, struct sink *s)
{
    LEAVE(e, s, ready);
    LEAVE(e, s, due);
    LEAVE(e, s, waiting);
    buffer_release(&s->lines);
    e->unsynced_bytes -= s->unsynced_bytes;
    s->unsynced_bytes = 0;
    s->unsynced = s->asked = false;
    s->sync_at_ms = UINT64_MAX;
}

static void drop(struct emit *e, struct sink *s)
{
    forget(e, s);
    table_remove(&e->sinks, s->stream);
    if (s->busy) { /* its descriptor is still needed, its lock is not */
        e->ops->unlock(&s->file);
        if (s->open.in)
            e->open_count--;
        LEAVE(e, s, open);
        s->gone = true;
        TAILQ_INSERT_TAIL(&e->gone, s, ready.link);
        return;
    }
    detach(e, s);
    e->ops->close(&s->file);
    free(s);
}

static void drop_all(struct emit *e)
{
    struct sink *s;
    size_t at = 0;

    while ((s = table_next(&e->sinks, &at))) {
        drop(e, s);
        at = 0;
    }
}

/* ---- A descriptor ---- */

static bool let_one_go(struct emit *e)
{
    struct sink *s;

    TAILQ_FOREACH(s, &e->open, open.link)
    if (!s->busy && !s->unsynced) {
        detach(e, s);
        return true;
    }
    return false;
}

/* Attach s. False: refused, or, without a code, there is no descriptor before a task is done. */
static bool attach(struct emit *e, struct sink *s, struct err *why)
{
    why->code = ERR_OK;
    if (e->ops->eager)
        return true;
    if (s->open.in) {
        LEAVE(e, s, open); /* to the end of the list */
        ENTER(e, s, open);
        return true;
    }
    if ((e->open_count >= OPEN_MAX && !let_one_go(e)) || e->ops->attach(&s->file, why))
        return false;
    ENTER(e, s, open);
    e->open_count++;
    return true;
}

/* ---- What goes wrong ---- */

static void tell_refused(struct emit *e, uint64_t stream, uint64_t owner, const struct err *why,
                         bool all)
{
    Riverrun__SinkRefused refused = RIVERRUN__SINK_REFUSED__INIT;

    refused.stream = stream;
    refused.owner = owner;
    refused.code = why->code;
    refused.text = proto_text(why->text);
    refused.all = all;
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_REFUSED, &refused);
}

static void refuse(struct emit *e, struct sink *s, const struct err *why)
{
    tell_refused(e, s->stream, s->owner, why, false);
    drop(e, s);
}

static void tell_lost(struct emit *e, const struct sink *s, const struct err *why)
{
    Riverrun__SinkLost lost = RIVERRUN__SINK_LOST__INIT;

    lost.stream = s->stream;
    lost.owner = s->owner;
    lost.code = why->code;
    lost.text = proto_text(why->text);
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_LOST, &lost);
}

/* Try again when there may be room: encode sends anew what was not durable. */
static void wait_for_room(struct emit *e, struct sink *s, const struct err *why)
{
    if (!e->full_told)
        stage_report(e->env, STAGE_WARNING, NULL, "%s: trying again every %d s", why->text,
                     AGAIN_MS / 1000);
    e->full_told = true;
    s->lost = true;
    s->lost_at_ms = e->now_ms + AGAIN_MS;
    ENTER(e, s, waiting);
}

/* Back to what is durable, so that no part of a line stays. */
static enum err_code cut(struct emit *e, struct sink *s, struct err *err)
{
    struct err why = {.code = ERR_OK};

    if (s->file.there && !attach(e, s, &why)) {
        *err = why;
        if (!why.code)
            err_set(err, ERR_SINK, 0, "too many outputs are open to cut one");
        return err->code;
    }
    return e->ops->cut(&s->file, &s->durable, err);
}

/* A write or a sync failed: what the page cache says of the file is not to be believed. It is cut to what is
 * durable, and encode sends the rest again; but not for ever where the same place fails each time. */
static void lose(struct emit *e, struct sink *s, struct err *why)
{
    bool full = why->code == ERR_FULL, up;
    char text[sizeof why->text];
    struct err cut_err;

    if (s->fault_n != s->durable.n)
        s->faults = 0;
    s->fault_n = s->durable.n;
    s->faults += !full;
    up = full ? !e->env->config->follow : s->faults >= FAULTS_MAX;
    if (cut(e, s, &cut_err)) {
        if (up)
            stage_report(e->env, STAGE_WARNING, NULL, "the end of the output could not be cut");
        refuse(e, s, up ? why : &cut_err);
        return;
    }
    if (up && !full) {
        memcpy(text, why->text, sizeof text);
        err_set(why, ERR_SINK, 0, "%s; failed %u times at one place", text, s->faults);
    }
    if (up) {
        refuse(e, s, why);
        return;
    }
    forget(e, s);
    if (!s->busy)
        detach(e, s);
    s->lost = true;
    if (full)
        wait_for_room(e, s, why);
    else
        tell_lost(e, s, why);
}

static void fail(struct emit *e, struct sink *s, struct err *why)
{
    if (why->cause == EPIPE) {
        err_set(&e->over, ERR_SINK, 0, "standard output was closed by its reader");
        tell_refused(e, s->stream, s->owner, &e->over, true);
        forget(e, s);
        s->lost = true;
    } else if (why->code == ERR_SYSTEM || why->code == ERR_FULL) {
        lose(e, s, why);
    } else {
        refuse(e, s, why);
    }
}

static bool wake_lost(struct emit *e)
{
    const struct err again = {.code = ERR_FULL, .text = "no space is left"};
    struct sink *s;
    bool any = false;

    while ((s = TAILQ_FIRST(&e->waiting)) && s->lost_at_ms <= e->now_ms) {
        LEAVE(e, s, waiting);
        tell_lost(e, s, &again);
        any = true;
    }
    return any;
}

/* ---- What is durable ---- */

static void tell_durable(struct emit *e, const struct sink *s, const struct sink_token *at,
                         bool asked)
{
    Riverrun__Durable durable = RIVERRUN__DURABLE__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT;

    token.generation = at->generation;
    token.n = at->n;
    token.segment = at->segment;
    token.length = at->length;
    token.tail = at->tail;
    token.first = at->first;
    token.chain = proto_bytes(at->chain, SINK_CHAIN_BYTES);
    durable.stream = s->stream;
    durable.owner = s->owner;
    durable.generation = s->generation;
    durable.token = &token;
    durable.asked = asked;
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_DURABLE, &durable);
    STEP_AT(emit_durable, s->stream, token.n);
}

static void submit(struct emit *e, struct sink *s, struct sync_task *task)
{
    task->user = s;
    task->stream = s->stream;
    s->busy = true;
    e->in_flight++;
    syncer_submit(e->syncer, task);
}

/* Hand what is written to the syncer. s is not busy. */
static void sync_sink(struct emit *e, struct sink *s)
{
    struct sync_task task = {.asked = s->asked && s->asked_at == 0, .fd = -1};
    struct err why;

    LEAVE(e, s, due);
    task.whole = task.asked && s->whole;
    if (!s->unsynced && !task.whole) {
        tell_durable(e, s, &s->durable, task.asked);
        s->asked = false;
        return;
    }
    if (!attach(e, s, &why)) {
        if (why.code)
            fail(e, s, &why);
        else
            ENTER(e, s, ready); /* a whole one, whose descriptor went */
        return;
    }
    if (e->ops->token(&s->file, &task, &why)) {
        fail(e, s, &why);
        return;
    }
    s->asked = s->asked && !task.asked;
    s->unsynced = false;
    e->unsynced_bytes -= s->unsynced_bytes;
    s->unsynced_bytes = 0;
    s->sync_at_ms = UINT64_MAX;
    if (task.asked && step_mistake("commit_before_durable"))
        tell_durable(e, s, &task.token, true);
    submit(e, s, &task);
}

/* ---- From lines to the file ---- */

/* How much of lines may be written now: up to where encode wants to know, and with --sync record one line, when
 * the one before is durable. */
static size_t may_write(const struct emit *e, const struct sink *s)
{
    size_t bytes = s->asked ? s->asked_at : s->lines.bytes;
    const uint8_t *end;

    if (!bytes || e->env->config->sync != SYNC_RECORD)
        return bytes;
    if (s->busy || s->unsynced)
        return 0;
    end = memchr(s->lines.data, '\n', bytes);
    return end ? (size_t)(end - s->lines.data) + 1 : bytes;
}

static enum err_code write_lines(struct emit *e, struct sink *s, size_t bytes, struct err *err)
{
    uint64_t n = s->file.at.n;

    if (e->ops->write(&s->file, (struct view){s->lines.data, bytes},
                      s->last && bytes == s->lines.bytes, err))
        return err->code;
    while (n < s->file.at.n) {
        n++;
        STEP_AT(emit_record, s->stream, n);
    }
    buffer_drop(&s->lines, bytes);
    if (!s->lines.bytes)
        buffer_release(&s->lines);
    s->asked_at -= s->asked ? bytes : 0;
    s->unsynced = true;
    s->unsynced_bytes += bytes;
    e->unsynced_bytes += bytes;
    if (s->sync_at_ms == UINT64_MAX)
        s->sync_at_ms = e->now_ms + e->interval_ms;
    return ERR_OK;
}

/* Do for s what can be done now. False: not without a descriptor, and there is none. */
static bool drain(struct emit *e, struct sink *s)
{
    size_t bytes = may_write(e, s);
    struct err why;

    if (bytes && !attach(e, s, &why)) {
        if (why.code)
            fail(e, s, &why);
        return why.code;
    }
    if (bytes && !s->file.marked) { /* its file is to be ours, durably, before its first line */
        struct sync_task task = {.mark = true, .fd = -1};
        if (!s->busy) {
            e->ops->mark(&s->file, &task);
            submit(e, s, &task);
        }
        return true;
    }
    if (bytes && write_lines(e, s, bytes, &why)) {
        fail(e, s, &why);
        return true;
    }
    if (s->busy)
        return true; /* it comes again when the task is done */
    if ((s->asked && !s->asked_at) ||
        (s->unsynced && (e->ops->eager || e->env->config->sync == SYNC_RECORD)))
        sync_sink(e, s);
    else if (s->unsynced && !s->due.in)
        enter_due(e, s);
    return true;
}

/* Sync those whose time has come, or all: for their bytes, their descriptors, or because nothing else is synced. */
static void sync_due(struct emit *e, bool all)
{
    const struct config *c = e->env->config;
    struct sink *s;

    all = all || e->unsynced_bytes >= c->record_window_bytes / 2 ||
          (c->sync == SYNC_BATCH && !e->in_flight);
    while ((s = TAILQ_FIRST(&e->due)) && (all || s->sync_at_ms <= e->now_ms))
        sync_sink(e, s);
}

/* ---- What the syncer has done ---- */

static void task_failed(struct emit *e, struct sink *s, const struct sync_task *task)
{
    char *path = !s->file.name ? strdup("standard output")
                 : task->mark  ? sidecar_path(s->file.folder, s->file.name)
                               : sink_path(s->file.folder, s->file.name);
    struct err why;

    err_set(&why, sink_code(task->cause, ERR_SYSTEM), task->cause, "%s '%s'",
            task->mark ? "write" : "sync", path);
    free(path);
    fail(e, s, &why);
}

static void task_done(struct emit *e, struct sink *s, const struct sync_task *task)
{
    struct err why;

    if (task->cause) {
        task_failed(e, s, task);
        return;
    }
    if (task->torn) {
        err_set(&why, ERR_SINK, 0,
                "output of '%s' is not what was written: put it back, or begin again with "
                "--restart",
                s->file.name);
        refuse(e, s, &why);
        return;
    }
    if (task->mark) {
        s->file.marked = s->file.named = true;
    } else {
        s->durable = task->token;
        e->full_told = false;
        if (!(task->asked && step_mistake("commit_before_durable")))
            tell_durable(e, s, &task->token, task->asked);
    }
    if (s->lines.bytes || s->asked)
        ENTER(e, s, ready);
    else if (s->unsynced)
        enter_due(e, s);
}

static bool collect(struct emit *e)
{
    struct sync_task task;
    bool any = false;

    while (syncer_collect(e->syncer, &task)) {
        struct sink *s = task.user;
        any = true;
        e->in_flight--;
        s->busy = false;
        if (s->gone) {
            TAILQ_REMOVE(&e->gone, s, ready.link);
            e->ops->close(&s->file);
            free(s);
        } else if (s->lost) {
            detach(e, s);
        } else {
            task_done(e, s, &task);
        }
    }
    return any;
}

/* ---- Messages ---- */

static bool token_read(const Riverrun__SinkToken *from, struct sink_token *token)
{
    *token = (struct sink_token){.generation = from->generation,
                                 .n = from->n,
                                 .segment = from->segment,
                                 .length = from->length,
                                 .tail = from->tail,
                                 .first = from->first};
    if (from->chain.len != SINK_CHAIN_BYTES || from->first > from->n)
        return false;
    memcpy(token->chain, from->chain.data, SINK_CHAIN_BYTES);
    return true;
}

static struct sink *new_sink(struct emit *e, const Riverrun__SinkOpen *open)
{
    struct sink *s = calloc(1, sizeof *s), *old = table_get(&e->sinks, open->stream);

    if (!s)
        return NULL;
    s->stream = open->stream;
    s->owner = open->owner;
    s->generation = open->generation;
    s->file.fd = -1;
    s->lines = buffer_of(SIZE_MAX);
    s->sync_at_ms = UINT64_MAX;
    if (old) { /* opened again: how often it failed is remembered */
        s->faults = old->faults;
        s->fault_n = old->fault_n;
        drop(e, old);
    }
    return s;
}

static void tell_opened(struct emit *e, const struct sink *s, bool older)
{
    Riverrun__SinkOpened opened = RIVERRUN__SINK_OPENED__INIT;

    opened.stream = s->stream;
    opened.owner = s->owner;
    opened.generation = s->generation;
    opened.n = s->file.at.n;
    if (older)
        opened.warning = proto_text("the output is shorter than the newest checkpoint: going on "
                                    "from an older one");
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_OPENED, &opened);
    STEP_AT(emit_opened, s->stream, opened.n);
}

/* It is open: its descriptor, where it has one, stays if there is room. */
static void opened(struct emit *e, struct sink *s, bool older)
{
    s->durable = s->file.at;
    s->next = s->file.at.n;
    if (s->file.fd >= 0 && (e->open_count < OPEN_MAX || let_one_go(e))) {
        ENTER(e, s, open);
        e->open_count++;
    } else {
        e->ops->detach(&s->file);
    }
    tell_opened(e, s, older);
}

static enum err_code open_sink(struct emit *e, const Riverrun__SinkOpen *open,
                               const struct sink_token *tokens, struct err *err)
{
    const struct sink_owner owner = {e->env->config->output,
                                     open->name,
                                     {open->store_id.data, open->store_id.len},
                                     open->owner,
                                     open->generation,
                                     open->finished};
    struct sink *s = new_sink(e, open);
    struct err why;
    bool older;

    if (!s || table_set(&e->sinks, s->stream, s, err)) {
        free(s);
        return err_set(err, ERR_MEMORY, 0, "sink of '%s'", open->name);
    }
    e->let_claim_go = false;
    if (!e->ops->open(&s->file, &e->claim, &owner, tokens, open->n_tokens, &older, &why)) {
        opened(e, s, older);
    } else if (why.code == ERR_FULL && e->env->config->follow) {
        wait_for_room(e, s, &why);
    } else {
        refuse(e, s, &why);
    }
    return ERR_OK;
}

static enum err_code accept_open(struct emit *e, const Riverrun__SinkOpen *open, struct err *err)
{
    struct sink_token tokens[SINK_TOKENS_MAX];
    const struct sink *old = table_get(&e->sinks, open->stream);
    struct err why;

    if (!open->stream || open->n_tokens == 0 || open->n_tokens > SINK_TOKENS_MAX)
        return err_set(err, ERR_INPUT, 0, "open of a sink with %zu tokens", open->n_tokens);
    for (size_t i = 0; i < open->n_tokens; i++)
        if (!token_read(open->tokens[i], &tokens[i]))
            return err_set(err, ERR_INPUT, 0, "open of a sink: a token is damaged");
    if (old && old->owner > open->owner) {
        err_set(&why, ERR_BUSY, 0, "output of '%s' belongs to a newer run", open->name);
        tell_refused(e, open->stream, open->owner, &why, false);
        return ERR_OK;
    }
    if (e->claim &&
        !claim_is_of(e->claim, (struct view){open->store_id.data, open->store_id.len})) {
        drop_all(e); /* another encode, with a store of its own */
        claim_drop(&e->claim);
    }
    return open_sink(e, open, tokens, err);
}

static enum err_code accept_sync(struct emit *e, const Riverrun__Sync *sync, struct err *err)
{
    struct sink *s = table_get(&e->sinks, sync->stream);

    if (!s || s->lost || s->owner != sync->owner || s->generation != sync->generation)
        return ERR_OK;
    if (s->next != sync->n || s->asked)
        return err_set(err, ERR_INPUT, 0, "gap: sync %llu came behind record %llu",
                       (unsigned long long)sync->n, (unsigned long long)s->next);
    s->asked = true;
    s->asked_at = s->lines.bytes;
    s->whole =
        sync->whole && s->file.at.length + s->lines.bytes > SINK_WHOLE_BYTES && !e->ops->eager;
    ENTER(e, s, ready);
    return ERR_OK;
}

static enum err_code accept_control(struct emit *e, const Riverrun__Control *control,
                                    struct err *err)
{
    struct sink *s;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_SINK_OPEN:
        return accept_open(e, control->sink_open, err);
    case RIVERRUN__CONTROL__IS_SYNC:
        return accept_sync(e, control->sync, err);
    case RIVERRUN__CONTROL__IS_SINK_CLOSE:
        s = table_get(&e->sinks, control->sink_close->stream);
        if (s && s->owner == control->sink_close->owner)
            drop(e, s);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_BYE:
        e->bye = true;
        return ERR_OK;
    default:
        return err_set(err, ERR_INPUT, 0, "emit: unexpected control message %d",
                       (int)control->is_case);
    }
}

static enum err_code accept_record(struct emit *e, const struct frame *f, struct err *err)
{
    struct sink *s = table_get(&e->sinks, f->stream);

    if (!s || s->lost || f->epoch != (s->owner << 32 | s->generation))
        return ERR_OK; /* not ours, or of a sink that failed */
    if (f->position != s->next)
        return err_set(err, ERR_INPUT, 0, "gap: record %llu came where %llu was due",
                       (unsigned long long)f->position, (unsigned long long)s->next);
    buffer_put(&s->lines, f->payload.data, f->payload.bytes);
    require(!s->lines.refused);
    s->next++;
    s->last = f->flags & MSG_END;
    if (s->sync_at_ms == UINT64_MAX)
        s->sync_at_ms = e->now_ms + e->interval_ms;
    ENTER(e, s, ready);
    return ERR_OK;
}

static enum err_code emit_accept(void *self, enum stage_port port, struct msg **msg,
                                 struct err *err)
{
    struct frame f;
    Riverrun__Control *control;
    enum err_code code = msg_read(*msg, &f, err);

    (void)port;
    if (!code && f.kind == MSG_RECORD) {
        code = accept_record(self, &f, err);
    } else if (!code) {
        code = control_read(&f, &control, err);
        if (code)
            return code;
        code = accept_control(self, control, err);
        riverrun__control__free_unpacked(control, NULL);
    }
    if (!code)
        msg_free(msg);
    return code;
}

static void emit_event(void *self, const struct stage_event *event)
{
    struct emit *e = self;

    e->now_ms = event->now_ms;
    if (event->kind == EVENT_STOP)
        e->stop = true;
    if (event->kind == EVENT_PEER || event->kind == EVENT_PEER_GONE) {
        drop_all(e);
        outbox_clear(&e->outbox);
        e->let_claim_go = true;
    }
}

/* ---- Work ---- */

static enum stage_progress emit_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                     struct err *err)
{
    struct emit *e = self;
    struct sink *s;
    bool ran = collect(e), pressed = false;

    (void)budget_us;
    ran = wake_lost(e) || ran;
    for (unsigned i = 0; i < SINKS_A_CALL && !pressed && (s = TAILQ_FIRST(&e->ready)); i++) {
        LEAVE(e, s, ready);
        pressed = !drain(e, s);
        if (pressed)
            ENTER(e, s, ready);
        ran = ran || !pressed;
    }
    sync_due(e, pressed);
    if (e->let_claim_go && !e->in_flight && !e->sinks.count)
        claim_drop(&e->claim);
    ran = outbox_flush(&e->outbox, out, PORT_UP) || ran;
    if (e->bye || e->stop) {
        if (e->over.code)
            *err = e->over;
        else
            err_set(err, e->bye ? ERR_OK : ERR_STOPPED, 0, "emit");
        return STAGE_DONE;
    }
    return ran ? STAGE_RAN : STAGE_IDLE;
}

static size_t emit_descriptors(void *self, int *fds)
{
    struct emit *e = self;

    fds[0] = syncer_descriptor(e->syncer);
    return 1;
}

static uint64_t emit_deadline(void *self)
{
    struct emit *e = self;
    const struct sink *due = TAILQ_FIRST(&e->due), *lost = TAILQ_FIRST(&e->waiting);
    uint64_t first = due ? due->sync_at_ms : UINT64_MAX;

    return lost && lost->lost_at_ms < first ? lost->lost_at_ms : first;
}

static void emit_close(void **self)
{
    struct emit *e = *self;
    struct sink *s;
    size_t at = 0;

    if (!e)
        return;
    syncer_close(&e->syncer); /* before anything that its tasks need */
    while ((s = table_next(&e->sinks, &at)))
        s->busy = false;
    drop_all(e);
    while ((s = TAILQ_FIRST(&e->gone))) {
        TAILQ_REMOVE(&e->gone, s, ready.link);
        e->ops->close(&s->file);
        free(s);
    }
    table_release(&e->sinks);
    claim_drop(&e->claim);
    outbox_clear(&e->outbox);
    free(e);
    *self = NULL;
}

const struct stage_ops emit_ops = {
    .name = "emit",
    .has_up = true,
    .open = emit_open,
    .accept = emit_accept,
    .event = emit_event,
    .work = emit_work,
    .descriptors = emit_descriptors,
    .deadline = emit_deadline,
    .close = emit_close,
};
