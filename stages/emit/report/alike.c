#include "stages/emit/report/alike.h"

#include <stdlib.h>

/* FNV-1a. */
static const uint64_t BASIS = 0xCBF29CE484222325U, PRIME = 0x100000001B3U;

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_word(uint8_t byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           byte > 127;
}

static int ascending(const void *a, const void *b)
{
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

    return (first > second) - (first < second);
}

void shape_of(struct view text, struct shape *shape)
{
    *shape = (struct shape){.key = BASIS};
    for (size_t at = 0; at < text.bytes;) {
        uint64_t word = BASIS;
        bool digits = false;
        if (!is_word(text.data[at])) {
            at++;
            continue;
        }
        for (; at < text.bytes && is_word(text.data[at]); at++) {
            digits = digits || is_digit(text.data[at]);
            word = (word ^ text.data[at]) * PRIME;
        }
        word = digits ? 0 : word;
        shape->key = (shape->key ^ word ^ word >> 32) * PRIME;
        if (!digits && shape->count < SHAPE_WORDS_MAX)
            shape->words[shape->count++] = (uint32_t)(word ^ word >> 32);
    }
    qsort(shape->words, shape->count, sizeof shape->words[0], ascending);
}

/* How many of the words of both are shared, a word that stands twice twice. */
static uint32_t shared_words(const struct shape *a, const struct shape *b)
{
    uint32_t shared = 0, i = 0, k = 0;

    while (i < a->count && k < b->count)
        if (a->words[i] < b->words[k]) {
            i++;
        } else if (a->words[i] > b->words[k]) {
            k++;
        } else {
            shared += 2;
            i++;
            k++;
        }
    return shared;
}

/* Half of them where a text has three or fewer ("Chapter XI", "Chapter XII"), seven tenths else. */
bool shape_alike(const struct shape *a, const struct shape *b)
{
    uint32_t fewer = a->count < b->count ? a->count : b->count, all = a->count + b->count;

    return a->key == b->key || (fewer > 0 && 10 * shared_words(a, b) >= (fewer <= 3 ? 5 : 7) * all);
}
