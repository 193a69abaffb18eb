/* stages/encode/analysis/pool.h: the hidden states of a unit's tokens become one vector.
 *
 * The vector is the mean of the tokens' hidden states, each weighted by its nats: what could be foreseen says little
 * of what a unit is about. Sums are of doubles, a channel at a time, token by token: the same tokens give the same
 * bits, whatever they came in.
 *
 * Memory  12 bytes a channel, from the first token on; 8 of them, with 20 more, go into a checkpoint */
#ifndef STAGES_ENCODE_ANALYSIS_POOL_H
#define STAGES_ENCODE_ANALYSIS_POOL_H

#include "schemas/bytes.h"

enum {
    POOL_CHANNELS_MAX = 8192, /* of a model that embeddings are made with */
    POOL_SAVED_MAX = 20 + 8 * POOL_CHANNELS_MAX
};

struct pool {
    uint32_t channels; /* 0: nothing was added since it was begun */
    uint64_t tokens;
    double weight;
    double *sum;   /* (channels) */
    float *vector; /* (channels) */
};

/* One token of the unit; of a model with other channels than before (it was changed), the unit begins anew. Of more
 * than POOL_CHANNELS_MAX nothing is added. */
void pool_add(struct pool *pool, const float *hidden, uint32_t channels, double nats);
/* The unit is over, and the next begins: its vector, lent until the next call, or NULL where it had no token with a
 * hidden state. */
const float *pool_take(struct pool *pool, uint32_t *channels);
/* What was added to more counts to pool, as if it had come there behind its own; more begins anew. */
void pool_join(struct pool *pool, struct pool *more);
size_t pool_memory(const struct pool *pool);
void pool_release(struct pool *pool);

/* As bytes and back. False: none of save's; *pool is then released. */
void pool_save(const struct pool *pool, struct buffer *out);
bool pool_load(struct pool *pool, struct reader *r);

#endif
