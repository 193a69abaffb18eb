/* engine/formats/gguf_pairs.c: string key | u32 type | value, so many times.
 *
 *     string  u64 bytes | text
 *     array   u32 type of its items | u64 count | items, which may be arrays */
#include "engine/formats/gguf_pairs.h"

#include <stdio.h>
#include <stdlib.h>

/* Of one value; 0: it says itself how long it is. */
static const uint8_t type_bytes[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

struct view gguf_read_text(struct reader *r)
{
    uint64_t bytes = read_u64(r);
    const uint8_t *data = NULL;

    if (bytes > left(r))
        r->short_read = true;
    else
        data = read_bytes(r, bytes);
    return (struct view){data, r->short_read ? 0 : (size_t)bytes};
}

/* In the order of bytes. */
static int compare(struct view a, struct view b)
{
    size_t bytes = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = bytes ? memcmp(a.data, b.data, bytes) : 0;

    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

bool gguf_is_text(struct view view, const char *text)
{
    return compare(view, (struct view){(const uint8_t *)text, strlen(text)}) == 0;
}

int gguf_shown(struct view text)
{
    return (int)(text.bytes < GGUF_TEXT_SHOWN ? text.bytes : GGUF_TEXT_SHOWN);
}

/* ---- Reading ---- */

/* Pass a value; false: its type is unknown, or arrays nest too deep. What is not there sets short_read.
 * Each round of the loop takes eight bytes or more, so that the file's length bounds the time. */
static bool skip_value(struct reader *r, uint32_t type, unsigned depth)
{
    uint32_t item;
    uint64_t count;

    if (type >= GGUF_TYPES || depth > GGUF_NESTING_MAX)
        return false;
    if (type == GGUF_STRING) {
        gguf_read_text(r);
        return true;
    }
    if (type != GGUF_ARRAY) {
        read_bytes(r, type_bytes[type]);
        return true;
    }
    item = read_u32(r);
    count = read_u64(r);
    if (item >= GGUF_TYPES)
        return false;
    if (type_bytes[item]) {
        if (count > left(r) / type_bytes[item])
            r->short_read = true;
        else
            read_bytes(r, count * type_bytes[item]);
        return true;
    }
    for (uint64_t i = 0; i < count && !r->short_read; i++)
        if (!skip_value(r, item, depth + 1))
            return false;
    return true;
}

static enum err_code read_pair(struct gguf_pairs *pairs, struct reader *r, struct err *err)
{
    struct gguf_pair *pair = &pairs->pairs[pairs->count];
    const uint8_t *start;
    bool known;

    pair->key = gguf_read_text(r);
    pair->type = read_u32(r);
    start = r->at;
    known = r->short_read || skip_value(r, pair->type, 0);
    if (r->short_read)
        return container_fail(pairs->c, err,
                              "truncated or damaged: %zu bytes, which end in key %zu",
                              pairs->c->bytes, pairs->count);
    if (!known)
        return container_fail(
            pairs->c, err, "key '%.*s' is of unknown type %u, or of arrays in more than %d arrays",
            gguf_shown(pair->key), (const char *)pair->key.data, pair->type, GGUF_NESTING_MAX);
    pair->value = (struct view){start, (size_t)(r->at - start)};
    pairs->count++;
    return ERR_OK;
}

static int by_key(const void *a, const void *b)
{
    return compare(((const struct gguf_pair *)a)->key, ((const struct gguf_pair *)b)->key);
}

enum err_code gguf_pairs_read(struct gguf_pairs *pairs, struct reader *r, uint64_t count,
                              struct err *err)
{
    enum err_code code = ERR_OK;

    if (count > GGUF_PAIRS_MAX)
        return container_fail(pairs->c, err, "it says it has %llu keys, %d are possible",
                              (unsigned long long)count, GGUF_PAIRS_MAX);
    pairs->pairs = calloc(count + 1, sizeof *pairs->pairs);
    if (!pairs->pairs)
        return err_set(err, ERR_MEMORY, 0, "model '%s': its keys", pairs->c->path);
    for (uint64_t i = 0; i < count && !code; i++)
        code = read_pair(pairs, r, err);
    if (code)
        return code;
    qsort(pairs->pairs, pairs->count, sizeof *pairs->pairs, by_key);
    for (size_t i = 1; i < pairs->count; i++)
        if (by_key(&pairs->pairs[i - 1], &pairs->pairs[i]) == 0)
            return container_fail(pairs->c, err, "key '%.*s' is there twice",
                                  gguf_shown(pairs->pairs[i].key),
                                  (const char *)pairs->pairs[i].key.data);
    return ERR_OK;
}

void gguf_pairs_release(struct gguf_pairs *pairs)
{
    free(pairs->pairs);
    pairs->pairs = NULL;
    pairs->count = 0;
}

/* ---- Looking up ---- */

const struct gguf_pair *gguf_pairs_find(const struct gguf_pairs *pairs, const char *key)
{
    struct gguf_pair wanted;
    char full[80];

    if (!strncmp(key, "ARCH.", 5))
        snprintf(full, sizeof full, "%s.%s", pairs->architecture, key + 5);
    else
        snprintf(full, sizeof full, "%s", key);
    wanted.key = (struct view){(const uint8_t *)full, strlen(full)};
    return bsearch(&wanted, pairs->pairs, pairs->count, sizeof wanted, by_key);
}

struct view gguf_pairs_text(const struct gguf_pairs *pairs, const char *key)
{
    const struct gguf_pair *pair = gguf_pairs_find(pairs, key);
    struct reader r;

    if (!pair || pair->type != GGUF_STRING)
        return (struct view){(const uint8_t *)"", 0};
    r = reader_of(pair->value.data, pair->value.bytes);
    return gguf_read_text(&r);
}

enum err_code gguf_pairs_number(const struct gguf_pairs *pairs, const char *key, uint64_t *out,
                                struct err *err)
{
    const struct gguf_pair *pair = gguf_pairs_find(pairs, key);
    const char *fault = NULL;
    uint64_t value = 0;
    uint8_t last = 0; /* has the sign */

    if (!pair)
        return ERR_OK;
    for (size_t i = 0; i < pair->value.bytes && i < sizeof value; i++) {
        last = pair->value.data[i];
        value |= (uint64_t)last << 8 * i;
    }
    switch (pair->type) {
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        if (last & 0x80)
            fault = "negative";
        break;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        break;
    default:
        fault = "no integer";
    }
    if (fault)
        return container_fail(pairs->c, err, "key '%.*s' is %s", gguf_shown(pair->key),
                              (const char *)pair->key.data, fault);
    *out = value;
    return ERR_OK;
}

bool gguf_array_of(const struct gguf_pair *pair, enum gguf_type item, uint64_t *count,
                   const uint8_t **data)
{
    struct reader r;

    if (!pair || pair->type != GGUF_ARRAY)
        return false;
    r = reader_of(pair->value.data, pair->value.bytes);
    if (read_u32(&r) != (uint32_t)item)
        return false;
    *count = read_u64(&r);
    *data = r.at;
    return true;
}
