/* Standard output: lines of all streams, those of each in order.
 *
 * Nothing can be read back or cut off, so a token is the number of records alone. Records are durable when write(2)
 * has taken them, and on a disk when fsync came back too. What was sent since the last checkpoint of a run that was
 * killed is sent again, the same bytes under the same (stream, seq): the reader drops what it has.
 *
 * A reader may be slow, or stand still. The descriptor is shared with whoever started us, so it is not made
 * non-blocking: one thread of the syncer's waits until there is room, and hands over at most PIPE_BUF bytes, whole
 * lines where they are shorter, which a pipe that has room takes at once and in one piece. */
#include "schemas/step.h"
#include "stages/emit/syncer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_code stdout_open(struct sink_file *f, struct claim **claim,
                                 const struct sink_owner *owner, const struct sink_token *tokens,
                                 size_t count, bool *older, struct err *err)
{
    (void)claim;
    (void)count;
    (void)err;
    *f = (struct sink_file){
        .fd = -1, .generation = owner->generation, .marked = true, .lines = buffer_of(SIZE_MAX)};
    f->at = (struct sink_token){
        .generation = owner->generation, .n = tokens[0].n, .first = tokens[0].first};
    *older = false;
    return ERR_OK;
}

/* To be attached, and to stand. */
static enum err_code always(struct sink_file *f, struct err *err)
{
    (void)f;
    (void)err;
    return ERR_OK;
}

static enum err_code stdout_write(struct sink_file *f, struct view lines, bool last,
                                  struct err *err)
{
    (void)last;
    (void)err;
    buffer_put(&f->lines, lines.data, lines.bytes);
    require(!f->lines.refused);
    for (size_t i = 0; i < lines.bytes; i++)
        f->at.n += lines.data[i] == '\n';
    return ERR_OK;
}

/* ---- In the syncer's thread ---- */

/* Whole lines of at most PIPE_BUF bytes together, or the next part of a longer one. */
static size_t piece(const uint8_t *data, size_t bytes)
{
    const uint8_t *end;

    if (bytes <= PIPE_BUF)
        return bytes;
    end = memrchr(data, '\n', PIPE_BUF);
    return end ? (size_t)(end - data) + 1 : PIPE_BUF;
}

static int wait_for_room(int fd, int halt)
{
    struct pollfd items[] = {{fd, POLLOUT, 0}, {halt, POLLIN, 0}};

    while (poll(items, 2, -1) < 0)
        if (errno != EINTR)
            return errno;
    return items[0].revents ? 0 : ECANCELED;
}

static int put(int fd, const uint8_t *data, size_t bytes, bool disk, int halt)
{
    while (bytes) {
        int cause = disk ? 0 : wait_for_room(fd, halt);
        ssize_t done;
        if (cause)
            return cause;
        done = write(fd, data, disk ? bytes : piece(data, bytes));
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return errno;
        data += done > 0 ? done : 0;
        bytes -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

/* Does a file that lines are appended to end within one? A run that was killed may have left it so. */
static bool torn(int fd, uint64_t size)
{
    char path[40], end = '\n';
    int again;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = open(path, O_RDONLY | O_CLOEXEC);
    if (again < 0 || pread(again, &end, 1, (off_t)size - 1) != 1)
        end = '\n';
    if (again >= 0)
        close(again);
    return size > 0 && end != '\n';
}

/* What stands there may be somebody else's: nothing is cut off, a part of a line gets its end. */
static int put_durably(struct sync_task *task, uint64_t size, int halt)
{
    int cause = 0;

    if (torn(task->fd, size))
        cause = put(task->fd, (const uint8_t *)"\n", 1, true, halt);
    cause = cause ? cause : put(task->fd, task->lines.data, task->lines.bytes, true, halt);
    return cause || !fsync(task->fd) ? cause : errno;
}

static int put_lines(struct sync_task *task, int halt)
{
    struct stat st;
    int cause;

    STEP_AT(emit_fsync_begin, task->stream, task->token.n);
    if (!fstat(task->fd, &st) && S_ISREG(st.st_mode))
        cause = put_durably(task, (uint64_t)st.st_size, halt);
    else
        cause = put(task->fd, task->lines.data, task->lines.bytes, false, halt);
    STEP_AT(emit_fsync_end, task->stream, task->token.n);
    return cause;
}

/* ---- */

static enum err_code stdout_token(struct sink_file *f, struct sync_task *task, struct err *err)
{
    (void)err;
    task->work = put_lines;
    task->one_lane = true;
    task->fd = STDOUT_FILENO;
    task->token = f->at;
    task->lines = f->lines;
    f->lines = buffer_of(SIZE_MAX);
    return ERR_OK;
}

static enum err_code stdout_cut(struct sink_file *f, const struct sink_token *token,
                                struct err *err)
{
    (void)err;
    buffer_release(&f->lines);
    f->at = *token;
    return ERR_OK;
}

static void nothing(struct sink_file *f)
{
    (void)f;
}

static void stdout_close(struct sink_file *f)
{
    buffer_release(&f->lines);
}

const struct sink_ops stdout_ops = {
    .eager = true,
    .open = stdout_open,
    .attach = always,
    .write = stdout_write,
    .stands = always,
    .token = stdout_token,
    .cut = stdout_cut,
    .unlock = nothing,
    .detach = nothing,
    .close = stdout_close,
};
