/* Emit: records in, lines out, and word of what is durable.
 *
 * A stream is opened with the tokens of its kept checkpoints, answered with the place from which records are
 * wanted, and then told records in sequence. Whenever something was made durable, the token of exactly that place
 * goes back: because encode asked (`sync n`, in band), because half a window waits, or because it is time
 * (config.sync: after an interval, as soon as the syncs before are done, or after each record). */
#include "stages/emit/emit.h"

#include "schemas/step.h"
#include "stages/emit/sinks/claim.h"
#include <stdlib.h>
#include <sys/resource.h>

enum { INTERVAL_MOST_MS = 1000 /* of read */, SINKS_A_CALL = 256 };

static void emit_close(void **self);

/* At first. Files that are followed may leave fewer, and then it becomes fewer (sink_do_with_fewer). */
static size_t open_most(void)
{
    struct rlimit limit = {.rlim_cur = 4 * OPEN_MAX};

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur / 4 < OPEN_MAX ? (size_t)limit.rlim_cur / 4 : OPEN_MAX;
}

static enum err_code emit_open(void **self, const struct stage_env *env, struct err *err)
{
    struct emit *e = calloc(1, sizeof *e);
    const struct config *c = env->config;
    enum err_code code;

    if (!e)
        return err_set(err, ERR_MEMORY, 0, "emit");
    e->env = env;
    e->ops = c->sink == SINK_STDOUT ? &stdout_ops : &jsonl_ops;
    e->open_most = open_most();
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

static void drop_all(struct emit *e)
{
    struct sink *s;
    size_t at = 0;

    while ((s = table_next(&e->sinks, &at))) {
        sink_drop(e, s);
        at = 0;
    }
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
        sink_drop(e, old);
    }
    return s;
}

static void tell_opened(struct emit *e, const struct sink *s, const char *warning)
{
    Riverrun__SinkOpened opened = RIVERRUN__SINK_OPENED__INIT;

    opened.stream = s->stream;
    opened.owner = s->owner;
    opened.generation = s->generation;
    opened.n = s->file.at.n;
    opened.warning = proto_text(warning);
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_OPENED, &opened);
    STEP_AT(emit_opened, s->stream, opened.n);
}

/* It is open: its descriptor, where it has one, stays if there is room. */
static void opened(struct emit *e, struct sink *s, const char *warning)
{
    s->durable = s->file.at;
    s->next = s->file.at.n;
    if (s->file.fd >= 0 && sink_make_room(e)) {
        ENTER(e, s, open);
        e->open_count++;
    } else {
        e->ops->detach(&s->file);
    }
    tell_opened(e, s, warning);
}

static const char *warning_of(const struct emit *e, const Riverrun__SinkOpen *open,
                              const struct sink_token *newest, bool older)
{
    if (older)
        return "the output is shorter than the newest checkpoint: going on from an older one";
    if (e->ops->eager && newest->length && !open->finished)
        return "its records so far are in a file, those from here on go to standard output alone: "
               "--sink jsonl will not go on without --restart";
    return "";
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
    bool older, failed;

    if (!s || table_set(&e->sinks, s->stream, s, err)) {
        free(s);
        return err_set(err, ERR_MEMORY, 0, "sink of '%s'", open->name);
    }
    e->let_claim_go = false;
    do
        failed =
            e->ops->open(&s->file, &e->claim, &owner, tokens, open->n_tokens, &older, &why) != 0;
    while (failed && sink_do_with_fewer(e, &why));
    if (!failed) {
        opened(e, s, warning_of(e, open, &tokens[0], older));
    } else if ((why.code == ERR_FULL || err_no_descriptor(why.cause)) && e->env->config->follow) {
        sink_wait_for_room(e, s, &why);
    } else {
        sink_refuse(e, s, &why);
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
        sink_tell_refused(e, open->stream, open->owner, &why, false);
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
    s->whole = sync->whole && s->file.at.length + s->lines.bytes > 0 && !e->ops->eager;
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
            sink_drop(e, s);
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
    bool ran = sinks_collect(e), pressed = false;

    (void)budget_us;
    ran = sinks_wake(e) || ran;
    for (unsigned i = 0; i < SINKS_A_CALL && !pressed && (s = TAILQ_FIRST(&e->ready)); i++) {
        LEAVE(e, s, ready);
        pressed = !sink_drain(e, s);
        if (pressed)
            ENTER(e, s, ready);
        ran = ran || !pressed;
    }
    sinks_sync(e, pressed);
    if (e->let_claim_go && !e->in_flight && !e->sinks.count)
        claim_drop(&e->claim);
    ran = outbox_flush(&e->outbox, out, PORT_UP) || ran;
    if (e->bye || e->stop) {
        if (e->over.code)
            *err = e->over;
        else
            err_set(err, e->bye ? ERR_OK : ERR_STOPPED, 0,
                    "emit stopped: start it again and it is picked up");
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
