/* tests/gguf_file.h: GGUF files put together from pairs and tensors, so that each number in them can be made to lie. */
#ifndef TESTS_GGUF_FILE_H
#define TESTS_GGUF_FILE_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <fcntl.h>
#include <jansson.h>

static const char *const nano7 = NANO_DIR "/nano.safetensors";

static char path[] = "/tmp/riverrun-gguf-XXXXXX";

static inline int make_path(void **unused)
{
    (void)unused;
    close(mkstemp(path));
    return 0;
}

static inline int drop_path(void **unused)
{
    (void)unused;
    unlink(path);
    return 0;
}

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

static inline void put_text(struct buffer *out, const char *text)
{
    buffer_u64(out, strlen(text));
    buffer_put(out, text, strlen(text));
}

/* The value of a pair, empty; where there is the key already it is changed. */
static inline struct buffer *pair_of(struct made *m, const char *key, uint32_t type)
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

static inline void set_text(struct made *m, const char *key, const char *text)
{
    put_text(pair_of(m, key, TEXT), text);
}

static inline void set_number(struct made *m, const char *key, uint32_t type, uint64_t value)
{
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint8_t raw[8];

    store_u64(raw, value);
    buffer_put(pair_of(m, key, type), raw, bytes[type]);
}

static inline void set_float(struct made *m, const char *key, float value)
{
    buffer_put(pair_of(m, key, F32), &value, sizeof value);
}

static inline void drop_pair(struct made *m, const char *key)
{
    struct pair *pair = m->pairs;

    while (pair < m->pairs + m->pair_count && strcmp(pair->key, key))
        pair++;
    assert_true(pair < m->pairs + m->pair_count);
    buffer_release(&pair->value);
    *pair = m->pairs[--m->pair_count];
}

static inline struct item *add_item(struct made *m, const char *name, uint32_t type, uint32_t rank,
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

static inline struct item *item_of(struct made *m, const char *name)
{
    for (size_t i = 0; i < m->item_count; i++)
        if (!strcmp(m->items[i].name, name))
            return &m->items[i];
    fail_msg("no %s", name);
    return NULL;
}

static inline void release(struct made *m)
{
    for (size_t i = 0; i < m->pair_count; i++)
        buffer_release(&m->pairs[i].value);
    for (size_t i = 0; i < m->item_count; i++)
        buffer_release(&m->items[i].data);
    free(m);
}

static inline uint64_t rounded(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* One behind the other, as llama.cpp wants them. */
static inline void place_items(struct made *m)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < m->item_count; i++) {
        m->items[i].offset = offset;
        offset = rounded(offset + m->items[i].data.bytes, m->alignment);
    }
}

static inline struct buffer assemble(struct made *m)
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

static inline void write_made(struct made *m)
{
    struct buffer out = assemble(m);

    file_write(path, out.data, out.bytes);
    buffer_release(&out);
}

/* ---- What is said of it ---- */

static inline void assert_refused(struct made *m, const char *part, const char *what)
{
    write_made(m);
    assert_model_refused(path, part, what);
    release(m);
}

static inline void fingerprint_of(const char *file, uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES])
{
    struct err err = {0};

    if (engine_fingerprint(file, fingerprint, &err))
        fail_msg("%s", err.text);
}

/* It is the model of nano.safetensors. */
static inline void assert_is_nano(struct made *m, const char *what)
{
    uint8_t one[ENGINE_FINGERPRINT_BYTES], other[ENGINE_FINGERPRINT_BYTES];

    write_made(m);
    fingerprint_of(path, one);
    fingerprint_of(nano7, other);
    if (memcmp(one, other, sizeof one))
        fail_msg("%s: another model", what);
    release(m);
}

static inline struct container *open_made(struct made *m)
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

static inline const uint8_t *nano_data(const struct nano *n, const char *name, uint64_t *rows,
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
static inline void add_nano(struct made *m, const struct nano *n, const char *gguf,
                            const char *name, bool flat, bool turned)
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

static inline void add_layer_list(struct made *m, const struct nano *n, unsigned layer,
                                  const struct pair_of_names *names, size_t count, bool flat,
                                  bool turned)
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

static inline void add_mixes(struct made *m, const struct nano *n, unsigned layer)
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

static inline void add_nano_layer(struct made *m, const struct nano *n, unsigned layer)
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

static inline void set_vocabulary(struct made *m, uint64_t count)
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
static inline struct made *blank(const char *architecture, uint64_t layers, uint64_t channels,
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

static inline struct made *made_nano(void)
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

/* A tensor that counts from 0. */
static inline void add_counting(struct made *m, const char *name, uint32_t rank, const uint64_t *ne)
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
static inline struct made *blank6(void)
{
    struct made *m = blank("rwkv6", 1, 8, 4);

    set_number(m, "rwkv6.time_mix_extra_dim", U32, 2);
    set_number(m, "rwkv6.time_decay_extra_dim", U32, 3);
    set_number(m, "rwkv6.feed_forward_length", U32, 16);
    add_counting(m, "blk.0.time_mix_first.weight", 2, (uint64_t[]){4, 2});
    add_counting(m, "blk.0.time_mix_lerp_x.weight", 3, (uint64_t[]){8, 1, 1});
    return m;
}

#endif
