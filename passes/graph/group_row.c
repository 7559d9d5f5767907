/* group-row: a row operator (softmax, a norm, a reduction) with the element-wise ops in front of it and behind it
 * becomes one Group{kind="row"}: a row is computed, swept and finished while it is in the cache, intermediate tensors
 * never meet memory.
 *   %1 = Mul(%x, %s)    : f32[N,64]            %y = Group(%x, %s, %m) {kind="row"} : f32[N,64]
 *   %2 = Add(%1, %m)    : f32[N,64]      =>      graph @row(%x, %s, %m) -> (%y) { %1 = Mul(%x, %s) .. %y = Cast(%3) }
 *   %3 = Softmax(%2)    : f32[N,64]
 *   %y = Cast(%3)       : f16[N,64]
 * In front joins what is needed here only, has the dims of the operator's data and is worth computing where it is
 * read: the operators keep a contiguous row in scratch; along another axis every sweep computes it again, so there it
 * must be cheap. Behind joins what group-epilogue lets follow a contraction. Windows (pools) have followers, too, kind
 * "window"; what is in front of them would be computed for every window.
 * Behind group-epilogue: a contraction's followers are its own. */
#include "passes/graph/group.h"
#include <string.h>

enum { OPT_MAX_OPS };
static const OptSpec opts[] = {{"max-ops", 17, "members at most"}, {0}};

/* What shapes depend on is known: the operator's rarer forms, for what only the run knows, do without groups. */
static bool forms_known(const Graph *g, Node n)
{
    const Port *p = node_desc(g, n)->in;
    for (uint32_t k = 0; k < node_n_in(g, n); k++) {
        Value v = node_in(g, n, k);
        if (p->name && v.i && p->flags & PORT_SHAPE && !value_is_const(g, v) && !value_rec(g, v)->content) return false;
        if (p->name && !(p->flags & PORT_VARIADIC)) p++;
    }
    return true;
}

static bool is_root(const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    if (!(op_desc(r->op)->flags & (OPF_ROW_GROUP | OPF_FOLLOWED)) || op_desc(r->op)->cls == CLS_CONTRACT) return false;
    if (r->n_out != 1 || r->n_region || value_rec(g, node_out(g, n, 0))->content) return false;
    const TypeRec *t = value_trec(g, node_out(g, n, 0));
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && forms_known(g, n);
}

static bool used_by_members(const GroupGrowth *s, Value v)
{
    const ValueRec *r = value_rec(s->g, v);
    for (uint32_t u = r->first_use; u; u = s->g->operand.p[u - 1].next_use)
        if (!s->in[s->g->operand.p[u - 1].user.i]) return false;
    return !r->n_out_use && r->n_use;
}

/* The one axis of an operator that has an attribute for it, or its first of several; the rows of reductions: the last
 * axis when its axes say so. Rows are kept where the last axis is swept. */
static bool sweeps_last(const Graph *g, Node n)
{
    const TypeRec *x = value_trec(g, node_in(g, n, 0)), *y = value_trec(g, node_out(g, n, 0));
    if (node_desc(g, n)->cls == CLS_REDUCE) /* read once */
        return true;
    const AttrSpec *s = node_desc(g, n)->attrs;
    for (; s && s->name; s++)
        if (!strcmp(s->name, "axis") && s->kind == ATTR_INT) {
            int64_t axis = *(const int64_t *)((const char *)node_attrs(g, n) + s->offset);
            return axis == -1 || axis == x->rank - 1;
        }
    return y->rank == x->rank;
}

/* Why the node that computes v cannot join in front; NULL: it can. */
static const char *cannot_lead(const GroupGrowth *s, Node root, Value v)
{
    Node n = value_rec(s->g, v)->def;
    if (!group_is_eltwise(s->g, n)) return "it is not element-wise";
    if (!group_same_dims(s->g, v, node_in(s->g, root, 0))) return "its result has other dims";
    if (!used_by_members(s, v)) return "somebody else needs it";
    if (!sweeps_last(s->g, root) && !(node_desc(s->g, n)->flags & OPF_CHEAP))
        return "every sweep would compute it again";
    return s->n == s->max ? "the group is full" : NULL;
}

/* Producers, backwards: users are members before what they use. */
static void lead(PassCtx *c, GroupGrowth *s, Node root)
{
    Graph *g = s->g;
    for (uint32_t k = 0; k < s->n; k++) {
        Node m = s->member[k];
        for (uint32_t i = 0; i < (m.i == root.i ? 1 : node_n_in(g, m)); i++) {
            Value v = node_in(g, m, i);
            Node n = v.i ? value_rec(g, v)->def : NODE_NONE;
            if (!n.i || s->in[n.i] || value_rec(g, v)->content) continue;
            const char *why = cannot_lead(s, root, v);
            if (!why) group_add(s, n);
            else if (node_desc(g, n)->cls != CLS_CONTROL)
                pass_remark(c, graph_loc(g, root), "%s '%s' is not computed here: %s", node_desc(g, n)->name,
                            value_name(g, v), why);
        }
    }
}

static bool group_root(PassCtx *c, Graph *g, Node root)
{
    Value out = node_out(g, root, 0), exit = out;
    const OpDesc *d = node_desc(g, root);
    GroupGrowth s = group_growth(c->arena, g, (uint32_t)c->opt[OPT_MAX_OPS]);
    group_add(&s, root);
    uint32_t followers = group_follow(&s, out), n = 0;
    group_exits(&s, &exit);
    group_explain(c, g, root, exit);
    if (d->flags & OPF_ROW_GROUP) lead(c, &s, root); /* producers may serve followers, too: a residual */
    if (s.n < 2 || !pass_may_rewrite(c)) return false;
    for (Node k = graph_first(g); n < s.n; k = node_next(g, k))
        if (s.in[k.i]) s.member[n++] = k;
    pass_count(c, "groups", 1);
    pass_count(c, "followers", followers);
    pass_count(c, "producers", s.n - 1 - followers);
    group_make(g, d->cls == CLS_WINDOW ? "window" : "row", s.member, s.n);
    return true;
}

static bool group_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    VEC(Node) root = {0};
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        if (node_rec(g, n)->op != OP_Group && is_root(g, n)) vec_push(c->arena, &root, n);
    for (uint32_t k = 0; k < root.n; k++) changed |= group_root(c, g, root.p[k]);
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, group_graph); }

const Pass pass_group_row = {.name = "group-row",
                             .brief = "softmax, norms, reductions, pools with the element-wise ops around them",
                             .opts = opts,
                             .run = run};
