/* tests/emit_help.h: emit driven by an array, encode played by the test. Line n of a stream is line_of(n). */
#ifndef TESTS_EMIT_HELP_H
#define TESTS_EMIT_HELP_H

#include "stages/emit/sinks/sink.h"
#include "tests/stages_help.h"

extern const uint8_t store_a[16], store_b[16];

struct place {
    uint64_t generation, n, length, tail;
    uint8_t chain[SINK_CHAIN_BYTES];
    uint64_t first;
};

/* What encode says when it opens a sink; and whose records and syncs follow. */
struct open {
    uint64_t stream;
    const char *name;
    uint64_t owner, generation;
    const uint8_t *store;
    struct place tokens[4];
    size_t count;
    bool finished;
};

extern const struct open FIRST; /* stream 3, "book", nothing written */

/* Emit that writes to FOLDER/out. */
struct driver *start(void **state);
struct driver *start_with(void **state, enum sync sync, bool follow);
enum err_code send_open(struct driver *d, const struct open *o);
/* Opened: the record number that it goes on from. */
uint64_t open_sink(struct driver *d, const struct open *o, bool *warned);
void expect_refused(struct driver *d, enum err_code code, const char *words);
void open_refused(struct driver *d, const struct open *o, enum err_code code, const char *words);
size_t line_of(uint64_t n, char line[100]);
enum err_code send_line(struct driver *d, const struct open *o, uint64_t n, const char *line,
                        size_t bytes, bool last);
void send_records(struct driver *d, const struct open *o, uint64_t first, uint64_t end);
enum err_code send_sync(struct driver *d, const struct open *o, uint64_t n);
struct place expect_durable(struct driver *d, bool asked);
struct place sync_to(struct driver *d, const struct open *o, uint64_t n);
/* Resume: the tokens of kept checkpoints, newest first. */
struct open resume(const struct open *before, size_t count, const struct place *newest);
/* The first lines of a stream. */
struct buffer lines(uint64_t end);
/* FOLDER/out/book.jsonl holds these bytes; those lines. */
void assert_file(void **state, const void *data, size_t bytes);
void assert_lines(void **state, uint64_t end);

#endif
