/* What the world does to a store: second owners, removed files, full and failing disks. */
#include "tests/store_help.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- System calls that fail on demand: LMDB's go through these, because a program's own functions come
 * before those of libraries. Only calls on regular files count. ---- */

enum { ON_WRITE = 1, ON_SYNC = 2 };
static atomic_int fail_in;    /* the call that fails: 1 is the next one; 0 or less: none */
static atomic_int fail_count; /* how many fail from there on */
static int fail_errno, fail_kinds;
static atomic_bool lie; /* the first write that fails is done all the same */

static bool fails_now(int fd, int kind)
{
    struct stat status;

    if (!(fail_kinds & kind) || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return false;
    if (atomic_fetch_sub(&fail_in, 1) > 1 || atomic_load(&fail_count) <= 0)
        return false;
    atomic_fetch_sub(&fail_count, 1);
    errno = fail_errno;
    return true;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    bool fails = fails_now(fd, ON_WRITE);

    if (fails && !atomic_exchange(&lie, false))
        return -1;
    ssize_t done = (ssize_t)syscall(SYS_pwrite64, fd, data, bytes, offset);
    if (fails)
        errno = fail_errno;
    return fails ? -1 : done;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return fails_now(fd, ON_WRITE) ? -1 : (ssize_t)syscall(SYS_write, fd, data, bytes);
}

struct iovec;
ssize_t writev(int fd, const struct iovec *pieces, int count);
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    return fails_now(fd, ON_WRITE) ? -1 : (ssize_t)syscall(SYS_writev, fd, pieces, count);
}

int fdatasync(int fd)
{
    return fails_now(fd, ON_SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fails_now(fd, ON_SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

static void fail_calls(int kinds, int first, int count, int code)
{
    fail_kinds = kinds;
    fail_errno = code;
    atomic_store(&fail_count, count);
    atomic_store(&fail_in, first);
}

static void fail_nothing(void)
{
    fail_kinds = 0;
}

/* ---- Helpers ---- */

static uint64_t inode_of(const char *folder)
{
    char path[400];
    struct stat status;

    snprintf(path, sizeof path, "%s/data.mdb", folder);
    assert_int_equal(stat(path, &status), 0);
    return status.st_ino;
}

/* ---- Owners ---- */

/* A child that opens the store, says so, waits for a byte, then writes checkpoint 50 of stream 1 and
 * ends with the outcome's code; 99 where it could not open. */
struct owner {
    pid_t child;
    int said, go;
};

static struct owner start_owner(const char *path)
{
    struct owner owner;
    int said[2], go[2];
    char byte = 0;

    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(go), 0);
    fflush(NULL);
    owner.child = fork();
    assert_true(owner.child >= 0);
    if (owner.child == 0) {
        struct store *store;
        struct err err;
        close(go[1]);
        close(said[0]);
        if (try_open(path, true, &store, &err))
            _exit(99);
        (void)!write(said[1], "x", 1);
        (void)!read(go[0], &byte, 1);
        enum err_code code = try_checkpoint(store, 1, 50, 1, 100, &err);
        if (code == ERR_OK)
            for (uint64_t number = 51; number < 60; number++)
                put_checkpoint(store, 1, number, 2, 200000);
        (void)!write(said[1], "y", 1);
        (void)!read(go[0], &byte, 1);
        store_close(&store);
        _exit((int)code);
    }
    close(said[1]);
    close(go[0]);
    owner.said = said[0];
    owner.go = go[1];
    assert_int_equal(read(owner.said, &byte, 1), 1);
    return owner;
}

static void next_step(const struct owner *owner)
{
    char byte;
    assert_int_equal(write(owner->go, "g", 1), 1);
    assert_int_equal(read(owner->said, &byte, 1), 1);
}

static int end_owner(const struct owner *owner)
{
    int status;

    close(owner->go);
    close(owner->said);
    assert_int_equal(waitpid(owner->child, &status, 0), owner->child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void a_second_owner_waits_until_the_first_is_dead(void **state)
{
    const char *path = folder_of(state);
    struct owner owner;
    struct store *store;
    struct err err;

    make_used_store(path);
    owner = start_owner(path);
    assert_int_equal(try_open(path, true, &store, &err), ERR_BUSY);
    kill(owner.child, SIGKILL);
    assert_int_equal(end_owner(&owner), 1000 + SIGKILL);
    store = open_store(path);
    assert_int_equal(store_owner_epoch(store), 3);
    store_close(&store);
}

static void a_store_is_open_once_in_a_process(void **state)
{
    struct store *store = open_store(folder_of(state)), *second;
    struct err err;

    assert_int_equal(try_open(folder_of(state), true, &second, &err), ERR_BUSY);
    assert_int_equal(try_open(folder_of(state), false, &second, &err), ERR_BUSY);
    assert_null(second);
    store_close(&store);
}

static void one_who_looks_sees_what_the_owner_writes(void **state)
{
    const char *path = folder_of(state);
    struct owner owner;
    struct store *store;
    struct err err;
    uint64_t numbers[STORE_KEEP];
    size_t count;

    make_used_store(path);
    owner = start_owner(path);
    assert_int_equal(try_open(path, false, &store, &err), ERR_OK);
    check_checkpoint(store, 1, 6, USED_PARTS, USED_PART_BYTES);
    next_step(&owner);
    assert_int_equal(store_checkpoints(store, 1, numbers, &count, NULL), ERR_OK);
    assert_int_equal(numbers[0], 59);
    check_checkpoint(store, 1, 59, 2, 200000);
    assert_int_equal(store_descriptor(store), -1);
    store_close(&store);
    assert_int_equal(end_owner(&owner), 0);
}

static void a_superseded_owner_writes_nothing(void **state)
{
    const char *path = folder_of(state);
    struct owner owner;
    struct store *store;
    char lock[400];
    uint64_t numbers[STORE_KEEP];
    size_t count;

    make_used_store(path);
    owner = start_owner(path);
    /* The lock went away under the first owner, so a second one could come. */
    snprintf(lock, sizeof lock, "%s/owner.lock", path);
    assert_int_equal(unlink(lock), 0);
    store = open_store(path);
    put_checkpoint(store, 1, 40, 1, 10);
    next_step(&owner);
    put_checkpoint(store, 1, 41, 1, 10);
    assert_int_equal(end_owner(&owner), ERR_BUSY);
    assert_int_equal(store_checkpoints(store, 1, numbers, &count, NULL), ERR_OK);
    assert_int_equal(numbers[0], 41);
    assert_int_equal(numbers[1], 40);
    assert_int_equal(numbers[2], 6);
    store_close(&store);
}

/* By another file of that name (0), or by none. Put back it is written on. */
static void a_store_that_went_away_is_told(void **state)
{
    const char *path = folder_of(state);
    struct store *store;
    char name[400], aside[400];
    struct err err;

    make_used_store(path);
    store = open_store(path);
    snprintf(name, sizeof name, "%s/data.mdb", path);
    snprintf(aside, sizeof aside, "%s/aside", path);
    assert_int_equal(rename(name, aside), 0);
    for (int replaced = 0; replaced < 2; replaced++) {
        if (replaced) {
            int fd = open(name, O_WRONLY | O_CREAT, 0666);
            assert_true(fd >= 0);
            close(fd);
        }
        assert_int_equal(try_checkpoint(store, 1, 50, 1, 10, &err), ERR_SYSTEM);
        assert_non_null(strstr(err.text, "was removed or replaced while it was in use"));
    }
    assert_int_equal(rename(aside, name), 0);
    put_checkpoint(store, 1, 50, 1, 10);
    store_close(&store);
    store = open_store(path);
    check_checkpoint(store, 1, 50, 1, 10);
    store_close(&store);
}

static int open_read_only_folder(const char *path)
{
    struct store *store;
    struct err err;

    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    if (try_open(path, true, &store, &err) != ERR_SYSTEM || !strstr(err.text, "Permission denied"))
        return 1;
    if (try_open(path, false, &store, &err) != ERR_SYSTEM)
        return 2;
    return 0;
}

static void a_folder_without_permission_is_refused_in_words(void **state)
{
    const char *path = folder_of(state);
    char file[400];

    make_used_store(path);
    assert_int_equal(chmod(path, 0555), 0);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"data.mdb", "lock.mdb", "owner.lock"};
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        assert_int_equal(chmod(file, 0444), 0);
    }
    assert_int_equal(in_child(open_read_only_folder, path), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

/* ---- Room ---- */

static void the_map_grows_from_tiny_to_large(void **state)
{
    struct store_options options = {.write = true, .map_bytes = 1};
    struct store *store = NULL;
    char name[20];

    assert_int_equal(store_open(&store, folder_of(state), &options, NULL), ERR_OK);
    for (uint64_t stream = 1; stream <= 60; stream++) {
        snprintf(name, sizeof name, "s%d", (int)stream);
        assert_int_equal(add_stream(store, name), stream);
        for (uint64_t number = 1; number <= 4; number++)
            put_checkpoint(store, stream, number, 4, stream * 2500);
    }
    for (uint64_t stream = 1; stream <= 60; stream++)
        check_checkpoint(store, stream, 4, 4, stream * 2500);
    assert_true(file_bytes_of(folder_of(state), "data.mdb") > 40u << 20);
    store_close(&store);
    assert_int_equal(store_open(&store, folder_of(state), &options, NULL), ERR_OK);
    check_checkpoint(store, 60, 3, 4, 60 * 2500);
    put_checkpoint(store, 1, 9, 100, 20000);
    store_close(&store);
}

/* In a child, because a limit on file size is the process's; the limit plays the full disk. */
static int fill_up(const char *path)
{
    struct rlimit unlimited, tight;
    struct store *store = open_store(path);
    struct err err;
    uint64_t written = 6;
    _Atomic uint64_t *counter;

    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &unlimited) != 0)
        return 1;
    tight = unlimited;
    tight.rlim_cur = file_bytes_of(path, "data.mdb") + 300000;
    if (setrlimit(RLIMIT_FSIZE, &tight) != 0)
        return 2;
    while (try_checkpoint(store, 1, written + 1, 3, 60000, &err) == ERR_OK && written < 100)
        written++;
    if (err.code != ERR_FULL ||
        store_counter(store, STORE_STREAMS_MAX - 1, &counter, &err) != ERR_FULL)
        return 3;
    /* As before: the last that was written is the newest, and whole. Small things may still fit. */
    for (int again = 0; again < 3; again++)
        if (try_checkpoint(store, 1, written + 1, 3, 600000, &err) != ERR_FULL)
            return 4;
    uint64_t numbers[STORE_KEEP];
    size_t count;
    if (store_checkpoints(store, 1, numbers, &count, NULL) || numbers[0] != written)
        return 5;
    check_checkpoint(store, 2, 6, USED_PARTS, 100);
    if (setrlimit(RLIMIT_FSIZE, &unlimited) != 0)
        return 6;
    put_checkpoint(store, 1, written + 1, 3, 600000);
    check_checkpoint(store, 1, written + 1, 3, 600000);
    if (store_counter(store, STORE_STREAMS_MAX - 1, &counter, &err))
        return 7;
    store_close(&store);
    store = open_store(path);
    check_checkpoint(store, 1, written + 1, 3, 600000);
    store_close(&store);
    return 0;
}

static void a_full_disk_leaves_all_as_before_and_room_heals_it(void **state)
{
    make_used_store(folder_of(state));
    assert_int_equal(in_child(fill_up, folder_of(state)), 0);
}

/* ---- Failing disks ---- */

/* Fail the n-th call for n = 1, 2, 3 ... until a commit meets none; each time look at the outcome, then
 * open again and compare. */
static void fail_each_call(const char *path, int kinds, int count, int code, int codes[ERR_COUNT])
{
    uint64_t number = 6;
    bool met = true;

    make_used_store(path);
    for (int n = 1; met; n++) {
        struct store *store = open_store(path);
        uint64_t numbers[STORE_KEEP], before = inode_of(path);
        size_t found;
        struct err err;
        fail_calls(kinds, n, count, code);
        try_checkpoint(store, 1, number + 1, 2, 50000, &err);
        met = atomic_load(&fail_count) < count;
        fail_nothing();
        codes[err.code]++;
        assert_true(n < 200);
        number += err.code == ERR_OK;
        assert_int_equal(store_checkpoints(store, 1, numbers, &found, NULL), ERR_OK);
        if (err.code == ERR_OK || err.code == ERR_FULL)
            assert_int_equal(numbers[0], number);
        /* A refusal that is neither leaves open which; it is as before or whole. */
        assert_true(numbers[0] == number || numbers[0] == number + 1);
        number = numbers[0];
        /* Whatever happened, the next commit stands, in a file of its own after a fault. */
        number++;
        put_checkpoint(store, 1, number, 2, 50000);
        check_checkpoint(store, 1, number, 2, 50000);
        if (met && code == EIO)
            assert_true(inode_of(path) != before);
        store_close(&store);
        store = open_store(path);
        check_checkpoint(store, 1, number, 2, 50000);
        check_checkpoint(store, 2, 6, USED_PARTS, 100);
        store_close(&store);
    }
}

static void a_call_that_fails_once_is_mended_by_a_new_file(void **state)
{
    int codes[ERR_COUNT] = {0};

    fail_each_call(folder_of(state), ON_WRITE | ON_SYNC, 1, EIO, codes);
    assert_true(codes[ERR_OK] >= 4);
    assert_int_equal(codes[ERR_SYSTEM], 0);
}

static int write_after_fault(const char *path)
{
    struct store *store = open_store(path);

    fail_calls(ON_SYNC, 1, 1, EIO);
    put_checkpoint(store, 1, 7, 1, 300);
    fail_nothing();
    store_close(&store);
    return 0;
}

static void one_who_looks_follows_to_the_new_file(void **state)
{
    const char *path = folder_of(state);
    struct store *store;
    struct err err;
    uint64_t before;

    make_used_store(path);
    before = inode_of(path);
    assert_int_equal(try_open(path, false, &store, &err), ERR_OK);
    check_checkpoint(store, 1, 6, USED_PARTS, USED_PART_BYTES);
    assert_int_equal(in_child(write_after_fault, path), 0);
    assert_true(inode_of(path) != before);
    check_checkpoint(store, 1, 7, 1, 300);
    store_close(&store);
}

static void calls_that_keep_failing_are_told_and_mended_later(void **state)
{
    int codes[ERR_COUNT] = {0};

    fail_each_call(folder_of(state), ON_WRITE | ON_SYNC, 1000, EIO, codes);
    assert_true(codes[ERR_SYSTEM] >= 3);
    assert_int_equal(codes[ERR_OK], 1);
}

static void a_disk_full_at_each_write_leaves_all_as_before(void **state)
{
    int codes[ERR_COUNT] = {0};

    fail_each_call(folder_of(state), ON_WRITE, 1000, ENOSPC, codes);
    assert_true(codes[ERR_FULL] >= 2);
    assert_int_equal(codes[ERR_OK], 1);
}

enum { LIES = 6, PIECE = 100 };

/* Batch i of six: twice for queue a, once for b, and an entry; the bytes say which. */
static struct store_batch *make_batch(unsigned i, uint64_t round)
{
    struct store_batch *batch;
    uint64_t at = (round * LIES + i) * PIECE;
    uint8_t number = (uint8_t)i, bytes[PIECE];
    struct view piece = {bytes, sizeof bytes};

    memset(bytes, 'a' + number, sizeof bytes);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_append(batch, "a", 2 * at, piece, NULL), ERR_OK);
    assert_int_equal(batch_append(batch, "b", at, piece, NULL), ERR_OK);
    assert_int_equal(batch_append(batch, "a", 2 * at + PIECE, piece, NULL), ERR_OK);
    assert_int_equal(batch_entry(batch, "topic", (struct view){&number, 1}, NULL), ERR_OK);
    return batch;
}

/* The entries since *number, counted by batch. */
static void count_entries(struct journal *journal, uint64_t *number, unsigned counts[LIES])
{
    struct buffer entry = buffer_of(JOURNAL_ENTRY_MAX);

    memset(counts, 0, LIES * sizeof *counts);
    for (; journal_read(journal, "topic", number, &entry, NULL) == ERR_OK; ++*number)
        counts[entry.data[0]]++;
    buffer_release(&entry);
}

/* Batches that wait together; a write is done and said to have failed, and so do those behind it for a while. */
static void what_is_there_after_all_is_not_written_twice(void **state)
{
    const int lengths[] = {2, 3, 5, 9, 30, 1000};
    struct journal *journal;
    uint64_t round = 0, number = 1, known = 0, unknown = 0;
    size_t length = 0;

    assert_int_equal(journal_open(&journal, folder_of(state), NULL), ERR_OK);
    for (int n = 1; length < sizeof lengths / sizeof *lengths; n++, round++) {
        struct store_batch *failed[LIES] = {NULL};
        unsigned counts[LIES];
        struct spool_queue queue;
        struct err err;
        void *user;
        fail_calls(ON_WRITE, n, lengths[length], EIO);
        atomic_store(&lie, true);
        for (unsigned i = 0; i < LIES; i++) {
            struct store_batch *batch = make_batch(i, round);
            spool_submit(journal, &batch, NULL);
        }
        for (unsigned i = 0; i < LIES; i++)
            assert_true(spool_collect(journal, true, &failed[i], &user, &err));
        bool met = atomic_load(&fail_count) < lengths[length];
        fail_nothing();
        count_entries(journal, &number, counts);
        for (unsigned i = 0; i < LIES; i++) {
            struct store_batch *again = NULL;
            assert_true(failed[i] ? counts[i] <= 1 : counts[i] == 1);
            *(counts[i] ? &known : &unknown) += failed[i] != NULL;
            if (!failed[i])
                continue;
            spool_submit(journal, &failed[i], NULL);
            assert_true(spool_collect(journal, true, &again, &user, &err));
            if (err.code)
                fail_msg("submitted again: %s", err.text);
        }
        count_entries(journal, &number, counts);
        assert_int_equal(spool_find(journal, "a", &queue, NULL), ERR_OK);
        assert_int_equal(queue.end, 2 * PIECE * LIES * (round + 1));
        if (!met) {
            length++;
            n = 0;
        }
    }
    print_message("%llu rounds; batches refused: %llu were there, %llu were not\n",
                  (unsigned long long)round, (unsigned long long)known,
                  (unsigned long long)unknown);
    assert_true(known > 0 && unknown > 0);
    journal_close(&journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_second_owner_waits_until_the_first_is_dead),
        STORE_TEST(a_store_is_open_once_in_a_process),
        STORE_TEST(one_who_looks_sees_what_the_owner_writes),
        STORE_TEST(a_superseded_owner_writes_nothing),
        STORE_TEST(a_store_that_went_away_is_told),
        STORE_TEST(a_folder_without_permission_is_refused_in_words),
        STORE_TEST(the_map_grows_from_tiny_to_large),
        STORE_TEST(a_full_disk_leaves_all_as_before_and_room_heals_it),
        STORE_TEST(a_call_that_fails_once_is_mended_by_a_new_file),
        STORE_TEST(one_who_looks_follows_to_the_new_file),
        STORE_TEST(calls_that_keep_failing_are_told_and_mended_later),
        STORE_TEST(a_disk_full_at_each_write_leaves_all_as_before),
        STORE_TEST(what_is_there_after_all_is_not_written_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
