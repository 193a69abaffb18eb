/* onednn.c: oneDNN's float32 product where it is seen to give the key's bits.
 *
 * What depends on the shape alone (outputs x inputs) is made once for all products of that shape and
 * kept while one of them is open: a primitive for each number of rows 1, 2, 4 ... ROWS_LAST, and the
 * verdict of the self-check, in which random numbers go through every one of them and samples of what
 * comes out are compared with product_key. A product itself is its packed weights and no more.
 *
 * Rows in between are cut into such pieces, or padded up to one where that wastes little; a row's bits
 * do not depend on which, for every primitive has been found equal to the key.
 *
 * Threads  Debian's oneDNN divides work by OpenMP, and each thread that calls in would get a team
 *          of its own; omp_set_num_threads concerns the calling thread only, so it is said at every
 *          call. Scratch memory and stream belong to the calling thread and end with it. */
#include "engine/kernels/inside.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_KINDS = 9, ROWS_LAST = 1 << (ROWS_KINDS - 1), ALIGN = 64, SAMPLES = 48 };

void omp_set_num_threads(int count); /* libgomp; <omp.h> comes with one compiler only */

struct primitive {
    dnnl_primitive_t run;
    dnnl_memory_desc_t x, y, scratch;
    size_t scratch_bytes;
};

struct shape {
    struct shape *next;
    size_t outputs, inputs, users;
    bool usable;                /* every primitive was built and equals the key */
    dnnl_memory_desc_t weights; /* as packed, for all primitives alike */
    struct primitive kinds[ROWS_KINDS];
};

struct onednn {
    struct shape *shape;
    float *packed;
};

/* What a thread needs to call the library. */
struct desk {
    dnnl_stream_t stream;
    uint8_t *data;
    size_t bytes;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of shapes and users */
static struct shape *shapes;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t desk_key;
static dnnl_engine_t cpu;

static void desk_close(void *value)
{
    struct desk *desk = value;
    if (desk->stream)
        dnnl_stream_destroy(desk->stream);
    free(desk->data);
    free(desk);
}

static void start(void)
{
    require(pthread_key_create(&desk_key, desk_close) == 0);
    if (dnnl_engine_create(&cpu, dnnl_cpu, 0) != dnnl_success)
        cpu = NULL;
    dnnl_set_primitive_cache_capacity(0); /* the shapes above are the cache */
}

/* This thread's, with at least bytes of room. A refused allocation stops the program: it is made once a
 * thread, and a call that multiplies has no way to fail. */
static struct desk *desk_with(size_t bytes)
{
    struct desk *desk = pthread_getspecific(desk_key);

    if (!desk) {
        desk = calloc(1, sizeof *desk);
        require(desk && pthread_setspecific(desk_key, desk) == 0);
        require(dnnl_stream_create(&desk->stream, cpu, dnnl_stream_default_flags) == dnnl_success);
    }
    if (desk->bytes < bytes) {
        free(desk->data);
        desk->bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
        desk->data = aligned_alloc(ALIGN, desk->bytes);
        require(desk->data);
    }
    return desk;
}

/* ---- Building what a shape needs. ---- */

static dnnl_status_t describe(dnnl_memory_desc_t *desc, size_t rows, size_t columns,
                              dnnl_format_tag_t tag)
{
    dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    return dnnl_memory_desc_init_by_tag(desc, 2, dims, dnnl_f32, tag);
}

/* Strict float32, whatever the environment says, and scratch memory that the caller brings. */
static dnnl_status_t attributes(dnnl_primitive_attr_t *attr)
{
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (!status)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (!status)
        status = dnnl_primitive_attr_set_fpmath_mode(*attr, dnnl_fpmath_mode_strict);
    return status;
}

static dnnl_status_t finish_primitive(struct primitive *kind, struct shape *shape, bool first,
                                      const_dnnl_primitive_desc_t desc)
{
    const dnnl_memory_desc_t *w = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *s = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);

    if (!w || !s)
        return dnnl_unimplemented;
    if (first)
        shape->weights = *w;
    else if (!dnnl_memory_desc_equal(&shape->weights, w))
        return dnnl_unimplemented;
    kind->scratch = *s;
    kind->scratch_bytes = dnnl_memory_desc_get_size(s);
    return dnnl_primitive_create(&kind->run, desc);
}

/* Weights as the library likes for the first that is built, and just so for the others. */
static dnnl_status_t build_primitive(struct primitive *kind, struct shape *shape, size_t rows,
                                     bool first)
{
    dnnl_memory_desc_t any;
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = describe(&kind->x, rows, shape->inputs, dnnl_ab);

    if (!status)
        status = describe(&kind->y, rows, shape->outputs, dnnl_ab);
    if (!status)
        status = describe(&any, shape->inputs, shape->outputs, dnnl_format_tag_any);
    if (!status)
        status =
            dnnl_matmul_desc_init(&op, &kind->x, first ? &any : &shape->weights, NULL, &kind->y);
    if (!status)
        status = attributes(&attr);
    if (!status)
        status = dnnl_primitive_desc_create(&desc, &op, attr, cpu, NULL);
    if (!status)
        status = finish_primitive(kind, shape, first, desc);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return status;
}

static dnnl_status_t compute(dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
                             const dnnl_exec_arg_t *args)
{
    dnnl_status_t status;
    sigset_t before;

    signals_hold(&before);
    status = dnnl_primitive_execute(primitive, stream, count, args);
    signals_go(&before);
    return status;
}

/* plain [outputs][inputs] into packed, which has room for shape->weights. */
static dnnl_status_t pack(const struct shape *shape, float *plain, float *packed)
{
    dnnl_memory_desc_t from;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t source = NULL, target = NULL;
    struct desk *desk = desk_with(0);
    dnnl_status_t status = describe(&from, shape->inputs, shape->outputs, dnnl_ba);

    if (!status)
        status = dnnl_memory_create(&source, &from, cpu, plain);
    if (!status)
        status = dnnl_memory_create(&target, &shape->weights, cpu, packed);
    if (!status)
        status = dnnl_reorder_primitive_desc_create(&desc, &from, cpu, &shape->weights, cpu, NULL);
    if (!status)
        status = dnnl_primitive_create(&reorder, desc);
    if (!status) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
        status = compute(reorder, desk->stream, 2, args);
    }
    if (!status)
        status = dnnl_stream_wait(desk->stream);
    if (reorder)
        dnnl_primitive_destroy(reorder);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (source)
        dnnl_memory_destroy(source);
    if (target)
        dnnl_memory_destroy(target);
    return status;
}

/* ---- Multiplying. ---- */

/* One primitive on rows without gaps. */
static dnnl_status_t execute(const struct primitive *kind, const struct shape *shape,
                             const float *packed, const float *x, float *y, struct desk *desk)
{
    dnnl_memory_t memory[4] = {NULL, NULL, NULL, NULL};
    /* The library takes no const pointers; it only reads x and weights. */
    dnnl_status_t status = dnnl_memory_create(&memory[0], &kind->x, cpu, (void *)(uintptr_t)x);

    if (!status)
        status = dnnl_memory_create(&memory[1], &shape->weights, cpu, (void *)(uintptr_t)packed);
    if (!status)
        status = dnnl_memory_create(&memory[2], &kind->y, cpu, y);
    if (!status && kind->scratch_bytes)
        status = dnnl_memory_create(&memory[3], &kind->scratch, cpu, desk->data);
    if (!status) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, memory[0]},
                                  {DNNL_ARG_WEIGHTS, memory[1]},
                                  {DNNL_ARG_DST, memory[2]},
                                  {DNNL_ARG_SCRATCHPAD, memory[3]}};
        status = compute(kind->run, desk->stream, memory[3] ? 4 : 3, args);
    }
    if (!status)
        status = dnnl_stream_wait(desk->stream);
    for (size_t i = 0; i < 4; i++)
        if (memory[i])
            dnnl_memory_destroy(memory[i]);
    return status;
}

/* rows <= 1 << kind_index, copied together, padded with zeros and copied apart again. */
static void run_copied(const struct onednn *p, size_t kind_index, const float *x, size_t rows,
                       size_t x_stride, float *y, size_t y_stride)
{
    const struct shape *shape = p->shape;
    const struct primitive *kind = &shape->kinds[kind_index];
    size_t K = shape->inputs, N = shape->outputs, all = (size_t)1 << kind_index;
    size_t scratch = (kind->scratch_bytes + ALIGN - 1) / ALIGN * ALIGN;
    struct desk *desk = desk_with(scratch + all * (K + N) * sizeof *x);
    float *from = (float *)(void *)(desk->data + scratch), *to = from + all * K;

    for (size_t row = 0; row < rows; row++)
        memcpy(from + row * K, x + row * x_stride, K * sizeof *x);
    memset(from + rows * K, 0, (all - rows) * K * sizeof *x);
    require(!execute(kind, shape, p->packed, from, to, desk));
    for (size_t row = 0; row < rows; row++)
        memcpy(y + row * y_stride, to + row * N, N * sizeof *y);
}

static void run_direct(const struct onednn *p, size_t kind_index, const float *x, float *y)
{
    const struct primitive *kind = &p->shape->kinds[kind_index];

    require(!execute(kind, p->shape, p->packed, x, y, desk_with(kind->scratch_bytes)));
}

/* The kind for the next piece of rows: the largest that fits, or the one above it where less than a
 * quarter of it would be padding. */
static size_t next_kind(size_t rows)
{
    size_t kind = 0;

    while (kind + 1 < ROWS_KINDS && (size_t)2 << kind <= rows)
        kind++;
    if (kind + 1 < ROWS_KINDS && rows * 2 > ((size_t)3 << kind))
        kind++;
    return kind;
}

void onednn_run(const struct onednn *p, const float *x, size_t rows, size_t x_stride, float *y,
                size_t y_stride)
{
    bool dense = x_stride == p->shape->inputs && y_stride == p->shape->outputs;

    omp_set_num_threads(1);
    while (rows > 0) {
        size_t kind = next_kind(rows), some = (size_t)1 << kind;
        if (some > rows)
            some = rows;
        if ((dense || rows == 1) && some == (size_t)1 << kind)
            run_direct(p, kind, x, y);
        else
            run_copied(p, kind, x, some, x_stride, y, y_stride);
        rows -= some;
        x += some * x_stride;
        y += some * y_stride;
    }
}

/* ---- The self-check and the table of shapes. ---- */

/* Corners first, then anywhere. */
static bool samples_agree(const struct shape *shape, const float *x, const float *w, const float *y,
                          size_t rows)
{
    uint64_t random = rows;

    for (size_t i = 0; i < SAMPLES; i++) {
        size_t row, column;
        float want;

        random = random * 6364136223846793005u + 1442695040888963407u;
        row = i < 4 ? (i & 1) * (rows - 1) : (random >> 33) % rows;
        random = random * 6364136223846793005u + 1442695040888963407u;
        column = i < 4 ? (i >> 1) * (shape->outputs - 1) : (random >> 33) % shape->outputs;
        want = product_key(x + row * shape->inputs, w + column * shape->inputs, shape->inputs);
        if (memcmp(&want, &y[row * shape->outputs + column], sizeof want) != 0)
            return false;
    }
    return true;
}

/* Builds all kinds; plain and packed are room to work in, of a matrix each. */
static bool shape_is_key(struct shape *shape, float *plain, float *packed, float *x, float *y)
{
    struct onednn trial = {shape, packed};

    check_floats(plain, shape->outputs * shape->inputs, 1);
    check_floats(x, ROWS_LAST * shape->inputs, 2);
    if (pack(shape, plain, packed))
        return false;
    for (size_t kind = 0; kind < ROWS_KINDS; kind++) {
        size_t rows = (size_t)1 << kind;
        onednn_run(&trial, x, rows, shape->inputs, y, shape->outputs);
        if (!samples_agree(shape, x, plain, y, rows))
            return false;
    }
    return true;
}

static bool build(struct shape *shape)
{
    /* The largest number of rows decides how weights are packed. */
    for (size_t left = ROWS_KINDS; left > 0; left--)
        if (build_primitive(&shape->kinds[left - 1], shape, (size_t)1 << (left - 1),
                            left == ROWS_KINDS))
            return false;
    return true;
}

static void shape_free(struct shape *shape)
{
    for (size_t kind = 0; kind < ROWS_KINDS; kind++)
        if (shape->kinds[kind].run)
            dnnl_primitive_destroy(shape->kinds[kind].run);
    free(shape);
}

/* Find or make; with the mutex held. NULL: no memory. */
static struct shape *shape_get(size_t outputs, size_t inputs)
{
    struct shape *shape = shapes;

    while (shape && (shape->outputs != outputs || shape->inputs != inputs))
        shape = shape->next;
    if (!shape) {
        shape = calloc(1, sizeof *shape);
        if (!shape)
            return NULL;
        shape->outputs = outputs;
        shape->inputs = inputs;
        shape->usable = cpu && build(shape);
        shape->next = shapes;
        shapes = shape;
        if (shape->usable) {
            size_t room = dnnl_memory_desc_get_size(&shape->weights);
            size_t x = ROWS_LAST * inputs, y = ROWS_LAST * outputs;
            float *plain = malloc(outputs * inputs * sizeof *plain + (x + y) * sizeof *plain);
            float *packed = aligned_alloc(ALIGN, (room + ALIGN - 1) / ALIGN * ALIGN);
            shape->usable = plain && packed &&
                            shape_is_key(shape, plain, packed, plain + outputs * inputs,
                                         plain + outputs * inputs + x);
            free(plain);
            free(packed);
        }
    }
    shape->users++;
    return shape;
}

static void shape_put(struct shape *shape)
{
    struct shape **at = &shapes;

    if (--shape->users > 0)
        return;
    while (*at != shape)
        at = &(*at)->next;
    *at = shape->next;
    shape_free(shape);
}

static enum err_code pack_weights(struct onednn *p, const struct weights *weights, struct err *err)
{
    size_t count = weights->outputs * weights->inputs;
    size_t room = dnnl_memory_desc_get_size(&p->shape->weights);
    float *plain = malloc(count * sizeof *plain);
    enum err_code code = ERR_OK;

    p->packed = aligned_alloc(ALIGN, (room + ALIGN - 1) / ALIGN * ALIGN);
    if (!plain || !p->packed) {
        code = err_set(err, ERR_MEMORY, 0, "%zu floats of a matrix", count);
    } else {
        weights->rows(weights->from, 0, weights->outputs, plain);
        if (pack(p->shape, plain, p->packed))
            code = err_set(err, ERR_MEMORY, 0, "oneDNN packs %zu floats", count);
    }
    free(plain);
    return code;
}

enum err_code onednn_open(struct onednn **out, const struct weights *weights, struct err *err)
{
    struct onednn *p = calloc(1, sizeof *p);
    enum err_code code = ERR_OK;

    if (!p)
        return err_set(err, ERR_MEMORY, 0, "a product");
    require(pthread_once(&once, start) == 0);
    omp_set_num_threads(1);
    pthread_mutex_lock(&mutex);
    p->shape = shape_get(weights->outputs, weights->inputs);
    pthread_mutex_unlock(&mutex);
    if (!p->shape) {
        onednn_close(&p);
        return err_set(err, ERR_MEMORY, 0, "a product's shape");
    }
    if (p->shape->usable)
        code = pack_weights(p, weights, err);
    if (code || !p->shape->usable)
        onednn_close(&p);
    else
        *out = p;
    return code;
}

void onednn_close(struct onednn **product)
{
    struct onednn *p = *product;

    if (!p)
        return;
    if (p->shape) {
        pthread_mutex_lock(&mutex);
        shape_put(p->shape);
        pthread_mutex_unlock(&mutex);
    }
    free(p->packed);
    free(p);
    *product = NULL;
}
