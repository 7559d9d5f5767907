/* generate.c: tensors made from places: OneHot, EyeLike, and the windows of signal processing.
 *   OneHot:   out[.., i, ..] = values[i == index ? 1 : 0], a negative index counts from depth; one that is out of range has no place
 *   EyeLike:  out[i, j] = j == i + k
 *   windows:  out[i] = c0 - c1 cos(2 pi i / n) + c2 cos(4 pi i / n),   n = size, or size - 1 for a symmetric one */
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <math.h>

/* ---- OneHot ---- */

static const Port P_ONEHOT[] = {{"indices", DTS_NUM, 0, 0}, {"depth", DTS_NUM, PORT_SHAPE, 0}, {"values", DTS_MOVE, 0, 1}, PORT_END};
static const Port P_ANY_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};
typedef struct OneHot { uint64_t set; int64_t axis; } OneHot;
static const AttrSpec ONEHOT_ATTRS[] = {A_INT(OneHot, axis, -1), A_END};

/* A constant depth of any number type. */
static bool known_depth(const Graph *g, Value v, int64_t *depth)
{
    const ValueRec *r = value_rec(g, v);
    if (!r->data.i || blob_rec(&g->m->blobs, r->data)->kind == BLOB_DERIVED || blob_rec(&g->m->blobs, r->data)->count != 1) return false;
    *depth = dtype_is_float(blob_rec(&g->m->blobs, r->data)->elem) ? (int64_t)blob_get_f(&g->m->blobs, r->data, 0) : blob_get_i(&g->m->blobs, r->data, 0);
    return true;
}

static bool onehot_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, OneHot)->axis, k;
    const Dim *depth;
    uint32_t n;
    Dim dim[RANK_MAX + 1];
    if (!infer_need_rank(c, 0, 0, RANK_MAX - 1) || !infer_need_rank(c, 1, 0, 1) || !infer_need_rank(c, 2, 1, 1)) return false;
    int rank = infer_rank(c, 0) + 1;
    if (!infer_axis(c, &axis, rank) || !infer_must_eq(c, infer_dim(c, 2, 0), dim_const(c->d, 2), "number of values")) return false;
    for (int i = 0, j = 0; i < rank; i++)
        if (i != axis) dim[i] = infer_dim(c, 0, j++);
    if (known_depth(c->g, node_in(c->g, c->n, 1), &k)) {
        if (k < 0) return infer_fail(c, "depth = %lld", (long long)k);
        dim[axis] = dim_const(c->d, k);
    } else if (infer_content(c, 1, &depth, &n) && n == 1) dim[axis] = dim_resolve(c->d, depth[0]);
    else dim[axis] = infer_node_dim(c, 0, (int)axis, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 2), rank, dim);
}

static bool onehot_lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    int rank = lw_out_rank(l, 0), axis = (int)(ATTRS(l->g, n, OneHot)->axis + (ATTRS(l->g, n, OneHot)->axis < 0 ? rank : 0)), in = 0;
    Dim dim[RANK_MAX];
    int64_t k;
    KVal out[RANK_MAX], idx[RANK_MAX], zero[RANK_MAX];
    lw_prepare_in(l);
    for (int i = 0; i < rank; i++) dim[i] = lw_out_dim(l, 0, i);
    if (!known_depth(l->g, node_in(l->g, n, 1), &k) && !value_rec(l->g, node_in(l->g, n, 1))->content) {
        KBuf depth = lw_temp(l, DT_I64, 0, NULL);
        Kb *b = lw_kernel(l, "depth");
        for (int i = 0; i < RANK_MAX; i++) zero[i] = kb_i(b, 0);
        kb_store(b, kb_param(b, depth, true), NULL, kb_cast(b, DT_I64, lw_at(l, 1, zero)));
        lw_kernel_end(l);
        dim[axis] = dim_sym(d, lw_load_sym(l, depth, dim_const(d, 0), "depth", INT64_MIN, INT64_MAX));
        index_check(l, dim_const(d, 0), KREL_LE, dim[axis], "depth is {want}");
        lw_bind_dims(l, 0, dim);
    }
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "onehot");
    lw_nest_over(l, 0, out);
    for (int i = 0; i < rank; i++)
        if (i != axis) idx[in++] = out[i];
    KVal given = lw_at(l, 0, idx), at = kb_cast(b, DT_I64, given), depth = kb_dim(b, lw_out_dim(l, 0, axis));
    at = kb_select(b, kb_lt(b, at, kb_i(b, 0)), kb_add(b, at, depth), at);
    KVal hit = kb_eq(b, at, out[axis]);
    if (dtype_is_float(lw_elem(l, 0))) hit = kb_and(b, hit, kb_eq(b, given, given)); /* NaN is in no range */
    KVal which = kb_cast(b, DT_I64, hit), off = kb_i(b, 0), on = kb_i(b, 1);
    bool text = lw_elem(l, 2) == DT_STR; /* others: two numbers known outside the loops, where an index would be gathered by */
    lw_put(l, 0, out, text ? lw_at(l, 2, &which) : kb_select(b, hit, lw_at(l, 2, &on), lw_at(l, 2, &off)));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool onehot_eval(Eval *e)
{
    const Tensor *x = e->in[0], *v = e->in[2];
    int rank = x->rank + 1, axis = (int)(ATTRS(e->g, e->n, OneHot)->axis + (ATTRS(e->g, e->n, OneHot)->axis < 0 ? rank : 0));
    int64_t dim[RANK_MAX + 1], o[RANK_MAX + 1], i[RANK_MAX], depth = dtype_is_float(e->in[1]->elem) ? (int64_t)ev_f(e->in[1], 0) : ev_i(e->in[1], 0);
    for (int a = 0, j = 0; a < rank; a++) dim[a] = a == axis ? depth : x->dim[j++];
    Tensor *y = ev_out(e, 0, v->elem, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, o);
        for (int a = 0, j = 0; a < rank; a++)
            if (a != axis) i[j++] = o[a];
        int64_t from = flat_index(x, i);
        bool number = !dtype_is_float(x->elem) || fabs(ev_f(x, from)) < 0x1p62;
        int64_t at = !number ? INT64_MIN : dtype_is_float(x->elem) ? (int64_t)ev_f(x, from) : ev_i(x, from);
        ev_copy(y, k, v, at == o[axis] || at + depth == o[axis] ? 1 : 0);
    }
    return y != NULL;
}

const OpDesc op_OneHot = {.name = "OneHot", .since = 28, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_ONEHOT, .out = P_ANY_OUT, .attrs = ONEHOT_ATTRS,
                          .attrs_size = sizeof(OneHot), .infer = onehot_infer, .lower = onehot_lower, .eval = onehot_eval, .grad = grad_one_hot};

/* ---- EyeLike ---- */

static const Port P_LIKE[] = {{"input", DTS_ANY, 0, 0}, PORT_END};
static const Port P_NUM_OUT[] = {{"output", DTS_NUM | DTS_BOOL, 0, 0}, PORT_END};
typedef struct EyeLike { uint64_t set; int64_t dtype, k; } EyeLike;
static const AttrSpec EYE_ATTRS[] = {A_TYPE(EyeLike, dtype, 0), A_INT(EyeLike, k, 0), A_END};

static bool eye_infer(Infer *c)
{
    const EyeLike *a = ATTRS(c->g, c->n, EyeLike);
    DType t = a->dtype ? (DType)a->dtype : infer_elem(c, 0);
    if (!infer_need_rank(c, 0, 2, 2)) return false;
    if (!(DTS(t) & (DTS_NUM | DTS_BOOL))) return infer_fail(c, "a result of type %s is not supported", dtype_info(t)->onnx);
    return infer_set(c, 0, t, 2, infer_in(c, 0)->dim);
}

/* Zeros, which are one stretch of memory, then the ones. */
static bool eye_lower(Lw *l, Node n)
{
    KBuf y = lw_out(l, 0);
    DType e = lw_out_elem(l, 0);
    Kb *b = lw_kernel(l, "eye");
    KVal at[2], zero = kb_i(b, 0), columns;
    lw_nest_over(l, 0, at);
    kb_store(b, kb_param(b, y, true), at, kb_cast(b, e, zero));
    lw_end_nest(l, 2);
    lw_kernel_end(l);
    b = lw_kernel(l, "eye_ones");
    zero = kb_i(b, 0), columns = kb_dim(b, lw_out_dim(l, 0, 1));
    KVal by = kb_i(b, ATTRS(l->g, n, EyeLike)->k), rows = kb_dim(b, lw_out_dim(l, 0, 0));
    at[0] = kb_for(b, KLOOP_PAR, kb_max(b, zero, kb_sub(b, zero, by)), kb_min(b, rows, kb_sub(b, columns, by)));
    at[1] = kb_add(b, at[0], by);
    kb_store(b, kb_param(b, y, true), at, kb_cast(b, e, kb_i(b, 1)));
    kb_end(b);
    lw_kernel_end(l);
    return true;
}

static bool eye_eval(Eval *e)
{
    const EyeLike *a = ATTRS(e->g, e->n, EyeLike);
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, a->dtype ? (DType)a->dtype : x->elem, 2, x->dim);
    for (int64_t r = 0; y && r < x->dim[0]; r++)
        if (a->k >= -r && a->k < x->dim[1] - r) {
            int64_t at = r * x->dim[1] + r + a->k;
            if (dtype_is_float(y->elem)) ev_set_f(y, at, 1);
            else ev_set_i(y, at, 1);
        }
    return y != NULL;
}

const OpDesc op_EyeLike = {.name = "EyeLike", .since = 22, .cls = CLS_SHAPE, .flags = OPF_STRIDED_OUT, .in = P_LIKE, .out = P_NUM_OUT, .attrs = EYE_ATTRS,
                           .attrs_size = sizeof(EyeLike), .infer = eye_infer, .lower = eye_lower, .eval = eye_eval, .grad = grad_zero};

/* ---- HannWindow, HammingWindow, BlackmanWindow ---- */

static const Port P_SIZE[] = {{"size", DTS_INDEX, PORT_SHAPE, 0}, PORT_END};
static const Port P_WINDOW[] = {{"output", DTS_NUM, 0, 0}, PORT_END};
typedef struct Window { uint64_t set; int64_t periodic, output_datatype; } Window;
static const AttrSpec WINDOW_ATTRS[] = {A_INT(Window, periodic, 1), A_TYPE(Window, output_datatype, DT_F32), A_END};

static const double *coefficients(OpCode op)
{
    static const double HANN[3] = {0.5, 0.5, 0}, HAMMING[3] = {25.0 / 46, 1 - 25.0 / 46, 0}, BLACKMAN[3] = {0.42, 0.5, 0.08};
    return op == OP_HannWindow ? HANN : op == OP_HammingWindow ? HAMMING : BLACKMAN;
}

static bool window_infer(Infer *c)
{
    const Dim *size;
    uint32_t n;
    DType t = (DType)ATTRS(c->g, c->n, Window)->output_datatype;
    if (!(DTS(t) & DTS_NUM)) return infer_fail(c, "a result of type %s is not supported", dtype_info(t)->onnx);
    if (!infer_need_rank(c, 0, 0, 1)) return false;
    Dim len = infer_content(c, 0, &size, &n) && n == 1 ? dim_resolve(c->d, size[0]) : infer_node_dim(c, 0, 0, 0, INT64_MAX);
    return infer_set(c, 0, t, 1, &len);
}

static bool window_expand(Graph *g, Node n)
{
    const Window *a = ATTRS(g, n, Window);
    const double *k = coefficients(node_rec(g, n)->op);
    Ex x = ex_begin(g, n);
    Value size = ex_cast(&x, node_in(g, n, 0), DT_I64), count = size;
    if (!x.failed && ex_type(&x, size)->rank == 1) size = ex2(&x, OP_Squeeze, size, ex_int1(&x, 0));
    Value i = ex_cast(&x, ex3(&x, OP_Range, ex_i(&x, DT_I64, 0), size, ex_i(&x, DT_I64, 1)), DT_F64);
    count = a->periodic ? size : ex2(&x, OP_Sub, size, ex_i(&x, DT_I64, 1));
    Value angle = ex2(&x, OP_Mul, i, ex2(&x, OP_Div, ex_f(&x, DT_F64, 6.283185307179586476925), ex_cast(&x, count, DT_F64)));
    /* the constant last: 0.5 + 0.08 + 0.42 is 1, while 0.42 + 0.5 + 0.08 is a bit less, which an integer type truncates to 0 */
    Value y = ex2(&x, OP_Mul, ex_f(&x, DT_F64, -k[1]), ex1(&x, OP_Cos, angle));
    if (k[2] != 0) y = ex2(&x, OP_Add, y, ex2(&x, OP_Mul, ex_f(&x, DT_F64, k[2]), ex1(&x, OP_Cos, ex2(&x, OP_Add, angle, angle))));
    y = ex2(&x, OP_Add, y, ex_f(&x, DT_F64, k[0]));
    y = ex_cast(&x, y, (DType)a->output_datatype);
    return ex_end(&x, &y, 1);
}

static bool window_eval(Eval *e)
{
    const Window *a = ATTRS(e->g, e->n, Window);
    const double *k = coefficients(node_rec(e->g, e->n)->op);
    int64_t size = ev_i(e->in[0], 0);
    Tensor *y = ev_out(e, 0, (DType)a->output_datatype, 1, &size);
    for (int64_t i = 0; y && i < size; i++) {
        double t = 2 * acos(-1) * (double)i / (double)(a->periodic ? size : size - 1), v = k[2] * cos(2 * t) - k[1] * cos(t) + k[0];
        if (dtype_is_float(y->elem)) ev_set_f(y, i, v);
        else ev_set_i(y, i, (int64_t)v);
    }
    return y != NULL;
}

#define WINDOW .since = 17, .cls = CLS_SHAPE, .in = P_SIZE, .out = P_WINDOW, .attrs = WINDOW_ATTRS, .attrs_size = sizeof(Window), .infer = window_infer, \
               .expand = window_expand, .eval = window_eval
const OpDesc op_HannWindow = {.name = "HannWindow", WINDOW};
const OpDesc op_HammingWindow = {.name = "HammingWindow", WINDOW};
const OpDesc op_BlackmanWindow = {.name = "BlackmanWindow", WINDOW};
