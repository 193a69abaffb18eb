/* The handle, and what the caller's thread reads. README.md draws keys and files. */
#include "store/store.h"

#include "store/care.h"
#include "store/counters.h"
#include "store/env.h"
#include "store/inside.h"
#include "store/points.h"
#include "store/writer.h"
#include <stdlib.h>

struct store {
    struct env *env;
    struct writer *writer; /* NULL without write */
    struct counters counters;
    uint64_t next_stream;
    uint64_t owner_epoch;
    uint8_t id[STORE_ID_BYTES];
};

static enum err_code store_start(struct store *store, const struct store_options *options,
                                 const char *path, struct err *err)
{
    struct env_options how = {
        .kind = ENV_STORE, .write = options->write, .map_bytes = options->map_bytes};
    enum err_code code = env_open(&store->env, path, &how, err);

    if (code)
        return code;
    memcpy(store->id, store->env->head.id, STORE_ID_BYTES);
    store->owner_epoch = store->env->head.owner_epoch;
    store->next_stream = store->env->head.next_stream;
    if (!options->write)
        return ERR_OK;
    code = counters_open(&store->counters, store->env->place.folder_fd, store->env->place.path,
                         store->next_stream, err);
    return code ? code : writer_open(&store->writer, store->env, err);
}

enum err_code store_open(struct store **out, const char *path, const struct store_options *options,
                         struct err *err)
{
    struct store *store = calloc(1, sizeof *store);
    enum err_code code;

    if (!store)
        return err_set(err, ERR_MEMORY, 0, "open the store '%s'", path);
    store->counters = counters_none();
    code = store_start(store, options, path, err);
    if (code)
        store_close(&store);
    else
        *out = store;
    return code;
}

void store_close(struct store **store)
{
    if (!*store)
        return;
    writer_close(&(*store)->writer);
    counters_close(&(*store)->counters);
    env_close(&(*store)->env);
    free(*store);
    *store = NULL;
}

struct env *store_env(struct store *store)
{
    return store->env;
}

const uint8_t *store_id(const struct store *store)
{
    return store->id;
}

uint64_t store_owner_epoch(const struct store *store)
{
    return store->owner_epoch;
}

bool store_is_owned(const struct store *store)
{
    return place_is_owned(&store->env->place);
}

const char *store_path(const struct store *store)
{
    return store->env->place.path;
}

/* ---- Catalogue ---- */

enum err_code store_find(struct store *store, const char *name, uint64_t *stream, struct err *err)
{
    struct env_txn txn;
    struct view found = {0};
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    if (!*name || strlen(name) > STORE_NAME_MAX)
        return err_set(err, ERR_ABSENT, 0, "no stream '%.60s': a name has 1 to %d bytes", name,
                       STORE_NAME_MAX);
    struct key key = key_catalogue(name);
    code = env_read_begin(store->env, &txn, err);
    if (code)
        return code;
    int rc = env_get(&txn, &key, &found, err);
    if (rc == MDB_NOTFOUND)
        code = err_set(err, ERR_ABSENT, 0, "no stream '%s' in '%s'", name, store_path(store));
    else if (rc)
        code = env_fail(store->env, rc, "find a stream", err);
    else if (found.bytes != 8)
        code = err_set(err, ERR_DAMAGED, 0, "the catalogue's entry '%s' has a wrong size", name);
    else
        *stream = load_u64(found.data);
    env_read_end(&txn);
    return code;
}

uint64_t store_reserve(struct store *store)
{
    return store->next_stream++;
}

/* The next entry of the catalogue after *at, copied out within one short transaction. */
static int next_entry(struct env_txn *txn, struct key *at, uint64_t *stream, struct err *err)
{
    struct key prefix = key_of(KEY_CATALOGUE);
    struct view found;
    int rc = env_seek(txn, at, false, at);

    if (rc)
        return rc;
    if (!key_starts((struct view){at->data, at->bytes}, &prefix) || at->bytes > STORE_NAME_MAX + 1)
        return MDB_NOTFOUND;
    rc = env_get(txn, at, &found, err);
    if (rc == 0)
        *stream = found.bytes == 8 ? load_u64(found.data) : 0;
    return rc;
}

/* One transaction a stream: a slow caller must not stop the reuse of pages. */
enum err_code store_each(struct store *store, store_each_fn *each, void *user, struct err *err)
{
    struct key at = key_of(KEY_CATALOGUE);
    char name[KEY_BYTES_MAX + 1];
    struct err mine;

    err = err ? err : &mine;
    for (;;) {
        struct env_txn txn;
        uint64_t stream = 0;
        enum err_code code = env_read_begin(store->env, &txn, err);
        if (code)
            return code;
        int rc = next_entry(&txn, &at, &stream, err);
        env_read_end(&txn);
        if (rc)
            return rc == MDB_NOTFOUND ? ERR_OK
                                      : env_fail(store->env, rc, "read the catalogue", err);
        memcpy(name, at.data + 1, at.bytes - 1);
        name[at.bytes - 1] = '\0';
        if (!each(user, name, stream))
            return ERR_OK;
        /* The least key that is greater: one zero byte longer. */
        at.data[at.bytes++] = 0;
    }
}

enum err_code store_note(struct store *store, uint64_t stream, struct buffer *out, struct err *err)
{
    struct key key = key_stream(KEY_NOTE, stream);
    struct view found = {0};
    struct env_txn txn;
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    code = env_read_begin(store->env, &txn, err);
    if (code)
        return code;
    int rc = env_get(&txn, &key, &found, err);
    if (rc && rc != MDB_NOTFOUND)
        code = env_fail(store->env, rc, "read a note", err);
    else if (found.bytes > out->max)
        code = err_set(err, ERR_LIMIT, 0, "the note of stream %llu has %zu bytes, more than %zu",
                       (unsigned long long)stream, found.bytes, out->max);
    else {
        out->bytes = 0;
        buffer_put(out, found.data, found.bytes);
        if (out->refused)
            code = err_set(err, ERR_MEMORY, 0, "read a note of %zu bytes", found.bytes);
    }
    env_read_end(&txn);
    return code;
}

/* ---- Checkpoints ---- */

enum err_code store_checkpoints(struct store *store, uint64_t stream, uint64_t numbers[STORE_KEEP],
                                size_t *count, struct err *err)
{
    struct key at = key_checkpoint(stream, UINT64_MAX, UINT32_MAX);
    uint64_t found[STORE_KEEP];
    size_t found_count = 0;
    struct env_txn txn;
    struct err mine;
    enum err_code code;
    int rc = 0;

    err = err ? err : &mine;
    code = env_read_begin(store->env, &txn, err);
    if (code)
        return code;
    while (found_count < STORE_KEEP) {
        rc = env_seek(&txn, &at, true, &at);
        if (rc || !key_is_checkpoint((struct view){at.data, at.bytes}, stream, &found[found_count]))
            break;
        at = key_checkpoint(stream, found[found_count++], 0);
    }
    env_read_end(&txn);
    if (rc && rc != MDB_NOTFOUND)
        return env_fail(store->env, rc, "list checkpoints", err);
    memcpy(numbers, found, found_count * sizeof *found);
    *count = found_count;
    return ERR_OK;
}

/* The end of a read, and of its transaction. */
static enum err_code take(struct store *store, struct env_txn *txn, const struct where *where,
                          bool with_parts, struct store_checkpoint **out, struct err *err)
{
    int rc = checkpoint_get(txn, where, with_parts, out, err);

    env_read_end(txn);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_ABSENT, 0, "stream %llu has no checkpoint %llu in '%s'",
                       (unsigned long long)where->stream, (unsigned long long)where->number,
                       store_path(store));
    return rc ? env_fail(store->env, rc, "read a checkpoint", err) : ERR_OK;
}

enum err_code store_checkpoint_read(struct store *store, uint64_t stream, uint64_t number,
                                    bool with_parts, struct store_checkpoint **out, struct err *err)
{
    const struct where where = {stream, number, 0};
    struct env_txn txn;
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    code = env_read_begin(store->env, &txn, err);
    return code ? code : take(store, &txn, &where, with_parts, out, err);
}

enum err_code store_point_read(struct store *store, uint64_t stream, const char *name,
                               bool with_parts, struct store_checkpoint **out, struct err *err)
{
    struct where where;
    struct env_txn txn;
    struct err mine;
    enum err_code code;
    int rc;

    err = err ? err : &mine;
    if (!store_point_name(name))
        return err_set(err, ERR_ABSENT, 0, "no savepoint '%.70s': that is no name of one", name);
    code = env_read_begin(store->env, &txn, err);
    if (code)
        return code;
    rc = point_find(&txn, stream, name, &where, err);
    if (rc == 0)
        return take(store, &txn, &where, with_parts, out, err);
    env_read_end(&txn);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_ABSENT, 0, "no savepoint '%s' in '%s'", name, store_path(store));
    return env_fail(store->env, rc, "read a savepoint", err);
}

/* As store_each: one transaction a savepoint. */
enum err_code store_points(struct store *store, uint64_t stream, store_each_point_fn *each,
                           void *user, struct err *err)
{
    struct key at = key_stream(KEY_SAVEPOINT, stream);
    struct err mine;

    err = err ? err : &mine;
    for (;;) {
        char name[STORE_POINT_MAX + 1];
        struct where where = {0};
        struct env_txn txn;
        enum err_code code = env_read_begin(store->env, &txn, err);
        if (code)
            return code;
        int rc = point_next(&txn, stream, &at, name);
        if (!rc)
            rc = point_find(&txn, stream, name, &where, err);
        env_read_end(&txn);
        if (rc)
            return rc == MDB_NOTFOUND ? ERR_OK : env_fail(store->env, rc, "list savepoints", err);
        if (!each(user, name, where.number))
            return ERR_OK;
        at.data[at.bytes++] = 0; /* the least key that is greater */
    }
}

/* ---- Writing ---- */

void store_submit(struct store *store, struct store_batch **batch, void *user)
{
    require(store->writer && *batch);
    (*batch)->user = user;
    writer_submit(store->writer, *batch);
    *batch = NULL;
}

bool store_collect(struct store *store, bool wait, void **user, struct err *err)
{
    struct store_batch *batch = store->writer ? writer_collect(store->writer, wait) : NULL;

    if (!batch)
        return false;
    if (user)
        *user = batch->user;
    if (err)
        *err = batch->outcome;
    store_batch_close(&batch);
    return true;
}

int store_descriptor(const struct store *store)
{
    return store->writer ? writer_descriptor(store->writer) : -1;
}

enum err_code store_compact(struct store *store, uint64_t *before, uint64_t *after, struct err *err)
{
    struct err mine;
    return env_compact(store->env, before, after, err ? err : &mine);
}

/* ---- Counters ---- */

enum err_code store_counter(struct store *store, uint64_t stream, _Atomic uint64_t **counter,
                            struct err *err)
{
    require(store->writer);
    return counters_at(&store->counters, stream, counter, err);
}

uint64_t store_counter_read(struct store *store, uint64_t stream)
{
    return counters_read(store->env->place.folder_fd, stream);
}
