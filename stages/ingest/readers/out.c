#include "stages/ingest/readers/out.h"

#include "stages/ingest/readers/confine.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static enum err_code put(int fd, const uint8_t *data, size_t bytes, struct err *err)
{
    while (bytes && fd >= 0) {
        ssize_t done = write(fd, data, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_set(err, ERR_SYSTEM, errno, "a reader's pipe");
        data += done;
        bytes -= (size_t)done;
    }
    return ERR_OK;
}

static enum err_code put_frame(struct out *out, enum frame_of_reader kind, const void *data,
                               size_t bytes, struct err *err)
{
    uint8_t head[READER_HEAD_BYTES] = {(uint8_t)kind};
    enum err_code code;

    store_u32(head + 1, (uint32_t)bytes);
    code = put(out->fd, head, sizeof head, err);
    return code ? code : put(out->fd, data, bytes, err);
}

static enum err_code flush(struct out *out, struct err *err)
{
    enum err_code code = ERR_OK;

    if (out->bytes)
        code = put_frame(out, READER_TEXT, out->text, out->bytes, err);
    out->bytes = 0;
    confine_got_on();
    return code;
}

enum err_code out_text(struct out *out, const void *text, size_t bytes, struct err *err)
{
    const uint8_t *at = text;
    enum err_code code = ERR_OK;

    require(out->noted);
    out->all += bytes;
    while (bytes && !code) {
        size_t room = sizeof out->text - out->bytes, one = bytes < room ? bytes : room;
        memcpy(out->text + out->bytes, at, one);
        out->bytes += one;
        at += one;
        bytes -= one;
        if (out->bytes == sizeof out->text)
            code = flush(out, err);
    }
    return code;
}

enum err_code out_words(struct out *out, enum frame_of_reader kind, const char *words,
                        struct err *err)
{
    char all[READER_WORDS_MAX + 1];
    enum err_code code = flush(out, err);

    if (out->inside[0] && kind == READER_NOTE)
        return code;
    require(kind != READER_NOTE || !out->noted);
    out->noted = out->noted || kind == READER_NOTE;
    snprintf(all, sizeof all, "%s%s%s", out->inside, out->inside[0] ? ": " : "", words);
    return code ? code : put_frame(out, kind, all, strlen(all), err);
}

enum err_code out_place(struct out *out, const struct msg_place *place, struct err *err)
{
    uint8_t bytes[PLACE_BYTES_MAX];
    char name[2 * PLACE_TEXT_MAX + 3];
    struct msg_place whole = *place;
    enum err_code code = flush(out, err);
    size_t count;

    if (out->inside[0] && place->name.bytes) {
        snprintf(name, sizeof name, "%s: %.*s", out->inside, (int)place->name.bytes,
                 (const char *)place->name.data);
        whole.name = (struct view){(const uint8_t *)name, strlen(name)};
    }
    count = msg_place_write(bytes, &whole);
    require(out->noted);
    return code ? code : put_frame(out, READER_PLACE, bytes, count, err);
}

enum err_code out_enter(struct out *out, const char *name, struct err *err)
{
    uint8_t bytes[PLACE_BYTES_MAX];
    size_t count = msg_place_write(
        bytes, &(struct msg_place){PLACE_ALONE, {(const uint8_t *)name, strlen(name)}});
    struct msg_place place;
    enum err_code code;

    require(!msg_place_read(&place, (struct view){bytes, count}, NULL));
    code = out_place(out, &place, err);
    memcpy(out->inside, place.name.data, place.name.bytes); /* as much as a place keeps */
    out->inside[place.name.bytes] = 0;
    return code;
}

void out_leave(struct out *out)
{
    out->inside[0] = 0;
}

enum err_code out_end(struct out *out, struct err *err)
{
    enum err_code code = flush(out, err);

    return code ? code : put_frame(out, READER_END, NULL, 0, err);
}
