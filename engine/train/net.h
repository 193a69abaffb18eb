/* engine/train/net.h: RWKV-7 as training sees it: loss and gradient of a window of tokens.
 *
 * The arithmetic of a token is that of engine/rwkv7.c (spec section 5), the order of sums is not:
 * training promises the same bits for the same machine, products and parts, not f32-1.
 *
 * Rows     Streams lie side by side: row s * tokens + t is token t of stream s. Products run over all
 *          rows; token shift and recurrence run along a stream.
 * Types    Everything is written over `real`. The library is built for float, once for each level of
 *          the processor; the gradient check builds the same sources for double (NET_DOUBLE).
 * Sizes    channels, head size, ffn, vocabulary and ranks are multiples of NET_MULTIPLE, so that no
 *          loop has a tail.
 * Threads  A work has one user at a time; parameters are shared for reading. */
#ifndef ENGINE_TRAIN_NET_H
#define ENGINE_TRAIN_NET_H

#include "engine/kernels/gemm.h"
#include "engine/train/shape.h"

#ifdef NET_DOUBLE
typedef double real;
#else
typedef float real;
#endif

enum {
    NET_SCAN_TOKENS = 16,      /* between two kept states of the recurrence */
    NET_LOSS_ROWS = 512,       /* rows of logits at a time */
    NET_NO_TARGET = UINT32_MAX /* what follows this token is not asked for */
};

/* See engine/kernels/gemm.h. desk: the calling thread's, whatever the implementation keeps there. */
typedef void multiply_fn(const struct gemm *gemm, const real *a, const real *b, real *c,
                         void *desk);

/* A window: what is read, what is to be predicted, and where the streams stand. */
struct window {
    const uint32_t *input; /* (rows) each < vocab; 0 begins a document: after zeros or TIME_STATE */
    const uint32_t *target; /* (rows) or NET_NO_TARGET */
    const real *before;     /* (streams, net_state) where each stream stands */
    real *after;            /* the same behind the window; not before itself */
    real weight;            /* of one target in the gradient: 1 / targets of the whole step */
    bool frozen;            /* gradients of matrices are not asked for */
};

struct net_work;

/* What net_step found. */
struct net_loss {
    double nats;     /* sum over the targets */
    uint64_t tokens; /* targets */
};

struct net_ops {
    const char *level;
    /* Memory for windows of streams x tokens, tokens a multiple of NET_SCAN_TOKENS. NULL where an
     * allocation was refused. with_gradient false: net_step may be asked for losses only. */
    struct net_work *(*open)(const struct net_shape *shape, size_t streams, size_t tokens,
                             bool with_gradient, multiply_fn *multiply, void *desk);
    void (*close)(struct net_work **work);
    /* Loss of a window, and where gradient is not NULL its gradient added to gradient (as parameters
     * lie, layout.h). The gradient stops at the window's first row: state comes in as a constant. */
    struct net_loss (*step)(struct net_work *work, const real *parameters, real *gradient,
                            const struct window *window);
    /* One step of AdamW on parameters first .. first + count - 1; see struct adam. */
    void (*adam)(const struct adam *adam, real *parameters, const real *gradient, real *mean,
                 real *square, size_t first, size_t count);
    /* Sum of squares of count values, in double; a tree of fixed form. */
    double (*squares)(const real *values, size_t count);
    /* to += from */
    void (*add)(real *to, const real *from, size_t count);
};

extern const struct net_ops net_ops_plain, net_ops_avx2, net_ops_avx512, net_ops_f64;

#endif
