/* riverrun reader NAME: the file on standard input as text, in frames, on standard output. Ingest starts it for
 * each file that is no plain text (stages/ingest/readers/child.c), with a pipe to write to: a file it cannot write. */
#include "pipeline/commands/commands.h"
#include "stages/ingest/readers/confine.h"
#include "stages/ingest/readers/readers.h"

#include <locale.h>
#include <stdlib.h>
#include <unistd.h>

enum err_code command_reader(char **arguments, size_t count, struct err *err)
{
    struct reading reading = {.file = STDIN_FILENO};
    const struct option options[] = {{"encoding", 0, OPTION_TEXT, &reading.encoding, 0, 0, "NAME",
                                      "of the text (default: it is looked at)"},
                                     {"field", 0, OPTION_TEXT, &reading.field, 0, 0, "NAME",
                                      "of JSON Lines, whose text is read"},
                                     {.name = NULL}};
    struct out *out;
    bool help;
    enum err_code code = options_parse(options, arguments, &count, &help, err);

    if (code || help || count > 1)
        return code ? code : err_set(err, ERR_USAGE, 0, "reader is started by `riverrun read`");
    reading.name = count ? arguments[0] : NULL;
    code = confine(err);
    if (code)
        return code;
    /* libarchive gives a file's name in the locale's characters alone. Whoever's locale is another gets the same. */
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    out = calloc(1, sizeof *out);
    if (!out)
        return err_set(err, ERR_MEMORY, 0, "a reader");
    out->fd = STDOUT_FILENO;
    code = readers_run(&reading, out, err);
    free(out);
    return code;
}
