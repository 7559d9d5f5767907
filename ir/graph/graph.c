/* graph: the arrays of a graph and the only functions that change them. Three things hold after each:
 *   - use lists: every operand slot that holds a value is in that value's list exactly once, n_use counts them,
 *     n_out_use counts the graph outputs;
 *   - the node list is in topological order if every caller inserts after the definitions of its operands (verify.c
 *     checks it);
 *   - nothing moves: Value and Node ids stay valid, erased nodes keep their record (dead) and their results' records.
 * Operand spans that grow are moved to the end of Graph.operand when they are not there already; old slots stay empty.
 * Cloning and inlining recurse into regions; readers limit how deep regions nest. */
#include "ir/graph/graph.h"
#include "base/bug.h"
#include "ir/graph/attr.h"
#include "ir/graph/op.h"
#include <string.h>

/* ---- modules ---- */

void module_init(Module *m, Arena *a, Diag *diag)
{
    memset(m, 0, sizeof *m);
    m->arena = a;
    m->diag = diag;
    names_init(&m->names, a);
    dims_init(&m->dims, a, &m->names);
    types_init(&m->types, a, &m->dims);
    blobs_init(&m->blobs, a);
    m->source = "";
    m->prefix = "model";
    m->opset = OPSET_NEWEST;
}

Graph *graph_new(Module *m, const char *name)
{
    Graph *g = arena_new(m->arena, Graph);
    g->m = m;
    g->name = name_of(&m->names, name);
    g->id = m->graph.n;
    vec_push(m->arena, &g->value, (ValueRec){0});
    vec_push(m->arena, &g->operand, (OperandRec){0});
    vec_push(m->arena, &g->node, (NodeRec){0});
    vec_push(m->arena, &m->graph, g);
    return g;
}

Name module_fresh_name(Module *m, const char *stem)
{
    for (;;) {
        uint32_t before = m->names.str.n;
        Name name = name_of(&m->names, arena_printf(m->arena, "%s.%u", stem, ++m->next_name));
        if (m->names.str.n != before) return name; /* it was in nobody's use */
    }
}

/* ---- use lists ---- */

static void use_link(Graph *g, uint32_t slot)
{
    OperandRec *o = &g->operand.p[slot];
    if (!o->v.i) return;
    ValueRec *v = value_rec(g, o->v);
    o->prev_use = 0;
    o->next_use = v->first_use;
    if (v->first_use) g->operand.p[v->first_use - 1].prev_use = slot + 1;
    v->first_use = slot + 1;
    v->n_use++;
}

static void use_unlink(Graph *g, uint32_t slot)
{
    OperandRec *o = &g->operand.p[slot];
    if (!o->v.i) return;
    ValueRec *v = value_rec(g, o->v);
    assert(v->n_use > 0);
    if (o->prev_use) g->operand.p[o->prev_use - 1].next_use = o->next_use;
    else v->first_use = o->next_use;
    if (o->next_use) g->operand.p[o->next_use - 1].prev_use = o->prev_use;
    o->prev_use = o->next_use = 0;
    o->v = VALUE_NONE;
    v->n_use--;
}

/* ---- the node list ---- */

static void node_link(Graph *g, Node n, Node before)
{
    NodeRec *r = node_rec(g, n);
    Node prev = before.i ? node_rec(g, before)->prev : g->last;
    assert(!before.i || !node_rec(g, before)->dead);
    r->prev = prev;
    r->next = before;
    if (prev.i) node_rec(g, prev)->next = n;
    else g->first = n;
    if (before.i) node_rec(g, before)->prev = n;
    else g->last = n;
}

static void node_unlink(Graph *g, Node n)
{
    NodeRec *r = node_rec(g, n);
    if (r->prev.i) node_rec(g, r->prev)->next = r->next;
    else g->first = r->next;
    if (r->next.i) node_rec(g, r->next)->prev = r->prev;
    else g->last = r->prev;
    r->prev = r->next = NODE_NONE;
}

/* ---- mutators ---- */

static Value value_new(Graph *g, ValueRec rec)
{
    vec_push(g->m->arena, &g->value, rec);
    return (Value){g->value.n - 1};
}

Value graph_input(Graph *g, TypeId type, Name name)
{
    Value v = value_new(g, (ValueRec){.type = type, .name = name, .result = g->in.n});
    vec_push(g->m->arena, &g->in, v);
    return v;
}

Value graph_insert_input(Graph *g, uint32_t at, TypeId type, Name name)
{
    Value v = graph_input(g, type, name);
    assert(at < g->in.n);
    for (uint32_t k = g->in.n - 1; k > at; k--) {
        g->in.p[k] = g->in.p[k - 1];
        value_rec(g, g->in.p[k])->result = k;
    }
    g->in.p[at] = v;
    value_rec(g, v)->result = at;
    return v;
}

Value graph_const(Graph *g, Blob data, TypeId type, Name name)
{
    assert(data.i && type_rec(&g->m->types, type)->kind == TY_TENSOR);
    return value_new(g, (ValueRec){.type = type, .name = name, .data = data});
}

Node graph_add(Graph *g, OpCode op, const Value *in, uint32_t n_in, uint32_t n_out, const void *attrs, Loc loc,
               Node before)
{
    const OpDesc *d = op_desc(op);
    Arena *a = g->m->arena;
    Node n = {g->node.n};
    NodeRec r = {.op = op, .in = g->operand.n, .n_in = n_in, .out = g->value.n, .n_out = n_out, .loc = loc};
    if (d->attrs_size) r.attrs = attrs ? arena_memdup(a, attrs, d->attrs_size) : attrs_new(a, d);
    vec_push(a, &g->node, r);
    for (uint32_t k = 0; k < n_in; k++) {
        assert(in[k].i < g->value.n);
        vec_push(a, &g->operand, (OperandRec){.v = in[k], .user = n, .index = k});
        use_link(g, g->operand.n - 1);
    }
    for (uint32_t k = 0; k < n_out; k++) value_new(g, (ValueRec){.def = n, .result = k});
    node_link(g, n, before);
    return n;
}

void graph_set_input(Graph *g, Node n, uint32_t k, Value v)
{
    const NodeRec *r = node_rec(g, n);
    assert(!r->dead && k < r->n_in && v.i < g->value.n);
    use_unlink(g, r->in + k);
    g->operand.p[r->in + k].v = v;
    use_link(g, r->in + k);
}

void graph_add_input(Graph *g, Node n, Value v)
{
    Arena *a = g->m->arena;
    NodeRec *r = node_rec(g, n);
    assert(!r->dead && v.i < g->value.n);
    if (r->in + r->n_in != g->operand.n) {
        uint32_t old = r->in;
        r->in = g->operand.n;
        for (uint32_t k = 0; k < r->n_in; k++) {
            Value x = g->operand.p[old + k].v;
            use_unlink(g, old + k);
            vec_push(a, &g->operand, (OperandRec){.v = x, .user = n, .index = k});
            use_link(g, g->operand.n - 1);
        }
    }
    vec_push(a, &g->operand, (OperandRec){.v = v, .user = n, .index = r->n_in++});
    use_link(g, g->operand.n - 1);
}

void graph_insert_operand(Graph *g, Node n, uint32_t at, Value v)
{
    graph_add_input(g, n, v);
    for (uint32_t k = node_n_in(g, n) - 1; k > at; k--) graph_set_input(g, n, k, node_in(g, n, k - 1));
    graph_set_input(g, n, at, v);
}

void graph_drop_inputs(Graph *g, Node n, uint32_t from)
{
    NodeRec *r = node_rec(g, n);
    if (from >= r->n_in) return;
    uint32_t cut = r->n_in - from;
    for (uint32_t k = from; k < r->n_in; k++) use_unlink(g, r->in + k);
    r->n_in = from;
    r->n_capture = r->n_capture > cut ? r->n_capture - cut : 0;
}

/* The graph output keeps its own name (out_name). For people, the value that takes its place takes the name over as
 * well, where it is free to. */
static void name_take_over(Graph *g, Value old, Value by)
{
    ValueRec *o = value_rec(g, old), *b = value_rec(g, by);
    if (b->name.i && (!o->n_out_use || b->n_out_use || !b->def.i)) return;
    Name name = b->name;
    b->name = o->name;
    o->name = name;
}

void graph_replace_uses(Graph *g, Value old, Value by)
{
    assert(old.i && by.i && old.i < g->value.n && by.i < g->value.n);
    if (old.i == by.i) return;
    name_take_over(g, old, by);
    ValueRec *o = value_rec(g, old), *b = value_rec(g, by);
    uint32_t last = 0;
    for (uint32_t u = o->first_use; u; u = g->operand.p[u - 1].next_use) {
        g->operand.p[u - 1].v = by;
        last = u;
    }
    if (last) {
        g->operand.p[last - 1].next_use = b->first_use;
        if (b->first_use) g->operand.p[b->first_use - 1].prev_use = last;
        b->first_use = o->first_use;
        b->n_use += o->n_use;
        o->first_use = o->n_use = 0;
    }
    for (uint32_t k = 0; o->n_out_use && k < g->out.n; k++) {
        if (g->out.p[k].i != old.i) continue;
        g->out.p[k] = by;
        o->n_out_use--;
        b->n_out_use++;
    }
    assert(o->n_out_use == 0);
}

/* The lists of all graphs at once: there are thousands, and each would go through the checks of all others. */
static void refresh_checks(Module *m)
{
    if (m->check_listed == m->check_moves) return;
    m->check_listed = m->check_moves;
    for (uint32_t k = 0; k < m->graph.n; k++) m->graph.p[k]->check.n = 0;
    for (uint32_t k = 0; k < m->check.n; k++)
        if (m->check.p[k].g) vec_push(m->arena, &m->check.p[k].g->check, k);
}

void module_check(Module *m, CheckRec c)
{
    Graph *g = c.g;
    refresh_checks(m);
    while (g->check.n && g->check.p[g->check.n - 1] >= m->check.n) g->check.n--; /* of those that were cut off */
    vec_push(m->arena, &g->check, m->check.n);
    vec_push(m->arena, &m->check, c);
}

uint32_t graph_checks(const Graph *graph, const uint32_t **at)
{
    Graph *g = (Graph *)graph; /* the list is a cache */
    const Module *m = g->m;
    uint32_t kept = 0;
    refresh_checks(g->m);
    for (uint32_t k = 0; k < g->check.n; k++) {
        uint32_t i = g->check.p[k];
        if (i < m->check.n && m->check.p[i].g == g) g->check.p[kept++] = i;
    }
    g->check.n = kept;
    *at = g->check.p;
    return kept;
}

void graph_drop_checks(Graph *g)
{
    const uint32_t *at;
    for (uint32_t k = 0, count = graph_checks(g, &at); k < count; k++) g->m->check.p[at[k]].g = NULL;
    g->check.n = 0;
}

/* A check that ran before an erased node runs before the next one: what it promises may be used from here on. */
static void checks_move_on(Graph *g, Node n)
{
    Node next = node_rec(g, n)->next;
    if (!next.i) return;
    const uint32_t *at;
    for (uint32_t k = 0, count = graph_checks(g, &at); k < count; k++) {
        CheckRec *c = &g->m->check.p[at[k]];
        if (c->at.i == n.i) c->at = next;
    }
}

void graph_erase(Graph *g, Node n)
{
    NodeRec *r = node_rec(g, n);
    assert(!r->dead);
    if (node_used(g, n)) BUG("erasing %s whose results are used", op_desc(r->op)->name);
    for (uint32_t k = 0; k < r->n_in; k++) use_unlink(g, r->in + k);
    checks_move_on(g, n);
    node_unlink(g, n);
    r->dead = true;
}

void graph_set_outputs(Graph *g, const Value *v, uint32_t n)
{
    for (uint32_t k = 0; k < g->out.n; k++) value_rec(g, g->out.p[k])->n_out_use--;
    g->out.n = g->out_name.n = 0;
    for (uint32_t k = 0; k < n; k++) {
        assert(v[k].i && v[k].i < g->value.n);
        vec_push(g->m->arena, &g->out, v[k]);
        vec_push(g->m->arena, &g->out_name, value_rec(g, v[k])->name);
        value_rec(g, v[k])->n_out_use++;
    }
}

void graph_set_region(Graph *g, Node n, const Graph *const *regions, uint32_t count)
{
    NodeRec *r = node_rec(g, n);
    r->region = arena_array(g->m->arena, Graph *, count ? count : 1);
    for (uint32_t k = 0; k < count; k++) r->region[k] = g->m->graph.p[regions[k]->id];
    r->n_region = count;
}

void graph_move_before(Graph *g, Node n, Node before)
{
    if (n.i == before.i) return;
    node_unlink(g, n);
    node_link(g, n, before);
}

void graph_inline(Graph *to, Node before, const Graph *from, Value *map)
{
    Module *m = to->m;
    Node *made = arena_array(m->arena, Node, from->node.n + 1);
    for (uint32_t i = 1; i < from->value.n; i++) {
        const ValueRec *v = &from->value.p[i];
        if (v->data.i && (v->n_use || v->n_out_use)) {
            map[i] = graph_const(to, v->data, v->type, v->name);
            value_rec(to, map[i])->content = v->content;
        }
    }
    for (Node n = from->first; n.i; n = node_next(from, n)) {
        const NodeRec *r = node_rec(from, n);
        Value *in = arena_array(m->arena, Value, r->n_in ? r->n_in : 1);
        for (uint32_t k = 0; k < r->n_in; k++) {
            Value v = node_in(from, n, k);
            assert(!v.i || map[v.i].i);
            in[k] = v.i ? map[v.i] : VALUE_NONE;
        }
        Node c = graph_add(to, r->op, in, r->n_in, r->n_out, r->attrs, r->loc, before);
        node_rec(to, c)->n_capture = r->n_capture;
        if (r->n_region) {
            const Graph **region = arena_array(m->arena, const Graph *, r->n_region);
            for (uint32_t k = 0; k < r->n_region; k++) region[k] = graph_clone(r->region[k]);
            graph_set_region(to, c, region, r->n_region);
        }
        for (uint32_t k = 0; k < r->n_out; k++) {
            const ValueRec *v = value_rec(from, node_out(from, n, k));
            Value w = node_out(to, c, k);
            value_rec(to, w)->type = v->type;
            value_rec(to, w)->name = v->name;
            value_rec(to, w)->content = v->content;
            map[r->out + k] = w;
        }
        made[n.i] = c;
    }
    const uint32_t *at;
    for (uint32_t k = 0, count = graph_checks(from, &at); k < count; k++) {
        CheckRec check = m->check.p[at[k]];
        if (!check.at.i || !made[check.at.i].i) continue;
        check.g = to;
        check.at = made[check.at.i];
        module_check(m, check);
    }
}

Graph *graph_clone(Graph *g)
{
    Module *m = g->m;
    Graph *c = graph_new(m, name_str(&m->names, g->name));
    Value *map = arena_array(m->arena, Value, g->value.n);
    for (uint32_t k = 0; k < g->in.n; k++) {
        const ValueRec *v = value_rec(g, g->in.p[k]);
        map[g->in.p[k].i] = graph_input(c, v->type, v->name);
        value_rec(c, map[g->in.p[k].i])->content = value_rec(g, g->in.p[k])->content;
    }
    graph_inline(c, NODE_NONE, g, map);
    Value *out = arena_array(m->arena, Value, g->out.n ? g->out.n : 1);
    for (uint32_t k = 0; k < g->out.n; k++) out[k] = map[g->out.p[k].i];
    graph_set_outputs(c, out, g->out.n);
    for (uint32_t k = 0; k < g->out.n; k++) c->out_name.p[k] = g->out_name.p[k];
    return c;
}

/* ---- reading ---- */

bool node_used(const Graph *g, Node n)
{
    for (uint32_t k = 0; k < node_n_out(g, n); k++)
        if (value_used(g, node_out(g, n, k))) return true;
    return false;
}

Node value_single_user(const Graph *g, Value v)
{
    const ValueRec *r = value_rec(g, v);
    return r->n_use == 1 && !r->n_out_use ? g->operand.p[r->first_use - 1].user : NODE_NONE;
}

DiagLoc graph_loc(const Graph *g, Node n)
{
    DiagLoc at = diag_file(g->m->source);
    if (!n.i) return at;
    const Loc *loc = &node_rec(g, n)->loc;
    at.node = loc->node;
    at.node_name = name_str(&g->m->names, loc->name);
    at.op = loc->op.i ? name_str(&g->m->names, loc->op) : op_desc(node_rec(g, n)->op)->name;
    return at;
}

const char *value_name(const Graph *g, Value v)
{
    Name name = value_rec(g, v)->name;
    return name.i ? name_str(&g->m->names, name) : arena_printf(g->m->arena, "%%%u", v.i);
}

typedef VEC(Graph *) GraphVec;

static void graphs_collect(Arena *a, Graph *g, GraphVec *all)
{
    for (Node n = g->first; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) graphs_collect(a, node_rec(g, n)->region[k], all);
    vec_push(a, all, g);
}

uint32_t module_graphs(Module *m, Arena *a, Graph ***out)
{
    GraphVec all = {0};
    if (m->entry) graphs_collect(a, m->entry, &all);
    *out = all.p;
    return all.n;
}

uint32_t *module_blob_uses(Module *m, Arena *a)
{
    Graph **graph;
    uint32_t n = module_graphs(m, a, &graph), *uses = arena_array(a, uint32_t, m->blobs.rec.n + 1);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 1; k < graph[i]->value.n; k++) uses[graph[i]->value.p[k].data.i] += graph[i]->value.p[k].n_use;
    uses[0] = 0;
    return uses;
}

int64_t module_weight_bytes(Module *m, Arena *a)
{
    const uint32_t *uses = module_blob_uses(m, a);
    int64_t sum = 0;
    for (uint32_t k = 1; k < m->blobs.rec.n; k++)
        if (uses[k]) sum += blob_bytes(&m->blobs, (Blob){k});
    return sum;
}

/* ---- checks ---- */
static void mark_sym(void *mark, Sym s) { ((bool *)mark)[s.i] = true; }

typedef struct Known {
    const Dims *d;
    const bool *mark;
    bool all;
} Known;

static void known_sym(void *arg, Sym s)
{
    Known *k = arg;
    k->all &= k->d->sym.p[s.i].kind == SYM_ENTRY || k->mark[s.i];
}

uint32_t module_drop_checks(Module *m, Arena *scratch)
{
    Graph **g;
    uint32_t n = module_graphs(m, scratch, &g), kept = 0, gone = 0;
    bool *mark = arena_array(scratch, bool, m->dims.sym.n);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 1; i < g[k]->value.n; i++) {
            const ValueRec *v = &g[k]->value.p[i];
            if (!v->type.i || (v->def.i && node_rec(g[k], v->def)->dead)) continue;
            const TypeRec *t = type_rec(&m->types, v->type);
            while (t->kind != TY_TENSOR && t->of.i) t = type_rec(&m->types, t->of);
            for (int a = 0; t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && a < t->rank; a++)
                dim_each_sym(&m->dims, t->dim[a], mark_sym, mark);
        }
    for (uint32_t k = 0; k < m->check.n; k++) {
        Known known = {&m->dims, mark, true};
        if (!m->check.p[k].g) continue;
        dim_each_sym(&m->dims, m->check.p[k].a, known_sym, &known);
        dim_each_sym(&m->dims, m->check.p[k].b, known_sym, &known);
        if (known.all) m->check.p[kept++] = m->check.p[k];
        else gone++;
    }
    m->check.n = kept;
    m->check_moves++;
    return gone;
}
