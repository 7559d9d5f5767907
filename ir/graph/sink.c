/* sink: ranks are static in code, but the branches of an If may give tensors of different ranks. What uses such a result moves into both branches, where its operand's
 * rank is known, until ranks agree again:
 *   %s = If(%c | %a, %b) : f32[*]                    %y = If(%c | %a, %b, %x)
 *     then(%a) -> (%a : f32[])                         then(%a, %b, %x) -> (%1)   %1 = Mul(%x, %a)
 *     else(%b) -> (%b : f32[1])              =>        else(%a, %b, %x) -> (%1)   %1 = Mul(%x, %b)
 *   %y = Mul(%x, %s)
 * Nodes between the two that use other results keep the first If, without the results that nobody uses any more. */
#include "base/bug.h"
#include "ir/graph/infer.h"

/* A tensor of unknown rank that comes out of an If whose branches know it. */
static bool sinks(const Graph *g, Value v)
{
    if (!v.i || !value_type(g, v).i || !value_rec(g, v)->def.i) return false;
    const TypeRec *t = value_trec(g, v);
    const NodeRec *n = node_rec(g, value_rec(g, v)->def);
    if (t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN || n->op != OP_If) return false;
    for (uint32_t k = 0; k < n->n_region; k++) {
        const Graph *r = n->region[k];
        Value o = r->out.p[value_rec(g, v)->result];
        if (!value_type(r, o).i || (value_trec(r, o)->rank == RANK_UNKNOWN && !sinks(r, o))) return false;
    }
    return true;
}

static bool used_from(const Graph *g, Node from, Value v)
{
    for (uint32_t k = 0; k < g->out.n; k++)
        if (g->out.p[k].i == v.i) return true;
    for (Node n = from; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i == v.i) return true;
    return false;
}

/* Operand k of the user, inside a branch; captures that are new become operands of the If. */
typedef VEC(Value) Values;
static Value inside(Graph *g, Graph *branch, Node owner, Value v, const Value *out, Values *operand)
{
    const ValueRec *r = value_rec(g, v);
    if (!v.i) return VALUE_NONE;
    if (r->def.i && r->def.i == owner.i) return out[r->result];
    if (r->data.i) return graph_const(branch, r->data, r->type, r->name);
    uint32_t k = 1;
    while (k < operand->n && operand->p[k].i != v.i) k++;
    if (k == operand->n) vec_push(g->m->arena, operand, v);
    if (k - 1 == branch->in.n) graph_input(branch, r->type, r->name);
    return branch->in.p[k - 1];
}

static void copy_into(Graph *g, Node user, Graph *branch, Node owner, const Value *out, Values *operand, Values *result)
{
    Arena *a = g->m->arena;
    const NodeRec *u = node_rec(g, user);
    Value *in = arena_array(a, Value, u->n_in + 1);
    for (uint32_t k = 0; k < u->n_in; k++) in[k] = inside(g, branch, owner, node_in(g, user, k), out, operand);
    Node c = graph_add(branch, u->op, in, u->n_in, u->n_out, u->attrs, u->loc, NODE_NONE);
    node_rec(branch, c)->n_capture = u->n_capture;
    const Graph **region = arena_array(a, const Graph *, u->n_region + 1);
    for (uint32_t k = 0; k < u->n_region; k++) region[k] = graph_clone(u->region[k]);
    if (u->n_region) graph_set_region(branch, c, region, u->n_region);
    for (uint32_t k = 0; k < u->n_out; k++) vec_push(a, result, node_out(branch, c, k));
}

/* A copy of If `from` with the results that are used in [at, end), stands before `at`; takes over those uses. With `user` (== at): that node moves into it. */
static Node if_copy(Graph *g, Node from, Node at, Node user)
{
    Arena *a = g->m->arena;
    Values operand = {0};
    uint32_t n_out = node_n_out(g, from), n_kept = 0, n_user = user.i ? node_n_out(g, user) : 0;
    bool *kept = arena_array(a, bool, n_out + 1);
    Graph *branch[2];
    for (uint32_t k = 0; k < node_n_in(g, from); k++) vec_push(a, &operand, node_in(g, from, k));
    for (uint32_t r = 0; r < n_out; r++) n_kept += kept[r] = used_from(g, user.i ? node_next(g, user) : at, node_out(g, from, r));
    for (uint32_t k = 0; k < 2; k++) {
        Values result = {0};
        branch[k] = graph_clone(node_rec(g, from)->region[k]);
        Value *out = arena_array(a, Value, n_out + 1);
        for (uint32_t r = 0; r < n_out; r++) {
            out[r] = branch[k]->out.p[r];
            if (kept[r]) vec_push(a, &result, out[r]);
        }
        if (user.i) copy_into(g, user, branch[k], from, out, &operand, &result);
        graph_set_outputs(branch[k], result.p, result.n);
    }
    Node n = graph_add(g, OP_If, operand.p, operand.n, n_kept + n_user, NULL, node_rec(g, from)->loc, at);
    node_rec(g, n)->n_capture = operand.n - 1;
    graph_set_region(g, n, (const Graph *const[]){branch[0], branch[1]}, 2);
    Value *gout = arena_array(a, Value, g->out.n + 1);
    Name *name = arena_array(a, Name, g->out.n + 1);
    for (uint32_t k = 0; k < g->out.n; k++) gout[k] = g->out.p[k], name[k] = g->out_name.p[k];
    for (uint32_t r = 0, to = 0; r < n_out; r++) {
        if (!kept[r]) continue;
        Value old = node_out(g, from, r), by = node_out(g, n, to++);
        for (Node m = at; m.i; m = node_next(g, m))
            for (uint32_t k = 0; k < node_n_in(g, m); k++)
                if (node_in(g, m, k).i == old.i) graph_set_input(g, m, k, by);
        for (uint32_t k = 0; k < g->out.n; k++)
            if (gout[k].i == old.i) gout[k] = by;
    }
    graph_set_outputs(g, gout, g->out.n);
    for (uint32_t k = 0; k < g->out.n; k++) g->out_name.p[k] = name[k];
    for (uint32_t k = 0; k < n_user; k++) graph_replace_uses(g, node_out(g, user, k), node_out(g, n, n_kept + k));
    return n;
}

Node infer_sink(Graph *g, Node user)
{
    Node from = NODE_NONE;
    for (uint32_t k = 0; k < node_n_in(g, user) && !from.i; k++)
        if (sinks(g, node_in(g, user, k))) from = value_rec(g, node_in(g, user, k))->def;
    if (!from.i) return NODE_NONE;
    Node n = if_copy(g, from, user, user);
    graph_erase(g, user);
    if (node_used(g, from)) {   /* by nodes in between */
        Node rest = if_copy(g, from, node_next(g, from), NODE_NONE);
        if (!infer_node(g, rest)) return NODE_NONE;
    }
    graph_erase(g, from);
    return n;
}
