/* grad_sequence.c: derivatives of sequences and optionals. The adjoint of a sequence is the sequence of its elements' adjoints.
 *   SequenceConstruct: of operand k it is element k                 SequenceAt(q, i): zeros, but dy at i
 *   SequenceInsert(q, x, i): dy without element i; element i        SequenceErase(q, i): dy, with zeros at i
 *   ConcatFromSequence: dy in pieces as long as the elements        SplitToSequence: the pieces, joined
 *   SequenceMap: a SequenceMap over the same sequences and dy, whose body is the old one and its derivative; what comes from
 *     outside gets the sum over the elements
 * Positions may be negative: they count from the end. */
#include "ir/ops/grad.h"

/* ---- zeros and sums of any kind ---- */

static Graph *body_of(Ex *x, const char *name, Value like, uint32_t n, Ex *y, Value *in)
{
    Graph *b = graph_new(x->g->m, name);
    *y = (Ex){.g = b, .loc = x->loc};
    for (uint32_t k = 0; k < n; k++) in[k] = graph_input(b, ex_type(x, like)->of, (Name){0});
    return b;
}

static Value map_over(Ex *x, Graph *b, const Value *in, uint32_t n, Ex *y, Value result)
{
    if (y->failed || x->failed) return x->failed = true, VALUE_NONE;
    graph_set_outputs(b, &result, 1);
    Node l = graph_add(x->g, OP_SequenceMap, in, n, 1, NULL, x->loc, x->n);
    graph_set_region(x->g, l, (const Graph *const[]){b}, 1);
    if (!infer_node(x->g, l)) return x->failed = true, VALUE_NONE;
    return node_out(x->g, l, 0);
}

Value gr_zero_of(Ex *x, Value v)
{
    TypeKind kind = v.i ? ex_type(x, v)->kind : TY_NONE;
    if (kind == TY_TENSOR) return ex2(x, OP_Expand, ex_f(x, ex_elem(x, v), 0), ex1(x, OP_Shape, v));
    if (kind != TY_SEQ) return x->failed = true, VALUE_NONE;
    Ex y;
    Value in;
    Graph *b = body_of(x, "zeros", v, 1, &y, &in);
    return map_over(x, b, &v, 1, &y, gr_zero_of(&y, in));
}

Value gr_sum_of(Ex *x, Value a, Value b)
{
    TypeKind kind = a.i ? ex_type(x, a)->kind : TY_NONE;
    if (kind == TY_TENSOR) return ex2(x, OP_Add, a, b);
    if (kind == TY_OPT) return ex1(x, OP_Optional, gr_sum_of(x, ex1(x, OP_OptionalGetElement, a), ex1(x, OP_OptionalGetElement, b)));
    if (kind != TY_SEQ) return x->failed = true, VALUE_NONE;
    Ex y;
    Value in[2];
    Graph *body = body_of(x, "sum", a, 2, &y, in);
    return map_over(x, body, (Value[]){a, b}, 2, &y, gr_sum_of(&y, in[0], in[1]));
}

/* ---- places ---- */

/* Where i points in a sequence of len elements: i64 scalars. */
static Value place(Grad *c, Value i, Value len)
{
    Ex *x = &c->x;
    i = ex_scalar(x, i, DT_I64);
    return gr_where(c, ex2(x, OP_Less, i, ex_i(x, DT_I64, 0)), ex2(x, OP_Add, i, len), i);
}

static Value length(Grad *c, Value q) { return ex1(&c->x, OP_SequenceLength, q); }

bool grad_seq_construct(Grad *c)
{
    for (uint32_t k = 0; k < node_n_in(c->g, c->n); k++)
        if (gr_need(c, k)) gr_set(c, k, ex2(&c->x, OP_SequenceAt, gr_dy(c), ex_i(&c->x, DT_I64, k)));
    return true;
}

bool grad_seq_at(Grad *c)
{
    Ex *x = &c->x;
    Value q = gr_in(c, 0), p = place(c, gr_in(c, 1), length(c, q));
    gr_set(c, 0, ex3(x, OP_SequenceInsert, ex2(x, OP_SequenceErase, gr_zero_of(x, q), p), gr_dy(c), p));
    return true;
}

bool grad_seq_insert(Grad *c)
{
    Ex *x = &c->x;
    bool given = node_n_in(c->g, c->n) > 2 && gr_in(c, 2).i;
    Value len = length(c, gr_in(c, 0)), p = given ? place(c, gr_in(c, 2), len) : len;
    if (gr_need(c, 0)) gr_set(c, 0, ex2(x, OP_SequenceErase, gr_dy(c), p));
    if (gr_need(c, 1)) gr_set(c, 1, ex2(x, OP_SequenceAt, gr_dy(c), p));
    return true;
}

bool grad_seq_erase(Grad *c)
{
    Ex *x = &c->x;
    bool given = node_n_in(c->g, c->n) > 1 && gr_in(c, 1).i;
    Value q = gr_in(c, 0), len = length(c, q), p = given ? place(c, gr_in(c, 1), len) : ex2(x, OP_Sub, len, ex_i(x, DT_I64, 1));
    gr_set(c, 0, ex3(x, OP_SequenceInsert, gr_dy(c), gr_zero_of(x, ex2(x, OP_SequenceAt, q, p)), p));
    return true;
}

/* ---- tensors of sequences ---- */

bool grad_seq_concat(Grad *c)
{
    Ex *x = &c->x, y;
    int64_t axis = gr_int(c, "axis");
    Value q = gr_in(c, 0), in;
    if (gr_int(c, "new_axis")) {
        void *a = ex_set(x, OP_SplitToSequence, ex_set(x, OP_SplitToSequence, NULL, "keepdims", 0), "axis", axis);
        gr_set(c, 0, ex_op(x, OP_SplitToSequence, (Value[]){gr_dy(c)}, 1, a));
        return true;
    }
    Graph *b = body_of(x, "lengths", q, 1, &y, &in);
    if (axis < 0) axis += ex_rank(&y, in);
    Value each = map_over(x, b, &q, 1, &y, ex_shape_part(&y, in, (int)axis, (int)axis + 1));
    Value all = ex_op(x, OP_ConcatFromSequence, &each, 1, ex_set(x, OP_ConcatFromSequence, NULL, "axis", 0));
    gr_set(c, 0, ex_op(x, OP_SplitToSequence, (Value[]){gr_dy(c), all}, 2, ex_set(x, OP_SplitToSequence, NULL, "axis", axis)));
    return true;
}

bool grad_seq_split(Grad *c)
{
    Ex *x = &c->x;
    bool lengths = node_n_in(c->g, c->n) > 1 && gr_in(c, 1).i;
    void *a = ex_set(x, OP_ConcatFromSequence, NULL, "axis", gr_int(c, "axis"));
    a = ex_set(x, OP_ConcatFromSequence, a, "new_axis", !lengths && !gr_int(c, "keepdims"));
    gr_set(c, 0, gr_reshape(c, ex_op(x, OP_ConcatFromSequence, (Value[]){gr_dy(c)}, 1, a), gr_in(c, 0)));
    return true;
}

/* ---- SequenceMap ---- */

/* What each element gave for a value from outside, summed. */
static Value over_elements(Ex *x, Value each, Value like)
{
    Value some = ex2(x, OP_SequenceInsert, each, gr_zero_of(x, like));
    void *a = ex_set(x, OP_ConcatFromSequence, ex_set(x, OP_ConcatFromSequence, NULL, "axis", 0), "new_axis", 1);
    return ex_reduce(x, OP_ReduceSum, ex_op(x, OP_ConcatFromSequence, &some, 1, a), &(int64_t){0}, 1, false);
}

bool grad_seq_map(Grad *c)
{
    Graph *g = c->g, *old = node_rec(g, c->n)->region[0], *b = graph_new(g->m, "backward");
    Arena *arena = g->m->arena;
    Ex *x = &c->x, y = {.g = b, .loc = x->loc};
    uint32_t total = node_n_in(g, c->n), n_cap = node_rec(g, c->n)->n_capture, own = total - n_cap, n_out = node_n_out(g, c->n), n = 0, n_y = 0, n_x = 0;
    Value *operand = arena_array(arena, Value, total + n_out + 1), *map = arena_array(arena, Value, old->value.n + 1);
    Value *ys = arena_array(arena, Value, n_out + 1), *dys = arena_array(arena, Value, n_out + 1);
    Value *xs = arena_array(arena, Value, total + 1), *dx = arena_array(arena, Value, total + 1);
    for (uint32_t k = 0; k < own; k++) map[old->in.p[k].i] = graph_input(b, value_type(old, old->in.p[k]), (Name){0}), operand[n++] = gr_in(c, k);
    for (uint32_t r = 0; r < n_out; r++)
        if (c->dy[r].i) dys[n_y++] = graph_input(b, value_type(old, old->out.p[r]), (Name){0}), operand[n++] = c->dy[r];
    for (uint32_t k = own; k < total; k++) map[old->in.p[k].i] = graph_input(b, value_type(g, gr_in(c, k)), (Name){0}), operand[n++] = gr_in(c, k);
    for (uint32_t k = 0; k < total; k++)
        if (gr_need(c, k)) xs[n_x++] = map[old->in.p[k].i];
    graph_inline(b, NODE_NONE, old, map);
    for (Node i = graph_first(b); i.i; i = node_next(b, i))
        if (!infer_node(b, i)) return false;
    n_y = 0;
    for (uint32_t r = 0; r < n_out; r++)
        if (c->dy[r].i) ys[n_y++] = map[old->out.p[r].i];
    if (!grad_graph(b, NODE_NONE, ys, dys, n_y, xs, n_x, NULL, 0, dx)) return false;
    for (uint32_t k = 0; k < n_x; k++)
        if (!dx[k].i) dx[k] = gr_zero_of(&y, xs[k]);
    if (y.failed) return false;
    graph_set_outputs(b, dx, n_x);
    Node l = graph_add(g, OP_SequenceMap, operand, n, n_x, NULL, x->loc, x->n);
    node_rec(g, l)->n_capture = n_cap;
    graph_set_region(g, l, (const Graph *const[]){b}, 1);
    if (!infer_node(g, l)) return false;
    for (uint32_t k = 0, r = 0; k < total; k++) {
        if (!gr_need(c, k)) continue;
        Value each = node_out(g, l, r++), v = gr_in(c, k);
        gr_set(c, k, k < own && ex_type(x, v)->kind == TY_SEQ ? each : over_elements(x, each, v));
    }
    return true;
}

/* ---- optionals ---- */

bool grad_optional(Grad *c)
{
    gr_set(c, 0, ex1(&c->x, OP_OptionalGetElement, gr_dy(c)));
    return true;
}

bool grad_optional_get(Grad *c)
{
    gr_set(c, 0, gr_type(c, gr_in(c, 0))->kind == TY_OPT ? ex1(&c->x, OP_Optional, gr_dy(c)) : gr_dy(c));
    return true;
}
