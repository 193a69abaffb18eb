#include "stages/ingest/made.h"

#include "stages/ingest/readers/child.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CURSOR_VERSION = 2, KIND_MADE = 2, CURSOR_BYTES = 43, CURSOR_1_BYTES = 35 };

/* What readers are asked for, as hashes; 0: nothing. */
struct asked {
    uint32_t encoding, field;
};

struct made {
    const struct stage_env *env;
    const char *file, *name;
    struct asked asked;
    int fd;
    uint64_t file_bytes, file_hash;
    uint8_t head[SOURCE_HEAD_BYTES];
    struct child *child; /* NULL: the end was reached before */
    uint64_t offset, skip_to, skip_hash;
    bool end;
    XXH3_state_t *hash; /* of all text before offset */
};

struct place {
    uint64_t offset, hash, file_bytes, file_hash;
    bool end, says_asked; /* the cursors of before did not say what was asked */
    struct asked asked;
};

/* ---- Cursors ---- */

bool made_is_cursor(struct view cursor)
{
    size_t bytes = cursor.bytes && cursor.data[0] == 1 ? CURSOR_1_BYTES : CURSOR_BYTES;

    return cursor.bytes == bytes && cursor.data[0] >= 1 && cursor.data[0] <= CURSOR_VERSION &&
           cursor.data[1] == KIND_MADE;
}

static uint32_t hash_of(const char *name)
{
    return name ? (uint32_t)XXH3_64bits(name, strlen(name)) | 1 : 0;
}

static bool is_utf8(const char *encoding)
{
    return !strcasecmp(encoding, "UTF-8") || !strcasecmp(encoding, "UTF8") ||
           !strcasecmp(encoding, "UTF_8");
}

static struct asked asked_of(const struct config *config)
{
    const char *given = config->encoding;
    char *encoding = given ? strdup(is_utf8(given) ? "UTF-8" : given) : NULL;
    struct asked asked;

    for (char *at = encoding; at && *at; at++)
        *at = (char)toupper((unsigned char)*at); /* it is the same in capitals */
    asked = (struct asked){hash_of(encoding), hash_of(config->field)};
    free(encoding);
    return asked;
}

static enum err_code decode(struct place *place, struct view cursor, const char *file,
                            struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r), end;

    *place = (struct place){.offset = read_u64(&r)};
    place->hash = read_u64(&r);
    place->file_bytes = read_u64(&r);
    place->file_hash = read_u64(&r);
    end = read_u8(&r);
    place->end = end == 1;
    place->says_asked = version > 1;
    if (place->says_asked) {
        place->asked.encoding = read_u32(&r);
        place->asked.field = read_u32(&r);
    }
    if (!read_done(&r) || version < 1 || version > CURSOR_VERSION || kind != KIND_MADE || end > 1)
        return err_set(err, ERR_INPUT, 0, "cursor of '%s' is not one of ours", file);
    return ERR_OK;
}

static void set_cursor(struct made *m, struct piece *at)
{
    at->cursor[0] = CURSOR_VERSION;
    at->cursor[1] = KIND_MADE;
    store_u64(at->cursor + 2, m->offset);
    store_u64(at->cursor + 10, m->child ? XXH3_64bits_digest(m->hash) : m->skip_hash);
    store_u64(at->cursor + 18, m->file_bytes);
    store_u64(at->cursor + 26, m->file_hash);
    at->cursor[34] = m->end;
    store_u32(at->cursor + 35, m->asked.encoding);
    store_u32(at->cursor + 39, m->asked.field);
    at->cursor_bytes = CURSOR_BYTES;
}

static enum err_code refuse(const char *file, const char *option, const char *now, uint32_t then,
                            struct err *err)
{
    if (then)
        return err_set(err, ERR_MISMATCH, 0,
                       "'%s' was begun with %s%s: give %s as at first, or begin again with "
                       "--restart",
                       file, now ? "another " : "", option, option);
    return err_set(err, ERR_MISMATCH, 0,
                   "'%s' was begun without %s: leave that out as at first, or begin again with "
                   "--restart",
                   file, option);
}

static enum err_code compare_asked(const struct config *config, const char *file, struct asked then,
                                   struct err *err)
{
    const struct asked now = asked_of(config);

    if (then.field != now.field)
        return refuse(file, "--field", config->field, then.field, err);
    if (then.encoding != now.encoding)
        return refuse(file, "--encoding", config->encoding, then.encoding, err);
    return ERR_OK;
}

/* Does config want a reader, whatever file holds? */
static bool is_asked(const struct config *config, const char *file)
{
    return config->reader && strcmp(file, "-") &&
           (config->field || (config->encoding && !is_utf8(config->encoding)));
}

enum err_code made_check_plain(const struct config *config, const char *file, struct err *err)
{
    return is_asked(config, file) ? compare_asked(config, file, (struct asked){0, 0}, err) : ERR_OK;
}

/* ---- The file ---- */

bool made_wants(const struct config *config, const char *file)
{
    uint8_t *data;
    enum look look;
    size_t bytes;

    if (!config->reader || !strcmp(file, "-"))
        return false;
    if (is_asked(config, file))
        return true;
    look = look_at_file(file, &data, &bytes);
    free(data);
    return look != LOOK_UTF8 && !(config->encoding && look == LOOK_OTHER);
}

static enum err_code read_at(const struct made *m, uint8_t *data, size_t bytes, uint64_t offset,
                             struct err *err)
{
    while (bytes) {
        ssize_t got = pread(m->fd, data, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, ERR_SOURCE, errno, "read '%s' at byte %llu", m->file,
                           (unsigned long long)offset);
        if (!got)
            return err_set(err, ERR_CHANGED, 0,
                           "'%s' became shorter while it was read; --restart begins it again",
                           m->file);
        data += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return ERR_OK;
}

/* Its size, its head, and the hash of its first and last 64 KiB, as they are now. */
static enum err_code know_file(struct made *m, struct err *err)
{
    uint8_t *window = malloc(2 * SOURCE_WINDOW_BYTES);
    size_t bytes;
    XXH128_hash_t head;
    struct stat st;
    enum err_code code;

    if (!window)
        return err_set(err, ERR_MEMORY, 0, "window of '%s'", m->file);
    if (fstat(m->fd, &st)) {
        free(window);
        return err_set(err, ERR_SOURCE, errno, "input '%s'", m->file);
    }
    m->file_bytes = (uint64_t)st.st_size;
    bytes = m->file_bytes < SOURCE_WINDOW_BYTES ? (size_t)m->file_bytes : SOURCE_WINDOW_BYTES;
    code = read_at(m, window, bytes, 0, err);
    if (!code)
        code = read_at(m, window + bytes, bytes, m->file_bytes - bytes, err);
    if (!code) {
        m->file_hash = XXH3_64bits(window, 2 * bytes);
        head = XXH3_128bits(window, bytes);
        store_u64(m->head, head.low64);
        store_u64(m->head + 8, head.high64);
    }
    free(window);
    return code;
}

/* Is it still the file that place was made from? */
static enum err_code compare_file(const struct made *m, uint64_t bytes, uint64_t hash,
                                  struct err *err)
{
    if (m->file_bytes != bytes)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' had %llu bytes, now it has %llu: begin again with --restart", m->file,
                       (unsigned long long)bytes, (unsigned long long)m->file_bytes);
    if (m->file_hash != hash)
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' changed in its first or last 64 KiB: begin again with --restart",
                       m->file);
    return ERR_OK;
}

/* ---- Open and close ---- */

static enum err_code begin(struct made *m, struct err *err)
{
    const struct child_options options = {.program = m->env->config->reader,
                                          .file = m->file,
                                          .fd = m->fd,
                                          .encoding = m->env->config->encoding,
                                          .field = m->env->config->field};

    m->hash = XXH3_createState();
    if (!m->hash || XXH3_64bits_reset(m->hash) != XXH_OK)
        return err_set(err, ERR_MEMORY, 0, "hash of '%s'", m->file);
    return child_start(&m->child, &options, err);
}

enum err_code made_open(struct made **out, const struct stage_env *env, const char *file,
                        const char *name, struct view cursor, struct err *err)
{
    struct made *m = calloc(1, sizeof *m);
    struct place place = {.offset = 0};
    enum err_code code = ERR_OK;

    if (!m)
        return err_set(err, ERR_MEMORY, 0, "input '%s'", file);
    *m = (struct made){.env = env, .file = file, .name = name, .asked = asked_of(env->config)};
    m->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0)
        code = err_set(err, ERR_SOURCE, errno, "input '%s'", file);
    if (!code && cursor.bytes)
        code = decode(&place, cursor, file, err);
    if (!code && !env->config->reader)
        code = err_set(err, ERR_MISMATCH, 0,
                       "'%s' was read by a reader, now --plain forbids it: leave that out as at "
                       "first, or begin again with --restart",
                       file);
    if (!code && place.says_asked)
        code = compare_asked(env->config, file, place.asked, err);
    if (!code)
        code = know_file(m, err);
    if (!code && cursor.bytes)
        code = compare_file(m, place.file_bytes, place.file_hash, err);
    m->skip_to = place.offset;
    m->skip_hash = place.hash;
    m->end = place.end;
    m->offset = place.end ? place.offset : 0;
    if (!code && !m->end)
        code = begin(m, err);
    if (code) {
        made_close(&m);
        return code;
    }
    *out = m;
    return ERR_OK;
}

void made_close(struct made **made)
{
    struct made *m = *made;

    if (!m)
        return;
    child_stop(&m->child);
    if (m->fd >= 0)
        close(m->fd);
    XXH3_freeState(m->hash);
    free(m);
    *made = NULL;
}

/* ---- Reading ---- */

bool made_ready(const struct made *m)
{
    return !m->child || (child_note(m->child) && m->offset >= m->skip_to);
}

enum err_code made_opened(struct made *m, Riverrun__Fingerprints *prints, struct piece *at,
                          struct err *err)
{
    (void)err;
    prints->size_known = false;
    prints->head = proto_bytes(m->head, SOURCE_HEAD_BYTES);
    if (m->child) {
        prints->reader = proto_text(child_note(m->child));
        stage_report(m->env, STAGE_NOTE, m->name, "read as %s", child_note(m->child));
    }
    set_cursor(m, at);
    return ERR_OK;
}

static void tell_warning(struct made *m)
{
    const char *warning = child_warning(m->child);

    if (warning)
        stage_report(m->env, STAGE_WARNING, m->name, "%s", warning);
}

/* The text so far was compared: is it what was read? */
static enum err_code compare_text(const struct made *m, struct err *err)
{
    if (XXH3_64bits_digest(m->hash) == m->skip_hash)
        return ERR_OK;
    return err_set(
        err, ERR_CHANGED, 0,
        "the text of '%s' is not what was read: its first %llu bytes differ, so the file or "
        "its reader (%s) changed; --restart begins it again",
        m->file, (unsigned long long)m->skip_to, child_note(m->child));
}

/* All of the file was read: it must still be what it was when its reader began. */
static enum err_code check_end(struct made *m, struct err *err)
{
    uint64_t bytes = m->file_bytes, hash = m->file_hash;
    enum err_code code;

    if (m->offset < m->skip_to)
        return err_set(err, ERR_CHANGED, 0,
                       "the text of '%s' ended at byte %llu, before the %llu that were read; "
                       "--restart begins it again",
                       m->file, (unsigned long long)m->offset, (unsigned long long)m->skip_to);
    code = know_file(m, err);
    return code ? code : compare_file(m, bytes, hash, err);
}

/* The next bytes of the text, at most room, and its check at the end. */
static enum err_code take(struct made *m, struct piece *piece, size_t room, size_t *got,
                          struct err *err)
{
    enum err_code code = child_read(m->child, piece->buffer, room, got, &m->end, &piece->more, err);

    if (code)
        return code;
    tell_warning(m);
    XXH3_64bits_update(m->hash, piece->buffer, *got);
    m->offset += *got;
    return m->end ? check_end(m, err) : ERR_OK;
}

/* Before it is ready: what comes is compared. */
static enum err_code catch_up(struct made *m, struct piece *piece, struct err *err)
{
    uint64_t left = m->skip_to - m->offset;
    size_t got = 0;
    enum err_code code = take(m, piece, left < piece->room ? (size_t)left : piece->room, &got, err);

    if (code || m->end)
        return code;
    return got && m->offset == m->skip_to ? compare_text(m, err) : ERR_OK;
}

enum err_code made_read(struct made *m, struct piece *piece, struct err *err)
{
    size_t got = 0;
    enum err_code code;

    if (m->end) {
        piece->flags = MSG_END;
        set_cursor(m, piece);
        return ERR_OK;
    }
    if (!made_ready(m))
        return catch_up(m, piece, err);
    code = take(m, piece, piece->room, &got, err);
    if (code)
        return code;
    piece->bytes = (struct view){piece->buffer, got};
    piece->place = child_place(m->child);
    piece->flags = m->end ? MSG_END : 0;
    piece->more = piece->more && !m->end;
    if (got || m->end)
        set_cursor(m, piece);
    return ERR_OK;
}

int made_descriptor(const struct made *m)
{
    return m->child && !m->end ? child_descriptor(m->child) : -1;
}
