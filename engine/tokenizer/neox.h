/* engine/tokenizer/neox.h: byte-level BPE of NeoX 20B, spec/tokenizers.md section 2.
 *
 *   neox.c     20B_tokenizer.json into struct neox
 *   bpe.c      a piece of text to ids
 *   segment.c  text to segments, and a segment to pieces */
#ifndef ENGINE_TOKENIZER_NEOX_H
#define ENGINE_TOKENIZER_NEOX_H

#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/vocabulary.h"

enum {
    NEOX_SPACES_MAX = 128, /* of a run that is one token; the file has 2..24 */
    NEOX_SPECIALS_MAX = 64,
    /* Of a segment: characters become at most UNICODE_NFC_MOST, each of at most 4 bytes. */
    NEOX_TEXT_MAX = TOKENIZER_SEGMENT_MAX * UNICODE_NFC_MOST * 4
};

/* left and right joined are token id; the lower rank goes first. */
struct merge {
    uint32_t left, right, rank, id;
};

struct neox_special {
    uint32_t id, length;
    const uint8_t *text; /* lent by the tokenizer */
};

struct neox {
    struct merge *merges; /* open addressing, (mask + 1); left TOKEN_NONE: empty */
    uint32_t mask, merge_count;
    uint32_t byte_ids[256];               /* TOKEN_NONE for bytes that UTF-8 never has */
    uint32_t spaces[NEOX_SPACES_MAX + 1]; /* id of a run of so many, TOKEN_NONE */
    struct neox_special specials[NEOX_SPECIALS_MAX];
    size_t special_count; /* 0 unless they are asked for */
    struct unicode_seconds seconds;
};

void neox_close(struct neox **neox);

/* The entry of a pair, or the empty one where it would stand. */
static inline struct merge *neox_merge(const struct neox *neox, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t at = (uint32_t)(key >> 40) & neox->mask;

    while (neox->merges[at].left != TOKEN_NONE &&
           (neox->merges[at].left != left || neox->merges[at].right != right))
        at = (at + 1) & neox->mask;
    return &neox->merges[at];
}

/* ---- A piece of text to ids: what is needed for it, and the pieces met before. ---- */

enum { BPE_CACHED_BYTES = 30, BPE_CACHED_IDS = 8, BPE_CACHE_ENTRIES = 8192 };

struct bpe_cached {
    uint8_t bytes, count; /* bytes 0: empty */
    uint8_t text[BPE_CACHED_BYTES];
    uint32_t ids[BPE_CACHED_IDS];
};

struct bpe {
    const struct neox *neox;
    struct bpe_cached *cache; /* (BPE_CACHE_ENTRIES) by hash, the newest stays */
    /* (NEOX_TEXT_MAX) each, twice that of the heap; untouched pages cost nothing */
    uint32_t *symbols, *next, *before;
    uint64_t *heap; /* rank << 32 | place of the left one */
    size_t heap_count;
};

MUST_CHECK enum err_code bpe_open(struct bpe *b, const struct neox *neox, struct err *err);
void bpe_close(struct bpe *b);
/* The ids of a piece: valid UTF-8, 1..NEOX_TEXT_MAX bytes. ids has room for as many as it has bytes. Returns how
 * many. */
size_t bpe_encode(struct bpe *b, const uint8_t *text, size_t bytes, uint32_t *ids);
/* Give back the pages that a piece of so many bytes touched. */
void bpe_trim(struct bpe *b, size_t bytes);
/* The same of any block; what was there is lost. */
void pages_trim(void *block, size_t bytes);

/* ---- Segments ---- */

struct segmenter;

MUST_CHECK enum err_code segmenter_open(struct segmenter **out, const struct tokenizer *tokenizer,
                                        struct err *err);
void segmenter_close(struct segmenter **segmenter);
/* As tokenizer_next and tokenizer_reader_forget. */
size_t segmenter_next(struct segmenter *s, const uint8_t *data, size_t bytes, bool end,
                      struct tokenizer_piece *piece);
void segmenter_forget(struct segmenter *s);

#endif
