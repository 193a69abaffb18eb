/* Ingest with what cannot be read again: standard input through the spool, entries of several lines, keys. The
 * test plays tokenize, the clock and the one who writes to standard input. */
#include "stages/ingest/spooled.h"
#include "store/store.h"
#include "tests/stages_help.h"

#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STREAM = 5, TEXT_MAX = 1 << 20, MESSAGES_MAX = 4096, GRANT_ALL = 1 << 30 };

/* What came of a stream since it was opened. */
struct came {
    char text[TEXT_MAX];
    size_t bytes;
    size_t breaks[MESSAGES_MAX], break_count; /* how much text lies before each */
    struct {
        size_t text, bytes;
        uint8_t cursor[CURSOR_MAX];
    } places[MESSAGES_MAX];
    size_t place_count;
};

struct world {
    struct driver *d;
    int input, before; /* the end that is written to; what standard input was */
    const char *paths[1];
    char folder[512];
    uint64_t epoch, limit;
    size_t announced;
    bool drained;
    char refused[400], entries[200];
    struct came came;
};

static struct world *world_new(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int ends[2];

    require(w && pipe(ends) == 0);
    w->before = dup(STDIN_FILENO);
    require(dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    close(ends[0]);
    w->input = ends[1];
    w->paths[0] = "-";
    snprintf(w->folder, sizeof w->folder, "%s", in_folder(state, "feed"));
    w->d = driver_new("ingest");
    w->d->config.follow = true;
    w->d->config.feed = w->folder;
    w->d->config.paths = w->paths;
    w->d->config.path_count = 1;
    w->d->config.name = "feed";
    w->d->config.read_bytes = 4096;
    w->d->config.spool_bytes = 8 << 20;
    w->d->config.multiline_ms = 1000;
    return w;
}

static void end_input(struct world *w)
{
    if (w->input >= 0)
        close(w->input);
    w->input = -1;
}

static void world_free(struct world **pointer)
{
    struct world *w = *pointer;

    driver_free(&w->d);
    end_input(w);
    require(dup2(w->before, STDIN_FILENO) == STDIN_FILENO);
    close(w->before);
    free(w);
    *pointer = NULL;
}

static void take_data(struct world *w, const struct frame *f)
{
    struct came *c = &w->came;

    require(c->bytes + f->count < TEXT_MAX && c->place_count < MESSAGES_MAX);
    assert_int_equal(f->epoch, w->epoch);
    memcpy(c->text + c->bytes, f->payload.data, f->count);
    c->bytes += f->count;
    if (f->flags & MSG_BREAK) {
        assert_true(f->count > 0);
        c->breaks[c->break_count++] = c->bytes;
    }
    c->places[c->place_count].text = c->bytes;
    c->places[c->place_count].bytes = f->cursor.bytes;
    memcpy(c->places[c->place_count++].cursor, f->cursor.data, f->cursor.bytes);
}

static bool take_all(struct world *w)
{
    struct msg *msg;
    bool any = false;

    while ((msg = driver_take(w->d, PORT_DOWN))) {
        struct frame f;
        Riverrun__Control *c = NULL;
        any = true;
        assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
        if (f.kind == MSG_BYTES) {
            take_data(w, &f);
        } else {
            assert_int_equal(control_read(&f, &c, NULL), ERR_OK);
            w->announced += c->is_case == RIVERRUN__CONTROL__IS_ANNOUNCE;
            w->drained = w->drained || c->is_case == RIVERRUN__CONTROL__IS_DRAINED;
            if (c->is_case == RIVERRUN__CONTROL__IS_OPENED)
                snprintf(w->entries, sizeof w->entries, "%s", c->opened->fingerprints->entries);
            if (c->is_case == RIVERRUN__CONTROL__IS_REFUSED)
                snprintf(w->refused, sizeof w->refused, "%s", c->refused->text);
            riverrun__control__free_unpacked(c, NULL);
        }
        msg_free(&msg);
    }
    return any;
}

/* Let it work; where nothing happens the disk gets a moment, and then time passes. */
static void work(struct world *w)
{
    struct pollfd items[STAGE_DESCRIPTORS_MAX];
    int fds[STAGE_DESCRIPTORS_MAX];

    driver_work(w->d);
    if (take_all(w))
        return;
    size_t count = w->d->ops->descriptors(w->d->self, fds);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct pollfd){fds[i], POLLIN, 0};
    if (poll(items, count, 20) == 0)
        w->d->now_ms += 50;
    driver_event(w->d, EVENT_TIME, PORT_UP);
}

static void start(struct world *w)
{
    Riverrun__List list = RIVERRUN__LIST__INIT;

    driver_start(w->d);
    assert_int_equal(driver_control(w->d, PORT_DOWN, RIVERRUN__CONTROL__IS_LIST, &list), ERR_OK);
}

static void open_at(struct world *w, const char *name, struct view cursor)
{
    Riverrun__Open open = RIVERRUN__OPEN__INIT;

    memset(&w->came, 0, sizeof w->came);
    open.stream = STREAM;
    open.epoch = ++w->epoch;
    open.name = proto_text(name);
    open.cursor = proto_bytes(cursor.data, cursor.bytes);
    w->limit = 0;
    assert_int_equal(driver_control(w->d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), ERR_OK);
}

static void grant(struct world *w, uint64_t more)
{
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;

    grant.stream = STREAM;
    grant.epoch = w->epoch;
    grant.limit = w->limit += more;
    assert_int_equal(driver_control(w->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), ERR_OK);
}

static void say(struct world *w, const char *text)
{
    require(write(w->input, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Until so much came, with breaks up to there; granted in steps of at most step. */
static void read_to(struct world *w, size_t bytes, size_t step, uint64_t *seed)
{
    while (w->came.bytes < bytes ||
           (w->d->config.multiline_start &&
            (!w->came.break_count || w->came.breaks[w->came.break_count - 1] < bytes))) {
        if (w->limit < bytes && w->came.bytes == w->limit)
            grant(w, 1 + random_next(seed) % step);
        work(w);
        if (w->refused[0])
            fail_msg("refused: %s", w->refused);
    }
}

/* ---- What holds ---- */

static void standard_input_is_read_once_and_its_end_is_told(void **state)
{
    struct world *w = world_new(state);
    uint64_t seed = 1;

    start(w);
    open_at(w, "feed", (struct view){NULL, 0});
    say(w, "one\ntwo");
    end_input(w);
    read_to(w, 8, 100, &seed);
    assert_memory_equal(w->came.text, "one\ntwo\n", 8); /* the last line got its newline */
    while (!w->drained)
        work(w);
    world_free(&w);
    w = world_new(state); /* a continuation, from another process */
    start(w);
    open_at(w, "feed", (struct view){NULL, 0});
    say(w, "three\n");
    read_to(w, 14, 3, &seed);
    assert_memory_equal(w->came.text, "one\ntwo\nthree\n", 14);
    assert_false(w->drained);
    world_free(&w);
}

static size_t make_traces(char *text, uint64_t seed, size_t entries)
{
    size_t bytes = 0;

    for (size_t i = 0; i < entries; i++) {
        bytes += (size_t)sprintf(text + bytes, "%zu error\n", i);
        for (uint64_t line = random_next(&seed) % 5; line > 0; line--)
            bytes += (size_t)sprintf(text + bytes, "%*sat %d\n", (int)(random_next(&seed) % 9), "",
                                     (int)line);
    }
    return bytes;
}

/* From each cursor, however little is granted at a time, come the same bytes with the same breaks; also
 * the one that time made. */
static void entries_break_in_the_same_places_from_every_cursor(void **state)
{
    struct world *w = world_new(state);
    struct came *whole = malloc(sizeof *whole);
    char *text = calloc(1, TEXT_MAX);
    uint64_t seed = 7;
    size_t bytes = make_traces(text, 3, 40), starts = 0;

    require(whole);
    w->d->config.multiline_start = "^\\d+ ";
    start(w);
    open_at(w, "feed", (struct view){NULL, 0});
    say(w, text);
    read_to(w, bytes, 40, &seed);
    assert_memory_equal(w->came.text, text, bytes);
    *whole = w->came;
    assert_int_equal(whole->break_count, 40);
    for (size_t i = 0; i < whole->break_count; i++) {
        size_t at = whole->breaks[i];
        assert_true(at == bytes || (text[at] >= '0' && text[at] <= '9'));
        starts++;
    }
    assert_int_equal(starts, 40);
    for (size_t i = 0; i < whole->place_count; i += 1 + i / 20) {
        size_t from = whole->places[i].text, first = 0;
        open_at(w, "feed", (struct view){whole->places[i].cursor, whole->places[i].bytes});
        while (first < whole->break_count && whole->breaks[first] <= from)
            first++;
        if (first == whole->break_count)
            break;
        read_to(w, bytes - from, 1 + i % 60, &seed);
        assert_memory_equal(w->came.text, text + from, bytes - from);
        assert_int_equal(w->came.break_count, whole->break_count - first);
        for (size_t b = 0; b < w->came.break_count; b++)
            assert_int_equal(w->came.breaks[b] + from, whole->breaks[first + b]);
    }
    free(whole);
    free(text);
    world_free(&w);
}

/* A thousand lines at most; and time ends an entry only once nothing came for long enough. */
static void an_entry_has_a_thousand_lines_at_most(void **state)
{
    struct world *w = world_new(state);
    uint64_t seed = 1;

    w->d->config.multiline_start = "^never";
    start(w);
    open_at(w, "feed", (struct view){NULL, 0});
    for (int i = 0; i < 25; i++) {
        char lines[401];
        for (int line = 0; line < 100; line++)
            memcpy(lines + 4 * (size_t)line, "abc\n", 5);
        say(w, lines);
    }
    read_to(w, 10000, 100000, &seed);
    assert_int_equal(w->came.break_count, 3);
    assert_int_equal(w->came.breaks[0], 4000);
    assert_int_equal(w->came.breaks[1], 8000);
    assert_int_equal(w->came.breaks[2], 10000); /* by time */
    world_free(&w);
}

/* While the end that time made is on its way to the disk, more comes than is ever held: it waits where it is. */
static void much_comes_while_time_ends_an_entry(void **state)
{
    enum { LINES = 250000 };
    struct world *w = world_new(state);
    const char *path = in_folder(state, "app.log");
    uint64_t seed = 1;
    FILE *log;

    put_file(path, "1 a\n", 4);
    w->paths[0] = path;
    w->d->config.multiline_start = "^\\d+ ";
    start(w);
    while (!w->announced)
        work(w);
    open_at(w, "feed", (struct view){NULL, 0});
    grant(w, 1000);
    while (w->came.bytes < 3 && !w->refused[0])
        work(w);
    assert_string_equal(w->refused, "");
    log = fopen(path, "ab");
    require(log);
    for (int i = 0; i < LINES; i++)
        fputs(i ? "  at b\n" : "2 b\n", log);
    require(fclose(log) == 0);
    w->d->now_ms += w->d->config.multiline_ms + 50;
    driver_event(w->d, EVENT_TIME, PORT_UP);
    read_to(w, 4, 100, &seed);
    read_to(w, 8 + 7 * 999, 100, &seed);
    assert_memory_equal(w->came.text, "1 a\n2 b\n  at b\n", 15);
    assert_int_equal(w->came.break_count, 2);
    assert_int_equal(w->came.breaks[0], 4);
    world_free(&w);
}

static void a_bad_pattern_is_refused_with_its_place(void **state)
{
    for (int which = 0; which < 3; which++) {
        struct world *w = world_new(state);
        struct err err = {.text = ""};
        void *self = NULL;
        *(which ? &w->d->config.key : &w->d->config.multiline_start) =
            which == 2 ? "k=\\w" : "ab(c";
        w->d->env.config = &w->d->config;
        assert_int_equal(w->d->ops->open(&self, &w->d->env, &err), ERR_USAGE);
        assert_null(self);
        assert_non_null(strstr(err.text, which ? "--key" : "--multiline-start"));
        assert_non_null(strstr(err.text, which == 2 ? "has no group" : "offset 4"));
        end_input(w);
        dup2(w->before, STDIN_FILENO);
        close(w->before);
        w->d->self = NULL;
        driver_free(&w->d);
        free(w);
    }
}

/* Two thousand keys: a stream each, whose lines are all there, and which costs little while it rests. */
static void a_stream_for_each_key(void **state)
{
    enum { KEYS = 2000 };
    struct world *w = world_new(state);
    uint64_t seed = 1;
    size_t before, each;
    char line[64];

    w->d->config.key = "k=(\\w+)";
    start(w);
    work(w);
    before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 0; i < KEYS; i++) {
        snprintf(line, sizeof line, "k=key%d\n", i);
        say(w, line);
        if (i % 400 == 0)
            work(w);
    }
    while (w->announced < KEYS)
        work(w);
    each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / KEYS;
    print_message("ingest: %zu bytes a queue that rests\n", each);
    assert_true(each < 1024); /* 0 where a sanitizer has its own allocator */
    say(w, "nothing\nk=key7 more\n");
    open_at(w, "feed+key7", (struct view){NULL, 0});
    read_to(w, 19, 7, &seed);
    assert_memory_equal(w->came.text, "k=key7\nk=key7 more\n", 19);
    world_free(&w);
}

/* As a kill ends it, when what was read is durable. */
static void end_life(struct world **w)
{
    while (!spooled_is_settled(ingest_spooled((*w)->d->self)))
        work(*w);
    world_free(w);
}

/* What a pipe gave and was no line yet is lost with it; the next pipe begins with its first byte. */
static void the_next_pipe_goes_on_with_the_line(void **state)
{
    static const char *const said[] = {"a 1\nb 2\na", " 3\nb", " 5\na 4\n"};
    struct world *last = world_new(state);
    uint64_t seed = 1;

    for (size_t life = 0; life < 3; life++) {
        struct world *w = world_new(state);
        w->d->config.key = "^(\\w+)";
        start(w);
        say(w, said[life]);
        while (w->announced < 2)
            work(w);
        open_at(w, "feed+a", (struct view){NULL, 0});
        read_to(w, 4 * (life + 1), 7, &seed);
        assert_memory_equal(w->came.text, "a 1\na 3\na 4\n", 4 * (life + 1));
        end_life(&w);
    }
    last->d->config.key = "^(\\w+)";
    start(last);
    while (last->announced < 2)
        work(last);
    open_at(last, "feed+b", (struct view){NULL, 0});
    read_to(last, 8, 7, &seed);
    assert_memory_equal(last->came.text, "b 2\nb 5\n", 8);
    end_life(&last);
}

/* What a former life decided is not true of a stream that is begun again. */
static void entries_of_a_new_life_are_its_own(void **state)
{
    static const char *const held[] = {"1 one\n", "1 two\n  more\n1 three\n", "2\n"};
    static const size_t first[] = {6, 13, 2};
    const char *path = in_folder(state, "app.log");
    uint64_t seed = 1;

    for (int life = 0; life < 3; life++) {
        struct world *w = world_new(state);
        w->paths[0] = path;
        w->d->config.multiline_start = "^\\d+";
        put_file(path, held[life], strlen(held[life]));
        start(w);
        while (!w->announced)
            work(w);
        open_at(w, "feed", (struct view){NULL, 0});
        read_to(w, strlen(held[life]), 7, &seed);
        assert_string_equal(w->entries, "^\\d+");
        assert_memory_equal(w->came.text, held[life], strlen(held[life]));
        assert_int_equal(w->came.breaks[0], first[life]);
        end_life(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(standard_input_is_read_once_and_its_end_is_told),
        STAGE_TEST(entries_break_in_the_same_places_from_every_cursor),
        STAGE_TEST(an_entry_has_a_thousand_lines_at_most),
        STAGE_TEST(much_comes_while_time_ends_an_entry),
        STAGE_TEST(a_bad_pattern_is_refused_with_its_place),
        STAGE_TEST(a_stream_for_each_key),
        STAGE_TEST(the_next_pipe_goes_on_with_the_line),
        STAGE_TEST(entries_of_a_new_life_are_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
