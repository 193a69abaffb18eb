/* Of a message the subject, who wrote it and when are text, as the message says it: no clock and no time zone of ours
 * is asked. Then come its parts in their order. Of alternatives the plain text is read, or where there is none, or
 * nothing in it, the HTML; a message inside a message is a section of its own, headed one level below. What is no
 * text, or says that it is an attachment, is named and passed over, and counted.
 *
 * GMime takes anything for a message and goes on as well as it can; what it finds cut short, or so broken that text is
 * lost, is told with the message's place. Nothing of a message can hold up the next. */
#include "stages/ingest/readers/mail.h"

#include "stages/ingest/readers/ahead.h"
#include "stages/ingest/readers/confine.h"
#include "stages/ingest/readers/encoding.h"
#include "stages/ingest/readers/gmime.h"
#include "stages/ingest/readers/html.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/mbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

enum {
    DEPTH_MAX = 32,
    CHUNK_BYTES = 4096,
    PLACE_CHARS = 64,
    NAME_SHOWN = 100,
    BROKEN_SHOWN = 20 /* each by a line of its own, the others by their count */
};

struct mail {
    const struct gmime *g;
    struct _GMimeParserOptions *options;
    const char *encoding; /* of parts that do not say it, or NULL */
    struct shape shape;
    uint64_t read, broken, attachments, replaced; /* messages, messages, parts, characters */
    const char *why;                              /* the message at hand is broken; NULL */
    char first_attachment[NAME_SHOWN];
};

static void is_broken(struct mail *m, const char *why)
{
    if (!m->why)
        m->why = why;
}

static void on_issue(int64_t offset, unsigned issue, const char *item, void *self)
{
    (void)offset;
    (void)item;
    if (issue == GMIME_IS_TRUNCATED)
        is_broken(self, "it is cut short");
    else if (issue == GMIME_IS_WITHOUT_BOUNDARY)
        is_broken(self, "it does not say where its parts end");
    else if (issue == GMIME_IS_TOO_DEEP)
        is_broken(self, "its parts lie too deep in each other");
}

static bool is_a(const struct mail *m, struct _GMimeObject *object, size_t type)
{
    return m->g->instance_is_a((struct _GTypeInstance *)object, type);
}

/* The first part of its type, "text", or the second, "plain". */
static const char *type_of(const struct mail *m, struct _GMimeObject *object, bool second)
{
    struct _GMimeContentType *type = m->g->object_get_content_type(object);
    const char *name = second ? m->g->content_type_get_media_subtype(type)
                              : m->g->content_type_get_media_type(type);

    return name ? name : "";
}

/* ---- Parts that are text ---- */

struct content {
    const struct gmime *g;
    struct _GMimeStream *stream;
};

static enum err_code read_content(void *self, uint8_t *data, size_t room, size_t *got,
                                  struct err *err)
{
    struct content *c = self;
    ssize_t count = c->g->stream_read(c->stream, (char *)data, room);

    (void)err;
    *got = count > 0 ? (size_t)count : 0;
    confine_got_on();
    return ERR_OK;
}

/* Out of its transfer encoding; unref it. */
static struct _GMimeStream *decoded(const struct mail *m, struct _GMimeDataWrapper *content)
{
    const struct gmime *g = m->g;
    struct _GMimeStream *raw = g->data_wrapper_get_stream(content), *stream;
    unsigned encoding = g->data_wrapper_get_encoding(content);

    (void)g->stream_reset(raw);
    stream = g->stream_filter_new(raw);
    if (encoding >= GMIME_ENCODED) {
        struct _GMimeFilter *filter = g->filter_basic_new(encoding, false);
        (void)g->stream_filter_add((struct _GMimeStreamFilter *)stream, filter);
        g->unref(filter);
    }
    return stream;
}

/* Bytes of blanks alone, U+00A0 and U+200B among them, wherever a piece cuts them. A few signs are made of the same
 * bytes; they are no letter either. */
static bool shows_nothing(const uint8_t *at, size_t bytes)
{
    static const char blank[] = " \t\r\n\f\v\xC2\xA0\xE2\x80\x8B";
    size_t i = 0;

    while (i < bytes && memchr(blank, at[i], sizeof blank - 1))
        i++;
    return i == bytes;
}

/* Its lines as they are; of blanks alone nothing. */
static enum err_code put_plain(struct shape *shape, const struct pull *text, struct err *err)
{
    uint8_t data[CHUNK_BYTES];
    size_t got = 1;
    bool begun = false;
    enum err_code code = ERR_OK;

    shape->verbatim++;
    while (!code && got && !shape->err.code) {
        code = pull_full(text, data, sizeof data, &got, err);
        begun = begun || (!code && !shows_nothing(data, got));
        if (!code && begun)
            shape_text(shape, data, got);
    }
    shape->verbatim--;
    shape_break(shape, SHAPE_PARAGRAPH);
    return code;
}

static enum err_code take_text(struct mail *m, struct _GMimeObject *part,
                               struct _GMimeDataWrapper *wrapper, struct err *err)
{
    const char *said = m->g->object_get_content_type_parameter(part, "charset");
    struct content content = {m->g, decoded(m, wrapper)};
    struct pull in = {read_content, &content}, text;
    struct encoding *e = NULL;
    struct err why = {.code = ERR_OK};
    enum err_code code = said && *said ? encoding_open_said(&e, &in, said, &text, &why)
                                       : encoding_open(&e, &in, m->encoding, &text, &why);

    shape_break(&m->shape, SHAPE_PARAGRAPH);
    if (!code && !strcasecmp(type_of(m, part, true), "html"))
        code = html_read(&text, false, &m->shape, &why);
    else if (!code)
        code = put_plain(&m->shape, &text, &why);
    if (e)
        m->replaced += encoding_replaced(e);
    encoding_close(&e);
    m->g->unref(content.stream);
    if (code == ERR_SOURCE) {
        is_broken(m, "a part of it is in no encoding that can be told");
        return ERR_OK;
    }
    if (code && err)
        *err = why;
    return code;
}

/* ---- Parts ---- */

static enum err_code take_message(struct mail *m, struct _GMimeMessage *message, int depth,
                                  const char *place, struct err *err);
static enum err_code take_part(struct mail *m, struct _GMimeObject *part, int depth,
                               struct err *err);

static bool is_text(const struct mail *m, struct _GMimeObject *part)
{
    return is_a(m, part, m->g->part_get_type()) && !strcasecmp(type_of(m, part, false), "text") &&
           !m->g->part_is_attachment((struct _GMimePart *)part);
}

static void name_attachment(struct mail *m, struct _GMimeObject *part)
{
    const char *given = m->g->part_get_filename((struct _GMimePart *)part);
    char name[NAME_SHOWN];

    if (given && *given)
        snprintf(name, sizeof name, "%s", given);
    else
        snprintf(name, sizeof name, "%s/%s", type_of(m, part, false), type_of(m, part, true));
    if (!m->attachments++)
        memcpy(m->first_attachment, name, sizeof name);
    shape_break(&m->shape, SHAPE_LINE);
    shape_text(&m->shape, "Attachment: ", 12);
    shape_text(&m->shape, name, strlen(name));
    shape_break(&m->shape, SHAPE_LINE);
}

/* Of alternatives the one that is worth most is read: 3 plain text, 2 HTML, 1 other text, 0 none. */
static int worth_of(const struct mail *m, struct _GMimeObject *part, int depth)
{
    const struct gmime *g = m->g;
    int most = 0;

    if (is_text(m, part)) {
        const char *type = type_of(m, part, true);
        return !strcasecmp(type, "plain") ? 3 : !strcasecmp(type, "html") ? 2 : 1;
    }
    if (depth > DEPTH_MAX || !is_a(m, part, g->multipart_get_type()))
        return 0;
    for (int i = 0; i < g->multipart_get_count((struct _GMimeMultipart *)part); i++) {
        int worth =
            worth_of(m, g->multipart_get_part((struct _GMimeMultipart *)part, i), depth + 1);
        most = worth > most ? worth : most;
    }
    return most;
}

/* Said to be so, or as Apple's mail does it: shown in place, by a name, and no picture of the text's. */
static bool is_attached(const struct mail *m, struct _GMimeObject *object)
{
    struct _GMimePart *part = (struct _GMimePart *)object;

    return m->g->part_is_attachment(part) ||
           (!is_text(m, object) && m->g->part_get_filename(part) &&
            !m->g->part_get_content_id(part));
}

/* Of an alternative that is not read: what it says is attached is not what another one says too. */
static void name_attached(struct mail *m, struct _GMimeObject *part, int depth)
{
    const struct gmime *g = m->g;
    struct _GMimeMultipart *parts = (struct _GMimeMultipart *)part;

    if (depth <= DEPTH_MAX && is_a(m, part, g->multipart_get_type()))
        for (int i = 0; i < g->multipart_get_count(parts); i++)
            name_attached(m, g->multipart_get_part(parts, i), depth + 1);
    else if (is_a(m, part, g->part_get_type()) && is_attached(m, part))
        name_attachment(m, part);
}

/* The one that has text; a part that gave none has no attachments either, as those are named. */
static enum err_code take_best(struct mail *m, struct _GMimeMultipart *parts, int depth,
                               struct err *err)
{
    const int count = m->g->multipart_get_count(parts);
    uint64_t before = m->shape.out->all;
    struct _GMimeObject *best = NULL;
    enum err_code code = ERR_OK;

    for (int worth = 3; worth >= 0 && !best; worth--)
        for (int i = 0; i < count && !best; i++) {
            struct _GMimeObject *part = m->g->multipart_get_part(parts, i);
            if (worth_of(m, part, depth) == worth)
                code = take_part(m, part, depth, err);
            if (code)
                return code;
            best = m->shape.out->all != before ? part : NULL;
        }
    for (int i = 0; i < count && best; i++)
        if (m->g->multipart_get_part(parts, i) != best)
            name_attached(m, m->g->multipart_get_part(parts, i), depth);
    return ERR_OK;
}

static enum err_code take_parts(struct mail *m, struct _GMimeObject *object, int depth,
                                struct err *err)
{
    struct _GMimeMultipart *parts = (struct _GMimeMultipart *)object;
    enum err_code code = ERR_OK;

    if (!strcasecmp(type_of(m, object, true), "alternative"))
        return take_best(m, parts, depth + 1, err);
    for (int i = 0; i < m->g->multipart_get_count(parts) && !code; i++)
        code = take_part(m, m->g->multipart_get_part(parts, i), depth + 1, err);
    return code;
}

static enum err_code take_part(struct mail *m, struct _GMimeObject *part, int depth,
                               struct err *err)
{
    const struct gmime *g = m->g;

    if (m->shape.err.code) /* nobody reads any more */
        return ERR_OK;
    if (depth > DEPTH_MAX) {
        is_broken(m, "its parts lie too deep in each other");
        return ERR_OK;
    }
    if (is_a(m, part, g->multipart_get_type()))
        return take_parts(m, part, depth, err);
    if (is_a(m, part, g->message_part_get_type())) {
        struct _GMimeMessage *inside =
            g->message_part_get_message((struct _GMimeMessagePart *)part);
        return inside ? take_message(m, inside, depth + 1, "", err) : ERR_OK;
    }
    if (is_text(m, part)) {
        struct _GMimeDataWrapper *content = g->part_get_content((struct _GMimePart *)part);
        return content ? take_text(m, part, content, err) : ERR_OK;
    }
    if (is_a(m, part, g->part_get_type()))
        name_attachment(m, part);
    return ERR_OK;
}

/* ---- Messages ---- */

/* A field of its head: "From: " and what it says. */
static void put_field(struct mail *m, struct _GMimeObject *message, const char *name)
{
    const char *value = m->g->object_get_header(message, name);

    if (!value || !*value)
        return;
    shape_text(&m->shape, name, strlen(name));
    shape_text(&m->shape, ": ", 2);
    shape_text(&m->shape, value, strlen(value));
    shape_break(&m->shape, SHAPE_LINE);
}

/* place: "" inside of another, whose section it is in. */
static enum err_code take_message(struct mail *m, struct _GMimeMessage *message, int depth,
                                  const char *place, struct err *err)
{
    struct _GMimeObject *object = (struct _GMimeObject *)message,
                        *part = m->g->message_get_mime_part(message);
    const char *subject = m->g->object_get_header(object, "Subject");
    bool headed = subject && *subject;
    enum err_code code = ERR_OK;

    if (*place || headed)
        shape_place(&m->shape, (uint8_t)(headed | (*place ? PLACE_ALONE : 0)), place);
    if (headed) {
        shape_text(&m->shape, subject, strlen(subject));
        shape_heading_end(&m->shape);
    }
    shape_break(&m->shape, SHAPE_PARAGRAPH);
    put_field(m, object, "From");
    put_field(m, object, "Date");
    shape_break(&m->shape, SHAPE_PARAGRAPH);
    m->shape.below++;
    if (part)
        code = take_part(m, part, depth, err);
    m->shape.below--;
    return code;
}

static enum err_code parse(struct mail *m, struct view bytes, const char *place, struct err *err)
{
    const struct gmime *g = m->g;
    struct _GMimeStream *stream =
        g->stream_mem_new_with_buffer((const char *)bytes.data, bytes.bytes);
    struct _GMimeParser *parser = g->parser_new_with_stream(stream);
    struct _GMimeMessage *message = g->parser_construct_message(parser, m->options);
    enum err_code code = ERR_OK;

    if (message)
        code = take_message(m, message, 0, place, err);
    if (message)
        g->unref(message);
    g->unref(parser);
    g->unref(stream);
    return code;
}

static enum err_code tell_broken(struct mail *m, const char *place, struct err *err)
{
    char words[READER_WORDS_MAX];

    if (m->broken++ >= BROKEN_SHOWN)
        return ERR_OK;
    snprintf(words, sizeof words, "%s is not read, or not all of it: %s", place, m->why);
    return out_words(m->shape.out, READER_WARNING, words, err);
}

static enum err_code on_message(void *self, const struct mbox_message *message, struct err *err)
{
    struct mail *m = self;
    uint64_t before = m->shape.out->all;
    char place[PLACE_CHARS];
    enum err_code code = ERR_OK;

    m->why = NULL;
    snprintf(place, sizeof place, "message %" PRIu64 " at byte %" PRIu64, message->number,
             message->at);
    if (message->too_long)
        is_broken(m, "it is longer than 64 MiB");
    else if (message->bytes.bytes)
        code = parse(m, message->bytes, place, err);
    if (m->shape.out->all == before)
        is_broken(m, "it has no text");
    m->read += m->shape.out->all != before;
    if (!code && m->shape.err.code && err)
        *err = m->shape.err;
    code = code ? code : m->shape.err.code;
    return code || !m->why ? code : tell_broken(m, place, err);
}

/* ---- What is told at the end ---- */

static enum err_code tell(const struct mail *m, struct out *out, struct err *err)
{
    char words[READER_WORDS_MAX];
    enum err_code code = ERR_OK;

    if (m->broken > BROKEN_SHOWN) {
        snprintf(words, sizeof words, "%" PRIu64 " messages are not read, or not all of them",
                 m->broken);
        code = out_words(out, READER_WARNING, words, err);
    }
    if (!code && m->attachments) {
        snprintf(words, sizeof words, "%" PRIu64 " attachments are passed over, the first '%s'",
                 m->attachments, m->first_attachment);
        code = out_words(out, READER_WARNING, words, err);
    }
    if (!code && m->replaced) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " places are no characters of their encoding and stand as U+FFFD",
                 m->replaced);
        code = out_words(out, READER_WARNING, words, err);
    }
    return code;
}

static enum err_code read_messages(struct mail *m, const struct pull *in, struct err *err)
{
    struct ahead ahead;
    struct pull replay;
    struct view begin;
    bool alone;
    enum err_code code = ahead_look(&ahead, in, err);

    if (code)
        return code;
    begin = look_behind_mark(ahead_head(&ahead));
    alone = begin.bytes < 5 || memcmp(begin.data, "From ", 5) != 0;
    replay = ahead_replay(&ahead);
    m->options = m->g->parser_options_new();
    m->g->parser_options_set_warning_callback(m->options, on_issue, m);
    code = mbox_read(&replay, alone, on_message, m, err);
    m->g->parser_options_free(m->options);
    if (!code && !m->read)
        return err_set(err, ERR_SOURCE, 0, "is mail, and nothing of it is text");
    return code ? code : shape_end(&m->shape, err);
}

enum err_code mail_file(const struct reading *reading, const char *packing, const struct pull *in,
                        struct out *out, struct err *err)
{
    struct mail m = {.encoding = reading->encoding, .shape = {.out = out}};
    char words[READER_WORDS_MAX];
    enum err_code code = gmime_open(&m.g, err);

    snprintf(words, sizeof words, "%smail", packing);
    if (!code)
        code = out_words(out, READER_NOTE, words, err);
    if (!code)
        code = read_messages(&m, in, err);
    return code ? code : tell(&m, out, err);
}
