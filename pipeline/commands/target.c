#include "pipeline/commands/target.h"

#include "pipeline/run.h"
#include "stages/ingest/paths.h"
#include <stdio.h>
#include <stdlib.h>

size_t target_options(struct target *t, bool with_all, struct option *options)
{
    size_t i = 0;

    *t = (struct target){.output = "out"};
    options[i++] =
        (struct option){"store", 0, OPTION_PATH, &t->store,
                        0,       0, "DIR",       "the store (default: state in the output folder)"};
    options[i++] =
        (struct option){"output", 'o', OPTION_PATH, &t->output,
                        0,        0,   "DIR",       "the output folder of the job (default: out)"};
    options[i++] = (struct option){"json", 0, OPTION_FLAG, &t->json, 0, 0, NULL, "answer as JSON"};
    if (with_all)
        options[i++] = (struct option){"all", 0, OPTION_FLAG, &t->all, 0, 0, NULL, "every stream"};
    options[i] = (struct option){.name = NULL};
    return i;
}

enum err_code target_end(struct target *t, struct err *err)
{
    if (!t->store && asprintf(&t->made, "%s/state", t->output) < 0)
        return err_set(err, ERR_MEMORY, 0, "settings");
    if (!t->store)
        t->store = t->made;
    return ERR_OK;
}

void target_release(struct target *t)
{
    for (size_t i = 0; i < t->name_count; i++)
        free(t->names[i]);
    free(t->names);
    free(t->made);
    t->names = NULL;
    t->made = NULL;
    t->name_count = 0;
}

enum err_code target_look(const struct target *t, struct store **store, bool *owned,
                          struct err *err)
{
    const struct store_options look = {.write = false};
    enum err_code code = store_open(store, t->store, &look, err);

    if (!code)
        *owned = store_is_owned(*store);
    return code;
}

/* ---- Which stream is meant? ---- */

static bool is_stream(struct store *store, const char *name)
{
    uint64_t id;

    return store_find(store, name, &id, NULL) == ERR_OK;
}

/* The streams whose names end in '+' and what was asked for, as a name says it or as it stands in one. */
struct ending {
    const char *asked, *escaped;
    char *name, *other; /* of the first two */
};

static bool ends_in(const char *name, const char *tail)
{
    size_t bytes = strlen(name), last = strlen(tail);

    return bytes > last && name[bytes - last - 1] == '+' && !strcmp(name + bytes - last, tail);
}

static bool count_ending(void *user, const char *name, uint64_t stream)
{
    struct ending *e = user;

    (void)stream;
    if (ends_in(name, e->asked) || ends_in(name, e->escaped))
        require(*(e->name ? &e->other : &e->name) = strdup(name));
    return !e->other;
}

/* The stream of a file, malloc'ed; *name NULL where there is none. */
static enum err_code stream_of_file(struct store *store, const char *file, char **out,
                                    struct err *err)
{
    char *whole = realpath(file, NULL), *name = whole ? path_name(whole) : NULL;
    struct ending ending = {.asked = file};
    char *escaped;
    enum err_code code;

    *out = name;
    free(whole);
    if (name && is_stream(store, name))
        return ERR_OK;
    free(name);
    require(escaped = path_name(file));
    ending.escaped = escaped;
    code = store_each(store, count_ending, &ending, err);
    if (!code && ending.other) {
        code = err_set(err, ERR_USAGE, 0,
                       "which stream is '%s'? '%s' and '%s' end so: name more of it", file,
                       ending.name, ending.other);
        free(ending.name);
        ending.name = NULL;
    }
    free(escaped);
    free(ending.other);
    *out = ending.name;
    return code;
}

/* Of STREAM or STREAM@POINT, malloc'ed; *out NULL: as it is. */
static enum err_code name_of(struct store *store, const char *asked, char **out, struct err *err)
{
    const char *at = strrchr(asked, '@');
    char *stem, *stream = NULL;
    enum err_code code;

    *out = NULL;
    if (!*asked || is_stream(store, asked))
        return ERR_OK;
    code = stream_of_file(store, asked, out, err);
    if (code || *out || !at || at == asked)
        return code;
    require(stem = strndup(asked, (size_t)(at - asked)));
    if (!is_stream(store, stem))
        code = stream_of_file(store, stem, &stream, err);
    if (stream)
        require(asprintf(out, "%s%s", stream, at) >= 0);
    free(stem);
    free(stream);
    return code;
}

enum err_code target_names(struct target *t, struct store *store, char **names, size_t count,
                           struct err *err)
{
    enum err_code code = ERR_OK;

    require(t->names = calloc(count + 1, sizeof *t->names));
    for (size_t i = 0; i < count && !code; i++) {
        char *name;
        code = name_of(store, names[i], &name, err);
        if (name)
            names[i] = t->names[t->name_count++] = name;
    }
    return code;
}

/* The run has the request and has not answered. Where it still answers `status` it will be done. */
static enum err_code say_what_waits(const struct target *t, const struct err *why, struct err *err)
{
    Riverrun__Request status = RIVERRUN__REQUEST__INIT;
    Riverrun__Reply *reply = NULL;
    const char *waiting;
    bool waits;

    status.verb = proto_text("status");
    if (control_ask(t->store, &status, &reply, &waits, NULL) || reply->code) {
        *err = *why;
    } else {
        waiting = reply->waiting[0] ? reply->waiting : "it is not durable yet";
        err_set(err, why->code, 0, "%s: %s; what was asked stands, and is done after that",
                why->text, waiting);
    }
    if (reply)
        riverrun__reply__free_unpacked(reply, NULL);
    return err->code;
}

enum err_code target_ask(const struct target *t, const Riverrun__Request *request, struct err *err)
{
    Riverrun__Reply *reply = NULL;
    struct err why;
    bool waits;
    enum err_code code = control_ask(t->store, request, &reply, &waits, &why);

    if (code && !waits)
        *err = why;
    else if (code)
        code = say_what_waits(t, &why, err);
    else if (reply->code)
        code = err_set(err, reply->code < ERR_COUNT ? (enum err_code)reply->code : ERR_SYSTEM, 0,
                       "%s", reply->text);
    if (reply)
        riverrun__reply__free_unpacked(reply, NULL);
    return code;
}
