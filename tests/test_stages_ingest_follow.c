/* Ingest, following: what is written to files that grow, rotate, come and go leaves line by line, once and
 * in order, and every cursor that was given leads on to the same bytes, in another life of the stage too. */
#include "stages/ingest/rotated.h"
#include "stages/ingest/segment.h"
#include "tests/stages_help.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STREAM = 5, TEXT_MAX = 1 << 20, PIECES_MAX = 4096, NAMES_MAX = 4000 };

/* A place that a message led to: so much text lies before it. */
struct place {
    size_t text;
    uint8_t cursor[SEGMENT_CURSOR_BYTES];
};

/* One feed as it is followed, over the lives of the stage. */
struct feed {
    void **state;
    struct driver *d;
    const char *paths[4];
    size_t path_count;
    char folder[512]; /* of the journal */
    uint32_t read_bytes;
    uint64_t epoch, sent; /* of the open */
    char name[256];       /* of the stream that is read */
    char *names[NAMES_MAX];
    size_t name_count, wants;
    char text[TEXT_MAX];
    size_t bytes;
    struct place places[PIECES_MAX];
    size_t place_count;
    uint32_t refused; /* its code */
    char why[512];
};

static struct feed *feed_new(void **state)
{
    struct feed *f = calloc(1, sizeof *f);

    require(f);
    f->state = state;
    f->read_bytes = 4096;
    snprintf(f->folder, sizeof f->folder, "%s", in_folder(state, "feed"));
    return f;
}

/* Follow the file called name in the test's folder too. */
static void want(struct feed *f, const char *name)
{
    f->paths[f->path_count] = strdup(in_folder(f->state, name));
    require(f->paths[f->path_count++]);
}

static void take_data(struct feed *f, const struct frame *m)
{
    struct place *p = &f->places[f->place_count++];

    require(f->place_count <= PIECES_MAX && f->bytes + m->count < TEXT_MAX);
    assert_int_equal(m->stream, STREAM);
    assert_int_equal(m->epoch, f->epoch);
    assert_int_equal(m->position, f->sent);
    assert_true(m->count > 0 && m->count <= f->read_bytes);
    assert_int_equal(m->flags, 0);
    assert_int_equal(m->cursor.bytes, SEGMENT_CURSOR_BYTES);
    memcpy(f->text + f->bytes, m->payload.data, m->count);
    f->bytes += m->count;
    f->sent += m->count;
    p->text = f->bytes;
    memcpy(p->cursor, m->cursor.data, SEGMENT_CURSOR_BYTES);
}

static void take_control(struct feed *f, const Riverrun__Control *c)
{
    struct place *p = &f->places[f->place_count];

    switch (c->is_case) {
    case RIVERRUN__CONTROL__IS_ANNOUNCE:
        require(f->name_count < NAMES_MAX);
        f->names[f->name_count++] = strdup(c->announce->name);
        break;
    case RIVERRUN__CONTROL__IS_ANNOUNCED:
        assert_int_equal(c->announced->streams, f->name_count);
        break;
    case RIVERRUN__CONTROL__IS_OPENED:
        assert_int_equal(c->opened->epoch, f->epoch);
        assert_false(c->opened->fingerprints->size_known);
        assert_int_equal(c->opened->fingerprints->head.len, 0);
        assert_int_equal(c->opened->cursor.len, SEGMENT_CURSOR_BYTES);
        p->text = f->bytes;
        memcpy(p->cursor, c->opened->cursor.data, SEGMENT_CURSOR_BYTES);
        f->place_count++;
        break;
    case RIVERRUN__CONTROL__IS_REFUSED:
        f->refused = c->refused->code;
        snprintf(f->why, sizeof f->why, "%s", c->refused->text);
        break;
    case RIVERRUN__CONTROL__IS_WANT:
        assert_int_equal(c->want->epoch, f->epoch);
        f->wants++;
        break;
    default:
        fail_msg("control %d", (int)c->is_case);
    }
}

/* Let the stage work, and take what it sends. */
static void work(struct feed *f)
{
    struct msg *msg;
    struct frame m;
    Riverrun__Control *control;

    driver_work(f->d);
    while ((msg = driver_take(f->d, PORT_DOWN))) {
        assert_int_equal(msg_read(msg, &m, NULL), ERR_OK);
        if (m.kind == MSG_BYTES) {
            take_data(f, &m);
        } else {
            assert_int_equal(control_read(&m, &control, NULL), ERR_OK);
            take_control(f, control);
            riverrun__control__free_unpacked(control, NULL);
        }
        msg_free(&msg);
    }
}

/* Begin a life of the stage. */
static void start(struct feed *f)
{
    Riverrun__List list = RIVERRUN__LIST__INIT;

    f->d = driver_new("ingest");
    f->d->config.follow = true;
    f->d->config.feed = f->folder;
    f->d->config.paths = f->paths;
    f->d->config.path_count = f->path_count;
    f->d->config.read_bytes = f->read_bytes;
    driver_start(f->d);
    while (f->name_count)
        free(f->names[--f->name_count]);
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_LIST, &list), ERR_OK);
    work(f);
}

static void stop(struct feed *f)
{
    driver_free(&f->d);
}

static void feed_free(struct feed *f)
{
    if (f->d)
        stop(f);
    while (f->name_count)
        free(f->names[--f->name_count]);
    while (f->path_count)
        free((char *)(uintptr_t)f->paths[--f->path_count]);
    free(f);
}

static void open_at(struct feed *f, const char *name, struct view cursor)
{
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    f->epoch++;
    f->sent = 0;
    f->refused = 0;
    open.stream = STREAM;
    open.epoch = f->epoch;
    open.name = proto_text(name);
    open.cursor = proto_bytes(cursor.data, cursor.bytes);
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_OK);
    work(f);
}

static void grant(struct feed *f, uint64_t limit)
{
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    grant.stream = STREAM;
    grant.epoch = f->epoch;
    grant.limit = limit;
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), ERR_OK);
    work(f);
}

static void keep(struct feed *f, const struct place *p)
{
    Riverrun__Keep keep = RIVERRUN__KEEP__INIT;

    keep.stream = STREAM;
    keep.epoch = f->epoch;
    keep.cursor = proto_bytes(p->cursor, SEGMENT_CURSOR_BYTES);
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_KEEP, &keep), ERR_OK);
    work(f);
}

/* Begin a life and follow the only (or first) stream from its origin. */
static void begin(struct feed *f)
{
    start(f);
    assert_true(f->name_count > 0);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    open_at(f, f->name, (struct view){NULL, 0});
    assert_int_equal(f->refused, 0);
    grant(f, TEXT_MAX);
}

static void expect(struct feed *f, const char *text)
{
    work(f);
    if (f->refused)
        fail_msg("refused with %u: %s", f->refused, f->why);
    if (f->bytes != strlen(text) || memcmp(f->text, text, f->bytes))
        fail_msg("text is '%.*s', not '%s'; reports: %s", (int)f->bytes, f->text, text,
                 f->d ? f->d->reports : "");
}

/* Open at p in the running life and read on: what came behind p comes again, byte for byte. */
static void expect_again(struct feed *f, const struct place *p, uint64_t step)
{
    struct feed *again = calloc(1, sizeof *again);

    require(again);
    again->d = f->d;
    again->read_bytes = f->read_bytes;
    again->epoch = f->epoch;
    open_at(again, f->name, (struct view){p->cursor, SEGMENT_CURSOR_BYTES});
    if (again->refused)
        fail_msg("from byte %zu: refused with %u: %s", p->text, again->refused, again->why);
    assert_int_equal(again->place_count, 1);
    for (uint64_t limit = step; limit < TEXT_MAX && again->bytes < f->bytes - p->text;
         limit += step)
        grant(again, limit);
    if (again->bytes != f->bytes - p->text || memcmp(again->text, f->text + p->text, again->bytes))
        fail_msg("from byte %zu: '%.*s', not '%.*s'; %s", p->text, (int)again->bytes, again->text,
                 (int)(f->bytes - p->text), f->text + p->text, again->why);
    f->epoch = again->epoch;
    free(again);
}

/* Every place leads on to the same bytes: in this life, and in a life for each of them. */
static void expect_all_again(struct feed *f)
{
    for (size_t i = 0; i < f->place_count; i++)
        expect_again(f, &f->places[i], 7);
    for (size_t i = 0; i < f->place_count; i++) {
        stop(f);
        start(f);
        expect_again(f, &f->places[i], 1000);
    }
}

/* Killed, and begun again at the last place. */
static void live_again(struct feed *f)
{
    const struct place last = f->places[f->place_count - 1];

    start(f);
    open_at(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    if (f->refused)
        fail_msg("refused with %u: %s", f->refused, f->why);
    grant(f, TEXT_MAX);
}

/* ---- The world ---- */

static void append(void **state, const char *name, const char *text)
{
    FILE *file = fopen(in_folder(state, name), "ae");

    require(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void move(void **state, const char *from, const char *to)
{
    assert_int_equal(rename(in_folder(state, from), in_folder(state, to)), 0);
}

static void copy(void **state, const char *from, const char *to)
{
    size_t bytes;
    uint8_t *data = get_file(in_folder(state, from), &bytes);

    put_file(in_folder(state, to), data, bytes);
    free(data);
}

static void cut(void **state, const char *name)
{
    assert_int_equal(truncate(in_folder(state, name), 0), 0);
}

static void command(void **state, const char *what, const char *name)
{
    char line[1200];

    snprintf(line, sizeof line, "%s '%s'", what, in_folder(state, name));
    assert_int_equal(system(line), 0);
}

/* So long ago was the file written to. */
static void age(void **state, const char *name, long seconds)
{
    struct stat st;
    struct timespec times[2];

    assert_int_equal(stat(in_folder(state, name), &st), 0);
    times[0] = times[1] = (struct timespec){st.st_mtime - seconds, 0};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(state, name), times, 0), 0);
}

/* ---- Growing ---- */

static void whole_lines_leave_and_half_of_one_waits(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "one\ntw");
    want(f, "a.log");
    begin(f);
    expect(f, "one\n");
    append(state, "a.log", "o\nthree\nfou");
    expect(f, "one\ntwo\nthree\n");
    for (int i = 0; i < 3; i++)
        work(f);
    expect(f, "one\ntwo\nthree\n");
    append(state, "a.log", "r\n");
    expect(f, "one\ntwo\nthree\nfour\n");
    expect_all_again(f);
    feed_free(f);
}

static void a_line_longer_than_a_read_leaves_in_pieces(void **state)
{
    struct feed *f = feed_new(state);
    char line[1000];

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = 0;
    f->read_bytes = 64;
    append(state, "a.log", "short\n");
    append(state, "a.log", line);
    want(f, "a.log");
    begin(f);
    work(f);
    assert_int_equal(f->bytes,
                     6 + 960); /* 15 pieces of 64; of the 39 bytes left the line may end */
    append(state, "a.log", "\nend\n");
    work(f);
    assert_int_equal(f->bytes, 6 + 999 + 5);
    assert_memory_equal(f->text + f->bytes - 6, "x\nend\n", 6);
    expect_all_again(f);
    feed_free(f);
}

static void places_far_beyond_the_head_are_found_again(void **state)
{
    struct feed *f = feed_new(state);
    char line[101];

    f->read_bytes = 65536;
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof line, "%099d\n", i);
        append(state, "a.log", line);
        if (i == 0) {
            want(f, "a.log");
            begin(f);
        }
        if (i % 300 == 0)
            work(f);
    }
    work(f);
    assert_int_equal(f->bytes, 300000);
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "new\n");
    work(f);
    assert_int_equal(f->bytes, 300004);
    command(state, "gzip", "a.log.1");
    stop(f);
    for (size_t i = 0; i < f->place_count; i++) {
        start(f);
        expect_again(f, &f->places[i], 60000);
        stop(f);
    }
    f->d = NULL;
    feed_free(f);
}

static void grants_are_obeyed_and_wants_are_told_once(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "0123456789\n");
    want(f, "a.log");
    start(f);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    open_at(f, f->name, (struct view){NULL, 0});
    work(f);
    assert_int_equal(f->wants, 1); /* nothing was granted yet */
    append(state, "a.log", "more\n");
    work(f);
    assert_int_equal(f->wants, 1);
    grant(f, 4);
    assert_int_equal(f->bytes, 4);
    assert_int_equal(f->wants, 2);
    grant(f, 2); /* taken back: 4 are sent */
    assert_int_equal(f->bytes, 4);
    assert_int_equal(f->wants, 3);
    grant(f, 16);
    expect(f, "0123456789\nmore\n");
    assert_int_equal(f->wants, 3); /* all of it went: there is nothing to be wanted */
    append(state, "a.log", "half");
    work(f);
    assert_int_equal(f->wants, 3); /* nor is half a line */
    append(state, "a.log", " whole\n");
    work(f);
    assert_int_equal(f->wants, 4);
    grant(f, 100);
    grant(f, 0); /* all that is granted is taken back */
    append(state, "a.log", "last\n");
    work(f);
    expect(f, "0123456789\nmore\nhalf whole\n");
    assert_int_equal(f->wants, 5);
    grant(f, 100);
    expect(f, "0123456789\nmore\nhalf whole\nlast\n");
    feed_free(f);
}

/* ---- Rotation while it is read ---- */

static void a_renamed_file_is_read_to_its_end_before_the_new_one(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n2\n");
    move(state, "a.log", "a.log.1");
    work(f);
    append(state, "a.log.1", "3\n"); /* the writer has not changed over */
    expect(f, "1\n2\n3\n");
    append(state, "a.log", "");
    append(state, "a.log.1", "4\n");
    expect(f, "1\n2\n3\n4\n");
    append(state, "a.log.1", "5\n");
    append(state, "a.log", "6\n");
    expect(f, "1\n2\n3\n4\n5\n6\n");
    move(state, "a.log.1", "a.log.2");
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "7\n");
    expect(f, "1\n2\n3\n4\n5\n6\n7\n");
    expect_all_again(f);
    feed_free(f);
}

static void a_last_line_without_its_newline_gets_one(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\nhalf");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n");
    move(state, "a.log", "a.log.1");
    expect(f, "1\n"); /* it may still be written to */
    append(state, "a.log", "2\n");
    expect(f, "1\nhalf\n2\n");
    expect_all_again(f);
    feed_free(f);
}

static void a_newline_for_which_there_is_no_room_comes_by_itself(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\nhalf");
    want(f, "a.log");
    start(f);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    open_at(f, f->name, (struct view){NULL, 0});
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "2\n");
    for (uint64_t limit = 1; limit < 20; limit++)
        grant(f, limit);
    expect(f, "1\nhalf\n2\n");
    assert_int_equal(f->place_count, 1 + 9); /* the opened one's, and one a byte */
    expect_all_again(f);
    feed_free(f);
}

static void rotations_faster_than_a_look_are_read_in_order(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n");
    want(f, "a.log");
    begin(f);
    append(state, "a.log", "2\n");
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "3\n");
    age(state, "a.log.1", 30);
    move(state, "a.log.1", "a.log.2");
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "4\nhalf");
    age(state, "a.log.1", 20);
    move(state, "a.log.2", "a.log.3");
    move(state, "a.log.1", "a.log.2");
    command(state, "gzip", "a.log.2");
    move(state, "a.log", "a.log.1");
    age(state, "a.log.1", 10);
    append(state, "a.log", "5\n");
    expect(f, "1\n2\n3\n4\nhalf\n5\n");
    expect_all_again(f);
    feed_free(f);
}

static void compression_that_changes_times_brings_nothing_again(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log.1", "before us\n");
    append(state, "a.log", "1\n");
    want(f, "a.log");
    begin(f);
    move(state, "a.log.1", "a.log.2");
    command(state, "gzip -n", "a.log.2"); /* and touched, as by a compressor that keeps no times */
    age(state, "a.log.2.gz", -60);
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "2\n");
    expect(f, "1\n2\n");
    age(state, "a.log.2.gz", -60);
    command(state, "xz", "a.log.1");
    age(state, "a.log.1.xz", -120);
    move(state, "a.log.1.xz", "a.log.0.xz"); /* its name does not tell either */
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "3\n");
    expect(f, "1\n2\n3\n");
    expect_all_again(f);
    feed_free(f);
}

static void the_rest_of_a_truncated_file_is_read_from_its_copy(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    append(state, "a.log", "3\nhalf");
    copy(state, "a.log", "a.log.1");
    cut(state, "a.log");
    expect(f, "1\n2\n3\n"); /* half may be all of it: decided when the next one begins */
    append(state, "a.log", "4\n");
    expect(f, "1\n2\n3\nhalf\n4\n");
    copy(state, "a.log", "a.log.1");
    cut(state, "a.log");
    append(state, "a.log", "5 longer than what was there\n");
    expect(f, "1\n2\n3\nhalf\n4\n5 longer than what was there\n");
    assert_string_equal(f->d->reports, "");
    feed_free(f);
}

/* Its places, with the copies kept. */
static void truncated_files_are_read_again_from_their_copies(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    append(state, "a.log", "3\n");
    copy(state, "a.log", "a.log-20260101");
    cut(state, "a.log");
    append(state, "a.log", "4\n5\n");
    expect(f, "1\n2\n3\n4\n5\n");
    append(state, "a.log", "6\n");
    copy(state, "a.log", "a.log-20260102");
    cut(state, "a.log");
    append(state, "a.log", "7\n");
    expect(f, "1\n2\n3\n4\n5\n6\n7\n");
    expect_all_again(f);
    command(state, "zstd -q --rm", "a.log-20260101");
    command(state, "bzip2", "a.log-20260102");
    expect_all_again(f);
    feed_free(f);
}

static void a_file_that_is_truncated_without_a_copy_is_told(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n2\n");
    cut(state, "a.log");
    work(f);
    assert_non_null(strstr(f->d->reports, "truncated"));
    stop(f);
    live_again(f); /* the end is in the journal, though nothing follows yet */
    append(state, "a.log", "3\n");
    expect(f, "1\n2\n3\n");
    /* What was cut off cannot be read again. */
    open_at(f, f->name, (struct view){f->places[0].cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "a.log': 0 bytes were read"));
    assert_non_null(strstr(f->why, "--restart"));
    feed_free(f);
}

static void a_deleted_file_is_read_to_its_end_and_awaited(void **state)
{
    struct feed *f = feed_new(state);
    FILE *writer;

    append(state, "a.log", "1\n");
    want(f, "a.log");
    begin(f);
    writer = fopen(in_folder(state, "a.log"), "ae");
    require(writer);
    assert_int_equal(unlink(in_folder(state, "a.log")), 0);
    work(f);
    fputs("2\n", writer);
    fflush(writer);
    expect(f, "1\n2\n");
    fputs("3\n", writer);
    fclose(writer);
    append(state, "a.log", "4\n");
    expect(f, "1\n2\n3\n4\n");
    for (size_t i = 0; i < f->place_count; i++)
        expect_again(f, &f->places[i], 1000); /* in this life: it is still open */
    feed_free(f);
}

/* ---- Rotation while we were away ---- */

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
        append(state, path, "1\n2\n");
        want(f, path);
        begin(f);
        expect(f, "1\n2\n");
        stop(f);
        append(state, path, "3\nhalf");
        move(state, path, name);
        command(state, packers[i], name);
        live_again(f);
        expect(f, "1\n2\n3\n"); /* the path is not there */
        append(state, path, "4\n");
        expect(f, "1\n2\n3\nhalf\n4\n");
        stop(f);
        /* Twice more, one of them a file that we have not seen. */
        append(state, path, "5\n");
        snprintf(name, sizeof name, "%zu.log.3%s", i, endings[i]);
        move(state, first, name);
        snprintf(name, sizeof name, "%zu.log.2", i);
        age(state, path, 30);
        move(state, path, name);
        command(state, packers[i], name);
        append(state, path, "6\n7");
        snprintf(name, sizeof name, "%zu.log.1", i);
        age(state, path, 20);
        move(state, path, name);
        command(state, packers[i], name);
        append(state, path, "8\n");
        live_again(f);
        expect(f, "1\n2\n3\nhalf\n4\n5\n6\n7\n8\n");
        expect_all_again(f);
        command(state, "rm -r", "feed");
        feed_free(f);
    }
}

static void what_was_truncated_while_we_were_away_is_read_from_its_copy(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n2\n");
    stop(f);
    append(state, "a.log", "3\n");
    copy(state, "a.log", "a.log.1");
    age(state, "a.log.1", 60);
    cut(state, "a.log");
    append(state, "a.log", "4\n5\n");
    copy(state, "a.log", "a.log.0");
    move(state, "a.log.1", "a.log.2");
    move(state, "a.log.0", "a.log.1");
    age(state, "a.log.1", 30);
    cut(state, "a.log");
    append(state, "a.log", "6\n");
    live_again(f);
    expect(f, "1\n2\n3\n4\n5\n6\n");
    expect_all_again(f);
    feed_free(f);
}

static void a_decision_stands_though_nothing_of_it_had_left(void **state)
{
    struct feed *f = feed_new(state);

    append(state, "a.log", "1\nhalf");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n");
    f->wants = 0;
    grant(f, 0);
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "2\n");
    work(f); /* decided, and no byte may leave */
    assert_int_equal(f->wants, 1);
    expect(f, "1\n");
    stop(f);
    append(state, "a.log.1", " of a line\n"); /* too late: the end is decided */
    live_again(f);
    expect(f, "1\nhalf\n2\n");
    expect_all_again(f);
    feed_free(f);
}

static void a_file_that_comes_is_decided_before_it_is_read(void **state)
{
    struct feed *f = feed_new(state);

    want(f, "a.log");
    begin(f);
    expect(f, "");
    append(state, "a.log", "1\n2\n");
    expect(f, "1\n2\n");
    stop(f);
    move(state, "a.log", "a.log.1");
    append(state, "a.log", "3\n");
    live_again(f);
    expect(f, "1\n2\n3\n");
    expect_all_again(f); /* from before it was there, too */
    feed_free(f);
}

static void a_place_that_is_nowhere_is_refused(void **state)
{
    struct feed *f = feed_new(state);
    struct place last;

    append(state, "a.log", "1\n2\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n2\n");
    stop(f);
    last = f->places[f->place_count - 1];
    move(state, "a.log", "kept");
    append(state, "a.log", "x\ny\nz\n"); /* whatever inode it has */
    append(state, "a.log.1", "1\n3\n");
    start(f);
    open_at(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "a.log': 4 bytes were read"));
    assert_non_null(strstr(f->why, "put it back"));
    /* Put back, by a copy: another file with the same in it. */
    copy(state, "kept", "a.log");
    append(state, "a.log", "3\n");
    open_at(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    grant(f, TEXT_MAX);
    expect(f, "1\n2\n3\n");
    feed_free(f);
}

static void what_was_kept_long_enough_is_forgotten(void **state)
{
    struct feed *f = feed_new(state);
    char line[40], want_text[4000] = "";
    struct place first;

    append(state, "a.log", "begin\n");
    want(f, "a.log");
    begin(f);
    strcat(want_text, "begin\n");
    for (int i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "line %d\n", i);
        move(state, "a.log", "a.log.1");
        append(state, "a.log", line);
        strcat(want_text, line);
        expect(f, want_text);
        keep(f, &f->places[f->place_count - 1]);
    }
    stop(f);
    live_again(f);
    expect(f, want_text);
    first = f->places[0];
    open_at(f, f->name, (struct view){first.cursor, SEGMENT_CURSOR_BYTES});
    assert_int_equal(f->refused, ERR_CHANGED);
    feed_free(f);
}

/* ---- What comes later ---- */

static bool announced(const struct feed *f, const char *ending)
{
    for (size_t i = 0; i < f->name_count; i++) {
        size_t bytes = strlen(f->names[i]), end = strlen(ending);
        if (bytes >= end && !strcmp(f->names[i] + bytes - end, ending))
            return true;
    }
    return false;
}

static void make_directory(void **state, const char *name)
{
    assert_int_equal(mkdir(in_folder(state, name), 0777), 0);
}

static void files_that_match_are_announced_when_they_come(void **state)
{
    struct feed *f = feed_new(state);

    make_directory(state, "logs");
    append(state, "logs/a.log", "a\n");
    append(state, "logs/a.log.1", "older\n");
    append(state, "logs/other.txt", "x\n");
    want(f, "logs/*.log");
    want(f, "later/*/x-[0-9].log");
    want(f, "named/deep/in.log");
    start(f);
    assert_int_equal(f->name_count, 2);
    assert_true(announced(f, "+logs+a.log"));
    assert_true(announced(f, "+named+deep+in.log")); /* named: it need not be there */
    append(state, "logs/b.log", "");
    append(state, "logs/c.txt", "c\n");
    work(f);
    assert_int_equal(f->name_count, 3);
    assert_true(announced(f, "+logs+b.log"));
    move(state, "logs/c.txt", "logs/c.log");
    make_directory(state, "later");
    make_directory(state, "later/one");
    append(state, "later/one/x-1.log", "1\n");
    work(f);
    assert_int_equal(f->name_count, 5);
    assert_true(announced(f, "+logs+c.log"));
    assert_true(announced(f, "+later+one+x-1.log"));
    make_directory(state, "later/two");
    work(f);
    append(state, "later/two/x-2.log", "2\n");
    append(state, "later/two/x-22.log", "no\n");
    work(f);
    assert_int_equal(f->name_count, 6);
    /* The named one comes, and is read. */
    for (size_t i = 0; i < f->name_count; i++)
        if (strstr(f->names[i], "+named+"))
            snprintf(f->name, sizeof f->name, "%s", f->names[i]);
    open_at(f, f->name, (struct view){NULL, 0});
    grant(f, TEXT_MAX);
    make_directory(state, "named");
    make_directory(state, "named/deep");
    append(state, "named/deep/in.log", "here\n");
    expect(f, "here\n");
    expect_all_again(f);
    feed_free(f);
}

static void folders_are_followed_with_what_comes_into_them(void **state)
{
    struct feed *f = feed_new(state);

    make_directory(state, "logs");
    make_directory(state, "logs/sub");
    append(state, "logs/sub/a.log", "a\n");
    append(state, "logs/b.log", "b\n");
    append(state, "logs/b-1.log", "another feed\n");
    append(state, "logs/b.log-20260101.gz", "of b\n");
    append(state, "logs/b-20260102.log", "of b\n");
    want(f, "logs");
    start(f);
    assert_int_equal(f->name_count, 3);
    assert_true(announced(f, "+logs+b-1.log"));
    make_directory(state, "logs/new");
    append(state, "logs/new/c.log", "c\n");
    append(state, "logs/d.log", "d\n");
    move(state, "logs/b.log", "logs/b.log.1"); /* rotation brings no stream */
    append(state, "logs/b.log", "b\n");
    work(f);
    assert_int_equal(f->name_count, 5);
    assert_true(announced(f, "+logs+new+c.log"));
    assert_true(announced(f, "+logs+d.log"));
    feed_free(f);
}

static void a_folder_that_goes_and_comes_back_is_watched_again(void **state)
{
    struct feed *f = feed_new(state);

    make_directory(state, "logs");
    append(state, "logs/a.log", "1\n");
    want(f, "logs/a.log");
    begin(f);
    expect(f, "1\n");
    move(state, "logs", "gone");
    append(state, "gone/a.log", "2\n");
    work(f);
    expect(f, "1\n2\n");
    make_directory(state, "logs");
    append(state, "logs/a.log", "3\n");
    expect(f, "1\n2\n3\n");
    append(state, "logs/a.log", "4\n");
    expect(f, "1\n2\n3\n4\n");
    feed_free(f);
}

/* A folder stands for what cannot be read: permissions say nothing to root. */
static void what_cannot_be_read_is_told_once_and_tried_again(void **state)
{
    struct feed *f = feed_new(state);
    const char *first;

    make_directory(state, "a.log");
    append(state, "b.log", "");
    want(f, "b.log");
    want(f, "a.log/../a.log/x");
    begin(f);
    assert_int_equal(unlink(in_folder(state, "b.log")), 0);
    make_directory(state, "b.log");
    for (int i = 0; i < 3; i++) {
        make_directory(state, "b.log/sub");
        assert_int_equal(rmdir(in_folder(state, "b.log/sub")), 0);
        work(f);
    }
    first = strstr(f->d->reports, "b.log' cannot be read");
    assert_non_null(first);
    assert_null(strstr(first + 1, "b.log' cannot be read"));
    assert_int_equal(rmdir(in_folder(state, "b.log")), 0);
    append(state, "b.log", "1\n");
    expect(f, "1\n");
    feed_free(f);
}

static void a_damaged_file_in_between_is_not_passed_over(void **state)
{
    struct feed *f = feed_new(state);
    char text[8000] = "";
    size_t bytes;
    uint8_t *packed;

    append(state, "a.log", "1\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n");
    stop(f);
    move(state, "a.log", "a.log.2");
    for (int i = 0; strlen(text) < 7000; i++)
        sprintf(text + strlen(text), "line %d, %d\n", i, i * i * 77);
    append(state, "a.log.1", text);
    command(state, "gzip", "a.log.1");
    append(state, "a.log", "last\n");
    packed = get_file(in_folder(state, "a.log.1.gz"), &bytes);
    put_file(in_folder(state, "a.log.1.gz"), packed, 20);
    live_again(f);
    expect(f, "1\n");
    assert_non_null(strstr(f->d->reports, "a.log.1.gz' is to be read next"));
    put_file(in_folder(state, "a.log.1.gz"), packed, bytes);
    work(f);
    assert_int_equal(f->bytes, 2 + strlen(text) + 5);
    assert_memory_equal(f->text + 2, text, strlen(text));
    free(packed);
    expect_all_again(f);
    feed_free(f);
}

static void lost_events_are_made_up_for(void **state)
{
    struct feed *f = feed_new(state);
    int fds[2];
    static char text[200000];
    size_t bytes = 0;

    append(state, "a.log", "");
    append(state, "b.log", "");
    want(f, "?.log");
    begin(f);
    fds[0] = open(in_folder(state, "a.log"), O_WRONLY | O_APPEND | O_CLOEXEC);
    fds[1] = open(in_folder(state, "b.log"), O_WRONLY | O_APPEND | O_CLOEXEC);
    require(fds[0] >= 0 && fds[1] >= 0);
    for (int i = 0; i < 40000;
         i++) { /* a queue holds 16384 by default, and joins only equal neighbours */
        assert_int_equal(write(fds[i % 2], "x\n", 2), 2);
        if (i % 2 == 0)
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "x\n");
    }
    close(fds[0]);
    close(fds[1]);
    append(state, "c.log", "c\n"); /* its coming is lost */
    expect(f, text);
    assert_true(announced(f, "+c.log"));
    feed_free(f);
}

static void thousands_of_files_in_one_folder(void **state)
{
    enum { FILES = 3000 };
    struct feed *f = feed_new(state);
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;
    size_t opened = 0, data = 0;
    struct msg *msg;
    struct frame m;
    char name[40];

    make_directory(state, "logs");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "logs/%04d.log", i);
        append(state, name, "first\n");
    }
    want(f, "logs/*.log");
    start(f);
    assert_int_equal(f->name_count, FILES);
    for (size_t i = 0; i < FILES; i++) {
        open.stream = grant.stream = i + 1;
        open.epoch = grant.epoch = 1;
        open.name = f->names[i];
        grant.limit = 1000;
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open),
                         ERR_OK);
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant),
                         ERR_OK);
        if (i % 1000 != 999)
            continue;
        driver_work(f->d);
        while ((msg = driver_take(f->d, PORT_DOWN))) {
            assert_int_equal(msg_read(msg, &m, NULL), ERR_OK);
            *(m.kind == MSG_BYTES ? &data : &opened) += 1;
            msg_free(&msg);
        }
    }
    assert_int_equal(opened, FILES); /* no refusals: one `opened` each */
    assert_int_equal(data, FILES);
    for (int i = 0; i < FILES; i += 100) {
        snprintf(name, sizeof name, "logs/%04d.log", i);
        append(state, name, "second\n");
    }
    driver_work(f->d);
    for (int i = 0; i < FILES; i += 100) {
        msg = driver_expect_data(f->d, PORT_DOWN, MSG_BYTES, &m);
        assert_int_equal(m.stream, i + 1);
        assert_int_equal(m.count, 7);
        msg_free(&msg);
    }
    driver_expect_nothing(f->d);
    feed_free(f);
}

/* ---- Bytes and names ---- */

static void cursors_that_are_not_ours_are_refused(void **state)
{
    struct feed *f = feed_new(state);
    uint8_t cursor[SEGMENT_CURSOR_BYTES + 1] = {0};
    static const uint8_t of_read[18] = {1, 0};

    append(state, "a.log", "1\n");
    want(f, "a.log");
    begin(f);
    expect(f, "1\n");
    memcpy(cursor, f->places[1].cursor, SEGMENT_CURSOR_BYTES);
    for (size_t bytes = 2; bytes <= sizeof cursor; bytes++) {
        if (bytes == SEGMENT_CURSOR_BYTES)
            continue;
        open_at(f, f->name, (struct view){cursor, bytes});
        assert_int_equal(f->refused, ERR_INPUT);
    }
    open_at(f, f->name, (struct view){of_read, sizeof of_read});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "read"));
    feed_free(f);
}

static void rotation_is_known_by_its_names(void **state)
{
    static const char *const yes[][2] = {
        {"a.log", "a.log.1"},          {"a.log", "a.log.12.gz"},
        {"a.log", "a.log-20260101"},   {"a.log", "a.log-20260101.xz"},
        {"a.log", "a-20260101.log"},   {"a.log", "a-20260101.log.gz"},
        {"a.log", "a.log.gz"},         {"a.log", "a.log.old"},
        {"syslog", "syslog.1"},        {"syslog", "syslog-2026-01-01"},
        {"a.log", "a.log_1769000000"}, {"a.log", "a.log.2026-01-01T10:00:00"},
    };
    static const char *const no[][2] = {
        {"a.log", "a.log"},       {"a.log", "b.log.1"},    {"a.log", "a-1.log"},
        {"a.log", "a.logs"},      {"a.log", "a.log."},     {"a.log", "a.log.lock"},
        {"a.log", "a.log.1.tmp"}, {"syslog", "syslogd.1"}, {"a.log", "a.log-new"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!is_rotated_name(yes[i][0], yes[i][1]))
            fail_msg("%s is %s, rotated", yes[i][1], yes[i][0]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (is_rotated_name(no[i][0], no[i][1]))
            fail_msg("%s is not %s, rotated", no[i][1], no[i][0]);
}

static void cursors_and_rows_come_back_as_they_were(void **state)
{
    uint64_t seed = 77;
    uint8_t bytes[SEGMENT_ROW_BYTES], again[SEGMENT_ROW_BYTES];
    struct segment_place place;
    struct segment_row row;
    size_t cursors = 0, rows = 0;
    (void)state;

    for (int i = 0; i < 100000; i++) {
        for (size_t b = 0; b < sizeof bytes; b++)
            bytes[b] = (uint8_t)(random_next(&seed) >> 32);
        bytes[0] = 1;
        bytes[1] = i % 2 ? 2 : 3;
        bytes[2] &= 1;
        bytes[9] = bytes[10] = bytes[18] = 0; /* numbers that are not at their ends */
        bytes[50] = bytes[49] = 0;
        if (!segment_cursor_decode(&place, (struct view){bytes, SEGMENT_CURSOR_BYTES}, NULL)) {
            segment_cursor_encode(&place, again);
            assert_memory_equal(again, bytes, SEGMENT_CURSOR_BYTES);
            cursors++;
        }
        bytes[40] = bytes[41] = bytes[80] = bytes[81] = 0;
        if (!segment_row_decode(&row, (struct view){bytes, SEGMENT_ROW_BYTES}, NULL)) {
            segment_row_encode(&row, again);
            assert_memory_equal(again, bytes, SEGMENT_ROW_BYTES);
            rows++;
        }
    }
    assert_true(cursors > 100 && rows > 100);
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
        STAGE_TEST(compression_that_changes_times_brings_nothing_again),
        STAGE_TEST(the_rest_of_a_truncated_file_is_read_from_its_copy),
        STAGE_TEST(truncated_files_are_read_again_from_their_copies),
        STAGE_TEST(a_file_that_is_truncated_without_a_copy_is_told),
        STAGE_TEST(a_deleted_file_is_read_to_its_end_and_awaited),
        STAGE_TEST(what_was_rotated_while_we_were_away_is_found),
        STAGE_TEST(what_was_truncated_while_we_were_away_is_read_from_its_copy),
        STAGE_TEST(a_decision_stands_though_nothing_of_it_had_left),
        STAGE_TEST(a_file_that_comes_is_decided_before_it_is_read),
        STAGE_TEST(a_place_that_is_nowhere_is_refused),
        STAGE_TEST(what_was_kept_long_enough_is_forgotten),
        STAGE_TEST(files_that_match_are_announced_when_they_come),
        STAGE_TEST(folders_are_followed_with_what_comes_into_them),
        STAGE_TEST(a_folder_that_goes_and_comes_back_is_watched_again),
        STAGE_TEST(what_cannot_be_read_is_told_once_and_tried_again),
        STAGE_TEST(a_damaged_file_in_between_is_not_passed_over),
        STAGE_TEST(lost_events_are_made_up_for),
        STAGE_TEST(thousands_of_files_in_one_folder),
        STAGE_TEST(cursors_that_are_not_ours_are_refused),
        STAGE_TEST(rotation_is_known_by_its_names),
        STAGE_TEST(cursors_and_rows_come_back_as_they_were),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
