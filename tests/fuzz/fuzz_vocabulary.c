/* The World vocabulary file; with one that is taken, its own text is read. */
#include "tests/fuzz/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_vocabulary(data, bytes, false);
    return 0;
}
