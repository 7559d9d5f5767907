/* outline: the inverse of graph_inline: some nodes move into a closed graph that one new node owns.
 *   %1 = MatMul(%x, %w)                 %y = Group(%x, %b) {...}
 *   %2 = Add(%1, %b)             =>       graph @group(%x, %b) -> (%y) { %w = const ..  %1 = MatMul(%x, %w)  %2 = Add(%1, %b)  %y = Relu(%2) }
 *   %y = Relu(%2)
 * Values from outside become operands, constants are copied in (data are shared), results that are used outside
 * become results of the new node. */
#include "base/bug.h"
#include "ir/graph/op.h"

static Value inside(Graph *g, Graph *r, Value v, Value *map, Value **operand, uint32_t *n_operand)
{
    if (!v.i || map[v.i].i) return v.i ? map[v.i] : VALUE_NONE;
    const ValueRec *rec = value_rec(g, v);
    if (rec->data.i) map[v.i] = graph_const(r, rec->data, rec->type, rec->name);
    else {
        map[v.i] = graph_input(r, rec->type, rec->name);
        (*operand)[(*n_operand)++] = v;
    }
    value_rec(r, map[v.i])->content = value_rec(g, v)->content;
    return map[v.i];
}

static bool used_outside(const Graph *g, Value v, const bool *member)
{
    const ValueRec *r = value_rec(g, v);
    for (uint32_t u = r->first_use; u; u = g->operand.p[u - 1].next_use)
        if (!member[g->operand.p[u - 1].user.i]) return true;
    return r->n_out_use > 0;
}

Node graph_outline(Graph *g, const Node *node, uint32_t n, OpCode op, const void *attrs, const char *name, Loc loc)
{
    Module *m = g->m;
    uint32_t n_slot = 0, n_operand = 0, n_result = 0, n_value = 0;
    bool *member = arena_array(m->arena, bool, g->node.n);
    for (uint32_t k = 0; k < n; k++) {
        const NodeRec *r = node_rec(g, node[k]);
        assert(!r->n_region && !r->n_capture);
        member[node[k].i] = true;
        n_slot += r->n_in;
        n_value += r->n_out;
    }
    Graph *r = graph_new(m, name);
    Value *map = arena_array(m->arena, Value, g->value.n), *in = arena_array(m->arena, Value, n_slot + 1);
    Value *operand = arena_array(m->arena, Value, n_slot + 1), *result = arena_array(m->arena, Value, n_value + 1),
          *out = arena_array(m->arena, Value, n_value + 1);
    for (uint32_t k = 0; k < n; k++) {
        const NodeRec *from = node_rec(g, node[k]);
        for (uint32_t i = 0; i < from->n_in; i++)
            in[i] = inside(g, r, node_in(g, node[k], i), map, &operand, &n_operand);
        Node to = graph_add(r, from->op, in, from->n_in, from->n_out, from->attrs, from->loc, NODE_NONE);
        for (uint32_t i = 0; i < from->n_out; i++) {
            Value v = node_out(g, node[k], i), w = node_out(r, to, i);
            map[v.i] = w;
            value_rec(r, w)->type = value_rec(g, v)->type;
            value_rec(r, w)->name = value_rec(g, v)->name;
            value_rec(r, w)->content = value_rec(g, v)->content;
            if (!used_outside(g, v, member)) continue;
            out[n_result] = w;
            result[n_result++] = v;
        }
    }
    graph_set_outputs(r, out, n_result);
    Node owner = graph_add(g, op, operand, n_operand, n_result, attrs, loc, node[n - 1]);
    graph_set_region(g, owner, (const Graph *const[]){r}, 1);
    const uint32_t *at;
    for (uint32_t k = 0, count = graph_checks(g, &at); k < count; k++) { /* they are checked before the whole */
        CheckRec *c = &m->check.p[at[k]];
        if (c->at.i && member[c->at.i]) c->at = owner;
    }
    for (uint32_t k = 0; k < n_result; k++) {
        Value v = node_out(g, owner, k);
        value_rec(g, v)->type = value_rec(g, result[k])->type;
        value_rec(g, v)->content = value_rec(g, result[k])->content;
        graph_replace_uses(g, result[k], v);
    }
    for (uint32_t k = n; k-- > 0;) graph_erase(g, node[k]);
    return owner;
}
