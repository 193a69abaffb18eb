/* The spool as ingest uses it: tasks and their retries, queues as inputs, and what may be trimmed. */
#include "stages/ingest/spooled.h"

#include "schemas/table.h"
#include "stages/ingest/feeds.h"
#include "stages/ingest/paths.h"
#include <stdlib.h>
#include <xxhash.h>

enum { CURSOR_VERSION = 1 };

struct queue {
    struct spooled *spooled;
    struct input *input;
    char *name;
    uint64_t end;  /* of what is durable */
    uint64_t next; /* of what was submitted */
    uint64_t at;   /* of the next byte to be read */
    uint64_t keep; /* nothing below is needed */
    bool in_line;
    struct err *failed; /* nothing more will come, and why; NULL: it may */
    struct spool_task trim;
    struct queue *same_hash;
};

/* A batch that found no room. */
struct refused {
    struct spool_task *task;
    struct store_batch *batch;
    struct refused *next;
};

struct spooled {
    struct ingest *ingest;
    const struct config *config;
    struct journal *journal;
    struct standard *standard; /* NULL where it is not asked for, or a feed */
    struct feeds *feeds;
    struct table queues; /* by the hash of their name */
    size_t queue_count;
    struct refused *refused; /* oldest first */
    uint64_t now_ms, retry_ms;
    size_t in_flight;
    bool full; /* somebody waits for room */
    bool told; /* that there is no room */
    struct err fatal;
};

/* ---- Tasks ---- */

static void submit(struct spooled *s, struct spool_task *task, struct store_batch **batch)
{
    task->in_flight = true;
    s->in_flight++;
    spool_submit(s->journal, batch, task);
}

void spooled_submit(struct spooled *s, struct spool_task *task, struct store_batch **batch)
{
    require(!task->in_flight && task->done);
    submit(s, task, batch);
}

/* A disk that is full or fails may be well again; nothing is lost meanwhile, for nothing more is read. */
static void try_later(struct spooled *s, struct spool_task *task, struct store_batch *failed,
                      const struct err *why)
{
    if (why->code != ERR_FULL && why->code != ERR_SYSTEM && why->code != ERR_MEMORY) {
        s->fatal = *why;
        store_batch_close(&failed);
        return;
    }
    if (!s->told)
        stage_report(ingest_env(s->ingest), STAGE_WARNING, NULL,
                     "%s: tried again every %d s, and what has to be durable first is not read",
                     why->text, SPOOLED_RETRY_MS / 1000);
    s->told = true;
    struct refused **end = &s->refused, *refused = malloc(sizeof *refused);
    require(refused);
    *refused = (struct refused){task, failed, NULL};
    while (*end)
        end = &(*end)->next;
    *end = refused;
    s->retry_ms = s->now_ms + SPOOLED_RETRY_MS;
}

static void try_again(struct spooled *s)
{
    struct refused *list = s->refused, *next;

    s->refused = NULL;
    for (; list; list = next) {
        next = list->next;
        submit(s, list->task, &list->batch);
        free(list);
    }
}

static bool collect_one(struct spooled *s, bool wait)
{
    struct store_batch *failed;
    struct spool_task *task;
    struct err err;
    void *user;

    if (!spool_collect(s->journal, wait, &failed, &user, &err))
        return false;
    task = user;
    s->in_flight--;
    if (err.code) {
        try_later(s, task, failed, &err);
        return true;
    }
    s->told = s->refused && s->told;
    task->in_flight = false;
    task->done(task->self);
    return true;
}

static bool collect(struct spooled *s)
{
    bool any = false;

    while (collect_one(s, false))
        any = true;
    return any;
}

/* Where task stands among the refused ones; NULL there: it is none. */
static struct refused **refused_at(struct spooled *s, const struct spool_task *task)
{
    struct refused **at = &s->refused;

    while (*at && (*at)->task != task)
        at = &(*at)->next;
    return at;
}

void spooled_wait(struct spooled *s, struct spool_task *task)
{
    while (task->in_flight && !*refused_at(s, task) && collect_one(s, true))
        ;
}

bool spooled_settle(struct spooled *s, struct spool_task *task)
{
    struct refused **at, *gone;

    spooled_wait(s, task);
    if (!task->in_flight)
        return true;
    at = refused_at(s, task);
    gone = *at;
    if (gone) {
        *at = gone->next;
        store_batch_close(&gone->batch);
        free(gone);
    }
    task->in_flight = false;
    return false;
}

bool spooled_is_settled(const struct spooled *s)
{
    return s->in_flight == 0;
}

/* All of a queue was sent, and some of it is still here: what was sent is in need of checkpoints. */
static void press(struct queue *q)
{
    if (q->spooled->full && q->at == q->end && q->keep < q->at)
        input_press(q->input);
}

bool spooled_room(struct spooled *s, uint64_t cost)
{
    bool full = spool_room(s->journal) < cost;
    struct queue *q;
    size_t at = 0;

    if (full && !s->full) {
        s->full = true;
        while ((q = table_next(&s->queues, &at)))
            for (; q; q = q->same_hash)
                press(q);
    }
    s->full = full;
    return !full;
}

bool spooled_is_full(const struct spooled *s)
{
    return s->full;
}

struct feeds *spooled_feeds(const struct spooled *s)
{
    return s->feeds;
}

struct ingest *spooled_ingest(const struct spooled *s)
{
    return s->ingest;
}

/* ---- A queue as an input ---- */

static void set_cursor(const struct queue *q, struct piece *piece)
{
    piece->cursor[0] = CURSOR_VERSION;
    piece->cursor[1] = SPOOLED_CURSOR_KIND;
    store_u64(piece->cursor + 2, q->at);
    memcpy(piece->cursor + 10, journal_id(q->spooled->journal), STORE_ID_BYTES);
    piece->cursor_bytes = SPOOLED_CURSOR_BYTES;
}

static enum err_code read_cursor(struct view cursor, uint64_t *offset, const uint8_t **id,
                                 struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r);

    *offset = read_u64(&r);
    *id = read_bytes(&r, STORE_ID_BYTES);
    if (!read_done(&r) || version != CURSOR_VERSION || kind != SPOOLED_CURSOR_KIND)
        return err_set(err, ERR_INPUT, 0, "cursor of %zu bytes is not the spool's", cursor.bytes);
    return ERR_OK;
}

/* Where a stream begins that has no cursor: with what there is. */
static enum err_code open_origin(struct queue *q, const struct spool_queue *is)
{
    q->at = is->begin;
    if (is->begin)
        stage_report(ingest_env(q->spooled->ingest), STAGE_WARNING, q->name,
                     "begins at byte %llu of what came: what was before it is not kept any more",
                     (unsigned long long)is->begin);
    return ERR_OK;
}

static enum err_code queue_open(void *self, struct view cursor, struct err *err)
{
    struct queue *q = self;
    struct spool_queue is = {0, 0, 0};
    uint64_t offset;
    const uint8_t *id;
    enum err_code code = spool_find(q->spooled->journal, q->name, &is, err);

    if (code && code != ERR_ABSENT)
        return code;
    if (!cursor.bytes)
        return open_origin(q, &is);
    if (cursor.bytes > 1 && cursor.data[1] < SPOOLED_CURSOR_KIND)
        return err_set(err, ERR_CHANGED, 0,
                       "stream '%s' was begun from a file or by `read`: give it another name or "
                       "another store (-o), or begin again with --restart",
                       q->name);
    code = read_cursor(cursor, &offset, &id, err);
    if (code)
        return code;
    if (memcmp(id, journal_id(q->spooled->journal), STORE_ID_BYTES) || offset > is.end ||
        offset < is.begin)
        return err_set(err, ERR_CHANGED, 0,
                       "stream '%s' goes on at byte %llu, and the spool has bytes %llu to %llu of "
                       "another past: put the ingest folder back beside its store (an import has "
                       "none: branch it), or begin again "
                       "with --restart",
                       q->name, (unsigned long long)offset, (unsigned long long)is.begin,
                       (unsigned long long)is.end);
    q->at = offset;
    return ERR_OK;
}

static enum err_code queue_opened(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                                  struct err *err)
{
    (void)err;
    prints->size_known = false;
    set_cursor(self, at);
    return ERR_OK;
}

static enum err_code queue_read(void *self, struct piece *piece, struct err *err)
{
    struct queue *q = self;
    uint64_t left = q->end - q->at;
    size_t got = 0, want = left < piece->room ? (size_t)left : piece->room;
    enum err_code code = ERR_OK;

    if (want)
        code = spool_read(q->spooled->journal, q->name, q->at, piece->buffer, want, &got, err);
    if (code)
        return code;
    if (!left && q->failed) {
        *err = *q->failed;
        return err->code;
    }
    q->at += got;
    piece->bytes = (struct view){piece->buffer, got};
    piece->more = q->at < q->end;
    if (got)
        press(q);
    set_cursor(q, piece);
    return ERR_OK;
}

static void trim(struct queue *q)
{
    struct store_batch *batch;

    if (q->trim.in_flight || store_batch_open(&batch, NULL))
        return;
    if (batch_trim(batch, q->name, q->keep, NULL)) {
        store_batch_close(&batch);
        return;
    }
    spooled_submit(q->spooled, &q->trim, &batch);
}

/* One transaction drops no more than a bounded part. */
static void trimmed(void *self)
{
    struct queue *q = self;
    struct spool_queue is;

    if (spool_find(q->spooled->journal, q->name, &is, NULL) == ERR_OK &&
        is.begin + (64 << 20) < q->keep)
        trim(q);
}

static void queue_keep(void *self, struct view cursor)
{
    struct queue *q = self;
    uint64_t offset;
    const uint8_t *id;

    if (read_cursor(cursor, &offset, &id, NULL) || offset > q->end || offset <= q->keep)
        return;
    q->keep = offset;
    trim(q);
}

static void queue_close(void *self)
{
    (void)self; /* nothing is held open */
}

static void queue_free(void *self)
{
    struct queue *q = self;

    if (!q)
        return;
    free(q->failed);
    free(q->name);
    free(q);
}

const struct input_kind queue_kind = {
    .open = queue_open,
    .opened = queue_opened,
    .read = queue_read,
    .keep = queue_keep,
    .close = queue_close,
    .free = queue_free,
};

/* ---- Queues ---- */

static uint64_t name_key(const char *name)
{
    return XXH3_64bits(name, strlen(name)) | 1;
}

struct queue *spooled_find(const struct spooled *s, const char *name)
{
    struct queue *q = table_get(&s->queues, name_key(name));

    while (q && strcmp(q->name, name))
        q = q->same_hash;
    return q;
}

size_t spooled_queue_count(const struct spooled *s)
{
    return s->queue_count;
}

/* What the spool has of it: its end, and whether a line is not over. */
static enum err_code look_up(struct queue *q, struct err *err)
{
    struct spool_queue is = {0, 0, 0};
    uint8_t last = '\n';
    size_t got;
    enum err_code code = spool_find(q->spooled->journal, q->name, &is, err);

    if (code == ERR_ABSENT)
        return ERR_OK;
    q->end = q->next = is.end;
    q->keep = is.begin;
    if (!code && is.end > is.begin &&
        spool_read(q->spooled->journal, q->name, is.end - 1, &last, 1, &got, NULL))
        last = '\n'; /* damaged: whoever reads it is told */
    q->in_line = last != '\n';
    return code;
}

enum err_code spooled_queue(struct spooled *s, const char *name, const char *source,
                            struct queue **out, struct err *err)
{
    struct queue *q = spooled_find(s, name);
    enum err_code code;

    if (q) {
        *out = q;
        return ERR_OK;
    }
    q = calloc(1, sizeof *q);
    if (!q || !(q->name = strdup(name))) {
        free(q);
        return err_set(err, ERR_MEMORY, 0, "queue '%s'", name);
    }
    q->spooled = s;
    q->trim = (struct spool_task){.done = trimmed, .self = q};
    q->same_hash = table_get(&s->queues, name_key(name));
    code = look_up(q, err);
    if (!code)
        code = ingest_add(s->ingest, &queue_kind, q, name, source, &q->input, err);
    if (code) {
        queue_free(q);
        return code;
    }
    code = table_set(&s->queues, name_key(name), q, err); /* the input is ingest's in any case */
    s->queue_count++;
    *out = q;
    return code;
}

struct bringing {
    struct spooled *spooled;
    const char *feed, *source;
    struct err *err;
    enum err_code code;
};

static bool bring(void *user, const char *name, const struct spool_queue *is)
{
    struct bringing *b = user;
    struct queue *q;

    (void)is;
    if (is_of_feed(b->feed, name))
        b->code = spooled_queue(b->spooled, name, b->source, &q, b->err);
    return b->code == ERR_OK;
}

enum err_code spooled_feed(struct spooled *s, const char *feed, const char *source, bool create,
                           struct err *err)
{
    struct bringing b = {s, feed, source, err, ERR_OK};
    struct queue *q;
    enum err_code code = spool_each(s->journal, bring, &b, err);

    if (!code)
        code = b.code;
    return code || !create ? code : spooled_queue(s, feed, source, &q, err);
}

const char *queue_name(const struct queue *q)
{
    return q->name;
}

uint64_t queue_end(const struct queue *q)
{
    return q->next;
}

enum err_code queue_append(struct queue *q, struct store_batch *batch, struct view bytes,
                           struct err *err)
{
    enum err_code code = batch_append(batch, q->name, q->next, bytes, err);

    if (code)
        return code;
    q->next += bytes.bytes;
    q->in_line = bytes.data[bytes.bytes - 1] != '\n';
    return ERR_OK;
}

void queue_durable(struct queue *q)
{
    q->end = q->next;
    input_wake(q->input);
}

void queue_fail(struct queue *q, const struct err *why)
{
    if (!q->failed)
        q->failed = malloc(sizeof *q->failed);
    require(q->failed);
    *q->failed = *why;
    input_wake(q->input);
}

bool queue_in_line(const struct queue *q)
{
    return q->in_line;
}

/* ---- The feeder ---- */

static void spooled_close(void **self)
{
    struct spooled *s = *self;
    struct store_batch *failed;

    if (!s)
        return;
    while (spool_collect(s->journal, true, &failed, NULL, NULL))
        store_batch_close(&failed);
    for (struct refused *at = s->refused, *next; at; at = next) {
        next = at->next;
        store_batch_close(&at->batch);
        free(at);
    }
    standard_close(&s->standard);
    feeds_close(&s->feeds);
    table_release(&s->queues);
    free(s);
    *self = NULL;
}

static enum err_code spooled_open(void **self, struct ingest *g, struct err *err)
{
    struct spooled *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(err, ERR_MEMORY, 0, "the spool");
    *self = s;
    s->ingest = g;
    s->config = ingest_env(g)->config;
    s->journal = ingest_journal(g);
    require(s->journal);
    spool_bound(s->journal, s->config->spool_bytes);
    if (!s->config->key)
        return standard_open(&s->standard, s, err);
    enum err_code code = feeds_open(&s->feeds, s, err);
    return code ? code : standard_add_feed(s, err);
}

static enum err_code spooled_work(void *self, bool *ran, struct err *err)
{
    struct spooled *s = self;

    *ran = collect(s) || *ran;
    if (s->refused && s->now_ms >= s->retry_ms)
        try_again(s);
    if (s->fatal.code) {
        *err = s->fatal;
        return err->code;
    }
    if (s->feeds)
        return feeds_work(s->feeds, ran, err);
    return s->standard ? standard_work(s->standard, ran, err) : ERR_OK;
}

static void spooled_event(void *self, const struct stage_event *event)
{
    struct spooled *s = self;

    s->now_ms = event->now_ms;
}

static size_t spooled_descriptors(void *self, int *fds, size_t room)
{
    struct spooled *s = self;
    int input = s->standard ? standard_descriptor(s->standard) : -1;
    size_t count = 0;

    if (count < room)
        fds[count++] = spool_descriptor(s->journal);
    if (count < room && input >= 0)
        fds[count++] = input;
    return s->feeds ? count + feeds_descriptors(s->feeds, fds + count, room - count) : count;
}

static uint64_t spooled_deadline(void *self)
{
    struct spooled *s = self;

    return s->refused ? s->retry_ms : UINT64_MAX;
}

static bool spooled_is_complete(void *self)
{
    const struct spooled *s = self;

    return !s->feeds;
}

/* Over when nothing but standard input was followed, it is at its end, and all of it is durable. */
static bool spooled_is_over(void *self)
{
    struct spooled *s = self;

    if (s->config->path_count != 1 || s->refused)
        return false;
    return s->feeds ? feeds_are_over(s->feeds) : s->standard && standard_is_over(s->standard);
}

const struct feeder_kind spool_feeder = {
    .open = spooled_open,
    .work = spooled_work,
    .event = spooled_event,
    .descriptors = spooled_descriptors,
    .deadline = spooled_deadline,
    .is_complete = spooled_is_complete,
    .is_over = spooled_is_over,
    .close = spooled_close,
};
