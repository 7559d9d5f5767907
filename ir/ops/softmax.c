/* softmax.c: Softmax, LogSoftmax, Hardmax along one axis.
 *   y = exp(x - max x) / sum exp(x - max x)          LogSoftmax: (x - max x) - log(sum)
 * Three sweeps over a row that stays in cache, several rows at once (rows.h); subtracting the maximum keeps exp finite. A row of -inf gives NaN, as in the specification's formula.
 * Before opset 13 `axis` (default 1) meant "flatten to 2-D there and work on rows": upgrade() turns it into Reshape - op - Reshape. */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include "ir/ops/rows.h"
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

/* The state of a row's sweeps. */
typedef struct Soft {
    OpCode op;
    DType t;                 /* type of the computation */
    bool keep_x, keep_e;     /* elements, exponentials stand in scratch */
    KVal max[ROWS_JAM], sum[ROWS_JAM];   /* Softmax: its reciprocal in the end; Hardmax: position of the maximum */
} Soft;

static KVal element(Rows *r, const Soft *s, uint32_t j, KVal at) { return s->keep_x ? rows_get(r, j, at) : lw_at(r->l, 0, r->idx[j]); }
static KVal exponential(Rows *r, const Soft *s, uint32_t j, KVal at)
{
    Lw *l = r->l;
    return step(l, kb_un(l->b, KOP_EXP, step(l, kb_sub(l->b, element(r, s, j, at), s->max[j]))));
}

static void sweep_max(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    KVal x = lw_at(r->l, 0, r->idx[j]);
    if (((Soft *)arg)->keep_x) rows_set(r, j, at, x);
    /* one instruction, where KOP_MAX also keeps a NaN: the exponential of that element is one anyway */
    *carry = kb_select(r->l->b, kb_bin(r->l->b, KOP_GT, x, *carry), x, *carry);
}

static void sweep_sum(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    const Soft *s = arg;
    KVal e = exponential(r, s, j, at);
    if (s->keep_e) rows_set(r, j, at, e);
    *carry = kb_add(r->l->b, *carry, e);
}

static void sweep_first(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    const Soft *s = arg;
    Kb *b = r->l->b;
    *carry = kb_min(b, *carry, kb_select(b, kb_eq(b, element(r, s, j, at), s->max[j]), at, kb_dim(b, rows_length(r))));
}

static void sweep_result(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    const Soft *s = arg;
    Lw *l = r->l;
    Kb *b = l->b;
    KVal y;
    (void)carry;
    if (s->op == OP_Softmax)
        y = kb_bin(b, s->t == lw_elem(l, 0) ? KOP_MUL : KOP_DIV, s->keep_e ? rows_get(r, j, at) : exponential(r, s, j, at), s->sum[j]);
    else if (s->op == OP_LogSoftmax) y = kb_sub(b, step(l, kb_sub(b, element(r, s, j, at), s->max[j])), s->sum[j]);
    else y = kb_select(b, kb_eq(b, at, s->sum[j]), kb_const_f(b, s->t, 1), kb_const_f(b, s->t, 0));
    lw_put(l, 0, r->idx[j], y);
}

static bool lower(Lw *l, Node n)
{
    int rank = lw_rank(l, 0), axis = (int)ATTRS(l->g, n, Axis)->axis;
    Soft s = {.op = node_rec(l->g, n)->op, .t = dtype_compute(lw_elem(l, 0))};
    Rows r;
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, node_desc(l->g, n)->name);
    rows_open(&r, l, rank ? 1u << (axis < 0 ? axis + rank : axis) : 0);
    if (s.op == OP_Softmax) s.keep_e = rows_keep(&r, s.t);
    s.keep_x = lw_computed(l, 0) && (s.keep_e || rows_keep(&r, s.t));   /* exponentials take the elements' places */
    rows_sweep(&r, 1, (KVal[]){kb_const_f(b, s.t, -INFINITY)}, (KOp[]){KOP_MAX}, sweep_max, &s, s.max);
    if (s.op == OP_Hardmax) rows_sweep(&r, 1, (KVal[]){kb_dim(b, rows_length(&r))}, (KOp[]){KOP_MIN}, sweep_first, &s, s.sum);
    else rows_sweep(&r, 1, (KVal[]){kb_const_f(b, s.t, 0)}, (KOp[]){KOP_ADD}, sweep_sum, &s, s.sum);
    for (uint32_t j = 0; j < r.n && s.op != OP_Hardmax; j++) {
        s.sum[j] = step(l, s.sum[j]);
        if (s.op == OP_LogSoftmax) s.sum[j] = step(l, kb_un(b, KOP_LOG, s.sum[j]));
        else if (s.t == lw_elem(l, 0)) s.sum[j] = kb_div(b, kb_const_f(b, s.t, 1), s.sum[j]);
    }
    rows_sweep(&r, 0, NULL, NULL, sweep_result, &s, NULL);
    rows_close(&r);
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
    for (int64_t row = 0; x->count && row < x->count / len; row++) {
        int64_t base = row / step * len * step + row % step, best = 0;
        double m = -INFINITY, s = 0;
        for (int64_t j = 0; j < len; j++)
            if (ev_f(x, base + j * step) > m) m = ev_f(x, base + j * step), best = j;
        for (int64_t j = 0; j < len; j++) s += exp(ev_f(x, base + j * step) - m);
        for (int64_t j = 0; j < len; j++) {
            double v = ev_f(x, base + j * step) - m;
            ev_set_f(y, base + j * step, op == OP_Softmax ? exp(v) / s : op == OP_LogSoftmax ? v - log(s) : j == best);
        }
    }
    return true;
}

#define ROW .since = 13, .cls = CLS_ROW, .flags = OPF_STRIDED_OUT | OPF_ROW_GROUP, .in = P_FLOAT, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Axis), .upgrade = upgrade, .infer = infer, .lower = lower, .eval = eval

const OpDesc op_Softmax = {.name = "Softmax", ROW, .grad = grad_softmax};
const OpDesc op_LogSoftmax = {.name = "LogSoftmax", ROW, .grad = grad_log_softmax};
const OpDesc op_Hardmax = {.name = "Hardmax", ROW, .grad = grad_zero};
