/* Encode: tokens in, records out, and the truth about where every stream stands.
 *
 * This file is the stage: it takes messages and events to the stream that they are for, keeps the
 * two neighbours' coming and going, and says when all is over. encode.h names the other rooms. */
#include "stages/encode/encode.h"

#include <stdio.h>
#include <stdlib.h>

static void encode_close(void **self);

static enum err_code name_arithmetic(struct encode *e, struct err *err)
{
    const struct engine_options options = engine_options_of(e);

    return engine_arithmetic(e->env->config->model, &options, e->arithmetic, sizeof e->arithmetic,
                             err);
}

static enum err_code encode_open(void **self, const struct stage_env *env, struct err *err)
{
    struct encode *e = calloc(1, sizeof *e);
    const struct config *c = env->config;
    const struct store_options write = {.write = true};
    enum err_code code;

    if (!e)
        return err_set(err, ERR_MEMORY, 0, "encode");
    e->env = env;
    e->weight_type = c->weights;
    code = engine_fingerprint_with(c->model, c->initial_state, e->model, err);
    memcpy(e->weights, e->model, sizeof e->weights);
    if (!code && c->initial_state)
        code = engine_fingerprint(c->model, e->weights, err);
    if (!code)
        code = name_arithmetic(e, err); /* before anything is made: options may be wrong */
    if (!code)
        code = store_open(&e->store, c->store, &write, err);
    if (!code && !c->restart)
        code = restore_weights(e, err);
    if (!code && e->weight_type != c->weights)
        code = name_arithmetic(e, err); /* that of what was begun */
    if (code)
        encode_close((void **)&e);
    *self = e;
    return code;
}

/* ---- From above ---- */

static void ask_again(struct encode *e)
{
    Riverrun__List list = RIVERRUN__LIST__INIT;

    outbox_tell(&e->up, RIVERRUN__CONTROL__IS_LIST, &list);
    for (size_t i = 0; i < e->stream_count; i++) {
        struct stream *s = e->streams[i];
        s->up_open = false;
        if (s->phase == PHASE_IDLE)
            stream_idle_again(s);
        else if (s->phase == PHASE_NEW_SOURCE || s->phase == PHASE_SOURCE ||
                 (s->phase == PHASE_RUNNING && !s->ended))
            stream_open_up(s);
    }
}

static void want(struct encode *e, const Riverrun__Want *said)
{
    struct stream *s = table_get(&e->by_id, said->stream);

    if (!s || s->epoch != said->epoch)
        return;
    s->wants = true;
    turn_wanted(s);
}

static void refused(struct encode *e, const Riverrun__Refused *refused_by)
{
    struct stream *s = table_get(&e->by_id, refused_by->stream);
    struct err why;

    if (!s || s->epoch != refused_by->epoch)
        return;
    err_set(&why, refused_by->code < ERR_COUNT ? (enum err_code)refused_by->code : ERR_SYSTEM, 0,
            "%s", refused_by->text);
    stream_fail(s, &why);
}

/* Where one side follows and the other does not, each would wait for what the other never says. */
static void announced(struct encode *e, const Riverrun__Announced *said)
{
    e->announced = true;
    e->complete = said->complete;
    if (said->follow && !e->env->config->follow)
        err_set(&e->fatal, ERR_USAGE, 0,
                "ingest was started with --follow: start encode with it too");
    if (!said->follow && e->env->config->follow)
        err_set(&e->fatal, ERR_USAGE, 0,
                "ingest was started without --follow: start encode without it too");
}

static enum err_code accept_from_up(struct encode *e, const Riverrun__Control *control,
                                    struct err *err)
{
    struct stream *s;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_ANNOUNCE:
        stream_announce(e, control->announce);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_ANNOUNCED:
        announced(e, control->announced);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_OPENED:
        s = table_get(&e->by_id, control->opened->stream);
        if (s)
            stream_opened(s, control->opened);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_REFUSED:
        refused(e, control->refused);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_WANT:
        want(e, control->want);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_DRAINED:
        e->drained = true;
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_FULL:
        s = table_get(&e->by_id, control->full->stream);
        if (s && s->epoch == control->full->epoch)
            turn_hurry(s);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_LOST:
        e->ingest_gone = control->lost->gone;
        e->drained = false;
        if (!e->ingest_gone)
            ask_again(e);
        return ERR_OK;
    default:
        return err_set(err, ERR_INPUT, 0, "encode: unexpected control message %d from above",
                       (int)control->is_case);
    }
}

/* ---- From below ---- */

static void sink_failed(struct encode *e, const Riverrun__SinkRefused *no)
{
    struct stream *s = table_get(&e->by_id, no->stream);
    struct err why;

    if (!s || no->owner != store_owner_epoch(e->store))
        return;
    err_set(&why, no->code < ERR_COUNT ? (enum err_code)no->code : ERR_SINK, 0, "%s", no->text);
    if (no->all)
        e->fatal = why;
    else
        stream_fail(s, &why);
}

static void sink_lost(struct encode *e, const Riverrun__SinkLost *lost)
{
    struct stream *s = table_get(&e->by_id, lost->stream);

    if (!s || lost->owner != store_owner_epoch(e->store) || stream_is_over(s))
        return;
    if (lost->code != ERR_FULL) /* of which emit tells once for all */
        stage_report(e->env, STAGE_WARNING, s->name, "%s: writing again what was not durable",
                     lost->text);
    stream_open_down(s);
}

static enum err_code accept_from_down(struct encode *e, const Riverrun__Control *control,
                                      struct err *err)
{
    struct stream *s;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_SINK_OPENED:
        s = table_get(&e->by_id, control->sink_opened->stream);
        if (s)
            stream_sink_opened(s, control->sink_opened);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_SINK_REFUSED:
        sink_failed(e, control->sink_refused);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_SINK_LOST:
        sink_lost(e, control->sink_lost);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_DURABLE:
        s = table_get(&e->by_id, control->durable->stream);
        if (s && !stream_is_over(s))
            schedule_durable(s, control->durable);
        return ERR_OK;
    default:
        return err_set(err, ERR_INPUT, 0, "encode: unexpected control message %d from below",
                       (int)control->is_case);
    }
}

static enum err_code encode_accept(void *self, enum stage_port port, struct msg **msg,
                                   struct err *err)
{
    struct encode *e = self;
    struct frame f;
    Riverrun__Control *control;
    struct stream *s;
    struct err why = {.code = ERR_OK};
    enum err_code code = msg_read(*msg, &f, err);

    if (!code && f.kind == MSG_TOKENS && port == PORT_UP) {
        s = table_get(&e->by_id, f.stream);
        if (s)
            schedule_accept(s, msg, &f, &why);
        if (why.code) {
            *err = why;
            code = why.code;
        }
    } else if (!code) {
        code = control_read(&f, &control, err);
        if (code)
            return code;
        code =
            port == PORT_UP ? accept_from_up(e, control, err) : accept_from_down(e, control, err);
        riverrun__control__free_unpacked(control, NULL);
    }
    if (!code)
        msg_free(msg);
    return code;
}

/* ---- Events ---- */

static void down_is_back(struct encode *e)
{
    for (size_t i = 0; i < e->stream_count; i++) {
        struct stream *s = e->streams[i];
        if (s->phase == PHASE_SOURCE && !s->peeked) {
            s->phase = PHASE_SINK; /* what was opened there is gone */
            s->epoch = 0;          /* and upstream's answer is to be compared, so asked for again */
        }
        if (s->phase == PHASE_SINK || (s->phase == PHASE_RUNNING && s->active))
            stream_open_down(s);
        else if (s->phase == PHASE_RUNNING && s->records.first != s->next_seq)
            turn_wanted(s); /* it has records to say again; others open it when they need it */
    }
}

static void peer_event(struct encode *e, const struct stage_event *event)
{
    bool there = event->kind == EVENT_PEER;

    if (event->port == PORT_UP) {
        e->up_there = there;
        e->drained = false;
        outbox_clear(&e->up);
        if (there)
            ask_again(e);
        return;
    }
    e->down_there = there;
    outbox_clear(&e->down);
    for (size_t i = 0; i < e->stream_count; i++)
        e->streams[i]->down_open = e->streams[i]->down_asked = false;
    if (there)
        down_is_back(e);
}

static void encode_event(void *self, const struct stage_event *event)
{
    struct encode *e = self;

    e->now_ms = event->now_ms;
    e->clock_ms = event->clock_ms;
    if (!e->begin_ms)
        e->begin_ms = e->now_ms;
    switch (event->kind) {
    case EVENT_PEER:
    case EVENT_PEER_GONE:
        peer_event(e, event);
        break;
    case EVENT_STOP:
        if (!e->stopping)
            e->stop_ms = e->now_ms;
        e->stopping = true;
        break;
    case EVENT_REQUEST:
        control_add(e, event->request, event->question);
        break;
    case EVENT_TIME:
    case EVENT_DESCRIPTOR:
        break;
    }
}

/* ---- Over ---- */

/* Would --restart help, and begin all others again too? */
static bool begins_again(const struct stream *failed)
{
    const enum err_code code = failed->why.code;

    return failed->encode->stream_count > 1 &&
           (code == ERR_CHANGED || code == ERR_MISMATCH || code == ERR_SINK);
}

/* Under --restart what had not its turn is as it was before. */
static void sum_up_stopped(const struct encode *e, size_t not_begun, struct err *err)
{
    const bool restart = e->env->config->restart;
    char rest[64] = "";

    if (not_begun)
        snprintf(rest, sizeof rest, ", %zu of %zu streams not begun%s", not_begun, e->stream_count,
                 restart ? " again" : "");
    err_set(err, ERR_STOPPED, 0, "stopped%s: run the same command again%s to resume%s", rest,
            restart ? " without --restart" : "",
            restart && not_begun ? " the others, with it to begin all again" : "");
}

/* One code for the run: a fault that all share is its code, faults of some are ERR_SOME. What each
 * stream failed of was said when it failed; a single one needs no more words. */
static void sum_up(const struct encode *e, struct err *err)
{
    size_t failed = 0, stopped = 0, not_begun = 0;
    const struct stream *first = NULL;
    bool same = true, again = false;

    for (size_t i = 0; i < e->stream_count; i++) {
        const struct stream *s = e->streams[i];
        stopped += s->phase != PHASE_FAILED && s->phase != PHASE_FINISHED;
        not_begun += e->env->config->restart ? s->phase == PHASE_ANNOUNCED : stream_is_new(s);
        if (s->phase != PHASE_FAILED)
            continue;
        first = first ? first : s;
        again = again || begins_again(s);
        same = same && s->why.code == first->why.code;
        failed++;
    }
    if (failed == 1 && e->stream_count == 1)
        err_set(err, first->why.code, 0, "%s", "");
    else if (e->stopping && (stopped || !e->announced || !e->stream_count) && !e->drained)
        sum_up_stopped(e, not_begun, err);
    else if (failed)
        err_set(err, failed == e->stream_count && same ? first->why.code : ERR_SOME, 0,
                "%zu of %zu streams failed%s", failed, e->stream_count,
                again ? "; --restart with the file of one alone begins that again" : "");
    else
        err_set(err, ERR_OK, 0, "%zu streams", e->stream_count);
}

/* Has s done all that it can without more to read? */
static bool is_quiet(const struct stream *s)
{
    if (s->phase == PHASE_IDLE)
        return !s->queued && !s->wants;
    return stream_is_over(s) ||
           (s->phase == PHASE_RUNNING && !s->head && !s->jobs && s->records.first == s->next_seq);
}

/* Nothing more will come, and what came is durable: the run ends as if it were stopped. */
static bool is_drained(const struct encode *e)
{
    bool quiet = e->drained;

    for (size_t i = 0; i < e->stream_count && quiet; i++)
        quiet = is_quiet(e->streams[i]);
    return quiet;
}

static bool all_over(struct encode *e)
{
    if (!e->stopping && is_drained(e)) {
        e->stopping = true;
        e->stop_ms = e->now_ms;
    }
    if (e->stopping) {
        bool over = true;
        for (size_t i = 0; i < e->stream_count; i++) {
            stream_stop(e->streams[i]);
            over =
                over && (stream_is_over(e->streams[i]) || e->streams[i]->phase == PHASE_ANNOUNCED);
        }
        return (over && !e->points) || e->now_ms - e->stop_ms > STAGE_STOP_MS;
    }
    if (!e->announced || e->points || e->active_count || e->waiting[0].head ||
        (e->env->config->follow && (!e->complete || e->stream_count == 0)))
        return false;
    for (size_t i = 0; i < e->stream_count; i++)
        if (e->streams[i]->phase != PHASE_FINISHED && e->streams[i]->phase != PHASE_FAILED)
            return false;
    return true;
}

static double ms(const struct latency *l, double share)
{
    return (double)latency_at(l, share) / 1e3;
}

/* Of what there was. */
static void tell_costs(const struct encode *e)
{
    char commits[80] = "", records[80] = "";

    if (e->commit_latency.total)
        snprintf(commits, sizeof commits, "; a commit %.1f ms (99 %%: %.1f)",
                 ms(&e->commit_latency, 0.5), ms(&e->commit_latency, 0.99));
    if (e->record_latency.total)
        snprintf(records, sizeof records, ", a record until it was durable %.0f ms (99 %%: %.0f)",
                 ms(&e->record_latency, 0.5), ms(&e->record_latency, 0.99));
    if (e->checkpoints)
        stage_report(e->env, STAGE_NOTE, NULL, "%llu checkpoints took %.3f s of %.1f s%s%s",
                     (unsigned long long)e->checkpoints, (double)e->checkpoint_us / 1e6,
                     (double)(e->now_ms - e->begin_ms) / 1e3, commits, records);
}

static enum stage_progress leave(struct encode *e, const struct stage_out *out, struct err *err)
{
    Riverrun__Bye bye = RIVERRUN__BYE__INIT;

    tell_costs(e);
    if (e->fatal.code)
        *err = e->fatal;
    else
        sum_up(e, err);
    outbox_tell(&e->up, RIVERRUN__CONTROL__IS_BYE, &bye);
    outbox_tell(&e->down, RIVERRUN__CONTROL__IS_BYE, &bye);
    e->over = true;
    control_answer(e, out);
    outbox_flush(&e->up, out, PORT_UP);
    outbox_flush(&e->down, out, PORT_DOWN);
    return STAGE_DONE;
}

static enum stage_progress encode_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                       struct err *err)
{
    struct encode *e = self;
    bool ran = checkpoint_collect(e);

    (void)budget_us;
    ran = schedule_collect(e) || ran;
    ran = schedule_run(e, out) || ran;
    ran = control_answer(e, out) || ran;
    ran = outbox_flush(&e->up, out, PORT_UP) || ran;
    ran = outbox_flush(&e->down, out, PORT_DOWN) || ran;
    if (e->fatal.code || all_over(e))
        return leave(e, out, err);
    return ran ? STAGE_RAN : STAGE_IDLE;
}

static size_t encode_descriptors(void *self, int *fds)
{
    struct encode *e = self;
    size_t count = 0;

    fds[count++] = store_descriptor(e->store);
    if (e->engine)
        fds[count++] = engine_descriptor(e->engine);
    return count;
}

static uint64_t encode_deadline(void *self)
{
    struct encode *e = self;

    if (e->stopping)
        return e->stop_ms + STAGE_STOP_MS + 1;
    return e->full_ms ? e->full_ms : UINT64_MAX;
}

static void encode_close(void **self)
{
    struct encode *e = *self;

    if (!e)
        return;
    schedule_abandon(e);
    for (size_t i = 0; i < e->stream_count; i++)
        stream_free(e->streams[i]);
    free(e->streams);
    while (e->free_jobs) {
        struct job *job = e->free_jobs;
        e->free_jobs = job->next;
        free(job->hidden);
        free(job);
    }
    engine_close(&e->engine);
    store_close(&e->store);
    control_drop(e);
    table_release(&e->by_id);
    table_release(&e->by_name);
    outbox_clear(&e->up);
    outbox_clear(&e->down);
    free(e);
    *self = NULL;
}

const struct stage_ops encode_ops = {
    .name = "encode",
    .has_up = true,
    .has_down = true,
    .ends_all = true,
    .open = encode_open,
    .accept = encode_accept,
    .event = encode_event,
    .work = encode_work,
    .descriptors = encode_descriptors,
    .deadline = encode_deadline,
    .close = encode_close,
};
