/* Ingest: announces what there is to read, and reads it on request.
 *
 * This file is the stage: opens, grants and wants of streams, and whose turn it is. What is read, and
 * where it comes from, is behind input.h. It holds nothing that matters: a cursor leads back to any
 * place, and an input is read from where `open` says and no further than `grant` allows.
 *
 * The queue holds the inputs that may have something to do; they are read in turn, one message each. An
 * input that gave nothing leaves it and comes back when it is woken: by its feeder, by a grant, or, where
 * it has a descriptor that the runner can poll, by the next event. */
#include "schemas/step.h"
#include "schemas/table.h"
#include "stages/ingest/entries.h"
#include "stages/ingest/feeds.h"
#include "stages/ingest/input.h"
#include "stages/ingest/spooled.h"
#include "store/store.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FEEDERS_MAX = 4, STEPS_MOST = 64 /* of one call of work */ };

struct input {
    struct ingest *ingest;
    struct feed *feed; /* it is one, and no stream; the rest but for name and source is not used */
    const struct input_kind *kind;
    void *self; /* the kind's */
    char *name, *source;
    uint64_t number;        /* in the order of their coming */
    uint64_t written;       /* when, as its feeder says */
    uint64_t stream, epoch; /* of the open; stream 0: not open */
    uint64_t sent, limit;   /* source bytes since the open */
    bool opened;            /* `opened` was told */
    bool done;              /* the end was sent */
    bool wanted;            /* `want` was told since the last grant */
    bool quiet; /* when it was read last, it had nothing; or it was refused, or is not wanted */
    enum { RESTS, QUEUED, POLLED } place;
    struct input *next;      /* in that list */
    struct input *same_hash; /* of the name */
};

struct list {
    struct input *head, *tail;
    size_t count;
};

struct ingest {
    const struct stage_env *env;
    const struct feeder_kind *feeders[FEEDERS_MAX];
    void *feeder_selves[FEEDERS_MAX];
    size_t feeder_count;
    struct journal *journal;
    struct input **inputs; /* (input_count) */
    size_t input_count, input_room;
    struct table names;        /* inputs by the hash of their name */
    struct table streams;      /* the open ones */
    struct list queue, polled; /* those to be read; those that wait at a descriptor of their own */
    struct input *feeds;       /* those that are no streams, by next */
    struct stage_outbox outbox;
    struct msg *waiting; /* for room */
    uint8_t *buffer;     /* (config.read_bytes) */
    bool listed;         /* what there is was asked for */
    bool drained;        /* so it was told */
    bool stop, bye;
};

static const struct feeder_kind *const reading[] = {&path_feeder, NULL};
static const struct feeder_kind *const following[] = {&entries_feeder, &spool_feeder,
                                                      &follow_feeder, NULL};

/* ---- Lists of inputs ---- */

static void list_put(struct list *list, struct input *in)
{
    in->next = NULL;
    *(list->head ? &list->tail->next : &list->head) = in;
    list->tail = in;
    list->count++;
}

static struct input *list_take(struct list *list)
{
    struct input *in = list->head;

    if (in) {
        list->head = in->next;
        list->count--;
        in->place = RESTS;
    }
    return in;
}

void input_wake(struct input *in)
{
    if (in->feed)
        feed_wake(in->feed);
    if (in->place != RESTS || !in->stream)
        return;
    in->quiet = false;
    in->place = QUEUED;
    list_put(&in->ingest->queue, in);
}

/* Whatever waits at a descriptor may find something there now. */
static void wake_polled(struct ingest *g)
{
    struct input *in;

    while ((in = list_take(&g->polled)))
        input_wake(in);
}

/* ---- What there is ---- */

const struct stage_env *ingest_env(const struct ingest *g)
{
    return g->env;
}

struct journal *ingest_journal(const struct ingest *g)
{
    return g->journal;
}

void input_written(struct input *in, uint64_t when)
{
    in->written = when;
}

const char *input_name(const struct input *in)
{
    return in->name;
}

static uint64_t name_key(const char *name)
{
    return XXH3_64bits(name, strlen(name)) | 1;
}

static struct input *input_find(const struct ingest *g, const char *name)
{
    struct input *in = table_get(&g->names, name_key(name));

    while (in && strcmp(in->name, name))
        in = in->same_hash;
    return in;
}

static void announce(struct ingest *g, const struct input *in)
{
    Riverrun__Announce one = RIVERRUN__ANNOUNCE__INIT;

    one.name = in->name;
    one.source = in->source;
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_ANNOUNCE, &one);
}

static int newest_first(const void *a, const void *b)
{
    const struct input *one = *(struct input *const *)a, *two = *(struct input *const *)b;

    if (one->written != two->written)
        return one->written > two->written ? -1 : 1;
    return one->number < two->number ? -1 : 1;
}

static bool is_complete(const struct ingest *g)
{
    for (size_t i = 0; i < g->feeder_count; i++)
        if (g->feeders[i]->is_complete && !g->feeders[i]->is_complete(g->feeder_selves[i]))
            return false;
    return true;
}

static void announce_all(struct ingest *g)
{
    Riverrun__Announced announced = RIVERRUN__ANNOUNCED__INIT;

    STEP(ingest_announce);
    if (g->input_count)
        qsort(g->inputs, g->input_count, sizeof(struct input *), newest_first);
    for (size_t i = 0; i < g->input_count; i++)
        announce(g, g->inputs[i]);
    announced.streams = g->input_count;
    announced.complete = is_complete(g);
    announced.follow = g->env->config->follow;
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_ANNOUNCED, &announced);
    g->listed = true;
}

static bool grow_inputs(struct ingest *g)
{
    size_t room = g->input_room ? 2 * g->input_room : 16;
    struct input **grown;

    if (g->input_count < g->input_room)
        return true;
    grown = realloc(g->inputs, room * sizeof(struct input *));
    if (!grown)
        return false;
    g->inputs = grown;
    g->input_room = room;
    return true;
}

static void input_free(struct input *in)
{
    if (!in)
        return;
    free(in->name);
    free(in->source);
    free(in);
}

static void *feeder_self(const struct ingest *g, const struct feeder_kind *kind)
{
    for (size_t i = 0; i < g->feeder_count; i++)
        if (g->feeders[i] == kind)
            return g->feeder_selves[i];
    return NULL;
}

struct spooled *ingest_spooled(struct ingest *g)
{
    return feeder_self(g, &spool_feeder);
}

static enum err_code enter(struct ingest *g, struct input *in, struct err *err)
{
    enum err_code code;

    in->same_hash = table_get(&g->names, name_key(in->name));
    code = table_set(&g->names, name_key(in->name), in, err);
    if (code)
        return code;
    g->inputs[g->input_count++] = in;
    if (g->listed)
        announce(g, in);
    return ERR_OK;
}

/* in is no stream, but split into some. */
static enum err_code add_feed(struct ingest *g, struct input *in, struct feeds *feeds,
                              struct input **out, struct err *err)
{
    enum err_code code = feeds_add(&in->feed, feeds, in->kind, in->self, in->name, in->source, err);

    if (code) {
        input_free(in);
        return code;
    }
    in->next = g->feeds;
    g->feeds = in;
    *out = in;
    return ERR_OK;
}

enum err_code ingest_add(struct ingest *g, const struct input_kind *kind, void *self,
                         const char *name, const char *source, struct input **out, struct err *err)
{
    struct input *in, *there = input_find(g, name);
    struct entries *entries = feeder_self(g, &entries_feeder);
    struct entry_input *wrapped = NULL;
    enum err_code code = ERR_OK;

    struct feeds *feeds =
        kind != &queue_kind && g->env->config->key ? spooled_feeds(ingest_spooled(g)) : NULL;

    if (there && !feeds)
        return err_set(err, ERR_MISMATCH, 0,
                       "'%s' and '%s' would both be stream '%s': read them in separate runs",
                       there->source, source, name);
    in = calloc(1, sizeof *in);
    if (!in || !(in->name = strdup(name)) || !(in->source = strdup(source)) || !grow_inputs(g)) {
        input_free(in);
        return err_set(err, ERR_MEMORY, 0, "input '%s'", source);
    }
    *in = (struct input){.ingest = g,
                         .kind = kind,
                         .self = self,
                         .name = in->name,
                         .source = in->source,
                         .number = g->input_count,
                         .written = UINT64_MAX};
    if (feeds)
        return add_feed(g, in, feeds, out, err);
    if (entries)
        code = entries_wrap(&wrapped, entries, kind, self, name, err);
    if (wrapped) {
        in->kind = &entries_kind;
        in->self = wrapped;
        entries_bind(wrapped, in);
    }
    if (!code)
        code = enter(g, in, err);
    if (code) {
        entries_unwrap(&wrapped);
        input_free(in);
        return code;
    }
    *out = in;
    return ERR_OK;
}

/* ---- Open and close ---- */

static void ingest_close(void **self);

static enum err_code open_feeders(struct ingest *g, struct err *err)
{
    const struct feeder_kind *const *kinds = g->env->config->follow ? following : reading;
    enum err_code code = ERR_OK;

    for (size_t i = 0; kinds[i] && !code; i++) {
        require(i < FEEDERS_MAX);
        g->feeders[i] = kinds[i];
        g->feeder_count++;
        code = kinds[i]->open(&g->feeder_selves[i], g, err);
    }
    return code;
}

static enum err_code ingest_open(void **self, const struct stage_env *env, struct err *err)
{
    struct ingest *g = calloc(1, sizeof *g);
    enum err_code code;

    if (!g)
        return err_set(err, ERR_MEMORY, 0, "ingest");
    g->env = env;
    g->buffer = malloc(env->config->read_bytes);
    code = g->buffer ? ERR_OK : err_set(err, ERR_MEMORY, 0, "ingest's buffer");
    if (!code && env->config->feed)
        code = journal_open(&g->journal, env->config->feed, err);
    if (!code)
        code = open_feeders(g, err);
    if (code)
        ingest_close((void **)&g);
    *self = g;
    return code;
}

static void close_input(struct ingest *g, struct input *in)
{
    if (!in->stream)
        return;
    table_remove(&g->streams, in->stream);
    in->kind->close(in->self);
    in->stream = 0;
}

static void close_all(struct ingest *g)
{
    for (size_t i = 0; i < g->input_count; i++)
        close_input(g, g->inputs[i]);
    msg_free(&g->waiting);
}

static void tell_refused(struct ingest *g, uint64_t stream, uint64_t epoch, const struct err *why)
{
    Riverrun__Refused refused = RIVERRUN__REFUSED__INIT;

    refused.stream = stream;
    refused.epoch = epoch;
    refused.code = why->code;
    refused.text = proto_text(why->text);
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_REFUSED, &refused);
}

static void refuse(struct ingest *g, struct input *in, const struct err *why)
{
    tell_refused(g, in->stream, in->epoch, why);
    close_input(g, in);
    in->quiet = true;
}

static bool is_ready(const struct input *in)
{
    return !in->kind->ready || in->kind->ready(in->self);
}

/* `opened`, once the source has been found to be the one that was read. */
static void tell_opened(struct ingest *g, struct input *in)
{
    Riverrun__Opened opened = RIVERRUN__OPENED__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;
    struct piece at = {.cursor_bytes = 0};
    struct err why;

    if (in->kind->opened(in->self, &prints, &at, &why)) {
        refuse(g, in, &why);
        return;
    }
    opened.stream = in->stream;
    opened.epoch = in->epoch;
    opened.fingerprints = &prints;
    opened.cursor = proto_bytes(at.cursor, at.cursor_bytes);
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_OPENED, &opened);
    in->opened = true;
    STEP(ingest_opened);
}

static enum err_code accept_open(struct ingest *g, const Riverrun__Open *open, struct err *err)
{
    struct input *in = input_find(g, open->name);
    struct err why;
    enum err_code code;

    if (!open->stream || open->cursor.len > CURSOR_MAX)
        return err_set(err, ERR_INPUT, 0, "open of '%s' is not well-formed", open->name);
    g->drained = false; /* to be said again: who sent this has forgotten it */
    if (!in) {
        err_set(&why, ERR_ABSENT, 0, "ingest came back without '%s': start it with the same paths",
                open->name);
        tell_refused(g, open->stream, open->epoch, &why);
        return ERR_OK;
    }
    close_input(g, in);
    code = table_set(&g->streams, open->stream, in, err);
    if (code)
        return code;
    in->stream = open->stream;
    in->epoch = open->epoch;
    in->sent = in->limit = 0;
    in->opened = in->done = in->wanted = in->quiet = false;
    if (in->kind->open(in->self, (struct view){open->cursor.data, open->cursor.len}, &why)) {
        refuse(g, in, &why);
        return ERR_OK;
    }
    if (open->finished && in->kind->finished)
        in->kind->finished(in->self);
    if (is_ready(in))
        tell_opened(g, in);
    input_wake(in);
    return ERR_OK;
}

/* ---- Messages ---- */

static struct input *find(struct ingest *g, uint64_t stream, uint64_t epoch)
{
    struct input *in = table_get(&g->streams, stream);
    return in && in->epoch == epoch ? in : NULL;
}

/* A lower limit takes back what was not sent yet. */
static void accept_grant(struct ingest *g, const Riverrun__Grant *grant)
{
    struct input *in = find(g, grant->stream, grant->epoch);

    if (!in)
        return;
    in->limit = grant->limit > in->sent ? grant->limit : in->sent;
    in->wanted = false;
    input_wake(in);
}

static void accept_keep(struct ingest *g, const Riverrun__Keep *keep)
{
    struct input *in = find(g, keep->stream, keep->epoch);

    if (in && in->kind->keep)
        in->kind->keep(in->self, (struct view){keep->cursor.data, keep->cursor.len});
}

static enum err_code accept_control(struct ingest *g, const Riverrun__Control *control,
                                    struct err *err)
{
    struct input *in;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_LIST:
        announce_all(g);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_OPEN:
        return accept_open(g, control->open, err);
    case RIVERRUN__CONTROL__IS_GRANT:
        accept_grant(g, control->grant);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_KEEP:
        accept_keep(g, control->keep);
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_CLOSE:
        in = find(g, control->close->stream, control->close->epoch);
        if (!in)
            in = input_find(g, control->close->name);
        if (in && (!in->stream || in->epoch == control->close->epoch)) {
            close_input(g, in);
            in->quiet = true;
        }
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
        g->listed = g->drained = false;
    }
    if (event->kind == EVENT_STOP)
        g->stop = true;
    wake_polled(g);
    for (size_t i = 0; i < g->feeder_count; i++)
        if (g->feeders[i]->event)
            g->feeders[i]->event(g->feeder_selves[i], event);
}

/* ---- Reading ---- */

/* Is there a use in reading of in now? Without a grant: to compare what lies before the cursor, or to
 * find out whether a grant is wanted. */
static bool wants_reading(const struct input *in)
{
    if (!in->stream || in->done)
        return false;
    return !in->opened || in->sent < in->limit || (in->ingest->env->config->follow && !in->wanted);
}

/* Nothing came of in: it is woken by a descriptor of its own, or by its feeder. */
static void let_rest(struct ingest *g, struct input *in)
{
    if (in->kind->descriptor && in->kind->descriptor(in->self) >= 0) {
        in->place = POLLED;
        list_put(&g->polled, in);
    }
}

void input_press(struct input *in)
{
    Riverrun__Full full = RIVERRUN__FULL__INIT;

    if (!in->opened || !in->stream)
        return;
    full.stream = in->stream;
    full.epoch = in->epoch;
    outbox_tell(&in->ingest->outbox, RIVERRUN__CONTROL__IS_FULL, &full);
}

static void tell_want(struct ingest *g, struct input *in)
{
    Riverrun__Want want = RIVERRUN__WANT__INIT;

    want.stream = in->stream;
    want.epoch = in->epoch;
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_WANT, &want);
    in->wanted = true;
}

static enum err_code send_piece(struct ingest *g, struct input *in, const struct piece *piece,
                                const struct stage_out *out, struct err *err)
{
    const struct frame f = {.kind = MSG_BYTES,
                            .stream = in->stream,
                            .epoch = in->epoch,
                            .position = in->sent,
                            .cursor = {piece->cursor, piece->cursor_bytes},
                            .flags = piece->flags,
                            .count = (uint32_t)piece->bytes.bytes,
                            .payload = piece->bytes,
                            .place = piece->bytes.bytes ? piece->place : (struct view){NULL, 0}};
    enum err_code code = msg_make(&g->waiting, &f, NULL, err);

    if (code)
        return code;
    STEP(ingest_read);
    in->sent += piece->bytes.bytes;
    in->done = piece->flags & MSG_END;
    out->send(out->self, PORT_DOWN, &g->waiting);
    return ERR_OK;
}

/* Read of in what it may give: one message at most. */
static void read_one(struct ingest *g, struct input *in, const struct stage_out *out)
{
    uint64_t room = in->opened ? in->limit - in->sent : g->env->config->read_bytes;
    struct piece piece = {.buffer = g->buffer};
    struct err why;
    enum err_code code = ERR_OK;

    piece.room = room < g->env->config->read_bytes ? (size_t)room : g->env->config->read_bytes;
    if (in->opened || !is_ready(in)) /* one may have become ready by itself */
        code = in->kind->read(in->self, &piece, &why);
    if (!code && !in->opened && is_ready(in)) {
        tell_opened(g, in);
        piece.more = true; /* there may be, now that it can be sent */
    } else if (!code && (piece.bytes.bytes || piece.flags)) {
        code = send_piece(g, in, &piece, out, &why);
    }
    if (code) {
        refuse(g, in, &why);
        return;
    }
    if (piece.more && in->opened && piece.room == 0)
        tell_want(g, in);
    in->quiet = in->opened && !piece.more && !piece.holds;
    if (piece.more && wants_reading(in))
        input_wake(in);
    else if (!piece.more)
        let_rest(g, in);
}

/* Was all read and sent that there will ever be? */
static bool is_drained(const struct ingest *g)
{
    bool over = false;

    for (size_t i = 0; i < g->feeder_count; i++)
        over = over || (g->feeders[i]->is_over && g->feeders[i]->is_over(g->feeder_selves[i]));
    if (!over || !g->listed || g->waiting)
        return false;
    for (size_t i = 0; i < g->input_count; i++)
        if (!g->inputs[i]->quiet)
            return false;
    return true;
}

static void tell_drained(struct ingest *g)
{
    Riverrun__Drained drained = RIVERRUN__DRAINED__INIT;

    if (g->drained || !is_drained(g))
        return;
    outbox_tell(&g->outbox, RIVERRUN__CONTROL__IS_DRAINED, &drained);
    g->drained = true;
}

/* One turn of those in the queue. */
static enum stage_progress read_in_turn(struct ingest *g, const struct stage_out *out)
{
    size_t turns = g->queue.count < STEPS_MOST ? g->queue.count : STEPS_MOST;

    for (size_t i = 0; i < turns; i++) {
        struct input *in;
        if (g->waiting || !out->room(out->self, PORT_DOWN))
            return STAGE_NO_ROOM;
        in = list_take(&g->queue);
        if (wants_reading(in))
            read_one(g, in, out);
    }
    return g->waiting ? STAGE_NO_ROOM : g->queue.count ? STAGE_RAN : STAGE_IDLE;
}

static enum stage_progress ingest_work(void *self, uint64_t budget_us, const struct stage_out *out,
                                       struct err *err)
{
    struct ingest *g = self;
    bool ran = outbox_flush(&g->outbox, out, PORT_DOWN);
    enum stage_progress progress;

    (void)budget_us;
    if (g->bye || g->stop) {
        err_set(err, g->bye ? ERR_OK : ERR_STOPPED, 0,
                "ingest stopped: start it again and it is picked up");
        return STAGE_DONE;
    }
    for (size_t i = 0; i < g->feeder_count; i++)
        if (g->feeders[i]->work(g->feeder_selves[i], &ran, err))
            return STAGE_DONE;
    if (g->waiting && !out->send(out->self, PORT_DOWN, &g->waiting))
        return STAGE_NO_ROOM;
    progress = read_in_turn(g, out);
    tell_drained(g);
    ran = outbox_flush(&g->outbox, out, PORT_DOWN) || ran;
    return ran && progress == STAGE_IDLE ? STAGE_RAN : progress;
}

static size_t ingest_descriptors(void *self, int *fds)
{
    struct ingest *g = self;
    size_t count = 0;

    for (size_t i = 0; i < g->feeder_count; i++)
        if (g->feeders[i]->descriptors)
            count += g->feeders[i]->descriptors(g->feeder_selves[i], fds + count,
                                                STAGE_DESCRIPTORS_MAX - count);
    for (struct input *in = g->polled.head; in && count < STAGE_DESCRIPTORS_MAX; in = in->next)
        if (wants_reading(in))
            fds[count++] = in->kind->descriptor(in->self);
    return count;
}

static uint64_t ingest_deadline(void *self)
{
    struct ingest *g = self;
    uint64_t deadline = UINT64_MAX;

    for (size_t i = 0; i < g->feeder_count; i++) {
        uint64_t one =
            g->feeders[i]->deadline ? g->feeders[i]->deadline(g->feeder_selves[i]) : UINT64_MAX;
        deadline = one < deadline ? one : deadline;
    }
    return deadline;
}

static void ingest_close(void **self)
{
    struct ingest *g = *self;

    if (!g)
        return;
    for (size_t i = 0; i < g->input_count; i++) {
        g->inputs[i]->kind->free(g->inputs[i]->self);
        input_free(g->inputs[i]);
    }
    for (size_t i = 0; i < g->feeder_count; i++)
        g->feeders[i]->close(&g->feeder_selves[i]);
    for (struct input *in = g->feeds, *next; in; in = next) {
        next = in->next;
        input_free(in);
    }
    journal_close(&g->journal);
    outbox_clear(&g->outbox);
    msg_free(&g->waiting);
    table_release(&g->names);
    table_release(&g->streams);
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
