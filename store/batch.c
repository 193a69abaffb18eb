#include "store/batch.h"

#include "store/care.h"
#include "store/checkpoint.h"
#include "store/spool.h"
#include <stdlib.h>

/* ---- Filling ---- */

enum err_code store_batch_open(struct store_batch **out, struct err *err)
{
    struct store_batch *batch = calloc(1, sizeof *batch);

    if (!batch)
        return err_set(err, ERR_MEMORY, 0, "a batch of writes");
    batch->end = &batch->first;
    *out = batch;
    return ERR_OK;
}

void store_batch_close(struct store_batch **batch)
{
    if (!*batch)
        return;
    for (struct batch_op *op = (*batch)->first, *next; op; op = next) {
        next = op->next;
        free(op->pieces);
        free(op);
    }
    free(*batch);
    *batch = NULL;
}

/* Copy the pieces into one block: the views, then what they point to. */
static struct view *copy_pieces(const struct view *pieces, size_t count, size_t total)
{
    struct view *copy = malloc(count * sizeof *copy + total + 1);
    uint8_t *at = copy ? (uint8_t *)(copy + count) : NULL;

    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = (struct view){at, pieces[i].bytes};
        if (pieces[i].bytes)
            memcpy(at, pieces[i].data, pieces[i].bytes);
        at += pieces[i].bytes;
    }
    return copy;
}

enum err_code batch_add(struct store_batch *batch, const struct batch_op *what, struct err *err)
{
    size_t total = 0, pages = 4096 * (2 + what->piece_count);
    struct batch_op *op;

    for (size_t i = 0; i < what->piece_count; i++)
        total += what->pieces[i].bytes;
    if (total > BATCH_BYTES_MAX - batch->bytes || total + pages > BATCH_BYTES_MAX - batch->bytes)
        return err_set(err, ERR_LIMIT, 0, "a batch of writes takes at most %zu bytes",
                       BATCH_BYTES_MAX);
    op = malloc(sizeof *op);
    if (!op)
        return err_set(err, ERR_MEMORY, 0, "a batch of writes");
    *op = *what;
    op->next = NULL;
    op->pieces = copy_pieces(what->pieces, what->piece_count, total);
    if (!op->pieces) {
        free(op);
        return err_set(err, ERR_MEMORY, 0, "copy %zu bytes into a batch of writes", total);
    }
    batch->frees_alone =
        (batch->frees_alone || !batch->first) && (op->kind == OP_TRIM || op->kind == OP_CUT);
    *batch->end = op;
    batch->end = &op->next;
    batch->bytes += total + pages;
    return ERR_OK;
}

static enum err_code check_stream(uint64_t stream, struct err *err)
{
    if (stream == 0 || stream >= STORE_STREAMS_MAX)
        return err_set(err, ERR_LIMIT, 0, "stream number %llu: numbers run from 1 to %d",
                       (unsigned long long)stream, STORE_STREAMS_MAX - 1);
    return ERR_OK;
}

enum err_code batch_stream(struct store_batch *batch, uint64_t stream, const char *name,
                           struct err *err)
{
    struct view piece = {(const uint8_t *)name, strlen(name)};
    struct batch_op op = {OP_STREAM, stream, 0, &piece, 1, NULL};
    enum err_code code = check_stream(stream, err);

    if (!code && (piece.bytes == 0 || piece.bytes > STORE_NAME_MAX))
        code = err_set(err, ERR_LIMIT, 0, "a stream's name has 1 to %d bytes, not %zu",
                       STORE_NAME_MAX, piece.bytes);
    return code ? code : batch_add(batch, &op, err);
}

enum err_code batch_note(struct store_batch *batch, uint64_t stream, struct view note,
                         struct err *err)
{
    struct batch_op op = {OP_NOTE, stream, 0, &note, 1, NULL};
    enum err_code code = check_stream(stream, err);

    if (!code && note.bytes > NOTE_BYTES_MAX)
        code = err_set(err, ERR_LIMIT, 0, "a stream's note has at most %d bytes, not %zu",
                       NOTE_BYTES_MAX, note.bytes);
    return code ? code : batch_add(batch, &op, err);
}

enum err_code batch_checkpoint(struct store_batch *batch, uint64_t stream, uint64_t number,
                               struct view meta, const struct view *parts, size_t part_count,
                               struct err *err)
{
    struct view pieces[1 + STORE_PARTS_MAX];
    struct batch_op op = {OP_CHECKPOINT, stream, number, pieces, 1 + part_count, NULL};
    enum err_code code = check_stream(stream, err);

    if (code)
        return code;
    if (part_count > STORE_PARTS_MAX)
        return err_set(err, ERR_LIMIT, 0, "a checkpoint has at most %d parts, not %zu",
                       STORE_PARTS_MAX, part_count);
    pieces[0] = meta;
    if (part_count)
        memcpy(pieces + 1, parts, part_count * sizeof *parts);
    for (size_t i = 0; i <= part_count; i++)
        if (pieces[i].bytes > PART_BYTES_MAX)
            return err_set(err, ERR_LIMIT, 0,
                           "a part of a checkpoint has at most %d bytes, not %zu", PART_BYTES_MAX,
                           pieces[i].bytes);
    return batch_add(batch, &op, err);
}

static enum err_code add_point(struct store_batch *batch, enum batch_op_kind kind, uint64_t stream,
                               uint64_t number, const char *name, struct err *err)
{
    struct view piece = {(const uint8_t *)name, strlen(name) + 1};
    struct batch_op op = {kind, stream, number, &piece, 1, NULL};
    enum err_code code = check_stream(stream, err);

    if (!code && !store_point_name(name))
        code =
            err_set(err, ERR_LIMIT, 0,
                    "savepoint '%.70s': a name has 1 to %d letters, digits or signs other than '@' "
                    "and '/', and is no number",
                    name, STORE_POINT_MAX);
    return code ? code : batch_add(batch, &op, err);
}

enum err_code batch_savepoint(struct store_batch *batch, uint64_t stream, uint64_t number,
                              const char *name, struct err *err)
{
    return add_point(batch, OP_SAVEPOINT, stream, number, name, err);
}

enum err_code batch_unsave(struct store_batch *batch, uint64_t stream, const char *name,
                           struct err *err)
{
    return add_point(batch, OP_UNSAVE, stream, 0, name, err);
}

enum err_code batch_keep_newest(struct store_batch *batch, uint64_t stream, struct err *err)
{
    struct batch_op op = {OP_KEEP, stream, 0, NULL, 0, NULL};
    enum err_code code = check_stream(stream, err);
    return code ? code : batch_add(batch, &op, err);
}

enum err_code batch_forget(struct store_batch *batch, uint64_t stream, struct err *err)
{
    struct batch_op op = {OP_FORGET, stream, 0, NULL, 0, NULL};
    enum err_code code = check_stream(stream, err);
    return code ? code : batch_add(batch, &op, err);
}

/* ---- Applying: on the writer's thread, in a transaction ---- */

static int refuse(struct err *err, enum err_code code, const char *what, uint64_t stream)
{
    err_set(err, code, 0, "write to stream %llu: %s", (unsigned long long)stream, what);
    return ENV_REFUSED;
}

/* A name belongs to one number for good: to take it again with the same number changes nothing. */
static int apply_stream(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    struct key by_number = key_stream(KEY_NAME, op->stream);
    struct key by_name = key_of(KEY_CATALOGUE);
    uint8_t number[8];
    struct view piece = {number, sizeof number}, found;
    char name[STORE_NAME_MAX + 1] = {0};
    int rc;

    memcpy(name, op->pieces[0].data, op->pieces[0].bytes);
    key_text(&by_name, name);
    rc = env_get(txn, &by_name, &found, err);
    if (!rc && found.bytes == 8 && load_u64(found.data) == op->stream)
        return 0;
    if (!rc)
        return refuse(err, ERR_MISMATCH, "its name belongs to another stream", op->stream);
    if (rc != MDB_NOTFOUND)
        return rc;
    rc = env_get(txn, &by_number, &found, err);
    if (!rc)
        return refuse(err, ERR_MISMATCH, "it has another name", op->stream);
    if (rc != MDB_NOTFOUND)
        return rc;
    store_u64(number, op->stream);
    rc = env_put(txn, &by_name, &piece, 1, err);
    if (!rc)
        rc = env_put(txn, &by_number, &op->pieces[0], 1, err);
    if (op->stream >= txn->head.next_stream)
        txn->head.next_stream = op->stream + 1;
    return rc;
}

/* What belongs to no stream would never be found again, so it is refused. */
static int need_stream(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    struct key by_number = key_stream(KEY_NAME, op->stream);
    struct view name;
    int rc = env_get(txn, &by_number, &name, err);

    if (rc == MDB_NOTFOUND)
        return refuse(err, ERR_ABSENT, "there is no such stream", op->stream);
    return rc;
}

static int apply_note(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    struct key key = key_stream(KEY_NOTE, op->stream);
    int rc = need_stream(op, txn, err);
    return rc ? rc : env_put(txn, &key, op->pieces, 1, err);
}

/* Delete the checkpoints of stream from first to last, both included. */
static int drop_checkpoints(struct env_txn *txn, uint64_t stream, uint64_t first, uint64_t last,
                            struct err *err)
{
    struct key from = key_checkpoint(stream, first, 0);
    struct key to = key_checkpoint(stream, last, UINT32_MAX);
    return env_delete_range(txn, &from, &to, err);
}

static int keep_newest(struct env_txn *txn, uint64_t stream, int count, struct err *err)
{
    struct key at = key_checkpoint(stream, UINT64_MAX, UINT32_MAX);
    uint64_t number = 0;

    for (int kept = 0; kept <= count; kept++) {
        int rc = env_seek(txn, &at, true, &at);
        if (rc == MDB_NOTFOUND ||
            (!rc && !key_is_checkpoint((struct view){at.data, at.bytes}, stream, &number)))
            return 0;
        if (rc)
            return rc;
        at = key_checkpoint(stream, number, 0);
    }
    return drop_checkpoints(txn, stream, 0, number, err);
}

static int apply_checkpoint(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const struct where where = {op->stream, op->number, 0};
    int rc = drop_checkpoints(txn, op->stream, op->number, op->number, err);

    if (!rc)
        rc = checkpoint_put(txn, &where, op->pieces, op->piece_count, err);
    return rc ? rc : keep_newest(txn, op->stream, STORE_KEEP, err);
}

static int drop_kind(struct env_txn *txn, enum key_kind kind, uint64_t stream, struct err *err)
{
    struct key from = key_stream(kind, stream), to = key_stream(kind, stream + 1);
    return env_delete_range(txn, &from, &to, err);
}

/* Forgetting what is not there is done already. */
static int apply_forget(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    static const enum key_kind kinds[] = {KEY_NAME, KEY_NOTE, KEY_CHECKPOINT, KEY_SAVEPOINT};
    struct key by_number = key_stream(KEY_NAME, op->stream), by_name = key_of(KEY_CATALOGUE);
    struct view found;
    char name[STORE_NAME_MAX + 1] = {0};
    int rc = env_get(txn, &by_number, &found, err);

    if (!rc && found.bytes <= STORE_NAME_MAX) {
        memcpy(name, found.data, found.bytes);
        key_text(&by_name, name);
        rc = env_delete(txn, &by_name, err);
    }
    if (rc == MDB_NOTFOUND)
        rc = 0;
    for (size_t i = 0; !rc && i < sizeof kinds / sizeof kinds[0]; i++)
        rc = drop_kind(txn, kinds[i], op->stream, err);
    return rc;
}

int batch_apply(const struct store_batch *batch, struct env_txn *txn, struct err *err)
{
    int rc = 0;

    for (const struct batch_op *op = batch->first; op && !rc; op = op->next)
        switch (op->kind) {
        case OP_STREAM:
            rc = apply_stream(op, txn, err);
            break;
        case OP_NOTE:
            rc = apply_note(op, txn, err);
            break;
        case OP_CHECKPOINT:
            rc = apply_checkpoint(op, txn, err);
            break;
        case OP_SAVEPOINT:
            rc = savepoint_put(op, txn, err);
            break;
        case OP_UNSAVE:
            rc = savepoint_drop(op, txn, err);
            break;
        case OP_KEEP:
            rc = keep_newest(txn, op->stream, 1, err);
            break;
        case OP_FORGET:
            rc = apply_forget(op, txn, err);
            break;
        case OP_APPEND:
        case OP_FEED:
        case OP_TRIM:
        case OP_ENTRY:
        case OP_CUT:
            rc = spool_apply(op, txn, err);
            break;
        }
    return rc;
}
