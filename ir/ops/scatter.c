/* scatter.c: ScatterND (slices at index tuples), ScatterElements and its old name Scatter (one element per index): a copy of the data, then the updates, in the order
 * of the indices where several meet, so that results do not depend on threads.
 *   ScatterND:        out[indices[t...], s...] op= updates[t..., s...]      op: =, +, *, max, min
 *   ScatterElements:  out[..., indices[i], ...] op= updates[i]              the index replaces i[axis]
 * Parallel where iterations cannot meet: ScatterND over pieces of a slice, ScatterElements over all axes but its own. An index out of range is recorded.
 * Two forms that exporters write are something simpler:
 *   ScatterND with constant indices that are the coordinates of a box (x[:, 2:6] = u)     =>  Concat(Slice(data), updates, Slice(data)) along each axis cut
 *   ScatterElements along axis 0 with Expand(indices[n, 1, ...])                          =>  ScatterND(data, indices[n, 1], updates) */
#include "ir/ops/complex.h"
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <math.h>
#include <string.h>

static const Port P_IN[] = {{"data", DTS_MOVE, 0, 1}, {"indices", DTS_INDEX, 0, 0}, {"updates", DTS_MOVE, 0, 1}, PORT_END};
static const Port P_ND[] = {{"data", DTS_MOVE, 0, 1}, {"indices", DTS(DT_I64), 0, 0}, {"updates", DTS_MOVE, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};
typedef struct Scatter { uint64_t set; const char *reduction; int64_t axis; } Scatter;
static const AttrSpec ND_ATTRS[] = {A_STRING(Scatter, reduction, "none"), A_END};
static const AttrSpec ELEMENTS_ATTRS[] = {A_STRING(Scatter, reduction, "none"), A_INT(Scatter, axis, 0), A_END};

enum { PIECE = 256, /* elements of a slice's last axis that one thread takes, */
       ROWS = 16,   /* and of its first axis, when it has several */
       RUN = 32 };  /* elements in a row that are worth leaving the loop along the axis outside */

typedef enum How { SET, ADD, MUL, MAX, MIN, HOWS } How;
static const char *const NAMES[HOWS] = {"none", "add", "mul", "max", "min"};
static const KOp KOPS[HOWS] = {KOP_NONE, KOP_ADD, KOP_MUL, KOP_MAX, KOP_MIN};

static How how_of(const char *name)
{
    int h = 0;
    while (h < HOWS && strcmp(NAMES[h], name)) h++;
    return (How)h;
}

static bool infer_reduction(Infer *c)
{
    const char *name = ATTRS(c->g, c->n, Scatter)->reduction;
    How h = how_of(name);
    DType e = infer_elem(c, 0);
    if (h == HOWS) return infer_fail(c, "reduction '%s' is unknown", name);
    if ((h == MAX || h == MIN) && dtype_is_complex(e)) return infer_fail(c, "reduction '%s' of %s, which has no order", name, dtype_info(e)->onnx);
    if (h != SET && dtype_is_complex(e)) return infer_need_rank(c, 0, 1, RANK_MAX - 1) && infer_need_rank(c, 2, 0, RANK_MAX - 1);
    return h == SET || dtype_is_int(e) || dtype_is_float(e) || infer_fail(c, "reduction '%s' of %s", name, dtype_info(e)->onnx);
}

static bool nd_infer(Infer *c)
{
    int64_t k;
    if (!infer_reduction(c) || !infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 1, -1)) return false;
    int r = infer_rank(c, 0), q = infer_rank(c, 1);
    if (!dim_is_const(c->d, infer_dim(c, 1, q - 1), &k)) return infer_fail(c, "the last dimension of the indices must be known at compile time");
    if (k < 0 || k > r) return infer_fail(c, "index tuples of %lld for data of rank %d", (long long)k, r);
    int u = q - 1 + r - (int)k;
    if (!infer_need_rank(c, 2, u, u)) return false;
    for (int i = 0; i < u; i++)
        if (!infer_must_eq(c, infer_dim(c, 2, i), i < q - 1 ? infer_dim(c, 1, i) : infer_dim(c, 0, i - (q - 1) + (int)k), "dimension of the updates")) return false;
    return infer_like(c, 0, 0);
}

/* The result begins as the data. */
static void copy_data(Lw *l)
{
    KVal idx[RANK_MAX];
    lw_prepare_in(l);
    lw_in_strided(l, 0), lw_in_strided(l, 1), lw_in_strided(l, 2);
    lw_out(l, 0);
    lw_kernel(l, "scatter_data");
    lw_nest_over(l, 0, idx);
    lw_put(l, 0, idx, lw_at(l, 0, idx));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
}

/* Complex numbers are added and multiplied as pairs of reals: u is where the update lies. */
static void update_complex(Lw *l, How how, const KVal *at, const KVal *u, KVal ok)
{
    Kb *b = l->b;
    int n = lw_out_rank(l, 0), n_u = lw_rank(l, 2);
    uint32_t p = kb_param(b, complex_view(l, lw_out(l, 0)), true), q = kb_param(b, complex_view(l, lw_in_strided(l, 2)), false);
    KVal y[RANK_MAX], x[2 * RANK_MAX], a[2], c[2], r[2];
    memcpy(y, at, (size_t)n * sizeof *y), memcpy(x, u, (size_t)n_u * sizeof *x);
    for (int k = 0; k < 2; k++) {
        y[n] = x[n_u] = kb_i(b, k);
        a[k] = kb_load_if(b, p, y, ok, (KVal){0}), c[k] = kb_load(b, q, x);
    }
    for (int k = 0; k < 2; k++) r[k] = kb_add(b, a[k], c[k]);
    if (how == MUL) {
        r[0] = kb_sub(b, kb_mul(b, a[0], c[0]), kb_mul(b, a[1], c[1]));
        r[1] = kb_add(b, kb_mul(b, a[0], c[1]), kb_mul(b, a[1], c[0]));
    }
    for (int k = 0; k < 2; k++) y[n] = kb_i(b, k), kb_store_if(b, p, y, r[k], ok);
}

static void update(Lw *l, How how, const KVal *at, const KVal *u, KVal ok)
{
    if (how != SET && dtype_is_complex(lw_elem(l, 0))) {
        update_complex(l, how, at, u, ok);
        return;
    }
    KVal value = lw_at(l, 2, u);
    uint32_t p = kb_param(l->b, lw_out(l, 0), true);
    if (how != SET) value = kb_bin(l->b, KOPS[how], kb_load_if(l->b, p, at, ok, (KVal){0}), value);
    kb_store_if(l->b, p, at, value, ok);
}

static bool nd_lower(Lw *l, Node n)
{
    How how = how_of(ATTRS(l->g, n, Scatter)->reduction);
    int r = lw_rank(l, 0), q = lw_rank(l, 1), loops = 0, seq = 0;
    int64_t k;
    KVal at[RANK_MAX], u[2 * RANK_MAX], tuple[RANK_MAX];
    if (!dim_is_const(&l->m->dims, lw_dim(l, 1, q - 1), &k)) return lw_fail(l, "index tuples of unknown length");
    copy_data(l);
    Kb *b = lw_kernel(l, "scatter_nd");
    KVal zero = kb_i(b, 0), piece = {0};
    int64_t size = k + 1 < r ? ROWS : PIECE;
    if (k < r) {
        Dim first = lw_dim(l, 0, (int)k);
        piece = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(&l->m->dims, first, dim_const(&l->m->dims, size))));
        loops++;
    }
    for (int i = 0; i < q - 1; i++, seq++) u[i] = tuple[i] = kb_for(b, KLOOP_SEQ, zero, kb_dim(b, lw_dim(l, 1, i)));
    KVal ok = kb_const_i(b, DT_BOOL, 1), each;
    for (int i = 0; i < k; i++) {
        tuple[q - 1] = kb_i(b, i);
        at[i] = index_checked(l, lw_at(l, 1, tuple), lw_dim(l, 0, i), &each);
        ok = kb_and(b, ok, each);
    }
    for (int i = (int)k; i < r; i++, seq++) {
        KVal len = kb_dim(b, lw_dim(l, 0, i)), lo = zero, hi = len;
        if (i == k) {
            lo = kb_mul(b, piece, kb_i(b, size));
            hi = kb_min(b, len, kb_add(b, lo, kb_i(b, size)));
        }
        at[i] = u[q - 1 + i - k] = kb_for(b, KLOOP_SEQ, lo, hi);
    }
    update(l, how, at, u, ok);
    lw_end_nest(l, loops + seq);
    lw_kernel_end(l);
    return true;
}

/* A box of the data: along its first k axes `count` elements from `lo` on, all of the others. */
typedef struct Box { int64_t k, lo[RANK_MAX], count[RANK_MAX]; bool part[RANK_MAX]; } Box;

/* Are constant index tuples the coordinates of a box, row-major? */
static bool box_of(Graph *g, Node n, Box *box)
{
    const TypeRec *x = value_trec(g, node_in(g, n, 0)), *t = value_trec(g, node_in(g, n, 1));
    Blobs *bl = &g->m->blobs;
    Dims *d = &g->m->dims;
    if (!value_is_const(g, node_in(g, n, 1)) || x->rank == RANK_UNKNOWN || t->rank < 1) return false;
    Blob blob = value_rec(g, node_in(g, n, 1))->data;
    int64_t dim[RANK_MAX], tuples = 1, k;
    for (int i = 0; i < t->rank; i++)
        if (!dim_is_const(d, t->dim[i], &dim[i]) || dim[i] < 1) return false;
    if (blob_rec(bl, blob)->kind == BLOB_DERIVED) return false;
    for (int i = 0; i < t->rank - 1; i++) tuples *= dim[i];
    *box = (Box){.k = k = dim[t->rank - 1]};
    int axis = 0;   /* of the tuples: the one that the next coordinate may run along */
    int64_t step[RANK_MAX];   /* tuples from one element of the coordinate to the next; 0: it stays */
    for (int64_t j = 0, inner = tuples; j < k; j++) {
        int64_t extent, lo = blob_get_i(bl, blob, j);
        if (!dim_is_const(d, dim_resolve(d, x->dim[j]), &extent)) return false;
        while (axis < t->rank - 1 && dim[axis] == 1) axis++;
        bool runs = axis < t->rank - 1 && blob_get_i(bl, blob, inner / dim[axis] * k + j) != lo;
        step[j] = runs ? inner /= dim[axis] : 0;
        box->count[j] = runs ? dim[axis++] : 1;
        box->lo[j] = lo < 0 ? lo + extent : lo;
        box->part[j] = box->count[j] != extent;
        if (box->lo[j] < 0 || box->lo[j] + box->count[j] > extent) return false;
    }
    for (; axis < t->rank - 1; axis++)
        if (dim[axis] != 1) return false;
    for (int64_t i = 0; i < tuples; i++)
        for (int64_t j = 0; j < k; j++)
            if (blob_get_i(bl, blob, i * k + j) != blob_get_i(bl, blob, j) + (step[j] ? i / step[j] % box->count[j] : 0)) return false;
    return true;
}

static Value box_slice(Ex *x, Value v, int64_t axis, int64_t lo, int64_t hi)
{
    return ex_op(x, OP_Slice, (Value[]){v, ex_int1(x, lo), ex_int1(x, hi), ex_int1(x, axis)}, 4, NULL);
}

/* `data` with the box from axis j on replaced. */
static Value box_replaced(Ex *x, const Box *box, Value data, Value updates, int64_t j)
{
    while (j < box->k && !box->part[j]) j++;
    if (j == box->k) return updates;
    int64_t lo = box->lo[j], hi = lo + box->count[j], extent, more = j + 1;
    while (more < box->k && !box->part[more]) more++;
    if (!data.i || !dim_is_const(&x->g->m->dims, dim_resolve(&x->g->m->dims, ex_type(x, data)->dim[j]), &extent)) return VALUE_NONE;
    Value in[3];
    uint32_t n = 0;
    if (lo) in[n++] = box_slice(x, data, j, 0, lo);
    in[n++] = box_replaced(x, box, more < box->k ? box_slice(x, data, j, lo, hi) : data, updates, j + 1);
    if (hi < extent) in[n++] = box_slice(x, data, j, hi, extent);
    return ex_axis(x, OP_Concat, in, n, j);
}

static bool nd_rewrite(Graph *g, Node n)
{
    Box box;
    Dim dim[RANK_MAX];
    if (how_of(ATTRS(g, n, Scatter)->reduction) != SET || !box_of(g, n, &box)) return false;
    Ex x = ex_begin(g, n);
    const TypeRec *t = ex_type(&x, ex_in(&x, 0));
    int rank = t->rank;
    for (int i = 0; i < rank; i++) dim[i] = i < box.k ? dim_const(&g->m->dims, box.count[i]) : t->dim[i];
    ex_result(&x, 0, box_replaced(&x, &box, ex_in(&x, 0), ex_shaped(&x, ex_in(&x, 2), dim, rank), 0));
    return !x.failed;
}

static bool ev_update(Eval *e, How how, Tensor *y, int64_t at, const Tensor *u, int64_t k)
{
    if (how == SET) return ev_copy(y, at, u, k), true;
    if (dtype_is_complex(y->elem)) {
        Tensor a = *y, b = *u;
        a.elem = b.elem = dtype_part(y->elem), a.count *= 2, b.count *= 2;
        double p = ev_f(&a, 2 * at), q = ev_f(&a, 2 * at + 1), r = ev_f(&b, 2 * k), s = ev_f(&b, 2 * k + 1);
        ev_set_f(&a, 2 * at, how == ADD ? p + r : p * r - q * s), ev_set_f(&a, 2 * at + 1, how == ADD ? q + s : p * s + q * r);
        return true;
    }
    if (dtype_is_float(y->elem)) {
        double a = ev_f(y, at), b = ev_f(u, k), m = isnan(a) || isnan(b) ? NAN : how == MAX ? fmax(a, b) : fmin(a, b);
        ev_set_f(y, at, how == ADD ? a + b : how == MUL ? a * b : m);
        return true;
    }
    int64_t a = ev_i(y, at), b = ev_i(u, k);
    bool less = y->elem == DT_U64 ? (uint64_t)a < (uint64_t)b : a < b;
    (void)e;
    ev_set_i(y, at, how == ADD ? (int64_t)((uint64_t)a + (uint64_t)b) : how == MUL ? (int64_t)((uint64_t)a * (uint64_t)b) : (how == MAX) == less ? b : a);
    return true;
}

static Tensor *ev_begin(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_copy(y, k, x, k);
    return y;
}

static bool nd_eval(Eval *e)
{
    const Tensor *t = e->in[1], *u = e->in[2];
    How how = how_of(ATTRS(e->g, e->n, Scatter)->reduction);
    Tensor *y = ev_begin(e);
    int64_t k = t->dim[t->rank - 1], slice = 1, tuples = 1;
    if (!y) return false;
    for (int i = (int)k; i < y->rank; i++) slice *= y->dim[i];
    for (int i = 0; i < t->rank - 1; i++) tuples *= t->dim[i];
    if (u->count != tuples * slice) return ev_fail(e, "the updates do not fit the indices");
    for (int64_t i = 0; i < tuples; i++) {
        int64_t at = 0;
        for (int64_t j = 0; j < k; j++) {
            int64_t v = ev_i(t, i * k + j);
            if (!index_eval(e, &v, y->dim[j])) return false;
            at = at * y->dim[j] + v;
        }
        for (int64_t s = 0; s < slice; s++) ev_update(e, how, y, at * slice + s, u, i * slice + s);
    }
    return true;
}

static bool nd_has_result(const Graph *g, Node n, const Tensor *index) { return index_within(g, n, index, 0, true); }

const OpDesc op_ScatterND = {.name = "ScatterND", .since = 18, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .knows = 2, .in = P_ND, .out = P_OUT, .attrs = ND_ATTRS,
                             .attrs_size = sizeof(Scatter), .infer = nd_infer, .rewrite = nd_rewrite, .lower = nd_lower, .grad = grad_scatter, .has_result = nd_has_result, .eval = nd_eval};

/* ---- ScatterElements, Scatter ---- */

static bool elements_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Scatter)->axis;
    if (!infer_reduction(c) || !infer_need_rank(c, 0, 1, -1)) return false;
    int rank = infer_rank(c, 0);
    if (!infer_need_rank(c, 1, rank, rank) || !infer_need_rank(c, 2, rank, rank) || !infer_axis(c, &axis, rank)) return false;
    for (int i = 0; i < rank; i++) {
        if (!infer_must_eq(c, infer_dim(c, 2, i), infer_dim(c, 1, i), "dimension of the updates")) return false;
        if (i != axis && dim_le(c->d, infer_dim(c, 1, i), infer_dim(c, 0, i)) == TRI_NO)
            return infer_fail(c, "the indices are longer than the data along axis %d", i);
    }
    return infer_like(c, 0, 0);
}

/* Indices that are the same for all elements of a slice. */
static bool elements_rewrite(Graph *g, Node n)
{
    Dims *d = &g->m->dims;
    Scatter a = *ATTRS(g, n, Scatter);
    Node e = value_rec(g, node_in(g, n, 1))->def;
    if (!e.i || node_rec(g, e)->op != OP_Expand) return false;
    Value at = node_in(g, e, 0);
    const TypeRec *x = value_trec(g, node_in(g, n, 0)), *i = value_trec(g, node_in(g, n, 1)), *t = value_trec(g, at);
    if (x->rank == RANK_UNKNOWN || t->rank != x->rank || (a.axis != 0 && a.axis != -x->rank)) return false;
    if (dim_eq(d, dim_resolve(d, t->dim[0]), dim_resolve(d, i->dim[0])) != TRI_YES) return false;
    for (int k = 1; k < x->rank; k++)
        if (!dim_is(d, dim_resolve(d, t->dim[k]), 1) || dim_eq(d, dim_resolve(d, i->dim[k]), dim_resolve(d, x->dim[k])) != TRI_YES) return false;
    Ex s = ex_begin(g, n);
    Value tuples = ex_shaped(&s, ex_cast(&s, at, DT_I64), (Dim[]){t->dim[0], dim_const(d, 1)}, 2);
    ex_result(&s, 0, ex_op(&s, OP_ScatterND, (Value[]){node_in(g, n, 0), tuples, node_in(g, n, 2)}, 3,
                           ex_set_s(&s, OP_ScatterND, NULL, "reduction", a.reduction)));
    return !s.failed;
}

static bool elements_lower(Lw *l, Node n)
{
    const Scatter *a = ATTRS(l->g, n, Scatter);
    int rank = lw_rank(l, 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    KVal i[RANK_MAX], at[RANK_MAX], ok;
    for (int k = 0; k < rank; k++)
        if (k != axis) index_check(l, lw_dim(l, 1, k), KREL_LE, lw_dim(l, 0, k), "the indices are {got} long, the data {want}");
    copy_data(l);
    /* inside the loop along the axis: trailing axes, enough of them to run along cache lines */
    Dims *d = &l->m->dims;
    int inner = rank, par = 0;
    for (int64_t run = 1, len; inner - 1 > axis && run < RUN; run = dim_is_const(d, lw_dim(l, 1, inner), &len) ? run * len : RUN) inner--;
    for (int k = 0; k < inner; k++) par += k != axis;
    bool pieces = !par && inner < rank;
    Kb *b = lw_kernel(l, "scatter_elements");
    KVal zero = kb_i(b, 0), piece = {0};
    if (pieces) piece = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, lw_dim(l, 1, rank - 1), dim_const(d, PIECE))));
    for (int k = 0; k < inner; k++)
        if (k != axis) i[k] = at[k] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_dim(l, 1, k)));
    i[axis] = kb_for(b, KLOOP_SEQ, zero, kb_dim(b, lw_dim(l, 1, axis)));
    for (int k = inner; k < rank; k++) {
        KVal lo = zero, hi = kb_dim(b, lw_dim(l, 1, k));
        if (pieces && k == rank - 1) {
            lo = kb_mul(b, piece, kb_i(b, PIECE));
            hi = kb_min(b, hi, kb_add(b, lo, kb_i(b, PIECE)));
        }
        i[k] = at[k] = kb_for(b, KLOOP_SEQ, lo, hi);
    }
    at[axis] = index_checked(l, lw_at(l, 1, i), lw_dim(l, 0, axis), &ok);
    update(l, how_of(a->reduction), at, i, ok);
    lw_end_nest(l, rank + pieces);
    lw_kernel_end(l);
    return true;
}

static bool elements_eval(Eval *e)
{
    const Tensor *t = e->in[1], *u = e->in[2];
    const Scatter *a = ATTRS(e->g, e->n, Scatter);
    Tensor *y = ev_begin(e);
    int64_t i[RANK_MAX];
    if (!y || t->count != u->count) return ev_fail(e, "the updates do not fit the indices");
    int axis = (int)(a->axis < 0 ? a->axis + y->rank : a->axis);
    for (int k = 0; k < y->rank; k++)
        if (k != axis && t->dim[k] > y->dim[k]) return ev_fail(e, "the indices are longer than the data");
    for (int64_t k = 0; k < t->count; k++) {
        unflatten(t, k, i);
        i[axis] = ev_i(t, k);
        if (!index_eval(e, &i[axis], y->dim[axis])) return false;
        ev_update(e, how_of(a->reduction), y, flat_index(y, i), u, k);
    }
    return true;
}

static bool elements_has_result(const Graph *g, Node n, const Tensor *index) { return index_within(g, n, index, ATTRS(g, n, Scatter)->axis, false); }

#define ELEMENTS .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ELEMENTS_ATTRS, .attrs_size = sizeof(Scatter), \
                 .infer = elements_infer, .rewrite = elements_rewrite, .lower = elements_lower, .has_result = elements_has_result, .eval = elements_eval
const OpDesc op_Scatter = {.name = "Scatter", .since = 9, ELEMENTS, .grad = grad_scatter};
const OpDesc op_ScatterElements = {.name = "ScatterElements", .since = 18, ELEMENTS, .grad = grad_scatter};
