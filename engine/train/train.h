/* engine/train/train.h: a training of RWKV-7: from scratch or from a model, on one machine's processors.
 *
 * Use      train_open; train_step until train_status says that it is done, train_evaluate and train_save
 *          in between; train_close. What is left of a training under its output path goes on from
 *          where it was saved. The output belongs to one training at a time.
 * Promise  A training that was stopped anywhere and went on is, bit for bit, the one that was not: all
 *          that decides what comes next is saved, and sums are in an order that depends on settings
 *          alone, not on the number of threads. On another kind of processor bits may differ.
 * State    Streams are read in parallel, window by window; each stream's state is carried from a window to
 *          the next and is zero where a document begins. Gradients stop at the window's first token.
 * Threads  One caller; train_open starts what it needs.
 * Memory   12 bytes a parameter, 4 more for each part and 4 with keep, states twice, and for each part the
 *          rows of its windows (work.h): about 4 (35 C + 6 F) layers x rows bytes. */
#ifndef ENGINE_TRAIN_TRAIN_H
#define ENGINE_TRAIN_TRAIN_H

#include "engine/train/corpus.h"
#include "engine/train/shape.h"
#include <signal.h>

enum { TRAIN_PARTS_MAX = 64, TRAIN_STREAMS_MAX = 4096, TRAIN_TOKENS_MAX = 4096 };

enum train_products { TRAIN_F32, TRAIN_BF16 };

struct train_options {
    const char *output; /* the model; the training itself lies beside it, with .training */
    const char *model;  /* begin with this one's weights and shape; NULL: from scratch */
    bool state_only; /* its weights stay: what is trained, and made, is the initial state alone */
    const char *vocabulary; /* a file; NULL: the model's own, or bytes */
    const struct corpus_file *files;
    size_t file_count;
    const char *held_out;     /* a file that is not trained on; NULL: none */
    uint64_t held_out_bytes;  /* of each of its documents; 0: all */
    struct net_shape shape;   /* vocab is found from the vocabulary */
    uint32_t streams, tokens; /* a step's windows: streams x tokens */
    uint32_t parts;           /* threads at most; streams is a multiple */
    unsigned threads;         /* 0: one a core */
    enum train_products products;
    uint64_t steps; /* of the whole schedule; 0: as many as read the text `passes` times */
    double passes;
    uint64_t tokens_most; /* of these passes; 0: all */
    uint64_t warm_up;     /* steps */
    double rate, rate_last, decay, clip;
    double keep; /* share of the model's own weights in those made: 0 to less than 1 */
    uint64_t span_bytes, seed;
    const char *isa; /* "auto", "avx512", "avx2", "plain" */
};

/* The defaults: everything but paths. */
void train_defaults(struct train_options *options);

struct train_status {
    uint64_t step, steps;         /* done, of all */
    uint64_t tokens;              /* targets so far */
    uint64_t parameters, trained; /* trained: of these */
    double loss;                  /* nats a token, mean over the last 100 steps or so */
    double rate, norm;            /* of the last step: learning rate, length of the gradient */
    double held_out;              /* bits a byte when last evaluated; 0: never */
    const char *level;            /* of the processor */
    uint64_t corpus_bytes, epoch_tokens; /* of the text; of reading it once, by weight */
    bool resumed;
    bool vocabulary_apart; /* the model file does not carry it (NeoX's) */
};

struct train;

/* path, to be written, is nothing that the training reads; train_open asks it for the output. Fails: ERR_USAGE */
MUST_CHECK enum err_code train_not_input(const struct train_options *options, const char *path,
                                         struct err *err);

/* Fails  ERR_USAGE, ERR_SOURCE, ERR_INPUT, ERR_MEMORY, ERR_MODEL: the model to begin with;
 *        ERR_MISMATCH: a saved training with other settings: the text names the first;
 *        ERR_DAMAGED: a saved training that is no longer whole;
 *        ERR_BUSY: another run trains this output; ERR_SINK, ERR_FULL: nothing can be written beside it. */
MUST_CHECK enum err_code train_open(struct train **out, const struct train_options *options,
                                    struct err *err);
void train_close(struct train **train);

const struct train_status *train_status(const struct train *train);

/* One step of the schedule. Fails: ERR_LIMIT: the loss is no longer a number; nothing was changed. */
MUST_CHECK enum err_code train_step(struct train *train, struct err *err);
/* Bits a byte of the held-out text, states carried through each document; a point of the curve. Training is not
 * touched. Once *stop, where one is given, is not 0, it ends without a point and with the figure there was. */
double train_evaluate(struct train *train, const volatile sig_atomic_t *stop);
/* Save the training, and the model as it is. What was saved before stays until the new one is whole.
 * Fails: ERR_SINK, ERR_FULL, ERR_MEMORY. */
MUST_CHECK enum err_code train_save(struct train *train, struct err *err);

/* What model files say from the next save on: the type of weights that was measured to be near enough to f32
 * (engine_options.weights). NULL, as at first: none was. Lent until train_close. */
void train_name_weights(struct train *train, const char *weights);

/* The loss so far, for a curve: places at steps that are not far apart. */
struct train_point {
    uint64_t step;
    double loss, held_out; /* 0: not known here */
};
const struct train_point *train_points(const struct train *train, size_t *count);

/* GFLOP/s of a large float32 product on threads at once, for comparison. */
double train_peak(unsigned threads);

#endif
