/* tests/file_parts.h: a safetensors file taken apart, changed, and put together again. */
#ifndef TESTS_FILE_PARTS_H
#define TESTS_FILE_PARTS_H

#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <jansson.h>

/* Its header as JSON, its data. */
struct file {
    json_t *header;
    uint8_t *bytes, *data;
    size_t data_bytes;
};

static inline struct file take_apart(const char *from)
{
    struct file f = {0};
    size_t bytes;

    f.bytes = file_read(from, &bytes);
    f.header = json_loadb((char *)f.bytes + 8, load_u64(f.bytes), 0, NULL);
    assert_non_null(f.header);
    f.data = f.bytes + 8 + load_u64(f.bytes);
    f.data_bytes = bytes - 8 - load_u64(f.bytes);
    return f;
}

static inline void write_text(const char *path, const char *header, size_t length,
                              const struct file *f)
{
    struct buffer out = buffer_of(1 << 24);

    buffer_u64(&out, length);
    buffer_put(&out, header, strlen(header));
    buffer_put(&out, f->data, f->data_bytes);
    assert_false(out.refused);
    file_write(path, out.data, out.bytes);
    buffer_release(&out);
}

/* Write it with its header as it is now, and let go of it. */
static inline void put_together(struct file *f, const char *path)
{
    char *text = json_dumps(f->header, JSON_COMPACT);

    write_text(path, text, strlen(text), f);
    free(text);
    json_decref(f->header);
    free(f->bytes);
}

static inline json_t *entry(const struct file *f, const char *name)
{
    json_t *e = json_object_get(f->header, name);

    if (!e)
        fail_msg("no %s", name);
    return e;
}

static inline uint8_t *data_of(const struct file *f, const char *name)
{
    return f->data +
           json_integer_value(json_array_get(json_object_get(entry(f, name), "data_offsets"), 0));
}

static inline void set_offsets(struct file *f, const char *name, json_int_t begin, json_int_t end)
{
    json_object_set_new(entry(f, name), "data_offsets", json_pack("[I,I]", begin, end));
}

/* Remove a tensor, its data too, so that nothing but its absence is wrong. */
static inline void remove_tensor(struct file *f, const char *name)
{
    json_t *offsets = json_object_get(entry(f, name), "data_offsets");
    json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    json_int_t end = json_integer_value(json_array_get(offsets, 1));
    const char *other;
    json_t *e;

    memmove(f->data + begin, f->data + end, f->data_bytes - (size_t)end);
    f->data_bytes -= (size_t)(end - begin);
    json_object_del(f->header, name);
    json_object_foreach(f->header, other, e)
    {
        json_t *pair = json_object_get(e, "data_offsets");
        json_int_t from = json_integer_value(json_array_get(pair, 0));
        if (from >= end)
            set_offsets(f, other, from - (end - begin),
                        json_integer_value(json_array_get(pair, 1)) - (end - begin));
    }
}

/* Add a tensor of `bytes` bytes behind all others; data is copied. */
static inline void append_data(struct file *f, const char *name, const char *dtype, json_t *shape,
                               const void *data, size_t bytes)
{
    uint8_t *all = malloc(f->data_bytes + bytes);

    assert_non_null(all);
    memcpy(all, f->data, f->data_bytes);
    memcpy(all + f->data_bytes, data, bytes);
    json_object_set_new(f->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtype, "shape", shape,
                                  "data_offsets", (json_int_t)f->data_bytes,
                                  (json_int_t)(f->data_bytes + bytes)));
    free(f->bytes);
    f->bytes = f->data = all;
    f->data_bytes += bytes;
}

/* One float, 0. */
static inline void append_tensor(struct file *f, const char *name)
{
    append_data(f, name, "F32", json_pack("[i]", 1), "\0\0\0", 4);
}

#endif
