/* topk.c: TopK: the k largest or smallest elements along an axis and where they stood, best first; of equal elements the one with the lower index comes first; NaN counts
 * as larger than any number. With sorted=0, which leaves the order open, they stay in the order of the axis: finding which they are costs less than sorting them.
 * Selecting is the runtime's (rt_topk). k was an attribute before opset 10.
 * The best one is two sweeps along the row, in lanes. The few best of many short rows are a nest whose lanes are rows: an element and its place are one number,
 * (element in the order of integers) * 2^32 + (places behind it), which goes down the k best so far, each keeping the
 * greater one: k maxima and minima, no branch. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <math.h>

static const Port P_IN[] = {{"X", DTS_NUM, 0, 1}, {"K", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"Values", DTS_NUM, 0, 1}, {"Indices", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct TopK { uint64_t set; int64_t axis, k, largest, sorted; } TopK;
static const AttrSpec ATTRS_[] = {A_INT(TopK, axis, -1), A_INT(TopK, k, -1), A_INT(TopK, largest, 1), A_INT(TopK, sorted, 1), A_END};

enum { ROWS = 16 /* rows side by side that are looked at together */, PARTS = 16 /* threads at most */ };

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    TopK *a = node_rec(g, n)->attrs;
    Module *m = g->m;
    if (opset >= 10) return true;
    if (!(a->set & 2)) return diag(m->diag, graph_loc(g, n), E_ATTR_MISSING, "k");
    Dim one = dim_const(&m->dims, 1);
    graph_add_input(g, n, graph_const(g, blob_inline(&m->blobs, DT_I64, 1, &a->k), type_tensor(&m->types, DT_I64, 1, &one), (Name){0}));
    a->set &= ~(uint64_t)2;
    a->k = -1;
    return true;
}

static bool infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, TopK)->axis, k;
    const Dim *want;
    uint32_t count;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 0, 1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    int64_t lo, hi;
    dim_bounds(c->d, dim[axis], &lo, &hi);
    if (infer_content(c, 1, &want, &count)) {
        Dim w = count == 1 ? dim_resolve(c->d, want[0]) : DIM_NONE;
        if (count != 1) return infer_fail(c, "K has %u elements, expected 1", count);
        if (dim_is_const(c->d, w, &k) && (k < 0 || k > hi)) return infer_fail(c, "K = %lld of %lld elements", (long long)k, (long long)hi);
        dim[axis] = w;
    } else dim[axis] = infer_node_dim(c, 0, (int)axis, 0, hi);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim) && infer_set(c, 1, DT_I64, rank, dim);
}

/* ---- the few best of short rows ---- */

enum { FEW = K_CARRIES, FEW_LEN = 512, FEW_LEN_256 = 128 /* and in shorter vectors */, FEW_ROWS = 64 /* of an iteration that threads share */,
       ONE_LEN = 64 /* from here on the best one is looked for along its row */ };

/* x as an i64 below 2^31 in magnitude: in the order of TopK, the best greatest. */
static KVal few_key(Kb *b, DType e, KVal x, bool largest)
{
    KVal key = x;
    if (dtype_is_float(e)) {
        KVal bits = kb_bitcast(b, DT_I32, kb_select(b, kb_eq(b, x, kb_const_f(b, DT_F32, 0)), kb_const_f(b, DT_F32, 0), x));
        KVal low = kb_and(b, kb_bin(b, KOP_SHR, bits, kb_const_i(b, DT_I32, 31)), kb_const_i(b, DT_I32, INT32_MAX));
        key = kb_select(b, kb_un(b, KOP_ISNAN, x), kb_const_i(b, DT_I32, INT32_MAX), kb_bin(b, KOP_XOR, bits, low));
    }
    key = kb_cast(b, DT_I64, key);
    return largest ? key : kb_sub(b, kb_i(b, -1), key);
}

/* Numbers in rising order. */
static void few_rising(Kb *b, KVal *v, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = i; j; j--) {
            KVal lower = kb_min(b, v[j - 1], v[j]), upper = kb_max(b, v[j - 1], v[j]);
            v[j - 1] = lower, v[j] = upper;
        }
}

/* false: nothing emitted, these are not few, or not of many rows. */
static bool lower_few(Lw *l, const TopK *a, int axis, Dim places)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), lanes = axis == rank - 1 ? rank - 2 : rank - 1;
    int64_t k, len, rows, most = l->k->target.vec_bits < 512 ? FEW_LEN_256 : FEW_LEN;
    DType e = lw_elem(l, 0);
    if (rank < 2 || !dim_is_const(d, places, &k) || k < 1 || k > FEW || dtype_info(e)->bits > 32) return false;
    if (!dim_is_const(d, lw_dim(l, 0, axis), &len) || len < k || len > most) return false;
    if (dim_is_const(d, lw_dim(l, 0, lanes), &rows) && rows < K_LANES / 2) return false;
    KBuf in = lw_in(l, 0), out = lw_out(l, 0);
    Kb *b = lw_kernel(l, "topk");
    uint32_t x = kb_param(b, in, false), y = kb_param(b, out, true), at = 0;
    bool indices = node_n_out(l->g, l->n) > 1;
    if (indices) at = kb_param(b, lw_out(l, 1), true);
    KVal idx[RANK_MAX], init[FEW], next[FEW];
    for (int i = 0; i < rank; i++)
        if (i != axis && i != lanes) idx[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)));
    KVal all = kb_dim(b, lw_dim(l, 0, lanes));
    KVal first = kb_mul(b, kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_ceil_div(b, all, FEW_ROWS)), kb_i(b, FEW_ROWS));
    idx[lanes] = kb_for(b, KLOOP_VEC, first, kb_min(b, kb_add(b, first, kb_i(b, FEW_ROWS)), all));
    KbLoop loop;
    for (int j = 0; j < k; j++) init[j] = kb_i(b, INT64_MIN);
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, len), (uint32_t)k, init, NULL);
    idx[axis] = loop.iv;
    KVal key = few_key(b, e, kb_load(b, x, idx), a->largest != 0), behind = kb_sub(b, kb_i(b, len - 1), loop.iv);
    KVal v = kb_add(b, kb_bin(b, KOP_SHL, key, kb_i(b, 32)), behind);
    for (int j = 0; j < k; j++) {
        next[j] = kb_max(b, loop.carry[j], v);
        v = kb_min(b, loop.carry[j], v);
    }
    kb_loop_end(b, &loop, next);
    for (int j = 0; j < k; j++) next[j] = kb_sub(b, kb_i(b, len - 1), kb_and(b, loop.result[j], kb_i(b, UINT32_MAX)));
    if (!a->sorted) few_rising(b, next, k);
    for (int j = 0; j < k; j++) {
        idx[axis] = next[j];
        KVal best = kb_load(b, x, idx);
        idx[axis] = kb_i(b, j);
        kb_store(b, y, idx, best);
        if (indices) kb_store(b, at, idx, next[j]);
    }
    for (int i = 0; i < rank; i++) kb_end(b);
    lw_kernel_end(l);
    return true;
}

/* ---- the best one ---- */

/* x, in whose order of floats NaN, which is larger than any number, loses where the smallest is looked for. */
static KVal one_key(Kb *b, DType t, KVal x, bool largest)
{
    if (largest || !dtype_is_float(t)) return x;
    return kb_select(b, kb_un(b, KOP_ISNAN, x), kb_const_f(b, t, INFINITY), x);
}

/* Elements of a row lie side by side: two sweeps in lanes, the best element, then where it stands first. false: nothing
 * emitted, the best is not one, or rows are short, or lie otherwise. */
static bool lower_one(Lw *l, const TopK *a, int axis, Dim places)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    int64_t len;
    DType t = dtype_compute(lw_elem(l, 0));
    if (axis != rank - 1 || !dim_is(d, places, 1)) return false;
    if (dim_is_const(d, lw_dim(l, 0, axis), &len) && len < ONE_LEN) return false;
    KBuf in = lw_in(l, 0), out = lw_out(l, 0);
    Kb *b = lw_kernel(l, "topk");
    uint32_t x = kb_param(b, in, false), y = kb_param(b, out, true), at = 0;
    bool indices = node_n_out(l->g, l->n) > 1;
    if (indices) at = kb_param(b, lw_out(l, 1), true);
    KVal idx[RANK_MAX], zero = kb_i(b, 0), all = kb_dim(b, lw_dim(l, 0, axis)), next;
    for (int i = 0; i < axis; i++) idx[i] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_dim(l, 0, i)));
    KOp best = a->largest ? KOP_MAX : KOP_MIN, first = KOP_MIN;
    KbLoop loop;
    idx[axis] = zero;
    KVal init = one_key(b, t, kb_load(b, x, idx), a->largest);
    kb_loop(b, &loop, KLOOP_SEQ, zero, all, 1, &init, &best);
    idx[axis] = loop.iv;
    next = kb_bin(b, best, loop.carry[0], one_key(b, t, kb_load(b, x, idx), a->largest));
    kb_loop_end(b, &loop, &next);
    KVal value = loop.result[0];
    kb_loop(b, &loop, KLOOP_SEQ, zero, all, 1, &all, &first);
    idx[axis] = loop.iv;
    KVal it = kb_load(b, x, idx), hit = kb_eq(b, it, value);
    if (a->largest && dtype_is_float(t)) hit = kb_bin(b, KOP_OR, hit, kb_un(b, KOP_ISNAN, it));
    next = kb_min(b, loop.carry[0], kb_select(b, hit, loop.iv, all));
    kb_loop_end(b, &loop, &next);
    KVal place = loop.result[0];
    if (!a->largest && dtype_is_float(t)) place = kb_select(b, kb_eq(b, place, all), zero, place); /* all are NaN */
    idx[axis] = place;
    KVal element = kb_load(b, x, idx);
    idx[axis] = zero;
    kb_store(b, y, idx, element);
    if (indices) kb_store(b, at, idx, place);
    lw_end_nest(l, axis);
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    const TopK *a = ATTRS(l->g, n, TopK);
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    Dim k, dim[RANK_MAX], one = dim_const(d, 1), outer = one, inner = one;
    if (!lw_values_n(l, 1, &k, 1)) return false;
    index_check(l, dim_const(d, 0), KREL_LE, k, "K is {want}");
    index_check(l, k, KREL_LE, lw_dim(l, 0, axis), "K is {got}, the axis has {want}");
    for (int i = 0; i < rank; i++) dim[i] = i == axis ? k : lw_dim(l, 0, i);
    lw_prepare_in(l);
    for (uint32_t r = 0; r < 2; r++)
        if (r < node_n_out(l->g, n)) lw_bind_dims(l, r, dim);
    if (lower_one(l, a, axis, k) || lower_few(l, a, axis, k)) return true;
    for (int i = 0; i < rank; i++)
        if (i < axis) outer = dim_mul(d, outer, dim[i]);
        else if (i > axis) inner = dim_mul(d, inner, dim[i]);
    /* workspace: of some threads (the others do nothing), pairs for so many rows at once: room for candidates, twice */
    Dim at_once = dim_min(d, inner, dim_const(d, ROWS)), groups = dim_mul(d, outer, dim_ceildiv(d, inner, dim_const(d, ROWS)));
    Dim room = dim_min(d, lw_dim(l, 0, axis), dim_add(d, dim_mul(d, dim_const(d, 4), k), dim_const(d, 64)));
    Dim work[4] = {dim_min(d, groups, dim_const(d, PARTS)), at_once, dim_mul(d, dim_const(d, 2), room), dim_const(d, 2)};
    KBuf x = lw_in(l, 0), y = lw_out(l, 0), at = node_n_out(l->g, n) > 1 ? lw_out(l, 1) : lw_temp(l, DT_I64, rank, dim), tmp = lw_temp(l, DT_I64, 4, work);
    lw_call(l, l->steps, "rt_topk", 7,
            (KArg[]){{.kind = KA_BUF, .buf = x}, {.kind = KA_BUF, .buf = y}, {.kind = KA_BUF, .buf = at}, {.kind = KA_BUF, .buf = tmp},
                     {.kind = KA_INT, .i = axis}, {.kind = KA_INT, .i = a->largest != 0}, {.kind = KA_INT, .i = a->sorted != 0}});
    return true;
}

/* a goes before b, both not taken yet: by value, NaN largest. */
static bool before(const Tensor *x, int64_t a, int64_t b, bool largest)
{
    if (!dtype_is_float(x->elem)) {
        int64_t p = ev_i(x, a), q = ev_i(x, b);
        if (x->elem == DT_U64) return largest ? (uint64_t)p > (uint64_t)q : (uint64_t)p < (uint64_t)q;
        return largest ? p > q : p < q;
    }
    double p = ev_f(x, a), q = ev_f(x, b);
    if (isnan(p) || isnan(q)) return largest ? isnan(p) && !isnan(q) : isnan(q) && !isnan(p);
    return largest ? p > q : p < q;
}

/* Places of each row in rising order. */
static void by_place(Tensor *at, int axis)
{
    int64_t i[RANK_MAX];
    for (int64_t o = 0; o < at->count; o++) {
        unflatten(at, o, i);
        for (int64_t p = o; i[axis]--; ) {
            int64_t q = flat_index(at, i), later = ev_i(at, p), earlier = ev_i(at, q);
            if (earlier < later) break;
            ev_set_i(at, p, earlier);
            ev_set_i(at, q, later);
            p = q;
        }
    }
}

static bool eval(Eval *e)
{
    const TopK *a = ATTRS(e->g, e->n, TopK);
    const Tensor *x = e->in[0];
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t dim[RANK_MAX], i[RANK_MAX], k = ev_i(e->in[1], 0);
    for (int j = 0; j < x->rank; j++) dim[j] = j == axis ? k : x->dim[j];
    if (k < 0 || k > x->dim[axis]) return ev_fail(e, "K = %lld of %lld elements", (long long)k, (long long)x->dim[axis]);
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim), *at = tensor_new(e->arena, DT_I64, x->rank, dim);
    if (e->n_out > 1) e->out[1] = at;
    for (int64_t o = 0; y && at && o < y->count; o++) {   /* place p: the best of those that do not stand in places 0..p-1 */
        unflatten(y, o, i);
        int64_t place = i[axis], best = -1, best_flat = 0;
        for (int64_t c = 0; c < x->dim[axis]; c++) {
            bool taken = false;
            for (int64_t p = 0; p < place && !taken; p++) {
                i[axis] = p;
                taken = ev_i(at, flat_index(at, i)) == c;
            }
            i[axis] = c;
            int64_t flat = flat_index(x, i);
            if (taken || (best >= 0 && !before(x, flat, best_flat, a->largest != 0))) continue;
            best = c, best_flat = flat;
        }
        ev_set_i(at, o, best);
    }
    if (at && !a->sorted) by_place(at, axis);
    for (int64_t o = 0; y && at && o < y->count; o++) {
        unflatten(y, o, i);
        i[axis] = ev_i(at, o);
        ev_copy(y, o, x, flat_index(x, i));
    }
    return y && at;
}

const OpDesc op_TopK = {.name = "TopK", .since = 24, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(TopK),
                        .upgrade = upgrade, .infer = infer, .lower = lower, .grad = grad_topk, .eval = eval};
