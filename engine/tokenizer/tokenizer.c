/* engine/tokenizer/tokenizer.c: vocabularies by path, the bytes of a token, the next piece of a text. */
#include "engine/tokenizer/neox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 64 << 20 };

struct tokenizer_reader {
    const struct tokenizer *tokenizer;
    struct segmenter *segmenter;  /* of NeoX, else NULL */
    struct tokenizer_token token; /* of World and bytes */
};

/* ---- Opening ---- */

enum err_code tokenizer_open_bytes(struct tokenizer **out, struct err *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    enum err_code code = ERR_OK;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "a vocabulary");
    t->name = "bytes";
    t->token_max = 1;
    for (uint32_t id = 0; id < 256 && !code; id++) {
        uint8_t byte = (uint8_t)id;
        code = vocabulary_add(t, id, &byte, 1, err);
    }
    if (!code)
        code = vocabulary_fingerprint(t, err);
    if (code)
        tokenizer_close(&t);
    else
        *out = t;
    return code;
}

static enum err_code read_file(const char *path, struct view *out, struct err *err)
{
    enum err_code code = ERR_OK;
    uint8_t *data = NULL;
    struct stat about;
    long bytes = -1;
    FILE *file = fopen(path, "rbe");

    if (!file)
        return err_set(err, ERR_SOURCE, errno, "open vocabulary '%s'", path);
    if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        code = err_set(err, ERR_SOURCE, EISDIR, "vocabulary '%s' (give a file in it)", path);
        goto done;
    }
    if (fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (bytes < 0 || fseek(file, 0, SEEK_SET) || bytes > FILE_BYTES_MAX) {
        code = err_set(err, ERR_SOURCE, 0, "vocabulary '%s': no file of at most %d bytes", path,
                       FILE_BYTES_MAX);
        goto done;
    }
    data = malloc((size_t)bytes + 1);
    if (!data) {
        code = err_set(err, ERR_MEMORY, 0, "vocabulary '%s'", path);
        goto done;
    }
    if (fread(data, 1, (size_t)bytes, file) != (size_t)bytes) {
        code = err_set(err, ERR_SOURCE, ferror(file) ? errno : 0, "read vocabulary '%s'", path);
        goto done;
    }
    *out = (struct view){data, (size_t)bytes};
    data = NULL;
done:
    free(data);
    fclose(file);
    return code;
}

/* Lines of World begin with a number. */
static bool is_json(struct view file)
{
    size_t at = 0;

    while (at < file.bytes &&
           (file.data[at] == ' ' || (file.data[at] >= '\t' && file.data[at] <= '\r')))
        at++;
    return at < file.bytes && file.data[at] == '{';
}

enum err_code tokenizer_open(struct tokenizer **out, const char *path,
                             const struct tokenizer_options *options, struct err *err)
{
    const struct tokenizer_options none = {.specials = false};
    struct tokenizer *t = calloc(1, sizeof *t);
    struct view file = {NULL, 0};
    enum err_code code;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "vocabulary '%s'", path);
    code = read_file(path, &file, err);
    if (!code)
        code = is_json(file) ? neox_read(t, path, file, options ? options : &none, err)
                             : world_read(t, path, file, err);
    free((void *)(uintptr_t)file.data);
    if (code)
        tokenizer_close(&t);
    else
        *out = t;
    return code;
}

void tokenizer_close(struct tokenizer **tokenizer)
{
    struct tokenizer *t = *tokenizer;

    *tokenizer = NULL;
    if (!t)
        return;
    neox_close(&t->neox);
    free(t->slots);
    free(t->lengths);
    free(t->offsets);
    free(t->text);
    free(t);
}

/* ---- What it is ---- */

const char *tokenizer_name(const struct tokenizer *tokenizer)
{
    return tokenizer->name;
}

uint32_t tokenizer_vocab(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab;
}

uint64_t tokenizer_fingerprint(const struct tokenizer *tokenizer)
{
    return tokenizer->fingerprint;
}

const uint8_t *tokenizer_text(const struct tokenizer *tokenizer, uint32_t id, size_t *bytes)
{
    *bytes = id < tokenizer->vocab ? tokenizer->lengths[id] : 0;
    return *bytes ? tokenizer->text + tokenizer->offsets[id] : tokenizer->text;
}

size_t tokenizer_hold_max(const struct tokenizer *tokenizer)
{
    if (tokenizer->neox)
        return 4 * (size_t)TOKENIZER_SEGMENT_MAX + 3;
    return tokenizer->slots ? WORLD_TOKEN_MAX - 1 : 0;
}

/* ---- Reading ---- */

enum err_code tokenizer_reader_open(struct tokenizer_reader **out,
                                    const struct tokenizer *tokenizer, struct err *err)
{
    struct tokenizer_reader *r = calloc(1, sizeof *r);
    enum err_code code = ERR_OK;

    if (!r)
        return err_set(err, ERR_MEMORY, 0, "a reader of text");
    r->tokenizer = tokenizer;
    if (tokenizer->neox)
        code = segmenter_open(&r->segmenter, tokenizer, err);
    if (code)
        tokenizer_reader_close(&r);
    else
        *out = r;
    return code;
}

void tokenizer_reader_close(struct tokenizer_reader **reader)
{
    struct tokenizer_reader *r = *reader;

    *reader = NULL;
    if (!r)
        return;
    segmenter_close(&r->segmenter);
    free(r);
}

void tokenizer_reader_forget(struct tokenizer_reader *reader)
{
    if (reader->segmenter)
        segmenter_forget(reader->segmenter);
}

/* Greedy: walk as long as there is a child, remember the last token on the way. The walk is decided
 * when it dies or stands on a node without children. */
static size_t longest(const struct slot *slots, const uint8_t *data, size_t bytes, bool end,
                      uint32_t *id)
{
    uint32_t at = 0;
    size_t length = 0, i = 0;

    while (i < bytes && slots[at].base) {
        uint32_t child = slots[at].base + data[i];
        if (slots[child].parent != at)
            return length;
        at = child;
        i++;
        if (slots[at].id != TOKEN_NONE) {
            *id = slots[at].id;
            length = i;
        }
    }
    return slots[at].base && !end ? 0 : length;
}

size_t tokenizer_next(struct tokenizer_reader *reader, const uint8_t *data, size_t bytes, bool end,
                      struct tokenizer_piece *piece)
{
    const struct slot *slots = reader->tokenizer->slots;
    uint32_t id = 0;
    size_t length = bytes > 0;

    if (reader->segmenter)
        return segmenter_next(reader->segmenter, data, bytes, end, piece);
    if (slots)
        length = longest(slots, data, bytes, end, &id);
    else if (length)
        id = data[0];
    if (length == 0)
        return 0;
    reader->token = (struct tokenizer_token){id, (uint32_t)length, (uint32_t)length};
    *piece = (struct tokenizer_piece){&reader->token, 1, data, 0, false};
    return length;
}
