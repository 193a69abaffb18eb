/* store/walk.h: look at every tree page of an environment's file before LMDB does. */
#ifndef STORE_WALK_H
#define STORE_WALK_H

#include "schemas/err.h"
#include <stdbool.h>

/* Check folder's file name ("data.mdb"): both meta pages, all branch and leaf pages of keys and free list, and that
 * no page is used twice. Large values are not read. *born is false where no environment was ever
 * committed: no file, or what a power cut leaves of one that is being made.
 * path    for the words only
 * Fails   ERR_DAMAGED, whose text names the remedy; ERR_VERSION; ERR_SYSTEM; ERR_MEMORY.
 *         The file is never written. */
MUST_CHECK enum err_code walk_check(int folder_fd, const char *name, const char *path, bool *born,
                                    struct err *err);

#endif
