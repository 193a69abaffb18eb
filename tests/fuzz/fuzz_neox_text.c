/* Text of any bytes through a small vocabulary of NeoX's kind, which the target writes itself: the bytes,
 * a few joins within and across characters, runs of spaces, a special string. */
#include "tests/fuzz/vocabulary.h"

static const char *const joins[][2] = {{"t", "h"},          {"th", "e"},
                                       {"\xc4\xa0", "the"}, {"i", "n"},
                                       {"'", "s"},          {"\xc3\x8c", "\xc4\xa3"},
                                       {"e", "\xc3\x8c"},   {"\xc3\xa3", "\xc4\xa3"},
                                       {"1", "2"},          {"\xc4\x8a", "\xc4\x8a"}};
enum { JOINS = sizeof joins / sizeof *joins };

/* The character that stands for a byte. */
static unsigned character_of(unsigned byte)
{
    unsigned next = 256;

    for (unsigned b = 0; b < 256; b++) {
        bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte)
            return itself ? b : next;
        next += !itself;
    }
    return 0;
}

static void write_file(FILE *file)
{
    unsigned id = 2;

    fputs("{\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"},"
          "\"added_tokens\": [{\"id\": 0, \"content\": \"<|endoftext|>\", \"normalized\": false},"
          "{\"id\": 900, \"content\": \"   \", \"normalized\": true},"
          "{\"id\": 901, \"content\": \"  \", \"normalized\": true}],"
          "\"model\": {\"type\": \"BPE\", \"vocab\": {\"q\xc4\xa0\": 1",
          file);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(file, ", \"\\u%04x\": %u", character_of(byte), id++);
    for (size_t i = 0; i < JOINS; i++)
        fprintf(file, ", \"%s%s\": %u", joins[i][0], joins[i][1], id++);
    fputs("}, \"merges\": [", file);
    for (size_t i = 0; i < JOINS; i++)
        fprintf(file, "%s\"%s %s\"", i ? ", " : "", joins[i][0], joins[i][1]);
    fputs("]}}", file);
}

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
    write_file(file);
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
