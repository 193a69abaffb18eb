/* pipeline/commands/care.h: what verify, repair and gc share: which job they look after. */
#ifndef PIPELINE_COMMANDS_CARE_H
#define PIPELINE_COMMANDS_CARE_H

#include "pipeline/options.h"

struct care_target {
    const char *store, *output; /* output NULL: only the store was named */
    char *made;
    bool json, help;
};

enum { CARE_OPTIONS = 3 };

/* Append the options that set target; returns how many. */
size_t care_target_options(struct care_target *target, struct option *options);
/* Parse; prints usage and options where help is asked for. Fails: ERR_USAGE, ERR_MEMORY. */
MUST_CHECK enum err_code care_target_parse(struct care_target *target, const char *verb,
                                           const char *usage, const struct option *options,
                                           char **arguments, size_t count, struct err *err);
void care_target_release(struct care_target *target);

#endif
