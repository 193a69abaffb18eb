/* From bytes in some encoding to text: what they are decides how they begin, and then their name. */
#include "stages/ingest/readers/text.h"

#include "stages/ingest/readers/ahead.h"
#include "stages/ingest/readers/encoding.h"
#include "stages/ingest/readers/fields.h"
#include "stages/ingest/readers/html.h"
#include "stages/ingest/readers/look.h"

#include <inttypes.h>
#include <stdio.h>

/* Text that was decoded as far as it is looked at. */
struct decoded {
    struct encoding *encoding;
    struct pull text;
    struct ahead ahead;
    bool html;
};

static enum err_code copy_text(const struct pull *text, struct out *out, struct err *err)
{
    uint8_t data[AHEAD_BYTES];
    size_t got = 1;
    enum err_code code = ERR_OK;

    while (!code && got) {
        code = text->read(text->self, data, sizeof data, &got, err);
        if (!code)
            code = out_text(out, data, got, err);
    }
    return code;
}

static enum err_code read_html(const struct pull *text, struct shape *shape, struct err *err)
{
    enum err_code code = html_read(text, true, shape, err);

    return code ? code : shape_end(shape, err);
}

static enum err_code decode(struct decoded *d, const struct pull *in, const char *name,
                            const char *encoding, struct err *err)
{
    enum err_code code = encoding_open(&d->encoding, in, encoding, &d->text, err);

    if (!code)
        code = ahead_look(&d->ahead, &d->text, err);
    if (!code)
        d->html = look_is_html(ahead_head(&d->ahead)) || look_names_html(name);
    return code;
}

static enum err_code tell_replaced(const struct decoded *d, const char *of, struct out *out,
                                   struct err *err)
{
    char words[READER_WORDS_MAX];
    uint64_t count = encoding_replaced(d->encoding);

    if (!count)
        return ERR_OK;
    snprintf(words, sizeof words,
             "%" PRIu64 " places%s%.100s are no characters of %s and stand as U+FFFD", count,
             *of ? " in " : "", of, encoding_name(d->encoding));
    return out_words(out, READER_WARNING, words, err);
}

enum err_code text_file(const struct reading *reading, const char *packing, const struct pull *in,
                        struct out *out, struct err *err)
{
    struct decoded d = {.html = false};
    struct pull replay;
    struct shape shape = {.out = out};
    char words[READER_WORDS_MAX];
    bool fields = false;
    enum err_code code = decode(&d, in, reading->name, reading->encoding, err);

    if (!code) {
        replay = ahead_replay(&d.ahead);
        fields = !d.html && reading->field && fields_are_in(ahead_head(&d.ahead));
        if (fields)
            snprintf(words, sizeof words, "%sJSON Lines, field '%.100s', %s", packing,
                     reading->field, encoding_name(d.encoding));
        else
            snprintf(words, sizeof words, "%s%s%s", packing, d.html ? "HTML, " : "",
                     encoding_name(d.encoding));
        code = out_words(out, READER_NOTE, words, err);
    }
    if (!code && reading->field && !d.html && !fields && d.ahead.bytes)
        code = out_words(out, READER_WARNING,
                         "begins with no line of JSON, and is read as plain text, without --field",
                         err);
    if (!code && !d.html && !fields && look_names_markdown(reading->name))
        code = out_place(out, &(struct msg_place){.heading = PLACE_MARKDOWN}, err);
    if (!code)
        code = fields   ? fields_read(&replay, reading->field, out, err)
               : d.html ? read_html(&replay, &shape, err)
                        : copy_text(&replay, out, err);
    if (!code)
        code = tell_replaced(&d, "", out, err);
    encoding_close(&d.encoding);
    return code;
}

enum err_code text_member(const struct pull *in, const char *name, const char *encoding,
                          struct out *out, struct err *err)
{
    struct decoded d = {.html = false};
    struct pull replay;
    struct shape shape = {.out = out};
    struct msg_place place = {PLACE_ALONE, {(const uint8_t *)name, strlen(name)}};
    enum err_code code = decode(&d, in, name, encoding, err);

    if (!code) {
        replay = ahead_replay(&d.ahead);
        if (!d.html && look_names_markdown(name))
            place.heading |= PLACE_MARKDOWN;
        code = out_place(out, &place, err);
    }
    if (!code)
        code = d.html ? read_html(&replay, &shape, err) : copy_text(&replay, out, err);
    if (!code)
        code = tell_replaced(&d, name, out, err);
    encoding_close(&d.encoding);
    return code;
}
