/* group: questions and the surgery that the grouping passes share. */
#include "passes/graph/group.h"
#include <assert.h>

static bool single_result(const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    if (r->n_out != 1 || r->n_region) return false;
    const ValueRec *v = value_rec(g, node_out(g, n, 0));
    const TypeRec *t = type_rec(&g->m->types, v->type);
    return v->type.i && t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && t->elem != DT_STR && !v->content;
}

bool group_is_eltwise(const Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    return d->cls == CLS_ELTWISE && (d->scalar || d->kop) && !d->lower &&
           !(d->flags & (OPF_RANDOM | OPF_SIDE_EFFECT)) && single_result(g, n);
}

bool group_is_move(const Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    return d->cls == CLS_MOVE && d->route && !d->lower && single_result(g, n);
}

bool group_same_dims(Graph *g, Value x, Value y)
{
    Module *m = g->m;
    const TypeRec *a = value_trec(g, x), *b = value_trec(g, y);
    if (a->kind != TY_TENSOR || b->kind != TY_TENSOR || a->rank != b->rank || a->rank == RANK_UNKNOWN) return false;
    for (int k = 0; k < a->rank; k++)
        if (dim_eq(&m->dims, dim_resolve(&m->dims, a->dim[k]), dim_resolve(&m->dims, b->dim[k])) != TRI_YES)
            return false;
    return true;
}

Node group_make(Graph *g, const char *kind, const Node *node, uint32_t n)
{
    struct {
        uint64_t set;
        const char *kind;
    } attrs = {1, kind};
    assert(sizeof attrs == op_desc(OP_Group)->attrs_size && n > 1);
    return graph_outline(g, node, n, OP_Group, &attrs, kind, node_rec(g, node[n - 1])->loc);
}
