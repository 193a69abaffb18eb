/* riverrun: the command line. */
#include "pipeline/commands/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    command_fn *run;
    const char *help; /* NULL: not listed */
} commands[] = {
    {"read", command_read, "read files through a model, or go on with what was begun"},
    {"follow", command_follow, "read what grows: logs that rotate, a pipe that never ends"},
    {"status", command_status, "how the streams of a job stand"},
    {"pause", command_pause, "pause streams of a job, running or not"},
    {"resume", command_resume, "let paused streams go on"},
    {"report", command_report, "what a job found, as a page to look at"},
    {"embeddings", command_embeddings, "the vectors of a job's units, as an array"},
    {"show", command_show, "a stream's text coloured by surprisal, its summary, its key passages"},
    {"history", command_history, "the checkpoints and savepoints of a stream"},
    {"savepoint", command_savepoint, "keep a point of a stream under a name, or drop one"},
    {"branch", command_branch, "begin a new stream at a point of another"},
    {"export", command_export, "a point of a stream as one file"},
    {"import", command_import, "a stream from such a file"},
    {"verify", command_verify, "is all that a job holds what it should be?"},
    {"gc", command_gc, "make a job's store small"},
    {"repair", command_repair, "make a whole store of what a damaged one still holds"},
    {"generate", command_generate, "write on from a text"},
    {"model", command_model, "what a model file holds, its logits; convert it"},
    {"train", command_train, "make a model from text"},
    {"adapt", command_adapt, "go on training a model on text of your own"},
    {"tokenize", command_tokenize, "the ids of a text"},
    {"vocab", command_vocab, "learn a vocabulary from text"},
    {"stage", command_stage, "one stage of the flow as a process of its own"},
    {"reader", command_reader, NULL}, /* what ingest starts; nobody else needs it */
    {"eval", command_eval, "bits per byte of files: state carried, reset, and by position"},
#ifdef RIVERRUN_STEPS
    {"steps", command_steps, "names the places to crash at (RIVERRUN_CRASH=name:n)"},
#endif
};

enum { COMMANDS = sizeof commands / sizeof *commands };

#define STATUS_LINE(name, status, words) {status, words},
static const struct {
    int status;
    const char *words;
} statuses[] = {ERR_LIST(STATUS_LINE)};

static void print_help(void)
{
    puts("riverrun reads text of any length through an RWKV language model, in constant memory, "
         "and\n"
         "can stop anywhere and go on later as if nothing had happened.\n"
         "\n"
         "    riverrun read BOOK.txt -o out\n");
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].help)
            printf("  %-10s %s\n", commands[i].name, commands[i].help);
    puts("\n`riverrun COMMAND --help` names the options of one. Exit statuses:\n");
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        printf("  %-3d %s\n", statuses[i].status, statuses[i].words);
}

static enum err_code run(const char *name, char **arguments, size_t count, struct err *err)
{
    size_t at = 0;

    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_help();
        return ERR_OK;
    }
    if (!strcmp(name, "--version")) {
        puts("riverrun " RIVERRUN_VERSION);
        return ERR_OK;
    }
    while (at < COMMANDS && strcmp(name, commands[at].name) != 0)
        at++;
    if (at < COMMANDS)
        return commands[at].run(arguments, count, err);
    return err_set(err, ERR_USAGE, 0, "%s%s%s `riverrun help` names the commands",
                   *name ? "no command '" : "what is to be done?", name, *name ? "':" : "");
}

/* A standard descriptor that is closed would become one of ours, a socket's or a signal's, and be read or written as
 * what it is not. What takes its place can be neither read (0) nor written (1, 2). */
static void hold_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
    struct err err = {.code = ERR_OK};
    size_t named = argc > 1;
    enum err_code code;

    hold_standard();
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a full disk, told by errno */
    code = run(named ? argv[1] : "", argv + 1 + named, (size_t)argc - 1 - named, &err);
    if (!code)
        code = answer_end(&err);
    if (code && err.text[0]) /* else it was said when it happened */
        fprintf(stderr, "riverrun: %s%s\n", err.text,
                code == ERR_FULL ? "; make room, then run the same command again" : "");
    return err_status(code);
}
