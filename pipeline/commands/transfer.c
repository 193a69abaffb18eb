/* riverrun export, import: a point of a stream as one file, and a stream of it in another store. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/points.h"
#include "pipeline/commands/target.h"
#include "schemas/outfile.h"
#include "stages/ingest/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Export ---- */

static enum err_code write_out(void *user, const void *data, size_t bytes, struct err *err)
{
    return outfile_write(user, data, bytes, err);
}

static enum err_code export_to(struct store *store, const struct point *point, const char *path,
                               struct err *err)
{
    struct view pieces[EXPORT_PIECES_MAX];
    struct exported e = {.name = {(const uint8_t *)point->stream, strlen(point->stream)},
                         .point = {(const uint8_t *)point->name, strlen(point->name)},
                         .pieces = pieces};
    struct store_checkpoint *values = NULL;
    Riverrun__Checkpoint *meta = NULL;
    struct outfile *file = NULL;
    enum err_code code = point_read(store, point, true, &values, &meta, err);

    if (code)
        return code;
    pieces[0] = values->meta;
    for (size_t i = 0; i < values->part_count; i++)
        pieces[1 + i] = values->parts[i];
    e.piece_count = 1 + values->part_count;
    code = outfile_open(&file, path, err);
    if (!code)
        code = export_write(&e, write_out, file, err);
    if (!code)
        code = outfile_commit(&file, err);
    outfile_close(&file);
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
    return code;
}

static void print_export_help(const struct option *options)
{
    puts(
        "usage: riverrun export STREAM[@POINT] FILE [--store DIR] [--json]\n\n"
        "Writes the newest checkpoint of a stream, or a savepoint or kept checkpoint of it, as "
        "one\n"
        "file: state, place in the source, fingerprints, checksums. Works beside a run. FILE - is\n"
        "standard output; what there is to say goes to standard error then.\n");
    options_print(options);
    puts("\nexit status: 0 the whole file is there, 7 no such stream or point, 14 the file cannot "
         "be\n"
         "written, 15 no space, 16 damaged; others: riverrun help");
}

enum err_code command_export(char **arguments, size_t count, struct err *err)
{
    struct option options[TARGET_OPTIONS + 1];
    struct target target;
    struct store *store = NULL;
    struct point point;
    struct shown s;
    const char *file = NULL;
    bool help, owned;
    enum err_code code;

    target_options(&target, false, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        print_export_help(options);
        return ERR_OK;
    }
    if (!code && count != 2)
        code = err_set(err, ERR_USAGE, 0, "export needs STREAM or STREAM@POINT, and a file");
    if (!code)
        file = strcmp(arguments[1], "-") ? arguments[1] : "/dev/stdout";
    if (!code)
        code = outfile_may_replace(file, "export", EXPORT_MAGIC, 8, err);
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = target_look(&target, &store, &owned, err);
    if (!code)
        code = target_names(&target, store, arguments, 1, err);
    if (!code)
        code = point_parse(store, arguments[0], &point, err);
    if (!code && !point.name[0])
        code = point_pin(store, &point, err);
    if (!code)
        code = export_to(store, &point, file, err);
    if (!code) {
        char text[STORE_NAME_MAX + 40];
        snprintf(text, sizeof text, "exported stream '%s'", point.stream);
        shown_read(store, &point, &s);
        shown_print(&s, text, target.json);
        shown_release(&s);
    }
    store_close(&store);
    target_release(&target);
    return code;
}

/* ---- Import ---- */

#define FILE_BYTES_MAX ((off_t)4 << 30)

/* The whole file, malloc'ed; a view of it. */
static enum err_code read_file(const char *path, struct view *out, struct err *err)
{
    uint8_t *data = NULL;
    struct stat st = {0};
    size_t done = 0;
    enum err_code code = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st))
        code = err_set(err, ERR_SOURCE, errno, "read '%s'", path);
    else if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
        code = err_set(err, ERR_INPUT, 0, "'%s' is no export: no file, or over 4 GiB", path);
    else if (!(data = malloc((size_t)st.st_size + 1)))
        code = err_set(err, ERR_MEMORY, 0, "read '%s'", path);
    while (!code && done < (size_t)st.st_size) {
        ssize_t got = read(fd, data + done, (size_t)st.st_size - done);
        if (got < 0 && errno != EINTR)
            code = err_set(err, ERR_SOURCE, errno, "read '%s'", path);
        else if (got == 0)
            break; /* it became shorter: then its checksum does not fit */
        else if (got > 0)
            done += (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    if (code)
        free(data);
    else
        *out = (struct view){data, done};
    return code;
}

static enum err_code import_into(const struct target *t, const struct exported *e, const char *name,
                                 struct err *err)
{
    const struct store_options write = {.write = true};
    struct store_batch *batch = NULL;
    struct store *store = NULL;
    enum err_code code = store_open(&store, t->store, &write, err);

    if (code == ERR_BUSY)
        return err_set(err, code, 0,
                       "the store '%s' is in use by a run: stop that first, then import", t->store);
    if (!code)
        code = point_import(store, e, name, &batch, err);
    if (!code)
        code = point_commit(store, &batch, err);
    if (!code) {
        char text[STORE_NAME_MAX + 40];
        struct point point;
        struct shown s;
        snprintf(text, sizeof text, "imported stream '%s'", name);
        if (!point_parse(store, name, &point, err)) {
            shown_read(store, &point, &s);
            shown_print(&s, text, t->json);
            shown_release(&s);
        }
    }
    store_close(&store);
    return code;
}

static enum err_code import_from(const struct target *t, const char *path, const char *as,
                                 struct err *err)
{
    struct view pieces[EXPORT_PIECES_MAX], file = {NULL, 0};
    char name[EXPORT_NAME_MAX + 1] = "", why[sizeof err->text];
    struct exported e;
    enum err_code code = read_file(path, &file, err);

    if (code)
        return code;
    code = export_read(file, pieces, &e, err);
    if (code) {
        strcpy(why, err->text);
        err_set(err, code, 0, "'%.150s': %.200s", path, why);
    } else {
        memcpy(name, e.name.data, e.name.bytes);
        /* Whoever made the file chose the name: it is not for our terminal. */
        if (!as && (strlen(name) != e.name.bytes || !path_is_name(name)))
            code = err_set(err, ERR_USAGE, 0,
                           "'%.150s' names its stream as no stream can be named: give a name with "
                           "--as",
                           path);
        as = as ? as : name;
        if (!code && !path_is_name(as))
            code = err_set(err, ERR_USAGE, 0,
                           "'%.80s' is no name of a stream: give a plain file name of at most %d "
                           "bytes with --as",
                           as, PATH_NAME_MAX);
    }
    if (!code)
        code = import_into(t, &e, as, err);
    free((void *)(uintptr_t)file.data);
    return code;
}

static void print_import_help(const struct option *options)
{
    puts("usage: riverrun import FILE [--as NAME] [--store DIR] [--json]\n\n"
         "Makes a stream of an exported point. `riverrun read` of the same source then goes on at "
         "its\n"
         "place, and its output begins with the record that comes next there. Needs a store that "
         "no\n"
         "run has at the time; makes it where there is none.\n");
    options_print(options);
    puts("\nexit status: 0 done and durable, 2 the name is taken, 6 no export, 15 no space, 16 the "
         "file\n"
         "is damaged, 17 made by a newer version, 18 a run has the store; others: riverrun help");
}

enum err_code command_import(char **arguments, size_t count, struct err *err)
{
    struct option options[TARGET_OPTIONS + 2];
    struct target target;
    const char *as = NULL;
    size_t at = target_options(&target, false, options);
    bool help;
    enum err_code code;

    options[at++] = (struct option){
        "as", 0, OPTION_TEXT, &as, 0, 0, "NAME", "the stream's name here (default: as exported)"};
    options[at] = (struct option){.name = NULL};
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        print_import_help(options);
        return ERR_OK;
    }
    if (!code && count != 1)
        code = err_set(err, ERR_USAGE, 0, "import needs one file");
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = import_from(&target, arguments[0], as, err);
    target_release(&target);
    return code;
}
