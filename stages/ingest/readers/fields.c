/* A name may have dots itself, so it is looked for as it stands first, and only then as a way through objects. A text
 * with empty lines is still JSON Lines. A line that is no JSON is a program that was killed as it wrote, more often
 * than not: one of a million is not to cost the others. */
#include "stages/ingest/readers/fields.h"

#include "stages/ingest/readers/look.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { CHUNK_BYTES = 64 * 1024 };

struct fields {
    const char *field;
    struct out *out;
    struct buffer line; /* the one that is not over yet */
    uint64_t number;    /* of lines so far */
    uint64_t taken, passed, first_passed;
    uint64_t broken, first_broken;
    char why[81]; /* the first one is no JSON */
};

/* Behind blanks, and the RS that each text of RFC 7464 begins with. */
static struct view trimmed(struct view line)
{
    while (line.bytes && (isspace(line.data[0]) || line.data[0] == 0x1E)) {
        line.data++;
        line.bytes--;
    }
    return line;
}

bool fields_are_in(struct view beginning)
{
    struct view rest = trimmed(look_behind_mark(beginning));
    const uint8_t *end;

    if (!rest.bytes || rest.data[0] == '{' ||
        rest.data[0] == '[') /* '[': one text, of many lines */
        return rest.bytes && rest.data[0] == '{';
    end = memchr(rest.data, '\n', rest.bytes); /* the first line may be torn */
    rest = trimmed((struct view){end, end ? rest.bytes - (size_t)(end - rest.data) : 0});
    return rest.bytes >= 2 && !memcmp(rest.data, "{\"", 2); /* a line of C may be a '{' */
}

/* Lent by record; NULL: there is none. */
static const json_t *find(const json_t *record, const char *field)
{
    const json_t *whole = json_object_get(record, field);
    const char *dot = whole ? NULL : strchr(field, '.');
    char name[256];

    if (!dot || (size_t)(dot - field) >= sizeof name)
        return whole;
    memcpy(name, field, (size_t)(dot - field));
    name[dot - field] = 0;
    return find(json_object_get(record, name), dot + 1);
}

static enum err_code put(struct fields *f, const json_t *value, struct err *err)
{
    char name[40];
    struct msg_place place = {.heading = PLACE_ALONE};
    enum err_code code;

    snprintf(name, sizeof name, "line %" PRIu64, f->number);
    place.name = (struct view){(const uint8_t *)name, strlen(name)};
    code = out_place(f->out, &place, err);
    if (!code)
        code = out_text(f->out, json_string_value(value), json_string_length(value), err);
    return code ? code : out_text(f->out, "\n", 1, err);
}

static void note_broken(struct fields *f, const char *why)
{
    if (f->broken++)
        return;
    f->first_broken = f->number;
    snprintf(f->why, sizeof f->why, "%.80s", why);
}

/* A line without its end. */
static enum err_code take_line(struct fields *f, struct view line, struct err *err)
{
    /* No number is asked for: an integer of more than 64 bits is no fault. */
    const size_t flags = JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    json_error_t why;
    json_t *record;
    const json_t *value;
    enum err_code code = ERR_OK;

    f->number++;
    line = trimmed(f->number == 1 ? look_behind_mark(line) : line);
    while (line.bytes && isspace(line.data[line.bytes - 1]))
        line.bytes--;
    if (!line.bytes)
        return ERR_OK;
    record = json_loadb((const char *)line.data, line.bytes, flags, &why);
    if (!record && json_error_code(&why) == json_error_out_of_memory)
        return err_set(err, ERR_MEMORY, 0, "a line of JSON");
    if (!record) {
        note_broken(f, why.text);
        return ERR_OK;
    }
    value = find(record, f->field);
    if (json_is_string(value) && json_string_length(value)) {
        f->taken++;
        code = put(f, value, err);
    } else if (!f->passed++) {
        f->first_passed = f->number;
    }
    json_decref(record);
    return code;
}

/* What came: whole lines are taken, the rest is held. */
static enum err_code take(struct fields *f, struct view bytes, struct err *err)
{
    const uint8_t *end;
    enum err_code code = ERR_OK;

    while (!code && bytes.bytes && (end = memchr(bytes.data, '\n', bytes.bytes))) {
        size_t length = (size_t)(end - bytes.data);
        buffer_put(&f->line, bytes.data, length);
        if (!f->line.refused)
            code = take_line(f, (struct view){f->line.data, f->line.bytes}, err);
        buffer_drop(&f->line, f->line.bytes);
        bytes = (struct view){end + 1, bytes.bytes - length - 1};
    }
    if (!code)
        buffer_put(&f->line, bytes.data, bytes.bytes);
    if (!code && f->line.refused)
        code = err_set(err, ERR_SOURCE, 0, "line %" PRIu64 " is longer than %d MiB", f->number + 1,
                       FIELDS_LINE_MAX >> 20);
    return code;
}

static enum err_code tell_passed(const struct fields *f, struct err *err)
{
    const uint64_t lines = f->taken + f->passed + f->broken;
    char words[READER_WORDS_MAX];
    enum err_code code = ERR_OK;

    if (lines && f->broken == lines)
        return err_set(
            err, ERR_SOURCE, 0,
            "no line is JSON, the first because: %s: leave --field out to read it as it stands",
            f->why);
    if (!f->taken)
        return err_set(err, ERR_SOURCE, 0,
                       "no line has a text in the field '%.80s': name another one with --field",
                       f->field);
    if (f->passed) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " of %" PRIu64
                 " lines have no text in '%.80s' and are passed over, the first is line %" PRIu64,
                 f->passed, lines, f->field, f->first_passed);
        code = out_words(f->out, READER_WARNING, words, err);
    }
    if (!code && f->broken) {
        snprintf(words, sizeof words,
                 "%" PRIu64 " of %" PRIu64
                 " lines are no JSON and are passed over, the first is line %" PRIu64 ": %s",
                 f->broken, lines, f->first_broken, f->why);
        code = out_words(f->out, READER_WARNING, words, err);
    }
    return code;
}

enum err_code fields_read(const struct pull *text, const char *field, struct out *out,
                          struct err *err)
{
    struct fields f = {.field = field, .out = out, .line = buffer_of(FIELDS_LINE_MAX)};
    uint8_t data[CHUNK_BYTES];
    size_t got = 1;
    enum err_code code = ERR_OK;

    while (!code && got) {
        code = text->read(text->self, data, sizeof data, &got, err);
        if (!code)
            code = take(&f, (struct view){data, got}, err);
    }
    if (!code && f.line.bytes)
        code = take_line(&f, (struct view){f.line.data, f.line.bytes}, err);
    if (!code)
        code = tell_passed(&f, err);
    buffer_release(&f.line);
    return code;
}
