#include "pipeline/run.h"

#include "pipeline/control.h"
#include "pipeline/link.h"
#include "pipeline/runner.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    RUNNERS_MAX = 4,
    QUESTIONS_MAX = 64,
    QUESTIONS_KEPT = 8,   /* of them for `status`, which does not wait for anything */
    PEER_BYTES_MAX = 255, /* ZeroMQ's */
    SECOND_SIGNAL_US = 300000
};

/* At encode, and who asked: a peer of the control socket, or where that is none, our own progress line. */
struct question {
    uint64_t number; /* 0: free */
    size_t peer_bytes;
    uint8_t peer[PEER_BYTES_MAX];
};

struct worker {
    struct runner *runner;
    pthread_t thread;
    bool started, done;
    struct err err;
};

struct run {
    const struct run_options *options;
    struct stage_env env;
    struct report *report;
    void *context, *control; /* control: NULL without encode */
    int control_folder, signals;
    struct worker workers[RUNNERS_MAX];
    size_t count;
    struct worker *encode; /* NULL without */
    struct question questions[QUESTIONS_MAX];
    uint64_t asked; /* number of the last */
    bool stopping;
    uint64_t stopped_us; /* when the first signal came */
    uint64_t progress_ms;
};

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- Set-up ---- */

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { STOP_SIGNALS = sizeof stop_signals / sizeof *stop_signals };

static bool is_ignored(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void catch_signals(void (*handler)(int number), int flags)
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    for (size_t i = 0; i < STOP_SIGNALS; i++)
        if (!is_ignored(stop_signals[i]))
            sigaction(stop_signals[i], &action, NULL);
}

static enum err_code open_signals(struct run *run, struct err *err)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < STOP_SIGNALS; i++)
        if (!is_ignored(stop_signals[i]))
            sigaddset(&set, stop_signals[i]);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) ||
        (run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_set(err, ERR_SYSTEM, errno, "signals");
    return ERR_OK;
}

static enum err_code open_control(struct run *run, struct err *err)
{
    char endpoint[CONTROL_ENDPOINT_MAX];
    int linger_ms = 500; /* the last answer goes out after the run */
    enum err_code code =
        control_endpoint(run->options->config->store, endpoint, &run->control_folder, err);

    if (!code)
        code = link_may_listen(endpoint, err);
    if (code)
        return code;
    run->control = zmq_socket(run->context, ZMQ_ROUTER);
    if (!run->control)
        return err_set(err, ERR_SYSTEM, zmq_errno(), "control socket");
    zmq_setsockopt(run->control, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (zmq_bind(run->control, endpoint))
        return err_set(err, ERR_SYSTEM, zmq_errno(), "control socket in '%s'",
                       run->options->config->store);
    return ERR_OK;
}

static enum err_code open_runners(struct run *run, struct err *err)
{
    const struct run_options *o = run->options;

    for (size_t i = 0; o->ops[i]; i++) {
        char up[64], down[64];
        struct runner_options options = {o->ops[i], &run->env, run->context, o->connect, o->listen};
        require(i < RUNNERS_MAX);
        snprintf(up, sizeof up, "inproc://link-%zu", i);
        snprintf(down, sizeof down, "inproc://link-%zu", i + 1);
        if (!o->connect && !o->listen) {
            options.up = up;
            options.down = down;
        }
        if (runner_open(&run->workers[i].runner, &options, err))
            return err->code;
        run->count = i + 1;
        if (!strcmp(o->ops[i]->name, "encode"))
            run->encode = &run->workers[i];
    }
    return run->encode ? open_control(run, err) : ERR_OK;
}

static void *run_thread(void *self)
{
    struct worker *worker = self;

    runner_run(worker->runner, &worker->err);
    return NULL;
}

static enum err_code start(struct run *run, struct err *err)
{
    for (size_t i = 0; i < run->count; i++) {
        struct worker *w = &run->workers[i];
        int cause = pthread_create(&w->thread, NULL, run_thread, w);
        if (cause)
            return err_set(err, ERR_SYSTEM, cause, "thread of %s", runner_name(w->runner));
        w->started = true;
    }
    return ERR_OK;
}

/* ---- While it runs ---- */

static void command_stop(struct worker *worker)
{
    const uint8_t stop = COMMAND_STOP;

    zmq_send(runner_command(worker->runner), &stop, 1, ZMQ_DONTWAIT);
}

/* Encode stops first and says goodbye to its neighbours; without it, the single stage. */
static void stop(struct run *run)
{
    run->stopping = true;
    for (size_t i = 0; i < run->count; i++)
        if (!run->encode || run->encode == &run->workers[i])
            command_stop(&run->workers[i]);
}

static void on_signal(struct run *run)
{
    struct signalfd_siginfo info;

    while (read(run->signals, &info, sizeof info) == sizeof info) {
        if (run->stopping && now_us() - run->stopped_us >= SECOND_SIGNAL_US)
            _exit(err_status(ERR_STOPPED)); /* all that was promised is durable already */
        if (run->stopping)
            continue; /* the same: `timeout` signals its child, and then its group */
        run->stopped_us = now_us();
        report_line(run->report, STAGE_NOTE, NULL, "stopping; a second signal exits at once");
        stop(run);
    }
}

static struct question *find_question(struct run *run, uint64_t number)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++)
        if (run->questions[i].number == number)
            return &run->questions[i];
    return NULL;
}

/* Hand a question to encode, from peer or (no bytes) for the progress line.
 * Fails  ERR_BUSY: no place for it; ERR_STOPPED: the run is ending */
static enum err_code ask_encode(struct run *run, const Riverrun__Request *request, struct view peer)
{
    struct question *q = find_question(run, 0);
    size_t bytes = COMMAND_HEAD_BYTES + riverrun__request__get_packed_size(request);
    uint8_t *packed;

    if (!run->encode || run->encode->done || peer.bytes > PEER_BYTES_MAX)
        return ERR_STOPPED;
    if (!q ||
        (q >= run->questions + QUESTIONS_MAX - QUESTIONS_KEPT && strcmp(request->verb, "status")))
        return ERR_BUSY;
    q->number = ++run->asked;
    q->peer_bytes = peer.bytes;
    if (peer.bytes)
        memcpy(q->peer, peer.data, peer.bytes);
    packed = malloc(bytes);
    require(packed);
    packed[0] = COMMAND_REQUEST;
    store_u64(packed + 1, q->number);
    riverrun__request__pack(request, packed + COMMAND_HEAD_BYTES);
    zmq_send(runner_command(run->encode->runner), packed, bytes, ZMQ_DONTWAIT);
    free(packed);
    return ERR_OK;
}

/* Our own question is asked again when it was answered: while encode is busy the places are for others. */
static void ask_progress(struct run *run)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;

    for (size_t i = 0; i < QUESTIONS_MAX; i++)
        if (run->questions[i].number && !run->questions[i].peer_bytes)
            return;
    request.verb = proto_text("status");
    (void)!ask_encode(run, &request, (struct view){NULL, 0});
}

/* As a REQ socket wants it: who asked, an empty frame, the answer. One that went away is no loss. */
static void answer(struct run *run, struct view peer, const Riverrun__Reply *reply)
{
    size_t bytes = riverrun__reply__get_packed_size(reply);
    uint8_t *packed = malloc(bytes + 1);

    require(packed);
    riverrun__reply__pack(reply, packed);
    if (zmq_send(run->control, peer.data, peer.bytes, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0 &&
        zmq_send(run->control, "", 0, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0)
        zmq_send(run->control, packed, bytes, ZMQ_DONTWAIT);
    free(packed);
}

/* The frames of one message, at most count; what has more of them, or fewer, is none of ours. */
static bool receive_frames(void *socket, zmq_msg_t *frames, size_t count, bool *all)
{
    size_t got = 0;

    for (size_t i = 0; i < count; i++)
        zmq_msg_init(&frames[i]);
    for (bool more = true; more; got++) {
        zmq_msg_t extra, *into = got < count ? &frames[got] : &extra;
        if (into == &extra)
            zmq_msg_init(&extra);
        if (zmq_msg_recv(into, socket, ZMQ_DONTWAIT) < 0)
            return false;
        more = zmq_msg_more(into);
        if (into == &extra)
            zmq_msg_close(&extra);
    }
    *all = got == count;
    return true;
}

static void on_control(struct run *run)
{
    Riverrun__Reply no = RIVERRUN__REPLY__INIT;
    zmq_msg_t frames[3]; /* who, empty, the request */
    bool all;

    while (receive_frames(run->control, frames, 3, &all)) {
        struct view peer = {zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0])};
        Riverrun__Request *request = NULL;
        if (all && zmq_msg_size(&frames[1]) == 0)
            request =
                riverrun__request__unpack(NULL, zmq_msg_size(&frames[2]), zmq_msg_data(&frames[2]));
        no.code = request ? ask_encode(run, request, peer) : ERR_INPUT;
        no.text = proto_text(no.code == ERR_BUSY      ? "too many questions wait: ask again"
                             : no.code == ERR_STOPPED ? "the run is ending: ask again"
                                                      : "this is no request of ours");
        if (no.code)
            answer(run, peer, &no);
        if (request)
            riverrun__request__free_unpacked(request, NULL);
        for (size_t i = 0; i < 3; i++)
            zmq_msg_close(&frames[i]);
    }
}

static void on_reply(struct run *run, uint64_t number, const uint8_t *packed, size_t bytes)
{
    Riverrun__Reply *reply = riverrun__reply__unpack(NULL, bytes, packed);
    struct question *q = find_question(run, number);

    require(reply && number && q);
    q->number = 0;
    reply->owner_pid = (uint64_t)getpid();
    if (q->peer_bytes)
        answer(run, (struct view){q->peer, q->peer_bytes}, reply);
    else
        report_progress(run->report, reply, now_us() / 1000, clock_ms());
    riverrun__reply__free_unpacked(reply, NULL);
}

static void on_command(struct run *run, struct worker *worker)
{
    zmq_msg_t message;

    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, runner_command(worker->runner), ZMQ_DONTWAIT) >= 0) {
        const uint8_t *data = zmq_msg_data(&message);
        if (data[0] == COMMAND_REPLY)
            on_reply(run, load_u64(data + 1), data + COMMAND_HEAD_BYTES,
                     zmq_msg_size(&message) - COMMAND_HEAD_BYTES);
        else if (data[0] == COMMAND_DONE)
            worker->done = true;
    }
    zmq_msg_close(&message);
    /* With encode over, the others have heard its goodbye; say it again to one that has not. */
    if (worker->done && worker == run->encode)
        for (size_t i = 0; i < run->count; i++)
            if (&run->workers[i] != worker)
                command_stop(&run->workers[i]);
    /* Another that is over before it has heard a goodbye failed: nobody would notice. */
    if (worker->done && run->encode && worker != run->encode && !run->stopping)
        stop(run);
}

static bool all_done(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (!run->workers[i].done)
            return false;
    return true;
}

static void wait_for_news(struct run *run)
{
    zmq_pollitem_t items[RUNNERS_MAX + 2];
    unsigned interval = report_interval_ms(run->report);
    int count = 0;
    long wait = interval ? (long)interval : -1;

    items[count++] = (zmq_pollitem_t){NULL, run->signals, ZMQ_POLLIN, 0};
    for (size_t i = 0; i < run->count; i++)
        items[count++] = (zmq_pollitem_t){runner_command(run->workers[i].runner), 0, ZMQ_POLLIN, 0};
    if (run->control)
        items[count++] = (zmq_pollitem_t){run->control, 0, ZMQ_POLLIN, 0};
    zmq_poll(items, count, wait);
    if (interval && now_us() / 1000 - run->progress_ms >= interval) {
        run->progress_ms = now_us() / 1000;
        ask_progress(run);
    }
}

static void supervise(struct run *run)
{
    while (!all_done(run)) {
        wait_for_news(run);
        on_signal(run);
        if (run->control)
            on_control(run);
        for (size_t i = 0; i < run->count; i++)
            on_command(run, &run->workers[i]);
    }
}

/* ---- End ---- */

static void close_run(struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (run->workers[i].started)
            pthread_join(run->workers[i].thread, NULL);
    for (size_t i = run->count; i-- > 0;)
        runner_close(&run->workers[i].runner);
    if (run->control)
        zmq_close(run->control);
    if (run->context)
        zmq_ctx_term(run->context);
    if (run->control_folder >= 0)
        close(run->control_folder);
    if (run->signals >= 0)
        close(run->signals);
    report_close(&run->report);
}

/* The run's outcome: encode's, unless that was stopped because another failed. */
static struct err outcome(const struct run *run)
{
    const struct worker *main_worker = run->encode ? run->encode : &run->workers[0];

    for (size_t i = 0; i < run->count; i++) {
        enum err_code code = run->workers[i].err.code;
        if (main_worker->err.code == ERR_STOPPED && code && code != ERR_STOPPED)
            return run->workers[i].err;
    }
    return main_worker->err;
}

enum err_code run_stages(const struct run_options *options, struct err *err)
{
    struct run run = {.options = options, .control_folder = -1, .signals = -1};
    enum err_code code;

    code = open_signals(&run, err); /* first, so that the time without is as short as can be */
    run.report = report_open(options->quiet);
    run.env = (struct stage_env){options->config, now_us, run.report, report_line};
    if (!code)
        code = context_open(&run.context, err);
    if (!code)
        code = open_runners(&run, err);
    if (!code)
        code = start(&run, err);
    if (code) {
        for (size_t i = 0; i < run.count; i++)
            if (run.workers[i].started)
                command_stop(&run.workers[i]);
        close_run(&run);
        return code;
    }
    supervise(&run);
    close_run(&run);
    *err = outcome(&run);
    return err->code;
}
