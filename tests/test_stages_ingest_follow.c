/* Ingest, following one file: what is written to it leaves line by line, once and in order, however it is
 * rotated, and every cursor that was given leads on to the same bytes, in another life of the stage too. */
#include "tests/follow_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Files are opened through this, so that a test can rotate just before a certain open. */
static struct {
    void **state;
    const char *name; /* of the path that is waited for */
    int wait;         /* opens of it before the rotation; below 0: none */
} rotation = {.wait = -1};

static void rotate_now(void)
{
    void **state = rotation.state;

    world_move(state, "a.log.1", "a.log.2");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "behind the rotation\n");
}

int open(const char *path, int flags, ...)
{
    const char *name = strrchr(path, '/');

    if (name && rotation.wait >= 0 && strcmp(name + 1, rotation.name) == 0 && rotation.wait-- == 0)
        rotate_now();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

/* ---- Growing ---- */

static void whole_lines_leave_and_half_of_one_waits(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "one\ntw");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "one\n");
    world_append(state, "a.log", "o\nthree\nfou");
    feed_expect(f, "one\ntwo\nthree\n");
    for (int i = 0; i < 3; i++)
        feed_work(f);
    feed_expect(f, "one\ntwo\nthree\n");
    world_append(state, "a.log", "r\n");
    feed_expect(f, "one\ntwo\nthree\nfour\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void a_line_longer_than_a_read_leaves_in_pieces(void **state)
{
    struct feed *f = feed_new(state);
    char line[1000];

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = 0;
    f->read_bytes = 64;
    world_append(state, "a.log", "short\n");
    world_append(state, "a.log", line);
    feed_want(f, "a.log");
    feed_begin(f);
    feed_work(f);
    assert_int_equal(f->bytes,
                     6 + 960); /* 15 pieces of 64; of the 39 bytes left the line may end */
    world_append(state, "a.log", "\nend\n");
    feed_work(f);
    assert_int_equal(f->bytes, 6 + 999 + 5);
    assert_memory_equal(f->text + f->bytes - 6, "x\nend\n", 6);
    feed_expect_all_again(f);
    feed_free(f);
}

static void places_far_beyond_the_head_are_found_again(void **state)
{
    struct feed *f = feed_new(state);
    char line[101];

    f->read_bytes = 65536;
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof line, "%099d\n", i);
        world_append(state, "a.log", line);
        if (i == 0) {
            feed_want(f, "a.log");
            feed_begin(f);
        }
        if (i % 300 == 0)
            feed_work(f);
    }
    feed_work(f);
    assert_int_equal(f->bytes, 300000);
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "new\n");
    feed_work(f);
    assert_int_equal(f->bytes, 300004);
    world_command(state, "gzip", "a.log.1");
    feed_stop(f);
    for (size_t i = 0; i < f->place_count; i++) {
        feed_start(f);
        feed_expect_again(f, &f->places[i], 60000);
        feed_stop(f);
    }
    f->d = NULL;
    feed_free(f);
}

static void grants_are_obeyed_and_wants_are_told_once(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "0123456789\n");
    feed_want(f, "a.log");
    feed_start(f);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    feed_open(f, f->name, (struct view){NULL, 0});
    feed_work(f);
    assert_int_equal(f->wants, 1); /* nothing was granted yet */
    world_append(state, "a.log", "more\n");
    feed_work(f);
    assert_int_equal(f->wants, 1);
    feed_grant(f, 4);
    assert_int_equal(f->bytes, 4);
    assert_int_equal(f->wants, 2);
    feed_grant(f, 2); /* taken back: 4 are sent */
    assert_int_equal(f->bytes, 4);
    assert_int_equal(f->wants, 3);
    feed_grant(f, 16);
    feed_expect(f, "0123456789\nmore\n");
    assert_int_equal(f->wants, 3); /* all of it went: there is nothing to be wanted */
    world_append(state, "a.log", "half");
    feed_work(f);
    assert_int_equal(f->wants, 3); /* nor is half a line */
    world_append(state, "a.log", " whole\n");
    feed_work(f);
    assert_int_equal(f->wants, 4);
    feed_grant(f, 100);
    feed_grant(f, 0); /* all that is granted is taken back */
    world_append(state, "a.log", "last\n");
    feed_work(f);
    feed_expect(f, "0123456789\nmore\nhalf whole\n");
    assert_int_equal(f->wants, 5);
    feed_grant(f, 100);
    feed_expect(f, "0123456789\nmore\nhalf whole\nlast\n");
    feed_free(f);
}

/* ---- Rotation while it is read ---- */

static void a_renamed_file_is_read_to_its_end_before_the_new_one(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n2\n");
    world_move(state, "a.log", "a.log.1");
    feed_work(f);
    world_append(state, "a.log.1", "3\n"); /* the writer has not changed over */
    feed_expect(f, "1\n2\n3\n");
    world_append(state, "a.log", "");
    world_append(state, "a.log.1", "4\n");
    feed_expect(f, "1\n2\n3\n4\n");
    world_append(state, "a.log.1", "5\n");
    world_append(state, "a.log", "6\n");
    feed_expect(f, "1\n2\n3\n4\n5\n6\n");
    world_move(state, "a.log.1", "a.log.2");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "7\n");
    feed_expect(f, "1\n2\n3\n4\n5\n6\n7\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void a_last_line_without_its_newline_gets_one(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\nhalf");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    world_move(state, "a.log", "a.log.1");
    feed_expect(f, "1\n"); /* it may still be written to */
    world_append(state, "a.log", "2\n");
    feed_expect(f, "1\nhalf\n2\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void a_newline_for_which_there_is_no_room_comes_by_itself(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\nhalf");
    feed_want(f, "a.log");
    feed_start(f);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    feed_open(f, f->name, (struct view){NULL, 0});
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "2\n");
    for (uint64_t limit = 1; limit < 20; limit++)
        feed_grant(f, limit);
    feed_expect(f, "1\nhalf\n2\n");
    assert_int_equal(f->place_count, 1 + 9); /* the opened one's, and one a byte */
    feed_expect_all_again(f);
    feed_free(f);
}

static void rotations_faster_than_a_look_are_read_in_order(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    world_append(state, "a.log", "2\n");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "3\n");
    world_age(state, "a.log.1", 30);
    world_move(state, "a.log.1", "a.log.2");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "4\nhalf");
    world_age(state, "a.log.1", 20);
    world_move(state, "a.log.2", "a.log.3");
    world_move(state, "a.log.1", "a.log.2");
    world_command(state, "gzip", "a.log.2");
    world_move(state, "a.log", "a.log.1");
    world_age(state, "a.log.1", 10);
    world_append(state, "a.log", "5\n");
    feed_expect(f, "1\n2\n3\n4\nhalf\n5\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Between the search beside the path and the open at the path, at any of the looks. */
static void a_rotation_between_search_and_open_passes_over_nothing(void **state)
{
    for (int wait = 0; wait < 4; wait++) {
        struct feed *f = feed_new(state);
        world_append(state, "a.log", "1\n");
        feed_want(f, "a.log");
        feed_begin(f);
        feed_expect(f, "1\n");
        world_move(state, "a.log", "a.log.1");
        world_append(state, "a.log", "2\n");
        rotation.state = state;
        rotation.name = "a.log";
        rotation.wait = wait;
        feed_work(f);
        feed_expect(f, rotation.wait < 0 ? "1\n2\nbehind the rotation\n" : "1\n2\n");
        assert_true(wait > 1 || rotation.wait < 0);
        rotation.wait = -1;
        feed_free(f);
        assert_int_equal(unlink(in_folder(state, "a.log")), 0);
        assert_int_equal(unlink(in_folder(state, "a.log.1")), 0);
        if (wait <= 1)
            assert_int_equal(unlink(in_folder(state, "a.log.2")), 0);
    }
}

static void compression_that_changes_times_brings_nothing_again(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log.1", "before us\n");
    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    world_move(state, "a.log.1", "a.log.2");
    world_command(state, "gzip -n",
                  "a.log.2"); /* and touched, as by a compressor that keeps no times */
    world_age(state, "a.log.2.gz", -60);
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "2\n");
    feed_expect(f, "1\n2\n");
    world_age(state, "a.log.2.gz", -60);
    world_command(state, "xz", "a.log.1");
    world_age(state, "a.log.1.xz", -120);
    world_move(state, "a.log.1.xz", "a.log.old.xz"); /* its name does not tell either */
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "3\n");
    feed_expect(f, "1\n2\n3\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Files that hold the same are not the same where their names tell. */
static void lines_that_repeat_are_all_read(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "beat\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "beat\n");
    world_move(state, "a.log", "a.log.3");
    world_age(state, "a.log.3", 30);
    world_append(state, "a.log.2", "beat\n");
    world_command(state, "gzip", "a.log.2");
    world_append(state, "a.log.1", "beat\n");
    world_append(state, "a.log", "beat\n");
    feed_expect(f, "beat\nbeat\nbeat\nbeat\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Some programs count up: the highest number is the newest file. */
static void a_rotation_that_counts_up_is_seen_by_its_times(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log.1", "before us\n");
    world_age(state, "a.log.1", 90);
    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    feed_stop(f);
    world_move(state, "a.log", "a.log.2");
    world_age(state, "a.log.2", 60);
    world_append(state, "a.log.3", "2\n");
    world_age(state, "a.log.3", 30);
    world_command(state, "gzip", "a.log.3");
    world_append(state, "a.log.4", "3\n");
    world_age(state, "a.log.4", 20);
    world_append(state, "a.log", "4\n");
    feed_live_again(f);
    feed_expect(f, "1\n2\n3\n4\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Of a chain of numbers the names tell what came between, whatever the times say; the file that is read
 * is one of the chain by what it holds, when it was compressed and its own name went. */
static void names_tell_what_came_between_where_times_do_not(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log.1", "before us\n");
    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    world_move(state, "a.log.1", "a.log.4");
    world_command(state, "xz", "a.log.4");
    world_age(state, "a.log.4.xz", -600);
    world_move(state, "a.log", "a.log.3");
    world_command(state, "gzip -n", "a.log.3");
    world_age(state, "a.log.3.gz", -500);
    world_append(state, "a.log.2", "2\n");
    world_command(state, "bzip2", "a.log.2");
    world_age(state, "a.log.2.bz2", -400);
    world_append(state, "a.log.1", "3\n");
    world_append(state, "a.log", "4\n");
    feed_expect(f, "1\n2\n3\n4\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void the_rest_of_a_truncated_file_is_read_from_its_copy(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    world_append(state, "a.log", "3\nhalf");
    world_copy(state, "a.log", "a.log.1");
    world_cut(state, "a.log");
    feed_expect(f, "1\n2\n3\n"); /* half may be all of it: decided when the next one begins */
    world_append(state, "a.log", "4\n");
    feed_expect(f, "1\n2\n3\nhalf\n4\n");
    world_copy(state, "a.log", "a.log.1");
    world_cut(state, "a.log");
    world_append(state, "a.log", "5 longer than what was there\n");
    feed_expect(f, "1\n2\n3\nhalf\n4\n5 longer than what was there\n");
    assert_string_equal(f->d->reports, "");
    feed_free(f);
}

/* Its places, with the copies kept. */
static void truncated_files_are_read_again_from_their_copies(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    world_append(state, "a.log", "3\n");
    world_copy(state, "a.log", "a.log-20260101");
    world_cut(state, "a.log");
    world_append(state, "a.log", "4\n5\n");
    feed_expect(f, "1\n2\n3\n4\n5\n");
    world_append(state, "a.log", "6\n");
    world_copy(state, "a.log", "a.log-20260102");
    world_cut(state, "a.log");
    world_append(state, "a.log", "7\n");
    feed_expect(f, "1\n2\n3\n4\n5\n6\n7\n");
    feed_expect_all_again(f);
    world_command(state, "zstd -q --rm", "a.log-20260101");
    world_command(state, "bzip2", "a.log-20260102");
    feed_expect_all_again(f);
    feed_free(f);
}

static void a_file_that_is_truncated_without_a_copy_is_told(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n2\n");
    world_cut(state, "a.log");
    feed_work(f);
    assert_non_null(strstr(f->d->reports, "truncated"));
    feed_stop(f);
    feed_live_again(f); /* the end is in the journal, though nothing follows yet */
    world_append(state, "a.log", "3\n");
    feed_expect(f, "1\n2\n3\n");
    /* What was cut off cannot be read again. */
    feed_open(f, f->name, (struct view){f->places[0].cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "a.log': 0 bytes were read"));
    assert_non_null(strstr(f->why, "--restart"));
    feed_free(f);
}

/* a.log, with a line, followed, then deleted while somebody has it open to write. */
static FILE *delete_under_its_writer(struct feed *f)
{
    FILE *writer;

    world_append(f->state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    writer = fopen(in_folder(f->state, "a.log"), "ae");
    require(writer);
    assert_int_equal(unlink(in_folder(f->state, "a.log")), 0);
    return writer;
}

static void a_deleted_file_is_read_to_its_end_and_awaited(void **state)
{
    struct feed *f = feed_new(state);
    FILE *writer = delete_under_its_writer(f);

    feed_work(f);
    fputs("2\n", writer);
    fflush(writer);
    feed_expect(f, "1\n2\n");
    fputs("3\n", writer);
    fclose(writer);
    world_append(state, "a.log", "4\n");
    feed_expect(f, "1\n2\n3\n4\n");
    for (size_t i = 0; i < f->place_count; i++)
        feed_expect_again(f, &f->places[i], 1000); /* in this life: it is still open */
    feed_free(f);
}

/* Descriptors that lead to name, there or deleted. */
static int descriptors_of(void **state, const char *name)
{
    char link[64], path[4096], want[4096];
    int count = 0;

    snprintf(want, sizeof want, "%s", in_folder(state, name));
    for (int fd = 0; fd < 256; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(link, path, sizeof path - 1);
        path[bytes > 0 ? bytes : 0] = 0;
        count += !strncmp(path, want, strlen(want));
    }
    return count;
}

/* It is kept while somebody may write to it, or a checkpoint have it read again, and asks for checkpoints. */
static void a_deleted_file_is_let_go_when_it_is_over(void **state)
{
    struct feed *f = feed_new(state);
    FILE *writer = delete_under_its_writer(f);
    size_t asked;

    fputs("2\n", writer);
    fflush(writer);
    feed_expect(f, "1\n2\n");
    feed_keep(f, &f->places[f->place_count - 1]);
    feed_work(f);
    assert_int_equal(descriptors_of(state, "a.log"), 2); /* the writer's, and ours */
    asked = f->presses;
    fputs("3\n", writer);
    fclose(writer);
    feed_expect(f, "1\n2\n3\n");
    feed_work(f);
    assert_int_equal(f->presses, asked + 1);
    assert_int_equal(descriptors_of(state, "a.log"), 1);
    feed_keep(f, &f->places[f->place_count - 1]);
    feed_work(f);
    assert_int_equal(descriptors_of(state, "a.log"), 0);
    feed_expect_again(f, &f->places[f->place_count - 1], 1000); /* nothing is needed for that */
    f->sent = 0;
    feed_grant(f, TEXT_MAX);
    world_append(state, "a.log", "4\n");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "5\n");
    feed_expect(f, "1\n2\n3\n4\n5\n");
    feed_free(f);
}

/* More was read than the copy has, and all was truncated again before anybody looked. */
static void what_is_truncated_twice_behind_a_short_copy_is_read(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log.3", "long ago\n");
    world_age(state, "a.log.3", 60);
    world_append(state, "a.log", "1 one\n2 two\n");
    feed_want(f, "a.log");
    feed_begin(f);
    world_age(state, "a.log", 40);
    world_copy(state, "a.log", "a.log.2"); /* and then the third line, before the truncation */
    world_age(state, "a.log.2", 30);
    world_append(state, "a.log", "3 three\n");
    world_age(state, "a.log", 25);
    feed_expect(f, "1 one\n2 two\n3 three\n");
    world_cut(state, "a.log");
    world_append(state, "a.log", "4 four\n");
    world_copy(state, "a.log", "a.log.1");
    world_age(state, "a.log.1", 10);
    world_cut(state, "a.log");
    world_append(state, "a.log", "5 five\n");
    feed_expect(f, "1 one\n2 two\n3 three\n4 four\n5 five\n");
    assert_non_null(strstr(f->d->reports, "no copy of it is beside it"));
    feed_stop(f);
    feed_live_again(f);
    world_append(state, "a.log", "6 six\n");
    feed_expect(f, "1 one\n2 two\n3 three\n4 four\n5 five\n6 six\n");
    feed_free(f);
}

/* The last lines were kept beside it, as `tail -n 2` does, and it was truncated. */
static void what_was_kept_of_a_truncated_file_is_not_read_again(void **state)
{
    const char *const lines =
        "4 a line that is long enough for two of them to be more than is known of an end\n"
        "5 a line that is long enough for two of them to be more than is known of an end\n";
    const char *const kept[] = {"3\n", lines};

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct feed *f = feed_new(state);
        char path[16], old[16], text[512];
        snprintf(path, sizeof path, "%zu.log", i);
        snprintf(old, sizeof old, "%zu.log.old", i);
        snprintf(text, sizeof text, "1\n2\n%s", kept[i]);
        world_append(state, path, text);
        feed_want(f, path);
        feed_begin(f);
        world_age(state, path, 40);
        feed_expect(f, text);
        world_append(state, old, kept[i]);
        world_age(state, old, 20);
        world_cut(state, path);
        feed_work(f);
        world_append(state, path, "new\n");
        strcat(text, "new\n");
        feed_expect(f, text);
        world_command(state, "rm -r", "feed");
        feed_free(f);
    }
}

/* It could be the file that rotation made of the other by its name, were it not followed too. */
static void an_input_is_not_read_as_what_another_left(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "app", "1\n");
    world_append(state, "app-1", "of another\n");
    world_age(state, "app-1", 60);
    feed_want(f, "app");
    feed_want(f, "app-1");
    feed_begin(f);
    assert_non_null(strstr(f->name, "app"));
    assert_null(strstr(f->name, "app-1"));
    world_age(state, "app", 40);
    feed_expect(f, "1\n");
    world_cut(state, "app");
    feed_work(f);
    world_append(state, "app-1", "of another too\n");
    world_append(state, "app", "2\n");
    feed_expect(f, "1\n2\n");
    feed_free(f);
}

/* ---- Rotation while we were away ---- */

/* A folder's file is away, and what it has left is under the name that rotation gave it. */
static void what_is_away_is_read_from_what_rotation_made_of_it(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_append(state, "logs/a.log", "1\n2\n");
    feed_want(f, "logs");
    feed_begin(f);
    feed_expect(f, "1\n2\n");
    feed_stop(f);
    world_move(state, "logs/a.log", "logs/a.log.1");
    world_append(state, "logs/a.log.1", "3\n");
    feed_live_again(f);
    assert_int_equal(f->name_count, 1);
    feed_expect(f, "1\n2\n3\n");
    world_append(state, "logs/a.log", "4\n");
    feed_expect(f, "1\n2\n3\n4\n");
    feed_free(f);
}

static const char *const packers[] = {"true", "gzip", "bzip2", "xz", "zstd -q --rm"};
static const char *const endings[] = {"", ".gz", ".bz2", ".xz", ".zst"};

static void what_was_rotated_while_we_were_away_is_found(void **state)
{
    for (size_t i = 0; i < 5; i++) {
        struct feed *f = feed_new(state);
        char path[32], name[48], first[64];
        snprintf(path, sizeof path, "%zu.log", i);
        snprintf(name, sizeof name, "%zu.log.1", i);
        snprintf(first, sizeof first, "%zu.log.1%s", i, endings[i]);
        world_append(state, path, "1\n2\n");
        feed_want(f, path);
        feed_begin(f);
        feed_expect(f, "1\n2\n");
        feed_stop(f);
        world_append(state, path, "3\nhalf");
        world_move(state, path, name);
        world_command(state, packers[i], name);
        feed_live_again(f);
        feed_expect(f, "1\n2\n3\n"); /* the path is not there */
        world_append(state, path, "4\n");
        feed_expect(f, "1\n2\n3\nhalf\n4\n");
        feed_stop(f);
        /* Twice more, one of them a file that we have not seen. */
        world_append(state, path, "5\n");
        snprintf(name, sizeof name, "%zu.log.3%s", i, endings[i]);
        world_move(state, first, name);
        snprintf(name, sizeof name, "%zu.log.2", i);
        world_age(state, path, 30);
        world_move(state, path, name);
        world_command(state, packers[i], name);
        world_append(state, path, "6\n7");
        snprintf(name, sizeof name, "%zu.log.1", i);
        world_age(state, path, 20);
        world_move(state, path, name);
        world_command(state, packers[i], name);
        world_append(state, path, "8\n");
        feed_live_again(f);
        feed_expect(f, "1\n2\n3\nhalf\n4\n5\n6\n7\n8\n");
        feed_expect_all_again(f);
        world_command(state, "rm -r", "feed");
        feed_free(f);
    }
}

static void what_was_truncated_while_we_were_away_is_read_from_its_copy(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n2\n");
    feed_stop(f);
    world_append(state, "a.log", "3\n");
    world_copy(state, "a.log", "a.log.1");
    world_age(state, "a.log.1", 60);
    world_cut(state, "a.log");
    world_append(state, "a.log", "4\n5\n");
    world_copy(state, "a.log", "a.log.0");
    world_move(state, "a.log.1", "a.log.2");
    world_move(state, "a.log.0", "a.log.1");
    world_age(state, "a.log.1", 30);
    world_cut(state, "a.log");
    world_append(state, "a.log", "6\n");
    feed_live_again(f);
    feed_expect(f, "1\n2\n3\n4\n5\n6\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void a_decision_stands_though_nothing_of_it_had_left(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\nhalf");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    f->wants = 0;
    feed_grant(f, 0);
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "2\n");
    feed_work(f); /* decided, and no byte may leave */
    assert_int_equal(f->wants, 1);
    feed_expect(f, "1\n");
    feed_stop(f);
    world_append(state, "a.log.1", " of a line\n"); /* too late: the end is decided */
    feed_live_again(f);
    feed_expect(f, "1\nhalf\n2\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Who catches up may find the copy before its original is truncated: it is read once. */
static void a_copy_whose_original_still_stands_is_read_once(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    world_copy(state, "a.log", "a.log.2");
    world_cut(state, "a.log");
    world_append(state, "a.log", "2\n");
    world_copy(state, "a.log", "a.log.1");
    feed_expect(f, "1\n2\n");
    world_append(state, "a.log", "written to the original alone\n");
    feed_expect(f, "1\n2\nwritten to the original alone\n");
    world_copy(state, "a.log", "a.log.1");
    world_cut(state, "a.log");
    world_append(state, "a.log", "3\n");
    feed_expect(f, "1\n2\nwritten to the original alone\n3\n");
    feed_expect_all_again(f);
    feed_free(f);
}

/* Opened again, or stopped, while the journal is told that a file came. */
static void a_decision_on_its_way_is_waited_for(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct feed *f = feed_new(state);
        const char *name = i ? "b.log" : "a.log";
        feed_want(f, name);
        feed_begin(f);
        feed_expect(f, "");
        const struct place origin = f->places[f->place_count - 1];
        world_append(state, name, "1\n");
        driver_work(f->d);
        if (i)
            feed_stop(f);
        if (i)
            feed_start(f);
        feed_open(f, f->name, (struct view){origin.cursor, SEGMENT_CURSOR_BYTES});
        feed_grant(f, TEXT_MAX);
        feed_expect(f, "1\n");
        feed_expect_all_again(f);
        feed_free(f);
    }
}

static void a_file_that_comes_is_decided_before_it_is_read(void **state)
{
    struct feed *f = feed_new(state);

    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "");
    world_append(state, "a.log", "1\n2\n");
    feed_expect(f, "1\n2\n");
    feed_stop(f);
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "3\n");
    feed_live_again(f);
    feed_expect(f, "1\n2\n3\n");
    feed_expect_all_again(f); /* from before it was there, too */
    feed_free(f);
}

static void a_place_that_is_nowhere_is_refused(void **state)
{
    struct feed *f = feed_new(state);
    struct place last;

    world_append(state, "a.log", "1\n2\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n2\n");
    feed_stop(f);
    last = f->places[f->place_count - 1];
    world_move(state, "a.log", "kept");
    world_append(state, "a.log", "x\ny\nz\n"); /* whatever inode it has */
    world_append(state, "a.log.1", "1\n3\n");
    feed_start(f);
    feed_open(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "a.log': 4 bytes were read"));
    assert_non_null(strstr(f->why, "put it back"));
    /* Put back, by a copy: another file with the same in it. */
    world_copy(state, "kept", "a.log");
    world_append(state, "a.log", "3\n");
    feed_open(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    feed_grant(f, TEXT_MAX);
    feed_expect(f, "1\n2\n3\n");
    feed_free(f);
}

static void what_was_kept_long_enough_is_forgotten(void **state)
{
    struct feed *f = feed_new(state);
    char line[40], want_text[4000] = "";
    struct place first;

    world_append(state, "a.log", "begin\n");
    feed_want(f, "a.log");
    feed_begin(f);
    strcat(want_text, "begin\n");
    for (int i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "line %d\n", i);
        world_move(state, "a.log", "a.log.1");
        world_append(state, "a.log", line);
        strcat(want_text, line);
        feed_expect(f, want_text);
        feed_keep(f, &f->places[f->place_count - 1]);
    }
    feed_stop(f);
    feed_live_again(f);
    feed_expect(f, want_text);
    first = f->places[0];
    feed_open(f, f->name, (struct view){first.cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    feed_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(whole_lines_leave_and_half_of_one_waits),
        STAGE_TEST(a_line_longer_than_a_read_leaves_in_pieces),
        STAGE_TEST(places_far_beyond_the_head_are_found_again),
        STAGE_TEST(grants_are_obeyed_and_wants_are_told_once),
        STAGE_TEST(a_renamed_file_is_read_to_its_end_before_the_new_one),
        STAGE_TEST(a_last_line_without_its_newline_gets_one),
        STAGE_TEST(a_newline_for_which_there_is_no_room_comes_by_itself),
        STAGE_TEST(rotations_faster_than_a_look_are_read_in_order),
        STAGE_TEST(a_rotation_between_search_and_open_passes_over_nothing),
        STAGE_TEST(compression_that_changes_times_brings_nothing_again),
        STAGE_TEST(lines_that_repeat_are_all_read),
        STAGE_TEST(a_rotation_that_counts_up_is_seen_by_its_times),
        STAGE_TEST(names_tell_what_came_between_where_times_do_not),
        STAGE_TEST(the_rest_of_a_truncated_file_is_read_from_its_copy),
        STAGE_TEST(truncated_files_are_read_again_from_their_copies),
        STAGE_TEST(a_file_that_is_truncated_without_a_copy_is_told),
        STAGE_TEST(a_deleted_file_is_read_to_its_end_and_awaited),
        STAGE_TEST(a_deleted_file_is_let_go_when_it_is_over),
        STAGE_TEST(what_is_truncated_twice_behind_a_short_copy_is_read),
        STAGE_TEST(what_was_kept_of_a_truncated_file_is_not_read_again),
        STAGE_TEST(an_input_is_not_read_as_what_another_left),
        STAGE_TEST(what_is_away_is_read_from_what_rotation_made_of_it),
        STAGE_TEST(what_was_rotated_while_we_were_away_is_found),
        STAGE_TEST(what_was_truncated_while_we_were_away_is_read_from_its_copy),
        STAGE_TEST(a_decision_stands_though_nothing_of_it_had_left),
        STAGE_TEST(a_copy_whose_original_still_stands_is_read_once),
        STAGE_TEST(a_decision_on_its_way_is_waited_for),
        STAGE_TEST(a_file_that_comes_is_decided_before_it_is_read),
        STAGE_TEST(a_place_that_is_nowhere_is_refused),
        STAGE_TEST(what_was_kept_long_enough_is_forgotten),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
