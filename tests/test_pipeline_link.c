/* Links: a stage sees every message in order, or LINK_GONE and LINK_PEER; whoever dies, whatever is
 * lost. Two links in one process, or one and a socket that speaks their protocol on its own. */
#include "pipeline/link.h"
#include "tests/stages_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

struct pair {
    bool ipc;                   /* each side with a context of its own, as in processes */
    void *contexts[2], *shared; /* listener's, connector's; a raw socket's */
    char endpoint[200];
    struct link *listener, *connector;
};

static void open_listener(struct pair *p)
{
    if (!p->contexts[0])
        p->contexts[0] = p->ipc ? zmq_ctx_new() : p->shared;
    assert_int_equal(link_open(&p->listener, p->contexts[0], p->endpoint, true, NULL), ERR_OK);
}

static void open_connector(struct pair *p)
{
    if (!p->contexts[1])
        p->contexts[1] = p->ipc ? zmq_ctx_new() : p->shared;
    assert_int_equal(link_open(&p->connector, p->contexts[1], p->endpoint, false, NULL), ERR_OK);
}

/* One side is over, as far as one can be in a process that goes on: its context goes as well, for a
 * socket's file is removed by a thread of that. */
static void end_side(struct pair *p, int side)
{
    link_close(side ? &p->connector : &p->listener);
    if (p->ipc && p->contexts[side])
        zmq_ctx_term(p->contexts[side]);
    p->contexts[side] = NULL;
}

static struct pair pair_begin(void **state, const char *kind)
{
    static unsigned number;
    struct pair p = {.ipc = !strcmp(kind, "ipc"), .shared = zmq_ctx_new()};

    require(p.shared);
    if (p.ipc)
        snprintf(p.endpoint, sizeof p.endpoint, "ipc://%s", in_folder(state, "socket"));
    else
        snprintf(p.endpoint, sizeof p.endpoint, "inproc://link-%u", number++);
    return p;
}

static void pair_end(struct pair *p)
{
    end_side(p, 0);
    end_side(p, 1);
    zmq_ctx_term(p->shared);
}

/* Wait until something comes to either socket, or a tick's time is over: the runner's loop. */
static void wait_for(void *a, void *b)
{
    zmq_pollitem_t items[2];
    int count = 0;

    if (a)
        items[count++] = (zmq_pollitem_t){a, 0, ZMQ_POLLIN, 0};
    if (b)
        items[count++] = (zmq_pollitem_t){b, 0, ZMQ_POLLIN, 0};
    zmq_poll(items, count, 20);
}

static void *socket_of(const struct link *link)
{
    return link ? link_socket(link) : NULL;
}

/* What comes next at one side, other than nothing; the other side only ticks. */
static enum link_news next_news(struct pair *p, struct link *link, struct msg **msg)
{
    for (;;) {
        enum link_news news = link_receive(link, msg);
        if (news != LINK_NOTHING)
            return news;
        if (p->listener)
            link_tick(p->listener);
        if (p->connector)
            link_tick(p->connector);
        wait_for(socket_of(link), NULL);
    }
}

static void meet(struct pair *p)
{
    struct msg *msg = NULL;
    bool met = false;

    /* The listener hears READY first, and its answer then goes to the connector. */
    assert_int_equal(next_news(p, p->listener, &msg), LINK_PEER);
    while (!met)
        met = next_news(p, p->connector, &msg) == LINK_PEER;
}

static struct msg *make_record(uint64_t stream, uint64_t position, size_t bytes)
{
    struct frame f = {
        .kind = MSG_RECORD, .stream = stream, .position = position, .payload = {NULL, bytes}};
    struct msg *msg = NULL;
    uint8_t *payload;

    assert_int_equal(msg_make(&msg, &f, &payload, NULL), ERR_OK);
    memset(payload, (int)position, bytes);
    return msg;
}

static struct msg *make_control(uint64_t position)
{
    struct frame f = {.kind = MSG_CONTROL, .position = position, .payload = {NULL, 8}};
    struct msg *msg = NULL;
    uint8_t *payload;

    assert_int_equal(msg_make(&msg, &f, &payload, NULL), ERR_OK);
    memset(payload, 0, 8);
    return msg;
}

static const char *const kinds[] = {"inproc", "ipc"};

/* ---- In order ---- */

/* Send and receive at both ends in turns until each has had count messages. */
static void exchange(struct pair *p, uint64_t count, uint64_t seed)
{
    struct link *ends[2] = {p->listener, p->connector};
    uint64_t sent[2] = {0, 0}, received[2] = {0, 0};

    while (received[0] < count || received[1] < count) {
        bool any = false;
        for (int i = 0; i < 2; i++) {
            uint64_t burst = random_next(&seed) % 40;
            for (; burst && sent[i] < count; burst--) {
                struct msg *msg = make_record((uint64_t)i, sent[i], random_next(&seed) % 9000);
                bool went = link_send(ends[i], &msg);
                assert_int_equal(went, msg == NULL);
                msg_free(&msg);
                if (!went)
                    break;
                sent[i]++;
                any = true;
            }
        }
        for (int i = 0; i < 2; i++) {
            struct msg *msg = NULL;
            struct frame f;
            enum link_news news = link_receive(ends[i], &msg);
            if (news == LINK_NOTHING)
                continue;
            assert_int_equal(news, LINK_MESSAGE);
            assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
            assert_int_equal(f.stream, !i);
            assert_int_equal(f.position, received[i]);
            for (size_t k = 0; k < f.payload.bytes; k += 97)
                assert_int_equal(f.payload.data[k], (uint8_t)f.position);
            msg_free(&msg);
            received[i]++;
            any = true;
        }
        if (!any) {
            link_tick(p->listener);
            link_tick(p->connector);
            wait_for(socket_of(p->listener), socket_of(p->connector));
        }
    }
}

static void messages_come_in_order_and_whole(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        open_listener(&p);
        open_connector(&p);
        meet(&p);
        exchange(&p, 3000, 41);
        pair_end(&p);
    }
}

static void either_side_may_be_there_first(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        open_connector(&p);
        link_tick(p.connector); /* nobody is there yet */
        assert_false(link_room(p.connector));
        struct msg *msg = make_control(1);
        assert_false(link_send(p.connector, &msg));
        assert_non_null(msg);
        msg_free(&msg);
        open_listener(&p);
        meet(&p);
        exchange(&p, 50, 43);
        pair_end(&p);
    }
}

/* ---- Credit ---- */

static uint64_t fill(struct link *link, size_t each, uint64_t first)
{
    uint64_t position = first;

    for (;;) {
        struct msg *msg = make_record(0, position, each);
        if (!link_send(link, &msg)) {
            msg_free(&msg);
            return position;
        }
        position++;
    }
}

static void no_more_than_the_window_is_under_way(void **state)
{
    enum { EACH = 10000 };
    const size_t whole = EACH + MSG_HEADER_BYTES;

    for (int kind = 0; kind < 4; kind++) {
        struct pair p = pair_begin(state, kinds[kind / 2]);
        struct msg *msg = NULL;
        open_listener(&p);
        open_connector(&p);
        meet(&p);
        struct link *from = kind % 2 ? p.listener : p.connector;
        struct link *to = kind % 2 ? p.connector : p.listener;
        uint64_t sent = fill(from, EACH, 0), received = 0;
        assert_true((sent - 1) * whole < LINK_WINDOW_BYTES && sent * whole >= LINK_WINDOW_BYTES);
        assert_false(link_room(from));
        msg = make_control(sent); /* control always goes */
        assert_true(link_send(from, &msg));
        for (; received < sent / 2; received++) {
            assert_int_equal(next_news(&p, to, &msg), LINK_MESSAGE);
            msg_free(&msg);
        }
        while (!link_room(from)) {
            link_tick(to);
            wait_for(link_socket(from), NULL);
            assert_int_equal(link_receive(from, &msg), LINK_NOTHING);
        }
        /* What was taken there may be sent here, and no more. */
        uint64_t again = fill(from, EACH, sent + 1) - sent - 1;
        assert_true(again > 0 && again <= received + 1);
        for (; received < sent + 1 + again; received++) {
            assert_int_equal(next_news(&p, to, &msg), LINK_MESSAGE);
            struct frame f;
            assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
            assert_int_equal(f.position, received);
            msg_free(&msg);
        }
        pair_end(&p);
    }
}

/* ---- Lives ---- */

/* The side of a stage: what it sends says in which session and as which message. */
struct side {
    struct link *link;
    bool there;
    uint64_t session, sent;    /* mine: counted up with each LINK_PEER */
    uint64_t theirs, expected; /* of what came in this session */
    uint64_t came, peers;
};

static void side_hear(struct side *s)
{
    struct msg *msg = NULL;
    struct frame f;

    for (;;) {
        switch (link_receive(s->link, &msg)) {
        case LINK_FOREIGN:
        case LINK_NOTHING:
            return;
        case LINK_GONE:
            assert_true(s->there);
            s->there = false;
            break;
        case LINK_PEER:
            s->there = true;
            s->session++;
            s->peers++;
            s->sent = s->expected = 0;
            break;
        case LINK_MESSAGE:
            assert_true(s->there);
            assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
            if (s->expected == 0)
                s->theirs = f.stream;
            assert_int_equal(f.stream, s->theirs);
            assert_int_equal(f.position, s->expected);
            s->expected++;
            s->came++;
            msg_free(&msg);
        }
    }
}

static void side_say(struct side *s, uint64_t count)
{
    while (s->there && count--) {
        struct msg *msg = make_record(s->session, s->sent, 700);
        bool went = link_send(s->link, &msg);
        msg_free(&msg);
        if (!went)
            return;
        s->sent++;
    }
}

/* Rounds of talk in which now one side and now the other dies and comes back, or is told that what
 * came breaks the protocol: messages of a session are 0, 1, 2, ... at both ends, whatever is lost. */
static void sessions_have_no_gap_and_no_repeat(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        struct side up = {.session = 1000}, down = {.session = 2000000};
        uint64_t seed = 91 + (uint64_t)kind, came = 0, deaths = 0;
        open_listener(&p);
        open_connector(&p);
        while (deaths < 12) {
            up.link = p.listener;
            down.link = p.connector;
            side_hear(&up);
            side_hear(&down);
            side_say(&up, random_next(&seed) % 30);
            side_say(&down, random_next(&seed) % 30);
            if (!up.there || !down.there || random_next(&seed) % 40 == 0) {
                link_tick(p.listener);
                link_tick(p.connector);
                wait_for(socket_of(p.listener), socket_of(p.connector));
                continue;
            }
            if (up.came + down.came - came < 300)
                continue;
            came = up.came + down.came;
            switch (deaths++ % 4) {
            case 0:
                if (!p.ipc)
                    break; /* inside a process no side comes back alone; the connector's way is the
                              same in both kinds */
                end_side(&p, 0);
                open_listener(&p);
                up.there = false;
                break;
            case 1:
                end_side(&p, 1);
                open_connector(&p);
                down.there = false;
                break;
            case 2:
                link_reset(p.listener);
                break;
            default:
                link_reset(p.connector);
            }
        }
        assert_true(up.peers >= 9 && down.peers >= 9);
        pair_end(&p);
    }
}

static void a_listener_learns_that_its_peer_died(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct msg *msg = NULL;

    open_listener(&p);
    open_connector(&p);
    meet(&p);
    end_side(&p, 1);
    assert_int_equal(next_news(&p, p.listener, &msg), LINK_GONE);
    assert_false(link_room(p.listener));
    open_connector(&p);
    assert_int_equal(next_news(&p, p.listener, &msg), LINK_PEER);
    pair_end(&p);
}

static void a_connector_learns_that_its_peer_died(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct msg *msg = NULL;

    open_listener(&p);
    open_connector(&p);
    meet(&p);
    end_side(&p, 0);
    assert_int_equal(next_news(&p, p.connector, &msg), LINK_GONE);
    assert_false(link_room(p.connector));
    open_listener(&p);
    meet(&p);
    exchange(&p, 50, 53);
    pair_end(&p);
}

/* ---- What lies where a socket is to be ---- */

static void what_is_no_socket_is_left_alone(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    const char *path = p.endpoint + strlen("ipc://");
    char read_back[8] = "";
    struct err err;
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fputs("text", file) >= 0 && !fclose(file), true);
    assert_int_equal(link_open(&p.listener, p.shared, p.endpoint, true, &err), ERR_SINK);
    assert_non_null(strstr(err.text, path));
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(read_back, sizeof read_back, file));
    assert_string_equal(read_back, "text");
    fclose(file);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(link_open(&p.listener, p.shared, p.endpoint, true, &err), ERR_SINK);
    assert_int_equal(unlink(path), 0);
    open_listener(&p);
    pair_end(&p);
}

static void a_socket_that_is_listened_at_is_left_alone(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct link *second = NULL;
    struct err err;

    open_listener(&p);
    assert_int_equal(link_open(&second, p.shared, p.endpoint, true, &err), ERR_BUSY);
    assert_non_null(strstr(err.text, p.endpoint + strlen("ipc://")));
    open_connector(&p);
    meet(&p);
    exchange(&p, 50, 53);
    pair_end(&p);
}

static void a_socket_that_nobody_listens_at_is_replaced(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, p.endpoint + strlen("ipc://"));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* the file stays, as after a kill */
    open_listener(&p);
    open_connector(&p);
    meet(&p);
    pair_end(&p);
}

/* ---- A neighbour that does not keep to the protocol ---- */

enum what { READY = 1, ANSWER, TICK, RESET };

static void put_link(struct msg *msg, uint32_t session, uint64_t number)
{
    store_u32(msg->data + 4, session);
    store_u64(msg->data + 8, number);
}

static struct msg *make_link(uint8_t what, uint32_t session, uint64_t sent, uint64_t received)
{
    uint8_t payload[17];
    struct frame f = {.kind = MSG_LINK, .payload = {payload, sizeof payload}};
    struct msg *msg = NULL;

    payload[0] = what;
    store_u64(payload + 1, sent);
    store_u64(payload + 9, received);
    assert_int_equal(msg_make(&msg, &f, NULL, NULL), ERR_OK);
    put_link(msg, session, 0);
    return msg;
}

struct raw {
    void *socket;
    bool router;
    uint8_t peer[16];
    size_t peer_bytes;
};

static void raw_send(struct raw *raw, struct msg *msg)
{
    if (raw->router)
        assert_true(zmq_send(raw->socket, raw->peer, raw->peer_bytes, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(raw->socket, msg->data, msg->bytes, 0) >= 0);
    msg_free(&msg);
}

/* Wait for a message of the link's own of this kind; the session it names. */
static uint32_t raw_expect(struct raw *raw, struct link *link, uint8_t what)
{
    uint8_t bytes[8192];

    for (;;) {
        struct msg *none = NULL;
        int got = zmq_recv(raw->socket, bytes, sizeof bytes, ZMQ_DONTWAIT), more = 0;
        size_t room = sizeof more;
        if (got < 0) {
            link_tick(link);
            assert_int_not_equal(link_receive(link, &none), LINK_MESSAGE);
            wait_for(raw->socket, link_socket(link));
            continue;
        }
        zmq_getsockopt(raw->socket, ZMQ_RCVMORE, &more, &room);
        if (more) {
            raw->peer_bytes = (size_t)got;
            memcpy(raw->peer, bytes, raw->peer_bytes);
        } else if (load_u16(bytes) == MSG_LINK && bytes[MSG_HEADER_BYTES] == what) {
            return load_u32(bytes + 4);
        }
    }
}

static enum link_news wait_news(struct link *link, struct msg **msg)
{
    enum link_news news;

    while ((news = link_receive(link, msg)) == LINK_NOTHING)
        wait_for(link_socket(link), NULL);
    return news;
}

static struct raw raw_connect(struct pair *p)
{
    struct raw raw = {.socket = zmq_socket(p->shared, ZMQ_DEALER)};
    int zero = 0;

    zmq_setsockopt(raw.socket, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(raw.socket, p->endpoint), 0);
    return raw;
}

static void raw_number(struct raw *raw, uint32_t session, uint64_t number)
{
    struct msg *msg = make_record(0, number, 10);

    put_link(msg, session, number);
    raw_send(raw, msg);
}

static void a_listener_ends_a_session_with_a_gap(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        struct msg *msg = NULL;
        open_listener(&p);
        struct raw raw = raw_connect(&p);
        raw_send(&raw, make_link(READY, 7, 0, 0));
        assert_int_equal(wait_news(p.listener, &msg), LINK_PEER);
        assert_int_equal(raw_expect(&raw, p.listener, ANSWER), 7);
        raw_number(&raw, 7, 1);
        assert_int_equal(wait_news(p.listener, &msg), LINK_MESSAGE);
        msg_free(&msg);
        raw_number(&raw, 7, 3);
        raw_number(&raw, 7, 4);
        assert_int_equal(wait_news(p.listener, &msg), LINK_GONE);
        assert_int_equal(raw_expect(&raw, p.listener, RESET), 7);
        /* The same for a repeat, in the next session. */
        raw_send(&raw, make_link(READY, 8, 0, 0));
        assert_int_equal(wait_news(p.listener, &msg), LINK_PEER);
        raw_number(&raw, 8, 1);
        assert_int_equal(wait_news(p.listener, &msg), LINK_MESSAGE);
        msg_free(&msg);
        raw_number(&raw, 8, 1);
        assert_int_equal(wait_news(p.listener, &msg), LINK_GONE);
        zmq_close(raw.socket);
        pair_end(&p);
    }
}

static void a_tick_that_counts_more_than_came_ends_the_session(void **state)
{
    struct pair p = pair_begin(state, "inproc");
    struct msg *msg = NULL;

    open_listener(&p);
    struct raw raw = raw_connect(&p);
    raw_send(&raw, make_link(READY, 1, 0, 0));
    assert_int_equal(wait_news(p.listener, &msg), LINK_PEER);
    raw_number(&raw, 1, 1);
    raw_send(&raw, make_link(TICK, 1, 1, 0));
    assert_int_equal(wait_news(p.listener, &msg), LINK_MESSAGE);
    msg_free(&msg);
    raw_send(&raw, make_link(TICK, 1, 2, 0)); /* the second was lost */
    assert_int_equal(wait_news(p.listener, &msg), LINK_GONE);
    zmq_close(raw.socket);
    pair_end(&p);
}

static void a_connector_begins_anew_after_a_gap(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        struct raw raw = {.socket = zmq_socket(p.shared, ZMQ_ROUTER), .router = true};
        struct msg *msg = NULL;
        int zero = 0;
        zmq_setsockopt(raw.socket, ZMQ_LINGER, &zero, sizeof zero);
        assert_int_equal(zmq_bind(raw.socket, p.endpoint), 0);
        open_connector(&p);
        uint32_t session = raw_expect(&raw, p.connector, READY);
        raw_send(&raw, make_link(ANSWER, session, 0, 0));
        assert_int_equal(wait_news(p.connector, &msg), LINK_PEER);
        raw_number(&raw, session, 1);
        assert_int_equal(wait_news(p.connector, &msg), LINK_MESSAGE);
        msg_free(&msg);
        raw_number(&raw, session, 3);
        assert_int_equal(wait_news(p.connector, &msg), LINK_GONE);
        /* READY of the old session may still lie there. */
        uint32_t next = session;
        while (next == session)
            next = raw_expect(&raw, p.connector, READY);
        assert_int_equal(next, session + 1);
        /* What belongs to the old session is nothing to it. */
        raw_number(&raw, session, 2);
        raw_send(&raw, make_link(ANSWER, session, 0, 0));
        raw_send(&raw, make_link(ANSWER, next, 0, 0));
        assert_int_equal(wait_news(p.connector, &msg), LINK_PEER);
        raw_number(&raw, next, 1);
        assert_int_equal(wait_news(p.connector, &msg), LINK_MESSAGE);
        msg_free(&msg);
        zmq_close(raw.socket);
        pair_end(&p);
    }
}

static void messages_of_an_unknown_session_are_answered_with_reset(void **state)
{
    struct pair p = pair_begin(state, "inproc");
    struct msg *msg = NULL;

    open_listener(&p);
    struct raw raw = raw_connect(&p);
    raw_number(&raw, 9, 1);
    assert_int_equal(raw_expect(&raw, p.listener, RESET), 9);
    raw_send(&raw, make_link(TICK, 9, 0, 0));
    assert_int_equal(raw_expect(&raw, p.listener, RESET), 9);
    assert_int_equal(link_receive(p.listener, &msg), LINK_NOTHING);
    zmq_close(raw.socket);
    pair_end(&p);
}

static void garbage_is_nobody(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct pair p = pair_begin(state, kinds[kind]);
        uint64_t seed = 3;
        uint8_t bytes[300];
        open_listener(&p);
        open_connector(&p);
        meet(&p);
        struct raw raw = raw_connect(&p);
        for (unsigned i = 0; i < 500; i++) {
            struct msg *msg;
            for (size_t k = 0; k < sizeof bytes; k++)
                bytes[k] = (uint8_t)random_next(&seed);
            if (i % 3 == 0) { /* of ours, torn or with odd fields */
                msg = make_link((uint8_t)(2 + i % 200), (uint32_t)random_next(&seed), 1, 2);
                zmq_send(raw.socket, msg->data,
                         i % 2 ? msg->bytes : random_next(&seed) % msg->bytes, 0);
                msg_free(&msg);
            } else if (i % 3 == 1) {
                zmq_send(raw.socket, bytes, random_next(&seed) % sizeof bytes, 0);
            } else {
                zmq_send(raw.socket, bytes, random_next(&seed) % sizeof bytes, ZMQ_SNDMORE);
                zmq_send(raw.socket, "", 0, 0);
            }
        }
        exchange(&p, 100, 47);
        zmq_close(raw.socket);
        pair_end(&p);
    }
}

static void another_version_is_told_once(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct msg *msg = NULL;

    open_listener(&p);
    struct raw raw = raw_connect(&p);
    for (int i = 0; i < 2; i++) {
        msg = make_link(READY, 7, 0, 0);
        store_u16(msg->data + 2, load_u16(msg->data + 2) + 1);
        raw_send(&raw, msg);
    }
    raw_send(&raw, make_link(READY, 7, 0, 0));
    assert_int_equal(wait_news(p.listener, &msg), LINK_FOREIGN);
    assert_string_equal(link_endpoint(p.listener), p.endpoint);
    assert_int_equal(wait_news(p.listener, &msg), LINK_PEER);
    zmq_close(raw.socket);
    pair_end(&p);
}

static void other_endpoints_are_refused(void **state)
{
    struct pair p = pair_begin(state, "ipc");
    struct err err;

    assert_int_equal(link_open(&p.listener, p.shared, "tcp://127.0.0.1:9", true, &err), ERR_USAGE);
    assert_int_equal(link_open(&p.listener, p.shared, "", false, &err), ERR_USAGE);
    assert_null(p.listener);
    assert_int_equal(link_open(&p.listener, p.shared, "ipc:///nowhere/at/all", true, &err),
                     ERR_SYSTEM);
    open_listener(&p);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(messages_come_in_order_and_whole),
        STAGE_TEST(either_side_may_be_there_first),
        STAGE_TEST(no_more_than_the_window_is_under_way),
        STAGE_TEST(sessions_have_no_gap_and_no_repeat),
        STAGE_TEST(a_listener_learns_that_its_peer_died),
        STAGE_TEST(a_connector_learns_that_its_peer_died),
        STAGE_TEST(what_is_no_socket_is_left_alone),
        STAGE_TEST(a_socket_that_is_listened_at_is_left_alone),
        STAGE_TEST(a_socket_that_nobody_listens_at_is_replaced),
        STAGE_TEST(a_listener_ends_a_session_with_a_gap),
        STAGE_TEST(a_tick_that_counts_more_than_came_ends_the_session),
        STAGE_TEST(a_connector_begins_anew_after_a_gap),
        STAGE_TEST(messages_of_an_unknown_session_are_answered_with_reset),
        STAGE_TEST(garbage_is_nobody),
        STAGE_TEST(another_version_is_told_once),
        STAGE_TEST(other_endpoints_are_refused),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
