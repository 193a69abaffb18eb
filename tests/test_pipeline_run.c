/* The questions that a run puts to its encode, and hands on from its control socket; encode is the test's own. */
#include "pipeline/run.h"
#include "tests/stages_help.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

enum { BUSY_MS = 1000 }; /* four times as long as a progress line on a terminal stands */

/* An encode that is busy for a while before it answers; done when it was asked again after that. */
static struct busy {
    uint64_t first_ms, now_ms, question;
    unsigned asked, asked_while_busy;
    bool answered;
} busy;

static enum err_code busy_open(void **self, const struct stage_env *env, struct err *err)
{
    (void)env;
    (void)err;
    *self = &busy;
    return ERR_OK;
}

static void busy_event(void *self, const struct stage_event *event)
{
    (void)self;
    busy.now_ms = event->now_ms;
    if (event->kind != EVENT_REQUEST)
        return;
    if (!busy.asked++) {
        busy.first_ms = event->now_ms;
        busy.question = event->question;
    }
}

static enum stage_progress busy_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                     struct err *err)
{
    const Riverrun__Reply reply = RIVERRUN__REPLY__INIT;

    (void)self;
    (void)budget_us;
    if (!busy.answered && busy.asked && busy.now_ms - busy.first_ms >= BUSY_MS) {
        busy.asked_while_busy = busy.asked;
        busy.answered = true;
        out->reply(out->self, busy.question, &reply);
    }
    *err = (struct err){.code = ERR_OK};
    return busy.answered && busy.asked > busy.asked_while_busy ? STAGE_DONE : STAGE_IDLE;
}

static size_t busy_descriptors(void *self, int *fds)
{
    (void)self;
    (void)fds;
    return 0;
}

static uint64_t busy_deadline(void *self)
{
    (void)self;
    return busy.now_ms + 20;
}

static void busy_close(void **self)
{
    *self = NULL;
}

static void progress_is_not_asked_for_again_before_it_was_answered(void **state)
{
    static const struct stage_ops ops = {.name = "encode",
                                         .open = busy_open,
                                         .event = busy_event,
                                         .work = busy_work,
                                         .descriptors = busy_descriptors,
                                         .deadline = busy_deadline,
                                         .close = busy_close};
    const struct stage_ops *const alone[] = {&ops, NULL};
    const struct config config = {.store = *state};
    const struct run_options options = {.config = &config, .ops = alone};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), kept = dup(STDERR_FILENO), end;
    struct err err;

    assert_true(terminal >= 0 && !grantpt(terminal) && !unlockpt(terminal));
    end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(end >= 0 && dup2(end, STDERR_FILENO) >= 0);
    assert_int_equal(run_stages(&options, &err), ERR_OK);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(end);
    close(terminal);
    assert_int_equal(busy.asked_while_busy, 1);
}

/* An encode that answers `status` alone, and then is done. */
static bool was_asked;
static uint64_t asked_status;

static void deaf_event(void *self, const struct stage_event *event)
{
    (void)self;
    if (event->kind == EVENT_REQUEST && !strcmp(event->request->verb, "status")) {
        asked_status = event->question;
        was_asked = true;
    }
}

static enum stage_progress deaf_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                     struct err *err)
{
    const Riverrun__Reply reply = RIVERRUN__REPLY__INIT;

    (void)self;
    (void)budget_us;
    if (was_asked)
        out->reply(out->self, asked_status, &reply);
    *err = (struct err){.code = ERR_OK};
    return was_asked ? STAGE_DONE : STAGE_IDLE;
}

static uint64_t deaf_deadline(void *self)
{
    (void)self;
    return UINT64_MAX;
}

static void *run_deaf(void *store)
{
    static const struct stage_ops ops = {.name = "encode",
                                         .open = busy_open,
                                         .event = deaf_event,
                                         .work = deaf_work,
                                         .descriptors = busy_descriptors,
                                         .deadline = deaf_deadline,
                                         .close = busy_close};
    const struct stage_ops *const alone[] = {&ops, NULL};
    const struct config config = {.store = store};
    const struct run_options options = {.config = &config, .ops = alone, .quiet = true};
    struct err err;

    assert_int_equal(run_stages(&options, &err), ERR_OK);
    return NULL;
}

static void ask(void *socket, const char *verb)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    uint8_t packed[64];
    size_t bytes;

    request.verb = proto_text(verb);
    bytes = riverrun__request__pack(&request, packed);
    assert_int_equal(zmq_send(socket, "", 0, ZMQ_SNDMORE), 0);
    assert_int_equal(zmq_send(socket, packed, bytes, 0), bytes);
}

static uint32_t answer_to(void *socket)
{
    uint8_t packed[1000];
    int bytes;
    Riverrun__Reply *reply;
    uint32_t code;

    assert_int_equal(zmq_recv(socket, packed, sizeof packed, 0), 0);
    bytes = zmq_recv(socket, packed, sizeof packed, 0);
    assert_in_range(bytes, 0, sizeof packed);
    reply = riverrun__reply__unpack(NULL, (size_t)bytes, packed);
    assert_non_null(reply);
    code = reply->code;
    riverrun__reply__free_unpacked(reply, NULL);
    return code;
}

/* However many wait, the first one too many is told so, and `status` has its answer. */
static void questions_that_wait_leave_room_for_status(void **state)
{
    enum { MORE_THAN_WAIT = 100 };
    char endpoint[300];
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    pthread_t run;

    snprintf(endpoint, sizeof endpoint, "ipc://%s/control", (const char *)*state);
    assert_int_equal(pthread_create(&run, NULL, run_deaf, *state), 0);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    for (int i = 0; i < MORE_THAN_WAIT; i++)
        ask(socket, "pause");
    assert_int_equal(answer_to(socket), ERR_BUSY);
    ask(socket, "status");
    for (uint32_t code = ERR_BUSY; code; code = answer_to(socket))
        assert_int_equal(code, ERR_BUSY);
    assert_int_equal(pthread_join(run, NULL), 0);
    zmq_close(socket);
    zmq_ctx_term(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(progress_is_not_asked_for_again_before_it_was_answered),
        STAGE_TEST(questions_that_wait_leave_room_for_status),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
