/* engine/formats/beside.c: what lies beside a model file in a Hugging Face folder.
 *
 *     model.safetensors.index.json    {"weight_map": {name: file in the same folder, ...}, ...}
 *     config.json                     of the fla library: "attn" lists the layers that are no RWKV
 *
 * An index is a container of its own: every file it names is mapped and read, and the two must agree:
 * each tensor lies in the file that the index says, and each name of the index is found. Only JSON
 * of a bounded size is parsed. */
#include "engine/formats/formats.h"

#include "schemas/outfile.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INDEX_MAX = 16 << 20, CONFIG_MAX = 1 << 20, SHARDS_MAX = 1024, FILE_NAME_MAX = 255 };

static const char index_name[] = "model.safetensors.index.json";

/* The path of name in the folder of path, malloc'ed; NULL without memory. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    char *joined;

    return asprintf(&joined, "%.*s%s", folder, path, name) < 0 ? NULL : joined;
}

/* ---- Shards ---- */

/* A plain name: a file in the same folder and nothing else. */
static bool plain_name(const char *name)
{
    size_t bytes = strlen(name);

    for (size_t i = 0; i < bytes; i++)
        if (name[i] < ' ' || name[i] > '~' || name[i] == '/' || name[i] == '\\')
            return false;
    return bytes > 0 && bytes <= FILE_NAME_MAX && name[0] != '.';
}

/* Read one shard into c, whose path and map are the shard's meanwhile. */
static enum err_code read_shard(struct container *c, const char *file, const json_t *map,
                                struct err *err)
{
    char *index = c->path;
    size_t first = c->count;
    enum err_code code;

    c->path = beside(index, file);
    if (!c->path) {
        c->path = index;
        return err_set(err, ERR_MEMORY, 0, "model '%s'", index);
    }
    code = container_map(c, c->path, err);
    if (!code)
        code = container_read(c, "safetensors", err);
    for (size_t i = first; i < c->count && !code; i++) {
        const char *said = json_string_value(json_object_get(map, c->names[i]));
        if (!said || strcmp(said, file))
            code = container_fail(c, err, "it holds tensor '%s', which the index has %s%s",
                                  c->names[i], said ? "in " : "nowhere", said ? said : "");
    }
    free(c->path);
    c->path = index;
    return code;
}

/* What is left of the index without the tensors that were found. */
static enum err_code check_found(const struct container *c, json_t *map, struct err *err)
{
    void *rest;

    for (size_t i = 0; i < c->count; i++)
        json_object_del(map, c->names[i]);
    rest = json_object_iter(map);
    if (!rest)
        return ERR_OK;
    return container_fail(c, err, "tensor '%.100s' is not in the shard '%.60s'",
                          json_object_iter_key(rest),
                          json_string_value(json_object_iter_value(rest)));
}

/* The files of a weight map, each once, as keys of files. */
static enum err_code list_files(const struct container *c, json_t *map, json_t *files,
                                struct err *err)
{
    const char *name;
    json_t *file;

    json_object_foreach(map, name, file)
    {
        const char *text = json_string_value(file);
        if (!text || !plain_name(text))
            return container_fail(c, err,
                                  "the shard of tensor '%.80s' is no name of a file in the same "
                                  "folder",
                                  name);
        if (json_object_set_new(files, text, json_null()))
            return err_set(err, ERR_MEMORY, 0, "model '%s'", c->path);
    }
    if (json_object_size(files) == 0 || json_object_size(files) > SHARDS_MAX)
        return container_fail(c, err, "the index names %zu files, 1 to %d are read",
                              json_object_size(files), SHARDS_MAX);
    return ERR_OK;
}

static enum err_code read_shards(struct container *c, json_t *map, struct err *err)
{
    json_t *files = json_object(), *unused;
    const char *file;
    enum err_code code = list_files(c, map, files, err);

    json_object_foreach(files, file, unused)
    {
        if (!code)
            code = read_shard(c, file, map, err);
    }
    json_decref(files);
    return code ? code : check_found(c, map, err);
}

enum err_code index_read(struct container *c, struct err *err)
{
    json_error_t fault;
    json_t *top, *map;
    enum err_code code;

    if (c->bytes > INDEX_MAX)
        return container_fail(c, err, "not a model: JSON of %zu bytes", c->bytes);
    top = json_loadb((const char *)c->map, c->bytes, JSON_REJECT_DUPLICATES, &fault);
    if (!top)
        return container_fail(c, err,
                              "not a model: it begins with a brace, but is not JSON: %s at "
                              "byte %d",
                              fault.text, fault.position);
    map = json_object_get(top, "weight_map");
    if (json_is_object(map))
        code = read_shards(c, map, err);
    else
        code = container_fail(c, err,
                              "JSON that describes a model, not the model: name the file of "
                              "weights beside it (model.safetensors, or %s if there are "
                              "several)",
                              index_name);
    json_decref(top);
    c->kind = "safetensors";
    return code;
}

enum err_code model_not_output(const char *model, const char *output, struct err *err)
{
    enum err_code code = outfile_not_input(output, model, err);
    struct stat stat_of;
    json_t *top = NULL, *file;
    const char *name;

    if (code || !model || stat(model, &stat_of) || !S_ISREG(stat_of.st_mode) ||
        stat_of.st_size > INDEX_MAX)
        return code;
    top = json_load_file(model, 0, NULL); /* NULL too where it is no JSON, or cannot be read */
    json_object_foreach(json_object_get(top, "weight_map"), name, file)
    {
        const char *text = json_string_value(file);
        char *shard = !code && text && plain_name(text) ? beside(model, text) : NULL;
        if (shard)
            code = outfile_not_input(output, shard, err);
        free(shard);
    }
    json_decref(top);
    return code;
}

/* ---- A folder ---- */

/* How good a file is as the model of its folder; 0: it is none. */
static int rank_of(const char *name)
{
    static const char *const ends[] = {".gguf", ".bin", ".pth", ".safetensors"};
    size_t bytes = strlen(name);

    if (!strcmp(name, index_name))
        return 100;
    if (!strcmp(name, "model.safetensors"))
        return 99;
    for (int i = 0; i < (int)(sizeof ends / sizeof *ends); i++)
        if (bytes > strlen(ends[i]) && !strcmp(name + bytes - strlen(ends[i]), ends[i]))
            return i + 1;
    return 0;
}

enum err_code folder_refuse(const char *path, struct err *err)
{
    char best[FILE_NAME_MAX + 1] = "";
    struct dirent *entry;
    DIR *folder = opendir(path);

    if (!folder)
        return err_set(err, ERR_SOURCE, errno, "open model '%s'", path);
    while ((entry = readdir(folder))) {
        int rank = rank_of(entry->d_name), other = rank_of(best);
        if (rank > other || (rank && rank == other && strcmp(entry->d_name, best) < 0))
            snprintf(best, sizeof best, "%s", entry->d_name);
    }
    closedir(folder);
    if (!best[0])
        return err_set(err, ERR_SOURCE, 0, "open model '%s': a folder, and no model in it", path);
    return err_set(err, ERR_SOURCE, 0, "open model '%s': a folder: name the file '%s' in it", path,
                   best);
}

/* ---- config.json of the fla library ---- */

enum err_code config_check(const struct container *c, struct err *err)
{
    char *path = beside(c->path, "config.json");
    FILE *file = path ? fopen(path, "rbe") : NULL;
    struct stat stat;
    json_t *top = NULL;
    enum err_code code = path ? ERR_OK : err_set(err, ERR_MEMORY, 0, "model '%s'", c->path);

    if (file && !fstat(fileno(file), &stat) && S_ISREG(stat.st_mode) && stat.st_size <= CONFIG_MAX)
        top = json_loadf(file, 0, NULL);
    if (json_array_size(json_object_get(json_object_get(top, "attn"), "layers")))
        code =
            container_fail(c, err,
                           "config.json beside it lists layers of attention: a hybrid, not RWKV-7, "
                           "is not supported");
    json_decref(top);
    if (file)
        fclose(file);
    free(path);
    return code;
}
