/* fft.c: fast Fourier transforms as loops over scratch: real and imaginary parts apart, Stockham's self-sorting passes
 * (Cochran et al., "What is the fast Fourier transform?", 1967; Van Loan, "Computational frameworks for the FFT",
 * 1992), one per factor r of n, s the product of the factors before:
 *   to[q + s (r p + k)] = root^(p k s) * sum over j of from[q + s (p + m j)] * root^(j k n/r)     q < s, p < m = n/(r s)
 * A pass of up to 16 points is a butterfly that stays in registers. Lanes are q, in the first pass (s = 1) p, whose
 * results codegen turns round in registers (weave.c); or, with `columns`, transforms side by side. Which factors, and
 * in which order, comes from an estimate of what each pass costs. Multiplications by roots are multiply-adds with the
 * sum that follows (Linzer and Feig, "Implementation of efficient FFT algorithms on fused multiply-add architectures",
 * 1993). */
#include "ir/ops/fft.h"
#include "base/bug.h"
#include <math.h>

enum { RADIX_MAX = 16 /* unrolled butterflies */, IN_REGISTERS = 14 };

/* ---- numbers ---- */
static long double turn_cos(int64_t k, int64_t n) /* of k/n turns */
{
    k %= n;
    if (k < 0) k += n;
    if (2 * k > n) k = n - k;                                     /* up to half a turn */
    if (4 * k > n) return -turn_cos(n - 2 * k, 2 * n);            /* up to a quarter */
    const long double turn = 6.283185307179586476925286766559005768L;
    if (8 * k > n) return sinl(turn * (long double)(n - 4 * k) / (long double)(4 * n));
    return cosl(turn * (long double)k / (long double)n);
}

void fft_root(int64_t k, int64_t n, bool back, double *re, double *im)
{
    *re = (double)turn_cos(k, n);
    double s = (double)turn_cos(4 * (k % n) - n, 4 * n);
    *im = back ? s : -s;
}

static int64_t least_factor(int64_t n)
{
    for (int64_t r = 2; r * r <= n; r++)
        if (n % r == 0) return r;
    return n;
}

int64_t fft_largest(int64_t n)
{
    int64_t most = 1;
    for (int64_t r; n > 1; n /= r) {
        r = least_factor(n);
        if (r > most) most = r;
    }
    return most;
}

/* ---- which passes ---- */
typedef struct Plan {
    int n;
    int64_t radix[FFT_PASSES];
    double cost;
} Plan;

/* Instructions for a point of a transform of r points. */
static double work_of(int64_t r)
{
    int64_t a = least_factor(r), h = a / 2;
    double own = a == 2 ? 2 : (double)(4 * h + 2 * h + h * (4 * h + 4)) / (double)a;
    return a == r ? own : own + work_of(r / a) + 1.5;
}

static double lanes_used(int64_t n) { return (double)n / (double)((n + FFT_LANES - 1) / FFT_LANES * FFT_LANES); }

static double pass_cost(int64_t n, int64_t r, int64_t s, bool columns)
{
    int64_t m = n / (r * s);
    double c = 4 + (m > 1 ? 4 : 0);
    if (r > RADIX_MAX) c += 4 * (double)r;
    else c += work_of(r) + (r > IN_REGISTERS ? 4 : 0);
    if (columns) return c;
    if (s == 1) return (c + (m > 1 ? 3 : 0)) / lanes_used(m);
    return c / lanes_used(s) + (double)(2 * FFT_LANES) / (double)s / (double)r; /* loops over few lanes begin often */
}

typedef struct Memo {
    int64_t s, radix;
    double cost;
} Memo;
typedef VEC(Memo) Memos;

/* The cheapest passes for what is left when the factors before make up s. Short factors come first where nothing else
 * decides, so that differences of what is read are exact; mixed ones save loops over few lanes, else nothing. */
static double best(int64_t n, int64_t s, bool columns, Memos *known, Arena *arena)
{
    if (s == n) return 0;
    for (size_t i = 0; i < known->n; i++)
        if (known->p[i].s == s) return known->p[i].cost;
    Memo found = {.s = s, .cost = INFINITY};
    for (int64_t r = 2, rest = n / s; r <= FFT_LONG && r <= rest; r++) {
        bool prime = least_factor(r) == r, power = (r & (r - 1)) == 0;
        if (rest % r || (!prime && !power && columns) || (!prime && r > RADIX_MAX)) continue;
        double c = pass_cost(n, r, s, columns) + best(n, s * r, columns, known, arena);
        if (c < found.cost) found.cost = c, found.radix = r;
    }
    vec_push(arena, known, found);
    return found.cost;
}

static Plan plan(int64_t n, bool columns, Arena *arena)
{
    Memos known = {0};
    Plan p = {.cost = best(n, 1, columns, &known, arena)};
    for (int64_t s = 1; s < n; s *= p.radix[p.n - 1])
        for (size_t i = 0; i < known.n; i++)
            if (known.p[i].s == s) {
                assert(p.n < FFT_PASSES && known.p[i].radix);
                p.radix[p.n++] = known.p[i].radix;
                break;
            }
    return p;
}

int64_t fft_round_up(int64_t n, Arena *arena)
{
    int64_t most = 1, at = n;
    double least = INFINITY;
    while (most < n) most *= 2;
    for (int64_t m = n; m <= most; m++) { /* a product of 2, 3 and 5, a multiple of 8 where there are many */
        int64_t left = m;
        if (n > 64 && m % 8) continue;
        for (int64_t r = 2; r <= 5; r++)
            while (left % r == 0) left /= r;
        if (left != 1) continue;
        double cost = plan(m, false, arena).cost * (double)m;
        if (cost < least) least = cost, at = m;
    }
    return at;
}

/* ---- constants ---- */
KBuf fft_const(Lw *l, DType t, int64_t count, const double *v, const char *stem)
{
    float *narrow = arena_array(l->k->arena, float, (size_t)count + 1);
    for (int64_t i = 0; i < count; i++) narrow[i] = (float)v[i];
    Dim dim = dim_const(&l->m->dims, count);
    return lw_const_buf(l, blob_inline(&l->m->blobs, t, count, t == DT_F64 ? (const void *)v : narrow), stem, 1, &dim);
}

/* Roots of all passes, one behind the other. Of a pass: where lanes are p, [k - 1][re, im][m], else [p][k - 1][re, im];
 * nothing when m is 1. A pass of more than RADIX_MAX points has the r-th roots behind that, [re, im] each. */
static int64_t turns_of(const Fft *f, int64_t r, int64_t s)
{
    int64_t m = f->n / (r * s);
    return (m > 1 ? 2 * m * (r - 1) : 0) + (r > RADIX_MAX ? 2 * r : 0);
}

void fft_turns(Fft *f)
{
    Arena *arena = f->l->k->arena;
    Plan p = plan(f->n, f->columns != 0, arena);
    int64_t count = 0, at = 0;
    for (int64_t i = 0, s = 1; i < p.n; s *= p.radix[i++]) count += turns_of(f, p.radix[i], s);
    double *v = arena_array(arena, double, (size_t)count + 1), w[2];
    for (int64_t i = 0, s = 1; i < p.n; s *= p.radix[i++]) {
        int64_t r = p.radix[i], m = f->n / (r * s);
        for (int64_t j = 0; m > 1 && j < m; j++)
            for (int64_t k = 1; k < r; k++) {
                fft_root(j * k, m * r, f->back, &w[0], &w[1]);
                bool along = s == 1 && !f->columns;
                int64_t re = along ? 2 * (k - 1) * m + j : 2 * (j * (r - 1) + k - 1);
                v[at + re] = w[0];
                v[at + re + (along ? m : 1)] = w[1];
            }
        at += m > 1 ? 2 * m * (r - 1) : 0;
        for (int64_t k = 0; r > RADIX_MAX && k < r; k++, at += 2) fft_root(k, r, f->back, &v[at], &v[at + 1]);
    }
    assert(at == count);
    f->turns = (KBuf){0};
    if (count) f->turns = fft_const(f->l, f->t, count, v, "turns");
}

void fft_open(Fft *f)
{
    Dims *d = &f->l->m->dims;
    Dim local[3] = {dim_const(d, 2), dim_const(d, f->n + 1), dim_const(d, f->columns)};
    if (f->turns.i) f->turn = kb_param(f->b, f->turns, false);
    f->row[0] = kb_local(f->b, "row", f->t, f->columns ? 3 : 2, local);
    f->row[1] = kb_local(f->b, "next", f->t, f->columns ? 3 : 2, local);
    f->now = 0;
}

/* ---- arithmetic; a part without a value is zero ---- */
static KVal zero(Fft *f) { return kb_const_f(f->b, f->t, 0); }
static KVal real(Fft *f, double c) { return kb_const_f(f->b, f->t, c); }
static KVal neg(Fft *f, KVal x) { return x.i ? kb_un(f->b, KOP_NEG, x) : x; }
static KVal plus(Fft *f, KVal x, KVal y) { return !x.i ? y : !y.i ? x : kb_add(f->b, x, y); }
static KVal minus(Fft *f, KVal x, KVal y) { return !x.i ? neg(f, y) : !y.i ? x : kb_sub(f->b, x, y); }
static KVal times(Fft *f, KVal x, KVal y) { return x.i && y.i ? kb_mul(f->b, x, y) : (KVal){0}; }
static KVal madd(Fft *f, KVal x, KVal y, KVal z)
{
    return !x.i || !y.i ? z : !z.i ? kb_mul(f->b, x, y) : kb_fma(f->b, x, y, z);
}

Cx fft_add(Fft *f, Cx x, Cx y) { return (Cx){plus(f, x.re, y.re), plus(f, x.im, y.im)}; }
Cx fft_sub(Fft *f, Cx x, Cx y) { return (Cx){minus(f, x.re, y.re), minus(f, x.im, y.im)}; }
Cx fft_mul(Fft *f, Cx x, Cx y)
{
    return (Cx){madd(f, neg(f, x.im), y.im, times(f, x.re, y.re)), madd(f, x.im, y.re, times(f, x.re, y.im))};
}
Cx fft_conj(Fft *f, Cx x) { return (Cx){x.re, neg(f, x.im)}; }
Cx fft_scale(Fft *f, Cx x, double c) { return (Cx){times(f, x.re, real(f, c)), times(f, x.im, real(f, c))}; }

/* x times i, or -i forwards. */
static Cx quarter(Fft *f, Cx x) { return f->back ? (Cx){neg(f, x.im), x.re} : (Cx){x.im, neg(f, x.re)}; }

/* x times root k of r. */
static Cx turned(Fft *f, Cx x, int64_t k, int64_t r)
{
    double re, im;
    if (k % r == 0) return x;
    if (4 * k == r) return quarter(f, x);
    fft_root(k, r, f->back, &re, &im);
    return fft_mul(f, x, (Cx){real(f, re), real(f, im)});
}

/* *sum, *diff = x +- y times root k of r, 2 k < r. */
static void halves(Fft *f, Cx x, Cx y, int64_t k, int64_t r, Cx *sum, Cx *diff)
{
    double re, im;
    if (k == 0 || 4 * k == r) {
        if (k) y = quarter(f, y);
        *sum = fft_add(f, x, y);
        *diff = fft_sub(f, x, y);
        return;
    }
    fft_root(k, r, f->back, &re, &im);
    if (8 * k == r || 8 * k == 3 * r) { /* y (re + i im), both of the same size */
        double c = fabs(re);
        Cx iy = quarter(f, y), t = 8 * k == r ? fft_add(f, y, iy) : fft_sub(f, iy, y);
        KVal up = real(f, c), down = real(f, -c);
        *sum = (Cx){madd(f, t.re, up, x.re), madd(f, t.im, up, x.im)};
        *diff = (Cx){madd(f, t.re, down, x.re), madd(f, t.im, down, x.im)};
        return;
    }
    KVal c = real(f, re), s = real(f, im), minus_s = real(f, -im), two = real(f, 2);
    sum->re = madd(f, y.re, c, madd(f, y.im, minus_s, x.re));
    sum->im = madd(f, y.im, c, madd(f, y.re, s, x.im));
    diff->re = madd(f, x.re, two, neg(f, sum->re));
    diff->im = madd(f, x.im, two, neg(f, sum->im));
}

/* Of a prime number of points: root k and root r - k are conjugate, so sums and differences of such pairs meet real
 * factors only. */
static void odd(Fft *f, int64_t r, const Cx *v, Cx *out)
{
    Cx up[RADIX_MAX / 2], down[RADIX_MAX / 2];
    int64_t h = r / 2;
    double re, im;
    out[0] = v[0];
    for (int64_t j = 1; j <= h; j++) {
        up[j] = fft_add(f, v[j], v[r - j]);
        down[j] = fft_sub(f, v[j], v[r - j]);
        out[0] = fft_add(f, out[0], up[j]);
    }
    for (int64_t k = 1; k <= h; k++) {
        Cx even_part = v[0], odd_part = {{0}, {0}};
        for (int64_t j = 1; j <= h; j++) {
            fft_root(j * k, r, f->back, &re, &im);
            KVal c = real(f, re), s = real(f, im);
            even_part = (Cx){madd(f, up[j].re, c, even_part.re), madd(f, up[j].im, c, even_part.im)};
            odd_part = (Cx){madd(f, down[j].im, s, odd_part.re), madd(f, down[j].re, s, odd_part.im)};
        }
        out[k] = (Cx){minus(f, even_part.re, odd_part.re), plus(f, even_part.im, odd_part.im)};
        out[r - k] = (Cx){plus(f, even_part.re, odd_part.re), minus(f, even_part.im, odd_part.im)};
    }
}

/* The transform of r values in registers: a of them, a the least factor, from the transforms of every a-th. */
static void butterfly(Fft *f, int64_t r, const Cx *v, Cx *out)
{
    int64_t a = least_factor(r), n = r / a;
    Cx part[RADIX_MAX], of[RADIX_MAX], in[RADIX_MAX], some[RADIX_MAX];
    if (r == 1) {
        out[0] = v[0];
        return;
    }
    if (r == a && a > 2) {
        odd(f, r, v, out);
        return;
    }
    for (int64_t i = 0; i < a; i++) {
        for (int64_t j = 0; j < n; j++) part[j] = v[a * j + i];
        butterfly(f, n, part, of + i * n);
    }
    for (int64_t k = 0; k < n; k++) {
        if (a == 2) {
            halves(f, of[k], of[n + k], k, r, &out[k], &out[n + k]);
            continue;
        }
        for (int64_t i = 0; i < a; i++) in[i] = turned(f, of[i * n + k], i * k, r);
        odd(f, a, in, some);
        for (int64_t i = 0; i < a; i++) out[k + n * i] = some[i];
    }
}

/* ---- the row ---- */
static Cx entry(Fft *f, int which, KVal at)
{
    Kb *b = f->b;
    KVal re[3] = {kb_i(b, 0), at, f->column}, im[3] = {kb_i(b, 1), at, f->column};
    return (Cx){kb_load(b, f->row[which], re), kb_load(b, f->row[which], im)};
}

static void enter(Fft *f, int which, KVal at, Cx v)
{
    Kb *b = f->b;
    KVal re[3] = {kb_i(b, 0), at, f->column}, im[3] = {kb_i(b, 1), at, f->column};
    kb_store(b, f->row[which], re, v.re.i ? v.re : zero(f));
    kb_store(b, f->row[which], im, v.im.i ? v.im : zero(f));
}

Cx fft_get(Fft *f, KVal at) { return entry(f, f->now, at); }
void fft_set(Fft *f, KVal at, Cx v) { enter(f, f->now, at, v); }

KVal fft_points(Fft *f, int64_t lo, int64_t hi)
{
    Kb *b = f->b;
    KVal at = kb_for(b, f->columns ? KLOOP_SEQ : KLOOP_VEC, kb_i(b, lo), kb_i(b, hi));
    if (f->columns) f->column = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, f->columns));
    return at;
}

void fft_points_end(Fft *f)
{
    kb_end(f->b);
    if (f->columns) kb_end(f->b);
}

/* ---- passes ---- */
typedef struct Pass {
    Fft *f;
    int64_t r, s, m, turns; /* where its roots begin */
    FftSource source;
    FftSink sink;
    void *arg;
} Pass;

static Cx root(Fft *f, KVal re, KVal im) { return (Cx){kb_load(f->b, f->turn, &re), kb_load(f->b, f->turn, &im)}; }

/* Root k, k > 0, of element p. */
static Cx root_of(const Pass *x, KVal p, KVal k)
{
    Fft *f = x->f;
    Kb *b = f->b;
    KVal j = kb_sub(b, k, kb_i(b, 1)), at;
    if (x->s == 1 && !f->columns) {
        at = kb_add(b, kb_add(b, kb_mul(b, j, kb_i(b, 2 * x->m)), p), kb_i(b, x->turns));
        return root(f, at, kb_add(b, at, kb_i(b, x->m)));
    }
    at = kb_add(b, kb_mul(b, kb_add(b, kb_mul(b, p, kb_i(b, x->r - 1)), j), kb_i(b, 2)), kb_i(b, x->turns));
    return root(f, at, kb_add(b, at, kb_i(b, 1)));
}

static Cx input(const Pass *x, KVal at, int64_t lo, int64_t hi)
{
    return x->source ? x->source(x->arg, x->f, at, lo, hi) : fft_get(x->f, at);
}

static void output(const Pass *x, KVal at, Cx v)
{
    if (x->sink) x->sink(x->arg, x->f, at, v);
    else enter(x->f, !x->f->now, at, v);
}

/* Results of a pass of many points: a sum for each of them. at: q + s p. */
static void sums(const Pass *x, KVal p, KVal at, KVal k, KVal to)
{
    Fft *f = x->f;
    Kb *b = f->b;
    KbLoop loop;
    KVal init[2] = {zero(f), zero(f)}, r = kb_i(b, x->r);
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), r, 2, init, NULL);
    KVal turn = kb_add(b, kb_mul(b, kb_bin(b, KOP_REM, kb_mul(b, loop.iv, k), r), kb_i(b, 2)),
                       kb_i(b, x->turns + (x->m > 1 ? 2 * x->m * (x->r - 1) : 0)));
    Cx v = input(x, kb_add(b, at, kb_mul(b, loop.iv, kb_i(b, x->s * x->m))), 0, f->n);
    Cx w = root(f, turn, kb_add(b, turn, kb_i(b, 1)));
    KVal re = madd(f, neg(f, v.im), w.im, madd(f, v.re, w.re, loop.carry[0])),
         im = madd(f, v.im, w.re, madd(f, v.re, w.im, loop.carry[1]));
    kb_loop_end(b, &loop, (KVal[]){re, im});
    Cx sum = {loop.result[0], loop.result[1]};
    if (x->m > 1) {
        KVal first = kb_i(b, 1);
        Cx by = root_of(x, p, kb_max(b, k, first)), t = fft_mul(f, sum, by);
        KVal other = kb_lt(b, kb_i(b, 0), k);
        sum = (Cx){kb_select(b, other, t.re, sum.re), kb_select(b, other, t.im, sum.im)};
    }
    output(x, kb_add(b, to, kb_mul(b, k, kb_i(b, x->s))), sum);
}

static void pass(const Pass *x)
{
    Fft *f = x->f;
    Kb *b = f->b;
    int64_t r = x->r, s = x->s, m = x->m;
    bool unrolled = r <= RADIX_MAX, first = s == 1;
    KVal none = kb_i(b, 0), p = none, q = none, k = none;
    KLoop lanes = f->columns ? KLOOP_SEQ : KLOOP_VEC;
    int loops = 0;
    if (m > 1 && (f->columns || !first)) p = kb_for(b, KLOOP_SEQ, none, kb_i(b, m)), loops++;
    if (!unrolled) k = kb_for(b, KLOOP_SEQ, none, kb_i(b, r)), loops++;
    if (first && !f->columns) p = kb_for(b, lanes, none, kb_i(b, m)), loops++;
    else if (!first) q = kb_for(b, lanes, none, kb_i(b, s)), loops++;
    if (f->columns) f->column = kb_for(b, KLOOP_VEC, none, kb_i(b, f->columns)), loops++;
    KVal at = kb_add(b, q, kb_mul(b, p, kb_i(b, s))), to = kb_add(b, q, kb_mul(b, p, kb_i(b, s * r)));
    if (unrolled) {
        Cx v[RADIX_MAX] = {{{0}, {0}}}, out[RADIX_MAX];
        for (int64_t j = 0; j < r; j++) v[j] = input(x, kb_add(b, at, kb_i(b, s * m * j)), s * m * j, s * m * (j + 1));
        butterfly(f, r, v, out);
        for (int64_t j = 1; m > 1 && j < r; j++) out[j] = fft_mul(f, out[j], root_of(x, p, kb_i(b, j)));
        for (int64_t j = 0; j < r; j++) output(x, kb_add(b, to, kb_i(b, s * j)), out[j]);
    } else sums(x, p, at, k, to);
    while (loops-- > 0) kb_end(b);
    f->now = !f->now;
}

void fft_run(Fft *f, FftSource source, FftSink sink, void *arg)
{
    Plan p = plan(f->n, f->columns != 0, f->l->k->arena);
    Pass x = {.f = f, .s = 1, .arg = arg};
    for (int i = 0; i < p.n; x.s *= x.r, i++) {
        x.r = p.radix[i];
        x.m = f->n / (x.r * x.s);
        x.source = i == 0 ? source : NULL;
        x.sink = i == p.n - 1 ? sink : NULL;
        pass(&x);
        x.turns += turns_of(f, x.r, x.s);
    }
    if (p.n) return;
    KVal at = fft_points(f, 0, 1); /* a single point is its own transform */
    Pass one = {.f = f, .source = source, .sink = sink, .arg = arg};
    output(&one, at, input(&one, at, 0, 1));
    fft_points_end(f);
    f->now = !f->now;
}

/* ---- on the host ---- */
static void host(int64_t n, int64_t apart, const double *roots, const double *from, double *to, double *work)
{
    int64_t a = least_factor(n), m = n / a;
    if (n == 1) {
        to[0] = from[0], to[1] = from[1];
        return;
    }
    for (int64_t i = 0; i < a; i++) host(m, apart * a, roots, from + 2 * apart * i, to + 2 * m * i, work);
    for (int64_t i = 0; i < 2 * n; i++) work[i] = to[i];
    for (int64_t k = 0; k < n; k++) {
        double re = 0, im = 0;
        for (int64_t i = 0; i < a; i++) {
            const double *v = work + 2 * (m * i + k % m), *w = roots + 2 * apart * (i * k % n);
            re += v[0] * w[0] - v[1] * w[1];
            im += v[0] * w[1] + v[1] * w[0];
        }
        to[2 * k] = re, to[2 * k + 1] = im;
    }
}

void fft_host(int64_t n, bool back, const double *from, double *to, Arena *arena)
{
    double *roots = arena_array(arena, double, 2 * (size_t)n);
    for (int64_t k = 0; k < n; k++) fft_root(k, n, back, &roots[2 * k], &roots[2 * k + 1]);
    host(n, 1, roots, from, to, arena_array(arena, double, 2 * (size_t)n));
}
