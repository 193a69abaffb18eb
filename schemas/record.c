#include "schemas/record.h"
#include "schemas/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static const char *const kinds[] = {"line",  "paragraph", "document", "lineage",   "entry",
                                    "alert", "summary",   "section",  "boundaries"};

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

struct view record_excerpt(struct view text, bool whole)
{
    utf8proc_int32_t state = 0, before = -1, point;
    size_t cut = 0, character = 0, at = 0;

    while (text.bytes && is_space(text.data[0])) {
        text.data++;
        text.bytes--;
    }
    while (at < text.bytes && at <= RECORD_TEXT_MAX) {
        size_t bytes = utf8_next(text, at, &point);
        bool edge = at == 0 || before < 0 || point < 0 ||
                    utf8proc_grapheme_break_stateful(before, point, &state);
        if (before < 0 || point < 0)
            state = 0;
        if (edge)
            cut = at;
        character = at;
        before = point;
        at += bytes;
    }
    if (at > RECORD_TEXT_MAX || !whole)
        text.bytes = cut ? cut : at <= RECORD_TEXT_MAX ? at : character;
    while (text.bytes && is_space(text.data[text.bytes - 1]))
        text.bytes--;
    return text;
}

static json_t *clean_text(struct view text)
{
    struct buffer clean = buffer_of(4 * RECORD_LINE_MAX);
    utf8proc_int32_t point;
    json_t *value;

    for (size_t at = 0; at < text.bytes;) {
        size_t bytes = utf8_next(text, at, &point);
        if (point < 0)
            buffer_put(&clean, "\xEF\xBF\xBD", 3);
        else
            buffer_put(&clean, text.data + at, bytes);
        at += bytes;
    }
    value = json_stringn(clean.data ? (const char *)clean.data : "", clean.bytes);
    buffer_release(&clean);
    return value;
}

static struct record_field *new_field(struct record_field *fields, size_t *count, size_t most,
                                      const char *name, enum record_field_kind kind)
{
    struct record_field *field = &fields[*count];

    require(*count < most);
    ++*count;
    *field = (struct record_field){.name = name, .kind = kind};
    return field;
}

static struct record_field *add_field(struct record *record, const char *name,
                                      enum record_field_kind kind)
{
    return new_field(record->fields, &record->field_count, RECORD_FIELDS_MAX, name, kind);
}

void record_add_null(struct record *record, const char *name)
{
    add_field(record, name, FIELD_NULL);
}

void record_add_count(struct record *record, const char *name, uint64_t count)
{
    add_field(record, name, FIELD_COUNT)->count = count;
}

void record_add_real(struct record *record, const char *name, double real)
{
    require(isfinite(real));
    add_field(record, name, FIELD_REAL)->real = real;
}

void record_add_text(struct record *record, const char *name, struct view text)
{
    add_field(record, name, FIELD_TEXT)->text = text;
}

void record_add_list(struct record *record, const char *name, const struct record_item *items,
                     size_t count)
{
    struct record_field *field = add_field(record, name, FIELD_LIST);

    field->items = items;
    field->item_count = count;
}

static struct record_field *add_to_item(struct record_item *item, const char *name,
                                        enum record_field_kind kind)
{
    return new_field(item->fields, &item->field_count, RECORD_ITEM_FIELDS_MAX, name, kind);
}

void record_item_count(struct record_item *item, const char *name, uint64_t count)
{
    add_to_item(item, name, FIELD_COUNT)->count = count;
}

void record_item_real(struct record_item *item, const char *name, double real)
{
    require(isfinite(real));
    add_to_item(item, name, FIELD_REAL)->real = real;
}

void record_item_text(struct record_item *item, const char *name, struct view text)
{
    add_to_item(item, name, FIELD_TEXT)->text = text;
}

/* NULL where memory is refused. */
static json_t *plain_value(const struct record_field *field)
{
    switch (field->kind) {
    case FIELD_COUNT:
        return json_integer((json_int_t)field->count);
    case FIELD_REAL:
        return json_real(field->real);
    case FIELD_TEXT:
        return clean_text(field->text);
    case FIELD_NULL:
    case FIELD_LIST:
        break;
    }
    return json_null();
}

static json_t *list_value(const struct record_field *field)
{
    json_t *list = json_array();
    int bad = 0;

    for (size_t i = 0; i < field->item_count; i++) {
        const struct record_item *item = &field->items[i];
        json_t *object = json_object();
        for (size_t k = 0; k < item->field_count; k++)
            bad |= json_object_set_new(object, item->fields[k].name, plain_value(&item->fields[k]));
        bad |= json_array_append_new(list, object);
    }
    if (bad) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *field_value(const struct record_field *field)
{
    return field->kind == FIELD_LIST ? list_value(field) : plain_value(field);
}

static json_t *bits_per_byte(const struct record *record)
{
    if (record->end == record->begin)
        return json_null();
    return json_real(record->nats / 0.69314718055994531 / (double)(record->end - record->begin));
}

static json_t *make_object(const char *stream, const struct record *record)
{
    json_t *object = json_object(), *changed;
    int bad = 0;

    bad |= json_object_set_new(object, "stream", json_string(stream));
    bad |= json_object_set_new(object, "seq", json_integer((json_int_t)record->seq));
    bad |= json_object_set_new(object, "kind", json_string(kinds[record->kind]));
    bad |= json_object_set_new(object, "begin", json_integer((json_int_t)record->begin));
    bad |= json_object_set_new(object, "end", json_integer((json_int_t)record->end));
    if (record->kind == RECORD_LINEAGE) {
        changed = json_array();
        for (size_t i = 0; i < record->changed_count; i++)
            bad |= json_array_append_new(changed, json_string(record->changed[i]));
        bad |= json_object_set_new(object, "changed", changed);
    } else if (record->kind != RECORD_BOUNDARIES) {
        if (record->kind != RECORD_ALERT && record->kind != RECORD_SUMMARY) {
            bad |= json_object_set_new(object, "tokens", json_integer((json_int_t)record->tokens));
            bad |= json_object_set_new(object, "nats", json_real(record->nats));
            bad |= json_object_set_new(object, "bits_per_byte", bits_per_byte(record));
        }
        bad |= json_object_set_new(object, "text", clean_text(record->text));
    }
    for (size_t i = 0; i < record->field_count; i++)
        bad |= json_object_set_new(object, record->fields[i].name, field_value(&record->fields[i]));
    if (bad) {
        json_decref(object);
        return NULL;
    }
    return object;
}

enum err_code record_line(const char *stream, const struct record *record, struct buffer *out,
                          struct err *err)
{
    json_t *object;
    char *line;

    if (!isfinite(record->nats))
        return err_set(err, ERR_MODEL, 0, "loss of bytes %llu to %llu is not a finite number",
                       (unsigned long long)record->begin, (unsigned long long)record->end);
    object = make_object(stream, record);
    line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!line)
        return err_set(err, ERR_MEMORY, 0, "record %llu", (unsigned long long)record->seq);
    buffer_put(out, line, strlen(line));
    buffer_u8(out, '\n');
    free(line);
    if (out->refused)
        return err_set(err, ERR_LIMIT, 0, "record %llu of more than %d bytes",
                       (unsigned long long)record->seq, RECORD_LINE_MAX);
    return ERR_OK;
}
