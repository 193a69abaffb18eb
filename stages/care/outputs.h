/* stages/care/outputs.h: what the outputs of a folder know of the store that they belong to: the sidecars and claims
 * in DIR/.riverrun (stages/emit/sinks). */
#ifndef STAGES_CARE_OUTPUTS_H
#define STAGES_CARE_OUTPUTS_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTPUTS_ID_BYTES = 16 };

struct outputs {
    uint64_t epoch; /* the greatest that was here */
    bool has_id;    /* all say the same */
    uint8_t id[OUTPUTS_ID_BYTES];
    char **names; /* (count) of streams */
    uint64_t *generations;
    size_t count;
};

/* Reads what can be read; a folder that is not there knows nothing. */
void outputs_read(struct outputs *outputs, const char *folder);
void outputs_release(struct outputs *outputs);
/* The generation that the output of a stream was begun with; 0: not known. */
uint64_t outputs_generation(const struct outputs *outputs, const char *name);

#endif
