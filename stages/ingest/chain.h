/* stages/ingest/chain.h: the segments of one followed file, one behind the other, and the journal that says
 * how they do.
 *
 * Use      chain_load at each open; chain_find, and chain_decide for each segment that begins or ends.
 * Memory   a descriptor of each segment that is held: of those that are over at most CHAIN_OLD_OPEN_MOST, and
 *          none where the run as a whole comes near its limit. */
#ifndef STAGES_INGEST_CHAIN_H
#define STAGES_INGEST_CHAIN_H

#include "stages/ingest/segment.h"
#include "stages/ingest/spooled.h"

struct follow;
struct followed;

#define CHAIN_TOPIC "segments/" /* and the stream's name: its journal's */

enum {
    CHAIN_OLD_OPEN_MOST = 8,
    CHAIN_ROWS_KEPT = 64 /* beyond those needed for a replay: to know again what was read */
};

struct segment {
    uint64_t number;
    struct segment_name name; /* inode 0: there is no file yet */
    bool closed;              /* it ends at end, and the journal says so */
    bool newline;             /* which its last line lacks */
    uint64_t end, tail;
    uint64_t row; /* the journal's number of the row that closed it */
    struct segment_file file;
    int watch; /* of its file by itself, while that is not at the path; -1: none */
};

struct chain {
    struct follow *follow;
    struct followed *owner;
    char *topic;              /* of its journal */
    struct segment *segments; /* (count), their numbers ascending */
    size_t count;
    uint64_t known; /* rows of the journal */
    struct spool_task decide, cut;
    uint64_t deciding;          /* while decide is in flight: the segment that is to begin */
    struct segment_file coming; /* its file */
    struct err failed;          /* what was decided could not be read again */
};

/* owner is woken when what it decided is durable. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code chain_init(struct chain *c, struct follow *follow, struct followed *owner,
                                    const char *name, struct err *err);
/* Takes one that was not initialised, all zero. */
void chain_release(struct chain *c);

/* What the journal knows. What is on its way there arrives, or is given up. Fails: ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code chain_load(struct chain *c, struct err *err);
/* Have a decision made durable: row, and file (which is the chain's from now on; fd -1: none yet) for the
 * segment that it begins. Until then chain_is_deciding, and segments stay what they are; then they move, and
 * the owner is woken. A full disk is waited for. Fails: ERR_MEMORY; file is closed then. */
MUST_CHECK enum err_code chain_decide(struct chain *c, const struct segment_row *row,
                                      const struct segment_file *file, struct err *err);
bool chain_is_deciding(const struct chain *c);
/* Wait for it, but not for a disk that is full. */
void chain_wait(struct chain *c);

/* Lent until the chain grows. NULL: not of the chain. */
struct segment *chain_find(const struct chain *c, uint64_t number);
/* The next number, or a higher one; of that and higher ones, of a life that was given up, nothing stays. */
struct segment *chain_push(struct chain *c, uint64_t number, const struct segment_name *name);
/* Drop the segments from index on. */
void chain_cut(struct chain *c, size_t index);
/* What lies before number is needed no more: close it, and trim the journal. */
void chain_forget(struct chain *c, uint64_t number);

/* The segment's file, which is the chain's from now on. */
void chain_hold(struct chain *c, struct segment *s, const struct segment_file *file);
void chain_let_go(struct chain *c, struct segment *s);
void chain_unwatch(struct chain *c, struct segment *s);
/* Close what is over and too old. */
void chain_close_old(struct chain *c);

#endif
