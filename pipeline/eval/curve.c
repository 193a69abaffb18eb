#include "pipeline/eval/curve.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

void curve_begin(struct curve *curve, uint64_t reset_tokens)
{
    *curve = (struct curve){.reset_tokens = reset_tokens};
}

uint64_t curve_bin_end(size_t bin)
{
    return bin + 1 < CURVE_BINS ? (uint64_t)CURVE_FIRST_TOKENS << bin : UINT64_MAX;
}

uint64_t curve_bin_begin(size_t bin)
{
    return bin ? curve_bin_end(bin - 1) : 0;
}

static void count_token(struct curve_part *part, uint64_t bytes)
{
    part->tokens++;
    part->bytes += bytes;
}

/* The bin of the next token, with it counted. */
static struct curve_part *next_bin(struct curve *curve, uint64_t bytes)
{
    while (curve->bin_count == 0 || curve->whole.tokens >= curve_bin_end(curve->bin_count - 1))
        curve->bin_count++;
    count_token(&curve->whole, bytes);
    count_token(&curve->bins[curve->bin_count - 1], bytes);
    return &curve->bins[curve->bin_count - 1];
}

void curve_unscored(struct curve *curve, uint64_t bytes)
{
    next_bin(curve, bytes);
}

static void add_scored(struct curve_part *part, double carried, double reset)
{
    part->scored++;
    part->carried += carried;
    part->reset += reset;
}

void curve_scored(struct curve *curve, uint64_t bytes, double carried, double reset)
{
    add_scored(next_bin(curve, bytes), carried, reset);
    add_scored(&curve->whole, carried, reset);
}

double curve_bits_per_byte(double nats, uint64_t bytes)
{
    return bytes ? nats / M_LN2 / (double)bytes : NAN;
}

double curve_perplexity(double nats, uint64_t scored)
{
    return scored ? exp(nats / (double)scored) : NAN;
}

double curve_percent(const struct curve_part *part)
{
    return part->reset > 0 ? 100 * (part->carried / part->reset - 1) : 0;
}

/* ---- The verdict ---- */

static void merge(struct curve_part *into, const struct curve_part *part)
{
    into->bytes += part->bytes;
    into->tokens += part->tokens;
    into->scored += part->scored;
    into->carried += part->carried;
    into->reset += part->reset;
}

/* The bins beyond the first reset, each with where it begins; the last is no mere rest. */
struct judged {
    struct curve_part parts[CURVE_BINS];
    uint64_t begins[CURVE_BINS + 1]; /* the last: where the text ends */
    size_t count;
};

static void collect(const struct curve *curve, struct judged *j)
{
    *j = (struct judged){.count = 0};
    for (size_t i = 0; i < curve->bin_count; i++) {
        bool rest = i + 1 == curve->bin_count && curve->bins[i].scored < CURVE_FIRST_TOKENS;
        if (curve_bin_end(i) <= curve->reset_tokens || curve->bins[i].scored == 0)
            continue;
        if (rest && j->count) {
            merge(&j->parts[j->count - 1], &curve->bins[i]);
        } else {
            j->parts[j->count] = curve->bins[i];
            j->begins[j->count++] =
                curve_bin_begin(i) > curve->reset_tokens ? curve_bin_begin(i) : curve->reset_tokens;
        }
    }
    j->begins[j->count] = curve->whole.tokens;
}

static int side(const struct curve_part *part)
{
    double percent = curve_percent(part);

    return percent >= CURVE_EVEN_PERCENT ? 1 : percent <= -CURVE_EVEN_PERCENT ? -1 : 0;
}

/* What bins first..end say together. */
static struct curve_verdict verdict_of(const struct judged *j, enum verdict kind, size_t first,
                                       size_t end)
{
    struct curve_part sum = {0};

    for (size_t i = first; i < end; i++)
        merge(&sum, &j->parts[i]);
    return (struct curve_verdict){kind, j->begins[first], j->begins[end], curve_percent(&sum)};
}

struct curve_verdict curve_judge(const struct curve *curve)
{
    struct judged j;
    size_t first, worse_end;

    if (curve->whole.tokens <= curve->reset_tokens)
        return (struct curve_verdict){VERDICT_NOTHING, 0, 0, 0};
    collect(curve, &j);
    if (j.count == 0)
        return (struct curve_verdict){VERDICT_NOTHING, 0, 0, 0};
    for (first = j.count - 1;
         first > 0 && side(&j.parts[first - 1]) == side(&j.parts[j.count - 1]);)
        first--;
    if (side(&j.parts[j.count - 1]) > 0)
        return verdict_of(&j, VERDICT_DRIFTS, first, j.count);
    for (worse_end = first; worse_end > 0 && side(&j.parts[worse_end - 1]) <= 0;)
        worse_end--;
    if (worse_end > 0) {
        for (first = worse_end - 1; first > 0 && side(&j.parts[first - 1]) > 0;)
            first--;
        return verdict_of(&j, VERDICT_UNSTEADY, first, worse_end);
    }
    return verdict_of(&j, side(&j.parts[j.count - 1]) < 0 ? VERDICT_PROFITS : VERDICT_EVEN, first,
                      j.count);
}

const char *verdict_name(enum verdict kind)
{
    static const char *const names[] = {"nothing", "profits", "even", "drifts", "unsteady"};

    return names[kind];
}

void curve_position(uint64_t tokens, char *text, size_t room)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;

    while (tokens >= 1024 && tokens % 1024 == 0 && unit < 4) {
        tokens /= 1024;
        unit++;
    }
    snprintf(text, room, "%llu%s", (unsigned long long)tokens, units[unit]);
}

void curve_words(const struct curve *curve, const struct curve_verdict *v, char *text, size_t room)
{
    char from[32], until[32], reset[32];

    curve_position(v->from, from, sizeof from);
    curve_position(v->until, until, sizeof until);
    curve_position(curve->reset_tokens, reset, sizeof reset);
    switch (v->kind) {
    case VERDICT_NOTHING:
        snprintf(text, room, "no longer than %s tokens: nothing to compare", reset);
        return;
    case VERDICT_PROFITS:
        snprintf(text, room,
                 "profits: carried state is %.1f %% better than resets every %s tokens from %s "
                 "tokens on",
                 -v->percent, reset, from);
        return;
    case VERDICT_EVEN:
        snprintf(text, room,
                 "even: from %s tokens on carried state and resets every %s tokens differ by less "
                 "than %.1f %% (%+.2f %%)",
                 from, reset, CURVE_EVEN_PERCENT, v->percent);
        return;
    case VERDICT_DRIFTS:
        snprintf(text, room,
                 "drifts: from %s tokens on carried state is %.1f %% worse than resets every %s "
                 "tokens",
                 from, v->percent, reset);
        return;
    case VERDICT_UNSTEADY:
        snprintf(text, room,
                 "unsteady: carried state is %.1f %% worse than resets every %s tokens from %s to "
                 "%s tokens, not at the end",
                 v->percent, reset, from, until);
        return;
    }
}
