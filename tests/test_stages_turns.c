/* Hundreds of followed streams through encode: the test plays ingest and emit for all of them, and looks into
 * encode to see what is in memory. What comes out must not depend on who rested when. */
#include "stages/encode/encode.h"
#include "tests/stages_help.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STREAMS_MAX = 400, STEP_MS = 20 };

/* The store's disk is full: LMDB's calls go through these, for a program's own come before those of libraries. */
static atomic_bool full;

static ssize_t done_unless_full(ssize_t done)
{
    if (!atomic_load(&full))
        return done;
    errno = ENOSPC;
    return -1;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return atomic_load(&full) ? done_unless_full(0)
                              : (ssize_t)syscall(SYS_pwrite64, fd, data, bytes, offset);
}

struct iovec;
ssize_t writev(int fd, const struct iovec *pieces, int count);
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    return atomic_load(&full) ? done_unless_full(0)
                              : (ssize_t)syscall(SYS_writev, fd, pieces, count);
}

/* One stream, with its source and its sink. */
struct feed {
    char name[16];
    uint64_t id, epoch, begin; /* begin: offset at which it was opened */
    uint64_t sent, limit;      /* since the open */
    bool open, wanted;         /* wanted: since the last grant */
    bool held;                 /* it says that it has something, and sends nothing */
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
static bool restart;

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
    d->config.restart = restart;
    driver_start(d);
    for (size_t i = 0; i < w->count; i++) {
        Riverrun__Announce one = RIVERRUN__ANNOUNCE__INIT;
        one.name = one.source = w->feeds[i].name;
        assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_ANNOUNCE, &one), ERR_OK);
    }
    announced.streams = w->count;
    announced.follow = true;
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
    case RIVERRUN__CONTROL__IS_CLOSE:
        feed_of(w, control->close->stream)->open = false;
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
    if (f->held)
        return false;
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

static uint64_t submitted(struct world *w)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < inside(w)->stream_count; i++)
        sum += inside(w)->streams[i]->tokens_submitted;
    return sum;
}

/* Seventy books, more than there are places, and one line: it is read before the books get much further. */
static void a_line_does_not_wait_for_books(void **state)
{
    struct world *w = make(state, ACTIVE_MAX + 7, 64 << 20);
    struct feed *log = &w->feeds[ACTIVE_MAX + 6];
    uint64_t seed = 11, before, after;

    for (size_t i = 0; i < w->count - 1; i++)
        while (w->feeds[i].source.bytes < 30000)
            write_line(&w->feeds[i], &seed);
    for (int round = 0; round < 60; round++)
        pump(w);
    while ((before = submitted(w)) ==
           0) /* births are commits, which a busy machine keeps waiting */
        pump(w);
    assert_false(all_read(w));
    write_line(log, &seed);
    while (record_count(log) == 0)
        pump_behind_the_store(w);
    after = submitted(w);
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

static void ask(struct world *w, const char *verb, const struct feed *f)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    char *names[1] = {(char *)f->name};
    const struct stage_event event = {
        .kind = EVENT_REQUEST, .now_ms = w->d->now_ms, .request = &request};

    request.verb = proto_text(verb);
    request.names = names;
    request.n_names = 1;
    w->d->ops->event(w->d->self, &event);
    driver_work(w->d);
}

static struct stream *stream_of(struct world *w, size_t i)
{
    return inside(w)->streams[i];
}

static void pump_until(struct world *w, size_t i, enum phase phase)
{
    while (stream_of(w, i)->phase != phase)
        pump(w);
}

/* Paused while its state is on its way out of memory, to make room. */
static void one_that_gave_its_state_away_goes_on_after_a_pause(void **state)
{
    struct world *w = make(state, 2, 64 << 20);
    struct stream *s;
    uint64_t seed = 23;

    write_line(&w->feeds[0], &seed);
    pump_until_read(w);
    s = stream_of(w, 0);
    while (!s->listed)
        pump(w);
    s->give_up = s->want_snapshot = true;
    turn_wanted(s);
    ask(w, "pause", &w->feeds[0]);
    pump_until(w, 0, PHASE_PAUSED);
    ask(w, "resume", &w->feeds[0]);
    write_line(&w->feeds[0], &seed);
    pump_until_read(w);
    driver_free(&w->d);
    check_alone(state, &w->feeds[0]);
    drop(&w);
}

/* Its first line is still in the tokenizer when it is paused, so token 0 alone is read; when it waits for that line
 * again its state goes. */
static void one_that_was_paused_before_its_first_token_goes_on(void **state)
{
    struct world *w = make(state, 1, 64 << 20);
    struct feed *f = &w->feeds[0];
    uint64_t seed = 23;

    write_line(f, &seed);
    f->held = true;
    pump_until(w, 0, PHASE_RUNNING);
    ask(w, "pause", f);
    pump_until(w, 0, PHASE_PAUSED);
    ask(w, "resume", f);
    pump_until(w, 0, PHASE_RUNNING);
    while (!stream_of(w, 0)->listed)
        pump(w);
    turn_state_close(stream_of(w, 0));
    f->held = f->wanted = false;
    pump_until_read(w);
    driver_free(&w->d);
    check_alone(state, f);
    drop(&w);
}

/* A request is of any length. */
static void ten_thousand_names_may_be_asked_for(void **state)
{
    enum { NAMES = 10000 };
    struct world *w = make(state, 2, 64 << 20);
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    const struct stage_event event = {.kind = EVENT_REQUEST, .request = &request};
    char **names = calloc(NAMES, sizeof *names);

    require(names);
    for (size_t i = 0; i < NAMES; i++)
        require(asprintf(&names[i], "%0120zu", i) > 0);
    request.verb = proto_text("pause");
    request.names = names;
    request.n_names = NAMES;
    w->d->ops->event(w->d->self, &event);
    while (inside(w)->requests)
        pump(w);
    for (size_t i = 0; i < NAMES; i++)
        free(names[i]);
    free(names);
    drop(&w);
}

/* With --restart all is read from its beginning, in a generation of its own, though nothing more has come. */
static void a_restart_reads_again_what_is_at_rest(void **state)
{
    struct world *w = make(state, 5, 64 << 20);
    uint64_t seed = 29;

    for (size_t i = 0; i < w->count; i++)
        write_line(&w->feeds[i], &seed);
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    for (size_t i = 0; i < w->count; i++) {
        struct feed *f = &w->feeds[i];
        f->open = false;
        f->records.bytes = f->ends.bytes = f->told = f->kept = 0;
    }
    restart = true;
    start(w, state, "state", 64 << 20);
    while (stream_of(w, w->count - 1)->phase != PHASE_IDLE) {
        driver_work(w->d);
        hear(w);
    }
    driver_event(w->d, EVENT_PEER_GONE, PORT_UP);
    for (size_t i = 0; i < w->count; i++)
        w->feeds[i].open = false;
    driver_event(w->d, EVENT_PEER, PORT_UP);
    pump_until_read(w);
    for (size_t i = 0; i < w->count; i++)
        assert_int_equal(w->feeds[i].generation, 2);
    driver_free(&w->d);
    restart = false;
    check_alone(state, &w->feeds[1]);
    drop(&w);
}

/* What finds no room is not its checkpoint but the flag of one at rest: the run stays, and the question is answered
 * once there is room. */
static void a_pause_waits_for_room(void **state)
{
    struct world *w = make(state, 2, 64 << 20);
    uint64_t seed = 31;

    for (size_t i = 0; i < w->count; i++)
        write_line(&w->feeds[i], &seed);
    pump_until_read(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    w->feeds[0].open = w->feeds[1].open = false;
    start(w, state, "state", 64 << 20);
    while (inside(w)->streams[0]->phase != PHASE_IDLE)
        pump(w);
    atomic_store(&full, true);
    ask(w, "pause", &w->feeds[0]);
    while (!strstr(w->d->reports, "trying again every") && w->d->progress != STAGE_DONE)
        pump(w);
    assert_int_not_equal(w->d->progress, STAGE_DONE);
    assert_non_null(inside(w)->requests);
    atomic_store(&full, false);
    write_line(&w->feeds[1], &seed);
    pump_until_read(w);
    while (inside(w)->requests)
        pump(w);
    while (!all_safe(w))
        pump(w);
    driver_free(&w->d);
    w->feeds[0].open = w->feeds[1].open = false;
    start(w, state, "state", 64 << 20);
    while (!strstr(w->d->reports, "paused"))
        pump(w);
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
        STAGE_TEST(one_that_gave_its_state_away_goes_on_after_a_pause),
        STAGE_TEST(one_that_was_paused_before_its_first_token_goes_on),
        STAGE_TEST(ten_thousand_names_may_be_asked_for),
        STAGE_TEST(a_restart_reads_again_what_is_at_rest),
        STAGE_TEST(a_pause_waits_for_room),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
