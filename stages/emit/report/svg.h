/* stages/emit/report/svg.h: what the pictures share: a self-contained SVG, without scripts, that asks for nothing from
 * elsewhere and follows the reader's light or dark setting. Here, because pipeline's pictures may include it and
 * engine and store, which draw nothing, need not know it.
 *
 * Classes  paper, ink, soft (text), grid, axis, first and second (curves); attributes say the light colours,
 *          for readers without style sheets.
 * Errors   are the stream's: ask ferror. */
#ifndef STAGES_EMIT_REPORT_SVG_H
#define STAGES_EMIT_REPORT_SVG_H

#include "schemas/err.h"
#include <stdio.h>

#define SVG_FIRST  "#0550ae"
#define SVG_SECOND "#bc4c00"

/* What all of them begin with. */
#define SVG_BEGIN "<svg xmlns=\"http://www.w3.org/2000/svg\""

/* May a picture be put under path, where something stands already? Fails: ERR_SINK: it is none */
MUST_CHECK enum err_code svg_may_replace(const char *path, struct err *err);
/* title  without < and & */
void svg_begin(FILE *out, int width, int height, const char *title);
/* The rules of these classes, for the style sheet of a page with pictures inside. */
void svg_colours(FILE *out);
/* Any text: what XML does not take is replaced. */
void svg_text(FILE *out, const char *text);
/* anchor: "start", "middle", "end" */
void svg_label(FILE *out, double x, double y, const char *anchor, const char *text);
void svg_line(FILE *out, const char *class, const char *colour, double x1, double y1, double x2,
              double y2);
/* Of ticks over a span above 0: 1, 2 or 5 times a power of ten, and no more than eight of them. */
double svg_step(double span);

#endif
