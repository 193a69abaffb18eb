/* engine/tokenizer/unicode.h: what NeoX needs to know of characters.
 *
 * Source  utf8proc's tables, whose version of Unicode belongs to the fingerprint of a stream */
#ifndef ENGINE_TOKENIZER_UNICODE_H
#define ENGINE_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_REPLACEMENT = 0xFFFD, UNICODE_NFC_MOST = 4 }; /* characters that one can become */

/* As the pattern of the tokenizer sees them: white space (Unicode White_Space), letters (L*), numbers
 * (N*), all else (marks and emoji too). */
enum unicode_class { CLASS_SPACE, CLASS_LETTER, CLASS_NUMBER, CLASS_OTHER };

extern const uint8_t unicode_ascii_class[128];

struct unicode_char {
    int32_t code;
    enum unicode_class class;
    bool joins;  /* it may join with, or move before, what stands before it */
    bool plain;  /* alone it is its own normal form */
    bool broken; /* UNICODE_REPLACEMENT for a maximal ill-formed piece */
};

/* The character at data, with what is asked of each one: the bytes it takes, 0 where more bytes are
 * needed to tell, which is never so with end. bytes >= 1. */
size_t unicode_next(const uint8_t *data, size_t bytes, bool end, struct unicode_char *out);
/* The same for text that is known to be whole and valid; the class alone. */
size_t unicode_next_valid(const uint8_t *data, enum unicode_class *class);
/* Returns the bytes written, 1..4. */
size_t unicode_encode(int32_t code, uint8_t *out);

/* The characters that can be the second half of a composition, the letters of Hangul apart: 63 of
 * Unicode 14. Found by asking utf8proc about every character, which takes some 5 ms. */
enum { UNICODE_SECONDS_MAX = 2048 };
struct unicode_seconds {
    size_t count;
    int32_t codes[UNICODE_SECONDS_MAX]; /* ascending, once found */
};
void unicode_seconds_find(struct unicode_seconds *out);

/* Rule B's "clean": ccc 0, one character under NFC, and its normal form D does not begin with the second
 * half of a composition. */
bool unicode_is_clean(const struct unicode_seconds *seconds, int32_t code);

/* Normal form C of count characters, in place; room for UNICODE_NFC_MOST times as many, and as many keys.
 * Nothing may join over either edge. Returns how many they are then. Time n log n for any marks. */
size_t unicode_compose(int32_t *codes, size_t count, uint64_t *keys);

#endif
