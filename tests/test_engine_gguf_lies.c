/* tests/test_engine_gguf_lies.c: GGUF files that lie are refused, each with one line. */
#include "tests/gguf_file.h"

/* From the end on, so that a cut is a truncation of what is there. */
static void cut_anywhere_in_its_headers_or_data_is_refused(void **unused)
{
    struct made *m = made_nano();
    struct buffer out = assemble(m);

    (void)unused;
    file_write(path, out.data, out.bytes);
    for (size_t cut = out.bytes - 1;; cut -= cut > m->data + 1009 ? 1009 : 1) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_model_refused(path, cut > m->infos ? "truncated" : NULL, "cut");
        if (cut == 0)
            break;
    }
    buffer_release(&out);
    release(m);
}

static void any_header_byte_changed_is_safe(void **unused)
{
    static const uint8_t flips[] = {0x01, 0x80, 0x10, 0xFF};
    struct made *m = made_nano();
    struct buffer out = assemble(m);
    int descriptor;

    (void)unused;
    file_write(path, out.data, out.bytes);
    descriptor = open(path, O_WRONLY);
    assert_true(descriptor >= 0);
    for (size_t at = 0; at < m->data; at++) {
        uint8_t changed = out.data[at] ^ flips[at % 4];
        struct container *c = NULL;
        struct err err = {0};
        enum err_code code;
        assert_int_equal(pwrite(descriptor, &changed, 1, (off_t)at), 1);
        code = container_open(&c, path, &err);
        if ((code != ERR_OK && code != ERR_MODEL) || strchr(err.text, '\n'))
            fail_msg("byte %zu: code %d, %s", at, code, err.text);
        container_close(&c);
        assert_int_equal(pwrite(descriptor, out.data + at, 1, (off_t)at), 1);
    }
    close(descriptor);
    buffer_release(&out);
    release(m);
}

static void versions_and_architectures_are_refused_by_name(void **unused)
{
    static const struct {
        const char *name, *says;
    } others[] = {{"rwkv6qwen2", "'rwkv6qwen2' is a transformer with RWKV"},
                  {"arwkv7", "'arwkv7' is a transformer with RWKV"},
                  {"llama", "architecture 'llama' is not supported: rwkv6 and rwkv7"},
                  {"rwkv5", "'rwkv5'"},
                  {"rwkv60", "'rwkv60'"},
                  {"rwkv", "'rwkv'"},
                  {"", "architecture ''"},
                  {"a\nb", "'a?b'"}};
    static const struct {
        uint32_t version;
        const char *says;
    } versions[] = {{1, "GGUF version 1, not supported"},
                    {0x03000000, "big-endian"},
                    {0x02000000, "big-endian"},
                    {4, "GGUF version 4"},
                    {0, "GGUF version 0"},
                    {0xFFFFFFFF, "GGUF version"}};
    struct made *m;

    (void)unused;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        m = made_nano();
        set_text(m, "general.architecture", others[i].name);
        assert_refused(m, others[i].says, others[i].name);
    }
    m = made_nano();
    set_number(m, "general.architecture", U32, 7);
    assert_refused(m, "architecture ''", "a number");
    m = made_nano();
    drop_pair(m, "general.architecture");
    assert_refused(m, "architecture ''", "no architecture");
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        m = made_nano();
        m->version = versions[i].version;
        assert_refused(m, versions[i].says, versions[i].says);
    }
}

static void keys_that_contradict_the_tensors_are_refused(void **unused)
{
    static const struct {
        const char *key;
        uint32_t type;
        uint64_t value;
        const char *says;
    } lies[] = {
        {"rwkv7.block_count", U32, 3, "the header says 3 layers"},
        {"rwkv7.block_count", U32, 1, "the header says 1 layers"},
        {"rwkv7.block_count", U32, 0, "does not say block_count"},
        {"rwkv7.block_count", I32, 0xFFFFFFFE, "'rwkv7.block_count' is negative"},
        {"rwkv7.block_count", I8, 0x82, "negative"},
        {"rwkv7.block_count", I64, UINT64_MAX, "negative"},
        {"rwkv7.block_count", U64, UINT64_MAX, "the header says"},
        {"rwkv7.block_count", F32, 0x40000000, "'rwkv7.block_count' is no integer"},
        {"rwkv7.block_count", BOOL, 1, "no integer"},
        {"rwkv7.embedding_length", U32, 64, "64 channels"},
        {"rwkv7.embedding_length", U32, 0, "embedding_length"},
        {"rwkv7.embedding_length", U64, UINT64_C(1) << 60, "channels"},
        {"rwkv7.wkv.head_size", U32, 0, "head_size"},
        {"rwkv7.wkv.head_size", U32, 5, "heads of 5 do not divide its 32 channels"},
        {"rwkv7.wkv.head_size", U64, UINT64_C(1) << 63, "do not divide"},
        {"rwkv7.feed_forward_length", U32, 129, "feed_forward_length is 129, but 'blk.0.channel"},
        {"rwkv7.attention.decay_lora_rank", U32, 9, "decay_lora_rank is 9"},
        {"rwkv7.attention.iclr_lora_rank", U32, 1, "iclr_lora_rank is 1"},
        {"rwkv7.attention.value_residual_mix_lora_rank", U32, 16, "'blk.1.time_mix_v1.weight'"},
        {"rwkv7.attention.gate_lora_rank", U64, UINT64_MAX, "gate_lora_rank"},
        {"rwkv7.rescale_every_n_layers", U32, 6, "only version 6"},
        {"rwkv7.token_shift_count", U32, 1, "1 token shifts"},
        {"split.count", U16, 3, "one of 3 files"},
        {"rwkv7.attention.layer_norm_epsilon", F32, 0x37000000, "an epsilon of"},
        {"rwkv7.attention.layer_norm_epsilon", F32, 0x7FC00000, "an epsilon of"},
        {"rwkv7.attention.layer_norm_epsilon", U32, 1, "no f32"},
        {"general.alignment", U32, 0, "alignment of 0"},
        {"general.alignment", U32, 3, "alignment of 3"},
        {"general.alignment", U32, 1 << 21, "alignment of 2097152"},
        {"general.alignment", U64, UINT64_C(1) << 63, "alignment of 9223372036854775808"},
    };
    struct made *m;

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        m = made_nano();
        set_number(m, lies[i].key, lies[i].type, lies[i].value);
        assert_refused(m, lies[i].says, lies[i].key);
    }
    m = made_nano();
    set_text(m, "general.alignment", "32");
    assert_refused(m, "'general.alignment' is no integer", "a text");
}

static void pairs_that_lie_are_refused(void **unused)
{
    struct made *m = made_nano();

    (void)unused;
    set_text(m, "general.twice", "a");
    pair_of(m, "general.another", U32);
    buffer_u32(&m->pairs[m->pair_count - 1].value, 1);
    strcpy(m->pairs[m->pair_count - 1].key, "general.twice");
    assert_refused(m, "key 'general.twice' is there twice", "a key twice");
    for (uint32_t type = F64 + 1; type; type = type > 1000 ? 0 : 3 * type) {
        m = made_nano();
        buffer_u64(pair_of(m, "general.odd", type), 0);
        assert_refused(m, "'general.odd' is of unknown type", "an unknown type");
        m = made_nano();
        buffer_u32(pair_of(m, "general.odd", ARRAY), type);
        buffer_u64(&m->pairs[m->pair_count - 1].value, 0);
        assert_refused(m, "'general.odd' is of unknown type", "an array of an unknown type");
    }
}

/* An array in an array and so on, `depth` of them, around one number. */
static void put_nest(struct buffer *out, int depth)
{
    for (; depth > 1; depth--) {
        buffer_u32(out, ARRAY);
        buffer_u64(out, 1);
    }
    buffer_u32(out, U8);
    buffer_u64(out, 1);
    buffer_u8(out, 7);
}

static void arrays_nest_to_a_limit(void **unused)
{
    struct made *m;
    struct buffer *out;

    (void)unused;
    for (int depth = 1; depth <= 12; depth++) {
        m = made_nano();
        put_nest(pair_of(m, "general.deep", ARRAY), depth);
        if (depth <= 5)
            assert_is_nano(m, "a nest");
        else
            assert_refused(m, "arrays in more than 4 arrays", "a deep nest");
    }
    /* As deep as the file is long, and as many as a number can be, of each type. */
    m = made_nano();
    out = pair_of(m, "general.deep", ARRAY);
    for (int i = 0; i < 100000; i++)
        put_nest(out, 2);
    assert_refused(m, NULL, "the deepest");
    for (uint32_t item = U8; item <= F64; item++)
        for (unsigned bit = 20; bit < 64; bit++) {
            m = blank6();
            out = pair_of(m, "general.many", ARRAY);
            buffer_u32(out, item);
            buffer_u64(out, UINT64_C(1) << bit);
            place_items(m);
            assert_refused(m, NULL, "many items");
        }
}

static void counts_that_lie_are_refused(void **unused)
{
    static const uint64_t lies[] = {
        0,     1,     UINT64_MAX,     UINT64_C(1) << 32, 100000000, 4097, UINT64_C(1) << 63,
        65537, 65536, UINT64_MAX / 32};
    struct made *m = made_nano();
    struct buffer out = assemble(m);

    (void)unused;
    for (size_t at = 8; at <= 16; at += 8)
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
            uint64_t kept = load_u64(out.data + at);
            store_u64(out.data + at, lies[i]);
            file_write(path, out.data, out.bytes);
            assert_model_refused(path, NULL, at == 8 ? "a number of tensors" : "a number of keys");
            store_u64(out.data + at, kept);
        }
    buffer_release(&out);
    release(m);
}

/* The embedding's header, changed. */
static void tensors_that_lie_are_refused(void **unused)
{
    static const struct {
        uint32_t rank, type;
        uint64_t ne[5];
        uint64_t offset;
        const char *says;
    } lies[] = {
        {0, 0, {32, 256}, 0, "0 axes"},
        {5, 0, {32, 256, 1, 1, 1}, 0, "5 axes"},
        {UINT32_MAX, 0, {32, 256}, 0, "axes"},
        {2, 0, {32, 0}, 0, "impossible shape"},
        {2, 0, {0, 32}, 0, "impossible shape"},
        {2, 0, {UINT64_C(1) << 32, UINT64_C(1) << 32}, 0, "impossible shape"},
        {2, 0, {UINT64_MAX, 2}, 0, "impossible shape"},
        {2, 0, {UINT64_C(1) << 47, 1}, 0, "truncated: tensor 'token_embd.weight'"},
        {2, 0, {32, 1 << 20}, 0, "truncated"},
        {2, 0, {32, 257}, 0, "overlaps"},
        {2, 0, {16, 256}, 0, "head.weight"},
        {2, 4, {32, 256}, 0, "ggml type 4"},
        {2, 5, {32, 256}, 0, "ggml type 5"},
        {2, 10, {32, 256}, 0, "ggml type 10"},
        {2, UINT32_MAX, {32, 256}, 0, "ggml type 4294967295"},
        {2, 2, {16, 512}, 0, "rows of 16 values, no whole number of Q4_0 blocks"},
        {2, 12, {32, 256}, 0, "rows of 32 values, no whole number of Q4_K blocks"},
        {2, 0, {32, 256}, 4, "no multiple of 32"},
        {2, 0, {32, 256}, UINT64_MAX - 31, "truncated"},
        {2, 0, {32, 256}, UINT64_C(1) << 62, "truncated"},
        {2, 0, {32, 256}, 1 << 20, "truncated"},
        {2, 0, {32, 256}, 32, "overlaps"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct made *m = made_nano();
        struct item *item = item_of(m, "token_embd.weight");
        struct buffer out;
        item->data.bytes = 0; /* of which nothing is written, so that offsets may lie */
        item->rank = lies[i].rank > 5 ? 5 : lies[i].rank;
        item->type = lies[i].type;
        memcpy(item->ne, lies[i].ne, sizeof lies[i].ne);
        out = assemble(m);
        store_u32(out.data + m->infos + 8 + strlen(item->name), lies[i].rank);
        if (item->rank == 2)
            store_u64(out.data + m->infos + 8 + strlen(item->name) + 4 + 16 + 4, lies[i].offset);
        file_write(path, out.data, out.bytes);
        assert_model_refused(path, lies[i].says, lies[i].says);
        buffer_release(&out);
        release(m);
    }
}

static void names_that_lie_are_refused(void **unused)
{
    static const struct {
        const char *from, *to, *says;
    } lies[] = {
        {"output.weight", "token_embd.weight", "'emb.weight' is there twice"},
        {"output.weight", "", "no proper name"},
        {"output.weight", "out put.weight", "no proper name"},
        {"output.weight", "output.bias", "'head."},
        {"blk.1.attn_norm.weight", "blk.2.attn_norm.weight", "layers"},
        {"blk.1.attn_norm.weight", "blk.99999999999999999999.attn_norm.weight", "layers"},
        {"blk.0.time_mix_r_k.weight", "blk.0.time_mix_first.weight",
         "has no tensor 'blk.0.time_mix_r_k"},
        {"blk.1.time_mix_r_k.weight", "blk.1.time_mix_first.weight", "blocks.1.att.r_k"},
        {"blk.1.time_mix_w0.weight", "blk.1.time_mix_a0.weight", "twice"},
        {"blk.1.time_mix_w0.weight", "blk.1.time_mix_w0.scale", "att.w0"},
        {"output.weight", "0123456789012345678901234567890123456789012345678901234567890123456",
         "67 bytes long"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct made *m = made_nano();
        snprintf(item_of(m, lies[i].from)->name, sizeof m->items->name, "%s", lies[i].to);
        assert_refused(m, lies[i].says, lies[i].to);
    }
}

/* Its 32 values are a block, of which a head of 16 would be half. */
static void heads_that_would_cut_blocks_are_refused(void **unused)
{
    static const uint8_t block[34] = {0, 0x3c};
    struct made *m = made_nano();
    struct item *r_k = item_of(m, "blk.1.time_mix_r_k.weight");

    (void)unused;
    buffer_release(&r_k->data);
    r_k->data = buffer_of(FILE_MOST);
    r_k->type = 8;
    buffer_put(&r_k->data, block, sizeof block);
    place_items(m);
    assert_refused(m, "'blocks.1.att.r_k' is 32, not 2 x 16", "r_k as Q8_0");
}

static void a_missing_tensor_is_named(void **unused)
{
    struct made *m = made_nano();
    size_t count = m->item_count;

    (void)unused;
    release(m);
    for (size_t i = 0; i < count; i++) {
        char name[80];
        bool unused_one;
        m = made_nano();
        snprintf(name, sizeof name, "%s", m->items[i].name);
        unused_one = !strncmp(name, "blk.0.time_mix_v", 16) && strchr("012", name[16]);
        buffer_release(&m->items[i].data);
        m->items[i] = m->items[--m->item_count];
        place_items(m);
        if (unused_one)
            assert_is_nano(m, name);
        else
            assert_refused(m, NULL, name);
    }
}

static void vocabularies_that_lie_are_refused(void **unused)
{
    struct made *m = made_nano();
    struct buffer *out;
    struct container *c;

    (void)unused;
    set_text(m, "tokenizer.ggml.model", "gpt2");
    c = open_made(m);
    assert_int_equal(c->vocabulary.count, 0);
    container_close(&c);

    m = made_nano();
    set_vocabulary(m, TOKENS - 1);
    assert_refused(m, "255", "fewer tokens than rows of the embedding");
    m = made_nano();
    set_vocabulary(m, TOKENS + 1);
    assert_refused(m, "257", "more tokens than rows of the embedding");
    m = made_nano();
    set_vocabulary(m, 0);
    assert_refused(m, "no list of texts", "no tokens");
    m = made_nano();
    set_text(m, "tokenizer.ggml.tokens", "a");
    assert_refused(m, "no list of texts", "a text");
    m = made_nano();
    out = pair_of(m, "tokenizer.ggml.tokens", ARRAY);
    buffer_u32(out, U8);
    buffer_u64(out, 1);
    buffer_u8(out, 1);
    assert_refused(m, "no list of texts", "bytes");
    m = made_nano();
    out = pair_of(m, "tokenizer.ggml.token_type", ARRAY);
    buffer_u32(out, I32);
    buffer_u64(out, 1);
    buffer_u32(out, 1);
    assert_refused(m, "types of 1", "too few types");
    m = made_nano();
    set_number(m, "tokenizer.ggml.token_type", I32, 1);
    assert_refused(m, "no list of i32", "no types");
    m = made_nano();
    out = pair_of(m, "tokenizer.ggml.tokens", ARRAY);
    buffer_u32(out, TEXT);
    buffer_u64(out, 256);
    buffer_u64(out, UINT64_MAX - 3);
    assert_refused(m, "truncated", "a text as long as all memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere_in_its_headers_or_data_is_refused),
        cmocka_unit_test(any_header_byte_changed_is_safe),
        cmocka_unit_test(versions_and_architectures_are_refused_by_name),
        cmocka_unit_test(keys_that_contradict_the_tensors_are_refused),
        cmocka_unit_test(pairs_that_lie_are_refused),
        cmocka_unit_test(arrays_nest_to_a_limit),
        cmocka_unit_test(counts_that_lie_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(names_that_lie_are_refused),
        cmocka_unit_test(heads_that_would_cut_blocks_are_refused),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(vocabularies_that_lie_are_refused),
    };

    return cmocka_run_group_tests(tests, make_path, drop_path);
}
