#include "stages/emit/vectors.h"
#include "schemas/outfile.h"
#include "stages/emit/report/documents.h"
#include "stages/emit/whitening.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADER_BYTES = 128, ROW_TEXT_MAX = 1024 };

static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t vectors_decode(struct view text, int8_t *out, size_t room)
{
    size_t count = 0, digits = text.bytes;

    if (text.bytes % 4)
        return 0;
    while (digits && text.bytes - digits < 2 && text.data[digits - 1] == '=')
        digits--;
    if (digits % 4 == 1 || digits / 4 * 3 + (digits % 4 ? digits % 4 - 1 : 0) > room)
        return 0;
    for (size_t at = 0; at < digits; at += 4) {
        size_t have = digits - at < 4 ? digits - at : 4;
        uint32_t group = 0;
        for (size_t i = 0; i < 4; i++) {
            int digit = i < have ? digit_of(text.data[at + i]) : 0;
            if (digit < 0)
                return 0;
            group = group << 6 | (uint32_t)digit;
        }
        for (size_t i = 0; i + 1 < have; i++)
            out[count++] = (int8_t)(uint8_t)(group >> (16 - 8 * i));
    }
    return count;
}

static void to_length_1(double *vector, size_t count)
{
    double squares = 0, length;

    for (size_t i = 0; i < count; i++)
        squares += vector[i] * vector[i];
    length = squares > 0 ? sqrt(squares) : 1;
    for (size_t i = 0; i < count; i++)
        vector[i] /= length;
}

size_t vectors_direction(struct view text, double *out, size_t room)
{
    int8_t bytes[VECTORS_DIMENSIONS_MAX];
    size_t count = vectors_decode(text, bytes, room < sizeof bytes ? room : sizeof bytes);

    for (size_t i = 0; i < count; i++)
        out[i] = bytes[i];
    to_length_1(out, count);
    return count;
}

/* The records are read twice: first, without files, to count and to learn what is usual. */
struct exporting {
    struct outfile *array, *index;
    struct vectors_made made;
    bool raw;
    struct whitening whitening;
    double *room; /* of the whitening */
    double vector[VECTORS_DIMENSIONS_MAX];
    float row[VECTORS_DIMENSIONS_MAX];
};

/* The first vector says how many dimensions there are. */
static enum err_code learn(struct exporting *e, size_t count, struct err *err)
{
    if (e->raw)
        return ERR_OK;
    if (!e->room) {
        e->room = malloc(whitening_doubles(count) * sizeof *e->room);
        if (!e->room)
            return err_set(err, ERR_MEMORY, 0, "what is usual in %zu dimensions", count);
        whitening_begin(&e->whitening, count, e->room);
    }
    whitening_add(&e->whitening, e->vector);
    return ERR_OK;
}

static void make_row(struct exporting *e, size_t count)
{
    if (!e->raw) {
        whitening_apply(&e->whitening, e->vector);
        to_length_1(e->vector, count);
    }
    for (size_t i = 0; i < count; i++)
        e->row[i] = (float)e->vector[i];
}

static enum err_code write_row(struct exporting *e, const char *stream, const struct line *line,
                               size_t count, struct err *err)
{
    char text[ROW_TEXT_MAX];
    int bytes =
        snprintf(text, sizeof text, "%llu\t%s\t%llu\t%s\t%llu\t%llu\n",
                 (unsigned long long)e->made.rows, stream, (unsigned long long)line->seq,
                 line->unit, (unsigned long long)line->begin, (unsigned long long)line->end);

    make_row(e, count);
    if (outfile_write(e->array, e->row, count * sizeof *e->row, err))
        return err->code;
    return outfile_write(e->index, text, (size_t)bytes, err);
}

static enum err_code take(struct exporting *e, const char *stream, const struct line *line,
                          struct err *err)
{
    size_t count;

    if (line->kind != LINE_UNIT)
        return ERR_OK;
    if (!line->embedding.data) {
        e->made.without++;
        return ERR_OK;
    }
    count = vectors_direction(line->embedding, e->vector, VECTORS_DIMENSIONS_MAX);
    if (!count || (e->made.dimensions && count != e->made.dimensions))
        return err_set(
            err, ERR_SINK, 0,
            "stream '%s', record %llu: an embedding of %zu dimensions where those before "
            "it have %llu: vectors of two models have no common array",
            stream, (unsigned long long)line->seq, count, (unsigned long long)e->made.dimensions);
    e->made.dimensions = count;
    if (e->array ? write_row(e, stream, line, count, err) : learn(e, count, err))
        return err->code;
    e->made.rows++;
    return ERR_OK;
}

static enum err_code read_one(struct exporting *e, const char *folder, const struct document *d,
                              struct err *err)
{
    char *path = document_path(folder, d);
    struct lines *lines = NULL;
    struct line line = {.kind = LINE_OTHER};
    enum err_code code = path ? lines_open(&lines, path, d->whole, err)
                              : err_set(err, ERR_MEMORY, 0, "path of '%s'", d->name);

    while (!code && !(code = lines_next(lines, &line, err)) && line.kind != LINE_END)
        code = take(e, d->name, &line, err);
    lines_close(&lines);
    free(path);
    return code;
}

static enum err_code read_all(struct exporting *e, const struct documents *documents,
                              const char *folder, struct err *err)
{
    enum err_code code = ERR_OK;

    e->made = (struct vectors_made){.rows = 0};
    for (size_t i = 0; i < documents->count && !code; i++)
        code = read_one(e, folder, &documents->items[i], err);
    return code;
}

/* Numpy's format, version 1.0. */
static const char array_begin[] = "\x93NUMPY\x01";
static const char columns[] = "row\tstream\tseq\tkind\tbegin\tend\n";

static enum err_code check_files(const struct vectors_options *o, struct err *err)
{
    enum err_code code =
        outfile_may_replace(o->array, "array", array_begin, sizeof array_begin, err);

    return code ? code : outfile_may_replace(o->index, "table", columns, sizeof columns - 1, err);
}

/* Padded to HEADER_BYTES. */
static enum err_code write_header(struct exporting *e, struct err *err)
{
    char header[HEADER_BYTES], dict[HEADER_BYTES - 16];

    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
             (unsigned long long)e->made.rows, (unsigned long long)e->made.dimensions);
    memset(header, ' ', sizeof header);
    memcpy(header, array_begin, sizeof array_begin); /* with the minor version, 0 */
    header[8] = HEADER_BYTES - 10;
    header[9] = 0;
    memcpy(header + 10, dict, strlen(dict));
    header[HEADER_BYTES - 1] = '\n';
    if (outfile_write(e->array, header, HEADER_BYTES, err))
        return err->code;
    return outfile_write(e->index, columns, sizeof columns - 1, err);
}

static enum err_code write_files(struct exporting *e, const struct vectors_options *o,
                                 const struct documents *documents, struct err *err)
{
    enum err_code code = outfile_open(&e->array, o->array, err);

    if (!code)
        code = outfile_open(&e->index, o->index, err);
    if (!code)
        code = write_header(e, err);
    if (!code)
        code = read_all(e, documents, o->folder, err);
    if (!code)
        code = outfile_commit(&e->index, err);
    if (!code)
        code = outfile_commit(&e->array, err);
    outfile_close(&e->array);
    outfile_close(&e->index);
    return code;
}

enum err_code vectors_export(const struct vectors_options *options, struct vectors_made *made,
                             struct err *err)
{
    struct documents documents = {.count = 0};
    enum err_code code = check_files(options, err);
    struct exporting *e;

    if (code)
        return code;
    e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, ERR_MEMORY, 0, "embeddings");
    e->raw = options->raw;
    code = documents_read(&documents, options->folder, 0, UINT64_MAX, err);
    if (!code)
        code = read_all(e, &documents, options->folder, err);
    if (!code && !e->made.rows)
        code = err_set(err, ERR_ABSENT, 0,
                       "there are no embeddings in the records of '%s': read with --analyze "
                       "embeddings",
                       options->folder);
    if (!code && !e->raw)
        whitening_settle(&e->whitening);
    if (!code)
        code = write_files(e, options, &documents, err);
    if (!code)
        *made = e->made;
    documents_release(&documents);
    free(e->room);
    free(e);
    return code;
}
