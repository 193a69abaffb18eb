/* stages/ingest/input.h: what ingest reads from, whatever kind it is, and who brings it.
 *
 * An input is the source of one stream. It is opened at a cursor, read piece by piece, each with the
 * cursor to continue after it, and closed; it may be opened again, and may keep for that what the world
 * does not (the descriptor of a file that was deleted) until it is told to forget. An input that was
 * read to where it is has a place in ingest's queue again once somebody wakes it: so thousands of them
 * cost nothing while nothing happens to them.
 *
 * A feeder brings inputs, at the start or later, and wakes them: the list of paths, the watch of files
 * that grow, the spool of a standard input. Neither knows of streams, epochs and grants.
 *
 * Threads  ingest's. Nothing here blocks, but for reads of plain files. */
#ifndef STAGES_INGEST_INPUT_H
#define STAGES_INGEST_INPUT_H

#include "stages/stage.h"

struct ingest; /* the stage, as feeders see it */
struct input;
struct journal;

enum { INPUT_CURSOR_MAX = 200 };

/* A run of bytes, as an input gives it. */
struct piece {
    size_t room; /* at most so many are wanted; 0: say only whether there is more */
    uint8_t *
        buffer; /* (config.read_bytes), the caller's; the input may lend bytes of its own instead */
    struct view bytes; /* lent until the input's next call */
    struct view place; /* that begins with the first of them (schemas/msg.h), lent alike */
    uint16_t flags;    /* MSG_END: the last piece; MSG_BREAK: an entry ends with it */
    bool more;         /* something is there to be read behind it, now */
    bool holds;        /* something was read that time alone lets go */
    uint8_t cursor[INPUT_CURSOR_MAX]; /* how to continue behind it; set with bytes or flags alone */
    size_t cursor_bytes;
};

struct input_kind {
    /* Begin at cursor (empty: the origin).
     * Fails  as `refused` will say; ERR_INPUT: the cursor is not one of ours. It is closed then. */
    enum err_code (*open)(void *self, struct view cursor, struct err *err);
    /* False while what lies before the cursor has not been compared: reads without a grant compare it,
     * and give no bytes. NULL: always true. */
    bool (*ready)(void *self);
    /* Behind open: the stream ended at the cursor. Ready once it is known that the source does. NULL: it always is. */
    void (*finished)(void *self);
    /* For `opened`: what is known of the source, lent until the next call, and the cursor of where it
     * stands. */
    enum err_code (*opened)(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                            struct err *err);
    /* The next piece; none of it where nothing is there. Fails: as `refused` will say. */
    enum err_code (*read)(void *self, struct piece *piece, struct err *err);
    /* Nothing before cursor is needed any more, whatever happens. NULL: nothing is kept. */
    void (*keep)(void *self, struct view cursor);
    /* To be polled while a read would give nothing and nobody will wake it; -1: none. NULL: none. */
    int (*descriptor)(void *self);
    /* Takes one that is not open. */
    void (*close)(void *self);
    /* Close it and let go all that it kept. */
    void (*free)(void *self);
};

struct feeder_kind {
    /* Bring what there is (ingest_add) and prepare for the rest. Where it fails *self is NULL or what
     * close takes. */
    enum err_code (*open)(void **self, struct ingest *g, struct err *err);
    /* Look at what happened. *ran: something had. Fails: the run ends with it. */
    enum err_code (*work)(void *self, bool *ran, struct err *err);
    void (*event)(void *self, const struct stage_event *event); /* NULL: hears nothing */
    size_t (*descriptors)(void *self, int *fds, size_t room);   /* NULL: none */
    uint64_t (*deadline)(void *self);                           /* NULL: none */
    /* No other inputs will come than it has brought. NULL: so it is. */
    bool (*is_complete)(void *self);
    /* Nothing will come any more: no other feeder's business matters then. NULL: never. */
    bool (*is_over)(void *self);
    /* After its inputs are gone. Takes NULL; leaves NULL. */
    void (*close)(void **self);
};

/* The paths of the command line, each a file or a pipe, as they are now. */
extern const struct feeder_kind path_feeder;
/* Files that grow, come and rotate (follow.c). */
extern const struct feeder_kind follow_feeder;

/* ---- What ingest does for feeders and inputs ---- */

const struct stage_env *ingest_env(const struct ingest *g);
/* Of a run that follows: opened by ingest, NULL otherwise. */
struct journal *ingest_journal(const struct ingest *g);

/* A new input called name, announced when it is asked for or, when that has been, at once. name and
 * source are copied; self is ingest's on success. A name that is there already is refused.
 * Fails  ERR_MISMATCH: two inputs would be one stream; ERR_MEMORY. */
MUST_CHECK enum err_code ingest_add(struct ingest *g, const struct input_kind *kind, void *self,
                                    const char *name, const char *source, struct input **out,
                                    struct err *err);
/* When it was written to, in any unit; UINT64_MAX where nothing is said. Those that are there when ingest is asked
 * what there is are announced newest first: of thousands they are the ones that have something to read. */
void input_written(struct input *in, uint64_t when);
/* There may be something to read of it. Takes one that is not open. */
void input_wake(struct input *in);
const char *input_name(const struct input *in);
/* What was sent of it takes room that is needed: it is to get into checkpoints. */
void input_press(struct input *in);

#endif
