/* What a document says: sentences cut as people would, words counted, and a summary that is the same whatever the
 * cuts and wherever it was saved. */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/digest.h"
#include "stages/encode/analysis/window.h"
#include "tests/analysis_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct analysis_options summaries = {.unit = UNIT_PARAGRAPH,
                                                  .parts = 1U << ANALYZE_SUMMARY};

static struct view view_of(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

/* ---- Sentences ---- */

/* The sentences of text, read in tokens of so many bytes, each in brackets. */
static void cut_sentences(struct view text, size_t token_bytes, struct buffer *out)
{
    struct sentences *s = calloc(1, sizeof *s);
    struct sentence got;

    require(s);
    for (size_t at = 0; at <= text.bytes; at += token_bytes) {
        struct view token = {text.data + at,
                             text.bytes - at < token_bytes ? text.bytes - at : token_bytes};
        for (size_t from = 0; from < token.bytes || at == text.bytes;) {
            size_t taken = sentences_add(s, token, 1, at, (uint32_t)token.bytes, from);
            bool over = at + token_bytes >= text.bytes && from + taken == token.bytes;
            from += taken;
            while (sentences_next(s, over, &got)) {
                buffer_u8(out, '[');
                buffer_put(out, got.text.data, got.text.bytes);
                buffer_u8(out, ']');
                assert_true(got.end <= text.bytes && got.end - got.begin == got.text.bytes);
                assert_memory_equal(text.data + got.begin, got.text.data, got.text.bytes);
            }
            if (token.bytes == 0)
                break;
        }
        if (at + token_bytes >= text.bytes)
            break;
    }
    buffer_u8(out, 0);
    free(s);
}

static void sentences_are_cut_where_they_end(void **state)
{
    static const struct {
        const char *text, *sentences;
    } cases[] = {
        {"One. Two! Three? ", "[One.][Two!][Three?]"},
        {"\"Go!\" he said. She went.", "[\"Go!\" he said.][She went.]"},
        {"Mr. Smith met J. Doe at 3.5 km, e.g. here. Then he left.",
         "[Mr. Smith met J. Doe at 3.5 km, e.g. here.][Then he left.]"},
        {"1. First item. all lower. \xE2\x80\x9CQuoted.\xE2\x80\x9D Next",
         "[1. First item.][all lower.][\xE2\x80\x9CQuoted.\xE2\x80\x9D][Next]"},
        {"A title\n\nThe text goes on\nin a line. End",
         "[A title][The text goes on\nin a line.][End]"},
        {"Wait... what\xE2\x80\xA6 no. Yes", "[Wait... what\xE2\x80\xA6 no.][Yes]"},
        {"\xE4\xB8\x80\xE3\x80\x82\xE4\xBA\x8C\xEF\xBC\x81\xE3\x80\x8D\xE4\xB8\x89",
         "[\xE4\xB8\x80\xE3\x80\x82][\xE4\xBA\x8C\xEF\xBC\x81\xE3\x80\x8D][\xE4\xB8\x89]"},
        {"Privet\xD0\xBF. \xD0\x94\xD0\xB0.\n \n\n  x", "[Privet\xD0\xBF.][\xD0\x94\xD0\xB0.][x]"},
        {" \n ", ""},
        {"", ""}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t bytes = 1; bytes < 40; bytes += 1 + bytes / 4) {
            struct buffer got = buffer_of(4096);
            cut_sentences(view_of(cases[i].text), bytes, &got);
            assert_string_equal((char *)got.data, cases[i].sentences);
            buffer_release(&got);
        }
}

/* No end, no space, ends alone, white space alone, bytes that are no text: cut the same however they come. */
static void hostile_text_is_cut_in_bounds(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (unsigned kind = 0; kind < 6; kind++) {
        struct buffer text = buffer_of(1 << 16), want = buffer_of(1 << 17);
        for (unsigned i = 0; i < 9000; i++) {
            const uint8_t letters[] = {'a',  '.',
                                       ' ',  (uint8_t)(random_next(&seed) >> 20),
                                       0xE3, i % 700 == 9 ? '\n' : 'b'};
            buffer_u8(&text, letters[kind]);
        }
        cut_sentences((struct view){text.data, text.bytes}, 1, &want);
        for (size_t bytes = 2; bytes < 9001; bytes = bytes * 3 + 1) {
            struct buffer got = buffer_of(1 << 17);
            cut_sentences((struct view){text.data, text.bytes}, bytes, &got);
            assert_string_equal((char *)got.data, (char *)want.data);
            buffer_release(&got);
        }
        for (const char *at = (char *)want.data; kind == 0 && (at = strchr(at, '[')); at++)
            assert_true((size_t)(strchr(at, ']') - at) <= SENTENCE_MAX + 1);
        buffer_release(&text);
        buffer_release(&want);
    }
}

/* ---- Words ---- */

static void words_are_counted_without_case_and_endings(void **state)
{
    static const char text[] =
        "Summary, SUMMARIES; don\xE2\x80\x99t 12 \xC3\x89t\xC3\xA9 \xC3\xA9T\xC3\x89 "
        "\xE4\xB8\x80\xE4\xBA\x8C";
    struct words *w = malloc(sizeof *w);

    (void)state;
    require(w);
    words_cut(view_of(text), NULL, w);
    assert_int_equal(w->count, 8);
    assert_int_equal(w->list[0].key, w->list[1].key);
    assert_int_equal(w->list[2].bytes, strlen("don\xE2\x80\x99t"));
    assert_int_equal(w->list[4].key, w->list[5].key);
    assert_int_not_equal(w->list[6].key, w->list[7].key);
    free(w);
}

/* Of ever new words those that come again stay; clusters are told from chance. */
static void frequent_words_are_kept_and_clusters_told(void **state)
{
    struct word_counts *w = calloc(1, sizeof *w);
    uint64_t seed = 3;

    (void)state;
    require(w);
    for (uint64_t place = 1; place <= 40000; place++) {
        word_counts_add(w, (uint32_t)(1000 + place), 1, place);
        if (random_next(&seed) % 20 == 0)
            word_counts_add(w, 1, 2, place);
        if (place % 10000 < 500)
            word_counts_add(w, 2, 3, place);
    }
    assert_in_range(word_counts_get(w, 1)->count, 1900, 2100);
    assert_int_equal(word_counts_get(w, 2)->count, 2000);
    assert_true(word_counts_get(w, 2)->nats == 3 * 2000);
    assert_true(fabs(word_count_clusters(word_counts_get(w, 1), 40000) - 1) < 0.1);
    assert_true(word_count_clusters(word_counts_get(w, 2), 40000) > 5);
    assert_null(word_counts_get(w, 1001));
    free(w);
}

/* ---- Summaries ---- */

/* Paragraphs about a few things, of which "copper" is in the most; the loss of a byte depends on its word alone. */
static void write_document(struct buffer *out, unsigned paragraphs)
{
    static const char *const things[] = {"copper mines", "the old harbour", "green glass",
                                         "a railway"};
    static const char *const verbs[] = {"were opened", "has been closed", "is sold", "burnt down"};
    uint64_t seed = 5;
    char line[300];

    for (unsigned i = 0; i < paragraphs; i++) {
        int bytes = 0;
        for (unsigned k = 0; k < 3; k++)
            bytes += snprintf(line + bytes, sizeof line - (size_t)bytes,
                              "In year %u, %s %s near the town%s. ", i * 3 + k,
                              things[random_next(&seed) % (i % 3 ? 4 : 1)],
                              verbs[random_next(&seed) % 4], k == 1 ? " and its copper mines" : "");
        buffer_put(out, line, (size_t)bytes);
        buffer_put(out, "\n\n", 2);
    }
}

static double loss_of(uint8_t byte)
{
    return byte == ' ' ? 0.1 : 0.3 + (double)(byte % 7) / 4;
}

/* All lines; bytes are tokens, so that cuts of tokens do not change losses. */
static struct buffer read_document(struct view text, size_t every)
{
    struct buffer lines = buffer_of(SIZE_MAX / 2);
    struct analysis a = {.resting = true};
    struct analysis_records made;

    analysis_begin(&a, &summaries, 0);
    for (size_t at = 0; at < text.bytes; at++) {
        analysis_token(&a, loss_of(text.data[at]), (struct view){text.data + at, 1}, 1, false,
                       &made);
        for (size_t i = 0; i < made.count; i++)
            assert_int_equal(record_line("s", &made.records[i], &lines, NULL), ERR_OK);
        if (every && at % every == every - 1)
            analysis_reload(&a);
    }
    analysis_end(&a, &made);
    for (size_t i = 0; i < made.count; i++)
        assert_int_equal(record_line("s", &made.records[i], &lines, NULL), ERR_OK);
    buffer_u8(&lines, 0);
    assert_true(analysis_memory(&a) <= ANALYSIS_MEMORY_MAX);
    analysis_release(&a);
    return lines;
}

static void a_summary_says_what_most_sentences_share(void **state)
{
    struct buffer text = buffer_of(1 << 20), lines;
    const char *summary, *document;

    (void)state;
    write_document(&text, 30);
    lines = read_document((struct view){text.data, text.bytes}, 0);
    summary = strstr((char *)lines.data, "\"kind\":\"summary\"");
    document = strstr((char *)lines.data, "\"kind\":\"document\"");
    assert_non_null(summary);
    assert_true(document > summary);
    assert_non_null(strstr(summary, "\"sentence_count\":90,"));
    assert_non_null(strstr(summary, "\"phrases\":[{\"text\":\"copper mines\""));
    assert_non_null(strstr(strstr(summary, "\"sentences\":[{"), "copper mines"));
    assert_non_null(strstr(summary, "\"passages\":[{\"begin\""));
    buffer_release(&lines);
    buffer_release(&text);
}

/* All of its words are ordinary, so it has none of content: said once it is said. */
static void a_chorus_is_said_once(void **state)
{
    static const char verse[] =
        "We are here and we will be here. We go on and on and will go home.\n\n";
    struct buffer text = buffer_of(1 << 20), lines;
    const char *sentences;
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < 40; i++)
        buffer_put(&text, verse, strlen(verse));
    lines = read_document((struct view){text.data, text.bytes}, 0);
    sentences = strstr((char *)lines.data, "\"sentences\":[{");
    assert_non_null(sentences);
    for (const char *at = sentences; at && (at = strstr(at + 1, "\"text\":\"We are here and"));
         count++)
        continue;
    assert_in_range(count, 1, 2); /* and in the passages */
    buffer_release(&lines);
    buffer_release(&text);
}

/* Of sections too, each of which ends when the heading behind it is known: that is the next one's. */
static void passages_lie_where_their_text_does(void **state)
{
    static const struct analysis_options sections = {.unit = UNIT_SECTION,
                                                     .parts = 1U << ANALYZE_SUMMARY};
    struct buffer text = buffer_of(1 << 20);
    struct analysis a = {.resting = true};
    struct analysis_records made;
    size_t seen = 0;
    char line[200];

    (void)state;
    for (int i = 1; i <= 14; i++) {
        int bytes =
            snprintf(line, sizeof line,
                     "Chapter %d. The copper mines of year %d near the harbour\n\nIt was so "
                     "and it was so, day %d.\n\n",
                     i, 1800 + i, i);
        buffer_put(&text, line, (size_t)bytes);
    }
    analysis_begin(&a, &sections, 0);
    for (size_t at = 0; at < text.bytes; at++)
        analysis_token(&a, loss_of(text.data[at]), (struct view){text.data + at, 1}, 1, false,
                       &made);
    analysis_end(&a, &made);
    for (size_t i = 0; i < made.count; i++)
        for (size_t k = 0; k < made.records[i].field_count; k++) {
            const struct record_field *field = &made.records[i].fields[k];
            for (size_t n = 0; !strcmp(field->name, "passages") && n < field->item_count; n++) {
                /* begin, end, text */
                const struct record_field *of = field->items[n].fields;
                const uint8_t *at =
                    memmem(text.data, text.bytes, of[2].text.data, of[2].text.bytes);
                assert_non_null(at);
                assert_in_range((size_t)(at - text.data), of[0].count, of[1].count - 1);
                seen++;
            }
        }
    assert_true(seen >= 2);
    analysis_release(&a);
    buffer_release(&text);
}

static void a_summary_is_the_same_wherever_it_was_saved(void **state)
{
    struct buffer text = buffer_of(1 << 20), whole;

    (void)state;
    write_document(&text, 200);
    whole = read_document((struct view){text.data, text.bytes}, 0);
    for (size_t every = 17; every < 10000; every = every * 9 + 1) {
        struct buffer cut = read_document((struct view){text.data, text.bytes}, every);
        assert_string_equal((char *)cut.data, (char *)whole.data);
        buffer_release(&cut);
    }
    buffer_release(&whole);
    buffer_release(&text);
}

static void damaged_state_of_a_summary_is_refused_or_in_bounds(void **state)
{
    struct buffer text = buffer_of(1 << 20), saved = buffer_of(ANALYSIS_BYTES_MAX);
    struct analysis a = {.resting = true}, got = {.resting = true};
    struct analysis_records made;

    (void)state;
    write_document(&text, 8);
    analysis_begin(&a, &summaries, 0);
    for (size_t at = 0; at < text.bytes - 20; at++)
        analysis_token(&a, 1, (struct view){text.data + at, 1}, 1, false, &made);
    analysis_save(&a, &saved);
    for (size_t at = 0; at < saved.bytes; at++) {
        assert_int_equal(
            analysis_load(&got, &summaries, (struct view){saved.data, at}, false, NULL),
            ERR_DAMAGED);
        saved.data[at] ^= (uint8_t)(1 << at % 8);
        if (!analysis_load(&got, NULL, (struct view){saved.data, saved.bytes}, false, NULL)) {
            struct buffer line = buffer_of(RECORD_LINE_MAX);
            analysis_end(&got, &made);
            for (size_t i = 0; i < made.count; i++)
                if (isfinite(made.records[i].nats))
                    assert_int_equal(record_line("s", &made.records[i], &line, NULL), ERR_OK);
            buffer_release(&line);
        }
        saved.data[at] ^= (uint8_t)(1 << at % 8);
    }
    analysis_release(&a);
    analysis_release(&got);
    buffer_release(&saved);
    buffer_release(&text);
}

/* Any bytes, any lengths, losses of any size: what is saved, held and written stays within what is said. */
static void hostile_documents_stay_in_bounds(void **state)
{
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX);
    uint64_t seed = 5;

    (void)state;
    analysis_begin(&a, &summaries, 0);
    for (unsigned i = 0; i < 30000; i++) {
        uint8_t text[90];
        size_t bytes = 1 + random_next(&seed) % sizeof text;
        for (size_t k = 0; k < bytes; k++)
            text[k] = i % 3 ? (uint8_t)(random_next(&seed) >> 20)
                            : (uint8_t)("\"\\ \x01.aB\n"[random_next(&seed) % 8]);
        analysis_token(&a, (double)(random_next(&seed) % 1000) * 1e30, (struct view){text, bytes},
                       (uint32_t)(bytes / (1 + i % 2)), false, &made);
    }
    assert_true(analysis_memory(&a) <= ANALYSIS_MEMORY_MAX);
    analysis_save(&a, &saved);
    assert_false(saved.refused);
    analysis_end(&a, &made);
    for (size_t i = 0; i < made.count; i++) {
        struct buffer line = buffer_of(RECORD_LINE_MAX);
        assert_int_equal(record_line("s", &made.records[i], &line, NULL), ERR_OK);
        if (made.records[i].kind == RECORD_SUMMARY)
            print_message("%zu bytes saved, %zu of the record\n", saved.bytes, line.bytes);
        buffer_release(&line);
    }
    analysis_release(&a);
    buffer_release(&saved);
}

static void put_text(struct analysis *a, const char *text, unsigned count)
{
    struct analysis_records made;
    struct view token = {(const uint8_t *)text, strlen(text)};

    while (count-- > 0)
        analysis_token(a, 6, token, (uint32_t)token.bytes, false, &made);
}

/* White space fills what is held of a text, and the token behind it is taken in two goes. */
/* A token that stands for more of the source than it has text, as a composed character does. */
static void a_sentence_ends_behind_all_of_its_source(void **state)
{
    struct sentences *s = calloc(1, sizeof *s);
    struct sentence got;

    (void)state;
    require(s);
    assert_int_equal(sentences_add(s, view_of("caf"), 1, 0, 3, 0), 3);
    assert_int_equal(sentences_add(s, view_of("\xC3\xA9"), 1, 3, 3, 0), 2);
    assert_int_equal(sentences_add(s, view_of("\n\n"), 1, 6, 2, 0), 2);
    assert_int_equal(sentences_add(s, view_of("caf\xC3\xA9"), 1, 8, 6, 0), 5);
    assert_true(sentences_next(s, true, &got));
    assert_int_equal(got.end, 6);
    assert_true(sentences_next(s, true, &got));
    assert_int_equal(got.begin, 8);
    assert_int_equal(got.end, 14);
    free(s);
}

static void a_sentence_may_begin_inside_a_token(void **state)
{
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer line = buffer_of(RECORD_LINE_MAX);

    (void)state;
    for (unsigned blanks = SENTENCES_HELD - 40; blanks < SENTENCES_HELD + 8; blanks++) {
        char begin[64];
        analysis_begin(&a, &summaries, 0);
        put_text(&a, "The first sentence is here.", 1);
        put_text(&a, " ", blanks);
        put_text(&a, "   the", 1);
        analysis_reload(&a);
        put_text(&a, " second one stands behind it.", 1);
        analysis_end(&a, &made);
        line.bytes = 0;
        for (size_t i = 0; i < made.count; i++)
            if (made.records[i].kind == RECORD_SUMMARY)
                assert_int_equal(record_line("s", &made.records[i], &line, NULL), ERR_OK);
        buffer_u8(&line, 0);
        snprintf(begin, sizeof begin, "{\"begin\":%u,\"end\":%u,", 27 + blanks + 3,
                 27 + blanks + 3 + 32);
        if (!strstr((char *)line.data, begin))
            fail_msg("%u blanks: no %s in %s", blanks, begin, (char *)line.data);
    }
    analysis_release(&a);
    buffer_release(&line);
}

/* Every list full, of the longest there is: a checkpoint has room for that. */
static void a_summary_at_its_fullest_can_be_saved(void **state)
{
    enum { KNOWN = 60, WORDS = 1985, PAIRS = 2046 };
    struct analysis a = {.resting = true};
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX);
    unsigned word = 0, pair = 0;

    (void)state;
    analysis_begin(&a, &summaries, 0);
    for (unsigned s = 0; s <= POOLED; s++) {
        char text[SENTENCE_MAX + 1];
        size_t bytes = 0;
        for (; word < (s ? WORDS * s / POOLED + KNOWN : KNOWN); word++)
            bytes += (size_t)sprintf(text + bytes, "%c%c%cq, ", 'a' + word % 26,
                                     'a' + word / 26 % 26, 'a' + word / 676);
        for (; pair < PAIRS * s / POOLED; pair++)
            bytes += (size_t)sprintf(text + bytes, "%c%caq %c%caq, ", 'a' + pair % KNOWN % 26,
                                     'a' + pair % KNOWN / 26, 'a' + pair / KNOWN % 26,
                                     'a' + pair / KNOWN / 26);
        require(bytes < SENTENCE_MAX);
        memset(text + bytes, 'z', SENTENCE_MAX - bytes);
        text[SENTENCE_MAX - 1] = '.';
        text[SENTENCE_MAX] = 0;
        for (size_t at = 0; at < SENTENCE_MAX; at++)
            put_text(&a, (char[]){text[at], 0}, 1);
        put_text(&a, " ", SENTENCES_HELD - SENTENCE_MAX - 8);
        analysis_reload(&a);
    }
    analysis_save(&a, &saved);
    print_message("%zu bytes saved, of a summary at most %d\n", saved.bytes, DIGEST_BYTES_MAX);
    analysis_release(&a);
    buffer_release(&saved);
}

/* Files of an archive: the last sentence of one without a full stop, and the first of the next, are two. */
static void a_sentence_ends_where_another_document_begins(void **state)
{
    static const struct {
        uint8_t place;
        const char *text;
    } cases[] = {{PLACE_ALONE, "\"text\":\"The last words of the first file\""},
                 {0, "\"text\":\"The last words of the first fileNow the second"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct analysis a = {.resting = true};
        struct analysis_records made;
        struct buffer lines = buffer_of(SIZE_MAX / 2);
        uint8_t place[PLACE_BYTES_MAX];
        size_t bytes = msg_place_write(
            place, &(struct msg_place){cases[i].place, {(const uint8_t *)"b.txt", 5}});
        analysis_begin(&a, &summaries, 0);
        put_text(&a, "The last words of the first file", 1);
        analysis_cut(&a, &made);
        analysis_place(&a, (struct view){place, bytes});
        put_text(&a, "Now the second file begins here.\n\n", 1);
        analysis_end(&a, &made);
        for (size_t k = 0; k < made.count; k++)
            assert_int_equal(record_line("s", &made.records[k], &lines, NULL), ERR_OK);
        buffer_u8(&lines, 0);
        assert_non_null(strstr((char *)lines.data, cases[i].text));
        analysis_release(&a);
        buffer_release(&lines);
    }
}

/* ---- Logs ---- */

static void times_are_found_in_lines(void **state)
{
    static const struct {
        const char *line, *text;
        int64_t later; /* than the line before it, seconds */
    } cases[] = {{"2026-11-22T03:30:07.123Z x", "2026-11-22T03:30:07", 0},
                 {"[2026/11/22 03:30:09] x", "2026/11/22 03:30:09", 2},
                 {"2026-11-23-03.30.09.675872 x", "2026-11-23-03.30.09", 86400},
                 {"26/11/22 03:30:07 INFO", "26/11/22 03:30:07", 0},
                 {"261122 033107 148 INFO", "261122 033107", 60},
                 {"Feb 28 23:59:59 host", "Feb 28 23:59:59", 0},
                 {"Mar  1 00:00:00 host", "Mar  1 00:00:00", 86401}, /* a year that has the 29th */
                 {"Mar 1 00:00:05 host", "Mar 1 00:00:05", 5},
                 {"[Sun Dec 04 04:47:44 2005] [notice]", "Dec 04 04:47:44 2005", 0},
                 {"1.2.3.4 - - [05/Dec/2005:04:47:44 +0000] GET", "05/Dec/2005:04:47:44", 86400},
                 {"- 1117838570 2005.06.03", "1117838570", 0},
                 {"1117838573 2005.06.03", "1117838573", 3},
                 {"type=SYSCALL msg=audit(1117838574.243:24287): x", "1117838574", 1},
                 {"Jun  9 23:59:59 host", "Jun  9 23:59:59", 0},
                 {"Jun 10 00:00:09 host", "Jun 10 00:00:09", 10}, /* of one form */
                 {"Mon Jan 31 23:00:00 2005", "Jan 31 23:00:00 2005", 0},
                 {"Tue Feb  1 00:00:00 2005", "Feb  1 00:00:00 2005", 3600},
                 {"ts=1795318207 level=info", "1795318207", 0},
                 {"ts=1795318209 level=info", "1795318209", 2}};
    static const char *const none[] = {"no time",
                                       "12345678901 x",
                                       "2026-13-22 03:30:07",
                                       "",
                                       "99:99:99",
                                       "Jun 14",
                                       "a line\n2026-11-22 03:30:07",
                                       "order id=1795318207 processed",
                                       "id 1795318207",
                                       "3337446730 x",
                                       "0999999999 x"};
    struct logtime time;
    int64_t before = 0;
    uint8_t form = LOGTIME_FORMS;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(logtime_of(view_of(cases[i].line), &time));
        assert_int_equal(time.text.bytes, strlen(cases[i].text));
        assert_memory_equal(time.text.data, cases[i].text, time.text.bytes);
        if (cases[i].later) {
            assert_int_equal(time.seconds - before, cases[i].later);
            assert_true(time.form == form || i < 10);
        }
        before = time.seconds;
        form = time.form;
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(logtime_of(view_of(none[i]), &time));
}

/* Lines that each come 7 seconds later: the records that came, as their lines and ends. */
static void read_log(const struct analysis_options *options, unsigned lines, size_t every,
                     struct buffer *out)
{
    struct analysis a = {.resting = true};
    struct analysis_records made;

    analysis_begin(&a, options, 0);
    for (unsigned i = 0; i <= lines; i++) {
        char line[80];
        unsigned s = i * 7;
        int bytes = snprintf(line, sizeof line, "Jun 1 %02u:%02u:%02u app[%u]: %s\n", s / 3600 % 24,
                             s / 60 % 60, s % 60, i, i % 50 == 9 ? "one thing" : "another thing");
        struct view text = {(const uint8_t *)line, (size_t)bytes};
        if (i == lines)
            analysis_end(&a, &made);
        else
            analysis_token(&a, i % 13, text, (uint32_t)bytes, false, &made);
        for (size_t k = 0; k < made.count; k++)
            assert_int_equal(record_line("s", &made.records[k], out, NULL), ERR_OK);
        if (every && i < lines && i % every == 0)
            analysis_reload(&a);
    }
    buffer_u8(out, 0);
    analysis_release(&a);
}

static void expect_summaries(const struct buffer *lines, size_t count, const char *first)
{
    const char *at = (const char *)lines->data;

    at = strstr(at, "\"kind\":\"summary\"");
    assert_non_null(at);
    assert_non_null(strstr(at, first));
    for (size_t i = 0; i < count; i++) {
        assert_non_null(at);
        at = strstr(at + 1, "\"kind\":\"summary\"");
    }
    assert_null(at);
}

static void a_log_is_summed_up_by_lines_and_by_its_own_time(void **state)
{
    struct analysis_options options = {
        .unit = UNIT_LINE, .parts = (1U << ANALYZE_COUNT) - 1, .summary_minutes = 60};
    struct buffer lines = buffer_of(SIZE_MAX / 2), cut = buffer_of(SIZE_MAX / 2);

    (void)state;
    read_log(&options, 2000, 0, &lines); /* 3 h 53 min: the line at 01:00:01 ends the first hour */
    expect_summaries(&lines, 4,
                     "\"lines\":515,\"from\":\"Jun 1 00:00:00\",\"to\":\"Jun 1 00:59:58\",\"new_"
                     "templates\":2,\"templates_most\":[{\"template_id\":0,\"lines\":504,");
    read_log(&options, 2000, 7, &cut);
    assert_string_equal((char *)cut.data, (char *)lines.data);
    buffer_release(&lines);
    lines = buffer_of(SIZE_MAX / 2);
    options.summary_lines = 300; /* no hour has so many */
    read_log(&options, 2000, 0, &lines);
    expect_summaries(&lines, 7, "\"lines\":300,");
    buffer_release(&lines);
    buffer_release(&cut);
}

/* More templates than are counted, and two of them that take turns behind the others have most of the lines. */
static void the_most_frequent_templates_are_told_among_many(void **state)
{
    const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = (1U << ANALYZE_COUNT) - 1, .summary_lines = 1000000};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer lines = buffer_of(SIZE_MAX / 2);

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 440; i++) {
        char line[80];
        int bytes =
            snprintf(line, sizeof line, i < 140 ? "%c%c once came this\n" : "disk %c%c failed\n",
                     'a' + (i < 140 ? i / 20 : 0), 'a' + (i < 140 ? i % 20 : i % 2));
        analysis_token(&a, i % 13, (struct view){(const uint8_t *)line, (size_t)bytes},
                       (uint32_t)bytes, false, &made);
        if (i % 7 == 0)
            analysis_reload(&a);
    }
    analysis_end(&a, &made);
    for (size_t k = 0; k < made.count; k++)
        assert_int_equal(record_line("s", &made.records[k], &lines, NULL), ERR_OK);
    buffer_u8(&lines, 0);
    expect_summaries(&lines, 1,
                     "\"lines\":440,\"new_templates\":142,\"templates_most\":[{\"template_id\":140,"
                     "\"lines\":150,\"text\":\"disk aa failed\"},"
                     "{\"template_id\":141,\"lines\":150,\"text\":\"disk ab failed\"},{");
    expect_summaries(&lines, 1, "\"templates_new\":[{\"template_id\":140,\"lines\":150,");
    analysis_release(&a);
    buffer_release(&lines);
}

/* Half of the lines have their time in seconds since 1970, as other programs that write into the same log do, or
 * begin with a number like it. */
static void times_of_two_forms_are_not_compared(void **state)
{
    const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = (1U << ANALYZE_COUNT) - 1, .summary_minutes = 60};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer lines = buffer_of(SIZE_MAX / 2);

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 2000; i++) { /* three hours and a half */
        char line[80];
        int bytes = i % 2 ? snprintf(line, sizeof line, "%u order came\n", 1795318207 + 9173 * i)
                          : snprintf(line, sizeof line, "Jun 1 %02u:%02u:00 app: done\n",
                                     i / 10 / 60, i / 10 % 60);
        analysis_token(&a, i % 13, (struct view){(const uint8_t *)line, (size_t)bytes},
                       (uint32_t)bytes, false, &made);
        for (size_t k = 0; k < made.count; k++)
            assert_int_equal(record_line("s", &made.records[k], &lines, NULL), ERR_OK);
        if (i % 7 == 0)
            analysis_reload(&a);
    }
    buffer_u8(&lines, 0);
    expect_summaries(&lines, 3, "\"lines\":600,\"from\":\"Jun 1 00:00:00\"");
    analysis_release(&a);
    buffer_release(&lines);
}

/* The records of a log of 600 lines, a minute each, of which the first has another form, and every other 16 that of
 * bursts. */
static void read_odd_log(const char *first, const char *form, const char *bursts,
                         struct buffer *out)
{
    const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = (1U << ANALYZE_COUNT) - 1, .summary_minutes = 60};
    struct analysis a = {.resting = true};
    struct analysis_records made;

    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i <= 600; i++) {
        char line[80];
        int bytes = i ? snprintf(line, sizeof line, i / 16 % 2 ? bursts : form, i / 60, i % 60)
                      : snprintf(line, sizeof line, "%s\n", first);
        if (i == 600)
            analysis_end(&a, &made);
        else
            analysis_token(&a, i % 13, (struct view){(const uint8_t *)line, (size_t)bytes},
                           (uint32_t)bytes, false, &made);
        for (size_t k = 0; k < made.count; k++)
            assert_int_equal(record_line("s", &made.records[k], out, NULL), ERR_OK);
        if (i < 600)
            analysis_reload(&a);
    }
    buffer_u8(out, 0);
    analysis_release(&a);
}

static void a_first_line_of_another_form_is_no_clock_for_long(void **state)
{
    struct buffer lines = buffer_of(SIZE_MAX / 2);

    (void)state;
    read_odd_log("1795318207 started", "2026-11-22T%02u:%02u:00Z app: done\n",
                 "2026-11-22T%02u:%02u:00Z app: done\n", &lines);
    expect_summaries(&lines, 10, "\"lines\":61,\"from\":\"2026-11-22T00:01:00\"");
    buffer_release(&lines);
    lines = buffer_of(SIZE_MAX / 2);
    read_odd_log("Jun  9 23:59:00 app: done", "Jun 10 %02u:%02u:00 app: done\n",
                 "Jun 10 %02u:%02u:00 app: done\n", &lines);
    expect_summaries(&lines, 11, "\"lines\":59,\"from\":\"Jun  9 23:59:00\"");
    buffer_release(&lines);
    /* Two programs in one log, by turns: the form that the period began with stays its clock. */
    lines = buffer_of(SIZE_MAX / 2);
    read_odd_log("Jun 10 00:00:00 app: done", "Jun 10 %02u:%02u:00 app: done\n",
                 "[10/Jun/2026:%02u:%02u:00 +0000] done\n", &lines);
    expect_summaries(&lines, 10, "\"from\":\"Jun 10 00:00:00\"");
    buffer_release(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_are_cut_where_they_end),
        cmocka_unit_test(hostile_text_is_cut_in_bounds),
        cmocka_unit_test(words_are_counted_without_case_and_endings),
        cmocka_unit_test(frequent_words_are_kept_and_clusters_told),
        cmocka_unit_test(a_summary_says_what_most_sentences_share),
        cmocka_unit_test(a_chorus_is_said_once),
        cmocka_unit_test(passages_lie_where_their_text_does),
        cmocka_unit_test(a_summary_is_the_same_wherever_it_was_saved),
        cmocka_unit_test(damaged_state_of_a_summary_is_refused_or_in_bounds),
        cmocka_unit_test(hostile_documents_stay_in_bounds),
        cmocka_unit_test(a_sentence_ends_behind_all_of_its_source),
        cmocka_unit_test(a_sentence_may_begin_inside_a_token),
        cmocka_unit_test(a_summary_at_its_fullest_can_be_saved),
        cmocka_unit_test(a_sentence_ends_where_another_document_begins),
        cmocka_unit_test(times_are_found_in_lines),
        cmocka_unit_test(a_log_is_summed_up_by_lines_and_by_its_own_time),
        cmocka_unit_test(the_most_frequent_templates_are_told_among_many),
        cmocka_unit_test(times_of_two_forms_are_not_compared),
        cmocka_unit_test(a_first_line_of_another_form_is_no_clock_for_long),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
