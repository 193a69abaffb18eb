/* Model files: rwkv.cpp and safetensors, told apart by their first bytes as the engine does. */
#include "tests/fuzz/fuzz_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_container(data, bytes);
    return 0;
}
