/* stages/ingest/readers/confine.h: what a reader's process may not do. */
#ifndef STAGES_INGEST_READERS_CONFINE_H
#define STAGES_INGEST_READERS_CONFINE_H

#include "schemas/err.h"
#include <sys/types.h>

enum {
    CONFINE_MEMORY_MIB = 1024,
    CONFINE_CPU_S = 30 /* without getting on */
};

/* Once, at the beginning of the process: all descriptors but 0 to 2 are closed; it dies with the one who began
 * it; it gains no rights, writes no file, leaves no core, has CONFINE_MEMORY_MIB of addresses.
 * Fails  ERR_SYSTEM. */
MUST_CHECK enum err_code confine(struct err *err);
/* Some of the file was read, or of the text written: CONFINE_CPU_S begin anew. Nothing in a process that is not
 * confined. */
void confine_got_on(void);
/* The same of a process that this one began. */
void confine_let_on(pid_t process);

#endif
