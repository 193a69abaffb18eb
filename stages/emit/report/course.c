/* The course of a document: bits per byte along it.
 *
 * The picture is stretched to the width of the page, so nothing in it is text: labels and marks are placed over it as
 * HTML, by per cent, and keep their size on a telephone. Lines and dots keep theirs by vector-effect.
 *
 * Drawn, from behind: lines where chapters begin, the band in which half of the bytes lie, its median, what each bin
 * cost, a running mean of that, a dot for each bin with a unit that stands out, and the marks that the other parts
 * have put, on threads. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"
#include "stages/emit/report/svg.h"

#include <math.h>
#include <stdlib.h>

enum {
    BINS = 320,
    REACH = 8,
    WIDTH = 1000,
    HEIGHT = 1000,
    PLOT_TOP = 130,
    PLOT_BOTTOM = 900,
    TURNS = 48
};

/* Room of a mark, in WIDTHs: 24 pixels on a narrow telephone. */
static const double MARK_ROOM = 82;

struct bin {
    double bits, bytes;
    double top, top_score; /* bits per byte of what stands out most here; score 0: nothing does */
};

struct course {
    const struct document *document;
    bool by_line;
    size_t count;
    struct bin bins[BINS];
    double low, high, step;         /* bits per byte of the axis */
    bool beyond;                    /* something lies above it */
    struct line_place turns[TURNS]; /* (turn_count) the strongest boundaries, in no order */
    size_t turn_count;
};

static void begin(void *self, const struct section *section)
{
    struct course *c = self;

    c->document = section->document;
    c->by_line = part_by_line(c->document);
    c->count = BINS;
    if (c->by_line && c->document->units < BINS)
        c->count = c->document->units ? (size_t)c->document->units : 1;
}

/* ---- Bins ---- */

/* Where something is, from 0 to the number of bins. */
static double place_of(const struct course *c, uint64_t ordinal, uint64_t offset)
{
    const struct document *d = c->document;
    double share = c->by_line ? (double)ordinal / (double)(d->units ? d->units : 1)
                              : (double)(offset - d->begin) /
                                    (double)(d->end > d->begin ? d->end - d->begin : 1);

    return fmin(fmax(share, 0), 1) * (double)c->count;
}

static struct bin *bin_at(struct course *c, double place)
{
    size_t bin = (size_t)place;

    return &c->bins[bin < c->count ? bin : c->count - 1];
}

/* A unit of bytes lies in all bins that it passes through, by its share in each. */
static void spread_over(struct course *c, double from, double to, double bits, double bytes)
{
    if (c->by_line || to - from < 1e-9) {
        bin_at(c, from)->bits += bits;
        bin_at(c, from)->bytes += bytes;
        return;
    }
    for (size_t bin = (size_t)from; bin < c->count && (double)bin < to; bin++) {
        double share = (fmin(to, (double)bin + 1) - fmax(from, (double)bin)) / (to - from);
        c->bins[bin].bits += share * bits;
        c->bins[bin].bytes += share * bytes;
    }
}

/* Where the text turns to something else; places are known by their bytes. */
static void keep_turns(struct course *c, const struct line *line)
{
    for (size_t i = 0; i < line->place_count && !c->by_line; i++) {
        size_t least = 0;
        if (c->turn_count < TURNS) {
            c->turns[c->turn_count++] = line->places[i];
            continue;
        }
        for (size_t k = 1; k < TURNS; k++)
            least = c->turns[k].bits < c->turns[least].bits ? k : least;
        if (line->places[i].bits > c->turns[least].bits)
            c->turns[least] = line->places[i];
    }
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct course *c = self;
    double bytes = (double)(line->end - line->begin), from, to, score;

    if (line->kind == LINE_BOUNDARIES)
        keep_turns(c, line);
    if (line->kind != LINE_UNIT || bytes == 0)
        return;
    from = place_of(c, ordinal, line->begin);
    to = place_of(c, ordinal + 1, line->end);
    spread_over(c, from, to, line->bits, bytes);
    score = usual_score(&c->document->usual, line->end - line->begin, line->bits);
    struct bin *bin = bin_at(c, (from + to) / 2);
    if (score >= USUAL_STANDS_OUT && score > bin->top_score) {
        bin->top_score = score;
        bin->top = line->bits / bytes;
    }
}

/* The mean of a bin and its neighbours on both sides. */
static double running(const struct course *c, size_t bin)
{
    double bits = 0, bytes = 0;
    size_t reach = c->count / (BINS / REACH);
    size_t first = bin > reach ? bin - reach : 0;

    for (size_t i = first; i <= bin + reach && i < c->count; i++) {
        bits += c->bins[i].bits;
        bytes += c->bins[i].bytes;
    }
    return bytes > 0 ? bits / bytes : NAN;
}

/* ---- The axes ---- */

/* All of the running mean and of the band; of what stands out as much as leaves these legible. */
static void set_scale(struct course *c, const struct section *section)
{
    const struct usual *u = &c->document->usual;
    double low = u->quartile[0], high = u->quartile[1], most, least;

    for (size_t i = 0; i < c->count; i++) {
        double bits = running(c, i);
        low = isfinite(bits) ? fmin(low, bits) : low;
        high = isfinite(bits) ? fmax(high, bits) : high;
    }
    most = high + 3 * (high - low);
    least = low - (high - low);
    for (size_t i = 0; i < section->mark_count; i++) {
        low = fmax(fmin(low, section->marks[i].bits_per_byte), least);
        c->beyond = c->beyond || section->marks[i].bits_per_byte > most;
        high = fmin(fmax(high, section->marks[i].bits_per_byte), most);
    }
    low = fmax(low, 0);
    c->step = svg_step(1.6 * fmax(high - low, 0.05)); /* five lines or so */
    c->low = floor(low / c->step) * c->step;
    c->high = c->low + fmax(ceil((high - c->low) / c->step - 1e-9), 1) * c->step;
}

static double x_of(const struct course *c, double place)
{
    return place / (double)c->count * WIDTH;
}

static double y_of(const struct course *c, double bits_per_byte)
{
    double share = (c->high - bits_per_byte) / (c->high - c->low);

    return PLOT_TOP + fmin(fmax(share, 0), 1) * (PLOT_BOTTOM - PLOT_TOP);
}

static double per_cent(double of_thousand)
{
    return of_thousand / 10;
}

static void write_y_labels(const struct course *c, FILE *out)
{
    for (int i = 0; c->low + i * c->step <= c->high + c->step / 2; i++) {
        double bits = c->low + i * c->step;
        fprintf(out, "<span class=\"y\" style=\"top:%.2f%%\">%.*f</span>\n",
                per_cent(y_of(c, bits)),
                c->step < 0.1 ? 2
                : c->step < 1 ? 1
                              : 0,
                bits);
    }
}

static void write_x_labels(const struct course *c, FILE *out)
{
    const struct document *d = c->document;
    double first = c->by_line ? 0 : (double)d->begin;
    double last = c->by_line ? (double)d->units : (double)d->end;
    double span = fmax(last - first, 1), step = fmax(svg_step(1.6 * span), 1); /* five at most */
    double from = ceil(first / step) * step;
    char text[PAGE_NUMBER_BYTES];

    fputs("<div class=\"x\" aria-hidden=\"true\">", out);
    for (int i = 0; from + i * step <= last; i++) {
        double x = (from + i * step - first) / span * WIDTH;
        fprintf(out, "<span%s style=\"left:%.2f%%\">%s</span>", x > 950 ? " class=\"last\"" : "",
                per_cent(x), page_short(from + i * step, text));
    }
    fprintf(out, "<span class=\"of\">%s</span></div>\n",
            c->by_line ? page_plural(d->unit) : "bytes of the source");
}

/* ---- The picture ---- */

static void draw_behind(const struct course *c, FILE *out)
{
    const struct usual *u = &c->document->usual;

    for (int i = 0; c->low + i * c->step <= c->high + c->step / 2; i++)
        svg_line(out, i ? "grid" : "axis", i ? "#d1d9e0" : "#59636e", 0,
                 y_of(c, c->low + i * c->step), WIDTH, y_of(c, c->low + i * c->step));
    if (!u->known)
        return;
    fprintf(out, "<rect class=\"usual\" x=\"0\" width=\"%d\" y=\"%.1f\" height=\"%.1f\"/>\n", WIDTH,
            y_of(c, u->quartile[1]), y_of(c, u->quartile[0]) - y_of(c, u->quartile[1]));
    svg_line(out, "middle", "#0550ae", 0, y_of(c, u->median), WIDTH, y_of(c, u->median));
}

/* Upright lines where chapters begin; fewer than two divide nothing. */
static void draw_chapters(const struct course *c, const struct section *section, FILE *out)
{
    if (section->tick_count < 2)
        return;
    fputs("<path class=\"chapters\" d=\"", out);
    for (size_t i = 0; i < section->tick_count; i++)
        fprintf(out, "M%.1f %dV%d",
                x_of(c, place_of(c, section->ticks[i].at, section->ticks[i].begin)), PLOT_TOP,
                PLOT_BOTTOM);
    fputs("\"/>\n", out);
}

static void draw_bins(const struct course *c, FILE *out)
{
    bool drawn = false;

    fputs("<path class=\"each\" d=\"", out);
    for (size_t i = 0; i < c->count; i++) {
        const struct bin *b = &c->bins[i];
        if (b->bytes > 0)
            fprintf(out, "%s%.1f %.1fH%.1f", drawn ? "L" : "M", x_of(c, (double)i),
                    y_of(c, b->bits / b->bytes), x_of(c, (double)i + 1));
        drawn = b->bytes > 0;
    }
    fputs("\"/>\n", out);
}

static void draw_running(const struct course *c, FILE *out)
{
    bool drawn = false;

    if (c->count < BINS / REACH)
        return;
    fputs("<path class=\"run\" d=\"", out);
    for (size_t i = 0; i < c->count; i++) {
        double bits = running(c, i);
        if (isfinite(bits))
            fprintf(out, "%s%.1f %.1f", drawn ? "L" : "M", x_of(c, (double)i + 0.5), y_of(c, bits));
        drawn = isfinite(bits);
    }
    fputs("\"/>\n", out);
}

static void draw_dots(const struct course *c, FILE *out)
{
    fputs("<path class=\"dots\" d=\"", out);
    for (size_t i = 0; i < c->count; i++)
        if (c->bins[i].top_score > 0)
            fprintf(out, "M%.1f %.1fh0", x_of(c, (double)i + 0.5), y_of(c, c->bins[i].top));
    fputs("\"/>\n", out);
}

static void draw_turns(const struct course *c, FILE *out)
{
    if (!c->turn_count)
        return;
    fputs("<path class=\"turns\" d=\"", out);
    for (size_t i = 0; i < c->turn_count; i++)
        fprintf(out, "M%.1f %dv-40", x_of(c, place_of(c, 0, c->turns[i].begin)), PLOT_BOTTOM);
    fputs("\"/>\n", out);
}

/* ---- Marks ---- */

struct hung {
    const struct mark *mark;
    double x, y; /* what it marks */
    double at;   /* where it hangs */
};

static int from_left(const void *a, const void *b)
{
    const struct hung *first = a, *second = b;

    if (first->x != second->x)
        return first->x < second->x ? -1 : 1;
    return (first->mark > second->mark) - (first->mark < second->mark);
}

/* Above or below the plot, as near to what they mark as their neighbours let them. */
static size_t hang(const struct course *c, const struct section *section, bool low,
                   struct hung hung[MARKS_MAX])
{
    size_t count = 0;
    double right = WIDTH - MARK_ROOM / 2;

    for (size_t i = 0; i < section->mark_count; i++) {
        const struct mark *m = &section->marks[i];
        double middle = (place_of(c, m->at, m->begin) + place_of(c, m->at + 1, m->end)) / 2;
        if (m->low == low)
            hung[count++] = (struct hung){m, x_of(c, middle), y_of(c, m->bits_per_byte), 0};
    }
    qsort(hung, count, sizeof *hung, from_left);
    for (size_t i = 0; i < count; i++) {
        double least = i ? hung[i - 1].at + MARK_ROOM : MARK_ROOM / 2;
        hung[i].at = fmax(hung[i].x, least);
    }
    for (size_t i = count; i-- > 0; right = hung[i].at - MARK_ROOM)
        hung[i].at = fmin(hung[i].at, right);
    return count;
}

static double hook(bool low)
{
    return low ? (HEIGHT + PLOT_BOTTOM) / 2.0 + 5 : PLOT_TOP / 2.0 - 15;
}

static void draw_threads(const struct course *c, const struct section *section, bool low, FILE *out)
{
    struct hung hung[MARKS_MAX];
    size_t count = hang(c, section, low, hung);
    const char *class = low ? " low" : "";

    fprintf(out, "<path class=\"leads%s\" d=\"", class);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "M%.1f %.1fL%.1f %d%s%.1f %.1f", hung[i].at, hook(low), hung[i].x,
                low ? PLOT_BOTTOM : PLOT_TOP, "L", hung[i].x, hung[i].y);
    fprintf(out, "\"/>\n<path class=\"tips%s\" d=\"", class);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "M%.1f %.1fh0", hung[i].x, hung[i].y);
    fputs("\"/>\n", out);
}

static void write_marks(const struct course *c, const struct section *section, bool low, FILE *out)
{
    struct hung hung[MARKS_MAX];
    size_t count = hang(c, section, low, hung), d = section->document->section;

    for (size_t i = 0; i < count; i++) {
        const struct mark *m = hung[i].mark;
        fprintf(out,
                "<a class=\"mark%s\" id=\"d%zum%s\" href=\"#d%zup%s\" "
                "style=\"left:%.2f%%;top:%.2f%%\" aria-label=\"Passage %s, at ",
                low ? " low" : "", d, m->id, d, m->id, per_cent(hung[i].at), per_cent(hook(low)),
                m->id);
        part_place(out, section->document, m->at, m->begin);
        fprintf(out, "\">%s</a>\n", m->id);
    }
}

/* ---- Words ---- */

static void write_description(const struct course *c, FILE *out)
{
    const struct document *d = c->document;

    fprintf(out, "Bits per byte along %s, ", c->by_line ? page_plural(d->unit) : "the text");
    fprintf(out, "%.2f over all.", d->bits / (double)(d->bytes ? d->bytes : 1));
    if (d->usual.known)
        fprintf(out, " Half of the text lies between %.2f and %.2f, the median is %.2f.",
                d->usual.quartile[0], d->usual.quartile[1], d->usual.median);
}

static void write_caption(const struct course *c, const struct section *section, FILE *out)
{
    const struct document *d = c->document;

    fputs("<figcaption>", out);
    if (c->count >= BINS / REACH)
        fputs("The thick line is a running mean of the thin one. ", out);
    if (d->usual.known)
        fprintf(out,
                "Half of the text lies in the shaded band, %.2f to %.2f; the dotted line is the "
                "median, %.2f. ",
                d->usual.quartile[0], d->usual.quartile[1], d->usual.median);
    if (d->standing_out) {
        page_counted(out, d->standing_out, d->unit);
        fprintf(out, " stand%s out by at least %g MAD: a dot at %s place. ",
                d->standing_out == 1 ? "s" : "", USUAL_STANDS_OUT,
                d->standing_out == 1 ? "its" : "each");
    }
    if (section->tick_count > 1)
        fprintf(out, "Upright lines: the <a href=\"#d%zu-chapters\">chapters</a>. ",
                c->document->section);
    if (c->turn_count)
        fprintf(out,
                "Strokes at the foot: the %zu places where the text turns to something else%s. ",
                c->turn_count, c->turn_count == TURNS ? " the most" : "");
    if (c->beyond)
        fputs("What lies above the scale is drawn at its upper edge. ", out);
    if (section->mark_count)
        fputs("Numbers are the most surprising, whether they stand out or not, letters the most "
              "predictable; they lead to the text below.",
              out);
    fputs("</figcaption>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    struct course *c = self;

    if (!part_has_course(c->document))
        return;
    set_scale(c, section);
    fprintf(out,
            "<figure id=\"d%zu-course\">\n<p class=\"over\">bits per byte</p>\n<div class=\"plot\" "
            "role=\"group\" "
            "aria-label=\"Surprisal along the document\">\n"
            "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"",
            section->document->section, WIDTH, HEIGHT);
    write_description(c, out);
    fputs("\">\n", out);
    draw_behind(c, out);
    draw_chapters(c, section, out);
    draw_bins(c, out);
    draw_running(c, out);
    draw_dots(c, out);
    draw_turns(c, out);
    draw_threads(c, section, false, out);
    draw_threads(c, section, true, out);
    fputs("</svg>\n", out);
    write_y_labels(c, out);
    write_marks(c, section, false, out);
    write_marks(c, section, true, out);
    fputs("</div>\n", out);
    write_x_labels(c, out);
    write_caption(c, section, out);
    fputs("</figure>\n", out);
}

const struct part part_course = {
    .name = "course", .bytes = sizeof(struct course), .begin = begin, .take = take, .write = write};
