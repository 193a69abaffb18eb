/* A vocabulary that travels in a model file: the input is `<s>`, the bytes of all 256 single bytes, then
 * texts as GGUF keeps them, of which the first byte says how many are stated. */
#include "engine/formats/formats.h"
#include "engine/tokenizer/vocabulary.h"
#include "tests/fuzz/vocabulary.h"

enum { FIRST = 257 };

static void put_first(struct buffer *out)
{
    char text[8];

    buffer_u64(out, 3);
    buffer_put(out, "<s>", 3);
    for (unsigned byte = 0; byte < 256; byte++) {
        int count = snprintf(text, sizeof text, "\\x%02x", byte);
        buffer_u64(out, (uint64_t)count);
        buffer_put(out, text, (size_t)count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char path[] = "made";
    struct buffer map = buffer_of(1 << 20);
    struct container c = {.kind = "GGUF", .path = path};
    struct tokenizer *t = calloc(1, sizeof *t);
    struct tokenizer_reader *reader = NULL;
    struct err err = {.text = ""};

    require(t);
    put_first(&map);
    buffer_put(&map, data + (bytes > 0), bytes - (bytes > 0));
    require(!map.refused);
    c.map = map.data;
    c.bytes = map.bytes;
    c.vocabulary.count = FIRST + (bytes ? data[0] : 0u);
    c.vocabulary.texts = map.data;
    if (carried_read(t, &c, &err)) {
        require(err.text[0] && !strchr(err.text, '\n'));
    } else {
        require(!tokenizer_reader_open(&reader, t, &err));
        fuzz_both_ways(t, reader, data, bytes);
        tokenizer_reader_close(&reader);
    }
    tokenizer_close(&t);
    buffer_release(&map);
    return 0;
}
