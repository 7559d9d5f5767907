/* grad_written.c: derivatives of operators that ordinary ones can say, at the cost of memory that their own kernels
 * save: written out and differentiated so (gr_written_out).
 *   OneHot             Where(is hot, on, off)
 *   Range              start + i delta
 *   TensorScatter      ScatterElements(past, place of each row, update)
 *   Unique             Gather(X, where each stood first)
 *   Dequantize         (x - zero) scale, by scale;  Repeat  Gather(x, i / block)
 *   DeformColumns      as GridSample: one GatherND for each corner, of all taps at once
 *   LinearAttention    Scan over time */
#include "ir/ops/grad.h"
#include "ir/ops/window.h"
#include <math.h>
#include <string.h>

#define X gr_in(c, 0)

static Value both(Grad *c, OpCode op, Value a, Value b) { return ex2(&c->x, op, a, b); }

/* 0 1 .. n-1 of n = a one-element tensor */
static Value upto(Grad *c, Value n)
{
    return ex3(&c->x, OP_Range, ex_i(&c->x, DT_I64, 0), ex_scalar(&c->x, n, DT_I64), ex_i(&c->x, DT_I64, 1));
}

bool grad_one_hot(Grad *c)
{
    Ex *x = &c->x;
    Value in[3] = {X, gr_in(c, 1), ex_cast(x, ex_ints(x, (int64_t[]){0, 1}, 2), DT_BOOL)}, value[2];
    if (x->failed) return false;
    for (int k = 0; k < 2; k++) value[k] = ex_axis(x, OP_Gather, (Value[]){gr_in(c, 2), ex_i(x, DT_I64, k)}, 2, 0);
    Node hot = gr_again(c, in, 3, 1);
    Value y = hot.i ? gr_where(c, node_out(c->g, hot, 0), value[1], value[0]) : VALUE_NONE;
    return gr_written_out(c, &y, 1);
}

bool grad_range(Grad *c)
{
    Value steps = ex_cast(&c->x, gr_iota(c, gr_out(c, 0)), gr_elem(c, X)),
          y = gr_add(c, X, gr_mul(c, steps, gr_in(c, 2)));
    return gr_written_out(c, &y, 1);
}

bool grad_tensor_scatter(Grad *c)
{
    Ex *x = &c->x;
    Value update = gr_in(c, 1);
    int rank = gr_rank(c, X);
    int64_t axis = gr_int(c, "axis"), dim[RANK_MAX];
    axis += axis < 0 ? rank : 0;
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? -1 : 1;
    Value at = ex_reshape(x, upto(c, ex_shape_part(x, update, (int)axis, (int)axis + 1)), dim, (uint32_t)rank);
    dim[axis] = 1, dim[0] = -1;
    if (gr_in(c, 2).i) at = gr_add(c, at, ex_reshape(x, gr_in(c, 2), dim, (uint32_t)rank));
    if (!strcmp(gr_string(c, "mode"), "circular"))
        at = both(c, OP_Mod, at, ex_shape_part(x, X, (int)axis, (int)axis + 1));
    Value y = ex_axis(x, OP_ScatterElements, (Value[]){X, gr_expand(c, at, update), update}, 3, axis);
    return gr_written_out(c, &y, 1);
}

bool grad_unique(Grad *c)
{
    Ex *x = &c->x;
    bool flat = !gr_given(c, "axis");
    Node again = gr_again(c, (Value[]){X}, 1, 2); /* the node may be asked for its values only */
    if (!again.i) return false;
    Value y = flat ? ex2(x, OP_Reshape, X, ex_int1(x, -1)) : X;
    y = ex_axis(x, OP_Gather, (Value[]){y, node_out(c->g, again, 1)}, 2, flat ? 0 : gr_int(c, "axis"));
    return gr_written_out(c, &y, 1);
}

bool grad_dequantize(Grad *c)
{
    Ex *x = &c->x;
    DType t = dtype_compute(gr_elem(c, gr_out(c, 0)));
    Value y = ex_cast(x, X, t);
    if (gr_in(c, 2).i) y = gr_sub(c, y, ex_cast(x, gr_in(c, 2), t));
    y = ex_cast(x, gr_mul(c, y, ex_cast(x, gr_in(c, 1), t)), gr_elem(c, gr_out(c, 0)));
    return gr_written_out(c, &y, 1);
}

bool grad_repeat(Grad *c)
{
    int axis = (int)gr_int(c, "axis");
    Value at = both(c, OP_Div, upto(c, ex_shape_part(&c->x, gr_out(c, 0), axis, axis + 1)),
                    ex_i(&c->x, DT_I64, gr_int(c, "block")));
    Value y = ex_axis(&c->x, OP_Gather, (Value[]){X, at}, 2, axis);
    return gr_written_out(c, &y, 1);
}

/* ---- DeformColumns(X[N, in.., C], offset, mask) [N, group, P, taps C/group], P pixels ---- */

typedef struct Deform {
    int n;
    int64_t groups;
    Dim batch, pixels, taps, kernel[WINDOW_MAX];
} Deform;

/* Corners of all samples along an axis, each [N, groups of offsets, taps, P]. */
typedef struct Corners {
    Value at[2], weight[2];
} Corners;

static int64_t entry(AttrInts v, int i, int64_t absent) { return v.n ? v.p[i] : absent; }

static Corners corners_along(Grad *c, const Deform *f, Value offset, int axis, const Dim *out)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    Corners r = {.at = {{0}}};
    DType t = ex_elem(x, offset);
    Dim below = dim_const(d, 1), inner = below;
    for (int i = axis + 1; i < f->n; i++) inner = dim_mul(d, inner, f->kernel[i]), below = dim_mul(d, below, out[i]);
    Value tap = both(c, OP_Mod, both(c, OP_Div, upto(c, ex_dims(x, &f->taps, 1)), ex_dims(x, &inner, 1)), ex_dims(x, &f->kernel[axis], 1));
    tap = gr_mul(c, tap, ex_i(x, DT_I64, entry(gr_ints(c, "dilations"), axis, 1)));
    tap = gr_sub(c, tap, ex_i(x, DT_I64, entry(gr_ints(c, "pads"), axis, 0)));
    Value pixel = upto(c, ex_dims(x, &f->pixels, 1)); /* its index along the axis */
    pixel = both(c, OP_Mod, both(c, OP_Div, pixel, ex_dims(x, &below, 1)), ex_dims(x, &out[axis], 1));
    Value base = ex_reshape(x, tap, (int64_t[]){-1, 1}, 2);
    base = gr_add(c, base, gr_mul(c, pixel, ex_i(x, DT_I64, entry(gr_ints(c, "strides"), axis, 1))));
    Value place = gr_add(c, ex_cast(x, base, t), ex_axis(x, OP_Gather, (Value[]){offset, ex_i(x, DT_I64, axis)}, 2, 3));
    Value low = ex1(x, OP_Floor, place), len = ex_cast(x, ex_shape_part(x, X, 1 + axis, 2 + axis), t);
    if (x->failed) return r;
    Value part = gr_sub(c, place, low), zero = gr_num(c, 0, low);
    for (int k = 0; k < 2 && !x->failed; k++) {
        Value at = gr_plus(c, low, k),
              inside = both(c, OP_And, gr_test(c, OP_GreaterOrEqual, at, 0), both(c, OP_Less, at, len));
        r.at[k] = ex_cast(x, gr_where(c, inside, at, zero), DT_I64);
        r.weight[k] = gr_where(c, inside, k ? part : gr_sub(c, gr_num(c, 1, part), part), zero);
    }
    return r;
}

bool grad_deform_columns(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    AttrInts kernel = gr_ints(c, "kernel_shape"); /* else that of the weights, operand 3 */
    Value given = gr_in(c, 1), sum = VALUE_NONE, last = ex_int1(x, -1);
    int rank = gr_rank(c, X);
    Deform f = {.n = rank - 2,
                .taps = dim_const(d, 1),
                .groups = gr_int(c, "offset_group"),
                .batch = gr_dim(c, X, 0),
                .pixels = dim_const(d, 1)};
    Dim out[WINDOW_MAX], channels = gr_dim(c, X, rank - 1), size = dim_const(d, 1), og = dim_const(d, f.groups),
                         group = dim_const(d, gr_int(c, "group"));
    for (int i = 0; i < f.n; i++) {
        f.kernel[i] = kernel.n ? dim_const(d, kernel.p[i]) : gr_dim(c, gr_in(c, 3), 2 + i);
        f.taps = dim_mul(d, f.taps, f.kernel[i]);
        f.pixels = dim_mul(d, f.pixels, out[i] = gr_dim(c, given, 2 + i));
        size = dim_mul(d, size, gr_dim(c, X, 1 + i));
    }
    Dim taps = f.taps, each = dim_div(d, channels, og), icg = dim_div(d, channels, group);
    Value offset = ex_shaped(x, given, (Dim[]){f.batch, og, taps, dim_const(d, f.n), f.pixels}, 5);
    offset = ex_cast(x, offset, dtype_compute(gr_elem(c, given)));
    Value rows = ex_shaped(x, X, (Dim[]){f.batch, dim_mul(d, size, og), each}, 3);
    Value of_group = ex_reshape(x, upto(c, ex_int1(x, f.groups)), (int64_t[]){-1, 1, 1}, 3);
    Corners axis[WINDOW_MAX];
    for (int i = 0; i < f.n; i++) axis[i] = corners_along(c, &f, offset, i, out);
    for (int k = 0; k < 1 << f.n && !x->failed; k++) {
        Value at = VALUE_NONE, weight = VALUE_NONE;
        for (int i = 0; i < f.n; i++) {
            const Corners *q = &axis[i];
            at = i ? gr_add(c, gr_mul(c, at, ex_shape_part(x, X, 1 + i, 2 + i)), q->at[k >> i & 1]) : q->at[k & 1];
            weight = i ? gr_mul(c, weight, q->weight[k >> i & 1]) : q->weight[k & 1];
        }
        at = gr_add(c, gr_mul(c, at, ex_i(x, DT_I64, f.groups)), of_group);
        Value row = ex_op(x, OP_GatherND, (Value[]){rows, ex2(x, OP_Unsqueeze, at, last)}, 2,
                          ex_set(x, OP_GatherND, NULL, "batch_dims", 1));
        row =
            gr_mul(c, row, ex2(x, OP_Unsqueeze, ex_cast(x, weight, gr_elem(c, X)), last)); /* [N, og, taps, P, C/og] */
        sum = sum.i ? gr_add(c, sum, row) : row;
    }
    if (gr_in(c, 2).i)
        sum = gr_mul(c, sum,
                     ex_cast(x, ex_shaped(x, gr_in(c, 2), (Dim[]){f.batch, og, taps, f.pixels, dim_const(d, 1)}, 5),
                             gr_elem(c, X)));
    if (x->failed) return false;
    sum = ex_shaped(x, ex_transpose(x, sum, (int64_t[]){0, 3, 2, 1, 4}, 5),
                    (Dim[]){f.batch, f.pixels, taps, group, icg}, 5);
    if (x->failed) return false;
    sum = ex_shaped(x, ex_transpose(x, sum, (int64_t[]){0, 3, 1, 2, 4}, 5),
                    (Dim[]){f.batch, group, f.pixels, dim_mul(d, taps, icg)}, 4);
    return gr_written_out(c, &sum, 1);
}

/* ---- LinearAttention ---- */

/* v[B, T, ..] under the extents B, T, dim[0..n), with time in front. */
static Value by_time(Grad *c, Value v, DType t, const Dim *dim, int n)
{
    Dim all[RANK_MAX] = {gr_dim(c, v, 0), gr_dim(c, v, 1)};
    int64_t perm[RANK_MAX] = {1, 0};
    for (int i = 0; i < n; i++) all[2 + i] = dim[i], perm[2 + i] = 2 + i;
    v = ex_shaped(&c->x, ex_cast(&c->x, v, t), all, 2 + n);
    return c->x.failed ? VALUE_NONE : ex_transpose(&c->x, v, perm, 2 + (uint32_t)n);
}

bool grad_linear_attention(Grad *c)
{
    enum { QUERY, KEY, VALUE_, PAST, DECAY, BETA };
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    Graph *b = graph_new(c->g->m, "linear_attention");
    Ex e = {.g = b, .loc = x->loc};
    DType t = dtype_compute(gr_elem(c, X));
    int64_t heads = gr_int(c, "kv_num_heads"), queries = gr_int(c, "q_num_heads");
    double scale = gr_float(c, "scale");
    Value v = gr_in(c, VALUE_), decay = gr_in(c, DECAY), beta = gr_in(c, BETA), operand[6], step[6] = {VALUE_NONE},
          past = gr_in(c, PAST);
    Dim H = dim_const(d, heads), share = dim_const(d, queries / heads), one = dim_const(d, 1), B = gr_dim(c, X, 0),
        T = gr_dim(c, X, 1);
    Dim K = dim_div(d, gr_dim(c, X, 2), dim_const(d, queries)), V = dim_div(d, gr_dim(c, v, 2), H);
    uint32_t n = 0;
    operand[n++] = past.i ? ex_cast(x, past, t) : ex2(x, OP_Expand, ex_f(x, t, 0), ex_dims(x, (Dim[]){B, H, K, V}, 4));
    operand[n++] = by_time(c, X, t, (Dim[]){H, share, K}, 3);
    operand[n++] = by_time(c, gr_in(c, KEY), t, (Dim[]){H, K, one}, 3);
    operand[n++] = by_time(c, v, t, (Dim[]){H, one, V}, 3);
    if (decay.i) operand[n++] = by_time(c, decay, t, (Dim[]){H, dim_div(d, gr_dim(c, decay, 2), H), one}, 3);
    if (beta.i) operand[n++] = by_time(c, beta, t, (Dim[]){gr_dim(c, beta, 2), one, one}, 3);
    if (x->failed) return false;
    for (uint32_t k = 0; k < n; k++) {
        TypeRec r = *ex_type(x, operand[k]);
        for (int i = 0; k && i + 1 < r.rank; i++) r.dim[i] = r.dim[i + 1];
        step[k] = graph_input(b, type_tensor(&c->g->m->types, t, r.rank - (k > 0), r.dim), (Name){0});
    }
    Value s = step[0], said = step[3];
    if (decay.i) s = ex2(&e, OP_Mul, s, ex1(&e, OP_Exp, step[4]));
    if (beta.i) {
        Value known = ex_reduce(&e, OP_ReduceSum, ex2(&e, OP_Mul, s, step[2]), (int64_t[]){2}, 1, true);
        said = ex2(&e, OP_Mul, step[n - 1], ex2(&e, OP_Sub, said, known));
    }
    s = ex2(&e, OP_Add, s, ex2(&e, OP_Mul, step[2], said));
    Value result[2] = {s, ex2(&e, OP_MatMul, step[1], s)}, y[2];
    if (e.failed) return false;
    graph_set_outputs(b, result, 2);
    Node scan =
        graph_add(c->g, OP_Scan, operand, n, 2, ex_set(x, OP_Scan, NULL, "num_scan_inputs", n - 1), x->loc, x->n);
    graph_set_region(c->g, scan, (const Graph *const[]){b}, 1);
    if (!infer_node(c->g, scan)) return false;
    y[0] = ex_transpose(x, node_out(c->g, scan, 1), (int64_t[]){1, 0, 2, 3, 4}, 5); /* [B, T, H, share, V] */
    y[0] = ex_shaped(x, y[0], (Dim[]){B, T, dim_mul(d, dim_const(d, queries), V)}, 3);
    if (x->failed) return false;
    if (scale != 0) y[0] = gr_times(c, y[0], scale);
    else y[0] = gr_div(c, y[0], ex1(x, OP_Sqrt, ex_scalar(x, ex_dims(x, &K, 1), t)));
    y[0] = ex_cast(x, y[0], gr_elem(c, X));
    y[1] = node_n_out(c->g, c->n) > 1 ? ex_cast(x, node_out(c->g, scan, 0), gr_elem(c, gr_out(c, 1))) : VALUE_NONE;
    return gr_written_out(c, y, node_n_out(c->g, c->n));
}
