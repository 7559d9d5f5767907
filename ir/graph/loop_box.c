/* loop_box: code knows the rank of every tensor; what a Loop carries may change it, and what a body yields may have one
 * that only the run decides. A sequence holds tensors of any rank:
 *   carried   %y = Loop(.., %x)  body(.., %v) -> (.., %w)
 *               =>   %q = SequenceConstruct(%x)
 *                    %p = Loop(.., %q)  body(.., %s) { %v = SequenceAt(%s, 0) .. %t = SequenceConstruct(%w) } -> (.., %t)
 *                    %y = SequenceAt(%p, 0)
 *   collected %y = Loop(..)  body(..) -> (.., %w)
 *               =>   %q = Loop(.., SequenceEmpty())  body(.., %s) { .. %t = SequenceInsert(%s, %w) } -> (.., %t)
 *                    %y = If(SequenceLength(%q) > 0 | %q)  then { ConcatFromSequence(%q) {new_axis=1} }  else { [] }
 * The nodes that read such sequences get an arm for each rank (ir/graph/arms.c), those that make them move into the arms
 * that know (ir/graph/sink.c). */
#include "ir/graph/loop_box.h"
#include "ir/graph/op.h"
#include <assert.h>

static Value add(Graph *g, OpCode op, const Value *in, uint32_t n, const void *attrs, Loc loc, Node before)
{
    return node_out(g, graph_add(g, op, in, n, 1, attrs, loc, before), 0);
}

static Value zero(Graph *g)
{
    return graph_const(g, blob_splat_i(&g->m->blobs, DT_I64, 1, 0), type_tensor(&g->m->types, DT_I64, 0, NULL), (Name){0});
}

static Value element_0(Graph *g, Value seq, Loc loc, Node before)
{
    return add(g, OP_SequenceAt, (Value[]){seq, zero(g)}, 2, NULL, loc, before);
}

Node loop_box(Graph *g, Node n, uint32_t k)
{
    Graph *b = node_rec(g, n)->region[0];
    Loc loc = node_rec(g, n)->loc;
    Value x = node_in(g, n, k), in = b->in.p[k];
    bool carried = k < node_n_in(g, n) - node_rec(g, n)->n_capture;
    assert(node_rec(g, n)->op == OP_Loop && k >= 2);
    Node q = graph_add(g, OP_SequenceConstruct, &x, 1, 1, NULL, loc, n);
    graph_set_input(g, n, k, node_out(g, q, 0));
    Value by = element_0(b, in, loc, graph_first(b));
    graph_replace_uses(b, in, by);
    graph_set_input(b, value_rec(b, by)->def, 0, in);
    value_rec(b, in)->type = (TypeId){0};
    if (!carried) return q;
    Value *out = arena_memdup(g->m->arena, b->out.p, b->out.n * sizeof *b->out.p), y = node_out(g, n, k - 2);
    out[k - 1] = add(b, OP_SequenceConstruct, &out[k - 1], 1, NULL, loc, NODE_NONE);
    graph_set_outputs(b, out, b->out.n);
    by = element_0(g, y, loc, node_next(g, n));
    graph_replace_uses(g, y, by);
    graph_set_input(g, value_rec(g, by)->def, 0, y);
    value_rec(g, y)->type = (TypeId){0};
    return q;
}

/* What is made of the sequence q behind the node. */
static Value stacked(Graph *g, Value q, DType elem, int64_t axis, Loc loc, Node before)
{
    struct {
        uint64_t set;
        int64_t axis, new_axis;
    } join = {3, axis, 1};
    Module *m = g->m;
    Graph *arm[2] = {graph_new(m, "collected"), graph_new(m, "none")};
    Dim none = dim_const(&m->dims, 0);
    assert(op_desc(OP_ConcatFromSequence)->attrs_size == sizeof join);
    for (int k = 0; k < 2; k++) {
        Value in = graph_input(arm[k], (TypeId){0}, (Name){0}), y;
        if (!k) y = add(arm[0], OP_ConcatFromSequence, &in, 1, &join, loc, NODE_NONE);
        else y = graph_const(arm[1], blob_inline(&m->blobs, elem, 0, ""), type_tensor(&m->types, elem, 1, &none), (Name){0});
        graph_set_outputs(arm[k], &y, 1);
    }
    Value length = add(g, OP_SequenceLength, &q, 1, NULL, loc, before);
    Value any = add(g, OP_Greater, (Value[]){length, zero(g)}, 2, NULL, loc, before);
    Node made = graph_add(g, OP_If, (Value[]){any, q}, 2, 1, NULL, loc, before);
    node_rec(g, made)->n_capture = 1;
    graph_set_region(g, made, (const Graph *const[]){arm[0], arm[1]}, 2);
    return node_out(g, made, 0);
}

void loop_collect(Graph *g, Node n, uint32_t carried, uint32_t r, int64_t axis, bool reverse)
{
    struct {
        uint64_t set;
        int64_t dtype;
    } empty = {1, 0};
    Graph *b = node_rec(g, n)->region[0];
    Loc loc = node_rec(g, n)->loc;
    uint32_t first_in = node_rec(g, n)->op == OP_Loop ? 2 : 0, first_out = node_rec(g, n)->op == OP_Loop;
    Value y = node_out(g, n, r), w = b->out.p[first_out + r], *out = arena_memdup(g->m->arena, b->out.p, b->out.n * sizeof *b->out.p);
    DType elem = value_trec(b, w)->elem;
    assert(op_desc(OP_SequenceEmpty)->attrs_size == sizeof empty && r >= carried);
    empty.dtype = elem;
    graph_insert_operand(g, n, first_in + carried, add(g, OP_SequenceEmpty, NULL, 0, &empty, loc, n));
    Value s = graph_insert_input(b, first_in + carried, (TypeId){0}, (Name){0});
    Value t = add(b, OP_SequenceInsert, (Value[]){s, w, zero(b)}, reverse ? 3 : 2, NULL, loc, NODE_NONE);
    for (uint32_t k = r; k > carried; k--) out[first_out + k] = out[first_out + k - 1];
    out[first_out + carried] = t;
    graph_set_outputs(b, out, b->out.n);
    /* results: those in front of it move on by one */
    Value q = node_out(g, n, carried), by = stacked(g, y, elem, axis, loc, node_next(g, n));
    Node stack = value_rec(g, by)->def, length = value_rec(g, node_in(g, value_rec(g, node_in(g, stack, 0))->def, 0))->def;
    graph_replace_uses(g, y, by);
    for (uint32_t k = r; k > carried; k--) graph_replace_uses(g, node_out(g, n, k - 1), node_out(g, n, k));
    graph_set_input(g, length, 0, q);
    graph_set_input(g, stack, 1, q);
    for (uint32_t k = carried; k <= r; k++) value_rec(g, node_out(g, n, k))->type = (TypeId){0};
}
