/* stages/care/outputs.h: what the outputs of a folder know of the store that they belong to: the sidecars and claims
 * in DIR/.riverrun (stages/emit/sinks). */
#ifndef STAGES_CARE_OUTPUTS_H
#define STAGES_CARE_OUTPUTS_H

#include "store/care.h"

struct outputs {
    struct store_seen *stores; /* (store_count) that wrote here */
    size_t store_count;
    char **names; /* (count) of streams */
    uint64_t *generations;
    size_t count;
    char *damaged; /* the claim's name of the store asked for, where it says no epoch, or NULL */
};

/* Reads what can be read; a folder that is not there knows nothing. id: of the store whose claim may be damaged, or
 * NULL. */
void outputs_read(struct outputs *outputs, const char *folder, const uint8_t *id);
void outputs_release(struct outputs *outputs);
/* The owner epoch that store id had here; 0: it was not. */
uint64_t outputs_epoch(const struct outputs *outputs, const uint8_t *id);
/* The generation that the output of a stream was begun with; 0: not known. */
uint64_t outputs_generation(const struct outputs *outputs, const char *name);

#endif
