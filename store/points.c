/* Savepoints: a checkpoint copied into a slot of its own, under a name.
 *
 * A stream's checkpoints lie in slot 0, where all but the newest are dropped. A savepoint gets the slot behind the
 * stream's last and the same keys below it, so that it is read and checked like a checkpoint; its name leads to the
 * slot. A copy instead of a mark "do not drop" costs one state, and keeps the two apart: no rule for checkpoints (keep
 * three, write a number again) needs to know of names. */
#include "store/points.h"

#include "store/batch.h"

bool store_point_name(const char *name)
{
    size_t bytes = strnlen(name, STORE_POINT_MAX + 1);

    if (bytes == 0 || bytes > STORE_POINT_MAX || strspn(name, "0123456789") == bytes)
        return false;
    for (const char *at = name; *at; at++)
        if (*at <= ' ' || *at > '~' || *at == '@' || *at == '/')
            return false;
    return true;
}

static int damaged(const char *what, const char *name, uint64_t stream, struct err *err)
{
    err_set(err, ERR_DAMAGED, 0, "stream %llu, savepoint '%s': %s", (unsigned long long)stream,
            name, what);
    return ENV_REFUSED;
}

int point_find(struct env_txn *txn, uint64_t stream, const char *name, struct where *where,
               struct err *err)
{
    struct key key = key_savepoint(stream, name), first, any;
    struct where found = {.stream = stream};
    struct view value;
    int rc = env_get(txn, &key, &value, err);

    if (rc)
        return rc;
    if (value.bytes != 4 || load_u32(value.data) == 0)
        return damaged("its slot is no number", name, stream, err);
    found.slot = load_u32(value.data);
    first = key_slot(stream, found.slot, 0, 0);
    rc = env_seek(txn, &first, false, &any);
    if (rc == MDB_NOTFOUND || (!rc && !key_is_slot((struct view){any.data, any.bytes}, stream,
                                                   found.slot, &found.number)))
        return damaged("its slot is empty", name, stream, err);
    if (!rc)
        *where = found;
    return rc;
}

int point_next(struct env_txn *txn, uint64_t stream, struct key *at, char *name)
{
    struct key prefix = key_stream(KEY_SAVEPOINT, stream);
    int rc = env_seek(txn, at, false, at);

    if (rc)
        return rc;
    if (!key_starts((struct view){at->data, at->bytes}, &prefix) ||
        at->bytes - prefix.bytes > STORE_POINT_MAX)
        return MDB_NOTFOUND;
    memcpy(name, at->data + prefix.bytes, at->bytes - prefix.bytes);
    name[at->bytes - prefix.bytes] = 0;
    return 0;
}

/* The slot behind the last that the stream has. */
static int free_slot(struct env_txn *txn, uint64_t stream, uint32_t *slot, struct err *err)
{
    struct key end = key_slot(stream, UINT32_MAX, 0, 0), last;
    int rc = env_seek(txn, &end, true, &last);

    *slot = 0;
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    if (!rc && !key_slot_of((struct view){last.data, last.bytes}, stream, slot))
        *slot = 0;
    if (*slot == UINT32_MAX - 1) {
        err_set(err, ERR_LIMIT, 0, "stream %llu has no slot left for a savepoint",
                (unsigned long long)stream);
        return ENV_REFUSED;
    }
    ++*slot;
    return 0;
}

/* The number of the newest checkpoint. */
static int newest(struct env_txn *txn, uint64_t stream, uint64_t *number)
{
    struct key end = key_checkpoint(stream, UINT64_MAX, UINT32_MAX), last;
    int rc = env_seek(txn, &end, true, &last);

    if (!rc && !key_is_checkpoint((struct view){last.data, last.bytes}, stream, number))
        rc = MDB_NOTFOUND;
    return rc;
}

/* Read whole before anything is written: a put may move what a get has lent. */
static int copy_checkpoint(struct env_txn *txn, const struct where *from, uint32_t slot,
                           struct err *err)
{
    const struct where to = {from->stream, from->number, slot};
    struct view pieces[1 + STORE_PARTS_MAX];
    struct store_checkpoint *copy = NULL;
    int rc = checkpoint_get(txn, from, true, &copy, err);

    if (rc)
        return rc;
    pieces[0] = copy->meta;
    if (copy->part_count)
        memcpy(pieces + 1, copy->parts, copy->part_count * sizeof *pieces);
    rc = checkpoint_put(txn, &to, pieces, 1 + copy->part_count, err);
    store_checkpoint_free(&copy);
    return rc;
}

static int refuse(struct err *err, enum err_code code, const char *what, const char *name)
{
    err_set(err, code, 0, what, name);
    return ENV_REFUSED;
}

int savepoint_put(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const char *name = (const char *)op->pieces[0].data;
    struct key key = key_savepoint(op->stream, name);
    struct where from = {op->stream, op->number, 0};
    uint8_t bytes[4];
    struct view value = {bytes, sizeof bytes}, found;
    uint32_t slot;
    int rc = env_get(txn, &key, &found, err);

    if (!rc)
        return refuse(err, ERR_MISMATCH,
                      "savepoint '%s' is there already: drop it, or take another name", name);
    if (rc == MDB_NOTFOUND)
        rc = from.number == UINT64_MAX ? newest(txn, op->stream, &from.number) : 0;
    if (!rc)
        rc = free_slot(txn, op->stream, &slot, err);
    if (!rc)
        rc = copy_checkpoint(txn, &from, slot, err);
    if (rc == MDB_NOTFOUND)
        return refuse(err, ERR_ABSENT, "savepoint '%s': there is no such checkpoint to copy", name);
    if (rc)
        return rc;
    store_u32(bytes, slot);
    return env_put(txn, &key, &value, 1, err);
}

int savepoint_drop(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const char *name = (const char *)op->pieces[0].data;
    struct key key = key_savepoint(op->stream, name), first, end;
    struct where where;
    int rc = point_find(txn, op->stream, name, &where, err);

    if (rc == MDB_NOTFOUND)
        return refuse(err, ERR_ABSENT, "no savepoint '%s': `riverrun history` names them", name);
    if (rc)
        return rc;
    first = key_slot(op->stream, where.slot, 0, 0);
    end = key_slot(op->stream, where.slot + 1, 0, 0);
    rc = env_delete_range(txn, &first, &end, err);
    return rc ? rc : env_delete(txn, &key, err);
}
