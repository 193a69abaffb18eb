/* tests/test_engine_pth.c: PyTorch files, made here byte by byte. What is right is read; what lies is refused with
 * one line that names the thing, and makes the reader neither crash nor allocate what the file only claims. */
#include "engine/formats/pickle.h"
#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <fcntl.h>

static char path[] = "/tmp/riverrun-pth-XXXXXX";

static int make_path(void **unused)
{
    (void)unused;
    close(mkstemp(path));
    return 0;
}

static int drop_path(void **unused)
{
    (void)unused;
    unlink(path);
    return 0;
}

/* The file is refused, as ERR_MODEL, in one line with its name and `part`. */
static void assert_refused(const char *part, const char *what)
{
    struct container *c = NULL;
    struct err err = {0};
    enum err_code code = container_open(&c, path, &err);

    if (code != ERR_MODEL || c)
        fail_msg("%s: code %d", what, code);
    if (!strstr(err.text, path) || strchr(err.text, '\n') || (part && !strstr(err.text, part)))
        fail_msg("%s: wants '%s', says: %s", what, part ? part : "", err.text);
}

static struct container *opened(const char *what)
{
    struct container *c = NULL;
    struct err err = {0};

    if (container_open(&c, path, &err))
        fail_msg("%s: %s", what, err.text);
    return c;
}

static void assert_taken(size_t count, const char *what)
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

static struct archive archive_new(void)
{
    return (struct archive){.out = buffer_of(1 << 26), .directory = buffer_of(1 << 20)};
}

static void archive_release(struct archive *a)
{
    buffer_release(&a->out);
    buffer_release(&a->directory);
}

static void put_local(struct buffer *out, const char *name)
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

static void put_entry(struct archive *a, const char *name, uint64_t place, uint64_t bytes)
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

static void archive_add(struct archive *a, const char *name, const void *data, size_t bytes)
{
    a->local[a->count] = a->out.bytes;
    put_entry(a, name, a->out.bytes + a->hole, bytes);
    put_local(&a->out, name);
    buffer_put(&a->out, data, bytes);
    a->count++;
}

/* A member of nothing but zeros, which takes no room. */
static void archive_add_hole(struct archive *a, const char *name, uint64_t bytes)
{
    archive_add(a, name, NULL, 0);
    store_u64(a->directory.data + a->directory.bytes - 24, bytes);
    store_u64(a->directory.data + a->directory.bytes - 16, bytes);
    a->hole_at = a->out.bytes;
    a->hole = bytes;
}

static void archive_finish(struct archive *a)
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

static void archive_write(const struct archive *a)
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

static void put_string(struct buffer *p, const char *text)
{
    buffer_u8(p, 'X');
    buffer_u32(p, (uint32_t)strlen(text));
    buffer_put(p, text, strlen(text));
}

static void put_integer(struct buffer *p, int64_t value)
{
    buffer_put(p, OPS("\x8a\x08"));
    buffer_u64(p, (uint64_t)value);
}

static void put_tuple(struct buffer *p, unsigned count, const int64_t *values)
{
    buffer_u8(p, '(');
    for (unsigned i = 0; i < count; i++)
        put_integer(p, values[i]);
    buffer_u8(p, 't');
}

static void put_storage(struct buffer *p, const char *type, const char *key, int64_t values)
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

static void put_rebuilt(struct buffer *p, const struct window *w)
{
    buffer_put(p, OPS("ctorch._utils\n_rebuild_tensor_v2\n("));
    put_storage(p, w->type, w->key, w->values);
    put_integer(p, w->first);
    put_tuple(p, w->rank, w->shape);
    put_tuple(p, w->rank, w->stride);
    buffer_put(p, OPS("\x89"
                      "ccollections\nOrderedDict\n)RtR"));
}

static struct buffer pickle_begin(void)
{
    struct buffer p = buffer_of(1 << 25);

    buffer_put(&p, OPS("\x80\x02}("));
    return p;
}

static void put_window(struct buffer *p, const struct window *w)
{
    put_string(p, w->name);
    put_rebuilt(p, w);
}

/* Write a file of that pickle and storages `0` and `1` of 64 bytes each, and let go of it. */
static uint8_t storage_0[64], storage_1[64];

static struct archive archive_of(const struct buffer *p, bool classic)
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

static void write_pickle(struct buffer *p)
{
    struct archive a = archive_of(p, true);

    archive_write(&a);
    archive_release(&a);
    buffer_release(p);
}

static const struct window plain = {"a", "FloatStorage", "0", 16, 0, 2, {2, 3}, {3, 1}};
static const struct window other = {"b", "HalfStorage", "1", 32, 4, 1, {5}, {2}};

static struct buffer good_pickle(void)
{
    struct buffer p = pickle_begin();

    put_window(&p, &plain);
    put_window(&p, &other);
    buffer_put(&p, OPS("u."));
    return p;
}

static struct archive good_archive(bool classic)
{
    struct buffer p = good_pickle();
    struct archive a = archive_of(&p, classic);

    buffer_release(&p);
    return a;
}

static void fill_storages(void)
{
    for (unsigned i = 0; i < 16; i++) {
        float value = (float)i;
        memcpy(storage_0 + 4 * i, &value, 4);
    }
    for (unsigned i = 0; i < 64; i++)
        storage_1[i] = (uint8_t)i;
}

/* ---- What is right ---- */

static const struct tensor *found(const struct container *c, const char *name)
{
    const struct tensor *tensor = container_find(c, name);

    if (!tensor)
        fail_msg("no '%s'", name);
    return tensor;
}

static void assert_values(const struct container *c, const char *name, unsigned count,
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

static void windows_of_any_stride_and_shared_storages_are_read(void **unused)
{
    static const struct window windows[] = {
        {"plain", "FloatStorage", "0", 16, 0, 2, {2, 3}, {3, 1}},
        {"turned", "FloatStorage", "0", 16, 2, 2, {3, 2}, {1, 3}},
        {"each_third", "FloatStorage", "0", 16, 1, 1, {5}, {3}},
        {"cube", "FloatStorage", "0", 16, 0, 3, {2, 1, 2}, {8, 99, 2}},
        {"last", "FloatStorage", "0", 16, 15, 1, {1}, {1}},
        {"scalar", "FloatStorage", "0", 16, 7, 0, {0}, {0}},
        {"same_number", "FloatStorage", "0", 16, 3, 1, {3}, {0}},
        {"half", "HalfStorage", "1", 32, 8, 1, {2}, {1}},
        {"bfloat", "BFloat16Storage", "1", 32, 31, 1, {1}, {1}},
        {"double", "DoubleStorage", "1", 8, 4, 1, {2}, {1}},
    };
    uint16_t halves[2] = {0x3C00, 0xC000}, bfloat = 0x4049;
    double doubles[2] = {0.5, -3.0};
    struct buffer p = pickle_begin();
    struct container *c;

    (void)unused;
    memcpy(storage_1 + 16, halves, 4);
    memcpy(storage_1 + 32, doubles, 16);
    memcpy(storage_1 + 62, &bfloat, 2);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        put_window(&p, &windows[i]);
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    c = opened("windows");
    assert_string_equal(c->kind, "pth");
    assert_values(c, "plain", 6, (float[]){0, 1, 2, 3, 4, 5});
    assert_values(c, "turned", 6, (float[]){2, 5, 3, 6, 4, 7});
    assert_values(c, "each_third", 5, (float[]){1, 4, 7, 10, 13});
    assert_values(c, "cube", 4, (float[]){0, 2, 8, 10});
    assert_values(c, "last", 1, (float[]){15});
    assert_values(c, "scalar", 1, (float[]){7});
    assert_values(c, "same_number", 3, (float[]){3, 3, 3});
    assert_values(c, "half", 2, (float[]){1, -2});
    assert_values(c, "bfloat", 1, (float[]){3.140625f});
    assert_values(c, "double", 2, (float[]){0.5f, -3});
    assert_int_equal(found(c, "turned")->bytes, 4 * (1 + 2 * 1 + 1 * 3));
    container_close(&c);
    fill_storages();
}

static void parameters_and_subclasses_are_their_tensors(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_string(&p, "parameter");
    buffer_put(&p, OPS("ctorch._utils\n_rebuild_parameter\n("));
    put_rebuilt(&p, &plain);
    buffer_put(&p, OPS("\x88"
                       "ccollections\nOrderedDict\n)RtR"));
    put_string(&p, "subclass");
    buffer_put(&p, OPS("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
                       "ctorch.nn.parameter\nParameter\n("));
    put_storage(&p, "FloatStorage", "0", 16);
    buffer_put(&p, OPS("K\1K\2\x85K\1\x85\x89NtNtR"));
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    struct container *c = opened("parameters");
    assert_values(c, "parameter", 6, (float[]){0, 1, 2, 3, 4, 5});
    assert_values(c, "subclass", 2, (float[]){1, 2});
    container_close(&c);
}

static void a_state_dict_inside_is_the_one_that_counts(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_string(&p, "epoch");
    put_integer(&p, 3);
    put_string(&p, "elsewhere");
    put_rebuilt(&p, &plain);
    put_string(&p, "state_dict");
    buffer_put(&p, OPS("ccollections\nOrderedDict\n)R("));
    put_window(&p, &plain);
    buffer_put(&p, OPS("u}X\x09\0\0\0_metadataNsbu."));
    write_pickle(&p);
    struct container *c = opened("state_dict");
    assert_int_equal(c->count, 1);
    found(c, "a");
    container_close(&c);
}

static void values_that_are_no_tensors_are_left_out(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_window(&p, &plain);
    buffer_put(&p, OPS("X\1\0\0\0nN"
                       "X\1\0\0\0i\x8a\0"
                       "X\1\0\0\0fG\x3f\xf0\0\0\0\0\0\0"
                       "X\1\0\0\0s\x8c\2hi"
                       "X\1\0\0\0l](K\1K\2e"
                       "X\1\0\0\0m]K\1a"
                       "X\1\0\0\0t)"
                       "X\1\0\0\0d}K\1Ns"
                       "K\7Ju\1\0\0u."));
    write_pickle(&p);
    assert_taken(1, "other values");
}

static void zip64_classic_and_commented_zips_are_read(void **unused)
{
    struct archive a = good_archive(false);

    (void)unused;
    archive_write(&a);
    assert_taken(2, "zip64");
    archive_release(&a);
    a = good_archive(true);
    archive_write(&a);
    assert_taken(2, "classic");
    /* A comment that holds the sign of an end record. */
    store_u16(a.out.data + a.end + 20, 30);
    buffer_put(&a.out, OPS("PK\5\6 and twenty-six more bytes"));
    archive_write(&a);
    assert_taken(2, "with a comment");
    archive_release(&a);
}

/* The members behind a hole of 9 GiB: places and sizes beyond 32 bits, a count beyond 31. */
static void places_and_sizes_beyond_32_bits_are_read(void **unused)
{
    static const uint64_t hole = (uint64_t)9 << 30;
    const struct window windows[] = {
        {"far", "FloatStorage", "0", (int64_t)hole / 4, (int64_t)hole / 4 - 2, 1, {2}, {1}},
        {"wide", "FloatStorage", "0", (int64_t)hole / 4, 0, 1, {2}, {(int64_t)hole / 4 - 1}},
        {"behind", "FloatStorage", "1", 16, 1, 1, {4}, {4}}};
    struct archive a = archive_new();
    struct buffer p = pickle_begin();

    (void)unused;
    for (int i = 0; i < 3; i++)
        put_window(&p, &windows[i]);
    buffer_put(&p, OPS("u."));
    archive_add(&a, "root/data.pkl", p.data, p.bytes);
    archive_add_hole(&a, "root/data/0", hole);
    archive_add(&a, "root/data/1", storage_0, sizeof storage_0);
    archive_finish(&a);
    archive_write(&a);
    struct container *c = opened("9 GiB");
    assert_values(c, "far", 2, (float[]){0, 0});
    assert_values(c, "wide", 2, (float[]){0, 0});
    assert_values(c, "behind", 4, (float[]){1, 5, 9, 13});
    container_close(&c);
    buffer_release(&p);
    archive_release(&a);
    assert_int_equal(truncate(path, 0), 0);
}

/* ---- What is cut or changed ---- */

static void a_file_cut_anywhere_is_refused(void **unused)
{
    (void)unused;
    for (int classic = 0; classic < 2; classic++) {
        struct archive a = good_archive(classic);
        for (size_t cut = 0; cut < a.out.bytes; cut++) {
            file_write(path, a.out.data, cut);
            assert_refused(cut < 4 ? NULL : "truncated", "cut");
        }
        file_write(path, a.out.data, a.out.bytes);
        assert_taken(2, "whole");
        archive_release(&a);
    }
}

static void a_pickle_cut_anywhere_is_refused(void **unused)
{
    struct buffer p = good_pickle();

    (void)unused;
    for (size_t cut = 0; cut < p.bytes; cut++) {
        struct buffer part = buffer_of(p.bytes);
        buffer_put(&part, p.data, cut);
        write_pickle(&part);
        assert_refused("truncated: its pickle", "a cut pickle");
    }
    buffer_release(&p);
}

static void a_file_with_any_byte_changed_is_safe(void **unused)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xFF, 0x10};

    (void)unused;
    for (size_t at = 0; at < 4 * 2 * 2000; at++) {
        struct archive a = good_archive(at % 2);
        struct container *c = NULL;
        struct err err = {0};
        enum err_code code;
        size_t place = at / 8;
        if (place < a.out.bytes) {
            a.out.data[place] ^= flips[at / 2 % 4];
            archive_write(&a);
            code = container_open(&c, path, &err);
            if ((code != ERR_OK && code != ERR_MODEL) || strchr(err.text, '\n'))
                fail_msg("byte %zu: code %d, %s", place, code, err.text);
            container_close(&c);
        }
        archive_release(&a);
    }
}

/* ---- A zip that lies ---- */

enum where { IN_END, IN_LOCATOR, IN_RECORD, IN_ENTRY, IN_LARGE, IN_LOCAL };

static void numbers_of_the_zip_that_lie_are_refused(void **unused)
{
    /* Those of entries and headers are of member 2, root/data/0, whose name has 11 bytes. */
    static const struct {
        bool classic;
        enum where where;
        unsigned at, bytes;
        uint64_t value;
        const char *says;
    } lies[] = {
        {true, IN_END, 10, 2, 0, "directory is empty"},
        {true, IN_END, 10, 2, 4, "more than 4 entries"},
        {true, IN_END, 10, 2, 6, "entry 5 of its directory is none"},
        {true, IN_END, 10, 2, 0xFFFE, "claims 65534 members"},
        {true, IN_END, 10, 2, 0xFFFF, "zip64 locator is missing"},
        {true, IN_END, 12, 4, 0xFFFFFFFF, "zip64 locator is missing"},
        {true, IN_END, 12, 4, 0xFFFFFFFE, "directory lies outside"},
        {true, IN_END, 12, 4, 0, "claims 5 members"},
        {true, IN_END, 16, 4, 0xFFFFFFFE, "directory lies outside"},
        {true, IN_END, 16, 4, 0, "is none"},
        {true, IN_END, 20, 2, 1, "truncated"},
        {false, IN_LOCATOR, 0, 4, 0, "zip64 locator"},
        {false, IN_LOCATOR, 8, 8, 0, "zip64 record"},
        {false, IN_LOCATOR, 8, 8, UINT64_MAX, "zip64 record lies outside"},
        {false, IN_LOCATOR, 8, 8, UINT64_MAX - 55, "zip64 record lies outside"},
        {false, IN_RECORD, 0, 4, 0, "no zip64 record"},
        {false, IN_RECORD, 32, 8, UINT64_MAX, "claims 18446744073709551615 members"},
        {false, IN_RECORD, 32, 8, (uint64_t)1 << 32, "claims 4294967296 members"},
        {false, IN_RECORD, 40, 8, UINT64_MAX, "directory lies outside"},
        {false, IN_RECORD, 48, 8, UINT64_MAX, "directory lies outside"},
        {false, IN_RECORD, 48, 8, UINT64_MAX - 100, "directory lies outside"},
        {true, IN_ENTRY, 0, 4, 0, "entry 2 of its directory"},
        {true, IN_ENTRY, 8, 2, 0x0809, "'root/data/0' is encrypted"},
        {true, IN_ENTRY, 8, 2, 0x2808, "'root/data/0' is encrypted"},
        {true, IN_ENTRY, 10, 2, 8, "'root/data/0' is packed (method 8)"},
        {true, IN_ENTRY, 20, 4, 63, "'root/data/0' is stored, but has two sizes"},
        {true, IN_ENTRY, 24, 4, 0, "'root/data/0' is stored, but has two sizes"},
        {true, IN_ENTRY, 24, 4, 0xFFFFFFFF, "half an extra field"},
        {true, IN_ENTRY, 28, 2, 0, "member 2 has a name of 0 bytes"},
        {true, IN_ENTRY, 28, 2, 10, "should be the header of member 'root/data/'"},
        {true, IN_ENTRY, 28, 2, 0xFFFF, "entry 2 leaves the directory"},
        {true, IN_ENTRY, 30, 2, 0xFFFF, "entry 2 leaves the directory"},
        {true, IN_ENTRY, 30, 2, 3, "half an extra field"},
        {true, IN_ENTRY, 32, 2, 0xFFFF, "entry 2 leaves the directory"},
        {true, IN_ENTRY, 42, 4, 0xFFFFFFF0, "'root/data/0' lies outside"},
        {true, IN_ENTRY, 42, 4, 1, "should be the header of member 'root/data/0'"},
        {true, IN_ENTRY, 42, 4, 0, "should be the header of member 'root/data/0'"},
        {false, IN_LARGE, 0, 2, 2, "half an extra field"},
        {false, IN_LARGE, 2, 2, 16, "half an extra field"},
        {false, IN_LARGE, 2, 2, 25, "half an extra field"},
        {false, IN_LARGE, 4, 8, UINT64_MAX, "two sizes"},
        {false, IN_LARGE, 20, 8, UINT64_MAX, "'root/data/0' lies outside"},
        {false, IN_LARGE, 20, 8, UINT64_MAX - 29, "'root/data/0' lies outside"},
        {true, IN_LOCAL, 0, 4, 0, "should be the header of member 'root/data/0'"},
        {true, IN_LOCAL, 26, 2, 12, "should be the header of member 'root/data/0'"},
        {true, IN_LOCAL, 28, 2, 0xFFFF, "should be the header of member 'root/data/0'"},
        {true, IN_LOCAL, 30, 1, 'R', "should be the header of member 'root/data/0'"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct archive a = good_archive(lies[i].classic);
        const size_t places[] = {a.end,     a.locator, a.record, a.entry[2], a.entry[2] + 46 + 11,
                                 a.local[2]};
        for (unsigned k = 0; k < lies[i].bytes; k++)
            a.out.data[places[lies[i].where] + lies[i].at + k] = (uint8_t)(lies[i].value >> 8 * k);
        archive_write(&a);
        assert_refused(lies[i].says, lies[i].says);
        archive_release(&a);
    }
}

static void both_sizes_beyond_the_file_are_refused(void **unused)
{
    static const uint64_t sizes[] = {1000000, UINT64_MAX, UINT64_MAX - 1000, (uint64_t)1 << 63};

    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct archive a = good_archive(false);
        store_u64(a.out.data + a.entry[3] + 46 + 11 + 4, sizes[i]);
        store_u64(a.out.data + a.entry[3] + 46 + 11 + 12, sizes[i]);
        archive_write(&a);
        assert_refused("'root/data/1' lies outside", "sizes");
        archive_release(&a);
    }
}

static void members_twice_or_on_top_of_another_are_refused(void **unused)
{
    struct archive a = archive_new();
    struct buffer p = good_pickle();

    (void)unused;
    archive_add(&a, "root/data.pkl", p.data, p.bytes);
    archive_add(&a, "root/data/0", storage_0, sizeof storage_0);
    archive_add(&a, "root/data/0", storage_1, sizeof storage_1);
    archive_finish(&a);
    archive_write(&a);
    assert_refused("member 'root/data/0' is there twice", "twice");
    archive_release(&a);

    a = good_archive(true);
    store_u32(a.out.data + a.entry[2] + 20, sizeof storage_0 + 1);
    store_u32(a.out.data + a.entry[2] + 24, sizeof storage_0 + 1);
    archive_write(&a);
    assert_refused("members 'root/data/0' and 'root/data/1' overlap", "by a byte");
    archive_release(&a);
    buffer_release(&p);
}

static void zips_that_hold_no_weights_are_refused(void **unused)
{
    static const struct {
        const char *name, *data, *says;
    } members[] = {{"word/document.xml", "<a/>", "no PyTorch file"},
                   {"data.pkl", "", "no PyTorch file"},
                   {"root/data.pkl/x", "", "no PyTorch file"}};
    struct buffer p = good_pickle();
    struct archive a;
    char name[600];

    (void)unused;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        a = archive_new();
        archive_add(&a, members[i].name, members[i].data, strlen(members[i].data));
        archive_finish(&a);
        archive_write(&a);
        assert_refused(members[i].says, members[i].name);
        archive_release(&a);
    }
    a = archive_new();
    archive_add(&a, "a/data.pkl", p.data, p.bytes);
    archive_add(&a, "b/data.pkl", p.data, p.bytes);
    archive_finish(&a);
    archive_write(&a);
    assert_refused("two members called data.pkl", "two");
    archive_release(&a);
    a = archive_new();
    archive_add(&a, "a/data.pkl", p.data, p.bytes);
    archive_add(&a, "a/byteorder", OPS("big"));
    archive_finish(&a);
    archive_write(&a);
    assert_refused("byte order is not 'little'", "big");
    archive_release(&a);
    memset(name, 'n', sizeof name);
    strcpy(name + sizeof name - 10, "/data.pkl");
    a = archive_new();
    archive_add(&a, name, p.data, p.bytes);
    archive_finish(&a);
    archive_write(&a);
    assert_refused("has a name of 599 bytes", "a long name");
    archive_release(&a);
    buffer_release(&p);
}

/* ---- A pickle that lies, or attacks ---- */

static void pickles_that_want_more_than_weights_are_refused_by_name(void **unused)
{
    static const struct {
        const char *symbol, *says;
    } symbols[] = {
        {"cposix\nsystem\n(X\2\0\0\0ls\x74R.", "'posix system', which weights do not need"},
        {"c__builtin__\neval\n", "'__builtin__ eval'"},
        {"cbuiltins\nexec\n", "'builtins exec'"},
        {"ctorch\nload\n", "'torch load'"},
        {"ctorch._utils\n_rebuild_tensor\n", "'torch._utils _rebuild_tensor'"},
        {"ctorch._utils \n_rebuild_tensor_v2\n", "'torch._utils  _rebuild_tensor_v2'"},
        {"ccollections\nOrderedDict2\n", "'collections OrderedDict2'"},
        {"cnumpy.core.multiarray\nscalar\n", "'numpy.core.multiarray scalar'"},
        {"c\n\n", "' '"},
        {"ctorch\nByteStorage\n", "'torch ByteStorage': of PyTorch's storages"},
        {"ctorch\nLongStorage\n", "'torch LongStorage': of PyTorch's storages"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        struct buffer p = pickle_begin();
        put_window(&p, &plain);
        put_string(&p, "x");
        buffer_put(&p, symbols[i].symbol, strlen(symbols[i].symbol));
        buffer_put(&p, OPS(")Ru."));
        write_pickle(&p);
        assert_refused(symbols[i].says, symbols[i].symbol);
    }
}

static void pickles_that_break_the_machine_are_refused(void **unused)
{
#define LIE(literal, says)                \
    {                                     \
        literal, sizeof literal - 1, says \
    }
    static const struct {
        const char *ops;
        size_t count;
        const char *says;
    } lies[] = {
        LIE("\x80\1}.", "protocol 1"),
        LIE("\x80\6}.", "protocol 6"),
        LIE(".", "not on its stack"),
        LIE("(.", "not on its stack"),
        LIE("N.", "no dictionary"),
        LIE(").", "no dictionary"),
        LIE("}}.", "left over"),
        LIE("}.}", "left over"),
        LIE("}..", "left over"),
        LIE("}.", "no tensors"),
        LIE("}0.", "instruction 30"),
        LIE("}\x94.", "instruction 94"),
        LIE("i", "instruction 69"),
        LIE("cposix", "does not stop"),
        LIE("cposix\nsystem", "does not stop"),
        LIE("X\xff\xff\xff\xff.", "does not stop"),
        LIE("\x8c\xff.", "does not stop"),
        LIE("\x8a\x09\1\2\3\4\5\6\7\x08\x09.", "integer of 9 bytes"),
        LIE("q\1.", "not on its stack"),
        LIE("(q\1.", "not on its stack"),
        LIE("}q\x7f.", "keeps a value as 127"),
        LIE("}r\xff\xff\xff\xff.", "keeps a value as 4294967295"),
        LIE("h\1.", "recalls value 1"),
        LIE("}q\3h\2.", "recalls value 2"),
        LIE("j\xff\xff\xff\xff.", "recalls value 4294967295"),
        LIE("\x85.", "not on its stack"),
        LIE("NN\x87.", "not on its stack"),
        LIE("N(N\x86.", "not on its stack"),
        LIE("NNt.", "mark in vain"),
        LIE("Na.", "not on its stack"),
        LIE("}Na.", "no list"),
        LIE("(NNe.", "not on its stack"),
        LIE("}(NNe.", "no list"),
        LIE("}Ns.", "not on its stack"),
        LIE("NNNs.", "no dictionary"),
        LIE("}(Nu.", "key without value"),
        LIE("](NNu.", "no dictionary"),
        LIE("}NNu.", "mark in vain"),
        LIE("NNb.", "no dictionary"),
        LIE("]Nb.", "no dictionary"),
        LIE("NQ.", "no storage"),
        LIE(")Q.", "no storage"),
        LIE("(NNNNNtQ.", "no storage"),
        LIE("(X\7\0\0\0storagectorch\nTensor\nX\1\0\0\0000X\1\0\0\0cK\1tQ.", "no storage"),
        LIE("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\1\0\0\0cJ\xff\xff\xff\xfftQ.",
            "no storage"),
        LIE("N)R.", "misuses 'REDUCE'"),
        LIE("ccollections\nOrderedDict\nNR.", "misuses 'REDUCE'"),
        LIE("ccollections\nOrderedDict\nN\x85R.", "misuses 'OrderedDict'"),
        LIE("ctorch\nFloatStorage\n)R.", "misuses 'FloatStorage'"),
        LIE("ctorch\nTensor\n)R.", "misuses 'Tensor'"),
        LIE("ctorch._utils\n_rebuild_tensor_v2\n)R.", "misuses '_rebuild_tensor_v2'"),
        LIE("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", "misuses '_rebuild_tensor_v2'"),
        LIE("ctorch._utils\n_rebuild_parameter\n)R.", "misuses '_rebuild_parameter'"),
        LIE("ctorch._utils\n_rebuild_parameter\nNNN\x87R.", "misuses '_rebuild_parameter'"),
        LIE("ctorch._tensor\n_rebuild_from_type_v2\n)R.", "misuses '_rebuild_from_type_v2'"),
        LIE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\n"
            "ctorch\nTensor\n)NtR.",
            "misuses '_rebuild_from_type_v2'"),
    };
#undef LIE

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct buffer p = buffer_of(1 << 10);
        buffer_put(&p, lies[i].ops, lies[i].count);
        write_pickle(&p);
        assert_refused(lies[i].says, lies[i].says);
    }
}

static void converted_files_are_refused_by_their_keys(void **unused)
{
    static const char *const keys[] = {"_strategy", "_version", "_rescale_layer", "_anything"};

    (void)unused;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct buffer p = pickle_begin();
        char says[40];
        put_window(&p, &plain);
        put_string(&p, keys[i]);
        buffer_put(&p, OPS("X\x09\0\0\0cuda fp16u."));
        write_pickle(&p);
        snprintf(says, sizeof says, "'%s'", keys[i]);
        assert_refused(says, keys[i]);
    }
}

static void put_many(struct buffer *p, const char *ops, size_t bytes, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buffer_put(p, ops, bytes);
}

static void bombs_do_not_go_off(void **unused)
{
    enum { MANY = 1 << 20 };
    struct buffer p = buffer_of(1 << 24);

    (void)unused;
    put_many(&p, OPS("("), MANY);
    write_pickle(&p);
    assert_refused("does not stop", "a million marks");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("("), MANY);
    put_many(&p, OPS("t"), MANY);
    buffer_put(&p, OPS("."));
    write_pickle(&p);
    assert_refused("no dictionary", "a million tuples, each in the next");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("]"), MANY);
    put_many(&p, OPS("a"), MANY - 1);
    buffer_put(&p, OPS("."));
    write_pickle(&p);
    assert_refused("no dictionary", "a million lists, each in the next");

    /* Each tuple holds the one before twice: 2^100000 items, were they counted. */
    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("}K\1)q\1"));
    put_many(&p, OPS("h\1\x86q\1"), 100000);
    buffer_put(&p, OPS("s."));
    write_pickle(&p);
    assert_refused("no tensors", "tuples that double");

    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("]q\1h\1ah\1(h\1h\1h\1e."));
    write_pickle(&p);
    assert_refused("left over", "a list in itself");

    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("}q\1(X\x0a\0\0\0state_dicth\1X\1\0\0\0xh\1u."));
    write_pickle(&p);
    assert_refused("no tensors", "a dictionary in itself");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("}"), MANY + 1);
    write_pickle(&p);
    assert_refused("unfolds to more than 32 times its size", "a million dictionaries");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("N"), MANY);
    buffer_put(&p, OPS("r\0\0\x10\0"
                       "j\0\0\x10\0"));
    write_pickle(&p);
    assert_refused("unfolds to more than 32 times its size", "a full stack and a sparse memo");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("}"), PICKLE_BYTES_MAX + 1);
    write_pickle(&p);
    assert_refused("at most 8388608 are read", "a huge pickle");
}

/* ---- Tensors that lie ---- */

static void tensors_that_leave_their_storage_are_refused(void **unused)
{
    static const struct {
        struct window w;
        const char *says;
    } lies[] = {
        {{"a", "FloatStorage", "0", 17, 0, 1, {1}, {1}}, "has 64 bytes, 17 values of F32"},
        {{"a", "DoubleStorage", "0", 9, 0, 1, {1}, {1}}, "has 64 bytes, 9 values of F64"},
        {{"a", "FloatStorage", "0", INT64_MAX, 0, 1, {1}, {1}}, "need more"},
        {{"a", "FloatStorage", "0", (int64_t)1 << 62, 0, 1, {1}, {1}}, "need more"},
        {{"a", "FloatStorage", "0", 16, 16, 1, {1}, {1}}, "leaves its storage of 16 values"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {17}, {1}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, 0, 2, {2, 3}, {14, 1}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, 1, 2, {2, 3}, {13, 1}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 4, 0, 1, {5}, {1}}, "leaves its storage of 4 values"},
        {{"a", "FloatStorage", "0", 0, 0, 1, {1}, {1}}, "leaves its storage of 0 values"},
        {{"a", "FloatStorage", "0", 16, INT64_MAX, 1, {1}, {1}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {2}, {INT64_MAX}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {5}, {INT64_MAX}}, "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, 0, 3, {2, 2, 2}, {INT64_MAX, INT64_MAX, 2}},
         "leaves its storage"},
        {{"a", "FloatStorage", "0", 16, -1, 1, {1}, {1}}, "begins in front of its storage"},
        {{"a", "FloatStorage", "0", 16, 3, 1, {2}, {-1}}, "negative stride"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {-1}, {1}}, "impossible shape"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {0}, {1}}, "impossible shape"},
        {{"a", "FloatStorage", "0", 16, 0, 2, {(int64_t)1 << 40, (int64_t)1 << 40}, {0, 0}},
         "impossible shape"},
        {{"a", "FloatStorage", "0", 16, 0, 5, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}}, "has 5 axes"},
        {{"a", "FloatStorage", "0", 16, 0, 1, {1 << 20}, {0}},
         "more than 2 times the file's bytes"},
        {{"a", "FloatStorage", "0", 16, 0, 2, {1 << 23, 1 << 24}, {0, 0}}, "more than 2 times"},
        {{"a", "FloatStorage", "2", 16, 0, 1, {1}, {1}}, "'a': its storage is missing"},
        {{"a", "FloatStorage", "", 16, 0, 1, {1}, {1}}, "'a': its storage is missing"},
        {{"a", "FloatStorage", "../version", 16, 0, 1, {1}, {1}}, "'a': its storage is missing"},
        {{"", "FloatStorage", "0", 16, 0, 1, {1}, {1}}, "no proper name"},
        {{"a\nb", "FloatStorage", "0", 16, 0, 1, {1}, {1}}, "no proper name"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct buffer p = pickle_begin();
        put_window(&p, &lies[i].w);
        buffer_put(&p, OPS("u."));
        write_pickle(&p);
        assert_refused(lies[i].says, lies[i].says);
    }
}

static void a_storage_key_longer_than_any_name_is_missing(void **unused)
{
    static char key[5000];
    struct window w = plain;
    struct buffer p = pickle_begin();

    (void)unused;
    memset(key, '0', sizeof key - 1);
    w.key = key;
    put_window(&p, &w);
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    assert_refused("'a': its storage is missing", "a long key");
}

static void shapes_and_strides_that_are_no_numbers_are_refused(void **unused)
{
    static const struct {
        const char *tuples, *says;
    } lies[] = {{"N\x85K\1\x85", "impossible shape"},
                {"K\1\x85N\x85", "negative stride"},
                {"K\1\x85K\1K\1\x86", "misuses '_rebuild_tensor_v2'"},
                {"NN", "misuses '_rebuild_tensor_v2'"}};

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct buffer p = pickle_begin();
        put_string(&p, "a");
        buffer_put(&p, OPS("ctorch._utils\n_rebuild_tensor_v2\n("));
        put_storage(&p, "FloatStorage", "0", 16);
        put_integer(&p, 0);
        buffer_put(&p, lies[i].tuples, strlen(lies[i].tuples));
        buffer_put(&p, OPS("\x89NtRu."));
        write_pickle(&p);
        assert_refused(lies[i].says, lies[i].says);
    }
}

static void tensors_twice_without_name_or_too_many_are_refused(void **unused)
{
    struct buffer p = pickle_begin();
    struct window w = plain;
    char name[16];

    (void)unused;
    put_window(&p, &plain);
    put_window(&p, &plain);
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    assert_refused("'a' is there twice", "twice");

    p = pickle_begin();
    put_integer(&p, 1);
    put_rebuilt(&p, &plain);
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    assert_refused("a key that is no string", "a number for a key");

    p = pickle_begin();
    w.name = name;
    w.rank = 1;
    w.shape[0] = 16;
    w.stride[0] = 1;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "%d", i);
        put_string(&p, name);
        buffer_put(&p, OPS("h\1"));
        if (i == 0) {
            p.bytes -= 2;
            put_rebuilt(&p, &w);
            buffer_put(&p, OPS("q\1"));
        }
    }
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    assert_refused("more than 2 times the file's bytes", "a thousand names for one storage");
}

/* ---- Told apart from others ---- */

static void bare_pickles_are_refused_with_advice(void **unused)
{
    (void)unused;
    file_write(path, OPS("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."));
    assert_refused("load it and save it again", "before 1.6");
}

/* 640 is 80 02 in bytes, as a pickle begins. */
static void a_safetensors_header_of_640_bytes_is_no_pickle(void **unused)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    uint8_t file[8 + 640 + 4] = {0};

    (void)unused;
    store_u64(file, 640);
    memset(file + 8, ' ', 640);
    memcpy(file + 8, header, sizeof header - 1);
    file_write(path, file, sizeof file);
    assert_taken(1, "640");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_of_any_stride_and_shared_storages_are_read),
        cmocka_unit_test(parameters_and_subclasses_are_their_tensors),
        cmocka_unit_test(a_state_dict_inside_is_the_one_that_counts),
        cmocka_unit_test(values_that_are_no_tensors_are_left_out),
        cmocka_unit_test(zip64_classic_and_commented_zips_are_read),
        cmocka_unit_test(places_and_sizes_beyond_32_bits_are_read),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_pickle_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_with_any_byte_changed_is_safe),
        cmocka_unit_test(numbers_of_the_zip_that_lie_are_refused),
        cmocka_unit_test(both_sizes_beyond_the_file_are_refused),
        cmocka_unit_test(members_twice_or_on_top_of_another_are_refused),
        cmocka_unit_test(zips_that_hold_no_weights_are_refused),
        cmocka_unit_test(pickles_that_want_more_than_weights_are_refused_by_name),
        cmocka_unit_test(pickles_that_break_the_machine_are_refused),
        cmocka_unit_test(converted_files_are_refused_by_their_keys),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(tensors_that_leave_their_storage_are_refused),
        cmocka_unit_test(a_storage_key_longer_than_any_name_is_missing),
        cmocka_unit_test(shapes_and_strides_that_are_no_numbers_are_refused),
        cmocka_unit_test(tensors_twice_without_name_or_too_many_are_refused),
        cmocka_unit_test(bare_pickles_are_refused_with_advice),
        cmocka_unit_test(a_safetensors_header_of_640_bytes_is_no_pickle),
    };

    fill_storages();
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
