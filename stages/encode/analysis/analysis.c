/* The state as bytes:
 *
 *    u8 version | u32 bytes, units | u32 parts
 *    for each part in its order: u8 version | u32 bytes, its own
 *    u16 bytes, text of the open unit
 *    its vector so far (pool.h), where a part wants vectors; of a section that of the paragraph at its end too
 *
 * A part that has seen nothing has no bytes, so a stream that has not begun costs none. */
#include "stages/encode/analysis/analysis.h"

#include <stdlib.h>

enum { VERSION = 2 };

static const struct analysis_part *const parts[ANALYZE_COUNT] = {
    [ANALYZE_SURPRISE] = &analysis_surprise,
    [ANALYZE_NOVELTY] = &analysis_novelty,
    [ANALYZE_EMBEDDINGS] = &analysis_embeddings,
    [ANALYZE_SUMMARY] = &analysis_summary,
    [ANALYZE_BOUNDARIES] = &analysis_boundaries};

static bool has(const struct analysis *a, unsigned part)
{
    return a->options.parts >> part & 1;
}

/* The part's memory, from the first time that it is called. */
static void *self_of(struct analysis *a, unsigned part)
{
    if (!a->self[part])
        parts[part]->begin(&a->self[part], &a->options);
    return a->self[part];
}

static bool wants_text(const struct analysis *a)
{
    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (has(a, i) && parts[i]->wants_text)
            return true;
    return false;
}

static bool wants_vector(uint32_t set)
{
    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (set >> i & 1 && parts[i]->wants_vector)
            return true;
    return false;
}

bool analysis_wants_hidden(const struct analysis_options *options)
{
    return wants_vector(options->parts);
}

static bool has_blocks(const struct analysis *a)
{
    return a->options.unit == UNIT_SECTION;
}

static void free_parts(struct analysis *a)
{
    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (a->self[i])
            parts[i]->close(&a->self[i]);
    buffer_release(&a->text);
    a->text = buffer_of(ANALYSIS_TEXT_MAX);
    pool_release(&a->pool);
    pool_release(&a->block);
    a->hidden = NULL;
}

void analysis_begin(struct analysis *a, const struct analysis_options *options, uint64_t offset)
{
    free_parts(a);
    a->options = *options;
    a->resting = false;
    units_begin(&a->units, options->unit, offset);
}

void analysis_rest(struct analysis *a)
{
    free_parts(a);
    a->resting = true;
}

void analysis_release(struct analysis *a)
{
    analysis_rest(a);
    buffer_release(&a->text);
}

size_t analysis_memory(const struct analysis *a)
{
    size_t bytes = a->text.room + pool_memory(&a->pool) + pool_memory(&a->block);

    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        bytes += a->self[i] ? parts[i]->memory(a->self[i]) : 0;
    return bytes;
}

static void hold_text(struct analysis *a, struct view text)
{
    size_t room = ANALYSIS_TEXT_MAX - a->text.bytes;

    buffer_put(&a->text, text.data, text.bytes < room ? text.bytes : room);
    require(!a->text.refused);
}

/* A unit ended, with so many bytes of text: those of the next one, if any, stay. */
static void begin_text(struct analysis *a, size_t ended)
{
    bool held = ended < a->text.bytes;

    buffer_drop(&a->text, held ? ended : a->text.bytes);
    if (!held && wants_text(a))
        hold_text(a, (struct view){a->units.unit.text, a->units.unit.held});
}

/* The unit's record is in *out: fields into it, and records behind it. */
static void pass_through(struct analysis *a, struct analysis_records *out)
{
    struct record *record = &out->records[out->count - 1];
    size_t ended =
        a->units.ended_text_bytes < SIZE_MAX ? (size_t)a->units.ended_text_bytes : SIZE_MAX;
    struct analysis_unit unit = {
        .bytes = record->end - record->begin,
        .tokens = record->tokens,
        .nats = record->nats,
        .text = {a->text.data, ended < a->text.bytes ? ended : a->text.bytes},
        .begin = record->begin,
        .end = record->end,
        .record = record};

    if (wants_vector(a->options.parts))
        unit.vector = pool_take(&a->pool, &unit.channels);
    for (unsigned i = 0; i < ANALYZE_COUNT; i++) {
        if (!has(a, i))
            continue;
        unit.own = &out->records[out->count];
        *unit.own =
            (struct record){.begin = record->begin, .end = record->end, .text = record->text};
        out->count += parts[i]->unit(self_of(a, i), &unit);
    }
    begin_text(a, ended);
}

void analysis_hidden(struct analysis *a, const float *hidden, uint32_t channels)
{
    a->hidden = hidden;
    a->channels = channels;
}

void analysis_token(struct analysis *a, double nats, struct view text, uint32_t source_bytes,
                    bool ends, struct analysis_records *out)
{
    struct record *record = &out->records[0];

    require(!a->resting);
    out->count = 0;
    if (wants_text(a))
        hold_text(a, text);
    if (a->hidden && wants_vector(a->options.parts))
        pool_add(has_blocks(a) ? &a->block : &a->pool, a->hidden, a->channels, nats);
    a->hidden = NULL;
    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (has(a, i) && parts[i]->token)
            parts[i]->token(self_of(a, i), nats, text, a->units.offset, source_bytes);
    if (units_token(&a->units, nats, text, source_bytes, record) ||
        (ends && units_break(&a->units, record))) {
        out->count = 1;
        pass_through(a, out);
    }
    if (has_blocks(a) && !a->units.block.tokens) /* it ended, and is the open section's now */
        pool_join(&a->pool, &a->block);
}

void analysis_cut(struct analysis *a, struct analysis_records *out)
{
    require(!a->resting);
    out->count = 0;
    pool_join(&a->pool, &a->block);
    if (!units_cut(&a->units, &out->records[0]))
        return;
    out->count = 1;
    pass_through(a, out);
}

void analysis_place(struct analysis *a, struct view place)
{
    struct msg_place at;

    require(!msg_place_read(&at, place, NULL)); /* the message's decoder looked at it */
    units_place(&a->units, &at);
    for (unsigned i = 0; at.heading & PLACE_ALONE && i < ANALYZE_COUNT; i++)
        if (a->self[i] && parts[i]->alone)
            parts[i]->alone(a->self[i]);
}

/* Records of parts that stand before the document's. */
static void add_last(struct analysis *a, const struct record *document,
                     struct analysis_records *out)
{
    for (unsigned i = 0; i < ANALYZE_COUNT; i++) {
        struct record *own = &out->records[out->count];
        if (!has(a, i) || !parts[i]->last)
            continue;
        *own = (struct record){.begin = document->begin, .end = document->end};
        out->count += parts[i]->last(self_of(a, i), own);
    }
}

void analysis_end(struct analysis *a, struct analysis_records *out)
{
    struct record document;

    analysis_cut(a, out);
    units_document(&a->units, &document);
    add_last(a, &document, out);
    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (has(a, i) && parts[i]->end)
            parts[i]->end(self_of(a, i), &document);
    out->records[out->count++] = document;
}

/* What put writes, with its length before it. */
static size_t begin_sized(struct buffer *out)
{
    buffer_u32(out, 0);
    return out->bytes;
}

static void end_sized(struct buffer *out, size_t at)
{
    if (!out->refused)
        store_u32(out->data + at - 4, (uint32_t)(out->bytes - at));
}

void analysis_save(const struct analysis *a, struct buffer *out)
{
    size_t at;

    require(!a->resting);
    buffer_u8(out, VERSION);
    at = begin_sized(out);
    units_save(&a->units, out);
    end_sized(out, at);
    buffer_u32(out, a->options.parts);
    for (unsigned i = 0; i < ANALYZE_COUNT; i++) {
        if (!has(a, i))
            continue;
        buffer_u8(out, parts[i]->version);
        at = begin_sized(out);
        if (a->self[i] && parts[i]->save)
            parts[i]->save(a->self[i], out);
        require(out->bytes - at <= parts[i]->bytes_max);
        end_sized(out, at);
    }
    buffer_u16(out, (uint16_t)a->text.bytes);
    buffer_put(out, a->text.data, a->text.bytes);
    if (wants_vector(a->options.parts))
        pool_save(&a->pool, out);
    if (wants_vector(a->options.parts) && has_blocks(a))
        pool_save(&a->block, out);
}

static bool load_units(struct units *u, struct reader *r)
{
    uint32_t bytes = read_u32(r);
    const uint8_t *at = read_bytes(r, bytes);

    return at && !units_load(u, (struct view){at, bytes}, NULL);
}

static bool load_part(struct analysis *a, unsigned i, struct reader *r)
{
    uint8_t version = read_u8(r);
    uint32_t bytes = read_u32(r);
    const uint8_t *at = read_bytes(r, bytes);
    struct reader own = reader_of(at, at ? bytes : 0);

    if (!at || version != parts[i]->version || bytes > parts[i]->bytes_max)
        return false;
    if (!bytes)
        return true;
    if (!parts[i]->load)
        return false;
    parts[i]->begin(&a->self[i], &a->options);
    return parts[i]->load(a->self[i], &own) && read_done(&own);
}

static bool load_all(struct analysis *a, struct reader *r)
{
    uint16_t bytes;
    const uint8_t *text;

    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (has(a, i) && !load_part(a, i, r))
            return false;
    bytes = read_u16(r);
    text = bytes <= ANALYSIS_TEXT_MAX ? read_bytes(r, bytes) : NULL;
    if (!text || (bytes && !wants_text(a)))
        return false;
    hold_text(a, (struct view){text, bytes});
    if (wants_vector(a->options.parts) && !pool_load(&a->pool, r))
        return false;
    if (wants_vector(a->options.parts) && has_blocks(a) && !pool_load(&a->block, r))
        return false;
    return read_done(r);
}

enum err_code analysis_load(struct analysis *a, const struct analysis_options *options,
                            struct view bytes, bool rest, struct err *err)
{
    struct reader r = reader_of(bytes.data, bytes.bytes);
    struct analysis got = {.text = buffer_of(ANALYSIS_TEXT_MAX), .resting = rest};
    uint8_t version = read_u8(&r);
    bool good = version == VERSION && load_units(&got.units, &r);

    got.options = options ? *options : (struct analysis_options){.unit = got.units.kind};
    got.options.parts = read_u32(&r);
    good = good && got.options.unit == got.units.kind && !(got.options.parts >> ANALYZE_COUNT) &&
           (!options || options->parts == got.options.parts);
    if (good && !rest)
        good = load_all(&got, &r);
    if (!good) {
        analysis_release(&got);
        return err_set(err, ERR_DAMAGED, 0, "analysis state of %zu bytes cannot be decoded",
                       bytes.bytes);
    }
    analysis_release(a);
    *a = got;
    return ERR_OK;
}

void analysis_blank(struct buffer *out)
{
    const struct analysis_options none = {.unit = UNIT_PARAGRAPH};
    struct analysis a = {.resting = true};

    analysis_begin(&a, &none, 0);
    analysis_save(&a, out);
    analysis_release(&a);
}
