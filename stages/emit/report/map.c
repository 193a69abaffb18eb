/* How alike the parts of a document are: a square of cells, each the cosine between what two stretches of the text are
 * about, by the vectors of their units.
 *
 * A stretch is a 48th of the document (by bytes, by units of lines), or more where it has few units; its vector is the
 * mean of its units', whitened by what is usual for the document's units (whitening.h): what all parts share would
 * make all of them alike. Of vectors with more than DIMENSIONS the first ones are taken. Cells have one of five shades,
 * by where they stand among all of them, so the picture has contrast whatever the model. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"
#include "stages/emit/vectors.h"
#include "stages/emit/whitening.h"

#include <math.h>
#include <stdlib.h>

enum { CELLS = 48, DIMENSIONS = 512, SHADES = 5, LEAST = 4, UNITS_EACH = 4 };
enum { WHITENING_DOUBLES = DIMENSIONS + DIMENSIONS * (DIMENSIONS + 1) / 2 };

struct map {
    const struct document *document;
    bool by_line;
    size_t cells; /* fewer where there are few units */
    uint64_t units[CELLS];
    size_t dimensions;
    double sum[CELLS][DIMENSIONS];
    double length[CELLS];
    double vector[VECTORS_DIMENSIONS_MAX];
    struct whitening whitening;
    double room[WHITENING_DOUBLES];
};

static void begin(void *self, const struct section *section)
{
    struct map *m = self;

    m->document = section->document;
    m->by_line = part_by_line(m->document);
    m->cells = m->document->units / UNITS_EACH < CELLS ? m->document->units / UNITS_EACH : CELLS;
}

static size_t cell_of(const struct map *m, const struct line *line, uint64_t ordinal)
{
    const struct document *d = m->document;
    uint64_t at = m->by_line ? ordinal : (line->begin + line->end) / 2 - d->begin;
    uint64_t whole = m->by_line ? d->units : d->end - d->begin;
    double cell = whole ? (double)at / (double)whole * (double)m->cells : 0;

    return cell < (double)m->cells ? (size_t)cell : m->cells - 1;
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct map *m = self;
    size_t cell, count;

    if (line->kind != LINE_UNIT || !line->embedding.data || !m->cells)
        return;
    count = vectors_direction(line->embedding, m->vector, VECTORS_DIMENSIONS_MAX);
    if (count > DIMENSIONS)
        count = DIMENSIONS;
    if (!count || (m->dimensions && count != m->dimensions))
        return; /* damaged, or of another model */
    if (!m->dimensions)
        whitening_begin(&m->whitening, count, m->room);
    m->dimensions = count;
    whitening_add(&m->whitening, m->vector);
    cell = cell_of(m, line, ordinal);
    for (size_t i = 0; i < count; i++)
        m->sum[cell][i] += m->vector[i];
    m->units[cell]++;
}

/* Sums become whitened means: whitening is linear, so the mean of the whitened is the whitened mean. */
static void settle(void *self, struct section *section)
{
    struct map *m = self;

    (void)section;
    if (!m->dimensions)
        return;
    whitening_settle(&m->whitening);
    if (m->whitening.flat) {
        m->dimensions = 0; /* all of it is alike: no picture */
        return;
    }
    for (size_t k = 0; k < m->cells; k++) {
        double squares = 0;
        if (!m->units[k])
            continue;
        for (size_t i = 0; i < m->dimensions; i++)
            m->sum[k][i] /= (double)m->units[k];
        whitening_apply(&m->whitening, m->sum[k]);
        for (size_t i = 0; i < m->dimensions; i++)
            squares += m->sum[k][i] * m->sum[k][i];
        m->length[k] = sqrt(squares);
    }
}

static bool is_known(const struct map *m, size_t cell)
{
    return m->units[cell] > 0 && m->length[cell] > 0;
}

static float cosine(const struct map *m, size_t a, size_t b)
{
    double sum = 0;

    for (size_t i = 0; i < m->dimensions; i++)
        sum += m->sum[a][i] * m->sum[b][i];
    return (float)(sum / (m->length[a] * m->length[b]));
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

struct pairs {
    float value[CELLS][CELLS], sorted[CELLS * CELLS];
    size_t count;
};

/* Of each two different stretches. */
static void compare(const struct map *m, struct pairs *p)
{
    p->count = 0;
    for (size_t a = 0; a < m->cells; a++)
        for (size_t b = 0; b < a; b++) {
            if (!is_known(m, a) || !is_known(m, b))
                continue;
            p->value[a][b] = p->value[b][a] = cosine(m, a, b);
            p->sorted[p->count++] = p->value[a][b];
        }
    qsort(p->sorted, p->count, sizeof *p->sorted, by_value);
}

/* Half of all pairs have no shade, a twentieth the darkest. */
static void draw_shade(const struct map *m, const struct pairs *p, int shade, FILE *out)
{
    static const double from[SHADES + 1] = {0.5, 0.65, 0.8, 0.9, 0.95, 1};
    float low = p->sorted[(size_t)(from[shade] * (double)(p->count - 1))];
    float high = p->sorted[(size_t)(from[shade + 1] * (double)(p->count - 1))];
    bool last = shade == SHADES - 1;

    fprintf(out, "<path class=\"alike\" fill-opacity=\"%.2f\" d=\"", 0.15 + 0.2 * shade);
    for (size_t a = 0; a < m->cells; a++)
        for (size_t b = 0; b < m->cells; b++)
            if (a != b && is_known(m, a) && is_known(m, b) && p->value[a][b] >= low &&
                (p->value[a][b] < high || last))
                fprintf(out, "M%zu %zuh1v1h-1z", b, a);
    fputs("\"/>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    const struct map *m = self;
    struct pairs *p = calloc(1, sizeof *p);
    size_t known = 0;

    for (size_t i = 0; i < m->cells; i++)
        known += is_known(m, i);
    if (!p || known < LEAST || !m->dimensions) {
        free(p);
        return;
    }
    compare(m, p);
    fprintf(out,
            "<h3>How alike its parts are</h3>\n<figure id=\"d%zu-map\" class=\"map\">\n<svg "
            "viewBox=\"0 0 %zu %zu\" role=\"img\" aria-label=\"A square of %zu by %zu cells: the "
            "darker, "
            "the more alike two parts of the text are. Its beginning is at the upper left.\">\n",
            section->document->section, m->cells, m->cells, m->cells, m->cells);
    for (int shade = 0; shade < SHADES; shade++)
        draw_shade(m, p, shade, out);
    fprintf(
        out,
        "<path class=\"self\" d=\"M0 0L%zu %zu\"/>\n</svg>\n<figcaption>Each side is the text from "
        "beginning to end, in %zu stretches; the darker a cell, the more alike the two stretches "
        "are that meet in it, by the model's own view of them. The line is where each meets "
        "itself; dark squares along it are stretches that belong together, dark places away from "
        "it are returns.</figcaption>\n</figure>\n",
        m->cells, m->cells, m->cells);
    free(p);
}

const struct part part_map = {.name = "map",
                              .bytes = sizeof(struct map),
                              .begin = begin,
                              .take = take,
                              .settle = settle,
                              .write = write};
