/* upgrade: brings nodes to the newest meaning of their ops (OpDesc.upgrade), in topological order. Some hooks need operand types, so each node is inferred right after
 * its upgrade; what fails there is not reported, since inference proper will.
 *
 * Regions are walked before their node can be inferred (inference of the node runs through its regions and needs them upgraded). Their own inputs get the types that the
 * file declares, with unknown dims, for the time of the walk; then everything that was found in the region is forgotten, equalities of dims included. */
#include "frontend/import.h"
#include "ir/graph/infer.h"
#include <string.h>

static bool operands_typed(const Graph *g, Node n)
{
    for (uint32_t k = 0; k < node_n_in(g, n); k++) {
        Value v = node_in(g, n, k);
        if (v.i && !value_type(g, v).i) return false;   /* of a node that could not be inferred */
    }
    return true;
}

static void infer_quietly(Graph *g, Node n)
{
    if (!operands_typed(g, n)) return;
    DiagFirst before = diag_try(g->m->diag);
    (void)infer_node(g, n);
    diag_tried(g->m->diag, before);
}

/* ---- what a walk through a region must leave no trace of ---- */

static void forget_types(Graph *g)
{
    for (uint32_t k = 0; k < g->in.n; k++) {
        value_rec(g, g->in.p[k])->type = (TypeId){0};
        value_rec(g, g->in.p[k])->content = NULL;
    }
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) forget_types(node_rec(g, n)->region[k]);
        if (node_desc(g, n)->flags & OPF_INTERNAL) continue;   /* a branch that became Fail keeps its results' types */
        for (uint32_t k = 0; k < node_n_out(g, n); k++) {
            value_rec(g, node_out(g, n, k))->type = (TypeId){0};
            value_rec(g, node_out(g, n, k))->content = NULL;
        }
    }
}

typedef struct Before { SymRec *sym; uint32_t n_sym, n_check; bool merged; } Before;

static Before remember(Import *im)
{
    const Module *m = im->m;
    return (Before){arena_memdup(im->arena, m->dims.sym.p, m->dims.sym.n * sizeof(SymRec)), m->dims.sym.n, m->check.n, m->dims.merged};
}

static void forget(Import *im, const Before *b, Graph *g)
{
    Module *m = im->m;
    memcpy(m->dims.sym.p, b->sym, b->n_sym * sizeof(SymRec));
    m->dims.merged = b->merged;
    m->dims.overflow = false;
    m->check.n = b->n_check;
    forget_types(g);
}

static TypeId unknown_dims(Module *m, TypeId t)
{
    if (!t.i) return t;
    TypeRec r = *type_rec(&m->types, t);
    if (r.kind != TY_TENSOR || r.rank == RANK_UNKNOWN) return t;
    for (int k = 0; k < r.rank; k++) r.dim[k] = dim_sym(&m->dims, sym_new(&m->dims, (Name){0}, SYM_NODE, 0, INT64_MAX));
    return type_intern(&m->types, &r);
}

static bool walk(Import *im, Graph *g);

/* Its own inputs: as declared, else like the operand in the same place; captures: as they are. */
static bool walk_region(Import *im, Graph *g, Node n, Graph *r)
{
    const Place *p = r->id < im->place.n ? im->place.p[r->id] : NULL;   /* NULL: a hook made the graph */
    uint32_t n_capture = node_rec(g, n)->n_capture, n_own = node_n_in(g, n) - n_capture, formals = r->in.n - n_capture;
    Before before = remember(im);
    for (uint32_t k = 0; k < formals; k++) {
        TypeId t = p && k < p->formal.n ? p->formal.p[k] : (TypeId){0};
        Value v = n_own == formals ? node_in(g, n, k) : VALUE_NONE;
        if (!t.i && v.i) t = value_type(g, v);
        value_rec(r, r->in.p[k])->type = unknown_dims(im->m, t);
    }
    for (uint32_t k = 0; k < n_capture; k++) {
        const ValueRec *from = value_rec(g, node_in(g, n, n_own + k));
        ValueRec *to = value_rec(r, r->in.p[formals + k]);
        to->type = from->type;
        to->content = from->content;
    }
    bool ok = walk(im, r);
    forget(im, &before, r);
    return ok;
}

/* ---- the walk ---- */

/* 0: it has the newest meaning already. */
static int64_t noted(const Place *p, Node n) { return p && n.i < p->opset.n ? p->opset.p[n.i] : 0; }

/* Hooks make constants of the first operand's type: it must be one that the operator takes. Else the node stays as it is and inference says what is wrong. */
static bool upgradable(const Graph *g, Node n)
{
    const Port *p = node_desc(g, n)->in;
    Value v = node_in(g, n, 0);
    if (!v.i || !value_type(g, v).i || !p->name || p->flags & PORT_ANY_KIND) return true;
    const TypeRec *t = value_trec(g, v);
    if (t->kind == TY_SEQ && p->flags & PORT_SEQ) t = type_rec(&g->m->types, t->of);
    return t->kind == TY_TENSOR && p->types & DTS(t->elem);
}

/* What a hook says of operands without types follows from what is wrong further up, which inference will say: it waits (upgrade_module). */
static bool run_hook(Import *im, Graph *g, Node n, int64_t opset)
{
    const OpDesc *desc = node_desc(g, n);
    if (operands_typed(g, n)) return desc->upgrade(g, n, opset);
    DiagFirst before = diag_try(im->m->diag);
    bool ok = desc->upgrade(g, n, opset);
    diag_tried(im->m->diag, before);
    if (!ok) vec_push(im->arena, &im->late, (Late){g, n, opset});
    return true;
}

/* One node: hooks may put new nodes around it and may erase it. All are inferred. */
static bool node_upgrade(Import *im, Graph *g, Node n, int64_t opset)
{
    const OpDesc *d = node_desc(g, n);
    Node before = node_prev(g, n), after = node_next(g, n);
    bool ok = !opset || !d->upgrade || !upgradable(g, n) || run_hook(im, g, n, opset);
    for (Node k = before.i ? node_next(g, before) : graph_first(g), next; ok && k.i && k.i != after.i; k = next) {
        next = node_next(g, k);
        for (uint32_t r = 0; r < node_rec(g, k)->n_region; r++) ok &= walk_region(im, g, k, node_rec(g, k)->region[r]);
        infer_quietly(g, k);
    }
    return ok;
}

static bool walk(Import *im, Graph *g)
{
    const Place *p = g->id < im->place.n ? im->place.p[g->id] : NULL;
    bool ok = true;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        ok &= node_upgrade(im, g, n, noted(p, n));
    }
    return ok;
}

bool upgrade_module(Import *im)
{
    Module *m = im->m;
    if (!walk(im, m->entry)) return false;
    if (im->late.n && !infer_graph(m->entry)) return false;
    for (uint32_t k = 0; k < im->late.n; k++) {
        Late l = im->late.p[k];
        if (node_desc(l.g, l.n)->upgrade(l.g, l.n, l.opset))
            diag(m->diag, graph_loc(l.g, l.n), E_OP_FORM, arena_printf(im->arena, "opset %lld: this form needs the types of its operands", (long long)l.opset));
    }
    return !im->late.n;
}

/* The results are the graph's outputs for a moment, so that replacing them can be seen. */
bool upgrade_source(Import *im, Place *p, Node n, Value *out)
{
    Graph *g = p->g;
    const OpDesc *d = node_desc(g, n);
    uint32_t n_out = node_n_out(g, n);
    int64_t opset = noted(p, n);
    (void)im;
    if (!d->upgrade) return true;
    graph_set_outputs(g, out, n_out);
    bool ok = d->upgrade(g, n, opset);
    for (uint32_t k = 0; k < n_out; k++) out[k] = g->out.p[k];
    graph_set_outputs(g, NULL, 0);
    if (!node_rec(g, n)->dead) p->opset.p[n.i] = 0;
    return ok;
}
