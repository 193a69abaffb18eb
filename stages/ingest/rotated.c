#include "stages/ingest/rotated.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { LISTINGS_MOST = 5 };

/* ---- Names ---- */

static const char *const packed_endings[] = {".gz", ".bz2", ".xz", ".zst", NULL};

/* The length of text without a compressed file's ending. */
static size_t plain_length(const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; packed_endings[i]; i++) {
        size_t ending = strlen(packed_endings[i]);
        if (length > ending && !strcmp(text + length - ending, packed_endings[i]))
            return length - ending;
    }
    return length;
}

/* How rotation counts: app.log.2 is older than app.log.1, app.log-20261122 newer than -20261121. */
struct rank {
    enum { RANK_NONE, RANK_WORD, RANK_NUMBER, RANK_DATE } kind;
    int digits;
    uint64_t value;
};

static struct rank rank_of_text(const char *text, size_t length)
{
    struct rank rank = {RANK_NONE, 0, 0};
    size_t i = 0;

    if ((length == 3 && (!strncmp(text, "old", 3) || !strncmp(text, "bak", 3))) || length == 0)
        rank.kind = length ? RANK_WORD : RANK_NONE;
    while (i < length && (isdigit((unsigned char)text[i]) || strchr("-_.:TZ", text[i]))) {
        if (isdigit((unsigned char)text[i])) {
            rank.value = rank.value * 10 + (uint64_t)(text[i] - '0');
            rank.digits++;
        }
        i++;
    }
    if (i == length && rank.digits && rank.digits <= 18)
        rank.kind = rank.digits < 6 ? RANK_NUMBER : RANK_DATE;
    return rank;
}

static bool is_separator(char c)
{
    return c == '.' || c == '-' || c == '_';
}

/* What rotation made of base to get name. A compressed name alone (app.log.gz) is a word. */
static struct rank rank_of(const char *base, const char *name)
{
    const struct rank none = {RANK_NONE, 0, 0}, word = {RANK_WORD, 0, 0};
    size_t length = plain_length(name), same = strlen(base);
    const char *ending = strrchr(base, '.');
    size_t stem = ending ? (size_t)(ending - base) : 0, end = same - stem;
    struct rank rank;

    if (length == same && !strncmp(base, name, same))
        return name[same] ? word : none;
    if (length > same + 1 && !strncmp(base, name, same) && is_separator(name[same]))
        return rank_of_text(name + same + 1, length - same - 1);
    /* app-20261121.log of app.log: dates alone, since app-1.log is more likely another feed. */
    if (stem == 0 || length <= same + 1 || strncmp(base, name, stem) || !is_separator(name[stem]) ||
        strncmp(name + length - end, ending, end))
        return none;
    rank = rank_of_text(name + stem + 1, length - end - stem - 1);
    return rank.kind == RANK_DATE ? rank : none;
}

bool is_rotated_name(const char *base, const char *name)
{
    return rank_of(base, name).kind != RANK_NONE;
}

bool rotated_base(const char *name, bool (*is)(void *self, const char *base), void *self)
{
    size_t length = strlen(name), plain = plain_length(name);
    char base[NAME_MAX + 1];

    if (length > NAME_MAX)
        return false;
    for (size_t cut = 1; cut < length; cut++) {
        const char *ending = strrchr(name, '.');
        memcpy(base, name, cut);
        base[cut] = 0;
        if ((cut == plain || is_separator(name[cut])) && is_rotated_name(base, name) &&
            is(self, base))
            return true;
        /* The same with the ending behind the date. */
        if (plain < length)
            ending = memrchr(name, '.', plain);
        if (!is_separator(name[cut]) || !ending || ending <= name + cut)
            continue;
        snprintf(base + cut, sizeof base - cut, "%.*s", (int)(name + plain - ending), ending);
        if (is_rotated_name(base, name) && is(self, base))
            return true;
    }
    return false;
}

/* May name be what became of base? More than rotation is known to make: what it holds will tell. */
static bool is_beside(const char *base, const char *name)
{
    size_t same = strlen(base);

    return (!strncmp(base, name, same) && is_separator(name[same])) || is_rotated_name(base, name);
}

/* ---- What lies beside ---- */

struct sibling {
    char *name;
    struct file_facts is;
    struct rank rank;
    bool plain_too; /* compressed, and what it was made of is still there */
};

struct siblings {
    struct sibling *items;
    size_t count;
    char folder[PATH_MAX];
};

static void siblings_release(struct siblings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i].name);
    free(s->items);
    *s = (struct siblings){.items = NULL};
}

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", strcmp(folder, "/") ? folder : "", name) < PATH_MAX;
}

static bool newer(const struct file_facts *a, const struct file_facts *b)
{
    return a->mtime_s != b->mtime_s ? a->mtime_s > b->mtime_s : a->mtime_ns > b->mtime_ns;
}

/* Is a's name that of an older file than b's: -1, of a newer one: 1, cannot be told: 0. */
static int by_rank(const struct rank *a, const struct rank *b)
{
    if (a->kind != b->kind || a->digits == 0 || a->value == b->value ||
        (a->kind == RANK_DATE && a->digits != b->digits))
        return 0;
    return (a->kind == RANK_NUMBER) == (a->value > b->value) ? -1 : 1;
}

/* Oldest first. */
static int compare_age(const void *one, const void *other)
{
    const struct sibling *a = one, *b = other;

    if (newer(&a->is, &b->is) || newer(&b->is, &a->is))
        return newer(&a->is, &b->is) ? 1 : -1;
    return by_rank(&a->rank, &b->rank) ? by_rank(&a->rank, &b->rank) : strcmp(a->name, b->name);
}

static bool add_sibling(struct siblings *s, const char *base, const char *name)
{
    struct sibling one = {.rank = rank_of(base, name)}, *items;
    char path[PATH_MAX];

    if (!join(path, s->folder, name) || !facts_of_path(path, &one.is) || !one.is.regular)
        return true;
    items = realloc(s->items, (s->count + 1) * sizeof *items);
    if (!items)
        return false;
    s->items = items;
    one.name = strdup(name);
    if (!one.name)
        return false;
    s->items[s->count++] = one;
    return true;
}

static void mark_plain_too(struct siblings *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (size_t j = 0; j < s->count; j++) {
            size_t plain = plain_length(s->items[i].name);
            s->items[i].plain_too =
                s->items[i].plain_too || (s->items[i].name[plain] && !s->items[j].name[plain] &&
                                          strlen(s->items[j].name) == plain &&
                                          !strncmp(s->items[i].name, s->items[j].name, plain));
        }
}

static enum err_code list_once(struct siblings *s, const char *name, struct err *err)
{
    DIR *folder = opendir(s->folder);
    struct dirent *entry;
    bool good = true;

    if (!folder && errno == ENOENT)
        return ERR_OK;
    if (!folder)
        return err_set(err, ERR_SOURCE, errno, "read directory '%s'", s->folder);
    while (good && (entry = readdir(folder)))
        if (is_beside(name, entry->d_name))
            good = add_sibling(s, name, entry->d_name);
    closedir(folder);
    if (!good)
        return err_set(err, ERR_MEMORY, 0, "files beside '%s'", name);
    mark_plain_too(s);
    if (s->count)
        qsort(s->items, s->count, sizeof *s->items, compare_age);
    return ERR_OK;
}

/* The files beside folder/name, oldest first. A folder that changes while it is read may hide one that
 * was there all the time (by another name), so it is then read again. */
static enum err_code list_siblings(struct siblings *s, const char *folder, const char *name,
                                   struct err *err)
{
    enum err_code code = ERR_OK;
    struct file_facts before, after;

    *s = (struct siblings){.items = NULL};
    for (int i = 0; i < LISTINGS_MOST && !code; i++) {
        siblings_release(s);
        snprintf(s->folder, sizeof s->folder, "%s", folder);
        if (!facts_of_path(folder, &before))
            before = (struct file_facts){.bytes = 0};
        code = list_once(s, name, err);
        if (!facts_of_path(folder, &after))
            after = (struct file_facts){.bytes = 0};
        if (!newer(&after, &before))
            break;
    }
    return code;
}

/* ---- Finding ---- */

/* Open the file at path if it is the one, by what it holds; with id, only where it is that file too. */
static bool try_open(struct segment_file *out, const char *path, bool plain,
                     const struct segment_place *place, bool id, int *cause)
{
    struct segment_file file;

    if (!segment_file_open(&file, path, plain)) {
        if (errno != ENOENT && errno != EISDIR)
            *cause = errno;
        return false;
    }
    if ((!id || same_file(&file.id, &place->name.id)) &&
        segment_file_holds(&file, &place->name, place->offset, place->tail)) {
        *out = file;
        return true;
    }
    segment_file_close(&file);
    return false;
}

static bool try_siblings(struct segment_file *out, const struct siblings *s,
                         const struct segment_place *place, bool id, int *cause)
{
    char path[PATH_MAX];
    int ignored;

    for (size_t i = s->count; i-- > 0;) { /* the newest first */
        const struct sibling *one = &s->items[i];
        if ((id && !same_file(&one->is.id, &place->name.id)) || !join(path, s->folder, one->name))
            continue;
        /* One that rotation has no part in need not be readable. */
        if (try_open(out, path, false, place, id, one->rank.kind ? cause : &ignored))
            return true;
    }
    return false;
}

enum err_code rotated_find(struct segment_file *out, enum rotated_found *where, const char *folder,
                           const char *name, const struct segment_place *place, bool beside,
                           struct err *err)
{
    struct siblings s = {.items = NULL};
    char path[PATH_MAX];
    bool here = !beside && join(path, folder, name);
    enum err_code code = ERR_OK;
    int cause = 0;

    *where = ROTATED_NOWHERE;
    if (here && try_open(out, path, true, place, true, &cause)) {
        *where = ROTATED_AT_PATH;
        return ERR_OK;
    }
    code = list_siblings(&s, folder, name, err);
    if (!code && try_siblings(out, &s, place, true, &cause))
        *where = ROTATED_BESIDE;
    /* Without a byte that was read, what a file holds says too little. */
    else if (!code && here && place->offset && try_open(out, path, true, place, false, &cause))
        *where = ROTATED_AT_PATH;
    else if (!code && try_siblings(out, &s, place, false, &cause))
        *where = ROTATED_BESIDE;
    else if (!code && cause)
        code = err_set(err, ERR_SOURCE, cause, "input '%s/%s'", folder, name);
    siblings_release(&s);
    return code;
}

/* ---- What came between ---- */

static const struct sibling *find_now(const struct siblings *s, const struct segment_file *now)
{
    for (size_t i = 0; i < s->count; i++)
        if (same_file(&s->items[i].is.id, &now->id))
            return &s->items[i];
    return NULL;
}

/* By the names alone, could one have been rotated away after now? */
static bool may_follow(const struct sibling *one, const struct sibling *now,
                       const struct file_facts *now_is)
{
    int order = now ? by_rank(&one->rank, &now->rank) : 0;

    if (one == now || one->rank.kind == RANK_NONE || one->plain_too || one->is.bytes == 0)
        return false;
    if (newer(now_is, &one->is) || order < 0)
        return false;
    return newer(&one->is, now_is) || order > 0;
}

enum err_code rotated_next(struct segment_file *out, const char *folder, const char *name,
                           const struct segment_file *now, rotated_known_fn *known, void *self,
                           struct err *err)
{
    struct siblings s;
    struct file_facts now_is;
    const struct sibling *at;
    enum err_code code;

    out->fd = -1;
    if (!facts_of_descriptor(now->fd, &now_is))
        return err_set(err, ERR_SOURCE, errno, "input '%s/%s'", folder, name);
    code = list_siblings(&s, folder, name, err);
    at = find_now(&s, now);
    for (size_t i = 0; i < s.count && !code && out->fd < 0; i++) {
        char path[PATH_MAX];
        if (!may_follow(&s.items[i], at, &now_is) || !join(path, folder, s.items[i].name))
            continue;
        if (!segment_file_open(out, path, false)) {
            out->fd = -1;
            if (errno != ENOENT && errno != EISDIR)
                code = err_set(err, ERR_SOURCE, errno, "input '%s'", path);
        } else if (known(self, out)) {
            segment_file_close(out);
        }
    }
    siblings_release(&s);
    return code;
}
