/* The process has a group of its own, so that a Ctrl-C at the terminal is ours to answer: we stop, and so does
 * it. Of our descriptors it gets the file and the pipe, of the environment what libraries need to be found. */
#include "stages/ingest/readers/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENVIRONMENT_MAX = 16, WORDS_MAX = 8 };

struct child {
    char *file;
    pid_t process; /* 0: none, or known to be gone */
    int pipe;
    uint8_t head[READER_HEAD_BYTES];
    size_t head_bytes;
    size_t left; /* of the frame's payload */
    bool noted, warned, over;
    size_t place_bytes, begun_bytes;
    uint8_t place[PLACE_BYTES_MAX],
        begun[PLACE_BYTES_MAX];       /* of the next text; of the text read last */
    char words[READER_WORDS_MAX + 1]; /* of the frame that comes */
    char note[READER_WORDS_MAX + 1], warning[READER_WORDS_MAX + 1];
};

/* posix_spawn takes words that it could change, and does not. */
static char program_word[] = "riverrun", command_word[] = "reader", encoding_word[] = "--encoding",
            field_word[] = "--field";
static char locale_word[] = "LC_ALL=C", threads_word[] = "OMP_NUM_THREADS=1";

static void choose_environment(char *kept[ENVIRONMENT_MAX])
{
    static const char *const names[] = {
        "PATH=",          "LD_LIBRARY_PATH=", "ASAN_OPTIONS=",     "TSAN_OPTIONS=",
        "UBSAN_OPTIONS=", "LSAN_OPTIONS=",    "LLVM_PROFILE_FILE="};
    size_t count = 0;

    kept[count++] = locale_word;
    kept[count++] = threads_word;
    for (char **at = environ; *at; at++)
        for (size_t i = 0; i < sizeof names / sizeof *names && count + 1 < ENVIRONMENT_MAX; i++)
            if (!strncmp(*at, names[i], strlen(names[i])))
                kept[count++] = *at;
    kept[count] = NULL;
}

static void choose_words(char *words[WORDS_MAX], const struct child_options *o)
{
    size_t count = 0;

    words[count++] = program_word;
    words[count++] = command_word;
    words[count++] = (char *)(uintptr_t)o->file;
    if (o->encoding) {
        words[count++] = encoding_word;
        words[count++] = (char *)(uintptr_t)o->encoding;
    }
    if (o->field) {
        words[count++] = field_word;
        words[count++] = (char *)(uintptr_t)o->field;
    }
    words[count] = NULL;
}

/* The errno of what failed, or 0. */
static int spawn(pid_t *process, const struct child_options *o, int pipe_end)
{
    char *environment[ENVIRONMENT_MAX];
    char *words[WORDS_MAX];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    int rc;

    choose_words(words, o);
    choose_environment(environment);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    rc = posix_spawnattr_setsigmask(&how, &none);
    rc = rc ? rc : posix_spawnattr_setsigdefault(&how, &all);
    rc = rc ? rc : posix_spawnattr_setpgroup(&how, 0);
    rc = rc ? rc
            : posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                 POSIX_SPAWN_SETPGROUP);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, o->fd, STDIN_FILENO);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, pipe_end, STDOUT_FILENO);
    rc =
        rc ? rc : posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    rc = rc ? rc : posix_spawn(process, o->program, &files, &how, words, environment);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

enum err_code child_start(struct child **out, const struct child_options *options, struct err *err)
{
    struct child *c = calloc(1, sizeof *c);
    int ends[2] = {-1, -1}, rc;

    if (!c || !(c->file = strdup(options->file))) {
        free(c);
        return err_set(err, ERR_MEMORY, 0, "a reader of '%s'", options->file);
    }
    c->pipe = -1;
    /* Neither end may be what becomes the child's 0 to 2, which all are taken here. */
    rc = pipe2(ends, O_CLOEXEC) ? errno : spawn(&c->process, options, ends[1]);
    c->pipe = ends[0];
    if (ends[1] >= 0)
        close(ends[1]);
    if (rc) {
        c->process = 0;
        child_stop(&c);
        return err_set(err, ERR_SYSTEM, rc, "start a reader of '%s'", options->file);
    }
    if (fcntl(c->pipe, F_SETFL, O_NONBLOCK)) {
        child_stop(&c);
        return err_set(err, ERR_SYSTEM, errno, "the pipe of a reader");
    }
    *out = c;
    return ERR_OK;
}

/* The process is gone, or has closed its pipe and is killed for it. How did it end? */
static enum err_code tell_death(struct child *c, struct err *err)
{
    int status = 0, signal_of;

    kill(c->process, SIGKILL);
    while (waitpid(c->process, &status, 0) < 0 && errno == EINTR)
        ;
    c->process = 0;
    signal_of = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal_of == SIGXCPU)
        return err_set(err, ERR_SOURCE, 0,
                       "input '%s': its reader took too long over one place, and was ended",
                       c->file);
    if (signal_of)
        return err_set(
            err, ERR_SOURCE, 0,
            "input '%s': its reader died of signal %d (%s): the file is damaged or hostile",
            c->file, signal_of, strsignal(signal_of));
    return err_set(err, ERR_SOURCE, 0, "input '%s': its reader ended with status %d and no word",
                   c->file, WEXITSTATUS(status));
}

/* What is in the pipe now; *got = 0 where nothing is. Fails: as tell_death, at the pipe's end. */
static enum err_code take(struct child *c, uint8_t *data, size_t room, size_t *got, struct err *err)
{
    ssize_t count = read(c->pipe, data, room);

    *got = 0;
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return ERR_OK;
    if (count <= 0)
        return tell_death(c, err);
    *got = (size_t)count;
    return ERR_OK;
}

/* A hostile reader's words, fit for a terminal. */
static void clean(char *words)
{
    for (; *words; words++)
        if ((unsigned char)*words < 0x20 || (unsigned char)*words >= 0x7F)
            *words = '?';
}

static enum err_code broken(const struct child *c, struct err *err)
{
    return err_set(err, ERR_SOURCE, 0, "input '%s': its reader sent what is no frame", c->file);
}

/* A frame's head is there. */
static enum err_code begin_frame(struct child *c, struct err *err)
{
    uint8_t kind = c->head[0];
    size_t bytes = load_u32(c->head + 1);
    bool words = kind == READER_NOTE || kind == READER_WARNING || kind == READER_FAULT;

    if (kind < READER_NOTE || kind > READER_PLACE || (words && bytes > READER_WORDS_MAX) ||
        bytes > READER_TEXT_MAX || (kind == READER_TEXT && !c->noted) ||
        (kind == READER_PLACE && (bytes < 1 || bytes > PLACE_BYTES_MAX || !c->noted)) ||
        (kind == READER_NOTE && c->noted) || (kind == READER_END && (bytes || !c->noted)))
        return broken(c, err);
    c->left = bytes;
    memset(c->words, 0, sizeof c->words);
    return ERR_OK;
}

/* Another place before the next text: both hold. */
static enum err_code add_place(struct child *c, struct err *err)
{
    struct view more = {(const uint8_t *)c->words, load_u32(c->head + 1)};
    struct msg_place place;

    if (msg_place_read(&place, more, NULL))
        return broken(c, err);
    c->place_bytes = msg_place_join(c->place, (struct view){c->place, c->place_bytes}, more);
    return ERR_OK;
}

/* All words of a frame are there. */
static enum err_code end_words(struct child *c, struct err *err)
{
    c->head_bytes = 0;
    if (c->head[0] == READER_PLACE)
        return add_place(c, err);
    clean(c->words);
    switch (c->head[0]) {
    case READER_NOTE:
        memcpy(c->note, c->words, sizeof c->note);
        c->noted = true;
        return ERR_OK;
    case READER_WARNING:
        memcpy(c->warning, c->words, sizeof c->warning);
        c->warned = true;
        return ERR_OK;
    case READER_FAULT:
        return err_set(err, ERR_SOURCE, 0, "input '%s': %s", c->file, c->words);
    default:
        c->over = true;
        return ERR_OK;
    }
}

static enum err_code take_head(struct child *c, bool *ran, struct err *err)
{
    size_t got;
    enum err_code code =
        take(c, c->head + c->head_bytes, sizeof c->head - c->head_bytes, &got, err);

    if (code)
        return code;
    c->head_bytes += got;
    *ran = got > 0;
    return c->head_bytes == sizeof c->head ? begin_frame(c, err) : ERR_OK;
}

static enum err_code take_words(struct child *c, bool *ran, struct err *err)
{
    size_t there = load_u32(c->head + 1) - c->left, got = 0;
    enum err_code code = ERR_OK;

    if (c->left)
        code = take(c, (uint8_t *)c->words + there, c->left, &got, err);
    if (code)
        return code;
    if (c->head[0] != READER_PLACE && memchr(c->words + there, 0, got))
        return broken(c, err);
    c->left -= got;
    *ran = got > 0 || !c->left;
    return c->left ? ERR_OK : end_words(c, err);
}

/* Text came: what was said before it begins with it. */
static void begin_place(struct child *c)
{
    memcpy(c->begun, c->place, c->place_bytes);
    c->begun_bytes = c->place_bytes;
    c->place_bytes = 0;
}

enum err_code child_read(struct child *c, uint8_t *data, size_t room, size_t *got, bool *end,
                         bool *ran, struct err *err)
{
    enum err_code code = ERR_OK;

    *got = 0;
    *ran = false;
    c->begun_bytes = 0;
    if (!c->over && c->head_bytes < sizeof c->head)
        code = take_head(c, ran, err);
    if (code || c->over || c->head_bytes < sizeof c->head) {
        *end = c->over;
        return code;
    }
    if (c->head[0] != READER_TEXT) {
        code = take_words(c, ran, err);
    } else if (room) {
        code = take(c, data, room < c->left ? room : c->left, got, err);
        c->left -= *got;
        *ran = *got > 0;
        if (*got)
            begin_place(c);
    }
    if (!code && c->head_bytes && c->head[0] == READER_TEXT && !c->left)
        c->head_bytes = 0;
    *end = c->over;
    return code;
}

struct view child_place(const struct child *c)
{
    return (struct view){c->begun, c->begun_bytes};
}

const char *child_note(const struct child *c)
{
    return c->noted ? c->note : NULL;
}

const char *child_warning(struct child *c)
{
    bool warned = c->warned;

    c->warned = false;
    return warned ? c->warning : NULL;
}

int child_descriptor(const struct child *c)
{
    return c->pipe;
}

void child_stop(struct child **c)
{
    struct child *gone = *c;

    if (!gone)
        return;
    if (gone->process) {
        kill(gone->process, SIGKILL);
        while (waitpid(gone->process, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (gone->pipe >= 0)
        close(gone->pipe);
    free(gone->file);
    free(gone);
    *c = NULL;
}
