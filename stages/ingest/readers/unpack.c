#include "stages/ingest/readers/unpack.h"

#include "stages/ingest/readers/confine.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct unpack {
    int fd;
    struct archive *archive; /* NULL: not packed */
    bool end;
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

static enum err_code begin(struct unpack *u, struct err *err)
{
    struct archive_entry *entry;
    int rc;

    u->archive = archive_read_new();
    if (!u->archive || archive_read_support_filter_gzip(u->archive) != ARCHIVE_OK ||
        archive_read_support_filter_bzip2(u->archive) != ARCHIVE_OK ||
        archive_read_support_filter_xz(u->archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(u->archive) != ARCHIVE_OK ||
        archive_read_support_format_raw(u->archive) != ARCHIVE_OK ||
        archive_read_open_fd(u->archive, u->fd, BLOCK_BYTES) != ARCHIVE_OK)
        return fail(u, err);
    rc = archive_read_next_header(u->archive, &entry);
    u->end = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || u->end ? ERR_OK : fail(u, err);
}

enum err_code unpack_open(struct unpack **out, int fd, bool packed, struct pull *in,
                          struct err *err)
{
    struct unpack *u = calloc(1, sizeof *u);
    enum err_code code = ERR_OK;

    if (!u)
        return err_set(err, ERR_MEMORY, 0, "a reader");
    u->fd = fd;
    if (packed)
        code = begin(u, err);
    if (code) {
        unpack_close(&u);
        return code;
    }
    *in = (struct pull){packed ? read_packed : read_file, u};
    *out = u;
    return ERR_OK;
}

void unpack_close(struct unpack **unpack)
{
    if (!*unpack)
        return;
    if ((*unpack)->archive)
        archive_read_free((*unpack)->archive);
    free(*unpack);
    *unpack = NULL;
}
