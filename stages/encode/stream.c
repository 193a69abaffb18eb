/* A stream's life in encode.
 *
 *    new      NEW_SOURCE --opened--> NEW_COMMIT --checkpoint 0 durable--> SINK --sink_opened--> RUNNING
 *    resumed  SINK --sink_opened: which checkpoint--> SOURCE --opened: still the same?--> RUNNING
 *    finished as resumed, and then FINISHED without the engine
 *    accepted change  NEW_COMMIT --durable--> SINK --> SOURCE --> RUNNING
 *    branch    its first reading as new, with the state, place and number that it was branched with
 *    followed  NEW_SOURCE or SOURCE --opened--> IDLE --want: its turn--> as new or resumed, from there on
 *
 * Either neighbour may go and come back at any point: what waited for it is asked again, with a fresh
 * epoch upstream, with the last durable token downstream. */
#include "schemas/step.h"
#include "stages/encode/encode.h"
#include "stages/encode/points.h"
#include "stages/encode/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

bool stream_is_over(const struct stream *s)
{
    return s->phase >= PHASE_PAUSED;
}

bool stream_is_new(const struct stream *s)
{
    uint64_t id;

    return s->phase == PHASE_ANNOUNCED && store_find(s->encode->store, s->name, &id, NULL);
}

const char *stream_phase_name(const struct stream *s)
{
    static const char *const names[] = {"waiting",  "running", "running", "running",
                                        "running",  "idle",    "running", "paused",
                                        "finished", "failed",  "stopped"};
    return s->phase == PHASE_RUNNING && !s->active ? "idle" : names[s->phase];
}

static uint64_t name_hash(const char *name)
{
    return XXH3_64bits(name, strlen(name)) | 1; /* 0 is no key */
}

struct stream *stream_find(struct encode *e, const char *name)
{
    struct stream *s = table_get(&e->by_name, name_hash(name));

    while (s && strcmp(s->name, name) != 0)
        s = s->same_hash;
    return s;
}

void stream_announce(struct encode *e, const Riverrun__Announce *announce)
{
    struct stream *s;

    if (stream_find(e, announce->name))
        return; /* ingest came back and says it again */
    if (e->stream_count == e->stream_room) {
        e->stream_room = e->stream_room ? 2 * e->stream_room : 16;
        e->streams = realloc(e->streams, e->stream_room * sizeof *e->streams);
        require(e->streams);
    }
    s = calloc(1, sizeof *s);
    require(s);
    s->encode = e;
    s->name = strdup(announce->name);
    s->source = strdup(announce->source);
    require(s->name && s->source);
    s->records.lines = s->records.sizes = buffer_of(SIZE_MAX);
    s->same_hash = table_get(&e->by_name, name_hash(s->name));
    require(!table_set(&e->by_name, name_hash(s->name), s, NULL));
    e->streams[e->stream_count++] = s;
}

void stream_free(struct stream *s)
{
    schedule_drop(s);
    checkpoint_clear(s->encode, &s->snapshot);
    turn_state_close(s);
    turn_free(s);
    analysis_release(&s->analysis);
    if (s->prints)
        riverrun__fingerprints__free_unpacked(s->prints, NULL);
    free(s->loaded);
    free(s->lineage);
    free(s->branched_from);
    free(s->drifts);
    free(s->name);
    free(s->source);
    free(s);
}

/* ---- The neighbours ---- */

void stream_open_up(struct stream *s)
{
    struct encode *e = s->encode;
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    s->epoch = store_owner_epoch(e->store) << 32 | ++e->epochs;
    s->expected = s->consumed = s->granted = 0;
    s->up_open = s->wants = false;
    s->up_number = s->loaded_number;
    open.stream = s->id;
    open.epoch = s->epoch;
    open.name = s->name;
    open.cursor = proto_bytes(s->accepted.cursor, s->accepted.cursor_bytes);
    open.normalize = proto_text(normalize_name(e->env->config->normalize));
    open.finished = s->finished;
    open.line_edges = e->env->config->unit == UNIT_LINE || e->env->config->unit == UNIT_ENTRY;
    outbox_tell(&e->up, RIVERRUN__CONTROL__IS_OPEN, &open);
    e->drained = false; /* said again when this one is read too */
    STEP_AT(encode_open, s->id, s->epoch);
}

void stream_open_down(struct stream *s)
{
    struct encode *e = s->encode;
    Riverrun__SinkOpen open = RIVERRUN__SINK_OPEN__INIT;
    Riverrun__SinkToken tokens[STORE_KEEP], *list[STORE_KEEP];
    bool resume = s->phase == PHASE_SINK && s->candidate_count;
    size_t count = resume ? s->candidate_count : 1;

    for (size_t i = 0; i < count; i++) {
        token_to(resume ? &s->candidates[i].token : &s->durable, &tokens[i]);
        list[i] = &tokens[i];
    }
    s->down_open = false;
    s->down_asked = true;
    open.stream = s->id;
    open.owner = store_owner_epoch(e->store);
    open.generation = s->generation;
    open.name = s->name;
    open.store_id = proto_bytes(store_id(e->store), STORE_ID_BYTES);
    open.tokens = list;
    open.n_tokens = count;
    open.finished = resume && s->candidates[0].finished;
    outbox_tell(&e->down, RIVERRUN__CONTROL__IS_SINK_OPEN, &open);
    STEP_AT(encode_sink_open, s->id, tokens[0].n);
}

static void close_neighbours(struct stream *s)
{
    struct encode *e = s->encode;
    Riverrun__Close up = RIVERRUN__CLOSE__INIT;
    Riverrun__SinkClose down = RIVERRUN__SINK_CLOSE__INIT;

    up.stream = down.stream = s->id;
    up.epoch = s->epoch;
    up.name = s->name;
    down.owner = store_owner_epoch(e->store);
    outbox_tell(&e->up, RIVERRUN__CONTROL__IS_CLOSE, &up);
    outbox_tell(&e->down, RIVERRUN__CONTROL__IS_SINK_CLOSE, &down);
    s->epoch = 0;
    s->up_open = s->down_open = s->down_asked = false;
}

/* ---- Over ---- */

void stream_leave(struct stream *s, enum phase phase)
{
    close_neighbours(s);
    s->phase = phase;
    drift_leave(s);
    schedule_drop(s);
    checkpoint_clear(s->encode, &s->snapshot);
    s->want_snapshot = s->want_pause = s->give_up = false;
    if (s->jobs == 0)
        turn_state_close(s);
    free(s->loaded);
    s->loaded = NULL;
    turn_over(s);
}

/* What changes between checkpoints: paused, failed. Durable in its own time, in order. */
void stream_set_note(struct stream *s, bool paused)
{
    Riverrun__Note note = RIVERRUN__NOTE__INIT;
    struct store_batch *batch = NULL;
    struct buffer bytes = buffer_of(64 * 1024);
    struct err err;

    s->paused = paused;
    s->noted = s->note_read = true; /* what the store still holds is older than this */
    note.source = s->source;
    note.paused = paused;
    note.failed = s->phase == PHASE_FAILED;
    note.code = note.failed ? s->why.code : 0;
    note.text = proto_text(note.failed ? s->why.text : "");
    note.faults = s->faults;
    note.fault_cursor = proto_bytes(s->accepted.cursor, s->accepted.cursor_bytes);
    if (!proto_write(&note.base, &bytes, &err) && !store_batch_open(&batch, &err) &&
        !batch_stream(batch, s->id, s->name, &err) &&
        !batch_note(batch, s->id, (struct view){bytes.data, bytes.bytes}, &err)) {
        store_submit(s->encode->store, &batch, NULL);
        s->encode->notes++;
    } else {
        stage_report(s->encode->env, STAGE_WARNING, s->name, "note not kept: %s", err.text);
    }
    store_batch_close(&batch);
    buffer_release(&bytes);
}

/* noted: in the store already, as it is. */
static void fail(struct stream *s, const struct err *why, bool noted)
{
    struct encode *e = s->encode;

    if (stream_is_over(s))
        return;
    s->why = *why;
    if (why->code == ERR_FULL) {
        e->fatal = *why; /* nothing more can be made safe: end the run, all that is durable stays */
        stream_leave(s, PHASE_STOPPED);
        return;
    }
    stage_report(e->env, STAGE_ERROR, s->name, "%s", why->text);
    stream_leave(s, PHASE_FAILED);
    if (noted)
        return;
    /* Poison lies in the text and the model; what a place does wrong is put right there. */
    s->faults += why->code == ERR_MODEL || why->code == ERR_INPUT;
    if (s->id)
        stream_set_note(s, false);
}

void stream_fail(struct stream *s, const struct err *why)
{
    fail(s, why, false);
}

/* It failed too often at one place, and would again. */
static void give_up(struct stream *s)
{
    struct err err;

    err_set(&err, s->why.code, 0, "%s; failed %u times at one place: begin again with --restart",
            s->why.text, s->faults);
    fail(s, &err, true);
}

/* ---- Begin ---- */

static enum err_code need_engine(struct encode *e, struct err *err)
{
    const struct config *c = e->env->config;
    const struct engine_options options = engine_options_of(e);

    if (e->engine)
        return ERR_OK;
    return engine_open(&e->engine, c->model, &options, err);
}

static void begin_new(struct stream *s)
{
    s->origin = true;
    s->finished = false;
    s->accepted = (struct place){0};
    s->candidate_count = 0;
    s->loaded_number = 0;
    s->phase = PHASE_NEW_SOURCE;
    stream_open_up(s);
}

/* Models that people have, known by their size: which tokenizer, and the file of it. */
static const struct {
    uint32_t vocab;
    const char *tokenizer, *remedy;
} known_models[] = {
    {256, "bytes", "leave out --vocab, this model reads bytes"},
    {50277, "neox", "give NeoX's file with --vocab 20B_tokenizer.json"},
    {50304, "neox", "give NeoX's file with --vocab 20B_tokenizer.json"},
    {50432, "neox", "give NeoX's file with --vocab 20B_tokenizer.json"},
    {65536, "world", "give World's file with --vocab rwkv_vocab_v20230424.txt"},
};

/* The tokenizer must be the model's. */
static enum err_code check_vocab(struct stream *s, uint32_t vocab, const char *tokenizer,
                                 struct err *err)
{
    uint32_t model = engine_info(s->encode->engine)->vocab;
    const char *remedy = "give the model's vocabulary with --vocab FILE";
    bool fits = vocab <= model && (strcmp(tokenizer, "bytes") || model == 256);

    for (size_t i = 0; i < sizeof known_models / sizeof *known_models; i++)
        if (known_models[i].vocab == model) {
            remedy = known_models[i].remedy;
            fits = fits && (model == 256 || !strcmp(tokenizer, known_models[i].tokenizer));
        }
    if (fits)
        return ERR_OK;
    return err_set(err, ERR_MISMATCH, 0, "the model has %u tokens, the tokenizer '%s' %u: %s",
                   model, tokenizer, vocab, remedy);
}

/* Can the model at hand go on from the loaded state? Asked before an accepted change is committed. */
static enum err_code check_carries(struct stream *s, struct err *err)
{
    const struct engine_info *info = engine_info(s->encode->engine);

    if (!s->origin && s->loaded_bytes != info->state_bytes)
        return err_set(
            err, ERR_MISMATCH, 0,
            "the stream's state has %zu bytes, this model's %zu: only a model of the same "
            "shape can go on; take the first%s",
            s->loaded_bytes, info->state_bytes,
            s->branched_from ? "" : ", or begin again with --restart");
    if (!strcmp(s->prints->tokenizer, "bytes"))
        return check_vocab(s, 256, s->prints->tokenizer, err);
    return ERR_OK;
}

/* Lineage that waits for its record is kept: the new change comes behind it. */
static void add_lineage(struct stream *s, const char *changed)
{
    char *before = s->lineage;

    if (asprintf(&s->lineage, "%s%s%s", before ? before : "", before ? "; " : "", changed) < 0)
        s->lineage = NULL;
    require(s->lineage);
    free(before);
}

static void accept_change(struct stream *s, const char *changed)
{
    struct err err;

    if (need_engine(s->encode, &err)) {
        s->encode->fatal = err;
        return;
    }
    if (check_carries(s, &err)) {
        stream_fail(s, &err);
        return;
    }
    add_lineage(s, changed);
    s->generation++;
    s->candidate_count = 0;
    s->phase = PHASE_NEW_COMMIT;
    checkpoint_birth(s);
}

/* Loaded, and no source belongs to it yet: upstream is opened as for a new stream. */
static void begin_branch(struct stream *s, const char *changed)
{
    if (changed[0])
        add_lineage(s, changed);
    s->accepted = (struct place){0};
    s->candidate_count = 0;
    s->loaded_number = 0;
    s->phase = PHASE_NEW_SOURCE;
    stream_open_up(s);
}

/* --restart: a branch begins again with what it was branched with, any other stream with nothing. */
static void begin_again(struct stream *s)
{
    uint64_t generation = s->generation;
    char changed[320];
    struct err err;
    enum err_code code = restore_origin(s, changed, sizeof changed, &err);

    s->generation = generation;
    if (!code)
        begin_branch(s, changed);
    else if (code == ERR_ABSENT && !s->branched_from)
        begin_new(s);
    else {
        if (code == ERR_ABSENT)
            err_set(&err, code, 0,
                    "branched from %s, and its savepoint '%s' is not here (it was dropped, or the "
                    "stream was imported): branch again, under another name",
                    s->branched_from, POINT_ORIGIN);
        stream_fail(s, &err);
    }
}

/* The newest checkpoint that can be loaded: one may be whole, and still say what is no state. */
static enum err_code load_newest(struct stream *s, char *changed, size_t room, struct err *err)
{
    enum err_code code = restore_find(s, UINT64_MAX, err);

    while (!code) {
        uint64_t number = s->candidates[0].number;
        code = restore_load(s, number, changed, room, err);
        if (code != ERR_DAMAGED)
            break;
        stage_report(s->encode->env, STAGE_WARNING, s->name,
                     "checkpoint %llu: %s; going on from the one before it",
                     (unsigned long long)number, err->text);
        code = restore_find(s, number, err);
    }
    return code;
}

static void resume(struct stream *s)
{
    char changed[320];
    struct err err;

    s->peeked = false;
    if (load_newest(s, changed, sizeof changed, &err)) {
        stream_fail(s, &err);
        return;
    }
    if (s->unbound) {
        begin_branch(s, changed);
        return;
    }
    if (changed[0] && !s->finished) {
        accept_change(s, changed);
        return;
    }
    s->phase = PHASE_SINK;
    stream_open_down(s);
}

/* Followed: open upstream at the newest checkpoint, and leave it at that until there is something to read.
 * False: it takes more than that, and a turn. */
static bool peek(struct stream *s, uint64_t number)
{
    char changed[320];
    struct err err;

    if (restore_peek(s, number, changed, sizeof changed, &err) || changed[0] || s->lineage ||
        s->unbound)
        return false;
    s->number = number;
    s->peeked = true;
    s->phase = PHASE_SOURCE;
    stream_open_up(s);
    return true;
}

static void read_note(struct stream *s)
{
    struct buffer bytes = buffer_of(64 * 1024);
    Riverrun__Note *note = NULL;

    s->note_read = true;
    if (!store_note(s->encode->store, s->id, &bytes, NULL))
        note = riverrun__note__unpack(NULL, bytes.bytes, bytes.data);
    if (note) {
        s->paused = note->paused && !status_finished(s->encode->store, s->id);
        s->faults = note->faults;
        s->note_failed = note->failed;
        err_set(&s->why, note->code < ERR_COUNT ? (enum err_code)note->code : ERR_INPUT, 0, "%s",
                note->text);
        riverrun__note__free_unpacked(note, NULL);
    }
    buffer_release(&bytes);
}

/* The store's name for s, or a new one. */
enum err_code stream_find_id(struct stream *s, struct err *err)
{
    struct encode *e = s->encode;
    enum err_code code;

    if (s->id)
        return ERR_OK;
    code = store_find(e->store, s->name, &s->id, err);
    s->known = !code;
    if (code == ERR_ABSENT) {
        s->id = store_reserve(e->store);
        code = ERR_OK;
    }
    if (!code)
        code = store_counter(e->store, s->id, &s->counter, err);
    if (!code)
        code = table_set(&e->by_id, s->id, s, err);
    return code;
}

void stream_begin(struct stream *s)
{
    struct encode *e = s->encode;
    struct err err;
    uint64_t numbers[STORE_KEEP];
    size_t count = 0;

    if (stream_find_id(s, &err) ||
        (s->known && store_checkpoints(e->store, s->id, numbers, &count, &err))) {
        stream_fail(s, &err);
        return;
    }
    if (s->known && !s->note_read)
        read_note(s);
    if (s->paused) {
        stage_report(e->env, STAGE_NOTE, s->name, "paused: `riverrun resume` lets it go on");
        stream_leave(s, PHASE_PAUSED);
        return;
    }
    if (!count) {
        s->generation = 1;
        begin_new(s);
    } else if (e->env->config->restart && !s->safe_number) { /* nothing of this run is there yet */
        s->faults = 0;
        if (restore_find(s, UINT64_MAX, &err))
            stage_report(e->env, STAGE_WARNING, s->name, "%s", err.text);
        s->generation = (s->candidate_count ? s->generation : numbers[0]) + 1;
        s->number = numbers[0];
        begin_again(s);
    } else if (s->faults >= FAULTS_MAX) {
        give_up(s);
    } else if (s->active) {
        resume(s);
    } else if (!peek(s, numbers[0])) {
        turn_wanted(s);
    }
}

static Riverrun__Fingerprints *copy_prints(const Riverrun__Fingerprints *prints)
{
    struct buffer bytes = buffer_of(64 * 1024);
    Riverrun__Fingerprints *copy = NULL;

    if (!proto_write(&prints->base, &bytes, NULL))
        copy = riverrun__fingerprints__unpack(NULL, bytes.bytes, bytes.data);
    buffer_release(&bytes);
    require(copy);
    return copy;
}

/* Upstream is open at the beginning of a new stream: what it said is kept. */
static void take_opened(struct stream *s, const Riverrun__Opened *opened)
{
    if (s->prints)
        riverrun__fingerprints__free_unpacked(s->prints, NULL);
    s->prints = copy_prints(opened->fingerprints);
    s->accepted = (struct place){.cursor_bytes = opened->cursor.len};
    memcpy(s->accepted.cursor, opened->cursor.data, opened->cursor.len);
}

/* Checkpoint 0 of a new stream. */
static void birth(struct stream *s)
{
    struct encode *e = s->encode;
    const struct analysis_options options = analysis_options_of(e);
    struct err err;

    if (need_engine(e, &err)) {
        e->fatal = err;
        return;
    }
    if (check_vocab(s, s->vocab, s->prints->tokenizer, &err)) {
        stream_fail(s, &err);
        return;
    }
    if (s->unbound && check_carries(s, &err)) {
        stream_fail(s, &err);
        return;
    }
    s->submitted = s->accepted;
    s->skip = 0;
    if (!s->unbound) {
        s->tokens = s->tokens_submitted = 0;
        s->base = s->next_seq = 0;
    }
    s->unbound = false;
    s->records.first = s->records.sent = s->next_seq;
    analysis_begin(&s->analysis, &options, 0);
    s->durable = (struct jsonl_place){.generation = s->generation, .n = s->base, .first = s->base};
    s->phase = PHASE_NEW_COMMIT;
    checkpoint_birth(s);
}

/* The state comes back from the store; where its checkpoint was damaged, the stream goes on from the one
 * before, as after a restart. */
static void wake(struct stream *s)
{
    struct encode *e = s->encode;
    const struct analysis_options options = analysis_options_of(e);
    struct err err;

    if (!s->state) {
        if (turn_state_open(s, &err)) {
            stream_fail(s, &err);
            return;
        }
        if (s->origin)
            analysis_begin(&s->analysis, &options, 0);
        else if (restore_state(s, &err)) {
            stage_report(e->env, STAGE_WARNING, s->name, "%s", err.text);
            turn_state_close(s);
            schedule_drop(s);
            s->up_open = s->down_open = false;
            s->epoch = 0;
            resume(s);
            return;
        }
    }
    if (!s->down_open && !s->down_asked && e->down_there)
        stream_open_down(s);
}

/* Upstream is to be opened anew for one that waits there for something to come. */
void stream_idle_again(struct stream *s)
{
    s->phase = s->peeked ? PHASE_SOURCE : PHASE_NEW_SOURCE;
    if (!s->peeked)
        s->accepted = (struct place){0};
    stream_open_up(s);
}

void stream_turn(struct stream *s)
{
    if (s->phase == PHASE_ANNOUNCED && !s->encode->stopping)
        stream_begin(s);
    else if (s->phase == PHASE_IDLE && s->peeked)
        resume(s);
    else if (s->phase == PHASE_IDLE)
        birth(s);
    else if (s->phase == PHASE_RUNNING)
        wake(s);
}

/* ---- Asked to pause, to go on, to stop ---- */

/* Not begun, or nothing of it in memory: the flag alone is made durable. */
static void pause_at_rest(struct stream *s)
{
    struct err err;

    if (stream_find_id(s, &err)) {
        stage_report(s->encode->env, STAGE_WARNING, s->name, "not paused: %s", err.text);
        return;
    }
    s->known = true;
    close_neighbours(s);
    turn_over(s);
    s->phase = PHASE_PAUSED;
    stream_set_note(s, true);
}

void stream_pause(struct stream *s)
{
    if (s->phase == PHASE_ANNOUNCED || s->phase == PHASE_IDLE) {
        pause_at_rest(s);
    } else if (!stream_is_over(s)) {
        s->want_pause = s->want_snapshot = true;
        turn_wanted(s);
    }
}

void stream_resume(struct stream *s)
{
    s->want_pause = false;
    if (s->phase != PHASE_PAUSED)
        return;
    stream_set_note(s, false);
    s->phase = PHASE_ANNOUNCED;
    s->encode->begun = s->encode->opened = 0; /* look through them again */
}

/* True when nothing of s is pending any more. */
static bool at_rest(const struct stream *s)
{
    return s->snapshot.step == SNAPSHOT_NONE && !s->want_snapshot && !s->jobs;
}

/* Called until s is over. */
void stream_stop(struct stream *s)
{
    if (stream_is_over(s) || s->phase == PHASE_ANNOUNCED)
        return;
    if (s->phase == PHASE_RUNNING && !s->stopping) {
        s->stopping = true;
        s->want_snapshot = s->want_snapshot || s->tokens_submitted != s->snapshot_tokens;
        if (!at_rest(s))
            turn_wanted(s);
    }
    if (s->phase == PHASE_RUNNING ? !at_rest(s) : s->snapshot.step == SNAPSHOT_COMMIT)
        return;
    if (s->phase == PHASE_RUNNING && s->encode->stream_count <= NAMED_MOST)
        stage_report(
            s->encode->env, STAGE_NOTE, s->name, "stopped at byte %llu, %llu records are safe",
            (unsigned long long)s->analysis.units.offset, (unsigned long long)s->durable.n);
    stream_leave(s, PHASE_STOPPED);
}

/* ---- Answers ---- */

static void run(struct stream *s)
{
    struct encode *e = s->encode;
    struct err err;

    if (need_engine(e, &err)) {
        e->fatal = err;
        return;
    }
    if (turn_state_open(s, &err) || restore_into_engine(s, &err)) {
        stream_fail(s, &err);
        return;
    }
    s->phase = PHASE_RUNNING;
    s->snapshot_ms = e->now_ms;
    s->snapshot_tokens = s->safe_tokens = s->tokens;
    if (s->lineage)
        schedule_lineage(s);
    if (s->tokens && e->stream_count <= NAMED_MOST)
        stage_report(e->env, STAGE_NOTE, s->name,
                     "resumed at byte %llu, %llu tokens and %llu records in",
                     (unsigned long long)s->analysis.units.offset, (unsigned long long)s->tokens,
                     (unsigned long long)s->next_seq);
}

static enum err_code check_vocabulary(const struct stream *s, const Riverrun__Fingerprints *now,
                                      struct err *err)
{
    const Riverrun__Fingerprints *then = s->prints;

    if (!strcmp(then->tokenizer, now->tokenizer) && then->vocabulary == now->vocabulary)
        return ERR_OK;
    return err_set(err, ERR_MISMATCH, 0,
                   "begun with vocabulary '%s' %08llx, now '%s' %08llx: give the first with "
                   "--vocab, or begin again with --restart",
                   then->tokenizer, (unsigned long long)then->vocabulary & 0xFFFFFFFF,
                   now->tokenizer, (unsigned long long)now->vocabulary & 0xFFFFFFFF);
}

/* Is upstream still what the stream was begun with? */
static enum err_code check_prints(const struct stream *s, const Riverrun__Fingerprints *now,
                                  struct err *err)
{
    const Riverrun__Fingerprints *then = s->prints;

    if (then->size_known != now->size_known || then->source_bytes != now->source_bytes)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' had %llu bytes, now it has %llu: begin again with --restart",
                       s->source, (unsigned long long)then->source_bytes,
                       (unsigned long long)now->source_bytes);
    if (then->head.len != now->head.len ||
        (now->head.len && memcmp(then->head.data, now->head.data, now->head.len)))
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' changed in its first 64 KiB: begin again with --restart", s->source);
    /* At the end of such a source no reader is asked any more. */
    if (now->reader[0] && strcmp(then->reader, now->reader))
        return err_set(err, ERR_MISMATCH, 0,
                       "'%s' was read as %s, now as %s: say --encoding as at first, or begin again "
                       "with --restart",
                       s->source, then->reader[0] ? then->reader : "plain text", now->reader);
    if (strcmp(then->entries, now->entries) != 0)
        return err_set(err, ERR_MISMATCH, 0,
                       "begun with --multiline-start '%s', now '%s': give it as at first, or begin "
                       "again with --restart",
                       then->entries, now->entries);
    if (check_vocabulary(s, now, err))
        return err->code;
    if (strcmp(then->normalize, now->normalize) || then->line_edges != now->line_edges ||
        strcmp(then->unicode, now->unicode))
        return err_set(err, ERR_MISMATCH, 0,
                       "begun with --normalize %s and Unicode %s, now %s and %s: begin again with "
                       "--restart",
                       then->normalize, then->unicode, now->normalize, now->unicode);
    return ERR_OK;
}

/* Run, if the model has all the tokens that upstream may send. */
static void run_checked(struct stream *s)
{
    struct err err;

    if (need_engine(s->encode, &err))
        s->encode->fatal = err;
    else if (check_vocab(s, s->vocab, s->prints->tokenizer, &err))
        stream_fail(s, &err);
    else
        run(s);
}

void stream_opened(struct stream *s, const Riverrun__Opened *opened)
{
    struct err err;

    if (opened->epoch != s->epoch || !opened->fingerprints || opened->cursor.len > CURSOR_MAX)
        return;
    s->up_open = true;
    s->vocab = opened->vocab;
    STEP_AT(encode_opened, s->id, s->epoch);
    if (s->phase == PHASE_NEW_SOURCE) {
        if (s->unbound && check_vocabulary(s, opened->fingerprints, &err)) {
            stream_fail(s, &err);
            return;
        }
        take_opened(s, opened);
        if (s->active)
            birth(s);
        else
            s->phase = PHASE_IDLE;
        return;
    }
    if (s->phase != PHASE_SOURCE && s->phase != PHASE_RUNNING)
        return;
    if (check_prints(s, opened->fingerprints, &err)) {
        stream_fail(s, &err);
        return;
    }
    if (s->phase == PHASE_RUNNING)
        return;
    if (s->peeked) {
        s->phase = PHASE_IDLE;
        if (s->active) /* its turn came while upstream was away */
            stream_turn(s);
        return;
    }
    if (!s->finished) {
        run_checked(s);
        return;
    }
    stage_report(s->encode->env, STAGE_NOTE, s->name,
                 "finished before: %llu records, nothing to do", (unsigned long long)s->next_seq);
    stream_leave(s, PHASE_FINISHED);
    if (s->note_failed)
        stream_set_note(s, false);
}

void stream_sink_opened(struct stream *s, const Riverrun__SinkOpened *opened)
{
    struct err err = {.code = ERR_OK};

    if (opened->owner != store_owner_epoch(s->encode->store) || opened->generation != s->generation)
        return;
    if (opened->warning && opened->warning[0])
        stage_report(s->encode->env, STAGE_WARNING, s->name, "%s", opened->warning);
    s->down_asked = false;
    STEP_AT(encode_sink_opened, s->id, opened->n);
    if (s->phase == PHASE_RUNNING) {
        schedule_rewind(s, opened->n);
        return;
    }
    if (s->phase != PHASE_SINK)
        return;
    if (s->candidate_count && !restore_take(s, opened->n, &err)) {
        if (err.code)
            stream_fail(s, &err);
        return;
    }
    s->candidate_count = 0;
    if (s->unbound) { /* those behind its first checkpoint were damaged */
        begin_branch(s, "");
        return;
    }
    s->down_open = true;
    if (s->up_open && s->up_number == s->loaded_number) {
        run_checked(s);
        return;
    }
    s->phase = PHASE_SOURCE;
    stream_open_up(s);
}

void stream_committed(struct stream *s, const struct snapshot *done)
{
    struct encode *e = s->encode;

    s->known = true;
    s->safe_tokens = done->tokens;
    s->safe_number = s->number;
    turn_committed(s, &done->place);
    if (done->born && s->phase == PHASE_NEW_COMMIT) {
        s->phase = PHASE_SINK;
        stream_open_down(s);
    } else if (done->finished) {
        s->finished = true;
        stage_report(e->env, STAGE_NOTE, s->name, "finished: %llu records, %llu tokens",
                     (unsigned long long)s->next_seq, (unsigned long long)s->tokens);
        stream_leave(s, PHASE_FINISHED);
    } else if (done->pause) {
        s->paused = true;
        stage_report(e->env, STAGE_NOTE, s->name, "paused at byte %llu",
                     (unsigned long long)s->analysis.units.offset);
        stream_leave(s, PHASE_PAUSED);
    } else {
        turn_given_up(s);
    }
}
