#include "tests/follow_help.h"

#include "stages/ingest/spooled.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct feed *feed_new(void **state)
{
    struct feed *f = calloc(1, sizeof *f);

    require(f);
    f->state = state;
    f->read_bytes = 4096;
    snprintf(f->folder, sizeof f->folder, "%s", in_folder(state, "feed"));
    return f;
}

void feed_want(struct feed *f, const char *name)
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
    case RIVERRUN__CONTROL__IS_FULL:
        assert_int_equal(c->full->epoch, f->epoch);
        f->presses++;
        break;
    default:
        fail_msg("control %d", (int)c->is_case);
    }
}

void feed_settle(struct driver *d)
{
    driver_work(d);
    while (!spooled_is_settled(ingest_spooled(d->self)))
        driver_poll(d);
}

void feed_work(struct feed *f)
{
    struct msg *msg;
    struct frame m;
    Riverrun__Control *control;

    feed_settle(f->d);
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

void feed_start(struct feed *f)
{
    Riverrun__List list = RIVERRUN__LIST__INIT;

    f->d = driver_new("ingest");
    f->d->config.follow = true;
    f->d->config.reader = "/proc/self/exe"; /* what is no text is told from text */
    f->d->config.feed = f->folder;
    f->d->config.paths = f->paths;
    f->d->config.path_count = f->path_count;
    f->d->config.read_bytes = f->read_bytes;
    driver_start(f->d);
    while (f->name_count)
        free(f->names[--f->name_count]);
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_LIST, &list), ERR_OK);
    feed_work(f);
}

void feed_stop(struct feed *f)
{
    driver_free(&f->d);
}

void feed_free(struct feed *f)
{
    if (f->d)
        feed_stop(f);
    while (f->name_count)
        free(f->names[--f->name_count]);
    while (f->path_count)
        free((char *)(uintptr_t)f->paths[--f->path_count]);
    free(f);
}

void feed_open(struct feed *f, const char *name, struct view cursor)
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
    feed_work(f);
}

void feed_grant(struct feed *f, uint64_t limit)
{
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    grant.stream = STREAM;
    grant.epoch = f->epoch;
    grant.limit = limit;
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), ERR_OK);
    feed_work(f);
}

void feed_keep(struct feed *f, const struct place *p)
{
    Riverrun__Keep keep = RIVERRUN__KEEP__INIT;

    keep.stream = STREAM;
    keep.epoch = f->epoch;
    keep.cursor = proto_bytes(p->cursor, SEGMENT_CURSOR_BYTES);
    assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_KEEP, &keep), ERR_OK);
    feed_work(f);
}

void feed_begin(struct feed *f)
{
    feed_start(f);
    assert_true(f->name_count > 0);
    snprintf(f->name, sizeof f->name, "%s", f->names[0]);
    feed_open(f, f->name, (struct view){NULL, 0});
    assert_int_equal(f->refused, 0);
    feed_grant(f, TEXT_MAX);
}

void feed_expect(struct feed *f, const char *text)
{
    feed_work(f);
    if (f->refused)
        fail_msg("refused with %u: %s", f->refused, f->why);
    if (f->bytes != strlen(text) || memcmp(f->text, text, f->bytes))
        fail_msg("text is '%.*s', not '%s'; reports: %s", (int)f->bytes, f->text, text,
                 f->d ? f->d->reports : "");
}

void feed_expect_again(struct feed *f, const struct place *p, uint64_t step)
{
    struct feed *again = calloc(1, sizeof *again);

    require(again);
    again->d = f->d;
    again->read_bytes = f->read_bytes;
    again->epoch = f->epoch;
    feed_open(again, f->name, (struct view){p->cursor, SEGMENT_CURSOR_BYTES});
    if (again->refused)
        fail_msg("from byte %zu: refused with %u: %s", p->text, again->refused, again->why);
    assert_int_equal(again->place_count, 1);
    for (uint64_t limit = step; limit < TEXT_MAX && again->bytes < f->bytes - p->text;
         limit += step)
        feed_grant(again, limit);
    if (again->bytes != f->bytes - p->text || memcmp(again->text, f->text + p->text, again->bytes))
        fail_msg("from byte %zu: '%.*s', not '%.*s'; %s", p->text, (int)again->bytes, again->text,
                 (int)(f->bytes - p->text), f->text + p->text, again->why);
    f->epoch = again->epoch;
    free(again);
}

void feed_expect_all_again(struct feed *f)
{
    for (size_t i = 0; i < f->place_count; i++)
        feed_expect_again(f, &f->places[i], 7);
    for (size_t i = 0; i < f->place_count; i++) {
        feed_stop(f);
        feed_start(f);
        feed_expect_again(f, &f->places[i], 1000);
    }
}

void feed_live_again(struct feed *f)
{
    const struct place last = f->places[f->place_count - 1];

    feed_start(f);
    feed_open(f, f->name, (struct view){last.cursor, SEGMENT_CURSOR_BYTES});
    if (f->refused)
        fail_msg("refused with %u: %s", f->refused, f->why);
    feed_grant(f, TEXT_MAX);
}

/* ---- The world ---- */

void world_append(void **state, const char *name, const char *text)
{
    FILE *file = fopen(in_folder(state, name), "ae");

    require(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void world_move(void **state, const char *from, const char *to)
{
    assert_int_equal(rename(in_folder(state, from), in_folder(state, to)), 0);
}

void world_copy(void **state, const char *from, const char *to)
{
    size_t bytes;
    uint8_t *data = get_file(in_folder(state, from), &bytes);

    put_file(in_folder(state, to), data, bytes);
    free(data);
}

void world_cut(void **state, const char *name)
{
    assert_int_equal(truncate(in_folder(state, name), 0), 0);
}

void world_command(void **state, const char *what, const char *name)
{
    char line[1200];

    snprintf(line, sizeof line, "%s '%s'", what, in_folder(state, name));
    assert_int_equal(system(line), 0);
}

void world_age(void **state, const char *name, long seconds)
{
    struct stat st;
    struct timespec times[2];

    assert_int_equal(stat(in_folder(state, name), &st), 0);
    times[0] = times[1] = (struct timespec){st.st_mtime - seconds, 0};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(state, name), times, 0), 0);
}

void world_folder(void **state, const char *name)
{
    assert_int_equal(mkdir(in_folder(state, name), 0777), 0);
}
