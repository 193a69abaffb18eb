/* engine/pieces.h: work that falls into pieces, done once by several threads: opening a model.
 *
 * Each thread takes the next piece there is. The first failure stops all and is what the caller hears. */
#ifndef ENGINE_PIECES_H
#define ENGINE_PIECES_H

#include "schemas/err.h"
#include <stddef.h>

/* Threads: runs beside other calls of itself, with another piece each. */
typedef enum err_code piece_fn(void *context, size_t piece, struct err *err);

/* each(context, 0 .. pieces - 1) by at most `threads` threads, the caller's among them; fewer where no
 * more can be started. Each has the engine's floating-point control. Fails: as each does. */
MUST_CHECK enum err_code pieces_run(piece_fn *each, void *context, size_t pieces, unsigned threads,
                                    struct err *err);

#endif
