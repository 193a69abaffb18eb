/* Ingest: announces what there is to read, and reads it on request.
 *
 * It holds nothing that matters: a cursor leads back to any place, and a source is read from where
 * `open` says and no further than `grant` allows. Sources are read in turn, one message each. */
#include "schemas/step.h"
#include "schemas/table.h"
#include "stages/ingest/paths.h"
#include "stages/ingest/source.h"
#include "stages/stage.h"

#include <stdlib.h>

struct input {
    const struct path *path;
    uint64_t stream, epoch; /* of the open; stream 0: not open */
    uint64_t sent, limit;   /* source bytes since the open */
    bool opened;            /* `opened` was told */
    bool done;              /* the end was sent */
    bool drained;           /* a pipe that was read: what was read is gone */
    struct source source;
};

struct ingest {
    const struct stage_env *env;
    struct path_list paths;
    struct input *inputs; /* (paths.count), in order of their names */
    struct table streams; /* the open ones */
    struct stage_outbox outbox;
    struct msg *waiting; /* for room */
    uint8_t *buffer;     /* (config.read_bytes) */
    size_t next;         /* whose turn it is */
    bool stop, bye;
};

static void ingest_close(void **self);

static enum err_code ingest_open(void **self, const struct stage_env *env, struct err *err)
{
    struct ingest *g = calloc(1, sizeof *g);
    enum err_code code;

    if (!g)
        return err_set(err, ERR_MEMORY, 0, "ingest");
    g->env = env;
    code = path_list_make(&g->paths, env->config, err);
    if (code)
        goto done;
    g->inputs = calloc(g->paths.count + 1, sizeof *g->inputs);
    g->buffer = malloc(env->config->read_bytes);
    if (!g->inputs || !g->buffer) {
        code = err_set(err, ERR_MEMORY, 0, "ingest of %zu inputs", g->paths.count);
        goto done;
    }
    for (size_t i = 0; i < g->paths.count; i++)
        g->inputs[i] = (struct input){.path = &g->paths.items[i], .source = {.fd = -1}};
    *self = g;
    g = NULL;
done:
    ingest_close((void **)&g);
    return code;
}

static void close_input(struct ingest *g, struct input *in)
{
    if (!in->stream)
        return;
    table_remove(&g->streams, in->stream);
    in->drained = in->source.pipe && in->source.offset > 0;
    source_close(&in->source);
    in->stream = 0;
}

static void close_all(struct ingest *g)
{
    for (size_t i = 0; i < g->paths.count; i++)
        close_input(g, &g->inputs[i]);
    msg_free(&g->waiting);
}

static void tell_refused(struct ingest *g, const struct input *in, const struct err *why)
{
    Riverrun__Refused refused = RIVERRUN__REFUSED__INIT;

    refused.stream = in->stream;
    refused.epoch = in->epoch;
    refused.code = why->code;
    refused.text = proto_text(why->text);
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_REFUSED, &refused);
}

static void refuse(struct ingest *g, struct input *in, const struct err *why)
{
    tell_refused(g, in, why);
    close_input(g, in);
}

static void announce(struct ingest *g)
{
    Riverrun__Announced announced = RIVERRUN__ANNOUNCED__INIT;

    STEP(ingest_announce);
    for (size_t i = 0; i < g->paths.count; i++) {
        Riverrun__Announce one = RIVERRUN__ANNOUNCE__INIT;
        one.name = g->paths.items[i].name;
        one.source = g->paths.items[i].file;
        outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_ANNOUNCE, &one);
    }
    announced.streams = g->paths.count;
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_ANNOUNCED, &announced);
}

/* `opened`, once the source has been found to be the one that was read. */
static void tell_opened(struct ingest *g, struct input *in)
{
    Riverrun__Opened opened = RIVERRUN__OPENED__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    struct err why;

    if (source_cursor(&in->source, cursor, &why)) {
        refuse(g, in, &why);
        return;
    }
    prints.size_known = !in->source.pipe;
    prints.source_bytes = in->source.size;
    if (in->source.head_known)
        prints.head = proto_bytes(in->source.head, SOURCE_HEAD_BYTES);
    opened.stream = in->stream;
    opened.epoch = in->epoch;
    opened.fingerprints = &prints;
    opened.cursor = proto_bytes(cursor, sizeof cursor);
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_OPENED, &opened);
    in->opened = true;
    STEP_AT(ingest_opened, in->stream, in->source.offset);
}

static int compare_name(const void *name, const void *input)
{
    return strcmp(name, ((const struct input *)input)->path->name);
}

static enum err_code accept_open(struct ingest *g, const Riverrun__Open *open, struct err *err)
{
    struct input *in = bsearch(open->name, g->inputs, g->paths.count, sizeof *in, compare_name);
    struct err why;
    enum err_code code;

    if (!open->stream || open->cursor.len > CURSOR_MAX)
        return err_set(err, ERR_INPUT, 0, "open of '%s' is not well-formed", open->name);
    if (!in) {
        struct input unknown = {.stream = open->stream, .epoch = open->epoch};
        err_set(&why, ERR_ABSENT, 0, "ingest came back without '%s': start it with the same paths",
                open->name);
        tell_refused(g, &unknown, &why);
        return ERR_OK;
    }
    close_input(g, in);
    code = table_set(&g->streams, open->stream, in, err);
    if (code)
        return code;
    in->stream = open->stream;
    in->epoch = open->epoch;
    in->sent = in->limit = 0;
    in->opened = in->done = false;
    if (in->drained) {
        err_set(
            &why, ERR_SOURCE, 0,
            "'%s' cannot be read again within a run: give the same input to the same command, and "
            "it goes on",
            in->path->file);
        refuse(g, in, &why);
        return ERR_OK;
    }
    if (source_open(&in->source, in->path->file, (struct view){open->cursor.data, open->cursor.len},
                    &why))
        refuse(g, in, &why);
    else if (source_ready(&in->source))
        tell_opened(g, in);
    return ERR_OK;
}

static struct input *find(struct ingest *g, uint64_t stream, uint64_t epoch)
{
    struct input *in = table_get(&g->streams, stream);
    return in && in->epoch == epoch ? in : NULL;
}

static enum err_code accept_control(struct ingest *g, const Riverrun__Control *control,
                                    struct err *err)
{
    struct input *in;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_LIST:
        announce(g);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_OPEN:
        return accept_open(g, control->open, err);
    case RIVERRUN__CONTROL__IS_GRANT:
        in = find(g, control->grant->stream, control->grant->epoch);
        if (in && control->grant->limit > in->limit)
            in->limit = control->grant->limit;
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_CLOSE:
        in = find(g, control->close->stream, control->close->epoch);
        if (in)
            close_input(g, in);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_BYE:
        g->bye = true;
        return ERR_OK;
    default:
        return err_set(err, ERR_INPUT, 0, "ingest: unexpected control message %d",
                       (int)control->is_case);
    }
}

static enum err_code ingest_accept(void *self, enum stage_port port, struct msg **msg,
                                   struct err *err)
{
    struct frame f;
    Riverrun__Control *control;
    enum err_code code = msg_read(*msg, &f, err);

    (void)port;
    if (!code)
        code = control_read(&f, &control, err);
    if (code)
        return code;
    code = accept_control(self, control, err);
    riverrun__control__free_unpacked(control, NULL);
    if (!code)
        msg_free(msg);
    return code;
}

static void ingest_event(void *self, const struct stage_event *event)
{
    struct ingest *g = self;

    if (event->kind == EVENT_PEER || event->kind == EVENT_PEER_GONE) {
        close_all(g);
        outbox_clear(&g->outbox);
    }
    if (event->kind == EVENT_STOP)
        g->stop = true;
}

/* Read and send one message of in. False: a link has no room. */
static bool read_one(struct ingest *g, struct input *in, const struct stage_out *out, bool *ran)
{
    uint64_t room = in->opened ? in->limit - in->sent : g->env->config->read_bytes;
    uint8_t cursor[SOURCE_CURSOR_BYTES];
    struct frame f = {.kind = MSG_BYTES,
                      .stream = in->stream,
                      .epoch = in->epoch,
                      .position = in->sent,
                      .cursor = {cursor, sizeof cursor}};
    struct msg *msg = NULL;
    struct err why;
    size_t got;
    bool end;

    if (room > g->env->config->read_bytes)
        room = g->env->config->read_bytes;
    if (source_read(&in->source, g->buffer, (size_t)room, &got, &end, &why)) {
        refuse(g, in, &why);
        return true;
    }
    if (!in->opened) {
        *ran = *ran || !source_ready(&in->source);
        if (source_ready(&in->source))
            tell_opened(g, in);
        return true;
    }
    if (got == 0 && !end)
        return true;
    f.count = (uint32_t)got;
    f.payload = (struct view){g->buffer, got};
    f.flags = end ? MSG_END : 0;
    if (source_cursor(&in->source, cursor, &why) || msg_make(&msg, &f, NULL, &why)) {
        refuse(g, in, &why);
        return true;
    }
    STEP_AT(ingest_read, in->stream, in->source.offset);
    in->sent += got;
    in->done = end;
    *ran = true;
    if (!out->send(out->self, PORT_DOWN, &msg)) {
        g->waiting = msg;
        return false;
    }
    return true;
}

static bool wants_reading(const struct input *in)
{
    return in->stream && !in->done && (!in->opened || in->sent < in->limit);
}

static enum stage_progress ingest_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                       struct err *err)
{
    struct ingest *g = self;
    bool ran = outbox_flush(&g->outbox, out, PORT_DOWN);

    (void)budget_us;
    if (g->bye || g->stop) {
        err_set(err, g->bye ? ERR_OK : ERR_STOPPED, 0, "ingest");
        return STAGE_DONE;
    }
    if (g->waiting && !out->send(out->self, PORT_DOWN, &g->waiting))
        return STAGE_NO_ROOM;
    for (size_t turn = 0; turn < g->paths.count; turn++) {
        struct input *in = &g->inputs[(g->next + turn) % g->paths.count];
        if (!wants_reading(in))
            continue;
        if (!out->room(out->self, PORT_DOWN))
            return STAGE_NO_ROOM;
        if (!read_one(g, in, out, &ran)) {
            g->next = (g->next + turn + 1) % g->paths.count;
            return STAGE_NO_ROOM;
        }
    }
    ran = outbox_flush(&g->outbox, out, PORT_DOWN) || ran;
    return ran ? STAGE_RAN : STAGE_IDLE;
}

/* Pipes alone: files are always ready. */
static size_t ingest_descriptors(void *self, int *fds)
{
    struct ingest *g = self;
    size_t count = 0;

    for (size_t i = 0; i < g->paths.count && count < STAGE_DESCRIPTORS_MAX; i++)
        if (g->inputs[i].source.pipe && wants_reading(&g->inputs[i]))
            fds[count++] = g->inputs[i].source.fd;
    return count;
}

static uint64_t ingest_deadline(void *self)
{
    (void)self;
    return UINT64_MAX;
}

static void ingest_close(void **self)
{
    struct ingest *g = *self;

    if (!g)
        return;
    for (size_t i = 0; g->inputs && i < g->paths.count; i++)
        close_input(g, &g->inputs[i]);
    outbox_clear(&g->outbox);
    msg_free(&g->waiting);
    table_release(&g->streams);
    path_list_release(&g->paths);
    free(g->inputs);
    free(g->buffer);
    free(g);
    *self = NULL;
}

const struct stage_ops ingest_ops = {
    .name = "ingest",
    .has_down = true,
    .open = ingest_open,
    .accept = ingest_accept,
    .event = ingest_event,
    .work = ingest_work,
    .descriptors = ingest_descriptors,
    .deadline = ingest_deadline,
    .close = ingest_close,
};
