/* tests/pth_help.h: PyTorch files made byte by byte, for tests of their reader. */
#ifndef TESTS_PTH_HELP_H
#define TESTS_PTH_HELP_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <fcntl.h>
#include <sys/mman.h>

/* A file in memory: tests write it thousands of times. */
static char path[64];
static int path_file = -1;

static inline int make_path(void **unused)
{
    (void)unused;
    path_file = memfd_create("riverrun-pth", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", path_file);
    return path_file < 0;
}

static inline int drop_path(void **unused)
{
    (void)unused;
    return close(path_file);
}

/* The file is refused, as ERR_MODEL, in one line with its name and `part`. */
static inline void assert_refused(const char *part, const char *what)
{
    struct container *c = NULL;
    struct err err = {0};
    enum err_code code = container_open(&c, path, &err);

    if (code != ERR_MODEL || c)
        fail_msg("%s: code %d", what, code);
    if (!strstr(err.text, path) || strchr(err.text, '\n') || (part && !strstr(err.text, part)))
        fail_msg("%s: wants '%s', says: %s", what, part ? part : "", err.text);
}

static inline struct container *opened(const char *what)
{
    struct container *c = NULL;
    struct err err = {0};

    if (container_open(&c, path, &err))
        fail_msg("%s: %s", what, err.text);
    return c;
}

static inline void assert_taken(size_t count, const char *what)
{
    struct container *c = opened(what);

    assert_int_equal(c->count, count);
    container_close(&c);
}

/* ---- A zip, written as PyTorch does ---- */

struct archive {
    struct buffer out, directory;
    size_t local[16], entry[16]; /* places of headers in out and, once it is finished, of entries */
    size_t count;
    size_t hole_at, end;
    uint64_t hole; /* bytes that are in the file at hole_at of out, as a hole */
    size_t record, locator;
    bool classic; /* no zip64 */
};

static inline struct archive archive_new(void)
{
    return (struct archive){.out = buffer_of(1 << 26), .directory = buffer_of(1 << 20)};
}

static inline void archive_release(struct archive *a)
{
    buffer_release(&a->out);
    buffer_release(&a->directory);
}

static inline void put_local(struct buffer *out, const char *name)
{
    size_t bytes = strlen(name), pad = (64 - (out->bytes + 30 + bytes + 4) % 64) % 64;
    static const uint8_t zeros[64];

    buffer_u32(out, 0x04034B50);
    buffer_u16(out, 0);
    buffer_u16(out, 0x0808);
    buffer_put(out, zeros, 18);
    buffer_u16(out, (uint16_t)bytes);
    buffer_u16(out, (uint16_t)(pad + 4));
    buffer_put(out, name, bytes);
    buffer_put(out, "FB", 2);
    buffer_u16(out, (uint16_t)pad);
    buffer_put(out, zeros, pad);
}

static inline void put_entry(struct archive *a, const char *name, uint64_t place, uint64_t bytes)
{
    struct buffer *d = &a->directory;
    static const uint8_t zeros[16];

    a->entry[a->count] = d->bytes;
    buffer_u32(d, 0x02014B50);
    buffer_u32(d, 0);
    buffer_u16(d, 0x0808);
    buffer_put(d, zeros, 10);
    buffer_u32(d, a->classic ? (uint32_t)bytes : UINT32_MAX);
    buffer_u32(d, a->classic ? (uint32_t)bytes : UINT32_MAX);
    buffer_u16(d, (uint16_t)strlen(name));
    buffer_u16(d, a->classic ? 0 : 28);
    buffer_put(d, zeros, 10);
    buffer_u32(d, a->classic ? (uint32_t)place : UINT32_MAX);
    buffer_put(d, name, strlen(name));
    if (a->classic)
        return;
    buffer_u16(d, 1);
    buffer_u16(d, 24);
    buffer_u64(d, bytes);
    buffer_u64(d, bytes);
    buffer_u64(d, place);
}

static inline void archive_add(struct archive *a, const char *name, const void *data, size_t bytes)
{
    a->local[a->count] = a->out.bytes;
    put_entry(a, name, a->out.bytes + a->hole, bytes);
    put_local(&a->out, name);
    buffer_put(&a->out, data, bytes);
    a->count++;
}

/* A member of nothing but zeros, which takes no room. */
static inline void archive_add_hole(struct archive *a, const char *name, uint64_t bytes)
{
    archive_add(a, name, NULL, 0);
    store_u64(a->directory.data + a->directory.bytes - 24, bytes);
    store_u64(a->directory.data + a->directory.bytes - 16, bytes);
    a->hole_at = a->out.bytes;
    a->hole = bytes;
}

static inline void archive_finish(struct archive *a)
{
    struct buffer *out = &a->out;
    uint64_t directory = out->bytes + a->hole;

    for (size_t i = 0; i < a->count; i++)
        a->entry[i] += out->bytes;
    buffer_put(out, a->directory.data, a->directory.bytes);
    if (!a->classic) {
        a->record = out->bytes;
        buffer_u32(out, 0x06064B50);
        buffer_u64(out, 44);
        buffer_u32(out, 0);
        buffer_u64(out, 0);
        buffer_u64(out, a->count);
        buffer_u64(out, a->count);
        buffer_u64(out, a->directory.bytes);
        buffer_u64(out, directory);
        a->locator = out->bytes;
        buffer_u32(out, 0x07064B50);
        buffer_u32(out, 0);
        buffer_u64(out, a->record + a->hole);
        buffer_u32(out, 1);
    }
    a->end = out->bytes;
    buffer_u32(out, 0x06054B50);
    buffer_u32(out, 0);
    buffer_u16(out, a->classic ? (uint16_t)a->count : 0xFFFF);
    buffer_u16(out, a->classic ? (uint16_t)a->count : 0xFFFF);
    buffer_u32(out, a->classic ? (uint32_t)a->directory.bytes : UINT32_MAX);
    buffer_u32(out, a->classic ? (uint32_t)directory : UINT32_MAX);
    buffer_u16(out, 0);
    assert_false(out->refused || a->directory.refused);
}

static inline void archive_write(const struct archive *a)
{
    size_t rest = a->out.bytes - a->hole_at;
    int file = open(path, O_WRONLY | O_TRUNC);

    assert_true(file >= 0);
    assert_int_equal(pwrite(file, a->out.data, a->hole_at, 0), a->hole_at);
    assert_int_equal(pwrite(file, a->out.data + a->hole_at, rest, (off_t)(a->hole_at + a->hole)),
                     rest);
    close(file);
}

/* ---- A pickle ---- */

#define OPS(literal) literal, sizeof literal - 1

static inline void put_string(struct buffer *p, const char *text)
{
    buffer_u8(p, 'X');
    buffer_u32(p, (uint32_t)strlen(text));
    buffer_put(p, text, strlen(text));
}

static inline void put_integer(struct buffer *p, int64_t value)
{
    buffer_put(p, OPS("\x8a\x08"));
    buffer_u64(p, (uint64_t)value);
}

static inline void put_tuple(struct buffer *p, unsigned count, const int64_t *values)
{
    buffer_u8(p, '(');
    for (unsigned i = 0; i < count; i++)
        put_integer(p, values[i]);
    buffer_u8(p, 't');
}

static inline void put_storage(struct buffer *p, const char *type, const char *key, int64_t values)
{
    buffer_u8(p, '(');
    put_string(p, "storage");
    buffer_put(p, OPS("ctorch\n"));
    buffer_put(p, type, strlen(type));
    buffer_u8(p, '\n');
    put_string(p, key);
    put_string(p, "cuda:0");
    put_integer(p, values);
    buffer_put(p, OPS("tQ"));
}

struct window {
    const char *name, *type, *key;
    int64_t values, first;
    unsigned rank;
    int64_t shape[5], stride[5];
};

static inline void put_rebuilt(struct buffer *p, const struct window *w)
{
    buffer_put(p, OPS("ctorch._utils\n_rebuild_tensor_v2\n("));
    put_storage(p, w->type, w->key, w->values);
    put_integer(p, w->first);
    put_tuple(p, w->rank, w->shape);
    put_tuple(p, w->rank, w->stride);
    buffer_put(p, OPS("\x89"
                      "ccollections\nOrderedDict\n)RtR"));
}

static inline struct buffer pickle_begin(void)
{
    struct buffer p = buffer_of(1 << 25);

    buffer_put(&p, OPS("\x80\x02}("));
    return p;
}

static inline void put_window(struct buffer *p, const struct window *w)
{
    put_string(p, w->name);
    put_rebuilt(p, w);
}

/* What files here hold: these two storages as `0` and `1`. */
static uint8_t storage_0[64], storage_1[64];

static inline struct archive archive_of(const struct buffer *p, bool classic)
{
    struct archive a = archive_new();

    a.classic = classic;
    archive_add(&a, "root/data.pkl", p->data, p->bytes);
    archive_add(&a, "root/byteorder", OPS("little"));
    archive_add(&a, "root/data/0", storage_0, sizeof storage_0);
    archive_add(&a, "root/data/1", storage_1, sizeof storage_1);
    archive_add(&a, "root/version", OPS("3\n"));
    archive_finish(&a);
    return a;
}

/* Write a file of that pickle, and let go of it. */
static inline void write_pickle(struct buffer *p)
{
    struct archive a = archive_of(p, true);

    archive_write(&a);
    archive_release(&a);
    buffer_release(p);
}

static const struct window plain = {"a", "FloatStorage", "0", 16, 0, 2, {2, 3}, {3, 1}};
static const struct window other = {"b", "HalfStorage", "1", 32, 4, 1, {5}, {2}};

static inline struct buffer good_pickle(void)
{
    struct buffer p = pickle_begin();

    put_window(&p, &plain);
    put_window(&p, &other);
    buffer_put(&p, OPS("u."));
    return p;
}

static inline struct archive good_archive(bool classic)
{
    struct buffer p = good_pickle();
    struct archive a = archive_of(&p, classic);

    buffer_release(&p);
    return a;
}

static inline void fill_storages(void)
{
    for (unsigned i = 0; i < 16; i++) {
        float value = (float)i;
        memcpy(storage_0 + 4 * i, &value, 4);
    }
    for (unsigned i = 0; i < 64; i++)
        storage_1[i] = (uint8_t)i;
}

/* ---- What was read ---- */

static inline const struct tensor *found(const struct container *c, const char *name)
{
    const struct tensor *tensor = container_find(c, name);

    if (!tensor)
        fail_msg("no '%s'", name);
    return tensor;
}

static inline void assert_values(const struct container *c, const char *name, unsigned count,
                                 const float *wanted)
{
    const struct tensor *tensor = found(c, name);
    float values[16];

    assert_true(count <= 16 && tensor->values == count);
    tensor_rows(tensor, 0, tensor->rank == 1 ? 1 : tensor->shape[0], values);
    for (unsigned i = 0; i < count; i++)
        if (values[i] != wanted[i])
            fail_msg("%s[%u] is %g, not %g", name, i, (double)values[i], (double)wanted[i]);
}

#endif
