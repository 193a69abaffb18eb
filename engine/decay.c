#include "engine/decay.h"

#include <math.h>
#include <string.h>

/* exp() of less is 0, of more than the highest infinite: beyond these all raw values are alike. */
static const float raw_least = -150, raw_most = 90;

static float made_of(const struct kernels *kernels, unsigned version, float raw)
{
    float value;

    kernels->exp(&value, &raw, 1);
    value = -value;
    if (version == 5)
        kernels->exp(&value, &value, 1);
    return value;
}

/* The float32 numbers in their order, as integers. */
static int64_t place_of(float value)
{
    int32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}

static float at_place(int64_t place)
{
    uint32_t bits = place < 0 ? 0x80000000u | (uint32_t)-place : (uint32_t)place;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Both functions fall: the first place whose value is below `made`, or below or equal to it. */
static int64_t first_below(const struct kernels *kernels, unsigned version, float made, bool equal)
{
    int64_t low = place_of(raw_least), high = place_of(raw_most);

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        float value = made_of(kernels, version, at_place(middle));
        if (value < made || (equal && value == made))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The raw value in the middle of all that become made; of none does, the nearest that can be had. */
static float invert(const struct kernels *kernels, unsigned version, float made, bool *exact)
{
    enum { AROUND = 4 }; /* the exponential falls, but not without a step back now and then */
    int64_t first = first_below(kernels, version, made, true);
    int64_t end = first_below(kernels, version, made, false);
    int64_t best = first + (end - first) / 2;
    float least = INFINITY;

    for (int64_t place = best - AROUND; place <= best + AROUND; place++) {
        float off = fabsf(made_of(kernels, version, at_place(place)) - made);
        if (off < least || (off == least && place == first + (end - first) / 2)) {
            least = off;
            best = place;
        }
    }
    *exact = least == 0;
    return at_place(best);
}

bool decay_invert(const struct kernels *kernels, unsigned version, float *values, size_t count,
                  uint64_t *near)
{
    require(version == 4 || version == 5);
    *near = 0;
    for (size_t i = 0; i < count; i++) {
        bool exact, possible = version == 4 ? values[i] <= 0 && isfinite(values[i])
                                            : values[i] >= 0 && values[i] <= 1;
        if (!possible)
            return false;
        values[i] = invert(kernels, version, values[i], &exact);
        *near += !exact;
    }
    return true;
}
