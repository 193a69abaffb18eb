/* riverrun stage NAME: one stage as a process of its own, and the list of crash points. */
#include "pipeline/commands/commands.h"
#include "pipeline/run.h"
#include "schemas/step.h"

#include <stdio.h>
#include <string.h>

static void print_help(void)
{
    puts(
        "usage: riverrun stage ingest PATH... --listen ipc://A\n"
        "       riverrun stage tokenize [--vocab FILE | --model FILE] --connect ipc://A --listen "
        "ipc://B\n"
        "       riverrun stage encode --model FILE --store DIR --connect ipc://B --listen ipc://C\n"
        "       riverrun stage emit -o DIR --connect ipc://C\n"
        "\n"
        "The same stages as `riverrun read`, each as a process, with the same bytes out. Start "
        "them in\n"
        "any order; one that was killed is started again and picked up. `riverrun stage NAME "
        "--help`\n"
        "names the options of one.");
}

static enum err_code check(const struct stage_ops *ops, const struct settings *s, size_t paths,
                           struct err *err)
{
    bool ingest = !ops->has_up, encode = !strcmp(ops->name, "encode");

    if (ops->has_down != (s->listen != NULL) || ops->has_up != (s->connect != NULL))
        return err_set(err, ERR_USAGE, 0, "stage %s needs %s%s%s", ops->name,
                       ops->has_up ? "--connect ipc://PATH" : "no --connect",
                       ops->has_up == ops->has_down ? " and " : ", ",
                       ops->has_down ? "--listen ipc://PATH" : "no --listen");
    if (ingest != (paths > 0))
        return err_set(err, ERR_USAGE, 0,
                       ingest ? "stage ingest needs something to read"
                              : "only stage ingest takes paths");
    if (encode && !s->model)
        return err_set(err, ERR_USAGE, 0, "stage encode needs --model FILE");
    return ERR_OK;
}

enum err_code command_stage(char **arguments, size_t count, struct err *err)
{
    struct option options[SETTINGS_OPTIONS_MAX];
    const struct stage_ops *ops[2] = {count ? stage_find(arguments[0]) : NULL, NULL};
    struct settings s;
    bool help;
    enum err_code code;

    if (!ops[0] && count && strcmp(arguments[0], "--help") && strcmp(arguments[0], "-h"))
        return err_set(err, ERR_USAGE, 0, "no stage '%s': ingest, tokenize, encode, emit",
                       arguments[0]);
    if (!ops[0]) {
        print_help();
        return count ? ERR_OK : err_set(err, ERR_USAGE, 0, "stage needs a name");
    }
    settings_begin(&s);
    settings_options(&s, ops[0]->name, options);
    count--;
    code = options_parse(options, arguments + 1, &count, &help, err);
    if (!code && help) {
        print_help();
        puts("");
        options_print(options);
        return ERR_OK;
    }
    if (!code)
        code = check(ops[0], &s, count, err);
    if (!code && s.model)
        code = find_model(&s.model, err);
    if (!code)
        code = settings_end(&s, err);
    s.config.paths = (const char *const *)arguments + 1;
    s.config.path_count = count;
    struct run_options run = {&s.config, ops, s.listen, s.connect, s.quiet};
    if (!code)
        code = run_stages(&run, err);
    settings_release(&s);
    return code;
}

#ifdef RIVERRUN_STEPS
enum err_code command_steps(char **arguments, size_t count, struct err *err)
{
    (void)arguments;
    if (count)
        return err_set(err, ERR_USAGE, 0, "steps takes no arguments");
    for (size_t i = 0; i < STEP_COUNT; i++)
        puts(step_names[i]);
    return ERR_OK;
}
#endif
