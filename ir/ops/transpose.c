/* transpose.c: Transpose: element out[i0, i1, ...] = in[i at its axis]: a route; constant operands of contractions keep it as strides (passes). */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"

static const Port P_ANY[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"transposed", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
typedef struct Transpose { uint64_t set; AttrInts perm; } Transpose;
static const AttrSpec ATTRS_[] = {A_INTS(Transpose, perm), A_END};

extern const OpDesc op_Transpose;
static int64_t perm_at(const Transpose *a, int rank, int i) { return a->set & 1 ? a->perm.p[i] : rank - 1 - i; }

bool transpose_swaps(const Graph *g, Node n)
{
    if (node_desc(g, n) != &op_Transpose || type_rec(&g->m->types, value_type(g, node_in(g, n, 0)))->rank != 2) return false;
    const Transpose *a = node_attrs(g, n);
    return perm_at(a, 2, 0) == 1;
}

static bool infer(Infer *c)
{
    const Transpose *a = ATTRS(c->g, c->n, Transpose);
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    bool mark[RANK_MAX];
    int64_t bad;
    Dim dim[RANK_MAX];
    if (a->set & 1) {
        for (uint32_t k = 0; k < a->perm.n; k++)
            if (a->perm.p[k] < 0) return infer_fail(c, "perm has %lld", (long long)a->perm.p[k]);
        if ((int)a->perm.n != rank || !axes_mark(a->perm.p, a->perm.n, rank, mark, &bad)) return infer_fail(c, "perm is not a permutation of %d axes", rank);
    }
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, (int)perm_at(a, rank, i));
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    if (infer_rank(c, 0) == 1 && infer_content(c, 0, &d, &n)) infer_set_content(c, 0, d, n);
    return true;
}

static Value equivalent(Graph *g, Node n, uint32_t r)
{
    (void)r;
    const Transpose *a = ATTRS(g, n, Transpose);
    int rank = value_trec(g, node_in(g, n, 0))->rank;
    for (int i = 0; i < rank; i++)
        if (perm_at(a, rank, i) != i) return VALUE_NONE;
    return node_in(g, n, 0);
}

/* Transpose(Transpose(x, p), q)  =>  Transpose(x, p[q]) */
static bool rewrite(Graph *g, Node n)
{
    const Transpose *a = ATTRS(g, n, Transpose);
    Node p = value_rec(g, node_in(g, n, 0))->def;
    if (!p.i || node_rec(g, p)->op != OP_Transpose) return false;
    const Transpose *b = ATTRS(g, p, Transpose);
    int rank = value_trec(g, node_in(g, n, 0))->rank;
    int64_t *q = arena_array(g->m->arena, int64_t, rank + 1);
    for (int i = 0; i < rank; i++) q[i] = perm_at(b, rank, (int)perm_at(a, rank, i));
    Transpose t = {1, {q, (uint32_t)rank}};
    Node m = graph_add(g, OP_Transpose, (Value[]){node_in(g, p, 0)}, 1, 1, &t, node_rec(g, n)->loc, n);
    value_rec(g, node_out(g, m, 0))->type = value_type(g, node_out(g, n, 0));
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, m, 0));
    return true;
}

static bool route(Lw *l, Node n, const KVal *out, Route *r)
{
    const Transpose *a = ATTRS(l->g, n, Transpose);
    int rank = value_trec(l->g, node_in(l->g, n, 0))->rank;
    for (int i = 0; i < rank; i++) r->idx[perm_at(a, rank, i)] = out[i];
    return true;
}

static bool view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    const Transpose *a = ATTRS(g, n, Transpose);
    (void)r;
    for (int i = 0; i < x->rank; i++) y->stride[i] = x->stride[perm_at(a, x->rank, i)];
    y->offset = x->offset;
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const Transpose *a = ATTRS(e->g, e->n, Transpose);
    int64_t dim[RANK_MAX], o[RANK_MAX], i[RANK_MAX];
    for (int k = 0; k < x->rank; k++) dim[k] = x->dim[perm_at(a, x->rank, k)];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, o);
        for (int r = 0; r < x->rank; r++) i[perm_at(a, x->rank, r)] = o[r];
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

const OpDesc op_Transpose = {.name = "Transpose", .since = 25, .cls = CLS_MOVE, .in = P_ANY, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Transpose),
                             .infer = infer, .propagate = propagate, .equivalent = equivalent, .rewrite = rewrite, .route = route, .view = view, .grad = grad_transpose, .eval = eval};
