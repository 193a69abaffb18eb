/* engine/formats/container.c: opening a model file, and its table of tensors. */
#include "engine/formats/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SHOWN = 160, HEAD_BYTES = 16 };

enum err_code container_fail(const struct container *c, struct err *err, const char *format, ...)
{
    char reason[240];
    size_t bytes = strlen(c->path);
    bool cut = bytes > PATH_SHOWN;
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    /* What a file says of itself may be quoted in it. */
    for (char *at = reason; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return err_set(err, ERR_MODEL, 0, "model '%s%s': %s", cut ? "..." : "",
                   cut ? c->path + bytes - PATH_SHOWN : c->path, reason);
}

/* ---- Which container is it? ---- */

struct magic {
    const char *bytes;
    size_t count;
    const char *kind;
    const char *refusal; /* NULL: it is read */
    enum err_code (*read)(struct container *c, struct err *err);
};

static const struct magic magics[] = {
    {"fmgg", 4, "rwkv.cpp", NULL, rwkvcpp_read},
    {"GGUF", 4, "GGUF", NULL, gguf_read},
    {"PK\x03\x04", 4, "pth", NULL, pth_read},
    {"\x80\x02", 2, "pickle",
     "a bare pickle (PyTorch before 1.6), not supported: load it and save it again", NULL},
};

static bool looks_safe(const uint8_t *head, size_t bytes)
{
    /* A length below 2^32 in its first eight bytes, then an opening brace. */
    return bytes > 8 && head[8] == '{' && !memcmp(head + 4, "\0\0\0\0", 4);
}

static enum err_code unknown(const struct container *c, const uint8_t *head, struct err *err)
{
    return container_fail(c, err,
                          "not a model: %zu bytes that begin with %02x %02x %02x %02x, which is "
                          "no container known here",
                          c->bytes, head[0], head[1], head[2], head[3]);
}

enum err_code container_read(struct container *c, const char *only, struct err *err)
{
    uint8_t head[HEAD_BYTES] = {0};

    require(c->map != NULL);
    memcpy(head, c->map, c->bytes < HEAD_BYTES ? c->bytes : HEAD_BYTES);
    /* First, since its length may be any: 640 begins as a pickle does. No other magic fits this one. */
    if (looks_safe(head, c->bytes)) {
        c->kind = "safetensors";
        return safetensors_read(c, err);
    }
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (c->bytes < magics[i].count || memcmp(head, magics[i].bytes, magics[i].count))
            continue;
        if (only)
            return container_fail(c, err, "it is no %s file, but %s", only, magics[i].kind);
        c->kind = magics[i].kind;
        if (!magics[i].read)
            return container_fail(c, err, "%s", magics[i].refusal);
        return magics[i].read(c, err);
    }
    return head[0] == '{' && !only ? index_read(c, err) : unknown(c, head, err);
}

/* ---- The table ---- */

static bool printable(const char *name, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '\'')
            return false;
    return bytes > 0;
}

static enum err_code grow(struct container *c, struct err *err)
{
    size_t room = c->room ? 2 * c->room : 256;
    struct tensor *tensors = realloc(c->tensors, room * sizeof *tensors);
    char **names;

    if (tensors)
        c->tensors = tensors;
    names = tensors ? realloc(c->names, room * sizeof *names) : NULL;
    if (!names)
        return err_set(err, ERR_MEMORY, 0, "model '%s': the table of tensors", c->path);
    c->names = names;
    c->room = room;
    return ERR_OK;
}

static bool shape_values(unsigned rank, const uint64_t *shape, uint64_t *values)
{
    *values = 1;
    for (unsigned i = 0; i < rank; i++)
        if (shape[i] == 0 || __builtin_mul_overflow(*values, shape[i], values))
            return false;
    return *values < UINT64_C(1) << 48;
}

enum err_code container_add(struct container *c, const char *name, size_t name_bytes,
                            enum dtype dtype, unsigned rank, const uint64_t *shape,
                            struct tensor **out, struct err *err)
{
    struct tensor *tensor;
    uint64_t values;

    if (name_bytes > TENSOR_NAME_MAX || !printable(name, name_bytes))
        return container_fail(c, err, "tensor %zu has no proper name", c->count);
    if (c->count == TENSORS_MAX)
        return container_fail(c, err, "more than %d tensors", TENSORS_MAX);
    if (rank < 1 || rank > TENSOR_RANK_MAX || !shape_values(rank, shape, &values))
        return container_fail(c, err, "tensor '%.*s' has an impossible shape", (int)name_bytes,
                              name);
    if (shape[rank - 1] % dtypes[dtype].items)
        return container_fail(
            c, err, "tensor '%.*s' has rows of %llu values, no whole number of %s blocks",
            (int)name_bytes, name, (unsigned long long)shape[rank - 1], dtypes[dtype].name);
    if (c->count == c->room && grow(c, err))
        return ERR_MEMORY;
    c->names[c->count] = strndup(name, name_bytes);
    if (!c->names[c->count])
        return err_set(err, ERR_MEMORY, 0, "model '%s': a tensor's name", c->path);
    tensor = &c->tensors[c->count];
    *tensor = (struct tensor){
        .name = c->names[c->count], .dtype = dtype, .rank = rank, .values = values, .scale = 1};
    memcpy(tensor->shape, shape, rank * sizeof *shape);
    require(dtype_bytes(dtype, values, &tensor->bytes));
    tensor->stride[rank - 1] = 1;
    for (unsigned i = rank - 1; i > 0; i--)
        tensor->stride[i - 1] = tensor->stride[i] * shape[i];
    c->count++;
    *out = tensor;
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

enum err_code container_sort(struct container *c, struct err *err)
{
    if (c->count == 0)
        return container_fail(c, err, "it has no tensors");
    qsort(c->tensors, c->count, sizeof *c->tensors, by_name);
    for (size_t i = 1; i < c->count; i++)
        if (by_name(&c->tensors[i - 1], &c->tensors[i]) == 0)
            return container_fail(c, err, "tensor '%s' is there twice", c->tensors[i].name);
    return ERR_OK;
}

struct tensor *container_find(const struct container *container, const char *name)
{
    struct tensor key = {.name = name};

    return bsearch(&key, container->tensors, container->count, sizeof key, by_name);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;

    return (*x)->data < (*y)->data ? -1 : (*x)->data > (*y)->data;
}

enum err_code container_by_place(const struct container *c, size_t first,
                                 const struct tensor ***out, struct err *err)
{
    size_t count = c->count - first;
    const struct tensor **order = malloc((count + 1) * sizeof *order);

    if (!order)
        return err_set(err, ERR_MEMORY, 0, "model '%s': the order of its tensors", c->path);
    for (size_t i = 0; i < count; i++)
        order[i] = &c->tensors[first + i];
    qsort(order, count, sizeof *order, by_place);
    *out = order;
    return ERR_OK;
}

/* ---- A tensor of a certain shape ---- */

static void shape_text(char *text, size_t bytes, unsigned rank, const uint64_t *shape)
{
    size_t used = 0;

    for (unsigned i = 0; i < rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, shape[i] ? "%s%llu" : "%sany",
                                 i ? " x " : "", (unsigned long long)shape[i]);
}

/* Lay the tensor's axes over those wanted, leaving out lengths of 1. */
static bool shape_fits(const struct tensor *tensor, unsigned rank, const uint64_t *wanted,
                       uint64_t *shape, uint64_t *stride)
{
    unsigned from = 0;

    for (unsigned i = 0; i < rank; i++) {
        shape[i] = stride[i] = 1;
        if (wanted[i] == 1)
            continue;
        while (from < tensor->rank && tensor->shape[from] == 1)
            from++;
        if (from < tensor->rank && (wanted[i] == 0 || tensor->shape[from] == wanted[i])) {
            shape[i] = tensor->shape[from];
            stride[i] = tensor->stride[from++];
        } else if (wanted[i] != 0) {
            return false;
        }
    }
    while (from < tensor->rank && tensor->shape[from] == 1)
        from++;
    return from == tensor->rank;
}

enum err_code container_get(struct container *container, const char *name, unsigned rank,
                            const uint64_t *shape, const struct tensor **out, struct err *err)
{
    struct tensor *tensor = container_find(container, name);
    uint64_t found[TENSOR_RANK_MAX] = {0}, stride[TENSOR_RANK_MAX] = {0};
    char has[100], wants[100];

    if (!tensor) {
        bool same = !strcmp(container->spelling, BLINKDL);
        return container_fail(container, err, "tensor '%s' is missing%s%s%s", name,
                              same ? "" : " (that is " BLINKDL " name, the file has ",
                              same ? "" : container->spelling, same ? "" : ")");
    }
    /* An exact match first: a free axis may have length 1. */
    if (tensor->rank == rank) {
        bool same = true;
        for (unsigned i = 0; i < rank; i++)
            same = same && (shape[i] == 0 || shape[i] == tensor->shape[i]);
        memcpy(found, tensor->shape, sizeof found);
        memcpy(stride, tensor->stride, sizeof stride);
        if (!same && !shape_fits(tensor, rank, shape, found, stride))
            goto misshapen;
    } else if (!shape_fits(tensor, rank, shape, found, stride)) {
        goto misshapen;
    }
    tensor->rank = rank;
    memcpy(tensor->shape, found, sizeof found);
    memcpy(tensor->stride, stride, sizeof stride);
    tensor->used = true;
    *out = tensor;
    return ERR_OK;

misshapen:
    shape_text(has, sizeof has, tensor->rank, tensor->shape);
    shape_text(wants, sizeof wants, rank, shape);
    return container_fail(container, err, "tensor '%s' is %s, not %s", name, has, wants);
}

/* ---- Opening ---- */

/* Keep a map, and make it the one that is read. */
static enum err_code keep_map(struct container *c, const char *path, size_t bytes, int fd,
                              struct err *err)
{
    struct view *maps = realloc(c->maps, (c->map_count + 1) * sizeof *maps);
    void *map;

    if (!maps)
        return err_set(err, ERR_MEMORY, 0, "model '%s'", path);
    c->maps = maps;
    map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return err_set(err, ERR_SOURCE, errno, "map model '%s'", path);
    c->maps[c->map_count++] = (struct view){.data = map, .bytes = bytes};
    c->map = map;
    c->bytes = bytes;
    return ERR_OK;
}

enum err_code container_map(struct container *c, const char *path, struct err *err)
{
    enum err_code code = ERR_OK;
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return err_set(err, ERR_SOURCE, errno, "open model '%s'", path);
    if (fstat(fd, &stat)) {
        code = err_set(err, ERR_SOURCE, errno, "open model '%s'", path);
        goto done;
    }
    if (S_ISDIR(stat.st_mode)) {
        code = folder_refuse(path, err);
        goto done;
    }
    if (!S_ISREG(stat.st_mode)) {
        code = err_set(err, ERR_SOURCE, 0, "open model '%s': not a plain file", path);
        goto done;
    }
    if (stat.st_size == 0) {
        code = container_fail(c, err, "the file is empty");
        goto done;
    }
    code = keep_map(c, path, (size_t)stat.st_size, fd, err);
done:
    close(fd);
    return code;
}

enum err_code container_open(struct container **out, const char *path, struct err *err)
{
    enum err_code code;
    struct container *c = calloc(1, sizeof *c);

    if (c)
        c->path = strdup(path);
    if (!c || !c->path) {
        code = err_set(err, ERR_MEMORY, 0, "model '%s'", path);
        goto done;
    }
    code = container_map(c, path, err);
    if (!code)
        code = container_read(c, NULL, err);
    if (!code)
        code = container_rename(c, err);
    if (!code)
        code = container_sort(c, err);
    if (code)
        goto done;
    *out = c;
    c = NULL;
done:
    container_close(&c);
    return code;
}

void container_rest(const struct container *container)
{
    /* Advice: nothing depends on its being taken. */
    for (size_t i = 0; i < container->map_count; i++)
        (void)madvise((void *)(uintptr_t)container->maps[i].data, container->maps[i].bytes,
                      MADV_DONTNEED);
}

void container_close(struct container **container)
{
    struct container *c = *container;

    *container = NULL;
    if (!c)
        return;
    for (size_t i = 0; i < c->map_count; i++)
        munmap((void *)(uintptr_t)c->maps[i].data, c->maps[i].bytes);
    free(c->maps);
    for (size_t i = 0; i < c->count; i++)
        free(c->names[i]);
    for (size_t i = 0; i < c->note_count; i++)
        free(c->notes[i]);
    free(c->notes);
    free(c->names);
    free(c->tensors);
    free(c->path);
    free(c->vocabulary_text);
    free(c);
}
