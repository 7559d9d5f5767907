/* canonicalize: brings every node into its canonical form, by the ops' `equivalent` and `rewrite` hooks, until
 * nothing changes.
 *   %1 = Identity(%x)                                 %2 = Mul(%a, %c)                 %3 = If(true | %v)
 *   %y = Add(%1, %b)    =>   %y = Add(%x, %b)         with constant %a  =>  Mul(%c, %a)      =>  its then graph, in place
 * The canonical form:
 *   1. no value has an `equivalent`: one that already exists is used instead;
 *   2. the only constant among the two operands of a commuting op is the second one;
 *   3. no op's `rewrite` applies. What each op calls simpler stands in its file; rules go down in cost or toward this
 *      form, so that they end.
 * An existing value replaces another only when its type says as much: same element type, rank and provably equal dims.
 * Nodes that became unused stay for dce; they are not looked at. Requires types; the types of new nodes are inferred.
 * */
#include "ir/graph/infer.h"
#include "passes/pass.h"

#define ROUNDS_MAX 64 /* rules that undo each other: a bug in a rule, reported instead of looping */

static bool type_agrees(Module *m, TypeId x, TypeId y)
{
    if (x.i == y.i) return true;
    const TypeRec *a = type_rec(&m->types, x), *b = type_rec(&m->types, y);
    if (a->kind != TY_TENSOR || b->kind != TY_TENSOR || a->elem != b->elem || a->rank != b->rank ||
        a->rank == RANK_UNKNOWN || a->layout.i != b->layout.i)
        return false;
    for (int k = 0; k < a->rank; k++)
        if (dim_eq(&m->dims, dim_resolve(&m->dims, a->dim[k]), dim_resolve(&m->dims, b->dim[k])) != TRI_YES)
            return false;
    return true;
}

static bool use_equivalents(PassCtx *c, Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    bool changed = false;
    for (uint32_t r = 0; d->equivalent && r < node_n_out(g, n); r++) {
        Value v = node_out(g, n, r);
        if (!value_used(g, v)) continue;
        Value by = d->equivalent(g, n, r);
        if (!by.i || by.i == v.i) continue;
        if (!type_agrees(c->m, value_type(g, v), value_type(g, by))) {
            pass_remark(c, graph_loc(g, n), "'%s' is not replaced by '%s': its dims are not provably the same",
                        value_name(g, v), value_name(g, by));
            continue;
        }
        if (!pass_may_rewrite(c)) return changed;
        graph_replace_uses(g, v, by);
        pass_count(c, "equivalents taken", 1);
        changed = true;
    }
    return changed;
}

static bool constant_last(PassCtx *c, Graph *g, Node n)
{
    Value x = node_in(g, n, 0), y = node_in(g, n, 1);
    if (!(node_desc(g, n)->flags & OPF_COMMUTES) || node_n_in(g, n) != 2 || !value_is_const(g, x) ||
        value_is_const(g, y) || !y.i)
        return false;
    if (!pass_may_rewrite(c)) return false;
    graph_set_input(g, n, 0, y);
    graph_set_input(g, n, 1, x);
    pass_count(c, "operands ordered", 1);
    return true;
}

/* One application of the op's own rule. */
static PassResult rewrite(PassCtx *c, Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    uint32_t before = g->node.n;
    if (!d->rewrite || c->rewrite_limit == 0 || !d->rewrite(g, n)) return PASS_UNCHANGED;
    pass_may_rewrite(c);
    pass_count(c, "rewritten", 1);
    if (!node_rec(g, n)->dead && !infer_node(g, n)) return PASS_FAILED;
    for (uint32_t i = before; i < g->node.n; i++)
        if (!g->node.p[i].dead && !infer_node(g, (Node){i})) return PASS_FAILED;
    return PASS_CHANGED;
}

static PassResult sweep(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (!node_used(g, n) && !(node_desc(g, n)->flags & OPF_SIDE_EFFECT)) continue;
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) {
            PassResult r = sweep(c, node_rec(g, n)->region[k]);
            if (r == PASS_FAILED) return r;
            changed |= r == PASS_CHANGED;
        }
        changed |= use_equivalents(c, g, n) | constant_last(c, g, n);
        if (!node_used(g, n)) continue;
        PassResult r = rewrite(c, g, n);
        if (r == PASS_FAILED) return r;
        changed |= r == PASS_CHANGED;
        if (!node_rec(g, n)->dead) next = node_next(g, n);
        else if (next.i && node_rec(g, next)->dead)
            next = NODE_NONE; /* the rule took its neighbour too: the rest waits for the next sweep */
    }
    return changed ? PASS_CHANGED : PASS_UNCHANGED;
}

static PassResult run(PassCtx *c)
{
    PassResult all = PASS_UNCHANGED, r = PASS_CHANGED;
    for (int round = 0; r == PASS_CHANGED; round++) {
        if (round == ROUNDS_MAX) {
            pass_remark(c, diag_file(c->m->source), "stopped after %d rounds: two rules undo each other", ROUNDS_MAX);
            break;
        }
        r = sweep(c, c->m->entry);
        if (r != PASS_UNCHANGED) all = r;
    }
    return all;
}

const Pass pass_canonicalize = {
    .name = "canonicalize", .brief = "one spelling for each computation, by the ops' own rules", .run = run};
