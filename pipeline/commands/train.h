/* pipeline/commands/train.h: what the commands that learn from text share. */
#ifndef PIPELINE_COMMANDS_TRAIN_H
#define PIPELINE_COMMANDS_TRAIN_H

#include "engine/train/train.h"

/* PATH or PATH:WEIGHT, cut in place. A path that is there as it stands has no weight. */
struct corpus_file train_file(char *argument);

#endif
