#include "pipeline/eval/plot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    WIDTH = 760,
    PANEL = 360, /* height */
    LEFT = 70,
    RIGHT = 24,
    TOP = 70,
    BOTTOM = 56,
    TICKS_MOST = 8
};

/* Bits per byte from low to high, a line every step; bins 0..bins side by side. */
struct scale {
    double low, high, step;
    size_t bins;
    double top; /* of the panel, in the picture */
};

/* Presentation attributes say the light colours, for readers without style sheets. */
static const char head[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
    "font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n"
    "<title>Bits per byte by position in the document</title>\n"
    "<style>\n"
    ".paper { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }\n"
    ".grid { stroke: #d1d9e0 } .axis { stroke: #59636e }\n"
    ".carried { stroke: #0550ae } .reset { stroke: #bc4c00 }\n"
    "@media (prefers-color-scheme: dark) {\n"
    ".paper { fill: #0d1117 } .ink { fill: #f0f6fc } .soft { fill: #9198a1 }\n"
    ".grid { stroke: #30363d } .axis { stroke: #9198a1 }\n"
    ".carried { stroke: #79c0ff } .reset { stroke: #ffa657 }\n"
    "}\n"
    "</style>\n"
    "<rect class=\"paper\" width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n";

/* ---- Text ---- */

/* Bytes of the character at text when it is UTF-8 that XML takes, else 0. */
static size_t character_bytes(const unsigned char *text)
{
    size_t bytes = text[0] < 0x80   ? 1
                   : text[0] < 0xC2 ? 0
                   : text[0] < 0xE0 ? 2
                   : text[0] < 0xF0 ? 3
                   : text[0] < 0xF5 ? 4
                                    : 0;

    if (bytes == 1)
        return text[0] >= 0x20 && text[0] != 0x7F;
    for (size_t i = 1; i < bytes; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    if ((text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F) ||
        (text[0] == 0xEF && text[1] == 0xBF && text[2] > 0xBD) ||
        (text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F))
        return 0;
    return bytes;
}

static void put_text(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        size_t bytes = character_bytes(at);
        if (bytes == 0)
            fputs("\xEF\xBF\xBD", out);
        else if (*at == '<')
            fputs("&lt;", out);
        else if (*at == '&')
            fputs("&amp;", out);
        else
            fwrite(at, 1, bytes, out);
        at += bytes ? bytes : 1;
    }
}

static void label(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text class=\"soft\" fill=\"#59636e\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
            x, y, anchor);
    put_text(out, text);
    fputs("</text>\n", out);
}

static void line(FILE *out, const char *class, const char *colour, double x1, double y1, double x2,
                 double y2)
{
    fprintf(out,
            "<line class=\"%s\" stroke=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            class, colour, x1, y1, x2, y2);
}

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

/* 1, 2 or 5 times a power of ten, with at most TICKS_MOST of them between low and high. */
static double step_of(double span)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(span / TICKS_MOST)));

    for (size_t i = 0; i < 3; i++)
        if (span / (steps[i] * power) <= TICKS_MOST)
            return steps[i] * power;
    return steps[3] * power;
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
    s.step = step_of(s.high - s.low > 0.05 ? s.high - s.low : 0.05);
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
        line(out, "grid", "#d1d9e0", LEFT, y_of(s, bits), WIDTH - RIGHT, y_of(s, bits));
        snprintf(text, sizeof text, "%.*f", s->step < 0.1 ? 2 : s->step < 1 ? 1 : 0, bits);
        label(out, LEFT - 8, y_of(s, bits) + 4, "end", text);
    }
    line(out, "axis", "#59636e", LEFT, bottom, WIDTH - RIGHT, bottom);
    for (size_t edge = 0; edge <= s->bins; edge++) {
        line(out, "axis", "#59636e", x_of(s, edge), bottom, x_of(s, edge), bottom + 5);
        curve_position(curve_bin_begin(edge), text, sizeof text);
        label(out, x_of(s, edge), bottom + 19, "middle", text);
    }
    label(out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, bottom + 40, "middle",
          "position in the document, tokens (1k = 1,024)");
    fprintf(out, "<g transform=\"translate(18 %.1f) rotate(-90)\">",
            s->top + TOP + (PANEL - TOP - BOTTOM) / 2.0);
    label(out, 0, 0, "middle", "bits per byte");
    fputs("</g>\n", out);
}

/* A step for each bin: as wide as it, as high as its bits per byte. */
static void draw_curve(FILE *out, const struct scale *s, const struct curve *curve, bool carried)
{
    bool drawn = false;

    fprintf(out, "<path class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s d=\"",
            carried ? "carried" : "reset", carried ? "#0550ae" : "#bc4c00", carried ? "2.5" : "2",
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
    fprintf(
        out,
        "<path class=\"carried\" stroke=\"#0550ae\" stroke-width=\"2.5\" d=\"M%d %.1f h28\"/>\n",
        LEFT, y);
    label(out, LEFT + 34, y + 4, "start", "state carried");
    fprintf(out,
            "<path class=\"reset\" stroke=\"#bc4c00\" stroke-width=\"2\" stroke-dasharray=\"6 4\" "
            "d=\"M%d %.1f h28\"/>\n",
            LEFT + 140, y);
    label(out, LEFT + 174, y + 4, "start", text);
}

static void draw_panel(FILE *out, const struct plot_panel *panel, double top)
{
    struct scale s = scale_of(panel->curve, top);

    fprintf(out,
            "<text class=\"ink\" fill=\"#1f2328\" x=\"%d\" y=\"%.1f\" font-size=\"15\" "
            "font-weight=\"600\">",
            LEFT, top + 22);
    put_text(out, panel->title);
    fputs("</text>\n", out);
    if (panel->words)
        label(out, LEFT, top + 40, "start", panel->words);
    draw_legend(out, top + 55, panel->curve);
    draw_axes(out, &s);
    draw_curve(out, &s, panel->curve, true);
    draw_curve(out, &s, panel->curve, false); /* its gaps show the other where both are one */
}

void plot_write(FILE *out, const struct plot_panel *panels, size_t count)
{
    int height = (int)count * PANEL;

    fprintf(out, head, WIDTH, height, WIDTH, height, WIDTH, height);
    for (size_t i = 0; i < count; i++)
        draw_panel(out, &panels[i], (double)i * PANEL);
    fputs("</svg>\n", out);
}
