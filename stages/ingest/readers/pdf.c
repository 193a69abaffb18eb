/* pdftotext is a program and no library here: poppler's own interface for C brings GLib and cairo into every process of
 * ours, to do what this pipe does. It gets the file as its standard input, may write no file, as we may not, and dies
 * with us; its processor time is limited as ours is, from page to page. What is held in memory, as a file inside
 * an archive is, goes in as its text comes out. */
#include "stages/ingest/readers/pdf.h"

#include "stages/ingest/readers/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK_BYTES = 16 * 1024, SAID_BYTES = 2048, LINE_BYTES = 120, NOT_THERE = 127 };

struct program {
    pid_t process;
    int text, said;   /* ends of pipes: what it writes, what it complains of */
    int feed;         /* end of a pair of sockets: what it reads, or -1 where that is a file */
    struct view left; /* of what it reads */
};

/* ---- Pages ---- */

struct pages {
    struct out *out;
    uint64_t page; /* of what comes, from 1 */
    bool begun;    /* text of it came */
    uint64_t with_text;
};

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static enum err_code begin_page(struct pages *p, struct err *err)
{
    char name[40];
    struct msg_place place = {.heading = 0};

    snprintf(name, sizeof name, "page %" PRIu64, p->page);
    place.name = (struct view){(const uint8_t *)name, strlen(name)};
    p->begun = true;
    p->with_text++;
    return out_place(p->out, &place, err);
}

static enum err_code take(struct pages *p, const uint8_t *at, size_t bytes, struct err *err)
{
    const uint8_t *end = at + bytes;
    enum err_code code = ERR_OK;

    while (at < end && !code) {
        const uint8_t *feed = memchr(at, '\f', (size_t)(end - at)), *stop = feed ? feed : end;
        while (!p->begun && at < stop && is_blank(*at))
            at++;
        if (!p->begun && at < stop)
            code = begin_page(p, err);
        if (!code && at < stop)
            code = out_text(p->out, at, (size_t)(stop - at), err);
        at = stop;
        if (feed) {
            at++;
            p->page++;
            p->begun = false;
        }
    }
    return code;
}

enum err_code pdf_pages(const struct pull *text, struct out *out, uint64_t *pages, struct err *err)
{
    struct pages p = {.out = out, .page = 1};
    uint8_t data[CHUNK_BYTES];
    size_t got = 1;
    enum err_code code = ERR_OK;

    while (!code && got) {
        code = text->read(text->self, data, sizeof data, &got, err);
        if (!code)
            code = take(&p, data, got, err);
    }
    *pages = p.with_text;
    return code;
}

/* ---- The program ---- */

/* In the child. Nothing comes back from here. */
static void become(int file, const int text[2], const int said[2])
{
    char *words[] = {(char[]){"pdftotext"}, (char[]){"-enc"}, (char[]){"UTF-8"}, (char[]){"-eol"},
                     (char[]){"unix"},      (char[]){"-"},    (char[]){"-"},     NULL};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || dup2(file, STDIN_FILENO) < 0 ||
        dup2(text[1], STDOUT_FILENO) < 0 || dup2(said[1], STDERR_FILENO) < 0)
        _exit(NOT_THERE);
    execvp(words[0], words);
    _exit(NOT_THERE);
}

/* What is held goes in by a pair of sockets, as only those can be written to without a signal. *file: its end. */
static enum err_code start_feed(struct program *p, struct view pdf, int *file, struct err *err)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return err_set(err, ERR_SYSTEM, errno, "a socket for pdftotext");
    *file = ends[1];
    p->feed = ends[0];
    p->left = pdf;
    return ERR_OK;
}

static void end_feed(struct program *p)
{
    if (p->feed >= 0)
        close(p->feed);
    p->feed = -1;
}

/* As much as it takes, until there is text of it or it has all. */
static void feed(struct program *p)
{
    struct pollfd both[] = {{.fd = p->text, .events = POLLIN}, {.fd = p->feed, .events = POLLOUT}};

    while (p->feed >= 0 && !both[0].revents) {
        ssize_t done = 0;
        if (poll(both, 2, -1) > 0 && both[1].revents)
            done = send(p->feed, p->left.data, p->left.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN && errno != EINTR) /* it wants no more, and says why */
            done = (ssize_t)p->left.bytes;
        if (done > 0)
            p->left = (struct view){p->left.data + done, p->left.bytes - (size_t)done};
        if (!p->left.bytes)
            end_feed(p);
    }
}

/* Complaints go to a pipe that never blocks: what is too much is lost. */
static enum err_code start(struct program *p, int file, struct err *err)
{
    int text[2] = {-1, -1}, said[2] = {-1, -1};
    bool good = !pipe2(text, O_CLOEXEC) && !pipe2(said, O_CLOEXEC | O_NONBLOCK);

    p->process = good ? fork() : -1;
    if (p->process == 0)
        become(file, text, said);
    if (p->process < 0)
        err_set(err, ERR_SYSTEM, errno, "start pdftotext");
    p->text = text[0];
    p->said = said[0];
    for (int i = 0; i < 2; i++) {
        int end = i ? text[1] : said[1];
        if (end >= 0)
            close(end);
    }
    return p->process < 0 ? ERR_SYSTEM : ERR_OK;
}

static enum err_code read_program(void *self, uint8_t *data, size_t room, size_t *got,
                                  struct err *err)
{
    struct program *p = self;
    ssize_t count;

    feed(p);
    do
        count = read(p->text, data, room);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return err_set(err, ERR_SYSTEM, errno, "read of pdftotext");
    confine_let_on(p->process);
    *got = (size_t)count;
    return ERR_OK;
}

/* What it said, as much as was kept of it. */
static void take_said(const struct program *p, char said[SAID_BYTES])
{
    ssize_t got = p->said >= 0 ? read(p->said, said, SAID_BYTES - 1) : 0;

    said[got > 0 ? got : 0] = 0;
}

/* all: it has written all that it has, and ends by itself. */
static int wait_for(struct program *p, bool all)
{
    int status = 0;

    if (!all)
        kill(p->process, SIGKILL);
    while (waitpid(p->process, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int first_line(const char *said)
{
    size_t bytes = strcspn(said, "\n");

    return bytes < LINE_BYTES ? (int)bytes : LINE_BYTES;
}

/* How it ended. said: what it complained of first. */
static enum err_code judge(int status, uint64_t pages, const char *said, struct err *err)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return err_set(err, ERR_SOURCE, 0, "is a PDF that pdftotext took too long over");
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        return err_set(err, ERR_SOURCE, 0,
                       "is a PDF that pdftotext died of (signal %d): it is damaged or hostile",
                       WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE)
        return err_set(err, ERR_SOURCE, 0,
                       "is a PDF, and pdftotext, which reads those, is not there: install "
                       "poppler-utils");
    if (strstr(said, "ncorrect password"))
        return err_set(
            err, ERR_SOURCE, 0,
            "is a PDF that is locked by a password: unlock it, as with `qpdf --decrypt`");
    if (WIFEXITED(status) && WEXITSTATUS(status))
        return err_set(err, ERR_SOURCE, 0, "is a damaged PDF: pdftotext says \"%.*s\"",
                       first_line(said), said);
    if (!pages)
        return err_set(err, ERR_SOURCE, 0,
                       "is a PDF without text, as scanned pages are: `ocrmypdf` can add it");
    return ERR_OK;
}

/* file, or where it is -1 what is held. */
static enum err_code read_pdf(int file, struct view held, struct out *out, struct err *err)
{
    struct program p = {.process = -1, .text = -1, .said = -1, .feed = -1};
    int other = -1;
    struct pull text = {read_program, &p};
    char said[SAID_BYTES] = "", words[READER_WORDS_MAX];
    uint64_t pages = 0;
    enum err_code code = file < 0 ? start_feed(&p, held, &other, err) : ERR_OK;

    if (!code)
        code = start(&p, file < 0 ? other : file, err);
    if (other >= 0)
        close(other);

    if (!code)
        code = out_words(out, READER_NOTE, "PDF", err);
    if (!code)
        code = pdf_pages(&text, out, &pages, err);
    if (p.process > 0) {
        int status;
        end_feed(&p);
        status = wait_for(&p, !code);
        take_said(&p, said);
        if (!code)
            code = judge(status, pages, said, err);
    }
    if (!code && strstr(said, "Error")) {
        snprintf(words, sizeof words, "the PDF is damaged, some of it may be missing: %.*s",
                 first_line(said), said);
        code = out_words(out, READER_WARNING, words, err);
    }
    end_feed(&p);
    if (p.text >= 0)
        close(p.text);
    if (p.said >= 0)
        close(p.said);
    return code;
}

enum err_code pdf_read(int file, struct out *out, struct err *err)
{
    return read_pdf(file, (struct view){NULL, 0}, out, err);
}

enum err_code pdf_read_held(struct view pdf, struct out *out, struct err *err)
{
    return read_pdf(-1, pdf, out, err);
}
