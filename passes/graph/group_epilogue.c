/* group-epilogue: a contraction and the element-wise ops that follow become one Group{kind="contract"}: bias,
 * activation and residual are applied while the result is still in registers.
 *   %1 = MatMul(%x, %w) : f32[N,64]                %y = Group(%x, %r) {kind="contract"} : f32[N,64]
 *   %2 = Add(%1, %b)    : f32[N,64]          =>      graph @contract(%x, %r) -> (%y) { %w = const ..  %b = const ..
 *   %3 = Relu(%2)       : f32[N,64]                     %1 = MatMul(%x, %w)  %2 = Add(%1, %b)  %3 = Relu(%2)  %y = Add(%3, %r) }
 *   %y = Add(%3, %r)    : f32[N,64]
 * Followers have the contraction's dims; what else they read (bias, residual) may be broadcast. The group grows over
 * followers whose operands are in it or come from elsewhere, and ends where exactly one of its values is seen from
 * outside, the last one: so x * sigmoid(x) goes in whole or not at all.
 * A contraction without followers stays alone. Each contraction roots one group; two contractions in one chain: the
 * later one keeps its own. */
#include "passes/graph/group.h"

enum { OPT_MAX_OPS };
static const OptSpec opts[] = {{"max-ops", 16, "followers at most"}, {0}};

static bool is_root(const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    const OpDesc *d = op_desc(r->op);
    if (d->cls != CLS_CONTRACT || !d->lower || r->n_out != 1 || r->n_region) return false;
    const TypeRec *t = value_trec(g, node_out(g, n, 0));
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN;
}

/* Values of members that something outside sees; *last: the only one, when it is one. */
static uint32_t exits(const Graph *g, const Node *member, uint32_t n, const bool *in, Value *last)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < n; k++) {
        Value v = node_out(g, member[k], 0);
        const ValueRec *r = value_rec(g, v);
        bool seen = r->n_out_use > 0;
        for (uint32_t u = r->first_use; u; u = g->operand.p[u - 1].next_use) seen |= !in[g->operand.p[u - 1].user.i];
        count += seen;
        if (seen) *last = v;
    }
    return count;
}

/* Why the node cannot follow; NULL: it can. */
static const char *cannot_follow(Graph *g, Node n, Value root)
{
    if (!group_is_eltwise(g, n)) return "it is not element-wise";
    if (!group_same_dims(g, node_out(g, n, 0), root)) return "its result has other dims";
    return NULL;
}

static bool reads_member(const Graph *g, Node n, const bool *in)
{
    for (uint32_t k = 0; k < node_n_in(g, n); k++) {
        Value v = node_in(g, n, k);
        if (v.i && value_rec(g, v)->def.i && in[value_rec(g, v)->def.i]) return true;
    }
    return false;
}

static void explain(PassCtx *c, Graph *g, Node root)
{
    Value v = node_out(g, root, 0);
    const ValueRec *r = value_rec(g, v);
    Node user = value_single_user(g, v);
    if (r->n_out_use) pass_remark(c, graph_loc(g, root), "nothing follows: the result is an output");
    else if (!user.i) pass_remark(c, graph_loc(g, root), "nothing follows: the result has %u users", r->n_use);
    else
        pass_remark(c, graph_loc(g, root), "%s does not follow: %s", node_desc(g, user)->name,
                    cannot_follow(g, user, v) ? cannot_follow(g, user, v) : "the group is full");
}

static bool group_root(PassCtx *c, Graph *g, Node root)
{
    uint32_t n = 1, best = 0, max = (uint32_t)c->opt[OPT_MAX_OPS] + 1;
    Node *member = arena_array(c->arena, Node, max + 1);
    bool *in = arena_array(c->arena, bool, g->node.n);
    Value out = node_out(g, root, 0), exit = out;
    member[0] = root;
    in[root.i] = true;
    for (Node u = node_next(g, root); u.i && n < max; u = node_next(g, u)) {
        if (!reads_member(g, u, in)) continue;
        if (cannot_follow(g, u, out)) continue; /* its operand is then seen from outside, for good */
        member[n++] = u;
        in[u.i] = true;
        if (exits(g, member, n, in, &exit) == 1 && value_rec(g, exit)->def.i == u.i) best = n;
    }
    if (!best) {
        explain(c, g, root);
        return false;
    }
    if (!pass_may_rewrite(c)) return false;
    group_make(g, "contract", member, best);
    pass_count(c, "groups", 1);
    pass_count(c, "followers", best - 1);
    return true;
}

static bool group_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op == OP_Group) continue;
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) changed |= group_graph(c, node_rec(g, n)->region[k]);
        if (!is_root(g, n)) continue;
        /* the group takes its last member's place, so `next` may be one of those that went in */
        Node before = node_prev(g, n);
        if (!group_root(c, g, n)) continue;
        changed = true;
        next = before.i ? node_next(g, before) : graph_first(g);
    }
    return changed;
}

static PassResult run(PassCtx *c) { return group_graph(c, c->m->entry) ? PASS_CHANGED : PASS_UNCHANGED; }

const Pass pass_group_epilogue = {.name = "group-epilogue",
                                  .brief = "what follows a contraction element by element is done by it",
                                  .opts = opts,
                                  .run = run};
