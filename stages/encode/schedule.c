/* The schedule: who reads next, and how much.
 *
 * Grants let source bytes come, jobs take tokens to the engine a stream at a time in turn, results
 * become records, records go down and are kept until they are durable. What is cut where depends on
 * speed; what comes out does not (P1, P2). */
#include "schemas/step.h"
#include "stages/encode/encode.h"

#include <math.h>
#include <stdlib.h>

enum {
    SPEED_MS = 100,
    FIRST_TOKENS = 16,
    LEAST_TOKENS = 2,
    MOST_TOKENS = 16 * JOB_TOKENS,
    FRESH_TOKENS = 512
};

/* ---- Messages in ---- */

static void piece_release(struct piece *piece)
{
    if (--piece->references)
        return;
    msg_free(&piece->msg);
    free(piece);
}

/* Count tokens of piece as used; returns the source bytes that they stand for. */
static uint64_t piece_use(struct piece *piece, uint64_t count)
{
    uint64_t source = 0;

    for (uint64_t i = piece->before.used; i < piece->before.used + count; i++) {
        source += load_u32(piece->tokens.source + 4 * (size_t)i);
        piece->text_at += load_u16(piece->tokens.text + 2 * i);
    }
    piece->before.used += count;
    return source;
}

/* The head of the queue is used up. What a resume has yet to pass over is in the state already. */
static void pop_piece(struct stream *s)
{
    struct piece *piece = s->head;

    s->submitted = (struct place){.cursor_bytes = piece->frame.cursor.bytes, .used = s->skip};
    memcpy(s->submitted.cursor, piece->frame.cursor.data, piece->frame.cursor.bytes);
    s->head = piece->next;
    piece_release(piece);
}

void schedule_accept(struct stream *s, struct msg **msg, const struct frame *f, struct err *err)
{
    struct piece *piece;
    uint64_t skip;

    err->code = ERR_OK;
    if (f->epoch != s->epoch || stream_is_over(s))
        return;
    if (f->position != s->expected || s->ended || s->phase != PHASE_RUNNING) {
        err_set(err, ERR_INPUT, 0, "gap: token %llu came where %llu was due",
                (unsigned long long)f->position, (unsigned long long)s->expected);
        return;
    }
    piece = calloc(1, sizeof *piece);
    require(piece);
    piece->frame = *f;
    piece->references = 1;
    piece->accepted_ms = s->encode->now_ms;
    piece->before = s->accepted;
    if (step_mistake("cursor_late"))
        memcpy(piece->before.cursor, f->cursor.data, piece->before.cursor_bytes = f->cursor.bytes);
    if (msg_read_tokens(f, &piece->tokens, err)) {
        free(piece);
        return;
    }
    piece->msg = *msg;
    *msg = NULL;
    s->expected += f->count;
    s->wants = false;
    s->ended = f->flags & MSG_END;
    s->accepted.cursor_bytes = f->cursor.bytes;
    memcpy(s->accepted.cursor, f->cursor.data, f->cursor.bytes);
    *(s->head ? &s->tail->next : &s->head) = piece;
    s->tail = piece;
    skip = s->skip < f->count ? s->skip : f->count;
    s->skip -= skip;
    s->consumed += piece_use(piece, skip);
    if (piece->before.used == f->count && s->head == piece)
        pop_piece(s);
    turn_wanted(s);
    STEP_AT(encode_accepted, s->id, s->expected);
}

static void grant(struct stream *s)
{
    const struct encode *e = s->encode;
    size_t sharers = e->active_count < READ_MAX ? READ_MAX : e->active_count;
    uint64_t window = e->env->config->window_bytes / sharers;
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    if (!s->up_open || s->stopping || s->want_pause ||
        s->consumed + window < s->granted + (window + 1) / 2)
        return;
    s->granted = s->consumed + window;
    grant.stream = s->id;
    grant.epoch = s->epoch;
    grant.limit = s->granted;
    outbox_tell(&s->encode->up, RIVERRUN__CONTROL__IS_GRANT, &grant);
}

/* ---- Records ---- */

static void add_record(struct stream *s, struct record *record)
{
    struct buffer line = buffer_of(RECORD_LINE_MAX);
    struct err err;

    record->seq = s->next_seq;
    if (record_line(s->name, record, &line, &err)) {
        stream_fail(s, &err);
    } else {
        buffer_put(&s->records.lines, line.data, line.bytes);
        buffer_u32(&s->records.sizes, (uint32_t)line.bytes);
        require(!s->records.lines.refused && !s->records.sizes.refused);
        s->encode->kept_bytes += line.bytes;
        if (!s->probe_ms) {
            s->probe_ms = s->arrived_ms;
            s->probe_seq = s->next_seq;
        }
        s->next_seq++;
        STEP_AT(encode_record, s->id, s->next_seq);
    }
    buffer_release(&line);
}

static void add_records(struct stream *s, struct analysis_records *made)
{
    for (size_t i = 0; i < made->count && !stream_is_over(s); i++)
        add_record(s, &made->records[i]);
}

void schedule_lineage(struct stream *s)
{
    const char *changed[1] = {s->lineage};
    struct record record = {.kind = RECORD_LINEAGE,
                            .begin = s->analysis.units.offset,
                            .end = s->analysis.units.offset,
                            .changed = changed,
                            .changed_count = 1};

    add_record(s, &record);
    free(s->lineage);
    s->lineage = NULL;
}

static uint32_t record_bytes(const struct stream *s, uint64_t seq)
{
    return load_u32(s->records.sizes.data + 4 * (seq - s->records.first));
}

/* Forget the records below n. */
static void drop_records(struct stream *s, uint64_t n)
{
    size_t bytes = 0, count = 0;

    while (s->records.first + count < n)
        bytes += record_bytes(s, s->records.first + count++);
    buffer_drop(&s->records.lines, bytes);
    buffer_drop(&s->records.sizes, 4 * count);
    s->records.first += count;
    s->records.sent_at -= bytes < s->records.sent_at ? bytes : s->records.sent_at;
    s->encode->kept_bytes -= bytes;
}

static bool send_record(struct stream *s, const struct stage_out *out)
{
    struct records *r = &s->records;
    uint32_t bytes = record_bytes(s, r->sent);
    struct frame f = {.kind = MSG_RECORD,
                      .stream = s->id,
                      .position = r->sent,
                      .count = 1,
                      .epoch = store_owner_epoch(s->encode->store) << 32 | s->generation,
                      .payload = {r->lines.data + r->sent_at, bytes}};
    struct msg *msg = NULL;
    bool sent;

    if (s->done_records && r->sent + 1 == s->next_seq)
        f.flags = MSG_END;
    require(!msg_make(&msg, &f, NULL, NULL));
    sent = out->send(out->self, PORT_DOWN, &msg);
    msg_free(&msg);
    if (sent) {
        r->sent++;
        r->sent_at += bytes;
    }
    return sent;
}

static void send_sync(struct stream *s)
{
    Riverrun__Sync sync = RIVERRUN__SYNC__INIT;

    sync.stream = s->id;
    sync.owner = store_owner_epoch(s->encode->store);
    sync.generation = s->generation;
    sync.n = s->snapshot.n;
    sync.whole = s->snapshot.finished;
    outbox_tell(&s->encode->down, RIVERRUN__CONTROL__IS_SYNC, &sync);
    s->snapshot.sync_sent = true;
    STEP_AT(encode_sync, s->id, s->snapshot.n);
}

/* Records in order, and `sync n` exactly behind record n - 1. */
static bool send_records(struct stream *s, const struct stage_out *out)
{
    bool ran = false;

    while (s->down_open) {
        if (s->snapshot.step == SNAPSHOT_SYNC && !s->snapshot.sync_sent &&
            s->records.sent == s->snapshot.n) {
            send_sync(s);
            outbox_flush(&s->encode->down, out, PORT_DOWN);
            ran = true;
        }
        if (s->records.sent == s->next_seq || !send_record(s, out))
            break;
        ran = true;
    }
    return ran;
}

void schedule_durable(struct stream *s, const Riverrun__Durable *durable)
{
    struct snapshot *p = &s->snapshot;

    if (durable->owner != store_owner_epoch(s->encode->store) ||
        durable->generation != s->generation || !durable->token || !s->down_open ||
        durable->token->n < s->records.first || durable->token->n > s->records.sent)
        return;
    token_from(&s->durable, durable->token);
    if (s->probe_ms && s->durable.n > s->probe_seq) {
        latency_add(&s->encode->record_latency, 1000 * (s->encode->now_ms - s->probe_ms));
        s->probe_ms = 0;
    }
    drop_records(s, s->durable.n);
    STEP_AT(encode_durable, s->id, s->durable.n);
    if (durable->asked && p->step == SNAPSHOT_SYNC && p->sync_sent && p->n == s->durable.n) {
        p->token = s->durable;
        checkpoint_commit(s);
    }
}

void schedule_rewind(struct stream *s, uint64_t n)
{
    struct err err;

    if (n < s->records.first || n > s->next_seq) {
        err_set(&err, ERR_SINK, 0, "emit holds %llu records, %llu were durable",
                (unsigned long long)n, (unsigned long long)s->records.first);
        stream_fail(s, &err);
        return;
    }
    drop_records(s, n);
    s->records.sent = s->records.first;
    s->records.sent_at = 0;
    s->snapshot.sync_sent = false;
    s->down_open = true;
}

/* ---- Jobs ---- */

static struct job *job_get(struct stream *s)
{
    struct encode *e = s->encode;
    struct job *job = e->free_jobs;

    if (job)
        e->free_jobs = job->next;
    else
        job = calloc(1, sizeof *job);
    require(job);
    job->engine = (struct engine_job){.state = s->state, .tokens = job->tokens, .user = job};
    job->stream = s;
    job->piece = NULL;
    job->first = job->count = 0;
    job->counts = false;
    return job;
}

/* Room for hidden states, where the analysis wants them. */
static void job_hidden(struct encode *e, struct job *job)
{
    const struct analysis_options options = analysis_options_of(e);

    if (job->hidden || !analysis_wants_hidden(&options))
        return;
    job->hidden = malloc(JOB_TOKENS * sizeof *job->hidden * engine_info(e->engine)->channels);
    require(job->hidden);
}

static void job_put(struct encode *e, struct job *job)
{
    if (job->piece)
        piece_release(job->piece);
    job->next = e->free_jobs;
    e->free_jobs = job;
}

static bool submit(struct stream *s, struct job *job)
{
    struct encode *e = s->encode;
    struct err err;

    if (engine_submit(e->engine, &job->engine, &err)) {
        checkpoint_state_free(e, job->engine.snapshot);
        job_put(e, job);
        stream_fail(s, &err);
        return false;
    }
    if (e->in_flight == 0)
        e->speed_ms += e->now_ms - e->idle_ms; /* time without work does not count */
    s->jobs++;
    e->in_flight += job->engine.count;
    STEP_AT(encode_submit, s->id, s->tokens_submitted);
    return true;
}

/* "The first token is scored after token 0": every stream begins with it, unscored. */
static void submit_origin(struct stream *s)
{
    struct job *job = job_get(s);

    job->tokens[0] = 0;
    job->engine.count = 1;
    s->origin = false;
    submit(s, job);
}

static void submit_tokens(struct stream *s, uint32_t most)
{
    struct piece *piece = s->head;
    uint32_t left = piece->frame.count - (uint32_t)piece->before.used;
    struct job *job = job_get(s);
    uint64_t source, position = s->tokens_submitted;

    job->piece = piece;
    piece->references++;
    job->first = (uint32_t)piece->before.used;
    job->count = left < most ? left : most;
    job->text_at = piece->text_at;
    job->counts = true;
    for (uint32_t i = 0; i < job->count; i++)
        job->tokens[i] = load_u32(piece->tokens.ids + 4 * (size_t)(job->first + i));
    job_hidden(s->encode, job);
    job->engine.count = job->count;
    job->engine.loss = job->loss;
    job->engine.hidden = job->hidden;
    source = piece_use(piece, job->count);
    if (s->tokens_submitted == s->snapshot_tokens)
        s->snapshot_ms = s->encode->now_ms; /* from here on there is something to lose */
    if (piece->frame.epoch == s->epoch)
        s->consumed += source;
    s->submitted = piece->before;
    s->tokens_submitted += job->count;
    s->served += job->count;
    atomic_fetch_add_explicit(s->counter, job->count, memory_order_relaxed);
    if (piece->before.used == piece->frame.count)
        pop_piece(s);
    if (checkpoint_due(s))
        checkpoint_attach(s, job);
    if (submit(s, job))
        drift_submitted(s, position, job);
}

static void submit_marker(struct stream *s)
{
    struct job *job = job_get(s);

    checkpoint_attach(s, job);
    submit(s, job);
}

/* Everything was read and its results are in: the last records, and the last checkpoint. */
static void finish(struct stream *s)
{
    struct analysis_records made;

    analysis_end(&s->analysis, &made);
    add_records(s, &made);
    if (stream_is_over(s))
        return;
    s->done_records = true;
    s->want_snapshot = true;
}

/* What a kill costs is bounded (--checkpoint-every): with a checkpoint still on its way through emit
 * and the store, at most the engine's window is submitted beyond the interval. */
static bool far_ahead(const struct stream *s)
{
    uint64_t every = s->encode->env->config->checkpoint_tokens;

    return every && s->snapshot.step != SNAPSHOT_NONE &&
           s->tokens_submitted + JOB_TOKENS > s->safe_tokens + every + MOST_TOKENS;
}

/* One step for s: a job, the end, or a marker. False when there is none to take now. */
static bool step(struct stream *s, uint32_t most)
{
    bool quiet = s->stopping || s->want_pause;

    while (s->head && s->head->before.used == s->head->frame.count)
        pop_piece(s);
    if (s->ended && !s->head && !s->jobs && !s->done_records && s->snapshot.step == SNAPSHOT_NONE) {
        finish(s);
        return true;
    }
    if (s->want_snapshot && s->snapshot.step == SNAPSHOT_NONE &&
        (quiet || s->done_records || !s->head || s->give_up)) {
        if (s->jobs || !turn_snapshot_room(s->encode))
            return false;
        if (s->origin)
            submit_origin(s);
        else
            submit_marker(s);
        return true;
    }
    if (!s->head || quiet || s->give_up || s->encode->full.code || far_ahead(s) ||
        s->encode->kept_bytes >= s->encode->env->config->record_window_bytes)
        return false;
    if (s->origin)
        submit_origin(s);
    else
        submit_tokens(s, most);
    return true;
}

/* Tokens that the engine may hold so that all of them are done within IN_FLIGHT_MS, or a quarter of the latency
 * that is asked for: emit takes a half, and a quarter is for all else. */
static uint64_t in_flight_most(const struct encode *e)
{
    const struct config *c = e->env->config;
    uint64_t ms =
        c->follow && c->max_latency_ms / 4 < IN_FLIGHT_MS ? c->max_latency_ms / 4 : IN_FLIGHT_MS;
    uint64_t most = e->tokens_per_s ? e->tokens_per_s * ms / 1000 : FIRST_TOKENS;

    return most < LEAST_TOKENS ? LEAST_TOKENS : most > MOST_TOKENS ? MOST_TOKENS : most;
}

/* Those that have hardly been served since their turn began go before those that have: a line is not kept
 * waiting by books, however many there are. */
static bool submit_fresh(struct encode *e, uint64_t most, uint32_t each)
{
    bool ran = false;

    for (size_t i = 0; e->engine && i < e->active_count; i++) {
        struct stream *s = e->active[i];
        while (s->phase == PHASE_RUNNING && !s->lengthy && s->served < FRESH_TOKENS &&
               e->in_flight < most && engine_room(e->engine) && step(s, each))
            ran = true;
    }
    return ran;
}

static bool submit_jobs(struct encode *e)
{
    uint64_t most = in_flight_most(e);
    uint32_t each = (uint32_t)(most / 4 < 1 ? 1 : most / 4 > JOB_TOKENS ? JOB_TOKENS : most / 4);
    size_t idle = 0;
    bool ran = e->env->config->follow && submit_fresh(e, most + most / 2, each);

    while (e->engine && e->active_count && idle < e->active_count && engine_room(e->engine) &&
           e->in_flight < most) {
        struct stream *s = e->active[e->turn++ % e->active_count];
        bool did = s->phase == PHASE_RUNNING && step(s, each);
        idle = did ? 0 : idle + 1;
        ran = ran || did;
    }
    return ran;
}

/* So many were done since the last time. A block ends one job or three, so a window by itself says little: it counts a
 * quarter. Blocks are as long as leaves one for each worker and one that waits. */
static void measure_speed(struct encode *e, uint64_t tokens)
{
    uint64_t ms = e->now_ms - e->speed_ms, speed;

    e->speed_tokens += tokens;
    e->idle_ms = e->now_ms;
    if (ms < SPEED_MS)
        return;
    speed = e->speed_tokens * 1000 / ms;
    e->tokens_per_s = e->tokens_per_s ? (3 * e->tokens_per_s + speed) / 4 : speed;
    e->speed_ms = e->now_ms;
    e->speed_tokens = 0;
    engine_set_block(e->engine, in_flight_most(e) / (engine_info(e->engine)->threads + 1));
}

/* A place of the source begins with the token at hand. */
static void begin_place(struct stream *s, struct view place)
{
    struct analysis_records made;

    analysis_cut(&s->analysis, &made);
    add_records(s, &made);
    analysis_place(&s->analysis, place);
}

static void take_results(struct stream *s, const struct job *job)
{
    const struct piece *piece = job->piece;
    struct analysis_records made;
    struct err err;
    uint32_t channels = engine_info(s->encode->engine)->channels;
    size_t text_at = job->text_at;

    s->arrived_ms = piece->accepted_ms;

    for (uint32_t i = 0; i < job->count && !stream_is_over(s); i++) {
        size_t at = job->first + i, bytes = load_u16(piece->tokens.text + 2 * at);
        struct view text = {piece->tokens.bytes + text_at, bytes};
        if (!isfinite(job->loss[i])) {
            err_set(&err, ERR_MODEL, 0,
                    "model '%s': its loss at byte %llu is not a finite number: its weights or "
                    "state are not sound",
                    s->encode->env->config->model, (unsigned long long)s->analysis.units.offset);
            stream_fail(s, &err);
            return;
        }
        if (at == 0 && piece->frame.place.bytes)
            begin_place(s, piece->frame.place);
        if (job->engine.hidden)
            analysis_hidden(&s->analysis, job->hidden + (size_t)i * channels, channels);
        analysis_token(&s->analysis, job->loss[i], text, load_u32(piece->tokens.source + 4 * at),
                       piece->frame.flags & MSG_BREAK && at + 1 == piece->frame.count, &made);
        add_records(s, &made);
        text_at += bytes;
    }
    if (!stream_is_over(s))
        drift_scored(s, s->tokens, job);
    s->tokens += job->count;
    turn_analysis_counted(s);
}

bool schedule_collect(struct encode *e)
{
    struct engine_job *done;
    uint64_t tokens = 0;
    bool any = false;

    while (e->engine && (done = engine_collect(e->engine, false))) {
        struct job *job = done->user;
        struct stream *s = job ? job->stream : NULL;
        any = true;
        e->in_flight -= done->count;
        tokens += done->count;
        if (!job) {
            drift_collected(e, done);
            continue;
        }
        s->jobs--;
        if (s->phase == PHASE_RUNNING && job->counts)
            take_results(s, job);
        if (done->snapshot && s->phase == PHASE_RUNNING)
            checkpoint_captured(s);
        else
            checkpoint_state_free(e, done->snapshot);
        if (stream_is_over(s) && s->jobs == 0)
            turn_state_close(s);
        job_put(e, job);
        STEP_AT(encode_collect, s->id, s->tokens);
    }
    if (any)
        measure_speed(e, tokens);
    return any;
}

void schedule_abandon(struct encode *e)
{
    struct engine_job *done;

    while (e->engine && (done = engine_collect(e->engine, true))) {
        checkpoint_state_free(e, done->snapshot);
        if (done->user)
            job_put(e, done->user);
        else
            drift_collected(e, done);
    }
    drift_release(e);
}

bool schedule_run(struct encode *e, const struct stage_out *out)
{
    bool ran = turns_run(e);

    for (size_t i = 0; i < e->active_count; i++)
        if (e->active[i]->phase == PHASE_RUNNING)
            grant(e->active[i]);
    ran = submit_jobs(e) || ran;
    for (size_t i = 0; i < e->active_count; i++)
        if (e->active[i]->phase == PHASE_RUNNING)
            ran = send_records(e->active[i], out) || ran;
    turns_rest(e);
    return ran;
}

void schedule_drop(struct stream *s)
{
    struct piece *piece;

    while ((piece = s->head)) {
        s->head = piece->next;
        piece_release(piece);
    }
    s->encode->kept_bytes -= s->records.lines.bytes;
    buffer_release(&s->records.lines);
    buffer_release(&s->records.sizes);
    s->records.first = s->records.sent = s->next_seq;
    s->records.sent_at = 0;
    s->ended = s->done_records = false;
    s->probe_ms = 0;
    s->skip = 0;
}
