/* bench/bench.h: what measuring programs share. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "schemas/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ends the program where code is a failure. */
static inline void must(enum err_code code, const struct err *err)
{
    if (!code)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, err->text);
    exit(err_status(code));
}

/* For qsort of doubles. */
static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
