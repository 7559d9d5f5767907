/* group-pool: a MaxPool of 2 x 2 windows side by side joins the convolution before it, whose tiles hold whole windows.
 *   %1 = Group(%x) {kind="contract"}                          %y = Group(%x) {kind="pool"}
 *     { %c = Conv(%x, %w) {winograd=2}  %r = Relu(%c) }  =>     { %c = Conv(%x, %w) {winograd=2}  %r = Relu(%c)
 *   %y = MaxPool(%1) {kernel_shape=[2,2], strides=[2,2]}           %y = MaxPool(%r) {kernel_shape=[2,2], strides=[2,2]} }
 * Only what nobody else reads, and where both results lie in memory the same way. Behind `winograd`; requires types. */
#include "ir/ops/conv_pooled.h"
#include "passes/graph/group.h"
#include "passes/pass.h"
#include <string.h>

/* A contraction's group becomes its members again; *first: the first of them. */
static Value dissolved(PassCtx *c, Graph *g, Node group, Node *first)
{
    const Graph *r = node_rec(g, group)->region[0];
    Value *map = arena_array(c->arena, Value, r->value.n), old = node_out(g, group, 0);
    Node before = node_prev(g, group);
    for (uint32_t k = 0; k < r->in.n; k++) map[r->in.p[k].i] = node_in(g, group, k);
    graph_inline(g, group, r, map);
    Value v = map[r->out.p[0].i];
    value_rec(g, v)->type = value_type(g, old);
    graph_replace_uses(g, old, v);
    graph_erase(g, group);
    *first = before.i ? node_next(g, before) : graph_first(g);
    return v;
}

/* The convolution that `n` is, or that its group starts with: also the graph that holds it. */
static Node convolution(Graph *g, Node n, Graph **holds)
{
    *holds = g;
    if (node_rec(g, n)->op != OP_Group) return n;
    Graph *r = *holds = node_rec(g, n)->region[0];
    return r->out.n == 1 ? graph_first(r) : NODE_NONE;
}

static bool join(PassCtx *c, Graph *g, Node pool)
{
    Value x = node_in(g, pool, 0);
    Node n = value_rec(g, x)->def;
    if (!n.i || value_single_user(g, x).i != pool.i || value_trec(g, x)->layout.i != value_trec(g, node_out(g, pool, 0))->layout.i)
        return false;
    Graph *holds;
    Node conv = convolution(g, n, &holds);
    if (!conv.i || node_rec(holds, conv)->op != OP_Conv || !conv_pooled_fits(holds, conv, g, pool) || !pass_may_rewrite(c)) return false;
    Node *member = arena_array(c->arena, Node, node_rec(g, n)->op == OP_Group ? holds->node.n + 1 : 2), first = n;
    uint32_t count = 0;
    if (node_rec(g, n)->op == OP_Group) x = dissolved(c, g, n, &first);
    for (Node k = first;; k = node_next(g, k)) {
        member[count++] = k;
        if (k.i == value_rec(g, x)->def.i) break;
    }
    member[count++] = pool;
    group_make(g, "pool", member, count);
    pass_count(c, "pools", 1);
    return true;
}

static bool pools(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op == OP_MaxPool) changed |= join(c, g, n);
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, pools); }

const Pass pass_group_pool = {.name = "group-pool", .brief = "a MaxPool joins the convolution before it, whose tiles hold whole windows", .run = run};
