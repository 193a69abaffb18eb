/* tests/test_engine_gguf.c: GGUF files: they are the model they hold, or are refused with one line.
 *
 * A file is put together here from pairs and tensors, so that each of its numbers can be made to lie. */
#include "engine/formats/formats.h"
#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <fcntl.h>
#include <jansson.h>

static const char *const nano7 = NANO_DIR "/nano.safetensors";

static char path[] = "/tmp/riverrun-gguf-XXXXXX";

/* The format's numbers. */
enum { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 };
enum { PAIRS_MOST = 40, TENSORS_MOST = 120, FILE_MOST = 1 << 24, TOKENS = 256 };

/* ---- A file under construction ---- */

struct pair {
    char key[80];
    uint32_t type;
    struct buffer value;
};

struct item {
    char name[80];
    uint32_t rank, type;
    uint64_t ne[5]; /* fastest first */
    uint64_t offset;
    struct buffer data;
};

struct made {
    uint32_t version;
    uint64_t alignment;
    struct pair pairs[PAIRS_MOST];
    size_t pair_count;
    struct item items[TENSORS_MOST];
    size_t item_count;
    size_t infos, data; /* of the file as it was last put together */
};

static void put_text(struct buffer *out, const char *text)
{
    buffer_u64(out, strlen(text));
    buffer_put(out, text, strlen(text));
}

/* The value of a pair, empty; where there is the key already it is changed. */
static struct buffer *pair_of(struct made *m, const char *key, uint32_t type)
{
    struct pair *pair = m->pairs;

    while (pair < m->pairs + m->pair_count && strcmp(pair->key, key))
        pair++;
    if (pair == m->pairs + m->pair_count) {
        assert_true(m->pair_count++ < PAIRS_MOST);
        snprintf(pair->key, sizeof pair->key, "%s", key);
        pair->value = buffer_of(FILE_MOST);
    }
    pair->type = type;
    pair->value.bytes = 0;
    return &pair->value;
}

static void set_text(struct made *m, const char *key, const char *text)
{
    put_text(pair_of(m, key, TEXT), text);
}

static void set_number(struct made *m, const char *key, uint32_t type, uint64_t value)
{
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint8_t raw[8];

    store_u64(raw, value);
    buffer_put(pair_of(m, key, type), raw, bytes[type]);
}

static void set_float(struct made *m, const char *key, float value)
{
    buffer_put(pair_of(m, key, F32), &value, sizeof value);
}

static void drop_pair(struct made *m, const char *key)
{
    struct pair *pair = m->pairs;

    while (pair < m->pairs + m->pair_count && strcmp(pair->key, key))
        pair++;
    assert_true(pair < m->pairs + m->pair_count);
    buffer_release(&pair->value);
    *pair = m->pairs[--m->pair_count];
}

static struct item *add_item(struct made *m, const char *name, uint32_t type, uint32_t rank,
                             const uint64_t *ne, const void *data, size_t bytes)
{
    struct item *item = &m->items[m->item_count++];

    assert_true(m->item_count <= TENSORS_MOST);
    *item = (struct item){.rank = rank, .type = type, .data = buffer_of(FILE_MOST)};
    snprintf(item->name, sizeof item->name, "%s", name);
    memcpy(item->ne, ne, rank * sizeof *ne);
    buffer_put(&item->data, data, bytes);
    return item;
}

static struct item *item_of(struct made *m, const char *name)
{
    for (size_t i = 0; i < m->item_count; i++)
        if (!strcmp(m->items[i].name, name))
            return &m->items[i];
    fail_msg("no %s", name);
    return NULL;
}

static void release(struct made *m)
{
    for (size_t i = 0; i < m->pair_count; i++)
        buffer_release(&m->pairs[i].value);
    for (size_t i = 0; i < m->item_count; i++)
        buffer_release(&m->items[i].data);
    free(m);
}

static uint64_t rounded(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* One behind the other, as llama.cpp wants them. */
static void place_items(struct made *m)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < m->item_count; i++) {
        m->items[i].offset = offset;
        offset = rounded(offset + m->items[i].data.bytes, m->alignment);
    }
}

static struct buffer assemble(struct made *m)
{
    struct buffer out = buffer_of(FILE_MOST);
    uint64_t end = 0;

    buffer_put(&out, "GGUF", 4);
    buffer_u32(&out, m->version);
    buffer_u64(&out, m->item_count);
    buffer_u64(&out, m->pair_count);
    for (size_t i = 0; i < m->pair_count; i++) {
        put_text(&out, m->pairs[i].key);
        buffer_u32(&out, m->pairs[i].type);
        buffer_put(&out, m->pairs[i].value.data, m->pairs[i].value.bytes);
    }
    m->infos = out.bytes;
    for (size_t i = 0; i < m->item_count; i++) {
        const struct item *item = &m->items[i];
        put_text(&out, item->name);
        buffer_u32(&out, item->rank);
        for (uint32_t k = 0; k < item->rank; k++)
            buffer_u64(&out, item->ne[k % 5]);
        buffer_u32(&out, item->type);
        buffer_u64(&out, item->offset);
        end = item->offset + item->data.bytes > end ? item->offset + item->data.bytes : end;
    }
    m->data = rounded(out.bytes, m->alignment);
    end += m->data - out.bytes;
    if (end < FILE_MOST / 2)
        memset(buffer_add(&out, end), 0xEE, end);
    for (size_t i = 0; i < m->item_count; i++)
        if (m->data + m->items[i].offset + m->items[i].data.bytes <= out.bytes)
            memcpy(out.data + m->data + m->items[i].offset, m->items[i].data.data,
                   m->items[i].data.bytes);
    assert_false(out.refused);
    return out;
}

static void write_made(struct made *m)
{
    struct buffer out = assemble(m);

    file_write(path, out.data, out.bytes);
    buffer_release(&out);
}

/* ---- What is said of it ---- */

/* Refused, as ERR_MODEL, in one line with the file's name and `part`. */
static void assert_file_refused(const char *part, const char *what)
{
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];
    struct err err = {0};
    enum err_code code = engine_fingerprint(path, fingerprint, &err);

    if (code != ERR_MODEL)
        fail_msg("%s: code %d", what, code);
    if (!strstr(err.text, path) || strchr(err.text, '\n') || (part && !strstr(err.text, part)))
        fail_msg("%s: says: %s", what, err.text);
}

static void assert_refused(struct made *m, const char *part, const char *what)
{
    write_made(m);
    assert_file_refused(part, what);
    release(m);
}

static void fingerprint_of(const char *file, uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES])
{
    struct err err = {0};

    if (engine_fingerprint(file, fingerprint, &err))
        fail_msg("%s", err.text);
}

/* It is the model of nano.safetensors. */
static void assert_is_nano(struct made *m, const char *what)
{
    uint8_t one[ENGINE_FINGERPRINT_BYTES], other[ENGINE_FINGERPRINT_BYTES];

    write_made(m);
    fingerprint_of(path, one);
    fingerprint_of(nano7, other);
    if (memcmp(one, other, sizeof one))
        fail_msg("%s: another model", what);
    release(m);
}

static struct container *open_made(struct made *m)
{
    struct container *c = NULL;
    struct err err = {0};

    write_made(m);
    if (container_open(&c, path, &err))
        fail_msg("%s", err.text);
    release(m);
    return c;
}

/* ---- The nano model of version 7 as llama.cpp's converter writes it ---- */

struct nano {
    uint8_t *file;
    json_t *header;
};

static const uint8_t *nano_data(const struct nano *n, const char *name, uint64_t *rows,
                                uint64_t *columns)
{
    const json_t *entry = json_object_get(n->header, name);
    const json_t *shape = json_object_get(entry, "shape");
    size_t rank = json_array_size(shape);

    if (!entry)
        fail_msg("no %s", name);
    *columns = (uint64_t)json_integer_value(json_array_get(shape, rank - 1));
    *rows = rank > 1 ? (uint64_t)json_integer_value(json_array_get(shape, rank - 2)) : 1;
    return n->file + 8 + load_u64(n->file) +
           json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
}

/* flat: a vector, whatever axes it has there; turned: rows and columns change places. */
static void add_nano(struct made *m, const struct nano *n, const char *gguf, const char *name,
                     bool flat, bool turned)
{
    uint64_t rows, columns;
    const uint8_t *data = nano_data(n, name, &rows, &columns);
    size_t count = (size_t)(rows * columns);
    float *values = malloc(count * sizeof *values);
    uint64_t ne[2];

    assert_non_null(values);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            memcpy(values + (turned ? c * rows + r : r * columns + c),
                   data + (r * columns + c) * sizeof *values, sizeof *values);
    ne[0] = flat ? count : turned ? rows : columns;
    ne[1] = turned ? columns : rows;
    add_item(m, gguf, 0, flat || rows == 1 ? 1 : 2, ne, values, count * sizeof *values);
    free(values);
}

struct pair_of_names {
    const char *gguf, *blinkdl;
};

static void add_layer_list(struct made *m, const struct nano *n, unsigned layer,
                           const struct pair_of_names *names, size_t count, bool flat, bool turned)
{
    for (size_t i = 0; i < count; i++) {
        char gguf[80], blinkdl[80];
        /* Layer 0 has no v: the converter writes copies of a. */
        bool copy =
            layer == 0 && !strncmp(names[i].blinkdl, "att.v", 5) && strlen(names[i].blinkdl) == 6;
        snprintf(gguf, sizeof gguf, "blk.%u.%s", layer, names[i].gguf);
        snprintf(blinkdl, sizeof blinkdl, "blocks.%u.%s", layer, names[i].blinkdl);
        if (copy)
            blinkdl[strlen("blocks.0.att.")] = 'a';
        add_nano(m, n, gguf, blinkdl, flat, turned);
    }
}

static void add_mixes(struct made *m, const struct nano *n, unsigned layer)
{
    float six[6][32];
    char name[80];

    for (int i = 0; i < 6; i++) {
        uint64_t rows, columns;
        snprintf(name, sizeof name, "blocks.%u.att.x_%c", layer, "rwkvag"[i]);
        memcpy(six[i], nano_data(n, name, &rows, &columns), sizeof six[i]);
    }
    snprintf(name, sizeof name, "blk.%u.time_mix_lerp_fused.weight", layer);
    add_item(m, name, 0, 4, (uint64_t[]){32, 1, 1, 6}, six, sizeof six);
}

static void add_nano_layer(struct made *m, const struct nano *n, unsigned layer)
{
    static const struct pair_of_names matrices[] = {
        {"attn_norm.weight", "ln1.weight"},
        {"attn_norm.bias", "ln1.bias"},
        {"attn_norm_2.weight", "ln2.weight"},
        {"attn_norm_2.bias", "ln2.bias"},
        {"time_mix_ln.weight", "att.ln_x.weight"},
        {"time_mix_ln.bias", "att.ln_x.bias"},
        {"time_mix_receptance.weight", "att.receptance.weight"},
        {"time_mix_key.weight", "att.key.weight"},
        {"time_mix_value.weight", "att.value.weight"},
        {"time_mix_output.weight", "att.output.weight"},
        {"channel_mix_key.weight", "ffn.key.weight"},
        {"channel_mix_value.weight", "ffn.value.weight"},
    };
    static const struct pair_of_names vectors[] = {
        {"time_mix_w0.weight", "att.w0"},         {"time_mix_a0.weight", "att.a0"},
        {"time_mix_v0.weight", "att.v0"},         {"time_mix_k_k.weight", "att.k_k"},
        {"time_mix_k_a.weight", "att.k_a"},       {"time_mix_r_k.weight", "att.r_k"},
        {"channel_mix_lerp_k.weight", "ffn.x_k"},
    };
    static const struct pair_of_names turned[] = {
        {"time_mix_w1.weight", "att.w1"}, {"time_mix_w2.weight", "att.w2"},
        {"time_mix_a1.weight", "att.a1"}, {"time_mix_a2.weight", "att.a2"},
        {"time_mix_v1.weight", "att.v1"}, {"time_mix_v2.weight", "att.v2"},
        {"time_mix_g1.weight", "att.g1"}, {"time_mix_g2.weight", "att.g2"},
    };

    add_layer_list(m, n, layer, matrices, sizeof matrices / sizeof *matrices, false, false);
    add_layer_list(m, n, layer, vectors, sizeof vectors / sizeof *vectors, true, false);
    add_layer_list(m, n, layer, turned, sizeof turned / sizeof *turned, false, true);
    add_mixes(m, n, layer);
}

static void set_vocabulary(struct made *m, uint64_t count)
{
    struct buffer *texts = pair_of(m, "tokenizer.ggml.tokens", ARRAY), *types;

    set_text(m, "tokenizer.ggml.model", "rwkv");
    buffer_u32(texts, TEXT);
    buffer_u64(texts, count);
    for (uint64_t i = 0; i < count; i++) {
        char text[20];
        snprintf(text, sizeof text, i ? "\\x%02x" : "<s>", (unsigned)(i - 1) & 255);
        put_text(texts, text);
    }
    types = pair_of(m, "tokenizer.ggml.token_type", ARRAY);
    buffer_u32(types, I32);
    buffer_u64(types, count);
    for (uint64_t i = 0; i < count; i++)
        buffer_u32(types, i ? 1 : 3);
}

/* An empty file of an architecture, with the keys that it must have. */
static struct made *blank(const char *architecture, uint64_t layers, uint64_t channels,
                          uint64_t head)
{
    struct made *m = calloc(1, sizeof *m);
    char key[80];

    assert_non_null(m);
    m->version = 3;
    m->alignment = 32;
    set_text(m, "general.architecture", architecture);
    snprintf(key, sizeof key, "%s.block_count", architecture);
    set_number(m, key, U32, layers);
    snprintf(key, sizeof key, "%s.embedding_length", architecture);
    set_number(m, key, U32, channels);
    snprintf(key, sizeof key, "%s.wkv.head_size", architecture);
    set_number(m, key, U32, head);
    return m;
}

static struct made *made_nano(void)
{
    static const struct pair_of_names tops[] = {
        {"token_embd.weight", "emb.weight"},
        {"token_embd_norm.weight", "blocks.0.ln0.weight"},
        {"token_embd_norm.bias", "blocks.0.ln0.bias"},
        {"output_norm.weight", "ln_out.weight"},
        {"output_norm.bias", "ln_out.bias"},
        {"output.weight", "head.weight"},
    };
    struct made *m = blank("rwkv7", 2, 32, 16);
    struct nano n;
    size_t bytes;

    n.file = file_read(nano7, &bytes);
    n.header = json_loadb((char *)n.file + 8, load_u64(n.file), 0, NULL);
    assert_non_null(n.header);
    set_text(m, "general.name", "nano");
    set_number(m, "rwkv7.context_length", U32, 1048576);
    set_number(m, "rwkv7.feed_forward_length", U32, 128);
    set_number(m, "rwkv7.attention.head_count", U32, 0);
    set_float(m, "rwkv7.attention.layer_norm_epsilon", 1e-5f);
    set_number(m, "rwkv7.attention.decay_lora_rank", U32, 8);
    set_number(m, "rwkv7.attention.iclr_lora_rank", U32, 8);
    set_number(m, "rwkv7.attention.value_residual_mix_lora_rank", U32, 8);
    set_number(m, "rwkv7.attention.gate_lora_rank", U32, 8);
    set_vocabulary(m, TOKENS);
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
        add_nano(m, &n, tops[i].gguf, tops[i].blinkdl, false, false);
    add_nano_layer(m, &n, 0);
    add_nano_layer(m, &n, 1);
    json_decref(n.header);
    free(n.file);
    place_items(m);
    return m;
}

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

/* A tensor that counts from 0. */
static void add_counting(struct made *m, const char *name, uint32_t rank, const uint64_t *ne)
{
    size_t count = 1;
    float values[640];

    for (uint32_t i = 0; i < rank; i++)
        count *= ne[i];
    assert_true(count <= 640);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)i;
    add_item(m, name, 0, rank, ne, values, count * sizeof *values);
}

/* C 8, heads of 4, R 2, D 3, F 16. */
static struct made *blank6(void)
{
    struct made *m = blank("rwkv6", 1, 8, 4);

    set_number(m, "rwkv6.time_mix_extra_dim", U32, 2);
    set_number(m, "rwkv6.time_decay_extra_dim", U32, 3);
    set_number(m, "rwkv6.feed_forward_length", U32, 16);
    add_counting(m, "blk.0.time_mix_first.weight", 2, (uint64_t[]){4, 2});
    add_counting(m, "blk.0.time_mix_lerp_x.weight", 3, (uint64_t[]){8, 1, 1});
    return m;
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

/* ---- Files that lie ---- */

/* From the end on, so that a cut is a truncation of what is there. */
static void cut_anywhere_in_its_headers_or_data_is_refused(void **unused)
{
    struct made *m = made_nano();
    struct buffer out = assemble(m);

    (void)unused;
    file_write(path, out.data, out.bytes);
    for (size_t cut = out.bytes - 1;; cut -= cut > m->data + 1009 ? 1009 : 1) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_file_refused(cut > m->infos ? "truncated" : NULL, "cut");
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
            assert_file_refused(NULL, at == 8 ? "a number of tensors" : "a number of keys");
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
        assert_file_refused(lies[i].says, lies[i].says);
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
        cmocka_unit_test(vocabularies_that_lie_are_refused),
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
    };

    return cmocka_run_group_tests(tests, make_path, drop_path);
}
