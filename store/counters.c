/* The file: 8 bytes of mark, then counter 1, 2, 3 ... in the machine's byte order. It grows a page at a
 * time, its blocks allocated beforehand: a store into a hole of a mapped file on a full disk is a
 * SIGBUS. The map has its greatest size from the start (address space only, 8 MiB), so a lent pointer
 * holds while the file grows. The kernel keeps the pages when the process dies; nothing syncs them. */
#include "store/counters.h"

#include "store/place.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COUNTER_BYTES = 8,
    GROWTH = 512, /* counters: one page */
    MAP_BYTES = (STORE_STREAMS_MAX + GROWTH) * COUNTER_BYTES
};
static const uint64_t mark = 0x31746E756F637272; /* "rrcount1" */

struct counters counters_none(void)
{
    return (struct counters){.fd = -1};
}

static enum err_code grow(struct counters *c, uint64_t stream, struct err *err)
{
    uint64_t room = (stream / GROWTH + 1) * GROWTH;
    int failed;

    if (room <= c->room)
        return ERR_OK;
    do
        failed = posix_fallocate(c->fd, 0, (off_t)(room * COUNTER_BYTES));
    while (failed == EINTR);
    if (failed)
        return err_set(err, place_code(failed), failed, "grow '%s/counters'", c->path);
    c->room = room;
    return ERR_OK;
}

enum err_code counters_open(struct counters *c, int folder_fd, const char *path, uint64_t next,
                            struct err *err)
{
    struct stat status;
    void *map;
    enum err_code code;

    c->path = path;
    c->fd = openat(folder_fd, "counters", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (c->fd < 0 || fstat(c->fd, &status) != 0)
        return err_set(err, place_code(errno), errno, "open '%s/counters'", path);
    if (status.st_size > MAP_BYTES)
        return err_set(err, ERR_DAMAGED, 0,
                       "'%s/counters' has %lld bytes of at most %d: move it away (counts start "
                       "anew)",
                       path, (long long)status.st_size, MAP_BYTES);
    c->room = (uint64_t)status.st_size / COUNTER_BYTES;
    map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (map == MAP_FAILED)
        return err_set(err, place_code(errno), errno, "map '%s/counters'", path);
    c->map = map;
    code = grow(c, c->room ? c->room - 1 : 0, err);
    if (code)
        return code;
    if (c->map[0] == 0)
        c->map[0] = mark;
    if (c->map[0] != mark)
        return err_set(err, ERR_DAMAGED, 0,
                       "'%s/counters' is not a file of counters: move it away (counts start anew)",
                       path);
    /* A number that was reserved and never became durable is given out again. */
    for (uint64_t stream = next; stream < c->room; stream++)
        c->map[stream] = 0;
    return ERR_OK;
}

void counters_close(struct counters *c)
{
    if (c->map)
        munmap((void *)c->map, MAP_BYTES);
    if (c->fd >= 0)
        close(c->fd);
    *c = counters_none();
}

enum err_code counters_at(struct counters *c, uint64_t stream, _Atomic uint64_t **counter,
                          struct err *err)
{
    enum err_code code;

    if (stream == 0 || stream >= STORE_STREAMS_MAX)
        return err_set(err, ERR_LIMIT, 0, "a counter for stream %llu: numbers run from 1 to %d",
                       (unsigned long long)stream, STORE_STREAMS_MAX - 1);
    code = grow(c, stream, err);
    if (!code)
        *counter = &c->map[stream];
    return code;
}

uint64_t counters_read(int folder_fd, uint64_t stream)
{
    uint64_t value = 0;
    int fd;

    if (stream == 0 || stream >= STORE_STREAMS_MAX)
        return 0;
    fd = openat(folder_fd, "counters", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (pread(fd, &value, sizeof value, (off_t)(stream * COUNTER_BYTES)) != sizeof value)
        value = 0;
    close(fd);
    return value;
}
