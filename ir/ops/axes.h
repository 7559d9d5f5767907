/* axes.h: what reductions and other ops along axes share: which axes, the shape without them, loops over them. */
#ifndef BMC_IR_OPS_AXES_H
#define BMC_IR_OPS_AXES_H
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

/* Normalises and marks axes; false with *bad set when one is out of range or double. */
static inline bool axes_mark(const int64_t *axes, uint32_t n, int rank, bool *mark, int64_t *bad)
{
    for (int i = 0; i < rank; i++) mark[i] = false;
    for (uint32_t k = 0; k < n; k++) {
        int64_t a = axes[k] < 0 ? axes[k] + rank : axes[k];
        if (a < 0 || a >= rank || mark[a]) return *bad = axes[k], false;
        mark[a] = true;
    }
    return true;
}

/* Flat index of element idx[] in a dense tensor. */
static inline int64_t flat_index(const Tensor *t, const int64_t *idx)
{
    int64_t at = 0;
    for (int i = 0; i < t->rank; i++) at = at * t->dim[i] + idx[i];
    return at;
}
static inline void unflatten(const Tensor *t, int64_t k, int64_t *idx)
{
    for (int i = t->rank - 1; i >= 0; i--) {
        idx[i] = t->dim[i] ? k % t->dim[i] : 0;
        k = t->dim[i] ? k / t->dim[i] : 0;
    }
}
/* The place in x of the j-th element of group o: marked axes are those of a group, the others say which one; in both
 * numbers the last axis runs fastest. */
static inline int64_t group_place(const Tensor *x, const bool *mark, int64_t o, int64_t j)
{
    int64_t at = 0, stride = 1;
    for (int r = x->rank - 1; r >= 0; r--) {
        int64_t *from = mark[r] ? &j : &o;
        at += *from % x->dim[r] * stride;
        *from /= x->dim[r];
        stride *= x->dim[r];
    }
    return at;
}

/* Operand 0 when the result provably has its dims: what a move that leaves every element in place is. */
static inline Value axes_unmoved(Graph *g, Node n)
{
    Value x = node_in(g, n, 0), y = node_out(g, n, 0);
    if (!value_type(g, x).i || !value_type(g, y).i) return VALUE_NONE;
    const TypeRec *a = value_trec(g, x), *b = value_trec(g, y);
    Dims *d = &g->m->dims;
    if (a->kind != TY_TENSOR || a->rank != b->rank || a->rank == RANK_UNKNOWN) return VALUE_NONE;
    for (int i = 0; i < a->rank; i++)
        if (dim_eq(d, dim_resolve(d, a->dim[i]), dim_resolve(d, b->dim[i])) != TRI_YES) return VALUE_NONE;
    return x;
}

/* ---- axes.c: axes that only the run knows ---- */

typedef struct RunAxes {
    int rank; uint32_t n;           /* n 0: only the run knows how many; there are marks then, but no hits */
    Dim hit[RANK_MAX][RANK_MAX];   /* [i][k]: 1 when the k-th axis given is i, else 0 */
    Dim mark[RANK_MAX];            /* 1 when axis i is given */
    Dim before[RANK_MAX];          /* how many axes before i are not given */
} RunAxes;

/* Emits the steps that read an operand of axes of a shape of `rank` dims and check range and uniqueness. false: diagnosed. */
bool axes_read(Lw *, uint32_t operand, int rank, RunAxes *);
Dim axes_bind(Lw *, Dim value, int64_t lo, int64_t hi);                           /* a symbol bound to it, so that formulas stay short; constants stay */
Dim axes_either(Lw *, Dim mark, Dim yes, Dim no);
Dim axes_pick(Lw *, const RunAxes *, int i, const Dim *value, Dim none);          /* value[k] of the k that says i, else none */
Dim axes_rest(Lw *, const RunAxes *, int j, const Dim *len);                      /* the j-th extent that is left when marked ones are taken out */
Dim axes_spread(Lw *, const RunAxes *, int i, const Dim *len, int n);             /* extent i when ones are put in where marked, the n of len elsewhere, in order */

/* Does the node exchange the two axes of a matrix (Transpose)? transpose.c. */
bool transpose_swaps(const Graph *, Node);

#endif
