/* stages/ingest/readers/pull.h: bytes that are asked for: a file, what is packed in it, its text. */
#ifndef STAGES_INGEST_READERS_PULL_H
#define STAGES_INGEST_READERS_PULL_H

#include "schemas/bytes.h"

struct pull {
    /* At most room bytes; *got = 0 is the end.
     * Fails  ERR_SOURCE: the file is damaged or no such file; ERR_MEMORY. */
    enum err_code (*read)(void *self, uint8_t *data, size_t room, size_t *got, struct err *err);
    void *self;
};

/* Until room is full or the end came. Pieces then have sizes that do not depend on anything but the file. */
MUST_CHECK static inline enum err_code pull_full(const struct pull *in, uint8_t *data, size_t room,
                                                 size_t *got, struct err *err)
{
    enum err_code code = ERR_OK;
    size_t one = 1;

    *got = 0;
    while (!code && one && *got < room) {
        code = in->read(in->self, data + *got, room - *got, &one, err);
        if (!code)
            *got += one;
    }
    return code;
}

#endif
