/* Lines to files, files to the syncer, and what comes back. */
#include "stages/emit/emit.h"

#include "schemas/step.h"
#include "stages/emit/sinks/claim.h"
#include <stdlib.h>

enum { OPEN_LEAST = 8 }; /* with fewer each would wait for another's sync */

/* ---- Lists ---- */

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

void sink_detach(struct emit *e, struct sink *s)
{
    if (!s->open.in)
        return;
    LEAVE(e, s, open);
    e->open_count--;
    e->ops->detach(&s->file);
}

/* Nothing of s waits any more. */
void sink_forget(struct emit *e, struct sink *s)
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

void sink_drop(struct emit *e, struct sink *s)
{
    sink_forget(e, s);
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
    sink_detach(e, s);
    e->ops->close(&s->file);
    free(s);
}

/* ---- A descriptor ---- */

bool sink_make_room(struct emit *e)
{
    struct sink *s;

    if (e->open_count < e->open_most)
        return true;
    TAILQ_FOREACH(s, &e->open, open.link)
    if (!s->busy && !s->unsynced) {
        sink_detach(e, s);
        return true;
    }
    return false;
}

bool sink_do_with_fewer(struct emit *e, const struct err *why)
{
    size_t before = e->open_count, after = before - (before + 3) / 4;

    if (!err_no_descriptor(why->cause))
        return false;
    e->open_most = after;
    while (e->open_count > after && sink_make_room(e))
        continue;
    if (e->open_most < OPEN_LEAST)
        e->open_most = OPEN_LEAST;
    return e->open_count < before;
}

/* Attach s. False: refused, or, without a code, there is no descriptor before a task is done. */
bool sink_attach(struct emit *e, struct sink *s, struct err *why)
{
    why->code = ERR_OK;
    if (e->ops->eager)
        return true;
    if (s->open.in) {
        LEAVE(e, s, open); /* to the end of the list */
        ENTER(e, s, open);
        return true;
    }
    do {
        if (!sink_make_room(e))
            return false;
        *why = (struct err){.code = ERR_OK};
    } while (e->ops->attach(&s->file, why) && sink_do_with_fewer(e, why));
    if (why->code) {
        if (err_no_descriptor(why->cause) && e->open_count)
            why->code = ERR_OK;
        return false;
    }
    ENTER(e, s, open);
    e->open_count++;
    return true;
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
    if (e->ops->stands(&s->file, &why)) {
        sink_fail(e, s, &why);
        return;
    }
    if (!s->unsynced && !task.whole) {
        tell_durable(e, s, &s->durable, task.asked);
        s->asked = false;
        return;
    }
    if (!sink_attach(e, s, &why)) {
        if (why.code)
            sink_fail(e, s, &why);
        else
            ENTER(e, s, ready); /* a whole one, whose descriptor went */
        return;
    }
    if (e->ops->token(&s->file, &task, &why)) {
        sink_fail(e, s, &why);
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
bool sink_drain(struct emit *e, struct sink *s)
{
    size_t bytes = may_write(e, s);
    struct err why;

    if (bytes && !sink_attach(e, s, &why)) {
        if (why.code)
            sink_fail(e, s, &why);
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
        sink_fail(e, s, &why);
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
void sinks_sync(struct emit *e, bool all)
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

    err_set(&why, err_full_or(task->cause, ERR_SYSTEM), task->cause, "%s '%s'",
            task->mark ? "write" : "sync", path);
    free(path);
    sink_fail(e, s, &why);
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
        sink_refuse(e, s, &why);
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

bool sinks_collect(struct emit *e)
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
            sink_detach(e, s);
        } else {
            task_done(e, s, &task);
        }
    }
    return any;
}
