/* engine/tokenizer/carried.c: the World vocabulary that travels in a GGUF file, spec/formats.md section 3.2,
 * or as the text of a World file in the metadata of a safetensors file (key "riverrun.vocabulary").
 *
 * In GGUF * A text is Python's repr without its quotes: \t \n \r \xNN, and a backslash before any other character
 * stands for that character. Id 0 is the end of text, which no text becomes; unused ids are [PADn]. Neither
 * is a token here, so that the vocabulary is the file's of World, fingerprint and all. */
#include "engine/formats/formats.h"
#include "engine/tokenizer/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_UNUSED = 5 };

static int digit_of(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Returns the bytes of text unescaped, 0 with *why where it cannot be. */
static size_t unescape(struct view text, uint8_t out[WORLD_TOKEN_MAX], const char **why)
{
    struct reader r = reader_of(text.data, text.bytes);
    size_t count = 0;

    *why = "empty";
    while (r.at < r.end) {
        uint8_t c = read_u8(&r);
        if (c == '\\') {
            c = read_u8(&r);
            *why = "ends in a backslash";
            if (r.short_read)
                return 0;
            if (c == 'x') {
                int high = digit_of(read_u8(&r)), low = digit_of(read_u8(&r));
                *why = "\\x without two hexadecimal digits";
                if (high < 0 || low < 0)
                    return 0;
                c = (uint8_t)(high << 4 | low);
            } else {
                c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
            }
        }
        *why = "too long";
        if (count == WORLD_TOKEN_MAX)
            return 0;
        out[count++] = c;
    }
    return count;
}

/* Is it one of those at the end that stand for nothing? Asked whatever its type: not all writers say. */
static bool is_padding(struct view text, uint64_t id)
{
    char name[32];
    int bytes = snprintf(name, sizeof name, "[PAD%llu]", (unsigned long long)id);

    return text.bytes == (size_t)bytes && !memcmp(text.data, name, text.bytes);
}

static enum err_code add(struct tokenizer *t, uint64_t id, struct view text, int32_t type,
                         struct err *err)
{
    uint8_t bytes[WORLD_TOKEN_MAX];
    const char *why;
    size_t count;

    if (type == TYPE_CONTROL || type == TYPE_UNUSED || id == 0)
        return ERR_OK;
    if (type != TYPE_NORMAL)
        return err_set(err, ERR_INPUT, 0, "type %d is not known", type);
    count = unescape(text, bytes, &why);
    if (count == 0)
        return err_set(err, ERR_INPUT, 0, "%s", why);
    if (id >= TOKEN_IDS_MAX)
        return err_set(err, ERR_INPUT, 0, "ids below %d are allowed", TOKEN_IDS_MAX);
    return vocabulary_add(t, (uint32_t)id, bytes, count, err);
}

enum err_code carried_read(struct tokenizer *t, const struct container *c, struct err *err)
{
    const struct container_vocabulary *v = &c->vocabulary;
    struct reader r = reader_of(v->texts, (size_t)(c->map + c->bytes - v->texts));
    struct err why;

    t->name = "world";
    t->token_max = WORLD_TOKEN_MAX;
    for (uint64_t id = 0; id < v->count; id++) {
        struct view text = {NULL, 0};
        uint64_t bytes = read_u64(&r);
        int32_t type = v->types ? (int32_t)load_u32(v->types + 4 * id) : TYPE_NORMAL;
        text.data = bytes <= SIZE_MAX ? read_bytes(&r, (size_t)bytes) : NULL;
        text.bytes = (size_t)bytes;
        if (r.short_read)
            return err_set(err, ERR_INPUT, 0, "vocabulary of model '%.200s', token %llu: cut off",
                           c->path, (unsigned long long)id);
        if (is_padding(text, id))
            type = TYPE_UNUSED;
        if (add(t, id, text, type, &why))
            return err_set(err, why.code, 0, "vocabulary of model '%.200s', token %llu: %.120s",
                           c->path, (unsigned long long)id, why.text);
    }
    if (vocabulary_finish(t, &why))
        return err_set(err, why.code, 0, "vocabulary of model '%.200s': %.150s", c->path, why.text);
    return ERR_OK;
}

/* As `riverrun train` leaves it. */
static enum err_code fill_text(struct tokenizer *t, const struct container *c, struct err *err)
{
    const uint8_t *text = (const uint8_t *)c->vocabulary_text;

    return world_read(t, c->path, (struct view){text, strlen(c->vocabulary_text)}, err);
}

enum err_code tokenizer_of_container(struct tokenizer **out, const struct container *c,
                                     struct err *err)
{
    struct tokenizer *t;
    enum err_code code;

    if (c->vocabulary.count == 0 && !c->vocabulary_text)
        return err_set(err, ERR_ABSENT, 0, "model '%s' carries no vocabulary", c->path);
    t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, ERR_MEMORY, 0, "vocabulary of model '%s'", c->path);
    code = c->vocabulary.count ? carried_read(t, c, err) : fill_text(t, c, err);
    if (code)
        tokenizer_close(&t);
    else
        *out = t;
    return code;
}

enum err_code tokenizer_open_model(struct tokenizer **out, const char *path, struct err *err)
{
    struct container *c = NULL;
    enum err_code code = container_open(&c, path, err);

    if (!code)
        code = tokenizer_of_container(out, c, err);
    container_close(&c);
    return code;
}

enum err_code tokenizer_check_model(const struct tokenizer *tokenizer, const char *vocab,
                                    const char *path, struct err *err)
{
    struct tokenizer *own = NULL;
    struct err none;
    bool other = !tokenizer_open_model(&own, path, &none) &&
                 tokenizer_fingerprint(own) != tokenizer_fingerprint(tokenizer);

    tokenizer_close(&own);
    return other ? err_set(err, ERR_MISMATCH, 0,
                           "'%s' is not the vocabulary that model '%s' carries: leave out --vocab",
                           vocab, path)
                 : ERR_OK;
}
