/* engine/tokenizer/world.c: the vocabulary file of World, spec/tokenizers.md section 1.1.
 *
 *     ID SPACE LITERAL SPACE LENGTH, then LF or CR LF
 *
 * LITERAL is Python's: '...', "..." or b'...', and may hold spaces, so it lies between the first space
 * and the last. In a plain literal \xNN is a code point, in a b literal a byte. LENGTH counts bytes. */
#include "engine/tokenizer/vocabulary.h"
#include "schemas/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LITERAL_BYTES_MAX = 8 * WORLD_TOKEN_MAX };

/* ---- Numbers and literals; a reason in words where they fail, NULL where they do not. ---- */

static bool number_of(struct view text, uint32_t *out)
{
    uint32_t value = 0;

    if (text.bytes == 0 || text.bytes > 8)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = 10 * value + (uint32_t)(text.data[i] - '0');
    }
    *out = value;
    return true;
}

static bool hex_of(struct reader *r, int digits, uint32_t *out)
{
    *out = 0;
    while (digits-- > 0) {
        uint8_t c = read_u8(r);
        uint32_t digit = c >= '0' && c <= '9'   ? c - '0' + 0u
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10u
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10u
                                                : 16u;
        if (digit > 15)
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

struct token {
    uint8_t bytes[LITERAL_BYTES_MAX];
    size_t count;
};

static void put(struct token *token, uint32_t byte)
{
    token->bytes[token->count++] = (uint8_t)byte;
}

static void put_utf8(struct token *token, uint32_t c)
{
    if (c < 0x80) {
        put(token, c);
    } else if (c < 0x800) {
        put(token, 0xC0 | c >> 6);
        put(token, 0x80 | (c & 0x3F));
    } else {
        put(token, 0xE0 | c >> 12);
        put(token, 0x80 | (c >> 6 & 0x3F));
        put(token, 0x80 | (c & 0x3F));
    }
}

static const char *put_escape(struct token *token, struct reader *r, bool bytes)
{
    uint8_t letter = read_u8(r);
    uint32_t value;

    switch (letter) {
    case '\\':
    case '\'':
        put(token, letter);
        return NULL;
    case 'n':
        put(token, '\n');
        return NULL;
    case 'r':
        put(token, '\r');
        return NULL;
    case 't':
        put(token, '\t');
        return NULL;
    case 'x':
        if (!hex_of(r, 2, &value))
            return "\\x without two hexadecimal digits";
        if (bytes)
            put(token, value);
        else
            put_utf8(token, value);
        return NULL;
    case 'u':
        if (bytes || !hex_of(r, 4, &value) || (value >= 0xD800 && value < 0xE000))
            return "\\u that is no character";
        put_utf8(token, value);
        return NULL;
    default:
        return "an escape that is not known";
    }
}

static const char *literal(struct token *token, struct view text)
{
    struct reader r = reader_of(text.data, text.bytes);
    uint8_t quote = read_u8(&r);
    bool bytes = quote == 'b';

    token->count = 0;
    if (bytes)
        quote = read_u8(&r);
    if (quote != '\'' && (quote != '"' || bytes))
        return "no literal in quotes";
    if (text.bytes > LITERAL_BYTES_MAX)
        return "a literal that is too long";
    while (r.at < r.end) {
        uint8_t c = read_u8(&r);
        const char *fault = NULL;
        if (c == quote)
            return r.at == r.end ? NULL : "a quote inside the literal";
        if (c == '\\')
            fault = put_escape(token, &r, bytes);
        else if (bytes && c >= 0x80)
            fault = "a byte above 7F in a b literal";
        else
            put(token, c);
        if (fault)
            return fault;
    }
    return "a literal without its closing quote";
}

/* ---- Lines ---- */

static const char *parse_line(struct view line, uint32_t *id, struct token *token)
{
    const uint8_t *first = memchr(line.data, ' ', line.bytes);
    const uint8_t *last = line.bytes ? memrchr(line.data, ' ', line.bytes) : NULL;
    const uint8_t *end = line.data + line.bytes;
    uint32_t length;
    const char *fault;

    if (!first || first == last)
        return "not ID LITERAL LENGTH";
    if (!number_of((struct view){line.data, (size_t)(first - line.data)}, id) || *id == 0)
        return "no id from 1 on at its start";
    if (!number_of((struct view){last + 1, (size_t)(end - last - 1)}, &length))
        return "no length at its end";
    fault = literal(token, (struct view){first + 1, (size_t)(last - first - 1)});
    if (fault)
        return fault;
    return token->count == length ? NULL : "a length that is not the literal's";
}

static enum err_code parse_file(struct tokenizer *t, const char *path, struct view file,
                                struct err *err)
{
    const uint8_t *at = file.data, *end = file.data + file.bytes;
    struct token token;

    for (size_t number = 1; at < end; number++) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        struct view line = {at, (size_t)((newline ? newline : end) - at)};
        const char *fault;
        struct err why;
        uint32_t id;
        at = newline ? newline + 1 : end;
        if (line.bytes && line.data[line.bytes - 1] == '\r')
            line.bytes--;
        fault = parse_line(line, &id, &token);
        if (fault)
            return err_set(err, ERR_INPUT, 0, "vocabulary '%.200s', line %zu: %s", path, number,
                           fault);
        if (vocabulary_add(t, id, token.bytes, token.count, &why))
            return err_set(err, why.code, 0, "vocabulary '%.200s', line %zu: %.100s", path, number,
                           why.text);
    }
    return ERR_OK;
}

enum err_code world_read(struct tokenizer *t, const char *path, struct view file, struct err *err)
{
    struct err why;
    enum err_code code;

    t->name = "world";
    t->token_max = WORLD_TOKEN_MAX;
    code = parse_file(t, path, file, err);
    if (code)
        return code;
    code = vocabulary_finish(t, &why);
    return code ? err_set(err, code, 0, "vocabulary '%.200s': %.150s", path, why.text) : ERR_OK;
}

/* ---- Writing. ---- */

static void put_literal(struct buffer *b, const uint8_t *bytes, size_t count)
{
    char text[8];

    buffer_put(b, "b'", 2);
    for (size_t i = 0; i < count; i++) {
        int length;
        if (bytes[i] == '\\' || bytes[i] == '\'')
            length = snprintf(text, sizeof text, "\\%c", bytes[i]);
        else if (bytes[i] < ' ' || bytes[i] > '~')
            length = snprintf(text, sizeof text, "\\x%02x", bytes[i]);
        else
            length = snprintf(text, sizeof text, "%c", bytes[i]);
        buffer_put(b, text, (size_t)length);
    }
    buffer_put(b, "'", 1);
}

static void write_lines(const struct tokenizer *t, struct buffer *b)
{
    char text[24];

    for (uint32_t id = 1; id < t->vocab; id++) {
        size_t count;
        const uint8_t *bytes = tokenizer_text(t, id, &count);
        if (!count)
            continue;
        buffer_put(b, text, (size_t)snprintf(text, sizeof text, "%u ", id));
        put_literal(b, bytes, count);
        buffer_put(b, text, (size_t)snprintf(text, sizeof text, " %zu\n", count));
    }
}

enum err_code world_text(const struct tokenizer *t, char **out, struct err *err)
{
    struct buffer text = buffer_of(WORLD_TEXT_MAX);

    write_lines(t, &text);
    buffer_u8(&text, 0);
    if (text.refused) {
        buffer_release(&text);
        return err_set(err, ERR_MEMORY, 0, "the text of a vocabulary");
    }
    *out = (char *)text.data;
    return ERR_OK;
}
