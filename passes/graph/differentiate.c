/* differentiate: derivatives become ordinary nodes, which the passes behind this one simplify, fuse and lower like any others.
 *   %y = Mul(%x, %x)                                              %y = Mul(%x, %x)
 *   %d = Gradient(%x, %x, %y) {xs=["x"], y="y"}           =>      %1 = Expand(1, Shape(%y))   %2 = Mul(%1, %x)   %d = Add(%2, %2)
 * Nodes that derive (OPF_DERIVES) are taken in order, so that one may differentiate what another has made: second order. The work is done by their
 * `expand` hook (ir/ops/gradient.c) with the `grad` hooks of the operators on the way (ir/ops/grad.h).
 * Requires types. Must run before what folds constants or merges equal ones: the values that are differentiated by may be constants. */
#include "passes/graph/differentiate.h"
#include "base/bug.h"
#include "ir/graph/infer.h"
#include "passes/pass.h"
#include <string.h>

static PassResult run(PassCtx *c)
{
    Graph **graph;
    uint32_t n_graph = module_graphs(c->m, c->arena, &graph);
    PassResult r = PASS_UNCHANGED;
    for (uint32_t k = 0; k < n_graph; k++)
        for (Node n = graph_first(graph[k]), next; n.i; n = next) {
            Graph *g = graph[k];
            next = node_next(g, n);
            if (!(node_desc(g, n)->flags & OPF_DERIVES)) continue;
            if (!node_desc(g, n)->expand(g, n)) {
                if (!c->diag->errors) diag(c->diag, graph_loc(g, n), E_LOWER, "cannot be differentiated");
                return PASS_FAILED;
            }
            graph_erase(g, n);
            pass_count(c, "gradients", 1);
            r = PASS_CHANGED;
        }
    return r;
}

const Pass pass_differentiate = {.name = "differentiate", .brief = "derivatives become ordinary nodes", .run = run};

/* ---- --grad ---- */

static bool is_float(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    return t->kind == TY_TENSOR && DTS_FLOAT & DTS(t->elem);
}

/* The value of that name: an output by its own name first. */
static Value named(const Graph *g, const char *name, bool any)
{
    Name n = name_of(&g->m->names, name);
    for (uint32_t k = 0; any && k < g->out.n; k++)
        if (g->out_name.p[k].i == n.i) return g->out.p[k];
    for (uint32_t k = 1; k < g->value.n; k++) {
        const ValueRec *v = &g->value.p[k];
        if (v->name.i != n.i || (v->def.i && (!any || node_rec(g, v->def)->dead))) continue;
        return (Value){k};
    }
    return VALUE_NONE;
}

static void add_outputs(Graph *g, const Value *v, const Name *name, uint32_t n)
{
    Module *m = g->m;
    uint32_t had = g->out.n;
    Value *out = arena_array(m->arena, Value, had + n + 1);
    Name *names = arena_array(m->arena, Name, had + n + 1);
    for (uint32_t k = 0; k < had + n; k++) {
        out[k] = k < had ? g->out.p[k] : v[k - had];
        names[k] = k < had ? g->out_name.p[k] : name[k - had];
    }
    graph_set_outputs(g, out, had + n);
    for (uint32_t k = 0; k < had + n; k++) g->out_name.p[k] = names[k];
}

/* X.grad, or X.grad.2 where that is an output already. */
static Name free_name(const Graph *g, const char *x)
{
    for (int i = 1;; i++) {
        Name name = name_of(&g->m->names, arena_printf(g->m->arena, i > 1 ? "%s.grad.%d" : "%s.grad", x, i));
        bool taken = false;
        for (uint32_t k = 0; k < g->out.n; k++) taken |= g->out_name.p[k].i == name.i;
        if (!taken) return name;
    }
}

/* Where Y ends: at the end of the text, or at the colon behind the shortest name that there is; NULL: nowhere. */
static const char *end_of_y(Arena *arena, const Graph *g, const char *wish)
{
    for (const char *p = strchr(wish, ':'); p; p = strchr(p + 1, ':'))
        if (named(g, arena_strndup(arena, wish, (size_t)(p - wish)), true).i) return p;
    return named(g, wish, true).i ? wish + strlen(wish) : NULL;
}

bool differentiate_request(Module *m, const char *wish)
{
    Graph *g = m->entry;
    DiagLoc at = diag_file(m->source);
    VEC(Value) x = {0};
    const char *end = end_of_y(m->arena, g, wish);
    if (!end) return diag(m->diag, at, E_OPTION, arena_printf(m->arena, "--grad: no tensor of the model is called '%s'", arena_strndup(m->arena, wish, strcspn(wish, ":"))));
    const char *y_name = arena_strndup(m->arena, wish, (size_t)(end - wish));
    Value y = named(g, y_name, true);
    if (!is_float(g, y)) return diag(m->diag, at, E_OPTION, arena_printf(m->arena, "--grad: '%s' is no tensor of floats", y_name));
    bool all = !*end || !end[1];
    for (const char *p = all ? NULL : end; p && *p; p += strcspn(p, ",")) {
        size_t n = strcspn(++p, ",");
        const char *text = arena_strndup(m->arena, p, n);
        Value v = named(g, text, false);
        if (!v.i || !is_float(g, v)) return diag(m->diag, at, E_OPTION, arena_printf(m->arena, "--grad: no input or initializer of floats is called '%s'", text));
        for (uint32_t k = 0; k < x.n; k++)
            if (x.p[k].i == v.i) return diag(m->diag, at, E_OPTION, arena_printf(m->arena, "--grad: '%s' is given twice", text));
        vec_push(m->arena, &x, v);
    }
    for (uint32_t k = 1; all && k < g->value.n; k++) {
        const ValueRec *v = &g->value.p[k];
        if (!v->def.i && v->name.i && is_float(g, (Value){k}) && value_used(g, (Value){k})) vec_push(m->arena, &x, (Value){k});
    }
    Value *in = arena_array(m->arena, Value, 2 * x.n + 1), *out = arena_array(m->arena, Value, x.n + 1);
    const char **text = arena_array(m->arena, const char *, x.n + 1);
    Name *name = arena_array(m->arena, Name, x.n + 1);
    for (uint32_t k = 0; k < x.n; k++) {
        in[k] = in[x.n + k] = x.p[k];
        text[k] = name_str(&m->names, value_rec(g, x.p[k])->name);
        name[k] = free_name(g, text[k]);
    }
    in[2 * x.n] = y;
    struct { uint64_t set; AttrStrings xs, zs; const char *y; } a = {.set = 5, .xs = {text, x.n}, .y = y_name};
    assert(sizeof a == op_desc(OP_Gradient)->attrs_size);
    if (!x.n) return diag(m->diag, at, E_OPTION, "--grad: the model has no inputs or initializers of floats");
    Node n = graph_add(g, OP_Gradient, in, 2 * x.n + 1, x.n, &a, (Loc){.node = -1}, NODE_NONE);
    for (uint32_t k = 0; k < x.n; k++) {
        out[k] = node_out(g, n, k);
        value_rec(g, out[k])->name = name[k];
    }
    add_outputs(g, out, name, x.n);
    return infer_node(g, n);
}
