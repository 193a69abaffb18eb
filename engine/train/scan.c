/* scan.c: the recurrence of RWKV-7 for one head along one stream, and its way back.
 *
 *     sa_i = sum_j S_ij a_j                          the old S
 *     S_ij = S_ij w_j + sa_i b_j + v_i k_j
 *     y_i  = sum_j S_ij r_j                          the new S
 *
 * Back, with G the gradient of S behind token t and P the state before it:
 *
 *     G_ij += dy_i r_j      dr_j = sum_i dy_i S_ij    dk_j = sum_i v_i G_ij    dv_i = sum_j G_ij k_j
 *     dsa_i = sum_j G_ij b_j                          db_j = sum_i sa_i G_ij   dw_j = sum_i P_ij G_ij
 *     da_j = sum_i dsa_i P_ij                         G_ij <- G_ij w_j + dsa_i a_j
 *
 * States are needed in reverse; undoing a step would divide by the decay and lose all digits. So
 * the forward pass keeps one in NET_SCAN_TOKENS, and the way back makes those in between again, which
 * is cheap since sa is kept. Rows i are taken sixteen at a time, so that one tree of additions serves
 * sixteen sums over j.
 *
 * A token that begins a document has a zero state before it, whatever came. */
#include "engine/train/work.h"

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { GROUP = NET_MULTIPLE };

/* sa of sixteen rows of S. */
INLINE void dots(const real *S, const real *x, real *out, size_t n)
{
    vec p[GROUP];

    UNROLL
    for (int i = 0; i < GROUP; i++)
        p[i] = all(0);
    for (size_t j = 0; j < n; j += LANES) {
        vec f = load(x + j);
        UNROLL
        for (int i = 0; i < GROUP; i++)
            p[i] += load(S + (size_t)i * n + j) * f;
    }
    sums_of(p, out);
}

/* Sixteen rows of S from old to new (which may be one), and with y also y. */
INLINE void update(real *to, const real *from, const real *sa, const real *v, const real *w,
                   const real *b, const real *k, const real *r, real *y, size_t n)
{
    vec p[GROUP];

    UNROLL
    for (int i = 0; i < GROUP; i++)
        p[i] = all(0);
    for (size_t j = 0; j < n; j += LANES) {
        vec w_j = load(w + j), b_j = load(b + j), k_j = load(k + j), r_j = load(r + j);
        UNROLL
        for (int i = 0; i < GROUP; i++) {
            vec s = load(from + (size_t)i * n + j) * w_j + sa[i] * b_j + v[i] * k_j;
            store(to + (size_t)i * n + j, s);
            p[i] += s * r_j;
        }
    }
    if (y)
        sums_of(p, y);
}

INLINE void forward(const struct scan *scan, size_t n)
{
    real *S = scan->S;

    for (size_t t = 0; t < scan->tokens; t++) {
        size_t at = t * scan->stride;
        if (scan->states && t % NET_SCAN_TOKENS == 0)
            memcpy(scan->states + t / NET_SCAN_TOKENS * n * n, S, n * n * sizeof *S);
        if (scan->input[t] == 0)
            memset(S, 0, n * n * sizeof *S);
        for (size_t i = 0; i < n; i += GROUP)
            dots(S + i * n, scan->a + at, scan->sa + at + i, n);
        for (size_t i = 0; i < n; i += GROUP)
            update(S + i * n, S + i * n, scan->sa + at + i, scan->v + at + i, scan->w + at,
                   scan->b + at, scan->k + at, scan->r + at, scan->y + at + i, n);
    }
}

/* The vectors of one token, on the way back. */
struct back_token {
    const real *r, *w, *k, *v, *a, *b, *sa, *dy;
    real *dr, *dw, *dk, *dv, *da, *db;
    const real *P, *S;
    real *G;
    bool begins;
};

INLINE void add_to(real *to, vec x)
{
    store(to, load(to) + x);
}

/* Sixteen rows: G takes dy in; what sums over i goes to its vectors, what sums over j to dv and dsa. */
INLINE void back_rows(const struct back_token *t, size_t i, real *dsa, size_t n)
{
    vec pv[GROUP], ps[GROUP];
    real dv[GROUP] __attribute__((aligned(64)));

    UNROLL
    for (int m = 0; m < GROUP; m++)
        pv[m] = ps[m] = all(0);
    for (size_t j = 0; j < n; j += LANES) {
        vec r = load(t->r + j), k = load(t->k + j), b = load(t->b + j);
        vec dr = all(0), dk = all(0), db = all(0), dw = all(0);
        UNROLL
        for (int m = 0; m < GROUP; m++) {
            size_t at = (i + (size_t)m) * n + j;
            vec g = load(t->G + at) + t->dy[i + (size_t)m] * r;
            store(t->G + at, g);
            dr += t->dy[i + (size_t)m] * load(t->S + at);
            dk += t->v[i + (size_t)m] * g;
            db += t->sa[i + (size_t)m] * g;
            dw += load(t->P + at) * g;
            pv[m] += g * k;
            ps[m] += g * b;
        }
        add_to(t->dr + j, dr);
        add_to(t->dk + j, dk);
        add_to(t->db + j, db);
        add_to(t->dw + j, dw);
    }
    sums_of(ps, dsa);
    sums_of(pv, dv);
    for (size_t m = 0; m < GROUP; m += LANES)
        add_to(t->dv + i + m, load(dv + m));
}

/* Sixteen rows: G as it was before the token. */
INLINE void back_state(const struct back_token *t, size_t i, const real *dsa, size_t n)
{
    for (size_t j = 0; j < n; j += LANES) {
        vec w = load(t->w + j), a = load(t->a + j), da = all(0);
        UNROLL
        for (int m = 0; m < GROUP; m++) {
            size_t at = (i + (size_t)m) * n + j;
            da += dsa[m] * load(t->P + at);
            store(t->G + at, load(t->G + at) * w + dsa[m] * a);
        }
        add_to(t->da + j, da);
    }
}

INLINE void back_one(const struct back_token *t, size_t n)
{
    real dsa[NET_HEAD_MAX] __attribute__((aligned(64)));

    for (size_t i = 0; i < n; i += GROUP)
        back_rows(t, i, dsa + i, n);
    if (t->begins) { /* nothing came from before: P is zero, da stays as it is */
        memset(t->G, 0, n * n * sizeof *t->G);
        return;
    }
    for (size_t i = 0; i < n; i += GROUP)
        back_state(t, i, dsa + i, n);
}

/* The states behind tokens first .. end - 1, into places 1 .. of chunk. */
INLINE void again(const struct scan *scan, size_t first, size_t end, size_t n)
{
    const real *zero = scan->chunk + (NET_SCAN_TOKENS + 2) * n * n;
    real *to = scan->chunk + n * n;

    memcpy(scan->chunk, scan->states + first / NET_SCAN_TOKENS * n * n, n * n * sizeof *to);
    for (size_t t = first; t < end; t++, to += n * n) {
        const real *from = scan->input[t] == 0 ? zero : to - n * n;
        size_t at = t * scan->stride;
        for (size_t i = 0; i < n; i += GROUP)
            update(to + i * n, from + i * n, scan->sa + at + i, scan->v + at + i, scan->w + at,
                   scan->b + at, scan->k + at, scan->r + at, NULL, n);
    }
}

INLINE void back(const struct scan *scan, size_t n)
{
    real *G = scan->chunk + (NET_SCAN_TOKENS + 1) * n * n, *zero = G + n * n;

    memset(G, 0, 2 * n * n * sizeof *G);
    for (size_t end = scan->tokens; end > 0; end -= NET_SCAN_TOKENS) {
        size_t first = end - NET_SCAN_TOKENS;
        again(scan, first, end, n);
        for (size_t t = end; t-- > first;) {
            size_t at = t * scan->stride;
            const real *S = scan->chunk + (t - first + 1) * n * n;
            bool begins = scan->input[t] == 0;
            struct back_token token = {scan->r + at,
                                       scan->w + at,
                                       scan->k + at,
                                       scan->v + at,
                                       scan->a + at,
                                       scan->b + at,
                                       scan->sa + at,
                                       scan->dy + at,
                                       scan->dr + at,
                                       scan->dw + at,
                                       scan->dk + at,
                                       scan->dv + at,
                                       scan->da + at,
                                       scan->db + at,
                                       begins ? zero : S - n * n,
                                       S,
                                       G,
                                       begins};
            back_one(&token, n);
        }
    }
}

/* The usual head sizes as constants: the compiler keeps more in registers. */
void NET(scan_forward)(const struct scan *scan)
{
    if (scan->n == 32)
        forward(scan, 32);
    else if (scan->n == 64)
        forward(scan, 64);
    else
        forward(scan, scan->n);
}

void NET(scan_back)(const struct scan *scan)
{
    if (scan->n == 32)
        back(scan, 32);
    else if (scan->n == 64)
        back(scan, 64);
    else
        back(scan, scan->n);
}
