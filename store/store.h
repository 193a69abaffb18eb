/* store/store.h: durable things, in LMDB. Knows bytes, not models.
 *
 * Use      store_open, store_own; read what is there; batches of writes are filled by the caller,
 *          handed to the one writer thread by store_submit, and come back by store_collect.
 * Promise  A batch is in the store as a whole or not at all, and a batch that came back without an
 *          error survives kill -9 and power loss. Batches are committed in the order of submission;
 *          those that wait together share a transaction (group commit). Every value carries a
 *          checksum; a value that fails it is never returned.
 * Threads  One thread calls; the writer thread is the store's own. store_counter is for any thread.
 * Memory   A batch owns copies of what it was given; reads copy out. README.md draws the layout. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "schemas/bytes.h"

struct store;
struct store_batch;

enum {
    STORE_ID_BYTES = 16,
    STORE_NAME_MAX = 400,   /* bytes of a stream's name (an LMDB key holds 511) */
    STORE_PARTS_MAX = 1024, /* parts of one checkpoint */
    STORE_KEEP = 3,         /* checkpoints kept of one stream */
    STORE_POINT_MAX = 64,   /* bytes of a savepoint's name */
    STORE_STREAMS_MAX = 1 << 20
};

struct store_options {
    bool write;       /* false: look only; nothing is created, no lock is taken */
    size_t map_bytes; /* first size of the map, it grows; 0 is the default */
};

/* Open the store in folder path, creating it for write. All tree pages (keys and free list, not large
 * values) are checked first, so that a damaged one is refused instead of followed. For write this
 * also takes the kernel lock, so there is one owner, and clears stale readers. Without write it works
 * beside a living owner, and needs the permission to write lock.mdb.
 * Fails  ERR_BUSY: another process owns it, or this one has it open, for whatever; ERR_ABSENT: not
 *        there (only without write); ERR_VERSION: a newer format; ERR_DAMAGED: a tree page, the text
 *        names the remedy; ERR_SYSTEM: a network file system, no permission; ERR_FULL. */
MUST_CHECK enum err_code store_open(struct store **out, const char *path,
                                    const struct store_options *options, struct err *err);
/* Waits for the batches in flight. */
void store_close(struct store **store);

/* Who this store is (random, made once), and the owner epoch, raised durably by each store_open for
 * write and compared inside each commit. */
const uint8_t *store_id(const struct store *store);
uint64_t store_owner_epoch(const struct store *store);
const char *store_path(const struct store *store);
/* True while some process owns the store (this one, where it was opened for write). */
bool store_is_owned(const struct store *store);

/* ---- Catalogue: streams by name and number. Numbers are dense from 1 and never used again. ---- */

/* Fails: ERR_ABSENT, ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code store_find(struct store *store, const char *name, uint64_t *stream,
                                    struct err *err);
/* The number that the next new stream gets. Reserved in memory at once; durable with the batch that
 * names the stream. */
uint64_t store_reserve(struct store *store);
/* The streams in order of their names, one call a stream; stop early by returning false. */
typedef bool store_each_fn(void *user, const char *name, uint64_t stream);
MUST_CHECK enum err_code store_each(struct store *store, store_each_fn *each, void *user,
                                    struct err *err);
/* What batch_note stored for the stream, copied into *out (empty where none was). */
MUST_CHECK enum err_code store_note(struct store *store, uint64_t stream, struct buffer *out,
                                    struct err *err);

/* ---- Checkpoints: a meta value and parts, under (stream, number); higher number is newer. ---- */

struct store_checkpoint {
    uint64_t stream, number;
    struct view meta;
    struct view *parts; /* (part_count) */
    size_t part_count;
    void *memory; /* what the views point into */
};

/* The numbers kept of stream, newest first. */
MUST_CHECK enum err_code store_checkpoints(struct store *store, uint64_t stream,
                                           uint64_t numbers[STORE_KEEP], size_t *count,
                                           struct err *err);
/* Copy a checkpoint out, every checksum verified; with_parts false copies the meta value alone (and
 * verifies that alone). Fails: ERR_ABSENT; ERR_DAMAGED names the value; ERR_MEMORY. */
MUST_CHECK enum err_code store_checkpoint_read(struct store *store, uint64_t stream,
                                               uint64_t number, bool with_parts,
                                               struct store_checkpoint **out, struct err *err);
void store_checkpoint_free(struct store_checkpoint **checkpoint);

/* ---- Savepoints: copies of checkpoints, by name; they stay until they are dropped. ---- */

/* Whether a text may name one: 1 to STORE_POINT_MAX characters of ASCII that are no blank, '@' or '/', and not
 * digits alone, which name a checkpoint. */
bool store_point_name(const char *name);
/* The savepoints of stream in order of their names, with the number of the checkpoint that each was copied from;
 * stop early by returning false. Fails: ERR_DAMAGED, ERR_SYSTEM. */
typedef bool store_each_point_fn(void *user, const char *name, uint64_t number);
MUST_CHECK enum err_code store_points(struct store *store, uint64_t stream,
                                      store_each_point_fn *each, void *user, struct err *err);
/* store_checkpoint_read of a savepoint. */
MUST_CHECK enum err_code store_point_read(struct store *store, uint64_t stream, const char *name,
                                          bool with_parts, struct store_checkpoint **out,
                                          struct err *err);

/* ---- Writing ---- */

MUST_CHECK enum err_code store_batch_open(struct store_batch **out, struct err *err);
void store_batch_close(struct store_batch **batch); /* of a batch that was not submitted */
/* Name a stream (first time) and set its note, a small value of the caller's. */
MUST_CHECK enum err_code batch_stream(struct store_batch *batch, uint64_t stream, const char *name,
                                      struct err *err);
MUST_CHECK enum err_code batch_note(struct store_batch *batch, uint64_t stream, struct view note,
                                    struct err *err);
/* Add checkpoint number and drop all but the STORE_KEEP newest of its stream. Writing a number that
 * is there replaces it. Parts are copied. */
MUST_CHECK enum err_code batch_checkpoint(struct store_batch *batch, uint64_t stream,
                                          uint64_t number, struct view meta,
                                          const struct view *parts, size_t part_count,
                                          struct err *err);
/* Copy the stream's checkpoint number, as the batch's transaction finds it (UINT64_MAX: the newest), to the
 * savepoint name. At collect: ERR_MISMATCH: the name is taken; ERR_ABSENT: there is no such checkpoint; ERR_DAMAGED:
 * a value of it. */
MUST_CHECK enum err_code batch_savepoint(struct store_batch *batch, uint64_t stream,
                                         uint64_t number, const char *name, struct err *err);
/* Drop a savepoint. At collect: ERR_ABSENT: there is none of that name. */
MUST_CHECK enum err_code batch_unsave(struct store_batch *batch, uint64_t stream, const char *name,
                                      struct err *err);
/* Remove a stream: name, note, checkpoints, savepoints. */
MUST_CHECK enum err_code batch_forget(struct store_batch *batch, uint64_t stream, struct err *err);

/* Hand *batch to the writer; *batch becomes NULL. user comes back with the outcome. Never fails: what
 * goes wrong is told at collect. */
void store_submit(struct store *store, struct store_batch **batch, void *user);
/* One finished batch: true, its user, and in *err its outcome (ERR_OK; ERR_FULL: nothing of it is
 * stored, the store is as before, try again when there is room; ERR_BUSY: a newer owner epoch is in
 * the store, nothing was stored; ERR_MISMATCH: a name or number is taken, ERR_ABSENT: a note or
 * checkpoint of a stream without name, ERR_LIMIT, ERR_MEMORY, ERR_DAMAGED: nothing was stored;
 * ERR_SYSTEM: the disk fails, the batch may or may not be there: submit it again). False when none
 * is finished; with wait, false only when none is in flight. */
bool store_collect(struct store *store, bool wait, void **user, struct err *err);
/* Readable (poll) while store_collect has something. */
int store_descriptor(const struct store *store);

/* ---- Counters: one 64-bit number a stream in a shared mapped page beside the environment. They
 * survive kill -9; after a power cut they are a lower bound. ---- */

/* Valid until store_close. Only for a store open for write. Fails: ERR_LIMIT, ERR_SYSTEM. */
MUST_CHECK enum err_code store_counter(struct store *store, uint64_t stream,
                                       _Atomic uint64_t **counter, struct err *err);
/* For any open store; 0 where there is none. */
uint64_t store_counter_read(struct store *store, uint64_t stream);

/* ---- Journal: lists of small entries in an environment of its own (ingest's), appended and trimmed by
 * batches (batch_entry, batch_cut) through spool_submit. ---- */

struct journal;
enum { JOURNAL_ENTRY_MAX = 64 * 1024 };
MUST_CHECK enum err_code journal_open(struct journal **out, const char *path, struct err *err);
void journal_close(struct journal **journal);
/* Random, made once, as store_id. */
const uint8_t *journal_id(const struct journal *journal);
/* The entry of topic with the lowest number >= *number, copied out; *number becomes its number.
 * Fails: ERR_ABSENT when there is none, ERR_DAMAGED. */
MUST_CHECK enum err_code journal_read(struct journal *journal, const char *topic, uint64_t *number,
                                      struct buffer *out, struct err *err);

/* ---- Spool: what cannot be read again (standard input, the lines of a feed split by key, later
 * sockets), durable before it is consumed. It lies in the journal's environment and is used through its
 * handle: queues by name, bytes by offset.
 *
 *   in       a batch appends to any number of queues and sets the feed's cursor: all of it is there or
 *            none, so the cursor never says more and never less than the queues hold. Read on from
 *            the source only what spool_room has room for: that is the policy when it is full
 *            ("block"), and a bound that appends run into all the same (ERR_FULL).
 *   out      spool_read from (queue, offset), as often as wanted
 *   away     batch_trim, by the oldest cursor that a kept checkpoint has. It works when the bound is
 *            reached and when the disk is full: 1 MiB of the file is kept allocated for it.
 *
 * A queue stays known when it is empty: its offsets never restart, and it counts for the bound whether
 * anybody reads it or not. ---- */

enum {
    SPOOL_APPEND_MAX = 1 << 20,  /* bytes of one append; a batch may have many */
    SPOOL_CURSOR_MAX = 20 * 1024 /* of a feed's cursor, which may hold a line that is not over */
};

struct spool_queue {
    uint64_t begin, end; /* offsets of the first byte that is kept, and of the next to come */
    uint64_t cost;       /* what it takes of the bound */
};

/* What the spool may take, in bytes of the file (about); at first any number. Before the first submit. */
void spool_bound(struct journal *journal, uint64_t bytes);
/* What it takes, as of the last collect. */
uint64_t spool_used(const struct journal *journal);
/* What an append of so many bytes takes at most. */
uint64_t spool_cost(uint64_t bytes);
/* What is left below the bound, less what is in flight. */
uint64_t spool_room(const struct journal *journal);

/* Append to a queue, which comes into being with its first bytes. offset is where they belong: the
 * queue's end, 0 for a new one. If the queue has them already, and maybe others behind them (the batch is
 * submitted again after an outcome of ERR_SYSTEM), nothing happens; anything else is ERR_MISMATCH at collect.
 * Fails: ERR_LIMIT, ERR_MEMORY, as all of these. */
MUST_CHECK enum err_code batch_append(struct store_batch *batch, const char *queue, uint64_t offset,
                                      struct view bytes, struct err *err);
/* Where the feed is to be read on once this batch is durable; the caller's bytes. */
MUST_CHECK enum err_code batch_feed(struct store_batch *batch, const char *feed, struct view cursor,
                                    struct err *err);
/* Drop what lies below; of chunks that reach over it nothing, and of very many (16,384, 64 MiB) the
 * first: begin tells. A queue that is not there is trimmed already. */
MUST_CHECK enum err_code batch_trim(struct store_batch *batch, const char *queue, uint64_t below,
                                    struct err *err);
/* The topic's next entry: numbers begin at 1 and have no gaps, whatever was cut. A batch that is submitted
 * again after ERR_SYSTEM may have it there twice. */
MUST_CHECK enum err_code batch_entry(struct store_batch *batch, const char *topic,
                                     struct view entry, struct err *err);

/* Drop the entries of topic below number. */
MUST_CHECK enum err_code batch_cut(struct store_batch *batch, const char *topic, uint64_t number,
                                   struct err *err);

/* As store_submit and store_collect. A batch that failed comes back in *failed: submit it again (before
 * later ones of its queues, which the offsets keep from overtaking it), or close it. Outcomes: ERR_FULL:
 * the bound or the disk; ERR_MISMATCH; ERR_LIMIT: 2^20 queues over its life; ERR_BUSY, ERR_DAMAGED,
 * ERR_MEMORY, ERR_SYSTEM as store_collect says. */
void spool_submit(struct journal *journal, struct store_batch **batch, void *user);
bool spool_collect(struct journal *journal, bool wait, struct store_batch **failed, void **user,
                   struct err *err);
/* Readable (poll) while spool_collect has something. */
int spool_descriptor(const struct journal *journal);

/* Copy bytes of queue from offset on to out; *got < room only at the queue's end or before a damaged
 * chunk. Fails: ERR_ABSENT: no such queue, trimmed, or beyond its end; ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code spool_read(struct journal *journal, const char *queue, uint64_t offset,
                                    uint8_t *out, size_t room, size_t *got, struct err *err);
/* Fails: ERR_ABSENT, ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code spool_find(struct journal *journal, const char *queue,
                                    struct spool_queue *out, struct err *err);
/* The queues in order of their names; stop early by returning false. */
typedef bool spool_each_fn(void *user, const char *queue, const struct spool_queue *spool);
MUST_CHECK enum err_code spool_each(struct journal *journal, spool_each_fn *each, void *user,
                                    struct err *err);
/* The feed's cursor as last committed. Fails: ERR_ABSENT, ERR_DAMAGED, ERR_MEMORY. */
MUST_CHECK enum err_code spool_feed(struct journal *journal, const char *feed, struct buffer *out,
                                    struct err *err);

#endif
