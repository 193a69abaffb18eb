/* engine/formats/formats.h: model files, whatever their container, as one table of tensors.
 *
 * A container is a read-only map of the file and a table that points into it. Nothing is converted
 * at open: tensors are read row by row as float32 when they are asked for. After container_open the
 * names are canonical, that is BlinkDL's, whatever the file called them, with these rules:
 *
 *     Matrices  All are [out, in], the low-rank ones too. A file that keeps one the other way round, or
 *               keeps several in one tensor, is read through strides and parts of it:
 *                   v6  att.time_maa_w1 [5 R, C], parts of R rows in the order w k v r g;
 *                       att.time_maa_w2_w, _k, _v, _r, _g [C, R]; att.time_decay_w1 [D, C], _w2 [C, D]
 *                   v7  att.w1 a1 v1 g1 [R, C], att.w2 a2 v2 g2 [C, R]
 *     Vectors   One tensor each: att.time_maa_x, _w, _k, _v, _r, _g; att.x_r, x_w, x_k, x_v, x_a, x_g.
 *     Decay     att.time_decay is raw, [C] in v4 and v6, [H] or [H, S] in v5. Where the file holds what
 *               the version makes of it (rwkv.cpp: -exp(raw) in v4, exp(-exp(raw)) in v5) it is
 *               called att.time_decay_done, so that neither reader nor fingerprint takes one for the other.
 *     Bonus     v5: att.time_first [H] or [H, S] is raw, its exp is the bonus; att.time_faaaa is the bonus
 *               itself, also where a file that holds it done calls it time_first.
 *     State     att.time_state is as BlinkDL keeps it: v5 and v6 [H][value][key], v7 [H][value][key].
 *
 * Hostile   Every count, offset and size is checked against the file before it is used. */
#ifndef ENGINE_FORMATS_FORMATS_H
#define ENGINE_FORMATS_FORMATS_H

#include "schemas/bytes.h"
#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How numbers are kept. Append. */
enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_F64,
    DTYPE_COUNT
};

/* count values from data, which need not be aligned. count is a multiple of the block's items. */
typedef void dtype_decode_fn(float *out, const uint8_t *data, size_t count);

struct dtype_info {
    const char *name;
    uint32_t items, bytes; /* of one block */
    dtype_decode_fn *decode;
};

extern const struct dtype_info dtypes[DTYPE_COUNT];

enum { TENSOR_RANK_MAX = 4, TENSOR_NAME_MAX = 120, TENSORS_MAX = 1 << 16 };

struct tensor {
    const char *name;
    enum dtype dtype;
    unsigned rank;
    uint64_t shape[TENSOR_RANK_MAX];  /* slowest axis first, each >= 1 */
    uint64_t stride[TENSOR_RANK_MAX]; /* values from one index to the next; a type with blocks is
                                         always without gaps, last axis fastest */
    uint64_t values;                  /* product of shape */
    const uint8_t *data;              /* the first value, into a map, not aligned */
    uint64_t bytes;                   /* from data to behind the last value */
    float scale; /* a power of two that values are multiplied with: 1 unless the file was scaled */
    bool used;   /* container_get has lent it: what is left over is unknown */
};

/* A vocabulary that travels in the file, as GGUF keeps it. */
struct container_vocabulary {
    uint64_t count; /* ids; 0: the file has none */
    const uint8_t
        *texts; /* count times u64 length | text, whole in the map, checked by the reader */
    const uint8_t *types; /* (count) i32, unaligned; NULL: all are normal tokens */
};

#define BLINKDL "BlinkDL's"

struct container {
    const char *kind;     /* "rwkv.cpp", "safetensors", "pth", "GGUF" */
    bool converted;       /* as rwkv.cpp's converter leaves tensors, see names.c */
    const char *spelling; /* whose names the file has: BLINKDL or another's */
    char *path;
    struct view *maps; /* owned: one, or one for an index and each file it names */
    size_t map_count;
    const uint8_t *map; /* the file that is read, while it is */
    size_t bytes;
    struct tensor *tensors; /* sorted by name, no name twice */
    size_t count, room;
    char **names; /* owned, one for each tensor */
    /* rwkv.cpp's header says these; 0 where the container does not. */
    uint64_t stated_vocab, stated_channels, stated_layers;
    uint8_t **notes; /* (note_count) data of tensors that the map does not have as bytes; owned */
    size_t note_count;
    float stated_gn_eps; /* what our own converter notes of the group norm; 0 elsewhere */
    /* GGUF says these; 0 elsewhere. */
    uint64_t stated_head_size;
    uint64_t
        rescale_every; /* v6: att.output and ffn.value of layer i are divided by 2^(i / this) */
    /* Activations are halved after every so many layers, which is what such files are for; also noted by
     * our own converter. Only norms can tell, by their epsilon. */
    uint64_t halved_every;
    struct container_vocabulary vocabulary;
    const char *
        weights; /* what the file says that it may be multiplied as: "bf16", "int8"; NULL: nothing */
    char
        *vocabulary_text; /* the same as the text of a World file, owned; NULL: the file has none */
};

/* Map the file, read its table, check it. The file must not shrink while it is open.
 * Fails  ERR_SOURCE: cannot be opened or read; ERR_MODEL: no model, damaged, not supported: the text
 *        names the file and what is wrong; ERR_MEMORY. */
MUST_CHECK enum err_code container_open(struct container **out, const char *path, struct err *err);
void container_close(struct container **container);
/* Take over the initial state that the file at path holds: blocks.N.att.time_state for each layer, in the place of the
 * model's own. Fails: as container_open; ERR_MODEL: it holds something else, or another number of layers. */
MUST_CHECK enum err_code container_take_state(struct container *container, const char *path,
                                              struct err *err);
/* Give the map's pages back to the page cache; those that are read again come back from there. */
void container_rest(const struct container *container);

/* Lent until container_close; NULL where there is none of that name. */
struct tensor *container_find(const struct container *container, const char *name);
/* The same where it must be there, with this shape. Axes of length 1 do not count, on either side; a 0
 * in shape stands for any length. The tensor gets the rank asked for and is marked as used.
 * Fails  ERR_MODEL: missing, another shape: the text names it */
MUST_CHECK enum err_code container_get(struct container *container, const char *name, unsigned rank,
                                       const uint64_t *shape, const struct tensor **out,
                                       struct err *err);

/* count rows from the first as float32, in canonical order, where a row is everything but the first
 * axis (a tensor of rank 1 is one row). */
void tensor_rows(const struct tensor *tensor, uint64_t first, uint64_t count, float *out);
/* The bytes of row in canonical order, without gaps, as the file has them (not scaled).
 * raw  (bytes of the row's values in the tensor's type) */
void tensor_raw_row(const struct tensor *tensor, uint64_t row, uint8_t *raw);
/* Does each row lie without gaps, and does the next follow it? */
bool tensor_is_plain(const struct tensor *tensor);

/* ---- For the readers in this folder. ---- */

/* ERR_MODEL with "model 'PATH': " in front; a long path is shortened from the left. */
enum err_code container_fail(const struct container *c, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Map a plain file into c, and make it the one that c->map says. Fails: as container_open. */
MUST_CHECK enum err_code container_map(struct container *c, const char *path, struct err *err);
/* Find by its first bytes what c->map is, and fill the table from it.
 * only  refuse all but this kind; NULL: any */
MUST_CHECK enum err_code container_read(struct container *c, const char *only, struct err *err);
/* Append a tensor called name (bytes long, checked here). Sets values, strides without gaps, the bytes that
 * these take and a scale of 1, leaves data. The last axis is whole blocks of dtype, so that rows and parts are too.
 * Fails: ERR_MODEL: name, shape or count; ERR_MEMORY. */
MUST_CHECK enum err_code container_add(struct container *c, const char *name, size_t name_bytes,
                                       enum dtype dtype, unsigned rank, const uint64_t *shape,
                                       struct tensor **out, struct err *err);
/* The table by name, which container_find needs. Fails: ERR_MODEL: there is none, or a name twice. */
MUST_CHECK enum err_code container_sort(struct container *c, struct err *err);
/* The tensors from number first on, in the order in which they lie in memory; the caller frees it. */
MUST_CHECK enum err_code container_by_place(const struct container *c, size_t first,
                                            const struct tensor ***out, struct err *err);
/* The bytes that values of dtype take. False where they are not whole blocks or overflow. */
bool dtype_bytes(enum dtype dtype, uint64_t values, uint64_t *bytes);

bool name_ends_with(const char *name, const char *end);
/* Is it one of the low-rank matrices, which BlinkDL keeps as x @ w1? By its name, canonical or BlinkDL's. */
bool name_is_low_rank(const char *name);

/* Exchange the last two axes. Types of one value a block only. */
void tensor_transpose(struct tensor *tensor);
/* The part [index] of the first axis, of rank - 1. Where blocks straddle it: false, part is as it was. */
bool tensor_part(const struct tensor *whole, uint64_t index, struct tensor *part);

/* Give all tensors their canonical names, then orientation, given how the container keeps them. */
MUST_CHECK enum err_code container_rename(struct container *c, struct err *err);
/* The second half of it: names are canonical, but for tensors that hold several.
 * outputs_first  low-rank matrices are [out, in] already */
MUST_CHECK enum err_code container_turn(struct container *c, bool outputs_first, struct err *err);
/* As container_find, while the table is not sorted. */
struct tensor *container_scan(const struct container *c, const char *name);
MUST_CHECK enum err_code container_set_name(struct container *c, size_t index, const char *name,
                                            struct err *err);

/* Fill c's table from its map. */
MUST_CHECK enum err_code rwkvcpp_read(struct container *c, struct err *err);
MUST_CHECK enum err_code safetensors_read(struct container *c, struct err *err);
MUST_CHECK enum err_code pth_read(struct container *c, struct err *err);
MUST_CHECK enum err_code gguf_read(struct container *c, struct err *err);
/* JSON: an index of shards; other JSON is refused with what to name instead. */
MUST_CHECK enum err_code index_read(struct container *c, struct err *err);
/* outfile_not_input of a model file, or an index and each file that it names. model may be NULL. */
MUST_CHECK enum err_code model_not_output(const char *model, const char *output, struct err *err);

/* Refuse a folder, and say which file in it is the model. */
enum err_code folder_refuse(const char *path, struct err *err);
/* Fails: ERR_MODEL where a config.json beside the file says that not all layers are RWKV. */
MUST_CHECK enum err_code config_check(const struct container *c, struct err *err);

#endif
