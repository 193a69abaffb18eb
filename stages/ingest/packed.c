#include "stages/ingest/packed.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <unistd.h>

enum { HELD_BYTES = 256 * 1024, BLOCK_BYTES = 64 * 1024 };

struct packed {
    int fd;
    struct archive *archive; /* NULL: to be begun */
    bool end;
    uint64_t base; /* offset of the first byte held */
    size_t bytes;
    uint8_t held[HELD_BYTES];
};

bool packed_is(int fd)
{
    static const struct {
        uint8_t bytes[6];
        size_t count;
    } marks[] = {{{0x1F, 0x8B}, 2},
                 {{'B', 'Z', 'h'}, 3},
                 {{0xFD, '7', 'z', 'X', 'Z', 0}, 6},
                 {{0x28, 0xB5, 0x2F, 0xFD}, 4}};
    uint8_t begin[6];
    ssize_t got = pread(fd, begin, sizeof begin, 0);

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (got >= (ssize_t)marks[i].count && !memcmp(begin, marks[i].bytes, marks[i].count))
            return true;
    return false;
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

static void stop(struct packed *p)
{
    if (p->archive)
        archive_read_free(p->archive);
    p->archive = NULL;
}

void packed_close(struct packed **packed)
{
    if (!*packed)
        return;
    stop(*packed);
    free(*packed);
    *packed = NULL;
}

static enum err_code fail(struct packed *p, struct err *err)
{
    const char *why = p->archive ? archive_error_string(p->archive) : NULL;

    return err_set(err, ERR_SOURCE, 0, "a compressed file cannot be read: %s",
                   why ? why : "libarchive refuses");
}

static enum err_code begin(struct packed *p, struct err *err)
{
    struct archive_entry *entry;
    int rc;

    stop(p);
    p->base = p->bytes = 0;
    p->archive = archive_read_new();
    if (!p->archive || lseek(p->fd, 0, SEEK_SET) < 0 ||
        archive_read_support_filter_gzip(p->archive) != ARCHIVE_OK ||
        archive_read_support_filter_bzip2(p->archive) != ARCHIVE_OK ||
        archive_read_support_filter_xz(p->archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(p->archive) != ARCHIVE_OK ||
        archive_read_support_format_raw(p->archive) != ARCHIVE_OK ||
        archive_read_open_fd(p->archive, p->fd, BLOCK_BYTES) != ARCHIVE_OK)
        return fail(p, err);
    rc = archive_read_next_header(p->archive, &entry);
    p->end = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || p->end ? ERR_OK : fail(p, err);
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
    if (!p->archive || offset < p->base)
        code = begin(p, err);
    while (!code && !p->end && p->base + p->bytes < offset + count) {
        la_ssize_t more;
        if (p->bytes == HELD_BYTES)
            forget(p, offset);
        more = archive_read_data(p->archive, p->held + p->bytes, HELD_BYTES - p->bytes);
        if (more < 0)
            code = fail(p, err);
        else
            p->bytes += (size_t)more;
        p->end = more == 0;
    }
    if (code) {
        stop(p);
        return code;
    }
    there = p->base + p->bytes > offset ? (size_t)(p->base + p->bytes - offset) : 0;
    *got = there < count ? there : count;
    if (*got)
        memcpy(data, p->held + (offset - p->base), *got);
    return ERR_OK;
}
