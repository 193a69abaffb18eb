/* stages/ingest/follow.h: files that grow: who finds them (follow.c), and how one is read (followed.c). */
#ifndef STAGES_INGEST_FOLLOW_H
#define STAGES_INGEST_FOLLOW_H

#include "schemas/table.h"
#include "stages/ingest/input.h"
#include "stages/ingest/segment.h"
#include "stages/ingest/watch.h"

struct followed;

/* What the followed files share. */
struct follow {
    struct ingest *ingest;
    const struct config *config;
    struct watch *watch;
    uint8_t *scratch;       /* (FOLLOW_SCRATCH_BYTES of config.read_bytes) */
    size_t open, open_most; /* descriptors of segments; how many before old ones are let go */
    bool (*is_input)(void *self, const char *path); /* is it, canonical, a stream of its own? */
    void *inputs;                                   /* its self */
};

/* The 64 KiB before a place, what is read behind it, and a newline. */
#define FOLLOW_SCRATCH_BYTES(read_bytes) (SEGMENT_WINDOW_BYTES + (size_t)(read_bytes) + 1)

/* The file at path (canonical), whether it is there yet or not, as the input called name.
 * Fails  ERR_MEMORY. */
MUST_CHECK enum err_code followed_make(struct followed **out, struct follow *follow,
                                       const char *path, const char *name, struct err *err);
/* An input of followed_kind, whose self is a struct followed. in: whom to wake. */
extern const struct input_kind followed_kind;
/* Did this run or a former one follow the file at path, canonical? Not where it never had a byte. */
bool followed_before(const struct follow *follow, const char *path);
void followed_bind(struct followed *f, struct input *in);
/* Something may have happened to it. */
void followed_wake(struct followed *f);
const char *followed_path(const struct followed *f);

#endif
