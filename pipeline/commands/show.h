/* pipeline/commands/show.h: how streams stand, for people and as JSON. */
#ifndef PIPELINE_COMMANDS_SHOW_H
#define PIPELINE_COMMANDS_SHOW_H

#include "stages/encode/status.h"

Riverrun__Reply *show_reply(void); /* an empty one, malloc'ed */
void show_table(const Riverrun__Reply *reply);
void show_json(const Riverrun__Reply *reply);

#endif
