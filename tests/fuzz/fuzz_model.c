/* Model files: rwkv.cpp and safetensors, told apart by their first bytes as the engine does. */
#include "engine/formats/formats.h"
#include "tests/fuzz/fuzz.h"

enum { VALUES_MOST = 4096 };

static void read_rows(const struct tensor *tensor)
{
    static float room[VALUES_MOST];
    uint64_t rows = tensor->rank > 1 ? tensor->shape[0] : 1, each = tensor->values / rows;

    fuzz_touch(tensor->data, tensor->bytes);
    if (each == 0 || each > VALUES_MOST)
        return;
    for (uint64_t row = 0; row < rows; row++)
        tensor_rows(tensor, row, 1, room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct container *c = NULL;
    struct err err;
    char path[64];
    int fd;

    fuzz_file(data, bytes, &fd, path);
    if (!container_open(&c, path, &err)) {
        for (size_t i = 0; i < c->count; i++) {
            require(container_find(c, c->tensors[i].name) == &c->tensors[i]);
            read_rows(&c->tensors[i]);
        }
        container_close(&c);
    }
    close(fd);
    return 0;
}
