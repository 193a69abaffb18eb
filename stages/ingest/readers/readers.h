/* stages/ingest/readers/readers.h: a file, turned into text by the process that this is called in.
 *
 * The same file gives the same bytes. Nothing depends on the locale, the clock, the name of the machine. */
#ifndef STAGES_INGEST_READERS_READERS_H
#define STAGES_INGEST_READERS_READERS_H

#include "stages/ingest/readers/out.h"

struct reading {
    int file;             /* a descriptor, read from its beginning */
    const char *name;     /* for what cannot be told from the content; NULL: unknown */
    const char *encoding; /* what the user says it is in; NULL: is to be found out */
    const char *field;    /* of JSON Lines, its text is read; NULL: they are text as any other */
};

/* out gets frames: what it is, the text, the end or a fault in words. Fails  ERR_SYSTEM: out's pipe is gone. */
MUST_CHECK enum err_code readers_run(const struct reading *reading, struct out *out,
                                     struct err *err);

#endif
