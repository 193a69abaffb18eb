/* Kill -9 at any instant: what was acknowledged is there, whole and in order, and nothing else is but
 * what was submitted next. A child writes batches and tells each outcome through a pipe; the parent
 * kills it (or a step of schemas/step.h does), opens the store and compares it with a model. */
#include "tests/store_help.h"

#include "schemas/step.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STREAMS = 5, IN_FLIGHT = 4, BATCHES_MAX = 100000 };

/* What batch n writes follows from n alone. */
static uint64_t stream_of(uint64_t n)
{
    return 1 + n % STREAMS;
}

static size_t parts_of(uint64_t n)
{
    return n % 4;
}

static size_t bytes_of(uint64_t n)
{
    return n % 3 == 0 ? 40 : n % 3 == 1 ? 9000 : 70000;
}

/* ---- The child ---- */

static void submit(struct store *store, uint64_t n)
{
    struct store_batch *batch;
    _Atomic uint64_t *counter;
    char name[20];

    if (store_counter(store, stream_of(n), &counter, NULL) || store_batch_open(&batch, NULL))
        _exit(9);
    ++*counter;
    snprintf(name, sizeof name, "stream-%d", (int)stream_of(n));
    if (batch_stream(batch, stream_of(n), name, NULL) ||
        batch_note(batch, 1, (struct view){(const uint8_t *)&n, sizeof n}, NULL))
        _exit(9);
    fill_checkpoint(batch, stream_of(n), n, parts_of(n), bytes_of(n));
    store_submit(store, &batch, (void *)(uintptr_t)n);
}

static void write_batches(const char *path, uint64_t first, uint64_t end, int acks)
{
    struct store_options options = {.write = true, .map_bytes = 1 << 20};
    struct store *store = NULL;
    struct err err;
    uint64_t next = first, done = first;

    if (store_open(&store, path, &options, &err))
        _exit(8);
    while (done < end) {
        void *user;
        while (next < end && next < done + IN_FLIGHT)
            submit(store, next++);
        if (!store_collect(store, true, &user, &err) || err.code || (uintptr_t)user != done)
            _exit(7);
        if (write(acks, &done, sizeof done) != sizeof done)
            _exit(6);
        done++;
    }
    store_close(&store);
    _exit(0);
}

/* ---- The parent ---- */

struct life {
    uint64_t first;       /* batch to begin with */
    uint64_t end;         /* batch not to write any more */
    uint64_t kill_after;  /* acknowledgements, 0: nobody kills */
    unsigned spin;        /* rounds to burn before the kill */
    const char *crash_at; /* a value of RIVERRUN_CRASH */
};

/* Run a child; the last acknowledged batch + 1 into *acked. Returns its wait status. */
static int live(const char *path, const struct life *life, uint64_t *acked)
{
    int acks[2], status;
    uint64_t n, count = 0;
    volatile unsigned burnt = 0;

    assert_int_equal(pipe(acks), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(acks[0]);
        if (life->crash_at)
            setenv("RIVERRUN_CRASH", life->crash_at, 1);
        write_batches(path, life->first, life->end, acks[1]);
    }
    close(acks[1]);
    *acked = life->first;
    while (read(acks[0], &n, sizeof n) == sizeof n) {
        assert_int_equal(n, *acked);
        *acked = n + 1;
        if (++count == life->kill_after) {
            while (burnt < life->spin)
                burnt++;
            kill(child, SIGKILL);
        }
    }
    close(acks[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Compare the store with what batches 1 .. count - 1 make; returns count. */
static uint64_t compare(const char *path, uint64_t acked)
{
    struct store *store = open_store(path);
    struct buffer note = buffer_of(100);
    uint64_t last = 0, steps = 0;

    assert_int_equal(store_note(store, 1, &note, NULL), ERR_OK);
    if (note.bytes) {
        assert_int_equal(note.bytes, sizeof last);
        memcpy(&last, note.data, sizeof last);
    }
    buffer_release(&note);
    assert_true(last + 1 >= acked);
    assert_true(last + 1 <= acked + IN_FLIGHT);
    for (uint64_t stream = 1; stream <= STREAMS; stream++) {
        uint64_t numbers[STORE_KEEP], written = 0;
        size_t count = 0, wanted = 0;
        assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
        for (uint64_t n = last; n >= 1; n--) {
            if (stream_of(n) != stream)
                continue;
            written++;
            if (wanted == STORE_KEEP)
                continue;
            assert_true(wanted < count);
            assert_int_equal(numbers[wanted++], n);
            check_checkpoint(store, stream, n, parts_of(n), bytes_of(n));
        }
        assert_int_equal(count, wanted);
        assert_true(store_counter_read(store, stream) >= written);
        steps += written;
    }
    assert_int_equal(steps, last);
    store_close(&store);
    return last + 1;
}

/* Batch 1 goes to stream 2; the note is stream 1's, so that one is named first. */
static uint64_t begin(const char *path)
{
    struct store *store = open_store(path);

    assert_int_equal(add_stream(store, "stream-1"), 1);
    store_close(&store);
    return 1;
}

static void kill_at_any_instant_loses_nothing_acknowledged(void **state)
{
    uint64_t next = begin(folder_of(state)), acked, seed = 20240607;

    for (int round = 0; round < 100; round++) {
        struct life life = {.first = next,
                            .end = BATCHES_MAX,
                            .kill_after = 1 + random_next(&seed) % 12,
                            .spin = (unsigned)(random_next(&seed) % 2000000)};
        int status = live(folder_of(state), &life, &acked);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(acked > life.first);
        next = compare(folder_of(state), acked);
    }
}

static void a_crash_at_each_step_loses_nothing_acknowledged(void **state)
{
    uint64_t next = begin(folder_of(state)), acked;
    int reached = 0;

    for (int step = 0; step < STEP_COUNT; step++)
        for (int time = 1; time <= 3; time++) {
            char crash_at[80];
            struct life life = {.first = next, .end = next + 30, .crash_at = crash_at};
            bool in_open = strcmp(step_names[step], "store_epoch_raised") == 0;
            if (strncmp(step_names[step], "store_", 6) != 0 || (in_open && time > 1))
                continue;
            snprintf(crash_at, sizeof crash_at, "%s:%d", step_names[step], time);
            int status = live(folder_of(state), &life, &acked);
            if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                fail_msg("step %s was not reached", crash_at);
            next = compare(folder_of(state), acked);
            reached++;
        }
    assert_true(reached >= 7);
}

static void a_crash_while_the_store_is_made_leaves_one_that_opens(void **state)
{
    static const char *const steps[] = {"store_commit_begin:1", "store_commit_end:1",
                                        "store_epoch_raised:1"};
    uint64_t acked;

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char path[300];
        struct life life = {.first = 1, .end = 2, .crash_at = steps[i]};
        snprintf(path, sizeof path, "%s/%zu", folder_of(state), i);
        int status = live(path, &life, &acked);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(begin(path), 1);
        assert_int_equal(compare(path, 1), 1);
    }
}

static void a_child_that_is_not_killed_writes_all(void **state)
{
    uint64_t acked;
    struct life life = {.first = begin(folder_of(state)), .end = 60};

    assert_int_equal(live(folder_of(state), &life, &acked), 0);
    assert_int_equal(acked, 60);
    assert_int_equal(compare(folder_of(state), acked), 60);
}

/* ---- The store against a model, reopened at random ---- */

enum { MODEL_STREAMS = 6 };

struct model {
    uint64_t number; /* of the stream; 0: not there */
    uint64_t note;
    uint64_t kept[STORE_KEEP + 1]; /* checkpoints, newest first */
    size_t kept_count;
};

static void model_add(struct model *model, uint64_t checkpoint)
{
    size_t at = 0;

    while (at < model->kept_count && model->kept[at] > checkpoint)
        at++;
    if (at == model->kept_count || model->kept[at] != checkpoint) {
        memmove(&model->kept[at + 1], &model->kept[at],
                (model->kept_count - at) * sizeof model->kept[0]);
        model->kept[at] = checkpoint;
        model->kept_count++;
    }
    if (model->kept_count > STORE_KEEP)
        model->kept_count = STORE_KEEP;
}

static void random_op(struct store *store, struct store_batch *batch, struct model *model,
                      int index, uint64_t *seed)
{
    uint64_t checkpoint = random_next(seed) % 12;
    char name[20];

    if (!model->number) {
        *model = (struct model){.number = store_reserve(store)};
        snprintf(name, sizeof name, "model-%d", index);
        assert_int_equal(batch_stream(batch, model->number, name, NULL), ERR_OK);
    }
    switch (random_next(seed) % 8) {
    case 0:
        assert_int_equal(batch_forget(batch, model->number, NULL), ERR_OK);
        *model = (struct model){0};
        break;
    case 1:
    case 2:
        model->note = random_next(seed);
        assert_int_equal(
            batch_note(batch, model->number, (struct view){(const uint8_t *)&model->note, 8}, NULL),
            ERR_OK);
        break;
    default:
        fill_checkpoint(batch, model->number, checkpoint, parts_of(checkpoint),
                        bytes_of(checkpoint));
        model_add(model, checkpoint);
    }
}

static bool count_one(void *user, const char *name, uint64_t stream)
{
    (void)name;
    (void)stream;
    ++*(size_t *)user;
    return true;
}

static void compare_model(struct store *store, const struct model *models)
{
    size_t live_count = 0, listed = 0;

    for (int i = 0; i < MODEL_STREAMS; i++) {
        const struct model *model = &models[i];
        uint64_t found = 0, numbers[STORE_KEEP];
        struct buffer note = buffer_of(8);
        char name[20];
        size_t count;
        snprintf(name, sizeof name, "model-%d", i);
        enum err_code code = store_find(store, name, &found, NULL);
        assert_int_equal(code, model->number ? ERR_OK : ERR_ABSENT);
        if (!model->number)
            continue;
        live_count++;
        assert_int_equal(found, model->number);
        assert_int_equal(store_note(store, found, &note, NULL), ERR_OK);
        assert_int_equal(note.bytes, model->note ? 8 : 0);
        if (note.bytes)
            assert_memory_equal(note.data, &model->note, 8);
        buffer_release(&note);
        assert_int_equal(store_checkpoints(store, found, numbers, &count, NULL), ERR_OK);
        assert_int_equal(count, model->kept_count);
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(numbers[k], model->kept[k]);
            check_checkpoint(store, found, numbers[k], parts_of(numbers[k]), bytes_of(numbers[k]));
        }
    }
    assert_int_equal(store_each(store, count_one, &listed, NULL), ERR_OK);
    assert_int_equal(listed, live_count);
}

static void random_batches_are_what_a_model_says(void **state)
{
    struct model models[MODEL_STREAMS] = {{0}};
    struct store *store = open_store(folder_of(state));
    uint64_t seed = 77;

    for (int round = 0; round < 150; round++) {
        int batches = 1 + (int)(random_next(&seed) % 5);
        for (int i = 0; i < batches; i++) {
            struct store_batch *batch;
            assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
            for (uint64_t ops = random_next(&seed) % 4; ops; ops--) {
                int index = (int)(random_next(&seed) % MODEL_STREAMS);
                random_op(store, batch, &models[index], index, &seed);
            }
            store_submit(store, &batch, NULL);
        }
        struct err err;
        for (int i = 0; i < batches; i++) {
            assert_true(store_collect(store, true, NULL, &err));
            if (err.code)
                fail_msg("%s", err.text);
        }
        if (random_next(&seed) % 4 == 0) {
            store_close(&store);
            store = open_store(folder_of(state));
        }
        compare_model(store, models);
    }
    store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_child_that_is_not_killed_writes_all),
        STORE_TEST(kill_at_any_instant_loses_nothing_acknowledged),
        STORE_TEST(a_crash_at_each_step_loses_nothing_acknowledged),
        STORE_TEST(a_crash_while_the_store_is_made_leaves_one_that_opens),
        STORE_TEST(random_batches_are_what_a_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
