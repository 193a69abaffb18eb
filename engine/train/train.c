/* train.c: steps of a training: draw windows, run the parts, add their gradients, clip, AdamW. */
#include "engine/train/train.h"
#include "engine/formats/formats.h"
#include "engine/kernels/kernels.h"
#include "engine/train/init.h"
#include "engine/train/inside.h"
#include "schemas/outfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW_ROWS = 512, PARAMETER_RUN = 1 << 16, POINTS = 1000 };

/* Of AdamW, as RWKV-7 is trained. */
#define BETA1   0.9
#define BETA2   0.99
#define EPSILON 1e-18
/* How much of the mean loss a step is. */
#define LOSS_SHARE 0.01

void train_defaults(struct train_options *o)
{
    *o = (struct train_options){.held_out_bytes = 64 << 10,
                                .shape = {.layers = 8,
                                          .channels = 256,
                                          .head_size = 32,
                                          .ffn = 1024,
                                          .rank_w = 32,
                                          .rank_a = 32,
                                          .rank_v = 16,
                                          .rank_g = 64},
                                .streams = 16,
                                .tokens = 256,
                                .parts = 2,
                                .steps = 10000,
                                .warm_up = 100,
                                .rate = 1e-3,
                                .rate_last = 3e-5,
                                .decay = 0.1,
                                .clip = 1,
                                .span_bytes = 256 << 10,
                                .seed = 1,
                                .isa = "auto"};
}

/* ---- Opening. ---- */

static const struct {
    const char *name, *needs;
    const struct net_ops *ops;
} levels[] = {
#if defined(__x86_64__)
    {"avx512", "avx512", &net_ops_avx512},
    {"avx2", "avx2", &net_ops_avx2},
#endif
    {"plain", "ref", &net_ops_plain},
};

/* The kernels know what runs here. */
static enum err_code choose_level(struct train *t, struct err *err)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        struct kernels kernels;
        bool any = !strcmp(t->options.isa, "auto");
        if (!any && strcmp(t->options.isa, levels[i].name) != 0)
            continue;
        if (!kernels_init(&kernels, levels[i].needs, "ref", err)) {
            t->ops = levels[i].ops;
            return ERR_OK;
        }
        if (!any)
            return err->code;
    }
    return err_set(err, ERR_USAGE, 0, "no isa '%s': auto, avx512, avx2, plain", t->options.isa);
}

static enum err_code check_options(const struct train_options *o, struct err *err)
{
    if (!o->output || !o->file_count)
        return err_set(err, ERR_USAGE, 0, "train needs text and -o MODEL.safetensors");
    if (!o->parts || o->parts > TRAIN_PARTS_MAX || !o->streams || o->streams > TRAIN_STREAMS_MAX ||
        o->streams % o->parts)
        return err_set(err, ERR_USAGE, 0,
                       "%u streams do not come in %u parts: at most %d and %d, and a multiple",
                       o->streams, o->parts, TRAIN_STREAMS_MAX, TRAIN_PARTS_MAX);
    if (o->state_only && !o->model)
        return err_set(err, ERR_USAGE, 0, "an initial state belongs to a model: name it");
    if (!o->tokens || o->tokens > TRAIN_TOKENS_MAX || o->tokens % NET_SCAN_TOKENS)
        return err_set(err, ERR_USAGE, 0, "a window of %u tokens: want a multiple of %d up to %d",
                       o->tokens, NET_SCAN_TOKENS, TRAIN_TOKENS_MAX);
    if (!(o->steps || (o->passes > 0 && o->passes <= 1e6)))
        return err_set(err, ERR_USAGE, 0, "a training has steps, or passes from 0 to 1000000");
    if (!(o->rate > 0 && o->rate <= 1) || !(o->rate_last >= 0) || !(o->clip > 0))
        return err_set(
            err, ERR_USAGE, 0,
            "a learning rate is above 0 and at most 1, the last one from 0, clipping above 0");
    if (!(o->keep >= 0 && o->keep < 1) || (o->keep > 0 && !o->model))
        return err_set(err, ERR_USAGE, 0,
                       "what is kept of a model is from 0 to less than 1: not %g%s", o->keep,
                       o->model ? "" : " of none");
    return ERR_OK;
}

/* The one that is asked for, or the model's own where its file has one, or bytes. */
static enum err_code open_vocabulary(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;
    enum err_code code = ERR_ABSENT;

    if (o->vocabulary) {
        code = tokenizer_open(&t->tokenizer, o->vocabulary, NULL, err);
        if (!code && o->model)
            code = tokenizer_check_model(t->tokenizer, o->vocabulary, o->model, err);
        return code;
    }
    if (o->model)
        code = tokenizer_open_model(&t->tokenizer, o->model, err);
    return code == ERR_ABSENT ? tokenizer_open_bytes(&t->tokenizer, err) : code;
}

static enum err_code open_texts(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;
    const struct corpus_file file = {.path = o->held_out, .weight = 1};
    enum err_code code = open_vocabulary(t, err);

    if (!code)
        code = corpus_open(&t->corpus,
                           &(struct corpus_options){.files = o->files,
                                                    .file_count = o->file_count,
                                                    .span_bytes = o->span_bytes,
                                                    .shuffle = true,
                                                    .seed = o->seed,
                                                    .tokenizer = t->tokenizer},
                           err);
    if (!code && o->held_out)
        code = corpus_open(&t->held_out,
                           &(struct corpus_options){.files = &file,
                                                    .file_count = 1,
                                                    .document_bytes = o->held_out_bytes,
                                                    .tokenizer = t->tokenizer},
                           err);
    return code;
}

static enum err_code find_shape(struct train *t, struct err *err)
{
    struct net_shape *shape = &t->options.shape;
    uint32_t vocab = tokenizer_vocab(t->tokenizer);
    enum err_code code = ERR_OK;

    if (t->options.model)
        code = weights_shape(t->options.model, shape, err);
    else
        shape->vocab = (vocab + NET_MULTIPLE - 1) / NET_MULTIPLE * NET_MULTIPLE;
    shape->time_state = shape->time_state || t->options.state_only;
    /* Bytes are what nobody asked for here. */
    if (!code && t->options.model && !t->options.vocabulary && shape->vocab != 256 &&
        !strcmp(tokenizer_name(t->tokenizer), "bytes"))
        code = err_set(err, ERR_MISMATCH, 0,
                       "model '%s' has %u tokens and carries no vocabulary: give it with --vocab "
                       "FILE",
                       t->options.model, shape->vocab);
    if (!code && shape->vocab < vocab)
        code =
            err_set(err, ERR_MISMATCH, 0,
                    "the model knows %u tokens, the vocabulary has %u: give its own with --vocab",
                    shape->vocab, vocab);
    return code ? code : net_shape_check(shape, err);
}

/* Zeros, on 64 bytes. NULL where it is refused. */
static void *floats(size_t count)
{
    size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
    float *place = aligned_alloc(64, bytes);

    if (place)
        memset(place, 0, bytes);
    return place;
}

static void multiply_plain(const struct gemm *gemm, const float *a, const float *b, float *c,
                           void *desk)
{
    (void)desk;
    gemm_f32(gemm, a, b, c);
}

static void multiply_bf16(const struct gemm *gemm, const float *a, const float *b, float *c,
                          void *desk)
{
    gemm_bf16(desk, gemm, a, b, c);
}

static enum err_code open_desks(struct train *t, struct err *err)
{
    enum err_code code = ERR_OK;

    for (size_t i = 0; !code && i < t->options.parts && t->options.products == TRAIN_BF16; i++)
        code = gemm_desk_open(&t->parts[i].desk, err);
    return code;
}

static void make_ranges(struct train *t)
{
    struct net_tensor tensor;

    for (size_t i = 0; net_tensor(&t->options.shape, &t->layout, i, &tensor); i++) {
        if (tensor.first < t->first)
            continue;
        struct net_range *last = t->range_count ? &t->ranges[t->range_count - 1] : NULL;
        size_t count = (size_t)tensor.rows * tensor.columns;
        if (last && last->decay == tensor.decay && last->fast == tensor.fast)
            last->count += count;
        else
            t->ranges[t->range_count++] =
                (struct net_range){tensor.first, count, tensor.decay, tensor.fast};
    }
}

static size_t parameter_runs(const struct train *t)
{
    return (t->layout.count - t->first + PARAMETER_RUN - 1) / PARAMETER_RUN;
}

/* As many streams of a part as give a product enough rows, and not more than caches like. */
static size_t window_streams(const struct train_options *o)
{
    size_t streams = o->streams / o->parts, most = WINDOW_ROWS / o->tokens;

    for (size_t n = most < streams ? most : streams; n > 1; n--)
        if (streams % n == 0)
            return n;
    return 1;
}

static bool open_part(const struct train *t, struct part *part)
{
    const struct train_options *o = &t->options;
    multiply_fn *multiply = part->desk ? multiply_bf16 : multiply_plain;

    part->gradient = floats(t->layout.count);
    part->work = t->ops->open(&o->shape, t->window_streams, o->tokens, true, multiply, part->desk);
    if (o->held_out)
        part->reader = t->ops->open(&o->shape, 1, o->tokens, false, multiply, part->desk);
    return part->gradient && part->work && (part->reader || !o->held_out);
}

static bool take_memory(struct train *t)
{
    const struct train_options *o = &t->options;
    const size_t states = o->streams * net_state(&o->shape), rows = (size_t)o->streams * o->tokens;
    bool whole = true;

    t->parameters = floats(t->layout.count);
    t->mean = floats(t->layout.count);
    t->square = floats(t->layout.count);
    t->start = o->keep > 0 ? floats(t->layout.count) : NULL;
    t->before = floats(states);
    t->after = floats(states);
    t->squares = calloc(parameter_runs(t), sizeof *t->squares);
    t->ranges = calloc(GLOBAL_TENSORS + (size_t)o->shape.layers * LAYER_TENSORS, sizeof *t->ranges);
    t->input = calloc(rows, sizeof *t->input);
    t->target = calloc(rows, sizeof *t->target);
    t->cursors = calloc(o->streams, sizeof *t->cursors);
    t->window_streams = window_streams(o);
    for (size_t i = 0; i < o->parts; i++)
        whole = open_part(t, &t->parts[i]) && whole;
    return whole && t->parameters && t->mean && t->square && (t->start || !(o->keep > 0)) &&
           t->before && t->after && t->squares && t->ranges && t->input && t->target && t->cursors;
}

static enum err_code begin(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;

    for (size_t i = 0; i < o->streams; i++)
        corpus_begin(&t->cursors[i]);
    if (t->start) {
        memcpy(t->parameters, t->start, t->layout.count * sizeof *t->start);
        return ERR_OK;
    }
    if (o->model)
        return weights_read(o->model, &o->shape, &t->layout, t->parameters, err);
    if (!net_init(&o->shape, &t->layout, o->seed, t->parameters))
        return err_set(err, ERR_MEMORY, 0, "the first weights");
    return ERR_OK;
}

/* As many as there are tokens to be read in. */
static void find_steps(struct train *t, uint64_t epoch)
{
    struct train_options *o = &t->options;
    double tokens = o->passes * (double)epoch;

    if (o->tokens_most && tokens > (double)o->tokens_most)
        tokens = (double)o->tokens_most;
    o->steps = 1 + (uint64_t)(tokens / ((double)o->streams * o->tokens));
}

/* The text, the model and the vocabulary that a training begins with are to be there when it begins anew. */
enum err_code train_not_input(const struct train_options *o, const char *path, struct err *err)
{
    const char *const inputs[] = {o->vocabulary, o->held_out};
    enum err_code code = model_not_output(o->model, path, err);

    for (size_t i = 0; !code && i < sizeof inputs / sizeof *inputs; i++)
        code = outfile_not_input(path, inputs[i], err);
    for (size_t i = 0; !code && i < o->file_count; i++)
        code = outfile_not_input(path, o->files[i].path, err);
    return code;
}

/* Where things lie, and that they are nobody else's. */
static enum err_code claim(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;
    struct outfile *model = NULL;
    enum err_code code = train_not_input(o, o->output, err);

    if (!code)
        code = outfile_open(&model, o->output, err); /* known now, not when hours have passed */
    outfile_close(&model);
    if (code)
        return code;
    t->output = strdup(o->output);
    if (!t->output || asprintf(&t->saved_path, "%s.training", o->output) < 0 ||
        asprintf(&t->lock_path, "%s.lock", o->output) < 0)
        return err_set(err, ERR_MEMORY, 0, "a training");
    code = train_not_input(o, t->saved_path, err);
    if (!code)
        code = train_not_input(o, t->lock_path, err);
    return code ? code : saved_claim(t, err);
}

static enum err_code open_all(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = o->threads ? o->threads : cores > 0 ? (unsigned)cores : 1;
    enum err_code code = check_options(o, err);
    bool found = false;
    uint64_t epoch;

    if (!code)
        code = claim(t, err);
    if (!code)
        code = choose_level(t, err);
    if (!code)
        code = open_texts(t, err);
    if (!code)
        code = find_shape(t, err);
    if (code)
        return code;
    epoch = corpus_tokens(t->corpus);
    if (!o->steps)
        find_steps(t, epoch);
    net_layout(&o->shape, &t->layout);
    t->first = o->state_only ? t->layout.states : 0;
    t->parts = calloc(o->parts, sizeof *t->parts);
    code = t->parts ? open_desks(t, err) : ERR_OK;
    if (code)
        return code;
    if (!t->parts || !take_memory(t))
        return err_set(err, ERR_MEMORY, 0, "a training of %zu parameters, %u x %u tokens",
                       t->layout.count, o->streams, o->tokens);
    make_ranges(t);
    t->status = (struct train_status){.steps = o->steps,
                                      .parameters = net_parameters(&o->shape),
                                      .trained = t->layout.count - t->first,
                                      .level = t->ops->level,
                                      .corpus_bytes = corpus_bytes(t->corpus),
                                      .epoch_tokens = epoch};
    code = saved_settings(t, err);
    if (!code)
        code = pool_open(&t->pool, threads < o->parts ? threads : o->parts, err);
    if (!code)
        code = saved_read(t, &found, err);
    t->status.resumed = found;
    t->status.vocabulary_apart = !o->state_only && !strcmp(tokenizer_name(t->tokenizer), "neox");
    if (!code && t->start)
        code = weights_read(o->model, &o->shape, &t->layout, t->start, err);
    if (!code && !found)
        code = begin(t, err);
    return code;
}

enum err_code train_open(struct train **out, const struct train_options *options, struct err *err)
{
    struct train *t = calloc(1, sizeof *t);
    enum err_code code;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "a training");
    t->options = *options;
    t->lock_fd = -1;
    code = open_all(t, err);
    if (code)
        train_close(&t);
    else
        *out = t;
    return code;
}

void train_close(struct train **train)
{
    struct train *t = *train;

    if (!t)
        return;
    pool_close(&t->pool);
    for (size_t i = 0; t->parts && t->ops && i < t->options.parts; i++) {
        t->ops->close(&t->parts[i].work);
        t->ops->close(&t->parts[i].reader);
        gemm_desk_close(&t->parts[i].desk);
        free(t->parts[i].gradient);
    }
    corpus_close(&t->corpus);
    corpus_close(&t->held_out);
    tokenizer_close(&t->tokenizer);
    saved_release(t);
    void *owned[] = {t->output, t->saved_path, t->lock_path, t->parameters, t->mean,   t->square,
                     t->start,  t->before,     t->after,     t->squares,    t->ranges, t->input,
                     t->target, t->cursors,    t->parts,     t->points};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(t);
    *train = NULL;
}

const struct train_status *train_status(const struct train *train)
{
    return &train->status;
}

const struct train_point *train_points(const struct train *train, size_t *count)
{
    *count = train->point_count;
    return train->points;
}

/* ---- A step. ---- */

/* A stream that has ended has none, and its state is of no use. */
static bool has_target(const struct train *t, size_t stream)
{
    const uint32_t *target = t->target + stream * t->options.tokens;

    for (size_t i = 0; i < t->options.tokens; i++)
        if (target[i] != NET_NO_TARGET)
            return true;
    return false;
}

/* A step's windows, several streams together; or for losses alone one by one: held-out texts are few, and most
 * streams have none. */
static void run_part(void *self, size_t index)
{
    struct train *t = self;
    const struct train_options *o = &t->options;
    struct part *part = &t->parts[index];
    const size_t streams = o->streams / o->parts, state = net_state(&o->shape);
    const size_t together = t->with_gradient ? t->window_streams : 1;
    float *gradient = t->with_gradient ? part->gradient : NULL;

    float_control_flush();
    if (gradient)
        memset(gradient, 0, t->layout.count * sizeof *gradient);
    part->loss = (struct net_loss){0};
    for (size_t i = index * streams; i < (index + 1) * streams; i += together) {
        const struct window window = {.input = t->input + i * o->tokens,
                                      .target = t->target + i * o->tokens,
                                      .before = t->before + i * state,
                                      .after = t->after + i * state,
                                      .weight = t->weight,
                                      .frozen = o->state_only};
        struct net_loss loss;
        if (!gradient && !has_target(t, i))
            continue;
        loss = t->ops->step(gradient ? part->work : part->reader, t->parameters, gradient, &window);
        part->loss.nats += loss.nats;
        part->loss.tokens += loss.tokens;
    }
}

static size_t run_length(const struct train *t, size_t first)
{
    size_t left = t->layout.count - first;
    return left < PARAMETER_RUN ? left : PARAMETER_RUN;
}

/* Gradients of a run of parameters: added up over the parts in their order, and squared. */
static void run_sum(void *self, size_t index)
{
    struct train *t = self;
    size_t first = t->first + index * PARAMETER_RUN, count = run_length(t, first);

    float_control_flush();
    for (size_t i = 1; i < t->options.parts; i++)
        t->ops->add(t->parts[0].gradient + first, t->parts[i].gradient + first, count);
    t->squares[index] = t->ops->squares(t->parts[0].gradient + first, count);
}

static void run_adam(void *self, size_t index)
{
    struct train *t = self;
    size_t first = t->first + index * PARAMETER_RUN;

    float_control_flush();
    t->ops->adam(&t->adam, t->parameters, t->parts[0].gradient, t->mean, t->square, first,
                 run_length(t, first));
}

static struct net_loss run_windows(struct train *t, bool with_gradient)
{
    struct net_loss loss = {0};

    t->with_gradient = with_gradient;
    pool_run(t->pool, run_part, t, t->options.parts);
    for (size_t i = 0; i < t->options.parts; i++) {
        loss.nats += t->parts[i].loss.nats;
        loss.tokens += t->parts[i].loss.tokens;
    }
    return loss;
}

static double rate_at(const struct train_options *o, uint64_t step)
{
    double along;

    if (step < o->warm_up)
        return o->rate * (double)(step + 1) / (double)o->warm_up;
    along =
        (double)(step - o->warm_up) / (double)(o->steps > o->warm_up ? o->steps - o->warm_up : 1);
    return o->rate_last + (o->rate - o->rate_last) * (0.5 + 0.5 * cos(3.141592653589793 * along));
}

static double gradient_length(struct train *t)
{
    double sum = 0;

    pool_run(t->pool, run_sum, t, parameter_runs(t));
    for (size_t i = 0; i < parameter_runs(t); i++)
        sum += t->squares[i];
    return sqrt(sum);
}

static void update(struct train *t, double length)
{
    const struct train_options *o = &t->options;
    double step = (double)(t->status.step + 1);

    t->status.rate = rate_at(o, t->status.step);
    t->status.norm = length;
    t->adam = (struct adam){.ranges = t->ranges,
                            .range_count = t->range_count,
                            .rate = t->status.rate,
                            .decay = o->decay,
                            .beta1 = BETA1,
                            .beta2 = BETA2,
                            .epsilon = EPSILON,
                            .correct1 = 1 - pow(BETA1, step),
                            .correct2 = 1 - pow(BETA2, step),
                            .scale = length > o->clip ? o->clip / length : 1};
    pool_run(t->pool, run_adam, t, parameter_runs(t));
}

static void swap_states(struct train *t)
{
    float *before = t->before;

    t->before = t->after;
    t->after = before;
}

static void draw(struct train *t)
{
    const struct train_options *o = &t->options;
    const size_t rows = (size_t)o->streams * o->tokens;
    uint64_t targets = 0;

    for (size_t i = 0; i < o->streams; i++)
        corpus_draw(t->corpus, &t->place, &t->cursors[i], o->tokens, t->input + i * o->tokens,
                    t->target + i * o->tokens, NULL);
    for (size_t i = 0; i < rows; i++)
        targets += t->target[i] != NET_NO_TARGET;
    t->weight = 1.0F / (float)(targets ? targets : 1);
}

static enum err_code note(struct train *t, struct err *err)
{
    struct train_status *s = &t->status;
    uint64_t every = s->steps / POINTS ? s->steps / POINTS : 1;

    if (s->step % every && s->step != s->steps)
        return ERR_OK;
    return points_add(t, (struct train_point){.step = s->step, .loss = s->loss}, err);
}

enum err_code train_step(struct train *t, struct err *err)
{
    struct net_loss loss;
    double length;

    draw(t);
    loss = run_windows(t, true);
    length = gradient_length(t);
    if (!isfinite(loss.nats) || !isfinite(length)) {
        float_control_set();
        return err_set(err, ERR_LIMIT, 0,
                       "step %llu: the loss is no longer a number; a lower --rate may help",
                       (unsigned long long)t->status.step);
    }
    update(t, length);
    float_control_set();
    swap_states(t);
    t->loss_sum += LOSS_SHARE * (loss.nats / (double)(loss.tokens ? loss.tokens : 1) - t->loss_sum);
    t->loss_weight += LOSS_SHARE * (1 - t->loss_weight);
    t->status.loss = t->loss_sum / t->loss_weight;
    t->status.tokens += loss.tokens;
    t->status.step++;
    return note(t, err);
}

/* ---- The model as it is. ----
 *
 * Between what was trained and what it began with, weight by weight: what a short text has taught is kept, and less
 * of what was learned by heart. Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022). */

/* Until the next step: the first part's gradient is nobody's in between. */
static float *made(struct train *t)
{
    float *out = t->parts[0].gradient;
    const float keep = (float)t->options.keep, *now = t->parameters, *then = t->start;

    if (!then)
        return t->parameters;
    for (size_t i = 0; i < t->layout.count; i++)
        out[i] = now[i] + keep * (then[i] - now[i]);
    return out;
}

/* ---- Held-out text. ---- */

static bool draw_held_out(struct train *t, struct corpus_place *place,
                          struct corpus_cursor *cursors, uint64_t *text)
{
    const struct train_options *o = &t->options;
    const size_t rows = (size_t)o->streams * o->tokens;
    bool any = false;

    for (size_t i = 0; i < o->streams; i++)
        corpus_draw(t->held_out, place, &cursors[i], o->tokens, t->input + i * o->tokens,
                    t->target + i * o->tokens, text);
    for (size_t i = 0; i < rows; i++) {
        if (t->target[i] == 0) /* the end of a document is no text */
            t->target[i] = NET_NO_TARGET;
        any = any || t->target[i] != NET_NO_TARGET;
    }
    return any;
}

/* A point that there is no memory for is missing from the curve alone. */
static void note_held_out(struct train *t)
{
    const struct train_status *s = &t->status;
    struct train_point here = {.step = s->step, .loss = s->loss, .held_out = s->held_out};

    if (t->point_count && t->points[t->point_count - 1].step == s->step)
        t->points[t->point_count - 1].held_out = s->held_out;
    else if (points_add(t, here, NULL))
        return;
}

double train_evaluate(struct train *t, const volatile sig_atomic_t *stop)
{
    const size_t states = t->options.streams * net_state(&t->options.shape);
    struct corpus_cursor *cursors = calloc(t->options.streams, sizeof *cursors);
    float *kept[] = {t->before, t->after, t->parameters}, *own[] = {floats(states), floats(states)};
    struct corpus_place place = {0};
    uint64_t text = 0;
    double nats = 0;

    if (t->held_out && cursors && own[0] && own[1]) {
        for (size_t i = 0; i < t->options.streams; i++)
            corpus_begin(&cursors[i]);
        t->before = own[0];
        t->after = own[1];
        t->parameters = made(t);
        while (!(stop && *stop) && draw_held_out(t, &place, cursors, &text)) {
            nats += run_windows(t, false).nats;
            swap_states(t);
        }
        float_control_set();
        t->before = kept[0];
        t->after = kept[1];
        t->parameters = kept[2];
        if (!(stop && *stop)) {
            t->status.held_out = text ? nats / log(2) / (double)text : 0;
            note_held_out(t);
        }
    }
    free(own[0]);
    free(own[1]);
    free(cursors);
    return t->status.held_out;
}

void train_name_weights(struct train *t, const char *weights)
{
    t->weights = weights;
}

enum err_code train_save(struct train *t, struct err *err)
{
    enum err_code code = weights_write(t, made(t), err);

    return code ? code : saved_write(t, err);
}

/* ---- What this machine could do at most. ---- */

enum { PEAK_SIDE = 1024, PEAK_ROUNDS = 10 };

static void run_peak(void *self, size_t part)
{
    const struct gemm gemm = {.m = PEAK_SIDE, .n = PEAK_SIDE, .k = PEAK_SIDE};
    float *at = (float *)self + part * 3 * PEAK_SIDE * PEAK_SIDE;

    gemm_f32(&gemm, at, at + PEAK_SIDE * PEAK_SIDE, at + 2 * PEAK_SIDE * PEAK_SIDE);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double train_peak(unsigned threads)
{
    float *matrices = floats((size_t)threads * 3 * PEAK_SIDE * PEAK_SIDE);
    struct pool *pool = NULL;
    double best = 0;

    if (matrices && !pool_open(&pool, threads, NULL))
        for (int i = 0; i < PEAK_ROUNDS; i++) {
            double begin = seconds(), rate;
            pool_run(pool, run_peak, matrices, threads);
            rate = 2e-9 * threads * PEAK_SIDE * PEAK_SIDE * PEAK_SIDE / (seconds() - begin);
            best = rate > best ? rate : best;
        }
    pool_close(&pool);
    free(matrices);
    return best;
}
