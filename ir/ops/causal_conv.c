/* causal_conv.c: CausalConvWithState: a depthwise convolution along time that sees the present and the past only; the
 * last k-1 positions go on as state. In terms of other operators:
 *   all = Concat(past_state or zeros [B, C, k-1], input)
 *   output = activation(Conv(all, weight, bias, group = C)),   present_state = the last k-1 positions of all
 * C or k for the run to know: Conv is the sum over taps of Gather(all, place + tap) * weight, in the type of computation. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <math.h>
#include <string.h>

enum { INPUT, WEIGHT, BIAS, PAST };
static const Port P_IN[] = {{"input", DTS_FLOAT, 0, 1},
                            {"weight", DTS_FLOAT, 0, 1},
                            {"bias", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"past_state", DTS_FLOAT, PORT_OPTIONAL, 1},
                            PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, {"present_state", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
typedef struct Causal {
    uint64_t set;
    const char *activation;
} Causal;
static const AttrSpec ATTRS_[] = {A_STRING(Causal, activation, "none"), A_END};

static bool is_silu(const Causal *a) { return !strcmp(a->activation, "silu") || !strcmp(a->activation, "swish"); }

static bool infer(Infer *c)
{
    const Causal *a = ATTRS(c->g, c->n, Causal);
    int64_t k;
    Dim one = dim_const(c->d, 1);
    if (!is_silu(a) && strcmp(a->activation, "none")) return infer_fail(c, "activation '%s' is unknown", a->activation);
    if (!infer_need_rank(c, INPUT, 3, 3) || !infer_need_rank(c, WEIGHT, 3, 3)) return false;
    Dim batch = infer_dim(c, INPUT, 0), channels = infer_dim(c, WEIGHT, 0), taps = infer_dim(c, WEIGHT, 2);
    if (dim_is_const(c->d, taps, &k) && k < 1) return infer_fail(c, "the kernel is empty");
    if (!infer_must_eq(c, dim_min(c->d, taps, one), one, "extent of the kernel, at most 1")) return false;
    Dim state[3] = {batch, channels, dim_sub(c->d, infer_dim(c, WEIGHT, 2), one)};
    if (!infer_must_eq(c, infer_dim(c, INPUT, 1), channels, "channels") ||
        !infer_must_eq(c, infer_dim(c, WEIGHT, 1), one, "second dimension of the weights"))
        return false;
    if (infer_has(c, BIAS) &&
        (!infer_need_rank(c, BIAS, 1, 1) || !infer_must_eq(c, infer_dim(c, BIAS, 0), channels, "length of the bias")))
        return false;
    if (infer_has(c, PAST)) {
        if (!infer_need_rank(c, PAST, 3, 3)) return false;
        for (int i = 0; i < 3; i++)
            if (!infer_must_eq(c, infer_dim(c, PAST, i), state[i], "extent of past_state")) return false;
    }
    return infer_like(c, 0, 0) && (node_n_out(c->g, c->n) < 2 || infer_set(c, 1, infer_elem(c, 0), 3, state));
}

/* Any number of channels and taps: [B, C, taps, L] of `all`, times the weights as [C, taps, 1], summed over the taps. */
static Value by_taps(Ex *x, Value all, Dim taps)
{
    DType t = ex_elem(x, all), wide = dtype_compute(t);
    Value zero = ex_i(x, DT_I64, 0), one = ex_i(x, DT_I64, 1), w = ex_in(x, WEIGHT), bias = ex_in(x, BIAS);
    Value count = ex_scalar(x, ex_dims(x, &taps, 1), DT_I64), len = ex_scalar(x, ex_shape_part(x, ex_in(x, INPUT), 2, 3), DT_I64);
    Value at = ex2(x, OP_Add, ex2(x, OP_Unsqueeze, ex3(x, OP_Range, zero, count, one), ex_int1(x, 1)), ex3(x, OP_Range, zero, len, one));
    Value seen = ex_cast(x, ex_axis(x, OP_Gather, (Value[]){all, at}, 2, 2), wide);
    w = ex_cast(x, ex_transpose(x, w, (int64_t[]){0, 2, 1}, 3), wide);
    Value y = ex_reduce(x, OP_ReduceSum, ex2(x, OP_Mul, seen, w), (int64_t[]){2}, 1, false);
    if (bias.i) y = ex2(x, OP_Add, y, ex_cast(x, ex2(x, OP_Unsqueeze, bias, ex_int1(x, 1)), wide));
    return ex_cast(x, y, t);
}

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Dims *d = &g->m->dims;
    const TypeRec *w = ex_type(&x, ex_in(&x, WEIGHT));
    int64_t channels = 0;
    Dim taps = dim_resolve(d, w->dim[2]), zero = dim_const(d, 0);
    bool known = dim_is_const(d, dim_resolve(d, w->dim[0]), &channels) && dim_is_const(d, taps, &(int64_t){0});
    Value all = ex_in(&x, INPUT), past = ex_in(&x, PAST), y[2];
    if (past.i) all = ex_axis(&x, OP_Concat, (Value[]){past, all}, 2, 2);
    else all = ex2(&x, OP_Pad, all, ex_dims(&x, (Dim[]){zero, zero, dim_sub(d, taps, dim_const(d, 1)), zero, zero, zero}, 6));
    y[0] = !known ? by_taps(&x, all, taps) : ex_op(&x, OP_Conv, (Value[]){all, ex_in(&x, WEIGHT), ex_in(&x, BIAS)}, 3, ex_set(&x, OP_Conv, NULL, "group", channels));
    if (is_silu(ATTRS(g, n, Causal))) y[0] = ex1(&x, OP_Swish, y[0]);
    y[1] = ex_op(&x, OP_Slice, (Value[]){all, ex_shape_part(&x, ex_in(&x, INPUT), 2, 3), ex_int1(&x, INT64_MAX), ex_int1(&x, 2)}, 4, NULL);
    return ex_end(&x, y, 2);
}

static bool eval(Eval *e)
{
    const Tensor *in = e->in[INPUT], *w = e->in[WEIGHT];
    int64_t taps = w->dim[2], C = in->dim[1], L = in->dim[2], dim[3] = {in->dim[0], C, taps - 1};
    Tensor *y = ev_out(e, 0, in->elem, 3, in->dim), *state = ev_out(e, 1, in->elem, 3, dim);
    for (int64_t r = 0; y && state && r < in->dim[0] * C; r++) {
        for (int64_t t = 0; t < L; t++) {
            double s = ev_has(e, BIAS) ? ev_f(e->in[BIAS], r % C) : 0;
            for (int64_t k = 0; k < taps; k++) {
                int64_t at = t + k - (taps - 1);
                double v = at >= 0 ? ev_f(in, r * L + at) : ev_has(e, PAST) ? ev_f(e->in[PAST], r * (taps - 1) + at + taps - 1) : 0;
                s += v * ev_f(w, (r % C) * taps + k);
            }
            ev_set_f(y, r * L + t, is_silu(ATTRS(e->g, e->n, Causal)) ? s / (1 + exp(-s)) : s);
        }
        for (int64_t k = 0; k < taps - 1; k++) {
            int64_t at = L + k - (taps - 1);
            double v = at >= 0 ? ev_f(in, r * L + at) : ev_has(e, PAST) ? ev_f(e->in[PAST], r * (taps - 1) + at + taps - 1) : 0;
            ev_set_f(state, r * (taps - 1) + k, v);
        }
    }
    return y && state;
}

const OpDesc op_CausalConvWithState = {.name = "CausalConvWithState", .since = 27, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                       .attrs_size = sizeof(Causal), .infer = infer, .expand = expand, .eval = eval};
