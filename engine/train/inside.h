/* engine/train/inside.h: what the files of this folder share about a training. */
#ifndef ENGINE_TRAIN_INSIDE_H
#define ENGINE_TRAIN_INSIDE_H

#include "engine/train/net.h"
#include "engine/train/pool.h"
#include "engine/train/train.h"

/* Some of the streams: work, and the gradient it makes, are this part's alone. */
struct part {
    struct net_work *work;
    struct net_work *reader; /* of one stream, for losses alone; NULL: there is no held-out text */
    struct gemm_desk *desk;  /* NULL: products are float32 */
    float *gradient;
    struct net_loss loss;
};

/* A tree of words that decide what comes out, one a line: "channels 256". */
enum { SETTINGS_BYTES_MAX = 2048 };

struct train {
    struct train_options options;
    char *output, *saved_path, *lock_path;
    int lock_fd;         /* -1: not held */
    const char *weights; /* what its files name, or NULL */
    struct train_status status;
    struct layout layout;
    const struct net_ops *ops;
    struct tokenizer *tokenizer;
    struct corpus *corpus, *held_out;
    struct pool *pool;
    char settings[SETTINGS_BYTES_MAX];

    float *parameters, *mean, *square; /* (layout.count) */
    float *start; /* what the parameters were at first; NULL: nothing of it is kept */
    struct net_range *ranges;
    size_t range_count;
    size_t first;    /* of the parameters that are trained, up to the last */
    double *squares; /* of each run of PARAMETER_RUN parameters */

    struct part *parts;
    size_t window_streams; /* of one net_step */
    float *before, *after; /* (streams, net_state) */
    uint32_t *input, *target;
    float weight;
    bool with_gradient; /* of the round that runs */
    struct adam adam;

    struct corpus_place place;
    struct corpus_cursor *cursors; /* (streams) */
    double loss_sum, loss_weight;  /* the mean that status shows */

    struct train_point *points;
    size_t point_count, point_room;
};

/* ---- saved.c: the training as a file. ---- */

/* No other run may train this output until the release. */
MUST_CHECK enum err_code saved_claim(struct train *train, struct err *err);
void saved_release(struct train *train);

/* Fails: as engine_fingerprint of the model that is begun with. */
MUST_CHECK enum err_code saved_settings(struct train *train, struct err *err);
MUST_CHECK enum err_code saved_write(const struct train *train, struct err *err);
/* *found false where there is none. */
MUST_CHECK enum err_code saved_read(struct train *train, bool *found, struct err *err);
MUST_CHECK enum err_code points_add(struct train *train, struct train_point point, struct err *err);

/* ---- weights.c: the model as a file. ---- */

/* The model with these parameters, or their initial state alone. */
MUST_CHECK enum err_code weights_write(const struct train *train, const float *parameters,
                                       struct err *err);
/* The shape of a model in a file; vocab and an initial state included. */
MUST_CHECK enum err_code weights_shape(const char *path, struct net_shape *shape, struct err *err);
/* An initial state that the model does not have is zero. */
MUST_CHECK enum err_code weights_read(const char *path, const struct net_shape *shape,
                                      const struct layout *layout, float *parameters,
                                      struct err *err);

#endif
