/* The streaming normaliser against the Unicode Consortium's test, against utf8proc over all
 * characters, and against itself under random cuts. */
#include "schemas/err.h"
#include "stages/tokenize/normalize.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#include <cmocka.h>

#define DATA SHARED_DIR "/data/unicode/"

struct text {
    uint8_t *data;
    size_t bytes, room;
};

static void add(struct text *text, const void *data, size_t bytes)
{
    if (text->bytes + bytes > text->room) {
        text->room = 2 * (text->bytes + bytes);
        text->data = realloc(text->data, text->room);
        require(text->data);
    }
    if (bytes)
        memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
}

static void add_code(struct text *text, int32_t code)
{
    uint8_t utf8[4];
    add(text, utf8, (size_t)utf8proc_encode_char(code, utf8));
}

static bool same(const struct text *a, const struct text *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

static uint32_t chance(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* What a consumer sees: the bytes, and of each changed and each atomic piece its place in the source. */
struct run {
    struct text out, changes, atoms;
};

static void run_release(struct run *run)
{
    free(run->out.data);
    free(run->changes.data);
    free(run->atoms.data);
    *run = (struct run){0};
}

/* Normalise, the source arriving in reads of 1 to cut_max bytes (0: whole). Every byte handed to
 * the normaliser is in a block of exactly its size, so that a sanitizer sees a look beyond. */
static struct run normalize_cut(const uint8_t *data, size_t bytes, size_t cut_max, uint32_t seed)
{
    struct run run = {0};
    struct normalize_piece piece;
    size_t done = 0, seen = 0;

    while (done < bytes) {
        size_t left = bytes - seen, took;
        bool end;

        if (cut_max)
            left = left < cut_max ? left : 1 + chance(&seed) % cut_max;
        seen += left > bytes - seen ? bytes - seen : left;
        end = seen == bytes;
        uint8_t *held = malloc(seen - done + 1);
        require(held);
        memcpy(held, data + done, seen - done);
        size_t at = 0, count = seen - done;
        while (at < count && (took = normalize_next(held + at, count - at, end, &piece)) > 0) {
            require(took <= count - at);
            add(&run.out, piece.data, piece.bytes);
            const uint64_t place[3] = {done + at, took, piece.bytes};
            if (piece.unchanged)
                require(piece.bytes == took && piece.data == held + at);
            else
                add(&run.changes, place, sizeof place);
            if (piece.atomic)
                add(&run.atoms, place, sizeof place);
            require(piece.unchanged || piece.atomic);
            at += took;
        }
        free(held);
        done += at;
        require(seen - done <= (end ? 0 : NORMALIZE_HELD_MAX));
    }
    return run;
}

static void assert_nfc(const struct text *source, const struct text *want, const char *what)
{
    struct run run = normalize_cut(source->data, source->bytes, 0, 0);
    if (!same(&run.out, want))
        fail_msg("not the expected normal form: %s", what);
    run_release(&run);
}

/* Whole, and in random reads of several sizes: the same bytes and places; and idempotent. */
static void assert_cuts_do_not_matter(const uint8_t *data, size_t bytes)
{
    static const size_t cuts[] = {1, 2, 3, 7, 64, 300, 4096};
    struct run whole = normalize_cut(data, bytes, 0, 0);
    struct run again = normalize_cut(whole.out.data, whole.out.bytes, 0, 0);

    assert_true(same(&again.out, &whole.out));
    assert_int_equal(again.changes.bytes, 0);
    run_release(&again);
    for (uint32_t round = 0; round < 3 * sizeof cuts / sizeof cuts[0]; round++) {
        struct run cut =
            normalize_cut(data, bytes, cuts[round % (sizeof cuts / sizeof cuts[0])], round + 1);
        assert_true(same(&cut.out, &whole.out));
        assert_true(same(&cut.changes, &whole.changes));
        assert_true(same(&cut.atoms, &whole.atoms));
        run_release(&cut);
    }
    run_release(&whole);
}

static bool skipped;

static void skip_without(const char *path)
{
    if (access(path, R_OK) == 0)
        return;
    print_message("skipped: %s is not there\n", path);
    skipped = true;
    skip();
}

static void add_stream(struct text *text, FILE *file)
{
    char block[4096];
    size_t got;

    while ((got = fread(block, 1, sizeof block, file)) > 0)
        add(text, block, got);
}

static struct text read_file(const char *path)
{
    struct text text = {0};
    FILE *file;

    skip_without(path);
    file = fopen(path, "rb");
    require(file);
    add_stream(&text, file);
    fclose(file);
    require(text.data);
    return text;
}

/* A column of NormalizationTest.txt: hexadecimal codes between semicolons. */
static bool parse_column(char **at, struct text *text)
{
    char *end;

    text->bytes = 0;
    for (;;) {
        unsigned long code = strtoul(*at, &end, 16);
        if (end == *at)
            return false;
        add_code(text, (int32_t)code);
        *at = end + (*end != 0);
        if (*end == ';')
            return true;
        if (*end != ' ')
            return false;
    }
}

/* Characters younger than utf8proc's tables are not its fault. */
static bool unassigned(const struct text *text)
{
    utf8proc_int32_t code;

    for (size_t at = 0; at < text->bytes;) {
        at +=
            (size_t)utf8proc_iterate(text->data + at, (utf8proc_ssize_t)(text->bytes - at), &code);
        if (utf8proc_category(code) == UTF8PROC_CATEGORY_CN)
            return true;
    }
    return false;
}

static void unicode_test_file_agrees(void **state)
{
    struct text file = {0}, columns[5] = {0};
    size_t lines = 0, newer = 0;
    FILE *pipe;

    (void)state;
    skip_without(DATA "NormalizationTest.txt.xz");
    pipe = popen("xz -dc '" DATA "NormalizationTest.txt.xz'", "r");
    assert_non_null(pipe);
    add_stream(&file, pipe);
    assert_int_equal(pclose(pipe), 0);
    add(&file, "", 1);
    for (char *rest = (char *)file.data, *line; (line = strsep(&rest, "\n"));) {
        char *at = line;
        size_t column = 0;

        while (column < 5 && parse_column(&at, &columns[column]))
            column++;
        if (column < 5) {
            assert_true(*line == '#' || *line == '@' || *line == 0);
            continue;
        }
        if (unassigned(&columns[0])) {
            newer++;
            continue;
        }
        lines++;
        for (size_t i = 0; i < 5; i++)
            assert_nfc(&columns[i], &columns[i < 3 ? 1 : 3], line);
    }
    print_message("%zu lines agree, %zu left out as newer than Unicode %s\n", lines, newer,
                  utf8proc_unicode_version());
    assert_true(lines > 15000);
    for (size_t i = 0; i < 5; i++)
        free(columns[i].data);
    free(file.data);
}

/* Between two letters, which is how a rule about neighbours would show. */
static void every_character_agrees_with_utf8proc(void **state)
{
    struct text source = {0}, want = {0};

    (void)state;
    for (int32_t code = 1; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code < 0xe000)
            continue;
        source.bytes = want.bytes = 0;
        add_code(&source, 0xe9);
        add_code(&source, code);
        add_code(&source, 'o');
        add(&source, "", 1);
        uint8_t *nfc = utf8proc_NFC(source.data);
        assert_non_null(nfc);
        add(&want, nfc, strlen((char *)nfc));
        free(nfc);
        source.bytes--;
        assert_nfc(&source, &want, (char *)source.data);
    }
    free(source.data);
    free(want.data);
}

/* The rule of segments rests on it: what a character decomposes into joins, from the second on, with
 * what stands before it, and the first joins only where the whole does. */
static void no_character_decomposes_across_a_segment(void **state)
{
    int32_t parts[8];
    struct normalize_piece piece;
    size_t seen = 0;

    (void)state;
    for (int32_t code = 0x80; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code < 0xe000)
            continue;
        int unused = 0;
        utf8proc_ssize_t count =
            utf8proc_decompose_char(code, parts, 8, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &unused);
        assert_in_range(count, 1, 4);
        if (count == 1 && parts[0] == code)
            continue;
        seen++;
        /* After a Z, which composes with nothing here: it stays undecided until it is sure that
         * nothing joins it. */
        struct text together = {0}, alone = {0}, first = {0};
        add(&together, "Z", 1);
        for (utf8proc_ssize_t i = 0; i < count; i++)
            add_code(&together, parts[i]);
        add(&alone, "Z", 1);
        add_code(&alone, code);
        add(&first, "Z", 1);
        add_code(&first, parts[0]);
        size_t took_first = normalize_next(first.data, first.bytes, false, &piece);
        size_t took_alone = normalize_next(alone.data, alone.bytes, false, &piece);
        size_t took_together = normalize_next(together.data, together.bytes, false, &piece);
        assert_int_equal(took_first, took_alone);
        assert_int_equal(took_first, took_together);
        free(together.data);
        free(alone.data);
        free(first.data);
    }
    print_message("%zu characters decompose\n", seen);
    assert_true(seen > 13000); /* 11172 syllables of Hangul and about 2000 others */
}

static void cuts_of_files_do_not_matter(void **state)
{
    static const char *const files[] = {
        DATA "UTF-8-test.txt",
        DATA "blns.txt",
        DATA "made/trois-mousquetaires.excerpt.nfd.txt",
        DATA "udhr/Hindi-UTF8.txt",
        DATA "udhr/Korean_Hankuko-UTF8.txt",
        DATA "made/honglou.mixed-encodings.bin",
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct text file = read_file(files[i]);
        assert_true(file.bytes > 1000);
        assert_cuts_do_not_matter(file.data, file.bytes);
        free(file.data);
    }
}

/* Every pair of neighbours of the interesting kinds, and broken bytes between them. */
static void cuts_of_random_text_do_not_matter(void **state)
{
    static const char *const parts[] = {"a",
                                        "e",
                                        "\xcc\x81",         /* combining acute */
                                        "\xcc\xa3",         /* combining dot below */
                                        "\xcd\x84",         /* decomposes into two marks */
                                        "\xc3\xa9",         /* e with acute */
                                        "\xe1\x84\x80",     /* Hangul L */
                                        "\xe1\x85\xa1",     /* V */
                                        "\xe1\x86\xa8",     /* T */
                                        "\xea\xb0\x80",     /* LV */
                                        "\xe0\xa5\x98",     /* excluded from composition */
                                        "\xe2\x84\xab",     /* Angstrom sign, a singleton */
                                        "\xf0\x9d\x85\x9e", /* musical, grows threefold */
                                        "\xe4\xb8\xad",
                                        "\xf0\x9f\x98\x80",
                                        "\xff",
                                        "\xe2\x82",
                                        "\xf0\x9d",
                                        "\xed\xa0\x80", /* a surrogate */
                                        "plain words, several of them "};
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct text text = {0};
        uint32_t kinds = 1 + chance(&seed) % (sizeof parts / sizeof parts[0]);
        uint32_t from = chance(&seed), count = chance(&seed) % 400;
        for (uint32_t i = 0; i < count; i++) {
            const char *part =
                parts[(from + chance(&seed) % kinds) % (sizeof parts / sizeof parts[0])];
            add(&text, part, strlen(part));
        }
        assert_cuts_do_not_matter(text.data, text.bytes);
        free(text.data);
    }
}

static void nfd_excerpt_becomes_the_plain_one(void **state)
{
    struct text nfd = read_file(DATA "made/trois-mousquetaires.excerpt.nfd.txt");
    struct text nfc = read_file(DATA "made/trois-mousquetaires.excerpt.utf8.txt");

    (void)state;
    assert_nfc(&nfd, &nfc, "trois-mousquetaires.excerpt.nfd.txt");
    free(nfd.data);
    free(nfc.data);
}

static void decoder_stress_test_is_kept(void **state)
{
    struct text file = read_file(DATA "UTF-8-test.txt"), want = {0};
    struct run run = normalize_cut(file.data, file.bytes, 0, 0);

    (void)state;
    /* Its one valid character that is not NFC is the omicron with oxia of "kosme". */
    uint8_t *oxia = memmem(file.data, file.bytes, "\xe1\xbd\xb9", 3);
    assert_non_null(oxia);
    size_t at = (size_t)(oxia - file.data);
    add(&want, file.data, at);
    add(&want, "\xcf\x8c", 2);
    add(&want, oxia + 3, file.bytes - at - 3);
    assert_true(same(&run.out, &want));
    assert_int_equal(run.changes.bytes, 3 * sizeof(uint64_t));
    run_release(&run);
    free(want.data);
    free(file.data);
}

static void invalid_bytes_are_kept(void **state)
{
    /* Too long a form of U+0301, a surrogate, a code past the last: nothing to join an e. */
    static const uint8_t broken[] = "e\xe0\x8c\x81"
                                    "e\xf0\x80\x8c\x81"
                                    "e\xed\xa0\x80"
                                    "e\xf4\x90\x80\x80";
    uint8_t noise[4096];
    uint32_t seed = 3;
    struct run run;

    (void)state;
    run = normalize_cut(broken, sizeof broken - 1, 0, 0);
    assert_int_equal(run.out.bytes, sizeof broken - 1);
    assert_memory_equal(run.out.data, broken, sizeof broken - 1);
    run_release(&run);
    /* Continuation bytes alone, of which no character can be made. */
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(0x80 + chance(&seed) % 0x40);
    run = normalize_cut(noise, sizeof noise, 5, 1);
    assert_int_equal(run.out.bytes, sizeof noise);
    assert_memory_equal(run.out.data, noise, sizeof noise);
    run_release(&run);
}

static void marks_beyond_the_bound_are_kept(void **state)
{
    (void)state;
    for (size_t marks = NORMALIZE_MARKS_MAX - 1; marks <= 1000; marks += marks < 70 ? 1 : 93) {
        struct text text = {0};
        add(&text, "e", 1);
        for (size_t i = 0; i < marks; i++)
            add_code(&text, i % 2 ? 0x323 : 0x301);
        assert_cuts_do_not_matter(text.data, text.bytes);
        struct run run = normalize_cut(text.data, text.bytes, 0, 0);
        if (marks <= NORMALIZE_MARKS_MAX)
            assert_memory_equal(run.out.data, "\xe1\xba\xb9", 3); /* e with dot below */
        else
            assert_memory_equal(run.out.data, text.data, 1 + 2 * NORMALIZE_MARKS_MAX);
        run_release(&run);
        free(text.data);
    }
}

static void plain_text_is_one_piece_without_a_copy(void **state)
{
    static const uint8_t text[] =
        "All of it is ASCII, or Latin: \xc3\xa9t\xc3\xa9, \xe4\xb8\xad\xe6\x96\x87.";
    struct normalize_piece piece;

    (void)state;
    assert_int_equal(normalize_next(text, sizeof text - 1, true, &piece), sizeof text - 1);
    assert_ptr_equal(piece.data, text);
    assert_true(piece.unchanged && !piece.atomic);
    /* Without the end the last character may yet be joined by a mark. */
    assert_int_equal(normalize_next(text, sizeof text - 1, false, &piece), sizeof text - 2);
}

static void a_segment_of_several_characters_is_a_piece_of_its_own(void **state)
{
    /* q with acute has no composed form: its own normal form, and still not to be cut. */
    static const uint8_t text[] = "abq\xcc\x81"
                                  "cd";
    struct normalize_piece piece;

    (void)state;
    assert_int_equal(normalize_next(text, 7, true, &piece), 2);
    assert_true(piece.unchanged && !piece.atomic);
    assert_int_equal(normalize_next(text + 2, 5, true, &piece), 3);
    assert_true(piece.unchanged && piece.atomic);
    assert_ptr_equal(piece.data, text + 2);
    assert_int_equal(piece.bytes, 3);
    assert_int_equal(normalize_next(text + 5, 2, true, &piece), 2);
    assert_true(piece.unchanged && !piece.atomic);
}

static void nothing_is_decided_too_early(void **state)
{
    struct normalize_piece piece;

    (void)state;
    assert_int_equal(normalize_next((const uint8_t *)"", 0, true, &piece), 0);
    assert_int_equal(normalize_next((const uint8_t *)"e", 1, false, &piece), 0);
    assert_int_equal(normalize_next((const uint8_t *)"e\xcc", 2, false, &piece), 0);
    assert_int_equal(normalize_next((const uint8_t *)"e\xcc", 2, true, &piece), 2);
    assert_int_equal(normalize_next((const uint8_t *)"e\xcc\x81", 3, false, &piece), 0);
    assert_int_equal(normalize_next((const uint8_t *)"e\xcc\x81", 3, true, &piece), 3);
    assert_int_equal(piece.bytes, 2);
    assert_memory_equal(piece.data, "\xc3\xa9", 2);
    assert_int_equal(normalize_next((const uint8_t *)"e\xcc\x81x", 4, false, &piece), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unicode_test_file_agrees),
        cmocka_unit_test(every_character_agrees_with_utf8proc),
        cmocka_unit_test(no_character_decomposes_across_a_segment),
        cmocka_unit_test(cuts_of_files_do_not_matter),
        cmocka_unit_test(cuts_of_random_text_do_not_matter),
        cmocka_unit_test(nfd_excerpt_becomes_the_plain_one),
        cmocka_unit_test(decoder_stress_test_is_kept),
        cmocka_unit_test(invalid_bytes_are_kept),
        cmocka_unit_test(marks_beyond_the_bound_are_kept),
        cmocka_unit_test(plain_text_is_one_piece_without_a_copy),
        cmocka_unit_test(a_segment_of_several_characters_is_a_piece_of_its_own),
        cmocka_unit_test(nothing_is_decided_too_early),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? 1 : skipped ? 77 : 0;
}
