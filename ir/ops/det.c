/* det.c: Det: determinants of square matrices [.., M, M] by elimination with row exchanges, in double precision, one
 * matrix after the other in scratch.
 *   for k: bring the largest |a[i,k]|, i >= k, to row k (each exchange flips the sign); det *= a[k,k]; rows below
 *   lose a[i,k]/a[k,k] times row k
 * Many small matrices go 16 at a time, a matrix a lane. There rows are exchanged in pairs, since lanes differ in which
 * row is largest: row i and row k change places where |a[i,k]| is larger, before row i loses its multiple of row k
 * (pairwise pivoting: Sorensen, "Analysis of pairwise pivoting in Gaussian elimination", 1985; factors stay below 1, too).
 * A column without anything left gives 0. The determinant of an empty matrix is 1. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include <math.h>

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};

static bool infer(Infer *c)
{
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 2, -1)) return false;
    int rank = infer_rank(c, 0);
    if (!infer_must_eq(c, infer_dim(c, 0, rank - 2), infer_dim(c, 0, rank - 1), "side of a square matrix"))
        return false;
    for (int i = 0; i < rank - 2; i++) dim[i] = infer_dim(c, 0, i);
    return infer_set(c, 0, infer_elem(c, 0), rank - 2, dim);
}

/* The row of the largest element of column k from row k on. */
static KVal pivot_row(Kb *b, uint32_t m, KVal k, KVal side)
{
    KbLoop l;
    KVal init[2] = {kb_const_f(b, DT_F64, -1), k};
    kb_loop(b, &l, KLOOP_SEQ, k, side, 2, init, NULL);
    KVal v = kb_un(b, KOP_ABS, kb_load(b, m, (KVal[]){l.iv, k})), more = kb_lt(b, l.carry[0], v);
    kb_loop_end(b, &l, (KVal[]){kb_select(b, more, v, l.carry[0]), kb_select(b, more, l.iv, l.carry[1])});
    return l.result[1];
}

/* Row i against row k of the matrices m[..,..,lane]; the sign that goes with it. */
static KVal pair_of_rows(Kb *b, uint32_t m, KVal k, KVal i, KVal lane, KVal side, KVal sign)
{
    KVal kk[3] = {k, k, lane}, ik[3] = {i, k, lane}, zero = kb_const_f(b, DT_F64, 0);
    KVal up = kb_load(b, m, kk), down = kb_load(b, m, ik);
    KVal swap = kb_lt(b, kb_un(b, KOP_ABS, up), kb_un(b, KOP_ABS, down));
    KVal large = kb_select(b, swap, down, up), small = kb_select(b, swap, up, down), none = kb_eq(b, large, zero);
    KVal f = kb_div(b, small, kb_select(b, none, kb_const_f(b, DT_F64, 1), large));
    f = kb_un(b, KOP_NEG, kb_select(b, none, zero, f));
    kb_store(b, m, kk, large);
    KVal j = kb_for(b, KLOOP_SEQ, kb_add(b, k, kb_i(b, 1)), side), kj[3] = {k, j, lane}, ij[3] = {i, j, lane};
    up = kb_load(b, m, kj), down = kb_load(b, m, ij);
    large = kb_select(b, swap, down, up);
    kb_store(b, m, kj, large);
    kb_store(b, m, ij, kb_fma(b, f, large, kb_select(b, swap, up, down)));
    kb_end(b);
    return kb_select(b, swap, kb_un(b, KOP_NEG, sign), sign);
}

/* The determinants of the matrices `at` names, whose last index is a lane's. */
static KVal of_lane(Lw *l, uint32_t m, KVal *at, KVal lane, KVal side)
{
    Kb *b = l->b;
    int rank = lw_rank(l, 0);
    KVal one = kb_const_f(b, DT_F64, 1), i = at[rank - 2] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), side),
         j = at[rank - 1] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), side);
    kb_store(b, m, (KVal[]){i, j, lane}, kb_cast(b, DT_F64, lw_at(l, 0, at)));
    kb_end(b);
    kb_end(b);
    KbLoop det, rows;
    kb_loop(b, &det, KLOOP_SEQ, kb_i(b, 0), side, 1, &one, NULL);
    kb_loop(b, &rows, KLOOP_SEQ, kb_add(b, det.iv, kb_i(b, 1)), side, 1, &det.carry[0], NULL);
    KVal sign = pair_of_rows(b, m, det.iv, rows.iv, lane, side, rows.carry[0]);
    kb_loop_end(b, &rows, &sign);
    KVal next = kb_mul(b, rows.result[0], kb_load(b, m, (KVal[]){det.iv, det.iv, lane}));
    kb_loop_end(b, &det, &next);
    return det.result[0];
}

enum { SIDE_MOST = 48, BATCH_LEAST = 8 /* matrices that are worth lanes, and their side */ };

static bool by_lanes(Lw *l)
{
    int rank = lw_rank(l, 0);
    int64_t side, batch;
    if (rank < 3 || !dim_is_const(&l->m->dims, lw_dim(l, 0, rank - 1), &side) || side > SIDE_MOST) return false;
    return dim_is_const(&l->m->dims, lw_dim(l, 0, rank - 3), &batch) && batch >= BATCH_LEAST;
}

static void lower_lanes(Lw *l)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    Dim side = lw_dim(l, 0, rank - 1), batch = lw_dim(l, 0, rank - 3), lanes = dim_const(d, K_LANES);
    Kb *b = lw_kernel(l, "det");
    KVal at[RANK_MAX], zero = kb_i(b, 0), size = kb_i(b, K_LANES);
    for (int i = 0; i < rank - 3; i++) at[i] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_dim(l, 0, i)));
    uint32_t m = kb_local(b, "m", DT_F64, 3, (Dim[]){side, side, lanes});
    KVal first = kb_mul(b, kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, batch, lanes))), size);
    KVal lane = kb_for(b, KLOOP_VEC, zero, kb_min(b, size, kb_sub(b, kb_dim(b, batch), first)));
    at[rank - 3] = kb_add(b, first, lane);
    KVal det = of_lane(l, m, at, lane, kb_dim(b, side));
    lw_put(l, 0, at, kb_cast(b, dtype_compute(lw_elem(l, 0)), det));
    lw_end_nest(l, rank - 1);
    lw_kernel_end(l);
}

static bool lower(Lw *l, Node n)
{
    (void)n;
    int rank = lw_rank(l, 0);
    Dim side = lw_dim(l, 0, rank - 1);
    lw_prepare_in(l);
    lw_prepare_out(l);
    if (by_lanes(l)) {
        lower_lanes(l);
        return true;
    }
    Kb *b = lw_kernel(l, "det");
    KVal at[RANK_MAX], zero = kb_const_f(b, DT_F64, 0), one = kb_const_f(b, DT_F64, 1);
    for (int i = 0; i < rank - 2; i++) at[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)));
    uint32_t m = kb_local(b, "m", DT_F64, 2, (Dim[]){side, side});
    KVal M = kb_dim(b, side), i = at[rank - 2] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), M),
         j = at[rank - 1] = kb_for(b, KLOOP_VEC, kb_i(b, 0), M);
    kb_store(b, m, (KVal[]){i, j}, kb_cast(b, DT_F64, lw_at(l, 0, at)));
    kb_end(b);
    kb_end(b);
    KbLoop det;
    kb_loop(b, &det, KLOOP_SEQ, kb_i(b, 0), M, 1, &one, NULL);
    KVal k = det.iv, p = pivot_row(b, m, k, M);
    j = kb_for(b, KLOOP_VEC, k, M);
    KVal up = kb_load(b, m, (KVal[]){p, j}), down = kb_load(b, m, (KVal[]){k, j});
    kb_store(b, m, (KVal[]){p, j}, down);
    kb_store(b, m, (KVal[]){k, j}, up);
    kb_end(b);
    KVal pivot = kb_load(b, m, (KVal[]){k, k}), none = kb_eq(b, pivot, zero);
    i = kb_for(b, KLOOP_SEQ, kb_add(b, k, kb_i(b, 1)), M);
    KVal f = kb_select(b, none, zero, kb_div(b, kb_load(b, m, (KVal[]){i, k}), kb_select(b, none, one, pivot)));
    j = kb_for(b, KLOOP_VEC, kb_add(b, k, kb_i(b, 1)), M);
    kb_store(b, m, (KVal[]){i, j},
             kb_sub(b, kb_load(b, m, (KVal[]){i, j}), kb_mul(b, f, kb_load(b, m, (KVal[]){k, j}))));
    kb_end(b);
    kb_end(b);
    KVal sign = kb_select(b, kb_eq(b, p, k), one, kb_const_f(b, DT_F64, -1)),
         next = kb_mul(b, det.carry[0], kb_mul(b, sign, pivot));
    kb_loop_end(b, &det, &next);
    lw_put(l, 0, at, kb_cast(b, dtype_compute(lw_elem(l, 0)), det.result[0]));
    lw_end_nest(l, rank - 2);
    lw_kernel_end(l);
    return true;
}

/* Elimination with the largest element that is left, of all rows and columns, as pivot; small ones by the first row's
 * minors. */
static double minors(const double *a, int64_t side, int64_t row, uint64_t used)
{
    double s = 0, sign = 1;
    if (row == side) return 1;
    for (int64_t j = 0; j < side; j++) {
        if (used >> j & 1) continue;
        s += sign * a[row * side + j] * minors(a, side, row + 1, used | (uint64_t)1 << j);
        sign = -sign;
    }
    return s;
}

static double determinant(double *a, int64_t n)
{
    double det = 1;
    if (n <= 6) return minors(a, n, 0, 0);
    for (int64_t k = 0; k < n; k++) {
        int64_t r = k, c = k;
        for (int64_t i = k; i < n; i++)
            for (int64_t j = k; j < n; j++)
                if (fabs(a[i * n + j]) > fabs(a[r * n + c])) r = i, c = j;
        double pivot = a[r * n + c];
        if (pivot == 0) return 0;
        for (int64_t j = 0; j < n; j++) {
            double t = a[k * n + j];
            a[k * n + j] = a[r * n + j];
            a[r * n + j] = t;
        }
        for (int64_t i = 0; i < n; i++) {
            double t = a[i * n + k];
            a[i * n + k] = a[i * n + c];
            a[i * n + c] = t;
        }
        det *= (r != k) != (c != k) ? -pivot : pivot;
        for (int64_t i = k + 1; i < n; i++)
            for (int64_t j = n - 1; j >= k; j--) a[i * n + j] -= a[i * n + k] / pivot * a[k * n + j];
    }
    return det;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t side = x->dim[x->rank - 1];
    if (x->dim[x->rank - 2] != side) return ev_fail(e, "a matrix is not square");
    Tensor *y = ev_out(e, 0, x->elem, x->rank - 2, x->dim);
    double *a = arena_array(e->arena, double, side *side + 1);
    for (int64_t k = 0; y && k < y->count; k++) {
        for (int64_t i = 0; i < side * side; i++) a[i] = ev_f(x, k * side * side + i);
        ev_set_f(y, k, determinant(a, side));
    }
    return y != NULL;
}

const OpDesc op_Det = {.name = "Det",
                       .since = 22,
                       .cls = CLS_OPAQUE,
                       .flags = OPF_STRIDED_OUT,
                       .in = P_IN,
                       .out = P_OUT,
                       .infer = infer,
                       .lower = lower,
                       .grad = grad_det,
                       .eval = eval};
