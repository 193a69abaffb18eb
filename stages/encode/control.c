/* Status, pause, resume, savepoints and branches of a run, as the control socket asks. A pause is answered when the
 * flag and the snapshot are durable, which takes as long as emit is away; `status` does not wait for it. Only pause and
 * resume wait for each other, in the order in which they came: a pause that is under way cannot be taken back. */
#include "stages/encode/encode.h"
#include "stages/encode/points.h"
#include "stages/encode/status.h"

#include <stdio.h>
#include <stdlib.h>

void control_add(struct encode *e, const Riverrun__Request *request, uint64_t question)
{
    struct buffer bytes = buffer_of(SIZE_MAX);
    struct request *r = calloc(1, sizeof *r), **at = &e->requests;

    require(r && !proto_write(&request->base, &bytes, NULL));
    r->message = riverrun__request__unpack(NULL, bytes.bytes, bytes.data);
    require(r->message);
    buffer_release(&bytes);
    r->question = question;
    while (*at)
        at = &(*at)->next;
    *at = r;
}

static void drop_request(struct request **at)
{
    struct request *r = *at;

    *at = r->next;
    riverrun__request__free_unpacked(r->message, NULL);
    free(r);
}

void control_drop(struct encode *e)
{
    while (e->requests)
        drop_request(&e->requests);
}

/* What people should know of s beside its figures. */
static const char *remark(const struct stream *s)
{
    if (s->phase == PHASE_FAILED)
        return s->why.text;
    if (s->want_pause && !stream_is_over(s))
        return "pausing: waits for its records and its checkpoint to be durable";
    return s->drifts ? s->drifts : "";
}

static void add_live(Riverrun__Reply *reply, const struct stream *s)
{
    Riverrun__StreamStatus *one = status_add(reply, s->name);

    status_text(&one->source, s->source);
    status_text(&one->state, stream_phase_name(s));
    status_text(&one->text, remark(s));
    one->bytes = s->analysis.units.offset;
    one->tokens = s->tokens;
    one->records = s->next_seq;
    one->durable_records = s->durable.n;
    one->checkpointed = s->checkpoint_clock_ms != 0;
    one->checkpoint_ms = s->checkpoint_clock_ms;
    if (s->prints) {
        one->size_known = s->prints->size_known;
        one->bytes_total = s->prints->source_bytes;
        status_text(&one->reader, s->prints->reader);
    }
    one->computed = s->counter ? atomic_load_explicit(s->counter, memory_order_relaxed) : 0;
}

/* Paused since before this run, or not begun: only the store knows how it stands. */
static bool at_rest(const struct stream *s)
{
    return s->phase == PHASE_ANNOUNCED || (s->phase == PHASE_PAUSED && !s->prints);
}

static void fill_status(struct encode *e, const Riverrun__Request *request, Riverrun__Reply *reply)
{
    const char *waiting = !e->up_there                      ? "tokenize is not there"
                          : !e->announced || e->ingest_gone ? "ingest is not there"
                          : !e->down_there                  ? "emit is not there"
                                                            : "";
    struct err err;

    for (size_t i = 0; i < e->stream_count; i++)
        if (!at_rest(e->streams[i]))
            add_live(reply, e->streams[i]);
        else if (e->streams[i]->phase == PHASE_ANNOUNCED)
            reply->not_begun += !request->all || stream_is_new(e->streams[i]);
    if (request->all && status_of_store(e->store, reply, &err)) {
        reply->code = err.code;
        status_text(&reply->text, err.text);
    }
    status_text(&reply->waiting, waiting);
    reply->checkpoint_us = e->checkpoint_us;
    reply->checkpoints = e->checkpoints;
    reply->commit_p50_us = latency_at(&e->commit_latency, 0.5);
    reply->commit_p99_us = latency_at(&e->commit_latency, 0.99);
    reply->record_p50_us = latency_at(&e->record_latency, 0.5);
    reply->record_p99_us = latency_at(&e->record_latency, 0.99);
    reply->record_most_us = e->record_latency.most;
    reply->run_us = (e->now_ms - e->begin_ms) * 1000;
}

/* Do what r asks to one stream of this run, or of the store beside it. */
static void apply(struct encode *e, const char *name, bool pause, Riverrun__Reply *reply)
{
    struct stream *s = stream_find(e, name);
    uint64_t id;
    struct err err;

    if (s && pause)
        stream_pause(s);
    else if (s)
        stream_resume(s);
    else if (store_find(e->store, name, &id, &err)) {
        reply->code = ERR_ABSENT;
        err_set(&err, ERR_ABSENT, 0, "no stream '%s' here: `riverrun status` names them", name);
        status_text(&reply->text, err.text);
    } else {
        reply->code = ERR_ABSENT;
        err_set(&err, ERR_ABSENT, 0, "stream '%s' is in the store, but not read by this run", name);
        status_text(&reply->text, err.text);
    }
}

static bool still_pausing(struct encode *e)
{
    for (size_t i = 0; i < e->stream_count; i++)
        if (e->streams[i]->want_pause && !stream_is_over(e->streams[i]))
            return true;
    return false;
}

/* Was s asked to pause by q, and left without the flag being durable? */
static bool pause_missed(const struct stream *s, const Riverrun__Request *q)
{
    bool asked = q->all;

    for (size_t i = 0; i < q->n_names; i++)
        asked = asked || !strcmp(q->names[i], s->name);
    return asked && !s->paused && s->phase != PHASE_FINISHED && s->phase != PHASE_FAILED;
}

/* The run ends before every pause is durable: say so, rather than promise it. */
static void check_missed(struct encode *e, const Riverrun__Request *q, Riverrun__Reply *reply)
{
    for (size_t i = 0; i < e->stream_count; i++)
        if (pause_missed(e->streams[i], q)) {
            reply->code = ERR_STOPPED;
            status_text(&reply->text,
                        "the run was stopped before the pause was durable: pause again");
            return;
        }
}

static bool is_flag(const Riverrun__Request *q)
{
    return !strcmp(q->verb, "pause") || !strcmp(q->verb, "resume");
}

/* Pause or resume. False: not yet. */
static bool answer_flag(struct encode *e, struct request *r, Riverrun__Reply *reply)
{
    const Riverrun__Request *q = r->message;
    bool pause = !strcmp(q->verb, "pause");

    for (const struct request *older = e->requests; older != r; older = older->next)
        if (is_flag(older->message))
            return false;
    if (!e->announced && !e->over)
        return false; /* whom to pause is not known yet */
    if (!r->begun) {
        r->begun = true;
        for (size_t i = 0; q->all && i < e->stream_count; i++)
            apply(e, e->streams[i]->name, pause, reply);
        for (size_t i = 0; i < q->n_names && !reply->code; i++)
            apply(e, q->names[i], pause, reply);
        if (reply->code)
            return true;
    }
    if (((pause && still_pausing(e)) || e->notes || e->notes_again) && !e->over)
        return false; /* not yet durable */
    if (pause)
        check_missed(e, q, reply);
    return true;
}

/* ---- Savepoints and branches ---- */

static bool is_point(const Riverrun__Request *q)
{
    return !strcmp(q->verb, "savepoint") || !strcmp(q->verb, "drop") || !strcmp(q->verb, "branch");
}

/* Of a stream that is being read and has gone on since its newest checkpoint, one is made now. The one that may be on
 * its way was made before we were asked, so it is not waited for alone. */
static void want_checkpoint(struct stream *s, struct request *r)
{
    const struct snapshot *p = &s->snapshot;

    if (s->phase != PHASE_RUNNING || s->stopping ||
        (p->step == SNAPSHOT_NONE && !s->want_snapshot &&
         s->tokens_submitted == s->snapshot_tokens))
        return;
    s->want_snapshot = true;
    r->after = s->number + (p->step == SNAPSHOT_JOB || p->step == SNAPSHOT_SYNC ? 2 : 1);
    turn_wanted(s);
}

/* What was asked, as a batch to the store's writer. */
static enum err_code store_point(struct encode *e, struct request *r, struct err *err)
{
    const Riverrun__Request *q = r->message;
    bool branch = !strcmp(q->verb, "branch");
    const char *name = branch ? q->target : q->point, *at = branch ? q->point : q->target;
    struct store_batch *batch = NULL;
    struct point point = {.id = 0};
    enum err_code code;

    if (q->n_names != 1 || strlen(q->names[0]) > STORE_NAME_MAX || strlen(at) > STORE_POINT_MAX)
        return err_set(err, ERR_USAGE, 0, "a point of which stream?");
    strcpy(point.stream, q->names[0]);
    strcpy(point.name, at);
    if (branch && stream_find(e, name)) /* of which the store may know nothing yet */
        return err_set(err, ERR_USAGE, 0,
                       "stream '%s' is there already: choose another name for the branch", name);
    code = store_find(e->store, point.stream, &point.id, err);
    if (!code && branch)
        code = point_branch(e->store, &point, name, &batch, err);
    else if (!code)
        code = (!strcmp(q->verb, "drop") ? point_drop : point_save)(e->store, &point, name, &batch,
                                                                    err);
    if (code)
        return code;
    store_submit(e->store, &batch, r);
    e->points++;
    return ERR_OK;
}

bool control_collected(struct encode *e, const void *user, const struct err *outcome)
{
    struct request *r = e->requests;

    while (r && r != user)
        r = r->next;
    if (!r)
        return false;
    e->points--;
    r->outcome = *outcome;
    r->step = POINT_DONE;
    return true;
}

/* False: not yet. */
static bool answer_point(struct encode *e, struct request *r, Riverrun__Reply *reply)
{
    const Riverrun__Request *q = r->message;
    struct stream *s = q->n_names ? stream_find(e, q->names[0]) : NULL;
    bool newest =
        !strcmp(q->verb, "branch") ? !q->point[0] : !strcmp(q->verb, "savepoint") && !q->target[0];

    if (!r->begun && s && newest)
        want_checkpoint(s, r);
    r->begun = true;
    if (r->step == POINT_WAITS && !e->over &&
        (!s || stream_is_over(s) || s->safe_number >= r->after))
        r->step = store_point(e, r, &r->outcome) ? POINT_DONE : POINT_STORED;
    if (r->step != POINT_DONE && !e->over)
        return false;
    if (r->step != POINT_DONE)
        err_set(&r->outcome, ERR_STOPPED, 0,
                "the run ended before that was durable: look with `riverrun history`, ask again");
    reply->code = r->outcome.code;
    if (reply->code)
        status_text(&reply->text, r->outcome.text);
    return true;
}

/* False: not yet. */
static bool answer(struct encode *e, struct request *r, Riverrun__Reply *reply)
{
    if (is_flag(r->message))
        return answer_flag(e, r, reply);
    if (is_point(r->message))
        return answer_point(e, r, reply);
    if (!strcmp(r->message->verb, "status")) {
        fill_status(e, r->message, reply);
        return true;
    }
    reply->code = ERR_USAGE;
    status_text(&reply->text, "unknown request");
    return true;
}

bool control_answer(struct encode *e, const struct stage_out *out)
{
    struct request **at = &e->requests;
    bool any = false;

    while (*at) {
        Riverrun__Reply *reply = malloc(sizeof *reply);
        bool done;
        require(reply);
        riverrun__reply__init(reply);
        done = answer(e, *at, reply);
        if (done) {
            out->reply(out->self, (*at)->question, reply);
            drop_request(at);
        } else {
            at = &(*at)->next;
        }
        riverrun__reply__free_unpacked(reply, NULL);
        any = any || done;
    }
    return any;
}
