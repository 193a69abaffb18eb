/* tests/fuzz/fuzz_container.h: a model file of any container, opened and read whole. */
#ifndef TESTS_FUZZ_FUZZ_CONTAINER_H
#define TESTS_FUZZ_FUZZ_CONTAINER_H

#include "engine/formats/formats.h"
#include "tests/fuzz/fuzz.h"

enum { FUZZ_VALUES_MOST = 4096 };

static inline void fuzz_rows(const struct tensor *tensor)
{
    static float room[FUZZ_VALUES_MOST];
    uint64_t rows = tensor->rank > 1 ? tensor->shape[0] : 1, each = tensor->values / rows;

    fuzz_touch(tensor->data, tensor->bytes);
    if (each == 0 || each > FUZZ_VALUES_MOST)
        return;
    for (uint64_t row = 0; row < rows; row++)
        tensor_rows(tensor, row, 1, room);
}

static inline void fuzz_words(const struct container *c)
{
    const struct container_vocabulary *v = &c->vocabulary;
    struct reader r = reader_of(v->texts, v->count ? (size_t)(c->map + c->bytes - v->texts) : 0);

    for (uint64_t i = 0; i < v->count; i++) {
        uint64_t bytes = read_u64(&r);
        const uint8_t *text = read_bytes(&r, bytes);
        require(text != NULL);
        fuzz_touch(text, bytes);
    }
    if (v->types)
        fuzz_touch(v->types, 4 * v->count);
}

static inline void fuzz_container(const uint8_t *data, size_t bytes)
{
    struct container *c = NULL;
    struct err err;
    char path[64];
    int fd;

    fuzz_file(data, bytes, &fd, path);
    if (!container_open(&c, path, &err)) {
        for (size_t i = 0; i < c->count; i++) {
            require(container_find(c, c->tensors[i].name) == &c->tensors[i]);
            fuzz_rows(&c->tensors[i]);
        }
        fuzz_words(c);
        container_close(&c);
    }
    close(fd);
}

#endif
