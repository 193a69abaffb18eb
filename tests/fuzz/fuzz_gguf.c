/* GGUF files: pairs, tensors of every number format, the vocabulary. The first four bytes are always
 * GGUF's, so that no time is spent on finding them. */
#include "tests/fuzz/fuzz_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *file = malloc(bytes + 4);

    require(file != NULL);
    memcpy(file, "GGUF", 4);
    if (bytes)
        memcpy(file + 4, data, bytes);
    fuzz_container(file, bytes + 4);
    free(file);
    return 0;
}
