/* engine/crew.h: workers that have nothing to do lend a hand to the one that has all the work.
 *
 * The cascade keeps every worker busy while there are blocks enough. One block by itself, a token at a time, would be
 * carried by one worker after the other, at the speed at which one core reads memory. So a worker that is alone opens
 * the crew, and cuts its large products and scans into parts, which do not touch each other's results: who computes
 * a part does not change a bit of it.
 *
 * Threads  One owner at a time, between crew_open and crew_close; crew_close from anywhere. Any number of helpers.
 *          The owner never waits for a helper that has not taken a part. */
#ifndef ENGINE_CREW_H
#define ENGINE_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CREW_PARTS_MAX = 65535 };

typedef void crew_part_fn(void *self, size_t part);

struct crew {
    _Alignas(64) _Atomic uint64_t task; /* generation << 32 | parts << 16 | next part to take */
    _Alignas(64) atomic_size_t done;    /* parts of this task */
    _Alignas(64) atomic_bool open;
    crew_part_fn *run; /* of this task: they change when all of its parts are done */
    void *self;
};

void crew_open(struct crew *crew);
void crew_close(struct crew *crew);
bool crew_is_open(const struct crew *crew);
/* The owner: run(self, 0 .. parts - 1), each once, in any order and by whoever is there; they are all done on
 * return. Not open: by the caller, in order. */
void crew_run(struct crew *crew, crew_part_fn *run, void *self, size_t parts);
/* A helper: take parts until the crew is closed. */
void crew_help(struct crew *crew);

#endif
