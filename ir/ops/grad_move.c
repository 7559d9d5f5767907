/* grad_move.c: derivatives of operators that put elements elsewhere: adjoints go back the same way, those of elements that were taken several times are
 * summed, what was not taken has 0. Where no operator is the inverse, the move itself says where elements came from: it is done once more with the numbers
 * 1, 2, .. for elements, 0 for what it fills in, and the adjoints are added up there. */
#include "ir/ops/grad.h"
#include <string.h>

#define X gr_in(c, 0)

/* Any move of operand 0 that fills with zeros or not at all. */
bool grad_move(Grad *c)
{
    Ex *x = &c->x;
    uint32_t n = node_n_in(c->g, c->n);
    Value *in = arena_array(c->g->m->arena, Value, n), one = ex_i(x, DT_I64, 1);
    for (uint32_t k = 0; k < n; k++) in[k] = gr_in(c, k);
    in[0] = ex2(x, OP_Add, gr_iota(c, X), one);
    Node again = gr_again(c, in, n, 1);
    if (!again.i) return false;
    return gr_set(c, 0, gr_scatter(c, X, ex2(x, OP_Sub, node_out(c->g, again, 0), one), gr_dy(c), true)), true;
}

/* Reshape, Flatten, Squeeze, Unsqueeze */
bool grad_reshape(Grad *c) { return gr_set(c, 0, gr_reshape(c, gr_dy(c), X)), true; }

/* Expand: what was repeated is summed by gr_set. */
bool grad_expand(Grad *c) { return gr_set(c, 0, gr_dy(c)), true; }

bool grad_transpose(Grad *c)
{
    AttrInts perm = gr_ints(c, "perm");
    int rank = gr_rank(c, X);
    int64_t back[RANK_MAX];
    for (int i = 0; i < rank; i++) back[perm.n ? (perm.p[i] < 0 ? perm.p[i] + rank : perm.p[i]) : rank - 1 - i] = i;
    return gr_set(c, 0, ex_transpose(&c->x, gr_dy(c), back, (uint32_t)rank)), true;
}

/* dy[r0 d0, r1 d1, ..] => [r0, d0, r1, d1, ..], summed over the repeats */
bool grad_tile(Grad *c)
{
    Ex *x = &c->x;
    int rank = gr_rank(c, X);
    int64_t axes[RANK_MAX];
    if (2 * rank > RANK_MAX) return grad_move(c);
    if (!rank) return grad_expand(c);
    for (int i = 0; i < rank; i++) axes[i] = 2 * i;
    Value last = ex_int1(x, 1), pair[2] = {ex2(x, OP_Unsqueeze, gr_in(c, 1), last), ex2(x, OP_Unsqueeze, gr_shape(c, X), last)};
    Value to = ex2(x, OP_Reshape, ex_axis(x, OP_Concat, pair, 2, 1), ex_int1(x, -1));
    return gr_set(c, 0, gr_sum(c, ex2(x, OP_Reshape, gr_dy(c), to), axes, (uint32_t)rank, false)), true;
}

static int axis_of(const Grad *c, Value v)
{
    int64_t a = gr_int(c, "axis");
    return (int)(a < 0 ? a + gr_rank(c, v) : a);
}

bool grad_concat(Grad *c)
{
    uint32_t n = node_n_in(c->g, c->n);
    Value *part = arena_array(c->g->m->arena, Value, n);
    int axis = axis_of(c, X);
    if (n == 1) return grad_expand(c);
    for (uint32_t k = 0; k < n; k++) part[k] = ex_shape_part(&c->x, gr_in(c, k), axis, axis + 1);
    Value in[2] = {gr_dy(c), ex_axis(&c->x, OP_Concat, part, n, 0)};
    ex_ops(&c->x, OP_Split, in, 2, ex_set(&c->x, OP_Split, NULL, "axis", axis), part, n);
    for (uint32_t k = 0; k < n && !c->x.failed; k++) gr_set(c, k, part[k]);
    return true;
}

bool grad_split(Grad *c)
{
    uint32_t n = node_n_out(c->g, c->n);
    Value *part = arena_array(c->g->m->arena, Value, n);
    for (uint32_t r = 0; r < n; r++) part[r] = c->dy[r].i ? c->dy[r] : gr_zeros(c, gr_out(c, r));
    return gr_set(c, 0, ex_axis(&c->x, OP_Concat, part, n, axis_of(c, X))), true;
}

/* The elements of a small integer operand, if they are constants; absent: 0 of them. */
static bool ints(const Grad *c, uint32_t k, int64_t *v, uint32_t *n)
{
    Value from = gr_in(c, k);
    *n = 0;
    if (!from.i) return true;
    const Content *known = infer_value_content(c->g, from);
    if (!known || known->n > RANK_MAX) return false;
    for (; *n < known->n; ++*n)
        if (!dim_is_const(&c->g->m->dims, dim_resolve(&c->g->m->dims, known->d[*n]), &v[*n])) return false;
    return true;
}

/* Steps of 1 from places that are known: dy with zeros around it. */
bool grad_slice(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    int64_t start[RANK_MAX], axes[RANK_MAX], step[RANK_MAX];
    uint32_t n, n_axes, n_step;
    int rank = gr_rank(c, X);
    if (!ints(c, 1, start, &n) || !ints(c, 3, axes, &n_axes) || !ints(c, 4, step, &n_step)) return grad_move(c);
    Value pads[2 * RANK_MAX], none = ex_int1(x, 0);
    for (int i = 0; i < 2 * rank; i++) pads[i] = none;
    for (uint32_t k = 0; k < n; k++) {
        int a = (int)(n_axes ? axes[k] < 0 ? axes[k] + rank : axes[k] : k);
        Dim len = gr_dim(c, X, a), from = dim_const(d, start[k] < 0 ? -start[k] : start[k]);
        if ((n_step && step[k] != 1) || dim_le(d, from, len) != TRI_YES) return grad_move(c);
        Value all = ex_shape_part(x, X, a, a + 1), first = ex_int1(x, start[k]);
        pads[a] = start[k] < 0 ? ex2(x, OP_Add, all, first) : first;
        pads[rank + a] = ex2(x, OP_Sub, ex2(x, OP_Sub, all, pads[a]), ex_shape_part(x, gr_dy(c), a, a + 1));
    }
    if (!n) return grad_expand(c);
    return gr_set(c, 0, ex2(x, OP_Pad, gr_dy(c), ex_axis(x, OP_Concat, pads, 2 * (uint32_t)rank, 0))), true;
}

/* Constants: cut off again, and summed for the constant itself. */
bool grad_pad(Grad *c)
{
    Ex *x = &c->x;
    Value in[4] = {gr_dy(c), ex1(x, OP_Neg, gr_in(c, 1)), VALUE_NONE, gr_in(c, 3)}, dx;
    if (strcmp(gr_string(c, "mode"), "constant")) return grad_move(c);
    dx = ex_op(x, OP_Pad, in, 4, NULL);
    gr_set(c, 0, dx);
    if (gr_need(c, 2)) gr_set(c, 2, gr_reshape(c, gr_sub(c, ex_reduce_all(x, OP_ReduceSum, gr_dy(c)), ex_reduce_all(x, OP_ReduceSum, dx)), gr_in(c, 2)));
    return true;
}

static Value scatter(Grad *c, OpCode op, Value to, Value at, Value v, bool add, int axis)
{
    void *attrs = ex_set_s(&c->x, op, NULL, "reduction", add ? "add" : "none");
    return ex_op(&c->x, op, (Value[]){to, at, v}, 3, axis < 0 ? attrs : ex_set(&c->x, op, attrs, "axis", axis));
}

/* Rows are added where they were taken: with the axis and the indices in front,  dX[index[t..], s..] += dY[t.., s..] */
bool grad_gather(Grad *c)
{
    Ex *x = &c->x;
    Value at = gr_in(c, 1), dy = gr_dy(c), zeros = gr_zeros(c, X);
    int axis = axis_of(c, X), rank = gr_rank(c, X), q = gr_rank(c, at), k = 0;
    int64_t in[RANK_MAX], there[RANK_MAX], back[RANK_MAX];
    for (int i = 0; i < q; i++) in[k++] = axis + i;
    for (int i = 0; i < axis; i++) in[k++] = i;
    for (int i = axis + q; i < rank - 1 + q; i++) in[k++] = i;
    for (int i = 0; i < rank; i++) there[i] = i == 0 ? axis : i <= axis ? i - 1 : i;
    for (int i = 0; i < rank; i++) back[there[i]] = i;
    if (axis) {
        dy = ex_transpose(x, dy, in, (uint32_t)(rank - 1 + q));
        zeros = ex_transpose(x, zeros, there, (uint32_t)rank);
    }
    at = ex2(x, OP_Unsqueeze, ex_cast(x, at, DT_I64), ex_int1(x, -1));
    Value sum = scatter(c, OP_ScatterND, zeros, at, dy, true, -1);
    return gr_set(c, 0, axis ? ex_transpose(x, sum, back, (uint32_t)rank) : sum), true;
}

bool grad_gather_elements(Grad *c)
{
    return gr_set(c, 0, scatter(c, OP_ScatterElements, gr_zeros(c, X), gr_in(c, 1), gr_dy(c), true, axis_of(c, X))), true;
}

bool grad_gather_nd(Grad *c)
{
    if (gr_int(c, "batch_dims")) return grad_move(c);
    return gr_set(c, 0, scatter(c, OP_ScatterND, gr_zeros(c, X), gr_in(c, 1), gr_dy(c), true, -1)), true;
}

/* What an update meets, or goes to. */
static Value taken(Grad *c, Value from, int axis)
{
    Value in[2] = {from, gr_in(c, 1)};
    return axis < 0 ? ex2(&c->x, OP_GatherND, in[0], in[1]) : ex_axis(&c->x, OP_GatherElements, in, 2, axis);
}

/* x and updates of one place share when they are equal to the result. */
static bool scatter_extremum(Grad *c, OpCode op, int axis)
{
    Ex *x = &c->x;
    DType t = gr_elem(c, X);
    Value hit = ex2(x, OP_Equal, X, gr_out(c, 0)), hits = ex2(x, OP_Equal, gr_in(c, 2), taken(c, gr_out(c, 0), axis));
    Value count = scatter(c, op, ex_cast(x, hit, t), gr_in(c, 1), ex_cast(x, hits, t), true, axis);
    Value share = gr_div(c, gr_dy(c), count);
    if (x->failed) return false;
    gr_set(c, 0, gr_where(c, hit, share, gr_num(c, 0, X)));
    if (gr_need(c, 2)) gr_set(c, 2, gr_where(c, hits, taken(c, share, axis), gr_num(c, 0, X)));
    return true;
}

/* The product of what else comes to the place: without zeros the result by the factor, else by those that are none. A
 * second derivative is right away from zeros. */
static bool scatter_product(Grad *c, OpCode op, int axis)
{
    Ex *x = &c->x;
    Value at = gr_in(c, 1), one = gr_num(c, 1, X), none = gr_num(c, 0, X), part[2] = {X, gr_in(c, 2)};
    Value nil[2], safe[2], count[2], rest[2];
    void *attrs = ex_set_s(x, op, NULL, "reduction", "mul");
    if (axis >= 0) ex_set(x, op, attrs, "axis", axis);
    for (int k = 0; k < 2 && !x->failed; k++) {
        nil[k] = gr_test(c, OP_Equal, part[k], 0);
        safe[k] = gr_where(c, nil[k], one, part[k]);
        count[k] = ex_cast(x, nil[k], gr_elem(c, X));
    }
    if (x->failed) return false;
    rest[0] = ex_op(x, op, (Value[]){safe[0], at, safe[1]}, 3, attrs); /* of all that are not 0 */
    count[0] = scatter(c, op, count[0], at, count[1], true, axis);
    rest[1] = taken(c, rest[0], axis), count[1] = taken(c, count[0], axis);
    for (int k = 0; k < 2 && !x->failed; k++) {
        if (!gr_need(c, 2 * (uint32_t)k)) continue;
        Value others = gr_where(c, gr_test(c, OP_Equal, count[k], 0), gr_div(c, rest[k], safe[k]), none);
        others = gr_where(c, ex2(x, OP_And, nil[k], gr_test(c, OP_Equal, count[k], 1)), rest[k], others);
        gr_set(c, 2 * (uint32_t)k, gr_mul(c, k ? taken(c, gr_dy(c), axis) : gr_dy(c), others));
    }
    return true;
}

/* ScatterElements, ScatterND: what is written over has no derivative; updates have that of their places. */
bool grad_scatter(Grad *c)
{
    OpCode op = node_rec(c->g, c->n)->op == OP_ScatterND ? OP_ScatterND : OP_ScatterElements;
    const char *reduction = gr_string(c, "reduction");
    bool add = !strcmp(reduction, "add");
    Value dy = gr_dy(c);
    int axis = op == OP_ScatterND ? -1 : axis_of(c, X);
    if (!strcmp(reduction, "mul")) return scatter_product(c, op, axis);
    if (!strcmp(reduction, "max") || !strcmp(reduction, "min")) return scatter_extremum(c, op, axis);
    if (gr_need(c, 0)) gr_set(c, 0, add ? dy : scatter(c, op, dy, gr_in(c, 1), gr_zeros(c, gr_in(c, 2)), false, axis));
    if (gr_need(c, 2)) gr_set(c, 2, taken(c, dy, axis));
    return true;
}

bool grad_topk(Grad *c)
{
    if (!c->dy[0].i) return true;
    return gr_set(c, 0, scatter(c, OP_ScatterElements, gr_zeros(c, X), gr_out(c, 1), gr_dy(c), true, axis_of(c, X))), true;
}

/* Trilu, ReverseSequence: the same once more. */
bool grad_self(Grad *c)
{
    Value in[2] = {gr_dy(c), gr_in(c, 1)};
    Node again = gr_again(c, in, 2, 1);
    if (again.i) gr_set(c, 0, node_out(c->g, again, 0));
    return true;
}

/* DepthToSpace, SpaceToDepth: each other's inverse. */
bool grad_blocks(Grad *c)
{
    OpCode op = node_rec(c->g, c->n)->op == OP_DepthToSpace ? OP_SpaceToDepth : OP_DepthToSpace;
    void *attrs = ex_set_s(&c->x, op, ex_set(&c->x, op, NULL, "blocksize", gr_int(c, "blocksize")), "mode", gr_string(c, "mode"));
    Value dy = gr_dy(c);
    return gr_set(c, 0, ex_op(&c->x, op, &dy, 1, attrs)), true;
}
