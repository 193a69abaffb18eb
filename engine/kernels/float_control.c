#include "engine/kernels/kernels.h"

/* The only rounding modes a library could leave behind live in this one register (SSE and up); the x87
 * unit is used nowhere. On other machines ISO C's defaults hold and nothing is set. */
#if defined(__x86_64__)
#include <immintrin.h>

enum {
    CONTROL = 0x1F80,     /* all exceptions masked, round to nearest, no flushing */
    FLUSH = 0x8040,       /* subnormal results and operands are zero */
    CONTROL_MASK = 0xFFC0 /* the rest are sticky flags that say what has happened */
};

void float_control_set(void)
{
    _mm_setcsr(CONTROL);
}

void float_control_flush(void)
{
    _mm_setcsr(CONTROL | FLUSH);
}

bool float_control_is_set(void)
{
    return (_mm_getcsr() & CONTROL_MASK) == CONTROL;
}

#else
#include <fenv.h>

void float_control_set(void)
{
    fesetenv(FE_DFL_ENV);
}

void float_control_flush(void)
{
    float_control_set();
}

bool float_control_is_set(void)
{
    return fegetround() == FE_TONEAREST;
}
#endif
