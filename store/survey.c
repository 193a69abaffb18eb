#include "store/survey.h"

#include "store/scan.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 32, FIRST_PAGE = 2 };

/* What the branches above allow; NULL data: no bound. */
struct range {
    struct view low, high;
};

/* One tree while it is read. */
struct climb {
    struct survey *s;
    const struct tree *tree;
    bool flawed;
};

static void flaw(struct survey *s, const char *what, uint64_t page)
{
    if (!s->what[0])
        snprintf(s->what, sizeof s->what, "page %llu: %s", (unsigned long long)page, what);
}

/* ---- Meta pages ---- */

/* Takes the newer; where only one can be read it may be the older: the other was one ahead, or behind. */
static void choose_meta(struct survey *s)
{
    struct meta metas[2];
    const char *wrong[2];
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

    for (unsigned i = 0; i < 2; i++) {
        uint8_t at[META_BYTES];
        uint32_t version;
        scan_read(s->fd, i * page_bytes, at, sizeof at);
        wrong[i] = page_meta(at, i, &metas[i], &version);
        if (wrong[i])
            flaw(s, wrong[i], i);
        else if (i == 0)
            page_bytes = metas[0].page_bytes;
        else if (metas[1].page_bytes != page_bytes)
            wrong[1] = "its page size makes no sense";
    }
    s->page_bytes = page_bytes;
    s->any = !wrong[0] || !wrong[1];
    if (!s->any)
        return;
    bool second = wrong[0] || (!wrong[1] && metas[1].transaction > metas[0].transaction);
    s->meta = metas[second];
    uint64_t other = wrong[!second] ? UINT64_MAX : metas[!second].transaction;
    s->newest = s->meta.transaction - other <= 1;
    s->transaction = s->meta.transaction + !s->newest;
    if (!s->newest)
        flaw(s, "the meta pages are not of neighbouring transactions", 0);
}

/* ---- Trees ---- */

static int compare(struct view a, struct view b)
{
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

static struct key key_copy(struct view from)
{
    struct key key = {.bytes = from.data ? from.bytes : 0};

    if (key.bytes)
        memcpy(key.data, from.data, key.bytes);
    return key;
}

static void lose(struct climb *c, struct range range, const char *what, uint64_t page)
{
    struct survey *s = c->s;
    struct hole *holes;

    flaw(s, what, page);
    c->flawed = true;
    if (c->tree->is_free_list)
        return;
    holes = realloc(s->holes, (s->hole_count + 1) * sizeof *holes);
    if (!holes) {
        s->short_memory = true;
        return;
    }
    s->holes = holes;
    holes[s->hole_count++] =
        (struct hole){key_copy(range.low), key_copy(range.high), range.high.data == NULL};
}

static bool fits(const struct climb *c, struct view key, struct view above, struct range range)
{
    if (c->tree->is_free_list)
        return key.bytes == 8;
    return key.bytes > 0 && (!above.data || compare(key, above) > 0) &&
           (!range.low.data || compare(key, range.low) >= 0) &&
           (!range.high.data || compare(key, range.high) < 0);
}

/* Whether all nodes of the page can be read and their keys ascend within range. */
static bool nodes_fit(const struct climb *c, const uint8_t *page, unsigned count, bool leaf,
                      struct range range)
{
    struct view above = {0};
    struct node node;

    for (unsigned i = 0; i < count; i++) {
        if (page_node(page, c->s->page_bytes, i, leaf, &node))
            return false;
        if (!leaf && i == 0)
            continue; /* its key means "no bound" */
        if (!fits(c, node.key, above, range))
            return false;
        above = node.key;
    }
    return true;
}

/* What is wrong with a page that should be of that level. */
static const char *page_flaw(const struct climb *c, const uint8_t *page, uint64_t number, bool leaf,
                             struct range range)
{
    size_t lower = load_u16(page + 12), upper = load_u16(page + 14);

    if (load_u64(page) != number)
        return "it does not name itself";
    if (load_u16(page + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
        return "it is of a wrong kind";
    if (lower <= PAGE_HEADER || (lower & 1) || lower > upper || upper > c->s->page_bytes)
        return "its bounds make no sense";
    if (!nodes_fit(c, page, (unsigned)(lower - PAGE_HEADER) / 2, leaf, range))
        return "its nodes or keys make no sense";
    return NULL;
}

/* Entries of the free list: a count, then pages. */
static void take_free(struct climb *c, const uint8_t *page)
{
    struct survey *s = c->s;
    unsigned count = (load_u16(page + 12) - PAGE_HEADER) / 2u;
    struct range none = {0};
    struct node node;

    for (unsigned i = 0; i < count; i++) {
        uint8_t *copy;
        if (page_node(page, s->page_bytes, i, true, &node))
            continue;
        uint64_t at = node.run * s->page_bytes + PAGE_HEADER;
        if (node.value_bytes % 8 || node.value_bytes < 8 || node.value_bytes > s->file_bytes ||
            (node.big && node.run >= s->pages)) {
            lose(c, none, "an entry of the free list has a wrong length", 0);
            continue;
        }
        copy = malloc(node.value_bytes);
        if (!copy) {
            s->short_memory = true;
            return;
        }
        if (node.big)
            scan_read(s->fd, at, copy, node.value_bytes);
        else
            memcpy(copy, node.value.data, node.value_bytes);
        uint64_t pages = load_u64(copy);
        if (pages > node.value_bytes / 8 - 1)
            lose(c, none, "an entry of the free list has a wrong length", 0);
        for (uint64_t k = 1; k < node.value_bytes / 8 && k <= pages; k++) {
            uint64_t free_page = load_u64(copy + 8 * k);
            if (free_page < s->pages)
                s->origin[free_page] = ORIGIN_STALE;
            else if (free_page > s->meta.last_page)
                lose(c, none, "the free list points outside the file", 0);
        }
        free(copy);
    }
}

static void climb(struct climb *c, uint64_t number, uint16_t level, struct range range);

static void climb_children(struct climb *c, const uint8_t *page, uint16_t level, struct range range)
{
    unsigned count = (load_u16(page + 12) - PAGE_HEADER) / 2u;
    struct node node, next = {0};

    for (unsigned i = 0; i < count; i++) {
        struct range inner = range;
        if (page_node(page, c->s->page_bytes, i, false, &node))
            return; /* was read before */
        if (i > 0)
            inner.low = node.key;
        if (i + 1 < count && !page_node(page, c->s->page_bytes, i + 1, false, &next))
            inner.high = next.key;
        climb(c, node.child, (uint16_t)(level + 1), inner);
    }
}

/* A damaged page that the tree points to keeps what it still holds: better than a free one's. */
static void climb(struct climb *c, uint64_t number, uint16_t level, struct range range)
{
    struct survey *s = c->s;
    uint8_t *page = s->levels + level * s->page_bytes, *origin;
    bool leaf = level + 1 == c->tree->depth;

    if (number < FIRST_PAGE || number >= s->pages) {
        lose(c, range, "it is pointed to, and lies outside the file", number);
        return;
    }
    origin = &s->origin[number];
    if (*origin == ORIGIN_LIVE || *origin == ORIGIN_STALE || *origin == ORIGIN_TREE) {
        lose(c, range, "it has two uses", number);
        return;
    }
    scan_read(s->fd, number * s->page_bytes, page, s->page_bytes);
    const char *wrong = page_flaw(c, page, number, leaf, range);
    *origin = wrong ? ORIGIN_TORN : leaf && !c->tree->is_free_list ? ORIGIN_LIVE : ORIGIN_TREE;
    if (wrong) {
        lose(c, range, wrong, number);
        return;
    }
    if (!leaf)
        climb_children(c, page, level, range);
    else if (c->tree->is_free_list)
        take_free(c, page);
}

static bool climb_tree(struct survey *s, const struct tree *tree)
{
    struct climb c = {s, tree, false};
    struct range all = {0};

    if (tree->depth > DEPTH_MAX || (tree->root == NO_ROOT) != (tree->depth == 0))
        lose(&c, all, "a tree has an impossible depth", 0);
    else if (tree->root != NO_ROOT)
        climb(&c, tree->root, 0, all);
    return !c.flawed;
}

/* A page that is neither reached nor free is lost by the tree where it says itself that it is a leaf. Else it is of a
 * run, whose slack may hold what some other page once was. */
static bool looks_lost(const struct survey *s, uint64_t page)
{
    uint8_t head[PAGE_HEADER];

    scan_read(s->fd, page * s->page_bytes, head, sizeof head);
    return s->free_known && load_u64(head) == page && load_u16(head + 10) == PAGE_LEAF;
}

/* Where the free list cannot be trusted, nobody knows what is free but the tree that is left. */
static void sort_pages(struct survey *s)
{
    struct range all = {0};
    struct climb keys = {s, &s->meta.keys, false};

    memset(s->origin, ORIGIN_ORPHAN, s->pages);
    for (uint64_t page = s->any ? s->meta.last_page + 1 : 0; page < s->pages; page++)
        s->origin[page] = ORIGIN_STALE;
    if (!s->any) {
        lose(&keys, all, "no meta page can be read", 0);
        return;
    }
    s->free_known = climb_tree(s, &s->meta.free_list);
    if (!s->free_known)
        memset(s->origin, ORIGIN_ORPHAN, s->pages);
    (void)climb_tree(s, &s->meta.keys);
    if (!s->newest)
        lose(&keys, all, "the newest meta page cannot be read", 0);
    for (uint64_t page = 0; page < s->pages; page++)
        if (s->origin[page] == ORIGIN_ORPHAN && !looks_lost(s, page))
            s->origin[page] = ORIGIN_STALE;
}

enum err_code survey_open(struct survey *s, int fd, const char *path, struct err *err)
{
    struct stat status;

    *s = (struct survey){.fd = fd};
    if (fstat(fd, &status) != 0)
        return err_set(err, ERR_SYSTEM, errno, "look at '%s/data.mdb'", path);
    s->file_bytes = (uint64_t)status.st_size;
    choose_meta(s);
    s->pages = s->file_bytes / s->page_bytes;
    s->origin = malloc(s->pages + 1);
    s->levels = malloc((DEPTH_MAX + 1) * s->page_bytes);
    if (s->origin && s->levels)
        sort_pages(s);
    if (!s->origin || !s->levels || s->short_memory) {
        survey_close(s);
        return err_set(err, ERR_MEMORY, 0, "look at the pages of '%s'", path);
    }
    return ERR_OK;
}

void survey_close(struct survey *s)
{
    free(s->origin);
    free(s->levels);
    free(s->holes);
    *s = (struct survey){.fd = -1};
}

bool survey_in_hole(const struct survey *s, struct view key)
{
    for (size_t i = 0; i < s->hole_count; i++) {
        const struct hole *h = &s->holes[i];
        if (compare(key, (struct view){h->low.data, h->low.bytes}) >= 0 &&
            (h->endless || compare(key, (struct view){h->high.data, h->high.bytes}) < 0))
            return true;
    }
    return false;
}
