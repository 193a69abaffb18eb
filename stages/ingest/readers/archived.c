/* What is no text is passed over and counted: a source tree's pictures, and what is packed or a document of its own,
 * since those want to go back in their bytes and an archive only goes forward. So are folders, links, devices and
 * what version control keeps for itself. A warning names the first and how many there are. */
#include "stages/ingest/readers/archived.h"

#include "stages/ingest/readers/confine.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 * 1024, NAME_SHOWN = 100 };

struct archived {
    const struct reading *reading;
    const struct pull *in;
    struct archive *archive;
    struct err err; /* of in */
    struct out *out;
    uint64_t read, passed;
    char first_passed[NAME_SHOWN];
    uint8_t block[BLOCK_BYTES];
};

static enum err_code fail(const struct archived *a, struct err *err)
{
    const char *why = a->archive ? archive_error_string(a->archive) : NULL;

    if (a->err.code) {
        if (err)
            *err = a->err;
        return a->err.code;
    }
    return err_set(err, ERR_SOURCE, 0, "the archive cannot be read: %s",
                   why ? why : "it is damaged");
}

static la_ssize_t on_read(struct archive *archive, void *self, const void **data)
{
    struct archived *a = self;
    size_t got = 0;

    if (pull_full(a->in, a->block, sizeof a->block, &got, &a->err)) {
        archive_set_error(archive, EIO, "%s", a->err.text);
        return -1;
    }
    *data = a->block;
    return (la_ssize_t)got;
}

static enum err_code begin(struct archived *a, struct err *err)
{
    a->archive = archive_read_new();
    if (!a->archive || archive_read_support_format_tar(a->archive) != ARCHIVE_OK ||
        archive_read_support_format_cpio(a->archive) != ARCHIVE_OK ||
        archive_read_support_format_zip(a->archive) != ARCHIVE_OK ||
        archive_read_support_format_7zip(a->archive) != ARCHIVE_OK ||
        archive_read_support_format_rar(a->archive) != ARCHIVE_OK ||
        archive_read_support_format_rar5(a->archive) != ARCHIVE_OK)
        return fail(a, err);
    if (a->in ? archive_read_open(a->archive, a, NULL, on_read, NULL) != ARCHIVE_OK
              : lseek(a->reading->file, 0, SEEK_SET) < 0 ||
                    archive_read_open_fd(a->archive, a->reading->file, BLOCK_BYTES) != ARCHIVE_OK)
        return fail(a, err);
    return ERR_OK;
}

static enum err_code read_member(void *self, uint8_t *data, size_t room, size_t *got,
                                 struct err *err)
{
    struct archived *a = self;
    la_ssize_t count = archive_read_data(a->archive, data, room);

    if (count < 0) {
        enum err_code code = fail(a, &a->err); /* to be told from a text in no encoding */
        if (err)
            *err = a->err;
        return code;
    }
    *got = (size_t)count;
    confine_got_on();
    return ERR_OK;
}

static void pass_over(struct archived *a, const char *name)
{
    if (!a->passed++)
        snprintf(a->first_passed, sizeof a->first_passed, "%s", name);
}

/* A folder that holds no text of people's somewhere above it. */
static bool is_kept_for_itself(const char *name)
{
    static const char *const folders[] = {".git/", ".hg/", ".svn/"};

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *at = strstr(name, folders[i]);
        if (at && (at == name || at[-1] == '/'))
            return true;
    }
    return false;
}

static enum err_code take_member(struct archived *a, struct archive_entry *entry, struct err *err)
{
    const char *given = archive_entry_pathname_utf8(entry);
    const char *name = given ? given : archive_entry_pathname(entry);
    const struct pull in = {read_member, a};
    struct err why = {.code = ERR_OK};
    enum err_code code;

    if (archive_entry_filetype(entry) != AE_IFREG || !name || !*name)
        return ERR_OK;
    if (is_kept_for_itself(name)) {
        pass_over(a, name);
        return ERR_OK;
    }
    code = text_member(&in, name, a->reading->encoding, a->out, &why);
    a->read += !code;
    if (code == ERR_SOURCE && !a->err.code) { /* no text: the archive itself is sound */
        pass_over(a, name);
        return ERR_OK;
    }
    if (code && err)
        *err = why;
    return code;
}

static enum err_code tell_passed(const struct archived *a, struct err *err)
{
    char words[READER_WORDS_MAX];

    if (!a->read)
        return err_set(err, ERR_SOURCE, 0,
                       "is an archive, and none of the %" PRIu64 " files in it is text", a->passed);
    if (!a->passed)
        return ERR_OK;
    snprintf(words, sizeof words,
             "%" PRIu64 " of %" PRIu64
             " files inside are no text and are passed over, the first '%s'",
             a->passed, a->passed + a->read, a->first_passed);
    return out_words(a->out, READER_WARNING, words, err);
}

enum err_code archived_read(const struct reading *reading, const struct pull *in, const char *note,
                            struct out *out, struct err *err)
{
    struct archived *a = calloc(1, sizeof *a);
    struct archive_entry *entry;
    enum err_code code;
    int rc = ARCHIVE_OK;

    if (!a)
        return err_set(err, ERR_MEMORY, 0, "an archive");
    *a = (struct archived){.reading = reading, .in = in, .out = out};
    code = begin(a, err);
    if (!code)
        code = out_words(out, READER_NOTE, note, err);
    while (!code && (rc = archive_read_next_header(a->archive, &entry)) != ARCHIVE_EOF)
        code = rc == ARCHIVE_OK || rc == ARCHIVE_WARN ? take_member(a, entry, err) : fail(a, err);
    if (!code)
        code = tell_passed(a, err);
    if (a->archive)
        archive_read_free(a->archive);
    free(a);
    return code;
}
