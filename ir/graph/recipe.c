/* recipe: constants computed by a graph from other constants, evaluated only when the weights are written.
 *   %t = Transpose(%w)  with constant %w      =>      %t = const f32[64,32] graph(1, f32 2048 "m.onnx"@..)
 *                                                     recipe 1  graph @fold(%w: f32[32,64]) -> (%t) { %t = Transpose(%w) }
 * Sources may be recipes themselves; evaluation recurses over them and is naive (the reference hooks). */
#include "ir/graph/recipe.h"
#include "base/bug.h"
#include <string.h>

/* A recipe that is there already for result `at` of the same operator over the same sources (from[], which the node's
 * operands name): clones of a graph fold the same things. */
static Blob find_recipe(Graph *g, Node n, uint32_t at, const Recipe *r, const Value *from)
{
    Module *m = g->m;
    const NodeRec *rec = node_rec(g, n);
    for (uint32_t b = 1; b < m->blobs.rec.n; b++) {
        const BlobRec *known = &m->blobs.rec.p[b];
        if (known->kind != BLOB_DERIVED || known->recipe->kind != RECIPE_GRAPH || known->recipe->n_src != r->n_src) continue;
        if (memcmp(known->recipe->src, r->src, r->n_src * sizeof *r->src) || known->recipe->graph >= m->graph.n) continue;
        const Graph *q = m->graph.p[known->recipe->graph];
        Node c = graph_first(q);
        if (!c.i || node_next(q, c).i || q->in.n != r->n_src || node_rec(q, c)->op != rec->op || node_n_in(q, c) != rec->n_in) continue;
        if (node_n_out(q, c) != rec->n_out || q->out.p[0].i != node_out(q, c, at).i) continue;
        bool same = value_type(q, q->out.p[0]).i == value_type(g, node_out(g, n, at)).i &&
                    attrs_equal(node_desc(g, n), node_attrs(g, n), node_attrs(q, c));
        for (uint32_t j = 0; same && j < r->n_src; j++) same = value_type(q, q->in.p[j]).i == value_type(g, from[j]).i;
        for (uint32_t k = 0; same && k < rec->n_in; k++) {
            Value x = node_in(g, n, k), y = node_in(q, c, k);
            uint32_t j = 0;
            while (x.i && from[j].i != x.i) j++;
            same = x.i ? y.i == q->in.p[j].i : !y.i;
        }
        if (same) return (Blob){b};
    }
    return (Blob){0};
}

Blob recipe_of_node(Graph *g, Node n, uint32_t at, const Blob *operand)
{
    Module *m = g->m;
    Recipe r = {.kind = RECIPE_GRAPH};
    Value from[RECIPE_SRC_MAX], to[RECIPE_SRC_MAX];
    const NodeRec *rec = node_rec(g, n);
    uint32_t n_in = rec->n_in;
    int64_t count;
    if (rec->n_region || !dim_is_const(&m->dims, type_count(&m->types, value_type(g, node_out(g, n, at))), &count))
        return (Blob){0};
    for (uint32_t k = 0; k < n_in; k++) {
        Value v = node_in(g, n, k);
        uint32_t j = 0;
        if (!v.i) continue;
        assert(operand || value_is_const(g, v));
        while (j < r.n_src && from[j].i != v.i) j++;
        if (j == RECIPE_SRC_MAX) return (Blob){0};
        if (j < r.n_src) continue;
        from[j] = v;
        r.src[r.n_src++] = operand ? operand[k] : value_rec(g, v)->data;
    }
    Blob known = find_recipe(g, n, at, &r, from);
    if (known.i) return known;
    Graph *q = graph_new(m, "fold");
    Value *in = arena_array(m->arena, Value, n_in + 1);
    for (uint32_t j = 0; j < r.n_src; j++) to[j] = graph_input(q, value_type(g, from[j]), value_rec(g, from[j])->name);
    for (uint32_t k = 0; k < n_in; k++)
        for (uint32_t j = 0; j < r.n_src; j++)
            if (node_in(g, n, k).i == from[j].i) in[k] = to[j];
    uint32_t n_out = rec->n_out;
    Node c = graph_add(q, rec->op, in, n_in, n_out, rec->attrs, rec->loc, NODE_NONE);
    for (uint32_t k = 0; k < n_out; k++) {
        value_rec(q, node_out(q, c, k))->type = value_type(g, node_out(g, n, k));
        value_rec(q, node_out(q, c, k))->name = value_rec(g, node_out(g, n, k))->name;
    }
    Value y = node_out(q, c, at);
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
