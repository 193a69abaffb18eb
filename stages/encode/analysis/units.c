#include "stages/encode/analysis/units.h"

#include <math.h>

enum { VERSION = 1 };

void units_begin(struct units *u, enum unit kind, uint64_t offset)
{
    *u = (struct units){.kind = kind, .offset = offset};
    u->unit.begin = u->document.begin = offset;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static void span_add(struct units_span *span, double nats, struct view text)
{
    span->tokens++;
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

/* Does a boundary lie in text? Keeps track of what the current line and unit hold. */
static bool passes_boundary(struct units *u, struct view text)
{
    bool boundary = false;

    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] == '\n') {
            boundary = boundary || u->kind == UNIT_LINE ||
                       (u->kind == UNIT_PARAGRAPH && !u->line_has_text && u->unit_has_text);
            u->line_has_text = false;
        } else if (!is_space(text.data[i])) {
            u->line_has_text = u->unit_has_text = true;
        }
    }
    return boundary;
}

static void close_unit(struct units *u, struct record *record)
{
    static const enum record_kind kinds[] = {[UNIT_PARAGRAPH] = RECORD_PARAGRAPH,
                                             [UNIT_LINE] = RECORD_LINE,
                                             [UNIT_ENTRY] = RECORD_ENTRY};

    span_record(&u->unit, kinds[u->kind], u->offset, record);
    u->unit.begin = u->offset;
    u->unit.tokens = 0;
    u->unit.nats = 0;
    u->unit.held = 0;
    u->unit_has_text = u->line_has_text;
}

bool units_token(struct units *u, double nats, struct view text, uint32_t source_bytes,
                 struct record *record)
{
    u->offset += source_bytes;
    span_add(&u->unit, nats, text);
    span_add(&u->document, nats, text);
    if (!passes_boundary(u, text))
        return false;
    close_unit(u, record);
    return true;
}

bool units_break(struct units *u, struct record *record)
{
    if (u->kind != UNIT_ENTRY || u->unit.tokens == 0)
        return false;
    close_unit(u, record);
    return true;
}

bool units_end(struct units *u, struct record *record)
{
    if (u->unit.tokens == 0)
        return false;
    close_unit(u, record);
    return true;
}

void units_document(struct units *u, struct record *record)
{
    span_record(&u->document, RECORD_DOCUMENT, u->offset, record);
}

static void save_span(const struct units_span *span, struct buffer *out)
{
    buffer_u64(out, span->begin);
    buffer_u64(out, span->tokens);
    buffer_f64(out, span->nats);
    buffer_u32(out, span->held);
    buffer_put(out, span->text, span->held);
}

void units_save(const struct units *u, struct buffer *out)
{
    buffer_u8(out, VERSION);
    buffer_u8(out, (uint8_t)u->kind);
    buffer_u8(out, (uint8_t)(u->line_has_text | u->unit_has_text << 1));
    buffer_u64(out, u->offset);
    save_span(&u->unit, out);
    save_span(&u->document, out);
}

static bool load_span(struct units_span *span, struct reader *r)
{
    const uint8_t *text;

    span->begin = read_u64(r);
    span->tokens = read_u64(r);
    span->nats = read_f64(r);
    span->held = read_u32(r);
    text = span->held <= UNITS_HELD_BYTES ? read_bytes(r, span->held) : NULL;
    if (text)
        memcpy(span->text, text, span->held);
    return text && isfinite(span->nats);
}

enum err_code units_load(struct units *u, struct view bytes, struct err *err)
{
    struct reader r = reader_of(bytes.data, bytes.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r), flags = read_u8(&r);
    struct units got = {.kind = kind, .line_has_text = flags & 1, .unit_has_text = flags >> 1 & 1};

    got.offset = read_u64(&r);
    if (version != VERSION || kind > UNIT_ENTRY || flags > 3 || !load_span(&got.unit, &r) ||
        !load_span(&got.document, &r) || !read_done(&r))
        return err_set(err, ERR_DAMAGED, 0, "analysis state of %zu bytes cannot be decoded",
                       bytes.bytes);
    *u = got;
    return ERR_OK;
}
