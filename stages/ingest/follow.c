/* The feeder of a run that follows: which files there are, and which of them something happened to.
 *
 * A path that is named is an input from the start, whether it is there or not. Of a folder (and those
 * in it) and of a pattern (`*`, `?`, `[...]` in any part of a path) the files that there are, and those
 * that come. A name that rotation made of another one that is followed is left to that one. Inotify says
 * what happens in the folders that matter; of a folder that is not there yet, its nearest one above is
 * watched. When a folder comes or goes, or events were lost, all is looked at again. */
#include "stages/ingest/follow.h"
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

enum { EVENTS_MOST = 4096 /* of one call of work */ };

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
    char output[PATH_MAX], store[PATH_MAX]; /* canonical, "" where not there yet: not read */
    bool again;                             /* look at everything again */
    bool found; /* a file of what is being looked at: cleared by who asks */
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

static bool left_out(const struct feeder *g, const char *path)
{
    return is_below(path, g->output) || is_below(path, g->store);
}

static bool matches(const struct feeder *g, const char *path)
{
    for (size_t i = 0; i < g->wanted_count; i++) {
        const struct wanted *w = &g->wanted[i];
        if (w->kind == WANTED_FILE && !strcmp(path, w->path))
            return true;
        if (w->kind == WANTED_FOLDER && is_below(path, w->path) && !left_out(g, path))
            return true;
        if (w->kind == WANTED_PATTERN && !fnmatch(w->path, path, FNM_PATHNAME | FNM_PERIOD))
            return true;
    }
    return false;
}

struct beside {
    const struct feeder *feeder;
    const char *folder;
};

static bool is_followed(void *self, const char *base)
{
    const struct beside *b = self;
    char path[PATH_MAX];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", b->folder, base) < PATH_MAX &&
           (find(b->feeder, path) ||
            (matches(b->feeder, path) && !stat(path, &st) && S_ISREG(st.st_mode)));
}

/* Is the file at path, canonical, to be a stream of its own? Not if it is one, or rotation made it of another. */
static bool is_new(const struct feeder *g, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    struct beside beside = {g, folder};

    if (find(g, path))
        return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return !rotated_base(slash + 1, is_followed, &beside);
}

/* A file that a folder or a pattern has. */
static enum err_code add_match(struct feeder *g, const char *path, struct err *err)
{
    char real[PATH_MAX];
    struct stat st;

    if (stat(path, &st) || !S_ISREG(st.st_mode) || !realpath(path, real))
        return ERR_OK;
    g->found = true;
    if (!is_new(g, real))
        return ERR_OK;
    return add_file(g, real, NULL, &st, err);
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
    enum err_code code = watch_nearest(g, folder, err);
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
    struct stat st;

    (void)name;
    (void)more;
    if (lstat(path, &st) || left_out(g, path))
        return ERR_OK;
    g->found = g->found || S_ISREG(st.st_mode);
    if (S_ISREG(st.st_mode))
        return is_new(g, path) ? add_watched(g, path, NULL, &st, err) : ERR_OK;
    return S_ISDIR(st.st_mode) ? each_entry(g, path, expand_folder, NULL, err)
                               : add_match(g, path, err);
}

/* Descend where name matches the first part of the pattern more. */
static enum err_code expand_part(struct feeder *g, const char *path, const char *name,
                                 const void *more, struct err *err)
{
    const char *pattern = more, *rest = strchr(pattern, '/');
    char part[PATH_MAX];
    struct stat st;

    snprintf(part, sizeof part, "%.*s", (int)(rest ? (size_t)(rest - pattern) : strlen(pattern)),
             pattern);
    if (fnmatch(part, name, FNM_PERIOD) || stat(path, &st))
        return ERR_OK;
    while (rest && *rest == '/')
        rest++;
    if (!rest || !*rest)
        return S_ISDIR(st.st_mode) ? ERR_OK : add_match(g, path, err);
    return S_ISDIR(st.st_mode) ? each_entry(g, path, expand_part, rest, err) : ERR_OK;
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
        code = watch_parent(g, followed_path(g->all[i]), err);
    for (size_t i = 0; i < g->wanted_count && !code; i++) {
        const struct wanted *w = &g->wanted[i];
        char plain[PATH_MAX];
        snprintf(plain, sizeof plain, "%.*s", (int)(w->plain > 1 ? w->plain - 1 : 1), w->path);
        g->found = w->kind == WANTED_FILE && access(w->path, F_OK) == 0;
        if (w->kind == WANTED_FOLDER)
            code = each_entry(g, w->path, expand_folder, NULL, err);
        if (w->kind == WANTED_PATTERN)
            code = each_entry(g, plain, expand_part, w->path + w->plain, err);
        if (!code && first && !g->found)
            tell_absent(g, w);
    }
    return code;
}

/* ---- What is asked for ---- */

/* The canonical form of as much of path as there is, and the rest as it is. */
static bool canonical(const char *path, char out[PATH_MAX])
{
    char begin[PATH_MAX], real[PATH_MAX];
    size_t cut = strlen(path);

    if (cut + 1 > sizeof begin)
        return false;
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

static enum err_code make_wanted(const char *path, struct wanted *out, struct err *err)
{
    const char *wild = path + strcspn(path, "*?[");
    char real[PATH_MAX], begin[PATH_MAX];
    struct stat st;

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
    for (size_t i = 0; i < g->wanted_count && !code; i++)
        if (g->wanted[i].kind == WANTED_FILE && !find(g, g->wanted[i].path))
            code = add_file(g, g->wanted[i].path, config->name, NULL, err);
    return code ? code : expand_all(g, true, err);
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
    for (size_t i = 0; i < g->wanted_count; i++)
        free(g->wanted[i].path);
    free(g->wanted);
    free(g->all);
    watch_close(&g->follow.watch);
    free(g->follow.scratch);
    free(g);
    *self = NULL;
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
    g->follow.ingest = ingest;
    g->follow.config = config;
    if (!config->output || !realpath(config->output, g->output))
        g->output[0] = 0;
    if (!config->store || !realpath(config->store, g->store))
        g->store[0] = 0;
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
    struct beside beside = {g, NULL};
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
    else if ((event->what & (WATCH_CAME | WATCH_CHANGED)) && matches(g, path))
        return add_match(g, path, err);
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

const struct feeder_kind follow_feeder = {
    .open = follow_open,
    .work = follow_work,
    .descriptors = follow_descriptors,
    .close = follow_close,
};
