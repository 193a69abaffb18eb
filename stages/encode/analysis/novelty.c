/* novelty: how unlike what came before a log line is, and whether anybody should be told.
 *
 * Two things make a line novel: that few lines of its template came before (templates.h), and that the model
 * finds it harder to foresee than is usual for that template. Both are counted in bits and added up:
 *
 *    rarity   log2((lines + 2) / (lines of the template + 1/2)), those before this one: what the template costs
 *             whoever has counted so far
 *    excess   log2((1 + d^2) / (1 + 5^2)), where d > 5 is how many robust deviations the line's bits a byte lie
 *             above the median of its template's last 16 lines (of lines of its length, while there are fewer
 *             than 8), and 0 up to there. Tails of surprisal are heavy: this is the tail of a Cauchy distribution,
 *             where a normal one would let a single odd line outweigh any template; and within five
 *             deviations, where common lines lie, a bit or two for each of them would bury rare templates.
 *
 * A sum has no meaning by itself, so it is calibrated by rank: one_in says that among all lines so far (this one
 * included) one in so many was as novel or more. There the number of lines is taken down to a power of two: a new
 * template would be the most novel line so far each time that number has grown, and alarm for that, however many
 * of them come. An alert is a line with one_in of at least 1,000,000 / alerts_per_million: whatever the model and
 * the log, about that share of lines alarms as long as the log goes on as it was (up to three times as many where new
 * templates keep coming); a burst of one kind makes itself usual. It is lines that are counted and not days, because
 * the time in a log is not always there, not always in order, and not the reader's.
 *
 * Ranks come from a histogram of eight bins a bit, halved when it has counted HISTORY_LINES. */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/templates.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    VERSION = 2,
    BINS = 512, /* of 1/8 bit */
    HISTORY_LINES = 1 << 22,
    OWN_LEAST = 8, /* lines of a template before it is its own measure */
    COMMON = 5,    /* robust deviations within which common lines lie */
    REASON_MAX = 160,
    HISTOGRAM_SAVED_MAX = 2 + BINS * 6
};

struct novelty {
    struct templates templates;
    struct usual_lengths lengths;
    uint32_t bins[BINS];
    uint64_t history; /* sum of bins */
    uint64_t alerts;
    uint64_t alerts_per_million; /* lines */
    struct masked line;
    char reason[REASON_MAX];
};

/* What there is to say of one line. */
struct finding {
    const struct template *template;
    struct usual usual;
    bool measured, own; /* usual is there; it is the template's own */
    float value;
    double rarity, excess;
};

static void begin(void **self, const struct analysis_options *options)
{
    struct novelty *n = calloc(1, sizeof *n);

    require(n);
    n->alerts_per_million = options->alerts_per_million;
    *self = n;
}

static double in_steps(double bits)
{
    return floor(bits * 64 + 0.5) / 64;
}

/* Never below 0: a template has at most all lines. */
static double rarity_of(const struct template *one, uint64_t lines)
{
    double bits = usual_log2(((double)lines + 1) / ((double)(one->count - 1) + 0.5));

    return bits > 0 ? bits : 0;
}

/* What the number of lines has grown by since it was a power of two. */
static double growth_of(uint64_t lines)
{
    int powers = 63 - __builtin_clzll(lines + 1);
    double bits = usual_log2((double)(lines + 1)) - powers;

    return bits > 0 ? bits : 0;
}

/* A template's own spread is of few values; it counts as at least half of what lines of this length have. */
static void measure(const struct novelty *n, uint64_t bytes, struct finding *f)
{
    struct usual lengths = {0, 0};

    f->measured = usual_at(&n->lengths, bytes, &lengths);
    f->own = f->template->value_count >= OWN_LEAST;
    f->usual = lengths;
    if (f->own) {
        f->usual = usual_of(f->template->values, f->template->value_count);
        if (f->measured && f->usual.spread < lengths.spread / 2)
            f->usual.spread = lengths.spread / 2;
        f->measured = true;
    }
}

static double excess_of(const struct finding *f)
{
    double d = f->measured ? usual_distance(&f->usual, f->value) : 0;

    return d > COMMON ? usual_log2((1 + d * d) / (1 + COMMON * COMMON)) : 0;
}

/* Counts the score, and says how rare such a one is. */
static uint64_t one_in(struct novelty *n, double score)
{
    size_t bin = score * 8 < BINS - 1 ? (size_t)(score * 8) : BINS - 1;
    uint64_t above = 0;

    for (size_t i = bin; i < BINS; i++)
        above += n->bins[i];
    n->bins[bin]++;
    n->history++;
    return n->history / (above + 1);
}

static void forget(struct novelty *n)
{
    if (n->history < HISTORY_LINES)
        return;
    n->history = 0;
    for (size_t i = 0; i < BINS; i++) {
        n->bins[i] /= 2;
        n->history += n->bins[i];
    }
}

/* 120000 as 120,000; text has room for 27 bytes. */
static const char *grouped(uint64_t number, char *text)
{
    char digits[24];
    size_t count = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return text;
}

/* What made the line novel: each of the two that is at least a third of it. */
static void say_why(struct novelty *n, const struct finding *f)
{
    char seen[28], lines[28];
    size_t at = 0;
    double third = (f->rarity + f->excess) / 3;

    n->reason[0] = 0;
    if (f->template->count == 1)
        at = (size_t)snprintf(n->reason, REASON_MAX, "new template");
    else if (f->rarity >= third)
        at =
            (size_t)snprintf(n->reason, REASON_MAX, "template rare: %s of %s lines",
                             grouped(f->template->count, seen), grouped(n->templates.lines, lines));
    if (f->excess >= third)
        snprintf(n->reason + at, REASON_MAX - at, "%s%.1f bits a byte where %.1f is usual for %s",
                 at ? "; " : "", (double)f->value, (double)f->usual.median,
                 f->own ? "this template" : "lines of this length");
}

static void add_template(struct record *record, const struct template *one)
{
    record_add_count(record, "template_id", one->id);
    record_add_text(record, "template", (struct view){one->text, one->bytes});
}

static bool alert(struct novelty *n, const struct finding *f, uint64_t rank, struct record *own)
{
    if (!n->alerts_per_million || rank < 1000000 / n->alerts_per_million)
        return false;
    n->alerts++;
    say_why(n, f);
    own->kind = RECORD_ALERT;
    record_add_real(own, "novelty", in_steps(f->rarity + f->excess));
    record_add_count(own, "one_in", rank);
    record_add_text(own, "reason", (struct view){(const uint8_t *)n->reason, strlen(n->reason)});
    add_template(own, f->template);
    return true;
}

static bool unit(void *self, const struct analysis_unit *unit)
{
    struct novelty *n = self;
    struct finding f = {.value = usual_value(unit->nats, unit->bytes)};
    struct template *one;
    double score, ranked;
    uint64_t rank;

    mask_line(unit->text, &n->line);
    one = templates_match(&n->templates, &n->line);
    f.template = one;
    f.rarity = rarity_of(one, n->templates.lines);
    measure(n, unit->bytes, &f);
    f.excess = excess_of(&f);
    score = in_steps(f.rarity + f.excess);
    ranked = score - growth_of(n->templates.lines);
    rank = one_in(n, ranked > 0 ? ranked : 0);
    add_template(unit->record, one);
    record_add_count(unit->record, "template_count", one->count);
    record_add_real(unit->record, "novelty", score);
    record_add_count(unit->record, "one_in", rank);
    template_add_value(one, f.value);
    usual_add(&n->lengths, unit->bytes, f.value);
    forget(n);
    return alert(n, &f, rank, unit->own);
}

static void end(const void *self, struct record *document)
{
    const struct novelty *n = self;

    record_add_count(document, "templates", n->templates.next_id);
    record_add_count(document, "alerts", n->alerts);
}

static void save_histogram(const struct novelty *n, struct buffer *out)
{
    uint16_t used = 0;

    for (size_t i = 0; i < BINS; i++)
        used = (uint16_t)(used + (n->bins[i] > 0));
    buffer_u16(out, used);
    for (size_t i = 0; i < BINS; i++) {
        if (!n->bins[i])
            continue;
        buffer_u16(out, (uint16_t)i);
        buffer_u32(out, n->bins[i]);
    }
}

static bool load_histogram(struct novelty *n, struct reader *r)
{
    uint16_t used = read_u16(r);
    size_t next = 0;

    for (unsigned i = 0; i < used; i++) {
        uint16_t bin = read_u16(r);
        uint32_t count = read_u32(r);
        if (bin < next || bin >= BINS || !count || count > HISTORY_LINES)
            return false;
        n->bins[bin] = count;
        n->history += count;
        next = (size_t)bin + 1;
    }
    return !r->short_read && n->history < HISTORY_LINES;
}

static void save(const void *self, struct buffer *out)
{
    const struct novelty *n = self;

    buffer_u64(out, n->alerts);
    save_histogram(n, out);
    usual_save(&n->lengths, out);
    templates_save(&n->templates, out);
}

static bool load(void *self, struct reader *r)
{
    struct novelty *n = self;

    n->alerts = read_u64(r);
    return load_histogram(n, r) && usual_load(&n->lengths, r) && templates_load(&n->templates, r);
}

static size_t memory(const void *self)
{
    const struct novelty *n = self;

    return sizeof *n + templates_memory(&n->templates);
}

static void close_part(void **self)
{
    struct novelty *n = *self;

    if (n)
        templates_release(&n->templates);
    free(n);
    *self = NULL;
}

const struct analysis_part analysis_novelty = {.version = VERSION,
                                               .wants_text = true,
                                               .bytes_max = 8 + HISTOGRAM_SAVED_MAX +
                                                            USUAL_BYTES_MAX + TEMPLATES_SAVED_MAX,
                                               .begin = begin,
                                               .unit = unit,
                                               .end = end,
                                               .save = save,
                                               .load = load,
                                               .memory = memory,
                                               .close = close_part};
