/* schemas/outfile.h: an output file that appears whole or not at all.
 *
 * Use      outfile_open, outfile_write until all is there, outfile_commit. A close without a commit leaves
 *          whatever stood under the path before.
 * Promise  What is under the path is the old file or the whole new one, at every instant and after a
 *          power cut. The new one has no name until then where the file system knows files without one. A program
 *          that is killed while it has one (there: between naming it and renaming it) leaves PATH.PID.part.
 * Others   A path that is there and is no regular file (a pipe, a device) is written as it comes. So is what is
 *          standard output, by whatever name and also where that is a regular file: through the descriptor that we
 *          were given, behind what others wrote through it; once that is committed what the program
 *          says on standard output goes to standard error. A link to no file is refused. */
#ifndef SCHEMAS_OUTFILE_H
#define SCHEMAS_OUTFILE_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>

struct outfile;

/* Whether path is "/dev/stdout", or another name of what standard output is. */
bool outfile_is_standard(const char *path);

/* Fails: ERR_SINK: cannot be written there; ERR_FULL; ERR_MEMORY. */
MUST_CHECK enum err_code outfile_open(struct outfile **out, const char *path, struct err *err);
/* An output is no input of the same command: path is not the regular file that `input` is, by whatever name. NULL:
 * there is none. Fails: ERR_USAGE */
MUST_CHECK enum err_code outfile_not_input(const char *path, const char *input, struct err *err);
/* A file of somebody's stays: under path is nothing, an empty file, one that begins as outputs of this kind ("report")
 * do, what is no regular file, or standard output. Fails: ERR_SINK */
MUST_CHECK enum err_code outfile_may_replace(const char *path, const char *kind, const void *begin,
                                             size_t bytes, struct err *err);
/* Append. After a failure only a close is of use. Fails: ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code outfile_write(struct outfile *file, const void *data, size_t bytes,
                                       struct err *err);
/* Sync, put it under its path, close. Closed when it fails too. Fails: ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code outfile_commit(struct outfile **file, struct err *err);
/* Takes NULL. */
void outfile_close(struct outfile **file);

#endif
