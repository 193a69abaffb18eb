/* engine/train/shape.h: how large a model is, and where each of its tensors lies among the parameters.
 *
 * All parameters are one array; gradient and moments lie alike. Each tensor begins on a multiple of
 * NET_MULTIPLE, matrices are [outputs][inputs] (the low-rank ones too), names are BlinkDL's. */
#ifndef ENGINE_TRAIN_SHAPE_H
#define ENGINE_TRAIN_SHAPE_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NET_MULTIPLE = 16,
    NET_LAYERS_MAX = 64,
    NET_CHANNELS_MAX = 4096,
    NET_FFN_MAX = 16384,
    NET_VOCAB_MAX = 1 << 17,
    NET_HEAD_MAX = 128,
    NET_RANK_MAX = 512
};

struct net_shape {
    uint32_t layers, channels, head_size, ffn, vocab;
    uint32_t rank_w, rank_a, rank_v, rank_g;
    bool time_state; /* documents begin with a state that is trained, not with zeros */
};

/* Tensors of a layer. */
enum layer_tensor {
    LN1,
    LN1_BIAS,
    LN2,
    LN2_BIAS,
    X_R,
    X_W,
    X_K,
    X_V,
    X_A,
    X_G,
    W0,
    A0,
    V0,
    K_K,
    K_A,
    R_K,
    LN_X,
    LN_X_BIAS,
    FFN_X_K,
    W1,
    W2,
    A1,
    A2,
    V1,
    V2,
    G1,
    G2,
    RECEPTANCE,
    KEY,
    VALUE,
    OUTPUT,
    FFN_KEY,
    FFN_VALUE,
    TIME_STATE,
    LAYER_TENSORS
};
/* And the others. */
enum global_tensor { EMB, LN0, LN0_BIAS, LN_OUT, LN_OUT_BIAS, HEAD, GLOBAL_TENSORS };

enum { NET_ABSENT = -1 }; /* V0, V1, V2 of the first layer; TIME_STATE */

struct layout {
    size_t count;  /* of all parameters: sizes are multiples, so there are no gaps */
    size_t states; /* from here on there are TIME_STATE tensors alone */
    size_t global[GLOBAL_TENSORS];
    size_t layer[NET_LAYERS_MAX][LAYER_TENSORS]; /* (size_t)NET_ABSENT: there is none */
};

/* One tensor of the model. */
struct net_tensor {
    char name[64];
    size_t first;           /* among the parameters */
    uint32_t rows, columns; /* rows 1: a vector */
    bool matrix;            /* rank 2, also with one row */
    bool decay;             /* weights shrink */
    bool fast;              /* twice the learning rate */
    bool low_rank;          /* files keep it the other way round */
    bool is_layer;
    uint32_t layer;
    int which; /* enum layer_tensor or global_tensor */
};

/* Fails: ERR_USAGE with the size that is out of range or no multiple. */
MUST_CHECK enum err_code net_shape_check(const struct net_shape *shape, struct err *err);
void net_layout(const struct net_shape *shape, struct layout *layout);
/* Tensor index of those that the model has, in the order of the layout; false behind the last. */
bool net_tensor(const struct net_shape *shape, const struct layout *layout, size_t index,
                struct net_tensor *tensor);
/* Values of all tensors. */
uint64_t net_parameters(const struct net_shape *shape);
/* Floats of a stream's state: for each layer ffn_x, att_x, S. */
static inline size_t net_layer_state(const struct net_shape *shape)
{
    return (size_t)shape->channels * (2 + shape->head_size);
}
static inline size_t net_state(const struct net_shape *shape)
{
    return shape->layers * net_layer_state(shape);
}

/* AdamW. The step size of a parameter is rate, twice that where the tensor is fast; weights shrink by
 * rate x decay where the tensor decays. */
struct adam {
    const struct net_range *ranges; /* of all parameters, ascending, without overlap */
    size_t range_count;
    double rate, decay, beta1, beta2, epsilon;
    double correct1, correct2; /* 1 - beta^step */
    double scale;              /* of the gradient: clipping */
};
struct net_range {
    size_t first, count;
    bool decay, fast;
};

#endif
