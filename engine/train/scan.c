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
 * is cheap since sa is kept. Rows i do not meet but in sums over i: forward takes sixteen at a time, so that
 * one tree of additions serves sixteen sums over j; the way back takes SCAN_ROWS of them through all tokens
 * between two kept states, so that their states stay in the first-level cache.
 *
 * A token that begins a document has a zero state before it, whatever came, or the one that is trained: G there is
 * its gradient. */
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

/* Sixteen rows of S, in place, and y. */
INLINE void update(real *S, const real *sa, const real *v, const real *w, const real *b,
                   const real *k, const real *r, real *y, size_t n)
{
    vec p[GROUP];

    UNROLL
    for (int i = 0; i < GROUP; i++)
        p[i] = all(0);
    for (size_t j = 0; j < n; j += LANES) {
        vec w_j = load(w + j), b_j = load(b + j), k_j = load(k + j), r_j = load(r + j);
        UNROLL
        for (int i = 0; i < GROUP; i++) {
            vec s = load(S + (size_t)i * n + j) * w_j + sa[i] * b_j + v[i] * k_j;
            store(S + (size_t)i * n + j, s);
            p[i] += s * r_j;
        }
    }
    sums_of(p, y);
}

INLINE void forward(const struct scan *scan, size_t n)
{
    real *S = scan->S;

    for (size_t t = 0; t < scan->tokens; t++) {
        size_t at = t * scan->stride;
        if (scan->states && t % NET_SCAN_TOKENS == 0)
            memcpy(scan->states + t / NET_SCAN_TOKENS * n * n, S, n * n * sizeof *S);
        if (scan->input[t] == 0 && scan->origin)
            memcpy(S, scan->origin, n * n * sizeof *S);
        else if (scan->input[t] == 0)
            memset(S, 0, n * n * sizeof *S);
        for (size_t i = 0; i < n; i += GROUP)
            dots(S + i * n, scan->a + at, scan->sa + at + i, n);
        for (size_t i = 0; i < n; i += GROUP)
            update(S + i * n, scan->sa + at + i, scan->v + at + i, scan->w + at, scan->b + at,
                   scan->k + at, scan->r + at, scan->y + at + i, n);
    }
}

/* One token on the way back: its vectors, and of SCAN_ROWS rows from i on the state before it, behind it, and
 * the gradient. */
struct back_token {
    const real *r, *w, *k, *v, *a, *b, *sa, *dy;
    real *dr, *dw, *dk, *dv, *da, *db;
    const real *P, *S;
    real *G;
};

INLINE void add_to(real *to, vec x)
{
    store(to, load(to) + x);
}

/* G takes dy in; what sums over i goes to its vectors, what sums over j to dv and dsa: both of SCAN_ROWS rows
 * share a tree. */
INLINE void back_rows(const struct back_token *t, size_t i, real *dsa, size_t n)
{
    real dy[SCAN_ROWS], v[SCAN_ROWS],
        sa[SCAN_ROWS]; /* here nothing that is stored can reach them */
    real sums[GROUP] __attribute__((aligned(64)));
    vec p[GROUP]; /* of dv, then of dsa */

    memcpy(dy, t->dy + i, sizeof dy);
    memcpy(v, t->v + i, sizeof v);
    memcpy(sa, t->sa + i, sizeof sa);
    UNROLL
    for (int m = 0; m < GROUP; m++)
        p[m] = all(0);
    for (size_t j = 0; j < n; j += LANES) {
        vec r = load(t->r + j), k = load(t->k + j), b = load(t->b + j);
        vec dr = all(0), dk = all(0), db = all(0), dw = all(0);
        UNROLL
        for (int m = 0; m < SCAN_ROWS; m++) {
            size_t at = (size_t)m * n + j;
            vec g = load(t->G + at) + dy[m] * r;
            store(t->G + at, g);
            dr += dy[m] * load(t->S + at);
            dk += v[m] * g;
            db += sa[m] * g;
            dw += load(t->P + at) * g;
            p[m] += g * k;
            p[m + SCAN_ROWS] += g * b;
        }
        add_to(t->dr + j, dr);
        add_to(t->dk + j, dk);
        add_to(t->db + j, db);
        add_to(t->dw + j, dw);
    }
    sums_of(p, sums);
    for (size_t m = 0; m < SCAN_ROWS; m++) {
        t->dv[i + m] += sums[m];
        dsa[m] = sums[m + SCAN_ROWS];
    }
}

/* G as it was before the token. */
INLINE void back_state(const struct back_token *t, const real *dsa, size_t n)
{
    for (size_t j = 0; j < n; j += LANES) {
        vec w = load(t->w + j), a = load(t->a + j), da = all(0);
        UNROLL
        for (int m = 0; m < SCAN_ROWS; m++) {
            size_t at = (size_t)m * n + j;
            da += dsa[m] * load(t->P + at);
            store(t->G + at, load(t->G + at) * w + dsa[m] * a);
        }
        add_to(t->da + j, da);
    }
}

/* chunk: states of SCAN_ROWS rows, one more than tokens; as many zeros; the gradient of all rows. */
INLINE real *zeros_of(const struct scan *scan, size_t n)
{
    return scan->chunk + (NET_SCAN_TOKENS + 1) * SCAN_ROWS * n;
}

/* Of SCAN_ROWS rows from i on, the state before a document. */
INLINE const real *origin_of(const struct scan *scan, size_t i, size_t n)
{
    return scan->origin ? scan->origin + i * n : zeros_of(scan, n);
}

/* The states behind tokens first .. end - 1 of SCAN_ROWS rows from i on, into places 1 .. of chunk. */
INLINE void again(const struct scan *scan, size_t first, size_t end, size_t i, size_t n)
{
    real *to = scan->chunk;

    memcpy(to, scan->states + first / NET_SCAN_TOKENS * n * n + i * n, SCAN_ROWS * n * sizeof *to);
    for (size_t t = first; t < end; t++) {
        const size_t at = t * scan->stride;
        real v[SCAN_ROWS], sa[SCAN_ROWS];
        const real *from = scan->input[t] == 0 ? origin_of(scan, i, n) : to;
        memcpy(v, scan->v + at + i, sizeof v);
        memcpy(sa, scan->sa + at + i, sizeof sa);
        for (size_t j = 0; j < n; j += LANES) {
            vec w = load(scan->w + at + j), b = load(scan->b + at + j), k = load(scan->k + at + j);
            UNROLL
            for (int m = 0; m < SCAN_ROWS; m++) {
                size_t place = (size_t)m * n + j;
                vec s = load(from + place) * w + sa[m] * b + v[m] * k;
                store(to + SCAN_ROWS * n + place, s);
            }
        }
        to += SCAN_ROWS * n;
    }
}
INLINE void add_rows(real *to, const real *from, size_t n)
{
    for (size_t j = 0; j < SCAN_ROWS * n; j += LANES)
        add_to(to + j, load(from + j));
}

/* Tokens first .. end - 1 backwards, for SCAN_ROWS rows from i on: their states and gradients stay in the
 * first-level cache. */
INLINE void back_chunk(const struct scan *scan, size_t first, size_t end, size_t i, real *G,
                       size_t n)
{
    real dsa[SCAN_ROWS];

    again(scan, first, end, i, n);
    for (size_t t = end; t-- > first;) {
        const size_t at = t * scan->stride;
        const real *S = scan->chunk + (t - first + 1) * SCAN_ROWS * n;
        const bool begins = scan->input[t] == 0;
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
                                   begins ? origin_of(scan, i, n) : S - SCAN_ROWS * n,
                                   S,
                                   G};
        back_rows(&token, i, dsa, n);
        /* Where nothing came from before P is zero, da stays as it is. */
        if (!begins || scan->origin)
            back_state(&token, dsa, n);
        if (begins && scan->origin)
            add_rows(scan->dorigin + i * n, G, n);
        if (begins)
            memset(G, 0, SCAN_ROWS * n * sizeof *G);
    }
}

INLINE void back(const struct scan *scan, size_t n)
{
    real *zeros = zeros_of(scan, n), *G = zeros + SCAN_ROWS * n;

    memset(zeros, 0, (SCAN_ROWS + n) * n * sizeof *zeros);
    for (size_t end = scan->tokens; end > 0; end -= NET_SCAN_TOKENS)
        for (size_t i = 0; i < n; i += SCAN_ROWS)
            back_chunk(scan, end - NET_SCAN_TOKENS, end, i, G + i * n, n);
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
