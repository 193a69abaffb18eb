/* tests/neox_file.h: a small vocabulary file of NeoX's kind: the bytes, a few joins within and across
 * characters, runs of 2 and 3 spaces, a special string. */
#ifndef TESTS_NEOX_FILE_H
#define TESTS_NEOX_FILE_H

#include <stdbool.h>
#include <stdio.h>

/* The character that stands for a byte. */
static inline unsigned neox_character(unsigned byte)
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

static inline void neox_write(FILE *file)
{
    static const char *const joins[][2] = {{"t", "h"},          {"th", "e"},
                                           {"\xc4\xa0", "the"}, {"i", "n"},
                                           {"'", "s"},          {"\xc3\x8c", "\xc4\xa3"},
                                           {"e", "\xc3\x8c"},   {"\xc3\xa3", "\xc4\xa3"},
                                           {"1", "2"},          {"\xc4\x8a", "\xc4\x8a"}};
    const size_t count = sizeof joins / sizeof *joins;
    unsigned id = 2;

    fputs("{\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"},\n"
          "\"added_tokens\": [{\"id\": 0, \"content\": \"<|endoftext|>\", \"normalized\": false},\n"
          "{\"id\": 900, \"content\": \"   \", \"normalized\": true},\n"
          "{\"id\": 901, \"content\": \"  \", \"normalized\": true}],\n"
          "\"model\": {\"type\": \"BPE\", \"vocab\": {\"q\xc4\xa0\": 1",
          file);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(file, ", \"\\u%04x\": %u", neox_character(byte), id++);
    for (size_t i = 0; i < count; i++)
        fprintf(file, ", \"%s%s\": %u", joins[i][0], joins[i][1], id++);
    fputs("},\n\"merges\": [", file);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s\"%s %s\"", i ? ", " : "", joins[i][0], joins[i][1]);
    fputs("]}}\n", file);
}

#endif
