/* tests/kernel_cases.h: every kernel as a case that can be run at any level and compared.
 *
 * A case takes all its buffers from one arena, which fills them with numbers that depend on its seed
 * only and puts guard floats (NaN) between them. So two runs, or a run and a golden hash, are
 * compared as whole arenas: results, inputs that must not change, gaps between strided rows, and guards
 * before and behind every buffer. */
#ifndef TESTS_KERNEL_CASES_H
#define TESTS_KERNEL_CASES_H

#include "engine/kernels/kernels.h"

struct arena {
    float *data;
    size_t used, room;
    uint64_t seed;
};

void arena_open(struct arena *arena, size_t room);
void arena_close(struct arena *arena);
/* All guards again, as before the first case. */
void arena_reset(struct arena *arena, uint64_t seed);
/* (rows) rows of columns floats in [low, high), stride apart; the gaps stay guards. */
float *arena_rows(struct arena *arena, size_t rows, size_t columns, size_t stride, float low,
                  float high);
float *arena_take(struct arena *arena, size_t count, float low, float high);

typedef void case_fn(const struct kernels *kernels, struct arena *arena, size_t rows, size_t n);

struct kernel_case {
    const char *name;
    case_fn *run; /* rows or tokens, and n channels, elements, columns or head size */
};

/* Ends with a NULL name. */
extern const struct kernel_case kernel_cases[];

#endif
