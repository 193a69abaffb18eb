/* surprise: how far a unit's bits a byte lie above what is usual in this stream for units of its length, in robust
 * standard deviations (usual.h); null while fewer than USUAL_LEAST of that length came before. The unit itself counts
 * from the next one on. */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/usual.h"

#include <stdlib.h>

enum { VERSION = 1 };

static void begin(void **self, const struct analysis_options *options)
{
    (void)options;
    *self = calloc(1, sizeof(struct usual_lengths));
    require(*self);
}

static bool unit(void *self, const struct analysis_unit *unit)
{
    struct usual_lengths *u = self;
    float value = usual_value(unit->nats, unit->bytes);
    struct usual usual;

    if (usual_at(u, unit->bytes, &usual))
        record_add_real(unit->record, "surprise", usual_distance(&usual, value));
    else
        record_add_null(unit->record, "surprise");
    usual_add(u, unit->bytes, value);
    return false;
}

static void save(const void *self, struct buffer *out)
{
    usual_save(self, out);
}

static bool load(void *self, struct reader *r)
{
    return usual_load(self, r);
}

static size_t memory(const void *self)
{
    (void)self;
    return sizeof(struct usual_lengths);
}

static void close_part(void **self)
{
    free(*self);
    *self = NULL;
}

const struct analysis_part analysis_surprise = {.version = VERSION,
                                                .bytes_max = USUAL_BYTES_MAX,
                                                .begin = begin,
                                                .unit = unit,
                                                .save = save,
                                                .load = load,
                                                .memory = memory,
                                                .close = close_part};
