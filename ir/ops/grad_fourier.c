/* grad_fourier.c: the derivative of the discrete Fourier transform (DFT and STFT become Fourier). With F[k, n] = root^(k n) of N points, the adjoint of
 * y = F x is F^H dy, N times the inverse transform; of the inverse it is the forward one divided by N. A onesided result had the other bins left out: zeros
 * take their place. A onesided inverse read all bins but the first (and the middle one) twice, the second time conjugated: real dy gives them double. */
#include "ir/ops/grad.h"

#define X gr_in(c, 0)

/* v with `want` elements along an axis: cut, or filled with zeros. */
static Value sized(Grad *c, Value v, int64_t axis, Value want)
{
    Ex *x = &c->x;
    Value more = ex2(x, OP_Sub, want, ex_shape_part(x, v, axis, axis + 1)), pads = ex_axis(x, OP_Concat, (Value[]){ex_int1(x, 0), more}, 2, 0);
    return ex_op(x, OP_Pad, (Value[]){v, pads, VALUE_NONE, ex_int1(x, axis)}, 4, NULL);
}

/* The transform in the other direction. */
static Value transform(Grad *c, Value v, bool inverse)
{
    Ex *x = &c->x;
    Value in[4] = {v, VALUE_NONE, gr_in(c, 2), gr_neg(c, gr_in(c, 3))}; /* the roots turn the other way */
    return ex_op(x, OP_Fourier, in, 4, ex_set(x, OP_Fourier, ex_set(x, OP_Fourier, NULL, "axis", gr_int(c, "axis")), "inverse", inverse));
}

/* 1 2 2 .. (1), along the axis */
static Value twice(Grad *c, Value bins, Value points, int64_t axis)
{
    Ex *x = &c->x;
    int64_t rest[RANK_MAX];
    uint32_t n = 0;
    Value one = ex_i(x, DT_I64, 1), two = ex_i(x, DT_I64, 2), k = ex3(x, OP_Range, ex_i(x, DT_I64, 0), ex_scalar(x, bins, DT_I64), one);
    Value once = ex2(x, OP_Or, ex2(x, OP_Equal, k, ex_i(x, DT_I64, 0)), ex2(x, OP_Equal, ex2(x, OP_Mul, k, two), points));
    Value w = ex_cast(x, gr_where(c, once, one, two), gr_elem(c, X));
    for (int64_t i = axis + 1; i < gr_rank(c, X); i++) rest[n++] = i - axis;
    return ex2(x, OP_Unsqueeze, w, ex_ints(x, rest, n));
}

bool grad_fourier(Grad *c)
{
    Ex *x = &c->x;
    int64_t axis = gr_int(c, "axis");
    bool inverse = gr_int(c, "inverse"), onesided = gr_int(c, "onesided");
    if (gr_in(c, 1).i) return gr_refuse(c, "an axis that only the run knows");
    Value points = ex_shape_part(x, gr_in(c, 2), 0, 1), v = gr_dy(c), n = ex_scalar(x, points, gr_elem(c, X)), last = ex_int1(x, gr_rank(c, X) - 1);
    if (onesided && !inverse) v = sized(c, v, axis, points);
    v = transform(c, v, !inverse);
    v = inverse ? gr_div(c, v, n) : gr_mul(c, v, n);
    if (onesided && inverse) {
        Value bins = ex2(x, OP_Add, ex2(x, OP_Div, points, ex_int1(x, 2)), ex_int1(x, 1));
        v = gr_mul(c, sized(c, v, axis, bins), twice(c, bins, points, axis));
    }
    v = sized(c, v, axis, ex_shape_part(x, X, axis, axis + 1));
    if (dim_is(&c->g->m->dims, gr_dim(c, X, gr_rank(c, X) - 1), 1)) v = ex_op(x, OP_Slice, (Value[]){v, ex_int1(x, 0), ex_int1(x, 1), last}, 4, NULL);
    return gr_set(c, 0, v), true;
}
