#include "stages/encode/analysis/sentences.h"
#include "schemas/utf8.h"

#include <math.h>

enum { POINT_BYTES = 4 };

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

size_t sentences_add(struct sentences *s, struct view text, float nats, uint64_t begin,
                     uint32_t source_bytes, size_t from)
{
    size_t at = from;

    if (s->bytes == 0)
        s->base = begin + (from < source_bytes ? from : source_bytes);
    for (; at < text.bytes && s->bytes < SENTENCES_HELD; at++) {
        uint64_t inside = at < source_bytes ? at : source_bytes;
        s->text[s->bytes] = text.data[at];
        s->nats[s->bytes] = nats;
        s->offsets[s->bytes] = (uint32_t)(begin - s->base + inside);
        s->bytes++;
    }
    s->end = begin + (at < text.bytes && at < source_bytes ? at : source_bytes);
    return at - from;
}

/* The first count bytes go. */
static void drop(struct sentences *s, size_t count)
{
    s->bytes -= count;
    s->known = 0;
    memmove(s->text, s->text + count, s->bytes);
    memmove(s->nats, s->nats + count, s->bytes * sizeof *s->nats);
    memmove(s->offsets, s->offsets + count, s->bytes * sizeof *s->offsets);
    if (s->bytes) {
        uint32_t first = s->offsets[0];
        s->base += first;
        for (size_t i = 0; i < s->bytes; i++)
            s->offsets[i] -= first;
    }
}

/* ---- Where a sentence ends ---- */

static size_t point_at(const struct sentences *s, size_t at, utf8proc_int32_t *point)
{
    return utf8_next((struct view){s->text, s->bytes}, at, point);
}

static bool is_among(utf8proc_int32_t point, const utf8proc_int32_t *list)
{
    while (*list && *list != point)
        list++;
    return *list != 0;
}

static bool ends(utf8proc_int32_t point)
{
    static const utf8proc_int32_t list[] = {'.', '!', '?', 0x2026, 0x061F, 0x06D4, 0x0964, 0};
    return is_among(point, list);
}

/* Full width: no white space stands behind it. */
static bool ends_wide(utf8proc_int32_t point)
{
    static const utf8proc_int32_t list[] = {0x3002, 0xFF01, 0xFF1F, 0xFF0E, 0};
    return is_among(point, list);
}

static bool closes(utf8proc_int32_t point)
{
    if (point == '"' || point == '\'' || point == '_' || point == '*')
        return true;
    switch (point < 0 ? UTF8PROC_CATEGORY_CN : utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PI: /* German closes with what opens elsewhere */
        return true;
    default:
        return false;
    }
}

static bool is_abbreviation(const uint8_t *word, size_t bytes)
{
    static const char *const list[] = {"mr",  "mrs",  "ms",  "dr",     "st",  "prof", "rev", "gen",
                                       "col", "capt", "lt",  "sgt",    "hon", "mme",  "jr",  "vs",
                                       "cf",  "e.g",  "i.e", "approx", "vol", "fig",  "pp",  "ca"};

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        size_t k = 0;
        while (k < bytes && list[i][k] && (word[k] | 0x20) == (uint8_t)(list[i][k] | 0x20))
            k++;
        if (k == bytes && !list[i][k])
            return true;
    }
    return false;
}

/* Does the full stop at text[at], of a sentence that begins at 0, end none? */
static bool is_inside(const struct sentences *s, size_t at)
{
    size_t begin = at, bytes;
    bool digits = true;

    while (begin > 0 && !is_space(s->text[begin - 1]) && !strchr("(\"'[", s->text[begin - 1]))
        begin--;
    bytes = at - begin;
    for (size_t i = begin; i < at; i++)
        digits = digits && s->text[i] >= '0' && s->text[i] <= '9';
    if (begin == 0 && digits)
        return true;
    if (bytes == 1 && s->text[begin] >= 'A' && s->text[begin] <= 'Z')
        return true;
    return is_abbreviation(s->text + begin, bytes);
}

/* Behind all white space at text[at]; *blank: a blank line is in it; *known: something stands behind it. */
static size_t across(const struct sentences *s, size_t at, bool *blank, bool *known)
{
    unsigned lines = 0;

    while (at < s->bytes && is_space(s->text[at]))
        lines += s->text[at++] == '\n';
    *blank = lines > 1;
    *known = at < s->bytes;
    return at;
}

static bool is_small(const struct sentences *s, size_t at)
{
    utf8proc_int32_t point;

    point_at(s, at, &point);
    return point >= 0 && utf8proc_category(point) == UTF8PROC_CATEGORY_LL;
}

enum verdict { NO_END, UNKNOWN, END };

/* Behind what ends and closes at text[at]. *stop: a full stop is all that ends there. */
static size_t behind_ends(const struct sentences *s, size_t at, bool *stop, bool *wide)
{
    utf8proc_int32_t point, last = 0;

    *stop = true;
    *wide = false;
    while (at < s->bytes) {
        size_t bytes = point_at(s, at, &point);
        if (!ends(point) && !ends_wide(point) && !(last && closes(point)))
            break;
        *stop = *stop && (point == '.' || last) && !(ends(point) && last);
        *wide = *wide || ends_wide(point);
        last = point;
        at += bytes;
    }
    return at;
}

/* A character that ends stands at text[*at] of a sentence that begins at 0. END: *at is behind the sentence;
 * NO_END: where to look on. */
static enum verdict judge(const struct sentences *s, size_t *at, bool over)
{
    bool stop, wide, blank, known;
    size_t mark = *at, behind = behind_ends(s, mark, &stop, &wide);
    size_t next = across(s, behind, &blank, &known);

    *at = behind;
    if (blank)
        return END;
    if (!over && (!known || (s->text[next] >= 0x80 && s->bytes - next < POINT_BYTES)))
        return UNKNOWN;
    if (!known || wide)
        return END;
    if (next == behind || (stop ? is_inside(s, mark) : is_small(s, next)))
        return NO_END;
    return END;
}

/* Too long: behind the last white space in the second half, else between characters. */
static size_t cut_at(const struct sentences *s)
{
    size_t at = SENTENCE_MAX;

    while (at > SENTENCE_MAX / 2 && !is_space(s->text[at - 1]))
        at--;
    if (at > SENTENCE_MAX / 2)
        return at;
    at = SENTENCE_MAX;
    while (at > SENTENCE_MAX - POINT_BYTES && (s->text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

/* Where the sentence that begins at 0 ends; 0: not known yet. */
static size_t find_end(struct sentences *s, bool over)
{
    size_t at = s->known;

    for (; at < s->bytes && at < SENTENCE_MAX; s->known = at) {
        utf8proc_int32_t point;
        size_t bytes = point_at(s, at, &point);
        bool blank = false, known = true;
        if (point < 0 && s->bytes - at < POINT_BYTES && !over)
            return 0;
        if (ends(point) || ends_wide(point)) {
            enum verdict verdict = judge(s, &at, over);
            if (verdict != NO_END)
                return verdict == UNKNOWN ? 0 : at <= SENTENCE_MAX ? at : cut_at(s);
            continue;
        }
        if (point == '\n')
            across(s, at, &blank, &known);
        if (blank)
            return at;
        if (!known && !over)
            return 0;
        at += bytes;
    }
    if (s->bytes > SENTENCE_MAX)
        return cut_at(s);
    return over ? s->bytes : 0;
}

bool sentences_next(struct sentences *s, bool over, struct sentence *out)
{
    size_t first = s->taken, end, last;

    s->taken = 0;
    while (first < s->bytes && is_space(s->text[first]))
        first++;
    if (first)
        drop(s, first);
    end = find_end(s, over || s->bytes == SENTENCES_HELD);
    if (!end)
        return false;
    for (last = end; is_space(s->text[last - 1]);)
        last--; /* the first character is none */
    *out = (struct sentence){.begin = s->base,
                             .end = last < s->bytes ? s->base + s->offsets[last] : s->end,
                             .text = {s->text, last},
                             .nats = s->nats};
    s->taken = end;
    return true;
}

void sentences_save(const struct sentences *s, struct buffer *out)
{
    buffer_u16(out, (uint16_t)s->bytes);
    buffer_u64(out, s->base);
    buffer_u64(out, s->end);
    buffer_put(out, s->text, s->bytes);
    for (size_t i = 0; i < s->bytes; i++) {
        uint32_t bits;
        memcpy(&bits, &s->nats[i], sizeof bits);
        buffer_u32(out, bits);
        buffer_u32(out, s->offsets[i]);
    }
}

bool sentences_load(struct sentences *s, struct reader *r)
{
    const uint8_t *text;

    *s = (struct sentences){.bytes = read_u16(r)};
    s->base = read_u64(r);
    s->end = read_u64(r);
    text = s->bytes <= SENTENCES_HELD ? read_bytes(r, s->bytes) : NULL;
    if (!text)
        return false;
    memcpy(s->text, text, s->bytes);
    for (size_t i = 0; i < s->bytes; i++) {
        uint32_t bits = read_u32(r);
        memcpy(&s->nats[i], &bits, sizeof bits);
        s->offsets[i] = read_u32(r);
        if (!isfinite(s->nats[i]) || s->offsets[i] < s->offsets[i ? i - 1 : 0])
            return false;
    }
    return !r->short_read && (!s->bytes || s->offsets[0] == 0);
}
