/* tests/test_engine_gguf.c: GGUF files are the model they hold. Those that lie: test_engine_gguf_lies.c. */
#include "tests/gguf_file.h"

/* ---- Files that are right ---- */

static void a_gguf_file_is_the_model_it_holds(void **unused)
{
    (void)unused;
    assert_is_nano(made_nano(), "version 3");
}

static void versions_alignments_and_integer_types_are_all_one(void **unused)
{
    static const uint64_t alignments[] = {1, 8, 64, 4096, 1 << 16};
    static const uint32_t integers[] = {U8, I8, U16, I16, U32, I32, U64, I64};
    struct made *m = made_nano();

    (void)unused;
    m->version = 2;
    assert_is_nano(m, "version 2");
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        m = made_nano();
        m->alignment = alignments[i];
        set_number(m, "general.alignment", i % 2 ? U32 : U64, m->alignment);
        place_items(m);
        assert_is_nano(m, "an alignment");
    }
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        m = made_nano();
        set_number(m, "rwkv7.embedding_length", integers[i], 32);
        set_number(m, "rwkv7.wkv.head_size", integers[i], 16);
        assert_is_nano(m, "a type of integers");
    }
}

static void neither_order_nor_gaps_nor_what_may_be_absent_matters(void **unused)
{
    static const char *const absent[] = {"rwkv7.feed_forward_length",
                                         "rwkv7.attention.layer_norm_epsilon",
                                         "rwkv7.attention.value_residual_mix_lora_rank",
                                         "general.name",
                                         "tokenizer.ggml.model",
                                         "tokenizer.ggml.token_type",
                                         "tokenizer.ggml.tokens"};
    struct made *m = made_nano();
    struct pair first = m->pairs[0];
    struct item item = m->items[0];

    (void)unused;
    /* The architecture last, the embedding too, and its data behind a gap. */
    m->pairs[0] = m->pairs[m->pair_count - 1];
    m->pairs[m->pair_count - 1] = first;
    m->items[0] = m->items[m->item_count - 1];
    m->items[m->item_count - 1] = item;
    place_items(m);
    m->items[m->item_count - 1].offset += 3 * m->alignment;
    assert_is_nano(m, "another order");
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        m = made_nano();
        drop_pair(m, absent[i]);
        assert_is_nano(m, absent[i]);
    }
    m = made_nano();
    set_number(m, "rwkv7.token_shift_count", U32, 2);
    set_number(m, "split.count", U16, 1);
    set_number(m, "rwkv7.rescale_every_n_layers", U32, 0);
    assert_is_nano(m, "what says nothing new");
}

/* llama.cpp's quantiser writes axes of length 1 no more; r_k may come in heads. */
static void shapes_may_have_axes_of_one_or_not(void **unused)
{
    struct made *m = made_nano();

    (void)unused;
    item_of(m, "blk.1.time_mix_w0.weight")->rank = 3;
    item_of(m, "blk.1.time_mix_w0.weight")->ne[1] = 1;
    item_of(m, "blk.1.time_mix_w0.weight")->ne[2] = 1;
    item_of(m, "blk.1.time_mix_r_k.weight")->rank = 2;
    item_of(m, "blk.1.time_mix_r_k.weight")->ne[0] = 16;
    item_of(m, "blk.1.time_mix_r_k.weight")->ne[1] = 2;
    assert_is_nano(m, "other axes");
}

/* ---- The table of tensors ---- */

struct wanted {
    const char *name;
    unsigned rank;
    uint64_t shape[2];
    size_t first; /* in the file's tensor, in values */
};

static void check_tensors(struct container *c, const struct wanted *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct tensor *tensor = NULL;
        struct err err = {0};
        float values[640];

        if (container_get(c, wanted[i].name, wanted[i].rank, wanted[i].shape, &tensor, &err))
            fail_msg("%s", err.text);
        assert_true(tensor->values <= 640);
        tensor_rows(tensor, 0, tensor->rank == 1 ? 1 : tensor->shape[0], values);
        for (uint64_t k = 0; k < tensor->values; k++)
            if (values[k] != (float)(wanted[i].first + k))
                fail_msg("%s: %zu is %g", wanted[i].name, (size_t)k, (double)values[k]);
    }
}

static void version_6_has_its_names_and_parts(void **unused)
{
    static const struct wanted wanted[] = {
        {"blocks.0.att.time_faaaa", 2, {2, 4}, 0},
        {"blocks.0.att.time_maa_x", 1, {8}, 0},
        {"blocks.0.att.time_maa_w", 1, {8}, 0},
        {"blocks.0.att.time_maa_k", 1, {8}, 8},
        {"blocks.0.att.time_maa_v", 1, {8}, 16},
        {"blocks.0.att.time_maa_r", 1, {8}, 24},
        {"blocks.0.att.time_maa_g", 1, {8}, 32},
        {"blocks.0.att.time_maa_w1", 2, {10, 8}, 0},
        {"blocks.0.att.time_maa_w2_w", 2, {8, 2}, 0},
        {"blocks.0.att.time_maa_w2_k", 2, {8, 2}, 16},
        {"blocks.0.att.time_maa_w2_v", 2, {8, 2}, 32},
        {"blocks.0.att.time_maa_w2_r", 2, {8, 2}, 48},
        {"blocks.0.att.time_maa_w2_g", 2, {8, 2}, 64},
        {"blocks.0.att.time_decay", 1, {8}, 0},
        {"blocks.0.att.time_decay_w1", 2, {3, 8}, 0},
        {"blocks.0.att.time_decay_w2", 2, {8, 3}, 0},
        {"blocks.0.att.gate.weight", 2, {8, 8}, 0},
        {"blocks.0.ffn.time_maa_k", 1, {8}, 0},
        {"blocks.0.ffn.time_maa_r", 1, {8}, 0},
        {"blocks.0.ffn.key.weight", 2, {16, 8}, 0},
        {"blocks.0.ffn.value.weight", 2, {8, 16}, 0},
        {"blocks.0.ffn.receptance.weight", 2, {8, 8}, 0},
    };
    struct made *m = blank6();
    struct container *c;

    (void)unused;
    add_counting(m, "blk.0.time_mix_lerp_fused.weight", 4, (uint64_t[]){8, 1, 1, 5});
    add_counting(m, "blk.0.time_mix_w1.weight", 2, (uint64_t[]){8, 10});
    add_counting(m, "blk.0.time_mix_w2.weight", 3, (uint64_t[]){2, 8, 5});
    add_counting(m, "blk.0.time_mix_decay.weight", 1, (uint64_t[]){8});
    add_counting(m, "blk.0.time_mix_decay_w1.weight", 2, (uint64_t[]){8, 3});
    add_counting(m, "blk.0.time_mix_decay_w2.weight", 2, (uint64_t[]){3, 8});
    add_counting(m, "blk.0.time_mix_gate.weight", 2, (uint64_t[]){8, 8});
    add_counting(m, "blk.0.channel_mix_lerp_k.weight", 3, (uint64_t[]){8, 1, 1});
    add_counting(m, "blk.0.channel_mix_lerp_r.weight", 3, (uint64_t[]){8, 1, 1});
    add_counting(m, "blk.0.channel_mix_key.weight", 2, (uint64_t[]){8, 16});
    add_counting(m, "blk.0.channel_mix_value.weight", 2, (uint64_t[]){16, 8});
    add_counting(m, "blk.0.channel_mix_receptance.weight", 2, (uint64_t[]){8, 8});
    place_items(m);
    c = open_made(m);
    assert_int_equal(c->count, sizeof wanted / sizeof *wanted);
    check_tensors(c, wanted, c->count);
    container_close(&c);
}

static void old_files_of_version_6_have_five_vectors(void **unused)
{
    static const struct wanted wanted[] = {
        {"blocks.0.att.time_maa_w", 1, {8}, 0}, {"blocks.0.att.time_maa_k", 1, {8}, 0},
        {"blocks.0.att.time_maa_v", 1, {8}, 0}, {"blocks.0.att.time_maa_r", 1, {8}, 0},
        {"blocks.0.att.time_maa_g", 1, {8}, 0},
    };
    struct made *m = blank6();
    struct container *c;

    (void)unused;
    for (int i = 0; i < 5; i++) {
        char name[80];
        snprintf(name, sizeof name, "blk.0.time_mix_lerp_%c.weight", "wkvrg"[i]);
        add_counting(m, name, 3, (uint64_t[]){8, 1, 1});
    }
    place_items(m);
    c = open_made(m);
    check_tensors(c, wanted, 5);
    container_close(&c);
}

static void rescaled_matrices_are_scaled_back(void **unused)
{
    struct made *m = blank6();
    struct container *c;

    (void)unused;
    set_number(m, "rwkv6.block_count", U32, 9);
    set_number(m, "rwkv6.rescale_every_n_layers", U32, 3);
    for (int i = 0; i < 9; i++) {
        char name[80];
        snprintf(name, sizeof name, "blk.%d.time_mix_output.weight", i);
        add_counting(m, name, 2, (uint64_t[]){8, 8});
        snprintf(name, sizeof name, "blk.%d.channel_mix_value.weight", i);
        add_counting(m, name, 2, (uint64_t[]){16, 8});
        snprintf(name, sizeof name, "blk.%d.time_mix_value.weight", i);
        add_counting(m, name, 2, (uint64_t[]){8, 8});
    }
    place_items(m);
    c = open_made(m);
    for (int i = 0; i < 9; i++) {
        static const char *const names[] = {"att.output", "ffn.value", "att.value"};
        for (int k = 0; k < 3; k++) {
            char name[80];
            float row[16];
            snprintf(name, sizeof name, "blocks.%d.%s.weight", i, names[k]);
            tensor_rows(container_find(c, name), 0, 1, row);
            assert_true(row[3] == 3.0f * (float)(k < 2 ? 1 << i / 3 : 1));
        }
    }
    assert_int_equal(c->rescale_every, 3);
    container_close(&c);
}

static void every_number_format_has_its_ggml_number(void **unused)
{
    static const struct {
        uint32_t number, items, bytes;
        const char *name;
        enum dtype dtype;
    } types[] = {{0, 1, 4, "F32", DTYPE_F32},        {1, 1, 2, "F16", DTYPE_F16},
                 {30, 1, 2, "BF16", DTYPE_BF16},     {2, 32, 18, "Q4_0", DTYPE_Q4_0},
                 {3, 32, 20, "Q4_1", DTYPE_Q4_1},    {6, 32, 22, "Q5_0", DTYPE_Q5_0},
                 {7, 32, 24, "Q5_1", DTYPE_Q5_1},    {8, 32, 34, "Q8_0", DTYPE_Q8_0},
                 {12, 256, 144, "Q4_K", DTYPE_Q4_K}, {13, 256, 176, "Q5_K", DTYPE_Q5_K},
                 {14, 256, 210, "Q6_K", DTYPE_Q6_K}, {28, 1, 8, "F64", DTYPE_F64}};
    enum { TYPES = sizeof types / sizeof *types };
    struct made *m = blank6();
    struct container *c;

    (void)unused;
    for (size_t i = 0; i < TYPES; i++) {
        size_t bytes = 3 * 256 / types[i].items * types[i].bytes;
        uint8_t *data = calloc(1, bytes);
        assert_non_null(data);
        for (size_t k = 0; k < bytes; k++)
            data[k] = (uint8_t)(i + k);
        add_item(m, types[i].name, types[i].number, 2, (uint64_t[]){256, 3}, data, bytes);
        free(data);
    }
    place_items(m);
    c = open_made(m);
    for (size_t i = 0; i < TYPES; i++) {
        const struct tensor *tensor = container_find(c, types[i].name);
        assert_non_null(tensor);
        assert_string_equal(dtypes[tensor->dtype].name, types[i].name);
        assert_int_equal(tensor->dtype, types[i].dtype);
        assert_int_equal(tensor->bytes, 3 * 256 / types[i].items * types[i].bytes);
        for (uint64_t k = 0; k < tensor->bytes; k++)
            assert_int_equal(tensor->data[k], (uint8_t)(i + k));
    }
    container_close(&c);
}

/* ---- The vocabulary ---- */

static void check_texts(const struct container *c, const char *const *texts, size_t count)
{
    const struct container_vocabulary *v = &c->vocabulary;
    struct reader r = reader_of(v->texts, (size_t)(c->map + c->bytes - v->texts));

    assert_int_equal(v->count, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = read_u64(&r);
        const uint8_t *text = read_bytes(&r, bytes);
        assert_non_null(text);
        assert_int_equal(bytes, strlen(texts[i]));
        assert_memory_equal(text, texts[i], bytes);
    }
}

static void the_vocabulary_is_lent_as_the_file_has_it(void **unused)
{
    static const char *const few[] = {"<s>", "", "\\x00", "\\'\"", "\xE4\xB8\xAD", "[PAD5]"};
    static const int32_t types[] = {3, 1, 1, 1, 1, 5};
    struct made *m = blank6();
    struct buffer *texts = pair_of(m, "tokenizer.ggml.tokens", ARRAY), *kinds;
    struct container *c;

    (void)unused;
    set_text(m, "tokenizer.ggml.model", "rwkv");
    buffer_u32(texts, TEXT);
    buffer_u64(texts, 6);
    for (int i = 0; i < 6; i++)
        put_text(texts, few[i]);
    kinds = pair_of(m, "tokenizer.ggml.token_type", ARRAY);
    buffer_u32(kinds, I32);
    buffer_u64(kinds, 6);
    buffer_put(kinds, types, sizeof types);
    place_items(m);
    c = open_made(m);
    check_texts(c, few, 6);
    assert_int_equal(c->stated_vocab, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(load_u32(c->vocabulary.types + 4 * i), types[i]);
    container_close(&c);
}

static void the_shared_tokens_come_through(void **unused)
{
    json_t *list = json_load_file(SHARED_DIR "/vectors/gguf_token_escape.json", 0, NULL);
    const char *texts[200];
    struct made *m;
    struct buffer *out;
    struct container *c;
    size_t count;

    (void)unused;
    if (!list)
        skip();
    count = json_array_size(list);
    assert_true(count >= 10 && count <= 200);
    m = blank6();
    set_text(m, "tokenizer.ggml.model", "rwkv");
    out = pair_of(m, "tokenizer.ggml.tokens", ARRAY);
    buffer_u32(out, TEXT);
    buffer_u64(out, count);
    for (size_t i = 0; i < count; i++) {
        texts[i] = json_string_value(json_object_get(json_array_get(list, i), "gguf_text"));
        put_text(out, texts[i]);
    }
    place_items(m);
    c = open_made(m);
    check_texts(c, texts, count);
    assert_null(c->vocabulary.types);
    container_close(&c);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gguf_file_is_the_model_it_holds),
        cmocka_unit_test(versions_alignments_and_integer_types_are_all_one),
        cmocka_unit_test(neither_order_nor_gaps_nor_what_may_be_absent_matters),
        cmocka_unit_test(shapes_may_have_axes_of_one_or_not),
        cmocka_unit_test(version_6_has_its_names_and_parts),
        cmocka_unit_test(old_files_of_version_6_have_five_vectors),
        cmocka_unit_test(rescaled_matrices_are_scaled_back),
        cmocka_unit_test(every_number_format_has_its_ggml_number),
        cmocka_unit_test(the_vocabulary_is_lent_as_the_file_has_it),
        cmocka_unit_test(the_shared_tokens_come_through),
    };

    return cmocka_run_group_tests(tests, make_path, drop_path);
}
