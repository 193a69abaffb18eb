/* A message begins with a line "From ", a sender and a date as asctime writes it (RFC 4155); a line of text that would
 * look like one was written with a '>' before it, which is taken off again. The date is asked for, and an empty
 * line before is not: a message that was cut when it was written does not swallow the next, and text has such lines
 * only where nobody escaped them. Content-Length, which a fourth kind of mbox goes by, is not believed.
 *
 * Only the first bytes of a line are held to be looked at; the rest of it, however long, passes. */
#include "stages/ingest/readers/mbox.h"

#include "stages/ingest/readers/look.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 64 * 1024 };

struct mbox {
    bool alone, begun, too_long;
    mbox_fn *take;
    void *self;
    uint64_t number, at;   /* of the message */
    uint64_t offset;       /* of what comes */
    uint64_t line_at;      /* where the line at hand begins */
    bool passing;          /* its beginning was looked at */
    size_t line_bytes;     /* in line */
    struct buffer message; /* as far as it was read */
    uint8_t line[LOOK_FROM_BYTES], chunk[CHUNK_BYTES];
};

static enum err_code end_message(struct mbox *m, struct err *err)
{
    struct mbox_message message = {.number = m->number,
                                   .at = m->at,
                                   .bytes = {m->message.data, m->message.bytes},
                                   .too_long = m->too_long};
    enum err_code code = m->begun ? m->take(m->self, &message, err) : ERR_OK;

    m->message.bytes = 0;
    m->too_long = false;
    return code;
}

static void begin_message(struct mbox *m)
{
    m->begun = true;
    m->number++;
    m->at = m->line_at;
}

static enum err_code add(struct mbox *m, const uint8_t *data, size_t bytes, struct err *err)
{
    m->too_long = m->too_long || m->message.bytes + bytes > MBOX_MESSAGE_MAX;
    if (m->too_long)
        m->message.bytes = 0;
    else
        buffer_put(&m->message, data, bytes);
    return m->message.refused ? err_set(err, ERR_MEMORY, 0, "a mail") : ERR_OK;
}

static bool is_escaped(const uint8_t *line, size_t bytes)
{
    size_t at = 0;

    while (at < bytes && line[at] == '>')
        at++;
    return at && bytes - at >= 5 && !memcmp(line + at, "From ", 5);
}

/* The beginning of a line is there, or all of it. */
static enum err_code take_line(struct mbox *m, struct err *err)
{
    struct view line = {m->line, m->line_bytes};
    size_t escape;
    enum err_code code = ERR_OK;

    m->line_bytes = 0;
    if (!m->line_at)
        line = look_behind_mark(line);
    escape = !m->alone && is_escaped(line.data, line.bytes);
    if (!m->alone && look_is_from_line(line)) {
        code = end_message(m, err);
        begin_message(m);
        return code;
    }
    if (!m->begun)
        begin_message(m);
    return add(m, line.data + escape, line.bytes - escape, err);
}

/* The beginning of a line, as much of it as is there; returns how many bytes that was. */
static size_t hold(struct mbox *m, const uint8_t *data, size_t bytes)
{
    size_t room = sizeof m->line - m->line_bytes;

    if (!m->line_bytes)
        m->line_at = m->offset;
    if (bytes > room)
        bytes = room;
    memcpy(m->line + m->line_bytes, data, bytes);
    m->line_bytes += bytes;
    return bytes;
}

static enum err_code take_bytes(struct mbox *m, struct view in, struct err *err)
{
    enum err_code code = ERR_OK;

    while (in.bytes && !code) {
        const uint8_t *end = memchr(in.data, '\n', in.bytes);
        size_t bytes = end ? (size_t)(end - in.data) + 1 : in.bytes;
        bool over;
        if (m->passing) {
            code = add(m, in.data, bytes, err);
            over = end;
        } else {
            bytes = hold(m, in.data, bytes);
            over = in.data[bytes - 1] == '\n';
            m->passing = !over && m->line_bytes == sizeof m->line;
            if (over || m->passing)
                code = take_line(m, err);
        }
        m->passing = m->passing && !over;
        m->offset += bytes;
        in = (struct view){in.data + bytes, in.bytes - bytes};
    }
    return code;
}

static enum err_code read_all(struct mbox *m, const struct pull *in, struct err *err)
{
    enum err_code code = ERR_OK;
    size_t got = 1;

    while (!code && got) {
        code = in->read(in->self, m->chunk, sizeof m->chunk, &got, err);
        if (!code)
            code = take_bytes(m, (struct view){m->chunk, got}, err);
    }
    if (!code && m->line_bytes)
        code = take_line(m, err);
    return code ? code : end_message(m, err);
}

enum err_code mbox_read(const struct pull *in, bool alone, mbox_fn *take, void *self,
                        struct err *err)
{
    struct mbox *m = calloc(1, sizeof *m);
    enum err_code code;

    if (!m)
        return err_set(err, ERR_MEMORY, 0, "a mail");
    *m = (struct mbox){
        .alone = alone, .take = take, .self = self, .message = buffer_of(MBOX_MESSAGE_MAX)};
    code = read_all(m, in, err);
    buffer_release(&m->message);
    free(m);
    return code;
}
