/* scan.c: Scan and SequenceMap, in terms of Loop.
 *   Scan: states..., scan inputs... -> states..., scan outputs...; iteration i takes slice i of each scan input along its axis, forward or backward:
 *     Loop(len, none, states...; captures: scan inputs, the body's own) { slice_k = Gather(input_k, iter or len-1-iter, axis_k);  the body }
 *     then  outputs that run backward are turned round, and those with an axis other than 0 transposed.
 *   SequenceMap: Loop(SequenceLength(s), none, empty sequences...; captures: s, others) { body(SequenceAt(s, iter), ...), each result inserted at the end }
 * Scan before opset 9 had a batch axis in front of everything: upgrade() makes that an outer Scan over the batch. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include "ir/graph/loop_box.h"
#include <assert.h>
#include <string.h>

static const Port IN[] = {{"initial_state_and_scan_inputs", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port OUT[] = {{"final_state_and_scan_outputs", DTS_MOVE, PORT_VARIADIC | PORT_ANY_KIND, 0}, PORT_END};
typedef struct Scan { uint64_t set; int64_t num_scan_inputs; AttrInts in_axes, out_axes, in_dirs, out_dirs, directions; } Scan;
#define A_INTS_AS(n, f) {.name = n, .kind = ATTR_INTS, .offset = offsetof(Scan, f)}
static const AttrSpec SCAN_ATTRS[] = {{.name = "body", .kind = ATTR_GRAPH, .def_i = 0}, A_INT(Scan, num_scan_inputs, 0), A_INTS_AS("scan_input_axes", in_axes),
                                      A_INTS_AS("scan_output_axes", out_axes), A_INTS_AS("scan_input_directions", in_dirs), A_INTS_AS("scan_output_directions", out_dirs),
                                      A_INTS(Scan, directions), A_END};

static int64_t entry(const AttrInts *a, uint32_t k) { return k < a->n ? a->p[k] : 0; }
static uint32_t own_inputs(const Graph *g, Node n) { return node_n_in(g, n) - node_rec(g, n)->n_capture; }

/* Before opset 9: Scan(lengths or none, states[B,..], inputs[B,T,..])  =>  Scan over B of all of them { Scan(states, inputs) over T };
 * with lengths the inner one sees that many steps of each input, and its scan outputs are filled with zeros up to T. */
typedef struct Batch { Module *m; Graph *g; Loc loc; Value len, none, rest; } Batch;

static Value add(Batch *b, OpCode op, const Value *in, uint32_t n, const void *attrs)
{
    return node_out(b->g, graph_add(b->g, op, in, n, 1, attrs, b->loc, NODE_NONE), 0);
}

static Value ints(Batch *b, int rank, int64_t v)
{
    Dim one = dim_const(&b->m->dims, 1);
    return graph_const(b->g, blob_inline(&b->m->blobs, DT_I64, 1, &v), type_tensor(&b->m->types, DT_I64, rank, &one), (Name){0});
}

/* What the length leaves of T steps, and the length as a vector; lengths outside 0..T are indices out of range. */
static void lengths(Batch *b, Value len, Value x)
{
    Ex e = {.g = b->g};
    Value zero = ints(b, 0, 0), one = ints(b, 0, 1), t = add(b, OP_Shape, &x, 1, ex_set(&e, OP_Shape, NULL, "end", 1)), scalar = add(b, OP_Squeeze, &t, 1, NULL);
    Value past = add(b, OP_Add, (Value[]){scalar, one}, 2, NULL), all = add(b, OP_Range, (Value[]){zero, past, one}, 3, NULL);
    Value left = add(b, OP_Sub, (Value[]){scalar, len}, 2, NULL);   /* beyond T where the length is negative */
    left = add(b, OP_Gather, (Value[]){all, left}, 2, NULL);
    len = add(b, OP_Gather, (Value[]){all, len}, 2, NULL);          /* beyond T */
    b->none = ints(b, 1, 0);
    b->rest = add(b, OP_Unsqueeze, (Value[]){left, b->none}, 2, NULL);
    b->len = add(b, OP_Unsqueeze, (Value[]){len, b->none}, 2, NULL);
}

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Module *m = g->m;
    Scan *a = node_rec(g, n)->attrs;
    if (opset >= 9) return true;
    bool lens = node_in(g, n, 0).i != 0;
    uint32_t n_own = own_inputs(g, n) - 1, n_cap = node_rec(g, n)->n_capture, n_out = node_n_out(g, n), n_in = n_own + n_cap;
    if (a->num_scan_inputs < 1 || a->num_scan_inputs > n_own) return diag(m->diag, graph_loc(g, n), E_SHAPE, "num_scan_inputs does not fit the inputs");
    uint32_t states = n_own - (uint32_t)a->num_scan_inputs;
    Batch b = {.m = m, .g = graph_new(m, "scan_batch"), .loc = node_rec(g, n)->loc};
    Value *in = arena_array(m->arena, Value, n_in + 2), *out = arena_array(m->arena, Value, n_out + 1);
    for (uint32_t k = 0; k < n_own; k++) in[k] = graph_input(b.g, (TypeId){0}, (Name){0});
    if (lens) lengths(&b, graph_input(b.g, (TypeId){0}, (Name){0}), in[states]);
    for (uint32_t k = n_own; k < n_in; k++) in[k] = graph_input(b.g, (TypeId){0}, (Name){0});
    for (uint32_t k = states; k < n_own && lens; k++) in[k] = add(&b, OP_Slice, (Value[]){in[k], b.none, b.len, b.none}, 4, NULL);
    Scan inner = {.set = 2 | (a->directions.n ? 16 : 0), .num_scan_inputs = a->num_scan_inputs, .in_dirs = a->directions};
    Scan all = {.set = 2, .num_scan_inputs = n_own + lens};
    Node s = graph_add(b.g, OP_Scan, in, n_in, n_out, &inner, b.loc, NODE_NONE);
    node_rec(b.g, s)->n_capture = n_cap;
    graph_set_region(b.g, s, (const Graph *const[]){node_rec(g, n)->region[0]}, 1);
    for (uint32_t k = 0; k < n_out; k++) {
        out[k] = node_out(b.g, s, k);
        if (!lens || k < states) continue;
        Ex e = {.g = b.g};
        Value pads = add(&b, OP_Concat, (Value[]){b.none, b.rest}, 2, ex_set(&e, OP_Concat, NULL, "axis", 0));
        out[k] = add(&b, OP_Pad, (Value[]){out[k], pads, VALUE_NONE, b.none}, 4, NULL);
    }
    graph_set_outputs(b.g, out, n_out);
    for (uint32_t k = 0; k < n_own; k++) in[k] = node_in(g, n, k + 1);
    if (lens) in[n_own] = node_in(g, n, 0);
    for (uint32_t k = 0; k < n_cap; k++) in[n_own + lens + k] = node_in(g, n, 1 + n_own + k);
    Node by = graph_add(g, OP_Scan, in, n_in + lens, n_out, &all, b.loc, n);
    node_rec(g, by)->n_capture = n_cap;
    graph_set_region(g, by, (const Graph *const[]){b.g}, 1);
    for (uint32_t k = 0; k < n_out; k++) graph_replace_uses(g, node_out(g, n, k), node_out(g, by, k));
    graph_erase(g, n);
    return true;
}

/* The captures' types, and whether the body takes what it is given. */
static bool bind_body(Infer *c, uint32_t own)
{
    NodeRec *n = node_rec(c->g, c->n);
    Graph *b = n->region[0];
    if (b->in.n != own + n->n_capture) return infer_fail(c, "the body takes %u inputs, %u are given", b->in.n - n->n_capture, own);
    for (uint32_t k = own; k < b->in.n; k++) {
        value_rec(b, b->in.p[k])->type = value_type(c->g, node_in(c->g, c->n, k));
        value_rec(b, b->in.p[k])->content = value_rec(c->g, node_in(c->g, c->n, k))->content;
    }
    return true;
}

/* The list without entry k. */
static AttrInts without(Infer *c, AttrInts a, uint32_t k)
{
    if (k >= a.n) return a;
    int64_t *p = arena_memdup(c->m->arena, a.p, a.n * sizeof *p);
    for (uint32_t i = k; i + 1 < a.n; i++) p[i] = p[i + 1];
    return (AttrInts){p, a.n - 1};
}

/* Scan outputs whose rank only the run decides are carried as sequences, as one more state each. *any: there are. */
static bool collect(Infer *c, uint32_t states, bool *any)
{
    NodeRec *n = node_rec(c->g, c->n);
    Scan *a = n->attrs;
    Graph *b = n->region[0];
    *any = false;
    for (uint32_t r = states; r < node_n_out(c->g, c->n); r++) {
        const TypeRec *t = value_trec(b, b->out.p[r]);
        if (t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN) continue;
        uint32_t k = r - states;
        loop_collect(c->g, c->n, states, r, entry(&a->out_axes, k), entry(&a->out_dirs, k));
        a = node_rec(c->g, c->n)->attrs = arena_memdup(c->m->arena, a, sizeof *a);
        a->out_axes = without(c, a->out_axes, k);
        a->out_dirs = without(c, a->out_dirs, k);
        if (!infer_node(c->g, value_rec(c->g, node_in(c->g, c->n, states++))->def)) return false;
        *any = true;
    }
    return true;
}

/* The body's state r, where the run decides its rank: it must be the one that the state begins with. */
static bool state_of_rank(Infer *c, uint32_t r)
{
    struct {
        uint64_t set;
        int64_t rank;
    } of = {1, infer_rank(c, r)};
    Graph *b = node_rec(c->g, c->n)->region[0];
    Value *out = arena_memdup(c->m->arena, b->out.p, b->out.n * sizeof *b->out.p);
    assert(op_desc(OP_OfRank)->attrs_size == sizeof of);
    out[r] = node_out(b, graph_add(b, OP_OfRank, &out[r], 1, 1, &of, node_rec(c->g, c->n)->loc, NODE_NONE), 0);
    graph_set_outputs(b, out, b->out.n);
    return true;
}

static bool scan_infer(Infer *c)
{
    const Scan *a = ATTRS(c->g, c->n, Scan);
    Graph *b = node_rec(c->g, c->n)->region[0];
    uint32_t own = own_inputs(c->g, c->n), n_out = node_n_out(c->g, c->n);
    if (a->num_scan_inputs < 1 || a->num_scan_inputs > own) return infer_fail(c, "num_scan_inputs=%lld of %u inputs", (long long)a->num_scan_inputs, own);
    uint32_t states = own - (uint32_t)a->num_scan_inputs;
    if (!bind_body(c, own)) return false;
    if (b->out.n != n_out || n_out < states) return infer_fail(c, "the body gives %u results, expected %u", b->out.n, n_out);
    Dim len = DIM_NONE;
    for (uint32_t k = 0; k < own; k++) {
        TypeId t = value_type(c->g, node_in(c->g, c->n, k));
        if (k >= states) {
            int64_t axis = entry(&a->in_axes, k - states);
            if (!infer_need_rank(c, k, 1, -1) || !infer_axis(c, &axis, infer_rank(c, k))) return false;
            TypeRec slice = *infer_in(c, k);
            if (len.i && !infer_must_eq(c, infer_dim(c, k, (int)axis), len, "length of a scan input")) return false;
            len = infer_dim(c, k, (int)axis);
            for (int i = (int)axis; i + 1 < slice.rank; i++) slice.dim[i] = slice.dim[i + 1];
            slice.rank--;
            slice.layout = (LayoutId){0};
            t = type_tensor(&c->m->types, slice.elem, slice.rank, slice.dim);
        }
        value_rec(b, b->in.p[k])->type = t;
    }
    if (!infer_graph(b)) return false;
    bool open;
    if (!collect(c, states, &open)) return false;
    for (uint32_t r = 0; r < states; r++) {
        const TypeRec *t = value_trec(b, b->out.p[r]), *s = infer_in(c, r);
        if (t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN || s->kind != TY_TENSOR || s->rank == RANK_UNKNOWN) continue;
        if (!state_of_rank(c, r)) return false;
        open = true;
    }
    if (open) return scan_infer(c); /* with those nodes */
    for (uint32_t r = 0; r < n_out; r++) {
        const TypeRec *t = value_trec(b, b->out.p[r]);
        if (r < states) {   /* a state keeps its shape */
            const TypeRec *s = infer_in(c, r);
            if (t->kind != s->kind || (t->kind == TY_TENSOR && (t->elem != s->elem || t->rank != s->rank))) return infer_fail(c, "state %u changes its type in the body", r);
            for (int i = 0; t->kind == TY_TENSOR && s->rank != RANK_UNKNOWN && i < s->rank; i++)
                if (!infer_must_eq(c, t->dim[i], s->dim[i], "dimension of a state")) return false;
            if (!infer_like(c, r, r)) return false;
            continue;
        }
        if (t->kind != TY_TENSOR) return infer_fail(c, "scan output %u must be a tensor", r);
        if (t->rank == RANK_MAX) return infer_fail(c, "scan output %u has too many dimensions", r);
        int64_t axis = entry(&a->out_axes, r - states);
        Dim dim[RANK_MAX];
        if (!infer_axis(c, &axis, t->rank + 1)) return false;
        for (int i = 0, from = 0; i <= t->rank; i++)
            if (i == axis) dim[i] = len;
            else {
                Dim e = t->dim[from++];
                dim[i] = dim_has_kind(c->d, e, SYM_NODE) ? infer_node_dim(c, r, i, 0, INT64_MAX) : e;
            }
        if (!infer_set(c, r, t->elem, t->rank + 1, dim)) return false;
    }
    return true;
}

/* An empty body of a Loop: iteration, condition, then `n` more inputs of the operands' types. */
static Graph *loop_body(Graph *g, const Value *operand, uint32_t n, const char *name)
{
    Module *m = g->m;
    Graph *b = graph_new(m, name);
    graph_input(b, type_tensor(&m->types, DT_I64, 0, NULL), (Name){0});
    graph_input(b, type_tensor(&m->types, DT_BOOL, 0, NULL), (Name){0});
    for (uint32_t k = 0; k < n; k++) graph_input(b, value_type(g, operand[k]), (Name){0});
    return b;
}

/* Adds the Loop: operands are M, none, states, captures. */
static Node loop_node(Ex *x, Graph *body, Value count, const Value *operand, uint32_t n, uint32_t n_capture, uint32_t n_out)
{
    Value *in = arena_array(x->g->m->arena, Value, n + 2);
    in[0] = count, in[1] = VALUE_NONE;
    memcpy(in + 2, operand, sizeof *in * n);
    Node l = graph_add(x->g, OP_Loop, in, n + 2, n_out, NULL, x->loc, x->n);
    node_rec(x->g, l)->n_capture = n_capture;
    graph_set_region(x->g, l, (const Graph *const[]){body}, 1);
    x->failed = !infer_node(x->g, l);
    return l;
}

static bool scan_expand(Graph *g, Node n)
{
    const Scan *a = ATTRS(g, n, Scan);
    Graph *old = node_rec(g, n)->region[0];
    Arena *arena = g->m->arena;
    uint32_t own = own_inputs(g, n), scans = (uint32_t)a->num_scan_inputs, states = own - scans, total = node_n_in(g, n), n_out = node_n_out(g, n);
    Ex x = ex_begin(g, n);
    Value *operand = arena_array(arena, Value, total + 1), *in = arena_array(arena, Value, total + 1), *out = arena_array(arena, Value, n_out + 2);
    for (uint32_t k = 0; k < total; k++) operand[k] = node_in(g, n, k);
    Graph *b = loop_body(g, operand, total, "scan");
    Ex y = {.g = b, .loc = x.loc};
    for (uint32_t k = 0; k < total; k++) {
        Value v = in[k] = b->in.p[2 + k];
        if (k < states || k >= own) continue;
        int64_t axis = entry(&a->in_axes, k - states);
        if (axis < 0) axis += ex_type(&x, operand[k])->rank;
        Value at = b->in.p[0];
        if (entry(&a->in_dirs, k - states)) {
            Value len = ex2(&y, OP_Squeeze, ex_shape_part(&y, v, axis, axis + 1), ex_int1(&y, 0));
            at = ex2(&y, OP_Sub, ex2(&y, OP_Sub, len, ex_i(&y, DT_I64, 1)), at);
        }
        in[k] = ex_axis(&y, OP_Gather, (Value[]){v, at}, 2, axis);
    }
    if (y.failed) return false;
    out[0] = ex_i(&y, DT_BOOL, 1);
    if (!ex_inline(&y, old, in, out + 1, false)) return false;
    graph_set_outputs(b, out, n_out + 1);
    int64_t axis = entry(&a->in_axes, 0);
    if (axis < 0) axis += ex_type(&x, operand[states])->rank;
    Value count = ex2(&x, OP_Squeeze, ex_shape_part(&x, operand[states], axis, axis + 1), ex_int1(&x, 0));
    if (x.failed) return false;
    Node l = loop_node(&x, b, count, operand, total, total - states, n_out);
    if (x.failed) return false;
    for (uint32_t r = 0; r < n_out; r++) {
        Value v = node_out(g, l, r);
        if (r >= states && entry(&a->out_dirs, r - states)) {
            int64_t last = -1, end = INT64_MIN + 1;
            v = ex_op(&x, OP_Slice, (Value[]){v, ex_int1(&x, last), ex_int1(&x, end), ex_int1(&x, 0), ex_int1(&x, -1)}, 5, NULL);
        }
        int64_t to = r >= states ? entry(&a->out_axes, r - states) : 0, perm[RANK_MAX];
        if (to && !x.failed) {
            int rank = ex_type(&x, v)->rank;
            if (to < 0) to += rank;
            for (int i = 0, from = 1; i < rank; i++) perm[i] = i == to ? 0 : from++;
            v = ex_transpose(&x, v, perm, (uint32_t)rank);
        }
        out[r] = v;
    }
    return ex_end(&x, out, n_out);
}

/* ---- eval of Scan: slices by hand ---- */

static Tensor *slice_of(Eval *e, const Tensor *x, int axis, int64_t at)
{
    int64_t dim[RANK_MAX], inner = 1;
    for (int i = 0, to = 0; i < x->rank; i++)
        if (i != axis) dim[to++] = x->dim[i];
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dim[i];
    Tensor *s = tensor_new(e->arena, x->elem, x->rank - 1, dim);
    for (int64_t k = 0; s && k < s->count; k++) ev_copy(s, k, x, (k / inner * x->dim[axis] + at) * inner + k % inner);
    return s;
}

static bool scan_eval(Eval *e)
{
    const Scan *a = ATTRS(e->g, e->n, Scan);
    Graph *b = node_rec(e->g, e->n)->region[0];
    uint32_t own = own_inputs(e->g, e->n), states = own - (uint32_t)a->num_scan_inputs;
    Tensor **x = arena_array(e->arena, Tensor *, b->in.n + 1), **y = arena_array(e->arena, Tensor *, b->out.n + 1);
    int64_t first = entry(&a->in_axes, 0), len = e->in[states]->dim[first < 0 ? first + e->in[states]->rank : first];
    memcpy(x, e->in, sizeof *x * b->in.n);
    for (int64_t it = 0; it < len; it++) {
        for (uint32_t k = states; k < own; k++) {
            int64_t axis = entry(&a->in_axes, k - states);
            if (axis < 0) axis += e->in[k]->rank;
            if (e->in[k]->dim[axis] != len) return ev_fail(e, "scan inputs differ in length");
            x[k] = slice_of(e, e->in[k], (int)axis, entry(&a->in_dirs, k - states) ? len - 1 - it : it);
        }
        if (!eval_graph(e->arena, b, x, y, &e->why)) return false;
        for (uint32_t k = 0; k < states; k++) x[k] = y[k];
        for (uint32_t r = states; r < e->n_out; r++) {
            const Tensor *s = y[r];
            int64_t axis = entry(&a->out_axes, r - states), at = entry(&a->out_dirs, r - states) ? len - 1 - it : it, dim[RANK_MAX], inner = 1;
            if (axis < 0) axis += s->rank + 1;
            for (int i = 0, from = 0; i <= s->rank; i++) dim[i] = i == axis ? len : s->dim[from++];
            for (int i = (int)axis; i < s->rank; i++) inner *= s->dim[i];
            if (!it && !ev_out(e, r, s->elem, s->rank + 1, dim)) return false;
            for (int64_t k = 0; k < s->count; k++) ev_copy(e->out[r], (k / inner * len + at) * inner + k % inner, s, k);
        }
    }
    for (uint32_t r = states; r < e->n_out && !len; r++) {
        const TypeRec *t = value_trec(e->g, node_out(e->g, e->n, r));
        int64_t dim[RANK_MAX];
        for (int i = 0; i < t->rank; i++)
            if (!dim_is_const(&e->g->m->dims, t->dim[i], &dim[i])) dim[i] = 0;
        if (!ev_out(e, r, t->elem, t->rank, dim)) return false;
    }
    for (uint32_t k = 0; k < states; k++) e->out[k] = x[k];
    return true;
}

const OpDesc op_Scan = {.name = "Scan", .since = 25, .cls = CLS_CONTROL, .in = IN, .out = OUT, .attrs = SCAN_ATTRS, .attrs_size = sizeof(Scan), .upgrade = upgrade,
                        .infer = scan_infer, .expand = scan_expand, .grad = grad_scan, .eval = scan_eval};

/* ---- SequenceMap ---- */

static const Port P_MAP_IN[] = {{"input_sequence", DTS_MOVE, PORT_SEQ, 0}, {"additional_inputs", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_MAP_OUT[] = {{"out_sequence", DTS_MOVE, PORT_VARIADIC | PORT_ANY_KIND, 0}, PORT_END};
typedef struct SeqMap { uint64_t set; } SeqMap;
static const AttrSpec MAP_ATTRS[] = {{.name = "body", .kind = ATTR_GRAPH, .def_i = 0}, A_END};

static bool map_infer(Infer *c)
{
    Graph *b = node_rec(c->g, c->n)->region[0];
    uint32_t own = own_inputs(c->g, c->n), n_out = node_n_out(c->g, c->n);
    if (!bind_body(c, own)) return false;
    if (b->out.n != n_out) return infer_fail(c, "the body gives %u results, expected %u", b->out.n, n_out);
    for (uint32_t k = 0; k < own; k++) {
        const TypeRec *t = infer_in(c, k);
        value_rec(b, b->in.p[k])->type = t->kind == TY_SEQ ? t->of : value_type(c->g, node_in(c->g, c->n, k));
    }
    if (!infer_graph(b)) return false;
    for (uint32_t r = 0; r < n_out; r++) {
        if (value_trec(b, b->out.p[r])->kind != TY_TENSOR) return infer_fail(c, "result %u of the body is not a tensor", r);
        if (!infer_set_type(c, r, type_seq(&c->m->types, value_type(b, b->out.p[r])))) return false;
    }
    return true;
}

static bool map_expand(Graph *g, Node n)
{
    Module *m = g->m;
    Graph *old = node_rec(g, n)->region[0];
    uint32_t own = own_inputs(g, n), total = node_n_in(g, n), n_out = node_n_out(g, n);
    Ex x = ex_begin(g, n);
    Value *operand = arena_array(m->arena, Value, n_out + total + 1), *in = arena_array(m->arena, Value, total + 1), *out = arena_array(m->arena, Value, n_out + 2);
    for (uint32_t r = 0; r < n_out; r++)
        operand[r] = ex_op(&x, OP_SequenceEmpty, NULL, 0, ex_set(&x, OP_SequenceEmpty, NULL, "dtype", value_trec(old, old->out.p[r])->elem));
    for (uint32_t k = 0; k < total; k++) operand[n_out + k] = node_in(g, n, k);
    Value count = ex1(&x, OP_SequenceLength, node_in(g, n, 0));
    if (x.failed) return false;
    Graph *b = loop_body(g, operand, n_out + total, "sequence_map");
    Ex y = {.g = b, .loc = x.loc};
    for (uint32_t k = 0; k < total; k++) {
        in[k] = b->in.p[2 + n_out + k];
        if (k < own && ex_type(&x, operand[n_out + k])->kind == TY_SEQ) in[k] = ex2(&y, OP_SequenceAt, in[k], b->in.p[0]);
    }
    if (y.failed) return false;
    Value *made = arena_array(m->arena, Value, n_out + 1);
    out[0] = ex_i(&y, DT_BOOL, 1);
    if (!ex_inline(&y, old, in, made, false)) return false;
    for (uint32_t r = 0; r < n_out; r++) {
        Value v[2] = {b->in.p[2 + r], made[r]};
        out[1 + r] = node_out(b, graph_add(b, OP_SequenceInsert, v, 2, 1, NULL, x.loc, NODE_NONE), 0);
    }
    graph_set_outputs(b, out, n_out + 1);
    Node l = loop_node(&x, b, count, operand, n_out + total, total, n_out);
    if (x.failed) return false;
    for (uint32_t r = 0; r < n_out; r++) out[r] = node_out(g, l, r);
    return ex_end(&x, out, n_out);
}

static bool map_eval(Eval *e)
{
    Graph *b = node_rec(e->g, e->n)->region[0];
    uint32_t own = own_inputs(e->g, e->n);
    int64_t len = e->in[0]->n_item;
    Tensor **x = arena_array(e->arena, Tensor *, b->in.n + 1), **y = arena_array(e->arena, Tensor *, b->out.n + 1);
    for (uint32_t r = 0; r < e->n_out; r++) {
        e->out[r] = arena_new(e->arena, Tensor);
        e->out[r]->kind = TY_SEQ;
        e->out[r]->n_item = len;
        e->out[r]->item = arena_array(e->arena, Tensor *, len + 1);
    }
    for (int64_t it = 0; it < len; it++) {
        for (uint32_t k = 0; k < b->in.n; k++) {
            bool seq = k < own && e->in[k]->kind == TY_SEQ;
            if (seq && e->in[k]->n_item <= it) return ev_fail(e, "the sequences differ in length");
            x[k] = seq ? e->in[k]->item[it] : e->in[k];
        }
        if (!eval_graph(e->arena, b, x, y, &e->why)) return false;
        for (uint32_t r = 0; r < e->n_out; r++) e->out[r]->item[it] = y[r];
    }
    return true;
}

const OpDesc op_SequenceMap = {.name = "SequenceMap", .since = 17, .cls = CLS_CONTROL, .in = P_MAP_IN, .out = P_MAP_OUT, .attrs = MAP_ATTRS, .attrs_size = sizeof(SeqMap),
                               .infer = map_infer, .expand = map_expand, .grad = grad_seq_map, .eval = map_eval};
