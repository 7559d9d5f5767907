/* gradient.c: Gradient (ai.onnx.preview.training): derivatives of the sum of y by the tensors xs, where xs and zs are independent variables.
 *   operands: values of xs, values of zs | the tensors that xs, zs and y name: the frontend looks them up;   result k: derivative by xs[k], of its shape
 * expand() differentiates (grad.h). Where the values given are not the tensors named, what leads from those to y is copied first, with the values in their
 * place. The pass `differentiate` calls it before anything is simplified: later on, constants that are differentiated by would be folded away. */
#include "ir/ops/grad.h"

static const Port P_IN[] = {{"Inputs", DTS_ANY, PORT_VARIADIC | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_OUT[] = {{"Outputs", DTS_FLOAT, PORT_VARIADIC, 0}, PORT_END};
typedef struct Gradient { uint64_t set; AttrStrings xs, zs; const char *y; } Gradient;
#define NAMES(f, k, must) {.name = #f, .kind = (k), .offset = offsetof(Gradient, f), .required = (must), .names = true}
static const AttrSpec ATTRS_[] = {NAMES(xs, ATTR_STRINGS, true), NAMES(zs, ATTR_STRINGS, false), NAMES(y, ATTR_STRING, true), A_END};

static bool infer(Infer *c)
{
    const Gradient *a = ATTRS(c->g, c->n, Gradient);
    uint32_t m = a->xs.n + a->zs.n, n_in = node_n_in(c->g, c->n), n_out = node_n_out(c->g, c->n);
    if (n_in != 2 * m + 1) return infer_fail(c, "takes a value for each of the %u tensors of xs and zs, %d are given", m, (int)n_in - (int)m - 1);
    if (n_out > a->xs.n) return infer_fail(c, "gives %u derivatives, xs has %u tensors", n_out, a->xs.n);
    for (uint32_t k = 0; k < n_in; k++)
        if (!infer_has(c, k)) return infer_fail(c, "a tensor is left out");
    const TypeRec *y = infer_in(c, 2 * m);
    if (y->kind != TY_TENSOR || !(DTS_FLOAT & DTS(y->elem))) return infer_fail(c, "y must be a tensor of floats");
    for (uint32_t k = 0; k < m; k++) {
        const TypeRec *x = infer_in(c, k), *named = infer_in(c, m + k);
        if (x->kind != named->kind || (x->kind == TY_TENSOR && x->elem != named->elem)) return infer_fail(c, "value %u is not of its tensor's type", k);
        if (k < a->xs.n && (x->kind != TY_TENSOR || !(DTS_FLOAT & DTS(x->elem)))) return infer_fail(c, "xs must be tensors of floats");
        if (k < n_out && !infer_like(c, k, k)) return false;
    }
    return true;
}

/* What leads from the tensors named to y once more, before n, from the values given. */
static bool copy(Graph *g, Node n, const Value *given, const Value *named, uint32_t m, Value *y)
{
    Arena *arena = g->m->arena;
    Value *map = arena_array(arena, Value, g->value.n);
    bool *depends = arena_array(arena, bool, g->value.n), *leaf = arena_array(arena, bool, g->value.n), *wanted = arena_array(arena, bool, g->value.n);
    bool *on = arena_array(arena, bool, g->node.n);
    Node last = node_prev(g, n);
    for (uint32_t k = 0; k < m; k++) leaf[named[k].i] = depends[named[k].i] = true;
    for (uint32_t k = 0; k < m; k++) map[named[k].i] = given[k];
    for (Node k = graph_first(g); k.i != n.i; k = node_next(g, k)) {
        bool any = false;
        for (uint32_t i = 0; i < node_n_in(g, k); i++) any |= depends[node_in(g, k, i).i];
        for (uint32_t r = 0; r < node_n_out(g, k); r++) depends[node_out(g, k, r).i] |= any;
    }
    wanted[y->i] = depends[y->i];
    for (Node k = last; k.i; k = node_prev(g, k)) {
        for (uint32_t r = 0; r < node_n_out(g, k); r++) on[k.i] |= wanted[node_out(g, k, r).i] && !leaf[node_out(g, k, r).i];
        for (uint32_t i = 0; on[k.i] && i < node_n_in(g, k); i++) wanted[node_in(g, k, i).i] |= depends[node_in(g, k, i).i];
    }
    for (Node k = last.i ? graph_first(g) : NODE_NONE; k.i && k.i != n.i; k = k.i == last.i ? NODE_NONE : node_next(g, k)) {
        if (!on[k.i]) continue;
        NodeRec r = *node_rec(g, k);
        Value *in = arena_array(arena, Value, r.n_in + 1);
        for (uint32_t i = 0; i < r.n_in; i++) {
            Value v = node_in(g, k, i);
            in[i] = map[v.i].i ? map[v.i] : v;
        }
        Node to = graph_add(g, r.op, in, r.n_in, r.n_out, r.attrs, r.loc, n);
        node_rec(g, to)->n_capture = r.n_capture;
        const Graph **region = arena_array(arena, const Graph *, r.n_region + 1);
        for (uint32_t i = 0; i < r.n_region; i++) region[i] = graph_clone(r.region[i]);
        if (r.n_region) graph_set_region(g, to, region, r.n_region);
        if (!infer_node(g, to)) return false;
        for (uint32_t i = 0; i < r.n_out; i++)
            if (!leaf[node_out(g, k, i).i]) map[node_out(g, k, i).i] = node_out(g, to, i);
    }
    if (map[y->i].i) *y = map[y->i];
    return true;
}

static bool expand(Graph *g, Node n)
{
    const Gradient *a = ATTRS(g, n, Gradient);
    uint32_t n_x = a->xs.n, m = n_x + a->zs.n;
    Value *given = arena_array(g->m->arena, Value, m + 1), *named = arena_array(g->m->arena, Value, m + 1), y = node_in(g, n, 2 * m);
    Value *dx = arena_array(g->m->arena, Value, n_x + 1);
    bool same = true;
    for (uint32_t k = 0; k < m; k++) {
        given[k] = node_in(g, n, k);
        named[k] = node_in(g, n, m + k);
        same &= given[k].i == named[k].i;
    }
    if (!same && !copy(g, n, given, named, m, &y)) return false;
    Ex x = ex_begin(g, n);
    Value seed = ex2(&x, OP_Expand, ex_f(&x, ex_elem(&x, y), 1), ex1(&x, OP_Shape, y));
    if (x.failed || !grad_graph(g, n, &y, &seed, 1, given, n_x, given + n_x, m - n_x, dx)) return false;
    for (uint32_t k = 0; k < n_x; k++)
        if (!dx[k].i && k < node_n_out(g, n)) dx[k] = ex2(&x, OP_Expand, ex_f(&x, ex_elem(&x, given[k]), 0), ex1(&x, OP_Shape, given[k]));
    return ex_end(&x, dx, n_x < node_n_out(g, n) ? n_x : node_n_out(g, n));
}

const OpDesc op_Gradient = {.name = "Gradient", .domain = "ai.onnx.preview.training", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_DERIVES, .in = P_IN,
                            .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Gradient), .infer = infer, .expand = expand};
