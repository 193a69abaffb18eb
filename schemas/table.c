#include "schemas/table.h"

#include <stdlib.h>

static size_t slot_of(const struct table *t, uint64_t key)
{
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (t->room - 1);

    while (t->keys[slot] && t->keys[slot] != key)
        slot = (slot + 1) & (t->room - 1);
    return slot;
}

void *table_get(const struct table *t, uint64_t key)
{
    size_t slot;

    if (!t->room || !key)
        return NULL;
    slot = slot_of(t, key);
    return t->keys[slot] ? t->values[slot] : NULL;
}

static void put(struct table *t, uint64_t key, void *value)
{
    size_t slot = slot_of(t, key);

    t->count += !t->keys[slot];
    t->keys[slot] = key;
    t->values[slot] = value;
}

enum err_code table_set(struct table *t, uint64_t key, void *value, struct err *err)
{
    require(key && value);
    if (2 * (t->count + 1) > t->room) {
        size_t room = t->room ? 2 * t->room : 16;
        struct table grown = {calloc(room, sizeof *grown.keys), calloc(room, sizeof *grown.values),
                              room, 0};
        if (!grown.keys || !grown.values) {
            table_release(&grown);
            return err_set(err, ERR_MEMORY, 0, "table of %zu streams", room);
        }
        for (size_t i = 0; i < t->room; i++)
            if (t->keys[i])
                put(&grown, t->keys[i], t->values[i]);
        table_release(t);
        *t = grown;
    }
    put(t, key, value);
    return ERR_OK;
}

void table_remove(struct table *t, uint64_t key)
{
    size_t slot;

    if (!table_get(t, key))
        return;
    slot = slot_of(t, key);
    t->keys[slot] = 0;
    t->values[slot] = NULL;
    t->count--;
    /* Those behind in the same run may have wanted this slot: put them again. */
    for (slot = (slot + 1) & (t->room - 1); t->keys[slot]; slot = (slot + 1) & (t->room - 1)) {
        uint64_t moved = t->keys[slot];
        void *value = t->values[slot];
        t->keys[slot] = 0;
        t->count--;
        put(t, moved, value);
    }
}

void *table_next(const struct table *t, size_t *at)
{
    while (*at < t->room && !t->keys[*at])
        ++*at;
    return *at < t->room ? t->values[(*at)++] : NULL;
}

void table_release(struct table *t)
{
    free(t->keys);
    free(t->values);
    *t = (struct table){NULL, NULL, 0, 0};
}
