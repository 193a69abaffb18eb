/* tests/test_engine_sample.c: what a sampler promises: who is possible, how often, and what is remembered. */
#include "tests/engine_help.h"

enum { VOCAB = 8, DRAWS = 100000 };

static const float logits[VOCAB] = {1, 3, -2, 2.5F, 3, 0, -INFINITY, 1.5F};

static struct sampler *sampler_of(uint32_t vocab, struct sampler_options options)
{
    struct sampler *sampler = NULL;
    struct err err = {0};

    if (sampler_open(&sampler, vocab, &options, &err))
        fail_msg("%s", err.text);
    return sampler;
}

static uint32_t next(struct sampler *sampler, const float *of)
{
    uint32_t token = UINT32_MAX;
    struct err err = {0};

    if (sampler_next(sampler, of, &token, &err))
        fail_msg("%s", err.text);
    return token;
}

static void at_temperature_0_the_most_likely_is_taken(void **unused)
{
    struct sampler *sampler = sampler_of(VOCAB, (struct sampler_options){.seed = 3});
    float random[2000];
    uint64_t seed = 5;

    (void)unused;
    for (int i = 0; i < 100; i++)
        assert_int_equal(next(sampler, logits), 1); /* 1 and 4 are equal */
    sampler_close(&sampler);
    sampler = sampler_of(2000, (struct sampler_options){0});
    for (int round = 0; round < 50; round++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < 2000; i++) {
            random[i] = (float)(next_random(&seed) % 500); /* with many equals */
            best = random[i] > random[best] ? i : best;
        }
        assert_int_equal(next(sampler, random), best);
    }
    sampler_close(&sampler);
}

static void top_k_1_takes_it_too_at_any_temperature(void **unused)
{
    struct sampler *sampler =
        sampler_of(VOCAB, (struct sampler_options){.temperature = 100, .top_k = 1});

    (void)unused;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(next(sampler, logits), 1);
    sampler_close(&sampler);
}

/* Draw and compare with what the options should give, each token within five standard deviations. */
static void check_draws(struct sampler_options options, const double *weights)
{
    struct sampler *sampler = sampler_of(VOCAB, options);
    uint32_t counts[VOCAB] = {0};
    double sum = 0;

    for (int i = 0; i < VOCAB; i++)
        sum += weights[i];
    for (int i = 0; i < DRAWS; i++)
        counts[next(sampler, logits)]++;
    for (int i = 0; i < VOCAB; i++) {
        double p = weights[i] / sum, want = p * DRAWS, deviation = sqrt(want * (1 - p));
        if (fabs(counts[i] - want) > 5 * deviation)
            fail_msg("token %d: %u draws, %.0f wanted (temperature %g, top_p %g, top_k %u)", i,
                     counts[i], want, options.temperature, options.top_p, options.top_k);
    }
    sampler_close(&sampler);
}

/* Which tokens a limit leaves, and their weights. In order of likelihood: 1 4 3 7 0 5 2; 6 is forbidden. */
static void weights_of(const char *kept, double temperature, double *weights)
{
    for (int i = 0; i < VOCAB; i++)
        weights[i] = strchr(kept, '0' + i) ? exp((double)logits[i] / temperature) : 0;
}

static void tokens_come_as_often_as_their_probability_says(void **unused)
{
    static const double temperatures[] = {0.3, 1, 1.7, 50};
    double weights[VOCAB];

    (void)unused;
    for (int i = 0; i < 4; i++) {
        weights_of("0123457", temperatures[i], weights);
        check_draws((struct sampler_options){.temperature = temperatures[i], .seed = 11}, weights);
    }
}

static void top_k_keeps_the_most_likely_and_of_equals_the_first(void **unused)
{
    static const char *const kept[] = {"1", "14", "143", "1437", "14370"};
    double weights[VOCAB];

    (void)unused;
    for (uint32_t k = 1; k <= 5; k++) {
        weights_of(kept[k - 1], 1.3, weights);
        check_draws((struct sampler_options){.temperature = 1.3, .top_k = k, .seed = k}, weights);
    }
}

/* The limit is taken of probabilities at temperature 1, whatever the temperature. */
static void top_p_keeps_the_fewest_that_together_reach_it(void **unused)
{
    static const char order[] = "1437052";
    double all = 0, sum = 0, weights[VOCAB];

    (void)unused;
    for (const char *at = order; *at; at++)
        all += exp((double)logits[*at - '0']);
    for (int count = 1; count <= 6; count++) {
        char kept[8] = "";
        double before = sum / all, after;
        sum += exp((double)logits[order[count - 1] - '0']);
        after = sum / all;
        memcpy(kept, order, (size_t)count);
        weights_of(kept, 0.6, weights);
        for (int step = 0; step < 2; step++) /* just above what one fewer has, just below its own */
            check_draws((struct sampler_options){.temperature = 0.6,
                                                 .top_p = step ? after - 1e-5 : before + 1e-5,
                                                 .seed = 7},
                        weights);
    }
}

static void both_limits_hold_together(void **unused)
{
    double weights[VOCAB];

    (void)unused;
    weights_of("14", 1, weights);
    check_draws((struct sampler_options){.temperature = 1, .top_p = 0.9, .top_k = 2}, weights);
    weights_of("1", 1, weights);
    check_draws((struct sampler_options){.temperature = 1, .top_p = 0.1, .top_k = 4}, weights);
}

static void a_seed_gives_the_same_tokens_and_another_gives_others(void **unused)
{
    struct sampler_options options = {.temperature = 1, .top_p = 0.95, .presence = 0.3, .seed = 1};
    struct sampler *first = sampler_of(VOCAB, options), *second = sampler_of(VOCAB, options);
    struct sampler *other;
    int same = 0;

    (void)unused;
    options.seed = 2;
    other = sampler_of(VOCAB, options);
    for (int i = 0; i < 1000; i++) {
        uint32_t token = next(first, logits);
        assert_int_equal(token, next(second, logits));
        same += token == next(other, logits);
    }
    assert_in_range(same, 100, 600);
    sampler_close(&first);
    sampler_close(&second);
    sampler_close(&other);
}

/* The formula of engine.h, computed here over again. */
static void penalties_follow_their_formula(void **unused)
{
    static const double rules[][3] = {{0.5, 0, 1}, {0, 0.25, 1}, {0.4, 0.3, 0.9}, {-0.1, 0.2, 0}};

    (void)unused;
    for (int r = 0; r < 4; r++) {
        struct sampler *sampler = sampler_of(
            VOCAB, (struct sampler_options){
                       .presence = rules[r][0], .frequency = rules[r][1], .decay = rules[r][2]});
        double counts[VOCAB] = {0};
        bool seen[VOCAB] = {false};
        int different = 0;

        for (int step = 0; step < 300; step++) {
            int best = 0;
            float values[VOCAB];
            for (int i = 0; i < VOCAB; i++) {
                values[i] = (float)((double)logits[i] -
                                    (seen[i] ? rules[r][0] + counts[i] * rules[r][1] : 0));
                best = values[i] > values[best] ? i : best;
            }
            assert_int_equal(next(sampler, logits), best);
            different += best != 1;
            for (int i = 0; i < VOCAB; i++)
                counts[i] *= rules[r][2];
            counts[best]++;
            seen[best] = true;
        }
        assert_true(different > 0); /* else nothing was tested */
        sampler_close(&sampler);
    }
}

static void logits_that_are_none_are_refused_and_change_nothing(void **unused)
{
    static const float bad[] = {NAN, INFINITY};
    struct sampler_options options = {.temperature = 1, .frequency = 1, .seed = 4};
    struct sampler *tried = sampler_of(VOCAB, options), *quiet = sampler_of(VOCAB, options);
    float values[VOCAB];
    uint32_t token = 99;
    struct err err;

    (void)unused;
    for (int i = 0; i < 100; i++) {
        memcpy(values, logits, sizeof values);
        values[i % VOCAB] = bad[i % 2];
        assert_int_equal(sampler_next(tried, values, &token, &err), ERR_INPUT);
        assert_int_equal(token, 99);
        assert_int_equal(next(tried, logits), next(quiet, logits));
    }
    assert_non_null(strstr(err.text, "the logit of token"));
    for (int i = 0; i < VOCAB; i++)
        values[i] = -INFINITY;
    assert_int_equal(sampler_next(tried, values, &token, &err), ERR_INPUT);
    values[5] = -1000;
    assert_int_equal(next(tried, values), 5);
    sampler_close(&tried);
    sampler_close(&quiet);
}

static void numbers_far_apart_do_no_harm(void **unused)
{
    static const float wide[] = {-3e38F, 3e38F, 0, -INFINITY, 2.9e38F, 3e38F, 1, 2};
    static const double temperatures[] = {1e-300, 1e-3, 1, 1000};

    (void)unused;
    for (int t = 0; t < 4; t++) {
        struct sampler *sampler =
            sampler_of(VOCAB, (struct sampler_options){.temperature = temperatures[t], .seed = 9});
        for (int i = 0; i < 1000; i++) {
            uint32_t token = next(sampler, wide);
            assert_true(token == 1 || token == 5);
        }
        sampler_close(&sampler);
    }
}

static void options_out_of_range_are_refused(void **unused)
{
    static const struct sampler_options wrong[] = {
        {.temperature = -1}, {.temperature = 1001}, {.temperature = NAN}, {.top_p = -0.1},
        {.top_p = 1.1},      {.top_p = NAN},        {.presence = NAN},    {.frequency = 1e9},
        {.decay = -1},       {.decay = 1.5},        {.decay = NAN},       {.presence = -INFINITY},
    };
    struct sampler *sampler = NULL;
    struct err err;

    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sampler_open(&sampler, VOCAB, &wrong[i], &err), ERR_USAGE);
        assert_null(sampler);
    }
    assert_int_equal(sampler_open(&sampler, 0, &(struct sampler_options){0}, &err), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_temperature_0_the_most_likely_is_taken),
        cmocka_unit_test(top_k_1_takes_it_too_at_any_temperature),
        cmocka_unit_test(tokens_come_as_often_as_their_probability_says),
        cmocka_unit_test(top_k_keeps_the_most_likely_and_of_equals_the_first),
        cmocka_unit_test(top_p_keeps_the_fewest_that_together_reach_it),
        cmocka_unit_test(both_limits_hold_together),
        cmocka_unit_test(a_seed_gives_the_same_tokens_and_another_gives_others),
        cmocka_unit_test(penalties_follow_their_formula),
        cmocka_unit_test(logits_that_are_none_are_refused_and_change_nothing),
        cmocka_unit_test(numbers_far_apart_do_no_harm),
        cmocka_unit_test(options_out_of_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
