#include "schemas/export.h"

#include <stdio.h>
#include <xxhash.h>

static const uint8_t magic[8] = EXPORT_MAGIC;

enum { VERSION_AT = 8, LEAST_BYTES = EXPORT_HEAD_BYTES + 8 + 8 };

/* ---- Writing ---- */

struct writing {
    export_write_fn *write;
    void *user;
    XXH3_state_t *whole;
};

static enum err_code put(struct writing *w, const void *data, size_t bytes, struct err *err)
{
    if (bytes == 0)
        return ERR_OK;
    XXH3_64bits_update(w->whole, data, bytes);
    return w->write(w->user, data, bytes, err);
}

static enum err_code put_u64(struct writing *w, uint64_t value, struct err *err)
{
    uint8_t bytes[8];

    store_u64(bytes, value);
    return put(w, bytes, sizeof bytes, err);
}

static enum err_code put_all(struct writing *w, const struct exported *e, struct err *err)
{
    uint8_t head[EXPORT_HEAD_BYTES];
    enum err_code code;

    memcpy(head, magic, sizeof magic);
    store_u32(head + VERSION_AT, EXPORT_VERSION);
    store_u32(head + 12, (uint32_t)e->piece_count);
    store_u32(head + 16, (uint32_t)e->name.bytes);
    store_u32(head + 20, (uint32_t)e->point.bytes);
    code = put(w, head, sizeof head, err);
    if (!code)
        code = put(w, e->name.data, e->name.bytes, err);
    if (!code)
        code = put(w, e->point.data, e->point.bytes, err);
    if (!code)
        code = put_u64(w, XXH3_64bits_digest(w->whole), err);
    for (size_t i = 0; i < e->piece_count && !code; i++) {
        struct view piece = e->pieces[i];
        code = put_u64(w, piece.bytes, err);
        if (!code)
            code = put(w, piece.data, piece.bytes, err);
        if (!code)
            code = put_u64(w, XXH3_64bits_withSeed(piece.data, piece.bytes, i + 1), err);
    }
    return code ? code : put_u64(w, XXH3_64bits_digest(w->whole), err);
}

enum err_code export_write(const struct exported *e, export_write_fn *write, void *user,
                           struct err *err)
{
    struct writing w = {write, user, XXH3_createState()};
    enum err_code code;

    if (e->piece_count == 0 || e->piece_count > EXPORT_PIECES_MAX || e->name.bytes == 0 ||
        e->name.bytes > EXPORT_NAME_MAX || e->point.bytes > EXPORT_POINT_MAX)
        code = err_set(err, ERR_LIMIT, 0, "an export of %zu pieces, a name of %zu bytes",
                       e->piece_count, e->name.bytes);
    else if (!w.whole)
        code = err_set(err, ERR_MEMORY, 0, "export");
    else {
        XXH3_64bits_reset(w.whole);
        code = put_all(&w, e, err);
    }
    XXH3_freeState(w.whole);
    return code;
}

/* ---- Reading ---- */

static enum err_code damaged(const char *what, uint64_t at, struct err *err)
{
    return err_set(
        err, ERR_DAMAGED, 0,
        "the export is damaged: %s at byte %llu; nothing was taken from it: copy it again", what,
        (unsigned long long)at);
}

static bool take_view(struct reader *r, uint64_t bytes, struct view *out)
{
    const uint8_t *at = bytes <= (uint64_t)(r->end - r->at) ? read_bytes(r, (size_t)bytes) : NULL;

    *out = (struct view){at, at ? (size_t)bytes : 0};
    return at != NULL;
}

static enum err_code read_head(struct view file, struct reader *r, struct exported *e,
                               struct err *err)
{
    uint32_t name_bytes, point_bytes;
    size_t head;

    read_bytes(r, VERSION_AT + 4);
    e->piece_count = read_u32(r);
    name_bytes = read_u32(r);
    point_bytes = read_u32(r);
    if (e->piece_count == 0 || e->piece_count > EXPORT_PIECES_MAX || name_bytes == 0 ||
        name_bytes > EXPORT_NAME_MAX || point_bytes > EXPORT_POINT_MAX ||
        !take_view(r, name_bytes, &e->name) || !take_view(r, point_bytes, &e->point))
        return damaged("its head", 0, err);
    head = (size_t)(r->at - file.data);
    if (read_u64(r) != XXH3_64bits(file.data, head) || r->short_read)
        return damaged("its head", 0, err);
    return ERR_OK;
}

static enum err_code read_pieces(struct view file, struct reader *r, struct view *pieces,
                                 size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)(r->at - file.data);
        char what[48];
        bool whole = take_view(r, read_u64(r), &pieces[i]);
        uint64_t checksum = read_u64(r);
        if (whole && !r->short_read &&
            checksum == XXH3_64bits_withSeed(pieces[i].data, pieces[i].bytes, i + 1))
            continue;
        snprintf(what, sizeof what, i ? "part %zu of the state" : "its metadata", i - 1);
        return damaged(what, at, err);
    }
    return ERR_OK;
}

enum err_code export_read(struct view file, struct view *pieces, struct exported *e,
                          struct err *err)
{
    struct reader r = reader_of(file.data, file.bytes);
    struct exported found = {.pieces = pieces};
    uint32_t version;
    bool whole;
    enum err_code code;

    if (file.bytes < sizeof magic || memcmp(file.data, magic, sizeof magic) != 0)
        return err_set(err, ERR_INPUT, 0, "that is no export of a stream");
    if (file.bytes < LEAST_BYTES)
        return damaged("its end is missing", file.bytes, err);
    version = load_u32(file.data + VERSION_AT);
    whole = load_u64(file.data + file.bytes - 8) == XXH3_64bits(file.data, file.bytes - 8);
    if (version > EXPORT_VERSION && whole)
        return err_set(err, ERR_VERSION, 0,
                       "the export has version %u, made by a newer program; this one knows %d",
                       (unsigned)version, EXPORT_VERSION);
    if (version != EXPORT_VERSION)
        return damaged("its version", VERSION_AT, err);
    code = read_head(file, &r, &found, err);
    if (!code)
        code = read_pieces(file, &r, pieces, found.piece_count, err);
    if (code)
        return code;
    if (!whole || r.end - r.at != 8)
        return damaged("its end", (uint64_t)(r.at - file.data), err);
    *e = found;
    return ERR_OK;
}
