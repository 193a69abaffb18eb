/* What is no text is passed over and counted: a source tree's pictures. So are folders, links, devices and what
 * version control keeps for itself. A warning names the first and how many there are; another one the first file that
 * its reader could not read, and why.
 *
 * An archive only goes forward, a zip and a PDF want to go back, and a reader may write no file: so those are held
 * in memory, within a limit. Archives in archives would be held as well, and theirs in turn; they are not opened. */
#include "stages/ingest/readers/archived.h"

#include "stages/ingest/readers/ahead.h"
#include "stages/ingest/readers/confine.h"
#include "stages/ingest/readers/epub.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/mail.h"
#include "stages/ingest/readers/office.h"
#include "stages/ingest/readers/pdf.h"
#include "stages/ingest/readers/text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 * 1024, NAME_SHOWN = 100, WHY_SHOWN = 100, NUMBER_CHARS = 32 };

struct archived {
    const struct reading *reading;
    const struct pull *in;
    struct archive *archive;
    struct err err; /* of in, or of the archive: nothing more can be read of it */
    bool damaged;   /* the member at hand is, and not the archive */
    struct out *out;
    uint64_t files, read, passed, failed;
    char first_passed[NAME_SHOWN], first_failed[NAME_SHOWN];
    char why[WHY_SHOWN]; /* the first failed */
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

/* libarchive is told the kind: left to guess, it takes a RAR that ends with a zip for that zip. */
static bool choose_kind(struct archive *archive, const char *kind)
{
    static const struct {
        const char *kind;
        int (*support)(struct archive *archive);
    } all[] = {{"tar", archive_read_support_format_tar}, {"cpio", archive_read_support_format_cpio},
               {"zip", archive_read_support_format_zip}, {"7z", archive_read_support_format_7zip},
               {"RAR", archive_read_support_format_rar}, {"RAR", archive_read_support_format_rar5}};
    bool good = true;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].kind, kind))
            good = good && all[i].support(archive) == ARCHIVE_OK;
    return good;
}

static enum err_code begin(struct archived *a, const char *kind, struct err *err)
{
    a->archive = archive_read_new();
    if (!a->archive || !choose_kind(a->archive, kind))
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

    if (count < 0 && count != ARCHIVE_FATAL && !a->err.code) {
        const char *why = archive_error_string(a->archive);
        a->damaged = true;
        return err_set(err, ERR_SOURCE, 0, "%s", why ? why : "it is damaged");
    }
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

static void fail_over(struct archived *a, const char *name, const char *why)
{
    if (a->failed++)
        return;
    snprintf(a->first_failed, sizeof a->first_failed, "%s", name);
    snprintf(a->why, sizeof a->why, "%.*s", (int)sizeof a->why - 1, why);
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

/* All of a file, in memory. */
static enum err_code hold(const struct pull *in, struct buffer *held, struct err *err)
{
    size_t got = 1;
    enum err_code code = ERR_OK;

    while (!code && got) {
        uint8_t *room;
        if (held->bytes + BLOCK_BYTES > held->max)
            return err_set(err, ERR_SOURCE, 0, "it is larger than %d MiB, and would be held whole",
                           ARCHIVED_HELD_MAX >> 20);
        room = buffer_add(held, BLOCK_BYTES);
        if (!room)
            return err_set(err, ERR_MEMORY, 0, "a file in an archive");
        code = in->read(in->self, room, BLOCK_BYTES, &got, err);
        held->bytes -= BLOCK_BYTES - (code ? 0 : got);
    }
    return code;
}

static enum err_code read_held_zip(struct view held, struct out *out, struct err *err)
{
    struct zipped *zip = NULL;
    enum err_code code = zipped_open_held(&zip, held, err);

    if (!code && zipped_has(zip, EPUB_CONTAINER))
        code = epub_read(zip, out, err);
    else if (!code && office_kind(zip))
        code = office_read(zip, out, err);
    else if (!code)
        code = err_set(err, ERR_SOURCE, 0, "an archive inside an archive is not opened");
    zipped_close(&zip);
    return code;
}

static enum err_code read_held(const struct pull *in, enum look look, struct out *out,
                               struct err *err)
{
    struct buffer held = buffer_of(ARCHIVED_HELD_MAX);
    enum err_code code = hold(in, &held, err);
    struct view all = {held.data, held.bytes};

    if (!code)
        code = look == LOOK_PDF ? pdf_read_held(all, out, err) : read_held_zip(all, out, err);
    buffer_release(&held);
    return code;
}

/* By the reader that the file would have by itself. */
static enum err_code read_by_kind(struct archived *a, const struct pull *in, enum look look,
                                  const char *name, struct err *err)
{
    enum err_code code;

    if (look == LOOK_ARCHIVE)
        return err_set(err, ERR_SOURCE, 0, "an archive inside an archive is not opened");
    if (look == LOOK_PACKED)
        return err_set(err, ERR_SOURCE, 0, "what is packed inside an archive is not unpacked");
    if (look != LOOK_MAIL && look != LOOK_PDF && look != LOOK_ZIP)
        return text_member(in, name, a->reading->encoding, a->out, err);
    code = out_enter(a->out, name, err);
    if (!code)
        code = look == LOOK_MAIL ? mail_file(a->reading, "", in, a->out, err)
                                 : read_held(in, look, a->out, err);
    out_leave(a->out);
    return code;
}

static bool is_of_member(enum err_code code)
{
    return code == ERR_SOURCE || code == ERR_LIMIT || code == ERR_ABSENT;
}

/* As the archive has it; where it has none, or one in characters that cannot be told, its number, in number. */
static const char *name_of(const struct archived *a, struct archive_entry *entry,
                           char number[NUMBER_CHARS])
{
    const char *given = archive_entry_pathname_utf8(entry);
    const char *name = given ? given : archive_entry_pathname(entry);

    if (name && *name)
        return name;
    snprintf(number, NUMBER_CHARS, "file %" PRIu64, a->files);
    return number;
}

static enum err_code take_member(struct archived *a, struct archive_entry *entry, struct err *err)
{
    char number[NUMBER_CHARS];
    const char *name, *refused = NULL;
    const struct pull in = {read_member, a};
    uint64_t before = a->out->all;
    enum look look = LOOK_OTHER;
    struct ahead ahead;
    struct pull replay = ahead_replay(&ahead);
    struct err why = {.code = ERR_OK};
    enum err_code code;

    if (archive_entry_filetype(entry) != AE_IFREG)
        return ERR_OK;
    a->files++;
    a->damaged = false;
    name = name_of(a, entry, number);
    if (is_kept_for_itself(name)) {
        pass_over(a, name);
        return ERR_OK;
    }
    code = ahead_look(&ahead, &in, &why);
    if (!code) {
        look = look_at(ahead_head(&ahead), name);
        refused = a->reading->encoding ? NULL : look_refused(ahead_head(&ahead));
        code = refused ? err_set(&why, ERR_SOURCE, 0, "%s", refused)
                       : read_by_kind(a, &replay, look, name, &why);
    }
    a->read += !code || a->out->all != before;
    if (is_of_member(code) && !a->err.code) { /* the archive itself is sound */
        if (!a->damaged && !refused &&
            (look == LOOK_UTF8 || look == LOOK_HTML || look == LOOK_OTHER))
            pass_over(a, name);
        else
            fail_over(a, name, why.text);
        return ERR_OK;
    }
    if (code && err)
        *err = why;
    return code;
}

static enum err_code tell_passed(const struct archived *a, struct err *err)
{
    char words[READER_WORDS_MAX];
    enum err_code code = ERR_OK;

    if (!a->read && a->failed)
        return err_set(err, ERR_SOURCE, 0,
                       "is an archive, and none of the %" PRIu64
                       " files in it can be read, the first '%.40s': %.80s",
                       a->files, a->first_failed, a->why);
    if (!a->read)
        return err_set(err, ERR_SOURCE, 0,
                       "is an archive, and none of the %" PRIu64 " files in it is text", a->passed);
    if (a->passed) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " of %" PRIu64
                 " files inside are no text and are passed over, the first '%s'",
                 a->passed, a->files, a->first_passed);
        code = out_words(a->out, READER_WARNING, words, err);
    }
    if (!code && a->failed) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " of %" PRIu64
                 " files inside are passed over or not read to their end, the first '%s': %s",
                 a->failed, a->files, a->first_failed, a->why);
        code = out_words(a->out, READER_WARNING, words, err);
    }
    return code;
}

enum err_code archived_read(const struct reading *reading, const struct pull *in,
                            const char *packing, const char *kind, struct out *out, struct err *err)
{
    char note[READER_WORDS_MAX];
    struct archived *a = calloc(1, sizeof *a);
    struct archive_entry *entry;
    enum err_code code;
    int rc = ARCHIVE_OK;

    if (!a)
        return err_set(err, ERR_MEMORY, 0, "an archive");
    *a = (struct archived){.reading = reading, .in = in, .out = out};
    code = begin(a, kind, err);
    snprintf(note, sizeof note, "%s%s", packing, kind);
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
