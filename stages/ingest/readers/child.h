/* stages/ingest/readers/child.h: a reader's process, as ingest sees it.
 *
 * Nothing here blocks: what there is in its pipe is taken, and a process is only waited for after it was
 * killed.
 * Threads  the one that began it; with that thread it dies. */
#ifndef STAGES_INGEST_READERS_CHILD_H
#define STAGES_INGEST_READERS_CHILD_H

#include "schemas/msg.h"
#include "stages/ingest/readers/frames.h"

struct child;

struct child_options {
    const char *program;  /* that has the command `reader` */
    const char *file;     /* its name, for messages and for what the content does not tell */
    int fd;               /* of it; stays the caller's, but its position is the child's */
    const char *encoding; /* or NULL */
    const char *field;    /* or NULL */
};

/* Fails  ERR_SYSTEM, ERR_MEMORY. */
MUST_CHECK enum err_code child_start(struct child **out, const struct child_options *options,
                                     struct err *err);
/* At most room bytes of text; *got = 0 where there is none yet or, with *end, none any more. *ran: something
 * was taken, and there may be more.
 * Fails  ERR_SOURCE: as the reader says, or how it died. */
MUST_CHECK enum err_code child_read(struct child *c, uint8_t *data, size_t room, size_t *got,
                                    bool *end, bool *ran, struct err *err);
/* The place that begins with the text read last, as schemas/msg.h has it; without bytes: none does. Lent until the next
 * read. */
struct view child_place(const struct child *c);
/* What it reads, "gzip, UTF-8"; NULL before it said so. */
const char *child_note(const struct child *c);
/* What it has to say, once each; NULL: nothing. Lent until the next read. */
const char *child_warning(struct child *c);
/* To be polled for reading. */
int child_descriptor(const struct child *c);
/* Kill it, if it still runs. Takes NULL; leaves NULL. */
void child_stop(struct child **c);

#endif
