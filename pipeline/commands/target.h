/* pipeline/commands/target.h: which store a command is about, and its owner. */
#ifndef PIPELINE_COMMANDS_TARGET_H
#define PIPELINE_COMMANDS_TARGET_H

#include "pipeline/options.h"
#include "schemas/control.h"
#include "store/store.h"

struct target {
    const char *store, *output;
    char *made;
    char **names; /* what target_names made */
    size_t name_count;
    bool json, all;
};

enum { TARGET_OPTIONS = 4 };

/* Put --store, -o, --json and, where with_all, --all at the front of options, and an end behind them; returns how many.
 * options has room for one more. */
size_t target_options(struct target *t, bool with_all, struct option *options);
/* After parsing: t->store is the store. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code target_end(struct target *t, struct err *err);
void target_release(struct target *t);

/* Open the store to look at it; *owned: a run has it now. Fails: as store_open. */
MUST_CHECK enum err_code target_look(const struct target *t, struct store **store, bool *owned,
                                     struct err *err);
/* Streams as users name them, each STREAM or STREAM@POINT, become the streams' own names, in place, for as long as t
 * lasts. A stream's name stands for it; else its file, by whatever path; else the end of one name alone behind a '+'
 * (book.txt of home+me+book.txt, a key of a feed). What stands for none is left as it is.
 * Fails  ERR_USAGE: it may be several; ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code target_names(struct target *t, struct store *store, char **names,
                                      size_t count, struct err *err);
/* Ask the owner and wait until it is done. Fails: as it was answered; ERR_ABSENT: nobody answers. */
MUST_CHECK enum err_code target_ask(const struct target *t, const Riverrun__Request *request,
                                    struct err *err);

#endif
