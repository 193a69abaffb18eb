/* stages/ingest/readers/look.h: what a file is, told by how it begins, and only then by its name.
 *
 * Ingest asks it of every new file, so it loads and starts nothing: whoever is UTF-8 is read as it is, by its
 * offsets (source.h), and never meets a reader. */
#ifndef STAGES_INGEST_READERS_LOOK_H
#define STAGES_INGEST_READERS_LOOK_H

#include "schemas/bytes.h"

/* So much is looked at: a book is seen whole. What is no UTF-8 behind it is repaired, and told at the end. */
enum { LOOK_BYTES = 4 << 20 };
/* No line that begins a message of an mbox is longer. */
enum { LOOK_FROM_BYTES = 320 };

enum look {
    LOOK_UTF8,   /* text as it is, even where some bytes are damaged */
    LOOK_PACKED, /* gzip, bzip2, xz, zstd */
    LOOK_ZIP,
    LOOK_ARCHIVE, /* tar, 7z, RAR, cpio */
    LOOK_PDF,
    LOOK_MAIL, /* an mbox, or a message by itself */
    LOOK_HTML, /* in whatever encoding */
    LOOK_OTHER /* text in another encoding, or no text at all */
};

/* bytes are the file's first, at most LOOK_BYTES; name may be NULL. */
enum look look_at(struct view bytes, const char *name);
/* The same of the file at path; *data is malloc'ed, what was looked at: NULL, with LOOK_UTF8, where it is no regular
 * file, is empty or cannot be read. */
enum look look_at_file(const char *path, uint8_t **data, size_t *bytes);

/* "gzip", ... of LOOK_PACKED; NULL where nothing is packed. */
const char *look_packing(struct view bytes);
/* What is neither text nor of a reader, though it may look as text does: in words, with what helps. NULL: it is not
 * known. */
const char *look_refused(struct view bytes);
/* "tar", ... of LOOK_ARCHIVE; NULL where it is none. */
const char *look_archive(struct view bytes);
/* An mbox by how it begins, or a message by itself, which is known by its name too (.eml). */
bool look_is_mail(struct view bytes, const char *name);
/* Is this line, with its newline, the one that a message of an mbox begins with? */
bool look_is_from_line(struct view line);
/* A byte order mark: its encoding's name, and *mark_bytes; NULL without. */
const char *look_mark(struct view bytes, size_t *mark_bytes);
/* UTF-8 without its mark, or text as it is. */
struct view look_behind_mark(struct view text);
/* The same question as LOOK_UTF8, of text alone. */
bool look_is_utf8(struct view bytes);
/* Where no other encoding is found: is it ASCII with a few strange bytes, or UTF-8 with many? */
bool look_may_be_utf8(struct view bytes);
/* Does UTF-8 or ASCII-like text begin as HTML does? */
bool look_is_html(struct view bytes);
/* Does name end as HTML's do, behind what a compressor adds? */
bool look_names_html(const char *name);
/* As Markdown's? */
bool look_names_markdown(const char *name);

#endif
