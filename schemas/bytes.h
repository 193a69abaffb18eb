/* schemas/bytes.h: bounded reading and writing of little-endian bytes.
 *
 * A reader never passes its end: past it every get returns 0 and `short_read` stays set, so a decoder reads all fields
 * and asks once. A writer grows up to its stated maximum and then refuses, staying refused. */
#ifndef SCHEMAS_BYTES_H
#define SCHEMAS_BYTES_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
    const uint8_t *data;
    size_t bytes;
};

static inline uint16_t load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)load_u16(at) | (uint32_t)load_u16(at + 2) << 16;
}

static inline uint64_t load_u64(const uint8_t *at)
{
    return (uint64_t)load_u32(at) | (uint64_t)load_u32(at + 4) << 32;
}

static inline void store_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void store_u32(uint8_t *at, uint32_t value)
{
    store_u16(at, (uint16_t)value);
    store_u16(at + 2, (uint16_t)(value >> 16));
}

static inline void store_u64(uint8_t *at, uint64_t value)
{
    store_u32(at, (uint32_t)value);
    store_u32(at + 4, (uint32_t)(value >> 32));
}

struct reader {
    const uint8_t *at, *end;
    bool short_read; /* something was asked for beyond the end */
};

static inline struct reader reader_of(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    return (struct reader){at, at ? at + bytes : at, false};
}

/* Lend the next count bytes, or NULL (and nothing read) where there are fewer. */
static inline const uint8_t *read_bytes(struct reader *r, size_t count)
{
    const uint8_t *at = r->at;
    if ((size_t)(r->end - r->at) < count) {
        r->short_read = true;
        r->at = r->end;
        return NULL;
    }
    if (count)
        r->at += count;
    return at;
}

static inline uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = read_bytes(r, 1);
    return at ? at[0] : 0;
}

static inline uint16_t read_u16(struct reader *r)
{
    const uint8_t *at = read_bytes(r, 2);
    return at ? load_u16(at) : 0;
}

static inline uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = read_bytes(r, 4);
    return at ? load_u32(at) : 0;
}

static inline uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = read_bytes(r, 8);
    return at ? load_u64(at) : 0;
}

static inline double read_f64(struct reader *r)
{
    uint64_t bits = read_u64(r);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* True when everything was there and nothing is left. */
static inline bool read_done(const struct reader *r)
{
    return !r->short_read && r->at == r->end;
}

/* A growing buffer, born with its maximum. data is malloc'ed; release it with buffer_release. */
struct buffer {
    uint8_t *data;
    size_t bytes, room, max;
    bool refused; /* a write passed max or memory was refused: content is not complete */
};

static inline struct buffer buffer_of(size_t max)
{
    return (struct buffer){NULL, 0, 0, max, false};
}

/* Append count bytes and lend the place where they belong, or NULL when refused. */
uint8_t *buffer_add(struct buffer *b, size_t count);
void buffer_put(struct buffer *b, const void *data, size_t count);
void buffer_u8(struct buffer *b, uint8_t value);
void buffer_u16(struct buffer *b, uint16_t value);
void buffer_u32(struct buffer *b, uint32_t value);
void buffer_u64(struct buffer *b, uint64_t value);
void buffer_f64(struct buffer *b, double value);
/* Drop the first count bytes. */
void buffer_drop(struct buffer *b, size_t count);
void buffer_release(struct buffer *b);

#endif
