#include "stages/ingest/segment.h"

#include "stages/ingest/packed.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    VERSION = 1,
    CURSOR_OPEN_LINE = 1,
    ROW_BEFORE = 1,
    ROW_NEWLINE = 2,
    NAME_BYTES = 40,
};

uint64_t segment_hash(const uint8_t *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

/* ---- Cursors and rows ---- */

static void put_name(uint8_t *at, const struct segment_name *name)
{
    store_u64(at, name->id.device);
    store_u64(at + 8, name->id.inode);
    store_u64(at + 16, name->id.birth_s);
    store_u32(at + 24, name->id.birth_ns);
    store_u32(at + 28, name->head_bytes);
    store_u64(at + 32, name->head_hash);
}

static bool get_name(struct reader *r, struct segment_name *name)
{
    name->id.device = read_u64(r);
    name->id.inode = read_u64(r);
    name->id.birth_s = read_u64(r);
    name->id.birth_ns = read_u32(r);
    name->head_bytes = read_u32(r);
    name->head_hash = read_u64(r);
    return name->head_bytes <= SEGMENT_WINDOW_BYTES;
}

void segment_cursor_encode(const struct segment_place *place, uint8_t cursor[SEGMENT_CURSOR_BYTES])
{
    cursor[0] = VERSION;
    cursor[1] = SEGMENT_CURSOR_KIND;
    cursor[2] = place->open_line ? CURSOR_OPEN_LINE : 0;
    store_u64(cursor + 3, place->number);
    store_u64(cursor + 11, place->offset);
    put_name(cursor + 19, &place->name);
    store_u64(cursor + 19 + NAME_BYTES, place->tail);
}

enum err_code segment_cursor_decode(struct segment_place *out, struct view cursor, struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    struct segment_place place;
    uint8_t version = read_u8(&r), kind = read_u8(&r), flags = read_u8(&r);
    bool good = version == VERSION && kind == SEGMENT_CURSOR_KIND && flags <= CURSOR_OPEN_LINE;

    place.open_line = flags & CURSOR_OPEN_LINE;
    place.number = read_u64(&r);
    place.offset = read_u64(&r);
    good = get_name(&r, &place.name) && good;
    place.tail = read_u64(&r);
    /* The numbers of segments and places in them go up from here, and must not wrap. */
    if (!read_done(&r) || !good || place.number > UINT64_MAX / 2 || place.offset > INT64_MAX / 2 ||
        (place.offset && !place.name.id.inode))
        return err_set(err, ERR_INPUT, 0, "not a cursor of a file that is followed");
    *out = place;
    return ERR_OK;
}

void segment_row_encode(const struct segment_row *row, uint8_t bytes[SEGMENT_ROW_BYTES])
{
    bytes[0] = VERSION;
    bytes[1] = (uint8_t)((row->has_before ? ROW_BEFORE : 0) | (row->newline ? ROW_NEWLINE : 0));
    store_u64(bytes + 2, row->number);
    put_name(bytes + 10, &row->name);
    put_name(bytes + 10 + NAME_BYTES, &row->before);
    store_u64(bytes + 10 + 2 * NAME_BYTES, row->before_end);
    store_u64(bytes + 18 + 2 * NAME_BYTES, row->before_tail);
}

enum err_code segment_row_decode(struct segment_row *out, struct view bytes, struct err *err)
{
    struct reader r = reader_of(bytes.data, bytes.bytes);
    struct segment_row row;
    uint8_t version = read_u8(&r), flags = read_u8(&r);
    bool good = version == VERSION && flags <= (ROW_BEFORE | ROW_NEWLINE);

    row.has_before = flags & ROW_BEFORE;
    row.newline = flags & ROW_NEWLINE;
    row.number = read_u64(&r);
    good = get_name(&r, &row.name) && good;
    good = get_name(&r, &row.before) && good;
    row.before_end = read_u64(&r);
    row.before_tail = read_u64(&r);
    if (!read_done(&r) || !good || row.number > UINT64_MAX / 2 ||
        (row.has_before && row.number == 0))
        return err_set(err, ERR_DAMAGED, 0, "a row of segments in the journal is not well-formed");
    *out = row;
    return ERR_OK;
}

/* ---- Files ---- */

static bool facts(int fd, const char *path, int flags, struct file_facts *out)
{
    struct statx st;

    if (statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &st))
        return false;
    *out =
        (struct file_facts){.id = {makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino, 0, 0},
                            .bytes = st.stx_size,
                            .mtime_s = (uint64_t)st.stx_mtime.tv_sec,
                            .mtime_ns = st.stx_mtime.tv_nsec,
                            .regular = S_ISREG(st.stx_mode),
                            .linked = st.stx_nlink > 0};
    if (st.stx_mask & STATX_BTIME) {
        out->id.birth_s = (uint64_t)st.stx_btime.tv_sec;
        out->id.birth_ns = st.stx_btime.tv_nsec;
    }
    return true;
}

bool facts_of_descriptor(int fd, struct file_facts *out)
{
    return facts(fd, "", AT_EMPTY_PATH, out);
}

bool facts_of_path(const char *path, struct file_facts *out)
{
    return facts(AT_FDCWD, path, 0, out);
}

bool segment_file_open(struct segment_file *out, const char *path, bool plain)
{
    struct segment_file file = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    struct file_facts is;
    int cause;

    if (file.fd < 0)
        return false;
    cause = !facts_of_descriptor(file.fd, &is) ? errno : is.regular ? 0 : EISDIR;
    if (!cause && !plain && packed_is(file.fd) && packed_open(&file.packed, file.fd, NULL))
        cause = ENOMEM;
    if (cause) {
        close(file.fd);
        errno = cause;
        return false;
    }
    file.id = is.id;
    *out = file;
    return true;
}

void segment_file_close(struct segment_file *file)
{
    packed_close(&file->packed);
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* A lease to read is given where nobody writes. Should somebody come to write before it is given back, the signal is
 * one that is ignored. */
bool segment_file_is_left(const struct segment_file *file)
{
    if (fcntl(file->fd, F_SETSIG, SIGURG) || fcntl(file->fd, F_SETLEASE, F_RDLCK))
        return false;
    return fcntl(file->fd, F_SETLEASE, F_UNLCK) == 0;
}

enum err_code segment_file_read(struct segment_file *file, uint8_t *data, size_t count,
                                uint64_t offset, size_t *got, struct err *err)
{
    size_t done = 0;

    if (file->packed)
        return packed_read(file->packed, data, count, offset, got, err);
    while (done < count) {
        ssize_t more = pread(file->fd, data + done, count - done, (off_t)(offset + done));
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return err_set(err, ERR_SOURCE, errno, "read a followed file");
        if (more == 0)
            break;
        done += (size_t)more;
    }
    *got = done;
    return ERR_OK;
}

static bool holds_at(struct segment_file *file, uint64_t offset, size_t count, uint64_t hash)
{
    uint8_t *window = malloc(SEGMENT_WINDOW_BYTES);
    size_t got;
    bool holds = window && !segment_file_read(file, window, count, offset, &got, NULL) &&
                 got == count && segment_hash(window, count) == hash;

    free(window);
    return holds;
}

bool segment_file_holds(struct segment_file *file, const struct segment_name *name, uint64_t offset,
                        uint64_t tail)
{
    size_t before = offset < SEGMENT_WINDOW_BYTES ? (size_t)offset : SEGMENT_WINDOW_BYTES;

    return holds_at(file, 0, name->head_bytes, name->head_hash) &&
           holds_at(file, offset - before, before, tail);
}

bool segment_file_ends(struct segment_file *file, uint64_t bytes)
{
    uint8_t last[2];
    size_t want = bytes ? 2 : 1, got = 0;

    return !segment_file_read(file, last, want, bytes ? bytes - 1 : 0, &got, NULL) &&
           got == want - 1;
}
