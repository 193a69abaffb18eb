#include "stages/encode/status.h"

#include "schemas/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

Riverrun__StreamStatus *status_add(Riverrun__Reply *reply, const char *name)
{
    Riverrun__StreamStatus *one = malloc(sizeof *one);

    reply->streams = realloc(reply->streams, (reply->n_streams + 1) * sizeof *reply->streams);
    require(one && reply->streams);
    riverrun__stream_status__init(one);
    status_text(&one->name, name);
    reply->streams[reply->n_streams++] = one;
    return one;
}

/* A copy of nothing would be lost where another text takes its place. */
void status_text(char **field, const char *text)
{
    if (!text[0])
        return;
    *field = strdup(text);
    require(*field);
}

static void from_note(struct store *store, uint64_t stream, Riverrun__StreamStatus *one,
                      bool *paused, bool *failed)
{
    struct buffer bytes = buffer_of(1 << 20);
    Riverrun__Note *note = NULL;

    if (!store_note(store, stream, &bytes, NULL))
        note = riverrun__note__unpack(NULL, bytes.bytes, bytes.data);
    if (note) {
        *paused = note->paused;
        *failed = note->failed;
        status_text(&one->source, note->source);
        status_text(&one->text, note->text);
        riverrun__note__free_unpacked(note, NULL);
    }
    buffer_release(&bytes);
}

/* The newest checkpoint whose meta value can be read, or NULL; *damaged: a newer one is. */
static Riverrun__Checkpoint *newest_readable(struct store *store, uint64_t stream, bool *damaged)
{
    uint64_t numbers[STORE_KEEP];
    size_t count;

    if (store_checkpoints(store, stream, numbers, &count, NULL))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct store_checkpoint *values = NULL;
        Riverrun__Checkpoint *meta = NULL;
        if (!store_checkpoint_read(store, stream, numbers[i], false, &values, NULL))
            meta = riverrun__checkpoint__unpack(NULL, values->meta.bytes, values->meta.data);
        store_checkpoint_free(&values);
        if (meta)
            return meta;
        *damaged = true;
    }
    return NULL;
}

bool status_finished(struct store *store, uint64_t stream)
{
    bool damaged = false;
    Riverrun__Checkpoint *meta = newest_readable(store, stream, &damaged);
    bool finished = meta && meta->finished;

    if (meta)
        riverrun__checkpoint__free_unpacked(meta, NULL);
    return finished;
}

/* True when a checkpoint could be read. */
static bool from_checkpoint(struct store *store, uint64_t stream, Riverrun__StreamStatus *one,
                            bool *finished)
{
    bool damaged = false;
    Riverrun__Checkpoint *meta = newest_readable(store, stream, &damaged);

    if (!meta)
        return false;
    if (damaged && !one->text[0])
        status_text(&one->text, "the newest checkpoint is damaged, this is the one before it: "
                                "`riverrun repair -o DIR`");
    one->bytes = meta->offset;
    one->tokens = meta->tokens;
    one->records = one->durable_records = meta->next_seq;
    one->checkpointed = true;
    one->checkpoint_ms = meta->written_ms;
    if (meta->fingerprints) {
        one->size_known = meta->fingerprints->size_known;
        one->bytes_total = meta->fingerprints->source_bytes;
        status_text(&one->reader, meta->fingerprints->reader);
    }
    *finished = meta->finished;
    if (meta->unbound && !one->text[0]) {
        char text[600];
        snprintf(text, sizeof text, "branched from %s: read FILE --name %s goes on there",
                 meta->branched_from, one->name);
        status_text(&one->text, text);
    }
    riverrun__checkpoint__free_unpacked(meta, NULL);
    return true;
}

struct listing {
    struct store *store;
    Riverrun__Reply *reply;
    struct table known; /* entries that were there before, by the hash of their names */
};

static uint64_t name_hash(const char *name)
{
    return XXH3_64bits(name, strlen(name)) | 1; /* 0 is no key */
}

static bool add_stream(void *user, const char *name, uint64_t stream)
{
    struct listing *l = user;
    Riverrun__StreamStatus *one;
    bool paused = false, failed = false, finished = false, whole;

    one = table_get(&l->known, name_hash(name));
    if (one && !strcmp(one->name, name))
        return true;
    one = status_add(l->reply, name);
    from_note(l->store, stream, one, &paused, &failed);
    whole = from_checkpoint(l->store, stream, one, &finished);
    one->computed = store_counter_read(l->store, stream);
    status_text(&one->state, finished ? "finished"
                             : failed ? "failed"
                             : paused ? "paused"
                                      : "stopped");
    if (!whole && !one->text[0])
        status_text(&one->text, "no checkpoint can be read");
    return true;
}

enum err_code status_of_store(struct store *store, Riverrun__Reply *reply, struct err *err)
{
    struct listing listing = {.store = store, .reply = reply};
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < reply->n_streams; i++)
        code =
            table_set(&listing.known, name_hash(reply->streams[i]->name), reply->streams[i], err);
    if (!code)
        code = store_each(store, add_stream, &listing, err);
    table_release(&listing.known);
    return code;
}

enum err_code status_set_paused(struct store *store, const char *name, bool paused, struct err *err)
{
    struct buffer bytes = buffer_of(1 << 20), packed = buffer_of(1 << 20);
    struct store_batch *batch = NULL;
    Riverrun__Note *note = NULL;
    uint64_t stream;
    void *user;
    enum err_code code = store_find(store, name, &stream, err);

    if (code)
        return err_set(err, code, 0, "no stream '%s' in store '%s'", name, store_path(store));
    if (paused && status_finished(store, stream))
        return ERR_OK;
    code = store_note(store, stream, &bytes, err);
    if (code)
        goto done;
    note = riverrun__note__unpack(NULL, bytes.bytes, bytes.data);
    if (!note) {
        code = err_set(err, ERR_DAMAGED, 0, "note of stream '%s' cannot be decoded", name);
        goto done;
    }
    note->paused = paused;
    code = proto_write(&note->base, &packed, err);
    if (!code)
        code = store_batch_open(&batch, err);
    if (!code)
        code = batch_note(batch, stream, (struct view){packed.data, packed.bytes}, err);
    if (!code) {
        store_submit(store, &batch, NULL);
        require(store_collect(store, true, &user, err));
        code = err->code;
    }
done:
    store_batch_close(&batch);
    if (note)
        riverrun__note__free_unpacked(note, NULL);
    buffer_release(&bytes);
    buffer_release(&packed);
    return code;
}
