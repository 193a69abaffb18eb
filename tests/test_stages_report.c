/* The report: pages over crafted records. What it reckons with is test_stages_reckoning's. */
#include "schemas/record.h"
#include "stages/emit/report/lines.h"
#include "stages/emit/report/page.h"
#include "stages/emit/report/report.h"
#include "stages/emit/report/usual.h"
#include "stages/emit/vectors.h"
#include "tests/stages_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const double NATS_OF_BIT = 0.69314718055994531;

/* ---- A folder of crafted records ---- */

struct file {
    FILE *out;
    const char *name;
    uint64_t seq, begin;
    enum record_kind kind;
};

static struct file begin_file(void **state, const char *name, enum record_kind kind)
{
    char file[64];
    struct file f = {.name = name, .kind = kind};

    snprintf(file, sizeof file, "%s.jsonl", name);
    f.out = fopen(in_folder(state, file), "w");
    assert_non_null(f.out);
    return f;
}

static void put(struct file *f, const struct record *record)
{
    struct buffer line = buffer_of(RECORD_LINE_MAX);

    assert_int_equal(record_line(f->name, record, &line, NULL), ERR_OK);
    assert_int_equal(fwrite(line.data, 1, line.bytes, f->out), line.bytes);
    buffer_release(&line);
}

static void add_unit(struct file *f, uint64_t bytes, double bits_per_byte, const char *text)
{
    struct record r = {.kind = f->kind,
                       .seq = f->seq++,
                       .begin = f->begin,
                       .end = f->begin + bytes,
                       .tokens = bytes,
                       .nats = bits_per_byte * (double)bytes * NATS_OF_BIT,
                       .text = {(const uint8_t *)text, strlen(text)}};

    put(f, &r);
    f->begin += bytes;
}

static struct view view_of(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

/* As `--analyze novelty` does; of a unit with lines of its template so far, of an alert with a reason. */
static void say_novelty(struct record *r, double bits, uint64_t template, const char *text,
                        uint64_t lines, const char *reason)
{
    record_add_real(r, "novelty", bits);
    record_add_count(r, "one_in", 77);
    record_add_count(r, "template_id", template);
    record_add_text(r, "template", view_of(text));
    if (reason)
        record_add_text(r, "reason", view_of(reason));
    else
        record_add_count(r, "template_count", lines);
}

/* A unit of its own words, so that none is like another. */
static void add_plain(struct file *f, uint64_t bytes, double bits_per_byte)
{
    char text[100];
    unsigned n = (unsigned)f->seq;

    snprintf(text, sizeof text, "%c%c%c%c %c%c%c rest of it", 'a' + n % 26, 'a' + n / 26 % 26,
             'a' + n / 676 % 26, 'x', 'k' + n % 7, 'a' + n / 7 % 26, 'a' + n / 182 % 26);
    add_unit(f, bytes, bits_per_byte, text);
}

static void end_file(struct file *f, bool finished)
{
    struct record r = {.kind = RECORD_DOCUMENT, .seq = f->seq, .end = f->begin, .tokens = f->begin};

    if (finished)
        put(f, &r);
    assert_int_equal(fclose(f->out), 0);
}

static char *content_of(const char *path)
{
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;

    assert_non_null(in);
    assert_true(getdelim(&text, &room, 0, in) > 0);
    assert_int_equal(fclose(in), 0);
    return text;
}

static enum err_code make(void **state, struct report_made *made, struct err *err)
{
    struct report_options o = {*state, in_folder(state, "report.html"), UINT64_MAX};

    return report_make(&o, made, err);
}

/* Make the page and lend it, malloc'ed. */
static char *page_of(void **state)
{
    struct err err = {.code = ERR_OK};

    if (make(state, NULL, &err))
        fail_msg("%s", err.text);
    return content_of(in_folder(state, "report.html"));
}

static size_t times(const char *page, const char *words)
{
    size_t count = 0;

    for (const char *at = page; (at = strstr(at, words)); at += strlen(words))
        count++;
    return count;
}

static void expect(const char *page, const char *words)
{
    if (!strstr(page, words))
        fail_msg("the page does not say: %s", words);
}

/* ---- Pages ---- */

static void a_book_is_told(void **state)
{
    struct file f = begin_file(state, "home+me+my%25book.txt", RECORD_PARAGRAPH);
    char *page;

    for (int i = 0; i < 400; i++) {
        if (i == 250)
            add_unit(&f, 300, 8, "<b>Ghost</b> & \"chains\"");
        else if (i == 320)
            add_unit(&f, 300, 0.5, "as ever and ever");
        else
            add_plain(&f, 300, 3 + (i % 11 - 5) / 20.0);
    }
    end_file(&f, true);
    page = page_of(state);
    expect(page, "<h1>my%book.txt</h1>");
    expect(page, "120,000 bytes in 120,000 tokens: <strong>3.00");
    expect(page, "400 paragraphs");
    expect(page, "id=\"d1p1\"");
    expect(page, "&lt;b&gt;Ghost&lt;/b&gt; &amp; &quot;chains&quot;");
    expect(page, "8.00 bits per byte · bytes 75,000 to 75,300");
    expect(page, "as ever and ever");
    expect(page, "href=\"#d1ma\"");
    expect(page, "1 paragraph stands out by at least 5 MAD: a dot at its place");
    assert_null(strstr(page, "<b>Ghost"));
    assert_null(strstr(page, "not read to its end"));
    free(page);
}

/* The value of attribute d of the path with this class. */
static char *path_of(const char *page, const char *class)
{
    char words[64];
    const char *at;

    snprintf(words, sizeof words, "<path class=\"%s\" d=\"", class);
    at = strstr(page, words);
    assert_non_null(at);
    at += strlen(words);
    return strndup(at, strcspn(at, "\""));
}

/* First half 2 bits per byte, second half 4, in units of very different sizes: the curve has one step, in the middle.
 * */
static void bins_hold_the_bits_of_their_place(void **state)
{
    struct file f = begin_file(state, "steps", RECORD_PARAGRAPH);
    char *page, *path, *at;
    double x, y, to, levels[2] = {-1, -1};
    size_t steps = 0;

    for (int half = 0; half < 2; half++) {
        add_unit(&f, 40000, 2 + 2 * half, "one long paragraph");
        for (int i = 0; i < 400; i++)
            add_plain(&f, 100, 2 + 2 * half);
    }
    end_file(&f, true);
    page = page_of(state);
    path = path_of(page, "each");
    for (at = path; *at; steps++) {
        int used = 0;
        assert_int_equal(sscanf(at, "%*[ML]%lf %lfH%lf%n", &x, &y, &to, &used), 3);
        if (levels[x >= 500] < 0)
            levels[x >= 500] = y;
        assert_near(y, levels[x >= 500], 1e-9);
        assert_near(to - x, 1000.0 / 320, 0.05);
        at += used;
    }
    assert_int_equal(steps, 320);
    assert_true(levels[0] > levels[1]); /* 4 bits lie above 2 */
    free(path);
    free(page);
}

/* Units of 130 bytes at 2 bits and 270 at 4, so that a bin of 100 holds 30 of the one and 70 of the other. */
static void a_bin_holds_its_share_of_a_unit(void **state)
{
    struct file f = begin_file(state, "shares", RECORD_PARAGRAPH);
    double y[4], x, to;
    char *page, *path, *at;
    int used;

    for (int i = 0; i < 80; i++) {
        add_plain(&f, 130, 2);
        add_plain(&f, 270, 4);
    }
    end_file(&f, true);
    page = page_of(state);
    path = path_of(page, "each");
    at = path;
    for (size_t i = 0; i < 4; i++, at += used)
        assert_int_equal(sscanf(at, "%*[ML]%lf %lfH%lf%n", &x, &y[i], &to, &used), 3);
    assert_near(y[2], y[3], 1e-9);
    assert_near((y[0] - y[1]) / (y[0] - y[2]), 0.7, 0.01);
    free(path);
    free(page);
}

/* 500 plain lines, 40 errors that differ in a number and a name, 12 more of kinds of their own. */
static void ten_different_lines_are_shown(void **state)
{
    static const char *const kinds[] = {
        "disk sda is gone",        "power lost in rack",      "fan stopped turning",
        "certificate has expired", "cannot allocate pages",   "filesystem turned readonly",
        "clock jumped backwards",  "link eth down",           "password rejected again",
        "table is corrupt",        "backup did not complete", "thermal limit passed"};
    struct file f = begin_file(state, "log", RECORD_LINE);
    char text[100], *page;

    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "Jun %d 10:00:%02d host service[%d]: request served", i % 30,
                 i % 60, i);
        add_unit(&f, 60, 1 + (i % 11 - 5) / 20.0, text);
        if (i % 12 == 5 && i / 12 < 40) {
            snprintf(text, sizeof text, "Jun %d host raid[%d]: error on device named %c%c", i % 30,
                     i, 'p' + i % 5, 'a' + i % 7);
            add_unit(&f, 60, 6 + (i == 197), text);
        }
        if (i % 40 == 20)
            add_unit(&f, 60, 5, kinds[i / 40 % 12]);
    }
    end_file(&f, false);
    page = page_of(state);
    assert_int_equal(times(page, "raid["), 1);
    expect(page, "raid[197]"); /* the one that cost most stands for all */
    expect(page, "39 more like it");
    assert_int_equal(times(page, "<a class=\"mark\" href"), 10);
    expect(page, "line ");
    expect(page, "not read to its end yet");
    assert_null(strstr(page, "at least 39"));
    free(page);
}

static void a_torn_record_is_passed_over(void **state)
{
    static const char *const tails[] = {"{\"stream\":\"a\",\"seq\":20,\"kind\":\"para",
                                        "{\"stream\":\"a\",\"seq\":20,\"kin\n", "\n", "[1]\n"};
    struct report_made made;
    char *page;

    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct file f = begin_file(state, "a", RECORD_PARAGRAPH);
        for (int k = 0; k < 20; k++)
            add_plain(&f, 100, 2);
        fputs(tails[i], f.out);
        end_file(&f, false);
        assert_int_equal(make(state, &made, NULL), ERR_OK);
        assert_int_equal(made.records, 20);
        assert_int_equal(made.torn, 1);
        page = page_of(state);
        expect(page, "20 paragraphs");
        expect(page, "last record was torn");
        free(page);
    }
}

static void a_damaged_record_is_named(void **state)
{
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"garbage", "line 3: is no JSON object"},
        {"{\"seq\":2}", "line 3: is no record"},
        {"{\"seq\":7,\"kind\":\"line\",\"begin\":2,\"end\":3,\"tokens\":1,\"nats\":1,\"text\":"
         "\"\"}",
         "line 3: is not the record that is due"},
        {"{\"seq\":2,\"kind\":\"line\",\"begin\":9,\"end\":3,\"tokens\":1,\"nats\":1,\"text\":"
         "\"\"}",
         "line 3: is a record without its place"},
        {"{\"seq\":2,\"kind\":\"line\",\"begin\":2,\"end\":3,\"tokens\":1,\"nats\":-1,\"text\":"
         "\"\"}",
         "line 3: is a record without its tokens or nats"},
        {"{\"seq\":2,\"kind\":\"line\",\"begin\":2,\"end\":3,\"tokens\":1,\"nats\":1}",
         "line 3: is a record without its text"},
        {"{\"seq\":2,\"kind\":\"alert\",\"begin\":2,\"end\":3,\"text\":\"\"}",
         "line 3: is a record whose novelty is not whole"},
        {"{\"seq\":2,\"kind\":\"lineage\",\"begin\":2,\"end\":2,\"changed\":[]}",
         "line 3: is a lineage record without its changes"},
    };
    const char *page = in_folder(state, "report.html");
    struct stat status;
    struct err err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file f = begin_file(state, "b", RECORD_LINE);
        add_plain(&f, 1, 1);
        add_plain(&f, 1, 1);
        fprintf(f.out, "%s\n", cases[i].line);
        f.seq++;
        add_plain(&f, 1, 1);
        end_file(&f, false);
        assert_int_equal(make(state, NULL, &err), ERR_SINK);
        if (!strstr(err.text, cases[i].words) || !strstr(err.text, "/b.jsonl'"))
            fail_msg("%s: says %s", cases[i].words, err.text);
        assert_int_equal(stat(page, &status), -1); /* no half page */
    }
}

static void changes_alerts_and_unknown_kinds_are_told(void **state)
{
    static const char *const changed[] = {"model: <old> -> new"};
    struct file f = begin_file(state, "c", RECORD_ENTRY);
    struct record r = {.kind = RECORD_LINEAGE, .changed = changed, .changed_count = 1};
    char *page;

    add_plain(&f, 100, 2);
    r.seq = f.seq++;
    r.begin = r.end = f.begin;
    put(&f, &r);
    r = (struct record){
        .kind = RECORD_ALERT, .seq = f.seq++, .end = 100, .text = {(const uint8_t *)"x", 1}};
    say_novelty(&r, 14, 3, "x", 0, "new template");
    put(&f, &r);
    fprintf(f.out, "{\"stream\":\"c\",\"seq\":%d,\"kind\":\"prophecy\",\"about\":[1,2]}\n",
            (int)f.seq++);
    add_plain(&f, 100, 2);
    end_file(&f, true);
    page = page_of(state);
    expect(page, "model: &lt;old&gt; -&gt; new</th><td>100</td>");
    expect(page, "1 alert of novel lines");
    expect(page, "1 record of kinds that this version does not know");
    expect(page, "2 entries");
    free(page);
}

/* 1,000 lines of a template, 3 each of 150 that come and go, 60 of one that comes
 * late, and alerts: 37 of one template, one of another. */
static void add_heading(struct file *f, uint64_t level, const char *section, const char *text)
{
    struct record r = {.kind = f->kind,
                       .seq = f->seq++,
                       .begin = f->begin,
                       .end = f->begin + 10,
                       .tokens = 10,
                       .nats = 10 * NATS_OF_BIT,
                       .text = view_of(text)};

    if (section)
        record_add_text(&r, "section", view_of(section));
    record_add_count(&r, "heading", level);
    put(f, &r);
    f->begin += 10;
}

static void chapters_and_the_title_are_told(void **state)
{
    struct file f = begin_file(state, "home+me+book.txt", RECORD_PARAGRAPH);
    char *page;

    add_heading(&f, 0, NULL, "The <Title>");
    add_unit(&f, 90, 7, "before any chapter");
    add_heading(&f, 2, "Part <I> / One", "One");
    add_unit(&f, 90, 3, "in the first");
    add_heading(&f, 1, "Two", "Two");
    add_unit(&f, 40, 2, "in the second");
    add_unit(&f, 50, 4, "in the second");
    end_file(&f, true);
    page = page_of(state);
    expect(page, "<title>The &lt;Title&gt;");
    expect(page, "<h1>The &lt;Title&gt;</h1>");
    expect(page, "<summary>2 headings,");
    /* (10 * 1 + 90 * 3) / 100; (10 * 1 + 40 * 2 + 50 * 4) / 100 */
    expect(page,
           "<th scope=\"row\">Part &lt;I&gt; / One</th><td>2.800</td><td>100</td><td>100</td>");
    expect(page, "<th scope=\"row\">Two</th><td>2.900</td><td>100</td><td>200</td>");
    /* 100 and 200 of 300 bytes, 320 bins, 1000 wide. */
    expect(page, "<path class=\"chapters\" d=\"M333.3 130V900M666.7 130V900\"/>");
    expect(page, "Upright lines: the <a href=\"#d1-chapters\">chapters</a>.");
    free(page);
}

static void novelty_is_told(void **state)
{
    struct file f = begin_file(state, "new", RECORD_LINE);
    char name[40], *page, *bars;
    uint64_t common = 0;

    for (int i = 0; i < 1510; i++) {
        struct record r = {.kind = RECORD_LINE,
                           .seq = f.seq++,
                           .begin = f.begin,
                           .end = f.begin + 50,
                           .tokens = 50,
                           .nats = 60,
                           .text = view_of("a line")};
        int rare = i % 3 == 0 && i / 3 < 450 ? i / 3 / 3 : -1;
        snprintf(name, sizeof name, rare < 0 ? "common <*>" : "rare%d <*>", rare);
        common += rare < 0 && i < 1450;
        say_novelty(&r, rare < 0 ? 1 : 5, (uint64_t)rare + 1, name,
                    rare < 0 ? common : 1U + (unsigned)i / 3 % 3, NULL);
        if (i >= 1450) {
            r.field_count = 0;
            say_novelty(&r, 1, 500, "late <*>", (uint64_t)(i - 1449), NULL);
        }
        put(&f, &r);
        f.begin += 50;
        if ((i < 1450 && i % 40 == 9) || i == 725) {
            r.kind = RECORD_ALERT;
            r.seq = f.seq++;
            r.field_count = 0;
            r.text = view_of(i == 725   ? "<i>one of its kind</i>"
                             : i == 409 ? "the worst of many"
                                        : "of many");
            say_novelty(&r,
                        i == 725   ? 20
                        : i == 409 ? 12
                                   : 9,
                        i == 725 ? 7000 : 7001, "t", 0, "new & rare");
            put(&f, &r);
        }
    }
    end_file(&f, false);
    page = page_of(state);
    expect(page, "What is new");
    expect(page, "&lt;i&gt;one of its kind&lt;/i&gt;");
    expect(page, "<b>20.0 bits</b> of novelty, one line in 77: new &amp; rare · line 726 · bytes "
                 "36,250 to 36,300");
    expect(page, "the worst of many</blockquote>");
    expect(page, "36 more alerts of this template");
    expect(page, "38 alerts of ");
    assert_true(strstr(page, "one of its kind&") < strstr(page, "the worst of many"));
    expect(page, "common &lt;*&gt;</th><td>1,000</td>");
    expect(page,
           "late &lt;*&gt;</th><td>60</td>"); /* though as many are held as can be when it begins */
    assert_int_equal(times(page, "</th><td>3</td></tr>"), 18); /* rows of the table besides */
    bars = path_of(page, "bars");
    assert_int_equal(times(bars, "V"), 320);
    free(bars);
    free(page);
}

static void streams_without_much_are_shown_too(void **state)
{
    struct file f = begin_file(state, "empty", RECORD_LINE);
    char *page;

    end_file(&f, false);
    f = begin_file(state, "nothing-but-an-end", RECORD_LINE);
    end_file(&f, true);
    f = begin_file(state, "one", RECORD_LINE);
    add_unit(&f, 1, 8, "");
    end_file(&f, true);
    f = begin_file(state, "of-no-bytes", RECORD_LINE);
    add_unit(&f, 0, 0, "");
    add_unit(&f, 0, 0, "");
    end_file(&f, true);
    page = page_of(state);
    expect(page, "<h1>4 documents</h1>");
    expect(page, "1 is not read to its end yet");
    expect(page, "white space");
    assert_null(strstr(page, "nan"));
    assert_null(strstr(page, "inf"));
    free(page);
}

/* 3,000 streams, one of them with a line like no other. */
static void of_many_streams_the_notable_are_shown(void **state)
{
    struct report_made made;
    char name[32], *page;

    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "host%04d", i);
        struct file f = begin_file(state, name, RECORD_LINE);
        for (int k = 0; k < 12; k++)
            add_plain(&f, 80, i == 1234 && k == 6 ? 9 : 2 + (k * 7 % 12 - 6) / 20.0);
        end_file(&f, false);
    }
    assert_int_equal(make(state, &made, NULL), ERR_OK);
    assert_int_equal(made.documents, 3000);
    assert_int_equal(made.records, 36000);
    page = page_of(state);
    assert_int_equal(times(page, "<section id=\"d"), 1 + REPORT_SECTIONS_MAX); /* and the table's */
    assert_int_equal(times(page, "<tr><th scope=\"row\"><a href"), REPORT_SECTIONS_MAX);
    expect(page, "The other 2,900 are only counted");
    expect(page, "<section id=\"d1\">\n<h2>host1234</h2>");
    assert_true(strlen(page) < 1000000);
    free(page);
}

static void the_same_records_give_the_same_bytes(void **state)
{
    char *first, *second;

    for (int i = 0; i < 3; i++) {
        struct file f = begin_file(state, (const char *[]){"b", "a", "c"}[i], RECORD_PARAGRAPH);
        for (int k = 0; k < 100; k++)
            add_plain(&f, (uint64_t)(20 + k * 37 % 400), 2 + k * 13 % 17 / 10.0);
        end_file(&f, true);
    }
    first = page_of(state);
    second = page_of(state); /* and it replaces its own */
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void what_is_no_report_is_not_replaced(void **state)
{
    struct file f = begin_file(state, "a", RECORD_LINE);
    const char *path = in_folder(state, "report.html");
    char *kept;
    FILE *other = fopen(path, "w");
    struct err err;

    add_plain(&f, 10, 2);
    end_file(&f, true);
    fputs("<!DOCTYPE html><title>mine</title>", other);
    assert_int_equal(fclose(other), 0);
    assert_int_equal(make(state, NULL, &err), ERR_SINK);
    assert_non_null(strstr(err.text, "is no report"));
    kept = content_of(path);
    assert_string_equal(kept, "<!DOCTYPE html><title>mine</title>");
    free(kept);
}

/* A job whose output folder holds other people's files too. */
static void only_outputs_with_a_sidecar_are_read(void **state)
{
    struct file f = begin_file(state, "ours", RECORD_LINE);
    FILE *other = fopen(in_folder(state, "data.jsonl"), "w");
    struct report_made made;
    struct err err;

    add_plain(&f, 10, 2);
    end_file(&f, true);
    fputs("{\"question\":\"6 x 7\"}\n{\"answer\":42}\n", other);
    assert_int_equal(fclose(other), 0);
    assert_int_equal(make(state, NULL, &err),
                     ERR_SINK); /* without sidecars each is taken for one */
    assert_int_equal(mkdir(in_folder(state, ".riverrun"), 0777), 0);
    other = fopen(in_folder(state, ".riverrun/ours.sidecar"), "w");
    assert_int_equal(fclose(other), 0);
    assert_int_equal(make(state, &made, &err), ERR_OK);
    assert_int_equal(made.documents, 1);
}

static void too_much_and_nothing_are_refused(void **state)
{
    struct report_options o = {*state, in_folder(state, "report.html"), UINT64_MAX};
    struct err err;

    assert_int_equal(report_make(&o, NULL, &err), ERR_ABSENT);
    assert_non_null(strstr(err.text, "there are no records"));
    o.folder = in_folder(state, "nowhere");
    assert_int_equal(report_make(&o, NULL, &err), ERR_ABSENT);
    o.folder = *state;
    struct file f = begin_file(state, "a", RECORD_LINE);
    add_plain(&f, 10, 2);
    end_file(&f, true);
    o.most_bytes = 10;
    assert_int_equal(report_make(&o, NULL, &err), ERR_LIMIT);
}

/* ---- Vectors and boundaries ---- */

static void write_halves(void **state, unsigned units, const char *second)
{
    struct file f = begin_file(state, "a", RECORD_PARAGRAPH);
    struct record_item item = {.field_count = 0};
    struct record r = {.kind = RECORD_BOUNDARIES, .end = 100 * units};

    for (unsigned i = 0; i < units; i++) {
        struct record unit = {.kind = RECORD_PARAGRAPH,
                              .seq = f.seq++,
                              .begin = f.begin,
                              .end = f.begin + 100,
                              .tokens = 100,
                              .nats = 100 + i % 7,
                              .text = view_of("text")};
        record_add_text(&unit, "embedding", view_of(i < units / 2 ? "fwA=" : second));
        put(&f, &unit);
        f.begin += 100;
    }
    r.seq = f.seq++;
    record_item_count(&item, "begin", 50 * units);
    record_item_real(&item, "strength", 12.5);
    record_add_list(&r, "boundaries", &item, 1);
    put(&f, &r);
    fclose(f.out);
}

static void alike_parts_and_turns_are_drawn(void **state)
{
    char *page;

    write_halves(state, 40, "AH8="); /* ten stretches: 20 pairs are alike, 25 are not */
    page = page_of(state);
    expect(page, "How alike its parts are");
    expect(page, "A square of 10 by 10 cells");
    expect(page, "<path class=\"turns\" d=\"M500.0 900v-40\"/>");
    expect(page, "Strokes at the foot: the 1 places");
    assert_null(strstr(page, "does not know"));
    free(page);
    write_halves(state, 8, "AH8="); /* too few to compare */
    page = page_of(state);
    assert_null(strstr(page, "How alike its parts are"));
    free(page);
    write_halves(state, 40, "fwA="); /* all the same */
    page = page_of(state);
    assert_null(strstr(page, "How alike its parts are"));
    free(page);
}

static void an_array_is_made_of_the_records(void **state)
{
    static const char head[] = "\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, "
                               "'shape': (10, 2), }";
    char *array = strdup(in_folder(state, "v.npy")), *index = strdup(in_folder(state, "v.tsv"));
    char *folder = strdup(in_folder(state, "")), *text;
    struct vectors_options o = {.folder = folder, .array = array, .index = index, .raw = true};
    struct vectors_made made;
    struct err err;
    char bytes[128 + 10 * sizeof(float[2])];
    float row[2], last[2];
    FILE *file;

    write_halves(state, 10, "gX8=");
    assert_int_equal(vectors_export(&o, &made, &err), ERR_OK);
    assert_true(made.rows == 10 && made.dimensions == 2 && made.without == 0);
    file = fopen(array, "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    assert_memory_equal(bytes, head, sizeof head - 1);
    assert_int_equal(bytes[127], '\n');
    memcpy(row, bytes + 128, sizeof row);
    assert_true(row[0] == 1 && row[1] == 0);
    memcpy(row, bytes + 128 + 9 * sizeof row, sizeof row);
    assert_true(row[0] == -row[1] && fabsf(row[1] - 0.70710678F) < 1e-7F);
    text = content_of(index);
    assert_true(
        strncmp(text, "row\tstream\tseq\tkind\tbegin\tend\n0\ta\t0\tparagraph\t0\t100\n", 52) == 0);
    assert_non_null(strstr(text, "\n9\ta\t9\tparagraph\t900\t1000\n"));
    free(text);
    o.raw = false; /* two halves: what each has and the other has not */
    assert_int_equal(vectors_export(&o, &made, &err), ERR_OK);
    file = fopen(array, "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
    fclose(file);
    memcpy(row, bytes + 128, sizeof row);
    memcpy(last, bytes + 128 + 9 * sizeof row, sizeof last);
    assert_true(fabsf(row[0] * row[0] + row[1] * row[1] - 1) < 1e-6F);
    assert_true(fabsf(row[0] + last[0]) < 1e-6F && fabsf(row[1] + last[1]) < 1e-6F);
    write_halves(state, 10, "AAAA"); /* of a model with three dimensions */
    assert_int_equal(vectors_export(&o, &made, &err), ERR_SINK);
    free(array);
    free(index);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(alike_parts_and_turns_are_drawn, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(an_array_is_made_of_the_records, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_book_is_told, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bins_hold_the_bits_of_their_place, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_bin_holds_its_share_of_a_unit, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(ten_different_lines_are_shown, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_torn_record_is_passed_over, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(changes_alerts_and_unknown_kinds_are_told, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chapters_and_the_title_are_told, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(novelty_is_told, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(streams_without_much_are_shown_too, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(of_many_streams_the_notable_are_shown, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_same_records_give_the_same_bytes, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_is_no_report_is_not_replaced, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(only_outputs_with_a_sidecar_are_read, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(too_much_and_nothing_are_refused, make_folder,
                                        remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
