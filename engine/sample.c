/* engine/sample.c: a token from logits. The order of all sums is fixed, the exponential is f32-1's and the
 * generator is our own, so a seed gives the same tokens on every machine. */
#include "engine/engine.h"
#include "engine/kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPERATURE_MOST = 1000, PENALTY_MOST = 1000 };

/* What is further below the most likely has probability 0, long before float32 runs into subnormal numbers,
 * which some programs flush. */
static const float log_least = -80;

struct sampler {
    struct sampler_options options;
    struct kernels kernels;
    uint32_t vocab;
    uint64_t random;
    float *logits, *weights; /* (vocab) with penalties; as probabilities, not normed */
    uint32_t *order; /* (vocab) a heap, the most likely on top; what was taken off it lies behind */
    double *counts;  /* (vocab) how often, the longer ago the less */
    bool *was_seen;  /* (vocab) */
};

static enum err_code check(const struct sampler_options *o, struct err *err)
{
    if (!(o->temperature >= 0 && o->temperature <= TEMPERATURE_MOST))
        return err_set(err, ERR_USAGE, 0, "a temperature of %g: 0 to %d", o->temperature,
                       TEMPERATURE_MOST);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return err_set(err, ERR_USAGE, 0, "a top-p of %g: 0 to 1", o->top_p);
    if (!(fabs(o->presence) <= PENALTY_MOST && fabs(o->frequency) <= PENALTY_MOST))
        return err_set(err, ERR_USAGE, 0, "penalties of %g and %g: -%d to %d", o->presence,
                       o->frequency, PENALTY_MOST, PENALTY_MOST);
    if (!(o->decay >= 0 && o->decay <= 1))
        return err_set(err, ERR_USAGE, 0, "a decay of penalties of %g: 0 to 1", o->decay);
    return ERR_OK;
}

static enum err_code make_room(struct sampler *s, struct err *err)
{
    s->logits = malloc(s->vocab * sizeof *s->logits);
    s->weights = malloc(s->vocab * sizeof *s->weights);
    s->order = malloc(s->vocab * sizeof *s->order);
    s->counts = calloc(s->vocab, sizeof *s->counts);
    s->was_seen = calloc(s->vocab, sizeof *s->was_seen);
    return s->logits && s->weights && s->order && s->counts && s->was_seen
               ? ERR_OK
               : err_set(err, ERR_MEMORY, 0, "a sampler of %u tokens", s->vocab);
}

enum err_code sampler_open(struct sampler **out, uint32_t vocab,
                           const struct sampler_options *options, struct err *err)
{
    enum err_code code = check(options, err);
    struct sampler *s;

    if (code)
        return code;
    if (vocab == 0)
        return err_set(err, ERR_USAGE, 0, "a sampler of no tokens");
    s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_MEMORY, 0, "a sampler");
    s->options = *options;
    s->vocab = vocab;
    s->random = options->seed;
    code = make_room(s, err);
    if (!code)
        code = kernels_init(&s->kernels, "ref", "ref", err);
    if (code)
        sampler_close(&s);
    else
        *out = s;
    return code;
}

void sampler_close(struct sampler **sampler)
{
    struct sampler *s = *sampler;

    *sampler = NULL;
    if (!s)
        return;
    free(s->logits);
    free(s->weights);
    free(s->order);
    free(s->counts);
    free(s->was_seen);
    free(s);
}

/* splitmix64, its upper 53 bits: 0 <= x < 1. */
static double uniform(struct sampler *s)
{
    uint64_t z = s->random += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Take the penalties off, and find the most likely token, the first of several. */
static enum err_code prepare(struct sampler *s, const float *logits, uint32_t *best,
                             struct err *err)
{
    const struct sampler_options *o = &s->options;

    *best = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        double penalty = s->was_seen[i] ? o->presence + s->counts[i] * o->frequency : 0;
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return err_set(err, ERR_INPUT, 0, "the logit of token %u is %g", i, (double)logits[i]);
        s->logits[i] = (float)((double)logits[i] - penalty);
        if (s->logits[i] > s->logits[*best])
            *best = i;
    }
    if (s->logits[*best] == -INFINITY)
        return err_set(err, ERR_INPUT, 0, "all logits are -infinity: no token is possible");
    return ERR_OK;
}

/* ---- The most likely first ---- */

static bool before(const struct sampler *s, uint32_t a, uint32_t b)
{
    return s->logits[a] > s->logits[b] || (s->logits[a] == s->logits[b] && a < b);
}

static void sink(struct sampler *s, uint32_t at, uint32_t count)
{
    uint32_t *order = s->order, moved = order[at], child;

    while ((child = 2 * at + 1) < count) {
        child += child + 1 < count && before(s, order[child + 1], order[child]);
        if (!before(s, order[child], moved))
            break;
        order[at] = order[child];
        at = child;
    }
    order[at] = moved;
}

static void build(struct sampler *s)
{
    for (uint32_t i = 0; i < s->vocab; i++)
        s->order[i] = i;
    for (uint32_t i = s->vocab / 2; i-- > 0;)
        sink(s, i, s->vocab);
}

/* Take the top off a heap of count and put it behind. */
static uint32_t take(struct sampler *s, uint32_t count)
{
    uint32_t top = s->order[0];

    s->order[0] = s->order[count - 1];
    s->order[count - 1] = top;
    sink(s, 0, count - 1);
    return top;
}

/* ---- Probabilities ---- */

/* weights[i] = exp((logit - best) / temperature), of token ids[i], or i; returns their sum. */
static double weigh(struct sampler *s, const uint32_t *ids, uint32_t count, float best,
                    double temperature)
{
    double sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        double below = ((double)s->logits[ids ? ids[i] : i] - (double)best) / temperature;
        s->weights[i] = below < (double)log_least ? -INFINITY : (float)below;
    }
    s->kernels.exp(s->weights, s->weights, count);
    for (uint32_t i = 0; i < count; i++)
        sum += (double)s->weights[i];
    return sum;
}

/* The shortest run of most likely tokens that top_k and top_p allow: its length. It lies at the end of the
 * order, the most likely last. */
static uint32_t limit(struct sampler *s, float best)
{
    const struct sampler_options *o = &s->options;
    bool by_p = o->top_p > 0 && o->top_p < 1;
    uint32_t most = o->top_k > 0 && o->top_k < s->vocab ? o->top_k : s->vocab, kept = 0;
    double enough = by_p ? weigh(s, NULL, s->vocab, best, 1) * o->top_p : INFINITY, sum = 0;

    build(s);
    while (kept < most && sum < enough) {
        uint32_t id = take(s, s->vocab - kept++);
        sum += by_p ? (double)s->weights[id] : 0;
    }
    return kept;
}

static uint32_t choose(struct sampler *s, float best)
{
    const struct sampler_options *o = &s->options;
    bool limited = (o->top_p > 0 && o->top_p < 1) || (o->top_k > 0 && o->top_k < s->vocab);
    uint32_t count = limited ? limit(s, best) : s->vocab, last = 0;
    const uint32_t *ids = limited ? s->order + s->vocab - count : NULL;
    double goal = weigh(s, ids, count, best, o->temperature) * uniform(s), sum = 0;

    /* The same additions as in weigh: sum ends above goal, which is below what they came to. */
    for (uint32_t i = 0; i < count && sum <= goal; i++) {
        sum += (double)s->weights[i];
        last = i;
    }
    return ids ? ids[last] : last;
}

enum err_code sampler_next(struct sampler *sampler, const float *logits, uint32_t *token,
                           struct err *err)
{
    struct sampler *s = sampler;
    uint32_t best = 0, chosen;
    enum err_code code = prepare(s, logits, &best, err);

    if (code)
        return code;
    chosen = s->options.temperature > 0 ? choose(s, s->logits[best]) : best;
    for (uint32_t i = 0; i < s->vocab; i++)
        s->counts[i] *= s->options.decay;
    s->counts[chosen]++;
    s->was_seen[chosen] = true;
    *token = chosen;
    return ERR_OK;
}
