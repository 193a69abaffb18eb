#include "stages/ingest/readers/xml.h"

#include <libxml/parser.h>
#include <stdlib.h>

static void on_message(void *self, const char *format, ...)
{
    (void)self;
    (void)format;
}

enum err_code xml_read(xmlDoc **out, const struct pull *in, size_t most, struct err *err)
{
    uint8_t *data = malloc(most);
    size_t bytes = 0;
    enum err_code code = data ? pull_full(in, data, most, &bytes, err)
                              : err_set(err, ERR_MEMORY, 0, "an XML document");

    if (!code && bytes == most)
        code = err_set(err, ERR_SOURCE, 0, "an XML document inside is larger than %zu bytes", most);
    if (!code) {
        xmlSetGenericErrorFunc(NULL, on_message);
        *out = xmlReadMemory((const char *)data, (int)bytes, NULL, NULL,
                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                 XML_PARSE_NOCDATA);
        if (!*out)
            code = err_set(err, ERR_SOURCE, 0, "an XML document inside is damaged");
    }
    free(data);
    return code;
}

static int on_read(void *self, char *data, int room)
{
    struct xml_source *source = self;
    size_t got = 0;

    if (source->err.code ||
        pull_full(source->in, (uint8_t *)data, (size_t)room, &got, &source->err))
        return -1;
    return (int)got;
}

static int on_close(void *self)
{
    (void)self;
    return 0;
}

xmlTextReader *xml_reader(struct xml_source *source)
{
    xmlSetGenericErrorFunc(NULL, on_message);
    return xmlReaderForIO(on_read, on_close, source, NULL, NULL,
                          XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static xmlNode *find(xmlNode *at, const char *name)
{
    while (at && (at->type != XML_ELEMENT_NODE || strcmp((const char *)at->name, name) != 0))
        at = at->next;
    return at;
}

xmlNode *xml_child(const xmlNode *node, const char *name)
{
    return node ? find(node->children, name) : NULL;
}

xmlNode *xml_next(const xmlNode *node, const char *name)
{
    return find(node->next, name);
}

const char *xml_attribute(const xmlNode *node, const char *name)
{
    for (const xmlAttr *at = node->properties; at; at = at->next)
        if (!strcmp((const char *)at->name, name) && at->children && !at->children->next &&
            at->children->type == XML_TEXT_NODE && at->children->content)
            return (const char *)at->children->content;
    return "";
}
