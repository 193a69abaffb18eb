/* LAMBADA: can the last word of a passage be told from all of it?
 *
 * PASSAGES passages stand side by side, each with a state of its own. Their contexts go to the engine
 * together; then, a round at a time, every passage takes one token of its target: what the logits before
 * it held most probable is a hit or none, and its loss is added. So a passage needs one row of logits,
 * however long its target is, and the rounds of all share their products. */
#include "pipeline/eval/room.h"
#include "stages/tokenize/text.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

struct ids {
    uint32_t *ids;
    size_t count, room;
};

struct lane {
    struct engine_state *state;
    struct ids context, target; /* context: with what a fresh state reads first */
    float *logits;
    float loss;
    struct engine_job job;
    bool hit;
    double nats;
};

struct lanes {
    struct scorer *scorer;
    const char *name;
    uint64_t line; /* of the file, from 1 */
    uint8_t *origin;
    struct lane lanes[PASSAGES];
    size_t used;
};

/* ---- A line to tokens ---- */

static enum err_code ids_add(struct ids *list, uint32_t id, struct err *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        uint32_t *ids = realloc(list->ids, room * sizeof *ids);
        if (!ids)
            return err_set(err, ERR_MEMORY, 0, "%zu tokens of a passage", room);
        list->ids = ids;
        list->room = room;
    }
    list->ids[list->count++] = id;
    return ERR_OK;
}

static enum err_code tokens_of(const struct tokenizer *tokenizer, struct view bytes,
                               struct ids *list, struct err *err)
{
    struct view upstream;
    struct text text;
    struct text_token token;
    enum err_code code =
        text_open(&text, tokenizer, NORMALIZE_NONE, false, (struct view){0}, &upstream, err);

    if (!code)
        code = text_push(&text, bytes, MSG_END, err);
    while (!code && text_take(&text, &token))
        code = ids_add(list, token.id, err);
    text_close(&text);
    return code;
}

static enum err_code bad_line(const struct lanes *l, const char *what, struct err *err)
{
    return err_set(err, ERR_INPUT, 0, "'%s' line %llu: %s", l->name, (unsigned long long)l->line,
                   what);
}

static enum err_code load_passage(struct lanes *l, struct view passage, struct err *err)
{
    struct lane *lane = &l->lanes[l->used];
    const struct tokenizer *tokenizer = l->scorer->tokenizer;
    const uint8_t *space = memrchr(passage.data, ' ', passage.bytes);
    struct view context, target;
    enum err_code code = ERR_OK;

    if (!space || space + 1 == passage.data + passage.bytes)
        return bad_line(l, "no word behind a space at the end of \"text\"", err);
    context = (struct view){passage.data, (size_t)(space - passage.data)};
    target = (struct view){space, passage.bytes - context.bytes};
    lane->context.count = lane->target.count = 0;
    if (l->scorer->has_origin)
        code = ids_add(&lane->context, 0, err);
    if (!code)
        code = tokens_of(tokenizer, context, &lane->context, err);
    if (!code)
        code = tokens_of(tokenizer, target, &lane->target, err);
    if (!code && lane->context.count == 0)
        code = bad_line(l, "nothing stands before the last word of \"text\"", err);
    if (!code)
        l->used++;
    return code;
}

static enum err_code load_line(struct lanes *l, const char *line, size_t bytes, struct err *err)
{
    json_error_t why;
    json_t *object = json_loadb(line, bytes, 0, &why), *text = json_object_get(object, "text");
    enum err_code code;

    if (!object)
        code = bad_line(l, "is not JSON", err);
    else if (!json_is_string(text))
        code = bad_line(l, "has no string \"text\"", err);
    else
        code = load_passage(
            l, (struct view){(const uint8_t *)json_string_value(text), json_string_length(text)},
            err);
    json_decref(object);
    return code;
}

/* ---- Through the model ---- */

static bool most_probable(const float *logits, uint32_t vocab, uint32_t token)
{
    for (uint32_t i = 0; i < vocab; i++)
        if (!(logits[i] < logits[token] || (i >= token && logits[i] == logits[token])))
            return false;
    return true;
}

static enum err_code submit(struct lanes *l, struct lane *lane, struct engine_job job,
                            struct err *err)
{
    lane->job = job;
    lane->job.state = lane->state;
    return engine_submit(l->scorer->engine, &lane->job, err);
}

/* The contexts of all lanes; what comes behind each is in its logits. */
static enum err_code run_contexts(struct lanes *l, struct err *err)
{
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < l->used; i++) {
        struct lane *lane = &l->lanes[i];
        lane->hit = true;
        lane->nats = 0;
        code = engine_state_load(lane->state, l->origin, err);
        if (!code)
            code = submit(l, lane,
                          (struct engine_job){.tokens = lane->context.ids,
                                              .count = lane->context.count,
                                              .logits = lane->logits},
                          err);
    }
    while (engine_collect(l->scorer->engine, true)) {
    }
    return code;
}

/* Token number at of every target that has so many. */
static enum err_code run_round(struct lanes *l, size_t at, bool *any, struct err *err)
{
    uint32_t vocab = engine_info(l->scorer->engine)->vocab;
    enum err_code code = ERR_OK;

    *any = false;
    for (size_t i = 0; !code && i < l->used; i++) {
        struct lane *lane = &l->lanes[i];
        if (at >= lane->target.count)
            continue;
        *any = true;
        lane->hit = lane->hit && most_probable(lane->logits, vocab, lane->target.ids[at]);
        code =
            submit(l, lane,
                   (struct engine_job){.tokens = lane->target.ids + at,
                                       .count = 1,
                                       .loss = &lane->loss,
                                       .logits = at + 1 < lane->target.count ? lane->logits : NULL},
                   err);
    }
    while (engine_collect(l->scorer->engine, true)) {
    }
    for (size_t i = 0; !code && i < l->used; i++)
        if (at < l->lanes[i].target.count)
            l->lanes[i].nats += l->lanes[i].loss;
    return code;
}

/* The lanes that are loaded, to their end. */
static enum err_code run_lanes(struct lanes *l, struct passages *sum, struct err *err)
{
    bool any = true;
    enum err_code code = run_contexts(l, err);

    for (size_t at = 0; !code && any; at++)
        code = run_round(l, at, &any, err);
    for (size_t i = 0; !code && i < l->used; i++) {
        const struct lane *lane = &l->lanes[i];
        if (!isfinite(lane->nats))
            return err_set(err, ERR_MODEL, 0,
                           "'%s': a loss is not a finite number: the model's weights are not sound",
                           l->name);
        sum->count++;
        sum->hits += lane->hit;
        sum->target_tokens += lane->target.count;
        sum->nats += lane->nats;
    }
    l->used = 0;
    return code;
}

/* ---- The file ---- */

static bool is_blank(const char *line, size_t bytes)
{
    return strspn(line, " \t\r\n") == bytes;
}

static enum err_code read_lines(struct lanes *l, FILE *file, struct passages *sum, struct err *err)
{
    char *line = malloc(LAMBADA_LINE_MAX);
    enum err_code code = ERR_OK;

    if (!line)
        return err_set(err, ERR_MEMORY, 0, "line of '%s'", l->name);
    while (!code && fgets(line, LAMBADA_LINE_MAX, file)) {
        size_t bytes = strlen(line);
        l->line++;
        if (bytes == LAMBADA_LINE_MAX - 1 && line[bytes - 1] != '\n')
            code = bad_line(l, "is longer than a mebibyte", err);
        else if (!is_blank(line, bytes))
            code = load_line(l, line, bytes, err);
        if (!code && l->used == PASSAGES)
            code = run_lanes(l, sum, err);
    }
    if (!code && ferror(file))
        code = err_set(err, ERR_SOURCE, 0, "read '%s'", l->name);
    if (!code)
        code = run_lanes(l, sum, err);
    free(line);
    return code;
}

static enum err_code open_lanes(struct lanes *l, struct err *err)
{
    struct engine *engine = l->scorer->engine;
    const struct engine_info *info = engine_info(engine);

    for (size_t i = 0; i < PASSAGES; i++) {
        if (engine_state_open(engine, &l->lanes[i].state, err))
            return err->code;
        l->lanes[i].logits = malloc(info->vocab * sizeof(float));
        if (!l->lanes[i].logits)
            return err_set(err, ERR_MEMORY, 0, "logits of a passage");
    }
    l->origin = malloc(info->state_bytes);
    if (!l->origin)
        return err_set(err, ERR_MEMORY, 0, "state of a passage");
    engine_state_save(l->lanes[0].state, l->origin);
    return ERR_OK;
}

static void close_lanes(struct lanes *l)
{
    for (size_t i = 0; i < PASSAGES; i++) {
        engine_state_close(&l->lanes[i].state);
        free(l->lanes[i].logits);
        free(l->lanes[i].context.ids);
        free(l->lanes[i].target.ids);
    }
    free(l->origin);
}

enum err_code score_passages(struct scorer *scorer, FILE *file, const char *name,
                             struct passages *passages, struct err *err)
{
    struct lanes l = {.scorer = scorer, .name = name};
    enum err_code code;

    *passages = (struct passages){0};
    code = open_lanes(&l, err);
    if (!code)
        code = read_lines(&l, file, passages, err);
    close_lanes(&l);
    return code;
}
