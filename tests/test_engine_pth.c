/* tests/test_engine_pth.c: PyTorch files: the zip, and tensors as windows on its members. What is right is read; what
 * lies is refused with one line that names the thing, and makes the reader neither crash nor allocate what
 * the file only claims. */
#include "tests/pth_help.h"

/* ---- What is right ---- */

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

static void a_file_with_any_byte_changed_is_safe(void **unused)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x04, 0x10, 0x80, 0xFF};

    (void)unused;
    for (int classic = 0; classic < 2; classic++) {
        struct archive a = good_archive(classic);
        for (size_t i = 0; i < a.out.bytes * sizeof flips; i++) {
            struct container *c = NULL;
            struct err err = {0};
            enum err_code code;
            a.out.data[i / sizeof flips] ^= flips[i % sizeof flips];
            archive_write(&a);
            code = container_open(&c, path, &err);
            if ((code != ERR_OK && code != ERR_MODEL) || strchr(err.text, '\n'))
                fail_msg("byte %zu: code %d, %s", i / sizeof flips, code, err.text);
            container_close(&c);
            a.out.data[i / sizeof flips] ^= flips[i % sizeof flips];
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
        cmocka_unit_test(zip64_classic_and_commented_zips_are_read),
        cmocka_unit_test(places_and_sizes_beyond_32_bits_are_read),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_file_with_any_byte_changed_is_safe),
        cmocka_unit_test(numbers_of_the_zip_that_lie_are_refused),
        cmocka_unit_test(both_sizes_beyond_the_file_are_refused),
        cmocka_unit_test(members_twice_or_on_top_of_another_are_refused),
        cmocka_unit_test(zips_that_hold_no_weights_are_refused),
        cmocka_unit_test(tensors_that_leave_their_storage_are_refused),
        cmocka_unit_test(a_storage_key_longer_than_any_name_is_missing),
        cmocka_unit_test(tensors_twice_without_name_or_too_many_are_refused),
        cmocka_unit_test(a_safetensors_header_of_640_bytes_is_no_pickle),
    };

    fill_storages();
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
