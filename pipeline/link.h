/* pipeline/link.h: one edge of the flow: messages over ZeroMQ, in order, all of them or none.
 *
 * The downstream side connects, the upstream side listens. The connecting side numbers link sessions:
 * READY(session) starts one with zero counters, and is repeated until it is answered. Within a
 * session every message is numbered; a number that is not the next, or a tick that counts more than
 * came, means that something was lost, and a message of a session that the listener does not know
 * means that it is a new process: both end the session, and a new one starts. So a stage sees either
 * every message in order, or LINK_GONE and then LINK_PEER.
 *
 * Credit is in bytes of data messages, absolute since the session's start, and repeated with every
 * tick. It bounds what lies in ZeroMQ when a neighbour does not take (control messages are exempt and
 * few). ZeroMQ's high-water mark is off: it drops or blocks, and neither is flow control.
 *
 *    LINK payload:  0 u8 what | 1 u64 messages sent | 9 u64 data bytes received
 *
 * Inside a process a message is handed over without copying its bytes.
 * Threads  one thread uses a link. */
#ifndef PIPELINE_LINK_H
#define PIPELINE_LINK_H

#include "schemas/msg.h"

struct link;

enum { LINK_WINDOW_BYTES = 1 << 20, LINK_TICK_MS = 200, LINK_ENDPOINT_MAX = 256 };

/* LINK_FOREIGN: somebody speaks another version of the protocol, which is said once. */
enum link_news { LINK_NOTHING, LINK_MESSAGE, LINK_PEER, LINK_GONE, LINK_FOREIGN };

/* Whoever binds an ipc endpoint is to ask this before: ZeroMQ removes what lies at the path, whatever it is.
 * Fails  ERR_SINK: something that is no socket. */
MUST_CHECK enum err_code link_may_listen(const char *endpoint, struct err *err);

/* Fails  ERR_USAGE: no such kind of endpoint; as link_may_listen; ERR_BUSY: another process listens there;
 *        ERR_SYSTEM: cannot be bound. */
MUST_CHECK enum err_code link_open(struct link **out, void *context, const char *endpoint,
                                   bool listen, struct err *err);
/* What was sent still goes out, for at most a second. */
void link_close(struct link **link);

/* Is there a neighbour, as far as is known, in another process? */
bool link_is_afar(const struct link *link);
const char *link_endpoint(const struct link *link);
/* For zmq_poll. */
void *link_socket(const struct link *link);

/* True: sent, *msg is NULL. False: no room, or no peer; *msg is still the caller's. */
bool link_send(struct link *link, struct msg **msg);
bool link_room(const struct link *link);

/* What came, if anything did; *msg is set with LINK_MESSAGE. */
enum link_news link_receive(struct link *link, struct msg **msg);

/* To be called about every LINK_TICK_MS: says again what the other side may have missed. */
void link_tick(struct link *link);
/* What came breaks the protocol: end the session. */
void link_reset(struct link *link);

#endif
