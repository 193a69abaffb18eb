/* What of HTML is text, and where its paragraphs end. Elements are told by name: those that are blocks, and
 * those whose content nobody reads as text. Of ruby the base is text and the reading above it is not. Entities
 * are libxml2's, which are HTML 4's; a DTD's own are never expanded, so there is nothing to explode. References to
 * the controls U+0080 to U+009F mean Windows-1252, as in HTML 5 (13.2.5.80). */
#include "stages/ingest/readers/html.h"

#include <libxml/HTMLparser.h>
#include <stdlib.h>
#include <strings.h>

enum { MARK_BYTES = 9 }; /* the longest is <![CDATA[ */

struct html {
    const struct pull *text;
    struct shape *shape;
    bool with_title;
    struct err err;        /* of text */
    const char *passed;    /* the element whose content is passed over, or NULL */
    unsigned passed_depth; /* of elements of its name inside */
    size_t held;           /* of text: what may be the beginning of a mark, where it was cut */
    uint8_t hold[MARK_BYTES];
    bool cdata; /* its end has not come */
};

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(name, *names))
            return true;
    return false;
}

static const char *const hidden[] = {"script", "style",  "template", "rt",       "rp", "svg",
                                     "object", "iframe", "select",   "noframes", NULL};
static const char *const blocks[] = {
    "p",       "div",    "h1",     "h2",         "h3",      "h4",     "h5",       "h6",
    "ul",      "ol",     "li",     "dl",         "dt",      "dd",     "pre",      "blockquote",
    "table",   "title",  "body",   "section",    "article", "header", "footer",   "nav",
    "aside",   "main",   "figure", "figcaption", "address", "form",   "fieldset", "hr",
    "caption", "center", "hgroup", "details",    "summary", "legend", NULL};

/* Where a paragraph or a line ends, on both sides of the tag. */
static void mark_edge(struct shape *shape, const char *name)
{
    if (is_one_of(name, blocks))
        shape_break(shape, SHAPE_PARAGRAPH);
    else if (!strcmp(name, "br"))
        shape_line(shape);
    else if (!strcmp(name, "tr"))
        shape_break(shape, SHAPE_LINE);
    else if (!strcmp(name, "td") || !strcmp(name, "th"))
        shape_cell(shape);
}

static bool is_heading(const char *name)
{
    return name[0] == 'h' && name[1] >= '1' && name[1] <= '6' && !name[2];
}

static void on_begin(void *self, const xmlChar *element, const xmlChar **attributes)
{
    struct html *h = self;
    const char *name = (const char *)element;

    (void)attributes;
    if (h->passed) {
        h->passed_depth += !strcmp(name, h->passed);
        return;
    }
    mark_edge(h->shape, name);
    if (is_heading(name))
        shape_place(h->shape, (uint8_t)(name[1] - '0'), "");
    for (size_t i = 0; hidden[i] && !h->passed; i++)
        if (!strcmp(name, hidden[i]))
            h->passed = hidden[i];
    if (!strcmp(name, "title") && !h->with_title)
        h->passed = "title";
    else if (!strcmp(name, "title") && !h->passed)
        shape_place(h->shape, PLACE_TITLE, "");
    h->passed_depth = 0;
    h->shape->verbatim += !strcmp(name, "pre");
}

static void on_end(void *self, const xmlChar *element)
{
    struct html *h = self;
    const char *name = (const char *)element;

    if (h->passed) {
        if (!strcmp(name, h->passed) && h->passed_depth-- == 0)
            h->passed = NULL;
        return;
    }
    if (strcmp(name, "br") != 0)
        mark_edge(h->shape, name);
    if (is_heading(name) || !strcmp(name, "title"))
        shape_heading_end(h->shape);
    if (!strcmp(name, "pre") && h->shape->verbatim)
        h->shape->verbatim--;
}

/* U+0080 to U+009F as Windows-1252 has them; 0: it has none there. */
static const uint16_t windows[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

static void put_control(struct shape *shape, unsigned code)
{
    const unsigned meant = windows[code - 0x80] ? windows[code - 0x80] : code;
    const uint8_t text[] = {(uint8_t)(0xE0 | meant >> 12), (uint8_t)(0x80 | (meant >> 6 & 0x3F)),
                            (uint8_t)(0x80 | (meant & 0x3F))};
    const uint8_t two[] = {(uint8_t)(0xC0 | meant >> 6), text[2]};

    shape_text(shape, meant < 0x800 ? two : text, meant < 0x800 ? sizeof two : sizeof text);
}

static void on_text(void *self, const xmlChar *text, int bytes)
{
    struct html *h = self;
    const xmlChar *at = text, *end = text + bytes, *lead;

    if (h->passed)
        return;
    while (end - at >= 2 && (lead = memchr(at, 0xC2, (size_t)(end - at - 1)))) {
        if (lead[1] >= 0x80 && lead[1] < 0xA0) {
            shape_text(h->shape, at, (size_t)(lead - at));
            put_control(h->shape, lead[1]);
        } else {
            shape_text(h->shape, at, (size_t)(lead + 2 - at));
        }
        at = lead + 2;
    }
    shape_text(h->shape, at, (size_t)(end - at));
}

static bool begins(const uint8_t *at, const uint8_t *end, const char *mark)
{
    size_t bytes = strlen(mark);

    return (size_t)(end - at) >= bytes && !strncasecmp((const char *)at, mark, bytes);
}

/* Word's <![if ...]>, <![endif]> and XML's <![CDATA[ are no HTML 4, and libxml2 takes them for text. They are made
 * processing instructions, which are passed over, and what ends CDATA an element, without changing their length. */
static void tame_marks(struct html *h, uint8_t *data, const uint8_t *end)
{
    for (uint8_t *at = data; at < end; at++) {
        if (*at == '<' && begins(at, end, "<![CDATA[")) {
            memcpy(at, "<?CDATA >", MARK_BYTES);
            h->cdata = true;
        } else if (*at == '<' && (begins(at, end, "<![if") || begins(at, end, "<![endif"))) {
            at[1] = '?';
            at[2] = 'x';
        } else if (*at == ']' && h->cdata && begins(at, end, "]]>")) {
            at[0] = '<';
            at[1] = 'b';
            at[2] = '>';
            h->cdata = false;
        } else if (*at == '<' &&
                   begins(at, end, "</script")) { /* the mark was in a program's text */
            h->cdata = false;
        }
    }
}

static int on_read(void *self, char *data, int room)
{
    struct html *h = self;
    uint8_t *begin = (uint8_t *)data;
    size_t held = h->held, got = 0, bytes;

    require(room > 2 * MARK_BYTES); /* libxml2 asks for thousands */
    memcpy(begin, h->hold, held);
    h->held = 0;
    if (h->err.code || h->shape->err.code ||
        pull_full(h->text, begin + held, (size_t)room - held, &got, &h->err))
        return -1;
    bytes = held + got;
    if (bytes == (size_t)room)
        for (size_t i = bytes - MARK_BYTES + 1; i < bytes && !h->held; i++)
            if (begin[i] == '<' || begin[i] == ']')
                h->held = bytes - i;
    bytes -= h->held;
    memcpy(h->hold, begin + bytes, h->held);
    tame_marks(h, begin, begin + bytes);
    return (int)bytes;
}

static int on_close(void *self)
{
    (void)self;
    return 0;
}

static void on_message(void *self, const char *format, ...)
{
    (void)self;
    (void)format;
}

enum err_code html_read(const struct pull *text, bool with_title, struct shape *shape,
                        struct err *err)
{
    struct html h = {.text = text, .shape = shape, .with_title = with_title};
    htmlParserCtxtPtr parser = htmlNewParserCtxt();
    htmlDocPtr doc;

    if (!parser)
        return err_set(err, ERR_MEMORY, 0, "a reader");
    *parser->sax = (xmlSAXHandler){.startElement = on_begin,
                                   .endElement = on_end,
                                   .characters = on_text,
                                   .cdataBlock = on_text,
                                   .ignorableWhitespace = on_text,
                                   .warning = on_message,
                                   .error = on_message};
    xmlSetGenericErrorFunc(NULL, on_message);
    parser->_private = &h;
    parser->userData = &h;
    doc = htmlCtxtReadIO(parser, on_read, on_close, &h, NULL, "UTF-8",
                         HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                             HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC | HTML_PARSE_NODEFDTD);
    xmlFreeDoc(doc);
    if (parser->errNo == XML_ERR_NO_MEMORY && !h.err.code)
        err_set(&h.err, ERR_MEMORY, 0, "libxml2");
    htmlFreeParserCtxt(parser);
    shape_break(shape, SHAPE_PARAGRAPH);
    shape->verbatim = 0;
    if (h.err.code || shape->err.code) {
        if (err)
            *err = h.err.code ? h.err : shape->err;
        return h.err.code ? h.err.code : shape->err.code;
    }
    return ERR_OK;
}
