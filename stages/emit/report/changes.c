/* What was changed on the way: lineage records. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"

enum { SHOWN = 20, TEXT_BYTES = 400 };

struct change {
    uint64_t at;
    size_t bytes;
    uint8_t text[TEXT_BYTES];
};

struct changes {
    uint64_t count;
    struct change first[SHOWN];
};

static void begin(void *self, const struct section *section)
{
    (void)self;
    (void)section;
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct changes *c = self;

    (void)ordinal;
    if (line->kind != LINE_LINEAGE)
        return;
    if (c->count < SHOWN) {
        struct change *change = &c->first[c->count];
        change->at = line->begin;
        change->bytes = line->text.bytes < TEXT_BYTES ? line->text.bytes : TEXT_BYTES;
        memcpy(change->text, line->text.data, change->bytes);
    }
    c->count++;
}

static void write(void *self, const struct section *section, FILE *out)
{
    const struct changes *c = self;

    (void)section;
    if (c->count == 0)
        return;
    fputs("<h3>Changed on the way</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th "
          "scope=\"col\">What</th><th scope=\"col\">from byte</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < c->count && i < SHOWN; i++) {
        fputs("<tr><th scope=\"row\">", out);
        page_text(out, (struct view){c->first[i].text, c->first[i].bytes});
        fputs("</th><td>", out);
        page_count(out, c->first[i].at);
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
    if (c->count > SHOWN) {
        fputs("<p class=\"soft\">And ", out);
        page_count(out, c->count - SHOWN);
        fputs(" more.</p>\n", out);
    }
}

const struct part part_changes = {.name = "changes",
                                  .bytes = sizeof(struct changes),
                                  .begin = begin,
                                  .take = take,
                                  .write = write};
