/* schemas/err.h: what can go wrong, said once.
 *
 * Three kinds of failure, three answers. A bug of ours: require() stops the program. A fault of the world: a code and
 * one readable line in struct err. Bytes from outside: a code and the offset, never an assertion. */
#ifndef SCHEMAS_ERR_H
#define SCHEMAS_ERR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* Name, exit status of the program when this ends it, words. Sent between processes and documented to users: append,
 * never renumber. */
#define ERR_LIST(X)                                                                            \
    X(ERR_OK, 0, "done")                                                                       \
    X(ERR_SYSTEM, 1, "the system refused")                                                     \
    X(ERR_USAGE, 2, "the command line is wrong")                                               \
    X(ERR_STOPPED, 3, "stopped, run again to resume")                                          \
    X(ERR_MEMORY, 4, "an allocation was refused")                                              \
    X(ERR_LIMIT, 5, "a stated maximum was reached")                                            \
    X(ERR_INPUT, 6, "bytes from outside break their schema")                                   \
    X(ERR_ABSENT, 7, "the thing asked for is not there")                                       \
    X(ERR_SOURCE, 10, "a source, model or vocabulary cannot be read")                          \
    X(ERR_CHANGED, 11, "a source changed since it was read")                                   \
    X(ERR_MODEL, 12, "a model file is damaged or not supported")                               \
    X(ERR_MISMATCH, 13, "a stream was begun with another model, arithmetic or other settings") \
    X(ERR_SINK, 14, "an output cannot be written or is not what was written")                  \
    X(ERR_FULL, 15, "no space is left")                                                        \
    X(ERR_DAMAGED, 16, "a stored value is damaged")                                            \
    X(ERR_VERSION, 17, "made by a newer version")                                              \
    X(ERR_BUSY, 18, "in use by another run")                                                   \
    X(ERR_SOME, 19, "some streams failed, the others are done")

#define ERR_ENUM(name, status, words) name,
enum err_code { ERR_LIST(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

struct err {
    enum err_code code;
    int cause;      /* errno, MDB_* or zmq_errno(); 0 if none */
    char text[400]; /* "open model 'a.bin': No such file or directory" */
};

/* Fill *err, unless NULL, and return code: a failing line reads `return err_set(...)`. With a positive cause that is an
 * errno its text is appended after ": "; of EFBIG one that says which limit that is. */
enum err_code err_set(struct err *err, enum err_code code, int cause, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ERR_FULL where an errno says that there is no room for what was to be written, else other. */
enum err_code err_full_or(int cause, enum err_code other);

/* Is an errno that of a process, or of a system, whose descriptors are all in use? */
bool err_no_descriptor(int cause);

/* The exit status and the words of a code; both defined for every int. */
int err_status(enum err_code code);
const char *err_words(enum err_code code);

/* A broken invariant of ours: says where and aborts, in release builds too. */
#define require(condition)                                  \
    do {                                                    \
        if (!(condition))                                   \
            require_failed(#condition, __FILE__, __LINE__); \
    } while (0)
_Noreturn void require_failed(const char *condition, const char *file, int line);

#endif
