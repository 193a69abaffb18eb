#include "stages/emit/report/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 * 1024 };

static const double BITS_OF_NAT = 1 / 0.69314718055994531;

struct lines {
    int fd;
    char *path;
    uint64_t size, read; /* of the file; of it */
    uint64_t whole;      /* bytes of the lines that were lent */
    uint64_t number;     /* of the line that is looked at, from 1 */
    uint64_t seq;        /* that is due, behind the first */
    bool torn;
    struct buffer held; /* read and not lent: from at on */
    size_t at;
    json_t *record; /* what is lent lives in it */
    struct buffer changed;
    struct line_place places[LINE_PLACES_MAX];
};

enum err_code lines_open(struct lines **out, const char *path, uint64_t bytes, struct err *err)
{
    struct lines *l = calloc(1, sizeof *l);
    enum err_code code = ERR_OK;
    struct stat status = {.st_size = 0};

    if (!l)
        return err_set(err, ERR_MEMORY, 0, "records of '%s'", path);
    l->held = buffer_of(LINES_LINE_MAX + 2 * CHUNK_BYTES);
    l->changed = buffer_of(LINES_LINE_MAX);
    l->path = strdup(path);
    l->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!l->path)
        code = err_set(err, ERR_MEMORY, 0, "records of '%s'", path);
    else if (l->fd < 0 || fstat(l->fd, &status))
        code = err_set(err, ERR_SINK, errno, "read '%s'", path);
    else if (bytes != UINT64_MAX && (uint64_t)status.st_size < bytes)
        code = err_set(err, ERR_SINK, 0,
                       "'%s' has become shorter while it was read: ask for the report again", path);
    if (code) {
        lines_close(&l);
        return code;
    }
    l->size = bytes < (uint64_t)status.st_size ? bytes : (uint64_t)status.st_size;
    *out = l;
    return ERR_OK;
}

void lines_close(struct lines **lines)
{
    struct lines *l = *lines;

    *lines = NULL;
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    json_decref(l->record);
    buffer_release(&l->held);
    buffer_release(&l->changed);
    free(l->path);
    free(l);
}

bool lines_torn(const struct lines *lines)
{
    return lines->torn;
}

uint64_t lines_whole(const struct lines *lines)
{
    return lines->whole;
}

/* ---- Lines of the file ---- */

static enum err_code damaged(const struct lines *l, const char *what, struct err *err)
{
    return err_set(err, ERR_SINK, 0,
                   "'%s', line %llu: %s; put the file back, or begin that stream again with "
                   "--restart",
                   l->path, (unsigned long long)l->number, what);
}

static enum err_code read_more(struct lines *l, struct err *err)
{
    size_t wanted = l->size - l->read < CHUNK_BYTES ? (size_t)(l->size - l->read) : CHUNK_BYTES;
    uint8_t *room;
    ssize_t got;

    buffer_drop(&l->held, l->at);
    l->at = 0;
    room = buffer_add(&l->held, wanted);
    if (!room)
        return damaged(l, "is longer than any record", err);
    do
        got = pread(l->fd, room, wanted, (off_t)l->read);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_set(err, ERR_SINK, errno, "read '%s'", l->path);
    l->held.bytes -= wanted - (size_t)got;
    l->read += (uint64_t)got;
    if (got == 0) /* cut short since the open: what is there is all */
        l->size = l->read;
    return ERR_OK;
}

/* Lend the next line without its end; no data where there is none, and then what is left has no end. */
static enum err_code next_line(struct lines *l, struct view *line, struct err *err)
{
    const uint8_t *end = NULL;
    size_t seen = 0;

    l->number++;
    for (;;) {
        size_t left = l->held.bytes - l->at;
        if (left > seen)
            end = memchr(l->held.data + l->at + seen, '\n', left - seen);
        if (end || l->read == l->size)
            break;
        seen = left;
        if (left > LINES_LINE_MAX)
            return damaged(l, "is longer than any record", err);
        if (read_more(l, err))
            return err->code;
    }
    *line = (struct view){NULL, 0};
    if (end)
        *line = (struct view){l->held.data + l->at, (size_t)(end - (l->held.data + l->at))};
    else
        l->torn = l->held.bytes > l->at;
    return ERR_OK;
}

/* ---- Records ---- */

static bool take_count(const json_t *record, const char *name, uint64_t *value)
{
    const json_t *field = json_object_get(record, name);

    if (!json_is_integer(field) || json_integer_value(field) < 0)
        return false;
    *value = (uint64_t)json_integer_value(field);
    return true;
}

static struct view text_of(const json_t *field)
{
    return (struct view){(const uint8_t *)json_string_value(field), json_string_length(field)};
}

/* "model: a -> b", several of them with "; " between. */
static bool take_changes(struct lines *l, const json_t *record, struct line *line)
{
    const json_t *changed = json_object_get(record, "changed");
    size_t count = json_array_size(changed);

    l->changed.bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct view text = text_of(json_array_get(changed, i));
        if (!text.data)
            return false;
        if (i)
            buffer_put(&l->changed, "; ", 2);
        buffer_put(&l->changed, text.data, text.bytes);
    }
    line->text = (struct view){l->changed.data, l->changed.bytes};
    return count > 0 && !l->changed.refused;
}

/* False where it is there and not whole. */
static bool take_novelty(const json_t *record, struct line *line)
{
    const json_t *bits = json_object_get(record, "novelty");
    struct line_novelty *n = &line->novelty;

    if (!bits)
        return line->kind != LINE_ALERT;
    *n = (struct line_novelty){.there = true, .bits = json_number_value(bits)};
    n->template_text = text_of(json_object_get(record, "template"));
    n->reason = text_of(json_object_get(record, "reason"));
    return json_is_number(bits) && isfinite(n->bits) && n->bits >= 0 && n->template_text.data &&
           take_count(record, "template_id", &n->template_id) &&
           take_count(record, "one_in", &n->one_in) &&
           (line->kind == LINE_ALERT ? n->reason.data != NULL
                                     : take_count(record, "template_count", &n->template_count));
}

static bool take_places(struct lines *l, const json_t *record, struct line *line)
{
    const json_t *list = json_object_get(record, "boundaries");

    line->places = l->places;
    line->place_count = json_array_size(list);
    if (!json_is_array(list) || line->place_count > LINE_PLACES_MAX)
        return false;
    for (size_t i = 0; i < line->place_count; i++) {
        const json_t *place = json_array_get(list, i), *bits = json_object_get(place, "strength");
        l->places[i].bits = json_number_value(bits);
        if (!take_count(place, "begin", &l->places[i].begin) || !json_is_number(bits) ||
            !isfinite(l->places[i].bits))
            return false;
    }
    return true;
}

/* A unit's heading, if it is one. False where it is there and no level, or without its path. */
static bool take_heading(const json_t *record, struct line *line)
{
    uint64_t level = 0;

    if (line->kind != LINE_UNIT || !json_object_get(record, "heading"))
        return true;
    line->section = text_of(json_object_get(record, "section"));
    if (!take_count(record, "heading", &level) || level > 6 || (level && !line->section.data))
        return false;
    /* A title of a file inside another is not the document's. */
    line->heading = !level && json_object_get(record, "place") ? -1 : (int)level;
    return true;
}

static enum line_kind kind_of(const char *kind, const char **unit)
{
    static const char *const units[] = {"paragraph", "line", "entry", "section"};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(kind, units[i])) {
            *unit = units[i];
            return LINE_UNIT;
        }
    return !strcmp(kind, "document")     ? LINE_DOCUMENT
           : !strcmp(kind, "lineage")    ? LINE_LINEAGE
           : !strcmp(kind, "alert")      ? LINE_ALERT
           : !strcmp(kind, "summary")    ? LINE_SUMMARY
           : !strcmp(kind, "boundaries") ? LINE_BOUNDARIES
                                         : LINE_OTHER;
}

/* NULL, or what is wrong with the record. */
static const char *take_record(struct lines *l, struct line *line)
{
    const json_t *record = l->record;
    const char *kind = json_string_value(json_object_get(record, "kind"));
    double nats = json_number_value(json_object_get(record, "nats"));

    *line = (struct line){.kind = LINE_OTHER, .heading = -1};
    if (!kind || !take_count(record, "seq", &line->seq))
        return "is no record";
    if (l->number > 1 && line->seq != l->seq)
        return "is not the record that is due";
    line->kind = kind_of(kind, &line->unit);
    if (line->kind == LINE_OTHER)
        return NULL;
    if (!take_count(record, "begin", &line->begin) || !take_count(record, "end", &line->end) ||
        line->end < line->begin)
        return "is a record without its place";
    if (line->kind == LINE_LINEAGE)
        return take_changes(l, record, line) ? NULL : "is a lineage record without its changes";
    if (line->kind == LINE_BOUNDARIES)
        return take_places(l, record, line) ? NULL : "is a record whose boundaries have no place";
    if (line->kind == LINE_UNIT)
        line->embedding = text_of(json_object_get(record, "embedding"));
    line->text = text_of(json_object_get(record, "text"));
    line->bits = nats * BITS_OF_NAT;
    line->record = line->kind == LINE_SUMMARY ? record : NULL;
    if (!line->text.data)
        return "is a record without its text";
    if (line->kind != LINE_ALERT && line->kind != LINE_SUMMARY &&
        (!take_count(record, "tokens", &line->tokens) ||
         !json_is_number(json_object_get(record, "nats")) || !isfinite(nats) || nats < 0))
        return "is a record without its tokens or nats";
    if (!take_heading(record, line))
        return "is a record whose heading has no level or no section";
    return take_novelty(record, line) ? NULL : "is a record whose novelty is not whole";
}

enum err_code lines_next(struct lines *l, struct line *line, struct err *err)
{
    json_error_t why;
    struct view text = {NULL, 0};
    const char *wrong;

    json_decref(l->record);
    l->record = NULL;
    if (next_line(l, &text, err))
        return err->code;
    *line = (struct line){.kind = LINE_END};
    if (!text.data)
        return ERR_OK;
    l->record = json_loadb((const char *)text.data, text.bytes, JSON_ALLOW_NUL, &why);
    if (!json_is_object(l->record)) {
        if (l->read < l->size || l->at + text.bytes + 1 < l->held.bytes)
            return damaged(l, "is no JSON object", err);
        l->torn = true; /* a power cut can leave the end of a line and not what was before it */
        return ERR_OK;
    }
    wrong = take_record(l, line);
    if (wrong)
        return damaged(l, wrong, err);
    l->seq = line->seq + 1;
    l->at += text.bytes + 1;
    l->whole += text.bytes + 1;
    return ERR_OK;
}
