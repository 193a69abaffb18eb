/* Feeds split by key. What was read and not routed yet (a line that is not over) lies in `data`; the cursor
 * that goes with a batch leads to its first byte: (the input's cursor before some piece, bytes of it to
 * skip), as cursors nest elsewhere. Of an input that cannot be read again, which has no cursors, it holds these
 * bytes themselves. */
#include "stages/ingest/feeds.h"

#include "schemas/step.h"
#include "stages/ingest/paths.h"
#include "stages/ingest/pattern.h"

#include <stdlib.h>

enum {
    CURSOR_VERSION = 1,
    FLAG_IN_LINE = 1,
    FLAG_DATA = 2,
    /* Lines of two bytes, each to another queue, must find room in the smallest spool; and a line that fills it shows
     * the pattern as much as any. */
    DATA_BYTES = 16 * 1024,
    ROOM_BYTES = 640 * 1024
};
_Static_assert((int)DATA_BYTES > (int)PATTERN_LINE_MAX, "all that the pattern looks at");
_Static_assert(DATA_BYTES + 8 + (int)PATH_NAME_MAX <= (int)SPOOL_CURSOR_MAX, "a line in a cursor");

struct feed {
    struct feeds *feeds;
    const struct input_kind *kind;
    void *self;
    char *name, *source;
    uint8_t *data; /* (DATA_BYTES), and a newline */
    size_t bytes;  /* of data, not routed */
    bool open, awake, ended;
    bool in_line;          /* the line at data begins before it, and is current's */
    struct queue *current; /* of the line routed last */
    struct queue **touched;
    size_t touched_count, touched_room; /* by the batch on its way */
    /* where data begins: skip bytes behind mark; after: behind its last byte */
    uint32_t skip, discard;
    size_t mark_bytes, after_bytes;
    uint8_t mark[INPUT_CURSOR_MAX], after[INPUT_CURSOR_MAX];
    struct spool_task task;
    struct feed *next;
};

struct feeds {
    struct spooled *spooled;
    const struct stage_env *env;
    struct pattern *key;
    struct feed *all;
    bool told; /* that there are no more streams */
};

/* ---- Cursors ---- */

static bool comes_again(const struct feed *f)
{
    return f->mark_bytes;
}

static void put_cursor(const struct feed *f, struct buffer *out)
{
    const char *name = f->in_line ? queue_name(f->current) : "";
    size_t bytes = strlen(name);

    buffer_u8(out, CURSOR_VERSION);
    buffer_u8(out, (uint8_t)((f->in_line ? FLAG_IN_LINE : 0) | (comes_again(f) ? 0 : FLAG_DATA)));
    buffer_u32(out, f->skip);
    buffer_u16(out, (uint16_t)bytes);
    buffer_put(out, name, bytes);
    if (comes_again(f))
        buffer_put(out, f->mark, f->mark_bytes);
    else
        buffer_put(out, f->data, f->bytes);
}

static enum err_code take_cursor(struct feed *f, struct view bytes, struct err *err)
{
    struct reader r = reader_of(bytes.data, bytes.bytes);
    uint8_t version = read_u8(&r), flags = read_u8(&r);
    uint32_t skip = read_u32(&r);
    uint16_t length = read_u16(&r);
    const uint8_t *name = read_bytes(&r, length);
    char text[PATH_NAME_MAX + 1] = {0};
    size_t left = (size_t)(r.end - r.at);

    if (r.short_read || version != CURSOR_VERSION || length > PATH_NAME_MAX ||
        left > (flags & FLAG_DATA ? DATA_BYTES - 1 : INPUT_CURSOR_MAX))
        return err_set(err, ERR_DAMAGED, 0, "the spool's cursor of the feed '%s'", f->name);
    if (length)
        memcpy(text, name, length);
    f->current = flags & FLAG_IN_LINE ? spooled_find(f->feeds->spooled, text) : NULL;
    f->in_line = f->current != NULL;
    if (flags & FLAG_DATA) {
        memcpy(f->data, r.at, left);
        f->bytes = left;
        return ERR_OK;
    }
    f->skip = f->discard = left ? skip : 0; /* no mark: nothing of it comes again */
    f->mark_bytes = left;
    memcpy(f->mark, r.at, left);
    return ERR_OK;
}

/* ---- Begin ---- */

static enum err_code open_at_mark(struct feed *f, struct err *err)
{
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;
    struct piece at = {.cursor_bytes = 0};
    enum err_code code = f->kind->open(f->self, (struct view){f->mark, f->mark_bytes}, err);

    if (!code)
        code = f->kind->opened(f->self, &prints, &at, err);
    if (code)
        return code;
    memcpy(f->after, at.cursor, at.cursor_bytes);
    f->after_bytes = at.cursor_bytes;
    if (!f->mark_bytes) {
        memcpy(f->mark, at.cursor, at.cursor_bytes);
        f->mark_bytes = at.cursor_bytes;
    }
    f->open = true;
    return ERR_OK;
}

static enum err_code open_feed(struct feed *f, struct err *err)
{
    struct journal *journal = ingest_journal(spooled_ingest(f->feeds->spooled));
    struct buffer cursor = buffer_of(SPOOL_CURSOR_MAX);
    enum err_code code = spool_feed(journal, f->name, &cursor, err);

    if (!code)
        code = take_cursor(f, (struct view){cursor.data, cursor.bytes}, err);
    else if (code == ERR_ABSENT)
        code = ERR_OK;
    buffer_release(&cursor);
    return code ? code : open_at_mark(f, err);
}

/* --restart, and what was read is nowhere any more: go on with what is there now, none of which was read. A line
 * that was not over is over. */
static enum err_code begin_anew(struct feed *f, struct err *err)
{
    stage_report(f->feeds->env, STAGE_WARNING, f->name, "%s; begun again with what is there now",
                 err->text);
    f->kind->close(f->self);
    f->mark_bytes = f->skip = f->discard = 0;
    f->bytes = f->in_line;
    f->data[0] = '\n';
    return open_at_mark(f, err);
}

static void free_feed(struct feed *f)
{
    if (!f)
        return;
    free(f->name);
    free(f->source);
    free(f->data);
    free(f->touched);
    free(f);
}

/* What the batch had is in the queues, and nobody will ask the input for it again. */
static void stored(void *self)
{
    struct feed *f = self;

    for (size_t i = 0; i < f->touched_count; i++)
        queue_durable(f->touched[i]);
    f->touched_count = 0;
    if (f->kind->keep && f->mark_bytes)
        f->kind->keep(f->self, (struct view){f->mark, f->mark_bytes});
}

enum err_code feeds_add(struct feed **out, struct feeds *feeds, const struct input_kind *kind,
                        void *self, const char *name, const char *source, struct err *err)
{
    struct feed *f = calloc(1, sizeof *f);
    enum err_code code;

    if (!f || !(f->name = strdup(name)) || !(f->source = strdup(source)) ||
        !(f->data = malloc(DATA_BYTES + 1))) {
        free_feed(f);
        return err_set(err, ERR_MEMORY, 0, "feed '%s'", source);
    }
    f->feeds = feeds;
    f->kind = kind;
    f->self = self;
    f->awake = true;
    f->task = (struct spool_task){.done = stored, .self = f};
    code = spooled_feed(feeds->spooled, name, source, false, err);
    if (code) {
        free_feed(f);
        return code;
    }
    f->next = feeds->all;
    feeds->all = f;
    *out = f;
    return ERR_OK;
}

void feed_wake(struct feed *f)
{
    f->awake = true;
}

/* ---- Routing ---- */

static enum err_code queue_of(struct feed *f, struct view line, struct queue **out, struct err *err)
{
    struct spooled *s = f->feeds->spooled;
    struct view key;
    enum err_code code;
    char *name = NULL;

    if (pattern_matches(f->feeds->key, line, &key) && key.bytes) {
        name = key_name(f->name, key);
        if (!name)
            return err_set(err, ERR_MEMORY, 0, "a line of '%s'", f->name);
        *out = spooled_find(s, name);
        if (!*out && spooled_queue_count(s) >= FEEDS_KEYS_MAX) {
            if (!f->feeds->told)
                stage_report(f->feeds->env, STAGE_WARNING, f->name,
                             "%d streams are the most: lines with new keys go to '%s'",
                             FEEDS_KEYS_MAX, f->name);
            f->feeds->told = true;
            free(name);
            name = NULL;
        }
    }
    code = spooled_queue(s, name ? name : f->name, f->source, out, err);
    free(name);
    return code;
}

static enum err_code put_run(struct feed *f, struct queue *q, struct store_batch *batch,
                             struct view run, struct err *err)
{
    if (!run.bytes)
        return ERR_OK;
    if (f->touched_count == f->touched_room) {
        size_t room = f->touched_room ? 2 * f->touched_room : 16;
        struct queue **grown = realloc(f->touched, room * sizeof(struct queue *));
        if (!grown)
            return err_set(err, ERR_MEMORY, 0, "feed '%s'", f->name);
        f->touched = grown;
        f->touched_room = room;
    }
    f->touched[f->touched_count++] = q;
    return queue_append(q, batch, run, err);
}

/* All whole lines of data, and a line that fills it; lines in a row of one queue are one append. */
static enum err_code route(struct feed *f, struct store_batch *batch, size_t *used, struct err *err)
{
    size_t at = 0, run = 0;
    struct queue *q = NULL, *next;
    enum err_code code = ERR_OK;

    while (at < f->bytes && !code) {
        const uint8_t *line = f->data + at, *end = memchr(line, '\n', f->bytes - at);
        size_t count = end ? (size_t)(end - line) + 1 : f->bytes - at;
        if (!end && count < DATA_BYTES)
            break;
        next = f->current;
        if (!f->in_line)
            code = queue_of(f, (struct view){line, count}, &next, err);
        if (!code && next != q && q) {
            code = put_run(f, q, batch, (struct view){f->data + run, at - run}, err);
            run = at;
        }
        q = f->current = next;
        f->in_line = !end;
        at += count;
    }
    if (!code && q)
        code = put_run(f, q, batch, (struct view){f->data + run, at - run}, err);
    *used = at;
    return code;
}

/* The first `used` bytes of data are routed: where does the rest begin? before: of data, when the last piece was
 * read; dropped: what was passed over of that piece. */
static void move_mark(struct feed *f, size_t used, size_t before, size_t dropped,
                      const struct piece *piece)
{
    if (used == f->bytes) {
        memcpy(f->mark, piece->cursor, piece->cursor_bytes);
        f->mark_bytes = piece->cursor_bytes;
        f->skip = 0;
    } else if (used && used >= before) {
        memcpy(f->mark, f->after, f->after_bytes);
        f->mark_bytes = f->after_bytes;
        f->skip = (uint32_t)(dropped + used - before);
    }
    memcpy(f->after, piece->cursor, piece->cursor_bytes);
    f->after_bytes = piece->cursor_bytes;
    memmove(f->data, f->data + used, f->bytes - used);
    f->bytes -= used;
}

/* Add what was read to data; returns what is passed over, since it was routed before. */
static size_t add_piece(struct feed *f, const struct piece *piece)
{
    size_t drop = f->discard < piece->bytes.bytes ? f->discard : piece->bytes.bytes;

    f->discard -= (uint32_t)drop;
    memmove(f->data + f->bytes, piece->bytes.data + drop, piece->bytes.bytes - drop);
    f->bytes += piece->bytes.bytes - drop;
    if (piece->flags & MSG_END && (f->bytes ? f->data[f->bytes - 1] != '\n' : f->in_line))
        f->data[f->bytes++] = '\n'; /* nobody will end this line */
    return drop;
}

static enum err_code store_piece(struct feed *f, const struct piece *piece, struct err *err)
{
    struct buffer cursor = buffer_of(SPOOL_CURSOR_MAX);
    struct store_batch *batch = NULL;
    size_t before = f->bytes, used = 0, dropped = add_piece(f, piece);
    enum err_code code = store_batch_open(&batch, err);

    if (!code)
        code = route(f, batch, &used, err);
    if (!code) {
        move_mark(f, used, before, dropped, piece);
        put_cursor(f, &cursor);
        code = batch_feed(batch, f->name, (struct view){cursor.data, cursor.bytes}, err);
    }
    if (!code && (used || !comes_again(f)))
        spooled_submit(f->feeds->spooled, &f->task, &batch);
    store_batch_close(&batch);
    buffer_release(&cursor);
    return code;
}

/* ---- Work ---- */

static enum err_code work(struct feed *f, bool *ran, struct err *err)
{
    const size_t read_bytes = f->feeds->env->config->read_bytes;
    struct piece piece = {.buffer = NULL};
    enum err_code code = ERR_OK;

    if (!f->open)
        code = open_feed(f, err);
    piece.buffer = f->data + f->bytes;
    piece.room = DATA_BYTES - f->bytes < read_bytes ? DATA_BYTES - f->bytes : read_bytes;
    if (!code)
        code = f->kind->read(f->self, &piece, err);
    if (code == ERR_CHANGED && f->feeds->env->config->restart)
        return begin_anew(f, err);
    if (code)
        return code;
    f->ended = piece.flags & MSG_END;
    f->awake = piece.more || piece.bytes.bytes || f->kind->descriptor;
    if (!piece.bytes.bytes && !f->ended)
        return ERR_OK;
    *ran = true;
    return store_piece(f, &piece, err);
}

/* A feed that cannot be read any more: so its stream says, and the others go on, if there are any. */
static enum err_code give_up(struct feed *f, struct err *err)
{
    const struct err why = *err;
    struct queue *q;
    bool any = false;
    enum err_code code = spooled_queue(f->feeds->spooled, f->name, f->source, &q, err);

    if (code)
        return code;
    f->ended = true;
    queue_fail(q, &why);
    for (const struct feed *other = f->feeds->all; other; other = other->next)
        any = any || !other->ended;
    *err = why;
    return any ? ERR_OK : why.code;
}

enum err_code feeds_work(struct feeds *feeds, bool *ran, struct err *err)
{
    enum err_code code = ERR_OK;

    for (struct feed *f = feeds->all; f && !code; f = f->next) {
        if (!f->awake || f->ended || f->task.in_flight || !spooled_room(feeds->spooled, ROOM_BYTES))
            continue;
        code = work(f, ran, err);
        if (code == ERR_CHANGED || code == ERR_SOURCE)
            code = give_up(f, err);
    }
    return code;
}

size_t feeds_descriptors(struct feeds *feeds, int *fds, size_t room)
{
    size_t count = 0;

    for (struct feed *f = feeds->all; f; f = f->next) {
        int fd = f->kind->descriptor && !f->ended && !f->task.in_flight &&
                         !spooled_is_full(feeds->spooled)
                     ? f->kind->descriptor(f->self)
                     : -1;
        if (fd >= 0 && count < room)
            fds[count++] = fd;
    }
    return count;
}

bool feeds_are_over(const struct feeds *feeds)
{
    for (const struct feed *f = feeds->all; f; f = f->next)
        if (!f->ended || f->task.in_flight)
            return false;
    return feeds->all;
}

enum err_code feeds_open(struct feeds **out, struct spooled *s, struct err *err)
{
    const struct stage_env *env = ingest_env(spooled_ingest(s));
    struct feeds *feeds = calloc(1, sizeof *feeds);
    enum err_code code;

    if (!feeds)
        return err_set(err, ERR_MEMORY, 0, "feeds");
    feeds->spooled = s;
    feeds->env = env;
    code = pattern_open(&feeds->key, env->config->key, "--key", true, err);
    if (code)
        feeds_close(&feeds);
    else
        *out = feeds;
    return code;
}

void feeds_close(struct feeds **pointer)
{
    struct feeds *feeds = *pointer;
    struct feed *f, *next;

    if (!feeds)
        return;
    for (f = feeds->all; f; f = next) {
        next = f->next;
        f->kind->free(f->self);
        free_feed(f);
    }
    pattern_close(&feeds->key);
    free(feeds);
    *pointer = NULL;
}
