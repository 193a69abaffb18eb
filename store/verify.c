#include "store/care.h"

#include "store/env.h"
#include "store/inside.h"
#include "store/seal.h"
#include <stdio.h>

enum { KEYS_A_TURN = 256, CHECKPOINT_KEY_BYTES = 25, PART_AT = 21 };

struct checking {
    struct env *env;
    store_say_fn *say;
    void *user;
    struct store_checked *checked;
    bool damaged;
};

static void say(struct checking *c, const char *line)
{
    c->damaged = true;
    if (c->say)
        c->say(c->user, line);
}

/* 0, ENV_REFUSED with words in *err, other. */
static int check_value(struct checking *c, struct env_txn *txn, const struct key *key,
                       struct view *payload, struct err *err)
{
    int rc = env_check(txn, key, payload, err);

    if (!rc) {
        c->checked->values++;
        c->checked->bytes += key->bytes + payload->bytes + CHECKSUM_BYTES;
    }
    return rc;
}

/* The parts of a checkpoint against its meta value. */
static int check_parts(struct checking *c, struct env_txn *txn, const struct key *meta,
                       struct view payload, struct err *err)
{
    struct seal seal;
    char words[160];
    int rc = 0;

    key_words((struct view){meta->data, meta->bytes}, words, sizeof words);
    if (!seal_read(payload, &seal)) {
        err_set(err, ERR_DAMAGED, 0, "%s: it cannot be decoded", words);
        return ENV_REFUSED;
    }
    for (size_t i = 0; i < seal.parts && !rc; i++) {
        struct key key = {.bytes = PART_AT};
        struct view part;
        memcpy(key.data, meta->data, PART_AT);
        key_u32(&key, (uint32_t)i + 1);
        rc = check_value(c, txn, &key, &part, err);
        if (rc == MDB_NOTFOUND ||
            (!rc && seal.sealed && seal_checksum(&seal, i) != load_u64(part.data + part.bytes))) {
            err_set(err, ERR_DAMAGED, 0, "%s: its part %zu is %s", words, i,
                    rc ? "missing" : "another's");
            rc = ENV_REFUSED;
        }
    }
    return rc;
}

/* One key; *at becomes the least key behind all that was looked at. */
static int check_key(struct checking *c, struct env_txn *txn, struct key *at)
{
    bool checkpoint = at->data[0] == KEY_CHECKPOINT && at->bytes == CHECKPOINT_KEY_BYTES;
    struct view payload;
    struct err err = {0};
    int rc = check_value(c, txn, at, &payload, &err);

    if (!rc && checkpoint && !memcmp(at->data + PART_AT, "\0\0\0", 4)) {
        rc = check_parts(c, txn, at, payload, &err);
        memset(at->data + PART_AT, 0xFF, 4);
    }
    if (rc == ENV_REFUSED) {
        say(c, err.text);
        rc = 0;
    }
    if (at->bytes < KEY_BYTES_MAX)
        at->data[at->bytes++] = 0;
    else
        at->data[at->bytes - 1]++; /* such long keys are never written */
    return rc;
}

static enum err_code check_all(struct checking *c, struct err *err)
{
    struct key at = {.bytes = 1};
    int rc = 0;

    while (!rc) {
        struct env_txn txn;
        enum err_code code = env_read_begin(c->env, &txn, err);
        if (code)
            return code;
        for (int i = 0; i < KEYS_A_TURN && !rc; i++) {
            rc = env_seek(&txn, &at, false, &at);
            if (!rc)
                rc = check_key(c, &txn, &at);
        }
        env_read_end(&txn);
    }
    if (rc != MDB_NOTFOUND)
        return env_fail(c->env, rc, "verify", err);
    return c->damaged
               ? err_set(err, ERR_DAMAGED, 0, "values of '%s' are damaged", c->env->place.path)
               : ERR_OK;
}

enum err_code store_verify(struct store *store, store_say_fn *each, void *user,
                           struct store_checked *checked, struct err *err)
{
    struct checking c = {store_env(store), each, user, checked, false};
    struct err mine;

    return check_all(&c, err ? err : &mine);
}

enum err_code journal_verify(const char *path, store_say_fn *each, void *user,
                             struct store_checked *checked, struct err *err)
{
    struct env_options look = {.kind = ENV_JOURNAL};
    struct checking c = {NULL, each, user, checked, false};
    struct err mine;
    enum err_code code;

    err = err ? err : &mine;
    code = env_open(&c.env, path, &look, err);
    if (!code)
        code = check_all(&c, err);
    env_close(&c.env);
    return code;
}
