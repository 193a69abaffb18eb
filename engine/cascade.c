/* engine/cascade.c: see cascade.h for the picture.
 *
 * Who has which layers follows what was measured: over each window of blocks the time that a worker needed for a
 * layer, and the last one for the head, losses or not; so a core that others use too gets fewer layers. A new share
 * begins when no block is on its way, for a layer's states have one owner at a time.
 *
 * Blocks in flight are bounded by their number, workers + 1 of them: each worker has one in its hands
 * and one is being filled or waits. Worker 0 waits for a job and a free block, the others for a block, the caller for
 * a job that is done, and who waits sleeps; but while one block is all there is, its worker opens the crew (crew.h)
 * and the others help, until that worker is through with it or another job comes. */
#include "engine/cascade.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    ALIGN = 64,
    MARKERS_EXTRA = 64,
    WINDOW = 32,      /* blocks between two looks at the shares, */
    WINDOW_LEAST = 8, /* or so many that took window_s */
    CREW_FLOPS = 4 << 20
};
static const double window_s = 1; /* of all workers together */
static const double worth_it =
    0.93; /* of the longest worker's time, to let the pipe run dry once */

struct block {
    struct batch batch;
    struct part *parts;
    struct block *next; /* in the list it is in */
    float *memory;
};

struct worker {
    struct cascade *cascade;
    unsigned index;
    uint32_t first_layer, end_layer;
    struct head *head; /* the last worker has it */
    struct scratch scratch;
    float *memory;
    void *room;              /* for products of narrow weights */
    double layers_s, head_s; /* of this window, under the lock */
    struct block *arrived;   /* under the lock, oldest first */
    pthread_cond_t wake;
    pthread_t thread;
    bool started;
};

struct cascade {
    const struct model *model;
    uint32_t block_tokens;
    size_t segment_room;
    unsigned worker_count, block_count;
    struct worker workers[ENGINE_THREADS_MAX];
    struct block blocks[ENGINE_THREADS_MAX + 1];
    int descriptor;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t done_wake;
    struct block *free;
    uint32_t fill_tokens;                       /* of a block that is filled now, <= block_tokens */
    struct engine_job *jobs[JOBS_MAX];          /* a ring; the counts below never wrap */
    uint64_t submitted, taken, done, collected; /* collected <= done <= taken <= submitted */
    size_t taken_tokens;                        /* of job number `taken` */
    uint64_t block_number;                      /* of the block filled last; the first is 1 */
    uint64_t products;
    unsigned on_their_way; /* blocks */
    unsigned window;       /* blocks done since the shares were looked at */
    bool reshare;          /* as soon as no block is on its way: */
    uint32_t shares[ENGINE_THREADS_MAX];
    bool held, stop;
    atomic_bool given_up; /* with stop; read without the lock */
    struct crew crew;
    uint64_t crew_flops; /* of a layer for a token; with less there is nothing to help with */
};

/* ---- Worker 0: filling a block. Under the lock. ---- */

/* Append the next run of tokens. False where the next job must wait for another block. */
static bool take_segment(struct cascade *c, struct block *block)
{
    struct batch *batch = &block->batch;
    struct engine_job *job = c->jobs[c->taken % JOBS_MAX];
    size_t left = job->count - c->taken_tokens, space = c->fill_tokens - batch->rows;
    size_t count = left < space ? left : space;
    struct part *part = &block->parts[batch->segment_count];

    if ((left > 0 && space == 0) || job->state->last_block == c->block_number)
        return false;
    batch->segments[batch->segment_count++] =
        (struct segment){job->state->values, batch->rows, count};
    *part = (struct part){job, c->taken_tokens, count == left};
    batch->rows += count;
    c->taken_tokens += count;
    if (part->last) {
        if (job->snapshot)
            job->state->last_block = c->block_number;
        c->taken++;
        c->taken_tokens = 0;
    }
    return true;
}

static void fill(struct cascade *c, struct block *block)
{
    c->block_number++;
    block->batch.rows = block->batch.segment_count = 0;
    block->batch.has_delta = false;
    block->batch.products = 0;
    while (c->taken < c->submitted && block->batch.segment_count < c->segment_room)
        if (!take_segment(c, block))
            break;
}

/* Layers for each worker in turn. Nobody works. */
static void take_shares(struct cascade *c)
{
    uint32_t first = 0;

    for (unsigned i = 0; i < c->worker_count; i++) {
        c->workers[i].first_layer = first;
        first += c->shares[i];
        c->workers[i].end_layer = first;
        c->workers[i].layers_s = c->workers[i].head_s = 0;
    }
    require(first == c->model->layer_count);
    c->window = 0;
    c->reshare = false;
}

/* No block but w's is on its way, and none can be filled: let the others help. */
static void ask_for_help(struct worker *w)
{
    struct cascade *c = w->cascade;

    if (c->worker_count == 1 || c->on_their_way != 1 || c->taken != c->submitted ||
        c->model->layers_flops / c->model->layer_count < c->crew_flops)
        return;
    crew_open(&c->crew);
    for (unsigned i = 0; i < c->worker_count; i++)
        if (i != w->index)
            pthread_cond_signal(&c->workers[i].wake);
}

/* Under the lock, which is given away meanwhile. */
static void wait_or_help(struct worker *w)
{
    struct cascade *c = w->cascade;

    if (!crew_is_open(&c->crew)) {
        pthread_cond_wait(&w->wake, &c->lock);
        return;
    }
    pthread_mutex_unlock(&c->lock);
    crew_help(&c->crew);
    pthread_mutex_lock(&c->lock);
}

/* The block to work on next; NULL: stop. */
static struct block *take_block(struct worker *w)
{
    struct cascade *c = w->cascade;
    struct block *block = NULL;

    pthread_mutex_lock(&c->lock);
    if (w->index == 0) {
        while (!c->stop &&
               (!c->free || c->held || c->taken == c->submitted || (c->reshare && c->on_their_way)))
            wait_or_help(w);
        if (!c->stop && c->reshare)
            take_shares(c);
        if (!c->stop) {
            block = c->free;
            c->free = block->next;
            c->on_their_way++;
            fill(c, block);
        }
    } else {
        while (!c->stop && !w->arrived)
            wait_or_help(w);
        if (!c->stop) {
            block = w->arrived;
            w->arrived = block->next;
        }
    }
    if (block)
        ask_for_help(w);
    pthread_mutex_unlock(&c->lock);
    return block;
}

/* ---- All workers: the numbers. ---- */

static void embed(const struct cascade *c, struct block *block)
{
    const struct model *m = c->model;
    struct batch *batch = &block->batch;

    for (size_t i = 0; i < batch->segment_count; i++) {
        const struct segment *segment = &batch->segments[i];
        const struct part *part = &block->parts[i];
        for (size_t k = 0; k < segment->count; k++)
            tensor_rows(m->emb, part->job->tokens[part->offset + k], 1,
                        batch->delta + (segment->first + k) * m->channels);
    }
    m->kernels.layernorm(batch->x, batch->delta, NULL, m->ln0.weight, m->ln0.bias, m->ln0.eps,
                         batch->rows, m->channels);
}

static void copy_snapshots(const struct worker *w, const struct block *block)
{
    const struct model *m = w->cascade->model;
    size_t begin = w->first_layer * m->layer_floats, end = w->end_layer * m->layer_floats;

    for (size_t i = 0; i < block->batch.segment_count; i++) {
        const struct part *part = &block->parts[i];
        if (part->last && part->job->snapshot)
            memcpy(part->job->snapshot + begin * sizeof(float),
                   block->batch.segments[i].state + begin, (end - begin) * sizeof(float));
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds for the layers and for the head are added up. */
static void work(struct worker *w, struct block *block, double *layers_s, double *head_s)
{
    const struct model *m = w->cascade->model;
    double begin = now(), between;

    block->batch.room = w->room;
    block->batch.crew = &w->cascade->crew;
    if (w->index == 0 && block->batch.rows)
        embed(w->cascade, block);
    for (uint32_t layer = w->first_layer; layer < w->end_layer && block->batch.rows; layer++) {
        if (atomic_load_explicit(&w->cascade->given_up, memory_order_relaxed))
            break; /* all that is not collected is dropped */
        m->version->forward(m, layer, &block->batch, &w->scratch);
    }
    copy_snapshots(w, block);
    between = now();
    if (w->head)
        head_run(w->head, &block->batch, block->parts, &w->scratch);
    require(float_control_is_set());
    *layers_s = between - begin;
    *head_s = now() - between;
}

/* ---- Who gets which layers. ---- */

/* What each worker needs for a layer, and the last one for the head, in any unit. */
struct costs {
    double layer[ENGINE_THREADS_MAX], head;
};

/* How many layers worker i can have under load, and at most left. */
static uint32_t layers_under(const struct cascade *c, const struct costs *costs, double load,
                             unsigned i, uint32_t left)
{
    double room = load - (i + 1 == c->worker_count ? costs->head : 0);
    double layers = room > 0 ? room / costs->layer[i] * (1 + 1e-9) : 0;

    return layers < left ? (uint32_t)layers : left;
}

/* Shares under load, the last worker's first; true where all layers found a place. */
static bool share_under(const struct cascade *c, const struct costs *costs, double load,
                        uint32_t shares[ENGINE_THREADS_MAX])
{
    uint32_t left = c->model->layer_count;

    for (unsigned i = c->worker_count; i-- > 0;) {
        shares[i] = layers_under(c, costs, load, i, left);
        left -= shares[i];
    }
    return left == 0;
}

static double load_of(const struct cascade *c, const struct costs *costs, const uint32_t *shares)
{
    double most = 0;

    for (unsigned i = 0; i < c->worker_count; i++) {
        double load = shares[i] * costs->layer[i] + (i + 1 == c->worker_count ? costs->head : 0);
        most = load > most ? load : most;
    }
    return most;
}

/* The shares with which the longest worker's time is as short as it can be. */
static void share(const struct cascade *c, const struct costs *costs,
                  uint32_t shares[ENGINE_THREADS_MAX])
{
    double low = 0, high = costs->head + c->model->layer_count * costs->layer[0];

    for (int i = 0; i < 60; i++) {
        double load = (low + high) / 2;
        *(share_under(c, costs, load, shares) ? &high : &low) = load;
    }
    require(share_under(c, costs, high, shares));
}

/* A window is over: is there a better share? A worker without layers is taken for what the others are. */
static void look_at_shares(struct cascade *c)
{
    struct costs costs = {.head = c->workers[c->worker_count - 1].head_s};
    uint32_t shares[ENGINE_THREADS_MAX], now_shares[ENGINE_THREADS_MAX];
    double sum = 0;
    uint32_t layers = 0;
    bool measured = true;

    for (unsigned i = 0; i < c->worker_count; i++) {
        now_shares[i] = c->workers[i].end_layer - c->workers[i].first_layer;
        sum += c->workers[i].layers_s;
        layers += now_shares[i];
    }
    for (unsigned i = 0; i < c->worker_count; i++) {
        struct worker *w = &c->workers[i];
        costs.layer[i] = now_shares[i] ? w->layers_s / now_shares[i] : sum / layers;
        measured = measured && costs.layer[i] > 0;
        w->layers_s = w->head_s = 0;
    }
    c->window = 0;
    if (!measured)
        return;
    share(c, &costs, shares);
    if (load_of(c, &costs, shares) < worth_it * load_of(c, &costs, now_shares)) {
        memcpy(c->shares, shares, sizeof shares);
        c->reshare = true;
    }
}

/* ---- Handing over. ---- */

static void append(struct block **list, struct block *block)
{
    while (*list)
        list = &(*list)->next;
    block->next = NULL;
    *list = block;
}

static bool window_is_over(const struct cascade *c)
{
    double sum = 0;

    for (unsigned i = 0; i < c->worker_count; i++)
        sum += c->workers[i].layers_s;
    return c->window >= WINDOW || (c->window >= WINDOW_LEAST && sum >= window_s);
}

static void finish(struct cascade *c, struct block *block)
{
    uint64_t before = c->done;

    for (size_t i = 0; i < block->batch.segment_count; i++)
        c->done += block->parts[i].last;
    c->products += block->batch.products;
    c->on_their_way--;
    c->window++;
    if (c->worker_count > 1 && !c->reshare && window_is_over(c))
        look_at_shares(c);
    append(&c->free, block);
    pthread_cond_signal(&c->workers[0].wake);
    if (c->done > before) {
        pthread_cond_signal(&c->done_wake);
        require(eventfd_write(c->descriptor, 1) == 0);
    }
}

static void hand_over(struct worker *w, struct block *block, double layers_s, double head_s)
{
    struct cascade *c = w->cascade;

    pthread_mutex_lock(&c->lock);
    crew_close(&c->crew);
    w->layers_s += layers_s;
    w->head_s += head_s;
    if (w->index + 1 == c->worker_count) {
        finish(c, block);
    } else {
        append(&w[1].arrived, block);
        pthread_cond_signal(&w[1].wake);
    }
    pthread_mutex_unlock(&c->lock);
}

static void *run(void *context)
{
    struct worker *w = context;
    struct block *block;

    float_control_set();
    while ((block = take_block(w))) {
        double layers_s, head_s;
        work(w, block, &layers_s, &head_s);
        hand_over(w, block, layers_s, head_s);
    }
    return NULL;
}

/* ---- Opening. ---- */

/* As if all cores were alike, and each token's loss were asked for. */
static void first_shares(struct cascade *c)
{
    struct costs costs = {.head = (double)c->model->head_flops};

    for (unsigned i = 0; i < c->worker_count; i++)
        costs.layer[i] = (double)c->model->layers_flops / c->model->layer_count;
    share(c, &costs, c->shares);
    take_shares(c);
}

static enum err_code allocate(float **out, size_t floats, struct err *err)
{
    size_t bytes = (floats * sizeof **out + ALIGN - 1) / ALIGN * ALIGN;

    *out = aligned_alloc(ALIGN, bytes ? bytes : ALIGN);
    if (!*out)
        return err_set(err, ERR_MEMORY, 0, "%zu bytes for a block of tokens", bytes);
    return ERR_OK;
}

static enum err_code open_block(struct cascade *c, struct block *block, struct err *err)
{
    size_t plane = (size_t)c->block_tokens * c->model->channels;
    enum err_code code = allocate(&block->memory, 3 * plane, err);

    if (code)
        return code;
    block->batch.x = block->memory;
    block->batch.delta = block->memory + plane;
    block->batch.v_first = block->memory + 2 * plane;
    block->batch.segments = calloc(c->segment_room, sizeof *block->batch.segments);
    block->parts = calloc(c->segment_room, sizeof *block->parts);
    if (!block->batch.segments || !block->parts)
        return err_set(err, ERR_MEMORY, 0, "a block's segments");
    append(&c->free, block);
    return ERR_OK;
}

static enum err_code open_worker(struct cascade *c, unsigned index, struct err *err)
{
    struct worker *w = &c->workers[index];
    const struct model *m = c->model;
    size_t plane = (size_t)c->block_tokens * m->channels;
    uint32_t wide = m->ffn_channels > m->rank_max ? m->ffn_channels : m->rank_max;
    enum err_code code =
        allocate(&w->memory, (MIXES_MAX + 1) * plane + (size_t)c->block_tokens * wide, err);

    if (!code && m->kernels.weights != WEIGHTS_F32) {
        w->room = malloc(product_room(c->block_tokens, wide > m->channels ? wide : m->channels));
        code = w->room ? ERR_OK : err_set(err, ERR_MEMORY, 0, "a worker's buffers");
    }
    w->cascade = c;
    w->index = index;
    pthread_cond_init(&w->wake, NULL);
    if (!code && index + 1 == c->worker_count)
        code = head_open(&w->head, m, c->block_tokens, err);
    if (code)
        return code;
    for (int i = 0; i < MIXES_MAX; i++)
        w->scratch.mix[i] = w->memory + (size_t)i * plane;
    w->scratch.norm = w->memory + MIXES_MAX * plane;
    w->scratch.wide = w->scratch.norm + plane;
    return ERR_OK;
}

/* A core each, where there are several workers and cores enough. A refusal does no harm. */
static void pin(const struct cascade *c)
{
    cpu_set_t cores;
    unsigned next = 0;

    if (c->worker_count < 2 || sched_getaffinity(0, sizeof cores, &cores) ||
        (unsigned)CPU_COUNT(&cores) < c->worker_count)
        return;
    for (int core = 0; core < CPU_SETSIZE && next < c->worker_count; core++) {
        cpu_set_t one;
        if (!CPU_ISSET(core, &cores))
            continue;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        pthread_setaffinity_np(c->workers[next++].thread, sizeof one, &one);
    }
}

static enum err_code start(struct cascade *c, struct err *err)
{
    for (unsigned i = 0; i < c->worker_count; i++) {
        int cause = pthread_create(&c->workers[i].thread, NULL, run, &c->workers[i]);
        if (cause)
            return err_set(err, ERR_SYSTEM, cause, "start worker %u", i);
        c->workers[i].started = true;
    }
    pin(c);
    return ERR_OK;
}

enum err_code cascade_open(struct cascade **out, const struct model *model, unsigned threads,
                           uint32_t block_tokens, struct err *err)
{
    struct cascade *c = aligned_alloc(_Alignof(struct cascade), sizeof *c);
    enum err_code code = ERR_OK;

    if (!c)
        return err_set(err, ERR_MEMORY, 0, "the workers");
    memset(c, 0, sizeof *c);
    c->model = model;
    c->block_tokens = c->fill_tokens = block_tokens;
    c->crew_flops = CREW_FLOPS;
    c->segment_room = (size_t)block_tokens + MARKERS_EXTRA;
    c->worker_count = threads > model->layer_count ? model->layer_count + 1 : threads;
    c->block_count = c->worker_count == 1 ? 1 : c->worker_count + 1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done_wake, NULL);
    first_shares(c);
    c->descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->descriptor < 0)
        code = err_set(err, ERR_SYSTEM, errno, "eventfd");
    for (unsigned i = 0; i < c->block_count && !code; i++)
        code = open_block(c, &c->blocks[i], err);
    for (unsigned i = 0; i < c->worker_count && !code; i++)
        code = open_worker(c, i, err);
    if (!code)
        code = start(c, err);
    if (code)
        cascade_close(&c);
    else
        *out = c;
    return code;
}

static void close_worker(struct worker *w)
{
    if (w->cascade)
        pthread_cond_destroy(&w->wake);
    head_close(&w->head);
    free(w->room);
    free(w->memory);
}

void cascade_close(struct cascade **cascade)
{
    struct cascade *c = *cascade;

    *cascade = NULL;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    atomic_store_explicit(&c->given_up, true, memory_order_relaxed);
    crew_close(&c->crew);
    for (unsigned i = 0; i < c->worker_count; i++)
        if (c->workers[i].started)
            pthread_cond_signal(&c->workers[i].wake);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->worker_count; i++)
        if (c->workers[i].started)
            pthread_join(c->workers[i].thread, NULL);
    while (c->collected < c->submitted)
        c->jobs[c->collected++ % JOBS_MAX]->state->jobs--;
    for (unsigned i = 0; i < c->worker_count; i++)
        close_worker(&c->workers[i]);
    for (unsigned i = 0; i < c->block_count; i++) {
        free(c->blocks[i].batch.segments);
        free(c->blocks[i].parts);
        free(c->blocks[i].memory);
    }
    if (c->descriptor >= 0)
        close(c->descriptor);
    pthread_cond_destroy(&c->done_wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- The caller's side. ---- */

unsigned cascade_workers(const struct cascade *cascade)
{
    return cascade->worker_count;
}

size_t cascade_room(const struct cascade *cascade)
{
    /* Only the caller's thread changes these two. */
    return JOBS_MAX - (size_t)(cascade->submitted - cascade->collected);
}

void cascade_submit(struct cascade *cascade, struct engine_job *job)
{
    pthread_mutex_lock(&cascade->lock);
    cascade->jobs[cascade->submitted++ % JOBS_MAX] = job;
    crew_close(&cascade->crew); /* there is more to do than to help */
    pthread_cond_signal(&cascade->workers[0].wake);
    pthread_mutex_unlock(&cascade->lock);
}

struct engine_job *cascade_collect(struct cascade *cascade, bool wait)
{
    struct engine_job *job = NULL;
    eventfd_t ignored;

    pthread_mutex_lock(&cascade->lock);
    while (wait && cascade->collected == cascade->done && cascade->collected < cascade->submitted)
        pthread_cond_wait(&cascade->done_wake, &cascade->lock);
    if (cascade->collected < cascade->done)
        job = cascade->jobs[cascade->collected++ % JOBS_MAX];
    else
        (void)eventfd_read(cascade->descriptor, &ignored);
    pthread_mutex_unlock(&cascade->lock);
    return job;
}

int cascade_descriptor(const struct cascade *cascade)
{
    return cascade->descriptor;
}

uint64_t cascade_products(struct cascade *cascade)
{
    uint64_t products;

    pthread_mutex_lock(&cascade->lock);
    products = cascade->products;
    pthread_mutex_unlock(&cascade->lock);
    return products;
}

void cascade_set_block(struct cascade *cascade, uint64_t rows)
{
    pthread_mutex_lock(&cascade->lock);
    cascade->fill_tokens = rows < cascade->block_tokens ? (uint32_t)rows : cascade->block_tokens;
    pthread_mutex_unlock(&cascade->lock);
}

void cascade_hold(struct cascade *cascade, bool held)
{
    pthread_mutex_lock(&cascade->lock);
    cascade->held = held;
    pthread_cond_signal(&cascade->workers[0].wake);
    pthread_mutex_unlock(&cascade->lock);
}

void cascade_share(struct cascade *cascade, uint32_t first)
{
    const struct model *m = cascade->model;
    uint32_t left = m->layer_count;

    pthread_mutex_lock(&cascade->lock);
    for (unsigned i = 0; i < cascade->worker_count; i++) {
        bool last = i + 1 == cascade->worker_count;
        cascade->shares[i] = last ? left : i == 0 ? first % (left + 1) : (left + 1) / 2;
        left -= cascade->shares[i];
    }
    cascade->reshare = true;
    pthread_cond_signal(&cascade->workers[0].wake);
    pthread_mutex_unlock(&cascade->lock);
}

void cascade_always_help(struct cascade *cascade)
{
    pthread_mutex_lock(&cascade->lock);
    cascade->crew_flops = 0;
    pthread_mutex_unlock(&cascade->lock);
}
