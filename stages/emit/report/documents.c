#include "stages/emit/report/documents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ending[] = ".jsonl";

char *document_path(const char *folder, const struct document *document)
{
    char *path;

    return asprintf(&path, "%s/%s%s", folder, document->name, ending) < 0 ? NULL : path;
}

void documents_release(struct documents *documents)
{
    for (size_t i = 0; i < documents->count; i++)
        free(documents->items[i].name);
    for (size_t i = 0; i < documents->count; i++)
        free(documents->items[i].title);
    free(documents->items);
    free(documents->shown);
    *documents = (struct documents){.count = 0};
}

/* ---- Which files there are ---- */

/* The folder, and in it that of the sidecars, which name the outputs (emit/sinks/claim.h); -1 where records were copied
 * from elsewhere without them: then each file counts. */
struct place {
    DIR *directory;
    int sidecars;
};

static bool has_sidecar(const struct place *place, const char *name, size_t bytes)
{
    char file[NAME_MAX + sizeof ".sidecar"];

    snprintf(file, sizeof file, "%.*s.sidecar", (int)bytes, name);
    return faccessat(place->sidecars, file, F_OK, 0) == 0;
}

static bool is_output(const struct place *place, const char *name, uint64_t *bytes)
{
    size_t length = strlen(name), tail = strlen(ending);
    struct stat status;

    if (name[0] == '.' || length <= tail || strcmp(name + length - tail, ending) != 0 ||
        fstatat(dirfd(place->directory), name, &status, 0) || !S_ISREG(status.st_mode) ||
        (place->sidecars >= 0 && !has_sidecar(place, name, length - tail)))
        return false;
    *bytes = (uint64_t)status.st_size;
    return true;
}

static bool add_name(struct documents *d, const char *name, size_t *room)
{
    if (d->count == *room) {
        size_t more = *room ? 2 * *room : 16;
        struct document *items = realloc(d->items, more * sizeof *items);
        if (!items)
            return false;
        d->items = items;
        *room = more;
    }
    d->items[d->count] = (struct document){.name = strndup(name, strlen(name) - strlen(ending))};
    d->count += d->items[d->count].name != NULL;
    return d->count && d->items[d->count - 1].name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct document *)a)->name, ((const struct document *)b)->name);
}

static enum err_code list(struct documents *d, const char *folder, uint64_t most_bytes,
                          struct err *err)
{
    struct place place = {.directory = opendir(folder)};
    uint64_t total = 0, bytes;
    size_t room = 0;
    bool good = true;

    if (!place.directory)
        return err_set(err, errno == ENOENT ? ERR_ABSENT : ERR_SINK, errno,
                       "folder of records '%s'", folder);
    place.sidecars =
        openat(dirfd(place.directory), ".riverrun", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const struct dirent *entry; good && (entry = readdir(place.directory));)
        if (is_output(&place, entry->d_name, &bytes)) {
            good = add_name(d, entry->d_name, &room);
            total += bytes;
        }
    if (place.sidecars >= 0)
        close(place.sidecars);
    closedir(place.directory);
    d->shown = calloc(d->count + 1, sizeof *d->shown);
    if (!good || !d->shown)
        return err_set(err, ERR_MEMORY, 0, "%zu documents", d->count);
    if (d->count == 0)
        return err_set(err, ERR_ABSENT, 0,
                       "there are no records (*.jsonl) in '%s': name the folder that `riverrun "
                       "read` wrote to",
                       folder);
    if (total > most_bytes)
        return err_set(err, ERR_LIMIT, 0, "%llu MB of records",
                       (unsigned long long)total / 1000000);
    qsort(d->items, d->count, sizeof *d->items, by_name);
    return ERR_OK;
}

/* ---- The first reading ---- */

static void add_summary(struct document *d, const json_t *record)
{
    const json_t *list = json_object_get(record, "passages");

    d->passage_count = 0;
    while (d->passage_count < PASSAGES_MAX && d->passage_count < json_array_size(list)) {
        const json_t *begin = json_object_get(json_array_get(list, d->passage_count), "begin");
        d->passages[d->passage_count++] = (uint64_t)json_integer_value(begin);
    }
}

static void add_line(struct document *d, const struct line *line, bool first, struct spread *spread)
{
    if (first)
        d->begin = d->end = line->begin;
    d->finished = line->kind == LINE_DOCUMENT;
    d->others += line->kind == LINE_OTHER;
    d->alerts += line->kind == LINE_ALERT;
    if (line->kind == LINE_SUMMARY)
        add_summary(d, line->record);
    if (line->kind != LINE_UNIT)
        return;
    if (!d->unit)
        d->unit = line->unit;
    if (line->heading == 0 && !d->title)
        d->title = strndup((const char *)line->text.data, line->text.bytes);
    d->units++;
    d->tokens += line->tokens;
    d->bytes += line->end - line->begin;
    d->bits += line->bits;
    d->end = line->end > d->end ? line->end : d->end;
    if (line->end > line->begin)
        spread_add(spread, line->end - line->begin, line->bits);
}

static enum err_code read_one(struct document *d, const char *path, struct spread *spread,
                              uint64_t *records, struct err *err)
{
    struct lines *lines = NULL;
    struct line line = {.kind = LINE_OTHER};
    enum err_code code = lines_open(&lines, path, UINT64_MAX, err);
    bool first = true;

    spread_clear(spread);
    while (!code && line.kind != LINE_END) {
        code = lines_next(lines, &line, err);
        if (code || line.kind == LINE_END)
            break;
        add_line(d, &line, first && line.kind != LINE_OTHER, spread);
        first = first && line.kind == LINE_OTHER;
        ++*records;
    }
    if (!code) {
        d->torn = lines_torn(lines);
        d->whole = lines_whole(lines);
        spread_usual(spread, &d->usual);
        d->top = usual_top(spread, &d->usual, &d->standing_out);
    }
    lines_close(&lines);
    return code;
}

static enum err_code read_all(struct documents *d, const char *folder, struct spread *spread,
                              struct err *err)
{
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < d->count && !code; i++) {
        struct document *one = &d->items[i];
        char *path = document_path(folder, one);
        code = path ? read_one(one, path, spread, &d->records, err)
                    : err_set(err, ERR_MEMORY, 0, "path of '%s'", one->name);
        free(path);
        d->units += one->units;
        d->tokens += one->tokens;
        d->bytes += one->bytes;
        d->bits += one->bits;
        d->torn += one->torn;
        d->finished += one->finished;
    }
    return code;
}

/* ---- Which are notable ---- */

/* How far a document stands out among the others, as its units do in it. */
static void compare(struct documents *d, struct spread *spread)
{
    spread_clear(spread);
    for (size_t i = 0; i < d->count; i++)
        if (d->items[i].bytes)
            spread_add(spread, d->items[i].bytes, d->items[i].bits);
    spread_usual(spread, &d->usual);
    for (size_t i = 0; i < d->count; i++)
        if (d->items[i].bytes)
            d->items[i].apart = usual_score(&d->usual, d->items[i].bytes, d->items[i].bits);
}

/* By what is most unusual about it: a unit of it, or the whole of it; then by size, then by name. */
static int by_notability(const void *a, const void *b)
{
    const struct document *first = *(struct document *const *)a,
                          *second = *(struct document *const *)b;
    double x = fmax(first->top, first->apart), y = fmax(second->top, second->apart);

    if (x != y)
        return x > y ? -1 : 1;
    if (first->bytes != second->bytes)
        return first->bytes > second->bytes ? -1 : 1;
    return strcmp(first->name, second->name);
}

enum err_code documents_read(struct documents *out, const char *folder, size_t sections,
                             uint64_t most_bytes, struct err *err)
{
    struct documents d = {.count = 0};
    struct spread *spread = spread_open();
    enum err_code code =
        spread ? list(&d, folder, most_bytes, err) : err_set(err, ERR_MEMORY, 0, "what is usual");

    if (!code)
        code = read_all(&d, folder, spread, err);
    if (!code) {
        compare(&d, spread);
        d.sections = d.count < sections ? d.count : sections;
        for (size_t i = 0; i < d.count; i++)
            d.shown[i] = &d.items[i];
        if (d.count > sections)
            qsort(d.shown, d.count, sizeof *d.shown, by_notability);
        for (size_t i = 0; i < d.sections; i++)
            d.shown[i]->section = i + 1;
        *out = d;
        d = (struct documents){.count = 0};
    }
    spread_close(&spread);
    documents_release(&d);
    return code;
}
