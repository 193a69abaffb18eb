/* store/head.h: the head record of an environment, first in each transaction read and last written.
 *
 *   0 u32 format | 4 u32 kind | 8 id | 24 u64 owner epoch | 32 u64 next stream | 40 u64 sequence */
#ifndef STORE_HEAD_H
#define STORE_HEAD_H

#include "schemas/bytes.h"

/* Written first in the head record; a store of a higher one is refused. */
enum { ENV_FORMAT = 2 };
enum env_kind { ENV_STORE = 1, ENV_JOURNAL = 2 };
enum { ENV_ID_BYTES = 16, HEAD_BYTES = 4 + 4 + ENV_ID_BYTES + 8 + 8 + 8 };

struct head {
    uint32_t format, kind;
    uint8_t id[ENV_ID_BYTES];
    uint64_t owner_epoch; /* raised by each open for write */
    uint64_t next_stream;
    uint64_t sequence; /* of the transaction: tells whether a failed commit is there */
};

static inline void head_write(const struct head *head, uint8_t out[HEAD_BYTES])
{
    store_u32(out, head->format);
    store_u32(out + 4, head->kind);
    memcpy(out + 8, head->id, ENV_ID_BYTES);
    store_u64(out + 24, head->owner_epoch);
    store_u64(out + 32, head->next_stream);
    store_u64(out + 40, head->sequence);
}

/* False where the size is wrong; format is read even then, and 0 where not even that is there. */
static inline bool head_read(struct view from, struct head *head)
{
    struct reader r = reader_of(from.data, from.bytes);
    const uint8_t *id;

    *head = (struct head){.format = read_u32(&r)};
    head->kind = read_u32(&r);
    id = read_bytes(&r, ENV_ID_BYTES);
    if (id)
        memcpy(head->id, id, ENV_ID_BYTES);
    head->owner_epoch = read_u64(&r);
    head->next_stream = read_u64(&r);
    head->sequence = read_u64(&r);
    return read_done(&r);
}

#endif
