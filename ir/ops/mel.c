/* mel.c: MelWeightMatrix [dft_length/2 + 1, num_mel_bins]: triangles over the bins of a spectrum, their corners evenly
 * spaced on the mel scale, mel(f) = 2595 log10(1 + f/700).
 *   corner[k] = floor((dft_length + 1) * hertz(mel_low + k * (mel_high - mel_low) / (num_mel_bins + 2)) / sample_rate)
 *   out[j, i]: rises from 0 at corner[i] to 1 at corner[i+1], falls to 0 at corner[i+2]
 * Written in terms of other operators, in double: where a corner lies on a bin, a rounding decides. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <math.h>

enum { BANDS, LENGTH, RATE, LOWER, UPPER };
static const Port P_IN[] = {{"num_mel_bins", DTS_INDEX, PORT_SHAPE, 0}, {"dft_length", DTS_INDEX, PORT_SHAPE, 0},
                            {"sample_rate", DTS_INDEX, 0, 0},           {"lower_edge_hertz", DTS_FLOAT, 0, 0},
                            {"upper_edge_hertz", DTS_FLOAT, 0, 0},      PORT_END};
static const Port P_OUT[] = {{"output", DTS_NUM, 0, 0}, PORT_END};
typedef struct Mel {
    uint64_t set;
    int64_t output_datatype;
} Mel;
static const AttrSpec ATTRS_[] = {A_TYPE(Mel, output_datatype, DT_F32), A_END};

static bool infer(Infer *c)
{
    DType t = (DType)ATTRS(c->g, c->n, Mel)->output_datatype;
    const Dim *v;
    uint32_t n;
    Dim dim[2];
    int64_t k;
    if (!(DTS(t) & DTS_NUM)) return infer_fail(c, "a result of type %s is not supported", dtype_info(t)->onnx);
    for (uint32_t i = 0; i <= UPPER; i++)
        if (!infer_need_rank(c, i, 0, 1)) return false;
    for (uint32_t i = 0; i < 2; i++) {
        bool known = infer_content(c, i, &v, &n) && n == 1;
        Dim d = known ? dim_resolve(c->d, v[0]) : infer_node_dim(c, 0, 1 - (int)i, 0, INT64_MAX);
        if (known && i == LENGTH) d = dim_add(c->d, dim_div(c->d, d, dim_const(c->d, 2)), dim_const(c->d, 1));
        if (dim_is_const(c->d, d, &k) && k < 0) return infer_fail(c, "%s is negative", P_IN[i].name);
        dim[1 - i] = d;
    }
    return infer_set(c, 0, t, 2, dim);
}

static Value counted(Ex *x, Value n) /* 0, 1, ... as double */
{
    return ex_cast(x, ex3(x, OP_Range, ex_i(x, DT_I64, 0), n, ex_i(x, DT_I64, 1)), DT_F64);
}

static Value mel_of(Ex *x, Value hertz) /* times ln(10) / 2595 */
{
    return ex1(x, OP_Log, ex2(x, OP_Add, ex_f(x, DT_F64, 1), ex2(x, OP_Div, hertz, ex_f(x, DT_F64, 700))));
}

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value bands = ex_scalar(&x, ex_in(&x, BANDS), DT_I64), length = ex_scalar(&x, ex_in(&x, LENGTH), DT_I64), two = ex_i(&x, DT_I64, 2);
    Value low = mel_of(&x, ex_scalar(&x, ex_in(&x, LOWER), DT_F64)), high = mel_of(&x, ex_scalar(&x, ex_in(&x, UPPER), DT_F64));
    Value corners = ex2(&x, OP_Add, bands, two), corner[3];
    Value step = ex2(&x, OP_Div, ex2(&x, OP_Sub, high, low), ex_cast(&x, corners, DT_F64));
    Value mel = ex2(&x, OP_Add, ex2(&x, OP_Mul, counted(&x, corners), step), low);
    Value hertz = ex2(&x, OP_Mul, ex_f(&x, DT_F64, 700), ex2(&x, OP_Sub, ex1(&x, OP_Exp, mel), ex_f(&x, DT_F64, 1)));
    Value span = ex_cast(&x, ex2(&x, OP_Add, length, ex_i(&x, DT_I64, 1)), DT_F64);
    Value at = ex1(&x, OP_Floor, ex2(&x, OP_Div, ex2(&x, OP_Mul, span, hertz), ex_scalar(&x, ex_in(&x, RATE), DT_F64)));
    for (int64_t k = 0; k < 3; k++) { /* left, top, right */
        int64_t from = k;
        Value to = ex2(&x, OP_Add, ex2(&x, OP_Unsqueeze, bands, ex_int1(&x, 0)), ex_int1(&x, k));
        corner[k] = ex_op(&x, OP_Slice, (Value[]){at, ex_int1(&x, from), to}, 3, NULL);
    }
    Value rows = ex2(&x, OP_Add, ex2(&x, OP_Div, length, two), ex_i(&x, DT_I64, 1));
    Value j = ex2(&x, OP_Unsqueeze, counted(&x, rows), ex_int1(&x, 1)), zero = ex_f(&x, DT_F64, 0), one = ex_f(&x, DT_F64, 1);
    Value rise = ex2(&x, OP_Sub, corner[1], corner[0]), fall = ex2(&x, OP_Sub, corner[2], corner[1]);
    Value slope = ex2(&x, OP_Div, ex2(&x, OP_Sub, j, corner[0]), rise);
    Value in_rise = ex2(&x, OP_And, ex2(&x, OP_GreaterOrEqual, j, corner[0]), ex2(&x, OP_LessOrEqual, j, corner[1]));
    Value up = ex3(&x, OP_Where, in_rise, ex3(&x, OP_Where, ex2(&x, OP_Equal, rise, zero), one, slope), zero);
    Value in_fall = ex2(&x, OP_And, ex2(&x, OP_GreaterOrEqual, j, corner[1]), ex2(&x, OP_Less, j, corner[2]));
    Value down = ex2(&x, OP_Div, ex2(&x, OP_Sub, corner[2], j), fall);
    Value y = ex_cast(&x, ex3(&x, OP_Where, in_fall, down, up), (DType)ATTRS(g, n, Mel)->output_datatype);
    return ex_end(&x, &y, 1);
}

static bool eval(Eval *e)
{
    int64_t bands = ev_i(e->in[BANDS], 0), length = ev_i(e->in[LENGTH], 0), rate = ev_i(e->in[RATE], 0);
    if (bands < 0 || length < 0) return ev_fail(e, "a size is negative");
    double lo = 2595 * log10(1 + ev_f(e->in[LOWER], 0) / 700), hi = 2595 * log10(1 + ev_f(e->in[UPPER], 0) / 700);
    int64_t dim[2] = {length / 2 + 1, bands};
    Tensor *y = ev_out(e, 0, (DType)ATTRS(e->g, e->n, Mel)->output_datatype, 2, dim);
    for (int64_t i = 0; y && i < bands; i++) {
        int64_t c[3];
        for (int k = 0; k < 3; k++) {
            double mel = lo + (double)(i + k) * (hi - lo) / (double)(bands + 2);
            c[k] = (int64_t)floor((double)(length + 1) * 700 * (pow(10, mel / 2595) - 1) / (double)rate);
        }
        for (int64_t j = 0; j < dim[0]; j++) {
            double v = 0;
            if (j >= c[0] && j <= c[1]) v = c[0] == c[1] ? 1 : (double)(j - c[0]) / (double)(c[1] - c[0]);
            if (j >= c[1] && j < c[2]) v = (double)(c[2] - j) / (double)(c[2] - c[1]);
            if (dtype_is_float(y->elem)) ev_set_f(y, j * bands + i, v);
            else ev_set_i(y, j * bands + i, (int64_t)v);
        }
    }
    return y != NULL;
}

const OpDesc op_MelWeightMatrix = {.name = "MelWeightMatrix", .since = 17, .cls = CLS_SHAPE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                   .attrs_size = sizeof(Mel), .infer = infer, .expand = expand, .eval = eval};
