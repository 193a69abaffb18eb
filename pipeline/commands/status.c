/* riverrun status, pause, resume: asked of the run that owns the store, or of the store itself. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/show.h"
#include "pipeline/commands/target.h"
#include "pipeline/report.h"
#include "pipeline/run.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

Riverrun__Reply *show_reply(void)
{
    Riverrun__Reply *reply = malloc(sizeof *reply);

    require(reply);
    riverrun__reply__init(reply);
    return reply;
}

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Of a text that a reader makes nobody knows how long it will be; at its end all of it is done. */
static bool is_measured(const Riverrun__StreamStatus *s)
{
    return s->size_known || strcmp(s->state, "finished") == 0;
}

static double percent(const Riverrun__StreamStatus *s)
{
    return s->size_known && s->bytes_total ? 100.0 * (double)s->bytes / (double)s->bytes_total
                                           : 100.0;
}

void show_table(const Riverrun__Reply *reply)
{
    printf("%-9s %7s %12s %12s %9s %12s %11s  %s\n", "state", "done", "bytes", "tokens", "records",
           "computed", "checkpoint", "stream");
    for (size_t i = 0; i < reply->n_streams; i++) {
        const Riverrun__StreamStatus *s = reply->streams[i];
        char done[16] = "?", age[32] = "none";
        if (is_measured(s))
            snprintf(done, sizeof done, "%.1f %%", percent(s));
        if (s->checkpointed)
            report_time(age, sizeof age, (double)(clock_ms() - s->checkpoint_ms) / 1000);
        printf("%-9s %7s %12llu %12llu %9llu %12llu %11s  %s\n", s->state, done,
               (unsigned long long)s->bytes, (unsigned long long)s->tokens,
               (unsigned long long)s->records, (unsigned long long)s->computed, age, s->name);
        if (s->text && s->text[0])
            printf("          %s\n", s->text);
    }
    if (reply->not_begun)
        printf("%llu more are not begun\n", (unsigned long long)reply->not_begun);
    if (reply->waiting && reply->waiting[0])
        printf("waiting: %s\n", reply->waiting);
}

static json_t *stream_json(const Riverrun__StreamStatus *s)
{
    json_t *o = json_pack("{s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I}", "stream",
                          answer_text(s->name), "source", answer_text(s->source), "state", s->state,
                          "bytes", (json_int_t)s->bytes, "tokens", (json_int_t)s->tokens, "records",
                          (json_int_t)s->records, "durable_records", (json_int_t)s->durable_records,
                          "computed", (json_int_t)s->computed);

    require(o);
    json_object_set_new(o, "bytes_total",
                        s->size_known ? json_integer((json_int_t)s->bytes_total) : json_null());
    json_object_set_new(o, "percent", is_measured(s) ? json_real(percent(s)) : json_null());
    json_object_set_new(o, "checkpoint_age_seconds",
                        s->checkpointed ? json_real((double)(clock_ms() - s->checkpoint_ms) / 1000)
                                        : json_null());
    json_object_set_new(o, "reader", answer_text(s->reader ? s->reader : ""));
    json_object_set_new(o, "text", answer_text(s->text ? s->text : ""));
    return o;
}

void show_json(const Riverrun__Reply *reply)
{
    json_t *o = json_object(), *list = json_array();
    bool owned = reply->owner_pid || (reply->waiting && reply->waiting[0]);

    for (size_t i = 0; i < reply->n_streams; i++)
        json_array_append_new(list, stream_json(reply->streams[i]));
    json_object_set_new(o, "running", json_boolean(owned));
    if (owned)
        json_object_set_new(o, "waiting", answer_text(reply->waiting ? reply->waiting : ""));
    if (reply->owner_pid) {
        json_object_set_new(o, "pid", json_integer((json_int_t)reply->owner_pid));
        json_object_set_new(o, "checkpoint_us", json_integer((json_int_t)reply->checkpoint_us));
        json_object_set_new(o, "not_begun", json_integer((json_int_t)reply->not_begun));
        json_object_set_new(o, "run_us", json_integer((json_int_t)reply->run_us));
        json_object_set_new(o, "latency_us",
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "checkpoints",
                                      (json_int_t)reply->checkpoints, "commit_p50",
                                      (json_int_t)reply->commit_p50_us, "commit_p99",
                                      (json_int_t)reply->commit_p99_us, "record_p50",
                                      (json_int_t)reply->record_p50_us, "record_p99",
                                      (json_int_t)reply->record_p99_us, "record_most",
                                      (json_int_t)reply->record_most_us));
    }
    json_object_set_new(o, "streams", list);
    answer_json(o, 10);
}

/* There is an owner, and it did not answer (it stands still, or thrashes): its streams are as they were at their last
 * checkpoints, and not stopped. */
static void mark_unanswered(Riverrun__Reply *reply)
{
    status_text(&reply->waiting,
                "the process that owns this store does not answer: this is its last checkpoint");
    for (size_t i = 0; i < reply->n_streams; i++)
        if (!strcmp(reply->streams[i]->state, "stopped")) {
            free(reply->streams[i]->state);
            status_text(&reply->streams[i]->state, "unknown");
        }
}

/* The answer of the store's owner, or where there is none, of the store. */
static enum err_code status_reply(const char *path, Riverrun__Reply **reply, struct err *err)
{
    const struct store_options look = {.write = false};
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    struct store *store = NULL;
    bool waits;
    enum err_code code = store_open(&store, path, &look, err), asked;

    if (code)
        return code;
    request.verb = proto_text("status");
    request.all = true;
    asked = store_is_owned(store) ? control_ask(path, &request, reply, &waits, err) : ERR_ABSENT;
    if (asked == ERR_SYSTEM) {
        code = asked;
    } else if (asked || (*reply)->code) {
        if (*reply)
            riverrun__reply__free_unpacked(*reply, NULL);
        *reply = show_reply();
        code = status_of_store(store, *reply, err);
        if (!code && store_is_owned(store))
            mark_unanswered(*reply);
    }
    store_close(&store);
    return code;
}

enum err_code command_status(char **arguments, size_t count, struct err *err)
{
    struct option options[8];
    struct target target;
    Riverrun__Reply *reply = NULL;
    bool help;
    enum err_code code;

    target_options(&target, false, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        puts("usage: riverrun status [--store DIR] [--json]\n\nHow every stream of a store "
             "stands.\n");
        options_print(options);
        return ERR_OK;
    }
    if (!code && count)
        code = err_set(err, ERR_USAGE, 0, "status takes no arguments, '%s' is one", arguments[0]);
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = status_reply(target.store, &reply, err);
    if (!code)
        (target.json ? show_json : show_table)(reply);
    if (reply)
        riverrun__reply__free_unpacked(reply, NULL);
    target_release(&target);
    return code;
}

/* Nobody runs it: take the lock and write the flags. */
static enum err_code write_flags(const struct target *t, bool pause, char **names, size_t count,
                                 struct err *err)
{
    const struct store_options write = {.write = true};
    Riverrun__Reply *streams = show_reply();
    struct store *store = NULL;
    enum err_code code = store_open(&store, t->store, &write, err);

    if (!code && t->all)
        code = status_of_store(store, streams, err);
    for (size_t i = 0; !code && i < streams->n_streams; i++)
        code = status_set_paused(store, streams->streams[i]->name, pause, err);
    for (size_t i = 0; !code && i < count; i++)
        code = status_set_paused(store, names[i], pause, err);
    store_close(&store);
    riverrun__reply__free_unpacked(streams, NULL);
    return code;
}

static enum err_code ask_owner(const struct target *t, bool pause, char **names, size_t count,
                               struct err *err)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;

    request.verb = proto_text(pause ? "pause" : "resume");
    request.all = t->all;
    request.names = names;
    request.n_names = count;
    return target_ask(t, &request, err);
}

static enum err_code set_paused(char **arguments, size_t count, bool pause, struct err *err)
{
    const char *verb = pause ? "pause" : "resume";
    struct option options[8];
    struct target target;
    struct store *store = NULL;
    bool help, owned = false;
    enum err_code code;

    target_options(&target, true, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        printf(
            "usage: riverrun %s STREAM...|--all [--store DIR]\n\n"
            "Works on the run that owns the store, and on the store when nothing runs; the flag\n"
            "survives restarts.\n\n",
            verb);
        options_print(options);
        return ERR_OK;
    }
    if (!code && (count > 0) == target.all)
        code = err_set(err, ERR_USAGE, 0, "%s needs names of streams, or --all", verb);
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = target_look(&target, &store, &owned, err);
    if (!code)
        code = target_names(&target, store, arguments, count, err);
    store_close(&store);
    if (!code)
        code = (owned ? ask_owner : write_flags)(&target, pause, arguments, count, err);
    if (!code && target.json)
        printf("{\"%s\": true}\n", verb);
    target_release(&target);
    return code;
}

enum err_code command_pause(char **arguments, size_t count, struct err *err)
{
    return set_paused(arguments, count, true, err);
}

enum err_code command_resume(char **arguments, size_t count, struct err *err)
{
    return set_paused(arguments, count, false, err);
}
