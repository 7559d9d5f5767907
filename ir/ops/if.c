/* if.c: If: runs one of two closed graphs.
 * Operands: cond, captures...; both regions take the captures. A result's type joins the branches' (differing dims become node symbols that each branch binds).
 * A branch that does not type-check is an error only when it is proven taken: else it becomes a Fail node with the same message, so that exporters' dead
 * branches (shape tests of another rank, say) do no harm. A constant condition leaves one branch. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include <string.h>

static const Port IN[] = {{"cond", DTS_BOOL, 0, 0}, {"captures", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port OUT[] = {{"outputs", DTS_MOVE, PORT_VARIADIC | PORT_ANY_KIND, 0}, PORT_END};
typedef struct If { uint64_t set; } If;
static const AttrSpec ATTRS_[] = {{.name = "then_branch", .kind = ATTR_GRAPH, .def_i = 0}, {.name = "else_branch", .kind = ATTR_GRAPH, .def_i = 1}, A_END};

typedef struct FailText { uint64_t set; const char *message; } FailText;   /* of Fail */

static bool known_cond(Infer *c, bool *taken)
{
    int64_t v;
    uint32_t n;
    if (!infer_ints(c, 0, &v, 1, &n) || n != 1) return false;
    *taken = v != 0;
    return true;
}

static void bind_captures(Infer *c, Graph *r)
{
    for (uint32_t k = 0; k < r->in.n; k++) {
        Value from = node_in(c->g, c->n, 1 + k);
        value_rec(r, r->in.p[k])->type = value_type(c->g, from);
        value_rec(r, r->in.p[k])->content = value_rec(c->g, from)->content;
    }
}

/* The body becomes one Fail node whose results have the other branch's types. */
static void make_fail(Infer *c, Graph *r, const Graph *other, const char *why)
{
    for (Node n = graph_last(r), p; n.i; n = p) {
        p = node_prev(r, n);
        for (uint32_t k = 0; k < node_n_out(r, n); k++) {
            ValueRec *v = value_rec(r, node_out(r, n, k));
            if (v->n_out_use) graph_set_outputs(r, NULL, 0);
        }
        graph_erase(r, n);
    }
    FailText fail = {1, arena_strdup(c->m->arena, why)};
    Node f = graph_add(r, OP_Fail, NULL, 0, other->out.n, &fail, node_rec(c->g, c->n)->loc, NODE_NONE);
    Value *o = arena_array(c->m->arena, Value, other->out.n);
    for (uint32_t k = 0; k < other->out.n; k++) {
        o[k] = node_out(r, f, k);
        value_rec(r, o[k])->type = value_type(other, other->out.p[k]);
    }
    graph_set_outputs(r, o, other->out.n);
}

/* Did a branch fail for want of a rank that something from outside does not have yet? That says nothing of it. */
static bool too_early(const Infer *c, const DiagFirst *why)
{
    bool open = false;
    for (uint32_t k = 1; k < node_n_in(c->g, c->n); k++) {
        const TypeRec *t = value_trec(c->g, node_in(c->g, c->n, k));
        open |= t->kind == TY_TENSOR && t->rank == RANK_UNKNOWN;
    }
    return open && why->id == E_UNKNOWN_RANK;
}

static bool fails(const Graph *r) { return graph_first(r).i && node_rec(r, graph_first(r))->op == OP_Fail; }
static const char *why_fails(const Graph *r) { return ((const FailText *)node_attrs(r, graph_first(r)))->message; }

/* A branch that fails gives whatever the other one does. */
static void fail_as(Graph *r, const Graph *other)
{
    for (uint32_t k = 0; k < r->out.n; k++) value_rec(r, r->out.p[k])->type = value_type(other, other->out.p[k]);
}

static void find_sym(void *arg, Sym s) { ((bool *)arg)[s.i] = true; }

/* Has a type that an earlier run gave dims that this node binds? Others speak of them by now: checks, and types that were joined. */
static bool binds_own(const Infer *c, TypeId t, TypeId instead)
{
    const TypeRec *old = t.i ? type_rec(&c->m->types, t) : NULL, *by = type_rec(&c->m->types, instead);
    if (!old || t.i == instead.i || old->kind != TY_TENSOR || by->kind != TY_TENSOR || old->rank == RANK_UNKNOWN || old->rank != by->rank) return false;
    bool *outer = arena_array(c->m->arena, bool, c->m->dims.sym.n);
    for (uint32_t k = 1; k < node_n_in(c->g, c->n); k++) {
        const TypeRec *in = value_trec(c->g, node_in(c->g, c->n, k));
        for (int a = 0; in->kind == TY_TENSOR && in->rank != RANK_UNKNOWN && a < in->rank; a++) dim_each_sym(&c->m->dims, in->dim[a], find_sym, outer);
    }
    for (int a = 0; a < old->rank; a++) {
        const DimRec *d = &c->m->dims.rec.p[old->dim[a].i];
        if (d->kind == DIM_SYM && c->m->dims.sym.p[d->sym.i].kind == SYM_NODE && !outer[d->sym.i]) return true;
    }
    return false;
}

static bool infer(Infer *c)
{
    if (!infer_one_element(c, 0, -1)) return false;   /* may make a node */
    NodeRec *n = node_rec(c->g, c->n);
    Graph *br[2] = {n->region[0], n->region[1]};
    DiagFirst why[2];
    bool taken = false, known = known_cond(c, &taken), ok[2];
    for (int k = 0; k < 2; k++) {
        if (br[k]->in.n != n->n_capture) return infer_fail(c, "a branch of If takes no inputs of its own");
        bind_captures(c, br[k]);
        if (br[k]->out.n != node_n_out(c->g, c->n)) return infer_fail(c, "a branch has %u results, the node %u", br[k]->out.n, node_n_out(c->g, c->n));
    }
    if (known) {   /* the other branch is never run: it need not even make sense */
        if (!infer_graph(br[taken ? 0 : 1])) return false;
        if (fails(br[taken ? 0 : 1])) return infer_fail(c, "%s", why_fails(br[taken ? 0 : 1]));
        for (uint32_t r = 0; r < node_n_out(c->g, c->n); r++) {
            Value v = br[taken ? 0 : 1]->out.p[r];
            TypeId t = value_type(br[taken ? 0 : 1], v);
            ValueRec *res = value_rec(c->g, node_out(c->g, c->n, r));
            if (!binds_own(c, res->type, t) && !infer_set_type(c, r, t)) return false;
            value_rec(c->g, node_out(c->g, c->n, r))->content = infer_value_content(br[taken ? 0 : 1], v);
        }
        Graph *dead = br[taken ? 1 : 0];
        if (!infer_try(dead, why) && !too_early(c, why)) make_fail(c, dead, br[taken ? 0 : 1], why->text);
        if (fails(dead)) fail_as(dead, br[taken ? 0 : 1]);
        return true;
    }
    for (int k = 0; k < 2; k++) ok[k] = infer_try(br[k], &why[k]);
    if (!ok[0] && !ok[1]) return infer_graph(br[0]) && false;
    for (int k = 0; k < 2; k++)
        if (!ok[k] && too_early(c, &why[k])) return infer_graph(br[k]) && false;
    for (int k = 0; k < 2; k++)   /* whichever is taken fails: so does this node, in whatever branch it stands */
        if (!ok[k] && fails(br[1 - k])) return infer_fail(c, "%s", why[k].text);
    if (fails(br[0]) && fails(br[1])) return infer_fail(c, "%s", why_fails(br[0]));
    for (int k = 0; k < 2; k++) {
        if (!ok[k]) make_fail(c, br[k], br[1 - k], why[k].text);
        if (fails(br[k]) && !fails(br[1 - k])) fail_as(br[k], br[1 - k]);
    }
    for (uint32_t r = 0; r < node_n_out(c->g, c->n); r++) {
        ValueRec *res = value_rec(c->g, node_out(c->g, c->n, r));
        TypeId a = value_type(br[0], br[0]->out.p[r]), b = value_type(br[1], br[1]->out.p[r]), t;
        if (res->type.i && (a.i != b.i || binds_own(c, res->type, a))) continue;   /* joined by an earlier run: keep its symbols */
        if (!infer_join(c->m, a, b, "if", &t)) return infer_fail(c, "the branches give different types for result %u", r);
        if (!infer_set_type(c, r, t)) return false;
    }
    return true;
}

/* Has its place before the branches run: sequences do, whatever they will hold. */
static bool planned(Lw *l, uint32_t r)
{
    const TypeRec *t = value_trec(l->g, node_out(l->g, l->n, r));
    for (int i = 0; t->kind == TY_TENSOR && i < t->rank; i++)
        if (dim_has_kind(&l->m->dims, lw_out_dim(l, r, i), SYM_NODE)) return false;
    return true;
}

/* Is a branch's result of another shape than what follows asks for, whatever the run? */
static bool never_fits(Lw *l, uint32_t r, const TypeRec *t)
{
    for (int i = 0; t->kind == TY_TENSOR && i < t->rank; i++)
        if (dim_eq(&l->m->dims, dim_resolve(&l->m->dims, lw_out_dim(l, r, i)), dim_resolve(&l->m->dims, t->dim[i])) == TRI_NO) return true;
    return false;
}

static bool lower(Lw *l, Node n)
{
    uint32_t n_out = node_n_out(l->g, n), n_cap = node_n_in(l->g, n) - 1;
    KBuf *cap = arena_array(l->m->arena, KBuf, n_cap + 1), *res = arena_array(l->m->arena, KBuf, n_out + 1);
    for (uint32_t k = 0; k < n_cap; k++) cap[k] = lw_in(l, 1 + k);
    const Content *c = value_rec(l->g, node_in(l->g, n, 0))->content;
    int64_t known;
    KStep *s = NULL;
    int only = -1;
    if (c && dim_is_const(&l->m->dims, c->d[0], &known)) only = known ? 0 : 1;
    else {
        Dim cond[1];
        if (!lw_values_n(l, 0, cond, 1)) return false;
        s = lw_step(l, KST_IF);
        s->a = cond[0];
        s->body = arena_new(l->k->arena, KSteps);
        s->other = arena_new(l->k->arena, KSteps);
    }
    /* planned results exist before the branches; boxed ones are sized by each branch, in one slot for both */
    KSteps *outer = l->steps;
    bool may_lose = only < 0 && !fails(node_rec(l->g, n)->region[0]) && !fails(node_rec(l->g, n)->region[1]);
    for (int k = 0; k < 2; k++) {
        if (only >= 0 && k != only) continue;
        KSteps *to = only >= 0 ? outer : k == 0 ? s->body : s->other;
        const Graph *r = node_rec(l->g, n)->region[k];
        bool failing = fails(r);
        for (uint32_t o = 0; o < n_out; o++) res[o] = !failing && planned(l, o) ? lw_out(l, o) : (KBuf){0};
        if (!lw_region(l, (uint32_t)k, to, cap, n_cap, res)) return false;
        l->steps = to;
        bool lost = false;
        for (uint32_t o = 0; o < n_out && may_lose && !failing; o++) lost |= never_fits(l, o, value_trec(r, r->out.p[o]));
        if (lost) { /* the other one makes the results */
            lw_step(l, KST_FAIL)->msg = "the branch that is taken gives a result of another shape than what follows needs";
            may_lose = false;
            failing = true;
        }
        for (uint32_t o = 0; o < n_out; o++) {
            const TypeRec *t = value_trec(r, r->out.p[o]);
            if (failing) continue;
            if (t->kind == TY_TENSOR) lw_bind_dims(l, o, t->dim);
            KBuf dst = lw_out(l, o);
            if (kbuf(l->k, dst)->space == KS_BOX && (only < 0 && k == 1)) lw_realloc(l, dst);
            if (dst.i != res[o].i) lw_copy(l, to, dst, res[o]);
        }
        l->steps = outer;
    }
    return true;
}

static bool same_type(Module *m, TypeId x, TypeId y)
{
    const TypeRec *a = type_rec(&m->types, x), *b = type_rec(&m->types, y);
    if (x.i == y.i) return true;
    if (a->kind != TY_TENSOR || b->kind != TY_TENSOR || a->elem != b->elem || a->rank != b->rank || a->rank == RANK_UNKNOWN) return false;
    for (int k = 0; k < a->rank; k++)
        if (dim_eq(&m->dims, dim_resolve(&m->dims, a->dim[k]), dim_resolve(&m->dims, b->dim[k])) != TRI_YES) return false;
    return true;
}

/* %y = If(true | %x) then(%x) { ... %a } else ...     =>     ... the nodes of then, with %a for %y
 * unless the result has dims that the If itself binds: inferred before the condition was known, its users speak of them. */
static bool rewrite(Graph *g, Node n)
{
    Value cond = node_in(g, n, 0);
    if (!value_is_const(g, cond) || blob_rec(&g->m->blobs, value_rec(g, cond)->data)->kind == BLOB_DERIVED) return false;
    Graph *r = node_rec(g, n)->region[blob_get_i(&g->m->blobs, value_rec(g, cond)->data, 0) ? 0 : 1];
    for (uint32_t k = 0; k < r->out.n; k++)
        if (!same_type(g->m, value_type(g, node_out(g, n, k)), value_type(r, r->out.p[k]))) return false;
    Value *map = arena_array(g->m->arena, Value, r->value.n);
    for (uint32_t k = 0; k < r->in.n; k++) map[r->in.p[k].i] = node_in(g, n, 1 + k);
    graph_inline(g, n, r, map);
    for (uint32_t k = 0; k < r->out.n; k++) graph_replace_uses(g, node_out(g, n, k), map[r->out.p[k].i]);
    return true;
}

static bool eval(Eval *e)
{
    Graph *r = node_rec(e->g, e->n)->region[ev_i(e->in[0], 0) ? 0 : 1];
    return eval_graph(e->arena, r, e->in + 1, e->out, &e->why);
}

const OpDesc op_If = {.name = "If", .since = 25, .cls = CLS_CONTROL, .one = 1, .in = IN, .out = OUT, .attrs = ATTRS_, .attrs_size = sizeof(If),
                      .infer = infer, .rewrite = rewrite, .lower = lower, .grad = grad_if, .eval = eval};
