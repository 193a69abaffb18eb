#include "schemas/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERR_STATUS(name, status, words) status,
#define ERR_WORDS(name, status, words)  words,
static const int statuses[] = {ERR_LIST(ERR_STATUS)};
static const char *const words[] = {ERR_LIST(ERR_WORDS)};

/* In words that name what helps. */
static const char *reason_of(int cause, char *room, size_t bytes)
{
    switch (cause) {
    case EFBIG:
        return "the file size limit is reached (raise it with ulimit -f)";
    case EMFILE:
        return "too many open files (raise the limit with ulimit -n)";
    default:
        return strerror_r(cause, room, bytes);
    }
}

enum err_code err_set(struct err *err, enum err_code code, int cause, const char *format, ...)
{
    va_list args;
    int used;

    if (!err)
        return code;
    err->code = code;
    err->cause = cause;
    va_start(args, format);
    used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (cause > 0 && used >= 0 && (size_t)used < sizeof err->text) {
        char reason[80];
        snprintf(err->text + used, sizeof err->text - (size_t)used, ": %s",
                 reason_of(cause, reason, sizeof reason));
    }
    return code;
}

enum err_code err_full_or(int cause, enum err_code other)
{
    return cause == ENOSPC || cause == EDQUOT || cause == EFBIG ? ERR_FULL : other;
}

bool err_no_descriptor(int cause)
{
    return cause == EMFILE || cause == ENFILE;
}

int err_status(enum err_code code)
{
    return (unsigned)code < ERR_COUNT ? statuses[code] : 1;
}

const char *err_words(enum err_code code)
{
    return (unsigned)code < ERR_COUNT ? words[code] : "unknown";
}

void require_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "riverrun: bug: %s does not hold (%s:%d)\n", condition, file, line);
    abort();
}
