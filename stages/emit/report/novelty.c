/* What is new in a log: novelty line by line, its alerts, and the templates of its lines.
 *
 * The analysis says all of it in the records (record.schema.json). Here it is gathered, in bounded tables: the most
 * novel alert of each template, for as many templates as HELD; and the templates with most lines, whose last record
 * tells their number, so that the first ROWS of them are exact whatever came and went in between. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"
#include "stages/emit/report/svg.h"

#include <math.h>
#include <stdlib.h>

enum { BINS = 320, WIDTH = 1000, HEIGHT = 1000, HELD = 64, ALERTS_SHOWN = 10, ROWS = 20 };
enum { TEXT_BYTES = 512, TEMPLATE_BYTES = 640, REASON_BYTES = 200 };

struct text {
    size_t bytes;
    uint8_t data[TEMPLATE_BYTES];
};

struct alert {
    uint64_t template_id, ordinal, begin, end, one_in;
    uint64_t count; /* alerts of this template, while it was held */
    double novelty;
    struct text text, reason;
};

struct template
{
    uint64_t id, lines;
    struct text text;
};

struct novelty {
    const struct document *document;
    bool any;
    size_t bins;
    double most[BINS];   /* of each bin */
    double alerts[BINS]; /* the most novel alert of each, or 0 */
    double highest;
    struct alert alert[HELD];
    size_t alert_count;
    bool alerts_dropped;
    struct template template[HELD];
    size_t template_count;
};

static void begin(void *self, const struct section *section)
{
    struct novelty *n = self;
    uint64_t units = section->document->units;

    n->document = section->document;
    n->bins = units < BINS ? (size_t)units : BINS;
}

/* ---- Taking ---- */

/* Without cutting a character. */
static void hold(struct text *held, struct view text, size_t most)
{
    size_t bytes = text.bytes < most ? text.bytes : most;

    while (bytes < text.bytes && bytes > 0 && (text.data[bytes] & 0xC0) == 0x80)
        bytes--;
    if (bytes)
        memcpy(held->data, text.data, bytes);
    held->bytes = bytes;
}

static size_t bin_of(const struct novelty *n, uint64_t ordinal)
{
    size_t bin = (size_t)((double)ordinal / (double)n->document->units * (double)n->bins);

    return bin < n->bins ? bin : n->bins - 1;
}

/* The templates with most lines: one that is not held has fewer than each of them, as yet. */
static void take_template(struct novelty *n, const struct line *line)
{
    struct template *place = NULL, *least = &n->template[0];

    for (size_t i = 0; i < n->template_count && !place; i++) {
        if (n->template[i].id == line->novelty.template_id)
            place = &n->template[i];
        if (n->template[i].lines < least->lines)
            least = &n->template[i];
    }
    if (!place && n->template_count < HELD)
        place = &n->template[n->template_count++];
    if (!place && line->novelty.template_count > least->lines)
        place = least;
    if (!place)
        return;
    place->id = line->novelty.template_id;
    place->lines = line->novelty.template_count;
    hold(&place->text, line->novelty.template_text, TEMPLATE_BYTES);
}

static struct alert *place_of(struct novelty *n, const struct line *line)
{
    struct alert *least = &n->alert[0];

    for (size_t i = 0; i < n->alert_count; i++) {
        if (n->alert[i].template_id == line->novelty.template_id)
            return &n->alert[i];
        if (n->alert[i].novelty < least->novelty)
            least = &n->alert[i];
    }
    if (n->alert_count == HELD) {
        n->alerts_dropped = true;
        if (least->novelty >= line->novelty.bits)
            return NULL;
    } else {
        least = &n->alert[n->alert_count++];
    }
    *least = (struct alert){.template_id = line->novelty.template_id, .novelty = -1};
    return least;
}

/* An alert stands behind its unit. */
static void take_alert(struct novelty *n, const struct line *line, uint64_t ordinal)
{
    struct alert *a = place_of(n, line);
    size_t bin = bin_of(n, ordinal);

    n->alerts[bin] = fmax(n->alerts[bin], line->novelty.bits);
    if (!a)
        return;
    a->count++;
    if (line->novelty.bits <= a->novelty)
        return;
    a->novelty = line->novelty.bits;
    a->one_in = line->novelty.one_in;
    a->ordinal = ordinal;
    a->begin = line->begin;
    a->end = line->end;
    hold(&a->text, line->text, TEXT_BYTES);
    hold(&a->reason, line->novelty.reason, REASON_BYTES);
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct novelty *n = self;

    if (!line->novelty.there)
        return;
    n->any = true;
    n->highest = fmax(n->highest, line->novelty.bits);
    if (line->kind == LINE_ALERT && ordinal > 0) {
        take_alert(n, line, ordinal - 1);
    } else if (line->kind == LINE_UNIT) {
        size_t bin = bin_of(n, ordinal);
        n->most[bin] = fmax(n->most[bin], line->novelty.bits);
        take_template(n, line);
    }
}

/* ---- The timeline ---- */

static double y_of(double bits, double top)
{
    return HEIGHT - fmin(bits / top, 1) * HEIGHT;
}

static void write_timeline(const struct novelty *n, FILE *out)
{
    double step = svg_step(1.6 * fmax(n->highest, 1)), top = ceil(n->highest / step) * step;
    double width = (double)WIDTH / (double)n->bins;

    top = fmax(top, step);
    fprintf(out,
            "<figure>\n<p class=\"over\">novelty, bits</p>\n<div class=\"plot flat\">\n<svg "
            "viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Novelty "
            "along the %s: the highest is %.1f bits\">\n",
            WIDTH, HEIGHT, page_plural(n->document->unit), n->highest);
    for (int i = 0; i * step <= top + step / 2; i++)
        svg_line(out, i ? "grid" : "axis", i ? "#d1d9e0" : "#59636e", 0, y_of(i * step, top), WIDTH,
                 y_of(i * step, top));
    fputs("<path class=\"bars\" d=\"", out);
    for (size_t i = 0; i < n->bins; i++)
        if (n->most[i] > 0)
            fprintf(out, "M%.1f %dV%.1f", ((double)i + 0.5) * width, HEIGHT, y_of(n->most[i], top));
    fputs("\"/>\n<path class=\"tips\" d=\"", out);
    for (size_t i = 0; i < n->bins; i++)
        if (n->alerts[i] > 0)
            fprintf(out, "M%.1f %.1fh0", ((double)i + 0.5) * width, y_of(n->alerts[i], top));
    fputs("\"/>\n</svg>\n", out);
    for (int i = 0; i * step <= top + step / 2; i++)
        fprintf(out, "<span class=\"y\" style=\"top:%.2f%%\">%g</span>\n", y_of(i * step, top) / 10,
                i * step);
    fputs("</div>\n<figcaption>The most novel line of each place, from the first to the last; dots "
          "are alerts. Novelty is how rare the template of a line is, and how far the line lies "
          "above what is usual for it.</figcaption>\n</figure>\n",
          out);
}

/* ---- Alerts and templates ---- */

static int more_novel(const void *a, const void *b)
{
    const struct alert *first = a, *second = b;

    if (first->novelty != second->novelty)
        return first->novelty > second->novelty ? -1 : 1;
    return (first->ordinal > second->ordinal) - (first->ordinal < second->ordinal);
}

static void write_alert(const struct alert *a, const struct document *d, bool least, FILE *out)
{
    fputs("<li><span class=\"mark\" aria-hidden=\"true\">!</span>\n<blockquote lang=\"\" "
          "dir=\"auto\">",
          out);
    page_text(out, (struct view){a->text.data, a->text.bytes});
    fprintf(out, "</blockquote>\n<p class=\"facts\"><b>%.1f bits</b> of novelty, one line in ",
            a->novelty);
    page_count(out, a->one_in);
    if (a->reason.bytes) {
        fputs(": ", out);
        page_text(out, (struct view){a->reason.data, a->reason.bytes});
    }
    fprintf(out, " · %s ", d->unit);
    page_count(out, a->ordinal + 1);
    fputs(" · bytes ", out);
    page_count(out, a->begin);
    fputs(" to ", out);
    page_count(out, a->end);
    if (a->count > 1) {
        fprintf(out, " · %s", least ? "at least " : "");
        page_count(out, a->count - 1);
        fprintf(out, " more alert%s of this template", a->count == 2 ? "" : "s");
    }
    fputs("</p></li>\n", out);
}

static void write_alerts(struct novelty *n, FILE *out)
{
    size_t shown = n->alert_count < ALERTS_SHOWN ? n->alert_count : ALERTS_SHOWN;

    if (n->alert_count == 0)
        return;
    qsort(n->alert, n->alert_count, sizeof n->alert[0], more_novel);
    fputs("<h3>Alerts</h3>\n<p class=\"soft\">", out);
    page_counted(out, n->document->alerts, "alert");
    if (n->alert_count > shown || n->alerts_dropped)
        fprintf(out, " of %s%zu templates; the %zu most novel are shown",
                n->alerts_dropped ? "over " : "", n->alert_count, shown);
    fputs(".</p>\n<ol class=\"passages code\">\n", out);
    for (size_t i = 0; i < shown; i++)
        write_alert(&n->alert[i], n->document, n->alerts_dropped, out);
    fputs("</ol>\n", out);
}

static int more_lines(const void *a, const void *b)
{
    const struct template *first = a, *second = b;

    if (first->lines != second->lines)
        return first->lines > second->lines ? -1 : 1;
    return (first->id > second->id) - (first->id < second->id);
}

static void write_templates(struct novelty *n, FILE *out)
{
    size_t rows = n->template_count < ROWS ? n->template_count : ROWS;

    if (rows == 0)
        return;
    qsort(n->template, n->template_count, sizeof n->template[0], more_lines);
    fprintf(
        out,
        "<details><summary>The templates with most %s</summary>\n<div class=\"scroll\"><table>\n"
        "<thead><tr><th scope=\"col\">template</th><th scope=\"col\">%s</th></tr></thead>\n"
        "<tbody>\n",
        page_plural(n->document->unit), page_plural(n->document->unit));
    for (size_t i = 0; i < rows; i++) {
        fputs("<tr><th scope=\"row\" class=\"code\" lang=\"\">", out);
        page_text(out, (struct view){n->template[i].text.data, n->template[i].text.bytes});
        fputs("</th><td>", out);
        page_count(out, n->template[i].lines);
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody></table></div></details>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    struct novelty *n = self;

    (void)section;
    if (!n->any || n->document->units < 2)
        return;
    fputs("<h3>What is new</h3>\n", out);
    write_timeline(n, out);
    write_alerts(n, out);
    write_templates(n, out);
}

const struct part part_novelty = {.name = "novelty",
                                  .bytes = sizeof(struct novelty),
                                  .begin = begin,
                                  .take = take,
                                  .write = write};
