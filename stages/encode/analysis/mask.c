#include "stages/encode/analysis/mask.h"

#include <xxhash.h>

enum { HEX_LEAST = 8, JOINS_MOST = 8 };

static const uint8_t wild[] = "<*>";
enum { WILD_BYTES = sizeof wild - 1 };

/* A token as it grows. */
struct token {
    uint8_t text[MASK_TOKEN_BYTES];
    size_t bytes;
    size_t behind_wild; /* where the last <*> ended; 0: none */
};

uint32_t mask_hash(const uint8_t *token, size_t bytes)
{
    return (uint32_t)XXH3_64bits(token, bytes);
}

uint32_t mask_wild(void)
{
    return mask_hash(wild, WILD_BYTES);
}

static bool is_blank(uint8_t byte)
{
    return byte <= ' ';
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(uint8_t byte)
{
    return is_digit(byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f');
}

/* Bytes of other scripts are letters. */
static bool is_word(uint8_t byte)
{
    return is_digit(byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || byte >= 0x80;
}

static bool is_path(uint8_t byte)
{
    return is_word(byte) || (byte && strchr("/_-.%+~", byte));
}

static bool is_date_name(const uint8_t *word, size_t bytes)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDecMonTueWedThuFriSatSun";

    for (size_t i = 0; bytes == 3 && names[i]; i += 3)
        if (memcmp(names + i, word, 3) == 0)
            return true;
    return false;
}

static bool varies(const uint8_t *word, size_t bytes)
{
    bool hex = true;

    for (size_t i = 0; i < bytes; i++) {
        if (is_digit(word[i]))
            return true;
        hex = hex && is_hex(word[i]);
    }
    return (hex && bytes >= HEX_LEAST) || is_date_name(word, bytes);
}

static void put(struct token *t, const uint8_t *text, size_t bytes)
{
    size_t room = sizeof t->text - t->bytes;

    bytes = bytes < room ? bytes : room;
    memcpy(t->text + t->bytes, text, bytes);
    t->bytes += bytes;
}

/* Little enough, and nothing but letters and what stands in names: R02-M1-N0-C:J12 is one name. */
static bool joins(const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!is_word(text[i]) && !strchr(".:-_,/+@", text[i]))
            return false;
    return bytes <= JOINS_MOST;
}

/* With the sign of a number, and with what joins it to the <*> before it. */
static void put_wild(struct token *t)
{
    size_t since = t->bytes - t->behind_wild;
    uint8_t last = t->bytes ? t->text[t->bytes - 1] : 0;

    if (t->behind_wild && joins(t->text + t->behind_wild, since)) {
        t->bytes = t->behind_wild;
        return;
    }
    if (since && (last == '-' || last == '+') && (since == 1 || !is_word(t->text[t->bytes - 2])))
        t->bytes--;
    put(t, wild, WILD_BYTES);
    t->behind_wild = t->bytes;
}

/* Bytes of a path, a word or a single one that begin at text[at]. */
static size_t piece(const uint8_t *text, size_t bytes, size_t at, bool *path)
{
    size_t end = at + 1;

    *path =
        text[at] == '/' && (at == 0 || !is_word(text[at - 1])) && end < bytes && is_path(text[end]);
    if (*path || is_word(text[at]))
        while (end < bytes && (*path ? is_path(text[end]) : is_word(text[end])))
            end++;
    return end - at;
}

/* Cut at a character's edge where it was too long; of what is no text one byte stays, for no token is empty. */
static void trim(struct token *t)
{
    if (t->bytes < sizeof t->text)
        return;
    while (t->bytes > 1 && (t->text[t->bytes - 1] & 0xC0) == 0x80)
        t->bytes--;
    if (t->bytes > 1 && t->text[t->bytes - 1] >= 0xC0)
        t->bytes--;
}

static void mask_token(const uint8_t *text, size_t bytes, struct token *t)
{
    size_t length;

    *t = (struct token){.bytes = 0};
    for (size_t at = 0; at < bytes && t->bytes < sizeof t->text; at += length) {
        bool path;
        length = piece(text, bytes, at, &path);
        if (path || (is_word(text[at]) && varies(text + at, length)))
            put_wild(t);
        else
            put(t, text + at, length);
    }
    trim(t);
}

static bool add_token(struct masked *out, const struct token *t)
{
    size_t space = out->count > 0;

    if (out->count == MASK_TOKENS_MAX || out->bytes + space + t->bytes > MASK_TEXT_MAX)
        return false;
    if (space)
        out->text[out->bytes++] = ' ';
    memcpy(out->text + out->bytes, t->text, t->bytes);
    out->bytes = (uint16_t)(out->bytes + t->bytes);
    out->hashes[out->count++] = mask_hash(t->text, t->bytes);
    return true;
}

void mask_line(struct view text, struct masked *out)
{
    size_t at = 0;
    bool room = true;

    out->count = 0;
    out->bytes = 0;
    while (at < text.bytes && is_blank(text.data[at]))
        at++;
    while (room && at < text.bytes && text.data[at] != '\n') {
        size_t end = at;
        struct token token;
        while (end < text.bytes && !is_blank(text.data[end]))
            end++;
        if (end > at) {
            mask_token(text.data + at, end - at, &token);
            room = add_token(out, &token);
        }
        at = end;
        while (at < text.bytes && is_blank(text.data[at]) && text.data[at] != '\n')
            at++;
    }
}
