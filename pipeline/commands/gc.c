/* riverrun gc: a store without what it does not need. */
#include "pipeline/commands/care.h"
#include "pipeline/commands/commands.h"
#include "pipeline/report.h"
#include "stages/care/care.h"

#include <jansson.h>
#include <stdio.h>

static const char help[] =
    "usage: riverrun gc [-o DIR] [--store DIR]\n\n"
    "Makes a job's store small: of finished streams only the newest checkpoint stays, pages that "
    "are\n"
    "free go, and what killed runs left behind is removed. Outputs are not touched. A finished\n"
    "stream whose output is cut short later can then only be begun again.\n";

static void say(void *user, enum care_kind kind, const char *thing, const char *text)
{
    const struct care_target *target = user;

    (void)kind;
    if (!target->json)
        printf("%s: %s\n", thing, text);
}

static void show_json(const struct care_cleaned *done)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I}", "before_bytes", (json_int_t)done->before,
                          "after_bytes", (json_int_t)done->after, "checkpoints_dropped",
                          (json_int_t)done->checkpoints, "files_removed", (json_int_t)done->removed,
                          "damaged_bytes", (json_int_t)done->damaged_bytes);

    require(o);
    answer_json(o, 17);
}

static void show(const struct care_cleaned *done, const char *store)
{
    char before[32], after[32], damaged[32];

    report_bytes(before, sizeof before, (double)done->before);
    report_bytes(after, sizeof after, (double)done->after);
    report_bytes(damaged, sizeof damaged, (double)done->damaged_bytes);
    printf("%s: %s before, %s after; %llu checkpoints of finished streams dropped, %llu files "
           "removed\n",
           store, before, after, (unsigned long long)done->checkpoints,
           (unsigned long long)done->removed);
    if (done->damaged_bytes)
        printf("%s/data.mdb.damaged-*: %s that repairs kept, remove them when all is well\n", store,
               damaged);
}

enum err_code command_gc(char **arguments, size_t count, struct err *err)
{
    struct option options[CARE_OPTIONS + 1];
    struct care_target target;
    struct care_cleaned done;
    enum err_code code;

    options[care_target_options(&target, options)] = (struct option){.name = NULL};
    code = care_target_parse(&target, "gc", help, options, arguments, count, err);
    if (!code && !target.help) {
        struct care_options how = {target.store, target.output, false, say, &target};
        code = care_gc(&how, &done, err);
        if (!code && target.json)
            show_json(&done);
        else if (!code)
            show(&done, target.store);
    }
    care_target_release(&target);
    return code;
}
