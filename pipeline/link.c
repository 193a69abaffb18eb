#include "pipeline/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
/* Thread sanitizer sees no order through libzmq: a message's bytes are written before it is sent and
 * read after it was received. */
#define SENT(data)     __tsan_release(data)
#define RECEIVED(data) __tsan_acquire(data)
#else
#define SENT(data)     ((void)(data))
#define RECEIVED(data) ((void)(data))
#endif

enum what { READY = 1, ANSWER, TICK, RESET };
enum { PEER_BYTES = 16, LINK_PAYLOAD_BYTES = 17 };

struct link {
    void *socket;
    bool listen;
    bool afar;      /* to another process */
    bool there;     /* a session is on */
    bool news_gone; /* LINK_GONE is to be told */
    bool foreign;   /* LINK_FOREIGN was */
    char endpoint[LINK_ENDPOINT_MAX];
    uint32_t session;
    uint8_t peer[PEER_BYTES]; /* a listener's: who connects */
    size_t peer_bytes;
    uint64_t sent, received;             /* messages of this session */
    uint64_t sent_bytes, received_bytes; /* of data */
    uint64_t credited, told;             /* bytes: by the peer; to the peer */
};

static void release_zmq(void *owner)
{
    zmq_msg_close(owner);
    free(owner);
}

static void free_sent(void *data, void *hint)
{
    struct msg *msg = hint;

    RECEIVED(data); /* by ZeroMQ's own thread, where the bytes left the process */
    msg_free(&msg);
}

static bool is_data(const struct msg *msg)
{
    uint16_t kind = load_u16(msg->data);
    return kind == MSG_BYTES || kind == MSG_TOKENS || kind == MSG_RECORD;
}

/* ---- Opening ---- */

/* Does somebody listen at the socket at path? Who does not accept now, but has us wait for it, does too. */
static bool is_listened_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool there = false;

    if (fd >= 0 && strlen(path) < sizeof address.sun_path) {
        strcpy(address.sun_path, path);
        there =
            connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    }
    if (fd >= 0)
        close(fd);
    return there;
}

enum err_code link_may_listen(const char *endpoint, struct err *err)
{
    const char *path = endpoint + strlen("ipc://");
    struct stat st;

    if (strncmp(endpoint, "ipc://", 6) || path[0] == '@' || path[0] == '*' || lstat(path, &st))
        return ERR_OK;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_SINK, 0,
                       "listen at '%s': something is there that is no socket: choose another path, "
                       "or remove it",
                       path);
    return ERR_OK;
}

static enum err_code make_socket(struct link *link, void *context, const char *endpoint,
                                 struct err *err)
{
    int zero = 0, one = 1, linger = 1000;
    int64_t most = MSG_BYTES_MAX;
    uint8_t name[PEER_BYTES];
    enum err_code code = link->listen ? link_may_listen(endpoint, err) : ERR_OK;
    int bad;

    if (!code && link->listen && link->afar && is_listened_at(endpoint + strlen("ipc://")))
        code = err_set(err, ERR_BUSY, 0,
                       "listen at '%s': another process does: end it, or choose another path",
                       endpoint);
    if (code)
        return code;
    link->socket = zmq_socket(context, link->listen ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!link->socket)
        return err_set(err, ERR_SYSTEM, zmq_errno(), "a socket for '%s'", endpoint);
    zmq_setsockopt(link->socket, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(link->socket, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(link->socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    if (link->listen) {
        zmq_setsockopt(link->socket, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
        bad = zmq_bind(link->socket, endpoint);
    } else {
        /* Unique per life, so that a listener never takes a new process for the old one. */
        require(getrandom(name, sizeof name, 0) == sizeof name);
        name[0] |= 1; /* a name that begins with zero is ZeroMQ's own */
        zmq_setsockopt(link->socket, ZMQ_ROUTING_ID, name, sizeof name);
        zmq_setsockopt(link->socket, ZMQ_IMMEDIATE, &one, sizeof one);
        bad = zmq_connect(link->socket, endpoint);
    }
    if (!bad)
        return ERR_OK;
    return err_set(err, zmq_errno() == EADDRINUSE ? ERR_BUSY : ERR_SYSTEM, zmq_errno(), "%s '%s'",
                   link->listen ? "listen at" : "connect to", endpoint);
}

enum err_code link_open(struct link **out, void *context, const char *endpoint, bool listen,
                        struct err *err)
{
    struct link *link;
    enum err_code code;

    if (strncmp(endpoint, "inproc://", 9) && strncmp(endpoint, "ipc://", 6))
        return err_set(err, ERR_USAGE, 0, "endpoint '%s': write ipc://PATH", endpoint);
    link = calloc(1, sizeof *link);
    if (!link)
        return err_set(err, ERR_MEMORY, 0, "link '%s'", endpoint);
    link->listen = listen;
    snprintf(link->endpoint, sizeof link->endpoint, "%s", endpoint);
    link->afar = !strncmp(endpoint, "ipc://", 6);
    code = make_socket(link, context, endpoint, err);
    if (code) {
        link_close(&link);
        return code;
    }
    *out = link;
    link_tick(link);
    return ERR_OK;
}

void link_close(struct link **link)
{
    if (!*link)
        return;
    if ((*link)->socket)
        zmq_close((*link)->socket);
    free(*link);
    *link = NULL;
}

bool link_is_afar(const struct link *link)
{
    return link->there && link->afar;
}

const char *link_endpoint(const struct link *link)
{
    return link->endpoint;
}

void *link_socket(const struct link *link)
{
    return link->socket;
}

/* ---- Sending ---- */

/* Put msg on the wire to peer (a listener's; else the only one). *msg is gone in any case. */
static bool put(struct link *link, const uint8_t *peer, size_t peer_bytes, struct msg **msg)
{
    uint8_t *data = (*msg)->data;
    size_t bytes = (*msg)->bytes;
    zmq_msg_t wire;
    int sent;

    if (link->listen && zmq_send(link->socket, peer, peer_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        msg_free(msg);
        return false;
    }
    SENT(data); /* from here on the message may be another thread's */
    if (zmq_msg_init_data(&wire, data, bytes, free_sent, *msg)) {
        msg_free(msg);
        return false;
    }
    *msg = NULL; /* the wire's now */
    sent = zmq_msg_send(&wire, link->socket, ZMQ_DONTWAIT);
    if (sent < 0)
        zmq_msg_close(&wire);
    return sent >= 0;
}

static bool say(struct link *link, enum what what, uint32_t session, const uint8_t *peer,
                size_t peer_bytes)
{
    uint8_t payload[LINK_PAYLOAD_BYTES];
    struct frame f = {.kind = MSG_LINK, .payload = {payload, sizeof payload}};
    struct msg *msg = NULL;

    payload[0] = (uint8_t)what;
    store_u64(payload + 1, link->sent);
    store_u64(payload + 9, link->received_bytes);
    if (msg_make(&msg, &f, NULL, NULL))
        return true;
    store_u32(msg->data + 4, session);
    return put(link, peer, peer_bytes, &msg);
}

static void gone(struct link *link)
{
    link->news_gone = link->news_gone || link->there;
    link->there = false;
}

/* A connecting side asks for a new session. */
static void begin(struct link *link)
{
    gone(link);
    link->session++;
    link->sent = link->received = 0;
    link->sent_bytes = link->received_bytes = link->credited = link->told = 0;
    say(link, READY, link->session, NULL, 0);
}

void link_reset(struct link *link)
{
    if (!link->listen) {
        begin(link);
        return;
    }
    say(link, RESET, link->session, link->peer, link->peer_bytes);
    gone(link);
}

bool link_room(const struct link *link)
{
    return link->there && link->sent_bytes - link->credited < LINK_WINDOW_BYTES;
}

bool link_send(struct link *link, struct msg **msg)
{
    bool data = is_data(*msg);
    size_t bytes = (*msg)->bytes;

    if (!link->there || (data && !link_room(link)))
        return false;
    store_u32((*msg)->data + 4, link->session);
    store_u64((*msg)->data + 8, link->sent + 1);
    if (!put(link, link->peer, link->peer_bytes, msg)) {
        /* Nobody takes it, and it is not in order any more: a new session will say all again. */
        link_reset(link);
        return true;
    }
    link->sent++;
    link->sent_bytes += data ? bytes : 0;
    return true;
}

void link_tick(struct link *link)
{
    if (!link->there) {
        if (!link->listen) {
            link->session += link->session == 0;
            say(link, READY, link->session, NULL, 0);
        }
        return;
    }
    link->told = link->received_bytes;
    /* A peer that died says nothing: this is where it is known. */
    if (!say(link, TICK, link->session, link->peer, link->peer_bytes))
        link_reset(link);
}

/* ---- Receiving ---- */

static struct msg *take(struct link *link, uint8_t peer[PEER_BYTES], size_t *peer_bytes)
{
    zmq_msg_t *wire = malloc(sizeof *wire);
    struct msg *msg = malloc(sizeof *msg);

    require(wire && msg);
    *peer_bytes = 0;
    zmq_msg_init(wire);
    for (;;) {
        if (zmq_msg_recv(wire, link->socket, ZMQ_DONTWAIT) < 0)
            break;
        if (!zmq_msg_more(wire)) {
            *msg = (struct msg){zmq_msg_size(wire), zmq_msg_data(wire), wire, release_zmq};
            RECEIVED(msg->data);
            return msg;
        }
        if (zmq_msg_size(wire) <= PEER_BYTES) {
            *peer_bytes = zmq_msg_size(wire);
            memcpy(peer, zmq_msg_data(wire), *peer_bytes);
        }
    }
    zmq_msg_close(wire);
    free(wire);
    free(msg);
    return NULL;
}

static enum link_news ready(struct link *link, uint32_t session, const uint8_t *peer,
                            size_t peer_bytes)
{
    bool known = link->there && session == link->session && peer_bytes == link->peer_bytes &&
                 !memcmp(peer, link->peer, peer_bytes);

    if (!known) {
        link->session = session;
        link->peer_bytes = peer_bytes;
        memcpy(link->peer, peer, peer_bytes);
        link->sent = link->received = 0;
        link->sent_bytes = link->received_bytes = link->credited = link->told = 0;
        link->there = true;
        link->news_gone = false; /* LINK_PEER says it too */
    }
    say(link, ANSWER, session, peer, peer_bytes);
    return known ? LINK_NOTHING : LINK_PEER;
}

/* A message of the link's own. */
static enum link_news hear(struct link *link, const struct frame *f, uint32_t session,
                           const uint8_t *peer, size_t peer_bytes)
{
    struct reader r = reader_of(f->payload.data, f->payload.bytes);
    uint8_t what = read_u8(&r);
    uint64_t sent = read_u64(&r), received_bytes = read_u64(&r);
    bool ours = session == link->session &&
                (!link->listen || (link->there && peer_bytes == link->peer_bytes &&
                                   !memcmp(peer, link->peer, peer_bytes)));

    if (!read_done(&r))
        return LINK_NOTHING;
    if (what == READY && link->listen)
        return ready(link, session, peer, peer_bytes);
    if (what == ANSWER && !link->listen && ours && !link->there) {
        link->there = true;
        link->news_gone = false;
        return LINK_PEER;
    }
    if (what == RESET && !link->listen && ours)
        begin(link);
    if (what != TICK)
        return LINK_NOTHING;
    if (!ours && link->listen)
        say(link, RESET, session, peer, peer_bytes);
    if (!ours || !link->there)
        return LINK_NOTHING;
    link->credited = received_bytes;
    if (sent != link->received)
        link_reset(link);
    return LINK_NOTHING;
}

/* A message of the flow: in its place, or the session is over. */
static bool in_order(struct link *link, const struct msg *msg, const uint8_t *peer,
                     size_t peer_bytes)
{
    uint32_t session = load_u32(msg->data + 4);

    if (link->listen && (!link->there || session != link->session ||
                         peer_bytes != link->peer_bytes || memcmp(peer, link->peer, peer_bytes))) {
        say(link, RESET, session, peer, peer_bytes);
        return false;
    }
    if (!link->there || session != link->session)
        return false;
    if (load_u64(msg->data + 8) != link->received + 1) {
        link_reset(link);
        return false;
    }
    return true;
}

enum link_news link_receive(struct link *link, struct msg **out)
{
    uint8_t peer[PEER_BYTES];
    size_t peer_bytes;
    struct msg *msg;

    while (!link->news_gone && (msg = take(link, peer, &peer_bytes))) {
        struct frame f;
        enum link_news news = LINK_NOTHING;
        enum err_code code = msg_read(msg, &f, NULL);
        if (code) { /* not of this protocol: whoever sent it is no neighbour */
            msg_free(&msg);
            if (code != ERR_VERSION || link->foreign)
                continue;
            link->foreign = true;
            return LINK_FOREIGN;
        }
        if (f.kind != MSG_LINK && in_order(link, msg, peer, peer_bytes)) {
            link->received++;
            link->received_bytes += is_data(msg) ? msg->bytes : 0;
            if (link->received_bytes - link->told >= LINK_WINDOW_BYTES / 4)
                link_tick(link);
            *out = msg;
            return LINK_MESSAGE;
        }
        if (f.kind == MSG_LINK)
            news = hear(link, &f, load_u32(msg->data + 4), peer, peer_bytes);
        msg_free(&msg);
        if (news)
            return news;
    }
    if (link->news_gone) {
        link->news_gone = false;
        return LINK_GONE;
    }
    return LINK_NOTHING;
}
