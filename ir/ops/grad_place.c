/* grad_place.c: derivatives of what puts elements in places (MaxUnpool, Col2Im), of the places themselves (AffineGrid), and of Det.
 *   MaxUnpool   y[index] = x                      =>   dx = dy[index]
 *   Col2Im      sums windows into an image        =>   dx = the windows of dy: a convolution by kernels with a single 1
 *   AffineGrid  y = theta (p, 1)                  =>   dtheta = sum over places of dy (p, 1)', places p by the unit map
 *   Det                                           =>   dx[i, j] = dy (-1)^(i+j) det(x without row i and column j), so that matrices without an inverse have
 *                                                      one, too, and derivatives of it by the same rule */
#include "ir/ops/grad.h"

#define X gr_in(c, 0)

/* The first part of v along each axis, as much as `like` has. */
static Value cut(Grad *c, Value v, Value like)
{
    int64_t zero[RANK_MAX] = {0};
    return ex3(&c->x, OP_Slice, v, ex_ints(&c->x, zero, (uint32_t)gr_rank(c, v)), gr_shape(c, like));
}

bool grad_max_unpool(Grad *c)
{
    Value dy = gr_dy(c), in[2] = {X, gr_in(c, 1)};
    if (gr_in(c, 2).i) { /* indices count the elements of the result without output_shape */
        Node plain = gr_again(c, in, 2, 1);
        if (!plain.i) return false;
        dy = cut(c, dy, node_out(c->g, plain, 0));
    }
    dy = ex2(&c->x, OP_Reshape, dy, ex_int1(&c->x, -1));
    return gr_set(c, 0, ex_axis(&c->x, OP_Gather, (Value[]){dy, gr_in(c, 1)}, 2, 0)), true;
}

bool grad_col2im(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    int rank = gr_rank(c, gr_out(c, 0));
    Dim image[RANK_MAX];
    for (int i = 2; i < rank; i++) image[i] = gr_dim(c, gr_dy(c), i);
    image[0] = dim_mul(d, gr_dim(c, gr_dy(c), 0), gr_dim(c, gr_dy(c), 1)), image[1] = dim_const(d, 1);
    Value block = ex_cast(x, gr_in(c, 2), DT_I64), one = ex_int1(x, 1), area = ex_reduce(x, OP_ReduceProd, block, (int64_t[]){0}, 1, true);
    Value square = ex2(x, OP_Expand, gr_num(c, 0, X), ex_axis(x, OP_Concat, (Value[]){area, area}, 2, 0));
    Value ones = ex2(x, OP_Reshape, ex1(x, OP_EyeLike, square), ex_axis(x, OP_Concat, (Value[]){area, one, block}, 3, 0));
    static const char *const NAMES[] = {"strides", "dilations", "pads"};
    void *attrs = NULL;
    for (int k = 0; k < 3; k++)
        if (gr_ints(c, NAMES[k]).n) attrs = ex_set_ints(x, OP_Conv, attrs, NAMES[k], gr_ints(c, NAMES[k]).p, gr_ints(c, NAMES[k]).n);
    Value windows = ex_op(x, OP_Conv, (Value[]){ex_shaped(x, gr_dy(c), image, rank), ones}, 2, attrs);
    return gr_set(c, 0, gr_reshape(c, windows, X)), true;
}

bool grad_affine_grid(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    int rank = gr_rank(c, gr_dy(c)), r = rank - 2;
    Value unit = ex1(x, OP_EyeLike, ex2(x, OP_Expand, gr_num(c, 0, X), ex_ints(x, (int64_t[]){r, r + 1}, 2)));
    Value in[2] = {gr_expand(c, unit, X), gr_in(c, 1)};
    Node again = c->x.failed ? NODE_NONE : gr_again(c, in, 2, 1);
    if (!again.i) return false;
    Dim row[3] = {gr_dim(c, gr_dy(c), 0), dim_const(d, 1), dim_const(d, r)};
    for (int i = 1; i <= r; i++) row[1] = dim_mul(d, row[1], gr_dim(c, gr_dy(c), i));
    Value places = ex_shaped(x, node_out(c->g, again, 0), row, 3), dy = ex_transpose(x, ex_shaped(x, gr_dy(c), row, 3), (int64_t[]){0, 2, 1}, 3);
    row[2] = dim_const(d, 1);
    Value one = ex2(x, OP_Expand, gr_num(c, 1, X), ex_dims(x, row, 3));
    return gr_set(c, 0, ex2(x, OP_MatMul, dy, ex_axis(x, OP_Concat, (Value[]){places, one}, 2, 2))), true;
}

bool grad_det(Grad *c)
{
    Ex *x = &c->x;
    int rank = gr_rank(c, X), side = rank - 2;
    if (dim_is(&c->g->m->dims, gr_dim(c, X, side), 0)) return true; /* 1, whatever is not there */
    if (rank + 2 > RANK_MAX) return gr_refuse(c, "%d axes", rank);
    DType t = gr_elem(c, X);
    Value zero = ex_i(x, DT_I64, 0), one = ex_i(x, DT_I64, 1), last = ex_int1(x, -1);
    Value n = ex2(x, OP_Reshape, ex_shape_part(x, X, side, side + 1), ex_ints(x, NULL, 0));
    Value row = ex3(x, OP_Range, zero, n, one), down = ex2(x, OP_Unsqueeze, row, last), left = ex3(x, OP_Range, zero, ex2(x, OP_Sub, n, one), one);
    /* without[i] = 0 1 .. i-1 i+1 .. */
    Value without = ex2(x, OP_Add, left, ex_cast(x, ex2(x, OP_GreaterOrEqual, left, down), DT_I64));
    Value some = ex_axis(x, OP_Gather, (Value[]){X, without}, 2, side);
    some = ex_axis(x, OP_Gather, (Value[]){some, without}, 2, side + 2);
    int64_t perm[RANK_MAX];
    for (int i = 0; i < rank + 2; i++) perm[i] = i;
    perm[side + 1] = side + 2, perm[side + 2] = side + 1;
    Value minors = ex1(x, OP_Det, ex_transpose(x, some, perm, (uint32_t)rank + 2));
    Value odd = ex_cast(x, ex2(x, OP_Mod, ex2(x, OP_Add, row, down), ex_i(x, DT_I64, 2)), t);
    Value sign = c->x.failed ? VALUE_NONE : gr_sub(c, gr_num(c, 1, X), gr_times(c, odd, 2));
    Value dy = ex2(x, OP_Unsqueeze, gr_dy(c), ex_ints(x, (int64_t[]){-2, -1}, 2));
    return gr_set(c, 0, gr_mul(c, dy, gr_mul(c, sign, minors))), true;
}
