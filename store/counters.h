/* store/counters.h: the shared mapped file of 64-bit counters, one a stream number. */
#ifndef STORE_COUNTERS_H
#define STORE_COUNTERS_H

#include "schemas/err.h"
#include <stdatomic.h>
#include <stdint.h>

struct counters {
    int fd;
    _Atomic uint64_t
        *map;         /* of the greatest size there can be; only the file's length is touched */
    uint64_t room;    /* counters that the file holds */
    const char *path; /* of the store; borrowed */
};

struct counters counters_none(void);
/* Map the file, making it; zero what streams from next on left there. */
MUST_CHECK enum err_code counters_open(struct counters *counters, int folder_fd, const char *path,
                                       uint64_t next, struct err *err);
void counters_close(struct counters *counters);
/* Fails: ERR_LIMIT, ERR_FULL, ERR_SYSTEM. */
MUST_CHECK enum err_code counters_at(struct counters *counters, uint64_t stream,
                                     _Atomic uint64_t **counter, struct err *err);
/* From the file, without a map; 0 where there is none. */
uint64_t counters_read(int folder_fd, uint64_t stream);

#endif
