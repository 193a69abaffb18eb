/* stages/ingest/feeds.h: a feed split by key: its lines go to a queue of the spool for each key.
 *
 * The first group of --key in a line names its stream: FEED+KEY, the key made safe for a name. Lines without a
 * match, with an empty group, or with a new key beyond FEEDS_KEYS_MAX go to the stream FEED. A feed is any
 * kind of input that would otherwise be a stream by itself. Which line went where is decided once: the
 * lines are in their queues with the feed's cursor in one transaction, and streams are read from queues.
 *
 * The feed's cursor in the spool:  0 u8 version = 1 | 1 u8 flags: 1 a line is not over, 2 bytes |
 *                                  2 u32 bytes to skip | 6 u16 bytes of a name | 8 the queue of that line |
 *                                  the input's cursor, or bytes that were read and are in no queue yet */
#ifndef STAGES_INGEST_FEEDS_H
#define STAGES_INGEST_FEEDS_H

#include "stages/ingest/spooled.h"

enum { FEEDS_KEYS_MAX = 65536 };

struct feeds;
struct feed;

/* Fails: ERR_USAGE: the pattern; ERR_MEMORY. */
MUST_CHECK enum err_code feeds_open(struct feeds **out, struct spooled *s, struct err *err);
/* The input called name becomes a feed; on success self is the feed's. Fails: as ingest_add. */
MUST_CHECK enum err_code feeds_add(struct feed **out, struct feeds *feeds,
                                   const struct input_kind *kind, void *self, const char *name,
                                   const char *source, struct err *err);
/* There may be something to read of it. */
void feed_wake(struct feed *f);
MUST_CHECK enum err_code feeds_work(struct feeds *feeds, bool *ran, struct err *err);
size_t feeds_descriptors(struct feeds *feeds, int *fds, size_t room);
/* All of them have ended, and what they gave is durable. */
bool feeds_are_over(const struct feeds *feeds);
void feeds_close(struct feeds **feeds);

#endif
