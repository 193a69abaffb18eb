/* stages/ingest/spooled.h: the spool as ingest uses it: what goes in, and queues as sources of streams.
 *
 * A task is a batch on its way to the disk: one at a time for each task, so who feeds a queue reads on
 * only when what it read is durable, and a followed file when what was decided of it is. A batch that
 * finds no room is tried again; its task hears of success alone, and what cannot be mended ends the run.
 *
 * A cursor of a queue:  0 u8 version = 1 | 1 u8 kind = 3 | 2 u64 offset | 10 the spool's id, 16.  26 bytes. */
#ifndef STAGES_INGEST_SPOOLED_H
#define STAGES_INGEST_SPOOLED_H

#include "stages/ingest/input.h"
#include "store/store.h"

enum {
    SPOOLED_CURSOR_BYTES = 26,
    SPOOLED_CURSOR_KIND = 3, /* 0 to 2 are source.h's and segment.h's */
    SPOOLED_RETRY_MS = 5000
};

struct spooled;
struct queue;

struct spool_task {
    void (*done)(void *self); /* the batch is durable */
    void *self;
    bool in_flight;
};

/* Bring the queues that the spool has and that belong to feed: feed itself, and feed+KEY. source is what
 * `status` shows. With create feed itself is there even if it is empty. Fails: as ingest_add. */
MUST_CHECK enum err_code spooled_feed(struct spooled *s, const char *feed, const char *source,
                                      bool create, struct err *err);
/* The queue called name, which becomes a stream when it is new. */
MUST_CHECK enum err_code spooled_queue(struct spooled *s, const char *name, const char *source,
                                       struct queue **out, struct err *err);
/* NULL where there is none. */
struct queue *spooled_find(const struct spooled *s, const char *name);
size_t spooled_queue_count(const struct spooled *s);

const char *queue_name(const struct queue *q);
/* Where the next byte goes, and count bytes as appended by a batch of task; told as durable by queue_durable
 * from its done. */
uint64_t queue_end(const struct queue *q);
MUST_CHECK enum err_code queue_append(struct queue *q, struct store_batch *batch, struct view bytes,
                                      struct err *err);
void queue_durable(struct queue *q);
/* Nothing more comes: who has read all that is there is told why. */
void queue_fail(struct queue *q, const struct err *why);
/* Whether the last byte is no newline: a line is not over. */
bool queue_in_line(const struct queue *q);

void spooled_submit(struct spooled *s, struct spool_task *task, struct store_batch **batch);
/* Wait for the batch of a task, unless it finds no room and is tried again later. */
void spooled_wait(struct spooled *s, struct spool_task *task);
/* Wait for the batch of a task that is in flight: done, or, where it finds no room, given up (false). */
MUST_CHECK bool spooled_settle(struct spooled *s, struct spool_task *task);
/* Is nothing on its way to the disk? A batch that found no room is not. */
bool spooled_is_settled(const struct spooled *s);
/* Is there room for an append of so many bytes now? */
bool spooled_room(struct spooled *s, uint64_t cost);
/* Did somebody ask for room, and there was none? */
bool spooled_is_full(const struct spooled *s);
struct ingest *spooled_ingest(const struct spooled *s);
/* The feeds of a run with --key, else NULL. */
struct feeds *spooled_feeds(const struct spooled *s);
/* What reads a queue: never a feed itself. */
extern const struct input_kind queue_kind;

/* The feeder that opens it, and reads standard input where that is asked for (standard.c). */
extern const struct feeder_kind spool_feeder;
struct spooled *ingest_spooled(struct ingest *g);

/* ---- Standard input, in standard.c: with --key an input that becomes a feed; else by itself ---- */

MUST_CHECK enum err_code standard_add_feed(struct spooled *s, struct err *err);

struct standard;
/* *out stays NULL where standard input is not asked for. */
MUST_CHECK enum err_code standard_open(struct standard **out, struct spooled *s, struct err *err);
MUST_CHECK enum err_code standard_work(struct standard *in, bool *ran, struct err *err);
/* To be polled; -1 while it must not be read. */
int standard_descriptor(const struct standard *in);
/* It is at its end, and all of it is durable. */
bool standard_is_over(const struct standard *in);
void standard_close(struct standard **in);

#endif
