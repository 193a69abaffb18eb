/* pipeline/eval/plot.h: curves by position as a picture.
 *
 * A self-contained SVG, one panel a document: bits per byte over the position, which is drawn by its
 * logarithm, so that the bins are equally wide. It has no scripts and asks for nothing from elsewhere;
 * colours follow the reader's light or dark setting, and the two curves differ in their strokes too. */
#ifndef PIPELINE_EVAL_PLOT_H
#define PIPELINE_EVAL_PLOT_H

#include "pipeline/eval/curve.h"
#include <stdio.h>

struct plot_panel {
    const char *title; /* any text: what XML does not take is replaced */
    const char *words; /* below the title; NULL: none */
    const struct curve *curve;
};

/* Write count panels below each other. Errors are the stream's: ask ferror. */
void plot_write(FILE *out, const struct plot_panel *panels, size_t count);

#endif
