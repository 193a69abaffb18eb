#include "stages/encode/analysis/cohesion.h"
#include "stages/encode/analysis/usual.h"

#include <math.h>
#include <stdlib.h>

enum {
    KEYS = 65536,
    PARTS = 16 /* of a word's weight: counts are whole numbers */,
    LOGS = 4096,
    MANTISSAS = 4096
};

static const double prior = 0.8, ln2 = 0.69314718055994531;

void cohesion_add(struct cohesion *c, uint64_t begin, const struct words *words)
{
    require(!cohesion_full(c));
    c->unit[c->units++] = (struct cohesion_unit){begin, c->words};
    for (size_t i = 0; i < words->count; i++)
        c->word[c->words++] = (uint16_t)words->list[i].key;
}

bool cohesion_full(const struct cohesion *c)
{
    return c->units == COHESION_UNITS || c->words + WORDS_MAX > COHESION_WORDS;
}

void cohesion_drop(struct cohesion *c, uint32_t units)
{
    uint32_t words = units < c->units ? c->unit[units].first : c->words;

    c->units -= units;
    c->words -= words;
    memmove(c->unit, c->unit + units, c->units * sizeof *c->unit);
    memmove(c->word, c->word + words, c->words * sizeof *c->word);
    for (uint32_t i = 0; i < c->units; i++)
        c->unit[i].first -= words;
}

/* ---- The cheapest cut ---- */

static double ln(double x)
{
    return usual_log2(x) * ln2;
}

/* While a window is cut. */
struct work {
    const struct cohesion *c;
    uint8_t weight[KEYS];              /* of each word, of PARTS */
    uint32_t count[KEYS];              /* in the part at hand, times PARTS */
    double term[LOGS];                 /* of n_w ln(n_w + 1), n_w = i / PARTS */
    double ln_mantissa[MANTISSAS + 1]; /* ln of 1/2 + i / (2 MANTISSAS) */
    double kinds, price;               /* K; of a part */
    uint32_t total;                    /* of the part at hand, times PARTS */
    double sum;                        /* of n_w ln(n_w + 1) in it */
    double best[COHESION_UNITS + 1];   /* what the units before cost at least, */
    uint32_t from[COHESION_UNITS + 1]; /* where their last part begins */
};

static uint32_t words_end(const struct cohesion *c, uint32_t unit)
{
    return unit + 1 < c->units ? c->unit[unit + 1].first : c->words;
}

/* In how many units each word stands, for now in count. */
static void count_units(struct work *w)
{
    static const uint32_t none = UINT32_MAX;
    uint32_t *seen = malloc(KEYS * sizeof *seen);

    require(seen);
    for (size_t i = 0; i < KEYS; i++)
        seen[i] = none;
    for (uint32_t unit = 0; unit < w->c->units; unit++)
        for (uint32_t i = w->c->unit[unit].first; i < words_end(w->c, unit); i++) {
            uint16_t key = w->c->word[i];
            w->count[key] += seen[key] != unit;
            seen[key] = unit;
        }
    free(seen);
}

static double term_of(uint32_t count)
{
    double n = (double)count / PARTS;

    return n * ln(n + 1);
}

static void weigh(struct work *w)
{
    double units = w->c->units, total = 0;

    count_units(w);
    for (size_t key = 0; key < KEYS; key++) {
        if (!w->count[key])
            continue;
        w->weight[key] = (uint8_t)floor(PARTS * ln(units / w->count[key]) / ln(units) + 0.5);
        w->kinds += w->weight[key] > 0;
        w->count[key] = 0;
    }
    for (uint32_t i = 0; i < w->c->words; i++)
        total += w->weight[w->c->word[i]];
    w->price = prior * ln(total / PARTS + 2);
    for (size_t i = 0; i < LOGS; i++)
        w->term[i] = term_of((uint32_t)i);
    for (size_t i = 0; i <= MANTISSAS; i++)
        w->ln_mantissa[i] = ln(0.5 + (double)i / (2 * MANTISSAS));
}

static double term(const struct work *w, uint32_t count)
{
    return count < LOGS ? w->term[count] : term_of(count);
}

/* Between two of a table: a part's cost is wrong by a thousandth of a bit at most, and the same everywhere. */
static double quick_ln(const struct work *w, double x)
{
    int exponent;
    double at = (frexp(x, &exponent) - 0.5) * (2 * MANTISSAS);
    size_t i = (size_t)at;
    double low = w->ln_mantissa[i], high = w->ln_mantissa[i < MANTISSAS ? i + 1 : i];

    return exponent * ln2 + low + (at - (double)i) * (high - low);
}

/* Of units from first on something may be counted. */
static void begin_part(struct work *w, uint32_t first)
{
    for (uint32_t i = w->c->unit[first].first; i < w->c->words; i++)
        w->count[w->c->word[i]] = 0;
    w->total = 0;
    w->sum = 0;
}

/* The part at hand with one unit more: its cost. */
static double extend(struct work *w, uint32_t unit)
{
    double n;

    for (uint32_t i = w->c->unit[unit].first; i < words_end(w->c, unit); i++) {
        uint16_t key = w->c->word[i];
        uint32_t count = w->count[key];
        if (!w->weight[key])
            continue;
        w->sum += term(w, count + w->weight[key]) - term(w, count);
        w->count[key] += w->weight[key];
        w->total += w->weight[key];
    }
    n = (double)w->total / PARTS;
    return n > 0 ? n * quick_ln(w, n + w->kinds) - w->sum : 0;
}

/* What the units from begin, before end, cost as one part. */
static double cost_of(struct work *w, uint32_t begin, uint32_t end)
{
    double cost = 0;

    begin_part(w, 0);
    for (uint32_t unit = begin; unit < end; unit++)
        cost = extend(w, unit);
    return cost;
}

static void find(struct work *w)
{
    uint32_t units = w->c->units;

    for (uint32_t end = 1; end <= units; end++)
        w->best[end] = INFINITY;
    for (uint32_t begin = 0; begin < units; begin++) {
        begin_part(w, begin ? begin - 1 : 0);
        for (uint32_t end = begin + 1; end <= units; end++) {
            double cost = w->best[begin] + extend(w, end - 1) + w->price;
            if (cost < w->best[end]) {
                w->best[end] = cost;
                w->from[end] = begin;
            }
        }
    }
}

/* Where parts begin, the last one first, behind unit 0. */
static size_t walk_back(const struct work *w, struct cohesion_cut *cuts)
{
    size_t count = 0;

    for (uint32_t end = w->from[w->c->units]; end > 0; end = w->from[end])
        cuts[count++].unit = end;
    for (size_t i = 0; i < count / 2; i++) {
        uint32_t unit = cuts[i].unit;
        cuts[i].unit = cuts[count - 1 - i].unit;
        cuts[count - 1 - i].unit = unit;
    }
    return count;
}

size_t cohesion_cuts(const struct cohesion *c, struct cohesion_cut *cuts)
{
    struct work *w;
    size_t count;

    if (c->units < 2)
        return 0;
    w = calloc(1, sizeof *w);
    require(w);
    w->c = c;
    weigh(w);
    find(w);
    count = walk_back(w, cuts);
    for (size_t i = 0; i < count; i++) {
        uint32_t begin = i ? cuts[i - 1].unit : 0, at = cuts[i].unit;
        uint32_t end = i + 1 < count ? cuts[i + 1].unit : c->units;
        double apart = cost_of(w, begin, at) + cost_of(w, at, end) + w->price;
        double bits = (cost_of(w, begin, end) - apart) / ln2;
        cuts[i].bits = bits > 0 ? floor(bits * 64 + 0.5) / 64 : 0;
    }
    free(w);
    return count;
}

/* ---- As bytes ---- */

void cohesion_save(const struct cohesion *c, struct buffer *out)
{
    buffer_u16(out, (uint16_t)c->units);
    for (uint32_t unit = 0; unit < c->units; unit++) {
        buffer_u64(out, c->unit[unit].begin);
        buffer_u16(out, (uint16_t)(words_end(c, unit) - c->unit[unit].first));
    }
    for (uint32_t i = 0; i < c->words; i++)
        buffer_u16(out, c->word[i]);
}

bool cohesion_load(struct cohesion *c, struct reader *r)
{
    uint32_t units = read_u16(r);

    if (units >= COHESION_UNITS)
        return false;
    for (uint32_t unit = 0; unit < units; unit++) {
        uint64_t begin = read_u64(r);
        uint16_t words = read_u16(r);
        if (words > WORDS_MAX || cohesion_full(c))
            return false;
        c->unit[c->units++] = (struct cohesion_unit){begin, c->words};
        c->words += words;
    }
    for (uint32_t i = 0; i < c->words; i++)
        c->word[i] = read_u16(r);
    return !r->short_read && !cohesion_full(c);
}
