/* pipeline/options.h: command lines as data: parsing, checking and --help come from one table; and what commands answer
 * on standard output. */
#ifndef PIPELINE_OPTIONS_H
#define PIPELINE_OPTIONS_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_PATH, /* a text that is not empty: a name behind that would lie in the root folder */
    OPTION_COUNT,
    OPTION_SECONDS,
    OPTION_BYTES, /* with K, M or G behind it: times 1024, 1024^2, 1024^3 */
    OPTION_REAL,
    OPTION_CHOICE
};

struct option {
    const char *name; /* without the dashes; NULL ends a table */
    char letter;      /* 0: none */
    enum option_kind kind;
    /* bool; const char * of a text or a path; uint64_t, also of milliseconds and bytes; double; int */
    void *value;
    uint64_t least, most;
    const char *argument; /* for --help: "FILE"; of a choice: "a|b|c", the value is its place */
    const char *help;
};

/* Take options off arguments; what is left are *argument_count plain ones, in order, in the same
 * array. Sets *help and stops when --help is met. Fails: ERR_USAGE, naming the argument. */
MUST_CHECK enum err_code options_parse(const struct option *options, char **arguments,
                                       size_t *argument_count, bool *help, struct err *err);

/* What --help prints for the options, on stdout. */
void options_print(const struct option *options);

/* Bytes as a JSON string: those that are no UTF-8 are escaped as in a stream's name, caf%E9. */
struct json_t *answer_text(const char *bytes);
/* A command's answer to --json, released; reals with so many digits. */
void answer_json(struct json_t *answer, unsigned digits);
/* What is printed so far is to be seen now; why it could not be, answer_end tells. */
void answer_flush(void);
/* All that was to be printed has been taken. Fails: ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code answer_end(struct err *err);

#endif
