#include "pipeline/commands/care.h"

#include <stdio.h>
#include <stdlib.h>

size_t care_target_options(struct care_target *t, struct option *options)
{
    *t = (struct care_target){.json = false};
    options[0] = (struct option){
        "output",
        'o',
        OPTION_PATH,
        &t->output,
        0,
        0,
        "DIR",
        "the output folder of the job (default: out, or none where only --store is given)"};
    options[1] =
        (struct option){"store", 0, OPTION_PATH, &t->store,
                        0,       0, "DIR",       "the store (default: state in the output folder)"};
    options[2] = (struct option){"json", 0, OPTION_FLAG, &t->json, 0, 0, NULL, "answer as JSON"};
    return CARE_OPTIONS;
}

enum err_code care_target_parse(struct care_target *t, const char *verb, const char *usage,
                                const struct option *options, char **arguments, size_t count,
                                struct err *err)
{
    enum err_code code = options_parse(options, arguments, &count, &t->help, err);

    if (code)
        return code;
    if (t->help) {
        puts(usage);
        options_print(options);
        return ERR_OK;
    }
    if (count)
        return err_set(err, ERR_USAGE, 0, "%s takes no arguments, '%s' is one", verb, arguments[0]);
    if (!t->store && !t->output)
        t->output = "out";
    if (!t->store && asprintf(&t->made, "%s/state", t->output) < 0)
        return err_set(err, ERR_MEMORY, 0, "settings");
    if (!t->store)
        t->store = t->made;
    return ERR_OK;
}

void care_target_release(struct care_target *t)
{
    free(t->made);
    t->made = NULL;
}
