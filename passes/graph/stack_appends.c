/* stack-appends: what grows slice by slice grows as a whole, so that state along an axis (--alias with a capacity) can
 * be written in place where a model keeps keys and values in one tensor.
 *   %k0 = Gather(%past, 0)  %v0 = Gather(%past, 1)     : [B,H,P,D], past: [2,B,H,P,D]
 *   %k1 = Concat(%k0, %k) {axis=2}  %v1 = Concat(%v0, %v) {axis=2}
 *   %present = Concat(Unsqueeze(%k1), Unsqueeze(%v1)) {axis=0}
 *   =>
 *   %new = Concat(Unsqueeze(%k), Unsqueeze(%v)) {axis=0}     %present = Concat(%past, %new) {axis=3}
 *   %k1 = Gather(%present, 0)  %v1 = Gather(%present, 1)     views
 * Only for an input that is such a state, where the new parts are there before anybody reads a grown slice. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "passes/graph/match.h"
#include "passes/pass.h"

enum { SLICES = 4 }; /* of a stack, at most */

typedef struct Stack {
    Graph *g;
    Node whole;
    int axis, grows; /* of the stack; along which it grows */
    uint32_t n;
    Value past, slice[SLICES], fresh[SLICES]; /* grown slices, what is appended to each */
} Stack;

static int64_t *axis_field(const OpDesc *d, void *attrs)
{
    uint32_t bit;
    const AttrSpec *s = attr_find(d, "axis", &bit);
    *(uint64_t *)attrs |= 1ull << bit;
    return (int64_t *)((char *)attrs + s->offset);
}

static int axis_of(const Graph *g, Node n)
{
    uint32_t bit;
    const AttrSpec *s = attr_find(node_desc(g, n), "axis", &bit);
    int64_t a = *(const int64_t *)((const char *)node_attrs(g, n) + s->offset);
    return (int)(a < 0 ? a + value_trec(g, node_in(g, n, 0))->rank : a);
}

static Node def_of(const Graph *g, Value v, OpCode op)
{
    Node n = v.i ? value_rec(g, v)->def : NODE_NONE;
    return n.i && node_rec(g, n)->op == op ? n : NODE_NONE;
}

static bool dim_is_at(const Graph *g, const TypeRec *t, int axis, Dim e)
{
    return dim_eq(&g->m->dims, dim_resolve(&g->m->dims, t->dim[axis]), e) == TRI_YES;
}

/* x with an axis of extent 1 put in at `axis` is y. */
static bool puts_one_in(const Graph *g, Value x, Value y, int axis)
{
    const TypeRec *a = value_trec(g, x), *b = value_trec(g, y);
    Dims *d = &g->m->dims;
    if (a->rank + 1 != b->rank || !dim_is(d, dim_resolve(d, b->dim[axis]), 1)) return false;
    for (int i = 0; i < a->rank; i++)
        if (!dim_is_at(g, b, i < axis ? i : i + 1, dim_resolve(d, a->dim[i]))) return false;
    return true;
}

/* Operand i of the stack: slice i of the past, and something appended. */
static bool is_grown(Stack *s, uint32_t i)
{
    Graph *g = s->g;
    Value v = node_in(g, s->whole, i);
    Node put = def_of(g, v, OP_Unsqueeze);
    if (!put.i) put = def_of(g, v, OP_Reshape);
    Node join = put.i ? def_of(g, node_in(g, put, 0), OP_Concat) : NODE_NONE;
    if (!join.i || node_n_in(g, join) != 2 || !puts_one_in(g, node_in(g, put, 0), v, s->axis)) return false;
    Node part = def_of(g, node_in(g, join, 0), OP_Gather);
    double at;
    int grows = axis_of(g, join);
    grows += grows >= s->axis;
    if (!part.i || axis_of(g, part) != s->axis || !match_scalar(g, node_in(g, part, 1), &at) || at != i) return false;
    if (value_trec(g, node_in(g, part, 1))->rank || (i && (grows != s->grows || s->past.i != node_in(g, part, 0).i)))
        return false;
    s->grows = grows;
    s->past = node_in(g, part, 0);
    s->slice[i] = node_in(g, put, 0);
    s->fresh[i] = node_in(g, join, 1);
    return true;
}

static bool is_state(const Graph *g, Value past, int axis)
{
    const Module *m = g->m;
    for (uint32_t k = 0; k < m->alias.n; k++)
        if (m->alias.p[k].in.i == value_rec(g, past)->name.i && m->alias.p[k].axis == axis) return !value_rec(g, past)->def.i;
    return false;
}

/* The first reader of a grown slice; 0 when a part that is appended is not there by then. */
static Node first_reader(const Stack *s)
{
    const Graph *g = s->g;
    uint32_t ready = 0;
    for (uint32_t i = 0; i < s->n; i++) ready += !value_rec(g, s->fresh[i])->def.i;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            for (uint32_t i = 0; i < s->n; i++)
                if (node_in(g, n, k).i == s->slice[i].i) return ready == s->n ? n : NODE_NONE;
        for (uint32_t i = 0; i < s->n; i++) ready += value_rec(g, s->fresh[i])->def.i == n.i;
    }
    return NODE_NONE;
}

static Value add(Graph *g, OpCode op, const Value *in, uint32_t n, int axis, Loc loc, Node before)
{
    void *attrs = attrs_new(g->m->arena, op_desc(op));
    if (op != OP_Unsqueeze) *axis_field(op_desc(op), attrs) = axis;
    Node made = graph_add(g, op, in, n, 1, attrs, loc, before);
    return infer_node(g, made) ? node_out(g, made, 0) : VALUE_NONE;
}

static Value number(Graph *g, int rank, int64_t v)
{
    Dim one = dim_const(&g->m->dims, 1);
    return graph_const(g, blob_splat_i(&g->m->blobs, DT_I64, 1, v), type_tensor(&g->m->types, DT_I64, rank, &one), (Name){0});
}

static PassResult stack(PassCtx *c, Graph *g, Node whole)
{
    Stack s = {.g = g, .whole = whole, .n = node_n_in(g, whole)};
    if (s.n < 2 || s.n > SLICES) return PASS_UNCHANGED;
    s.axis = axis_of(g, whole);
    for (uint32_t i = 0; i < s.n; i++)
        if (!is_grown(&s, i)) return PASS_UNCHANGED;
    const TypeRec *t = value_trec(g, s.past);
    if (!dim_is_at(g, t, s.axis, dim_const(&g->m->dims, s.n)) || !is_state(g, s.past, s.grows)) return PASS_UNCHANGED;
    Node at = first_reader(&s);
    if (!at.i || !pass_may_rewrite(c)) return PASS_UNCHANGED;
    Loc loc = node_rec(g, whole)->loc;
    Value part[SLICES], fresh, all;
    for (uint32_t i = 0; i < s.n; i++)
        if (!(part[i] = add(g, OP_Unsqueeze, (Value[]){s.fresh[i], number(g, 1, s.axis)}, 2, 0, loc, at)).i) return PASS_FAILED;
    if (!(fresh = add(g, OP_Concat, part, s.n, s.axis, loc, at)).i) return PASS_FAILED;
    if (!(all = add(g, OP_Concat, (Value[]){s.past, fresh}, 2, s.grows, loc, at)).i) return PASS_FAILED;
    graph_replace_uses(g, node_out(g, whole, 0), all);
    graph_erase(g, whole);
    for (uint32_t i = 0; i < s.n; i++) {
        Value slice = add(g, OP_Gather, (Value[]){all, number(g, 0, i)}, 2, s.axis, loc, at);
        if (!slice.i) return PASS_FAILED;
        graph_replace_uses(g, s.slice[i], slice);
    }
    pass_count(c, "stacks", 1);
    return PASS_CHANGED;
}

static PassResult run(PassCtx *c)
{
    Graph *g = c->m->entry;
    PassResult all = PASS_UNCHANGED;
    if (!c->m->alias.n) return all;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op != OP_Concat || node_n_out(g, n) != 1) continue;
        PassResult r = stack(c, g, n);
        if (r == PASS_FAILED) return r;
        if (r == PASS_CHANGED) all = r;
    }
    return all;
}

const Pass pass_stack_appends = {.name = "stack-appends", .brief = "slices of a state that grow one by one grow as a whole", .run = run};
