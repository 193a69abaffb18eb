/* A message as it comes off a link: header, tokens, control. */
#include "schemas/control.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct msg msg = {.bytes = bytes, .data = (uint8_t *)(uintptr_t)data};
    struct frame f;
    struct frame_tokens tokens;
    Riverrun__Control *control;
    struct err err;

    if (msg_read(&msg, &f, &err))
        return 0;
    require(f.cursor.bytes <= CURSOR_MAX);
    fuzz_touch(f.cursor.data, f.cursor.bytes);
    fuzz_touch(f.payload.data, f.payload.bytes);
    if (!msg_read_tokens(&f, &tokens, &err)) {
        fuzz_touch(tokens.ids, 4 * (size_t)f.count);
        fuzz_touch(tokens.source, 4 * (size_t)f.count);
        fuzz_touch(tokens.text, 2 * (size_t)f.count);
        fuzz_touch(tokens.bytes, tokens.text_bytes);
    }
    if (!control_read(&f, &control, &err)) {
        struct msg *again = NULL;
        require(!control_make(&again, control, &err));
        msg_free(&again);
        riverrun__control__free_unpacked(control, NULL);
    }
    return 0;
}
