/* Everything that passes its checksum is gathered from all pages of the file, the free ones too: LMDB
 * writes each change to other pages, so most of what was once written still stands somewhere. A copy's
 * origin says how near to the truth it is:
 *
 *   live     the tree reaches its leaf: it is what the store holds
 *   torn     the tree reaches its page, and that is damaged
 *   orphan   not reached and not free: what a damaged page above it, or beside it, has lost
 *   stale    on a free page: what the store once held, or what a transaction wrote that was cut short
 *
 * choose.c decides between versions. */
#include "store/salvage.h"

#include "store/head.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

/* ---- Lists ---- */

void copies_add(struct salvage *s, struct copies *list, struct copy *copy)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        struct copy **at = realloc(list->at, room * sizeof *at);
        if (!at) {
            s->short_memory = true;
            return;
        }
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] = copy;
}

static int compare(struct view a, struct view b)
{
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

int copies_order(const void *a, const void *b)
{
    const struct copy *x = *(struct copy *const *)a, *y = *(struct copy *const *)b;
    int order = compare(copy_key(x), copy_key(y));

    if (order)
        return order;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

size_t copies_from(const struct copies *list, struct view key)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(copy_key(list->at[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct copy **copies_find(const struct copies *list, struct view key, size_t *count)
{
    size_t first = copies_from(list, key), end = first;

    while (end < list->count && compare(copy_key(list->at[end]), key) == 0)
        end++;
    *count = end - first;
    return list->count ? list->at + first : NULL;
}

static struct copy *copy_new(struct view key)
{
    struct copy *copy = calloc(1, sizeof *copy + key.bytes);

    if (copy) {
        copy->key_bytes = (uint16_t)key.bytes;
        memcpy(copy->key, key.data, key.bytes);
    }
    return copy;
}

static void copy_free(struct copy *copy)
{
    if (copy)
        free(copy->made);
    free(copy);
}

struct copy *copy_make(struct salvage *s, struct view key, struct view payload)
{
    struct copy *copy = copy_new(key);
    uint8_t *made = malloc(payload.bytes + CHECKSUM_BYTES);

    if (!copy || !made) {
        s->short_memory = true;
        free(made);
        free(copy);
        return NULL;
    }
    memcpy(made, payload.data, payload.bytes);
    copy->checksum = key_checksum(key, payload.data, payload.bytes);
    store_u64(made + payload.bytes, copy->checksum);
    copy->made = made;
    copy->bytes = payload.bytes + CHECKSUM_BYTES;
    size_t before = s->owned.count;
    copies_add(s, &s->owned, copy);
    if (s->owned.count == before) {
        copy_free(copy);
        return NULL;
    }
    return copy;
}

size_t copy_read(const struct salvage *s, const struct copy *copy, uint8_t *into, size_t room)
{
    size_t bytes = copy->bytes - CHECKSUM_BYTES;

    if (bytes > room)
        bytes = room;
    if (copy->made)
        memcpy(into, copy->made, bytes);
    else
        scan_read(s->survey.fd, copy->at, into, bytes);
    return copy->bytes - CHECKSUM_BYTES;
}

bool copy_usable(const struct salvage *s, const struct copy *copy)
{
    size_t bad;

    if (copy->origin != ORIGIN_STALE || s->all_lost || survey_in_hole(&s->survey, copy_key(copy)))
        return true;
    copies_find(&s->bad, copy_key(copy), &bad);
    return bad > 0;
}

/* ---- Gathering ---- */

/* Whether the hash is new; it is known from now on. */
static bool remember(struct salvage *s, uint64_t hash)
{
    hash += hash == 0;
    if (2 * s->seen_count >= s->seen_room) {
        size_t room = s->seen_room ? 2 * s->seen_room : 4096;
        uint64_t *seen = calloc(room, sizeof *seen);
        if (!seen) {
            s->short_memory = true;
            return false;
        }
        for (size_t i = 0; i < s->seen_room; i++) {
            size_t at = s->seen[i] & (room - 1);
            while (s->seen[i] && seen[at])
                at = (at + 1) & (room - 1);
            if (s->seen[i])
                seen[at] = s->seen[i];
        }
        free(s->seen);
        s->seen = seen;
        s->seen_room = room;
    }
    size_t at = hash & (s->seen_room - 1);
    while (s->seen[at] && s->seen[at] != hash)
        at = (at + 1) & (s->seen_room - 1);
    if (s->seen[at] == hash)
        return false;
    s->seen[at] = hash;
    s->seen_count++;
    return true;
}

static uint64_t hash_of(struct view key, uint64_t first, uint64_t second)
{
    uint64_t numbers[2] = {first, second};
    return XXH3_64bits_withSeed(numbers, sizeof numbers, XXH3_64bits(key.data, key.bytes));
}

struct gathering {
    struct salvage *salvage;
    enum origin origin;
};

/* Old leaves point to the same large values as new ones: those are read once. */
static bool want(void *user, const struct scan_value *value)
{
    struct gathering *g = user;
    return remember(g->salvage, hash_of(value->key, value->at, value->bytes));
}

static bool gather_one(void *user, const struct scan_value *value)
{
    struct gathering *g = user;
    struct salvage *s = g->salvage;
    struct copy *copy;

    if (!value->good && g->origin != ORIGIN_LIVE)
        return true; /* it may be anything */
    if (g->origin != ORIGIN_STALE && remember(s, hash_of(value->key, 0, 0)))
        s->reached++;
    s->torn_runs += g->origin != ORIGIN_STALE && value->torn_run;
    if (value->good && !remember(s, hash_of(value->key, ~value->checksum, ~value->bytes)))
        return !s->short_memory;
    copy = copy_new(value->key);
    if (!copy)
        s->short_memory = true;
    if (s->short_memory) {
        free(copy);
        return false;
    }
    copy->at = value->at;
    copy->bytes = value->bytes;
    copy->checksum = value->checksum;
    copy->origin = g->origin;
    copies_add(s, value->good ? &s->good : &s->bad, copy);
    return !s->short_memory;
}

/* The nearest to the truth first, so that of equal copies that one stays. */
static void gather_pages(struct salvage *s)
{
    for (enum origin origin = ORIGIN_LIVE; origin <= ORIGIN_STALE; origin++)
        for (uint64_t page = 0; page < s->survey.pages && !s->short_memory; page++) {
            struct gathering g = {s, origin};
            bool memory;
            if (s->survey.origin[page] != origin)
                continue;
            (void)scan_page(&s->scan, page, want, gather_one, &g, &memory);
            s->short_memory = s->short_memory || memory;
        }
}

static void read_heads(struct salvage *s)
{
    struct key key = key_of(KEY_HEAD);
    size_t count;
    struct copy **heads = copies_find(&s->good, (struct view){key.data, key.bytes}, &count);
    struct head_seen *h = &s->head;

    for (size_t i = 0; i < count; i++) {
        uint8_t at[HEAD_BYTES];
        struct head head;
        if (copy_read(s, heads[i], at, sizeof at) != sizeof at ||
            !head_read((struct view){at, sizeof at}, &head))
            continue;
        if (!h->any || head.sequence > h->sequence)
            memcpy(h->id, head.id, STORE_ID_BYTES);
        h->any = true;
        h->format = head.format > h->format ? head.format : h->format;
        h->owner_epoch = head.owner_epoch > h->owner_epoch ? head.owner_epoch : h->owner_epoch;
        h->next_stream = head.next_stream > h->next_stream ? head.next_stream : h->next_stream;
        h->sequence = head.sequence > h->sequence ? head.sequence : h->sequence;
    }
}

enum err_code salvage_gather(struct salvage *s, int fd, const char *path, struct err *err)
{
    enum err_code code;

    *s = (struct salvage){.scan.fd = -1};
    code = survey_open(&s->survey, fd, path, err);
    if (!code)
        code = scan_open(&s->scan, fd, s->survey.file_bytes, s->survey.page_bytes, err);
    if (code)
        return code;
    gather_pages(s);
    if (s->short_memory)
        return err_set(err, ERR_MEMORY, 0, "gather what '%s' holds", path);
    if (s->good.count)
        qsort(s->good.at, s->good.count, sizeof *s->good.at, copies_order);
    if (s->bad.count)
        qsort(s->bad.at, s->bad.count, sizeof *s->bad.at, copies_order);
    s->all_lost = !s->survey.any || !s->survey.newest ||
                  (!s->survey.hole_count && s->reached != s->survey.meta.keys.entries);
    read_heads(s);
    return ERR_OK;
}

uint64_t salvage_seen(const struct store_repair_options *options, const uint8_t *id)
{
    for (size_t i = 0; i < options->seen_count; i++)
        if (!memcmp(options->seen[i].id, id, STORE_ID_BYTES))
            return options->seen[i].epoch;
    return 0;
}

void salvage_release(struct salvage *s)
{
    struct copies *lists[] = {&s->good, &s->bad, &s->owned};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (size_t k = 0; k < lists[i]->count; k++)
            copy_free(lists[i]->at[k]);
        free(lists[i]->at);
    }
    free(s->chosen.at);
    free(s->seen);
    scan_close(&s->scan);
    survey_close(&s->survey);
    *s = (struct salvage){.scan.fd = -1};
}
