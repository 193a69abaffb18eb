#include "stages/care/found.h"

#include <stdarg.h>
#include <stdio.h>

void found_add(struct found *f, enum care_kind kind, const char *format, ...)
{
    char line[FOUND_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    f->wrong += kind != CARE_NOTE;
    if (f->count == FOUND_MAX)
        return;
    memcpy(f->text[f->count], line, sizeof line);
    f->kind[f->count++] = kind;
}
