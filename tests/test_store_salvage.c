/* Every page of a store's file damaged, one at a time, and repaired: what is there afterwards was there
 * before, whole, and is the newest that can be had. */
#include "tests/store_help.h"

#include "store/care.h"
#include "store/env.h"
#include "store/salvage.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STREAMS = 7, ROUNDS = 6, PARTS = 5, PAGE = 4096, POINT_ROUND = 3 };

/* ---- A store with a past ---- */

static const char *const names[STREAMS] = {"alpha", "beta", "gamma", "delta", "eps", "zeta", "eta"};

static size_t part_bytes_of(uint64_t stream)
{
    static const size_t bytes[] = {60, 700, 3000, 9000};
    return bytes[stream % 4];
}

static void do_point(struct store *store, uint64_t stream, const char *name, bool save)
{
    struct store_batch *batch;
    struct err err;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    if (save)
        assert_int_equal(batch_savepoint(batch, stream, UINT64_MAX, name, NULL), ERR_OK);
    else
        assert_int_equal(batch_unsave(batch, stream, name, NULL), ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
}

static void put_point(struct store *store, uint64_t stream, const char *name)
{
    do_point(store, stream, name, true);
}

static void drop_point(struct store *store, uint64_t stream, const char *name)
{
    do_point(store, stream, name, false);
}

/* All checkpoints of a stream are full of their names, so that what is read can be told to be true. */
static void make_store(const char *path)
{
    struct store *store = open_store(path);

    for (int i = 0; i < STREAMS; i++)
        add_stream(store, names[i]);
    for (uint64_t round = 1; round <= ROUNDS; round++)
        for (uint64_t stream = 1; stream <= STREAMS; stream++) {
            put_note(store, stream, "a note");
            put_checkpoint(store, stream, round, PARTS, part_bytes_of(stream));
            if (round == POINT_ROUND)
                put_point(store, stream, "early");
        }
    drop_point(store, 2, "early");
    put_point(store, 2, "late"); /* in the slot that "early" had */
    store_close(&store);
}

struct file {
    uint8_t *data;
    size_t bytes;
};

static void file_path(const char *folder, char path[400])
{
    snprintf(path, 400, "%s/data.mdb", folder);
}

static struct file load(const char *folder)
{
    char path[400];
    struct file file = {NULL, file_bytes_of(folder, "data.mdb")};
    int fd;

    file_path(folder, path);
    file.data = malloc(file.bytes);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, file.data, file.bytes, 0), file.bytes);
    close(fd);
    return file;
}

/* A new file each time: the kept ones are second names of the old. */
static void save(const char *folder, struct file file)
{
    char path[400], kept[440];
    int fd;

    file_path(folder, path);
    snprintf(kept, sizeof kept, "%s.damaged-1", path);
    unlink(path);
    unlink(kept);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    assert_int_equal(write(fd, file.data, file.bytes), file.bytes);
    close(fd);
}

/* ---- What pages are ---- */

enum use { USE_META, USE_BRANCH, USE_LEAF, USE_RUN, USE_FREE };

static void mark_runs(int fd, uint64_t number, enum use *uses)
{
    uint8_t page[PAGE];
    struct node node;

    scan_read(fd, number * PAGE, page, PAGE);
    for (unsigned i = 0; i < (load_u16(page + 12) - PAGE_HEADER) / 2u; i++) {
        assert_null(page_node(page, PAGE, i, true, &node));
        for (uint64_t k = 0; node.big && k < page_run(node.value_bytes, PAGE); k++)
            uses[node.run + k] = USE_RUN;
    }
}

static enum use *uses_of(const char *folder, size_t *count)
{
    char path[400];
    struct survey survey;
    enum use *uses;

    file_path(folder, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(survey_open(&survey, fd, folder, NULL), ERR_OK);
    assert_string_equal(survey.what, "");
    assert_true(survey.newest && survey.free_known && survey.hole_count == 0);
    *count = survey.pages;
    uses = malloc(*count * sizeof *uses);
    for (uint64_t page = 0; page < *count; page++)
        uses[page] = USE_FREE;
    for (uint64_t page = 0; page < *count; page++) {
        enum origin origin = survey.origin[page];
        if (page < 2 || origin == ORIGIN_TREE || origin == ORIGIN_LIVE)
            uses[page] = page < 2 ? USE_META : origin == ORIGIN_TREE ? USE_BRANCH : USE_LEAF;
        if (origin == ORIGIN_LIVE)
            mark_runs(fd, page, uses);
    }
    survey_close(&survey);
    close(fd);
    return uses;
}

/* ---- After a repair ---- */

struct after {
    int newest, older, none, gone; /* streams */
    int said, losses;
    int points;
    struct store *store;
    uint64_t stream; /* whose points are looked at */
};

static void count_said(void *user, const char *line)
{
    struct after *after = user;
    assert_true(strlen(line) > 5);
    after->said++;
}

static void count_loss(void *user, const struct store_loss *loss)
{
    struct after *after = user;
    assert_true(loss->kept != ROUNDS || loss->lost == 0);
    after->losses++;
}

static enum err_code repair(const char *path, struct after *after, struct store_repaired *done,
                            struct err *err)
{
    struct store_repair_options options = {.say = count_said, .lose = count_loss, .user = after};

    *after = (struct after){0};
    return store_repair(path, &options, done, err);
}

static bool check_point(void *user, const char *name, uint64_t number)
{
    struct after *after = user;

    /* A stale "early" of stream 2 in the slot of "late" would come back with the number of "late". */
    assert_int_equal(number, strcmp(name, "early") ? ROUNDS : POINT_ROUND);
    struct store_checkpoint *found = NULL;
    char meta[80];
    assert_int_equal(store_point_read(after->store, after->stream, name, true, &found, NULL),
                     ERR_OK);
    snprintf(meta, sizeof meta, "meta of %llu/%llu", (unsigned long long)after->stream,
             (unsigned long long)number);
    assert_int_equal(found->meta.bytes, strlen(meta));
    assert_memory_equal(found->meta.data, meta, strlen(meta));
    assert_int_equal(found->part_count, PARTS);
    store_checkpoint_free(&found);
    after->points++;
    return true;
}

/* All that the store holds is true; count what it holds. */
static void check_truth(const char *path, struct after *after)
{
    struct store *store = open_store(path);

    for (uint64_t stream = 1; stream <= STREAMS; stream++) {
        uint64_t numbers[STORE_KEEP], found = 0;
        size_t count;
        if (store_find(store, names[stream - 1], &found, NULL)) {
            after->gone++;
            continue;
        }
        assert_int_equal(found, stream);
        assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
        for (size_t i = 0; i < count; i++)
            check_checkpoint(store, stream, numbers[i], PARTS, part_bytes_of(stream));
        after->store = store;
        after->stream = stream;
        assert_int_equal(store_points(store, stream, check_point, after, NULL), ERR_OK);
        after->none += count == 0;
        after->newest += count > 0 && numbers[0] == ROUNDS;
        after->older += count > 0 && numbers[0] < ROUNDS;
    }
    /* It can be written on. */
    put_checkpoint(store, add_stream(store, "new"), 1, PARTS, 100);
    store_close(&store);
}

static void damage(struct file *file, size_t page, int kind, uint64_t *seed)
{
    uint8_t *at = file->data + page * PAGE;

    if (kind == 0)
        memset(at, 0, PAGE);
    else if (kind == 1)
        memset(at, 0xFF, PAGE);
    else if (kind == 2) /* in the header and the offsets */
        at[random_next(seed) % 64] ^= (uint8_t)(1u << random_next(seed) % 8);
    else
        at[random_next(seed) % PAGE] ^= (uint8_t)(1u << random_next(seed) % 8);
}

struct tally {
    int cases, untouched, exact, older, none, gone, points;
};

static void check_case(const char *path, enum use use, struct tally *tally)
{
    struct store_repaired done;
    struct after after;
    struct err err = {0};

    if (repair(path, &after, &done, &err))
        fail_msg("repair: %s", err.text);
    assert_int_equal(done.kept_as[0] != '\0', done.needed);
    check_truth(path, &after);
    tally->cases++;
    tally->untouched += !done.needed;
    tally->exact += done.needed && done.exact;
    tally->older += after.older;
    tally->none += after.none;
    tally->gone += after.gone;
    tally->points += STREAMS - after.points;
    if (!done.needed || done.exact || use == USE_BRANCH || use == USE_FREE)
        assert_true(after.newest == STREAMS && after.points == STREAMS);
    else if (use == USE_RUN)
        assert_true(after.newest + after.points >= 2 * STREAMS - 1 && after.older <= 1);
    else if (use == USE_META) /* the transaction before, and what is newer of its pages */
        assert_true(after.newest + after.older == STREAMS);
    assert_true(after.losses >= after.older + after.none);
}

static void each_page_damaged_leaves_what_can_be_had(void **state)
{
    const char *path = folder_of(state);
    uint64_t seed = 4711;
    size_t count;

    make_store(path);
    struct file good = load(path), bad = {malloc(good.bytes), good.bytes};
    enum use *uses = uses_of(path, &count);
    struct tally tally[USE_FREE + 1] = {0};
    for (size_t page = 0; page < count; page++)
        for (int kind = 0; kind < 4; kind++) {
            memcpy(bad.data, good.data, good.bytes);
            damage(&bad, page, kind, &seed);
            save(path, bad);
            check_case(path, uses[page], &tally[uses[page]]);
        }
    for (int use = 0; use <= USE_FREE; use++)
        print_message("%s: %d cases, %d untouched, %d exact; streams set back %d, to nothing %d, "
                      "gone %d; savepoints lost %d\n",
                      ((const char *[]){"meta", "branch", "leaf", "run", "free"})[use],
                      tally[use].cases, tally[use].untouched, tally[use].exact, tally[use].older,
                      tally[use].none, tally[use].gone, tally[use].points);
    assert_true(tally[USE_BRANCH].cases > 0 && tally[USE_FREE].cases > 0);
    assert_true(tally[USE_RUN].older > 20);
    free(uses);
    free(good.data);
    free(bad.data);
}

/* ---- Attempts ---- */

/* Checkpoint 5 of stream 1, made for the attempt'th time at another place. */
static void put_attempt(struct store *store, uint8_t attempt, size_t part_bytes)
{
    struct view parts[PARTS];
    struct store_batch *batch;
    uint8_t *memory = malloc(part_bytes);
    struct err err;

    memset(memory, attempt, part_bytes);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct view){memory, part_bytes};
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_checkpoint(batch, 1, 5, (struct view){&attempt, 1}, parts, PARTS, NULL),
                     ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    free(memory);
}

static int check_one_attempt(const char *path, uint8_t last)
{
    struct store *store = open_store(path);
    struct store_checkpoint *found = NULL;
    int outcome = 0;

    if (!store_checkpoint_read(store, 1, 5, true, &found, NULL)) {
        outcome = found->meta.data[0] == last ? 2 : 1;
        for (size_t i = 0; i < found->part_count; i++)
            for (size_t k = 0; k < found->parts[i].bytes; k++)
                assert_int_equal(found->parts[i].data[k], found->meta.data[0]);
        assert_int_equal(found->part_count, PARTS);
    }
    store_checkpoint_free(&found);
    store_close(&store);
    return outcome;
}

static void attempts_at_one_checkpoint_are_never_mixed(void **state)
{
    enum { ATTEMPTS = 9 };
    const char *path = folder_of(state);
    struct store *store = open_store(path);
    struct store_repaired done;
    struct after after;
    struct err err = {0};
    int outcomes[3] = {0};

    for (int i = 0; i < 3; i++)
        add_stream(store, names[i]);
    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
        put_checkpoint(store, 2, (uint64_t)attempt, PARTS, 5000);
        put_attempt(store, (uint8_t)attempt, attempt % 2 ? 5000 : 900);
    }
    store_close(&store);
    struct file good = load(path), bad = {malloc(good.bytes), good.bytes};
    for (size_t page = 0; page < good.bytes / PAGE; page++) {
        memcpy(bad.data, good.data, good.bytes);
        memset(bad.data + page * PAGE, 0, PAGE);
        save(path, bad);
        if (repair(path, &after, &done, &err))
            fail_msg("repair: %s", err.text);
        outcomes[check_one_attempt(path, ATTEMPTS)]++;
    }
    print_message("checkpoint 5: the last attempt %d times, an older one %d times, none %d times\n",
                  outcomes[2], outcomes[1], outcomes[0]);
    assert_true(outcomes[2] > 0 && outcomes[1] > 0);
    free(good.data);
    free(bad.data);
}

/* ---- Heads ---- */

static void zero_pages(const char *path, const enum use *uses, size_t count, enum use use)
{
    struct file file = load(path);

    for (size_t page = 0; page < count; page++)
        if (uses[page] == use)
            memset(file.data + page * PAGE, 0, PAGE);
    save(path, file);
    free(file.data);
}

static void id_and_epoch_are_kept_and_raised(void **state)
{
    const char *path = folder_of(state);
    uint8_t id[STORE_ID_BYTES];
    struct store_repaired done;
    struct after after;
    struct err err = {0};
    size_t count;

    make_store(path);
    struct store *store = open_store(path);
    memcpy(id, store_id(store), sizeof id);
    uint64_t epoch = store_owner_epoch(store);
    store_close(&store);
    enum use *uses = uses_of(path, &count);
    zero_pages(path, uses, count, USE_META);
    assert_int_equal(repair(path, &after, &done, &err), ERR_OK);
    store = open_store(path);
    assert_memory_equal(store_id(store), id, sizeof id);
    assert_true(store_owner_epoch(store) > epoch + 1);
    store_close(&store);
    check_truth(path, &after);
    assert_int_equal(after.newest, STREAMS);
    free(uses);
}

/* Nothing of it can be read but what the outputs know. */
static void a_store_of_zeros_takes_its_id_from_outside(void **state)
{
    const char *path = folder_of(state);
    const struct store_seen seen = {"0123456789abcde", 77};
    struct store_repair_options options = {.seen = &seen, .seen_count = 1};
    struct store_repaired done;
    struct after after;
    struct err err = {0};

    make_store(path);
    struct file file = load(path);
    memset(file.data, 0, file.bytes);
    save(path, file);
    assert_int_equal(repair(path, &after, &done, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "put back a copy"));
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    struct store *store = open_store(path);
    assert_memory_equal(store_id(store), seen.id, STORE_ID_BYTES);
    assert_int_equal(store_owner_epoch(store), 79);
    store_close(&store);
    free(file.data);
}

/* The outputs have seen a later run: the store is a copy that was put back. */
static void an_older_copy_gets_an_epoch_above_its_outputs(void **state)
{
    const char *path = folder_of(state);
    struct store_seen seen = {.epoch = 40};
    struct store_repair_options options = {.seen = &seen, .seen_count = 1};
    struct store_repaired done;
    struct after after = {0};
    struct err err = {0};

    make_store(path);
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    assert_false(done.needed); /* another store's */
    struct store *store = open_store(path);
    memcpy(seen.id, store_id(store), STORE_ID_BYTES);
    store_close(&store);
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    assert_true(done.needed && done.exact);
    store = open_store(path);
    assert_int_equal(store_owner_epoch(store), 42);
    store_close(&store);
    check_truth(path, &after);
    assert_int_equal(after.newest, STREAMS);
}

/* ---- Names ---- */

static int drop_names(void *user, struct env_txn *txn, struct err *err)
{
    const char *name = user;
    struct key by_number = key_stream(KEY_NAME, 3), by_name = key_catalogue(name);
    int rc = env_delete(txn, &by_number, err);
    return rc ? rc : env_delete(txn, &by_name, err);
}

/* A stream whose name is nowhere any more is known again by its seal, and by nothing else. */
static void a_name_comes_back_from_outside(void **state)
{
    const char *path = folder_of(state);
    const char *const known[] = {"nu", names[2], "xi"};
    struct env_options write = {.kind = ENV_STORE, .write = true};
    struct store_repair_options options = {.names = known, .name_count = 1};
    struct env *env = NULL;
    struct store_repaired done;
    struct after after;
    struct err err = {0};

    make_store(path);
    struct file before = load(path);
    assert_int_equal(env_open(&env, path, &write, NULL), ERR_OK);
    assert_int_equal(env_write(env, 0, false, drop_names, (void *)names[2], NULL), ERR_OK);
    env_close(&env);
    struct file file = load(path);
    /* The free pages still hold the name: blot it out there. */
    for (size_t i = 0; i + 5 <= file.bytes; i++)
        if (!memcmp(file.data + i, names[2], 5))
            memset(file.data + i, 'x', 5);
    save(path, file);
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    check_truth(path, memset(&after, 0, sizeof after));
    assert_int_equal(after.gone, 1);
    save(path, file);
    options.name_count = 3;
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    check_truth(path, memset(&after, 0, sizeof after));
    assert_int_equal(after.newest, STREAMS);
    free(before.data);
    free(file.data);
}

/* ---- Made small ---- */

static void compact(struct store *store, uint64_t *before, uint64_t *after)
{
    struct err err;
    if (store_compact(store, before, after, &err))
        fail_msg("compact: %s", err.text);
}

/* A child that looks at the store, says so, waits for a byte and looks again: 0 where checkpoint `newest`
 * of stream 1 is there then. */
static pid_t start_looker(const char *path, uint64_t newest, int *said, int *go)
{
    struct store_options look = {.write = false};
    int up[2], down[2];
    pid_t child;
    char byte;

    assert_int_equal(pipe(up), 0);
    assert_int_equal(pipe(down), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(down[1]); /* a parent that fails ends us */
        struct store *store = NULL;
        uint64_t numbers[STORE_KEEP];
        size_t count = 0;
        bool good = !store_open(&store, path, &look, NULL) &&
                    !store_checkpoints(store, 1, numbers, &count, NULL);
        good = write(up[1], "x", 1) == 1 && read(down[0], &byte, 1) == 1 && good;
        good = good && !store_checkpoints(store, 1, numbers, &count, NULL) && count &&
               numbers[0] == newest;
        _exit(!good);
    }
    close(up[1]);
    close(down[0]);
    *said = up[0];
    *go = down[1];
    assert_int_equal(read(*said, &byte, 1), 1);
    return child;
}

/* lock.mdb lives on while somebody has it open, with the number of the old file's last transaction, from
 * which LMDB takes which meta page counts: odd and even, both must do. */
static void a_compact_copy_goes_on_beside_one_who_looks(void **state)
{
    const char *path = folder_of(state);
    struct store *store = open_store(path);
    uint64_t before, after, number = 1;

    add_stream(store, "one");
    put_checkpoint(store, 1, number, 3, 5000);
    for (int turn = 0; turn < 4; turn++) {
        int said, go, status;
        store_close(&store); /* a child would keep its lock */
        pid_t child = start_looker(path, number + 3, &said, &go);
        store = open_store(path);
        put_checkpoint(store, 1, ++number, 3, 5000);
        if (turn % 2)
            put_note(store, 1, "so that the last transaction is odd, and even");
        compact(store, &before, &after);
        assert_true(after < before);
        put_checkpoint(store, 1, ++number, 3, 5000);
        store_close(&store);
        store = open_store(path);
        put_checkpoint(store, 1, ++number, 3, 5000);
        for (uint64_t i = 0; i < STORE_KEEP; i++)
            check_checkpoint(store, 1, number - i, 3, 5000);
        assert_int_equal(write(go, "x", 1), 1);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        close(said);
        close(go);
    }
    store_close(&store);
}

static void finished_streams_keep_one(void **state)
{
    const char *path = folder_of(state);
    struct store *store;
    struct store_batch *batch;
    struct err err;
    uint64_t numbers[STORE_KEEP], before, after;
    size_t count;

    make_store(path);
    store = open_store(path);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_keep_newest(batch, 3, NULL), ERR_OK);
    assert_int_equal(batch_keep_newest(batch, 99, NULL), ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    compact(store, &before, &after);
    for (uint64_t stream = 1; stream <= STREAMS; stream++) {
        assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
        assert_int_equal(count, stream == 3 ? 1 : STORE_KEEP);
        for (size_t i = 0; i < count; i++)
            check_checkpoint(store, stream, ROUNDS - i, PARTS, part_bytes_of(stream));
    }
    store_close(&store);
}

/* ---- Around it ---- */

static void a_whole_store_is_not_touched(void **state)
{
    const char *path = folder_of(state);
    struct store_repaired done;
    struct after after;
    struct err err = {0};

    assert_int_equal(repair("/nonexistent/store", &after, &done, &err), ERR_ABSENT);
    assert_int_equal(repair(path, &after, &done, &err), ERR_ABSENT);
    make_store(path);
    struct file before = load(path);
    assert_int_equal(repair(path, &after, &done, &err), ERR_OK);
    struct file now = load(path);
    assert_false(done.needed);
    assert_int_equal(before.bytes, now.bytes);
    assert_memory_equal(before.data, now.data, now.bytes);
    struct store *store = open_store(path);
    assert_int_equal(repair(path, &after, &done, &err), ERR_BUSY);
    store_close(&store);
    free(before.data);
    free(now.data);
}

static void a_dry_run_changes_nothing(void **state)
{
    const char *path = folder_of(state);
    struct store_repair_options options = {.dry_run = true};
    struct store_repaired done;
    struct err err = {0};

    make_store(path);
    flip_bit(path, "data.mdb", 200, 3);
    flip_bit(path, "data.mdb", 4096 + 150, 3);
    struct file before = load(path);
    assert_int_equal(store_repair(path, &options, &done, &err), ERR_OK);
    assert_true(done.needed && done.values > STREAMS);
    struct file now = load(path);
    assert_memory_equal(before.data, now.data, now.bytes);
    free(before.data);
    free(now.data);
}

static void a_journal_is_mended_exactly_or_left_alone(void **state)
{
    const char *path = folder_of(state);
    struct store_repair_options options = {.journal = true};
    struct store_repaired done;
    struct journal *journal = NULL;
    struct err err = {0};
    char text[80];
    size_t count;
    int mended = 0, left = 0;

    assert_int_equal(journal_open(&journal, path, NULL), ERR_OK);
    for (int i = 0; i < 400; i++) {
        snprintf(text, sizeof text, "entry %d of them, and some words to fill the pages", i);
        assert_int_equal(append_entry(journal, i % 3 ? "one" : "two", text_view(text)), ERR_OK);
    }
    journal_close(&journal);
    struct file good = load(path), bad = {malloc(good.bytes), good.bytes};
    enum use *uses = uses_of(path, &count);
    for (size_t page = 2; page < count; page++) {
        memcpy(bad.data, good.data, good.bytes);
        memset(bad.data + page * PAGE, 0, PAGE);
        save(path, bad);
        enum err_code code = store_repair(path, &options, &done, &err);
        if (uses[page] == USE_BRANCH || uses[page] == USE_FREE)
            assert_int_equal(code, ERR_OK);
        mended += !code && done.needed;
        left += code == ERR_DAMAGED;
        if (code)
            continue;
        assert_int_equal(journal_open(&journal, path, NULL), ERR_OK);
        struct buffer out = buffer_of(1000);
        for (uint64_t number = 1; number <= 133; number++) {
            uint64_t at = number;
            assert_int_equal(journal_read(journal, "two", &at, &out, NULL), ERR_OK);
            assert_int_equal(at, number);
            snprintf(text, sizeof text, "entry %d of", (int)(number - 1) * 3);
            assert_memory_equal(out.data, text, strlen(text));
        }
        buffer_release(&out);
        journal_close(&journal);
    }
    print_message("journal: %d mended, %d left alone\n", mended, left);
    assert_true(mended > 0 && left > 0);
    free(uses);
    free(good.data);
    free(bad.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_compact_copy_goes_on_beside_one_who_looks),
        STORE_TEST(each_page_damaged_leaves_what_can_be_had),
        STORE_TEST(attempts_at_one_checkpoint_are_never_mixed),
        STORE_TEST(id_and_epoch_are_kept_and_raised),
        STORE_TEST(a_store_of_zeros_takes_its_id_from_outside),
        STORE_TEST(an_older_copy_gets_an_epoch_above_its_outputs),
        STORE_TEST(a_name_comes_back_from_outside),
        STORE_TEST(finished_streams_keep_one),
        STORE_TEST(a_whole_store_is_not_touched),
        STORE_TEST(a_dry_run_changes_nothing),
        STORE_TEST(a_journal_is_mended_exactly_or_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
