/* tests/fuzz/fuzz.h: what the fuzz targets share. Each is one decoder of bytes from outside, called with
 * any bytes at all: it refuses, or what it gives lies within bounds; the sanitizers watch. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "schemas/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Bytes as a file, for decoders that take a path. Close *fd when done with it. */
static inline void fuzz_file(const uint8_t *data, size_t bytes, int *fd, char path[64])
{
    *fd = memfd_create("input", MFD_CLOEXEC);
    require(*fd >= 0);
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(*fd, data + done, bytes - done);
        require(put > 0);
        done += (size_t)put;
    }
    snprintf(path, 64, "/proc/self/fd/%d", *fd);
}

/* Look at every byte, so that a sanitizer sees one that is not there. */
static inline void fuzz_touch(const void *data, size_t bytes)
{
    volatile uint8_t sum = 0;
    const uint8_t *at = data;

    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + at[i]);
}

/* Bytes that are asked for, at most so many at once: a struct pull's self and read. */
struct fuzz_given {
    const uint8_t *data;
    size_t bytes, at, most;
};

static inline enum err_code fuzz_give(void *self, uint8_t *data, size_t room, size_t *got,
                                      struct err *err)
{
    struct fuzz_given *g = self;
    size_t left = g->bytes - g->at;

    (void)err;
    *got = left < room ? left : room;
    *got = *got < g->most ? *got : g->most;
    memcpy(data, g->data + g->at, *got);
    g->at += *got;
    return ERR_OK;
}

#endif
