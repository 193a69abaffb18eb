/* pipeline/eval/score.h: a document through a model, its state carried and reset in one reading; and
 * the passages of LAMBADA.
 *
 * Use      scorer_open, then any number of documents and passage files, one after the other.
 * Start    What a fresh state reads first, unscored: token 0, "end of text", where the tokenizer has
 *          one, and every token of the text is scored. Bytes have none: the first byte of a document
 *          is read without being scored (it counts as a byte and a token, and costs nothing), and
 *          after a reset the fresh state is first given the token before it, so that both passes score
 *          the same tokens.
 * Memory   fixed, whatever the length of a file: blocks of tokens in flight, a state that is carried
 *          and RESET_STATES that take turns, or PASSAGES states and rows of logits.
 * Promise  The same numbers to the last bit with any number of threads: jobs are collected in the
 *          order of submission, and sums are in double in the order of tokens. */
#ifndef PIPELINE_EVAL_SCORE_H
#define PIPELINE_EVAL_SCORE_H

#include "engine/engine.h"
#include "pipeline/eval/curve.h"
#include <signal.h>
#include <stdio.h>

struct scorer;

enum { LAMBADA_LINE_MAX = 1 << 20 };

struct passages {
    uint64_t count, hits; /* hits: every token of the target was the most probable one */
    uint64_t target_tokens;
    double nats; /* of the targets */
};

/* Borrows engine, which has no other user meanwhile, and tokenizer until close. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code scorer_open(struct scorer **out, struct engine *engine,
                                     const struct tokenizer *tokenizer, struct err *err);
void scorer_close(struct scorer **scorer);
/* Documents end once *stop, lent until close, is not 0. */
void scorer_stop_on(struct scorer *scorer, const volatile sig_atomic_t *stop);

/* Read descriptor to its end; name is for messages.
 * Fails: ERR_SOURCE where it cannot be read, ERR_MODEL where a loss is not finite; ERR_STOPPED. */
MUST_CHECK enum err_code score_document(struct scorer *scorer, int descriptor, const char *name,
                                        uint64_t reset_tokens, struct curve *curve,
                                        struct err *err);

/* One JSON object a line with the passage as "text": the context is what stands before its last space,
 * the target that space and the word behind it. Each passage has a state of its own.
 * Fails: as score_document; ERR_INPUT with the line's number. */
MUST_CHECK enum err_code score_passages(struct scorer *scorer, FILE *file, const char *name,
                                        struct passages *passages, struct err *err);

#endif
