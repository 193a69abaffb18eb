/* stages/ingest/readers/mbox.h: an mbox, message by message, as it is read.
 *
 * Memory  the message at hand, MBOX_MESSAGE_MAX at most; the mbox may have any size. */
#ifndef STAGES_INGEST_READERS_MBOX_H
#define STAGES_INGEST_READERS_MBOX_H

#include "stages/ingest/readers/pull.h"

enum { MBOX_MESSAGE_MAX = 64 << 20 };

struct mbox_message {
    uint64_t number;   /* from 1 */
    uint64_t at;       /* bytes of the file before it; its "From " line is its first */
    struct view bytes; /* without that line, nothing escaped any more; lent for the call */
    bool too_long;     /* longer than MBOX_MESSAGE_MAX: bytes are none of it */
};

typedef enum err_code mbox_fn(void *self, const struct mbox_message *message, struct err *err);

/* alone: in is one message and no mbox. Fails  in's words, take's, which ends it. */
MUST_CHECK enum err_code mbox_read(const struct pull *in, bool alone, mbox_fn *take, void *self,
                                   struct err *err);

#endif
