/* schemas/utf8.h: text that may not be UTF-8 everywhere, a character at a time. */
#ifndef SCHEMAS_UTF8_H
#define SCHEMAS_UTF8_H

#include "schemas/bytes.h"

#include <utf8proc.h>

/* The character at text[at], at < text.bytes: its bytes; where they are no UTF-8, one byte and -1 in *point. */
static inline size_t utf8_next(struct view text, size_t at, utf8proc_int32_t *point)
{
    utf8proc_ssize_t bytes =
        utf8proc_iterate(text.data + at, (utf8proc_ssize_t)(text.bytes - at), point);

    if (bytes > 0)
        return (size_t)bytes;
    *point = -1;
    return 1;
}

#endif
