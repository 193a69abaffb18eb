/* engine/train/learn.h: a vocabulary for a text, in the World format: read by greedy longest match.
 *
 * Begins with the 256 bytes. Each round reads a sample with what it has, counts tokens and pairs of
 * neighbours, and keeps those of both that occur most often, a little more of them each round; so a token
 * that greedy matching no longer uses makes room again. What may become a token:
 *
 *     no digit            numbers are read digit by digit
 *     a line end last     no token spans a line
 *     a space first       or after other spaces: no token spans words
 */
#ifndef ENGINE_TRAIN_LEARN_H
#define ENGINE_TRAIN_LEARN_H

#include "engine/train/corpus.h"

enum { LEARN_IDS_MIN = 272, LEARN_IDS_MAX = 65536, LEARN_TOKEN_MAX = 24 };

struct learn_options {
    const struct corpus_file *files; /* with their weights */
    size_t file_count;
    uint32_t ids;          /* of the vocabulary, id 0 included, which is the end of a document */
    uint64_t sample_bytes; /* of all files together, in blocks from everywhere; 0: all */
    const char *output;
};

struct learn_report {
    uint32_t ids;                  /* fewer than asked for where the text has no more */
    uint64_t sample_bytes, tokens; /* of the sample, by the vocabulary; not weighted */
};

/* Fails  ERR_USAGE, ERR_SOURCE, ERR_INPUT: no text; ERR_SINK, ERR_FULL; ERR_MEMORY
 * Memory  32 MiB for counts, 40 bytes a candidate, as many as pairs that occur twice; files are mapped */
MUST_CHECK enum err_code learn_vocabulary(const struct learn_options *options,
                                          struct learn_report *report, struct err *err);

#endif
