/* A file of records as the report reads it: twice, the second time into the parts of a section. Whatever is in it, the
 * section is made of our tags alone. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"
#include "tests/fuzz/fuzz.h"

static const struct part *const parts[] = {&part_course, &part_passages, &part_novelty,
                                           &part_changes};

enum { PARTS = sizeof parts / sizeof *parts };

/* As documents.c adds up a file. */
static bool read_once(const char *path, struct spread *spread, struct document *d)
{
    struct lines *lines = NULL;
    struct line line = {.kind = LINE_OTHER};
    bool good = lines_open(&lines, path, UINT64_MAX, NULL) == ERR_OK;

    while (good && !lines_next(lines, &line, NULL) && line.kind != LINE_END) {
        fuzz_touch(line.text.data, line.text.bytes);
        if (line.kind != LINE_UNIT)
            continue;
        d->begin = d->units++ ? d->begin : line.begin;
        d->end = line.end > d->end ? line.end : d->end;
        d->unit = d->unit ? d->unit : line.unit;
        d->bytes += line.end - line.begin;
        d->bits += line.bits;
        if (line.end > line.begin)
            spread_add(spread, line.end - line.begin, line.bits);
    }
    good = good && line.kind == LINE_END;
    if (good)
        d->whole = lines_whole(lines);
    lines_close(&lines);
    return good;
}

static void read_into_parts(const char *path, const struct document *d, FILE *out)
{
    struct section section = {.document = d};
    struct lines *lines = NULL;
    struct line line = {.kind = LINE_OTHER};
    void *selves[PARTS];
    uint64_t ordinal = 0;

    for (size_t i = 0; i < PARTS; i++) {
        selves[i] = calloc(1, parts[i]->bytes);
        require(selves[i]);
        parts[i]->begin(selves[i], &section);
    }
    require(lines_open(&lines, path, d->whole, NULL) == ERR_OK);
    while (!lines_next(lines, &line, NULL) && line.kind != LINE_END) {
        for (size_t i = 0; i < PARTS; i++)
            parts[i]->take(selves[i], &line, ordinal);
        ordinal += line.kind == LINE_UNIT;
    }
    require(line.kind == LINE_END && ordinal == d->units); /* the first reading found no fault */
    lines_close(&lines);
    for (size_t i = 0; i < PARTS; i++)
        if (parts[i]->settle)
            parts[i]->settle(selves[i], &section);
    for (size_t i = 0; i < PARTS; i++) {
        parts[i]->write(selves[i], &section, out);
        free(selves[i]);
    }
}

/* Of what is ours no tag's name begins with q or Q, and neither does any entity. */
static void check(const char *text, size_t bytes)
{
    for (size_t i = 0; i + 1 < bytes; i++)
        require(text[i] != '<' || (text[i + 1] != 'q' && text[i + 1] != 'Q'));
    for (size_t i = 0; i < bytes; i++)
        require((unsigned char)text[i] >= 0x20 || text[i] == '\n' || text[i] == '\t');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct spread *spread = spread_open();
    struct document document = {.name = NULL, .section = 1};
    char path[64], *text = NULL;
    size_t length = 0;
    FILE *out;
    int fd;

    require(spread);
    fuzz_file(data, bytes, &fd, path);
    if (read_once(path, spread, &document)) {
        spread_usual(spread, &document.usual);
        document.top = usual_top(spread, &document.usual, &document.standing_out);
        out = open_memstream(&text, &length);
        require(out);
        read_into_parts(path, &document, out);
        require(fclose(out) == 0);
        check(text, length);
        free(text);
    }
    spread_close(&spread);
    close(fd);
    return 0;
}
