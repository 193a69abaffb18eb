/* tests/engine_help.h: what the engine's tests share. Every failure ends the test with its line. */
#ifndef TESTS_ENGINE_HELP_H
#define TESTS_ENGINE_HELP_H

#include "engine/engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A file's bytes, malloc'ed, with a 0 behind them. Fails the test where it cannot be read. */
static inline uint8_t *file_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;

    if (!file)
        fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    data[*bytes] = 0;
    fclose(file);
    return data;
}

static inline void file_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    if (!file)
        fail_msg("cannot write %s", path);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline struct engine *engine_of(const char *path, const struct engine_options *options)
{
    struct engine *engine = NULL;
    struct err err = {0};

    if (engine_open(&engine, path, options, &err))
        fail_msg("%s", err.text);
    return engine;
}

static inline struct engine_state *state_of(struct engine *engine)
{
    struct engine_state *state = NULL;
    struct err err = {0};

    if (engine_state_open(engine, &state, &err))
        fail_msg("%s", err.text);
    return state;
}

static inline void must_run(struct engine *engine, struct engine_job *job)
{
    struct err err = {0};

    if (engine_run(engine, job, &err))
        fail_msg("%s", err.text);
}

static inline void must_submit(struct engine *engine, struct engine_job *job)
{
    struct err err = {0};

    if (engine_submit(engine, job, &err))
        fail_msg("%s", err.text);
}

/* A sequence that looks random and is the same everywhere. */
static inline uint32_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 16);
}

/* The model file at path is refused, as ERR_MODEL, in one line with its name and `part`. */
static inline void assert_model_refused(const char *path, const char *part, const char *what)
{
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];
    struct err err = {0};
    enum err_code code = engine_fingerprint(path, fingerprint, &err);

    if (code != ERR_MODEL)
        fail_msg("%s: code %d", what, code);
    if (!strstr(err.text, path) || strchr(err.text, '\n') || (part && !strstr(err.text, part)))
        fail_msg("%s: says: %s", what, err.text);
}

#endif
