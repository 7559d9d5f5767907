/* recipe: constants computed by a graph from other constants, evaluated only when the weights are written.
 *   %t = Transpose(%w)  with constant %w      =>      %t = const f32[64,32] graph(1, f32 2048 "m.onnx"@..)
 *                                                     recipe 1  graph @fold(%w: f32[32,64]) -> (%t) { %t = Transpose(%w) }
 * Sources may be recipes themselves; evaluation recurses over them and is naive (the reference hooks). */
#include "ir/graph/recipe.h"
#include "base/bug.h"

Blob recipe_of_node(Graph *g, Node n)
{
    Module *m = g->m;
    Recipe r = {.kind = RECIPE_GRAPH};
    Value from[RECIPE_SRC_MAX], to[RECIPE_SRC_MAX];
    const NodeRec *rec = node_rec(g, n);
    uint32_t n_in = rec->n_in;
    int64_t count;
    if (rec->n_out != 1 || rec->n_region ||
        !dim_is_const(&m->dims, type_count(&m->types, value_type(g, node_out(g, n, 0))), &count))
        return (Blob){0};
    for (uint32_t k = 0; k < n_in; k++) {
        Value v = node_in(g, n, k);
        uint32_t j = 0;
        if (!v.i) continue;
        assert(value_is_const(g, v));
        while (j < r.n_src && from[j].i != v.i) j++;
        if (j == RECIPE_SRC_MAX) return (Blob){0};
        if (j < r.n_src) continue;
        from[j] = v;
        r.src[r.n_src++] = value_rec(g, v)->data;
    }
    Graph *q = graph_new(m, "fold");
    Value *in = arena_array(m->arena, Value, n_in + 1);
    for (uint32_t j = 0; j < r.n_src; j++) to[j] = graph_input(q, value_type(g, from[j]), value_rec(g, from[j])->name);
    for (uint32_t k = 0; k < n_in; k++)
        for (uint32_t j = 0; j < r.n_src; j++)
            if (node_in(g, n, k).i == from[j].i) in[k] = to[j];
    Node c = graph_add(q, rec->op, in, n_in, 1, rec->attrs, rec->loc, NODE_NONE);
    Value y = node_out(q, c, 0);
    value_rec(q, y)->type = value_type(g, node_out(g, n, 0));
    value_rec(q, y)->name = value_rec(g, node_out(g, n, 0))->name;
    graph_set_outputs(q, &y, 1);
    r.graph = q->id;
    return blob_derived(&m->blobs, type_rec(&m->types, value_type(q, y))->elem, count, &r);
}

Tensor *recipe_eval(Arena *a, Module *m, Blob b, TypeId type, const char **why)
{
    const BlobRec *r = blob_rec(&m->blobs, b);
    Tensor *in[RECIPE_SRC_MAX], *out;
    if (r->kind != BLOB_DERIVED) {
        Tensor *t = tensor_from_blob(a, m, b, type);
        if (!t) *why = "a constant is too large to be evaluated";
        return t;
    }
    if (r->recipe->kind != RECIPE_GRAPH) return *why = "packed weights are no tensor", NULL;
    if (r->recipe->graph >= m->graph.n) return *why = "its graph is not in this text", NULL;
    Graph *g = m->graph.p[r->recipe->graph];
    if (g->in.n != r->recipe->n_src || g->out.n != 1) return *why = "a recipe and its graph do not agree", NULL;
    for (uint32_t k = 0; k < g->in.n; k++)
        if (!(in[k] = recipe_eval(a, m, r->recipe->src[k], value_type(g, g->in.p[k]), why))) return NULL;
    return eval_graph(a, g, in, &out, why) ? out : NULL;
}
