/* pipeline/commands/loss_curve.h: how a training went, as a picture: loss and, where it was measured, bits per byte of
 * held-out text, over the steps. One self-contained SVG, see stages/emit/report/svg.h; each point of the training is
 * one of a polyline. */
#ifndef PIPELINE_COMMANDS_LOSS_CURVE_H
#define PIPELINE_COMMANDS_LOSS_CURVE_H

#include "engine/train/train.h"

/* The picture appears whole or not at all.
 * title  any text
 * Fails  ERR_SINK, ERR_FULL, ERR_MEMORY */
MUST_CHECK enum err_code loss_curve_write(const char *path, const char *title,
                                          const struct train *train, struct err *err);

#endif
