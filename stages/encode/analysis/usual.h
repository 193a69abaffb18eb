/* stages/encode/analysis/usual.h: what is usual: the middle of past values and how far they lie from it.
 *
 * Median and median absolute deviation of the last values themselves, sorted anew each time. They are exact, hold out
 * against almost half of the values being outliers, and forget by themselves, since only the last count; no step size
 * or bin width has to suit a text that nobody has seen. P2 and step-wise estimates need less memory, but the first
 * never forgets and the second creeps after a change as slowly as it is quiet.
 *
 * Bits a byte fall with a unit's length (its beginning is the part that is hard to foresee), so units are compared
 * with those of their own length: a class for each doubling.
 *
 * Memory  fixed: USUAL_VALUES floats a class, 6 KiB. */
#ifndef STAGES_ENCODE_ANALYSIS_USUAL_H
#define STAGES_ENCODE_ANALYSIS_USUAL_H

#include "schemas/bytes.h"

enum {
    USUAL_CLASSES = 12, /* below 8 bytes, 16, 32, ... 8192, more */
    USUAL_VALUES = 128, /* of a class */
    USUAL_LEAST = 16,   /* values of a class before it says anything */
    USUAL_BYTES_MAX = USUAL_CLASSES * (1 + 4 * USUAL_VALUES)
};

/* Median, and 1.4826 times the median absolute deviation: one standard deviation where values are normal. At least
 * 0.01 and 5 % of the median, below which nobody is told of a difference. Bits a byte. */
struct usual {
    float median, spread;
};

struct usual_class {
    uint8_t count, next; /* next: place of the oldest, once the class is full */
    float values[USUAL_VALUES];
};

struct usual_lengths {
    struct usual_class classes[USUAL_CLASSES];
};

/* Of count values, 1..USUAL_VALUES, each finite and at least 0. */
struct usual usual_of(const float *values, size_t count);

/* Bits a byte of a unit as a value: finite, 0 or more, whatever its nats. */
float usual_value(double nats, uint64_t bytes);

/* Of units of this length; false while there are too few. */
bool usual_at(const struct usual_lengths *u, uint64_t bytes, struct usual *out);
void usual_add(struct usual_lengths *u, uint64_t bytes, float value);

/* One value. usual_get is false where the bytes are none. */
void usual_put(struct buffer *out, float value);
bool usual_get(struct reader *r, float *value);

void usual_save(const struct usual_lengths *u, struct buffer *out);
/* False: these bytes are none of usual_save's. */
bool usual_load(struct usual_lengths *u, struct reader *r);

/* How many spreads value lies above the median, in steps of 1/64, whose decimal text is short and exact. */
double usual_distance(const struct usual *usual, float value);

/* Of x > 0: the same bits on every machine, which libm's are not. */
double usual_log2(double x);

#endif
