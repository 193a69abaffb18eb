/* pipeline/eval/curve.h: what a document cost by position, once with its state carried from the first
 * token to the last and once with a fresh state every so many tokens, and what the two together tell.
 *
 * A model that profits from an endless state has the carried curve below the other; one that drifts,
 * because its state grows into places where training never was, has it above from some position on.
 *
 * Units   nats and tokens; bytes are those of the original file.
 * Bins    0..1,024 tokens, then each twice as far as the one before: 1k-2k, 2k-4k, ...
 * Promise Sums are in double, in the order of tokens. */
#ifndef PIPELINE_EVAL_CURVE_H
#define PIPELINE_EVAL_CURVE_H

#include <stddef.h>
#include <stdint.h>

enum { CURVE_FIRST_TOKENS = 1024, CURVE_BINS = 56 };

struct curve_part {
    uint64_t bytes, tokens;
    uint64_t scored;       /* of the tokens, those that something preceded */
    double carried, reset; /* nats of the scored ones */
};

struct curve {
    uint64_t reset_tokens; /* the other pass begins afresh every so many tokens */
    uint64_t repaired;     /* ill-formed places that the tokenizer read as U+FFFD */
    struct curve_part whole;
    struct curve_part bins[CURVE_BINS];
    size_t bin_count; /* up to the last one that holds a token */
};

void curve_begin(struct curve *curve, uint64_t reset_tokens);
/* The next token, of bytes bytes. It was scored, and cost these nats; or it was only read. */
void curve_scored(struct curve *curve, uint64_t bytes, double carried, double reset);
void curve_unscored(struct curve *curve, uint64_t bytes);

/* A bin's first token, and the one behind its last. */
uint64_t curve_bin_begin(size_t bin);
uint64_t curve_bin_end(size_t bin);

/* NAN where nothing is to be divided by. */
double curve_bits_per_byte(double nats, uint64_t bytes);
double curve_perplexity(double nats, uint64_t scored);
/* How much worse the carried state is than the other, per cent; below 0: better. */
double curve_percent(const struct curve_part *part);

enum verdict {
    VERDICT_NOTHING, /* no longer than one reset: there is nothing to compare */
    VERDICT_PROFITS,
    VERDICT_EVEN,
    VERDICT_DRIFTS,
    VERDICT_UNSTEADY /* even or better at the end, worse somewhere before it */
};

/* Two curves closer than this, in per cent, are called even. */
#define CURVE_EVEN_PERCENT 0.5

struct curve_verdict {
    enum verdict kind;
    uint64_t from;  /* tokens: where the state that the verdict speaks of begins */
    uint64_t until; /* VERDICT_UNSTEADY: where it ends */
    double percent; /* carried against reset, over all of that */
};

/* Look at the bins beyond the first reset, an end of less than CURVE_FIRST_TOKENS together with the
 * bin before it, and take the longest run at the end that says the same thing of every bin. */
struct curve_verdict curve_judge(const struct curve *curve);
const char *verdict_name(enum verdict kind);
/* "drifts: from 32k tokens on it is 12.0 % worse ...": one sentence, cut to room. */
void curve_words(const struct curve *curve, const struct curve_verdict *verdict, char *text,
                 size_t room);
/* 65536 as "64k", 5000 as "5000", 2097152 as "2M"; k is 1,024. */
void curve_position(uint64_t tokens, char *text, size_t room);

#endif
