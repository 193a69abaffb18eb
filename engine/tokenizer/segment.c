/* engine/tokenizer/segment.c: text to segments, and a segment to tokens.
 *
 * A segment ends where two adjacent characters a|b say that text may be cut whatever is around them:
 *
 *   Rule A  a is not white space, b is.
 *   Rule B  a and b are of different classes among letters, numbers and others; a is none of ' < |, b
 *           neither | nor >; NFC leaves each of them one character and joins neither to what is before.
 *
 * and after TOKENIZER_SEGMENT_MAX characters in any case. So what a segment becomes depends on it alone:
 *
 *   special strings (if asked for) -> repair and NFC -> runs of spaces -> the pattern of GPT-2 -> BPE
 *
 * Source bytes are followed through repair and NFC by a map: for each byte of text the source bytes that
 * end with it. Most segments need neither, and have no map: they are their own text. */
#include "engine/tokenizer/neox.h"

#include <stdlib.h>
#include <string.h>

enum { TRIM_BYTES = 16 * 1024 }; /* a segment of so much text is rare: its pages are given back */

struct segmenter {
    const struct tokenizer *tokenizer;
    struct bpe bpe;
    struct tokenizer_token *tokens; /* (NEOX_TEXT_MAX), as the next three */
    uint8_t *text;
    uint32_t *map, *ids;
    size_t token_count, text_bytes;

    /* How far the segment at hand has been looked through. */
    size_t seen;    /* bytes */
    uint32_t chars; /* in them */
    uint32_t repaired;
    struct unicode_char last;
    bool changes; /* repair or NFC may change it */

    /* A character and what joins it: (TOKENIZER_SEGMENT_MAX), the first and the last UNICODE_NFC_MOST times. */
    int32_t *codes, *before;
    uint8_t *sizes; /* of the source */
    uint64_t *keys;
};

enum err_code segmenter_open(struct segmenter **out, const struct tokenizer *tokenizer,
                             struct err *err)
{
    const size_t chars = TOKENIZER_SEGMENT_MAX;
    struct segmenter *s = calloc(1, sizeof *s);
    enum err_code code;

    if (!s)
        return err_set(err, ERR_MEMORY, 0, "a reader of text");
    s->tokenizer = tokenizer;
    code = bpe_open(&s->bpe, tokenizer->neox, err);
    s->tokens = malloc(NEOX_TEXT_MAX * sizeof *s->tokens);
    s->text = malloc(NEOX_TEXT_MAX);
    s->map = malloc(NEOX_TEXT_MAX * sizeof *s->map);
    s->ids = malloc(NEOX_TEXT_MAX * sizeof *s->ids);
    s->codes = malloc(UNICODE_NFC_MOST * chars * sizeof *s->codes);
    s->before = malloc(chars * sizeof *s->before);
    s->sizes = malloc(chars);
    s->keys = malloc(UNICODE_NFC_MOST * chars * sizeof *s->keys);
    if (!code && (!s->tokens || !s->text || !s->map || !s->ids || !s->codes || !s->before ||
                  !s->sizes || !s->keys))
        code = err_set(err, ERR_MEMORY, 0, "a reader of text");
    if (code)
        segmenter_close(&s);
    else
        *out = s;
    return code;
}

void segmenter_close(struct segmenter **segmenter)
{
    struct segmenter *s = *segmenter;

    *segmenter = NULL;
    if (!s)
        return;
    bpe_close(&s->bpe);
    free(s->tokens);
    free(s->text);
    free(s->map);
    free(s->ids);
    free(s->codes);
    free(s->before);
    free(s->sizes);
    free(s->keys);
    free(s);
}

void segmenter_forget(struct segmenter *s)
{
    s->seen = 0;
    s->chars = s->repaired = 0;
    s->changes = false;
}

/* ---- Where it ends ---- */

static bool may_cut(const struct segmenter *s, const struct unicode_char *a,
                    const struct unicode_char *b)
{
    const struct unicode_seconds *seconds = &s->tokenizer->neox->seconds;

    if (a->class == CLASS_SPACE || b->class == CLASS_SPACE)
        return a->class != b->class && b->class == CLASS_SPACE;
    return a->class != b->class && a->code != '\'' && a->code != '<' && a->code != '|' &&
           b->code != '|' && b->code != '>' && unicode_is_clean(seconds, a->code) &&
           unicode_is_clean(seconds, b->code);
}

/* Take ASCII of the class of the last character, between which there is no cut. */
static void see_same(struct segmenter *s, const uint8_t *data, size_t bytes)
{
    size_t most = TOKENIZER_SEGMENT_MAX - s->chars, at = s->seen;

    if (most > bytes - at)
        most = bytes - at;
    most += at;
    while (at < most && data[at] < 0x80 && unicode_ascii_class[data[at]] == s->last.class)
        at++;
    if (at == s->seen)
        return;
    s->last.code = data[at - 1];
    s->chars += (uint32_t)(at - s->seen);
    s->seen = at;
}

/* The bytes of the segment at data, 0 where they cannot be told yet. */
static size_t find_end(struct segmenter *s, const uint8_t *data, size_t bytes, bool end,
                       bool *forced)
{
    struct unicode_char next;
    size_t size;

    *forced = false;
    for (;;) {
        if (s->chars)
            see_same(s, data, bytes);
        if (s->seen == bytes)
            return end ? bytes : 0;
        size = unicode_next(data + s->seen, bytes - s->seen, end, &next);
        if (size == 0)
            return 0;
        if (s->chars && may_cut(s, &s->last, &next))
            return s->seen;
        if (s->chars == TOKENIZER_SEGMENT_MAX) {
            *forced = true;
            return s->seen;
        }
        s->last = next;
        s->chars++;
        s->seen += size;
        s->repaired += next.broken;
        s->changes = s->changes || next.joins || !next.plain || next.broken;
    }
}

/* ---- Tokens ---- */

static void put_token(struct segmenter *s, uint32_t id)
{
    uint32_t bytes = s->tokenizer->lengths[id];

    s->tokens[s->token_count++] = (struct tokenizer_token){id, bytes, bytes};
}

static void put_piece(struct segmenter *s, const uint8_t *text, size_t bytes)
{
    size_t count = bpe_encode(&s->bpe, text, bytes, s->ids);

    for (size_t i = 0; i < count; i++)
        put_token(s, s->ids[i]);
}

/* ---- The pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ---- */

static size_t contraction(const uint8_t *text, size_t bytes)
{
    if (bytes < 2 || text[0] != '\'')
        return 0;
    if (text[1] == 's' || text[1] == 't' || text[1] == 'm' || text[1] == 'd')
        return 2;
    if (bytes > 2 && (((text[1] == 'r' || text[1] == 'v') && text[2] == 'e') ||
                      (text[1] == 'l' && text[2] == 'l')))
        return 3;
    return 0;
}

/* Bytes of the characters of one class at text; *last: of the last of them. */
static size_t run_of(const uint8_t *text, size_t bytes, enum unicode_class class, size_t *last)
{
    enum unicode_class other;
    size_t at = 0, size;

    for (; at < bytes; at += size) {
        size = unicode_next_valid(text + at, &other);
        if (other != class)
            break;
        *last = size;
    }
    return at;
}

/* The piece at text, which is a part: valid, and nothing behind it counts. */
static size_t piece_bytes(const uint8_t *text, size_t bytes)
{
    size_t at = contraction(text, bytes), last = 0;
    enum unicode_class class;

    if (at)
        return at;
    if (text[0] == ' ' && bytes > 1) {
        unicode_next_valid(text + 1, &class);
        if (class != CLASS_SPACE)
            return 1 + run_of(text + 1, bytes - 1, class, &last);
    }
    unicode_next_valid(text, &class);
    at = run_of(text, bytes, class, &last);
    /* White space that something follows leaves it its last character. */
    return class == CLASS_SPACE && at < bytes && at > last ? at - last : at;
}

static void put_part(struct segmenter *s, size_t from, size_t to)
{
    while (from < to) {
        size_t bytes = piece_bytes(s->text + from, to - from);
        put_piece(s, s->text + from, bytes);
        from += bytes;
    }
}

/* ---- Runs of spaces, which part the text ---- */

/* The longest run that is a token, of at most count spaces; 0: none. */
static size_t spaces_taken(const struct neox *neox, size_t count)
{
    if (count > NEOX_SPACES_MAX)
        count = NEOX_SPACES_MAX;
    while (count && neox->spaces[count] == TOKEN_NONE)
        count--;
    return count;
}

static void put_text(struct segmenter *s, size_t from, size_t to)
{
    const struct neox *neox = s->tokenizer->neox;
    size_t at = from, count, taken;

    while (at < to) {
        const uint8_t *space = memchr(s->text + at, ' ', to - at);
        if (!space)
            break;
        at = (size_t)(space - s->text);
        for (count = 1; count < NEOX_SPACES_MAX && at + count < to && s->text[at + count] == ' ';)
            count++;
        taken = spaces_taken(neox, count);
        if (taken == 0) {
            at += count;
            continue;
        }
        put_part(s, from, at);
        put_token(s, neox->spaces[taken]);
        at += taken;
        from = at;
    }
    put_part(s, from, to);
}

/* ---- Repair and NFC ---- */

/* Count bytes of text stand for source bytes: byte for byte where they are as many and not broken, else
 * all of them with the last. */
static void put_map(struct segmenter *s, size_t count, size_t source, bool apart)
{
    for (size_t i = 0; i < count; i++)
        s->map[s->text_bytes + i] = apart ? 1 : i + 1 == count ? (uint32_t)source : 0;
    s->text_bytes += count;
}

/* A character (plain, broken: it alone) and those that join it. Those that come out as they went in stand
 * for themselves; of the rest, all of the source counts with the last byte. */
static void put_cluster(struct segmenter *s, size_t count, bool plain, bool broken)
{
    size_t same = 0, source = 0, bytes = 0, left = count;

    memcpy(s->before, s->codes, count * sizeof *s->codes);
    if (count > 1 || !plain)
        left = unicode_compose(s->codes, count, s->keys);
    for (; same < count && same < left && s->codes[same] == s->before[same]; same++) {
        size_t written = unicode_encode(s->codes[same], s->text + s->text_bytes);
        put_map(s, written, s->sizes[same], !broken || same > 0);
    }
    for (size_t i = same; i < count; i++)
        source += s->sizes[i];
    for (size_t i = same; i < left; i++)
        bytes += unicode_encode(s->codes[i], s->text + s->text_bytes + bytes);
    if (bytes)
        put_map(s, bytes, source, false);
    else
        require(source == 0);
}

static void put_normalized(struct segmenter *s, const uint8_t *data, size_t bytes)
{
    struct unicode_char c;
    size_t at = 0, size, count;

    while (at < bytes) {
        size = unicode_next(data + at, bytes - at, true, &c);
        bool broken = c.broken, plain = c.plain;
        count = 0;
        do {
            s->codes[count] = c.code;
            s->sizes[count++] = (uint8_t)size;
            at += size;
            if (at == bytes)
                break;
            size = unicode_next(data + at, bytes - at, true, &c);
        } while (c.joins);
        put_cluster(s, count, plain, broken);
    }
}

/* ---- A segment ---- */

/* A stretch without special strings. */
static void put_stretch(struct segmenter *s, const uint8_t *data, size_t bytes)
{
    size_t from = s->text_bytes;

    if (bytes == 0)
        return;
    if (s->changes) {
        put_normalized(s, data, bytes);
    } else {
        memcpy(s->text + from, data, bytes);
        s->text_bytes += bytes;
    }
    put_text(s, from, s->text_bytes);
}

/* The longest special string at data, or NULL. */
static const struct neox_special *special_at(const struct neox *neox, const uint8_t *data,
                                             size_t bytes)
{
    const struct neox_special *found = NULL;

    for (size_t i = 0; i < neox->special_count; i++) {
        const struct neox_special *one = &neox->specials[i];
        if (one->length <= bytes && (!found || one->length > found->length) &&
            !memcmp(one->text, data, one->length))
            found = one;
    }
    return found;
}

static void put_segment(struct segmenter *s, const uint8_t *data, size_t bytes)
{
    const struct neox *neox = s->tokenizer->neox;
    const struct neox_special *special;
    size_t from = 0, at = 0;

    while (neox->special_count && at < bytes) {
        special = special_at(neox, data + at, bytes - at);
        if (!special) {
            at++;
            continue;
        }
        put_stretch(s, data + from, at - from);
        memcpy(s->text + s->text_bytes, special->text, special->length);
        put_map(s, special->length, special->length, true);
        put_token(s, special->id);
        at += special->length;
        from = at;
    }
    put_stretch(s, data + from, bytes - from);
}

/* With a map: what of the source each token stands for. */
static void count_source(struct segmenter *s)
{
    const uint32_t *map = s->map;

    for (size_t i = 0; i < s->token_count; i++) {
        struct tokenizer_token *t = &s->tokens[i];
        t->source_bytes = 0;
        for (uint32_t k = 0; k < t->text_bytes; k++)
            t->source_bytes += *map++;
    }
}

static void trim(struct segmenter *s)
{
    const size_t chars = TOKENIZER_SEGMENT_MAX;

    bpe_trim(&s->bpe, s->text_bytes);
    pages_trim(s->tokens, s->token_count * sizeof *s->tokens);
    pages_trim(s->ids, s->token_count * sizeof *s->ids);
    pages_trim(s->map, s->text_bytes * sizeof *s->map);
    pages_trim(s->text, s->text_bytes);
    pages_trim(s->codes, UNICODE_NFC_MOST * chars * sizeof *s->codes);
    pages_trim(s->before, chars * sizeof *s->before);
    pages_trim(s->sizes, chars);
    pages_trim(s->keys, UNICODE_NFC_MOST * chars * sizeof *s->keys);
}

size_t segmenter_next(struct segmenter *s, const uint8_t *data, size_t bytes, bool end,
                      struct tokenizer_piece *piece)
{
    bool forced;
    size_t size;

    require(s->seen <= bytes);
    if (bytes == 0)
        return 0;
    size = find_end(s, data, bytes, end, &forced);
    if (size == 0)
        return 0;
    if (s->text_bytes > TRIM_BYTES)
        trim(s);
    s->text_bytes = s->token_count = 0;
    put_segment(s, data, size);
    if (s->changes)
        count_source(s);
    *piece = (struct tokenizer_piece){s->tokens, s->token_count, s->text, s->repaired, forced};
    segmenter_forget(s);
    return size;
}
