/* matmul_one_hot.c: rows with a single one pick rows of the matrix: a product becomes a Gather.
 *   %1 = Equal(%i: i32[N,T,1], [0, 1, .., n-1])                %r = Add(Min(Max(%i, -1), n), 1)
 *   %2 = Cast(%1) {to=f32}                             =>      %t = Concat(0, %w, 0) {axis=0}
 *   %y = MatMul(%2, %w: f32[n,m])                              %y = Gather(%t, Squeeze(%r))
 * Indices beyond the matrix give rows of zeros, so it gets one at each end. OneHot with a last axis of its own counts its
 * negative indices from the end. Only for a constant matrix of finite numbers: 0 times anything else is not 0. The same
 * bits: a sum of one product and zeros. */
#include "ir/graph/attr.h"
#include "ir/ops/compose.h"
#include "ir/ops/contraction.h"
#include <math.h>
#include <string.h>

enum { NUMBERS_MOST = 1 << 24 }; /* looked at one by one */

static Blob constant(const Graph *g, Value v)
{
    Blob b = v.i ? value_rec(g, v)->data : (Blob){0};
    if (!b.i) return b;
    const BlobRec *r = blob_rec(&g->m->blobs, b);
    return r->kind == BLOB_DERIVED || r->kind == BLOB_STRINGS || r->count > NUMBERS_MOST ? (Blob){0} : b;
}

static bool is_int(DType t) { return t == DT_I32 || t == DT_I64; }

static bool extent_is(const Graph *g, const TypeRec *t, int axis, int64_t n)
{
    return dim_is(&g->m->dims, dim_resolve(&g->m->dims, t->dim[axis]), n);
}

/* i == [0, 1, .., n-1] along the last axis, where i has one element. */
static Value index_of_equal(const Graph *g, Node n, int64_t rows)
{
    for (uint32_t k = 0; k < 2; k++) {
        Value i = node_in(g, n, k), count = node_in(g, n, 1 - k);
        Blob b = constant(g, count);
        const TypeRec *t = value_trec(g, i), *c = value_trec(g, count);
        if (!b.i || !is_int(t->elem) || t->rank < 1 || c->rank < 1 || c->rank > t->rank ||
            !extent_is(g, t, t->rank - 1, 1) || !extent_is(g, c, c->rank - 1, rows) ||
            blob_rec(&g->m->blobs, b)->count != rows)
            continue;
        bool counts = true;
        for (int64_t r = 0; r < rows && counts; r++) counts = blob_get_i(&g->m->blobs, b, r) == r;
        if (counts) return i;
    }
    return VALUE_NONE;
}

/* OneHot(i, n, [0, 1]) {axis=-1} */
static Value index_of_one_hot(const Graph *g, Node n, int64_t rows)
{
    uint32_t bit;
    const AttrSpec *s = attr_find(node_desc(g, n), "axis", &bit);
    Blob depth = constant(g, node_in(g, n, 1)), values = constant(g, node_in(g, n, 2));
    Value i = node_in(g, n, 0);
    const Blobs *bs = &g->m->blobs;
    int64_t axis = *(const int64_t *)((const char *)node_attrs(g, n) + s->offset);
    if (!depth.i || !values.i || !is_int(value_trec(g, i)->elem) || (axis != -1 && axis != value_trec(g, i)->rank) ||
        blob_get_i(bs, depth, 0) != rows || blob_get_f(bs, values, 0) != 0 || blob_get_f(bs, values, 1) != 1)
        return VALUE_NONE;
    return i;
}

bool matmul_one_hot(Graph *g, Node n)
{
    Value w = node_in(g, n, 1);
    const TypeRec *t = value_trec(g, w);
    Node hot = value_rec(g, node_in(g, n, 0))->def;
    int64_t rows, columns;
    Blob b = constant(g, w);
    if (!b.i || t->rank != 2 || !dtype_is_float(t->elem) || !dim_is_const(&g->m->dims, t->dim[0], &rows) ||
        !dim_is_const(&g->m->dims, t->dim[1], &columns) || rows < 2 || rows >= INT32_MAX)
        return false;
    if (hot.i && node_rec(g, hot)->op == OP_Cast) hot = value_rec(g, node_in(g, hot, 0))->def;
    if (!hot.i) return false;
    bool op = node_rec(g, hot)->op == OP_OneHot;
    Value i = op                                   ? index_of_one_hot(g, hot, rows)
              : node_rec(g, hot)->op == OP_Equal ? index_of_equal(g, hot, rows)
                                                   : VALUE_NONE;
    if (!i.i) return false;
    for (int64_t k = 0; k < blob_rec(&g->m->blobs, b)->count; k++)
        if (!isfinite(blob_get_f(&g->m->blobs, b, k))) return false;
    Ex x = ex_begin(g, n);
    DType it = ex_elem(&x, i);
    Value none = ex_reshape(&x, ex_f(&x, t->elem, 0), (int64_t[]){1, 1}, 2);
    none = ex2(&x, OP_Expand, none, ex_ints(&x, (int64_t[]){1, columns}, 2));
    Value table = ex_axis(&x, OP_Concat, (Value[]){none, w, none}, 3, 0);
    if (op) i = ex3(&x, OP_Where, ex2(&x, OP_Less, i, ex_i(&x, it, 0)), ex2(&x, OP_Add, i, ex_i(&x, it, rows)), i);
    Value at = ex2(&x, OP_Add, ex2(&x, OP_Min, ex2(&x, OP_Max, i, ex_i(&x, it, -1)), ex_i(&x, it, rows)), ex_i(&x, it, 1));
    if (!op) at = ex2(&x, OP_Squeeze, at, ex_int1(&x, ex_rank(&x, i) - 1));
    ex_result(&x, 0, ex2(&x, OP_Gather, table, at));
    return !x.failed;
}
