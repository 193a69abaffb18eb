/* Ingest by itself: reads what it is granted, from where it is told, and only what was read before. */
#include "stages/ingest/source.h"
#include "tests/stages_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STREAM = 5 };

struct input {
    uint8_t *data;
    size_t bytes;
    char path[512];
    const char *paths[1];
    char *name; /* as announced */
};

static void fill(struct input *in, void **state, size_t bytes)
{
    uint64_t seed = bytes + 1;

    in->bytes = bytes;
    in->data = malloc(bytes + 1);
    require(in->data);
    for (size_t i = 0; i < bytes; i++)
        in->data[i] = (uint8_t)random_next(&seed);
    snprintf(in->path, sizeof in->path, "%s", in_folder(state, "in.txt"));
    in->paths[0] = in->path;
    put_file(in->path, in->data, bytes);
}

static void input_release(struct input *in)
{
    free(in->data);
    free(in->name);
}

static struct driver *start(struct input *in, uint32_t read_bytes)
{
    struct driver *d = driver_new("ingest");
    Riverrun__List list = RIVERRUN__LIST__INIT;
    Riverrun__Control *control;

    d->config.paths = in->paths;
    d->config.path_count = 1;
    d->config.read_bytes = read_bytes;
    driver_start(d);
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LIST, &list), ERR_OK);
    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_ANNOUNCE);
    free(in->name);
    in->name = strdup(control->announce->name);
    assert_int_equal(strcmp(control->announce->source, "-") != 0, strcmp(in->paths[0], "-") != 0);
    riverrun__control__free_unpacked(control, NULL);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_ANNOUNCED);
    assert_int_equal(control->announced->streams, 1);
    riverrun__control__free_unpacked(control, NULL);
    driver_expect_nothing(d);
    return d;
}

static enum err_code send_open(struct driver *d, const struct input *in, uint64_t epoch,
                               struct view cursor)
{
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    open.stream = STREAM;
    open.epoch = epoch;
    open.name = in->name;
    open.cursor = proto_bytes(cursor.data, cursor.bytes);
    return driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open);
}

static void open_stream(struct driver *d, const struct input *in, uint64_t epoch,
                        struct view cursor)
{
    Riverrun__Control *control;

    assert_int_equal(send_open(d, in, epoch, cursor), ERR_OK);
    driver_wait(d, PORT_DOWN);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPENED);
    const Riverrun__Opened *opened = control->opened;
    assert_int_equal(opened->stream, STREAM);
    assert_int_equal(opened->epoch, epoch);
    assert_non_null(opened->fingerprints);
    if (strcmp(in->paths[0], "-")) {
        assert_true(opened->fingerprints->size_known);
        assert_int_equal(opened->fingerprints->source_bytes, in->bytes);
        assert_int_equal(opened->fingerprints->head.len, SOURCE_HEAD_BYTES);
        if (cursor.bytes) {
            assert_int_equal(opened->cursor.len, cursor.bytes);
            assert_memory_equal(opened->cursor.data, cursor.data, cursor.bytes);
        }
    }
    riverrun__control__free_unpacked(control, NULL);
}

static void open_refused(struct driver *d, const struct input *in, uint64_t epoch,
                         struct view cursor, enum err_code code, const char *words)
{
    Riverrun__Control *control;

    assert_int_equal(send_open(d, in, epoch, cursor), ERR_OK);
    driver_wait(d, PORT_DOWN);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_REFUSED);
    assert_int_equal(control->refused->epoch, epoch);
    if (control->refused->code != code || !strstr(control->refused->text, words))
        fail_msg("refused with %u: %s", control->refused->code, control->refused->text);
    riverrun__control__free_unpacked(control, NULL);
}

static void grant(struct driver *d, uint64_t epoch, uint64_t limit)
{
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    grant.stream = STREAM;
    grant.epoch = epoch;
    grant.limit = limit;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), ERR_OK);
    driver_work(d);
}

/* What came since the open: must be source from `from` on, message behind message. Returns how much;
 * *cursor becomes that of the last message. */
static uint64_t take_all(struct driver *d, const struct input *in, uint64_t epoch, uint64_t from,
                         uint64_t position, uint8_t cursor[SOURCE_CURSOR_BYTES], bool *end)
{
    struct msg *msg;
    struct frame f;

    *end = false;
    while ((msg = driver_take(d, PORT_DOWN))) {
        assert_false(*end);
        assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
        assert_int_equal(f.kind, MSG_BYTES);
        assert_int_equal(f.epoch, epoch);
        assert_int_equal(f.position, position);
        assert_int_equal(f.cursor.bytes, SOURCE_CURSOR_BYTES);
        assert_true(f.count <= d->config.read_bytes);
        assert_true(from + position + f.count <= in->bytes);
        if (f.count)
            assert_memory_equal(f.payload.data, in->data + from + position, f.count);
        memcpy(cursor, f.cursor.data, SOURCE_CURSOR_BYTES);
        position += f.count;
        *end = f.flags & MSG_END;
        msg_free(&msg);
    }
    return position;
}

static const struct view ORIGIN = {NULL, 0};

static struct view view_of(const uint8_t cursor[SOURCE_CURSOR_BYTES])
{
    return (struct view){cursor, SOURCE_CURSOR_BYTES};
}

static void grants_are_obeyed_to_the_byte(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    uint64_t position = 0;
    bool end;

    fill(&in, state, 10000);
    struct driver *d = start(&in, 700);
    open_stream(d, &in, 9, ORIGIN);
    driver_work(d);
    driver_expect_nothing(d); /* nothing was granted */
    static const uint64_t limits[] = {1, 2, 700, 701, 3000, 2000, 9999, 10000, 20000};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        uint64_t want = limits[i] > position ? limits[i] : position;
        grant(d, 9, limits[i]); /* a lower one takes nothing back */
        position = take_all(d, &in, 9, 0, position, cursor, &end);
        assert_int_equal(position, want < in.bytes ? want : in.bytes);
        /* The end needs a grant of its own: a byte that is not there. */
        assert_int_equal(end, limits[i] > in.bytes);
    }
    grant(d, 9, 1 << 20);
    driver_expect_nothing(d); /* the end comes once */
    grant(d, 8, 1 << 20);     /* of another open */
    driver_expect_nothing(d);
    driver_free(&d);
    input_release(&in);
}

static void every_cursor_leads_on_to_the_end(void **state)
{
    static const size_t sizes[] = {0, 1, 699, 700, 70000, 200000};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct input in = {0};
        uint8_t cursor[SOURCE_CURSOR_BYTES], last[SOURCE_CURSOR_BYTES];
        uint64_t position = 0, step = sizes[i] / 9 + 1, epoch = 100;
        bool end = false;
        fill(&in, state, sizes[i]);
        struct driver *d = start(&in, 4000);
        open_stream(d, &in, 1, ORIGIN);
        while (!end) {
            grant(d, 1, position + step);
            position = take_all(d, &in, 1, 0, position, cursor, &end);
            struct driver *other = start(&in, 1000);
            uint64_t from = position;
            bool other_end;
            epoch++;
            open_stream(other, &in, epoch, view_of(cursor));
            grant(other, epoch, 1 << 20);
            assert_int_equal(take_all(other, &in, epoch, from, 0, last, &other_end),
                             in.bytes - from);
            assert_true(other_end);
            driver_free(&other);
        }
        assert_int_equal(position, in.bytes);
        driver_free(&d);
        input_release(&in);
    }
}

/* Read half of a file of 300000 bytes. */
static void read_half(struct input *in, void **state, uint8_t cursor[SOURCE_CURSOR_BYTES])
{
    bool end;

    fill(in, state, 300000);
    struct driver *d = start(in, 4000);
    open_stream(d, in, 1, ORIGIN);
    grant(d, 1, 150000);
    assert_int_equal(take_all(d, in, 1, 0, 0, cursor, &end), 150000);
    driver_free(&d);
}

static void a_source_that_changed_before_the_cursor_is_refused(void **state)
{
    static const size_t changed[] = {150000 - 64 * 1024, 149999, 120000};
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];

    read_half(&in, state, cursor);
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        in.data[changed[i]] ^= 1;
        put_file(in.path, in.data, in.bytes);
        struct driver *d = start(&in, 4000);
        open_refused(d, &in, 7, view_of(cursor), ERR_CHANGED, "--restart");
        in.data[changed[i]] ^= 1;
        put_file(in.path, in.data, in.bytes);
        open_stream(d, &in, 8, view_of(cursor));
        driver_free(&d);
    }
    put_file(in.path, in.data, 149999);
    struct driver *d = start(&in, 4000);
    open_refused(d, &in, 7, view_of(cursor), ERR_CHANGED, "--restart");
    driver_free(&d);
    input_release(&in);
}

/* The first 64 KiB and the size are encode's to compare: ingest says what they are. */
static void the_head_is_told_as_it_is_now(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES], heads[2][SOURCE_HEAD_BYTES];

    read_half(&in, state, cursor);
    for (int i = 0; i < 2; i++) {
        struct driver *d = start(&in, 4000);
        Riverrun__Control *control;
        assert_int_equal(send_open(d, &in, 7, view_of(cursor)), ERR_OK);
        driver_work(d);
        control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPENED);
        memcpy(heads[i], control->opened->fingerprints->head.data, SOURCE_HEAD_BYTES);
        riverrun__control__free_unpacked(control, NULL);
        driver_free(&d);
        in.data[SOURCE_WINDOW_BYTES - 1] ^= 1;
        put_file(in.path, in.data, in.bytes);
    }
    assert_memory_not_equal(heads[0], heads[1], SOURCE_HEAD_BYTES);
    input_release(&in);
}

static void a_source_that_shrinks_while_it_is_read_is_refused(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    bool end;
    Riverrun__Control *control;

    fill(&in, state, 100000);
    struct driver *d = start(&in, 4000);
    open_stream(d, &in, 1, ORIGIN);
    grant(d, 1, 8000);
    assert_int_equal(take_all(d, &in, 1, 0, 0, cursor, &end), 8000);
    assert_int_equal(truncate(in.path, 8001), 0);
    grant(d, 1, 50000);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_REFUSED);
    assert_int_equal(control->refused->code, ERR_CHANGED);
    riverrun__control__free_unpacked(control, NULL);
    driver_expect_nothing(d);
    driver_free(&d);
    input_release(&in);
}

static void a_file_that_grows_ends_where_it_ended_at_the_open(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    bool end;

    fill(&in, state, 5000);
    struct driver *d = start(&in, 4000);
    open_stream(d, &in, 1, ORIGIN);
    FILE *file = fopen(in.path, "ae");
    require(file);
    fputs("more", file);
    fclose(file);
    grant(d, 1, 50000);
    assert_int_equal(take_all(d, &in, 1, 0, 0, cursor, &end), 5000);
    assert_true(end);
    driver_free(&d);
    input_release(&in);
}

static void cursors_and_messages_that_are_not_ours_are_refused(void **state)
{
    static const uint8_t bad[SOURCE_CURSOR_BYTES + 1] = {1, 0};
    struct input in = {0};
    Riverrun__Lost lost = RIVERRUN__LOST__INIT;
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    fill(&in, state, 100);
    struct driver *d = start(&in, 4000);
    for (size_t bytes = 1; bytes <= sizeof bad; bytes++)
        if (bytes != SOURCE_CURSOR_BYTES)
            open_refused(d, &in, 7, (struct view){bad, bytes}, ERR_INPUT, "cursor");
    uint8_t pipe_cursor[SOURCE_CURSOR_BYTES] = {1, 1};
    open_refused(d, &in, 7, view_of(pipe_cursor), ERR_CHANGED, "pipe");
    pipe_cursor[1] = 2;
    open_refused(d, &in, 7, view_of(pipe_cursor), ERR_INPUT, "cursor");
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LOST, &lost), ERR_INPUT);
    open.stream = STREAM;
    open.name = proto_text("never announced");
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_OK);
    driver_wait(d, PORT_DOWN);
    Riverrun__Control *control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_REFUSED);
    assert_int_equal(control->refused->stream, STREAM);
    assert_int_equal(control->refused->code, ERR_ABSENT);
    riverrun__control__free_unpacked(control, NULL);
    open.stream = 0;
    open.name = in.name;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_INPUT);
    struct frame f = {.kind = MSG_BYTES, .stream = STREAM};
    assert_int_equal(driver_data(d, PORT_DOWN, &f), ERR_INPUT);
    driver_free(&d);
    input_release(&in);
}

static void a_link_without_room_holds_one_message_back(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    uint64_t position = 0;
    bool end;

    fill(&in, state, 10000);
    struct driver *d = start(&in, 1000);
    open_stream(d, &in, 1, ORIGIN);
    d->data_room = 3;
    grant(d, 1, 100000);
    assert_int_equal(d->progress, STAGE_NO_ROOM);
    position = take_all(d, &in, 1, 0, position, cursor, &end);
    assert_int_equal(position, 3000);
    for (d->data_room = 1; !end; d->data_room = 1) {
        driver_work(d);
        position = take_all(d, &in, 1, 0, position, cursor, &end);
    }
    assert_int_equal(position, 10000);
    driver_free(&d);
    input_release(&in);
}

static void another_open_or_peer_begins_anew(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    bool end;

    fill(&in, state, 10000);
    struct driver *d = start(&in, 1000);
    open_stream(d, &in, 1, ORIGIN);
    d->data_room = 1;
    grant(d, 1, 5000);
    assert_int_equal(take_all(d, &in, 1, 0, 0, cursor, &end), 1000);
    d->data_room = SIZE_MAX;
    driver_event(d, EVENT_PEER, PORT_DOWN); /* a message waits for room: it is gone as well */
    driver_work(d);
    driver_expect_nothing(d);
    grant(d, 1, 9000);
    driver_expect_nothing(d);
    open_stream(d, &in, 2, view_of(cursor));
    grant(d, 2, 2000);
    assert_int_equal(take_all(d, &in, 2, 1000, 0, cursor, &end), 2000);
    open_stream(d, &in, 3, ORIGIN);
    grant(d, 2, 9000);
    driver_expect_nothing(d);
    grant(d, 3, 500);
    assert_int_equal(take_all(d, &in, 3, 0, 0, cursor, &end), 500);
    driver_free(&d);
    input_release(&in);
}

/* ---- A pipe ---- */

/* Standard input becomes a pipe that holds the first bytes of in, and is then closed. */
static void pipe_in(const struct input *in, size_t bytes)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_true(bytes <= 60000); /* a pipe holds as much */
    assert_int_equal(write(ends[1], in->data, bytes), bytes);
    close(ends[1]);
    assert_true(dup2(ends[0], STDIN_FILENO) >= 0);
    close(ends[0]);
}

static void wait_for_end(struct driver *d, const struct input *in, uint64_t epoch, uint64_t from)
{
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    uint64_t position = 0;
    bool end = false;

    grant(d, epoch, 1 << 20);
    while (!end) {
        driver_wait(d, PORT_DOWN);
        position = take_all(d, in, epoch, from, position, cursor, &end);
    }
    assert_int_equal(from + position, in->bytes);
}

static void a_pipe_is_read_again_and_compared_up_to_the_cursor(void **state)
{
    struct input in = {0};
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    bool end;

    fill(&in, state, 50000);
    in.paths[0] = "-";
    pipe_in(&in, in.bytes);
    struct driver *d = start(&in, 1000);
    open_stream(d, &in, 1, ORIGIN);
    grant(d, 1, 20000);
    uint64_t position = take_all(d, &in, 1, 0, 0, cursor, &end);
    assert_int_equal(position, 20000);
    /* Within the run that read it, what was read is gone. */
    open_refused(d, &in, 2, view_of(cursor), ERR_SOURCE, "within a run");
    driver_free(&d);
    pipe_in(&in, in.bytes);
    d = start(&in, 777);
    open_stream(d, &in, 2, view_of(cursor));
    wait_for_end(d, &in, 2, 20000);
    driver_free(&d);
    /* Shorter than what was read. */
    pipe_in(&in, 19999);
    d = start(&in, 1000);
    open_refused(d, &in, 3, view_of(cursor), ERR_CHANGED, "ended at byte 19999");
    driver_free(&d);
    /* The last byte before the cursor differs. */
    in.data[19999] ^= 1;
    pipe_in(&in, in.bytes);
    d = start(&in, 1000);
    open_refused(d, &in, 4, view_of(cursor), ERR_CHANGED, "differ");
    driver_free(&d);
    input_release(&in);
}

/* 35 bytes, where a later one has eight more: nothing is known of what was asked, so the file alone is compared. */
static void a_made_texts_first_cursor_does_not_say_what_was_asked(void **state)
{
    uint8_t cursor[43] = {1, 2};
    struct input in = {0};

    fill(&in, state, 100);
    struct driver *d = start(&in, 1000);
    d->config.reader = "/bin/false"; /* not started: the text is at its end */
    d->config.field = "text";
    cursor[18] = 100;
    cursor[34] = 1;
    open_refused(d, &in, 1, (struct view){cursor, 35}, ERR_CHANGED, "first or last 64 KiB");
    cursor[0] = 2;
    open_refused(d, &in, 2, (struct view){cursor, 43}, ERR_MISMATCH, "begun without --field");
    d->config.field = NULL;
    open_refused(d, &in, 3, (struct view){cursor, 35}, ERR_INPUT, "not one of ours");
    driver_free(&d);
    input_release(&in);
}

static void bye_and_stop_end_it(void **state)
{
    struct input in = {0};
    Riverrun__Bye bye = RIVERRUN__BYE__INIT;

    fill(&in, state, 10);
    struct driver *d = start(&in, 1000);
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_BYE, &bye), ERR_OK);
    driver_work(d);
    assert_int_equal(d->progress, STAGE_DONE);
    assert_int_equal(d->outcome.code, ERR_OK);
    driver_free(&d);
    d = start(&in, 1000);
    driver_event(d, EVENT_STOP, PORT_DOWN);
    driver_work(d);
    assert_int_equal(d->progress, STAGE_DONE);
    assert_int_equal(d->outcome.code, ERR_STOPPED);
    driver_free(&d);
    input_release(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(grants_are_obeyed_to_the_byte),
        STAGE_TEST(every_cursor_leads_on_to_the_end),
        STAGE_TEST(a_source_that_changed_before_the_cursor_is_refused),
        STAGE_TEST(the_head_is_told_as_it_is_now),
        STAGE_TEST(a_source_that_shrinks_while_it_is_read_is_refused),
        STAGE_TEST(a_file_that_grows_ends_where_it_ended_at_the_open),
        STAGE_TEST(cursors_and_messages_that_are_not_ours_are_refused),
        STAGE_TEST(a_link_without_room_holds_one_message_back),
        STAGE_TEST(another_open_or_peer_begins_anew),
        STAGE_TEST(a_pipe_is_read_again_and_compared_up_to_the_cursor),
        STAGE_TEST(a_made_texts_first_cursor_does_not_say_what_was_asked),
        STAGE_TEST(bye_and_stop_end_it),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
