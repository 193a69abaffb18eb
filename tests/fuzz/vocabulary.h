/* tests/fuzz/vocabulary.h: a vocabulary file made of any bytes; with one that is taken, its own text is
 * read, at once and in cuts, and both ways give the same tokens. */
#ifndef TESTS_FUZZ_VOCABULARY_H
#define TESTS_FUZZ_VOCABULARY_H

#include "engine/engine.h"
#include "tests/fuzz/fuzz.h"

/* All ids of data, whose bytes arrive step at a time; what pieces say of themselves adds up. */
static inline struct buffer fuzz_encode(const struct tokenizer *t, struct tokenizer_reader *reader,
                                        const uint8_t *data, size_t bytes, size_t step)
{
    struct buffer ids = buffer_of(SIZE_MAX / 2);
    struct tokenizer_piece piece;
    size_t at = 0, arrived = 0;

    while (at < bytes) {
        size_t length = tokenizer_next(reader, data + at, arrived - at, arrived == bytes, &piece);
        uint64_t source = 0;
        const uint8_t *text = piece.text;
        if (length == 0) {
            require(arrived < bytes && arrived - at <= tokenizer_hold_max(t));
            arrived = bytes - arrived < step ? bytes : arrived + step;
            continue;
        }
        require(length <= arrived - at && piece.count > 0);
        for (size_t i = 0; i < piece.count; i++) {
            const struct tokenizer_token *one = &piece.tokens[i];
            size_t of_token;
            const uint8_t *want = tokenizer_text(t, one->id, &of_token);
            require(of_token > 0 && of_token == one->text_bytes && !memcmp(want, text, of_token));
            text += of_token;
            source += one->source_bytes;
            buffer_u32(&ids, one->id);
        }
        require(source == length);
        at += length;
    }
    require(!ids.refused);
    return ids;
}

static inline void fuzz_both_ways(const struct tokenizer *t, struct tokenizer_reader *reader,
                                  const uint8_t *data, size_t bytes)
{
    struct buffer whole = fuzz_encode(t, reader, data, bytes, bytes),
                  cut = fuzz_encode(t, reader, data, bytes, 1);

    require(whole.bytes == cut.bytes);
    require(!whole.bytes || !memcmp(whole.data, cut.data, whole.bytes));
    buffer_release(&whole);
    buffer_release(&cut);
}

static inline void fuzz_vocabulary(const uint8_t *data, size_t bytes, bool specials)
{
    const struct tokenizer_options options = {.specials = specials};
    struct tokenizer *t = NULL;
    struct tokenizer_reader *reader = NULL;
    struct err err = {.text = ""};
    char path[64];
    int fd;

    fuzz_file(data, bytes, &fd, path);
    if (tokenizer_open(&t, path, &options, &err)) {
        require(err.text[0] && !strchr(err.text, '\n'));
    } else {
        require(!tokenizer_reader_open(&reader, t, &err));
        fuzz_both_ways(t, reader, data, bytes);
        tokenizer_reader_close(&reader);
        tokenizer_close(&t);
    }
    close(fd);
}

#endif
