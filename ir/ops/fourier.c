/* fourier.c: Fourier(x, axis, c, s): the discrete Fourier transform along one axis, internal (DFT and STFT become it).
 *   y[k] = sum over n of x[n] * (c + i s)[n k mod N]        x[..., 1 or 2]: real, or real and imaginary parts
 * c and s hold the N-th roots of unity in double; N may differ from x's extent (cut, or filled with zeros). inverse
 * divides by N; onesided leaves out what symmetry gives (forwards), or takes it from there and gives real parts.
 *
 * One kernel, parallel over the rows, which are transformed in scratch of the thread (fft.c): forwards in double, since
 * a spectrum has small values beside large ones; backwards in the type of x. An even number of real values is half as
 * many complex ones (Sorensen et al., "Real-valued fast Fourier transform algorithms", 1987). The first pass reads the
 * operand, the last one writes the result where no other step stands between. The axis may be an operand: a kernel for
 * each. N not known: a function of the runtime that plans for it (runtime/rt_fourier.c), in double. */
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/dft.h"
#include "ir/ops/fft.h"
#include "ir/ops/grad.h"

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

typedef struct Fourier {
    Fft fft;
    const Dft *a;
    DType elem;
    int rank, axis;
    Dim dim[RANK_MAX]; /* of what is transformed: operand 0, or frames of it */
    Dim points;
    int64_t N;         /* 0: not known */
    int64_t n;         /* complex points */
    bool half;         /* N real values are N/2 complex ones */
    bool pairs;        /* two rows of real values are one of complex ones */
    bool whole;        /* blocks of columns have no rest */
    int lane_axis;     /* with columns: the axis they are along; with pairs: the one whose rows make pairs */
    int64_t step;      /* 0, or: element at of frame i is at i * step + at, its axis is left out in operand 0 */
    KBuf window_in;    /* frames are multiplied by it, if any */
    uint32_t x, window; /* parameters */
    uint32_t half_turns, chirp, spectrum; /* parameters: roots of N; of 2N at squares; what is convolved with */
    Fft back;          /* the second transform of a convolution */
    KVal idx[RANK_MAX], block, mate; /* the row at hand; first column; the other row of a pair */
} Fourier;

static bool mirrored(const Fourier *f) { return f->a->onesided && f->a->inverse; }

/* Element (re, im) `at` of a table [count][2] of constants, or [2][count] where that is read in lanes. */
static Cx constant(Fourier *f, uint32_t table, KVal at, int64_t count)
{
    Kb *b = f->fft.b;
    KVal im = kb_add(b, at, kb_i(b, count));
    return (Cx){kb_load(b, table, &at), kb_load(b, table, &im)};
}

/* ---- what is read and written ---- */
static void place(Fourier *f, KVal at, KVal part, KVal *idx)
{
    for (int k = 0; k < f->rank; k++) idx[k] = f->idx[k];
    if (f->fft.columns) idx[f->lane_axis] = kb_add(f->fft.b, f->block, f->fft.column);
    idx[f->axis] = at;
    idx[f->rank - 1] = part;
}

/* A part of element `at` of the row. */
static KVal part_of(Fourier *f, KVal at, int64_t part, KVal there)
{
    Kb *b = f->fft.b;
    KVal idx[RANK_MAX], v;
    place(f, at, kb_i(b, part), idx);
    if (f->step) { /* [batch, frame, at, part] of [batch, signal, part] */
        idx[1] = kb_add(b, kb_mul(b, idx[1], kb_i(b, f->step)), at);
        idx[2] = idx[3];
    }
    v = kb_cast(b, f->fft.t, kb_load_if(b, f->x, idx, there, (KVal){0}));
    return f->window ? kb_mul(b, v, kb_cast(b, f->fft.t, kb_load(b, f->window, &at))) : v;
}

/* Element `at` of the row, lo <= at < hi; behind its end zero. */
static Cx element(Fourier *f, KVal at, int64_t lo, int64_t hi)
{
    Kb *b = f->fft.b;
    Dims *d = &f->fft.l->m->dims;
    Dim have = f->dim[f->axis];
    int64_t n = -1;
    KVal there = {0};
    Cx v = {{0}, {0}};
    if (dim_is_const(d, have, &n) && lo >= n) return v;
    if (n < hi) there = kb_lt(b, at, kb_dim(b, have));
    v.re = part_of(f, at, 0, there);
    if (f->pairs) {
        KVal first = f->idx[f->lane_axis];
        f->idx[f->lane_axis] = f->mate;
        v.im = part_of(f, at, 0, there);
        f->idx[f->lane_axis] = first;
    } else if (dim_is(d, f->dim[f->rank - 1], 2)) v.im = part_of(f, at, 1, there);
    return v;
}

/* Point i of the row that is transformed. */
static Cx point(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    Fourier *f = arg;
    Kb *b = fft->b;
    if (!mirrored(f)) return element(f, i, lo, hi);
    KVal n = kb_dim(b, f->points), flip = kb_lt(b, kb_div(b, n, kb_i(b, 2)), i);
    KVal at = kb_select(b, flip, kb_sub(b, n, i), i);
    Cx v = element(f, at, 0, INT64_MAX);
    v.im = kb_select(b, flip, kb_un(b, KOP_NEG, v.im), v.im);
    return v;
}

/* Two real values as one complex one. */
static Cx pair(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    Fourier *f = arg;
    Kb *b = fft->b;
    KVal at = kb_mul(b, i, kb_i(b, 2));
    Cx even = element(f, at, 2 * lo, 2 * hi - 1), odd = element(f, kb_add(b, at, kb_i(b, 1)), 2 * lo + 1, 2 * hi);
    return (Cx){even.re, odd.re};
}

static Cx half_turn(Fourier *f, KVal i) { return constant(f, f->half_turns, i, f->N / 2); }

/* Half a spectrum y as that of N/2 complex points: y[i] + conj y[N/2 - i] + i root^i (y[i] - conj y[N/2 - i]). */
static Cx folded(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    Fourier *f = arg;
    int64_t n = f->N / 2;
    Cx y = element(f, i, lo, hi), z = element(f, kb_sub(fft->b, kb_i(fft->b, n), i), n - hi + 1, n - lo + 1);
    z = fft_conj(fft, z);
    if (!lo) { /* the imaginary parts of the first and the last, if any, do not count */
        KVal some = kb_lt(fft->b, kb_i(fft->b, 0), i), none = kb_const_f(fft->b, fft->t, 0);
        if (y.im.i) y.im = kb_select(fft->b, some, y.im, none);
        if (z.im.i) z.im = kb_select(fft->b, some, z.im, none);
    }
    Cx t = fft_mul(fft, fft_sub(fft, y, z), half_turn(f, i));
    return fft_add(fft, fft_add(fft, y, z), (Cx){t.im.i ? kb_un(fft->b, KOP_NEG, t.im) : t.im, t.re});
}

/* Stores element k of the result's row. */
static void put(Fourier *f, KVal k, Cx v)
{
    Kb *b = f->fft.b;
    DType t = dtype_compute(f->elem);
    KVal idx[RANK_MAX], zero = kb_const_f(b, f->fft.t, 0);
    if (f->a->inverse && f->N) v = fft_scale(&f->fft, v, 1 / (double)f->N);
    if (f->a->inverse && !f->N) {
        KVal part = kb_div(b, kb_const_f(b, f->fft.t, 1), kb_cast(b, f->fft.t, kb_dim(b, f->points)));
        v = (Cx){kb_mul(b, v.re, part), kb_mul(b, v.im, part)};
    }
    place(f, k, kb_i(b, 0), idx);
    lw_put(f->fft.l, 0, idx, kb_cast(b, t, v.re.i ? v.re : zero));
    idx[f->rank - 1] = kb_i(b, 1);
    if (!mirrored(f)) lw_put(f->fft.l, 0, idx, kb_cast(b, t, v.im.i ? v.im : zero));
}

static void put_sink(void *arg, Fft *fft, KVal k, Cx v)
{
    (void)fft;
    put(arg, k, v);
}

static void put_pair(void *arg, Fft *fft, KVal k, Cx v)
{
    Kb *b = fft->b;
    KVal at = kb_mul(b, k, kb_i(b, 2));
    put(arg, at, (Cx){v.re, {0}});
    put(arg, kb_add(b, at, kb_i(b, 1)), (Cx){v.im, {0}});
}

static Dim stored(const Fourier *f) { return bins(&f->fft.l->m->dims, f->a, f->points); }

/* ---- the rows ---- */
/* Par loops over all rows; with columns over blocks of them. */
static int open_rows(Fourier *f)
{
    int loops = 0;
    Kb *b = f->fft.b;
    Dims *d = &f->fft.l->m->dims;
    for (int i = 0; i < f->rank - 1; i++) {
        if (i == f->axis) continue;
        Dim n = f->dim[i], c = dim_const(d, f->fft.columns);
        bool blocks = f->fft.columns && i == f->lane_axis, pairs = f->pairs && i == f->lane_axis;
        if (pairs) c = dim_const(d, 2);
        if (blocks || pairs) n = dim_div(d, dim_add(d, n, dim_sub(d, c, dim_const(d, 1))), c);
        f->idx[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, n));
        if (blocks) f->block = kb_mul(b, f->idx[i], kb_i(b, f->fft.columns));
        loops++;
    }
    if (f->pairs) { /* an odd last one is its own mate */
        KVal *i = &f->idx[f->lane_axis];
        *i = kb_mul(b, *i, kb_i(b, 2));
        f->mate = kb_min(b, kb_add(b, *i, kb_i(b, 1)), kb_dim(b, dim_sub(d, f->dim[f->lane_axis], dim_const(d, 1))));
    }
    return loops;
}

/* Over each point and what there is of the columns. */
static KVal open_points(Fourier *f, int64_t n)
{
    Fft *fft = &f->fft;
    Kb *b = fft->b;
    if (!fft->columns || f->whole) return fft_points(fft, 0, n);
    KVal at = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, n)), left = kb_sub(b, kb_dim(b, f->dim[f->lane_axis]), f->block);
    fft->column = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_min(b, left, kb_i(b, fft->columns)));
    return at;
}

/* Rows side by side in lanes: those of a short transform, and of one along another axis than the innermost. */
static void choose_columns(Fourier *f)
{
    enum { SHORT = 32, FEW = 4 };
    Lw *l = f->fft.l;
    Dims *d = &l->m->dims;
    int64_t most = 0, n;
    bool inner = f->axis < f->rank - 2;
    for (int i = f->rank - 2; i >= 0; i--) {
        if (i == f->axis || (inner && i < f->rank - 2)) continue;
        if (!dim_is_const(d, f->dim[i], &n)) n = 64;
        if (n > most) most = n, f->lane_axis = i;
    }
    bool real = dim_is(d, f->dim[f->rank - 1], 1) && !f->a->inverse;
    if (most < FEW || (!inner && f->n > SHORT)) {
        f->pairs = real && !f->half && most > 1;
        return;
    }
    f->fft.columns = f->fft.t == DT_F64 ? 8 : 16;
    f->whole = dim_is_const(d, f->dim[f->lane_axis], &n) && n % f->fft.columns == 0;
}

/* The spectrum of N real values from that of N/2 complex ones z, for k < N/2:
 *   y[k], y[k + N/2] = e +- root^k o,    2 e = z[k] + conj z[-k],    2 i o = z[k] - conj z[-k] */
static void unfold(Fourier *f)
{
    Fft *fft = &f->fft;
    Kb *b = fft->b;
    int64_t n = f->N / 2;
    if (fft->columns) fft->column = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, fft->columns));
    fft_set(fft, kb_i(b, n), fft_get(fft, kb_i(b, 0)));
    if (fft->columns) kb_end(b);
    KVal k = open_points(f, n);
    Cx z = fft_get(fft, k), c = fft_conj(fft, fft_get(fft, kb_sub(b, kb_i(b, n), k)));
    Cx e = fft_scale(fft, fft_add(fft, z, c), 0.5), d = fft_scale(fft, fft_sub(fft, z, c), 0.5);
    Cx o = fft_mul(fft, (Cx){d.im, kb_un(b, KOP_NEG, d.re)}, half_turn(f, k));
    put(f, k, fft_add(fft, e, o));
    if (!f->a->onesided) put(f, kb_add(b, k, kb_i(b, n)), fft_sub(fft, e, o));
    fft_points_end(fft);
    if (!f->a->onesided) return;
    KVal first = kb_i(b, 0);
    if (fft->columns) {
        KVal left = kb_sub(b, kb_dim(b, f->dim[f->lane_axis]), f->block);
        fft->column = kb_for(b, KLOOP_VEC, first, kb_min(b, left, kb_i(b, fft->columns)));
    }
    z = fft_get(fft, first);
    put(f, kb_i(b, n), (Cx){kb_sub(b, z.re, z.im), {0}});
    if (fft->columns) kb_end(b);
}

/* The spectra of two rows of real values from that z of one plus i times the other: (z[k] + conj z[-k]) / 2 and
 * (z[k] - conj z[-k]) / 2i. */
static void part(Fourier *f, int64_t out)
{
    Fft *fft = &f->fft;
    Kb *b = fft->b;
    fft_set(fft, kb_i(b, f->n), fft_get(fft, kb_i(b, 0)));
    KVal k = fft_points(fft, 0, out), first = f->idx[f->lane_axis];
    Cx z = fft_get(fft, k), c = fft_conj(fft, fft_get(fft, kb_sub(b, kb_i(b, f->n), k)));
    Cx e = fft_scale(fft, fft_add(fft, z, c), 0.5), d = fft_scale(fft, fft_sub(fft, z, c), 0.5);
    put(f, k, e);
    f->idx[f->lane_axis] = f->mate;
    put(f, k, (Cx){d.im, kb_un(b, KOP_NEG, d.re)});
    f->idx[f->lane_axis] = first;
    fft_points_end(fft);
}

/* ---- large prime factors ---- */
/* By a cyclic convolution of a length M that has none (Bluestein, "A linear filtering approach to the computation of
 * discrete Fourier transform", 1970): with chirp[j] = root of 2n to the j^2,
 *   y[k] = chirp[k] * sum over j of (x[j] chirp[j]) * conj(chirp[k - j])
 * chirp and the spectrum of conj(chirp), divided by M, are constants. */
static void chirps(Fourier *f, KBuf *chirp_in, KBuf *spectrum_in)
{
    Lw *l = f->fft.l;
    Arena *arena = l->k->arena;
    int64_t n = f->n, M = fft_round_up(2 * n - 1, arena);
    double *chirp = arena_array(arena, double, 2 * (size_t)n), *from = arena_array(arena, double, 2 * (size_t)M),
           *to = arena_array(arena, double, 2 * (size_t)M), *spectrum = arena_array(arena, double, 2 * (size_t)M);
    for (int64_t i = 0; i < 2 * M; i++) from[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        double *re = &chirp[i], *im = &chirp[n + i];
        fft_root(i * i % (2 * n), 2 * n, f->fft.back, re, im);
        from[2 * i] = *re, from[2 * i + 1] = -*im;
        if (i) from[2 * (M - i)] = *re, from[2 * (M - i) + 1] = -*im;
    }
    fft_host(M, false, from, to, arena);
    for (int64_t i = 0; i < M; i++) spectrum[i] = to[2 * i] / (double)M, spectrum[M + i] = to[2 * i + 1] / (double)M;
    f->fft.n = M, f->fft.back = false;
    f->back = f->fft;
    f->back.back = true;
    fft_turns(&f->fft);
    fft_turns(&f->back);
    *chirp_in = fft_const(l, DT_F64, 2 * n, chirp, "chirp");
    *spectrum_in = fft_const(l, DT_F64, 2 * M, spectrum, "spectrum");
}

typedef struct Filter {
    Fourier *f;
    FftSource source;
} Filter;

static Cx chirped(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    Filter *x = arg;
    Fourier *f = x->f;
    Kb *b = fft->b;
    if (lo >= f->n) return (Cx){{0}, {0}};
    if (hi <= f->n) return fft_mul(fft, x->source(f, fft, i, lo, hi), constant(f, f->chirp, i, f->n));
    KVal inside = kb_lt(b, i, kb_i(b, f->n)), at = kb_min(b, i, kb_i(b, f->n - 1)), none = kb_const_f(b, fft->t, 0);
    Cx v = fft_mul(fft, x->source(f, fft, at, lo, f->n), constant(f, f->chirp, at, f->n));
    if (!v.re.i) return v;
    return (Cx){kb_select(b, inside, v.re, none), kb_select(b, inside, v.im, none)};
}

static Cx stored_row(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    (void)arg, (void)lo, (void)hi;
    return fft_get(fft, i);
}

static Cx filtered(void *arg, Fft *fft, KVal i, int64_t lo, int64_t hi)
{
    Filter *x = arg;
    (void)lo, (void)hi;
    return fft_mul(fft, fft_get(fft, i), constant(x->f, x->f->spectrum, i, fft->n));
}

/* The transform of n points, from source (NULL: the row) to sink (NULL: the row). */
static void engine(Fourier *f, FftSource source, FftSink sink)
{
    Fft *fft = &f->fft;
    Filter x = {f, source ? source : stored_row};
    if (!f->chirp) {
        fft_run(fft, source, sink, f);
        return;
    }
    fft_run(fft, chirped, NULL, &x);
    f->back.b = fft->b, f->back.now = fft->now;
    f->back.row[0] = fft->row[0], f->back.row[1] = fft->row[1];
    fft_run(&f->back, filtered, NULL, &x);
    fft->now = f->back.now;
    KVal k = fft_points(fft, 0, f->n);
    Cx v = fft_mul(fft, fft_get(fft, k), constant(f, f->chirp, k, f->n));
    if (sink) sink(f, fft, k, v);
    else fft_set(fft, k, v);
    fft_points_end(fft);
}

/* ---- a known number of points ---- */
/* In an open kernel: all rows. */
static void rows(Fourier *f)
{
    Fft *fft = &f->fft;
    int64_t out = 0;
    bool unfolds = f->half && !mirrored(f), direct = !unfolds && !f->pairs, all;
    FftSource source = f->half ? (mirrored(f) ? folded : pair) : point;
    FftSink sink = f->half ? put_pair : put_sink;
    all = dim_is_const(&fft->l->m->dims, stored(f), &out) && out == f->N;
    int loops = open_rows(f);
    if (!direct || (!f->half && !all)) sink = NULL;
    if (fft->columns && !f->whole) {
        KVal i = open_points(f, f->n);
        fft_set(fft, i, source(f, fft, i, 0, f->n));
        fft_points_end(fft);
        source = NULL, sink = NULL;
    }
    engine(f, source, sink);
    if (unfolds) unfold(f);
    else if (f->pairs) part(f, out);
    else if (!sink) {
        KVal k = open_points(f, f->half ? f->n : out);
        (f->half ? put_pair : put_sink)(f, fft, k, fft_get(fft, k));
        fft_points_end(fft);
    }
    lw_end_nest(fft->l, loops);
}

static void known(Fourier *f, KBuf x)
{
    Lw *l = f->fft.l;
    Kb *b;
    bool real_in = dim_is(&l->m->dims, f->dim[f->rank - 1], 1);
    KBuf turns = {0}, chirp = {0}, spectrum = {0};
    f->half = f->N % 2 == 0 && (mirrored(f) || (real_in && !f->a->inverse));
    f->n = f->fft.n = f->half ? f->N / 2 : f->N;
    bool convolution = fft_largest(f->n) > FFT_LONG;
    if (convolution) f->fft.t = DT_F64;
    choose_columns(f);
    if (f->half) {
        double *v = arena_array(l->k->arena, double, (size_t)f->N);
        for (int64_t k = 0; k < f->N / 2; k++) fft_root(k, f->N, f->fft.back, &v[k], &v[f->N / 2 + k]);
        turns = fft_const(l, f->fft.t, f->N, v, "half");
    }
    if (convolution) chirps(f, &chirp, &spectrum);
    else fft_turns(&f->fft);
    b = f->fft.b = lw_kernel(l, "fourier");
    f->x = kb_param(b, x, false);
    if (f->window_in.i) f->window = kb_param(b, f->window_in, false);
    if (f->half) f->half_turns = kb_param(b, turns, false);
    if (convolution) {
        f->chirp = kb_param(b, chirp, false), f->spectrum = kb_param(b, spectrum, false);
        if (f->back.turns.i) f->back.turn = kb_param(b, f->back.turns, false);
    }
    fft_open(&f->fft);
    rows(f);
    lw_kernel_end(l);
}

/* ---- a number of points that only the run knows: rt_fourier on rows in double, a kernel before it and one behind ---- */

/* A kernel over all points of all rows and `points` there; row: its number. */
static KVal open_plain(Fourier *f, const char *stem, KBuf rows, bool stores, uint32_t *param, Dim points, KVal *row, int *loops)
{
    Kb *b = f->fft.b = lw_kernel(f->fft.l, stem);
    *param = kb_param(b, rows, stores);
    *loops = open_rows(f);
    *row = kb_i(b, 0);
    for (int i = 0; i < f->rank - 1; i++)
        if (i != f->axis) *row = kb_add(b, kb_mul(b, *row, kb_dim(b, f->dim[i])), f->idx[i]);
    return kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, points));
}

static void unknown(Fourier f, KBuf x, KBuf cosines, KBuf sines)
{
    enum { PARTS = 16, LONG = 1 << 22 }; /* no more threads than so many points in all, unless it is one */
    Lw *l = f.fft.l;
    Dims *d = &l->m->dims;
    Dim all = dim_const(d, 1), one = all, n = f.points, most = dim_div(d, dim_const(d, LONG), dim_max(d, one, n));
    uint32_t param;
    int loops;
    KVal row, k;
    f.fft.t = DT_F64;
    KStep *some = lw_step(l, KST_CHECK);
    some->a = one, some->b = n, some->rel = KREL_LE, some->msg = "a transform of {want} points";
    for (int i = 0; i < f.rank - 1; i++)
        if (i != f.axis) all = dim_mul(d, all, f.dim[i]);
    Dim parts = dim_max(d, one, dim_min(d, all, dim_min(d, dim_const(d, PARTS), most)));
    KBuf rows = lw_temp(l, DT_F64, 3, (Dim[]){all, dim_const(d, 2), n}), work = lw_temp(l, DT_F64, 2, (Dim[]){parts, dim_mul(d, dim_const(d, 26), n)});
    k = open_plain(&f, "fourier_rows", rows, true, &param, n, &row, &loops);
    Kb *b = f.fft.b;
    f.x = kb_param(b, x, false);
    Cx v = point(&f, &f.fft, k, 0, INT64_MAX);
    kb_store(b, param, (KVal[]){row, kb_i(b, 0), k}, v.re.i ? v.re : kb_const_f(b, DT_F64, 0));
    kb_store(b, param, (KVal[]){row, kb_i(b, 1), k}, v.im.i ? v.im : kb_const_f(b, DT_F64, 0));
    kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
    lw_call(l, l->steps, "rt_fourier", 4,
            (KArg[]){{.kind = KA_BUF, .buf = rows}, {.kind = KA_BUF, .buf = cosines}, {.kind = KA_BUF, .buf = sines}, {.kind = KA_BUF, .buf = work}});
    k = open_plain(&f, "fourier", rows, false, &param, stored(&f), &row, &loops);
    b = f.fft.b;
    put(&f, k, (Cx){kb_load(b, param, (KVal[]){row, kb_i(b, 0), k}), kb_load(b, param, (KVal[]){row, kb_i(b, 1), k})});
    kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
}

static Fourier begin(Lw *l, const Dft *a, int rank, int axis, Dim points)
{
    Fourier f = {.fft = {.l = l}, .a = a, .elem = lw_elem(l, X), .rank = rank, .axis = axis, .points = points};
    f.fft.back = a->inverse != 0;
    f.fft.t = f.fft.back ? dtype_compute(f.elem) : DT_F64;
    dim_is_const(&l->m->dims, points, &f.N);
    return f;
}

/* Transforms that axis with the roots of operands c, s. */
static void along(Lw *l, Node n, int axis, KBuf x, uint32_t c, uint32_t s)
{
    Fourier f = begin(l, ATTRS(l->g, n, Dft), lw_rank(l, X), axis, lw_dim(l, c, 0));
    for (int i = 0; i < f.rank; i++) f.dim[i] = lw_dim(l, X, i);
    if (!f.N) unknown(f, x, lw_in(l, c), lw_in(l, s));
    else known(&f, x);
}

void fourier_frames(Lw *l, int64_t n, int64_t step, uint32_t window, bool onesided)
{
    Dims *d = &l->m->dims;
    Dft *a = arena_new(l->k->arena, Dft);
    a->onesided = onesided;
    KBuf x = lw_in_strided(l, X);
    Fourier f = begin(l, a, 4, 2, dim_const(d, n));
    f.dim[0] = lw_dim(l, X, 0), f.dim[1] = lw_out_dim(l, 0, 1), f.dim[2] = f.points, f.dim[3] = lw_dim(l, X, 2);
    f.step = step;
    if (window) f.window_in = lw_in(l, window);
    lw_prepare_out(l);
    known(&f, x);
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
    if (!lw_values_n(l, AXIS, &axis, 1)) return false;
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

const OpDesc op_Fourier = {.name = "Fourier", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR | OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT,
                           .attrs = ATTRS_, .attrs_size = sizeof(Dft), .infer = infer, .lower = lower, .grad = grad_fourier, .eval = eval};
