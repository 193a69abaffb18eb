/* riverrun model info: what a model file holds. */
#include "pipeline/commands/model.h"
#include "pipeline/report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void fingerprint_text(const struct engine_info *info, char *text)
{
    for (int i = 0; i < ENGINE_FINGERPRINT_BYTES; i++)
        sprintf(text + 2 * i, "%02x", info->fingerprint[i]);
}

/* "1.53 G" */
static void count_text(char *text, size_t room, double count)
{
    static const char units[] = " kMGT";
    int unit = 0;

    while (count >= 999.5 && units[unit + 1]) {
        count /= 1000;
        unit++;
    }
    snprintf(text, room, unit ? "%.3g %c" : "%.0f%c", count, units[unit]);
}

static void print_dtypes(const struct engine_description *d)
{
    char bytes[32];

    for (size_t i = 0; i < d->dtype_count; i++) {
        const struct engine_dtype *t = &d->dtypes[i];
        report_bytes(bytes, sizeof bytes, (double)t->bytes);
        printf("%-15s %-5s %llu tensors, %llu values, %s\n", i ? "" : "types", t->name,
               (unsigned long long)t->tensors, (unsigned long long)t->values, bytes);
    }
}

static void print_text(const char *path, const struct engine_description *d)
{
    const struct engine_info *i = &d->info;
    char fingerprint[2 * ENGINE_FINGERPRINT_BYTES + 1], bytes[32], layers[32], head[32];

    fingerprint_text(i, fingerprint);
    report_bytes(bytes, sizeof bytes, (double)d->file_bytes);
    printf("%-15s %s\n", "file", path);
    printf("%-15s RWKV-%u", "version", i->version_major);
    printf(i->version_minor ? ".%u\n" : "\n", i->version_minor);
    printf("%-15s %s, %s, %zu tensors\n", "container", i->container, bytes, d->tensors);
    print_dtypes(d);
    printf("%-15s %llu\n", "parameters", (unsigned long long)i->parameters);
    printf("%-15s %u\n", "layers", i->layers);
    printf("%-15s %u", "channels", i->channels);
    if (i->heads)
        printf(", %u heads of %u", i->heads, i->head_size);
    printf("; %u in the channel mix\n", i->ffn_channels);
    if (d->gn_eps > 0)
        printf("%-15s %g\n", "group norm eps", (double)d->gn_eps);
    printf("%-15s %u tokens; tokenizer: %s\n", "vocabulary", i->vocab,
           d->tokenizer ? d->tokenizer : "not known");
    printf("%-15s %s by default (--weights)\n", "multiplied as", d->weights);
    report_bytes(bytes, sizeof bytes, (double)i->state_bytes);
    printf("%-15s %s a stream, %s\n", "state", bytes,
           d->trained_state ? "begins as trained" : "begins at zero");
    count_text(layers, sizeof layers, (double)i->flops_per_token);
    count_text(head, sizeof head, (double)i->flops_head);
    printf("%-15s %sflop in the layers, %sflop in the head\n", "a token costs", layers, head);
    printf("%-15s %s\n", "fingerprint", fingerprint);
}

static json_t *dtypes_json(const struct engine_description *d)
{
    json_t *array = json_array();

    for (size_t i = 0; i < d->dtype_count; i++) {
        const struct engine_dtype *t = &d->dtypes[i];
        json_array_append_new(array,
                              json_pack("{s:s, s:I, s:I, s:I}", "dtype", t->name, "tensors",
                                        (json_int_t)t->tensors, "values", (json_int_t)t->values,
                                        "bytes", (json_int_t)t->bytes));
    }
    return array;
}

static void put(json_t *object, const char *name, json_t *value)
{
    require(!json_object_set_new(object, name, value ? value : json_null()));
}

static void put_count(json_t *object, const char *name, uint64_t count)
{
    put(object, name, json_integer((json_int_t)count));
}

static void print_json(const char *path, const struct engine_description *d)
{
    const struct engine_info *i = &d->info;
    char fingerprint[2 * ENGINE_FINGERPRINT_BYTES + 1], version[24];
    json_t *o = json_object();

    fingerprint_text(i, fingerprint);
    snprintf(version, sizeof version, "%u.%u", i->version_major, i->version_minor);
    put(o, "file", answer_text(path));
    put(o, "version", json_string(version));
    put(o, "container", json_string(i->container));
    put_count(o, "file_bytes", d->file_bytes);
    put_count(o, "tensors", d->tensors);
    put(o, "dtypes", dtypes_json(d));
    put_count(o, "parameters", i->parameters);
    put_count(o, "layers", i->layers);
    put_count(o, "channels", i->channels);
    put_count(o, "heads", i->heads);
    put_count(o, "head_size", i->head_size);
    put_count(o, "ffn_channels", i->ffn_channels);
    put_count(o, "vocab", i->vocab);
    put(o, "tokenizer", d->tokenizer ? json_string(d->tokenizer) : NULL);
    put(o, "weights", json_string(d->weights));
    put(o, "gn_eps", d->gn_eps > 0 ? json_real((double)d->gn_eps) : NULL);
    put_count(o, "state_bytes", i->layers * i->layer_state_bytes);
    put_count(o, "saved_state_bytes", i->state_bytes);
    put(o, "trained_state", json_boolean(d->trained_state));
    put_count(o, "flops_per_token", i->flops_per_token);
    put_count(o, "flops_head", i->flops_head);
    put(o, "fingerprint", json_string(fingerprint));
    answer_json(o, 9);
}

enum err_code model_info(char **arguments, size_t count, struct err *err)
{
    struct engine_description description;
    bool json = false, help;
    const struct option options[] = {{"json", 0, OPTION_FLAG, &json, 0, 0, NULL, "answer as JSON"},
                                     {.name = NULL}};
    enum err_code code = options_parse(options, arguments, &count, &help, err);
    const char *file = count ? arguments[0] : NULL;

    if (!code && help) {
        puts(
            "usage: riverrun model info [FILE] [--json]\n\n"
            "What the file holds. All of it is read, since its fingerprint covers every weight.\n");
        options_print(options);
        return ERR_OK;
    }
    if (!code && count > 1)
        code = err_set(err, ERR_USAGE, 0, "model info takes one model file");
    if (!code)
        code = find_model(&file, err);
    if (!code)
        code = engine_describe(file, &description, err);
    if (!code)
        (json ? print_json : print_text)(file, &description);
    return code;
}
