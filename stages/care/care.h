/* stages/care/care.h: looking after a job: its store, ingest's environment in it, and its outputs.
 *
 * Use      care_verify looks, beside a living owner too; care_repair mends and care_gc makes small, and both own
 *          the store meanwhile. What is found is said line by line.
 * Threads  one thread calls. */
#ifndef STAGES_CARE_CARE_H
#define STAGES_CARE_CARE_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum care_kind {
    CARE_NOTE,    /* nothing is wrong */
    CARE_DAMAGED, /* the store is */
    CARE_SINK     /* an output is not what was written */
};

/* thing: a stream's name, or a file's path; text: what is the matter with it, and the remedy. */
typedef void care_say_fn(void *user, enum care_kind kind, const char *thing, const char *text);

struct care_options {
    const char *store;
    const char *output; /* NULL: outputs are not looked at */
    bool dry_run;       /* care_repair: say what would be done */
    care_say_fn *say;
    void *user;
};

struct care_verified {
    uint64_t streams, checkpoints;
    uint64_t values, bytes;         /* of store and ingest's environment, checksums compared */
    uint64_t records, output_bytes; /* up to the newest checkpoints */
    uint64_t damaged, sinks;        /* things wrong */
};

/* Look at everything, beside a living owner too.
 * Fails  ERR_DAMAGED, ERR_SINK (only that) with an empty text: it was said; ERR_ABSENT, ERR_VERSION, ERR_SYSTEM */
MUST_CHECK enum err_code care_verify(const struct care_options *options,
                                     struct care_verified *totals, struct err *err);

struct care_repaired {
    bool needed;      /* something was wrong with the store */
    bool feed_needed; /* with ingest's environment, which was said */
    bool exact;       /* and nothing was lost */
    uint64_t values;
    char kept_as[64]; /* the damaged file's name, in the store's folder */
};

/* Make a new file of what is good in the store's, and the same for ingest's environment. The outputs are read for the
 * owner epoch, the id and the names that they know, and not touched.
 * Fails  ERR_BUSY, ERR_ABSENT, ERR_VERSION, ERR_FULL, ERR_SYSTEM; ERR_DAMAGED: nothing can be made of it */
MUST_CHECK enum err_code care_repair(const struct care_options *options, struct care_repaired *done,
                                     struct err *err);

struct care_cleaned {
    uint64_t before, after; /* bytes of the store's file, and of ingest's */
    uint64_t checkpoints;   /* dropped of finished streams */
    uint64_t removed;       /* files that killed runs left in the output folder */
    uint64_t damaged_bytes; /* of files that repairs kept; they stay */
};

/* Keep of finished streams the newest checkpoint alone, copy store and ingest's environment without free pages, remove
 * what killed runs left. Outputs are not touched.
 * Fails  ERR_BUSY, ERR_ABSENT, ERR_DAMAGED, ERR_FULL, ERR_SYSTEM: the store is as before, or smaller */
MUST_CHECK enum err_code care_gc(const struct care_options *options, struct care_cleaned *done,
                                 struct err *err);

#endif
