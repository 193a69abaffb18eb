#include "stages/encode/analysis/units.h"

#include <ctype.h>
#include <math.h>

enum { VERSION = 3, FLAGS = 127, INDENT_MAX = 60 };

void units_begin(struct units *u, enum unit kind, uint64_t offset)
{
    *u = (struct units){.kind = kind, .offset = offset, .blank_before = true};
    u->unit.begin = u->block.begin = u->document.begin = offset;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static void span_add(struct units_span *span, double nats, struct view text)
{
    span->tokens++;
    span->text_bytes += text.bytes;
    span->nats += nats;
    for (size_t i = 0; i < text.bytes && span->held < UNITS_HELD_BYTES; i++)
        if (span->held || !is_space(text.data[i]))
            span->text[span->held++] = text.data[i];
}

static void span_record(const struct units_span *span, enum record_kind kind, uint64_t end,
                        struct record *record)
{
    *record = (struct record){
        .kind = kind, .begin = span->begin, .end = end, .tokens = span->tokens, .nats = span->nats};
    record->text =
        record_excerpt((struct view){span->text, span->held}, span->held < UNITS_HELD_BYTES);
}

/* ---- Boundaries ---- */

static bool is_tick(uint8_t byte)
{
    return byte == '`' || byte == '~';
}

/* Three ` or ~ at a line's beginning, or at a list item's, open what is no text of Markdown's, and close it; at most
 * three blanks stand before them, or three more than where it was opened. */
static void count_ticks(struct units *u, uint8_t byte)
{
    const bool item = !u->fence && (strchr("-*+.)", byte) || isdigit(byte));

    if (u->ticks == 0 && byte == ' ' && u->indent < (u->item ? INDENT_MAX : u->fence_at + 3)) {
        u->indent++;
    } else if (u->ticks == 0 && byte && item && u->indent < INDENT_MAX) {
        u->item = true;
        u->indent++;
    } else if (is_tick(byte) && u->ticks < 3 && (!u->ticks || byte == u->tick)) {
        u->tick = byte;
        if (++u->ticks < 3 || (u->fence && u->fence != byte))
            return;
        u->fence_at = u->fence ? 0 : u->indent;
        u->fence = u->fence ? 0 : byte;
    } else {
        u->ticks = 3;
    }
}

static void begin_line(struct units *u)
{
    u->indent = u->ticks = 0;
    u->item = false;
}

/* Does a boundary lie in text? Keeps track of what the current line and unit hold. */
static bool passes_boundary(struct units *u, struct view text)
{
    bool paragraphs = u->kind == UNIT_PARAGRAPH || u->kind == UNIT_SECTION, boundary = false;

    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] == '\n') {
            boundary = boundary || u->kind == UNIT_LINE ||
                       (paragraphs && !u->line_has_text && u->unit_has_text);
            u->line_has_text = false;
            begin_line(u);
            continue;
        }
        if (!u->unit_has_text)
            u->fenced = u->fence;
        count_ticks(u, text.data[i]);
        if (!is_space(text.data[i]))
            u->line_has_text = u->unit_has_text = true;
    }
    return boundary;
}

/* The level of the heading that span is by its form; 0: none, or the source says which are. */
static uint8_t find_heading(const struct units *u, const struct units_span *span)
{
    if (u->marked || (u->markdown && u->fenced) || u->kind == UNIT_ENTRY ||
        (u->kind == UNIT_LINE && !u->blank_before))
        return 0;
    return heading_level((struct view){span->text, span->held}, span->held < UNITS_HELD_BYTES,
                         u->markdown);
}

/* ---- Units end ---- */

static void span_clear(struct units_span *span, uint64_t begin)
{
    span->begin = begin;
    span->tokens = span->text_bytes = 0;
    span->nats = 0;
    span->held = 0;
}

/* Fields of a record that say where its unit is in the source. The path is that of its own heading, if it has one. */
static void add_place(struct units *u, struct record *record)
{
    struct view path;

    if (u->heading >= 1 && u->heading <= PLACE_LEVEL_MAX)
        heading_path_enter(&u->path, u->heading, (struct view){u->unit.text, u->unit.held});
    path = heading_path_text(&u->path);
    if (u->place_bytes)
        record_add_text(record, "place", (struct view){u->place, u->place_bytes});
    if (path.bytes)
        record_add_text(record, "section", path);
    if (u->heading)
        record_add_count(record, "heading", u->heading == PLACE_TITLE ? 0 : u->heading);
    u->heading = 0;
}

/* The unit ends at end. */
static void close_unit(struct units *u, uint64_t end, struct record *record)
{
    static const enum record_kind kinds[] = {[UNIT_PARAGRAPH] = RECORD_PARAGRAPH,
                                             [UNIT_LINE] = RECORD_LINE,
                                             [UNIT_ENTRY] = RECORD_ENTRY,
                                             [UNIT_SECTION] = RECORD_SECTION};

    span_record(&u->unit, kinds[u->kind], end, record);
    if (!u->heading && u->kind != UNIT_SECTION)
        u->heading = find_heading(u, &u->unit);
    add_place(u, record);
    u->blank_before = u->unit.held == 0;
    u->ended_text_bytes = u->unit.text_bytes;
    span_clear(&u->unit, end);
    u->unit_has_text = u->line_has_text;
    u->fenced = u->fence;
}

/* The paragraph at the end of a section belongs to it. */
static void join_block(struct units *u)
{
    struct units_span *unit = &u->unit, *block = &u->block;
    uint32_t room = UNITS_HELD_BYTES - unit->held, more = block->held < room ? block->held : room;

    unit->tokens += block->tokens;
    unit->text_bytes += block->text_bytes;
    unit->nats += block->nats;
    memcpy(unit->text + unit->held, block->text, more);
    unit->held += more;
    span_clear(block, u->offset);
}

/* A paragraph of a section ended. True: it is a heading, and the section before it ended too. */
static bool close_block(struct units *u, struct record *record)
{
    uint8_t heading = find_heading(u, &u->block);
    bool ended = heading && u->unit.tokens;

    if (ended)
        close_unit(u, u->block.begin, record);
    if (heading)
        u->heading = heading;
    if (ended && record->text.bytes) {
        memcpy(u->ended_text, record->text.data, record->text.bytes);
        record->text.data = u->ended_text;
    }
    join_block(u);
    u->unit_has_text = u->line_has_text;
    u->fenced = u->fence;
    return ended;
}

bool units_token(struct units *u, double nats, struct view text, uint32_t source_bytes,
                 struct record *record)
{
    u->offset += source_bytes;
    span_add(u->kind == UNIT_SECTION ? &u->block : &u->unit, nats, text);
    span_add(&u->document, nats, text);
    if (!passes_boundary(u, text))
        return false;
    if (u->kind == UNIT_SECTION)
        return close_block(u, record);
    close_unit(u, u->offset, record);
    return true;
}

bool units_break(struct units *u, struct record *record)
{
    if (u->kind != UNIT_ENTRY || u->unit.tokens == 0)
        return false;
    close_unit(u, u->offset, record);
    return true;
}

bool units_cut(struct units *u, struct record *record)
{
    if (u->kind == UNIT_SECTION)
        join_block(u);
    if (u->unit.tokens == 0)
        return false;
    close_unit(u, u->offset, record);
    return true;
}

void units_place(struct units *u, const struct msg_place *place)
{
    require(u->unit.tokens == 0 && u->block.tokens == 0);
    u->heading = place->heading & PLACE_TITLE;
    u->marked = u->marked || u->heading;
    if (place->heading & PLACE_ALONE) {
        u->marked = u->heading;
        u->path.count = 0;
    }
    u->blank_before = true;
    u->line_has_text = u->unit_has_text = false;
    begin_line(u);
    if (!place->name.bytes && !(place->heading & (PLACE_MARKDOWN | PLACE_ALONE)))
        return;
    /* Another file: what was said of the one before is over. */
    u->fenced = false;
    u->fence = u->fence_at = 0;
    u->markdown = place->heading & PLACE_MARKDOWN;
    u->place_bytes = (uint8_t)place->name.bytes;
    if (place->name.bytes)
        memcpy(u->place, place->name.data, place->name.bytes);
}

bool units_end(struct units *u, struct record *record)
{
    return units_cut(u, record);
}

void units_document(struct units *u, struct record *record)
{
    span_record(&u->document, RECORD_DOCUMENT, u->offset, record);
}

static void save_span(const struct units_span *span, struct buffer *out)
{
    buffer_u64(out, span->begin);
    buffer_u64(out, span->tokens);
    buffer_u64(out, span->text_bytes);
    buffer_f64(out, span->nats);
    buffer_u32(out, span->held);
    buffer_put(out, span->text, span->held);
}

void units_save(const struct units *u, struct buffer *out)
{
    buffer_u8(out, VERSION);
    buffer_u8(out, (uint8_t)u->kind);
    buffer_u8(out,
              (uint8_t)(u->line_has_text | u->unit_has_text << 1 | u->markdown << 2 |
                        u->marked << 3 | u->fenced << 4 | u->blank_before << 5 | u->item << 6));
    buffer_u8(out, u->fence);
    buffer_u8(out, u->fence_at);
    buffer_u8(out, u->indent);
    buffer_u8(out, u->tick);
    buffer_u8(out, u->ticks);
    buffer_u8(out, u->heading);
    buffer_u8(out, u->place_bytes);
    buffer_put(out, u->place, u->place_bytes);
    heading_path_save(&u->path, out);
    buffer_u64(out, u->offset);
    save_span(&u->unit, out);
    save_span(&u->document, out);
    if (u->kind == UNIT_SECTION)
        save_span(&u->block, out);
}

static bool load_span(struct units_span *span, struct reader *r)
{
    const uint8_t *text;

    span->begin = read_u64(r);
    span->tokens = read_u64(r);
    span->text_bytes = read_u64(r);
    span->nats = read_f64(r);
    span->held = read_u32(r);
    text = span->held <= UNITS_HELD_BYTES ? read_bytes(r, span->held) : NULL;
    if (text)
        memcpy(span->text, text, span->held);
    return text && isfinite(span->nats);
}

/* What headings and places have left. */
static bool load_place(struct units *u, struct reader *r)
{
    const uint8_t *place;

    u->fence = read_u8(r);
    u->fence_at = read_u8(r);
    u->indent = read_u8(r);
    u->tick = read_u8(r);
    u->ticks = read_u8(r);
    u->heading = read_u8(r);
    u->place_bytes = read_u8(r);
    place = u->place_bytes <= PLACE_TEXT_MAX ? read_bytes(r, u->place_bytes) : NULL;
    if (place)
        memcpy(u->place, place, u->place_bytes);
    return place && (!u->fence || is_tick(u->fence)) && (!u->tick || is_tick(u->tick)) &&
           u->indent <= INDENT_MAX && u->fence_at <= INDENT_MAX && u->ticks <= 3 &&
           u->heading <= PLACE_TITLE && heading_path_load(&u->path, r);
}

enum err_code units_load(struct units *u, struct view bytes, struct err *err)
{
    struct reader r = reader_of(bytes.data, bytes.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r), flags = read_u8(&r);
    struct units got = {.kind = kind,
                        .line_has_text = flags & 1,
                        .unit_has_text = flags >> 1 & 1,
                        .markdown = flags >> 2 & 1,
                        .marked = flags >> 3 & 1,
                        .fenced = flags >> 4 & 1,
                        .blank_before = flags >> 5 & 1,
                        .item = flags >> 6 & 1};
    bool good =
        version == VERSION && kind <= UNIT_SECTION && flags <= FLAGS && load_place(&got, &r);

    got.offset = read_u64(&r);
    good = good && load_span(&got.unit, &r) && load_span(&got.document, &r) &&
           (got.kind != UNIT_SECTION || load_span(&got.block, &r)) && read_done(&r);
    if (!good)
        return err_set(err, ERR_DAMAGED, 0, "analysis state of %zu bytes cannot be decoded",
                       bytes.bytes);
    *u = got;
    return ERR_OK;
}
