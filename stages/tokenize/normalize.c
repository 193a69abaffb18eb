#include "stages/tokenize/normalize.h"
#include "schemas/err.h"
#include <string.h>
#include <utf8proc.h>

enum { FIRST_MARK = 0x300 }; /* below it every character is its own normal form, and no mark */

enum decoded { DECODED_CHARACTER, DECODED_INVALID, DECODED_MORE };

/* The character at the start of data: its code and size. An invalid byte has size 1, and what more
 * bytes might still complete has none. */
static enum decoded decode(const uint8_t *data, size_t bytes, bool end, int32_t *code, size_t *size)
{
    static const uint8_t sizes[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                      0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 3, 3, 4, 0};
    static const int32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = sizes[data[0] >> 3], at = 1;
    int32_t value = data[0];

    *size = 1;
    if (want > 1)
        value &= 0x7f >> want;
    for (; at < want && at < bytes && (data[at] & 0xc0) == 0x80; at++)
        value = value << 6 | (data[at] & 0x3f);
    if (at < want)
        return at == bytes && !end ? DECODED_MORE : DECODED_INVALID;
    if (want == 0 || value < least[want] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return DECODED_INVALID;
    *code = value;
    *size = want;
    return DECODED_CHARACTER;
}

/* May this character join with what stands before it? Every second half of a canonical composition
 * is a mark or one of these Hangul letters; the tests ask utf8proc about every character. */
static bool joins(int32_t code)
{
    const utf8proc_property_t *property;

    if (code < FIRST_MARK)
        return false;
    if ((code >= 0x1161 && code <= 0x1175) || (code >= 0x11a8 && code <= 0x11c2))
        return true;
    property = utf8proc_get_property(code);
    return property->combining_class != 0 || (property->category >= UTF8PROC_CATEGORY_MN &&
                                              property->category <= UTF8PROC_CATEGORY_ME);
}

/* Is this character, alone, sure to be its own normal form? "No" only means a slower look. */
static bool plain(int32_t code)
{
    const utf8proc_property_t *property;

    if (code < FIRST_MARK)
        return true;
    property = utf8proc_get_property(code);
    return property->decomp_seqindex == UINT16_MAX || property->decomp_type != 0;
}

/* The size of the segment at the start of data, 0 where more bytes are needed. *keep is set where
 * it is known to be its own normal form, or is to be kept as it is; *several where it has more than
 * one character. */
static size_t segment(const uint8_t *data, size_t bytes, bool end, bool *keep, bool *several)
{
    int32_t code;
    size_t size, next, marks = 0;
    enum decoded kind = decode(data, bytes, end, &code, &size);

    *keep = true;
    *several = false;
    if (kind != DECODED_CHARACTER)
        return kind == DECODED_INVALID ? 1 : 0;
    *keep = plain(code);
    for (;;) {
        if (size == bytes)
            return end ? size : 0;
        kind = decode(data + size, bytes - size, end, &code, &next);
        if (kind == DECODED_MORE)
            return 0;
        if (kind == DECODED_INVALID || !joins(code))
            return size;
        if (marks == NORMALIZE_MARKS_MAX) {
            *keep = true;
            return size;
        }
        *keep = false;
        *several = true;
        marks++;
        size += next;
    }
}

/* ASCII characters followed by ASCII are each a segment of their own: how many there are here. */
static size_t ascii(const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    uint64_t word;

    for (; bytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, data + at, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (at < bytes && data[at] < 0x80)
        at++;
    return at ? at - 1 : 0;
}

/* Normalise one valid segment into the piece's room. */
static void compose(const uint8_t *data, size_t bytes, struct normalize_piece *piece)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t count, size;

    count =
        utf8proc_decompose(data, (utf8proc_ssize_t)bytes, piece->room, NORMALIZE_ROOM - 1, options);
    require(count > 0 && count < NORMALIZE_ROOM);
    size = utf8proc_reencode(piece->room, count, options);
    require(size > 0 && (size_t)size < sizeof piece->room);
    piece->data = (const uint8_t *)piece->room;
    piece->bytes = (size_t)size;
    piece->unchanged = false;
}

/* Make the segment at data an atomic piece; false where it is one character, unchanged. */
static bool make_atomic(const uint8_t *data, size_t size, bool keep, bool several,
                        struct normalize_piece *piece)
{
    piece->unchanged = true;
    if (!keep) {
        compose(data, size, piece);
        piece->unchanged = piece->bytes == size && memcmp(piece->data, data, size) == 0;
    }
    if (piece->unchanged) {
        piece->data = data;
        piece->bytes = size;
    }
    piece->atomic = several || !piece->unchanged;
    return piece->atomic;
}

size_t normalize_next(const uint8_t *data, size_t bytes, bool end, struct normalize_piece *piece)
{
    size_t at = 0, size;
    bool keep, several;

    while (at < bytes) {
        at += ascii(data + at, bytes - at);
        size = segment(data + at, bytes - at, end, &keep, &several);
        if (size == 0)
            break;
        if ((several || !keep) && make_atomic(data + at, size, keep, several, piece)) {
            if (at == 0)
                return size;
            break; /* what lies before it goes first; this segment is made again next time */
        }
        at += size;
    }
    if (at) {
        piece->data = data;
        piece->bytes = at;
        piece->unchanged = true;
        piece->atomic = false;
    }
    return at;
}
