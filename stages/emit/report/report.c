/* The page of a job: its head, a table of its documents, a section for each that is shown. */
#include "stages/emit/report/report.h"

#include "schemas/outfile.h"
#include "stages/emit/report/documents.h"
#include "stages/emit/report/page.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { STREAM_BYTES = 1 << 16, TITLE_BYTES = 512 };

/* In the order of the page. */
static const struct part *const parts[] = {&part_course,   &part_summary,  &part_map,
                                           &part_chapters, &part_passages, &part_novelty,
                                           &part_changes};

enum { PARTS = sizeof parts / sizeof *parts };

bool part_by_line(const struct document *document)
{
    return document->unit && strcmp(document->unit, "paragraph") != 0 &&
           strcmp(document->unit, "section") != 0;
}

bool part_has_course(const struct document *document)
{
    return document->units > 1;
}

void part_place(FILE *out, const struct document *document, uint64_t ordinal, uint64_t begin)
{
    fprintf(out, "%s ", part_by_line(document) ? document->unit : "byte");
    page_count(out, part_by_line(document) ? ordinal + 1 : begin);
}

/* ---- Names ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What a document calls itself, or else the last part of the path or key that its stream's name was made of
 * (ingest/paths.h). */
static struct view title_of(const struct document *document, uint8_t title[TITLE_BYTES])
{
    const char *last = strrchr(document->name, '+'),
               *at = last && last[1] ? last + 1 : document->name;
    size_t bytes = 0;

    if (document->title)
        return (struct view){(const uint8_t *)document->title, strlen(document->title)};
    for (; *at && bytes < TITLE_BYTES; at++) {
        int high = at[0] == '%' ? hex_digit(at[1]) : -1, low = high >= 0 ? hex_digit(at[2]) : -1;
        title[bytes++] = low >= 0 ? (uint8_t)(high << 4 | low) : (uint8_t)*at;
        at += low >= 0 ? 2 : 0;
    }
    return (struct view){title, bytes};
}

static void write_title(FILE *out, const struct document *document)
{
    uint8_t title[TITLE_BYTES];

    page_text(out, title_of(document, title));
}

static double bits_per_byte(double bits, uint64_t bytes)
{
    return bytes ? bits / (double)bytes : 0;
}

/* ---- The head ---- */

static const char explanation[] =
    "<p><strong>Surprisal</strong> is how much of a text the model did not see coming. Before each "
    "piece of it the model says how probable that piece is, given all that came before. What it "
    "gave a chance of 1 in 2 costs 1 bit, of 1 in 1,000 about 10. The bits of a passage, divided "
    "by its bytes, are low where the text goes on as expected and high where it does not: a turn, "
    "a name, another language; in a log an event that is not like the others.</p>\n";

static const char about_scores[] =
    "<footer>\n<p>How far a passage stands out is told in MAD, median absolute deviations: half of "
    "all passages are within 1 MAD of the usual. It is compared with passages of its own length, "
    "and with the document as a whole, and the lesser of the two figures counts; that of passages "
    "of a few words is made smaller still. So short ones, which cost more and scatter more, do not "
    "stand out for being short.</p>\n</footer>\n";

static void write_lede(FILE *out, const struct documents *d)
{
    fputs("<p class=\"lede\">", out);
    page_counted(out, d->bytes, "byte");
    fputs(" in ", out);
    page_counted(out, d->tokens, "token");
    if (d->bytes)
        fprintf(out, ": <strong>%.3f bits per byte</strong>", bits_per_byte(d->bits, d->bytes));
    fputs(".", out);
    if (d->count == 1 && !d->finished)
        fputs(" It is not read to its end yet.", out);
    if (d->count > 1 && d->finished == 0) {
        fputs(" None of them is read to its end yet.", out);
    } else if (d->count > 1 && d->finished < d->count) {
        fputs(" ", out);
        page_count(out, d->count - d->finished);
        fputs(d->count - d->finished == 1 ? " is not read to its end yet."
                                          : " are not read to their ends yet.",
              out);
    }
    fputs("</p>\n", out);
}

static void write_head(FILE *out, const struct documents *d)
{
    fputs("<header>\n<p class=\"kicker\">riverrun report</p>\n<h1>", out);
    if (d->count == 1)
        write_title(out, d->shown[0]);
    else
        page_counted(out, d->count, "document");
    fputs("</h1>\n", out);
    write_lede(out, d);
    fputs(explanation, out);
    fputs("</header>\n", out);
}

/* ---- The table of documents ---- */

static void write_cell_count(FILE *out, uint64_t count)
{
    fputs("<td>", out);
    page_count(out, count);
    fputs("</td>", out);
}

static void write_cell_score(FILE *out, bool known, double score)
{
    if (known)
        fprintf(out, "<td>%s%.1f</td>", score < -0.05 ? "&minus;" : "", fabs(score));
    else
        fputs("<td><span class=\"soft\">&ndash;</span></td>", out);
}

static void write_row(FILE *out, const struct documents *all, const struct document *d)
{
    fputs("<tr><th scope=\"row\">", out);
    if (d->section)
        fprintf(out, "<a href=\"#d%zu\">", d->section);
    write_title(out, d);
    fputs(d->section ? "</a></th>" : "</th>", out);
    if (d->bytes)
        fprintf(out, "<td>%.3f</td>", bits_per_byte(d->bits, d->bytes));
    else
        write_cell_score(out, false, 0);
    write_cell_score(out, d->usual.known, d->top);
    write_cell_count(out, d->standing_out);
    if (all->usual.known)
        write_cell_score(out, d->bytes > 0, d->apart);
    write_cell_count(out, d->units);
    write_cell_count(out, d->bytes);
    fputs("</tr>\n", out);
}

static void write_table(FILE *out, const struct documents *d)
{
    size_t rows = d->count < REPORT_ROWS_MAX ? d->count : REPORT_ROWS_MAX;

    fputs("<section id=\"documents\">\n<h2>The documents</h2>\n", out);
    if (d->count > d->sections) {
        fprintf(out,
                "<p>The %zu most notable come first, by their most surprising passage or by how "
                "far they "
                "stand off from the others as a whole; the first %zu are shown in full below.",
                rows, d->sections);
        if (d->count > rows) {
            fputs(" The other ", out);
            page_count(out, d->count - rows);
            fputs(" are only counted.", out);
        }
        fputs("</p>\n", out);
    }
    fputs("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of the "
          "documents\">"
          "<table>\n<thead><tr><th scope=\"col\">Document</th><th scope=\"col\">bits per byte</th>"
          "<th scope=\"col\">highest, MAD</th><th scope=\"col\">standing out</th>",
          out);
    if (d->usual.known)
        fputs("<th scope=\"col\">against the others, MAD</th>", out);
    fputs("<th scope=\"col\">passages</th><th scope=\"col\">bytes</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < rows; i++)
        write_row(out, d, d->shown[i]);
    fputs("</tbody>\n</table></div>\n</section>\n", out);
}

/* ---- A section ---- */

static void write_usual(FILE *out, const struct document *d)
{
    char from[PAGE_NUMBER_BYTES], to[PAGE_NUMBER_BYTES];

    if (!d->usual.known)
        return;
    fprintf(out,
            "<details><summary>What is usual here</summary>\n<div class=\"scroll\"><table>\n"
            "<caption>Bits per byte by length. Where a length has fewer than %d %s its "
            "neighbours count too.</caption>\n<thead><tr><th scope=\"col\">length, bytes</th>"
            "<th scope=\"col\">%s</th><th scope=\"col\">median</th><th scope=\"col\">MAD</th></tr>"
            "</thead>\n<tbody>\n",
            USUAL_NEAR_LEAST, page_plural(d->unit), page_plural(d->unit));
    for (size_t i = 0; i < USUAL_LENGTHS; i++) {
        const struct usual_length *of = &d->usual.of[i];
        if (of->units == 0)
            continue;
        page_grouped(UINT64_C(1) << i, from);
        page_grouped((UINT64_C(2) << i) - 1, to);
        fprintf(out, "<tr><th scope=\"row\">%s%s%s</th>", from,
                i == USUAL_LENGTHS - 1 ? " and more"
                : i                    ? " to "
                                       : "",
                i && i < USUAL_LENGTHS - 1 ? to : "");
        write_cell_count(out, of->units);
        fprintf(out, "<td>%.2f</td><td>%.2f</td></tr>\n", of->median, of->mad);
    }
    fputs("<tr><th scope=\"row\">each byte counted once</th>", out);
    write_cell_count(out, d->usual.units);
    fprintf(out, "<td>%.2f</td><td>%.2f</td></tr>\n</tbody></table></div></details>\n",
            d->usual.median, d->usual.mad);
}

/* What is left to be said of a document behind its numbers. */
static void write_remarks(FILE *out, const struct document *d)
{
    if (d->torn)
        fputs("Its last record was torn when its run was ended and is passed over; the next run "
              "writes it anew. ",
              out);
    if (d->units && !d->usual.known)
        fprintf(out, "With fewer than %d %s nothing can be called usual. ", USUAL_UNITS_LEAST,
                page_plural(d->unit));
    if (d->alerts) {
        page_counted(out, d->alerts, "alert");
        fputs(" of novel lines, in its records of kind <code>alert</code>. ", out);
    }
    if (d->others) {
        page_counted(out, d->others, "record");
        fputs(" of kinds that this version does not know.", out);
    }
}

/* The numbers of the only document stand in the page's head already. */
static void write_section_head(FILE *out, const struct documents *all, const struct document *d)
{
    fprintf(out, "<section id=\"d%zu\">\n<h2>", d->section);
    if (all->count == 1)
        fputs("Along the text", out);
    else
        write_title(out, d);
    fputs("</h2>\n<p class=\"name\">", out);
    page_words(out, d->name);
    fputs("</p>\n<p>", out);
    page_counted(out, d->units, d->unit ? d->unit : "record");
    if (all->count > 1) {
        fputs(", ", out);
        page_counted(out, d->bytes, "byte");
        fputs(", ", out);
        page_counted(out, d->tokens, "token");
        if (d->bytes)
            fprintf(out, ", <strong>%.3f bits per byte</strong>", bits_per_byte(d->bits, d->bytes));
        fputs(d->finished ? "" : "; not read to its end yet", out);
    }
    fputs(". ", out);
    write_remarks(out, d);
    fputs("</p>\n", out);
}

/* The second reading of a document: what was whole in the first. */
static enum err_code read_again(const struct document *d, const char *path, void *const *selves,
                                struct err *err)
{
    struct lines *lines = NULL;
    struct line line = {.kind = LINE_OTHER};
    enum err_code code = lines_open(&lines, path, d->whole, err);
    uint64_t ordinal = 0;

    while (!code && line.kind != LINE_END) {
        code = lines_next(lines, &line, err);
        if (code || line.kind == LINE_END)
            break;
        for (size_t i = 0; i < PARTS; i++)
            parts[i]->take(selves[i], &line, ordinal);
        ordinal += line.kind == LINE_UNIT;
    }
    if (!code && (ordinal != d->units || lines_whole(lines) != d->whole))
        code = err_set(err, ERR_SINK, 0,
                       "'%s' has changed while it was read: ask for the report again", path);
    lines_close(&lines);
    return code;
}

static enum err_code write_section(FILE *out, const struct documents *all, const char *folder,
                                   const struct document *d, struct err *err)
{
    struct section section = {.document = d};
    char *path = document_path(folder, d);
    void *selves[PARTS] = {NULL};
    bool good = path != NULL;
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < PARTS; i++) {
        selves[i] = calloc(1, parts[i]->bytes);
        good = good && selves[i];
        if (good)
            parts[i]->begin(selves[i], &section);
    }
    code = good ? read_again(d, path, selves, err)
                : err_set(err, ERR_MEMORY, 0, "section of '%s'", d->name);
    for (size_t i = 0; i < PARTS && !code; i++)
        if (parts[i]->settle)
            parts[i]->settle(selves[i], &section);
    if (!code)
        write_section_head(out, all, d);
    for (size_t i = 0; i < PARTS && !code; i++)
        parts[i]->write(selves[i], &section, out);
    if (!code) {
        write_usual(out, d);
        fputs(all->count > 1 ? "<p class=\"back\"><a href=\"#documents\">All documents</a></p>\n"
                             : "",
              out);
        fputs("</section>\n", out);
    }
    for (size_t i = 0; i < PARTS; i++)
        free(selves[i]);
    free(path);
    return code;
}

static enum err_code write_page(FILE *out, const struct documents *d, const char *folder,
                                struct err *err)
{
    struct view title = {NULL, 0};
    uint8_t text[TITLE_BYTES];
    enum err_code code = ERR_OK;

    if (d->count == 1)
        title = title_of(d->shown[0], text);
    page_begin(out, title);
    write_head(out, d);
    fputs("<main>\n", out);
    if (d->count > 1)
        write_table(out, d);
    for (size_t i = 0; i < d->sections && !code; i++)
        code = write_section(out, d, folder, d->shown[i], err);
    fputs("</main>\n", out);
    fputs(about_scores, out);
    page_end(out);
    return code;
}

/* ---- The file ---- */

struct sheet {
    struct outfile *file;
    struct err err; /* of the first write that failed */
};

static ssize_t write_sheet(void *self, const char *data, size_t bytes)
{
    struct sheet *sheet = self;

    if (sheet->err.code || outfile_write(sheet->file, data, bytes, &sheet->err))
        return 0;
    return (ssize_t)bytes;
}

static enum err_code write_file(const struct report_options *o, const struct documents *documents,
                                struct err *err)
{
    const cookie_io_functions_t calls = {.write = write_sheet};
    struct sheet sheet = {.file = NULL};
    enum err_code code = outfile_open(&sheet.file, o->path, err);
    FILE *out = code ? NULL : fopencookie(&sheet, "w", calls);

    if (!code && !out)
        code = err_set(err, ERR_MEMORY, 0, "report '%s'", o->path);
    if (out) {
        setvbuf(out, NULL, _IOFBF, STREAM_BYTES);
        code = write_page(out, documents, o->folder, err);
        if (fclose(out) && !code && !sheet.err.code)
            code = err_set(err, ERR_SINK, errno, "write '%s'", o->path);
    }
    if (!code && sheet.err.code) {
        *err = sheet.err;
        code = err->code;
    }
    if (!code)
        code = outfile_commit(&sheet.file, err);
    outfile_close(&sheet.file);
    return code;
}

enum err_code report_make(const struct report_options *options, struct report_made *made,
                          struct err *err)
{
    static const char begin[] = PAGE_BEGIN;
    struct documents documents;
    enum err_code code;

    code = outfile_may_replace(options->path, "report", begin, sizeof begin - 1, err);
    if (code)
        return code;
    code =
        documents_read(&documents, options->folder, REPORT_SECTIONS_MAX, options->most_bytes, err);
    if (code)
        return code;
    code = write_file(options, &documents, err);
    if (!code && made)
        *made = (struct report_made){documents.count, documents.records, documents.torn};
    documents_release(&documents);
    return code;
}
