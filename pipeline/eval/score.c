/* A document through a model. The text is read once and both passes run side by side:
 *
 *    read -> tokens -> [ block | block | block ... ]  a ring of BLOCKS, each a carried job and a reset job
 *                        oldest: collected, added up        newest: submitted
 *
 * A block never crosses a reset. The carried jobs are one stream, those between two resets another; the
 * states of these take turns, and one is loaded with the origin again when its last job is in. */
#include "pipeline/eval/score.h"

#include "pipeline/eval/room.h"
#include "stages/tokenize/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

struct pass_job {
    struct engine_job first; /* one token, unscored; count 0: none */
    struct engine_job rest;
    float loss[BLOCK_TOKENS];
};

struct score_block {
    uint32_t tokens[BLOCK_TOKENS], before; /* before: what a fresh state reads first */
    uint32_t bytes[BLOCK_TOKENS];
    uint32_t count, unscored;
    struct pass_job carried, reset;
};

struct document {
    struct scorer *scorer;
    const char *name;
    struct curve *curve;
    struct engine_state *carried, *fresh[RESET_STATES];
    uint64_t last_use[RESET_STATES]; /* blocks submitted, that one included */
    unsigned turn;
    uint8_t *origin;
    struct score_block *blocks; /* (BLOCKS) a ring */
    uint64_t submitted, collected;
    uint64_t tokens; /* submitted */
    uint32_t last_token;
};

/* ---- Out of the engine ---- */

static enum err_code add_up(struct document *d, const struct score_block *b, struct err *err)
{
    for (uint32_t i = 0; i < b->count; i++) {
        double carried = b->carried.loss[i], reset = b->reset.loss[i];
        if (i < b->unscored)
            curve_unscored(d->curve, b->bytes[i]);
        else if (isfinite(carried) && isfinite(reset))
            curve_scored(d->curve, b->bytes[i], carried, reset);
        else
            return err_set(err, ERR_MODEL, 0,
                           "'%s': the loss at byte %llu is not a finite number: the model's "
                           "weights or state are not sound",
                           d->name, (unsigned long long)d->curve->whole.bytes);
    }
    return ERR_OK;
}

static void collect_pass(struct engine *engine, const struct pass_job *pass)
{
    if (pass->first.count)
        require(engine_collect(engine, true) == &pass->first);
    if (pass->rest.count)
        require(engine_collect(engine, true) == &pass->rest);
}

/* The oldest block: wait for it and add it up. */
static enum err_code collect_block(struct document *d, struct err *err)
{
    const struct score_block *b = &d->blocks[d->collected++ % BLOCKS];

    collect_pass(d->scorer->engine, &b->carried);
    collect_pass(d->scorer->engine, &b->reset);
    return add_up(d, b, err);
}

static enum err_code collect_until(struct document *d, uint64_t blocks, struct err *err)
{
    enum err_code code = ERR_OK;

    while (!code && d->collected < blocks)
        code = collect_block(d, err);
    return code;
}

/* ---- Into the engine ---- */

/* The next state of the reset pass, at the origin. */
static enum err_code reset_state(struct document *d, struct err *err)
{
    enum err_code code;

    d->turn = (d->turn + 1) % RESET_STATES;
    code = collect_until(d, d->last_use[d->turn], err);
    return code ? code : engine_state_load(d->fresh[d->turn], d->origin, err);
}

/* fresh: the state has read nothing. Whatever comes first is read without being scored. */
static enum err_code submit_pass(struct document *d, struct score_block *b, struct pass_job *pass,
                                 struct engine_state *state, bool fresh, struct err *err)
{
    struct engine *engine = d->scorer->engine;
    enum err_code code = ERR_OK;

    pass->first = (struct engine_job){.state = state, .tokens = &b->before, .count = fresh};
    pass->rest = (struct engine_job){.state = state,
                                     .tokens = b->tokens + b->unscored,
                                     .count = b->count - b->unscored,
                                     .loss = pass->loss + b->unscored};
    if (pass->first.count)
        code = engine_submit(engine, &pass->first, err);
    if (!code && pass->rest.count)
        code = engine_submit(engine, &pass->rest, err);
    return code;
}

static enum err_code submit_block(struct document *d, struct err *err)
{
    struct score_block *b = &d->blocks[d->submitted % BLOCKS];
    bool first = d->tokens == 0, reset = d->tokens % d->curve->reset_tokens == 0;
    bool has_origin = d->scorer->has_origin;
    enum err_code code = ERR_OK;

    b->unscored = first && !has_origin;
    b->before = has_origin ? 0 : first ? b->tokens[0] : d->last_token;
    d->tokens += b->count;
    d->last_token = b->tokens[b->count - 1];
    if (reset)
        code = reset_state(d, err);
    if (!code)
        code = submit_pass(d, b, &b->carried, d->carried, first, err);
    if (!code)
        code = submit_pass(d, b, &b->reset, d->fresh[d->turn], reset, err);
    d->last_use[d->turn] = ++d->submitted;
    return code;
}

/* Where the next tokens go: an empty block. */
static enum err_code next_block(struct document *d, struct err *err)
{
    enum err_code code = ERR_OK;

    if (d->submitted - d->collected == BLOCKS)
        code = collect_block(d, err);
    d->blocks[d->submitted % BLOCKS].count = 0;
    return code;
}

/* ---- Text ---- */

static enum err_code take_tokens(struct document *d, struct text *text, struct err *err)
{
    struct text_token token;
    enum err_code code = ERR_OK;

    while (!code && text_take(text, &token)) {
        struct score_block *b = &d->blocks[d->submitted % BLOCKS];
        b->tokens[b->count] = token.id;
        b->bytes[b->count++] = token.source_bytes;
        if (b->count < BLOCK_TOKENS && (d->tokens + b->count) % d->curve->reset_tokens)
            continue;
        if (d->scorer->stop && *d->scorer->stop)
            return err_set(err, ERR_STOPPED, 0, "stopped while '%s' was read", d->name);
        code = submit_block(d, err);
        if (!code)
            code = next_block(d, err);
    }
    return code;
}

static enum err_code read_all(struct document *d, int descriptor, struct text *text,
                              struct err *err)
{
    uint8_t bytes[READ_BYTES];
    enum err_code code = ERR_OK;
    ssize_t got = 1;

    while (!code && got > 0) {
        got = read(descriptor, bytes, sizeof bytes);
        if (got < 0 && errno != EINTR)
            return err_set(err, ERR_SOURCE, errno, "read '%s'", d->name);
        if (got < 0) {
            got = 1;
            continue;
        }
        code = text_push(text, (struct view){bytes, (size_t)got}, got == 0 ? MSG_END : 0, err);
        if (!code)
            code = take_tokens(d, text, err);
    }
    if (!code && d->blocks[d->submitted % BLOCKS].count)
        code = submit_block(d, err);
    return code ? code : collect_until(d, d->submitted, err);
}

/* ---- A document ---- */

static enum err_code open_states(struct document *d, struct err *err)
{
    struct engine *engine = d->scorer->engine;
    enum err_code code = engine_state_open(engine, &d->carried, err);

    for (size_t i = 0; !code && i < RESET_STATES; i++)
        code = engine_state_open(engine, &d->fresh[i], err);
    if (code)
        return code;
    d->origin = malloc(engine_info(engine)->state_bytes);
    d->blocks = calloc(BLOCKS, sizeof *d->blocks);
    if (!d->origin || !d->blocks)
        return err_set(err, ERR_MEMORY, 0, "blocks of a document");
    engine_state_save(d->carried, d->origin);
    return ERR_OK;
}

static void release(struct document *d)
{
    while (engine_collect(d->scorer->engine, true)) {
    }
    engine_state_close(&d->carried);
    for (size_t i = 0; i < RESET_STATES; i++)
        engine_state_close(&d->fresh[i]);
    free(d->origin);
    free(d->blocks);
}

enum err_code score_document(struct scorer *scorer, int descriptor, const char *name,
                             uint64_t reset_tokens, struct curve *curve, struct err *err)
{
    struct document d = {.scorer = scorer, .name = name, .curve = curve};
    struct view upstream;
    struct text text;
    enum err_code code;

    require(reset_tokens > 0);
    curve_begin(curve, reset_tokens);
    code = text_open(&text, scorer->tokenizer, NORMALIZE_NONE, false, (struct view){0}, &upstream,
                     err);
    if (!code)
        code = open_states(&d, err);
    if (!code)
        code = read_all(&d, descriptor, &text, err);
    curve->repaired = text.repaired;
    release(&d);
    text_close(&text);
    return code;
}

/* ---- The scorer ---- */

enum err_code scorer_open(struct scorer **out, struct engine *engine,
                          const struct tokenizer *tokenizer, struct err *err)
{
    struct scorer *s = malloc(sizeof *s);

    if (!s)
        return err_set(err, ERR_MEMORY, 0, "evaluation");
    *s = (struct scorer){.engine = engine,
                         .tokenizer = tokenizer,
                         .has_origin = strcmp(tokenizer_name(tokenizer), "bytes") != 0};
    *out = s;
    return ERR_OK;
}

void scorer_stop_on(struct scorer *scorer, const volatile sig_atomic_t *stop)
{
    scorer->stop = stop;
}

void scorer_close(struct scorer **scorer)
{
    free(*scorer);
    *scorer = NULL;
}
