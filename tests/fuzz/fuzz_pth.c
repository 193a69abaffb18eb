/* PyTorch files: the zip around the pickle, the tensors in it. Nothing else is worth its time here. */
#include "tests/fuzz/fuzz_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes >= 4 && !memcmp(data, "PK\x03\x04", 4))
        fuzz_container(data, bytes);
    return 0;
}
