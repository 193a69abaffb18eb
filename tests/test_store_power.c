/* Power cut at any instant. All writes to data.mdb are recorded, with their syncs; then the file is
 * built anew as a disk might hold it: everything that was synced, and of what was not yet synced any
 * sectors, others not. The store opens, and holds all that was acknowledged before the cut. */
#include "tests/store_help.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { EVENTS_MAX = 20000, SECTOR = 512, BATCHES = 60, CUTS = 400 };

enum event_kind { EVENT_WRITE, EVENT_SYNC, EVENT_ACK };

struct event {
    enum event_kind kind;
    bool synced; /* by its own descriptor, when it returned */
    uint64_t offset, bytes;
    uint8_t *data;
    uint64_t acked; /* the last batch that came back */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct event events[EVENTS_MAX];
static size_t event_count;
static bool recording;

static bool is_data(int fd)
{
    char link[64], path[400];
    ssize_t bytes;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    bytes = readlink(link, path, sizeof path - 1);
    if (bytes < 9)
        return false;
    path[bytes] = '\0';
    return strcmp(path + bytes - 9, "/data.mdb") == 0;
}

static void record(enum event_kind kind, int fd, const void *data, size_t bytes, uint64_t number)
{
    struct event event = {.kind = kind, .offset = number, .bytes = bytes, .acked = number};

    if (!recording || (kind != EVENT_ACK && !is_data(fd)))
        return;
    if (kind == EVENT_WRITE) {
        event.synced = fcntl(fd, F_GETFL) & O_DSYNC;
        event.data = malloc(bytes);
        memcpy(event.data, data, bytes);
    }
    pthread_mutex_lock(&lock);
    if (event_count == EVENTS_MAX)
        abort();
    events[event_count++] = event;
    pthread_mutex_unlock(&lock);
}

/* A program's own functions come before those of libraries: LMDB's calls go through these. The store
 * writes from one thread at a time. */
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    record(EVENT_WRITE, fd, data, bytes, (uint64_t)offset);
    return (ssize_t)syscall(SYS_pwrite64, fd, data, bytes, offset);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    off_t at = lseek(fd, 0, SEEK_CUR);

    for (int i = 0; i < count; i++) {
        record(EVENT_WRITE, fd, pieces[i].iov_base, pieces[i].iov_len, (uint64_t)at);
        at += (off_t)pieces[i].iov_len;
    }
    return (ssize_t)syscall(SYS_writev, fd, pieces, count);
}

int fdatasync(int fd)
{
    int failed = (int)syscall(SYS_fdatasync, fd);
    record(EVENT_SYNC, fd, NULL, 0, 0);
    return failed;
}

/* ---- The life that is cut ---- */

static size_t parts_of(uint64_t n)
{
    return n % 4;
}

static size_t bytes_of(uint64_t n)
{
    return n % 3 == 0 ? 40 : n % 3 == 1 ? 5000 : 30000;
}

static void submit(struct store *store, uint64_t n)
{
    struct store_batch *batch;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_stream(batch, 1, "book", NULL), ERR_OK);
    assert_int_equal(batch_note(batch, 1, (struct view){(const uint8_t *)&n, sizeof n}, NULL),
                     ERR_OK);
    fill_checkpoint(batch, 1, n, parts_of(n), bytes_of(n));
    store_submit(store, &batch, (void *)(uintptr_t)n);
}

static void live(const char *path)
{
    struct store *store;
    struct err err;
    void *user;

    recording = true;
    store = open_store(path);
    for (uint64_t n = 1, done = 0; done < BATCHES;) {
        while (n <= BATCHES && n <= done + 3)
            submit(store, n++);
        assert_true(store_collect(store, true, &user, &err));
        assert_int_equal(err.code, ERR_OK);
        done = (uintptr_t)user;
        record(EVENT_ACK, -1, NULL, 0, done);
        if (done == BATCHES / 2) {
            while (store_collect(store, true, &user, &err))
                record(EVENT_ACK, -1, NULL, 0, done = (uintptr_t)user);
            store_close(&store);
            store = open_store(path);
        }
    }
    store_close(&store);
    recording = false;
}

/* ---- After the cut ---- */

static void put_sectors(int fd, const struct event *event, bool all, uint64_t *seed)
{
    uint64_t at = 0;

    while (at < event->bytes) {
        uint64_t bytes = SECTOR - (event->offset + at) % SECTOR;
        if (bytes > event->bytes - at)
            bytes = event->bytes - at;
        if (all || random_next(seed) % 2)
            assert_int_equal(syscall(SYS_pwrite64, fd, event->data + at, bytes, event->offset + at),
                             bytes);
        at += bytes;
    }
}

/* The file as a disk may hold it after the first `cut` events; what was acknowledged by then. */
static uint64_t build(const char *path, size_t cut, uint64_t *seed)
{
    char file[400];
    size_t safe = 0;
    uint64_t acked = 0, keep = random_next(seed) % 3;
    int fd;

    snprintf(file, sizeof file, "%s/data.mdb", path);
    fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < cut; i++) {
        if (events[i].kind == EVENT_SYNC)
            safe = i;
        if (events[i].kind == EVENT_ACK)
            acked = events[i].acked;
    }
    for (size_t i = 0; i < cut; i++) {
        bool all = i < safe || events[i].synced || keep == 1;
        /* One cut in three loses all that was not synced, one keeps all, one tears. */
        if (events[i].kind == EVENT_WRITE && (all || keep == 2))
            put_sectors(fd, &events[i], all, seed);
    }
    close(fd);
    return acked;
}

static void check(const char *path, uint64_t acked)
{
    struct store *store = open_store(path);
    struct buffer note = buffer_of(8);
    uint64_t last = 0, numbers[STORE_KEEP];
    size_t count = 0;

    assert_int_equal(store_note(store, 1, &note, NULL), ERR_OK);
    if (note.bytes)
        memcpy(&last, note.data, sizeof last);
    buffer_release(&note);
    assert_true(last >= acked && last <= acked + 3);
    assert_int_equal(store_checkpoints(store, 1, numbers, &count, NULL), ERR_OK);
    assert_int_equal(count, last < STORE_KEEP ? last : STORE_KEEP);
    for (size_t i = 0; i < count; i++)
        check_checkpoint(store, 1, last - i, parts_of(last - i), bytes_of(last - i));
    /* And it goes on. */
    if (last == 0)
        assert_int_equal(add_stream(store, "book"), 1);
    put_checkpoint(store, 1, 1000, 2, 100);
    store_close(&store);
}

static void a_power_cut_loses_nothing_acknowledged(void **state)
{
    uint64_t seed = 99, with_data = 0;
    char path[300];

    snprintf(path, sizeof path, "%s/life", folder_of(state));
    live(path);
    assert_true(event_count > 4 * BATCHES / 3);
    snprintf(path, sizeof path, "%s/after", folder_of(state));
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < CUTS; i++) {
        /* The first events, while the store is made, one by one; then at random. */
        size_t cut = i < 40 ? (size_t)i : random_next(&seed) % (event_count + 1);
        uint64_t acked = build(path, cut, &seed);
        check(path, acked);
        with_data += acked > 0;
    }
    assert_true(with_data > CUTS / 2);
    for (size_t i = 0; i < event_count; i++)
        free(events[i].data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_power_cut_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
