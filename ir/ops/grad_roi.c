/* grad_roi.c: derivatives of RoiAlign and MaxRoiPool: the operator is written out in ordinary operators, and those are
 * differentiated (gr_written_out). Weights and places of a region's rows and of its columns are known apart from each
 * other. P bins along an axis, G samples in each, as many as the region with the most of them has (only the run knows
 * it); those that a region does not have are masked.
 *   mean      Y[r, c] = My[r] X[batch[r], c] Mx[r]',  M[r, p, h] = 1/g sum over samples of the weight at h: two products,
 *             whatever G is. My is laid out as [R P, N H] with zeros for other images: the first one is a single product
 *             with X[N H, C W].
 *   maximum   of weight * X over the pixels that a bin's samples touch (MaxRoiPool: of X over the bin), by a Gather of
 *             rows of channels
 * Formulas and edges are those of roialign.c and maxroipool.c. */
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

#define X gr_in(c, 0)
#define ROIS gr_in(c, 1)

/* Along an axis. at, weight, valid: [R, P, G]; samples: how many of G a region really has, at least 1, [R, 1, 1]; some:
 * it has any. */
typedef struct Taps {
    Value at[2], weight[2], valid, samples, some;
    int n;
} Taps;

static Value both(Grad *c, OpCode op, Value a, Value b) { return ex2(&c->x, op, a, b); }
static Value column(Grad *c, Value rois, int k)
{
    return ex2(&c->x, OP_Unsqueeze, ex_axis(&c->x, OP_Gather, (Value[]){rois, ex_int1(&c->x, k)}, 2, 1),
               ex_int1(&c->x, -1));
}
static Value last_axis(Grad *c, Value v) { return ex2(&c->x, OP_Unsqueeze, v, ex_int1(&c->x, -1)); }

/* 0 1 .. n-1, of a type. */
static Value upto(Grad *c, Value n, DType t)
{
    Ex *x = &c->x;
    return ex_cast(x, ex3(x, OP_Range, ex_i(x, DT_I64, 0), ex_scalar(x, n, DT_I64), ex_i(x, DT_I64, 1)), t);
}

/* 0 .. n-1 as [1, n, 1] (bins) or [1, 1, n] (samples) */
static Value upto_along(Grad *c, Value n, DType t, int axis)
{
    return ex2(&c->x, OP_Unsqueeze, upto(c, n, t),
               ex_ints(&c->x, axis == 1 ? (int64_t[]){0, 2} : (int64_t[]){0, 1}, 2));
}

/* The largest of counts [R, ..], at least 0, as a scalar. */
static Value most(Grad *c, Value n)
{
    return both(c, OP_Max, ex_reduce_all(&c->x, OP_ReduceMax, n), c->x.failed ? VALUE_NONE : gr_num(c, 0, n));
}

static Value extent(Grad *c, int axis) { return ex_shape_part(&c->x, X, axis, axis + 1); }

/* ---- what both share ---- */

/* The image of each region, [R]: checked, and counted from the end where it is negative. */
static Value images(Grad *c, Value batch)
{
    return ex_axis(&c->x, OP_Gather, (Value[]){upto(c, extent(c, 0), DT_I64), batch}, 2, 0);
}

/* [R, P.y, P.x, C] as the node's result */
static Value in_place(Grad *c, Value v)
{
    return c->x.failed ? VALUE_NONE : ex_transpose(&c->x, v, (int64_t[]){0, 3, 1, 2}, 4);
}

/* [R, P, G] along its axis of [R, P.y, P.x, G.y, G.x] */
static Value spread(Grad *c, Value v, int axis)
{
    return ex2(&c->x, OP_Unsqueeze, v, ex_ints(&c->x, axis ? (int64_t[]){1, 3} : (int64_t[]){2, 4}, 2));
}

static Value tapped(Grad *c, const Value v[2], int n) { return n == 1 ? v[0] : ex_axis(&c->x, OP_Concat, v, 2, 2); }

/* The maximum over all taps that there are, 0 where there are none. */
static Value maximum(Grad *c, Value image, const Taps axis[2])
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    Value at = ex2(x, OP_Unsqueeze, image, ex_ints(x, (int64_t[]){1, 2, 3, 4}, 4)), weight = VALUE_NONE,
          valid = VALUE_NONE, some = VALUE_NONE;
    for (int i = 0; i < 2; i++) {
        const Taps *t = &axis[i];
        at = both(c, OP_Add, both(c, OP_Mul, at, extent(c, 2 + i)), spread(c, tapped(c, t->at, t->n), i));
        Value v = spread(c, tapped(c, (Value[]){t->valid, t->valid}, t->n), i), s = spread(c, t->some, i);
        valid = i ? both(c, OP_And, valid, v) : v;
        some = i ? both(c, OP_And, some, s) : s;
        if (!t->weight[0].i) continue;
        Value w = spread(c, tapped(c, t->weight, t->n), i);
        weight = i ? gr_mul(c, weight, w) : w;
    }
    Dim rows[2] = {dim_mul(d, gr_dim(c, X, 0), dim_mul(d, gr_dim(c, X, 2), gr_dim(c, X, 3))), gr_dim(c, X, 1)};
    Value pixels = c->x.failed ? VALUE_NONE : ex_shaped(x, ex_transpose(x, X, (int64_t[]){0, 2, 3, 1}, 4), rows, 2);
    Value v = ex_axis(x, OP_Gather, (Value[]){pixels, at}, 2, 0);
    if (weight.i) v = gr_mul(c, v, last_axis(c, ex_cast(x, weight, gr_elem(c, X))));
    v = gr_where(c, last_axis(c, valid), v, gr_num(c, -INFINITY, X));
    v = ex_reduce(x, OP_ReduceMax, v, (int64_t[]){3, 4}, 2, false);
    some = ex2(x, OP_Squeeze, some, ex_int1(x, -1)); /* [R, P.y, P.x, 1] */
    return in_place(c, gr_where(c, some, v, gr_num(c, 0, X)));
}

/* ---- RoiAlign ---- */

static Taps samples_along(Grad *c, Value rois, int axis, int64_t bins)
{
    Ex *x = &c->x;
    Taps r = {.n = 2};
    DType t = ex_elem(x, rois);
    bool half = !strcmp(gr_string(c, "coordinate_transformation_mode"), "half_pixel");
    int64_t ratio = gr_int(c, "sampling_ratio");
    Value edge[2], size = ex_cast(x, extent(c, 2 + axis), t), zero = ex_f(x, t, 0), last = gr_plus(c, size, -1);
    for (int k = 0; k < 2; k++) {
        edge[k] = gr_times(c, column(c, rois, 2 * k + !axis), gr_float(c, "spatial_scale"));
        if (half) edge[k] = gr_plus(c, edge[k], -0.5);
    }
    Value len = gr_sub(c, edge[1], edge[0]);
    if (!half) len = both(c, OP_Max, len, ex_f(x, t, 1));
    Value bin = gr_div(c, len, ex_f(x, t, (double)bins)),
          n = ratio ? gr_expand(c, ex_f(x, t, (double)ratio), bin) : ex1(x, OP_Ceil, bin);
    r.samples = both(c, OP_Max, n, ex_f(x, t, 1));
    Value sample = upto_along(c, ratio ? ex_i(x, DT_I64, ratio) : most(c, n), t, 2),
          p = upto_along(c, ex_i(x, DT_I64, bins), t, 1);
    if (x->failed) return r;
    Value at =
        gr_add(c, gr_add(c, edge[0], gr_mul(c, p, bin)), gr_div(c, gr_mul(c, gr_plus(c, sample, 0.5), bin), r.samples));
    r.valid = both(c, OP_Less, sample, n);
    r.some = gr_test(c, OP_Greater, n, 0);
    Value inside = both(c, OP_And, gr_test(c, OP_GreaterOrEqual, at, -1), both(c, OP_LessOrEqual, at, size));
    inside = both(c, OP_And, inside, r.valid);
    at = both(c, OP_Max, at, zero);
    Value low = ex1(x, OP_Floor, at), over = both(c, OP_GreaterOrEqual, low, last);
    Value lo = both(c, OP_Max, both(c, OP_Min, gr_where(c, inside, low, zero), last), zero);
    r.at[0] = lo;
    r.at[1] = both(c, OP_Max, both(c, OP_Min, gr_plus(c, lo, 1), last), zero);
    Value part = gr_where(c, over, zero, gr_sub(c, at, lo));
    r.weight[0] = gr_where(c, inside, gr_sub(c, ex_f(x, t, 1), part), zero);
    r.weight[1] = gr_where(c, inside, part, zero);
    return r;
}

/* [R, P, extent]: what each place along the axis counts for a bin. */
static Value means_along(Grad *c, const Taps *t, int axis)
{
    Ex *x = &c->x;
    Value place = upto(c, extent(c, 2 + axis), ex_elem(x, t->at[0])), w[2];
    for (int k = 0; k < 2; k++)
        w[k] = gr_where(c, both(c, OP_Equal, last_axis(c, t->at[k]), place), last_axis(c, t->weight[k]),
                        ex_f(x, ex_elem(x, place), 0));
    return x->failed ? VALUE_NONE : gr_div(c, gr_sum(c, gr_add(c, w[0], w[1]), (int64_t[]){2}, 1, false), t->samples);
}

static Value mean(Grad *c, Value image, const Taps axis[2], const int64_t bins[2])
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    DType t = gr_elem(c, X);
    Dim N = gr_dim(c, X, 0), C = gr_dim(c, X, 1), H = gr_dim(c, X, 2), W = gr_dim(c, X, 3), R = gr_dim(c, ROIS, 0);
    Dim py = dim_const(d, bins[0]), px = dim_const(d, bins[1]), rows = dim_mul(d, R, py), all = dim_mul(d, N, H);
    Value my = ex_cast(x, means_along(c, &axis[0], 0), t), mx = ex_cast(x, means_along(c, &axis[1], 1), t);
    Value mine = both(c, OP_Equal, ex2(x, OP_Unsqueeze, image, ex_ints(x, (int64_t[]){1, 2, 3}, 3)),
                      last_axis(c, upto(c, extent(c, 0), DT_I64)));
    my = gr_where(c, mine, ex2(x, OP_Unsqueeze, my, ex_int1(x, 2)), ex_f(x, t, 0)); /* [R, P.y, N, H] */
    if (x->failed) return VALUE_NONE;
    Value from = ex_shaped(x, ex_transpose(x, X, (int64_t[]){0, 2, 1, 3}, 4), (Dim[]){all, dim_mul(d, C, W)}, 2);
    Value y = ex2(x, OP_MatMul, ex_shaped(x, my, (Dim[]){rows, all}, 2), from);
    y = ex2(x, OP_MatMul, ex_shaped(x, y, (Dim[]){R, dim_mul(d, py, C), W}, 3),
            x->failed ? VALUE_NONE : ex_transpose(x, mx, (int64_t[]){0, 2, 1}, 3));
    y = ex_shaped(x, y, (Dim[]){R, py, C, px}, 4);
    return x->failed ? VALUE_NONE : ex_transpose(x, y, (int64_t[]){0, 2, 1, 3}, 4);
}

/* Regions in the type that is computed in. */
static Value regions(Grad *c) { return ex_cast(&c->x, ROIS, dtype_compute(gr_elem(c, ROIS))); }

bool grad_roi_align(Grad *c)
{
    const int64_t bins[2] = {gr_int(c, "output_height"), gr_int(c, "output_width")};
    Value rois = regions(c), image = images(c, gr_in(c, 2));
    Taps axis[2];
    for (int i = 0; i < 2; i++) axis[i] = samples_along(c, rois, i, bins[i]);
    if (c->x.failed) return false;
    bool max = !strcmp(gr_string(c, "mode"), "max");
    for (int i = 0; max && i < 4; i++) axis[i / 2].at[i % 2] = ex_cast(&c->x, axis[i / 2].at[i % 2], DT_I64);
    Value y = max ? maximum(c, image, axis) : mean(c, image, axis, bins);
    return gr_written_out(c, &y, 1);
}

/* ---- MaxRoiPool ---- */

/* Number k of the regions, scaled and rounded, halves away from 0: i64[R, 1, 1] */
static Value rounded(Grad *c, Value rois, int k)
{
    Ex *x = &c->x;
    Value v = gr_times(c, column(c, rois, k), gr_float(c, "spatial_scale")), size = ex1(x, OP_Abs, v),
          whole = ex1(x, OP_Floor, size);
    if (x->failed) return VALUE_NONE;
    whole = gr_where(c, gr_test(c, OP_GreaterOrEqual, gr_sub(c, size, whole), 0.5), gr_plus(c, whole, 1), whole);
    whole = both(c, OP_Min, whole, gr_num(c, 0x1p40, v)); /* as far outside as any */
    return ex_cast(x, gr_mul(c, whole, ex1(x, OP_Sign, v)), DT_I64);
}

static Taps pixels_along(Grad *c, Value rois, int axis, int64_t bins)
{
    Ex *x = &c->x;
    Taps r = {.n = 1};
    DType t = ex_elem(x, rois);
    Value first = rounded(c, rois, axis ? 1 : 2), end = rounded(c, rois, axis ? 3 : 4), zero = ex_i(x, DT_I64, 0),
          one = ex_i(x, DT_I64, 1);
    Value n = both(c, OP_Max, both(c, OP_Add, both(c, OP_Sub, end, first), one), one), size = extent(c, 2 + axis);
    Value bin = gr_div(c, ex_cast(x, n, t), ex_f(x, t, (double)bins)), p = upto_along(c, ex_i(x, DT_I64, bins), t, 1),
          edge[2];
    if (x->failed) return r;
    edge[0] = ex1(x, OP_Floor, gr_mul(c, p, bin));
    edge[1] = ex1(x, OP_Ceil, gr_mul(c, gr_plus(c, p, 1), bin));
    for (int k = 0; k < 2; k++)
        edge[k] = both(c, OP_Min, both(c, OP_Max, both(c, OP_Add, ex_cast(x, edge[k], DT_I64), first), zero), size);
    Value at = both(c, OP_Add, edge[0], upto_along(c, most(c, both(c, OP_Sub, edge[1], edge[0])), DT_I64, 2));
    r.valid = both(c, OP_Less, at, edge[1]);
    r.some = both(c, OP_Less, edge[0], edge[1]); /* [R, P, 1] */
    r.at[0] = gr_where(c, r.valid, at, zero);
    return r;
}

bool grad_max_roi_pool(Grad *c)
{
    AttrInts bins = gr_ints(c, "pooled_shape");
    Value rois = regions(c),
          batch = ex_axis(&c->x, OP_Gather, (Value[]){ex_cast(&c->x, rois, DT_I64), ex_i(&c->x, DT_I64, 0)}, 2, 1);
    Value image = images(c, batch);
    Taps axis[2];
    for (int i = 0; i < 2; i++) axis[i] = pixels_along(c, rois, i, bins.p[i]);
    Value y = c->x.failed ? VALUE_NONE : maximum(c, image, axis);
    return gr_written_out(c, &y, 1);
}
