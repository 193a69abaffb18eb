#include "engine/train/learn.h"
#include "engine/tokenizer/vocabulary.h"
#include "schemas/outfile.h"

#include <stdlib.h>

enum {
    ROUNDS = 24,
    BLOCK_BYTES = 32 << 10,
    PAIR_SLOTS = 1 << 21, /* half of them are used at most; later pairs are not counted */
    BYTES_IDS = 257       /* id 0, and a byte's id is its value + 1 */
};

/* A pair of neighbours. */
struct pair {
    uint64_t key; /* first << 32 | second; 0: empty, since id 0 occurs in no text */
    double count;
};

/* What may be a token of the next round. */
struct candidate {
    uint8_t bytes[LEARN_TOKEN_MAX];
    uint8_t length;
    double count;
};

struct learn {
    const struct learn_options *options;
    struct corpus *corpus; /* for its spans */
    struct tokenizer *tokenizer;
    double *counts; /* (LEARN_IDS_MAX) of tokens */
    struct pair *pairs;
    size_t pair_count;
    struct candidate *candidates;
    size_t candidate_count, candidate_room;
    struct learn_report report;
};

/* ---- Counting. ---- */

static void count_pair(struct learn *l, uint32_t first, uint32_t second, double weight)
{
    uint64_t key = (uint64_t)first << 32 | second;
    size_t slot = (size_t)(key * 0x9E3779B97F4A7C15u >> 43);

    for (;; slot = (slot + 1) % PAIR_SLOTS) {
        struct pair *pair = &l->pairs[slot];
        if (!pair->key && l->pair_count >= PAIR_SLOTS / 2)
            return;
        if (!pair->key) {
            pair->key = key;
            l->pair_count++;
        }
        if (pair->key == key) {
            pair->count += weight;
            return;
        }
    }
}

static void count_block(struct learn *l, struct tokenizer_reader *reader, struct view text,
                        double weight)
{
    uint32_t before = 0;
    struct tokenizer_piece piece;

    for (size_t at = 0; at < text.bytes;) {
        uint32_t id;
        at += tokenizer_next(reader, text.data + at, text.bytes - at, true, &piece);
        id = piece.tokens[0].id;
        l->counts[id] += weight;
        l->report.tokens++;
        if (before)
            count_pair(l, before, id, weight);
        before = id;
    }
    l->report.sample_bytes += text.bytes;
}

/* Blocks of all spans, every so many of them. */
static void count_sample(struct learn *l, struct tokenizer_reader *reader)
{
    const uint64_t bytes = corpus_bytes(l->corpus), most = l->options->sample_bytes;
    const double share = most && most < bytes ? (double)most / (double)bytes : 1;
    struct view text;
    double weight, owed = 0;

    memset(l->counts, 0, LEARN_IDS_MAX * sizeof *l->counts);
    memset(l->pairs, 0, PAIR_SLOTS * sizeof *l->pairs);
    l->pair_count = 0;
    l->report = (struct learn_report){0};
    for (size_t i = 0; corpus_span(l->corpus, i, &text, &weight); i++)
        for (size_t at = 0; at < text.bytes; at += BLOCK_BYTES) {
            size_t left = text.bytes - at, take = left < BLOCK_BYTES ? left : BLOCK_BYTES;
            owed += share * (double)take;
            if (owed > 0 && weight > 0) {
                count_block(l, reader, (struct view){text.data + at, take}, weight);
                owed -= (double)take;
            }
        }
}

/* ---- Choosing. ---- */

static bool may_be_token(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] >= '0' && bytes[i] <= '9')
            return false;
        if (bytes[i] == '\n' && i + 1 < length)
            return false;
        if (bytes[i] == ' ' && i > 0 && bytes[i - 1] != ' ')
            return false;
        if (bytes[i] == 0)
            return false;
    }
    return true;
}

static bool add_candidate(struct learn *l, const uint8_t *first, size_t a, const uint8_t *second,
                          size_t b, double count)
{
    struct candidate *c;

    if (a + b > LEARN_TOKEN_MAX)
        return true;
    if (l->candidate_count == l->candidate_room) {
        size_t room = l->candidate_room ? 2 * l->candidate_room : 1 << 16;
        struct candidate *more = realloc(l->candidates, room * sizeof *more);
        if (!more)
            return false;
        l->candidates = more;
        l->candidate_room = room;
    }
    c = &l->candidates[l->candidate_count];
    *c = (struct candidate){.length = (uint8_t)(a + b), .count = count};
    memcpy(c->bytes, first, a);
    memcpy(c->bytes + a, second, b);
    l->candidate_count += may_be_token(c->bytes, a + b);
    return true;
}

static bool gather(struct learn *l)
{
    size_t a, b;

    l->candidate_count = 0;
    for (uint32_t id = BYTES_IDS; id < tokenizer_vocab(l->tokenizer); id++) {
        const uint8_t *text = tokenizer_text(l->tokenizer, id, &a);
        if (!add_candidate(l, text, a, text, 0, l->counts[id]))
            return false;
    }
    for (size_t i = 0; i < PAIR_SLOTS; i++)
        if (l->pairs[i].count > 1) {
            const uint8_t *first =
                tokenizer_text(l->tokenizer, (uint32_t)(l->pairs[i].key >> 32), &a);
            const uint8_t *second = tokenizer_text(l->tokenizer, (uint32_t)l->pairs[i].key, &b);
            if (!add_candidate(l, first, a, second, b, l->pairs[i].count))
                return false;
        }
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, LEARN_TOKEN_MAX);

    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int by_count(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return by_bytes(a, b);
}

/* The same bytes from several pairs are one candidate; the most frequent come first. */
static void rank(struct learn *l)
{
    size_t kept = 0;

    if (!l->candidate_count) /* and no memory for any */
        return;
    qsort(l->candidates, l->candidate_count, sizeof *l->candidates, by_bytes);
    for (size_t i = 0; i < l->candidate_count; i++)
        if (kept && by_bytes(&l->candidates[kept - 1], &l->candidates[i]) == 0)
            l->candidates[kept - 1].count += l->candidates[i].count;
        else
            l->candidates[kept++] = l->candidates[i];
    l->candidate_count = kept;
    qsort(l->candidates, l->candidate_count, sizeof *l->candidates, by_count);
}

/* The tokenizer of the next round: bytes, then the first candidates, in the order of their bytes. */
static enum err_code rebuild(struct learn *l, size_t tokens, struct err *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    enum err_code code = ERR_OK;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "a vocabulary");
    *t = (struct tokenizer){.name = "world", .token_max = WORLD_TOKEN_MAX};
    for (uint32_t i = 0; !code && i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        code = vocabulary_add(t, i + 1, &byte, 1, err);
    }
    if (tokens > l->candidate_count)
        tokens = l->candidate_count;
    if (tokens > 0)
        qsort(l->candidates, tokens, sizeof *l->candidates, by_bytes);
    for (size_t i = 0; !code && i < tokens; i++)
        code = vocabulary_add(t, (uint32_t)(BYTES_IDS + i), l->candidates[i].bytes,
                              l->candidates[i].length, err);
    if (!code)
        code = vocabulary_finish(t, err);
    if (code) {
        tokenizer_close(&t);
    } else {
        tokenizer_close(&l->tokenizer);
        l->tokenizer = t;
    }
    return code;
}

/* What the tokenizer makes of the sample. */
static enum err_code count(struct learn *l, struct err *err)
{
    struct tokenizer_reader *reader = NULL;
    enum err_code code = tokenizer_reader_open(&reader, l->tokenizer, err);

    if (!code)
        count_sample(l, reader);
    tokenizer_reader_close(&reader);
    return code;
}

static enum err_code one_round(struct learn *l, size_t tokens, struct err *err)
{
    enum err_code code = count(l, err);

    if (!code && !l->report.tokens)
        code = err_set(err, ERR_INPUT, 0,
                       "there is no text to learn from in '%s': what is not empty has weight 0",
                       l->options->files[0].path);
    if (!code && !gather(l))
        code = err_set(err, ERR_MEMORY, 0, "candidates of a vocabulary");
    if (code)
        return code;
    rank(l);
    return rebuild(l, tokens, err);
}

static enum err_code write_vocabulary(const struct learn *l, struct outfile **file, struct err *err)
{
    char *text = NULL;
    enum err_code code = world_text(l->tokenizer, &text, err);

    if (!code)
        code = outfile_write(*file, text, strlen(text), err);
    if (!code)
        code = outfile_commit(file, err);
    free(text);
    return code;
}

static enum err_code learn_all(struct learn *l, struct err *err)
{
    const size_t wanted = l->options->ids - BYTES_IDS;
    struct outfile *file = NULL; /* first: a place that cannot be written to is better known now */
    enum err_code code = outfile_open(&file, l->options->output, err);

    l->counts = calloc(LEARN_IDS_MAX, sizeof *l->counts);
    l->pairs = calloc(PAIR_SLOTS, sizeof *l->pairs);
    if (!code)
        code = l->counts && l->pairs ? rebuild(l, 0, err)
                                     : err_set(err, ERR_MEMORY, 0, "counts of a vocabulary");
    if (!code)
        code = corpus_open(&l->corpus,
                           &(struct corpus_options){.files = l->options->files,
                                                    .file_count = l->options->file_count},
                           err);
    for (size_t round = 1; !code && round <= ROUNDS; round++)
        code = one_round(l, wanted * round / ROUNDS, err);
    /* The rest settle: what greedy matching does not use goes. */
    for (size_t round = 0; !code && round < 3; round++)
        code = one_round(l, wanted, err);
    if (!code)
        code = count(l, err); /* with the vocabulary that is written, which is what is told of */
    if (!code)
        code = write_vocabulary(l, &file, err);
    outfile_close(&file);
    return code;
}

enum err_code learn_vocabulary(const struct learn_options *options, struct learn_report *report,
                               struct err *err)
{
    struct learn l = {.options = options};
    enum err_code code = ERR_OK;

    if (options->ids < LEARN_IDS_MIN || options->ids > LEARN_IDS_MAX)
        return err_set(err, ERR_USAGE, 0, "a vocabulary has from %d to %d ids, not %u",
                       LEARN_IDS_MIN, LEARN_IDS_MAX, options->ids);
    for (size_t i = 0; !code && i < options->file_count; i++)
        code = outfile_not_input(options->output, options->files[i].path, err);
    if (!code)
        code = learn_all(&l, err);
    if (!code) {
        *report = l.report;
        report->ids = tokenizer_vocab(l.tokenizer);
    }
    corpus_close(&l.corpus);
    tokenizer_close(&l.tokenizer);
    free(l.counts);
    free(l.pairs);
    free(l.candidates);
    return code;
}
