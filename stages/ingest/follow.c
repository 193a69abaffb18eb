/* The feeder of a run that follows: which files there are, and which of them something happened to.
 *
 * A path that is named is an input from the start, whether it is there or not. Of a folder (and those
 * in it) and of a pattern (`*`, `?`, `[...]` in any part of a path) the files that there are, and those
 * that come, but for what jobs write, this one too, and of folders what `read` passes over in them. A name that
 * rotation made of another one that is followed is left to that one. Inotify says what happens in the folders
 * that matter; of a folder that is not there yet, its nearest one above is watched. When a folder comes or goes, or
 * events were lost, all is looked at again. */
#include "stages/ingest/follow.h"
#include "stages/ingest/passed.h"
#include "stages/ingest/paths.h"
#include "stages/ingest/rotated.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    EVENTS_MOST = 4096, /* of one call of work */
    LINKS_MOST = 40
};

/* What was asked for. */
struct wanted {
    enum { WANTED_FILE, WANTED_FOLDER, WANTED_PATTERN } kind;
    char *path;   /* canonical as far as it is there and has no wildcards */
    size_t plain; /* of a pattern: the bytes before its first part with wildcards */
};

struct entry {
    struct followed *file;
    struct entry *same_hash;
};

struct feeder {
    struct follow follow;
    struct wanted *wanted;
    size_t wanted_count;
    struct table files;    /* struct entry, by the hash of the path */
    struct followed **all; /* (count), to wake */
    size_t count, room;
    char output[PATH_MAX], store[PATH_MAX]; /* canonical, whether there yet or not: not read */
    struct passed passed;                   /* in folders, when all was looked at first */
    bool again;                             /* look at everything again */
    struct table told; /* by the hash of what was said of folders that may not be looked at */
    bool found;        /* a file of what is being looked at: cleared by who asks */
};

/* ---- Files ---- */

static uint64_t path_key(const char *path)
{
    return XXH3_64bits(path, strlen(path)) | 1;
}

static struct followed *find(const struct feeder *g, const char *path)
{
    struct entry *e = table_get(&g->files, path_key(path));

    while (e && strcmp(followed_path(e->file), path))
        e = e->same_hash;
    return e ? e->file : NULL;
}

static enum err_code remember(struct feeder *g, const char *path, struct followed *file,
                              struct err *err)
{
    struct entry *e = calloc(1, sizeof *e);
    enum err_code code;

    if (g->count == g->room) {
        size_t room = g->room ? 2 * g->room : 16;
        struct followed **all = realloc(g->all, room * sizeof(struct followed *));
        if (!all) {
            free(e);
            return err_set(err, ERR_MEMORY, 0, "list of inputs");
        }
        g->all = all;
        g->room = room;
    }
    if (!e)
        return err_set(err, ERR_MEMORY, 0, "list of inputs");
    e->file = file;
    e->same_hash = table_get(&g->files, path_key(path));
    code = table_set(&g->files, path_key(path), e, err);
    if (code) {
        free(e);
        return code;
    }
    g->all[g->count++] = file;
    return ERR_OK;
}

/* Watch the folder at path, or the nearest above it that there is. */
static enum err_code watch_nearest(struct feeder *g, const char *path, struct err *err)
{
    char at[PATH_MAX];
    enum err_code code;

    snprintf(at, sizeof at, "%s", *path ? path : "/");
    while ((code = watch_folder(g->follow.watch, at, err)) == ERR_ABSENT && strcmp(at, "/")) {
        char *slash = strrchr(at, '/');
        slash[slash == at] = 0;
    }
    return code == ERR_ABSENT ? ERR_OK : code;
}

/* One that may not be looked at is passed over, in words. */
static enum err_code told(struct feeder *g, enum err_code code, struct err *err)
{
    if (code != ERR_SOURCE)
        return code;
    if (!table_get(&g->told, path_key(err->text)))
        stage_report(ingest_env(g->follow.ingest), STAGE_WARNING, NULL, "%s", err->text);
    return table_set(&g->told, path_key(err->text), g, err);
}

static enum err_code watch_parent(struct feeder *g, const char *path, struct err *err)
{
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    return watch_nearest(g, folder, err);
}

/* Its folder is watched before it is read for the first time. */
static enum err_code add_watched(struct feeder *g, const char *path, const char *name,
                                 const struct stat *is, struct err *err)
{
    char *made = name ? strdup(name) : path_name(path);
    struct followed *file = NULL;
    struct input *in;
    enum err_code code = made ? ERR_OK : err_set(err, ERR_MEMORY, 0, "input '%s'", path);

    if (!code)
        code = followed_make(&file, &g->follow, path, made, err);
    if (!code) {
        code = ingest_add(g->follow.ingest, &followed_kind, file, made, path, &in, err);
        if (code) {
            followed_kind.free(file);
        } else {
            followed_bind(file, in);
            if (is)
                input_written(in, (uint64_t)is->st_mtim.tv_sec * 1000000000 +
                                      (uint64_t)is->st_mtim.tv_nsec);
            code = remember(g, path, file, err);
        }
    }
    free(made);
    return code;
}

static enum err_code add_file(struct feeder *g, const char *path, const char *name,
                              const struct stat *is, struct err *err)
{
    enum err_code code = watch_parent(g, path, err);

    return code ? code : add_watched(g, path, name, is, err);
}

/* ---- What matches ---- */

static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return length && !strncmp(path, folder, length) &&
           (path[length] == '/' || path[length] == 0 || folder[length - 1] == '/');
}

/* Of a folder below what is wanted. */
static bool is_own(const struct feeder *g, const char *folder)
{
    return !strcmp(folder, g->output) || !strcmp(folder, g->store);
}

/* Does path, wanted by its first bytes and what is below them, lie in a folder that is passed over? */
static bool left_out(const struct feeder *g, const struct wanted *w, const char *path)
{
    size_t above = w->kind == WANTED_PATTERN ? w->plain : strlen(w->path) + 1;
    struct passed none = {.first = NULL};
    bool out = is_below(path, g->store);

    for (const char *at = above < strlen(path) ? strchr(path + above, '/') : NULL; at && !out;
         at = strchr(at + 1, '/')) {
        char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "%.*s", (int)(at - path), path);
        out = is_own(g, folder) ||
              (w->kind == WANTED_PATTERN ? passed_job(folder) : passed_folder(&none, folder));
    }
    passed_release(&none);
    return out;
}

/* Is the file, wanted as one of many, passed over? Who gives a pattern means what is no text as well. What a former
 * run followed is followed, whatever it begins with by now; so it is asked for first: to look into ten thousand files
 * takes longer than all else at a start. */
static bool is_passed(const struct feeder *g, const struct wanted *w, const char *path,
                      struct passed *passed)
{
    if (w->kind == WANTED_FOLDER)
        return !followed_before(&g->follow, path) && passed_file(passed, g->follow.config, path);
    return w->kind == WANTED_PATTERN && passed_output(path);
}

static bool fits_pattern(const struct wanted *w, const char *path)
{
    return !strncmp(w->path, path, w->plain) &&
           !fnmatch(w->path + w->plain, path + w->plain, FNM_PATHNAME | FNM_PERIOD);
}

/* As what is the file at path wanted? NULL: it is not. */
static const struct wanted *matches(const struct feeder *g, const char *path)
{
    const struct wanted *found = NULL;
    struct passed none = {.first = NULL};

    for (size_t i = 0; i < g->wanted_count && !found; i++) {
        const struct wanted *w = &g->wanted[i];
        bool fits = w->kind == WANTED_FILE     ? !strcmp(path, w->path)
                    : w->kind == WANTED_FOLDER ? is_below(path, w->path)
                                               : fits_pattern(w, path);
        if (fits &&
            (w->kind == WANTED_FILE || (!left_out(g, w, path) && !is_passed(g, w, path, &none))))
            found = w;
    }
    passed_release(&none);
    return found;
}

struct beside {
    const struct feeder *feeder;
    const char *folder;
    char path[PATH_MAX]; /* what was asked for last */
};

/* It may be away, between a rotation's rename and the next file: then a former run tells. */
static bool is_followed(void *self, const char *base)
{
    struct beside *b = self;
    struct stat st;

    return snprintf(b->path, sizeof b->path, "%s/%s", b->folder, base) < PATH_MAX &&
           (find(b->feeder, b->path) ||
            (matches(b->feeder, b->path) &&
             (stat(b->path, &st) ? followed_before(&b->feeder->follow, b->path)
                                 : S_ISREG(st.st_mode))));
}

/* Is the file at path, canonical, to be a stream of its own? Not if it is one, or rotation made it of another. Of one
 * that a former run followed and that is away path becomes the name: what it has left to read stands beside it. */
static bool is_new(const struct feeder *g, char path[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    struct beside beside = {g, folder, ""};

    if (find(g, path))
        return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (!rotated_base(slash + 1, is_followed, &beside))
        return true;
    snprintf(path, PATH_MAX, "%s", beside.path);
    return !find(g, path) && access(path, F_OK);
}

/* A file that a folder or a pattern has. */
static enum err_code add_match(struct feeder *g, const struct wanted *w, const char *path,
                               struct err *err)
{
    char real[PATH_MAX];
    struct stat st;

    if (stat(path, &st) || !S_ISREG(st.st_mode) || !realpath(path, real))
        return ERR_OK;
    if (!find(g, real) && is_passed(g, w, real, &g->passed))
        return ERR_OK;
    g->found = true;
    return is_new(g, real) ? add_file(g, real, NULL, &st, err) : ERR_OK;
}

static bool child_of(char out[PATH_MAX], const char *folder, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", strcmp(folder, "/") ? folder : "", name) < PATH_MAX;
}

typedef enum err_code entry_fn(struct feeder *g, const char *path, const char *name,
                               const void *more, struct err *err);

/* Call each for the entries of folder, in the order of their names. One that went is passed over. */
static enum err_code each_entry(struct feeder *g, const char *folder, entry_fn *each,
                                const void *more, struct err *err)
{
    struct dirent **entries = NULL;
    enum err_code code = told(g, watch_nearest(g, folder, err), err);
    int count = code ? 0 : scandir(folder, &entries, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        const char *name = entries[i]->d_name;
        if (!code && strcmp(name, ".") && strcmp(name, "..") && child_of(path, folder, name))
            code = each(g, path, name, more, err);
        free(entries[i]);
    }
    free(entries);
    return code;
}

/* Of a folder that is watched, its path canonical. As `read` does: links to folders are not followed. */
static enum err_code expand_folder(struct feeder *g, const char *path, const char *name,
                                   const void *more, struct err *err)
{
    const struct wanted *w = more;
    char real[PATH_MAX];
    struct stat st;

    (void)name;
    if (lstat(path, &st) || is_below(path, g->store))
        return ERR_OK;
    if (S_ISDIR(st.st_mode))
        return is_own(g, path) || passed_folder(&g->passed, path)
                   ? ERR_OK
                   : each_entry(g, path, expand_folder, w, err);
    if (S_ISLNK(st.st_mode) && passed_link(&g->passed, path))
        return ERR_OK;
    if (!S_ISREG(st.st_mode))
        return add_match(g, w, path, err);
    if (find(g, path) || !is_passed(g, w, path, &g->passed))
        g->found = true;
    else
        return ERR_OK;
    snprintf(real, sizeof real, "%s", path);
    return is_new(g, real) ? add_watched(g, real, NULL, &st, err) : ERR_OK;
}

/* What is left of a pattern. */
struct part {
    const struct wanted *wanted;
    const char *pattern;
};

/* Descend where name matches the first part of more. */
static enum err_code expand_part(struct feeder *g, const char *path, const char *name,
                                 const void *more, struct err *err)
{
    const struct part *of = more;
    const char *pattern = of->pattern, *rest = strchr(pattern, '/');
    char part[PATH_MAX];
    struct stat st;

    snprintf(part, sizeof part, "%.*s", (int)(rest ? (size_t)(rest - pattern) : strlen(pattern)),
             pattern);
    if (fnmatch(part, name, FNM_PERIOD) || stat(path, &st))
        return ERR_OK;
    while (rest && *rest == '/')
        rest++;
    if (!rest || !*rest)
        return S_ISDIR(st.st_mode) ? ERR_OK : add_match(g, of->wanted, path, err);
    if (!S_ISDIR(st.st_mode) || is_own(g, path) || passed_job(path))
        return ERR_OK;
    return each_entry(g, path, expand_part, &(struct part){of->wanted, rest}, err);
}

/* A wrong path waits for ever: who gave it is to know that. */
static void tell_absent(const struct feeder *g, const struct wanted *w)
{
    stage_report(ingest_env(g->follow.ingest), STAGE_NOTE, NULL,
                 "there is no %s'%s' yet: waiting for one",
                 w->kind == WANTED_FOLDER ? "file in " : "", w->path);
}

static enum err_code expand_all(struct feeder *g, bool first, struct err *err)
{
    enum err_code code = ERR_OK;

    for (size_t i = 0; i < g->count && !code; i++)
        code = told(g, watch_parent(g, followed_path(g->all[i]), err), err);
    for (size_t i = 0; i < g->wanted_count && !code; i++) {
        const struct wanted *w = &g->wanted[i];
        char plain[PATH_MAX];
        snprintf(plain, sizeof plain, "%.*s", (int)(w->plain > 1 ? w->plain - 1 : 1), w->path);
        g->found = w->kind == WANTED_FILE && access(w->path, F_OK) == 0;
        if (w->kind == WANTED_FOLDER)
            code = each_entry(g, w->path, expand_folder, w, err);
        if (w->kind == WANTED_PATTERN)
            code = each_entry(g, plain, expand_part, &(struct part){w, w->path + w->plain}, err);
        if (!code && first && !g->found)
            tell_absent(g, w);
    }
    return code;
}

static enum err_code expand_first(struct feeder *g, struct err *err)
{
    char words[PASSED_WORDS_MAX];
    enum err_code code = expand_all(g, true, err);

    if (!code && passed_all(&g->passed))
        stage_report(ingest_env(g->follow.ingest), STAGE_NOTE, NULL, "passed over in folders: %s",
                     passed_words(&g->passed, words));
    return code;
}

/* ---- What is asked for ---- */

/* Where path leads, if it is a link to what is not there yet: else path. */
static bool link_target(const char *path, char out[PATH_MAX])
{
    char target[PATH_MAX];

    if (strlen(path) >= PATH_MAX)
        return false;
    strcpy(out, path);
    for (int links = 0; links < LINKS_MOST; links++) {
        ssize_t bytes = access(out, F_OK) ? readlink(out, target, sizeof target) : -1;
        const char *slash = strrchr(out, '/');
        size_t keep = bytes > 0 && *target != '/' && slash ? (size_t)(slash - out) + 1 : 0;
        if (bytes <= 0)
            return true;
        if (keep + (size_t)bytes >= PATH_MAX)
            return false;
        memcpy(out + keep, target, (size_t)bytes);
        out[keep + (size_t)bytes] = 0;
    }
    errno = ELOOP;
    return false;
}

/* The canonical form of as much of path as there is, and the rest as it is. */
static bool canonical(const char *given, char out[PATH_MAX])
{
    char begin[PATH_MAX], real[PATH_MAX], path[PATH_MAX];
    size_t cut;

    if (!link_target(given, path))
        return false;
    cut = strlen(path);
    for (;;) {
        const char *rest = path + cut;
        memcpy(begin, path, cut);
        begin[cut] = 0;
        if (realpath(cut ? begin : ".", real)) {
            while (*rest == '/')
                rest++;
            return *rest ? child_of(out, real, rest) : snprintf(out, PATH_MAX, "%s", real) >= 0;
        }
        if (cut == 0)
            return false;
        while (cut > 0 && path[cut - 1] != '/')
            cut--;
        while (cut > 1 && path[cut - 1] == '/')
            cut--;
    }
}

static void own_folder(const char *path, char out[PATH_MAX])
{
    size_t length = path && canonical(path, out) ? strlen(out) : 0;

    while (length > 1 && out[length - 1] == '/')
        length--;
    out[length] = 0;
}

/* Would the run read what it writes? */
static bool is_own_output(const struct feeder *g, const char *path)
{
    size_t length = strlen(g->output);

    return is_below(path, g->store) || (is_below(path, g->output) && path[length] == '/' &&
                                        !strchr(path + length + 1, '/') && passed_output(path));
}

static enum err_code make_wanted(const char *path, struct wanted *out, struct err *err)
{
    const char *wild = path + strcspn(path, "*?[");
    char real[PATH_MAX], begin[PATH_MAX];
    struct stat st;

    if (!*path)
        return err_set(err, ERR_SOURCE, ENOENT, "input ''");
    if (stat(path, &st) && *wild) {
        size_t cut = (size_t)(wild - path);
        while (cut > 0 && path[cut - 1] != '/')
            cut--;
        snprintf(begin, sizeof begin, "%.*s", (int)cut, path);
        if (strlen(path) >= PATH_MAX || !canonical(cut ? begin : ".", real))
            return err_set(err, ERR_SOURCE, errno, "input '%s'", path);
        out->kind = WANTED_PATTERN;
        if (asprintf(&out->path, "%s/%s", strcmp(real, "/") ? real : "", path + cut) < 0)
            return err_set(err, ERR_MEMORY, 0, "input '%s'", path);
        out->plain = (strcmp(real, "/") ? strlen(real) : 0) + 1;
        return ERR_OK;
    }
    if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_SOURCE, 0,
                       "input '%s' is no file: follow standard input (-) and give it that", path);
    if (!canonical(path, real))
        return err_set(err, ERR_SOURCE, errno, "input '%s'", path);
    out->kind = !stat(path, &st) && S_ISDIR(st.st_mode) ? WANTED_FOLDER : WANTED_FILE;
    out->path = strdup(real);
    return out->path ? ERR_OK : err_set(err, ERR_MEMORY, 0, "input '%s'", path);
}

static enum err_code take_paths(struct feeder *g, struct err *err)
{
    const struct config *config = g->follow.config;
    enum err_code code = ERR_OK;

    g->wanted = calloc(config->path_count + 1, sizeof *g->wanted);
    if (!g->wanted)
        return err_set(err, ERR_MEMORY, 0, "list of inputs");
    for (size_t i = 0; i < config->path_count && !code; i++) {
        struct wanted *w = &g->wanted[g->wanted_count];
        if (!strcmp(config->paths[i], "-"))
            continue; /* another feeder's */
        code = make_wanted(config->paths[i], w, err);
        g->wanted_count += !code;
        if (!code && config->name && w->kind != WANTED_FILE)
            code = err_set(err, ERR_USAGE, 0, "--name is for a single input; '%s' may be many",
                           config->paths[i]);
    }
    for (size_t i = 0; i < g->wanted_count && !code; i++) {
        const char *path = g->wanted[i].path;
        require(path);
        if (g->wanted[i].kind != WANTED_FILE || find(g, path))
            continue;
        if (is_own_output(g, path))
            code = err_set(err, ERR_USAGE, 0,
                           "input '%s' is an output of this job: leave it out, or give another -o",
                           path);
        else if (!config->name || !path_not_output(config, path, config->name, err))
            code = add_file(g, path, config->name, NULL, err);
        else
            code = err->code;
    }
    return code ? code : expand_first(g, err);
}

/* ---- The feeder ---- */

/* Each followed file holds a descriptor. What is left over is for segments that are over. */
static size_t raise_limit(void)
{
    struct rlimit limit = {.rlim_cur = 1024};

    if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* where it is refused, opening will say so */
    }
    return (size_t)limit.rlim_cur / 4 * 3;
}

static void follow_close(void **self)
{
    struct feeder *g = *self;
    struct entry *e;
    size_t at = 0;

    if (!g)
        return;
    while ((e = table_next(&g->files, &at)))
        while (e) {
            struct entry *same = e->same_hash;
            free(e);
            e = same;
        }
    table_release(&g->files);
    table_release(&g->told);
    for (size_t i = 0; i < g->wanted_count; i++)
        free(g->wanted[i].path);
    free(g->wanted);
    free(g->all);
    passed_release(&g->passed);
    watch_close(&g->follow.watch);
    free(g->follow.scratch);
    free(g);
    *self = NULL;
}

static bool is_input(void *self, const char *path)
{
    return find(self, path);
}

static enum err_code follow_open(void **self, struct ingest *ingest, struct err *err)
{
    const struct config *config = ingest_env(ingest)->config;
    struct feeder *g = calloc(1, sizeof *g);
    enum err_code code;

    if (!g)
        return err_set(err, ERR_MEMORY, 0, "ingest");
    *self = g; /* its inputs, and they are ingest's, lean on it */
    require(ingest_journal(ingest));
    g->follow.open_most = raise_limit();
    g->follow.is_input = is_input;
    g->follow.inputs = g;
    g->follow.ingest = ingest;
    g->follow.config = config;
    own_folder(config->output, g->output);
    own_folder(config->store, g->store);
    g->follow.scratch = malloc(FOLLOW_SCRATCH_BYTES(config->read_bytes));
    if (!g->follow.scratch)
        return err_set(err, ERR_MEMORY, 0, "ingest's buffer");
    code = watch_open(&g->follow.watch, err);
    return code ? code : path_list_check_name(config, err) ? err->code : take_paths(g, err);
}

static void wake_all(struct feeder *g)
{
    for (size_t i = 0; i < g->count; i++)
        followed_wake(g->all[i]);
}

static bool wake_base(void *self, const char *base)
{
    const struct beside *b = self;
    char path[PATH_MAX];
    struct followed *file = child_of(path, b->folder, base) ? find(b->feeder, path) : NULL;

    if (file)
        followed_wake(file);
    return file;
}

static enum err_code happened(struct feeder *g, const struct watch_event *event, struct err *err)
{
    struct beside beside = {g, NULL, ""};
    const struct wanted *wanted;
    char path[PATH_MAX];
    struct followed *file;

    if (event->what & (WATCH_OVERFLOW | WATCH_FOLDER))
        g->again = true;
    if (event->owner)
        followed_wake(event->owner);
    if (!event->folder || !*event->name || !child_of(path, event->folder, event->name))
        return ERR_OK;
    file = find(g, path);
    beside.folder = event->folder;
    if (file)
        followed_wake(file);
    else if (rotated_base(event->name, wake_base, &beside))
        return ERR_OK; /* what it waits for may be there now */
    else if ((event->what & (WATCH_CAME | WATCH_CHANGED)) && (wanted = matches(g, path)))
        return add_match(g, wanted, path, err);
    return ERR_OK;
}

static enum err_code follow_work(void *self, bool *ran, struct err *err)
{
    struct feeder *g = self;
    struct watch_event event;
    enum err_code code = ERR_OK;

    for (int i = 0; i < EVENTS_MOST && !code && watch_next(g->follow.watch, &event); i++) {
        code = happened(g, &event, err);
        *ran = true;
    }
    if (!code && g->again) {
        g->again = false;
        code = expand_all(g, false, err);
        wake_all(g);
    }
    return code;
}

static size_t follow_descriptors(void *self, int *fds, size_t room)
{
    const struct feeder *g = self;

    if (room)
        fds[0] = watch_descriptor(g->follow.watch);
    return room > 0;
}

static bool follow_is_complete(void *self)
{
    const struct feeder *g = self;

    for (size_t i = 0; i < g->wanted_count; i++)
        if (g->wanted[i].kind != WANTED_FILE)
            return false;
    return true;
}

const struct feeder_kind follow_feeder = {
    .open = follow_open,
    .work = follow_work,
    .descriptors = follow_descriptors,
    .is_complete = follow_is_complete,
    .close = follow_close,
};
