/* What a file says of its tensors, past the container: names, types and shapes are fuzzed, and put into a
 * file that is otherwise in order, so that renaming, turning, the version and its table see them.
 *
 *     u8 container: 0 safetensors, else rwkv.cpp | u8 vocab | u8 channels | u8 layers | u8 what data is
 *     then tensors:  u8 stem | u8 end | [u8 length, text] | u8 type x 4 + rank - 1 | u8 dims[rank]
 *
 * A stem or an end past its list means the text that follows. A dim over 64 is 32 times what is over. */
#include "engine/model.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { TENSORS_MOST = 256, DATA_MOST = 1 << 16, FILE_MOST = 1 << 18, NAME_MOST = 100 };

/* ---- What model_open needs and what only forward would call. ---- */

static void same(float *y, const float *x, size_t count)
{
    memmove(y, x, count * sizeof *y);
}

enum err_code kernels_init(struct kernels *kernels, const char *isa, const char *blas,
                           struct err *err)
{
    (void)isa, (void)blas, (void)err;
    *kernels = (struct kernels){.isa = "ref", .blas = "ref", .exp = same};
    return ERR_OK;
}

void product_close(struct product **product)
{
    require(*product == NULL);
}

void product_run(const struct product *product, const float *x, size_t rows, size_t x_stride,
                 float *y, size_t y_stride, void *room)
{
    (void)product, (void)x, (void)rows, (void)x_stride, (void)y, (void)y_stride, (void)room;
    require(false);
}

size_t product_parts(const struct product *product)
{
    require(product);
    return 0;
}

void product_begin(const struct product *product, const float *x, size_t rows, size_t x_stride,
                   void *room)
{
    (void)product, (void)x, (void)rows, (void)x_stride, (void)room;
    require(false);
}

void product_part(const struct product *product, size_t part, const float *x, size_t rows,
                  size_t x_stride, float *y, size_t y_stride, const void *room)
{
    (void)part, (void)y, (void)y_stride;
    product_begin(product, x, rows, x_stride, (void *)room);
}

size_t product_outputs(const struct product *product)
{
    require(product);
    return 0;
}

size_t product_inputs(const struct product *product)
{
    require(product);
    return 0;
}

/* ---- Names ---- */

static const char *const stems[] = {"",
                                    "blocks.0.",
                                    "blocks.1.",
                                    "rwkv.blocks.0.",
                                    "rwkv.blocks.1.",
                                    "model.layers.0.",
                                    "model.layers.1.",
                                    "blocks.00.",
                                    "rwkv.",
                                    "model."};

static const char *const ends[] = {"emb.weight",
                                   "head.weight",
                                   "ln_out.weight",
                                   "ln_out.bias",
                                   "ln0.weight",
                                   "ln0.bias",
                                   "ln1.weight",
                                   "ln1.bias",
                                   "ln2.weight",
                                   "ln2.bias",
                                   "att.ln_x.weight",
                                   "att.ln_x.bias",
                                   "att.receptance.weight",
                                   "att.key.weight",
                                   "att.value.weight",
                                   "att.gate.weight",
                                   "att.output.weight",
                                   "ffn.key.weight",
                                   "ffn.value.weight",
                                   "ffn.receptance.weight",
                                   "att.time_decay",
                                   "att.time_first",
                                   "att.time_faaaa",
                                   "att.time_mix_k",
                                   "att.time_mix_v",
                                   "att.time_mix_r",
                                   "att.time_mix_g",
                                   "ffn.time_mix_k",
                                   "ffn.time_mix_r",
                                   "att.time_maa_x",
                                   "att.time_maa_w",
                                   "att.time_maa_k",
                                   "att.time_maa_v",
                                   "att.time_maa_r",
                                   "att.time_maa_g",
                                   "att.time_maa_w1",
                                   "att.time_maa_w2",
                                   "att.time_decay_w1",
                                   "att.time_decay_w2",
                                   "ffn.time_maa_k",
                                   "ffn.time_maa_r",
                                   "att.x_r",
                                   "att.x_w",
                                   "att.x_k",
                                   "att.x_v",
                                   "att.x_a",
                                   "att.x_g",
                                   "att.x_rwkvag",
                                   "att.w0",
                                   "att.w1",
                                   "att.w2",
                                   "att.a0",
                                   "att.a1",
                                   "att.a2",
                                   "att.v0",
                                   "att.v1",
                                   "att.v2",
                                   "att.g1",
                                   "att.g2",
                                   "att.k_k",
                                   "att.k_a",
                                   "att.r_k",
                                   "ffn.x_k",
                                   "att.time_state",
                                   "embeddings.weight",
                                   "pre_ln.weight",
                                   "pre_ln.bias",
                                   "attention.key.weight",
                                   "attention.value.weight",
                                   "attention.receptance.weight",
                                   "attention.gate.weight",
                                   "attention.output.weight",
                                   "attention.ln_x.weight",
                                   "attention.ln_x.bias",
                                   "attention.time_decay",
                                   "attention.time_first",
                                   "attention.time_faaaa",
                                   "attention.time_mix_key",
                                   "attention.time_mix_value",
                                   "attention.time_mix_receptance",
                                   "attention.time_mix_gate",
                                   "feed_forward.key.weight",
                                   "feed_forward.value.weight",
                                   "feed_forward.receptance.weight",
                                   "feed_forward.time_mix_key",
                                   "feed_forward.time_mix_receptance",
                                   "norm.weight",
                                   "norm.bias",
                                   "lm_head.weight",
                                   "pre_norm.weight",
                                   "pre_norm.bias",
                                   "attn_norm.weight",
                                   "attn_norm.bias",
                                   "ffn_norm.weight",
                                   "ffn_norm.bias",
                                   "attn.r_proj.weight",
                                   "attn.k_proj.weight",
                                   "attn.v_proj.weight",
                                   "attn.o_proj.weight",
                                   "attn.g_norm.weight",
                                   "attn.g_norm.bias",
                                   "attn.w_lora.lora.0.weight",
                                   "attn.w_lora.lora.2.weight",
                                   "attn.w_lora.lora.2.bias",
                                   "attn.a_lora.lora.0.weight",
                                   "attn.a_lora.lora.2.weight",
                                   "attn.a_lora.lora.2.bias",
                                   "attn.v_lora.lora.0.weight",
                                   "attn.v_lora.lora.2.weight",
                                   "attn.v_lora.lora.2.bias",
                                   "attn.g_lora.lora.0.weight",
                                   "attn.g_lora.lora.2.weight",
                                   "attn.x_x",
                                   "attn.x_r",
                                   "attn.x_w",
                                   "attn.x_k",
                                   "attn.x_v",
                                   "attn.x_a",
                                   "attn.x_g",
                                   "attn.k_k",
                                   "attn.k_a",
                                   "attn.r_k",
                                   "att.time_mix_x",
                                   "att.time_mix_w",
                                   "att.time_mix_w1",
                                   "att.time_mix_w2",
                                   "attention.time_maa_x",
                                   "attention.time_maa_w1",
                                   "attention.time_maa_w2",
                                   "attention.time_decay_w1",
                                   "attention.time_decay_w2"};

enum { STEMS = sizeof stems / sizeof *stems, ENDS = sizeof ends / sizeof *ends };

struct entry {
    char name[NAME_MOST];
    unsigned type, rank;
    uint64_t shape[4];
    size_t bytes;
};

static bool printable(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || *text == '"' || *text == '\\' || *text == '\'')
            return false;
    return true;
}

/* False at the end, and where the tensor would be no tensor or too large. */
static bool read_entry(struct reader *r, bool converted, struct entry *entry)
{
    unsigned stem = read_u8(r), end = read_u8(r), kind;
    bool free_text = stem >= STEMS || end >= ENDS;
    unsigned length = free_text ? read_u8(r) % 60u : 0;
    const uint8_t *text = read_bytes(r, length);
    uint64_t values = 1;

    if (r->short_read)
        return false;
    snprintf(entry->name, sizeof entry->name, "%s%s%.*s", stem < STEMS ? stems[stem] : "",
             end < ENDS ? ends[end] : "", (int)length, (const char *)text);
    kind = read_u8(r);
    entry->rank = 1 + kind % 4;
    entry->type = kind / 4 % DTYPE_COUNT;
    if (converted ? entry->type == DTYPE_BF16 || entry->type == DTYPE_F64
                  : dtypes[entry->type].items > 1)
        entry->type = DTYPE_F32; /* this container has no such type */
    for (unsigned i = 0; i < entry->rank; i++) {
        uint64_t dim = read_u8(r);
        entry->shape[i] = dim > 64 ? 32 * (dim - 64) : dim;
        values *= entry->shape[i];
    }
    entry->bytes = (size_t)(values / dtypes[entry->type].items * dtypes[entry->type].bytes);
    return !r->short_read && values > 0 && entry->bytes <= DATA_MOST && entry->name[0] &&
           printable(entry->name);
}

/* ---- Files ---- */

static void append(struct buffer *out, const char *text)
{
    buffer_put(out, text, strlen(text));
}

static void append_numbers(struct buffer *out, const uint64_t *numbers, unsigned count)
{
    char text[24];

    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%s%llu", i ? "," : "", (unsigned long long)numbers[i]);
        append(out, text);
    }
}

static void append_data(struct buffer *out, size_t bytes, uint8_t fill)
{
    static uint8_t block[DATA_MOST];

    memset(block, fill, bytes < DATA_MOST ? bytes : DATA_MOST);
    for (; bytes > DATA_MOST; bytes -= DATA_MOST)
        buffer_put(out, block, DATA_MOST);
    buffer_put(out, block, bytes);
}

static void write_safetensors(struct buffer *out, const struct entry *entries, size_t count,
                              uint8_t fill)
{
    struct buffer header = buffer_of(FILE_MOST);
    uint64_t place[2] = {0, 0};

    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        place[0] = place[1];
        place[1] += e->bytes;
        append(&header, i ? ",\"" : "{\"");
        append(&header, e->name);
        append(&header, "\":{\"dtype\":\"");
        append(&header, dtypes[e->type].name);
        append(&header, "\",\"shape\":[");
        append_numbers(&header, e->shape, e->rank);
        append(&header, "],\"data_offsets\":[");
        append_numbers(&header, place, 2);
        append(&header, "]}");
    }
    append(&header, "}");
    buffer_u64(out, header.bytes);
    buffer_put(out, header.data, header.bytes);
    append_data(out, place[1], fill);
    buffer_release(&header);
}

static void write_rwkvcpp(struct buffer *out, const struct entry *entries, size_t count,
                          const uint8_t sizes[3], uint8_t fill)
{
    static const uint32_t numbers[DTYPE_COUNT] = {
        [DTYPE_F32] = 0,   [DTYPE_F16] = 1,  [DTYPE_Q4_0] = 2, [DTYPE_Q4_1] = 3,
        [DTYPE_Q5_0] = 7,  [DTYPE_Q5_1] = 8, [DTYPE_Q8_0] = 9, [DTYPE_Q4_K] = 13,
        [DTYPE_Q5_K] = 14, [DTYPE_Q6_K] = 15};

    append(out, "fmgg");
    buffer_u32(out, 101);
    for (int i = 0; i < 3; i++)
        buffer_u32(out, sizes[i]);
    buffer_u32(out, 0);
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        buffer_u32(out, e->rank);
        buffer_u32(out, (uint32_t)strlen(e->name));
        buffer_u32(out, numbers[e->type]);
        for (unsigned k = e->rank; k-- > 0;)
            buffer_u32(out, (uint32_t)e->shape[k]);
        append(out, e->name);
        append_data(out, e->bytes, fill);
    }
}

static void open_model(const char *path)
{
    struct model *model = NULL;
    struct err err = {0};
    enum err_code code = model_open(&model, path, NULL, &err);

    require(!code == !!model);
    require(!code || (err.text[0] && !strchr(err.text, '\n')));
    for (uint32_t layer = 0; model && layer < model->layer_count; layer++)
        for (int i = 0; i < MATRICES_MAX; i++) {
            const struct tensor *tensor = model->layers[layer].matrices[i].tensor;
            float *row = tensor ? malloc(tensor->values / tensor->shape[0] * sizeof *row) : NULL;
            for (uint64_t k = 0; row && k < tensor->shape[0]; k++)
                tensor_rows(tensor, k, 1, row);
            free(row);
        }
    model_close(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct entry entries[TENSORS_MOST];
    struct reader r = reader_of(data, bytes);
    uint8_t kind = read_u8(&r), sizes[3], fill;
    struct buffer out = buffer_of(FILE_MOST);
    size_t count = 0;
    char path[64];
    int fd;

    for (int i = 0; i < 3; i++)
        sizes[i] = read_u8(&r);
    fill = read_u8(&r);
    while (count < TENSORS_MOST && r.at < r.end)
        count += read_entry(&r, kind != 0, &entries[count]);
    if (kind)
        write_rwkvcpp(&out, entries, count, sizes, fill);
    else
        write_safetensors(&out, entries, count, fill);
    if (!out.refused) {
        fuzz_file(out.data, out.bytes, &fd, path);
        open_model(path);
        close(fd);
    }
    buffer_release(&out);
    return 0;
}
