/* causal_conv.c: CausalConvWithState: a depthwise convolution along time that sees the present and the past only; the
 * last k-1 positions go on as state. In terms of other operators:
 *   all = Concat(past_state or zeros [B, C, k-1], input)
 *   output = activation(Conv(all, weight, bias, group = C)),   present_state = the last k-1 positions of all */
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
    if (!is_silu(a) && strcmp(a->activation, "none")) return infer_fail(c, "activation '%s' is unknown", a->activation);
    if (!infer_need_rank(c, INPUT, 3, 3) || !infer_need_rank(c, WEIGHT, 3, 3)) return false;
    Dim batch = infer_dim(c, INPUT, 0), channels = infer_dim(c, WEIGHT, 0), taps = infer_dim(c, WEIGHT, 2);
    if (!dim_is_const(c->d, channels, &k)) return infer_fail(c, "the number of channels must be known at compile time");
    if (!dim_is_const(c->d, taps, &k) || k < 1) return infer_fail(c, "the kernel must be known at compile time and not empty");
    Dim state[3] = {batch, channels, dim_const(c->d, k - 1)};
    if (!infer_must_eq(c, infer_dim(c, INPUT, 1), channels, "channels") ||
        !infer_must_eq(c, infer_dim(c, WEIGHT, 1), dim_const(c->d, 1), "second dimension of the weights"))
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

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    const TypeRec *w = ex_type(&x, ex_in(&x, WEIGHT));
    int64_t channels = 0, taps = 0;
    dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, w->dim[0]), &channels);
    dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, w->dim[2]), &taps);
    Value all = ex_in(&x, INPUT), past = ex_in(&x, PAST), y[2];
    if (past.i) all = ex_axis(&x, OP_Concat, (Value[]){past, all}, 2, 2);
    else all = ex2(&x, OP_Pad, all, ex_ints(&x, (int64_t[]){0, 0, taps - 1, 0, 0, 0}, 6));
    y[0] = ex_op(&x, OP_Conv, (Value[]){all, ex_in(&x, WEIGHT), ex_in(&x, BIAS)}, 3, ex_set(&x, OP_Conv, NULL, "group", channels));
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
