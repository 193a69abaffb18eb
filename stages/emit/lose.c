/* What goes wrong: a sink is refused, or cut to what is durable and opened again. */
#include "stages/emit/emit.h"

#include <errno.h>

enum {
    AGAIN_MS = 5000,
    FAULTS_MAX = 3 /* at one place, then the stream is given up */
};

void sink_tell_refused(struct emit *e, uint64_t stream, uint64_t owner, const struct err *why,
                       bool all)
{
    Riverrun__SinkRefused refused = RIVERRUN__SINK_REFUSED__INIT;

    refused.stream = stream;
    refused.owner = owner;
    refused.code = why->code;
    refused.text = proto_text(why->text);
    refused.all = all;
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_REFUSED, &refused);
}

void sink_refuse(struct emit *e, struct sink *s, const struct err *why)
{
    sink_tell_refused(e, s->stream, s->owner, why, false);
    sink_drop(e, s);
}

static void tell_lost(struct emit *e, const struct sink *s, const struct err *why)
{
    Riverrun__SinkLost lost = RIVERRUN__SINK_LOST__INIT;

    lost.stream = s->stream;
    lost.owner = s->owner;
    lost.code = why->code;
    lost.text = proto_text(why->text);
    outbox_tell(&e->outbox, RIVERRUN__CONTROL__IS_SINK_LOST, &lost);
}

/* Try again when there may be room: encode sends anew what was not durable. */
void sink_wait_for_room(struct emit *e, struct sink *s, const struct err *why)
{
    if (!e->full_told)
        stage_report(e->env, STAGE_WARNING, NULL, "%s: trying again every %d s", why->text,
                     AGAIN_MS / 1000);
    e->full_told = true;
    s->lost = true;
    s->lost_at_ms = e->now_ms + AGAIN_MS;
    ENTER(e, s, waiting);
}

/* Back to what is durable, so that no part of a line stays. */
static enum err_code cut(struct emit *e, struct sink *s, struct err *err)
{
    struct err why = {.code = ERR_OK};

    if (s->file.there && !sink_attach(e, s, &why)) {
        *err = why;
        if (!why.code)
            err_set(err, ERR_SINK, 0, "too many outputs are open to cut one");
        return err->code;
    }
    return e->ops->cut(&s->file, &s->durable, err);
}

/* A write or a sync failed: what the page cache says of the file is not to be believed. It is cut to what is
 * durable, and encode sends the rest again; but not for ever where the same place fails each time. */
static void lose(struct emit *e, struct sink *s, struct err *why)
{
    bool full = why->code == ERR_FULL, up;
    char text[sizeof why->text];
    struct err cut_err;

    if (s->fault_n != s->durable.n)
        s->faults = 0;
    s->fault_n = s->durable.n;
    s->faults += !full;
    up = full ? !e->env->config->follow : s->faults >= FAULTS_MAX;
    if (cut(e, s, &cut_err)) {
        if (up)
            stage_report(e->env, STAGE_WARNING, NULL, "the end of the output could not be cut");
        sink_refuse(e, s, up ? why : &cut_err);
        return;
    }
    if (up && !full) {
        memcpy(text, why->text, sizeof text);
        err_set(why, ERR_SINK, 0, "%s; failed %u times at one place", text, s->faults);
    }
    if (up) {
        sink_refuse(e, s, why);
        return;
    }
    sink_forget(e, s);
    if (!s->busy)
        sink_detach(e, s);
    s->lost = true;
    if (full)
        sink_wait_for_room(e, s, why);
    else
        tell_lost(e, s, why);
}

/* What stands in the file is compared when it is opened again. */
static void wait_for_descriptor(struct emit *e, struct sink *s, const struct err *why)
{
    (void)sink_do_with_fewer(e, why);
    sink_forget(e, s);
    if (!s->busy)
        sink_detach(e, s);
    sink_wait_for_room(e, s, why);
}

void sink_fail(struct emit *e, struct sink *s, struct err *why)
{
    if (why->cause == EPIPE || why->cause == EBADF) {
        err_set(&e->over, ERR_SINK, 0, "standard output %s",
                why->cause == EPIPE ? "was closed by its reader" : "is closed");
        sink_tell_refused(e, s->stream, s->owner, &e->over, true);
        sink_forget(e, s);
        s->lost = true;
    } else if (err_no_descriptor(why->cause) && e->env->config->follow) {
        wait_for_descriptor(e, s, why);
    } else if (why->code == ERR_SYSTEM || why->code == ERR_FULL) {
        lose(e, s, why);
    } else {
        sink_refuse(e, s, why);
    }
}

bool sinks_wake(struct emit *e)
{
    const struct err again = {.code = ERR_FULL, .text = "no space is left"};
    struct sink *s;
    bool any = false;

    while ((s = TAILQ_FIRST(&e->waiting)) && s->lost_at_ms <= e->now_ms) {
        LEAVE(e, s, waiting);
        tell_lost(e, s, &again);
        any = true;
    }
    return any;
}
