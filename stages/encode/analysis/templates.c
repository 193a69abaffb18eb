#include "stages/encode/analysis/templates.h"

#include <stdlib.h>
#include <xxhash.h>

enum { PATH_TOKENS = 3 };

static uint64_t path_of(const struct masked *line)
{
    uint32_t path[1 + PATH_TOKENS] = {line->count};
    uint32_t wild = mask_wild();
    uint8_t bytes[sizeof path];
    size_t used = 1;

    for (size_t i = 0; i < line->count && used <= PATH_TOKENS; i++)
        if (line->hashes[i] != wild)
            path[used++] = line->hashes[i];
    for (size_t i = 0; i <= PATH_TOKENS; i++)
        store_u32(bytes + 4 * i, path[i]);
    return XXH3_64bits(bytes, sizeof bytes);
}

/* Tokens that both have, of those that do not vary in both. */
struct likeness {
    unsigned same, of;
};

static struct likeness compare(const struct template *one, const struct masked *line, uint32_t wild)
{
    struct likeness like = {0, 0};

    for (size_t i = 0; i < one->tokens; i++) {
        like.of += one->hashes[i] != wild || line->hashes[i] != wild;
        like.same += one->hashes[i] == line->hashes[i] && line->hashes[i] != wild;
    }
    return like;
}

/* Nothing that could differ is the same in all. */
static bool is_close(struct likeness like)
{
    return like.same * 10 >= like.of * 8;
}

static bool is_closer(struct likeness like, struct likeness than)
{
    return (uint64_t)like.same * (than.of ? than.of : 1) >
           (uint64_t)than.same * (like.of ? like.of : 1);
}

static struct template *find(struct templates *t, const struct masked *line, uint64_t path)
{
    struct template *best = NULL;
    struct likeness closest = {0, 0};
    uint32_t wild = mask_wild();

    for (size_t i = 0; i < t->count; i++) {
        struct template *one = &t->list[i];
        struct likeness like;
        if (t->paths[i] != path || one->tokens != line->count)
            continue;
        like = compare(one, line, wild);
        if (!is_close(like))
            continue;
        if (!best || is_closer(like, closest) ||
            (!is_closer(closest, like) && one->id < best->id)) {
            best = one;
            closest = like;
        }
    }
    return best;
}

static uint16_t charge_of(const uint8_t *text, size_t bytes)
{
    size_t charge = bytes;

    for (size_t at = 0; at < bytes; at++) {
        size_t end = at;
        while (end < bytes && text[end] != ' ')
            end++;
        charge += end - at < 3 ? 3 - (end - at) : 0;
        at = end;
    }
    return (uint16_t)charge;
}

/* Hashes and text in one piece of memory. */
static void set_text(struct templates *t, struct template *one, const uint32_t *hashes,
                     const uint8_t *text, size_t bytes)
{
    size_t head = one->tokens * sizeof *hashes;
    uint32_t *block = malloc(head + bytes + 1);

    require(block);
    memcpy(block, hashes, head);
    memcpy((uint8_t *)block + head, text, bytes);
    t->charged -= one->charge;
    one->charge = charge_of(text, bytes);
    t->charged += one->charge;
    free(one->hashes);
    one->hashes = block;
    one->text = (uint8_t *)block + head;
    one->bytes = (uint16_t)bytes;
}

/* Tokens that differ from the line's become <*>. */
static void generalise(struct templates *t, struct template *one, const struct masked *line)
{
    uint32_t hashes[MASK_TOKENS_MAX], wild = mask_wild();
    uint8_t text[TEMPLATE_TEXT_MAX];
    size_t bytes = 0, at = 0;
    bool changed = false;

    for (size_t i = 0; i < one->tokens; i++) {
        size_t end = at;
        bool differs = one->hashes[i] != line->hashes[i] && one->hashes[i] != wild;
        while (end < one->bytes && one->text[end] != ' ')
            end++;
        if (i)
            text[bytes++] = ' ';
        memcpy(text + bytes, differs ? (const uint8_t *)"<*>" : one->text + at,
               differs ? 3 : end - at);
        bytes += differs ? 3 : end - at;
        hashes[i] = differs ? wild : one->hashes[i];
        changed = changed || differs;
        at = end + 1;
    }
    if (changed)
        set_text(t, one, hashes, text, bytes);
}

static void drop_oldest(struct templates *t)
{
    size_t oldest = 0;

    for (size_t i = 1; i < t->count; i++)
        if (t->list[i].last < t->list[oldest].last)
            oldest = i;
    t->charged -= t->list[oldest].charge;
    free(t->list[oldest].hashes);
    t->count--;
    t->list[oldest] = t->list[t->count];
    t->paths[oldest] = t->paths[t->count];
}

static struct template *add(struct templates *t, uint64_t path)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 16;
        t->list = realloc(t->list, t->room * sizeof *t->list);
        t->paths = realloc(t->paths, t->room * sizeof *t->paths);
        require(t->list && t->paths);
    }
    t->paths[t->count] = path;
    t->list[t->count] = (struct template){.id = 0};
    return &t->list[t->count++];
}

struct template *templates_match(struct templates *t, const struct masked *line)
{
    uint64_t path = path_of(line);
    struct template *one = find(t, line, path);

    if (one) {
        generalise(t, one, line);
    } else {
        while (t->count == TEMPLATES_MAX ||
               (t->count && t->charged + TEMPLATE_TEXT_MAX > TEMPLATES_BYTES))
            drop_oldest(t);
        one = add(t, path);
        one->id = t->next_id++;
        one->tokens = line->count;
        set_text(t, one, line->hashes, line->text, line->bytes);
    }
    one->count++;
    one->last = t->lines++;
    return one;
}

void template_add_value(struct template *one, float value)
{
    if (one->value_count < TEMPLATE_VALUES) {
        one->values[one->value_count++] = value;
        return;
    }
    one->values[one->value_next] = value;
    one->value_next = (uint8_t)((one->value_next + 1) % TEMPLATE_VALUES);
}

static void save_one(const struct template *one, uint64_t path, struct buffer *out)
{
    buffer_u64(out, one->id);
    buffer_u64(out, one->count);
    buffer_u64(out, one->last);
    buffer_u64(out, path);
    buffer_u8(out, one->tokens);
    buffer_u16(out, one->bytes);
    buffer_put(out, one->text, one->bytes);
    buffer_u8(out, one->value_count);
    for (size_t i = 0; i < one->value_count; i++)
        usual_put(out, one->values[(one->value_next + i) % TEMPLATE_VALUES]);
}

void templates_save(const struct templates *t, struct buffer *out)
{
    buffer_u64(out, t->next_id);
    buffer_u64(out, t->lines);
    buffer_u16(out, (uint16_t)t->count);
    for (size_t i = 0; i < t->count; i++)
        save_one(&t->list[i], t->paths[i], out);
}

/* The tokens of text, as many as are said: none is empty, none has a space. */
static bool split(struct view text, size_t tokens, uint32_t *hashes)
{
    size_t count = 0, at = 0;

    while (at < text.bytes) {
        size_t end = at;
        while (end < text.bytes && text.data[end] > ' ')
            end++;
        if (end == at || end - at > MASK_TOKEN_BYTES || count == tokens ||
            (end < text.bytes && (text.data[end] != ' ' || end + 1 == text.bytes)))
            return false;
        hashes[count++] = mask_hash(text.data + at, end - at);
        at = end + 1;
    }
    return count == tokens;
}

static bool load_text(struct templates *t, struct template *one, struct reader *r)
{
    uint32_t hashes[MASK_TOKENS_MAX];
    uint16_t bytes;
    struct view text;

    one->tokens = read_u8(r);
    bytes = read_u16(r);
    text = (struct view){bytes <= TEMPLATE_TEXT_MAX ? read_bytes(r, bytes) : NULL, bytes};
    if (!text.data || one->tokens > MASK_TOKENS_MAX || !split(text, one->tokens, hashes))
        return false;
    set_text(t, one, hashes, text.data, text.bytes);
    return true;
}

static bool load_one(struct templates *t, struct reader *r)
{
    uint64_t id = read_u64(r), count = read_u64(r), last = read_u64(r), path = read_u64(r);
    struct template *one = add(t, path);
    uint8_t values;

    one->id = id;
    one->count = count;
    one->last = last;
    if (id >= t->next_id || last >= t->lines || !count || count > t->lines || !load_text(t, one, r))
        return false;
    values = read_u8(r);
    if (values > TEMPLATE_VALUES)
        return false;
    while (one->value_count < values)
        if (!usual_get(r, &one->values[one->value_count++]))
            return false;
    return true;
}

bool templates_load(struct templates *t, struct reader *r)
{
    uint16_t count;

    t->next_id = read_u64(r);
    t->lines = read_u64(r);
    count = read_u16(r);
    if (count > TEMPLATES_MAX)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!load_one(t, r))
            return false;
    return !r->short_read && t->charged <= TEMPLATES_BYTES;
}

size_t templates_memory(const struct templates *t)
{
    size_t bytes = t->room * (sizeof *t->list + sizeof *t->paths) + t->charged;

    for (size_t i = 0; i < t->count; i++)
        bytes += t->list[i].tokens * sizeof(uint32_t);
    return bytes;
}

void templates_release(struct templates *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->list[i].hashes);
    free(t->list);
    free(t->paths);
    *t = (struct templates){.list = NULL};
}
