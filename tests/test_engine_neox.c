/* tests/test_engine_neox.c: NeoX's byte-level BPE gives the ids of its authors' library, however the bytes
 * arrive; a vocabulary that is not right is refused with its place. */
#include "engine/tokenizer/unicode.h"
#include "tests/neox_file.h"
#include "tests/tokenizer_help.h"

#include <sys/mman.h>
#include <utf8proc.h>

static const char *const neox_path = SHARED_DIR "/tokenizers/20B_tokenizer.json";
static bool have_neox;

static struct tokenizer *neox(bool specials)
{
    const struct tokenizer_options options = {.specials = specials};
    struct tokenizer *t = NULL;
    struct err err = {0};

    if (tokenizer_open(&t, neox_path, &options, &err))
        fail_msg("%s", err.text);
    return t;
}

static void neox_gives_the_librarys_ids(void **unused)
{
    static uint8_t text[TEXT_MAX];
    static uint32_t ids[3 * TEXT_MAX], again[3 * TEXT_MAX];
    json_t *root, *cases, *entry;
    struct tokenizer *t;
    uint64_t seed = 1;
    size_t i;

    (void)unused;
    if (!have_neox)
        skip();
    t = neox(true);
    root = json_load_file(SHARED_DIR "/vectors/tokenizers.json", 0, NULL);
    cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 269);
    json_array_foreach(cases, i, entry)
    {
        const json_t *want = json_object_get(entry, "neox");
        size_t bytes = unhex(json_string_value(json_object_get(entry, "hex")), text);
        size_t count = encode(t, text, bytes, ids);
        for (size_t k = 0; k < count && k < json_array_size(want); k++)
            if (ids[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("case %zu: token %zu is %u", i, k, ids[k]);
        assert_int_equal(count, json_array_size(want));
        for (int round = 0; round < 5; round++) {
            assert_int_equal(encode_cut(t, text, bytes, again, 9, &seed), count);
            assert_memory_equal(again, ids, count * sizeof *ids);
        }
    }
    json_decref(root);
    tokenizer_close(&t);
}

/* ---- Unicode: utf8proc's against the tables that the vectors were made with ---- */

enum { CODES = 0x110000 };

struct tables {
    uint8_t class[CODES], ccc[CODES], changes[CODES], second[CODES];
    int32_t first[CODES]; /* of its decomposition, 0: none */
    bool pair[CODES];     /* which has two */
};

static void mark_ranges(uint8_t *of, const json_t *ranges, int value)
{
    const json_t *range;
    size_t i;

    assert_true(json_array_size(ranges) > 0);
    json_array_foreach(ranges, i, range)
    {
        json_int_t from = json_integer_value(json_array_get(range, 0)),
                   to = json_integer_value(json_array_get(range, 1)),
                   third = json_integer_value(json_array_get(range, 2));
        assert_true(from >= 0 && from <= to && to < CODES);
        for (json_int_t code = from; code <= to; code++)
            of[code] = (uint8_t)(value < 0 ? third : value);
    }
}

static void load_tables(struct tables *t, const json_t *root)
{
    const json_t *entry;
    size_t i;

    memset(t->class, CLASS_OTHER, sizeof t->class);
    mark_ranges(t->class, json_object_get(root, "letter"), CLASS_LETTER);
    mark_ranges(t->class, json_object_get(root, "number"), CLASS_NUMBER);
    mark_ranges(t->class, json_object_get(root, "white_space"), CLASS_SPACE);
    mark_ranges(t->ccc, json_object_get(root, "ccc"), -1);
    mark_ranges(t->changes, json_object_get(root, "nfc_changes_alone"), 1);
    json_array_foreach(json_object_get(root, "second_of_composition"), i, entry)
        t->second[json_integer_value(entry)] = 1;
    memset(t->second + 0x1161, 1, 0x1176 - 0x1161);
    memset(t->second + 0x11A8, 1, 0x11C3 - 0x11A8);
    json_array_foreach(json_object_get(root, "canonical_decomposition"), i, entry)
    {
        json_int_t code = json_integer_value(json_array_get(entry, 0));
        t->first[code] = (int32_t)json_integer_value(json_array_get(entry, 1));
        t->pair[code] = json_array_size(entry) == 3;
    }
}

/* Rule B's "clean", from the tables alone. */
static bool is_clean(const struct tables *t, int32_t code)
{
    int32_t one = code, first = code;

    while (t->changes[one] && t->first[one] && !t->pair[one])
        one = t->first[one];
    while (t->first[first])
        first = t->first[first];
    return t->ccc[code] == 0 && !t->changes[one] && t->ccc[first] == 0 && !t->second[first];
}

static bool is_nothing(enum unicode_class class, unsigned ccc, bool clean)
{
    return class == CLASS_OTHER && ccc == 0 && clean;
}

static void print_range(int32_t begin, int32_t last)
{
    if (last >= begin)
        printf(last > begin ? " %04X-%04X" : " %04X", (unsigned)begin, (unsigned)last);
}

/* They are named here and left out of nothing. Each is unassigned in one of the two. */
static void characters_that_differ_between_versions_of_unicode_are_named(void **unused)
{
    static struct tables t;
    static struct unicode_seconds seconds;
    json_t *root = json_load_file(SHARED_DIR "/tokenizers/unicode_tables.json", 0, NULL);
    size_t count = 0;
    int32_t begin = 0, last = -2;

    (void)unused;
    if (!root)
        skip();
    load_tables(&t, root);
    unicode_seconds_find(&seconds);
    printf("utf8proc's Unicode %s against the tables' %s:", utf8proc_unicode_version(),
           json_string_value(json_object_get(root, "unicode_version")));
    for (int32_t code = 0; code < CODES; code++) {
        uint8_t text[4];
        struct unicode_char c;
        unsigned ccc = (unsigned)utf8proc_get_property(code)->combining_class;
        bool clean = unicode_is_clean(&seconds, code);
        if (code >= 0xD800 && code < 0xE000)
            continue;
        unicode_next(text, unicode_encode(code, text), true, &c);
        if (c.class == t.class[code] && ccc == t.ccc[code] && clean == is_clean(&t, code))
            continue;
        if (code != last + 1) {
            print_range(begin, last);
            begin = code;
        }
        last = code;
        count++;
        assert_true(is_nothing(t.class[code], t.ccc[code], is_clean(&t, code)) ||
                    is_nothing(c.class, ccc, clean));
    }
    print_range(begin, last);
    printf("; %zu characters differ\n", count);
    assert_true(count > 0 || !strcmp(utf8proc_unicode_version(), "14.0.0"));
    json_decref(root);
}

static void seconds_are_those_of_the_tables(void **unused)
{
    static struct unicode_seconds seconds;
    json_t *root = json_load_file(SHARED_DIR "/tokenizers/unicode_tables.json", 0, NULL), *entry;
    size_t i;

    (void)unused;
    if (!root)
        skip();
    unicode_seconds_find(&seconds);
    json_array_foreach(json_object_get(root, "second_of_composition"), i, entry)
        assert_false(unicode_is_clean(&seconds, (int32_t)json_integer_value(entry)));
    assert_true(seconds.count >= i);
    json_decref(root);
}

/* Marks in an order made to be bad: as many as a segment holds. */
static void long_runs_of_marks_are_sorted_as_utf8proc_sorts_short_ones(void **unused)
{
    enum { MARKS = TOKENIZER_SEGMENT_MAX };
    int32_t *codes = malloc(UNICODE_NFC_MOST * MARKS * sizeof *codes);
    uint64_t *keys = malloc(UNICODE_NFC_MOST * MARKS * sizeof *keys), before = 0;
    size_t count;

    (void)unused;
    assert_true(codes && keys);
    for (size_t i = 0; i < MARKS; i++)
        codes[i] = i == 0 ? 'q' : i % 2 ? 0x301 : 0x323;
    count = unicode_compose(codes, MARKS, keys);
    assert_int_equal(count, MARKS);
    assert_int_equal(codes[0], 'q');
    for (size_t i = 1; i < count; i++) {
        assert_true(codes[i] == (i <= MARKS / 2 - 1 ? 0x323 : 0x301));
        before += codes[i] == 0x323;
    }
    assert_int_equal(before, MARKS / 2 - 1);
    free(codes);
    free(keys);
}

/* ---- What a piece says of itself, with a vocabulary made here ---- */

static char *small_file(size_t *bytes)
{
    char *data = NULL;
    FILE *file = open_memstream(&data, bytes);

    assert_non_null(file);
    neox_write(file);
    fclose(file);
    return data;
}

static enum err_code open_text(struct tokenizer **out, const char *json, size_t bytes,
                               bool specials, struct err *err)
{
    const struct tokenizer_options options = {.specials = specials};
    int fd = memfd_create("neox", MFD_CLOEXEC);
    char path[64];
    enum err_code code;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    file_write(path, json, bytes);
    code = tokenizer_open(out, path, &options, err);
    close(fd);
    return code;
}

static struct tokenizer *small(bool specials)
{
    size_t bytes;
    char *json = small_file(&bytes);
    struct tokenizer *t = NULL;
    struct err err = {0};

    if (open_text(&t, json, bytes, specials, &err))
        fail_msg("%s", err.text);
    free(json);
    return t;
}

/* A stretch that changed counts with the token that holds its end; the rest byte for byte. */
static void changed_stretches_count_with_their_last_token(void **unused)
{
    /* "e" and an acute, which make C3 A9; a line end and marks out of order; a broken byte. */
    static const char text[] = "e\xcc\x81\n\xcc\x81\xcc\xa3\xff.";
    static const uint32_t source[] = {0, 3, 1, 0, 0, 4, 0, 0, 1, 1};
    struct tokenizer *t = small(false);
    struct tokenizer_reader *reader = text_reader(t);
    struct tokenizer_piece piece;
    size_t at = 0, count = 0, repaired = 0;

    (void)unused;
    while (at < sizeof text - 1) {
        at +=
            tokenizer_next(reader, (const uint8_t *)text + at, sizeof text - 1 - at, true, &piece);
        repaired += piece.repaired;
        for (size_t i = 0; i < piece.count; i++, count++) {
            assert_true(count < sizeof source / sizeof *source);
            assert_int_equal(piece.tokens[i].source_bytes, source[count]);
        }
    }
    assert_int_equal(count, sizeof source / sizeof *source);
    assert_int_equal(repaired, 1);
    tokenizer_reader_close(&reader);
    tokenizer_close(&t);
}

static void a_segment_is_cut_after_its_most_characters(void **unused)
{
    static const uint8_t face[] = {0xF0, 0x9F, 0x98, 0x80};
    const size_t bytes = 4 * (TOKENIZER_SEGMENT_MAX + 1);
    struct tokenizer *t = small(false);
    struct tokenizer_reader *reader = text_reader(t);
    struct tokenizer_piece piece;
    uint8_t *text = malloc(bytes);
    size_t hold = tokenizer_hold_max(t);

    (void)unused;
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i += 4)
        memcpy(text + i, face, 4);
    assert_int_equal(hold, bytes - 1);
    assert_int_equal(tokenizer_next(reader, text, hold, false, &piece), 0);
    assert_int_equal(tokenizer_next(reader, text, bytes, false, &piece), bytes - 4);
    assert_true(piece.forced);
    assert_int_equal(piece.count, bytes - 4);
    assert_int_equal(tokenizer_next(reader, text, bytes - 4, true, &piece), bytes - 4);
    assert_false(piece.forced); /* the end came first */
    memset(text + bytes - 4, ' ', 4);
    assert_int_equal(tokenizer_next(reader, text, bytes, false, &piece), bytes - 4);
    assert_false(piece.forced); /* a space follows: it may be cut there */
    free(text);
    tokenizer_reader_close(&reader);
    tokenizer_close(&t);
}

static void special_strings_are_text_unless_asked_for(void **unused)
{
    static const char text[] = "the<|endoftext|>the";
    uint32_t ids[32] = {0};
    struct tokenizer *off = small(false), *on = small(true);
    size_t count = encode(off, (const uint8_t *)text, strlen(text), ids);

    (void)unused;
    for (size_t i = 0; i < count; i++)
        assert_int_not_equal(ids[i], 0);
    assert_int_equal(encode(on, (const uint8_t *)text, strlen(text), ids), 3);
    assert_int_equal(ids[1], 0);
    assert_true(tokenizer_fingerprint(off) != tokenizer_fingerprint(on));
    tokenizer_close(&off);
    tokenizer_close(&on);
}

/* ---- Files that are not right ---- */

/* The small file with the first `from` in it replaced. */
static char *changed(const char *from, const char *to, size_t *bytes)
{
    char *json = small_file(bytes), *out = NULL, *at = strstr(json, from);

    if (!at)
        fail_msg("the file has no %s", from);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from)) > 0);
    *bytes = strlen(out);
    free(json);
    return out;
}

static void faults_are_refused_with_their_place(void **unused)
{
    static const char *const faults[][3] = {
        {"\"NFC\"", "\"NFKC\"", "normalizer"},
        {"\"ByteLevel\"", "\"Whitespace\"", "pre_tokenizer"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"ByteLevel\", \"add_prefix_space\": true",
         "pre_tokenizer"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"ByteLevel\", \"use_regex\": false", "use_regex"},
        {"\"BPE\"", "\"Unigram\"", "model.type"},
        {"\"BPE\"", "\"BPE\", \"dropout\": 0.1", "dropout"},
        {"\"BPE\"", "\"BPE\", \"byte_fallback\": true", "byte_fallback"},
        {"\"BPE\"", "\"BPE\", \"end_of_word_suffix\": \"</w>\"", "end_of_word_suffix"},
        {"\"vocab\"", "\"words\"", "model.vocab"},
        {"\"merges\": [", "\"merges\": {}, \"more\": [", "model.merges"},
        {"\"t h\"", "\"th\"", "merges[0]"},
        {"\"t h\"", "7", "merges[0]"},
        {"\"t h\"", "[\"t\"]", "merges[0]"},
        {"\"th e\"", "\"th f\"", "merges[1]"},
        {"\"th e\"", "\"t h\"", "merges[1]"},
        {"\"the\": ", "\"the\": \"x", "line"},
        {"\"th\": 258", "\"th\": -1", "'th'"},
        {"\"th\": 258", "\"th\": 2000000000", "'th'"},
        {"\"th\": 258", "\"th\": 2.5", "'th'"},
        {"\"th\": 258", "\"th\": 3", "id 3 is there"},
        {"\"th\": 258", "\"t h\": 258", "byte characters"},
        {"\"th\": 258", "\"\": 258", "byte characters"},
        {"\"th\": 258, ", "\"th\": 258, \"th\": 400, ", "line"},
        {"\"\\u0041\": 67, ", "", "0x41"},
        {"\"   \"", "\" x \"", "added_tokens[1]"},
        {"\"id\": 900", "\"id\": 901", "added_tokens[2]"},
        {"\"id\": 900", "\"id\": \"900\"", "added_tokens[1]"},
        {"\"id\": 900", "\"id\": 258", "added_tokens[1]"},
        {"\"   \"", "\"  \"", "added_tokens[2]"},
        {"\"normalized\": false", "\"normalized\": false, \"lstrip\": true", "added_tokens[0]"},
        {"\"normalized\": false", "\"normalized\": true", "added_tokens[0]"},
        {"<|endoftext|>", "", "added_tokens[0]"},
        {"<|endoftext|>", "end of text", "added_tokens[0]"},
        {"]}}", "]}", "line"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        size_t bytes;
        char *json = changed(faults[i][0], faults[i][1], &bytes);
        if (open_text(&t, json, bytes, true, &err) != ERR_INPUT || t)
            fail_msg("taken: %s instead of %s", faults[i][1], faults[i][0]);
        if (!strstr(err.text, faults[i][2]) || strchr(err.text, '\n'))
            fail_msg("%s instead of %s: %s", faults[i][1], faults[i][0], err.text);
        free(json);
    }
}

static void files_cut_off_anywhere_are_refused(void **unused)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    size_t bytes;
    char *json = small_file(&bytes);

    (void)unused;
    for (size_t cut = 0; cut < bytes - 1; cut++) {
        assert_int_equal(open_text(&t, json, cut, false, &err), ERR_INPUT);
        assert_null(t);
    }
    free(json);
}

static void merges_may_be_pairs_and_their_order_counts(void **unused)
{
    struct tokenizer *t = small(false), *pairs = NULL, *other = NULL;
    struct err err = {0};
    size_t bytes;
    char *json = changed("\"t h\", \"th e\"", "[\"t\", \"h\"], [\"th\", \"e\"]", &bytes);

    (void)unused;
    assert_int_equal(open_text(&pairs, json, bytes, false, &err), ERR_OK);
    assert_true(tokenizer_fingerprint(t) == tokenizer_fingerprint(pairs));
    free(json);
    json = changed("\"t h\", \"th e\"", "\"th e\", \"t h\"", &bytes);
    assert_int_equal(open_text(&other, json, bytes, false, &err), ERR_OK);
    assert_true(tokenizer_fingerprint(t) != tokenizer_fingerprint(other));
    free(json);
    tokenizer_close(&t);
    tokenizer_close(&pairs);
    tokenizer_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neox_gives_the_librarys_ids),
        cmocka_unit_test(characters_that_differ_between_versions_of_unicode_are_named),
        cmocka_unit_test(seconds_are_those_of_the_tables),
        cmocka_unit_test(long_runs_of_marks_are_sorted_as_utf8proc_sorts_short_ones),
        cmocka_unit_test(changed_stretches_count_with_their_last_token),
        cmocka_unit_test(a_segment_is_cut_after_its_most_characters),
        cmocka_unit_test(special_strings_are_text_unless_asked_for),
        cmocka_unit_test(faults_are_refused_with_their_place),
        cmocka_unit_test(files_cut_off_anywhere_are_refused),
        cmocka_unit_test(merges_may_be_pairs_and_their_order_counts),
    };

    have_neox = access(neox_path, R_OK) == 0;
    if (!have_neox)
        printf("without %s: tests of NeoX are skipped\n", neox_path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
