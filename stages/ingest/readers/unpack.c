/* libarchive decodes bzip2, xz and zstd, whose libraries compare their checksums. Its gzip does not look at gzip's
 * (3.6.2, which Debian 12 has), so a damaged text would pass for a whole one: gzip goes through zlib. As gzip
 * does, what stands behind the last member and begins none is left alone. */
#include "stages/ingest/readers/unpack.h"

#include "stages/ingest/readers/confine.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct unpack {
    int fd;
    struct archive *archive; /* NULL: not packed, or by gzip */
    bool gzip;               /* z is open */
    bool end;
    z_stream z;
    uint8_t block[BLOCK_BYTES]; /* of gzip's input */
};

static enum err_code read_file(void *self, uint8_t *data, size_t room, size_t *got, struct err *err)
{
    struct unpack *u = self;
    ssize_t count;

    do
        count = read(u->fd, data, room);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return err_set(err, ERR_SOURCE, errno, "read the file");
    *got = (size_t)count;
    confine_got_on();
    return ERR_OK;
}

static enum err_code fail(const struct unpack *u, struct err *err)
{
    const char *why = u->archive ? archive_error_string(u->archive) : NULL;

    return err_set(err, ERR_SOURCE, 0, "what is packed in it cannot be read: %s",
                   why ? why : "libarchive refuses");
}

static enum err_code read_packed(void *self, uint8_t *data, size_t room, size_t *got,
                                 struct err *err)
{
    struct unpack *u = self;
    la_ssize_t count = u->end ? 0 : archive_read_data(u->archive, data, room);

    if (count < 0)
        return fail(u, err);
    *got = (size_t)count;
    u->end = count == 0;
    confine_got_on();
    return ERR_OK;
}

/* ---- gzip ---- */

/* More input, behind what is left of it. */
static enum err_code fill(struct unpack *u, struct err *err)
{
    size_t got = 0;
    enum err_code code;

    memmove(u->block, u->z.next_in, u->z.avail_in);
    u->z.next_in = u->block;
    code = read_file(u, u->block + u->z.avail_in, sizeof u->block - u->z.avail_in, &got, err);
    if (!code)
        u->z.avail_in += (unsigned)got;
    return code;
}

/* A member ended: does another begin? */
static enum err_code next_member(struct unpack *u, struct err *err)
{
    enum err_code code = u->z.avail_in < 2 ? fill(u, err) : ERR_OK;

    if (code)
        return code;
    u->end = u->z.avail_in < 2 || u->z.next_in[0] != 0x1F || u->z.next_in[1] != 0x8B;
    if (!u->end && inflateReset(&u->z) != Z_OK)
        return err_set(err, ERR_SOURCE, 0, "zlib refuses what is packed in it");
    return ERR_OK;
}

static enum err_code read_gzip(void *self, uint8_t *data, size_t room, size_t *got, struct err *err)
{
    struct unpack *u = self;
    enum err_code code = ERR_OK;

    u->z.next_out = data;
    u->z.avail_out = (unsigned)room;
    while (!code && !u->end && u->z.avail_out == room) {
        int rc;
        if (!u->z.avail_in)
            code = fill(u, err);
        if (code)
            break;
        if (!u->z.avail_in)
            return err_set(err, ERR_SOURCE, 0,
                           "what is packed in it cannot be read: it ends too early");
        rc = inflate(&u->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END)
            code = next_member(u, err);
        else if (rc != Z_OK)
            code = err_set(err, ERR_SOURCE, 0, "what is packed in it cannot be read: %s",
                           u->z.msg ? u->z.msg : zError(rc));
    }
    *got = room - u->z.avail_out;
    return code;
}

static enum err_code begin_gzip(struct unpack *u, struct err *err)
{
    u->z.next_in = u->block;
    u->gzip = inflateInit2(&u->z, 16 + MAX_WBITS) == Z_OK;
    return u->gzip ? ERR_OK : err_set(err, ERR_MEMORY, 0, "zlib");
}

/* ---- The others ---- */

static enum err_code begin(struct unpack *u, struct err *err)
{
    struct archive_entry *entry;
    int rc;

    u->archive = archive_read_new();
    if (!u->archive || archive_read_support_filter_bzip2(u->archive) != ARCHIVE_OK ||
        archive_read_support_filter_xz(u->archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(u->archive) != ARCHIVE_OK ||
        archive_read_support_format_raw(u->archive) != ARCHIVE_OK ||
        archive_read_open_fd(u->archive, u->fd, BLOCK_BYTES) != ARCHIVE_OK)
        return fail(u, err);
    rc = archive_read_next_header(u->archive, &entry);
    u->end = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || u->end ? ERR_OK : fail(u, err);
}

enum err_code unpack_open(struct unpack **out, int fd, const char *packing, struct pull *in,
                          struct err *err)
{
    struct unpack *u = calloc(1, sizeof *u);
    bool gzip = packing && !strcmp(packing, "gzip");
    enum err_code code = ERR_OK;

    if (!u)
        return err_set(err, ERR_MEMORY, 0, "a reader");
    u->fd = fd;
    if (packing)
        code = gzip ? begin_gzip(u, err) : begin(u, err);
    if (code) {
        unpack_close(&u);
        return code;
    }
    *in = (struct pull){gzip ? read_gzip : packing ? read_packed : read_file, u};
    *out = u;
    return ERR_OK;
}

void unpack_close(struct unpack **unpack)
{
    if (!*unpack)
        return;
    if ((*unpack)->archive)
        archive_read_free((*unpack)->archive);
    if ((*unpack)->gzip)
        inflateEnd(&(*unpack)->z);
    free(*unpack);
    *unpack = NULL;
}
