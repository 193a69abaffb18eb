/* tests/test_engine_formats.c: model files that lie. Each is refused with one line that says what is
 * wrong, and none makes the engine crash, hang or allocate what the file only claims to hold. */
#include "tests/file_parts.h"

#include <errno.h>

static const char *const nano7 = NANO_DIR "/nano.safetensors";
static const char *const nano4 = NANO_DIR "/nano4.safetensors";

static char path[] = "/tmp/riverrun-model-XXXXXX";

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

static void assert_taken(const char *what)
{
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];
    struct err err = {0};

    if (engine_fingerprint(path, fingerprint, &err))
        fail_msg("%s: %s", what, err.text);
}

static uint8_t four[4];
static const struct file four_bytes = {.data = four, .data_bytes = sizeof four};

static void safetensors_cut_anywhere_is_refused(void **unused)
{
    size_t bytes, header;
    uint8_t *data = file_read(nano7, &bytes);

    (void)unused;
    header = 8 + load_u64(data);
    for (size_t cut = 0; cut < bytes; cut += cut < header + 64 ? 1 : 1009) {
        file_write(path, data, cut);
        assert_model_refused(path, NULL, "cut");
    }
    file_write(path, data, bytes - 1);
    assert_model_refused(path, "truncated", "the last byte");
    file_write(path, data, bytes);
    assert_taken("whole");
    free(data);
}

static void safetensors_with_any_header_byte_changed_is_safe(void **unused)
{
    size_t bytes, header;
    uint8_t *data = file_read(nano4, &bytes);
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];

    (void)unused;
    header = 8 + load_u64(data);
    for (size_t at = 0; at < header; at++) {
        static const uint8_t flips[] = {0x01, 0x80, 0x10};
        uint8_t kept = data[at];
        struct err err = {0};
        enum err_code code;
        data[at] ^= flips[at % 3];
        file_write(path, data, bytes);
        code = engine_fingerprint(path, fingerprint, &err);
        if ((code != ERR_OK && code != ERR_MODEL) || strchr(err.text, '\n'))
            fail_msg("byte %zu: code %d, %s", at, code, err.text);
        data[at] = kept;
    }
    free(data);
}

static void safetensors_lengths_that_lie_are_refused(void **unused)
{
    static const uint64_t lengths[] = {
        0, 1, 2, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 100000001, 1 << 20};
    struct file f = take_apart(nano7);
    char *text = json_dumps(f.header, JSON_COMPACT);

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_text(path, text, lengths[i], &f);
        assert_model_refused(path, NULL, "a length");
    }
    for (int more = -3; more <= 3; more++) {
        write_text(path, text, strlen(text) + (size_t)more, &f);
        if (more)
            assert_model_refused(path, NULL, "a length that is a little off");
        else
            assert_taken("the right length");
    }
    free(text);
    json_decref(f.header);
    free(f.bytes);
}

static void safetensors_headers_that_are_no_header_are_refused(void **unused)
{
    static const char *const headers[] = {
        "{}",
        "{",
        "[]       ",
        "{\"emb.weight\":{}}",
        "{\"emb.weight\":[]}",
        "{\"emb.weight\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"rwkv.blocks.0.x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"model.layers.0.x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        write_text(path, headers[i], strlen(headers[i]), &four_bytes);
        assert_model_refused(path, NULL, headers[i]);
    }
}

static void safetensors_entries_that_lie_are_refused(void **unused)
{
    static const struct {
        const char *type, *shape, *offsets, *says;
    } entries[] = {
        {"F32", "[]", "[0,4]", "malformed"},
        {"F32", "[-1]", "[0,4]", "malformed"},
        {"F32", "[1.5]", "[0,4]", "malformed"},
        {"F32", "[1,1,1,1,1]", "[0,4]", "malformed"},
        {"F32", "[1]", "[-4,0]", "malformed"},
        {"F32", "[1]", "[0]", "malformed"},
        {"F32", "[1]", "[0,4,8]", "malformed"},
        {"F32", "[1]", "[0,18446744073709551612]", "JSON"},
        {"F32", "[0]", "[0,0]", "impossible shape"},
        {"F32", "[4294967296,4294967296,1]", "[0,0]", "impossible shape"},
        {"F32", "[9223372036854775807,2]", "[0,4]", "impossible shape"},
        {"F32", "[4611686018427387904]", "[0,0]", "impossible shape"},
        {"F32", "[1]", "[4,0]", "do not agree"},
        {"F32", "[2]", "[0,4]", "do not agree"},
        {"F16", "[1]", "[0,4]", "do not agree"},
        {"F32", "[2]", "[0,8]", "truncated"},
        {"F16", "[1]", "[0,2]", "behind the last"},
        {"F16", "[1]", "[2,4]", "hole"},
        {"I8", "[4]", "[0,4]", "I8"},
        {"Q4_0", "[4]", "[0,4]", "Q4_0"},
        {"F32", "[1]", "[0,4]},\"emb.weight\":{\"shape\":[1]", "JSON"},
        {"F32", "[1]", "[0,4]", "no RWKV model"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        char header[300];
        int bytes = snprintf(header, sizeof header,
                             "{\"emb.weight\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":%s}}",
                             entries[i].type, entries[i].shape, entries[i].offsets);
        write_text(path, header, (size_t)bytes, &four_bytes);
        assert_model_refused(path, entries[i].says, header);
    }
}

static void safetensors_must_tile_their_data(void **unused)
{
    struct file f = take_apart(nano7);

    (void)unused;
    /* emb.weight is the first: 256 x 32 floats. */
    set_offsets(&f, "emb.weight", 4, 4 + 256 * 32 * 4);
    put_together(&f, path);
    assert_model_refused(path, "hole", "a hole at the start");

    f = take_apart(nano7);
    set_offsets(&f, "ln_out.bias", 0, 32 * 4);
    put_together(&f, path);
    assert_model_refused(path, "overlaps", "an overlap");

    f = take_apart(nano7);
    set_offsets(&f, "ln_out.bias", 0, 32 * 4 - 1);
    put_together(&f, path);
    assert_model_refused(path, "do not agree", "a byte too few");

    f = take_apart(nano7);
    set_offsets(&f, "head.weight", (json_int_t)f.data_bytes,
                (json_int_t)f.data_bytes + 256 * 32 * 4);
    put_together(&f, path);
    assert_model_refused(path, "truncated", "data behind the end");

    f = take_apart(nano7);
    f.data_bytes -= 1;
    put_together(&f, path);
    assert_model_refused(path, "truncated", "one byte less");
}

/* ---- What any container may get wrong. ---- */

static void every_missing_tensor_is_named(void **unused)
{
    static const char *const files[] = {NANO_DIR "/nano.safetensors",
                                        NANO_DIR "/nano4.safetensors"};

    (void)unused;
    for (int i = 0; i < 2; i++) {
        struct file all = take_apart(files[i]);
        const char *name;
        json_t *e;
        json_object_foreach(all.header, name, e)
        {
            struct file f = take_apart(files[i]);
            /* Three of them tell the version or the layers; without one it is another story. */
            bool mark = !strcmp(name, "blocks.0.att.r_k") || strstr(name, ".ln1.weight");
            remove_tensor(&f, name);
            put_together(&f, path);
            assert_model_refused(path, mark ? NULL : name, name);
        }
        json_decref(all.header);
        free(all.bytes);
    }
}

static void unknown_tensors_are_refused_by_name(void **unused)
{
    static const struct {
        const char *name, *says;
    } extras[] = {{"blocks.0.ffn.s_emb.weight", "RWKV-7a"},
                  {"blocks.1.ffn.s0", "RWKV-7a"},
                  {"blocks.0.qkv.x", "RWKV-7b"},
                  {"blocks.0.ffn.enn.weight", "RWKV-8"},
                  {"blocks.1.rosa.x", "RWKV-8"},
                  {"blocks.0.att.time_state", "time_state"},
                  {"blocks.7.att.w1", "blocks.7.att.w1"},
                  {"hello", "'hello'"},
                  {"blocks.1.att.gate.weight", "gate"},
                  {"blocks.00.ln1.weight", "blocks.00"}};

    (void)unused;
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        struct file f = take_apart(nano7);
        append_tensor(&f, extras[i].name);
        put_together(&f, path);
        assert_model_refused(path, extras[i].says, extras[i].name);
    }
}

static void unused_tensors_of_block_0_are_allowed_and_do_not_count(void **unused)
{
    uint8_t with[ENGINE_FINGERPRINT_BYTES], without[ENGINE_FINGERPRINT_BYTES];
    struct file f = take_apart(nano7);
    struct err err;

    (void)unused;
    append_tensor(&f, "blocks.0.att.v0");
    append_tensor(&f, "blocks.0.att.v1");
    append_tensor(&f, "blocks.0.att.v2");
    put_together(&f, path);
    assert_int_equal(engine_fingerprint(path, with, &err), ERR_OK);
    assert_int_equal(engine_fingerprint(nano7, without, &err), ERR_OK);
    assert_memory_equal(with, without, sizeof with);
}

static void wrong_shapes_are_named(void **unused)
{
    static const struct {
        const char *name;
        json_int_t rows, columns;
    } shapes[] = {{"blocks.1.att.key.weight", 64, 16},
                  {"blocks.0.ffn.value.weight", 64, 64},
                  {"head.weight", 128, 64},
                  {"blocks.1.att.r_k", 4, 8},
                  {"blocks.0.att.r_k", 1, 32},
                  {"blocks.1.att.w2", 16, 16},
                  {"emb.weight", 1, 256 * 32},
                  {"blocks.1.ln1.weight", 2, 16},
                  {"blocks.0.ffn.key.weight", 32, 128}};

    (void)unused;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct file f = take_apart(nano7);
        json_object_set_new(entry(&f, shapes[i].name), "shape",
                            json_pack("[I,I]", shapes[i].rows, shapes[i].columns));
        put_together(&f, path);
        assert_model_refused(path, NULL, shapes[i].name);
    }
}

static void small_vectors_must_be_finite(void **unused)
{
    static const struct {
        const char *file, *name;
    } vectors[] = {{NANO_DIR "/nano.safetensors", "blocks.1.ln2.bias"},
                   {NANO_DIR "/nano.safetensors", "blocks.0.att.w0"},
                   {NANO_DIR "/nano.safetensors", "blocks.1.att.r_k"},
                   {NANO_DIR "/nano.safetensors", "ln_out.weight"},
                   {NANO_DIR "/nano4.safetensors", "blocks.0.att.time_decay"},
                   {NANO_DIR "/nano4.safetensors", "blocks.1.att.time_first"}};
    static const uint32_t bits[] = {0x7FC00000, 0x7F800000, 0xFF800000};

    (void)unused;
    for (size_t i = 0; i < 3 * sizeof vectors / sizeof *vectors; i++) {
        struct file f = take_apart(vectors[i / 3].file);
        store_u32(data_of(&f, vectors[i / 3].name) + 4 * (i % 7), bits[i % 3]);
        put_together(&f, path);
        assert_model_refused(path, "not finite", vectors[i / 3].name);
    }
}

/* A mark of a version asks for that version's tensors. */
static void a_version_is_told_by_its_marks(void **unused)
{
    struct file f = take_apart(nano4);

    (void)unused;
    append_tensor(&f, "blocks.0.att.time_maa_x");
    put_together(&f, path);
    assert_model_refused(path, "'blocks.0.att.time_faaaa' is missing", "version 6");
    f = take_apart(nano4);
    append_tensor(&f, "blocks.0.att.ln_x.weight");
    put_together(&f, path);
    assert_model_refused(path, "'blocks.0.att.ln_x.", "version 5.1");
    f = take_apart(nano4);
    append_tensor(&f, "blocks.0.att.ln_x.weight");
    append_tensor(&f, "blocks.0.att.gate.weight");
    put_together(&f, path);
    assert_model_refused(path, "'blocks.0.att.time_mix_g' is missing", "version 5.2");
}

static void other_containers_are_recognised_and_refused(void **unused)
{
    static const struct {
        const char *bytes;
        size_t count;
        const char *says;
    } files[] = {{"PK\x03\x04........", 12, ".pth"},
                 {"GGUF\x03\0\0\0....", 12, "GGUF"},
                 {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9", 9, "pickle"},
                 {"Once upon a time", 16, "not a model"},
                 {"{", 1, "not a model"},
                 {"", 0, "empty"}};
    struct engine *engine = NULL;
    struct err err;

    (void)unused;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        file_write(path, files[i].bytes, files[i].count);
        assert_model_refused(path, files[i].says, files[i].says);
        assert_int_equal(engine_open(&engine, path, NULL, &err), ERR_MODEL);
        assert_null(engine);
    }
    assert_int_equal(engine_open(&engine, "/nowhere/at/all", NULL, &err), ERR_SOURCE);
    assert_int_equal(err.cause, ENOENT);
    assert_int_equal(engine_open(&engine, "/tmp", NULL, &err), ERR_SOURCE);
    assert_null(engine);
}

/* ---- rwkv.cpp: nano7 written as its converter does. ---- */

struct writer {
    struct buffer out;
    size_t places[200]; /* of each tensor's header */
    size_t count;
};

static void put_tensor(struct writer *w, const char *name, const uint32_t *ne, uint32_t rank,
                       const uint8_t *data, size_t bytes)
{
    w->places[w->count++] = w->out.bytes;
    buffer_u32(&w->out, rank);
    buffer_u32(&w->out, (uint32_t)strlen(name));
    buffer_u32(&w->out, 0);
    for (uint32_t i = 0; i < rank; i++)
        buffer_u32(&w->out, ne[i]);
    buffer_put(&w->out, name, strlen(name));
    buffer_put(&w->out, data, bytes);
}

static bool is_low_rank(const char *name)
{
    const char *last = strrchr(name, '.') + 1;

    return strlen(last) == 2 && strchr("wavg", last[0]) && strchr("12", last[1]);
}

static void put_transposed(struct writer *w, const char *name, const uint8_t *data, uint32_t rows,
                           uint32_t columns)
{
    uint8_t *turned = malloc((size_t)rows * columns * 4);

    assert_non_null(turned);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++)
            memcpy(turned + ((size_t)c * rows + r) * 4, data + ((size_t)r * columns + c) * 4, 4);
    put_tensor(w, name, (uint32_t[]){rows, columns}, 2, turned, (size_t)rows * columns * 4);
    free(turned);
}

static void put_mixes(struct writer *w, const struct file *f, unsigned layer)
{
    uint8_t six[6][32 * 4];
    char name[64];

    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "blocks.%u.att.x_%c", layer, "rwkvag"[i]);
        memcpy(six[i], data_of(f, name), sizeof six[i]);
    }
    snprintf(name, sizeof name, "blocks.%u.att.x_rwkvag", layer);
    put_tensor(w, name, (uint32_t[]){32, 1, 6}, 3, six[0], sizeof six);
}

/* Tensor order is arbitrary: the header's order backwards would do as well. */
static struct writer converted(void)
{
    struct writer w = {.out = buffer_of(1 << 24)};
    struct file f = take_apart(nano7);
    static const uint32_t head[] = {0x67676D66, 101, 256, 32, 2, 0};
    const char *name;
    json_t *e;

    for (int i = 0; i < 6; i++)
        buffer_u32(&w.out, head[i]);
    json_object_foreach(f.header, name, e)
    {
        const json_t *shape = json_object_get(e, "shape");
        uint32_t rank = (uint32_t)json_array_size(shape), ne[3] = {0};
        size_t bytes = 4;
        for (uint32_t i = 0; i < rank; i++) {
            ne[i] = (uint32_t)json_integer_value(json_array_get(shape, rank - 1 - i));
            bytes *= ne[i];
        }
        if (strstr(name, ".att.x_"))
            continue;
        if (is_low_rank(name))
            put_transposed(&w, name, data_of(&f, name), ne[1], ne[0]);
        else
            put_tensor(&w, name, ne, rank, data_of(&f, name), bytes);
    }
    put_mixes(&w, &f, 0);
    put_mixes(&w, &f, 1);
    json_decref(f.header);
    free(f.bytes);
    return w;
}

static void both_containers_give_one_fingerprint(void **unused)
{
    uint8_t one[ENGINE_FINGERPRINT_BYTES], other[ENGINE_FINGERPRINT_BYTES];
    struct writer w = converted();
    struct err err = {0};

    (void)unused;
    file_write(path, w.out.data, w.out.bytes);
    if (engine_fingerprint(path, one, &err))
        fail_msg("%s", err.text);
    assert_int_equal(engine_fingerprint(nano7, other, &err), ERR_OK);
    assert_memory_equal(one, other, sizeof one);
    w.out.data[w.out.bytes - 1] ^= 1;
    file_write(path, w.out.data, w.out.bytes);
    assert_int_equal(engine_fingerprint(path, one, &err), ERR_OK);
    assert_memory_not_equal(one, other, sizeof one);
    buffer_release(&w.out);
}

static void rwkvcpp_cut_anywhere_is_refused(void **unused)
{
    struct writer w = converted();

    (void)unused;
    for (size_t cut = 0; cut < w.out.bytes; cut += 997) {
        file_write(path, w.out.data, cut);
        assert_model_refused(path, NULL, "cut");
    }
    for (size_t i = 0; i < w.count; i++)
        for (size_t cut = w.places[i]; cut < w.places[i] + 60 && cut < w.out.bytes; cut++) {
            file_write(path, w.out.data, cut);
            assert_model_refused(path, NULL, "cut in a header");
        }
    buffer_release(&w.out);
}

static void rwkvcpp_numbers_that_lie_are_refused(void **unused)
{
    static const uint32_t lies[] = {0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF};
    struct writer w = converted();

    (void)unused;
    /* The header's numbers, then those of some tensors: axes, name length, type, shape. */
    for (size_t lie = 0; lie < 7 * 5; lie++) {
        size_t at = 4 + 4 * (lie / 7);
        uint32_t kept = load_u32(w.out.data + at);
        bool same = lies[lie % 7] == kept || (at == 20 && lies[lie % 7] == 1);
        store_u32(w.out.data + at, lies[lie % 7]);
        file_write(path, w.out.data, w.out.bytes);
        if (!same)
            assert_model_refused(path, NULL, "a lie in the header");
        store_u32(w.out.data + at, kept);
    }
    for (size_t i = 0; i < w.count; i += 5)
        for (size_t lie = 0; lie < 7 * 4; lie++) {
            size_t at = w.places[i] + 4 * (lie / 7);
            uint32_t kept = load_u32(w.out.data + at);
            store_u32(w.out.data + at, lies[lie % 7]);
            file_write(path, w.out.data, w.out.bytes);
            if (lies[lie % 7] != kept)
                assert_model_refused(path, NULL, "a lie in a tensor");
            store_u32(w.out.data + at, kept);
        }
    buffer_release(&w.out);
}

static void rwkvcpp_tensors_twice_and_quantised_are_refused(void **unused)
{
    struct writer w = converted();
    size_t bytes = w.out.bytes, place = w.places[0], end = w.places[1];
    static const uint8_t zeros[18];
    static uint8_t again[1 << 16];

    (void)unused;
    assert_true(end - place <= sizeof again);
    memcpy(again, w.out.data + place, end - place);
    buffer_put(&w.out, again, end - place);
    file_write(path, w.out.data, w.out.bytes);
    assert_model_refused(path, "twice", "a tensor twice");
    w.out.bytes = bytes;
    put_tensor(&w, "blocks.0.att.gate.weight", (uint32_t[]){32}, 1, zeros, 18);
    store_u32(w.out.data + w.places[w.count - 1] + 8, 2);
    file_write(path, w.out.data, w.out.bytes);
    assert_model_refused(path, "does not belong", "a Q4_0 tensor is known, if not its use");
    store_u32(w.out.data + 4, 100);
    file_write(path, w.out.data, w.out.bytes);
    assert_model_refused(path, "dead format", "a quantised tensor of version 100");
    buffer_release(&w.out);
}

static void rwkvcpp_rows_that_are_no_whole_blocks_are_refused(void **unused)
{
    struct writer w = converted();
    static const uint8_t zeros[2 * 18];

    (void)unused;
    put_tensor(&w, "blocks.0.att.gate.weight", (uint32_t[]){16, 4}, 2, zeros, sizeof zeros);
    store_u32(w.out.data + w.places[w.count - 1] + 8, 2);
    file_write(path, w.out.data, w.out.bytes);
    assert_model_refused(path, "rows of 16 values, no whole number of Q4_0 blocks",
                         "half a block a row");
    buffer_release(&w.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_cut_anywhere_is_refused),
        cmocka_unit_test(safetensors_with_any_header_byte_changed_is_safe),
        cmocka_unit_test(safetensors_lengths_that_lie_are_refused),
        cmocka_unit_test(safetensors_headers_that_are_no_header_are_refused),
        cmocka_unit_test(safetensors_entries_that_lie_are_refused),
        cmocka_unit_test(safetensors_must_tile_their_data),
        cmocka_unit_test(every_missing_tensor_is_named),
        cmocka_unit_test(unknown_tensors_are_refused_by_name),
        cmocka_unit_test(unused_tensors_of_block_0_are_allowed_and_do_not_count),
        cmocka_unit_test(wrong_shapes_are_named),
        cmocka_unit_test(small_vectors_must_be_finite),
        cmocka_unit_test(a_version_is_told_by_its_marks),
        cmocka_unit_test(other_containers_are_recognised_and_refused),
        cmocka_unit_test(both_containers_give_one_fingerprint),
        cmocka_unit_test(rwkvcpp_cut_anywhere_is_refused),
        cmocka_unit_test(rwkvcpp_numbers_that_lie_are_refused),
        cmocka_unit_test(rwkvcpp_tensors_twice_and_quantised_are_refused),
        cmocka_unit_test(rwkvcpp_rows_that_are_no_whole_blocks_are_refused),
    };

    return cmocka_run_group_tests(tests, make_path, drop_path);
}
