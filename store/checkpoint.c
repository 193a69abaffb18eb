#include "store/checkpoint.h"

#include "store/seal.h"
#include <stdio.h>
#include <stdlib.h>

/* What a read found, as views into the map. */
struct found {
    struct view values[1 + STORE_PARTS_MAX];
    size_t count; /* meta and parts */
};

static int damaged(const struct where *w, const char *what, struct err *err)
{
    char slot[48] = "";

    if (w->slot)
        snprintf(slot, sizeof slot, " of the savepoint in slot %u", (unsigned)w->slot);
    err_set(err, ERR_DAMAGED, 0, "stream %llu, checkpoint %llu%s%s", (unsigned long long)w->stream,
            (unsigned long long)w->number, slot, what);
    return ENV_REFUSED;
}

/* The checksum stands behind the payload, and was verified. */
static bool seal_fits(const struct seal *seal, size_t value, struct view payload)
{
    return !seal->sealed ||
           seal_checksum(seal, value - 1) == load_u64(payload.data + payload.bytes);
}

static int find_meta(struct env_txn *txn, const struct where *w, struct seal *seal, struct err *err)
{
    struct key key = key_slot(w->stream, w->slot, w->number, 0), any;
    struct view value;
    uint64_t there;
    int rc = env_get(txn, &key, &value, err);

    if (rc == MDB_NOTFOUND && env_seek(txn, &key, false, &any) == 0 &&
        key_is_slot((struct view){any.data, any.bytes}, w->stream, w->slot, &there) &&
        there == w->number)
        return damaged(w, ": its meta value is missing", err);
    if (!rc && !seal_read(value, seal))
        return damaged(w, ": its meta value is damaged", err);
    return rc;
}

static int find_values(struct env_txn *txn, const struct where *w, bool with_parts,
                       struct found *found, struct err *err)
{
    struct seal seal;
    int rc = find_meta(txn, w, &seal, err);

    if (rc)
        return rc;
    found->values[0] = seal.meta;
    found->count = 1 + (with_parts ? seal.parts : 0);
    for (size_t i = 1; i < found->count; i++) {
        struct key key = key_slot(w->stream, w->slot, w->number, (uint32_t)i);
        char what[48];
        rc = env_get(txn, &key, &found->values[i], err);
        const char *wrong = rc == MDB_NOTFOUND                              ? "is missing"
                            : !rc && !seal_fits(&seal, i, found->values[i]) ? "is another's"
                                                                            : NULL;
        if (wrong) {
            snprintf(what, sizeof what, ", part %zu %s", i - 1, wrong);
            return damaged(w, what, err);
        }
        if (rc)
            return rc;
    }
    return 0;
}

static struct store_checkpoint *copy_out(const struct found *found)
{
    struct store_checkpoint *copy;
    size_t total = 0;
    uint8_t *at;

    for (size_t i = 0; i < found->count; i++)
        total += found->values[i].bytes;
    copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->memory = malloc(found->count * sizeof(struct view) + total);
    if (!copy->memory) {
        free(copy);
        return NULL;
    }
    struct view *views = copy->memory;
    at = (uint8_t *)(views + found->count);
    for (size_t i = 0; i < found->count; i++) {
        views[i] = (struct view){at, found->values[i].bytes};
        if (found->values[i].bytes)
            memcpy(at, found->values[i].data, found->values[i].bytes);
        at += found->values[i].bytes;
    }
    copy->meta = views[0];
    copy->parts = views + 1;
    copy->part_count = found->count - 1;
    return copy;
}

int checkpoint_get(struct env_txn *txn, const struct where *where, bool with_parts,
                   struct store_checkpoint **out, struct err *err)
{
    struct found found;
    struct store_checkpoint *copy;
    int rc = find_values(txn, where, with_parts, &found, err);

    if (rc)
        return rc;
    copy = copy_out(&found);
    if (!copy) {
        err_set(err, ERR_MEMORY, 0, "read checkpoint %llu of stream %llu",
                (unsigned long long)where->number, (unsigned long long)where->stream);
        return ENV_REFUSED;
    }
    copy->stream = where->stream;
    copy->number = where->number;
    *out = copy;
    return 0;
}

void store_checkpoint_free(struct store_checkpoint **checkpoint)
{
    if (!*checkpoint)
        return;
    free((*checkpoint)->memory);
    free(*checkpoint);
    *checkpoint = NULL;
}

/* The parts, and the checksum that each got. */
static int put_parts(struct env_txn *txn, const struct where *w, const struct view *pieces,
                     size_t piece_count, uint64_t *checksums, struct err *err)
{
    int rc = 0;

    for (size_t i = 1; !rc && i < piece_count; i++) {
        struct key key = key_slot(w->stream, w->slot, w->number, (uint32_t)i);
        struct view put = {0};
        rc = env_put(txn, &key, &pieces[i], 1, err);
        if (!rc)
            rc = env_get(txn, &key, &put, err);
        if (!rc)
            checksums[i - 1] = load_u64(put.data + put.bytes);
    }
    return rc;
}

/* The meta value begins with a seal: how many parts there are, and which. */
int checkpoint_put(struct env_txn *txn, const struct where *w, const struct view *pieces,
                   size_t piece_count, struct err *err)
{
    uint8_t seal[SEAL_BYTES_MAX];
    uint64_t checksums[STORE_PARTS_MAX];
    struct view meta[2] = {{seal, 0}, pieces[0]}, name = {0};
    struct key key = key_slot(w->stream, w->slot, w->number, 0);
    struct key by_number = key_stream(KEY_NAME, w->stream);
    int rc = put_parts(txn, w, pieces, piece_count, checksums, err);

    if (!rc)
        rc = env_get(txn, &by_number, &name, err);
    if (rc == MDB_NOTFOUND) {
        err_set(err, ERR_ABSENT, 0, "write to stream %llu: there is no such stream",
                (unsigned long long)w->stream);
        return ENV_REFUSED;
    }
    if (rc)
        return rc;
    meta[0].bytes = seal_write(seal, name, checksums, piece_count - 1);
    return env_put(txn, &key, meta, 2, err);
}
