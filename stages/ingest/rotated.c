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
    bool known;     /* was read already */
};

struct siblings {
    struct sibling *items;
    size_t count;
    bool counts_up; /* a higher number is a newer file */
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

/* By their names, is a older than b: -1, newer: 1, not to be told: 0. */
static int by_rank(const struct siblings *s, const struct rank *a, const struct rank *b)
{
    bool higher_is_newer = a->kind == RANK_DATE || s->counts_up;

    if (a->kind != b->kind || a->digits == 0 || a->value == b->value ||
        (a->kind == RANK_DATE && a->digits != b->digits))
        return 0;
    return (a->value > b->value) == higher_is_newer ? 1 : -1;
}

static bool is_older(const struct siblings *s, const struct sibling *a, const struct sibling *b)
{
    int order = by_rank(s, &a->rank, &b->rank);

    if (order)
        return order < 0;
    return newer(&b->is, &a->is) || (!newer(&a->is, &b->is) && strcmp(a->name, b->name) < 0);
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

static bool is_plain(const struct sibling *one)
{
    return one->name[plain_length(one->name)] == 0;
}

static bool is_packed_from(const struct sibling *packed, const struct sibling *plain)
{
    size_t length = plain_length(packed->name);

    return !is_plain(packed) && strlen(plain->name) == length &&
           !strncmp(packed->name, plain->name, length);
}

/* What can be told of each by the others. Rotation counts down with age (the highest number is the
 * oldest) but for some programs that do their own: the times of plain files, which nobody wrote to
 * since, show it. */
static void compare_all(struct siblings *s)
{
    bool up = false, down = false;

    for (size_t i = 0; i < s->count; i++)
        for (size_t j = 0; j < s->count; j++) {
            struct sibling *a = &s->items[i], *b = &s->items[j];
            a->plain_too = a->plain_too || is_packed_from(a, b);
            if (a->rank.kind != RANK_NUMBER || b->rank.kind != RANK_NUMBER || !is_plain(a) ||
                !is_plain(b) || a->rank.value <= b->rank.value)
                continue;
            up = up || newer(&a->is, &b->is);
            down = down || newer(&b->is, &a->is);
        }
    s->counts_up = up && !down;
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
    compare_all(s);
    return ERR_OK;
}

/* The files beside folder/name. A folder that changes while it is read may hide one that
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

/* Does the folder hold just what it did? One that was renamed in between was looked for by its old name. */
static bool same_siblings(const struct siblings *a, const struct siblings *b)
{
    size_t same = 0;

    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < b->count; j++)
            same += !strcmp(a->items[i].name, b->items[j].name) &&
                    same_file(&a->items[i].is.id, &b->items[j].is.id);
    return a->count == b->count && same == a->count;
}

/* ---- Finding ---- */

/* What could not be opened, and might be the one. */
struct unopened {
    int cause; /* 0: none */
    char path[PATH_MAX];
};

/* Open the file at path if it is the one, by what it holds; with id, only where it is that file too. */
static bool try_open(struct segment_file *out, const char *path, bool plain,
                     const struct segment_place *place, bool id, struct unopened *missed)
{
    struct segment_file file;

    if (!segment_file_open(&file, path, plain)) {
        if (missed && errno != ENOENT && errno != EISDIR) {
            missed->cause = errno;
            snprintf(missed->path, sizeof missed->path, "%s", path);
        }
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
                         const struct segment_place *place, bool id, struct unopened *missed)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < s->count; i++) {
        const struct sibling *one = &s->items[i];
        if ((id && !same_file(&one->is.id, &place->name.id)) || !join(path, s->folder, one->name))
            continue;
        /* One that rotation has no part in need not be readable, nor one that holds less than was read. */
        bool may_be = one->rank.kind && !(is_plain(one) && one->is.bytes < place->offset);
        if (try_open(out, path, false, place, id, may_be ? missed : NULL))
            return true;
    }
    return false;
}

enum err_code rotated_find(struct segment_file *out, enum rotated_found *where, const char *folder,
                           const char *name, const struct segment_place *place, bool beside,
                           struct err *err)
{
    struct siblings s = {.items = NULL}, then;
    char path[PATH_MAX];
    bool here = !beside && join(path, folder, name), found, put_back, same;
    struct unopened missed = {.cause = 0}, at_path = {.cause = 0};
    enum err_code code = ERR_OK;

    *where = ROTATED_NOWHERE;
    if (here && try_open(out, path, true, place, true, &at_path)) {
        *where = ROTATED_AT_PATH;
        return ERR_OK;
    }
    code = list_siblings(&s, folder, name, err);
    do {
        missed = at_path;
        found = !code && try_siblings(out, &s, place, true, &missed);
        /* Without a byte that was read, what a file holds says too little. */
        put_back = !code && !found && here && place->offset &&
                   try_open(out, path, true, place, false, &missed);
        found = found || (!code && !put_back && try_siblings(out, &s, place, false, &missed));
        same = code || found || put_back;
        if (!same) {
            code = list_siblings(&then, folder, name, err);
            same = same_siblings(&s, &then);
            siblings_release(&s);
            s = then;
        }
    } while (!code && !same);
    *where = put_back ? ROTATED_AT_PATH : found ? ROTATED_BESIDE : ROTATED_NOWHERE;
    if (!code && !found && !put_back && missed.cause)
        code = err_set(err, ERR_SOURCE, missed.cause, "'%s' may be what is to be read on",
                       missed.path);
    siblings_release(&s);
    return code;
}

/* ---- What came between ---- */

/* Which of them is now, read to its end: the file itself, or what was made of it since. */
static const struct sibling *find_now(const struct siblings *s, const struct file_facts *now,
                                      const struct segment_place *end)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < s->count; i++)
        if (same_file(&s->items[i].is.id, &now->id))
            return &s->items[i];
    for (size_t i = 0; i < s->count; i++) {
        struct segment_file file;
        bool same;
        if (!end->offset || !join(path, s->folder, s->items[i].name) ||
            !segment_file_open(&file, path, false))
            continue;
        same = segment_file_holds(&file, &end->name, end->offset, end->tail) &&
               segment_file_ends(&file, end->offset);
        segment_file_close(&file);
        if (same)
            return &s->items[i];
    }
    return NULL;
}

/* Could one have been rotated away after now? */
static bool may_follow(const struct siblings *s, const struct sibling *one,
                       const struct sibling *now, const struct file_facts *now_is)
{
    int order = now ? by_rank(s, &one->rank, &now->rank) : 0;

    if (one == now || one->known || one->rank.kind == RANK_NONE || one->plain_too ||
        one->is.bytes == 0)
        return false;
    return order ? order > 0 : newer(&one->is, now_is);
}

/* What stands between what was read and what is there now has to be read: it is not passed over. */
static enum err_code check_readable(struct segment_file *file, const char *path, struct err *err)
{
    struct err why = {.text = ""};
    uint8_t first;
    size_t got;

    if (!segment_file_read(file, &first, 1, 0, &got, &why))
        return ERR_OK;
    segment_file_close(file);
    return err_set(err, ERR_SOURCE, EIO, "'%s' is to be read next: %s", path, why.text);
}

enum err_code rotated_next(struct segment_file *out, const char *folder, const char *name,
                           const struct file_facts *now, const struct segment_place *end,
                           rotated_known_fn *known, void *self, struct err *err)
{
    struct siblings s;
    const struct sibling *at;
    struct sibling *next = NULL;
    char path[PATH_MAX];
    enum err_code code;

    out->fd = -1;
    code = list_siblings(&s, folder, name, err);
    at = code ? NULL : find_now(&s, now, end);
    do {
        next = NULL;
        for (size_t i = 0; i < s.count && !code; i++)
            if (may_follow(&s, &s.items[i], at, now) && (!next || is_older(&s, &s.items[i], next)))
                next = &s.items[i];
        if (!next || !join(path, folder, next->name))
            break;
        next->known = true; /* or not to be had */
        if (!segment_file_open(out, path, false)) {
            out->fd = -1;
            if (errno != ENOENT && errno != EISDIR)
                code = err_set(err, ERR_SOURCE, errno, "'%s' is to be read next", path);
        } else if (known(self, path, out, at && by_rank(&s, &next->rank, &at->rank))) {
            segment_file_close(out);
        } else {
            code = check_readable(out, path, err);
        }
    } while (!code && out->fd < 0);
    siblings_release(&s);
    return code;
}
