/* variadic.c: Max, Min, Sum, Mean over any number of broadcast inputs. Max and Min give NaN when any input is NaN. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include <math.h>

static const Port P_NUMS[] = {{"data", DTS_NUM, PORT_VARIADIC, 1}, PORT_END};
static const Port P_NUM[] = {{"out", DTS_NUM, 0, 1}, PORT_END};
static const Port P_FLOATS[] = {{"data", DTS_FLOAT, PORT_VARIADIC, 1}, PORT_END};
static const Port P_FLOAT[] = {{"out", DTS_FLOAT, 0, 1}, PORT_END};

static KVal chain(Lw *l, Node n, const KVal *x, KOp op)
{
    KVal v = x[0];
    for (uint32_t k = 1; k < node_n_in(l->g, n); k++) v = kb_bin(l->b, op, v, x[k]);
    return v;
}
static KVal max_scalar(Lw *l, Node n, const KVal *x, const DType *in) { return (void)in, chain(l, n, x, KOP_MAX); }
static KVal min_scalar(Lw *l, Node n, const KVal *x, const DType *in) { return (void)in, chain(l, n, x, KOP_MIN); }
static KVal sum_scalar(Lw *l, Node n, const KVal *x, const DType *in) { return (void)in, chain(l, n, x, KOP_ADD); }
static KVal mean_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    return kb_div(l->b, chain(l, n, x, KOP_ADD), kb_const_f(l->b, dtype_compute(in[0]), node_n_in(l->g, n)));
}

static Value single(Graph *g, Node n, uint32_t r) { return (void)r, node_n_in(g, n) == 1 ? node_in(g, n, 0) : VALUE_NONE; }

static bool propagate(Infer *c, Dim (*f)(Dims *, Dim, Dim))
{
    Dim o[CONTENT_MAX];
    uint32_t n = 0;
    for (uint32_t k = 0; k < node_n_in(c->g, c->n); k++) {
        const Dim *d;
        uint32_t m;
        if (!dtype_is_int(infer_elem(c, k)) || infer_rank(c, k) > 1 || !infer_content(c, k, &d, &m) || (k && m != n)) return true;
        for (uint32_t i = 0; i < m; i++) o[i] = k ? f(c->d, o[i], d[i]) : d[i];
        n = m;
    }
    infer_set_content(c, 0, o, n);
    return true;
}
static bool max_propagate(Infer *c) { return propagate(c, dim_max); }
static bool min_propagate(Infer *c) { return propagate(c, dim_min); }

/* ---- reference ---- */

static bool eval_all(Eval *e, double (*f)(double, double), int64_t (*fi)(int64_t, int64_t), double divide)
{
    uint32_t *ops = arena_array(e->arena, uint32_t, e->n_in + 1);
    int64_t dim[RANK_MAX];
    int rank;
    for (uint32_t k = 0; k < e->n_in; k++) ops[k] = k;
    if (!ev_broadcast_dims(e, ops, e->n_in, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, e->in[0]->elem, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double v = 0;
        int64_t w = 0;
        for (uint32_t i = 0; i < e->n_in; i++) {
            int64_t j = ev_broadcast_index(e->in[i], y, k);
            if (dtype_is_float(y->elem)) v = i ? f(v, ev_f(e->in[i], j)) : ev_f(e->in[i], j);
            else w = i ? fi(w, ev_i(e->in[i], j)) : ev_i(e->in[i], j);
        }
        if (dtype_is_float(y->elem)) ev_set_f(y, k, v / divide);
        else ev_set_i(y, k, w);
    }
    return y != NULL;
}
static double f_max(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }
static double f_min(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
static double f_add(double a, double b) { return a + b; }
static int64_t i_max(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t i_min(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t u_max(int64_t a, int64_t b) { return (uint64_t)a > (uint64_t)b ? a : b; }
static int64_t u_min(int64_t a, int64_t b) { return (uint64_t)a < (uint64_t)b ? a : b; }
static bool eval_max(Eval *e) { return eval_all(e, f_max, e->in[0]->elem == DT_U64 ? u_max : i_max, 1); }
static bool eval_min(Eval *e) { return eval_all(e, f_min, e->in[0]->elem == DT_U64 ? u_min : i_min, 1); }
static bool eval_sum(Eval *e) { return eval_all(e, f_add, NULL, 1); }
static bool eval_mean(Eval *e) { return eval_all(e, f_add, NULL, e->n_in); }

const OpDesc op_Max = {.name = "Max", .since = 13, .cls = CLS_ELTWISE, .in = P_NUMS, .out = P_NUM, .equivalent = single, .propagate = max_propagate, .scalar = max_scalar, .grad = grad_extremum, .eval = eval_max};
const OpDesc op_Min = {.name = "Min", .since = 13, .cls = CLS_ELTWISE, .in = P_NUMS, .out = P_NUM, .equivalent = single, .propagate = min_propagate, .scalar = min_scalar, .grad = grad_extremum, .eval = eval_min};
const OpDesc op_Sum = {.name = "Sum", .since = 13, .cls = CLS_ELTWISE, .in = P_FLOATS, .out = P_FLOAT, .equivalent = single, .scalar = sum_scalar, .grad = grad_variadic_sum, .eval = eval_sum};
const OpDesc op_Mean = {.name = "Mean", .since = 13, .cls = CLS_ELTWISE, .in = P_FLOATS, .out = P_FLOAT, .equivalent = single, .scalar = mean_scalar, .grad = grad_mean, .eval = eval_mean};
