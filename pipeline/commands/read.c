/* riverrun read: the main job; riverrun follow: the same for what grows. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/show.h"
#include "pipeline/run.h"
#include "stages/emit/report/report.h"
#include "store/store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_help(bool follow, const struct option *options)
{
    if (follow)
        puts("usage: riverrun follow PATH|GLOB|-... [--model FILE] [-o DIR] [options]\n"
             "\n"
             "Reads files that grow, rotate, come and go, or standard input (-), line by line, one "
             "stream a\n"
             "file, and writes DIR/<stream>.jsonl until it is stopped. The same command goes on "
             "where it\n"
             "was; what was written while it was away is read first.\n");
    else
        puts("usage: riverrun read PATH... [--model FILE] [-o DIR] [options]\n"
             "\n"
             "Reads files, all files of directories, or standard input (-) through the model and "
             "writes\n"
             "DIR/<stream>.jsonl, one record a line. Stopped or killed, the same command goes on "
             "where "
             "it\n"
             "was; what is finished is left alone. At the end DIR/report.html shows what was "
             "found.\n");
    options_print(options);
    puts("\nexit status: 0 done, 3 stopped (run again to resume); others: riverrun help");
}

/* Can the output folder be written, or made? Asked before anything is, since the store, which lies in
 * it by default, would be the first to stumble. */
static enum err_code check_output(const char *output, struct err *err)
{
    char *at = strdup(output), *end;
    enum err_code code = ERR_OK;
    struct stat st;

    if (!at)
        return err_set(err, ERR_MEMORY, 0, "output folder");
    while (stat(at, &st) && errno == ENOENT && (end = strrchr(at, '/')) && end > at)
        *end = 0;
    if (stat(at, &st)) {
        if (errno != ENOENT)
            code = err_set(err, ERR_SINK, errno, "output folder '%s'", output);
    } else if (!S_ISDIR(st.st_mode)) {
        code =
            err_set(err, ERR_SINK, 0, "output folder: '%s' is not a folder; choose another -o", at);
    } else if (access(at, W_OK | X_OK)) {
        code = err_set(err, ERR_SINK, errno, "output folder: write in '%s'", at);
    }
    free(at);
    return code;
}

/* After the run: what the store says. */
static enum err_code print_final(const char *path, struct err *err)
{
    const struct store_options look = {.write = false};
    Riverrun__Reply *reply = show_reply();
    struct store *store = NULL;
    enum err_code code = store_open(&store, path, &look, err);

    if (!code)
        code = status_of_store(store, reply, err);
    if (!code)
        show_json(reply);
    store_close(&store);
    riverrun__reply__free_unpacked(reply, NULL);
    return code;
}

/* ---- The report ---- */

enum {
    REPORT_BYTES_DONE = 512 << 20,
    REPORT_BYTES_STOPPED = 32 << 20
}; /* 20 and 1.2 s of reading */

static int status_of_run;
static volatile sig_atomic_t page_is_made;

static void on_signal(int signal)
{
    static const char words[] = "riverrun: the report was not made: `riverrun report` makes it\n";
    ssize_t ignored = page_is_made ? 0 : write(STDERR_FILENO, words, sizeof words - 1);

    (void)ignored;
    (void)signal;
    _exit(status_of_run);
}

/* All is durable, so a further signal need not wait for a page that can be made at any time. The run took
 * these signals by a descriptor and left them blocked. */
static void exit_on_signals(enum err_code outcome)
{
    sigset_t set;

    status_of_run = err_status(outcome);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    catch_signals(on_signal, 0);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* A page that cannot be made is a warning: it is no output of the run's, and `riverrun report` makes it later. */
static void write_report(const struct settings *s, enum err_code outcome)
{
    struct report_options o = {.folder = s->output,
                               .most_bytes = outcome == ERR_STOPPED ? REPORT_BYTES_STOPPED
                                                                    : REPORT_BYTES_DONE};
    enum err_code code;
    struct stat st;
    struct err why;
    char *path;

    if (asprintf(&path, "%s/report.html", s->output) < 0)
        return;
    o.path = path;
    exit_on_signals(outcome);
    /* Nobody named a pipe or a device, so none is waited for. */
    code = !stat(path, &st) && !S_ISREG(st.st_mode)
               ? err_set(&why, ERR_SINK, 0, "'%s' is no file: move it away", path)
               : report_make(&o, NULL, &why);
    page_is_made = true;
    switch (code) {
    case ERR_OK:
        if (!s->quiet)
            fprintf(stderr, "riverrun: %s shows what was found\n", path);
        break;
    case ERR_ABSENT: /* nothing has come out */
        break;
    case ERR_LIMIT:
        if (!s->quiet)
            fprintf(stderr, "riverrun: %s: `riverrun report %s` makes a page of them\n", why.text,
                    s->output);
        break;
    default:
        fprintf(stderr, "riverrun: warning: no report: %s\n", why.text);
    }
    free(path);
}

static bool wants_report(const struct settings *s)
{
    return !s->follow && !s->no_report && s->sink != SINK_STDOUT;
}

static bool has_come_through(enum err_code outcome)
{
    return outcome == ERR_OK || outcome == ERR_STOPPED || outcome == ERR_SOME;
}

static enum err_code run_all(bool follow, char **arguments, size_t count, struct err *err)
{
    struct option options[SETTINGS_OPTIONS_MAX];
    const char *verb = follow ? "follow" : "read";
    struct settings s;
    bool help;
    enum err_code code;

    settings_begin(&s);
    settings_options(&s, verb, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (code)
        return code;
    if (help) {
        print_help(follow, options);
        return ERR_OK;
    }
    if (count == 0)
        return err_set(err, ERR_USAGE, 0, "%s needs something to read: riverrun %s PATH...", verb,
                       verb);
    if (s.json && s.sink == SINK_STDOUT)
        return err_set(err, ERR_USAGE, 0,
                       "--json and --sink stdout both write to standard output: ask `riverrun "
                       "status --json`");
    code = find_model(&s.model, err);
    if (!code)
        code = settings_end(&s, err);
    s.config.paths = (const char *const *)arguments;
    s.config.path_count = count;
    struct run_options run = {.config = &s.config, .ops = stages, .quiet = s.quiet};
    if (!code)
        code = check_output(s.output, err);
    if (!code) {
        struct err show;
        code = run_stages(&run, err);
        if (s.json && has_come_through(code) && print_final(s.config.store, &show))
            fprintf(stderr, "riverrun: %s\n", show.text);
        if (wants_report(&s) && has_come_through(code))
            write_report(&s, code);
    }
    settings_release(&s);
    return code;
}

enum err_code command_read(char **arguments, size_t count, struct err *err)
{
    return run_all(false, arguments, count, err);
}

enum err_code command_follow(char **arguments, size_t count, struct err *err)
{
    return run_all(true, arguments, count, err);
}
