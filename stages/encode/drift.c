#include "stages/encode/drift.h"

#include "stages/encode/encode.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FIRST = 1 << 16,
    EVERY = 1 << 20, /* up to here positions quadruple */
    ROOM_LEAST = 64  /* jobs that must still go to the engine, so that a probe is in nobody's way */
};

/* A run of a probe's tokens. engine is first: it is what comes back. */
struct probe_job {
    struct engine_job engine;
    uint32_t tokens[JOB_TOKENS];
    float loss[JOB_TOKENS];
};

uint64_t drift_position(uint64_t tokens)
{
    uint64_t position = FIRST;

    if (tokens > EVERY)
        return (tokens + EVERY - 1) / EVERY * EVERY;
    while (position < tokens)
        position *= 4;
    return position;
}

/* ---- A probe's life ---- */

static void close_state(struct drift *d)
{
    if (d->jobs == 0 && !d->stream)
        engine_state_close(&d->state);
}

static void drop(struct encode *e)
{
    e->drift.stream = NULL;
    close_state(&e->drift);
}

void drift_leave(struct stream *s)
{
    if (s->encode->drift.stream == s)
        drop(s->encode);
}

void drift_release(struct encode *e)
{
    drop(e);
    require(!e->drift.state);
}

static bool submit(struct encode *e, const uint32_t *tokens, size_t count, bool scored)
{
    struct probe_job *job = malloc(sizeof *job);

    require(job && count <= JOB_TOKENS);
    memcpy(job->tokens, tokens, count * sizeof *tokens);
    job->engine = (struct engine_job){.state = e->drift.state,
                                      .tokens = job->tokens,
                                      .count = count,
                                      .loss = scored ? job->loss : NULL};
    if (engine_submit(e->engine, &job->engine, NULL)) {
        free(job);
        drop(e);
        return false;
    }
    e->drift.jobs++;
    e->in_flight += count;
    return true;
}

static void begin(struct stream *s, uint64_t position)
{
    static const uint32_t end_of_text = 0;
    struct encode *e = s->encode;
    struct drift *d = &e->drift;

    if (d->state || engine_state_open(e->engine, &d->state, NULL))
        return;
    *d = (struct drift){.stream = s, .state = d->state, .begin = position, .next = position};
    if (strcmp(s->prints->tokenizer, "bytes"))
        submit(e, &end_of_text, 1, false);
}

/* The tokens from d->next up to end, which are at tokens. */
static void read_tokens(struct encode *e, const uint32_t *tokens, uint64_t end)
{
    struct drift *d = &e->drift;
    uint64_t warm = d->begin + DRIFT_WARM;

    while (d->stream && d->next < end) {
        uint64_t stop = d->next < warm && warm < end ? warm : end;
        size_t count = (size_t)(stop - d->next);
        bool scored = d->next >= warm;
        d->next = stop;
        if (!submit(e, tokens, count, scored))
            return;
        tokens += count;
    }
}

void drift_submitted(struct stream *s, uint64_t position, const struct job *job)
{
    struct encode *e = s->encode;
    struct drift *d = &e->drift;
    uint64_t end = position + job->count, at = drift_position(position);

    if (s->drifts)
        return;
    if (engine_room(e->engine) < ROOM_LEAST) {
        drift_leave(s);
        return;
    }
    if (at < end && !d->state)
        begin(s, at);
    if (d->stream != s || d->next == d->begin + DRIFT_TOKENS)
        return;
    if (d->next < position) {
        drop(e); /* tokens passed it by */
        return;
    }
    if (end > d->begin + DRIFT_TOKENS)
        end = d->begin + DRIFT_TOKENS;
    read_tokens(e, job->tokens + (d->next - position), end);
}

/* ---- The comparison ---- */

static void compare(struct encode *e)
{
    struct drift *d = &e->drift;
    struct stream *s = d->stream;

    if (d->carried_count < DRIFT_SCORED || d->fresh_count < DRIFT_SCORED)
        return;
    if (isfinite(d->fresh) && d->bytes && d->carried > d->fresh * (1 + DRIFT_PERCENT / 100)) {
        double bits = M_LN2 * (double)d->bytes;
        if (asprintf(&s->drifts,
                     "drifts: at token %llu %.3f bits per byte against %.3f with a fresh state; "
                     "this model was trained on shorter texts",
                     (unsigned long long)d->begin, d->carried / bits, d->fresh / bits) < 0)
            s->drifts = NULL;
        require(s->drifts);
        stage_report(e->env, STAGE_WARNING, s->name, "%s", s->drifts);
    }
    drop(e);
}

void drift_scored(struct stream *s, uint64_t position, const struct job *job)
{
    struct drift *d = &s->encode->drift;
    uint64_t first = d->begin + DRIFT_WARM, end = d->begin + DRIFT_TOKENS;

    if (d->stream != s)
        return;
    for (uint32_t i = 0; i < job->count; i++)
        if (position + i >= first && position + i < end) {
            d->carried += job->loss[i];
            d->carried_count++;
            d->bytes += load_u32(job->piece->tokens.source + 4 * (size_t)(job->first + i));
        }
    compare(s->encode);
}

void drift_collected(struct encode *e, struct engine_job *done)
{
    struct probe_job *job = (struct probe_job *)done;
    struct drift *d = &e->drift;

    d->jobs--;
    if (d->stream && done->loss) {
        for (size_t i = 0; i < done->count; i++)
            d->fresh += job->loss[i];
        d->fresh_count += done->count;
        compare(e);
    }
    free(job);
    close_state(d);
}
