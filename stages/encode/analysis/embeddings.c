/* embeddings: what a unit is about, as a vector in its record.
 *
 * A byte a dimension: the largest becomes 127, the others keep their proportion. Against float32 the cosine of two
 * units changes in the third decimal at most, and the record is a quarter as long. That is done with divisions and
 * floor alone, so that a record is the same everywhere. */
#include "stages/encode/analysis/analysis.h"

#include <math.h>
#include <stdlib.h>

enum { TEXT_MAX = (POOL_CHANNELS_MAX + 2) / 3 * 4 };

struct embeddings {
    int8_t bytes[POOL_CHANNELS_MAX];
    uint8_t text[TEXT_MAX];
};

static void begin(void **self, const struct analysis_options *options)
{
    (void)options;
    *self = malloc(sizeof(struct embeddings));
    require(*self);
}

/* Base64 of RFC 4648; returns the bytes of text. */
static size_t base64(const uint8_t *data, size_t bytes, uint8_t *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t out = 0;

    for (size_t at = 0; at < bytes; at += 3) {
        size_t left = bytes - at;
        uint32_t group = (uint32_t)data[at] << 16;
        group |= left > 1 ? (uint32_t)data[at + 1] << 8 : 0;
        group |= left > 2 ? data[at + 2] : 0;
        for (int i = 0; i < 4; i++)
            text[out++] =
                i > 0 && (size_t)i > left ? '=' : (uint8_t)digits[group >> (18 - 6 * i) & 63];
    }
    return out;
}

static void to_bytes(const float *vector, uint32_t count, int8_t *bytes)
{
    float most = 0;

    for (uint32_t i = 0; i < count; i++)
        most = fabsf(vector[i]) > most ? fabsf(vector[i]) : most;
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = most > 0 ? (int8_t)floorf(vector[i] / most * 127 + 0.5F) : 0;
}

static bool unit(void *self, const struct analysis_unit *unit)
{
    struct embeddings *e = self;

    if (!unit->vector) {
        record_add_null(unit->record, "embedding");
        return false;
    }
    to_bytes(unit->vector, unit->channels, e->bytes);
    record_add_text(
        unit->record, "embedding",
        (struct view){e->text, base64((const uint8_t *)e->bytes, unit->channels, e->text)});
    return false;
}

static size_t memory(const void *self)
{
    (void)self;
    return sizeof(struct embeddings);
}

static void close_part(void **self)
{
    free(*self);
    *self = NULL;
}

const struct analysis_part analysis_embeddings = {
    .wants_vector = true, .begin = begin, .unit = unit, .memory = memory, .close = close_part};
