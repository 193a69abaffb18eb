/* What the report reckons with: what is usual, what is alike, text that cannot break out, vectors as the records have
 * them and whitened. The pages are test_stages_report's. */
#include "stages/emit/report/alike.h"
#include "stages/emit/report/page.h"
#include "stages/emit/report/usual.h"
#include "stages/emit/vectors.h"
#include "stages/emit/whitening.h"
#include "tests/stages_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct view view_of(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

/* ---- What is usual ---- */

/* 100 units from 2.00 to 2.99 bits per byte, all of 200 bytes, and one far off. */
static void usual_is_not_moved_by_what_stands_out(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;
    uint64_t standing_out;

    (void)state;
    for (int i = 0; i < 100; i++)
        spread_add(spread, 200, 200 * (2 + i / 100.0));
    spread_add(spread, 200, 200 * 40.0);
    spread_usual(spread, &usual);
    assert_near(usual.median, 2.5, 0.005);
    assert_near(usual.mad, 0.25, 0.03);
    assert_near(usual.quartile[0], 2.25, 0.01);
    assert_near(usual.quartile[1], 2.75, 0.01);
    assert_near(usual_top(spread, &usual, &standing_out), (40 - 2.5) / 0.25 * 192 / (192 + 16),
                0.04);
    assert_int_equal(standing_out, 1);
    spread_close(&spread);
}

static void scores_rise_with_bits_and_fall_below_zero(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;
    double before = -INFINITY;

    (void)state;
    for (int i = 0; i < 100; i++)
        spread_add(spread, 200, 200 * (2 + i / 100.0));
    spread_usual(spread, &usual);
    for (int quarters = 4; quarters < 36; quarters++) {
        double bits = quarters / 4.0;
        double score = usual_score(&usual, 200, 200 * bits);
        assert_true(score > before || (score == 0 && before == 0));
        assert_true(bits > 2.6 ? score > 0 : bits < 2.4 ? score < 0 : true);
        before = score;
    }
    spread_close(&spread);
}

/* Short units cost 9, long ones 3: neither is surprising for that, and among equals each is compared with its own. */
static void short_units_are_compared_with_short_ones(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;

    (void)state;
    for (int i = 0; i < 100; i++) {
        spread_add(spread, 10, 10 * (9 + (i % 11 - 5) / 10.0));
        spread_add(spread, 600, 600 * (3 + (i % 11 - 5) / 10.0));
    }
    spread_usual(spread, &usual);
    assert_true(fabs(usual_score(&usual, 10, 10 * 9.2)) < 1);
    assert_true(usual_score(&usual, 10, 10 * 20.0) > USUAL_STANDS_OUT);
    assert_true(usual_score(&usual, 600, 600 * 9.0) > USUAL_STANDS_OUT);
    /* the same distance, in MADs, is less for the short one */
    assert_true(usual_score(&usual, 10, 10 * 12.0) < usual_score(&usual, 600, 600 * 6.0));
    spread_close(&spread);
}

/* Long lines that are all alike at 2; one at 5, as all the others: it is no surprise. */
static void a_length_of_one_kind_surprises_nobody(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;

    (void)state;
    for (int i = 0; i < 900; i++)
        spread_add(spread, 100, 100 * (5 + (i % 11 - 5) / 10.0));
    for (int i = 0; i < 50; i++)
        spread_add(spread, 300, 300 * 2.0);
    spread_usual(spread, &usual);
    assert_true(usual_score(&usual, 300, 300 * 5.0) < 1);
    assert_true(usual_score(&usual, 300, 300 * 9.0) > USUAL_STANDS_OUT);
    spread_close(&spread);
}

/* Two units of 4 bytes have neighbours of 8 to 15 that cost the same: they are no surprise among these. */
static void a_rare_length_is_judged_by_its_neighbours(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;

    (void)state;
    for (int i = 0; i < 200; i++)
        spread_add(spread, 600, 600 * (3 + (i % 11 - 5) / 10.0));
    for (int i = 0; i < 40; i++)
        spread_add(spread, 10, 10 * (9 + (i % 11 - 5) / 10.0));
    spread_add(spread, 4, 4 * 9.0);
    spread_add(spread, 4, 4 * 12.0);
    spread_usual(spread, &usual);
    assert_near(usual.of[2].median, 9, 0.02);
    assert_near(usual.of[2].mad, 0.3, 0.2);
    assert_int_equal(usual.of[2].units, 2);
    assert_true(usual_score(&usual, 4, 4 * 9.0) < 0.5);
    spread_close(&spread);
}

/* Of 8 bytes more is needed than of 800 to be as surprising. */
static void few_bytes_are_little_evidence(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;

    (void)state;
    for (int i = 0; i < 400; i++)
        spread_add(spread, i % 2 ? 8 : 800, (i % 2 ? 8 : 800) * (3 + (i / 2 % 11 - 5) / 10.0));
    spread_usual(spread, &usual);
    assert_near(usual_score(&usual, 800, 800 * 6.0), 10 * 768 / (768 + 16.0), 0.05);
    assert_near(usual_score(&usual, 8, 8 * 6.0), 10 * 12 / (12 + 16.0), 0.05);
    spread_close(&spread);
}

static void few_units_and_equal_ones_are_no_measure(void **state)
{
    struct spread *spread = spread_open();
    struct usual usual;
    uint64_t standing_out;

    (void)state;
    for (int i = 0; i < USUAL_UNITS_LEAST - 1; i++)
        spread_add(spread, 50, 100);
    spread_usual(spread, &usual);
    assert_false(usual.known);
    assert_true(usual_score(&usual, 50, 5000) == 0);
    for (int i = 0; i < 100; i++)
        spread_add(spread, 50, 100);
    spread_usual(spread, &usual);
    assert_true(usual.known && usual.mad > 0);
    assert_true(isfinite(usual_score(&usual, 50, 5000)));
    spread_clear(spread);
    spread_usual(spread, &usual);
    assert_false(usual.known);
    assert_true(usual_top(spread, &usual, &standing_out) == 0 && standing_out == 0);
    spread_close(&spread);
}

/* ---- What is alike ---- */

static bool are_alike(const char *a, const char *b)
{
    struct shape x, y;

    shape_of((struct view){(const uint8_t *)a, strlen(a)}, &x);
    shape_of((struct view){(const uint8_t *)b, strlen(b)}, &y);
    assert_int_equal(shape_alike(&x, &y), shape_alike(&y, &x));
    return shape_alike(&x, &y);
}

static void lines_that_differ_in_numbers_are_alike(void **state)
{
    static const char *const same[] = {"took 12 ms on eth0", "took 9,734 ms on eth17"};
    struct shape shapes[2];

    (void)state;
    for (size_t i = 0; i < 2; i++)
        shape_of((struct view){(const uint8_t *)same[i], strlen(same[i])}, &shapes[i]);
    assert_true(shapes[0].key != shapes[1].key); /* "9,734" is two words */
    shape_of((struct view){(const uint8_t *)"took 7 ms on lo0", 16}, &shapes[1]);
    assert_true(shapes[0].key == shapes[1].key);
    assert_true(are_alike("Jun 9 06:06:20 combo sshd[24265]: failed for root from 10.1.2.3",
                          "Jun 10 17:16:01 combo sshd[9]: failed for root from 172.16.0.254"));
    assert_true(are_alike("error in /a/b: user guest unknown, session closed at once",
                          "error in /a/b: user admin unknown, session closed at once"));
    assert_true(are_alike("Chapter XXI", "Chapter XI"));
    assert_true(are_alike("", "..."));
    assert_false(are_alike("the kernel has no memory left", "a disk was taken away"));
    assert_false(are_alike("Preface", "Contents"));
    assert_false(are_alike("12", "word"));
}

/* ---- Text ---- */

static char *escaped(const char *text, size_t bytes)
{
    char *got = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&got, &length);

    page_text(out, (struct view){(const uint8_t *)text, bytes});
    assert_int_equal(fclose(out), 0);
    return got;
}

static void text_stays_text(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"<script>alert(\"1\")</script>", "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"},
        {"&lt; & &#60;", "&amp;lt; &amp; &amp;#60;"},
        {"a\x01"
         "b\x1B[31m\x7F",
         "a\xE2\x90\x81"
         "b\xE2\x90\x9B[31m\xE2\x90\xA1"},
        {"\xC2\x85|\xE2\x80\xAE|\xE2\x81\xA6|\xEF\xBF\xBF",
         "\xEF\xBF\xBD|\xEF\xBF\xBD|\xEF\xBF\xBD|"
         "\xEF\xBF\xBD"},
        {"\xFF\xC3(\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"שלום \xE2\x80\x8F\xF0\x9F\x8C\x8A\tend\n", "שלום \xE2\x80\x8F\xF0\x9F\x8C\x8A\tend\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = escaped(cases[i].text, strlen(cases[i].text));
        assert_string_equal(got, cases[i].want);
        free(got);
    }
    char *got = escaped("a\0b", 3);
    assert_string_equal(got, "a\xE2\x90\x80"
                             "b");
    free(got);
}

static void numbers_are_for_people(void **state)
{
    char text[PAGE_NUMBER_BYTES];

    (void)state;
    assert_string_equal(page_grouped(0, text), "0");
    assert_string_equal(page_grouped(999, text), "999");
    assert_string_equal(page_grouped(1000, text), "1,000");
    assert_string_equal(page_grouped(UINT64_MAX, text), "18,446,744,073,709,551,615");
    assert_string_equal(page_short(1500000, text), "1.5M");
    assert_string_equal(page_short(20000, text), "20k");
    assert_string_equal(page_short(0, text), "0");
}

/* ---- Vectors ---- */

static void vectors_are_decoded_or_refused(void **state)
{
    static const char *const bad[] = {
        "", "A", "AAA", "AA=A", "A===", "====", "AAAAA", "AA A", "AAAA=AAA"};
    int8_t out[4];

    (void)state;
    assert_int_equal(vectors_decode(view_of("fwA="), out, 4), 2);
    assert_true(out[0] == 127 && out[1] == 0);
    assert_int_equal(vectors_decode(view_of("gQ=="), out, 4), 1);
    assert_int_equal(out[0], -127);
    assert_int_equal(vectors_decode(view_of("Kn+r"), out, 4), 3);
    assert_true(out[0] == 42 && out[1] == 127 && out[2] == -85);
    assert_int_equal(vectors_decode(view_of("AAAAAAA="), out, 4), 0); /* 5 of 4 */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(vectors_decode(view_of(bad[i]), out, 4), 0);
}

/* Variances 4 and 1/4 around (1, 1), nothing in common: each channel is divided by the root of its variance and the
 * ridge of 0.3 times their mean. */
static void channels_come_to_what_is_usual(void **state)
{
    static const double around[4][2] = {{1 + 2.8284271247461903, 1},
                                        {1 - 2.8284271247461903, 1},
                                        {1, 1.7071067811865475},
                                        {1, 0.2928932188134525}};
    const double ridge = 0.3 * (4 + 0.25) / 2;
    double room[5], vector[2] = {3, 3};
    struct whitening w;

    (void)state;
    assert_int_equal(whitening_doubles(2), 5);
    whitening_begin(&w, 2, room);
    for (size_t i = 0; i < 4; i++)
        whitening_add(&w, around[i]);
    whitening_settle(&w);
    assert_false(w.flat);
    whitening_apply(&w, vector);
    assert_true(fabs(vector[0] - 2 / sqrt(4 + ridge)) < 1e-12);
    assert_true(fabs(vector[1] - 2 / sqrt(0.25 + ridge)) < 1e-12);
}

/* A product of two whitened vectors is that by the inverse of the covariance, whatever root was taken: three channels
 * that go together, against the product of the matrix with what it gave. */
static void whitening_takes_out_what_goes_together(void **state)
{
    enum { N = 200 };
    static double all[N][3], covariance[3][3], mean[3];
    double room[9], whitened[3] = {0}, squares = 0, trace = 0;
    uint64_t seed = 7;
    struct whitening w;

    (void)state;
    whitening_begin(&w, 3, room);
    for (size_t i = 0; i < N; i++) {
        double by_chance[3];
        for (size_t k = 0; k < 3; k++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            by_chance[k] = (double)(seed >> 11) / 9007199254740992.0 - 0.5;
        }
        all[i][0] = by_chance[0] + 5;
        all[i][1] = 3 * by_chance[0] + 0.1 * by_chance[1];
        all[i][2] = by_chance[2] - by_chance[0];
        whitening_add(&w, all[i]);
        for (size_t k = 0; k < 3; k++)
            mean[k] += all[i][k] / N;
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < 9; k++)
            covariance[k / 3][k % 3] +=
                (all[i][k / 3] - mean[k / 3]) * (all[i][k % 3] - mean[k % 3]) / N;
    for (size_t k = 0; k < 3; k++)
        trace += covariance[k][k];
    for (size_t k = 0; k < 3; k++)
        covariance[k][k] += 0.3 * trace / 3;
    whitening_settle(&w);
    /* y = R^-T x, so x C^-1 x = y y: with x the first column of C that is C's first element. */
    for (size_t k = 0; k < 3; k++)
        whitened[k] = mean[k] + covariance[k][0];
    whitening_apply(&w, whitened);
    for (size_t k = 0; k < 3; k++)
        squares += whitened[k] * whitened[k];
    assert_true(fabs(squares - covariance[0][0]) < 1e-9);
}

static void nothing_is_usual_of_vectors_that_are_all_the_same(void **state)
{
    const double same[2] = {0.6, 0.8};
    double room[5], vector[2] = {0.6, 0.8};
    struct whitening w;

    (void)state;
    whitening_begin(&w, 2, room);
    for (size_t i = 0; i < 5; i++)
        whitening_add(&w, same);
    whitening_settle(&w);
    assert_true(w.flat);
    whitening_apply(&w, vector);
    assert_true(vector[0] == 0.6 && vector[1] == 0.8);
}

/* So many units, the second half about something else, and a boundary there. */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_is_not_moved_by_what_stands_out),
        cmocka_unit_test(scores_rise_with_bits_and_fall_below_zero),
        cmocka_unit_test(short_units_are_compared_with_short_ones),
        cmocka_unit_test(a_length_of_one_kind_surprises_nobody),
        cmocka_unit_test(a_rare_length_is_judged_by_its_neighbours),
        cmocka_unit_test(few_bytes_are_little_evidence),
        cmocka_unit_test(few_units_and_equal_ones_are_no_measure),
        cmocka_unit_test(lines_that_differ_in_numbers_are_alike),
        cmocka_unit_test(text_stays_text),
        cmocka_unit_test(numbers_are_for_people),
        cmocka_unit_test(vectors_are_decoded_or_refused),
        cmocka_unit_test(channels_come_to_what_is_usual),
        cmocka_unit_test(whitening_takes_out_what_goes_together),
        cmocka_unit_test(nothing_is_usual_of_vectors_that_are_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
