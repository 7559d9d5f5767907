/* concat.c: Concat: every input is stored into its place in the result, one nest each. */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"

static const Port P_IN[] = {{"inputs", DTS_MOVE, PORT_VARIADIC, 1}, PORT_END};
static const Port P_OUT[] = {{"concat_result", DTS_MOVE, 0, 1}, PORT_END};
typedef struct Concat { uint64_t set; int64_t axis; } Concat;
static const AttrSpec ATTRS_[] = {A_INT(Concat, axis, 1), A_END};   /* required since opset 4; 1 before */

static bool infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Concat)->axis;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    int rank = infer_rank(c, 0);
    Dim dim[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    for (uint32_t k = 1; k < node_n_in(c->g, c->n); k++) {
        if (!infer_need_rank(c, k, rank, rank)) return false;
        for (int i = 0; i < rank; i++) {
            if (i == axis) dim[i] = dim_add(c->d, dim[i], infer_dim(c, k, i));
            else if (!infer_must_eq(c, infer_dim(c, k, i), dim[i], "dimension of a concatenated input")) return false;
        }
    }
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool propagate(Infer *c)
{
    Dim o[CONTENT_MAX];
    uint32_t n = 0;
    if (infer_rank(c, 0) != 1) return true;
    for (uint32_t k = 0; k < node_n_in(c->g, c->n); k++) {
        const Dim *d;
        uint32_t m;
        if (!infer_content(c, k, &d, &m) || n + m > CONTENT_MAX) return true;
        for (uint32_t i = 0; i < m; i++) o[n++] = d[i];
    }
    infer_set_content(c, 0, o, n);
    return true;
}

static Value equivalent(Graph *g, Node n, uint32_t r) { return (void)r, node_n_in(g, n) == 1 ? node_in(g, n, 0) : VALUE_NONE; }

static int joins(const Graph *g, Node n)
{
    int64_t axis = ATTRS(g, n, Concat)->axis;
    return (int)(axis < 0 ? axis + value_trec(g, node_out(g, n, 0))->rank : axis);
}

static bool lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    int axis = joins(l->g, n);
    LwView whole;
    if (lw_side_by_side(l, axis, &whole) && lw_set_view(l, 0, &whole)) return true;
    lw_prepare_in(l);
    lw_out(l, 0);
    Dim at = dim_const(d, 0);
    for (uint32_t k = 0; k < node_n_in(l->g, n); k++) {
        Dim dim[RANK_MAX];
        KVal idx[RANK_MAX], to[RANK_MAX];
        for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, k, i);
        if (lw_is_inside(l, k)) {
            at = dim_add(d, at, dim[axis]);
            continue;
        }
        Kb *b = lw_kernel(l, "concat");
        lw_nest_as(l, 0, dim, idx);
        for (int i = 0; i < rank; i++) to[i] = i == axis ? kb_add(b, idx[i], kb_dim(b, at)) : idx[i];
        lw_put(l, 0, to, lw_at(l, k, idx));
        lw_end_nest(l, rank);
        lw_kernel_end(l);
        at = dim_add(d, at, dim[axis]);
    }
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t axis = ATTRS(e->g, e->n, Concat)->axis, dim[RANK_MAX], at = 0, o[RANK_MAX];
    if (axis < 0) axis += x->rank;
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    for (uint32_t k = 1; k < e->n_in; k++) dim[axis] += e->in[k]->dim[axis];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (uint32_t k = 0; y && k < e->n_in; k++) {
        for (int64_t i = 0; i < e->in[k]->count; i++) {
            unflatten(e->in[k], i, o);
            o[axis] += at;
            ev_copy(y, flat_index(y, o), e->in[k], i);
        }
        at += e->in[k]->dim[axis];
    }
    return y != NULL;
}

const OpDesc op_Concat = {.name = "Concat", .since = 13, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Concat),
                          .infer = infer, .propagate = propagate, .equivalent = equivalent, .joins = joins, .lower = lower, .grad = grad_concat, .eval = eval};
