/* layout: decides how results lie in memory. A tensor's shape never changes; the layout in its type says the order of its axes in memory.
 *   %y = Conv(%x, %w) : f32[N,64,56,56]              =>   : f32[N,64,56,56]@{0,2,3,1}
 *   %z = Relu(%y)     : f32[N,64,56,56]              =>   : f32[N,64,56,56]@{0,2,3,1}
 * Ops that work best channels-last (OPF_CHANNELS_LAST, or a group with such a member) get it, but for few channels that only the caller reads, and
 * pools, convolutions channel by channel and the like with no contraction beside them: an operand that lies so, or a reader that wants it. Views (Transpose, Slice, Reshape, ...) lie as their operand's memory
 * makes them. What stores by logical index follows its largest operand, channels-last first. Other contractions lie as the one Transpose that reads them wants it,
 * so that head splits and merges cost nothing. All else, and the model's inputs and outputs, are row-major; what must be row-major and is not is copied when lowered. */
#include "ir/ops/conv.h"
#include "passes/pass.h"

typedef struct Lo { PassCtx *c; Graph *g; Module *m; } Lo;

static const Layout *layout_rec(const Module *m, LayoutId l) { return &m->types.layout.p[l.i]; }

static bool tensor(const Graph *g, Value v)
{
    if (!v.i || !value_type(g, v).i) return false;
    const TypeRec *t = value_trec(g, v);
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && dtype_compute(t->elem) != DT_STR;
}

static LayoutId channels_last(Module *m, int rank)
{
    Layout l = {.rank = (uint8_t)rank};
    for (int i = 1; i < rank; i++) l.perm[i] = (uint8_t)(i < rank - 1 ? i + 1 : 1);
    return layout_intern(&m->types, &l);
}

static bool any_member(const Graph *g, Node n, bool (*is)(const Graph *, Node))
{
    if (node_rec(g, n)->op != OP_Group) return is(g, n);
    const Graph *r = node_rec(g, n)->region[0];
    for (Node k = graph_first(r); k.i; k = node_next(r, k))
        if (is(r, k)) return true;
    return false;
}
static bool wants_channels_last(const Graph *g, Node n) { return node_desc(g, n)->flags & OPF_CHANNELS_LAST; }
static bool contracts(const Graph *g, Node n) { return node_desc(g, n)->cls == CLS_CONTRACT && !conv_by_planes(g, n); }

static bool stores_anywhere(const OpDesc *d)
{
    return (d->flags & OPF_STRIDED_OUT) || (!d->lower && (d->cls == CLS_ELTWISE || d->route));
}

static void lies(Lo *s, Value v, Strided *x)
{
    const TypeRec *t = value_trec(s->g, v);
    *x = (Strided){.rank = t->rank};
    for (int i = 0; i < t->rank; i++) x->dim[i] = dim_resolve(&s->m->dims, t->dim[i]);
    strides_of_layout(&s->m->dims, t->layout.i ? layout_rec(s->m, t->layout) : NULL, x);
}

static LayoutId of_view(Lo *s, Node n, uint32_t r)
{
    Strided x, y;
    if (!tensor(s->g, node_in(s->g, n, 0))) return (LayoutId){0};
    lies(s, node_in(s->g, n, 0), &x);
    lies(s, node_out(s->g, n, r), &y);
    if (!node_desc(s->g, n)->view(s->g, n, r, &x, &y)) return (LayoutId){0};
    for (int i = 0; i < y.rank; i++)
        if (!y.stride[i].i) return (LayoutId){0};
    return layout_of_strides(&s->m->types, &y);
}

static bool same_dims(Lo *s, const TypeRec *a, const TypeRec *b)
{
    for (int i = 0; i < a->rank; i++)
        if (dim_eq(&s->m->dims, dim_resolve(&s->m->dims, a->dim[i]), dim_resolve(&s->m->dims, b->dim[i])) != TRI_YES) return false;
    return true;
}

static bool same_rank_dims(Lo *s, const TypeRec *a, const TypeRec *b)
{
    return a->rank != RANK_UNKNOWN && a->rank == b->rank && same_dims(s, a, b);
}

/* The layout of the operands that have as many elements as the result or, if there is none, of the first of its rank. */
static LayoutId followed(Lo *s, Node n, Value out)
{
    const TypeRec *t = value_trec(s->g, out);
    LayoutId last = channels_last(s->m, t->rank), best = {0};
    int rank = -1;
    for (uint32_t k = 0; k < node_n_in(s->g, n); k++) {
        Value v = node_in(s->g, n, k);
        if (!tensor(s->g, v) || value_is_const(s->g, v) || value_rec(s->g, v)->content) continue;
        const TypeRec *x = value_trec(s->g, v);
        if (x->rank != t->rank) continue;
        int worth = (same_dims(s, x, t) ? 4 : 0) + (t->rank > 2 && x->layout.i == last.i && last.i ? 2 : x->layout.i ? 0 : 1);
        if (worth > rank) {
            rank = worth;
            best = x->layout;
        }
    }
    return best;
}

/* The order that makes the one Transpose that reads the value a row-major view; the innermost axis must stay. */
static LayoutId as_transposed(Lo *s, Value out)
{
    Node user = value_single_user(s->g, out);
    const TypeRec *t = value_trec(s->g, out);
    if (!user.i || node_rec(s->g, user)->op != OP_Transpose || value_rec(s->g, out)->n_out_use) return (LayoutId){0};
    Strided x, y;
    Layout l = {.rank = t->rank};
    lies(s, out, &x);
    for (int i = 0; i < x.rank; i++) x.stride[i] = dim_const(&s->m->dims, i + 1);   /* names of the axes */
    lies(s, node_out(s->g, user, 0), &y);
    if (!node_desc(s->g, user)->view(s->g, user, 0, &x, &y)) return (LayoutId){0};
    for (int i = 0; i < y.rank; i++) {
        int64_t a;
        if (!dim_is_const(&s->m->dims, y.stride[i], &a)) return (LayoutId){0};
        l.perm[i] = (uint8_t)(a - 1);
    }
    return l.perm[l.rank - 1] == l.rank - 1 ? layout_intern(&s->m->types, &l) : (LayoutId){0};
}

/* Few channels that nobody reads but the caller, who wants them row-major: stored apart at once, not copied behind. */
static bool leaves(Lo *s, Value out)
{
    enum { FEW = 8 };
    int64_t channels;
    const ValueRec *v = value_rec(s->g, out);
    return v->n_out_use && !v->n_use && dim_is_const(&s->m->dims, dim_resolve(&s->m->dims, value_trec(s->g, out)->dim[1]), &channels) && channels <= FEW;
}

static bool reads_channels_last(const Graph *g, Node n) { return wants_channels_last(g, n) && !conv_by_planes(g, n); }

/* An operand lies channels-last, or a reader wants it so. */
static bool among_channels_last(Lo *s, Node n, Value out)
{
    LayoutId last = channels_last(s->m, value_trec(s->g, out)->rank);
    for (uint32_t k = 0; k < node_n_in(s->g, n); k++)
        if (tensor(s->g, node_in(s->g, n, k)) && value_trec(s->g, node_in(s->g, n, k))->layout.i == last.i) return true;
    for (uint32_t u = value_rec(s->g, out)->first_use; u; u = s->g->operand.p[u - 1].next_use)
        if (any_member(s->g, s->g->operand.p[u - 1].user, reads_channels_last)) return true;
    return false;
}

static LayoutId decide(Lo *s, Node n, uint32_t r)
{
    const OpDesc *d = node_desc(s->g, n);
    Value out = node_out(s->g, n, r);
    int rank = value_trec(s->g, out)->rank;
    if (rank < 2 || value_rec(s->g, out)->content) return (LayoutId){0};
    if (d->view) return of_view(s, n, r);
    if (!stores_anywhere(d)) return (LayoutId){0};
    bool product = any_member(s->g, n, contracts);
    if (any_member(s->g, n, wants_channels_last) && (product || among_channels_last(s, n, out)))
        return rank > 2 && !leaves(s, out) ? channels_last(s->m, rank) : (LayoutId){0};
    if (product) return as_transposed(s, out);
    return followed(s, n, out);
}

/* The values inside that have the result's dims lie as it does: that is the order of the loops. */
static void members_follow(Lo *s, Node n, LayoutId l)
{
    Graph *r = node_rec(s->g, n)->region[0];
    for (uint32_t k = 0; k < r->in.n; k++) value_rec(r, r->in.p[k])->type = value_type(s->g, node_in(s->g, n, k));
    for (Node k = graph_first(r); k.i; k = node_next(r, k))
        for (uint32_t o = 0; o < node_n_out(r, k); o++) {
            ValueRec *v = value_rec(r, node_out(r, k, o));
            TypeRec t = *type_rec(&s->m->types, v->type);
            if (t.kind != TY_TENSOR || !same_rank_dims(s, &t, value_trec(s->g, node_out(s->g, n, 0)))) continue;
            t.layout = l;
            v->type = type_intern(&s->m->types, &t);
        }
}

static bool layout_graph(PassCtx *c, Graph *g)
{
    Lo s = {c, g, c->m};
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        if (node_rec(g, n)->op != OP_Group)
            for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) changed |= layout_graph(c, node_rec(g, n)->region[k]);
        for (uint32_t r = 0; r < node_n_out(g, n); r++) {
            Value v = node_out(g, n, r);
            if (!tensor(g, v)) continue;
            TypeRec t = *value_trec(g, v);
            LayoutId l = decide(&s, n, r);
            if (t.layout.i == l.i || !pass_may_rewrite(c)) continue;
            t.layout = l;
            value_rec(g, v)->type = type_intern(&c->m->types, &t);
            if (!node_desc(g, n)->view) pass_count(c, "values", 1);
            changed = true;
        }
        if (node_rec(g, n)->op == OP_Group) members_follow(&s, n, value_trec(g, node_out(g, n, 0))->layout);
    }
    return changed;
}

static PassResult run(PassCtx *c) { return layout_graph(c, c->m->entry) ? PASS_CHANGED : PASS_UNCHANGED; }

const Pass pass_layout = {.name = "layout", .brief = "how results lie in memory: channels-last around convolutions, views elsewhere", .run = run};
