/* Encode between two neighbours that the test plays: the nano model, a store in a folder, one stream of
 * bytes as tokens. What happens with real neighbours is end to end's. */
#include "engine/engine.h"
#include "stages/encode/drift.h"
#include "stages/encode/points.h"
#include "tests/stages_help.h"

#include <stdio.h>
#include <stdlib.h>

static struct driver *start_with(void **state, const char *model)
{
    struct driver *d = driver_new("encode");
    Riverrun__Announce announce = RIVERRUN__ANNOUNCE__INIT;
    Riverrun__Announced announced = RIVERRUN__ANNOUNCED__INIT;
    Riverrun__Control *control;

    d->config.model = model;
    d->config.store = in_folder(state, "state");
    d->config.unit = UNIT_LINE;
    d->config.threads = 1;
    d->config.checkpoint_ms = 1 << 30;
    driver_start(d);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_LIST);
    riverrun__control__free_unpacked(control, NULL);
    announce.name = proto_text("book");
    announce.source = proto_text("/book");
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_ANNOUNCE, &announce), ERR_OK);
    announced.streams = 1;
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_ANNOUNCED, &announced),
                     ERR_OK);
    return d;
}

static struct driver *start(void **state)
{
    return start_with(state, NANO_DIR "/nano.safetensors");
}

/* The cursor of the last open, as a text; the cursor that messages carry. */
static char opened_at[CURSOR_MAX + 1];
static const char *carried = "end";

/* The next open of the source; its epoch, with the stream's number. */
static uint64_t expect_open(struct driver *d, uint64_t *stream)
{
    Riverrun__Control *control;
    uint64_t epoch;

    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_OPEN);
    assert_string_equal(control->open->name, "book");
    assert_true(control->open->line_edges);
    epoch = control->open->epoch;
    snprintf(opened_at, sizeof opened_at, "%.*s", (int)control->open->cursor.len,
             (const char *)control->open->cursor.data);
    *stream = control->open->stream;
    riverrun__control__free_unpacked(control, NULL);
    return epoch;
}

static void answer_open(struct driver *d, uint64_t stream, uint64_t epoch, uint64_t bytes)
{
    Riverrun__Opened opened = RIVERRUN__OPENED__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;

    prints.size_known = true;
    prints.source_bytes = bytes;
    prints.tokenizer = proto_text("bytes");
    prints.normalize = proto_text("none");
    prints.unicode = proto_text("some");
    prints.line_edges = true;
    opened.stream = stream;
    opened.epoch = epoch;
    opened.fingerprints = &prints;
    opened.cursor = proto_bytes("start", 5);
    opened.vocab = 256;
    assert_int_equal(driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_OPENED, &opened), ERR_OK);
}

struct sink {
    uint64_t owner, generation, n; /* n: of the newest token offered */
    bool finished;
};

static struct sink expect_sink_open(struct driver *d)
{
    Riverrun__Control *control;
    struct sink sink;

    driver_wait(d, PORT_DOWN);
    control = driver_expect(d, PORT_DOWN, RIVERRUN__CONTROL__IS_SINK_OPEN);
    assert_true(control->sink_open->n_tokens > 0);
    sink = (struct sink){control->sink_open->owner, control->sink_open->generation,
                         control->sink_open->tokens[0]->n, control->sink_open->finished};
    riverrun__control__free_unpacked(control, NULL);
    return sink;
}

static void answer_sink(struct driver *d, uint64_t stream, const struct sink *sink)
{
    Riverrun__SinkOpened opened = RIVERRUN__SINK_OPENED__INIT;

    opened.stream = stream;
    opened.owner = sink->owner;
    opened.generation = sink->generation;
    opened.n = sink->n;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_SINK_OPENED, &opened),
                     ERR_OK);
    driver_work(d);
}

/* Bytes of a text as tokens, from position on. */
static void send_part(struct driver *d, uint64_t stream, uint64_t epoch, uint64_t position,
                      const char *text, size_t count, bool end)
{
    struct buffer b = buffer_of(1 << 16);
    struct frame f = {.kind = MSG_TOKENS,
                      .flags = end ? MSG_END : 0,
                      .stream = stream,
                      .epoch = epoch,
                      .position = position,
                      .count = (uint32_t)count,
                      .cursor = {(const uint8_t *)carried, strlen(carried)}};

    for (size_t i = 0; i < count; i++)
        buffer_u32(&b, (uint8_t)text[i]);
    for (size_t i = 0; i < count; i++)
        buffer_u32(&b, 1);
    for (size_t i = 0; i < count; i++)
        buffer_u16(&b, 1);
    buffer_put(&b, text, count);
    f.payload = (struct view){b.data, b.bytes};
    assert_int_equal(driver_data(d, PORT_UP, &f), ERR_OK);
    buffer_release(&b);
}

/* Text as single-byte tokens, with the end. */
static void send_text(struct driver *d, uint64_t stream, uint64_t epoch, const char *text)
{
    send_part(d, stream, epoch, 0, text, strlen(text), true);
}

/* The next message down: a record's number, or SIZE_MAX for `sync n`, with n. */
static uint64_t next_down(struct driver *d, uint64_t *n)
{
    struct frame f;
    uint64_t record = UINT64_MAX;

    driver_wait(d, PORT_DOWN);
    struct msg *msg = driver_take(d, PORT_DOWN);
    assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
    if (f.kind == MSG_RECORD) {
        record = f.position;
    } else {
        Riverrun__Control *control;
        assert_int_equal(control_read(&f, &control, NULL), ERR_OK);
        assert_int_equal(control->is_case, RIVERRUN__CONTROL__IS_SYNC);
        *n = control->sync->n;
        riverrun__control__free_unpacked(control, NULL);
    }
    msg_free(&msg);
    return record;
}

static void tell_durable(struct driver *d, uint64_t stream, const struct sink *sink, uint64_t n,
                         bool asked)
{
    static const uint8_t chain[16] = {1};
    Riverrun__Durable durable = RIVERRUN__DURABLE__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT;

    token.generation = sink->generation;
    token.n = n;
    token.length = 100 * n;
    token.chain = proto_bytes(chain, sizeof chain);
    durable.stream = stream;
    durable.owner = sink->owner;
    durable.generation = sink->generation;
    durable.token = &token;
    durable.asked = asked;
    assert_int_equal(driver_control(d, PORT_DOWN, RIVERRUN__CONTROL__IS_DURABLE, &durable), ERR_OK);
}

static void run_to_done(struct driver *d, enum err_code want)
{
    while (d->progress != STAGE_DONE) {
        driver_drop_sent(d);
        driver_wait(d, PORT_UP);
    }
    if (d->outcome.code != want)
        fail_msg("outcome %d: %s; %s", (int)d->outcome.code, d->outcome.text, d->reports);
}

/* Run "ab\ncd\n": three records, the last of them the document's. */
static void read_whole(void **state)
{
    struct driver *d = start(state);
    uint64_t stream, epoch = expect_open(d, &stream), n = 0;

    answer_open(d, stream, epoch, 6);
    struct sink sink = expect_sink_open(d); /* only now: checkpoint 0 is durable */
    assert_int_equal(sink.n, 0);
    assert_false(sink.finished);
    answer_sink(d, stream, &sink);
    Riverrun__Control *control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_GRANT);
    assert_int_equal(control->grant->epoch, epoch);
    assert_true(control->grant->limit > 6);
    riverrun__control__free_unpacked(control, NULL);
    send_text(d, stream, epoch, "ab\ncd\n");
    for (uint64_t record = 0; record < 3; record++)
        assert_int_equal(next_down(d, &n), record);
    assert_int_equal(next_down(d, &n), UINT64_MAX); /* `sync` behind the last record, exactly */
    assert_int_equal(n, 3);
    tell_durable(d, stream, &sink, 2, false);
    tell_durable(d, stream, &sink, 3, true);
    run_to_done(d, ERR_OK);
    driver_free(&d);
}

static void a_text_is_read_to_its_end(void **state)
{
    read_whole(state);
}

/* As a run does that is asked to before it has looked at its streams. */
static void pause_in_store(void **state)
{
    const struct store_options write = {.write = true};
    struct buffer packed = buffer_of(1000);
    struct store_batch *batch = NULL;
    struct store *store = NULL;
    Riverrun__Note note = RIVERRUN__NOTE__INIT;
    void *user;

    note.paused = true;
    assert_int_equal(store_open(&store, in_folder(state, "state"), &write, NULL), ERR_OK);
    assert_int_equal(proto_write(&note.base, &packed, NULL), ERR_OK);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_note(batch, 1, (struct view){packed.data, packed.bytes}, NULL), ERR_OK);
    store_submit(store, &batch, NULL);
    assert_true(store_collect(store, true, &user, NULL));
    store_close(&store);
    buffer_release(&packed);
}

/* Paused or not: there is nothing to pause. */
static void a_finished_stream_is_compared_and_left_alone(void **state)
{
    uint64_t stream;

    read_whole(state);
    pause_in_store(state);
    struct driver *d = start(state);
    struct sink sink = expect_sink_open(d);
    assert_int_equal(sink.n, 3);
    assert_true(sink.finished);
    answer_sink(d, stream = 1, &sink);
    uint64_t epoch = expect_open(d, &stream);
    answer_open(d, stream, epoch, 6);
    run_to_done(d, ERR_OK);
    assert_non_null(strstr(d->reports, "finished before"));
    driver_free(&d);
    d = start(state);
    sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    epoch = expect_open(d, &stream);
    answer_open(d, stream, epoch, 7);
    run_to_done(d, ERR_CHANGED);
    driver_free(&d);
}

/* Over the newest checkpoint of the only stream comes one that is whole by its checksums, and no state. */
static void add_unsound_checkpoint(const char *path)
{
    const struct store_options write = {.write = true};
    struct store *store;
    struct store_checkpoint *newest;
    struct store_batch *batch;
    struct buffer meta = buffer_of(1 << 20);
    Riverrun__Checkpoint *decoded;
    uint64_t numbers[STORE_KEEP];
    size_t count;
    void *user;
    struct err err;

    assert_int_equal(store_open(&store, path, &write, &err), ERR_OK);
    assert_int_equal(store_checkpoints(store, 1, numbers, &count, &err), ERR_OK);
    assert_int_equal(store_checkpoint_read(store, 1, numbers[0], true, &newest, &err), ERR_OK);
    assert_int_equal(point_decode(newest->meta, &decoded, &err), ERR_OK);
    decoded->analysis.len--;
    assert_int_equal(proto_write(&decoded->base, &meta, &err), ERR_OK);
    assert_int_equal(store_batch_open(&batch, &err), ERR_OK);
    assert_int_equal(batch_checkpoint(batch, 1, numbers[0] + 1,
                                      (struct view){meta.data, meta.bytes}, newest->parts,
                                      newest->part_count, &err),
                     ERR_OK);
    store_submit(store, &batch, NULL);
    assert_true(store_collect(store, true, &user, &err));
    assert_int_equal(err.code, ERR_OK);
    riverrun__checkpoint__free_unpacked(decoded, NULL);
    store_checkpoint_free(&newest);
    buffer_release(&meta);
    store_close(&store);
}

static void a_checkpoint_that_is_no_state_is_passed_over(void **state)
{
    uint64_t stream = 1, epoch;

    read_whole(state);
    add_unsound_checkpoint(in_folder(state, "state"));
    struct driver *d = start(state);
    struct sink sink = expect_sink_open(d);
    assert_int_equal(sink.n, 3);
    assert_true(sink.finished);
    assert_non_null(strstr(d->reports, "going on from the one before it"));
    answer_sink(d, stream, &sink);
    epoch = expect_open(d, &stream);
    answer_open(d, stream, epoch, 6);
    run_to_done(d, ERR_OK);
    driver_free(&d);
}

/* Emit comes back just while upstream is asked whether the source is still the same: the answer must
 * not be taken for a comparison that nobody made. */
static void a_sink_that_comes_back_skips_no_comparison(void **state)
{
    uint64_t stream;

    read_whole(state);
    struct driver *d = start(state);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream = 1, &sink);
    uint64_t epoch = expect_open(d, &stream);
    driver_event(d, EVENT_PEER, PORT_DOWN);
    answer_open(d, stream, epoch, 7);
    sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    uint64_t again = expect_open(d, &stream);
    assert_true(again > epoch);
    answer_open(d, stream, again, 7);
    run_to_done(d, ERR_CHANGED);
    driver_free(&d);
}

/* A sink that lost what was not durable gets exactly that again, and `sync` behind it. */
static void records_are_sent_again_from_the_last_durable_one(void **state)
{
    struct driver *d = start(state);
    uint64_t stream, epoch = expect_open(d, &stream), n = 0;

    answer_open(d, stream, epoch, 6);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    send_text(d, stream, epoch, "ab\ncd\n");
    for (uint64_t record = 0; record < 3; record++)
        assert_int_equal(next_down(d, &n), record);
    assert_int_equal(next_down(d, &n), UINT64_MAX);
    tell_durable(d, stream, &sink, 1, false);
    driver_event(d, EVENT_PEER_GONE, PORT_DOWN);
    tell_durable(d, stream, &sink, 3, true); /* of the session that is over: not believed */
    driver_event(d, EVENT_PEER, PORT_DOWN);
    sink = expect_sink_open(d);
    assert_int_equal(sink.n, 1);
    answer_sink(d, stream, &sink);
    assert_int_equal(next_down(d, &n), 1);
    assert_int_equal(next_down(d, &n), 2);
    assert_int_equal(next_down(d, &n), UINT64_MAX);
    assert_int_equal(n, 3);
    tell_durable(d, stream, &sink, 3, true);
    run_to_done(d, ERR_OK);
    driver_free(&d);
}

static void ask(struct driver *d, const char *verb)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    const struct stage_event event = {
        .kind = EVENT_REQUEST, .now_ms = d->now_ms, .request = &request};

    request.verb = proto_text(verb);
    request.all = true;
    d->ops->event(d->self, &event);
    driver_work(d);
}

/* A resume is obeyed at once: the store may still say for a moment that the stream is paused. */
static void a_paused_stream_goes_on_as_soon_as_it_is_told(void **state)
{
    struct driver *d = start(state);
    uint64_t stream, epoch = expect_open(d, &stream), n = 0;

    answer_open(d, stream, epoch, 6);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    for (unsigned round = 0; round < 5; round++) {
        driver_drop_sent(d);
        ask(d, "pause");
        assert_int_equal(next_down(d, &n), UINT64_MAX); /* its checkpoint's `sync` */
        tell_durable(d, stream, &sink, n, true);
        driver_drop_sent(d);
        driver_wait(d, PORT_UP); /* closed there: the pause is durable */
        Riverrun__Control *control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_CLOSE);
        riverrun__control__free_unpacked(control, NULL);
        driver_drop_sent(d);
        ask(d, "resume");
        sink = expect_sink_open(d);
        answer_sink(d, stream, &sink);
        epoch = expect_open(d, &stream);
        answer_open(d, stream, epoch, 6);
        driver_work(d);
    }
    driver_drop_sent(d);
    send_text(d, stream, epoch, "ab\ncd\n");
    for (uint64_t record = 0; record < 3; record++)
        assert_int_equal(next_down(d, &n), record);
    driver_free(&d);
}

/* Pause, and take it back as soon as it is durable; returns the epoch of the open. */
static uint64_t pause_and_resume(struct driver *d, uint64_t *stream, const struct sink *sink)
{
    Riverrun__Control *control;
    uint64_t epoch, n = 0;

    ask(d, "pause");
    assert_int_equal(next_down(d, &n), UINT64_MAX);
    tell_durable(d, *stream, sink, n, true);
    driver_drop_sent(d);
    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_CLOSE);
    riverrun__control__free_unpacked(control, NULL);
    driver_drop_sent(d);
    ask(d, "resume");
    struct sink again = expect_sink_open(d);
    answer_sink(d, *stream, &again);
    epoch = expect_open(d, stream);
    answer_open(d, *stream, epoch, 40);
    driver_drop_sent(d);
    return epoch;
}

/* Paused in the middle of a message, and again when the first tokens of it, cut in another way, were passed
 * over: each token is read once. How far the engine came before the first pause is chance, so the text is sent from
 * where encode asks for it. */
static void a_place_counts_what_is_still_to_be_passed_over(void **state)
{
    static const char text[] = "forty bytes of one line without its end.";
    struct driver *d = start(state);
    uint64_t stream, epoch = expect_open(d, &stream);
    size_t at = 0;
    struct msg *msg;
    struct frame f;

    answer_open(d, stream, epoch, 40);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    driver_drop_sent(d);
    carried = "end";
    send_part(d, stream, epoch, 0, text, 40, false);
    epoch = pause_and_resume(d, &stream, &sink);
    if (strcmp(opened_at, "start") == 0) {
        carried = "fifth";
        send_part(d, stream, epoch, 0, text, 5, false);
        epoch = pause_and_resume(d, &stream, &sink);
    }
    at = strcmp(opened_at, "start") == 0 ? 0 : strcmp(opened_at, "fifth") == 0 ? 5 : 40;
    carried = "end";
    send_part(d, stream, epoch, 0, text + at, 40 - at, true);
    driver_wait(d, PORT_DOWN);
    msg = driver_take(d, PORT_DOWN);
    assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
    assert_int_equal(f.kind, MSG_RECORD);
    if (!memmem(f.payload.data, f.payload.bytes, "\"tokens\":40,", 12))
        fail_msg("from '%s': %.*s", opened_at, (int)f.payload.bytes, (const char *)f.payload.data);
    msg_free(&msg);
    driver_free(&d);
}

static void a_gap_in_tokens_resets_the_link_and_other_epochs_are_dropped(void **state)
{
    struct driver *d = start(state);
    uint64_t stream, epoch = expect_open(d, &stream);
    struct frame f = {.kind = MSG_TOKENS, .stream = stream, .epoch = epoch - 1, .position = 9};

    answer_open(d, stream, epoch, 6);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    assert_int_equal(driver_data(d, PORT_UP, &f), ERR_OK);
    f.epoch = epoch;
    assert_int_equal(driver_data(d, PORT_UP, &f), ERR_INPUT);
    driver_free(&d);
}

/* ---- Drift ---- */

enum { LONG_TEXT = 70000 };

/* Read LONG_TEXT bytes of letters to their end; the document's nats, as its record says. */
static double read_long(struct driver *d, const char *text)
{
    uint64_t stream, epoch = expect_open(d, &stream);
    uint64_t records = 0;
    double nats = -1;
    struct frame f;

    answer_open(d, stream, epoch, LONG_TEXT);
    struct sink sink = expect_sink_open(d);
    answer_sink(d, stream, &sink);
    for (size_t at = 0; at < LONG_TEXT; at += MSG_TOKENS_MAX) {
        size_t count = LONG_TEXT - at < MSG_TOKENS_MAX ? LONG_TEXT - at : MSG_TOKENS_MAX;
        send_part(d, stream, epoch, at, text + at, count, at + count == LONG_TEXT);
    }
    while (true) {
        driver_wait(d, PORT_DOWN);
        struct msg *msg = driver_take(d, PORT_DOWN);
        assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
        const char *at =
            f.kind == MSG_RECORD ? memmem(f.payload.data, f.payload.bytes, "\"nats\":", 7) : NULL;
        nats = at ? strtod(at + 7, NULL) : nats;
        records += f.kind == MSG_RECORD;
        msg_free(&msg);
        if (!at) /* `sync`, behind the last record: the document's */
            break;
    }
    tell_durable(d, stream, &sink, records, true);
    run_to_done(d, ERR_OK);
    return nats;
}

static char *long_text(uint64_t seed)
{
    char *text = malloc(LONG_TEXT);

    assert_non_null(text);
    for (size_t i = 0; i < LONG_TEXT; i++)
        text[i] = i % 80 == 79 ? '\n' : (char)('a' + random_next(&seed) % 20);
    return text;
}

/* What the engine alone says of the text: one stream, no stage. */
static double direct_nats(const char *model, const char *text)
{
    struct engine *engine = NULL;
    struct engine_state *s = NULL;
    uint32_t *tokens = malloc(LONG_TEXT * sizeof *tokens), origin = 0;
    float *loss = malloc(LONG_TEXT * sizeof *loss);
    double nats = 0;

    assert_true(tokens && loss);
    for (size_t i = 0; i < LONG_TEXT; i++)
        tokens[i] = (uint8_t)text[i];
    assert_int_equal(engine_open(&engine, model, NULL, NULL), ERR_OK);
    assert_int_equal(engine_state_open(engine, &s, NULL), ERR_OK);
    struct engine_job first = {.state = s, .tokens = &origin, .count = 1};
    struct engine_job rest = {.state = s, .tokens = tokens, .count = LONG_TEXT, .loss = loss};
    assert_int_equal(engine_run(engine, &first, NULL), ERR_OK);
    assert_int_equal(engine_run(engine, &rest, NULL), ERR_OK);
    for (size_t i = 0; i < LONG_TEXT; i++)
        nats += loss[i];
    engine_state_close(&s);
    engine_close(&engine);
    free(tokens);
    free(loss);
    return nats;
}

static void check_drift(void **state, const char *model, unsigned seed, const char *warning)
{
    struct driver *d = start_with(state, model);
    char *text = long_text(seed);
    const char *told;

    assert_true(read_long(d, text) == direct_nats(model, text));
    told = strstr(d->reports, "drifts");
    if (warning ? !told || !strstr(told, warning) || strstr(told + 1, "drifts") : told != NULL)
        fail_msg("%s, wanted %s: %s", model, warning ? warning : "none", d->reports);
    driver_free(&d);
    free(text);
}

/* Its state grows without end; up to a few thousand tokens that does no harm. The records are those of
 * an engine that knows nothing of probes. */
static void a_model_that_drifts_is_told_once_and_changes_no_record(void **state)
{
    check_drift(state, NANO_DIR "/nano_drift.safetensors", 1, "drifts: at token 65536 ");
}

static void a_model_that_does_not_drift_is_not_warned_of(void **state)
{
    check_drift(state, NANO_DIR "/nano.safetensors", 1, NULL);
}

/* Wherever a text ends: nothing of the first 64k tokens, 2.4 % beyond, 0.5 % from 1M on. */
static void probes_cost_what_is_promised(void **state)
{
    uint64_t probes = 0, last = 0;

    (void)state;
    for (uint64_t at = drift_position(0); at < 1u << 30; at = drift_position(at + 1)) {
        probes++;
        assert_true(at > last && at >= 1 << 16);
        assert_true((at & (at - 1)) == 0 || at % (1 << 20) == 0);
        assert_true(1000 * probes * DRIFT_TOKENS <= (at < 1 << 20 ? 24 : 5) * at);
        assert_int_equal(drift_position(at), at);
        last = at;
    }
    assert_int_equal(probes, 3 + 1022);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(a_text_is_read_to_its_end),
        STAGE_TEST(a_finished_stream_is_compared_and_left_alone),
        STAGE_TEST(a_checkpoint_that_is_no_state_is_passed_over),
        STAGE_TEST(a_sink_that_comes_back_skips_no_comparison),
        STAGE_TEST(records_are_sent_again_from_the_last_durable_one),
        STAGE_TEST(a_paused_stream_goes_on_as_soon_as_it_is_told),
        STAGE_TEST(a_place_counts_what_is_still_to_be_passed_over),
        STAGE_TEST(a_gap_in_tokens_resets_the_link_and_other_epochs_are_dropped),
        STAGE_TEST(a_model_that_drifts_is_told_once_and_changes_no_record),
        STAGE_TEST(a_model_that_does_not_drift_is_not_warned_of),
        STAGE_TEST(probes_cost_what_is_promised),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
