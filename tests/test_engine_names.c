/* tests/test_engine_names.c: one random model of each version, written as every program writes it, is
 * one model: the same fingerprint where types and bytes agree, the same logits where they do not. */
#include "schemas/bytes.h"
#include "tests/engine_help.h"

#include <sys/stat.h>

/* ---- A model as BlinkDL keeps it: tensors of float32 in the order they were made. ---- */

enum { ITEMS_MAX = 200, LAYERS = 2, CHANNELS = 32, HEAD = 8, HEADS = 4, FFN = 48, VOCAB = 20 };

struct item {
    char name[96];
    unsigned rank;
    uint64_t shape[4];
    size_t count;
    float *values;
};

struct set {
    struct item items[ITEMS_MAX];
    size_t count;
    uint64_t seed;
};

static struct item *add(struct set *set, const char *name, unsigned rank, uint64_t a, uint64_t b,
                        uint64_t c)
{
    struct item *item = &set->items[set->count++];

    assert_true(set->count <= ITEMS_MAX);
    *item = (struct item){.rank = rank, .shape = {a, b, c}};
    snprintf(item->name, sizeof item->name, "%s", name);
    item->count = a * (rank > 1 ? b : 1) * (rank > 2 ? c : 1);
    item->values = malloc(item->count * sizeof *item->values);
    assert_non_null(item->values);
    for (size_t i = 0; i < item->count; i++)
        item->values[i] = (float)(int32_t)next_random(&set->seed) * 0x1p-32F;
    return item;
}

/* In layer: names end with the rest, which may hold several behind one stem ("ln1.=weight bias"). */
static void add_layer(struct set *set, unsigned layer, const char *stem, const char *const *ends,
                      unsigned rank, uint64_t a, uint64_t b, uint64_t c)
{
    char name[96];

    for (; *ends; ends++) {
        snprintf(name, sizeof name, "blocks.%u.%s%s", layer, stem, *ends);
        add(set, name, rank, a, b, c);
    }
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void add_norm(struct set *set, unsigned layer, const char *stem)
{
    add_layer(set, layer, stem, NAMES(".weight", ".bias"), 1, CHANNELS, 0, 0);
}

static void add_4_5(struct set *set, unsigned layer, unsigned version, bool gate)
{
    uint64_t C = CHANNELS;

    add_layer(set, layer, "att.time_mix_", NAMES("k", "v", "r"), 3, 1, 1, C);
    add_layer(set, layer, "ffn.time_mix_", NAMES("k", "r"), 3, 1, 1, C);
    if (version == 4) {
        add_layer(set, layer, "att.time_", NAMES("decay", "first"), 1, C, 0, 0);
    } else if (gate) {
        add_layer(set, layer, "att.time_", NAMES("decay", "faaaa"), 2, HEADS, HEAD, 0);
        add_layer(set, layer, "att.time_mix_", NAMES("g"), 3, 1, 1, C);
    } else {
        add_layer(set, layer, "att.time_", NAMES("decay", "first"), 1, HEADS, 0, 0);
    }
}

static void add_6(struct set *set, unsigned layer)
{
    uint64_t C = CHANNELS, R = 5, D = 6;

    add_layer(set, layer, "att.time_maa_", NAMES("x", "w", "k", "v", "r", "g"), 3, 1, 1, C);
    add_layer(set, layer, "att.time_maa_w1", NAMES(""), 2, C, 5 * R, 0);
    add_layer(set, layer, "att.time_maa_w2", NAMES(""), 3, 5, R, C);
    add_layer(set, layer, "att.time_decay", NAMES(""), 3, 1, 1, C);
    add_layer(set, layer, "att.time_decay_w1", NAMES(""), 2, C, D, 0);
    add_layer(set, layer, "att.time_decay_w2", NAMES(""), 2, D, C, 0);
    add_layer(set, layer, "att.time_faaaa", NAMES(""), 2, HEADS, HEAD, 0);
    add_layer(set, layer, "ffn.time_maa_", NAMES("k", "r"), 3, 1, 1, C);
}

static void add_7(struct set *set, unsigned layer)
{
    static const char letters[] = "wavg";
    uint64_t C = CHANNELS;

    add_layer(set, layer, "att.x_", NAMES("r", "w", "k", "v", "a", "g"), 3, 1, 1, C);
    add_layer(set, layer, "ffn.x_k", NAMES(""), 3, 1, 1, C);
    add_layer(set, layer, "att.k_", NAMES("k", "a"), 3, 1, 1, C);
    add_layer(set, layer, "att.r_k", NAMES(""), 2, HEADS, HEAD, 0);
    for (unsigned i = 0; i < 4; i++) {
        char stem[] = "att._";
        stem[4] = letters[i];
        if (letters[i] != 'g')
            add_layer(set, layer, stem, NAMES("0"), 3, 1, 1, C);
        add_layer(set, layer, stem, NAMES("1"), 2, C, 3 + i, 0);
        add_layer(set, layer, stem, NAMES("2"), 2, 3 + i, C, 0);
    }
}

static struct set *make(unsigned version, bool gate)
{
    struct set *set = calloc(1, sizeof *set);
    uint64_t C = CHANNELS;

    assert_non_null(set);
    set->seed = version;
    add(set, "emb.weight", 2, VOCAB, C, 0);
    add_norm(set, 0, "ln0");
    for (unsigned layer = 0; layer < LAYERS; layer++) {
        add_norm(set, layer, "ln1");
        add_norm(set, layer, "ln2");
        add_layer(set, layer, "att.",
                  NAMES("receptance.weight", "key.weight", "value.weight", "output.weight"), 2, C,
                  C, 0);
        add_layer(set, layer, "ffn.key.weight", NAMES(""), 2, FFN, C, 0);
        add_layer(set, layer, "ffn.value.weight", NAMES(""), 2, C, FFN, 0);
        if (version != 4)
            add_norm(set, layer, "att.ln_x");
        if (version != 7)
            add_layer(set, layer, "ffn.receptance.weight", NAMES(""), 2, C, C, 0);
        if (gate)
            add_layer(set, layer, "att.gate.weight", NAMES(""), 2, C, C, 0);
        if (version < 6)
            add_4_5(set, layer, version, gate);
        else if (version == 6)
            add_6(set, layer);
        else
            add_7(set, layer);
    }
    add(set, "ln_out.weight", 1, C, 0, 0);
    add(set, "ln_out.bias", 1, C, 0, 0);
    add(set, "head.weight", 2, VOCAB, C, 0);
    return set;
}

static void drop(struct set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->items[i].values);
    free(set);
}

/* ---- What other programs make of it. ---- */

static bool ends(const char *name, const char *end)
{
    size_t bytes = strlen(name), wanted = strlen(end);

    return bytes >= wanted && !strcmp(name + bytes - wanted, end);
}

/* Replace `from` by `to` in all names that have it; with_end, only at their end. */
static void rename_all(struct set *set, const char *from, const char *to, bool at_end)
{
    for (size_t i = 0; i < set->count; i++) {
        char old[96], *name = set->items[i].name, *at;
        snprintf(old, sizeof old, "%s", name);
        at = at_end && ends(old, from) ? old + strlen(old) - strlen(from) : strstr(old, from);
        if (at && (!at_end || ends(old, from)))
            snprintf(name, sizeof old, "%.*s%s%.30s", (int)(at - old), old, to, at + strlen(from));
    }
}

static void transpose(struct item *item)
{
    unsigned last = item->rank - 1;
    uint64_t rows = item->shape[last - 1], columns = item->shape[last];
    float *turned = malloc(item->count * sizeof *turned);

    assert_non_null(turned);
    for (size_t i = 0; i < item->count; i++) {
        size_t page = i / (rows * columns), at = i % (rows * columns);
        turned[page * rows * columns + at % columns * rows + at / columns] = item->values[i];
    }
    free(item->values);
    item->values = turned;
    item->shape[last - 1] = columns;
    item->shape[last] = rows;
}

static void transpose_pairs(struct set *set)
{
    static const char *const pairs[] = {
        "time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2", "att.w1", "att.w2",
        "att.a1",      "att.a2",      "att.v1",        "att.v2",        "att.g1", "att.g2"};

    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
            if (ends(set->items[i].name, pairs[k]))
                transpose(&set->items[i]);
}

static struct item *find(struct set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (!strcmp(set->items[i].name, name))
            return &set->items[i];
    fail_msg("no %s", name);
    return NULL;
}

static void take_out(struct set *set, const char *name)
{
    struct item *item = find(set, name);

    free(item->values);
    *item = set->items[--set->count];
}

/* The six mixes of every layer as one tensor: rwkv.cpp's [6, 1, C], old fla's [6, 1, 1, C]. */
static void stack_mixes(struct set *set, const char *to, unsigned rank)
{
    for (unsigned layer = 0; layer < LAYERS; layer++) {
        char name[96];
        struct item *whole;
        snprintf(name, sizeof name, "blocks.%u.att.%s", layer, to);
        whole = add(set, name, 3, 6, 1, CHANNELS);
        for (unsigned i = 0; i < 6; i++) {
            snprintf(name, sizeof name, "blocks.%u.att.x_%c", layer, "rwkvag"[i]);
            memcpy(whole->values + (size_t)i * CHANNELS, find(set, name)->values,
                   CHANNELS * sizeof(float));
        }
        whole->rank = rank;
        whole->shape[rank - 2] = 1;
        whole->shape[rank - 1] = CHANNELS;
        for (unsigned i = 0; i < 6; i++) {
            snprintf(name, sizeof name, "blocks.%u.att.x_%c", layer, "rwkvag"[i]);
            take_out(set, name);
        }
    }
}

/* [a, b, c] without its ones, as rwkv.cpp's converter squeezes whatever is called .time_ */
static void squeeze(struct item *item)
{
    unsigned rank = 0;

    for (unsigned i = 0; i < item->rank; i++)
        if (item->shape[i] > 1)
            item->shape[rank++] = item->shape[i];
    item->rank = rank;
}

static void to_transformers(struct set *set)
{
    rename_all(set, "blocks.", "rwkv.blocks.", false);
    rename_all(set, "emb.weight", "rwkv.embeddings.weight", true);
    rename_all(set, "ln_out.", "rwkv.ln_out.", false);
    rename_all(set, ".ln0.", ".pre_ln.", false);
    rename_all(set, ".att.", ".attention.", false);
    rename_all(set, ".ffn.", ".feed_forward.", false);
    rename_all(set, ".time_mix_k", ".time_mix_key", true);
    rename_all(set, ".time_mix_v", ".time_mix_value", true);
    rename_all(set, ".time_mix_r", ".time_mix_receptance", true);
    rename_all(set, ".time_mix_g", ".time_mix_gate", true);
}

static void to_fla(struct set *set)
{
    static const char *const projections[][2] = {{".att.receptance.", ".attn.r_proj."},
                                                 {".att.key.", ".attn.k_proj."},
                                                 {".att.value.", ".attn.v_proj."},
                                                 {".att.output.", ".attn.o_proj."},
                                                 {".att.ln_x.", ".attn.g_norm."},
                                                 {".att.", ".attn."},
                                                 {".ln0.", ".pre_norm."},
                                                 {".ln1.", ".attn_norm."},
                                                 {".ln2.", ".ffn_norm."},
                                                 {"ln_out.", "model.norm."},
                                                 {"head.weight", "lm_head.weight"},
                                                 {"emb.weight", "model.embeddings.weight"},
                                                 {"blocks.", "model.layers."}};

    transpose_pairs(set);
    for (unsigned i = 0; i < 3; i++)
        take_out(set,
                 (const char *const[]){"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"}[i]);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const to[] = {"_lora.lora.2.bias", "_lora.lora.0.weight",
                                         "_lora.lora.2.weight"};
        for (unsigned k = 0; k < 3; k++) {
            char from[] = ".att._0", name[40];
            from[5] = "wavg"[i];
            from[6] = (char)('0' + k);
            snprintf(name, sizeof name, ".att.%c%s", "wavg"[i], to[k]);
            rename_all(set, from, name, true);
        }
    }
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++)
        rename_all(set, projections[i][0], projections[i][1], false);
}

static void to_old_fla(struct set *set)
{
    stack_mixes(set, "x_x", 4);
    to_fla(set);
}

static void to_web(struct set *set)
{
    transpose_pairs(set);
    rename_all(set, "time_faaaa", "time_first", false);
    rename_all(set, "time_maa", "time_mix", false);
}

static void to_cpp(struct set *set)
{
    bool seven = false;

    transpose_pairs(set);
    for (size_t i = 0; i < set->count; i++) {
        struct item *item = &set->items[i];
        seven = seven || ends(item->name, "r_k");
        if (strstr(item->name, ".time_"))
            squeeze(item);
        if (ends(item->name, "time_faaaa") ||
            (ends(item->name, "time_decay") && strstr(item->name, "att."))) {
            item->rank = 3;
            item->shape[0] = HEADS;
            item->shape[1] = HEAD;
            item->shape[2] = 1;
        }
    }
    if (seven)
        stack_mixes(set, "x_rwkvag", 3);
}

/* Version 4: decay as -exp(raw). */
static void to_cpp4(struct set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        struct item *item = &set->items[i];
        if (strstr(item->name, ".time_"))
            squeeze(item);
        for (size_t k = 0; k < item->count && ends(item->name, ".time_decay"); k++)
            item->values[k] = -expf(item->values[k]);
    }
}

static void to_blinkdl(struct set *set)
{
    (void)set;
}

/* ---- Files ---- */

static char folder[] = "/tmp/riverrun-names-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[sizeof folder + 60];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void append(struct buffer *out, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_put(out, text, strlen(text));
}

static void append_shape(struct buffer *out, const struct item *item)
{
    for (unsigned i = 0; i < item->rank; i++)
        append(out, "%s%llu", i ? "," : "", (unsigned long long)item->shape[i]);
}

/* Every `step`th tensor from `first` on. */
static void write_some(const struct set *set, const char *name, size_t first, size_t step)
{
    struct buffer header = buffer_of(1 << 20), out = buffer_of(1 << 24);
    size_t at = 0;

    for (size_t i = first; i < set->count; i += step) {
        const struct item *item = &set->items[i];
        append(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", at ? "," : "{", item->name);
        append_shape(&header, item);
        append(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + 4 * item->count);
        at += 4 * item->count;
    }
    append(&header, "}");
    buffer_u64(&out, header.bytes);
    buffer_put(&out, header.data, header.bytes);
    for (size_t i = first; i < set->count; i += step)
        buffer_put(&out, set->items[i].values, 4 * set->items[i].count);
    assert_false(header.refused || out.refused);
    file_write(path_of(name), out.data, out.bytes);
    buffer_release(&header);
    buffer_release(&out);
}

static void write_safe(const struct set *set, const char *name)
{
    write_some(set, name, 0, 1);
}

static void write_cpp(const struct set *set, const char *name)
{
    const uint32_t header[] = {0x67676D66, 101, VOCAB, CHANNELS, LAYERS, 0};
    struct buffer out = buffer_of(1 << 24);

    for (size_t i = 0; i < 6; i++)
        buffer_u32(&out, header[i]);
    for (size_t i = 0; i < set->count; i++) {
        const struct item *item = &set->items[i];
        buffer_u32(&out, item->rank);
        buffer_u32(&out, (uint32_t)strlen(item->name));
        buffer_u32(&out, 0);
        for (unsigned k = item->rank; k-- > 0;)
            buffer_u32(&out, (uint32_t)item->shape[k]);
        buffer_put(&out, item->name, strlen(item->name));
        buffer_put(&out, item->values, 4 * item->count);
    }
    assert_false(out.refused);
    file_write(path_of(name), out.data, out.bytes);
    buffer_release(&out);
}

/* ---- What a file is, and what it says. ---- */

static void must_fingerprint(const char *name, uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES])
{
    struct err err = {0};

    if (engine_fingerprint(path_of(name), fingerprint, &err))
        fail_msg("%s: %s", name, err.text);
}

static void assert_refused(const char *name, const char *part)
{
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];
    struct err err = {0};
    enum err_code code = engine_fingerprint(path_of(name), fingerprint, &err);

    if ((code != ERR_MODEL && code != ERR_SOURCE) || strchr(err.text, '\n') ||
        !strstr(err.text, part))
        fail_msg("%s: code %d: %s", name, code, err.text);
}

static void logits_of(const char *name, float logits[VOCAB])
{
    static const uint32_t tokens[] = {0, 7, 3, 3, 19, 11};
    struct engine *engine = engine_of(path_of(name), &(struct engine_options){.threads = 1});
    struct engine_state *state = state_of(engine);
    struct engine_job job = {.state = state, .tokens = tokens, .count = 6, .logits = logits};

    must_run(engine, &job);
    engine_state_close(&state);
    engine_close(&engine);
}

static const struct dialect {
    const char *what;
    unsigned version;
    bool gate;
    void (*turn)(struct set *set);
    void (*write)(const struct set *set, const char *name);
} dialects[] = {
    {"transformers 4", 4, false, to_transformers, write_safe},
    {"transformers 5.1", 5, false, to_transformers, write_safe},
    {"transformers 5.2", 5, true, to_transformers, write_safe},
    {"transformers 6", 6, true, to_transformers, write_safe},
    {"web-rwkv 5.2", 5, true, to_web, write_safe},
    {"web-rwkv 6", 6, true, to_web, write_safe},
    {"web-rwkv 7", 7, false, to_web, write_safe},
    {"fla 7", 7, false, to_fla, write_safe},
    {"fla 7, old", 7, false, to_old_fla, write_safe},
    {"rwkv.cpp 6", 6, true, to_cpp, write_cpp},
    {"rwkv.cpp 7", 7, false, to_cpp, write_cpp},
};

static void written(const struct dialect *dialect, const char *name)
{
    struct set *set = make(dialect->version, dialect->gate);

    dialect->turn(set);
    dialect->write(set, name);
    drop(set);
}

static void every_naming_of_a_model_has_the_fingerprint_of_blinkdls(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        struct dialect plain = dialects[i];
        uint8_t here[ENGINE_FINGERPRINT_BYTES], there[ENGINE_FINGERPRINT_BYTES];
        plain.turn = to_blinkdl;
        plain.write = write_safe;
        written(&plain, "plain.safetensors");
        written(&dialects[i], "model");
        must_fingerprint("plain.safetensors", here);
        must_fingerprint("model", there);
        if (memcmp(here, there, sizeof here))
            fail_msg("%s: another fingerprint", dialects[i].what);
    }
}

static void every_naming_of_a_model_gives_the_same_logits(void **unused)
{
    float here[VOCAB], there[VOCAB];

    (void)unused;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        struct dialect plain = dialects[i];
        plain.turn = to_blinkdl;
        plain.write = write_safe;
        written(&plain, "plain.safetensors");
        written(&dialects[i], "model");
        logits_of("plain.safetensors", here);
        logits_of("model", there);
        assert_true(isfinite(here[0]) && here[0] != here[1]);
        if (memcmp(here, there, sizeof here))
            fail_msg("%s: other logits", dialects[i].what);
    }
}

/* The same numbers as doubles. */
static void write_doubles(const struct set *set, const char *name)
{
    struct buffer header = buffer_of(1 << 20), out = buffer_of(1 << 24);
    size_t at = 0;

    for (size_t i = 0; i < set->count; i++) {
        append(&header, "%s\"%s\":{\"dtype\":\"F64\",\"shape\":[", at ? "," : "{",
               set->items[i].name);
        append_shape(&header, &set->items[i]);
        append(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + 8 * set->items[i].count);
        at += 8 * set->items[i].count;
    }
    append(&header, "}");
    buffer_u64(&out, header.bytes);
    buffer_put(&out, header.data, header.bytes);
    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; k < set->items[i].count; k++) {
            double value = set->items[i].values[k];
            buffer_put(&out, &value, sizeof value);
        }
    assert_false(header.refused || out.refused);
    file_write(path_of(name), out.data, out.bytes);
    buffer_release(&header);
    buffer_release(&out);
}

static void doubles_are_another_model_with_the_same_logits(void **unused)
{
    struct set *set = make(6, true);
    uint8_t prints[2][ENGINE_FINGERPRINT_BYTES];
    float here[VOCAB], there[VOCAB];

    (void)unused;
    write_safe(set, "plain.safetensors");
    write_doubles(set, "model");
    drop(set);
    must_fingerprint("plain.safetensors", prints[0]);
    must_fingerprint("model", prints[1]);
    assert_memory_not_equal(prints[0], prints[1], sizeof prints[0]);
    logits_of("plain.safetensors", here);
    logits_of("model", there);
    assert_memory_equal(here, there, sizeof here);
}

static void a_decay_that_is_done_is_another_tensor_with_the_same_logits(void **unused)
{
    const struct dialect plain = {"", 4, false, to_blinkdl, write_safe};
    const struct dialect done = {"", 4, false, to_cpp4, write_cpp};
    uint8_t prints[2][ENGINE_FINGERPRINT_BYTES];
    float here[VOCAB], there[VOCAB];

    (void)unused;
    written(&plain, "plain.safetensors");
    written(&done, "model");
    must_fingerprint("plain.safetensors", prints[0]);
    must_fingerprint("model", prints[1]);
    assert_memory_not_equal(prints[0], prints[1], sizeof prints[0]);
    logits_of("plain.safetensors", here);
    logits_of("model", there);
    for (int i = 0; i < VOCAB; i++)
        assert_true(fabsf(here[i] - there[i]) <= 1e-5F);
}

/* ---- Shards and folders ---- */

enum { SHARDS = 3 };

static void write_index(const struct set *set, const char *name, const char *extra)
{
    struct buffer out = buffer_of(1 << 20);

    append(&out, "{\"metadata\":{},\"weight_map\":{%s", extra);
    for (size_t i = 0; i < set->count; i++)
        append(&out, "%s\"%s\":\"shard%zu.safetensors\"", i ? "," : "", set->items[i].name,
               i % SHARDS);
    append(&out, "}}");
    assert_false(out.refused);
    file_write(path_of(name), out.data, out.bytes);
    buffer_release(&out);
}

static struct set *write_shards(void)
{
    struct set *set = make(7, false);

    write_safe(set, "plain.safetensors");
    to_fla(set);
    for (size_t i = 0; i < SHARDS; i++) {
        char name[40];
        snprintf(name, sizeof name, "shard%zu.safetensors", i);
        write_some(set, name, i, SHARDS);
    }
    write_index(set, "model.safetensors.index.json", "");
    return set;
}

static void shards_are_the_model_they_were_cut_from(void **unused)
{
    uint8_t whole[ENGINE_FINGERPRINT_BYTES], cut[ENGINE_FINGERPRINT_BYTES];
    float here[VOCAB], there[VOCAB];

    (void)unused;
    drop(write_shards());
    must_fingerprint("plain.safetensors", whole);
    must_fingerprint("model.safetensors.index.json", cut);
    assert_memory_equal(whole, cut, sizeof cut);
    logits_of("plain.safetensors", here);
    logits_of("model.safetensors.index.json", there);
    assert_memory_equal(here, there, sizeof here);
}

static void an_index_that_disagrees_with_its_files_is_refused(void **unused)
{
    struct set *set = write_shards();

    (void)unused;
    write_index(set, "index.json", "\"more\":\"shard0.safetensors\",");
    assert_refused("index.json", "tensor 'more' is not in the shard 'shard0.safetensors'");
    write_index(set, "index.json", "\"more\":\"../shard0.safetensors\",");
    assert_refused("index.json", "the shard of tensor 'more' is no name of a file");
    write_index(set, "index.json", "\"more\":4,");
    assert_refused("index.json", "the shard of tensor 'more' is no name of a file");
    write_index(set, "index.json", "\"more\":\"shard9.safetensors\",");
    assert_refused("index.json", "shard9.safetensors");
    write_index(set, "index.json", "\"more\":\"index.json\",");
    assert_refused("index.json", "index.json");
    file_write(path_of("index.json"), "{\"weight_map\":{}}", 17);
    assert_refused("index.json", "names 0 files");
    /* A tensor that the index has in another file; then one that it has nowhere. */
    write_some(set, "shard1.safetensors", 0, SHARDS);
    assert_refused("model.safetensors.index.json", "which the index has in shard0.safetensors");
    add(set, "stranger", 1, 2, 0, 0);
    write_some(set, "shard1.safetensors", set->count - 1, SHARDS);
    assert_refused("model.safetensors.index.json", "'stranger', which the index has nowhere");
    file_write(path_of("shard1.safetensors"), "fmgg and more", 13);
    assert_refused("model.safetensors.index.json", "no safetensors file, but rwkv.cpp");
    drop(set);
}

static void a_folder_says_which_file_to_name(void **unused)
{
    (void)unused;
    drop(write_shards());
    assert_refused("", "a folder: name the file 'model.safetensors.index.json'");
    unlink(path_of("model.safetensors.index.json"));
    assert_refused("", "a folder: name the file 'plain.safetensors'");
    assert_int_equal(mkdir(path_of("empty"), 0700), 0);
    assert_refused("empty", "a folder, and no model in it");
    assert_int_equal(rmdir(path_of("empty")), 0);
    file_write(path_of("config.json"), "{\"model_type\":\"rwkv7\"}", 22);
    assert_refused("config.json", "JSON that describes a model");
    file_write(path_of("config.json"), "{\"model_type\":", 14);
    assert_refused("config.json", "is not JSON");
    unlink(path_of("config.json"));
}

/* ---- Refusals ---- */

static void a_hybrid_is_refused_by_its_config_or_its_tensors(void **unused)
{
    static const char hybrid[] = "{\"attn\":{\"layers\":[1],\"num_heads\":4}}",
                      pure[] = "{\"attn\":null}";
    struct set *set = make(7, false);
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];

    (void)unused;
    to_fla(set);
    write_safe(set, "model.safetensors");
    file_write(path_of("config.json"), hybrid, sizeof hybrid - 1);
    assert_refused("model.safetensors", "a hybrid");
    file_write(path_of("config.json"), pure, sizeof pure - 1);
    must_fingerprint("model.safetensors", fingerprint);
    unlink(path_of("config.json"));
    add(set, "model.layers.1.attn.q_proj.weight", 2, CHANNELS, CHANNELS, 0);
    write_safe(set, "model.safetensors");
    assert_refused("model.safetensors", "hybrid");
    drop(set);
}

static void a_5_1_of_web_rwkv_is_refused_since_it_does_not_say_what_time_first_is(void **unused)
{
    struct set *set = make(5, false);

    (void)unused;
    write_safe(set, "model.st");
    assert_refused("model.st", "RWKV-5.1 as web-rwkv writes it");
    drop(set);
}

static void descendants_are_refused_by_name(void **unused)
{
    static const char *const strangers[][2] = {
        {"blocks.0.ffn.s_emb.weight", "RWKV-7a"},
        {"blocks.1.ffn.s0", "RWKV-7a"},
        {"blocks.1.ffn.s1", "RWKV-7a"},
        {"blocks.0.qkv.q.weight", "RWKV-7b"},
        {"blocks.0.ffn.enn.weight", "RWKV-8"},
        {"blocks.1.rosa.k", "ROSA"},
        {"blocks.1.att.key.weight_mx", "converted by the ChatRWKV package"},
        {"blocks.1.att.more", "'blocks.1.att.more' does not belong to RWKV-7"},
        {"blocks.2.att.x_r", "'blocks.2.att.x_r' does not belong to RWKV-7"},
        {"blocks.01.att.x_r", "'blocks.01.att.x_r' does not belong to RWKV-7"}};

    (void)unused;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct set *set = make(7, false);
        add(set, strangers[i][0], 1, CHANNELS, 0, 0);
        write_safe(set, "model.safetensors");
        assert_refused("model.safetensors", strangers[i][1]);
        drop(set);
    }
}

static void two_spellings_of_one_tensor_are_one_too_many(void **unused)
{
    struct set *set = make(7, false);

    (void)unused;
    to_fla(set);
    add(set, "blocks.1.ln1.weight", 1, CHANNELS, 0, 0);
    write_safe(set, "model.safetensors");
    assert_refused("model.safetensors", "'blocks.1.ln1.weight' is there twice");
    drop(set);
}

static void a_missing_tensor_is_named_with_whose_name_it_is(void **unused)
{
    struct set *set = make(7, false);

    (void)unused;
    to_fla(set);
    take_out(set, "model.layers.1.attn.g_norm.bias");
    write_safe(set, "model.safetensors");
    assert_refused("model.safetensors", "tensor 'blocks.1.att.ln_x.bias' is missing (that is "
                                        "BlinkDL's name, the file has the fla library's)");
    drop(set);
}

/* A whole of a wrong count, or whose parts would cut blocks. */
static void a_tensor_that_cannot_be_split_is_refused(void **unused)
{
    struct set *set = make(7, false);

    (void)unused;
    add(set, "blocks.1.att.x_rwkvag", 2, 5, CHANNELS, 0);
    write_safe(set, "model.safetensors");
    assert_refused("model.safetensors", "'blocks.1.att.x_rwkvag' does not hold 6 parts");
    drop(set);
}

static int make_folder(void **unused)
{
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **unused)
{
    static const char *const names[] = {"plain.safetensors",
                                        "model",
                                        "model.safetensors",
                                        "model.st",
                                        "index.json",
                                        "shard0.safetensors",
                                        "shard1.safetensors",
                                        "shard2.safetensors",
                                        "model.safetensors.index.json"};

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_naming_of_a_model_has_the_fingerprint_of_blinkdls),
        cmocka_unit_test(every_naming_of_a_model_gives_the_same_logits),
        cmocka_unit_test(doubles_are_another_model_with_the_same_logits),
        cmocka_unit_test(a_decay_that_is_done_is_another_tensor_with_the_same_logits),
        cmocka_unit_test(shards_are_the_model_they_were_cut_from),
        cmocka_unit_test(an_index_that_disagrees_with_its_files_is_refused),
        cmocka_unit_test(a_folder_says_which_file_to_name),
        cmocka_unit_test(a_hybrid_is_refused_by_its_config_or_its_tensors),
        cmocka_unit_test(a_5_1_of_web_rwkv_is_refused_since_it_does_not_say_what_time_first_is),
        cmocka_unit_test(descendants_are_refused_by_name),
        cmocka_unit_test(two_spellings_of_one_tensor_are_one_too_many),
        cmocka_unit_test(a_missing_tensor_is_named_with_whose_name_it_is),
        cmocka_unit_test(a_tensor_that_cannot_be_split_is_refused),
    };

    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
