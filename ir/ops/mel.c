/* mel.c: MelWeightMatrix [dft_length/2 + 1, num_mel_bins]: triangles over the bins of a spectrum, their corners evenly
 * spaced on the mel scale, mel(f) = 2595 log10(1 + f/700).
 *   corner[k] = floor((dft_length + 1) * hertz(mel_low + k * (mel_high - mel_low) / (num_mel_bins + 2)) / sample_rate)
 *   out[j, i]: rises from 0 at corner[i] to 1 at corner[i+1], falls to 0 at corner[i+2]
 * Written in terms of other operators, in double: where a corner lies on a bin, a rounding decides. What depends on the
 * band alone is a vector: an element of the matrix is two products, their minimum and no comparison with corners:
 *   out[j, i] = max(0, min((j - left) / rise, (right - j) / fall))
 * where a side without width begins a bin earlier, so that it has 1 at the top; so has a fall where corners descend, and
 * a rise nothing. */
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

static Value column(Ex *x, uint32_t n, const double *v) /* [n, 1] */
{
    return ex_reshape(x, ex_cast(x, ex_floats(x, v, n), DT_F64), (int64_t[]){n, 1}, 2);
}

static Value some_rows(Ex *x, Value v, int64_t from, int64_t to, int64_t step)
{
    return ex_op(x, OP_Slice, (Value[]){v, ex_int1(x, from), ex_int1(x, to), ex_int1(x, 0), ex_int1(x, step)}, 5, NULL);
}

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    DType type = (DType)ATTRS(g, n, Mel)->output_datatype;
    bool exact = !dtype_is_float(type) || type == DT_F64; /* rounded to f32 the product with a reciprocal is the quotient */
    Value bands = ex_scalar(&x, ex_in(&x, BANDS), DT_I64), length = ex_scalar(&x, ex_in(&x, LENGTH), DT_I64), two = ex_i(&x, DT_I64, 2);
    Value low = mel_of(&x, ex_scalar(&x, ex_in(&x, LOWER), DT_F64)), high = mel_of(&x, ex_scalar(&x, ex_in(&x, UPPER), DT_F64));
    Value one = ex_f(&x, DT_F64, 1), zero = ex_f(&x, DT_F64, 0);
    Value step = ex2(&x, OP_Div, ex2(&x, OP_Sub, high, low), ex_cast(&x, ex2(&x, OP_Add, bands, two), DT_F64));
    Value span = ex_cast(&x, ex2(&x, OP_Add, length, ex_i(&x, DT_I64, 1)), DT_F64), rate = ex_scalar(&x, ex_in(&x, RATE), DT_F64);
    Value k = ex2(&x, OP_Add, counted(&x, bands), column(&x, 3, (double[]){0, 1, 2}));
    Value mel = ex2(&x, OP_Add, ex2(&x, OP_Mul, k, step), low);
    Value hertz = ex2(&x, OP_Mul, ex_f(&x, DT_F64, 700), ex2(&x, OP_Sub, ex1(&x, OP_Exp, mel), one));
    Value corner = ex1(&x, OP_Floor, ex2(&x, OP_Div, ex2(&x, OP_Mul, span, hertz), rate)); /* left, top, right */

    Value width = ex2(&x, OP_Sub, some_rows(&x, corner, 1, 3, 1), some_rows(&x, corner, 0, 2, 1));
    Value no_rise = ex2(&x, OP_Less, ex2(&x, OP_Mul, width, column(&x, 2, (double[]){1, 0})), zero);
    width = ex3(&x, OP_Where, ex2(&x, OP_Greater, width, zero), width, ex3(&x, OP_Where, no_rise, width, one));
    Value scale = ex3(&x, OP_Where, ex2(&x, OP_Greater, width, zero), exact ? width : ex2(&x, OP_Div, one, width), ex_f(&x, DT_F64, exact ? INFINITY : 0));
    Value foot = ex2(&x, OP_Add, some_rows(&x, corner, 1, 2, 1), ex2(&x, OP_Mul, width, column(&x, 2, (double[]){-1, 1})));

    Value rows = ex2(&x, OP_Add, ex2(&x, OP_Div, length, two), ex_i(&x, DT_I64, 1));
    Value j = ex2(&x, OP_Unsqueeze, counted(&x, rows), ex_int1(&x, 1));
    OpCode by = exact ? OP_Div : OP_Mul;
    Value up = ex2(&x, by, ex2(&x, OP_Sub, j, some_rows(&x, foot, 0, 1, 1)), some_rows(&x, scale, 0, 1, 1));
    Value down = ex2(&x, by, ex2(&x, OP_Sub, some_rows(&x, foot, 1, 2, 1), j), some_rows(&x, scale, 1, 2, 1));
    Value least = ex_cast(&x, ex3(&x, OP_Where, ex2(&x, OP_Less, up, down), up, down), dtype_is_float(type) ? type : DT_F64);
    if (dtype_is_float(type)) zero = ex_f(&x, type, 0);
    Value y = ex_cast(&x, ex3(&x, OP_Where, ex2(&x, OP_Greater, least, zero), least, zero), type);
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
