/* Curves by position, made by hand: bins, sums, verdicts, and what is drawn of them. */
#include "pipeline/eval/curve.h"
#include "pipeline/eval/plot.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A document whose tokens cost 1 nat with a fresh state, and carried what percents says of the bin from
 * 4k on, 8k on and so forth. */
static struct curve document(uint64_t tokens, const double *percents, size_t count)
{
    struct curve curve;

    curve_begin(&curve, 4096);
    for (uint64_t i = 0; i < tokens; i++) {
        size_t bin = 0;
        while (bin < count && i >= (uint64_t)8192 << bin)
            bin++;
        curve_scored(&curve, 2, i < 4096 || bin == count ? 1 : 1 + percents[bin] / 100, 1);
    }
    return curve;
}

static void check(uint64_t tokens, const double *percents, size_t count, enum verdict kind,
                  uint64_t from, uint64_t until, double percent)
{
    struct curve curve = document(tokens, percents, count);
    struct curve_verdict v = curve_judge(&curve);

    assert_string_equal(verdict_name(v.kind), verdict_name(kind));
    assert_int_equal(v.from, from);
    assert_int_equal(v.until, until);
    if (!(fabs(v.percent - percent) <= 1e-6))
        fail_msg("%g instead of %g %%", v.percent, percent);
}

static void the_verdict_is_the_longest_run_at_the_end(void **state)
{
    (void)state;
    check(65536, (double[]){-1, -2, -3, -4}, 4, VERDICT_PROFITS, 4096, 65536,
          -(1 * 4. + 2 * 8 + 3 * 16 + 4 * 32) / 60);
    check(65536, (double[]){-1, 0.4, 3, 6}, 4, VERDICT_DRIFTS, 16384, 65536,
          (3 * 16. + 6 * 32) / 48);
    check(65536, (double[]){0.4, -0.4, 0.2, 0}, 4, VERDICT_EVEN, 4096, 65536,
          (0.4 * 4 - 0.4 * 8 + 0.2 * 16) / 60);
    check(65536, (double[]){0, 2, 4, -4}, 4, VERDICT_UNSTEADY, 8192, 32768, (2 * 8. + 4 * 16) / 24);
    check(65536, (double[]){5, 0, -4, -4}, 4, VERDICT_UNSTEADY, 4096, 8192, 5);
}

static void a_rest_speaks_with_the_bin_before_it(void **state)
{
    (void)state;
    check(8192 + 1023, (double[]){-1, 50}, 2, VERDICT_DRIFTS, 4096, 8192 + 1023,
          (-1 * 4096. + 50 * 1023) / (4096 + 1023));
    check(8192 + 1024, (double[]){-1, 50}, 2, VERDICT_DRIFTS, 8192, 8192 + 1024, 50);
    check(4096 + 10, (double[]){50}, 1, VERDICT_DRIFTS, 4096, 4096 + 10, 50);
    check(4096, (double[]){50}, 1, VERDICT_NOTHING, 0, 0, 0);
    check(0, (double[]){50}, 1, VERDICT_NOTHING, 0, 0, 0);
}

static void bins_double_and_add_up_to_the_whole(void **state)
{
    struct curve curve = document(70000, (double[]){1, 2, 3, 4, 5}, 5);
    struct curve_part sum = {0};

    (void)state;
    assert_int_equal(curve.bin_count, 8);
    for (size_t i = 0; i < curve.bin_count; i++) {
        const struct curve_part *bin = &curve.bins[i];
        assert_int_equal(curve_bin_begin(i), i ? (uint64_t)512 << i : 0);
        assert_int_equal(curve_bin_end(i), (uint64_t)1024 << i);
        assert_int_equal(bin->tokens,
                         i < 7 ? curve_bin_end(i) - curve_bin_begin(i) : 70000 - 65536);
        sum.tokens += bin->tokens;
        sum.bytes += bin->bytes;
        sum.scored += bin->scored;
        sum.carried += bin->carried;
    }
    assert_int_equal(sum.tokens, curve.whole.tokens);
    assert_int_equal(sum.bytes, 140000);
    assert_int_equal(sum.scored, 70000);
    assert_true(fabs(sum.carried - curve.whole.carried) < 1e-6);
    assert_true(fabs(curve_bits_per_byte(curve.whole.reset, curve.whole.bytes) - 0.5 / M_LN2) <
                1e-12);
    assert_true(fabs(curve_perplexity(curve.whole.reset, curve.whole.scored) - exp(1)) < 1e-9);
    assert_int_equal(curve_bin_end(CURVE_BINS - 1), UINT64_MAX);
}

static void what_was_not_scored_costs_nothing_and_counts(void **state)
{
    struct curve curve;

    (void)state;
    curve_begin(&curve, 4096);
    assert_true(isnan(curve_bits_per_byte(curve.whole.carried, curve.whole.bytes)));
    curve_unscored(&curve, 3);
    assert_true(isnan(curve_perplexity(curve.whole.carried, curve.whole.scored)));
    curve_scored(&curve, 1, 2, 4);
    assert_int_equal(curve.whole.tokens, 2);
    assert_int_equal(curve.whole.bytes, 4);
    assert_int_equal(curve.whole.scored, 1);
    assert_true(curve.whole.carried == 2 && curve.whole.reset == 4);
    assert_true(curve_percent(&curve.whole) == -50);
}

static void positions_are_short_where_they_are_round(void **state)
{
    static const struct {
        uint64_t tokens;
        const char *text;
    } cases[] = {{0, "0"},       {1023, "1023"},        {1024, "1k"},    {5000, "5000"},
                 {65536, "64k"}, {1536 << 10, "1536k"}, {1 << 20, "1M"}, {(uint64_t)3 << 30, "3G"}};
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        curve_position(cases[i].tokens, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

/* Whatever a file is called, the picture is XML. */
static void titles_of_any_bytes_are_drawn(void **state)
{
    struct curve curve = document(5000, (double[]){1}, 1), empty;
    struct plot_panel panels[] = {{"a<b>&\"\xff\x01\xed\xa0\x80\xc3", "words", &curve},
                                  {"\xce\xa9.txt", NULL, &empty}};
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    assert_non_null(out);
    curve_begin(&empty, 4096);
    plot_write(out, panels, 2);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "a&lt;b>&amp;\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                                 "\xEF\xBF\xBD\xEF\xBF\xBD</text>"));
    assert_non_null(strstr(text, "\xce\xa9.txt</text>"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_is_the_longest_run_at_the_end),
        cmocka_unit_test(a_rest_speaks_with_the_bin_before_it),
        cmocka_unit_test(bins_double_and_add_up_to_the_whole),
        cmocka_unit_test(what_was_not_scored_costs_nothing_and_counts),
        cmocka_unit_test(positions_are_short_where_they_are_round),
        cmocka_unit_test(titles_of_any_bytes_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
