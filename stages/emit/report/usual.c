#include "stages/emit/report/usual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHRINK_BYTES = 16 };

enum { OCTAVE_BINS = 512, OCTAVES = 12, LOWEST = -6, BINS = OCTAVES * OCTAVE_BINS };

/* Less than this is no scatter: lines that are all alike have none, and the next would be infinitely far. */
static const double MAD_LEAST = 0.01, MAD_SHARE_LEAST = 0.02;

struct spread {
    uint64_t units;
    uint64_t of[USUAL_LENGTHS];
    uint64_t weights[BINS]; /* bytes */
    uint32_t counts[USUAL_LENGTHS][BINS];
    size_t low, high;   /* bins in use */
    double value[BINS]; /* bits per byte in the middle of each */
};

static double value_of(size_t bin)
{
    return exp2(LOWEST + ((double)bin + 0.5) / OCTAVE_BINS);
}

struct spread *spread_open(void)
{
    struct spread *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    for (size_t i = 0; i < BINS; i++)
        s->value[i] = value_of(i);
    s->low = BINS;
    return s;
}

void spread_close(struct spread **spread)
{
    free(*spread);
    *spread = NULL;
}

void spread_clear(struct spread *s)
{
    size_t used = s->low <= s->high ? s->high - s->low + 1 : 0;

    for (size_t i = 0; used && i < USUAL_LENGTHS; i++)
        if (s->of[i])
            memset(&s->counts[i][s->low], 0, used * sizeof s->counts[i][0]);
    if (used)
        memset(&s->weights[s->low], 0, used * sizeof s->weights[0]);
    memset(s->of, 0, sizeof s->of);
    s->units = 0;
    s->low = BINS;
    s->high = 0;
}

static size_t bin_of(double bits_per_byte)
{
    double place = (log2(bits_per_byte) - LOWEST) * OCTAVE_BINS;

    return !(place > 0) ? 0 : place >= BINS ? BINS - 1 : (size_t)place;
}

size_t usual_length_of(uint64_t bytes)
{
    size_t class = 0;

    while (bytes > 1 && class < USUAL_LENGTHS - 1) {
        bytes >>= 1;
        class ++;
    }
    return class;
}

void spread_add(struct spread *s, uint64_t bytes, double bits)
{
    size_t bin = bin_of(bits / (double)bytes), class = usual_length_of(bytes);

    s->units++;
    s->of[class]++;
    s->weights[bin] += bytes;
    if (s->counts[class][bin] < UINT32_MAX)
        s->counts[class][bin]++;
    s->low = bin < s->low ? bin : s->low;
    s->high = bin > s->high ? bin : s->high;
}

/* ---- Medians of counted values ---- */

/* What stands in the bins low to high: a class and its neighbours, or all bytes. */
struct counted {
    const struct spread *spread;
    size_t first, last; /* classes; first > last: the bytes of all */
    uint64_t total;
};

static uint64_t count_in(const struct counted *c, size_t bin)
{
    uint64_t count = 0;

    if (c->first > c->last)
        return c->spread->weights[bin];
    for (size_t i = c->first; i <= c->last; i++)
        count += c->spread->counts[i][bin];
    return count;
}

/* The value that a share of all lies below. */
static double quantile(const struct counted *c, double share, size_t *at)
{
    double wanted = share * (double)c->total, before = 0;
    size_t bin = c->spread->low;

    for (; bin < c->spread->high; bin++) {
        double count = (double)count_in(c, bin);
        if (before + count >= wanted && count > 0)
            break;
        before += count;
    }
    *at = bin;
    return c->spread->value[bin];
}

/* Outwards from the median until half of all has been passed. */
static double deviation(const struct counted *c, double median, size_t at)
{
    const struct spread *s = c->spread;
    double half = (double)c->total / 2, passed = 0, distance = 0;
    size_t below = at, above = at + 1; /* next: below - 1, above */

    passed = (double)count_in(c, at);
    while (passed < half && (below > s->low || above <= s->high)) {
        double down = below > s->low ? median - s->value[below - 1] : INFINITY;
        double up = above <= s->high ? s->value[above] - median : INFINITY;
        distance = fmin(down, up);
        passed += (double)(down <= up ? count_in(c, --below) : count_in(c, above++));
    }
    return fmax(distance, fmax(MAD_LEAST, MAD_SHARE_LEAST * median));
}

/* A class, and its neighbours on both sides until there are enough. */
static struct counted around(const struct spread *s, size_t class)
{
    struct counted c = {s, class, class, s->of[class]};

    while (c.total < USUAL_NEAR_LEAST && (c.first > 0 || c.last < USUAL_LENGTHS - 1)) {
        if (c.first > 0)
            c.total += s->of[--c.first];
        if (c.last < USUAL_LENGTHS - 1)
            c.total += s->of[++c.last];
    }
    return c;
}

void spread_usual(const struct spread *s, struct usual *usual)
{
    struct counted bytes = {.spread = s, .first = 1, .last = 0};
    size_t at;

    *usual = (struct usual){.known = s->units >= USUAL_UNITS_LEAST, .units = s->units};
    if (s->units == 0)
        return;
    for (size_t i = s->low; i <= s->high; i++)
        bytes.total += s->weights[i];
    usual->quartile[0] = quantile(&bytes, 0.25, &at);
    usual->quartile[1] = quantile(&bytes, 0.75, &at);
    usual->median = quantile(&bytes, 0.5, &at);
    usual->mad = deviation(&bytes, usual->median, at);
    for (size_t i = 0; i < USUAL_LENGTHS; i++) {
        struct counted near = around(s, i);
        usual->of[i].units = s->of[i];
        if (s->of[i] == 0)
            continue;
        usual->of[i].median = quantile(&near, 0.5, &at);
        usual->of[i].mad = deviation(&near, usual->of[i].median, at);
    }
}

/* ---- Scores ---- */

/* What evidence a length is: that of SHRINK_BYTES counts half. The same for a class, so that scores rise in it. */
static double weight_of(size_t class)
{
    double bytes = 1.5 * exp2((double)class);

    return bytes / (bytes + SHRINK_BYTES);
}

static double score_in(const struct usual *usual, size_t class, double bits_per_byte)
{
    const struct usual_length *own = &usual->of[class];
    double alike = (bits_per_byte - own->median) / own->mad;
    double whole = (bits_per_byte - usual->median) / usual->mad;

    if (!usual->known || own->units == 0 || (alike < 0) != (whole < 0))
        return 0;
    return (fabs(alike) < fabs(whole) ? alike : whole) * weight_of(class);
}

/* By the bin, so that what is counted from bins and what is told of a unit are the same. */
double usual_score(const struct usual *usual, uint64_t bytes, double bits)
{
    size_t bin = bin_of(bits / (double)bytes);

    return score_in(usual, usual_length_of(bytes), value_of(bin));
}

double usual_top(const struct spread *s, const struct usual *usual, uint64_t *standing_out)
{
    double top = 0;

    *standing_out = 0;
    for (size_t class = 0; class < USUAL_LENGTHS; class ++)
        for (size_t i = s->high + 1; s->of[class] && i-- > s->low;) {
            if (s->counts[class][i] == 0)
                continue;
            double score = score_in(usual, class, s->value[i]);
            top = fmax(top, score);
            if (score < USUAL_STANDS_OUT)
                break; /* those below score less */
            *standing_out += s->counts[class][i];
        }
    return top;
}
