/* recurrent_eval.c: LSTM, GRU and RNN step by step as the specification writes them, in double precision, one
 * sequence of one direction after the other; and their attributes made plain. */
#include "ir/ops/recurrent.h"
#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- attributes ---- */

static const struct {
    const char *name;
    RnnFn fn;
    bool has_alpha, has_beta;
    double alpha, beta;
} functions[] = {{"Sigmoid", RNN_SIGMOID, 0, 0, 0, 0},
                 {"Tanh", RNN_TANH, 0, 0, 0, 0},
                 {"Relu", RNN_RELU, 0, 0, 0, 0},
                 {"Affine", RNN_AFFINE, 1, 1, 1, 0},
                 {"LeakyRelu", RNN_LEAKY, 1, 0, 0.01, 0},
                 {"ThresholdedRelu", RNN_THRESHOLDED, 1, 0, 1, 0},
                 {"ScaledTanh", RNN_SCALED_TANH, 1, 1, 1, 1},
                 {"HardSigmoid", RNN_HARD_SIGMOID, 1, 1, 0.2, 0.5},
                 {"Elu", RNN_ELU, 1, 0, 1, 0},
                 {"Softsign", RNN_SOFTSIGN, 0, 0, 0, 0},
                 {"Softplus", RNN_SOFTPLUS, 0, 0, 0, 0}};

bool rnn_form(OpCode op, const Rnn *a, RnnForm *f, const char **why)
{
    static const char *const defaults[] = {"Sigmoid", "Tanh", "Tanh"};
    uint32_t alphas = 0, betas = 0;
    *f = (RnnForm){.gates = op == OP_LSTM  ? 4
                            : op == OP_GRU ? 3
                                           : 1,
                   .fns = op == OP_LSTM  ? 3
                          : op == OP_GRU ? 2
                                         : 1,
                   .dirs = 1,
                   .clip = a->clip};
    if (!strcmp(a->direction, "bidirectional")) f->dirs = 2;
    else if (!strcmp(a->direction, "reverse")) f->reverse = true;
    else if (strcmp(a->direction, "forward"))
        return *why = "direction is neither forward, reverse nor bidirectional", false;
    if (a->layout != 0 && a->layout != 1) return *why = "layout is neither 0 nor 1", false;
    if (!(a->clip >= 0)) return *why = "clip is negative", false;
    if (a->activations.n && a->activations.n < (uint32_t)(f->dirs * f->fns)) return *why = "too few activations", false;
    for (int d = 0; d < f->dirs; d++)
        for (int k = 0; k < f->fns; k++) {
            const char *name = a->activations.n ? a->activations.p[d * f->fns + k]
                               : op == OP_RNN   ? "Tanh"
                                                : defaults[k];
            uint32_t i = 0, n = sizeof functions / sizeof *functions;
            while (i < n && strcasecmp(functions[i].name, name)) i++;
            if (i == n) return *why = "an activation function that does not exist", false;
            RnnAct *act = &f->act[d][k];
            *act = (RnnAct){functions[i].fn, functions[i].alpha, functions[i].beta};
            if (functions[i].has_alpha && alphas < a->activation_alpha.n) act->alpha = a->activation_alpha.p[alphas++];
            if (functions[i].has_beta && betas < a->activation_beta.n) act->beta = a->activation_beta.p[betas++];
        }
    return true;
}

/* ---- evaluation ---- */

static double activate(const RnnAct *a, double x)
{
    switch (a->fn) {
    case RNN_SIGMOID: return 1 / (1 + exp(-x));
    case RNN_TANH: return tanh(x);
    case RNN_RELU: return x > 0 ? x : 0;
    case RNN_AFFINE: return a->alpha * x + a->beta;
    case RNN_LEAKY: return x >= 0 ? x : a->alpha * x;
    case RNN_THRESHOLDED: return x >= a->alpha ? x : 0;
    case RNN_SCALED_TANH: return a->alpha * tanh(a->beta * x);
    case RNN_HARD_SIGMOID: return fmin(fmax(a->alpha * x + a->beta, 0), 1);
    case RNN_ELU: return x >= 0 ? x : a->alpha * (exp(x) - 1);
    case RNN_SOFTSIGN: return x / (1 + fabs(x));
    case RNN_SOFTPLUS: return log1p(exp(-fabs(x))) + fmax(x, 0);
    }
    return x;
}

typedef struct Run {
    Eval *e;
    const Rnn *a;
    RnnForm f;
    OpCode op;
    int64_t T, B, I, H;
    const RnnAct *act; /* of this direction */
    int64_t d;
    double *x, *h, *c, *gate, *scaled; /* this step's input; the state; sums of the gates; r times h */
} Run;

static double limited(const Run *r, double v) { return r->f.clip > 0 ? fmin(fmax(v, -r->f.clip), r->f.clip) : v; }

/* W[d, row, :] . x + Wb, and R[d, row, :] . h + Rb */
static double from_input(const Run *r, int64_t row)
{
    int64_t rows = r->f.gates * r->H;
    double s = ev_has(r->e, RNN_B) ? ev_f(r->e->in[RNN_B], r->d * 2 * rows + row) : 0;
    for (int64_t k = 0; k < r->I; k++) s += ev_f(r->e->in[RNN_W], (r->d * rows + row) * r->I + k) * r->x[k];
    return s;
}
static double from_state(const Run *r, int64_t row, const double *h)
{
    int64_t rows = r->f.gates * r->H;
    double s = ev_has(r->e, RNN_B) ? ev_f(r->e->in[RNN_B], r->d * 2 * rows + rows + row) : 0;
    for (int64_t k = 0; k < r->H; k++) s += ev_f(r->e->in[RNN_R], (r->d * rows + row) * r->H + k) * h[k];
    return s;
}

static double peephole(const Run *r, int gate, int64_t j)
{
    return ev_has(r->e, RNN_P) ? ev_f(r->e->in[RNN_P], (r->d * 3 + gate) * r->H + j) : 0;
}

static void step_lstm(Run *r)
{
    int64_t H = r->H;
    for (int64_t row = 0; row < 4 * H; row++) r->gate[row] = from_input(r, row) + from_state(r, row, r->h);
    for (int64_t j = 0; j < H; j++) {
        double c = r->c[j], i = activate(&r->act[0], limited(r, r->gate[j] + peephole(r, 0, j) * c));
        double f =
            r->a->input_forget ? 1 - i : activate(&r->act[0], limited(r, r->gate[2 * H + j] + peephole(r, 2, j) * c));
        r->c[j] = f * c + i * activate(&r->act[1], limited(r, r->gate[3 * H + j]));
        double o = activate(&r->act[0], limited(r, r->gate[H + j] + peephole(r, 1, j) * r->c[j]));
        r->h[j] = o * activate(&r->act[2], r->c[j]);
    }
}

static void step_gru(Run *r)
{
    int64_t H = r->H;
    for (int64_t row = 0; row < 2 * H; row++)
        r->gate[row] = activate(&r->act[0], limited(r, from_input(r, row) + from_state(r, row, r->h)));
    for (int64_t j = 0; j < H; j++) r->scaled[j] = r->gate[H + j] * r->h[j];
    for (int64_t j = 0; j < H; j++) {
        double s = r->a->linear_before_reset ? r->gate[H + j] * from_state(r, 2 * H + j, r->h)
                                             : from_state(r, 2 * H + j, r->scaled);
        r->gate[2 * H + j] = activate(&r->act[1], limited(r, from_input(r, 2 * H + j) + s));
    }
    for (int64_t j = 0; j < H; j++) r->h[j] = (1 - r->gate[j]) * r->gate[2 * H + j] + r->gate[j] * r->h[j];
}

static void step_rnn(Run *r)
{
    for (int64_t j = 0; j < r->H; j++)
        r->gate[j] = activate(&r->act[0], limited(r, from_input(r, j) + from_state(r, j, r->h)));
    for (int64_t j = 0; j < r->H; j++) r->h[j] = r->gate[j];
}

static int64_t at3(const Run *r, int64_t b, int64_t j) /* Y_h, Y_c and initial states: [D, B, H] or [B, D, H] */
{
    return r->a->layout ? (b * r->f.dirs + r->d) * r->H + j : (r->d * r->B + b) * r->H + j;
}

static bool sequence(Run *r, int64_t b, Tensor *const *y)
{
    Eval *e = r->e;
    int64_t len = ev_has(e, RNN_LENS) ? ev_i(e->in[RNN_LENS], b) : r->T;
    if (len < 0 || len > r->T) return ev_fail(e, "a sequence length is out of range");
    for (int64_t j = 0; j < r->H; j++) {
        r->h[j] = ev_has(e, RNN_H0) ? ev_f(e->in[RNN_H0], at3(r, b, j)) : 0;
        r->c[j] = r->op == OP_LSTM && ev_has(e, RNN_C0) ? ev_f(e->in[RNN_C0], at3(r, b, j)) : 0;
    }
    for (int64_t s = 0; s < len; s++) {
        int64_t t = r->f.reverse || r->d ? len - 1 - s : s;
        for (int64_t k = 0; k < r->I; k++)
            r->x[k] = ev_f(e->in[RNN_X], (r->a->layout ? b * r->T + t : t * r->B + b) * r->I + k);
        if (r->op == OP_LSTM) step_lstm(r);
        else if (r->op == OP_GRU) step_gru(r);
        else step_rnn(r);
        for (int64_t j = 0; j < r->H && y[0]; j++)
            ev_set_f(y[0],
                     ((r->a->layout ? (b * r->T + t) * r->f.dirs + r->d : (t * r->f.dirs + r->d) * r->B + b)) * r->H +
                         j,
                     r->h[j]);
    }
    bool none = len == 0 && ev_has(e, RNN_LENS); /* a sequence without a step ends in zeros */
    for (int64_t j = 0; j < r->H; j++) {
        if (y[1]) ev_set_f(y[1], at3(r, b, j), none ? 0 : r->h[j]);
        if (y[2]) ev_set_f(y[2], at3(r, b, j), none ? 0 : r->c[j]);
    }
    return true;
}

bool rnn_eval(Eval *e)
{
    const char *why;
    Run r = {.e = e, .a = ATTRS(e->g, e->n, Rnn), .op = node_rec(e->g, e->n)->op};
    if (!rnn_form(r.op, r.a, &r.f, &why)) return ev_fail(e, "%s", why);
    const Tensor *x = e->in[RNN_X], *w = e->in[RNN_R];
    r.T = x->dim[r.a->layout ? 1 : 0];
    r.B = x->dim[r.a->layout ? 0 : 1];
    r.I = x->dim[2];
    r.H = w->dim[2];
    int64_t D = r.f.dirs, ydim[2][4] = {{r.T, D, r.B, r.H}, {r.B, r.T, D, r.H}},
            sdim[2][3] = {{D, r.B, r.H}, {r.B, D, r.H}};
    Tensor *y[3] = {0};
    for (uint32_t k = 0; k < e->n_out && k < 3; k++) {
        y[k] = k ? ev_out(e, k, x->elem, 3, sdim[r.a->layout]) : ev_out(e, 0, x->elem, 4, ydim[r.a->layout]);
        if (!y[k]) return false;
    }
    r.x = arena_array(e->arena, double, r.I + 1);
    r.h = arena_array(e->arena, double, r.H + 1);
    r.c = arena_array(e->arena, double, r.H + 1);
    r.scaled = arena_array(e->arena, double, r.H + 1);
    r.gate = arena_array(e->arena, double, 4 * r.H + 1);
    for (r.d = 0; r.d < D; r.d++) {
        r.act = r.f.act[r.d];
        for (int64_t b = 0; b < r.B; b++)
            if (!sequence(&r, b, y)) return false;
    }
    return true;
}
