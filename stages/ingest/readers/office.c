/* Both are a zip with one XML document that holds the text: word/document.xml (ECMA-376, WordprocessingML),
 * content.xml (OpenDocument 1.3). Elements are told by their local names. Word puts text into <t> alone, with
 * its blanks; OpenDocument into <p> and <h>, where blanks fold and <s/>, <tab/> and <line-break/> stand for
 * those that stay.
 *
 * Passed over: what was deleted and is kept for revision, instructions of fields, and in OpenDocument comments
 * and the texts of drawings' descriptions. Headers, footers and Word's notes are documents of their own and are
 * not read. */
#include "stages/ingest/readers/office.h"

#include "stages/ingest/readers/shape.h"
#include "stages/ingest/readers/xml.h"

#include <libxml/xmlreader.h>

static const char word_document[] = "word/document.xml", open_document[] = "content.xml";

struct office {
    struct shape shape;
    bool word;
    int paragraphs; /* OpenDocument: depth of <p> and <h> */
    int texts;      /* Word: depth of <t> */
    int passed;     /* depth of what is passed over */
};

const char *office_kind(const struct zipped *zip)
{
    if (zipped_has(zip, word_document))
        return "DOCX";
    return zipped_has(zip, open_document) && zipped_has(zip, "META-INF/manifest.xml") ? "ODT"
                                                                                      : NULL;
}

static bool is(const char *name, const char *other)
{
    return !strcmp(name, other);
}

static bool is_passed(const struct office *o, const char *name)
{
    if (o->word)
        return is(name, "del") || is(name, "moveFrom") || is(name, "Fallback");
    return is(name, "annotation") || is(name, "tracked-changes") || is(name, "desc") ||
           is(name, "title") || is(name, "sequence-decls");
}

static void put_verbatim(struct office *o, const char *text, size_t bytes)
{
    o->shape.verbatim++;
    shape_text(&o->shape, text, bytes);
    o->shape.verbatim--;
}

/* What an element is by itself, whatever is in it. */
static void on_mark(struct office *o, const char *name)
{
    if (is(name, "tab") && (o->word ? o->shape.in_line : o->paragraphs > 0))
        put_verbatim(o, "\t", 1);
    else if (is(name, "br") || is(name, "cr") || is(name, "line-break"))
        shape_break(&o->shape, SHAPE_LINE);
    else if (is(name, "noBreakHyphen"))
        put_verbatim(o, "\xE2\x80\x91", 3);
    else if (!o->word && is(name, "s") && o->paragraphs)
        put_verbatim(o, " ", 1);
}

/* step: 1 where the element begins, -1 where it ends. */
static void on_edge(struct office *o, const char *name, int step)
{
    bool paragraph = is(name, "p") || (!o->word && is(name, "h"));

    if (is_passed(o, name))
        o->passed += step;
    if (o->passed)
        return;
    if (paragraph)
        shape_break(&o->shape, SHAPE_PARAGRAPH);
    if (paragraph)
        o->paragraphs += step;
    if (o->word && is(name, "t"))
        o->texts += step;
    if (step > 0)
        on_mark(o, name);
}

static void on_text(struct office *o, const char *text)
{
    if (o->passed)
        return;
    if (o->word && o->texts)
        put_verbatim(o, text, strlen(text));
    else if (!o->word && o->paragraphs)
        shape_text(&o->shape, text, strlen(text));
}

static void on_node(struct office *o, xmlTextReader *reader)
{
    const char *name = (const char *)xmlTextReaderConstLocalName(reader);
    const char *text = (const char *)xmlTextReaderConstValue(reader);

    switch (xmlTextReaderNodeType(reader)) {
    case XML_READER_TYPE_ELEMENT:
        on_edge(o, name, 1);
        if (xmlTextReaderIsEmptyElement(reader)) /* no end of it will come */
            on_edge(o, name, -1);
        break;
    case XML_READER_TYPE_END_ELEMENT:
        on_edge(o, name, -1);
        break;
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
    case XML_READER_TYPE_WHITESPACE:
    case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
        if (text)
            on_text(o, text);
        break;
    default:
        break;
    }
}

enum err_code office_read(struct zipped *zip, struct out *out, struct err *err)
{
    const char *kind = office_kind(zip);
    struct office o = {.shape = {.out = out}, .word = is(kind, "DOCX")};
    struct xml_source source = {.err = {.code = ERR_OK}};
    struct pull in;
    xmlTextReader *reader = NULL;
    int rc = 1;
    enum err_code code = zipped_find(zip, o.word ? word_document : open_document, &in, err);

    if (!code)
        code = out_words(out, READER_NOTE, kind, err);
    if (code)
        return code;
    source.in = &in;
    reader = xml_reader(&source);
    if (!reader)
        return err_set(err, ERR_MEMORY, 0, "libxml2");
    while (rc == 1 && !o.shape.err.code) {
        rc = xmlTextReaderRead(reader);
        if (rc == 1)
            on_node(&o, reader);
    }
    xmlFreeTextReader(reader);
    if (source.err.code) {
        if (err)
            *err = source.err;
        return source.err.code;
    }
    if (rc < 0)
        return err_set(err, ERR_SOURCE, 0, "the %s's XML is damaged", kind);
    return shape_end(&o.shape, err);
}
