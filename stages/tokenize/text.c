#include "stages/tokenize/text.h"

#include "stages/tokenize/normalize.h"
#include <stdlib.h>

enum {
    CURSOR_VERSION = 2,
    CURSOR_WITHOUT_TOKENS = 1,
    BUFFER_MAX = 64 * 1024 * 1024,
    BREAKS_MAX = 8 * 1024 * 1024,
    MARK_STEP = 4096,
    LOOK_AGAIN_MAX = 4096 /* bytes that are cheaper to look at again than a reader is to keep */
};

struct start {
    uint32_t skip, skip_plain, skip_tokens;
};

static enum err_code read_cursor(struct view cursor, struct start *start, struct view *upstream,
                                 struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    uint8_t version = read_u8(&r);

    start->skip_plain = read_u16(&r);
    start->skip = read_u32(&r);
    start->skip_tokens = version == CURSOR_WITHOUT_TOKENS ? 0 : read_u32(&r);
    if (r.short_read || (version != CURSOR_VERSION && version != CURSOR_WITHOUT_TOKENS))
        return err_set(err, ERR_INPUT, 0, "cursor of %zu bytes is not tokenize's", cursor.bytes);
    *upstream = (struct view){r.at, (size_t)(r.end - r.at)};
    return ERR_OK;
}

enum err_code text_upstream(struct view cursor, struct view *upstream, struct err *err)
{
    struct start start;

    return read_cursor(cursor, &start, upstream, err);
}

enum err_code text_open(struct text *t, const struct tokenizer *tokenizer, enum normalize normalize,
                        bool line_edges, struct view cursor, struct view *upstream, struct err *err)
{
    struct start start = {0, 0, 0};
    enum err_code code = ERR_OK;

    *t = (struct text){.tokenizer = tokenizer, .normalize = normalize, .line_edges = line_edges};
    t->raw = t->plain = t->advance = buffer_of(BUFFER_MAX);
    t->breaks = t->places = buffer_of(BREAKS_MAX);
    *upstream = (struct view){NULL, 0};
    t->line_feeds = cursor.bytes > 0;
    if (cursor.bytes)
        code = read_cursor(cursor, &start, upstream, err);
    if (code)
        return code;
    t->skip = start.skip;
    t->skip_plain = start.skip_plain;
    t->skip_tokens = start.skip_tokens;
    return ERR_OK;
}

/* ---- Readers ---- */

void text_share(struct text *t, struct text_readers *readers)
{
    t->readers = readers;
}

void text_readers_close(struct text_readers *readers)
{
    while (readers->count)
        tokenizer_reader_close(&readers->idle[--readers->count]);
}

static enum err_code need_reader(struct text *t, struct err *err)
{
    if (t->reader)
        return ERR_OK;
    if (!t->readers || t->readers->count == 0)
        return tokenizer_reader_open(&t->reader, t->tokenizer, err);
    t->reader = t->readers->idle[--t->readers->count];
    tokenizer_reader_forget(t->reader);
    return ERR_OK;
}

static void give_reader_back(struct text *t)
{
    if (t->reader && t->readers && t->readers->count < TEXT_READERS_KEPT) {
        t->readers->idle[t->readers->count++] = t->reader;
        t->reader = NULL;
    }
    tokenizer_reader_close(&t->reader);
}

static struct text_place load_place(const struct text *t, size_t at)
{
    struct text_place place;

    memcpy(&place, t->places.data + at, sizeof place);
    return place;
}

/* Places that lie before what was taken: their tokens were passed over. */
static void drop_places(struct text *t)
{
    while (t->places.bytes && load_place(t, 0).at < t->taken)
        buffer_drop(&t->places, sizeof(struct text_place));
}

/* Forget the plain text that is tokens. */
static void drop_taken(struct text *t)
{
    drop_places(t);
    for (size_t i = 0; i < t->breaks.bytes; i += 8)
        store_u64(t->breaks.data + i, load_u64(t->breaks.data + i) - t->taken);
    for (size_t i = 0; i < t->places.bytes; i += sizeof(struct text_place)) {
        struct text_place place = load_place(t, i);
        place.at -= t->taken;
        memcpy(t->places.data + i, &place, sizeof place);
    }
    if (t->normalize != NORMALIZE_NONE)
        buffer_drop(&t->advance, 2 * t->taken);
    buffer_drop(&t->plain, t->taken);
    t->line_end = 0;
    t->taken = 0;
}

/* Nothing can be taken before more comes: keep what that needs, and no more. */
static void rest(struct text *t)
{
    size_t pending = t->plain.bytes - t->taken;

    if (t->readers && pending <= LOOK_AGAIN_MAX)
        give_reader_back(t);
    if (pending)
        return;
    drop_taken(t);
    buffer_release(&t->plain);
    buffer_release(&t->advance);
    t->plain = t->advance = buffer_of(BUFFER_MAX);
    t->taken = t->line_end = 0;
    if (t->raw.bytes == 0) {
        buffer_release(&t->raw);
        t->raw = buffer_of(BUFFER_MAX);
    }
}

void text_close(struct text *t)
{
    buffer_release(&t->raw);
    buffer_release(&t->plain);
    buffer_release(&t->advance);
    buffer_release(&t->breaks);
    buffer_release(&t->places);
    free(t->marks);
    t->marks = NULL;
    give_reader_back(t);
}

static bool inside_piece(const struct text *t)
{
    return t->piece_next < t->piece.count;
}

/* Where a new open would have to begin to go on from here. */
static uint64_t place(const struct text *t)
{
    return inside_piece(t) ? t->piece_source : t->source_at;
}

/* Drop the marks that no place from here on needs. */
static void prune_marks(struct text *t)
{
    size_t keep = 0;

    while (keep + 1 < t->mark_count && t->marks[keep + 1].at <= place(t))
        keep++;
    if (keep == 0)
        return;
    memmove(t->marks, t->marks + keep, (t->mark_count - keep) * sizeof *t->marks);
    t->mark_count -= keep;
}

enum err_code text_mark(struct text *t, struct view cursor, struct err *err)
{
    if (cursor.bytes > CURSOR_MAX - TEXT_CURSOR_BYTES)
        return err_set(err, ERR_LIMIT, 0, "cursor of %zu bytes", cursor.bytes);
    prune_marks(t);
    /* Of marks that lie close together behind the place the last is enough. */
    if (t->mark_count >= 2 && t->pushed - t->marks[t->mark_count - 2].at < MARK_STEP)
        t->mark_count--;
    if (t->mark_count == t->mark_room) {
        size_t room = t->mark_room ? 2 * t->mark_room : 2;
        struct text_mark *marks = realloc(t->marks, room * sizeof *marks);
        if (!marks)
            return err_set(err, ERR_MEMORY, 0, "%zu cursors", room);
        t->marks = marks;
        t->mark_room = room;
    }
    struct text_mark *mark = &t->marks[t->mark_count++];
    mark->at = t->pushed;
    mark->cursor_bytes = cursor.bytes;
    if (cursor.bytes)
        memcpy(mark->cursor, cursor.data, cursor.bytes);
    return ERR_OK;
}

/* Count bytes of plain text as passed: where does the segment of the next one begin? */
static void advance(struct text *t, size_t bytes)
{
    if (t->normalize == NORMALIZE_NONE) {
        t->source_at += bytes;
    } else {
        for (size_t i = t->taken; i < t->taken + bytes; i++) {
            uint16_t source = load_u16(t->advance.data + 2 * i);
            t->source_at += source;
            t->into = source ? 0 : t->into + 1;
        }
    }
    t->taken += bytes;
}

/* Move what the normaliser can take from raw to plain; all of it where nothing follows. */
static enum err_code normalize(struct text *t, bool end, struct err *err)
{
    struct normalize_piece piece;
    size_t done = 0, bytes;

    while (done < t->raw.bytes &&
           (bytes = normalize_next(t->raw.data + done, t->raw.bytes - done, end, &piece)) > 0) {
        uint8_t *at = buffer_add(&t->advance, 2 * piece.bytes);
        buffer_put(&t->plain, piece.data, piece.bytes);
        for (size_t i = 0; at && i < piece.bytes; i++)
            store_u16(at + 2 * i, !piece.atomic ? 1 : i + 1 == piece.bytes ? (uint16_t)bytes : 0);
        done += bytes;
    }
    buffer_drop(&t->raw, done);
    if (t->plain.refused || t->advance.refused)
        return err_set(err, ERR_MEMORY, 0, "text of %zu bytes", t->plain.bytes);
    return ERR_OK;
}

static enum err_code push_normalized(struct text *t, struct view bytes, bool end, struct err *err)
{
    enum err_code code;
    size_t skip;

    buffer_put(&t->raw, bytes.data, bytes.bytes);
    if (t->raw.refused)
        return err_set(err, ERR_MEMORY, 0, "text of %zu bytes", t->raw.bytes);
    code = normalize(t, end, err);
    skip = t->skip_plain < t->plain.bytes ? t->skip_plain : t->plain.bytes;
    if (!code && skip) {
        advance(t, skip);
        t->skip_plain -= (uint32_t)skip;
    }
    return code;
}

enum err_code text_begin_place(struct text *t, struct view place, struct err *err)
{
    struct text_place begins = {.bytes = place.bytes};

    if (!place.bytes || t->skip) /* it was told before: the open's own place is behind it */
        return ERR_OK;
    require(place.bytes <= PLACE_BYTES_MAX);
    if (t->normalize != NORMALIZE_NONE) {
        /* What came before it stands as if nothing followed. */
        enum err_code code = push_normalized(t, (struct view){NULL, 0}, true, err);
        if (code)
            return code;
    }
    if (t->skip_plain)
        return ERR_OK;
    begins.at = t->plain.bytes;
    memcpy(begins.place, place.data, place.bytes);
    buffer_put(&t->places, &begins, sizeof begins);
    if (t->places.refused)
        return err_set(err, ERR_MEMORY, 0, "text of %zu bytes", t->plain.bytes);
    return t->plain.bytes == t->taken ? ERR_OK : need_reader(t, err);
}

static void count_returns(struct text *t, struct view bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.bytes;

    while (t->returns < TEXT_RETURNS && (at = memchr(at, '\r', (size_t)(end - at)))) {
        t->returns++;
        at++;
    }
}

enum err_code text_push(struct text *t, struct view bytes, uint16_t flags, struct err *err)
{
    size_t skip = t->skip < bytes.bytes ? t->skip : bytes.bytes;
    struct view rest = {bytes.data + skip, bytes.bytes - skip};
    enum err_code code = ERR_OK;

    if (flags & MSG_BREAK && bytes.bytes == 0)
        return err_set(err, ERR_INPUT, 0, "a break behind no bytes");
    if (bytes.bytes && !t->line_feeds) {
        t->line_feeds = memchr(bytes.data, '\n', bytes.bytes);
        count_returns(t, bytes);
    }
    t->pushed += bytes.bytes;
    t->skip -= (uint32_t)skip;
    t->source_at += skip;
    t->ended = flags & MSG_END;
    drop_taken(t);
    if (t->normalize == NORMALIZE_NONE)
        buffer_put(&t->plain, rest.data, rest.bytes);
    else
        code = push_normalized(t, rest, flags & (MSG_END | MSG_BREAK), err);
    if (!code && flags & MSG_BREAK && t->plain.bytes > t->taken)
        buffer_u64(&t->breaks, t->plain.bytes);
    if (!code && (t->plain.refused || t->breaks.refused))
        code = err_set(err, ERR_MEMORY, 0, "text of %zu bytes", t->plain.bytes);
    return code || t->plain.bytes == t->taken ? code : need_reader(t, err);
}

/* Where a place begins that the next token does not; SIZE_MAX: none is known. */
static size_t next_place(const struct text *t)
{
    for (size_t i = 0; i < t->places.bytes; i += sizeof(struct text_place))
        if (load_place(t, i).at > t->taken)
            return (size_t)load_place(t, i).at;
    return SIZE_MAX;
}

/* How much of plain the next token may see, and whether nothing follows that. */
static size_t visible(struct text *t, bool *end)
{
    size_t stop = t->breaks.bytes ? (size_t)load_u64(t->breaks.data) : t->plain.bytes;
    size_t place = next_place(t);

    *end = t->breaks.bytes || place <= stop || (t->ended && t->raw.bytes == 0);
    stop = place < stop ? place : stop;
    if (!t->line_edges)
        return stop - t->taken;
    if (t->line_end <= t->taken) {
        const uint8_t *from = t->plain.data + t->taken;
        const uint8_t *line = memchr(from, '\n', t->plain.bytes - t->taken);
        t->line_end = line ? (size_t)(line - t->plain.data) + 1 : SIZE_MAX;
    }
    if (t->line_end > stop)
        return stop - t->taken;
    *end = true;
    return t->line_end - t->taken;
}

/* Has a break been reached? It is told once. */
static bool pass_break(struct text *t)
{
    if (!t->breaks.bytes || inside_piece(t) || load_u64(t->breaks.data) > t->taken)
        return false;
    buffer_drop(&t->breaks, 8);
    return true;
}

bool text_broke(const struct text *t)
{
    return t->broke;
}

/* The next token of the piece at hand. */
static void take(struct text *t, struct text_token *token)
{
    const struct tokenizer_token *one = &t->piece.tokens[t->piece_next++];
    uint64_t before = t->source_at;

    advance(t, one->source_bytes);
    token->id = one->id;
    token->source_bytes = (uint32_t)(t->source_at - before);
    token->text = t->piece.text + t->piece_text;
    token->text_bytes = one->text_bytes;
    t->piece_text += one->text_bytes;
}

bool text_at_place(const struct text *t)
{
    return t->places.bytes && !inside_piece(t) && load_place(t, 0).at == t->taken;
}

/* The places that begin with the piece become its first token's. */
static void take_places(struct text *t, struct text_token *token)
{
    while (t->places.bytes && load_place(t, 0).at <= t->taken) {
        struct text_place begins = load_place(t, 0);
        token->place_bytes =
            msg_place_join(token->place, (struct view){token->place, token->place_bytes},
                           (struct view){begins.place, begins.bytes});
        buffer_drop(&t->places, sizeof begins);
    }
}

bool text_take(struct text *t, struct text_token *token)
{
    bool end;
    size_t room;

    t->broke = false;
    token->place_bytes = 0;
    while (!inside_piece(t)) {
        /* Without a reader it was asked before, and nothing came since. */
        room = t->reader && t->taken < t->plain.bytes ? visible(t, &end) : 0;
        if (!room || !tokenizer_next(t->reader, t->plain.data + t->taken, room, end, &t->piece)) {
            rest(t);
            return false;
        }
        t->piece_source = t->source_at;
        t->piece_into = t->into;
        t->piece_next = t->piece_text = 0;
        t->repaired += t->piece.repaired;
        t->forced += t->piece.forced;
        take_places(t, token);
        if (t->skip_tokens)
            token->place_bytes = 0; /* it was told before */
        for (; t->skip_tokens && inside_piece(t); t->skip_tokens--)
            take(t, token);
        t->skip_tokens = 0;
        (void)pass_break(t); /* behind what was read before, all of it */
    }
    take(t, token);
    t->broke = pass_break(t);
    return true;
}

bool text_done(const struct text *t)
{
    return t->ended && t->raw.bytes == 0 && t->taken == t->plain.bytes && !inside_piece(t);
}

enum err_code text_cursor(const struct text *t, struct buffer *out, struct err *err)
{
    const struct text_mark *mark = t->marks;
    uint64_t at = place(t);

    require(t->mark_count > 0 && mark->at <= at);
    while (mark + 1 < t->marks + t->mark_count && mark[1].at <= at)
        mark++;
    buffer_u8(out, CURSOR_VERSION);
    buffer_u16(out, (uint16_t)(inside_piece(t) ? t->piece_into : t->into));
    buffer_u32(out, (uint32_t)(at - mark->at));
    buffer_u32(out, (uint32_t)(inside_piece(t) ? t->piece_next : 0));
    buffer_put(out, mark->cursor, mark->cursor_bytes);
    if (out->refused)
        return err_set(err, ERR_LIMIT, 0, "cursor of %zu bytes", mark->cursor_bytes);
    return ERR_OK;
}
