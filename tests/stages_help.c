#include "tests/stages_help.h"

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- Folders and files ---- */

int make_folder(void **state)
{
    char folder[] = "/tmp/riverrun-stages-XXXXXX";

    if (!mkdtemp(folder))
        return -1;
    *state = strdup(folder);
    return *state ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

int remove_folder(void **state)
{
    int bad = nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return bad;
}

const char *in_folder(void **state, const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];

    require((size_t)snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name) <
            sizeof paths[0]);
    return path;
}

void put_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wbe");

    if (!file)
        fail_msg("cannot write %s", path);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

uint8_t *get_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *data;
    long size;

    if (!file)
        fail_msg("cannot read %s", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    data = malloc((size_t)size + 1);
    require(data);
    assert_int_equal(fread(data, 1, (size_t)size, file), size);
    data[size] = 0;
    fclose(file);
    *bytes = (size_t)size;
    return data;
}

uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * 0x2545F4914F6CDD1Du;
}

static bool skipped;

bool shared_missing(const char *path)
{
    if (access(path, R_OK) == 0)
        return false;
    printf("skipped: %s is not there\n", path);
    skipped = true;
    return true;
}

int tests_result(int failed)
{
    return failed ? failed : skipped ? 77 : 0;
}

/* ---- The driver ---- */

static bool is_control(const struct msg *msg)
{
    return load_u16(msg->data) == MSG_CONTROL;
}

static bool out_room(void *self, enum stage_port port)
{
    const struct driver *d = self;

    return !d->closed[port] && d->data_room > 0;
}

static bool out_send(void *self, enum stage_port port, struct msg **msg)
{
    struct driver *d = self;
    bool control = is_control(*msg);

    if (!control && !out_room(self, port))
        return false;
    if (!control && d->data_room != SIZE_MAX)
        d->data_room--;
    require(d->count[port] < DRIVER_MESSAGES);
    d->sent[port][d->count[port]++] = *msg;
    *msg = NULL;
    return true;
}

static void out_reply(void *self, uint64_t question, const Riverrun__Reply *reply)
{
    (void)self;
    (void)question;
    (void)reply;
}

static void report(void *self, enum stage_level level, const char *stream, const char *text)
{
    struct driver *d = self;
    size_t used = strlen(d->reports);

    (void)level;
    snprintf(d->reports + used, sizeof d->reports - used, "%s: %s\n", stream ? stream : "-", text);
}

static uint64_t no_time(void)
{
    return 0;
}

struct driver *driver_new(const char *stage)
{
    struct driver *d = calloc(1, sizeof *d);

    require(d);
    d->ops = stage_find(stage);
    require(d->ops);
    d->env = (struct stage_env){&d->config, no_time, d, report};
    d->config.read_bytes = 4096;
    d->config.window_bytes = 1 << 20;
    d->config.state_bytes = 64 << 20;
    d->config.max_latency_ms = 2000;
    d->config.record_window_bytes = 1 << 20;
    d->data_room = SIZE_MAX;
    d->now_ms = 1000;
    return d;
}

void driver_start(struct driver *d)
{
    struct err err = {.text = ""};

    if (d->ops->open(&d->self, &d->env, &err))
        fail_msg("%s: %s", d->ops->name, err.text);
    if (d->ops->has_down)
        driver_event(d, EVENT_PEER, PORT_DOWN);
    if (d->ops->has_up)
        driver_event(d, EVENT_PEER, PORT_UP);
    driver_work(d);
}

void driver_free(struct driver **d)
{
    driver_drop_sent(*d);
    (*d)->ops->close(&(*d)->self);
    assert_null((*d)->self);
    free(*d);
    *d = NULL;
}

void driver_event(struct driver *d, enum stage_event_kind kind, enum stage_port port)
{
    const struct stage_event event = {.kind = kind, .port = port, .now_ms = d->now_ms};

    d->ops->event(d->self, &event);
}

void driver_work(struct driver *d)
{
    const struct stage_out out = {d, out_send, out_room, out_reply};

    driver_event(d, EVENT_TIME, PORT_UP);
    do
        d->progress = d->ops->work(d->self, 1000, &out, &d->outcome);
    while (d->progress == STAGE_RAN);
}

void driver_poll(struct driver *d)
{
    struct pollfd items[STAGE_DESCRIPTORS_MAX];
    int fds[STAGE_DESCRIPTORS_MAX];
    size_t count = d->ops->descriptors(d->self, fds);

    require(count > 0);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct pollfd){fds[i], POLLIN, 0};
    require(poll(items, count, -1) > 0);
    driver_work(d);
}

void driver_wait(struct driver *d, enum stage_port port)
{
    driver_work(d);
    while (d->count[port] == d->first[port])
        driver_poll(d);
}

enum err_code driver_accept(struct driver *d, enum stage_port port, struct msg *msg)
{
    struct err err;
    enum err_code code = d->ops->accept(d->self, port, &msg, &err);

    require(code || !msg);
    msg_free(&msg);
    return code;
}

enum err_code driver_control(struct driver *d, enum stage_port port, Riverrun__Control__IsCase is,
                             void *body)
{
    Riverrun__Control control = RIVERRUN__CONTROL__INIT;
    struct msg *msg = NULL;

    control.is_case = is;
    control.list = body; /* the members of the union share their place */
    assert_int_equal(control_make(&msg, &control, NULL), ERR_OK);
    return driver_accept(d, port, msg);
}

enum err_code driver_data(struct driver *d, enum stage_port port, const struct frame *f)
{
    struct msg *msg = NULL;

    assert_int_equal(msg_make(&msg, f, NULL, NULL), ERR_OK);
    return driver_accept(d, port, msg);
}

struct msg *driver_take(struct driver *d, enum stage_port port)
{
    if (d->first[port] == d->count[port])
        return NULL;
    struct msg *msg = d->sent[port][d->first[port]++];
    if (d->first[port] == d->count[port])
        d->first[port] = d->count[port] = 0;
    return msg;
}

Riverrun__Control *driver_expect(struct driver *d, enum stage_port port,
                                 Riverrun__Control__IsCase is)
{
    struct msg *msg = driver_take(d, port);
    Riverrun__Control *control = NULL;
    struct frame f;

    if (!msg)
        fail_msg("no message, wanted control %d; reports: %s", (int)is, d->reports);
    assert_int_equal(msg_read(msg, &f, NULL), ERR_OK);
    assert_int_equal(f.kind, MSG_CONTROL);
    assert_int_equal(control_read(&f, &control, NULL), ERR_OK);
    if (control->is_case != is)
        fail_msg("control %d (%s), wanted %d; reports: %s", (int)control->is_case,
                 control->is_case == RIVERRUN__CONTROL__IS_SINK_REFUSED
                     ? control->sink_refused->text
                     : "",
                 (int)is, d->reports);
    msg_free(&msg);
    return control;
}

struct msg *driver_expect_data(struct driver *d, enum stage_port port, enum msg_kind kind,
                               struct frame *f)
{
    struct msg *msg = driver_take(d, port);

    if (!msg)
        fail_msg("no message, wanted data; reports: %s", d->reports);
    assert_int_equal(msg_read(msg, f, NULL), ERR_OK);
    assert_int_equal(f->kind, kind);
    return msg;
}

void driver_expect_nothing(struct driver *d)
{
    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++)
        if (d->first[port] != d->count[port])
            fail_msg("%zu messages at port %d, wanted none", d->count[port] - d->first[port],
                     (int)port);
}

void driver_drop_sent(struct driver *d)
{
    for (enum stage_port port = PORT_UP; port < PORT_COUNT; port++) {
        struct msg *msg;
        while ((msg = driver_take(d, port)))
            msg_free(&msg);
    }
}
