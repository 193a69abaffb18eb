/* stages/ingest/readers/ahead.h: bytes whose beginning is looked at before they are read. */
#ifndef STAGES_INGEST_READERS_AHEAD_H
#define STAGES_INGEST_READERS_AHEAD_H

#include "stages/ingest/readers/pull.h"

enum { AHEAD_BYTES = 4096 };

struct ahead {
    const struct pull *in;
    size_t bytes, at;
    uint8_t head[AHEAD_BYTES];
};

/* in is lent as long as the replay is read. Fails: in's. */
MUST_CHECK static inline enum err_code ahead_look(struct ahead *a, const struct pull *in,
                                                  struct err *err)
{
    a->in = in;
    a->at = 0;
    return pull_full(in, a->head, sizeof a->head, &a->bytes, err);
}

static inline struct view ahead_head(const struct ahead *a)
{
    return (struct view){a->head, a->bytes};
}

static inline enum err_code ahead_read(void *self, uint8_t *data, size_t room, size_t *got,
                                       struct err *err)
{
    struct ahead *a = self;

    if (a->at == a->bytes)
        return a->in->read(a->in->self, data, room, got, err);
    *got = a->bytes - a->at < room ? a->bytes - a->at : room;
    memcpy(data, a->head + a->at, *got);
    a->at += *got;
    return ERR_OK;
}

/* All of it, from the beginning; once. */
static inline struct pull ahead_replay(struct ahead *a)
{
    return (struct pull){ahead_read, a};
}

#endif
