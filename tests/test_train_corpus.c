/* Training text as streams of tokens: what is drawn, in what order, and what is to be predicted. */
#include "engine/train/corpus.h"
#include "engine/train/net.h"
#include "tests/engine_help.h"

enum { MOST = 4096 };

static char path[64], other[80];
static struct tokenizer *bytes_tokenizer;

static int make_files(void **state)
{
    static const char text[] = "one\ntwo\nthree\n\0four\n\0five and six\n";
    struct err err;

    (void)state;
    snprintf(path, sizeof path, "/tmp/riverrun-corpus-%d", (int)getpid());
    snprintf(other, sizeof other, "%s-other", path);
    file_write(path, text, sizeof text - 1);
    file_write(other, "zzzz", 4);
    return tokenizer_open_bytes(&bytes_tokenizer, &err) != ERR_OK;
}

static int remove_files(void **state)
{
    (void)state;
    tokenizer_close(&bytes_tokenizer);
    return remove(path) + remove(other);
}

static struct corpus *corpus_of(const struct corpus_file *files, size_t count, bool shuffle,
                                uint64_t span_bytes, uint64_t document_bytes)
{
    const struct corpus_options options = {.files = files,
                                           .file_count = count,
                                           .span_bytes = span_bytes,
                                           .document_bytes = document_bytes,
                                           .shuffle = shuffle,
                                           .seed = 3,
                                           .tokenizer = bytes_tokenizer};
    struct corpus *corpus = NULL;
    struct err err = {0};

    if (corpus_open(&corpus, &options, &err))
        fail_msg("%s", err.text);
    return corpus;
}

/* Inputs as text, 0 as '|', and below each what is to be predicted, '-' where nothing is. */
static void draw(struct corpus *corpus, size_t step, size_t tokens, char *input, char *target,
                 uint64_t *text)
{
    uint32_t in[MOST], out[MOST];
    struct corpus_place place = {0};
    struct corpus_cursor cursor;

    corpus_begin(&cursor);
    for (size_t at = 0; at < tokens; at += step)
        corpus_draw(corpus, &place, &cursor, step, in + at, out + at, text);
    for (size_t i = 0; i < tokens; i++) {
        input[i] = in[i] ? (char)in[i] : '|';
        target[i] = out[i] == NET_NO_TARGET ? '-' : out[i] ? (char)out[i] : '|';
    }
    input[tokens] = target[tokens] = 0;
}

static void documents_come_in_order_with_their_ends(void **state)
{
    const struct corpus_file file = {path, 1};
    struct corpus *corpus = corpus_of(&file, 1, false, 0, 0);
    char input[MOST + 1], target[MOST + 1];
    uint64_t text = 0;

    (void)state;
    draw(corpus, 8, 40, input, target, &text);
    assert_string_equal(input, "|one\ntwo\nthree\n|four\n|five and six\n|||||");
    assert_string_equal(target, "one\ntwo\nthree\n|four\n|five and six\n|-----");
    assert_int_equal(text, 32);
    assert_int_equal(corpus_bytes(corpus), 32);
    corpus_close(&corpus);
}

static void a_span_that_is_cut_ends_at_a_line_and_predicts_nothing_behind_it(void **state)
{
    const struct corpus_file file = {path, 1};
    struct corpus *corpus = corpus_of(&file, 1, false, 9, 0);
    char input[MOST + 1], target[MOST + 1];

    (void)state;
    draw(corpus, 16, 32, input, target, NULL);
    assert_string_equal(input, "|one\ntwo\n|three\n|four\n|five and ");
    assert_string_equal(target, "one\ntwo\n-three\n|four\n|five and -");
    corpus_close(&corpus);
}

static void of_each_document_only_so_many_bytes_are_read(void **state)
{
    const struct corpus_file file = {path, 1};
    struct corpus *corpus = corpus_of(&file, 1, false, 0, 3);
    char input[MOST + 1], target[MOST + 1];

    (void)state;
    draw(corpus, 4, 12, input, target, NULL);
    assert_string_equal(input, "|one|fou|fiv");
    assert_string_equal(target, "one-fou-fiv-");
    corpus_close(&corpus);
}

static void the_cut_into_windows_does_not_matter(void **state)
{
    const struct corpus_file file = {path, 1};
    struct corpus *corpus = corpus_of(&file, 1, true, 9, 0);
    char once[2][MOST + 1], again[2][MOST + 1];

    (void)state;
    draw(corpus, 960, 960, once[0], once[1], NULL);
    for (size_t step = 1; step <= 96; step *= 2) {
        draw(corpus, step, 960, again[0], again[1], NULL);
        assert_string_equal(once[0], again[0]);
        assert_string_equal(once[1], again[1]);
    }
    corpus_close(&corpus);
}

static void a_weight_is_how_often_a_file_is_read(void **state)
{
    const struct corpus_file files[] = {{path, 1}, {other, 2.5}};
    struct corpus *corpus = corpus_of(files, 2, true, 0, 0);
    char input[MOST + 1], target[MOST + 1];
    int first = 0, second = 0;

    (void)state;
    draw(corpus, 64, 4096, input, target, NULL);
    for (const char *at = input; (at = strchr(at, '|')); at++) {
        first += !strncmp(at, "|four", 5);
        second += !strncmp(at, "|zzzz", 5);
    }
    /* Some 85 epochs; 2.5 comes as 2 or 3. */
    assert_true(first > 60);
    if (!(second > 2.2 * first && second < 2.8 * first))
        fail_msg("%d and %d times", first, second);
    corpus_close(&corpus);
}

static void weights_that_give_nothing_are_refused(void **state)
{
    static const double weights[] = {0, -1, 101, 1e-9, NAN};
    struct corpus *corpus = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        const struct corpus_file file = {path, weights[i]};
        const struct corpus_options options = {
            .files = &file, .file_count = 1, .shuffle = true, .tokenizer = bytes_tokenizer};
        assert_int_equal(corpus_open(&corpus, &options, &err), ERR_USAGE);
        assert_null(corpus);
    }
}

/* It would be looked for in one epoch after the other, for ever. */
static void a_weight_of_what_has_no_text_gives_nothing(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
    } nothings[] = {{"", 0}, {"\0\0\0", 3}};
    const struct corpus_file files[] = {{other, 1}, {path, 0}};
    const struct corpus_options options = {
        .files = files, .file_count = 2, .shuffle = true, .tokenizer = bytes_tokenizer};
    struct corpus *corpus = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof nothings / sizeof *nothings; i++) {
        file_write(other, nothings[i].text, nothings[i].bytes);
        assert_int_equal(corpus_open(&corpus, &options, &err), ERR_USAGE);
        assert_null(corpus);
    }
    file_write(other, "zzzz", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_come_in_order_with_their_ends),
        cmocka_unit_test(a_span_that_is_cut_ends_at_a_line_and_predicts_nothing_behind_it),
        cmocka_unit_test(of_each_document_only_so_many_bytes_are_read),
        cmocka_unit_test(the_cut_into_windows_does_not_matter),
        cmocka_unit_test(a_weight_is_how_often_a_file_is_read),
        cmocka_unit_test(weights_that_give_nothing_are_refused),
        cmocka_unit_test(a_weight_of_what_has_no_text_gives_nothing),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
