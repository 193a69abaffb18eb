/* Cursors, and the text behind them: the input begins with settings and the length of a cursor, which
 * is given to tokenize and what is in it to ingest, of files that stay and of those that are followed (with
 * the rows of their journal); what follows is source text in odd pushes. */
#include "stages/ingest/segment.h"
#include "stages/ingest/source.h"
#include "stages/tokenize/text.h"
#include "tests/fuzz/fuzz.h"

static struct tokenizer *tokenizer;

static void read_source(const uint8_t *data, size_t bytes, struct view cursor)
{
    struct source s;
    uint8_t room[1000], again[SOURCE_CURSOR_BYTES];
    struct err err;
    char path[64];
    size_t got;
    bool end = false;
    int fd;

    fuzz_file(data, bytes, &fd, path);
    if (!source_open(&s, path, cursor, &err)) {
        require(s.offset <= bytes);
        while (!end && !source_read(&s, room, sizeof room, &got, &end, &err))
            fuzz_touch(room, got);
        require(!source_cursor(&s, again, &err));
        source_close(&s);
    }
    close(fd);
}

/* What is taken for a cursor or a row is one, bit by bit; a file is looked at where it says. */
static void read_segment(const uint8_t *data, size_t bytes, struct view cursor)
{
    uint8_t again[SEGMENT_ROW_BYTES], room[1000];
    struct segment_place place = {.offset = bytes};
    struct segment_row row;
    struct segment_file file;
    struct err err;
    char path[64];
    size_t got;
    int fd;

    if (!segment_row_decode(&row, cursor, &err)) {
        segment_row_encode(&row, again);
        require(!memcmp(again, cursor.data, SEGMENT_ROW_BYTES));
    }
    if (!segment_cursor_decode(&place, cursor, &err)) {
        segment_cursor_encode(&place, again);
        require(!memcmp(again, cursor.data, SEGMENT_CURSOR_BYTES));
    }
    fuzz_file(data, bytes, &fd, path);
    require(segment_file_open(&file, path, true));
    (void)segment_file_holds(&file, &place.name, place.offset, place.tail);
    if (!segment_file_read(&file, room, sizeof room, place.offset % 4096, &got, &err))
        fuzz_touch(room, got);
    segment_file_close(&file);
    close(fd);
}

static void take_all(struct text *t, uint64_t *source)
{
    struct text_token token;
    struct buffer cursor;
    struct err err;

    while (text_take(t, &token)) {
        require(token.text_bytes > 0);
        fuzz_touch(token.text, token.text_bytes);
        *source += token.source_bytes;
        cursor = buffer_of(CURSOR_MAX);
        require(!text_cursor(t, &cursor, &err));
        buffer_release(&cursor);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct view cursor, upstream;
    struct text t;
    struct err err;
    uint64_t source = 0, skip;
    size_t step;

    if (!tokenizer)
        require(!tokenizer_open_bytes(&tokenizer, &err));
    if (bytes < 3)
        return 0;
    cursor = (struct view){data + 3, data[1] < bytes - 3 ? data[1] : bytes - 3};
    step = 1 + data[2] % 64u;
    if (text_open(&t, tokenizer, data[0] & 1 ? NORMALIZE_NFC : NORMALIZE_NONE, data[0] & 2, cursor,
                  &upstream, &err)) {
        text_close(&t);
        upstream = cursor;
    } else {
        skip = t.skip;
        if (!text_mark(&t, upstream, &err)) {
            const uint8_t *at = cursor.data + cursor.bytes, *end = data + bytes;
            uint64_t whole = (uint64_t)(end - at);
            bool last = false;
            while (!last) {
                size_t count = (size_t)(end - at) < step ? (size_t)(end - at) : step;
                last = count == (size_t)(end - at);
                require(!text_push(&t, (struct view){at, count},
                                   (last ? MSG_END : 0) | (data[0] & 4 && count ? MSG_BREAK : 0),
                                   &err));
                require(!text_mark(&t, (struct view){(const uint8_t *)"m", 1}, &err));
                take_all(&t, &source);
                at += count;
            }
            /* All of the source is in tokens, but for what the cursor passed over. */
            if (!t.skip_plain && !t.skip)
                require(text_done(&t) && source <= whole && source + skip <= whole + skip);
        }
        text_close(&t);
    }
    read_source(cursor.data + cursor.bytes, bytes - 3 - cursor.bytes, upstream);
    read_segment(cursor.data + cursor.bytes, bytes - 3 - cursor.bytes, upstream);
    return 0;
}
