#include "engine/kernels/kernels.h"

/* The only rounding modes a library could leave behind live in one register: on x86 that of SSE and up (the x87 unit
 * is used nowhere), on aarch64 FPCR. On other machines ISO C's defaults hold and nothing is set. */
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

#elif defined(__aarch64__)
#include <stdint.h>

/* Zero is what the others have: round to nearest, no flushing, NaN as it came, nothing trapped. */
enum { CONTROL = 0, FLUSH = 1 << 24 /* subnormal results and operands are zero */ };

static void control_write(uint64_t control)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(control) : "memory");
}

void float_control_set(void)
{
    control_write(CONTROL);
}

void float_control_flush(void)
{
    control_write(FLUSH);
}

bool float_control_is_set(void)
{
    uint64_t control;

    __asm__ volatile("mrs %0, fpcr" : "=r"(control) : : "memory");
    return control == CONTROL;
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
