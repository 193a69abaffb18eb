/* engine/tokenizer/tokenizer.c: the longest token at a place, and the bytes of a token. */
#include "engine/tokenizer/vocabulary.h"

#include <stdlib.h>

enum err_code tokenizer_open_bytes(struct tokenizer **out, struct err *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    enum err_code code = ERR_OK;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "a vocabulary");
    t->name = "bytes";
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

void tokenizer_close(struct tokenizer **tokenizer)
{
    struct tokenizer *t = *tokenizer;

    *tokenizer = NULL;
    if (!t)
        return;
    free(t->slots);
    free(t->lengths);
    free(t->offsets);
    free(t->text);
    free(t);
}

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

/* Greedy: walk as long as there is a child, remember the last token on the way. The walk is decided
 * when it dies or stands on a node without children. */
size_t tokenizer_next(const struct tokenizer *tokenizer, const uint8_t *data, size_t bytes,
                      bool end, uint32_t *id)
{
    const struct slot *slots = tokenizer->slots;
    uint32_t at = 0;
    size_t length = 0, i = 0;

    if (bytes == 0)
        return 0;
    if (!slots) {
        *id = data[0];
        return 1;
    }
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
