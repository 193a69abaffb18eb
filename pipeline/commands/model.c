/* riverrun model: a model file by itself. */
#include "pipeline/commands/model.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    command_fn *run;
    const char *help;
} verbs[] = {
    {"info", model_info, "version, sizes, types, tokenizer, state, cost, fingerprint"},
    {"convert", model_convert, "to safetensors that every RWKV program reads"},
    {"logits", model_logits, "the logits after given tokens, and the state, as raw float32"},
};

static void print_help(void)
{
    puts("usage: riverrun model VERB FILE [options]\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
    puts("\n`riverrun model VERB --help` names the options of one.");
}

enum err_code command_model(char **arguments, size_t count, struct err *err)
{
    const char *name = count ? arguments[0] : "--help";

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(name, verbs[i].name))
            return verbs[i].run(arguments + 1, count - 1, err);
    if (strcmp(name, "--help") != 0 && strcmp(name, "-h") != 0)
        return err_set(err, ERR_USAGE, 0, "model cannot '%s': `riverrun model --help`", name);
    print_help();
    return count ? ERR_OK : err_set(err, ERR_USAGE, 0, "model needs a verb");
}
