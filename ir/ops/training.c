/* training.c: one step of an optimiser, element by element: Adam, Adagrad, Momentum (ai.onnx.preview.training). Several tensors may be given: inputs are rate R, count T,
 * then all X, all gradients, all states; results all new X, then all new states.
 *   Momentum:  v' = alpha v + beta' g,  x' = x - R v'  (Nesterov: x - R (g + alpha v'));   beta' = 1 in the first step (T = 0)
 *   Adagrad:   h' = h + g g,            x' = x - R / (1 + T decay) g / (sqrt(h') + epsilon)
 *   Adam:      v' = alpha v + (1 - alpha) g,  h' = beta h + (1 - beta) g g,  x' = (x - R' v' / (sqrt(h') + epsilon)) (1 - post),
 *              R' = T > 0 ? R sqrt(1 - beta^T) / (1 - alpha^T) : R
 * g is the gradient plus norm_coefficient x. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <math.h>
#include <string.h>

static const Port P_IN[] = {{"R", DTS(DT_F32) | DTS(DT_F64), 0, 0}, {"T", DTS(DT_I64), 0, 0}, {"inputs", DTS(DT_F32) | DTS(DT_F64), PORT_VARIADIC, 1}, PORT_END};
static const Port P_OUT[] = {{"outputs", DTS(DT_F32) | DTS(DT_F64), PORT_VARIADIC, 1}, PORT_END};
typedef struct Step { uint64_t set; double norm_coefficient, alpha, beta, epsilon, norm_coefficient_post, decay_factor; const char *mode; } Step;
static const AttrSpec MOMENTUM_ATTRS[] = {A_FLOAT(Step, norm_coefficient, 0), A_FLOAT(Step, alpha, 0), A_FLOAT(Step, beta, 0), A_STRING(Step, mode, "standard"), A_END};
static const AttrSpec ADAGRAD_ATTRS[] = {A_FLOAT(Step, norm_coefficient, 0), A_FLOAT(Step, decay_factor, 0), A_FLOAT(Step, epsilon, 1e-6), A_END};
static const AttrSpec ADAM_ATTRS[] = {A_FLOAT(Step, norm_coefficient, 0), A_FLOAT(Step, alpha, 0.9), A_FLOAT(Step, beta, 0.999), A_FLOAT(Step, epsilon, 1e-6),
                                      A_FLOAT(Step, norm_coefficient_post, 0), A_END};

/* Tensors per parameter: x, g and one or two states. */
static uint32_t kinds(const Graph *g, Node n) { return node_rec(g, n)->op == OP_Adam ? 4 : 3; }

static bool infer(Infer *c)
{
    uint32_t per = kinds(c->g, c->n), n = node_n_in(c->g, c->n) - 2, m = n / per;
    const char *mode = ATTRS(c->g, c->n, Step)->mode;
    if (n % per || node_n_out(c->g, c->n) != m * (per - 1)) return infer_fail(c, "%u tensors and %u results are not %u of each kind", n, node_n_out(c->g, c->n), per);
    if (node_rec(c->g, c->n)->op == OP_Momentum && strcmp(mode, "standard") && strcmp(mode, "nesterov")) return infer_fail(c, "mode '%s' is unknown", mode);
    if (!infer_one_element(c, 0, -1) || !infer_one_element(c, 1, -1)) return false;
    for (uint32_t k = 0; k < m; k++)
        for (uint32_t q = 1; q < per; q++) {
            int rank = infer_rank(c, 2 + k);
            if (!infer_need_rank(c, 2 + k, 0, -1) || !infer_need_rank(c, 2 + q * m + k, rank, rank)) return false;
            for (int i = 0; i < rank; i++)
                if (!infer_must_eq(c, infer_dim(c, 2 + q * m + k, i), infer_dim(c, 2 + k, i), "dimension of a parameter")) return false;
            if (!infer_like(c, (q - 1) * m + k, 2 + k)) return false;
        }
    return true;
}

typedef struct Maths { Ex *x; DType t; } Maths;
static Value num(Maths m, double v) { return ex_f(m.x, m.t, (double)(float)v); }
static Value mul(Maths m, Value a, Value b) { return ex2(m.x, OP_Mul, a, b); }
static Value add(Maths m, Value a, Value b) { return ex2(m.x, OP_Add, a, b); }
static Value sub(Maths m, Value a, Value b) { return ex2(m.x, OP_Sub, a, b); }
static Value quo(Maths m, Value a, Value b) { return ex2(m.x, OP_Div, a, b); }
static Value root(Maths m, Value a) { return ex1(m.x, OP_Sqrt, a); }

static void one(Maths m, OpCode op, const Step *a, Value rate, Value count, const Value *in, Value *out)
{
    Value x = in[0], g = add(m, in[1], mul(m, num(m, a->norm_coefficient), x)), zero = ex_i(m.x, DT_I64, 0);
    if (op == OP_Momentum) {
        Value first = ex2(m.x, OP_Equal, count, zero), beta = ex3(m.x, OP_Where, first, num(m, 1), num(m, a->beta));
        Value v = out[1] = add(m, mul(m, num(m, a->alpha), in[2]), mul(m, beta, g));
        out[0] = sub(m, x, mul(m, rate, strcmp(a->mode, "nesterov") ? v : add(m, g, mul(m, num(m, a->alpha), v))));
    } else if (op == OP_Adagrad) {
        Value r = quo(m, rate, add(m, num(m, 1), mul(m, ex_cast(m.x, count, m.t), num(m, a->decay_factor)))), h = out[1] = add(m, in[2], mul(m, g, g));
        out[0] = sub(m, x, quo(m, mul(m, r, g), add(m, root(m, h), num(m, a->epsilon))));
    } else {
        Value v = out[1] = add(m, mul(m, num(m, a->alpha), in[2]), mul(m, sub(m, num(m, 1), num(m, a->alpha)), g));
        Value h = out[2] = add(m, mul(m, num(m, a->beta), in[3]), mul(m, sub(m, num(m, 1), num(m, a->beta)), mul(m, g, g))), t = ex_cast(m.x, count, DT_F64);
        Maths f = {m.x, DT_F64};   /* one scalar, and 1 - beta^t loses most digits at first */
        Value warm = quo(f, root(f, sub(f, num(f, 1), ex2(m.x, OP_Pow, num(f, a->beta), t))), sub(f, num(f, 1), ex2(m.x, OP_Pow, num(f, a->alpha), t)));
        Value r = ex3(m.x, OP_Where, ex2(m.x, OP_Greater, count, zero), mul(m, rate, ex_cast(m.x, warm, m.t)), rate);
        x = sub(m, x, quo(m, mul(m, r, v), add(m, root(m, h), num(m, a->epsilon))));
        out[0] = a->norm_coefficient_post != 0 ? mul(m, sub(m, num(m, 1), num(m, a->norm_coefficient_post)), x) : x;
    }
}

static bool expand(Graph *g, Node n)
{
    uint32_t per = kinds(g, n), m = (node_n_in(g, n) - 2) / per;
    Ex x = ex_begin(g, n);
    Value *out = arena_array(g->m->arena, Value, m * per + 1);
    for (uint32_t k = 0; k < m; k++) {
        Value in[4], y[3];
        for (uint32_t q = 0; q < per; q++) in[q] = node_in(g, n, 2 + q * m + k);
        DType t = ex_type(&x, in[0])->elem;
        one((Maths){&x, t}, node_rec(g, n)->op, ATTRS(g, n, Step), ex_cast(&x, node_in(g, n, 0), t), node_in(g, n, 1), in, y);
        for (uint32_t q = 0; q < per - 1; q++) out[q * m + k] = y[q];
    }
    return ex_end(&x, out, m * (per - 1));
}

static bool eval(Eval *e)
{
    const Step *a = ATTRS(e->g, e->n, Step);
    OpCode op = node_rec(e->g, e->n)->op;
    uint32_t per = kinds(e->g, e->n), m = (e->n_in - 2) / per;
    double r = ev_f(e->in[0], 0), t = (double)ev_i(e->in[1], 0), alpha = (double)(float)a->alpha, beta = (double)(float)a->beta, eps = (double)(float)a->epsilon;
    for (uint32_t k = 0; k < m; k++) {
        const Tensor *in[4];
        Tensor *o[3] = {NULL};
        for (uint32_t q = 0; q < per; q++) in[q] = e->in[2 + q * m + k];
        for (uint32_t q = 0; q + 1 < per; q++)
            if (!(o[q] = ev_out(e, q * m + k, in[0]->elem, in[0]->rank, in[0]->dim))) return false;
        for (int64_t i = 0; i < in[0]->count; i++) {
            double x = ev_f(in[0], i), g = ev_f(in[1], i) + (double)(float)a->norm_coefficient * x, s = ev_f(in[2], i);
            if (op == OP_Momentum) {
                s = alpha * s + (t > 0 ? beta : 1) * g;
                x -= r * (strcmp(a->mode, "nesterov") ? s : g + alpha * s);
            } else if (op == OP_Adagrad) {
                s += g * g;
                x -= r / (1 + t * (double)(float)a->decay_factor) * g / (sqrt(s) + eps);
            } else {
                double h = beta * ev_f(in[3], i) + (1 - beta) * g * g;
                s = alpha * s + (1 - alpha) * g;
                x -= (t > 0 ? r * sqrt(1 - pow(beta, t)) / (1 - pow(alpha, t)) : r) * s / (sqrt(h) + eps);
                x *= 1 - (double)(float)a->norm_coefficient_post;
                ev_set_f(o[2], i, h);
            }
            ev_set_f(o[0], i, x);
            ev_set_f(o[1], i, s);
        }
    }
    return true;
}

#define STEP .domain = "ai.onnx.preview.training", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_ANY_RANK, .in = P_IN, .out = P_OUT, .attrs_size = sizeof(Step), .infer = infer, .expand = expand, .eval = eval
const OpDesc op_Adagrad = {.name = "Adagrad", .attrs = ADAGRAD_ATTRS, STEP};
const OpDesc op_Adam = {.name = "Adam", .attrs = ADAM_ATTRS, STEP};
const OpDesc op_Momentum = {.name = "Momentum", .attrs = MOMENTUM_ATTRS, STEP};
