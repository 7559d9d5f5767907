/* fourier.c: Fourier(x, axis, c, s): the discrete Fourier transform along one axis, internal (DFT and STFT become it).
 *   y[k] = sum over n of x[n] * (c + i s)[n k mod N]        x[..., 1 or 2]: real, or real and imaginary parts
 * c and s hold the N-th roots of unity in double; N may differ from x's extent (cut, or filled with zeros). inverse
 * divides by N; onesided leaves out what symmetry gives (forwards), or takes it from there and gives real parts.
 *
 * One kernel, parallel over the rows; a row is transformed in scratch of the thread, real and imaginary parts apart:
 * forwards in double, since a spectrum has small values beside large ones; backwards in the type of x. The axis may be
 * an operand: a kernel for each. Known N: Stockham's self-sorting passes (Cochran et al., "What is the fast Fourier transform?", 1967; Van
 * Loan, "Computational frameworks for the FFT", 1992), one per factor r of N, s the product of the factors before:
 *   to[q + s (r p + k)] = root^(p k s) * sum over j of from[q + s (p + m j)] * root^(j k N/r)      q < s, p < m = N/(r s)
 * Lanes are q; in the first passes, where s is small, q + s p. Factors up to 16 are unrolled butterflies, larger ones
 * sums over j, and from 62 on a convolution takes the place of all passes. N not known: the definition. */
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/dft.h"
#include "ir/ops/grad.h"
#include <math.h>

enum { X, AXIS, ROOTS };
static const Port P_IN[] = {{"x", DTS_FLOAT, 0, 1}, {"axis", DTS(DT_I64), PORT_OPTIONAL | PORT_SHAPE, 0}, {"roots", DTS(DT_F64), PORT_VARIADIC, 0}, PORT_END};
/* Operands that hold the cosines and sines for axis i (of the pairs when the axis is an operand). */
static uint32_t roots_c(int i) { return ROOTS + 2 * (uint32_t)i; }
static uint32_t roots_s(int i) { return ROOTS + 2 * (uint32_t)i + 1; }
static const Port P_OUT[] = {{"y", DTS_FLOAT, 0, 1}, PORT_END};
static const AttrSpec ATTRS_[] = {A_INT(Dft, axis, 0), A_INT(Dft, inverse, 0), A_INT(Dft, onesided, 0), A_END};

/* Extent of the transformed axis, from the number of points. */
static Dim bins(Dims *d, const Dft *a, Dim n)
{
    return a->onesided && !a->inverse ? dim_add(d, dim_div(d, n, dim_const(d, 2)), dim_const(d, 1)) : n;
}

static bool infer(Infer *c)
{
    const Dft *a = ATTRS(c->g, c->n, Dft);
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, X, 2, -1)) return false;
    int rank = infer_rank(c, X), pairs = infer_has(c, AXIS) ? rank - 1 : 1;
    if (node_n_in(c->g, c->n) != roots_c(pairs)) return infer_fail(c, "%d pairs of roots are wanted", pairs);
    for (uint32_t k = ROOTS; k < roots_c(pairs); k++)
        if (!infer_need_rank(c, k, 1, 1)) return false;
    if (!infer_has(c, AXIS) && (a->axis < 0 || a->axis >= rank - 1)) return infer_fail(c, "axis %lld", (long long)a->axis);
    for (int i = 0; i < rank; i++) dim[i] = infer_has(c, AXIS) ? infer_node_dim(c, 0, i, 0, INT64_MAX) : infer_dim(c, X, i);
    if (!infer_has(c, AXIS)) dim[a->axis] = bins(c->d, a, infer_dim(c, ROOTS, 0));
    dim[rank - 1] = dim_const(c->d, a->onesided && a->inverse ? 1 : 2);
    return infer_set(c, 0, infer_elem(c, X), rank, dim);
}

typedef struct Cx {
    KVal re, im;
} Cx;

typedef struct Fft {
    Lw *l;
    Kb *b;
    const Dft *a;
    int rank, axis;
    Dim points;
    int64_t N;         /* 0: not known */
    DType t;           /* of the passes */
    bool back;         /* their direction */
    bool conj;         /* the roots at hand turn the other way */
    uint32_t x;        /* parameter: operand 0 */
    uint32_t c, s;     /* parameters: cosines and sines; the same one: [2, N] */
    uint32_t row[2];   /* locals [2, N]: the row, and where the next pass puts it */
    int now;           /* which of them holds the row */
    KVal idx[RANK_MAX];
} Fft;

/* Element `at` of a table [2, ...] of complex numbers. */
static Cx entry(Fft *f, uint32_t table, KVal at)
{
    Kb *b = f->b;
    return (Cx){kb_load(b, table, (KVal[]){kb_i(b, 0), at}), kb_load(b, table, (KVal[]){kb_i(b, 1), at})};
}
static void enter(Fft *f, uint32_t table, KVal at, Cx v)
{
    kb_store(f->b, table, (KVal[]){kb_i(f->b, 0), at}, v.re);
    kb_store(f->b, table, (KVal[]){kb_i(f->b, 1), at}, v.im);
}
static Cx get(Fft *f, int which, KVal at) { return entry(f, f->row[which], at); }
static void set(Fft *f, int which, KVal at, Cx v) { enter(f, f->row[which], at, v); }
static Cx conjugate(Fft *f, Cx x) { return (Cx){x.re, kb_sub(f->b, kb_const_f(f->b, f->t, 0), x.im)}; }
static Cx root(Fft *f, KVal at)
{
    Cx w = f->c == f->s ? entry(f, f->c, at) : (Cx){kb_load(f->b, f->c, &at), kb_load(f->b, f->s, &at)};
    w = (Cx){kb_cast(f->b, f->t, w.re), kb_cast(f->b, f->t, w.im)};
    return f->conj ? conjugate(f, w) : w;
}
static Cx add(Fft *f, Cx x, Cx y) { return (Cx){kb_add(f->b, x.re, y.re), kb_add(f->b, x.im, y.im)}; }
static Cx sub(Fft *f, Cx x, Cx y) { return (Cx){kb_sub(f->b, x.re, y.re), kb_sub(f->b, x.im, y.im)}; }
static Cx mul(Fft *f, Cx x, Cx y)
{
    Kb *b = f->b;
    return (Cx){kb_sub(b, kb_mul(b, x.re, y.re), kb_mul(b, x.im, y.im)), kb_add(b, kb_mul(b, x.re, y.im), kb_mul(b, x.im, y.re))};
}

static double cosine(int64_t k, int64_t r) { return cos(2 * 3.14159265358979323846 * (double)(k % r) / (double)r); }

/* x times root k of r; the eighths cost no or few multiplications. */
static Cx turn(Fft *f, Cx x, int64_t k, int64_t r)
{
    Kb *b = f->b;
    KVal zero = kb_const_f(b, f->t, 0);
    if (8 * k % r == 0) {
        int64_t eighth = 8 * k / r % 8;
        if (eighth == 0) return x;
        Cx quarter = f->back ? (Cx){kb_sub(b, zero, x.im), x.re} : (Cx){x.im, kb_sub(b, zero, x.re)};
        Cx half = {kb_sub(b, zero, x.re), kb_sub(b, zero, x.im)};
        if (eighth == 2) return quarter;
        if (eighth == 4) return half;
        if (eighth == 6) return (Cx){kb_sub(b, zero, quarter.re), kb_sub(b, zero, quarter.im)};
    }
    double sine = cosine(4 * k - r, 4 * r);
    Cx w = {kb_const_f(b, f->t, cosine(k, r)), kb_const_f(b, f->t, f->back ? sine : -sine)};
    return mul(f, x, w);
}

/* The transform of r values in registers: halves while r is even, else the definition. */
static void butterfly(Fft *f, int64_t r, const Cx *v, Cx *out)
{
    Kb *b = f->b;
    Cx even[8] = {{{0}, {0}}}, odd[8] = {{{0}, {0}}}, e[8], o[8];
    if (r == 1) out[0] = v[0];
    else if (r % 2 == 0) {
        for (int64_t j = 0; j < r / 2; j++) even[j] = v[2 * j], odd[j] = v[2 * j + 1];
        butterfly(f, r / 2, even, e);
        butterfly(f, r / 2, odd, o);
        for (int64_t k = 0; k < r / 2; k++) {
            Cx t = turn(f, o[k], k, r);
            out[k] = add(f, e[k], t);
            out[k + r / 2] = sub(f, e[k], t);
        }
    } else { /* root k and root r - k are conjugate: sums and differences of such pairs meet real factors only */
        Cx plus[8], minus[8];
        int64_t h = r / 2;
        out[0] = v[0];
        for (int64_t j = 1; j <= h; j++) {
            plus[j] = add(f, v[j], v[r - j]);
            minus[j] = sub(f, v[j], v[r - j]);
            out[0] = add(f, out[0], plus[j]);
        }
        for (int64_t k = 1; k <= h; k++) {
            Cx even_part = v[0], odd_part = {{0}, {0}};
            for (int64_t j = 1; j <= h; j++) {
                KVal c = kb_const_f(b, f->t, cosine(j * k, r)), s = kb_const_f(b, f->t, f->back ? cosine(4 * j * k - r, 4 * r) : -cosine(4 * j * k - r, 4 * r));
                even_part = add(f, even_part, (Cx){kb_mul(b, c, plus[j].re), kb_mul(b, c, plus[j].im)});
                Cx part = {kb_mul(b, s, minus[j].im), kb_mul(b, s, minus[j].re)};
                odd_part = j == 1 ? part : add(f, odd_part, part);
            }
            out[k] = (Cx){kb_sub(b, even_part.re, odd_part.re), kb_add(b, even_part.im, odd_part.im)};
            out[r - k] = (Cx){kb_add(b, even_part.re, odd_part.re), kb_sub(b, even_part.im, odd_part.im)};
        }
    }
}

enum { LONG = 61 /* factors above go by a convolution */, UNROLLED = 16, LANES = 16 /* a pass with s below has its lanes along q + s p */ };

/* The largest factor that a pass takes of `rest`. Four at a time keep everything in registers. */
static int64_t factor(int64_t rest)
{
    if (rest % 4 == 0) return 4;
    for (int64_t r = 2; r * r <= rest; r++)
        if (rest % r == 0) return r;
    return rest;
}

static int64_t largest(int64_t n)
{
    int64_t most = 1;
    for (int64_t r = factor(n); n > 1; n /= r, r = factor(n)) most = r > most ? r : most;
    return most;
}

static void pass(Fft *f, int64_t r, int64_t s)
{
    int from = f->now;
    Kb *b = f->b;
    int64_t N = f->N, m = N / (r * s);
    bool flat = s < LANES;
    KVal p = {0}, zero = kb_i(b, 0), at, to, k = zero;
    bool unrolled = r <= UNROLLED;
    if (!flat) p = kb_for(b, KLOOP_SEQ, zero, kb_i(b, m));
    if (!unrolled) k = kb_for(b, KLOOP_SEQ, zero, kb_i(b, r));
    KVal i = kb_for(b, KLOOP_VEC, zero, kb_i(b, flat ? N / r : s));
    if (flat) p = s == 1 ? i : kb_div(b, i, kb_i(b, s));
    at = flat ? i : kb_add(b, i, kb_mul(b, p, kb_i(b, s)));                      /* q + s p */
    to = kb_add(b, at, kb_mul(b, p, kb_i(b, s * (r - 1))));                      /* q + s r p */
    KVal ps = kb_mul(b, p, kb_i(b, s));
    if (unrolled) {
        Cx v[UNROLLED] = {{{0}, {0}}}, out[UNROLLED];
        for (int64_t j = 0; j < r; j++) v[j] = get(f, from, kb_add(b, at, kb_i(b, s * m * j)));
        butterfly(f, r, v, out);
        for (int64_t j = 0; j < r; j++) {
            if (j && m > 1) out[j] = mul(f, out[j], root(f, kb_mul(b, ps, kb_i(b, j))));
            set(f, !from, kb_add(b, to, kb_i(b, s * j)), out[j]);
        }
    } else {
        KbLoop loop;
        KVal none = kb_const_f(b, f->t, 0), init[2] = {none, none};
        kb_loop(b, &loop, KLOOP_SEQ, zero, kb_i(b, r), 2, init, NULL);
        KVal turned = kb_mul(b, kb_bin(b, KOP_REM, kb_mul(b, loop.iv, k), kb_i(b, r)), kb_i(b, N / r));
        Cx t = mul(f, get(f, from, kb_add(b, at, kb_mul(b, loop.iv, kb_i(b, s * m)))), root(f, turned));
        KVal next[2] = {kb_add(b, loop.carry[0], t.re), kb_add(b, loop.carry[1], t.im)};
        kb_loop_end(b, &loop, next);
        Cx sum = {loop.result[0], loop.result[1]};
        if (m > 1) sum = mul(f, sum, root(f, kb_mul(b, ps, k)));
        set(f, !from, kb_add(b, to, kb_mul(b, k, kb_i(b, s))), sum);
    }
    kb_end(b);
    if (!unrolled) kb_end(b);
    if (!flat) kb_end(b);
    f->now = !from;
}

static void passes(Fft *f)
{
    for (int64_t done = 1, r; done < f->N; done *= r) pass(f, r = factor(f->N / done), done);
}

static void scratch(Fft *f)
{
    Dim local[2] = {dim_const(&f->l->m->dims, 2), dim_const(&f->l->m->dims, f->N)};
    f->row[0] = kb_local(f->b, "row", f->t, 2, local);
    if (f->N > 1) f->row[1] = kb_local(f->b, "next", f->t, 2, local);
    f->now = 0;
}

/* Point i of the row that is transformed. */
static Cx point(Fft *f, KVal i)
{
    Kb *b = f->b;
    Dims *d = &f->l->m->dims;
    bool mirror = f->a->onesided && f->a->inverse, complex = dim_is(d, lw_dim(f->l, X, f->rank - 1), 2);
    Dim have = lw_dim(f->l, X, f->axis);
    KVal n = kb_dim(b, f->points), none = kb_const_f(b, f->t, 0), at = i, flip = {0}, idx[RANK_MAX];
    for (int k = 0; k < f->rank; k++) idx[k] = f->idx[k];
    if (mirror) {
        flip = kb_lt(b, kb_div(b, n, kb_i(b, 2)), i);
        at = kb_select(b, flip, kb_sub(b, n, i), i);
    }
    bool all = !mirror && dim_le(d, f->points, have) == TRI_YES;
    KVal there = all ? (KVal){0} : kb_lt(b, at, kb_dim(b, have));
    idx[f->axis] = at;
    idx[f->rank - 1] = kb_i(b, 0);
    Cx v = {kb_cast(b, f->t, kb_load_if(b, f->x, idx, there, (KVal){0})), none};
    idx[f->rank - 1] = kb_i(b, 1);
    if (complex) v.im = kb_cast(b, f->t, kb_load_if(b, f->x, idx, there, (KVal){0}));
    if (mirror) v.im = kb_select(b, flip, kb_sub(b, none, v.im), v.im);
    return v;
}

/* Stores element k of the result's row. */
static void put(Fft *f, KVal k, Cx v)
{
    Kb *b = f->b;
    DType t = dtype_compute(lw_elem(f->l, X));
    KVal idx[RANK_MAX];
    for (int i = 0; i < f->rank; i++) idx[i] = f->idx[i];
    idx[f->axis] = k;
    if (f->a->inverse) {
        KVal part = kb_div(b, kb_const_f(b, f->t, 1), kb_cast(b, f->t, kb_dim(b, f->points)));
        v = (Cx){kb_mul(b, v.re, part), kb_mul(b, v.im, part)};
    }
    idx[f->rank - 1] = kb_i(b, 0);
    lw_put(f->l, 0, idx, kb_cast(b, t, v.re));
    idx[f->rank - 1] = kb_i(b, 1);
    if (!(f->a->onesided && f->a->inverse)) lw_put(f->l, 0, idx, kb_cast(b, t, v.im));
}

static int open_rows(Fft *f)
{
    int loops = 0;
    for (int i = 0; i < f->rank - 1; i++)
        if (i != f->axis) f->idx[i] = kb_for(f->b, KLOOP_PAR, kb_i(f->b, 0), kb_dim(f->b, lw_dim(f->l, X, i))), loops++;
    return loops;
}

static Dim stored(const Fft *f) { return bins(&f->l->m->dims, f->a, f->points); }

/* Large prime factors, by a cyclic convolution of a length M that has none (Bluestein, "A linear filtering approach to
 * the computation of discrete Fourier transform", 1970): with chirp[n] = root of 2N to the n^2,
 *   y[k] = chirp[k] * sum over n of (x[n] chirp[n]) * conj(chirp[k - n])
 * A first kernel makes chirp, the roots of M and the spectrum of conj(chirp), divided by M. */
static void bluestein(Fft f, KBuf x)
{
    Lw *l = f.l;
    Dims *d = &l->m->dims;
    int64_t N = f.N, M = INT64_MAX;
    for (int64_t odd = 1; odd <= 5; odd += 2) {
        int64_t m = odd;
        while (m < 2 * N - 1) m *= 2;
        if (m < M) M = m;
    }
    Dim two = dim_const(d, 2);
    KBuf chirps = lw_temp(l, DT_F64, 2, (Dim[]){two, f.points}), roots = lw_temp(l, DT_F64, 2, (Dim[]){two, dim_const(d, M)}),
         spectrum = lw_temp(l, DT_F64, 2, (Dim[]){two, dim_const(d, M)});
    bool inverse = f.back;
    f.t = DT_F64, f.N = M, f.back = f.conj = false;
    for (int second = 0; second < 2; second++) {
        Kb *b = f.b = lw_kernel(l, second ? "fourier" : "chirp");
        KVal zero = kb_i(b, 0), m = kb_i(b, M), n = kb_i(b, N), none = kb_const_f(b, DT_F64, 0);
        uint32_t chirp = kb_param(b, chirps, !second), b_hat = kb_param(b, spectrum, !second);
        f.c = f.s = kb_param(b, roots, !second);
        scratch(&f);
        if (!second) {
            KVal i = kb_for(b, KLOOP_VEC, zero, n), square = kb_bin(b, KOP_REM, kb_mul(b, i, i), kb_i(b, 2 * N));
            KVal angle = kb_mul(b, kb_cast(b, DT_F64, square), kb_const_f(b, DT_F64, (inverse ? 1 : -1) * 3.14159265358979323846 / (double)N));
            enter(&f, chirp, i, (Cx){kb_un(b, KOP_COS, angle), kb_un(b, KOP_SIN, angle)});
            kb_end(b);
            i = kb_for(b, KLOOP_VEC, zero, m);
            angle = kb_mul(b, kb_cast(b, DT_F64, i), kb_const_f(b, DT_F64, -2 * 3.14159265358979323846 / (double)M));
            enter(&f, f.c, i, (Cx){kb_un(b, KOP_COS, angle), kb_un(b, KOP_SIN, angle)});
            kb_end(b);
            i = kb_for(b, KLOOP_VEC, zero, m);
            KVal far = kb_min(b, i, kb_sub(b, m, i)), there = kb_lt(b, far, n);
            Cx v = {kb_load_if(b, chirp, (KVal[]){zero, far}, there, (KVal){0}), kb_load_if(b, chirp, (KVal[]){kb_i(b, 1), far}, there, (KVal){0})};
            set(&f, 0, i, conjugate(&f, v));
            kb_end(b);
            passes(&f);
            i = kb_for(b, KLOOP_VEC, zero, m);
            KVal part = kb_const_f(b, DT_F64, 1 / (double)M);
            v = get(&f, f.now, i);
            enter(&f, b_hat, i, (Cx){kb_mul(b, v.re, part), kb_mul(b, v.im, part)});
            kb_end(b);
        } else {
            f.x = kb_param(b, x, false);
            int loops = open_rows(&f);
            KVal i = kb_for(b, KLOOP_VEC, zero, n);
            set(&f, 0, i, mul(&f, point(&f, i), entry(&f, chirp, i)));
            kb_end(b);
            i = kb_for(b, KLOOP_VEC, n, m);
            set(&f, 0, i, (Cx){none, none});
            kb_end(b);
            passes(&f);
            i = kb_for(b, KLOOP_VEC, zero, m);
            set(&f, f.now, i, mul(&f, get(&f, f.now, i), entry(&f, b_hat, i)));
            kb_end(b);
            f.back = f.conj = true;
            passes(&f);
            KVal k = kb_for(b, KLOOP_VEC, zero, kb_dim(b, stored(&f)));
            put(&f, k, mul(&f, get(&f, f.now, k), entry(&f, chirp, k)));
            kb_end(b);
            lw_end_nest(l, loops);
        }
        lw_kernel_end(l);
    }
}

/* Transforms that axis with the roots of operands c, s. */
static void along(Lw *l, Node n, int axis, KBuf x, uint32_t c, uint32_t s)
{
    Fft f = {.l = l, .a = ATTRS(l->g, n, Dft), .rank = lw_rank(l, X), .axis = axis, .points = lw_dim(l, c, 0)};
    f.back = f.a->inverse != 0;
    f.t = f.back ? dtype_compute(lw_elem(l, X)) : DT_F64;
    dim_is_const(&l->m->dims, f.points, &f.N);
    if (f.N && largest(f.N) > LONG) {
        bluestein(f, x);
        return;
    }
    KBuf cosines = lw_in(l, c), sines = lw_in(l, s);
    Kb *b = f.b = lw_kernel(l, "fourier");
    f.x = kb_param(b, x, false), f.c = kb_param(b, cosines, false), f.s = kb_param(b, sines, false);
    KVal zero = kb_i(b, 0), none = kb_const_f(b, f.t, 0);
    if (f.N) scratch(&f);
    int loops = open_rows(&f);
    if (f.N) {
        KVal i = kb_for(b, KLOOP_VEC, zero, kb_i(b, f.N));
        set(&f, 0, i, point(&f, i));
        kb_end(b);
        passes(&f);
    }
    KVal k = kb_for(b, KLOOP_VEC, zero, kb_dim(b, stored(&f)));
    if (f.N) put(&f, k, get(&f, f.now, k));
    else {
        KbLoop loop;
        KVal len = kb_dim(b, f.points), init[2] = {none, none};
        kb_loop(b, &loop, KLOOP_SEQ, zero, len, 2, init, NULL);
        Cx t = mul(&f, point(&f, loop.iv), root(&f, kb_bin(b, KOP_REM, kb_mul(b, loop.iv, k), len)));
        KVal next[2] = {kb_add(b, loop.carry[0], t.re), kb_add(b, loop.carry[1], t.im)};
        kb_loop_end(b, &loop, next);
        put(&f, k, (Cx){loop.result[0], loop.result[1]});
    }
    kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
}

static bool lower(Lw *l, Node n)
{
    const Dft *a = ATTRS(l->g, n, Dft);
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, X);
    KBuf x = lw_in_strided(l, X);
    for (uint32_t k = ROOTS; k < node_n_in(l->g, n); k++) lw_in(l, k);
    if (!lw_has(l, AXIS)) {
        lw_prepare_out(l);
        along(l, n, (int)a->axis, x, roots_c(0), roots_s(0));
        return true;
    }
    Dim axis, dim[RANK_MAX], one = dim_const(d, 1);
    uint32_t count;
    if (!lw_values(l, AXIS, &axis, 1, &count)) return false;
    KStep *c = lw_step(l, KST_CHECK);
    c->a = dim_const(d, -rank), c->b = axis, c->rel = KREL_LE, c->msg = "axis {want} is out of range, {got} is the first";
    axis = dim_mod(d, dim_add(d, axis, dim_const(d, rank)), dim_const(d, rank));
    c = lw_step(l, KST_CHECK);
    c->a = axis, c->b = dim_const(d, rank - 2), c->rel = KREL_LE, c->msg = "axis {got} is out of range, {want} is the last";
    Dim is[RANK_MAX]; /* 1 for the axis, else 0 */
    for (int i = 0; i < rank; i++) {
        Dim off = dim_sub(d, axis, dim_const(d, i)), far = dim_max(d, off, dim_sub(d, dim_const(d, 0), off)), len = lw_dim(l, X, i);
        is[i] = dim_sub(d, one, dim_min(d, one, far));
        if (i < rank - 1) dim[i] = dim_add(d, len, dim_mul(d, is[i], dim_sub(d, bins(d, a, lw_dim(l, roots_c(i), 0)), len)));
    }
    dim[rank - 1] = dim_const(d, a->onesided && a->inverse ? 1 : 2);
    lw_bind_dims(l, 0, dim);
    lw_prepare_out(l);
    KSteps *outer = l->steps;
    for (int i = 0; i < rank - 1; i++) { /* one kernel for each axis, and the program chooses */
        l->steps = outer;
        KStep *s = lw_step(l, KST_IF);
        s->a = is[i];
        s->body = arena_new(l->k->arena, KSteps);
        s->other = arena_new(l->k->arena, KSteps);
        l->steps = s->body;
        along(l, n, i, x, roots_c(i), roots_s(i));
    }
    l->steps = outer;
    return true;
}

static bool eval(Eval *e)
{
    int64_t axis = ev_has(e, AXIS) ? ev_i(e->in[AXIS], 0) : ATTRS(e->g, e->n, Dft)->axis;
    if (axis < 0) axis += e->in[X]->rank;
    if (axis < 0 || axis >= e->in[X]->rank - 1) return ev_fail(e, "the axis is out of range");
    return dft_reference(e, e->in[roots_c(ev_has(e, AXIS) ? (int)axis : 0)]->count, axis);
}

const OpDesc op_Fourier = {.name = "Fourier", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT,
                           .attrs = ATTRS_, .attrs_size = sizeof(Dft), .infer = infer, .lower = lower, .grad = grad_fourier, .eval = eval};
