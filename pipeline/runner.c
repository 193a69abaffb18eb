#include "pipeline/runner.h"

#include "pipeline/link.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zmq.h>

enum { BUDGET_US = 20000, RECEIVE_MOST = 64, SEE_OFF_MS = 5000, SEE_OFF_TICK_MS = 10 };

struct runner {
    const struct stage_ops *ops;
    const struct stage_env *env;
    void *self; /* the stage's */
    struct link *links[PORT_COUNT];
    void *command, *command_main; /* both ends of the pair */
    uint64_t tick_ms, now_ms;
};

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- What a stage sends ---- */

static bool out_send(void *self, enum stage_port port, struct msg **msg)
{
    struct runner *r = self;

    return r->links[port] && link_send(r->links[port], msg);
}

static bool out_room(void *self, enum stage_port port)
{
    struct runner *r = self;

    return r->links[port] && link_room(r->links[port]);
}

static void out_reply(void *self, uint64_t question, const Riverrun__Reply *reply)
{
    struct runner *r = self;
    size_t bytes = COMMAND_HEAD_BYTES + riverrun__reply__get_packed_size(reply);
    uint8_t *packed = malloc(bytes);

    require(packed);
    packed[0] = COMMAND_REPLY;
    store_u64(packed + 1, question);
    riverrun__reply__pack(reply, packed + COMMAND_HEAD_BYTES);
    zmq_send(r->command, packed, bytes, ZMQ_DONTWAIT);
    free(packed);
}

/* ---- What comes to a stage ---- */

static void tell(struct runner *r, enum stage_event_kind kind, enum stage_port port,
                 const Riverrun__Request *request, uint64_t question)
{
    struct stage_event event = {kind, port, r->now_ms, clock_ms(CLOCK_REALTIME), request, question};

    r->ops->event(r->self, &event);
}

static void hear_links(struct runner *r)
{
    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++) {
        enum link_news news = LINK_MESSAGE;
        for (int i = 0; r->links[port] && i < RECEIVE_MOST && news != LINK_NOTHING; i++) {
            struct msg *msg = NULL;
            struct err err;
            news = link_receive(r->links[port], &msg);
            if (news == LINK_PEER || news == LINK_GONE)
                tell(r, news == LINK_PEER ? EVENT_PEER : EVENT_PEER_GONE, port, NULL, 0);
            if (news == LINK_FOREIGN)
                stage_report(r->env, STAGE_WARNING, NULL,
                             "%s: the neighbour at %s is of another version of riverrun and not "
                             "heard: start all stages with the same one",
                             r->ops->name, link_endpoint(r->links[port]));
            if (news == LINK_MESSAGE && r->ops->accept(r->self, port, &msg, &err)) {
                stage_report(r->env, STAGE_WARNING, NULL, "%s: %s; the link begins anew",
                             r->ops->name, err.text);
                link_reset(r->links[port]);
            }
            msg_free(&msg);
        }
    }
}

static void hear_commands(struct runner *r)
{
    zmq_msg_t message;

    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, r->command, ZMQ_DONTWAIT) >= 0) {
        const uint8_t *data = zmq_msg_data(&message);
        size_t bytes = zmq_msg_size(&message);
        Riverrun__Request *request = NULL;
        if (bytes && data[0] == COMMAND_STOP)
            tell(r, EVENT_STOP, PORT_UP, NULL, 0);
        else if (bytes >= COMMAND_HEAD_BYTES && data[0] == COMMAND_REQUEST)
            request = riverrun__request__unpack(NULL, bytes - COMMAND_HEAD_BYTES,
                                                data + COMMAND_HEAD_BYTES);
        if (request) {
            tell(r, EVENT_REQUEST, PORT_UP, request, load_u64(data + 1));
            riverrun__request__free_unpacked(request, NULL);
        }
    }
    zmq_msg_close(&message);
}

/* ---- The loop ---- */

static int wait_ms(struct runner *r)
{
    uint64_t until = r->ops->deadline(r->self);

    if (r->tick_ms + LINK_TICK_MS < until)
        until = r->tick_ms + LINK_TICK_MS;
    return until <= r->now_ms ? 0 : (int)(until - r->now_ms);
}

/* Wait for something to happen; true when a descriptor of the stage's own is ready. */
static bool wait(struct runner *r, bool now)
{
    zmq_pollitem_t items[PORT_COUNT + 1 + STAGE_DESCRIPTORS_MAX];
    int fds[STAGE_DESCRIPTORS_MAX], count = 0, own;
    size_t fd_count = r->ops->descriptors(r->self, fds);
    bool ready = false;

    items[count++] = (zmq_pollitem_t){r->command, 0, ZMQ_POLLIN, 0};
    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++)
        if (r->links[port])
            items[count++] = (zmq_pollitem_t){link_socket(r->links[port]), 0, ZMQ_POLLIN, 0};
    own = count;
    for (size_t i = 0; i < fd_count; i++)
        items[count++] = (zmq_pollitem_t){NULL, fds[i], ZMQ_POLLIN, 0};
    zmq_poll(items, count, now ? 0 : wait_ms(r));
    for (int i = own; i < count; i++)
        ready = ready || items[i].revents;
    return ready;
}

static void tick(struct runner *r)
{
    if (r->now_ms - r->tick_ms < LINK_TICK_MS)
        return;
    r->tick_ms = r->now_ms;
    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++)
        if (r->links[port])
            link_tick(r->links[port]);
}

/* One that connects to us loses what it has not taken yet when our socket goes, the goodbye too, and would wait for
 * ever: so processes that were told goodbye go first. */
static void see_off(struct runner *r)
{
    const uint64_t until = clock_ms(CLOCK_MONOTONIC) + SEE_OFF_MS;
    bool there = r->ops->ends_all;

    while (there && clock_ms(CLOCK_MONOTONIC) < until) {
        there = false;
        for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++) {
            enum link_news news = LINK_MESSAGE;
            while (r->links[port] && link_is_afar(r->links[port]) && news != LINK_NOTHING) {
                struct msg *msg = NULL;
                news = link_receive(r->links[port], &msg);
                msg_free(&msg);
            }
            if (r->links[port] && link_is_afar(r->links[port])) {
                link_tick(r->links[port]);
                there = true;
            }
        }
        if (there)
            zmq_poll(NULL, 0, SEE_OFF_TICK_MS);
    }
}

void runner_run(struct runner *r, struct err *err)
{
    const struct stage_out out = {r, out_send, out_room, out_reply};
    enum stage_progress progress = STAGE_RAN;
    const uint8_t done = COMMAND_DONE;

    while (progress != STAGE_DONE) {
        bool ready = wait(r, progress == STAGE_RAN);
        r->now_ms = clock_ms(CLOCK_MONOTONIC);
        tell(r, ready ? EVENT_DESCRIPTOR : EVENT_TIME, PORT_UP, NULL, 0);
        hear_commands(r);
        hear_links(r);
        tick(r);
        progress = r->ops->work(r->self, BUDGET_US, &out, err);
    }
    see_off(r);
    zmq_send(r->command, &done, 1, 0);
}

enum err_code runner_open(struct runner **out, const struct runner_options *o, struct err *err)
{
    struct runner *r = calloc(1, sizeof *r);
    char endpoint[64];
    enum err_code code;

    if (!r)
        return err_set(err, ERR_MEMORY, 0, "stage %s", o->ops->name);
    r->ops = o->ops;
    r->env = o->env;
    r->now_ms = clock_ms(CLOCK_MONOTONIC);
    code = r->ops->open(&r->self, o->env, err);
    if (!code && r->ops->has_down)
        code = link_open(&r->links[PORT_DOWN], o->context, o->down, true, err);
    if (!code && r->ops->has_up)
        code = link_open(&r->links[PORT_UP], o->context, o->up, false, err);
    snprintf(endpoint, sizeof endpoint, "inproc://command-%s", o->ops->name);
    r->command = zmq_socket(o->context, ZMQ_PAIR);
    r->command_main = zmq_socket(o->context, ZMQ_PAIR);
    if (!code && (!r->command || !r->command_main || zmq_bind(r->command, endpoint) ||
                  zmq_connect(r->command_main, endpoint)))
        code = err_set(err, ERR_SYSTEM, zmq_errno(), "command socket");
    if (code) {
        runner_close(&r);
        return code;
    }
    *out = r;
    return ERR_OK;
}

void runner_close(struct runner **runner)
{
    struct runner *r = *runner;

    if (!r)
        return;
    link_close(&r->links[PORT_UP]);
    link_close(&r->links[PORT_DOWN]);
    if (r->command)
        zmq_close(r->command);
    if (r->command_main)
        zmq_close(r->command_main);
    if (r->self)
        r->ops->close(&r->self);
    free(r);
    *runner = NULL;
}

void *runner_command(struct runner *runner)
{
    return runner->command_main;
}

const char *runner_name(const struct runner *runner)
{
    return runner->ops->name;
}
