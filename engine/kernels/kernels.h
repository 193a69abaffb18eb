/* engine/kernels/kernels.h: every floating-point sum of the engine, in one fixed order.
 *
 * Use      kernels_init once; then call through the table, rows at a time. product_open packs a
 *          matrix, product_run multiplies. Each worker calls float_control_set when it starts and
 *          require(float_control_is_set()) after library calls it is not sure of.
 * Promise  Arithmetic f32-1, and bf16-1 and int8-1 that differ from it in products alone: ref.c is the
 *          definition, and every other level gives its bits (NaN payloads aside). A row's result depends
 *          on that row alone: not on how many rows a call has, nor on their neighbours. Kernels cannot fail.
 * Shapes   Activations are [rows][channels] without gaps unless a stride is named. Strides count
 *          floats from one row to the next. No alignment is asked for, but buffers and states that
 *          begin on 64 bytes are read up to 1.5 times faster. No overlap, except that an output
 *          may be the very input it is said to replace ("in place").
 * Threads  The table and open products are read-only: any number of threads may use them.
 * Memory   Kernels allocate nothing; product_open says what it holds. */
#ifndef ENGINE_KERNELS_KERNELS_H
#define ENGINE_KERNELS_KERNELS_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOSS_TILE = 1024, SHIFT_MIXES_MAX = 6, KERNELS_HEAD_MAX = 256, PRODUCT_ROWS_MAX = 1024 };

/* y = (x - mean) / sqrt(variance + eps) * weight + bias for each row, biased variance in two passes.
 * With delta (rows, channels) the residual comes first: x += delta, and x is kept; delta may be NULL.
 * x       (rows, channels), replaced by x + delta when delta is given
 * y       (rows, channels); may be delta; not x where delta is given */
typedef void layernorm_fn(float *y, float *x, const float *delta, const float *weight,
                          const float *bias, float eps, size_t rows, size_t channels);

/* The same over each head of head_size channels alone, then weight and bias of all channels. In place.
 * y  (rows, heads x head_size) */
typedef void groupnorm_fn(float *y, const float *weight, const float *bias, float eps, size_t rows,
                          size_t heads, size_t head_size);

/* Token shift of a run of rows of ONE stream: row t is mixed with row t - 1, row 0 with before.
 *     shift4   out[i] = x * mix[i] + before * (1 - mix[i])        (RWKV-4)
 *     shift7   out[i] = x + (before - x) * mix[i]                 (RWKV-6, 7)
 *     shift6   out[i] = x + (before - x) * (mix[i] + out[i])      (RWKV-6, mixes that depend on data)
 * out     (mixes) places of (rows, channels) each;  mix  (mixes) vectors of (channels)
 * before  (channels) the carried vector; keep row rows - 1 of x as the next one
 * mixes   1..SHIFT_MIXES_MAX */
typedef void shift_fn(float *const *out, const float *x, const float *before,
                      const float *const *mix, size_t mixes, size_t rows, size_t channels);

/* Element by element: y[i] = f(x[i]), i < count. y may be x. Error: exp, sigmoid, tanh at most 2 ulp. */
typedef void map_fn(float *y, const float *x, size_t count);
/* y[i] = f(y[i], x[i]). */
typedef void combine_fn(float *y, const float *x, size_t count);

/* Decay of a token, in place. z (rows, channels) the low-rank product, w0 (channels).
 *     decay6   z <- exp(-exp(w0 + z))                     (RWKV-6)
 *     decay7   z <- exp(-0.606531 sigmoid(w0 + z))        (RWKV-7) */
typedef void decay_fn(float *z, const float *w0, size_t rows, size_t channels);

/* RWKV-7 value residual, in place: v <- v + (v_first - v) sigmoid(v0 + z).
 * v, v_first, z (rows, channels); v0 (channels). Not for layer 0, whose v is v_first itself. */
typedef void value7_fn(float *v, const float *v_first, const float *z, const float *v0, size_t rows,
                       size_t channels);

/* RWKV-7 key: from k and the in-context rate a = sigmoid(a0 + z), per head
 *     kk = k k_k / max(norm(k k_k), 1e-12)      minus_kk = -kk      kk_a = kk a
 *     k <- k (1 + (a - 1) k_a)
 * k       (rows, heads x head_size), in place
 * kk_a    (rows, heads x head_size) in: z, the low-rank product; out: kk a
 * minus_kk  (rows, heads x head_size) out;  a0, k_k, k_a (heads x head_size) */
struct key7 {
    float *k, *kk_a, *minus_kk;
    const float *a0, *k_k, *k_a;
};
typedef void key7_fn(const struct key7 *key, size_t rows, size_t heads, size_t head_size);

/* RWKV-7 recurrence of ONE head over tokens of one stream, S in place; for each token
 *     S[i][j] <- S[i][j] w[j] + (sum over j of S[i][j] a[j]) b[j] + v[i] k[j]      a with the old S
 *     y[i]     = sum over j of S[i][j] r[j]                                        with the new S
 * S       (n, n) row-major, one row per value channel; n = head_size, 1..KERNELS_HEAD_MAX
 * others  (tokens) vectors of n floats, stride floats apart: the head's first channel in
 *         (tokens, channels) buffers. y may be none of the inputs.
 * Units   w is the decay itself, in (0, 1); a = minus_kk, b = kk_a of key7 */
struct wkv7 {
    float *S, *y;
    const float *r, *w, *k, *v, *a, *b;
    size_t stride;
};
typedef void wkv7_fn(const struct wkv7 *scan, size_t tokens, size_t n);

/* RWKV-7 after the recurrence, in place, one pass:
 *     y <- (GroupNorm(y) + v sum_j r_j k_j r_k_j) g          the sum over each head
 * y, r, k, v, g (rows, heads x head_size); r_k, weight, bias (heads x head_size); k and v as the
 * recurrence used them; g NULL: no gate */
struct output7 {
    float *y;
    const float *r, *k, *v, *g, *r_k, *weight, *bias;
    float eps;
};
typedef void output7_fn(const struct output7 *out, size_t rows, size_t heads, size_t head_size);

/* RWKV-5 and 6 recurrence of ONE head over tokens of one stream, S in place; for each token
 *     y[j]     = sum over i of r[i] S[i][j] + v[j] (sum over i of r[i] u[i] k[i])    with the old S
 *     S[i][j] <- S[i][j] w[i] + k[i] v[j]
 * S       (n, n) row-major, one row per KEY channel; n = head_size, 1..KERNELS_HEAD_MAX
 * r, k, v, y  (tokens) vectors of n floats, stride floats apart; y may be none of the inputs
 * w       the same, w_stride apart: 0 is one decay for all tokens (RWKV-5)
 * u       (n) the bonus of the present token
 * Units   w is the decay itself, in 0..1 */
struct wkv6 {
    float *S, *y;
    const float *r, *w, *k, *v, *u;
    size_t stride, w_stride;
};
typedef void wkv6_fn(const struct wkv6 *scan, size_t tokens, size_t n);

/* RWKV-5 and 6 after the recurrence, in place, one pass: y <- GroupNorm(y) silu(g).
 * y, g (rows, heads x head_size); weight, bias (heads x head_size); g NULL: no gate (RWKV-5.1) */
struct output5 {
    float *y;
    const float *g, *weight, *bias;
    float eps;
};
typedef void output5_fn(const struct output5 *out, size_t rows, size_t heads, size_t head_size);

/* RWKV-4 recurrence over tokens of one stream, channels each on their own, state in place; y comes out
 * gated: y = sigmoid(r) wkv.
 * y, r, k, v  (tokens) rows of channels floats, stride apart; y may be r, k or v
 * w, u        (channels) w = -exp(time_decay), u = time_first
 * aa, bb, pp  (channels) state; fresh 0, 0, -1e38 */
struct wkv4 {
    float *y, *aa, *bb, *pp;
    const float *r, *k, *v, *w, *u;
    size_t stride;
};
typedef void wkv4_fn(const struct wkv4 *scan, size_t tokens, size_t channels);

/* Log-sum-exp of a row of logits, gathered tile by tile in ascending order. */
struct loss {
    double max, sum; /* so far: sum of exp(logit - max) */
};
/* Before the first tile. */
static inline struct loss loss_none(void)
{
    return (struct loss){-__builtin_inf(), 0.0};
}
/* Take one tile of each row in: maximum and 16-partial sum in float, merged in double.
 * loss     (rows), loss_none() before the first tile
 * logits   (rows) rows of columns floats, stride apart: columns tile LOSS_TILE.. of the vocabulary
 * columns  LOSS_TILE, fewer in the last tile only; tiles in ascending order
 * A tile that is NaN somewhere or -inf everywhere makes the loss NaN. */
typedef void loss_tile_fn(struct loss *loss, const float *logits, size_t rows, size_t stride,
                          size_t columns);
/* Nats of a token: log(sum) + max - logit, in double, by a logarithm of our own. */
double loss_nats(const struct loss *loss, float logit);

/* y (rows, N) = x (rows, K) W^T on weights packed for the level; see struct product. */
struct panels;
typedef void panels_fn(const struct panels *panels, const float *x, size_t rows, size_t x_stride,
                       float *y, size_t y_stride);

/* The same on narrow weights, in two steps: rows into the caller's room, and the product. */
typedef void narrow_pack_fn(void *room, const float *x, size_t rows, size_t x_stride,
                            size_t inputs);
typedef void narrow_panels_fn(const struct panels *panels, const void *room, size_t rows, float *y,
                              size_t y_stride);

/* For bench: rounds times PEAK_FLOPS of fused multiply-adds that wait for nothing. Returns a number that
 * depends on all of them. */
enum { PEAK_FLOPS = 24 * 16 * 2 };
typedef float peak_fn(size_t rounds, float x);

struct narrow {
    narrow_pack_fn *pack; /* NULL at level ref */
    narrow_panels_fn *panels;
    peak_fn *peak; /* a round is PEAK_FLOPS times 2 for bf16, times 4 for int8 */
};

enum kernels_weights { WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_INT8 };
enum kernels_blas { BLAS_AUTO, BLAS_REF, BLAS_OWN, BLAS_ONEDNN, BLAS_OPENBLAS };

struct kernels {
    const char *isa;  /* "ref", "avx2", "avx512f", "avx512", "neon", "dotprod": what was chosen */
    const char *blas; /* "ref", "own", "onednn", "openblas": what products are asked to use */
    char arithmetic[64];     /* "f32-1", "bf16-1", "int8-1", or "f32-openblas-0.3.21-SkylakeX" */
    enum kernels_blas which; /* the same; never BLAS_AUTO */
    enum kernels_weights weights;
    layernorm_fn *layernorm;
    groupnorm_fn *groupnorm;
    shift_fn *shift4, *shift6, *shift7;
    map_fn *exp, *sigmoid, *tanh, *relu2, *silu;
    combine_fn *add;          /* y + x */
    combine_fn *multiply;     /* y x */
    combine_fn *gate_sigmoid; /* y sigmoid(x) */
    decay_fn *decay6, *decay7;
    value7_fn *value7;
    key7_fn *key7;
    wkv7_fn *wkv7;
    output7_fn *output7;
    wkv6_fn *wkv6;
    output5_fn *output5;
    wkv4_fn *wkv4;
    loss_tile_fn *loss_tile;
    panels_fn *panels; /* our own product; NULL at level ref */
    peak_fn *peak;     /* NULL at level ref */
    struct narrow bf16, int8;
};

/* Choose the level and the product. isa: "auto", "avx512", "avx512f", "avx2", "dotprod", "neon", "ref", NULL as "auto":
 * the best one or exactly that one. blas: "auto", "own", "onednn", "openblas", "ref", NULL as "auto", which is "own".
 * With isa "ref", blas "auto" and "own" are the key itself.
 * Fails  ERR_USAGE: no such name; ERR_MISMATCH: this processor cannot, the text names the remedy. */
MUST_CHECK enum err_code kernels_init(struct kernels *kernels, const char *isa, const char *blas,
                                      struct err *err);
/* Is the product ours, which has narrow weights? */
bool kernels_are_own(const struct kernels *kernels);
/* What products that are opened from now on keep of their weights: "f32" (as kernels_init leaves it), "bf16" or "int8".
 * Fails  ERR_USAGE: no such name; ERR_MISMATCH: not with the product of a library */
MUST_CHECK enum err_code kernels_set_weights(struct kernels *kernels, const char *weights,
                                             struct err *err);

/* ---- Products: y = x W^T, W [outputs][inputs], packed once. ---- */

/* Where a matrix comes from. rows() writes rows first .. first + count - 1, float32, row after row
 * without gaps; it is called in ascending order, each row once, during product_open only. */
struct weights {
    size_t outputs, inputs; /* N, K: at least 1 each, at most 2^24 */
    void (*rows)(const void *from, size_t first, size_t count, float *out);
    const void *from;
};
/* For rows(): from is a float matrix [outputs][inputs] and needs its width, so it comes as this. */
struct weights_plain {
    const float *data;
    size_t inputs;
};
void weights_plain_rows(const void *from, size_t first, size_t count, float *out);

struct product;

/* Pack weights for the product that kernels chose (kernels is copied from, not kept). Each output is
 * a chain of fma in ascending k in blocks (ref.c); a library that does not give just these bits for
 * this shape is replaced by our own kernel, see product_blas.
 * For the head open one product for every LOSS_TILE rows of the matrix: equal shapes share all but
 * their weights.
 * Of int8 weights only those matrices are narrow whose N is at least 128 and K 128 to 65,536; smaller ones, of
 * low rank, are f32.
 * Memory  4 N K bytes (bf16: 2; int8: 1), N rounded up to 16; while it is opened less than 1 MiB more
 *         (onednn: twice as much, and some 1 MiB that stays for each shape; openblas: its check's 300 rows)
 * Fails   ERR_MEMORY; ERR_MISMATCH: openblas only, where its sums depend on the number of rows */
MUST_CHECK enum err_code product_open(struct product **out, const struct weights *weights,
                                      const struct kernels *kernels, struct err *err);
void product_close(struct product **product);

/* y (rows, N) = x (rows, K) W^T. rows 1..PRODUCT_ROWS_MAX, strides at least K and N; 0 rows do nothing.
 * Runs in the calling thread alone, any number of threads at once. Touches only rows x N floats of y.
 * room    product_room bytes for so many rows and inputs, on 4 bytes; may be NULL for f32 weights */
void product_run(const struct product *product, const float *x, size_t rows, size_t x_stride,
                 float *y, size_t y_stride, void *room);
/* The same in parts, each of some of the outputs, which may run at the same time: product_begin, once, leaves in room
 * what they share; then each part. A product that cannot be divided has one part. */
size_t product_parts(const struct product *product);
void product_begin(const struct product *product, const float *x, size_t rows, size_t x_stride,
                   void *room);
void product_part(const struct product *product, size_t part, const float *x, size_t rows,
                  size_t x_stride, float *y, size_t y_stride, const void *room);
/* Enough for products of any weights. */
static inline size_t product_room(size_t rows, size_t inputs)
{
    return rows * ((inputs + 3) / 4 * 16 + 4);
}

enum kernels_weights product_weights(const struct product *product);
size_t product_outputs(const struct product *product);
size_t product_inputs(const struct product *product);
/* "ref", "own", "onednn", "openblas": what multiplies here, after the checks. */
const char *product_blas(const struct product *product);
/* True where a library was asked for and failed its check for this shape. */
bool product_fell_back(const struct product *product);

/* ---- The floating-point control of a thread. ---- */

/* Round to nearest, keep subnormal numbers, mask exceptions: at the start of every thread. */
void float_control_set(void);
/* The same, but subnormal numbers are taken as zero where the machine can: for training, whose sums fade
 * through them at a twentieth of the speed. */
void float_control_flush(void);
/* Is it set, as float_control_set does? Libraries have been seen to leave flushing on. */
bool float_control_is_set(void);

#endif
