/* GGUF files: pairs, tensors of every number format, the vocabulary. The first four bytes are always
 * GGUF's, so that no time is spent on finding them. */
#include "tests/fuzz/fuzz_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const uint8_t magic[4] = {'G', 'G', 'U', 'F'};
    uint8_t *file = malloc(bytes + sizeof magic);

    require(file != NULL);
    memcpy(file, magic, sizeof magic);
    if (bytes)
        memcpy(file + sizeof magic, data, bytes);
    fuzz_container(file, bytes + sizeof magic);
    free(file);
    return 0;
}
