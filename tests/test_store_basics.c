/* The store in the ordinary case: what was put comes back, in one life and in the next. */
#include "store/store.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/store_help.h"

static void a_new_store_is_empty_and_keeps_its_id(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint8_t id[STORE_ID_BYTES];
    uint64_t stream;
    struct err err;

    memcpy(id, store_id(store), sizeof id);
    assert_int_equal(store_find(store, "book", &stream, &err), ERR_ABSENT);
    assert_int_equal(store_owner_epoch(store), 1);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_memory_equal(store_id(store), id, sizeof id);
    assert_int_equal(store_owner_epoch(store), 2);
    store_close(&store);
}

static void open_makes_the_folder_with_its_parents(void **state)
{
    char path[300];
    struct store *store;

    snprintf(path, sizeof path, "%s/a/b//c/", folder_of(state));
    store = open_store(path);
    assert_string_equal(store_path(store), path);
    store_close(&store);
    store = open_store(path);
    store_close(&store);
}

static void looking_creates_nothing(void **state)
{
    struct store_options look = {.write = false};
    struct store *store = NULL;
    char path[300];
    struct err err;

    snprintf(path, sizeof path, "%s/none", folder_of(state));
    assert_int_equal(store_open(&store, path, &look, &err), ERR_ABSENT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(store_open(&store, folder_of(state), &look, &err), ERR_ABSENT);
    assert_null(store);
}

static void a_stream_is_found_by_its_name_also_later(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    uint64_t other = add_stream(store, "log"), found = 0;

    assert_int_equal(stream, 1);
    assert_int_equal(other, 2);
    assert_int_equal(store_find(store, "book", &found, NULL), ERR_OK);
    assert_int_equal(found, stream);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_find(store, "log", &found, NULL), ERR_OK);
    assert_int_equal(found, other);
    assert_int_equal(store_reserve(store), 3);
    store_close(&store);
}

struct names {
    size_t count, stop_at;
    char text[200];
};

static bool note_name(void *user, const char *name, uint64_t stream)
{
    struct names *names = user;
    size_t used = strlen(names->text);

    snprintf(names->text + used, sizeof names->text - used, "%s=%d ", name, (int)stream);
    return ++names->count != names->stop_at;
}

static void each_goes_by_name_and_stops_when_told(void **state)
{
    struct store *store = open_store(folder_of(state));
    struct names all = {0}, two = {.stop_at = 2};

    add_stream(store, "c");
    add_stream(store, "a");
    add_stream(store, "ab");
    add_stream(store, "b");
    assert_int_equal(store_each(store, note_name, &all, NULL), ERR_OK);
    assert_string_equal(all.text, "a=2 ab=3 b=4 c=1 ");
    assert_int_equal(store_each(store, note_name, &two, NULL), ERR_OK);
    assert_string_equal(two.text, "a=2 ab=3 ");
    store_close(&store);
}

static void a_note_is_what_was_stored_last(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    struct buffer out = buffer_of(100), small = buffer_of(3);

    assert_int_equal(store_note(store, stream, &out, NULL), ERR_OK);
    assert_int_equal(out.bytes, 0);
    put_note(store, stream, "first");
    put_note(store, stream, "second");
    assert_int_equal(store_note(store, stream, &out, NULL), ERR_OK);
    assert_int_equal(out.bytes, 6);
    assert_memory_equal(out.data, "second", 6);
    assert_int_equal(store_note(store, stream, &small, NULL), ERR_LIMIT);
    put_note(store, stream, "");
    assert_int_equal(store_note(store, stream, &out, NULL), ERR_OK);
    assert_int_equal(out.bytes, 0);
    buffer_release(&out);
    store_close(&store);
}

static void the_three_newest_checkpoints_are_kept(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book"), other = add_stream(store, "log");
    uint64_t numbers[STORE_KEEP];
    size_t count = 9;

    assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
    assert_int_equal(count, 0);
    put_checkpoint(store, other, 7, 3, 100);
    for (uint64_t number = 0; number < 10; number++)
        put_checkpoint(store, stream, number * 300, 4, 5000);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(numbers[i], (9 - i) * 300);
        check_checkpoint(store, stream, numbers[i], 4, 5000);
    }
    assert_int_equal(read_checkpoint(store, stream, 1800), ERR_ABSENT);
    check_checkpoint(store, other, 7, 3, 100);
    store_close(&store);
}

static void a_checkpoint_written_again_is_replaced_with_all_its_parts(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book"), numbers[STORE_KEEP];
    size_t count;

    put_checkpoint(store, stream, 5, 9, 20000);
    put_checkpoint(store, stream, 5, 2, 10);
    check_checkpoint(store, stream, 5, 2, 10);
    put_checkpoint(store, stream, 5, 0, 0);
    check_checkpoint(store, stream, 5, 0, 0);
    assert_int_equal(store_checkpoints(store, stream, numbers, &count, NULL), ERR_OK);
    assert_int_equal(count, 1);
    store_close(&store);
}

static void the_meta_value_is_read_alone(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    struct store_checkpoint *checkpoint = NULL;

    put_checkpoint(store, stream, 5, 9, 2000);
    assert_int_equal(store_checkpoint_read(store, stream, 5, false, &checkpoint, NULL), ERR_OK);
    assert_int_equal(checkpoint->part_count, 0);
    assert_int_equal(checkpoint->number, 5);
    assert_true(checkpoint->meta.bytes > 0);
    store_checkpoint_free(&checkpoint);
    assert_null(checkpoint);
    store_close(&store);
}

static void forget_leaves_nothing_and_numbers_are_not_used_again(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book"), other = add_stream(store, "log"), found;
    struct store_batch *batch;
    struct buffer out = buffer_of(100);
    struct err err;
    size_t count;
    uint64_t numbers[STORE_KEEP];

    put_checkpoint(store, stream, 1, 3, 5000);
    put_note(store, stream, "note");
    put_checkpoint(store, other, 1, 3, 5000);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_forget(batch, other, NULL), ERR_OK);
    assert_int_equal(batch_forget(batch, other, NULL), ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    assert_int_equal(store_find(store, "log", &found, NULL), ERR_ABSENT);
    assert_int_equal(store_checkpoints(store, other, numbers, &count, NULL), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(store_note(store, other, &out, NULL), ERR_OK);
    assert_int_equal(out.bytes, 0);
    check_checkpoint(store, stream, 1, 3, 5000);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(add_stream(store, "log"), 3);
    store_close(&store);
}

/* ---- Savepoints ---- */

/* Save checkpoint number as name; the outcome. */
static enum err_code save(struct store *store, uint64_t stream, uint64_t number, const char *name)
{
    struct store_batch *batch;
    struct err err;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_savepoint(batch, stream, number, name, NULL), ERR_OK);
    return commit(store, &batch, &err);
}

static enum err_code unsave(struct store *store, uint64_t stream, const char *name)
{
    struct store_batch *batch;
    struct err err;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_unsave(batch, stream, name, NULL), ERR_OK);
    return commit(store, &batch, &err);
}

/* The savepoint is the checkpoint that is there, byte for byte. */
static void check_point(struct store *store, uint64_t stream, const char *name,
                        const struct store_checkpoint *want)
{
    struct store_checkpoint *got = NULL;

    assert_int_equal(store_point_read(store, stream, name, true, &got, NULL), ERR_OK);
    assert_int_equal(got->number, want->number);
    assert_int_equal(got->part_count, want->part_count);
    assert_int_equal(got->meta.bytes, want->meta.bytes);
    assert_memory_equal(got->meta.data, want->meta.data, want->meta.bytes);
    for (size_t i = 0; i < want->part_count; i++) {
        assert_int_equal(got->parts[i].bytes, want->parts[i].bytes);
        assert_memory_equal(got->parts[i].data, want->parts[i].data, want->parts[i].bytes);
    }
    store_checkpoint_free(&got);
}

static struct store_checkpoint *checkpoint_of(struct store *store, uint64_t stream, uint64_t number)
{
    struct store_checkpoint *got = NULL;

    assert_int_equal(store_checkpoint_read(store, stream, number, true, &got, NULL), ERR_OK);
    return got;
}

static void savepoints_outlive_the_checkpoints_they_were_copied_from(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book"), other = add_stream(store, "log");
    struct store_checkpoint *first, *ninth, *none = NULL;
    struct names all = {0};

    put_checkpoint(store, other, 1, 2, 100);
    put_checkpoint(store, stream, 1, 5, 9000);
    first = checkpoint_of(store, stream, 1);
    assert_int_equal(save(store, stream, 1, "early"), ERR_OK);
    for (uint64_t number = 2; number < 10; number++)
        put_checkpoint(store, stream, number, 3, 700);
    ninth = checkpoint_of(store, stream, 9);
    assert_int_equal(save(store, stream, UINT64_MAX, "late"), ERR_OK);
    assert_int_equal(save(store, other, 1, "late"), ERR_OK);
    for (uint64_t number = 10; number < 20; number++)
        put_checkpoint(store, stream, number, 2, 5000);
    assert_int_equal(read_checkpoint(store, stream, 9), ERR_ABSENT);
    store_close(&store);
    store = open_store(folder_of(state)); /* and past the walk */
    check_point(store, stream, "early", first);
    check_point(store, stream, "late", ninth);
    assert_int_equal(store_points(store, stream, note_name, &all, NULL), ERR_OK);
    assert_string_equal(all.text, "early=1 late=9 ");
    assert_int_equal(store_point_read(store, other, "early", true, &none, NULL), ERR_ABSENT);
    assert_null(none);
    store_checkpoint_free(&first);
    store_checkpoint_free(&ninth);
    store_close(&store);
}

static void a_savepoint_is_dropped_alone_and_its_name_is_free_again(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    struct store_checkpoint *second;
    struct names all = {0};

    put_checkpoint(store, stream, 1, 2, 6000);
    assert_int_equal(save(store, stream, 1, "a"), ERR_OK);
    assert_int_equal(save(store, stream, 1, "b"), ERR_OK);
    put_checkpoint(store, stream, 2, 2, 3000);
    second = checkpoint_of(store, stream, 2);
    assert_int_equal(save(store, stream, 2, "c"), ERR_OK);
    assert_int_equal(save(store, stream, 2, "b"), ERR_MISMATCH);
    assert_int_equal(unsave(store, stream, "b"), ERR_OK);
    assert_int_equal(unsave(store, stream, "b"), ERR_ABSENT);
    assert_int_equal(save(store, stream, 7, "b"), ERR_ABSENT);
    assert_int_equal(save(store, stream, 2, "b"), ERR_OK);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_points(store, stream, note_name, &all, NULL), ERR_OK);
    assert_string_equal(all.text, "a=1 b=2 c=2 ");
    check_point(store, stream, "b", second);
    check_point(store, stream, "c", second);
    store_checkpoint_free(&second);
    store_close(&store);
}

/* Forgetting takes the savepoints along, or the walk would find slots without a name. */
static void forget_takes_savepoints_along(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    struct names all = {0};
    struct store_batch *batch;
    struct err err;

    put_checkpoint(store, stream, 1, 2, 6000);
    assert_int_equal(save(store, stream, 1, "a"), ERR_OK);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_forget(batch, stream, NULL), ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_points(store, stream, note_name, &all, NULL), ERR_OK);
    assert_int_equal(all.count, 0);
    store_close(&store);
}

static void names_of_savepoints_are_plain(void **state)
{
    char name[STORE_POINT_MAX + 2];
    const char *const good[] = {"a", "before-the-war", "v1.0", "12b", "~"};
    const char *const bad[] = {"", "12", "a b", "a@b", "a/b", "\x7f", "\xc3\xa4", "a\n"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(store_point_name(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(store_point_name(bad[i]));
    memset(name, 'n', sizeof name);
    name[STORE_POINT_MAX + 1] = 0;
    assert_false(store_point_name(name));
    name[STORE_POINT_MAX] = 0;
    assert_true(store_point_name(name));
}

static void a_batch_that_is_refused_changes_nothing_and_spares_its_neighbours(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book"), found;
    struct store_batch *batches[3];
    struct err err;
    void *user;

    for (int i = 0; i < 3; i++)
        assert_int_equal(store_batch_open(&batches[i], NULL), ERR_OK);
    assert_int_equal(batch_note(batches[0], stream, text_view("one"), NULL), ERR_OK);
    assert_int_equal(batch_stream(batches[1], 50, "other", NULL), ERR_OK);
    assert_int_equal(batch_stream(batches[1], 51, "book", NULL), ERR_OK);
    assert_int_equal(batch_stream(batches[2], 52, "third", NULL), ERR_OK);
    for (int i = 0; i < 3; i++)
        store_submit(store, &batches[i], &batches[i]);
    for (int i = 0; i < 3; i++) {
        assert_null(batches[i]);
        assert_true(store_collect(store, true, &user, &err));
        assert_ptr_equal(user, &batches[i]);
        assert_int_equal(err.code, i == 1 ? ERR_MISMATCH : ERR_OK);
    }
    assert_int_equal(store_find(store, "other", &found, NULL), ERR_ABSENT);
    assert_int_equal(store_find(store, "third", &found, NULL), ERR_OK);
    assert_int_equal(store_batch_open(&batches[0], NULL), ERR_OK);
    assert_int_equal(batch_note(batches[0], 999, text_view("x"), NULL), ERR_OK);
    assert_int_equal(commit(store, &batches[0], &err), ERR_ABSENT);
    store_close(&store);
}

static void the_descriptor_is_readable_while_something_is_finished(void **state)
{
    struct store *store = open_store(folder_of(state));
    struct pollfd poll_fd = {store_descriptor(store), POLLIN, 0};
    struct store_batch *batch;

    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    assert_false(store_collect(store, true, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
        store_submit(store, &batch, NULL);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(poll(&poll_fd, 1, 60000), 1);
        assert_true(store_collect(store, false, NULL, NULL));
    }
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    assert_false(store_collect(store, false, NULL, NULL));
    store_close(&store);
}

static void close_waits_for_what_was_submitted(void **state)
{
    struct store *store = open_store(folder_of(state));
    struct store_batch *batch;
    uint64_t found;

    for (int i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
        assert_int_equal(batch_stream(batch, store_reserve(store), name, NULL), ERR_OK);
        store_submit(store, &batch, NULL);
    }
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_find(store, "s19", &found, NULL), ERR_OK);
    store_close(&store);
}

static void what_is_too_large_is_refused_at_the_door(void **state)
{
    struct store_batch *batch;
    char name[STORE_NAME_MAX + 2];
    struct view parts[1] = {{NULL, 0}};
    struct err err;

    (void)state;
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    memset(name, 'n', sizeof name);
    name[STORE_NAME_MAX + 1] = '\0';
    assert_int_equal(batch_stream(batch, 1, name, &err), ERR_LIMIT);
    name[STORE_NAME_MAX] = '\0';
    assert_int_equal(batch_stream(batch, 1, name, &err), ERR_OK);
    assert_int_equal(batch_stream(batch, 1, "", &err), ERR_LIMIT);
    assert_int_equal(batch_stream(batch, 0, "a", &err), ERR_LIMIT);
    assert_int_equal(batch_stream(batch, STORE_STREAMS_MAX, "a", &err), ERR_LIMIT);
    assert_int_equal(batch_checkpoint(batch, 1, 0, text_view(""), parts, STORE_PARTS_MAX + 1, &err),
                     ERR_LIMIT);
    store_batch_close(&batch);
    assert_null(batch);
    store_batch_close(&batch);
}

static void counters_live_on_and_are_read_by_number(void **state)
{
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    _Atomic uint64_t *counter, *far;

    assert_int_equal(store_counter_read(store, stream), 0);
    assert_int_equal(store_counter(store, stream, &counter, NULL), ERR_OK);
    *counter += 7;
    assert_int_equal(store_counter(store, STORE_STREAMS_MAX - 1, &far, NULL), ERR_OK);
    *far = 9;
    *counter += 1;
    assert_int_equal(store_counter(store, STORE_STREAMS_MAX, &far, NULL), ERR_LIMIT);
    assert_int_equal(store_counter(store, 0, &far, NULL), ERR_LIMIT);
    assert_int_equal(store_counter_read(store, stream), 8);
    assert_int_equal(store_counter_read(store, STORE_STREAMS_MAX - 1), 9);
    store_close(&store);
    store = open_store(folder_of(state));
    assert_int_equal(store_counter_read(store, stream), 8);
    /* Number 2 was never made durable, so whoever gets it counts from 0. */
    assert_int_equal(store_counter_read(store, STORE_STREAMS_MAX - 1), 0);
    store_close(&store);
}

/* Counters of numbers that no stream can have lie behind the end of the map. */
static void a_file_of_counters_beyond_the_map_is_refused(void **state)
{
    const struct store_options write = {.write = true};
    struct store *store = open_store(folder_of(state));
    uint64_t stream = add_stream(store, "book");
    _Atomic uint64_t *counter;
    struct err err;
    char *path;

    assert_int_equal(store_counter(store, stream, &counter, NULL), ERR_OK);
    store_close(&store);
    assert_true(asprintf(&path, "%s/counters", folder_of(state)) > 0);
    assert_int_equal(truncate(path, 16 << 20), 0);
    assert_int_equal(store_open(&store, folder_of(state), &write, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "move it away"));
    assert_int_equal(remove(path), 0);
    store = open_store(folder_of(state));
    store_close(&store);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_new_store_is_empty_and_keeps_its_id),
        STORE_TEST(open_makes_the_folder_with_its_parents),
        STORE_TEST(looking_creates_nothing),
        STORE_TEST(a_stream_is_found_by_its_name_also_later),
        STORE_TEST(each_goes_by_name_and_stops_when_told),
        STORE_TEST(a_note_is_what_was_stored_last),
        STORE_TEST(the_three_newest_checkpoints_are_kept),
        STORE_TEST(a_checkpoint_written_again_is_replaced_with_all_its_parts),
        STORE_TEST(the_meta_value_is_read_alone),
        STORE_TEST(forget_leaves_nothing_and_numbers_are_not_used_again),
        STORE_TEST(savepoints_outlive_the_checkpoints_they_were_copied_from),
        STORE_TEST(a_savepoint_is_dropped_alone_and_its_name_is_free_again),
        STORE_TEST(forget_takes_savepoints_along),
        STORE_TEST(names_of_savepoints_are_plain),
        STORE_TEST(a_batch_that_is_refused_changes_nothing_and_spares_its_neighbours),
        STORE_TEST(the_descriptor_is_readable_while_something_is_finished),
        STORE_TEST(close_waits_for_what_was_submitted),
        STORE_TEST(what_is_too_large_is_refused_at_the_door),
        STORE_TEST(counters_live_on_and_are_read_by_number),
        STORE_TEST(a_file_of_counters_beyond_the_map_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
