#include "schemas/msg.h"

#include <stdlib.h>

enum { VERSION = 3 };

/* ---- Places ---- */

size_t msg_place_write(uint8_t out[PLACE_BYTES_MAX], const struct msg_place *place)
{
    struct view name = place->name;

    while (name.bytes > PLACE_TEXT_MAX ||
           (name.bytes < place->name.bytes && name.bytes &&
            (name.data[0] & 0xC0) == 0x80)) { /* not inside a character */
        name.data++;
        name.bytes--;
    }
    out[0] = place->heading;
    if (name.bytes)
        memcpy(out + 1, name.data, name.bytes);
    return 1 + name.bytes;
}

enum err_code msg_place_read(struct msg_place *out, struct view bytes, struct err *err)
{
    if (bytes.bytes < 1 || bytes.bytes > PLACE_BYTES_MAX ||
        bytes.data[0] > (PLACE_TITLE | PLACE_MARKDOWN | PLACE_ALONE))
        return err_set(err, ERR_INPUT, 0, "a place of %zu bytes is not ours", bytes.bytes);
    *out = (struct msg_place){.heading = bytes.data[0], .name = {bytes.data + 1, bytes.bytes - 1}};
    return ERR_OK;
}

size_t msg_place_join(uint8_t out[PLACE_BYTES_MAX], struct view first, struct view second)
{
    struct msg_place a = {.heading = 0}, b = {.heading = 0};
    uint8_t joined[PLACE_BYTES_MAX];
    size_t bytes;

    if (first.bytes)
        require(!msg_place_read(&a, first, NULL));
    if (second.bytes)
        require(!msg_place_read(&b, second, NULL));
    if (!b.name.bytes) {
        b.name = a.name;
        b.heading |= a.heading & PLACE_MARKDOWN;
    }
    b.heading |= a.heading & PLACE_ALONE; /* a place within the document that begins */
    if (!(b.heading & PLACE_TITLE))
        b.heading |= a.heading & PLACE_TITLE;
    bytes = msg_place_write(joined, &b);
    memcpy(out, joined, bytes);
    return bytes;
}

/* ---- Messages ---- */

enum err_code msg_make(struct msg **out, const struct frame *f, uint8_t **payload, struct err *err)
{
    size_t place = f->place.bytes ? 1 + f->place.bytes : 0;
    size_t bytes = MSG_HEADER_BYTES + f->cursor.bytes + place + f->payload.bytes;
    struct msg *msg;
    uint8_t *at;

    if (f->cursor.bytes > CURSOR_MAX || f->place.bytes > PLACE_BYTES_MAX ||
        f->payload.bytes > MSG_BYTES_MAX || bytes > MSG_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "message of %zu bytes", bytes);
    msg = malloc(sizeof *msg);
    at = malloc(bytes);
    if (!msg || !at) {
        free(msg);
        free(at);
        return err_set(err, ERR_MEMORY, 0, "message of %zu bytes", bytes);
    }
    *msg = (struct msg){.bytes = bytes, .data = at};
    memset(at, 0, MSG_HEADER_BYTES);
    store_u16(at, (uint16_t)f->kind);
    store_u16(at + 2, VERSION);
    store_u64(at + 16, f->stream);
    store_u64(at + 24, f->epoch);
    store_u64(at + 32, f->position);
    store_u32(at + 40, f->count);
    store_u16(at + 44, place ? f->flags | MSG_PLACE : f->flags & ~MSG_PLACE);
    store_u16(at + 46, (uint16_t)f->cursor.bytes);
    store_u32(at + 48, (uint32_t)(place + f->payload.bytes));
    at += MSG_HEADER_BYTES;
    if (f->cursor.bytes)
        memcpy(at, f->cursor.data, f->cursor.bytes);
    at += f->cursor.bytes;
    if (place) {
        at[0] = (uint8_t)f->place.bytes;
        memcpy(at + 1, f->place.data, f->place.bytes);
        at += place;
    }
    if (f->payload.bytes && f->payload.data)
        memcpy(at, f->payload.data, f->payload.bytes);
    if (payload)
        *payload = at;
    *out = msg;
    return ERR_OK;
}

void msg_free(struct msg **msg)
{
    if (!*msg)
        return;
    if ((*msg)->release)
        (*msg)->release((*msg)->owner);
    else
        free((*msg)->data);
    free(*msg);
    *msg = NULL;
}

/* Take the place off the payload. */
static enum err_code read_place(struct frame *f, struct err *err)
{
    struct reader r = reader_of(f->payload.data, f->payload.bytes);
    struct msg_place place;

    f->place.bytes = read_u8(&r);
    f->place.data = read_bytes(&r, f->place.bytes);
    f->payload = (struct view){r.at, (size_t)(r.end - r.at)};
    if (!f->place.data || f->count == 0 || (f->kind != MSG_BYTES && f->kind != MSG_TOKENS))
        return err_set(err, ERR_INPUT, 0, "a place where none can be");
    return msg_place_read(&place, f->place, err);
}

enum err_code msg_read(const struct msg *msg, struct frame *f, struct err *err)
{
    struct reader r = reader_of(msg->data, msg->bytes);
    uint16_t kind = read_u16(&r), version = read_u16(&r);
    struct frame got = {.kind = kind};

    read_bytes(&r, 12); /* the link's own fields */
    got.stream = read_u64(&r);
    got.epoch = read_u64(&r);
    got.position = read_u64(&r);
    got.count = read_u32(&r);
    got.flags = read_u16(&r);
    got.cursor.bytes = read_u16(&r);
    got.payload.bytes = read_u32(&r);
    read_u32(&r);
    if (r.short_read || kind < MSG_BYTES || kind > MSG_LINK)
        return err_set(err, ERR_INPUT, 0, "message of %zu bytes, kind %u: not ours", msg->bytes,
                       kind);
    if (version != VERSION)
        return err_set(err, ERR_VERSION, 0, "message of version %u; this program speaks %d",
                       version, VERSION);
    got.cursor.data = read_bytes(&r, got.cursor.bytes);
    got.payload.data = read_bytes(&r, got.payload.bytes);
    if (!read_done(&r) || got.cursor.bytes > CURSOR_MAX || msg->bytes > MSG_BYTES_MAX)
        return err_set(err, ERR_INPUT, 0, "message of %zu bytes: lengths do not add up",
                       msg->bytes);
    if (got.flags & MSG_PLACE) {
        enum err_code code = read_place(&got, err);
        if (code)
            return code;
    }
    if (kind == MSG_BYTES && got.count != got.payload.bytes)
        return err_set(err, ERR_INPUT, 0, "bytes message counts %u, holds %zu", got.count,
                       got.payload.bytes);
    *f = got;
    return ERR_OK;
}

enum err_code msg_read_tokens(const struct frame *f, struct frame_tokens *tokens, struct err *err)
{
    struct reader r = reader_of(f->payload.data, f->payload.bytes);
    struct frame_tokens got;
    size_t sum = 0;

    if (f->kind != MSG_TOKENS || f->count > MSG_TOKENS_MAX)
        return err_set(err, ERR_INPUT, 0, "token message of %u tokens", f->count);
    got.ids = read_bytes(&r, 4 * (size_t)f->count);
    got.source = read_bytes(&r, 4 * (size_t)f->count);
    got.text = read_bytes(&r, 2 * (size_t)f->count);
    if (r.short_read)
        return err_set(err, ERR_INPUT, 0, "token message of %u tokens is too short", f->count);
    for (uint32_t i = 0; i < f->count; i++)
        sum += load_u16(got.text + 2 * i);
    got.text_bytes = sum;
    got.bytes = read_bytes(&r, sum);
    if (!read_done(&r))
        return err_set(err, ERR_INPUT, 0, "token message: text lengths do not add up");
    *tokens = got;
    return ERR_OK;
}
