#include "pipeline/eval/plot.h"
#include "stages/emit/report/svg.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    WIDTH = 760,
    PANEL = 360, /* height */
    LEFT = 70,
    RIGHT = 24,
    TOP = 70,
    BOTTOM = 56
};

/* Bits per byte from low to high, a line every step; bins 0..bins side by side. */
struct scale {
    double low, high, step;
    size_t bins;
    double top; /* of the panel, in the picture */
};

/* ---- Where things lie ---- */

static double x_of(const struct scale *s, size_t edge)
{
    return LEFT + (double)edge * (WIDTH - LEFT - RIGHT) / (double)(s->bins ? s->bins : 1);
}

static double y_of(const struct scale *s, double bits)
{
    return s->top + TOP + (s->high - bits) / (s->high - s->low) * (PANEL - TOP - BOTTOM);
}

static double bits_of(const struct curve_part *bin, bool carried)
{
    return curve_bits_per_byte(carried ? bin->carried : bin->reset, bin->bytes);
}

static struct scale scale_of(const struct curve *curve, double top)
{
    struct scale s = {.low = INFINITY, .high = -INFINITY, .bins = curve->bin_count, .top = top};

    for (size_t i = 0; i < 2 * curve->bin_count; i++) {
        double bits = bits_of(&curve->bins[i / 2], i % 2);
        if (isfinite(bits) && curve->bins[i / 2].scored) {
            s.low = bits < s.low ? bits : s.low;
            s.high = bits > s.high ? bits : s.high;
        }
    }
    if (!(s.low <= s.high)) {
        s.low = 0;
        s.high = 1;
    }
    s.step = svg_step(s.high - s.low > 0.05 ? s.high - s.low : 0.05);
    s.low = floor(s.low / s.step) * s.step;
    s.high = s.low + ceil((s.high - s.low) / s.step + 1e-9) * s.step;
    return s;
}

/* ---- A panel ---- */

static void draw_axes(FILE *out, const struct scale *s)
{
    double bottom = s->top + PANEL - BOTTOM;
    char text[32];

    for (int i = 0; s->low + i * s->step <= s->high + s->step / 2; i++) {
        double bits = s->low + i * s->step;
        svg_line(out, "grid", "#d1d9e0", LEFT, y_of(s, bits), WIDTH - RIGHT, y_of(s, bits));
        snprintf(text, sizeof text, "%.*f", s->step < 0.1 ? 2 : s->step < 1 ? 1 : 0, bits);
        svg_label(out, LEFT - 8, y_of(s, bits) + 4, "end", text);
    }
    svg_line(out, "axis", "#59636e", LEFT, bottom, WIDTH - RIGHT, bottom);
    for (size_t edge = 0; edge <= s->bins; edge++) {
        svg_line(out, "axis", "#59636e", x_of(s, edge), bottom, x_of(s, edge), bottom + 5);
        curve_position(curve_bin_begin(edge), text, sizeof text);
        svg_label(out, x_of(s, edge), bottom + 19, "middle", text);
    }
    svg_label(out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, bottom + 40, "middle",
              "position in the document, tokens (1k = 1,024)");
    fprintf(out, "<g transform=\"translate(18 %.1f) rotate(-90)\">",
            s->top + TOP + (PANEL - TOP - BOTTOM) / 2.0);
    svg_label(out, 0, 0, "middle", "bits per byte");
    fputs("</g>\n", out);
}

/* A step for each bin: as wide as it, as high as its bits per byte. */
static void draw_curve(FILE *out, const struct scale *s, const struct curve *curve, bool carried)
{
    bool drawn = false;

    fprintf(out, "<path class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s d=\"",
            carried ? "first" : "second", carried ? "#0550ae" : "#bc4c00", carried ? "2.5" : "2",
            carried ? "" : " stroke-dasharray=\"6 4\"");
    for (size_t i = 0; i < curve->bin_count; i++) {
        if (curve->bins[i].scored == 0)
            continue;
        double y = y_of(s, bits_of(&curve->bins[i], carried));
        fprintf(out, "%s%.1f %.1f H%.1f", drawn ? "L" : "M", x_of(s, i), y, x_of(s, i + 1));
        drawn = true;
    }
    fputs("\"/>\n", out);
}

static void draw_legend(FILE *out, double y, const struct curve *curve)
{
    char reset[32], text[64];

    curve_position(curve->reset_tokens, reset, sizeof reset);
    snprintf(text, sizeof text, "reset every %s tokens", reset);
    fprintf(out,
            "<path class=\"first\" stroke=\"#0550ae\" stroke-width=\"2.5\" d=\"M%d %.1f h28\"/>\n",
            LEFT, y);
    svg_label(out, LEFT + 34, y + 4, "start", "state carried");
    fprintf(out,
            "<path class=\"second\" stroke=\"#bc4c00\" stroke-width=\"2\" stroke-dasharray=\"6 4\" "
            "d=\"M%d %.1f h28\"/>\n",
            LEFT + 140, y);
    svg_label(out, LEFT + 174, y + 4, "start", text);
}

static void draw_panel(FILE *out, const struct plot_panel *panel, double top)
{
    struct scale s = scale_of(panel->curve, top);

    fprintf(out,
            "<text class=\"ink\" fill=\"#1f2328\" x=\"%d\" y=\"%.1f\" font-size=\"15\" "
            "font-weight=\"600\">",
            LEFT, top + 22);
    svg_text(out, panel->title);
    fputs("</text>\n", out);
    if (panel->words)
        svg_label(out, LEFT, top + 40, "start", panel->words);
    draw_legend(out, top + 55, panel->curve);
    draw_axes(out, &s);
    draw_curve(out, &s, panel->curve, true);
    draw_curve(out, &s, panel->curve, false); /* its gaps show the other where both are one */
}

void plot_write(FILE *out, const struct plot_panel *panels, size_t count)
{
    int height = (int)count * PANEL;

    svg_begin(out, WIDTH, height, "Bits per byte by position in the document");
    for (size_t i = 0; i < count; i++)
        draw_panel(out, &panels[i], (double)i * PANEL);
    fputs("</svg>\n", out);
}
