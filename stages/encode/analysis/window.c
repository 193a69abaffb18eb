#include "stages/encode/analysis/window.h"

#include <math.h>
#include <stdlib.h>

static void hold(struct period_text *held, struct view text)
{
    struct view part = record_excerpt(text, true);

    held->bytes = (uint8_t)part.bytes;
    if (part.bytes)
        memcpy(held->data, part.data, part.bytes);
}

static struct view shown(const struct period_text *held)
{
    return (struct view){held->data, held->bytes};
}

static const struct record_field *field_of(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->field_count; i++)
        if (strcmp(record->fields[i].name, name) == 0)
            return &record->fields[i];
    return NULL;
}

/* ---- Counting ---- */

/* The one with this number, or a place for it. Where there is none left it takes that of the one with least lines, and
 * those with it ("Space-Saving"): so none with more than one line in PERIOD_TEMPLATES of the period's is put out. */
static struct period_template *place_of(struct period *p, uint64_t id)
{
    struct period_template *least = &p->templates[0];

    for (size_t i = 0; i < p->template_count; i++) {
        if (p->templates[i].id == id)
            return &p->templates[i];
        if (p->templates[i].lines < least->lines)
            least = &p->templates[i];
    }
    if (p->template_count < PERIOD_TEMPLATES)
        *(least = &p->templates[p->template_count++]) = (struct period_template){.lines = 0};
    least->others = least->lines;
    least->id = id;
    return least;
}

static void count_template(struct period *p, const struct record *record)
{
    const struct record_field *id = field_of(record, "template_id");
    const struct record_field *text = field_of(record, "template");
    const struct record_field *count = field_of(record, "template_count");
    struct period_template *one;

    if (!id || !text || !count)
        return;
    one = place_of(p, id->count);
    one->lines++;
    if (count->count == 1 && p->fresh++ == 0)
        p->first_fresh = id->count;
    hold(&one->text, text->text);
}

/* Of equals the earlier. */
static void rank(struct period *p, struct view text, const struct record *record)
{
    const struct record_field *novelty = field_of(record, "novelty");
    size_t at = p->novel_count;

    if (!novelty)
        return;
    while (at > 0 && p->novel[at - 1].novelty < novelty->real)
        at--;
    if (at == PERIOD_NOVEL)
        return;
    p->novel_count += p->novel_count < PERIOD_NOVEL;
    memmove(&p->novel[at + 1], &p->novel[at], (p->novel_count - 1 - at) * sizeof p->novel[0]);
    p->novel[at] =
        (struct period_line){.begin = record->begin, .end = record->end, .novelty = novelty->real};
    hold(&p->novel[at].text, text);
}

static struct period_time time_of(const struct logtime *time)
{
    struct period_time out = {.form = time->form, .seconds = time->seconds};

    hold(&out.text, time->text);
    return out;
}

static void add_time(struct period *p, const struct logtime *time)
{
    if (!p->timed)
        p->from = time_of(time);
    p->timed = true;
    hold(&p->to, time->text);
    if (time->form == p->from.form || time->form != p->other.form)
        p->others = 0;
    if (time->form == p->from.form)
        p->ours += p->ours < PERIOD_LEAST;
    if (time->form == p->from.form || p->ours == PERIOD_LEAST)
        return;
    if (p->others == 0)
        p->other = time_of(time);
    if (++p->others < PERIOD_LEAST)
        return;
    p->from = p->other; /* what stood before was a heading, or a number that is no time */
    p->ours = PERIOD_LEAST;
    p->others = 0;
}

static void add(struct period *p, struct view text, const struct logtime *time,
                const struct record *record)
{
    if (p->lines == 0)
        p->begin = record->begin;
    p->lines++;
    p->end = record->end;
    if (time)
        add_time(p, time);
    count_template(p, record);
    rank(p, text, record);
}

/* ---- Telling ---- */

static uint64_t sure_lines(const struct period_template *one)
{
    return one->lines - one->others;
}

static int more_lines(const void *a, const void *b)
{
    const struct period_template *x = a, *y = b;

    if (sure_lines(x) != sure_lines(y))
        return sure_lines(x) > sure_lines(y) ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void put_template(struct record_item *item, const struct period_template *one)
{
    item->field_count = 0;
    record_item_count(item, "template_id", one->id);
    record_item_count(item, "lines", sure_lines(one));
    record_item_text(item, "text", shown(&one->text));
}

static void put_novel(struct record_item *item, const struct period_line *line)
{
    item->field_count = 0;
    record_item_count(item, "begin", line->begin);
    record_item_count(item, "end", line->end);
    record_item_real(item, "novelty", line->novelty);
    record_item_text(item, "text", shown(&line->text));
}

static void tell(struct window *w, struct record *own)
{
    struct period *p = &w->told;
    size_t templates = 0, fresh = 0;

    *p = w->now;
    w->now = (struct period){.lines = 0};
    qsort(p->templates, p->template_count, sizeof p->templates[0], more_lines);
    for (size_t i = 0; i < p->template_count; i++) {
        if (templates < PERIOD_SHOWN)
            put_template(&w->templates[templates++], &p->templates[i]);
        if (p->fresh && p->templates[i].id >= p->first_fresh && fresh < PERIOD_SHOWN)
            put_template(&w->fresh[fresh++], &p->templates[i]);
    }
    for (size_t i = 0; i < p->novel_count; i++)
        put_novel(&w->novel[i], &p->novel[i]);
    *own = (struct record){.kind = RECORD_SUMMARY, .begin = p->begin, .end = p->end};
    own->text = p->novel_count ? shown(&p->novel[0].text) : (struct view){NULL, 0};
    record_add_count(own, "lines", p->lines);
    if (p->timed) {
        record_add_text(own, "from", shown(&p->from.text));
        record_add_text(own, "to", shown(&p->to));
    }
    record_add_count(own, "new_templates", p->fresh);
    record_add_list(own, "templates_most", w->templates, templates);
    record_add_list(own, "templates_new", w->fresh, fresh);
    record_add_list(own, "novel", w->novel, p->novel_count);
}

static bool is_over(const struct window *w, const struct logtime *time)
{
    const struct period *p = &w->now;
    int64_t most = (int64_t)w->minutes * 60;

    if (!w->minutes || !p->timed || p->from.form != time->form || p->lines < PERIOD_LEAST)
        return false;
    return time->seconds - p->from.seconds >= most || p->from.seconds - time->seconds >= most;
}

bool window_line(struct window *w, struct view text, const struct record *record,
                 struct record *own)
{
    struct logtime time;
    bool timed = logtime_of(text, &time), over = timed && is_over(w, &time);

    if (over)
        tell(w, own);
    add(&w->now, text, timed ? &time : NULL, record);
    if (over || !w->lines || w->now.lines < w->lines)
        return over;
    tell(w, own);
    return true;
}

bool window_end(struct window *w, struct record *own)
{
    if (!w->now.lines)
        return false;
    tell(w, own);
    return true;
}

/* ---- Bytes ---- */

static void save_text(const struct period_text *text, struct buffer *out)
{
    buffer_u8(out, text->bytes);
    buffer_put(out, text->data, text->bytes);
}

static bool load_text(struct period_text *text, size_t most, struct reader *r)
{
    const uint8_t *data;

    text->bytes = read_u8(r);
    data = text->bytes <= most ? read_bytes(r, text->bytes) : NULL;
    if (data && text->bytes)
        memcpy(text->data, data, text->bytes);
    return data != NULL;
}

static void save_time(const struct period_time *time, struct buffer *out)
{
    buffer_u8(out, time->form);
    buffer_u64(out, (uint64_t)time->seconds);
    save_text(&time->text, out);
}

static bool load_time(struct period_time *time, struct reader *r)
{
    time->form = read_u8(r);
    time->seconds = (int64_t)read_u64(r);
    return time->form < LOGTIME_FORMS && time->seconds >= -(1LL << 40) &&
           time->seconds <= 1LL << 40 && load_text(&time->text, LOGTIME_TEXT_MAX, r);
}

void window_save(const struct window *w, struct buffer *out)
{
    const struct period *p = &w->now;

    buffer_u64(out, p->lines);
    buffer_u64(out, p->begin);
    buffer_u64(out, p->end);
    buffer_u64(out, p->fresh);
    buffer_u64(out, p->first_fresh);
    buffer_u8(out, p->timed);
    save_time(&p->from, out);
    save_text(&p->to, out);
    buffer_u8(out, p->ours);
    buffer_u8(out, p->others);
    save_time(&p->other, out);
    buffer_u8(out, (uint8_t)p->template_count);
    for (size_t i = 0; i < p->template_count; i++) {
        const struct period_template *one = &p->templates[i];
        buffer_u64(out, one->id);
        buffer_u64(out, one->lines);
        buffer_u64(out, one->others);
        save_text(&one->text, out);
    }
    buffer_u8(out, (uint8_t)p->novel_count);
    for (size_t i = 0; i < p->novel_count; i++) {
        const struct period_line *line = &p->novel[i];
        buffer_u64(out, line->begin);
        buffer_u64(out, line->end);
        buffer_f64(out, line->novelty);
        save_text(&line->text, out);
    }
}

static bool load_templates(struct period *p, struct reader *r)
{
    p->template_count = read_u8(r);
    if (p->template_count > PERIOD_TEMPLATES)
        return false;
    for (size_t i = 0; i < p->template_count; i++) {
        struct period_template *one = &p->templates[i];
        one->id = read_u64(r);
        one->lines = read_u64(r);
        one->others = read_u64(r);
        if (one->lines <= one->others || !load_text(&one->text, RECORD_TEXT_MAX, r))
            return false;
    }
    return true;
}

bool window_load(struct window *w, struct reader *r)
{
    struct period *p = &w->now;
    uint8_t timed;

    p->lines = read_u64(r);
    p->begin = read_u64(r);
    p->end = read_u64(r);
    p->fresh = read_u64(r);
    p->first_fresh = read_u64(r);
    timed = read_u8(r);
    p->timed = timed == 1;
    if (timed > 1 || p->end < p->begin || !load_time(&p->from, r) ||
        !load_text(&p->to, LOGTIME_TEXT_MAX, r))
        return false;
    p->ours = read_u8(r);
    p->others = read_u8(r);
    if (p->ours > PERIOD_LEAST || p->others >= PERIOD_LEAST || !load_time(&p->other, r) ||
        !load_templates(p, r))
        return false;
    p->novel_count = read_u8(r);
    if (p->novel_count > PERIOD_NOVEL)
        return false;
    for (size_t i = 0; i < p->novel_count; i++) {
        struct period_line *line = &p->novel[i];
        line->begin = read_u64(r);
        line->end = read_u64(r);
        line->novelty = read_f64(r);
        if (!isfinite(line->novelty) || !load_text(&line->text, RECORD_TEXT_MAX, r))
            return false;
    }
    return !r->short_read;
}
