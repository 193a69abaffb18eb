/* The journal: entries by topic, numbered from 1 without gaps. A topic's next number is a value of its
 * own, so that numbers go on where they were when all entries have been trimmed. */
#include "store/care.h"
#include "store/spool.h"

#include <stdlib.h>

enum err_code journal_open(struct journal **out, const char *path, struct err *err)
{
    struct env_options options = {.kind = ENV_JOURNAL,
                                  .write = true,
                                  .map_bytes = 16 << 20,
                                  .reserve_bytes = SPOOL_RESERVE_BYTES};
    struct journal *journal = calloc(1, sizeof *journal);
    enum err_code code;

    if (!journal)
        return err_set(err, ERR_MEMORY, 0, "open the journal '%s'", path);
    code = env_open(&journal->env, path, &options, err);
    if (!code) {
        memcpy(journal->id, journal->env->head.id, ENV_ID_BYTES);
        code = spool_start(journal, err);
    }
    if (code)
        journal_close(&journal);
    else
        *out = journal;
    return code;
}

void journal_close(struct journal **journal)
{
    if (!*journal)
        return;
    writer_close(&(*journal)->writer);
    env_close(&(*journal)->env);
    free(*journal);
    *journal = NULL;
}

const uint8_t *journal_id(const struct journal *journal)
{
    return journal->id;
}

enum err_code journal_compact(struct journal *journal, uint64_t *before, uint64_t *after,
                              struct err *err)
{
    struct err mine;
    return env_compact(journal->env, before, after, err ? err : &mine);
}

static enum err_code check_topic(const char *topic, struct err *err)
{
    size_t bytes = strlen(topic);

    if (bytes == 0 || bytes > STORE_NAME_MAX)
        return err_set(err, ERR_LIMIT, 0, "a journal's topic has 1 to %d bytes, not %zu",
                       STORE_NAME_MAX, bytes);
    return ERR_OK;
}

static struct key key_topic(const char *topic)
{
    struct key key = key_of(KEY_TOPIC);
    key_text(&key, topic);
    return key;
}

int journal_put(struct env_txn *txn, const char *name, struct view content, struct err *err)
{
    struct key topic = key_topic(name), entry;
    uint8_t next[8];
    struct view piece = {next, sizeof next}, found;
    uint64_t number;
    int rc = env_get(txn, &topic, &found, err);

    if (rc && rc != MDB_NOTFOUND)
        return rc;
    if (rc == 0 && found.bytes != 8)
        return MDB_CORRUPTED;
    number = rc == 0 ? load_u64(found.data) : 1;
    store_u64(next, number + 1);
    entry = key_entry(name, number);
    rc = env_put(txn, &topic, &piece, 1, err);
    return rc ? rc : env_put(txn, &entry, &content, 1, err);
}

static int find_entry(struct env_txn *txn, const char *topic, uint64_t *number, struct view *found,
                      struct err *err)
{
    struct key at = key_entry(topic, *number), prefix = key_entry(topic, 0);
    int rc = env_seek(txn, &at, false, &at);

    prefix.bytes -= 8;
    if (rc)
        return rc;
    if (at.bytes != prefix.bytes + 8 || !key_starts((struct view){at.data, at.bytes}, &prefix))
        return MDB_NOTFOUND;
    *number = key_number(at.data + prefix.bytes);
    return env_get(txn, &at, found, err);
}

static enum err_code copy_entry(struct view found, struct buffer *out, struct err *err)
{
    if (found.bytes > out->max)
        return err_set(err, ERR_LIMIT, 0, "a journal's entry has %zu bytes, more than %zu",
                       found.bytes, out->max);
    out->bytes = 0;
    buffer_put(out, found.data, found.bytes);
    return out->refused ? err_set(err, ERR_MEMORY, 0, "read a journal's entry") : ERR_OK;
}

enum err_code journal_read(struct journal *journal, const char *topic, uint64_t *number,
                           struct buffer *out, struct err *err)
{
    struct env_txn txn;
    struct view found = {0};
    struct err mine;
    uint64_t at = *number;
    enum err_code code;

    err = err ? err : &mine;
    code = check_topic(topic, err);
    if (!code)
        code = env_read_begin(journal->env, &txn, err);
    if (code)
        return code;
    int rc = find_entry(&txn, topic, &at, &found, err);
    if (rc == MDB_NOTFOUND)
        code = err_set(err, ERR_ABSENT, 0, "the journal has no entry of '%s' from %llu on", topic,
                       (unsigned long long)at);
    else if (rc)
        code = env_fail(journal->env, rc, "read the journal", err);
    else
        code = copy_entry(found, out, err);
    env_read_end(&txn);
    if (!code)
        *number = at;
    return code;
}

int journal_cut(struct env_txn *txn, const char *topic, uint64_t number, struct err *err)
{
    struct key from = key_entry(topic, 0), to = key_entry(topic, number);
    return env_delete_range(txn, &from, &to, err);
}
