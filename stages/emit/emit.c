/* Emit: records in, files out, and word of what is durable.
 *
 * It owns the output files. A stream is opened with the tokens of its kept checkpoints, answered with
 * the place from which records are wanted, and then told records in sequence. Whenever something was
 * made durable, the token of exactly that place goes back: because encode asked (`sync n`, in band),
 * because half a window waits, or because a second has passed. */
#include "schemas/step.h"
#include "schemas/table.h"
#include "stages/emit/syncer.h"
#include "stages/stage.h"

#include <errno.h>
#include <stdlib.h>

enum { SYNC_MS = 1000 };

struct sink {
    uint64_t stream, owner, generation,
        open; /* open: counts opens, so that late answers are known */
    struct jsonl file;
    struct jsonl_token durable; /* the newest that is */
    uint64_t unsynced_bytes;    /* since the last task */
    uint64_t sync_at_ms;        /* when to sync at the latest; UINT64_MAX: nothing waits */
};

struct emit {
    const struct stage_env *env;
    struct syncer *syncer;
    struct table sinks;
    struct stage_outbox outbox;
    uint64_t now_ms, opens;
    bool stop, bye;
};

static void emit_close(void **self);

static enum err_code emit_open(void **self, const struct stage_env *env, struct err *err)
{
    struct emit *e = calloc(1, sizeof *e);
    enum err_code code;

    if (!e)
        return err_set(err, ERR_MEMORY, 0, "emit");
    e->env = env;
    code = syncer_open(&e->syncer, err);
    if (code)
        emit_close((void **)&e);
    *self = e;
    return code;
}

static void drop(struct emit *e, struct sink *sink)
{
    table_remove(&e->sinks, sink->stream);
    jsonl_close(&sink->file);
    free(sink);
}

static void drop_all(struct emit *e)
{
    struct sink *sink;
    size_t at = 0;

    while ((sink = table_next(&e->sinks, &at))) {
        drop(e, sink);
        at = 0;
    }
}

static void tell_refused(struct emit *e, uint64_t stream, uint64_t owner, struct err *why)
{
    Riverrun__SinkRefused refused = RIVERRUN__SINK_REFUSED__INIT;

    refused.stream = stream;
    refused.owner = owner;
    refused.code = why->code;
    refused.text = why->text;
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_REFUSED, &refused);
}

/* Writing failed: what is not durable goes, so that no part of a line stays, and encode hears why. */
static void fail(struct emit *e, struct sink *sink, struct err *why)
{
    if (why->code == ERR_FULL && jsonl_cut(&sink->file, &sink->durable, NULL))
        stage_report(e->env, STAGE_WARNING, NULL, "the end of the output could not be cut");
    tell_refused(e, sink->stream, sink->owner, why);
    drop(e, sink);
}

static bool token_read(const Riverrun__SinkToken *from, struct jsonl_token *token)
{
    *token = (struct jsonl_token){.generation = from->generation,
                                  .n = from->n,
                                  .segment = from->segment,
                                  .length = from->length,
                                  .tail = from->tail,
                                  .first = from->first};
    if (from->chain.len != JSONL_CHAIN_BYTES || from->first > from->n)
        return false;
    memcpy(token->chain, from->chain.data, JSONL_CHAIN_BYTES);
    return true;
}

static enum err_code accept_open(struct emit *e, const Riverrun__SinkOpen *open, struct err *err)
{
    struct jsonl_owner owner = {e->env->config->output,
                                open->name,
                                {open->store_id.data, open->store_id.len},
                                open->owner,
                                open->generation,
                                open->finished};
    struct jsonl_token tokens[JSONL_TOKENS_MAX];
    struct sink *sink = table_get(&e->sinks, open->stream);
    Riverrun__SinkOpened opened = RIVERRUN__SINK_OPENED__INIT;
    struct err why;
    bool older;

    if (!open->stream || open->n_tokens == 0 || open->n_tokens > JSONL_TOKENS_MAX)
        return err_set(err, ERR_INPUT, 0, "open of a sink with %zu tokens", open->n_tokens);
    for (size_t i = 0; i < open->n_tokens; i++)
        if (!token_read(open->tokens[i], &tokens[i]))
            return err_set(err, ERR_INPUT, 0, "open of a sink: a token is damaged");
    if (sink && sink->owner > open->owner) {
        err_set(&why, ERR_BUSY, 0, "output of '%s' belongs to a newer run", open->name);
        tell_refused(e, open->stream, open->owner, &why);
        return ERR_OK;
    }
    if (sink)
        drop(e, sink);
    sink = calloc(1, sizeof *sink);
    if (!sink)
        return err_set(err, ERR_MEMORY, 0, "sink of '%s'", open->name);
    if (jsonl_open(&sink->file, &owner, tokens, open->n_tokens, &older, &why)) {
        tell_refused(e, open->stream, open->owner, &why);
        free(sink);
        return ERR_OK;
    }
    sink->stream = open->stream;
    sink->owner = open->owner;
    sink->generation = open->generation;
    sink->open = ++e->opens;
    sink->durable = sink->file.at;
    sink->sync_at_ms = UINT64_MAX;
    if (table_set(&e->sinks, sink->stream, sink, err)) {
        jsonl_close(&sink->file);
        free(sink);
        return err->code;
    }
    opened.stream = open->stream;
    opened.owner = open->owner;
    opened.generation = open->generation;
    opened.n = sink->file.at.n;
    if (older)
        opened.warning = proto_text("the output is shorter than the newest checkpoint: going on "
                                    "from an older one");
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_OPENED, &opened);
    STEP_AT(emit_opened, sink->stream, opened.n);
    return ERR_OK;
}

static void tell_durable(struct emit *e, const struct sink *sink, const struct sync_task *task)
{
    Riverrun__Durable durable = RIVERRUN__DURABLE__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT;

    token.generation = task->token.generation;
    token.n = task->token.n;
    token.segment = task->token.segment;
    token.length = task->token.length;
    token.tail = task->token.tail;
    token.first = task->token.first;
    token.chain = proto_bytes(task->token.chain, JSONL_CHAIN_BYTES);
    durable.stream = sink->stream;
    durable.owner = sink->owner;
    durable.generation = sink->generation;
    durable.token = &token;
    durable.asked = task->asked;
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_DURABLE, &durable);
    STEP_AT(emit_durable, sink->stream, token.n);
}

/* Hand what was written up to here to the syncer. */
static void sync_sink(struct emit *e, struct sink *sink, bool asked, bool whole)
{
    struct sync_task task = {.stream = sink->stream,
                             .open = sink->open,
                             .fd = sink->file.fd,
                             .asked = asked,
                             .whole = whole};
    struct err why;

    if (jsonl_token(&sink->file, &task.token, &why)) {
        fail(e, sink, &why);
        return;
    }
    if (asked && step_mistake("commit_before_durable")) {
        tell_durable(e, sink, &task);
        return;
    }
    if (syncer_submit(e->syncer, &task, &why)) {
        fail(e, sink, &why);
        return;
    }
    sink->unsynced_bytes = 0;
    sink->sync_at_ms = UINT64_MAX;
}

static enum err_code accept_sync(struct emit *e, const Riverrun__Sync *sync, struct err *err)
{
    struct sink *sink = table_get(&e->sinks, sync->stream);

    if (!sink || sink->owner != sync->owner || sink->generation != sync->generation)
        return ERR_OK;
    if (sink->file.at.n != sync->n)
        return err_set(err, ERR_INPUT, 0, "gap: sync %llu came behind record %llu",
                       (unsigned long long)sync->n, (unsigned long long)sink->file.at.n);
    sync_sink(e, sink, true, sync->whole && sink->file.at.length > JSONL_WHOLE_BYTES);
    return ERR_OK;
}

static enum err_code accept_control(struct emit *e, const Riverrun__Control *control,
                                    struct err *err)
{
    struct sink *sink;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_SINK_OPEN:
        return accept_open(e, control->sink_open, err);
    case RIVERRUN__CONTROL__IS_SYNC:
        return accept_sync(e, control->sync, err);
    case RIVERRUN__CONTROL__IS_SINK_CLOSE:
        sink = table_get(&e->sinks, control->sink_close->stream);
        if (sink && sink->owner == control->sink_close->owner)
            drop(e, sink);
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
    struct sink *sink = table_get(&e->sinks, f->stream);
    struct err why;

    if (!sink || f->epoch != (sink->owner << 32 | sink->generation))
        return ERR_OK; /* not ours, or of a sink that failed */
    if (f->position != sink->file.at.n)
        return err_set(err, ERR_INPUT, 0, "gap: record %llu came where %llu was due",
                       (unsigned long long)f->position, (unsigned long long)sink->file.at.n);
    if (jsonl_write(&sink->file, f->payload, f->flags & MSG_END, &why)) {
        fail(e, sink, &why);
        return ERR_OK;
    }
    STEP_AT(emit_record, sink->stream, sink->file.at.n);
    sink->unsynced_bytes += f->payload.bytes;
    if (sink->sync_at_ms == UINT64_MAX)
        sink->sync_at_ms = e->now_ms + SYNC_MS;
    if (sink->unsynced_bytes >= e->env->config->record_window_bytes / 2)
        sync_sink(e, sink, false, false);
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
    }
}

/* A sync failed: what the page cache says of the rest of the file is not to be believed. */
static void after_failed_sync(struct emit *e, struct sink *sink, const struct sync_task *task)
{
    Riverrun__SinkLost lost = RIVERRUN__SINK_LOST__INIT;
    struct err why;

    err_set(&why, task->cause == ENOSPC ? ERR_FULL : ERR_SINK, task->cause, "sync '%s'",
            sink->file.path);
    lost.stream = sink->stream;
    lost.owner = sink->owner;
    lost.text = why.text;
    if (why.code == ERR_FULL || jsonl_cut(&sink->file, &sink->durable, &why)) {
        fail(e, sink, &why);
        return;
    }
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_LOST, &lost);
    drop(e, sink);
}

static bool collect(struct emit *e)
{
    struct sync_task task;
    struct err why;
    bool any = false;

    while (syncer_collect(e->syncer, &task)) {
        struct sink *sink = table_get(&e->sinks, task.stream);
        any = true;
        if (!sink || sink->open != task.open)
            continue;
        if (task.cause) {
            after_failed_sync(e, sink, &task);
        } else if (task.torn) {
            err_set(&why, ERR_SINK, 0,
                    "output '%s' is not what was written: put it back, or begin again with "
                    "--restart",
                    sink->file.path);
            fail(e, sink, &why);
        } else {
            sink->durable = task.token;
            tell_durable(e, sink, &task);
        }
    }
    return any;
}

static enum stage_progress emit_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                     struct err *err)
{
    struct emit *e = self;
    struct sink *sink;
    size_t at = 0;
    struct err why;
    bool ran = collect(e);

    (void)budget_us;
    while ((sink = table_next(&e->sinks, &at))) {
        bool due = sink->sync_at_ms <= e->now_ms;
        if (due)
            sync_sink(e, sink, false, false);
        else if (jsonl_flush(&sink->file, &why))
            fail(e, sink, &why);
        else
            continue;
        at = 0; /* the table may have changed */
    }
    ran = outbox_flush(&e->outbox, out, PORT_UP) || ran;
    if (e->bye || e->stop) {
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
    const struct sink *sink;
    uint64_t first = UINT64_MAX;
    size_t at = 0;

    while ((sink = table_next(&e->sinks, &at)))
        if (sink->sync_at_ms < first)
            first = sink->sync_at_ms;
    return first;
}

static void emit_close(void **self)
{
    struct emit *e = *self;

    if (!e)
        return;
    drop_all(e);
    syncer_close(&e->syncer);
    table_release(&e->sinks);
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
