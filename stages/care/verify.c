/* Verify looks at everything and changes nothing.
 *
 * Values are compared with their checksums by the store; here it is what they mean: that each checkpoint and note can
 * be decoded, that checkpoints of one generation follow each other, and that each output is what its tokens say.
 *
 * A living owner goes on writing meanwhile. A stream is looked at by what the store holds first and the output then,
 * which only grows; where something is wrong all the same (a cut, a restart, a new owner between the two looks) the
 * stream is looked at again from a fresh view of the store, and only what stays is said. */
#include "stages/care/care.h"

#include "schemas/msg.h"
#include "stages/care/found.h"
#include "stages/encode/analysis/analysis.h"
#include "store/care.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { LOOKS_MAX = 4, NOTE_BYTES_MAX = 1 << 20 };

struct listed {
    char *name;
    uint64_t stream;
};

struct verifying {
    const struct care_options *options;
    struct care_verified *totals;
    struct store *store;
    struct listed *streams; /* (count) */
    size_t count, room;
};

static void say(struct verifying *v, enum care_kind kind, const char *thing, const char *text)
{
    v->totals->damaged += kind == CARE_DAMAGED;
    v->totals->sinks += kind == CARE_SINK;
    if (v->options->say)
        v->options->say(v->options->user, kind, thing, text);
}

static enum err_code open_store(struct verifying *v, struct err *err)
{
    const struct store_options look = {.write = false};

    store_close(&v->store);
    return store_open(&v->store, v->options->store, &look, err);
}

/* ---- The checkpoints of a stream ---- */

struct kept {
    uint64_t number;
    Riverrun__Checkpoint *meta;
};

static void check_note(struct verifying *v, uint64_t stream, struct found *found)
{
    struct buffer bytes = buffer_of(NOTE_BYTES_MAX);
    enum err_code code = store_note(v->store, stream, &bytes, NULL);
    Riverrun__Note *note = code ? NULL : riverrun__note__unpack(NULL, bytes.bytes, bytes.data);

    if (note)
        riverrun__note__free_unpacked(note, NULL);
    else if (code != ERR_DAMAGED) /* which the store has said */
        found_add(found, CARE_DAMAGED,
                  "its note cannot be decoded: the next checkpoint writes it anew; a pause is "
                  "forgotten");
    buffer_release(&bytes);
}

/* What one says by itself; NULL where it is well. */
static const char *flaw_of(const Riverrun__Checkpoint *c)
{
    struct analysis analysis = {.resting = true};
    bool whole;

    if (!c || !c->token || !c->fingerprints || c->cursor.len > CURSOR_MAX ||
        c->token->chain.len != SINK_CHAIN_BYTES)
        return "cannot be decoded";
    whole = !analysis_load(&analysis, NULL, (struct view){c->analysis.data, c->analysis.len}, false,
                           NULL);
    analysis_release(&analysis);
    if (!whole)
        return "cannot be decoded";
    if (c->token->n != c->next_seq)
        return "has a sink token of another record";
    if (c->token->first > c->token->n || c->base_seq > c->next_seq ||
        (c->token->n == c->token->first && c->token->length))
        return "has a sink token that makes no sense";
    return NULL;
}

/* Standard output has no length: what went there cannot be looked at. */
static bool went_away(const Riverrun__SinkToken *token)
{
    return token->n > token->first && !token->length;
}

/* A run may go on to standard output where an older one wrote a file: its lengths are no lengths then. */
static bool is_shorter(const Riverrun__Checkpoint *older, const Riverrun__Checkpoint *newer)
{
    return newer->token->length < older->token->length && !went_away(newer->token);
}

/* Falling is nothing wrong in itself: a run whose output had lost its end went on from an older checkpoint. */
static bool went_back(const Riverrun__Checkpoint *older, const Riverrun__Checkpoint *newer)
{
    return older->finished || older->next_seq > newer->next_seq || older->tokens > newer->tokens ||
           older->offset > newer->offset || is_shorter(older, newer);
}

/* Whether the places that a checkpoint counts by fall and rise together: tokens, source bytes, records, output. */
static bool is_torn(const Riverrun__Checkpoint *older, const Riverrun__Checkpoint *newer)
{
    bool behind = newer->tokens<older->tokens, before = newer->tokens> older->tokens;

    return (behind && (newer->offset > older->offset || newer->next_seq > older->next_seq ||
                       newer->token->length > older->token->length)) ||
           (before && (newer->offset < older->offset || newer->next_seq < older->next_seq ||
                       is_shorter(older, newer)));
}

/* Newest first; those that cannot be read are left out. False: a living owner dropped one meanwhile. */
static bool read_kept(struct verifying *v, uint64_t stream, struct kept kept[STORE_KEEP],
                      size_t *count, struct found *found)
{
    uint64_t numbers[STORE_KEEP];
    size_t listed;
    struct err err;
    enum err_code code = store_checkpoints(v->store, stream, numbers, &listed, &err);

    *count = 0;
    if (code) {
        found_add(found, CARE_DAMAGED, "%s", err.text);
        return true;
    }
    if (!listed)
        found_add(found, CARE_NOTE, "it has no checkpoint: it is read from its beginning");
    for (size_t i = 0; i < listed; i++) {
        struct store_checkpoint *values = NULL;
        code = store_checkpoint_read(v->store, stream, numbers[i], false, &values, NULL);
        if (code == ERR_ABSENT)
            return false;
        if (code)
            continue; /* the store has said it */
        struct kept *one = &kept[*count];
        *one = (struct kept){
            numbers[i], riverrun__checkpoint__unpack(NULL, values->meta.bytes, values->meta.data)};
        store_checkpoint_free(&values);
        v->totals->checkpoints++;
        const char *flaw = flaw_of(one->meta);
        if (!flaw) {
            ++*count;
            continue;
        }
        found_add(found, CARE_DAMAGED, "checkpoint %llu %s: the run goes on from the one before it",
                  (unsigned long long)numbers[i], flaw);
        if (one->meta)
            riverrun__checkpoint__free_unpacked(one->meta, NULL);
    }
    return true;
}

static void check_step(const struct kept *older, const struct kept *newer, struct found *found)
{
    unsigned long long from = older->number, to = newer->number;

    if (older->meta->generation > newer->meta->generation)
        found_add(found, CARE_DAMAGED,
                  "checkpoint %llu is of an older generation than checkpoint %llu: begin it again "
                  "with --restart",
                  to, from);
    else if (older->meta->generation < newer->meta->generation)
        return; /* begun again */
    else if (is_torn(older->meta, newer->meta))
        found_add(found, CARE_DAMAGED,
                  "checkpoints %llu and %llu contradict each other: begin it again with --restart",
                  from, to);
    else if (went_back(older->meta, newer->meta))
        found_add(found, CARE_NOTE,
                  "checkpoint %llu stands before checkpoint %llu: its output had lost its end, and "
                  "it went on from an older one",
                  to, from);
}

static void check_steps(const struct kept *kept, size_t count, struct found *found)
{
    for (size_t i = 0; i + 1 < count; i++)
        check_step(&kept[i + 1], &kept[i], found);
}

static void check_sink(struct verifying *v, const char *name, const struct kept *kept, size_t count,
                       struct found *found, struct sink_checked *checked)
{
    struct sink_token tokens[STORE_KEEP];
    struct sink_want want = {.folder = v->options->output,
                             .name = name,
                             .store_id = store_id(v->store),
                             .generation = kept[0].meta->generation,
                             .finished = kept[0].meta->finished,
                             .tokens = tokens};

    for (size_t i = 0; i < count && kept[i].meta->generation == want.generation; i++) {
        const Riverrun__SinkToken *from = kept[i].meta->token;
        tokens[want.count] = (struct sink_token){.generation = from->generation,
                                                 .n = from->n,
                                                 .segment = from->segment,
                                                 .length = from->length,
                                                 .tail = from->tail,
                                                 .first = from->first};
        memcpy(tokens[want.count++].chain, from->chain.data, SINK_CHAIN_BYTES);
    }
    sink_check(&want, found, checked);
}

/* One look at a stream; false: it moved, look again. */
static bool look(struct verifying *v, const struct listed *one, struct found *found)
{
    struct care_verified before = *v->totals;
    struct sink_checked checked = {0};
    struct kept kept[STORE_KEEP];
    size_t count;
    bool still;

    *found = (struct found){0};
    check_note(v, one->stream, found);
    still = read_kept(v, one->stream, kept, &count, found);
    check_steps(kept, count, found);
    if (still && count && went_away(kept[0].meta->token))
        found_add(found, CARE_NOTE,
                  "its records went to standard output, they cannot be looked at");
    else if (still && count && v->options->output && !kept[0].meta->unbound)
        check_sink(v, one->name, kept, count, found, &checked);
    for (size_t i = 0; i < count; i++)
        riverrun__checkpoint__free_unpacked(kept[i].meta, NULL);
    v->totals->records += checked.records;
    v->totals->output_bytes += checked.bytes;
    if (still && !(found->wrong && store_is_owned(v->store)))
        return true;
    *v->totals = before;
    return false;
}

static enum err_code check_stream(struct verifying *v, const struct listed *one, struct err *err)
{
    struct found *found = calloc(1, sizeof *found);
    struct care_verified before = *v->totals;
    enum err_code code = ERR_OK;

    require(found);
    for (int i = 0; !code && !look(v, one, found) && i < LOOKS_MAX; i++) {
        code = open_store(v, err);
        *v->totals = before;
    }
    for (size_t i = 0; i < found->count && !code; i++)
        say(v, found->kind[i], one->name, found->text[i]);
    v->totals->streams++;
    free(found);
    return code;
}

/* ---- All ---- */

static bool list_stream(void *user, const char *name, uint64_t stream)
{
    struct verifying *v = user;

    if (v->count == v->room) {
        v->room = v->room ? 2 * v->room : 64;
        v->streams = realloc(v->streams, v->room * sizeof *v->streams);
    }
    require(v->streams);
    v->streams[v->count] = (struct listed){strdup(name), stream};
    require(v->streams[v->count].name);
    v->count++;
    return true;
}

static void say_value(void *user, const char *line)
{
    struct verifying *v = user;
    char text[FOUND_BYTES + 100];

    const char *what = strncmp(line, "the store '", 11) ? NULL : strstr(line, "': ");
    snprintf(text, sizeof text, "%s%s", what ? what + 3 : line,
             strstr(line, "riverrun repair")
                 ? ""
                 : "; `riverrun repair -o DIR` goes back to what is whole");
    say(v, CARE_DAMAGED, v->options->store, text);
}

static enum err_code check_values(struct verifying *v, struct err *err)
{
    struct store_checked checked = {0};
    enum err_code code = store_verify(v->store, say_value, v, &checked, err);

    v->totals->values += checked.values;
    v->totals->bytes += checked.bytes;
    return code == ERR_DAMAGED ? ERR_OK : code;
}

/* Ingest's environment, where the job follows. */
static enum err_code check_feed(struct verifying *v, struct err *err)
{
    struct store_checked checked = {0};
    enum err_code code;
    char *feed;

    require(asprintf(&feed, "%s/ingest", v->options->store) >= 0);
    code = journal_verify(feed, say_value, v, &checked, err);
    if (code == ERR_DAMAGED && !checked.values) /* its tree: nothing was said yet */
        say(v, CARE_DAMAGED, feed, err->text);
    v->totals->values += checked.values;
    v->totals->bytes += checked.bytes;
    free(feed);
    return code == ERR_DAMAGED || code == ERR_ABSENT ? ERR_OK : code;
}

static void say_damaged(struct verifying *v, const char *claim)
{
    char text[FOUND_BYTES];

    snprintf(
        text, sizeof text,
        "its claim '.riverrun/%.100s' is damaged: remove it if no other process writes to this "
        "folder",
        claim);
    say(v, CARE_SINK, v->options->output, text);
}

/* The claim on the output folder against the store, which may be an older copy of itself. */
static enum err_code check_epoch(struct verifying *v, struct err *err)
{
    struct outputs outputs;
    enum err_code code = ERR_OK;
    char text[FOUND_BYTES];

    for (int i = 0; !code && i < LOOKS_MAX; i++) {
        outputs_read(&outputs, v->options->output, store_id(v->store));
        uint64_t theirs = outputs_epoch(&outputs, store_id(v->store));
        if (outputs.damaged && i == 0)
            say_damaged(v, outputs.damaged);
        outputs_release(&outputs);
        if (theirs <= store_owner_epoch(v->store))
            return ERR_OK;
        snprintf(
            text, sizeof text,
            "written by a later run (owner epoch %llu) than the store knows of (%llu): put back "
            "the newer store, or let this one go on by `riverrun repair -o DIR`",
            (unsigned long long)theirs, (unsigned long long)store_owner_epoch(v->store));
        code = open_store(v, err); /* a new owner may have come between the two looks */
    }
    if (!code)
        say(v, CARE_SINK, v->options->output, text);
    return code;
}

static enum err_code verify(struct verifying *v, struct err *err)
{
    enum err_code code = open_store(v, err);

    if (code == ERR_DAMAGED) {
        say(v, CARE_DAMAGED, v->options->store, err->text);
        return ERR_OK;
    }
    if (!code)
        code = check_values(v, err);
    if (!code && v->options->output)
        code = check_epoch(v, err);
    if (!code)
        code = store_each(v->store, list_stream, v, err);
    for (size_t i = 0; i < v->count && !code; i++)
        code = check_stream(v, &v->streams[i], err);
    return code ? code : check_feed(v, err);
}

enum err_code care_verify(const struct care_options *options, struct care_verified *totals,
                          struct err *err)
{
    struct verifying v = {.options = options, .totals = totals};
    enum err_code code;

    *totals = (struct care_verified){0};
    code = verify(&v, err);
    store_close(&v.store);
    for (size_t i = 0; i < v.count; i++)
        free(v.streams[i].name);
    free(v.streams);
    if (!code) { /* what is wrong was said line by line */
        code = totals->damaged ? ERR_DAMAGED : totals->sinks ? ERR_SINK : ERR_OK;
        *err = (struct err){.code = code};
    }
    return code;
}
