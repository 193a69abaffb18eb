/* pipeline/commands/model.h: what can be done with a model file; see model.c. */
#ifndef PIPELINE_COMMANDS_MODEL_H
#define PIPELINE_COMMANDS_MODEL_H

#include "pipeline/commands/commands.h"

command_fn model_info, model_convert, model_logits;

#endif
