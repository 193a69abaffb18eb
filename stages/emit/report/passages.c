/* The passages that stand out, and the most predictable ones.
 *
 * Of each shape (alike.h) the best is held, for as many shapes as CANDIDATES; at the end those that are like a better
 * one give way to what is different. How many units of a shape stand out is counted while it is held: exact unless
 * there were more shapes standing out than are held, and then it says "at least". */
#include "schemas/record.h"
#include "stages/emit/report/alike.h"
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"

#include <math.h>

enum { CANDIDATES = 128, TEXT_BYTES = 512, HIGH = 10, LOW = 3 };

/* A record's excerpt is cut between graphemes: so many bytes before its maximum it was not cut. */
enum { GRAPHEME_BYTES = 40 };

struct candidate {
    struct shape shape;
    double score, bits;
    uint64_t ordinal, begin, end, tokens;
    uint64_t standing_out; /* units of this shape that do */
    bool taken_late;       /* there may have been some before */
    bool given_way;        /* to one that it is like */
    size_t text_bytes;
    uint8_t text[TEXT_BYTES];
};

/* Half of all units are as far from the usual as this. Of surprising ones any will do, since ten are asked for. */
static const double LOW_LEAST = 1;

/* The highest scores, or with sign -1 the lowest. */
struct best {
    double sign;
    size_t count, shown, first_mark;
    bool overflowed;
    struct candidate held[CANDIDATES];
};

struct passages {
    const struct document *document;
    struct best high, low;
};

static void begin(void *self, const struct section *section)
{
    struct passages *p = self;

    p->document = section->document;
    p->high.sign = 1;
    p->low.sign = -1;
}

/* ---- Taking ---- */

/* Without cutting a character. */
static void hold_text(struct candidate *c, struct view text)
{
    size_t bytes = text.bytes < TEXT_BYTES ? text.bytes : TEXT_BYTES;

    while (bytes < text.bytes && bytes > 0 && (text.data[bytes] & 0xC0) == 0x80)
        bytes--;
    memcpy(c->text, text.data, bytes);
    c->text_bytes = bytes;
}

static struct candidate *find(struct best *best, uint64_t key)
{
    for (size_t i = 0; i < best->count; i++)
        if (best->held[i].shape.key == key)
            return &best->held[i];
    return NULL;
}

/* Of equals the earlier. */
static bool is_ahead(const struct best *best, const struct candidate *a, const struct candidate *b)
{
    double ahead = best->sign * (a->score - b->score);

    return ahead > 0 || (ahead == 0 && a->ordinal < b->ordinal);
}

/* The worst that is held; of equals the later. */
static struct candidate *worst_of(struct best *best)
{
    struct candidate *worst = &best->held[0];

    for (size_t i = 1; i < best->count; i++) {
        struct candidate *c = &best->held[i];
        if (is_ahead(best, worst, c))
            worst = c;
    }
    return worst;
}

/* A place for a new shape with this score, or NULL where all that are held are better. */
static struct candidate *make_room(struct best *best, double score)
{
    struct candidate *c;

    if (best->count < CANDIDATES) {
        c = &best->held[best->count++];
        *c = (struct candidate){.score = -best->sign * INFINITY};
        return c;
    }
    c = worst_of(best);
    if (best->sign * (score - c->score) <= 0)
        return NULL;
    best->overflowed = best->overflowed || c->standing_out;
    *c = (struct candidate){.score = -best->sign * INFINITY, .taken_late = best->overflowed};
    return c;
}

static void consider(struct best *best, const struct line *line, uint64_t ordinal, double score,
                     const struct shape *shape)
{
    struct candidate *c = find(best, shape->key);

    if (!c)
        c = make_room(best, score);
    if (!c) {
        best->overflowed = best->overflowed || fabs(score) >= USUAL_STANDS_OUT;
        return;
    }
    c->standing_out += best->sign * score >= USUAL_STANDS_OUT;
    if (best->sign * (score - c->score) <= 0)
        return;
    c->shape = *shape;
    c->score = score;
    c->bits = line->bits;
    c->ordinal = ordinal;
    c->begin = line->begin;
    c->end = line->end;
    c->tokens = line->tokens;
    hold_text(c, line->text);
}

/* Can a score still change what is held? */
static bool is_wanted(struct best *best, double score)
{
    return best->count < CANDIDATES || best->sign * score >= USUAL_STANDS_OUT ||
           best->sign * (score - worst_of(best)->score) > 0;
}

/* Where nothing is known to be usual the units are ordered by bits per byte alone. */
static double score_of(const struct document *document, const struct line *line)
{
    uint64_t bytes = line->end - line->begin;

    return document->usual.known ? usual_score(&document->usual, bytes, line->bits)
                                 : line->bits / (double)bytes;
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct passages *p = self;
    struct shape shape;
    double score;

    if (line->kind != LINE_UNIT || line->end == line->begin)
        return;
    score = score_of(p->document, line);
    struct best *best = score < 0 ? &p->low : &p->high;
    if (score == 0 || (score < 0 && score > -LOW_LEAST) || !is_wanted(best, score))
        return;
    shape_of(line->text, &shape);
    consider(best, line, ordinal, score, &shape);
}

/* ---- Choosing ---- */

static struct candidate *best_of(struct best *best)
{
    struct candidate *chosen = NULL;

    for (size_t i = best->shown; i < best->count; i++) {
        struct candidate *c = &best->held[i];
        if (!c->given_way && (!chosen || is_ahead(best, c, chosen)))
            chosen = c;
    }
    return chosen;
}

/* Bring the best ones to the front, each unlike those before it. */
static void choose(struct best *best, size_t most)
{
    struct candidate *c;

    while (best->shown < most && (c = best_of(best))) {
        struct candidate *place = &best->held[best->shown], other = *place;
        *place = *c;
        *c = other;
        best->shown++;
        for (size_t i = best->shown; i < best->count; i++) {
            struct candidate *o = &best->held[i];
            if (o->given_way || !shape_alike(&place->shape, &o->shape))
                continue;
            o->given_way = true;
            place->standing_out += o->standing_out;
            place->taken_late = place->taken_late || o->taken_late;
        }
    }
}

static void put_marks(struct best *best, struct section *section)
{
    bool low = best->sign < 0;

    best->first_mark = section->mark_count;
    for (size_t i = 0; i < best->shown && section->mark_count < MARKS_MAX; i++) {
        const struct candidate *c = &best->held[i];
        struct mark *mark = &section->marks[section->mark_count++];
        *mark = (struct mark){.low = low,
                              .at = c->ordinal,
                              .begin = c->begin,
                              .end = c->end,
                              .bits_per_byte = c->bits / (double)(c->end - c->begin),
                              .score = c->score};
        if (low)
            mark->id[0] = (char)('a' + i);
        else
            snprintf(mark->id, sizeof mark->id, "%u", (unsigned)(i + 1) % 100);
    }
}

static void settle(void *self, struct section *section)
{
    struct passages *p = self;

    choose(&p->high, HIGH);
    choose(&p->low, LOW);
    put_marks(&p->high, section);
    put_marks(&p->low, section);
}

/* ---- Writing ---- */

/* The beginning of a unit, to the end of its last whole word where there is one. */
static void write_excerpt(const struct candidate *c, FILE *out)
{
    size_t bytes = c->text_bytes;
    bool cut = bytes + GRAPHEME_BYTES > RECORD_TEXT_MAX && c->end - c->begin > RECORD_TEXT_MAX;

    if (bytes == 0)
        fputs("<span class=\"soft\">white space</span>", out);
    while (cut && bytes > c->text_bytes - c->text_bytes / 4 && c->text[bytes - 1] != ' ')
        bytes--;
    if (cut && (bytes == 0 || c->text[bytes - 1] != ' '))
        bytes = c->text_bytes;
    page_text(out, (struct view){c->text, bytes});
    if (cut && bytes)
        fputs(c->text[bytes - 1] == ' ' ? "…" : " …", out);
}

static void write_facts(const struct candidate *c, const struct section *section, bool low,
                        FILE *out)
{
    const struct document *d = section->document;

    fputs("<p class=\"facts\">", out);
    if (d->usual.known)
        fprintf(out, "<b>%.1f MAD</b> %s the usual · ", fabs(c->score), low ? "below" : "above");
    fprintf(out, "%.2f bits per byte · ", c->bits / (double)(c->end - c->begin));
    if (part_by_line(d)) {
        fprintf(out, "%s ", d->unit);
        page_count(out, c->ordinal + 1);
        fputs(" · ", out);
    }
    fputs("bytes ", out);
    page_count(out, c->begin);
    fputs(" to ", out);
    page_count(out, c->end);
    if (!low && c->standing_out > 1) {
        fprintf(out, " · %s", c->taken_late ? "at least " : "");
        page_count(out, c->standing_out - 1);
        fputs(" more like it", out);
    }
    fputs("</p>\n", out);
}

static void write_passage(const struct candidate *c, const struct mark *mark,
                          const struct section *section, FILE *out)
{
    size_t d = section->document->section;

    fprintf(out, "<li id=\"d%zup%s\">", d, mark->id);
    if (part_has_course(section->document))
        fprintf(out,
                "<a class=\"mark%s\" href=\"#d%zum%s\" aria-label=\"Passage %s: show it in the "
                "picture\">%s</a>\n",
                mark->low ? " low" : "", d, mark->id, mark->id, mark->id);
    else
        fprintf(out, "<span class=\"mark\">%s</span>\n", mark->id);
    fputs("<blockquote lang=\"\" dir=\"auto\">", out);
    write_excerpt(c, out);
    fputs("</blockquote>\n", out);
    write_facts(c, section, mark->low, out);
    fputs("</li>\n", out);
}

static void write_list(const struct best *best, const struct section *section, FILE *out)
{
    fprintf(out, "<ol class=\"passages%s\">\n", part_by_line(section->document) ? " code" : "");
    for (size_t i = 0; i < best->shown; i++)
        write_passage(&best->held[i], &section->marks[best->first_mark + i], section, out);
    fputs("</ol>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    const struct passages *p = self;
    const char *unit = section->document->unit;

    if (!p->high.shown && !p->low.shown && unit)
        fprintf(out, "<p>None of its %s stands out.</p>\n", page_plural(unit));
    if (p->high.shown) {
        if (section->document->usual.known)
            fprintf(out, "<h3>The most surprising %s</h3>\n",
                    p->high.shown > 1 ? page_plural(unit) : unit);
        else
            fputs("<h3>By bits per byte</h3>\n", out);
        write_list(&p->high, section, out);
    }
    if (p->low.shown) {
        fprintf(out, "<h3>The most predictable %s</h3>\n",
                p->low.shown > 1 ? page_plural(unit) : unit);
        write_list(&p->low, section, out);
    }
}

const struct part part_passages = {.name = "passages",
                                   .bytes = sizeof(struct passages),
                                   .begin = begin,
                                   .take = take,
                                   .settle = settle,
                                   .write = write};
