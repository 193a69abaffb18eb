#include "engine/tokenizer/unicode.h"
#include "schemas/err.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { FIRST_MARK = 0x300 }; /* below it every character is its own normal form, and no mark */

static const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

/* Every control character but the white ones is "other". */
#define S CLASS_SPACE
#define L CLASS_LETTER
#define N CLASS_NUMBER
#define P CLASS_OTHER
const uint8_t unicode_ascii_class[128] = {
    P, P, P, P, P, P, P, P, P, S, S, S, S, S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P,
    S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, N, N, N, N, N, N, N, N, N, N, P, P, P, P, P, P,
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, P,
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, P};
#undef S
#undef L
#undef N
#undef P

static bool is_white(int32_t code)
{
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static enum unicode_class class_of(int32_t code, unsigned category)
{
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return CLASS_LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO)
        return CLASS_NUMBER;
    return is_white(code) ? CLASS_SPACE : CLASS_OTHER;
}

static bool is_joining_jamo(int32_t code)
{
    return (code >= 0x1161 && code <= 0x1175) || (code >= 0x11A8 && code <= 0x11C2);
}

static void look_up(int32_t code, struct unicode_char *out)
{
    const utf8proc_property_t *p = utf8proc_get_property(code);

    out->code = code;
    out->class = class_of(code, (unsigned)p->category);
    out->broken = false;
    out->plain = code < FIRST_MARK || p->decomp_seqindex == UINT16_MAX || p->decomp_type != 0;
    out->joins = code >= FIRST_MARK &&
                 (p->combining_class || is_joining_jamo(code) ||
                  (p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME));
}

/* The bytes that a first byte promises (0: it begins nothing), and what the second may be: overlong forms,
 * surrogates and what lies beyond 10FFFF are ill-formed from their second byte on, so that the
 * maximal piece before it is the first byte alone. */
static size_t promise(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xBF;
    switch (first) {
    case 0xE0:
        *low = 0xA0;
        break;
    case 0xED:
        *high = 0x9F;
        break;
    case 0xF0:
        *low = 0x90;
        break;
    case 0xF4:
        *high = 0x8F;
        break;
    default:
        break;
    }
    return first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

size_t unicode_next(const uint8_t *data, size_t bytes, bool end, struct unicode_char *out)
{
    uint8_t low, high;
    size_t want, at = 1;
    int32_t code = data[0];

    if (code < 0x80) {
        *out = (struct unicode_char){code, unicode_ascii_class[code], false, true, false};
        return 1;
    }
    want = promise(data[0], &low, &high);
    code &= 0x7F >> want;
    for (; at < want && at < bytes && data[at] >= low && data[at] <= high; at++) {
        code = code << 6 | (data[at] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    if (at < want && at == bytes && !end)
        return 0;
    if (want == 0 || at < want) {
        *out = (struct unicode_char){UNICODE_REPLACEMENT, CLASS_OTHER, false, true, true};
        return at;
    }
    look_up(code, out);
    return want;
}

size_t unicode_next_valid(const uint8_t *data, enum unicode_class *class)
{
    uint32_t a = data[0];
    int32_t code;
    size_t bytes = 2;

    if (a < 0x80) {
        *class = unicode_ascii_class[a];
        return 1;
    }
    code = (int32_t)((a & 0x1F) << 6 | (data[1] & 0x3F));
    if (a >= 0xE0) {
        code = (code & 0x3FF) << 6 | (data[2] & 0x3F);
        bytes = 3;
    }
    if (a >= 0xF0) {
        code = (code & 0x7FFF) << 6 | (data[3] & 0x3F);
        bytes = 4;
    }
    *class = class_of(code, (unsigned)utf8proc_get_property(code)->category);
    return bytes;
}

size_t unicode_encode(int32_t code, uint8_t *out)
{
    return (size_t)utf8proc_encode_char(code, out);
}

static size_t decompose(int32_t code, int32_t *out)
{
    utf8proc_ssize_t count = utf8proc_decompose_char(code, out, UNICODE_NFC_MOST, options, NULL);

    require(count > 0 && count <= UNICODE_NFC_MOST);
    return (size_t)count;
}

/* ---- Where text may be cut ---- */

static int by_code(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

/* They are the last characters of what NFC leaves whole though it falls apart. */
void unicode_seconds_find(struct unicode_seconds *out)
{
    int32_t parts[UNICODE_NFC_MOST];
    size_t kept = 0;

    out->count = 0;
    for (int32_t code = 0xC0; code < 0x110000; code++) {
        const utf8proc_property_t *p = utf8proc_get_property(code);
        size_t count;
        if (p->decomp_seqindex == UINT16_MAX || p->decomp_type)
            continue;
        count = decompose(code, parts);
        if (count < 2)
            continue;
        int32_t last = parts[count - 1];
        if (utf8proc_normalize_utf32(parts, (utf8proc_ssize_t)count, options) != 1)
            continue;
        require(out->count < UNICODE_SECONDS_MAX);
        out->codes[out->count++] = last;
    }
    qsort(out->codes, out->count, sizeof *out->codes, by_code);
    for (size_t i = 0; i < out->count; i++)
        if (kept == 0 || out->codes[i] != out->codes[kept - 1])
            out->codes[kept++] = out->codes[i];
    out->count = kept;
}

bool unicode_is_clean(const struct unicode_seconds *seconds, int32_t code)
{
    int32_t parts[UNICODE_NFC_MOST];
    size_t count;

    if (code < FIRST_MARK)
        return true;
    if (utf8proc_get_property(code)->combining_class)
        return false;
    count = decompose(code, parts);
    if (utf8proc_get_property(parts[0])->combining_class || is_joining_jamo(parts[0]) ||
        bsearch(parts, seconds->codes, seconds->count, sizeof *parts, by_code))
        return false;
    return utf8proc_normalize_utf32(parts, (utf8proc_ssize_t)count, options) == 1;
}

/* ---- Normal form C ---- */

static unsigned order_of(int32_t code)
{
    return (unsigned)utf8proc_get_property(code)->combining_class;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Sort a run of marks by combining class, those of one class as they were: the place is in the key. */
static void sort_marks(int32_t *codes, size_t count, uint64_t *keys)
{
    bool sorted = true;

    for (size_t i = 1; sorted && i < count; i++)
        sorted = order_of(codes[i - 1]) <= order_of(codes[i]);
    if (sorted)
        return;
    for (size_t i = 0; i < count; i++)
        keys[i] = (uint64_t)order_of(codes[i]) << 53 | (uint64_t)i << 21 | (uint32_t)codes[i];
    qsort(keys, count, sizeof *keys, by_key);
    for (size_t i = 0; i < count; i++)
        codes[i] = (int32_t)(keys[i] & 0x1FFFFF);
}

size_t unicode_compose(int32_t *codes, size_t count, uint64_t *keys)
{
    int32_t *from = codes + (UNICODE_NFC_MOST - 1) * count;
    size_t all = 0, begin;
    utf8proc_ssize_t left;

    /* What is not yet read stands at the end of the room, always behind what is written. */
    memmove(from, codes, count * sizeof *codes);
    for (size_t i = 0; i < count; i++) {
        int32_t parts[UNICODE_NFC_MOST];
        size_t of_one = decompose(from[i], parts);
        memcpy(codes + all, parts, of_one * sizeof *codes);
        all += of_one;
    }
    for (size_t at = 0; at < all;) {
        for (begin = at; at < all && order_of(codes[at]); at++)
            ;
        sort_marks(codes + begin, at - begin, keys);
        at += at < all;
    }
    left = utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)all, options);
    require(left > 0 && (size_t)left <= all);
    return (size_t)left;
}
