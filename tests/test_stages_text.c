/* Text to tokens: whatever the cuts, the same tokens; and from every cursor the rest of them. */
#include "stages/tokenize/normalize.h"
#include "stages/tokenize/text.h"
#include "tests/dear.h"
#include "tests/neox_file.h"
#include "tests/stages_help.h"

#include <stdio.h>
#include <stdlib.h>

struct token {
    uint32_t id, source, text;
    bool broke;
    uint64_t place; /* the source position that its place names; 0: it has none */
};

struct run {
    struct token *tokens;
    size_t count, room;
    struct buffer text;
    /* after each token: the cursor, and how far the source that it needs goes back */
    uint8_t (*cursors)[CURSOR_MAX];
    size_t *cursor_bytes;
    uint64_t held_most; /* source bytes pushed and not in tokens, after taking all that goes */
};

struct way {
    const struct tokenizer *tokenizer;
    enum normalize normalize;
    bool line_edges;
    size_t break_every; /* source bytes, wherever in a character that is; 0: none */
    size_t place_every; /* the same of places, PLACE_FIRST behind each */
};

enum { PLACE_FIRST = 5 };

static bool is_place(const struct way *way, uint64_t at)
{
    return way->place_every && at % way->place_every == PLACE_FIRST;
}

static void run_release(struct run *run)
{
    free(run->tokens);
    free(run->cursors);
    free(run->cursor_bytes);
    buffer_release(&run->text);
    *run = (struct run){0};
}

static void add_token(struct run *run, const struct text *t, const struct text_token *token,
                      bool cursors)
{
    struct buffer cursor = buffer_of(CURSOR_MAX);

    if (run->count == run->room) {
        run->room = run->room ? 2 * run->room : 256;
        run->tokens = realloc(run->tokens, run->room * sizeof *run->tokens);
        run->cursors = realloc(run->cursors, run->room * sizeof *run->cursors);
        run->cursor_bytes = realloc(run->cursor_bytes, run->room * sizeof *run->cursor_bytes);
        require(run->tokens && run->cursors && run->cursor_bytes);
    }
    run->tokens[run->count] =
        (struct token){token->id, token->source_bytes, token->text_bytes, text_broke(t),
                       token->place_bytes ? load_u64(token->place + 1) : 0};
    buffer_put(&run->text, token->text, token->text_bytes);
    if (cursors) {
        assert_int_equal(text_cursor(t, &cursor, NULL), ERR_OK);
        memcpy(run->cursors[run->count], cursor.data, cursor.bytes);
        run->cursor_bytes[run->count] = cursor.bytes;
        buffer_release(&cursor);
    }
    run->count++;
}

/* Upstream's cursor here is the source position alone. */
static struct view place(uint8_t bytes[8], uint64_t at)
{
    store_u64(bytes, at);
    return (struct view){bytes, 8};
}

/* Push source from cursor on, in pushes of 1 to cut bytes (0: whole), and take all tokens. The end
 * comes with the last bytes or alone, as chance wills. */
static struct run read_text(const struct way *way, struct view source, struct view cursor,
                            size_t cut, uint64_t seed, bool cursors)
{
    struct run run = {.text = buffer_of(SIZE_MAX / 2)};
    struct view upstream;
    struct text_token token;
    struct text t;
    uint64_t at, taken;
    uint8_t bytes[8];

    assert_int_equal(
        text_open(&t, way->tokenizer, way->normalize, way->line_edges, cursor, &upstream, NULL),
        ERR_OK);
    at = upstream.bytes ? load_u64(upstream.data) : 0;
    taken = at + t.skip;
    bool inside = t.skip_tokens > 0; /* tokens that were read before count no more */
    assert_int_equal(text_mark(&t, place(bytes, at), NULL), ERR_OK);
    while (!text_done(&t)) {
        size_t left = source.bytes - at;
        size_t count = cut && left ? 1 + (size_t)random_next(&seed) % cut : left;
        count = count < left ? count : left;
        /* A message ends where a break stands, whatever else cuts it. */
        size_t to_break = way->break_every ? way->break_every - at % way->break_every : SIZE_MAX;
        count = count < to_break ? count : to_break;
        for (size_t i = 1; i < count; i++) /* and where a place begins */
            count = is_place(way, at + i) ? i : count;
        bool end = count == left && (left == 0 || random_next(&seed) % 2);
        /* A block of exactly this size, so that a sanitizer sees a look beyond. */
        uint8_t *pushed = malloc(count + 1);
        require(pushed);
        memcpy(pushed, source.data + at, count);
        if (is_place(way, at) && count) {
            uint8_t said[9] = {0};
            store_u64(said + 1, at);
            assert_int_equal(text_begin_place(&t, (struct view){said, sizeof said}, NULL), ERR_OK);
        }
        assert_int_equal(text_push(&t, (struct view){pushed, count},
                                   (end ? MSG_END : 0) | (count == to_break ? MSG_BREAK : 0), NULL),
                         ERR_OK);
        free(pushed);
        at += count;
        assert_int_equal(text_mark(&t, place(bytes, at), NULL), ERR_OK);
        while (text_take(&t, &token)) {
            add_token(&run, &t, &token, cursors);
            taken += token.source_bytes;
        }
        if (at > taken && at - taken > run.held_most)
            run.held_most = at - taken;
    }
    assert_true(inside ? taken <= source.bytes : taken == source.bytes);
    text_close(&t);
    return run;
}

static void assert_same_from(const struct run *whole, size_t first, const struct run *rest)
{
    assert_int_equal(rest->count, whole->count - first);
    for (size_t i = 0; i < rest->count; i++) {
        const struct token *a = &whole->tokens[first + i], *b = &rest->tokens[i];
        if (a->id != b->id || a->source != b->source || a->text != b->text ||
            a->broke != b->broke || a->place != b->place)
            fail_msg("token %zu of those after %zu differs", i, first);
    }
}

static void assert_same(const struct run *a, const struct run *b)
{
    assert_same_from(a, 0, b);
    assert_int_equal(a->text.bytes, b->text.bytes);
    if (a->text.bytes)
        assert_memory_equal(a->text.data, b->text.data, a->text.bytes);
}

/* ---- Texts ---- */

static void put_code(struct buffer *out, uint32_t code)
{
    if (code < 0x80) {
        buffer_u8(out, (uint8_t)code);
    } else if (code < 0x800) {
        buffer_u8(out, (uint8_t)(0xC0 | code >> 6));
        buffer_u8(out, (uint8_t)(0x80 | (code & 0x3F)));
    } else {
        buffer_u8(out, (uint8_t)(0xE0 | code >> 12));
        buffer_u8(out, (uint8_t)(0x80 | (code >> 6 & 0x3F)));
        buffer_u8(out, (uint8_t)(0x80 | (code & 0x3F)));
    }
}

/* Words, line ends, marks that compose and that do not, long runs of marks, Hangul letters, bytes
 * that are no UTF-8. */
static struct buffer random_text(uint64_t seed, size_t pieces)
{
    static const char *const words[] = {"river", "run ",     "\n",           "\r\n",
                                        "\n\n",  " ",        "the ",         "1234",
                                        "  \n",  "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80"};
    static const uint32_t marks[] = {0x301, 0x300, 0x323, 0x331, 0x345, 0x93C, 0x1161, 0x11A8};
    struct buffer out = buffer_of(SIZE_MAX / 2);

    for (size_t i = 0; i < pieces; i++) {
        uint64_t what = random_next(&seed) % 16, count = 1;
        const char *word = words[random_next(&seed) % (sizeof words / sizeof *words)];
        if (what < 8) {
            buffer_put(&out, word, strlen(word));
        } else if (what < 13) {
            if (what == 12) /* the bound, one below and several beyond */
                count = NORMALIZE_MARKS_MAX - 1 + random_next(&seed) % (NORMALIZE_MARKS_MAX + 4);
            put_code(&out, what % 2 ? 'q' : what == 8 ? 0x1100 : 'e');
            while (count-- > 0)
                put_code(&out, marks[random_next(&seed) % (sizeof marks / sizeof *marks)]);
        } else if (what < 15) {
            buffer_u8(&out, (uint8_t)(0x80 + random_next(&seed) % 0x80));
        } else {
            put_code(&out, marks[random_next(&seed) % (sizeof marks / sizeof *marks)]);
        }
    }
    return out;
}

/* A vocabulary of all bytes and of what the texts above are made of, so that tokens span line ends
 * and characters, and marks lie between tokens. */
static struct tokenizer *open_vocabulary(void **state)
{
    static const char *const more[][2] = {
        {"'river'", "5"},        {"'riverrun'", "8"},    {"'run '", "4"},
        {"'\\n\\n'", "2"},       {"' \\n'", "2"},        {"'the river'", "9"},
        {"b'q\\xcc\\x81'", "3"}, {"b'\\x81\\xcc'", "2"}, {"b'\\xcc\\x81\\xcc\\x80\\xcc\\xa3'", "6"},
        {"b'\\xc3\\xa9'", "2"},  {"'12'", "2"}};
    const char *path = in_folder(state, "vocabulary.txt");
    struct tokenizer *tokenizer = NULL;
    struct err err = {.text = ""};
    FILE *file = fopen(path, "we");

    require(file);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(file, "%u b'\\x%02x' 1\n", byte + 1, byte);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        fprintf(file, "%zu %s %s\n", 257 + i, more[i][0], more[i][1]);
    fclose(file);
    if (tokenizer_open(&tokenizer, path, NULL, &err))
        fail_msg("%s", err.text);
    return tokenizer;
}

/* A small one of NeoX's kind. */
static struct tokenizer *open_neox(void **state)
{
    const char *path = in_folder(state, "neox.json");
    struct tokenizer *tokenizer = NULL;
    struct err err = {.text = ""};
    FILE *file = fopen(path, "we");

    require(file);
    neox_write(file);
    fclose(file);
    if (tokenizer_open(&tokenizer, path, NULL, &err))
        fail_msg("%s", err.text);
    return tokenizer;
}

typedef void way_fn(const struct way *way, struct view source, uint64_t seed);

/* Every tokenizer, normaliser and kind of line end, over random texts. */
static void each_way(void **state, way_fn *check, size_t rounds, size_t pieces)
{
    struct tokenizer *tokenizers[3];

    assert_int_equal(tokenizer_open_bytes(&tokenizers[0], NULL), ERR_OK);
    tokenizers[1] = open_vocabulary(state);
    tokenizers[2] = open_neox(state);
    for (unsigned which = 0; which < 24; which++) {
        struct way way = {tokenizers[which / 8], which & 1 ? NORMALIZE_NFC : NORMALIZE_NONE,
                          (which & 2) != 0, which & 4 ? 13 : 0, which % 3 ? 11 : 0};
        for (uint64_t round = 1; round <= rounds; round++) {
            struct buffer text = random_text(round * 977, pieces);
            check(&way, (struct view){text.data, text.bytes}, round);
            buffer_release(&text);
        }
    }
    for (size_t i = 0; i < 3; i++)
        tokenizer_close(&tokenizers[i]);
}

/* ---- What holds ---- */

static const struct view ORIGIN = {NULL, 0};

static void check_cuts(const struct way *way, struct view source, uint64_t seed)
{
    static const size_t cuts[] = {1, 2, 3, 7, 64, 300};
    struct run whole = read_text(way, source, ORIGIN, 0, seed, false);
    uint64_t sum = 0, breaks = 0, places = 0;

    for (size_t i = 0; i < whole.count; i++) {
        /* One token begins at each place, and has it. */
        places += whole.tokens[i].place != 0;
        assert_true(!whole.tokens[i].place || whole.tokens[i].place == sum);
        sum += whole.tokens[i].source;
        /* One token ends at each break, and says so. */
        breaks += whole.tokens[i].broke;
        assert_true(!whole.tokens[i].broke || sum == breaks * way->break_every);
    }
    assert_int_equal(breaks, way->break_every ? source.bytes / way->break_every : 0);
    assert_int_equal(sum, source.bytes);
    assert_int_equal(places, !way->place_every || source.bytes <= PLACE_FIRST
                                 ? 0
                                 : 1 + (source.bytes - PLACE_FIRST - 1) / way->place_every);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct run cut = read_text(way, source, ORIGIN, cuts[i], seed * 31 + i, false);
        assert_same(&whole, &cut);
        run_release(&cut);
    }
    run_release(&whole);
}

static void cuts_do_not_matter(void **state)
{
    each_way(state, check_cuts, 12, 300);
}

static void check_cursors(const struct way *way, struct view source, uint64_t seed)
{
    struct run whole = read_text(way, source, ORIGIN, 40, seed, true);

    for (size_t i = seed % dear(); i < whole.count; i += dear()) {
        struct view cursor = {whole.cursors[i], whole.cursor_bytes[i]};
        struct run rest = read_text(way, source, cursor, i % 3 ? 1 + (size_t)(seed + i) % 50 : 0,
                                    seed + i, false);
        assert_same_from(&whole, i + 1, &rest);
        run_release(&rest);
    }
    run_release(&whole);
}

static void every_cursor_goes_on_with_the_same_tokens(void **state)
{
    each_way(state, check_cursors, 4, 60);
}

/* The cursor of a run that was itself begun at a cursor leads on as well. */
static void check_second_cursors(const struct way *way, struct view source, uint64_t seed)
{
    struct run whole = read_text(way, source, ORIGIN, 40, seed, true);
    size_t first = whole.count / 3;
    struct view cursor = {whole.cursors[first], whole.cursor_bytes[first]};
    struct run rest = read_text(way, source, cursor, 9, seed, true);

    assert_same_from(&whole, first + 1, &rest);
    for (size_t i = 0; i < rest.count; i += dear() + i % 5) {
        struct view second = {rest.cursors[i], rest.cursor_bytes[i]};
        struct run last = read_text(way, source, second, 13, seed + i, false);
        assert_same_from(&whole, first + 2 + i, &last);
        run_release(&last);
    }
    run_release(&rest);
    run_release(&whole);
}

static void cursors_of_a_resumed_run_go_on_too(void **state)
{
    each_way(state, check_second_cursors, 4, 60);
}

/* Where text begins in the middle of a segment it must not be divided otherwise: the bytes of a base
 * with more marks than the bound, one token a byte. */
static void cursors_inside_long_runs_of_marks_hold(void **state)
{
    struct tokenizer *bytes;
    struct way way = {.normalize = NORMALIZE_NFC};

    (void)state;
    assert_int_equal(tokenizer_open_bytes(&bytes, NULL), ERR_OK);
    way.tokenizer = bytes;
    for (size_t marks = NORMALIZE_MARKS_MAX - 2; marks < 3 * NORMALIZE_MARKS_MAX; marks += 5) {
        struct buffer text = buffer_of(4096);
        put_code(&text, 'q');
        for (size_t i = 0; i < marks; i++)
            put_code(&text, i % 3 ? 0x301 : 0x323);
        put_code(&text, 'a');
        put_code(&text, 0x301);
        check_cursors(&way, (struct view){text.data, text.bytes}, marks);
        buffer_release(&text);
    }
    tokenizer_close(&bytes);
}

static void check_held(const struct way *way, struct view source, uint64_t seed)
{
    struct run run = read_text(way, source, ORIGIN, 1, seed, false);
    /* A byte of output stands for at most a whole segment of the source. */
    uint64_t most = way->normalize == NORMALIZE_NFC
                        ? NORMALIZE_HELD_MAX + 4 * (uint64_t)tokenizer_hold_max(way->tokenizer)
                        : (uint64_t)tokenizer_hold_max(way->tokenizer);

    assert_true(run.held_most <= most);
    run_release(&run);
}

static void little_is_held_back(void **state)
{
    each_way(state, check_held, 6, 300);
}

/* Texts that share readers hold one only while they have something to read, and read the same. */
static void an_idle_text_has_no_reader(void **state)
{
    enum { TEXTS = 3 * TEXT_READERS_KEPT };
    struct tokenizer *neox = open_neox(state);
    struct text_readers readers = {.count = 0};
    struct text texts[TEXTS];
    struct text_token token;
    struct view upstream;
    uint8_t bytes[8];

    for (size_t i = 0; i < TEXTS; i++) {
        assert_int_equal(text_open(&texts[i], neox, NORMALIZE_NONE, true, ORIGIN, &upstream, NULL),
                         ERR_OK);
        text_share(&texts[i], &readers);
        assert_int_equal(text_mark(&texts[i], place(bytes, 0), NULL), ERR_OK);
        assert_null(texts[i].reader);
    }
    for (size_t i = 0; i < TEXTS; i++)
        assert_int_equal(
            text_push(&texts[i], (struct view){(const uint8_t *)"the river\n the", 14}, 0, NULL),
            ERR_OK);
    for (size_t i = 0; i < TEXTS; i++)
        assert_non_null(texts[i].reader);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t taken = 0;
        while (text_take(&texts[i], &token))
            taken += token.source_bytes;
        assert_true(taken >= 10 && taken < 14);
        assert_null(texts[i].reader); /* though some bytes wait for more */
        assert_false(text_take(&texts[i], &token));
    }
    assert_int_equal(readers.count, TEXT_READERS_KEPT);
    for (size_t i = 0; i < TEXTS; i++) {
        uint64_t sum = 0;
        assert_int_equal(text_push(&texts[i], (struct view){(const uint8_t *)"re\n", 3}, 0, NULL),
                         ERR_OK);
        while (text_take(&texts[i], &token))
            sum += token.source_bytes;
        assert_int_equal(texts[i].source_at, 17);
        assert_true(sum >= 3);
        assert_null(texts[i].reader);
        assert_null(texts[i].plain.data);
    }
    for (size_t i = 0; i < TEXTS; i++)
        text_close(&texts[i]);
    text_readers_close(&readers);
    tokenizer_close(&neox);
}

static void a_break_needs_bytes(void **state)
{
    struct tokenizer *bytes;
    struct view upstream;
    struct text t;

    (void)state;
    assert_int_equal(tokenizer_open_bytes(&bytes, NULL), ERR_OK);
    assert_int_equal(text_open(&t, bytes, NORMALIZE_NONE, true, ORIGIN, &upstream, NULL), ERR_OK);
    assert_int_equal(text_push(&t, ORIGIN, MSG_BREAK, NULL), ERR_INPUT);
    text_close(&t);
    tokenizer_close(&bytes);
}

static void no_token_spans_a_line_end_where_lines_are_units(void **state)
{
    struct tokenizer *tokenizer = open_vocabulary(state);
    const char *source = "river\n\nrun \n\n\nthe river\n\n";
    struct way way = {tokenizer, NORMALIZE_NONE, true, 0, 0};
    struct view view = {(const uint8_t *)source, strlen(source)};
    struct run lines = read_text(&way, view, ORIGIN, 0, 1, false), free_run;
    size_t at = 0, spanning = 0;

    for (size_t i = 0; i < lines.count; i++) {
        const char *end = memchr(source + at, '\n', lines.tokens[i].text);
        assert_true(!end || end == source + at + lines.tokens[i].text - 1);
        at += lines.tokens[i].text;
    }
    way.line_edges = false;
    free_run = read_text(&way, view, ORIGIN, 0, 1, false);
    for (size_t i = 0; i < free_run.count; i++)
        spanning += free_run.tokens[i].id == 260; /* two line ends */
    assert_true(spanning > 0);
    run_release(&lines);
    run_release(&free_run);
    tokenizer_close(&tokenizer);
}

static void empty_text_has_no_tokens_and_a_cursor(void **state)
{
    struct tokenizer *bytes;
    struct view upstream;
    struct text t;
    struct text_token token;
    struct buffer cursor = buffer_of(CURSOR_MAX);

    (void)state;
    assert_int_equal(tokenizer_open_bytes(&bytes, NULL), ERR_OK);
    for (enum normalize normalize = NORMALIZE_NONE; normalize <= NORMALIZE_NFC; normalize++) {
        assert_int_equal(text_open(&t, bytes, normalize, false, ORIGIN, &upstream, NULL), ERR_OK);
        assert_int_equal(text_mark(&t, (struct view){(const uint8_t *)"up", 2}, NULL), ERR_OK);
        assert_false(text_done(&t));
        assert_int_equal(text_push(&t, ORIGIN, MSG_END, NULL), ERR_OK);
        assert_false(text_take(&t, &token));
        assert_true(text_done(&t));
        assert_int_equal(text_cursor(&t, &cursor, NULL), ERR_OK);
        assert_int_equal(cursor.bytes, TEXT_CURSOR_BYTES + 2);
        buffer_drop(&cursor, cursor.bytes);
        text_close(&t);
    }
    buffer_release(&cursor);
    tokenizer_close(&bytes);
}

static void cursors_that_are_not_ours_are_refused(void **state)
{
    static const uint8_t version[] = {3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                         torn[] = {2, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct tokenizer *bytes;
    struct view upstream;
    struct text t;

    (void)state;
    assert_int_equal(tokenizer_open_bytes(&bytes, NULL), ERR_OK);
    assert_int_equal(text_open(&t, bytes, NORMALIZE_NONE, false,
                               (struct view){version, sizeof version}, &upstream, NULL),
                     ERR_INPUT);
    text_close(&t);
    for (size_t count = 1; count <= sizeof torn; count++) {
        assert_int_equal(text_open(&t, bytes, NORMALIZE_NONE, false, (struct view){torn, count},
                                   &upstream, NULL),
                         ERR_INPUT);
        text_close(&t);
    }
    tokenizer_close(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(cuts_do_not_matter),
        STAGE_TEST(every_cursor_goes_on_with_the_same_tokens),
        STAGE_TEST(cursors_of_a_resumed_run_go_on_too),
        STAGE_TEST(cursors_inside_long_runs_of_marks_hold),
        STAGE_TEST(little_is_held_back),
        STAGE_TEST(an_idle_text_has_no_reader),
        STAGE_TEST(a_break_needs_bytes),
        STAGE_TEST(no_token_spans_a_line_end_where_lines_are_units),
        STAGE_TEST(empty_text_has_no_tokens_and_a_cursor),
        STAGE_TEST(cursors_that_are_not_ours_are_refused),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
