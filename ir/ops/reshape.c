/* reshape.c: Reshape, Flatten, Squeeze, Unsqueeze: the same elements in the same order under other dims; always a view of the operand's memory.
 * Axes of Squeeze and Unsqueeze were attributes before opset 13. */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include <string.h>

static const Port P_ANY[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"reshaped", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
static const Port P_SHAPE[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, {"shape", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_AXES[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, {"axes", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_AXES_OPT[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, {"axes", DTS(DT_I64), PORT_SHAPE | PORT_OPTIONAL, 0}, PORT_END};

/* ---- shared: contents pass through, reference copies ---- */

static bool same_content(Infer *c)
{
    const Dim *d;
    uint32_t n;
    if (infer_content(c, 0, &d, &n)) infer_set_content(c, 0, d, n);
    return true;
}

static Value same_shape(Graph *g, Node n, uint32_t r)
{
    (void)r;
    TypeId a = value_type(g, node_in(g, n, 0)), b = value_type(g, node_out(g, n, 0));
    return a.i && a.i == b.i ? node_in(g, n, 0) : VALUE_NONE;
}

static bool eval_as(Eval *e, int rank, const int64_t *dim)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    if (!y) return false;
    if (y->count != x->count) return ev_fail(e, "%lld elements cannot take the shape of %lld", (long long)x->count, (long long)y->count);
    for (int64_t k = 0; k < y->count; k++) ev_copy(y, k, x, k);
    return true;
}

/* The shape is known, and strides can express it. */
static bool view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    (void)r;
    Value how = node_n_in(g, n) > 1 ? node_in(g, n, 1) : VALUE_NONE;
    if (how.i && !value_rec(g, how)->content && !value_is_const(g, how)) return false;
    return strides_reshape(&g->m->dims, x, y);
}

static bool view_lower(Lw *l, Node n) { return (void)n, lw_view(l, 0, 0), true; }

/* ---- Reshape ---- */

typedef struct Reshape { uint64_t set; int64_t allowzero; AttrInts shape; } Reshape;
static const AttrSpec RESHAPE_ATTRS[] = {A_INT(Reshape, allowzero, 0), A_INTS(Reshape, shape), A_END};

/* shape=[...] (opset 1)  =>  second operand */
static bool reshape_upgrade(Graph *g, Node n, int64_t opset)
{
    Reshape *a = node_rec(g, n)->attrs;
    if (opset >= 5 || !(a->set & 2)) return true;
    Dim count = dim_const(&g->m->dims, a->shape.n);
    graph_add_input(g, n, graph_const(g, blob_inline(&g->m->blobs, DT_I64, a->shape.n, a->shape.p), type_tensor(&g->m->types, DT_I64, 1, &count), (Name){0}));
    a->set &= ~(uint64_t)2;
    return true;
}

/* Elements of the operand divided by the dims given; *rest is exact when the division is. */
static bool fill_minus_one(Infer *c, Dim *dim, int rank, int at, const bool *copied)
{
    Dim num = dim_const(c->d, 1), den = num;
    int in_rank = infer_rank(c, 0);
    for (int i = 0; i < in_rank; i++)
        if (i >= rank || !copied[i]) num = dim_mul(c->d, num, infer_dim(c, 0, i));   /* a dim copied by 0 cancels */
    for (int i = 0; i < rank; i++)
        if (i != at && !(copied[i] && i < in_rank)) den = dim_mul(c->d, den, dim[i]);
    int64_t k, n;
    if (dim_is_const(c->d, den, &k) && k == 0) {
        dim[at] = dim_const(c->d, 0);
        return true;
    }
    if (dim_is_const(c->d, num, &n) && dim_is_const(c->d, den, &k) && n % k) return infer_fail(c, "%lld elements cannot be divided by %lld", (long long)n, (long long)k);
    dim[at] = dim_div(c->d, num, den);
    return true;
}

static bool reshape_infer(Infer *c)
{
    const Reshape *a = ATTRS(c->g, c->n, Reshape);
    const Dim *want;
    uint32_t n;
    int64_t rank;
    Dim dim[RANK_MAX];
    bool copied[RANK_MAX] = {false};
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 1, 1)) return false;
    if (!infer_content(c, 1, &want, &n)) {   /* computed while running */
        if (!dim_is_const(c->d, infer_dim(c, 1, 0), &rank) || rank > RANK_MAX) return infer_set(c, 0, infer_elem(c, 0), -1, NULL);
        for (int i = 0; i < rank; i++) dim[i] = infer_node_dim(c, 0, i, 0, INT64_MAX);
        return infer_set(c, 0, infer_elem(c, 0), (int)rank, dim);
    }
    if (n > RANK_MAX) return infer_fail(c, "the result would have rank %u", n);
    int minus = -1;
    for (uint32_t i = 0; i < n; i++) {
        int64_t k;
        dim[i] = dim_resolve(c->d, want[i]);
        if (!dim_is_const(c->d, dim[i], &k)) continue;
        if (k == -1) {
            if (minus >= 0) return infer_fail(c, "the shape has more than one -1");
            minus = (int)i;
        } else if (k == 0 && !a->allowzero) {
            if ((int)i >= infer_rank(c, 0)) return infer_fail(c, "the shape copies dimension %u of an input of rank %d", i, infer_rank(c, 0));
            dim[i] = infer_dim(c, 0, (int)i);
            copied[i] = true;
        } else if (k < 0) return infer_fail(c, "the shape has a dimension of %lld", (long long)k);
    }
    if (minus >= 0 && !fill_minus_one(c, dim, (int)n, minus, copied)) return false;
    if (!infer_set(c, 0, infer_elem(c, 0), (int)n, dim)) return false;
    Dim have = type_count(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0))), get = type_count(&c->m->types, value_type(c->g, node_out(c->g, c->n, 0)));
    int64_t x, y;
    if (dim_is_const(c->d, have, &x) && dim_is_const(c->d, get, &y) && x != y)
        return infer_fail(c, "%lld elements cannot take a shape of %lld", (long long)x, (long long)y);
    return true;
}

static bool reshape_lower(Lw *l, Node n)
{
    const Content *c = value_rec(l->g, node_in(l->g, n, 1))->content;
    Dims *d = &l->m->dims;
    int rank = lw_out_rank(l, 0), in_rank = lw_rank(l, 0);
    Dim have = dim_const(d, 1), get = have;
    for (int i = 0; i < in_rank; i++) have = dim_mul(d, have, lw_dim(l, 0, i));
    if (!c && !value_is_const(l->g, node_in(l->g, n, 1))) {
        /* dims read while running: 0 copies, -1 takes the rest: rest = count / product of the others */
        Dim want[RANK_MAX], dim[RANK_MAX], rest = dim_const(d, 1);
        uint32_t count;
        if (!lw_values(l, 1, want, RANK_MAX, &count)) return false;
        bool zero = !ATTRS(l->g, n, Reshape)->allowzero;
        for (int i = 0; i < rank; i++) {
            Dim w = want[i];
            if (zero && i < in_rank) {   /* w == 0 ? in : w  =  w + (1 - min(1, |w|)) * in ; |w| = max(w, -w) */
                Dim abs = dim_max(d, w, dim_sub(d, dim_const(d, 0), w));
                w = dim_add(d, w, dim_mul(d, dim_sub(d, dim_const(d, 1), dim_min(d, dim_const(d, 1), abs)), lw_dim(l, 0, i)));
            }
            dim[i] = w;
            rest = dim_mul(d, rest, dim_max(d, w, dim_sub(d, dim_const(d, 0), w)));   /* |-1| = 1 */
        }
        rest = dim_div(d, have, dim_max(d, dim_const(d, 1), rest));
        for (int i = 0; i < rank; i++) {   /* w < 0 ? rest : w  =  max(w, 0) + min(1, max(0, -w)) * rest */
            Dim neg = dim_min(d, dim_const(d, 1), dim_max(d, dim_const(d, 0), dim_sub(d, dim_const(d, 0), dim[i])));
            dim[i] = dim_add(d, dim_max(d, dim[i], dim_const(d, 0)), dim_mul(d, neg, rest));
        }
        lw_bind_dims(l, 0, dim);
    }
    for (int i = 0; i < rank; i++) get = dim_mul(d, get, lw_out_dim(l, 0, i));
    if (dim_eq(d, have, get) != TRI_YES) {
        KStep *s = lw_step(l, KST_CHECK);
        s->a = have;
        s->b = get;
        s->rel = KREL_EQ;
        s->msg = "the input cannot take this shape: the number of elements differs";
    }
    lw_view(l, 0, 0);
    return true;
}

static bool reshape_eval(Eval *e)
{
    const Tensor *x = e->in[0], *s = e->in[1];
    int64_t dim[RANK_MAX], known = 1;
    int minus = -1;
    if (s->count > RANK_MAX) return ev_fail(e, "rank too large");
    for (int64_t i = 0; i < s->count; i++) {
        dim[i] = ev_i(s, i);
        if (dim[i] == 0 && !ATTRS(e->g, e->n, Reshape)->allowzero) {
            if (i >= x->rank) return ev_fail(e, "the shape copies a dimension that is not there");
            dim[i] = x->dim[i];
        }
        if (dim[i] == -1) minus = (int)i;
        else known *= dim[i];
    }
    if (minus >= 0) dim[minus] = known ? x->count / known : 0;
    return eval_as(e, (int)s->count, dim);
}

/* The trailing axes of equal extents keep their indices; those in front are counted anew. */
static bool regroup_route(Lw *l, Node n, const KVal *out, Route *r)
{
    Kb *b = l->b;
    int ro = lw_out_rank(l, 0), ri = lw_rank(l, 0);
    (void)n;
    while (ro > 0 && ri > 0 && dim_eq(&l->m->dims, lw_out_dim(l, 0, ro - 1), lw_dim(l, 0, ri - 1)) == TRI_YES) r->idx[--ri] = out[--ro];
    KVal at = kb_i(b, 0);
    for (int i = 0; i < ro; i++) at = kb_add(b, i ? kb_mul(b, at, kb_dim(b, lw_out_dim(l, 0, i))) : at, out[i]);
    for (int i = ri; i-- > 0;) {
        KVal e = kb_dim(b, lw_dim(l, 0, i));
        r->idx[i] = i ? kb_bin(b, KOP_REM, at, e) : at;
        if (i) at = kb_div(b, at, e);
    }
    return true;
}

const OpDesc op_Reshape = {.name = "Reshape", .since = 25, .cls = CLS_MOVE, .flags = OPF_CHEAP | OPF_DEFAULTS, .knows = 2, .in = P_SHAPE, .out = P_OUT, .attrs = RESHAPE_ATTRS, .attrs_size = sizeof(Reshape),
                           .upgrade = reshape_upgrade, .infer = reshape_infer, .propagate = same_content, .equivalent = same_shape, .route = regroup_route, .view = view, .lower = reshape_lower, .grad = grad_reshape, .eval = reshape_eval};

/* ---- Flatten ---- */

typedef struct Flatten { uint64_t set; int64_t axis; } Flatten;
static const AttrSpec FLATTEN_ATTRS[] = {A_INT(Flatten, axis, 1), A_END};

static bool flatten_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Flatten)->axis;
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    if (axis != rank && !(rank == 0 && axis == -1) && !infer_axis(c, &axis, rank)) return false;
    Dim dim[2] = {dim_const(c->d, 1), dim_const(c->d, 1)};
    for (int i = 0; i < rank; i++) dim[i < axis ? 0 : 1] = dim_mul(c->d, dim[i < axis ? 0 : 1], infer_dim(c, 0, i));
    return infer_set(c, 0, infer_elem(c, 0), 2, dim);
}

static bool flatten_eval(Eval *e)
{
    int64_t axis = ATTRS(e->g, e->n, Flatten)->axis, dim[2] = {1, 1};
    if (axis < 0) axis += e->in[0]->rank;
    for (int i = 0; i < e->in[0]->rank; i++) dim[i < axis ? 0 : 1] *= e->in[0]->dim[i];
    return eval_as(e, 2, dim);
}

const OpDesc op_Flatten = {.name = "Flatten", .since = 25, .cls = CLS_MOVE, .flags = OPF_CHEAP, .in = P_ANY, .out = P_OUT, .attrs = FLATTEN_ATTRS, .attrs_size = sizeof(Flatten),
                           .infer = flatten_infer, .propagate = same_content, .equivalent = same_shape, .view = view, .lower = view_lower, .grad = grad_reshape, .eval = flatten_eval};

/* ---- Squeeze, Unsqueeze ---- */

typedef struct Axes { uint64_t set; AttrInts axes; } Axes;
static const AttrSpec AXES_ATTRS[] = {A_INTS(Axes, axes), A_END};

static bool axes_upgrade(Graph *g, Node n, int64_t opset)
{
    (void)opset;
    Axes *a = node_rec(g, n)->attrs;
    if (!(a->set & 1)) return true;
    Dim count = dim_const(&g->m->dims, a->axes.n);
    graph_add_input(g, n, graph_const(g, blob_inline(&g->m->blobs, DT_I64, a->axes.n, a->axes.p), type_tensor(&g->m->types, DT_I64, 1, &count), (Name){0}));
    a->set = 0;
    return true;
}

/* Axes that only the run knows, a constant number of them: the rank is known, the dims are not. */
static bool infer_run_axes(Infer *c, int sign)
{
    int64_t n, hi, most = 1;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 1, 1, 1)) return false;
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &n) || n > RANK_MAX) return infer_fail(c, "the number of axes must be known at compile time");
    int rank = infer_rank(c, 0) + sign * (int)n;
    if (rank < 0 || rank > RANK_MAX) return infer_fail(c, "%lld axes for rank %d", (long long)n, infer_rank(c, 0));
    for (int i = 0; i < infer_rank(c, 0); i++) {
        dim_bounds(c->d, infer_dim(c, 0, i), &(int64_t){0}, &hi);
        most = hi > most ? hi : most;
    }
    for (int i = 0; i < rank; i++) dim[i] = infer_node_dim(c, 0, i, 0, most);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool axes_known(Lw *l, uint32_t k)
{
    Value v = node_in(l->g, l->n, k);
    return !v.i || value_is_const(l->g, v) || value_rec(l->g, v)->content;
}

static bool squeeze_lower(Lw *l, Node n)
{
    (void)n;
    RunAxes x;
    Dims *d = &l->m->dims;
    Dim len[RANK_MAX], dim[RANK_MAX];
    int rank = lw_rank(l, 0);
    for (int i = 0; i < rank && !lw_has(l, 1); i++) {   /* without axes: what is not known to be 1 must not turn out to be, the rank would be another */
        if (dim_is(d, lw_dim(l, 0, i), 1) || dim_eq(d, lw_dim(l, 0, i), dim_const(d, 1)) == TRI_NO) continue;
        KStep *s = lw_step(l, KST_CHECK);
        s->a = lw_dim(l, 0, i), s->b = dim_const(d, 1), s->rel = KREL_NE, s->msg = "Squeeze without axes: a dimension is {got} that was not known to be";
    }
    if (axes_known(l, 1)) return lw_view(l, 0, 0), true;
    if (!axes_read(l, 1, rank, &x)) return false;
    for (int i = 0; i < rank; i++) {
        KStep *s = lw_step(l, KST_CHECK);
        len[i] = lw_dim(l, 0, i);
        s->a = axes_either(l, x.mark[i], len[i], dim_const(d, 1)), s->b = dim_const(d, 1), s->rel = KREL_EQ, s->msg = "a squeezed dimension is {got}";
    }
    for (int j = 0; j < lw_out_rank(l, 0); j++) dim[j] = axes_rest(l, &x, j, len);
    lw_bind_dims(l, 0, dim);
    lw_view(l, 0, 0);
    return true;
}

static bool unsqueeze_lower(Lw *l, Node n)
{
    (void)n;
    RunAxes x;
    Dim len[RANK_MAX], dim[RANK_MAX];
    int rank = lw_out_rank(l, 0);
    if (axes_known(l, 1)) return lw_view(l, 0, 0), true;
    if (!axes_read(l, 1, rank, &x)) return false;
    for (int i = 0; i < lw_rank(l, 0); i++) len[i] = lw_dim(l, 0, i);
    for (int i = 0; i < rank; i++) dim[i] = axes_spread(l, &x, i, len, lw_rank(l, 0));
    lw_bind_dims(l, 0, dim);
    lw_view(l, 0, 0);
    return true;
}

static bool squeeze_infer(Infer *c)
{
    int64_t axes[RANK_MAX], bad;
    uint32_t n = 0;
    bool mark[RANK_MAX];
    Dim dim[RANK_MAX];
    int rank = infer_rank(c, 0), out = 0;
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    if (infer_has(c, 1)) {
        if (!infer_ints(c, 1, axes, RANK_MAX, &n)) return infer_run_axes(c, -1);
        if (!axes_mark(axes, n, rank, mark, &bad)) return infer_fail(c, "axis %lld is out of range for rank %d, or given twice", (long long)bad, rank);
    } else
        for (int i = 0; i < rank; i++) {
            int64_t lo, hi;
            dim_bounds(c->d, infer_dim(c, 0, i), &lo, &hi);
            mark[i] = dim_is(c->d, infer_dim(c, 0, i), 1);
            if (!mark[i] && lo <= 1 && hi >= 1) return infer_set(c, 0, infer_elem(c, 0), -1, NULL);   /* whether it is 1, the run decides (arms.c) */
        }
    for (int i = 0; i < rank; i++) {
        if (!mark[i]) dim[out++] = infer_dim(c, 0, i);
        else if (!infer_must_eq(c, infer_dim(c, 0, i), dim_const(c->d, 1), "squeezed dimension")) return false;
    }
    return infer_set(c, 0, infer_elem(c, 0), out, dim);
}

static bool unsqueeze_infer(Infer *c)
{
    int64_t axes[RANK_MAX], bad;
    uint32_t n;
    bool mark[RANK_MAX];
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    if (!infer_ints(c, 1, axes, RANK_MAX, &n)) return infer_run_axes(c, 1);
    int rank = infer_rank(c, 0) + (int)n, from = 0;
    if (rank > RANK_MAX) return infer_fail(c, "the result would have rank %d", rank);
    if (!axes_mark(axes, n, rank, mark, &bad)) return infer_fail(c, "axis %lld is out of range for rank %d, or given twice", (long long)bad, rank);
    for (int i = 0; i < rank; i++) dim[i] = mark[i] ? dim_const(c->d, 1) : infer_dim(c, 0, from++);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool squeeze_eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int out = 0;
    for (int i = 0; i < e->in[0]->rank; i++) {
        bool drop = !ev_has(e, 1) && e->in[0]->dim[i] == 1;
        for (int64_t k = 0; ev_has(e, 1) && k < e->in[1]->count; k++) drop |= ev_i(e->in[1], k) == i || ev_i(e->in[1], k) + e->in[0]->rank == i;
        if (!drop) dim[out++] = e->in[0]->dim[i];
    }
    return eval_as(e, out, dim);
}

static bool unsqueeze_eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int rank = e->in[0]->rank + (int)e->in[1]->count, from = 0;
    if (rank > RANK_MAX) return ev_fail(e, "rank too large");
    for (int i = 0; i < rank; i++) {
        bool add = false;
        for (int64_t k = 0; k < e->in[1]->count; k++) add |= ev_i(e->in[1], k) == i || ev_i(e->in[1], k) + rank == i;
        dim[i] = add ? 1 : e->in[0]->dim[from++];
    }
    return eval_as(e, rank, dim);
}

const OpDesc op_Squeeze = {.name = "Squeeze", .since = 25, .cls = CLS_MOVE, .flags = OPF_CHEAP, .knows = 2, .in = P_AXES_OPT, .out = P_OUT, .attrs = AXES_ATTRS, .attrs_size = sizeof(Axes),
                           .upgrade = axes_upgrade, .infer = squeeze_infer, .propagate = same_content, .equivalent = same_shape, .view = view, .lower = squeeze_lower, .grad = grad_reshape, .eval = squeeze_eval};
const OpDesc op_Unsqueeze = {.name = "Unsqueeze", .since = 25, .cls = CLS_MOVE, .flags = OPF_CHEAP, .knows = 2, .in = P_AXES, .out = P_OUT, .attrs = AXES_ATTRS, .attrs_size = sizeof(Axes),
                             .upgrade = axes_upgrade, .infer = unsqueeze_infer, .propagate = same_content, .equivalent = same_shape, .view = view, .lower = unsqueeze_lower, .grad = grad_reshape, .eval = unsqueeze_eval};
