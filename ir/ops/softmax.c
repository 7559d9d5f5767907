/* softmax.c: Softmax, LogSoftmax, Hardmax along one axis.
 *   y = exp(x - max x) / sum exp(x - max x)          LogSoftmax: (x - max x) - log(sum)
 * Three sweeps over a row that stays in cache; subtracting the maximum keeps exp finite. A row of -inf gives NaN, as in the specification's formula.
 * Before opset 13 `axis` (default 1) meant "flatten to 2-D there and work on rows": upgrade() turns it into Reshape - op - Reshape. */
#include "ir/ops/axes.h"
#include <math.h>

static const Port P_FLOAT[] = {{"input", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Axis { uint64_t set; int64_t axis; } Axis;
static const AttrSpec ATTRS_[] = {A_INT(Axis, axis, -1), A_END};

/* x  =>  Reshape(op(Flatten(x, axis)), Shape(x)) */
static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Axis *a = node_rec(g, n)->attrs;
    if (opset >= 13) return true;
    struct { uint64_t set; int64_t axis; } flatten = {1, a->set & 1 ? a->axis : 1};
    Value x = node_in(g, n, 0);
    Loc loc = node_rec(g, n)->loc;
    Node shape = graph_add(g, OP_Shape, &x, 1, 1, NULL, loc, n), flat = graph_add(g, OP_Flatten, &x, 1, 1, &flatten, loc, n);
    graph_set_input(g, n, 0, node_out(g, flat, 0));
    Node back = graph_add(g, OP_Reshape, (Value[]){x, node_out(g, shape, 0)}, 2, 1, NULL, loc, node_next(g, n));
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, back, 0));
    graph_set_input(g, back, 0, node_out(g, n, 0));
    a->axis = -1;
    a->set |= 1;
    return true;
}

static bool infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Axis)->axis;
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    return (rank == 0 && (axis == 0 || axis == -1)) || infer_axis(c, &axis, rank) ? infer_like(c, 0, 0) : false;
}

/* The specification's function body has values of the input's type between its steps: what is narrower than the type of the computation is rounded there. */
static KVal step(Lw *l, KVal x) { return dtype_compute(lw_elem(l, 0)) == lw_elem(l, 0) ? x : kb_cast(l->b, lw_elem(l, 0), x); }

typedef enum Part { SUM_EXP, MAXIMUM, FIRST_MAX } Part;

/* One sweep along the axis. */
static KVal sweep(Lw *l, KVal *idx, int axis, Part part, KVal m)
{
    Kb *b = l->b;
    DType t = dtype_compute(lw_elem(l, 0));
    KVal len = axis < 0 ? kb_i(b, 1) : kb_dim(b, lw_dim(l, 0, axis));
    KOp combine = part == SUM_EXP ? KOP_ADD : part == MAXIMUM ? KOP_MAX : KOP_MIN;
    KVal init = part == SUM_EXP ? kb_const_f(b, t, 0) : part == MAXIMUM ? kb_const_f(b, t, -INFINITY) : len;
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), len, 1, &init, &combine);
    if (axis >= 0) idx[axis] = loop.iv;
    KVal x = lw_at(l, 0, idx), v = x;
    if (part == SUM_EXP) v = step(l, kb_un(b, KOP_EXP, step(l, kb_sub(b, x, m))));
    if (part == FIRST_MAX) v = kb_select(b, kb_eq(b, x, m), loop.iv, len);
    KVal next = kb_bin(b, combine, loop.carry[0], v);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static bool lower(Lw *l, Node n)
{
    OpCode op = node_rec(l->g, n)->op;
    int rank = lw_rank(l, 0), axis = (int)ATTRS(l->g, n, Axis)->axis;
    if (axis < 0) axis += rank;
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, node_desc(l->g, n)->name);
    KVal idx[RANK_MAX];
    int loops = 0;
    for (int i = 0; i < rank; i++)
        if (i != axis) {
            idx[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)));
            loops++;
        }
    if (rank == 0) axis = -1;
    DType t = dtype_compute(lw_elem(l, 0));
    KVal m = sweep(l, idx, axis, MAXIMUM, (KVal){0}), s;
    if (op == OP_Hardmax) s = sweep(l, idx, axis, FIRST_MAX, m);
    else s = sweep(l, idx, axis, SUM_EXP, m);
    bool narrow = t != lw_elem(l, 0);
    if (op != OP_Hardmax) s = step(l, s);
    KVal log_s = op == OP_LogSoftmax ? step(l, kb_un(b, KOP_LOG, s)) : s;
    KVal inv = op == OP_Softmax && !narrow ? kb_div(b, kb_const_f(b, t, 1), s) : s;
    KVal iv = kb_for(b, KLOOP_SEQ, kb_i(b, 0), axis < 0 ? kb_i(b, 1) : kb_dim(b, lw_dim(l, 0, axis)));
    if (axis >= 0) idx[axis] = iv;
    KVal x = lw_at(l, 0, idx), y;
    if (op == OP_Softmax) y = kb_bin(b, narrow ? KOP_DIV : KOP_MUL, step(l, kb_un(b, KOP_EXP, step(l, kb_sub(b, x, m)))), inv);
    else if (op == OP_LogSoftmax) y = kb_sub(b, step(l, kb_sub(b, x, m)), log_s);
    else y = kb_select(b, kb_eq(b, iv, s), kb_const_f(b, t, 1), kb_const_f(b, t, 0));
    lw_put(l, 0, idx, y);
    kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    OpCode op = node_rec(e->g, e->n)->op;
    int axis = (int)ATTRS(e->g, e->n, Axis)->axis;
    if (axis < 0) axis += x->rank;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    if (!y) return false;
    int64_t len = x->rank ? x->dim[axis] : 1, step = 1;
    for (int i = axis + 1; i < x->rank; i++) step *= x->dim[i];
    for (int64_t k = 0; k < x->count; k++) {
        int64_t at = k / step % len, base = k - at * step, best = 0;
        double m = -INFINITY, s = 0;
        for (int64_t j = 0; j < len; j++)
            if (ev_f(x, base + j * step) > m) m = ev_f(x, base + j * step), best = j;
        for (int64_t j = 0; j < len; j++) s += exp(ev_f(x, base + j * step) - m);
        double v = ev_f(x, k) - m;
        ev_set_f(y, k, op == OP_Softmax ? exp(v) / s : op == OP_LogSoftmax ? v - log(s) : at == best);
    }
    return true;
}

#define ROW .since = 13, .cls = CLS_ROW, .in = P_FLOAT, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Axis), .upgrade = upgrade, .infer = infer, .lower = lower, .eval = eval

const OpDesc op_Softmax = {.name = "Softmax", ROW};
const OpDesc op_LogSoftmax = {.name = "LogSoftmax", ROW};
const OpDesc op_Hardmax = {.name = "Hardmax", ROW};
