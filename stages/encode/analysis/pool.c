#include "stages/encode/analysis/pool.h"

#include <math.h>
#include <stdlib.h>

/* A token that was foreseen for certain, or whose nats are no number, has this weight at least: so that every unit
 * with a token has a vector. */
static const double least_nats = 1.0 / 1024, most_nats = 64;
static const float value_most = 1e30F; /* what is beyond, or no number, counts as 0 */

static void begin(struct pool *pool, uint32_t channels)
{
    pool_release(pool);
    pool->sum = calloc(channels, sizeof *pool->sum);
    pool->vector = calloc(channels, sizeof *pool->vector);
    require(pool->sum && pool->vector);
    pool->channels = channels;
}

void pool_add(struct pool *pool, const float *hidden, uint32_t channels, double nats)
{
    double weight = nats > least_nats ? nats < most_nats ? nats : most_nats : least_nats;

    if (!channels || channels > POOL_CHANNELS_MAX)
        return;
    if (channels != pool->channels)
        begin(pool, channels);
    for (size_t i = 0; i < channels; i++)
        pool->sum[i] += fabsf(hidden[i]) < value_most ? weight * (double)hidden[i] : 0;
    pool->weight += weight;
    pool->tokens++;
}

const float *pool_take(struct pool *pool, uint32_t *channels)
{
    *channels = pool->channels;
    if (!pool->tokens)
        return NULL;
    for (size_t i = 0; i < pool->channels; i++) {
        pool->vector[i] = (float)(pool->sum[i] / pool->weight);
        pool->sum[i] = 0;
    }
    pool->weight = 0;
    pool->tokens = 0;
    return pool->vector;
}

void pool_join(struct pool *pool, struct pool *more)
{
    if (!more->tokens)
        return;
    if (more->channels != pool->channels)
        begin(pool, more->channels);
    for (size_t i = 0; i < more->channels; i++) {
        pool->sum[i] += more->sum[i];
        more->sum[i] = 0;
    }
    pool->weight += more->weight;
    pool->tokens += more->tokens;
    more->weight = 0;
    more->tokens = 0;
}

size_t pool_memory(const struct pool *pool)
{
    return pool->channels * (sizeof *pool->sum + sizeof *pool->vector);
}

void pool_release(struct pool *pool)
{
    free(pool->sum);
    free(pool->vector);
    *pool = (struct pool){.channels = 0};
}

void pool_save(const struct pool *pool, struct buffer *out)
{
    buffer_u32(out, pool->tokens ? pool->channels : 0);
    buffer_u64(out, pool->tokens);
    buffer_f64(out, pool->weight);
    for (size_t i = 0; pool->tokens && i < pool->channels; i++)
        buffer_f64(out, pool->sum[i]);
}

bool pool_load(struct pool *pool, struct reader *r)
{
    uint32_t channels = read_u32(r);
    uint64_t tokens = read_u64(r);
    double weight = read_f64(r);
    bool good = !r->short_read && channels <= POOL_CHANNELS_MAX && !channels == !tokens &&
                (tokens ? weight > 0 && isfinite(weight) : weight == 0 && !signbit(weight));

    pool_release(pool);
    if (!good || !channels)
        return good;
    begin(pool, channels);
    pool->tokens = tokens;
    pool->weight = weight;
    for (size_t i = 0; i < channels; i++) {
        pool->sum[i] = read_f64(r);
        /* No mean is beyond what one value may be; a hundredth more for the rounding of sums. */
        good = good && fabs(pool->sum[i]) <= weight * value_most * 1.01;
    }
    if (r->short_read || !good) {
        pool_release(pool);
        return false;
    }
    return true;
}
