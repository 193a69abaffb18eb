/* A file of lines that is exactly what an uninterrupted run writes.
 *
 * DIR/NAME.jsonl is ours where its sidecar says so (claim.h); any other file with something in it is somebody
 * else's and is not touched. It is made with the first line, and its sidecar is durable before that is written.
 *
 * Opened at a token, the file may hold more lines than the token covers: those that a run wrote before it was
 * killed. Lines sent again are compared with them and not written; a torn end is cut off; a whole valid line that
 * differs is somebody's edit, and is refused without touching it.
 *
 * There may be more files than descriptors. One that was closed meanwhile is only taken up again when it is the
 * same file, has the size that we left, is still ours by its sidecar, and the claim that the run began with still
 * stands: a process that was superseded writes nothing. A descriptor that is open holds the file's lock. */
#include "schemas/record.h"
#include "schemas/step.h"
#include "stages/emit/sinks/chain.h"
#include "stages/emit/sinks/claim.h"
#include "stages/emit/syncer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file's name is only needed for a moment, and there are many files: it is made anew each time. */
static enum err_code refuse(const struct sink_file *f, enum err_code code, const char *what,
                            struct err *err)
{
    char *path = sink_path(f->folder, f->name);

    err_set(err, code, 0, "output '%s' %s", path, what);
    free(path);
    return code;
}

static enum err_code call_failed(const struct sink_file *f, const char *verb, enum err_code code,
                                 struct err *err)
{
    int cause = errno;
    char *path = sink_path(f->folder, f->name);

    code = err_set(err, err_full_or(cause, code), cause, "%s '%s'", verb, path);
    free(path);
    return code;
}

static enum err_code refuse_changed(const struct sink_file *f, struct err *err)
{
    return refuse(f, ERR_SINK,
                  "was changed while it was written: put it back, or begin again with --restart",
                  err);
}

static enum err_code refuse_unclaimed(const struct sink_file *f, struct err *err)
{
    return refuse(
        f, ERR_BUSY,
        "belongs to another run, or to none: its folder's .riverrun was removed or taken; "
        "put it back, or move the output away",
        err);
}

static void jsonl_detach(struct sink_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static void jsonl_unlock(struct sink_file *f)
{
    if (f->fd >= 0)
        (void)flock(f->fd, LOCK_UN);
}

static void jsonl_close(struct sink_file *f)
{
    jsonl_detach(f);
    free(f->name);
    f->name = NULL;
}

/* ---- A descriptor ---- */

static enum err_code open_locked(struct sink_file *f, int flags, struct stat *st, struct err *err)
{
    char *path = sink_path(f->folder, f->name);

    f->fd = open(path, O_RDWR | O_CLOEXEC | flags, 0666);
    free(path);
    if (f->fd < 0 || fstat(f->fd, st))
        return call_failed(f, "open output", err_no_descriptor(errno) ? ERR_SYSTEM : ERR_SINK, err);
    if (flock(f->fd, LOCK_EX | LOCK_NB))
        return refuse(f, ERR_BUSY,
                      "is in use by another process: stop that one, or choose another -o", err);
    return ERR_OK;
}

/* Whose is it? Asked under its lock. Sets f->marked. */
static enum err_code check_owner(struct sink_file *f, uint64_t size, struct err *err)
{
    struct sidecar side;
    bool ours;

    if (sidecar_read(f->folder, f->name, &side, err))
        return err->code;
    ours = sidecar_is_of(&side, f->claim);
    if (!ours && size > 0)
        return refuse(f, ERR_SINK, "was not written by this job: move it away or choose another -o",
                      err);
    if (ours && (side.epoch > f->epoch || side.generation > f->generation))
        return refuse(f, ERR_BUSY, "belongs to a newer run", err);
    f->marked = ours && side.generation == f->generation;
    return ERR_OK;
}

static enum err_code make_file(struct sink_file *f, struct stat *st, struct err *err)
{
    char *path = sink_path(f->folder, f->name);
    enum err_code code = make_folders(path, err);

    free(path);
    if (code)
        return code;
    return open_locked(f, O_CREAT, st, err);
}

static enum err_code jsonl_attach(struct sink_file *f, struct err *err)
{
    struct stat st = {.st_size = 0};
    enum err_code code;

    if (f->fd >= 0)
        return ERR_OK;
    if (!claim_holds(f->claim))
        return refuse_unclaimed(f, err);
    code = f->there ? open_locked(f, 0, &st, err) : make_file(f, &st, err);
    if (!code)
        code = check_owner(f, (uint64_t)st.st_size, err);
    if (!code && ((f->there && st.st_ino != f->inode) || (uint64_t)st.st_size != f->size))
        code = refuse_changed(f, err);
    if (code) {
        jsonl_detach(f);
        return code;
    }
    f->there = true;
    f->inode = st.st_ino;
    return ERR_OK;
}

/* ---- Opening ---- */

/* The least that a file must have. Not always the last token's length: a run that went on from an older checkpoint
 * leaves behind it tokens that are longer than its own. */
static uint64_t shortest(const struct sink_token *tokens, size_t count)
{
    uint64_t length = tokens[0].length;

    for (size_t i = 1; i < count; i++)
        length = tokens[i].length < length ? tokens[i].length : length;
    return length;
}

/* The newest token that fits; the file's end stays as it is. An older one is for a file that lost its
 * end: one that has the length and not the bytes was edited, and one that was finished ends there. */
static enum err_code choose(struct sink_file *f, bool finished, const struct sink_token *tokens,
                            size_t count, size_t *chosen, struct err *err)
{
    char text[200];

    if (!f->there && tokens[0].length > 0) {
        snprintf(text, sizeof text,
                 "is gone though %" PRIu64
                 " records were written: put it back, or begin again with --restart",
                 tokens[0].n - tokens[0].first);
        return refuse(f, ERR_SINK, text, err);
    }
    if (f->size < shortest(tokens, count)) {
        snprintf(text, sizeof text,
                 "has %" PRIu64 " bytes, the checkpoints kept need at least %" PRIu64
                 ": put it back, or begin again with --restart",
                 f->size, shortest(tokens, count));
        return refuse(f, ERR_SINK, text, err);
    }
    if (f->size >= tokens[0].length)
        count = finished && f->size > tokens[0].length ? 0 : 1;
    for (*chosen = 0; *chosen < count; ++*chosen)
        if (chain_fits(f->fd, f->size, &tokens[*chosen]))
            return ERR_OK;
    return refuse(f, ERR_SINK,
                  "is not what was written: put it back, or begin again with --restart", err);
}

static enum err_code cut_to(struct sink_file *f, uint64_t length, struct err *err)
{
    if (ftruncate(f->fd, (off_t)length) || fsync(f->fd))
        return call_failed(f, "cut", ERR_SINK, err);
    f->size = length;
    STEP_AT(emit_cut, 0, length);
    return ERR_OK;
}

/* What is there? A file is opened and looked at, none is made. */
static enum err_code look(struct sink_file *f, struct err *err)
{
    char *path = sink_path(f->folder, f->name);
    struct stat st;
    bool failed = stat(path, &st), absent = failed && errno == ENOENT;

    free(path);
    if (failed && !absent)
        return call_failed(f, "look at", ERR_SINK, err);
    if (!absent && !S_ISREG(st.st_mode))
        return refuse(f, ERR_SINK, "is a directory or a device: move it away or choose another -o",
                      err);
    if (!absent && open_locked(f, 0, &st, err))
        return err->code;
    f->there = !absent;
    f->size = absent ? 0 : (uint64_t)st.st_size;
    f->inode = absent ? 0 : st.st_ino;
    return check_owner(f, f->size, err);
}

/* Go on from which token? One of a higher generation than the sidecar's cuts. */
static enum err_code settle(struct sink_file *f, const struct sink_owner *owner,
                            const struct sink_token *tokens, size_t count, size_t *chosen,
                            struct err *err)
{
    if (tokens[0].n > tokens[0].first && !tokens[0].length)
        return refuse(
            f, ERR_SINK,
            "lacks the records that went to standard output: go on with --sink stdout, or "
            "begin again with --restart",
            err);
    if (f->there && f->size > 0 && !f->marked && tokens[0].length <= f->size)
        return cut_to(f, tokens[0].length, err);
    if (step_mistake("watermark"))
        return ERR_OK;
    return choose(f, owner->finished, tokens, count, chosen, err);
}

static enum err_code jsonl_open(struct sink_file *f, struct claim **claim,
                                const struct sink_owner *owner, const struct sink_token *tokens,
                                size_t count, bool *older, struct err *err)
{
    size_t chosen = 0;
    enum err_code code = claim_take(claim, owner, err);

    require(count > 0);
    *f = (struct sink_file){.fd = -1,
                            .folder = owner->folder,
                            .name = strdup(owner->name),
                            .generation = owner->generation,
                            .epoch = owner->epoch,
                            .claim = *claim};
    require(f->name);
    if (!code)
        code = look(f, err);
    if (!code)
        code = settle(f, owner, tokens, count, &chosen, err);
    if (code) {
        jsonl_close(f);
        return code;
    }
    f->at = tokens[chosen];
    f->at.generation = owner->generation;
    f->comparing = f->size > f->at.length;
    if (step_mistake("watermark"))
        f->at.length = f->size, f->comparing = false;
    *older = chosen > 0;
    return ERR_OK;
}

/* ---- Writing ---- */

static bool is_record(const uint8_t *data, size_t bytes)
{
    json_t *value = json_loadb((const char *)data, bytes, JSON_ALLOW_NUL, NULL);
    bool object = json_is_object(value);

    json_decref(value);
    return object;
}

/* Behind a file that somebody cut, lines would stand after a hole. */
static enum err_code put(struct sink_file *f, struct view lines, struct err *err)
{
    struct stat st;
    size_t done = 0;

    if (fstat(f->fd, &st))
        return call_failed(f, "look at", ERR_SYSTEM, err);
    if ((uint64_t)st.st_size != f->size)
        return refuse_changed(f, err);
    while (done < lines.bytes) {
        ssize_t got =
            pwrite(f->fd, lines.data + done, lines.bytes - done, (off_t)(f->at.length + done));
        if (got < 0 && errno != EINTR)
            return call_failed(f, "write", ERR_SYSTEM, err);
        if (got > 0)
            done += (size_t)got;
    }
    if (f->size < f->at.length + lines.bytes)
        f->size = f->at.length + lines.bytes;
    return ERR_OK;
}

/* What does the file hold where line belongs? Ends the comparison where nothing whole does.
 *
 * A line that is there is written again all the same: the process before us may have died between an fsync that failed
 * and its cut, and then the page looks clean, our fsync would pass it over, and the disk has never seen the line. */
static enum err_code compare(struct sink_file *f, struct view line, struct err *err)
{
    uint8_t *held = malloc(RECORD_LINE_MAX);
    const uint8_t *end;
    char text[200];
    size_t got;
    enum err_code code = ERR_OK;

    require(held);
    got = read_at(f->fd, held, RECORD_LINE_MAX, f->at.length);
    end = got ? memchr(held, '\n', got) : NULL;
    if (got >= line.bytes && !memcmp(held, line.data, line.bytes)) {
        free(held);
        STEP_AT(emit_compared, 0, f->at.n);
        return put(f, line, err);
    }
    if (end && is_record(held, (size_t)(end - held))) {
        snprintf(text, sizeof text,
                 "differs at record %" PRIu64 ": it was edited, or the source is another; put "
                 "back what changed, or begin again with --restart",
                 f->at.n);
        code = refuse(f, ERR_SINK, text, err);
    } else if (got) {
        code = cut_to(f, f->at.length, err); /* torn */
    }
    f->comparing = false;
    free(held);
    return code;
}

static struct view next_line(struct view lines)
{
    const uint8_t *end = memchr(lines.data, '\n', lines.bytes);

    return (struct view){lines.data, end ? (size_t)(end - lines.data) + 1 : lines.bytes};
}

/* The first line of lines is in the file: step over it. */
static void step_over(struct sink_file *f, struct view *lines)
{
    struct view line = next_line(*lines);

    chain_add(f->at.chain, line);
    f->at.length += line.bytes;
    f->at.n++;
    lines->data += line.bytes;
    lines->bytes -= line.bytes;
}

static enum err_code jsonl_write(struct sink_file *f, struct view lines, bool last, struct err *err)
{
    uint8_t beyond;

    while (lines.bytes && f->comparing) {
        if (compare(f, next_line(lines), err))
            return err->code;
        if (f->comparing)
            step_over(f, &lines);
    }
    if (lines.bytes && put(f, lines, err))
        return err->code;
    while (lines.bytes)
        step_over(f, &lines);
    if (last && f->comparing && read_at(f->fd, &beyond, 1, f->at.length) == 1)
        return refuse(f, ERR_SINK,
                      "goes on after its document record: put it back, or begin again with "
                      "--restart",
                      err);
    return ERR_OK;
}

/* In a thread of the syncer's. */
static int sync_file(struct sync_task *task, int halt)
{
    struct stat st;
    int cause;

    (void)halt;
    STEP_AT(emit_fsync_begin, task->stream, task->token.n);
    cause = fsync(task->fd) ? errno : 0;
    if (!cause && task->whole)
        task->torn = fstat(task->fd, &st) || (uint64_t)st.st_size != task->token.length ||
                     !chain_whole(task->fd, &task->token);
    STEP_AT(emit_fsync_end, task->stream, task->token.n);
    return cause;
}

static int mark_file(struct sync_task *task, int halt)
{
    (void)halt;
    return sidecar_write(task->folder, task->name, task->text);
}

/* A file that was removed takes writes and syncs as ever, and so does one that was cut. Whether it may be opened is no
 * matter here. */
static enum err_code jsonl_stands(struct sink_file *f, struct err *err)
{
    char *path = sink_path(f->folder, f->name);
    struct stat st;
    bool stands = !f->there || (!stat(path, &st) && st.st_ino == f->inode);

    free(path);
    if (stands && !claim_holds(f->claim))
        return refuse_unclaimed(f, err);
    if (stands && f->there && (uint64_t)st.st_size != f->size)
        return refuse_changed(f, err);
    if (stands)
        return ERR_OK;
    return refuse(f, ERR_SINK,
                  "was removed or replaced while it was written: put it back, or begin again with "
                  "--restart",
                  err);
}

static enum err_code jsonl_token(struct sink_file *f, struct sync_task *task, struct err *err)
{
    task->work = sync_file;
    task->fd = f->fd;
    task->token = f->at;
    if (!chain_tail(f->fd, f->at.length, &task->token.tail))
        return refuse(f, ERR_SINK, "became shorter while it was written", err);
    if (!f->named) {
        task->folder = f->folder;
        task->name = strdup(f->name);
        require(task->name);
        f->named = true;
    }
    return ERR_OK;
}

static void jsonl_mark(struct sink_file *f, struct sync_task *task)
{
    task->work = mark_file;
    task->folder = f->folder;
    task->name = strdup(f->name);
    task->text = sidecar_text(f->claim, f->generation);
    require(task->name);
}

static enum err_code jsonl_cut(struct sink_file *f, const struct sink_token *token, struct err *err)
{
    f->comparing = false;
    f->at = *token;
    return f->fd < 0 ? ERR_OK : cut_to(f, token->length, err);
}

const struct sink_ops jsonl_ops = {
    .open = jsonl_open,
    .attach = jsonl_attach,
    .mark = jsonl_mark,
    .write = jsonl_write,
    .stands = jsonl_stands,
    .token = jsonl_token,
    .cut = jsonl_cut,
    .unlock = jsonl_unlock,
    .detach = jsonl_detach,
    .close = jsonl_close,
};
