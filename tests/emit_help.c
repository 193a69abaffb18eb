#include "tests/emit_help.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t store_a[16] = "store a", store_b[16] = "store b";
const struct open FIRST = {
    .stream = 3, .name = "book", .owner = 1, .generation = 1, .store = store_a, .count = 1};

struct driver *start_with(void **state, enum sync sync, bool follow)
{
    static char output[600];
    struct driver *d = driver_new("emit");

    snprintf(output, sizeof output, "%s/out", (const char *)*state);
    d->config.output = output;
    d->config.sync = sync;
    d->config.follow = follow;
    driver_start(d);
    return d;
}

struct driver *start(void **state)
{
    return start_with(state, SYNC_INTERVAL, false);
}

enum err_code send_open(struct driver *d, const struct open *o)
{
    Riverrun__SinkOpen open = RIVERRUN__SINK_OPEN__INIT;
    Riverrun__SinkToken tokens[4], *list[4];

    for (size_t i = 0; i < o->count; i++) {
        riverrun__sink_token__init(&tokens[i]);
        tokens[i].generation = o->tokens[i].generation;
        tokens[i].n = o->tokens[i].n;
        tokens[i].length = o->tokens[i].length;
        tokens[i].tail = o->tokens[i].tail;
        tokens[i].first = o->tokens[i].first;
        tokens[i].chain = proto_bytes(o->tokens[i].chain, SINK_CHAIN_BYTES);
        list[i] = &tokens[i];
    }
    open.stream = o->stream;
    open.owner = o->owner;
    open.generation = o->generation;
    open.name = proto_text(o->name);
    open.store_id = proto_bytes(o->store, 16);
    open.tokens = list;
    open.n_tokens = o->count;
    open.finished = o->finished;
    return driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_SINK_OPEN, &open);
}

/* Opened: the record number that it goes on from. */
uint64_t open_sink(struct driver *d, const struct open *o, bool *warned)
{
    Riverrun__Control *control;
    uint64_t n;

    assert_int_equal(send_open(d, o), ERR_OK);
    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_SINK_OPENED);
    assert_int_equal(control->sink_opened->stream, o->stream);
    assert_int_equal(control->sink_opened->owner, o->owner);
    assert_int_equal(control->sink_opened->generation, o->generation);
    n = control->sink_opened->n;
    if (warned)
        *warned = control->sink_opened->warning[0] != 0;
    riverrun__control__free_unpacked(control, NULL);
    return n;
}

void expect_refused(struct driver *d, enum err_code code, const char *words)
{
    Riverrun__Control *control;

    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_SINK_REFUSED);
    if (control->sink_refused->code != code || !strstr(control->sink_refused->text, words))
        fail_msg("refused with %u: %s", control->sink_refused->code, control->sink_refused->text);
    riverrun__control__free_unpacked(control, NULL);
}

void open_refused(struct driver *d, const struct open *o, enum err_code code, const char *words)
{
    assert_int_equal(send_open(d, o), ERR_OK);
    expect_refused(d, code, words);
}

size_t line_of(uint64_t n, char line[100])
{
    return (size_t)snprintf(line, 100, "{\"seq\":%llu,\"text\":\"line %llu\"}\n",
                            (unsigned long long)n, (unsigned long long)n * n);
}

enum err_code send_line(struct driver *d, const struct open *o, uint64_t n, const char *line,
                        size_t bytes, bool last)
{
    struct frame f = {.kind = MSG_RECORD,
                      .flags = last ? MSG_END : 0,
                      .stream = o->stream,
                      .epoch = o->owner << 32 | o->generation,
                      .position = n,
                      .count = 1,
                      .payload = {(const uint8_t *)line, bytes}};

    return driver_data(d, PORT_UP, &f);
}

void send_records(struct driver *d, const struct open *o, uint64_t first, uint64_t end)
{
    char line[100];

    for (uint64_t n = first; n < end; n++) {
        size_t bytes = line_of(n, line);
        assert_int_equal(send_line(d, o, n, line, bytes, false), ERR_OK);
    }
}

enum err_code send_sync(struct driver *d, const struct open *o, uint64_t n)
{
    Riverrun__Sync sync = RIVERRUN__SYNC__INIT;

    sync.stream = o->stream;
    sync.owner = o->owner;
    sync.generation = o->generation;
    sync.n = n;
    return driver_control(d, PORT_UP, RIVERRUN__CONTROL__IS_SYNC, &sync);
}

struct place expect_durable(struct driver *d, bool asked)
{
    Riverrun__Control *control;
    struct place place;

    driver_wait(d, PORT_UP);
    control = driver_expect(d, PORT_UP, RIVERRUN__CONTROL__IS_DURABLE);
    const Riverrun__SinkToken *t = control->durable->token;
    assert_int_equal(control->durable->asked, asked);
    assert_int_equal(t->chain.len, SINK_CHAIN_BYTES);
    place = (struct place){t->generation, t->n, t->length, t->tail, {0}, t->first};
    memcpy(place.chain, t->chain.data, SINK_CHAIN_BYTES);
    riverrun__control__free_unpacked(control, NULL);
    return place;
}

struct place sync_to(struct driver *d, const struct open *o, uint64_t n)
{
    assert_int_equal(send_sync(d, o, n), ERR_OK);
    return expect_durable(d, true);
}

/* Resume: the tokens of kept checkpoints, newest first. */
struct open resume(const struct open *before, size_t count, const struct place *newest)
{
    struct open o = *before;

    o.owner++;
    o.count = count;
    for (size_t i = 0; i < count; i++)
        o.tokens[i] = newest[-(ptrdiff_t)i];
    return o;
}

struct buffer lines(uint64_t end)
{
    struct buffer b = buffer_of(1 << 24);
    char line[100];

    for (uint64_t n = 0; n < end; n++) {
        size_t bytes = line_of(n, line);
        buffer_put(&b, line, bytes);
    }
    return b;
}

void assert_file(void **state, const void *data, size_t bytes)
{
    size_t got;
    uint8_t *file = get_file(in_folder(state, "out/book.jsonl"), &got);

    assert_int_equal(got, bytes);
    assert_memory_equal(file, data, bytes);
    free(file);
}

void assert_lines(void **state, uint64_t end)
{
    struct buffer want = lines(end);

    assert_file(state, want.data ? want.data : (const uint8_t *)"", want.bytes);
    buffer_release(&want);
}
