/* The control socket, asked: it is a ZeroMQ ROUTER socket at STORE/control, and a REQ socket asks it. ipc paths hold
 * 107 bytes, so where the store's path is longer the socket is reached through /proc/self/fd of its open folder. */
#include "pipeline/control.h"

#include "pipeline/run.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

enum { ANSWER_MS = 30000, CONNECT_MS = 2000, IPC_PATH_MAX = 107, CONTEXT_DESCRIPTORS = 12 };

enum err_code control_endpoint(const char *store, char endpoint[CONTROL_ENDPOINT_MAX], int *folder,
                               struct err *err)
{
    *folder = -1;
    if (strlen(store) + sizeof "/control" <= IPC_PATH_MAX) {
        snprintf(endpoint, CONTROL_ENDPOINT_MAX, "ipc://%s/control", store);
        return ERR_OK;
    }
    *folder = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return err_set(err, ERR_ABSENT, errno, "store '%s'", store);
    snprintf(endpoint, CONTROL_ENDPOINT_MAX, "ipc:///proc/self/fd/%d/control", *folder);
    return ERR_OK;
}

/* Where its threads get no descriptors libzmq ends the program: so it is asked first whether there are some. */
enum err_code context_open(void **out, struct err *err)
{
    int held[CONTEXT_DESCRIPTORS], cause = 0;
    size_t count = 0;

    while (count < CONTEXT_DESCRIPTORS && !cause) {
        held[count] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        cause = held[count] < 0 ? errno : 0;
        count += !cause;
    }
    while (count > 0)
        close(held[--count]);
    if (cause)
        return err_set(err, ERR_SYSTEM, cause, "%d descriptors for sockets cannot be had",
                       CONTEXT_DESCRIPTORS);
    *out = zmq_ctx_new();
    require(*out);
    return ERR_OK;
}

/* Wait for the answer. A run that ends, or is killed, before it answered is noticed at once: its end of the connection
 * closes, which the monitor tells. What it said before that is still there to be received. */
static enum err_code receive(void *socket, void *monitor, zmq_msg_t *answer, const char *path,
                             bool *waits, struct err *err)
{
    zmq_pollitem_t items[2] = {{socket, 0, ZMQ_POLLIN, 0}, {monitor, 0, ZMQ_POLLIN, 0}};
    int ready = zmq_poll(items, 2, ANSWER_MS);

    if (zmq_msg_recv(answer, socket, ZMQ_DONTWAIT) >= 0)
        return ERR_OK;
    if (ready > 0)
        return err_set(err, ERR_ABSENT, 0, "the run of store '%s' ended before it answered", path);
    *waits = true;
    return err_set(err, ERR_ABSENT, 0, "the run of store '%s' has not answered in %d s", path,
                   ANSWER_MS / 1000);
}

static enum err_code exchange(void *socket, void *monitor, const Riverrun__Request *request,
                              Riverrun__Reply **reply, bool *waits, const char *path,
                              struct err *err)
{
    size_t bytes = riverrun__request__get_packed_size(request);
    uint8_t *packed = malloc(bytes + 1);
    zmq_msg_t answer;
    enum err_code code;

    require(packed);
    riverrun__request__pack(request, packed);
    zmq_msg_init(&answer);
    if (zmq_send(socket, packed, bytes, 0) < 0)
        code = err_set(err, ERR_ABSENT, 0, "nobody answers at store '%s'", path);
    else
        code = receive(socket, monitor, &answer, path, waits, err);
    if (!code) {
        *reply = riverrun__reply__unpack(NULL, zmq_msg_size(&answer), zmq_msg_data(&answer));
        if (!*reply)
            code = err_set(err, ERR_INPUT, 0, "the answer at store '%s' cannot be decoded", path);
    }
    zmq_msg_close(&answer);
    free(packed);
    return code;
}

enum err_code control_ask(const char *path, const Riverrun__Request *request,
                          Riverrun__Reply **reply, bool *waits, struct err *err)
{
    static const char told[] = "inproc://control-monitor";
    char endpoint[CONTROL_ENDPOINT_MAX];
    int folder, one = 1, zero = 0, connect_ms = CONNECT_MS;
    void *context = NULL, *socket, *monitor;
    enum err_code code = control_endpoint(path, endpoint, &folder, err);

    *waits = false;
    if (code)
        return code;
    code = context_open(&context, err);
    if (code) {
        if (folder >= 0)
            close(folder);
        return code;
    }
    socket = zmq_socket(context, ZMQ_REQ);
    monitor = zmq_socket(context, ZMQ_PAIR);
    require(context && socket && monitor);
    zmq_setsockopt(socket, ZMQ_IMMEDIATE, &one, sizeof one);
    zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &connect_ms, sizeof connect_ms);
    if (zmq_socket_monitor(socket, told, ZMQ_EVENT_DISCONNECTED) || zmq_connect(monitor, told) ||
        zmq_connect(socket, endpoint))
        code = err_set(err, ERR_ABSENT, zmq_errno(), "control socket of '%s'", path);
    else
        code = exchange(socket, monitor, request, reply, waits, path, err);
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(monitor);
    zmq_close(socket);
    zmq_ctx_term(context);
    if (folder >= 0)
        close(folder);
    return code;
}
