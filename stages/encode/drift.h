/* stages/encode/drift.h: does the carried state still do the model good? Private to stages/encode.
 *
 * A model that was trained on short texts may drift when its state is carried far beyond them: it reads
 * worse than it would with a fresh state. So at some positions of a stream (drift_position) the next
 * tokens are also read by a fresh state, a probe: DRIFT_WARM of them to warm up, DRIFT_SCORED to
 * compare. Where the carried state costs more than the fresh one by DRIFT_PERCENT, the stream gets one
 * warning, on stderr and in `status`.
 *
 * Promise Nothing that is written depends on it: no record, no checkpoint. A probe that cannot go on
 *         (the stream leaves, the engine is full, another stream's is under way) is dropped, and so is
 *         one that a stop or a resume falls into.
 * Cost    A probe is DRIFT_TOKENS tokens more. Of a stream's tokens that is nothing up to 64k, at most 2.4 %
 *         beyond, less than 0.5 % from 1M on.
 * Memory  One probe per encoder: a stream's state, and its jobs while they are at the engine. */
#ifndef STAGES_ENCODE_DRIFT_H
#define STAGES_ENCODE_DRIFT_H

#include "engine/engine.h"
#include <stdbool.h>

struct encode;
struct stream;
struct job;

enum { DRIFT_WARM = 512, DRIFT_SCORED = 1024, DRIFT_TOKENS = DRIFT_WARM + DRIFT_SCORED };

/* How much worse, in per cent, is a warning: README.md of stages tells how it was chosen. */
#define DRIFT_PERCENT 2.0

struct drift {
    struct stream *stream; /* NULL: none is under way */
    struct engine_state *state;
    uint64_t begin, next; /* positions in the stream: of its first token, of the next to be read */
    size_t jobs;          /* of state, at the engine */
    uint64_t carried_count, fresh_count, bytes; /* of scored tokens that are in; bytes of source */
    double carried, fresh;                      /* nats */
};

/* The first position at or behind tokens where a probe begins: 64k, 256k, 1M, every 1M from there. */
uint64_t drift_position(uint64_t tokens);

/* A job of s was submitted whose first token is at position: read what a probe wants of it. */
void drift_submitted(struct stream *s, uint64_t position, const struct job *job);
/* Its losses are in. */
void drift_scored(struct stream *s, uint64_t position, const struct job *job);
/* A job came back from the engine that is none of a stream's (its user is NULL). */
void drift_collected(struct encode *e, struct engine_job *done);
/* s is read no further: what is under way for it is dropped. */
void drift_leave(struct stream *s);
/* At the end, when the engine has nothing more of it. */
void drift_release(struct encode *e);

#endif
