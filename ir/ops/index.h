/* index.h: indices that the data bring: made positive, checked, guarded. What Scatter*, GatherND and others along data-dependent places share. */
#ifndef BMC_IR_OPS_INDEX_H
#define BMC_IR_OPS_INDEX_H
#include "ir/ops/axes.h"

#define INDEX_TEXT "index {got} is out of range for an axis of {want}"

/* A raw index made positive for an axis of that extent. Out of range: recorded for the run's status, *ok is false and the index is 0. Trusted in unchecked modules. */
static inline KVal index_checked(Lw *l, KVal raw, Dim extent, KVal *ok)
{
    Kb *b = l->b;
    KVal i = kb_cast(b, DT_I64, raw), d = kb_dim(b, extent), zero = kb_i(b, 0);
    KVal at = kb_select(b, kb_lt(b, i, zero), kb_add(b, i, d), i);
    if (l->k->unchecked) return *ok = kb_const_i(b, DT_BOOL, 1), at;
    *ok = kb_and(b, kb_ge(b, at, zero), kb_lt(b, at, d));
    kb_record(b, *ok, INDEX_TEXT, i, d);
    return kb_select(b, *ok, at, zero);
}

/* The same for eval. */
static inline bool index_eval(Eval *e, int64_t *i, int64_t extent)
{
    if (*i < -extent || *i >= extent) return ev_fail(e, "index %lld is out of range for %lld", (long long)*i, (long long)extent);
    if (*i < 0) *i += extent;
    return true;
}

/* OpDesc.has_result of operators whose operand 1 holds indices into operand 0, along `axis`, or, with `tuples`, rows of them for the axes from that one on. */
static inline bool index_within(const Graph *g, Node n, const Tensor *index, int64_t axis, bool tuples)
{
    Dims *d = &g->m->dims;
    const TypeRec *x = value_trec(g, node_in(g, n, 0));
    if (!index || (tuples && !index->rank)) return false;
    if (axis < 0) axis += x->rank;
    int64_t each = tuples ? index->dim[index->rank - 1] : 1, len[RANK_MAX];
    if (axis + each > x->rank) return false;
    for (int64_t k = 0; k < each; k++)
        if (!dim_is_const(d, dim_resolve(d, x->dim[axis + k]), &len[k])) return false;
    for (int64_t k = 0; k < index->count; k++)
        if (ev_i(index, k) < -len[k % each] || ev_i(index, k) >= len[k % each]) return false;
    return true;
}

/* Leaves a step that ends the run unless a REL b; nothing when that is provable. */
static inline void index_check(Lw *l, Dim a, KRel rel, Dim b, const char *msg)
{
    Dims *d = &l->m->dims;
    if (rel == KREL_LE && dim_le(d, a, b) == TRI_YES) return;
    if (rel == KREL_EQ && dim_eq(d, a, b) == TRI_YES) return;
    KStep *s = lw_step(l, KST_CHECK);
    s->a = a, s->b = b, s->rel = rel, s->msg = msg;
}

#endif
