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

static bool group_root(PassCtx *c, Graph *g, Node root)
{
    Value out = node_out(g, root, 0), exit = out;
    GroupGrowth s = group_growth(c->arena, g, (uint32_t)c->opt[OPT_MAX_OPS] + 1);
    group_add(&s, root);
    uint32_t followers = group_follow(&s, out);
    group_exits(&s, &exit);
    group_explain(c, g, root, exit);
    if (!followers || !pass_may_rewrite(c)) return false;
    group_make(g, "contract", s.member, s.n);
    pass_count(c, "groups", 1);
    pass_count(c, "followers", followers);
    return true;
}

static bool group_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op == OP_Group || !is_root(g, n)) continue;
        /* the group takes its last member's place, so `next` may be one of those that went in */
        Node before = node_prev(g, n);
        if (!group_root(c, g, n)) continue;
        changed = true;
        next = before.i ? node_next(g, before) : graph_first(g);
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, group_graph); }

const Pass pass_group_epilogue = {.name = "group-epilogue",
                                  .brief = "what follows a contraction element by element is done by it",
                                  .opts = opts,
                                  .run = run};
