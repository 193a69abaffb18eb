#include "stages/ingest/readers/shape.h"

static void put(struct shape *s, const void *text, size_t bytes)
{
    if (!s->err.code && out_text(s->out, text, bytes, &s->err))
        s->begun = true;
}

static void say_place(struct shape *s)
{
    struct msg_place place;

    require(!msg_place_read(&place, (struct view){s->place, s->place_bytes}, NULL));
    if (!s->err.code && !out_place(s->out, &place, &s->err))
        s->marked = false;
}

/* What is owed before a character of the text. */
static void pay(struct shape *s)
{
    if (s->gap && s->begun)
        put(s, "\n\n\n\n", (size_t)s->gap);
    else if (s->blank)
        put(s, &s->blank, 1);
    s->gap = 0;
    s->blank = 0;
    if (s->marked)
        say_place(s);
    s->marked = false;
    if (s->held)
        put(s, s->hold, s->held);
    s->held = 0;
    s->in_line = s->begun = true;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r' || byte == '\f';
}

static void put_blank(struct shape *s, char byte)
{
    if (!s->verbatim) {
        if (s->in_line && !s->blank)
            s->blank = ' ';
    } else if (byte == '\n') {
        s->in_line = false;
        s->gap += s->gap < 4;
    } else if (byte != '\r') {
        pay(s);
        put(s, &byte, 1);
    }
}

/* How many bytes at `at` are a blank that does not fold and shows nothing, U+00A0 or U+200B; 0: none. */
static size_t unseen_bytes(const uint8_t *at, const uint8_t *end)
{
    if (end - at >= 2 && !memcmp(at, "\xC2\xA0", 2))
        return 2;
    return end - at >= 3 && !memcmp(at, "\xE2\x80\x8B", 3) ? 3 : 0;
}

/* As many as fit: an indentation, or a line of its own that is none. */
static void hold(struct shape *s, const uint8_t *unseen, size_t bytes)
{
    if (s->held + bytes > sizeof s->hold)
        return;
    memcpy(s->hold + s->held, unseen, bytes);
    s->held += bytes;
}

void shape_text(struct shape *s, const void *text, size_t bytes)
{
    const uint8_t *at = text, *end = at + bytes;

    while (at < end) {
        const uint8_t *word = at;
        size_t unseen = s->verbatim || s->in_line ? 0 : unseen_bytes(at, end);
        if (is_blank(*at)) {
            put_blank(s, (char)*at++);
            continue;
        }
        if (unseen) {
            hold(s, at, unseen);
            at += unseen;
            continue;
        }
        while (at < end && !is_blank(*at))
            at++;
        pay(s);
        put(s, word, (size_t)(at - word));
    }
}

void shape_break(struct shape *s, int newlines)
{
    if (s->gap < newlines)
        s->gap = newlines;
    s->in_line = false;
    s->lined = false;
    s->blank = 0;
    s->held = 0;
}

void shape_line(struct shape *s)
{
    shape_break(s, s->lined && !s->in_line && !s->heading ? SHAPE_PARAGRAPH : SHAPE_LINE);
    s->lined = true;
}

/* Its level below what is around it. */
static uint8_t lowered(const struct shape *s, uint8_t heading)
{
    uint8_t level = heading & PLACE_TITLE;

    if (!level || level == PLACE_TITLE || !s->below)
        return heading;
    level = level + s->below < PLACE_LEVEL_MAX ? (uint8_t)(level + s->below) : PLACE_LEVEL_MAX;
    return (uint8_t)((heading & ~PLACE_TITLE) | level);
}

void shape_place(struct shape *s, uint8_t heading, const char *name)
{
    const struct msg_place place = {lowered(s, heading), {(const uint8_t *)name, strlen(name)}};
    uint8_t bytes[PLACE_BYTES_MAX];
    size_t count = msg_place_write(bytes, &place);

    shape_break(s, SHAPE_PARAGRAPH);
    s->place_bytes =
        msg_place_join(s->place, (struct view){s->place, s->marked ? s->place_bytes : 0},
                       (struct view){bytes, count});
    s->marked = true;
    s->heading = place.heading & PLACE_TITLE;
}

void shape_heading_end(struct shape *s)
{
    s->heading = false;
    if (!s->marked)
        return;
    s->place[0] &= (uint8_t)~PLACE_TITLE;
    s->marked = s->place[0] || s->place_bytes > 1;
}

void shape_cell(struct shape *s)
{
    if (s->in_line)
        s->blank = '\t';
    else if (s->held && s->hold[s->held - 1] != '\t')
        hold(s, (const uint8_t *)"\t", 1);
}

enum err_code shape_end(struct shape *s, struct err *err)
{
    if (s->begun)
        put(s, "\n", 1);
    if (s->err.code && err)
        *err = s->err;
    return s->err.code;
}
