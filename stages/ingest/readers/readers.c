/* Which reader a file needs, and the way from its bytes to text: unpacked, out of its container, out of its
 * encoding, out of its markup. */
#include "stages/ingest/readers/readers.h"

#include "stages/ingest/readers/encoding.h"
#include "stages/ingest/readers/epub.h"
#include "stages/ingest/readers/html.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/office.h"
#include "stages/ingest/readers/pdf.h"
#include "stages/ingest/readers/unpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096 };

/* Text whose beginning was looked at. */
struct ahead {
    const struct pull *text;
    size_t bytes, at;
    uint8_t head[HEAD_BYTES];
};

static enum err_code read_ahead(void *self, uint8_t *data, size_t room, size_t *got,
                                struct err *err)
{
    struct ahead *a = self;

    if (a->at == a->bytes)
        return a->text->read(a->text->self, data, room, got, err);
    *got = a->bytes - a->at < room ? a->bytes - a->at : room;
    memcpy(data, a->head + a->at, *got);
    a->at += *got;
    return ERR_OK;
}

static enum err_code copy_text(const struct pull *text, struct out *out, struct err *err)
{
    uint8_t data[HEAD_BYTES];
    size_t got = 1;
    enum err_code code = ERR_OK;

    while (!code && got) {
        code = text->read(text->self, data, sizeof data, &got, err);
        if (!code)
            code = out_text(out, data, got, err);
    }
    return code;
}

static enum err_code read_html(const struct pull *text, struct out *out, struct err *err)
{
    struct shape shape = {.out = out};
    enum err_code code = html_read(text, true, &shape, err);

    return code ? code : shape_end(&shape, err);
}

/* packing: "gzip, " and the like. */
static enum err_code read_text(const struct reading *reading, const char *packing,
                               const struct pull *in, struct out *out, struct err *err)
{
    struct encoding *e = NULL;
    struct pull text, replay;
    struct ahead ahead = {.bytes = 0};
    char words[READER_WORDS_MAX];
    bool html = false;
    enum err_code code = encoding_open(&e, in, reading->encoding, &text, err);

    if (!code)
        code = pull_full(&text, ahead.head, sizeof ahead.head, &ahead.bytes, err);
    if (!code) {
        ahead.text = &text;
        replay = (struct pull){read_ahead, &ahead};
        html =
            look_is_html((struct view){ahead.head, ahead.bytes}) || look_names_html(reading->name);
        snprintf(words, sizeof words, "%s%s%s", packing, html ? "HTML, " : "", encoding_name(e));
        code = out_words(out, READER_NOTE, words, err);
    }
    if (!code && !html && look_names_markdown(reading->name))
        code = out_place(out, &(struct msg_place){.heading = PLACE_MARKDOWN}, err);
    if (!code)
        code = html ? read_html(&replay, out, err) : copy_text(&replay, out, err);
    if (!code && encoding_replaced(e)) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " places are no characters of %s and stand as U+FFFD",
                 encoding_replaced(e), encoding_name(e));
        code = out_words(out, READER_WARNING, words, err);
    }
    encoding_close(&e);
    return code;
}

static enum err_code read_packed(const struct reading *reading, const char *packing,
                                 struct out *out, struct err *err)
{
    struct unpack *unpack = NULL;
    struct pull in;
    char words[32] = "";
    enum err_code code = unpack_open(&unpack, reading->file, packing, &in, err);

    if (packing)
        snprintf(words, sizeof words, "%s, ", packing);
    if (!code)
        code = read_text(reading, words, &in, out, err);
    unpack_close(&unpack);
    return code;
}

static enum err_code read_zip(int file, struct out *out, struct err *err)
{
    struct zipped *zip = NULL;
    enum err_code code = zipped_open(&zip, file, err);

    if (!code && zipped_has(zip, EPUB_CONTAINER))
        code = epub_read(zip, out, err);
    else if (!code && office_kind(zip))
        code = office_read(zip, out, err);
    else if (!code)
        code = err_set(
            err, ERR_SOURCE, 0,
            "is a zip of a kind that riverrun does not read; unpack it and read the folder");
    zipped_close(&zip);
    return code;
}

static enum err_code read_any(const struct reading *reading, struct out *out, struct err *err)
{
    uint8_t head[HEAD_BYTES];
    ssize_t got = pread(reading->file, head, sizeof head, 0);
    struct view begin = {head, got > 0 ? (size_t)got : 0};

    if (got < 0 || lseek(reading->file, 0, SEEK_SET) < 0)
        return err_set(err, ERR_SOURCE, 0, "is no file");
    switch (look_at(begin, NULL)) {
    case LOOK_ZIP:
        return read_zip(reading->file, out, err);
    case LOOK_PDF:
        return pdf_read(reading->file, out, err);
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
