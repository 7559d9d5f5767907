/* reduce.c: ReduceSum, Mean, Max, Min, Prod, L1, L2, SumSquare, LogSum, LogSumExp: over the axes of the second operand (an attribute in older opsets); no axes: all,
 * or none with noop_with_empty_axes.
 *
 * All are one nest:  acc = start; for each reduced index: acc = combine(acc, pre(x)); y = post(acc).  Accumulation is in the compute type (f32 for f16 and bf16).
 * LogSumExp runs two sweeps, subtracting the maximum, so that exp stays finite. An empty reduction gives the combiner's neutral element (Max, Min: the lowest, highest
 * value; LogSum, LogSumExp: -inf). Axes that only the run knows make a nest of formulas: see lower_run. */
#include "base/bug.h"
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

static const Port P_IN[] = {{"data", DTS_NUM, 0, 1}, {"axes", DTS(DT_I64), PORT_OPTIONAL | PORT_SHAPE, 0}, PORT_END};
static const Port P_IN_BOOL[] = {{"data", DTS_NUM | DTS_BOOL, 0, 1}, {"axes", DTS(DT_I64), PORT_OPTIONAL | PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"reduced", DTS_NUM | DTS_BOOL, 0, 1}, PORT_END};

typedef struct Reduce { uint64_t set; int64_t keepdims, noop_with_empty_axes; AttrInts axes; } Reduce;
static const AttrSpec ATTRS_[] = {A_INT(Reduce, keepdims, 1), A_INT(Reduce, noop_with_empty_axes, 0), A_INTS(Reduce, axes), A_END};

/* axes=[1] (attribute)  =>  second operand [1] */
static bool upgrade(Graph *g, Node n, int64_t opset)
{
    (void)opset;
    Reduce *a = node_rec(g, n)->attrs;
    if (!(a->set & 4)) return true;
    Dim count = dim_const(&g->m->dims, a->axes.n);
    Value v = graph_const(g, blob_inline(&g->m->blobs, DT_I64, a->axes.n, a->axes.p), type_tensor(&g->m->types, DT_I64, 1, &count), (Name){0});
    if (node_n_in(g, n) < 2) graph_add_input(g, n, v);
    else graph_set_input(g, n, 1, v);
    a->set &= ~(uint64_t)4;
    a->axes = (AttrInts){0};
    return true;
}

/* Which axes of operand 0 are reduced. *run: how many, when only the run knows which, -1: when it knows that alone, too (mark is not set then). */
static bool which(Infer *c, bool *mark, bool *none, int64_t *run)
{
    const Reduce *a = ATTRS(c->g, c->n, Reduce);
    int rank = infer_rank(c, 0);
    int64_t axes[RANK_MAX], bad;
    uint32_t n = 0;
    *none = false;
    *run = 0;
    if (infer_has(c, 1) && !infer_ints(c, 1, axes, RANK_MAX, &n)) {
        if (!infer_need_rank(c, 1, 1, 1)) return false;
        if (!dim_is_const(c->d, infer_dim(c, 1, 0), run)) *run = -1;
        if (*run < 0 && !a->keepdims) return infer_fail(c, "the number of axes must be known at compile time, or the dims be kept");
        if (*run > rank) return infer_fail(c, "%lld axes for rank %d", (long long)*run, rank);
        if (*run) return true;
    }
    if (!n) {
        *none = a->noop_with_empty_axes;
        for (int i = 0; i < rank; i++) mark[i] = !*none;
        return true;
    }
    if (axes_mark(axes, n, rank, mark, &bad)) return true;
    return infer_fail(c, "axis %lld is out of range for rank %d, or given twice", (long long)bad, rank);
}

static bool infer(Infer *c)
{
    bool mark[RANK_MAX], none;
    int64_t run, hi, most = 1;
    if (!infer_need_rank(c, 0, 0, -1) || !which(c, mark, &none, &run)) return false;
    Dim dim[RANK_MAX];
    int rank = 0;
    if (run) {
        bool keep = ATTRS(c->g, c->n, Reduce)->keepdims;
        rank = infer_rank(c, 0) - (keep ? 0 : (int)run);
        for (int i = 0; i < infer_rank(c, 0); i++) {
            dim_bounds(c->d, infer_dim(c, 0, i), &(int64_t){0}, &hi);
            most = hi > most ? hi : most;
        }
        for (int i = 0; i < rank; i++) dim[i] = infer_node_dim(c, 0, i, 0, most);
        return infer_set(c, 0, infer_elem(c, 0), rank, dim);
    }
    for (int i = 0; i < infer_rank(c, 0); i++)
        if (!mark[i]) dim[rank++] = infer_dim(c, 0, i);
        else if (ATTRS(c->g, c->n, Reduce)->keepdims) dim[rank++] = dim_const(c->d, 1);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* ---- the reductions ---- */

typedef struct Kind { OpCode op; KOp combine; enum { PRE_NONE, PRE_ABS, PRE_SQUARE } pre; enum { POST_NONE, POST_MEAN, POST_SQRT, POST_LOG } post; } Kind;
static const Kind KINDS[] = {
    {OP_ReduceSum, KOP_ADD, PRE_NONE, POST_NONE}, {OP_ReduceMean, KOP_ADD, PRE_NONE, POST_MEAN}, {OP_ReduceMax, KOP_MAX, PRE_NONE, POST_NONE},
    {OP_ReduceMin, KOP_MIN, PRE_NONE, POST_NONE}, {OP_ReduceProd, KOP_MUL, PRE_NONE, POST_NONE}, {OP_ReduceL1, KOP_ADD, PRE_ABS, POST_NONE},
    {OP_ReduceL2, KOP_ADD, PRE_SQUARE, POST_SQRT}, {OP_ReduceSumSquare, KOP_ADD, PRE_SQUARE, POST_NONE}, {OP_ReduceLogSum, KOP_ADD, PRE_NONE, POST_LOG},
    {OP_ReduceLogSumExp, KOP_ADD, PRE_NONE, POST_LOG}};
static const Kind *kind_of(OpCode op)
{
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        if (KINDS[k].op == op) return &KINDS[k];
    UNREACHABLE();
}

static KVal neutral(Kb *b, KOp combine, DType t)
{
    bool f = dtype_is_float(t), s = dtype_is_signed(t);
    int bits = dtype_info(t)->bits;
    int64_t top = s ? (int64_t)((1ull << (bits - 1)) - 1) : bits == 64 ? -1 : (int64_t)((1ull << bits) - 1);
    switch (combine) {
    case KOP_ADD: return f ? kb_const_f(b, t, 0) : kb_const_i(b, t, 0);
    case KOP_MUL: return f ? kb_const_f(b, t, 1) : kb_const_i(b, t, 1);
    case KOP_MAX: return f ? kb_const_f(b, t, -INFINITY) : kb_const_i(b, t, s ? -top - 1 : 0);
    case KOP_MIN: return f ? kb_const_f(b, t, INFINITY) : kb_const_i(b, t, top);
    case KOP_AND: return kb_const_i(b, t, 1);
    case KOP_OR: return kb_const_i(b, t, 0);
    default: UNREACHABLE();
    }
}

/* Loops over the marked axes with one carry; returns the combined value. x(idx) is given by `elem`; base: where the loop of an axis starts to count, 0: at 0. */
typedef struct Sweep { bool mark[RANK_MAX]; Dim extent[RANK_MAX]; KVal base[RANK_MAX]; int rank; } Sweep;
typedef KVal ElemFn(Lw *, const KVal *idx, const void *arg);
static KVal sweep(Lw *l, const Sweep *w, int at, KVal *idx, KOp combine, KVal acc, ElemFn *elem, const void *arg)
{
    while (at < w->rank && !w->mark[at]) at++;
    if (at == w->rank) return kb_bin(l->b, combine, acc, elem(l, idx, arg));
    KbLoop loop;
    kb_loop(l->b, &loop, KLOOP_SEQ, kb_i(l->b, 0), kb_dim(l->b, w->extent[at]), 1, &acc, &combine);
    idx[at] = w->base[at].i ? kb_add(l->b, w->base[at], loop.iv) : loop.iv;
    KVal next = sweep(l, w, at + 1, idx, combine, loop.carry[0], elem, arg);
    kb_loop_end(l->b, &loop, &next);
    return loop.result[0];
}

typedef struct Elem { const Kind *k; KVal sub; bool wide; /* integers: as float64 */ } Elem;
static KVal element(Lw *l, const KVal *idx, const void *arg)
{
    const Elem *e = arg;
    KVal x = lw_at(l, 0, idx);
    if (e->wide) x = kb_cast(l->b, DT_F64, x);
    if (e->sub.i) return kb_un(l->b, KOP_EXP, kb_sub(l->b, x, e->sub));
    if (e->k->pre == PRE_ABS && dtype_is_signed(kb_type(l->b, x))) return kb_un(l->b, KOP_ABS, x);
    if (e->k->pre == PRE_SQUARE) return kb_mul(l->b, x, x);
    return x;
}

/* Square roots, logarithms and quotients of integers are taken in float64 and truncated. */
static KVal finish(Lw *l, const Kind *k, KVal acc, const Sweep *w)
{
    Kb *b = l->b;
    DType t = kb_type(b, acc);
    if (k->post == POST_NONE) return acc;
    if (k->post == POST_MEAN) {
        KVal n = kb_i(b, 1);
        for (int i = 0; i < w->rank; i++)
            if (w->mark[i]) n = kb_mul(b, n, kb_dim(b, w->extent[i]));
        return kb_div(b, acc, kb_cast(b, t, n));
    }
    KVal f = dtype_is_float(t) ? acc : kb_cast(b, DT_F64, acc);
    f = kb_un(b, k->post == POST_SQRT ? KOP_SQRT : KOP_LOG, f);
    return dtype_is_float(t) ? f : kb_cast(b, t, f);
}

/* One element, inside the loops over the result; idx holds the indices of axes that are not swept. */
static KVal reduced(Lw *l, const Sweep *w, KVal *idx)
{
    Kb *b = l->b;
    const Kind *k = kind_of(node_rec(l->g, l->n)->op);
    bool boolean = lw_elem(l, 0) == DT_BOOL, lse = k->op == OP_ReduceLogSumExp;
    KOp combine = !boolean ? k->combine : k->combine == KOP_MAX ? KOP_OR : KOP_AND;
    DType t = dtype_compute(lw_elem(l, 0)), given = t;
    Elem e = {.k = k, .wide = lse && !dtype_is_float(t)};
    if (!lse) return finish(l, k, sweep(l, w, 0, idx, combine, neutral(b, combine, t), element, &e), w);
    if (e.wide) t = DT_F64;
    KVal m = sweep(l, w, 0, idx, KOP_MAX, neutral(b, KOP_MAX, t), element, &e);
    KVal finite = kb_lt(b, kb_un(b, KOP_ABS, m), kb_const_f(b, t, INFINITY));
    e.sub = kb_select(b, finite, m, kb_const_f(b, t, 0));
    KVal y = kb_add(b, finish(l, k, sweep(l, w, 0, idx, KOP_ADD, neutral(b, KOP_ADD, t), element, &e), w), e.sub);
    return e.wide ? kb_cast(b, given, y) : y;
}

/* Axes that only the run knows: the result is computed as if dims were kept, and every axis is swept, over its extent or over the one element that the result's
 * index names:  y[o0,o1,..] = combine over r0 < e0, r1 < e1, .. of x[o0+r0, o1+r1, ..];  extents (o, e) are (1, d) where the axis is reduced and (d, 1) elsewhere. */
static bool lower_run(Lw *l)
{
    Dims *d = &l->m->dims;
    RunAxes x;
    Dim len[RANK_MAX], kept[RANK_MAX], dim[RANK_MAX], one = dim_const(d, 1);
    Sweep w = {.rank = lw_rank(l, 0)};
    if (!axes_read(l, 1, w.rank, &x)) return false;
    if (!x.n) {   /* none given: all, or none */
        Dim given = dim_min(d, one, lw_dim(l, 1, 0)), none = dim_const(d, !ATTRS(l->g, l->n, Reduce)->noop_with_empty_axes);
        for (int i = 0; i < w.rank; i++) x.mark[i] = axes_either(l, given, x.mark[i], none);
    }
    for (int i = 0; i < w.rank; i++) {
        len[i] = lw_dim(l, 0, i);
        kept[i] = axes_bind(l, axes_either(l, x.mark[i], one, len[i]), 0, INT64_MAX);
        w.extent[i] = axes_bind(l, axes_either(l, x.mark[i], len[i], one), 0, INT64_MAX);
        w.mark[i] = true;
    }
    bool keep = ATTRS(l->g, l->n, Reduce)->keepdims;
    for (int i = 0; i < lw_out_rank(l, 0); i++) dim[i] = keep ? kept[i] : axes_rest(l, &x, i, len);
    lw_bind_dims(l, 0, dim);
    lw_prepare_in(l);
    KBuf out = lw_out(l, 0), full = kbuf_new(l->k, KS_VIEW, (Name){0}, lw_out_elem(l, 0), w.rank, kept, l->loc);
    kbuf(l->k, full)->base = out;
    kbuf(l->k, full)->offset = dim_const(d, 0);
    lw_kernel(l, node_desc(l->g, l->n)->name);
    KVal idx[RANK_MAX];
    lw_nest(l, w.rank, kept, w.base);
    KVal y = reduced(l, &w, idx);
    kb_store(l->b, kb_param(l->b, full, true), w.base, y);
    lw_end_nest(l, w.rank);
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    Infer c = {.m = l->m, .g = l->g, .n = n, .op = node_desc(l->g, n), .d = &l->m->dims};
    bool none, keep = ATTRS(l->g, n, Reduce)->keepdims;
    int64_t run;
    Sweep w = {.rank = lw_rank(l, 0)};
    if (!which(&c, w.mark, &none, &run)) return false;
    if (run) return lower_run(l);
    lw_prepare_in(l);
    lw_prepare_out(l);
    lw_kernel(l, node_desc(l->g, n)->name);
    KVal out[RANK_MAX], idx[RANK_MAX];
    lw_nest_over(l, 0, out);
    for (int i = 0, o = 0; i < w.rank; i++) {
        w.extent[i] = lw_dim(l, 0, i);
        if (!w.mark[i]) idx[i] = out[o++];
        else if (keep) o++;
    }
    lw_put(l, 0, out, reduced(l, &w, idx));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

/* ---- shape arithmetic: the product of dims ---- */

static bool prod_propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    if (!infer_content(c, 0, &d, &n) || infer_rank(c, 0) != 1 || value_trec(c->g, node_out(c->g, c->n, 0))->rank > 1) return true;
    Dim p = dim_const(c->d, 1);
    for (uint32_t i = 0; i < n; i++) p = dim_mul(c->d, p, d[i]);
    bool mark[RANK_MAX], none;
    int64_t run;
    if (which(c, mark, &none, &run) && !none) infer_set_content(c, 0, &p, 1);
    return true;
}

/* ---- reference ---- */

/* An end of a type of integers, or bool. */
static int64_t end_of(DType t, bool highest)
{
    int bits = dtype_info(t)->bits;
    if (t == DT_BOOL) return highest;
    if (dtype_is_signed(t)) return highest ? INT64_MAX >> (64 - bits) : INT64_MIN >> (64 - bits);
    return highest ? (int64_t)(UINT64_MAX >> (64 - bits)) : 0;
}
static bool below(DType t, int64_t a, int64_t b) { return t == DT_U64 ? (uint64_t)a < (uint64_t)b : a < b; }

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const Reduce *a = ATTRS(e->g, e->n, Reduce);
    const Kind *k = kind_of(node_rec(e->g, e->n)->op);
    bool mark[RANK_MAX];
    int64_t axes[RANK_MAX], bad, dim[RANK_MAX], n = ev_has(e, 1) ? e->in[1]->count : 0;
    if (n > RANK_MAX) return ev_fail(e, "too many axes");
    for (int64_t i = 0; i < n; i++) axes[i] = ev_i(e->in[1], i);
    if (!axes_mark(axes, (uint32_t)n, x->rank, mark, &bad)) return ev_fail(e, "axis %lld is out of range", (long long)bad);
    if (!n)
        for (int i = 0; i < x->rank; i++) mark[i] = !a->noop_with_empty_axes;
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (!mark[i]) dim[rank++] = x->dim[i];
        else if (a->keepdims) dim[rank++] = 1;
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    if (!y) return false;
    int64_t each = 1; /* elements that meet in one of y */
    for (int i = 0; i < x->rank; i++)
        if (mark[i]) each *= x->dim[i];
    for (int64_t o = 0; o < y->count; o++) {
        double acc = 0, lo = INFINITY, hi = -INFINITY, prod = 1, count = 0;
        bool f = dtype_is_float(x->elem);
        int64_t iacc = 0, ilo = f ? 0 : end_of(x->elem, true), ihi = f ? 0 : end_of(x->elem, false), iprod = 1;
        for (int pass = 0; pass < (k->op == OP_ReduceLogSumExp ? 2 : 1); pass++) /* second sweep: exponentials relative to the maximum */
            for (int64_t j = 0; j < each; j++) {
                int64_t i = group_place(x, mark, o, j);
                double v = ev_f(x, i);
                int64_t w = f ? 0 : ev_i(x, i);
                if (pass == 1) {
                    if (k->op == OP_ReduceLogSumExp) acc += exp(v - (isfinite(hi) ? hi : 0));
                    continue;
                }
                if (k->pre == PRE_ABS) v = fabs(v), w = w < 0 && dtype_is_signed(x->elem) ? -w : w;
                if (k->pre == PRE_SQUARE) v *= v, w *= w;
                count++;
                if (k->op != OP_ReduceLogSumExp) acc += v;
                prod *= v, iacc = (int64_t)((uint64_t)iacc + (uint64_t)w), iprod = (int64_t)((uint64_t)iprod * (uint64_t)w);
                if (v < lo || isnan(v)) lo = v;
                if (v > hi || isnan(v)) hi = v;
                if (below(x->elem, w, ilo)) ilo = w;
                if (below(x->elem, ihi, w)) ihi = w;
            }
        double r = k->combine == KOP_MAX ? hi : k->combine == KOP_MIN ? lo : k->combine == KOP_MUL ? prod : acc;
        int64_t ir = k->combine == KOP_MAX ? ihi : k->combine == KOP_MIN ? ilo : k->combine == KOP_MUL ? iprod : iacc;
        if (k->post == POST_MEAN) r = acc / count, ir = count ? iacc / (int64_t)count : 0;
        if (k->post == POST_SQRT) r = sqrt(r), ir = (int64_t)sqrt((double)ir);
        if (k->post == POST_LOG) r = log(r) + (k->op == OP_ReduceLogSumExp && isfinite(hi) ? hi : 0), ir = (int64_t)(k->op == OP_ReduceLogSumExp ? r : log((double)ir));
        if (f) ev_set_f(y, o, r);
        else ev_set_i(y, o, ir);
    }
    return true;
}

#define REDUCE .cls = CLS_REDUCE, .flags = OPF_ROW_GROUP, .knows = 2, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Reduce), .upgrade = upgrade, .infer = infer, .lower = lower, .eval = eval

const OpDesc op_ReduceSum = {.name = "ReduceSum", .since = 13, REDUCE, .grad = grad_reduce_sum};
const OpDesc op_ReduceMean = {.name = "ReduceMean", .since = 18, REDUCE, .grad = grad_reduce_mean};
const OpDesc op_ReduceProd = {.name = "ReduceProd", .since = 18, REDUCE, .propagate = prod_propagate, .grad = grad_reduce_prod};
const OpDesc op_ReduceL1 = {.name = "ReduceL1", .since = 18, REDUCE, .grad = grad_reduce_l1};
const OpDesc op_ReduceL2 = {.name = "ReduceL2", .since = 18, REDUCE, .grad = grad_reduce_l2};
const OpDesc op_ReduceSumSquare = {.name = "ReduceSumSquare", .since = 18, REDUCE, .grad = grad_reduce_sum_square};
const OpDesc op_ReduceLogSum = {.name = "ReduceLogSum", .since = 18, REDUCE, .grad = grad_reduce_log_sum};
const OpDesc op_ReduceLogSumExp = {.name = "ReduceLogSumExp", .since = 18, REDUCE, .grad = grad_reduce_log_sum_exp};
const OpDesc op_ReduceMax = {.name = "ReduceMax", .since = 20, .cls = CLS_REDUCE, .knows = 2, .in = P_IN_BOOL, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Reduce),
                             .upgrade = upgrade, .infer = infer, .lower = lower, .grad = grad_reduce_extremum, .eval = eval};
const OpDesc op_ReduceMin = {.name = "ReduceMin", .since = 20, .cls = CLS_REDUCE, .knows = 2, .in = P_IN_BOOL, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Reduce),
                             .upgrade = upgrade, .infer = infer, .lower = lower, .grad = grad_reduce_extremum, .eval = eval};
