/* Emit with many sinks, in each way of syncing, on a disk that fails: fsync, pwrite and ftruncate are the test's. */
#include "tests/emit_help.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- A disk that does as it is told ---- */

struct fault {
    _Atomic int left, cause; /* calls to fail, and how */
};

static struct disk {
    pthread_mutex_t gate; /* held: syncs stand still */
    struct fault sync, write, cut;
    _Atomic unsigned files, folders; /* synced */
    _Atomic uint64_t sizes[32];      /* of the first files synced */
} disk = {.gate = PTHREAD_MUTEX_INITIALIZER};

int __real_fsync(int fd);
int __wrap_fsync(int fd);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
int __real_ftruncate(int fd, off_t bytes);
int __wrap_ftruncate(int fd, off_t bytes);

static bool fails(struct fault *fault)
{
    if (fault->left == 0)
        return false;
    fault->left--;
    errno = fault->cause;
    return true;
}

int __wrap_fsync(int fd)
{
    struct stat st;

    pthread_mutex_lock(&disk.gate);
    pthread_mutex_unlock(&disk.gate);
    require(!fstat(fd, &st));
    if (S_ISDIR(st.st_mode))
        disk.folders++;
    else
        disk.sizes[disk.files++ % 32] = (uint64_t)st.st_size;
    return fails(&disk.sync) ? -1 : __real_fsync(fd);
}

/* One that fails has written a half before, as happens. */
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    if (!disk.write.left)
        return __real_pwrite(fd, data, bytes, offset);
    require(__real_pwrite(fd, data, bytes / 2, offset) >= 0);
    require(fails(&disk.write));
    return -1;
}

int __wrap_ftruncate(int fd, off_t bytes)
{
    return fails(&disk.cut) ? -1 : __real_ftruncate(fd, bytes);
}

/* ---- Many streams ---- */

static struct open stream(uint64_t number)
{
    static char names[2048][16];
    struct open o = FIRST;

    require(number < 2048);
    snprintf(names[number], sizeof names[0], "s%llu", (unsigned long long)number);
    o.stream = 100 + number;
    o.name = names[number];
    return o;
}

static size_t descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    require(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* Open and write so many others that those written before lose their descriptors. */
static void write_others(struct driver *d, uint64_t first, uint64_t owner)
{
    for (uint64_t i = first; i < first + 300; i++) {
        struct open o = stream(i);
        o.owner = owner;
        assert_int_equal(open_sink(d, &o, NULL), 0);
    }
    for (uint64_t i = first; i < first + 300; i++) {
        struct open o = stream(i);
        o.owner = owner;
        send_records(d, &o, 0, 1);
        assert_int_equal(send_sync(d, &o, 1), ERR_OK);
    }
    for (uint64_t i = first; i < first + 300; i++)
        assert_int_equal(expect_durable(d, true).n, 1);
}

static void there_may_be_more_sinks_than_descriptors(void **state)
{
    enum { STREAMS = 1500, ROUNDS = 3 };
    struct driver *d = start(state);
    size_t before = descriptors(), durable = 0;
    uint64_t seed = 7;

    for (uint64_t i = 0; i < STREAMS; i++) {
        struct open o = stream(i);
        assert_int_equal(open_sink(d, &o, NULL), 0);
    }
    for (uint64_t n = 0; n < ROUNDS; n++) {
        uint64_t step = 1 + 2 * (random_next(&seed) % STREAMS);
        while (step % 3 == 0 || step % 5 == 0)
            step += 2;
        for (uint64_t i = 0; i < STREAMS; i++) {
            struct open o = stream(i * step % STREAMS);
            send_records(d, &o, n, n + 1);
            assert_int_equal(send_sync(d, &o, n + 1), ERR_OK);
        }
        for (durable = 0; durable < STREAMS; durable++) {
            assert_int_equal(expect_durable(d, true).n, n + 1);
            assert_true(descriptors() < before + 256 + 8);
        }
    }
    driver_free(&d);
    for (uint64_t i = 0; i < STREAMS; i++) {
        char name[40];
        size_t bytes;
        snprintf(name, sizeof name, "out/s%llu.jsonl", (unsigned long long)i);
        uint8_t *file = get_file(in_folder(state, name), &bytes);
        struct buffer want = lines(ROUNDS);
        assert_int_equal(bytes, want.bytes);
        assert_memory_equal(file, want.data, bytes);
        buffer_release(&want);
        free(file);
    }
}

static void folders_are_synced_once_for_many_new_files(void **state)
{
    enum { STREAMS = 200 };
    struct driver *d = start(state);

    for (uint64_t i = 0; i < STREAMS; i++) {
        struct open o = stream(i);
        assert_int_equal(open_sink(d, &o, NULL), 0);
    }
    disk.folders = disk.files = 0;
    pthread_mutex_lock(&disk.gate);
    for (uint64_t i = 0; i < STREAMS; i++) {
        struct open o = stream(i);
        send_records(d, &o, 0, 1);
        assert_int_equal(send_sync(d, &o, 1), ERR_OK);
    }
    driver_work(d);
    driver_expect_nothing(d);
    assert_int_equal(disk.folders, 0);
    pthread_mutex_unlock(&disk.gate);
    for (unsigned i = 0; i < STREAMS; i++) {
        expect_durable(d, true);
        assert_true(disk.folders >= 2); /* the file's and the sidecar's */
    }
    assert_int_equal(disk.files, 2 * STREAMS);
    assert_true(disk.folders <= 2 * 4 * 3); /* each of four lanes, a few times */
    driver_free(&d);
}

/* Opening and resting costs no sync but the claim's. */
static void sinks_that_rest_sync_nothing(void **state)
{
    struct driver *d = start(state);
    struct open o = stream(0);

    assert_int_equal(open_sink(d, &o, NULL), 0);
    disk.files = disk.folders = 0;
    for (uint64_t i = 1; i < 50; i++) {
        o = stream(i);
        assert_int_equal(open_sink(d, &o, NULL), 0);
        assert_int_equal(sync_to(d, &o, 0).n, 0);
    }
    assert_int_equal(disk.files + disk.folders, 0);
    assert_int_equal(d->ops->deadline(d->self), UINT64_MAX);
    assert_int_equal(access(in_folder(state, "out/s1.jsonl"), F_OK), -1);
    driver_free(&d);
}

static void a_file_that_changed_while_it_was_closed_is_refused(void **state)
{
    struct driver *d = start(state);
    const char *path = in_folder(state, "out/book.jsonl");
    char other[600];
    size_t bytes;

    snprintf(other, sizeof other, "%s.copy", path);
    for (unsigned way = 0; way < 3; way++) {
        struct open o = FIRST;
        o.owner = way + 1;
        assert_int_equal(open_sink(d, &o, NULL), 0);
        send_records(d, &o, 0, 5);
        assert_int_equal(sync_to(d, &o, 5).n, 5);
        write_others(d, 300 * way, way + 1);
        path = in_folder(state, "out/book.jsonl");
        uint8_t *file = get_file(path, &bytes);
        if (way == 0) { /* a part of it went */
            assert_int_equal(truncate(path, 9), 0);
        } else if (way == 1) { /* the same bytes in another file, as editors leave it */
            put_file(other, file, bytes);
            assert_int_equal(rename(other, path), 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        send_records(d, &o, 5, 6);
        expect_refused(d, ERR_SINK, way == 2 ? "No such file" : "was changed");
        assert_int_equal(access(path, F_OK), way == 2 ? -1 : 0);
        put_file(path, file, bytes);
        free(file);
    }
    driver_free(&d);
}

/* Its descriptor is open, so writes and syncs go well: what is gone is not durable, asked for behind them or not. */
static void a_file_that_is_removed_while_it_is_written_is_refused(void **state)
{
    for (unsigned way = 0; way < 4; way++) {
        struct driver *d = start(state);
        const char *path = in_folder(state, "out/book.jsonl");
        char other[600];
        struct open o = FIRST;
        snprintf(other, sizeof other, "%s.kept", path);
        o.owner = way + 1;
        o.generation = way + 1;
        assert_int_equal(open_sink(d, &o, NULL), 0);
        send_records(d, &o, 0, 5);
        assert_int_equal(sync_to(d, &o, 5).n, 5);
        assert_int_equal(rename(path, other), 0);
        if (way & 1)
            put_file(path, "", 0);
        if (way < 2)
            send_records(d, &o, 5, 6);
        assert_int_equal(send_sync(d, &o, way < 2 ? 6 : 5), ERR_OK);
        expect_refused(d, ERR_SINK, "was removed or replaced");
        assert_int_equal(rename(other, path), 0);
        driver_free(&d);
    }
}

/* ---- Two owners ---- */

#define STORE_A "73746f72652061000000000000000000"

static void the_claim_keeps_others_out_of_closed_files(void **state)
{
    struct driver *a = start(state), *b = start(state);
    struct open o = FIRST;

    assert_int_equal(open_sink(a, &FIRST, NULL), 0);
    send_records(a, &FIRST, 0, 3);
    sync_to(a, &FIRST, 3);
    write_others(a, 0, 1);
    o.owner = 2;
    open_refused(b, &o, ERR_BUSY, "in use");
    send_records(a, &FIRST, 3, 5);
    assert_int_equal(sync_to(a, &FIRST, 5).n, 5);
    driver_free(&a);
    assert_int_equal(open_sink(b, &o, NULL), 0);
    driver_free(&b);
    assert_lines(state, 5);
}

/* The claim of a process that stands still was removed, and another one took the folder. */
static void a_superseded_process_writes_nothing(void **state)
{
    struct driver *a = start(state), *b = start(state);
    struct open o = FIRST, fresh = stream(400);
    struct place token;

    assert_int_equal(open_sink(a, &FIRST, NULL), 0);
    assert_int_equal(open_sink(a, &fresh, NULL), 0);
    send_records(a, &FIRST, 0, 3);
    token = sync_to(a, &FIRST, 3);
    write_others(a, 0, 1);
    assert_int_equal(unlink(in_folder(state, "out/.riverrun/" STORE_A ".owner")), 0);
    o = resume(&FIRST, 1, &token);
    assert_int_equal(open_sink(b, &o, NULL), 3);
    send_records(b, &o, 3, 5);
    sync_to(b, &o, 5);
    write_others(b, 500, 2); /* and its descriptor is let go, too */
    send_records(a, &FIRST, 3, 9);
    expect_refused(a, ERR_BUSY, "another run");
    send_records(a, &fresh, 0, 1);
    expect_refused(a, ERR_BUSY, "another run");
    assert_int_equal(access(in_folder(state, "out/s400.jsonl"), F_OK), -1);
    assert_lines(state, 5);
    driver_free(&a);
    driver_free(&b);
}

static void two_stores_share_a_folder_and_no_file(void **state)
{
    struct driver *a = start(state), *b = start(state);
    struct open of_a = FIRST, of_b = stream(1);

    of_b.store = store_b;
    of_b.owner = 77; /* epochs of stores have nothing to do with each other */
    assert_int_equal(open_sink(a, &of_a, NULL), 0);
    assert_int_equal(open_sink(b, &of_b, NULL), 0);
    send_records(a, &of_a, 0, 3);
    send_records(b, &of_b, 0, 3);
    sync_to(a, &of_a, 3);
    sync_to(b, &of_b, 3);
    /* A file that both have opened and neither has made is the first one's. */
    of_a = of_b = stream(2);
    of_b.store = store_b;
    of_b.owner = 77;
    assert_int_equal(open_sink(a, &of_a, NULL), 0);
    assert_int_equal(open_sink(b, &of_b, NULL), 0);
    send_records(a, &of_a, 0, 3);
    sync_to(a, &of_a, 3);
    send_records(b, &of_b, 0, 1);
    expect_refused(b, ERR_BUSY, "in use");
    write_others(a, 100, 1);
    open_refused(b, &of_b, ERR_SINK, "not written by this job");
    driver_free(&a);
    driver_free(&b);
}

/* What was written before claims were: each sidecar with the epoch of its last run. */
static void a_sidecar_with_a_newer_epoch_is_believed(void **state)
{
    static const char side[] = "riverrun-sidecar 1\nstore " STORE_A "\n"
                               "epoch 9\ngeneration 1\n";
    struct driver *d = start(state);
    struct open o = FIRST;
    struct place token;

    assert_int_equal(open_sink(d, &o, NULL), 0);
    send_records(d, &o, 0, 3);
    token = sync_to(d, &o, 3);
    driver_free(&d);
    put_file(in_folder(state, "out/.riverrun/book.sidecar"), side, sizeof side - 1);
    d = start(state);
    o = resume(&FIRST, 1, &token);
    open_refused(d, &o, ERR_BUSY, "newer run");
    o.owner = 9;
    assert_int_equal(open_sink(d, &o, NULL), 3);
    send_records(d, &o, 3, 4);
    sync_to(d, &o, 4);
    driver_free(&d);
    assert_lines(state, 4);
}

/* ---- When it syncs ---- */

static void the_interval_is_half_the_latency(void **state)
{
    static const struct {
        bool follow;
        uint64_t latency_ms, want_ms;
    } cases[] = {{false, 2000, 1000}, {false, 10000, 1000}, {false, 500, 250},
                 {true, 2000, 1000},  {true, 10000, 5000},  {true, 50, 25}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct driver *d = driver_new("emit");
        struct open o = FIRST;
        char output[600];
        o.owner = i + 1;
        snprintf(output, sizeof output, "%s/out", (const char *)*state);
        d->config.output = output;
        d->config.follow = cases[i].follow;
        d->config.max_latency_ms = cases[i].latency_ms;
        driver_start(d);
        assert_int_equal(open_sink(d, &o, NULL), 0);
        send_records(d, &o, 0, 1);
        while (d->ops->deadline(d->self) == UINT64_MAX) /* the file is made ours first */
            driver_work(d);
        assert_int_equal(d->ops->deadline(d->self), d->now_ms + cases[i].want_ms);
        driver_free(&d);
    }
}

/* The file is made, ours, and durable at 1. */
static void begin(struct driver *d)
{
    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 1);
    assert_int_equal(sync_to(d, &FIRST, 1).n, 1);
    disk.files = disk.folders = 0;
}

static void batches_follow_each_other_at_once(void **state)
{
    struct driver *d = start_with(state, SYNC_BATCH, false);
    struct open other = stream(0);

    assert_int_equal(open_sink(d, &other, NULL), 0);
    send_records(d, &other, 0, 1);
    assert_int_equal(sync_to(d, &other, 1).n, 1);
    begin(d);
    pthread_mutex_lock(&disk.gate);
    send_records(d, &FIRST, 1, 2);
    driver_work(d); /* the first is under way, and the rest come together behind it */
    for (uint64_t n = 2; n < 50; n++) {
        send_records(d, &FIRST, n, n + 1);
        send_records(d, &other, n - 1, n);
        driver_work(d);
    }
    driver_expect_nothing(d);
    pthread_mutex_unlock(&disk.gate);
    assert_int_equal(expect_durable(d, false).n, 2);
    assert_int_equal(expect_durable(d, false).n + expect_durable(d, false).n, 50 + 49);
    assert_int_equal(disk.files, 3);
    driver_free(&d);
}

static void each_record_is_durable_before_the_next_is_written(void **state)
{
    struct driver *d = start_with(state, SYNC_RECORD, false);
    char line[100];
    uint64_t bytes = line_of(0, line);

    begin(d);
    pthread_mutex_lock(&disk.gate);
    for (uint64_t n = 1; n < 20; n++) { /* they come while the first is synced */
        send_records(d, &FIRST, n, n + 1);
        driver_work(d);
    }
    pthread_mutex_unlock(&disk.gate);
    for (uint64_t n = 1; n < 20; n++) {
        assert_int_equal(expect_durable(d, false).n, n + 1);
        bytes += line_of(n, line);
        assert_int_equal(disk.sizes[n - 1],
                         bytes); /* when it was synced, no other line was there */
    }
    assert_int_equal(disk.files, 19);
    driver_free(&d);
}

/* ---- A disk that fails ---- */

static void expect_lost(struct driver *d, enum err_code code)
{
    Riverrun__Control *control;

    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_SINK_LOST);
    assert_int_equal(control->sink_lost->stream, FIRST.stream);
    assert_int_equal(control->sink_lost->code, code);
    riverrun__control__free_unpacked(control, NULL);
}

/* Opened again where it is durable: as encode does when it hears that a sink is lost. */
static void open_again(struct driver *d, const struct place *durable)
{
    struct open o = FIRST;

    o.tokens[0] = *durable;
    assert_int_equal(open_sink(d, &o, NULL), durable->n);
}

static void a_failed_write_or_sync_is_cut_and_sent_again(void **state)
{
    struct driver *d = start(state);
    struct place token;

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 5);
    token = sync_to(d, &FIRST, 5);
    for (unsigned i = 0; i < 8; i++) { /* twice at each of four places */
        struct fault *fault = i % 2 ? &disk.sync : &disk.write;
        fault->cause = EIO;
        fault->left = 1;
        send_records(d, &FIRST, token.n, token.n + 4);
        assert_int_equal(send_sync(d, &FIRST, token.n + 4), ERR_OK);
        expect_lost(d, ERR_SYSTEM);
        assert_lines(state, token.n); /* no part of a line stays */
        open_again(d, &token);
        if (i % 2) {
            send_records(d, &FIRST, token.n, token.n + 4);
            token = sync_to(d, &FIRST, token.n + 4);
        }
    }
    driver_free(&d);
    assert_lines(state, 5 + 4 * 4);
}

static void the_third_failure_at_one_place_gives_up(void **state)
{
    struct driver *d = start(state);
    struct place token;

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 5);
    token = sync_to(d, &FIRST, 5);
    for (unsigned i = 0; i < 3; i++) {
        struct fault *fault = i % 2 ? &disk.sync : &disk.write;
        fault->cause = EIO;
        fault->left = 1;
        send_records(d, &FIRST, 5, 9);
        assert_int_equal(send_sync(d, &FIRST, 9), ERR_OK);
        if (i == 2)
            break;
        expect_lost(d, ERR_SYSTEM);
        open_again(d, &token);
    }
    expect_refused(d, ERR_SINK, "failed 3 times");
    driver_free(&d);
    assert_lines(state, 5);
}

static void a_cut_that_fails_gives_up(void **state)
{
    struct driver *d = start(state);

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 5);
    sync_to(d, &FIRST, 5);
    disk.write.cause = disk.cut.cause = EIO;
    disk.write.left = disk.cut.left = 1;
    send_records(d, &FIRST, 5, 9);
    expect_refused(d, ERR_SINK, "cut");
    driver_free(&d);
}

static void a_full_disk_ends_read(void **state)
{
    struct driver *d = start(state);

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 5);
    sync_to(d, &FIRST, 5);
    disk.write.cause = ENOSPC;
    disk.write.left = 1;
    send_records(d, &FIRST, 5, 9);
    expect_refused(d, ERR_FULL, "No space");
    driver_free(&d);
    assert_lines(state, 5);
}

/* At a line, at a sync, at the sidecar: follow waits five seconds, and goes on. */
static void a_full_disk_makes_follow_wait(void **state)
{
    struct driver *d = start_with(state, SYNC_INTERVAL, true);
    struct place token = {.generation = 1};
    char line[100];

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    for (unsigned i = 0; i < 9; i++) {
        struct fault *fault = i % 3 ? &disk.write : &disk.sync;
        fault->cause = ENOSPC;
        fault->left = 1;
        send_records(d, &FIRST, token.n, token.n + 4);
        assert_int_equal(send_sync(d, &FIRST, token.n + 4), ERR_OK);
        do
            driver_work(d);
        while (d->ops->deadline(d->self) != d->now_ms + 5000);
        assert_int_equal(disk.sync.left + disk.write.left, 0);
        driver_expect_nothing(d);
        /* What is still on its way to it is dropped. */
        assert_int_equal(send_line(d, &FIRST, token.n + 4, line, line_of(token.n + 4, line), false),
                         ERR_OK);
        d->now_ms += 4999;
        driver_work(d);
        driver_expect_nothing(d);
        d->now_ms++;
        expect_lost(d, ERR_FULL);
        open_again(d, &token);
        if (i % 3 == 2) {
            send_records(d, &FIRST, token.n, token.n + 4);
            token = sync_to(d, &FIRST, token.n + 4);
            assert_lines(state, token.n);
        }
    }
    assert_non_null(strstr(d->reports, "trying again every 5 s"));
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(there_may_be_more_sinks_than_descriptors),
        STAGE_TEST(folders_are_synced_once_for_many_new_files),
        STAGE_TEST(sinks_that_rest_sync_nothing),
        STAGE_TEST(a_file_that_changed_while_it_was_closed_is_refused),
        STAGE_TEST(a_file_that_is_removed_while_it_is_written_is_refused),
        STAGE_TEST(the_claim_keeps_others_out_of_closed_files),
        STAGE_TEST(a_superseded_process_writes_nothing),
        STAGE_TEST(two_stores_share_a_folder_and_no_file),
        STAGE_TEST(a_sidecar_with_a_newer_epoch_is_believed),
        STAGE_TEST(the_interval_is_half_the_latency),
        STAGE_TEST(batches_follow_each_other_at_once),
        STAGE_TEST(each_record_is_durable_before_the_next_is_written),
        STAGE_TEST(a_failed_write_or_sync_is_cut_and_sent_again),
        STAGE_TEST(the_third_failure_at_one_place_gives_up),
        STAGE_TEST(a_cut_that_fails_gives_up),
        STAGE_TEST(a_full_disk_ends_read),
        STAGE_TEST(a_full_disk_makes_follow_wait),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
