/* A checkpoint taken over: which are there, whether this run goes on as that one did, and its values
 * into the stream. The engine takes the state later, when the stream runs. */
#include "stages/encode/encode.h"
#include "stages/encode/points.h"

#include <stdio.h>
#include <stdlib.h>

static void hex(const uint8_t *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count && i < 4; i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
}

static bool is_print(const ProtobufCBinaryData *bytes, const uint8_t *fingerprint)
{
    return bytes->len == ENGINE_FINGERPRINT_BYTES &&
           !memcmp(bytes->data, fingerprint, ENGINE_FINGERPRINT_BYTES);
}

/* ---- What the store's streams were begun with ---- */

enum { STREAMS_ASKED = 8 }; /* should the checkpoints of one be damaged */

struct asked {
    uint64_t streams[STREAMS_ASKED];
    size_t count;
};

static bool take_one(void *user, const char *name, uint64_t stream)
{
    struct asked *asked = user;

    (void)name;
    asked->streams[asked->count++] = stream;
    return asked->count < STREAMS_ASKED;
}

/* The weights of an arithmetic that is the same everywhere; NULL: of a library's. */
static const char *type_of(const char *arithmetic)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    char fixed[16];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(fixed, sizeof fixed, "%s-1", names[i]);
        if (strcmp(arithmetic, fixed) == 0)
            return names[i];
    }
    return NULL;
}

/* True: a checkpoint of stream says it. */
static bool weights_from(struct encode *e, uint64_t stream)
{
    uint64_t numbers[STORE_KEEP];
    size_t count = 0;
    bool found = false;
    struct err ignored;

    if (store_checkpoints(e->store, stream, numbers, &count, &ignored))
        return false;
    for (size_t i = 0; i < count && !found; i++) {
        struct store_checkpoint *values;
        Riverrun__Checkpoint *meta;
        const char *type;
        if (checkpoint_read(e, stream, numbers[i], &values, &meta, false, &ignored))
            continue;
        type = type_of(meta->arithmetic);
        e->weight_type = type ? type : e->weight_type;
        found = true;
        riverrun__checkpoint__free_unpacked(meta, NULL);
        store_checkpoint_free(&values);
    }
    return found;
}

enum err_code restore_weights(struct encode *e, struct err *err)
{
    struct asked asked = {.count = 0};

    if (e->weight_type && strcmp(e->weight_type, "auto") != 0)
        return ERR_OK;
    if (store_each(e->store, take_one, &asked, err))
        return err->code;
    for (size_t i = 0; i < asked.count; i++)
        if (weights_from(e, asked.streams[i]))
            break;
    return ERR_OK;
}

/* ---- A stream's checkpoints ---- */

/* What a stream was begun with, and what this run would go on with. */
struct setting {
    const char *what, *flag; /* flag: accepts a change; NULL: nothing does */
    const char *old, *new;
    bool same, accepted;
};

/* A branch begins again with the state that it was branched with, so --restart changes neither model nor arithmetic. */
static enum err_code refuse(const struct setting *was, bool branched, struct err *err)
{
    const char *again = branched && was->flag ? "" : ", begin again with --restart";

    return err_set(err, ERR_MISMATCH, 0, "begun with %s %s, now %s: run it as it was begun%s%s%s",
                   was->what, was->old, was->new, again, was->flag ? ", or go on with " : "",
                   was->flag ? was->flag : "");
}

/* changed: what this run does otherwise than the checkpoint and may; "" where nothing. */
static enum err_code check_settings(struct stream *s, const Riverrun__Checkpoint *meta,
                                    char *changed, size_t room, struct err *err)
{
    const struct config *c = s->encode->env->config;
    const char *unit = unit_name(c->unit), *normalize = normalize_name(c->normalize);
    char parts[ANALYZE_TEXT_MAX], old_rate[32], new_rate[32];
    char old_period[64], new_period[64];
    const char *analyze = analyze_text(c->analyze, parts);
    const char *arithmetic = s->encode->arithmetic;
    const uint8_t *model = s->encode->model, *weights = s->encode->weights;
    const ProtobufCBinaryData *old_weights = meta->weights.len ? &meta->weights : &meta->model;
    const bool other_start = is_print(old_weights, weights); /* where the model is not the same */
    char old_model[16] = "?", new_model[16];
    size_t used = 0;

    snprintf(old_rate, sizeof old_rate, "%g", (double)meta->alerts_per_million / 1000);
    snprintf(new_rate, sizeof new_rate, "%g", (double)c->alerts_per_million / 1000);
    snprintf(old_period, sizeof old_period, "%llu lines, %llu minutes",
             (unsigned long long)meta->summary_lines, (unsigned long long)meta->summary_minutes);
    snprintf(new_period, sizeof new_period, "%llu lines, %llu minutes",
             (unsigned long long)c->summary_lines, (unsigned long long)c->summary_minutes);
    hex(meta->model.data, meta->model.len, old_model);
    hex(model, ENGINE_FINGERPRINT_BYTES, new_model);
    if (other_start && !meta->weights.len)
        strcpy(old_model, "none");
    if (other_start && !c->initial_state)
        strcpy(new_model, "none");
    bool any_text =
        meta->unbound; /* how a branch cuts its own text is not the other stream's matter */
    const struct setting settings[] = {
        {"--unit", NULL, meta->unit, unit, any_text || !strcmp(meta->unit, unit), false},
        {"--normalize", NULL, meta->fingerprints->normalize, normalize,
         any_text || !strcmp(meta->fingerprints->normalize, normalize), false},
        {"record format", NULL, "another", "this program's",
         any_text || meta->record_format == RECORD_FORMAT, false},
        {"--analyze", NULL, meta->analyze, analyze, any_text || !strcmp(meta->analyze, analyze),
         false},
        {"--alerts-per-1000", NULL, old_rate, new_rate,
         any_text || meta->alerts_per_million == c->alerts_per_million, false},
        {"--summary-lines and --summary-minutes", NULL, old_period, new_period,
         any_text || (meta->summary_lines == c->summary_lines &&
                      meta->summary_minutes == c->summary_minutes),
         false},
        {other_start ? "initial state" : "model", "--accept-model", old_model, new_model,
         is_print(&meta->model, model), c->accept_model},
        {"arithmetic", "--accept-arithmetic", meta->arithmetic, arithmetic,
         !strcmp(meta->arithmetic, arithmetic), c->accept_arithmetic}};
    changed[0] = 0;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const struct setting *was = &settings[i];
        if (was->same)
            continue;
        if (!was->accepted)
            return refuse(was, meta->branched_from[0] != 0, err);
        used += (size_t)snprintf(changed + used, room - used, "%s%s: %s -> %s", used ? "; " : "",
                                 was->what, was->old, was->new);
        if (used >= room)
            return err_set(err, ERR_LIMIT, 0, "the change has no room in %zu bytes", room);
    }
    return ERR_OK;
}

static void take_branched_from(struct stream *s, const Riverrun__Checkpoint *meta)
{
    free(s->branched_from);
    s->branched_from = meta->branched_from[0] ? strdup(meta->branched_from) : NULL;
    require(s->branched_from || !meta->branched_from[0]);
}

/* The checkpoints to resume from, below number: the newest that is whole, then others of its
 * generation. */
enum err_code restore_find(struct stream *s, uint64_t below, struct err *err)
{
    struct encode *e = s->encode;
    uint64_t numbers[STORE_KEEP];
    size_t count;
    struct err why;

    s->candidate_count = 0;
    if (store_checkpoints(e->store, s->id, numbers, &count, err))
        return err->code;
    if (count && numbers[0] >= s->number)
        s->number = numbers[0];
    for (size_t i = 0; i < count; i++) {
        struct store_checkpoint *values;
        Riverrun__Checkpoint *meta;
        if (numbers[i] >= below)
            continue;
        if (checkpoint_read(e, s->id, numbers[i], &values, &meta, s->candidate_count == 0, &why)) {
            stage_report(e->env, STAGE_WARNING, s->name,
                         "%s; going on from the checkpoint before it", why.text);
            continue;
        }
        if (s->candidate_count == 0) {
            s->generation = meta->generation;
            take_branched_from(s, meta);
        }
        /* A branch's first, once a source belongs to it, is where nothing can be gone on from. */
        if (meta->generation == s->generation && !(meta->unbound && s->candidate_count)) {
            struct candidate *c = &s->candidates[s->candidate_count++];
            c->number = numbers[i];
            c->finished = meta->finished;
            token_from(&c->token, meta->token);
        }
        riverrun__checkpoint__free_unpacked(meta, NULL);
        store_checkpoint_free(&values);
    }
    if (s->candidate_count == 0)
        return err_set(err, ERR_DAMAGED, 0,
                       "no whole checkpoint is left: begin again with --restart");
    return ERR_OK;
}

static void join_parts(struct stream *s, const struct store_checkpoint *values)
{
    size_t bytes = 0, at = 0;

    for (size_t i = 0; i < values->part_count; i++)
        bytes += values->parts[i].bytes;
    free(s->loaded);
    s->loaded_bytes = bytes;
    s->loaded = malloc(bytes + 1);
    require(s->loaded);
    for (size_t i = 0; i < values->part_count; i++) {
        memcpy(s->loaded + at, values->parts[i].data, values->parts[i].bytes);
        at += values->parts[i].bytes;
    }
}

/* rest: of the analysis only the place, for a stream that is not worked on yet. */
static enum err_code load_analysis(struct stream *s, const Riverrun__Checkpoint *meta, bool rest,
                                   struct err *err)
{
    const struct analysis_options options = analysis_options_of(s->encode);
    struct view bytes = {meta->analysis.data, meta->analysis.len};
    enum err_code code =
        analysis_load(&s->analysis, meta->unbound ? NULL : &options, bytes, rest, err);

    turn_analysis_counted(s);
    return code;
}

/* Take over what a checkpoint says. */
static enum err_code load(struct stream *s, const Riverrun__Checkpoint *meta,
                          const struct store_checkpoint *values, bool rest, struct err *err)
{
    if (load_analysis(s, meta, rest, err))
        return err->code;
    s->generation = meta->generation;
    s->base = meta->base_seq;
    s->finished = meta->finished;
    s->origin = meta->origin;
    s->unbound = meta->unbound;
    take_branched_from(s, meta);
    s->accepted.cursor_bytes = meta->cursor.len;
    if (meta->cursor.len) /* a branch has none */
        memcpy(s->accepted.cursor, meta->cursor.data, meta->cursor.len);
    s->submitted = s->accepted;
    s->submitted.used = s->skip = meta->used;
    s->tokens = s->tokens_submitted = meta->tokens;
    s->next_seq = meta->next_seq;
    s->checkpoint_clock_ms = meta->written_ms;
    token_from(&s->durable, meta->token);
    s->records.first = s->records.sent = s->next_seq;
    free(s->lineage);
    s->lineage = meta->n_lineage ? strdup(meta->lineage[0]) : NULL;
    if (s->prints)
        riverrun__fingerprints__free_unpacked(s->prints, NULL);
    s->prints = meta->fingerprints;
    join_parts(s, values);
    return ERR_OK;
}

/* Both are released; what s keeps of them is taken out. */
static enum err_code take_over(struct stream *s, Riverrun__Checkpoint *meta,
                               struct store_checkpoint *values, bool rest, char *changed,
                               size_t room, struct err *err)
{
    enum err_code code = check_settings(s, meta, changed, room, err);

    if (!code)
        code = load(s, meta, values, rest, err);
    if (!code) {
        meta->fingerprints = NULL; /* taken over */
        s->loaded_number = values->number;
    }
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
    return code;
}

static enum err_code read_number(struct stream *s, uint64_t number, bool with_state, char *changed,
                                 size_t room, struct err *err)
{
    struct store_checkpoint *values;
    Riverrun__Checkpoint *meta;
    enum err_code code = checkpoint_read(s->encode, s->id, number, &values, &meta, with_state, err);

    return code ? code : take_over(s, meta, values, !with_state, changed, room, err);
}

enum err_code restore_origin(struct stream *s, char *changed, size_t room, struct err *err)
{
    struct store_checkpoint *values = NULL;
    Riverrun__Checkpoint *meta = NULL;
    enum err_code code =
        store_point_read(s->encode->store, s->id, POINT_ORIGIN, true, &values, err);

    if (!code)
        code = point_decode(values->meta, &meta, err);
    if (!code && meta->unbound)
        return take_over(s, meta, values, false, changed, room, err);
    if (meta) {
        riverrun__checkpoint__free_unpacked(meta, NULL);
        code = err_set(err, ERR_ABSENT, 0, "'%s' is a savepoint like others", POINT_ORIGIN);
    }
    store_checkpoint_free(&values);
    return code;
}

enum err_code restore_load(struct stream *s, uint64_t number, char *changed, size_t room,
                           struct err *err)
{
    return read_number(s, number, true, changed, room, err);
}

enum err_code restore_peek(struct stream *s, uint64_t number, char *changed, size_t room,
                           struct err *err)
{
    return read_number(s, number, false, changed, room, err);
}

/* Checksums say that these are the bytes that were written, not that they are a state: an import may come from
 * anywhere. */
enum err_code restore_into_engine(struct stream *s, struct err *err)
{
    size_t want = engine_info(s->encode->engine)->state_bytes;

    if (!s->origin && s->loaded_bytes != want)
        return err_set(err, ERR_DAMAGED, 0,
                       "its state has %zu bytes, this model's %zu: begin again with --restart",
                       s->loaded_bytes, want);
    if (!s->origin && engine_state_load(s->state, s->loaded, err))
        return err->code;
    free(s->loaded);
    s->loaded = NULL;
    return ERR_OK;
}

enum err_code restore_state(struct stream *s, struct err *err)
{
    struct store_checkpoint *values;
    Riverrun__Checkpoint *meta;
    enum err_code code = checkpoint_read(s->encode, s->id, s->number, &values, &meta, true, err);

    if (code)
        return code;
    code = load_analysis(s, meta, false, err);
    s->origin = meta->origin; /* token 0 may have been read since, and is then read again */
    join_parts(s, values);
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
    return code ? code : restore_into_engine(s, err);
}

/* Emit has chosen the newest checkpoint that the file bears out. */
bool restore_take(struct stream *s, uint64_t n, struct err *err)
{
    char changed[320];
    size_t i = 0;
    enum err_code code;

    while (i < s->candidate_count && s->candidates[i].token.n != n)
        i++;
    if (i == s->candidate_count) {
        err_set(err, ERR_SINK, 0, "emit answers with %llu records, which no checkpoint has",
                (unsigned long long)n);
        return false;
    }
    if (s->candidates[i].number == s->loaded_number)
        return true;
    code = restore_load(s, s->candidates[i].number, changed, sizeof changed, err);
    if (code == ERR_DAMAGED && !restore_find(s, s->candidates[i].number, err)) {
        err->code = ERR_OK;
        stream_open_down(s); /* ask again, without the damaged one */
        return false;
    }
    return !code;
}
