#include "stages/ingest/readers/out.h"

#include "stages/ingest/readers/confine.h"

#include <errno.h>
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
    size_t bytes = strlen(words);
    enum err_code code = flush(out, err);

    require(kind != READER_NOTE || !out->noted);
    out->noted = out->noted || kind == READER_NOTE;
    if (bytes > READER_WORDS_MAX)
        bytes = READER_WORDS_MAX;
    return code ? code : put_frame(out, kind, words, bytes, err);
}

enum err_code out_place(struct out *out, const struct msg_place *place, struct err *err)
{
    uint8_t bytes[PLACE_BYTES_MAX];
    size_t count = msg_place_write(bytes, place);
    enum err_code code = flush(out, err);

    require(out->noted);
    return code ? code : put_frame(out, READER_PLACE, bytes, count, err);
}

enum err_code out_end(struct out *out, struct err *err)
{
    enum err_code code = flush(out, err);

    return code ? code : put_frame(out, READER_END, NULL, 0, err);
}
