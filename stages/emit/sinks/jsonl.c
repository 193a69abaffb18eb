#include "stages/emit/sinks/jsonl.h"

#include "schemas/record.h"
#include "schemas/step.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static enum err_code sink_error(const char *verb, const char *path, struct err *err)
{
    int cause = errno;
    enum err_code code = cause == ENOSPC || cause == EDQUOT || cause == EFBIG ? ERR_FULL : ERR_SINK;

    return err_set(err, code, cause, "%s '%s'", verb, path);
}

/* ---- Hashes ---- */

/* h_n = H(h_n-1, H(line)) */
static void chain_add(uint8_t chain[JSONL_CHAIN_BYTES], struct view line)
{
    uint8_t pair[2 * JSONL_CHAIN_BYTES];
    XXH128_hash_t hash = XXH3_128bits(line.data, line.bytes);

    memcpy(pair, chain, JSONL_CHAIN_BYTES);
    store_u64(pair + JSONL_CHAIN_BYTES, hash.low64);
    store_u64(pair + JSONL_CHAIN_BYTES + 8, hash.high64);
    hash = XXH3_128bits(pair, sizeof pair);
    store_u64(chain, hash.low64);
    store_u64(chain + 8, hash.high64);
}

/* Read what is there of [offset, offset + count); fewer bytes at the end of the file. */
static size_t read_at(int fd, uint8_t *data, size_t count, uint64_t offset)
{
    size_t done = 0;

    while (done < count) {
        ssize_t got = pread(fd, data + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return done;
}

static bool tail_hash(int fd, uint64_t length, uint64_t *hash)
{
    size_t bytes = length < JSONL_TAIL_BYTES ? (size_t)length : JSONL_TAIL_BYTES;
    uint8_t *data = malloc(JSONL_TAIL_BYTES);
    bool all;

    require(data);
    all = read_at(fd, data, bytes, length - bytes) == bytes;
    *hash = bytes ? XXH3_64bits(data, bytes) : 0; /* encode makes the token of nothing itself */
    free(data);
    return all;
}

/* Walk the lines of a file from its beginning: the chain behind each. */
struct walk {
    int fd;
    struct buffer held; /* read; the bytes before at are walked */
    size_t at;
    uint64_t length,
        n; /* behind the last line; n numbers records, so it begins at the file's first */
    uint8_t chain[JSONL_CHAIN_BYTES];
};

/* Read more of the file behind what is held; false at its end, or where a line is too long. */
static bool walk_more(struct walk *w)
{
    uint8_t *room;
    size_t held, got;

    buffer_drop(&w->held, w->at);
    w->at = 0;
    held = w->held.bytes;
    room = buffer_add(&w->held, JSONL_BUFFER_BYTES);
    if (!room)
        return false;
    got = read_at(w->fd, room, JSONL_BUFFER_BYTES, w->length + held);
    w->held.bytes = held + got;
    return got > 0;
}

/* Step over one line; false at the end, or where what follows is no whole line. */
static bool walk_line(struct walk *w)
{
    const uint8_t *end = NULL;
    size_t bytes;

    do
        if (w->held.bytes > w->at)
            end = memchr(w->held.data + w->at, '\n', w->held.bytes - w->at);
    while (!end && walk_more(w));
    if (!end)
        return false;
    bytes = (size_t)(end - (w->held.data + w->at)) + 1;
    chain_add(w->chain, (struct view){w->held.data + w->at, bytes});
    w->at += bytes;
    w->length += bytes;
    w->n++;
    return true;
}

static struct walk walk_begin(int fd, uint64_t first)
{
    return (struct walk){
        .fd = fd, .held = buffer_of(2 * RECORD_LINE_MAX + 4 * JSONL_BUFFER_BYTES), .n = first};
}

static bool walk_to(struct walk *w, const struct jsonl_token *token)
{
    while (w->n < token->n)
        if (!walk_line(w))
            return false;
    return w->n == token->n && w->length == token->length &&
           !memcmp(w->chain, token->chain, JSONL_CHAIN_BYTES);
}

bool jsonl_whole(int fd, const struct jsonl_token *token)
{
    struct walk walk = walk_begin(fd, token->first);
    bool fits = walk_to(&walk, token);

    buffer_release(&walk.held);
    return fits;
}

static bool token_fits(int fd, uint64_t size, const struct jsonl_token *token)
{
    uint64_t tail;

    if (size < token->length || !tail_hash(fd, token->length, &tail) || tail != token->tail)
        return false;
    return token->length > JSONL_WHOLE_BYTES || jsonl_whole(fd, token);
}

/* ---- The sidecar ---- */

struct sidecar {
    bool there;
    char store[2 * 16 + 1];
    uint64_t epoch, generation;
};

static void hex(struct view bytes, char out[33])
{
    for (size_t i = 0; i < 16; i++)
        sprintf(out + 2 * i, "%02x", i < bytes.bytes ? bytes.data[i] : 0);
}

static enum err_code sidecar_read(const struct jsonl *s, struct sidecar *side, struct err *err)
{
    FILE *file = fopen(s->sidecar, "re");

    *side = (struct sidecar){.there = false};
    if (!file)
        return errno == ENOENT ? ERR_OK : sink_error("read", s->sidecar, err);
    side->there =
        fscanf(file, "riverrun-sidecar 1 store %32s epoch %" SCNu64 " generation %" SCNu64,
               side->store, &side->epoch, &side->generation) == 3;
    fclose(file);
    if (!side->there)
        return err_set(err, ERR_SINK, 0,
                       "'%s' is damaged: move it and the output away, or choose another -o",
                       s->sidecar);
    return ERR_OK;
}

static enum err_code sync_folder_of(const char *path, struct err *err)
{
    char *folder = strdup(path);
    enum err_code code = ERR_OK;
    int fd;

    require(folder);
    *strrchr(folder, '/') = 0;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        code = sink_error("sync folder", folder, err);
    if (fd >= 0)
        close(fd);
    free(folder);
    return code;
}

static enum err_code sidecar_write(const struct jsonl *s, const struct jsonl_owner *owner,
                                   struct err *err)
{
    char *fresh = malloc(strlen(s->sidecar) + 8), id[33];
    enum err_code code = ERR_OK;
    FILE *file;
    bool bad;

    require(fresh);
    sprintf(fresh, "%s.new", s->sidecar);
    hex(owner->store_id, id);
    file = fopen(fresh, "we");
    bad = !file ||
          fprintf(file, "riverrun-sidecar 1\nstore %s\nepoch %" PRIu64 "\ngeneration %" PRIu64 "\n",
                  id, owner->epoch, owner->generation) < 0;
    bad = bad || fflush(file) || fsync(fileno(file));
    if (bad)
        code = sink_error("write", fresh, err);
    if (file && fclose(file) && !code)
        code = sink_error("write", fresh, err);
    STEP(emit_sidecar_written);
    if (!code && rename(fresh, s->sidecar))
        code = sink_error("write", s->sidecar, err);
    if (!code)
        code = sync_folder_of(s->sidecar, err);
    STEP(emit_sidecar_renamed);
    free(fresh);
    return code;
}

/* ---- Opening ---- */

static enum err_code make_folders(const char *path, struct err *err)
{
    char *folder = strdup(path);
    enum err_code code = ERR_OK;

    require(folder);
    for (char *at = folder + 1; !code && (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(folder, 0777) && errno != EEXIST)
            code = sink_error("make folder", folder, err);
        *at = '/';
    }
    free(folder);
    return code;
}

static enum err_code open_file(struct jsonl *s, const struct jsonl_owner *owner, uint64_t *size,
                               bool *was_there, struct err *err)
{
    struct stat st;

    if (asprintf(&s->path, "%s/%s.jsonl", owner->folder, owner->name) < 0 ||
        asprintf(&s->sidecar, "%s/.riverrun/%s.sidecar", owner->folder, owner->name) < 0)
        return err_set(err, ERR_MEMORY, 0, "output of '%s'", owner->name);
    if (make_folders(s->sidecar, err))
        return err->code;
    *was_there = access(s->path, F_OK) == 0 || errno != ENOENT;
    if (*was_there && !stat(s->path, &st) && !S_ISREG(st.st_mode))
        return err_set(err, ERR_SINK, 0,
                       "output '%s' is a directory or a device: move it away or choose another -o",
                       s->path);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0 || fstat(s->fd, &st))
        return sink_error("open output", s->path, err);
    if (flock(s->fd, LOCK_EX | LOCK_NB))
        return err_set(err, ERR_BUSY, 0,
                       "output '%s' is in use by another process: stop that one, or choose another "
                       "-o",
                       s->path);
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err_code check_owner(const struct jsonl *s, const struct jsonl_owner *owner,
                                 const struct sidecar *side, uint64_t size, struct err *err)
{
    char id[33];
    bool ours;

    hex(owner->store_id, id);
    ours = side->there && !strcmp(id, side->store);
    if (!ours && size > 0)
        return err_set(err, ERR_SINK, 0,
                       "'%s' was not written by this job: move it away or choose another -o",
                       s->path);
    if (ours && (side->epoch > owner->epoch || side->generation > owner->generation))
        return err_set(err, ERR_BUSY, 0, "output '%s' belongs to a newer run", s->path);
    return ERR_OK;
}

/* The newest token that fits; the file's end stays as it is. An older one is for a file that lost its
 * end: one that has the length and not the bytes was edited, and one that was finished ends there. */
static enum err_code choose(struct jsonl *s, const struct jsonl_owner *owner,
                            const struct jsonl_token *tokens, size_t count, uint64_t size,
                            bool was_there, size_t *chosen, struct err *err)
{
    if (!was_there && tokens[0].length > 0)
        return err_set(err, ERR_SINK, 0,
                       "output '%s' is gone though %" PRIu64
                       " records were written: put it back, or begin again with --restart",
                       s->path, tokens[0].n);
    if (size < tokens[count - 1].length)
        return err_set(err, ERR_SINK, 0,
                       "output '%s' has %" PRIu64
                       " bytes, the oldest checkpoint kept needs %" PRIu64
                       ": put it back, or begin again with --restart",
                       s->path, size, tokens[count - 1].length);
    if (size >= tokens[0].length)
        count = owner->finished && size > tokens[0].length ? 0 : 1;
    for (*chosen = 0; *chosen < count; ++*chosen)
        if (token_fits(s->fd, size, &tokens[*chosen]))
            return ERR_OK;
    return err_set(err, ERR_SINK, 0,
                   "output '%s' is not what was written: put it back, or begin again with "
                   "--restart",
                   s->path);
}

static enum err_code cut_to(struct jsonl *s, uint64_t length, struct err *err)
{
    if (ftruncate(s->fd, (off_t)length) || fsync(s->fd))
        return sink_error("cut", s->path, err);
    STEP(emit_cut);
    return ERR_OK;
}

enum err_code jsonl_open(struct jsonl *s, const struct jsonl_owner *owner,
                         const struct jsonl_token *tokens, size_t token_count, bool *older,
                         struct err *err)
{
    struct sidecar side = {.there = false};
    struct err own;
    uint64_t size = 0;
    size_t chosen = 0;
    bool was_there = true;
    enum err_code code;

    if (!err)
        err = &own;
    require(token_count > 0);
    *s = (struct jsonl){.fd = -1, .buffer = buffer_of(RECORD_LINE_MAX + JSONL_BUFFER_BYTES)};
    code = open_file(s, owner, &size, &was_there, err);
    if (!code)
        code = sidecar_read(s, &side, err);
    if (!code)
        code = check_owner(s, owner, &side, size, err);
    if (!code && side.there && side.generation < owner->generation && tokens[0].length <= size)
        code = cut_to(s, tokens[0].length, err);
    else if (!code && !step_mistake("watermark"))
        code = choose(s, owner, tokens, token_count, size, was_there, &chosen, err);
    if (!code && (!side.there || side.generation != owner->generation ||
                  side.epoch != owner->epoch || size == 0))
        code = sidecar_write(s, owner, err);
    if (!code)
        code = sync_folder_of(s->path, err);
    if (code) {
        if (s->fd >= 0 && !was_there)
            unlink(s->path); /* we made it a moment ago */
        jsonl_close(s);
        return code;
    }
    s->at = tokens[chosen];
    s->at.generation = owner->generation;
    s->comparing = true;
    if (step_mistake("watermark"))
        s->at.length = size, s->comparing = false;
    *older = chosen > 0;
    return ERR_OK;
}

void jsonl_close(struct jsonl *s)
{
    if (s->fd >= 0) {
        /* A copy of the descriptor may still be at the syncer, and would keep the lock. */
        (void)flock(s->fd, LOCK_UN);
        close(s->fd);
    }
    s->fd = -1;
    free(s->path);
    free(s->sidecar);
    s->path = s->sidecar = NULL;
    buffer_release(&s->buffer);
}

/* ---- Writing ---- */

enum err_code jsonl_flush(struct jsonl *s, struct err *err)
{
    uint64_t offset = s->at.length - s->buffer.bytes;
    size_t done = 0;
    enum err_code code = ERR_OK;

    while (done < s->buffer.bytes && !code) {
        ssize_t put =
            pwrite(s->fd, s->buffer.data + done, s->buffer.bytes - done, (off_t)(offset + done));
        if (put < 0 && errno != EINTR)
            code = sink_error("write", s->path, err);
        else if (put > 0)
            done += (size_t)put;
    }
    s->buffer.bytes = 0;
    return code;
}

static bool is_record(const uint8_t *data, size_t bytes)
{
    json_t *value = json_loadb((const char *)data, bytes, JSON_ALLOW_NUL, NULL);
    bool object = json_is_object(value);

    json_decref(value);
    return object;
}

/* What does the file hold where line belongs? Ends the comparison where nothing whole does. */
static enum err_code compare(struct jsonl *s, struct view line, struct err *err)
{
    uint8_t *held = malloc(RECORD_LINE_MAX);
    const uint8_t *end;
    size_t got;
    enum err_code code = ERR_OK;

    require(held);
    got = read_at(s->fd, held, RECORD_LINE_MAX, s->at.length);
    end = got ? memchr(held, '\n', got) : NULL;
    if (got >= line.bytes && !memcmp(held, line.data, line.bytes)) {
        free(held);
        STEP_AT(emit_compared, 0, s->at.n);
        return ERR_OK;
    }
    if (end && is_record(held, (size_t)(end - held)))
        code = err_set(err, ERR_SINK, 0,
                       "output '%s' was edited: record %" PRIu64
                       " differs; put it back, or begin again with --restart",
                       s->path, s->at.n);
    else if (got)
        code = cut_to(s, s->at.length, err); /* torn */
    s->comparing = false;
    free(held);
    return code;
}

enum err_code jsonl_write(struct jsonl *s, struct view line, bool last, struct err *err)
{
    enum err_code code = ERR_OK;
    uint8_t beyond;

    if (s->comparing)
        code = compare(s, line, err);
    if (!code && !s->comparing)
        buffer_put(&s->buffer, line.data, line.bytes);
    if (code)
        return code;
    require(!s->buffer.refused);
    chain_add(s->at.chain, line);
    s->at.length += line.bytes;
    s->at.n++;
    if (s->buffer.bytes >= JSONL_BUFFER_BYTES)
        code = jsonl_flush(s, err);
    if (!code && last && s->comparing && read_at(s->fd, &beyond, 1, s->at.length) == 1)
        code = err_set(err, ERR_SINK, 0,
                       "output '%s' goes on after its document record: put it back, or begin again "
                       "with --restart",
                       s->path);
    return code;
}

enum err_code jsonl_token(struct jsonl *s, struct jsonl_token *token, struct err *err)
{
    enum err_code code = jsonl_flush(s, err);

    *token = s->at;
    if (!code && !tail_hash(s->fd, s->at.length, &token->tail))
        code =
            err_set(err, ERR_SINK, 0, "output '%s' became shorter while it was written", s->path);
    return code;
}

enum err_code jsonl_cut(struct jsonl *s, const struct jsonl_token *token, struct err *err)
{
    s->buffer.bytes = 0;
    s->comparing = false;
    s->at = *token;
    return cut_to(s, token->length, err);
}
