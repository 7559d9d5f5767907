/* verify: what every pass may rely on. Errors are collected, none stops the rest of the checks; all come as E_VERIFY.
 *   values    definitions, results and spans agree; inputs and constants have no node; a constant's type is a tensor
 *             with constant dims and as many elements of the same type as its blob
 *   nodes     the list is linked both ways, holds each live node once and no dead one
 *   operands  value ids in range; defined by an earlier node of the same graph (or an input or constant): so the
 *             graph is acyclic
 *   uses      every use list holds exactly the slots with that value; n_use and n_out_use count right
 *   outputs   exist, one name each; names of the entry graph's inputs and outputs are there and unique
 *   ports     number of operands and results, and their kinds and element types where known, are what the op's table
 *             says; equal type variables agree
 *   attrs     the struct is there when the op has one; required attributes are given
 *   regions   as many as the op has graph attributes; each belongs to one node only; depth <= 64; the last inputs
 *             stand for the captures, with equal types where both are known; the op's own `verify` hook agrees
 *             (results and carried values)
 *   checks    dims are there; the node is one of the graph named
 *   aliases   name an input and an output of the entry graph
 *   symbols   entry symbols name an axis of an entry input
 *   types     (bir_verify_typed) every input, every result and every operand has a type
 * Not checked: that results' types are what inference would compute; that attribute values make sense (inference does
 * both). */
#include "base/bug.h"
#include "ir/graph/op.h"
#include <stdarg.h>
#include <string.h>

#define REGION_DEPTH 64

typedef struct Vf {
    Module *m;
    const char *after;
    bool typed, ok;
    Arena *a;
    uint8_t *seen; /* by graph: reached already */
} Vf;

static void fail(Vf *c, const Graph *g, Node n, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void fail(Vf *c, const Graph *g, Node n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(c->a, fmt, ap);
    va_end(ap);
    if (g && g != c->m->entry) text = arena_printf(c->a, "%s (in graph @%s)", text, name_str(&c->m->names, g->name));
    diag(c->m->diag, g ? graph_loc(g, n) : diag_file(c->m->source), E_VERIFY, c->after, text);
    c->ok = false;
}

static bool value_ok(const Graph *g, Value v) { return v.i < g->value.n; }

/* ---- values and the node list ---- */

static void check_const(Vf *c, const Graph *g, Value v)
{
    const ValueRec *r = value_rec(g, v);
    int64_t count;
    if (r->data.i >= c->m->blobs.rec.n) {
        fail(c, g, NODE_NONE, "constant '%s' has no data", value_name(g, v));
        return;
    }
    const TypeRec *t = type_rec(&c->m->types, r->type);
    const BlobRec *b = blob_rec(&c->m->blobs, r->data);
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN ||
        !dim_is_const(&c->m->dims, type_count(&c->m->types, r->type), &count))
        fail(c, g, NODE_NONE, "constant '%s' is not a tensor with constant dims", value_name(g, v));
    else if (t->elem != b->elem || count != b->count)
        fail(c, g, NODE_NONE, "constant '%s' has %lld elements of %s, its type says %lld of %s", value_name(g, v),
             (long long)b->count, dtype_name(b->elem), (long long)count, dtype_name(t->elem));
}

/* false: what types the values have cannot be looked at. */
static bool check_values(Vf *c, const Graph *g)
{
    bool ok = true;
    for (uint32_t i = 1; i < g->value.n; i++) {
        const ValueRec *r = &g->value.p[i];
        Value v = {i};
        if (r->type.i >= c->m->types.rec.n) {
            fail(c, g, NODE_NONE, "value '%s' has type number %u", value_name(g, v), r->type.i);
            ok = false;
        } else if (r->data.i) check_const(c, g, v);
        if (!r->def.i) continue;
        if (r->data.i) fail(c, g, NODE_NONE, "value '%s' is a constant and a result", value_name(g, v));
        if (r->def.i >= g->node.n) {
            fail(c, g, NODE_NONE, "value '%s' is defined by node number %u", value_name(g, v), r->def.i);
            continue;
        }
        const NodeRec *n = node_rec(g, r->def);
        if (r->result >= n->n_out || n->out + r->result != i)
            fail(c, g, r->def, "value '%s' is not result %u of its node", value_name(g, v), r->result);
    }
    for (uint32_t k = 0; k < g->in.n; k++) {
        Value v = g->in.p[k];
        if (!v.i || !value_ok(g, v)) fail(c, g, NODE_NONE, "input %u is no value", k);
        else if (value_rec(g, v)->def.i || value_rec(g, v)->data.i || value_rec(g, v)->result != k)
            fail(c, g, NODE_NONE, "input '%s' is something else too", value_name(g, v));
    }
    return ok;
}

/* Fills order[node] with 1, 2, ...; false: the list itself is broken, nothing else can be checked. */
static bool check_list(Vf *c, const Graph *g, uint32_t *order)
{
    uint32_t count = 0, live = 0;
    Node prev = NODE_NONE;
    for (Node n = g->first; n.i; prev = n, n = node_rec(g, n)->next) {
        if (n.i >= g->node.n || order[n.i])
            return fail(c, g, NODE_NONE, "the node list is broken behind node %u", prev.i), false;
        if (node_rec(g, n)->prev.i != prev.i) return fail(c, g, n, "the node list does not lead back"), false;
        if (node_rec(g, n)->dead) return fail(c, g, n, "an erased node is in the list"), false;
        order[n.i] = ++count;
    }
    if (g->last.i != prev.i) return fail(c, g, NODE_NONE, "the node list ends at the wrong node"), false;
    for (uint32_t i = 1; i < g->node.n; i++) live += !g->node.p[i].dead;
    if (live != count) return fail(c, g, NODE_NONE, "%u nodes are alive, %u are in the list", live, count), false;
    return true;
}

/* ---- operands and uses ---- */

/* false: the node's operands and results cannot be looked at. */
static bool check_operands(Vf *c, const Graph *g, Node n, const uint32_t *order)
{
    const NodeRec *r = node_rec(g, n);
    if ((uint64_t)r->in + r->n_in > g->operand.n || (uint64_t)r->out + r->n_out > g->value.n) {
        fail(c, g, n, "operands or results lie outside of the graph");
        return false;
    }
    if (r->n_capture > r->n_in) {
        fail(c, g, n, "%u captures, %u operands", r->n_capture, r->n_in);
        return false;
    }
    bool ok = true;
    for (uint32_t k = 0; k < r->n_out; k++)
        if (g->value.p[r->out + k].def.i != n.i) fail(c, g, n, "result %u is another node's", k);
    for (uint32_t k = 0; k < r->n_in; k++) {
        const OperandRec *o = &g->operand.p[r->in + k];
        if (o->user.i != n.i || o->index != k) fail(c, g, n, "operand slot %u is another node's", k);
        if (!value_ok(g, o->v)) {
            fail(c, g, n, "operand %u is value number %u", k, o->v.i);
            ok = false;
            continue;
        }
        Node def = o->v.i ? value_rec(g, o->v)->def : NODE_NONE;
        if (def.i && node_rec(g, def)->dead)
            fail(c, g, n, "operand %u ('%s') is the result of an erased node", k, value_name(g, o->v));
        else if (def.i && order[def.i] >= order[n.i])
            fail(c, g, n, "operand %u ('%s') is defined later", k, value_name(g, o->v));
    }
    return ok;
}

static void check_uses(Vf *c, const Graph *g)
{
    uint32_t slots = 0, listed = 0, outs = 0;
    for (uint32_t s = 1; s < g->operand.n; s++) slots += g->operand.p[s].v.i != 0;
    for (uint32_t i = 1; i < g->value.n; i++) {
        const ValueRec *r = &g->value.p[i];
        uint32_t n = 0, prev = 0;
        for (uint32_t u = r->first_use; u; prev = u, u = g->operand.p[u - 1].next_use, n++)
            if (u > g->operand.n || n > slots || g->operand.p[u - 1].v.i != i || g->operand.p[u - 1].prev_use != prev) {
                fail(c, g, NODE_NONE, "the use list of '%s' is broken", value_name(g, (Value){i}));
                return;
            }
        if (n != r->n_use)
            fail(c, g, NODE_NONE, "'%s' has %u uses, %u are listed", value_name(g, (Value){i}), r->n_use, n);
        listed += n;
        outs += r->n_out_use;
    }
    if (listed != slots) fail(c, g, NODE_NONE, "%u operands hold a value, %u are in use lists", slots, listed);
    if (outs != g->out.n) fail(c, g, NODE_NONE, "%u outputs, %u are counted", g->out.n, outs);
}

static void check_outputs(Vf *c, const Graph *g)
{
    if (g->out_name.n != g->out.n) fail(c, g, NODE_NONE, "%u outputs, %u output names", g->out.n, g->out_name.n);
    for (uint32_t k = 0; k < g->out.n; k++) {
        Value v = g->out.p[k];
        if (!v.i || !value_ok(g, v)) fail(c, g, NODE_NONE, "output %u is no value", k);
        else if (value_rec(g, v)->def.i && node_rec(g, value_rec(g, v)->def)->dead)
            fail(c, g, NODE_NONE, "output %u is the result of an erased node", k);
    }
}

/* ---- what the op's table says ---- */

static const Port *port_at(const Port *p, uint32_t k)
{
    for (uint32_t i = 0; p->name; p++, i++)
        if (i == k || (p->flags & PORT_VARIADIC)) return p;
    return NULL;
}

static void check_port(Vf *c, const Graph *g, Node n, const char *side, uint32_t k, const Port *p, Value v, DType *var)
{
    const TypeRec *t = type_rec(&c->m->types, value_type(g, v));
    if (!value_type(g, v).i || t->kind == TY_NONE || (p->flags & PORT_ANY_KIND)) return;
    TypeKind want = p->flags & PORT_SEQ ? TY_SEQ : p->flags & PORT_MAP ? TY_MAP : TY_TENSOR;
    if (t->kind != want) {
        fail(c, g, n, "%s %u ('%s') is not a %s", side, k, value_name(g, v), want == TY_SEQ ? "sequence" : want == TY_MAP ? "map" : "tensor");
        return;
    }
    DType e = want != TY_TENSOR ? type_rec(&c->m->types, t->of)->elem : t->elem;
    if (e == DT_NONE) return;
    if (!(p->types & DTS(e)))
        fail(c, g, n, "%s %u ('%s') is %s, which %s does not take there", side, k, value_name(g, v), dtype_name(e),
             node_desc(g, n)->name);
    if (!p->same) return;
    if (var[p->same] != DT_NONE && var[p->same] != e)
        fail(c, g, n, "%s %u ('%s') is %s, not %s", side, k, value_name(g, v), dtype_name(e), dtype_name(var[p->same]));
    var[p->same] = e;
}

static void check_ports(Vf *c, const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    const OpDesc *d = op_desc(r->op);
    DType var[256] = {DT_NONE};
    for (uint32_t k = 0; k < r->n_in - r->n_capture; k++) {
        const Port *p = port_at(d->in, k);
        Value v = node_in(g, n, k);
        if (!p) {
            fail(c, g, n, "%s has no input %u", d->name, k);
            break;
        }
        if (v.i) check_port(c, g, n, "input", k, p, v, var);
        else if (!(p->flags & (PORT_OPTIONAL | PORT_VARIADIC)))
            fail(c, g, n, "input %u (%s) of %s is missing", k, p->name, d->name);
    }
    for (uint32_t k = 0; d->in[k].name; k++)
        if (k >= r->n_in - r->n_capture && !(d->in[k].flags & (PORT_OPTIONAL | PORT_VARIADIC)))
            fail(c, g, n, "input %u (%s) of %s is missing", k, d->in[k].name, d->name);
    for (uint32_t k = 0; k < r->n_out; k++) {
        const Port *p = port_at(d->out, k);
        if (p) check_port(c, g, n, "result", k, p, node_out(g, n, k), var);
        else fail(c, g, n, "%s has no result %u", d->name, k);
    }
}

static void check_attrs(Vf *c, const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    const OpDesc *d = op_desc(r->op);
    if ((d->attrs_size > 0) != (r->attrs != NULL)) {
        fail(c, g, n, "%s attributes", r->attrs ? "unexpected" : "no");
        return;
    }
    uint32_t k = 0;
    for (const AttrSpec *s = r->attrs ? d->attrs : NULL; s && s->name; s++, k++)
        if (s->required && s->kind != ATTR_GRAPH && !attr_given(d, r->attrs, k))
            fail(c, g, n, "attribute '%s' of %s is not given", s->name, d->name);
}

/* ---- regions ---- */

static void check_graph(Vf *c, Graph *g, int depth);

/* A region gets its inputs row-major, however its surroundings keep them. */
static TypeId row_major(Vf *c, TypeId t)
{
    TypeRec r = *type_rec(&c->m->types, t);
    r.layout = (LayoutId){0};
    return type_intern(&c->m->types, &r);
}

static void check_regions(Vf *c, Graph *g, Node n, int depth)
{
    const NodeRec *r = node_rec(g, n);
    const OpDesc *d = op_desc(r->op);
    uint32_t want = 0;
    for (const AttrSpec *s = d->attrs; s && s->name; s++) want += s->kind == ATTR_GRAPH;
    if (r->n_region != want) {
        fail(c, g, n, "%s has %u regions, not %u", d->name, want, r->n_region);
        return;
    }
    for (uint32_t k = 0; k < r->n_region; k++) {
        Graph *q = r->region[k];
        if (!q || q->id >= c->m->graph.n || c->m->graph.p[q->id] != q) {
            fail(c, g, n, "region %u is no graph of this module", k);
            continue;
        }
        if (q->in.n < r->n_capture) fail(c, g, n, "region %u has %u inputs for %u captures", k, q->in.n, r->n_capture);
        for (uint32_t j = 0; q->in.n >= r->n_capture && j < r->n_capture; j++) {
            Value outer = node_in(g, n, r->n_in - r->n_capture + j), inner = q->in.p[q->in.n - r->n_capture + j];
            if (!outer.i) fail(c, g, n, "capture %u is missing", j);
            else if (value_type(g, outer).i && value_type(q, inner).i &&
                     row_major(c, value_type(g, outer)).i != row_major(c, value_type(q, inner)).i)
                fail(c, g, n, "capture '%s' and its region input '%s' have different types", value_name(g, outer),
                     value_name(q, inner));
        }
        check_graph(c, q, depth + 1);
    }
    const char *why = NULL;
    if (d->verify && !d->verify(g, n, &why)) fail(c, g, n, "%s", why);
}

/* ---- graphs and the module ---- */

static void check_typed(Vf *c, const Graph *g)
{
    for (uint32_t k = 0; k < g->in.n; k++)
        if (!value_type(g, g->in.p[k]).i) fail(c, g, NODE_NONE, "input '%s' has no type", value_name(g, g->in.p[k]));
    for (Node n = g->first; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_n_out(g, n); k++)
            if (!value_type(g, node_out(g, n, k)).i)
                fail(c, g, n, "result '%s' has no type", value_name(g, node_out(g, n, k)));
}

static void check_graph(Vf *c, Graph *g, int depth)
{
    if (c->seen[g->id]++) {
        fail(c, g, NODE_NONE, "the graph is a region of two nodes");
        return;
    }
    if (depth > REGION_DEPTH) {
        fail(c, g, NODE_NONE, "regions nest deeper than %d", REGION_DEPTH);
        return;
    }
    uint32_t *order = arena_array(c->a, uint32_t, g->node.n + 1);
    bool sound = check_values(c, g);
    check_outputs(c, g);
    if (!check_list(c, g, order) || !sound) return;
    check_uses(c, g);
    for (Node n = g->first; n.i; n = node_next(g, n)) {
        if (node_rec(g, n)->op <= OP_NONE || node_rec(g, n)->op >= OP_COUNT) {
            fail(c, g, NODE_NONE, "node %u has operator number %d", n.i, node_rec(g, n)->op);
            return;
        }
        check_attrs(c, g, n);
        if (!check_operands(c, g, n, order)) continue;
        check_regions(c, g, n, depth);
        check_ports(c, g, n);
    }
    if (c->typed) check_typed(c, g);
}

static void check_names(Vf *c, const Graph *g)
{
    Map seen;
    uint64_t k;
    map_init(&seen, c->a);
    for (uint32_t i = 0; i < g->in.n + g->out_name.n; i++) {
        bool in = i < g->in.n;
        Name name = in ? value_rec(g, g->in.p[i])->name : g->out_name.p[i - g->in.n];
        if (i == g->in.n) map_init(&seen, c->a);
        if (!name.i) fail(c, g, NODE_NONE, "%s %u has no name", in ? "input" : "output", in ? i : i - g->in.n);
        else if (map_get(&seen, name.i, &k))
            fail(c, g, NODE_NONE, "two %ss are called '%s'", in ? "input" : "output", name_str(&c->m->names, name));
        map_put(&seen, name.i, 1);
    }
}

static void check_tables(Vf *c)
{
    Module *m = c->m;
    const Graph *e = m->entry;
    for (uint32_t k = 0; k < m->check.n; k++) {
        const CheckRec *r = &m->check.p[k];
        if (!r->a.i || !r->b.i) fail(c, NULL, NODE_NONE, "check %u has no dims", k);
        if (!r->g || r->g->id >= m->graph.n || !c->seen[r->g->id] || !r->at.i) continue;
        if (r->at.i >= r->g->node.n) fail(c, r->g, NODE_NONE, "check %u stands before node number %u", k, r->at.i);
    }
    for (uint32_t k = 0; k < m->alias.n; k++) {
        bool in = false, out = false;
        for (uint32_t i = 0; i < e->in.n; i++) in |= value_rec(e, e->in.p[i])->name.i == m->alias.p[k].in.i;
        for (uint32_t i = 0; i < e->out_name.n; i++) out |= e->out_name.p[i].i == m->alias.p[k].out.i;
        if (!in) fail(c, NULL, NODE_NONE, "alias: there is no input '%s'", name_str(&m->names, m->alias.p[k].in));
        if (!out) fail(c, NULL, NODE_NONE, "alias: there is no output '%s'", name_str(&m->names, m->alias.p[k].out));
    }
    for (uint32_t k = 0; k < m->rank.n; k++) { /* the ranks are the last outputs, in order */
        bool out = false, last = m->rank.n <= e->out.n && e->out_name.p[e->out.n - m->rank.n + k].i == m->rank.p[k].rank.i;
        for (uint32_t i = 0; last && i < e->out.n - m->rank.n; i++) out |= e->out_name.p[i].i == m->rank.p[k].out.i;
        if (!last || !out) fail(c, NULL, NODE_NONE, "rank: '%s' and '%s' are no outputs that go together", name_str(&m->names, m->rank.p[k].out), name_str(&m->names, m->rank.p[k].rank));
    }
    for (uint32_t i = 1; i < m->dims.sym.n; i++) {
        const SymRec *s = &m->dims.sym.p[i];
        if (s->kind != SYM_ENTRY || s->input < 0) continue;
        const TypeRec *t = (uint32_t)s->input < e->in.n ? value_trec(e, e->in.p[s->input]) : NULL;
        bool there = s->axis == AXIS_RANK || (t && s->axis >= 0 && s->axis < t->rank);
        if (!t || t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || !there)
            fail(c, NULL, NODE_NONE, "symbol %s is read from axis %d of input %d, which is not there",
                 name_str(&m->names, s->name), s->axis, s->input);
    }
}

static bool verify(Module *m, const char *after, bool typed)
{
    Arena a;
    arena_init(&a, "verifier", m->arena->oom);
    Vf c = {
        .m = m, .after = after, .typed = typed, .ok = true, .a = &a, .seen = arena_array(&a, uint8_t, m->graph.n + 1)};
    if (!m->entry) fail(&c, NULL, NODE_NONE, "the module has no graph");
    else {
        check_graph(&c, m->entry, 0);
        check_names(&c, m->entry);
        check_tables(&c);
    }
    arena_free(&a);
    return c.ok;
}

bool bir_verify(Module *m, const char *after) { return verify(m, after, false); }
bool bir_verify_typed(Module *m, const char *after) { return verify(m, after, true); }
