/* Tokenize by itself: bytes of several streams in, tokens out, cursors nested, what is not its own
 * dropped, what is missing noticed. The text itself is test_stages_text's. */
#include "stages/tokenize/text.h"
#include "tests/neox_file.h"
#include "tests/stages_help.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

static struct driver *start(void)
{
    struct driver *d = driver_new("tokenize");
    Riverrun__Control *control;

    driver_start(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LOST); /* upstream is there: ask */
    riverrun__control__free_unpacked(control, NULL);
    driver_expect_nothing(d);
    return d;
}

/* Open, and what arrives upstream: the cursor with tokenize's part taken off. */
static void send_open(struct driver *d, uint64_t stream, uint64_t epoch, const char *normalize,
                      struct view cursor, struct view upstream)
{
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    Riverrun__Control *control;

    open.stream = stream;
    open.epoch = epoch;
    open.name = proto_text("book");
    open.normalize = proto_text(normalize);
    open.cursor = proto_bytes(cursor.data, cursor.bytes);
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_OK);
    driver_work(d);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_OPEN);
    assert_int_equal(control->open->stream, stream);
    assert_int_equal(control->open->epoch, epoch);
    assert_string_equal(control->open->name, "book");
    assert_int_equal(control->open->cursor.len, upstream.bytes);
    if (upstream.bytes)
        assert_memory_equal(control->open->cursor.data, upstream.data, upstream.bytes);
    riverrun__control__free_unpacked(control, NULL);
}

static enum err_code answer_opened(struct driver *d, uint64_t stream, uint64_t epoch,
                                   struct view cursor)
{
    Riverrun__Opened opened = RIVERRUN__OPENED__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;

    prints.size_known = true;
    prints.source_bytes = 12345;
    opened.stream = stream;
    opened.epoch = epoch;
    opened.fingerprints = &prints;
    opened.cursor = proto_bytes(cursor.data, cursor.bytes);
    return driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_OPENED, &opened);
}

static void expect_opened(struct driver *d, uint64_t stream, uint64_t epoch, const char *normalize)
{
    Riverrun__Control *control;

    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPENED);
    assert_int_equal(control->opened->stream, stream);
    assert_int_equal(control->opened->epoch, epoch);
    assert_int_equal(control->opened->vocab, 256);
    const Riverrun__Fingerprints *prints = control->opened->fingerprints;
    assert_int_equal(prints->source_bytes, 12345);
    assert_string_equal(prints->tokenizer, "bytes");
    assert_string_equal(prints->normalize, normalize);
    assert_string_equal(prints->unicode, utf8proc_unicode_version());
    riverrun__control__free_unpacked(control, NULL);
}

static struct view text_view(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

static void open_stream(struct driver *d, uint64_t stream, uint64_t epoch)
{
    send_open(d, stream, epoch, "none", (struct view){NULL, 0}, (struct view){NULL, 0});
    assert_int_equal(answer_opened(d, stream, epoch, text_view("start")), ERR_OK);
    expect_opened(d, stream, epoch, "none");
}

static enum err_code send_bytes(struct driver *d, uint64_t stream, uint64_t epoch,
                                uint64_t position, const char *text, const char *cursor, bool end)
{
    struct frame f = {.kind = MSG_BYTES,
                      .flags = end ? MSG_END : 0,
                      .stream = stream,
                      .epoch = epoch,
                      .position = position,
                      .count = (uint32_t)strlen(text),
                      .cursor = text_view(cursor),
                      .payload = text_view(text)};

    return driver_data(d, PORT_UP, &f);
}

/* The next message must be the tokens of text, at position, with a cursor of skip bytes behind
 * upstream's. */
static void expect_tokens(struct driver *d, uint64_t stream, uint64_t epoch, uint64_t position,
                          const char *text, uint32_t skip, const char *upstream, bool end)
{
    struct frame f;
    struct frame_tokens t;

    driver_work(d);
    struct msg *msg = driver_expect_data(d, PORT_DOWN, MSG_TOKENS, &f);
    assert_int_equal(f.stream, stream);
    assert_int_equal(f.epoch, epoch);
    assert_int_equal(f.position, position);
    assert_int_equal(f.count, strlen(text));
    assert_int_equal(f.flags & MSG_END, end ? MSG_END : 0);
    assert_int_equal(msg_read_tokens(&f, &t, NULL), ERR_OK);
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(load_u32(t.ids + 4 * i), (uint8_t)text[i]);
        assert_int_equal(load_u32(t.source + 4 * i), 1);
        assert_int_equal(load_u16(t.text + 2 * i), 1);
    }
    assert_memory_equal(t.bytes, text, f.count);
    assert_int_equal(f.cursor.bytes, TEXT_CURSOR_BYTES + strlen(upstream));
    assert_int_equal(load_u32(f.cursor.data + 3), skip);
    assert_memory_equal(f.cursor.data + TEXT_CURSOR_BYTES, upstream, strlen(upstream));
    msg_free(&msg);
}

static void bytes_become_tokens_with_cursors_that_nest(void **state)
{
    struct driver *d = start();

    (void)state;
    open_stream(d, 1, 10);
    assert_int_equal(send_bytes(d, 1, 10, 0, "hello", "after-5", false), ERR_OK);
    expect_tokens(d, 1, 10, 0, "hello", 0, "after-5", false);
    assert_int_equal(send_bytes(d, 1, 10, 5, " you", "after-9", false), ERR_OK);
    expect_tokens(d, 1, 10, 5, " you", 0, "after-9", false);
    assert_int_equal(send_bytes(d, 1, 10, 9, "", "end", true), ERR_OK);
    expect_tokens(d, 1, 10, 9, "", 0, "end", true);
    driver_expect_nothing(d);
    driver_free(&d);
}

/* Two breaks in what is read at once: each ends a message. */
static void a_break_ends_a_message_of_tokens(void **state)
{
    struct driver *d = start();
    struct frame f = {.kind = MSG_BYTES, .stream = 1, .epoch = 10, .flags = MSG_BREAK};
    static const char *const parts[] = {"one\n at\n", "two\n", "three"};
    struct msg *msg;

    (void)state;
    open_stream(d, 1, 10);
    for (size_t i = 0; i < 3; i++) {
        f.payload = text_view(parts[i]);
        f.count = (uint32_t)f.payload.bytes;
        f.cursor = text_view("cursor");
        f.flags = i < 2 ? MSG_BREAK : 0;
        assert_int_equal(driver_data(d, PORT_UP, &f), ERR_OK);
        f.position += f.count;
    }
    driver_work(d);
    for (size_t i = 0; i < 3; i++) {
        msg = driver_expect_data(d, PORT_DOWN, MSG_TOKENS, &f);
        assert_int_equal(f.count, strlen(parts[i]));
        assert_int_equal(f.flags, i < 2 ? MSG_BREAK : 0);
        msg_free(&msg);
    }
    driver_expect_nothing(d);
    driver_free(&d);
}

/* What begins with a message's first byte begins with the first token of a message, whatever came before. */
static void a_place_begins_a_message_of_tokens(void **state)
{
    struct driver *d = start();
    struct frame f = {.kind = MSG_BYTES, .stream = 1, .epoch = 10};
    static const char *const parts[] = {"one", " and", "two", "three"}, *const places[] = {
                                                                            "", "", "\2",
                                                                            "\1b.txt"};
    static const char *const want[] = {"one and", "two", "three"};
    struct msg *msg;

    (void)state;
    open_stream(d, 1, 10);
    for (size_t i = 0; i < 4; i++) {
        f.payload = text_view(parts[i]);
        f.count = (uint32_t)f.payload.bytes;
        f.cursor = text_view("cursor");
        f.place = text_view(places[i]);
        assert_int_equal(driver_data(d, PORT_UP, &f), ERR_OK);
        f.position += f.count;
    }
    driver_work(d);
    for (size_t i = 0; i < 3; i++) {
        msg = driver_expect_data(d, PORT_DOWN, MSG_TOKENS, &f);
        assert_int_equal(f.count, strlen(want[i]));
        assert_int_equal(f.flags, i ? MSG_PLACE : 0);
        assert_int_equal(f.place.bytes, strlen(places[i + 1]));
        if (i)
            assert_memory_equal(f.place.data, places[i + 1], f.place.bytes);
        msg_free(&msg);
    }
    driver_expect_nothing(d);
    driver_free(&d);
}

static void lines_that_end_with_cr_alone_are_told(void **state)
{
    static const struct {
        const char *parts[2];
        bool told;
    } cases[] = {{{"one\rtwo\r", "three\r"}, true},
                 {{"one\rtwo\r", "three\n"}, false},
                 {{"one\n", "two\r\r\r"}, false},
                 {{"one\rand", " the same\r"}, false},
                 {{"one", " two"}, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct driver *d = start();
        uint64_t position = 0;
        open_stream(d, 1, 10);
        for (size_t k = 0; k < 2; k++) {
            const char *part = cases[i].parts[k];
            assert_int_equal(send_bytes(d, 1, 10, position, part, "cursor", k == 1), ERR_OK);
            position += strlen(part);
            driver_work(d);
        }
        for (struct msg *msg; (msg = driver_take(d, PORT_DOWN)); msg_free(&msg))
            continue;
        assert_int_equal(strstr(d->reports, "CR alone") != NULL, cases[i].told);
        driver_free(&d);
    }
}

static void open_idle(struct driver *d, uint64_t stream)
{
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    struct frame f = {.kind = MSG_BYTES, .stream = stream, .epoch = 1};

    open.stream = stream;
    open.epoch = 1;
    open.name = proto_text("some+file+of+a+log");
    open.normalize = proto_text("none");
    open.line_edges = true;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_OK);
    assert_int_equal(answer_opened(d, stream, 1, text_view("a cursor of ingest's")), ERR_OK);
    for (int line = 0; line < 3; line++, f.position += f.count) {
        f.payload = text_view("the river ran\n");
        f.count = (uint32_t)f.payload.bytes;
        f.cursor = text_view("a cursor of ingest's");
        assert_int_equal(driver_data(d, PORT_UP, &f), ERR_OK);
        driver_work(d);
    }
    driver_drop_sent(d);
}

/* With NeoX's reader of half a megabyte, ten thousand streams that rest would need five gigabytes. */
static void a_stream_that_rests_costs_little(void **state)
{
    enum { STREAMS = 2000 };
    struct driver *d = driver_new("tokenize");
    const char *path = in_folder(state, "neox.json");
    FILE *file = fopen(path, "we");
    size_t before, each;

    require(file);
    neox_write(file);
    fclose(file);
    d->config.vocab = path;
    driver_start(d);
    open_idle(d, 1);
    before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (uint64_t stream = 2; stream < 2 + STREAMS; stream++)
        open_idle(d, stream);
    each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / STREAMS;
    print_message("tokenize: %zu bytes a stream that rests\n", each);
    assert_true(each < 2048); /* 0 where a sanitizer has its own allocator */
    driver_free(&d);
}

static void a_place_between_messages_is_passed_over_and_granted_for(void **state)
{
    /* 3 bytes of source behind what upstream calls "up". */
    static const uint8_t cursor[] = {1, 0, 0, 3, 0, 0, 0, 'u', 'p'};
    struct driver *d = start();
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;
    Riverrun__Control *control;

    (void)state;
    send_open(d, 1, 10, "none", (struct view){cursor, sizeof cursor}, text_view("up"));
    assert_int_equal(answer_opened(d, 1, 10, text_view("up")), ERR_OK);
    expect_opened(d, 1, 10, "none");
    grant.stream = 1;
    grant.epoch = 10;
    grant.limit = 100;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), ERR_OK);
    driver_work(d);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_GRANT);
    assert_int_equal(control->grant->limit, 103);
    riverrun__control__free_unpacked(control, NULL);
    assert_int_equal(send_bytes(d, 1, 10, 0, "ab", "m1", false), ERR_OK);
    driver_work(d);
    driver_expect_nothing(d); /* all of it was read before */
    assert_int_equal(send_bytes(d, 1, 10, 2, "cde", "m2", true), ERR_OK);
    expect_tokens(d, 1, 10, 0, "de", 0, "m2", true);
    driver_free(&d);
}

static void what_is_of_another_open_is_dropped(void **state)
{
    struct driver *d = start();
    Riverrun__Refused refused = RIVERRUN__REFUSED__INIT;
    Riverrun__Control *control;

    (void)state;
    open_stream(d, 1, 10);
    assert_int_equal(send_bytes(d, 1, 9, 77, "old", "x", false), ERR_OK);
    assert_int_equal(send_bytes(d, 2, 10, 77, "other", "x", false), ERR_OK);
    assert_int_equal(answer_opened(d, 1, 9, text_view("x")), ERR_OK);
    driver_work(d);
    driver_expect_nothing(d);
    open_stream(d, 1, 11); /* a fresh epoch begins anew */
    assert_int_equal(send_bytes(d, 1, 10, 0, "old", "x", false), ERR_OK);
    assert_int_equal(send_bytes(d, 1, 11, 0, "new", "y", false), ERR_OK);
    expect_tokens(d, 1, 11, 0, "new", 0, "y", false);
    refused.stream = 1;
    refused.epoch = 11;
    refused.text = proto_text("gone");
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_REFUSED, &refused), ERR_OK);
    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_REFUSED);
    riverrun__control__free_unpacked(control, NULL);
    assert_int_equal(send_bytes(d, 1, 11, 3, "more", "z", false), ERR_OK);
    driver_work(d);
    driver_expect_nothing(d);
    driver_free(&d);
}

static void a_gap_resets_the_link(void **state)
{
    struct driver *d = start();

    (void)state;
    send_open(d, 1, 10, "none", (struct view){NULL, 0}, (struct view){NULL, 0});
    assert_int_equal(send_bytes(d, 1, 10, 0, "early", "x", false), ERR_INPUT); /* not yet opened */
    assert_int_equal(answer_opened(d, 1, 10, text_view("start")), ERR_OK);
    assert_int_equal(send_bytes(d, 1, 10, 1, "late", "x", false), ERR_INPUT);
    assert_int_equal(send_bytes(d, 1, 10, 0, "ok", "x", true), ERR_OK);
    assert_int_equal(send_bytes(d, 1, 10, 0, "again", "x", false), ERR_INPUT);
    assert_int_equal(send_bytes(d, 1, 10, 2, "after the end", "x", false), ERR_INPUT);
    driver_free(&d);
}

static void a_lost_upstream_is_told_and_all_is_dropped(void **state)
{
    struct driver *d = start();
    Riverrun__Lost lost = RIVERRUN__LOST__INIT;
    Riverrun__Control *control;

    (void)state;
    open_stream(d, 1, 10);
    assert_int_equal(send_bytes(d, 1, 10, 0, "hello", "x", false), ERR_OK);
    driver_event(d, EVENT_PEER_GONE, PORT_UP);
    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LOST);
    assert_true(control->lost->gone); /* there is nobody yet to open it at */
    riverrun__control__free_unpacked(control, NULL);
    driver_event(d, EVENT_PEER, PORT_UP);
    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LOST);
    assert_false(control->lost->gone);
    riverrun__control__free_unpacked(control, NULL);
    assert_int_equal(send_bytes(d, 1, 10, 0, "hello", "x", false), ERR_OK);
    driver_work(d);
    driver_expect_nothing(d);
    open_stream(d, 1, 11);
    /* What upstream's upstream lost passes down. */
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_LOST, &lost), ERR_OK);
    driver_work(d);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_LOST);
    riverrun__control__free_unpacked(control, NULL);
    driver_free(&d);
}

static void a_new_encoder_finds_nothing_of_the_old(void **state)
{
    struct driver *d = start();

    (void)state;
    open_stream(d, 1, 10);
    assert_int_equal(send_bytes(d, 1, 10, 0, "hello", "x", false), ERR_OK);
    driver_event(d, EVENT_PEER, PORT_DOWN);
    driver_work(d);
    driver_expect_nothing(d);
    open_stream(d, 1, 1 << 20);
    assert_int_equal(send_bytes(d, 1, 1 << 20, 0, "hello", "x", false), ERR_OK);
    expect_tokens(d, 1, 1 << 20, 0, "hello", 0, "x", false);
    driver_free(&d);
}

static void a_link_without_room_holds_tokens_back(void **state)
{
    struct driver *d = start();

    (void)state;
    open_stream(d, 1, 10);
    open_stream(d, 2, 11);
    d->data_room = 0;
    assert_int_equal(send_bytes(d, 1, 10, 0, "one", "x", false), ERR_OK);
    assert_int_equal(send_bytes(d, 1, 10, 3, "two", "y", false), ERR_OK);
    assert_int_equal(send_bytes(d, 2, 11, 0, "three", "z", false), ERR_OK);
    driver_work(d);
    assert_int_equal(d->progress, STAGE_NO_ROOM);
    driver_expect_nothing(d);
    d->data_room = 1;
    expect_tokens(d, 1, 10, 0, "onetwo", 0, "y", false);
    driver_expect_nothing(d);
    d->data_room = 1;
    expect_tokens(d, 2, 11, 0, "three", 0, "z", false);
    driver_free(&d);
}

static void cursors_that_are_not_ours_reset_the_link(void **state)
{
    static const uint8_t cursor[] = {9, 0, 0, 3, 0, 0, 0, 'u', 'p'};
    struct driver *d = start();
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    (void)state;
    open.stream = 1;
    open.epoch = 10;
    open.name = proto_text("book");
    open.normalize = proto_text("none");
    open.cursor = proto_bytes(cursor, sizeof cursor);
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_INPUT);
    open.stream = 0;
    open.cursor = proto_bytes(NULL, 0);
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_INPUT);
    driver_work(d);
    driver_expect_nothing(d);
    driver_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_tokens_with_cursors_that_nest),
        cmocka_unit_test(a_break_ends_a_message_of_tokens),
        cmocka_unit_test(a_place_begins_a_message_of_tokens),
        cmocka_unit_test(lines_that_end_with_cr_alone_are_told),
        STAGE_TEST(a_stream_that_rests_costs_little),
        cmocka_unit_test(a_place_between_messages_is_passed_over_and_granted_for),
        cmocka_unit_test(what_is_of_another_open_is_dropped),
        cmocka_unit_test(a_gap_resets_the_link),
        cmocka_unit_test(a_lost_upstream_is_told_and_all_is_dropped),
        cmocka_unit_test(a_new_encoder_finds_nothing_of_the_old),
        cmocka_unit_test(a_link_without_room_holds_tokens_back),
        cmocka_unit_test(cursors_that_are_not_ours_reset_the_link),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
