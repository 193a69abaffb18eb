/* stages/encode/status.h: how the streams of a store stand, as far as the store alone tells. */
#ifndef STAGES_ENCODE_STATUS_H
#define STAGES_ENCODE_STATUS_H

#include "schemas/control.h"
#include "store/store.h"

/* Append every stream of store that reply does not name yet. reply is malloc'ed throughout, as by
 * riverrun__reply__unpack. Fails: ERR_SYSTEM, ERR_DAMAGED. */
MUST_CHECK enum err_code status_of_store(struct store *store, Riverrun__Reply *reply,
                                         struct err *err);

/* Does the newest checkpoint that can be read say that the stream is finished? Then there is nothing to pause. */
bool status_finished(struct store *store, uint64_t stream);

/* Set or clear the pause flag of a stream that nobody runs; it is not set where the stream is finished.
 * Fails: ERR_ABSENT, ERR_FULL... */
MUST_CHECK enum err_code status_set_paused(struct store *store, const char *name, bool paused,
                                           struct err *err);

/* An empty entry for name at the end of reply. */
Riverrun__StreamStatus *status_add(Riverrun__Reply *reply, const char *name);
void status_text(char **field, const char *text);

#endif
