/* A tokenizer file of NeoX, with and without its special strings. */
#include "tests/fuzz/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_vocabulary(data, bytes, false);
    fuzz_vocabulary(data, bytes, true);
    return 0;
}
