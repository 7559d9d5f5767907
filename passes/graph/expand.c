/* expand: rewrites the ops that have no lowering of their own into ops that have one, by their `expand` hook (design
 * D12).
 *   %y = Softsign(%x)     =>     %1 = Abs(%x)   %2 = Add(%1, one)   %y = Div(%x, %2)          (for instance)
 * Always legal, so it runs at every -O level. What expansion makes is expanded in turn, until every node lowers;
 * types of the new nodes are inferred.
 * Requires types. An op that can be neither lowered nor expanded is an error here, with the node's name. */
#include "ir/graph/infer.h"
#include "passes/pass.h"

#define ROUNDS_MAX 16 /* an expansion that leads back to itself */

static bool contents_known(const Graph *g, Node n)
{
    for (uint32_t k = 0; k < node_n_out(g, n); k++)
        if (!value_rec(g, node_out(g, n, k))->content) return false;
    return node_n_out(g, n) > 0;
}

static bool expand_graph(PassCtx *c, Graph *g, int round, bool *changed)
{
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++)
            if (!expand_graph(c, node_rec(g, n)->region[k], round, changed)) return false;
        const OpDesc *d = node_desc(g, n);
        if ((op_lowers(d) && !(d->must_expand && d->must_expand(g, n))) || contents_known(g, n)) continue;
        if (!d->expand || round == ROUNDS_MAX)
            return diag(c->diag, graph_loc(g, n), E_LOWER,
                        d->expand ? "its expansion does not come to an end"
                                  : "there is neither a lowering nor an expansion");
        uint32_t before = g->node.n;
        if (!d->expand(g, n))
            return c->diag->errors ? false : diag(c->diag, graph_loc(g, n), E_LOWER, "this form cannot be expanded");
        for (uint32_t i = before; i < g->node.n; i++)
            if (!g->node.p[i].dead && !infer_node(g, (Node){i})) return false;
        if (!node_rec(g, n)->dead && !node_used(g, n)) graph_erase(g, n);
        pass_count(c, "expanded", 1);
        *changed = true;
    }
    return true;
}

/* A value made here has symbols of its own: regions that capture it still speak of the old one's. */
static bool captures_differ(const Graph *g)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        const NodeRec *r = node_rec(g, n);
        for (uint32_t k = 0; k < r->n_region; k++) {
            const Graph *in = r->region[k];
            for (uint32_t i = 1; i <= r->n_capture; i++) {
                Value v = node_in(g, n, r->n_in - i);
                if (v.i && value_type(g, v).i != value_type(in, in->in.p[in->in.n - i]).i) return true;
            }
            if (captures_differ(in)) return true;
        }
    }
    return false;
}

static PassResult run(PassCtx *c)
{
    bool any = false, changed = true;
    for (int round = 0; changed; round++) {
        changed = false;
        if (!expand_graph(c, c->m->entry, round, &changed)) return PASS_FAILED;
        any |= changed;
    }
    if (any && captures_differ(c->m->entry) && !infer_graph(c->m->entry)) return PASS_FAILED;
    return any ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_expand = {.name = "expand", .brief = "rewrite ops without a lowering into ops with one", .run = run};
