/* Turns: which of thousands of streams are worked on.
 *
 *    queued   there is something to do for it, and it waits for its turn
 *    active   it has a place: grants, jobs, records, a snapshot on its way
 *    at rest  nothing is to do. Upstream stays open without a grant, so that ingest says when something
 *             comes (`want`). Its state stays in memory while there is room, and then in the store alone.
 *
 * Turns are given in the order in which they were asked for. A stream that had SLICE_TOKENS gives its place
 * up where others wait, and stands in a line of its own from then on, until it has read all there is:
 * such streams have READ_MAX places, the others the rest. So a book never keeps a log from being read,
 * and books are read a few at a time. A state is given away only when a checkpoint holds exactly it, so what rests
 * needs no second place in the store, and nothing but checkpoints is ever gone on from.
 *
 * Memory  --state-memory: a half for states, the other half for snapshots, of which each is there twice
 *         while it goes to the store. At least two states and one snapshot, whatever they take. What the
 *         analysis has learnt of a stream counts with its state, and goes with it. */
#include "stages/encode/encode.h"

#include <stdlib.h>

enum {
    BEGIN_MOST = 64,    /* streams opened in one call, */
    OPENING_MOST = 256, /* and asked of upstream at once: what is read is asked behind them */
    SLICE_TOKENS = 1024,
    REST_MS = 50,
    WANT_MS = 1000, /* ingest said that it has something, and does not send it */
    SCAN_MS = 200,
    LOOK_MOST = 32 /* states looked at for one that can be given away */
};

struct kept {
    struct place places[STORE_KEEP]; /* (count) of checkpoints of this run, oldest first */
    size_t count;
};

/* ---- What fits ---- */

static size_t share(const struct encode *e, uint64_t part, size_t least)
{
    size_t one = e->engine ? engine_info(e->engine)->state_bytes : 0;
    uint64_t room = e->env->config->state_bytes / part, most;

    if (part == 2)
        room -= e->analysis_bytes < room ? e->analysis_bytes : room;
    most = one ? room / one : ACTIVE_MAX;
    return most < least ? least : (size_t)most;
}

static size_t active_most(const struct encode *e)
{
    size_t most = e->env->config->follow ? ACTIVE_MAX : READ_MAX, states = share(e, 2, 2);

    return states < most ? states : most;
}

bool turn_snapshot_room(struct encode *e)
{
    return e->snapshots < share(e, 4, 1);
}

/* ---- Queue and list ---- */

static void enqueue(struct stream *s)
{
    struct queue *q = &s->encode->waiting[s->lengthy];

    s->queued = true;
    s->next_queued = NULL;
    *(q->head ? q->end : &q->head) = s;
    q->end = &s->next_queued;
}

static void dequeue(struct stream *s)
{
    for (struct queue *q = s->encode->waiting; s->queued; q++) {
        struct stream **at = &q->head;
        while (*at && *at != s)
            at = &(*at)->next_queued;
        if (!*at)
            continue;
        *at = s->next_queued;
        if (q->end == &s->next_queued)
            q->end = at;
        s->queued = false;
    }
}

void turn_wanted(struct stream *s)
{
    if (!s->active && !s->queued && !stream_is_over(s))
        enqueue(s);
}

static void unlist(struct stream *s)
{
    struct encode *e = s->encode;

    if (!s->listed)
        return;
    *(s->older ? &s->older->newer : &e->oldest) = s->newer;
    *(s->newer ? &s->newer->older : &e->newest) = s->older;
    s->older = s->newer = NULL;
    s->listed = false;
}

static void list(struct stream *s)
{
    struct encode *e = s->encode;

    s->older = e->newest;
    *(e->newest ? &e->newest->newer : &e->oldest) = s;
    e->newest = s;
    s->listed = true;
}

/* ---- States ---- */

enum err_code turn_state_open(struct stream *s, struct err *err)
{
    enum err_code code = engine_state_open(s->encode->engine, &s->state, err);

    s->encode->states += !code;
    return code;
}

void turn_analysis_counted(struct stream *s)
{
    size_t bytes = analysis_memory(&s->analysis);

    s->encode->analysis_bytes += bytes - s->analysis_bytes;
    s->analysis_bytes = bytes;
}

void turn_state_close(struct stream *s)
{
    analysis_rest(&s->analysis);
    turn_analysis_counted(s);
    unlist(s);
    s->encode->states -= s->state != NULL;
    engine_state_close(&s->state);
}

/* Does the newest checkpoint hold all of s? */
static bool is_clean(const struct stream *s)
{
    return s->tokens_submitted == s->safe_tokens && s->snapshot.step == SNAPSHOT_NONE && !s->jobs &&
           s->records.first == s->next_seq && !s->want_snapshot;
}

/* Room for one more state: true, or the oldest that rest are being checkpointed to make some. */
static bool make_room(struct encode *e)
{
    struct stream *next;
    size_t states = e->states, looked = 0;

    for (size_t i = 0; i < e->active_count; i++)
        states += !e->active[i]->state; /* it will have one soon */
    if (states < share(e, 2, 2))
        return true;
    for (struct stream *s = e->oldest; s && looked < LOOK_MOST; s = next, looked++) {
        next = s->newer;
        if (is_clean(s)) {
            turn_state_close(s);
            return true;
        }
        s->give_up = s->want_snapshot = true;
        turn_wanted(s);
    }
    return false;
}

/* The oldest that rests and has its state, if it waits for a turn: nothing holds it up, while those that need a
 * state wait for it to give its own away. */
static struct stream *oldest_queued(struct encode *e)
{
    struct stream *s = e->oldest;

    while (s && !s->queued)
        s = s->newer;
    return s;
}

/* ---- Turns ---- */

/* Take back what upstream may still send, so that it says when there is something. */
static void take_back_grant(struct stream *s)
{
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    s->wants = false;
    if (!s->up_open || s->granted == s->consumed)
        return;
    s->granted = s->consumed;
    grant.stream = s->id;
    grant.epoch = s->epoch;
    grant.limit = s->granted;
    outbox_tell(&s->encode->up, RIVERRUN__CONTROL__IS_GRANT, &grant);
}

static void deactivate(struct stream *s)
{
    struct encode *e = s->encode;

    for (size_t i = 0; s->active; i++)
        if (e->active[i] == s) {
            e->active[i] = e->active[--e->active_count];
            s->active = false;
        }
}

void turn_over(struct stream *s)
{
    deactivate(s);
    dequeue(s);
    unlist(s);
}

static void rest(struct stream *s)
{
    deactivate(s);
    drift_leave(s);
    take_back_grant(s);
    if (s->records.first == s->next_seq) {
        buffer_release(&s->records.lines);
        buffer_release(&s->records.sizes);
        s->records.lines = s->records.sizes = buffer_of(SIZE_MAX);
    }
    if (s->state)
        list(s);
}

static bool has_nothing(const struct stream *s)
{
    return s->phase == PHASE_RUNNING && !s->head && !s->jobs && !s->ended && s->down_open &&
           s->snapshot.step == SNAPSHOT_NONE && !s->want_snapshot && !s->want_pause &&
           !s->stopping && s->records.sent == s->next_seq;
}

void turns_rest(struct encode *e)
{
    bool others = e->waiting[0].head || e->waiting[1].head;

    if (!e->env->config->follow)
        return;
    for (size_t i = e->active_count; i-- > 0;) {
        struct stream *s = e->active[i];
        if (!has_nothing(s))
            s->quiet_ms = 0;
        else if (!s->quiet_ms)
            s->quiet_ms = e->now_ms;
        if (s->quiet_ms &&
            ((others && !s->wants) || e->now_ms - s->quiet_ms >= (s->wants ? WANT_MS : REST_MS))) {
            rest(s);
            s->lengthy = false;
        }
    }
}

/* One that has had its share, while others wait, goes behind them. */
static bool preempt(struct encode *e, bool for_lengthy)
{
    for (size_t i = 0; i < e->active_count && e->env->config->follow; i++) {
        struct stream *s = e->active[i];
        bool had = s->served >= SLICE_TOKENS || (s->lengthy && !for_lengthy);
        if (had && s->phase == PHASE_RUNNING && !s->give_up && !s->stopping && !s->want_pause &&
            !s->ended && s->snapshot.step == SNAPSHOT_NONE) {
            rest(s);
            s->lengthy = true;
            turn_wanted(s);
            return true;
        }
    }
    return false;
}

/* A checkpoint of s is durable. If it was made to make room, and holds all of s, its turn is over. */
void turn_given_up(struct stream *s)
{
    if (!s->give_up)
        return;
    if (!is_clean(s)) {
        s->want_snapshot = true; /* it was taken before */
        return;
    }
    s->give_up = false;
    if (s->active)
        rest(s);
    if (s->head)
        turn_wanted(s);
}

/* Who is next, if there is a place. */
static struct stream *next_turn(struct encode *e)
{
    bool room = e->active_count < active_most(e);
    size_t lengthy = 0;

    if (e->waiting[0].head)
        return room || preempt(e, false) ? e->waiting[0].head : NULL;
    for (size_t i = 0; i < e->active_count; i++)
        lengthy += e->active[i]->lengthy;
    if (e->waiting[1].head && ((room && lengthy < READ_MAX) || preempt(e, true)))
        return e->waiting[1].head;
    return NULL;
}

static bool give_turns(struct encode *e)
{
    struct stream *s;
    bool ran = false;

    while ((s = next_turn(e))) {
        if (!s->state && !make_room(e))
            s = oldest_queued(e);
        if (!s)
            break;
        dequeue(s);
        unlist(s);
        s->active = true;
        s->served = s->quiet_ms = 0;
        e->active[e->active_count++] = s;
        stream_turn(s);
        ran = true;
    }
    return ran;
}

static bool is_opening(const struct stream *s)
{
    return (s->phase == PHASE_NEW_SOURCE || s->phase == PHASE_SOURCE) && !s->up_open;
}

/* Streams are begun in the order of their announcement: where they are followed, as fast as upstream opens
 * them, else each in its turn. */
static bool begin(struct encode *e)
{
    bool ran = false;

    while (e->opened < e->begun && !is_opening(e->streams[e->opened]))
        e->opened++;
    for (int count = 0; count < BEGIN_MOST && e->begun < e->stream_count && !e->stopping &&
                        e->begun - e->opened < OPENING_MOST;
         count++) {
        struct stream *s = e->streams[e->begun++];
        if (s->phase != PHASE_ANNOUNCED)
            continue;
        if (e->env->config->follow)
            stream_begin(s);
        else
            turn_wanted(s);
        ran = true;
    }
    return ran;
}

/* What rests and is not in a checkpoint gets into one in time. */
static void scan(struct encode *e)
{
    if (!e->env->config->follow || e->now_ms - e->scan_ms < SCAN_MS)
        return;
    e->scan_ms = e->now_ms;
    for (size_t i = 0; i < e->stream_count; i++) {
        struct stream *s = e->streams[i];
        if (!s->active && !s->queued && checkpoint_due(s)) {
            s->want_snapshot = true;
            turn_wanted(s);
        }
    }
}

bool turns_run(struct encode *e)
{
    bool ran = begin(e);

    scan(e);
    return give_turns(e) || ran;
}

/* ---- What upstream may forget ---- */

/* Upstream has no room before what was read is forgotten: as many checkpoints of all of it as are kept. */
void turn_hurry(struct stream *s)
{
    s->hurry = STORE_KEEP;
    s->want_snapshot = true;
    turn_wanted(s);
}

static void hurry_on(struct stream *s)
{
    if (s->hurry && s->tokens_submitted == s->safe_tokens && !s->head)
        s->hurry--;
    if (!s->hurry)
        return;
    s->want_snapshot = true;
    turn_wanted(s);
}

void turn_committed(struct stream *s, const struct place *place)
{
    Riverrun__Keep keep = RIVERRUN__KEEP__INIT;
    struct kept *kept = s->kept;

    if (!s->encode->env->config->follow)
        return;
    hurry_on(s);
    if (!kept)
        kept = s->kept = calloc(1, sizeof *kept);
    require(kept);
    if (kept->count == STORE_KEEP)
        memmove(kept->places, kept->places + 1, --kept->count * sizeof *kept->places);
    kept->places[kept->count++] = *place;
    if (kept->count < STORE_KEEP || !s->up_open)
        return;
    keep.stream = s->id;
    keep.epoch = s->epoch;
    keep.cursor = proto_bytes(kept->places[0].cursor, kept->places[0].cursor_bytes);
    outbox_tell(&s->encode->up, RIVERRUN__CONTROL__IS_KEEP, &keep);
}

void turn_free(struct stream *s)
{
    free(s->kept);
}
