/* stages/encode/analysis/digest.h: what a document says, in its own sentences: summary, key phrases, key passages.
 *
 * A sentence is worth what it shares with the others: for each of its words, in how many other sentences that stands,
 * times what the word says, which is its mean loss where it stood (a model foresees the, of, and, in any language,
 * and not what a text is about); over the logarithm of its length, and more where it stands early. That is the
 * weight it would have in a graph of sentences that share words (TextRank's, with losses for a list of stop words),
 * added up from counts alone, so no graph is needed, and a document of any length is weighed whole.
 *
 * Sentences are counted as they come, and the best POOLED by the counts so far are held, weighed anew whenever
 * there is no room; at the end by the counts of all. A document of at most POOLED sentences is thus judged exactly.
 *
 * Memory  fixed, some 360 KiB, and while the end is made at most 768 KiB more; saved at most DIGEST_BYTES_MAX. */
#ifndef STAGES_ENCODE_ANALYSIS_DIGEST_H
#define STAGES_ENCODE_ANALYSIS_DIGEST_H

#include "schemas/record.h"
#include "stages/encode/analysis/sentences.h"
#include "stages/encode/analysis/words.h"

enum {
    POOLED = 192,
    DIGEST_SENTENCES = 32,
    DIGEST_PHRASES = 12,
    DIGEST_PASSAGES = 5,
    DIGEST_BYTES_MAX =
        SENTENCES_BYTES_MAX + 2 * WORDS_BYTES_MAX + 5 * 8 + 2 + POOLED * (5 * 8 + 2 + SENTENCE_MAX)
};

struct pooled {
    uint64_t begin, end; /* of the source */
    uint64_t unit_begin,
        unit_end;     /* of the unit that it begins in; unit_end 0: that is still open */
    uint64_t ordinal; /* of sentences, from 0 */
    double score;     /* not saved */
    uint16_t bytes;
    uint8_t *text;     /* (bytes) white space folded */
    struct word *list; /* (words) of the text, while the end is made; else NULL */
    size_t words;
};

struct digest {
    struct sentences sentences;
    struct word_counts words, pairs;
    uint64_t count; /* of sentences */
    uint64_t units;
    uint64_t unit_begin, unit_end; /* of the last unit that ended */
    double floor;                  /* what a new sentence must be worth, a share of count */
    struct pooled pool[POOLED];
    size_t pooled;
    struct words scratch;
    struct digest_record *record; /* what the last record says; NULL before */
};

void digest_token(struct digest *d, double nats, struct view text, uint64_t begin,
                  uint32_t source_bytes);
void digest_unit(struct digest *d, uint64_t begin, uint64_t end);
/* What comes is of another document: the sentence at hand ends. */
void digest_cut(struct digest *d);
/* The end: fields into *own, lent until release. False: there is nothing to say. */
bool digest_end(struct digest *d, struct record *own);

void digest_save(const struct digest *d, struct buffer *out);
/* Into an empty one. False: no bytes of digest_save's; *d may be released. */
bool digest_load(struct digest *d, struct reader *r);
size_t digest_memory(const struct digest *d);
void digest_release(struct digest *d);

#endif
