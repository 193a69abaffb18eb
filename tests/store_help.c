#include "tests/store_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int make_folder(void **state)
{
    const char *parent = getenv("TMPDIR");
    char *path = malloc(200);

    snprintf(path, 200, "%.150s/riverrun-test-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(path)) {
        free(path);
        return -1;
    }
    *state = path;
    return 0;
}

int remove_folder(void **state)
{
    char command[300];

    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    int failed = system(command);
    free(*state);
    return failed;
}

const char *folder_of(void **state)
{
    return *state;
}

struct view text_view(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

struct store *open_store(const char *path)
{
    struct store_options options = {.write = true};
    struct store *store = NULL;
    struct err err = {0};

    if (store_open(&store, path, &options, &err))
        fail_msg("open: %s", err.text);
    return store;
}

enum err_code commit(struct store *store, struct store_batch **batch, struct err *err)
{
    void *user = NULL;

    store_submit(store, batch, store);
    assert_null(*batch);
    assert_true(store_collect(store, true, &user, err));
    assert_ptr_equal(user, store);
    return err->code;
}

static void commit_well(struct store *store, struct store_batch **batch)
{
    struct err err;
    if (commit(store, batch, &err))
        fail_msg("commit: %s", err.text);
}

uint64_t add_stream(struct store *store, const char *name)
{
    struct store_batch *batch;
    uint64_t stream = store_reserve(store);

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_stream(batch, stream, name, NULL), ERR_OK);
    commit_well(store, &batch);
    return stream;
}

void put_note(struct store *store, uint64_t stream, const char *text)
{
    struct store_batch *batch;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_note(batch, stream, text_view(text), NULL), ERR_OK);
    commit_well(store, &batch);
}

static uint64_t part_seed(uint64_t stream, uint64_t number, size_t part)
{
    return (stream * 1000003 + number) * 1000003 + part + 1;
}

static void fill_part(uint8_t *data, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = random_next(&seed);
        memcpy(data + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

/* Parts differ in length, so that one in another's place is noticed. */
static size_t part_length(size_t part, size_t part_bytes)
{
    return part_bytes + part % 7;
}

void fill_checkpoint(struct store_batch *batch, uint64_t stream, uint64_t number, size_t part_count,
                     size_t part_bytes)
{
    struct view parts[STORE_PARTS_MAX];
    uint8_t *memory = malloc(part_count * (part_bytes + 8) + 1), *at = memory;
    char meta[80];

    snprintf(meta, sizeof meta, "meta of %llu/%llu", (unsigned long long)stream,
             (unsigned long long)number);
    for (size_t i = 0; i < part_count; i++) {
        parts[i] = (struct view){at, part_length(i, part_bytes)};
        fill_part(at, parts[i].bytes, part_seed(stream, number, i));
        at += parts[i].bytes;
    }
    assert_int_equal(
        batch_checkpoint(batch, stream, number, text_view(meta), parts, part_count, NULL), ERR_OK);
    free(memory);
}

void put_checkpoint(struct store *store, uint64_t stream, uint64_t number, size_t part_count,
                    size_t part_bytes)
{
    struct store_batch *batch;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    fill_checkpoint(batch, stream, number, part_count, part_bytes);
    commit_well(store, &batch);
}

void check_checkpoint(struct store *store, uint64_t stream, uint64_t number, size_t part_count,
                      size_t part_bytes)
{
    struct store_checkpoint *found = NULL;
    struct err err = {0};
    uint8_t *wanted = malloc(part_bytes + 8);
    char meta[80];

    if (store_checkpoint_read(store, stream, number, true, &found, &err))
        fail_msg("read: %s", err.text);
    snprintf(meta, sizeof meta, "meta of %llu/%llu", (unsigned long long)stream,
             (unsigned long long)number);
    assert_int_equal(found->meta.bytes, strlen(meta));
    assert_memory_equal(found->meta.data, meta, strlen(meta));
    assert_int_equal(found->part_count, part_count);
    for (size_t i = 0; i < part_count; i++) {
        assert_int_equal(found->parts[i].bytes, part_length(i, part_bytes));
        fill_part(wanted, found->parts[i].bytes, part_seed(stream, number, i));
        assert_memory_equal(found->parts[i].data, wanted, found->parts[i].bytes);
    }
    store_checkpoint_free(&found);
    free(wanted);
}

enum err_code read_checkpoint(struct store *store, uint64_t stream, uint64_t number)
{
    struct store_checkpoint *found = NULL;
    enum err_code code = store_checkpoint_read(store, stream, number, true, &found, NULL);

    store_checkpoint_free(&found);
    return code;
}

enum err_code append_entry(struct journal *journal, const char *topic, struct view entry)
{
    struct store_batch *batch = NULL;
    struct err err = {0};
    enum err_code code = store_batch_open(&batch, NULL);

    if (!code)
        code = batch_entry(batch, topic, entry, NULL);
    if (!code) {
        spool_submit(journal, &batch, NULL);
        require(spool_collect(journal, true, &batch, NULL, &err));
        code = err.code;
    }
    store_batch_close(&batch);
    return code;
}

uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int open_in(const char *folder, const char *name)
{
    char path[400];
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void flip_bit(const char *folder, const char *name, uint64_t byte, int bit)
{
    int fd = open_in(folder, name);
    uint8_t value;

    assert_int_equal(pread(fd, &value, 1, (off_t)byte), 1);
    value ^= (uint8_t)(1 << bit);
    assert_int_equal(pwrite(fd, &value, 1, (off_t)byte), 1);
    close(fd);
}

uint64_t file_bytes_of(const char *folder, const char *name)
{
    struct stat status;
    int fd = open_in(folder, name);

    assert_int_equal(fstat(fd, &status), 0);
    close(fd);
    return (uint64_t)status.st_size;
}

enum err_code try_open(const char *path, bool write, struct store **store, struct err *err)
{
    struct store_options options = {.write = write};
    *store = NULL;
    *err = (struct err){0};
    return store_open(store, path, &options, err);
}

enum err_code try_checkpoint(struct store *store, uint64_t stream, uint64_t number,
                             size_t part_count, size_t part_bytes, struct err *err)
{
    struct store_batch *batch;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    fill_checkpoint(batch, stream, number, part_count, part_bytes);
    return commit(store, &batch, err);
}

void make_used_store(const char *path)
{
    struct store *store = open_store(path);
    struct store_batch *batch;
    struct err err;

    add_stream(store, "one");
    add_stream(store, "two");
    for (uint64_t number = 1; number <= 6; number++) {
        put_checkpoint(store, 1, number, USED_PARTS, USED_PART_BYTES);
        put_checkpoint(store, 2, number, USED_PARTS, 100);
    }
    put_note(store, 1, "note");
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_savepoint(batch, 1, 4, "kept", NULL), ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    store_close(&store);
}

int in_child(int (*body)(const char *path), const char *path)
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body(path));
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
