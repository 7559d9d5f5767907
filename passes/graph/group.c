/* group: questions and the surgery that the grouping passes share. */
#include "passes/graph/group.h"
#include <assert.h>

static bool single_result(const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    if (r->n_out != 1 || r->n_region) return false;
    const ValueRec *v = value_rec(g, node_out(g, n, 0));
    const TypeRec *t = type_rec(&g->m->types, v->type);
    return v->type.i && t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && dtype_compute(t->elem) != DT_STR && !v->content;
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

/* ---- groups that grow ---- */

GroupGrowth group_growth(Arena *a, Graph *g, uint32_t max)
{
    return (GroupGrowth){g, arena_array(a, Node, max + 1), 0, max, arena_array(a, bool, g->node.n), a};
}

void group_add(GroupGrowth *s, Node n)
{
    s->member[s->n++] = n;
    s->in[n.i] = true;
}

uint32_t group_exits(const GroupGrowth *s, Value *last)
{
    const Graph *g = s->g;
    uint32_t count = 0;
    for (uint32_t k = 0; k < s->n; k++) {
        Value v = node_out(g, s->member[k], 0);
        const ValueRec *r = value_rec(g, v);
        bool seen = r->n_out_use > 0;
        for (uint32_t u = r->first_use; u; u = g->operand.p[u - 1].next_use) seen |= !s->in[g->operand.p[u - 1].user.i];
        count += seen;
        if (seen) *last = v;
    }
    return count;
}

const char *group_cannot_follow(Graph *g, Node n, Value root)
{
    if (!group_is_eltwise(g, n)) return "it is not element-wise";
    if (!group_same_dims(g, node_out(g, n, 0), root)) return "its result has other dims";
    return NULL;
}

static bool reads_member(const GroupGrowth *s, Node n)
{
    for (uint32_t k = 0; k < node_n_in(s->g, n); k++) {
        Value v = node_in(s->g, n, k);
        if (v.i && value_rec(s->g, v)->def.i && s->in[value_rec(s->g, v)->def.i]) return true;
    }
    return false;
}

/* Does a member read what a node marked in `late` makes? */
static bool reads_late(const GroupGrowth *s, const bool *late, Node n)
{
    bool yes = false;
    for (uint32_t k = 0; k < node_n_in(s->g, n); k++) {
        Value v = node_in(s->g, n, k);
        yes |= v.i && late[value_rec(s->g, v)->def.i];
    }
    return yes;
}

uint32_t group_follow(GroupGrowth *s, Value root)
{
    uint32_t from = s->n, best = s->n, early = s->n, waits = 0, best_waits = 0;
    bool *late = arena_array(s->arena, bool, s->g->node.n); /* nodes behind the root that are no members */
    Value exit = root;
    for (Node u = node_next(s->g, s->member[s->n - 1]); u.i && s->n < s->max; u = node_next(s->g, u)) {
        late[u.i] = true;
        if (!reads_member(s, u)) continue;
        if (group_cannot_follow(s->g, u, root)) continue; /* its operand is then seen from outside, for good */
        late[u.i] = false;
        group_add(s, u);
        waits += reads_late(s, late, u);
        if (group_exits(s, &exit) != 1 || value_rec(s->g, exit)->def.i != u.i) continue;
        best = s->n;
        best_waits = waits;
        if (!waits) early = s->n;
    }
    if (best_waits > 1) best = early; /* a sum of many: each of those that come later takes up what is there */
    while (s->n > best) s->in[s->member[--s->n].i] = false;
    return best - from;
}

void group_explain(PassCtx *c, Graph *g, Node root, Value exit)
{
    const ValueRec *r = value_rec(g, exit);
    DiagLoc at = graph_loc(g, root);
    Node user = value_single_user(g, exit);
    const char *why = user.i ? group_cannot_follow(g, user, exit) : NULL;
    if (r->n_out_use) pass_remark(c, at, "nothing follows: the result is an output");
    else if (!user.i) pass_remark(c, at, "nothing follows: the result has %u users", r->n_use);
    else if (node_desc(g, user)->cls != CLS_CONTROL)
        pass_remark(c, at, "%s does not follow: %s", node_desc(g, user)->name, why ? why : "the group is full");
}

Node group_make(Graph *g, const char *kind, const Node *node, uint32_t n)
{
    struct {
        uint64_t set;
        const char *kind;
        AttrDims causal;
    } attrs = {1, kind, {0}};
    assert(sizeof attrs == op_desc(OP_Group)->attrs_size && n > 1);
    return graph_outline(g, node, n, OP_Group, &attrs, kind, node_rec(g, node[n - 1])->loc);
}
