/* The World vocabulary file; with one that is taken, its own text is read. */
#include "engine/engine.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct tokenizer *t = NULL;
    struct err err;
    char path[64];
    uint32_t id;
    int fd;

    fuzz_file(data, bytes, &fd, path);
    if (!tokenizer_open_world(&t, path, &err)) {
        for (size_t at = 0, length; at < bytes; at += length) {
            size_t of_token;
            length = tokenizer_next(t, data + at, bytes - at, true, &id);
            require(length > 0 && length <= bytes - at && id < tokenizer_vocab(t));
            const uint8_t *text = tokenizer_text(t, id, &of_token);
            require(of_token == length && !memcmp(text, data + at, length));
        }
        tokenizer_close(&t);
    }
    close(fd);
    return 0;
}
