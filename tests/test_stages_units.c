/* Tokens become units: they tile the document, and the state between two tokens is all there is. */
#include "stages/encode/analysis/units.h"
#include "tests/stages_help.h"

#include <stdio.h>
#include <stdlib.h>

struct token {
    uint32_t text, source; /* bytes */
};

/* Records as text, one a line, to be compared as a whole. */
struct log {
    struct buffer text;
    uint64_t records, end, tokens;
};

static void add_record(struct log *log, const struct record *r)
{
    char line[1200];
    int length = snprintf(line, sizeof line, "%d %llu-%llu %llu %.17g [%.*s]", (int)r->kind,
                          (unsigned long long)r->begin, (unsigned long long)r->end,
                          (unsigned long long)r->tokens, r->nats, (int)r->text.bytes,
                          (const char *)r->text.data);

    for (size_t i = 0; i < r->field_count; i++)
        length +=
            snprintf(line + length, sizeof line - (size_t)length, " %s=%.*s%llu", r->fields[i].name,
                     (int)r->fields[i].text.bytes, (const char *)r->fields[i].text.data,
                     (unsigned long long)r->fields[i].count);
    line[length++] = '\n';

    if (r->kind != RECORD_DOCUMENT) {
        assert_int_equal(r->begin, log->end); /* they tile */
        assert_true(r->tokens > 0);
        log->end = r->end;
        log->tokens += r->tokens;
    } else {
        assert_int_equal(r->begin, 0);
        assert_int_equal(r->end, log->end);
        assert_int_equal(r->tokens, log->tokens);
    }
    log->records++;
    buffer_put(&log->text, line, (size_t)length);
}

static void reload(struct units *u)
{
    struct buffer saved = buffer_of(UNITS_BYTES_MAX), again = buffer_of(UNITS_BYTES_MAX);

    units_save(u, &saved);
    assert_false(saved.refused);
    memset(u, 0xAA, sizeof *u);
    assert_int_equal(units_load(u, (struct view){saved.data, saved.bytes}, NULL), ERR_OK);
    units_save(u, &again);
    assert_int_equal(again.bytes, saved.bytes);
    assert_memory_equal(again.data, saved.data, saved.bytes);
    buffer_release(&saved);
    buffer_release(&again);
}

/* A place is said before each byte of text that is 1 to 7: a heading of that level, or the title. Before an 8
 * stands the next file. */
static void say_place(struct units *u, uint8_t byte, struct log *log)
{
    struct record record;
    char name[20];

    if (byte < 1 || byte > 8)
        return;
    if (units_cut(u, &record))
        add_record(log, &record);
    snprintf(name, sizeof name, "file %zu", (size_t)log->records);
    units_place(u, &(struct msg_place){byte < 8 ? byte : PLACE_MARKDOWN,
                                       {(const uint8_t *)name, byte < 8 ? 0 : strlen(name)}});
}

/* Feed text cut into tokens of the sizes in cuts (in turn); save and load after token number `at`
 * (every token: SIZE_MAX). */
static struct log feed(enum unit kind, struct view text, const uint8_t *cuts, size_t cut_count,
                       size_t reload_at)
{
    struct log log = {.text = buffer_of(SIZE_MAX / 2)};
    struct record record;
    struct units u;
    size_t at = 0, number = 0;

    units_begin(&u, kind, 0);
    while (at < text.bytes) {
        size_t bytes = cuts[number % cut_count];
        bytes = bytes < text.bytes - at ? bytes : text.bytes - at;
        for (size_t i = 1; i < bytes; i++) /* as tokenize makes an edge there */
            if (text.data[at + i] >= 1 && text.data[at + i] <= 8)
                bytes = i;
        say_place(&u, text.data[at], &log);
        if (units_token(&u, 0.25 * (double)(number % 7), (struct view){text.data + at, bytes},
                        (uint32_t)bytes, &record))
            add_record(&log, &record);
        at += bytes;
        if (number++ == reload_at || reload_at == SIZE_MAX)
            reload(&u);
    }
    if (units_end(&u, &record))
        add_record(&log, &record);
    assert_false(units_end(&u, &record));
    units_document(&u, &record);
    add_record(&log, &record);
    assert_int_equal(log.end, text.bytes);
    buffer_u8(&log.text, 0);
    return log;
}

static void assert_units(enum unit kind, const char *text, uint8_t cut, const char *want)
{
    struct log log =
        feed(kind, (struct view){(const uint8_t *)text, strlen(text)}, &cut, 1, SIZE_MAX - 1);
    struct buffer got = buffer_of(4096);

    /* Of each record the range alone. */
    for (char *line = strtok((char *)log.text.data, "\n"); line; line = strtok(NULL, "\n"))
        if (strchr("017", line[0]) && line[1] == ' ') {
            char *range = line + 2;
            buffer_put(&got, range, strcspn(range, " "));
            buffer_u8(&got, ' ');
        }
    buffer_u8(&got, 0);
    assert_string_equal((char *)got.data, want);
    buffer_release(&got);
    buffer_release(&log.text);
}

static void lines_end_with_their_newline(void **state)
{
    (void)state;
    assert_units(UNIT_LINE, "ab\ncd\n", 1, "0-3 3-6 ");
    assert_units(UNIT_LINE, "ab\ncd", 1, "0-3 3-5 ");
    assert_units(UNIT_LINE, "ab\r\n\r\ncd\r\n", 1, "0-4 4-6 6-10 ");
    assert_units(UNIT_LINE, "\n\n\n", 1, "0-1 1-2 2-3 ");
    assert_units(UNIT_LINE, "", 1, "");
}

static void paragraphs_end_with_the_first_blank_line(void **state)
{
    (void)state;
    assert_units(UNIT_PARAGRAPH, "a\nb\n\nc\n", 1, "0-5 5-7 ");
    /* Further blank lines lead the next; spaces and carriage returns are blank. */
    assert_units(UNIT_PARAGRAPH, "a\n\n\n\nb\n", 1, "0-3 3-7 ");
    assert_units(UNIT_PARAGRAPH, "a\r\n\r\nb\r\n", 1, "0-5 5-8 ");
    assert_units(UNIT_PARAGRAPH, "a\n \t \nb", 1, "0-6 6-7 ");
    assert_units(UNIT_PARAGRAPH, "\n\n\n a\n\nb", 1, "0-7 7-8 ");
    assert_units(UNIT_PARAGRAPH, "\n\n\n", 1, "0-3 ");
    assert_units(UNIT_PARAGRAPH, "a", 1, "0-1 ");
}

/* What ends an entry is told from outside: neither its line ends nor blank lines do. */
static void entries_end_where_they_are_told_to(void **state)
{
    static const char *const tokens[] = {"a\n", " b\n", "\n", "c\n", "d"};
    struct record record;
    struct units u;

    (void)state;
    units_begin(&u, UNIT_ENTRY, 0);
    for (size_t i = 0; i < 5; i++) {
        struct view text = {(const uint8_t *)tokens[i], strlen(tokens[i])};
        assert_false(units_token(&u, 1, text, (uint32_t)text.bytes, &record));
        reload(&u);
        assert_int_equal(i == 2 && units_break(&u, &record), i == 2);
        if (i == 2) {
            assert_int_equal(record.kind, RECORD_ENTRY);
            assert_int_equal(record.begin, 0);
            assert_int_equal(record.end, 6);
            assert_int_equal(record.tokens, 3);
            assert_int_equal(record.text.bytes, 4);
            assert_false(units_break(&u, &record)); /* nothing since */
        }
    }
    assert_true(units_end(&u, &record));
    assert_int_equal(record.begin, 6);
    assert_int_equal(record.end, 9);
    units_begin(&u, UNIT_LINE, 0);
    assert_false(units_token(&u, 1, (struct view){(const uint8_t *)"x", 1}, 1, &record));
    assert_false(units_break(&u, &record)); /* lines know their own ends */
}

/* Units of text as "BEGIN SECTION (LEVEL)|", those alone that have a section. */
static void assert_sections(enum unit kind, bool markdown, const char *text, const char *want)
{
    struct buffer got = buffer_of(4096);
    struct record r;
    struct units u;

    units_begin(&u, kind, 0);
    if (markdown)
        units_place(&u, &(struct msg_place){.heading = PLACE_MARKDOWN});
    for (size_t at = 0; at <= strlen(text); at++) {
        if (!(at < strlen(text)
                  ? units_token(&u, 1, (struct view){(const uint8_t *)text + at, 1}, 1, &r)
                  : units_end(&u, &r)) ||
            !r.field_count)
            continue;
        char line[400];
        int length = snprintf(line, sizeof line, "%llu %.*s", (unsigned long long)r.begin,
                              (int)r.fields[0].text.bytes, (const char *)r.fields[0].text.data);
        assert_string_equal(r.fields[0].name, "section");
        buffer_put(&got, line, (size_t)length);
        if (r.field_count > 1)
            buffer_put(&got, line,
                       (size_t)snprintf(line, sizeof line, " (%llu)",
                                        (unsigned long long)r.fields[1].count));
        buffer_u8(&got, '|');
    }
    buffer_u8(&got, 0);
    assert_string_equal((char *)got.data, want);
    buffer_release(&got);
}

static void headings_are_told_by_their_form(void **state)
{
    static const char *const none[] = {"chapter one was long\n\nx",
                                       "Part of the crew\n\nx",
                                       "Book one was read.\n\nx",
                                       "I am\n\nx",
                                       "I. We go on so.\n\nx",
                                       "# no\n\nx",
                                       "a\nb\n===\n\nx",
                                       "CHAPTER I\nCHAPTER II\nCHAPTER III\n\nx",
                                       "Introduction to it\n\nx",
                                       "CHAPTER I",
                                       "IIII\n\nx",
                                       "a\n= =\n\nx"};

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (strcmp(none[i], "CHAPTER I") != 0)
            assert_sections(UNIT_PARAGRAPH, false, none[i], "");
    assert_sections(UNIT_PARAGRAPH, false, "CHAPTER I", "0 CHAPTER I (3)|");
    assert_sections(
        UNIT_PARAGRAPH, false, "a\n\nCHAPTER 12. The Cat\nand more\n\nb\n\nc",
        "3 CHAPTER 12. The Cat and more (3)|33 CHAPTER 12. The Cat and more|36 CHAPTER 12. The Cat "
        "and more|");
    assert_sections(UNIT_PARAGRAPH, false,
                    "Book I\n\nPart II \xE2\x80\x94 1805\n\nIV\n\nt\n\nBOOK THE SECOND\n\nu",
                    "0 Book I (1)|8 Book I / Part II \xE2\x80\x94 1805 (2)|26 Book I / Part II "
                    "\xE2\x80\x94 1805 / IV "
                    "(4)|30 Book I / Part II \xE2\x80\x94 1805 / IV|33 BOOK THE SECOND (1)|50 BOOK "
                    "THE SECOND|");
    assert_sections(UNIT_PARAGRAPH, false, "One\n===\n\na\n\nTwo\n---\n\nb",
                    "0 One (1)|9 One|12 One / Two (2)|21 One / Two|");
    assert_sections(UNIT_PARAGRAPH, true,
                    "# One #\ntext\n\n### Two\n\n```\n\n# no\n\n```\n\n## Three\n\nb",
                    "0 One (1)|14 One / Two (3)|23 One / Two|28 One / Two|34 One / Two|39 One / "
                    "Three (2)|49 One / "
                    "Three|");
    /* A fence counts from the unit's first byte on: opened in it, closed in it, indented, of the other kind inside. */
    assert_sections(UNIT_PARAGRAPH, true,
                    "# A\n\n```sh\nx\n\n# no\ny\n```\n\n## B\n```sh\nx\n\n# no\n```\n\n# C\n\n",
                    "0 A (1)|5 A|14 A|26 A / B (2)|40 A / B|50 C (1)|");
    assert_sections(UNIT_PARAGRAPH, true,
                    "# A\n\n   ~~~\nx\n\n# no\n```\n\n# no\n\n ~~~\n\n    ```\n\n# B\n\n",
                    "0 A (1)|5 A|15 A|25 A|31 A|37 A|46 B (1)|");
    /* One that is opened on a list item's line is closed below it. */
    assert_sections(UNIT_PARAGRAPH, true,
                    "# A\n\n 10. ```sh\nx\n\n# no\n       ```\n\n# B\n\n- x ```\n\n# C\n\n",
                    "0 A (1)|5 A|19 A|36 B (1)|41 B|50 C (1)|");
    assert_sections(UNIT_SECTION, true, "# A\n\n```\nx\n\n# no\n```\n\n# B\n```\nx\n\n# no\n```\n",
                    "0 A (1)|22 B (1)|");
    /* A byte order mark is no word. */
    assert_sections(UNIT_PARAGRAPH, true, "\xEF\xBB\xBF# One\n\nx", "0 One (1)|10 One|");
    assert_sections(UNIT_PARAGRAPH, false, "\xEF\xBB\xBFPart I\n\nx", "0 Part I (2)|11 Part I|");
    assert_sections(UNIT_PARAGRAPH, false, "CHAPTER I\n\n```\n\nCHAPTER II\n\nb",
                    "0 CHAPTER I (3)|11 CHAPTER I|16 CHAPTER II (3)|28 CHAPTER II|");
    assert_sections(UNIT_LINE, false, "a\nCHAPTER I\n\nCHAPTER II\nb\n",
                    "13 CHAPTER II (3)|24 CHAPTER II|");
}

/* The next heading is the open unit's already when a section's record is looked at. */
static void a_sections_text_is_its_own(void **state)
{
    static const char text[] = "# One\n\nAlpha is here.\n\n# Two\n\nBeta.\n\n# Three\n\nGamma.";
    static const char *const want[] = {"# One\n\nAlpha is here.", "# Two\n\nBeta.",
                                       "# Three\n\nGamma."};
    struct record record;
    struct units u;
    size_t count = 0;

    (void)state;
    units_begin(&u, UNIT_SECTION, 0);
    units_place(&u, &(struct msg_place){.heading = PLACE_MARKDOWN});
    for (size_t at = 0; at < sizeof text; at++) {
        struct view one = {(const uint8_t *)text + at, 1};
        if (!(at + 1 < sizeof text ? units_token(&u, 1, one, 1, &record) : units_end(&u, &record)))
            continue;
        const char *section = count < 3 ? want[count++] : "";
        assert_int_equal(record.text.bytes, strlen(section));
        assert_memory_equal(record.text.data, section, record.text.bytes);
    }
    assert_int_equal(count, 3);
}

/* What lies behind a line's bytes in memory is not of it. */
static void a_heading_ends_with_its_line(void **state)
{
    static const char text[] = "\xE7\xAC\xAC\xE4\xB8\x80\xE5\x9B\x9E\xE3\x80\x80x";
    const uint8_t *bytes = (const uint8_t *)text;

    (void)state;
    assert_int_equal(heading_level((struct view){bytes, 9}, true, false), 2);
    assert_int_equal(heading_level((struct view){bytes, 10}, true, false), 0);
    assert_int_equal(heading_level((struct view){bytes, 11}, true, false), 0);
    assert_int_equal(heading_level((struct view){bytes, 12}, true, false), 2);
}

static void sections_end_before_the_next_heading(void **state)
{
    (void)state;
    assert_sections(UNIT_SECTION, false, "a\n\nb\n\nCHAPTER I\n\nc\n\nd\n\nCHAPTER II\n\ne",
                    "6 CHAPTER I (3)|23 CHAPTER II (3)|");
    assert_units(UNIT_SECTION, "a\n\nb\n\nCHAPTER I\n\nc\n\nd\n\nCHAPTER II\n\ne", 1,
                 "0-6 6-23 23-36 ");
    assert_units(UNIT_SECTION, "a\n\nb\n\nc", 1, "0-7 ");
    assert_units(UNIT_SECTION, "", 1, "");
    /* Where the source says which are headings, and which file begins, nothing else is one. */
    assert_units(UNIT_SECTION, "a\n\n\1B\n\nc\n\nCHAPTER I\n\nd\n\n\10e", 1, "0-3 3-24 24-26 ");
}

static void places_begin_units(void **state)
{
    struct record r;
    struct units u;

    (void)state;
    assert_units(UNIT_PARAGRAPH, "ab\10cd\n\n\10ef", 1, "0-2 2-7 7-10 ");
    assert_units(UNIT_LINE, "ab\10cd\n\2ef", 1, "0-2 2-6 6-9 ");
    units_begin(&u, UNIT_PARAGRAPH, 0);
    units_place(&u, &(struct msg_place){PLACE_TITLE, {(const uint8_t *)"a.xhtml", 7}});
    assert_false(units_token(&u, 1, (struct view){(const uint8_t *)"T", 1}, 1, &r));
    assert_true(units_cut(&u, &r));
    assert_int_equal(r.field_count, 2);
    assert_string_equal(r.fields[0].name, "place");
    assert_memory_equal(r.fields[0].text.data, "a.xhtml", 7);
    assert_string_equal(r.fields[1].name, "heading");
    assert_int_equal(r.fields[1].count, 0);
    units_place(&u, &(struct msg_place){2, {NULL, 0}}); /* the file still holds */
    assert_false(units_token(&u, 1, (struct view){(const uint8_t *)"H", 1}, 1, &r));
    assert_true(units_cut(&u, &r));
    assert_int_equal(r.field_count, 3);
    assert_memory_equal(r.fields[1].text.data, "H", 1);
    assert_int_equal(r.fields[2].count, 2);
    units_place(
        &u, &(struct msg_place){PLACE_ALONE, {(const uint8_t *)"b", 1}}); /* the heading does not */
    assert_false(units_token(&u, 1, (struct view){(const uint8_t *)"x", 1}, 1, &r));
    assert_true(units_end(&u, &r));
    assert_int_equal(r.field_count, 1);
    assert_memory_equal(r.fields[0].text.data, "b", 1);
}

/* However deep and long headings are, the path has its bounds, and keeps the lowest. */
static void paths_of_headings_are_bounded(void **state)
{
    struct heading_path path = {.count = 0}, again;
    struct buffer saved;
    struct reader r;
    uint8_t words[200];
    uint64_t seed = 4;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        size_t bytes = 1 + random_next(&seed) % sizeof words;
        for (size_t k = 0; k < bytes; k++)
            words[k] = "ab \xC3\xA9"[random_next(&seed) % 5];
        words[0] = 'x';
        heading_path_enter(&path, (uint8_t)(1 + random_next(&seed) % PLACE_LEVEL_MAX),
                           (struct view){words, bytes});
        struct view text = heading_path_text(&path);
        assert_true(path.count >= 1 && path.count <= PLACE_LEVEL_MAX &&
                    text.bytes <= HEADING_PATH_MAX);
        saved = buffer_of(1000);
        heading_path_save(&path, &saved);
        r = reader_of(saved.data, saved.bytes);
        assert_true(heading_path_load(&again, &r) && read_done(&r));
        assert_int_equal(again.count, path.count);
        assert_memory_equal(heading_path_text(&again).data, text.data, text.bytes);
        buffer_release(&saved);
    }
}

static void a_unit_ends_with_the_token_that_holds_its_boundary(void **state)
{
    (void)state;
    /* Tokens of 4 bytes: "a\n\nb" ends the paragraph, behind the b. */
    assert_units(UNIT_PARAGRAPH, "a\n\nbcdef", 4, "0-4 4-8 ");
    assert_units(UNIT_LINE, "a\nb\nc\nd\n", 4, "0-4 4-8 ");
}

static void a_token_with_two_boundaries_ends_one_unit(void **state)
{
    (void)state;
    assert_units(UNIT_LINE, "\n\n\n\n", 2, "0-2 2-4 ");
    assert_units(UNIT_PARAGRAPH, "a\n\nb\n\nc\n\nd", 6, "0-6 6-10 ");
    /* What a token leaves behind its boundary counts as text of the next unit. */
    assert_units(UNIT_PARAGRAPH, "a\n\nb\n\nc", 4, "0-4 4-7 ");
}

static void every_place_can_be_saved_and_loaded(void **state)
{
    static const char alphabet[] = "ab \n\n\r\t\xc3\xa9I#`=\1\3\7\10";
    uint64_t seed = 3;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        uint8_t text[700], cuts[5];
        size_t bytes = 1 + random_next(&seed) % sizeof text;
        enum unit kind = (enum unit[]){UNIT_LINE, UNIT_PARAGRAPH, UNIT_SECTION}[round % 3];
        for (size_t i = 0; i < bytes; i++)
            text[i] = (uint8_t)alphabet[random_next(&seed) % (sizeof alphabet - 1)];
        for (size_t i = 0; i < sizeof cuts; i++)
            cuts[i] = (uint8_t)(1 + random_next(&seed) % 9);
        struct view view = {text, bytes};
        struct log whole = feed(kind, view, cuts, sizeof cuts, SIZE_MAX - 1);
        struct log each = feed(kind, view, cuts, sizeof cuts, SIZE_MAX);
        assert_string_equal((char *)each.text.data, (char *)whole.text.data);
        buffer_release(&each.text);
        for (unsigned i = 0; i < 10; i++) {
            struct log once = feed(kind, view, cuts, sizeof cuts, random_next(&seed) % bytes);
            assert_string_equal((char *)once.text.data, (char *)whole.text.data);
            buffer_release(&once.text);
        }
        buffer_release(&whole.text);
    }
}

static void long_units_need_no_more_memory(void **state)
{
    struct buffer saved = buffer_of(UNITS_BYTES_MAX);
    struct record record;
    struct units u;
    uint8_t text[127];

    (void)state;
    memset(text, 'x', sizeof text);
    units_begin(&u, UNIT_LINE, 5);
    for (unsigned i = 0; i < 100000; i++)
        assert_false(units_token(&u, 1, (struct view){text, sizeof text}, sizeof text, &record));
    units_save(&u, &saved);
    assert_false(saved.refused);
    assert_true(units_end(&u, &record));
    assert_int_equal(record.end - record.begin, 100000 * sizeof text);
    assert_int_equal(record.begin, 5);
    assert_true(record.text.bytes <= RECORD_TEXT_MAX);
    assert_true(record.nats == 100000);
    buffer_release(&saved);
}

static void damaged_state_is_refused_or_in_bounds(void **state)
{
    struct buffer saved = buffer_of(UNITS_BYTES_MAX), again;
    struct record record;
    struct units u, got;
    struct err err;

    (void)state;
    units_begin(&u, UNIT_PARAGRAPH, 0);
    for (unsigned i = 0; i < 50; i++)
        units_token(&u, 0.5, (struct view){(const uint8_t *)"some text", 9}, 9, &record);
    units_save(&u, &saved);
    for (size_t bytes = 0; bytes < saved.bytes; bytes++) {
        uint8_t *torn = malloc(bytes + 1);
        require(torn);
        memcpy(torn, saved.data, bytes);
        assert_int_equal(units_load(&got, (struct view){torn, bytes}, &err), ERR_DAMAGED);
        free(torn);
    }
    for (size_t at = 0; at < saved.bytes; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            saved.data[at] ^= (uint8_t)(1 << bit);
            if (!units_load(&got, (struct view){saved.data, saved.bytes}, &err)) {
                assert_true(got.unit.held <= UNITS_HELD_BYTES);
                assert_true(got.document.held <= UNITS_HELD_BYTES);
                again = buffer_of(UNITS_BYTES_MAX);
                units_save(&got, &again);
                assert_int_equal(again.bytes, saved.bytes);
                buffer_release(&again);
            }
            saved.data[at] ^= (uint8_t)(1 << bit);
        }
    buffer_release(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_their_newline),
        cmocka_unit_test(paragraphs_end_with_the_first_blank_line),
        cmocka_unit_test(entries_end_where_they_are_told_to),
        cmocka_unit_test(headings_are_told_by_their_form),
        cmocka_unit_test(a_sections_text_is_its_own),
        cmocka_unit_test(a_heading_ends_with_its_line),
        cmocka_unit_test(sections_end_before_the_next_heading),
        cmocka_unit_test(places_begin_units),
        cmocka_unit_test(paths_of_headings_are_bounded),
        cmocka_unit_test(a_unit_ends_with_the_token_that_holds_its_boundary),
        cmocka_unit_test(a_token_with_two_boundaries_ends_one_unit),
        cmocka_unit_test(every_place_can_be_saved_and_loaded),
        cmocka_unit_test(long_units_need_no_more_memory),
        cmocka_unit_test(damaged_state_is_refused_or_in_bounds),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
