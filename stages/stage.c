#include "stages/stage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

extern const struct stage_ops ingest_ops, tokenize_ops, encode_ops, emit_ops;

const struct stage_ops *const stages[] = {&ingest_ops, &tokenize_ops, &encode_ops, &emit_ops, NULL};

const struct stage_ops *stage_find(const char *name)
{
    for (size_t i = 0; stages[i]; i++)
        if (!strcmp(stages[i]->name, name))
            return stages[i];
    return NULL;
}

void outbox_put(struct stage_outbox *box, const Riverrun__Control *control)
{
    if (box->count == box->room) {
        box->room = box->room ? 2 * box->room : 16;
        box->items = realloc(box->items, box->room * sizeof *box->items);
        require(box->items);
    }
    require(!control_make(&box->items[box->count], control, NULL));
    box->count++;
}

void outbox_tell(struct stage_outbox *box, Riverrun__Control__IsCase is, void *body)
{
    Riverrun__Control control = RIVERRUN__CONTROL__INIT;

    control.is_case = is;
    control.list = body; /* the members of the union share their place */
    outbox_put(box, &control);
}

bool outbox_flush(struct stage_outbox *box, const struct stage_out *out, enum stage_port port)
{
    bool any = box->count > 0;

    for (size_t i = 0; i < box->count; i++) {
        out->send(out->self, port, &box->items[i]);
        msg_free(&box->items[i]);
    }
    box->count = 0;
    return any;
}

void outbox_clear(struct stage_outbox *box)
{
    for (size_t i = 0; i < box->count; i++)
        msg_free(&box->items[i]);
    free(box->items);
    *box = (struct stage_outbox){NULL, 0, 0};
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
