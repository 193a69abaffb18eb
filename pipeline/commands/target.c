#include "pipeline/commands/target.h"

#include "pipeline/run.h"
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
    free(t->made);
    t->made = NULL;
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

enum err_code target_ask(const struct target *t, const Riverrun__Request *request, struct err *err)
{
    Riverrun__Reply *reply = NULL;
    enum err_code code = control_ask(t->store, request, &reply, err);

    if (!code && reply->code)
        code = err_set(err, reply->code < ERR_COUNT ? (enum err_code)reply->code : ERR_SYSTEM, 0,
                       "%s", reply->text);
    if (reply)
        riverrun__reply__free_unpacked(reply, NULL);
    return code;
}
