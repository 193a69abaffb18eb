/* init.c: the parameters a training begins with, as RWKV-7 is initialised by its authors but for recall.
 *
 * Matrices that write into the residual stream begin at zero, so that the model begins as its
 * embedding; so do the first halves of the low-rank pairs. Decays are spread over the channels from
 * fast to slow, with a zigzag inside each head, later layers slower than earlier ones.
 *
 * Recall - what followed the last time this token was read? - takes a model of this size more text to find
 * than it will ever see, so it begins with it ("Recall", README):
 *
 *   half the heads of a layer   keys are made by the matrix that makes receptances, and hardly decay
 *   token shift                 keys from the token before alone; receptance and value from the token itself
 *   embedding                   the rows of the head, turned: one linear map leads from a token read to a token said
 *
 * Source: Trockman et al., "Mimetic Initialization Helps State Space Models Learn to Recall" (2024), for Mamba. */
#include "engine/train/init.h"
#include "engine/train/random.h"

#include <math.h>
#include <stdlib.h>

/* A decay of 0.0006 a token: half of what is stored is there after 1,300. */
#define RECALL_W0  (-7.0)
#define RECALL_KEY 2.0f

static void uniform(float *out, size_t count, double size, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(size * (2 * random_unit(seed) - 1));
}

static double normal(uint64_t *seed)
{
    double u = 1 - random_unit(seed), v = random_unit(seed);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* Take what the vectors before it say out of vector `which` of `count` numbers, then make it 1 long. */
static void orthogonalise(double *vectors, size_t which, size_t count)
{
    double *own = vectors + which * count, length = 0;

    for (size_t other = 0; other < which; other++) {
        const double *o = vectors + other * count;
        double dot = 0;
        for (size_t i = 0; i < count; i++)
            dot += own[i] * o[i];
        for (size_t i = 0; i < count; i++)
            own[i] -= dot * o[i];
    }
    for (size_t i = 0; i < count; i++)
        length += own[i] * own[i];
    length = 1 / sqrt(length);
    for (size_t i = 0; i < count; i++)
        own[i] *= length;
}

/* gain times a random matrix with orthonormal rows or columns, whichever are fewer. */
static bool orthogonal(float *out, size_t rows, size_t columns, double gain, uint64_t *seed)
{
    const bool tall = rows >= columns;
    const size_t vectors = tall ? columns : rows, count = tall ? rows : columns;
    double *matrix = calloc(rows * columns, sizeof *matrix);

    if (!matrix)
        return false;
    /* Vectors lie one after the other; out is that or its transpose. */
    for (size_t i = 0; i < rows * columns; i++)
        matrix[i] = normal(seed);
    for (size_t i = 0; i < vectors; i++)
        orthogonalise(matrix, i, count);
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            out[row * columns + column] = (float)(gain * (tall ? matrix[column * count + row]
                                                               : matrix[row * count + column]));
    free(matrix);
    return true;
}

/* Where a channel stands. */
struct channel {
    double ratio;    /* i / C */
    double linear;   /* -0.5 .. 0.5 over the channels */
    double zigzag;   /* -1 .. 1 over each head, with its sign squared */
    double position; /* 0 .. 1 */
};

static struct channel channel_of(const struct net_shape *shape, size_t i)
{
    double half = (shape->head_size - 1) / 2.0;
    double z = ((double)(i % shape->head_size) - half) / half;
    double position = (double)i / (shape->channels - 1);

    return (struct channel){.ratio = (double)i / shape->channels,
                            .linear = position - 0.5,
                            .zigzag = z * fabs(z),
                            .position = position};
}

/* Channels of the heads that begin with recall. */
static size_t recalling(const struct net_shape *shape)
{
    return (shape->channels / shape->head_size + 1) / 2 * shape->head_size;
}

static double vector_value(const struct net_shape *shape, const struct net_tensor *tensor, size_t i)
{
    const struct channel c = channel_of(shape, i);
    const double up = shape->layers > 1 ? (double)tensor->layer / (shape->layers - 1) : 0;
    const double down = 1 - (double)tensor->layer / shape->layers;

    switch ((enum layer_tensor)tensor->which) {
    case LN1:
    case LN2:
    case X_K:
        return 1;
    case X_G:
        return 1 - pow(c.ratio, 0.2 * down);
    case X_W:
    case X_A:
        return 1 - pow(c.ratio, 0.9 * down);
    case W0:
        if (i < recalling(shape))
            return RECALL_W0;
        return -6 + 6 * pow(c.position, 1 + pow(up, 0.3)) + 0.5 + 2.5 * c.zigzag;
    case A0:
        return -0.19 + 0.3 * c.zigzag + 0.4 * c.linear;
    case V0:
        return 0.73 - 0.4 * c.linear;
    case K_K:
        return 0.71 - 0.1 * c.linear;
    case K_A:
        return 1.02;
    case R_K:
        return -0.04;
    case LN_X:
        return pow((1.0 + tensor->layer) / shape->layers, 0.7);
    case FFN_X_K:
        return 1 - pow(c.ratio, pow(down, 4));
    default:
        return 0; /* X_R and X_V too: the token itself */
    }
}

static bool layer_matrix(const struct net_shape *shape, const struct net_tensor *tensor, float *out,
                         uint64_t *seed)
{
    const size_t count = (size_t)tensor->rows * tensor->columns;
    const double size = 1 / sqrt(shape->channels);

    switch ((enum layer_tensor)tensor->which) {
    case W2:
    case A2:
    case V2:
    case G2:
        return orthogonal(out, tensor->rows, tensor->columns, 0.1, seed);
    case RECEPTANCE:
    case VALUE:
    case FFN_KEY:
        uniform(out, count, 0.5 * size, seed);
        return true;
    case KEY:
        uniform(out, count, 0.05 * size, seed);
        return true;
    default:
        return true; /* zero */
    }
}

static bool global_tensor(const struct net_shape *shape, const struct net_tensor *tensor,
                          float *out, uint64_t *seed)
{
    double gain = 0.5;

    if (tensor->which == EMB)
        return true; /* when the head is there */
    if (tensor->which == HEAD) {
        if (shape->vocab > shape->channels)
            gain *= sqrt((double)shape->vocab / shape->channels);
        return orthogonal(out, tensor->rows, tensor->columns, gain, seed);
    }
    for (size_t i = 0; i < tensor->columns; i++)
        out[i] = tensor->which == LN0 || tensor->which == LN_OUT;
    return true;
}

static void copy_receptance(const struct net_shape *shape, const struct layout *layout,
                            uint32_t layer, float *parameters)
{
    const float *receptance = parameters + layout->layer[layer][RECEPTANCE];
    float *key = parameters + layout->layer[layer][KEY];

    for (size_t i = 0; i < recalling(shape) * shape->channels; i++)
        key[i] = RECALL_KEY * receptance[i];
}

/* Each row of the embedding is that of the head, turned by one orthogonal matrix. */
static bool turn_head(const struct net_shape *shape, const struct layout *layout, uint64_t *seed,
                      float *parameters)
{
    const size_t channels = shape->channels;
    const float *head = parameters + layout->global[HEAD];
    float *emb = parameters + layout->global[EMB];
    float *turn = calloc(channels * channels, sizeof *turn);
    bool done = turn && orthogonal(turn, channels, channels, 1, seed);

    for (size_t token = 0; done && token < shape->vocab; token++)
        for (size_t i = 0; i < channels; i++) {
            double sum = 0;
            for (size_t j = 0; j < channels; j++)
                sum += (double)turn[i * channels + j] * head[token * channels + j];
            emb[token * channels + i] = (float)sum;
        }
    free(turn);
    return done;
}

bool net_init(const struct net_shape *shape, const struct layout *layout, uint64_t seed,
              float *parameters)
{
    struct net_tensor tensor;

    for (size_t i = 0; i < layout->count; i++)
        parameters[i] = 0;
    for (size_t i = 0; net_tensor(shape, layout, i, &tensor); i++) {
        uint64_t own = random_mix(seed) + random_mix(i + 1);
        float *out = parameters + tensor.first;
        if (tensor.is_layer && !tensor.matrix)
            for (size_t k = 0; k < tensor.columns; k++)
                out[k] = (float)vector_value(shape, &tensor, k);
        else if (!(tensor.is_layer ? layer_matrix : global_tensor)(shape, &tensor, out, &own))
            return false;
    }
    for (uint32_t layer = 0; layer < shape->layers; layer++)
        copy_receptance(shape, layout, layer, parameters);
    seed = random_mix(seed);
    return turn_head(shape, layout, &seed, parameters);
}
