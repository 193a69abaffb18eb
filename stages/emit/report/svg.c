#include "stages/emit/report/svg.h"

#include "schemas/outfile.h"

#include <math.h>
#include <string.h>

enum { TICKS_MOST = 8 };

/* Presentation attributes say the light colours, for readers without style sheets. */
static const char head[] =
    SVG_BEGIN " viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
              "font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n"
              "<title>%s</title>\n"
              "<style>\n";
static const char colours[] =
    ".paper { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e }\n"
    ".grid { stroke: #d1d9e0 } .axis { stroke: #59636e }\n"
    ".first { stroke: #0550ae } .second { stroke: #bc4c00 }\n"
    "@media (prefers-color-scheme: dark) {\n"
    ".paper { fill: #0d1117 } .ink { fill: #f0f6fc } .soft { fill: #9198a1 }\n"
    ".grid { stroke: #30363d } .axis { stroke: #9198a1 }\n"
    ".first { stroke: #79c0ff } .second { stroke: #ffa657 }\n"
    "}\n";

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

void svg_text(FILE *out, const char *text)
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

void svg_label(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text class=\"soft\" fill=\"#59636e\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
            x, y, anchor);
    svg_text(out, text);
    fputs("</text>\n", out);
}

void svg_line(FILE *out, const char *class, const char *colour, double x1, double y1, double x2,
              double y2)
{
    fprintf(out,
            "<line class=\"%s\" stroke=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            class, colour, x1, y1, x2, y2);
}

void svg_colours(FILE *out)
{
    fputs(colours, out);
}

enum err_code svg_may_replace(const char *path, struct err *err)
{
    static const char begin[] = SVG_BEGIN;

    return outfile_may_replace(path, "picture", begin, sizeof begin - 1, err);
}

void svg_begin(FILE *out, int width, int height, const char *title)
{
    fprintf(out, head, width, height, width, height, title);
    svg_colours(out);
    fprintf(out, "</style>\n<rect class=\"paper\" width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
            width, height);
}

/* 1, 2 or 5 times a power of ten, with at most TICKS_MOST of them between low and high. */
double svg_step(double span)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(span / TICKS_MOST)));

    for (size_t i = 0; i < 3; i++)
        if (span / (steps[i] * power) <= TICKS_MOST)
            return steps[i] * power;
    return steps[3] * power;
}
