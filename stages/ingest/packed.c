#include "stages/ingest/packed.h"

#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { HELD_BYTES = 256 * 1024, MARK_BYTES = 6 };

struct packed {
    int fd;
    struct unpack *unpack; /* NULL: to be begun */
    struct pull in;
    bool end;
    uint64_t base; /* offset of the first byte held */
    size_t bytes;
    uint8_t held[HELD_BYTES];
};

static const char *packing_of(int fd)
{
    uint8_t begin[MARK_BYTES];
    ssize_t got = pread(fd, begin, sizeof begin, 0);

    return look_packing((struct view){begin, got > 0 ? (size_t)got : 0});
}

bool packed_is(int fd)
{
    return packing_of(fd) != NULL;
}

enum err_code packed_open(struct packed **out, int fd, struct err *err)
{
    struct packed *p = calloc(1, sizeof *p);

    if (!p)
        return err_set(err, ERR_MEMORY, 0, "a compressed file");
    p->fd = fd;
    *out = p;
    return ERR_OK;
}

void packed_close(struct packed **packed)
{
    if (!*packed)
        return;
    unpack_close(&(*packed)->unpack);
    free(*packed);
    *packed = NULL;
}

static enum err_code begin(struct packed *p, struct err *err)
{
    unpack_close(&p->unpack);
    p->base = p->bytes = 0;
    p->end = false;
    if (lseek(p->fd, 0, SEEK_SET) < 0)
        return err_set(err, ERR_SOURCE, errno, "a compressed file");
    return unpack_open(&p->unpack, p->fd, packing_of(p->fd), &p->in, err);
}

/* Let go what lies before offset. */
static void forget(struct packed *p, uint64_t offset)
{
    size_t count = offset - p->base < p->bytes ? (size_t)(offset - p->base) : p->bytes;

    memmove(p->held, p->held + count, p->bytes - count);
    p->base += count;
    p->bytes -= count;
}

enum err_code packed_read(struct packed *p, uint8_t *data, size_t count, uint64_t offset,
                          size_t *got, struct err *err)
{
    enum err_code code = ERR_OK;
    size_t there;

    require(count <= PACKED_READ_MAX);
    if (!p->unpack || offset < p->base)
        code = begin(p, err);
    while (!code && !p->end && p->base + p->bytes < offset + count) {
        size_t more = 0;
        if (p->bytes == HELD_BYTES)
            forget(p, offset);
        code = p->in.read(p->in.self, p->held + p->bytes, HELD_BYTES - p->bytes, &more, err);
        p->bytes += code ? 0 : more;
        p->end = more == 0;
    }
    if (code) {
        unpack_close(&p->unpack);
        return code;
    }
    there = p->base + p->bytes > offset ? (size_t)(p->base + p->bytes - offset) : 0;
    *got = there < count ? there : count;
    if (*got)
        memcpy(data, p->held + (offset - p->base), *got);
    return ERR_OK;
}
