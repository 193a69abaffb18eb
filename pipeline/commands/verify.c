/* riverrun verify: is all that a job holds what it should be? */
#include "pipeline/commands/care.h"
#include "pipeline/commands/commands.h"
#include "stages/care/care.h"

#include <jansson.h>
#include <stdio.h>

static const char help[] =
    "usage: riverrun verify [-o DIR] [--store DIR]\n\n"
    "Reads all of a job's store and outputs and changes nothing; beside a run too. Every "
    "checksum,\n"
    "every checkpoint, every record of every output is compared. One line tells of each thing "
    "that\n"
    "is wrong, and what to do.\n\n"
    "exit status: 0 all is well, 16 the store is damaged, 14 an output is not what was written\n";

struct lines {
    bool json;
    json_t *findings, *notes;
};

static void say(void *user, enum care_kind kind, const char *thing, const char *text)
{
    struct lines *lines = user;

    if (lines->json)
        json_array_append_new(kind == CARE_NOTE ? lines->notes : lines->findings,
                              json_pack("{s:o, s:s, s:o}", "thing", answer_text(thing), "kind",
                                        kind == CARE_NOTE      ? "note"
                                        : kind == CARE_DAMAGED ? "store"
                                                               : "output",
                                        "text", answer_text(text)));
    else
        printf("%s: %s\n", thing, text);
}

static void show_json(const struct care_verified *t, const struct lines *lines)
{
    json_t *o =
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "well", !t->damaged && !t->sinks,
                  "streams", (json_int_t)t->streams, "checkpoints", (json_int_t)t->checkpoints,
                  "values", (json_int_t)t->values, "bytes", (json_int_t)t->bytes, "records",
                  (json_int_t)t->records, "output_bytes", (json_int_t)t->output_bytes, "findings",
                  lines->findings, "notes", lines->notes);

    require(o);
    answer_json(o, 17);
}

static void show(const struct care_verified *t, bool outputs)
{
    printf("%llu streams, %llu checkpoints, %llu values of %llu bytes",
           (unsigned long long)t->streams, (unsigned long long)t->checkpoints,
           (unsigned long long)t->values, (unsigned long long)t->bytes);
    if (outputs)
        printf("; %llu records of %llu bytes", (unsigned long long)t->records,
               (unsigned long long)t->output_bytes);
    if (t->damaged || t->sinks)
        printf(": %llu things wrong in the store, %llu in outputs\n",
               (unsigned long long)t->damaged, (unsigned long long)t->sinks);
    else
        printf(": all is well\n");
}

enum err_code command_verify(char **arguments, size_t count, struct err *err)
{
    struct option options[CARE_OPTIONS + 1];
    struct care_target target;
    struct lines lines = {.findings = json_array(), .notes = json_array()};
    struct care_verified totals;
    enum err_code code;

    options[care_target_options(&target, options)] = (struct option){.name = NULL};
    code = care_target_parse(&target, "verify", help, options, arguments, count, err);
    if (!code && !target.help) {
        struct care_options how = {target.store, target.output, false, say, &lines};
        lines.json = target.json;
        code = care_verify(&how, &totals, err);
        if ((!code || !err->text[0]) && target.json)
            show_json(&totals, &lines);
        else if (!code || !err->text[0])
            show(&totals, target.output);
    }
    json_decref(lines.findings);
    json_decref(lines.notes);
    care_target_release(&target);
    return code;
}
