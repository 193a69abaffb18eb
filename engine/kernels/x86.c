/* x86.c: which levels there are on this architecture, and which of them run on this processor. */
#include "engine/kernels/inside.h"

static bool always(void)
{
    return true;
}

/* The builtin asks the processor, and the operating system whether it keeps the registers. */
static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static void fill_avx2(struct kernels *kernels)
{
    kernels_avx2(kernels);
    kernels_bf16_avx2(kernels);
    kernels_int8_avx2(kernels);
}

static void fill_avx512f(struct kernels *kernels)
{
    kernels_avx512(kernels);
    kernels_bf16_avx512(kernels);
    kernels_int8_avx512(kernels);
    kernels->isa = "avx512f";
}

/* The best of a few short runs: any of them may be interrupted. */
static uint64_t peak_time(peak_fn *peak)
{
    enum { RUNS = 5, ROUNDS = 500 };
    volatile float sink = 0;
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < RUNS; i++) {
        uint64_t begin = __builtin_ia32_rdtsc(), ticks;
        sink = sink + peak(ROUNDS, 0.5f);
        ticks = __builtin_ia32_rdtsc() - begin;
        best = ticks < best ? ticks : best;
    }
    return best;
}

/* What else the processor has. Some have bf16 by microcode, at half the speed of two multiply-adds; the bits are
 * the same, so whichever is faster may serve. */
static void fill_avx512(struct kernels *kernels)
{
    struct narrow two;

    fill_avx512f(kernels);
    kernels->isa = "avx512";
    two = kernels->bf16;
    if (__builtin_cpu_supports("avx512vnni"))
        kernels_int8_native(kernels);
    if (__builtin_cpu_supports("avx512bf16"))
        kernels_bf16_native(kernels);
    if (peak_time(kernels->bf16.peak) > peak_time(two.peak))
        kernels->bf16 = two;
}

const struct level kernels_levels[] = {{"avx512", has_avx512, fill_avx512},
                                       {"avx512f", has_avx512, fill_avx512f},
                                       {"avx2", has_avx2, fill_avx2},
                                       {"ref", always, kernels_ref}};
