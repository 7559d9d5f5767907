/* expand.c: Expand (numpy broadcasting to a shape) and Tile (repetition along each axis): routes. */
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"

static const Port P_EXPAND[] = {{"input", DTS_MOVE, 0, 1}, {"shape", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_TILE[] = {{"input", DTS_MOVE, 0, 1}, {"repeats", DTS(DT_I64) | DTS_FLOAT, PORT_SHAPE, 0},
                              {"axis", DTS(DT_I64) | DTS_FLOAT, PORT_SHAPE | PORT_OPTIONAL, 0}, PORT_END};   /* floats, axis: opset 1 */
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};

/* Known at compile time, or as many fresh symbols as the shape operand is long. */
static bool dims_of(Infer *c, const Dim **want, uint32_t *n)
{
    int64_t k;
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 1, 1)) return false;
    if (infer_content(c, 1, want, n)) return *n <= RANK_MAX || infer_fail(c, "the result would have rank %u", *n);
    *want = NULL;
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &k) || k > RANK_MAX) return infer_fail(c, "the rank of the result must be known at compile time");
    *n = (uint32_t)k;
    return true;
}

static bool expand_infer(Infer *c)
{
    const Dim *want;
    uint32_t n;
    Dim dim[RANK_MAX];
    if (!dims_of(c, &want, &n)) return false;
    int rank = infer_rank(c, 0) > (int)n ? infer_rank(c, 0) : (int)n;
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - infer_rank(c, 0)), b = i - (rank - (int)n);
        Dim x = a < 0 ? dim_const(c->d, 1) : infer_dim(c, 0, a);
        if (b < 0) dim[i] = x;
        else if (!want) {   /* an extent above 1 stays: nothing else broadcasts with it */
            int64_t lo, hi;
            dim_bounds(c->d, x, &lo, &hi);
            dim[i] = lo > 1 ? x : infer_node_dim(c, 0, i, 0, INT64_MAX);
        }
        else {
            Dim w = dim_resolve(c->d, want[b]);
            int64_t p, q;
            if (dim_is_const(c->d, x, &p) && dim_is_const(c->d, w, &q) && p != q && p != 1 && q != 1)
                return infer_fail(c, "dimension %lld cannot be expanded to %lld", (long long)p, (long long)q);
            dim[i] = dim_is(c->d, x, 1) || dim_eq(c->d, x, w) == TRI_YES ? w : dim_is(c->d, w, 1) ? x : dim_bcast(c->d, x, w);
        }
    }
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool expand_propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    int64_t k;
    Dim o[CONTENT_MAX];
    const TypeRec *t = value_trec(c->g, node_out(c->g, c->n, 0));
    if (!infer_content(c, 0, &d, &n) || t->rank != 1 || !dim_is_const(c->d, t->dim[0], &k) || k > CONTENT_MAX || (n != 1 && n != k)) return true;
    for (int64_t i = 0; i < k; i++) o[i] = d[n == 1 ? 0 : i];
    infer_set_content(c, 0, o, (uint32_t)k);
    return true;
}

/* Where the shape is computed while running, the result's dims are the broadcast of both. */
static bool bind(Lw *l, bool tile)
{
    Dim want[RANK_MAX], dim[RANK_MAX];
    Dims *d = &l->m->dims;
    uint32_t n;
    if (value_rec(l->g, node_in(l->g, l->n, 1))->content || value_is_const(l->g, node_in(l->g, l->n, 1))) return true;
    int rank = lw_out_rank(l, 0), in = lw_rank(l, 0);
    if (tile ? !lw_values_n(l, 1, want, n = (uint32_t)in) : !lw_values(l, 1, want, RANK_MAX, &n)) return false;
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - in), b = i - (rank - (int)n);
        Dim x = a < 0 ? dim_const(d, 1) : lw_dim(l, 0, a);
        if (b >= 0 && !tile && !dim_is(d, x, 1)) {
            KStep *s = lw_step(l, KST_CHECK);
            s->a = x, s->b = want[b], s->rel = KREL_BCAST, s->msg = "a dimension of {got} cannot be expanded to {want}";
        }
        dim[i] = b < 0 ? x : tile ? dim_mul(d, x, want[b]) : dim_bcast(d, x, want[b]);
    }
    lw_bind_dims(l, 0, dim);
    return true;
}

static bool nest(Lw *l, Node n, const char *stem)
{
    if (!bind(l, node_rec(l->g, n)->op == OP_Tile)) return false;
    lw_prepare_in(l);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, stem);
    KVal out[RANK_MAX], idx[RANK_MAX];
    lw_nest_over(l, 0, out);
    Route r = {.idx = idx};
    (void)b;
    node_desc(l->g, n)->route(l, n, out, &r);
    lw_put(l, 0, out, lw_at(l, 0, idx));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}
/* Distances of 0 where an extent is repeated. */
static bool expand_view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    Dims *d = &g->m->dims;
    (void)r;
    if (!value_rec(g, node_in(g, n, 1))->content && !value_is_const(g, node_in(g, n, 1))) return false;
    y->offset = x->offset;
    for (int o = 0; o < y->rank; o++) {
        int i = o + x->rank - y->rank;
        if (i < 0 || dim_is(d, x->dim[i], 1)) y->stride[o] = dim_const(d, 0);
        else if (dim_eq(d, x->dim[i], y->dim[o]) == TRI_YES) y->stride[o] = x->stride[i];
        else return false;
    }
    return true;
}

static bool expand_lower(Lw *l, Node n) { return nest(l, n, "expand"); }

/* Loops over the repetitions and over the operand's extent: no index is divided. */
static bool tile_lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    Dim times[RANK_MAX];
    KVal out[RANK_MAX], idx[RANK_MAX], rep[RANK_MAX];
    int rank = lw_rank(l, 0), loops = 0;
    const TypeRec *y = value_trec(l->g, node_out(l->g, n, 0));
    if (y->layout.i || !lw_values_n(l, 1, times, (uint32_t)rank)) return nest(l, n, "tile");
    if (!bind(l, true)) return false;
    lw_prepare_in(l);
    lw_out(l, 0);
    bool filled = true;
    Dim all = dim_const(d, 1);
    for (int i = 0; i < rank; i++) {
        int64_t lo, hi;
        dim_bounds(d, lw_dim(l, 0, i), &lo, &hi);
        filled &= lo > 0;
        all = dim_mul(d, all, lw_out_dim(l, 0, i));
    }
    Kb *b = lw_kernel(l, "tile");
    for (int i = 0; i < rank; i++) {
        bool again = !dim_is(d, times[i], 1);
        if (again) rep[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, filled ? times[i] : dim_min(d, times[i], all))); /* 2^62 times nothing is nothing */
        idx[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)));
        loops += 1 + again;
        out[i] = again ? kb_add(b, kb_mul(b, rep[i], kb_dim(b, lw_dim(l, 0, i))), idx[i]) : idx[i];
    }
    lw_put(l, 0, out, lw_at(l, 0, idx));
    lw_end_nest(l, loops);
    lw_kernel_end(l);
    return true;
}


static bool expand_route(Lw *l, Node n, const KVal *out, Route *r)
{
    const TypeRec *x = value_trec(l->g, node_in(l->g, n, 0)), *y = value_trec(l->g, node_out(l->g, n, 0));
    for (int i = 0; i < x->rank; i++) {
        int o = i + y->rank - x->rank;
        int64_t lo, hi;
        dim_bounds(&l->m->dims, x->dim[i], &lo, &hi);
        if (dim_is(&l->m->dims, dim_resolve(&l->m->dims, x->dim[i]), 1)) r->idx[i] = kb_i(l->b, 0);
        else if (lo > 1 || dim_eq(&l->m->dims, x->dim[i], y->dim[o]) == TRI_YES) r->idx[i] = out[o];
        else r->idx[i] = kb_mul(l->b, out[o], kb_cast(l->b, DT_I64, kb_bin(l->b, KOP_NE, kb_dim(l->b, x->dim[i]), kb_i(l->b, 1))));
    }
    return true;
}

static bool eval_from(Eval *e, int rank, const int64_t *dim, bool tile)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    int64_t o[RANK_MAX], i[RANK_MAX];
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, o);
        for (int a = 0; a < x->rank; a++) i[a] = tile ? o[a] % x->dim[a] : x->dim[a] == 1 ? 0 : o[a + rank - x->rank];
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

static bool expand_eval(Eval *e)
{
    const Tensor *x = e->in[0], *s = e->in[1];
    int rank = x->rank > (int)s->count ? x->rank : (int)s->count;
    int64_t dim[RANK_MAX];
    if (rank > RANK_MAX) return ev_fail(e, "rank too large");
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - x->rank), b = i - (rank - (int)s->count);
        int64_t p = a < 0 ? 1 : x->dim[a], q = b < 0 ? 1 : ev_i(s, b);
        if (p != q && p != 1 && q != 1) return ev_fail(e, "dimension %lld cannot be expanded to %lld", (long long)p, (long long)q);
        dim[i] = p == 1 ? q : p;
    }
    return eval_from(e, rank, dim, false);
}

static Value nothing_new(Graph *g, Node n, uint32_t r) { return (void)r, axes_unmoved(g, n); }

const OpDesc op_Expand = {.name = "Expand", .since = 13, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .knows = 2, .in = P_EXPAND, .out = P_OUT, .infer = expand_infer, .propagate = expand_propagate, .equivalent = nothing_new,
                          .route = expand_route, .view = expand_view, .lower = expand_lower, .grad = grad_expand, .eval = expand_eval};

/* ---- Tile ---- */

/* A node before n, not inferred. */
static Value plain(Graph *g, Node n, OpCode op, const Value *in, uint32_t n_in, const void *attrs)
{
    return node_out(g, graph_add(g, op, in, n_in, 1, attrs, node_rec(g, n)->loc, n), 0);
}

/* Opset 1: Tile(x, tiles, axis)  =>  Tile(x, [1, .., tiles, .., 1]):  tiles at the axis, of all axes 0, 1, ..
 * In terms of the rank of x as a value: it need not be known here. */
static bool tile_upgrade(Graph *g, Node n, int64_t opset)
{
    if (opset >= 6 || node_n_in(g, n) < 3) return true;
    Ex x = ex_begin(g, n);
    Value zero = ex_i(&x, DT_I64, 0), one = ex_i(&x, DT_I64, 1);
    const void *i64 = ex_set(&x, OP_Cast, NULL, "to", DT_I64);
    Value shape = plain(g, n, OP_Shape, (Value[]){ex_in(&x, 0)}, 1, NULL), rank = plain(g, n, OP_Size, &shape, 1, NULL);
    Value axes = plain(g, n, OP_Range, (Value[]){zero, rank, one}, 3, NULL), at = plain(g, n, OP_Cast, (Value[]){ex_in(&x, 2)}, 1, i64);
    Value here = plain(g, n, OP_Equal, (Value[]){axes, at}, 2, NULL), tiles = plain(g, n, OP_Cast, (Value[]){ex_in(&x, 1)}, 1, i64);
    Value repeats = plain(g, n, OP_Where, (Value[]){here, tiles, one}, 3, NULL);
    graph_set_input(g, n, 1, repeats);
    graph_set_input(g, n, 2, VALUE_NONE);
    return true;
}

/* Repeats of a length that only the run knows: they are as many as the axes, which the Reshape before them checks. */
static bool as_many(Infer *c)
{
    int64_t len, rank = infer_rank(c, 0);
    if (dim_is_const(c->d, infer_dim(c, 1, 0), &len)) return true;
    Dim one = dim_const(c->d, 1);
    Value want = graph_const(c->g, blob_inline(&c->m->blobs, DT_I64, 1, &rank), type_tensor(&c->m->types, DT_I64, 1, &one), (Name){0});
    Ex x = {.g = c->g, .n = c->n};
    Node s = graph_add(c->g, OP_Reshape, (Value[]){node_in(c->g, c->n, 1), want}, 2, 1, ex_set(&x, OP_Reshape, NULL, "allowzero", 1),
                       node_rec(c->g, c->n)->loc, c->n);
    graph_set_input(c->g, c->n, 1, node_out(c->g, s, 0));
    return infer_node(c->g, s);
}

static bool tile_infer(Infer *c)
{
    if (infer_has(c, 2) || infer_elem(c, 1) != DT_I64) return infer_fail(c, "repeats are int64, and there is no third input");
    const Dim *want;
    uint32_t n;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 1, 1) || !as_many(c)) return false;
    if (!dims_of(c, &want, &n)) return false;
    if ((int)n != infer_rank(c, 0)) return infer_fail(c, "repeats has %u entries for an input of rank %d", n, infer_rank(c, 0));
    for (uint32_t i = 0; i < n; i++) dim[i] = want ? dim_mul(c->d, infer_dim(c, 0, (int)i), want[i]) : infer_node_dim(c, 0, (int)i, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), (int)n, dim);
}

static bool tile_route(Lw *l, Node n, const KVal *out, Route *r)
{
    const TypeRec *x = value_trec(l->g, node_in(l->g, n, 0));
    for (int i = 0; i < x->rank; i++)
        r->idx[i] = dim_eq(&l->m->dims, x->dim[i], value_trec(l->g, node_out(l->g, n, 0))->dim[i]) == TRI_YES ? out[i] : kb_bin(l->b, KOP_REM, out[i], kb_dim(l->b, x->dim[i]));
    return true;
}

static bool tile_eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    if (e->in[1]->count != e->in[0]->rank) return ev_fail(e, "repeats does not fit the rank");
    for (int i = 0; i < e->in[0]->rank; i++) dim[i] = e->in[0]->dim[i] * ev_i(e->in[1], i);
    return eval_from(e, e->in[0]->rank, dim, true);
}

const OpDesc op_Tile = {.name = "Tile", .since = 13, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .in = P_TILE, .out = P_OUT, .upgrade = tile_upgrade, .infer = tile_infer, .equivalent = nothing_new, .route = tile_route, .lower = tile_lower, .grad = grad_tile, .eval = tile_eval};
