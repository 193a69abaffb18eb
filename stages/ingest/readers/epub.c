/* An EPUB is a zip: META-INF/container.xml names the package document, whose manifest gives files names and
 * whose spine puts them in order (EPUB 3.3, sections 4.2 and 5). What the spine names is read, be it "linear"
 * or not: notes are text too. Files of the spine that are no text (an image alone) are passed over. One that is
 * missing or damaged costs itself: a warning names the first.
 *
 * XML entities are not expanded but for XML's own five, and nothing is loaded from anywhere. */
#include "stages/ingest/readers/epub.h"

#include "stages/ingest/readers/encoding.h"
#include "stages/ingest/readers/html.h"
#include "stages/ingest/readers/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct package {
    const char *folder; /* of the package document, with its slash */
    xmlNode *manifest, *spine, *metadata;
};

struct book {
    struct zipped *zip;
    struct shape shape;
    size_t files, failed; /* of the spine */
    char first_failed[PLACE_TEXT_MAX + 1];
    struct err why; /* it failed */
};

/* "a%20b" as "a b", without what is behind '#', in folder or, behind a '/', in the zip; malloc'ed. */
static char *decode_href(const char *folder, const char *href)
{
    size_t room = strlen(folder) + strlen(href) + 1;
    char *path = malloc(room), *to;
    unsigned byte;
    int used;

    if (!path)
        return NULL;
    to = path + snprintf(path, room, "%s", *href == '/' ? "" : folder);
    for (; *href && *href != '#'; href++) {
        if (*href == '%' && sscanf(href, "%%%2x%n", &byte, &used) == 1 && used == 3 && byte) {
            *to++ = (char)byte;
            href += 2;
        } else {
            *to++ = *href;
        }
    }
    *to = 0;
    return path;
}

/* "./a//b/../c" as "a/c", in place. */
static void straighten(char *path)
{
    char *to = path;
    size_t bytes;

    for (const char *from = path; *from; from += bytes) {
        bytes = strcspn(from, "/");
        bytes += from[bytes] == '/';
        if (bytes == 3 && !memcmp(from, "../", 3)) {
            to -= to > path; /* its slash */
            while (to > path && to[-1] != '/')
                to--;
        } else if (*from != '/' && (bytes != 2 || memcmp(from, "./", 2) != 0)) {
            memmove(to, from, bytes);
            to += bytes;
        }
    }
    *to = 0;
}

/* NULL: there is none. */
static xmlNode *find_item(const struct package *p, const char *id)
{
    xmlNode *item = xml_child(p->manifest, "item");

    while (item && strcmp(xml_attribute(item, "id"), id) != 0)
        item = xml_next(item, "item");
    return item;
}

/* By what the manifest says of it; an ending of HTML's says enough too, as types are often wrong. */
static bool is_text(const xmlNode *item, const char *path)
{
    const char *type = xml_attribute(item, "media-type");

    return !strcasecmp(type, "application/xhtml+xml") || !strcasecmp(type, "text/html") ||
           look_names_html(path);
}

static enum err_code read_chapter(struct zipped *zip, const char *path, struct shape *shape,
                                  struct err *err)
{
    struct pull in, text;
    struct encoding *e = NULL;
    enum err_code code = zipped_find(zip, path, &in, err);

    if (!code)
        code = encoding_open(&e, &in, NULL, &text, err);
    if (!code)
        code = html_read(&text, false, shape, err);
    encoding_close(&e);
    return code;
}

static void put_title(const struct package *p, struct shape *shape)
{
    xmlNode *title = xml_child(p->metadata, "title");
    xmlChar *text = title ? xmlNodeGetContent(title) : NULL;

    if (text)
        shape_place(shape, PLACE_TITLE, "");
    if (text)
        shape_text(shape, text, strlen((const char *)text));
    xmlFree(text);
    shape_break(shape, SHAPE_PARAGRAPH);
}

static enum err_code take_chapter(struct book *b, const char *path, struct err *err)
{
    struct err why = {.code = ERR_OK};
    enum err_code code;

    b->files++;
    shape_place(&b->shape, 0, path);
    code = read_chapter(b->zip, path, &b->shape, &why);
    if (code == ERR_SOURCE || code == ERR_ABSENT) {
        if (!b->failed++) {
            b->why = why;
            snprintf(b->first_failed, sizeof b->first_failed, "%s", path);
        }
        return ERR_OK;
    }
    if (code && err)
        *err = why;
    return code;
}

static enum err_code tell_failed(const struct book *b, struct err *err)
{
    char words[READER_WORDS_MAX];

    if (!b->files)
        return err_set(err, ERR_SOURCE, 0, "the EPUB's spine names no text");
    if (b->failed > b->files / 2 && zipped_has(b->zip, "META-INF/encryption.xml"))
        return err_set(err, ERR_SOURCE, 0,
                       "the EPUB's chapters are encrypted (DRM): a copy that is not can be read");
    if (b->failed == b->files) {
        if (err)
            *err = b->why;
        return b->why.code;
    }
    if (!b->failed)
        return ERR_OK;
    snprintf(words, sizeof words,
             "%zu of %zu chapters are not read, or not to their end, the first '%.100s': %.*s",
             b->failed, b->files, b->first_failed, (int)strcspn(b->why.text, ";"), b->why.text);
    return out_words(b->shape.out, READER_WARNING, words, err);
}

static enum err_code read_spine(const struct package *p, struct zipped *zip, struct out *out,
                                struct err *err)
{
    struct book b = {.zip = zip, .shape = {.out = out}};
    enum err_code code = out_words(out, READER_NOTE, "EPUB", err);

    if (!code)
        put_title(p, &b.shape);
    for (xmlNode *item = xml_child(p->spine, "itemref"); item && !code && b.files < EPUB_FILES_MAX;
         item = xml_next(item, "itemref")) {
        const xmlNode *named = find_item(p, xml_attribute(item, "idref"));
        const char *href = named ? xml_attribute(named, "href") : "";
        char *path = decode_href(p->folder, href);
        if (!path)
            return err_set(err, ERR_MEMORY, 0, "an EPUB");
        straighten(path);
        if (*href && is_text(named, path))
            code = take_chapter(&b, path, err);
        free(path);
    }
    if (!code)
        code = shape_end(&b.shape, err);
    return code ? code : tell_failed(&b, err);
}

static enum err_code read_package(struct zipped *zip, const char *path, struct out *out,
                                  struct err *err)
{
    struct package p = {.folder = ""};
    const char *slash = strrchr(path, '/');
    char *folder = strndup(path, slash ? (size_t)(slash + 1 - path) : 0);
    struct pull in;
    xmlDoc *doc = NULL;
    enum err_code code;

    if (!folder)
        return err_set(err, ERR_MEMORY, 0, "an EPUB");
    code = zipped_find(zip, path, &in, err);
    if (!code)
        code = xml_read(&doc, &in, EPUB_PACKAGE_MAX, err);
    if (!code) {
        xmlNode *root = xmlDocGetRootElement(doc);
        p = (struct package){folder, xml_child(root, "manifest"), xml_child(root, "spine"),
                             xml_child(root, "metadata")};
        code = read_spine(&p, zip, out, err);
    }
    xmlFreeDoc(doc);
    free(folder);
    return code;
}

enum err_code epub_read(struct zipped *zip, struct out *out, struct err *err)
{
    struct pull in;
    xmlDoc *doc = NULL;
    xmlNode *root, *file;
    enum err_code code = zipped_find(zip, EPUB_CONTAINER, &in, err);

    if (!code)
        code = xml_read(&doc, &in, EPUB_PACKAGE_MAX, err);
    if (code)
        return code;
    root = xmlDocGetRootElement(doc);
    file = xml_child(xml_child(root, "rootfiles"), "rootfile");
    code = file ? read_package(zip, xml_attribute(file, "full-path"), out, err)
                : err_set(err, ERR_SOURCE, 0, "the EPUB names no package document");
    xmlFreeDoc(doc);
    return code;
}
