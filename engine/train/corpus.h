/* engine/train/corpus.h: training text as streams of tokens.
 *
 * A document ends at a NUL byte or at the end of its file. It is read in spans: whole, or where it is
 * longer than a limit, pieces that are cut at line ends. An epoch is a permutation of all spans, each
 * as often as its file's weight says (a weight of 0.3: each span in three epochs of ten); streams take
 * the next span of the epoch when theirs is read, so nothing but the seed decides the order.
 *
 * A span is read as token 0, then its text. 0 is to be predicted behind the last token of a document,
 * and nothing behind a span that was cut off before its document's end.
 *
 * Memory  files are mapped; 24 bytes a span, 4 a place in the epoch. */
#ifndef ENGINE_TRAIN_CORPUS_H
#define ENGINE_TRAIN_CORPUS_H

#include "engine/engine.h"
#include "schemas/bytes.h"

enum { CORPUS_FILES_MAX = 1024 };

struct corpus_file {
    const char *path; /* the caller's */
    double weight;    /* 0, or 0.001 .. 100 */
};

struct corpus_options {
    const struct corpus_file *files;
    size_t file_count;
    uint64_t span_bytes;     /* at most about so many; 0: no limit */
    uint64_t document_bytes; /* read no more than this of a document; 0: no limit */
    bool shuffle;            /* else spans in order, each once, whatever the weights */
    uint64_t seed;
    const struct tokenizer *tokenizer; /* lent until close; NULL: spans are looked at only */
};

struct corpus;

/* Fails: ERR_SOURCE; ERR_INPUT: there is no text, a weight out of range; ERR_MEMORY; ERR_LIMIT. */
MUST_CHECK enum err_code corpus_open(struct corpus **out, const struct corpus_options *options,
                                     struct err *err);
void corpus_close(struct corpus **corpus);

uint64_t corpus_bytes(const struct corpus *corpus); /* of text, each span once */
/* Tokens of an epoch, by weight; of much text, about: as many a byte as in some of it. */
uint64_t corpus_tokens(struct corpus *corpus);
uint64_t corpus_fingerprint(const struct corpus *corpus); /* of names, weights and all bytes */

/* A span's text and its file's weight; false behind the last. */
bool corpus_span(const struct corpus *corpus, size_t index, struct view *text, double *weight);

/* Where a stream stands. */
struct corpus_cursor {
    uint64_t span, at; /* span: UINT64_MAX before the first; at: where a piece of tokens begins */
    uint32_t skip;     /* of that piece's tokens */
    uint32_t pending;  /* the next input; drawn already */
    bool ended;        /* without shuffle: there is no more */
};
/* Which spans are left. */
struct corpus_place {
    uint64_t epoch, next;
};

void corpus_begin(struct corpus_cursor *cursor);
/* The next tokens inputs of a stream, and for each what follows it (NET_NO_TARGET where nothing is to
 * be predicted). Without shuffle a stream that has ended gives zeros without targets.
 * text  what the targets stand for in bytes, ends of documents aside, is added; NULL: not asked */
void corpus_draw(struct corpus *corpus, struct corpus_place *place, struct corpus_cursor *cursor,
                 size_t tokens, uint32_t *input, uint32_t *target, uint64_t *text);
/* Do the numbers, read from a file, stand for a place in this corpus? */
bool corpus_cursor_fits(const struct corpus *corpus, const struct corpus_cursor *cursor);
bool corpus_place_fits(struct corpus *corpus, const struct corpus_place *place);

#endif
