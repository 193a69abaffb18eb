/* Which reader a file needs, and the way from its bytes to text: unpacked, out of its container, out of its
 * encoding, out of its markup. */
#include "stages/ingest/readers/readers.h"

#include "stages/ingest/readers/ahead.h"
#include "stages/ingest/readers/archived.h"
#include "stages/ingest/readers/epub.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/mail.h"
#include "stages/ingest/readers/office.h"
#include "stages/ingest/readers/pdf.h"
#include "stages/ingest/readers/text.h"
#include "stages/ingest/readers/unpack.h"

#include <stdio.h>
#include <unistd.h>

static enum err_code read_packed(const struct reading *reading, const char *packing,
                                 struct out *out, struct err *err)
{
    struct unpack *unpack = NULL;
    struct ahead ahead;
    struct pull in, replay;
    char words[32] = "";
    enum err_code code = unpack_open(&unpack, reading->file, packing, &in, err);

    if (packing)
        snprintf(words, sizeof words, "%s, ", packing);
    if (!code)
        code = ahead_look(&ahead, &in, err);
    if (!code) {
        const char *archive = packing ? look_archive(ahead_head(&ahead)) : NULL;
        const char *refused = reading->encoding ? NULL : look_refused(ahead_head(&ahead));
        replay = ahead_replay(&ahead);
        if (refused)
            code = err_set(err, ERR_SOURCE, 0, "%s", refused);
        else if (packing && look_packing(ahead_head(&ahead)))
            code = err_set(err, ERR_SOURCE, 0, "is packed twice: unpack it once");
        else if (archive)
            code = archived_read(reading, &replay, words, archive, out, err);
        else if (look_is_mail(ahead_head(&ahead), reading->name))
            code = mail_file(reading, words, &replay, out, err);
        else
            code = text_file(reading, words, &replay, out, err);
    }
    unpack_close(&unpack);
    return code;
}

static enum err_code read_zip(const struct reading *reading, struct out *out, struct err *err)
{
    struct zipped *zip = NULL;
    enum err_code code = zipped_open(&zip, reading->file, err);

    if (!code && zipped_has(zip, EPUB_CONTAINER))
        code = epub_read(zip, out, err);
    else if (!code && office_kind(zip))
        code = office_read(zip, out, err);
    else if (!code)
        code = archived_read(reading, NULL, "", "zip", out, err);
    zipped_close(&zip);
    return code;
}

static enum err_code read_any(const struct reading *reading, struct out *out, struct err *err)
{
    uint8_t head[AHEAD_BYTES];
    ssize_t got = pread(reading->file, head, sizeof head, 0);
    struct view begin = {head, got > 0 ? (size_t)got : 0};

    if (got < 0 || lseek(reading->file, 0, SEEK_SET) < 0)
        return err_set(err, ERR_SOURCE, 0, "is no file");
    switch (look_at(begin, NULL)) {
    case LOOK_ZIP:
        return read_zip(reading, out, err);
    case LOOK_PDF:
        return pdf_read(reading->file, out, err);
    case LOOK_ARCHIVE:
        return archived_read(reading, NULL, "", look_archive(begin), out, err);
    default:
        return read_packed(reading, look_packing(begin), out, err);
    }
}

enum err_code readers_run(const struct reading *reading, struct out *out, struct err *err)
{
    struct err why = {.code = ERR_OK};
    enum err_code code = read_any(reading, out, &why);

    if (!code)
        return out_end(out, err);
    if (code == ERR_MEMORY)
        err_set(&why, code, 0, "would take more memory than a reader may have");
    return out_words(out, READER_FAULT, why.text, err);
}
