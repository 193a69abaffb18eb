/* riverrun embeddings: the vectors in a job's records, as an array. */
#include "pipeline/commands/commands.h"
#include "pipeline/options.h"
#include "schemas/outfile.h"
#include "stages/emit/vectors.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: riverrun embeddings [DIR] [-o FILE.npy]\n\n"
    "Makes an array of the embeddings in the records of DIR (default: out), for numpy and what "
    "reads its\n"
    "files: a row of float32 and of length 1 for each unit, so that two rows' product is the\n"
    "cosine of their angle. FILE.npy.tsv says which unit each row is of. The same records give the "
    "same\n"
    "array each time. Rows are whitened: what all units of DIR share is taken out, so that a "
    "cosine "
    "tells\n"
    "what is alike; to compare rows of several folders take them raw.\n";

static void show(const struct vectors_options *o, const struct vectors_made *made, bool json)
{
    json_t *answer;

    if (!json) {
        printf("%s: %llu rows of %llu dimensions, %llu units without; the rows: %s\n", o->array,
               (unsigned long long)made->rows, (unsigned long long)made->dimensions,
               (unsigned long long)made->without, o->index);
        return;
    }
    answer = json_pack("{s:o, s:o, s:I, s:I, s:I}", "array", answer_text(o->array), "index",
                       answer_text(o->index), "rows", (json_int_t)made->rows, "dimensions",
                       (json_int_t)made->dimensions, "without", (json_int_t)made->without);
    require(answer);
    answer_json(answer, 17);
}

enum err_code command_embeddings(char **arguments, size_t count, struct err *err)
{
    struct vectors_options o = {.folder = "out"};
    struct vectors_made made = {.rows = 0};
    bool json = false, asked;
    const struct option options[] = {{"output", 'o', OPTION_PATH, &o.array, 0, 0, "FILE",
                                      "the array (default: embeddings.npy beside the records)"},
                                     {"raw", 0, OPTION_FLAG, &o.raw, 0, 0, NULL,
                                      "the vectors as the records have them, not whitened"},
                                     {"json", 0, OPTION_FLAG, &json, 0, 0, NULL, "answer as JSON"},
                                     {.name = NULL}};
    char *beside = NULL, *index = NULL;
    enum err_code code = options_parse(options, arguments, &count, &asked, err);

    if (code)
        return code;
    if (asked) {
        puts(help);
        options_print(options);
        return ERR_OK;
    }
    if (count > 1)
        return err_set(err, ERR_USAGE, 0, "embeddings takes one folder, '%s' is another",
                       arguments[1]);
    if (count)
        o.folder = arguments[0];
    if (!o.array && asprintf(&beside, "%s/embeddings.npy", o.folder) < 0)
        return err_set(err, ERR_MEMORY, 0, "embeddings");
    o.array = o.array ? o.array : beside;
    if (outfile_is_standard(o.array)) {
        free(beside);
        return err_set(
            err, ERR_USAGE, 0,
            "'%s' is standard output, and the array's table stands beside it: name a file",
            o.array);
    }
    if (asprintf(&index, "%s.tsv", o.array) < 0)
        index = NULL;
    o.index = index;
    code = index ? vectors_export(&o, &made, err) : err_set(err, ERR_MEMORY, 0, "embeddings");
    if (!code)
        show(&o, &made, json);
    free(index);
    free(beside);
    return code;
}
