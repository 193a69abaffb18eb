/* stages/emit/report/documents.h: the first reading of all output files of a folder: how much each holds, and what is
 * usual in it; and which of them are notable. */
#ifndef STAGES_EMIT_REPORT_DOCUMENTS_H
#define STAGES_EMIT_REPORT_DOCUMENTS_H

#include "stages/emit/report/part.h"

struct documents {
    struct document *items; /* (count) by name */
    struct document *
        *shown; /* (count) by name where each has a section; else the most notable first */
    size_t count, sections;
    uint64_t records, units, tokens, bytes, torn, finished;
    double bits;
    struct usual usual; /* of documents among each other */
};

/* sections: give one to so many at most.
 * Fails  ERR_ABSENT: no folder, or no records in it; ERR_LIMIT: more than most_bytes; as lines_next. */
MUST_CHECK enum err_code documents_read(struct documents *out, const char *folder, size_t sections,
                                        uint64_t most_bytes, struct err *err);
void documents_release(struct documents *documents);
/* The file of a document, malloc'ed; NULL when memory is refused. */
char *document_path(const char *folder, const struct document *document);

#endif
