/* riverrun report: what a job found, as one page to look at. */
#include "stages/emit/report/report.h"
#include "pipeline/commands/commands.h"
#include "pipeline/options.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: riverrun report [DIR] [-o FILE.html]\n\n"
    "Makes one page of the records in DIR (default: out): surprisal along each document, the\n"
    "passages that stand out and the most predictable ones, with their places. The page needs no\n"
    "network and no scripts. `riverrun read` makes it by itself when it ends; this makes it anew,\n"
    "beside a run too. The same records give the same page. FILE -: to standard output.\n";

static void show_made(const struct report_options *o, const struct report_made *made, bool json)
{
    json_t *answer;

    if (!json) {
        printf("%s: %llu documents, %llu records\n", o->path, (unsigned long long)made->documents,
               (unsigned long long)made->records);
        return;
    }
    answer = json_pack("{s:o, s:I, s:I, s:I}", "report", answer_text(o->path), "documents",
                       (json_int_t)made->documents, "records", (json_int_t)made->records, "torn",
                       (json_int_t)made->torn);
    require(answer);
    answer_json(answer, 17);
}

enum err_code command_report(char **arguments, size_t count, struct err *err)
{
    struct report_options o = {.folder = "out", .most_bytes = UINT64_MAX};
    struct report_made made;
    bool json = false, asked;
    const struct option options[] = {{"output", 'o', OPTION_PATH, &o.path, 0, 0, "FILE",
                                      "the page (default: report.html beside the records)"},
                                     {"json", 0, OPTION_FLAG, &json, 0, 0, NULL, "answer as JSON"},
                                     {.name = NULL}};
    char *beside = NULL;
    enum err_code code = options_parse(options, arguments, &count, &asked, err);

    if (code)
        return code;
    if (asked) {
        puts(help);
        options_print(options);
        return ERR_OK;
    }
    if (count > 1)
        return err_set(err, ERR_USAGE, 0, "report takes one folder, '%s' is another", arguments[1]);
    if (count)
        o.folder = arguments[0];
    if (!o.path && asprintf(&beside, "%s/report.html", o.folder) < 0)
        return err_set(err, ERR_MEMORY, 0, "report");
    if (!o.path)
        o.path = beside;
    if (!strcmp(o.path, "-"))
        o.path = "/dev/stdout";
    code = report_make(&o, &made, err);
    if (!code)
        show_made(&o, &made, json);
    free(beside);
    return code;
}
