/* recurrent_expand.c: LSTM, GRU and RNN in terms of products, element-wise operators and Scan: how they are differentiated. They are lowered by themselves
 * (recurrent.c) as long as nobody asks for a gradient.
 *   xw[T, B, gates H] = X W' + Wb (+ Rb)                         for all steps at once
 *   Scan over t { sums = xw[t] + h R';  gates;  new c, h;  Y[t] } for each direction, backward ones from the last step
 * Steps beyond a sequence's length leave the states alone and give zeros; a sequence of length 0 ends in zeros. */
#include "ir/ops/compose.h"
#include "ir/ops/recurrent.h"
#include <math.h>

typedef struct Cell {
    Ex *x;
    OpCode op;
    const Rnn *a;
    const RnnForm *f;
    int dir;
    DType t;
} Cell;

static Value num(const Cell *c, double v) { return ex_f(c->x, c->t, v); }
static Value mul(const Cell *c, Value a, Value b) { return ex2(c->x, OP_Mul, a, b); }
static Value add(const Cell *c, Value a, Value b) { return ex2(c->x, OP_Add, a, b); }

static Value act(const Cell *c, int k, Value v)
{
    const RnnAct *a = &c->f->act[c->dir][k];
    Ex *x = c->x;
    double alpha = (double)(float)a->alpha, beta = (double)(float)a->beta;
    if (c->f->clip > 0) v = ex3(x, OP_Clip, v, num(c, -c->f->clip), num(c, c->f->clip));
    switch (a->fn) {
    case RNN_SIGMOID: return ex1(x, OP_Sigmoid, v);
    case RNN_TANH: return ex1(x, OP_Tanh, v);
    case RNN_RELU: return ex1(x, OP_Relu, v);
    case RNN_AFFINE: return add(c, mul(c, v, num(c, alpha)), num(c, beta));
    case RNN_LEAKY: return ex_op(x, OP_LeakyRelu, &v, 1, ex_set_f(x, OP_LeakyRelu, NULL, "alpha", a->alpha));
    case RNN_THRESHOLDED: return ex_op(x, OP_ThresholdedRelu, &v, 1, ex_set_f(x, OP_ThresholdedRelu, NULL, "alpha", a->alpha));
    case RNN_SCALED_TANH: return mul(c, ex1(x, OP_Tanh, mul(c, v, num(c, beta))), num(c, alpha));
    case RNN_HARD_SIGMOID: return ex_op(x, OP_HardSigmoid, &v, 1, ex_set_f(x, OP_HardSigmoid, ex_set_f(x, OP_HardSigmoid, NULL, "alpha", a->alpha), "beta", a->beta));
    case RNN_ELU: return ex_op(x, OP_Elu, &v, 1, ex_set_f(x, OP_Elu, NULL, "alpha", a->alpha));
    case RNN_SOFTSIGN: return ex1(x, OP_Softsign, v);
    case RNN_SOFTPLUS: return ex1(x, OP_Softplus, v);
    }
    return v;
}

/* Without the clip: of the new cell into the output. */
static Value act_plain(const Cell *c, int k, Value v)
{
    RnnForm f = *c->f;
    Cell plain = *c;
    f.clip = 0;
    plain.f = &f;
    return act(&plain, k, v);
}

static void parts(const Cell *c, Value v, int n, Value *out)
{
    (void)ex_ops(c->x, OP_Split, &v, 1, ex_set(c->x, OP_Split, ex_set(c->x, OP_Split, NULL, "axis", -1), "num_outputs", n), out, (uint32_t)n);
}

/* What a step sees: the sums over the input xw, states h and c, and matrices that were captured. */
typedef struct Step { Value xw, h, c, r, rb, p; } Step;

static void lstm(const Cell *c, const Step *s, Value *h, Value *cell)
{
    Value g[4], p[3] = {VALUE_NONE};
    parts(c, add(c, s->xw, ex2(c->x, OP_MatMul, s->h, s->r)), 4, g); /* i o f c */
    if (s->p.i) parts(c, s->p, 3, p);                                /* i o f */
    if (p[0].i) g[0] = add(c, g[0], mul(c, p[0], s->c));
    if (p[2].i) g[2] = add(c, g[2], mul(c, p[2], s->c));
    Value i = act(c, 0, g[0]), f = c->a->input_forget ? ex2(c->x, OP_Sub, num(c, 1), i) : act(c, 0, g[2]);
    *cell = add(c, mul(c, f, s->c), mul(c, i, act(c, 1, g[3])));
    if (p[1].i) g[1] = add(c, g[1], mul(c, p[1], *cell));
    *h = mul(c, act(c, 0, g[1]), act_plain(c, 2, *cell));
}

static void gru(const Cell *c, const Step *s, Value *h)
{
    Value g[3], r[3], rb[3] = {VALUE_NONE};
    parts(c, s->xw, 3, g); /* z r h, with Wb and, of z and r, Rb */
    parts(c, s->r, 3, r);
    parts(c, s->rb, 3, rb);
    Value z = act(c, 0, add(c, g[0], add(c, ex2(c->x, OP_MatMul, s->h, r[0]), rb[0])));
    Value reset = act(c, 0, add(c, g[1], add(c, ex2(c->x, OP_MatMul, s->h, r[1]), rb[1]))), sum;
    if (c->a->linear_before_reset) sum = mul(c, reset, add(c, ex2(c->x, OP_MatMul, s->h, r[2]), rb[2]));
    else sum = add(c, ex2(c->x, OP_MatMul, mul(c, reset, s->h), r[2]), rb[2]);
    Value fresh = act(c, 1, add(c, g[2], sum));
    *h = add(c, mul(c, ex2(c->x, OP_Sub, num(c, 1), z), fresh), mul(c, z, s->h));
}

/* One direction: Y[T, B, H] and the last states. `in`: xw[T, B, G H], h, c, R', Rb, P, and mask[T, B, 1] of the steps that count; none where absent. */
static bool direction(Ex *x, const Cell *proto, bool reverse, const Value *in, Value mask, Value *out)
{
    Graph *g = x->g, *b = graph_new(g->m, "recurrent");
    Ex y = {.g = b, .loc = x->loc};
    Cell c = *proto;
    bool lstm_cell = c.op == OP_LSTM;
    uint32_t states = lstm_cell ? 2 : 1, scans = mask.i ? 2 : 1, n = 0, captures = 0;
    Value operand[8], step[8] = {VALUE_NONE}, result[3];
    int64_t dir[2] = {reverse, reverse};
    c.x = &y;
    operand[n++] = in[1];
    if (lstm_cell) operand[n++] = in[2];
    operand[n++] = in[0];
    if (mask.i) operand[n++] = mask;
    for (int k = 3; k < 6; k++)
        if (in[k].i) operand[n++] = in[k], captures++;
    for (uint32_t k = 0; k < n; k++) {
        TypeRec t = *ex_type(x, operand[k]);
        bool scan = k >= states && k < states + scans;
        for (int i = 0; scan && i + 1 < t.rank; i++) t.dim[i] = t.dim[i + 1];
        step[k] = graph_input(b, type_tensor(&g->m->types, t.elem, t.rank - scan, t.dim), (Name){0});
    }
    uint32_t k = 0;
    Step s = {.h = step[k++]};
    if (lstm_cell) s.c = step[k++];
    s.xw = step[k++];
    Value counts = mask.i ? step[k++] : VALUE_NONE;
    for (int q = 3; q < 6; q++)
        if (in[q].i) *(q == 3 ? &s.r : q == 4 ? &s.rb : &s.p) = step[k++];
    Value h = VALUE_NONE, cell = VALUE_NONE;
    if (lstm_cell) lstm(&c, &s, &h, &cell);
    else if (c.op == OP_GRU) gru(&c, &s, &h);
    else h = act(&c, 0, add(&c, s.xw, ex2(&y, OP_MatMul, s.h, s.r)));
    Value shown = h;
    if (counts.i) {
        shown = ex3(&y, OP_Where, counts, h, num(&c, 0));
        h = ex3(&y, OP_Where, counts, h, s.h);
        if (cell.i) cell = ex3(&y, OP_Where, counts, cell, s.c);
    }
    k = 0;
    result[k++] = h;
    if (cell.i) result[k++] = cell;
    result[k++] = shown;
    if (y.failed) return false;
    graph_set_outputs(b, result, k);
    void *attrs = ex_set(x, OP_Scan, NULL, "num_scan_inputs", scans);
    attrs = ex_set_ints(x, OP_Scan, ex_set_ints(x, OP_Scan, attrs, "scan_input_directions", dir, scans), "scan_output_directions", dir, 1);
    Node scan = graph_add(g, OP_Scan, operand, n, k, attrs, x->loc, x->n);
    node_rec(g, scan)->n_capture = captures;
    graph_set_region(g, scan, (const Graph *const[]){b}, 1);
    if (!infer_node(g, scan)) return false;
    out[0] = node_out(g, scan, k - 1);
    out[1] = node_out(g, scan, 0);
    out[2] = lstm_cell ? node_out(g, scan, 1) : VALUE_NONE;
    return true;
}

/* Direction d of an operand whose first axis counts directions (second: of states when the batch stands first). */
static Value pick(Ex *x, Value v, int d, int64_t axis) { return v.i ? ex_axis(x, OP_Gather, (Value[]){v, ex_i(x, DT_I64, d)}, 2, axis) : v; }

static Value begin_state(Ex *x, Value v, int d, int64_t layout, Value X, Value r, DType t)
{
    if (v.i) return pick(x, v, d, layout);
    Value dim[2] = {ex_shape_part(x, X, 1, 2), ex_shape_part(x, r, 2, 3)};
    return ex2(x, OP_Expand, ex_f(x, t, 0), ex_axis(x, OP_Concat, dim, 2, 0));
}

static Value all_directions(Ex *x, const Value *v, int n, int64_t axis)
{
    Value each[2];
    for (int d = 0; d < n; d++) each[d] = ex2(x, OP_Unsqueeze, v[d], ex_int1(x, axis));
    return n == 1 ? each[0] : ex_axis(x, OP_Concat, each, 2, axis);
}

bool rnn_expand(Graph *g, Node n)
{
    const Rnn *a = ATTRS(g, n, Rnn);
    OpCode op = node_rec(g, n)->op;
    RnnForm f;
    const char *why;
    Ex e = ex_begin(g, n), *x = &e;
    if (!rnn_form(op, a, &f, &why)) return false;
    Value X = ex_in(x, RNN_X), lens = ex_in(x, RNN_LENS), y[2] = {VALUE_NONE}, h[2] = {VALUE_NONE}, cell[2] = {VALUE_NONE}, mask = VALUE_NONE, some = VALUE_NONE;
    DType t = ex_elem(x, X);
    if (a->layout) X = ex_transpose(x, X, (int64_t[]){1, 0, 2}, 3);
    if (lens.i) {
        Value steps = ex3(x, OP_Range, ex_i(x, DT_I64, 0), ex_scalar(x, ex_shape_part(x, X, 0, 1), DT_I64), ex_i(x, DT_I64, 1));
        Value last = ex_int1(x, 1), len = ex2(x, OP_Unsqueeze, ex_cast(x, lens, DT_I64), last);
        mask = ex2(x, OP_Less, ex2(x, OP_Unsqueeze, steps, ex_ints(x, (int64_t[]){1, 2}, 2)), len);
        some = ex2(x, OP_Greater, len, ex_i(x, DT_I64, 0));
    }
    for (int d = 0; d < f.dirs && !x->failed; d++) {
        Value w = pick(x, ex_in(x, RNN_W), d, 0), r = pick(x, ex_in(x, RNN_R), d, 0), bias = pick(x, ex_in(x, RNN_B), d, 0), b[2] = {VALUE_NONE}, in[6], out[3];
        Cell c = {x, op, a, &f, d, t};
        if (bias.i) parts(&c, bias, 2, b);
        in[0] = ex2(x, OP_MatMul, X, ex_transpose(x, w, (int64_t[]){1, 0}, 2));
        if (b[0].i) in[0] = ex2(x, OP_Add, in[0], b[0]);
        if (b[1].i && op != OP_GRU) in[0] = ex2(x, OP_Add, in[0], b[1]);
        in[1] = begin_state(x, ex_in(x, RNN_H0), d, a->layout, X, ex_in(x, RNN_R), t);
        in[2] = op == OP_LSTM ? begin_state(x, ex_in(x, RNN_C0), d, a->layout, X, ex_in(x, RNN_R), t) : VALUE_NONE;
        in[3] = ex_transpose(x, r, (int64_t[]){1, 0}, 2);
        in[4] = op != OP_GRU ? VALUE_NONE : b[1].i ? b[1] : ex2(x, OP_Expand, ex_f(x, t, 0), ex_shape_part(x, r, 0, 1));
        in[5] = op == OP_LSTM ? pick(x, ex_in(x, RNN_P), d, 0) : VALUE_NONE;
        if (x->failed || !direction(x, &c, f.dirs == 2 ? d == 1 : f.reverse, in, mask, out)) return false;
        y[d] = out[0], h[d] = out[1], cell[d] = out[2];
        if (some.i) h[d] = ex3(x, OP_Where, some, h[d], ex_f(x, t, 0));
        if (some.i && cell[d].i) cell[d] = ex3(x, OP_Where, some, cell[d], ex_f(x, t, 0));
    }
    if (x->failed) return false;
    Value result[3] = {all_directions(x, y, f.dirs, 1), all_directions(x, h, f.dirs, a->layout), cell[0].i ? all_directions(x, cell, f.dirs, a->layout) : VALUE_NONE};
    if (a->layout) result[0] = ex_transpose(x, result[0], (int64_t[]){2, 0, 1, 3}, 4); /* [T, D, B, H] => [B, T, D, H] */
    return ex_end(x, result, op == OP_LSTM ? 3 : 2);
}
