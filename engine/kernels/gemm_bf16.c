/* gemm_bf16.c: products whose factors are rounded to bf16 first, sums in float32, by oneDNN.
 *
 * On processors with AMX that is six times the speed of float32. A desk keeps what depends on shapes: a
 * primitive for each kind of product, a reorder for each matrix that is rounded, and their memory. */
#include "engine/kernels/gemm.h"
#include "engine/kernels/inside.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS_MAX = 256, ALIGN = 64 };

void omp_set_num_threads(int count); /* libgomp; <omp.h> comes with one compiler only */

/* One matrix on its way to bf16, and there. */
struct factor {
    dnnl_primitive_t round;
    dnnl_memory_t from, to;
};

struct kind {
    struct gemm gemm;
    dnnl_primitive_t run;
    struct factor a, b;
    dnnl_memory_t c;
};

struct gemm_desk {
    dnnl_engine_t cpu;
    dnnl_stream_t stream;
    struct kind kinds[KINDS_MAX];
    size_t count;
    uint8_t *place[2]; /* of a and b in bf16 */
    size_t bytes[2];
};

/* ---- Building. ---- */

/* (rows, columns) row-major, or its transpose's memory seen the other way. */
static dnnl_status_t describe(dnnl_memory_desc_t *desc, size_t rows, size_t columns,
                              bool transposed, dnnl_data_type_t type)
{
    dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    return dnnl_memory_desc_init_by_tag(desc, 2, dims, type, transposed ? dnnl_ba : dnnl_ab);
}

static dnnl_status_t build_factor(struct gemm_desk *desk, struct factor *factor, size_t rows,
                                  size_t columns, bool transposed, dnnl_memory_desc_t *to)
{
    dnnl_memory_desc_t from;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = describe(&from, rows, columns, transposed, dnnl_f32);

    if (!status)
        status = describe(to, rows, columns, transposed, dnnl_bf16);
    if (!status)
        status = dnnl_reorder_primitive_desc_create(&desc, &from, desk->cpu, to, desk->cpu, NULL);
    if (!status)
        status = dnnl_primitive_create(&factor->round, desc);
    if (!status)
        status = dnnl_memory_create(&factor->from, &from, desk->cpu, DNNL_MEMORY_NONE);
    if (!status)
        status = dnnl_memory_create(&factor->to, to, desk->cpu, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

static dnnl_status_t build_product(struct gemm_desk *desk, struct kind *kind,
                                   const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b)
{
    dnnl_memory_desc_t c;
    dnnl_matmul_desc_t op;
    dnnl_post_ops_t after = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = describe(&c, kind->gemm.m, kind->gemm.n, false, dnnl_f32);

    if (!status)
        status = dnnl_matmul_desc_init(&op, a, b, NULL, &c);
    if (!status)
        status = dnnl_primitive_attr_create(&attr);
    if (!status && kind->gemm.add) {
        status = dnnl_post_ops_create(&after);
        if (!status)
            status = dnnl_post_ops_append_sum(after, 1.0F);
        if (!status)
            status = dnnl_primitive_attr_set_post_ops(attr, after);
    }
    if (!status)
        status = dnnl_primitive_desc_create(&desc, &op, attr, desk->cpu, NULL);
    if (!status)
        status = dnnl_primitive_create(&kind->run, desc);
    if (!status)
        status = dnnl_memory_create(&kind->c, &c, desk->cpu, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(attr);
    dnnl_post_ops_destroy(after);
    return status;
}

static void kind_close(struct kind *kind)
{
    struct factor *factors[] = {&kind->a, &kind->b};

    for (int i = 0; i < 2; i++) {
        dnnl_primitive_destroy(factors[i]->round);
        dnnl_memory_destroy(factors[i]->from);
        dnnl_memory_destroy(factors[i]->to);
    }
    dnnl_primitive_destroy(kind->run);
    dnnl_memory_destroy(kind->c);
}

static bool make_room(struct gemm_desk *desk, int which, size_t values)
{
    size_t bytes = (values * sizeof(uint16_t) + ALIGN - 1) / ALIGN * ALIGN;

    if (bytes <= desk->bytes[which])
        return true;
    free(desk->place[which]);
    desk->place[which] = aligned_alloc(ALIGN, bytes);
    desk->bytes[which] = desk->place[which] ? bytes : 0;
    return desk->place[which] != NULL;
}

static struct kind *kind_add(struct gemm_desk *desk, const struct gemm *gemm)
{
    struct kind *kind = &desk->kinds[desk->count];
    dnnl_memory_desc_t a, b;

    if (desk->count == KINDS_MAX || !make_room(desk, 0, gemm->m * gemm->k) ||
        !make_room(desk, 1, gemm->k * gemm->n))
        return NULL;
    *kind = (struct kind){.gemm = *gemm};
    if (build_factor(desk, &kind->a, gemm->m, gemm->k, gemm->transpose_a, &a) ||
        build_factor(desk, &kind->b, gemm->k, gemm->n, gemm->transpose_b, &b) ||
        build_product(desk, kind, &a, &b)) {
        kind_close(kind);
        return NULL;
    }
    desk->count++;
    return kind;
}

static bool is_same(const struct gemm *a, const struct gemm *b)
{
    return a->transpose_a == b->transpose_a && a->transpose_b == b->transpose_b &&
           a->add == b->add && a->m == b->m && a->n == b->n && a->k == b->k;
}

static struct kind *kind_of(struct gemm_desk *desk, const struct gemm *gemm)
{
    for (size_t i = 0; i < desk->count; i++)
        if (is_same(&desk->kinds[i].gemm, gemm))
            return &desk->kinds[i];
    return kind_add(desk, gemm);
}

/* ---- The public face. ---- */

enum err_code gemm_desk_open(struct gemm_desk **out, struct err *err)
{
    const struct gemm probe = {.transpose_b = true, .add = true, .m = 32, .n = 32, .k = 32};
    struct gemm_desk *desk = calloc(1, sizeof *desk);
    enum err_code code = ERR_OK;

    if (!desk)
        return err_set(err, ERR_MEMORY, 0, "a desk for products");
    if (dnnl_engine_create(&desk->cpu, dnnl_cpu, 0) ||
        dnnl_stream_create(&desk->stream, desk->cpu, dnnl_stream_default_flags) ||
        !kind_of(desk, &probe))
        code = err_set(err, ERR_MISMATCH, 0,
                       "oneDNN has no bf16 products on this processor; use --products f32");
    if (code)
        gemm_desk_close(&desk);
    else
        *out = desk;
    return code;
}

void gemm_desk_close(struct gemm_desk **desk)
{
    struct gemm_desk *d = *desk;

    if (!d)
        return;
    for (size_t i = 0; i < d->count; i++)
        kind_close(&d->kinds[i]);
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->cpu)
        dnnl_engine_destroy(d->cpu);
    free(d->place[0]);
    free(d->place[1]);
    free(d);
    *desk = NULL;
}

static void round_factor(const struct gemm_desk *desk, const struct factor *factor,
                         const float *from, void *to)
{
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, factor->from}, {DNNL_ARG_TO, factor->to}};

    dnnl_memory_set_data_handle(factor->from, (void *)(uintptr_t)from);
    dnnl_memory_set_data_handle(factor->to, to);
    require(dnnl_primitive_execute(factor->round, desk->stream, 2, args) == dnnl_success);
}

void gemm_bf16(struct gemm_desk *desk, const struct gemm *gemm, const float *a, const float *b,
               float *c)
{
    struct kind *kind;
    sigset_t before;

    signals_hold(&before);
    omp_set_num_threads(1); /* first: oneDNN asks when it builds, too */
    kind = kind_of(desk, gemm);
    require(kind);
    round_factor(desk, &kind->a, a, desk->place[0]);
    round_factor(desk, &kind->b, b, desk->place[1]);
    dnnl_memory_set_data_handle(kind->c, c);
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, kind->a.to}, {DNNL_ARG_WEIGHTS, kind->b.to}, {DNNL_ARG_DST, kind->c}};
    require(dnnl_primitive_execute(kind->run, desk->stream, 3, args) == dnnl_success);
    signals_go(&before);
}
