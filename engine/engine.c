/* engine/engine.c: the public face: model, workers and states put together. */
#include "engine/engine.h"
#include "engine/cascade.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "states and models are little-endian");

/* With fewer rows than the least, a core waits for the weights: it multiplies some 64 times as fast as it reads. */
enum { BLOCK_DEFAULT = 256, BLOCK_LEAST = 64 };

/* What comes behind the blocks in flight waits for them: four seconds at most, at this many flops a second and
 * worker. Whoever has little to read fills no block, and a stop waits for a layer. */
static const double flops_expected = 150e9, seconds_in_flight = 4;

struct engine {
    struct model *model;
    struct cascade *cascade;
    struct engine_info info;
};

static unsigned cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

    return count < 1 ? 1 : count > ENGINE_THREADS_MAX ? ENGINE_THREADS_MAX : (unsigned)count;
}

static uint32_t default_block(const struct model *model)
{
    double flops = (double)(model->layers_flops + model->head_flops);
    uint32_t rows = BLOCK_DEFAULT;

    while (rows > BLOCK_LEAST && 2 * rows * flops > flops_expected * seconds_in_flight)
        rows /= 2;
    return rows;
}

static void fill_info(struct engine *e)
{
    const struct model *m = e->model;

    model_describe(m, &e->info);
    e->info.arithmetic = m->kernels.arithmetic;
    e->info.blas = m->kernels.blas;
    e->info.isa = m->kernels.isa;
    e->info.threads = cascade_workers(e->cascade);
}

static enum err_code check_options(const struct engine_options *options, struct err *err)
{
    if (options->threads > ENGINE_THREADS_MAX)
        return err_set(err, ERR_USAGE, 0, "%u threads: 1 to %d", options->threads,
                       ENGINE_THREADS_MAX);
    if (options->block_tokens > ENGINE_BLOCK_MAX)
        return err_set(err, ERR_USAGE, 0, "blocks of %u tokens: 1 to %d", options->block_tokens,
                       ENGINE_BLOCK_MAX);
    if (!(options->gn_eps >= 0 && options->gn_eps <= 1))
        return err_set(err, ERR_USAGE, 0, "an epsilon of %g for the group norm: 0 to 1",
                       (double)options->gn_eps);
    return ERR_OK;
}

static enum err_code set_epsilon(struct model *model, float gn_eps, struct err *err)
{
    if (gn_eps > 0 && model->version->gn_eps == 0)
        return err_set(err, ERR_USAGE, 0, "%s has no group norm, so no epsilon of it",
                       model->version->name);
    if (gn_eps > 0)
        model->gn_eps = gn_eps;
    return ERR_OK;
}

static enum err_code set_kernels(struct kernels *kernels, const struct engine_options *o,
                                 const struct container *container, struct err *err)
{
    const char *weights = o->weights ? o->weights : "auto";
    enum err_code code = kernels_init(kernels, o->isa, o->blas, err);

    if (code)
        return code;
    if (!strcmp(weights, "auto"))
        weights = kernels_are_own(kernels) && container->weights ? container->weights : "f32";
    return kernels_set_weights(kernels, weights, err);
}

enum err_code engine_open(struct engine **out, const char *path,
                          const struct engine_options *options, struct err *err)
{
    static const struct engine_options defaults = {0};
    const struct engine_options *o = options ? options : &defaults;
    unsigned threads = o->threads ? o->threads : cores();
    struct engine *e = NULL;
    enum err_code code = check_options(o, err);

    if (code)
        return code;
    e = calloc(1, sizeof *e);
    if (!e)
        return err_set(err, ERR_MEMORY, 0, "model '%s'", path);
    code = model_open(&e->model, path, o->initial_state, err);
    if (!code)
        code = set_epsilon(e->model, o->gn_eps, err);
    if (!code)
        code = set_kernels(&e->model->kernels, o, e->model->container, err);
    if (!code)
        code = model_pack(e->model, threads, err);
    if (!code)
        code = cascade_open(&e->cascade, e->model, threads,
                            o->block_tokens ? o->block_tokens : default_block(e->model), err);
    if (code)
        goto done;
    fill_info(e);
    code = model_fingerprint(e->model, threads, e->info.fingerprint, err);
    if (code)
        goto done;
    container_rest(e->model->container);
    *out = e;
    e = NULL;
done:
    engine_close(&e);
    return code;
}

void engine_close(struct engine **engine)
{
    struct engine *e = *engine;

    *engine = NULL;
    if (!e)
        return;
    cascade_close(&e->cascade);
    model_close(&e->model);
    free(e);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

enum err_code engine_fingerprint(const char *path, uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES],
                                 struct err *err)
{
    return engine_fingerprint_with(path, NULL, fingerprint, err);
}

enum err_code engine_fingerprint_with(const char *path, const char *initial_state,
                                      uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES],
                                      struct err *err)
{
    struct model *model = NULL;
    enum err_code code = model_open(&model, path, initial_state, err);

    if (!code)
        code = model_fingerprint(model, cores(), fingerprint, err);
    model_close(&model);
    return code;
}

enum err_code engine_arithmetic(const char *path, const struct engine_options *options, char *name,
                                size_t name_bytes, struct err *err)
{
    static const struct engine_options defaults = {0};
    struct container *container = NULL;
    struct kernels kernels;
    enum err_code code = container_open(&container, path, err);

    if (!code)
        code = set_kernels(&kernels, options ? options : &defaults, container, err);
    container_close(&container);
    if (code)
        return code;
    if (strlen(kernels.arithmetic) >= name_bytes)
        return err_set(err, ERR_LIMIT, 0, "the name '%s' is longer than %zu bytes",
                       kernels.arithmetic, name_bytes);
    memcpy(name, kernels.arithmetic, strlen(kernels.arithmetic) + 1);
    return ERR_OK;
}

/* ---- States ---- */

static const float *state_tail(const struct engine_state *state)
{
    const struct model *m = state->engine->model;

    return state->values + m->layer_count * m->layer_floats;
}

enum err_code engine_state_open(struct engine *engine, struct engine_state **out, struct err *err)
{
    const struct model *m = engine->model;
    struct engine_state *s = calloc(1, sizeof *s);

    if (s)
        s->values = calloc(1, engine->info.state_bytes);
    if (!s || !s->values) {
        engine_state_close(&s);
        return err_set(err, ERR_MEMORY, 0, "%zu bytes for a stream's state",
                       engine->info.state_bytes);
    }
    s->engine = engine;
    for (uint32_t layer = 0; layer < m->layer_count; layer++)
        m->version->layer_origin(m, layer, s->values + layer * m->layer_floats);
    *out = s;
    return ERR_OK;
}

void engine_state_close(struct engine_state **state)
{
    struct engine_state *s = *state;

    *state = NULL;
    if (!s)
        return;
    require(s->jobs == 0);
    free(s->values);
    free(s);
}

void engine_state_save(const struct engine_state *state, uint8_t *bytes)
{
    require(state->jobs == 0);
    memcpy(bytes, state->values, state->engine->info.state_bytes);
}

enum err_code engine_state_load(struct engine_state *state, const uint8_t *bytes, struct err *err)
{
    size_t count = state->engine->info.state_bytes / sizeof(float);
    const float *tail = state_tail(state);
    float value;

    require(state->jobs == 0);
    for (size_t i = 0; i < count; i++) {
        memcpy(&value, bytes + i * sizeof value, sizeof value);
        if (!isfinite(value))
            return err_set(err, ERR_DAMAGED, 0, "a saved state is not finite at float %zu of %zu",
                           i, count);
    }
    memcpy(state->values, bytes, count * sizeof value);
    /* ln_out is zero at the origin, and never after a token: its bias is not. */
    state->started = false;
    for (size_t i = 0; i < state->engine->model->channels; i++)
        state->started = state->started || tail[i] != 0;
    return ERR_OK;
}

/* ---- Jobs ---- */

enum err_code engine_submit(struct engine *engine, struct engine_job *job, struct err *err)
{
    struct engine_state *state = job->state;

    require(state->engine == engine);
    if (cascade_room(engine->cascade) == 0)
        return err_set(err, ERR_LIMIT, 0, "%d jobs are in flight", JOBS_MAX);
    for (size_t i = 0; i < job->count; i++)
        if (job->tokens[i] >= engine->info.vocab)
            return err_set(err, ERR_INPUT, 0, "token %u at %zu: the model has %u", job->tokens[i],
                           i, engine->info.vocab);
    if (!state->started && ((job->loss && job->count) || (job->logits && !job->count)))
        return err_set(err, ERR_INPUT, 0, "a stream that has read nothing predicts nothing");
    state->started = state->started || job->count > 0;
    state->jobs++;
    cascade_submit(engine->cascade, job);
    return ERR_OK;
}

size_t engine_room(const struct engine *engine)
{
    return cascade_room(engine->cascade);
}

struct engine_job *engine_collect(struct engine *engine, bool wait)
{
    struct engine_job *job = cascade_collect(engine->cascade, wait);

    if (job)
        job->state->jobs--;
    return job;
}

int engine_descriptor(const struct engine *engine)
{
    return cascade_descriptor(engine->cascade);
}

void engine_set_block(struct engine *engine, uint64_t rows)
{
    cascade_set_block(engine->cascade, rows < BLOCK_LEAST ? BLOCK_LEAST : rows);
}

enum err_code engine_run(struct engine *engine, struct engine_job *job, struct err *err)
{
    enum err_code code = engine_submit(engine, job, err);

    if (!code)
        require(engine_collect(engine, true) == job);
    return code;
}

uint64_t engine_products(const struct engine *engine)
{
    return cascade_products(engine->cascade);
}

void engine_hold(struct engine *engine, bool held)
{
    cascade_hold(engine->cascade, held);
}

void engine_share(struct engine *engine, uint32_t first)
{
    cascade_share(engine->cascade, first);
}

void engine_always_help(struct engine *engine)
{
    cascade_always_help(engine->cascade);
}
