/* grad.c: see grad.h. The sweep backwards over a graph:
 *   1. forward in list order: what depends on an x (active); backward from the y: which nodes lie between (the path)
 *   2. nodes on the path without a `grad` hook are expanded where they stand, until all have one
 *   3. backward over the path: contributions to a result's adjoint are complete when its node is reached, since all users stand behind it; the hook
 *      adds to those of the operands. Sums are made in the order of arrival: the same graph, the same bits.
 * Everything that the caller hands in is held by a node of its own meanwhile, so that expansions may replace it.
 * Reference: A. Griewank, A. Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 3. */
#include "ir/ops/grad.h"
#include "base/bug.h"
#include "ir/graph/attr.h"
#include <string.h>

/* ---- the sweep ---- */

typedef struct Sweep {
    Graph *g;
    Arena *arena;
    Node anchor;           /* operands: y, dy, x, stop */
    uint32_t n_y, n_x;
    Value *x;              /* when the sweep backward begins: hooks may replace results of their nodes */
    bool *leaf, *active;   /* by value */
    bool *path;            /* by node */
    Value *adjoint;        /* by value */
} Sweep;

bool grad_carries(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    while ((t->kind == TY_SEQ || t->kind == TY_OPT) && t->of.i) t = type_rec(&g->m->types, t->of);
    return t->kind == TY_TENSOR && dtype_is_float(t->elem) && DTS_FLOAT & DTS(t->elem);
}

static bool any_active(const Sweep *s, Node n)
{
    for (uint32_t k = 0; k < node_n_in(s->g, n); k++)
        if (s->active[node_in(s->g, n, k).i]) return true;
    return false;
}

static void mark(Sweep *s)
{
    Graph *g = s->g;
    bool *wanted = arena_array(s->arena, bool, g->value.n);
    s->leaf = arena_array(s->arena, bool, g->value.n);
    s->active = arena_array(s->arena, bool, g->value.n);
    s->path = arena_array(s->arena, bool, g->node.n);
    for (uint32_t k = 2 * s->n_y; k < node_n_in(g, s->anchor); k++) {
        Value v = node_in(g, s->anchor, k);
        s->leaf[v.i] = true;
        if (k < 2 * s->n_y + s->n_x) s->active[v.i] = grad_carries(g, v);
    }
    for (Node n = graph_first(g); n.i != s->anchor.i; n = node_next(g, n)) {
        if (node_desc(g, n)->grad == grad_zero || !any_active(s, n)) continue;
        for (uint32_t r = 0; r < node_n_out(g, n); r++) {
            Value v = node_out(g, n, r);
            if (!s->leaf[v.i]) s->active[v.i] = grad_carries(g, v);
        }
    }
    for (uint32_t k = 0; k < s->n_y; k++) wanted[node_in(g, s->anchor, k).i] = true;
    for (Node n = node_prev(g, s->anchor); n.i; n = node_prev(g, n)) {
        bool on = false;
        for (uint32_t r = 0; r < node_n_out(g, n); r++) {
            Value v = node_out(g, n, r);
            on |= wanted[v.i] && s->active[v.i] && !s->leaf[v.i];
        }
        s->path[n.i] = on;
        for (uint32_t k = 0; on && k < node_n_in(g, n); k++) wanted[node_in(g, n, k).i] |= s->active[node_in(g, n, k).i];
    }
}

static bool no_derivative(Graph *g, Node n, const char *why) { return diag(g->m->diag, graph_loc(g, n), E_GRADIENT, op_desc(node_rec(g, n)->op)->name, why); }

/* Expands what lies on the path and has no hook. */
static bool expand_path(Sweep *s, bool *changed)
{
    Graph *g = s->g;
    uint32_t nodes = g->node.n; /* those that `path` speaks of */
    *changed = false;
    for (Node n = graph_first(g), next; n.i != s->anchor.i; n = next) {
        next = node_next(g, n);
        const OpDesc *d = node_desc(g, n);
        if (n.i >= nodes || !s->path[n.i] || d->grad) continue;
        uint32_t before = g->node.n;
        int errors = g->m->diag->errors;
        /* what must_expand names are rare forms: the expansion says nothing of the others */
        bool rare = d->must_expand && !(d->flags & OPF_EXPANDS) && !d->must_expand(g, n);
        if (!d->expand || rare) return no_derivative(g, n, "the operator has no derivative");
        if (!d->expand(g, n)) return g->m->diag->errors > errors ? false : no_derivative(g, n, "this form cannot be expanded");
        for (uint32_t i = before; i < g->node.n; i++)
            if (!g->node.p[i].dead && !infer_node(g, (Node){i})) return false;
        if (!node_rec(g, n)->dead && !node_used(g, n)) graph_erase(g, n);
        *changed = true;
    }
    return true;
}

static void contribute(Sweep *s, Ex *x, Value v, Value dv)
{
    Value *sum = &s->adjoint[v.i];
    *sum = sum->i ? gr_sum_of(x, *sum, dv) : dv;
}

static bool node_backward(Sweep *s, Node n)
{
    Graph *g = s->g;
    uint32_t n_in = node_n_in(g, n), n_out = node_n_out(g, n);
    Value *dy = arena_array(s->arena, Value, n_out + 1), *dx = arena_array(s->arena, Value, n_in + 1);
    bool *need = arena_array(s->arena, bool, n_in + 1), any = false;
    for (uint32_t r = 0; r < n_out; r++) {
        Value v = node_out(g, n, r);
        if (!s->leaf[v.i]) dy[r] = s->adjoint[v.i];
        any |= dy[r].i != 0;
    }
    if (!any) return true;
    for (uint32_t k = 0; k < n_in; k++) need[k] = s->active[node_in(g, n, k).i];
    Grad c = {.x = {.g = g, .n = s->anchor, .loc = node_rec(g, n)->loc}, .g = g, .n = n, .dy = dy, .need = need, .dx = dx};
    int errors = g->m->diag->errors;
    if (!node_desc(g, n)->grad(&c) || c.x.failed) return g->m->diag->errors > errors ? false : no_derivative(g, n, "this form has no derivative");
    for (uint32_t k = 0; k < n_in; k++)
        if (need[k] && dx[k].i) contribute(s, &c.x, node_in(g, n, k), dx[k]);
    return !c.x.failed;
}

static bool sweep(Sweep *s)
{
    Graph *g = s->g;
    for (bool changed = true; changed;) {
        mark(s);
        if (!expand_path(s, &changed)) return false;
    }
    uint32_t nodes = g->node.n;
    s->adjoint = arena_array(s->arena, Value, g->value.n);
    s->x = arena_array(s->arena, Value, s->n_x + 1);
    for (uint32_t k = 0; k < s->n_x; k++) s->x[k] = node_in(g, s->anchor, 2 * s->n_y + k);
    Node last = node_prev(g, s->anchor);
    Ex x = {.g = g, .n = s->anchor, .loc = node_rec(g, s->anchor)->loc};
    for (uint32_t k = 0; k < s->n_y; k++)
        if (s->active[node_in(g, s->anchor, k).i]) contribute(s, &x, node_in(g, s->anchor, k), node_in(g, s->anchor, s->n_y + k));
    for (Node n = last; n.i; n = node_prev(g, n)) /* a hook may put nodes before its own */
        if (n.i < nodes && s->path[n.i] && !node_backward(s, n)) return false;
    return !x.failed;
}

bool grad_graph(Graph *g, Node at, Value *y, const Value *dy, uint32_t n_y, Value *x, uint32_t n_x, const Value *stop, uint32_t n_stop, Value *dx)
{
    Sweep s = {.g = g, .arena = g->m->arena, .n_y = n_y, .n_x = n_x};
    Value *held = arena_array(s.arena, Value, 2 * n_y + n_x + n_stop + 1);
    memcpy(held, y, n_y * sizeof *held);
    memcpy(held + n_y, dy, n_y * sizeof *held);
    memcpy(held + 2 * n_y, x, n_x * sizeof *held);
    if (n_stop) memcpy(held + 2 * n_y + n_x, stop, n_stop * sizeof *held);
    s.anchor = graph_add(g, OP_Group, held, 2 * n_y + n_x + n_stop, 0, NULL, at.i ? node_rec(g, at)->loc : (Loc){.node = -1}, at);
    bool ok = sweep(&s);
    for (uint32_t k = 0; k < n_y; k++) y[k] = node_in(g, s.anchor, k);
    for (uint32_t k = 0; k < n_x; k++) {
        dx[k] = ok ? s.adjoint[s.x[k].i] : VALUE_NONE;
        x[k] = node_in(g, s.anchor, 2 * n_y + k);
    }
    graph_erase(g, s.anchor);
    return ok;
}

bool grad_zero(Grad *c) { return (void)c, true; }

/* ---- for hooks ---- */

bool gr_refuse(Grad *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *why = arena_vprintf(c->g->m->arena, fmt, ap);
    va_end(ap);
    return no_derivative(c->g, c->n, why);
}

Value gr_num(Grad *c, double v, Value like) { return ex_f(&c->x, ex_elem(&c->x, like), v); }
Value gr_shape(Grad *c, Value v) { return ex1(&c->x, OP_Shape, v); }
Value gr_reshape(Grad *c, Value v, Value like)
{
    return ex_op(&c->x, OP_Reshape, (Value[]){v, gr_shape(c, like)}, 2, ex_set(&c->x, OP_Reshape, NULL, "allowzero", 1));
}
Value gr_expand(Grad *c, Value v, Value like) { return ex2(&c->x, OP_Expand, v, gr_shape(c, like)); }
Value gr_zeros(Grad *c, Value like) { return gr_expand(c, gr_num(c, 0, like), like); }
Value gr_sum(Grad *c, Value v, const int64_t *axes, uint32_t n, bool keep) { return n ? ex_reduce(&c->x, OP_ReduceSum, v, axes, n, keep) : v; }

Value gr_extent(Grad *c, Value v, const bool *axes, DType t)
{
    Value product = VALUE_NONE;
    for (int i = 0; i < ex_rank(&c->x, v); i++) {
        if (!axes[i]) continue;
        Value e = ex_shape_part(&c->x, v, i, i + 1);
        product = product.i ? gr_mul(c, product, e) : e;
    }
    return product.i ? ex_scalar(&c->x, product, t) : ex_f(&c->x, t, 1);
}

Value gr_count(Grad *c, Value v, DType t) { return ex_cast(&c->x, ex1(&c->x, OP_Size, v), t); }

Value gr_iota(Grad *c, Value like)
{
    Ex *x = &c->x;
    return gr_reshape(c, ex3(x, OP_Range, ex_i(x, DT_I64, 0), ex1(x, OP_Size, like), ex_i(x, DT_I64, 1)), like);
}

Value gr_scatter(Grad *c, Value like, Value at, Value dv, bool holes)
{
    Ex *x = &c->x;
    Value flat = ex_int1(x, -1), zero = ex_i(x, DT_I64, 0);
    if (holes) {
        Value hole = ex2(x, OP_Less, at, zero);
        at = gr_where(c, hole, zero, at);
        dv = gr_where(c, hole, gr_num(c, 0, dv), dv);
    }
    Value to = ex2(x, OP_Expand, gr_num(c, 0, like), ex2(x, OP_Unsqueeze, ex1(x, OP_Size, like), ex_int1(x, 0)));
    Value sum = ex_op(x, OP_ScatterElements, (Value[]){to, ex2(x, OP_Reshape, at, flat), ex2(x, OP_Reshape, dv, flat)}, 3,
                      ex_set_s(x, OP_ScatterElements, NULL, "reduction", "add"));
    return gr_reshape(c, sum, like);
}

/* Axes that were broadcast, where only the run knows them: those along which `like` has one element.
 *   axes = NonZero(like's extents, with ones in front == 1);   ReduceSum(v, axes) */
static Value fit_at_run_time(Grad *c, Value v, Value like, int lead)
{
    Ex *x = &c->x;
    int64_t ones[RANK_MAX];
    for (int i = 0; i < lead; i++) ones[i] = 1;
    Value extent = gr_shape(c, like), one = ex_i(x, DT_I64, 1);
    if (lead) extent = ex_axis(x, OP_Concat, (Value[]){ex_ints(x, ones, (uint32_t)lead), extent}, 2, 0);
    Value axes = ex2(x, OP_Squeeze, ex1(x, OP_NonZero, ex2(x, OP_Equal, extent, one)), ex_int1(x, 0));
    Value sum = ex_op(x, OP_ReduceSum, (Value[]){v, axes}, 2, ex_set(x, OP_ReduceSum, ex_set(x, OP_ReduceSum, NULL, "keepdims", 1), "noop_with_empty_axes", 1));
    return gr_reshape(c, sum, like);
}

Value gr_fit(Grad *c, Value v, Value like)
{
    Dims *d = &c->g->m->dims;
    if (c->x.failed) return VALUE_NONE;
    if (ex_rank(&c->x, v) < ex_rank(&c->x, like)) v = gr_expand(c, v, like);
    int lead = ex_rank(&c->x, v) - ex_rank(&c->x, like);
    int64_t axes[RANK_MAX];
    uint32_t n = 0;
    bool unknown = false, longer = false;
    if (c->x.failed) return VALUE_NONE;
    for (int i = 0; i < lead; i++) axes[n++] = i;
    for (int i = lead; i < ex_rank(&c->x, v); i++) {
        Dim a = gr_dim(c, v, i), b = gr_dim(c, like, i - lead);
        if (dim_eq(d, a, b) == TRI_YES) continue;
        if (dim_is(d, b, 1)) axes[n++] = i;
        else if (dim_is(d, a, 1)) longer = true;
        else unknown = true;
    }
    if (unknown) v = fit_at_run_time(c, v, like, lead);
    else if (n) {
        v = gr_sum(c, v, axes, n, false);
        if ((int)n > lead) v = gr_reshape(c, v, like);
    }
    return longer ? gr_expand(c, v, like) : v;
}

void gr_set(Grad *c, uint32_t k, Value v)
{
    if (!gr_need(c, k) || !v.i || c->x.failed) return;
    Value like = gr_in(c, k);
    if (gr_type(c, like)->kind != TY_TENSOR) {
        c->dx[k] = v;
        return;
    }
    c->dx[k] = ex_cast(&c->x, gr_fit(c, v, like), ex_elem(&c->x, like));
}

bool gr_written_out(Grad *c, const Value *y, uint32_t n)
{
    uint32_t n_in = node_n_in(c->g, c->n), n_y = 0, n_x = 0;
    Arena *a = c->g->m->arena;
    Value *of = arena_array(a, Value, n + 1), *dy = arena_array(a, Value, n + 1), *by = arena_array(a, Value, n_in + 1), *dx = arena_array(a, Value, n_in + 1);
    for (uint32_t r = 0; r < n; r++)
        if (c->dy[r].i) of[n_y] = y[r], dy[n_y++] = c->dy[r];
    for (uint32_t k = 0; k < n_in; k++)
        if (gr_need(c, k)) by[n_x++] = gr_in(c, k);
    if (c->x.failed || !grad_graph(c->g, c->x.n, of, dy, n_y, by, n_x, NULL, 0, dx)) return false;
    for (uint32_t k = 0, r = 0; k < n_in; k++)
        if (gr_need(c, k)) gr_set(c, k, dx[r++]);
    return true;
}

/* ---- attributes ---- */

static const void *field(const Grad *c, const char *name, bool *given)
{
    uint32_t k;
    const OpDesc *d = node_desc(c->g, c->n);
    const AttrSpec *s = attr_find(d, name, &k);
    if (!s) BUG("%s has no attribute '%s'", d->name, name);
    if (given) *given = attr_given(d, node_attrs(c->g, c->n), k);
    return (const char *)node_attrs(c->g, c->n) + s->offset;
}

int64_t gr_int(const Grad *c, const char *name) { return *(const int64_t *)field(c, name, NULL); }
double gr_float(const Grad *c, const char *name) { return (double)(float)*(const double *)field(c, name, NULL); }
const char *gr_string(const Grad *c, const char *name) { return *(const char *const *)field(c, name, NULL); }
AttrInts gr_ints(const Grad *c, const char *name) { return *(const AttrInts *)field(c, name, NULL); }
bool gr_given(const Grad *c, const char *name)
{
    bool given;
    (void)field(c, name, &given);
    return given;
}

Node gr_again(Grad *c, const Value *in, uint32_t n_in, uint32_t n_out)
{
    return ex_node(&c->x, node_rec(c->g, c->n)->op, in, n_in, n_out, node_attrs(c->g, c->n));
}
