#include "stages/ingest/source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CURSOR_VERSION = 1, KIND_FILE = 0, KIND_PIPE = 1 };

static void hash_bytes(XXH128_hash_t hash, uint8_t out[SOURCE_HEAD_BYTES])
{
    store_u64(out, hash.low64);
    store_u64(out + 8, hash.high64);
}

/* All of [offset, offset + count), or an error. */
static enum err_code read_fully(struct source *s, uint8_t *data, size_t count, uint64_t offset,
                                struct err *err)
{
    while (count) {
        ssize_t got = pread(s->fd, data, count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, ERR_SOURCE, errno, "read '%s' at byte %llu", s->file,
                           (unsigned long long)offset);
        if (got == 0)
            return err_set(err, ERR_CHANGED, 0,
                           "'%s' became shorter while it was read: byte %llu "
                           "is gone; --restart begins it again",
                           s->file, (unsigned long long)offset);
        data += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return ERR_OK;
}

/* The hash of the 64 KiB before offset. */
static enum err_code tail_hash(struct source *s, uint64_t offset, uint64_t *hash, struct err *err)
{
    size_t bytes = offset < SOURCE_WINDOW_BYTES ? (size_t)offset : SOURCE_WINDOW_BYTES;
    uint8_t *window = malloc(SOURCE_WINDOW_BYTES);
    enum err_code code;

    if (!window)
        return err_set(err, ERR_MEMORY, 0, "window of '%s'", s->file);
    code = read_fully(s, window, bytes, offset - bytes, err);
    if (!code)
        *hash = XXH3_64bits(window, bytes);
    free(window);
    return code;
}

static enum err_code head_hash(struct source *s, struct err *err)
{
    size_t bytes = s->size < SOURCE_WINDOW_BYTES ? (size_t)s->size : SOURCE_WINDOW_BYTES;
    uint8_t *window = malloc(SOURCE_WINDOW_BYTES);
    enum err_code code;

    if (!window)
        return err_set(err, ERR_MEMORY, 0, "window of '%s'", s->file);
    code = read_fully(s, window, bytes, 0, err);
    if (!code)
        hash_bytes(XXH3_128bits(window, bytes), s->head);
    s->head_known = !code;
    free(window);
    return code;
}

static enum err_code seek_file(struct source *s, uint64_t offset, uint64_t hash, struct err *err)
{
    uint64_t now = 0;
    enum err_code code;

    if (offset > s->size)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' has %llu bytes, fewer than the %llu that were read; --restart begins "
                       "it again",
                       s->file, (unsigned long long)s->size, (unsigned long long)offset);
    code = tail_hash(s, offset, &now, err);
    if (!code && now != hash)
        code =
            err_set(err, ERR_CHANGED, 0,
                    "'%s' changed in the 64 KiB before byte %llu since they were read; --restart "
                    "begins it again",
                    s->file, (unsigned long long)offset);
    if (!code)
        s->offset = offset;
    return code;
}

/* What a kernel makes while it is read (/proc) has text and no size. */
static enum err_code check_empty(struct source *s, struct err *err)
{
    struct stat st;
    uint8_t byte;
    ssize_t got = s->size ? 0 : pread(s->fd, &byte, 1, 0);

    if (got < 0)
        return err_set(err, ERR_SOURCE, errno, "read '%s'", s->file);
    if (!got || fstat(s->fd, &st) || st.st_size) /* one that was empty may grow now */
        return ERR_OK;
    return err_set(err, ERR_SOURCE, 0,
                   "'%s' says that it has 0 bytes and holds more: pipe it (cat FILE | riverrun "
                   "read - --name NAME)",
                   s->file);
}

static enum err_code open_pipe(struct source *s, struct err *err)
{
    s->hash = XXH3_createState();
    if (!s->hash || XXH3_64bits_reset(s->hash) != XXH_OK)
        return err_set(err, ERR_MEMORY, 0, "hash of '%s'", s->file);
    return ERR_OK;
}

enum err_code source_open(struct source *s, const char *file, struct view cursor, struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r);
    uint64_t offset = read_u64(&r), hash = read_u64(&r);
    struct stat st;
    enum err_code code;

    *s = (struct source){.file = file, .fd = -1};
    if (cursor.bytes && (!read_done(&r) || version != CURSOR_VERSION || kind > KIND_PIPE))
        return err_set(err, ERR_INPUT, 0, "cursor of '%s' is not one of ours", file);
    if (!strcmp(file, "-"))
        s->fd = dup(STDIN_FILENO);
    else
        s->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &st)) {
        code = err_set(err, ERR_SOURCE, errno, "input '%s'", file);
        goto fail;
    }
    if (S_ISDIR(st.st_mode) && strcmp(file, "-") != 0) { /* may be opened, and not be entered */
        int cause = faccessat(AT_FDCWD, file, R_OK | X_OK, AT_EACCESS) ? errno : EISDIR;
        code = err_set(err, ERR_SOURCE, cause, "input '%s'", file);
        goto fail;
    }
    s->pipe = !S_ISREG(st.st_mode) || !strcmp(file, "-");
    s->size = s->pipe ? 0 : (uint64_t)st.st_size;
    code = s->pipe ? open_pipe(s, err) : check_empty(s, err);
    if (!code && !s->pipe)
        code = head_hash(s, err);
    if (!code && cursor.bytes && (kind == KIND_PIPE) != s->pipe)
        code = err_set(err, ERR_CHANGED, 0,
                       "'%s' was a %s and now is not; --restart begins it "
                       "again",
                       file, kind == KIND_PIPE ? "pipe" : "file");
    if (!code && cursor.bytes && s->pipe) {
        s->skip_to = offset;
        s->skip_hash = hash;
    }
    if (!code && cursor.bytes && !s->pipe)
        code = seek_file(s, offset, hash, err);
    if (!code)
        return ERR_OK;
fail:
    source_close(s);
    return code;
}

void source_close(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    XXH3_freeState(s->hash);
    s->hash = NULL;
    s->fd = -1;
}

/* A pipe: what is there now. */
static enum err_code read_pipe(struct source *s, uint8_t *data, size_t room, size_t *got, bool *end,
                               struct err *err)
{
    struct pollfd ready = {s->fd, POLLIN, 0};
    bool skips = s->offset < s->skip_to, looks = !skips && s->ends;
    ssize_t count;

    *got = 0;
    if (poll(&ready, 1, 0) != 1)
        return ERR_OK;
    if (skips && room > s->skip_to - s->offset)
        room = (size_t)(s->skip_to - s->offset);
    if (looks)
        room = 1;
    count = read(s->fd, data, room);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return ERR_OK;
    if (count < 0)
        return err_set(err, ERR_SOURCE, errno, "read '%s' at byte %llu", s->file,
                       (unsigned long long)s->offset);
    if (count == 0 && skips)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' ended at byte %llu, before the %llu that were read; --restart begins "
                       "it again",
                       s->file, (unsigned long long)s->offset, (unsigned long long)s->skip_to);
    if (count && looks)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' goes on behind the %llu bytes that were all when it was finished; "
                       "--restart begins it again",
                       s->file, (unsigned long long)s->offset);
    if (looks)
        s->ends = false;
    *end = count == 0;
    XXH3_64bits_update(s->hash, data, (size_t)count);
    if (!skips) {
        *got = (size_t)count;
        s->offset += (uint64_t)count;
        return ERR_OK;
    }
    s->offset += (uint64_t)count;
    if (s->offset == s->skip_to && XXH3_64bits_digest(s->hash) != s->skip_hash)
        return err_set(
            err, ERR_CHANGED, 0,
            "'%s' is not what was read: its first %llu bytes differ; --restart begins it "
            "again",
            s->file, (unsigned long long)s->offset);
    return ERR_OK;
}

enum err_code source_read(struct source *s, uint8_t *data, size_t room, size_t *got, bool *end,
                          struct err *err)
{
    enum err_code code;

    *end = false;
    if (s->pipe)
        return read_pipe(s, data, room, got, end, err);
    *got = s->size - s->offset < room ? (size_t)(s->size - s->offset) : room;
    *end = s->offset == s->size;
    code = read_fully(s, data, *got, s->offset, err);
    if (!code)
        s->offset += *got;
    return code;
}

enum err_code source_cursor(struct source *s, uint8_t cursor[SOURCE_CURSOR_BYTES], struct err *err)
{
    uint64_t hash = 0;
    enum err_code code = ERR_OK;

    if (s->pipe)
        hash = XXH3_64bits_digest(s->hash);
    else
        code = tail_hash(s, s->offset, &hash, err);
    cursor[0] = CURSOR_VERSION;
    cursor[1] = s->pipe ? KIND_PIPE : KIND_FILE;
    store_u64(cursor + 2, s->offset);
    store_u64(cursor + 10, hash);
    return code;
}
