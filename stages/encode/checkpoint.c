/* Checkpoints: snapshot -> sync -> durable -> commit.
 *
 *    JOB     a job in flight carries the marker: each worker of the engine copies its layers' state
 *            as the marker passes. The place (cursor, tokens used) is fixed at submit.
 *    SYNC    its results are in: analysis and next record number n are fixed. `sync n` follows the
 *            records before n down to emit, and `durable` comes back with the token of exactly n.
 *    COMMIT  state, place, analysis, n, token and fingerprints go to the store in one transaction.
 *
 * At most one snapshot of a stream is pending, and it is never replaced by a newer one. */
#include "schemas/step.h"
#include "stages/encode/encode.h"
#include "stages/encode/points.h"

#include <stdlib.h>

enum { FULL_AGAIN_MS = 5000, META_MAX = 1 << 20, PART_BYTES = 256 * 1024 };

void token_from(struct jsonl_place *place, const Riverrun__SinkToken *token)
{
    *place = (struct jsonl_place){.generation = token->generation,
                                  .n = token->n,
                                  .segment = token->segment,
                                  .length = token->length,
                                  .tail = token->tail,
                                  .first = token->first};
    if (token->chain.len == sizeof place->chain)
        memcpy(place->chain, token->chain.data, sizeof place->chain);
}

/* The chain is lent by place. */
void token_to(const struct jsonl_place *place, Riverrun__SinkToken *token)
{
    riverrun__sink_token__init(token);
    token->generation = place->generation;
    token->n = place->n;
    token->segment = place->segment;
    token->length = place->length;
    token->tail = place->tail;
    token->first = place->first;
    token->chain = proto_bytes(place->chain, sizeof place->chain);
}

uint8_t *checkpoint_state_new(struct encode *e)
{
    uint8_t *state = malloc(engine_info(e->engine)->state_bytes);

    require(state);
    e->snapshots++;
    return state;
}

void checkpoint_state_free(struct encode *e, uint8_t *state)
{
    e->snapshots -= state != NULL;
    free(state);
}

void checkpoint_clear(struct encode *e, struct snapshot *snapshot)
{
    if (snapshot->step != SNAPSHOT_JOB) /* else it is the job's, which is still at the engine */
        checkpoint_state_free(e, snapshot->state);
    buffer_release(&snapshot->analysis);
    *snapshot = (struct snapshot){.step = SNAPSHOT_NONE};
}

/* The first after FIRST_SNAPSHOT_MS of a run, then doubling up to the set interval: a job that is killed
 * every 20 s still gets on. */
static uint64_t interval_ms(const struct encode *e)
{
    uint64_t most = e->env->config->checkpoint_ms, half = (e->now_ms - e->begin_ms) / 2;

    half = half < FIRST_SNAPSHOT_MS ? FIRST_SNAPSHOT_MS : half;
    return half < most ? half : most;
}

bool checkpoint_due(const struct stream *s)
{
    const struct config *c = s->encode->env->config;
    uint64_t tokens = s->tokens_submitted - s->snapshot_tokens;

    if (s->snapshot.step != SNAPSHOT_NONE || s->phase != PHASE_RUNNING ||
        !turn_snapshot_room(s->encode))
        return false;
    return s->want_snapshot ||
           (tokens && (s->encode->now_ms - s->snapshot_ms >= interval_ms(s->encode) ||
                       (c->checkpoint_tokens && tokens >= c->checkpoint_tokens)));
}

void checkpoint_attach(struct stream *s, struct job *job)
{
    uint8_t *state = checkpoint_state_new(s->encode);

    job->engine.snapshot = state;
    s->snapshot = (struct snapshot){.step = SNAPSHOT_JOB,
                                    .place = s->submitted,
                                    .tokens = s->tokens_submitted,
                                    .finished = s->done_records,
                                    .pause = s->want_pause && !s->done_records,
                                    .state = state};
    s->want_snapshot = false;
    s->snapshot_ms = s->encode->now_ms;
    s->snapshot_tokens = s->tokens_submitted;
}

/* The parts of the snapshot that records and analysis decide. */
static void fix_records(struct stream *s)
{
    s->snapshot.n = s->next_seq;
    s->snapshot.offset = s->analysis.units.offset;
    s->snapshot.analysis = buffer_of(ANALYSIS_BYTES_MAX);
    analysis_save(&s->analysis, &s->snapshot.analysis);
    require(!s->snapshot.analysis.refused);
}

void checkpoint_captured(struct stream *s)
{
    fix_records(s);
    s->snapshot.step = SNAPSHOT_SYNC;
    STEP_AT(encode_captured, s->id, s->snapshot.n);
}

/* Checkpoint 0 of a generation: before its first record, or an accepted change at the same place. */
void checkpoint_birth(struct stream *s)
{
    s->snapshot = (struct snapshot){.born = true, .place = s->submitted, .tokens = s->tokens};
    s->durable.generation = s->generation;
    s->snapshot.token = s->durable;
    if (!s->origin) {
        s->snapshot.state = checkpoint_state_new(s->encode);
        memcpy(s->snapshot.state, s->loaded, engine_info(s->encode->engine)->state_bytes);
    }
    fix_records(s);
    checkpoint_commit(s);
}

static enum err_code make_meta(const struct stream *s, struct buffer *out, struct err *err)
{
    const struct snapshot *p = &s->snapshot;
    Riverrun__Checkpoint meta = RIVERRUN__CHECKPOINT__INIT;
    Riverrun__SinkToken token;
    char *lineage[1] = {s->lineage}, analyze[ANALYZE_TEXT_MAX];

    token_to(&p->token, &token);
    meta.cursor = proto_bytes(p->place.cursor, p->place.cursor_bytes);
    meta.used = p->place.used;
    meta.next_seq = p->n;
    meta.tokens = p->tokens;
    meta.offset = p->offset;
    meta.analysis = proto_bytes(p->analysis.data, p->analysis.bytes);
    meta.token = &token;
    meta.generation = s->generation;
    meta.base_seq = s->base;
    meta.fingerprints = s->prints;
    meta.model = proto_bytes(s->encode->model, ENGINE_FINGERPRINT_BYTES);
    if (s->encode->env->config->initial_state)
        meta.weights = proto_bytes(s->encode->weights, ENGINE_FINGERPRINT_BYTES);
    meta.arithmetic = s->encode->arithmetic;
    meta.unit = proto_text(unit_name(s->encode->env->config->unit));
    meta.analyze = proto_text(analyze_text(s->encode->env->config->analyze, analyze));
    meta.alerts_per_million = s->encode->env->config->alerts_per_million;
    meta.summary_lines = s->encode->env->config->summary_lines;
    meta.summary_minutes = s->encode->env->config->summary_minutes;
    meta.record_format = RECORD_FORMAT;
    meta.origin = p->state == NULL;
    meta.finished = p->finished;
    meta.written_ms = s->encode->clock_ms;
    if (s->branched_from)
        meta.branched_from = s->branched_from;
    if (p->born && s->lineage) {
        meta.lineage = lineage;
        meta.n_lineage = 1;
    }
    return proto_write(&meta.base, out, err);
}

static enum err_code make_note(const struct stream *s, struct buffer *out, struct err *err)
{
    Riverrun__Note note = RIVERRUN__NOTE__INIT;

    note.source = s->source;
    note.paused = s->snapshot.pause;
    return proto_write(&note.base, out, err);
}

/* The state in parts of whole layers, with the last ln_out at the end: as few as PART_BYTES allows, since
 * a part costs a key, and a page run that is too long is hard to find again. */
static size_t split_state(const struct stream *s, struct view *parts)
{
    const struct engine_info *info;
    size_t each, bytes, count = 0;

    if (!s->snapshot.state)
        return 0;
    info = engine_info(s->encode->engine);
    each = PART_BYTES / info->layer_state_bytes;
    each = (each ? each : 1) * info->layer_state_bytes;
    for (size_t at = 0; at < info->state_bytes; at += bytes) {
        bytes = info->state_bytes - at < each ? info->state_bytes - at : each;
        parts[count++] = (struct view){s->snapshot.state + at, bytes};
    }
    return count;
}

void checkpoint_commit(struct stream *s)
{
    struct encode *e = s->encode;
    uint64_t begin_us = e->env->measure_us();
    struct store_batch *batch = NULL;
    struct buffer meta = buffer_of(META_MAX), note = buffer_of(META_MAX);
    struct view parts[STORE_PARTS_MAX];
    size_t count = split_state(s, parts);
    struct err err;

    if (make_meta(s, &meta, &err) || make_note(s, &note, &err) || store_batch_open(&batch, &err) ||
        batch_stream(batch, s->id, s->name, &err) ||
        batch_note(batch, s->id, (struct view){note.data, note.bytes}, &err) ||
        batch_checkpoint(batch, s->id, ++s->number, (struct view){meta.data, meta.bytes}, parts,
                         count, &err)) {
        store_batch_close(&batch);
        stream_fail(s, &err);
    } else {
        s->snapshot.step = SNAPSHOT_COMMIT;
        s->snapshot.commit_us = begin_us;
        STEP_AT(encode_commit, s->id, s->snapshot.n);
        store_submit(e->store, &batch, s);
    }
    buffer_release(&meta);
    buffer_release(&note);
    e->checkpoint_us += e->env->measure_us() - begin_us;
}

/* The disk is full. read tries the first commit that finds it so once more, and ends; follow takes no more tokens,
 * and tries all of them again, and the notes, until there is room. s NULL: a note did. True: err is dealt with. */
static bool no_room(struct encode *e, struct stream *s, const struct err *err)
{
    bool first = !e->full.code;

    if (err->code != ERR_FULL || (s && s->snapshot.step != SNAPSHOT_COMMIT))
        return false;
    if (!e->env->config->follow && (!first || !s))
        return false;
    e->full = *err;
    if (!e->env->config->follow) {
        checkpoint_commit(s);
        return true;
    }
    if (first)
        stage_report(e->env, STAGE_WARNING, NULL, "%s: trying again every %d s", err->text,
                     FULL_AGAIN_MS / 1000);
    *(s ? &s->snapshot.again : &e->notes_again) = true;
    if (!e->full_ms)
        e->full_ms = e->now_ms + FULL_AGAIN_MS;
    return true;
}

static void try_again(struct encode *e)
{
    e->full_ms = 0;
    for (size_t i = 0; i < e->stream_count; i++)
        if (e->streams[i]->snapshot.again) {
            e->streams[i]->snapshot.again = false;
            checkpoint_commit(e->streams[i]);
        }
    for (size_t i = 0; e->notes_again && i < e->stream_count; i++)
        if (e->streams[i]->noted)
            stream_set_note(e->streams[i], e->streams[i]->paused);
    e->notes_again = false;
}

bool checkpoint_collect(struct encode *e)
{
    uint64_t begin_us = e->env->measure_us();
    struct err err;
    void *user;
    bool any = false;

    if (e->full_ms && e->full_ms <= e->now_ms)
        try_again(e);
    while (store_collect(e->store, false, &user, &err)) {
        struct stream *s = user;
        struct snapshot done;
        any = true;
        if (control_collected(e, user, &err))
            continue;
        e->notes -= s == NULL;
        if (no_room(e, s, &err))
            continue;
        if (err.code || (e->full.code && !e->env->config->follow))
            e->fatal = err.code ? err : e->full;
        if (err.code)
            continue;
        e->full.code = ERR_OK;
        if (!s || s->snapshot.step != SNAPSHOT_COMMIT)
            continue; /* a note, or of a stream that failed meanwhile */
        STEP_AT(encode_committed, s->id, s->snapshot.n);
        done = s->snapshot;
        s->snapshot.state = NULL;
        s->snapshot.analysis = buffer_of(0);
        checkpoint_clear(e, &s->snapshot);
        e->checkpoints++;
        latency_add(&e->commit_latency, e->env->measure_us() - done.commit_us);
        s->checkpoint_clock_ms = e->clock_ms;
        stream_committed(s, &done);
        checkpoint_clear(e, &done);
    }
    if (any)
        e->checkpoint_us += e->env->measure_us() - begin_us;
    return any;
}

enum err_code checkpoint_read(struct encode *e, uint64_t stream, uint64_t number,
                              struct store_checkpoint **values, Riverrun__Checkpoint **meta,
                              bool with_parts, struct err *err)
{
    enum err_code code = store_checkpoint_read(e->store, stream, number, with_parts, values, err);

    if (code)
        return code;
    code = point_decode((*values)->meta, meta, err);
    if (!code)
        return ERR_OK;
    store_checkpoint_free(values);
    return err_set(err, code, 0, "checkpoint %llu cannot be decoded", (unsigned long long)number);
}
