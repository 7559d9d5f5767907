/* maxroipool.c: MaxRoiPool: each region of interest is cut into pooled_shape bins; a result is the maximum of its bin.
 *   places are rounded (halves away from 0): y0 = round(y1 * scale), rows = max(round(y2 * scale) - y0 + 1, 1)
 *   bin p of P: rows y0 + floor(p * rows / P) to y0 + ceil((p + 1) * rows / P) - 1, clipped; an empty bin gives 0
 * The quotient rows / P is rounded before it is multiplied, in the type of the data (f32 for narrower ones), as in the
 * operator's first implementation.
 *
 * Loops: par over (region, bin), the bin's pixels, and innermost the channels, whose maxima live in scratch. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <math.h>

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, {"rois", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Roi {
    uint64_t set;
    AttrInts pooled_shape;
    double spatial_scale;
} Roi;
static const AttrSpec ATTRS_[] = {A_INTS(Roi, pooled_shape), A_FLOAT(Roi, spatial_scale, 1), A_END};

static bool infer(Infer *c)
{
    const Roi *a = ATTRS(c->g, c->n, Roi);
    if (a->pooled_shape.n != 2 || a->pooled_shape.p[0] < 1 || a->pooled_shape.p[1] < 1)
        return infer_fail(c, "pooled_shape needs two positive numbers");
    if (!infer_need_rank(c, 0, 4, 4) || !infer_need_rank(c, 1, 2, 2)) return false;
    if (!infer_must_eq(c, infer_dim(c, 1, 1), dim_const(c->d, 5), "numbers of a region")) return false;
    return infer_set(c, 0, infer_elem(c, 0), 4,
                     (Dim[]){infer_dim(c, 1, 0), infer_dim(c, 0, 1), dim_const(c->d, a->pooled_shape.p[0]),
                             dim_const(c->d, a->pooled_shape.p[1])});
}

/* Number k of a region, scaled and rounded. */
static KVal place(Lw *l, const Roi *a, DType t, KVal roi, int k)
{
    Kb *b = l->b;
    KVal x = kb_mul(b, lw_at(l, 1, (KVal[]){roi, kb_i(b, k)}), kb_const_f(b, t, (double)(float)a->spatial_scale));
    KVal whole = kb_un(b, KOP_TRUNC, x), rest = kb_sub(b, x, whole), one = kb_const_f(b, t, 1);
    KVal up = kb_ge(b, rest, kb_const_f(b, t, 0.5)), down = kb_bin(b, KOP_LE, rest, kb_const_f(b, t, -0.5));
    whole = kb_select(b, up, kb_add(b, whole, one), kb_select(b, down, kb_sub(b, whole, one), whole));
    /* far outside is outside: sums of such places stay within 64 bits */
    KVal i = kb_cast(b, DT_I64, whole), limit = kb_i(b, (int64_t)1 << 40);
    return kb_max(b, kb_min(b, i, limit), kb_sub(b, kb_i(b, 0), limit));
}

/* The part of the axis that bin p covers. */
static void covers(Lw *l, const Roi *a, DType t, KVal roi, int axis, KVal p, KVal *from, KVal *to)
{
    Kb *b = l->b;
    KVal first = place(l, a, t, roi, axis ? 1 : 2), last = place(l, a, t, roi, axis ? 3 : 4), zero = kb_i(b, 0);
    KVal n = kb_max(b, kb_add(b, kb_sub(b, last, first), kb_i(b, 1)), kb_i(b, 1)),
         extent = kb_dim(b, lw_dim(l, 0, 2 + axis));
    KVal size = kb_div(b, kb_cast(b, t, n), kb_const_f(b, t, (double)a->pooled_shape.p[axis]));
    KVal lo = kb_un(b, KOP_FLOOR, kb_mul(b, kb_cast(b, t, p), size));
    KVal hi = kb_un(b, KOP_CEIL, kb_mul(b, kb_cast(b, t, kb_add(b, p, kb_i(b, 1))), size));
    *from = kb_min(b, kb_max(b, kb_add(b, kb_cast(b, DT_I64, lo), first), zero), extent);
    *to = kb_min(b, kb_max(b, kb_add(b, kb_cast(b, DT_I64, hi), first), zero), extent);
}

static bool lower(Lw *l, Node n)
{
    const Roi *a = ATTRS(l->g, n, Roi);
    DType t = dtype_compute(lw_elem(l, 0));
    Dim channels = lw_dim(l, 0, 1);
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_in_strided(l, 1);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "max_roi_pool");
    KVal zero = kb_i(b, 0), C = kb_dim(b, channels), ok, from[2], to[2];
    uint32_t x = kb_param(b, src, false), acc = kb_local(b, "acc", t, 1, &channels);
    KVal roi = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_out_dim(l, 0, 0)));
    KVal ph = kb_for(b, KLOOP_PAR, zero, kb_i(b, a->pooled_shape.p[0]));
    KVal pw = kb_for(b, KLOOP_PAR, zero, kb_i(b, a->pooled_shape.p[1]));
    KVal batch = index_checked(l, lw_at(l, 1, (KVal[]){roi, zero}), lw_dim(l, 0, 0), &ok);
    covers(l, a, t, roi, 0, ph, &from[0], &to[0]);
    covers(l, a, t, roi, 1, pw, &from[1], &to[1]);
    KVal empty = kb_bin(b, KOP_OR, kb_ge(b, from[0], to[0]), kb_ge(b, from[1], to[1]));
    KVal c = kb_for(b, KLOOP_VEC, zero, C);
    kb_store(b, acc, &c, kb_select(b, empty, kb_const_f(b, t, 0), kb_const_f(b, t, -INFINITY)));
    kb_end(b);
    KVal y = kb_for(b, KLOOP_SEQ, from[0], kb_select(b, ok, to[0], from[0])), z = kb_for(b, KLOOP_SEQ, from[1], to[1]);
    c = kb_for(b, KLOOP_VEC, zero, C);
    kb_store(b, acc, &c, kb_max(b, kb_load(b, acc, &c), kb_load(b, x, (KVal[]){batch, c, y, z})));
    kb_end(b);
    lw_end_nest(l, 2);
    c = kb_for(b, KLOOP_VEC, zero, C);
    lw_put(l, 0, (KVal[]){roi, c, ph, pw}, kb_load(b, acc, &c));
    kb_end(b);
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Roi *a = ATTRS(e->g, e->n, Roi);
    const Tensor *x = e->in[0], *rois = e->in[1];
    bool wide = x->elem == DT_F64;
    int64_t C = x->dim[1], i[4], P[2] = {a->pooled_shape.p[0], a->pooled_shape.p[1]};
    Tensor *y = ev_out(e, 0, x->elem, 4, (int64_t[]){rois->dim[0], C, P[0], P[1]});
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, i);
        int64_t b = (int64_t)ev_f(rois, 5 * i[0]), lo[2], hi[2];
        if (!index_eval(e, &b, x->dim[0])) return false;
        for (int d = 0; d < 2; d++) {
            double at[2];
            for (int s = 0; s < 2; s++) {
                double v = ev_f(rois, 5 * i[0] + 2 - d + 2 * s) * (double)(float)a->spatial_scale;
                at[s] = fmin(fmax(round(wide ? v : (double)(float)v), -0x1p40), 0x1p40);
            }
            double n = fmax(at[1] - at[0] + 1, 1), size = n / (double)P[d];
            if (!wide) size = (float)size;
            double from = (double)i[2 + d] * size, to = (double)(i[2 + d] + 1) * size;
            from = floor(wide ? from : (double)(float)from) + at[0];
            to = ceil(wide ? to : (double)(float)to) + at[0];
            lo[d] = (int64_t)fmin(fmax(from, 0), (double)x->dim[2 + d]);
            hi[d] = (int64_t)fmin(fmax(to, 0), (double)x->dim[2 + d]);
        }
        double best = hi[0] > lo[0] && hi[1] > lo[1] ? -INFINITY : 0;
        for (int64_t r = lo[0]; r < hi[0]; r++)
            for (int64_t s = lo[1]; s < hi[1]; s++) {
                double v = ev_f(x, ((b * C + i[1]) * x->dim[2] + r) * x->dim[3] + s);
                best = isnan(v) || isnan(best) ? NAN : fmax(best, v);
            }
        ev_set_f(y, k, best);
    }
    return y != NULL;
}

const OpDesc op_MaxRoiPool = {.name = "MaxRoiPool",
                              .since = 22,
                              .cls = CLS_OPAQUE,
                              .flags = OPF_STRIDED_OUT,
                              .in = P_IN,
                              .out = P_OUT,
                              .attrs = ATTRS_,
                              .attrs_size = sizeof(Roi),
                              .infer = infer,
                              .lower = lower,
                              .has_result = op_result_unsure, .eval = eval,
                              .grad = grad_max_roi_pool};
