/* grad_control.c: derivatives of Scan, Loop and If; the recurrent operators are expanded into Scan.
 *
 *   Loop: v' = body(i, v, captures), T times       =>   the same Loop, which also keeps what v was before each iteration: s[T, ..]
 *                                                       Loop from the last iteration to the first:
 *                                                         carries the adjoint of v, and the sums of the captures' adjoints
 *                                                         body: v = s[i]; the body's nodes once more; their derivative by v and by the captures
 *   Scan: the same, with slices: those of the inputs come in the other order, their adjoints go out in that
 *   If(cond) then else                             =>   If(cond) of the derivatives of both branches, each with its nodes once more
 *
 * Only what is carried is kept, everything else is computed again. What a Loop carries in changing shapes, or as a sequence, is no slice of a tensor:
 * it is what the Loop gives after so many iterations, run once more for each. Inside, the graphs are differentiated by the same sweep (grad_graph), so loops nest. */
#include "ir/ops/grad.h"
#include <string.h>

static bool is_float(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    return t->kind == TY_TENSOR && DTS_FLOAT & DTS(t->elem);
}

/* Extents that the old node binds, its successor binds: what follows speaks of them. */
static void same_types(Graph *g, Node from, Node to)
{
    for (uint32_t r = 0; r < node_n_out(g, from); r++) value_rec(g, node_out(g, to, r))->type = value_type(g, node_out(g, from, r));
}

/* The node with `more` of its body's clone b as further results, the last ones: `kept`. It takes the place of the old one. */
static bool keeping(Grad *c, Graph *b, const Value *more, uint32_t n_more, Value *kept)
{
    Graph *g = c->g;
    NodeRec old = *node_rec(g, c->n);
    uint32_t n = b->out.n;
    Value *out = arena_array(g->m->arena, Value, n + n_more + 1), *in = arena_array(g->m->arena, Value, old.n_in + 1);
    memcpy(out, b->out.p, n * sizeof *out);
    memcpy(out + n, more, n_more * sizeof *out);
    graph_set_outputs(b, out, n + n_more);
    for (uint32_t k = 0; k < old.n_in; k++) in[k] = node_in(g, c->n, k);
    Node made = graph_add(g, old.op, in, old.n_in, old.n_out + n_more, old.attrs, old.loc, c->n);
    node_rec(g, made)->n_capture = old.n_capture;
    graph_set_region(g, made, (const Graph *const[]){b}, 1);
    same_types(g, c->n, made);
    if (!infer_node(g, made)) return false;
    for (uint32_t r = 0; r < old.n_out; r++) graph_replace_uses(g, node_out(g, c->n, r), node_out(g, made, r));
    for (uint32_t k = 0; k < n_more; k++) kept[k] = node_out(g, made, old.n_out + k);
    return true;
}

/* ---- Loop ---- */

typedef struct LoopParts {
    Graph *body;
    uint32_t carried, captures, scans;
} LoopParts;

static LoopParts parts(const Grad *c)
{
    const NodeRec *n = node_rec(c->g, c->n);
    uint32_t carried = n->n_in - 2 - n->n_capture;
    return (LoopParts){.body = n->region[0], .carried = carried, .captures = n->n_capture, .scans = n->n_out - carried};
}

/* Is carried value k a tensor of one shape? */
static bool is_stacked(const Grad *c, const LoopParts *p, uint32_t k)
{
    Dims *d = &c->g->m->dims;
    const TypeRec *a = value_trec(c->g, gr_in(c, 2 + k)), *inside = value_trec(p->body, p->body->in.p[2 + k]);
    bool same = a->kind == TY_TENSOR && inside->kind == TY_TENSOR && a->rank == inside->rank;
    for (int i = 0; same && i < a->rank; i++) same = dim_eq(d, dim_resolve(d, a->dim[i]), dim_resolve(d, inside->dim[i])) == TRI_YES;
    return same;
}

/* The Loop with its iterations, and each carried value as it was, as more scan outputs. kept[k]: of each carried value, none of those that cannot be stacked;
 * kept[carried]: the iterations. */
static bool loop_keeping(Grad *c, const LoopParts *p, Value *kept)
{
    Graph *b = graph_clone(p->body);
    Value *more = arena_array(c->g->m->arena, Value, p->carried + 1), *got = arena_array(c->g->m->arena, Value, p->carried + 1);
    uint32_t n = 0, k = 0;
    for (; k < p->carried; k++)
        if (is_stacked(c, p, k)) more[n++] = b->in.p[2 + k];
    more[n++] = b->in.p[0];
    if (!keeping(c, b, more, n, got)) return false;
    for (k = n = 0; k < p->carried; k++) kept[k] = is_stacked(c, p, k) ? got[n++] : VALUE_NONE;
    kept[p->carried] = got[n];
    return true;
}

/* The Loop after `at` iterations, in the body of the one backward, for what was not kept. */
static bool run_again(Grad *c, const LoopParts *p, Ex *y, Value at, const Value *init, Value *map)
{
    Value *in = arena_array(c->g->m->arena, Value, 2 + p->carried + p->captures);
    in[0] = at, in[1] = VALUE_NONE;
    memcpy(in + 2, init, p->carried * sizeof *in);
    for (uint32_t k = 0; k < p->captures; k++) in[2 + p->carried + k] = map[p->body->in.p[2 + p->carried + k].i];
    Node l = graph_add(y->g, OP_Loop, in, 2 + p->carried + p->captures, p->carried + p->scans, NULL, y->loc, NODE_NONE);
    node_rec(y->g, l)->n_capture = p->captures;
    Graph *body = graph_clone(p->body);
    for (uint32_t k = 1; k < body->value.n; k++) /* extents that it binds are its own, not those of the Loop forward */
        if (!body->value.p[k].data.i) body->value.p[k].type = (TypeId){0};
    graph_set_region(y->g, l, (const Graph *const[]){body}, 1);
    if (!infer_node(y->g, l)) return false;
    for (uint32_t k = 0; k < p->carried; k++)
        if (!is_stacked(c, p, k)) map[p->body->in.p[2 + k].i] = node_out(y->g, l, k);
    return true;
}

/* An input of the backward body for a value outside: `operand` grows by it. */
typedef struct Outside { Graph *g, *body; Value *operand; uint32_t n; } Outside;
static Value bring(Outside *o, Value v)
{
    if (!v.i) return v;
    if (value_is_const(o->g, v)) return graph_const(o->body, value_rec(o->g, v)->data, value_type(o->g, v), (Name){0});
    Value in = graph_input(o->body, value_type(o->g, v), (Name){0});
    value_rec(o->body, in)->content = value_rec(o->g, v)->content;
    o->operand[o->n++] = v;
    return in;
}

bool grad_loop(Grad *c)
{
    LoopParts p = parts(c);
    Graph *g = c->g, *b = graph_new(g->m, "backward");
    Module *m = g->m;
    Arena *arena = m->arena;
    Ex *x = &c->x, y = {.g = b, .loc = x->loc};
    uint32_t most = 2 * (p.carried + p.captures) + p.scans + p.carried + 8, n_state = 0, n_y = 0, n_x = 0, first_capture = 2 + p.carried;
    Value *kept = arena_array(arena, Value, p.carried + 1), *operand = arena_array(arena, Value, most);
    Value *map = arena_array(arena, Value, p.body->value.n + 1), *ys = arena_array(arena, Value, most), *dys = arena_array(arena, Value, most);
    Value *xs = arena_array(arena, Value, most), *dx = arena_array(arena, Value, most), *state = arena_array(arena, Value, most), *out = arena_array(arena, Value, most);
    if (!loop_keeping(c, &p, kept)) return false;
    Node forward = value_rec(g, kept[p.carried])->def;
    bool again = false;
    /* states: adjoints of carried floats, then sums for captures */
    Value i = graph_input(b, type_tensor(&m->types, DT_I64, 0, NULL), (Name){0});
    graph_input(b, type_tensor(&m->types, DT_BOOL, 0, NULL), (Name){0});
    operand[n_state++] = ex_scalar(x, ex_shape_part(x, kept[p.carried], 0, 1), DT_I64);
    operand[n_state++] = VALUE_NONE;
    Value count = operand[0];
    for (uint32_t k = 0; k < p.carried; k++) {
        again |= !kept[k].i;
        if (!grad_carries(g, gr_in(c, 2 + k))) continue;
        operand[n_state] = c->dy[k].i ? c->dy[k] : gr_zero_of(x, node_out(g, forward, k));
        if (x->failed) return false;
        state[n_state - 2] = graph_input(b, value_type(g, operand[n_state]), (Name){0});
        n_state++;
    }
    for (uint32_t k = 0; k < p.captures; k++) {
        if (!gr_need(c, first_capture + k)) continue;
        operand[n_state] = gr_zero_of(x, gr_in(c, first_capture + k));
        state[n_state - 2] = graph_input(b, value_type(g, gr_in(c, first_capture + k)), (Name){0});
        n_state++;
    }
    if (x->failed) return false;
    /* the iteration once more */
    Outside o = {g, b, operand, n_state};
    Value at = ex2(&y, OP_Sub, ex2(&y, OP_Sub, bring(&o, count), ex_i(&y, DT_I64, 1)), i);
    map[p.body->in.p[0].i] = at;
    map[p.body->in.p[1].i] = ex_i(&y, DT_BOOL, 1);
    Value *init = arena_array(arena, Value, p.carried + 1);
    for (uint32_t k = 0; k < p.carried; k++) {
        if (kept[k].i) map[p.body->in.p[2 + k].i] = ex_axis(&y, OP_Gather, (Value[]){bring(&o, kept[k]), at}, 2, 0);
        if (again) init[k] = bring(&o, gr_in(c, 2 + k));
    }
    for (uint32_t k = 0; k < p.captures; k++) map[p.body->in.p[first_capture + k].i] = bring(&o, gr_in(c, first_capture + k));
    if (again && !run_again(c, &p, &y, at, init, map)) return false;
    for (uint32_t k = 0; k < p.carried; k++)
        if (grad_carries(g, gr_in(c, 2 + k))) xs[n_x++] = map[p.body->in.p[2 + k].i];
    for (uint32_t k = 0; k < p.captures; k++)
        if (gr_need(c, first_capture + k)) xs[n_x++] = map[p.body->in.p[first_capture + k].i];
    Value *slice = arena_array(arena, Value, p.scans + 1);
    for (uint32_t r = 0; r < p.scans; r++)
        if (c->dy[p.carried + r].i) slice[r] = ex_axis(&y, OP_Gather, (Value[]){bring(&o, c->dy[p.carried + r]), at}, 2, 0);
    if (y.failed) return false;
    graph_inline(b, NODE_NONE, p.body, map);
    for (Node n = graph_first(b); n.i; n = node_next(b, n))
        if (!infer_node(b, n)) return false;
    /* its derivative */
    for (uint32_t k = 0; k < p.carried; k++)
        if (grad_carries(g, gr_in(c, 2 + k))) ys[n_y] = map[p.body->out.p[1 + k].i], dys[n_y] = state[n_y], n_y++;
    for (uint32_t r = 0; r < p.scans; r++)
        if (slice[r].i) ys[n_y] = map[p.body->out.p[1 + p.carried + r].i], dys[n_y++] = slice[r];
    if (!grad_graph(b, NODE_NONE, ys, dys, n_y, xs, n_x, NULL, 0, dx)) return false;
    out[0] = ex_i(&y, DT_BOOL, 1);
    uint32_t n_carry = 0;
    for (uint32_t k = 0; k < p.carried; k++) n_carry += grad_carries(g, gr_in(c, 2 + k));
    for (uint32_t k = 0; k < n_carry; k++) out[1 + k] = dx[k].i ? dx[k] : gr_zero_of(&y, xs[k]);
    for (uint32_t k = n_carry; k < n_x; k++) out[1 + k] = dx[k].i ? gr_sum_of(&y, state[k], dx[k]) : state[k];
    if (y.failed) return false;
    graph_set_outputs(b, out, n_x + 1);
    Node l = graph_add(g, OP_Loop, operand, o.n, n_x, NULL, x->loc, x->n);
    node_rec(g, l)->n_capture = o.n - n_state;
    graph_set_region(g, l, (const Graph *const[]){b}, 1);
    if (!infer_node(g, l)) return false;
    for (uint32_t k = 0, s = 0; k < p.carried; k++)
        if (grad_carries(g, gr_in(c, 2 + k))) gr_set(c, 2 + k, node_out(g, l, s++));
    for (uint32_t k = 0, s = n_carry; k < p.captures; k++)
        if (gr_need(c, first_capture + k)) gr_set(c, first_capture + k, node_out(g, l, s++));
    return true;
}

/* ---- Scan ---- */

typedef struct ScanParts {
    Graph *body;
    uint32_t states, scans, captures, outs; /* operands: states, scan inputs, captures; results: states, outs */
} ScanParts;

static int64_t entry(AttrInts a, uint32_t k) { return k < a.n ? a.p[k] : 0; }

/* The Scan with its states as they were before each iteration as more outputs. */
static bool scan_keeping(Grad *c, const ScanParts *p, Value *kept)
{
    Graph *b = graph_clone(p->body);
    return !p->states || keeping(c, b, b->in.p, p->states, kept);
}

/* The body of the Scan backwards: its operands, and what its attributes say of the scan inputs and outputs. */
typedef struct Back {
    Graph *b;
    Value *operand;
    uint32_t n, n_scan, n_out;
    int64_t *in_axis, *in_dir, *out_axis, *out_dir;
} Back;

static Value back_slice(Back *s, Value operand, TypeId slice, int64_t axis, int64_t dir)
{
    s->in_axis[s->n_scan] = axis, s->in_dir[s->n_scan++] = !dir;
    s->operand[s->n++] = operand;
    return graph_input(s->b, slice, (Name){0});
}

static Value back_state(Back *s, Value operand, TypeId type, Value *state)
{
    Value in = graph_input(s->b, type, (Name){0});
    if (state) state[s->n] = in;
    s->operand[s->n++] = operand;
    return in;
}

bool grad_scan(Grad *c)
{
    Graph *g = c->g;
    Arena *arena = g->m->arena;
    Ex *x = &c->x;
    uint32_t scans = (uint32_t)gr_int(c, "num_scan_inputs"), n_in = node_n_in(g, c->n), n_cap = node_rec(g, c->n)->n_capture, own = n_in - n_cap;
    ScanParts p = {node_rec(g, c->n)->region[0], own - scans, scans, n_cap, node_n_out(g, c->n) - (own - scans)};
    uint32_t most = 3 * (n_in + p.outs) + 4, n_x = 0, n_y = 0, n_res = 0;
    AttrInts in_axes = gr_ints(c, "scan_input_axes"), in_dirs = gr_ints(c, "scan_input_directions");
    AttrInts out_axes = gr_ints(c, "scan_output_axes"), out_dirs = gr_ints(c, "scan_output_directions");
    Value *kept = arena_array(arena, Value, p.states + 1), *map = arena_array(arena, Value, p.body->value.n + 1), *state = arena_array(arena, Value, most);
    Value *ys = arena_array(arena, Value, most), *dys = arena_array(arena, Value, most), *xs = arena_array(arena, Value, most), *dx = arena_array(arena, Value, most);
    Value *out = arena_array(arena, Value, most), *inner = p.body->in.p;
    Back s = {.b = graph_new(g->m, "backward"), .operand = arena_array(arena, Value, most), .in_axis = arena_array(arena, int64_t, most),
              .in_dir = arena_array(arena, int64_t, most), .out_axis = arena_array(arena, int64_t, most), .out_dir = arena_array(arena, int64_t, most)};
    Ex y = {.g = s.b, .loc = x->loc};
    if (!scan_keeping(c, &p, kept)) return false;
    /* states: the adjoints of states, the sums for captures */
    for (uint32_t k = 0; k < p.states; k++)
        if (is_float(g, gr_in(c, k))) back_state(&s, c->dy[k].i ? c->dy[k] : gr_zero_of(x, gr_in(c, k)), value_type(g, gr_in(c, k)), state);
    uint32_t n_state = s.n;
    for (uint32_t k = own; k < n_in; k++)
        if (gr_need(c, k)) back_state(&s, gr_zero_of(x, gr_in(c, k)), value_type(g, gr_in(c, k)), state);
    uint32_t n_sum = s.n;
    /* slices: the states kept, the inputs, the adjoints of the outputs */
    for (uint32_t k = 0; k < p.states; k++) map[inner[k].i] = back_slice(&s, kept[k], value_type(g, gr_in(c, k)), 0, 0);
    for (uint32_t k = 0; k < scans; k++)
        map[inner[p.states + k].i] = back_slice(&s, gr_in(c, p.states + k), value_type(p.body, inner[p.states + k]), entry(in_axes, k), entry(in_dirs, k));
    for (uint32_t r = 0; r < p.outs; r++) {
        Value dy = c->dy[p.states + r];
        if (dy.i) dys[n_y++] = back_slice(&s, dy, value_type(p.body, p.body->out.p[p.states + r]), entry(out_axes, r), entry(out_dirs, r));
    }
    for (uint32_t k = own; k < n_in; k++) map[inner[k].i] = back_state(&s, gr_in(c, k), value_type(g, gr_in(c, k)), NULL);
    if (x->failed) return false;
    for (uint32_t k = own; k < n_in; k++) value_rec(s.b, map[inner[k].i])->content = value_rec(g, gr_in(c, k))->content;
    for (uint32_t k = 0; k < n_in; k++)
        if (k < p.states ? is_float(g, gr_in(c, k)) : gr_need(c, k)) xs[n_x++] = map[inner[k].i];
    /* xs stand as: states, scan inputs, captures */
    graph_inline(s.b, NODE_NONE, p.body, map);
    for (Node n = graph_first(s.b); n.i; n = node_next(s.b, n))
        if (!infer_node(s.b, n)) return false;
    n_y = 0;
    for (uint32_t r = 0; r < p.outs; r++)
        if (c->dy[p.states + r].i) ys[n_y++] = map[p.body->out.p[p.states + r].i];
    for (uint32_t k = 0, q = 0; k < p.states; k++)
        if (is_float(g, gr_in(c, k))) dys[n_y] = state[q++], ys[n_y++] = map[p.body->out.p[k].i];
    if (!grad_graph(s.b, NODE_NONE, ys, dys, n_y, xs, n_x, NULL, 0, dx)) return false;
    uint32_t n_slice = n_x - n_sum; /* scan inputs asked for */
    for (uint32_t k = 0; k < n_state; k++) out[n_res++] = dx[k].i ? dx[k] : gr_zero_of(&y, xs[k]);
    for (uint32_t k = n_state; k < n_sum; k++) {
        Value d = dx[n_slice + k];
        out[n_res++] = d.i ? gr_sum_of(&y, state[k], d) : state[k];
    }
    for (uint32_t k = 0, q = n_state; k < scans; k++) {
        if (!gr_need(c, p.states + k)) continue;
        s.out_axis[s.n_out] = entry(in_axes, k), s.out_dir[s.n_out++] = !entry(in_dirs, k);
        out[n_res++] = dx[q].i ? dx[q] : gr_zero_of(&y, xs[q]);
        q++;
    }
    if (y.failed) return false;
    graph_set_outputs(s.b, out, n_res);
    void *attrs = ex_set(x, OP_Scan, NULL, "num_scan_inputs", s.n_scan);
    attrs = ex_set_ints(x, OP_Scan, ex_set_ints(x, OP_Scan, attrs, "scan_input_axes", s.in_axis, s.n_scan), "scan_input_directions", s.in_dir, s.n_scan);
    attrs = ex_set_ints(x, OP_Scan, ex_set_ints(x, OP_Scan, attrs, "scan_output_axes", s.out_axis, s.n_out), "scan_output_directions", s.out_dir, s.n_out);
    Node back = graph_add(g, OP_Scan, s.operand, s.n, n_res, attrs, x->loc, x->n);
    node_rec(g, back)->n_capture = n_cap;
    graph_set_region(g, back, (const Graph *const[]){s.b}, 1);
    if (!infer_node(g, back)) return false;
    uint32_t r = 0;
    for (uint32_t k = 0; k < p.states; k++)
        if (is_float(g, gr_in(c, k))) gr_set(c, k, node_out(g, back, r++));
    for (uint32_t k = own; k < n_in; k++)
        if (gr_need(c, k)) gr_set(c, k, node_out(g, back, r++));
    for (uint32_t k = p.states; k < own; k++)
        if (gr_need(c, k)) gr_set(c, k, node_out(g, back, r++));
    return true;
}

/* ---- If ---- */

/* A branch's derivative: (captures, adjoints) -> the adjoints of the captures asked for. */
static Graph *branch(Grad *c, const Graph *old, const Value *outer, uint32_t n_outer)
{
    Graph *g = c->g, *b = graph_new(g->m, "backward");
    Arena *arena = g->m->arena;
    Ex y = {.g = b, .loc = c->x.loc};
    uint32_t n_cap = old->in.n, n_out = node_n_out(g, c->n), n_x = 0, n_y = 0, d = n_cap;
    Value *map = arena_array(arena, Value, old->value.n + 1), *ys = arena_array(arena, Value, n_out + 1), *dys = arena_array(arena, Value, n_out + 1);
    Value *xs = arena_array(arena, Value, n_cap + 1), *dx = arena_array(arena, Value, n_cap + 1);
    for (uint32_t k = 0; k < n_outer; k++) {
        Value in = graph_input(b, value_type(g, outer[k]), (Name){0});
        value_rec(b, in)->content = value_rec(g, outer[k])->content;
        if (k < n_cap) map[old->in.p[k].i] = in;
        if (k < n_cap && gr_need(c, 1 + k)) xs[n_x++] = in;
    }
    graph_inline(b, NODE_NONE, old, map);
    for (Node n = graph_first(b); n.i; n = node_next(b, n))
        if (!infer_node(b, n)) return NULL;
    for (uint32_t r = 0; r < n_out; r++) {
        if (!c->dy[r].i) continue;
        ys[n_y++] = map[old->out.p[r].i];
        bool tensor = ex_type(&y, ys[n_y - 1])->kind == TY_TENSOR;
        dys[n_y - 1] = tensor ? ex2(&y, OP_Reshape, b->in.p[d], ex1(&y, OP_Shape, ys[n_y - 1])) : b->in.p[d];
        d++;
    }
    if (y.failed || !grad_graph(b, NODE_NONE, ys, dys, n_y, xs, n_x, NULL, 0, dx)) return NULL;
    for (uint32_t k = 0; k < n_x; k++)
        if (!dx[k].i) dx[k] = gr_zero_of(&y, xs[k]);
    graph_set_outputs(b, dx, n_x);
    return y.failed ? NULL : b;
}

bool grad_if(Grad *c)
{
    Graph *g = c->g, *b[2];
    uint32_t n_cap = node_n_in(g, c->n) - 1, n = 0, n_x = 0;
    Value *in = arena_array(g->m->arena, Value, n_cap + node_n_out(g, c->n) + 2);
    in[n++] = gr_in(c, 0);
    for (uint32_t k = 0; k < n_cap; k++) {
        in[n++] = gr_in(c, 1 + k);
        n_x += gr_need(c, 1 + k);
    }
    for (uint32_t r = 0; r < node_n_out(g, c->n); r++)
        if (c->dy[r].i) in[n++] = c->dy[r];
    for (int k = 0; k < 2; k++)
        if (!(b[k] = branch(c, node_rec(g, c->n)->region[k], in + 1, n - 1))) return false;
    Node d = graph_add(g, OP_If, in, n, n_x, NULL, c->x.loc, c->x.n);
    node_rec(g, d)->n_capture = n - 1;
    graph_set_region(g, d, (const Graph *const[]){b[0], b[1]}, 2);
    if (!infer_node(g, d)) return false;
    for (uint32_t k = 0, r = 0; k < n_cap; k++)
        if (gr_need(c, 1 + k)) gr_set(c, 1 + k, node_out(g, d, r++));
    return true;
}
