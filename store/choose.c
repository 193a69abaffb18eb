/* Which version of each value a new file gets.
 *
 * Where all that the meta page counts was found in leaves that are live or lost to a damaged branch, that
 * is the store, exactly, and nothing is chosen. Else, key by key:
 *
 *   A live version wins, then that of a torn page, then an orphan. A stale one is taken only where the
 *   truth may have been lost: in a range of keys that a damaged page covered, under a key whose live
 *   value is damaged, or anywhere where the newest meta page or the count of entries is not to be had.
 *   A checkpoint counts only when its meta value and exactly the parts that the meta value's seal names
 *   are there, and when the seal names the stream that has its number. So parts of two attempts are
 *   never mixed, and a stale checkpoint is still one that was whole: an older place, read on from again.
 *   One without a seal (format 1) must be live in all its parts.
 *   The three newest are kept; where none of those can be, stale ones are. A savepoint is never made of
 *   stale values: nothing tells which of two that had one slot they were.
 *   A stream's name is in its name value, in the catalogue, or among the names that the outputs know,
 *   there known again by the seal. A note has nothing to be ordered by: of stale ones the first.
 *
 * A journal's entries bind what was written after them, so one with a gap is worse than none: it is
 * mended only where it is exact. */
#include "store/salvage.h"

#include "store/head.h"
#include <stdio.h>
#include <stdlib.h>

enum { CHECKPOINT_KEY_BYTES = 25, SLOT_AT = 9, NUMBER_AT = 13, PART_AT = 21, SAID_MAX = 20 };
enum { USABLE = -1 }; /* in the place of the worst origin that a meta value may have */

struct pick { /* a stream and the name it gets */
    uint64_t stream;
    struct view name; /* lent by a key or by the options, or in text */
    char text[STORE_NAME_MAX + 1];
    uint64_t hash;
    int score;
    bool dropped;
};

struct choice {
    struct salvage *s;
    const struct store_repair_options *options;
    uint64_t *streams; /* ascending */
    size_t stream_count, stream_room;
    struct pick *picks;                      /* (stream_count) */
    struct copies by_stream;                 /* usable entries of the catalogue */
    struct copies points;                    /* savepoints chosen of the stream at hand */
    struct copy *parts[1 + STORE_PARTS_MAX]; /* of the checkpoint looked at: meta, parts */
    size_t part_count;
};

static void say(const struct choice *c, const char *line)
{
    c->s->lost++;
    if (c->options->say)
        c->options->say(c->options->user, line);
}

static void choose(struct choice *c, struct copy *copy)
{
    if (copy)
        copies_add(c->s, &c->s->chosen, copy);
}

static uint8_t kind_of(const struct copy *copy)
{
    return copy->key[0];
}

/* The best version of a key; NULL where none may be used. They are sorted. */
static struct copy *best(const struct choice *c, struct key key)
{
    size_t count;
    struct copy **found = copies_find(&c->s->good, (struct view){key.data, key.bytes}, &count);
    return count && copy_usable(c->s, found[0]) ? found[0] : NULL;
}

static uint64_t number_of(const struct choice *c, const struct copy *copy)
{
    uint8_t at[8] = {0};
    return copy_read(c->s, copy, at, sizeof at) == sizeof at ? load_u64(at) : 0;
}

/* ---- Exactly ---- */

static bool is_exact(const struct salvage *s)
{
    if (!s->survey.newest || s->bad.count || s->reached != s->survey.meta.keys.entries)
        return false;
    for (size_t i = 1; i < s->good.count; i++) {
        size_t count;
        if (s->good.at[i]->origin == ORIGIN_STALE)
            continue;
        struct copy **same = copies_find(&s->good, copy_key(s->good.at[i]), &count);
        if (count > 1 && same[1]->origin != ORIGIN_STALE)
            return false;
    }
    return true;
}

/* Whether what is not stale makes a store by itself: all of it belongs to a stream with a name. */
static bool is_named(const struct salvage *s)
{
    size_t names = 0, entries = 0, count;

    for (size_t i = 0; i < s->good.count; i++) {
        const struct copy *copy = s->good.at[i];
        uint8_t kind = kind_of(copy);
        if (copy->origin == ORIGIN_STALE)
            continue;
        names += kind == KEY_NAME;
        entries += kind == KEY_CATALOGUE;
        if (kind != KEY_NOTE && kind != KEY_CHECKPOINT && kind != KEY_SAVEPOINT)
            continue;
        struct key name =
            key_stream(KEY_NAME, copy->key_bytes >= 9 ? key_number(copy->key + 1) : 0);
        copies_find(&s->good, (struct view){name.data, name.bytes}, &count);
        if (!count)
            return false;
    }
    return names == entries;
}

static void choose_exactly(struct choice *c)
{
    for (size_t i = 0; i < c->s->good.count; i++)
        if (c->s->good.at[i]->origin != ORIGIN_STALE && kind_of(c->s->good.at[i]) != KEY_HEAD)
            choose(c, c->s->good.at[i]);
    c->s->exact = true;
}

/* ---- Streams ---- */

static int order_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void add_stream(struct choice *c, uint64_t stream)
{
    if (stream == 0 || stream >= STORE_STREAMS_MAX ||
        (c->stream_count && c->streams[c->stream_count - 1] == stream))
        return;
    if (c->stream_count == c->stream_room) {
        size_t room = c->stream_room ? 2 * c->stream_room : 64;
        uint64_t *streams = realloc(c->streams, room * sizeof *streams);
        if (!streams) {
            c->s->short_memory = true;
            return;
        }
        c->streams = streams;
        c->stream_room = room;
    }
    c->streams[c->stream_count++] = stream;
}

/* Every number that a usable key or entry of the catalogue has. */
static void collect_streams(struct choice *c)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->s->good.count; i++) {
        struct copy *copy = c->s->good.at[i];
        uint8_t kind = kind_of(copy);
        if (kind > KEY_SAVEPOINT || !copy_usable(c->s, copy))
            continue;
        if (kind == KEY_CATALOGUE) {
            add_stream(c, number_of(c, copy));
            copies_add(c->s, &c->by_stream, copy);
        } else if (kind == KEY_NAME || kind == KEY_CHECKPOINT) {
            add_stream(c, copy->key_bytes >= 9 ? key_number(copy->key + 1) : 0);
        }
    }
    if (c->stream_count)
        qsort(c->streams, c->stream_count, sizeof *c->streams, order_numbers);
    for (size_t i = 0; i < c->stream_count; i++)
        if (i == 0 || c->streams[i] != c->streams[kept - 1])
            c->streams[kept++] = c->streams[i];
    c->stream_count = kept;
}

static struct pick *pick_of(const struct choice *c, uint64_t stream)
{
    uint64_t *at = c->stream_count
                       ? bsearch(&stream, c->streams, c->stream_count, sizeof *at, order_numbers)
                       : NULL;
    return at ? &c->picks[at - c->streams] : NULL;
}

/* Whether a checkpoint of the stream says that this is its name. */
static bool is_sealed_with(const struct choice *c, uint64_t stream, uint64_t hash)
{
    struct key key = key_stream(KEY_CHECKPOINT, stream);
    const struct copies *good = &c->s->good;

    for (size_t i = copies_from(good, (struct view){key.data, key.bytes});
         i < good->count && key_starts(copy_key(good->at[i]), &key); i++) {
        const struct copy *copy = good->at[i];
        uint8_t at[12];
        if (copy->key_bytes != CHECKPOINT_KEY_BYTES ||
            memcmp(copy->key + PART_AT, "\0\0\0", 4) != 0)
            continue;
        if (copy_read(c->s, copy, at, sizeof at) >= sizeof at && at[3] & 0x80 &&
            load_u64(at + 4) == hash)
            return true;
    }
    return false;
}

/* Live names are sure; else one that a checkpoint bears out; else, but for a guess, any. */
static void consider(const struct choice *c, struct pick *p, struct view name, enum origin origin,
                     bool guess)
{
    uint64_t hash;
    int score;

    if (!p || !name.bytes || name.bytes > STORE_NAME_MAX || memchr(name.data, 0, name.bytes))
        return;
    hash = seal_name(name);
    score = (origin == ORIGIN_LIVE    ? 8
             : origin != ORIGIN_STALE ? 2
             : guess                  ? 0
                                      : 1) +
            (origin != ORIGIN_LIVE && is_sealed_with(c, p->stream, hash) ? 4 : 0);
    if (score <= p->score || (guess && score < 4))
        return;
    memcpy(p->text, name.data, name.bytes);
    p->name = (struct view){(const uint8_t *)p->text, name.bytes};
    p->hash = hash;
    p->score = score;
}

static void name_streams(struct choice *c)
{
    for (size_t i = 0; i < c->stream_count; i++) {
        struct key key = key_stream(KEY_NAME, c->streams[i]);
        size_t count;
        struct copy **found = copies_find(&c->s->good, (struct view){key.data, key.bytes}, &count);
        c->picks[i].stream = c->streams[i];
        for (size_t k = 0; k < count; k++) {
            uint8_t name[STORE_NAME_MAX + 1];
            size_t bytes = copy_read(c->s, found[k], name, sizeof name);
            if (copy_usable(c->s, found[k]))
                consider(c, &c->picks[i], (struct view){name, bytes}, (enum origin)found[k]->origin,
                         false);
        }
    }
    for (size_t i = 0; i < c->by_stream.count; i++) {
        const struct copy *copy = c->by_stream.at[i];
        consider(c, pick_of(c, number_of(c, copy)),
                 (struct view){copy->key + 1, copy->key_bytes - 1u}, (enum origin)copy->origin,
                 false);
    }
    for (size_t i = 0; i < c->stream_count; i++)
        for (size_t k = 0; k < c->options->name_count && c->picks[i].score < 4; k++) {
            const char *name = c->options->names[k];
            consider(c, &c->picks[i], (struct view){(const uint8_t *)name, strlen(name)},
                     ORIGIN_STALE, true);
        }
}

static int order_names(const void *a, const void *b)
{
    const struct pick *x = *(struct pick *const *)a, *y = *(struct pick *const *)b;
    int order = strcmp(x->text, y->text);

    if (order)
        return order;
    return x->score != y->score ? y->score - x->score : x->stream > y->stream ? -1 : 1;
}

/* A name has one stream: the surer, then the later, since numbers are not used again. */
static void settle_names(struct choice *c)
{
    struct pick **order = malloc((c->stream_count + 1) * sizeof *order);
    char line[STORE_NAME_MAX + 120];

    if (!order) {
        c->s->short_memory = true;
        return;
    }
    for (size_t i = 0; i < c->stream_count; i++)
        order[i] = &c->picks[i];
    qsort(order, c->stream_count, sizeof *order, order_names);
    for (size_t i = 0; i < c->stream_count; i++) {
        struct pick *p = order[i];
        p->dropped = !p->name.bytes || (i > 0 && !strcmp(p->text, order[i - 1]->text));
        if (p->dropped && !p->name.bytes) {
            snprintf(line, sizeof line, "stream %llu: its name is lost, so is what it holds",
                     (unsigned long long)p->stream);
            say(c, line);
        }
    }
    free(order);
}

/* ---- Checkpoints ---- */

/* Version of a part that the seal names; without a seal the live one. */
static struct copy *find_part(const struct choice *c, const struct copy *meta, uint32_t part,
                              const struct seal *seal)
{
    struct key key = {.bytes = PART_AT};
    size_t count;

    memcpy(key.data, meta->key, PART_AT);
    key_u32(&key, part);
    struct copy **found = copies_find(&c->s->good, (struct view){key.data, key.bytes}, &count);
    for (size_t i = 0; i < count; i++)
        if (seal->sealed ? found[i]->checksum == seal_checksum(seal, part - 1)
                         : found[i]->origin == ORIGIN_LIVE)
            return found[i];
    return NULL;
}

/* Whether meta begins a checkpoint that is all there; then it is in c->parts. */
static bool is_whole(struct choice *c, struct copy *meta, uint64_t hash)
{
    size_t bytes = meta->bytes - CHECKSUM_BYTES;
    uint8_t *payload = malloc(bytes + 1);
    struct seal seal;
    bool whole;

    if (!payload) {
        c->s->short_memory = true;
        return false;
    }
    copy_read(c->s, meta, payload, bytes);
    whole = seal_read((struct view){payload, bytes}, &seal) &&
            (seal.sealed ? seal.name == hash : meta->origin == ORIGIN_LIVE);
    c->parts[0] = meta;
    c->part_count = 1;
    for (size_t i = 0; whole && i < seal.parts; i++) {
        c->parts[c->part_count] = find_part(c, meta, (uint32_t)i + 1, &seal);
        whole = c->parts[c->part_count++] != NULL;
    }
    free(payload);
    return whole;
}

/* The first whole version of the checkpoint whose meta values are `count` copies at first. */
static bool find_whole(struct choice *c, struct copy **first, size_t count, uint64_t hash,
                       int worst)
{
    for (size_t i = 0; i < count; i++)
        if ((first[i]->origin <= worst || (worst == USABLE && copy_usable(c->s, first[i]))) &&
            is_whole(c, first[i], hash))
            return true;
    return false;
}

/* Choose the newest whole checkpoints of a slot, at most max; returns how many, *newest the first. */
static size_t choose_slot(struct choice *c, const struct pick *p, uint32_t slot, size_t max,
                          int worst, struct copy **newest)
{
    struct key prefix = key_stream(KEY_CHECKPOINT, p->stream), above;
    const struct copies *good = &c->s->good;
    size_t kept = 0;

    key_u32(&prefix, slot);
    above = prefix;
    key_u64(&above, UINT64_MAX);
    key_u32(&above, UINT32_MAX);
    size_t first = copies_from(good, (struct view){prefix.data, prefix.bytes});
    size_t end = copies_from(good, (struct view){above.data, above.bytes});
    while (end > first && kept < max) {
        struct copy *last = good->at[end - 1];
        size_t count;
        struct copy **same = copies_find(good, copy_key(last), &count);
        end = (size_t)(same - good->at);
        if (last->key_bytes != CHECKPOINT_KEY_BYTES ||
            memcmp(last->key + PART_AT, "\0\0\0", 4) != 0 ||
            !find_whole(c, same, count, p->hash, worst))
            continue;
        for (size_t i = 0; i < c->part_count; i++)
            choose(c, c->parts[i]);
        if (kept++ == 0)
            *newest = c->parts[0];
    }
    return kept;
}

/* ---- What is told of a stream ---- */

/* The newest checkpoint that the store held, whole or not; a good meta value of it, or NULL. */
static uint64_t newest_held(const struct choice *c, uint64_t stream, struct copy **meta)
{
    struct key from = key_checkpoint(stream, 0, 0);
    const struct copies *lists[] = {&c->s->good, &c->s->bad};
    uint64_t newest = 0, number;

    *meta = NULL;
    for (int list = 0; list < 2; list++)
        for (size_t i = copies_from(lists[list], (struct view){from.data, from.bytes});
             i < lists[list]->count; i++) {
            struct copy *copy = lists[list]->at[i];
            if (!key_is_checkpoint(copy_key(copy), stream, &number))
                break;
            if (copy->origin == ORIGIN_STALE || number < newest)
                continue;
            if (number > newest)
                *meta = NULL;
            newest = number;
            if (list == 0 && !memcmp(copy->key + PART_AT, "\0\0\0", 4))
                *meta = copy;
        }
    return newest;
}

/* The caller's part of a meta value, in memory that is freed by the caller. */
static uint8_t *read_meta(const struct choice *c, const struct copy *copy, struct view *meta)
{
    uint8_t *payload = copy ? malloc(copy->bytes) : NULL;
    struct seal seal;

    *meta = (struct view){0};
    if (!payload)
        return NULL;
    size_t bytes = copy_read(c->s, copy, payload, copy->bytes);
    if (seal_read((struct view){payload, bytes}, &seal))
        *meta = seal.meta;
    return payload;
}

static void tell_loss(struct choice *c, const struct pick *p, const struct copy *kept)
{
    struct key low = key_checkpoint(p->stream, UINT64_MAX, 0);
    struct copy *meta;
    struct store_loss loss = {.name = p->text, .stream = p->stream};
    bool unknown =
        c->s->all_lost || survey_in_hole(&c->s->survey, (struct view){low.data, low.bytes});

    loss.lost = newest_held(c, p->stream, &meta);
    loss.kept = kept ? key_number(kept->key + NUMBER_AT) : 0;
    if (loss.lost <= loss.kept) {
        if (!unknown && loss.kept)
            return;
        loss.lost = 0;
        meta = NULL;
    }
    uint8_t *lost_bytes = read_meta(c, meta, &loss.lost_meta);
    uint8_t *kept_bytes = read_meta(c, kept, &loss.kept_meta);
    c->s->lost++;
    if (c->options->lose)
        c->options->lose(c->options->user, &loss);
    free(lost_bytes);
    free(kept_bytes);
}

/* ---- One stream ---- */

static uint32_t slot_of(const struct choice *c, const struct copy *point)
{
    uint8_t at[4] = {0};
    return copy_read(c->s, point, at, sizeof at) == sizeof at ? load_u32(at) : 0;
}

/* Each slot has one name. */
static bool slot_is_taken(const struct choice *c, uint32_t slot)
{
    for (size_t i = 0; i < c->points.count; i++)
        if (slot_of(c, c->points.at[i]) == slot)
            return true;
    return false;
}

static void choose_savepoint(struct choice *c, const struct pick *p, struct copy *point)
{
    uint32_t slot = slot_of(c, point);
    struct copy *newest;
    char line[2 * STORE_NAME_MAX + 60];

    if (slot && slot_is_taken(c, slot))
        return;
    if (slot && choose_slot(c, p, slot, 1, ORIGIN_ORPHAN, &newest)) {
        choose(c, point);
        copies_add(c->s, &c->points, point);
        return;
    }
    snprintf(line, sizeof line, "%s: its savepoint '%.*s' is lost", p->text,
             (int)(point->key_bytes - 9), (const char *)point->key + 9);
    say(c, line);
}

static void choose_savepoints(struct choice *c, const struct pick *p)
{
    struct key prefix = key_stream(KEY_SAVEPOINT, p->stream);
    const struct copies *good = &c->s->good;
    size_t first = copies_from(good, (struct view){prefix.data, prefix.bytes});

    c->points.count = 0;
    for (size_t i = first, count; i < good->count && key_starts(copy_key(good->at[i]), &prefix);
         i += count) {
        copies_find(good, copy_key(good->at[i]), &count);
        if (good->at[i]->origin != ORIGIN_STALE)
            choose_savepoint(c, p, good->at[i]);
    }
}

static void choose_stream(struct choice *c, const struct pick *p)
{
    struct key name = key_stream(KEY_NAME, p->stream), entry = key_catalogue(p->text);
    struct copy *newest = NULL;
    uint8_t number[8];

    store_u64(number, p->stream);
    choose(c, copy_make(c->s, (struct view){entry.data, entry.bytes}, (struct view){number, 8}));
    choose(c, copy_make(c->s, (struct view){name.data, name.bytes}, p->name));
    choose(c, best(c, key_stream(KEY_NOTE, p->stream)));
    if (!choose_slot(c, p, 0, STORE_KEEP, USABLE, &newest))
        (void)choose_slot(c, p, 0, STORE_KEEP, ORIGIN_STALE, &newest);
    tell_loss(c, p, newest);
    choose_savepoints(c, p);
}

static void choose_streams(struct choice *c)
{
    collect_streams(c);
    c->picks = calloc(c->stream_count + 1, sizeof *c->picks);
    if (!c->picks) {
        c->s->short_memory = true;
        return;
    }
    name_streams(c);
    settle_names(c);
    for (size_t i = 0; i < c->stream_count && !c->s->short_memory; i++)
        if (!c->picks[i].dropped)
            choose_stream(c, &c->picks[i]);
}

/* ---- All ---- */

static void say_damaged(struct choice *c)
{
    const struct salvage *s = c->s;
    char line[320], words[200];

    if (s->survey.what[0]) {
        snprintf(line, sizeof line, "%s", s->survey.what);
        say(c, line);
    }
    for (size_t i = 0; i < s->bad.count && i < SAID_MAX; i++) {
        key_words(copy_key(s->bad.at[i]), words, sizeof words);
        snprintf(line, sizeof line, "%s: the value is damaged", words);
        say(c, line);
    }
    if (s->bad.count > SAID_MAX) {
        snprintf(line, sizeof line, "and %zu values more", s->bad.count - SAID_MAX);
        say(c, line);
    }
}

/* The head record of the new file: its sequence goes on, so do numbers, and no epoch was higher. */
static enum err_code choose_head(struct choice *c, const char *path, struct err *err)
{
    const struct head_seen *h = &c->s->head;
    const uint8_t *id = h->any ? h->id : c->options->seen_count == 1 ? c->options->seen->id : NULL;
    uint64_t seen = id ? salvage_seen(c->options, id) : 0;
    struct key key = key_of(KEY_HEAD);
    struct head head = {.format = ENV_FORMAT,
                        .kind = c->options->journal ? ENV_JOURNAL : ENV_STORE,
                        .next_stream = h->next_stream ? h->next_stream : 1,
                        .owner_epoch = h->owner_epoch,
                        .sequence = h->sequence + 1};
    uint8_t at[HEAD_BYTES];

    if (!id)
        return err_set(err, ERR_DAMAGED, 0,
                       "'%s' cannot be repaired: its head record is lost, and no output tells "
                       "which store it was; put back a copy of it, or begin again with another "
                       "store and output",
                       path);
    for (size_t i = 0; i < c->stream_count; i++)
        if (c->streams[i] >= head.next_stream)
            head.next_stream = c->streams[i] + 1;
    if (seen > head.owner_epoch)
        head.owner_epoch = seen;
    head.owner_epoch++;
    memcpy(head.id, id, ENV_ID_BYTES);
    head_write(&head, at);
    choose(c, copy_make(c->s, (struct view){key.data, key.bytes}, (struct view){at, sizeof at}));
    return ERR_OK;
}

enum err_code salvage_choose(struct salvage *s, const struct store_repair_options *options,
                             const char *path, struct err *err)
{
    struct choice *c = calloc(1, sizeof *c);
    enum err_code code = ERR_OK;

    if (!c)
        return err_set(err, ERR_MEMORY, 0, "choose what '%s' keeps", path);
    *c = (struct choice){.s = s, .options = options};
    bool exact = is_exact(s), named = options->journal || is_named(s);
    if (exact && named) {
        choose_exactly(c);
    } else if (options->journal) {
        code = err_set(err, ERR_DAMAGED, 0,
                       "'%s' cannot be repaired, something of it is lost (%s): put back a copy of "
                       "it, or move it away and begin the streams that it fed again with --restart",
                       path, s->survey.what[0] ? s->survey.what : "a value is damaged");
    } else {
        s->all_lost = s->all_lost || !named;
        say_damaged(c);
        choose_streams(c);
    }
    if (!code)
        code = choose_head(c, path, err);
    if (!code && s->short_memory)
        code = err_set(err, ERR_MEMORY, 0, "choose what '%s' keeps", path);
    if (!code)
        qsort(s->chosen.at, s->chosen.count, sizeof *s->chosen.at, copies_order);
    free(c->streams);
    free(c->picks);
    free(c->by_stream.at);
    free(c->points.at);
    free(c);
    return code;
}
