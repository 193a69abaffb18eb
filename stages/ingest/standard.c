/* Standard input that is followed: read once, at most config.read_bytes at a time, into the spool. What
 * was read is durable before more is read, so a kill loses one read at most. While the spool has no room
 * nothing is read, and the one who writes waits.
 *
 * Another process may go on with the same stream: its bytes are a continuation. At the end a last line without
 * newline gets one, since nobody will end it; the next to come begins a line of its own. */
#include "stages/ingest/spooled.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct standard {
    struct spooled *spooled;
    struct queue *queue;
    struct spool_task task;
    uint8_t *buffer; /* (read_bytes) */
    size_t read_bytes;
    bool ended, no_room;
};

static void stored(void *self)
{
    struct standard *in = self;

    queue_durable(in->queue);
}

static bool is_asked_for(const struct config *config)
{
    for (size_t i = 0; i < config->path_count; i++)
        if (!strcmp(config->paths[i], "-"))
            return true;
    return false;
}

/* What is there now; the end when nothing will come. */
static enum err_code read_input(uint8_t *buffer, size_t room, size_t *got, bool *ended,
                                struct err *err)
{
    struct pollfd ready = {STDIN_FILENO, POLLIN, 0};
    ssize_t count;

    *got = 0;
    if (poll(&ready, 1, 0) != 1)
        return ERR_OK;
    count = read(STDIN_FILENO, buffer, room);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return ERR_OK;
    if (count < 0)
        return err_set(err, ERR_SOURCE, errno, "read standard input");
    *ended = count == 0;
    *got = (size_t)count;
    return ERR_OK;
}

/* ---- As a feed: its cursor says nothing, for nothing comes again ---- */

struct plain_standard {
    bool ended;
};

static enum err_code feed_open(void *self, struct view cursor, struct err *err)
{
    (void)self;
    (void)cursor;
    (void)err;
    return ERR_OK;
}

static enum err_code feed_opened(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                                 struct err *err)
{
    (void)self;
    (void)prints;
    (void)err;
    at->cursor_bytes = 0;
    return ERR_OK;
}

static enum err_code feed_read(void *self, struct piece *piece, struct err *err)
{
    struct plain_standard *in = self;
    size_t got = 0;
    enum err_code code = read_input(piece->buffer, piece->room, &got, &in->ended, err);

    piece->bytes = (struct view){piece->buffer, got};
    piece->flags = in->ended ? MSG_END : 0;
    return code;
}

static int feed_descriptor(void *self)
{
    struct plain_standard *in = self;

    return in->ended ? -1 : STDIN_FILENO;
}

static void feed_close(void *self)
{
    (void)self;
}

static const struct input_kind feed_kind = {
    .open = feed_open,
    .opened = feed_opened,
    .read = feed_read,
    .descriptor = feed_descriptor,
    .close = feed_close,
    .free = free,
};

enum err_code standard_add_feed(struct spooled *s, struct err *err)
{
    const struct config *config = ingest_env(spooled_ingest(s))->config;
    struct plain_standard *self;
    struct input *in;
    enum err_code code;

    if (!is_asked_for(config))
        return ERR_OK;
    self = calloc(1, sizeof *self);
    if (!self)
        return err_set(err, ERR_MEMORY, 0, "standard input");
    code = ingest_add(spooled_ingest(s), &feed_kind, self, config->name ? config->name : "-", "-",
                      &in, err);
    if (code)
        free(self);
    return code;
}

/* ---- By itself ---- */

enum err_code standard_open(struct standard **out, struct spooled *s, struct err *err)
{
    const struct config *config = ingest_env(spooled_ingest(s))->config;
    const char *name = config->name ? config->name : "-";
    struct standard *in;
    enum err_code code;

    if (!is_asked_for(config))
        return ERR_OK;
    in = calloc(1, sizeof *in);
    if (in)
        in->buffer = malloc(config->read_bytes);
    if (!in || !in->buffer) {
        free(in);
        return err_set(err, ERR_MEMORY, 0, "standard input");
    }
    in->spooled = s;
    in->read_bytes = config->read_bytes;
    in->task = (struct spool_task){.done = stored, .self = in};
    code = spooled_queue(s, name, "-", &in->queue, err);
    if (code)
        standard_close(&in);
    else
        *out = in;
    return code;
}

static enum err_code store_bytes(struct standard *in, struct view bytes, struct err *err)
{
    struct store_batch *batch = NULL;
    enum err_code code = store_batch_open(&batch, err);

    if (!code)
        code = queue_append(in->queue, batch, bytes, err);
    if (!code)
        spooled_submit(in->spooled, &in->task, &batch);
    store_batch_close(&batch);
    return code;
}

enum err_code standard_work(struct standard *in, bool *ran, struct err *err)
{
    static const uint8_t newline = '\n';
    enum err_code code;
    size_t got;

    in->no_room = !spooled_room(in->spooled, spool_cost(in->read_bytes));
    if (in->ended || in->task.in_flight || in->no_room)
        return ERR_OK;
    code = read_input(in->buffer, in->read_bytes, &got, &in->ended, err);
    if (code)
        return code;
    *ran = *ran || got || in->ended;
    if (got)
        return store_bytes(in, (struct view){in->buffer, got}, err);
    if (in->ended && queue_in_line(in->queue))
        return store_bytes(in, (struct view){&newline, 1}, err);
    return ERR_OK;
}

int standard_descriptor(const struct standard *in)
{
    return in->ended || in->task.in_flight || in->no_room ? -1 : STDIN_FILENO;
}

bool standard_is_over(const struct standard *in)
{
    return in->ended && !in->task.in_flight;
}

void standard_close(struct standard **in)
{
    if (!*in)
        return;
    free((*in)->buffer);
    free(*in);
    *in = NULL;
}
