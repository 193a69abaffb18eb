#include "stages/ingest/passed.h"

#include "stages/ingest/readers/look.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

enum { HEAD_BYTES = 8000 }; /* as git looks at */

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

bool passed_folder(struct passed *p, const char *path)
{
    static const char *const names[] = {".git",         ".hg",         ".svn", "CVS",
                                        "node_modules", "__pycache__", NULL};

    return is_one_of(last_part(path), names) && count(p, &p->folders, path);
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

static bool is_no_text(const char *path)
{
    uint8_t head[HEAD_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd >= 0 ? read(fd, head, sizeof head) : -1;
    struct view begin = {head, got > 0 ? (size_t)got : 0};
    size_t mark;

    if (fd >= 0)
        close(fd);
    return begin.bytes && look_at(begin, path) == LOOK_OTHER && memchr(head, 0, begin.bytes) &&
           !look_mark(begin, &mark) && !has_wide_characters(head, begin.bytes);
}

bool passed_file(struct passed *p, const struct config *config, const char *path)
{
    if (is_lock(last_part(path)))
        return count(p, &p->locks, path);
    if (!config->reader || config->encoding) /* they say what all files are */
        return false;
    return is_no_text(path) && count(p, &p->no_text, path);
}

uint64_t passed_all(const struct passed *p)
{
    return p->no_text + p->locks + p->folders;
}

const char *passed_words(const struct passed *p, char words[PASSED_WORDS_MAX])
{
    const struct {
        uint64_t count;
        const char *one, *many;
    } kinds[] = {{p->no_text, "file that is no text", "files that are no text"},
                 {p->locks, "lock file", "lock files"},
                 {p->folders, "folder of tools'", "folders of tools'"}};
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
