/* training.c: the loop of `riverrun train` and `riverrun adapt`: step, measure, save, say. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/loss_curve.h"
#include "pipeline/commands/train.h"
#include "pipeline/eval/score.h"
#include "pipeline/report.h"
#include "pipeline/run.h"
#include "stages/emit/report/svg.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct session {
    const struct training *settings;
    char *curve;
    struct train *train;
    double begun, said, saved, peak;
    uint64_t first_step, first_tokens;
};

static void say(struct session *s, bool end)
{
    const struct train_status *t = train_status(s->train);
    double now = seconds(), speed, left, flops;
    char time_left[32], held_out[32] = "";

    if (s->settings->quiet || t->step == s->first_step || (!end && now - s->said < 10))
        return;
    s->said = now;
    /* Forward, and back twice as much; half of that is the gradient of what is not trained. */
    flops = t->trained < t->parameters ? 4 : 6;
    speed = (double)(t->tokens - s->first_tokens) / (now - s->begun);
    left = (double)(t->steps - t->step) * (now - s->begun) / (double)(t->step - s->first_step);
    report_time(time_left, sizeof time_left, left);
    if (t->held_out > 0)
        snprintf(held_out, sizeof held_out, ", held out %.4f bits/byte", t->held_out);
    printf("step %llu of %llu, epoch %llu: loss %.4f%s; rate %.2e, gradient %.2f; %.0f tokens/s, "
           "%.0f %% of the sgemm peak; %s left\n",
           (unsigned long long)t->step, (unsigned long long)t->steps,
           (unsigned long long)(t->tokens / (t->epoch_tokens ? t->epoch_tokens : 1)), t->loss,
           held_out, t->rate, t->norm, speed,
           s->peak > 0 ? 100e-9 * flops * (double)t->parameters * speed / s->peak : 0, time_left);
    answer_flush();
}

/* MODEL.svg for MODEL.safetensors. NULL: no memory. */
static char *curve_path(const struct training *training)
{
    static const char ending[] = ".safetensors";
    const char *output = training->train.output;
    size_t stem = strlen(output);
    char *path;

    if (training->curve)
        return strdup(training->curve);
    if (stem > strlen(ending) && !strcmp(output + stem - strlen(ending), ending))
        stem -= strlen(ending);
    return asprintf(&path, "%.*s.svg", (int)stem, output) < 0 ? NULL : path;
}

/* The picture is no other output of the training, nor lies where one will be. */
static enum err_code check_curve(const struct training *training, const char *curve,
                                 struct err *err)
{
    static const char *const endings[] = {"", ".training", ".lock"};
    const char *output = training->train.output;
    const size_t length = strlen(output);
    enum err_code code = train_not_input(&training->train, curve, err);

    for (size_t i = 0; !code && i < sizeof endings / sizeof *endings; i++)
        if (!strncmp(curve, output, length) && !strcmp(curve + length, endings[i]))
            code = err_set(err, ERR_USAGE, 0,
                           "'%s' is of the model that is made: give --curve another name", curve);
    return code ? code : svg_may_replace(curve, err);
}

static enum err_code draw(struct session *s, struct err *err)
{
    const char *output = s->settings->train.output, *slash = strrchr(output, '/');
    enum err_code code = svg_may_replace(s->curve, err); /* a model by another spelling */

    if (code)
        return code;
    return loss_curve_write(s->curve, slash ? slash + 1 : output, s->train, err);
}

static enum err_code save(struct session *s, struct err *err)
{
    enum err_code code;

    s->saved = seconds();
    code = train_save(s->train, err);
    return code ? code : draw(s, err);
}

/* ---- What the model is multiplied as where nobody says. ---- */

enum { NAMING_BYTES = 64 << 10 };
#define NAMING_PERCENT 0.5

/* The first bytes of a file as a file of their own: a scorer reads to the end. */
static enum err_code head_of(const char *path, int *out, struct err *err)
{
    int in = open(path, O_RDONLY | O_CLOEXEC), head = memfd_create("head", MFD_CLOEXEC);
    ssize_t moved = in < 0 || head < 0 ? -1 : 1;
    enum err_code code = ERR_OK;

    for (size_t left = NAMING_BYTES; left && moved > 0; left -= moved > 0 ? (size_t)moved : 0)
        moved = sendfile(head, in, NULL, left);
    if (moved < 0)
        code = err_set(err, ERR_SOURCE, errno, "read '%s'", path);
    *out = code ? -1 : head;
    if (in >= 0)
        close(in);
    if (code && head >= 0)
        close(head);
    return code;
}

/* What the model that was made needs for a byte of text, multiplied as `weights`. */
static enum err_code bits_as(const struct train_options *o, const char *weights, int text,
                             double *bits, struct err *err)
{
    const struct engine_options options = {.weights = weights, .threads = o->threads};
    struct engine *engine = NULL;
    struct tokenizer *tokenizer = NULL;
    struct scorer *scorer = NULL;
    struct curve curve;
    enum err_code code = engine_open(&engine, o->output, &options, err);

    if (!code)
        code = open_tokenizer_of(&tokenizer, o->vocabulary, o->output, engine_info(engine), err);
    if (!code)
        code = scorer_open(&scorer, engine, tokenizer, err);
    if (!code)
        scorer_stop_on(scorer, &stop_asked);
    if (!code && lseek(text, 0, SEEK_SET) < 0)
        code = err_set(err, ERR_SYSTEM, errno, "read a text again");
    if (!code)
        code = score_document(scorer, text, "the text", UINT64_MAX, &curve, err);
    if (!code)
        *bits = curve_bits_per_byte(curve.whole.carried, curve.whole.bytes);
    scorer_close(&scorer);
    tokenizer_close(&tokenizer);
    engine_close(&engine);
    return code;
}

/* A model that is done says whether int8 is near enough to f32, so that `--weights auto` may choose it. */
static enum err_code name_weights(struct session *s, struct err *err)
{
    const struct train_options *o = &s->settings->train;
    const char *path = o->held_out ? o->held_out : o->files[0].path;
    double f32 = 0, int8 = 0, percent;
    int text;
    enum err_code code = head_of(path, &text, err);

    if (code)
        return code;
    code = bits_as(o, "f32", text, &f32, err);
    if (!code)
        code = bits_as(o, "int8", text, &int8, err);
    close(text);
    if (code == ERR_STOPPED)
        code = err_set(err, code, 0, "stopped while int8 was tried; the same command goes on");
    percent = 100 * (int8 / f32 - 1);
    if (code || !(fabs(percent) <= NAMING_PERCENT)) /* not where nothing could be scored */
        return code;
    if (!s->settings->quiet)
        printf("int8 costs %+.3f %% bits on the first %d kB of '%s': --weights auto is int8 for "
               "this model\n",
               percent, NAMING_BYTES >> 10, path);
    train_name_weights(s->train, "int8");
    return train_save(s->train, err);
}

/* Is the held-out text to be measured at this step, and was not? A stop may have come in between. */
static bool is_due(const struct session *s)
{
    const struct train_status *t = train_status(s->train);
    size_t count;
    const struct train_point *points = train_points(s->train, &count);

    if (!s->settings->train.held_out ||
        (count && points[count - 1].step == t->step && points[count - 1].held_out > 0))
        return false;
    return t->step ? t->step % s->settings->evaluate_every == 0 || t->step == t->steps
                   : s->settings->compare;
}

static void measure(struct session *s)
{
    if (is_due(s)) {
        train_evaluate(s->train, &stop_asked);
        s->said = 0;
    }
}

static enum err_code run(struct session *s, struct err *err)
{
    const struct train_status *t = train_status(s->train);
    const struct training *settings = s->settings;
    const uint64_t until = settings->until ? settings->until : t->steps;
    enum err_code code = ERR_OK;
    bool is_cut;

    while (!code && t->step < t->steps && t->step < until && !stop_asked) {
        code = train_step(s->train, err);
        if (!code)
            measure(s);
        if (!code && (seconds() - s->saved) * 1000 >= (double)settings->save_ms)
            code = save(s, err);
        say(s, false);
    }
    if (!code)
        code = save(s, err);
    say(s, true);
    is_cut = stop_asked && is_due(s); /* while it was measured, which the next run does */
    if (!code && t->step == t->steps && !is_cut && !settings->train.state_only)
        code = name_weights(s, err);
    if (!code && ((t->step < t->steps && t->step < until) || is_cut))
        code =
            err_set(err, ERR_STOPPED, 0, "stopped at step %llu of %llu; the same command goes on",
                    (unsigned long long)t->step, (unsigned long long)t->steps);
    return code;
}

static unsigned thread_count(const struct train_options *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = o->threads ? o->threads : cores > 0 ? (unsigned)cores : 1;

    return threads < o->parts ? threads : o->parts;
}

static void say_begin(struct session *s)
{
    const struct train_status *t = train_status(s->train);
    const unsigned threads = thread_count(&s->settings->train);

    if (s->settings->quiet)
        return;
    s->peak = train_peak(threads);
    if (t->trained < t->parameters)
        printf("%llu of ", (unsigned long long)t->trained);
    printf("%llu parameters, %.1f MB of text, %u threads (%s), sgemm peak %.0f GFLOP/s%s\n",
           (unsigned long long)t->parameters, (double)t->corpus_bytes / 1e6, threads, t->level,
           s->peak, t->resumed ? "; goes on where it was saved" : "");
    if (t->vocabulary_apart)
        printf("the model file will not carry this vocabulary: give --vocab with it\n");
    answer_flush();
}

/* What adapting has gained, where it was measured before and after. */
static void say_gain(const struct session *s)
{
    size_t count;
    const struct train_point *points = train_points(s->train, &count);
    double before, after;

    if (s->settings->quiet || !s->settings->compare || count < 2 || points[0].step != 0)
        return;
    before = points[0].held_out;
    after = points[count - 1].held_out;
    if (before > 0 && after > 0)
        printf("held-out text: %.4f bits/byte before, %.4f after: %.1f %% %s\n", before, after,
               100 * fabs(1 - after / before), after <= before ? "less" : "more");
}

static enum err_code run_session(struct session *s, struct err *err)
{
    const struct train_status *t = train_status(s->train);
    enum err_code code;

    say_begin(s);
    measure(s);
    s->begun = s->saved = seconds();
    s->first_step = t->step;
    s->first_tokens = t->tokens;
    code = draw(s, err); /* a place that cannot be written to is better known now */
    if (!code)
        code = run(s, err);
    if (!code)
        say_gain(s);
    return code;
}

enum err_code training_run(const struct training *training, struct err *err)
{
    struct session s = {.settings = training};
    enum err_code code;

    catch_signals(on_signal, 0);
    s.curve = curve_path(training);
    code =
        s.curve ? check_curve(training, s.curve, err) : err_set(err, ERR_MEMORY, 0, "a training");
    if (!code)
        code = train_open(&s.train, &training->train, err);
    if (!code)
        code = run_session(&s, err);
    train_close(&s.train);
    free(s.curve);
    return code;
}
