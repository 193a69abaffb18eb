/* Values of an environment: a payload and its checksum, joined and checked here; and the head record.
 *
 *   value   payload | u64 XXH3-64 of the payload, seeded with XXH3-64 of the key */
#include "store/env.h"
#include "store/page.h"

#include <stdio.h>

static MDB_val val_of(const struct key *key)
{
    return (MDB_val){key->bytes, (void *)key->data};
}

static int refuse_value(const struct env *env, const struct key *key, const char *why,
                        struct err *err)
{
    char words[160];
    key_words((struct view){key->data, key->bytes}, words, sizeof words);
    err_set(err, ERR_DAMAGED, 0, "the store '%s': %s: %s", env->place.path, words, why);
    return ENV_REFUSED;
}

int env_get(struct env_txn *txn, const struct key *key, struct view *payload, struct err *err)
{
    MDB_val name = val_of(key), value;
    struct view found;
    int rc = mdb_get(txn->mdb, txn->env->dbi, &name, &value);

    if (rc)
        return rc;
    if (value.mv_size < CHECKSUM_BYTES)
        return refuse_value(txn->env, key, "the value is damaged (too short)", err);
    found = (struct view){value.mv_data, value.mv_size - CHECKSUM_BYTES};
    if (load_u64(found.data + found.bytes) !=
        key_checksum((struct view){key->data, key->bytes}, found.data, found.bytes))
        return refuse_value(txn->env, key, "the value is damaged (its checksum differs)", err);
    *payload = found;
    return 0;
}

/* Before LMDB frees the run of pages of a large value it must know that the run's length is intact:
 * it stands in the run's own header, which neither the walk at open nor the checksum covers. 0 when
 * there is no such value. */
static int guard_overflow(struct env_txn *txn, const struct key *key, struct err *err)
{
    size_t page_bytes = txn->env->page_bytes;
    size_t node_max = (((page_bytes - PAGE_HEADER) / 2) & ~(size_t)1) - 2;
    MDB_val name = val_of(key), value;
    int rc = mdb_get(txn->mdb, txn->env->dbi, &name, &value);

    if (rc)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (8 + key->bytes + value.mv_size <= node_max)
        return 0;
    const uint8_t *page = (const uint8_t *)value.mv_data - PAGE_HEADER;
    size_t pages = (PAGE_HEADER + value.mv_size + page_bytes - 1) / page_bytes;
    if (!(load_u16(page + 10) & PAGE_OVERFLOW) || load_u32(page + 12) != pages)
        return refuse_value(txn->env, key, "its pages are damaged: " STORE_REMEDY, err);
    return 0;
}

int env_check(struct env_txn *txn, const struct key *key, struct view *payload, struct err *err)
{
    int rc = env_get(txn, key, payload, err);
    return rc ? rc : guard_overflow(txn, key, err);
}

int env_put(struct env_txn *txn, const struct key *key, const struct view *pieces,
            size_t piece_count, struct err *err)
{
    MDB_val name = val_of(key), value = {CHECKSUM_BYTES, NULL};
    uint8_t *at;
    int rc = guard_overflow(txn, key, err);

    for (size_t i = 0; i < piece_count; i++)
        value.mv_size += pieces[i].bytes;
    if (!rc)
        rc = mdb_put(txn->mdb, txn->env->dbi, &name, &value, MDB_RESERVE);
    if (rc)
        return rc;
    at = value.mv_data;
    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].bytes)
            memcpy(at, pieces[i].data, pieces[i].bytes);
        at += pieces[i].bytes;
    }
    store_u64(at, key_checksum((struct view){key->data, key->bytes}, value.mv_data,
                               value.mv_size - CHECKSUM_BYTES));
    return 0;
}

int env_delete(struct env_txn *txn, const struct key *key, struct err *err)
{
    MDB_val name = val_of(key);
    int rc = guard_overflow(txn, key, err);
    return rc ? rc : mdb_del(txn->mdb, txn->env->dbi, &name, NULL);
}

int env_seek(struct env_txn *txn, const struct key *from, bool before, struct key *found)
{
    MDB_cursor *cursor;
    MDB_val name = val_of(from), value;
    int rc = mdb_cursor_open(txn->mdb, txn->env->dbi, &cursor);

    if (rc)
        return rc;
    rc = mdb_cursor_get(cursor, &name, &value, MDB_SET_RANGE);
    if (before && rc == 0)
        rc = mdb_cursor_get(cursor, &name, &value, MDB_PREV);
    else if (before && rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &name, &value, MDB_LAST);
    if (!rc && name.mv_size > KEY_BYTES_MAX)
        rc = MDB_CORRUPTED;
    if (!rc) {
        struct key copy = {.bytes = name.mv_size}; /* found and from may be one */
        memcpy(copy.data, name.mv_data, name.mv_size);
        *found = copy;
    }
    mdb_cursor_close(cursor);
    return rc;
}

int env_delete_range(struct env_txn *txn, const struct key *first, const struct key *last,
                     struct err *err)
{
    for (;;) {
        struct key at;
        int rc = env_seek(txn, first, false, &at);
        MDB_val found = val_of(&at), end = val_of(last);

        if (rc)
            return rc == MDB_NOTFOUND ? 0 : rc;
        if (mdb_cmp(txn->mdb, txn->env->dbi, &found, &end) >= 0)
            return 0;
        rc = env_delete(txn, &at, err);
        if (rc)
            return rc;
    }
}

/* ---- The head record ---- */

int env_head_put(struct env_txn *txn, struct err *err)
{
    struct key key = key_of(KEY_HEAD);
    uint8_t bytes[HEAD_BYTES];
    struct view piece = {bytes, sizeof bytes};

    head_write(&txn->head, bytes);
    return env_put(txn, &key, &piece, 1, err);
}

int env_head_get(struct env_txn *txn, struct err *err)
{
    struct key key = key_of(KEY_HEAD);
    struct view payload;
    struct head head = {0};
    int rc = env_get(txn, &key, &payload, err);

    if (rc)
        return rc;
    bool whole = head_read(payload, &head);
    if (head.format > ENV_FORMAT) {
        err_set(err, ERR_VERSION, 0,
                "the store '%s' has format %u, made by a newer version; this one knows up to %d",
                txn->env->place.path, (unsigned)head.format, ENV_FORMAT);
        return ENV_REFUSED;
    }
    if (!whole)
        return refuse_value(txn->env, &key, "it has a wrong size", err);
    if (head.kind != txn->env->kind) {
        err_set(err, ERR_DAMAGED, 0, "'%s' is %s, not %s", txn->env->place.path,
                head.kind == ENV_JOURNAL ? "a journal" : "a store",
                txn->env->kind == ENV_JOURNAL ? "a journal" : "a store");
        return ENV_REFUSED;
    }
    txn->head = head;
    return 0;
}
