#include "schemas/bytes.h"

#include <stdlib.h>

uint8_t *buffer_add(struct buffer *b, size_t count)
{
    uint8_t *at;

    if (b->refused || count > b->max - b->bytes) {
        b->refused = true;
        return NULL;
    }
    if (b->bytes + count > b->room || !b->data) { /* a place for nothing is still a place */
        size_t room = b->room ? b->room : 64;
        while (room < b->bytes + count)
            room *= 2;
        if (room > b->max)
            room = b->max;
        uint8_t *data = realloc(b->data, room);
        if (!data) {
            b->refused = true;
            return NULL;
        }
        b->data = data;
        b->room = room;
    }
    at = b->data + b->bytes;
    b->bytes += count;
    return at;
}

void buffer_put(struct buffer *b, const void *data, size_t count)
{
    if (count == 0)
        return;
    uint8_t *at = buffer_add(b, count);
    if (at)
        memcpy(at, data, count);
}

void buffer_u8(struct buffer *b, uint8_t value)
{
    buffer_put(b, &value, 1);
}

void buffer_u16(struct buffer *b, uint16_t value)
{
    uint8_t *at = buffer_add(b, 2);
    if (at)
        store_u16(at, value);
}

void buffer_u32(struct buffer *b, uint32_t value)
{
    uint8_t *at = buffer_add(b, 4);
    if (at)
        store_u32(at, value);
}

void buffer_u64(struct buffer *b, uint64_t value)
{
    uint8_t *at = buffer_add(b, 8);
    if (at)
        store_u64(at, value);
}

void buffer_f64(struct buffer *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    buffer_u64(b, bits);
}

void buffer_drop(struct buffer *b, size_t count)
{
    require(count <= b->bytes);
    b->bytes -= count;
    if (b->bytes)
        memmove(b->data, b->data + count, b->bytes);
}

void buffer_release(struct buffer *b)
{
    free(b->data);
    b->data = NULL;
    b->bytes = b->room = 0;
}
