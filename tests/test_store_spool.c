/* The spool: what a batch appended is there whole or not at all, across reopening, kill -9 at any
 * instant, trimming, its bound, a full disk and damaged values. The byte at an offset of a queue follows
 * from both, so whatever is read can be compared. */
#include "tests/store_help.h"

#include "schemas/step.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUEUES = 7, PIECE_MAX = 300000, BATCHES_MAX = 1 << 20 };

static uint8_t byte_at(unsigned queue, uint64_t offset)
{
    uint64_t mixed = (offset + 1) * UINT64_C(0x9E3779B97F4A7C15) + queue;
    mixed = (mixed ^ mixed >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint8_t)(mixed >> 40);
}

static void fill(uint8_t *data, unsigned queue, uint64_t offset, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = byte_at(queue, offset + i);
}

static const char *name_of(unsigned queue)
{
    static char names[QUEUES][16];
    snprintf(names[queue], sizeof names[queue], "queue-%u", queue);
    return names[queue];
}

static struct journal *open_spool(const char *path)
{
    struct journal *journal = NULL;
    struct err err = {0};

    if (journal_open(&journal, path, &err))
        fail_msg("spool: %s", err.text);
    return journal;
}

static struct store_batch *new_batch(void)
{
    struct store_batch *batch = NULL;

    if (store_batch_open(&batch, NULL))
        abort();
    return batch;
}

static void add_bytes(struct store_batch *batch, unsigned queue, uint64_t offset, size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);

    if (!data)
        abort();
    fill(data, queue, offset, bytes);
    if (batch_append(batch, name_of(queue), offset, (struct view){data, bytes}, NULL))
        abort();
    free(data);
}

/* Submit and wait; a batch that failed is closed, or handed back where the test wants it. */
static enum err_code outcome_of(struct journal *journal, struct store_batch **batch,
                                struct store_batch **failed, struct err *err)
{
    struct store_batch *mine = NULL;
    void *user = NULL;

    spool_submit(journal, batch, journal);
    assert_null(*batch);
    assert_true(spool_collect(journal, true, &mine, &user, err));
    assert_ptr_equal(user, journal);
    assert_int_equal(mine != NULL, err->code != ERR_OK);
    if (failed)
        *failed = mine;
    else
        store_batch_close(&mine);
    return err->code;
}

static enum err_code append(struct journal *journal, unsigned queue, uint64_t offset, size_t bytes)
{
    struct store_batch *batch = new_batch();
    struct err err;

    add_bytes(batch, queue, offset, bytes);
    return outcome_of(journal, &batch, NULL, &err);
}

static enum err_code append_text(struct journal *journal, unsigned queue, uint64_t offset,
                                 const char *text)
{
    struct store_batch *batch = new_batch();
    struct err err;

    assert_int_equal(batch_append(batch, name_of(queue), offset, text_view(text), NULL), ERR_OK);
    return outcome_of(journal, &batch, NULL, &err);
}

static void trim(struct journal *journal, unsigned queue, uint64_t below)
{
    struct store_batch *batch = new_batch();
    struct err err;

    assert_int_equal(batch_trim(batch, name_of(queue), below, NULL), ERR_OK);
    if (outcome_of(journal, &batch, NULL, &err))
        fail_msg("trim: %s", err.text);
}

static struct spool_queue find(struct journal *journal, unsigned queue)
{
    struct spool_queue found = {0};
    enum err_code code = spool_find(journal, name_of(queue), &found, NULL);

    assert_true(code == ERR_OK || code == ERR_ABSENT);
    return found;
}

/* All that a queue holds is what its offsets say. */
static void check_queue(struct journal *journal, unsigned queue, uint64_t begin, uint64_t end)
{
    uint8_t *data = malloc(PIECE_MAX), *wanted = malloc(PIECE_MAX);
    struct spool_queue found = find(journal, queue);
    size_t got = 0, room = 777;

    assert_true(found.begin <= begin);
    assert_int_equal(found.end, end);
    for (uint64_t at = begin; at < end; at += got) {
        struct err err;
        if (spool_read(journal, name_of(queue), at, data, room, &got, &err))
            fail_msg("read: %s", err.text);
        assert_int_equal(got, end - at < room ? end - at : room);
        fill(wanted, queue, at, got);
        assert_memory_equal(data, wanted, got);
        room = room == 777 ? PIECE_MAX : room == PIECE_MAX ? 1 : 777;
    }
    if (found.end)
        assert_int_equal(spool_read(journal, name_of(queue), end, data, 10, &got, NULL), ERR_OK);
    assert_int_equal(end ? got : 0, 0);
    free(data);
    free(wanted);
}

static void what_goes_in_comes_out(void **state)
{
    static const size_t sizes[] = {1, 80, 1, 1900, 1901, 20, 65512, 65513, 100, 300000, 1899, 1};
    struct journal *journal = open_spool(folder_of(state));
    uint64_t end = 0;
    size_t got;
    uint8_t byte;

    assert_int_equal(spool_read(journal, "queue-0", 0, &byte, 1, &got, NULL), ERR_ABSENT);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(append(journal, 0, end, sizes[i]), ERR_OK);
        end += sizes[i];
        check_queue(journal, 0, 0, end);
    }
    assert_int_equal(spool_read(journal, "queue-0", end + 1, &byte, 1, &got, NULL), ERR_ABSENT);
    journal_close(&journal);
    journal = open_spool(folder_of(state));
    check_queue(journal, 0, 0, end);
    journal_close(&journal);
}

static bool count_queue(void *user, const char *queue, const struct spool_queue *spool)
{
    unsigned *count = user;

    assert_string_equal(queue, name_of(*count));
    assert_int_equal(spool->end, 10 + *count);
    ++*count;
    return *count < 5;
}

static void a_batch_is_all_queues_and_the_cursor_or_nothing(void **state)
{
    struct journal *journal = open_spool(folder_of(state));
    struct store_batch *batch = new_batch();
    struct buffer cursor = buffer_of(SPOOL_CURSOR_MAX);
    uint64_t number = 0;
    unsigned count = 0;
    struct err err;

    assert_int_equal(spool_feed(journal, "feed", &cursor, NULL), ERR_ABSENT);
    for (unsigned queue = 0; queue < QUEUES; queue++)
        add_bytes(batch, queue, 0, 10 + queue);
    assert_int_equal(batch_feed(batch, "feed", text_view("one"), NULL), ERR_OK);
    assert_int_equal(batch_entry(batch, "topic", text_view("entry"), NULL), ERR_OK);
    assert_int_equal(outcome_of(journal, &batch, NULL, &err), ERR_OK);
    batch = new_batch();
    add_bytes(batch, 0, 10, 5);
    add_bytes(batch, 1, 99, 5); /* not its end */
    assert_int_equal(batch_feed(batch, "feed", text_view("two"), NULL), ERR_OK);
    assert_int_equal(outcome_of(journal, &batch, NULL, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "queue-1"));
    for (unsigned queue = 0; queue < QUEUES; queue++)
        check_queue(journal, queue, 0, 10 + queue);
    assert_int_equal(spool_feed(journal, "feed", &cursor, NULL), ERR_OK);
    assert_int_equal(cursor.bytes, 3);
    assert_memory_equal(cursor.data, "one", 3);
    assert_int_equal(spool_each(journal, count_queue, &count, NULL), ERR_OK);
    assert_int_equal(count, 5);
    assert_int_equal(journal_read(journal, "topic", &number, &cursor, NULL), ERR_OK);
    assert_memory_equal(cursor.data, "entry", 5);
    buffer_release(&cursor);
    journal_close(&journal);
}

/* A commit whose outcome was not known is made again, and changes nothing if it had happened. */
static void a_batch_that_is_submitted_again_is_there_once(void **state)
{
    struct journal *journal = open_spool(folder_of(state));

    assert_int_equal(append(journal, 0, 0, 100), ERR_OK);
    assert_int_equal(append(journal, 0, 0, 100), ERR_OK);
    check_queue(journal, 0, 0, 100);
    assert_int_equal(append(journal, 0, 100, 70000), ERR_OK);
    assert_int_equal(append(journal, 0, 100, 70000), ERR_OK);
    check_queue(journal, 0, 0, 70100);
    assert_int_equal(append(journal, 0, 0, 100), ERR_OK); /* and others followed */
    check_queue(journal, 0, 0, 70100);
    assert_int_equal(append_text(journal, 0, 10, "what never was there"), ERR_MISMATCH);
    assert_int_equal(append_text(journal, 0, 70090, "what reaches over the end"), ERR_MISMATCH);
    journal_close(&journal);
}

static void offsets_go_on_after_everything_was_trimmed(void **state)
{
    struct journal *journal = open_spool(folder_of(state));
    uint64_t end = 0;
    uint8_t byte;
    size_t got;

    for (int i = 0; i < 40; i++, end += 5000)
        assert_int_equal(append(journal, 0, end, 5000), ERR_OK);
    assert_int_equal(append(journal, 1, 0, 10), ERR_OK);
    trim(journal, 0, 12345);
    assert_int_equal(find(journal, 0).begin, 10000);
    check_queue(journal, 0, 12345, end);
    assert_int_equal(spool_read(journal, "queue-0", 9999, &byte, 1, &got, NULL), ERR_ABSENT);
    trim(journal, 0, 10000); /* less than before changes nothing */
    assert_int_equal(find(journal, 0).begin, 10000);
    trim(journal, 0, UINT64_MAX);
    assert_int_equal(find(journal, 0).begin, end);
    assert_int_equal(find(journal, 0).cost, 0);
    assert_int_equal(spool_used(journal), find(journal, 1).cost);
    trim(journal, 5, 10); /* one that never was */
    journal_close(&journal);
    journal = open_spool(folder_of(state));
    assert_int_equal(append(journal, 0, 0, 10), ERR_MISMATCH);
    assert_int_equal(append(journal, 0, end, 10), ERR_OK);
    check_queue(journal, 0, end, end + 10);
    check_queue(journal, 1, 0, 10);
    journal_close(&journal);
}

static void the_bound_is_kept_and_trimming_makes_room(void **state)
{
    struct journal *journal = open_spool(folder_of(state));
    struct store_batch *batch = new_batch(), *failed = NULL;
    uint64_t end = 0, before;
    struct err err;

    spool_bound(journal, 1 << 20);
    while (spool_room(journal) >= spool_cost(30000)) {
        assert_int_equal(append(journal, 0, end, 30000), ERR_OK);
        end += 30000;
    }
    assert_true(end > 900000);
    before = spool_used(journal);
    add_bytes(batch, 1, 0, 60000); /* nobody ever opened this one */
    assert_int_equal(batch_feed(batch, "feed", text_view("x"), NULL), ERR_OK);
    assert_int_equal(outcome_of(journal, &batch, &failed, &err), ERR_FULL);
    assert_non_null(strstr(err.text, "--spool-bytes"));
    assert_int_equal(spool_used(journal), before);
    assert_int_equal(find(journal, 1).end, 0);
    trim(journal, 0, 90000);
    assert_int_equal(outcome_of(journal, &failed, NULL, &err), ERR_OK);
    check_queue(journal, 0, 90000, end);
    check_queue(journal, 1, 0, 60000);
    assert_true(spool_used(journal) <= 1 << 20);
    journal_close(&journal);
    assert_true(file_bytes_of(folder_of(state), "data.mdb") < 6 << 20);
}

/* Room counts what is on its way, so that one who asks before each append never runs into the bound. */
static void what_is_in_flight_takes_room(void **state)
{
    struct journal *journal = open_spool(folder_of(state));
    struct store_batch *failed = NULL;
    uint64_t before, end = 0;
    struct err err;

    spool_bound(journal, 1 << 20);
    while (spool_room(journal) >= spool_cost(50000)) {
        struct store_batch *batch = new_batch();
        add_bytes(batch, 0, end, 50000);
        before = spool_room(journal);
        spool_submit(journal, &batch, NULL);
        assert_int_equal(spool_room(journal), before - spool_cost(50000));
        end += 50000;
    }
    while (spool_collect(journal, true, &failed, NULL, &err))
        assert_int_equal(err.code, ERR_OK);
    check_queue(journal, 0, 0, end);
    assert_int_equal(spool_used(journal), find(journal, 0).cost);
    journal_close(&journal);
}

/* ---- Damage ---- */

/* Find bytes in the file and flip a bit of them. */
static void damage_bytes(const char *folder, const uint8_t *wanted, size_t wanted_bytes)
{
    uint64_t bytes = file_bytes_of(folder, "data.mdb");
    uint8_t *file = malloc(bytes);
    char path[400];
    uint8_t *at;

    snprintf(path, sizeof path, "%s/data.mdb", folder);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, file, bytes), bytes);
    close(fd);
    at = memmem(file, bytes, wanted, wanted_bytes);
    assert_non_null(at);
    flip_bit(folder, "data.mdb", (uint64_t)(at - file) + 10, 3);
    free(file);
}

static void damage(const char *folder, unsigned queue, uint64_t offset)
{
    uint8_t wanted[64];

    fill(wanted, queue, offset, sizeof wanted);
    damage_bytes(folder, wanted, sizeof wanted);
}

static void a_damaged_chunk_is_named_and_the_others_are_read(void **state)
{
    struct journal *journal = open_spool(folder_of(state));
    uint8_t data[20000];
    struct err err;
    size_t got;

    for (int i = 0; i < 5; i++)
        assert_int_equal(append(journal, 0, (uint64_t)i * 10000, 10000), ERR_OK);
    journal_close(&journal);
    damage(folder_of(state), 0, 20000);
    journal = open_spool(folder_of(state));
    assert_int_equal(spool_read(journal, "queue-0", 15000, data, sizeof data, &got, &err), ERR_OK);
    assert_int_equal(got, 5000);
    assert_int_equal(spool_read(journal, "queue-0", 20000, data, sizeof data, &got, &err),
                     ERR_DAMAGED);
    assert_non_null(strstr(err.text, "bytes from 20000"));
    assert_int_equal(append(journal, 0, 50000, 10), ERR_OK);
    trim(journal, 0, 30000);
    check_queue(journal, 0, 30000, 50010);
    journal_close(&journal);
}

static void a_damaged_last_chunk_does_not_stop_the_feed(void **state)
{
    struct journal *journal = open_spool(folder_of(state));

    assert_int_equal(append(journal, 0, 0, 200), ERR_OK);
    journal_close(&journal);
    damage(folder_of(state), 0, 0);
    journal = open_spool(folder_of(state));
    assert_int_equal(append(journal, 0, 200, 200), ERR_OK);
    check_queue(journal, 0, 200, 400);
    journal_close(&journal);
}

static void a_cursor_of_any_length_is_kept_and_its_damage_is_told(void **state)
{
    static const size_t lengths[] = {0, 1, 1900, 2100, 5000, SPOOL_CURSOR_MAX};
    struct buffer cursor = buffer_of(SPOOL_CURSOR_MAX);
    uint8_t data[SPOOL_CURSOR_MAX + 1];
    struct journal *journal;
    struct store_batch *batch = new_batch();
    struct err err;

    fill(data, 7, 0, sizeof data);
    assert_int_equal(batch_feed(batch, "feed", (struct view){data, sizeof data}, NULL), ERR_LIMIT);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        journal = open_spool(folder_of(state));
        batch = batch ? batch : new_batch();
        assert_int_equal(batch_feed(batch, "feed", (struct view){data, lengths[i]}, NULL), ERR_OK);
        assert_int_equal(outcome_of(journal, &batch, NULL, &err), ERR_OK);
        journal_close(&journal);
        journal = open_spool(folder_of(state));
        assert_int_equal(spool_feed(journal, "feed", &cursor, NULL), ERR_OK);
        assert_int_equal(cursor.bytes, lengths[i]);
        if (cursor.bytes)
            assert_memory_equal(cursor.data, data, cursor.bytes);
        journal_close(&journal);
    }
    damage_bytes(folder_of(state), data + 8000, 64);
    journal = open_spool(folder_of(state));
    assert_int_equal(spool_feed(journal, "feed", &cursor, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "the cursor of the feed 'feed'"));
    assert_non_null(strstr(err.text, "riverrun repair"));
    journal_close(&journal);
    buffer_release(&cursor);
}

/* ---- A full disk: no file may grow beyond a limit ---- */

static int fill_and_trim(const char *path)
{
    struct journal *journal = open_spool(path);
    struct rlimit limit = {0, RLIM_INFINITY};
    uint64_t end = 0;

    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 1500; i++, end += 1500)
        if (append(journal, 0, end, 1500))
            return 1;
    limit.rlim_cur = file_bytes_of(path, "data.mdb");
    setrlimit(RLIMIT_FSIZE, &limit);
    for (size_t bytes = 100000; bytes > 100; bytes /= 3) /* to the last page */
        while (append(journal, 0, end, bytes) == ERR_OK)
            if ((end += bytes) > 100000000)
                return 2;
    journal_close(&journal);
    journal = open_spool(path); /* taking ownership is a commit, too */
    if (append(journal, 0, end, 100000) != ERR_FULL)
        return 3;
    check_queue(journal, 0, 0, end);
    trim(journal, 0, end);
    check_queue(journal, 0, end, end);
    trim(journal, 0, end); /* so that what was freed before can be used again */
    for (int i = 0; i < 5; i++, end += 100000)
        if (append(journal, 0, end, 100000)) /* in what was freed */
            return 4;
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 30; i++, end += 100000)
        if (append(journal, 0, end, 100000))
            return 5;
    check_queue(journal, 0, find(journal, 0).begin, end);
    journal_close(&journal);
    return 0;
}

static void a_full_disk_refuses_appends_and_trimming_works(void **state)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(fill_and_trim(folder_of(state)));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Kill -9 ---- */

/* What batch n appends to a queue, and below what it trims, follow from n. */
static size_t bytes_of(uint64_t n, unsigned queue)
{
    static const size_t sizes[] = {0, 90, 0, 700, 5000, 0, 40, 70000, 300};
    return sizes[(n * 5 + queue * 3) % 9];
}

static void submit_batch(struct journal *journal, uint64_t n, uint64_t ends[QUEUES])
{
    struct store_batch *batch = new_batch();

    for (unsigned queue = 0; queue < QUEUES; queue++) {
        size_t bytes = bytes_of(n, queue);
        if (bytes)
            add_bytes(batch, queue, ends[queue], bytes);
        ends[queue] += bytes;
    }
    if (batch_trim(batch, name_of(n % QUEUES), ends[n % QUEUES] / 2, NULL))
        abort();
    n++;
    if (batch_feed(batch, "feed", (struct view){(const uint8_t *)&n, sizeof n}, NULL))
        abort();
    spool_submit(journal, &batch, NULL);
}

static _Noreturn void feed(const char *path, uint64_t first, const uint64_t ends[QUEUES], int acks)
{
    struct journal *journal = NULL;
    struct store_batch *failed = NULL;
    uint64_t next = first, done = first, at[QUEUES];
    struct err err;

    memcpy(at, ends, sizeof at);
    if (journal_open(&journal, path, &err))
        _exit(8);
    while (done < BATCHES_MAX) {
        while (next < done + 3)
            submit_batch(journal, next++, at);
        if (!spool_collect(journal, true, &failed, NULL, &err) || err.code)
            _exit(7);
        done++;
        if (write(acks, &done, sizeof done) != sizeof done)
            _exit(6);
    }
    _exit(0);
}

/* Run a child until some acknowledgements have come, or a step kills it; the last acknowledged. */
static uint64_t feed_and_kill(const char *path, uint64_t first, const uint64_t ends[QUEUES],
                              unsigned kill_after, unsigned spin, const char *crash_at)
{
    uint64_t n, acked = first;
    volatile unsigned burnt = 0;
    unsigned count = 0;
    int acks[2], status;
    pid_t child;

    assert_int_equal(pipe(acks), 0);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        close(acks[0]);
        if (crash_at)
            setenv("RIVERRUN_CRASH", crash_at, 1);
        feed(path, first, ends, acks[1]);
    }
    close(acks[1]);
    while (read(acks[0], &n, sizeof n) == sizeof n) {
        acked = n;
        if (++count == kill_after) {
            while (burnt < spin)
                burnt++;
            kill(child, SIGKILL);
        }
    }
    close(acks[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return acked;
}

/* The cursor says how many batches are in; the queues hold just these. Returns the number of the next. */
static uint64_t compare(const char *path, uint64_t before, uint64_t acked, uint64_t ends[QUEUES])
{
    struct journal *journal = open_spool(path);
    struct buffer cursor = buffer_of(SPOOL_CURSOR_MAX);
    uint64_t n = 0, cost = 0;

    if (spool_feed(journal, "feed", &cursor, NULL) == ERR_OK)
        n = load_u64(cursor.data);
    buffer_release(&cursor);
    assert_true(n >= acked && n <= acked + 3);
    for (uint64_t batch = before; batch < n; batch++)
        for (unsigned queue = 0; queue < QUEUES; queue++)
            ends[queue] += bytes_of(batch, queue);
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        struct spool_queue found = find(journal, queue);
        check_queue(journal, queue, found.begin, ends[queue]);
        cost += found.cost;
    }
    assert_int_equal(spool_used(journal), cost);
    journal_close(&journal);
    return n;
}

static void kill_at_any_instant_loses_nothing_acknowledged(void **state)
{
    uint64_t next = 0, ends[QUEUES] = {0}, seed = 20240611;

    for (int round = 0; round < 60; round++) {
        uint64_t acked =
            feed_and_kill(folder_of(state), next, ends, 1 + (unsigned)(random_next(&seed) % 12),
                          (unsigned)(random_next(&seed) % 2000000), NULL);
        next = compare(folder_of(state), next, acked, ends);
    }
}

static void a_crash_around_a_commit_leaves_all_of_it_or_nothing(void **state)
{
    static const char *const steps[] = {"store_commit_begin", "store_commit_end"};
    uint64_t next = 0, ends[QUEUES] = {0};

    for (int time = 2; time < 12; time++) /* the first commit takes ownership */
        for (int step = 0; step < 2; step++) {
            char crash_at[40];
            snprintf(crash_at, sizeof crash_at, "%s:%d", steps[step], time);
            next = compare(folder_of(state), next,
                           feed_and_kill(folder_of(state), next, ends, 0, 0, crash_at), ends);
        }
    assert_true(next > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_goes_in_comes_out),
        STORE_TEST(a_batch_is_all_queues_and_the_cursor_or_nothing),
        STORE_TEST(a_batch_that_is_submitted_again_is_there_once),
        STORE_TEST(offsets_go_on_after_everything_was_trimmed),
        STORE_TEST(the_bound_is_kept_and_trimming_makes_room),
        STORE_TEST(what_is_in_flight_takes_room),
        STORE_TEST(a_damaged_chunk_is_named_and_the_others_are_read),
        STORE_TEST(a_damaged_last_chunk_does_not_stop_the_feed),
        STORE_TEST(a_cursor_of_any_length_is_kept_and_its_damage_is_told),
        STORE_TEST(a_full_disk_refuses_appends_and_trimming_works),
        STORE_TEST(kill_at_any_instant_loses_nothing_acknowledged),
        STORE_TEST(a_crash_around_a_commit_leaves_all_of_it_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
