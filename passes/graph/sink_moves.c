/* sink-moves: Reshapes and Transposes go together, and behind element-wise ops that would else stand between them and
 * what computes their data, so that these become its followers (group-epilogue) and moves meet and cancel.
 *   %1 = Reshape(Unsqueeze(%x))              =>  %1 = Reshape(%x)                     one change of shape
 *   %1 = Transpose(%x: [N,1,C]) {0,2,1}      =>  %1 = Reshape(%x, [N,C,1])   an order that extents of 1 do not change
 *   %1 = Squeeze(Transpose(Unsqueeze(%x)))   =>  %1 = Transpose(%x)
 *   a merged and split again axis between a Transpose: split_before
 *   %1 = MatMul(%a, %w)                          %1 = MatMul(%a, %w)
 *   %2 = Reshape(%1, %s)                     =>  %r2 = Reshape(%r, [M,64])   (a view)
 *   %y = Add(%2, %r)                             %2 = Add(%1, %r2)      %y = Reshape(%2, %s)
 * A move sinks when only it stands between a contraction and the op, or when all large operands are moved alike (two
 * moves become one). What else the op reads must be brought into the moved order for nothing: numbers, vectors along
 * an axis that stays one, values of the same dims (moved back, which is a view). Shapes that only nodes know stay as
 * they are. Requires types. */
#include "ir/graph/infer.h"
#include "passes/graph/group.h"
#include "passes/graph/match.h"
#include <assert.h>

static bool is_reshape(const Graph *g, Node n)
{
    OpCode op = n.i ? node_rec(g, n)->op : OP_NONE;
    return op == OP_Reshape || op == OP_Flatten || op == OP_Squeeze || op == OP_Unsqueeze;
}
static bool is_transpose(const Graph *g, Node n) { return n.i && node_rec(g, n)->op == OP_Transpose; }

static bool ranked(const Graph *g, Value v)
{
    if (!v.i || !value_type(g, v).i || value_rec(g, v)->content) return false;
    const TypeRec *t = value_trec(g, v);
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN;
}

typedef struct Transpose {
    uint64_t set;
    AttrInts perm;
} Transpose;

static void perm_of(const Graph *g, Node n, int64_t *perm)
{
    const Transpose *t = node_attrs(g, n);
    int rank = value_trec(g, node_out(g, n, 0))->rank;
    assert(op_desc(OP_Transpose)->attrs_size == sizeof *t);
    for (int i = 0; i < rank; i++) perm[i] = t->set & 1 ? t->perm.p[i] : rank - 1 - i;
}

static Value add_node(Graph *g, OpCode op, const Value *in, uint32_t n_in, const void *attrs, Loc loc, Node before)
{
    Node n = graph_add(g, op, in, n_in, 1, attrs, loc, before);
    return infer_node(g, n) ? node_out(g, n, 0) : VALUE_NONE;
}

static Value transposed(Graph *g, Value x, const int64_t *perm, Loc loc, Node before)
{
    int rank = value_trec(g, x)->rank;
    Transpose t = {1, {arena_memdup(g->m->arena, perm, sizeof *perm * (size_t)rank), (uint32_t)rank}};
    return add_node(g, OP_Transpose, &x, 1, &t, loc, before);
}

/* The dims as a shape operand: a constant or Dims. */
static Value shape_value(Graph *g, const Dim *dim, int rank, Loc loc, Node before)
{
    struct {
        uint64_t set;
        AttrDims value;
        AttrInts shape;
        int64_t dtype;
    } a = {.set = 1, .value = {.n = (uint32_t)rank}, .dtype = DT_I64};
    Dims *d = &g->m->dims;
    Dim *all = arena_array(g->m->arena, Dim, rank + 1), n = dim_const(d, rank);
    int64_t k[RANK_MAX];
    bool constant = true;
    for (int i = 0; i < rank; i++) {
        all[i] = dim_resolve(d, dim[i]);
        if (dim_has_kind(d, all[i], SYM_NODE)) return VALUE_NONE;
        constant &= dim_is_const(d, all[i], &k[i]);
    }
    if (constant)
        return graph_const(g, blob_inline(&g->m->blobs, DT_I64, rank, k), type_tensor(&g->m->types, DT_I64, 1, &n),
                           (Name){0});
    a.value.p = all;
    assert(op_desc(OP_Dims)->attrs_size == sizeof a);
    return add_node(g, OP_Dims, NULL, 0, &a, loc, before);
}

static Value reshaped(Graph *g, Value x, const Dim *dim, int rank, Loc loc, Node before)
{
    Value s = shape_value(g, dim, rank, loc, before);
    struct {
        uint64_t set;
        int64_t allowzero;
        AttrInts shape;
    } a = {.set = 1, .allowzero = 1};
    Dims *d = &g->m->dims;
    const TypeRec *t = value_trec(g, x);
    bool zero = false; /* an extent that may be 0 and is not the operand's at that place */
    for (int i = 0; i < rank; i++) {
        int64_t lo, hi;
        Dim to = dim_resolve(d, dim[i]);
        dim_bounds(d, to, &lo, &hi);
        zero |= lo < 1 && (i >= t->rank || dim_eq(d, dim_resolve(d, t->dim[i]), to) != TRI_YES);
    }
    assert(op_desc(OP_Reshape)->attrs_size == sizeof a);
    return s.i ? add_node(g, OP_Reshape, (Value[]){x, s}, 2, zero ? &a : NULL, loc, before) : VALUE_NONE;
}

/* ---- moves that meet ---- */

static bool is_one(Graph *g, const TypeRec *t, int axis)
{
    return dim_is(&g->m->dims, dim_resolve(&g->m->dims, t->dim[axis]), 1);
}

/* The same extents but for some of 1. */
static bool only_ones_differ(Graph *g, const TypeRec *a, const TypeRec *b)
{
    Dims *d = &g->m->dims;
    int i = 0, j = 0;
    for (;;) {
        while (i < a->rank && is_one(g, a, i)) i++;
        while (j < b->rank && is_one(g, b, j)) j++;
        if (i == a->rank || j == b->rank) return i == a->rank && j == b->rank;
        if (dim_eq(d, dim_resolve(d, a->dim[i++]), dim_resolve(d, b->dim[j++])) != TRI_YES) return false;
    }
}

/* Is `whole` the product of the axes of t from `at` on, up to *end? */
static bool splits(Graph *g, Dim whole, const TypeRec *t, int at, int *end)
{
    Dims *d = &g->m->dims;
    Dim product = dim_const(d, 1);
    whole = dim_resolve(d, whole);
    for (*end = at; product.i && dim_eq(d, product, whole) != TRI_YES; ++*end) {
        if (*end == t->rank) return false;
        product = dim_mul(d, product, dim_resolve(d, t->dim[*end]));
    }
    if (!product.i) return false;
    if (*end == at && at < t->rank) ++*end; /* an extent of 1 is an axis of its own */
    return *end > at && (*end > at + 1 || dim_eq(d, dim_resolve(d, t->dim[at]), whole) == TRI_YES);
}

static bool replace(PassCtx *c, Graph *g, Node n, Value by, const char *what)
{
    if (!by.i) return false;
    graph_replace_uses(g, node_out(g, n, 0), by);
    pass_count(c, what, 1);
    for (Node dead = n; dead.i && !node_used(g, dead) && node_n_out(g, dead) == 1 && !node_rec(g, dead)->n_region;) {
        Value x = node_n_in(g, dead) ? node_in(g, dead, 0) : VALUE_NONE; /* an unused reader would count as one */
        graph_erase(g, dead);
        dead = x.i ? value_rec(g, x)->def : NODE_NONE;
        if (!is_reshape(g, dead) && !is_transpose(g, dead)) break;
    }
    return true;
}

/* Reshape(Transpose(Reshape(x))) where both Reshapes only split axes of what they read, but for one merging that the
 * other undoes, as heads are split when the batch is not the first axis:
 *   [T,B,H*d] -> [T,B*H,d] -> {1,0,2} -> [B,H,T,d]      =>      Transpose(Reshape(x, [T,B,H,d]), {1,2,0,3})
 * The Reshape is a view then. */
static bool split_before(PassCtx *c, Graph *g, Node n)
{
    Node p = value_rec(g, node_in(g, n, 0))->def, q = is_transpose(g, p) ? value_rec(g, node_in(g, p, 0))->def : NODE_NONE;
    if (!is_reshape(g, q) || !ranked(g, node_in(g, q, 0))) return false;
    Value w = node_in(g, q, 0);
    TypeRec from = *value_trec(g, w), mid = *value_trec(g, node_in(g, n, 0)), to = *value_trec(g, node_out(g, n, 0));
    int first[RANK_MAX + 1], j = 0, k = 0;
    for (int i = 0; i < mid.rank; i++) /* axis i of the transposed value is first[i]..first[i+1] of the result */
        if (!splits(g, mid.dim[i], &to, first[i] = j, &j)) return false;
    first[mid.rank] = j;
    if (j != to.rank) return false;
    int64_t perm[RANK_MAX], axis[RANK_MAX];
    TypeRec fine = {.rank = to.rank};
    perm_of(g, p, perm);
    for (int b = 0; b < mid.rank; b++)
        for (int i = 0; i < mid.rank; i++)
            for (int x = first[i]; perm[i] == b && x < first[i + 1]; x++) {
                axis[x] = k;
                fine.dim[k++] = to.dim[x];
            }
    for (int i = k = 0; i < from.rank; i++)
        if (!splits(g, from.dim[i], &fine, k, &k)) return false;
    if (k != fine.rank || !pass_may_rewrite(c)) return false;
    Value y = reshaped(g, w, fine.dim, fine.rank, node_rec(g, q)->loc, n);
    return y.i && replace(c, g, n, transposed(g, y, axis, node_rec(g, p)->loc, n), "heads split at once");
}

static bool merge(PassCtx *c, Graph *g, Node n)
{
    Value x = node_in(g, n, 0);
    Node p = x.i ? value_rec(g, x)->def : NODE_NONE;
    if (!ranked(g, x) || !ranked(g, node_out(g, n, 0))) return false;
    TypeRec t = *value_trec(g, node_out(g, n, 0));
    Loc loc = node_rec(g, n)->loc;
    if (is_reshape(g, n) && split_before(c, g, n)) return true;
    if (is_reshape(g, n) && is_reshape(g, p) && ranked(g, node_in(g, p, 0))) {
        Value from = node_in(g, p, 0);
        if (group_same_dims(g, from, node_out(g, n, 0)))
            return pass_may_rewrite(c) && replace(c, g, n, from, "moves cancelled");
        return pass_may_rewrite(c) && replace(c, g, n, reshaped(g, from, t.dim, t.rank, loc, n), "moves merged");
    }
    if (!is_transpose(g, n)) return false;
    int64_t perm[RANK_MAX], inner[RANK_MAX];
    perm_of(g, n, perm);
    const TypeRec *from = value_trec(g, x);
    int last = -1, count = 0, axis_of[RANK_MAX];
    bool ordered = true;
    for (int i = 0; i < t.rank; i++) {
        if (is_one(g, from, (int)perm[i])) continue;
        ordered &= perm[i] > last;
        last = (int)perm[i];
    }
    if (ordered) return pass_may_rewrite(c) && replace(c, g, n, reshaped(g, x, t.dim, t.rank, loc, n), "moves merged");
    if (!is_reshape(g, p) || !ranked(g, node_in(g, p, 0))) return false;
    Value w = node_in(g, p, 0);
    TypeRec tw = *value_trec(g, w);
    if (tw.rank >= from->rank || !only_ones_differ(g, &tw, from)) return false;
    for (int i = 0, j = 0; i < from->rank; i++) { /* axis of w that is axis i of x */
        if (is_one(g, from, i)) continue;
        while (is_one(g, &tw, j)) j++;
        axis_of[i] = j++;
    }
    for (int j = 0; j < tw.rank; j++)
        if (is_one(g, &tw, j)) inner[count++] = j;
    for (int i = 0; i < t.rank; i++)
        if (!is_one(g, from, (int)perm[i])) inner[count++] = axis_of[perm[i]];
    if (!pass_may_rewrite(c)) return false;
    Value y = transposed(g, w, inner, loc, n);
    if (y.i && !group_same_dims(g, y, node_out(g, n, 0))) y = reshaped(g, y, t.dim, t.rank, loc, n);
    return replace(c, g, n, y, "moves merged");
}

/* ---- moves behind element-wise ops ---- */

static bool used_by_only(const Graph *g, Value v, Node n)
{
    const ValueRec *r = value_rec(g, v);
    for (uint32_t u = r->first_use; u; u = g->operand.p[u - 1].next_use)
        if (g->operand.p[u - 1].user.i != n.i && node_used(g, g->operand.p[u - 1].user)) return false;
    return !r->n_out_use;
}

/* What reads v alone may follow a contraction: it computes v, perhaps with followers already; moves: with moves behind
 * it. */
static bool behind_contraction(const Graph *g, Value v, bool moves, int depth)
{
    Node n = v.i && value_single_user(g, v).i ? value_rec(g, v)->def : NODE_NONE;
    if (!n.i || depth > 8) return false;
    if (node_desc(g, n)->cls == CLS_CONTRACT) return true;
    if (is_reshape(g, n) || is_transpose(g, n))
        return moves && behind_contraction(g, node_in(g, n, 0), true, depth + 1);
    if (!group_is_eltwise(g, n)) return false;
    for (uint32_t k = 0; k < node_n_in(g, n); k++)
        if (behind_contraction(g, node_in(g, n, k), moves, depth + 1)) return true;
    return false;
}

/* It follows a contraction as it stands. */
static bool follows(const Graph *g, Node e)
{
    for (uint32_t k = 0; k < node_n_in(g, e); k++)
        if (behind_contraction(g, node_in(g, e, k), false, 0)) return true;
    return false;
}

static bool moved_alike(const Graph *g, Node m, Node q)
{
    if (!m.i || !q.i || node_rec(g, m)->op != node_rec(g, q)->op) return false;
    if (value_type(g, node_in(g, m, 0)).i != value_type(g, node_in(g, q, 0)).i ||
        value_type(g, node_out(g, m, 0)).i != value_type(g, node_out(g, q, 0)).i)
        return false;
    return is_reshape(g, m) || attrs_equal(node_desc(g, m), node_attrs(g, m), node_attrs(g, q));
}

/* Operand r of an op whose large operand is moved by `m`: as it would be in the order before the move. make: with the
 * node that does it; else whether it can be. */
static bool unmoved(Graph *g, Node m, Value r, Node before, bool make, Value *out)
{
    Value a = node_in(g, m, 0), y = node_out(g, m, 0);
    Dims *d = &g->m->dims;
    TypeRec t = *value_trec(g, r), ta = *value_trec(g, a), ty = *value_trec(g, y);
    Loc loc = node_rec(g, m)->loc;
    int64_t perm[RANK_MAX], back[RANK_MAX];
    double number;
    *out = r;
    if (r.i == y.i) return *out = a, true;
    if (is_transpose(g, m)) perm_of(g, m, perm);
    if (match_scalar(g, r, &number)) {
        if (make && t.rank) {
            DType e = t.elem;
            Blob b = dtype_is_float(e)
                         ? blob_splat_f(&g->m->blobs, e, 1, number)
                         : blob_splat_i(&g->m->blobs, e, 1, blob_get_i(&g->m->blobs, value_rec(g, r)->data, 0));
            *out = graph_const(g, b, type_tensor(&g->m->types, e, 0, NULL), (Name){0});
        }
        return true;
    }
    if (moved_alike(g, m, value_rec(g, r)->def)) return *out = node_in(g, value_rec(g, r)->def, 0), true;
    int axis = -1, wide = 0; /* extents other than 1, and where the last of them is */
    for (int i = 0; i < t.rank; i++)
        if (!is_one(g, &t, i)) wide++, axis = i + ty.rank - t.rank;
    if (!wide && t.rank <= ta.rank) return true;
    if (group_same_dims(g, r, y)) {
        if (!make) {
            for (int i = 0; i < ta.rank; i++)
                if (dim_has_kind(d, dim_resolve(d, ta.dim[i]), SYM_NODE)) return false;
            return !value_is_const(g, r) && !(is_reshape(g, m) && is_transpose(g, value_rec(g, r)->def)); /* no view */
        }
        if (is_reshape(g, m)) return *out = reshaped(g, r, ta.dim, ta.rank, loc, before), out->i != 0;
        for (int i = 0; i < ta.rank; i++) back[perm[i]] = i;
        return *out = transposed(g, r, back, loc, before), out->i != 0;
    }
    if (wide != 1) return false;
    if (is_reshape(g, m) && !only_ones_differ(g, &ta, &ty)) { /* along a last axis that stays the last one */
        bool last = axis == ty.rank - 1 && ta.rank &&
                    dim_eq(d, dim_resolve(d, ty.dim[axis]), dim_resolve(d, ta.dim[ta.rank - 1])) == TRI_YES;
        if (!last || (t.rank > 1 && !value_is_const(g, r))) return false;
        if (make && t.rank > 1)
            *out = graph_const(g, value_rec(g, r)->data, type_tensor(&g->m->types, t.elem, 1, &t.dim[t.rank - 1]),
                               (Name){0});
        return true;
    }
    int at = 0, nth = 0; /* the axis of a that it is */
    for (int i = 0; i < axis; i++) nth += !is_one(g, &ty, i);
    if (is_transpose(g, m)) at = (int)perm[axis];
    else
        while (is_one(g, &ta, at) || nth-- > 0) at++;
    if (!value_is_const(g, r)) return false;
    if (make) {
        Dim dim[RANK_MAX];
        for (int i = 0; i < ta.rank; i++) dim[i] = i == at ? ta.dim[i] : dim_const(d, 1);
        *out = graph_const(g, value_rec(g, r)->data, type_tensor(&g->m->types, t.elem, ta.rank, dim), (Name){0});
    }
    return true;
}

/* All of E's operands of its size are moved alike, and there is more than one. */
static bool all_moved(Graph *g, Node e, Node m)
{
    uint32_t alike = 0;
    for (uint32_t k = 0; k < node_n_in(g, e); k++) {
        Value r = node_in(g, e, k);
        if (!r.i || value_is_const(g, r) || !group_same_dims(g, r, node_out(g, e, 0))) continue;
        if (!moved_alike(g, m, value_rec(g, r)->def)) return false;
        alike += r.i != node_out(g, m, 0).i;
    }
    return alike > 0;
}

static bool sink(PassCtx *c, Graph *g, Node e)
{
    Value *in = arena_array(c->arena, Value, node_n_in(g, e) + 1);
    if (!group_is_eltwise(g, e)) return false;
    for (uint32_t k = 0; k < node_n_in(g, e); k++) {
        Value v = node_in(g, e, k);
        Node m = v.i ? value_rec(g, v)->def : NODE_NONE;
        if ((!is_reshape(g, m) && !is_transpose(g, m)) || !ranked(g, v) || !ranked(g, node_in(g, m, 0))) continue;
        if (!used_by_only(g, v, e) || !group_same_dims(g, v, node_out(g, e, 0))) continue;
        bool pays = !follows(g, e) && behind_contraction(g, node_in(g, m, 0), true, 0);
        if (!pays && !all_moved(g, e, m)) continue;
        bool can = true;
        for (uint32_t i = 0; can && i < node_n_in(g, e); i++)
            can = !node_in(g, e, i).i ||
                  (ranked(g, node_in(g, e, i)) && unmoved(g, m, node_in(g, e, i), e, false, &in[i]));
        if (!can || !pass_may_rewrite(c)) continue;
        for (uint32_t i = 0; can && i < node_n_in(g, e); i++) {
            in[i] = VALUE_NONE;
            can = !node_in(g, e, i).i || unmoved(g, m, node_in(g, e, i), e, true, &in[i]);
        }
        if (!can) return false;
        Value y = add_node(g, node_rec(g, e)->op, in, node_n_in(g, e), node_attrs(g, e), node_rec(g, e)->loc, e),
              arg[2] = {y, node_in(g, m, 1)};
        if (!y.i) return false;
        y = add_node(g, node_rec(g, m)->op, arg, node_n_in(g, m), node_attrs(g, m), node_rec(g, m)->loc, e);
        return replace(c, g, e, y, "moves sunk");
    }
    return false;
}

static bool sink_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) changed |= sink_graph(c, node_rec(g, n)->region[k]);
        if (node_n_out(g, n) != 1 || !node_used(g, n)) continue;
        changed |= merge(c, g, n) || sink(c, g, n);
    }
    return changed;
}

static PassResult run(PassCtx *c)
{
    PassResult r = PASS_UNCHANGED;
    while (sink_graph(c, c->m->entry))
        r = PASS_CHANGED; /* each step shortens a chain or moves it behind an op: it ends */
    return r;
}

const Pass pass_sink_moves = {
    .name = "sink-moves", .brief = "Reshapes and Transposes merge, cancel and go behind element-wise ops", .run = run};
