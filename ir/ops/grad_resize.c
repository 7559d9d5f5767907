/* grad_resize.c: the derivative of Resize and Upsample. Along each axis they are a matrix, y = x M, M[in, out]: the operator itself, applied to the rows of
 * the identity, gives it, in whatever mode. The adjoint is dy M' along each axis in turn. */
#include "ir/ops/grad.h"
#include "ir/ops/resize.h"
#include <string.h>

#define X gr_in(c, 0)

/* Place of an axis in scales, sizes; -1: it is not resized. */
static int slot_of(const Resize *a, int axis, int rank)
{
    for (uint32_t k = 0; k < a->axes.n; k++)
        if ((a->axes.p[k] < 0 ? a->axes.p[k] + rank : a->axes.p[k]) == axis) return (int)k;
    return a->axes.n ? -1 : axis;
}

static bool is_one(const Grad *c, Value scales, int slot)
{
    if (!value_is_const(c->g, scales)) return false;
    Blob b = value_rec(c->g, scales)->data;
    return blob_rec(&c->g->m->blobs, b)->kind != BLOB_DERIVED && blob_get_f(&c->g->m->blobs, b, slot) == 1;
}

static Value entry(Grad *c, Value list, int slot) { return ex_axis(&c->x, OP_Gather, (Value[]){list, ex_int1(&c->x, slot)}, 2, 0); }

static bool is_crop(const Grad *c)
{
    const Resize *a = ATTRS(c->g, c->n, Resize);
    return node_rec(c->g, c->n)->op == OP_Resize && !strcmp(a->coordinate_transformation_mode, "tf_crop_and_resize");
}

/* M[in, out] of one axis. */
static Value matrix(Grad *c, Value scales, Value sizes, int axis, int slot)
{
    Ex *x = &c->x;
    Resize a = *ATTRS(c->g, c->n, Resize);
    Value len = ex_shape_part(x, X, axis, axis + 1), square = ex_axis(x, OP_Concat, (Value[]){len, len}, 2, 0), one = ex_f(x, DT_F32, 1);
    Value eye = ex1(x, OP_EyeLike, ex2(x, OP_Expand, gr_num(c, 0, X), square)), pair[2] = {len, VALUE_NONE};
    if (sizes.i) pair[1] = entry(c, sizes, slot);
    else pair[0] = ex2(x, OP_Unsqueeze, one, ex_int1(x, 0)), pair[1] = entry(c, scales, slot);
    Value to = ex_axis(x, OP_Concat, pair, 2, 0), in[4] = {eye, VALUE_NONE, sizes.i ? VALUE_NONE : to, sizes.i ? to : VALUE_NONE};
    if (node_rec(c->g, c->n)->op == OP_Upsample) return ex_op(x, OP_Upsample, (Value[]){eye, to}, 2, &a);
    uint32_t k = 0;
    for (const AttrSpec *s = node_desc(c->g, c->n)->attrs; strcmp(s[k].name, "axes");) k++;
    a.axes = (AttrInts){0};
    a.extrapolation_value = 0;
    if (is_crop(c)) { /* start and end of both axes: all rows, the part of this one */
        Value all = ex_cast(x, ex_ints(x, (int64_t[]){0, 1}, 2), gr_elem(c, gr_in(c, 1))), half = ex_shape_part(x, gr_in(c, 1), 0, 1);
        Value end = ex2(x, OP_Add, ex2(x, OP_Div, half, ex_int1(x, 2)), ex_int1(x, slot));
        Value part[4] = {entry(c, all, 0), entry(c, gr_in(c, 1), slot), entry(c, all, 1), ex_axis(x, OP_Gather, (Value[]){gr_in(c, 1), end}, 2, 0)};
        in[1] = ex_axis(x, OP_Concat, part, 4, 0);
    }
    a.set &= ~((uint64_t)1 << k);
    return ex_op(x, OP_Resize, in, 4, &a);
}

/* The same where sizes are only bounds of one scale for all axes (keep_aspect_ratio_policy), which all lengths decide: the node itself, over
 * a row of the identity along this axis that is repeated along the others. Their weights sum up to 1, so any one of the places there does. */
static Value matrix_of_all(Grad *c, Value sizes, int axis)
{
    Ex *x = &c->x;
    Resize a = *ATTRS(c->g, c->n, Resize);
    int rank = gr_rank(c, X);
    int64_t *axes = arena_array(c->g->m->arena, int64_t, RANK_MAX);
    uint32_t n = 0, bit = 0;
    Value len = ex_shape_part(x, X, axis, axis + 1), square = ex_axis(x, OP_Concat, (Value[]){len, len}, 2, 0), one = ex_int1(x, 1);
    Value eye = ex1(x, OP_EyeLike, ex2(x, OP_Expand, gr_num(c, 0, X), square)), shape[RANK_MAX + 1] = {len}, full[RANK_MAX + 1] = {len};
    for (int i = 0; i < rank; i++) {
        bool resized = slot_of(&a, i, rank) >= 0;
        shape[1 + i] = i == axis ? len : one;
        full[1 + i] = resized ? ex_shape_part(x, X, i, i + 1) : one;
    }
    for (uint32_t k = 0; k < a.axes.n; k++) axes[n++] = (a.axes.p[k] < 0 ? a.axes.p[k] + rank : a.axes.p[k]) + 1;
    for (int i = 0; !a.axes.n && i < rank; i++) axes[n++] = i + 1;
    for (const AttrSpec *s = node_desc(c->g, c->n)->attrs; strcmp(s[bit].name, "axes");) bit++;
    a.axes = (AttrInts){axes, n};
    a.set |= (uint64_t)1 << bit;
    Value rows = ex2(x, OP_Reshape, eye, ex_axis(x, OP_Concat, shape, (uint32_t)rank + 1, 0));
    rows = ex2(x, OP_Expand, rows, ex_axis(x, OP_Concat, full, (uint32_t)rank + 1, 0));
    Value m = ex_op(x, OP_Resize, (Value[]){rows, VALUE_NONE, VALUE_NONE, sizes}, 4, &a);
    for (int i = rank - 1; i >= 0; i--)
        if (i != axis) m = ex_axis(x, OP_Gather, (Value[]){m, ex_i(x, DT_I64, 0)}, 2, i + 1);
    return m;
}

bool grad_resize(Grad *c)
{
    Ex *x = &c->x;
    const Resize *a = ATTRS(c->g, c->n, Resize);
    bool upsample = node_rec(c->g, c->n)->op == OP_Upsample;
    Value scales = gr_in(c, upsample ? 1 : 2), sizes = upsample ? VALUE_NONE : gr_in(c, 3), v = gr_dy(c);
    int rank = gr_rank(c, X);
    bool crop = is_crop(c);
    if (crop && gr_need(c, 1)) return gr_refuse(c, "by the region of interest");
    bool bounds = !upsample && sizes.i && strcmp(a->keep_aspect_ratio_policy, "stretch");
    for (int i = 0; i < rank; i++) {
        int slot = slot_of(a, i, rank);
        int64_t last[RANK_MAX];
        if (slot < 0 || (!crop && scales.i && is_one(c, scales, slot))) continue;
        if (!crop && !scales.i && dim_eq(&c->g->m->dims, gr_dim(c, X, i), gr_dim(c, gr_out(c, 0), i)) == TRI_YES) continue;
        for (int k = 0; k < rank; k++) last[k] = k == i ? rank - 1 : k == rank - 1 ? i : k;
        Value m = bounds ? matrix_of_all(c, sizes, i) : matrix(c, scales, sizes, i, slot), turn = VALUE_NONE;
        if (!x->failed) turn = ex_transpose(x, m, (int64_t[]){1, 0}, 2);
        if (i < rank - 1) v = ex_transpose(x, v, last, (uint32_t)rank);
        v = ex2(x, OP_MatMul, v, turn);
        if (i < rank - 1) v = ex_transpose(x, v, last, (uint32_t)rank);
    }
    return gr_set(c, 0, v), true;
}
