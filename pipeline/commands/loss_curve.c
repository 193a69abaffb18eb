#include "pipeline/commands/loss_curve.h"
#include "schemas/outfile.h"
#include "stages/emit/report/svg.h"

#include <math.h>
#include <stdlib.h>

enum { WIDTH = 760, PANEL = 300, LEFT = 70, RIGHT = 24, TOP = 60, BOTTOM = 50 };

/* One of the two pictures below each other; both have all steps of the schedule from left to right. */
struct panel {
    const char *words, *class, *colour;
    double (*value)(const struct train_point *point); /* 0: none here */
    const struct train_point *points;
    size_t count;
    uint64_t steps;
    double top, low, high, tick;
};

static double loss_of(const struct train_point *point)
{
    return point->loss;
}

static double held_out_of(const struct train_point *point)
{
    return point->held_out;
}

static double x_of(const struct panel *p, double step)
{
    return LEFT + step / (double)p->steps * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct panel *p, double value)
{
    return p->top + TOP + (p->high - value) / (p->high - p->low) * (PANEL - TOP - BOTTOM);
}

/* False where there is nothing to draw. */
static bool set_scale(struct panel *p)
{
    p->low = INFINITY;
    p->high = -INFINITY;
    for (size_t i = 0; i < p->count; i++) {
        double value = p->value(&p->points[i]);
        if (value > 0) {
            p->low = fmin(p->low, value);
            p->high = fmax(p->high, value);
        }
    }
    if (!(p->low <= p->high))
        return false;
    p->tick = svg_step(fmax(p->high - p->low, 0.05));
    p->low = floor(p->low / p->tick) * p->tick;
    p->high = p->low + ceil((p->high - p->low) / p->tick + 1e-9) * p->tick;
    return true;
}

static void draw_axes(FILE *out, const struct panel *p)
{
    const double bottom = p->top + PANEL - BOTTOM, steps = (double)p->steps;
    const double tick = fmax(svg_step(steps), 1);
    const int digits = p->tick < 0.1 ? 2 : p->tick < 1 ? 1 : 0;
    char text[32];

    for (int i = 0; p->low + i * p->tick <= p->high + p->tick / 2; i++) {
        double value = p->low + i * p->tick;
        svg_line(out, "grid", "#d1d9e0", LEFT, y_of(p, value), WIDTH - RIGHT, y_of(p, value));
        snprintf(text, sizeof text, "%.*f", digits, value);
        svg_label(out, LEFT - 8, y_of(p, value) + 4, "end", text);
    }
    svg_line(out, "axis", "#59636e", LEFT, bottom, WIDTH - RIGHT, bottom);
    for (int i = 0; i * tick <= steps; i++) {
        svg_line(out, "axis", "#59636e", x_of(p, i * tick), bottom, x_of(p, i * tick), bottom + 5);
        snprintf(text, sizeof text, "%.0f", i * tick);
        svg_label(out, x_of(p, i * tick), bottom + 19, "middle", text);
    }
    svg_label(out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, bottom + 38, "middle", "steps");
}

/* The words, and behind them the newest value. */
static void draw_words(FILE *out, const struct panel *p)
{
    double last = 0;
    char text[96];

    for (size_t i = 0; i < p->count; i++)
        last = p->value(&p->points[i]) > 0 ? p->value(&p->points[i]) : last;
    snprintf(text, sizeof text, "%s: %.4f", p->words, last);
    svg_label(out, LEFT, p->top + TOP - 12, "start", text);
}

/* The line of a single point would not be seen. */
static void draw_dot(FILE *out, const struct panel *p)
{
    const struct train_point *only = NULL;
    size_t known = 0;

    for (size_t i = 0; i < p->count; i++)
        if (p->value(&p->points[i]) > 0 && !known++)
            only = &p->points[i];
    if (known == 1)
        fprintf(out,
                "<circle class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" cx=\"%.2f\" "
                "cy=\"%.2f\" r=\"3\"/>\n",
                p->class, p->colour, x_of(p, (double)only->step), y_of(p, p->value(only)));
}

static void draw_curve(FILE *out, const struct panel *p)
{
    fprintf(out, "<polyline class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
            p->class, p->colour);
    for (size_t i = 0; i < p->count; i++)
        if (p->value(&p->points[i]) > 0)
            fprintf(out, "%.2f,%.2f ", x_of(p, (double)p->points[i].step),
                    y_of(p, p->value(&p->points[i])));
    fputs("\"/>\n", out);
}

static void draw(FILE *out, const char *title, const struct train *train)
{
    struct panel panels[] = {{.words = "loss of the text that is learnt, nats a token",
                              .class = "first",
                              .colour = SVG_FIRST,
                              .value = loss_of},
                             {.words = "held-out text, bits per byte",
                              .class = "second",
                              .colour = SVG_SECOND,
                              .value = held_out_of}};
    size_t count, drawn = 0;
    const struct train_point *points = train_points(train, &count);
    bool any[2];

    for (int i = 0; i < 2; i++) {
        panels[i].points = points;
        panels[i].count = count;
        panels[i].steps = train_status(train)->steps;
        any[i] = set_scale(&panels[i]);
        panels[i].top = (double)(drawn * PANEL);
        drawn += any[i];
    }
    svg_begin(out, WIDTH, drawn ? (int)drawn * PANEL : TOP, "Loss of a training");
    fprintf(out,
            "<text class=\"ink\" fill=\"#1f2328\" x=\"%d\" y=\"24\" font-size=\"15\" "
            "font-weight=\"600\">",
            LEFT);
    svg_text(out, title);
    fputs("</text>\n", out);
    for (int i = 0; i < 2; i++)
        if (any[i]) {
            draw_words(out, &panels[i]);
            draw_axes(out, &panels[i]);
            draw_curve(out, &panels[i]);
            draw_dot(out, &panels[i]);
        }
    fputs("</svg>\n", out);
}

enum err_code loss_curve_write(const char *path, const char *title, const struct train *train,
                               struct err *err)
{
    struct outfile *file = NULL;
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    enum err_code code = ERR_OK;

    if (memory)
        draw(memory, title, train);
    if (!memory || fclose(memory))
        code = err_set(err, ERR_MEMORY, 0, "the picture '%s'", path);
    if (!code)
        code = outfile_open(&file, path, err);
    if (!code)
        code = outfile_write(file, text, bytes, err);
    if (!code)
        code = outfile_commit(&file, err);
    outfile_close(&file);
    free(text);
    return code;
}
