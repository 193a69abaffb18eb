#include "stages/ingest/passed.h"

#include "stages/emit/sinks/claim.h"
#include "stages/ingest/readers/look.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 8000 }; /* as git looks at */

#define RECORDS ".jsonl"

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(name, *names))
            return true;
    return false;
}

/* Counted as one of those; always true. */
static bool count(struct passed *p, uint64_t *kind, const char *path)
{
    ++*kind;
    if (!p->first)
        p->first = strdup(path);
    return true;
}

/* Its lock is the first file of a store, and stays empty. */
static bool is_store(const char *folder, const char *inside)
{
    char path[PATH_MAX];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%sowner.lock", folder, inside) < PATH_MAX &&
           !lstat(path, &st) && S_ISREG(st.st_mode) && !st.st_size;
}

/* They are made before the first file of outputs. */
static bool has_sidecars(const char *folder)
{
    char path[PATH_MAX];
    struct stat st;

    return snprintf(path, sizeof path, "%s/.riverrun", folder) < PATH_MAX && !lstat(path, &st) &&
           S_ISDIR(st.st_mode);
}

bool passed_job(const char *path)
{
    return !strcmp(last_part(path), ".riverrun") || has_sidecars(path) || is_store(path, "") ||
           is_store(path, "state/");
}

/* Does name's sidecar say that it is a record file? One that is empty has none yet: nobody knows. */
static bool is_records(const char *folder, const char *name, const char *path)
{
    char *stream, *sidecar;
    struct stat st;
    bool is;

    if (!lstat(path, &st) && !st.st_size)
        return true;
    stream = strndup(name, strlen(name) - strlen(RECORDS));
    require(stream);
    sidecar = sidecar_path(folder, stream);
    is = !access(sidecar, F_OK);
    free(sidecar);
    free(stream);
    return is;
}

bool passed_output(const char *path)
{
    const char *name = last_part(path);
    size_t bytes = strlen(name), ending = strlen(RECORDS);
    bool ours = !strncmp(name, "report.html", 11) || !strncmp(name, "embeddings.npy", 14);
    bool records = bytes > ending && !strcmp(name + bytes - ending, RECORDS);
    char folder[PATH_MAX];

    if ((!ours && !records) || name == path ||
        snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path) >= PATH_MAX)
        return false;
    return has_sidecars(folder) && (ours || is_records(folder, name, path));
}

bool passed_folder(struct passed *p, const char *path)
{
    static const char *const names[] = {".git",         ".hg",         ".svn",       "CVS",
                                        "node_modules", "__pycache__", "lost+found", NULL};

    return (is_one_of(last_part(path), names) && count(p, &p->folders, path)) ||
           (passed_job(path) && count(p, &p->outputs, path));
}

bool passed_link(struct passed *p, const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode) && count(p, &p->links, path);
}

bool passed_special(struct passed *p, const char *path)
{
    struct stat st;

    if (stat(path, &st)) {
        bool nowhere = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
        return nowhere && !lstat(path, &st) && count(p, &p->nowhere, path);
    }
    return !S_ISREG(st.st_mode) && count(p, &p->special, path);
}

void passed_deep(struct passed *p, const char *path)
{
    count(p, &p->deep, path);
}

/* Written by programs for programs, often larger than all that people wrote beside it. */
static bool is_lock(const char *name)
{
    static const char *const names[] = {"package-lock.json",
                                        "npm-shrinkwrap.json",
                                        "yarn.lock",
                                        "pnpm-lock.yaml",
                                        "Cargo.lock",
                                        "poetry.lock",
                                        "uv.lock",
                                        "Pipfile.lock",
                                        "composer.lock",
                                        "Gemfile.lock",
                                        "flake.lock",
                                        "go.sum",
                                        NULL};

    return is_one_of(name, names);
}

/* Zeros as UTF-16 has them (every second byte, the same one) or UTF-32 (three of four). */
static bool has_wide_characters(const uint8_t *head, size_t bytes)
{
    size_t zeros[2] = {0, 0}, all;

    for (size_t i = 0; i < bytes; i++)
        zeros[i % 2] += head[i] == 0;
    all = zeros[0] + zeros[1];
    return (4 * all >= bytes && (!zeros[0] || !zeros[1])) ||
           (10 * all >= 7 * bytes && 10 * all <= 8 * bytes);
}

/* grows: a hole in front is no sign, since a log whose writer goes on behind its truncation begins so. */
static bool is_no_text(const char *path, bool grows)
{
    uint8_t head[HEAD_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd >= 0 ? read(fd, head, sizeof head) : -1;
    struct view begin = {head, got > 0 ? (size_t)got : 0};
    size_t mark;

    if (fd >= 0)
        close(fd);
    return begin.bytes && !(grows && !head[0]) && look_at(begin, path) == LOOK_OTHER &&
           memchr(head, 0, begin.bytes) && !look_mark(begin, &mark) &&
           !has_wide_characters(head, begin.bytes);
}

bool passed_file(struct passed *p, const struct config *config, const char *path)
{
    if (passed_output(path))
        return count(p, &p->outputs, path);
    if (is_lock(last_part(path)))
        return count(p, &p->locks, path);
    if (!config->reader || config->encoding) /* they say what all files are */
        return false;
    return is_no_text(path, config->follow) && count(p, &p->no_text, path);
}

uint64_t passed_all(const struct passed *p)
{
    return p->no_text + p->locks + p->folders + p->outputs + p->links + p->nowhere + p->special +
           p->deep;
}

const char *passed_words(const struct passed *p, char words[PASSED_WORDS_MAX])
{
    const struct {
        uint64_t count;
        const char *one, *many;
    } kinds[] = {{p->no_text, "file that is no text", "files that are no text"},
                 {p->locks, "lock file", "lock files"},
                 {p->folders, "folder of tools'", "folders of tools'"},
                 {p->outputs, "output of a job", "outputs of jobs"},
                 {p->links, "link to a folder", "links to folders"},
                 {p->nowhere, "link that leads nowhere", "links that lead nowhere"},
                 {p->special, "thing that is no file", "things that are no files"},
                 {p->deep, "path that is too long", "paths that are too long"}};
    size_t at = 0;

    words[0] = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].count)
            at += (size_t)snprintf(words + at, PASSED_WORDS_MAX - at, "%s%" PRIu64 " %s",
                                   at ? ", " : "", kinds[i].count,
                                   kinds[i].count == 1 ? kinds[i].one : kinds[i].many);
    if (at && p->first)
        snprintf(words + at, PASSED_WORDS_MAX - at, ", first '%.120s'", p->first);
    return words;
}

void passed_release(struct passed *p)
{
    free(p->first);
    *p = (struct passed){.first = NULL};
}
