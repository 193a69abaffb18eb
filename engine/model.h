/* engine/model.h: a model's weights in canonical form, and what a version of RWKV must be able to do.
 *
 * A version is one `const struct version`: a table of its tensors, the size of its state, and a
 * function that carries a batch through one layer. model.c does everything else from the table:
 * finds the tensors, checks shapes, refuses what is left over, packs matrices, takes fingerprints.
 *
 * Rows     A batch is ragged: rows of many streams one after the other. Products and norms run over
 *          all rows; token shift and recurrence run over segments, the runs of rows of one stream.
 * Threads  A model is read-only once packed. A batch and a scratch have one user at a time. */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "engine/crew.h"
#include "engine/engine.h"
#include "engine/formats/formats.h"
#include "engine/kernels/kernels.h"

enum { VECTORS_MAX = 24, MATRICES_MAX = 16, MIXES_MAX = 7 };

struct model;
struct batch;
struct scratch;

/* What has to be done to the values of a raw tensor, by the exponential of f32-1. */
enum tensor_made { MADE_EXP, MADE_MINUS_EXP, MADE_EXP_MINUS_EXP };

/* A tensor of a layer. Sizes are letters: C channels, F channel mix, R any (the rank of a low-rank
 * pair), r the last R, f a fifth of it, H heads x head size, h the same or one number a head, which is
 * then spread over its channels, S heads x head size x head size. Vectors, that is all without `rows`,
 * are checked for NaN and infinity, and kept as float32; matrices are checked while they are packed. */
struct tensor_plan {
    const char *name; /* after "blocks.N." */
    char rows;        /* 0: a vector of `columns` */
    char columns;
    bool not_first;   /* block 0 has none, or one that is ignored */
    const char *with; /* is there where block 0 has the tensor called so; NULL: always */
    const char *raw;  /* what a file may hold instead, NULL: nothing; then it is `made` into this */
    enum tensor_made made;
};

struct version {
    unsigned major, minor;
    const char *name;
    const struct tensor_plan *plans; /* ends with a NULL name */
    float gn_eps;                    /* of the group norm ln_x; 0 where there is none */
    float gn_eps_converted;          /* the same in files of rwkv.cpp; 0: no other */
    /* Set heads and head_size. Called when channels are known and before the tensors are looked up. */
    enum err_code (*sizes)(struct model *model, struct err *err);
    /* Floats of one layer's state: ffn_x, att_x, then the recurrence. */
    size_t (*layer_floats)(const struct model *model);
    /* Before any token; a trained state where the file has one. */
    void (*layer_origin)(const struct model *model, uint32_t layer, float *state);
    /* Carry batch through a layer: take batch->delta into x, leave the layer's last delta there,
     * and move the segments' states on. */
    void (*forward)(const struct model *model, uint32_t layer, struct batch *batch,
                    struct scratch *scratch);
};

extern const struct version version_4, version_5_1, version_5_2, version_6, version_7;

struct norm {
    const float *weight, *bias;
    float eps;
};

struct matrix {
    const struct tensor *tensor; /* NULL: this layer has none */
    struct product *product;     /* NULL until packed */
};

/* Indexed as the version's table counts its vectors and matrices. */
struct layer {
    struct norm ln1, ln2;
    const float *vectors[VECTORS_MAX]; /* NULL: this layer has none */
    struct matrix matrices[MATRICES_MAX];
};

struct model {
    struct container *container;
    const struct version *version;
    uint32_t layer_count, channels, heads, head_size, ffn_channels, vocab, rank_max;
    float gn_eps;
    const struct tensor *emb, *head;
    struct norm ln0, ln_out;
    struct layer *layers;
    struct product **head_tiles; /* LOSS_TILE rows of the head each, the last may have fewer */
    size_t head_tile_count;
    float **vectors; /* owns what norms and layers point to */
    size_t vector_count, vector_room;
    uint64_t parameters, layers_flops, head_flops; /* layers_flops: of all layers, a token */
    size_t layer_floats;
    struct kernels kernels; /* "ref" until engine_open chooses */
};

/* Map path, find and check all tensors. Nothing is packed. Fails: as engine_open.
 * initial_state  a file, see struct engine_options; NULL: the model's own */
MUST_CHECK enum err_code model_open(struct model **out, const char *path, const char *initial_state,
                                    struct err *err);
void model_close(struct model **model);

/* What the model itself says; what an engine adds (arithmetic, blas, isa, threads, fingerprint) is left empty. */
void model_describe(const struct model *model, struct engine_info *info);

/* Of version, epsilon, and each used tensor's canonical name, type, shape, scale and bytes: the same for any
 * container that keeps the same numbers in the same types. */
MUST_CHECK enum err_code model_fingerprint(const struct model *model, unsigned threads,
                                           uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES],
                                           struct err *err);

/* Pack all matrices, by `threads` threads; model->kernels is set before. Fails: ERR_MODEL: a matrix or
 * the embedding holds a NaN or an infinity; ERR_MEMORY, ERR_MISMATCH. */
MUST_CHECK enum err_code model_pack(struct model *model, unsigned threads, struct err *err);

/* ---- A batch on its way through the layers. ---- */

struct segment {
    float *state; /* of the stream, all layers: a worker touches those of its layers only */
    size_t first, count;
};

struct batch {
    size_t rows;
    bool has_delta;   /* delta is still to be added to x */
    float *x, *delta; /* (rows, channels) residual stream, and what the last block adds to it */
    float *v_first;   /* (rows, channels) version 7: the values of layer 0 */
    struct segment *segments;
    size_t segment_count;
    uint64_t products; /* done so far */
    void *room;        /* of the worker, for product_run */
    struct crew *crew; /* who may take parts of it */
};

struct scratch {
    float *mix[MIXES_MAX]; /* (rows, channels) each */
    float *norm;           /* (rows, channels) */
    float *wide;           /* (rows, the larger of ffn_channels and rank_max) */
};

/* ---- For versions: what they share. batch.c ---- */

/* scratch->norm = LayerNorm(x + delta). */
void batch_norm(const struct model *model, const struct norm *norm, struct batch *batch,
                struct scratch *scratch);
/* Token shift from scratch->norm into scratch->mix: the carried vector lies `offset` floats into each
 * segment's state of layer, and is replaced before the next segment, which may be of the same stream.
 * before  NULL, or (rows, channels): the vector that was carried into a segment is left in its first row,
 *         so that the rows can be shifted again */
void batch_shift(const struct model *model, const struct batch *batch, struct scratch *scratch,
                 shift_fn *shift, const float *const *mixes, size_t mix_count, uint32_t layer,
                 size_t offset, float *before);
void batch_shift_again(const struct model *model, const struct batch *batch,
                       struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                       size_t mix_count, const float *before);
/* Norm and shift. */
void batch_norm_shift(const struct model *model, const struct norm *norm, struct batch *batch,
                      struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                      size_t mix_count, uint32_t layer, size_t offset);
/* y = x W^T over rows, parts by whoever is there; counts itself. */
void batch_multiply(const struct product *product, struct batch *batch, const float *x, size_t rows,
                    size_t x_stride, float *y);
/* y = x W^T over all rows. x has x_stride floats from row to row, or no gaps. */
void batch_product(const struct matrix *matrix, struct batch *batch, const float *x, float *y);
void batch_product_part(const struct matrix *matrix, struct batch *batch, const float *x,
                        size_t x_stride, float *y);
/* y = second (f (first x)) through scratch->wide; f may be NULL. second stands behind first. */
void batch_low_rank(const struct matrix *first, map_fn *f, struct batch *batch,
                    struct scratch *scratch, const float *x, float *y);
/* The channel mix of versions 4 to 6, whole. mixes: key, receptance; matrices: key, value, receptance. */
void batch_channel_mix(const struct model *model, uint32_t layer, struct batch *batch,
                       struct scratch *scratch, shift_fn *shift, const float *const *mixes,
                       const struct matrix *matrices);

/* ---- For versions 5 to 7, which have a matrix for each head. heads.c ---- */

/* heads and head_size, from what the header states, else from the first of block 0's tensors in tell that
 * is there: [heads, size], or one number a head. Fails: ERR_MODEL. */
MUST_CHECK enum err_code heads_sizes(struct model *model, const char *const *tell, struct err *err);
/* ffn_x [C] | att_x [C] | S [heads][size][size] */
size_t heads_layer_floats(const struct model *model);
/* Zeros, and time_state for S unless NULL; transposed: it has the axes of S the other way round. */
void heads_origin(const struct model *model, const float *time_state, bool transposed,
                  float *state);
/* A scan over all segments and heads. Heads may go to different workers; of a head, segments go in order, for two may
 * be of one stream. rows: what scan needs, from the batch's first row and head on. */
struct heads {
    const struct model *model;
    uint32_t layer;
    const struct batch *batch;
    void (*scan)(const struct heads *of, const struct segment *segment, size_t head);
    const void *rows;
};
void heads_scan(const struct heads *heads);
/* The matrix of head in a segment's stream. */
float *heads_state(const struct heads *of, const struct segment *segment, size_t head);
/* wkv6. rows: y, r, w, k, v, w_stride of the batch's first row and head; u of all heads. */
void heads_scan6(const struct model *model, uint32_t layer, const struct batch *batch,
                 const struct wkv6 *rows);
/* The state of layer in a segment. */
static inline float *segment_layer(const struct model *model, const struct segment *segment,
                                   uint32_t layer)
{
    return segment->state + (size_t)layer * model->layer_floats;
}

#endif
