/* engine/cascade.h: the workers, and the blocks of tokens that pass from one to the next.
 *
 *     submit -> [ worker 0: gather, embed, layers 0..a ] -> [ worker 1: layers a..b ] -> ...
 *                  ^                                       [ last: layers ..L, ln_out, head, loss ] -> collect
 *                  +----------------- free blocks ----------------+
 *
 * Layer l of block t needs layer l - 1 of block t and its own states after block t - 1, so each worker
 * owns a run of layers with their part of every stream's state, and works on block t while the next one
 * works on block t - 1. The runs follow measured time. A block is handed over once per worker. Products are
 * single-threaded, but for a block that is alone: there the other workers help (crew.h).
 *
 * Order    Blocks never overtake each other, and jobs enter them in the order of submission: so a
 *          stream's tokens meet each layer in order, and jobs are done in order.
 * Marker   A job's snapshot is the state behind its last token. Each worker copies its layers when it
 *          is through with the block; no later token of that stream is in the same block.
 * Threads  One caller; the workers are ours. One lock guards queue, blocks and results; it is held for
 *          pointers only, never while numbers are computed. */
#ifndef ENGINE_CASCADE_H
#define ENGINE_CASCADE_H

#include "engine/model.h"

enum { JOBS_MAX = 4096 };

struct cascade;

struct engine_state {
    struct engine *engine;
    float *values;       /* layers x layer_floats, then ln_out [channels] */
    size_t jobs;         /* between submit and collect */
    bool started;        /* has read a token, so that a next one can be scored */
    uint64_t last_block; /* under the lock: block that holds a snapshot of this stream */
};

/* Start threads workers (fewer where there are not layers enough) for blocks of block_tokens rows.
 * Borrows model until close. Fails: ERR_MEMORY, ERR_SYSTEM. */
MUST_CHECK enum err_code cascade_open(struct cascade **out, const struct model *model,
                                      unsigned threads, uint32_t block_tokens, struct err *err);
/* Jobs not yet collected are dropped; none is touched after this, and their states are free. */
void cascade_close(struct cascade **cascade);

unsigned cascade_workers(const struct cascade *cascade);
size_t cascade_room(const struct cascade *cascade);
/* There is room, and job is checked. */
void cascade_submit(struct cascade *cascade, struct engine_job *job);
struct engine_job *cascade_collect(struct cascade *cascade, bool wait);
int cascade_descriptor(const struct cascade *cascade);
uint64_t cascade_products(struct cascade *cascade);
/* Rows of the blocks that are filled from now on, at most block_tokens. */
void cascade_set_block(struct cascade *cascade, uint64_t rows);
/* While held, submitted jobs wait: for tests, which need jobs to meet in one block. */
void cascade_hold(struct cascade *cascade, bool held);
void engine_hold(struct engine *engine, bool held);
/* For tests: share the layers anew before the next block, the first worker gets `first` of them, or what is left when
 * that is divided by their number + 1. */
void cascade_share(struct cascade *cascade, uint32_t first);
void engine_share(struct engine *engine, uint32_t first);
/* For tests: workers help each other with models that are too small to gain by it. */
void cascade_always_help(struct cascade *cascade);
void engine_always_help(struct engine *engine);

/* ---- engine/head.c: from the last layer to losses and logits. ---- */

struct head;

/* One run of rows of a job in a block, beside its struct segment. */
struct part {
    struct engine_job *job;
    size_t offset; /* of the segment's first token in the job */
    bool last;     /* the segment ends the job */
};

MUST_CHECK enum err_code head_open(struct head **out, const struct model *model,
                                   uint32_t block_tokens, struct err *err);
void head_close(struct head **head);
/* ln_out of all rows; losses and logits where wanted; each stream's ln_out moves on, and is copied to
 * the snapshots that end here. */
void head_run(struct head *head, struct batch *batch, const struct part *parts,
              struct scratch *scratch);

#endif
