/* engine/kernels/unroll.h: how files that are built for one level tell the compiler what to unfold. */
#ifndef ENGINE_KERNELS_UNROLL_H
#define ENGINE_KERNELS_UNROLL_H

#define INLINE static inline __attribute__((always_inline))

/* Loops over registers have to be unrolled before arrays are split into registers, which neither
 * compiler does unasked: 46 GFLOP/s instead of 170. */
#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#define UNROLL_4   _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 24")
#define UNROLL_4   _Pragma("GCC unroll 4")
#endif

#endif
