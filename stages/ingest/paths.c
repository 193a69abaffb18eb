#include "stages/ingest/paths.h"

#include "schemas/outfile.h"
#include "stages/emit/sinks/claim.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>
#include <xxhash.h>

enum { FEED_MOST = 100 /* bytes of a feed's name where it and a key together are too long */ };

/* The bytes of a character that may stand in a name at text, 0 where none does. */
static size_t plain_bytes(const unsigned char *text)
{
    utf8proc_int32_t point;
    utf8proc_ssize_t bytes;

    if (text[0] < 0x20 || text[0] == 0x7F || text[0] == '%' || text[0] == '+' || text[0] == '/')
        return 0;
    bytes = utf8proc_iterate(text, -1, &point);
    return bytes > 0 && !(point >= 0x80 && point < 0xA0) ? (size_t)bytes : 0;
}

/* A name of more than most bytes: hash of what it was made of, and its tail, which begins at a character and not
 * inside an escape. */
static void shorten(char *name, const char *file, size_t most)
{
    size_t length = strlen(name);
    char whole[PATH_NAME_MAX + 1];
    XXH128_hash_t hash;
    const char *tail;

    if (length <= most)
        return;
    hash = XXH3_128bits(file, strlen(file));
    tail = name + length - (most - 40);
    while (((unsigned char)*tail & 0xC0) == 0x80 || tail[-1] == '%' || tail[-2] == '%')
        tail++;
    snprintf(whole, sizeof whole, "%%%%%016llx%016llx+%s", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64, tail);
    strcpy(name, whole);
}

char *path_name(const char *file)
{
    const unsigned char *text = (const unsigned char *)file + (file[0] == '/');
    char *name = malloc(3 * strlen(file) + PATH_NAME_MAX), *to = name;

    if (!name)
        return NULL;
    if (!strcmp(file, "-"))
        return strcpy(name, "-");
    while (*text) {
        size_t bytes = plain_bytes(text);
        /* A path that is just "-", "." or ".." must not take these names. */
        bool reserved = to == name && (!strcmp((const char *)text, "-") || *text == '.');
        if (*text == '/') {
            *to++ = '+';
            text++;
        } else if (bytes == 0 || reserved) {
            to += sprintf(to, "%%%02X", *text++);
        } else {
            memcpy(to, text, bytes);
            to += bytes;
            text += bytes;
        }
    }
    *to = 0;
    shorten(name, file, PATH_NAME_MAX);
    return name;
}

bool path_is_name(const char *name)
{
    if (!*name || *name == '.' || strlen(name) > PATH_NAME_MAX)
        return false;
    for (const unsigned char *at = (const unsigned char *)name; *at;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t bytes = utf8proc_iterate(at, -1, &point);
        if (bytes <= 0 || point < 0x20 || (point >= 0x7F && point < 0xA0) || point == '/')
            return false;
        at += bytes;
    }
    return true;
}

/* What begins the names of a feed's keys where whole names would be too long. */
static void feed_prefix(const char *feed, char out[PATH_NAME_MAX + 1])
{
    snprintf(out, PATH_NAME_MAX + 1, "%s", feed);
    shorten(out, feed, FEED_MOST);
}

static char *escaped_key(struct view key)
{
    unsigned char *text = malloc(key.bytes + 1);
    char *out = malloc(3 * key.bytes + PATH_NAME_MAX), *to = out;

    if (!text || !out) {
        free(text);
        free(out);
        return NULL;
    }
    memcpy(text, key.data, key.bytes);
    text[key.bytes] = 0;
    for (size_t at = 0; at < key.bytes;) {
        size_t bytes = plain_bytes(text + at);
        if (bytes == 0) {
            to += sprintf(to, "%%%02X", text[at++]);
        } else {
            memcpy(to, text + at, bytes);
            to += bytes;
            at += bytes;
        }
    }
    *to = 0;
    free(text);
    return out;
}

char *key_name(const char *feed, struct view key)
{
    char prefix[PATH_NAME_MAX + 1], *escaped = escaped_key(key), *name = NULL;

    if (!escaped)
        return NULL;
    snprintf(prefix, sizeof prefix, "%s", feed);
    if (strlen(feed) + 1 + strlen(escaped) > PATH_NAME_MAX) {
        feed_prefix(feed, prefix);
        shorten(escaped, escaped, PATH_NAME_MAX - 1 - FEED_MOST);
    }
    if (asprintf(&name, "%s+%s", prefix, escaped) < 0)
        name = NULL;
    free(escaped);
    return name;
}

static bool begins_key(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);

    return !strncmp(name, prefix, length) && name[length] == '+';
}

bool is_of_feed(const char *feed, const char *name)
{
    char prefix[PATH_NAME_MAX + 1];

    feed_prefix(feed, prefix);
    return !strcmp(name, feed) || begins_key(name, feed) || begins_key(name, prefix);
}

static enum err_code add(struct path_list *list, const char *file, const char *name,
                         struct err *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct path *items = realloc(list->items, room * sizeof *items);
        if (!items)
            return err_set(err, ERR_MEMORY, 0, "list of inputs");
        list->items = items;
        list->room = room;
    }
    struct path *item = &list->items[list->count];
    item->file = strdup(file);
    item->name = name ? strdup(name) : path_name(file);
    if (!item->file || !item->name) {
        free(item->file);
        free(item->name);
        return err_set(err, ERR_MEMORY, 0, "list of inputs");
    }
    list->count++;
    return ERR_OK;
}

struct walk {
    struct path_list *list;
    const struct config *config;
    size_t found;                           /* files met, listed before or not */
    char output[PATH_MAX], store[PATH_MAX]; /* canonical, "" where not there yet */
    char path[PATH_MAX];                    /* where it is, canonical: */
    bool named;                             /* in a folder that the user named */
};

static enum err_code add_directory(struct walk *walk, struct err *err);

/* path is canonical. */
static enum err_code add_file(struct walk *walk, const char *path, struct err *err)
{
    if (passed_file(&walk->list->passed, walk->config, path))
        return ERR_OK;
    walk->found++;
    return add(walk->list, path, NULL, err);
}

/* A link, or no file at all, at walk->path. Not inlined: its path would lie on the stack once a folder of the depth. */
static __attribute__((noinline)) enum err_code add_special(struct walk *walk, struct err *err)
{
    struct passed *passed = &walk->list->passed;
    char real[PATH_MAX];

    if (passed_link(passed, walk->path) || passed_special(passed, walk->path))
        return ERR_OK;
    if (realpath(walk->path, real))
        return add_file(walk, real, err);
    if (errno == ENOENT)
        return ERR_OK; /* it went away */
    walk->found++;
    return add(walk->list, walk->path, NULL, err); /* opening it will say why */
}

/* A folder that may not be listed or entered becomes an input, which cannot be opened and says so. */
static enum err_code cannot_list(struct walk *walk, int cause, struct err *err)
{
    if (cause == ENOENT && !walk->named)
        return ERR_OK;
    if (cause != EACCES || walk->named)
        return err_set(err, ERR_SOURCE, cause, "read directory '%s'", walk->path);
    walk->found++;
    return add(walk->list, walk->path, NULL, err);
}

/* A run takes signals when its stages are open; a list of files can be long before. */
static bool is_to_stop(void)
{
    sigset_t pending;

    return !sigpending(&pending) &&
           (sigismember(&pending, SIGINT) > 0 || sigismember(&pending, SIGTERM) > 0 ||
            sigismember(&pending, SIGHUP) > 0);
}

static enum err_code add_entry(struct walk *walk, struct err *err)
{
    struct stat st;

    if (is_to_stop())
        return err_set(err, ERR_STOPPED, 0,
                       "stopped while the files were listed, nothing was read");
    if (lstat(walk->path, &st))
        return ERR_OK; /* it went away */
    if (S_ISREG(st.st_mode))
        return add_file(walk, walk->path, err);
    if (!S_ISDIR(st.st_mode))
        return add_special(walk, err);
    if (!strcmp(walk->path, walk->output) || !strcmp(walk->path, walk->store) ||
        passed_folder(&walk->list->passed, walk->path))
        return ERR_OK;
    return add_directory(walk, err);
}

/* The folder at walk->path, and what is in it. */
static enum err_code add_directory(struct walk *walk, struct err *err)
{
    struct dirent **entries = NULL;
    size_t end = strcmp(walk->path, "/") ? strlen(walk->path) : 0; /* canonical: no "//name" */
    enum err_code code = ERR_OK;
    int count = faccessat(AT_FDCWD, walk->path, R_OK | X_OK, AT_EACCESS)
                    ? -1
                    : scandir(walk->path, &entries, NULL, alphasort);

    if (count < 0)
        return cannot_list(walk, errno, err);
    walk->named = false;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (!code && strcmp(name, ".") && strcmp(name, "..")) {
            if (end + 1 + strlen(name) < sizeof walk->path) {
                sprintf(walk->path + end, "/%s", name);
                code = add_entry(walk, err);
                walk->path[end] = 0;
            } else {
                passed_deep(&walk->list->passed, walk->path);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return code;
}

static int compare_collation(const void *a, const void *b)
{
    return strcmp(((const struct path *)a)->name, ((const struct path *)b)->name);
}

/* In the order of their names, each file once: it has one name, however often it was met. */
static void settle(struct path_list *list)
{
    size_t kept = 0;

    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, compare_collation);
    for (size_t i = 0; i < list->count; i++) {
        if (kept && !strcmp(list->items[kept - 1].file, list->items[i].file)) {
            free(list->items[i].file);
            free(list->items[i].name);
        } else {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

static enum err_code add_path(struct walk *walk, const char *path, const char *name,
                              struct err *err)
{
    char real[PATH_MAX];
    struct stat st;
    size_t before = walk->found;
    char words[PASSED_WORDS_MAX];
    enum err_code code;
    int fd;

    if (!strcmp(path, "-"))
        return add(walk->list, "-", name, err);
    if (!realpath(path, real) || stat(real, &st))
        return err_set(err, ERR_SOURCE, errno, "input '%s'", path);
    if (!S_ISDIR(st.st_mode)) {
        fd = S_ISREG(st.st_mode) ? open(real, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0 && access(real, R_OK))
            return err_set(err, ERR_SOURCE, errno, "input '%s'", path);
        if (fd >= 0)
            close(fd);
        return add(walk->list, real, name, err);
    }
    if (name)
        return err_set(err, ERR_USAGE, 0, "--name is for a single input; '%s' is a directory",
                       path);
    strcpy(walk->path, real);
    walk->named = true;
    code = add_directory(walk, err);
    if (!code && walk->found == before)
        code = err_set(err, ERR_SOURCE, 0, "directory '%s' has no files to read%s%.150s", path,
                       passed_all(&walk->list->passed) ? "; passed over: " : "",
                       passed_words(&walk->list->passed, words));
    return code;
}

enum err_code path_list_check_name(const struct config *config, struct err *err)
{
    if (config->name && (config->path_count != 1 || !path_is_name(config->name)))
        return err_set(err, ERR_USAGE, 0,
                       "--name '%s': needs a single input and a plain file name of at most %d "
                       "bytes",
                       config->name, PATH_NAME_MAX);
    return ERR_OK;
}

enum err_code path_not_output(const struct config *config, const char *file, const char *name,
                              struct err *err)
{
    enum err_code code;
    char *output;

    if (!config->output || config->sink != SINK_JSONL)
        return ERR_OK;
    output = sink_path(config->output, name);
    code = outfile_not_input(output, file, err);
    free(output);
    return code;
}

enum err_code path_list_make(struct path_list *out, const struct config *config, struct err *err)
{
    struct path_list list = {.items = NULL};
    struct walk walk = {.list = &list, .config = config};
    enum err_code code = path_list_check_name(config, err);

    if (code)
        return code;
    if (!config->output || !realpath(config->output, walk.output))
        walk.output[0] = 0;
    if (!config->store || !realpath(config->store, walk.store))
        walk.store[0] = 0;
    for (size_t i = 0; i < config->path_count && !code; i++)
        code = add_path(&walk, config->paths[i], config->name, err);
    settle(&list);
    for (size_t i = 0; i < list.count && !code; i++)
        code = path_not_output(config, list.items[i].file, list.items[i].name, err);
    if (code) {
        path_list_release(&list);
        return code;
    }
    *out = list;
    return ERR_OK;
}

void path_list_release(struct path_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].file);
        free(list->items[i].name);
    }
    free(list->items);
    passed_release(&list->passed);
    *list = (struct path_list){.items = NULL};
}
