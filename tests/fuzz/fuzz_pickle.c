/* Pickles of PyTorch files, without the zip around them. */
#include "engine/formats/pickle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char path[] = "input";
    const struct container c = {.path = path};
    struct pickle_tensor *tensors = NULL;
    size_t count = 0;
    struct err err;

    if (!pickle_read(&tensors, &count, (struct view){data, bytes}, &c, &err)) {
        for (size_t i = 0; i < count; i++) {
            require(tensors[i].rank >= 1 && tensors[i].rank <= TENSOR_RANK_MAX);
            fuzz_touch(tensors[i].name.data, tensors[i].name.bytes);
            fuzz_touch(tensors[i].storage.data, tensors[i].storage.bytes);
        }
        free(tensors);
    }
    return 0;
}
