/* engine/formats/gguf_pairs.h: the pairs of key and value at the start of a GGUF file.
 *
 * They are walked once, which checks that each value lies in the file, and then looked up by key in any
 * order. Values stay in the map.
 *
 * Memory  40 bytes a pair, GGUF_PAIRS_MAX pairs at most */
#ifndef ENGINE_FORMATS_GGUF_PAIRS_H
#define ENGINE_FORMATS_GGUF_PAIRS_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"

enum { GGUF_PAIRS_MAX = 4096, GGUF_NESTING_MAX = 4, GGUF_TEXT_SHOWN = 64 };

/* The format's numbers. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

struct gguf_pair {
    struct view key;
    uint32_t type;     /* an enum gguf_type */
    struct view value; /* all of it, checked to lie in the file */
};

struct gguf_pairs {
    const struct container *c; /* for messages */
    struct gguf_pair *pairs;   /* sorted by key, no key twice */
    size_t count;
    const char *architecture; /* stands for "ARCH." at the start of a key that is looked up */
};

/* Read count pairs. Release them also after a failure.
 * Fails  ERR_MODEL: too many, cut short, of unknown type, nested too deep, a key twice; ERR_MEMORY */
MUST_CHECK enum err_code gguf_pairs_read(struct gguf_pairs *pairs, struct reader *r, uint64_t count,
                                         struct err *err);
void gguf_pairs_release(struct gguf_pairs *pairs);

/* NULL where there is none of this key. */
const struct gguf_pair *gguf_pairs_find(const struct gguf_pairs *pairs, const char *key);
/* A string; empty where there is none or it is of another type. */
struct view gguf_pairs_text(const struct gguf_pairs *pairs, const char *key);
/* An integer of any type. *out stays as it is where there is none.
 * Fails  ERR_MODEL: negative, or no integer */
MUST_CHECK enum err_code gguf_pairs_number(const struct gguf_pairs *pairs, const char *key,
                                           uint64_t *out, struct err *err);
/* What follows the count of an array of items of one type; false where pair is none of these. */
bool gguf_array_of(const struct gguf_pair *pair, enum gguf_type item, uint64_t *count,
                   const uint8_t **data);

/* u64 bytes | text; empty, and short_read set, where it is not all there. */
struct view gguf_read_text(struct reader *r);
bool gguf_is_text(struct view view, const char *text);
/* For "%.*s": how much of a text goes into a message. */
int gguf_shown(struct view text);

#endif
