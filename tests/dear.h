/* tests/dear.h: how many times as much a run costs as one by a plain build: 1, or more under sanitizers and emulators
 * (RIVERRUN_DEAR, set by CMakeLists.txt). A test of many like cases then takes every so-manyth. */
#ifndef TESTS_DEAR_H
#define TESTS_DEAR_H

#include <stddef.h>
#include <stdlib.h>

static inline size_t dear(void)
{
    const char *text = getenv("RIVERRUN_DEAR");
    size_t times = text ? strtoul(text, NULL, 10) : 1;

    return times ? times : 1;
}

#endif
