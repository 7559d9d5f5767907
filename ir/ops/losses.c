/* losses.c: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss, in terms of GatherElements and reductions:
 *   loss[n,d...] = -w[t] * input[n, t, d...]  with t = target[n,d...];  0, and no weight, where t is ignore_index;   mean divides by the sum of the weights
 *   SoftmaxCrossEntropyLoss(x) = NegativeLogLikelihoodLoss(LogSoftmax(x, axis 1)) */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <math.h>
#include <string.h>

static const Port P_IN[] = {{"input", DTS_FLOAT, 0, 1}, {"target", DTS_INDEX, 0, 0}, {"weight", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_OUT[] = {{"loss", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_SCE_OUT[] = {{"output", DTS_FLOAT, 0, 1}, {"log_prob", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
typedef struct Loss { uint64_t set; const char *reduction; int64_t ignore_index; } Loss;
static const AttrSpec ATTRS_[] = {A_STRING(Loss, reduction, "mean"), A_INT(Loss, ignore_index, 0), A_END};

static bool infer(Infer *c)
{
    const char *how = ATTRS(c->g, c->n, Loss)->reduction;
    bool none = !strcmp(how, "none");
    if (!none && strcmp(how, "mean") && strcmp(how, "sum")) return infer_fail(c, "reduction '%s' is unknown", how);
    if (!infer_need_rank(c, 0, 2, -1)) return false;
    int rank = infer_rank(c, 0);
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 1, rank - 1, rank - 1) || (infer_has(c, 2) && !infer_need_rank(c, 2, 1, 1))) return false;
    for (int i = 0; i < rank - 1; i++) {
        dim[i] = infer_dim(c, 0, i ? i + 1 : 0);
        if (!infer_must_eq(c, infer_dim(c, 1, i), dim[i], "dimension of the target")) return false;
    }
    if (infer_has(c, 2) && !infer_must_eq(c, infer_dim(c, 2, 0), infer_dim(c, 0, 1), "number of classes")) return false;
    return infer_set(c, 0, infer_elem(c, 0), none ? rank - 1 : 0, dim) && infer_like(c, 1, 0);
}

static Value nll(Ex *x, const Loss *a, Value input, Value target, Value weight)
{
    DType t = ex_type(x, input)->elem;
    bool mean = !strcmp(a->reduction, "mean"), masked = a->set & 2;
    Value ignored = VALUE_NONE, zero = ex_f(x, t, 0);
    target = ex_cast(x, target, DT_I64);
    if (masked) {
        ignored = ex2(x, OP_Equal, target, ex_i(x, DT_I64, a->ignore_index));
        target = ex3(x, OP_Where, ignored, ex_i(x, DT_I64, 0), target);
    }
    Value axis = ex_int1(x, 1), at = ex2(x, OP_Unsqueeze, target, axis);
    Value picked = ex2(x, OP_Squeeze, ex_axis(x, OP_GatherElements, (Value[]){input, at}, 2, 1), axis);
    Value loss = ex1(x, OP_Neg, picked), w = VALUE_NONE;
    if (weight.i) w = ex_axis(x, OP_Gather, (Value[]){weight, target}, 2, 0);
    if (w.i) loss = ex2(x, OP_Mul, loss, w);
    if (masked) {
        loss = ex3(x, OP_Where, ignored, zero, loss);
        if (mean) w = ex3(x, OP_Where, ignored, zero, w.i ? w : ex_f(x, t, 1));
    }
    if (!strcmp(a->reduction, "none")) return loss;
    if (mean && !w.i) return ex_reduce_all(x, OP_ReduceMean, loss);
    Value sum = ex_reduce_all(x, OP_ReduceSum, loss);
    return mean ? ex2(x, OP_Div, sum, ex_reduce_all(x, OP_ReduceSum, w)) : sum;
}

static bool nll_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value y = nll(&x, ATTRS(g, n, Loss), node_in(g, n, 0), node_in(g, n, 1), node_in(g, n, 2));
    return ex_end(&x, &y, 1);
}

static bool sce_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value in = node_in(g, n, 0), log = ex_axis(&x, OP_LogSoftmax, &in, 1, 1);
    Value y[2] = {VALUE_NONE, log};
    if (!x.failed) y[0] = nll(&x, ATTRS(g, n, Loss), log, node_in(g, n, 1), node_in(g, n, 2));
    return ex_end(&x, y, 2);
}

/* ---- eval ---- */

static bool eval_loss(Eval *e, const double *input)
{
    const Loss *a = ATTRS(e->g, e->n, Loss);
    const Tensor *x = e->in[0], *t = e->in[1];
    int64_t inner = 1, classes = x->dim[1];
    for (int i = 2; i < x->rank; i++) inner *= x->dim[i];
    bool none = !strcmp(a->reduction, "none");
    Tensor *y = ev_out(e, 0, x->elem, none ? t->rank : 0, t->dim);
    double sum = 0, weights = 0;
    for (int64_t k = 0; y && k < t->count; k++) {
        int64_t c = ev_i(t, k);
        bool skip = (a->set & 2) && c == a->ignore_index;
        if (!skip && (c < -classes || c >= classes)) return ev_fail(e, "class %lld of %lld", (long long)c, (long long)classes);
        if (c < 0) c += classes;
        double w = skip ? 0 : ev_has(e, 2) ? ev_f(e->in[2], c) : 1;
        double v = skip ? 0 : -w * input[(k / inner * classes + c) * inner + k % inner];
        if (none) ev_set_f(y, k, v);
        sum += v, weights += w;
    }
    if (y && !none) ev_set_f(y, 0, strcmp(a->reduction, "mean") ? sum : sum / weights);
    return y != NULL;
}

static bool nll_eval(Eval *e)
{
    double *v = arena_array(e->arena, double, e->in[0]->count + 1);
    for (int64_t k = 0; k < e->in[0]->count; k++) v[k] = ev_f(e->in[0], k);
    return eval_loss(e, v);
}

static bool sce_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    double *v = arena_array(e->arena, double, x->count + 1);
    int64_t inner = 1, classes = x->dim[1];
    for (int i = 2; i < x->rank; i++) inner *= x->dim[i];
    Tensor *log = e->n_out > 1 ? ev_out(e, 1, x->elem, x->rank, x->dim) : NULL;
    for (int64_t k = 0; x->count && k < x->count / classes; k++) {
        int64_t row = k / inner * classes * inner + k % inner;
        double sum = 0, most = -INFINITY;
        for (int64_t c = 0; c < classes; c++) most = fmax(most, ev_f(x, row + c * inner));
        for (int64_t c = 0; c < classes; c++) sum += exp(ev_f(x, row + c * inner) - most);
        double less = log10(sum) / log10(exp(1));
        for (int64_t c = 0; c < classes; c++) {
            v[row + c * inner] = ev_f(x, row + c * inner) - most - less;
            if (log) ev_set_f(log, row + c * inner, v[row + c * inner]);
        }
    }
    return eval_loss(e, v);
}

const OpDesc op_NegativeLogLikelihoodLoss = {.name = "NegativeLogLikelihoodLoss", .since = 22, .cls = CLS_REDUCE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                             .attrs_size = sizeof(Loss), .infer = infer, .expand = nll_expand, .has_result = op_result_unsure, .eval = nll_eval};
const OpDesc op_SoftmaxCrossEntropyLoss = {.name = "SoftmaxCrossEntropyLoss", .since = 13, .cls = CLS_REDUCE, .in = P_IN, .out = P_SCE_OUT, .attrs = ATTRS_,
                                           .attrs_size = sizeof(Loss), .infer = infer, .expand = sce_expand, .has_result = op_result_unsure, .eval = sce_eval};
