/* The spool: bytes that nobody can read again, in queues, until a checkpoint has what became of them.
 *
 *   queue   name -> number, begin, last, end, cost: begin is the offset of the first byte kept, last that
 *           of the newest chunk, end where the next byte goes. The entry stays when the queue is empty,
 *           so that offsets never restart.
 *   chunk   (number, offset) -> bytes from there on, at most CHUNK_MAX. Small appends join the newest
 *           chunk as long as it is small, so that a line is not a value of its own.
 *   sums    the number of the next queue, and what all chunks cost
 *   feed    name -> cursor, in the transaction that appends what the cursor has passed
 *
 * Cost is what a chunk takes of the file, about: its bytes with key and checksum, in pages where it is
 * large. An append names the offset that it belongs to, so a batch whose commit was not known to have
 * happened may be submitted again. */
#include "store/spool.h"

#include <stdlib.h>

enum {
    PAGE_BYTES = 4096,
    CHUNK_MAX = 16 * PAGE_BYTES - 24, /* fills its pages: their header, the checksum */
    SMALL_MAX = 1900,                 /* two of them fit a page of the tree */
    CHUNK_COST = 64,                  /* beside its bytes: key, node, checksum */
    QUEUE_BYTES = 5 * 8,
    SUMS_BYTES = 2 * 8,
    TRIM_CHUNKS_MAX = 16384 /* in one transaction: bounds what it needs of the reserve */
};
#define TRIM_COST_MAX ((uint64_t)64 << 20)

struct queue {
    uint64_t number, begin, last, end, cost;
};

struct sums {
    uint64_t next_queue, cost;
};

static uint64_t chunk_cost(uint64_t bytes)
{
    if (bytes <= SMALL_MAX)
        return bytes + CHUNK_COST;
    return (bytes + 24 + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + CHUNK_COST;
}

/* ---- Small values ---- */

static struct key key_named(enum key_kind kind, const char *name)
{
    struct key key = key_of(kind);
    key_text(&key, name);
    return key;
}

static int queue_get(struct env_txn *txn, const char *name, struct queue *queue, struct err *err)
{
    struct key key = key_named(KEY_QUEUE, name);
    struct view found;
    int rc = env_get(txn, &key, &found, err);

    if (rc)
        return rc;
    struct reader r = reader_of(found.data, found.bytes);
    struct queue got = {.number = read_u64(&r)};
    got.begin = read_u64(&r);
    got.last = read_u64(&r);
    got.end = read_u64(&r);
    got.cost = read_u64(&r);
    if (!read_done(&r) || got.begin > got.end || got.last > got.end)
        return MDB_CORRUPTED;
    *queue = got;
    return 0;
}

static int queue_put(struct env_txn *txn, const char *name, const struct queue *queue,
                     struct err *err)
{
    struct key key = key_named(KEY_QUEUE, name);
    uint8_t bytes[QUEUE_BYTES];
    struct view piece = {bytes, sizeof bytes};

    store_u64(bytes, queue->number);
    store_u64(bytes + 8, queue->begin);
    store_u64(bytes + 16, queue->last);
    store_u64(bytes + 24, queue->end);
    store_u64(bytes + 32, queue->cost);
    return env_put(txn, &key, &piece, 1, err);
}

static int sums_get(struct env_txn *txn, struct sums *sums, struct err *err)
{
    struct key key = key_of(KEY_SPOOL);
    struct view found;
    int rc = env_get(txn, &key, &found, err);

    *sums = (struct sums){.next_queue = 1};
    if (rc)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (found.bytes != SUMS_BYTES)
        return MDB_CORRUPTED;
    sums->next_queue = load_u64(found.data);
    sums->cost = load_u64(found.data + 8);
    return 0;
}

static int sums_put(struct env_txn *txn, const struct sums *sums, struct err *err)
{
    struct key key = key_of(KEY_SPOOL);
    uint8_t bytes[SUMS_BYTES];
    struct view piece = {bytes, sizeof bytes};

    store_u64(bytes, sums->next_queue);
    store_u64(bytes + 8, sums->cost);
    return env_put(txn, &key, &piece, 1, err);
}

/* ---- Filling a batch ---- */

static enum err_code add_named(struct store_batch *batch, enum batch_op_kind kind, const char *name,
                               uint64_t number, struct view content, struct err *err)
{
    struct view pieces[2] = {{(const uint8_t *)name, strlen(name) + 1}, content};
    struct batch_op op = {kind, 0, number, pieces, 2, NULL};

    if (pieces[0].bytes < 2 || pieces[0].bytes > STORE_NAME_MAX + 1)
        return err_set(err, ERR_LIMIT, 0, "a name in the spool has 1 to %d bytes, not %zu",
                       STORE_NAME_MAX, pieces[0].bytes - 1);
    return batch_add(batch, &op, err);
}

enum err_code batch_append(struct store_batch *batch, const char *queue, uint64_t offset,
                           struct view bytes, struct err *err)
{
    enum err_code code;

    if (bytes.bytes == 0 || bytes.bytes > SPOOL_APPEND_MAX || offset > UINT64_MAX / 2)
        return err_set(err, ERR_LIMIT, 0, "1 to %d bytes are spooled at a time, not %zu",
                       SPOOL_APPEND_MAX, bytes.bytes);
    code = add_named(batch, OP_APPEND, queue, offset, bytes, err);
    if (!code)
        batch->spool_cost += spool_cost(bytes.bytes);
    return code;
}

enum err_code batch_feed(struct store_batch *batch, const char *feed, struct view cursor,
                         struct err *err)
{
    if (cursor.bytes > SPOOL_CURSOR_MAX)
        return err_set(err, ERR_LIMIT, 0, "the cursor of a feed has at most %d bytes, not %zu",
                       SPOOL_CURSOR_MAX, cursor.bytes);
    return add_named(batch, OP_FEED, feed, 0, cursor, err);
}

enum err_code batch_trim(struct store_batch *batch, const char *queue, uint64_t below,
                         struct err *err)
{
    return add_named(batch, OP_TRIM, queue, below, (struct view){NULL, 0}, err);
}

enum err_code batch_entry(struct store_batch *batch, const char *topic, struct view entry,
                          struct err *err)
{
    if (entry.bytes > JOURNAL_ENTRY_MAX)
        return err_set(err, ERR_LIMIT, 0, "a journal's entry has at most %d bytes, not %zu",
                       JOURNAL_ENTRY_MAX, entry.bytes);
    return add_named(batch, OP_ENTRY, topic, 0, entry, err);
}

enum err_code batch_cut(struct store_batch *batch, const char *topic, uint64_t number,
                        struct err *err)
{
    return add_named(batch, OP_CUT, topic, number, (struct view){NULL, 0}, err);
}

/* ---- In a transaction ---- */

/* What a chunk has from offset on. */
static int find_chunk(struct env_txn *txn, const struct queue *queue, uint64_t offset,
                      struct view *bytes, struct err *err)
{
    struct key at = key_chunk(queue->number, offset + 1);
    uint64_t begin;
    int rc = env_seek(txn, &at, true, &at);

    if (!rc && !key_is_chunk((struct view){at.data, at.bytes}, queue->number, &begin))
        rc = MDB_NOTFOUND;
    if (!rc)
        rc = env_get(txn, &at, bytes, err);
    if (!rc && bytes->bytes <= offset - begin)
        rc = MDB_NOTFOUND;
    if (rc)
        return rc;
    bytes->data += offset - begin;
    bytes->bytes -= (size_t)(offset - begin);
    return 0;
}

/* Whether these bytes lie there already. */
static bool has_bytes(struct env_txn *txn, const struct queue *queue, uint64_t offset,
                      struct view bytes)
{
    struct view there;
    struct err why;

    while (bytes.bytes) {
        if (find_chunk(txn, queue, offset, &there, &why))
            return false;
        if (there.bytes > bytes.bytes)
            there.bytes = bytes.bytes;
        if (memcmp(there.data, bytes.data, there.bytes) != 0)
            return false;
        offset += there.bytes;
        bytes.data += there.bytes;
        bytes.bytes -= there.bytes;
    }
    return true;
}

/* ---- Applying it, on the writer's thread ---- */

static int refuse_append(const char *name, uint64_t offset, uint64_t end, struct err *err)
{
    err_set(err, ERR_MISMATCH, 0, "the spool's queue '%s' ends at byte %llu, not at %llu", name,
            (unsigned long long)end, (unsigned long long)offset);
    return ENV_REFUSED;
}

static int refuse_full(const struct env *env, uint64_t cost, struct err *err)
{
    err_set(err, ERR_FULL, 0, "the spool '%s' holds %llu of %llu bytes; --spool-bytes allows more",
            env->place.path, (unsigned long long)cost, (unsigned long long)env->spool_max);
    return ENV_REFUSED;
}

/* The newest chunk grows while it is small. A damaged one is left to those who read it. */
static int join_chunk(struct env_txn *txn, struct queue *queue, struct view *bytes, struct err *err)
{
    struct key key = key_chunk(queue->number, queue->last);
    uint64_t small = queue->end - queue->last;
    uint8_t joined[SMALL_MAX];
    struct view found, piece = {joined, (size_t)small};
    struct err why;
    int rc;

    if (small == 0 || small >= SMALL_MAX || small + bytes->bytes > SMALL_MAX)
        return 0;
    rc = env_get(txn, &key, &found, &why);
    if (rc == ENV_REFUSED || (rc == 0 && found.bytes != small))
        return 0;
    if (rc)
        return rc;
    memcpy(joined, found.data, piece.bytes);
    memcpy(joined + piece.bytes, bytes->data, bytes->bytes);
    piece.bytes += bytes->bytes;
    rc = env_put(txn, &key, &piece, 1, err);
    queue->end += bytes->bytes;
    queue->cost += bytes->bytes;
    bytes->bytes = 0;
    return rc;
}

static int append_chunks(struct env_txn *txn, struct queue *queue, struct view bytes,
                         struct err *err)
{
    int rc = join_chunk(txn, queue, &bytes, err);

    while (!rc && bytes.bytes) {
        struct view piece = {bytes.data, bytes.bytes < CHUNK_MAX ? bytes.bytes : CHUNK_MAX};
        struct key key = key_chunk(queue->number, queue->end);
        rc = env_put(txn, &key, &piece, 1, err);
        queue->last = queue->end;
        queue->end += piece.bytes;
        queue->cost += chunk_cost(piece.bytes);
        bytes.data += piece.bytes;
        bytes.bytes -= piece.bytes;
    }
    return rc;
}

static int apply_append(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const char *name = (const char *)op->pieces[0].data;
    struct queue queue = {0};
    struct sums sums;
    int rc = sums_get(txn, &sums, err);

    if (rc)
        return rc;
    rc = queue_get(txn, name, &queue, err);
    if (rc == MDB_NOTFOUND) {
        queue = (struct queue){.number = sums.next_queue++};
        rc = queue.number < STORE_STREAMS_MAX ? 0 : ENV_REFUSED;
        if (rc)
            err_set(err, ERR_LIMIT, 0, "the spool has at most %d queues over its life",
                    STORE_STREAMS_MAX - 1);
    }
    if (rc)
        return rc;
    if (queue.end > op->number && has_bytes(txn, &queue, op->number, op->pieces[1]))
        return 0; /* its commit had happened after all, and maybe those of others behind it */
    if (queue.end != op->number)
        return refuse_append(name, op->number, queue.end, err);
    sums.cost -= queue.cost;
    rc = append_chunks(txn, &queue, op->pieces[1], err);
    sums.cost += queue.cost;
    if (!rc && sums.cost > txn->env->spool_max)
        return refuse_full(txn->env, sums.cost, err);
    if (!rc)
        rc = queue_put(txn, name, &queue, err);
    return rc ? rc : sums_put(txn, &sums, err);
}

/* Drop the chunks that lie wholly below, as many as one transaction may. */
static int trim_chunks(struct env_txn *txn, struct queue *queue, uint64_t below, struct err *err)
{
    uint64_t freed = 0;

    for (int count = 0; count < TRIM_CHUNKS_MAX && freed < TRIM_COST_MAX; count++) {
        struct key at = key_chunk(queue->number, queue->begin), next;
        uint64_t end = queue->end;
        int rc = 0;
        if (queue->begin == queue->end)
            break;
        if (queue->begin < queue->last) {
            next = key_chunk(queue->number, queue->begin + 1);
            rc = env_seek(txn, &next, false, &next);
            if (!rc && !key_is_chunk((struct view){next.data, next.bytes}, queue->number, &end))
                rc = MDB_CORRUPTED;
        }
        if (rc || end > below)
            return rc;
        rc = env_delete(txn, &at, err);
        if (rc)
            return rc;
        freed += chunk_cost(end - queue->begin);
        queue->cost -= chunk_cost(end - queue->begin);
        queue->begin = end;
    }
    return 0;
}

static int apply_trim(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const char *name = (const char *)op->pieces[0].data;
    struct queue queue;
    struct sums sums;
    int rc = queue_get(txn, name, &queue, err);

    if (rc)
        return rc == MDB_NOTFOUND ? 0 : rc;
    rc = sums_get(txn, &sums, err);
    if (rc)
        return rc;
    sums.cost -= queue.cost;
    rc = trim_chunks(txn, &queue, op->number, err);
    sums.cost += queue.cost;
    if (queue.begin == queue.end)
        queue.last = queue.end;
    if (!rc)
        rc = queue_put(txn, name, &queue, err);
    return rc ? rc : sums_put(txn, &sums, err);
}

int spool_apply(const struct batch_op *op, struct env_txn *txn, struct err *err)
{
    const char *name = (const char *)op->pieces[0].data;
    struct key key;

    require(txn->env->kind == ENV_JOURNAL);
    switch (op->kind) {
    case OP_APPEND:
        return apply_append(op, txn, err);
    case OP_TRIM:
        return apply_trim(op, txn, err);
    case OP_FEED:
        key = key_named(KEY_FEED, name);
        return env_put(txn, &key, &op->pieces[1], 1, err);
    case OP_ENTRY:
        return journal_put(txn, name, op->pieces[1], err);
    case OP_CUT:
        return journal_cut(txn, name, op->number, err);
    default:
        require(false);
    }
}

/* ---- The handle ---- */

static int read_sums(struct journal *journal, struct sums *sums, struct err *err)
{
    struct env_txn txn;
    int rc;

    if (env_read_begin(journal->env, &txn, err))
        return ENV_REFUSED;
    rc = sums_get(&txn, sums, err);
    env_read_end(&txn);
    return rc;
}

enum err_code spool_start(struct journal *journal, struct err *err)
{
    struct sums sums;
    int rc = read_sums(journal, &sums, err);

    if (rc)
        return env_fail(journal->env, rc, "read the spool's sums", err);
    journal->used = sums.cost;
    return writer_open(&journal->writer, journal->env, err);
}

void spool_bound(struct journal *journal, uint64_t bytes)
{
    journal->env->spool_max = bytes;
}

uint64_t spool_used(const struct journal *journal)
{
    return journal->used;
}

uint64_t spool_cost(uint64_t bytes)
{
    return bytes / CHUNK_MAX * chunk_cost(CHUNK_MAX) +
           (bytes % CHUNK_MAX ? chunk_cost(bytes % CHUNK_MAX) : 0);
}

uint64_t spool_room(const struct journal *journal)
{
    uint64_t max = journal->env->spool_max, taken = journal->used + journal->in_flight;

    return taken < max ? max - taken : 0;
}

void spool_submit(struct journal *journal, struct store_batch **batch, void *user)
{
    require(*batch);
    (*batch)->user = user;
    journal->in_flight += (*batch)->spool_cost;
    writer_submit(journal->writer, *batch);
    *batch = NULL;
}

bool spool_collect(struct journal *journal, bool wait, struct store_batch **failed, void **user,
                   struct err *err)
{
    struct store_batch *batch = writer_collect(journal->writer, wait);
    struct sums sums;

    *failed = NULL;
    if (!batch)
        return false;
    if (user)
        *user = batch->user;
    if (err)
        *err = batch->outcome;
    journal->in_flight -= batch->spool_cost;
    if (read_sums(journal, &sums, NULL) == 0)
        journal->used = sums.cost;
    if (batch->outcome.code)
        *failed = batch;
    else
        store_batch_close(&batch);
    return true;
}

int spool_descriptor(const struct journal *journal)
{
    return writer_descriptor(journal->writer);
}

/* ---- Reading ---- */

static int copy_chunks(struct env_txn *txn, const struct queue *queue, uint64_t offset,
                       uint8_t *out, size_t room, size_t *got, struct err *err)
{
    struct view bytes;

    *got = 0;
    while (*got < room && offset + *got < queue->end) {
        int rc = find_chunk(txn, queue, offset + *got, &bytes, err);
        if (rc && *got && rc == ENV_REFUSED)
            return 0; /* what lies before the damage is good */
        if (rc)
            return rc;
        bytes.bytes = bytes.bytes < room - *got ? bytes.bytes : room - *got;
        memcpy(out + *got, bytes.data, bytes.bytes);
        *got += bytes.bytes;
    }
    return 0;
}

static enum err_code tell_unread(const struct journal *journal, const char *name, uint64_t offset,
                                 const struct queue *queue, int rc, struct err *err)
{
    const char *path = journal->env->place.path;

    if (rc == MDB_NOTFOUND && queue->number && offset < queue->begin)
        return err_set(err, ERR_ABSENT, 0,
                       "the spool '%s': bytes %llu to %llu of '%s' were trimmed: no checkpoint "
                       "needed them; --restart begins with what there is",
                       path, (unsigned long long)offset, (unsigned long long)queue->begin, name);
    if (rc == MDB_NOTFOUND && queue->number && offset <= queue->end)
        return err_set(err, ERR_DAMAGED, 0, "the spool '%s': byte %llu of '%s' is missing", path,
                       (unsigned long long)offset, name);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_ABSENT, 0, "the spool '%s' has no byte %llu of '%s'", path,
                       (unsigned long long)offset, name);
    return env_fail(journal->env, rc, "read the spool", err);
}

enum err_code spool_read(struct journal *journal, const char *name, uint64_t offset, uint8_t *out,
                         size_t room, size_t *got, struct err *err)
{
    struct queue queue = {0};
    struct env_txn txn;
    struct err mine;
    enum err_code code;
    size_t read = 0;

    err = err ? err : &mine;
    code = env_read_begin(journal->env, &txn, err);
    if (code)
        return code;
    int rc = queue_get(&txn, name, &queue, err);
    if (!rc && (offset < queue.begin || offset > queue.end))
        rc = MDB_NOTFOUND;
    if (!rc)
        rc = copy_chunks(&txn, &queue, offset, out, room, &read, err);
    env_read_end(&txn);
    if (rc)
        return tell_unread(journal, name, offset, &queue, rc, err);
    *got = read;
    return ERR_OK;
}

enum err_code spool_find(struct journal *journal, const char *name, struct spool_queue *out,
                         struct err *err)
{
    struct queue queue = {0};
    struct env_txn txn;
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    code = env_read_begin(journal->env, &txn, err);
    if (code)
        return code;
    int rc = queue_get(&txn, name, &queue, err);
    env_read_end(&txn);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_ABSENT, 0, "the spool has no queue '%s'", name);
    if (rc)
        return env_fail(journal->env, rc, "read the spool", err);
    *out = (struct spool_queue){queue.begin, queue.end, queue.cost};
    return ERR_OK;
}

/* One transaction a queue, so that a slow caller does not hold back the reuse of pages. */
enum err_code spool_each(struct journal *journal, spool_each_fn *each, void *user, struct err *err)
{
    struct key at = key_of(KEY_QUEUE);
    struct err mine;

    err = err ? err : &mine;
    for (;;) {
        char name[KEY_BYTES_MAX + 1];
        struct queue queue = {0};
        struct env_txn txn;
        enum err_code code = env_read_begin(journal->env, &txn, err);
        if (code)
            return code;
        int rc = env_seek(&txn, &at, false, &at);
        if (!rc && at.data[0] != KEY_QUEUE)
            rc = MDB_NOTFOUND;
        if (!rc) {
            memcpy(name, at.data + 1, at.bytes - 1);
            name[at.bytes - 1] = '\0';
            rc = queue_get(&txn, name, &queue, err);
        }
        env_read_end(&txn);
        if (rc)
            return rc == MDB_NOTFOUND ? ERR_OK : env_fail(journal->env, rc, "list the spool", err);
        struct spool_queue found = {queue.begin, queue.end, queue.cost};
        if (!each(user, name, &found) || at.bytes == KEY_BYTES_MAX)
            return ERR_OK;
        at.data[at.bytes++] = 0; /* the least key that is greater */
    }
}

enum err_code spool_feed(struct journal *journal, const char *feed, struct buffer *out,
                         struct err *err)
{
    struct key key = key_named(KEY_FEED, feed);
    struct view found = {NULL, 0};
    struct env_txn txn;
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    code = env_read_begin(journal->env, &txn, err);
    if (code)
        return code;
    int rc = env_get(&txn, &key, &found, err);
    if (rc == MDB_NOTFOUND)
        code = err_set(err, ERR_ABSENT, 0, "the spool knows no feed '%s'", feed);
    else if (rc == ENV_REFUSED) {
        const struct err why = *err;
        code = err_set(err, why.code, 0, "%s: " STORE_REMEDY, why.text);
    } else if (rc)
        code = env_fail(journal->env, rc, "read the spool", err);
    else {
        out->bytes = 0;
        buffer_put(out, found.data, found.bytes);
        code = out->refused ? err_set(err, ERR_MEMORY, 0, "the cursor of '%s'", feed) : ERR_OK;
    }
    env_read_end(&txn);
    return code;
}
