/* riverrun repair: what is good in a damaged store, in a new file. */
#include "pipeline/commands/care.h"
#include "pipeline/commands/commands.h"
#include "stages/care/care.h"

#include <jansson.h>
#include <stdio.h>

static const char help[] =
    "usage: riverrun repair [-o DIR] [--store DIR] [--dry-run]\n\n"
    "Makes a new file of all that is good in a damaged store, puts it in the old one's place, and\n"
    "keeps the old one beside it. Each stream goes on from the newest checkpoint that is left: "
    "the\n"
    "same `read` or `follow` as before writes the same output. Outputs are not touched.\n";

struct lines {
    bool json;
    json_t *list;
};

static void say(void *user, enum care_kind kind, const char *thing, const char *text)
{
    struct lines *lines = user;

    (void)kind;
    if (lines->json)
        json_array_append_new(lines->list, json_pack("{s:o, s:o}", "thing", answer_text(thing),
                                                     "text", answer_text(text)));
    else
        printf("%s: %s\n", thing, text);
}

static void show_json(const struct care_repaired *done, json_t *list, bool dry_run)
{
    json_t *o = json_pack(
        "{s:b, s:b, s:b, s:I, s:s, s:O}", "needed", done->needed || done->feed_needed, "repaired",
        (done->needed || done->feed_needed) && !dry_run, "lost_nothing", done->exact, "values",
        (json_int_t)done->values, "kept_as", done->kept_as, "lines", list);

    require(o);
    answer_json(o, 17);
}

static void show(const struct care_repaired *done, const char *store, bool dry_run)
{
    if (!done->needed)
        printf("%s: nothing is wrong with it\n", store);
    else if (dry_run)
        printf("%s: %llu values would be kept%s; nothing was changed\n", store,
               (unsigned long long)done->values, done->exact ? ", nothing would be lost" : "");
    else if (done->kept_as[0])
        printf("%s: repaired, %llu values kept%s; the damaged file is %s/%s, remove it when all is "
               "well\n",
               store, (unsigned long long)done->values, done->exact ? ", nothing was lost" : "",
               store, done->kept_as);
    else
        printf("%s: repaired\n", store);
}

enum err_code command_repair(char **arguments, size_t count, struct err *err)
{
    struct option options[CARE_OPTIONS + 2];
    struct care_target target;
    struct lines lines = {.list = json_array()};
    struct care_repaired done = {0};
    bool dry_run = false;
    enum err_code code;

    size_t at = care_target_options(&target, options);
    options[at++] = (struct option){
        "dry-run", 0, OPTION_FLAG, &dry_run, 0, 0, NULL, "say what would be done, change nothing"};
    options[at] = (struct option){.name = NULL};
    code = care_target_parse(&target, "repair", help, options, arguments, count, err);
    if (!code && !target.help) {
        struct care_options how = {target.store, target.output, dry_run, say, &lines};
        lines.json = target.json;
        code = care_repair(&how, &done, err);
    }
    if (!code && !target.help && target.json)
        show_json(&done, lines.list, dry_run);
    else if (!code && !target.help)
        show(&done, target.store, dry_run);
    json_decref(lines.list);
    care_target_release(&target);
    return code;
}
