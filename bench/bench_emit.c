/* bench_emit: many sinks with a line each, by the stage itself; encode is played.
 *
 *     bench_emit [FOLDER [SINKS]]      the folder must not be there; it is left for inspection
 *
 * One CSV row a phase: opening new sinks, their first lines (files and sidecars are made), a second line each (files
 * are taken up again), and opening them all in another run. A phase with lines ends when each is told durable. */
#include "stages/emit/sinks/sink.h"
#include "stages/stage.h"

#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SINKS = 10000, SINKS_MOST = 1000000 };

static struct bench {
    struct config config;
    struct stage_env env;
    const struct stage_ops *ops;
    void *emit;
    uint64_t count, owner, opened, durable;
    struct place {
        uint64_t n, length, tail;
        uint8_t chain[SINK_CHAIN_BYTES];
    } * places; /* (count) durable */
} bench;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "bench_emit: %s\n", what);
    exit(1);
}

/* ---- What emit says ---- */

static bool out_send(void *self, enum stage_port port, struct msg **msg)
{
    Riverrun__Control *control = NULL;
    struct frame f;

    (void)self;
    (void)port;
    must(!msg_read(*msg, &f, NULL) && !control_read(&f, &control, NULL), "a message is damaged");
    if (control->is_case == RIVERRUN__CONTROL__IS_SINK_REFUSED)
        must(false, control->sink_refused->text);
    if (control->is_case == RIVERRUN__CONTROL__IS_DURABLE) {
        const Riverrun__SinkToken *t = control->durable->token;
        struct place *place = &bench.places[control->durable->stream - 1];
        *place = (struct place){.n = t->n, .length = t->length, .tail = t->tail};
        memcpy(place->chain, t->chain.data, sizeof place->chain);
        bench.durable++;
    }
    bench.opened += control->is_case == RIVERRUN__CONTROL__IS_SINK_OPENED;
    riverrun__control__free_unpacked(control, NULL);
    msg_free(msg);
    return true;
}

static bool out_room(void *self, enum stage_port port)
{
    (void)self;
    (void)port;
    return true;
}

static uint64_t no_time(void)
{
    return 0;
}

static void report(void *self, enum stage_level level, const char *stream, const char *text)
{
    (void)self;
    (void)level;
    (void)stream;
    must(false, text);
}

/* ---- What it is told ---- */

static void tell(enum stage_event_kind kind)
{
    struct stage_event event = {.kind = kind, .now_ms = 1};

    bench.ops->event(bench.emit, &event);
}

static void hand(struct msg *msg)
{
    struct err err;

    must(!bench.ops->accept(bench.emit, PORT_UP, &msg, &err), "a message was refused");
}

static void control(Riverrun__Control__IsCase is, void *body)
{
    Riverrun__Control one = RIVERRUN__CONTROL__INIT;
    struct msg *msg;

    one.is_case = is;
    one.list = body;
    must(!control_make(&msg, &one, NULL), "no memory");
    hand(msg);
}

static void send_open(uint64_t stream)
{
    static const uint8_t store[16] = "bench";
    const struct place *place = &bench.places[stream - 1];
    Riverrun__SinkOpen open = RIVERRUN__SINK_OPEN__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT, *list[1] = {&token};
    char name[40];

    snprintf(name, sizeof name, "var+log+service-%llu.log", (unsigned long long)stream);
    token.generation = open.generation = 1;
    token.n = place->n;
    token.length = place->length;
    token.tail = place->tail;
    token.chain = proto_bytes(place->chain, sizeof place->chain);
    open.stream = stream;
    open.owner = bench.owner;
    open.name = name;
    open.store_id = proto_bytes(store, sizeof store);
    open.tokens = list;
    open.n_tokens = 1;
    control(RIVERRUN__CONTROL__IS_SINK_OPEN, &open);
}

static void send_line(uint64_t stream, uint64_t n)
{
    char line[200];
    struct frame f = {.kind = MSG_RECORD,
                      .stream = stream,
                      .epoch = bench.owner << 32 | 1,
                      .position = n,
                      .count = 1};
    Riverrun__Sync sync = RIVERRUN__SYNC__INIT;
    struct msg *msg;

    f.payload.data = (const uint8_t *)line;
    f.payload.bytes =
        (size_t)snprintf(line, sizeof line,
                         "{\"stream\":\"var+log+service-%llu.log\",\"seq\":%llu,\"kind\":\"line\","
                         "\"nats\":123.4567890123,\"text\":\"something happened\"}\n",
                         (unsigned long long)stream, (unsigned long long)n);
    must(!msg_make(&msg, &f, NULL, NULL), "no memory");
    hand(msg);
    sync.stream = stream;
    sync.owner = bench.owner;
    sync.generation = 1;
    sync.n = n + 1;
    control(RIVERRUN__CONTROL__IS_SYNC, &sync);
}

/* Work until there is nothing to do but to wait. */
static void work(void)
{
    const struct stage_out out = {NULL, out_send, out_room, NULL};
    struct err err;

    while (bench.ops->work(bench.emit, 1000, &out, &err) == STAGE_RAN)
        ;
}

static void wait_durable(uint64_t count)
{
    struct pollfd item = {.events = POLLIN};

    for (work(); bench.durable < count; work()) {
        must(bench.ops->descriptors(bench.emit, &item.fd) == 1, "no descriptor");
        poll(&item, 1, -1);
    }
}

/* ---- Phases ---- */

static void begin_run(void)
{
    struct err err;

    must(!bench.ops->open(&bench.emit, &bench.env, &err), "emit does not open");
    bench.owner++;
    tell(EVENT_PEER);
}

static void row(const char *phase, double begin_s, double bytes)
{
    double s = now_s() - begin_s;

    printf("%s,%llu,%.2f,%.0f,%.0f\n", phase, (unsigned long long)bench.count, s,
           (double)bench.count / s, bytes);
    fflush(stdout);
}

static void open_all(const char *phase)
{
    double begin_s = now_s();
    size_t before = mallinfo2().uordblks;

    bench.opened = 0;
    for (uint64_t i = 1; i <= bench.count; i++) {
        send_open(i);
        if (i % 64 == 0)
            work();
    }
    work();
    must(bench.opened == bench.count, "not all were opened");
    row(phase, begin_s, (double)(mallinfo2().uordblks - before) / (double)bench.count);
}

static void write_all(const char *phase, uint64_t n)
{
    double begin_s = now_s();

    bench.durable = 0;
    for (uint64_t i = 1; i <= bench.count; i++) {
        send_line(i, n);
        if (i % 64 == 0)
            work();
    }
    wait_durable(bench.count);
    row(phase, begin_s, 0);
}

int main(int count, char **arguments)
{
    bench.config.output = count > 1 ? arguments[1] : "bench_emit.out";
    bench.count = count > 2 ? strtoull(arguments[2], NULL, 10) : SINKS;
    bench.ops = stage_find("emit");
    bench.config.max_latency_ms = 2000;
    bench.config.record_window_bytes = 4 << 20;
    bench.env = (struct stage_env){&bench.config, no_time, NULL, report};
    must(bench.count > 0 && bench.count <= SINKS_MOST, "how many sinks?");
    bench.places = calloc(bench.count, sizeof *bench.places);
    must(bench.places != NULL, "no memory");
    puts("phase,sinks,seconds,sinks_per_second,bytes_per_sink_at_rest");
    begin_run();
    open_all("open new");
    write_all("first line durable", 0);
    write_all("second line durable", 1);
    bench.ops->close(&bench.emit);
    begin_run();
    open_all("open again");
    bench.ops->close(&bench.emit);
    free(bench.places);
    return 0;
}
