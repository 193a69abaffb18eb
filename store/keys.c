#include "store/keys.h"

#include <stdio.h>
#include <xxhash.h>

enum {
    CHECKPOINT_KEY_BYTES = 1 + 8 + 4 + 8 + 4,
    SLOT_AT = 1 + 8, /* in a checkpoint's key, then its number */
    NUMBER_AT = SLOT_AT + 4,
    PART_AT = NUMBER_AT + 8,
    CHUNK_KEY_BYTES = 1 + 8 + 8
};

struct key key_of(enum key_kind kind)
{
    struct key key = {.bytes = 1};
    key.data[0] = (uint8_t)kind;
    return key;
}

static void key_put(struct key *key, const void *data, size_t bytes)
{
    require(bytes <= KEY_BYTES_MAX - key->bytes);
    memcpy(key->data + key->bytes, data, bytes);
    key->bytes += bytes;
}

void key_u32(struct key *key, uint32_t value)
{
    uint8_t big[4];
    for (int i = 0; i < 4; i++)
        big[i] = (uint8_t)(value >> (24 - 8 * i));
    key_put(key, big, sizeof big);
}

void key_u64(struct key *key, uint64_t value)
{
    key_u32(key, (uint32_t)(value >> 32));
    key_u32(key, (uint32_t)value);
}

void key_text(struct key *key, const char *text)
{
    key_put(key, text, strlen(text));
}

static uint32_t key_u32_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

struct key key_catalogue(const char *name)
{
    struct key key = key_of(KEY_CATALOGUE);
    key_text(&key, name);
    return key;
}

struct key key_stream(enum key_kind kind, uint64_t stream)
{
    struct key key = key_of(kind);
    key_u64(&key, stream);
    return key;
}

struct key key_slot(uint64_t stream, uint32_t slot, uint64_t number, uint32_t part)
{
    struct key key = key_stream(KEY_CHECKPOINT, stream);
    key_u32(&key, slot);
    key_u64(&key, number);
    key_u32(&key, part);
    return key;
}

struct key key_checkpoint(uint64_t stream, uint64_t number, uint32_t part)
{
    return key_slot(stream, 0, number, part);
}

bool key_is_slot(struct view data, uint64_t stream, uint32_t slot, uint64_t *number)
{
    struct key prefix = key_stream(KEY_CHECKPOINT, stream);

    key_u32(&prefix, slot);
    if (data.bytes != CHECKPOINT_KEY_BYTES || !key_starts(data, &prefix))
        return false;
    *number = key_number(data.data + NUMBER_AT);
    return true;
}

bool key_is_checkpoint(struct view data, uint64_t stream, uint64_t *number)
{
    return key_is_slot(data, stream, 0, number);
}

bool key_slot_of(struct view data, uint64_t stream, uint32_t *slot)
{
    struct key prefix = key_stream(KEY_CHECKPOINT, stream);

    if (data.bytes != CHECKPOINT_KEY_BYTES || !key_starts(data, &prefix))
        return false;
    *slot = key_u32_at(data.data + SLOT_AT);
    return true;
}

struct key key_savepoint(uint64_t stream, const char *name)
{
    struct key key = key_stream(KEY_SAVEPOINT, stream);
    key_text(&key, name);
    return key;
}

struct key key_entry(const char *topic, uint64_t number)
{
    struct key key = key_of(KEY_ENTRY);
    key_text(&key, topic);
    key_put(&key, "", 1);
    key_u64(&key, number);
    return key;
}

struct key key_chunk(uint64_t queue, uint64_t offset)
{
    struct key key = key_stream(KEY_CHUNK, queue);
    key_u64(&key, offset);
    return key;
}

bool key_is_chunk(struct view data, uint64_t queue, uint64_t *offset)
{
    struct key prefix = key_stream(KEY_CHUNK, queue);

    if (data.bytes != CHUNK_KEY_BYTES || !key_starts(data, &prefix))
        return false;
    *offset = key_number(data.data + 9);
    return true;
}

bool key_starts(struct view data, const struct key *prefix)
{
    return data.bytes >= prefix->bytes && memcmp(data.data, prefix->data, prefix->bytes) == 0;
}

uint64_t key_number(const uint8_t *at)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | at[i];
    return number;
}

void key_words(struct view key, char *text, size_t text_bytes)
{
    enum key_kind kind = key.bytes ? (enum key_kind)key.data[0] : 0;
    const char *name = (const char *)key.data + 1;
    int name_bytes = key.bytes > 1 ? (int)(key.bytes - 1) : 0;
    unsigned long long stream = key.bytes >= 9 ? key_number(key.data + 1) : 0;

    if (kind == KEY_HEAD)
        snprintf(text, text_bytes, "the head record");
    else if (kind == KEY_CATALOGUE)
        snprintf(text, text_bytes, "the catalogue's entry '%.*s'", name_bytes, name);
    else if (kind == KEY_NAME)
        snprintf(text, text_bytes, "stream %llu, its name", stream);
    else if (kind == KEY_NOTE)
        snprintf(text, text_bytes, "stream %llu, its note", stream);
    else if (kind == KEY_TOPIC || kind == KEY_ENTRY)
        snprintf(text, text_bytes, "the journal's topic '%.*s'", name_bytes, name);
    else if (kind == KEY_QUEUE)
        snprintf(text, text_bytes, "the spool's queue '%.*s'", name_bytes, name);
    else if (kind == KEY_FEED)
        snprintf(text, text_bytes, "the cursor of the feed '%.*s'", name_bytes, name);
    else if (kind == KEY_SPOOL)
        snprintf(text, text_bytes, "the spool's sums");
    else if (kind == KEY_CHUNK && key.bytes == CHUNK_KEY_BYTES)
        snprintf(text, text_bytes, "the spool's queue %llu, bytes from %llu on", stream,
                 (unsigned long long)key_number(key.data + 9));
    else if (kind == KEY_CHECKPOINT && key.bytes == CHECKPOINT_KEY_BYTES) {
        unsigned long long number = key_number(key.data + NUMBER_AT);
        uint32_t part = key_u32_at(key.data + PART_AT), slot = key_u32_at(key.data + SLOT_AT);
        char which[48] = "";
        if (slot)
            snprintf(which, sizeof which, " of the savepoint in slot %u", (unsigned)slot);
        if (part == 0)
            snprintf(text, text_bytes, "stream %llu, checkpoint %llu%s, meta value", stream, number,
                     which);
        else
            snprintf(text, text_bytes, "stream %llu, checkpoint %llu%s, part %u", stream, number,
                     which, (unsigned)part - 1);
    } else if (kind == KEY_SAVEPOINT && key.bytes > 9)
        snprintf(text, text_bytes, "stream %llu, its savepoint '%.*s'", stream,
                 (int)(key.bytes - 9), (const char *)key.data + 9);
    else
        snprintf(text, text_bytes, "a value of an unknown kind");
}

uint64_t key_checksum(struct view key, const void *payload, size_t bytes)
{
    return XXH3_64bits_withSeed(payload, bytes, XXH3_64bits(key.data, key.bytes));
}
