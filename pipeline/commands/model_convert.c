/* riverrun model convert: from any container to safetensors. */
#include "pipeline/commands/model.h"
#include "pipeline/report.h"

#include <stdio.h>

static void print_report(const char *output, const struct engine_conversion *c)
{
    char bytes[32];

    report_bytes(bytes, sizeof bytes, (double)c->bytes);
    printf("%s: %llu tensors, %s\n", output, (unsigned long long)c->tensors, bytes);
    if (c->decays)
        printf(
            "%llu decays were made raw again; %llu not exactly, which the metadata have as well\n",
            (unsigned long long)c->decays, (unsigned long long)c->decays_near);
    if (c->vocabulary_left)
        printf("its vocabulary cannot be read and was left out: give --vocab with the result\n");
    if (c->vanished)
        printf("%llu weights are too small for the type and became 0\n",
               (unsigned long long)c->vanished);
    if (c->not_finite)
        printf("%llu weights are NaN or infinite, as they were\n",
               (unsigned long long)c->not_finite);
}

enum err_code model_convert(char **arguments, size_t count, struct err *err)
{
    static const char *const dtypes[] = {"f32", "bf16", "f16"};
    static const char *const types[] = {NULL, "f32", "bf16", "int8"};
    const char *output = NULL;
    struct engine_conversion report;
    int dtype = 0, weights = 0;
    bool quiet = false, help;
    const struct option options[] = {
        {"output", 'o', OPTION_PATH, &output, 0, 0, "FILE", "the safetensors file to write"},
        {"dtype", 0, OPTION_CHOICE, &dtype, 0, 0, "f32|bf16|f16",
         "of the matrices (default: f32); vectors become f32 unless they are of it already"},
        {"auto", 0, OPTION_CHOICE, &weights, 0, 0, "source|f32|bf16|int8",
         "what --weights auto will be for it: what was measured to be near enough (default: as for "
         "the source)"},
        {"quiet", 'q', OPTION_FLAG, &quiet, 0, 0, NULL, "no report"},
        {.name = NULL}};
    enum err_code code = options_parse(options, arguments, &count, &help, err);

    if (!code && help) {
        puts(
            "usage: riverrun model convert FILE -o OUT.safetensors [--dtype f32|bf16|f16]\n"
            "\n"
            "Writes any model that opens as safetensors with the names and shapes that RWKV's own\n"
            "programs use. As f32 it gives the same logits as FILE, bit for bit. Decays that "
            "rwkv.cpp\n"
            "keeps done (versions 4 and 5) are made raw; where no raw number gives the same again, "
            "the\n"
            "metadata have it, for riverrun alone. A vocabulary in FILE goes along.\n");
        options_print(options);
        return ERR_OK;
    }
    if (!code && (count != 1 || !output))
        code =
            err_set(err, ERR_USAGE, 0, "model convert needs %s: riverrun model convert FILE -o OUT",
                    count != 1 ? "one model file" : "an output");
    if (!code)
        code = find_model((const char **)&arguments[0], err);
    if (!code)
        code = engine_convert(arguments[0], output, dtypes[dtype], types[weights], &report, err);
    if (!code && !quiet)
        print_report(output, &report);
    return code;
}
