#include "stages/encode/analysis/usual.h"

#include <math.h>

static const double LN2 = 0.69314718055994531;
static const double VALUE_MAX = 1e6, DISTANCE_MAX = 10000;

/* Equal values are equal bits (none is below 0, so there is one zero): no order among them can show. */
static void sort(float *values, size_t count)
{
    static const size_t gaps[] = {57, 23, 10, 4, 1};

    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (size_t i = gaps[g]; i < count; i++) {
            float value = values[i];
            size_t at = i;
            for (; at >= gaps[g] && values[at - gaps[g]] > value; at -= gaps[g])
                values[at] = values[at - gaps[g]];
            values[at] = value;
        }
}

/* The lower of the two middle ones of an even number: always a value that was there. */
static float median_of(float *values, size_t count)
{
    sort(values, count);
    return values[(count - 1) / 2];
}

struct usual usual_of(const float *values, size_t count)
{
    float sorted[USUAL_VALUES];
    struct usual usual;
    float least;

    require(count && count <= USUAL_VALUES);
    memcpy(sorted, values, count * sizeof *values);
    usual.median = median_of(sorted, count);
    for (size_t i = 0; i < count; i++)
        sorted[i] = fabsf(values[i] - usual.median);
    usual.spread = 1.4826F * median_of(sorted, count);
    least = 0.01F + 0.05F * usual.median;
    usual.spread = usual.spread < least ? least : usual.spread;
    return usual;
}

float usual_value(double nats, uint64_t bytes)
{
    double bits = bytes ? nats / LN2 / (double)bytes : 0;

    return (float)(bits > 0 ? bits < VALUE_MAX ? bits : VALUE_MAX : 0);
}

static size_t class_of(uint64_t bytes)
{
    size_t class = 0;

    while (bytes >= 8 && class < USUAL_CLASSES - 1) {
        bytes /= 2;
        class ++;
    }
    return class;
}

bool usual_at(const struct usual_lengths *u, uint64_t bytes, struct usual *out)
{
    const struct usual_class *c = &u->classes[class_of(bytes)];

    if (c->count < USUAL_LEAST)
        return false;
    *out = usual_of(c->values, c->count);
    return true;
}

void usual_add(struct usual_lengths *u, uint64_t bytes, float value)
{
    struct usual_class *c = &u->classes[class_of(bytes)];

    if (c->count < USUAL_VALUES) {
        c->values[c->count++] = value;
        return;
    }
    c->values[c->next] = value;
    c->next = (uint8_t)((c->next + 1) % USUAL_VALUES);
}

double usual_distance(const struct usual *usual, float value)
{
    double steps = ((double)value - (double)usual->median) / (double)usual->spread;

    steps = steps < DISTANCE_MAX ? steps : DISTANCE_MAX;
    return floor(steps * 64 + 0.5) / 64;
}

void usual_put(struct buffer *out, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    buffer_u32(out, bits);
}

bool usual_get(struct reader *r, float *value)
{
    uint32_t bits = read_u32(r);

    memcpy(value, &bits, sizeof bits);
    return !r->short_read && *value <= (float)VALUE_MAX && !(bits >> 31);
}

/* Oldest first, so that the same values are the same bytes wherever the ring began. */
void usual_save(const struct usual_lengths *u, struct buffer *out)
{
    for (size_t i = 0; i < USUAL_CLASSES; i++) {
        const struct usual_class *c = &u->classes[i];
        buffer_u8(out, c->count);
        for (size_t k = 0; k < c->count; k++)
            usual_put(out, c->values[(c->next + k) % USUAL_VALUES]);
    }
}

bool usual_load(struct usual_lengths *u, struct reader *r)
{
    *u = (struct usual_lengths){0};
    for (size_t i = 0; i < USUAL_CLASSES; i++) {
        struct usual_class *c = &u->classes[i];
        c->count = read_u8(r);
        if (c->count > USUAL_VALUES)
            return false;
        for (size_t k = 0; k < c->count; k++)
            if (!usual_get(r, &c->values[k]))
                return false;
    }
    return !r->short_read;
}

/* x = m 2^e, and ln m = 2 artanh((m - 1) / (m + 1)). */
double usual_log2(double x)
{
    int exponent;
    double m = frexp(x, &exponent), y = (m - 1) / (m + 1), power = y, sum = 0;

    for (int k = 1; k < 24; k += 2) {
        sum += power / k;
        power *= y * y;
    }
    return exponent + 2 * sum / LN2;
}
