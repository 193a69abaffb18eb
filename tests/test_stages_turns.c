/* Hundreds of followed streams through encode: the test plays ingest and emit for all of them, and looks into
 * encode to see what is in memory. What comes out must not depend on who rested when. */
#include "stages/encode/encode.h"
#include "tests/stages_help.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { STREAMS_MAX = 400, STEP_MS = 20 };

/* One stream, with its source and its sink. */
struct feed {
    char name[16];
    uint64_t id, epoch, begin; /* begin: offset at which it was opened */
    uint64_t sent, limit;      /* since the open */
    bool open, wanted;         /* wanted: since the last grant */
    size_t wants, sink_opens, keeps, lowered;
    uint64_t kept;                    /* what `keep` named last */
    struct buffer source;             /* lines */
    struct buffer records;            /* lines, those of `ends` */
    struct buffer ends;               /* u64 each: where a record ends in records */
    uint64_t owner, generation, told; /* told: records that were called durable */
    uint64_t resent;                  /* records that came again */
};

struct world {
    struct driver *d;
    struct feed feeds[STREAMS_MAX];
    size_t count, states_most;
    uint64_t committed; /* syncs answered */
    uint64_t unsynced;  /* bytes of records since all were called durable */
};

static struct encode *inside(struct world *w)
{
    return w->d->self;
}

static struct feed *feed_of(struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->feeds[i].id == id)
            return &w->feeds[i];
    fail_msg("no stream %llu", (unsigned long long)id);
    return NULL;
}

/* Of the analysis, in tests of memory: it goes and comes with states. No alerts: a record is a line here. */
static uint32_t parts;

static void start(struct world *w, void **state, const char *folder, uint64_t state_bytes)
{
    struct driver *d = w->d = driver_new("encode");
    Riverrun__Announced announced = RIVERRUN__ANNOUNCED__INIT;

    d->config.model = NANO_DIR "/nano.safetensors";
    d->config.store = in_folder(state, folder);
    d->config.unit = UNIT_LINE;
    d->config.threads = 1;
    d->config.follow = true;
    d->config.checkpoint_ms = 1000;
    d->config.analyze = parts;
    d->config.state_bytes = state_bytes;
    driver_start(d);
    for (size_t i = 0; i < w->count; i++) {
        Riverrun__Announce one = RIVERRUN__ANNOUNCE__INIT;
        one.name = one.source = w->feeds[i].name;
        assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_ANNOUNCE, &one), ERR_OK);
    }
    announced.streams = w->count;
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_ANNOUNCED, &announced),
                     ERR_OK);
}

static struct world *make(void **state, size_t count, uint64_t state_bytes)
{
    struct world *w = calloc(1, sizeof *w);

    require(w && count <= STREAMS_MAX);
    w->count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(w->feeds[i].name, sizeof w->feeds[i].name, "log-%03zu", i);
        w->feeds[i].source = w->feeds[i].records = w->feeds[i].ends = buffer_of(1 << 22);
    }
    start(w, state, "state", state_bytes);
    return w;
}

static void drop(struct world **w)
{
    if ((*w)->d)
        driver_free(&(*w)->d);
    for (size_t i = 0; i < (*w)->count; i++) {
        buffer_release(&(*w)->feeds[i].source);
        buffer_release(&(*w)->feeds[i].records);
        buffer_release(&(*w)->feeds[i].ends);
    }
    free(*w);
    *w = NULL;
}

/* ---- Upstream ---- */

static void opened(struct world *w, const Riverrun__Open *open)
{
    struct feed *f = NULL;
    Riverrun__Opened answer = RIVERRUN__OPENED__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;
    uint8_t cursor[8];

    for (size_t i = 0; i < w->count && !f; i++)
        if (!strcmp(w->feeds[i].name, open->name))
            f = &w->feeds[i];
    require(f);
    f->id = open->stream;
    f->epoch = open->epoch;
    f->begin = open->cursor.len ? load_u64(open->cursor.data) : 0;
    f->sent = f->limit = 0;
    f->open = true;
    f->wanted = false;
    store_u64(cursor, f->begin);
    prints.tokenizer = proto_text("bytes");
    prints.normalize = proto_text("none");
    prints.unicode = proto_text("some");
    prints.line_edges = true;
    answer.stream = f->id;
    answer.epoch = f->epoch;
    answer.fingerprints = &prints;
    answer.cursor = proto_bytes(cursor, sizeof cursor);
    answer.vocab = 256;
    assert_int_equal(driver_control(w->d, PORT_UP, RIVERRUN__CONTROL__IS_OPENED, &answer), ERR_OK);
}

static void granted(struct feed *f, const Riverrun__Grant *grant)
{
    if (grant->epoch != f->epoch)
        return;
    f->lowered += grant->limit < f->limit;
    f->limit = grant->limit > f->sent ? grant->limit : f->sent;
    f->wanted = false;
}

static void hear_up(struct world *w, const Riverrun__Control *control)
{
    struct feed *f;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_OPEN:
        opened(w, control->open);
        break;
    case RIVERRUN__CONTROL__IS_GRANT:
        granted(feed_of(w, control->grant->stream), control->grant);
        break;
    case RIVERRUN__CONTROL__IS_KEEP:
        f = feed_of(w, control->keep->stream);
        f->keeps++;
        assert_int_equal(control->keep->cursor.len, 8);
        assert_true(load_u64(control->keep->cursor.data) >= f->kept);
        f->kept = load_u64(control->keep->cursor.data);
        break;
    default:
        break;
    }
}

/* What f may send, as tokens of a byte each; or that it wants to. */
static bool feed_on(struct world *w, struct feed *f)
{
    uint64_t at = f->begin + f->sent, left = f->source.bytes - at;
    uint64_t count = f->limit - f->sent < left ? f->limit - f->sent : left;
    Riverrun__Want want = RIVERRUN__WANT__INIT;
    struct buffer b = buffer_of(1 << 18);
    uint8_t cursor[8];

    if (!f->open || !left)
        return false;
    if (!count) {
        want.stream = f->id;
        want.epoch = f->epoch;
        if (!f->wanted)
            assert_int_equal(driver_control(w->d, PORT_UP, RIVERRUN__CONTROL__IS_WANT, &want),
                             ERR_OK);
        f->wants += !f->wanted;
        f->wanted = true;
        return false;
    }
    count = count < 700 ? count : 700;
    for (uint64_t i = 0; i < count; i++)
        buffer_u32(&b, f->source.data[at + i]);
    for (uint64_t i = 0; i < count; i++)
        buffer_u32(&b, 1);
    for (uint64_t i = 0; i < count; i++)
        buffer_u16(&b, 1);
    buffer_put(&b, f->source.data + at, count);
    store_u64(cursor, at + count);
    const struct frame frame = {.kind = MSG_TOKENS,
                                .stream = f->id,
                                .epoch = f->epoch,
                                .position = f->sent,
                                .count = (uint32_t)count,
                                .cursor = {cursor, sizeof cursor},
                                .payload = {b.data, b.bytes}};
    assert_int_equal(driver_data(w->d, PORT_UP, &frame), ERR_OK);
    f->sent += count;
    buffer_release(&b);
    return true;
}

/* ---- Downstream ---- */

static uint64_t record_count(const struct feed *f)
{
    return f->ends.bytes / 8;
}

static uint64_t record_end(const struct feed *f, uint64_t n)
{
    return n ? load_u64(f->ends.data + 8 * (n - 1)) : 0;
}

static void took_record(struct world *w, const struct frame *frame)
{
    struct feed *f = feed_of(w, frame->stream);
    uint64_t at = record_end(f, frame->position);

    assert_true(frame->position <= record_count(f));
    if (frame->position < record_count(f)) { /* said again: the same bytes */
        assert_int_equal(record_end(f, frame->position + 1) - at, frame->payload.bytes);
        assert_memory_equal(f->records.data + at, frame->payload.data, frame->payload.bytes);
        f->resent++;
        return;
    }
    w->unsynced += frame->payload.bytes;
    buffer_put(&f->records, frame->payload.data, frame->payload.bytes);
    buffer_u64(&f->ends, f->records.bytes);
}

/* The feed's records below n are on the disk. */
static void say_durable(struct world *w, struct feed *f, uint64_t n, bool asked)
{
    static const uint8_t chain[16] = {1};
    Riverrun__Durable durable = RIVERRUN__DURABLE__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT;

    token.generation = f->generation;
    token.n = f->told = n;
    token.chain = proto_bytes(chain, sizeof chain);
    durable.stream = f->id;
    durable.owner = f->owner;
    durable.generation = f->generation;
    durable.token = &token;
    durable.asked = asked;
    assert_int_equal(driver_control(w->d, PORT_DOWN, RIVERRUN__CONTROL__IS_DURABLE, &durable),
                     ERR_OK);
}

/* As emit does: half of what encode keeps is never left unsynced, or encode would take no more tokens. */
static void sync_in_time(struct world *w)
{
    if (w->unsynced < w->d->config.record_window_bytes / 2)
        return;
    w->unsynced = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->feeds[i].told < record_count(&w->feeds[i]))
            say_durable(w, &w->feeds[i], record_count(&w->feeds[i]), false);
}

static void hear_down(struct world *w, const Riverrun__Control *control)
{
    Riverrun__SinkOpened answer = RIVERRUN__SINK_OPENED__INIT;
    struct feed *f;

    if (control->is_case == RIVERRUN__CONTROL__IS_SINK_OPEN) {
        f = feed_of(w, control->sink_open->stream);
        f->sink_opens++;
        answer.stream = f->id;
        answer.owner = f->owner = control->sink_open->owner;
        answer.generation = f->generation = control->sink_open->generation;
        answer.n = control->sink_open->tokens[0]->n;
        assert_int_equal(
            driver_control(w->d, PORT_DOWN, RIVERRUN__CONTROL__IS_SINK_OPENED, &answer), ERR_OK);
    } else if (control->is_case == RIVERRUN__CONTROL__IS_SYNC) {
        f = feed_of(w, control->sync->stream);
        assert_true(control->sync->n <= record_count(f));
        w->committed++;
        say_durable(w, f, control->sync->n, true);
    }
}

/* ---- Both ---- */

static bool hear(struct world *w)
{
    bool any = false;

    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++) {
        struct msg *msg;
        while ((msg = driver_take(w->d, port))) {
            struct frame f;
            Riverrun__Control *control;
            any = true;
            assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
            if (f.kind == MSG_RECORD) {
                took_record(w, &f);
            } else {
                assert_int_equal(control_read(&f, &control, NULL), ERR_OK);
                (port == PORT_UP ? hear_up : hear_down)(w, control);
                riverrun__control__free_unpacked(control, NULL);
            }
            msg_free(&msg);
        }
    }
    sync_in_time(w);
    return any;
}

/* One round: everybody says what they can, and the clock goes on. */
static void pump(struct world *w)
{
    struct pollfd items[STAGE_DESCRIPTORS_MAX];
    int fds[STAGE_DESCRIPTORS_MAX];
    bool any = false;

    w->d->now_ms += STEP_MS;
    driver_work(w->d);
    any = hear(w);
    for (size_t i = 0; i < w->count; i++)
        any = feed_on(w, &w->feeds[i]) || any;
    assert_true(inside(w)->active_count <= ACTIVE_MAX);
    if (w->states_most && inside(w)->states > w->states_most)
        fail_msg("%zu states in memory, %zu are allowed", inside(w)->states, w->states_most);
    if (any)
        return;
    size_t count = w->d->ops->descriptors(w->d->self, fds);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct pollfd){fds[i], POLLIN, 0};
    poll(items, count, 1);
}

/* As pump, where how long a disk takes is not to matter: what was given to the store is waited for, and nobody is given
 * a turn meanwhile. */
static void pump_behind_the_store(struct world *w)
{
    struct pollfd item = {store_descriptor(inside(w)->store), POLLIN, 0};
    bool committing = false;

    for (size_t i = 0; i < inside(w)->stream_count; i++)
        committing |= inside(w)->streams[i]->snapshot.step == SNAPSHOT_COMMIT;
    if (committing)
        poll(&item, 1, -1);
    pump(w);
}

static uint64_t lines_of(const struct feed *f)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < f->source.bytes; i++)
        lines += f->source.data[i] == '\n';
    return lines;
}

static bool all_read(const struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (record_count(&w->feeds[i]) < lines_of(&w->feeds[i]))
            return false;
    return true;
}

static void pump_until_read(struct world *w)
{
    while (!all_read(w))
        pump(w);
}

static bool all_safe(const struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->feeds[i].told < record_count(&w->feeds[i]))
            return false;
    return !((struct encode *)w->d->self)->snapshots;
}

static void write_line(struct feed *f, uint64_t *seed)
{
    char line[160];
    size_t length = 5 + random_next(seed) % 120;

    for (size_t i = 0; i < length; i++)
        line[i] = (char)(' ' + random_next(seed) % 90);
    line[length] = '\n';
    buffer_put(&f->source, line, length + 1);
}

/* What f's source gives when nobody else is there. */
static void check_alone(void **state, const struct feed *f)
{
    static unsigned runs;
    struct world *w = calloc(1, sizeof *w);
    char folder[32];

    require(w);
    w->count = 1;
    memcpy(w->feeds[0].name, f->name, sizeof f->name);
    w->feeds[0].source = w->feeds[0].records = w->feeds[0].ends = buffer_of(1 << 22);
    buffer_put(&w->feeds[0].source, f->source.data, f->source.bytes);
    snprintf(folder, sizeof folder, "alone-%u", runs++);
    start(w, state, folder, 64 << 20);
    pump_until_read(w);
    assert_int_equal(w->feeds[0].records.bytes, f->records.bytes);
    assert_memory_equal(w->feeds[0].records.data, f->records.data, f->records.bytes);
    drop(&w);
}

/* Lines at random to three hundred streams, with memory for a few states: what comes out of each is what it gives
 * alone, never more states are in memory than are allowed, and what rests is in a checkpoint in time. */
static void many_streams_share_little_memory_and_change_nothing(void **state)
{
    parts = (1U << ANALYZE_COUNT) - 1;
    struct world *w = make(state, 300, 1 << 20);
    uint64_t seed = 7;
    size_t lowered = 0;

    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < 8; i++)
            write_line(&w->feeds[random_next(&seed) % w->count], &seed);
        pump(w);
        if (!w->states_most && inside(w)->engine)
            w->states_most = (1 << 20) / 2 / engine_info(inside(w)->engine)->state_bytes;
    }
    assert_true(w->states_most > 4 && w->states_most < 250);
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    for (size_t i = 0; i < w->count; i++) {
        lowered += w->feeds[i].lowered;
        assert_int_equal(w->feeds[i].resent, 0);
    }
    assert_true(lowered > 0);
    driver_free(&w->d);
    for (size_t i = 0; i < w->count; i += 97)
        check_alone(state, &w->feeds[i]);
    drop(&w);
    parts = 0;
}

/* Books that all have much to read, more than there is memory for, and logs beside them: each gets on. */
static void books_give_their_memory_to_those_that_wait(void **state)
{
    parts = (1U << ANALYZE_COUNT) - 1;
    struct world *w = make(state, 250, 1 << 20);
    uint64_t seed = 19;

    for (size_t i = 0; i < w->count; i++)
        while (w->feeds[i].source.bytes < (i % 2 ? 6000 : 300))
            write_line(&w->feeds[i], &seed);
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    for (size_t i = 0; i < w->count; i += 83)
        check_alone(state, &w->feeds[i]);
    drop(&w);
    parts = 0;
}

/* Stopped and begun again: upstream is opened for all, the sink only of those that have something to read. */
static void a_resume_opens_only_what_has_something_to_read(void **state)
{
    struct world *w = make(state, 200, 64 << 20);
    uint64_t seed = 9;

    for (size_t i = 0; i < w->count; i++)
        write_line(&w->feeds[i], &seed);
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    for (size_t i = 0; i < w->count; i++) {
        w->feeds[i].sink_opens = 0;
        w->feeds[i].open = false;
    }
    for (size_t i = 0; i < 20; i++)
        write_line(&w->feeds[10 * i], &seed);
    start(w, state, "state", 64 << 20);
    pump_until_read(w);
    for (size_t i = 0; i < w->count; i++) {
        assert_true(w->feeds[i].open);
        assert_int_equal(w->feeds[i].sink_opens, i % 10 == 0);
        assert_int_equal(w->feeds[i].resent, 0);
    }
    check_alone(state, &w->feeds[30]);
    drop(&w);
}

/* Seventy books, more than there are places, and one line: it is read before the books get much further. */
static void a_line_does_not_wait_for_books(void **state)
{
    struct world *w = make(state, ACTIVE_MAX + 7, 64 << 20);
    struct feed *log = &w->feeds[ACTIVE_MAX + 6];
    uint64_t seed = 11, before = 0, after = 0;

    for (size_t i = 0; i < w->count - 1; i++)
        while (w->feeds[i].source.bytes < 30000)
            write_line(&w->feeds[i], &seed);
    for (int round = 0; round < 60; round++)
        pump(w);
    for (size_t i = 0; i < inside(w)->stream_count; i++)
        before += inside(w)->streams[i]->tokens_submitted;
    assert_true(before > 0 && !all_read(w));
    write_line(log, &seed);
    while (record_count(log) == 0)
        pump_behind_the_store(w);
    for (size_t i = 0; i < inside(w)->stream_count; i++)
        after += inside(w)->streams[i]->tokens_submitted;
    assert_false(all_read(w));
    /* A place comes free when the first of the books has had a slice of 1,024 tokens, the others less; its birth takes
     * a few rounds (checkpoint 0, the sink), in each of which books submit what the engine takes, 4,096 at most. */
    if (after - before > ACTIVE_MAX * 1024 + 8 * 4096)
        fail_msg("%llu tokens of books went before one line", (unsigned long long)(after - before));
    drop(&w);
}

static void what_no_kept_checkpoint_needs_is_told(void **state)
{
    struct world *w = make(state, 1, 64 << 20);
    struct feed *f = &w->feeds[0];
    uint64_t seed = 13, ends[8];

    for (int i = 0; i < 8; i++) {
        uint64_t committed = w->committed;
        write_line(f, &seed);
        ends[i] = f->source.bytes;
        while (w->committed == committed || !all_safe(w))
            pump(w);
    }
    for (int i = 0; i < 20; i++)
        pump(w);
    /* Checkpoint 0 and eight more, of which three are kept: the sixth line's is the oldest. */
    assert_int_equal(f->keeps, 7);
    assert_int_equal(f->kept, ends[5]);
    drop(&w);
}

/* Both neighbours go and come back while most streams rest: nothing is lost and nothing comes twice. */
static void neighbours_that_come_back_find_those_at_rest(void **state)
{
    struct world *w = make(state, 60, 1 << 20);
    uint64_t seed = 17;

    for (int round = 0; round < 120; round++) {
        for (int i = 0; i < 3; i++)
            write_line(&w->feeds[random_next(&seed) % w->count], &seed);
        pump(w);
        if (round % 10 == 4) {
            enum stage_port port = round % 20 == 4 ? PORT_UP : PORT_DOWN;
            driver_event(w->d, EVENT_PEER_GONE, port);
            for (size_t i = 0; i < w->count && port == PORT_UP; i++)
                w->feeds[i].open = false;
            pump(w);
            driver_event(w->d, EVENT_PEER, port);
        }
    }
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    for (size_t i = 0; i < w->count; i += 19)
        check_alone(state, &w->feeds[i]);
    drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(many_streams_share_little_memory_and_change_nothing),
        STAGE_TEST(books_give_their_memory_to_those_that_wait),
        STAGE_TEST(a_resume_opens_only_what_has_something_to_read),
        STAGE_TEST(a_line_does_not_wait_for_books),
        STAGE_TEST(what_no_kept_checkpoint_needs_is_told),
        STAGE_TEST(neighbours_that_come_back_find_those_at_rest),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
