/* Units become records: what the parts say of known sequences, that every place can be saved and loaded, and that
 * nothing from outside leads beyond their bounds. */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/templates.h"
#include "tests/analysis_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct analysis_options all_parts = {
    .unit = UNIT_LINE, .parts = (1U << ANALYZE_COUNT) - 1, .alerts_per_million = 20000};

static void write_lines(const struct analysis_records *made, struct buffer *out)
{
    for (size_t i = 0; i < made->count; i++)
        assert_int_equal(record_line("s", &made->records[i], out, NULL), ERR_OK);
}

enum { CHANNELS = 5 };

/* A hidden state that depends on the place in the text alone. */
static void hide(struct analysis *a, struct view text, size_t at, float *hidden)
{
    for (size_t i = 0; i < CHANNELS; i++)
        hidden[i] = (float)(text.data[at] * (i + 1) % 97) / 7 - 6;
    analysis_hidden(a, hidden, CHANNELS);
}

/* The lines that come out of text, read in tokens of so many bytes; loss depends on the place in the text alone.
 * Reloaded after each token whose number is a multiple of every; 0: never. */
static struct buffer read_text(const struct analysis_options *options, struct view text,
                               size_t token_bytes, size_t every)
{
    struct buffer lines = buffer_of(SIZE_MAX / 2);
    struct analysis a = {.resting = true};
    struct analysis_records made;
    float hidden[CHANNELS];
    size_t number = 0;

    analysis_begin(&a, options, 0);
    for (size_t at = 0; at < text.bytes;) {
        size_t bytes = 0;
        while (bytes < token_bytes && at + bytes < text.bytes)
            if (text.data[at + bytes++] == '\n')
                break;
        hide(&a, text, at, hidden);
        analysis_token(&a, 0.5 * (double)(text.data[at] % 13), (struct view){text.data + at, bytes},
                       (uint32_t)bytes, false, &made);
        write_lines(&made, &lines);
        at += bytes;
        if (every && ++number % every == 0)
            analysis_reload(&a);
    }
    analysis_end(&a, &made);
    write_lines(&made, &lines);
    buffer_u8(&lines, 0);
    analysis_release(&a);
    return lines;
}

/* ---- Vectors ---- */

static const char *field_text(const struct record *record, const char *name, char *text,
                              size_t room)
{
    for (size_t i = 0; i < record->field_count; i++)
        if (strcmp(record->fields[i].name, name) == 0 && record->fields[i].kind == FIELD_TEXT) {
            snprintf(text, room, "%.*s", (int)record->fields[i].text.bytes,
                     (const char *)record->fields[i].text.data);
            return text;
        }
    return "null";
}

/* Two tokens of 1 and 3 nats: (1 * {4, 0, -8} + 3 * {0, 4, 0}) / 4 = {1, 3, -2}, of 127 {42, 127, -85}. */
static void an_embedding_is_the_mean_by_nats(void **state)
{
    static const struct analysis_options options = {.unit = UNIT_LINE,
                                                    .parts = 1U << ANALYZE_EMBEDDINGS};
    static const float first[] = {4, 0, -8}, second[] = {0, 4, 0}, broken[] = {NAN, INFINITY, 2};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    char text[64];

    (void)state;
    assert_true(analysis_wants_hidden(&options));
    analysis_begin(&a, &options, 0);
    analysis_hidden(&a, first, 3);
    analysis_token(&a, 1, (struct view){(const uint8_t *)"a", 1}, 1, false, &made);
    analysis_reload(&a);
    analysis_hidden(&a, second, 3);
    analysis_token(&a, 3, (struct view){(const uint8_t *)"b\n", 2}, 2, false, &made);
    assert_string_equal(field_text(&made.records[0], "embedding", text, sizeof text), "Kn+r");
    /* Of a model with other channels; what is no number counts as 0. */
    analysis_hidden(&a, broken, 3);
    analysis_token(&a, 1, (struct view){(const uint8_t *)"a", 1}, 1, false, &made);
    analysis_reload(&a);
    analysis_hidden(&a, first, 2);
    analysis_token(&a, 0, (struct view){(const uint8_t *)"b\n", 2}, 2, false, &made);
    assert_string_equal(field_text(&made.records[0], "embedding", text, sizeof text), "fwA=");
    analysis_hidden(&a, broken, 3);
    analysis_token(&a, 1, (struct view){(const uint8_t *)"c\n", 2}, 2, false, &made);
    assert_string_equal(field_text(&made.records[0], "embedding", text, sizeof text), "AAB/");
    /* Nothing is known of a unit without hidden states. */
    analysis_token(&a, 1, (struct view){(const uint8_t *)"c\n", 2}, 2, false, &made);
    assert_string_equal(field_text(&made.records[0], "embedding", text, sizeof text), "null");
    analysis_release(&a);
}

/* ---- Boundaries ---- */

/* A line of six of a subject's twenty words, among words that all subjects have. */
static void subject_line(unsigned subject, uint64_t *seed, struct buffer *out)
{
    char word[40];

    for (unsigned i = 0; i < 12; i++) {
        unsigned pick = (unsigned)(random_next(seed) % 20);
        int bytes = snprintf(word, sizeof word, i % 2 ? "%c%ctheir " : "of%c%c ", 'a' + (int)pick,
                             i % 2 ? 'a' + (int)subject : 'x');
        buffer_put(out, word, (size_t)bytes);
    }
    buffer_u8(out, '\n');
}

/* Lines of subjects in turn, so many of each: the records of kind boundaries. */
static struct buffer bounded(const unsigned *lines, size_t subjects, uint64_t *begins)
{
    static const struct analysis_options options = {.unit = UNIT_LINE,
                                                    .parts = 1U << ANALYZE_BOUNDARIES};
    struct buffer text = buffer_of(1 << 24), all, found = buffer_of(1 << 24);
    uint64_t seed = 3;

    for (size_t i = 0; i < subjects; i++) {
        begins[i] = text.bytes;
        for (unsigned k = 0; k < lines[i]; k++)
            subject_line((unsigned)i, &seed, &text);
    }
    all = read_text(&options, (struct view){text.data, text.bytes}, 11, 997);
    for (char *line = strtok((char *)all.data, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "\"kind\":\"boundaries\""))
            buffer_put(&found, line, strlen(line));
    buffer_u8(&found, 0);
    buffer_release(&all);
    buffer_release(&text);
    return found;
}

/* How often "begin":at stands in a list of places. */
static bool tells_of(const struct buffer *found, uint64_t at)
{
    char want[64];

    snprintf(want, sizeof want, "{\"begin\":%llu,\"strength\":", (unsigned long long)at);
    return strstr((const char *)found->data, want) != NULL;
}

/* How many places there are, and the bits of the weakest and the strongest. */
static size_t places_in(const struct buffer *found, double *least, double *most)
{
    static const char name[] = "\"strength\":";
    size_t count = 0;

    *least = INFINITY;
    *most = 0;
    for (const char *at = (const char *)found->data; (at = strstr(at, name)); count++) {
        double bits = strtod(at += sizeof name - 1, NULL);
        *least = bits < *least ? bits : *least;
        *most = bits > *most ? bits : *most;
    }
    return count;
}

/* More than a window holds, and exactly where the subject changes. Chance alone makes weaker ones. */
static void boundaries_are_where_the_words_change(void **state)
{
    static const unsigned lines[] = {12, 30, 9, 200, 40, 500, 25, 60};
    enum { SUBJECTS = sizeof lines / sizeof *lines };
    uint64_t begins[SUBJECTS];
    struct buffer found = bounded(lines, SUBJECTS, begins);
    double least, most, chance;

    (void)state;
    for (size_t i = 1; i < SUBJECTS; i++)
        assert_true(tells_of(&found, begins[i]));
    assert_int_equal(places_in(&found, &least, &most), SUBJECTS - 1);
    buffer_release(&found);
    found = bounded((const unsigned[]){300}, 1, begins); /* one subject */
    places_in(&found, &chance, &most);
    print_message("subjects %.1f bits, chance %.1f\n", least, most);
    assert_true(least > 2 * most);
    buffer_release(&found);
}

/* Units without words, or with more than a window holds, neither stop nor break anything. */
static void boundaries_of_strange_units(void **state)
{
    static const struct analysis_options options = {.unit = UNIT_LINE,
                                                    .parts = 1U << ANALYZE_BOUNDARIES};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    char line[3000];
    uint64_t seed = 8;

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 2500; i++) {
        size_t at = 0, words = i % 900 < 300 ? 0 : i % 900 < 600 ? 1 : 300;
        for (size_t k = 0; k < words; k++)
            at += (size_t)snprintf(line + at, sizeof line - at, "%05u ",
                                   (unsigned)(random_next(&seed) % 90000));
        line[at++] = '\n';
        analysis_token(&a, 1, (struct view){(uint8_t *)line, at}, (uint32_t)at, false, &made);
        if (i % 250 == 0)
            analysis_reload(&a);
    }
    analysis_end(&a, &made);
    analysis_release(&a);
}

/* ---- What is usual ---- */

static void median_and_spread_of_known_values(void **state)
{
    static const float values[] = {3, 1, 100, 2, 2.5F};
    struct usual usual = usual_of(values, 5);
    float same[USUAL_VALUES], mixed[USUAL_VALUES];

    (void)state;
    assert_true(usual.median == 2.5F);
    assert_true(usual.spread == 1.4826F * 0.5F); /* deviations 0.5 1.5 97.5 0.5 0 */
    assert_true(usual_distance(&usual, 2.5F) == 0);
    assert_true(usual_distance(&usual, 2.5F + 2 * usual.spread) == 2);
    for (size_t i = 0; i < USUAL_VALUES; i++) {
        same[i] = 2;
        mixed[i] = (float)((i * 37) % USUAL_VALUES); /* 0..127 in another order */
    }
    usual = usual_of(same, USUAL_VALUES);
    assert_true(usual.median == 2 && usual.spread == 0.01F + 0.05F * 2);
    usual = usual_of(mixed, USUAL_VALUES);
    assert_true(usual.median == 63 && usual.spread == 1.4826F * 32);
    assert_true(usual_distance(&usual, 1e6F) <= 10000);
}

static void any_nats_make_a_value_in_bounds(void **state)
{
    static const double nats[] = {0, -0.0, -1e-9, -1e300, 1e300, 1, 5e-324};

    (void)state;
    for (size_t i = 0; i < sizeof nats / sizeof *nats; i++)
        for (uint64_t bytes = 0; bytes < 3; bytes++) {
            float value = usual_value(nats[i], bytes);
            assert_true(value >= 0 && value <= 1e6F && !signbit(value));
        }
}

/* One value of 40 lines, then a line that costs more: known figures. */
static void surprise_is_null_first_and_then_counts_spreads(void **state)
{
    const struct analysis_options options = {.unit = UNIT_LINE, .parts = 1U << ANALYZE_SURPRISE};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    const double line_nats = 10 * log(2) * 2; /* 10 bytes of 2 bits */

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 42; i++) {
        double nats = i == 40 ? line_nats * 2 : line_nats;
        analysis_token(&a, nats, (struct view){(const uint8_t *)"123456789\n", 10}, 10, false,
                       &made);
        assert_int_equal(made.count, 1);
        assert_int_equal(made.records[0].field_count, 1);
        assert_string_equal(made.records[0].fields[0].name, "surprise");
        assert_int_equal(made.records[0].fields[0].kind, i < USUAL_LEAST ? FIELD_NULL : FIELD_REAL);
        if (i == 40) /* 2 bits above 2, of spreads of 0.11 */
            assert_true(fabs(made.records[0].fields[0].real - 2 / 0.11) < 1.0 / 64);
        else if (i >= USUAL_LEAST)
            assert_true(fabs(made.records[0].fields[0].real) < 1.0 / 64);
    }
    /* Of another length nothing is known yet. */
    analysis_token(&a, 1, (struct view){(const uint8_t *)"x\n", 2}, 2, false, &made);
    assert_int_equal(made.records[0].fields[0].kind, FIELD_NULL);
    analysis_release(&a);
}

static void what_was_usual_is_forgotten(void **state)
{
    struct usual_lengths u = {0};
    struct usual usual;

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        usual_add(&u, 100, 5);
    for (unsigned i = 0; i < USUAL_VALUES / 2; i++)
        usual_add(&u, 100, 1);
    assert_true(usual_at(&u, 127, &usual)); /* 64 to 127 bytes are one class */
    assert_true(usual.median == 1);
    assert_false(usual_at(&u, 128, &usual));
    assert_false(usual_at(&u, 63, &usual));
}

/* ---- Templates ---- */

static void assert_masked(const char *line, const char *want)
{
    struct masked masked;

    mask_line((struct view){(const uint8_t *)line, strlen(line)}, &masked);
    assert_int_equal(masked.bytes, strlen(want));
    assert_memory_equal(masked.text, want, masked.bytes);
}

static void what_varies_in_a_line_is_masked(void **state)
{
    (void)state;
    assert_masked("Jun 14 15:16:01 combo sshd(pam_unix)[19939]: check pass; uid=0\n",
                  "<*> <*> <*> combo sshd(pam_unix)[<*>]: check pass; uid=<*>");
    assert_masked("081109 203518 143 INFO dfs.DataNode$PacketResponder: block "
                  "blk_-38865049064139660 from /10.250.19.102:54106",
                  "<*> <*> <*> INFO dfs.DataNode$PacketResponder: block blk_<*> from <*>");
    assert_masked("at 0xdeadbeef deadbeef decade open('/var/log/a.b', -1) and/or",
                  "at <*> <*> decade open('<*>', <*>) and/or");
    assert_masked("R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.363779 3<4 3=4",
                  "<*> <*> <*><<*> <*>=<*>");
    assert_masked("\n \r\n  first\tline \r\nsecond", "first line");
    assert_masked(" \n", "");
    assert_masked("caf\xc3\xa9 \xff\xfe [Sun] Sunday", "caf\xc3\xa9 \xff\xfe [<*>] Sunday");
}

static void long_lines_are_cut_between_tokens_and_characters(void **state)
{
    char line[4000];
    struct masked masked;
    static const char e_acute[] = {'\xc3', '\xa9'};

    (void)state;
    memset(line, 'x', sizeof line);
    mask_line((struct view){(const uint8_t *)line, sizeof line}, &masked);
    assert_int_equal(masked.bytes, MASK_TOKEN_BYTES);
    for (size_t i = 1; i + 1 < sizeof line; i += 2)
        memcpy(line + i, e_acute, sizeof e_acute); /* behind one byte: a cut at 64 would part one */
    mask_line((struct view){(const uint8_t *)line, sizeof line}, &masked);
    assert_int_equal(masked.bytes, MASK_TOKEN_BYTES - 1);
    memset(line + 1, '\x80', sizeof line - 1); /* one that never ends: a token is never empty */
    line[0] = '\xc3';
    mask_line((struct view){(const uint8_t *)line, sizeof line}, &masked);
    assert_int_equal(masked.bytes, 1);
    assert_int_equal(masked.count, 1);
    for (size_t i = 0; i < sizeof line; i++)
        line[i] = i % 2 ? ' ' : 'x';
    mask_line((struct view){(const uint8_t *)line, sizeof line}, &masked);
    assert_int_equal(masked.count, MASK_TOKENS_MAX);
    for (size_t i = 0; i < sizeof line; i++)
        line[i] = i % 50 ? 'x' : ' ';
    mask_line((struct view){(const uint8_t *)line, sizeof line}, &masked);
    assert_true(masked.bytes <= MASK_TEXT_MAX && masked.count == 10);
}

static uint64_t match(struct templates *t, const char *line, const char *want)
{
    struct masked masked;
    struct template *one;

    mask_line((struct view){(const uint8_t *)line, strlen(line)}, &masked);
    one = templates_match(t, &masked);
    assert_int_equal(one->bytes, strlen(want));
    assert_memory_equal(one->text, want, one->bytes);
    return one->id;
}

static void lines_of_one_statement_share_a_template(void **state)
{
    struct templates t = {.list = NULL};

    (void)state;
    assert_int_equal(match(&t, "sshd: session opened for user root by eve",
                           "sshd: session opened for user root by eve"),
                     0);
    assert_int_equal(
        match(&t, "sshd: session closed for user root", "sshd: session closed for user root"), 1);
    assert_int_equal(match(&t, "sshd: session opened for user adam by eve",
                           "sshd: session opened for user <*> by eve"),
                     0);
    assert_int_equal(match(&t, "sshd: session opened for user 17 by eve",
                           "sshd: session opened for user <*> by eve"),
                     0);
    assert_int_equal(
        match(&t, "sshd: session opened at once so it is", "sshd: session opened at once so it is"),
        2);
    assert_int_equal(match(&t, "1 2 3", "<*> <*> <*>"), 3);
    assert_int_equal(match(&t, "4 5 6", "<*> <*> <*>"), 3);
    assert_int_equal(match(&t, "", ""), 4);
    assert_int_equal(t.count, 5);
    assert_int_equal(t.lines, 8);
    templates_release(&t);
}

static void the_template_not_seen_for_longest_goes(void **state)
{
    struct templates t = {.list = NULL};
    char line[32];

    (void)state;
    for (unsigned i = 0; i < TEMPLATES_MAX; i++) {
        snprintf(line, sizeof line, "%c%c event", 'a' + (int)i / 32, 'a' + (int)i % 32);
        assert_int_equal(match(&t, line, line), i);
    }
    match(&t, "aa event", "aa event"); /* so the second is the oldest */
    assert_int_equal(match(&t, "another", "another"), TEMPLATES_MAX);
    assert_int_equal(t.count, TEMPLATES_MAX);
    assert_int_equal(match(&t, "aa event", "aa event"), 0);
    assert_int_equal(match(&t, "ab event", "ab event"), TEMPLATES_MAX + 1); /* forgotten */
    templates_release(&t);
}

/* ---- Novelty ---- */

static const struct record_field *field(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->field_count; i++)
        if (strcmp(record->fields[i].name, name) == 0)
            return &record->fields[i];
    return NULL;
}

static void read_line(struct analysis *a, const char *line, double bits_per_byte,
                      struct analysis_records *made)
{
    struct view text = {(const uint8_t *)line, strlen(line)};

    analysis_token(a, bits_per_byte * 0.69314718055994531 * (double)text.bytes, text,
                   (uint32_t)text.bytes, false, made);
    assert_true(made->count >= 1);
}

static void assert_alert(const struct analysis_records *made, const char *reason)
{
    const struct record *alert = &made->records[1];

    assert_int_equal(made->count, 2);
    assert_int_equal(alert->kind, RECORD_ALERT);
    assert_int_equal(alert->begin, made->records[0].begin);
    assert_int_equal(alert->end, made->records[0].end);
    assert_int_equal(field(alert, "reason")->text.bytes, strlen(reason));
    assert_memory_equal(field(alert, "reason")->text.data, reason, strlen(reason));
}

/* 2,500 lines of two templates, and then each of the three reasons. */
static void alerts_say_why(void **state)
{
    static const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = 1U << ANALYZE_NOVELTY, .alerts_per_million = 1000};
    struct analysis a = {.resting = true};
    struct analysis_records made;

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 2500; i++) {
        read_line(&a, i % 2 ? "eth0 link is up\n" : "disk sda is well\n", 0.6, &made);
        if (true) {
            assert_int_equal(made.count, 1);
            assert_int_equal(field(&made.records[0], "template_count")->count, i / 2 + 1);
        }
    }
    read_line(&a, "disk sdb has failed for good\n", 0.6, &made);
    assert_int_equal(field(&made.records[0], "template_id")->count, 2);
    assert_int_equal(field(&made.records[0], "one_in")->count, 2501);
    assert_alert(&made, "new template");
    read_line(&a, "disk sda is well\n", 7.1, &made);
    assert_alert(&made, "7.1 bits a byte where 0.6 is usual for this template");
    read_line(&a, "disk sdb has failed for good\n", 0.6, &made);
    assert_int_equal(made.count, 1); /* two as novel or more came before */
    for (unsigned i = 0; i < 2500; i++)
        read_line(&a, "eth0 link is up\n", 0.6, &made);
    read_line(&a, "disk sdb has failed for good\n", 0.6, &made);
    assert_alert(&made, "template rare: 3 of 5,004 lines");
    analysis_end(&a, &made);
    assert_int_equal(field(&made.records[0], "templates")->count, 3);
    assert_int_equal(field(&made.records[0], "alerts")->count, 3);
    analysis_release(&a);
}

/* Lines of one template around 1 bit a byte, and one so many deviations above: within 5 it is as novel as any. */
static void common_lines_are_equally_novel(void **state)
{
    static const struct analysis_options options = {.unit = UNIT_LINE,
                                                    .parts = 1U << ANALYZE_NOVELTY};
    static const struct {
        double deviations, excess;
    } cases[] = {{-3, 0}, {0, 0}, {4.9, 0}, {5.2, 0.11}, {20, 3.95}, {100, 8.59}};

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct analysis a = {.resting = true};
        struct analysis_records made;
        double novelty;
        analysis_begin(&a, &options, 0);
        for (unsigned i = 0; i < 64; i++) {
            read_line(&a, "eth0 link is up\n", 0.9 + 0.1 * (i % 3), &made);
            novelty = field(&made.records[0], "novelty")->real;
            assert_true(fabs(novelty - log2((i + 2) / (i + 0.5))) <= 1.0 / 64);
        }
        read_line(&a, "eth0 link is up\n", 1 + cases[k].deviations * 0.14826, &made);
        novelty = field(&made.records[0], "novelty")->real;
        assert_true(fabs(novelty - log2(66 / 64.5) - cases[k].excess) <= 0.03);
        analysis_release(&a);
    }
}

/* Lines that come as before: no more alarms than were asked for, whatever the surprisal's distribution. */
static void alarms_are_as_many_as_were_asked_for(void **state)
{
    static const uint64_t asked[] = {1000, 5000, 20000};

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct analysis_options options = {
            .unit = UNIT_LINE, .parts = 1U << ANALYZE_NOVELTY, .alerts_per_million = asked[k]};
        struct analysis a = {.resting = true};
        struct analysis_records made;
        uint64_t seed = 77, alerts = 0;
        analysis_begin(&a, &options, 0);
        for (unsigned i = 0; i < 40000; i++) {
            double u = (double)(random_next(&seed) % 1000 + 1) / 1000;
            char line[40];
            snprintf(line, sizeof line, "%c says %u\n", 'a' + (int)(random_next(&seed) % 6), i);
            read_line(&a, line, 0.2 / u, &made); /* heavy tails */
            alerts += i >= 20000 && made.count == 2;
        }
        print_message("%g in 1,000 asked for, %g came\n", (double)asked[k] / 1000,
                      (double)alerts / 20);
        assert_in_range(alerts, asked[k] / 50 / 4, asked[k] / 50 * 3 / 2);
        analysis_release(&a);
    }
}

/* Lines in a hundred that are each like none before: about as few alarms even so. */
static void new_templates_that_keep_coming_alarm_no_more(void **state)
{
    const struct analysis_options options = {
        .unit = UNIT_LINE, .parts = 1U << ANALYZE_NOVELTY, .alerts_per_million = 1000};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    uint64_t alerts = 0;

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 20000; i++) {
        char line[40];
        snprintf(line, sizeof line, i % 67 == 1 ? "%c%c%c what is new\n" : "as before\n",
                 'a' + i / 67 / 20 % 20, 'a' + i / 67 % 20, 'a' + i / 67 / 400);
        read_line(&a, line, 0.6, &made);
        alerts += made.count == 2;
    }
    print_message("20 asked for, %u came\n", (unsigned)alerts);
    assert_in_range(alerts, 5, 60);
    analysis_release(&a);
}

static void an_entry_is_known_by_its_first_line(void **state)
{
    static const struct analysis_options options = {.unit = UNIT_ENTRY,
                                                    .parts = 1U << ANALYZE_NOVELTY};
    static const char *const tokens[] = {"Error 5:\n", " at a.c:7\n", "Error 6:\n", " at b.c:9\n"};
    struct analysis a = {.resting = true};
    struct analysis_records made;

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 4; i++) {
        struct view text = {(const uint8_t *)tokens[i], strlen(tokens[i])};
        analysis_token(&a, 1, text, (uint32_t)text.bytes, i % 2, &made);
        assert_int_equal(made.count, i % 2);
    }
    assert_int_equal(made.records[0].kind, RECORD_ENTRY);
    assert_int_equal(field(&made.records[0], "template_count")->count, 2);
    assert_int_equal(field(&made.records[0], "template")->text.bytes, strlen("Error <*>:"));
    analysis_release(&a);
}

/* ---- All parts ---- */

static struct view sample_log(uint64_t seed, struct buffer *out)
{
    static const char *const forms[] = {
        "Jun %u 10:%u:07 host sshd[%u]: session opened for user root\n",
        "Jul %u 10:%u:07 host kernel: eth0: link up at %u\n",
        "%u %u %u\n",
        "panic %u%u%u\n",
        "\n",
        "Received block blk_-%u of size %u from /10.0.0.%u\n"};
    char line[200];

    for (unsigned i = 0; i < 700; i++) {
        unsigned form = (unsigned)(random_next(&seed) % 5);
        unsigned a = (unsigned)(random_next(&seed) % 90), b = a * 7 % 60, c = b * 31;
        int bytes = snprintf(line, sizeof line,
                             forms[i % 97 == 5 ? 3
                                   : form == 3 ? 5
                                               : form],
                             a, b, c);
        buffer_put(out, line, (size_t)bytes);
    }
    return (struct view){out->data, out->bytes};
}

static void every_place_can_be_saved_and_loaded(void **state)
{
    struct buffer text = buffer_of(1 << 20), whole;
    struct view log = sample_log(7, &text);

    (void)state;
    whole = read_text(&all_parts, log, 9, 0);
    for (size_t every = 1; every < 200; every = every * 3 + 1) {
        struct buffer cut = read_text(&all_parts, log, 9, every);
        assert_string_equal((char *)cut.data, (char *)whole.data);
        buffer_release(&cut);
    }
    buffer_release(&whole);
    buffer_release(&text);
}

/* Bytes that are no text, in tokens longer than a template keeps: whatever was learnt of them comes back. */
static void lines_that_are_no_text_can_be_saved_and_loaded(void **state)
{
    struct analysis_options options = {.unit = UNIT_LINE, .parts = 1U << ANALYZE_NOVELTY};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    uint64_t seed = 9;

    (void)state;
    analysis_begin(&a, &options, 0);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t line[200];
        size_t bytes = 60 + random_next(&seed) % 130, edge = random_next(&seed) % 5;
        for (size_t k = 0; k < bytes; k++)
            line[k] = k < edge ? 0xC3 : random_next(&seed) % 40 ? 0x80 : (uint8_t)(seed >> 20);
        line[bytes++] = '\n';
        analysis_token(&a, 3, (struct view){line, bytes}, (uint32_t)bytes, false, &made);
        if (i % 50 == 0)
            analysis_reload(&a);
    }
    analysis_release(&a);
}

static void a_set_of_parts_is_only_loaded_as_it_was_saved(void **state)
{
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX);
    struct analysis a = {.resting = true};
    struct analysis_options other = all_parts;
    struct view bytes;

    (void)state;
    analysis_begin(&a, &all_parts, 3);
    analysis_save(&a, &saved);
    bytes = (struct view){saved.data, saved.bytes};
    other.parts = 0;
    assert_int_equal(analysis_load(&a, &other, bytes, false, NULL), ERR_DAMAGED);
    other = all_parts;
    other.unit = UNIT_PARAGRAPH;
    assert_int_equal(analysis_load(&a, &other, bytes, false, NULL), ERR_DAMAGED);
    assert_int_equal(analysis_load(&a, NULL, bytes, true, NULL), ERR_OK);
    assert_true(a.resting && a.units.offset == 3 && analysis_memory(&a) == 0);
    analysis_release(&a);
    buffer_release(&saved);
}

static void damaged_state_is_refused_or_in_bounds(void **state)
{
    struct buffer text = buffer_of(1 << 20), saved = buffer_of(ANALYSIS_BYTES_MAX);
    struct analysis a = {.resting = true}, got = {.resting = true};
    struct analysis_records made;
    struct view log = sample_log(9, &text);

    (void)state;
    analysis_begin(&a, &all_parts, 0);
    for (size_t at = 0; at < 6000; at++)
        analysis_token(&a, 1, (struct view){log.data + at, 1}, 1, false, &made);
    analysis_save(&a, &saved);
    for (size_t bytes = 0; bytes < saved.bytes; bytes++) {
        uint8_t *torn = malloc(bytes + 1);
        require(torn);
        memcpy(torn, saved.data, bytes);
        assert_int_equal(analysis_load(&got, &all_parts, (struct view){torn, bytes}, false, NULL),
                         ERR_DAMAGED);
        free(torn);
    }
    for (size_t at = 0; at < saved.bytes; at++)
        for (unsigned bit = 0; bit < 8; bit += 3) {
            saved.data[at] ^= (uint8_t)(1 << bit);
            if (!analysis_load(&got, NULL, (struct view){saved.data, saved.bytes}, false, NULL)) {
                struct buffer again = buffer_of(ANALYSIS_BYTES_MAX);
                analysis_save(&got, &again);
                assert_int_equal(again.bytes, saved.bytes);
                assert_memory_equal(again.data, saved.data, saved.bytes);
                buffer_release(&again);
                for (size_t i = 0; i < 200; i++)
                    analysis_token(&got, 1, (struct view){log.data + i, 1}, 1, false, &made);
            }
            saved.data[at] ^= (uint8_t)(1 << bit);
        }
    analysis_release(&a);
    analysis_release(&got);
    buffer_release(&saved);
    buffer_release(&text);
}

/* Lines of any bytes and lengths, ever new: memory and saved bytes stay within what is said. */
static void hostile_lines_stay_in_bounds(void **state)
{
    struct analysis a = {.resting = true};
    struct analysis_records made;
    uint64_t seed = 5;
    size_t most = 0;

    (void)state;
    analysis_begin(&a, &all_parts, 0);
    for (unsigned i = 0; i < 60000; i++) {
        uint8_t text[200];
        size_t bytes = 1 + random_next(&seed) % sizeof text;
        for (size_t k = 0; k < bytes; k++)
            text[k] = (uint8_t)(random_next(&seed) >> 20);
        analysis_token(&a, (double)(random_next(&seed) % 1000) * 1e30, (struct view){text, bytes},
                       (uint32_t)bytes, false, &made);
        if (i % 1000 == 0) {
            struct buffer line = buffer_of(RECORD_LINE_MAX);
            write_lines(&made, &line);
            buffer_release(&line);
            analysis_reload(&a);
        }
        most = analysis_memory(&a) > most ? analysis_memory(&a) : most;
    }
    assert_true(most <= ANALYSIS_MEMORY_MAX);
    print_message("%zu bytes of memory at most\n", most);
    analysis_release(&a);
}

/* Templates as many and as long as there can be: what is saved is within the bound, and comes back. */
static void as_many_templates_as_there_can_be(void **state)
{
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX);

    (void)state;
    analysis_begin(&a, &all_parts, 0);
    for (unsigned i = 0; i < 3 * TEMPLATES_MAX; i++)
        for (unsigned repeat = 0; repeat < 2 * TEMPLATE_VALUES; repeat += 1 + 31 * (i % 3 > 0)) {
            char line[1000];
            size_t at = 0;
            unsigned tokens = i % 3 ? 3 : 60;
            for (unsigned k = 0; k < tokens; k++)
                at += (size_t)snprintf(line + at, sizeof line - at, "%c%c%c ", 'a' + (int)i / 900,
                                       'a' + (int)i / 30 % 30, 'a' + (int)i % 30);
            line[at - 1] = '\n';
            analysis_token(&a, 1, (struct view){(uint8_t *)line, at}, (uint32_t)at, false, &made);
        }
    analysis_save(&a, &saved);
    print_message("%zu bytes saved, %zu in memory\n", saved.bytes, analysis_memory(&a));
    assert_false(saved.refused);
    assert_true(analysis_memory(&a) <= ANALYSIS_MEMORY_MAX);
    analysis_reload(&a);
    buffer_release(&saved);
    analysis_release(&a);
}

/* The paragraph that turns out to be a heading is the next section's: its text and its vector too. */
static void a_section_has_the_vector_of_its_own_tokens(void **state)
{
    static const struct analysis_options options = {.unit = UNIT_SECTION,
                                                    .parts = 1U << ANALYZE_EMBEDDINGS};
    static const char text[] = "a b\n\nc\n\nCHAPTER I\n\nd e\n\nCHAPTER II\n\nf";
    static const float hidden[][2] = {{1, 0}, {0, 1}, {-1, 0}};
    struct analysis a = {.resting = true};
    struct analysis_records made;
    size_t sections = 0, of = 0;
    char field[20], all[64] = "";

    (void)state;
    analysis_begin(&a, &options, 0);
    for (size_t at = 0; text[at]; at++) {
        of += text[at] == 'C';
        analysis_hidden(&a, hidden[of], 2);
        analysis_token(&a, 1 + (double)(at % 3), (struct view){(const uint8_t *)text + at, 1}, 1,
                       false, &made);
        if (made.count) {
            strcat(all, field_text(&made.records[0], "embedding", field, sizeof field));
            sections++;
        }
        analysis_reload(&a);
    }
    assert_int_equal(sections, 2);
    analysis_end(&a, &made);
    strcat(all, field_text(&made.records[0], "embedding", field, sizeof field));
    assert_string_equal(all, "fwA=AH8=gQA=");
    analysis_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_embedding_is_the_mean_by_nats),
        cmocka_unit_test(boundaries_are_where_the_words_change),
        cmocka_unit_test(boundaries_of_strange_units),
        cmocka_unit_test(median_and_spread_of_known_values),
        cmocka_unit_test(any_nats_make_a_value_in_bounds),
        cmocka_unit_test(surprise_is_null_first_and_then_counts_spreads),
        cmocka_unit_test(what_was_usual_is_forgotten),
        cmocka_unit_test(what_varies_in_a_line_is_masked),
        cmocka_unit_test(long_lines_are_cut_between_tokens_and_characters),
        cmocka_unit_test(lines_of_one_statement_share_a_template),
        cmocka_unit_test(the_template_not_seen_for_longest_goes),
        cmocka_unit_test(alerts_say_why),
        cmocka_unit_test(common_lines_are_equally_novel),
        cmocka_unit_test(alarms_are_as_many_as_were_asked_for),
        cmocka_unit_test(new_templates_that_keep_coming_alarm_no_more),
        cmocka_unit_test(an_entry_is_known_by_its_first_line),
        cmocka_unit_test(every_place_can_be_saved_and_loaded),
        cmocka_unit_test(lines_that_are_no_text_can_be_saved_and_loaded),
        cmocka_unit_test(a_set_of_parts_is_only_loaded_as_it_was_saved),
        cmocka_unit_test(damaged_state_is_refused_or_in_bounds),
        cmocka_unit_test(hostile_lines_stay_in_bounds),
        cmocka_unit_test(as_many_templates_as_there_can_be),
        cmocka_unit_test(a_section_has_the_vector_of_its_own_tokens),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
