#include "pipeline/run.h"

#include "pipeline/control.h"
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

enum { RUNNERS_MAX = 4, QUESTIONS_MAX = 64 };

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
    bool asked
        [QUESTIONS_MAX]; /* questions at encode, oldest first: from the socket, else progress */
    size_t questions;
    bool stopping;
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

static enum err_code open_signals(struct run *run, struct err *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
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

    if (code)
        return code;
    run->control = zmq_socket(run->context, ZMQ_REP);
    require(run->control);
    zmq_setsockopt(run->control, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (zmq_bind(run->control, endpoint))
        return err_set(err, ERR_SYSTEM, 0, "control socket in '%s': %s",
                       run->options->config->store, zmq_strerror(zmq_errno()));
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

static void command(struct worker *worker, uint8_t what, const Riverrun__Request *request)
{
    size_t bytes = 1 + (request ? riverrun__request__get_packed_size(request) : 0);
    uint8_t *packed = malloc(bytes);

    require(packed);
    packed[0] = what;
    if (request)
        riverrun__request__pack(request, packed + 1);
    zmq_send(runner_command(worker->runner), packed, bytes, ZMQ_DONTWAIT);
    free(packed);
}

/* Encode stops first and says goodbye to its neighbours; without it, the single stage. */
static void stop(struct run *run)
{
    run->stopping = true;
    for (size_t i = 0; i < run->count; i++)
        if (!run->encode || run->encode == &run->workers[i])
            command(&run->workers[i], COMMAND_STOP, NULL);
}

static void on_signal(struct run *run)
{
    struct signalfd_siginfo info;

    while (read(run->signals, &info, sizeof info) == sizeof info) {
        if (run->stopping)
            _exit(err_status(ERR_STOPPED)); /* all that was promised is durable already */
        report_line(run->report, STAGE_NOTE, NULL, "stopping; a second signal exits at once");
        stop(run);
    }
}

static bool question(struct run *run, const Riverrun__Request *request, bool asked)
{
    if (run->questions == QUESTIONS_MAX || !run->encode || run->encode->done)
        return false;
    run->asked[run->questions++] = asked;
    command(run->encode, COMMAND_REQUEST, request);
    return true;
}

static void ask_progress(struct run *run)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;

    request.verb = proto_text("status");
    question(run, &request, false);
}

static void on_control(struct run *run)
{
    Riverrun__Reply no = RIVERRUN__REPLY__INIT;
    Riverrun__Request *request;
    zmq_msg_t message;
    uint8_t packed[256];

    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, run->control, ZMQ_DONTWAIT) >= 0) {
        request = riverrun__request__unpack(NULL, zmq_msg_size(&message), zmq_msg_data(&message));
        if (!request || !question(run, request, true)) {
            no.code = ERR_INPUT;
            no.text = proto_text("the run is ending, or this is no request of ours");
            zmq_send(run->control, packed, riverrun__reply__pack(&no, packed), ZMQ_DONTWAIT);
        }
        if (request)
            riverrun__request__free_unpacked(request, NULL);
    }
    zmq_msg_close(&message);
}

static void on_reply(struct run *run, const uint8_t *packed, size_t bytes)
{
    Riverrun__Reply *reply = riverrun__reply__unpack(NULL, bytes, packed);
    bool asked = run->questions && run->asked[0];

    require(reply && run->questions);
    memmove(run->asked, run->asked + 1, --run->questions * sizeof *run->asked);
    reply->owner_pid = (uint64_t)getpid();
    if (asked) {
        uint8_t *again = malloc(riverrun__reply__get_packed_size(reply) + 1);
        require(again);
        zmq_send(run->control, again, riverrun__reply__pack(reply, again), ZMQ_DONTWAIT);
        free(again);
    } else {
        report_progress(run->report, reply, now_us() / 1000, clock_ms());
    }
    riverrun__reply__free_unpacked(reply, NULL);
}

static void on_command(struct run *run, struct worker *worker)
{
    zmq_msg_t message;

    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, runner_command(worker->runner), ZMQ_DONTWAIT) >= 0) {
        const uint8_t *data = zmq_msg_data(&message);
        if (data[0] == COMMAND_REPLY)
            on_reply(run, data + 1, zmq_msg_size(&message) - 1);
        else if (data[0] == COMMAND_DONE)
            worker->done = true;
    }
    zmq_msg_close(&message);
    /* With encode over, the others have heard its goodbye; say it again to one that has not. */
    if (worker->done && worker == run->encode)
        for (size_t i = 0; i < run->count; i++)
            if (&run->workers[i] != worker)
                command(&run->workers[i], COMMAND_STOP, NULL);
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

enum err_code run_stages(const struct run_options *options, struct err *err)
{
    struct run run = {.options = options, .control_folder = -1, .signals = -1};
    struct worker *main_worker;
    enum err_code code;

    code = open_signals(&run, err); /* first, so that the time without is as short as can be */
    run.report = report_open(options->quiet);
    run.env = (struct stage_env){options->config, now_us, run.report, report_line};
    run.context = zmq_ctx_new();
    require(run.context);
    if (!code)
        code = open_runners(&run, err);
    if (!code)
        code = start(&run, err);
    if (code) {
        for (size_t i = 0; i < run.count; i++)
            if (run.workers[i].started)
                command(&run.workers[i], COMMAND_STOP, NULL);
        close_run(&run);
        return code;
    }
    supervise(&run);
    main_worker = run.encode ? run.encode : &run.workers[0];
    close_run(&run);
    *err = main_worker->err;
    return err->code;
}
