/* training.c: the loop of `riverrun train` and `riverrun adapt`: step, measure, save, say. */
#include "pipeline/commands/loss_curve.h"
#include "pipeline/commands/train.h"
#include "pipeline/report.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    double now = seconds(), speed, left;
    char time_left[32], held_out[32] = "";

    if (s->settings->quiet || t->step == s->first_step || (!end && now - s->said < 10))
        return;
    s->said = now;
    speed = (double)(t->tokens - s->first_tokens) / (now - s->begun);
    left = (double)(t->steps - t->step) * (now - s->begun) / (double)(t->step - s->first_step);
    report_time(time_left, sizeof time_left, left);
    if (t->held_out > 0)
        snprintf(held_out, sizeof held_out, ", held out %.4f bits/byte", t->held_out);
    printf("step %llu of %llu, epoch %llu: loss %.4f%s; rate %.2e, gradient %.2f; %.0f tokens/s, "
           "%.0f %% of the sgemm peak; %s left\n",
           (unsigned long long)t->step, (unsigned long long)t->steps, (unsigned long long)t->epoch,
           t->loss, held_out, t->rate, t->norm, speed,
           s->peak > 0 ? 100 * 6e-9 * (double)t->parameters * speed / s->peak : 0, time_left);
    fflush(stdout);
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

static enum err_code draw(struct session *s, struct err *err)
{
    const char *output = s->settings->train.output, *slash = strrchr(output, '/');

    return loss_curve_write(s->curve, slash ? slash + 1 : output, s->train, err);
}

static enum err_code save(struct session *s, struct err *err)
{
    enum err_code code;

    s->saved = seconds();
    code = train_save(s->train, err);
    return code ? code : draw(s, err);
}

static enum err_code run(struct session *s, struct err *err)
{
    const struct train_status *t = train_status(s->train);
    const struct training *settings = s->settings;
    const uint64_t until = settings->until ? settings->until : t->steps;
    enum err_code code = ERR_OK;

    while (!code && t->step < t->steps && t->step < until && !stop_asked) {
        code = train_step(s->train, err);
        if (!code && settings->train.held_out &&
            (t->step % settings->evaluate_every == 0 || t->step == t->steps)) {
            train_evaluate(s->train);
            s->said = 0;
        }
        if (!code && (seconds() - s->saved) * 1000 >= (double)settings->save_ms)
            code = save(s, err);
        say(s, false);
    }
    if (!code)
        code = save(s, err);
    say(s, true);
    if (!code && t->step < t->steps && t->step < until)
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
    fflush(stdout);
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

    s->curve = curve_path(s->settings);
    if (!s->curve)
        return err_set(err, ERR_MEMORY, 0, "a training");
    say_begin(s);
    if (s->settings->compare && s->settings->train.held_out && !t->step && !t->resumed)
        train_evaluate(s->train);
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
    const struct sigaction action = {.sa_handler = on_signal};
    struct session s = {.settings = training};
    enum err_code code;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    code = train_open(&s.train, &training->train, err);
    if (!code)
        code = run_session(&s, err);
    train_close(&s.train);
    free(s.curve);
    return code;
}
