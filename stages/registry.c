#include "stages/stage.h"

#include <stdarg.h>
#include <stdio.h>

extern const struct stage_ops ingest_ops, tokenize_ops, encode_ops, emit_ops;

const struct stage_ops *const stages[] = {&ingest_ops, &tokenize_ops, &encode_ops, &emit_ops, NULL};

const struct stage_ops *stage_find(const char *name)
{
    for (size_t i = 0; stages[i]; i++)
        if (!strcmp(stages[i]->name, name))
            return stages[i];
    return NULL;
}

bool stage_control(const struct stage_out *out, enum stage_port port,
                   const Riverrun__Control *control)
{
    struct msg *msg = NULL;
    bool sent;

    if (control_make(&msg, control, NULL))
        return false;
    sent = out->send(out->self, port, &msg);
    msg_free(&msg);
    return sent;
}

void stage_report(const struct stage_env *env, enum stage_level level, const char *stream,
                  const char *format, ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    env->report(env->report_self, level, stream, text);
}
