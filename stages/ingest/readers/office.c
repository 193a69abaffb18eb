/* Both are a zip with one XML document that holds the text: word/document.xml (ECMA-376, WordprocessingML; where
 * Word's server made it, document2.xml), content.xml (OpenDocument 1.3). Elements are told by their local names.
 * Word puts text into <t> alone, with its blanks; OpenDocument into <p> and <h>, where blanks fold and <s/>, <tab/>
 * and <line-break/> stand for those that stay.
 *
 * Headings: Word's paragraphs name a style, whose own name is "heading 1" or "Title" whatever the language of the one
 * who wrote; OpenDocument's <h> has a level, and a title's style is called so.
 *
 * Passed over: what was deleted and is kept for revision, the style that a paragraph had before, instructions of
 * fields, the readings above ruby, and in OpenDocument comments and the texts of drawings' descriptions. Headers,
 * footers and Word's notes are documents of their own and are not read. */
#include "stages/ingest/readers/office.h"

#include "stages/ingest/readers/shape.h"
#include "stages/ingest/readers/xml.h"

#include <libxml/xmlreader.h>
#include <strings.h>

static const char word_document[] = "word/document.xml", word_document_2[] = "word/document2.xml",
                  open_document[] = "content.xml", word_styles[] = "word/styles.xml";

enum { STYLES_MAX = 64, STYLE_NAME_MAX = 64, STYLES_BYTES_MAX = 8 << 20 };

/* A style of Word's that makes headings. */
struct style {
    char id[STYLE_NAME_MAX];
    uint8_t heading;
};

struct office {
    struct shape shape;
    struct style styles[STYLES_MAX];
    size_t style_count;
    bool word;
    int paragraphs; /* OpenDocument: depth of <p> and <h> */
    int texts;      /* Word: depth of <t> */
    int passed;     /* depth of what is passed over */
};

const char *office_kind(const struct zipped *zip)
{
    if (zipped_has(zip, word_document) || zipped_has(zip, word_document_2))
        return "DOCX";
    if (zipped_has(zip, "xl/workbook.xml"))
        return "XLSX";
    if (zipped_has(zip, "ppt/presentation.xml"))
        return "PPTX";
    return zipped_has(zip, open_document) && zipped_has(zip, "META-INF/manifest.xml") ? "ODT"
                                                                                      : NULL;
}

static bool is(const char *name, const char *other)
{
    return !strcmp(name, other);
}

/* space: the element's namespace, or NULL. A drawing has a <title> of SVG's, and text one that is a field. */
static bool is_passed(const struct office *o, const char *name, const char *space)
{
    if (o->word)
        return is(name, "del") || is(name, "moveFrom") || is(name, "Fallback") || is(name, "rt") ||
               is(name, "pPrChange");
    return is(name, "annotation") || is(name, "tracked-changes") || is(name, "desc") ||
           (is(name, "title") && space && strstr(space, "svg")) || is(name, "sequence-decls") ||
           is(name, "ruby-text");
}

/* ---- Headings ---- */

/* "heading 1" to "heading 6", "Title"; 0: none of them. */
static uint8_t heading_of_style(const char *name)
{
    if (!strcasecmp(name, "title"))
        return PLACE_TITLE;
    if (strncasecmp(name, "heading", 7) != 0)
        return 0;
    name += 7 + (name[7] == ' ');
    return name[0] >= '1' && name[0] <= '6' && !name[1] ? (uint8_t)(name[0] - '0') : 0;
}

static void add_style(struct office *o, const char *id, const char *name)
{
    struct style *style = &o->styles[o->style_count];

    if (o->style_count == STYLES_MAX || strlen(id) >= STYLE_NAME_MAX || !heading_of_style(name))
        return;
    *style = (struct style){.heading = heading_of_style(name)};
    memcpy(style->id, id, strlen(id) + 1);
    o->style_count++;
}

/* Which styles of Word's make headings. A document without its styles, or whose styles are damaged, has none. */
static enum err_code read_styles(struct office *o, struct zipped *zip, struct err *err)
{
    struct pull in;
    xmlDoc *doc = NULL;
    enum err_code code = ERR_ABSENT;

    if (zipped_has(zip, word_styles))
        code = zipped_find(zip, word_styles, &in, err);
    if (!code)
        code = xml_read(&doc, &in, STYLES_BYTES_MAX, err);
    if (code)
        return code == ERR_MEMORY ? code : ERR_OK;
    for (xmlNode *style = xml_child(xmlDocGetRootElement(doc), "style"); style;
         style = xml_next(style, "style"))
        if (xml_child(style, "name"))
            add_style(o, xml_attribute(style, "styleId"),
                      xml_attribute(xml_child(style, "name"), "val"));
    xmlFreeDoc(doc);
    return ERR_OK;
}

/* An attribute in the element's own namespace, as both formats have them; free it with xmlFree. NULL: it has none. */
static xmlChar *attribute_of(xmlTextReader *reader, const char *name)
{
    return xmlTextReaderGetAttributeNs(reader, (const xmlChar *)name,
                                       xmlTextReaderConstNamespaceUri(reader));
}

static uint8_t word_heading(const struct office *o, const char *id)
{
    for (size_t i = 0; i < o->style_count; i++)
        if (is(o->styles[i].id, id))
            return o->styles[i].heading;
    return 0;
}

/* The element begins a heading, or says that its paragraph is one. */
static void on_heading(struct office *o, const char *name, xmlTextReader *reader)
{
    const char *attribute = o->word && is(name, "pStyle") ? "val"
                            : !o->word && is(name, "h")   ? "outline-level"
                            : !o->word && is(name, "p")   ? "style-name"
                                                          : NULL;
    xmlChar *value = attribute ? attribute_of(reader, attribute) : NULL;
    const char *text = (const char *)value;
    uint8_t heading = 0;

    if (o->word && text)
        heading = word_heading(o, text);
    else if (!o->word && is(name, "h"))
        heading =
            text && text[0] >= '1' && text[0] <= '6' && !text[1] ? (uint8_t)(text[0] - '0') : 1;
    else if (text)
        heading = heading_of_style(text);
    xmlFree(value);
    if (heading)
        shape_place(&o->shape, heading, "");
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
        shape_line(&o->shape);
    else if (is(name, "noBreakHyphen"))
        put_verbatim(o, "\xE2\x80\x91", 3);
    else if (!o->word && is(name, "s") && o->paragraphs)
        put_verbatim(o, " ", 1);
}

/* step: 1 where the element begins, -1 where it ends. */
static void on_edge(struct office *o, const char *name, int step, xmlTextReader *reader)
{
    bool paragraph = is(name, "p") || (!o->word && is(name, "h"));

    if (is_passed(o, name, (const char *)xmlTextReaderConstNamespaceUri(reader)))
        o->passed += step;
    if (o->passed)
        return;
    if (paragraph)
        shape_break(&o->shape, SHAPE_PARAGRAPH);
    if (paragraph)
        o->paragraphs += step;
    if (o->word && is(name, "t"))
        o->texts += step;
    if (paragraph && step < 0)
        shape_heading_end(&o->shape);
    if (step > 0)
        on_heading(o, name, reader);
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
        on_edge(o, name, 1, reader);
        if (xmlTextReaderIsEmptyElement(reader)) /* no end of it will come */
            on_edge(o, name, -1, reader);
        break;
    case XML_READER_TYPE_END_ELEMENT:
        on_edge(o, name, -1, reader);
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
    const char *document = !o.word                          ? open_document
                           : zipped_has(zip, word_document) ? word_document
                                                            : word_document_2;
    int rc = 1;
    enum err_code code;

    if (!o.word && !is(kind, "ODT"))
        return err_set(err, ERR_SOURCE, 0,
                       "is %s, which no reader knows: save it as text, or as DOCX or PDF", kind);
    code = o.word ? read_styles(&o, zip, err) : ERR_OK;
    if (!code)
        code = zipped_find(zip, document, &in, err);
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
