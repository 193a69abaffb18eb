/* engine/formats/pth.c: PyTorch .pth files since PyTorch 1.6: a zip of stored members.
 *
 *     ROOT/data.pkl    a pickle: names, and for each a window on a storage
 *     ROOT/data/KEY    a storage: nothing but numbers
 *     ROOT/byteorder   "little", where it is there
 *
 * Opening reads the directory, the local headers and the pickle; numbers stay where they are and are read
 * through strides. ROOT is what the file was called when it was saved. Several tensors may share a storage, so a
 * small file can claim many numbers: together they may be at most SHARED_MAX times the file. */
#include "engine/formats/pickle.h"
#include "engine/formats/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tied embedding and head in a file of little else make it almost 2. */
enum { SHARED_MAX = 2 };

static bool view_is(struct view view, const char *text)
{
    return view.bytes == strlen(text) && !memcmp(view.data, text, view.bytes);
}

static struct view text_view(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

/* Find the one member ROOT/data.pkl; *root is its name up to and with the slash. */
static enum err_code find_pickle(const struct container *c, const struct zip *zip,
                                 const struct zip_member **out, struct view *root, struct err *err)
{
    static const char ending[] = "/data.pkl";
    size_t bytes = sizeof ending - 1;

    *out = NULL;
    for (size_t i = 0; i < zip->count; i++) {
        struct view name = zip->members[i].name;
        if (name.bytes <= bytes || memcmp(name.data + name.bytes - bytes, ending, bytes))
            continue;
        if (*out)
            return container_fail(c, err, "it has two members called data.pkl");
        *out = &zip->members[i];
        *root = (struct view){name.data, name.bytes - strlen("data.pkl")};
    }
    if (!*out)
        return container_fail(c, err, "no PyTorch file: a zip without a member data.pkl");
    return ERR_OK;
}

/* The member ROOT + folder + key, or NULL. */
static const struct zip_member *find_member(const struct zip *zip, struct view root,
                                            const char *folder, struct view key)
{
    const struct view parts[] = {root, text_view(folder), key};
    uint8_t name[ZIP_NAME_MAX];
    size_t bytes = 0;

    for (int i = 0; i < 3; i++) {
        if (parts[i].bytes > sizeof name - bytes)
            return NULL;
        if (parts[i].bytes)
            memcpy(name + bytes, parts[i].data, parts[i].bytes);
        bytes += parts[i].bytes;
    }
    return zip_find(zip, (struct view){name, bytes});
}

static enum err_code check_byte_order(const struct container *c, const struct zip *zip,
                                      struct view root, struct err *err)
{
    const struct zip_member *order = find_member(zip, root, "", text_view("byteorder"));

    if (order && !view_is(order->data, "little"))
        return container_fail(c, err,
                              "its byte order is not 'little': save it again on a "
                              "little-endian machine");
    return ERR_OK;
}

/* The values from the first to the last that the strides reach. */
static bool extent_of(const struct tensor *tensor, uint64_t *extent)
{
    *extent = 1;
    for (unsigned i = 0; i < tensor->rank; i++) {
        uint64_t reach;
        if (__builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &reach) ||
            __builtin_add_overflow(*extent, reach, extent))
            return false;
    }
    return true;
}

static enum err_code add_tensor(struct container *c, const struct zip *zip, struct view root,
                                const struct pickle_tensor *found, uint64_t *total, struct err *err)
{
    const struct zip_member *storage = find_member(zip, root, "data/", found->storage);
    uint64_t each = dtypes[found->dtype].bytes, extent, whole;
    struct tensor *tensor = NULL;
    enum err_code code = container_add(c, (const char *)found->name.data, found->name.bytes,
                                       found->dtype, found->rank, found->shape, &tensor, err);

    if (code)
        return code;
    memcpy(tensor->stride, found->stride, tensor->rank * sizeof *tensor->stride);
    if (!storage)
        return container_fail(c, err, "tensor '%s': its storage is missing from the file",
                              tensor->name);
    if (__builtin_mul_overflow(found->storage_values, each, &whole) || whole > storage->data.bytes)
        return container_fail(c, err,
                              "tensor '%s': its storage has %zu bytes, %llu values of %s need more",
                              tensor->name, storage->data.bytes,
                              (unsigned long long)found->storage_values, dtypes[found->dtype].name);
    if (!extent_of(tensor, &extent) || found->first > found->storage_values ||
        extent > found->storage_values - found->first)
        return container_fail(c, err, "tensor '%s' leaves its storage of %llu values", tensor->name,
                              (unsigned long long)found->storage_values);
    tensor->data = storage->data.data + found->first * each;
    tensor->bytes = extent * each;
    /* Neither overflows: values are below 2^48, and the total stayed below twice the file's bytes. */
    *total += tensor->values * each;
    if (*total / SHARED_MAX > c->bytes)
        return container_fail(c, err,
                              "its tensors claim more than %d times the file's bytes, '%s' is one "
                              "too many",
                              SHARED_MAX, tensor->name);
    return ERR_OK;
}

static enum err_code read_tensors(struct container *c, const struct zip *zip, struct err *err)
{
    const struct zip_member *pickle = NULL;
    struct pickle_tensor *found = NULL;
    struct view root = {NULL, 0};
    uint64_t total = 0;
    size_t count = 0;
    enum err_code code = find_pickle(c, zip, &pickle, &root, err);

    if (code)
        return code;
    require(pickle != NULL);
    code = check_byte_order(c, zip, root, err);
    if (!code)
        code = pickle_read(&found, &count, pickle->data, c, err);
    if (code)
        return code;
    for (size_t i = 0; i < count && !code; i++)
        code = add_tensor(c, zip, root, &found[i], &total, err);
    free(found);
    return code;
}

enum err_code pth_read(struct container *c, struct err *err)
{
    struct zip zip;
    enum err_code code = zip_read(&zip, c, err);

    if (!code)
        code = read_tensors(c, &zip, err);
    zip_release(&zip);
    return code;
}
