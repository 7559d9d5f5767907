/* grad_fourier.c: the derivative of the discrete Fourier transform (DFT and STFT become Fourier). With F[k, n] = root^(k n) of N points, the adjoint of
 * y = F x is F^H dy, N times the inverse transform; of the inverse it is the forward one divided by N. A onesided result had the other bins left out: zeros
 * take their place. A onesided inverse read all bins but the first (and the middle one) twice, the second time conjugated: real dy gives them double. */
#include "ir/ops/grad.h"

#define X gr_in(c, 0)

/* The axis as i64[1]; with an operand only the run knows it, and a pair of roots stands there for each axis. */
typedef struct Axis {
    Value at;
    bool open;
    int64_t known;
} Axis;

static Axis axis_of(Grad *c)
{
    Axis a = {.open = gr_in(c, 1).i != 0, .known = gr_int(c, "axis")};
    Ex *x = &c->x;
    if (a.open) a.at = ex2(x, OP_Mod, ex2(x, OP_Reshape, gr_in(c, 1), ex_int1(x, 1)), ex_int1(x, gr_rank(c, X)));
    else a.at = ex_int1(x, a.known);
    return a;
}

static Value extent(Grad *c, const Axis *a, Value v)
{
    if (!a->open) return ex_shape_part(&c->x, v, a->known, a->known + 1);
    return ex_axis(&c->x, OP_Gather, (Value[]){gr_shape(c, v), a->at}, 2, 0);
}

/* The points of the transform: as many as roots. */
static Value points_of(Grad *c, const Axis *a)
{
    Ex *x = &c->x;
    Value each[RANK_MAX];
    uint32_t n = 0;
    for (uint32_t k = 2; k < node_n_in(c->g, c->n) && n < RANK_MAX; k += 2) each[n++] = ex_shape_part(x, gr_in(c, k), 0, 1);
    if (!a->open) return each[0];
    return ex_axis(x, OP_Gather, (Value[]){ex_axis(x, OP_Concat, each, n, 0), a->at}, 2, 0);
}

/* v with `want` elements along the axis: cut, or filled with zeros. */
static Value sized(Grad *c, Value v, const Axis *a, Value want)
{
    Ex *x = &c->x;
    Value more = ex2(x, OP_Sub, want, extent(c, a, v)), pads = ex_axis(x, OP_Concat, (Value[]){ex_int1(x, 0), more}, 2, 0);
    Value y = ex_op(x, OP_Pad, (Value[]){v, pads, VALUE_NONE, a->at}, 4, NULL);
    if (!a->open || x->failed) return y;
    int64_t parts = gr_rank(c, v) - 1; /* which Pad does not know to stay as many */
    Value shape[2] = {ex_shape_part(x, y, 0, parts), ex_shape_part(x, v, parts, parts + 1)};
    return ex_op(x, OP_Reshape, (Value[]){y, ex_axis(x, OP_Concat, shape, 2, 0)}, 2, ex_set(x, OP_Reshape, NULL, "allowzero", 1));
}

/* The transform in the other direction. */
static Value transform(Grad *c, Value v, bool inverse)
{
    Ex *x = &c->x;
    Value in[2 + 2 * RANK_MAX] = {v, gr_in(c, 1)};
    uint32_t n = node_n_in(c->g, c->n);
    for (uint32_t k = 2; k + 1 < n; k += 2) in[k] = gr_in(c, k), in[k + 1] = gr_neg(c, gr_in(c, k + 1)); /* the roots turn the other way */
    return ex_op(x, OP_Fourier, in, n, ex_set(x, OP_Fourier, ex_set(x, OP_Fourier, NULL, "axis", gr_int(c, "axis")), "inverse", inverse));
}

/* 1 2 2 .. (1), along the axis */
static Value twice(Grad *c, Value bins, Value points, const Axis *a)
{
    Ex *x = &c->x;
    Value one = ex_i(x, DT_I64, 1), two = ex_i(x, DT_I64, 2), zero = ex_i(x, DT_I64, 0), k = ex3(x, OP_Range, zero, ex_scalar(x, bins, DT_I64), one);
    Value once = ex2(x, OP_Or, ex2(x, OP_Equal, k, zero), ex2(x, OP_Equal, ex2(x, OP_Mul, k, two), points));
    Value w = ex_cast(x, gr_where(c, once, one, two), gr_elem(c, X));
    Value axes = ex3(x, OP_Range, zero, ex_i(x, DT_I64, gr_rank(c, X)), one);
    return ex2(x, OP_Reshape, w, gr_where(c, ex2(x, OP_Equal, axes, a->at), bins, one));
}

bool grad_fourier(Grad *c)
{
    Ex *x = &c->x;
    bool inverse = gr_int(c, "inverse"), onesided = gr_int(c, "onesided");
    Axis a = axis_of(c);
    Value points = points_of(c, &a), v = gr_dy(c), n = ex_scalar(x, points, gr_elem(c, X)), last = ex_int1(x, gr_rank(c, X) - 1);
    if (onesided && !inverse) v = sized(c, v, &a, points);
    v = transform(c, v, !inverse);
    v = inverse ? gr_div(c, v, n) : gr_mul(c, v, n);
    if (onesided && inverse) {
        Value bins = ex2(x, OP_Add, ex2(x, OP_Div, points, ex_int1(x, 2)), ex_int1(x, 1));
        v = gr_mul(c, sized(c, v, &a, bins), twice(c, bins, points, &a));
    }
    v = sized(c, v, &a, extent(c, &a, X));
    if (dim_is(&c->g->m->dims, gr_dim(c, X, gr_rank(c, X) - 1), 1)) v = ex_op(x, OP_Slice, (Value[]){v, ex_int1(x, 0), ex_int1(x, 1), last}, 4, NULL);
    if (a.open) v = gr_reshape(c, v, X); /* whose extents it has, axis by axis */
    return gr_set(c, 0, v), true;
}
