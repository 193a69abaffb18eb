#include "stages/encode/points.h"

#include "stages/encode/analysis/analysis.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { META_MAX = 1 << 20, CHAIN_BYTES = 16 };

/* ---- Found and read ---- */

static enum err_code no_point(const struct point *point, struct err *err)
{
    return err_set(err, ERR_ABSENT, 0,
                   "stream '%s' has no point '%s': `riverrun history` names them", point->stream,
                   point->name);
}

enum err_code point_parse(struct store *store, const char *text, struct point *out, struct err *err)
{
    struct point p = {0};
    const char *at = strrchr(text, '@');
    size_t bytes = strlen(text);
    enum err_code code = store_find(store, text, &p.id, err);

    if (code == ERR_ABSENT && at) {
        bytes = (size_t)(at - text);
        if (bytes > STORE_NAME_MAX || strlen(at + 1) > STORE_POINT_MAX)
            return err_set(err, ERR_USAGE, 0, "'%.80s' is no STREAM@POINT", text);
        memcpy(p.stream, text, bytes);
        memcpy(p.name, at + 1, strlen(at + 1));
        if (!p.name[0])
            return err_set(err, ERR_USAGE, 0, "'%.80s': a point is to follow the '@'", text);
        code = store_find(store, p.stream, &p.id, err);
    } else if (!code) {
        memcpy(p.stream, text, bytes);
    }
    if (code == ERR_ABSENT)
        return err_set(err, code, 0, "no stream '%.*s' in '%s': `riverrun status` names them",
                       (int)bytes, text, store_path(store));
    if (!code)
        *out = p;
    return code;
}

enum err_code point_decode(struct view bytes, Riverrun__Checkpoint **meta, struct err *err)
{
    Riverrun__Checkpoint *got = riverrun__checkpoint__unpack(NULL, bytes.bytes, bytes.data);

    if (got && got->token && got->fingerprints && got->cursor.len <= CURSOR_MAX) {
        *meta = got;
        return ERR_OK;
    }
    if (got)
        riverrun__checkpoint__free_unpacked(got, NULL);
    err_set(err, ERR_DAMAGED, 0, "a checkpoint cannot be decoded");
    return ERR_DAMAGED;
}

/* The number that a point's name is: all digits. */
static bool is_number(const char *name, uint64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoull(name, &end, 10);
    if (errno || *number == UINT64_MAX) /* none has so high a one; the highest means the newest */
        *number = UINT64_MAX - 1;
    return *name && !*end && strspn(name, "0123456789") == strlen(name);
}

static enum err_code newest(struct store *store, const struct point *point, uint64_t *number,
                            struct err *err)
{
    uint64_t numbers[STORE_KEEP];
    size_t count;
    enum err_code code = store_checkpoints(store, point->id, numbers, &count, err);

    if (!code && count == 0)
        code = err_set(err, ERR_ABSENT, 0, "stream '%s' has no checkpoint yet: read it first",
                       point->stream);
    if (!code)
        *number = numbers[0];
    return code;
}

enum err_code point_pin(struct store *store, struct point *point, struct err *err)
{
    uint64_t number;
    enum err_code code = newest(store, point, &number, err);

    if (!code)
        snprintf(point->name, sizeof point->name, "%llu", (unsigned long long)number);
    return code;
}

enum err_code point_read(struct store *store, const struct point *point, bool with_parts,
                         struct store_checkpoint **values, Riverrun__Checkpoint **meta,
                         struct err *err)
{
    uint64_t number;
    enum err_code code = ERR_OK;

    if (point->name[0] && !is_number(point->name, &number))
        code = store_point_read(store, point->id, point->name, with_parts, values, err);
    else {
        if (!point->name[0])
            code = newest(store, point, &number, err);
        if (!code)
            code = store_checkpoint_read(store, point->id, number, with_parts, values, err);
    }
    if (code == ERR_ABSENT && point->name[0])
        no_point(point, err);
    if (code)
        return code;
    code = point_decode((*values)->meta, meta, err);
    if (code)
        store_checkpoint_free(values);
    return code;
}

/* ---- Savepoints ---- */

static enum err_code check_name(const char *name, struct err *err)
{
    if (store_point_name(name))
        return ERR_OK;
    return err_set(
        err, ERR_USAGE, 0,
        "savepoint '%.70s': take 1 to %d letters, digits or signs other than '@' and '/', "
        "and no number",
        name, STORE_POINT_MAX);
}

enum err_code point_save(struct store *store, const struct point *point, const char *name,
                         struct store_batch **out, struct err *err)
{
    struct store_checkpoint *there = NULL;
    struct store_batch *batch = NULL;
    uint64_t number = UINT64_MAX;
    enum err_code code = check_name(name, err);

    if (code)
        return code;
    code = store_point_read(store, point->id, name, false, &there, err);
    store_checkpoint_free(&there);
    if (!code)
        return err_set(err, ERR_USAGE, 0,
                       "stream '%s' has a savepoint '%s' already: drop it with --drop, or take "
                       "another name",
                       point->stream, name);
    if (code != ERR_ABSENT)
        return code;
    if (point->name[0] && !is_number(point->name, &number)) {
        code = store_point_read(store, point->id, point->name, false, &there, err);
        store_checkpoint_free(&there);
        if (code)
            return code == ERR_ABSENT ? no_point(point, err) : code;
        return err_set(err, ERR_USAGE, 0, "'%s' is a savepoint already", point->name);
    }
    code = store_batch_open(&batch, err);
    if (!code)
        code = batch_savepoint(batch, point->id, number, name, err);
    if (code)
        store_batch_close(&batch);
    else
        *out = batch;
    return code;
}

enum err_code point_drop(struct store *store, const struct point *point, const char *name,
                         struct store_batch **out, struct err *err)
{
    struct store_batch *batch = NULL;
    enum err_code code = check_name(name, err);

    (void)store;
    if (!code)
        code = store_batch_open(&batch, err);
    if (!code)
        code = batch_unsave(batch, point->id, name, err);
    if (code)
        store_batch_close(&batch);
    else
        *out = batch;
    return code;
}

/* ---- New streams ---- */

static void set_bytes(ProtobufCBinaryData *field, const void *data, size_t bytes)
{
    free(field->data);
    *field = (ProtobufCBinaryData){bytes, bytes ? malloc(bytes) : NULL};
    require(!bytes || field->data);
    if (bytes)
        memcpy(field->data, data, bytes);
}

static void set_text(char **field, const char *text)
{
    if (*field != protobuf_c_empty_string)
        free(*field);
    *field = strdup(text);
    require(*field);
}

/* A stream of its own, whose records are numbered on in a file that begins there. */
static void begin_output(Riverrun__Checkpoint *meta)
{
    static const uint8_t chain[CHAIN_BYTES];

    set_bytes(&meta->token->chain, chain, sizeof chain);
    meta->token->generation = meta->generation = 1;
    meta->token->n = meta->token->first = meta->base_seq = meta->next_seq;
    meta->token->segment = meta->token->length = meta->token->tail = 0;
}

/* No source yet: what belongs to one begins anew, and the model's memory stays. */
static void unbind(Riverrun__Checkpoint *meta, const char *from)
{
    struct buffer analysis = buffer_of(ANALYSIS_BYTES_MAX);

    analysis_blank(&analysis); /* what is read first begins it again */
    require(!analysis.refused);
    set_bytes(&meta->analysis, analysis.data, analysis.bytes);
    buffer_release(&analysis);
    set_bytes(&meta->cursor, NULL, 0);
    set_bytes(&meta->fingerprints->head, NULL, 0);
    meta->fingerprints->size_known = false;
    meta->fingerprints->source_bytes = 0;
    meta->used = meta->offset = 0;
    meta->finished = false;
    meta->unbound = true;
    for (size_t i = 0; i < meta->n_lineage; i++)
        free(meta->lineage[i]);
    meta->n_lineage = 0;
    set_text(&meta->branched_from, from);
}

/* The name must be free: taken ones are not written over. */
static enum err_code check_free(struct store *store, const char *name, const char *remedy,
                                struct err *err)
{
    uint64_t id;
    enum err_code code;

    if (!*name || strlen(name) > STORE_NAME_MAX)
        return err_set(err, ERR_USAGE, 0, "a stream's name has 1 to %d bytes", STORE_NAME_MAX);
    code = store_find(store, name, &id, err);
    if (!code)
        return err_set(err, ERR_USAGE, 0, "stream '%s' is there already: %s", name, remedy);
    return code == ERR_ABSENT ? ERR_OK : code;
}

/* One checkpoint as the first of a new stream; origin: with a savepoint of it. */
static enum err_code make_stream(struct store *store, const char *name,
                                 const Riverrun__Checkpoint *meta, const struct view *parts,
                                 size_t part_count, bool origin, struct store_batch **out,
                                 struct err *err)
{
    Riverrun__Note note = RIVERRUN__NOTE__INIT;
    struct buffer meta_bytes = buffer_of(META_MAX), note_bytes = buffer_of(META_MAX);
    struct store_batch *batch = NULL;
    uint64_t id = store_reserve(store);
    enum err_code code = proto_write(&meta->base, &meta_bytes, err);

    if (!code)
        code = proto_write(&note.base, &note_bytes, err);
    if (!code)
        code = store_batch_open(&batch, err);
    if (!code)
        code = batch_stream(batch, id, name, err);
    if (!code)
        code = batch_note(batch, id, (struct view){note_bytes.data, note_bytes.bytes}, err);
    if (!code)
        code = batch_checkpoint(batch, id, 1, (struct view){meta_bytes.data, meta_bytes.bytes},
                                parts, part_count, err);
    if (!code && origin)
        code = batch_savepoint(batch, id, 1, POINT_ORIGIN, err);
    buffer_release(&meta_bytes);
    buffer_release(&note_bytes);
    if (code)
        store_batch_close(&batch);
    else
        *out = batch;
    return code;
}

enum err_code point_branch(struct store *store, const struct point *point, const char *target,
                           struct store_batch **out, struct err *err)
{
    struct store_checkpoint *values = NULL;
    Riverrun__Checkpoint *meta = NULL;
    char from[STORE_NAME_MAX + STORE_POINT_MAX + 2], number[24];
    enum err_code code = check_free(store, target, "choose another name for the branch", err);

    if (!code)
        code = point_read(store, point, true, &values, &meta, err);
    if (code)
        return code;
    snprintf(number, sizeof number, "%llu", (unsigned long long)values->number);
    snprintf(from, sizeof from, "%s@%s", point->stream, point->name[0] ? point->name : number);
    unbind(meta, from);
    begin_output(meta);
    code = make_stream(store, target, meta, values->parts, values->part_count, true, out, err);
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
    return code;
}

/* Its texts are shown on terminals and go into records. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F)
            return false;
    return true;
}

static bool has_plain_texts(const Riverrun__Checkpoint *meta)
{
    bool plain = is_plain(meta->branched_from) && is_plain(meta->arithmetic) &&
                 is_plain(meta->unit) && is_plain(meta->analyze) &&
                 is_plain(meta->fingerprints->tokenizer) &&
                 is_plain(meta->fingerprints->normalize) && is_plain(meta->fingerprints->unicode) &&
                 is_plain(meta->fingerprints->reader) && is_plain(meta->fingerprints->entries);

    for (size_t i = 0; i < meta->n_lineage; i++)
        plain = plain && is_plain(meta->lineage[i]);
    return plain;
}

enum err_code point_import(struct store *store, const struct exported *from, const char *target,
                           struct store_batch **out, struct err *err)
{
    Riverrun__Checkpoint *meta = NULL;
    enum err_code code = check_free(store, target, "give the import another with --as NAME", err);

    if (!code)
        code = point_decode(from->pieces[0], &meta, err);
    if (code)
        return code;
    if (!has_plain_texts(meta)) {
        riverrun__checkpoint__free_unpacked(meta, NULL);
        return err_set(err, ERR_DAMAGED, 0,
                       "the export's metadata holds control characters: riverrun did not write it");
    }
    begin_output(meta);
    code = make_stream(store, target, meta, from->pieces + 1, from->piece_count - 1, meta->unbound,
                       out, err);
    riverrun__checkpoint__free_unpacked(meta, NULL);
    return code;
}

enum err_code point_commit(struct store *store, struct store_batch **batch, struct err *err)
{
    void *user;

    store_submit(store, batch, NULL);
    require(store_collect(store, true, &user, err));
    return err->code;
}
