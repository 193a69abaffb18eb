/* stages/ingest/readers/xml.h: a small XML document as a tree, by libxml2. Elements are found by their local
 * names.
 *
 * Memory  the document's, bounded by the caller. Trees are freed with xmlFreeDoc. */
#ifndef STAGES_INGEST_READERS_XML_H
#define STAGES_INGEST_READERS_XML_H

#include "stages/ingest/readers/pull.h"
#include <libxml/tree.h>
#include <libxml/xmlreader.h>

/* Fails  ERR_SOURCE: more than most bytes, or no XML that can be read; ERR_MEMORY; in's. */
MUST_CHECK enum err_code xml_read(xmlDoc **out, const struct pull *in, size_t most,
                                  struct err *err);
/* A document that is too large for a tree, node by node; free it with xmlFreeTextReader. NULL: memory was
 * refused. A fault of source->in ends the reading, and is in source->err. */
struct xml_source {
    const struct pull *in;
    struct err err;
};
xmlTextReader *xml_reader(struct xml_source *source);
/* The first element of that name in node, the next behind it; NULL: none. node may be NULL. */
xmlNode *xml_child(const xmlNode *node, const char *name);
xmlNode *xml_next(const xmlNode *node, const char *name);
/* "" where there is none, or one that is not plain text; lent by the tree. */
const char *xml_attribute(const xmlNode *node, const char *name);

#endif
