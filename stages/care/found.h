/* stages/care/found.h: what was found at one stream, held back until it is known to stay: beside a living owner
 * a stream is looked at again before it is said. */
#ifndef STAGES_CARE_FOUND_H
#define STAGES_CARE_FOUND_H

#include "schemas/control.h"
#include "stages/care/care.h"
#include "stages/care/outputs.h"
#include "stages/emit/sinks/sink.h"

enum { FOUND_MAX = 16, FOUND_BYTES = 400 };

struct found {
    size_t count, wrong; /* lines; of them not mere notes */
    enum care_kind kind[FOUND_MAX];
    char text[FOUND_MAX][FOUND_BYTES];
};

/* Lines beyond FOUND_MAX are counted only. */
void found_add(struct found *found, enum care_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What the store says of an output. */
struct sink_want {
    const char *folder, *name;
    const uint8_t *store_id;
    uint64_t generation;
    bool finished;
    const struct sink_token *tokens; /* (count), newest first, of that generation */
    size_t count;
};

struct sink_checked {
    uint64_t records, bytes;
};

/* Look at DIR/NAME.jsonl: whose it is, its length, its chain up to the newest token, each line, what lies beyond. */
void sink_check(const struct sink_want *want, struct found *found, struct sink_checked *checked);

#endif
