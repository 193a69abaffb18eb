/* What a document says, in its own sentences, and where it says most of that; what happened in a log.
 *
 * The analysis says all of it, in records of the kind summary. A document has one, behind its last unit: where its key
 * passages are is known from the first reading (part.h), so that they can be marked in the picture. A log has one a
 * period; the last PERIODS are shown. */
#include "stages/emit/report/page.h"
#include "stages/emit/report/part.h"

#include <jansson.h>
#include <stdlib.h>

enum { SENTENCES = 10, SHORT = 3, PHRASES = 12, PERIODS = 24, TEXT_BYTES = 1600 };

struct text {
    size_t bytes;
    uint8_t data[TEXT_BYTES];
};

struct excerpt {
    uint64_t begin, end;
    struct text text;
};

struct period {
    uint64_t lines, fresh;
    struct text from, to, novel;
};

struct summary {
    const struct document *document;
    struct excerpt sentences[SENTENCES], passages[PASSAGES_MAX];
    size_t sentence_count, phrase_count, passage_count;
    struct text phrases[PHRASES];
    uint64_t ordinals[PASSAGES_MAX]; /* and 1, of the unit; 0: not met */
    double bits_per_byte[PASSAGES_MAX];
    size_t first_mark, marks;
    struct period periods[PERIODS]; /* a ring */
    uint64_t period_count;
};

static void begin(void *self, const struct section *section)
{
    struct summary *s = self;

    s->document = section->document;
}

/* ---- Taking ---- */

/* Without cutting a character. */
static void hold(struct text *held, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t bytes = text ? json_string_length(value) : 0, all = bytes;

    bytes = bytes < TEXT_BYTES ? bytes : TEXT_BYTES;
    while (bytes < all && bytes > 0 && ((uint8_t)text[bytes] & 0xC0) == 0x80)
        bytes--;
    if (bytes)
        memcpy(held->data, text, bytes);
    held->bytes = bytes;
}

static uint64_t count_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static size_t take_places(const json_t *list, struct excerpt *out, size_t most)
{
    size_t count = json_array_size(list) < most ? json_array_size(list) : most;

    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        out[i].begin = count_of(item, "begin");
        out[i].end = count_of(item, "end");
        hold(&out[i].text, json_object_get(item, "text"));
    }
    return count;
}

static void take_document(struct summary *s, const json_t *record)
{
    const json_t *phrases = json_object_get(record, "phrases");

    s->sentence_count = take_places(json_object_get(record, "sentences"), s->sentences, SENTENCES);
    s->passage_count = take_places(json_object_get(record, "passages"), s->passages, PASSAGES_MAX);
    s->phrase_count = 0;
    while (s->phrase_count < PHRASES && s->phrase_count < json_array_size(phrases)) {
        const json_t *item = json_array_get(phrases, s->phrase_count);
        hold(&s->phrases[s->phrase_count++], json_object_get(item, "text"));
    }
}

static void take_period(struct summary *s, const json_t *record)
{
    struct period *p = &s->periods[s->period_count++ % PERIODS];

    p->lines = count_of(record, "lines");
    p->fresh = count_of(record, "new_templates");
    hold(&p->from, json_object_get(record, "from"));
    hold(&p->to, json_object_get(record, "to"));
    hold(&p->novel, json_object_get(record, "text"));
}

static void take(void *self, const struct line *line, uint64_t ordinal)
{
    struct summary *s = self;

    if (line->kind == LINE_SUMMARY && json_object_get(line->record, "lines"))
        take_period(s, line->record);
    else if (line->kind == LINE_SUMMARY)
        take_document(s, line->record);
    for (size_t i = 0; line->kind == LINE_UNIT && i < s->document->passage_count; i++)
        if (line->end > line->begin && line->begin <= s->document->passages[i] &&
            s->document->passages[i] < line->end) {
            s->ordinals[i] = ordinal + 1;
            s->bits_per_byte[i] = line->bits / (double)(line->end - line->begin);
        }
}

static void settle(void *self, struct section *section)
{
    struct summary *s = self;

    s->first_mark = section->mark_count;
    for (size_t i = 0; i < s->passage_count && section->mark_count < MARKS_MAX; i++) {
        struct mark *mark = &section->marks[section->mark_count];
        if (!s->ordinals[i])
            break;
        *mark = (struct mark){.low = true,
                              .at = s->ordinals[i] - 1,
                              .begin = s->passages[i].begin,
                              .end = s->passages[i].end,
                              .bits_per_byte = s->bits_per_byte[i]};
        snprintf(mark->id, sizeof mark->id, "K%u", (unsigned)(i + 1) % 10);
        section->mark_count++;
        s->marks++;
    }
}

/* ---- Writing ---- */

static struct view shown(const struct text *text)
{
    return (struct view){text->data, text->bytes};
}

static int by_place(const void *a, const void *b)
{
    const struct excerpt *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* The first count of the ranks, in the order of the text, as one paragraph. */
static void write_sentences(const struct summary *s, size_t count, FILE *out)
{
    struct excerpt *sorted = malloc(count * sizeof *sorted);

    if (!sorted)
        return;
    memcpy(sorted, s->sentences, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_place);
    fputs("<p lang=\"\" dir=\"auto\">", out);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? " <span class=\"soft\">[…]</span> " : "", out);
        page_text(out, shown(&sorted[i].text));
    }
    fputs("</p>\n", out);
    free(sorted);
}

static void write_short(const struct summary *s, FILE *out)
{
    size_t few = s->sentence_count < SHORT ? s->sentence_count : SHORT;

    fputs("<h3>In its own words</h3>\n", out);
    write_sentences(s, few, out);
    if (s->sentence_count > few) {
        fprintf(out, "<details><summary>In %zu sentences</summary>\n", s->sentence_count);
        write_sentences(s, s->sentence_count, out);
        fputs("</details>\n", out);
    }
    if (!s->phrase_count)
        return;
    fputs("<p><b>About</b> <span lang=\"\">", out);
    for (size_t i = 0; i < s->phrase_count; i++) {
        fputs(i ? ", " : "", out);
        page_text(out, shown(&s->phrases[i]));
    }
    fputs("</span></p>\n", out);
}

static void write_passage(const struct summary *s, const struct section *section, size_t i,
                          FILE *out)
{
    const char *id = section->marks[s->first_mark + i].id;
    size_t d = section->document->section;

    fprintf(out, "<li id=\"d%zup%s\">", d, id);
    if (part_has_course(section->document))
        fprintf(
            out,
            "<a class=\"mark low\" href=\"#d%zum%s\" aria-label=\"Key passage %zu: show it in the "
            "picture\">%s</a>\n",
            d, id, i + 1, id);
    else
        fprintf(out, "<span class=\"mark low\">%s</span>\n", id);
    fputs("<blockquote lang=\"\" dir=\"auto\">", out);
    page_text(out, shown(&s->passages[i].text));
    fputs("</blockquote>\n<p class=\"facts\">bytes ", out);
    page_count(out, s->passages[i].begin);
    fputs(" to ", out);
    page_count(out, s->passages[i].end);
    fputs("</p></li>\n", out);
}

static void write_periods(const struct summary *s, FILE *out)
{
    uint64_t shown_count = s->period_count < PERIODS ? s->period_count : PERIODS;

    fputs("<h3>Period by period</h3>\n", out);
    if (shown_count < s->period_count) {
        fputs("<p class=\"soft\">The last of ", out);
        page_count(out, s->period_count);
        fputs(".</p>\n", out);
    }
    fputs("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of the "
          "periods\"><table class=\"periods\">\n<thead><tr><th scope=\"col\">from, to</th><th "
          "scope=\"col\">lines</th><th scope=\"col\">new templates</th><th scope=\"col\" "
          "class=\"line\">the most novel line</th></tr></thead>\n<tbody>\n",
          out);
    for (uint64_t i = s->period_count - shown_count; i < s->period_count; i++) {
        const struct period *p = &s->periods[i % PERIODS];
        fputs("<tr><th scope=\"row\">", out);
        if (p->from.bytes) {
            page_text(out, shown(&p->from));
            fputs(" – ", out);
            page_text(out, shown(&p->to));
        } else {
            fputs("no time", out);
        }
        fputs("</th><td>", out);
        page_count(out, p->lines);
        fputs("</td><td>", out);
        page_count(out, p->fresh);
        fputs("</td><td class=\"code\" lang=\"\">", out);
        page_text(out, shown(&p->novel));
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void write(void *self, const struct section *section, FILE *out)
{
    const struct summary *s = self;

    if (s->sentence_count)
        write_short(s, out);
    if (s->marks) {
        fputs("<h3>Key passages</h3>\n<ol class=\"passages\">\n", out);
        for (size_t i = 0; i < s->marks; i++)
            write_passage(s, section, i, out);
        fputs("</ol>\n", out);
    }
    if (s->period_count)
        write_periods(s, out);
}

const struct part part_summary = {.name = "summary",
                                  .bytes = sizeof(struct summary),
                                  .begin = begin,
                                  .take = take,
                                  .settle = settle,
                                  .write = write};
