/* fold-pad: zeros in front of and behind the pixels become padding of the convolution that reads them: no padded copy.
 *   %1 = Pad(%x, [0,0,2,0, 0,0,0,0])                 =>   %y = Conv(%x, %w) {pads=[2,0,0,0]}
 *   %y = Conv(%1, %w)
 * Each convolution takes the padding for itself, so the Pad may have other readers. Constant padding of zeros only,
 * known at compile time, not negative, not of batch or channels. Requires types. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "passes/graph/match.h"
#include <string.h>

static void *field(const Graph *g, Node n, const char *name, uint32_t *bit)
{
    return (char *)node_attrs(g, n) + attr_find(node_desc(g, n), name, bit)->offset;
}
static bool given(const Graph *g, Node n, const char *name)
{
    uint32_t bit;
    return attr_find(node_desc(g, n), name, &bit) && (*(const uint64_t *)node_attrs(g, n) >> bit & 1);
}

/* How much a Pad puts around each axis: before[], after[]. false: not zeros, or not known. */
static bool padding(Graph *g, Node pad, int rank, int64_t *before, int64_t *after)
{
    uint32_t bit;
    double fill;
    const char *mode = *(const char **)field(g, pad, "mode", &bit);
    const Content *p = infer_value_content(g, node_in(g, pad, 1)), *axes = NULL;
    if (strcmp(mode, "constant") || !p || p->n % 2) return false;
    if (node_in(g, pad, 2).i && (!match_scalar(g, node_in(g, pad, 2), &fill) || fill != 0)) return false;
    if (node_in(g, pad, 3).i && !(axes = infer_value_content(g, node_in(g, pad, 3)))) return false;
    uint32_t n = p->n / 2;
    if (axes ? axes->n != n : n != (uint32_t)rank) return false;
    for (int i = 0; i < rank; i++) before[i] = after[i] = 0;
    for (uint32_t k = 0; k < n; k++) {
        int64_t axis = k, b, e;
        Dims *d = &g->m->dims;
        if (axes && !dim_is_const(d, dim_resolve(d, axes->d[k]), &axis)) return false;
        if (axis < 0) axis += rank;
        if (axis < 0 || axis >= rank || !dim_is_const(d, dim_resolve(d, p->d[k]), &b) ||
            !dim_is_const(d, dim_resolve(d, p->d[k + n]), &e))
            return false;
        if (b < 0 || e < 0 || (axis < 2 && (b || e))) return false;
        before[axis] = b;
        after[axis] = e;
    }
    return true;
}

static bool fold_one(PassCtx *c, Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    Value x = node_in(g, n, 0);
    Node pad = x.i ? value_rec(g, x)->def : NODE_NONE;
    uint32_t bit;
    int64_t before[RANK_MAX], after[RANK_MAX];
    if (strcmp(d->name, "Conv") || (d->domain && *d->domain) || !pad.i || node_rec(g, pad)->op != OP_Pad) return false;
    int rank = value_trec(g, x)->rank, space = rank - 2;
    const char *automatic = *(const char **)field(g, n, "auto_pad", &bit);
    if (space < 1 || (strcmp(automatic, "NOTSET") && strcmp(automatic, "VALID"))) return false;
    if (!padding(g, pad, rank, before, after) || !pass_may_rewrite(c)) return false;
    AttrInts *pads = field(g, n, "pads", &bit);
    int64_t *sum = arena_array(g->m->arena, int64_t, 2 * (size_t)space);
    bool had = given(g, n, "pads") && pads->n == 2 * (uint32_t)space && !strcmp(automatic, "NOTSET");
    for (int i = 0; i < space; i++) {
        sum[i] = before[i + 2] + (had ? pads->p[i] : 0);
        sum[i + space] = after[i + 2] + (had ? pads->p[i + space] : 0);
    }
    *pads = (AttrInts){sum, 2 * (uint32_t)space};
    *(uint64_t *)node_rec(g, n)->attrs |= 1ull << bit;
    *(const char **)field(g, n, "auto_pad", &bit) = "NOTSET";
    graph_set_input(g, n, 0, node_in(g, pad, 0));
    pass_count(c, "paddings taken over", 1);
    return true;
}

static bool fold_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        while (fold_one(c, g, n)) changed = true;
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, fold_graph); }

const Pass pass_fold_pad = {
    .name = "fold-pad", .brief = "zeros around pixels become padding of convolutions", .run = run};
