/* Emit by itself: what it writes, what it says is durable, and what it refuses to touch. */
#include "tests/emit_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of 30 records with tokens after 10 and 20; emit is gone. */
static void write_thirty(void **state, struct place tokens[2])
{
    struct driver *d = start(state);

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 10);
    tokens[0] = sync_to(d, &FIRST, 10);
    send_records(d, &FIRST, 10, 20);
    tokens[1] = sync_to(d, &FIRST, 20);
    send_records(d, &FIRST, 20, 30);
    sync_to(d, &FIRST, 30);
    driver_free(&d);
    assert_lines(state, 30);
}

static void cut_file(void **state, size_t bytes)
{
    assert_int_equal(truncate(in_folder(state, "out/book.jsonl"), (off_t)bytes), 0);
}

static void append(void **state, const char *text)
{
    FILE *file = fopen(in_folder(state, "out/book.jsonl"), "ae");

    require(file);
    fputs(text, file);
    fclose(file);
}

/* ---- Writing ---- */

static void a_sync_is_answered_with_the_token_of_exactly_its_place(void **state)
{
    struct driver *d = start(state);
    struct place a, b;
    struct buffer want = lines(7);

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    a = sync_to(d, &FIRST, 0); /* an empty stream is durable at 0 */
    assert_int_equal(a.n, 0);
    assert_int_equal(a.length, 0);
    send_records(d, &FIRST, 0, 7);
    assert_int_equal(send_sync(d, &FIRST, 7), ERR_OK);
    send_records(d, &FIRST, 7, 12); /* before the answer */
    a = expect_durable(d, true);
    assert_int_equal(a.n, 7);
    assert_int_equal(a.length, want.bytes);
    b = sync_to(d, &FIRST, 12);
    assert_int_equal(b.n, 12);
    assert_true(memcmp(a.chain, b.chain, SINK_CHAIN_BYTES));
    buffer_release(&want);
    driver_free(&d);
    assert_lines(state, 12);
}

static void it_syncs_unasked_at_half_a_window_and_after_a_second(void **state)
{
    struct driver *d = start(state);
    char line[100];
    uint64_t bytes = 0, n = 0;

    d->config.record_window_bytes = 4000;
    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    for (; bytes < 2000; n++) {
        driver_work(d);
        driver_expect_nothing(d);
        bytes += line_of(n, line);
        send_records(d, &FIRST, n, n + 1);
    }
    assert_int_equal(expect_durable(d, false).n, n);
    assert_int_equal(d->ops->deadline(d->self), UINT64_MAX);
    send_records(d, &FIRST, n, n + 1);
    driver_work(d);
    assert_int_equal(d->ops->deadline(d->self), d->now_ms + 1000);
    d->now_ms += 999;
    driver_work(d);
    driver_expect_nothing(d);
    d->now_ms++;
    assert_int_equal(expect_durable(d, false).n, n + 1);
    driver_free(&d);
}

static void a_gap_or_a_torn_message_resets_the_link(void **state)
{
    struct driver *d = start(state);
    char line[100];

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 3);
    assert_int_equal(send_line(d, &FIRST, 4, line, line_of(4, line), false), ERR_INPUT);
    assert_int_equal(send_line(d, &FIRST, 2, line, line_of(2, line), false), ERR_INPUT);
    assert_int_equal(send_sync(d, &FIRST, 2), ERR_INPUT);
    assert_int_equal(send_sync(d, &FIRST, 4), ERR_INPUT);
    struct open none = FIRST;
    none.count = 0;
    assert_int_equal(send_open(d, &none), ERR_INPUT);
    driver_free(&d);
}

static void records_of_another_owner_or_generation_are_dropped(void **state)
{
    struct driver *d = start(state);
    struct open other = FIRST;

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    send_records(d, &FIRST, 0, 3);
    other.owner = 2;
    send_records(d, &other, 3, 5);
    assert_int_equal(send_sync(d, &other, 5), ERR_OK);
    other = FIRST;
    other.generation = 2;
    send_records(d, &other, 3, 5);
    driver_work(d);
    driver_expect_nothing(d);
    assert_int_equal(sync_to(d, &FIRST, 3).n, 3);
    driver_free(&d);
    assert_lines(state, 3);
}

/* ---- Opening again ---- */

/* Written: an fsync that failed before may have left their pages clean, and not on the disk. */
static void records_sent_again_are_compared_and_written_to_the_same_place(void **state)
{
    static const struct timespec long_ago[2] = {{1, 0}, {1, 0}};
    struct place tokens[2];
    struct stat before, after;

    write_thirty(state, tokens);
    assert_int_equal(utimensat(AT_FDCWD, in_folder(state, "out/book.jsonl"), long_ago, 0), 0);
    assert_int_equal(stat(in_folder(state, "out/book.jsonl"), &before), 0);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 2, &tokens[1]);
    assert_int_equal(open_sink(d, &o, NULL), 20);
    send_records(d, &o, 20, 28);
    assert_int_equal(sync_to(d, &o, 28).n, 28);
    assert_int_equal(stat(in_folder(state, "out/book.jsonl"), &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_not_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
    send_records(d, &o, 28, 40);
    assert_int_equal(sync_to(d, &o, 40).n, 40);
    driver_free(&d);
    assert_lines(state, 40);
}

static void a_torn_end_is_cut_wherever_it_is_torn(void **state)
{
    static const char *const ends[] = {
        "", "{", "{\"seq\":", "\n", "nonsense\n", "{\"seq\":1}garbage\n"};
    struct place tokens[2];
    struct buffer whole = lines(30);

    write_thirty(state, tokens);
    struct open o = FIRST;
    for (size_t bytes = tokens[1].length; bytes < whole.bytes; bytes += 7) {
        const char *end = ends[bytes % 6];
        put_file(in_folder(state, "out/book.jsonl"), whole.data, bytes);
        append(state, end);
        struct driver *d = start(state);
        uint64_t owner = o.owner;
        o = resume(&FIRST, 2, &tokens[1]);
        o.owner = owner + 1;
        assert_int_equal(open_sink(d, &o, NULL), 20);
        send_records(d, &o, 20, 31);
        assert_int_equal(sync_to(d, &o, 31).n, 31);
        driver_free(&d);
        assert_lines(state, 31);
    }
    buffer_release(&whole);
}

static void an_edited_line_is_refused_and_not_touched(void **state)
{
    struct place tokens[2];
    size_t bytes;

    write_thirty(state, tokens);
    uint8_t *file = get_file(in_folder(state, "out/book.jsonl"), &bytes);
    *strstr((char *)file, "line 625") = 'L'; /* record 25, behind the token */
    put_file(in_folder(state, "out/book.jsonl"), file, bytes);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 2, &tokens[1]);
    assert_int_equal(open_sink(d, &o, NULL), 20);
    send_records(d, &o, 20, 27);
    expect_refused(d, ERR_SINK, "--restart");
    driver_free(&d);
    assert_file(state, file, bytes);
    /* Before the token it is found when the sink is opened. */
    *strstr((char *)file, "line 25") = 'L';
    put_file(in_folder(state, "out/book.jsonl"), file, bytes);
    d = start(state);
    o.owner++;
    open_refused(d, &o, ERR_SINK, "--restart");
    driver_free(&d);
    assert_file(state, file, bytes);
    free(file);
}

/* A text may hold U+0000; such a line is as whole as any other. */
static void an_edited_line_with_a_zero_character_is_refused_too(void **state)
{
    static const char first[] = "{\"seq\":0,\"text\":\"a\\u0000b\"}\n",
                      second[] = "{\"seq\":1,\"text\":\"x\\u0000y\"}\n",
                      edited[] = "{\"seq\":1,\"text\":\"z\\u0000y\"}\n";
    struct driver *d = start(state);
    struct buffer want = buffer_of(1000);
    struct place token;

    assert_int_equal(open_sink(d, &FIRST, NULL), 0);
    assert_int_equal(send_line(d, &FIRST, 0, first, sizeof first - 1, false), ERR_OK);
    token = sync_to(d, &FIRST, 1);
    driver_free(&d);
    append(state, edited);
    d = start(state);
    struct open o = resume(&FIRST, 1, &token);
    assert_int_equal(open_sink(d, &o, NULL), 1);
    assert_int_equal(send_line(d, &o, 1, second, sizeof second - 1, false), ERR_OK);
    expect_refused(d, ERR_SINK, "--restart");
    driver_free(&d);
    buffer_put(&want, first, sizeof first - 1);
    buffer_put(&want, edited, sizeof edited - 1);
    assert_file(state, want.data, want.bytes);
    buffer_release(&want);
}

/* A branch or an import: records are numbered on, the file begins with the first of them. */
static void a_file_may_begin_at_a_later_record(void **state)
{
    struct driver *d = start(state);
    struct open o = FIRST;
    struct place token;
    size_t bytes;

    o.tokens[0] = (struct place){.generation = 1, .n = 100, .first = 100};
    assert_int_equal(open_sink(d, &o, NULL), 100);
    send_records(d, &o, 100, 110);
    token = sync_to(d, &o, 110);
    assert_int_equal(token.n, 110);
    assert_int_equal(token.first, 100);
    send_records(d, &o, 110, 115);
    sync_to(d, &o, 115);
    driver_free(&d);
    free(get_file(in_folder(state, "out/book.jsonl"), &bytes));
    d = start(state);
    o = resume(&o, 1, &token);
    assert_int_equal(open_sink(d, &o, NULL), 110);
    send_records(d, &o, 110, 120); /* five are compared, five are written */
    token = sync_to(d, &o, 120);
    assert_true(token.length > bytes);
    driver_free(&d);
    /* Counted from 0 the file has not so many lines; counted from 101, one too many. */
    for (token.first = 0; token.first <= 101; token.first += 101) {
        d = start(state);
        o = resume(&o, 1, &token);
        open_refused(d, &o, ERR_SINK, "is not what was written");
        driver_free(&d);
    }
}

static void a_shorter_file_goes_back_to_an_older_token_with_a_warning(void **state)
{
    struct place tokens[2];
    bool warned = false;

    write_thirty(state, tokens);
    cut_file(state, tokens[1].length - 1);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 2, &tokens[1]);
    assert_int_equal(open_sink(d, &o, &warned), 10);
    assert_true(warned);
    send_records(d, &o, 10, 30);
    assert_int_equal(sync_to(d, &o, 30).n, 30);
    driver_free(&d);
    assert_lines(state, 30);
    cut_file(state, tokens[0].length - 1);
    d = start(state);
    o.owner++;
    open_refused(d, &o, ERR_SINK, "--restart");
    driver_free(&d);
}

/* The file lost its end and a run went on from an older token: the next tokens are newer and shorter than those that
 * were kept before. */
static void a_newer_token_may_be_shorter_than_those_before_it(void **state)
{
    struct place tokens[2];
    bool warned = true;

    write_thirty(state, tokens);
    cut_file(state, tokens[0].length);
    struct driver *d = start(state);
    struct place kept[2] = {tokens[1], tokens[0]};
    struct open o = resume(&FIRST, 2, &kept[1]);
    assert_int_equal(open_sink(d, &o, &warned), tokens[0].n);
    assert_false(warned);
    send_records(d, &o, tokens[0].n, 30);
    assert_int_equal(sync_to(d, &o, 30).n, 30);
    driver_free(&d);
    assert_lines(state, 30);
}

static void a_missing_file_is_refused_unless_nothing_was_written(void **state)
{
    struct place tokens[2];

    write_thirty(state, tokens);
    assert_int_equal(unlink(in_folder(state, "out/book.jsonl")), 0);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 2, &tokens[1]);
    open_refused(d, &o, ERR_SINK, "--restart");
    assert_int_equal(access(in_folder(state, "out/book.jsonl"), F_OK), -1);
    o.count = 1;
    o.tokens[0] = (struct place){.generation = 1};
    assert_int_equal(open_sink(d, &o, NULL), 0);
    driver_free(&d);
}

static void a_finished_file_that_goes_on_is_refused(void **state)
{
    struct place tokens[2];

    write_thirty(state, tokens);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 2, &tokens[1]);
    o.finished = true;
    open_refused(d, &o, ERR_SINK, "--restart");
    driver_free(&d);
    assert_lines(state, 30);
}

static void nothing_may_follow_the_document_record(void **state)
{
    struct place tokens[2];
    char line[100];

    write_thirty(state, tokens);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 1, &tokens[1]);
    assert_int_equal(open_sink(d, &o, NULL), 20);
    send_records(d, &o, 20, 24);
    assert_int_equal(send_line(d, &o, 24, line, line_of(24, line), true), ERR_OK);
    expect_refused(d, ERR_SINK, "document record");
    driver_free(&d);
    assert_lines(state, 30);
}

/* ---- Whose file it is ---- */

static void a_foreign_file_is_not_touched(void **state)
{
    static const char text[] = "{\"mine\":1}\n";
    struct driver *d;

    assert_int_equal(mkdir(in_folder(state, "out"), 0777), 0);
    put_file(in_folder(state, "out/book.jsonl"), text, sizeof text - 1);
    d = start(state);
    open_refused(d, &FIRST, ERR_SINK, "not written by this job");
    driver_free(&d);
    assert_file(state, text, sizeof text - 1);
}

static void a_file_of_another_store_is_not_touched(void **state)
{
    struct place tokens[2];

    write_thirty(state, tokens);
    struct driver *d = start(state);
    struct open o = FIRST;
    o.store = store_b;
    o.owner = 99;
    open_refused(d, &o, ERR_SINK, "not written by this job");
    o.generation = 7;
    open_refused(d, &o, ERR_SINK, "not written by this job");
    driver_free(&d);
    assert_lines(state, 30);
}

static void a_higher_generation_cuts_and_a_lower_owner_is_refused(void **state)
{
    struct place tokens[2];

    write_thirty(state, tokens);
    struct driver *d = start(state);
    struct open o = FIRST;
    o.generation = 2;
    o.owner = 5;
    o.tokens[0] = (struct place){.generation = 2};
    assert_int_equal(open_sink(d, &o, NULL), 0);
    send_records(d, &o, 0, 4);
    sync_to(d, &o, 4);
    struct open old = resume(&FIRST, 2, &tokens[1]); /* was stopped, superseded and woken */
    open_refused(d, &old, ERR_BUSY, "newer run");
    send_records(d, &o, 4, 5); /* the newer one goes on undisturbed */
    sync_to(d, &o, 5);
    driver_free(&d);
    assert_lines(state, 5);
    d = start(state);
    open_refused(d, &old, ERR_BUSY, "newer run");
    old.owner = 6; /* a store put back from a copy */
    open_refused(d, &old, ERR_BUSY, "newer run");
    driver_free(&d);
    assert_lines(state, 5);
}

static void an_accepted_change_cuts_to_its_own_token(void **state)
{
    struct place tokens[2];

    write_thirty(state, tokens);
    struct driver *d = start(state);
    struct open o = resume(&FIRST, 1, &tokens[1]);
    o.generation = 2;
    assert_int_equal(open_sink(d, &o, NULL), 20);
    driver_free(&d);
    assert_lines(state, 20);
}

static void a_second_process_is_kept_out(void **state)
{
    struct driver *a = start(state), *b = start(state);
    struct open o = FIRST;

    assert_int_equal(open_sink(a, &FIRST, NULL), 0);
    send_records(a, &FIRST, 0, 3);
    o.owner = 2;
    open_refused(b, &o, ERR_BUSY, "in use");
    assert_int_equal(sync_to(a, &FIRST, 3).n, 3);
    driver_free(&a);
    assert_int_equal(open_sink(b, &o, NULL), 0);
    driver_free(&b);
}

/* Encode came back while a sync was under way: that one's descriptor must not keep the lock. */
static void a_sink_is_opened_again_while_its_sync_is_under_way(void **state)
{
    struct driver *d = start(state);
    struct open o = FIRST;

    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(open_sink(d, &o, NULL), 0);
        send_records(d, &o, 0, 400);
        assert_int_equal(send_sync(d, &o, 400), ERR_OK);
        driver_work(d);
        driver_event(d, i % 2 ? EVENT_PEER : EVENT_PEER_GONE, PORT_UP);
        driver_drop_sent(d);
        o.owner++;
    }
    assert_int_equal(open_sink(d, &o, NULL), 0);
    send_records(d, &o, 0, 400);
    assert_int_equal(sync_to(d, &o, 400).n, 400);
    driver_free(&d);
    assert_lines(state, 400);
}

/* ---- Ends ---- */

static void bye_and_stop_end_it(void **state)
{
    Riverrun__Bye bye = RIVERRUN__BYE__INIT;
    struct driver *d = start(state);

    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_BYE, &bye), ERR_OK);
    driver_work(d);
    assert_int_equal(d->progress, STAGE_DONE);
    assert_int_equal(d->outcome.code, ERR_OK);
    driver_free(&d);
    d = start(state);
    driver_event(d, EVENT_STOP, PORT_UP);
    driver_work(d);
    assert_int_equal(d->progress, STAGE_DONE);
    assert_int_equal(d->outcome.code, ERR_STOPPED);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(a_sync_is_answered_with_the_token_of_exactly_its_place),
        STAGE_TEST(it_syncs_unasked_at_half_a_window_and_after_a_second),
        STAGE_TEST(a_gap_or_a_torn_message_resets_the_link),
        STAGE_TEST(records_of_another_owner_or_generation_are_dropped),
        STAGE_TEST(records_sent_again_are_compared_and_written_to_the_same_place),
        STAGE_TEST(a_torn_end_is_cut_wherever_it_is_torn),
        STAGE_TEST(an_edited_line_is_refused_and_not_touched),
        STAGE_TEST(an_edited_line_with_a_zero_character_is_refused_too),
        STAGE_TEST(a_file_may_begin_at_a_later_record),
        STAGE_TEST(a_shorter_file_goes_back_to_an_older_token_with_a_warning),
        STAGE_TEST(a_newer_token_may_be_shorter_than_those_before_it),
        STAGE_TEST(a_missing_file_is_refused_unless_nothing_was_written),
        STAGE_TEST(a_finished_file_that_goes_on_is_refused),
        STAGE_TEST(nothing_may_follow_the_document_record),
        STAGE_TEST(a_foreign_file_is_not_touched),
        STAGE_TEST(a_file_of_another_store_is_not_touched),
        STAGE_TEST(a_higher_generation_cuts_and_a_lower_owner_is_refused),
        STAGE_TEST(an_accepted_change_cuts_to_its_own_token),
        STAGE_TEST(a_second_process_is_kept_out),
        STAGE_TEST(a_sink_is_opened_again_while_its_sync_is_under_way),
        STAGE_TEST(bye_and_stop_end_it),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
