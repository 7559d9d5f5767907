/* unary.c: one input, element by element, without attributes (or nearly): arithmetic, rounding, exponentials, trigonometry, tests, Not, Identity.
 * Most are one kernel instruction (`kop`). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include <math.h>

#define DTS_SIGNED (DTS_FLOAT | DTS_SINT)
static const Port P_NUM[] = {{"X", DTS_NUM, 0, 1}, PORT_END};
static const Port P_SIGNED[] = {{"X", DTS_SIGNED, 0, 1}, PORT_END};
static const Port P_FLOAT[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_TESTED[] = {{"X", DTS_FLOAT | DTS_FLOAT8, 0, 1}, PORT_END};
static const Port P_INT[] = {{"X", DTS_INT, 0, 1}, PORT_END};
static const Port P_BOOL[] = {{"X", DTS_BOOL, 0, 0}, PORT_END};
static const Port P_ANY[] = {{"X", DTS_MOVE | DTS_SMALL, PORT_ANY_KIND, 1}, PORT_END};
static const Port P_BOOL_OUT[] = {{"Y", DTS_BOOL, 0, 0}, PORT_END};

/* ---- scalars that are more than one instruction ---- */

static KVal reciprocal(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    return kb_div(l->b, kb_const_f(l->b, dtype_compute(in[0]), 1.0), x[0]);
}

static KVal identity(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)l, (void)n, (void)in;
    return x[0];
}

/* of integers (Erf until opset 12): of their floats, truncated */
static KVal erf_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    if (dtype_is_float(in[0])) return kb_un(l->b, KOP_ERF, x[0]);
    return kb_cast(l->b, dtype_compute(in[0]), kb_un(l->b, KOP_ERF, kb_cast(l->b, DT_F32, x[0])));
}

static KVal absolute(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    return dtype_is_signed(in[0]) ? kb_un(l->b, KOP_ABS, x[0]) : x[0];
}

typedef struct IsInf { uint64_t set; int64_t detect_negative, detect_positive; } IsInf;
static const AttrSpec ISINF_ATTRS[] = {A_INT(IsInf, detect_negative, 1), A_INT(IsInf, detect_positive, 1), A_END};

static KVal isinf_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    const IsInf *a = ATTRS(l->g, n, IsInf);
    KVal zero = kb_const_f(l->b, dtype_compute(in[0]), 0), any = kb_un(l->b, KOP_ISINF, x[0]);
    if (a->detect_negative && a->detect_positive) return any;
    if (a->detect_negative) return kb_and(l->b, any, kb_lt(l->b, x[0], zero));
    if (a->detect_positive) return kb_and(l->b, any, kb_bin(l->b, KOP_GT, x[0], zero));
    return kb_const_i(l->b, DT_BOOL, 0);
}

/* ---- reference ---- */

static double e_recip(double x) { return 1 / x; }
static double e_neg(double x) { return -x; }
static double e_sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
static double e_sign(double x) { return isnan(x) ? x : (x > 0) - (x < 0); }
static int64_t i_neg(int64_t x) { return (int64_t)-(uint64_t)x; }
static int64_t i_same(int64_t x) { return x; }
static int64_t i_abs(int64_t x) { return x < 0 ? i_neg(x) : x; }
static int64_t i_sign(int64_t x) { return (x > 0) - (x < 0); }
static int64_t i_not(int64_t x) { return ~x; }
static double e_none(double x) { return x; }

static bool eval_abs(Eval *e) { return ev_map1(e, fabs, dtype_is_signed(e->in[0]->elem) ? i_abs : i_same); }
static bool eval_neg(Eval *e) { return ev_map1(e, e_neg, i_neg); }
static bool eval_sign(Eval *e)
{
    if (e->in[0]->elem != DT_U64) return ev_map1(e, e_sign, i_sign);
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_i(y, k, ev_i(x, k) != 0);
    return y != NULL;
}
static bool eval_bitnot(Eval *e) { return ev_map1(e, e_none, i_not); }
static bool eval_acos(Eval *e) { return ev_map1(e, acos, NULL); }
static bool eval_acosh(Eval *e) { return ev_map1(e, acosh, NULL); }
static bool eval_asin(Eval *e) { return ev_map1(e, asin, NULL); }
static bool eval_asinh(Eval *e) { return ev_map1(e, asinh, NULL); }
static bool eval_atan(Eval *e) { return ev_map1(e, atan, NULL); }
static bool eval_atanh(Eval *e) { return ev_map1(e, atanh, NULL); }
static bool eval_ceil(Eval *e) { return ev_map1(e, ceil, NULL); }
static bool eval_cos(Eval *e) { return ev_map1(e, cos, NULL); }
static bool eval_cosh(Eval *e) { return ev_map1(e, cosh, NULL); }
static double e_erf_f32(double x) { return (float)erf(x); }
static bool eval_erf(Eval *e) { return ev_map1(e, dtype_is_int(e->in[0]->elem) ? e_erf_f32 : erf, NULL); }
static bool eval_exp(Eval *e) { return ev_map1(e, exp, NULL); }
static bool eval_floor(Eval *e) { return ev_map1(e, floor, NULL); }
static bool eval_log(Eval *e) { return ev_map1(e, log, NULL); }
static bool eval_recip(Eval *e) { return ev_map1(e, e_recip, NULL); }
static bool eval_round(Eval *e) { return ev_map1(e, rint, NULL); }
static bool eval_sigmoid(Eval *e) { return ev_map1(e, e_sigmoid, NULL); }
static bool eval_sin(Eval *e) { return ev_map1(e, sin, NULL); }
static bool eval_sinh(Eval *e) { return ev_map1(e, sinh, NULL); }
static bool eval_sqrt(Eval *e) { return ev_map1(e, sqrt, NULL); }
static bool eval_tan(Eval *e) { return ev_map1(e, tan, NULL); }
static bool eval_tanh(Eval *e) { return ev_map1(e, tanh, NULL); }
static bool eval_identity(Eval *e)
{
    e->out[0] = e->in[0];
    return true;
}

static bool eval_test(Eval *e, bool (*f)(Eval *, double))
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, DT_BOOL, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_i(y, k, f(e, ev_f(x, k)));
    return y != NULL;
}
static bool t_nan(Eval *e, double x) { return (void)e, isnan(x); }
static bool t_not(Eval *e, double x) { return (void)e, x == 0; }
static bool t_inf(Eval *e, double x)
{
    const IsInf *a = ATTRS(e->g, e->n, IsInf);
    return isinf(x) && (x > 0 ? a->detect_positive : a->detect_negative);
}
static bool eval_isnan(Eval *e) { return eval_test(e, t_nan); }
static bool eval_isinf(Eval *e) { return eval_test(e, t_inf); }
static bool eval_not(Eval *e) { return eval_test(e, t_not); }

/* ---- Identity: of anything; Neg and Abs of shape arithmetic ---- */

static Value identity_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, node_in(g, n, 0); }

static bool identity_propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    if (infer_content(c, 0, &d, &n)) infer_set_content(c, 0, d, n);
    return true;
}

static bool neg_propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    if (!infer_content(c, 0, &d, &n)) return true;
    Dim o[CONTENT_MAX];
    for (uint32_t i = 0; i < n; i++) o[i] = dim_sub(c->d, dim_const(c->d, 0), d[i]);
    infer_set_content(c, 0, o, n);
    return true;
}

static bool identity_infer(Infer *c) { return infer_like(c, 0, 0); }

static bool identity_lower(Lw *l, Node n)
{
    (void)n;
    if (value_trec(l->g, node_in(l->g, l->n, 0))->kind == TY_TENSOR) lw_view(l, 0, 0);
    else lw_set_out(l, 0, lw_in(l, 0));
    return true;
}

/* rounding an integer-valued result again changes nothing */
#define IDEM OPF_IDEMPOTENT
#define UNARY .cls = CLS_ELTWISE

const OpDesc op_Abs = {.name = "Abs", .since = 13, UNARY, .flags = IDEM, .in = P_NUM, .out = P_NUM, .scalar = absolute, .grad = grad_abs, .eval = eval_abs};
const OpDesc op_Acos = {.name = "Acos", .since = 22, UNARY, .kop = KOP_ACOS, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_acos, .eval = eval_acos};
const OpDesc op_Acosh = {.name = "Acosh", .since = 22, UNARY, .kop = KOP_ACOSH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_acosh, .eval = eval_acosh};
const OpDesc op_Asin = {.name = "Asin", .since = 22, UNARY, .kop = KOP_ASIN, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_asin, .eval = eval_asin};
const OpDesc op_Asinh = {.name = "Asinh", .since = 22, UNARY, .kop = KOP_ASINH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_asinh, .eval = eval_asinh};
const OpDesc op_Atan = {.name = "Atan", .since = 22, UNARY, .kop = KOP_ATAN, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_atan, .eval = eval_atan};
const OpDesc op_Atanh = {.name = "Atanh", .since = 22, UNARY, .kop = KOP_ATANH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_atanh, .eval = eval_atanh};
const OpDesc op_BitwiseNot = {.name = "BitwiseNot", .since = 18, UNARY, .kop = KOP_NOT, .in = P_INT, .out = P_INT, .eval = eval_bitnot};
const OpDesc op_Ceil = {.name = "Ceil", .since = 13, UNARY, .flags = IDEM, .kop = KOP_CEIL, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_zero, .eval = eval_ceil};
const OpDesc op_Cos = {.name = "Cos", .since = 22, UNARY, .kop = KOP_COS, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_cos, .eval = eval_cos};
const OpDesc op_Cosh = {.name = "Cosh", .since = 22, UNARY, .kop = KOP_COSH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_cosh, .eval = eval_cosh};
const OpDesc op_Erf = {.name = "Erf", .since = 13, UNARY, .in = P_NUM, .out = P_NUM, .scalar = erf_scalar, .grad = grad_erf, .eval = eval_erf};
const OpDesc op_Exp = {.name = "Exp", .since = 13, UNARY, .kop = KOP_EXP, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_exp, .eval = eval_exp};
const OpDesc op_Floor = {.name = "Floor", .since = 13, UNARY, .flags = IDEM, .kop = KOP_FLOOR, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_zero, .eval = eval_floor};
const OpDesc op_Identity = {.name = "Identity", .since = 25, UNARY, .flags = IDEM | OPF_ANY_RANK, .in = P_ANY, .out = P_ANY, .infer = identity_infer, .propagate = identity_propagate,
                            .equivalent = identity_equivalent, .scalar = identity, .lower = identity_lower, .grad = grad_identity, .eval = eval_identity};
const OpDesc op_IsInf = {.name = "IsInf", .since = 20, UNARY, .in = P_TESTED, .out = P_BOOL_OUT, .attrs = ISINF_ATTRS, .attrs_size = sizeof(IsInf),
                         .scalar = isinf_scalar, .eval = eval_isinf};
const OpDesc op_IsNaN = {.name = "IsNaN", .since = 20, UNARY, .kop = KOP_ISNAN, .in = P_TESTED, .out = P_BOOL_OUT, .eval = eval_isnan};
const OpDesc op_Log = {.name = "Log", .since = 13, UNARY, .kop = KOP_LOG, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_log, .eval = eval_log};
const OpDesc op_Neg = {.name = "Neg", .since = 13, UNARY, .kop = KOP_NEG, .in = P_SIGNED, .out = P_SIGNED, .propagate = neg_propagate, .grad = grad_neg, .eval = eval_neg};
const OpDesc op_Not = {.name = "Not", .since = 1, UNARY, .kop = KOP_NOT, .in = P_BOOL, .out = P_BOOL, .eval = eval_not};
const OpDesc op_Reciprocal = {.name = "Reciprocal", .since = 13, UNARY, .in = P_FLOAT, .out = P_FLOAT, .scalar = reciprocal, .grad = grad_reciprocal, .eval = eval_recip};
const OpDesc op_Round = {.name = "Round", .since = 22, UNARY, .flags = IDEM, .kop = KOP_RINT, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_zero, .eval = eval_round};
const OpDesc op_Sigmoid = {.name = "Sigmoid", .since = 13, UNARY, .kop = KOP_SIGMOID, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_sigmoid, .eval = eval_sigmoid};
const OpDesc op_Sign = {.name = "Sign", .since = 13, UNARY, .flags = IDEM, .kop = KOP_SIGN, .in = P_NUM, .out = P_NUM, .grad = grad_zero, .eval = eval_sign};
const OpDesc op_Sin = {.name = "Sin", .since = 22, UNARY, .kop = KOP_SIN, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_sin, .eval = eval_sin};
const OpDesc op_Sinh = {.name = "Sinh", .since = 22, UNARY, .kop = KOP_SINH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_sinh, .eval = eval_sinh};
const OpDesc op_Sqrt = {.name = "Sqrt", .since = 13, UNARY, .kop = KOP_SQRT, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_sqrt, .eval = eval_sqrt};
const OpDesc op_Tan = {.name = "Tan", .since = 22, UNARY, .kop = KOP_TAN, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_tan, .eval = eval_tan};
const OpDesc op_Tanh = {.name = "Tanh", .since = 13, UNARY, .kop = KOP_TANH, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_tanh, .eval = eval_tanh};
