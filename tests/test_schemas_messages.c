/* What crosses a boundary: messages, control messages, bounded bytes, the table of streams, records. */
#include "schemas/record.h"
#include "schemas/table.h"
#include "tests/stages_help.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

static void a_limit_that_is_reached_is_told_with_its_remedy(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(err_set(&err, ERR_SINK, EMFILE, "open '%s'", "x"), ERR_SINK);
    assert_string_equal(err.text, "open 'x': too many open files (raise the limit with ulimit -n)");
    (void)err_set(&err, ERR_FULL, EFBIG, "write");
    assert_non_null(strstr(err.text, "ulimit -f"));
    (void)err_set(&err, ERR_SYSTEM, ENOENT, "open");
    assert_string_equal(err.text, "open: No such file or directory");
}

/* ---- Bounded bytes ---- */

static void a_reader_never_passes_its_end(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7};
    struct reader r = reader_of(bytes, sizeof bytes);

    (void)state;
    assert_int_equal(read_u16(&r), 0x0201);
    assert_int_equal(read_u8(&r), 3);
    assert_int_equal(read_u32(&r), 0x07060504);
    assert_true(read_done(&r));
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.short_read && !read_done(&r));
    r = reader_of(bytes, sizeof bytes);
    assert_int_equal(read_u64(&r), 0);
    assert_true(r.short_read && r.at == r.end);
    r = reader_of(bytes, sizeof bytes);
    assert_null(read_bytes(&r, SIZE_MAX));
    r = reader_of(NULL, 0);
    assert_true(read_done(&r));
}

static void a_buffer_refuses_past_its_maximum_and_stays_refused(void **state)
{
    struct buffer b = buffer_of(100);

    (void)state;
    for (unsigned i = 0; i < 12; i++)
        buffer_u64(&b, i);
    assert_int_equal(b.bytes, 96);
    assert_false(b.refused);
    buffer_u64(&b, 12);
    assert_true(b.refused);
    assert_null(buffer_add(&b, 1));
    assert_int_equal(b.bytes, 96);
    buffer_drop(&b, 8);
    assert_int_equal(load_u64(b.data), 1);
    buffer_release(&b);
    b = buffer_of(4); /* a place for nothing is a place: an empty message can be written */
    assert_non_null(buffer_add(&b, 0));
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    assert_int_equal(proto_write(&request.base, &b, NULL), ERR_OK);
    assert_int_equal(b.bytes, 0);
    buffer_release(&b);
    b = buffer_of(SIZE_MAX);
    buffer_u8(&b, 1);
    assert_null(buffer_add(&b, SIZE_MAX));
    buffer_release(&b);
}

static void doubles_keep_their_bits(void **state)
{
    const double values[] = {0.0, -0.0, 1.0 / 3, 5e-324, INFINITY};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buffer b = buffer_of(8);
        buffer_f64(&b, values[i]);
        struct reader r = reader_of(b.data, b.bytes);
        double back = read_f64(&r);
        assert_memory_equal(&back, &values[i], sizeof back);
        buffer_release(&b);
    }
}

/* ---- The table ---- */

static void the_table_agrees_with_a_plain_list(void **state)
{
    enum { KEYS = 300 };
    static char values[KEYS];
    void *list[KEYS] = {NULL};
    struct table t = {NULL, NULL, 0, 0};
    uint64_t seed = 7;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        /* Keys that are close together, and some that are far apart. */
        size_t i = random_next(&seed) % KEYS;
        uint64_t key = i < KEYS / 2 ? i + 1 : (uint64_t)i << 40;
        if (random_next(&seed) % 2) {
            assert_int_equal(table_set(&t, key, &values[i], NULL), ERR_OK);
            list[i] = &values[i];
        } else {
            table_remove(&t, key);
            list[i] = NULL;
        }
        if (round % 50)
            continue;
        size_t count = 0, found = 0, at = 0;
        for (size_t k = 0; k < KEYS; k++) {
            assert_ptr_equal(table_get(&t, k < KEYS / 2 ? k + 1 : (uint64_t)k << 40), list[k]);
            count += list[k] != NULL;
        }
        while (table_next(&t, &at))
            found++;
        assert_int_equal(found, count);
        assert_int_equal(t.count, count);
    }
    assert_null(table_get(&t, 0));
    table_release(&t);
}

/* ---- Messages ---- */

static struct msg *make(const struct frame *f)
{
    struct msg *msg = NULL;

    assert_int_equal(msg_make(&msg, f, NULL, NULL), ERR_OK);
    return msg;
}

static struct frame bytes_frame(void)
{
    return (struct frame){.kind = MSG_BYTES,
                          .flags = MSG_END,
                          .stream = 0x1122334455667788,
                          .epoch = 0x0102030405060708,
                          .position = UINT64_MAX,
                          .count = 5,
                          .cursor = {(const uint8_t *)"cur", 3},
                          .payload = {(const uint8_t *)"hello", 5}};
}

/* Two tokens: "he", "llo". */
static struct msg *tokens_message(void)
{
    struct buffer b = buffer_of(1000);
    struct frame f = {.kind = MSG_TOKENS, .stream = 1, .epoch = 2, .position = 3, .count = 2};
    struct msg *msg;

    buffer_u32(&b, 70000);
    buffer_u32(&b, 7);
    buffer_u32(&b, 4);
    buffer_u32(&b, 5);
    buffer_u16(&b, 2);
    buffer_u16(&b, 3);
    buffer_put(&b, "hello", 5);
    f.payload = (struct view){b.data, b.bytes};
    f.cursor = (struct view){(const uint8_t *)"c", 1};
    msg = make(&f);
    buffer_release(&b);
    return msg;
}

static struct msg *control_message(void)
{
    Riverrun__Control control = RIVERRUN__CONTROL__INIT;
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    struct msg *msg = NULL;

    open.stream = 12;
    open.epoch = 34;
    open.name = proto_text("a+book.txt");
    open.cursor = proto_bytes("cursor", 6);
    open.normalize = proto_text("nfc");
    open.line_edges = true;
    control.is_case = RIVERRUN__CONTROL__IS_OPEN;
    control.open = &open;
    assert_int_equal(control_make(&msg, &control, NULL), ERR_OK);
    return msg;
}

static bool inside(const struct msg *msg, struct view view)
{
    return view.data >= msg->data && view.data + view.bytes <= msg->data + msg->bytes;
}

/* Decode all that msg may be: whatever it is, what comes out lies in it. */
static enum err_code decode(const struct msg *msg)
{
    struct frame f;
    struct frame_tokens t;
    Riverrun__Control *control;
    enum err_code code = msg_read(msg, &f, NULL);

    if (code)
        return code;
    assert_true(inside(msg, f.cursor) && inside(msg, f.payload));
    assert_true(f.cursor.bytes <= CURSOR_MAX);
    if (f.kind == MSG_TOKENS) {
        code = msg_read_tokens(&f, &t, NULL);
        if (!code) {
            assert_true(inside(msg, (struct view){t.ids, 4 * (size_t)f.count}));
            assert_true(inside(msg, (struct view){t.source, 4 * (size_t)f.count}));
            assert_true(inside(msg, (struct view){t.text, 2 * (size_t)f.count}));
            assert_true(inside(msg, (struct view){t.bytes, t.text_bytes}));
        }
    } else if (f.kind == MSG_CONTROL) {
        code = control_read(&f, &control, NULL);
        if (!code)
            riverrun__control__free_unpacked(control, NULL);
    }
    return code;
}

static void places_come_back_and_join(void **state)
{
    struct frame f = bytes_frame(), got;
    struct msg_place place = {2, {(const uint8_t *)"OPS/a.xhtml", 11}}, read;
    uint8_t bytes[PLACE_BYTES_MAX], more[PLACE_BYTES_MAX];
    char deep[300];
    struct msg *msg;

    (void)state;
    f.place = (struct view){bytes, msg_place_write(bytes, &place)};
    msg = make(&f);
    assert_int_equal(msg_read(msg, &got, NULL), ERR_OK);
    assert_int_equal(got.flags, f.flags | MSG_PLACE);
    assert_memory_equal(got.payload.data, "hello", 5);
    assert_int_equal(got.payload.bytes, 5);
    assert_int_equal(msg_place_read(&read, got.place, NULL), ERR_OK);
    assert_int_equal(read.heading, 2);
    assert_memory_equal(read.name.data, "OPS/a.xhtml", 11);
    for (size_t at = MSG_HEADER_BYTES + 3; at < msg->bytes; at++) /* whatever is in it */
        for (unsigned value = 0; value < 256; value += 5) {
            uint8_t was = msg->data[at];
            msg->data[at] = (uint8_t)value;
            (void)!msg_read(msg, &got, NULL);
            msg->data[at] = was;
        }
    msg_free(&msg);
    /* A name that is too long keeps its end, from a character on. */
    for (size_t i = 0; i < sizeof deep; i++)
        deep[i] = "\xC3\xA9"[i % 2];
    place = (struct msg_place){0, {(const uint8_t *)deep, 299}};
    assert_int_equal(msg_place_write(more, &place), 1 + PLACE_TEXT_MAX - 1);
    assert_int_equal(more[1], 0xC3);
    /* The second says what it says, the first what is left. */
    place = (struct msg_place){PLACE_TITLE, {NULL, 0}};
    assert_int_equal(msg_place_write(more, &place), 1);
    assert_int_equal(msg_place_join(bytes, f.place, (struct view){more, 1}), 12);
    assert_int_equal(bytes[0], PLACE_TITLE);
    more[0] = PLACE_MARKDOWN;
    more[1] = 'b';
    assert_int_equal(msg_place_join(bytes, (struct view){bytes, 12}, (struct view){more, 2}), 2);
    assert_int_equal(bytes[0], PLACE_TITLE | PLACE_MARKDOWN);
    /* The first page of a document inside: the document begins there, its Markdown would not go on. */
    bytes[0] = PLACE_ALONE | PLACE_MARKDOWN;
    more[0] = 0;
    assert_int_equal(msg_place_join(bytes, (struct view){bytes, 2}, (struct view){more, 2}), 2);
    assert_int_equal(bytes[0], PLACE_ALONE);
}

static void messages_come_back_as_they_were(void **state)
{
    struct frame f = bytes_frame(), got;
    struct msg *msg = make(&f);
    struct frame_tokens t;
    Riverrun__Control *control;

    (void)state;
    assert_int_equal(msg_read(msg, &got, NULL), ERR_OK);
    assert_int_equal(got.kind, f.kind);
    assert_int_equal(got.flags, f.flags);
    assert_int_equal(got.stream, f.stream);
    assert_int_equal(got.epoch, f.epoch);
    assert_int_equal(got.position, f.position);
    assert_int_equal(got.count, f.count);
    assert_int_equal(got.cursor.bytes, 3);
    assert_memory_equal(got.cursor.data, "cur", 3);
    assert_int_equal(got.payload.bytes, 5);
    assert_memory_equal(got.payload.data, "hello", 5);
    msg_free(&msg);
    msg = tokens_message();
    assert_int_equal(msg_read(msg, &got, NULL), ERR_OK);
    assert_int_equal(msg_read_tokens(&got, &t, NULL), ERR_OK);
    assert_int_equal(load_u32(t.ids), 70000);
    assert_int_equal(load_u32(t.source + 4), 5);
    assert_int_equal(load_u16(t.text), 2);
    assert_int_equal(t.text_bytes, 5);
    assert_memory_equal(t.bytes, "hello", 5);
    msg_free(&msg);
    msg = control_message();
    assert_int_equal(msg_read(msg, &got, NULL), ERR_OK);
    assert_int_equal(control_read(&got, &control, NULL), ERR_OK);
    assert_int_equal(control->is_case, RIVERRUN__CONTROL__IS_OPEN);
    assert_string_equal(control->open->name, "a+book.txt");
    assert_int_equal(control->open->cursor.len, 6);
    riverrun__control__free_unpacked(control, NULL);
    msg_free(&msg);
    assert_null(msg);
}

/* A block of exactly this size, so that a sanitizer sees a look beyond. */
static struct msg *copy_of(const struct msg *msg, size_t bytes)
{
    struct msg *copy = calloc(1, sizeof *copy);

    require(copy);
    copy->bytes = bytes;
    copy->data = malloc(bytes ? bytes : 1);
    require(copy->data);
    memcpy(copy->data, msg->data, bytes < msg->bytes ? bytes : msg->bytes);
    return copy;
}

typedef struct msg *make_fn(void);

static struct msg *bytes_message(void)
{
    struct frame f = bytes_frame();
    return make(&f);
}

static make_fn *const makers[] = {bytes_message, tokens_message, control_message};

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof makers / sizeof *makers; m++) {
        struct msg *whole = makers[m]();
        assert_int_equal(decode(whole), ERR_OK);
        for (size_t bytes = 0; bytes < whole->bytes; bytes++) {
            struct msg *torn = copy_of(whole, bytes);
            assert_int_equal(decode(torn), ERR_INPUT);
            msg_free(&torn);
        }
        struct msg *longer = copy_of(whole, whole->bytes + 1);
        longer->data[whole->bytes] = 0;
        assert_int_equal(decode(longer), ERR_INPUT);
        msg_free(&longer);
        msg_free(&whole);
    }
}

static void every_flipped_byte_is_refused_or_stays_in_bounds(void **state)
{
    size_t refused = 0;

    (void)state;
    for (size_t m = 0; m < sizeof makers / sizeof *makers; m++) {
        struct msg *whole = makers[m]();
        for (size_t at = 0; at < whole->bytes; at++)
            for (unsigned flip = 1; flip < 256; flip++) {
                struct msg *bad = copy_of(whole, whole->bytes);
                bad->data[at] ^= (uint8_t)flip;
                refused += decode(bad) != ERR_OK;
                msg_free(&bad);
            }
        msg_free(&whole);
    }
    assert_true(refused > 1000);
}

static void another_version_is_named(void **state)
{
    struct msg *msg = bytes_message();
    struct frame f;
    struct err err;

    (void)state;
    msg->data[2] = 9;
    assert_int_equal(msg_read(msg, &f, &err), ERR_VERSION);
    assert_non_null(strstr(err.text, "version 9"));
    msg_free(&msg);
}

static void what_is_too_large_is_not_made(void **state)
{
    struct frame f = bytes_frame();
    struct msg *msg = NULL;
    static uint8_t cursor[CURSOR_MAX + 1];

    (void)state;
    f.cursor = (struct view){cursor, CURSOR_MAX + 1};
    assert_int_equal(msg_make(&msg, &f, NULL, NULL), ERR_LIMIT);
    f.cursor.bytes = CURSOR_MAX;
    f.payload = (struct view){NULL, MSG_BYTES_MAX};
    assert_int_equal(msg_make(&msg, &f, NULL, NULL), ERR_LIMIT);
    f.payload.bytes = SIZE_MAX - 10; /* the sum overflows */
    assert_int_equal(msg_make(&msg, &f, NULL, NULL), ERR_LIMIT);
    assert_null(msg);
    assert_int_equal(msg_read_tokens(&f, &(struct frame_tokens){0}, NULL), ERR_INPUT);
}

static void token_counts_beyond_the_maximum_are_refused(void **state)
{
    struct frame f = {.kind = MSG_TOKENS, .count = MSG_TOKENS_MAX + 1};
    struct frame_tokens t;

    (void)state;
    f.payload.bytes = 10 * (size_t)f.count;
    f.payload.data = calloc(f.payload.bytes, 1);
    assert_int_equal(msg_read_tokens(&f, &t, NULL), ERR_INPUT);
    f.count = UINT32_MAX;
    assert_int_equal(msg_read_tokens(&f, &t, NULL), ERR_INPUT);
    f.count = MSG_TOKENS_MAX;
    f.payload.bytes = 10 * (size_t)f.count;
    assert_int_equal(msg_read_tokens(&f, &t, NULL), ERR_OK);
    free((void *)(uintptr_t)f.payload.data);
}

/* ---- Records ---- */

static struct view view_of(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

static char *line_of(const struct record *record)
{
    struct buffer out = buffer_of(RECORD_LINE_MAX);

    assert_int_equal(record_line("a+book", record, &out, NULL), ERR_OK);
    assert_int_equal(out.data[out.bytes - 1], '\n');
    buffer_u8(&out, 0);
    return (char *)out.data;
}

static void a_record_is_one_fixed_line(void **state)
{
    struct record record = {.kind = RECORD_PARAGRAPH,
                            .seq = 3,
                            .begin = 10,
                            .end = 14,
                            .tokens = 4,
                            .nats = 0.1,
                            .text = view_of("a\"b")};
    char *line = line_of(&record);

    (void)state;
    assert_string_equal(line,
                        "{\"stream\":\"a+book\",\"seq\":3,\"kind\":\"paragraph\",\"begin\":10,"
                        "\"end\":14,\"tokens\":4,\"nats\":0.10000000000000001,"
                        "\"bits_per_byte\":0.036067376022224089,\"text\":\"a\\\"b\"}\n");
    free(line);
    record = (struct record){.kind = RECORD_DOCUMENT, .seq = 0};
    line = line_of(&record);
    assert_non_null(strstr(line, "\"nats\":0.0,\"bits_per_byte\":null,\"text\":\"\"}"));
    free(line);
}

static void fields_of_the_analysis_stand_behind_the_text(void **state)
{
    struct record record = {.kind = RECORD_LINE, .end = 1, .tokens = 1, .text = view_of("x")};
    char *line;

    (void)state;
    record_add_null(&record, "surprise");
    record_add_count(&record, "template_id", 7);
    record_add_real(&record, "novelty", -1.015625);
    record_add_text(&record, "template", view_of("a \xff <*>"));
    line = line_of(&record);
    assert_non_null(
        strstr(line, "\"text\":\"x\",\"surprise\":null,\"template_id\":7,\"novelty\":-1.015625,"
                     "\"template\":\"a \xef\xbf\xbd <*>\"}\n"));
    free(line);
}

static void numbers_read_back_to_the_same_bits(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t bits = random_next(&seed);
        double nats, back;
        memcpy(&nats, &bits, sizeof nats);
        if (!isfinite(nats))
            continue;
        struct record record = {.nats = nats};
        char *line = line_of(&record);
        back = strtod(strstr(line, "\"nats\":") + 7, NULL);
        assert_memory_equal(&back, &nats, sizeof nats);
        free(line);
    }
}

static void a_loss_that_is_no_number_is_refused(void **state)
{
    struct buffer out = buffer_of(RECORD_LINE_MAX);
    struct record record = {.nats = NAN};

    (void)state;
    assert_int_equal(record_line("s", &record, &out, NULL), ERR_MODEL);
    record.nats = INFINITY;
    assert_int_equal(record_line("s", &record, &out, NULL), ERR_MODEL);
    assert_int_equal(out.bytes, 0);
    record.nats = 0;
    out = buffer_of(40);
    assert_int_equal(record_line("s", &record, &out, NULL), ERR_LIMIT);
    buffer_release(&out);
}

static void any_bytes_make_valid_json(void **state)
{
    static const uint8_t nasty[] =
        "zero\0one \x01\x1f\x7f\x80\xff\xc3 \xed\xa0\x80 \xf4\x90\x80\x80"
        "\xe2\x80\xa8\xef\xbf\xbf\xc0\x80";
    uint64_t seed = 5;

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t text[64];
        struct record record = {.text = {nasty, sizeof nasty - 1}};
        for (size_t k = 0; k < sizeof text; k++)
            text[k] = (uint8_t)random_next(&seed);
        if (i)
            record.text = (struct view){text, random_next(&seed) % sizeof text};
        char *line = line_of(&record);
        json_t *value = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        if (i == 0) {
            const json_t *got = json_object_get(value, "text");
            assert_memory_equal(json_string_value(got), "zero\0one \x01\x1f\x7f", 12);
            assert_memory_equal(json_string_value(got) + 12, "\xef\xbf\xbd\xef\xbf\xbd", 6);
            assert_non_null(strstr(line, "zero\\u0000one"));
        }
        json_decref(value);
        free(line);
    }
}

static void an_excerpt_has_no_white_space_at_its_ends(void **state)
{
    struct view got = record_excerpt(view_of(" \r\n\ttwo  words\n\n "), true);

    (void)state;
    assert_int_equal(got.bytes, 10);
    assert_memory_equal(got.data, "two  words", 10);
    assert_int_equal(record_excerpt(view_of(" \n "), true).bytes, 0);
    assert_int_equal(record_excerpt((struct view){NULL, 0}, true).bytes, 0);
}

static void an_excerpt_is_bounded_where_a_grapheme_is_not(void **state)
{
    struct buffer text = buffer_of(10000);

    (void)state;
    buffer_u8(&text, 'e');
    for (unsigned i = 0; i < 500; i++)
        buffer_put(&text, "\xcc\x81", 2);
    for (size_t bytes = 1; bytes < 300; bytes++) {
        struct view got = record_excerpt((struct view){text.data, bytes}, bytes < 256);
        assert_true(got.bytes <= RECORD_TEXT_MAX);
        if (bytes > RECORD_TEXT_MAX)
            assert_int_equal(got.bytes, RECORD_TEXT_MAX - 1); /* between two marks */
    }
    buffer_release(&text);
}

/* One line of GraphemeBreakTest.txt: its bytes, and where graphemes begin in them. */
static size_t read_sample(const char *line, uint8_t *bytes, bool *breaks)
{
    size_t count = 0;

    memset(breaks, 0, 64);
    while (*line && *line != '#') {
        char *end;
        if (!strncmp(line, "\xc3\xb7", 2))
            breaks[count] = true;
        unsigned long code = strtoul(line, &end, 16);
        if (end == line) {
            line++;
            continue;
        }
        count += (size_t)utf8proc_encode_char((utf8proc_int32_t)code, bytes + count);
        require(count < 60);
        line = end;
    }
    return count;
}

/* Put the sample behind a control character, so that the bound falls on each of its bytes in turn;
 * the cut must be the last grapheme's begin before it. */
static void check_sample(const uint8_t *bytes, const bool *breaks, size_t count, size_t *checked)
{
    for (size_t inside_bytes = 1; inside_bytes < count; inside_bytes++) {
        uint8_t text[RECORD_TEXT_MAX + 128];
        size_t lead = RECORD_TEXT_MAX - inside_bytes, want = inside_bytes;
        memset(text, 'x', sizeof text);
        text[lead - 1] = 1;
        memcpy(text + lead, bytes, count);
        text[lead + count] = 1;
        struct view got = record_excerpt((struct view){text, sizeof text}, false);
        while (want > 0 && !breaks[want])
            want--;
        want += lead;
        while (text[want - 1] == ' ' || (text[want - 1] >= '\t' && text[want - 1] <= '\r'))
            want--;
        assert_int_equal(got.bytes, want);
        ++*checked;
    }
}

static void excerpts_are_cut_between_graphemes(void **state)
{
    const char *path = SHARED_DIR "/data/unicode/GraphemeBreakTest.txt";
    /* A flag, a family, a syllable of Hangul letters, a base with a mark; the same where no file is. */
    static const char *const samples[] = {
        "\xc3\xb7 1F1E9 \xc3\x97 1F1EA \xc3\xb7 1F1E9 \xc3\x97 1F1EA \xc3\xb7",
        "\xc3\xb7 1F468 \xc3\x97 200D \xc3\x97 1F469 \xc3\x97 200D \xc3\x97 1F467 \xc3\xb7",
        "\xc3\xb7 1100 \xc3\x97 1161 \xc3\x97 11A8 \xc3\xb7 0065 \xc3\x97 0301 \xc3\xb7"};
    size_t checked = 0, lines = 0;
    uint8_t bytes[64];
    bool breaks[64];
    char line[4096];

    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        check_sample(bytes, breaks, read_sample(samples[i], bytes, breaks), &checked);
    assert_true(checked > 20);
    if (shared_missing(path))
        return;
    FILE *file = fopen(path, "re");
    require(file);
    while (fgets(line, sizeof line, file)) {
        size_t count = read_sample(line, bytes, breaks);
        if (count == 0)
            continue;
        lines++;
        check_sample(bytes, breaks, count, &checked);
    }
    fclose(file);
    assert_true(lines > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_that_is_reached_is_told_with_its_remedy),
        cmocka_unit_test(a_reader_never_passes_its_end),
        cmocka_unit_test(a_buffer_refuses_past_its_maximum_and_stays_refused),
        cmocka_unit_test(doubles_keep_their_bits),
        cmocka_unit_test(the_table_agrees_with_a_plain_list),
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(places_come_back_and_join),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_refused_or_stays_in_bounds),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(what_is_too_large_is_not_made),
        cmocka_unit_test(token_counts_beyond_the_maximum_are_refused),
        cmocka_unit_test(a_record_is_one_fixed_line),
        cmocka_unit_test(fields_of_the_analysis_stand_behind_the_text),
        cmocka_unit_test(numbers_read_back_to_the_same_bits),
        cmocka_unit_test(a_loss_that_is_no_number_is_refused),
        cmocka_unit_test(any_bytes_make_valid_json),
        cmocka_unit_test(an_excerpt_has_no_white_space_at_its_ends),
        cmocka_unit_test(an_excerpt_is_bounded_where_a_grapheme_is_not),
        cmocka_unit_test(excerpts_are_cut_between_graphemes),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
