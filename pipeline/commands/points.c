/* riverrun savepoint, branch: done by the run that owns the store, or on the store where nobody does. */
#include "pipeline/commands/points.h"

#include "pipeline/commands/commands.h"
#include "pipeline/commands/target.h"
#include "stages/ingest/paths.h"
#include <stdio.h>

struct asked {
    const char *verb; /* savepoint, drop, branch */
    char *from;       /* STREAM or STREAM@POINT */
    const char *name; /* of the savepoint, of the new stream */
};

/* Nobody runs it: take the lock and do it. */
static enum err_code do_at_rest(const struct target *t, const struct asked *a, struct err *err)
{
    const struct store_options write = {.write = true};
    struct store_batch *batch = NULL;
    struct store *store = NULL;
    struct point point;
    enum err_code code = store_open(&store, t->store, &write, err);

    if (!code)
        code = point_parse(store, a->from, &point, err);
    if (!code && !strcmp(a->verb, "branch"))
        code = point_branch(store, &point, a->name, &batch, err);
    else if (!code)
        code = (!strcmp(a->verb, "drop") ? point_drop : point_save)(store, &point, a->name, &batch,
                                                                    err);
    if (!code)
        code = point_commit(store, &batch, err);
    store_close(&store);
    return code;
}

static enum err_code ask_owner(const struct target *t, const struct asked *a,
                               const struct point *point, struct err *err)
{
    Riverrun__Request request = RIVERRUN__REQUEST__INIT;
    char *names[1] = {proto_text(point->stream)};
    bool branch = !strcmp(a->verb, "branch");

    request.verb = proto_text(a->verb);
    request.names = names;
    request.n_names = 1;
    request.point = proto_text(branch ? point->name : a->name);
    request.target = proto_text(branch ? a->name : point->name);
    return target_ask(t, &request, err);
}

/* What there is now, read again. */
static enum err_code tell(const struct target *t, const struct asked *a, struct err *err)
{
    char text[2 * STORE_NAME_MAX + 2 * STORE_POINT_MAX + 40];
    struct store *store = NULL;
    struct point point;
    struct shown s;
    bool owned, branch = !strcmp(a->verb, "branch");
    enum err_code code = target_look(t, &store, &owned, err);

    if (!code)
        code = point_parse(store, branch ? a->name : a->from, &point, err);
    if (!code) {
        if (!branch)
            snprintf(point.name, sizeof point.name, "%s", a->name);
        shown_read(store, &point, &s);
        if (branch)
            snprintf(text, sizeof text, "stream '%s', branched from %s", point.stream,
                     s.from ? s.from : a->from);
        else
            snprintf(text, sizeof text, "savepoint '%s' of stream '%s'", a->name, point.stream);
        shown_print(&s, text, t->json);
        shown_release(&s);
    }
    store_close(&store);
    return code;
}

static enum err_code run(struct target *t, struct asked *a, struct err *err)
{
    struct store *store = NULL;
    struct point point;
    bool owned = false;
    enum err_code code = target_look(t, &store, &owned, err);

    if (!code)
        code = target_names(t, store, &a->from, 1, err);
    if (!code)
        code = point_parse(store, a->from, &point, err);
    store_close(&store);
    if (!code)
        code = owned ? ask_owner(t, a, &point, err) : do_at_rest(t, a, err);
    if (code)
        return code;
    if (strcmp(a->verb, "drop"))
        return tell(t, a, err);
    if (t->json)
        puts("{\"drop\": true}");
    return ERR_OK;
}

static void print_savepoint_help(const struct option *options)
{
    puts(
        "usage: riverrun savepoint STREAM NAME [--drop] [--store DIR] [--json]\n\n"
        "Keeps where a stream stands under a name, until it is dropped. Of a stream that is being\n"
        "read a checkpoint is made first; STREAM@NUMBER names an older one that is still kept.\n");
    options_print(options);
    puts("\nexit status: 0 done and durable, 2 the name is taken or is none, 3 the run ended "
         "first,\n"
         "7 no such stream, checkpoint or savepoint, 15 no space, 16 damaged; others: riverrun "
         "help");
}

enum err_code command_savepoint(char **arguments, size_t count, struct err *err)
{
    struct option options[TARGET_OPTIONS + 2];
    struct target target;
    size_t at = target_options(&target, false, options);
    bool help, drop = false;
    enum err_code code;

    options[at++] =
        (struct option){"drop", 0, OPTION_FLAG, &drop, 0, 0, NULL, "drop the savepoint"};
    options[at] = (struct option){.name = NULL};
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        print_savepoint_help(options);
        return ERR_OK;
    }
    if (!code && count != 2)
        code = err_set(err, ERR_USAGE, 0, "savepoint needs a stream and a name");
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = run(&target,
                   &(struct asked){drop ? "drop" : "savepoint", arguments[0], arguments[1]}, err);
    target_release(&target);
    return code;
}

static void print_branch_help(const struct option *options)
{
    puts("usage: riverrun branch STREAM[@POINT] NEW [--store DIR] [--json]\n\n"
         "Begins stream NEW with the model's memory of STREAM, as it stands or at a savepoint or\n"
         "checkpoint of it (`riverrun history`). `riverrun read FILE --name NEW` then reads on "
         "with\n"
         "another text; STREAM is not disturbed. Records are numbered on, in a file of NEW's "
         "own.\n");
    options_print(options);
    puts("\nexit status: 0 done and durable, 2 NEW is taken or is no name, 3 the run ended first,\n"
         "7 no such stream or point, 15 no space, 16 damaged; others: riverrun help");
}

enum err_code command_branch(char **arguments, size_t count, struct err *err)
{
    struct option options[TARGET_OPTIONS + 1];
    struct target target;
    bool help;
    enum err_code code;

    target_options(&target, false, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        print_branch_help(options);
        return ERR_OK;
    }
    if (!code && count != 2)
        code = err_set(err, ERR_USAGE, 0, "branch needs STREAM or STREAM@POINT, and a new name");
    if (!code && !path_is_name(arguments[1]))
        code = err_set(err, ERR_USAGE, 0,
                       "'%.80s': a stream needs a plain file name of at most %d bytes",
                       arguments[1], PATH_NAME_MAX);
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = run(&target, &(struct asked){"branch", arguments[0], arguments[1]}, err);
    target_release(&target);
    return code;
}
