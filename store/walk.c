/* LMDB's pages carry no checksum and LMDB follows them blindly, so one flipped bit can end in a crash,
 * an endless loop or a write over living data. This reader knows LMDB's data format 1 (lmdb 0.9) and
 * follows nothing that it has not checked. It reads with pread into its own memory, so it needs no
 * child process to die in its place, and works in a program that has threads.
 * store/page.h draws the pages.
 *
 * What must hold: each page names itself and is used once (by a tree or by the free list); nodes fill
 * their page exactly; keys ascend within the bounds that the branches above give; depth and counts are
 * those of the meta page. Values are the business of their checksums, except the few small ones whose
 * loss would go unnoticed (a name that is not found looks like a new stream). For the same reason the
 * keys must fit together: parts and entries are numbered without gaps, streams have a name. */
#include "store/walk.h"

#include "store/keys.h"
#include "store/page.h"
#include "store/place.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TREE_INTEGER_KEYS = 8,
    DEPTH_MAX = 32,          /* LMDB's cursor stack */
    BEHIND_FILE_MAX = 65536, /* pages a file may lack: freed in the transaction that took them */
    UNBORN_MAX = 128 * 1024, /* bytes of a file with nothing but the first commit under way */
    RUNS_AGAIN = 4,
    FIRST_PAGE = 2
};

struct walk {
    int fd;
    uint64_t file_bytes, file_pages;
    struct meta meta;
    uint8_t *used;  /* a bit a page of the file */
    uint8_t *pages; /* one buffer a level */
    struct tree seen;
    struct key before;               /* the last key of the keys' tree */
    uint8_t *named;                  /* a bit a stream */
    uint8_t *queues;                 /* a bit a queue of the spool */
    uint64_t chunk_queue, chunk_end; /* of the chunk before */
    int64_t names_less_entries;
    uint64_t slots_less_points; /* sums of a hash of (stream, slot) */
    uint16_t depth;             /* of the tree being walked */
    enum err_code code;         /* other than damage */
    int cause;                  /* errno */
    char what[160];             /* the damage */
};

static bool damage(struct walk *w, const char *what, uint64_t page)
{
    if (!w->what[0])
        snprintf(w->what, sizeof w->what, "page %llu: %s", (unsigned long long)page, what);
    return false;
}

static bool read_at(struct walk *w, uint64_t offset, void *into, size_t bytes)
{
    uint8_t *at = into;

    while (bytes) {
        ssize_t got = pread(w->fd, at, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            w->code = ERR_SYSTEM;
            w->cause = errno;
            return false;
        }
        if (got == 0)
            return damage(w, "the file ends before it",
                          w->meta.page_bytes ? offset / w->meta.page_bytes : 0);
        at += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return true;
}

/* ---- Meta pages ---- */

static bool read_meta(struct walk *w, unsigned index, size_t page_bytes, struct meta *meta)
{
    uint8_t at[META_BYTES];
    uint32_t version;

    if (!read_at(w, index * page_bytes, at, sizeof at))
        return false;
    const char *wrong = page_meta(at, index, meta, &version);
    if (wrong && version && version != LMDB_VERSION) {
        w->code = ERR_VERSION;
        return false;
    }
    if (!wrong && page_bytes && meta->page_bytes != page_bytes)
        wrong = "its page size makes no sense";
    return !wrong || damage(w, wrong, index);
}

/* The newer of both, as LMDB chooses. Transactions write them in turn, so they differ by one. */
static bool choose_meta(struct walk *w, struct meta *meta)
{
    struct meta first, second;

    if (!read_meta(w, 0, 0, &first))
        return false;
    if (!read_meta(w, 1, first.page_bytes, &second)) {
        if (w->code == ERR_VERSION) { /* and the first is of ours */
            w->code = ERR_OK;
            return damage(w, "not a meta page", 1);
        }
        return false;
    }
    *meta = second.transaction > first.transaction ? second : first;
    uint64_t apart = first.transaction > second.transaction
                         ? first.transaction - second.transaction
                         : second.transaction - first.transaction;
    if (apart > 1)
        return damage(w, "the meta pages are not of neighbouring transactions", 0);
    uint64_t file_pages = w->file_bytes / meta->page_bytes;
    if (meta->last_page < 1 || meta->last_page + 1 > file_pages + BEHIND_FILE_MAX)
        return damage(w, "the file is shorter than its meta page says", meta->last_page);
    return true;
}

/* ---- Pages and nodes ---- */

/* Take pages for one use; each can be taken once. */
static bool take_pages(struct walk *w, uint64_t first, uint64_t count, uint64_t told_by)
{
    if (first < FIRST_PAGE || first > w->meta.last_page || count > w->meta.last_page - first + 1)
        return damage(w, "it points outside the file", told_by);
    for (uint64_t page = first; page < first + count && page < w->file_pages; page++) {
        uint8_t bit = (uint8_t)(1u << (page & 7));
        if (w->used[page >> 3] & bit)
            return damage(w, "it points to a page that has another use", told_by);
        w->used[page >> 3] |= bit;
    }
    return true;
}

/* Node index of a page whose header is checked; adds what it takes of the page to *taken. */
static bool read_node(struct walk *w, const uint8_t *page, uint64_t number, unsigned index,
                      struct node *node, size_t *taken)
{
    bool leaf = load_u16(page + 10) == PAGE_LEAF;
    const char *wrong = page_node(page, w->meta.page_bytes, index, leaf, node);

    if (!wrong && node->at < load_u16(page + 14))
        wrong = "a node lies outside it";
    if (wrong)
        return damage(w, wrong, number);
    *taken += node->taken;
    return true;
}

/* A page of a tree into its level's buffer, its header checked; NULL when that fails. */
static const uint8_t *read_page(struct walk *w, uint64_t number, uint16_t level)
{
    uint8_t *page = w->pages + level * w->meta.page_bytes;
    const char *bad = NULL;

    if (!read_at(w, number * w->meta.page_bytes, page, w->meta.page_bytes))
        return NULL;
    size_t lower = load_u16(page + 12), upper = load_u16(page + 14);
    if (load_u64(page) != number)
        bad = "it does not name itself";
    else if (load_u16(page + 10) != (level + 1 == w->depth ? PAGE_LEAF : PAGE_BRANCH))
        bad = "it is of a wrong kind";
    else if (lower <= PAGE_HEADER || (lower & 1) || lower > upper || upper > w->meta.page_bytes)
        bad = "its bounds make no sense";
    if (bad)
        damage(w, bad, number);
    return bad ? NULL : page;
}

/* ---- Keys ---- */

static int compare(const struct walk *w, struct view a, struct view b)
{
    if (w->seen.is_free_list) {
        uint64_t x = load_u64(a.data), y = load_u64(b.data);
        return x < y ? -1 : x > y;
    }
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

/* What the branches above allow: low <= key < high; a bound without data is none. */
struct bounds {
    struct view low, high;
};

static bool key_fits(struct walk *w, struct view key, const struct bounds *bounds, uint64_t number)
{
    if (w->seen.is_free_list ? key.bytes != 8 : key.bytes == 0)
        return damage(w, "a key has a wrong length", number);
    if ((bounds->low.data && compare(w, key, bounds->low) < 0) ||
        (bounds->high.data && compare(w, key, bounds->high) >= 0))
        return damage(w, "a key is out of order", number);
    return true;
}

/* ---- Values that the walk looks at ---- */

/* An entry of the free list: a count, then page numbers in descending order. */
static bool check_free_pages(struct walk *w, const uint8_t *at, uint64_t bytes, uint64_t number)
{
    uint64_t count = bytes >= 8 ? load_u64(at) : UINT64_MAX, above = UINT64_MAX;

    if (bytes & 7 || count > bytes / 8 - 1)
        return damage(w, "an entry of the free list has a wrong length", number);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = load_u64(at + 8 * i);
        if (page >= above)
            return damage(w, "an entry of the free list is out of order", number);
        if (!take_pages(w, page, 1, number))
            return false;
        above = page;
    }
    return true;
}

static bool check_free_run(struct walk *w, const struct node *node, uint64_t pages, uint64_t number)
{
    uint8_t *run = malloc(pages * w->meta.page_bytes);
    bool good;

    if (!run) {
        w->code = ERR_MEMORY;
        return false;
    }
    good = read_at(w, node->run * w->meta.page_bytes, run, pages * w->meta.page_bytes);
    if (good && (load_u64(run) != node->run || load_u16(run + 10) != PAGE_OVERFLOW ||
                 load_u32(run + 12) != pages))
        good = damage(w, "the head of a run of pages is wrong", node->run);
    good = good && check_free_pages(w, run + PAGE_HEADER, node->value_bytes, number);
    free(run);
    return good;
}

/* Small values whose damage nobody would notice later. A feed's cursor is one, but where it holds a long line. */
static bool check_value(struct walk *w, const struct node *node, uint64_t number)
{
    uint8_t kind = node->key.data[0];
    size_t bytes = node->value.bytes - CHECKSUM_BYTES;

    if (kind == KEY_NOTE || kind == KEY_CHECKPOINT || kind == KEY_ENTRY || kind == KEY_CHUNK ||
        (kind == KEY_FEED && node->big))
        return true;
    if (node->big || node->value.bytes < CHECKSUM_BYTES ||
        load_u64(node->value.data + bytes) != key_checksum(node->key, node->value.data, bytes))
        return damage(w, "a key or a small value is damaged", number);
    return true;
}

/* A stream's number in a key, marked or asked for. */
static bool note_stream(struct walk *w, struct view key, bool name, uint64_t number)
{
    uint64_t stream = key.bytes >= 9 ? key_number(key.data + 1) : 0;

    if (stream == 0 || stream >= STORE_STREAMS_MAX || (name && key.bytes != 9))
        return damage(w, "a key holds no stream number", number);
    if (name)
        w->named[stream >> 3] |= (uint8_t)(1u << (stream & 7));
    else if (!(w->named[stream >> 3] & (1u << (stream & 7))))
        return damage(w, "a key belongs to a stream without name", number);
    return true;
}

/* Whether key and the key before it differ in their last `digits` bytes alone. */
static bool shares_prefix(const struct walk *w, struct view key, size_t digits)
{
    return w->before.bytes == key.bytes &&
           memcmp(w->before.data, key.data, key.bytes - digits) == 0;
}

/* Keys that count must count on from the key before: the last `digits` bytes of both. */
static bool follows(const struct walk *w, struct view key, size_t digits)
{
    uint64_t now = 0, then = 0;

    if (!shares_prefix(w, key, digits))
        return false;
    for (size_t i = key.bytes - digits; i < key.bytes; i++) {
        now = now << 8 | key.data[i];
        then = then << 8 | w->before.data[i];
    }
    return now == then + 1;
}

/* A queue's own value says its number, once; chunks belong to such a queue and follow each other. */
static bool check_queue(struct walk *w, const struct node *node, uint64_t number)
{
    uint64_t queue = node->value.bytes >= 8 ? load_u64(node->value.data) : 0;

    if (queue == 0 || queue >= STORE_STREAMS_MAX || w->queues[queue >> 3] & (1u << (queue & 7)))
        return damage(w, "a queue of the spool has no number of its own", number);
    w->queues[queue >> 3] |= (uint8_t)(1u << (queue & 7));
    return true;
}

static bool check_chunk(struct walk *w, const struct node *node, uint64_t number)
{
    uint64_t queue = node->key.bytes == 17 ? key_number(node->key.data + 1) : 0, offset;
    uint64_t bytes = node->value_bytes - CHECKSUM_BYTES;

    if (queue == 0 || queue >= STORE_STREAMS_MAX || !(w->queues[queue >> 3] & (1u << (queue & 7))))
        return damage(w, "bytes of the spool belong to no queue", number);
    offset = key_number(node->key.data + 9);
    if (node->value_bytes <= CHECKSUM_BYTES || bytes > UINT64_MAX - offset ||
        (w->chunk_queue == queue && w->chunk_end != offset))
        return damage(w, "bytes of the spool are missing", number);
    w->chunk_queue = queue;
    w->chunk_end = offset + bytes;
    return true;
}

/* A stream and a slot of it, as one number. */
static uint64_t slot_hash(const uint8_t *stream, uint32_t slot)
{
    uint8_t bytes[4];

    store_u32(bytes, slot);
    return key_checksum((struct view){stream, 8}, bytes, sizeof bytes);
}

/* A slot belongs to one savepoint and holds one checkpoint. The names come behind all slots, so sums are compared
 * at the end instead of sets: what is missing on one side, or there twice, changes them. */
static bool check_slot(struct walk *w, struct view key, uint64_t number)
{
    uint32_t slot = (uint32_t)(key_number(key.data + 5) & UINT32_MAX);

    if (slot == 0)
        return true;
    if (w->before.bytes == key.bytes && memcmp(w->before.data, key.data, 13) == 0)
        return damage(w, "a savepoint's slot holds two checkpoints", number);
    w->slots_less_points += slot_hash(key.data + 1, slot);
    return true;
}

static bool check_point(struct walk *w, const struct node *node, uint64_t number)
{
    char name[STORE_POINT_MAX + 1] = "";
    size_t bytes = node->key.bytes - 9;

    if (node->key.bytes > 9 && bytes <= STORE_POINT_MAX)
        memcpy(name, node->key.data + 9, bytes);
    if (!store_point_name(name) || strlen(name) != bytes ||
        node->value.bytes != 4 + CHECKSUM_BYTES || load_u32(node->value.data) == 0)
        return damage(w, "a savepoint's name or slot makes no sense", number);
    w->slots_less_points -= slot_hash(node->key.data + 1, load_u32(node->value.data));
    return true;
}

/* Whether a key fits to those before it. */
static bool check_layout(struct walk *w, const struct node *node, uint64_t number)
{
    static const uint8_t zero[4];
    struct view key = node->key;
    uint8_t kind = key.data[0];
    bool good = true;

    if (kind == KEY_CATALOGUE)
        w->names_less_entries--;
    else if (kind == KEY_NAME) {
        w->names_less_entries++;
        good = note_stream(w, key, true, number);
    } else if (kind == KEY_NOTE)
        good = note_stream(w, key, false, number);
    else if (kind == KEY_SAVEPOINT)
        good = note_stream(w, key, false, number) && check_point(w, node, number);
    else if (kind == KEY_CHECKPOINT) {
        bool first = key.bytes == 25 && memcmp(key.data + 21, zero, 4) == 0;
        good = note_stream(w, key, false, number);
        if (good && (key.bytes != 25 || (!first && !follows(w, key, 4))))
            good = damage(w, "parts of a checkpoint are missing", number);
        good = good && (!first || check_slot(w, key, number));
    } else if (kind == KEY_ENTRY) {
        if (key.bytes < 1 + 1 + 1 + 8 || (shares_prefix(w, key, 8) && !follows(w, key, 8)))
            good = damage(w, "entries of a journal are missing", number);
    } else if (kind == KEY_QUEUE)
        good = check_queue(w, node, number);
    else if (kind == KEY_CHUNK)
        good = check_chunk(w, node, number);
    w->before.bytes = key.bytes;
    memcpy(w->before.data, key.data, key.bytes);
    return good;
}

static bool check_leaf_node(struct walk *w, const struct node *node, uint64_t number)
{
    uint64_t pages = 0;

    w->seen.entries++;
    if (node->big) {
        pages = page_run(node->value_bytes, w->meta.page_bytes);
        if (!take_pages(w, node->run, pages, number))
            return false;
        if (node->run + pages > w->file_pages)
            return damage(w, "the file ends within a value of it", number);
        w->seen.overflows += pages;
    }
    if (!w->seen.is_free_list)
        return check_value(w, node, number) && check_layout(w, node, number);
    return node->big ? check_free_run(w, node, pages, number)
                     : check_free_pages(w, node->value.data, node->value_bytes, number);
}

/* ---- Trees ---- */

static bool check_page(struct walk *w, uint64_t number, uint16_t level, struct bounds bounds,
                       uint64_t told_by);

/* All nodes, one after the other; of a branch each child with the bounds that its keys give. The key of
 * a branch's first node means "no bound". */
static bool check_nodes(struct walk *w, const uint8_t *page, uint64_t number, uint16_t level,
                        struct bounds bounds)
{
    unsigned count = (load_u16(page + 12) - PAGE_HEADER) / 2u;
    bool leaf = level + 1 == w->depth;
    size_t taken = 0, ignored = 0;
    struct node node, next = {0};

    if (!read_node(w, page, number, 0, &next, &taken))
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct bounds inner = bounds;
        node = next;
        if (i + 1 < count) {
            if (!read_node(w, page, number, i + 1, &next, &ignored))
                return false;
            inner.high = next.key;
            if (!key_fits(w, next.key, &bounds, number))
                return false;
        }
        if (leaf || i > 0) {
            if (!key_fits(w, node.key, &inner, number))
                return false;
            inner.low = node.key;
        }
        if (leaf ? !check_leaf_node(w, &node, number)
                 : !check_page(w, node.child, (uint16_t)(level + 1), inner, number))
            return false;
    }
    if (taken + ignored != w->meta.page_bytes - load_u16(page + 14))
        return damage(w, "its nodes do not fill it", number);
    return true;
}

static bool check_page(struct walk *w, uint64_t number, uint16_t level, struct bounds bounds,
                       uint64_t told_by)
{
    const uint8_t *page = take_pages(w, number, 1, told_by) ? read_page(w, number, level) : NULL;

    if (!page)
        return false;
    if (level + 1 == w->depth)
        w->seen.leaves++;
    else
        w->seen.branches++;
    return check_nodes(w, page, number, level, bounds);
}

static bool check_tree(struct walk *w, const struct tree *tree)
{
    struct bounds none = {0};
    uint16_t flags = tree->is_free_list ? TREE_INTEGER_KEYS : 0;

    if (tree->flags != flags)
        return damage(w, "a tree has flags that are never written", 0);
    w->seen = (struct tree){.is_free_list = tree->is_free_list};
    w->depth = tree->depth;
    if (tree->depth > DEPTH_MAX || (tree->root == NO_ROOT) != (tree->depth == 0))
        return damage(w, "a tree has an impossible depth", 0);
    if (tree->root != NO_ROOT && !check_page(w, tree->root, 0, none, 0))
        return false;
    if (w->seen.branches != tree->branches || w->seen.leaves != tree->leaves ||
        w->seen.overflows != tree->overflows || w->seen.entries != tree->entries)
        return damage(w, "a tree has not the pages and entries that the meta page counts", 0);
    return true;
}

/* ---- The file ---- */

/* Whether no transaction was ever committed: a power cut while the store is made can leave any part of
 * the first pages as zeros, and the meta pages, if they are there, with transaction 0. Once the first
 * commit is durable one of them has another. */
static bool is_unborn(struct walk *w)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

    if (w->file_bytes > UNBORN_MAX)
        return false;
    for (unsigned index = 0; index < 2; index++) {
        uint8_t at[META_BYTES] = {0};
        size_t used = 0;
        if (w->file_bytes >= index * page_bytes + sizeof at &&
            !read_at(w, index * page_bytes, at, sizeof at))
            return false;
        while (used < sizeof at && at[used] == 0)
            used++;
        if (used < sizeof at && (load_u32(at + 16) != LMDB_MAGIC || load_u64(at + 144) != 0))
            return false;
    }
    return true;
}

static bool check_once(struct walk *w)
{
    struct stat status;

    if (fstat(w->fd, &status) != 0) {
        w->code = ERR_SYSTEM;
        w->cause = errno;
        return false;
    }
    w->file_bytes = (uint64_t)status.st_size;
    if (!choose_meta(w, &w->meta))
        return false;
    w->file_pages = w->file_bytes / w->meta.page_bytes;
    w->used = calloc(1, (size_t)(w->file_pages / 8 + 1));
    w->pages = malloc((DEPTH_MAX + 1) * w->meta.page_bytes);
    w->named = calloc(1, STORE_STREAMS_MAX / 8);
    w->queues = calloc(1, STORE_STREAMS_MAX / 8);
    if (!w->used || !w->pages || !w->named || !w->queues) {
        w->code = ERR_MEMORY;
        return false;
    }
    if (!check_tree(w, &w->meta.keys) || !check_tree(w, &w->meta.free_list))
        return false;
    if (w->slots_less_points)
        return damage(w, "savepoints and their slots do not match", 0);
    return w->names_less_entries == 0 || damage(w, "names and numbers of streams do not match", 0);
}

/* Whether another process committed meanwhile: then what looked like damage may be its new pages. A
 * page of the transaction that we read is not written before a later one is complete. */
static bool has_moved(struct walk *w)
{
    struct walk again = {.fd = w->fd, .file_bytes = UINT64_MAX / 2};
    struct meta meta;

    return w->meta.page_bytes && choose_meta(&again, &meta) &&
           meta.transaction != w->meta.transaction;
}

static enum err_code refuse(const struct walk *w, const char *path, struct err *err)
{
    if (w->code == ERR_MEMORY)
        return err_set(err, ERR_MEMORY, 0, "check the pages of '%s'", path);
    if (w->code == ERR_VERSION)
        return err_set(err, ERR_VERSION, 0, "'%s/data.mdb' was made by another version of LMDB",
                       path);
    if (w->code)
        return err_set(err, w->code, w->cause, "read '%s/data.mdb'", path);
    return err_set(err, ERR_DAMAGED, 0,
                   "the store '%s' is damaged (%s); its files were not touched; " STORE_REMEDY,
                   path, w->what);
}

enum err_code walk_check(int folder_fd, const char *name, const char *path, bool *born,
                         struct err *err)
{
    enum err_code code = ERR_OK;
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    struct stat status;
    bool again = true;

    *born = false;
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || fstat(fd, &status) != 0) {
        code = err_set(err, ERR_SYSTEM, errno, "open '%s/%s'", path, name);
        again = false;
    } else {
        struct walk start = {.fd = fd, .file_bytes = (uint64_t)status.st_size};
        if (is_unborn(&start))
            again = false;
        else
            *born = true;
    }
    for (int run = 0; again && run < RUNS_AGAIN; run++) {
        struct walk w = {.fd = fd};
        bool good = check_once(&w);
        code = good ? ERR_OK : refuse(&w, path, err);
        again = !good && has_moved(&w);
        if (again)
            code = ERR_OK; /* a live owner looked at the file when it opened it */
        free(w.used);
        free(w.pages);
        free(w.named);
        free(w.queues);
    }
    if (fd >= 0)
        close(fd);
    return code;
}
