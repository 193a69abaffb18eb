/* tests/tokenizer_help.h: texts through tokenizers. Every failure ends the test with its line. */
#ifndef TESTS_TOKENIZER_HELP_H
#define TESTS_TOKENIZER_HELP_H

#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <jansson.h>

enum { TEXT_MAX = 1 << 16 };

static inline struct tokenizer_reader *text_reader(const struct tokenizer *t)
{
    struct tokenizer_reader *reader = NULL;
    struct err err = {0};

    if (tokenizer_reader_open(&reader, t, &err))
        fail_msg("%s", err.text);
    return reader;
}

/* The ids of a piece behind those before; what it says of itself adds up. */
static inline size_t take(const struct tokenizer *t, const struct tokenizer_piece *piece,
                          size_t source, uint32_t *ids)
{
    const uint8_t *text = piece->text;
    size_t sum = 0;

    assert_true(piece->count > 0);
    for (size_t i = 0; i < piece->count; i++) {
        size_t bytes;
        const uint8_t *want = tokenizer_text(t, piece->tokens[i].id, &bytes);
        assert_int_equal(piece->tokens[i].text_bytes, bytes);
        assert_memory_equal(text, want, bytes);
        text += bytes;
        sum += piece->tokens[i].source_bytes;
        ids[i] = piece->tokens[i].id;
    }
    assert_int_equal(sum, source);
    return piece->count;
}

/* With the bytes arriving in cuts of 1 to most (0: all at once): what is not decided waits for more. */
static inline size_t encode_cut(const struct tokenizer *t, const uint8_t *data, size_t bytes,
                                uint32_t *ids, size_t most, uint64_t *seed)
{
    struct tokenizer_reader *reader = text_reader(t);
    struct tokenizer_piece piece;
    size_t count = 0, at = 0, arrived = most ? 0 : bytes;

    while (at < bytes) {
        size_t length = tokenizer_next(reader, data + at, arrived - at, arrived == bytes, &piece);
        if (length == 0) {
            size_t more;
            assert_true(most > 0 && arrived < bytes && arrived - at <= tokenizer_hold_max(t));
            more = 1 + (most ? next_random(seed) % most : 0);
            arrived = bytes - arrived < more ? bytes : arrived + more;
            continue;
        }
        assert_in_range(length, 1, arrived - at);
        count += take(t, &piece, length, ids + count);
        at += length;
    }
    tokenizer_reader_close(&reader);
    return count;
}

static inline size_t encode(const struct tokenizer *t, const uint8_t *data, size_t bytes,
                            uint32_t *ids)
{
    uint64_t seed = 0;

    return encode_cut(t, data, bytes, ids, 0, &seed);
}

static inline size_t unhex(const char *hex, uint8_t *out)
{
    size_t bytes = strlen(hex) / 2;

    assert_true(bytes <= TEXT_MAX);
    for (size_t i = 0; i < bytes; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        out[i] = (uint8_t)value;
    }
    return bytes;
}

#endif
