/* The chapters of a document: what each cost, and where it begins in the picture. A chapter goes from a unit that
 * begins with a heading to the next such unit, so one that holds others counts its own beginning alone. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"

enum { SHOWN = 500, NAME_BYTES = 240, OPEN_MOST = 40 };

struct chapter {
    uint64_t ordinal, begin, bytes;
    double bits;
    size_t name_bytes;
    uint8_t name[NAME_BYTES];
};

struct chapters {
    uint64_t count;
    struct chapter first[SHOWN]; /* (count), at most */
};

static void begin(void *self, const struct section *section)
{
    (void)self;
    (void)section;
}

/* The end of a name that is too long: the lowest headings tell more. */
static void hold_name(struct chapter *c, struct view name)
{
    while (name.bytes > NAME_BYTES || (name.bytes && (name.data[0] & 0xC0) == 0x80)) {
        name.data++;
        name.bytes--;
    }
    memcpy(c->name, name.data, name.bytes);
    c->name_bytes = name.bytes;
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct chapters *c = self;

    if (line->kind != LINE_UNIT)
        return;
    if (line->heading > 0 && c->count++ < SHOWN) {
        struct chapter *chapter = &c->first[c->count - 1];
        chapter->ordinal = ordinal;
        chapter->begin = line->begin;
        hold_name(chapter, line->section);
    }
    if (c->count && c->count <= SHOWN) {
        c->first[c->count - 1].bytes += line->end - line->begin;
        c->first[c->count - 1].bits += line->bits;
    }
}

static void settle(void *self, struct section *section)
{
    const struct chapters *c = self;

    for (size_t i = 0; i < c->count && i < SHOWN && section->tick_count < TICKS_MAX; i++)
        section->ticks[section->tick_count++] =
            (struct tick){c->first[i].ordinal, c->first[i].begin};
}

static void write_row(const struct chapter *c, FILE *out)
{
    fputs("<tr><th scope=\"row\">", out);
    page_text(out, (struct view){c->name, c->name_bytes});
    fprintf(out, "</th><td>%.3f</td><td>", c->bytes ? c->bits / (double)c->bytes : 0);
    page_count(out, c->bytes);
    fputs("</td><td>", out);
    page_count(out, c->begin);
    fputs("</td></tr>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    const struct chapters *c = self;
    uint64_t shown = c->count < SHOWN ? c->count : SHOWN;

    if (c->count == 0)
        return;
    fprintf(out, "<h3 id=\"d%zu-chapters\">Chapters</h3>\n<details%s><summary>",
            section->document->section, shown <= OPEN_MOST ? " open" : "");
    page_counted(out, c->count, "heading");
    fputs(", and what the text from each to the next cost</summary>\n<div class=\"scroll\" "
          "tabindex=\"0\" role=\"region\" aria-label=\"Table of the chapters\"><table>\n"
          "<thead><tr><th scope=\"col\">Chapter</th><th scope=\"col\">bits per byte</th>"
          "<th scope=\"col\">bytes</th><th scope=\"col\">from byte</th></tr></thead>\n<tbody>\n",
          out);
    for (uint64_t i = 0; i < shown; i++)
        write_row(&c->first[i], out);
    fputs("</tbody></table></div></details>\n", out);
    if (c->count > SHOWN) {
        fputs("<p class=\"soft\">And ", out);
        page_count(out, c->count - SHOWN);
        fputs(" more.</p>\n", out);
    }
}

const struct part part_chapters = {.name = "chapters",
                                   .bytes = sizeof(struct chapters),
                                   .begin = begin,
                                   .take = take,
                                   .settle = settle,
                                   .write = write};
