/* order: what nodes depend on. A node needs the results that it names as inputs and those that its subgraphs use without defining them. ONNX asks for files in
 * topological order; not all are. */
#include "frontend/import.h"
#include <string.h>

/* ---- free names ---- */

static void mark(Import *im, Map *set, const char *name)
{
    if (*name) map_put(set, name_of(&im->m->names, name).i, 1);
}

static bool marked(const Map *set, Name n)
{
    uint64_t v;
    return map_get(set, n.i, &v);
}

static void free_names(Import *im, const Onnx__GraphProto *g, Map *listed, NameVec *out);

/* What a node uses: its inputs, the tensors that its attributes name (no operator of ai.onnx has such), its subgraphs' free names. */
static void node_uses(Import *im, const Onnx__NodeProto *n, NameVec *out)
{
    Map listed;
    map_init(&listed, im->arena);
    for (size_t k = 0; k < n->n_input; k++)
        if (*n->input[k]) vec_push(im->arena, out, name_of(&im->m->names, n->input[k]));
    if (*n->domain && op_find(n->domain, n->op_type) != OP_NONE) attrs_tensor_names(im, n, op_desc(op_find(n->domain, n->op_type)), out);
    for (size_t k = 0; k < n->n_attribute; k++) {
        if (n->attribute[k]->g) free_names(im, n->attribute[k]->g, &listed, out);
        for (size_t i = 0; i < n->attribute[k]->n_graphs; i++) free_names(im, n->attribute[k]->graphs[i], &listed, out);
    }
}

static void free_names(Import *im, const Onnx__GraphProto *g, Map *listed, NameVec *out)
{
    Map own;
    NameVec used = {0};
    map_init(&own, im->arena);
    for (size_t k = 0; k < g->n_input; k++) mark(im, &own, g->input[k]->name);
    for (size_t k = 0; k < g->n_initializer; k++) mark(im, &own, g->initializer[k]->name);
    for (size_t k = 0; k < g->n_sparse_initializer; k++)
        if (g->sparse_initializer[k]->values) mark(im, &own, g->sparse_initializer[k]->values->name);
    for (size_t k = 0; k < g->n_node; k++)
        for (size_t i = 0; i < g->node[k]->n_output; i++) mark(im, &own, g->node[k]->output[i]);
    for (size_t k = 0; k < g->n_node; k++) node_uses(im, g->node[k], &used);
    for (size_t k = 0; k < g->n_output; k++)
        if (*g->output[k]->name) vec_push(im->arena, &used, name_of(&im->m->names, g->output[k]->name));
    for (uint32_t k = 0; k < used.n; k++) {
        if (marked(&own, used.p[k]) || marked(listed, used.p[k])) continue;
        map_put(listed, used.p[k].i, 1);
        vec_push(im->arena, out, used.p[k]);
    }
}

void graph_free_names(Import *im, const Onnx__GraphProto *g, NameVec *out)
{
    Map listed;
    map_init(&listed, im->arena);
    for (uint32_t k = 0; k < out->n; k++) map_put(&listed, out->p[k].i, 1);
    free_names(im, g, &listed, out);
}

/* ---- order ---- */

typedef struct Visit { uint32_t node, next; NameVec uses; } Visit;
typedef struct Order {
    Import *im; Nodes nodes;
    Map maker;          /* name -> node + 1 */
    uint8_t *state;     /* 0 new, 1 open, 2 placed */
    uint32_t *to, n;    /* the order so far */
    VEC(Visit) stack;
} Order;

static void visit(Order *o, uint32_t node)
{
    Visit v = {.node = node};
    node_uses(o->im, o->nodes.p[node], &v.uses);
    o->state[node] = 1;
    vec_push(o->im->arena, &o->stack, v);
}

/* Depth first from one node; an explicit stack, as chains are as long as the model. */
static bool place(Order *o, uint32_t first)
{
    visit(o, first);
    while (o->stack.n) {
        Visit *v = &vec_last(&o->stack);
        uint64_t maker = 0;
        if (v->next == v->uses.n) {
            o->state[v->node] = 2;
            o->to[o->n++] = v->node;
            (void)vec_pop(&o->stack);
            continue;
        }
        Name name = v->uses.p[v->next++];
        if (!map_get(&o->maker, name.i, &maker) || o->state[maker - 1] == 2) continue;
        if (o->state[maker - 1] == 1) return diag(o->im->m->diag, diag_file(o->im->m->source), E_CYCLE, name_str(&o->im->m->names, name));
        visit(o, (uint32_t)maker - 1);
    }
    return true;
}

bool nodes_order(Import *im, const Scope *s, Nodes nodes, const uint32_t **order)
{
    uint64_t old;
    Order o = {.im = im, .nodes = nodes};
    map_init(&o.maker, im->arena);
    o.state = arena_array(im->arena, uint8_t, nodes.n + 1);
    *order = o.to = arena_array(im->arena, uint32_t, nodes.n + 1);
    for (uint32_t k = 0; k < nodes.n; k++)
        for (size_t i = 0; i < nodes.p[k]->n_output; i++) {
            Name name = name_of(&im->m->names, nodes.p[k]->output[i]);
            if (name.i && !map_get(&s->name, name.i, &old)) map_put(&o.maker, name.i, k + 1);   /* else it is an input's or initializer's: refused later */
        }
    for (uint32_t k = 0; k < nodes.n; k++)
        if (!o.state[k] && !place(&o, k)) return false;
    return true;
}
