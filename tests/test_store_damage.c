/* What is in a store's files and should not be: flipped bits, missing ends, other formats. */
#include "tests/store_help.h"

#include "store/env.h"
#include <stdio.h>
#include <stdlib.h>

struct bytes {
    uint8_t *data;
    size_t bytes;
};

static struct bytes load(const char *folder)
{
    char path[400];
    struct bytes file = {NULL, file_bytes_of(folder, "data.mdb")};
    FILE *in;

    snprintf(path, sizeof path, "%s/data.mdb", folder);
    in = fopen(path, "rb");
    file.data = malloc(file.bytes);
    assert_non_null(in);
    assert_int_equal(fread(file.data, 1, file.bytes, in), file.bytes);
    fclose(in);
    return file;
}

static void save(const char *folder, struct bytes file, size_t bytes)
{
    char path[400];
    FILE *out;

    snprintf(path, sizeof path, "%s/data.mdb", folder);
    out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(file.data, 1, bytes, out), bytes);
    fclose(out);
}

/* ---- Flipped bits ---- */

enum { REFUSED = 40, WRONG = 50 };

/* Read and compare one checkpoint without cmocka: right, refused, or WRONG. */
static int look_at(struct store *store, uint64_t stream, uint64_t number)
{
    struct store_checkpoint *found = NULL;
    struct err err = {0};
    enum err_code code = store_checkpoint_read(store, stream, number, true, &found, &err);

    store_checkpoint_free(&found);
    if (code == ERR_DAMAGED)
        return strstr(err.text, "checkpoint") ? REFUSED : WRONG;
    if (code)
        return WRONG;
    check_checkpoint(store, stream, number, USED_PARTS, stream == 1 ? USED_PART_BYTES : 100);
    return 0;
}

/* The same of the savepoint, which is checkpoint 4 as long as both can be read. */
static int look_at_point(struct store *store)
{
    struct store_checkpoint *point = NULL, *four = NULL;
    struct err err = {0};
    enum err_code code = store_point_read(store, 1, "kept", true, &point, &err);
    bool same = true;

    if (!code && !store_checkpoint_read(store, 1, 4, true, &four, NULL)) {
        same = point->number == 4 && point->part_count == four->part_count;
        for (size_t i = 0; same && i < four->part_count; i++)
            same = point->parts[i].bytes == four->parts[i].bytes &&
                   !memcmp(point->parts[i].data, four->parts[i].data, four->parts[i].bytes);
    }
    store_checkpoint_free(&point);
    store_checkpoint_free(&four);
    if (code)
        return code == ERR_DAMAGED && strstr(err.text, "savepoint") ? REFUSED : WRONG;
    return same ? 0 : WRONG;
}

/* Open a store of which one bit is wrong and use all of it. 0: nothing was noticed, and all is right;
 * 1: refused at open; 2: one checkpoint or note refused; WRONG: something else. */
static int use_flipped(const char *path)
{
    struct store *store;
    struct err err;
    struct buffer note = buffer_of(100);
    enum err_code code = try_open(path, true, &store, &err);
    int refused = 0;

    if (code)
        return (code == ERR_DAMAGED && strstr(err.text, "put back a copy")) || code == ERR_VERSION
                   ? 1
                   : WRONG;
    for (uint64_t stream = 1; stream <= 2; stream++) {
        uint64_t found, numbers[STORE_KEEP];
        size_t count;
        if (store_find(store, stream == 1 ? "one" : "two", &found, NULL) || found != stream ||
            store_checkpoints(store, stream, numbers, &count, NULL) || count != STORE_KEEP)
            return WRONG;
        for (size_t i = 0; i < count; i++) {
            int looked = numbers[i] == 6 - i ? look_at(store, stream, numbers[i]) : WRONG;
            if (looked == WRONG)
                return WRONG;
            refused += looked == REFUSED;
        }
    }
    int point = look_at_point(store);
    if (point == WRONG)
        return WRONG;
    refused += point == REFUSED;
    code = store_note(store, 1, &note, NULL);
    if (code ? code != ERR_DAMAGED : note.bytes != 4 || memcmp(note.data, "note", 4) != 0)
        return WRONG;
    refused += code == ERR_DAMAGED;
    /* Writing frees the oldest: its pages may be the damaged ones. */
    for (uint64_t number = 7; number <= 9; number++)
        if (try_checkpoint(store, 1, number, USED_PARTS, USED_PART_BYTES, &err) == ERR_OK)
            check_checkpoint(store, 1, number, USED_PARTS, USED_PART_BYTES);
        else if (err.code == ERR_DAMAGED)
            refused++;
        else
            return WRONG;
    store_close(&store);
    buffer_release(&note);
    return refused ? 2 : 0;
}

static bool is_tree_page(const struct bytes *file, size_t page)
{
    uint16_t flags = load_u16(file->data + page * 4096 + 10);
    return load_u64(file->data + page * 4096) == page && (flags == 1 || flags == 2 || flags == 8);
}

/* Flip in turn bits of the pages chosen, each time in a fresh copy. How many ended how, by status. */
static void flip_through(const char *path, bool tree_pages, size_t stride, int outcomes[3])
{
    struct bytes file = load(path), after;
    uint64_t seed = 4711;

    for (size_t at = 0; at < file.bytes; at += 1 + random_next(&seed) % (2 * stride)) {
        uint8_t bit = (uint8_t)(1u << random_next(&seed) % 8);
        if (is_tree_page(&file, at / 4096) != tree_pages)
            continue;
        file.data[at] ^= bit;
        save(path, file, file.bytes);
        int outcome = in_child(use_flipped, path);
        if (outcome < 0 || outcome > 2) {
            fail_msg("byte %zu of page %zu, bit mask %u: outcome %d", at % 4096, at / 4096, bit,
                     outcome);
            break;
        }
        outcomes[outcome]++;
        if (outcome == 1) {
            after = load(path);
            assert_int_equal(after.bytes, file.bytes);
            assert_memory_equal(after.data, file.data, file.bytes);
            free(after.data);
        }
        file.data[at] ^= bit;
    }
    save(path, file, file.bytes);
    free(file.data);
}

static void a_flipped_bit_in_a_value_spares_the_others(void **state)
{
    int outcomes[3] = {0};

    make_used_store(folder_of(state));
    flip_through(folder_of(state), false, 700, outcomes);
    /* Some bits lie in values (refused at read), some in pages without use. */
    assert_true(outcomes[2] > 50);
    assert_true(outcomes[0] > 5);
}

static void a_flipped_bit_in_a_tree_page_is_refused_or_harmless(void **state)
{
    int outcomes[3] = {0};

    make_used_store(folder_of(state));
    flip_through(folder_of(state), true, 12, outcomes);
    assert_true(outcomes[1] > 100);
}

static void a_damaged_value_is_named_and_the_one_before_it_is_read(void **state)
{
    const char *path = folder_of(state);
    struct store_checkpoint *found = NULL;
    struct bytes file;
    struct store *store;
    struct err err;
    char name[] = "meta of 1/6";
    size_t at = 0;

    make_used_store(path);
    file = load(path);
    /* The newest copy: pages that were used before hold older ones, all older numbers. */
    while (at + sizeof name < file.bytes && memcmp(file.data + at, name, sizeof name - 1) != 0)
        at++;
    for (; at + sizeof name < file.bytes; at++)
        if (memcmp(file.data + at, name, sizeof name - 1) == 0)
            file.data[at] ^= 1;
    save(path, file, file.bytes);
    free(file.data);
    store = open_store(path);
    assert_int_equal(store_checkpoint_read(store, 1, 6, true, &found, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "stream 1, checkpoint 6, meta value"));
    check_checkpoint(store, 1, 5, USED_PARTS, USED_PART_BYTES);
    store_close(&store);
}

static int open_and_read(const char *path)
{
    struct store *store;
    struct err err;

    if (try_open(path, true, &store, &err))
        return err.code == ERR_DAMAGED ? 1 : WRONG;
    for (uint64_t number = 4; number <= 6; number++)
        if (read_checkpoint(store, 1, number))
            return 2;
    store_close(&store);
    return 0;
}

static void a_file_cut_short_is_refused(void **state)
{
    const char *path = folder_of(state);
    struct bytes file;
    int refused = 0;

    make_used_store(path);
    file = load(path);
    for (size_t bytes = 4096; bytes < file.bytes; bytes += 4096 + 512) {
        save(path, file, bytes);
        int outcome = in_child(open_and_read, path);
        assert_true(outcome <= 1);
        refused += outcome;
    }
    assert_true(refused > 10);
    /* All zeros, as a power cut leaves a file whose data were not written: a store never begun. */
    memset(file.data, 0, 8192);
    save(path, file, 8192);
    free(file.data);
    struct store *store = open_store(path);
    assert_int_equal(store_owner_epoch(store), 1);
    store_close(&store);
}

/* ---- Versions ---- */

static int raise_format(void *user, struct env_txn *txn, struct err *err)
{
    (void)user;
    (void)err;
    txn->head.format = ENV_FORMAT + 1;
    return 0;
}

static void a_newer_format_is_refused_and_untouched(void **state)
{
    struct env_options options = {.kind = ENV_STORE, .write = true};
    const char *path = folder_of(state);
    struct env *env = NULL;
    struct store *store;
    struct err err;
    struct bytes before, after;

    assert_int_equal(env_open(&env, path, &options, NULL), ERR_OK);
    assert_int_equal(env_write(env, 0, false, raise_format, NULL, NULL), ERR_OK);
    env_close(&env);
    before = load(path);
    assert_int_equal(try_open(path, true, &store, &err), ERR_VERSION);
    assert_int_equal(try_open(path, false, &store, &err), ERR_VERSION);
    after = load(path);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
    free(before.data);
    free(after.data);
}

/* Part 1 of checkpoint 7 of stream 1 becomes that of checkpoint 8, with a checksum that fits its key. */
static int mix_parts(void *user, struct env_txn *txn, struct err *err)
{
    struct key from = key_checkpoint(1, 8, 2), to = key_checkpoint(1, 7, 2);
    struct view part;
    uint8_t copy[400];
    int rc = env_get(txn, &from, &part, err);

    (void)user;
    if (rc)
        return rc;
    assert_true(part.bytes <= sizeof copy);
    memcpy(copy, part.data, part.bytes);
    return env_put(txn, &to, &(struct view){copy, part.bytes}, 1, err);
}

/* As format 1 had it: the meta value of checkpoint 7 without a seal, in a store that says so. */
static int strip_seal(void *user, struct env_txn *txn, struct err *err)
{
    struct key key = key_checkpoint(1, 7, 0);
    uint8_t count[4];
    struct view old[2] = {{count, 4}, text_view("meta of 1/7")};

    (void)user;
    store_u32(count, 3);
    txn->head.format = 1;
    return env_put(txn, &key, old, 2, err);
}

static void change(const char *path, env_fill_fn *fill)
{
    struct env_options options = {.kind = ENV_STORE, .write = true};
    struct env *env = NULL;

    assert_int_equal(env_open(&env, path, &options, NULL), ERR_OK);
    assert_int_equal(env_write(env, 0, false, fill, NULL, NULL), ERR_OK);
    env_close(&env);
}

static void parts_of_two_checkpoints_are_never_mixed(void **state)
{
    const char *path = folder_of(state);
    struct store *store = open_store(path);
    struct store_checkpoint *found = NULL;
    struct err err;

    add_stream(store, "one");
    put_checkpoint(store, 1, 7, 3, 300);
    put_checkpoint(store, 1, 8, 3, 300);
    store_close(&store);
    change(path, mix_parts);
    store = open_store(path);
    check_checkpoint(store, 1, 8, 3, 300);
    assert_int_equal(store_checkpoint_read(store, 1, 7, true, &found, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "checkpoint 7, part 1"));
    store_close(&store);
}

static void format_1_is_read_and_raised(void **state)
{
    const char *path = folder_of(state);
    struct store *store = open_store(path);
    struct env_options options = {.kind = ENV_STORE};
    struct env *env = NULL;

    add_stream(store, "one");
    put_checkpoint(store, 1, 7, 3, 300);
    store_close(&store);
    change(path, strip_seal);
    assert_int_equal(env_open(&env, path, &options, NULL), ERR_OK);
    assert_int_equal(env->head.format, 1);
    env_close(&env);
    store = open_store(path);
    check_checkpoint(store, 1, 7, 3, 300);
    store_close(&store);
    assert_int_equal(env_open(&env, path, &options, NULL), ERR_OK);
    assert_int_equal(env->head.format, ENV_FORMAT);
    env_close(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_flipped_bit_in_a_value_spares_the_others),
        STORE_TEST(a_flipped_bit_in_a_tree_page_is_refused_or_harmless),
        STORE_TEST(a_damaged_value_is_named_and_the_one_before_it_is_read),
        STORE_TEST(a_file_cut_short_is_refused),
        STORE_TEST(a_newer_format_is_refused_and_untouched),
        STORE_TEST(parts_of_two_checkpoints_are_never_mixed),
        STORE_TEST(format_1_is_read_and_raised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
