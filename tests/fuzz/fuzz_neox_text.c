/* Text of any bytes through a small vocabulary of NeoX's kind. */
#include "tests/fuzz/vocabulary.h"
#include "tests/neox_file.h"

static struct tokenizer *open_vocabulary(bool specials)
{
    const struct tokenizer_options options = {.specials = specials};
    struct tokenizer *t = NULL;
    struct err err = {.text = ""};
    char *data = NULL, path[64];
    size_t bytes = 0;
    FILE *file = open_memstream(&data, &bytes);
    int fd;

    require(file);
    neox_write(file);
    fclose(file);
    fuzz_file((const uint8_t *)data, bytes, &fd, path);
    if (tokenizer_open(&t, path, &options, &err))
        fprintf(stderr, "%s\n", err.text);
    require(t);
    close(fd);
    free(data);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct tokenizer *tokenizers[2];
    static struct tokenizer_reader *readers[2];
    struct err err;

    for (int i = 0; i < 2; i++) {
        if (!tokenizers[i]) {
            tokenizers[i] = open_vocabulary(i);
            require(!tokenizer_reader_open(&readers[i], tokenizers[i], &err));
        }
        fuzz_both_ways(tokenizers[i], readers[i], data, bytes);
    }
    return 0;
}
