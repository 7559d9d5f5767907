/* argmax.c: ArgMax, ArgMin: the index of the extreme along one axis; the first one, or the last with select_last_index. NaN counts as the extreme.
 * One loop with two carries: the best value and its index. Along an innermost axis two sweeps that can run in lanes: the best value, then where it (or a NaN) stands. */
#include "ir/ops/axes.h"
#include "ir/ops/index.h"
#include <math.h>

static const Port P_IN[] = {{"data", DTS_NUM, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"reduced", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct Arg { uint64_t set; int64_t axis, keepdims, select_last_index; } Arg;
static const AttrSpec ATTRS_[] = {A_INT(Arg, axis, 0), A_INT(Arg, keepdims, 1), A_INT(Arg, select_last_index, 0), A_END};

static bool infer(Infer *c)
{
    const Arg *a = ATTRS(c->g, c->n, Arg);
    int64_t axis = a->axis;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    Dim dim[RANK_MAX];
    int rank = 0;
    for (int i = 0; i < infer_rank(c, 0); i++)
        if (i != axis) dim[rank++] = infer_dim(c, 0, i);
        else if (a->keepdims) dim[rank++] = dim_const(c->d, 1);
    if (dim_is(c->d, infer_dim(c, 0, (int)axis), 0)) return infer_fail(c, "the reduced axis is empty");
    return infer_set(c, 0, DT_I64, rank, dim);
}

/* Elements along the axis lie side by side, and looking at them twice costs little. */
static bool side_by_side(Lw *l, int axis)
{
    int64_t len;
    if (axis != lw_rank(l, 0) - 1 || lw_computed(l, 0)) return false;
    if (dim_is_const(&l->m->dims, lw_dim(l, 0, axis), &len) && len < 16) return false;
    return dim_is(&l->m->dims, kbuf_stride(l->k, kbuf(l->k, lw_in_strided(l, 0)), axis), 1);
}

static KVal place(Lw *l, const Arg *a, bool max, int axis, KVal *idx)
{
    Kb *b = l->b;
    DType t = dtype_compute(lw_elem(l, 0));
    KVal len = kb_dim(b, lw_dim(l, 0, axis)), none = a->select_last_index ? kb_i(b, -1) : len, zero = kb_i(b, 0);
    KOp best = max ? KOP_MAX : KOP_MIN, where = a->select_last_index ? KOP_MAX : KOP_MIN;
    KbLoop loop;
    idx[axis] = zero;
    KVal init = lw_at(l, 0, idx), next;
    kb_loop(b, &loop, KLOOP_SEQ, zero, len, 1, &init, &best);
    idx[axis] = loop.iv;
    next = kb_bin(b, best, loop.carry[0], lw_at(l, 0, idx));
    kb_loop_end(b, &loop, &next);
    KVal value = loop.result[0];
    kb_loop(b, &loop, KLOOP_SEQ, zero, len, 1, &none, &where);
    idx[axis] = loop.iv;
    KVal x = lw_at(l, 0, idx), hit = kb_eq(b, x, value);
    if (dtype_is_float(t)) hit = kb_bin(b, KOP_OR, hit, kb_un(b, KOP_ISNAN, x));
    next = kb_bin(b, where, loop.carry[0], kb_select(b, hit, loop.iv, none));
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static bool lower(Lw *l, Node n)
{
    const Arg *a = ATTRS(l->g, n, Arg);
    int rank = lw_rank(l, 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    bool max = node_rec(l->g, n)->op == OP_ArgMax;
    lw_prepare_in(l);
    lw_prepare_out(l);
    bool sweeps = side_by_side(l, axis);
    index_check(l, dim_const(&l->m->dims, 1), KREL_LE, lw_dim(l, 0, axis), "the reduced axis is empty");
    Kb *b = lw_kernel(l, node_desc(l->g, n)->name);
    KVal out[RANK_MAX], idx[RANK_MAX];
    lw_nest_over(l, 0, out);
    for (int i = 0, o = 0; i < rank; i++) {
        if (i != axis) idx[i] = out[o++];
        else if (a->keepdims) o++;
    }
    if (sweeps) {
        lw_put(l, 0, out, place(l, a, max, axis, idx));
        lw_end_nest(l, lw_out_rank(l, 0));
        lw_kernel_end(l);
        return true;
    }
    idx[axis] = kb_i(b, 0);
    KVal init[2] = {lw_at(l, 0, idx), kb_i(b, 0)};
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 1), kb_dim(b, lw_dim(l, 0, axis)), 2, init, NULL);
    idx[axis] = loop.iv;
    KVal x = lw_at(l, 0, idx), best = loop.carry[0];
    KOp op = max ? (a->select_last_index ? KOP_GE : KOP_GT) : (a->select_last_index ? KOP_LE : KOP_LT);
    KVal better = kb_bin(b, op, x, best);
    if (dtype_is_float(lw_elem(l, 0))) {   /* the first (or last) NaN wins over everything */
        KVal xn = kb_un(b, KOP_ISNAN, x), bn = kb_un(b, KOP_ISNAN, best);
        better = a->select_last_index ? kb_bin(b, KOP_OR, better, xn) : kb_bin(b, KOP_OR, better, kb_and(b, xn, kb_un(b, KOP_NOT, bn)));
    }
    KVal next[2] = {kb_select(b, better, x, best), kb_select(b, better, loop.iv, loop.carry[1])};
    kb_loop_end(b, &loop, next);
    lw_put(l, 0, out, loop.result[1]);
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const Arg *a = ATTRS(e->g, e->n, Arg);
    bool max = node_rec(e->g, e->n)->op == OP_ArgMax;
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis), rank = 0;
    int64_t dim[RANK_MAX], step = 1, len = x->dim[axis];
    for (int i = 0; i < x->rank; i++)
        if (i != axis) dim[rank++] = x->dim[i];
        else if (a->keepdims) dim[rank++] = 1;
    for (int i = axis + 1; i < x->rank; i++) step *= x->dim[i];
    Tensor *y = ev_out(e, 0, DT_I64, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t base = k / step * step * len + k % step, best = 0;
        for (int64_t j = 1; j < len; j++) {
            double v = ev_f(x, base + j * step), w = ev_f(x, base + best * step);
            bool better = max ? v > w : v < w, tie = v == w || (isnan(v) && isnan(w));
            if (!dtype_is_float(x->elem)) {
                int64_t vi = ev_i(x, base + j * step), wi = ev_i(x, base + best * step);
                better = x->elem == DT_U64 ? (max ? (uint64_t)vi > (uint64_t)wi : (uint64_t)vi < (uint64_t)wi) : max ? vi > wi : vi < wi;
                tie = vi == wi;
            }
            if (better || (isnan(v) && !isnan(w)) || (tie && a->select_last_index)) best = j;
        }
        ev_set_i(y, k, best);
    }
    return y != NULL;
}

#define ARG .since = 13, .cls = CLS_REDUCE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Arg), .infer = infer, .lower = lower, .eval = eval
const OpDesc op_ArgMax = {.name = "ArgMax", ARG};
const OpDesc op_ArgMin = {.name = "ArgMin", ARG};
