/* Mail: an mbox behind its first line, or with an odd first byte one message by itself. */
#include "tests/fuzz/fuzz_zip.h"

enum { ROOM = 64 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char first[] = "From a@b Mon Jan  1 00:00:00 2024\nX: y\n";
    static uint8_t room[ROOM];
    size_t head = sizeof first - 1;

    if (!bytes || bytes > ROOM - head)
        return 0;
    if (data[0] % 2)
        head = 5;
    memcpy(room, head == 5 ? "X: y\n" : first, head);
    memcpy(room + head, data + 1, bytes - 1);
    fuzz_read(room, head + bytes - 1, "a.eml");
    return 0;
}
