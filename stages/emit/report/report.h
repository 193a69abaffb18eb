/* stages/emit/report/report.h: what a job found, as one page to look at.
 *
 * The page is made of DIR/<stream>.jsonl alone and holds no clock, host or speed: the same records give the same
 * bytes. It appears whole or not at all. It belongs to nobody's checkpoint: lost, it is made again.
 *
 * Memory  0.7 kB and its name for each document; beyond that fixed, whatever the number of records. */
#ifndef STAGES_EMIT_REPORT_REPORT_H
#define STAGES_EMIT_REPORT_REPORT_H

#include "schemas/err.h"
#include <stddef.h>
#include <stdint.h>

enum {
    REPORT_SECTIONS_MAX = 24, /* documents that are shown in full, the most notable ones */
    REPORT_ROWS_MAX = 100     /* and in the table */
};

struct report_options {
    const char *folder;  /* with the records */
    const char *path;    /* of the page */
    uint64_t most_bytes; /* of records: more are not read */
};

struct report_made {
    uint64_t documents, records;
    uint64_t torn; /* documents whose last record was passed over */
};

/* made may be NULL.
 * Fails  ERR_ABSENT: there are no records; ERR_SINK: a record is damaged, which is named, or the page cannot be
 *        written, or its path has a file that is no report; ERR_LIMIT: more than most_bytes of records; ERR_FULL,
 *        ERR_MEMORY. */
MUST_CHECK enum err_code report_make(const struct report_options *options, struct report_made *made,
                                     struct err *err);

#endif
