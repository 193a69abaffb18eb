/* Status, pause and resume of a run, as the control socket asks. A pause is answered when the flag and the snapshot are
 * durable, which takes as long as emit is away; `status` does not wait for it. Only pause and resume wait for each
 * other, in the order in which they came: a pause that is under way cannot be taken back. */
#include "stages/encode/encode.h"
#include "stages/encode/status.h"

#include <stdio.h>
#include <stdlib.h>

void control_add(struct encode *e, const Riverrun__Request *request, uint64_t question)
{
    struct buffer bytes = buffer_of(1 << 20);
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
    one->bytes = s->units.offset;
    one->tokens = s->tokens;
    one->records = s->next_seq;
    one->checkpointed = s->checkpoint_clock_ms != 0;
    one->checkpoint_ms = s->checkpoint_clock_ms;
    if (s->prints) {
        one->size_known = s->prints->size_known;
        one->bytes_total = s->prints->source_bytes;
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
    if (request->all && status_of_store(e->store, reply, &err)) {
        reply->code = err.code;
        status_text(&reply->text, err.text);
    }
    status_text(&reply->waiting, waiting);
    reply->checkpoint_us = e->checkpoint_us;
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
    if (((pause && still_pausing(e)) || e->notes) && !e->over)
        return false; /* not yet durable */
    if (pause)
        check_missed(e, q, reply);
    return true;
}

/* False: not yet. */
static bool answer(struct encode *e, struct request *r, Riverrun__Reply *reply)
{
    if (is_flag(r->message))
        return answer_flag(e, r, reply);
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
